"""What a person looks at, and the colours that it gives to the Gaussians: kept until something changes them."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from app.explorer.cache import Cache
from render.errors import InputError
from render.spherical_harmonics import C0

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, UInt8

    from app.explorer.document import Document, Named
    from app.explorer.session import Session
    from uplift.field import FeatureField
    from uplift.pca import PCAColours

What: TypeAlias = Literal["rgb", "pca", "relevancy", "depth", "opacity"]
Layout: TypeAlias = Literal["single", "wipe", "side"]

TINT = 0.5  # of the colour of a selected Gaussian that is the selection's
LEVELS = 256  # of the colours of a heat map
DEPTH_QUANTILES = (0.1, 0.99)  # of the depths in photos: what is very near would take most of the colours
LIMIT_VIEWS, LIMIT_WIDTH = 8, 96  # photos that say which depths there are, and their width in pixels


@dataclass(frozen=True)
class Look:
    """What one client sees; colours follow from it, from the document, and from nothing else.

    Attributes:
        what: rgb: the scene's colours; pca: features as colours; relevancy: how well features fit ``text``, or
            without one the scores of the active selection; depth; opacity: how much of the light is stopped.
        field: Whose features; None = the session's default.
        text: What relevancy looks for.
        negatives: What it is not.
        overlay: Whether the shown selections are tinted and outlined.
        basis: Of the PCA colours; None = the field's own.
        like: A field and its basis whose colours those without a basis of their own resemble.
        same: Whether of two looks of features the second resembles the first, where it has no basis of its own.
        second: What the other half shows, in the layouts wipe and side.
        split: Where the second half of a wipe begins, as a share of the width.
        layout: single; wipe: one picture, left of the split this look, right of it the second; side: both
            pictures, each of half the width.

    Raises:
        InputError: an option is unknown or out of range, or a layout lacks its second look.
    """

    what: What = "rgb"
    field: str | None = None
    text: str | None = None
    negatives: tuple[str, ...] = ()
    overlay: bool = True
    basis: PCAColours | None = None
    like: tuple[str | None, PCAColours | None] | None = None
    same: bool = True
    second: Look | None = None
    split: float = 0.5
    layout: Layout = "single"

    def __post_init__(self) -> None:
        if self.what not in get_args(What) or self.layout not in get_args(Layout):
            raise InputError(
                f"Expected a look of {', '.join(get_args(What))} in a layout of {', '.join(get_args(Layout))}, found "
                f"{self.what!r} in {self.layout!r}."
            )
        if not 0 <= self.split <= 1:
            raise InputError(f"A wipe is split at a share of the width from 0 to 1, found {self.split:g}.")
        if self.layout != "single" and self.second is None:
            raise InputError(f"The layout {self.layout!r} shows two looks; choose the second.")
        if self.second is not None and self.second.second is not None:
            raise InputError("A second look cannot have a second look of its own.")

    @property
    def parts(self) -> tuple[Look, ...]:
        """The looks that are drawn: one, or the left and the right one; whatever is drawn follows from them alone."""
        first, second = replace(self, second=None, layout="single", split=0.5), self.second
        if self.layout == "single" or second is None:
            return (first,)
        if self.same and first.what == second.what == "pca" and second.basis is None:
            second = replace(second, like=(first.field, first.basis))
        return first, second


@dataclass(frozen=True, eq=False)
class Heat:
    """Scores of the Gaussians, for a heat map.

    Attributes:
        scores: As they are; ``[n]`` float32.
        levels: Scaled to [0, 1]; ``[n]`` float32.
        low: The score at level 0.
        high: The score at level 1.
    """

    scores: Float[Tensor, " n"]
    levels: Float[Tensor, " n"]
    low: float
    high: float


@torch.no_grad()
def colours(session: Session, look: Look, document: Document | None = None) -> Float[Tensor, "n 3"]:
    """Colours of the Gaussians, 0 to 1, on the session's device, the shown selections blended in.

    Of two looks, the first's.  They depend on no camera: with higher spherical harmonics rgb is the mean colour,
    which may exceed 1.

    Args:
        session: The scene.
        look: What is shown.
        document: Whose selections; None = the session's now.

    Raises:
        InputError: depth has no such colours; or the field or its text encoder is missing.
    """
    document = session.document if document is None else document
    shown = shown_selections(document) if look.overlay else []
    base = base_colours(session, look, document)
    if not shown:
        return base
    key = ("tinted", *_key(session, look, document), *_identity(shown))
    return cache_of(session).get(key, lambda: tinted(base, shown))


def splats(
    session: Session, look: Look, document: Document | None = None
) -> tuple[UInt8[np.ndarray, "n 3"], Float[np.ndarray, " n"]]:
    """Colours and opacities of the Gaussians as a browser draws them; hidden and removed ones have opacity 0.

    Raises:
        InputError: see :func:`colours`.
    """
    document = session.document if document is None else document
    rgb = (colours(session, look, document).clamp_max(1) * 255).round().to(torch.uint8).cpu().numpy()
    return rgb, session.visible_in(document).opacities.float().cpu().numpy()


def prepare(session: Session, look: Look, document: Document | None = None) -> None:
    """Make all that drawing a look needs and that takes time, so that frames are quick afterwards.

    Raises:
        InputError: see :func:`colours`.
    """
    document = session.document if document is None else document
    for part in look.parts:
        if part.what == "depth":
            depth_limits(session)
        else:
            colours(session, part, document)


def is_prepared(session: Session, look: Look, document: Document | None = None) -> bool:
    """Whether a look can be drawn without waiting for features, texts or depths."""
    document, cache = session.document if document is None else document, cache_of(session)
    return all(_key(session, part, document) in cache for part in look.parts if part.what not in ("rgb", "opacity"))


@torch.no_grad()
def base_colours(session: Session, look: Look, document: Document) -> Float[Tensor, "n 3"]:
    """Colours without selections; see :func:`colours`."""
    if look.what == "depth":
        raise InputError("Depth is a matter of the camera and gives Gaussians no colours; draw a frame instead.")
    makers: dict[str, Callable[[], Tensor]] = {
        "rgb": lambda: mean_colours(session),
        "pca": lambda: _pca(session, look),
        "relevancy": lambda: _warm(session, look, document),
        "opacity": lambda: session.gaussians.opacities.float()[:, None].expand(-1, 3).contiguous(),
    }
    key = _key(session, look, document)
    if look.what == "relevancy":
        heat(session, look, document)  # kept under the key alone: frames need it too
        key = ("warm", *key)
    return cache_of(session).get(key, makers[look.what])


def mean_colours(session: Session) -> Float[Tensor, "n 3"]:
    """Colours of SH degree 0, at least 0."""
    return cache_of(session).get("mean", lambda: (session.gaussians.sh[:, 0].float() * C0 + 0.5).clamp_min(0))


@torch.no_grad()
def heat(session: Session, look: Look, document: Document | None = None) -> Heat:
    """What a relevancy look shows, and its limits for a colour bar.

    Raises:
        InputError: the field has no text side, or its encoder cannot be loaded.
    """
    document = session.document if document is None else document
    return cache_of(session).get(_key(session, look, document), lambda: _made_heat(session, look, document))


def depth_limits(session: Session) -> tuple[float, float]:
    """Nearest and farthest depth worth a colour, over some of the photos: the same wherever the camera goes."""
    return cache_of(session).get(("depth",), lambda: _depth_limits(session))


def field_name(session: Session, look: Look) -> str:
    """The name of the field of a look.

    Raises:
        InputError: the look names none, and the scene has none.
    """
    name = look.field or (session.default_text_field if look.what == "relevancy" else session.default_field)
    if name is None:
        kind = "field that texts can be compared with" if look.what == "relevancy" else "field"
        raise InputError(f"{session.scene.path} has no {kind}; make one with: fit3d lift {session.scene.path}")
    return name


def field_of(session: Session, look: Look) -> FeatureField:
    """The field of a look.

    Raises:
        InputError: the scene has none of that name, or none at all.
    """
    return session.field(field_name(session, look))


def look_in(session: Session, look: Look) -> Look:
    """A look as it can be had in a session: the same if its fields are there, else the scene's colours."""
    if look.second is not None:
        first, second = look_in(session, replace(look, second=None, layout="single")), look_in(session, look.second)
        return replace(first, second=second, layout=look.layout)
    if look.what not in ("pca", "relevancy") or (look.what == "relevancy" and look.text is None):
        return look
    name = look.field or (session.default_field if look.what == "pca" else session.default_text_field)
    if name is None or name not in session.field_names:
        return Look(overlay=look.overlay, same=look.same, split=look.split)
    if look.basis is not None and len(look.basis.mean) != session.field(name).values.shape[1]:
        return replace(look, basis=None)
    return look


def shown_selections(document: Document) -> list[Named]:
    """The selections that are shown and have something in them, in their order."""
    return [named for named in document.selections.values() if named.shown and bool(named.selection.mask.any())]


def tinted(base: Float[Tensor, "n 3"], shown: Sequence[Named]) -> Float[Tensor, "n 3"]:
    """Colours with those of selections blended in, one after the other."""
    result = base.clone()
    for named in shown:
        mask = named.selection.mask.to(result.device)
        result[mask] = torch.lerp(result[mask], as_colour(named.colour, result), TINT)
    return result


def as_colour(colour: tuple[int, int, int], like: Tensor) -> Float[Tensor, "3"]:
    """A colour of bytes in [0, 1]."""
    return like.new_tensor(colour) / 255


_caches: weakref.WeakKeyDictionary[Session, Cache] = weakref.WeakKeyDictionary()


def cache_of(session: Session) -> Cache:
    """What was made for a session; it goes with the session."""
    found = _caches.get(session)
    return _caches.setdefault(session, Cache()) if found is None else found


def _key(session: Session, look: Look, document: Document) -> tuple[Hashable, ...]:
    """What a look's own colours follow from; bases and selections are compared by identity."""
    if look.what == "pca":
        return "pca", field_name(session, look), look.basis, look.like
    if look.what == "relevancy" and look.text is None:
        return "scores", document.selection
    if look.what == "relevancy":
        return "relevancy", field_name(session, look), look.text, look.negatives
    return (look.what,)


def _identity(shown: Sequence[Named]) -> tuple[Hashable, ...]:
    return tuple((named.selection, named.colour) for named in shown)


def _pca(session: Session, look: Look) -> Float[Tensor, "n 3"]:
    from app.explorer.pca_focus import colours_like
    from app.pictures import pca_colours

    field, basis = field_of(session, look), look.basis
    if basis is None and look.like is not None:
        other, model = look.like
        basis = colours_like(session, field_name(session, look), field_name(session, Look("pca", other)), model)
    return pca_colours(field if basis is None else replace(field, pca=basis))


def _warm(session: Session, look: Look, document: Document) -> Float[Tensor, "n 3"]:
    """A heat map of Gaussians, blended as one of pixels is (:func:`app.pictures.blend_heat`)."""
    from app.pictures import blend_heat

    levels = heat(session, look, document).levels.cpu().numpy()[:, None]
    below = (mean_colours(session).clamp_max(1) * 255).round().to(torch.uint8).cpu().numpy()[:, None]
    return torch.from_numpy(blend_heat(below, levels)[:, 0]).to(session.gaussians.device, torch.float32) / 255


def _made_heat(session: Session, look: Look, document: Document) -> Heat:
    from app.pictures import stretched

    if look.text is None:
        scores = document.selection.scores.to(session.gaussians.device)
        return Heat(scores, scores.clamp(0, 1), 0.0, 1.0)
    field = field_of(session, look)
    searcher = session.searcher(field_name(session, look))
    scores = searcher.relevancy(look.text, negatives=look.negatives).to(session.gaussians.device)
    levels, low, high = stretched(scores, field.weights)
    return Heat(scores, levels, low, high)


@torch.no_grad()
def _depth_limits(session: Session) -> tuple[float, float]:
    from app.pictures import render_depth

    views = session.scene.views
    some = views[:: max(1, -(-len(views) // LIMIT_VIEWS))]
    cameras = [view.camera for view in some]
    small = [
        camera.resized(LIMIT_WIDTH, max(1, round(camera.height * LIMIT_WIDTH / camera.width))) for camera in cameras
    ]
    depths = np.concatenate([np.zeros(0), *(render_depth(session.gaussians, camera).ravel() for camera in small)])
    if not (depths > 0).any():
        low, high = session.gaussians.means.aminmax(dim=0)
        depths = float((high - low).norm()) * np.array([0.05, 1.0])
    near, far = np.quantile(depths[depths > 0], DEPTH_QUANTILES)
    return float(near), float(max(far, near * (1 + 1e-6)))
