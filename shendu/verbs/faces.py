"""enrol, verify, identify: who is on a picture, by the embeddings of a run that compares.

A gallery is one .safetensors file: embeddings [N, D], and in its header the name of each and which weights made them.

Shape letters: N enrolled pictures, Q pictures that are asked about, D dimensions of an embedding.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import shendu.run
from shendu import data, parallel
from shendu.data.processors.embedding import Embedding
from shendu.errors import UserError
from shendu.measure import BATCH, outputs_of
from shendu.verbs.opened import Run

BYTES_MOST, NAME_MOST = 1 << 30, 200
KIND = "shendu-gallery"


def enrol(
    run: Run | str | Path, gallery: str | Path, name: str, *pictures: Any, device: str = "auto"
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


def verify(run: Run | str | Path, first: Any, second: Any, device: str = "auto") -> dict[str, Any]:
    """Whether two pictures show the same: `{"same", "similarity", "threshold"}`. Raises UserError."""
    opened = comparing(run)
    _, z = embeddings(opened, (first, second), device)
    if len(z) != 2:
        raise UserError(f"verify compares two pictures, these are {len(z)}; to ask who is on many use: shendu identify")
    similarity, threshold = float(z[0] @ z[1]), limit(opened)
    return {"same": similarity >= threshold, "similarity": similarity, "threshold": threshold}


def identify(run: Run | str | Path, gallery: str | Path, *pictures: Any, device: str = "auto") -> list[dict[str, Any]]:
    """Who is on each picture: `{"input", "name", "similarity", "nearest"}`; `name` is None below the threshold.

    A person is as similar as the most similar of the pictures enrolled. Raises UserError.
    """
    opened = comparing(run)
    known, threshold = Gallery.read(Path(gallery), opened), limit(opened)
    words, z = embeddings(opened, pictures, device)
    best = (z @ known.embeddings.T).max(1)
    nearest = [known.names[i] for i in best.indices.tolist()]
    return [
        {"input": word, "name": name if value >= threshold else None, "similarity": value, "nearest": name}
        for word, name, value in zip(words, nearest, best.values.tolist(), strict=True)
    ]


class Gallery:
    """Embeddings [N, D] of length 1, and whose each is."""

    def __init__(self, embeddings: Tensor, names: list[str]) -> None:
        self.embeddings, self.names = embeddings, names

    @classmethod
    def read(cls, path: Path, run: Run) -> Gallery:
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
        return cls(z, names)

    def write(self, path: Path, run: Run) -> None:
        about = {"format": KIND, "names": json.dumps(self.names), "weights": fingerprint(run)}
        temporary = path.with_name(f".{path.name}")
        with shendu.run.writing(path):
            save_file({"embeddings": self.embeddings.contiguous()}, temporary, metadata=about)
            shendu.run.sync(temporary)
            temporary.replace(path)


def comparing(run: Run | str | Path) -> Run:
    """The run; raises UserError for one whose model does not compare."""
    opened = run if isinstance(run, Run) else Run(run)
    if not isinstance(opened.processor, Embedding):
        raise UserError(
            f"{opened.path} is a run of {opened.recipe['system']}, which compares nothing; train face or siamese"
        )
    return opened


def limit(run: Run) -> float:
    """The similarity from which on two are the same; raises UserError where none could be chosen."""
    if run.processor.threshold is None:
        raise UserError(
            f"{run.path} has no threshold, since its validation rows had no two classes; train it on more classes"
        )
    return float(run.processor.threshold)


def fingerprint(run: Run) -> str:
    """sha256 of the run's weights."""
    with (run.path / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def embeddings(run: Run, inputs: tuple[Any, ...], device: str) -> tuple[list[str], Tensor]:
    """A name per picture of files, folders and arrays, and their embeddings [Q, D]; raises UserError."""
    chosen, column = parallel.choose_device(device), run.processor.input
    model = parallel.place(run.model, chosen)
    words: list[str] = []
    found: list[Tensor] = []
    for _, names, stored in data.pieces(inputs, {"x": column}):
        words += names
        for rows in torch.from_numpy(stored["x"].copy()).split(BATCH):
            with parallel.evaluating(model):
                batch = run.processor.prepare({"x": rows})
                found.append(outputs_of(model, run.processor, batch, chosen, "fp32").cpu())
    if not found:
        raise UserError("there is no picture to look at; give one or more, or a folder of them")
    return words, torch.cat(found)
