"""What pages say about points, objects and errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from app.console import sentence

if TYPE_CHECKING:
    from pathlib import Path

    from app.explorer.asking import Found
    from app.explorer.inspecting import Inspection

SHOWN = 8  # Gaussians of a pixel


def inspected(found: Inspection | None) -> str:
    """What lies under a click."""
    if found is None:
        return "Nothing is there."
    x, y, z = found.point.tolist()
    lines = [
        f"**position** {x:.4g}, {y:.4g}, {z:.4g}",
        f"**depth** {found.depth:.4g}, **opacity** {found.alpha:.3f}",
        *([f"**relevancy** {found.relevancy:.3f}"] if found.relevancy is not None else []),
        f"**in** {', '.join(found.selections) or 'no selection'}",
    ]
    rows = [
        f"| {index} | {weight:.3f} |"
        for index, weight in zip(found.ids[:SHOWN].tolist(), found.weights[:SHOWN].tolist(), strict=True)
    ]
    more = len(found.ids) - SHOWN
    rest = [f"and {more} more"] if more > 0 else []
    return "\n\n".join(lines) + "\n\n" + "\n".join(["| Gaussian | weight |", "| --- | --- |", *rows]) + _paragraph(rest)


def briefly(found: Inspection | None) -> str:
    """The same in one line."""
    if found is None:
        return "Nothing is there."
    x, y, z = found.point.tolist()
    parts = [f"{x:.4g}, {y:.4g}, {z:.4g}", f"depth {found.depth:.4g}", f"Gaussian {int(found.ids[0])}"]
    if found.relevancy is not None:
        parts.append(f"relevancy {found.relevancy:.3f}")
    return "; ".join([*parts, *found.selections])


def objects(found: list[Found]) -> str:
    """What a text found, the best first."""
    if not found:
        return "Nothing was found."
    rows = [
        f"| {number} | {one.score:.3f} | {one.count:,} | {' x '.join(f'{side:.2g}' for side in one.extent.tolist())} |"
        for number, one in enumerate(found, 1)
    ]
    return "\n".join(["| object | score | Gaussians | size |", "| --- | --- | --- | --- |", *rows])


def told(error: BaseException, folder: Path) -> str:
    """What went wrong, as one line; files of the scene by their names in its folder, which a page need not know."""
    text = sentence(error)
    for path in dict.fromkeys((str(folder), str(folder.absolute()), str(folder.resolve()))):
        text = text.replace(f"{path}/", "") if len(path) > 1 else text
        text = text.replace(path, folder.name) if len(path) > 1 else text
    return text


def _paragraph(lines: list[str]) -> str:
    return "".join(f"\n\n{line}" for line in lines)


def plain(text: str) -> str:
    """A text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~-])", r"\\\1", text)
