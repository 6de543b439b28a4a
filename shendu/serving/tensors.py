"""The Open Inference Protocol, version 2, over HTTP: tensors in JSON or as their bytes <-> stored rows and answers.

An input is named as the model's; it is its stored numbers, or BYTES: texts, or the bytes of files, one an element. A table's
columns may be inputs of their own instead, each [R] or [R, 1]. The binary form is that of the protocol's extension: a JSON head
of `Inference-Header-Content-Length` bytes, and the tensors' bytes behind it.

Shape letters: R rows of a request.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from shendu import untrusted
from shendu.errors import UserError
from shendu.field import Field, Values
from shendu.serving.engine import Answer
from shendu.serving.inputs import ROWS_MOST, Read, Sent, as_type, finite, rows_of, settled
from shendu.serving.models import Loaded
from shendu.tasks import Task

NUMBERS_MOST = 1 << 26
"""Numbers of a tensor."""
LENGTH = "inference-header-content-length"
TYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "INT8": "int8", "INT16": "int16",
    "INT32": "int32", "INT64": "int64", "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
"""The protocol's word -> NumPy's. BYTES are texts and files."""
WORDS = {name: word for word, name in TYPES.items()}


class Request(NamedTuple):
    """What is asked: an id, the rows, and which outputs are wanted and how."""

    id: str
    read: Read
    outputs: list[dict[str, Any]]
    binary: bool
    """Whether outputs that say nothing else of it come as bytes."""


HEAD: Any = {
    "id": str, "inputs": list[dict[str, Any]], "outputs": list[dict[str, Any]], "parameters": dict[str, Any],
}  # fmt: skip
"""Entry of a request -> its type."""
INPUT: Any = {"name": str, "shape": list[int], "datatype": str, "parameters": dict[str, Any], "data": list[Any]}


def request_of(loaded: Loaded, body: bytes, length: str | None) -> Request:
    """A request's body, of which the first `length` bytes are JSON; None: all. Raises UserError for what does not fit."""
    head, tail = _parts(body, length)
    check(head, HEAD, "the request")
    if not head.get("inputs"):
        raise UserError(
            'the request has no inputs; send {"inputs": [{"name": …, "shape": …, "datatype": …, "data": …}]}'
        )
    tensors: dict[str, np.ndarray] = {}
    for each in head["inputs"]:
        check(each, INPUT, "an input")
        name = each.get("name", "")
        if not name or name in tensors:
            raise UserError(f"an input has {'no name' if not name else 'the name ' + name[:80] + ' twice'}")
        tensors[name], tail = tensor_of(each, tail)
    if len(tail):
        raise UserError(f"{len(tail):,} bytes behind the JSON head belong to no input")
    outputs = head.get("outputs", [])
    for each in outputs:
        check(each, {"name": str, "parameters": dict[str, Any]}, "an output")
    binary = bool(head.get("parameters", {}).get("binary_data_output", False))
    return Request(head.get("id", ""), rows(loaded.task, tensors), outputs, binary)


def _parts(body: bytes, length: str | None) -> tuple[dict[str, Any], memoryview]:
    size = len(body)
    if length is not None:
        if not length.isdigit() or len(length) > 12 or int(length) > len(body):
            raise UserError(f"the header {LENGTH} does not fit the body of {len(body):,} bytes")
        size = int(length)
    try:
        head = untrusted.parsed(body[:size])
    except untrusted.Unreadable as error:
        raise UserError(f"the request is no JSON: {error}") from None
    return head, memoryview(body)[size:]


def check(value: Any, types: dict[str, Any], what: str) -> None:
    """Raises UserError where an object's entries are of other types."""
    if not isinstance(value, dict):
        raise UserError(f"{what} is no object")
    for name, wanted in types.items():
        if name in value and (wrong := untrusted.misfit(value[name], wanted, name)):
            raise UserError(f"{what}: {wrong}")


def tensor_of(each: dict[str, Any], tail: memoryview) -> tuple[np.ndarray, memoryview]:
    """An input as an array, of bytes objects where it is BYTES; and the bytes that are left. Raises UserError."""
    name, kind, shape = each["name"][:80], each.get("datatype", ""), each.get("shape", [])
    if kind not in TYPES and kind != "BYTES":
        raise UserError(f"input {name} has the datatype {str(kind)[:20]!r}; known: {', '.join([*TYPES, 'BYTES'])}")
    if not shape or min(shape) < 0 or math.prod(shape) > NUMBERS_MOST:
        raise UserError(
            f"input {name} has the shape {str(shape)[:80]}; it is [rows, …], of {NUMBERS_MOST:,} numbers at most"
        )
    count, size = math.prod(shape), each.get("parameters", {}).get("binary_data_size")
    if size is None:
        return _of_json(name, kind, shape, each.get("data")), tail
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(tail):
        raise UserError(f"input {name} says that it has {str(size)[:20]} bytes, and {len(tail):,} are there")
    own, tail = tail[:size], tail[size:]
    if kind == "BYTES":
        return _array_of_bytes(name, list(_each_of(own, name)), shape), tail
    dtype = np.dtype(TYPES[kind])
    if count * dtype.itemsize != size:
        raise UserError(
            f"input {name} of the shape {shape} has {count * dtype.itemsize:,} bytes as {kind}, not {size:,}"
        )
    return np.frombuffer(own, dtype).reshape(shape), tail


def _each_of(own: memoryview, name: str) -> Iterator[bytes]:
    """Elements of BYTES: the length of each in 4 bytes, and it."""
    at = 0
    while at < len(own):
        length = int.from_bytes(own[at : at + 4], "little")
        if at + 4 + length > len(own):
            raise UserError(f"input {name} is cut short: an element of {length:,} bytes is not there")
        yield bytes(own[at + 4 : at + 4 + length])
        at += 4 + length


def _array_of_bytes(name: str, values: list[bytes], shape: list[int]) -> np.ndarray:
    if len(values) != math.prod(shape):
        raise UserError(f"input {name} of the shape {shape} has {math.prod(shape):,} elements, not {len(values):,}")
    found = np.empty(len(values), object)
    found[:] = values
    return found.reshape(shape)


def _of_json(name: str, kind: str, shape: list[int], data: Any) -> np.ndarray:
    """Flat or nested lists. Raises UserError."""
    if data is None:
        raise UserError(f"input {name} has no data")
    if kind == "BYTES":
        values = list(_flat(data, name))
        if any(not isinstance(value, str) for value in values):
            raise UserError(f"input {name} holds other things than text")
        return _array_of_bytes(name, [value.encode("utf-8", "replace") for value in values], shape)
    try:
        array = np.asarray(data)
    except ValueError:
        raise UserError(f"input {name} has rows of different lengths") from None
    if array.dtype.kind not in "biuf":
        raise UserError(f"input {name} holds other things than numbers")
    if array.size != math.prod(shape):
        raise UserError(f"input {name} of the shape {shape} has {math.prod(shape):,} numbers, not {array.size:,}")
    wanted = np.dtype(TYPES[kind])
    if wanted.kind == "b":
        if array.size and not np.isin(array, (0, 1)).all():
            raise UserError(f"input {name} holds other things than true and false")
        return array.astype(bool).reshape(shape)
    return as_type(array, TYPES[kind]).astype(wanted).reshape(shape)


def _flat(data: Any, name: str, depth: int = 8) -> Iterator[Any]:
    if not isinstance(data, list):
        yield data
        return
    if not depth:
        raise UserError(f"input {name} is nested too deep")
    for each in data:
        yield from _flat(each, name, depth - 1)


# ---- rows ------------------------------------------------------------------------------------------------------------


def rows(task: Task, tensors: dict[str, np.ndarray]) -> Read:
    """Tensors by the inputs' names, or by those of a table's columns, as stored rows. Raises UserError."""
    if tensors.keys() != task.inputs.keys():
        columns = {one["name"] for one in task.input.entry().get("columns", ())}
        if len(task.inputs) == 1 and columns and tensors.keys() <= columns:
            return rows_of(task, _of_columns(tensors))
        raise UserError(f"the inputs are {', '.join(tensors)[:200]}, and the model takes {', '.join(task.inputs)}")
    if max(len(array) for array in tensors.values()) > ROWS_MOST:
        raise UserError(f"there are more than the {ROWS_MOST:,} rows of one request; send them in several")
    if any(array.dtype == object for array in tensors.values()):
        return rows_of(task, _of_bytes(task, tensors))
    found: dict[str, Any] = {}
    notes: list[str] = []
    for name, field in task.inputs.items():
        own, said = _own(name, field, tensors[name])
        found |= {name + part: rows for part, rows in own.items()}
        notes += said
    return settled(task, found, notes)


def _of_bytes(task: Task, tensors: dict[str, np.ndarray]) -> list[Any]:
    """Texts and files, and what stands beside them, as plain values of rows."""
    columns = []
    for name, array in tensors.items():
        if array.dtype != object:
            columns.append(array.tolist())
            continue
        flat = [bytes(value) for value in array.reshape(-1).tolist()]
        filed = task.inputs[name].filed
        columns.append([Sent("", value) if filed else value.decode("utf-8", "replace") for value in flat])
    if len({len(values) for values in columns}) != 1:
        raise UserError("the inputs have different numbers of rows; send as many of each")
    if len(columns) == 1:
        return columns[0]
    return [dict(zip(tensors, row, strict=True)) for row in zip(*columns, strict=True)]


def _own(name: str, field: Field, array: np.ndarray) -> tuple[Values, list[str]]:
    try:
        own, _, notes = field.read(as_type(array, field.dtype))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"input {name} does not fit {field.words} ({' '.join(str(error).split())[:120]})") from None
    return own, list(notes)


def _of_columns(tensors: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """A row for each element of the columns."""
    flat = {name: array.reshape(-1) for name, array in tensors.items()}
    if len({len(array) for array in flat.values()}) != 1 or max(map(len, flat.values())) > ROWS_MOST:
        raise UserError(f"the columns have different numbers of rows, or more than {ROWS_MOST:,}")
    columns = {
        name: [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in array.tolist()]
        for name, array in flat.items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


# ---- answers ---------------------------------------------------------------------------------------------------------


def answer_of(request: Request, answer: Answer) -> tuple[bytes, int | None]:
    """The response's body, and how many of its bytes are JSON; None: all. Raises UserError for an output that there is not."""
    there = tensors_of(answer)
    wanted = request.outputs or [{"name": name} for name in there]
    told, tail = [], []
    for each in wanted:
        name = each.get("name", "")
        if name not in there:
            raise UserError(f"there is no output '{str(name)[:80]}'; known: {', '.join(there)}")
        array, binary = there[name], each.get("parameters", {}).get("binary_data", request.binary)
        about: dict[str, Any] = {"name": name, "datatype": datatype(array), "shape": list(array.shape)}
        if binary is True:
            data = packed(array)
            tail.append(data)
            about["parameters"] = {"binary_data_size": len(data)}
        else:
            about["data"] = [
                as_text(value) if array.dtype == object else finite(value) for value in array.reshape(-1).tolist()
            ]
        told.append(about)
    head = {
        "model_name": answer.loaded.name, "model_version": answer.loaded.version, "id": request.id,
        "parameters": {"hash": answer.loaded.hash, **({"notes": "; ".join(request.read.notes)} if request.read.notes else {})},
        "outputs": told,
    }  # fmt: skip
    body = json.dumps(head, ensure_ascii=False).encode()
    return body + b"".join(tail), len(body) if tail else None


def tensors_of(answer: Answer) -> dict[str, np.ndarray]:
    """What the model gave, and what the task tells of it; texts as arrays of objects."""
    given = {name: t.cpu() for name, t in answer.outputs.items()}
    arrays = {name: (t.float() if t.dtype == torch.bfloat16 else t).numpy() for name, t in given.items()}
    told = answer.loaded.task.columns(answer.outputs, answer.stored)
    return {**arrays, **{name: _as_array(values) for name, values in told.items() if name not in arrays}}


def _as_array(values: Any) -> np.ndarray:
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return values
    listed = list(values)
    if listed and all(isinstance(value, bool) for value in listed):
        return np.array(listed, bool)
    if listed and all(isinstance(value, int | float) and not isinstance(value, bool) for value in listed):
        return np.array(listed)
    found = np.empty(len(listed), object)
    found[:] = [as_text(value) for value in listed]
    return found


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(finite(value), ensure_ascii=False, default=str)


def datatype(array: np.ndarray) -> str:
    return "BYTES" if array.dtype == object else WORDS[array.dtype.name]


def packed(array: np.ndarray) -> bytes:
    """A tensor's bytes, of BYTES each element's length before it."""
    if array.dtype != object:
        return np.ascontiguousarray(array).tobytes()
    each = [value.encode() for value in array.reshape(-1).tolist()]
    return b"".join(len(one).to_bytes(4, "little") + one for one in each)


def metadata(loaded: Loaded) -> dict[str, Any]:
    """What the protocol says of a model: its inputs as they are stored, and its outputs."""
    task, (stored, outputs) = loaded.task, loaded.example
    inputs = []
    for name, field in task.inputs.items():
        how = field.storage()[""]
        kind = "BYTES" if how.ragged or field.running else WORDS.get(how.dtype, "BYTES")
        inputs.append({"name": name, "datatype": kind, "shape": [-1, *how.shape] if kind != "BYTES" else [-1]})
    there = tensors_of(Answer([], outputs, stored, loaded, 1))
    told = [{"name": name, "datatype": datatype(a), "shape": [-1, *a.shape[1:]]} for name, a in there.items()]
    return {
        "name": loaded.name, "versions": [loaded.version], "platform": "shendu", "inputs": inputs, "outputs": told,
        "parameters": {"hash": loaded.hash, "system": loaded.system, "task": task.kind},
    }  # fmt: skip
