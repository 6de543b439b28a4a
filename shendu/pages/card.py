"""The model card: README.md of a run, with figures that were measured and how to use the model."""

from __future__ import annotations

import json
import shlex
from typing import Any

from shendu.run import Folder
from shendu.shown import line


def model_card(folder: Folder, result: dict[str, Any]) -> str:
    """Markdown with the front matter that model hubs read."""
    recipe = folder.need("recipe.json")
    sure = result["intervals"]
    rows = [
        f"| {part} | {name} | {value:.4f} | {_between(sure.get(part, {}).get(name))} |"
        for part, figures in result["metrics"].items()
        for name, value in figures.items()
    ]
    signed = [f"{name}: `{signature}`." for name, signature in result.get("signatures", {}).items()]
    data = line(result["data"])
    return "\n".join([
        "---", "library_name: shendu", f"datasets: [{data}]", "---", "",
        f"# {result['system']} on {data}", "", f"{recipe['summary']}.", "",
        f"Made by `{line(command(recipe))}` (seed {result['seed']}, {result['steps']:,} steps, {result['seconds']:.0f} s on "
        f"{result['device']} in {result['precision']}); {result['parameters']:,} parameters.", "",
        "| part | metric | figure | 95% interval |", "|---|---|---|---|", *rows, "",
        "The training part's figures are on at most 10,000 of its rows; the test part was used for these figures alone.",
        *signed, "",
        "## Use", "", *use(folder, recipe), "",
    ])  # fmt: skip


def use(folder: Folder, recipe: dict[str, Any]) -> list[str]:
    """How to ask the model, with what opens it where a person's own code made it."""
    own = recipe.get("own") or {}
    if "module" in own:
        name = own["module"].rpartition(".")[2]
        return ["```python", f'run = shendu.Run("{folder.path}", module={name}(…))', "run.predict(INPUT)", "```"]
    more = f" --file {shlex.quote(own['file'])}" if own else ""
    return ["```sh", f"shendu predict {folder.path} INPUT{more}", f"shendu evaluate {folder.path}{more}", "```"]


def _between(ends: list[float] | None) -> str:
    return f"{ends[0]:.4f} to {ends[1]:.4f}" if ends else ""


def command(made: dict[str, Any]) -> str:
    """The line that makes this run again."""
    if "compressed" in made:
        return str(made["compressed"]["command"])
    own = made.get("own") or {}
    if "module" in own:
        given = [
            f"{made['system']}(…)",
            repr(made["data"]["given"]),
            *(f"{k}={v!r}" for k, v in made["choices"].items()),
        ]
        return f"shendu.train({', '.join(given)})"
    words = ["shendu", "train", own.get("file", made["system"]), made["data"]["given"]]
    for name, value in made["data"].get("reading", {}).items():
        option = "--type" if name == "types" else f"--{name.replace('_', '-')}"
        given = value if isinstance(value, list) else [value] if value not in ("", 0, False, "auto") else []
        words += [word for one in given for word in ([option] if one is True else [option, str(one)])]
    for name, value in made["choices"].items():
        words += ["--set", f"{name}={plain(value)}"]
    return shlex.join(words)


def plain(value: Any) -> str:
    """A setting as a person would type it."""
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)
