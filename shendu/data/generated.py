"""The data sets that come with the package: handwritten digits and the logic gates."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shendu.data.columns import Category, Image, Number

DIGITS = Path(__file__).with_name("digits.npz")

GATES: dict[str, tuple[int, Callable[..., int]]] = {
    "and": (2, lambda a, b: a & b),
    "or": (2, lambda a, b: a | b),
    "not": (1, lambda a: 1 - a),
    "xor": (2, lambda a, b: a ^ b),
}
"""Name -> how many inputs, and the truth function."""


def digits() -> dict[str, Any]:
    """1,797 pictures of handwritten digits: `image` uint8 [1797, 8, 8, 1], 0 to 255, and `label` int64 [1797].

    Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998).
    """
    with np.load(DIGITS, allow_pickle=False) as stored:
        image, label = stored["image"][..., None], stored["label"].astype(np.int64)
    return {
        "fields": {
            "image": Image(height=8, width=8, channels=1),
            "label": Category(names=tuple(str(digit) for digit in range(10))),
        },
        "splits": {"train": {"image": image, "label": label}},
        "input": "image",
        "target": "label",
        "notes": (),
    }


def gate(name: str) -> dict[str, Any]:
    """The truth table of a gate of k inputs, in binary order: `inputs` float32 [2^k, k] and `output` int64 [2^k]."""
    arity, truth = GATES[name]
    rows = list(itertools.product((0, 1), repeat=arity))
    table = {
        "inputs": np.array(rows, dtype=np.float32),
        "output": np.array([truth(*row) for row in rows], dtype=np.int64),
    }
    return {
        "fields": {"inputs": Number(shape=(arity,)), "output": Category(names=("0", "1"))},
        "splits": {"train": table},
        "input": "inputs",
        "target": "output",
        "notes": (),
    }
