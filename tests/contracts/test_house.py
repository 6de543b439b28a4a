"""The house's rules, over the syntax trees of every file: who imports whom, one loop, no pickle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import shendu

ROOT = Path(shendu.__file__).parent
FILES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(ROOT.rglob("*.py"))
}

BASE = {"core", "field", "chance", "config", "errors"}
PARTS = BASE | {"nn"}
ALLOWED = {
    "errors": set(), "config": {"errors"}, "chance": set(), "field": {"errors", "config"}, "core": {"field"}, "registry": {"errors"}, "metrics": {"core", "errors", "parallel"},
    "optim": BASE | {"parallel"}, "nn": PARTS, "data": BASE | {"data"},
    "objectives": PARTS | {"objectives"}, "sources": BASE | {"sources", "data"},
    "recipes": PARTS | {"data", "objectives", "sources", "optim", "metrics", "recipes"},
    "systems": PARTS | {"data", "objectives", "sources", "optim", "metrics", "recipes"},
    "parallel": BASE, "measure": BASE | {"parallel"}, "run": BASE, "fit": BASE | {"parallel", "measure", "run"},
    "verbs": PARTS | {"data", "objectives", "sources", "optim", "metrics", "recipes", "registry", "parallel", "measure", "run", "fit", "verbs", "__init__"},
    "cli": BASE | {"verbs", "registry", "__init__"}, "__main__": {"cli"},
    "__init__": {"errors", "data", "verbs"},
}  # fmt: skip
"""Top-level part -> the parts that it may import, lazily or not."""
ROOMS = {
    "fields": set(), "files": {"fields"}, "tables": {"fields", "files"}, "readers": {"fields", "files", "tables"},
    "processors": {"fields"}, "known": {"fields", "files", "readers", "tables"}, "augment": {"known"},
    "audit": {"fields", "tables"}, "checks": {"audit", "fields", "files", "known", "readers", "tables"},
}  # fmt: skip
"""Room of `data` -> the other rooms that it may import: a field knows neither files nor readers, a processor and the audit read no file."""
UNPICKLES = "verbs/convert_weights.py"
"""The one file that may load a torch file, tensors alone, in a process of its own."""


def part_of(module: str) -> str:
    """`shendu.data.dataset` -> data."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Every module of this package that a file imports, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "shendu":
            for alias in node.names:
                inner = ROOT.joinpath(*node.module.split(".")[1:], alias.name)
                exists = inner.is_dir() or inner.with_suffix(".py").exists()
                yield f"{node.module}.{alias.name}" if exists else node.module, node
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "shendu":
                    yield alias.name, node


def calls(tree: ast.Module, method: str) -> list[ast.Call]:
    return [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == method
    ]


@pytest.mark.parametrize("name", FILES)
def test_dependencies_run_one_way(name: str) -> None:
    part = name.split("/")[0].removesuffix(".py")
    assert part in ALLOWED, f"{part} is new: say here what it may import"
    for module, _ in imports(FILES[name]):
        assert part_of(module) in ALLOWED[part], f"{name} imports {module}"
        if part == "systems" and name.count("/") > 1:
            assert not module.startswith("shendu.systems"), f"{name} imports another system"


@pytest.mark.parametrize("room", ROOMS)
def test_the_rooms_of_data_are_apart(room: str) -> None:
    assert set(ROOMS) == {path.name for path in (ROOT / "data").iterdir() if path.is_dir() and path.name[0] != "_"}
    for name in (name for name in FILES if name.startswith(f"data/{room}/")):
        others = {module.split(".")[2] for module, _ in imports(FILES[name]) if module.count(".") > 1}
        assert others & set(ROOMS) <= ROOMS[room] | {room}, f"{name} imports {others}"


def test_the_data_has_no_circles() -> None:
    """No file of `data` imports another that leads back to it, lazily or not; what only types need does not count."""
    files = {name: tree for name, tree in FILES.items() if name.startswith(("data/", "field.py"))}
    places = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in files}
    leads = {name: set() for name in files}
    for name, tree in files.items():
        for module, node in imports(tree):
            there = places.get(module.removeprefix("shendu."))
            if there and there != name and not for_types(tree, node):
                leads[name].add(there)
    for name in files:
        seen, waiting = set(), [name]
        while waiting:
            for there in leads[waiting.pop()] - seen:
                assert there != name, f"{name} imports files that import it again"
                seen.add(there)
                waiting.append(there)


def for_types(tree: ast.Module, node: ast.stmt) -> bool:
    """Whether a statement stands below `if TYPE_CHECKING`."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return any(node in ast.walk(block) for block in blocks)


def test_the_rule_itself_sees_lazy_and_aliased_imports() -> None:
    tree = ast.parse(
        "def f():\n    from shendu import fit\n    import shendu.run as r\n    from shendu.verbs.train import train"
    )
    assert [module for module, _ in imports(tree)] == ["shendu.fit", "shendu.run", "shendu.verbs.train"]


def test_one_backward_and_one_step() -> None:
    """Outside of verbs, which may differentiate inputs, weights move in one place."""
    loop = {name: tree for name, tree in FILES.items() if not name.startswith("verbs/")}
    backward = [name for name, tree in loop.items() for _ in calls(tree, "backward")
                if not isinstance(_.func.value, ast.Name) or _.func.value.id != "self"]  # type: ignore[attr-defined]  # fmt: skip
    assert backward == ["fit.py"]
    steps = [
        name for name, tree in loop.items() for call in calls(tree, "step") if "optimizer" in ast.unparse(call.func)
    ]
    assert steps == ["fit.py"]
    assert not any(calls(tree, "grad") for tree in loop.values())


def test_the_loop_asks_nobody_what_they_are() -> None:
    named = {n.id for n in ast.walk(FILES["fit.py"]) if isinstance(n, ast.Name)}
    assert not named & {"isinstance", "hasattr", "getattr", "issubclass"}
    text = ast.unparse(FILES["fit.py"])
    for name in ("lenet", "resnet", "perceptron", "neuron", "digits", "mnist"):
        assert name not in text.lower()


@pytest.mark.parametrize("name", FILES)
def test_no_pickle_no_code_from_files(name: str) -> None:
    for node in ast.walk(FILES[name]):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            assert not {n.split(".")[0] for n in names} & {
                "pickle",
                "dill",
                "joblib",
                "shelve",
                "marshal",
                "cloudpickle",
            }
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called == "torch.load":
                assert name == UNPICKLES, f"{name}: torch.load"
                assert "weights_only=True" in [ast.unparse(keyword) for keyword in node.keywords]
            assert called not in ("torch.save", "eval", "exec", "compile", "__import__"), f"{name}: {called}"
            for keyword in node.keywords:
                assert keyword.arg != "allow_pickle" or ast.unparse(keyword.value) == "False"
            if called in ("np.load", "numpy.load"):
                assert any(keyword.arg == "allow_pickle" for keyword in node.keywords)


@pytest.mark.parametrize("name", FILES)
def test_global_generators_belong_to_the_loop(name: str) -> None:
    called = {ast.unparse(n.func) for n in ast.walk(FILES[name]) if isinstance(n, ast.Call)}
    assert not called & {"np.random.seed", "numpy.random.seed", "torch.manual_seed", "random.seed", "torch.seed"}
    assert name in ("fit.py", "chance.py", "verbs/sample.py") or not called & {"chance.reseed", "reseed"}


def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys, shendu, shendu.cli, shendu.registry; shendu.registry.systems(); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
