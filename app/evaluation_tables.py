"""Measured figures beside those of the paper, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from uplift.evaluation.paper import AVERAGE

if TYPE_CHECKING:
    from rich.table import Table

Paper = Mapping[str, Mapping[str, float | None]]

PER_VIEW_LIMIT = 8  # views that get a column of their own


def scene_table(
    title: str, figures: Sequence[Mapping[str, Any]], beside: Mapping[str, str], paper: Paper, *, key: str = "iou"
) -> Table:
    """Scenes down, variants across; the paper's figure of the same variant in parentheses.

    Args:
        title: Above the table.
        figures: Of the scenes, in the order of the rows.
        beside: Variant -> the row of ``paper`` that it is compared with.
        paper: Method -> scene -> percent.
        key: Which figure: ``iou`` or ``accuracy``.
    """
    from rich.table import Table

    variants = [v for v in _variants(figures) if any(key in task["variants"].get(v, {}) for task in figures)]
    table = Table(title=title, title_justify="left", caption="in parentheses: the paper", caption_justify="left")
    table.add_column("scene")
    for variant in variants:
        table.add_column(variant, justify="right")
    for task in figures:
        cells = [_beside(_of(task, v, key), _in(paper, beside.get(v), task["task"])) for v in variants]
        table.add_row(task["task"], *cells)
    means = [_mean([_of(task, v, key) for task in figures]) for v in variants]
    averages = [_in(paper, beside.get(v), AVERAGE) for v in variants]
    table.add_section()
    table.add_row(AVERAGE, *[_beside(mean, other) for mean, other in zip(means, averages, strict=True)])
    return table


def others_line(paper: Paper, leave_out: Sequence[str]) -> str:
    """The averages of the paper's other methods in one line."""
    shown = [f"{name} {row[AVERAGE]:.1f}" for name, row in paper.items() if name not in leave_out]
    return f"the paper's averages of other methods: {', '.join(shown)}"


def view_table(title: str, rows: Sequence[tuple[str, Mapping[str, Any]]], tolerance: float) -> Table:
    """Variants down, views across: IoU of every view, the mean, and the mean with a tolerance.

    Args:
        title: Above the table.
        rows: A label and a variant's figures.
        tolerance: In pixels.
    """
    from rich.table import Table

    views = list(dict.fromkeys(view for _, figures in rows for view in figures["views"]))
    shown = views if len(views) <= PER_VIEW_LIMIT else []
    table = Table(title=title, title_justify="left")
    table.add_column("variant")
    for view in shown:
        table.add_column(view, justify="right")
    for name in ("mean", "lowest", f"mean, {tolerance:g} px", "seconds"):
        table.add_column(name, justify="right")
    for label, figures in rows:
        values = [figures["views"].get(view, {}).get("iou") for view in shown]
        lowest = min(view["iou"] for view in figures["views"].values())
        cells = [*values, figures["iou"], lowest, figures["iou_tolerant"]]
        table.add_row(label, *map(_percent, cells), f"{figures['seconds']:.1f}")
    return table


def neighbour_table(title: str, figures: Mapping[str, Sequence[Mapping[str, Any]]], neighbours: Sequence[int]) -> Table:
    """Quality against the number of neighbours: rows of every group down, k across, mean IoU in percent.

    Args:
        title: Above the table.
        figures: Group -> its tasks, whose rows end in ``, k=16`` and so on.
        neighbours: The numbers.
    """
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("variant")
    for k in neighbours:
        table.add_column(f"k = {k}", justify="right")
    for group, tasks in figures.items():
        for name in dict.fromkeys(v.rsplit(", k=", 1)[0] for v in _variants(tasks) if ", k=" in v):
            means = [_mean([_of(task, f"{name}, k={k}", "iou") for task in tasks]) for k in neighbours]
            table.add_row(f"{group}: {name}", *map(_percent, means))
    return table


def _variants(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """In the order of the first task that has them."""
    return list(dict.fromkeys(variant for task in figures for variant in task["variants"]))


def _of(task: Mapping[str, Any], variant: str, key: str) -> float | None:
    value: float | None = task["variants"].get(variant, {}).get(key)
    return value


def _in(paper: Paper, row: str | None, scene: str) -> float | None:
    return None if row is None else paper[row].get(scene)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _beside(measured: float | None, paper: float | None) -> str:
    return _percent(measured) + ("" if paper is None else f" ({paper:.1f})")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
