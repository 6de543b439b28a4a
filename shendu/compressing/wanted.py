"""What is to be done to a run, as a person says it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from shendu.errors import UserError, unknown

WAYS = ("auto", "weights", "static", "dynamic")
"""To compute with weights of 8 bits."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be done to a run; the options of the command by their names."""

    int8: str = ""
    int4: bool = False
    prune: float = 0.0
    unstructured: bool = False
    gradual: bool = False
    rewind: int = -1
    low_rank: float = 0.0
    distill: str = ""
    student: dict[str, Any] = field(default_factory=dict)
    """Settings of the student."""
    teach: bool = False
    qat: bool = False
    average: bool = False
    soup: tuple[str, ...] = ()
    epochs: float = 0.0
    budget: str = ""
    allow_slower: bool = False

    def __post_init__(self) -> None:
        for name, right, like in (
            ("prune", 0 <= self.prune < 1, "0.8"), ("low-rank", 0 <= self.low_rank < 1, "0.5"),
            ("epochs", 0 <= self.epochs < math.inf, "3"), ("rewind", self.rewind >= -1, "100"),
        ):  # fmt: skip
            if not right:
                raise UserError(
                    f"--{name} {getattr(self, name.replace('-', '_')):g} is out of range; write it like --{name} {like}"
                )
        if self.int8 and self.int8 not in WAYS:
            raise unknown("value for --int8:", self.int8, WAYS)
        for name in ("unstructured", "gradual"):
            if getattr(self, name) and not self.prune:
                raise UserError(f"--{name} is a way to prune; add --prune 0.8")
        if self.rewind >= 0 and (not self.prune or self.gradual or self.distill or self.low_rank):
            raise UserError(
                "--rewind is for --prune alone, without --gradual, --distill and --low-rank; leave them out"
            )
        if self.int8 and self.int4:
            raise UserError("--int8 and --int4 are two roundings of the same weights; leave one out")
        if self.qat and not (self.int8 or self.int4):
            raise UserError("--qat trains for a rounding; add --int8 or --int4")
        if self.qat and (self.unstructured or self.gradual or self.rewind >= 0):
            raise UserError("--qat trains for a rounding, with all weights there; compress twice, first with --prune")
        if self.qat and self.average:
            raise UserError("--average and --qat train in two ways; compress twice, first with --average")
        if self.distill and self.soup:
            raise UserError("--soup averages the run itself, and --distill trains another network; leave one out")
        size_or_time(self.budget)

    @property
    def bits(self) -> int:
        return 4 if self.int4 else 8 if self.int8 else 32

    @property
    def does(self) -> bool:
        """Whether anything is to be done."""
        said = (self.int8, self.int4, self.prune, self.low_rank, self.distill, self.average, self.soup, self.budget)
        return any(map(bool, said))

    @property
    def trains(self) -> bool:
        """Whether weights are to be trained."""
        return bool(self.prune or self.low_rank or self.distill or self.qat or self.average or self.teach)

    @property
    def aims_at_size(self) -> bool:
        return size_or_time(self.budget)[0] == "bytes"

    def words(self) -> list[str]:
        """As a person types it."""
        usual, found = Wanted(), []
        for name, value in vars(self).items():
            option = f"--{name.replace('_', '-')}"
            if name == "student":
                found += [word for key, one in value.items() for word in ("--set", f"{key}={one}")]
            elif value == getattr(usual, name):
                continue
            elif name == "int8":
                found.append("--int8" if value == "auto" else f"--int8={value}")
            elif value is True:
                found.append(option)
            elif name == "soup":
                found += [word for one in value for word in (option, str(one))]
            else:
                found += [option, f"{value:g}" if isinstance(value, float) else str(value)]
        return found


def size_or_time(text: str) -> tuple[str, float]:
    """`2 MB` -> ("bytes", 2e6), `5 ms` -> ("ms", 5.0), nothing -> ("", 0). Raises UserError."""
    units = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = text.strip()[len(number) :].strip().lower()
    try:
        value = float(number) if text.strip() else 0.0
    except ValueError:
        value = -1.0
    if not text.strip():
        return "", 0.0
    if not 0 < value < math.inf or unit not in (*units, "ms", "s"):
        raise UserError(
            f'--budget {text!r} is neither a size nor a time; write it like --budget "2 MB" or --budget "5 ms"'
        )
    return ("bytes", value * units[unit]) if unit in units else ("ms", value * (1000 if unit == "s" else 1))
