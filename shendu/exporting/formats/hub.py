"""Hub: a folder as model hubs have it: weights, config, card, and the graph as ONNX, which any runtime of it runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file

from shendu.errors import UserError
from shendu.exporting.format import Arrays, Format, Runs, Usage
from shendu.exporting.formats import onnx
from shendu.exporting.graph import Made
from shendu.pages.card import model_card
from shendu.run import Folder
from shendu.saved import unaliased

COPIED = ("model.safetensors", "config.json", "task.json", "result.json")
GRAPH = Path("onnx", "model.onnx")


class Hub(Format):
    """What `shendu` opens as a run, without what is of the machine that it was made on."""

    name: ClassVar[str] = "hub"
    suffix: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = onnx.Onnx.needs
    words: ClassVar[bool] = True

    def write(self, made: Made, place: Path) -> None:
        run, copy = Folder(made.folder), Folder(place)
        if run.read("recipe.json") is None or run.read("result.json") is None:
            raise UserError(
                f"{run.path} is no finished run of shendu, of which a hub's folder is made; train one, or publish it as it is"
            )
        for name in COPIED:
            shutil.copyfile(run.path / name, place / name)
        copy.write("recipe.json", without_places(run.need("recipe.json")))
        card = model_card(copy, run.need("result.json")).replace(str(place), ".")
        (place / "README.md").write_text(card, encoding="utf-8")
        (place / GRAPH).parent.mkdir()
        onnx.FORMAT.write(made, place / GRAPH)
        check_weights(made, place)

    def runs(self, made: Made, place: Path) -> Runs:
        return onnx.FORMAT.runs(made, place / GRAPH)

    def layers(self, made: Made, place: Path, given: Arrays) -> Arrays:
        return onnx.FORMAT.layers(made, place / GRAPH, given)

    def usage(self, name: str) -> Usage:
        return onnx.FORMAT.usage(GRAPH.as_posix())


FORMAT = Hub()


def without_places(recipe: dict[str, Any]) -> dict[str, Any]:
    """How a run was made, without the folders of the machine."""
    about = {**recipe["data"], "source": "", "data_dir": None}
    given = Path(str(about.get("given", "")))
    about["given"] = given.name if given.is_absolute() else str(given)
    return {**{key: value for key, value in recipe.items() if key != "seal"}, "data": about}


def check_weights(made: Made, place: Path) -> None:
    """Raises UserError where the weights that were copied are not, bit for bit, those of the model."""
    stored = Folder(place).need("config.json")
    copied = unaliased(load_file(place / "model.safetensors"), stored["aliases"])
    for name, t in made.model.state_dict().items():
        if name not in copied or not torch.equal(copied[name], t):
            raise UserError(f"{place.name} would hold other weights than the model ({name}); restore the run's folder")
