"""The house's rules, over the syntax trees of every file: who imports whom, one loop, no pickle."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import shendu
from shendu import registry

ROOT = Path(shendu.__file__).parent
FILES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(ROOT.rglob("*.py"))
}

BASE = {"core", "field", "chance", "config", "errors", "shown", "untrusted"}
PARTS = BASE | {"nn"}
LEARNS = PARTS | {"data", "objectives", "sources", "tasks", "optim", "metrics", "parallel", "recipes"}
FINISHED = {"saved", "predictor", "published", "composing", "draw"}
ALLOWED = {
    "errors": set(), "shown": set(), "reading": {"errors"}, "config": {"errors"}, "chance": set(), "field": {"config", "errors"}, "core": {"field"}, "own": {"errors", "untrusted"},
    "untrusted": set(), "kept": {"errors", "untrusted"}, "registry": {"errors", "own"},
    "options": {"own", "reading", "shown"}, "parallel": BASE, "optim": BASE | {"parallel"}, "nn": PARTS, "run": BASE | {"kept"},
    "metrics": BASE | {"parallel", "metrics"}, "data": BASE | {"data", "reading"}, "objectives": PARTS | {"objectives"},
    "sources": BASE | {"sources", "data"}, "pages": PARTS | {"metrics", "parallel", "run", "pages"},
    "tasks": PARTS | {"data", "sources", "metrics", "parallel", "pages", "tasks"},
    "compressing": LEARNS | {"predictor", "compressing"}, "recipes": LEARNS, "systems": LEARNS - {"parallel"}, "loop": BASE | {"parallel", "metrics", "run", "loop"},
    "predictor": BASE | {"reading", "data", "metrics", "parallel", "tasks"}, "machine": {"parallel", "__init__"},
    "order": BASE | {"own", "reading", "registry", "data", "machine", "published", "recipes", "run", "saved", "__init__"},
    "saved": PARTS | {"compressing", "kept", "own", "registry", "parallel", "recipes", "run", "tasks", "predictor"}, "published": PARTS | {"kept", "registry", "run", "saved", "tasks"},
    "composing": PARTS | {"parallel", "registry", "saved"}, "draw": PARTS | {"objectives", "optim", "parallel", "saved"},
    "estimator": BASE | {"own", "data", "registry", "parallel", "run", "loop", "saved", "predictor"},
    "serving": BASE | {"nn", "composing", "data", "machine", "own", "pages", "parallel", "predictor", "saved", "serving", "tasks", "__init__"},
    "exporting": BASE | FINISHED - {"composing", "draw", "published"} | {"data", "exporting", "pages", "parallel", "run", "tasks", "__init__"},
    "verbs": BASE | FINISHED | {"compressing", "objectives", "kept", "own", "reading", "order", "machine", "data", "metrics", "tasks", "recipes", "registry", "parallel", "run", "loop", "options", "exporting", "pages", "serving", "verbs", "__init__"},
    "told": {"options", "registry"}, "cli": {"errors", "own", "registry", "shown", "told", "__init__"}, "__main__": {"cli"}, "__init__": {"errors", "registry", "data", "composing", "estimator", "verbs"},
}  # fmt: skip
"""Top-level part -> the parts that it may import, lazily or not."""
ROOMS = {
    "fields": set(), "files": {"fields"}, "tables": {"fields", "files"}, "readers": {"fields", "files", "tables"},
    "known": {"fields", "files", "readers", "tables"}, "augment": {"known"},
    "audit": {"fields", "tables"}, "checks": {"audit", "fields", "files", "known", "readers", "tables"},
}  # fmt: skip
"""Room of `data` -> the other rooms that it may import: fields and the audit read no file."""
PROBING = {"exporting", "verbs", "recipes", "loop", "predictor", "saved", "serving"}
"""Parts that ask the contract, never what something is."""
PLAIN = {
    "bool", "int", "float", "str", "bytes", "list", "tuple", "dict", "set", "frozenset", "None", "Path", "os.PathLike", "Mapping",
    "Sequence", "Iterable", "type", "np.ndarray", "np.generic", "np.integer", "np.floating", "Tensor", "torch.Tensor", "Saved", "nn.Module",
}  # fmt: skip
"""Plain values: to ask for these is to read what a person gave."""
LAYERS = {"nn.Linear", "nn.Conv2d", "nn.modules.batchnorm._BatchNorm"}
"""Torch's own layers, for which a network is searched."""
LOOP = ("signals", "learner", "state", "trouble", "figures", "pace", "session")
"""The files of the loop, in the order in which they may import each other."""
UNPICKLES = "verbs/convert_weights.py"
"""The one file that may load a torch file, tensors alone, in a process of its own."""


def part_of(module: str) -> str:
    """`shendu.data.dataset` -> data."""
    return module.split(".")[1] if "." in module else "__init__"


def running(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node of a file that runs: what only a type checker reads is left out."""
    rest = [tree]
    while rest:
        node = rest.pop()
        yield node
        checked = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        rest += node.orelse if checked else ast.iter_child_nodes(node)


@functools.cache
def imports(tree: ast.Module) -> tuple[str, ...]:
    """Every module of this package that a file imports as it runs, wherever the import stands."""
    found = []
    for node in running(tree):
        assert not getattr(node, "level", 0), "imports name the whole path"
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "shendu":
            inner = [".".join((node.module, alias.name)) for alias in node.names]
            found += [each if is_module(each) else node.module for each in inner]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == "shendu"]
    return tuple(found)


@functools.cache
def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split(".")[1:])
    return path.is_dir() or path.with_suffix(".py").exists()


def calls(tree: ast.Module, method: str) -> list[ast.Call]:
    return [call for call in method_calls(tree) if call.func.attr == method]  # type: ignore[attr-defined]


@functools.cache
def method_calls(tree: ast.Module) -> list[ast.Call]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]


def probes(tree: ast.Module) -> list[str]:
    """Where a file asks what something is, and not merely for a plain value: isinstance, issubclass, hasattr, getattr of others
    than itself, the type of another than itself or an error, a class in a `case`."""
    lines = []
    names = {"__name__", "__qualname__", "__module__"}
    told = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in names
    }  # in a message
    for node in ast.walk(tree):
        asks = isinstance(node, ast.MatchClass) and not plain(node.cls)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called, given = node.func.id, node.args
            asks = called in ("hasattr", "getattr") and ast.unparse(given[0]) != "self"
            asks |= called in ("isinstance", "issubclass") and not plain(given[1])
            asks |= (
                called == "type"
                and id(node) not in told
                and len(given) == 1
                and ast.unparse(given[0]) not in ("self", "error")
            )
        lines += [node.lineno] if asks else []
    return [f"line {line}" for line in sorted(lines)]


def plain(asked: ast.expr) -> bool:
    """Whether a class, a union or a tuple of classes is of plain values alone."""
    if isinstance(asked, ast.BinOp):
        return plain(asked.left) and plain(asked.right)
    return all(map(plain, asked.elts)) if isinstance(asked, ast.Tuple) else ast.unparse(asked) in PLAIN | LAYERS


def circles(graph: dict[str, set[str]]) -> set[tuple[str, ...]]:
    """The strongly connected components of more than one node, sorted."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, rest = set(), [start]
        while rest:
            new = graph[rest.pop()] - seen
            seen |= new
            rest += new
        reached[start] = seen
    return {tuple(sorted({a, *(b for b in reached[a] if a in reached[b])})) for a in graph if a in reached[a]}


def graph_of(files: dict[str, ast.Module]) -> dict[str, set[str]]:
    """File -> the files that it imports, lazily or not; a package stands for its `__init__.py`."""
    found: dict[str, set[str]] = {}
    for name, tree in files.items():
        modules = {module.replace(".", "/") for module in imports(tree)}
        paths = {f"{module}/".partition("/")[2] for module in modules}
        found[name] = {
            file for path in paths for file in (f"{path.rstrip('/')}.py", f"{path}__init__.py") if file in files
        }
    return found


@pytest.mark.parametrize("name", FILES)
def test_dependencies_run_one_way(name: str) -> None:
    part = name.split("/")[0].removesuffix(".py")
    assert part in ALLOWED, f"{part} is new: say here what it may import"
    for module in imports(FILES[name]):
        assert part_of(module) in ALLOWED[part], f"{name} imports {module}"
        if part == "systems" and name.count("/") > 1:
            assert not module.startswith("shendu.systems"), f"{name} imports another system"


@pytest.mark.parametrize("room", ROOMS)
def test_the_rooms_of_data_are_apart(room: str) -> None:
    assert set(ROOMS) == {path.name for path in (ROOT / "data").iterdir() if path.is_dir() and path.name[0] != "_"}
    for name in (name for name in FILES if name.startswith(f"data/{room}/")):
        others = {module.split(".")[2] for module in imports(FILES[name]) if module.count(".") > 1}
        assert others & set(ROOMS) <= ROOMS[room] | {room}, f"{name} imports {others}"


def test_the_rule_itself_sees_lazy_and_aliased_imports() -> None:
    tree = ast.parse(
        "def f():\n    from shendu import loop\n    import shendu.run as r\n    from shendu.verbs.train import train"
    )
    assert set(imports(tree)) == {"shendu.loop", "shendu.run", "shendu.verbs.train"}


def test_one_backward_and_one_step() -> None:
    """Outside of verbs, pages and drawings, which may differentiate inputs, weights move in one place."""
    training = {name: tree for name, tree in FILES.items() if not name.startswith(("verbs/", "pages/", "draw.py"))}
    backward = [name for name, tree in training.items() for _ in calls(tree, "backward")
                if not isinstance(_.func.value, ast.Name) or _.func.value.id != "self"]  # type: ignore[attr-defined]  # fmt: skip
    assert backward == ["loop/session.py"]
    steps = [
        name for name, tree in training.items() for call in calls(tree, "step") if "optimizer" in ast.unparse(call.func)
    ]
    assert steps == ["loop/session.py"]
    assert [name for name, tree in training.items() if calls(tree, "grad")] == ["systems/sequence/lstm.py"], "its trial"


@pytest.mark.parametrize("name", LOOP)
def test_the_loop_is_read_in_one_direction(name: str) -> None:
    """Each of its files imports only those before it."""
    assert {f"loop/{each}.py" for each in LOOP} == {name for name in FILES if name.startswith("loop/")} - {
        "loop/__init__.py"
    }
    found = [module.split(".")[2] for module in imports(FILES[f"loop/{name}.py"]) if module.startswith("shendu.loop.")]
    assert set(found) <= set(LOOP[: LOOP.index(name)])


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("loop/")])
def test_the_loop_asks_nobody_what_they_are(name: str) -> None:
    named = {n.id for n in ast.walk(FILES[name]) if isinstance(n, ast.Name)}
    assert not named & {"isinstance", "hasattr", "getattr", "issubclass"}
    text = ast.unparse(FILES[name])
    for word in ("lenet", "resnet", "perceptron", "neuron", "digits", "mnist"):
        assert word not in text.lower()


def test_shared_code_asks_nobody_what_they_are() -> None:
    """The contract's base class has the usual answer."""
    asking = {name: probes(tree) for name, tree in FILES.items() if name.split("/")[0].removesuffix(".py") in PROBING}
    assert not {name: lines for name, lines in asking.items() if lines}


def test_the_count_of_questions_knows_plain_values() -> None:
    asked = "isinstance(x, Image)\nisinstance(x, str | Image)\nhasattr(x, 'y')\ntype(x)\nmatch x:\n  case Image():\n    pass"
    assert len(probes(ast.parse(asked))) == 5
    assert not probes(ast.parse("isinstance(x, str | Path)\nisinstance(x, (list, tuple))\ntype(self)\nx.type(y)"))


NAMED = {
    ("optim.py", "linear"): "a schedule",
    ("objectives/losses.py", "linear"): "the shape of a loss",
    ("verbs/judge.py", "linear"): "a layer",
    ("exporting/formats/gguf.py", "gpt2"): "llama.cpp's word for byte-level pairs",
}
"""(file of shared code, word that is also a system's name) -> what it names there."""
CHOSEN = {"estimator.py": "it makes the data set of a table of its own", "verbs/sample.py": "a picture with holes"}
"""Shared files that take a kind of field or task by its class."""


def sayings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Every string of a file that is no docstring."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str) and not isinstance(node, ast.Expr):
                yield child


def named(tree: ast.Module, names: Iterable[str]) -> set[str]:
    """The names that stand as words in a file's strings: `lenet` in "lenet, resnet9", not in "lenet.py"."""
    found = re.compile(rf"(?<![\w/.:-])({'|'.join(map(re.escape, names))})(?![\w/-]|\.\w)")
    return {word for each in sayings(tree) for word in found.findall(each.value)}


def asked(tree: ast.Module, names: Iterable[str]) -> set[str]:
    """The names that a file compares something with, or looks up by."""
    found: set[str] = set()
    for node in ast.walk(tree):
        inner = [node] if isinstance(node, ast.Compare | ast.MatchValue) else []
        inner += [node.slice] if isinstance(node, ast.Subscript) else []
        inner += node.args if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(ASKING) else []
        found |= {
            n.value
            for each in inner
            for n in ast.walk(each)
            if isinstance(n, ast.Constant) and isinstance(n.value, str)
        }
    return found & set(names)


ASKING = ("check_reads", "kind_of", "suited")
"""Functions whose arguments are kinds."""


def shared_but(*rooms: str) -> dict[str, ast.Module]:
    return {name: tree for name, tree in FILES.items() if not name.startswith(("systems/", *rooms))}


def test_shared_code_names_no_system() -> None:
    """What a message recommends is asked of the registry. A command's examples are documentation: they stand in docstrings."""
    known = registry.systems()
    found = {(name, word) for name, tree in shared_but().items() for word in named(tree, known)}
    assert found == set(NAMED)


def test_shared_code_names_no_task_and_no_kind_of_field() -> None:
    """Neither to ask what something is nor to look it up; a reader knows its fields, and a task is its own file."""
    tasks, fields = (
        [path.stem for path in (ROOT / room).glob("*.py") if path.stem[0] != "_"] for room in ("tasks", "data/fields")
    )
    asking = shared_but("tasks/", "data/", "reading.py")  # the last: what a person says is told from each other there
    assert not {(name, word) for name, tree in asking.items() for word in asked(tree, tasks)}
    found = {(name, word) for name, tree in shared_but("data/").items() for word in asked(tree, fields)}
    assert found == {("nn/recurrent.py", "prose")}, "a setting of the network: whether it answers at each word"


def test_shared_code_takes_no_kind_by_its_class() -> None:
    """Recipes are what systems of one kind share, and so name it."""
    kinds = ("shendu.data.fields.", "shendu.tasks.")
    taken = {
        name
        for name, tree in shared_but("tasks/", "data/", "recipes/").items()
        for module in imports(tree)
        if module.startswith(kinds)
    }
    assert taken == set(CHOSEN)


def test_names_are_seen_in_messages_and_comparisons() -> None:
    tree = ast.parse(
        '"""lenet"""\nx = f"{a}; train lenet or mlp, as lenet.py has it"\ny = x.kind == "image"\nz = t["row"]'
    )
    assert named(tree, ("lenet", "mlp", "as")) == {"lenet", "mlp", "as"}
    assert named(ast.parse('x = "systems/lenet.py"'), ("lenet",)) == set()
    assert asked(tree, ("image", "row", "lenet")) == {"image", "row"}
    assert asked(ast.parse('check_reads(system, data, "text")'), ("text",)) == {"text"}


def test_no_file_imports_itself_through_others() -> None:
    assert not circles(graph_of(FILES))


def test_a_circle_is_seen_through_lazy_imports_and_packages() -> None:
    lazy, checked = "def f():\n    from shendu.data import dataset", "if TYPE_CHECKING:\n    from shendu import run"
    files = {
        "data/__init__.py": "import shendu.run",
        "run.py": "import shendu.data",
        "data/dataset.py": checked,
        "cli.py": lazy,
    }
    graph = graph_of({name: ast.parse(text) for name, text in files.items()})
    assert graph == {
        "data/__init__.py": {"run.py"},
        "run.py": {"data/__init__.py"},
        "data/dataset.py": set(),
        "cli.py": {"data/dataset.py"},
    }
    assert circles(graph) == {("data/__init__.py", "run.py")}
    assert circles({"a": {"a", "b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {("a",), ("b", "c")}


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
    ours = name.startswith("loop/") or name in ("chance.py", "pages/generated.py", "verbs/sample.py")
    assert ours or not called & {"chance.reseed", "reseed"}


def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys, shendu, shendu.cli, shendu.registry; shendu.registry.systems(); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
