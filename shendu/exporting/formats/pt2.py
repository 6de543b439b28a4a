"""PT2: torch's own form of a graph (torch.export), which torch runs without the code of the network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.export import ExportedProgram

from shendu.exporting.format import Arrays, Format, Runs, Usage
from shendu.exporting.graph import Made

ABOUT = "about.json"
MODEL = "L['self'].model."


class Pt2(Format):
    """One file. Words of a table's cells are given as their codes."""

    name: ClassVar[str] = "pt2"
    suffix: ClassVar[str] = ".pt2"

    def write(self, made: Made, place: Path) -> None:
        text = json.dumps(made.about(), ensure_ascii=False)
        torch.export.save(made.program, place, extra_files={ABOUT: text})

    def runs(self, made: Made, place: Path) -> Runs:
        loaded = torch.export.load(place).module()

        def run(given: Arrays) -> Arrays:
            with torch.no_grad():
                found = loaded(*(torch.from_numpy(given[name]) for name in made.ports))
            return {name: t.numpy() for name, t in zip(made.outputs, found, strict=True)}

        return run

    def layers(self, made: Made, place: Path, given: Arrays) -> Arrays:
        walk = Walk(torch.export.load(place))
        with torch.no_grad():
            walk.run(*(torch.from_numpy(given[name]) for name in made.ports))
        return walk.seen

    def usage(self, name: str) -> Usage:
        return Usage(
            ("import json", "import torch"),
            (
                f'about = {{"{ABOUT}": ""}}',
                f'graph = torch.export.load("{name}", extra_files=about).module()',
                'inputs = json.loads(about["about.json"])["inputs"]',
                "said = graph(*(torch.from_numpy(given[name].copy()) for name in inputs))[0].detach().numpy()",
                'labels = json.loads(about["about.json"])["labels"]',
            ),
        )


FORMAT = Pt2()


class Walk(torch.fx.Interpreter):
    """Runs a graph and keeps the last value that each innermost module computes."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__(program.module())
        self.seen: Arrays = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        found = super().run_node(n)
        stack = list(n.meta.get("nn_module_stack", {}).values())
        if stack and isinstance(found, Tensor):
            path = stack[-1][0].removeprefix(MODEL).removeprefix("model.")
            self.seen[path] = found.detach().numpy()
        return found
