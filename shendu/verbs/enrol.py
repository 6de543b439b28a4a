"""enrol: pictures of a person into a gallery, as the embeddings of a run that compares.

A gallery is one .safetensors file: embeddings [N, D], and in its header the name of each and which weights made them.

Shape letters: N enrolled pictures, Q pictures that are looked at, D dimensions of an embedding.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import click
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import shendu.run
from shendu import registry
from shendu.errors import UserError
from shendu.options import AS_JSON, DEVICE, OPENS, echo, emit
from shendu.saved import Saved

ORDER = 90
BYTES_MOST, NAME_MOST = 1 << 30, 200
KIND = "shendu-gallery"


def enrol(
    run: Saved | str | Path, gallery: str | Path, name: str, *pictures: Any, device: str = "auto"
) -> dict[str, Any]:
    """Adds pictures of a person to a gallery, which is made where there is none: `{"gallery", "name", "pictures", "people"}`.

    Raises UserError for a picture that cannot be read, a gallery of other weights, and a run that does not compare.
    """
    opened, path = comparing(run), Path(gallery)
    if not name.strip() or len(name) > NAME_MOST or not name.isprintable():
        raise UserError(f"{name[:40]!r} is no name; give printable text of 1 to {NAME_MOST} characters")
    if path.suffix != ".safetensors":
        raise UserError(f"a gallery is a .safetensors file; write {path.with_suffix('.safetensors')}")
    kept = Gallery.read(path, opened) if path.exists() else None
    _, new = embeddings(opened, pictures, device)
    names = [*(kept.names if kept else ()), *([name] * len(new))]
    Gallery(torch.cat([kept.embeddings, new]) if kept else new, names).write(path, opened)
    return {"gallery": str(path), "name": name, "pictures": names.count(name), "people": len(set(names))}


class Gallery:
    """Embeddings [N, D] of length 1, and whose each is."""

    def __init__(self, embeddings: Tensor, names: list[str]) -> None:
        self.embeddings, self.names = embeddings, names

    @classmethod
    def read(cls, path: Path, run: Saved) -> Gallery:
        """Raises UserError for what is no gallery, or one of other weights."""
        if not path.exists():
            raise UserError(f"there is no gallery {path}; make it with: shendu enrol {run.path} {path} NAME PICTURE")
        anew = f"enrol into another file: shendu enrol {run.path} GALLERY NAME PICTURE"
        if not path.is_file() or path.stat().st_size > BYTES_MOST:
            raise UserError(f"{path} is no gallery; {anew}")
        try:
            with safe_open(path, framework="pt") as file:
                about, z = file.metadata() or {}, file.get_tensor("embeddings")
            names = json.loads(about["names"])
        except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
            raise UserError(f"{path} is no gallery ({str(error).splitlines()[0][:100]}); {anew}") from None
        sound = isinstance(names, list) and all(isinstance(name, str) and name.isprintable() for name in names)
        if about.get("format") != KIND or not sound or z.dtype != torch.float32 or z.dim() != 2 or len(z) != len(names):
            raise UserError(f"{path} is no gallery; {anew}")
        if about.get("weights") != fingerprint(run):
            raise UserError(f"{path} was made with other weights than those of {run.path}; name that run, or {anew}")
        found = cls(z, names)
        if about.get("seal") != found.seal():
            raise UserError(f"{path} is damaged: its embeddings or names are not those that were written; {anew}")
        return found

    def seal(self) -> str:
        """sha256 of embeddings and names: a changed byte would make another person of one."""
        names = json.dumps(self.names).encode()
        return hashlib.sha256(self.embeddings.contiguous().numpy().tobytes() + names).hexdigest()

    def write(self, path: Path, run: Saved) -> None:
        about = {"format": KIND, "names": json.dumps(self.names), "weights": fingerprint(run), "seal": self.seal()}
        temporary = path.with_name(f".{path.name}")
        with shendu.run.writing(path):
            save_file({"embeddings": self.embeddings.contiguous()}, temporary, metadata=about)
            shendu.run.sync(temporary)
            temporary.replace(path)


def comparing(run: Saved | str | Path) -> Saved:
    """The run; raises UserError for one whose model does not compare."""
    opened = Saved.of(run)
    if "embedding" not in opened.task.answers():
        raise UserError(
            f"{opened.path} is a run of {opened.recipe['system']}, which compares nothing; train one that does: "
            f"{registry.able('embed')}"
        )
    return opened


def limit(run: Saved) -> float:
    """The similarity from which on two are the same; raises UserError where none could be chosen."""
    threshold = float(run.task.threshold)  # type: ignore[arg-type]
    if math.isnan(threshold):
        raise UserError(
            f"{run.path} has no threshold, since its validation rows had no two classes; train it on more classes"
        )
    return threshold


def fingerprint(run: Saved) -> str:
    """sha256 of the run's weights."""
    with (run.path / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def embeddings(run: Saved, inputs: tuple[Any, ...], device: str) -> tuple[list[str], Tensor]:
    """A name per picture of files, folders and arrays, and their embeddings [Q, D]; raises UserError."""
    words: list[str] = []
    found: list[Tensor] = []
    for answered in run.predictor(device, "fp32").answers(*inputs):
        if answered.bad:
            first, why = next(iter(answered.bad.items()))
            raise UserError(f"cannot read {answered.names[first]}: {why}; leave it out")
        words += answered.names
        found.append(answered.outputs["embedding"])
    if not found:
        raise UserError("there is no picture to look at; give one or more, or a folder of them")
    return words, torch.cat(found)


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("run")
@click.argument("gallery")
@click.argument("name")
@click.argument("pictures", nargs=-1, required=True)
@DEVICE
@AS_JSON
@OPENS
def command(run: str, gallery: str, name: str, pictures: tuple[str, ...], device: str, as_json: bool) -> None:
    """Add PICTURES (files, folders) of NAME to GALLERY, as RUN sees them.

    \b
    shendu enrol runs/2026-11-22_face_orl-faces_1 office.safetensors Ann ann1.jpg ann2.jpg
    """
    done = enrol(run, gallery, name, *pictures, device=device)
    if as_json:
        return emit(done)
    echo(f"{done['gallery']}: {name} by {done['pictures']}, {done['people']} in all")
    return None
