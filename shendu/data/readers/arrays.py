"""Arrays as data: NumPy arrays, torch tensors, dictionaries of them, and .npz files."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shendu.data import labels, offsets
from shendu.data.class_folders import ARRAYS, files_of
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.data.fields.number import Number
from shendu.data.files.cache import Decoded, Room
from shendu.data.moments import chunks
from shendu.data.reader import Claim, Items, Key, Place, Reader
from shendu.errors import UserError
from shendu.field import Field
from shendu.reading import Reading

_PARTS = {"train": "train", "validation": "val", "test": "test"}
"""Split -> how an array's name ends."""
SURE, ANY_PATH = 0.9, 0.2
_DEFLATE_MOST = 1032
_BYTES_MOST = 1 << 36


class Arrays(Reader):
    """(x, y), a dict of arrays or tensors, an .npz file; and .npy files, or arrays, of what a model is asked about."""

    name = "arrays"

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        if place.path:
            return Claim(1.0, "an .npz file", (place.path, reading.task)) if place.file and is_npz(place.head) else None
        given = without_labels(place.given) if reading.task == "anomaly" else place.given
        if isinstance(given, tuple | list) and len(given) == 2:
            given = {"x": given[0], "y": given[1]}
        return Claim(SURE, "arrays", (given, reading.task)) if isinstance(given, Mapping) else None

    def key(self, claim: Claim) -> Key:
        found, task = claim.found
        return Key({"npz": found}, {"kind": "npz", "task": task}) if isinstance(found, Path) else Key({}, {}, "data")

    def read(self, claim: Claim, room: Room) -> Decoded:
        found, task = claim.found
        return decoded(load(found), str(found), task) if isinstance(found, Path) else decoded(found, "data", task)

    def encoded(self, claim: Claim, fields: dict[str, Field]) -> Decoded | None:
        """What targets are is the run's to say: few of them look like another kind."""
        found, task = claim.found
        target = list(fields.values())[-1] if len(fields) > 1 else None
        task = task if target is None or task == "anomaly" else "classes" if target.classes else "numbers"
        return decoded(load(found), str(found), task) if isinstance(found, Path) else decoded(found, "data", task)

    def offers(self, given: Any, fields: dict[str, Field]) -> float:
        if len(fields) != 1:
            return 0.0
        if isinstance(given, str | Path):
            return 0.95 if Path(given).suffix.lower() in ARRAYS else ANY_PATH
        return SURE if hasattr(given, "detach") or isinstance(given, np.ndarray) else 0.0

    def items(self, given: Any, fields: dict[str, Field]) -> Items:
        (name,) = fields
        if not isinstance(given, str | Path):
            yield "input", [type(given).__name__], {name: given}
            return
        for file in files_of(Path(given), (".npy",), "arrays"):
            yield "input", [str(file)], {name: of_file(file)}


def is_npz(head: bytes) -> bool:
    """Whether a zip archive's first entry is an array."""
    return head[:2] == b"PK" and head[30 : 30 + int.from_bytes(head[26:28], "little")].endswith(b".npy")


def of_file(path: Path) -> np.ndarray:
    """The array of a .npy file; raises UserError."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        raise UserError(
            f"{path} is no NumPy array file without pickled objects; save numbers or text with numpy.save"
        ) from None
    if not isinstance(found, np.ndarray):
        raise UserError(
            f"{path} holds several arrays ({', '.join(found.files)}); save the one to predict with numpy.save"
        )
    return found


def decoded(arrays: Mapping[str, Any], name: str, task: str = "auto") -> Decoded:
    """Columns from x_train, y_train (or x, y) and perhaps x_val, y_val, x_test, y_test. Raises UserError.

    uint8 [N, H, W], [N, H, W, C] or [N, C, H, W] becomes an image, any other x numbers; whole numbers, booleans and
    text in y become classes, numbers stored as fractions a number, unless the task (`classes`, `numbers`) says otherwise.
    """
    keys = recognised(arrays, name)
    splits = {split: (_plain(arrays[x], f"{x} of {name}"), _plain(arrays[y], f"{y} of {name}")) for split, x, y in keys}
    for split, x, y in keys:
        rows, targets = splits[split]
        if not rows.ndim or not targets.ndim or len(rows) != len(targets):
            counts = [f"{len(v):,} rows" if v.ndim else "a single value" for v in (rows, targets)]
            raise UserError(f"{name} has {counts[0]} in {x} but {counts[1]} in {y}: both must have one row per sample")
    names = {split: f"{x} of {name}" for split, x, _ in keys}
    field, inputs, notes = _inputs({split: x for split, (x, _) in splits.items()}, names)
    names = {split: f"{y} of {name}" for split, _, y in keys}
    kind, targets_of, why = _targets({split: y for split, (_, y) in splits.items()}, names, task)
    input, target = "image" if isinstance(field, Image) else "x", "label" if isinstance(kind, Category) else "y"
    return Decoded(
        fields={input: field, target: kind},
        splits={split: {input: inputs[split], target: targets_of[split]} for split in splits},
        inputs=(input,),
        targets=(target,),
        notes=(*notes, *why),
    )


def without_labels(data: Any) -> Any:
    """An array of rows, or a dict of such (x, or x_train, x_val, x_test), with zeros for labels; other data as they are."""
    if isinstance(data, np.ndarray) or (hasattr(data, "detach") and hasattr(data, "numpy")):
        data = {"x": data}
    if not isinstance(data, Mapping):
        return data
    rows = {key: values for key, values in data.items() if str(key).startswith("x")}
    return {**rows, **{f"y{key[1:]}": np.zeros(len(values), np.float32) for key, values in rows.items()}}


def recognised(arrays: Mapping[str, Any], name: str) -> list[tuple[str, str, str]]:
    """(split, key of x, key of y) of the parts that are there; raises UserError."""
    has = ", ".join(map(str, arrays)) or "nothing"
    if "x" in arrays and "y" in arrays and "x_train" not in arrays:
        return [("train", "x", "y")]
    if "x_train" not in arrays or "y_train" not in arrays:
        raise UserError(f"{name} has the arrays {has}: name them x_train and y_train, or x and y")
    found = []
    for split, end in _PARTS.items():
        halves = [key for key in (f"x_{end}", f"y_{end}") if key in arrays]
        if len(halves) == 1:
            raise UserError(f"{name} has {halves[0]} without its other half among {has}: give x_{end} and y_{end}")
        if halves:
            found.append((split, *halves))
    return found  # type: ignore[return-value]


def _plain(values: Any, what: str) -> np.ndarray:
    """A NumPy array of numbers, booleans or text."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        half = values.is_floating_point() and values.element_size() < 4
        values = (values.float() if half else values).numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise UserError(f"{what} has rows of different lengths: make it a rectangular array") from error
    if array.dtype == object and all(isinstance(value, str) for value in array.flat):
        array = array.astype(str)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind not in "biufU":
        raise UserError(f"{what} is an array of {array.dtype}: give numbers or text")
    return array


def _inputs(
    arrays: dict[str, np.ndarray], what: dict[str, str]
) -> tuple[Field, dict[str, np.ndarray], tuple[str, ...]]:
    first = arrays["train"]
    shape = _row_shape(arrays, what)
    if all(x.dtype == np.uint8 for x in arrays.values()) and first.ndim in (3, 4):
        if first.ndim == 3:
            return _image({split: x[..., None] for split, x in arrays.items()})
        if first.shape[3] in (1, 3, 4):
            return _image(arrays)
        if first.shape[1] in (1, 3) and min(first.shape[2:]) > 4:
            field, turned, _ = _image({split: x.transpose(0, 2, 3, 1) for split, x in arrays.items()})
            channels, height, width = first.shape[1:]
            note = f"x of shape [N, {channels}, {height}, {width}] read as pictures, channels moved last"
            return field, turned, (note,)
    return *_numbers(arrays, what, shape), ()


def _numbers(
    arrays: dict[str, np.ndarray], what: dict[str, str], shape: tuple[int, ...]
) -> tuple[Field, dict[str, np.ndarray]]:
    """Real numbers, less the offset that the training part needs."""
    train = arrays["train"]
    offset = offsets.found(train.reshape(len(train), math.prod(shape))) if train.dtype.kind != "U" else ()
    numbers = {split: _floats(x, what[split], offset, shape) for split, x in arrays.items()}
    return Number(shape=shape, offset=offset), numbers


def _image(arrays: dict[str, np.ndarray]) -> tuple[Field, dict[str, np.ndarray], tuple[str, ...]]:
    height, width, channels = arrays["train"].shape[1:]
    return (
        Image(height=height, width=width, channels=channels),
        {split: np.ascontiguousarray(x) for split, x in arrays.items()},
        (),
    )


def _row_shape(arrays: dict[str, np.ndarray], what: dict[str, str]) -> tuple[int, ...]:
    """The shape of a row, which must be the same in all splits."""
    wanted = arrays["train"].shape[1:]
    for split, values in arrays.items():
        if values.shape[1:] != wanted:
            shapes = f"{list(values.shape[1:])}, {what['train']} of {list(wanted)}"
            raise UserError(f"{what[split]} has rows of shape {shapes}: give all parts the same shape")
    if 0 in wanted:
        raise UserError(f"{what['train']} has rows of shape {list(wanted)}, so no values: give at least one per row")
    return wanted


def _floats(array: np.ndarray, what: str, offset: offsets.Offset, shape: tuple[int, ...]) -> np.ndarray:
    if array.dtype.kind == "U":
        raise UserError(f"{what} is text: give numbers")
    values = offsets.without(array, offset, shape)
    start = 0
    for part in chunks(values):
        finite = np.isfinite(part)
        if not finite.all():
            row = start + int(np.flatnonzero(~finite.reshape(len(part), -1).all(axis=1))[0])
            raise UserError(f"{what} has NaN or an infinite value in row {row:,}: remove that row or fill it in")
        start += len(part)
    return values


def _targets(
    arrays: dict[str, np.ndarray], what: dict[str, str], task: str
) -> tuple[Field, dict[str, np.ndarray], tuple[str, ...]]:
    arrays = {split: y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y for split, y in arrays.items()}
    shape, train = _row_shape(arrays, what), arrays["train"]
    numbers, why = _as_numbers(train, task)
    if numbers:
        return *_numbers(arrays, what, shape), why
    if shape:
        raise UserError(f"{what['train']} has rows of shape {list(shape)}: give one class per row, such as y.argmax(1)")
    values = np.unique(train)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError(f"{what['train']} has NaN or an infinite value, which is no class: leave those rows out")
    names, type = labels.of_values(values)
    return Category(names=names, type=type), {s: _codes(y, values, names, what, s) for s, y in arrays.items()}, why


def _as_numbers(y: np.ndarray, task: str) -> tuple[bool, tuple[str, ...]]:
    """(whether targets are numbers and not classes, a note where that is a guess)."""
    if task in ("classes", "numbers") or y.ndim > 1:
        return task == "numbers" or (task != "classes" and y.dtype.kind == "f"), ()
    if y.dtype.kind == "f":
        whole = bool(np.isfinite(y).all() and np.array_equal(y, np.round(y)))
        return True, (
            "y is learned as a number, since it is stored as fractions (else: --task classes)",
        ) if whole else ()
    distinct = len(np.unique(y))
    if y.dtype.kind in "iu" and distinct > max(2, len(y) / 2):
        return True, (
            f"y is learned as a number, since it holds whole numbers of {distinct:,} values (else: --task classes)",
        )
    note = f"y is learned as {distinct:,} classes, since it holds whole numbers (else: --task numbers)"
    return False, (note,) if y.dtype.kind in "iu" else ()


def _codes(y: np.ndarray, values: np.ndarray, names: tuple[str, ...], what: dict[str, str], split: str) -> np.ndarray:
    """int64 [N]: which of the training part's classes each row has."""
    import pyarrow as pa

    if y.dtype.kind != values.dtype.kind and "U" in (y.dtype.kind, values.dtype.kind):
        raise UserError(f"{what[split]} is {y.dtype} but {what['train']} is {values.dtype}: give both the same type")
    own, at = np.unique(y, return_inverse=True)
    found = labels.places(pa.array(labels.of_values(own)[0], pa.string()), names)[at]
    strange = np.flatnonzero(found < 0)
    if len(strange):
        raise UserError(
            f"{what[split]} has the class {y[strange[0]]} in row {strange[0]:,}, which no training row has: "
            "correct the labels"
        )
    return found


def load(path: Path) -> dict[str, np.ndarray]:
    """The recognised arrays of an .npz file, never unpickled; raises UserError."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            wanted = {key for _, *keys in recognised(members, str(path)) for key in keys}
            return {key: _load(archive, info, path) for key, info in members.items() if key in wanted}
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (
        *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
        *(EOFError, NotImplementedError, OverflowError, RuntimeError, SyntaxError, TypeError, ValueError),
    ) as error:
        raise UserError(f"{path} is damaged or cut short ({_line(error)}): save or copy it again") from error


def _line(error: BaseException) -> str:
    return str(error).split("\n")[0][:200]


def _load(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """One array, its header held against the bytes that can be there before room is made for it."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise ValueError(f"{info.filename} is of version {version}")
        shape, _, dtype = readers[version](file)
        if dtype.hasobject:
            raise UserError(f"{path} needs pickle for {info.filename}, which could run any code: save numbers or text")
        promised, header = math.prod(shape) * dtype.itemsize, file.tell()
        there = info.file_size - header
        if promised != there or info.file_size > min(info.compress_size * _DEFLATE_MOST + 64, _BYTES_MOST):
            raise ValueError(f"{info.filename} promises {promised:,} bytes, has {there:,}")
    with archive.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
