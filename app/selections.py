"""What several commands say about a selection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.console import say

if TYPE_CHECKING:
    from uplift.graph import NeighbourGraph
    from uplift.selection import Selection

HIDDEN = ("gaussians",)  # hashes are for programs
SHOWN = 8  # entries of a list


def report(name: str, selection: Selection, graph: NeighbourGraph | None) -> None:
    """Print how a selection was made, how large it is and in how many parts; without a graph, in one."""
    for line in described(selection.about):
        say(line)
    count = len(selection)
    if count == 0:
        say(f"{name}: 0 of {selection.n} Gaussians: nothing is selected; mark more, or change the threshold")
        return
    parts = None if graph is None else selection.components(graph)
    pieces = "1 connected part" if parts is None or len(parts) == 1 else f"{len(parts)} connected parts"
    share = 1.0 if parts is None else parts.largest_share
    say(
        f"{name}: {count} of {selection.n} Gaussians ({count / selection.n:.1%}) in {pieces}, "
        f"{share:.1%} of them in the largest"
    )


def described(about: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """A record as lines of text; nested records are indented."""
    for key, value in about.items():
        if key in HIDDEN or value is None:
            continue
        title = f"{indent}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield f"{title}:"
            yield from described(value, indent + "  ")
        elif isinstance(value, Sequence) and any(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value, 1):
                yield f"{title} {number}:"
                yield from described(item, indent + "  ")
        else:
            yield f"{title}: {_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        shown = ", ".join(_text(item) for item in value[:SHOWN])
        return f"{shown}, ... ({len(value)})" if len(value) > SHOWN else shown
    return str(value)
