"""A part of a report, and rows in words: what tasks hand to pages."""

from __future__ import annotations

from typing import Any, NamedTuple


class Section(NamedTuple):
    """A part of a report: a block of the page's template, and what it is filled with."""

    title: str
    block: str
    """text (str), picture (a data URI), svg (Markup), table ({heads, rows}), or another block of report.html."""
    body: Any
    note: str = ""


class Told(NamedTuple):
    """One measured row in words."""

    said: str
    true: str
    sure: str
    """The probability of what is said, or how far it is off."""
    right: bool


GALLERY = ("text", "picture", "svg")
"""Blocks of which several stand beside each other."""


def grouped(sections: list[Section]) -> list[list[Section]]:
    """Neighbours that stand beside each other as one group, every other section alone."""
    groups: list[list[Section]] = []
    for section in sections:
        if groups and section.block in GALLERY and groups[-1][-1].block in GALLERY:
            groups[-1].append(section)
        else:
            groups.append([section])
    return groups
