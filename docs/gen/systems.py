"""Writes the pages that are made of the code and of the results ledger.

    python docs/gen/systems.py

docs/systems/<name>.md from a system's docstring, Config, REFERENCES and SIZES; docs/systems/index.md, docs/names.md,
docs/results.md, docs/exports.md, and the table between the markers in README.md.
The ledger is results/<system>.json, as `shendu reproduce` writes it.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from shendu import optim, recipes, registry
from shendu.core import Metric
from shendu.data import augment
from shendu.data.known import KNOWN
from shendu.data.reader import Reader
from shendu.data.readers import readers
from shendu.metrics import classes, numbers, pairs
from shendu.metrics import text as texts
from shendu.nn.activations import ACTIVATIONS
from shendu.objectives.losses import LOSSES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
NOTE = "\n<!-- Made by docs/gen/systems.py: change the code or the ledger, then run it. -->\n"
KERNELS = (
    "kernels of the first layer, trained on the built-in digits (red adds, blue subtracts), and their maps of a digit."
)
WAYS = {"draw": "drawing", "inpaint": "filling in, `--inpaint`"}
CAPTIONS = {
    "linear": "Least squares in one dimension, found by gradient descent.",
    "perceptron": "Circles are class 0, squares class 1. On XOR the weights come back to zero: no line separates it.",
    "mlp": "Three spirals. A linear classifier cuts the plane by straight lines; hidden units bend them.",
    "lenet": f"The six {KERNELS}",
    "resnet": f"Six {KERNELS}",
    "hopfield": "Random patterns, stored by the Hebbian rule, after recall from themselves. The dotted line is 0.138 patterns per unit.",
}
# ---- figures ---------------------------------------------------------------------------------------------------------


def ledger(folder: Path = ROOT / "results") -> dict[str, list[dict[str, Any]]]:
    """System -> its measured entries."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def figure(metric: str, value: float | None) -> str:
    """Shares as percentages, other figures with four digits; a dash where there is none."""
    if value is None:
        return "–"
    return f"{100 * value:.2f}%" if metric in ("accuracy", "error-rate") else f"{value:.4g}"


def measured(entry: dict[str, Any]) -> str:
    """The figure, with its spread over the seeds where there are several, and without test rows that are copies of training rows."""
    shown = figure(entry["metric"], entry["figure"])
    if entry.get("spread") is not None:
        shown += f" ± {figure(entry['metric'], entry['spread'])}"
    if entry.get("copies"):
        others = figure(entry["metric"], entry["without_copies"])
        shown += f" ({others} without {entry['copies']:,} of {entry['of']:,} test rows, which are copies)"
    return shown


def choices(entry: dict[str, Any]) -> str:
    """` (form=1998)` for a recipe that is not the default."""
    return f" ({', '.join(f'{k}={v}' for k, v in entry['choices'].items())})" if entry.get("choices") else ""


def on(entry: dict[str, Any]) -> str:
    """` (cuda)` for what was not measured on a processor."""
    return "" if entry["device"] == "cpu" else f" ({entry['device']})"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    head = list(head)
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def results_page(found: dict[str, list[dict[str, Any]]]) -> str:
    text = "# Results\n\nWhat `shendu reproduce` measured. Each line names the command that measures it again. "
    text += "*Target* is the figure that the system must reach; *published* is the source's. Seconds are of training alone.\n\n"
    if not found:
        return text + "Nothing was measured yet.\n" + NOTE
    head = ("system", "data", "metric", "published", "target", "ours", "seeds", "seconds", "command")
    rows = [
        (f"[{e['system']}](systems/{e['system']}.md){choices(e)}", f"{e['data']}, {e['part']}", e["metric"],
         figure(e["metric"], e["published"]), figure(e["metric"], e["target"]), measured(e), str(e["seeds"]), f"{e['seconds']:,.0f}",
         f"`{e['command']}`")
        for entries in found.values() for e in entries
    ]  # fmt: skip
    sources = [(f"{e['system']}{choices(e)}", e["data"], e["source"] or "our own target", f"{e['machine']}, {e['device']} {e['precision']}",
                f"{e['torch']}", f"{e['commit'] or '–'}", e["date"]) for entries in found.values() for e in entries]  # fmt: skip
    machines = table(
        ("system", "data", "source of the published figure", "machine", "torch", "commit", "date"), sources
    )
    return text + table(head, rows) + "\n## Sources and machines\n\n" + machines + NOTE


def readme_table(found: dict[str, list[dict[str, Any]]]) -> str:
    rows = [
        (f"[{e['system']}](docs/systems/{e['system']}.md){choices(e)}", e["data"], e["metric"], figure(e["metric"], e["published"]),
         measured(e), f"{e['seconds']:,.0f} s{on(e)}", f"`{e['command']}`")
        for entries in found.values() for e in entries
    ]  # fmt: skip
    if not rows:
        return ""
    links = "\nAll figures with their sources and machines: [docs/results.md](docs/results.md).\n"
    return table(("system", "data", "metric", "published", "ours", "training", "command"), rows) + links


def readme(text: str, found: dict[str, list[dict[str, Any]]]) -> str:
    """The README with the table between its markers; as it is where it has none."""
    if BEGIN not in text or END not in text:
        return text
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{readme_table(found)}{END}{rest.split(END, 1)[1]}"


# ---- a page per system -----------------------------------------------------------------------------------------------


def explained(cls: type) -> dict[str, str]:
    """Field -> the string behind it in the class's source."""
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(after.value.value).split())
    return found


def fields(cls: type) -> str:
    """The table of a dataclass's fields, types and defaults."""
    about = explained(cls)
    rows = [
        (f"`{f.name}`", kind(str(f.type)), f"`{default(f.default)}`", about.get(f.name, ""))
        for f in dataclasses.fields(cls)
    ]
    if not any(about.values()):
        return table(("setting", "type", "default"), (row[:3] for row in rows))
    return table(("setting", "type", "default", ""), rows)


def settings_of(module: ModuleType) -> Iterator[type]:
    """What a system can be told beside its network and the general training: its own dataclasses of settings, and those of
    its kind of recipe.
    """
    for cls in vars(module).values():
        if isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls not in (module.Config, recipes.Training):
            known = all(f.default is not dataclasses.MISSING for f in dataclasses.fields(cls))
            if known and cls.__module__.startswith((module.__name__, "shendu.recipes", "shendu.sources")):
                yield cls


def drawing(module: ModuleType) -> str:
    """What its drawing can be told, by `shendu sample RUN --set NAME=VALUE`: in words and as a table."""
    rows: dict[tuple[str, ...], None] = {}
    about = ""
    for cls in vars(module).values():
        if not isinstance(cls, type) or cls.__module__ != module.__name__:
            continue
        for way, what in WAYS.items():
            for p in inspect.signature(getattr(cls, way)).parameters.values() if hasattr(cls, way) else ():
                if p.kind is p.KEYWORD_ONLY:
                    rows[f"`{p.name}`", kind(str(p.annotation)), f"`{p.default}`", what] = None
        if hasattr(cls, "draw"):
            about = inspect.cleandoc(cls.draw.__doc__ or "")
    return f"{about}\n\n{table(('setting', 'type', 'default', 'of'), rows)}" if rows else ""


def kind(annotation: str) -> str:
    """`Literal['a', 'b']` as its values, other types as they are."""
    found = re.fullmatch(r"Literal\[(.*)\]", annotation)
    return ", ".join(f"`{ast.literal_eval(v)}`" for v in found[1].split(", ")) if found else f"`{annotation}`"


def default(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "–"
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    if value == math.inf:
        return "none"
    return str(value) if value != "" else "none"


def story(doc: str) -> str:
    """A module's docstring as Markdown: its paragraphs; numbered deviations and shape letters as lists."""
    _, *paragraphs = inspect.cleandoc(doc).split("\n\n")
    return "\n\n".join(paragraph(p) for p in paragraphs) + "\n"


def paragraph(text: str) -> str:
    words = " ".join(text.split())
    if words.startswith("Shape letters:"):
        return f"*{words}*"
    first = words.find("(1) ")
    if first < 0:
        return words
    items, number, at = [], 1, first
    while at >= 0:
        following = words.find(f"({number + 1}) ", at)
        item = words[at + len(f"({number}) ") : following if following >= 0 else len(words)].rstrip(" ;")
        if item.endswith(":"):  # what leads over to the next items stands between them
            item = re.sub(r"(?<!al)\. ", ".\n\n", item, count=1) + "\n"
        items.append(f"{number}. {item}")
        number, at = number + 1, following
    return words[:first].rstrip() + "\n\n" + "\n".join(items)


def references(module: ModuleType, entries: list[dict[str, Any]]) -> str:
    """What is to be reached, and what was."""
    rows = []
    for wanted in module.REFERENCES:
        metric = wanted["metric"]
        mine = [e for e in entries if all(e[k] == wanted.get(k, {}) for k in ("data", "choices", "metric"))]
        due = (figure(metric, wanted["published"]), figure(metric, wanted["target"]))
        for ours in [(measured(e), f"{e['seconds']:,.0f}{on(e)}") for e in mine] or [("not measured yet", "–")]:
            rows.append((wanted["data"] + choices(wanted), metric, *due, *ours, wanted["source"] or "our own target"))
    return table(("data", "metric", "published", "target", "ours", "seconds", "source"), rows)


def pictures(name: str) -> str:
    found = sorted((DOCS / "img").glob(f"systems-{name}.*"))
    caption = CAPTIONS.get(name, f"What {name} learned.")
    return "".join(f"![{caption}](../img/{path.name})\n\n*{caption}*\n\n" for path in found)


def page(entry: registry.Entry, entries: list[dict[str, Any]]) -> str:
    module = registry.load(entry.name)
    title, _, subtitle = entry.summary.partition(": ")
    data = module.REFERENCES[0]["data"] if module.REFERENCES else "digits"
    use = getattr(module, "USE", f"{entry.name} {data}")
    source = entry.path.relative_to(ROOT).as_posix()
    text = f"# {title}\n\n"
    text += f"**{subtitle[:1].upper()}{subtitle[1:]}.**\n\n" if subtitle else ""
    text += f"`{entry.name}`, one file: `{source}`. Family: {entry.family}.\n\n{story(module.__doc__ or '')}\n{pictures(entry.name)}"
    text += f"## Use it\n\n```sh\nshendu train {use}\nshendu reproduce {entry.name}\n```\n\n"
    text += f"## The network's settings\n\n{inspect.cleandoc(module.Config.__doc__ or '')}\n\n{fields(module.Config)}\n"
    text += "Sizes that the data decides (inputs, channels, classes, outputs) are set by the recipe.\n\n## The training's settings\n\n"
    text += "".join(f"{inspect.cleandoc(cls.__doc__ or '')}\n\n{fields(cls)}\n" for cls in settings_of(module))
    text += "Those that are the same for all systems: see [names](../names.md#training).\n"
    if told := drawing(module):
        text += f"\n## Settings of drawing\n\n`shendu sample RUN --set NAME=VALUE`.\n\n{told}"
    if sizes := getattr(module, "SIZES", ()):
        rows = [(", ".join(changed(config)) or "defaults", f"{count:,}") for config, count in sizes]
        text += f"\n## Size\n\nParameters, held to the paper's by a test.\n\n{table(('settings', 'parameters'), rows)}"
    if module.REFERENCES:
        text += f"\n## Figures\n\n{references(module, entries)}\n"
        text += "Measured by `shendu reproduce`; machines and commits are in the [results](../results.md).\n"
    return text + NOTE


def changed(config: Any) -> Iterator[str]:
    """`name=value` of what is not a Config's default."""
    for f in dataclasses.fields(config):
        if (value := getattr(config, f.name)) != f.default:
            yield f"{f.name}={value}"


def overview() -> str:
    text = "# Systems\n\nOne landmark, one file. Read it from top to bottom, change a line, train it, compare.\n"
    families: dict[str, list[registry.Entry]] = {}
    for entry in registry.systems().values():
        families.setdefault(entry.family, []).append(entry)
    for family, entries in families.items():
        rows = [(f"[{e.name}]({e.name}.md)", e.summary) for e in entries]
        text += f"\n## {family.capitalize()}\n\n{table(('system', ''), rows)}"
    return text + NOTE


def names_page() -> str:
    """Everything that has a name on the command line, beside the systems."""
    data = {name: f"{known.summary}; licence: {known.licence}" for name, known in KNOWN.items()}
    lists = (
        ("Data", "`shendu train SYSTEM NAME`. Where they are looked for: [data](how-to/data.md).", data),
        (
            "Activations",
            f"`--set activation=NAME`, where a system has it. {drawn('activations')}",
            dict.fromkeys(ACTIVATIONS, ""),
        ),
        ("Losses", f"`--set loss=NAME`. {drawn('losses')}", LOSSES),
        ("Optimisers", f"`--set optimizer=NAME`. {drawn('optimisers')}", optim.OPTIMIZERS),
        ("Schedules", f"`--set schedule=NAME`. {drawn('schedules')}", optim.SCHEDULES),
        (
            "Augmentations",
            "`--set augment=crop:4,flip`. Most are for pictures, some for recordings; `mixup` is for all data with classes.",
            augment.KINDS,
        ),
        ("Metrics", "`--set select_by=NAME`, among those of the task.", metrics()),
        ("Readers", "`--reader NAME`, where what lies there could be read in more than one way.", readers_in_words()),
    )
    text = (
        "# Names\n\nAll that can be chosen by name, as it stands in the code.\n\n## Training\n\n`--set SETTING=VALUE`; "
    )
    text += "`epochs`, `steps`, `batch_size`, `lr` and `seed` are options too (`--epochs`, …). The defaults here are the general "
    text += f"ones; each system's recipe has its own.\n\n{fields(recipes.Training)}"
    for title, how, entries in lists:
        rows = [(f"`{name}`", meaning) for name, meaning in entries.items()]
        body = table(("name", ""), rows) if any(entries.values()) else ", ".join(name for name, _ in rows) + "\n"
        text += f"\n## {title}\n\n{how}\n\n{body}"
    return text + NOTE


def exports_page() -> str:
    """What exports to ONNX, as the contract test of exports found it."""
    found: dict[str, str] = json.loads((DOCS / "gen" / "exports.json").read_text(encoding="utf-8"))
    text = "# What exports\n\nSmall networks of every system as ONNX, as `tests/contracts/test_exports.py` tries them: each that "
    text += (
        "exports gave the same answers as its model. `pt2`, `openvino`, `hub` and `web` are made of the same graph. "
    )
    text += "[How to](how-to/export.md).\n\n"
    rows = []
    for label, why in found.items():
        name, _, form = label.partition(" ")
        shown = f" ({form})" if form else ""
        rows.append((f"[{name}](systems/{name}.md){shown}", "no" if why else "yes", why))
    return text + table(("system", "ONNX", "why not"), rows) + NOTE


def metrics() -> dict[str, str]:
    """Figure -> what it is, as its metric's docstring says; without those that a model names itself."""
    found: dict[str, str] = {}
    for cls in (cls for module in (classes, numbers, texts, pairs) for cls in vars(module).values()):
        if isinstance(cls, type) and issubclass(cls, Metric) and cls is not Metric:
            paragraphs = [" ".join(text.split()) for text in (cls.__doc__ or "").split("\n\n")]
            for figure in getattr(cls, "higher", ("rank-1",) if cls is pairs.OneShot else ()):
                said = re.search(rf"\b{figure}: (.+?)\.(?: |$)", " ".join(paragraphs))
                found.setdefault(figure, said[1] if said else paragraphs[0].rstrip("."))
    return found


def readers_in_words() -> dict[str, str]:
    """Reader -> what it reads, as its docstring says."""
    opening = {name: type(reader) for name, reader in readers().items() if type(reader).claims is not Reader.claims}
    return {name: (cls.__doc__ or "").split("\n")[0].rstrip(".") for name, cls in opening.items()}


def drawn(part: str) -> str:
    return f"Drawn in [chapter 5](tutorial/5-choices.md#{part})."


def everything() -> dict[Path, str]:
    """Path -> the text that it must have."""
    found = ledger()
    made = {DOCS / "systems" / f"{e.name}.md": page(e, found.get(e.name, [])) for e in registry.systems().values()}
    made |= {
        DOCS / "systems" / "index.md": overview(),
        DOCS / "names.md": names_page(),
        DOCS / "exports.md": exports_page(),
        DOCS / "results.md": results_page(found),
    }
    start = ROOT / "README.md"
    if start.exists():
        made[start] = readme(start.read_text(encoding="utf-8"), found)
    return made


def left_over(made: Iterable[Path]) -> list[Path]:
    """Pages of systems that are no more."""
    return sorted(set((DOCS / "systems").glob("*.md")) - set(made))


def main() -> None:
    made = everything()
    for path in left_over(made):
        path.unlink()
        print(f"removed {path.relative_to(ROOT)}")
    for path, text in made.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
