"""PCA colours for what matters now, and of two fields such that the same thing has the same colour in both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.errors import InputError
from uplift.pca import CHANNELS, MAX_ROWS, PERCENTILE, PCAColours

if TYPE_CHECKING:
    from jaxtyping import Float

    from app.explorer.looks import Look
    from app.explorer.session import Session
    from render.camera import Camera
    from uplift.field import FeatureField

WIDTH = 320  # pixels of the view that says how much of each Gaussian is seen
ROWS = MAX_ROWS  # that old and new colours are compared on, and of each of two fields that get one basis
ALIKE = 0.5  # correlation of two fields of one dimension from which on they count as features of one kind


@dataclass(frozen=True, eq=False)
class Spread:
    """How features are spread over the colours.

    Attributes:
        components: How many directions, 1 to 3.
        percentile: How many percent of what matters become black, and how many full colour.
        before: The colours until now, which the new ones resemble as far as they can; None = the field's own.
    """

    components: int = CHANNELS
    percentile: float = PERCENTILE
    before: PCAColours | None = None


@dataclass(frozen=True, eq=False)
class Scope:
    """What matters.

    Attributes:
        weights: How much each Gaussian counts; ``[n]``.  None = as much as photos show of it.
        lacking: What to say where nothing of a field matters, with ``{}`` for the field's name.
    """

    weights: Float[Tensor, " n"] | None = None
    lacking: str = "The field {} has no features; make it again with fit3d lift."


SCENE = Scope()
SPREAD = Spread()


def scope_of_view(session: Session, camera: Camera) -> Scope:
    """What a camera sees; each Gaussian counts by its blending weights in that view."""
    from uplift.visibility import view_weights

    small = camera.resized(min(WIDTH, camera.width), max(1, round(camera.height * min(1, WIDTH / camera.width))))
    weights = view_weights(session.visible_gaussians, small)
    return Scope(weights, "Nothing of the field {} is seen here; turn the camera to the scene.")


def scope_of_selection(session: Session) -> Scope:
    """The visible Gaussians of the active selection."""
    document = session.document
    weights = (document.selection.mask & document.visible).to(session.device, torch.float32)
    return Scope(weights, "Nothing with features of {} is selected; select something first.")


@torch.no_grad()
def focus(session: Session, field: str, scope: Scope = SCENE, spread: Spread = SPREAD) -> PCAColours:
    """A basis of the features that matter.

    Args:
        session: The scene.
        field: Name of the field.
        scope: What matters.
        spread: How it is spread over the colours.

    Raises:
        InputError: nothing of the field matters, or an option is out of range.
    """
    values = session.field(field)
    weights = _weights(values, field, scope)
    fitted = PCAColours.fit(values.values, weights, components=spread.components, percentile=spread.percentile)
    return resembling(fitted, spread.before or _own(values), values.values[_heaviest(weights)])


@torch.no_grad()
def focus_both(
    session: Session, first: str, second: str, scope: Scope = SCENE, spread: Spread = SPREAD
) -> tuple[PCAColours, PCAColours]:
    """Bases of two fields in which the same thing has the same colour, as far as it can.

    Features of one kind (of an encoder before and after it was tuned) get one basis, fitted to both.  Others get
    one each, the second's turned to the first's; see :func:`colours_like`.

    Args:
        session: The scene.
        first: Name of a field.
        second: Name of another.
        scope: What matters.
        spread: How it is spread over the colours; ``before`` are the first's colours until now.

    Raises:
        InputError: nothing of a field matters, or an option is out of range.
    """
    one, other = session.field(first), session.field(second)
    alone = focus(session, first, scope, spread)
    if one is other:
        return alone, alone
    weights, other_weights = _weights(one, first, scope), _weights(other, second, scope)
    rows = _heaviest(torch.minimum(weights, other_weights))
    if _is_one_kind(one, other, alone, rows):
        # No more rows than that ever count: copies of both fields would take gigabytes.
        kept, other_kept = _heaviest(weights), _heaviest(other_weights)
        fitted = PCAColours.fit(
            torch.cat([one.values[kept], other.values[other_kept]]),
            torch.cat([weights[kept], other_weights[other_kept]]),
            components=spread.components,
            percentile=spread.percentile,
        )
        joint = resembling(fitted, alone, torch.cat([one.values[rows], other.values[rows]]))
        return joint, joint
    components = min(len(alone.components), other.dimension)
    fitted = PCAColours.fit(other.values, other_weights, components=components, percentile=spread.percentile)
    return alone, turned(fitted, other.values[rows], alone, one.values[rows])


@torch.no_grad()
def colours_like(session: Session, field: str, other: str, basis: PCAColours | None = None) -> PCAColours:
    """A basis for a field in which things have the colours that they have in another field.

    Args:
        session: The scene.
        field: Name of the field.
        other: Name of the field whose colours are resembled.
        basis: Of those colours; None = the other field's own.

    Returns:
        The other's basis itself for features of one kind; else the field's own directions, turned to the other's.
    """
    values, model = session.field(field), session.field(other)
    basis = basis or _own(model)
    rows = _heaviest(torch.minimum(values.weights, model.weights))
    if values is model or _is_one_kind(model, values, basis, rows):
        return basis
    own, components = _own(values), min(len(basis.components), values.dimension)
    if len(own.components) != components:
        own = PCAColours.fit(values.values, values.weights, components=components)
    return turned(own, values.values[rows], basis, model.values[rows])


def refocused(session: Session, look: Look, scope: Scope = SCENE, spread: Spread = SPREAD) -> Look:
    """A look whose features, in both halves, have colours for what matters; they resemble those until now.

    Raises:
        InputError: see :func:`focus_both`.
    """
    from app.explorer.looks import field_name

    second = None if look.layout == "single" else look.second
    if second is not None and look.same and look.what == second.what == "pca":
        both = field_name(session, look), field_name(session, second)
        basis, other = focus_both(session, *both, scope, replace(spread, before=look.basis))
        return replace(look, basis=basis, second=replace(second, basis=other))
    if look.what == "pca":
        basis = focus(session, field_name(session, look), scope, replace(spread, before=look.basis))
        look = replace(look, basis=basis)
    if second is not None and second.what == "pca":
        basis = focus(session, field_name(session, second), scope, replace(spread, before=second.basis))
        look = replace(look, second=replace(second, basis=basis))
    return look


def resembling(basis: PCAColours, before: PCAColours, rows: Float[Tensor, "m c"]) -> PCAColours:
    """The same directions with signs and order such that the rows keep their colours as far as they can.

    Every direction is compared with every old one by the correlation of the rows' projections; the order and the
    signs with the largest sum of correlations are taken, so that what was red does not become green without need.
    """
    from scipy.optimize import linear_sum_assignment

    own, old = (_standardized(_projected(one, rows)) for one in (basis, before))
    found = (own.T @ old / max(len(rows), 1)).cpu()
    chosen, matched = linear_sum_assignment(-found.abs().numpy())
    order = torch.as_tensor(chosen)[torch.as_tensor(matched).argsort()]
    known = torch.as_tensor(matched).sort().values
    # More directions than there were: those that match nothing come last.
    rest = [index for index in range(len(basis.components)) if index not in order.tolist()]
    signs = torch.where(found[order, known] < 0, -1.0, 1.0)
    order, signs = torch.cat([order, torch.tensor(rest, dtype=order.dtype)]), torch.cat([signs, torch.ones(len(rest))])
    order, signs = order.to(basis.components.device), signs.to(basis.components)
    low, high = basis.low[order] * signs, basis.high[order] * signs
    return PCAColours(
        basis.mean, basis.components[order] * signs[:, None], torch.minimum(low, high), torch.maximum(low, high)
    )


def turned(
    basis: PCAColours, rows: Float[Tensor, "m c"], model: PCAColours, model_rows: Float[Tensor, "m d"]
) -> PCAColours:
    """The same directions turned among themselves such that rows get the colours of a model's rows.

    The rotation is the one with the largest sum of correlations (Procrustes), and the ranges are such that a row as
    far from the middle as the model's has its colour.

    Args:
        basis: What is turned.
        rows: Features of some Gaussians.
        model: Another field's colours, with no fewer directions.
        model_rows: The features of the same Gaussians in that field.
    """
    k = len(basis.components)
    if len(rows) < 2:
        return basis
    own, its = _projected(basis, rows), _projected(model, model_rows)[:, :k]
    left, _, right = torch.linalg.svd((own - own.mean(0)).T @ _standardized(its))
    rotation = left @ right
    own = own @ rotation
    ratio = own.std(0) / its.std(0).clamp_min(1e-9)
    low, high = (own.mean(0) + (bound.to(own)[:k] - its.mean(0)) * ratio for bound in (model.low, model.high))
    components = rotation.T @ basis.components.to(rotation)
    return PCAColours(basis.mean, *(one.to(basis.mean) for one in (components, low, high)))


def _own(values: FeatureField) -> PCAColours:
    return values.pca or PCAColours.fit(values.values, values.weights)


def _weights(values: FeatureField, name: str, scope: Scope) -> Float[Tensor, " n"]:
    """How much each Gaussian of a field counts."""
    weights = values.weights if scope.weights is None else scope.weights.to(values.weights) * (values.weights > 0)
    if not bool((weights > 0).any()):
        raise InputError(scope.lacking.format(repr(name)))
    return weights


def _heaviest(weights: Float[Tensor, " n"]) -> Tensor:
    return weights.topk(min(ROWS, int((weights > 0).sum()))).indices


def _is_one_kind(one: FeatureField, other: FeatureField, basis: PCAColours, rows: Tensor) -> bool:
    """Whether features of two fields mean the same: of one dimension, and alike on the same Gaussians."""
    if one.dimension != other.dimension or len(rows) < 2:
        return False
    own, its = (_projected(basis, values.values[rows]) for values in (one, other))
    own, its = own - own.mean(0), its - its.mean(0)
    scale = float((own.square().mean(0) * its.square().mean(0)).sqrt().sum())
    return scale > 0 and float((own * its).mean(0).sum()) >= ALIKE * scale


def _projected(basis: PCAColours, rows: Float[Tensor, "m c"]) -> Float[Tensor, "m k"]:
    return (rows.float() - basis.mean.to(rows.device).float()) @ basis.components.to(rows.device).float().T


def _standardized(projected: Float[Tensor, "m k"]) -> Float[Tensor, "m k"]:
    """Of mean 0 and deviation 1; 0 for a projection that does not vary."""
    centred = projected - projected.mean(0)
    deviation = centred.square().mean(0).sqrt()
    return torch.where(deviation > 1e-9, centred / deviation.clamp_min(1e-9), 0.0)
