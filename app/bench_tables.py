"""Tables of ``fit3d bench graph``, ``fit3d bench query`` and ``fit3d bench viewer``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.console import size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

LOOKS = ("rgb", "pca", "relevancy", "wipe")
# A measurement that a row lacks is shown as a dash.
READY = {
    "open": "open",
    "page": "page to first picture",
    "prompts": "ready for prompts",
    "texts": "ready for texts",
}
WAITS = {
    "first scribble": "first scribble",
    "first text": "first text",
    "scribble": "scribble",
    "slider": "slider",
    "undo": "undo",
    "text": "text to heat",
    "select text": "text to selection",
    "pca": "PCA here",
}
STEPS = {"graph": "neighbour graph, k=16", "distances": "feature distances", "walker": "hierarchy of the walker"}


def graph_table(rows: list[dict[str, Any]]) -> Table:
    """What selecting takes."""
    table = _table(
        "graph: seconds",
        "view",
        "graph k=16",
        "graph k=50",
        "distances",
        "hierarchy",
        "scribble to mask",
        "walker alone",
        "its steps",
        "diffusion alone",
    )
    for row in rows:
        table.add_row(
            *_first(row),
            f"{row['width']}x{row['height']}",
            *(f"{row[key]:.2f}" for key in ("graph 16", "graph 50", "distances", "walker", "scribble", "walking")),
            str(row["steps"]),
            f"{row['diffusion']:.3f}",
        )
    return table


def straightforward_table(rows: list[dict[str, Any]]) -> Table:
    """The same results as one would first write them."""
    table = _table("against the straightforward way, seconds", "work", "fast", "straightforward", "ratio")
    for row in rows:
        for work, fast, slow in (
            ("graph k=16: tree asked point by point", "graph 16", "graph loop"),
            (f"walker: scipy's cg, {row['straightforward steps']} steps", "walking", "straightforward walking"),
            ("diffusion: 100 sparse products", "diffusion", "products"),
        ):
            table.add_row(*_first(row), work, f"{row[fast]:.3f}", f"{row[slow]:.2f}", f"{row[slow] / row[fast]:.0f}")
    return table


def query_table(rows: list[dict[str, Any]]) -> Table:
    """What text queries take."""
    table = _table("query: 5 texts, 4 phrases, 512 dimensions, seconds", "fast", "written down in torch", "ratio")
    for row in rows:
        fast, slow = row["query"], row["straightforward"]
        table.add_row(*_first(row), f"{fast:.3f}", f"{slow:.2f}", f"{slow / fast:.0f}")
    return table


def memory_table(rows: list[dict[str, Any]]) -> Table:
    """What every step adds to the memory in use."""
    table = _table("memory of each step", "step", "announced", "measured")
    for row in rows:
        for step, (announced, measured) in row["memory"].items():
            table.add_row(*_first(row), STEPS.get(step, step), size(announced), size(max(measured, 0)))
    return table


def viewer_frames_table(rows: list[dict[str, Any]]) -> Table:
    """How many frames a moving camera gets."""
    table = _table("viewer: frames per second while the camera moves", "frame", *LOOKS)
    for row in rows:
        table.add_row(*_first(row), f"{row['width']}x{row['height']}", *(f"{row[f'fps {name}']:.1f}" for name in LOOKS))
    return table


def viewer_ready_table(rows: list[dict[str, Any]]) -> Table:
    """What is done once, while the page opens."""
    table = _table("viewer: seconds until it is ready, once", *READY.values(), "peak memory", "beside the scene")
    for row in rows:
        table.add_row(*_first(row), *_waits(row, READY), size(row["peak"]), size(row["peak"] - row["before"]))
    return table


def viewer_waits_table(rows: list[dict[str, Any]]) -> Table:
    """What a person waits for."""
    table = _table("viewer: seconds until it is seen", *WAITS.values())
    for row in rows:
        table.add_row(*_first(row), *_waits(row, WAITS))
    return table


def _waits(row: dict[str, Any], names: Iterable[str]) -> list[str]:
    return [f"{row[name]:.3f}" if name in row else "-" for name in names]


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("Gaussians", "cores", *columns):
        table.add_column(column, justify="right")
    return table


def _first(row: dict[str, Any]) -> list[str]:
    return [f"{row['gaussians']:,}", str(row["threads"])]
