"""A verb's command as the text of its file tells it: help and mistakes are answered before anything heavy is imported.

What stands above `def command` is read, not run: `click.option` and `click.argument` with plain values, and the options that
commands share, by their names; so is the docstring. A file that says it in another way is imported instead.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import click

from shendu import options, registry

_TYPES = {kind.__name__: kind for kind in (bool, int, float, str)}


class Told(click.Command):
    """Imports the verb's own command once the words on the line are understood."""

    def invoke(self, ctx: click.Context) -> Any:
        assert self.name
        return registry.command(self.name).invoke(ctx)


def command(name: str) -> click.Command:
    """The command of a verb, told where its text allows it; raises UserError that names the near verb."""
    verb = registry.verbs().get(name)
    if verb is None:
        return registry.command(name)
    tree = ast.parse(verb.path.read_text(encoding="utf-8"))
    (node,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "command")
    try:
        return told(name, node)
    except (KeyError, ValueError):
        return registry.command(name)


def told(name: str, node: ast.FunctionDef) -> click.Command:
    """The command that a function's decorators and docstring describe; raises KeyError or ValueError for others than plain ones."""

    def described() -> None: ...

    described.__doc__ = ast.get_docstring(node)
    outermost, *inner = node.decorator_list
    if ast.unparse(outermost) != "click.command()":
        raise ValueError(ast.unparse(outermost))
    for each in reversed(inner):
        described = _decorator(each)(described)
    return click.command(name, cls=Told)(described)


def _decorator(node: ast.expr) -> Callable[[Any], Any]:
    """`@DEVICE`, which commands share, or `@click.option(…)` with plain values."""
    if isinstance(node, ast.Name):
        shared: Callable[[Any], Any] = vars(options)[node.id]
        return shared
    if not isinstance(node, ast.Call):
        raise ValueError(ast.unparse(node))
    makes = {"click.option": click.option, "click.argument": click.argument}[ast.unparse(node.func)]
    return makes(*map(_plain, node.args), **{str(word.arg): _plain(word.value) for word in node.keywords})


def _plain(node: ast.expr) -> Any:
    return _TYPES[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)
