"""Frames of a look from one camera: a single rasterization, whatever is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from app.explorer.cache import Cache
from app.explorer.looks import (
    Heat,
    Look,
    cache_of,
    colours,
    depth_limits,
    heat,
    mean_colours,
    shown_selections,
    tinted,
)
from render.progress import Progress, silent
from render.rasterizer import rasterize
from render.rasterizer.threads import kernels_alone_on_all_threads
from render.spherical_harmonics import sh_to_rgb
from uplift.selection import BOUNDARY

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from app.explorer.document import Document, Named
    from app.explorer.session import Session
    from render.camera import Camera
    from render.rasterizer import Rendering

DIVIDER = (255, 255, 255)  # the line between two looks,
DIVIDER_WIDTH = 2  # in pixels
OUTLINE = 1 / 400  # of the picture's height: how thick outlines are
RIM = (255, 255, 255)
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
FAINT = 0.05  # opacity below which a pixel has no depth worth a colour
BAND_PIXELS = 1 << 21  # that are drawn at once where memory or cancelling matters
LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are
OVERLAP = 16  # rows above and below a band that are drawn and thrown away: outlines look around a pixel

Cancelled = Callable[[], bool]


def never() -> bool:
    """Nobody cancels."""
    return False


class Interrupted(Exception):  # noqa: N818  not an error
    """A frame that nobody waits for any more was given up."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A drawn look.

    Attributes:
        image: ``[h, w, 3]`` uint8.
        depth: Along the camera's z axis in the scene's unit, 0 where nothing is; ``[h, w]`` float32.
    """

    image: UInt8[np.ndarray, "h w 3"]
    depth: Float[np.ndarray, "h w"]

    def rows(self, first: int, last: int) -> Frame:
        """Some rows of it."""
        return Frame(self.image[first:last], self.depth[first:last])


def frame(
    session: Session, look: Look, camera: Camera, cancelled: Cancelled = never, *, document: Document | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """A look from one camera, at the camera's size, over black.

    Colours do not depend on the camera, but for the scene's own reflections (spherical harmonics).

    Args:
        session: The scene and its document.
        look: What is shown.
        camera: From where.
        cancelled: Asked between the steps; once it is true nothing more is done.
        document: What is selected, hidden and removed; None = as it is in the session now.

    Raises:
        Interrupted: ``cancelled`` was true.
        InputError: the look's field is missing, or has no text side.
    """
    return frame_with_depth(session, look, camera, cancelled, document=document).image


def frame_with_depth(
    session: Session, look: Look, camera: Camera, cancelled: Cancelled = never, *, document: Document | None = None
) -> Frame:
    """As :func:`frame`, with the depth of what is seen."""
    document = session.document if document is None else document
    return _drawn(session, look, camera, 0, camera.height, cancelled, document)


def frame_in_bands(
    session: Session,
    look: Look,
    camera: Camera,
    cancelled: Cancelled = never,
    *,
    pixels: int | None = None,
    document: Document | None = None,
    progress: Progress = silent,
) -> Frame:
    """As :func:`frame_with_depth`, some rows at a time: memory is bounded, and cancelling works between them.

    A rasterizer simplifies the shape of Gaussians far outside of its picture, so that a few pixels may differ by
    some levels from the picture in one piece.

    Args:
        session: The scene and its document.
        look: What is shown.
        camera: From where.
        cancelled: Asked before every band.
        pixels: Of a band, about; None = 2 million.
        document: What is selected, hidden and removed; None = as it is in the session now, for all bands.
        progress: Told of rows.
    """
    document = session.document if document is None else document
    rows = max(16, (BAND_PIXELS if pixels is None else pixels) // camera.width)
    if rows >= camera.height:
        return frame_with_depth(session, look, camera, cancelled, document=document)
    margin = max(OVERLAP, 2 * _thickness(camera))
    whole = Frame(
        np.empty((camera.height, camera.width, 3), np.uint8), np.empty((camera.height, camera.width), np.float32)
    )
    for first in range(0, camera.height, rows):
        progress(first, camera.height, "drawing")
        last = min(first + rows, camera.height)
        top, bottom = max(0, first - margin), min(camera.height, last + margin)
        band = _drawn(session, look, camera, top, bottom, cancelled, document).rows(first - top, last - top)
        whole.image[first:last], whole.depth[first:last] = band.image, band.depth
    return whole


def part_camera(look: Look, camera: Camera) -> Camera:
    """The camera that draws the parts of a look: in the layout side as wide as a half, looking the same way."""
    if look.layout != "side":
        return camera
    return _window(camera, camera.width // 4, camera.width - camera.width // 2, 0, camera.height)


def part_at(look: Look, camera: Camera, x: float) -> tuple[Look, Camera, float]:
    """Which look is seen at a column, with the camera that draws it and the column in that camera's picture."""
    parts = look.parts
    if len(parts) == 1:
        return parts[0], camera, x
    if look.layout == "wipe":
        return parts[int(x >= _split_column(look, camera.width))], camera, x
    half = camera.width // 2
    return parts[int(x >= half)], part_camera(look, camera), x if x < half else x - half


def part_columns(look: Look, camera: Camera, index: int) -> tuple[int, int]:
    """Where the picture that the camera of a part draws begins and ends in the whole picture, in columns."""
    if look.layout != "side":
        return 0, camera.width
    half = camera.width // 2
    # The left half of an odd width hides its last column.
    return (0, camera.width - half) if index == 0 else (half, camera.width)


Values = Callable[[], "Float[Tensor, 'n c']"]
Paint = Callable[["Float[Tensor, 'h w c']", "Rendering"], "UInt8[np.ndarray, 'h w 3']"]


@torch.no_grad()
def _drawn(
    session: Session, look: Look, camera: Camera, top: int, bottom: int, cancelled: Cancelled, document: Document
) -> Frame:
    """Some rows of a frame: the values of all its looks and the selections' scores in one rasterization."""
    _go_on(cancelled)
    shown = [shown_selections(document) if part.overlay else [] for part in look.parts]
    outlined = max(shown, key=len)
    layers = [_painter(session, part, camera, document) for part in look.parts]
    channels = [values() for values, _ in layers] if outlined or len(layers) > 1 or look.what != "rgb" else []
    if outlined:
        channels.append(_scores(session, outlined))
    _go_on(cancelled)
    lens = part_camera(look, camera)
    window = _window(lens, 0, lens.width, top, bottom - top)
    # Torch's own threads would wait for each other longer than they compute.
    with kernels_alone_on_all_threads():
        # Without values the rasterizer finds the colours of spherical harmonics itself, of visible Gaussians alone.
        drawn = rasterize(session.visible_in(document), window, torch.cat(channels, dim=1) if channels else None)
        _go_on(cancelled)
        blended = torch.split(drawn.values, [values.shape[1] for values in channels] or 3, dim=2)
        pictures = [paint(values, drawn) for (_, paint), values in zip(layers, blended, strict=False)]
        depth = _solid_depth(drawn)
    for picture, selections in zip(pictures, shown, strict=True):
        if selections:
            _outline(picture, selections, blended[-1].cpu().numpy(), _thickness(camera))
    return Frame(_together(look, camera, pictures), _together(look, camera, [depth] * len(pictures)))


def _painter(session: Session, look: Look, camera: Camera, document: Document) -> tuple[Values, Paint]:
    """What is rasterized for a look, and how it becomes a picture."""
    from app.pictures import as_bytes, blend_heat, colour_depth

    if look.what == "relevancy":
        warm = heat(session, look, document)
        return lambda: _grey_and_heat(session, warm), lambda blended, _: blend_heat(
            as_bytes(blended[..., :1].expand(-1, -1, 3)), blended[..., 1].cpu().numpy()
        )
    if look.what == "depth":
        limits = depth_limits(session)
        return lambda: _nothing(session), lambda _, drawn: colour_depth(_solid_depth(drawn), limits)
    if look.what == "opacity":
        return lambda: _nothing(session), lambda _, drawn: as_bytes(drawn.alpha[..., None].expand(-1, -1, 3))
    if look.what == "rgb":
        return lambda: _seen_from(session, look, camera, document), lambda blended, _: as_bytes(blended)
    return lambda: colours(session, look, document), lambda blended, _: as_bytes(blended)


def _seen_from(session: Session, look: Look, camera: Camera, document: Document) -> Float[Tensor, "n 3"]:
    """The scene's colours from one camera, the shown selections blended in."""
    gaussians = session.gaussians
    if gaussians.sh_degree == 0:
        return colours(session, look, document)
    shown = shown_selections(document) if look.overlay else []

    def make() -> Tensor:
        seen = sh_to_rgb(gaussians.sh, gaussians.means, camera.centre.to(gaussians.means))
        return tinted(seen, shown) if shown else seen

    # The last alone is kept: bands and sizes of one frame share it, a moving camera does not.
    last: Cache = cache_of(session).get("seen last", lambda: Cache(limit=0))
    key = (*camera.centre.tolist(), *((named.selection, named.colour) for named in shown))
    return last.get(key, make)


def _grey_and_heat(session: Session, warm: Heat) -> Float[Tensor, "n 2"]:
    """The two channels of a heat map: the brightness of what is below, and the heat."""

    def make() -> Tensor:
        below = mean_colours(session)
        return torch.stack([below @ below.new_tensor(LUMA), warm.levels], dim=1)

    return cache_of(session).get(("grey and heat", warm), make)


def _nothing(session: Session) -> Float[Tensor, "n 1"]:
    """A channel for looks that need none: opacity and depth come with every rasterization."""
    return cache_of(session).get("nothing", lambda: session.gaussians.means.new_zeros(len(session.gaussians), 1))


def _scores(session: Session, outlined: Sequence[Named]) -> Float[Tensor, "n k"]:
    """Scores of selections; a picture's pixel is inside where they blend to one half."""
    key = ("scores of", *(named.selection for named in outlined))
    like = session.gaussians.means
    return cache_of(session).get(
        key, lambda: torch.stack([named.selection.scores.to(like) for named in outlined], dim=1)
    )


def _outline(
    picture: UInt8[np.ndarray, "h w 3"],
    selections: Sequence[Named],
    scores: Float[np.ndarray, "h w k"],
    thickness: int,
) -> None:
    """Draw, in place, the border of each selection in its colour, with a light rim around it."""
    import cv2

    kernel = np.ones((2 * thickness + 1, 2 * thickness + 1), np.uint8)
    for index, named in enumerate(selections):
        inside = (scores[..., index] >= BOUNDARY).astype(np.uint8)
        # Beyond the picture a selection goes on: its edge is no border.
        core = cv2.erode(inside, kernel, borderType=cv2.BORDER_REPLICATE)
        # A rim around it keeps the colour apart from a background of the same colour.
        picture[cv2.dilate(inside, CROSS) > inside] = RIM
        picture[inside > core] = named.colour


def _thickness(camera: Camera) -> int:
    """Of outlines, in pixels."""
    return max(1, round(OUTLINE * camera.height))


def _together(look: Look, camera: Camera, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """One picture of one or two, with a line between two."""
    if len(pictures) == 1:
        return pictures[0]
    left, right = pictures
    if look.layout == "side":
        column = camera.width // 2
        joined = np.concatenate([left[:, :column], right], axis=1)
    else:
        column = _split_column(look, camera.width)
        joined = np.concatenate([left[:, :column], right[:, column:]], axis=1)
    if joined.ndim == 3 and 0 < column < camera.width:
        joined[:, column - DIVIDER_WIDTH // 2 : column + DIVIDER_WIDTH // 2] = DIVIDER
    return joined


def _split_column(look: Look, width: int) -> int:
    """The first column of a wipe's second half."""
    return round(look.split * width)


def _solid_depth(drawn: Rendering) -> Float[np.ndarray, "h w"]:
    """Depth where there is something to see, 0 elsewhere."""
    return torch.where(drawn.alpha > FAINT, drawn.depth, 0).cpu().numpy()


def _window(camera: Camera, left: int, width: int, top: int, height: int) -> Camera:
    """The camera of a part of the picture."""
    if (left, top, width, height) == (0, 0, camera.width, camera.height):
        return camera
    K = camera.K.clone()
    K[0, 2] -= left
    K[1, 2] -= top
    return replace(camera, K=K, width=width, height=height)


def _go_on(cancelled: Cancelled) -> None:
    if cancelled():
        raise Interrupted("A newer frame was asked for.")
