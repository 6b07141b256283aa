"""The figures of ``fit3d evaluate rooms`` as tables: means and standard deviations over rooms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.result_tables import ResultTable, spread

Figures = Mapping[str, Any]
KINDS = ("word", "synonym", "attributes")


def scribble_table(title: str, figures: Mapping[str, Mapping[str, Figures]], *, key: str = "iou") -> ResultTable:
    """Encoders down, variants across.

    Args:
        title: Above the table.
        figures: Encoder -> room -> the figures of its things.
        key: Which figure: ``iou`` or ``iou_tolerant``.
    """
    names = _variants([one for rooms in figures.values() for one in rooms.values()])
    first = next(iter(figures.values()))
    rows = []
    for encoder, of_rooms in figures.items():
        cells = []
        for name in names:
            # What does not depend on features was measured with the first encoder.
            values = [room_mean(one, name, key) for one in of_rooms.values()]
            values = values if any(v is not None for v in values) else [room_mean(r, name, key) for r in first.values()]
            cells.append(spread(values))
        rows.append([encoder, *cells])
    things = sum(len(one["things"]) for one in first.values())
    return ResultTable(f"{title}, {len(first)} rooms, {things} things", ["features", *names], rows)


def category_table(title: str, figures: Mapping[str, Figures], *, key: str = "iou") -> ResultTable:
    """Categories down, variants across: means over all things of all rooms.

    Args:
        title: Above the table.
        figures: Room -> the figures of its things.
        key: Which figure.
    """
    names = _variants(list(figures.values()))
    things = [thing for one in figures.values() for thing in one["things"]]
    rows = []
    for category in sorted({thing["category"] for thing in things}):
        own = [thing for thing in things if thing["category"] == category]
        cells = [spread([float(np.mean([t["variants"][n][key] for t in own if n in t["variants"]]))]) for n in names]
        rows.append([f"{category} ({len(own)})", *cells])
    return ResultTable(title, ["category (things)", *names], rows)


def text_table(title: str, figures: Mapping[str, Figures], *, key: str) -> ResultTable:
    """Rows of the tables down, kinds of queries across.

    Args:
        title: Above the table.
        figures: Room -> its figures.
        key: ``accuracy`` for localization, ``iou`` for masks.
    """
    every = list(figures.values())
    names = [name for name in _rows(every) if any(key in one["variants"].get(name, {}) for one in every)]
    rows = []
    for name in names:
        of_rooms = [query_means(one, name) for one in figures.values()]
        rows.append([name, *[spread([means.get(kind) for means in of_rooms]) for kind in (*KINDS, "all")]])
    counts = {kind: sum(of == kind for one in every for of in one["queries"].values()) for kind in KINDS}
    columns = [*(f"{kind} ({count})" for kind, count in counts.items()), f"all ({sum(counts.values())})"]
    return ResultTable(f"{title}, {len(figures)} rooms", ["row (queries)", *columns], rows)


def probe_table(title: str, figures: Mapping[str, Mapping[str, Figures]]) -> ResultTable:
    """Encoders down, figures across.

    Args:
        title: Above the table.
        figures: Encoder -> room -> its figures.
    """
    rows = []
    for encoder, rooms in figures.items():
        percents = [spread([one[key] for one in rooms.values()]) for key in ("miou", "aacc")]
        rows.append([encoder, *percents, spread([one["rmse"] for one in rooms.values()], factor=1, digits=3)])
    columns = ["features", "classes: mIoU, percent", "classes: pixels right, percent", "depth: RMSE, metres"]
    return ResultTable(f"{title}, {len(next(iter(figures.values())))} rooms", columns, rows)


def room_mean(figures: Figures, variant: str, key: str) -> float | None:
    """The mean of a figure over the things of a room; None where it was not measured."""
    values = [thing["variants"][variant][key] for thing in figures["things"] if variant in thing["variants"]]
    return float(np.mean(values)) if values else None


def query_means(figures: Figures, row: str) -> dict[str, float]:
    """Means over the queries of a room, by kind and of all; a query's figure is the mean over its photos."""
    views = figures["variants"].get(row, {}).get("views", {})
    of_text: dict[str, list[float]] = {}
    for texts in views.values():
        for text, value in texts.items():
            of_text.setdefault(text, []).append(float(value))
    means = {text: float(np.mean(values)) for text, values in of_text.items()}
    grouped = {kind: [mean for text, mean in means.items() if figures["queries"][text] == kind] for kind in KINDS}
    found = {kind: float(np.mean(values)) for kind, values in grouped.items() if values}
    return found | ({"all": float(np.mean(list(means.values())))} if means else {})


def _variants(figures: Sequence[Figures]) -> list[str]:
    return list(dict.fromkeys(name for one in figures for thing in one["things"] for name in thing["variants"]))


def _rows(figures: Sequence[Figures]) -> list[str]:
    return list(dict.fromkeys(name for one in figures for name in one["variants"]))
