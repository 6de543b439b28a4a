"""The pages say what is so: their code runs, their outputs are its outputs, the generated ones are up to date, the site builds."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import shendu
from shendu import registry
from shendu.nn.activations import ACTIVATIONS
from shendu.objectives.losses import LOSSES
from shendu.optim import OPTIMIZERS, SCHEDULES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def script(name: str) -> ModuleType:
    """A module of docs/gen, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_gen_{name}", DOCS / "gen" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


pages, generated = script("pages"), script("systems")
WRITTEN = [*pages.pages(), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", pages.pages(), ids=named)
def test_code_runs_and_prints_what_the_page_says(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHENDU_DATA", raising=False)
    for ran in pages.run(path):
        assert ran.printed == (ran.stated or ""), (
            f"{path}:{ran.line}; mend it with: python docs/gen/pages.py --write {named(path)}"
        )


def test_a_page_that_lies_is_caught(tmp_path: Path) -> None:
    page = tmp_path / "lie.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n", encoding="utf-8")
    (ran,) = pages.run(page)
    assert (ran.printed, ran.stated) == ("2\n", "3\n")
    assert pages.written(page, [ran]).endswith("```text\n2\n```\n")


def test_a_block_without_output_stays_apart_from_later_text(tmp_path: Path) -> None:
    page = tmp_path / "two.md"
    page.write_text("```python\nx = 1\n```\n\nWords.\n\n```text\na tree\n```\n", encoding="utf-8")
    (ran,) = pages.run(page)
    assert ran.stated is None
    assert pages.written(page, [ran]) == page.read_text(encoding="utf-8")


# ---- generated pages -------------------------------------------------------------------------------------------------


def test_generated_pages_are_up_to_date() -> None:
    made = generated.everything()
    stale = [named(p) for p, text in made.items() if not p.exists() or p.read_text(encoding="utf-8") != text]
    stale += [named(p) for p in generated.left_over(made)]
    assert not stale, f"run python docs/gen/systems.py; out of date: {', '.join(stale)}"


ENTRY: dict[str, Any] = {
    "system": "lenet", "data": "mnist", "choices": {"form": "1998"}, "part": "test", "metric": "error-rate",
    "figure": 0.0091, "spread": 0.0004, "seeds": 3, "target": 0.0095, "published": 0.008, "source": "LeCun et al. 1998",
    "seconds": 61.4, "samples_per_second": 1.0, "parameters": 60_000, "steps": 1, "device": "cpu", "precision": "fp32",
    "machine": "a processor, 2 cores", "torch": "2.13", "commit": None, "date": "2026-11-22",
    "command": "shendu reproduce lenet --on mnist --seeds 3",
}  # fmt: skip


TITLES = {
    "LeNet-5": "lenet", "AlexNet": "alexnet", "VGG-16": "vgg", "GoogLeNet": "googlenet", "ResNet-20": "resnet", "ResNeXt-29": "resnext",
    "MobileNet": "mobilenet",
}  # fmt: skip


def tables(text: str) -> Iterator[list[dict[str, str]]]:
    """The tables of a page, a row as what stands below each head."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = [[cell.strip() for cell in line.strip("| \n").split(" | ")] for line in block.splitlines()]
        yield [dict(zip(head, row, strict=False)) for row in rows]


def test_pages_and_ledger_say_the_same() -> None:
    """What a page that is written by hand tells of a figure of the ledger is what the ledger has."""
    page = (ROOT / "docs" / "benchmarks-networks.md").read_text(encoding="utf-8")
    found = [rows for rows in tables(page) if {"network", "accuracy", "training, s"} <= rows[0].keys()]
    assert len(found) == 2
    for data, rows in zip(("cifar10-jpeg", "fashion-mnist"), found, strict=True):
        assert [row["network"] for row in rows] == list(TITLES)
        for row in rows:
            (entry,) = (
                e
                for e in generated.ledger()[TITLES[row["network"]]]
                if e["data"] == data and not e["choices"] and e["device"] == "cpu"
            )
            assert row["accuracy"] == generated.figure("accuracy", entry["figure"]), (data, row["network"])
            assert row["parameters"] == f"{entry['parameters']:,}"
            assert row["training, s"] == f"{entry['seconds']:,.0f}"


def test_the_ledger_has_a_figure_once() -> None:
    for system, entries in generated.ledger().items():
        keys = [(e["system"], e["data"], str(e["choices"]), e["metric"], e["device"]) for e in entries]
        assert len(keys) == len(set(keys)), system
        assert {key[0] for key in keys} <= {system}


def test_a_figure_without_copies_stands_beside_it() -> None:
    entry = {**ENTRY, "copies": 29, "of": 320, "without_copies": 0.0123}
    assert generated.measured(entry) == "0.91% ± 0.04% (1.23% without 29 of 320 test rows, which are copies)"


def test_a_ledger_entry_reaches_every_table() -> None:
    found = {"lenet": [ENTRY]}
    for text in (
        generated.results_page(found),
        generated.readme_table(found),
        generated.page(registry.entry("lenet"), [ENTRY]),
    ):
        for word in ("0.91% ± 0.04%", "0.80%", "61", "form=1998"):
            assert word in text
    assert "a processor, 2 cores" in generated.results_page(found)
    assert "shendu reproduce lenet --on mnist --seeds 3" in generated.readme_table(found)


def test_the_readme_changes_between_its_markers_alone() -> None:
    text = f"before\n{generated.BEGIN}\nold\n{generated.END}\nafter\n"
    new = generated.readme(text, {"lenet": [ENTRY]})
    assert new.startswith("before\n")
    assert new.endswith("\nafter\n")
    assert "old" not in new
    assert generated.readme(new, {"lenet": [ENTRY]}) == new
    assert generated.readme("no markers", {"lenet": [ENTRY]}) == "no markers"


def test_deviations_become_lists() -> None:
    text = generated.paragraph("Deviations: (1) one (see A et al. 2014); (2) two. Undoes both. In all:\n(3) three.")
    assert text == "Deviations:\n\n1. one (see A et al. 2014)\n2. two.\n\nUndoes both. In all:\n\n3. three."


# ---- what the pages speak of exists ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WRITTEN, ids=named)
def test_commands_are_understood(path: Path) -> None:
    """Every `shendu …` line of a page parses; RUN and the like stand for a person's own names."""
    blocks = re.findall(r"^```sh\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for line in "".join(blocks).splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        if program == "shendu":
            registry.command(words[0]).make_context(words[0], words[1:])
            own = words[0] == "train" and (len(words) == 2 or words[2].startswith("-"))  # a person's own data alone
            if words[0] in ("train", "reproduce") and not words[1].startswith("-") and not own:
                assert words[1] in {*registry.systems(), "maxout", "./maxout.py"}, line
        if program == "python" and len(words):
            assert (ROOT / words[0]).exists(), line


def test_the_chapter_on_choices_leaves_none_out() -> None:
    text = (DOCS / "tutorial" / "5-choices.md").read_text(encoding="utf-8")
    for name in (*ACTIVATIONS, *LOSSES, *OPTIMIZERS, *SCHEDULES):
        assert f"`{name}`" in text, f"{name} is not explained"


def test_the_system_of_the_last_chapter_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file, saved where the chapter says, is listed and trained by name; saved anywhere, by its path."""
    text = (DOCS / "tutorial" / "6-your-own-system.md").read_text(encoding="utf-8")
    title, code = re.search(r'^```python title="([^"]+)"\n(.*?)^```', text, re.MULTILINE | re.DOTALL).groups()  # type: ignore[union-attr]
    package, family, name = Path(title).parent.parent, Path(title).parent.name, Path(title).stem
    assert package == Path("shendu/systems")
    (tmp_path / family).mkdir()
    (tmp_path / family / f"{name}.py").write_text(code, encoding="utf-8")
    known = {**registry.systems(), **registry.systems(tmp_path)}
    assert known[name].summary.startswith("Maxout network (2013)")
    monkeypatch.setattr(registry, "systems", lambda root=registry.ROOT: known)
    module = importlib.import_module(f"shendu.systems.{family}")
    monkeypatch.setattr(module, "__path__", [*module.__path__, str(tmp_path / family)])
    monkeypatch.chdir(tmp_path)
    run = shendu.train(name, "digits", steps=20, out="run", quiet=True)
    assert run.model.state_dict().keys() == {"functions.weight", "functions.bias", "output.weight", "output.bias"}
    monkeypatch.delitem(sys.modules, f"shendu.systems.{family}.{name}")
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    other = shendu.train(f"./{name}.py", "digits", steps=20, out="other", quiet=True)
    assert other.result["metrics"] == run.result["metrics"]
    assert shendu.Run("other", file=f"{name}.py").evaluate()["metrics"] == run.result["metrics"]["test"]


def test_pictures_are_small_and_have_a_place() -> None:
    made = script("pictures").PICTURES
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md"))
    mine = {path.name for kind in ("tutorial", "systems") for path in (DOCS / "img").glob(f"{kind}-*")}
    assert mine == set(made)
    for name in made:
        assert (DOCS / "img" / name).stat().st_size < 150_000, name
        assert f"img/{name}" in text, f"no page shows {name}"


def test_the_map_of_the_house_has_a_line_for_every_file() -> None:
    """And a file for every line; a folder's line speaks of its own file too."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    above: list[str] = []
    drawn = set()
    for line in text.split("```text\n")[1].split("```")[0].splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()  # type: ignore[union-attr]
        above = [*above[: len(indent) // 2], name]
        drawn.add("".join(above))
    lost = [path for path in drawn if not list(ROOT.glob(path))]
    assert not lost, f"there is no {', '.join(lost)}"
    files = [path for path in (ROOT / "shendu").rglob("*.py") if "systems" not in path.parts]
    undrawn = [
        named(path)
        for path in sorted(files)
        if not {named(path), named(path).removesuffix("__init__.py")} & drawn and not empty(path)
    ]
    assert not undrawn, f"no line for {', '.join(undrawn)}"


def empty(path: Path) -> bool:
    """Whether a folder's own file says what the folder is, and no more."""
    return path.name == "__init__.py" and len(ast.parse(path.read_text(encoding="utf-8")).body) < 2


def test_relative_links_lead_somewhere() -> None:
    for path in [*DOCS.rglob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        if path.exists():
            text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
            for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
                if "benchmarks" not in target and path.name not in ("benchmarks.md", "log.md"):
                    assert (path.parent / target).exists(), f"{path}: {target}"


def test_the_site_builds_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'(<script[^>]*src|<link[^>]*stylesheet[^>]*href|<img[^>]*src)="(https?:)?//', text), page
    formulas = (tmp_path / "tutorial" / "4-attention.html").read_text(encoding="utf-8")
    assert formulas.count('class="formula"') >= 3
    assert "language-math" not in formulas
