"""A file under systems/ is a system, a file under verbs/ with a command is a verb: what is there is found by being there.

Listing reads the files' text and imports nothing, so it stays fast and cannot run a system's code. What a file says of
itself: its docstring's first line is a system's one-liner, the docstring of `command` a verb's; `ORDER` is a verb's place in
a working day; `PUBLIC` names what `import shendu` offers of a file.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from shendu.errors import UserError, unknown

if TYPE_CHECKING:
    from click import Command

HOUSE = Path(__file__).parent
ROOT = HOUSE / "systems"
GROUP, SYSTEMS = "shendu.verbs", "shendu.systems"
"""Entry points by which an installed package adds verbs: name = "package.module:command", a click command; and systems:
name = "package.module"."""
_COMMAND = re.compile(r'^def command\(.*?"""(.*?)(?:\n\n|""")', re.MULTILINE | re.DOTALL)
_ORDER = re.compile(r"^ORDER = (\d+)$", re.MULTILINE)
_PUBLIC = re.compile(r"^PUBLIC = \((.*)\)$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """A system that exists as a file."""

    name: str
    family: str
    path: Path

    @functools.cached_property
    def summary(self) -> str:
        """The first line of the file's docstring; the file is parsed only when it is asked for."""
        doc = ast.get_docstring(self._tree) or ""
        return doc.split("\n")[0].rstrip(".")

    @functools.cached_property
    def suits(self) -> dict[str, str]:
        """What it is trained on where no system is named -> why: a field's kind, after the task where it must be named."""
        found: dict[str, str] = self._says("SUITS", {})
        return found

    @functools.cached_property
    def can(self) -> tuple[str, ...]:
        """What its models can do besides answering, in one form of it or another (see `shendu.tasks.Task.can`)."""
        return tuple(self._says("CAN", ()))

    @functools.cached_property
    def spelled(self) -> dict[str, str]:
        """How words begin that stand for it and one of its choices -> the choice: `shendu train timm:resnet18 DATA`."""
        found: dict[str, str] = self._says("SPELLED", {})
        return found

    def _says(self, word: str, usual: Any) -> Any:
        """The plain value that its file gives a word at the top."""
        for node in self._tree.body:
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [word]:
                return ast.literal_eval(node.value)
        return usual

    @functools.cached_property
    def _tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))


@functools.cache
def systems(root: Path = ROOT) -> dict[str, Entry]:
    """Name -> entry, in the order of families and names; two files of one name are an error."""
    found: dict[str, Entry] = {}
    for path in sorted(root.glob("*/*.py")):
        if path.stem.startswith("_"):
            continue
        name = path.stem.replace("_", "-")
        if name in found:
            raise AssertionError(f"two systems are called {name}: {found[name].path} and {path}")
        found[name] = Entry(name, path.parent.name, path)
    return found


def spelled(word: str) -> tuple[str, dict[str, str]]:
    """A person's word for a system -> its name and the choices in the word: timm:resnet18 is a network of that name."""
    for known in systems().values() if ":" in word else ():
        for beginning, choice in known.spelled.items():
            if word.startswith(beginning):
                return known.name, {choice: word}
    return word, {}


def entry(name: str) -> Entry:
    """The entry of a system: ours, a file's, or an installed package's; raises UserError that names the near one."""
    known = systems()
    if name in known:
        return known[name]
    from shendu import own  # not above: the list of all verbs does without

    if own.is_file(name):
        return Entry(own.name_of(name), "own", Path(name))
    if (module := installed().get(name)) and (spec := importlib.util.find_spec(module)) and spec.origin:
        return Entry(name, module, Path(spec.origin))
    if Path(f"{name}.py").is_file():
        raise UserError(f"there is no system called {name}; your own file is meant by its path: ./{name}.py")
    raise unknown("system", name, [*known, *installed()])


def installed() -> dict[str, str]:
    """Name -> module, of the systems that installed packages bring; ours have the name where both do."""
    return {name: module for name, module in _named(SYSTEMS).items() if name not in systems()}


def _named(group: str) -> dict[str, str]:
    """Name -> what it stands for, of a group of entry points."""
    from importlib.metadata import entry_points  # not above: it costs more than all else that --help needs

    return {point.name: point.value for point in entry_points(group=group)}


def suited(kind: str) -> tuple[str, str]:
    """(the system that suits a field's kind, why); the kind of a task that a person names comes after it: `anomaly image`.

    Raises KeyError where none does.
    """
    found = {word: (entry.name, why) for entry in systems().values() for word, why in entry.suits.items()}
    return found[kind]


def able(word: str) -> str:
    """Names of the systems whose models can do it (draw, inpaint, step, embed, …), as a message lists them."""
    return ", ".join(entry.name for entry in systems().values() if word in entry.can)


def suits() -> list[str]:
    """All that systems say they suit."""
    return [word for entry in systems().values() for word in entry.suits]


USUAL: dict[str, Any] = {
    "SPLIT": "", "SIZES": (), "REFERENCES": (), "from_folder": None, "ggml": None,
    "published": lambda weights: weights, "unusable": lambda weights: "", "settings_of": lambda file: {},
}  # fmt: skip
"""What a system's module may say besides `Config` and `recipe`, and what stands where it does not: how data is split, networks
and figures of its paper, a reader of published folders, its weights as ggml has them, and what it makes of published weights."""


def load(name: str) -> ModuleType:
    """The system's module, imported now. Raises UserError for a file that is no system."""
    from shendu import own

    if own.is_file(name):
        return whole(own.load(name))
    found = entry(name)
    ours = f"shendu.systems.{found.family}.{found.path.stem}"
    return whole(importlib.import_module(ours if name in systems() else found.family))


def whole(module: ModuleType) -> ModuleType:
    """A system's module with the usual answers to what it does not say."""
    for word, usual in USUAL.items():
        vars(module).setdefault(word, usual)
    return module


# ---- verbs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verb:
    """A verb that exists as a file: `command` in it is what the command line calls."""

    name: str
    path: Path
    summary: str
    order: int

    @property
    def module(self) -> str:
        return f"shendu.verbs.{self.path.stem}"


@functools.cache
def verbs(root: Path = HOUSE / "verbs") -> dict[str, Verb]:
    """Name -> verb, in the order of a working day."""
    found = []
    for path in sorted(root.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if said := _COMMAND.search(text):
            place = _ORDER.search(text)
            name, summary = path.stem.replace("_", "-"), " ".join(said[1].split())
            found.append(Verb(name, path, summary, int(place[1]) if place else 1000))
    return {verb.name: verb for verb in sorted(found, key=lambda verb: verb.order)}


def command(name: str) -> Command:
    """The command of a verb, of ours or of an installed package, imported now; raises UserError that names the near one."""
    if name in verbs():
        ours: Command = importlib.import_module(verbs()[name].module).command
        return ours
    found = _named(GROUP)
    if name not in found:
        raise unknown("command", name, [*verbs(), *found])
    module, _, attribute = found[name].partition(":")
    theirs: Command = getattr(importlib.import_module(module), attribute or "command")
    return theirs


@functools.cache
def public() -> dict[str, str]:
    """Name -> module, of all that `import shendu` offers: what files at the top, a folder's own file and verbs call PUBLIC."""
    found: dict[str, str] = {}
    for path in (path for pattern in ("*.py", "*/__init__.py", "verbs/*.py") for path in sorted(HOUSE.glob(pattern))):
        if said := _PUBLIC.search(path.read_text(encoding="utf-8")):
            parts = path.relative_to(HOUSE).with_suffix("").parts
            module = ".".join(("shendu", *(part for part in parts if part != "__init__")))
            found |= dict.fromkeys(re.findall(r'"(\w+)"', said[1]), module)
    return found
