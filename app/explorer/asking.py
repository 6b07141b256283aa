"""What a person asks of scores and selections: how they spread, which objects there are, where to see them best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from uplift.thresholds import histogram

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

    from app.explorer.looks import Look
    from app.explorer.session import Session
    from render.camera import Camera
    from render.views import View
    from uplift.selection import Selection

BINS = 64
LEAST_SHARE, LEAST = 0.02, 10  # of the largest object's Gaussians, and Gaussians, that make an object
QUANTILES = (0.01, 0.99)  # of the coordinates: stray Gaussians do not make an object larger
MOST_ROWS = 1_000_000  # that quantiles are taken of
CANDIDATES, WIDTH = 8, 120  # photos that are drawn to find the best, and their width in pixels
BAR, CUT, INK, PAPER = (96, 125, 160), (235, 110, 40), (40, 44, 52), (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Histogram:
    """How scores spread.

    Attributes:
        counts: ``[bins]`` int.
        edges: ``[bins + 1]`` float.
    """

    counts: Int[np.ndarray, " bins"]
    edges: Float[np.ndarray, " edges"]

    def above(self, threshold: float) -> int:
        """About how many scores lie above a threshold; a bin that is cut counts in part."""
        low, high = self.edges[:-1], self.edges[1:]
        shares = np.clip((high - threshold) / np.maximum(high - low, 1e-30), 0, 1)
        return round(float((shares * self.counts).sum()))

    def picture(
        self, threshold: float | None = None, *, width: int = 320, height: int = 96
    ) -> UInt8[np.ndarray, "h w 3"]:
        """Bars whose heights are logarithms of the counts; those above a threshold in another colour."""
        image = np.full((height, width, 3), PAPER, np.uint8)
        columns = np.arange(width) * len(self.counts) // width
        tall = np.log1p(self.counts) / max(np.log1p(self.counts.max()), 1e-9)
        filled = np.arange(height)[:, None] >= height - np.ceil(tall[columns] * (height - 4))[None]
        image[filled] = BAR
        if threshold is not None:
            low, high = float(self.edges[0]), float(self.edges[-1])
            cut = round((threshold - low) / (high - low) * width)
            right = np.arange(width) >= cut
            image[filled & right] = CUT
            if 0 <= cut < width:
                image[:, cut] = INK
        return image


@dataclass(frozen=True, eq=False)
class Found:
    """One connected object.

    Attributes:
        mask: Its Gaussians; ``[n]`` bool.
        count: How many.
        score: The mean of their scores.
        highest: The highest of them.
        centre: The median of their centres, in the world; ``[3]``.
        extent: Its size along the axes of the world, without strays, in the scene's unit; ``[3]``.
    """

    mask: Bool[Tensor, " n"]
    count: int
    score: float
    highest: float
    centre: Float[Tensor, "3"]
    extent: Float[Tensor, "3"]


@dataclass(frozen=True, eq=False)
class BestView:
    """The photo that shows something best.

    Attributes:
        view: The photo.
        share: Of its pixels that show it.
        whole: Share of its Gaussians that lie within the photo.
    """

    view: View
    share: float
    whole: float


def score_histogram(session: Session, look: Look | None = None, *, bins: int = BINS) -> Histogram:
    """How the relevancies of a look's text spread over the Gaussians that were seen, or without a text the scores of
    the active selection.

    Raises:
        InputError: no Gaussian was seen, or texts cannot be read.
    """
    from app.explorer.looks import field_of, heat

    if look is None or look.what != "relevancy" or look.text is None:
        scores = session.document.selection.scores
    else:
        scores = heat(session, look).scores
        scores = scores[(field_of(session, look).weights > 0).to(scores.device)]
    return Histogram(*histogram(scores, bins))


def top_objects(
    session: Session, selection: Selection, scores: Float[Tensor, " n"] | None = None, *, most: int = 5
) -> list[Found]:
    """The connected parts of a selection, those with the highest mean score first; crumbs are left out.

    Args:
        session: The scene.
        selection: What a text selected.
        scores: What objects are ranked by, such as relevancies; None = the selection's own.
        most: How many at most.
    """
    values = (selection.scores if scores is None else scores).detach().cpu().float()
    parts = selection.to("cpu").components(session.graph())
    if len(parts) == 0:
        return []
    large = parts.counts >= min(max(LEAST, LEAST_SHARE * int(parts.counts[0])), int(parts.counts[0]))
    inside = parts.labels >= 0
    sums = torch.zeros(len(parts)).index_add_(0, parts.labels[inside], values[inside])
    means = torch.where(large.cpu(), sums / parts.counts.cpu(), -torch.inf)
    best = means.argsort(descending=True, stable=True)[: min(most, int(large.sum()))]
    centres = session.gaussians.means.cpu()
    return [_found(parts.labels == int(label), values, centres) for label in best]


def best_view(session: Session, mask: Bool[Tensor, " n"]) -> BestView:
    """The photo that shows most of some Gaussians, of those that hold them whole.

    What hides them counts: a photo is drawn, small, for every likely view.

    Raises:
        InputError: nothing is selected, the scene has no photos, or none of them shows it.
    """
    from uplift.attribution import pixels_of_gaussians

    document = session.document
    mask = mask.cpu() & document.visible
    if not bool(mask.any()):
        raise InputError("Nothing is selected that could be shown; select something first.")
    gaussians, views = session.visible_in(document), session.scene.views
    means, inside = gaussians.means, mask.to(gaussians.device)
    judged = [(*_from(view.camera, means[inside]), view) for view in views]
    likely = sorted(judged, key=lambda one: one[0], reverse=True)[:CANDIDATES]
    found = []
    for _, whole, view in likely:
        camera = view.camera.resized(WIDTH, max(1, round(view.camera.height * WIDTH / view.camera.width)))
        share = float(pixels_of_gaussians(gaussians, camera, inside).mean())
        found.append(BestView(view, share, whole))
    best = max(found, key=lambda one: one.share * one.whole**2, default=None)
    if best is None or best.share <= 0:
        raise InputError(f"None of the {len(views)} photos shows what is selected.")
    return best


def _from(camera: Camera, points: Float[Tensor, "m 3"]) -> tuple[float, float]:
    """How large points are likely to appear in a camera, in any order of views; and the share of them within."""
    camera = camera.to(points.device, points.dtype)
    local = points @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    depth = local[:, 2].clamp_min(1e-6)
    pixels = local[:, :2] / depth[:, None] * camera.K.diagonal()[:2] + camera.K[:2, 2]
    within = (local[:, 2] > 1e-6) & ((pixels >= 0) & (pixels < pixels.new_tensor([camera.width, camera.height]))).all(1)
    whole = float(within.float().mean())
    if whole == 0:
        return 0.0, 0.0
    focal = float(camera.K[0, 0]) / camera.width
    return whole * (focal / float(depth[within].median())) ** 2, whole


def _found(mask: Bool[Tensor, " n"], scores: Float[Tensor, " n"], centres: Float[Tensor, "n 3"]) -> Found:
    points = centres[mask]
    few = points[:: -(-len(points) // MOST_ROWS)]
    low, high = (few.quantile(q, dim=0) for q in QUANTILES)
    own = scores[mask]
    return Found(mask, len(points), float(own.mean()), float(own.max()), points.median(dim=0).values, high - low)
