"""Augmentations by name: what a person says, what suits a field, and what is usual for a data set."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from torch import Tensor

from shendu import chance
from shendu.data.dataset import Dataset
from shendu.data.known import KNOWN
from shendu.errors import UserError, unknown
from shendu.field import Field

KINDS = {
    "resized-crop": "enlarge a part of N to all of the area and aspect 3/4 to 4/3, bilinear (resized-crop:0.08; Szegedy et al. 2015)",
    "crop": "zero-pad by N pixels, then crop to the old size at random (crop:4)",
    "flip": "mirror left and right with probability 1/2",
    "shift": "move by up to N pixels, bilinear (shift:2)",
    "rotate": "turn by up to N degrees, bilinear (rotate:10)",
    "jitter": "change brightness, contrast and saturation by up to the share N, hue by N/4 of a turn (jitter:0.4)",
    "randaugment": "two operations out of fourteen, of magnitude N of 30 (randaugment:9; Cubuk et al. 2020)",
    "cutout": "set an N by N square to the mean (cutout:8; DeVries & Taylor 2017)",
    "delay": "begin up to N seconds earlier or later (delay:0.1)",
    "noise": "add white noise N to N + 30 decibels below the recording (noise:20)",
    "specmask": "set a band of up to N mels and a span of up to N frames to the mean (specmask:8; Park et al. 2019)",
    "mixup": "blend with another sample, share from Beta(N, N) (mixup:0.2; Zhang et al. 2018)",
    "cutmix": "paste a box of another sample, area from Beta(N, N), classes by area (cutmix:1; Yun et al. 2019)",
}
DRAWS = 8
MOST = 1000.0
"""No number of an augmentation is larger."""
MOSTS = {"resized-crop": 1.0, "jitter": 1.0, "randaugment": 30.0}
"""Nor, of these, than this."""
LIKE = {"resized-crop": "0.08", "jitter": "0.4", "randaugment": "9", "mixup": "0.2", "cutmix": "1", "delay": "0.2"}
"""A usual number, where it is not 4."""


@dataclass(frozen=True)
class Augment:
    """What is done to a training batch; all zero: nothing."""

    resized_crop: float = 0.0
    crop: int = 0
    flip: bool = False
    shift: float = 0.0
    rotate: float = 0.0
    jitter: float = 0.0
    randaugment: float = 0.0
    cutout: int = 0
    delay: float = 0.0
    noise: float = 0.0
    specmask: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def geometric(self) -> bool:
        return bool(self.resized_crop or self.crop or self.flip or self.shift or self.rotate)

    @property
    def photographic(self) -> bool:
        return bool(self.jitter or self.randaugment)

    @property
    def mixes(self) -> bool:
        """Whether classes are blended."""
        return bool(self.mixup or self.cutmix)

    @property
    def acoustic(self) -> bool:
        return bool(self.delay or self.noise)

    @property
    def drawn(self) -> bool:
        return bool(self.geometric or self.photographic or self.acoustic or self.cutout or self.specmask)


def parse(words: tuple[str, ...]) -> Augment:
    """`("crop:4", "flip")` -> Augment; raises UserError for an unknown word or a number that is none."""
    values: dict[str, float | int | bool] = {}
    for word in words:
        name, _, number = word.partition(":")
        if name not in KINDS:
            raise unknown("augmentation", name, KINDS)
        if name == "flip":
            values["flip"] = True
            continue
        like = f"{name}:{LIKE.get(name, '4')}"
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= MOST:
            raise UserError(f"augmentation '{word}' lacks its number; write it like {like}")
        if value > MOSTS.get(name, MOST) or (name == "resized-crop" and value == 0):
            least = "above 0 and " if name == "resized-crop" else ""
            raise UserError(f"augmentation '{word}' must be {least}at most {MOSTS[name]:g}; write it like {like}")
        values[name.replace("-", "_")] = int(value) if name in ("crop", "cutout", "specmask") else value
    made = Augment(**values)  # type: ignore[arg-type]
    if made.resized_crop and (made.crop or made.shift):
        other = "crop" if made.crop else "shift"
        raise UserError(f"resized-crop moves the picture already; leave {other} out")
    return made


def of(words: tuple[str, ...], field: Field) -> Augment:
    """Words as they apply to a field (delays in its samples); raises UserError for one that does not suit it."""
    suits = field.augments
    if wrong := [word for word in words if word.partition(":")[0] in KINDS and word.partition(":")[0] not in suits]:
        can = f"use {', '.join(suits)}" if suits else "leave it out"
        raise UserError(f"augment={wrong[0]} is not for inputs of type {field.kind}; {can}")
    how = parse(words)
    return replace(how, delay=how.delay * field.per_second)


def draws(samples: Tensor, *key: int) -> Tensor:
    """The numbers that augment samples: [B, DRAWS]."""
    return chance.uniform(samples, DRAWS, *key)


def usual(data: Dataset) -> tuple[str, ...]:
    """What a known set says of itself; else what changes no meaning of its input."""
    return _own(data) or data.fields[data.input].usual_augments(_sided(data))


def reason(data: Dataset, words: tuple[str, ...]) -> tuple[str, ...]:
    """The note on what is done to a person's own data; none for a known set."""
    note = "" if _own(data) else data.fields[data.input].note_on(words)
    return (note,) if note else ()


def _own(data: Dataset) -> tuple[str, ...]:
    """What a known set says of itself; nothing where other data have its name."""
    words = KNOWN[data.name].augment if data.name in KNOWN else ()
    return words if {word.partition(":")[0] for word in words} <= {*data.fields[data.input].augments} else ()


def _sided(data: Dataset) -> bool:
    """Whether a class's name speaks of left and right."""
    names = data.fields[data.target].classes if data.target in data.fields else ()
    return any(word in ("left", "right") for name in names for word in re.split(r"[\W_]+", name.lower()))
