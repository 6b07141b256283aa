"""What a person marks in a view: a mask, scribbles, clicks or a box."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from render.errors import InputError
from render.views import View

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped, UInt8
    from numpy import ndarray

CLICK_RADIUS = 0.01  # of the larger side of the view
MIN_CLICK_RADIUS = 2.0  # pixels
INSIDE = 128  # of 255: from here on a mask's pixel is inside, and a scribble's opaque
COLOURED = 64  # of 255: by how much red or blue must exceed the other channels
BOX_SHARE = 0.5  # of a box's width and height: the ellipse in its middle that marks the object
BOX_STEPS = 33  # points along each edge of a box that are undistorted


@dataclass(frozen=True, eq=False)
class Prompt:
    """Marked pixels of one undistorted view.

    Attributes:
        view: The view.
        positive: Pixels of the object; ``[h, w]`` bool.
        negative: Pixels of the background; ``[h, w]`` bool.  All others of a complete prompt.
        complete: Whether every pixel is marked, as by a whole mask.
        kind: What was drawn.
        positive_clicks: Clicks on the object, (x, y) in pixels of the view; ``[m, 2]`` float64.  Empty unless
            ``kind`` is ``clicks``.
        negative_clicks: Clicks on the background; ``[k, 2]`` float64.
        radius: Of the discs around the clicks, in pixels; 0 unless ``kind`` is ``clicks``.

    Raises:
        InputError: a mask does not have the view's size, nothing is marked as object, or a pixel is marked as
            both.
    """

    view: View
    positive: Bool[ndarray, "h w"]
    negative: Bool[ndarray, "h w"]
    complete: bool
    kind: Literal["mask", "scribbles", "clicks", "box"]
    positive_clicks: Float[ndarray, "m 2"] = field(default_factory=lambda: np.empty((0, 2)))
    negative_clicks: Float[ndarray, "k 2"] = field(default_factory=lambda: np.empty((0, 2)))
    radius: float = 0.0

    def __post_init__(self) -> None:
        camera = self.view.camera
        for name, mask in (("positive", self.positive), ("negative", self.negative)):
            if mask.dtype != np.bool_ or mask.shape != (camera.height, camera.width):
                raise InputError(
                    f"Prompt.{name} must be bool of the size of view {self.view.name!r}, "
                    f"[{camera.height}, {camera.width}], found {mask.dtype} {list(mask.shape)}."
                )
        if not self.positive.any():
            raise InputError(f"The prompt marks no pixel of view {self.view.name!r} as the object; mark at least one.")
        if (self.positive & self.negative).any():
            raise InputError("Pixels are marked both as object and as background; mark each one way.")

    @staticmethod
    def from_mask(view: View, mask: Shaped[ndarray, "h w"]) -> Prompt:
        """The whole object; every other pixel is background.

        Args:
            view: The view that ``mask`` belongs to.
            mask: True inside, at the size of the undistorted view.

        Raises:
            InputError: a wrong size, nothing inside, or nothing outside.
        """
        inside = _as_mask(mask)
        if inside.size and inside.all():
            raise InputError(f"The mask of view {view.name!r} covers the whole view; leave the background out.")
        return Prompt(view, inside, ~inside, True, "mask")

    @staticmethod
    def from_scribbles(
        view: View, positive: Shaped[ndarray, "h w"], negative: Shaped[ndarray, "h w"] | None = None
    ) -> Prompt:
        """Some pixels of the object, and perhaps some of the background.

        Args:
            view: The view that was drawn on.
            positive: True on the object, at the size of the undistorted view.
            negative: True on the background.

        Raises:
            InputError: a wrong size, nothing marked as object, or a pixel marked as both.
        """
        marked = _as_mask(positive)
        background = np.zeros_like(marked) if negative is None else _as_mask(negative)
        return Prompt(view, marked, background, False, "scribbles")

    @staticmethod
    def from_clicks(
        view: View,
        positive_xy: Float[ndarray, "m 2"],
        negative_xy: Float[ndarray, "k 2"] | None = None,
        *,
        radius: float | None = None,
    ) -> Prompt:
        """Discs around clicks; a pixel near two clicks belongs to the nearer.

        Args:
            view: The view that was clicked on.
            positive_xy: (x, y) in pixels of the undistorted view, centres at half-integers.
            negative_xy: Clicks on the background.
            radius: Of the discs in pixels; by default 1 % of the larger side, at least 2.

        Raises:
            InputError: no click on the object, one outside the view, or a radius that is not positive.
        """
        camera = view.camera
        if radius is None:
            radius = max(MIN_CLICK_RADIUS, CLICK_RADIUS * max(camera.width, camera.height))
        if not radius > 0:
            raise InputError(f"The radius of a click must be positive, found {radius:g} pixels.")
        groups = [_clicks(view, positive_xy), _clicks(view, () if negative_xy is None else negative_xy)]
        if len(groups[0]) == 0:
            raise InputError("At least one click on the object is needed, found none.")
        # Distances to the nearest click of each kind; the clicked pixels themselves always count.
        near = [_distances(view, clicks) for clicks in groups]
        within = [distance <= max(radius, np.sqrt(0.5)) for distance in near]
        positive = within[0] & (near[0] <= near[1])
        return Prompt(view, positive, within[1] & ~positive, False, "clicks", groups[0], groups[1], float(radius))

    @staticmethod
    def from_box(view: View, box: tuple[float, float, float, float]) -> Prompt:
        """The object in a box: what lies around the box's middle; background is everything outside the box.

        What is between is left to the features.  A mask cut out of the box (GrabCut) measured worse: it marks
        what it gets wrong.

        Args:
            view: The view that was drawn on.
            box: (x0, y0, x1, y1) in pixels of the undistorted view; what reaches over its border is cut off.

        Raises:
            InputError: the box is empty, or covers the whole view.
        """
        x0, y0, x1, y1 = _clipped(view, box)
        y, x = np.mgrid[: view.camera.height, : view.camera.width] + 0.5
        across, down = (2 * x - x0 - x1) / (x1 - x0), (2 * y - y0 - y1) / (y1 - y0)
        inside = (np.abs(across) < 1) & (np.abs(down) < 1)
        # The pixels at the middle of a very thin box always count.
        reach = np.maximum(BOX_SHARE, np.hypot(1 / (x1 - x0), 1 / (y1 - y0)))
        return Prompt(view, np.hypot(across, down) <= reach, ~inside, False, "box")

    @property
    def about(self) -> dict[str, object]:
        """Kind, view and number of marked pixels, for the record."""
        marked = {"object_pixels": int(self.positive.sum()), "background_pixels": int(self.negative.sum())}
        return {"kind": self.kind, "view": self.view.name, **marked}


def read_mask(path: str | Path, view: View) -> Prompt:
    """A mask PNG at the photo's size, 255 = object, as a prompt for the undistorted view.

    Raises:
        InputError: it cannot be read, has another size, or nothing or everything is inside.
    """
    image = _read_drawing(path, "L")
    _check_size(path, image, view)
    if not (image >= INSIDE).any():
        raise InputError(
            f"The mask {path} is empty: expected 255 on the object, found at most {int(image.max(initial=0))}."
        )
    return Prompt.from_mask(view, _to_view(path, image >= INSIDE, view, "pixel of the object"))


def read_scribbles(path: str | Path, view: View) -> Prompt:
    """A scribble PNG at the photo's size as a prompt for the undistorted view.

    Red is object, blue is background, transparent is unmarked.

    Raises:
        InputError: it cannot be read, has another size, has no transparency, or no red pixel.
    """
    image = _read_drawing(path, "RGBA")
    _check_size(path, image, view)
    red, green, blue = (image[..., channel].astype(np.int16) for channel in range(3))
    opaque = image[..., 3] >= INSIDE
    if opaque.all():
        raise InputError(
            f"The scribbles {path} have no transparent pixel; expected RGBA: red = object, blue = background, "
            "transparent elsewhere."
        )
    positive = opaque & (red - np.maximum(green, blue) >= COLOURED)
    negative = opaque & (blue - np.maximum(green, red) >= COLOURED)
    if not positive.any():
        raise InputError(f"The scribbles {path} have no red pixel; draw red on the object (blue on the background).")
    marked = _to_view(path, positive, view, "red pixel")
    return Prompt.from_scribbles(view, marked, view.from_photo(negative))


def clicks_on_photo(view: View, pixels: Int[ndarray, "m 2"]) -> Float[ndarray, "m 2"]:
    """Columns and rows of pixels of the photo file, counted from 0, as (x, y) of the undistorted view.

    Raises:
        InputError: a pixel lies outside the photo, or in the margin that undistorting crops.
    """
    clicked = np.asarray(pixels, np.float64).reshape(-1, 2)
    width, height = view.photo_size
    outside = ~((clicked >= 0) & (clicked < (width, height))).all(1)
    if outside.any():
        raise InputError(
            f"The click at {_numbers(clicked[outside][0])} lies outside the photo of view {view.name!r} of "
            f"{width}x{height} pixels."
        )
    points = view.undistort_points(clicked + 0.5)
    lost = ~((points >= 0) & (points < (view.camera.width, view.camera.height))).all(1)
    if lost.any():
        raise InputError(
            f"The click at {_numbers(clicked[lost][0])} lies in the margin of the photo that the undistorted view "
            f"{view.name!r} lacks; click nearer the middle."
        )
    return points


def box_on_photo(view: View, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The smallest box of the undistorted view around a box (x0, y0, x1, y1) of the photo file, cut at its border.

    Raises:
        InputError: the box holds no pixel of the photo.
    """
    width, height = view.photo_size
    x0, y0, x1, y1 = np.clip(np.asarray(box, np.float64), 0, (width, height, width, height))
    if not (x0 < x1 and y0 < y1):
        raise InputError(
            f"The box {_numbers(box)} holds nothing of the photo of view {view.name!r} of {width}x{height} pixels; "
            "give x0 y0 x1 y1 with x0 < x1 and y0 < y1."
        )
    # A bent edge reaches farthest somewhere along it, not at the corners.
    along_x, along_y = np.linspace(x0, x1, BOX_STEPS), np.linspace(y0, y1, BOX_STEPS)
    sides = [(along_x, np.full(BOX_STEPS, y)) for y in (y0, y1)] + [(np.full(BOX_STEPS, x), along_y) for x in (x0, x1)]
    points = view.undistort_points(np.concatenate([np.stack(side, axis=1) for side in sides]))
    low = np.nan_to_num(points, nan=0.0).min(0).clip(0)
    high = np.minimum(np.nan_to_num(points, nan=np.inf).max(0), (view.camera.width, view.camera.height))
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _as_mask(values: Shaped[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    """A copy as booleans: whoever made the array may draw on."""
    return np.array(values, dtype=bool)


def _clicks(view: View, positions: object) -> Float[ndarray, "m 2"]:
    clicks = np.array(positions, dtype=np.float64).reshape(-1, 2)
    size = np.array([view.camera.width, view.camera.height])
    outside = ~((clicks >= 0) & (clicks < size)).all(1)
    if outside.any():
        raise InputError(
            f"The click at {_numbers(clicks[outside][0])} lies outside view {view.name!r} of "
            f"{size[0]}x{size[1]} pixels."
        )
    return clicks


def _distances(view: View, clicks: Float[ndarray, "m 2"]) -> Float[ndarray, "h w"]:
    """From every pixel's centre to the nearest click."""
    from scipy.spatial import cKDTree

    y, x = np.mgrid[: view.camera.height, : view.camera.width] + 0.5
    if len(clicks) == 0:
        return np.full(x.shape, np.inf)
    return cKDTree(clicks).query(np.stack([x, y], axis=-1))[0]


def _clipped(view: View, box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """Whole pixels of a box inside the view: first column and row, and one past the last."""
    width, height = view.camera.width, view.camera.height
    if len(box) != 4 or not np.isfinite(np.asarray(box, np.float64)).all():
        raise InputError(f"A box is four numbers x0, y0, x1, y1, found {box}.")
    x0, y0 = max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1])))
    x1, y1 = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    if x1 - x0 < 2 or y1 - y0 < 2:
        raise InputError(
            f"The box {_numbers(box)} holds nothing of view {view.name!r} of {width}x{height} pixels; "
            "give x0 y0 x1 y1 with x0 < x1 and y0 < y1."
        )
    if (x0, y0, x1, y1) == (0, 0, width, height):
        raise InputError(f"The box {_numbers(box)} covers the whole view {view.name!r}; leave some background out.")
    return x0, y0, x1, y1


def _read_drawing(path: str | Path, mode: Literal["L", "RGBA"]) -> UInt8[ndarray, "H W *c"]:
    """The pixels of an image file, transparency kept for RGBA."""
    from PIL import Image

    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        with Image.open(path) as opened:
            if opened.mode.startswith(("I", "F")):
                raise InputError(f"{path} has more than 8 bits per channel; save it as an 8-bit PNG.")
            return np.array(opened.convert(mode))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}.") from error


def _check_size(path: str | Path, image: Shaped[ndarray, "H W *c"], view: View) -> None:
    found = (image.shape[1], image.shape[0])
    if found != view.photo_size:
        raise InputError(
            f"{path} must have the size of the photo of view {view.name!r}, "
            f"{view.photo_size[0]}x{view.photo_size[1]}, found {found[0]}x{found[1]}."
        )


def _to_view(path: str | Path, mask: Bool[ndarray, "H W"], view: View, what: str) -> Bool[ndarray, "h w"]:
    """A drawing on the photo as pixels of the view; it must not lie in the cropped margin alone."""
    mapped = view.from_photo(mask)
    if not mapped.any():
        raise InputError(
            f"No {what} of {path} lies in the undistorted view {view.name!r}, which lacks the photo's margin; "
            "mark more of the object."
        )
    return mapped


def _numbers(values: object) -> str:
    return "(" + ", ".join(f"{value:g}" for value in np.asarray(values, np.float64).ravel()) + ")"
