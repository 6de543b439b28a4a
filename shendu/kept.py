"""The JSON files of a run: what each holds, and the seal by which a changed one is noticed. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any, TypedDict

from shendu.errors import UserError
from shendu.untrusted import Unreadable, read

SEAL = "seal"
"""The entry that holds the hash of all others."""


class About(TypedDict, total=False):
    """The data of a run."""

    name: str
    source: str
    given: str
    hash: str
    data_dir: str | None
    reading: dict[str, Any]
    rows: dict[str, int]
    notes: list[str]


class Stage(TypedDict, total=False):
    """How long a stage of a recipe is, and by how many rows it steps."""

    name: str
    steps: int
    batch_size: int
    accumulate: int


class Recipe(TypedDict, total=False):
    """recipe.json: how a run is made."""

    system: str
    summary: str
    own: dict[str, str] | None
    choices: dict[str, Any]
    seed: int
    data: About
    settings: dict[str, Any]
    model: dict[str, Any]
    stages: list[Stage]
    select_by: str | None
    ema: float
    weights: dict[str, str] | None
    estimator: str
    compressed: dict[str, Any]
    shendu: str


class Packed(TypedDict, total=False):
    """How a weight lies in model.safetensors."""

    bits: int
    sparse: bool


class Network(TypedDict, total=False):
    """config.json: the network, and by which hashes its weights and its task are known."""

    system: str
    model_type: str
    config: dict[str, Any]
    aliases: dict[str, str]
    changes: list[dict[str, Any]]
    packing: dict[str, Packed]
    files: dict[str, str]


class Described(TypedDict, total=False):
    """task.json: what a run is for."""

    kind: str
    inputs: dict[str, dict[str, Any]]
    targets: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    calibrated: dict[str, Any]


class Result(TypedDict, total=False):
    """result.json: the final figures."""

    system: str
    data: str
    seed: int
    metrics: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, tuple[float, float]]]
    seconds: float
    samples_per_second: float
    steps: int
    parameters: int
    device: str
    precision: str
    compiled: bool
    skipped_steps: list[list[int]]
    resume: str
    warning: str
    signatures: dict[str, str]
    weights: str
    """The hash of the weights that were measured."""
    compressed: dict[str, Any]


class Estimator(TypedDict, total=False):
    """estimator.json: an estimator's parameters and columns."""

    kind: str
    params: dict[str, Any]
    names: list[str] | None
    columns: int


HOLDS: dict[str, Any] = {
    "recipe.json": Recipe,
    "config.json": Network,
    "task.json": Described,
    "result.json": Result,
    "estimator.json": Estimator,
}


class Entries(dict[str, Any]):
    """What a JSON file holds; asking for an entry that a damaged one lacks raises UserError."""

    def __init__(self, path: Path, entries: dict[str, Any]) -> None:
        super().__init__(entries)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self.path} lacks '{key}'; restore it, or train again with another --out")


def seal_of(values: dict[str, Any]) -> str:
    """The hash of all entries but the seal: of what they say, not of how the file is laid out."""
    said = {key: value for key, value in values.items() if key != SEAL}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def sealed(values: dict[str, Any]) -> dict[str, Any]:
    """The entries as a file will give them back, and their seal."""
    plain = json.loads(json.dumps(values))
    return {**plain, SEAL: seal_of(plain)}


def load(path: Path, check: bool = True) -> Any:
    """What a JSON file of a run holds, None where it does not exist. Raises UserError where it is damaged: now, or when an entry
    is asked for that it lacks. `check`: False for a file that another program may have written, which has no seal."""
    try:
        values = read(
            path,
            HOLDS.get(path.name, dict[str, Any]) if check else dict[str, Any],
            hook=lambda found: Entries(path, found),
        )
        if check and values.pop(SEAL, None) != seal_of(values):
            raise Unreadable("it has changed since it was written: its seal does not match")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, Unreadable) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it, or train again with another --out") from None
    if path.name == "result.json":
        _check_measured(path, values)
    return values


def _check_measured(path: Path, result: Any) -> None:
    """Raises UserError where figures are those of other weights than the ones beside them."""
    network = load(path.with_name("config.json"))
    if network is None or result["weights"] == network["files"].get("model.safetensors"):
        return
    raise UserError(
        f"{path} has the figures of other weights than those beside it; restore it, or remove it and have it made anew: "
        f"shendu train --resume {shlex.quote(str(path.parent))}"
    )
