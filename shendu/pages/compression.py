"""What a compressed run costs beside the one that it was made of, as a table and as a plot over strengths."""

from __future__ import annotations

from typing import Any

from shendu.pages.drawing import INK, MAIN, PERCENT, drawing, figure, labelled, number_axis, share_axis, svg
from shendu.pages.sections import Section


def cells(result: dict[str, Any]) -> list[list[str]]:
    """A head and a row per cost: what it is, before, after, and after as a share of before."""
    found = result["compressed"]
    before, after, name = found["before"], found["after"], found["metric"]
    values = result["metrics"].get(found["part"], {})
    sure = result["intervals"].get(found["part"], {}).get(name)
    rows = [
        ["", "before", "after", "share"],
        [
            f"{name} ({found['part']})",
            shown(before["figure"], before["interval"], name),
            shown(values[name], sure, name),
            "",
        ],
    ]
    for key, words, unit in (
        ("bytes", "file", "bytes"), ("parameters", "parameters", ""), ("multiply_adds", "multiply-adds of a row", ""),
        ("p50_1", "1 row, median", "ms"), ("p99_1", "1 row, 99th percentile", "ms"), ("p50_32", "32 rows, median", "ms"),
        ("p99_32", "32 rows, 99th percentile", "ms"), ("memory", "memory at 32 rows", "bytes"),
    ):  # fmt: skip
        share = f"{after[key] / before[key]:.1%}" if before[key] else ""
        rows.append([words, count(before[key], unit), count(after[key], unit), share])
    return rows


def shown(value: float, ends: list[float] | None, name: str) -> str:
    text = figure(value, name)
    return f"{text} ({figure(ends[0], name)} to {figure(ends[1], name)})" if ends else text


def count(value: float, unit: str) -> str:
    if unit == "ms":
        return f"{value:.3g} ms"
    return f"{value:,.0f}{' bytes' * (unit == 'bytes')}"


def sections(result: dict[str, Any]) -> list[Section]:
    """Of a compressed run; none of another."""
    if "compressed" not in result:
        return []
    found = result["compressed"]
    head, *rows = cells(result)
    kinds = found["precision"]
    precision = (
        kinds["before"] if kinds["before"] == kinds["after"] else f"{kinds['before']} before and {kinds['after']} after"
    )
    note = (
        f"Made of {found['of']}. Times were measured on this machine's CPU in {precision}, both networks in turns; memory is that of "
        "weights and of all tensors that are alive at once."
    )
    shown_table = Section("Before and after", "table", {"heads": head, "rows": rows}, note)
    return [shown_table, *plot(result)]


def plot(result: dict[str, Any]) -> list[Section]:
    """The figure by the strength, before anything was trained, and what came out."""
    found = result["compressed"]
    about = found["strengths"]
    if not about.get("points"):
        return []
    drawn, axes = drawing()
    across, up = zip(*about["points"], strict=True)
    axes.plot(across, up, color=MAIN, linewidth=1.5, marker="o", markersize=3.5)
    axes.axhline(about["before"], color=INK, linewidth=0.8, linestyle=":")
    if about["what"].startswith("parameters"):
        share_axis(axes.xaxis)
    else:
        number_axis(axes.xaxis)
    if about["figure"] in PERCENT:
        share_axis(axes.yaxis)
    else:
        number_axis(axes.yaxis)
    labelled(axes, about["what"])
    note = (
        f"{about['figure']} on validation rows by strength, before any training; dotted: the run that it was made of."
    )
    return [Section("Strengths", "svg", svg(drawn, "strengths"), note)]
