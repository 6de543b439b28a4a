"""Runs the Python blocks of Markdown pages, and holds what they print against the page.

    python docs/gen/pages.py            every page: stops at the first that fails or prints something else
    python docs/gen/pages.py --write    puts what was printed into the pages

The blocks of a page run in order in one namespace. A `text` block right behind a `python` block is its output.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import types
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"^```python[^\n]*\n(?P<code>.*?)^```\n(?:\n?```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Ran:
    """A block that was run: its place in the page, what it printed, and what the page says (None: nothing)."""

    line: int
    match: re.Match[str]
    printed: str
    stated: str | None


def pages() -> list[Path]:
    """The pages whose code is run."""
    return [DOCS / "index.md", *sorted((DOCS / "tutorial").glob("*.md")), *sorted((DOCS / "how-to").glob("*.md"))]


def run(path: Path) -> list[Ran]:
    """Runs a page's blocks in the current folder; an error keeps its traceback, with the page's name and line."""
    text = path.read_text(encoding="utf-8")
    module = types.ModuleType(f"page_{re.sub(r'[^a-z0-9]', '_', path.stem)}")
    sys.modules[module.__name__] = module
    done = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        code = compile("\n" * (line - 1) + match["code"], str(path), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, module.__dict__)
        done.append(Ran(line, match, printed.getvalue(), match["output"]))
    return done


def written(path: Path, done: list[Ran]) -> str:
    """The page with what was printed."""
    text = path.read_text(encoding="utf-8")
    for ran in reversed(done):
        output = f"\n```text\n{ran.printed}```\n" if ran.printed else ""
        block = text[ran.match.start() : ran.match.start("code")] + ran.match["code"] + "```\n" + output
        text = text[: ran.match.start()] + block + text[ran.match.end() :]
    return text


def main() -> None:
    write = "--write" in sys.argv
    chosen = [Path(word).resolve() for word in sys.argv[1:] if not word.startswith("-")]
    for path in chosen or pages():
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            os.environ["SHENDU_CACHE"] = str(Path(folder) / "cache")
            done = run(path)
        if write:
            path.write_text(written(path, done), encoding="utf-8")
        for ran in done:
            if not write and ran.printed != (ran.stated or ""):
                sys.exit(f"{path}:{ran.line} prints\n{ran.printed}\nbut the page says\n{ran.stated}")
        print(f"{path.relative_to(DOCS)}: {len(done)} blocks")


if __name__ == "__main__":
    main()
