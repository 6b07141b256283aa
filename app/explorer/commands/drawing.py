"""Commands that are drawn over the scene: strokes and clicks on an object, rectangles and lassos."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch

from app.explorer.commands.base import (
    SIGNS,
    Combine,
    Command,
    Same,
    Work,
    check_choice,
    check_number,
    check_positive,
    combined,
)
from app.explorer.commands.viewpoint import Point, Stroke, Viewpoint, check_points, draw_strokes, fill_polygon
from app.explorer.document import Document
from render.errors import InputError
from render.views import View
from uplift.diffused import ANCHORS
from uplift.diffusion import EDGE_THRESHOLD, STEPS, edge_weights, reachable
from uplift.picking import surface_weights
from uplift.prompts import Prompt
from uplift.selection import BOUNDARY, Selection
from uplift.visibility import PURITY, lift_prompt, view_weights

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8
    from torch import Tensor

    from app.explorer.session import Session
    from uplift.segmentation import Segmenter

Method: TypeAlias = Literal["random-walker", "diffusion"]
Box: TypeAlias = tuple[float, float, float, float]

MOST_STROKES = 500
MOST_CLICKS = 500


@dataclass(frozen=True, kw_only=True)
class Propagated(Command):
    """What a few marked pixels say, carried over the neighbour graph.

    Attributes:
        combine: What becomes of the active selection.
        method: How marks are carried on.
        bandwidth: b of the similarities of features; None = chosen.
        threshold: In the unit of the scores that were found; None = chosen.  Moving it is quick.
        steps: How far diffusion goes along the graph; None = as far as it can.  Moving it is quick.
    """

    combine: Combine = "set"
    method: Method = "random-walker"
    bandwidth: float | None = None
    threshold: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        check_choice("combine", self.combine, Combine)
        check_choice("method", self.method, Method)
        check_positive(bandwidth=self.bandwidth, threshold=self.threshold)
        if self.steps is not None:
            check_number("number of steps", self.steps, 1, STEPS)
            if self.method != "diffusion":
                raise InputError("Steps go with the method diffusion; a random walker goes on until it arrives.")

    @abstractmethod
    def prompt(self) -> Prompt:
        """The marked pixels."""

    @property
    @abstractmethod
    def field_name(self) -> str:
        """The field whose features tell things apart."""

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        segmenter = work.session.segmenter(self.field_name, document, work.progress)
        asked = replace(self, combine="set", threshold=None, steps=None)
        key: Hashable = (asked, Same(segmenter))
        prompt = self.prompt()
        found = work.session.answer(
            key, lambda: segmenter.select([prompt], method=self.method, bandwidth=self.bandwidth).to("cpu")
        )
        if self.steps is not None:
            anchors = work.session.answer(
                (key, "anchors"), lambda: _diffusion_anchors(work.session, segmenter, self, prompt)
            )
            found = _within_steps(segmenter, found, anchors, self.steps)
        if self.threshold is not None:
            found = recut(found, self.threshold)
        return combined(document, found, self.combine, self.what)

    @property
    def title(self) -> str:
        """What is done."""
        return SIGNS[self.combine] + self.what

    @property
    @abstractmethod
    def what(self) -> str:
        """What is drawn, without what becomes of the selection."""


@dataclass(frozen=True)
class Scribble(Propagated):
    """Select the object that strokes mark."""

    viewpoint: Viewpoint
    strokes: tuple[Stroke, ...]
    field: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.strokes) <= MOST_STROKES:
            raise InputError(f"A scribble has 1 to {MOST_STROKES} strokes, found {len(self.strokes)}.")
        if not any(stroke.positive for stroke in self.strokes):
            raise InputError("A scribble needs a stroke on the object; draw one on it, not on the background alone.")

    @property
    def field_name(self) -> str:
        """The field whose features tell things apart."""
        return self.field

    @property
    def what(self) -> str:
        """What is drawn."""
        return f"scribble of {len(self.strokes)} stroke{'s' * (len(self.strokes) > 1)} ({self.field})"

    def prompt(self) -> Prompt:
        """The pixels under the strokes."""
        positive, negative = draw_strokes(self.viewpoint, self.strokes)
        if not positive.any():
            raise InputError("The strokes mark no pixel of the view as the object; draw on it.")
        return Prompt.from_scribbles(_view(self.viewpoint), positive, negative)


@dataclass(frozen=True)
class Click(Propagated):
    """Select the object that was clicked on; points are in pixels of the viewpoint."""

    viewpoint: Viewpoint
    points: tuple[Point, ...]
    background_points: tuple[Point, ...] = ()
    _: KW_ONLY
    field: str

    def __post_init__(self) -> None:
        super().__post_init__()
        clicks = np.array([*self.points, *self.background_points], float).reshape(-1, 2)
        if not self.points or len(clicks) > MOST_CLICKS:
            raise InputError(
                f"A click needs a point on the object and at most {MOST_CLICKS} in all, found {len(self.points)} "
                f"of {len(clicks)}."
            )
        if not ((clicks >= 0) & (clicks < (self.viewpoint.width, self.viewpoint.height))).all():
            raise InputError(f"A click must lie in the view of {self.viewpoint.width}x{self.viewpoint.height} pixels.")

    @property
    def field_name(self) -> str:
        """The field whose features tell things apart."""
        return self.field

    @property
    def what(self) -> str:
        """What is drawn."""
        count = len(self.points) + len(self.background_points)
        return (f"{count} clicks" if count > 1 else "click") + f" ({self.field})"

    def prompt(self) -> Prompt:
        """Discs around the clicks."""
        here = [self.viewpoint.to_working(points) for points in (self.points, self.background_points)]
        return Prompt.from_clicks(_view(self.viewpoint), *here)


@dataclass(frozen=True)
class Rectangle(Command):
    """Select what a rectangle (x0, y0, x1, y1) covers: the visible surface, or with ``through`` all centres."""

    viewpoint: Viewpoint
    box: Box
    combine: Combine = "set"
    through: bool = False

    def __post_init__(self) -> None:
        check_choice("combine", self.combine, Combine)
        x0, y0, x1, y1 = self.box
        check_points("rectangle", ((x0, y0), (x1, y1)), 2)
        inside = x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0
        if not inside or x0 >= self.viewpoint.width or y0 >= self.viewpoint.height:
            raise InputError(
                f"A rectangle x0 y0 x1 y1 has x0 < x1 and y0 < y1 and meets the view, found {x0:g} {y0:g} {x1:g} "
                f"{y1:g}."
            )

    @property
    def title(self) -> str:
        """What is done."""
        return SIGNS[self.combine] + _drawn("rectangle", self.through)

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        x0, y0, x1, y1 = self.box
        corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        return _enclosed(work.session, work.document, self, self.viewpoint, corners)


@dataclass(frozen=True)
class Lasso(Command):
    """Select what a closed line goes around: the visible surface, or with ``through`` all centres."""

    viewpoint: Viewpoint
    polygon: tuple[Point, ...]
    combine: Combine = "set"
    through: bool = False

    def __post_init__(self) -> None:
        check_choice("combine", self.combine, Combine)
        check_points("lasso", self.polygon, 3)

    @property
    def title(self) -> str:
        """What is done."""
        return SIGNS[self.combine] + _drawn("lasso", self.through)

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        return _enclosed(work.session, work.document, self, self.viewpoint, self.polygon)


def recut(found: Selection, threshold: float) -> Selection:
    """What a prompt found, cut at another threshold in the unit of its own scores."""
    scores = found.scores * (float(found.about["threshold"]) / BOUNDARY)
    about = {**found.about, "threshold": threshold, "threshold_from": "given"}
    return Selection.from_scores(scores, about, threshold=threshold)


def _drawn(what: str, through: bool) -> str:
    return f"{what} through everything" if through else what


def _enclosed(
    session: Session,
    document: Document,
    command: Rectangle | Lasso,
    viewpoint: Viewpoint,
    polygon: tuple[Point, ...],
) -> Document:
    """The document with what a closed line goes around."""
    pixels = torch.from_numpy(fill_polygon(viewpoint, polygon)).to(session.device)
    if not bool(pixels.any()):
        raise InputError("The line goes around no pixel of the view; draw a larger one.")
    if command.through:
        mask = _centres_inside(session, viewpoint, pixels)
    else:
        mask = _surface_inside(session, document, viewpoint, pixels)
    about = {"method": "enclosed", "through": command.through}
    title = _drawn(command.kind, command.through)
    return combined(document, Selection.from_mask(mask, about), command.combine, title)


def _surface_inside(
    session: Session, document: Document, viewpoint: Viewpoint, pixels: Bool[Tensor, "h w"]
) -> Bool[Tensor, " n"]:
    """Gaussians of the visible surface that show mostly inside."""
    gaussians, camera = session.visible_in(document), viewpoint.working
    inside = surface_weights(gaussians, camera, pixels[None])[:, 0]
    total = session.answer(("weights", viewpoint, Same(gaussians)), lambda: view_weights(gaussians, camera))
    return (inside > 0) & (inside >= PURITY["scribbles"] * total)


def _centres_inside(session: Session, viewpoint: Viewpoint, pixels: Bool[Tensor, "h w"]) -> Bool[Tensor, " n"]:
    """Gaussians in front of the camera whose centres are seen inside."""
    camera = viewpoint.working.to(session.device)
    local = session.gaussians.means @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    depths = local[:, 2]
    ahead = depths > 0
    positions = local @ camera.K.T
    positions = positions[:, :2] / torch.where(ahead, depths, 1.0)[:, None]
    size = positions.new_tensor([camera.width, camera.height])
    ahead = ahead & ((positions >= 0) & (positions < size)).all(1)
    x, y = torch.where(ahead[:, None], positions, 0.0).long().unbind(1)
    return ahead & pixels[y, x]


def _diffusion_anchors(
    session: Session, segmenter: Segmenter, command: Propagated, prompt: Prompt
) -> Bool[Tensor, " n"]:
    """Where diffusion starts: the tenth of the Gaussians with the highest lifted values (LUDVIG, section C.1.3)."""
    largest = session.scene_graph(command.field_name).largest
    lifted = lift_prompt(segmenter.gaussians, prompt, largest)
    values = torch.where(lifted.visible, lifted.positive, 0.0)
    count = max(1, int(ANCHORS * int((values > 0).sum())))
    anchors = torch.zeros_like(lifted.visible)
    anchors[values.topk(count).indices] = True
    return anchors.cpu()


def _within_steps(segmenter: Segmenter, found: Selection, anchors: Bool[Tensor, " n"], steps: int) -> Selection:
    """What diffusion reaches in so many steps of all that it found."""
    graph, scores = segmenter.graph, found.scores
    # The scores of what was reached are its unary term, so the edges that were passable are known.
    unary: Float[Tensor, " n"] = scores * (float(found.about["threshold"]) / BOUNDARY)
    edges = edge_weights(graph, float(found.about["bandwidth"]), unary) > EDGE_THRESHOLD
    inside = reachable(graph, edges, anchors, steps)
    kept = replace(found, mask=found.mask & inside, scores=torch.where(inside, scores, 0.0))
    return kept.with_about(steps=steps)


def _view(viewpoint: Viewpoint) -> View:
    """The viewpoint as a view without a photo."""
    return View("of the window", viewpoint.working, _no_photo)


def _no_photo() -> UInt8[np.ndarray, "h w 3"]:
    raise InputError("A viewpoint has no photo.")
