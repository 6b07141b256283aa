"""Lens distortion: photos to undistorted views and back, with OpenCV.

Pixel coordinates have pixel centres at half-integers everywhere in the API; OpenCV counts them from
integers, so half a pixel is subtracted before OpenCV is called and added afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped, UInt8
    from numpy import ndarray
    from numpy.typing import NDArray

# A covering view may have at most this many times the photo's width and height: wide lenses reach infinity.
MAX_COVERING = 3


@dataclass(frozen=True)
class Lens:
    """The intrinsics of a photo as it is on disk.

    Attributes:
        model: ``opencv``: pinhole with radial and tangential distortion (none if all are 0); ``fisheye``:
            the equidistant model of ``cv2.fisheye``.
        fx: Focal length along x in pixels.
        fy: Focal length along y in pixels.
        cx: Principal point in pixels, pixel centres at half-integers.
        cy: The same along y.
        width: Photo width in pixels.
        height: Photo height in pixels.
        distortion: ``opencv``: OpenCV's order (k1, k2, p1, p2, k3, k4, k5, k6); ``fisheye``: (k1, k2, k3,
            k4).

    Raises:
        InputError: a value is not finite, a focal length is not positive, or the photo is empty.
    """

    model: Literal["opencv", "fisheye"]
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.fx, self.fy, self.cx, self.cy, *self.distortion))):
            raise InputError(f"Camera intrinsics must be finite numbers, found {self}.")
        if self.fx <= 0 or self.fy <= 0:
            raise InputError(f"Focal lengths must be positive, found {self.fx} and {self.fy}.")
        if self.width < 1 or self.height < 1:
            raise InputError(f"A photo needs at least one pixel, found {self.width}x{self.height}.")

    @property
    def distorted(self) -> bool:
        """Whether straight lines are bent."""
        return self.model == "fisheye" or any(self.distortion)

    def resized(self, width: int, height: int) -> Lens:
        """The same lens for a photo of another number of pixels."""
        x, y = width / self.width, height / self.height
        return Lens(self.model, self.fx * x, self.fy * y, self.cx * x, self.cy * y, width, height, self.distortion)


@dataclass(frozen=True)
class Undistorted:
    """The pinhole view that belongs to a lens.

    Attributes:
        K: Intrinsics of the undistorted image, pixel centres at half-integers; ``[3, 3]`` float64.
        x: First column of OpenCV's undistorted image that is kept.
        y: First row of it that is kept.
        width: Columns kept.
        height: Rows kept.
    """

    K: NDArray[np.float64]
    x: int
    y: int
    width: int
    height: int


@lru_cache(maxsize=4096)
def undistorted(lens: Lens) -> Undistorted:
    """The largest pinhole view without invalid pixels, cropped to them.

    The same as nerfstudio's ``FullImageDatamanager`` (``cv2.getOptimalNewCameraMatrix`` with ``alpha=0``),
    to the pixel, so that training and lifting see the same images.

    Raises:
        InputError: the distortion leaves no valid pixel.
    """
    if not lens.distorted:
        K = np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]], np.float64)
        return Undistorted(K, 0, 0, lens.width, lens.height)
    new, (x, y, width, height) = _new_matrix(lens)
    if width < 1 or height < 1 or not np.isfinite(new).all() or new[0, 0] <= 0 or new[1, 1] <= 0:
        raise InputError(f"Undistorting leaves no valid pixel: check the distortion parameters of {lens}.")
    K = new.copy()
    # In single precision and in this order, as nerfstudio does it.
    K[0, 2] = K[0, 2] - np.float32(x) + np.float32(0.5)
    K[1, 2] = K[1, 2] - np.float32(y) + np.float32(0.5)
    return Undistorted(K.astype(np.float64), x, y, width, height)


def undistort_image(image: UInt8[ndarray, "H W c"], lens: Lens) -> UInt8[ndarray, "h w c"]:
    """Bring a photo to its undistorted view, bilinearly; without distortion the same array."""
    import cv2

    _check_size(image, lens)
    if not lens.distorted:
        return image
    K, distortion = _opencv(lens)
    new, (x, y, width, height) = _new_matrix(lens)
    if lens.model == "fisheye":
        map_x, map_y = cv2.fisheye.initUndistortRectifyMap(
            K, distortion, np.eye(3), new, (lens.width, lens.height), cv2.CV_32FC1
        )
        out = cv2.remap(image, map_x, map_y, interpolation=cv2.INTER_LINEAR)
    else:
        out = cv2.undistort(image, K, distortion, None, new)
    return np.ascontiguousarray(out[y : y + height, x : x + width])


def undistort_labels(labels: Shaped[ndarray, "H W *c"], lens: Lens) -> Shaped[ndarray, "h w *c"]:
    """Bring a mask or a scribble of the photo to its undistorted view: nearest pixel, values are not
    mixed."""
    _check_size(labels, lens)
    if not lens.distorted:
        return labels
    view = undistorted(lens)
    photo = distort_points(_pixel_centres(view.width, view.height), lens)
    columns = np.clip(np.floor(photo[:, 0]), 0, lens.width - 1).astype(np.int64)
    rows = np.clip(np.floor(photo[:, 1]), 0, lens.height - 1).astype(np.int64)
    return labels[rows, columns].reshape(view.height, view.width, *labels.shape[2:])


def distort_image(
    image: Shaped[ndarray, "h w *c"], lens: Lens, *, offset: tuple[int, int] = (0, 0)
) -> Shaped[ndarray, "H W *c"]:
    """Bring pixels of the undistorted view to the pixels of the photo.

    Booleans and integers are taken from the nearest pixel, floats bilinearly.  What the image does not see
    is 0.

    Args:
        image: Values of the undistorted view, or of a larger one around it.
        lens: The lens of the photo.
        offset: Column and row of the undistorted view's first pixel in ``image``.
    """
    import cv2

    points = photo_to_view(lens) + np.array(offset, np.float64)
    height, width = image.shape[:2]
    inside = (points >= 0).all(-1) & (points[..., 0] < width) & (points[..., 1] < height)
    inside_points = np.where(inside[..., None], points, 0.0)
    if np.issubdtype(image.dtype, np.floating):
        maps = np.moveaxis(inside_points - 0.5, -1, 0).astype(np.float32)
        # cv2.remap takes at most four channels at a time and images below 32767 pixels.
        planes = image.reshape(height, width, -1).astype(np.float32)
        chunks = [
            cv2.remap(planes[..., c : c + 4], maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for c in range(0, planes.shape[2], 4)
        ]
        out = np.concatenate([c.reshape(*inside.shape, -1) for c in chunks], axis=-1).astype(image.dtype)
        out = out.reshape(*inside.shape, *image.shape[2:])
    else:
        out = image[inside_points[..., 1].astype(np.int64), inside_points[..., 0].astype(np.int64)]
    out[~inside] = 0
    return out


def undistort_points(points: Float[ndarray, "m 2"], lens: Lens) -> Float[ndarray, "m 2"]:
    """Pixels (x, y) of the photo to pixels of the undistorted view; NaN where the lens model has no
    inverse."""
    import cv2

    points = np.asarray(points, np.float64).reshape(-1, 2)
    if not lens.distorted or len(points) == 0:
        return points.copy()
    K, distortion = _opencv(lens)
    new, (x, y, _, _) = _new_matrix(lens)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)
    source = (points - 0.5)[:, None]
    if lens.model == "fisheye":
        out = cv2.fisheye.undistortPoints(
            source, _double(K), distortion, R=np.eye(3), P=_double(new), criteria=criteria
        )
    else:
        out = cv2.undistortPointsIter(source, _double(K), distortion, np.eye(3), _double(new), criteria)
    out = out.reshape(-1, 2) + 0.5 - (x, y)
    # The iteration may settle on a point that is not the inverse, far outside the calibrated field of view.
    wrong = ~(np.abs(distort_points(out, lens) - points).max(1) < 0.1)
    out[wrong] = np.nan
    return out


def distort_points(points: Float[ndarray, "m 2"], lens: Lens) -> Float[ndarray, "m 2"]:
    """Pixels (x, y) of the undistorted view to pixels of the photo."""
    import cv2

    points = np.asarray(points, np.float64).reshape(-1, 2)
    if not lens.distorted or len(points) == 0:
        return points.copy()
    K, distortion = _opencv(lens)
    new, (x, y, _, _) = _new_matrix(lens)
    rays = (points - 0.5 + (x, y) - new[:2, 2]) / np.array([new[0, 0], new[1, 1]], np.float64)
    rays = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)[:, None]
    still = np.zeros(3)
    if lens.model == "fisheye":
        out, _ = cv2.fisheye.projectPoints(rays, still, still, _double(K), distortion)
    else:
        out, _ = cv2.projectPoints(rays, still, still, _double(K), distortion)
    return out.reshape(-1, 2) + 0.5


@lru_cache(maxsize=2)
def photo_to_view(lens: Lens) -> Float[ndarray, "H W 2"]:
    """Where every pixel of the photo lies in the undistorted view (x, y); NaN where the model has no
    inverse."""
    points = undistort_points(_pixel_centres(lens.width, lens.height), lens)
    return points.reshape(lens.height, lens.width, 2)


def covering(lens: Lens) -> tuple[int, int, int, int]:
    """The undistorted view, widened until every pixel of the photo lies in it.

    Returns:
        Column and row of its first pixel relative to the undistorted view's first pixel (not positive),
        width and height.  At most ``MAX_COVERING`` times the photo in each direction.

    Raises:
        InputError: the distortion has no inverse at any pixel.
    """
    view = undistorted(lens)
    points = photo_to_view(lens).reshape(-1, 2)
    points = points[np.isfinite(points).all(1)]
    if len(points) == 0:
        raise InputError(f"No pixel can be undistorted: check the distortion parameters of {lens}.")
    slack = (MAX_COVERING - 1) // 2 * np.array([lens.width, lens.height])
    low = np.minimum(np.maximum(np.floor(points.min(0)), -slack), 0).astype(int)
    high = np.maximum(
        np.minimum(np.ceil(points.max(0)), np.array([view.width, view.height]) + slack),
        [view.width, view.height],
    ).astype(int)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def _pixel_centres(width: int, height: int) -> NDArray[np.float64]:
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _opencv(lens: Lens) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Matrix and coefficients as nerfstudio hands them to OpenCV: rounded to single precision."""
    K = np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]], np.float32)
    K[0, 2] = K[0, 2] - np.float32(0.5)
    K[1, 2] = K[1, 2] - np.float32(0.5)
    count = 4 if lens.model == "fisheye" else 8
    distortion = np.zeros(count, np.float64)
    distortion[: len(lens.distortion)] = np.array(lens.distortion, np.float32)
    return K, distortion


def _new_matrix(lens: Lens) -> tuple[NDArray[Any], tuple[int, int, int, int]]:
    import cv2

    K, distortion = _opencv(lens)
    size = (lens.width, lens.height)
    if lens.model == "fisheye":
        new = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(K, distortion, size, np.eye(3), balance=0)
        return new, (0, 0, *size)
    new, roi = cv2.getOptimalNewCameraMatrix(K, distortion, size, 0)
    return new, (int(roi[0]), int(roi[1]), int(roi[2]), int(roi[3]))


def _double(matrix: NDArray[Any]) -> NDArray[np.float64]:
    return matrix.astype(np.float64)


def _check_size(image: NDArray[Any], lens: Lens) -> None:
    found = (image.shape[1], image.shape[0])
    if found != (lens.width, lens.height):
        raise InputError(
            f"Expected an image of the photo's size {lens.width}x{lens.height}, found {found[0]}x{found[1]}."
        )
