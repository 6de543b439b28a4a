"""audit: what is wrong with data before a second is spent on training, each finding with what to do about it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

import shendu
from shendu import config, data
from shendu.data.audit.screens import Feature
from shendu.data.checks import CHECKS, SEVERITIES, Example, Finding, Subject, files_of
from shendu.data.files import layout
from shendu.errors import UserError
from shendu.options import AS_JSON, DATA_DIR, READING, echo, emit, only_given, table
from shendu.pages import drawing
from shendu.pages.templates import filled
from shendu.reading import Reading
from shendu.run import write_text

ORDER = 20
PUBLIC = ("audit",)
SHOWN = 3
"""Examples of a finding that are printed."""
WHOLE = 1 << 24
"""Below this, float32 holds every whole number."""
BARS, COLUMNS = 60, 200
"""Classes whose rows are drawn as bars, and columns that are listed."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The findings of an audit, the worst first."""

    subject: Subject
    findings: tuple[Finding, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON: rows per part, rows per class, findings with the names of their rows."""
        about = self.subject
        return {
            "data": about.data.name,
            "hash": about.data.hash,
            "rows": about.rows,
            "classes": about.counts,
            "findings": [
                {
                    **config.to_json(found),
                    "examples": [{"text": e.text, "rows": [about.name(row) for row in e.rows]} for e in found.examples],
                }
                for found in self.findings
            ],
            "notes": list(about.data.notes),
            "seconds": round(self.seconds, 3),
        }

    def lines(self) -> list[list[str]]:
        """Two cells a line: the severity, and what was found; examples and advice below it."""
        rows = []
        for found in self.findings:
            rows.append([found.severity, found.what])
            rows += [["", f"  {example.text}"] for example in found.examples[:SHOWN]]
            rows.append(["", f"  → {found.advice}"])
        return rows

    def summary(self) -> str:
        counts = Counter(found.severity for found in self.findings)
        words = [layout.count(counts[severity], severity) for severity in SEVERITIES if counts[severity]]
        parts = ", ".join(f"{part} {rows:,}" for part, rows in self.subject.rows.items())
        return (
            f"{self.subject.data.name} ({parts} rows): {', '.join(words) or 'nothing found'}, in {self.seconds:.1f} s"
        )

    def write(self, path: str | Path) -> Path:
        """Writes the page: one file that needs no network. Raises UserError where it cannot be written."""
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_text(target, page(self))
        except OSError as error:
            raise UserError(f"cannot write {target} ({error.strerror}); choose another file with --out") from None
        return target


def audit(given: Any, *, data_dir: str | Path | None = None, **how: Any) -> Audit:
    """What is wrong with data: a name, a path or arrays (see `shendu.open_data`).

    `how` says how it is read: target, label_from, split, … (see `shendu.data.Reading`); unreadable files are left out and
    reported. Raises UserError for data that cannot be opened at all.
    """
    begin = time.monotonic()
    (reading,) = config.settle({**how, "skip_bad": True}, Reading())
    dataset = data.open(given, data_dir=data_dir, reading=reading)
    if dataset.input == dataset.target:
        raise UserError(
            f"{dataset.name} is running text and was read without a fault; it has no rows or labels to audit"
        )
    if reading.split:
        dataset = dataset.split_off(reading.split)
    files, bad = files_of(dataset, reading)
    subject = Subject(dataset, reading, files, bad, data_dir)
    findings = [found for check in CHECKS for found in check(subject)]
    order = list(SEVERITIES)
    findings.sort(key=lambda found: order.index(found.severity))
    return Audit(subject=subject, findings=tuple(findings), seconds=time.monotonic() - begin)


# ---- the page --------------------------------------------------------------------------------------------------------


def page(found: Audit) -> str:
    subject = found.subject
    cards = [{**config.to_json(f), "examples": [card(subject, e) for e in f.examples]} for f in found.findings]
    counts = Counter(f.severity for f in found.findings)
    return filled("audit.html", {
        "data": subject.data, "rows": subject.rows, "severities": SEVERITIES, "counts": counts, "findings": cards,
        "bars": bars(subject), "columns": columns_of(subject), "seconds": found.seconds, "classes": len(subject.classes),
        "version": shendu.__version__, "bars_most": BARS,
    })  # fmt: skip


def card(subject: Subject, example: Example) -> dict[str, Any]:
    """What the page shows of an example: its text, and the rows themselves."""
    shown = [subject.input.show({"": subject.stored(np.array([row]))[0]}) for row in example.rows]
    pictures = [drawing.picture(each) for each in shown if not isinstance(each, str)]
    name = subject.name(example.rows[0]) if len(example.rows) == 1 else ""
    said = example.text.removeprefix(f"{name}: ") if name else example.text
    words = list(dict.fromkeys(each for each in shown if isinstance(each, str)))
    return {
        "text": said,
        "name": name if said != name and name not in said else "",
        "pictures": pictures,
        "words": words,
    }


def bars(subject: Subject) -> list[dict[str, Any]]:
    """Rows per class and part, the most frequent first."""
    total = sorted(subject.counts.items(), key=lambda item: -sum(item[1].values()))[:BARS]
    most = max((sum(rows.values()) for _, rows in total), default=1) or 1
    return [
        {"name": name, "rows": rows, "shares": {part: 100 * count / most for part, count in rows.items()}}
        for name, rows in total
    ]


def columns_of(subject: Subject) -> list[dict[str, str]]:
    """One line per column of a table: its name, what it holds, how much is missing."""
    return [
        {"name": column.name, "values": values_of(column), "missing": f"{100 * column.missing.mean():.1f}%"}
        for column in subject.seen[1][:COLUMNS]
    ]


def values_of(column: Feature) -> str:
    """The values of a column in a few words."""
    there = np.flatnonzero(~column.missing)
    if not len(there):
        return "nothing"
    if column.names:
        values, at, times = np.unique(column.values[there], return_index=True, return_counts=True)
        usual = times.argmax()
        share = 100 * times[usual] / len(there)
        return f"{len(values):,} values, most often {column.show(there[at[usual]])} ({share:.0f}%)"
    low, middle, high = np.quantile(column.values[there], [0, 0.5, 1])
    low, middle, high = (figure(value, column) for value in (low, middle, high))
    return f"{low} to {high}, median {middle}"


def figure(value: float, column: Feature) -> str:
    """Whole numbers with all of their digits."""
    return f"{value:,.0f}" if value == round(value) and abs(value) < WHOLE else column.written(value)


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("given", metavar="DATA")
@click.option("--out", metavar="FILE", help="Also write the findings as a page: audit.html.")
@DATA_DIR
@READING
@AS_JSON
def command(given: str, out: str | None, as_json: bool, **options: Any) -> None:
    """What is wrong with DATA: unreadable files, copies, leaks, odd columns, suspicious labels.

    \b
    shendu audit photos/
    shendu audit people.csv --target income --out audit.html
    """
    found = audit(given, **only_given(options))
    page = found.write(out) if out else None
    if as_json:
        return emit(found.to_json())
    echo(found.summary())
    table(found.lines())
    if page:
        echo(page)
    return None
