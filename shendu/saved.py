"""A run that exists on the disk: how it was made, its figures, its model."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

import shendu.run
from shendu import compressing, config, kept, own, parallel, registry, tasks
from shendu.compressing.packing import Packing, check_packing, outlined, packed, unpacked
from shendu.errors import UserError, out_of_memory
from shendu.nn.outline import bound, misfit, outline, shapes_of
from shendu.predictor import Predictor
from shendu.recipes.bare import Bare
from shendu.run import Folder
from shendu.tasks import Task

SMALLER = 64
"""How many times fewer numbers a file may have than the network that it was made of, before it was changed."""


class Saved:
    """A run folder, read when asked. `Saved("runs/…")` raises UserError where there is no run.

    A run that a person's own file made asks for the `file`, or to `trust` the text that it keeps; that of a bare nn.Module asks for
    the `module`: of its shape, with whatever weights.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        file: str | Path | None = None,
        trust: bool = False,
        module: nn.Module | None = None,
    ) -> None:
        self.folder = Folder(path)
        self.path = self.folder.path
        self._file, self._trust, self._module = file, trust, module
        if self.recipe is None:
            raise UserError(f"{self.path} is no run (it has no recipe.json); `shendu runs` lists those under runs/")

    def opening(self) -> dict[str, Any]:
        """What this run was opened with, and one of the same code opens with."""
        return {"file": self._file, "trust": self._trust, "module": self._module}

    @staticmethod
    def of(run: Saved | str | Path) -> Saved:
        """The run that is meant, by its folder or itself."""
        return run if isinstance(run, Saved) else Saved(run)

    @property
    def recipe(self) -> Any:
        """System, choices, data and model config: how the run was made."""
        return self.folder.read("recipe.json")

    @property
    def result(self) -> Any:
        """The final figures; None while the run is unfinished."""
        return self.folder.read("result.json")

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @cached_property
    def code(self) -> Any:
        """What made it: a system's module, or what stands for a bare one. Raises UserError where it is code that nobody allows."""
        about = self.recipe.get("own")
        if not about and own.is_file(self.recipe["system"]):  # what a folder says runs no file by itself
            raise UserError(
                f"{self.path / 'recipe.json'} names no system ({self.recipe['system']}); restore the run's folder"
            )
        if not about:
            return registry.load(self.recipe["system"])
        if "file" in about:
            return registry.whole(own.opened(self.path, about, self._file, self._trust))
        if self._module is None:
            raise UserError(
                f"{self.path} holds the weights of a module, {about['module']}, and not its code; open it from Python: "
                f'shendu.Run("{self.path}", module={about["module"].rpartition(".")[2]}(…))'
            )
        return Bare(self._module)

    @cached_property
    def task(self) -> Task:
        values = self.folder.read("task.json")
        if values is None:
            raise self.unfinished()
        _ = self.code  # its kinds of tasks and fields may be its own
        with self.describing("task.json", "a task"):
            return tasks.from_file(values)

    @cached_property
    def net(self) -> Any:
        """The network's description, as its system and what was changed in it make it."""
        stored = self.folder.need("config.json")
        code = self.code
        with self.describing("config.json", f"a network of {stored['system']}"):
            changes = compressing.from_file(stored.get("changes", []))
            return compressing.changed(config.from_json(code.Config, stored["config"]), changes)

    @property
    def packing(self) -> Packing:
        """Which weights lie rounded in the file, and how."""
        found: Packing = self.folder.need("config.json").get("packing", {})
        return found

    @cached_property
    def model(self) -> nn.Module:
        """The trained network on the CPU, in eval mode."""
        stored = self.folder.read("config.json")
        weights = self.path / "model.safetensors"
        if stored is None or not weights.exists():
            raise self.unfinished()
        if stored["system"] != self.recipe["system"]:
            raise UserError(
                f"{self.path / 'config.json'} describes a network of {stored['system']}, recipe.json one of "
                f"{self.recipe['system']}; restore the run's folder"
            )
        shapes, packing = self.shapes(weights, stored["aliases"]), self.packing
        with self.describing("config.json", f"a network of {stored['system']}"):
            net = self.net
            most = bound(shapes.values()) * (SMALLER if packing or compressing.parts(net)[1] else 1)
            whole = outline(net, most)
            wrong = misfit(shapes, outlined(whole, shapes, check_packing(packing)))
        if wrong and self._module is not None:
            raise UserError(f"{self.path} holds the weights of another module than the one that was given ({wrong})")
        if wrong:
            raise self.damaged(weights, f"holds other weights than config.json describes ({wrong})")
        self.check_seals(stored["files"])
        try:
            tensors = unpacked(unaliased(load_file(weights), stored["aliases"]), packing, whole)
        except (SafetensorError, OSError, ValueError) as error:
            raise self.damaged(weights, f"cannot be read ({error})") from None
        if name := shendu.run.not_finite(tensors):
            raise self.damaged(weights, f"holds NaN or infinity in {name}")
        with self.describing("config.json", f"a network of {stored['system']}"):
            model: nn.Module = net.build()
            model.load_state_dict(tensors)
        return parallel.place(model.eval(), torch.device("cpu"))

    def shapes(self, weights: Path, aliases: dict[str, str]) -> dict[str, torch.Tensor]:
        """What the file of weights says that it holds, as tensors without numbers."""
        try:
            return unaliased(shapes_of(weights), aliases)
        except (SafetensorError, KeyError, OSError) as error:
            raise self.damaged(weights, f"cannot be read ({error})") from None

    def check_seals(self, files: dict[str, str]) -> None:
        """Raises UserError where the weights or the task are not those that config.json was written with."""
        weights, task = self.path / "model.safetensors", self.path / "task.json"
        if shendu.run.sha256(weights) != files.get(weights.name):
            raise self.damaged(weights, "has changed since it was written: its hash is not the one in config.json")
        if kept.seal_of(self.folder.need(task.name)) != files.get(task.name):
            raise UserError(
                f"{task} is of another run than config.json; restore the run's folder, or remove {weights} and have all three made "
                f"from the last checkpoint: {self.continued}"
            )

    @contextlib.contextmanager
    def describing(self, name: str, what: str) -> Iterator[None]:
        """What goes wrong while something is made as a file of the run says is that file's fault, and said in a line."""
        try:
            yield
        except UserError as error:
            raise UserError(f"{self.path / name}: {error}") from None
        except Exception as error:
            if out_of_memory(error) or own.told(error):
                raise
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(
                f"{self.path / name} does not describe {what} ({why}); restore it, or train again with another --out"
            ) from None

    def predictor(self, device: str = "auto", precision: str = "auto") -> Predictor:
        """The model with its task on a device."""
        return Predictor(self.task, self.model, device, precision)

    def damaged(self, weights: Path, why: str) -> UserError:
        return UserError(f"{weights} {why}; remove it, and have it made from the last checkpoint: {self.continued}")

    def unfinished(self) -> UserError:
        return UserError(f"{self.path} is not finished; continue it with: {self.continued}")

    @property
    def continued(self) -> str:
        """The command that goes on with it."""
        return own.continued(self.path, self.recipe.get("own"), "compressed" in self.recipe)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def _repr_html_(self) -> str:
        result, recipe = self.result, self.recipe
        title = f"<b>{html.escape(recipe['system'])}</b> on {html.escape(recipe['data']['name'])}"
        if result is None:
            return f"<p>{title}: unfinished, in <code>{html.escape(str(self.path))}</code></p>"
        names = list(dict.fromkeys(name for figures in result["metrics"].values() for name in figures))
        heads = "".join(f"<th>{html.escape(name)}</th>" for name in ("part", *names))
        rows = "".join(
            f"<tr><td>{html.escape(part)}</td>"
            + "".join(f"<td>{figures[name]:.4f}</td>" if name in figures else "<td></td>" for name in names)
            + "</tr>"
            for part, figures in result["metrics"].items()
        )
        how = f"{result['seconds']:.1f} s of training, {result['parameters']:,} parameters, {html.escape(result['device'])}"
        place = html.escape(str(self.path))
        return (
            f"<p>{title}<br>{how}</p><table><tr>{heads}</tr>{rows}</table>"
            f'<p><code>{place}</code> · <a href="{place}/report.html">report.html</a></p>'
        )


class Checkpoint(Saved):
    """A model's folder as others publish it, read by the system that knows it; how it was trained is not known."""

    def __init__(self, path: str | Path, system: str) -> None:
        self.folder, self.system = Folder(path), system
        self.path = self.folder.path

    @property
    def recipe(self) -> Any:
        return {
            "system": self.system,
            "choices": {},
            "data": {"given": "", "source": "", "reading": {}, "data_dir": None},
        }

    @cached_property
    def _read(self) -> tuple[nn.Module, Task]:
        return registry.load(self.system).from_folder(self.path)

    @cached_property
    def task(self) -> Task:
        return self._read[1]

    @cached_property
    def model(self) -> nn.Module:
        return parallel.place(self._read[0].eval(), torch.device("cpu"))


def opened(run: Saved | str | Path) -> Saved:
    """A run, or the checkpoint that a folder holds in another library's form; raises UserError where it is neither."""
    if isinstance(run, Saved):
        return run
    system = published_as(Folder(run))
    return Checkpoint(run, system) if system else Saved(run)


def published_as(folder: Folder) -> str:
    """The system that reads a folder which is no run: the one that config.json names as its type; empty: there is none."""
    stored = None if folder.read("recipe.json") else kept.load(folder.path / "config.json", check=False)
    system = str((stored or {}).get("model_type"))
    return system if system in registry.systems() and registry.load(system).from_folder else ""


def save_model(
    folder: Folder, system: str, net: Any, model: nn.Module, task: Task, packing: Packing | None = None
) -> None:
    """model.safetensors, task.json and config.json, which seals all three: what loads and shares a model. Raises UserError for
    weights that are not finite. `packing` says which weights lie rounded in the file, as the network has them already."""
    tensors: dict[str, torch.Tensor] = {}
    tree = shendu.run.pack(dict(model.state_dict()), tensors)
    named = {key: value["$tensor"] for key, value in tree["$dict"]}
    first = {target: key for key, target in reversed(named.items())}
    aliases = {key: first[target] for key, target in named.items() if first[target] != key}
    stored = {first[target]: tensors[target] for target in first}
    if name := shendu.run.not_finite(stored):
        raise UserError(f"the network's {name} holds NaN or infinity, so it is not saved; try a lower --lr")
    stored = packed(stored, packing or {})
    path = folder.path / "model.safetensors"
    temporary = path.with_name(".model.safetensors")
    with shendu.run.writing(path):
        save_file(stored, temporary, metadata={"format": "pt"})
        shendu.run.sync(temporary)
        temporary.replace(path)
    folder.write("task.json", task.to_json())
    files = {path.name: shendu.run.sha256(path), "task.json": kept.seal_of(folder.need("task.json"))}
    plain, changes = compressing.parts(net)
    about = {"system": system, "model_type": f"shendu-{system}", "config": config.to_json(plain)}
    more: dict[str, Any] = {"changes": [change.to_json() for change in changes]} if changes else {}
    more |= {"packing": packing} if packing else {}
    folder.write("config.json", {**about, "aliases": aliases, **more, "files": files})


def unaliased(tensors: dict[str, torch.Tensor], aliases: dict[str, str]) -> dict[str, torch.Tensor]:
    return {**tensors, **{key: tensors[target] for key, target in aliases.items()}}
