"""Strokes that belong together: which scribble a new one goes on with, and what stays drawn of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from app.explorer.commands import Scribble, Stroke, Viewpoint
from app.viewer.drawing import RADII, Drawing
from uplift.segmentation import FRAME

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from app.explorer.commands import Command
    from app.explorer.history import History
    from app.viewer.drawing import CanvasStatus

Line: TypeAlias = tuple[tuple[float, float], ...]
Span: TypeAlias = tuple[float, float]

WHOLE: Span = (0.0, 1.0)  # of a canvas
THIN = 0.3  # of the brush's radius: how thick a stroke stays drawn


def last_prompt(history: History) -> Command | None:
    """The last edit but for those that only move a threshold or change what is shown of a selection."""
    done = history.edits[: history.cursor]
    return next((edit.command for edit in reversed(done) if not edit.command.adjusts), None)


def scribble_from(last: Command | None, viewpoint: Viewpoint) -> Scribble | None:
    """The scribble that another stroke goes on with: the last prompt, if it was drawn from the same place.

    The window's resolution may be another one since: it does not matter.
    """
    if not isinstance(last, Scribble) or last.combine != "set" or not _is_same(last.viewpoint, viewpoint):
        return None
    return last


def _is_same(one: Viewpoint, other: Viewpoint) -> bool:
    """Whether two viewpoints see the same, at any resolution."""
    seen = []
    for viewpoint in (one, other):
        K, width, height = viewpoint.K, viewpoint.width, viewpoint.height
        shares = np.array([K[0][0] / width, K[1][1] / height, K[0][2] / width, K[1][2] / height])
        seen.append((np.array(viewpoint.world_to_camera), shares))
    (pose, lens), (other_pose, other_lens) = seen
    # A window's width is a whole number of pixels: its shape changes a little with its size.
    return bool(np.allclose(pose, other_pose, rtol=1e-5, atol=1e-6) and np.allclose(lens, other_lens, rtol=1e-2))


def with_frame(viewpoint: Viewpoint, strokes: tuple[Stroke, ...]) -> tuple[Stroke, ...]:
    """The strokes, and if some of them mark background the border of the view as well.

    Without a background stroke the border is background by itself.  Were it not with one, the first small stroke
    beside a thing would leave everything else to the thing.
    """
    frame = frame_of(viewpoint)
    if frame in strokes or all(stroke.positive for stroke in strokes):
        return strokes
    return (frame, *strokes)  # first, so that strokes on the thing cover it


def frame_of(viewpoint: Viewpoint) -> Stroke:
    """The border of a view as a stroke on the background."""
    width, height = viewpoint.width, viewpoint.height
    radius = max(0.5, 0.5 * FRAME * max(width, height))
    left, top, right, bottom = radius, radius, width - radius, height - radius
    corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    return Stroke(corners, radius, positive=False)


def parts_inside(points: Line, low: float, high: float) -> list[Line]:
    """The pieces of a line that lie within some columns, in their order; where it leaves them they are cut."""
    line, inside = _with_crossings(np.array(points, np.float64), low, high)
    begins = np.flatnonzero(np.diff(inside, prepend=False) & inside)
    ends = np.flatnonzero(np.diff(inside, append=False) & inside) + 1
    return [_line(line[begin:end]) for begin, end in zip(begins, ends, strict=True)]


def outline_inside(points: Line, low: float, high: float) -> Line:
    """A closed outline without what it encloses beyond some columns."""
    line, _ = _with_crossings(np.array([*points, points[0]], np.float64), low, high)
    return _line(np.clip(line[:-1], (low, -np.inf), (high, np.inf)))


def _with_crossings(
    line: Float[np.ndarray, "m 2"], low: float, high: float
) -> tuple[Float[np.ndarray, "k 2"], Bool[np.ndarray, " k"]]:
    """A line with a point where it crosses either column, and which of its points lie within them."""
    for column in (low, high):
        x = line[:, 0] - column
        crossing = np.flatnonzero(x[:-1] * x[1:] < 0)
        share = (x[crossing] / (x[crossing] - x[crossing + 1]))[:, None]
        points = line[crossing] + share * (line[crossing + 1] - line[crossing])
        points[:, 0] = column
        line = np.insert(line, crossing + 1, points, axis=0)
    return line, (line[:, 0] >= low) & (line[:, 0] <= high)


def _line(points: Float[np.ndarray, "m 2"]) -> Line:
    return tuple((float(x), float(y)) for x, y in points)


def marks_of(
    scribble: Scribble | None, status: CanvasStatus | None, span: Callable[[Stroke], Span] = lambda _: WHOLE
) -> list[Drawing]:
    """What stays drawn of a scribble on the canvas of a page that looks from its place.

    Args:
        scribble: Seen from the page's place.
        status: The page's canvas.
        span: Between which shares of the canvas's width the picture lies that a stroke was drawn on.
    """
    if status is None or scribble is None:
        return []
    frame = frame_of(scribble.viewpoint)
    return [_mark(stroke, scribble.viewpoint, status, span(stroke)) for stroke in scribble.strokes if stroke != frame]


def _mark(stroke: Stroke, viewpoint: Viewpoint, status: CanvasStatus, span: Span) -> Drawing:
    low, high = (share * status.width for share in span)
    x, y = (high - low) / viewpoint.width, status.height / viewpoint.height
    points = tuple(
        (min(max(low + px * x, low), high), min(max(py * y, 0.0), float(status.height))) for px, py in stroke.points
    )
    radius = min(max(THIN * stroke.radius * y, RADII[0]), RADII[1])
    return Drawing(
        tool="brush",
        points=points,
        radius=radius,
        positive=stroke.positive,
        shift=False,
        ctrl=False,
        alt=False,
        width=status.width,
        height=status.height,
    )
