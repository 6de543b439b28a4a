"""Changes to a finished network: what is removed, factored, folded or rounded. One kind of change, one file.

A system builds its own network, whole, and the changes that config.json names are made to it before its weights are loaded: so a
compressed run opens as any other. A file under changes/ is a kind of change by being there; nothing in a file names code.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn

from shendu import config
from shendu.core import Config, Json
from shendu.errors import UserError, unknown

ROOT = Path(__file__).parent / "changes"


class Change:
    """A frozen dataclass of JSON values that says how a network differs from the one before it."""

    kind: ClassVar[str]
    """Its name in files: that of its own file here."""
    known: ClassVar[dict[str, type[Change]]] = {}

    def __init_subclass__(cls) -> None:
        if "kind" in vars(cls):
            Change.known[cls.kind] = cls

    def apply(self, model: nn.Module) -> None:
        """Changes a network in place, as far as names and shapes go: weights are loaded afterwards. Never makes it larger than
        it was but by a constant share. Raises UserError where the network is not the one that was changed."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it changes")

    def to_json(self) -> Json:
        return {"kind": self.kind, **config.to_json(self)}


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A network's description, and what is changed in what it builds."""

    net: Config
    changes: tuple[Change, ...] = ()

    def build(self) -> nn.Module:
        model = self.net.build()
        for change in self.changes:
            change.apply(model)
        return model


def changed(net: Config, changes: tuple[Change, ...]) -> Config:
    """The description with more changes."""
    if not changes:
        return net
    own, before = parts(net)
    return Changed(net=own, changes=(*before, *changes))


def parts(net: Config) -> tuple[Config, tuple[Change, ...]]:
    """A description without its changes, and these."""
    return (net.net, net.changes) if isinstance(net, Changed) else (net, ())


def from_file(values: Json) -> tuple[Change, ...]:
    """The changes that a file lists; raises UserError for a kind that is not known here, and for other values than its own."""
    return tuple(
        config.from_json(load(str(each.get("kind"))), {key: value for key, value in each.items() if key != "kind"})
        for each in values
    )


def load(kind: str) -> type[Change]:
    """The class of a kind, of a file under changes/."""
    if kind not in Change.known and kind in kinds():
        importlib.import_module(f"shendu.compressing.changes.{kind}")
    if kind not in Change.known:
        raise unknown("change", kind, kinds())
    return Change.known[kind]


def kinds() -> list[str]:
    return sorted(path.stem for path in ROOT.glob("*.py") if not path.stem.startswith("_"))


def layer_of(model: nn.Module, name: str) -> nn.Module:
    """A module of a network by its name; raises UserError where there is none."""
    found = dict(model.named_modules()).get(name) if name else None
    if found is None:
        raise UserError(f"the network has no layer called {name!r}")
    return found


def put(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Puts a module in the place of the one of that name."""
    parent, _, last = name.rpartition(".")
    holder = layer_of(model, parent) if parent else model
    holder._modules[last] = layer
