"""MkDocs hooks: formulas are drawn when the site is built, and the systems' pages enter the menu by existing.

A `math` block (which GitHub renders too) becomes an inline SVG of matplotlib's mathtext, so a page needs no script, no font and
no network.
"""

from __future__ import annotations

import functools
import hashlib
import html
import io
import re
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

SIZE = 12.5
STYLE: Any = {"mathtext.fontset": "cm", "svg.fonttype": "path", "svg.hashsalt": "formula"}


@functools.cache
def drawn(formula: str) -> str:
    """The SVG of one line of TeX, in display style and the text's colour. Raises ValueError for what mathtext does not know."""
    with matplotlib.rc_context(STYLE):
        figure = Figure()
        figure.text(0, 0, f"${formula}$".replace(r"\frac", r"\dfrac"), fontsize=SIZE, color="#123456")
        out = io.StringIO()
        figure.savefig(
            out, format="svg", bbox_inches="tight", pad_inches=0.03, transparent=True, metadata={"Date": None}
        )
    svg = re.sub(r"<\?xml.*?<svg", "<svg", out.getvalue(), flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL).replace("#123456", "currentColor")
    mark = hashlib.sha256(formula.encode()).hexdigest()[:8]  # several drawings share a page, and names must not clash
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>f{mark}-", svg)
    label = f'role="img" aria-label="{html.escape(formula)}"'
    svg = re.sub(r'width="([\d.]+)pt"', lambda m: f'width="{float(m[1]) / SIZE:.3f}em" {label}', svg, count=1)
    return re.sub(r' height="[\d.]+pt"', "", svg, count=1).replace("\n", " ")


def fence(source: str, language: str, css_class: str, options: Any, md: Any, **rest: Any) -> str:
    """A `math` block: one formula per line."""
    return "".join(f'<div class="formula">{drawn(line)}</div>' for line in source.strip().splitlines())


def on_config(config: Any) -> Any:
    """The formatter of `math` blocks, and the menu's generated part."""
    fences = [{"name": "math", "class": "formula", "format": fence}]
    config["mdx_configs"].setdefault("pymdownx.superfences", {})["custom_fences"] = fences
    docs = Path(config["docs_dir"])
    pages = sorted(path.name for path in (docs / "systems").glob("*.md") if path.name != "index.md")
    for part in config["nav"]:
        if "Systems" in part:
            part["Systems"] = ["systems/index.md", *(f"systems/{name}" for name in pages)]
        if "About" in part:
            part["About"] = [page for page in part["About"] if (docs / page).exists()]
    return config
