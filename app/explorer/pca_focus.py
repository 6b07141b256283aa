"""PCA colours for what matters now: a basis of what a camera sees, or of what is selected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.errors import InputError
from uplift.pca import CHANNELS, PERCENTILE, PCAColours

if TYPE_CHECKING:
    from jaxtyping import Float

    from app.explorer.session import Session
    from render.camera import Camera
    from uplift.field import FeatureField

WIDTH = 320  # pixels of the view that says how much of each Gaussian is seen
ROWS = 1 << 14  # that old and new colours are compared on


def focus_on_view(
    session: Session,
    field: str,
    camera: Camera,
    *,
    components: int = CHANNELS,
    percentile: float = PERCENTILE,
    before: PCAColours | None = None,
) -> PCAColours:
    """A basis of the features that a camera sees, each counted by its blending weights in that view.

    Args:
        session: The scene.
        field: Name of the field.
        camera: The view.
        components: How many directions, 1 to 3.
        percentile: How many percent of what is seen become black, and how many full colour.
        before: The colours until now, which the new ones resemble as far as they can; None = the field's own.

    Raises:
        InputError: the camera sees none of the field, or an option is out of range.
    """
    from uplift.visibility import view_weights

    values = session.field(field)
    small = camera.resized(min(WIDTH, camera.width), max(1, round(camera.height * min(1, WIDTH / camera.width))))
    weights = view_weights(session.visible_gaussians, small)
    if not bool((weights * (values.weights > 0).to(weights.device) > 0).any()):
        raise InputError(f"Nothing of the field {field!r} is seen here; turn the camera to the scene.")
    return _focus(values, weights, components, percentile, before)


def focus_on_selection(
    session: Session,
    field: str,
    *,
    components: int = CHANNELS,
    percentile: float = PERCENTILE,
    before: PCAColours | None = None,
) -> PCAColours:
    """A basis of the features of the active selection; see :func:`focus_on_view`.

    Raises:
        InputError: nothing that has features is selected, or an option is out of range.
    """
    values = session.field(field)
    document = session.document
    mask = (document.selection.mask & document.visible).to(values.weights.device)
    weights = values.weights * mask
    if not bool((weights > 0).any()):
        raise InputError(f"Nothing with features of {field!r} is selected; select something first.")
    return _focus(values, weights, components, percentile, before)


def whole_scene(
    session: Session,
    field: str,
    *,
    components: int = CHANNELS,
    percentile: float = PERCENTILE,
    before: PCAColours | None = None,
) -> PCAColours:
    """A basis of all features of a field, for another number of directions or percentile than its own."""
    values = session.field(field)
    return _focus(values, values.weights, components, percentile, before)


@torch.no_grad()
def _focus(
    field: FeatureField, weights: Float[Tensor, " n"], components: int, percentile: float, before: PCAColours | None
) -> PCAColours:
    seen = weights.to(field.values.device) * (field.weights > 0)
    fitted = PCAColours.fit(field.values, seen, components=components, percentile=percentile)
    old = before or field.pca or PCAColours.fit(field.values, field.weights)
    heaviest = seen.topk(min(ROWS, int((seen > 0).sum()))).indices
    return resembling(fitted, old, field.values[heaviest])


def resembling(basis: PCAColours, before: PCAColours, rows: Float[Tensor, "m c"]) -> PCAColours:
    """The same directions with signs and order such that the rows keep their colours as far as they can.

    Every direction is compared with every old one by the correlation of the rows' projections; the order and the
    signs with the largest sum of correlations are taken, so that what was red does not become green without need.
    """
    from scipy.optimize import linear_sum_assignment

    found = _correlations(rows, basis, before)
    own, old = linear_sum_assignment(-found.abs().numpy())
    order = torch.as_tensor(own)[torch.as_tensor(old).argsort()]
    matched = torch.as_tensor(old).sort().values
    # More directions than there were: those that match nothing come last.
    rest = [index for index in range(len(basis.components)) if index not in order.tolist()]
    signs = torch.where(found[order, matched] < 0, -1.0, 1.0)
    order, signs = torch.cat([order, torch.tensor(rest, dtype=order.dtype)]), torch.cat([signs, torch.ones(len(rest))])
    order, signs = order.to(basis.components.device), signs.to(basis.components)
    low, high = basis.low[order] * signs, basis.high[order] * signs
    return PCAColours(
        basis.mean, basis.components[order] * signs[:, None], torch.minimum(low, high), torch.maximum(low, high)
    )


def _correlations(rows: Float[Tensor, "m c"], basis: PCAColours, before: PCAColours) -> Float[Tensor, "k j"]:
    """Of the projections of rows on two bases; 0 for a projection that does not vary."""
    own, old = (
        _standardized(rows.float() @ one.components.to(rows.device, torch.float32).T) for one in (basis, before)
    )
    return (own.T @ old / max(len(rows), 1)).cpu()


def _standardized(projected: Float[Tensor, "m k"]) -> Float[Tensor, "m k"]:
    centred = projected - projected.mean(0)
    deviation = centred.square().mean(0).sqrt()
    return torch.where(deviation > 1e-9, centred / deviation.clamp_min(1e-9), 0.0)
