"""Excel files: the sheet, merged cells, formulas without values, dates in two dresses."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shendu
import shendu.data
from shendu.data import Dataset
from shendu.data.fields.row import Row
from shendu.errors import UserError

pytestmark = pytest.mark.usefixtures("fresh_cache")
openpyxl = pytest.importorskip("openpyxl")


def fill(sheet: Any, row: Callable[[int], list[Any]], count: int = 80) -> None:
    sheet.append(["v", "w", "y"])
    for i in range(count):
        sheet.append(row(i))


def plain(i: int) -> list[Any]:
    return [i * 1.5, i % 7, "ab"[i % 2]]


def saved(path: Path, write: Callable[[Any, Any], None]) -> Path:
    book = openpyxl.Workbook()
    write(book, book.active)
    book.save(path)
    return path


def kinds(data: Dataset) -> dict[str, str]:
    row = data.fields["row"]
    assert isinstance(row, Row)
    return {column.name: column.kind for column in row.columns}


def test_the_sheet_is_said_and_chosen(tmp_path: Path) -> None:
    def write(book: Any, sheet: Any) -> None:
        fill(sheet, plain)
        fill(book.create_sheet("year 2023"), lambda i: [i * 3.0, i % 7, "cd"[i % 2]])

    path = saved(tmp_path / "a.xlsx", write)
    data = shendu.data.open(path, target="y")
    assert data.classes == ("a", "b")
    assert data.notes[0] == "a.xlsx: the sheet Sheet is read, and not year 2023 (to read it: --sheet 'year 2023')"
    assert shendu.data.open(path, target="y", sheet="year 2023").classes == ("c", "d")
    with pytest.raises(UserError, match="has no sheet 'year 2022'; did you mean 'year 2023'"):
        shendu.data.open(path, target="y", sheet="year 2022")
    run = shendu.train("tabm", path, target="y", sheet="year 2023", steps=5, quiet=True, out=tmp_path / "run")
    first = shendu.predict(run.path, path, sheet="Sheet")
    assert shendu.predict(run.path, path) != first


def test_notes_before_the_data(tmp_path: Path) -> None:
    def write(book: Any, sheet: Any) -> None:
        sheet.append(["Notes"])
        sheet.append(["see next"])
        fill(book.create_sheet("Data"), plain)

    data = shendu.data.open(saved(tmp_path / "a.xlsx", write), target="y")
    assert data.notes[0] == "a.xlsx: the sheet Data is read, the only one that holds a table"
    assert len(data.splits["train"]) == 80


def test_one_column_is_named_as_such(tmp_path: Path) -> None:
    def write(book: Any, sheet: Any) -> None:
        for word in ("Notes", "see", "next"):
            sheet.append([word])

    path = saved(tmp_path / "a.xlsx", write)
    with pytest.raises(UserError) as found:
        shendu.data.open(path)
    assert str(found.value) == f"{path} has only one column (Notes): give one to learn from and one to predict"


def test_formulas_that_no_program_has_computed(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.xlsx", lambda book, sheet: fill(sheet, lambda i: [f"=B{i + 2}*2", i % 7, "ab"[i % 2]]))
    with pytest.raises(
        UserError, match=r"has 80 formulas in the column v that no program has computed, .* or save the sheet as CSV"
    ):
        shendu.data.open(path, target="y")
    some = saved(
        tmp_path / "b.xlsx",
        lambda book, sheet: fill(sheet, lambda i: ["=B3*2" if i % 8 == 0 else i * 1.5, i % 7, "ab"[i % 2]]),
    )
    assert (
        shendu.data.open(some, target="y")
        .notes[0]
        .startswith("b.xlsx: formulas without a value count as missing: v (10) (open the file in Excel or LibreOffice")
    )


def test_merged_cells_hold_their_value_in_each_row(tmp_path: Path) -> None:
    def write(book: Any, sheet: Any) -> None:
        fill(sheet, plain)
        for first, last, word in ((2, 41, "a"), (42, 81, "b")):
            sheet.cell(first, 3).value = word
            sheet.merge_cells(start_row=first, end_row=last, start_column=3, end_column=3)

    data = shendu.data.open(saved(tmp_path / "a.xlsx", write), target="y")
    assert data.notes[0] == "a.xlsx: the value of merged cells counts in each of their rows: C2:C41, C42:C81"
    assert data.splits["train"].column("target").tolist() == [0] * 40 + [1] * 40


@pytest.mark.parametrize("where", ["A1:C1", "A5:B5", "A1:A2"])
def test_merged_cells_that_are_no_rows(where: str, tmp_path: Path) -> None:
    def write(book: Any, sheet: Any) -> None:
        fill(sheet, plain)
        sheet.merge_cells(where)

    with pytest.raises(UserError, match=rf"has merged cells \({where} of the sheet Sheet\): unmerge them"):
        shendu.data.open(saved(tmp_path / "a.xlsx", write), target="y")


def day(i: int) -> datetime.datetime:
    return datetime.datetime(2024, 1, 1) + datetime.timedelta(days=i)


def test_dates_of_which_half_are_texts(tmp_path: Path) -> None:
    def mixed(i: int) -> list[Any]:
        return [day(i) if i % 2 else day(i).strftime("%d/%m/%Y"), i % 7, "ab"[i % 2]]

    data = shendu.data.open(saved(tmp_path / "a.xlsx", lambda book, sheet: fill(sheet, mixed)), target="y")
    all_dates = saved(tmp_path / "b.xlsx", lambda book, sheet: fill(sheet, lambda i: [day(i), i % 7, "ab"[i % 2]]))
    same = shendu.data.open(all_dates, target="y")
    assert "column v: 40 of the dates are texts, such as '01/01/2024', read as d.m.Y" in data.notes
    assert kinds(data) == {"v": "date", "w": "number"}
    np.testing.assert_array_equal(data.splits["train"].column("row"), same.splits["train"].column("row"))


def test_dates_whose_day_may_be_the_month(tmp_path: Path) -> None:
    def either(i: int) -> list[Any]:
        return [day(i) if i % 2 else f"0{i % 9 + 1}/0{i % 7 + 1}/2024", i % 7, "ab"[i % 2]]

    with pytest.raises(UserError, match="of which day and month may be either: make all of them dates"):
        shendu.data.open(saved(tmp_path / "a.xlsx", lambda book, sheet: fill(sheet, either)), target="y")
