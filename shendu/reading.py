"""How outside data is to be read: everything a person may say about it, kept with a run so that it can be reopened."""

from __future__ import annotations

import re
import shlex
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from typing import Any

from shendu.errors import UserError, unknown

anew: ContextVar[bool] = ContextVar("anew", default=False)
"""Whether files are read and decoded although the cache has them (--no-cache): it changes no outcome, so it is no part of `Reading`."""
TASKS = ("auto", "classes", "numbers", "forecast", "anomaly", "text")


def _asked(at_rest: Any, option: str, metavar: str | None, help: str) -> Any:
    """A field, and the option of the command line that gives it."""
    return field(default=at_rest, metadata={"option": option, "metavar": metavar, "help": help})


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options of a path's reading; empty: to be found out."""

    target: str = _asked("", "--target", "COLUMN", "Table: the column to predict.")
    time: str = _asked("", "--time", "COLUMN", "Series: the column that orders the rows.")
    horizon: int = _asked(0, "--horizon", "N", "Series: how many steps ahead to forecast.")
    season: int = _asked(0, "--season", "N", "Series: after how many steps it repeats itself; 1: never.")
    label_from: str = _asked(
        "", "--label-from", "PATTERN", "Files: where names or paths hold the label: '{label}_*.wav', '{label}/*'."
    )
    """Where files' names hold their label, or their paths (where it has a slash, or fits no name): a regular expression with one
    group, or a word pattern with {label}, over the end of a path."""
    test_from: str = _asked("", "--test-from", "REGEX", "Files: those whose paths it finds are the test part.")
    types: tuple[str, ...] = _asked((), "--type", "COLUMN=KIND", "Table: what a column is; repeatable.")
    """Column types that a person knows better: age=number, zip=category."""
    missing: str = _asked("", "--missing", "WORD,…", "Table: words that say that nothing is known: NA,?")
    """Words with commas between them. Others are missing only among numbers and dates, where NA can be nothing else."""
    strict: bool = _asked(False, "--strict", None, "Table: a cell that cannot be read is an error.")
    """Else it counts as missing, and is said."""
    encoding: str = _asked("", "--encoding", "NAME", "Table: how a text file's letters are written: cp1251, gb18030.")
    sheet: str = _asked("", "--sheet", "NAME", "Table: which sheet of an Excel file, where several hold one.")
    task: str = _asked("auto", "--task", "|".join(TASKS[1:]), "What is to be learned, where it is inferred wrongly.")
    """classes, numbers, forecast, anomaly (labels, if there are any, are left out), or text: a .txt file is no table."""
    split: str = _asked(
        "", "--split", "0.2|0.2@SEED|2/5|last:N|classes:0.25", "Which rows are the test part, where there is none."
    )
    """The test part, where there is none: a share (0.2), a share with its seed (0.2@3), a fold (2/5), the last rows (last:24), or a
    share of the classes, which then have no training rows (classes:0.25)."""
    skip_bad: bool = _asked(False, "--skip-bad", None, "Leave unreadable files and rows out, and count them.")
    reader: str = _asked("", "--reader", "NAME", "Who reads it, where several could: pictures, tables, prose, …")

    @property
    def forecasts(self) -> bool:
        """Whether a forecast is asked for."""
        return bool(self.time or self.horizon or self.season or self.task == "forecast")

    @property
    def absent(self) -> tuple[str, ...]:
        """The words that say that nothing is known."""
        return tuple(word.strip() for word in self.missing.split(",") if word.strip())

    def over(self, other: Reading) -> Reading:
        """The other one where this says nothing."""
        return replace(other, **self.said())

    def said(self) -> dict[str, Any]:
        """What was said at all: a new option does not change what an old one means, nor the hash of data that was read."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise unknown("task", self.task, TASKS)
        for asked, steps in (("horizon", self.horizon), ("season", self.season)):
            if steps < 0:
                raise UserError(f"{asked}={steps} is no number of steps; write it like --{asked} 12")
        for word in self.types:
            if not re.fullmatch(r".+=\w+(:.+)?", word):
                raise UserError(
                    f"--type {shlex.quote(word)} does not say what the column is; write it like --type zip=category"
                )
        if self.split and not re.fullmatch(r"(classes:)?0?\.\d+(@\d+)?|\d+/\d+|last:\d+", self.split):
            raise UserError(
                f"--split {self.split} is no share, fold or number of last rows; write it like 0.2, 0.2@3, 2/5, last:24 or classes:0.25"
            )
        if self.split and "/" in self.split:
            fold, folds = map(int, self.split.split("/"))
            if not 1 <= fold <= folds or folds < 2:
                raise UserError(f"--split {self.split} is no fold: write 1/5 … 5/5")


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a publisher's table files do not say themselves."""

    target: str = ""
    names: tuple[str, ...] = ()
    """Columns of files without a header."""
    skip: tuple[str, ...] = ()
    """Parts whose first line is no row."""
    label_end: str = ""
    """What stands behind the labels of some parts."""
    missing: tuple[str, ...] = ()
    """Words that say that nothing is known."""
