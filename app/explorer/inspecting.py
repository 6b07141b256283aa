"""What lies under one point of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from app.explorer.looks import heat

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from app.explorer.looks import Look
    from app.explorer.session import Session
    from render.camera import Camera

INSIDE = 0.5  # of a pixel's weight, from which on the pixel is a selection's


@dataclass(frozen=True, eq=False)
class Inspection:
    """The surface under a point, and the Gaussians that make its pixel.

    Attributes:
        point: On the visible surface, in the world; ``[3]``.
        depth: Along the camera's z axis, in the scene's unit.
        ids: All Gaussians of the pixel, in the order of the scene's file, the heaviest first; ``[k]`` int64.
        weights: Their blending weights; ``[k]``.
        alpha: The weights' sum: how much of the light is stopped.
        relevancy: Of the pixel, if the look shows one: the mean of the Gaussians' by their weights.
        selections: Names of the selections that the pixel belongs to.
    """

    point: Float[Tensor, "3"]
    depth: float
    ids: Int[Tensor, " k"]
    weights: Float[Tensor, " k"]
    alpha: float
    relevancy: float | None
    selections: tuple[str, ...]


@torch.no_grad()
def inspect(session: Session, camera: Camera, x: float, y: float, look: Look | None = None) -> Inspection | None:
    """Look closely at one point of a picture; None where nothing is.

    Args:
        session: The scene and its document.
        camera: The picture's.
        x: Column in pixels, where whole numbers are the pixels' borders.
        y: Row in pixels.
        look: What is shown; one of relevancy tells the relevancy too.

    Raises:
        InputError: the point lies outside of the picture.
    """
    from uplift.attribution import gaussians_of_pixels
    from uplift.picking import pick

    document = session.document
    gaussians = session.visible_in(document)
    position = torch.tensor([[x, y]], dtype=torch.float64)
    ids, weights = gaussians_of_pixels(gaussians, camera, position)[0]
    if len(ids) == 0:
        return None
    picked = pick(gaussians, camera, position)
    order = weights.argsort(descending=True, stable=True)
    ids, weights = ids[order], weights[order]
    alpha = float(weights.sum())
    relevancy = None
    if look is not None and look.what == "relevancy":
        relevancy = float((heat(session, look, document).scores[ids] * weights).sum()) / alpha
    shares = {
        name: float((named.selection.scores.to(weights)[ids] * weights).sum())
        for name, named in document.selections.items()
    }
    inside = tuple(name for name, share in shares.items() if share >= INSIDE)
    return Inspection(
        picked.points[0].float().cpu(), float(picked.depths[0]), ids.cpu(), weights.cpu(), alpha, relevancy, inside
    )
