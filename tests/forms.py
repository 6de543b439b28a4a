"""What the small runs of every system are varied by: other networks of the same file, and all that a run can carry."""

from __future__ import annotations

from typing import Any

FORMS: dict[str, tuple[dict[str, Any], ...]] = {
    "lenet": ({}, {"form": "1998"}, {"batch_norm": True}),
    "vae": ({}, {"form": "conv", "maps": (4, 8)}, {"samples": 3, "conditional": True}),
    "vqvae": ({}, {"conditional": True}),
    "gan": ({}, {"form": "wgan-gp", "conditional": False}),
    "diffusion": ({}, {"process": "flow"}, {"process": "linear", "predicts": "eps", "conditional": False}),
}
"""Choices that make another network, or another way to learn, of the same file."""
RICH: dict[str, Any] = {"ema": 0.9, "clip": 1.0, "l2": 1e-3, "select_by": "auto", "patience": 3, "validations": 6}
"""Everything that a run can carry from step to step, whatever its data."""
WORDS = ("crop:1", "flip", "shift:1", "rotate:10", "cutout:2")
"""What is done to pictures besides."""

REPRESENTATIVES = ("mlp", "lenet", "gpt", "vae", "tabm")
"""Systems whose contracts ./check runs where shared code was changed: all of them take too long before a commit."""
