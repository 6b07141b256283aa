"""Posed photos: what a camera saw, undistorted, read when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from render.camera import Camera
from render.errors import InputError
from render.undistortion import (
    Lens,
    covering,
    distort_image,
    distort_points,
    undistort_image,
    undistort_labels,
    undistort_points,
    undistorted,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped, UInt8
    from numpy import ndarray


@dataclass(frozen=True)
class View:
    """One photo of a scene, undistorted.

    What a person gives or gets as pixels (clicks, scribbles, masks) belongs to the photo file as it is;
    ``from_photo`` and ``undistort_points`` bring it to the view, ``to_photo`` and ``distort_points`` bring
    results back.

    Attributes:
        name: The photo's file name without extension; unique in a scene.
        camera: The camera of the undistorted photo, in the world of the scene.
        image: Reads and undistorts the photo, each time it is called; ``[h, w, 3]`` numpy uint8.
        path: The photo file; none for a view that is not on disk.
        lens: The intrinsics of the photo file; none if the photo is the view.
    """

    name: str
    camera: Camera
    image: Callable[[], UInt8[ndarray, "h w 3"]]
    path: Path | None = None
    lens: Lens | None = None

    @staticmethod
    def from_photo_file(name: str, path: Path, lens: Lens, world_to_camera: Float[ndarray, "4 4"]) -> View:
        """The view of a photo file; nothing is read yet.

        Raises:
            InputError: the lens leaves no valid pixel.
        """
        flat = undistorted(lens)
        camera = Camera(
            K=torch.tensor(flat.K, dtype=torch.float32),
            world_to_camera=torch.tensor(world_to_camera, dtype=torch.float32),
            width=flat.width,
            height=flat.height,
        )
        return View(name, camera, partial(read_undistorted, path, lens), path, lens)

    @property
    def photo_size(self) -> tuple[int, int]:
        """Width and height of the photo file in pixels."""
        if self.lens is None:
            return self.camera.width, self.camera.height
        return self.lens.width, self.lens.height

    @property
    def covering_camera(self) -> Camera:
        """The view's camera with a margin, so that it sees every pixel of the photo.

        Undistorting crops what bent out of the rectangle.  A mask that is rendered with this camera and
        brought back with :meth:`to_photo` reaches the borders of the photo; one rendered with
        :attr:`camera` leaves them empty.
        """
        if self.lens is None or not self.lens.distorted:
            return self.camera
        x, y, width, height = covering(self.lens)
        K = self.camera.K.clone()
        K[0, 2] -= x
        K[1, 2] -= y
        return replace(self.camera, K=K, width=width, height=height)

    def to_photo(self, values: Shaped[ndarray, "h w *c"]) -> Shaped[ndarray, "H W *c"]:
        """Bring pixels of the view, or of :attr:`covering_camera`, to pixels of the photo file.

        Booleans and integers come from the nearest pixel, floats are interpolated; what is not seen is 0.

        Raises:
            InputError: the image has neither the view's size nor the covering camera's.
        """
        values = _as_numpy(values)
        size = (values.shape[1], values.shape[0])
        if self.lens is None or not self.lens.distorted:
            self._expect(size, self.camera)
            return values.copy()
        if size == (self.camera.width, self.camera.height):
            return distort_image(values, self.lens)
        x, y, width, height = covering(self.lens)
        if size != (width, height):
            self._expect(size, self.camera)
        return distort_image(values, self.lens, offset=(-x, -y))

    def from_photo(self, values: Shaped[ndarray, "H W *c"]) -> Shaped[ndarray, "h w *c"]:
        """Bring a mask or a scribble that was drawn on the photo file to the view; nearest pixel.

        Raises:
            InputError: the image does not have the photo's size.
        """
        values = _as_numpy(values)
        if self.lens is None:
            self._expect((values.shape[1], values.shape[0]), self.camera)
            return values
        return undistort_labels(values, self.lens)

    def undistort_points(self, points: Float[ndarray, "m 2"]) -> Float[ndarray, "m 2"]:
        """Pixels (x, y) of the photo file to pixels of the view, centres at half-integers; they may lie
        outside."""
        points = np.asarray(points, np.float64).reshape(-1, 2)
        return points if self.lens is None else undistort_points(points, self.lens)

    def distort_points(self, points: Float[ndarray, "m 2"]) -> Float[ndarray, "m 2"]:
        """Pixels (x, y) of the view to pixels of the photo file, centres at half-integers."""
        points = np.asarray(points, np.float64).reshape(-1, 2)
        return points if self.lens is None else distort_points(points, self.lens)

    def _expect(self, size: tuple[int, int], camera: Camera) -> None:
        if size != (camera.width, camera.height):
            raise InputError(
                f"Expected an image of the size of view {self.name!r}, {camera.width}x{camera.height}, "
                f"found {size[0]}x{size[1]}."
            )


def read_photo(path: str | Path) -> UInt8[ndarray, "H W 3"]:
    """The pixels of an image file as they are stored (EXIF rotation is not applied); transparency over white.

    Raises:
        InputError: no such file, not an image, truncated, or with more than 8 bits per channel.
    """
    from PIL import Image

    path = Path(path)
    if not path.is_file():
        raise InputError(f"The photo {path} is missing.")
    try:
        with Image.open(path) as opened:
            if opened.mode.startswith(("I", "F")):
                raise InputError(f"{path} has more than 8 bits per channel; convert it to an 8-bit image.")
            if "A" in opened.mode or "transparency" in opened.info:
                rgba = opened.convert("RGBA")
                white = Image.new("RGBA", rgba.size, "white")
                return np.array(Image.alpha_composite(white, rgba).convert("RGB"))
            return np.array(opened.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}.") from error


def photo_size(path: str | Path) -> tuple[int, int]:
    """Width and height of an image file, read from its header.

    Raises:
        InputError: no such file, or not an image.
    """
    from PIL import Image

    path = Path(path)
    if not path.is_file():
        raise InputError(f"The photo {path} is missing.")
    try:
        with Image.open(path) as opened:
            return opened.size
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}.") from error


def read_undistorted(path: str | Path, lens: Lens) -> UInt8[ndarray, "h w 3"]:
    """Read a photo and undistort it.

    Raises:
        InputError: it cannot be read, or it does not have the size that its lens belongs to.
    """
    image = read_photo(path)
    if image.shape[:2] != (lens.height, lens.width):
        raise InputError(
            f"{path} has {image.shape[1]}x{image.shape[0]} pixels, but the cameras say "
            f"{lens.width}x{lens.height}; correct w and h and the intrinsics, or the photo."
        )
    return undistort_image(image, lens)


def _as_numpy(values: Any) -> ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
