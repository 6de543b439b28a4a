"""The model card: README.md of a run, with figures that were measured and how to use the model."""

from __future__ import annotations

from typing import Any

from shendu.pages.report import command
from shendu.registry import entry
from shendu.run import Folder


def model_card(folder: Folder, result: dict[str, Any]) -> str:
    """Markdown with the front matter that model hubs read."""
    recipe = folder.read("recipe.json")
    sure = result["intervals"]
    rows = [
        f"| {part} | {name} | {value:.4f} | {_between(sure.get(part, {}).get(name))} |"
        for part, figures in result["metrics"].items()
        for name, value in figures.items()
    ]
    signed = [f"{name}: `{signature}`." for name, signature in result.get("signatures", {}).items()]
    return "\n".join([
        "---", "library_name: shendu", f"datasets: [{result['data']}]", "---", "",
        f"# {result['system']} on {result['data']}", "", f"{entry(result['system']).summary}.", "",
        f"Made by `{command(recipe)}` (seed {result['seed']}, {result['steps']:,} steps, {result['seconds']:.0f} s on "
        f"{result['device']} in {result['precision']}); {result['parameters']:,} parameters.", "",
        "| part | metric | figure | 95% interval |", "|---|---|---|---|", *rows, "",
        "The training part's figures are on at most 10,000 of its rows; the test part was used for these figures alone.",
        *signed, "",
        "## Use", "", "```sh", f"shendu predict {folder.path} INPUT", f"shendu evaluate {folder.path}", "```", "",
    ])  # fmt: skip


def _between(ends: list[float] | None) -> str:
    return f"{ends[0]:.4f} to {ends[1]:.4f}" if ends else ""
