"""Web: a folder with a page that asks the model in a browser, from a disk or any host, without a server: nothing is fetched.

The page holds onnxruntime-web, its WebAssembly, the model and all else, packed with gzip. Weights are stored in eight bits where
the model then gives the same answers.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any, ClassVar

import jinja2
import numpy as np

from shendu.core import Batch
from shendu.data import words
from shendu.errors import UserError
from shendu.exporting.format import Arrays, Format, Runs, Usage
from shendu.exporting.formats import onnx
from shendu.exporting.graph import Made

PACKAGE, VARIABLE = "onnxruntime-web", "SHENDU_ORT_WEB"
RUNTIME, WASM = Path("dist", "ort.wasm.bundle.min.mjs"), Path("dist", "ort-wasm-simd-threaded.wasm")
PAGE = Path(__file__).parents[1] / "page"
GRAPH = "model.onnx"
LARGE, CLOSE = 1024, 0.02
"""Weights from which a matrix is stored in eight bits; how far the likeliness of a class may move by it."""


class Web(Format):
    """index.html, with everything in it, and the same model as a file."""

    name: ClassVar[str] = "web"
    suffix: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = onnx.Onnx.needs
    words: ClassVar[bool] = True

    def check_there(self) -> None:
        super().check_there()
        runtime()

    def write(self, made: Made, place: Path) -> None:
        if lost := [role for role, control in made.task.controls().items() if not control]:
            raise UserError(
                f"{made.system} has no page: there is no way to give {', '.join(lost)} in one; try --format onnx"
            )
        onnx.FORMAT.write(made, place / GRAPH)

    def runs(self, made: Made, place: Path) -> Runs:
        return onnx.FORMAT.runs(made, place / GRAPH)

    def layers(self, made: Made, place: Path, given: Arrays) -> Arrays:
        return onnx.FORMAT.layers(made, place / GRAPH, given)

    def finish(self, made: Made, place: Path, rows: Batch) -> str:
        """The page around the proven graph, whose weights are stored in eight bits where that is as good."""
        note = in_eight_bits(made, place / GRAPH, rows)
        (place / "index.html").write_text(page(made, (place / GRAPH).read_bytes()), encoding="utf-8")
        return note

    def usage(self, name: str) -> Usage:
        return onnx.FORMAT.usage(GRAPH)


FORMAT = Web()


def runtime() -> Path:
    """The folder of onnxruntime-web; raises UserError where there is none."""
    given = os.environ.get(VARIABLE)
    places = [Path(given)] if given else [Path("node_modules", PACKAGE)]
    for place in places:
        if (place / RUNTIME).is_file() and (place / WASM).is_file():
            return place
    raise UserError(
        f"--format web needs {PACKAGE}, which npm has: npm install {PACKAGE}@1.30 in this folder, or name its folder in ${VARIABLE}"
    )


def page(made: Made, model: bytes) -> str:
    """One file that needs no network."""
    at = runtime()
    parts = {"model": model, "runtime": (at / RUNTIME).read_bytes(), "wasm": (at / WASM).read_bytes()}
    packed = {name: base64.b64encode(gzip.compress(data, 6, mtime=0)).decode() for name, data in parts.items()}
    known = made.about()
    about = {
        "inputs": {name: {"dtype": port["dtype"], "words": "words" in port} for name, port in known["inputs"].items()},
        "controls": made.task.controls(), "shown": made.task.shown(),
        "letters": {"alone": words.ALONE, "marks": words.MARKS, "joiners": words.JOINERS, "space": words.SPACE},
    }  # fmt: skip
    house = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGE), autoescape=True, undefined=jinja2.StrictUndefined)
    safe = jinja2.utils.markupsafe.Markup
    code = (PAGE / "page.js").read_text(encoding="utf-8")
    return house.get_template("page.html").render(
        title=f"{made.system} on {made.data}", footer=f"Made by {known['producer']}. Run by onnxruntime-web (MIT).",
        about=safe(json.dumps(about).replace("<", "\\u003c")), packed=packed, code=safe(code),
    )  # fmt: skip


# ---- weights in eight bits -------------------------------------------------------------------------------------------


def in_eight_bits(made: Made, place: Path, rows: Batch) -> str:
    """Replaces the file by one with large weights in eight bits where it gives every row the same label, or for want of labels
    nearly the same numbers; returns what was done."""
    import onnx as library

    smaller = eight_bits(library.load(place))
    if smaller is None:
        return ""
    temporary = place.with_suffix(".int8.onnx")
    library.save(smaller, temporary)
    given = {name: t.numpy() for name, t in made.task.offered(rows)[0].items()}
    found, wanted = (onnx.running(path, made.ports)(given) for path in (temporary, place))
    moved = max(shift(found[name], wanted[name], bool(made.task.labels)) for name in made.outputs)
    if moved > CLOSE:
        temporary.unlink()
        return f"weights stay in 32 bits: in 8 bits answers move by {moved:.2g}"
    before = place.stat().st_size
    shutil.move(temporary, place)
    return f"weights in 8 bits: {place.stat().st_size / before:.0%} of the size, answers move by {moved:.2g} at most"


def shift(found: np.ndarray, wanted: np.ndarray, labelled: bool) -> float:
    """How far answers have moved: the likeliness of a class, infinitely for another label; else in units of the largest value."""
    if labelled and wanted.ndim > 1:
        if (found.argmax(-1) != wanted.argmax(-1)).any():
            return float("inf")
        found, wanted = softmax(found), softmax(wanted)
    return float(np.abs(found - wanted).max(initial=0.0) / max(1e-9, np.abs(wanted).max(initial=0.0)))


def softmax(logits: np.ndarray) -> np.ndarray:
    grown = np.exp(logits - logits.max(-1, keepdims=True))
    return grown / grown.sum(-1, keepdims=True)


def eight_bits(model: Any) -> Any:
    """The model with its large float32 matrices and kernels as int8 with a scale per output, which the runtime multiplies out as it
    reads them, so that it computes in float32 as before; None where it has none."""
    import onnx as library
    from onnx import numpy_helper

    axes = {"Conv": 0, "Gemm": 0, "MatMul": -1, "Gather": 0}
    uses: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            if node.op_type in axes:
                uses.setdefault(name, axes[node.op_type])
    kept, added, changed = [], [], []
    for stored in model.graph.initializer:
        axis = uses.get(stored.name)
        values = (
            numpy_helper.to_array(stored)
            if axis is not None and stored.data_type == library.TensorProto.FLOAT
            else None
        )
        if values is None or axis is None or values.ndim < 2 or values.size < LARGE:
            kept.append(stored)
            continue
        axis %= values.ndim
        scale = np.abs(values).max(tuple(i for i in range(values.ndim) if i != axis)) / 127
        scale[scale == 0] = 1
        shaped = scale.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        coded = np.clip(np.rint(values / shaped), -127, 127).astype(np.int8)
        code, size = f"{stored.name}/int8", f"{stored.name}/scale"
        added += [numpy_helper.from_array(coded, code), numpy_helper.from_array(scale.astype(np.float32), size)]
        changed.append(library.helper.make_node("DequantizeLinear", [code, size], [stored.name], axis=axis))
    if not changed:
        return None
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *added])
    nodes = [*changed, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    library.checker.check_model(model, full_check=True)
    return model
