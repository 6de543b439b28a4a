"""Tables in memory: what `datasets` holds, pictures and recordings in cells, a table and its targets."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image as Pillow
from pyarrow import parquet

from shendu import data as data_module
from shendu.errors import UserError

pytestmark = pytest.mark.usefixtures("fresh_cache")


class Features(dict[str, Any]):
    def to_dict(self) -> dict[str, Any]:
        return dict(self)


class Hugging:
    """What is used of a `datasets.Dataset`: rows by index through with_format("arrow"), and features."""

    def __init__(self, table: pa.Table, features: dict[str, Any]) -> None:
        self.table, self.features = table, Features(features)

    def with_format(self, kind: str) -> Hugging:
        assert kind == "arrow"
        return self

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: slice) -> pa.Table:
        return self.table[rows]


CLASSES = {"label": {"_type": "ClassLabel", "names": ["dark", "light"]}}
FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def shades(count: int) -> pa.Table:
    """Pictures of one shade in cells, as `datasets` keeps them, and the numbers of their classes."""
    files = []
    for i in range(count):
        file = io.BytesIO()
        Pillow.new("L", (4, 3), 40 + 160 * (i % 2) + i).save(file, "PNG")
        files.append({"bytes": file.getvalue(), "path": None})
    return pa.table({"image": pa.array(files, FILE), "label": [i % 2 for i in range(count)]})


def test_a_table_of_datasets_in_memory_has_named_classes() -> None:
    made = Hugging(pa.table({"a": [1.5, 2.5, 3.5] * 4, "label": [0, 1, 0] * 4}), CLASSES)
    data = data_module.open(made)
    assert data.classes == ("dark", "light")
    parts = data_module.open({"train": made, "test": Hugging(made.table[:5], CLASSES)})
    assert {part: len(split) for part, split in parts.splits.items()} == {"train": 12, "test": 5}


def test_pictures_in_cells_are_pictures(tmp_path: Path) -> None:
    """In memory, and in a Parquet file of the hub, whose schema names the classes."""
    table = shades(12)
    data = data_module.open(Hugging(table, CLASSES))
    assert (data.classes, data.fields[data.input].shape) == (("dark", "light"), (1, 3, 4))
    pixels = data.splits["train"].column(data.input)
    assert pixels[:, 0, 0, 0].tolist() == [40 + 160 * (i % 2) + i for i in range(12)]
    about = json.dumps({"info": {"features": CLASSES}})
    parquet.write_table(table.replace_schema_metadata({"huggingface": about}), tmp_path / "x.parquet")
    same = data_module.open(tmp_path / "x.parquet")
    np.testing.assert_array_equal(same.splits["train"].column(same.input), pixels)
    assert same.classes == data.classes
    assert "the pictures in image are learned from" in same.notes


def test_a_picture_in_a_cell_that_cannot_be_read_is_named(one_line: Any) -> None:
    rows = shades(8).to_pylist()
    rows[3]["image"] = {"bytes": b"no picture", "path": None}
    rows[5]["image"] = None
    table = pa.Table.from_pylist(rows, schema=shades(1).schema)
    with pytest.raises(UserError) as caught:
        data_module.open(table)
    assert one_line(caught.value).startswith("the table has 2 unreadable pictures, the first is train row 4 (")
    left = data_module.open(table, skip_bad=True)
    assert len(left.splits["train"]) == 6
    with pytest.raises(UserError, match="are told apart by classes, and the target holds numbers"):
        data_module.open(table.set_column(1, "label", pa.array([i + 0.5 for i in range(8)])))


def test_recordings_in_cells_are_recordings() -> None:
    def wav(pitch: int) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, np.sin(np.arange(800) * pitch / 50).astype(np.float32), 8000, format="WAV")
        return file.getvalue()

    files = pa.array([{"bytes": wav(1 + i % 2), "path": f"{i}.wav"} for i in range(8)], FILE)
    data = data_module.open(pa.table({"audio": files, "label": ["low", "high"] * 4}))
    assert (data.input, data.classes, len(data.splits["train"])) == ("recording", ("high", "low"), 8)


def test_a_table_and_its_targets() -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": [1.5, 2.5, 3.5] * 4, "b": ["x", "y", "z"] * 4})
    data = data_module.open((frame, pd.Series(["no", "yes", "no"] * 4, name="bought")))
    assert data.classes == ("no", "yes")
    assert data_module.open((frame, ["no", "yes", "no"] * 4)).classes == ("no", "yes")
    with pytest.raises(UserError, match="the table has 12 rows, and there are 2 targets"):
        data_module.open((frame, [1, 2]))
    with pytest.raises(UserError, match="the table has a column 'a' too"):
        data_module.open((frame, pd.Series([1] * 12, name="a")))
