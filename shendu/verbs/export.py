"""export: a finished run as others run it, each export held to the model on real rows before it is given back."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import torch

from shendu.core import Batch
from shendu.errors import UserError
from shendu.exporting import formats, proof, usage
from shendu.exporting.format import Format
from shendu.exporting.graph import Made, made
from shendu.options import AS_JSON, DATA_DIR, OPENS, READING, echo, emit, only_given
from shendu.pages.display import aside
from shendu.run import writing
from shendu.saved import Saved, opened
from shendu.tasks import Task
from shendu.verbs.evaluate import measured_part, named_data

ORDER = 63
PUBLIC = ("export",)
USUAL = "onnx"


def export(
    run: Saved | str | Path,
    data: Any = None,
    *,
    format: str = USUAL,
    out: str | Path | None = None,
    part: str = "test",
    data_dir: str | Path | None = None,
    say: Callable[[str], None] = aside,
    **how: Any,
) -> dict[str, Any]:
    """Writes a run's model in a format of others, and proves it: `{"run", "format", "out", "files", "bytes", "proof"}`.

    The graph takes raw inputs (pictures of any size, samples, cells by column, tokens) and any number of them; what prepares
    them is in it. Its own runtime and the model are asked about up to 100 rows of the run's test part, or of `data` (as
    `evaluate` takes it, with the same `part`, `data_dir` and words on reading), at three batch sizes and, where inputs may vary,
    at three input sizes. Beside it lie a description (.json), tokenizers, and a few lines of Python that use it (_usage.py).

    `out` is a file, or a folder for the formats that are one; by default `model` with the format's ending, in the run's folder.
    `proof` is None where nothing here can run the format; `unproven` then says why. Raises UserError for an unknown format, a
    library that is missing, an `out` that exists, a model that cannot be written so, and an export that differs from its model,
    with the first layer that does.
    """
    form, found = formats.of(format), opened(run)
    target = target_of(form, found, out)
    system, data_name = found.recipe["system"], found.recipe["data"].get("name", "")
    prepared = made(found.task, found.model, system, data_name, found.path, found.code.ggml)
    rows = real_rows(found, data, part, data_dir, how)
    with staged(target, folder=not form.suffix) as place:
        form.write(prepared, place)
        proven = None if form.unproven else proof.prove(form, prepared, place, rows)
        if note := form.finish(prepared, place, rows):
            say(note)
        beside(form, prepared, place, target)
        files = moved(place, target, folder=not form.suffix)
    said = {"run": str(found.path), "format": form.name, "out": str(target), "files": [str(file) for file in files]}
    written = [file for file in (target.rglob("*") if target.is_dir() else [target]) if file.is_file()]
    size = sum(file.stat().st_size for file in written)
    unproven = {"unproven": form.unproven} if form.unproven else {}
    return {**said, "bytes": size, "proof": None if proven is None else proven.to_json(), **unproven}


def target_of(form: Format, run: Saved, out: str | Path | None) -> Path:
    """Where the export is to lie; raises UserError where that exists, or has another ending than the format's."""
    path = run.path / f"{'model' if form.suffix else form.name}{form.suffix}" if out is None else Path(out)
    if form.suffix and path.suffix != form.suffix:
        raise UserError(
            f"--out {path}: a model as {form.name} is a {form.suffix} file; write it like --out model{form.suffix}"
        )
    if path.exists():
        raise UserError(f"--out {path} exists already; remove it, or choose another name with --out")
    return path


def real_rows(run: Saved, data: Any, part: str, data_dir: str | Path | None, how: dict[str, Any]) -> Batch:
    """The first stored rows of a part, without their targets."""
    task: Task = run.task
    dataset = named_data(run, data, data_dir, how)
    source = task.held_out(dataset, measured_part(dataset, part))
    stored = source.stored(torch.arange(min(proof.ROWS, source.rows)))  # type: ignore[attr-defined]
    asked = {role + part for role, field in task.inputs.items() for part in field.storage()}
    return {name: t for name, t in stored.items() if name in asked}


@contextmanager
def staged(target: Path, folder: bool) -> Iterator[Path]:
    """A place beside the target, of the same name, that is gone afterwards: nothing half-written or unproven is left."""
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        place = room / target.name
        if folder:
            place.mkdir()
        with writing(place):
            yield place
    finally:
        shutil.rmtree(room, ignore_errors=True)


def beside(form: Format, prepared: Made, place: Path, target: Path) -> None:
    """What travels with an export: its description, its tokenizers, and how it is used."""
    room, stem = (place, "") if not form.suffix else (place.parent, f"{target.stem}.")
    (room / f"{stem or 'model.'}json").write_text(
        json.dumps(prepared.about(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for port, text in prepared.task.tokenizers().items():
        (room / f"{stem}{usage.tokenizer_of(port)}").write_text(text, encoding="utf-8")
    lines = usage.written(form, prepared, target, stem)
    (room / (f"{target.stem}_usage.py" if form.suffix else "usage.py")).write_text(lines, encoding="utf-8")


def moved(place: Path, target: Path, folder: bool) -> list[Path]:
    """The staged files at their own places, which are returned; those beside the export replace older ones."""
    if folder:
        place.rename(target)
        return [target]
    files = sorted(sorted(place.parent.iterdir()), key=lambda file: file != place)
    return [file.replace(target.parent / file.name) for file in files]


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("run")
@click.argument("data", required=False)
@click.option("--format", default="onnx", metavar="NAME", help="onnx (default), pt2, openvino, hub, gguf, web, …")
@click.option("--out", metavar="FILE", help="Where it is written; else into the run's folder.")
@click.option("--part", default="test", help="Which part's rows it is proven on: test, validation or train.")
@DATA_DIR
@READING
@AS_JSON
@OPENS
def command(run: str, data: str | None, as_json: bool, **options: Any) -> None:
    """RUN's model as ONNX and other formats, each held to the model on rows of its data, or of DATA.

    \b
    shendu export runs/2026-11-22_lenet_mnist_1 --format onnx --out model.onnx
    """
    result = export(run, data, **only_given(options))
    if as_json:
        return emit(result)
    for file in result["files"]:
        echo(file)
    echo(f"proven: {result['proof']['words']}" if result["proof"] else f"unproven: {result['unproven']}")
    return None
