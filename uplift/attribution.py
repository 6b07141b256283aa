"""Which Gaussians make a pixel, and which pixels a Gaussian touches: ids and blending weights.

All weights are the ``w_i(d, p)`` of LUDVIG eq. (5.1), occlusion included, exactly as :func:`render.rasterize`
blends them and :func:`render.contributions` lists them.  Pixels are those of the camera: clicks on a distorted
photo go through ``View.undistort_points`` first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.camera import Camera
from render.errors import InputError
from render.gaussians import Gaussians
from render.rasterizer import contributions, rasterize
from render.rasterizer._types import EPS2D, MAX_SIGMAS, NEAR

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Num
    from numpy import ndarray

FIELD_MARGIN = 0.15  # of the image's size, by which the rasterizer lets its linearization leave the image

FEW = 256  # pixels whose surroundings are cheaper to find than all Gaussians to sort


@dataclass(frozen=True)
class PixelGaussians:
    """The Gaussians of some pixels, front to back (CSR).

    Attributes:
        pixels: Column and row, in the order asked for; ``[m, 2]`` int64.
        offsets: Pixel ``j`` owns entries ``offsets[j]:offsets[j + 1]``; ``[m + 1]`` int64.
        ids: Indices of Gaussians; ``[nnz]`` int64.
        weights: Their blending weights; ``[nnz]`` float32.
    """

    pixels: Int[Tensor, "m 2"]
    offsets: Int[Tensor, " m1"]
    ids: Int[Tensor, " nnz"]
    weights: Float[Tensor, " nnz"]

    def __len__(self) -> int:
        """How many pixels."""
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
        """Ids and weights of one pixel, front to back."""
        first, last = self.offsets[index], self.offsets[index + 1]
        return self.ids[first:last], self.weights[first:last]

    @property
    def rows(self) -> Int[Tensor, " nnz"]:
        """To which pixel (index into :attr:`pixels`) each entry belongs."""
        return torch.repeat_interleave(self.offsets.diff())

    @property
    def alpha(self) -> Float[Tensor, " m"]:
        """Accumulated opacity of each pixel."""
        return self.weights.new_zeros(len(self)).index_add_(0, self.rows, self.weights)

    def totals(self, n: int, keep: Bool[Tensor, " nnz"] | None = None) -> Float[Tensor, " n"]:
        """Weight of each of the scene's ``n`` Gaussians, summed over these pixels (or over the kept entries)."""
        weights = self.weights if keep is None else self.weights * keep
        return weights.new_zeros(n).index_add_(0, self.ids, weights)


@dataclass(frozen=True)
class GaussianPixels:
    """The pixels of some Gaussians (CSR).

    Attributes:
        ids: The Gaussians asked for; ``[k]`` int64.
        offsets: Gaussian ``j`` of them owns entries ``offsets[j]:offsets[j + 1]``; ``[k + 1]`` int64.
        pixels: Column and row, in reading order; ``[nnz, 2]`` int64.
        weights: Blending weight of the Gaussian in that pixel; ``[nnz]`` float32.
    """

    ids: Int[Tensor, " k"]
    offsets: Int[Tensor, " k1"]
    pixels: Int[Tensor, "nnz 2"]
    weights: Float[Tensor, " nnz"]

    def __len__(self) -> int:
        """How many Gaussians."""
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Int[Tensor, "j 2"], Float[Tensor, " j"]]:
        """Pixels and weights of one Gaussian."""
        first, last = self.offsets[index], self.offsets[index + 1]
        return self.pixels[first:last], self.weights[first:last]


@torch.no_grad()
def gaussians_of_pixels(
    gaussians: Gaussians, camera: Camera, pixels: Num[Tensor, "m 2"] | Bool[Tensor, "h w"] | ndarray
) -> PixelGaussians:
    """Which Gaussians make these pixels.

    The cost is that of the Gaussians near the pixels, not that of the whole view.

    Args:
        gaussians: The scene.
        camera: The view.
        pixels: Positions (x, y) in pixels, where whole numbers are the pixels' borders and columns and rows
            as integers name the pixels themselves; or a mask ``[h, w]`` bool of the camera's size.

    Raises:
        InputError: a position lies outside the image, or a mask is not of the camera's size.
    """
    asked = as_pixels(pixels, camera).to(gaussians.device)
    if len(asked) == 0:
        nothing = asked.new_zeros(0)
        return PixelGaussians(asked, asked.new_zeros(1), nothing, gaussians.means.new_zeros(0))
    marked = torch.zeros(camera.height, camera.width, dtype=torch.bool, device=asked.device)
    marked[asked[:, 1], asked[:, 0]] = True
    scene, near = gaussians, None
    if len(asked) <= FEW:
        near = touching(gaussians, camera, marked).nonzero()[:, 0]
        scene = gaussians.with_source(None)[near]
    listed = contributions(scene, camera, marked)
    places = asked[:, 1] * camera.width + asked[:, 0]
    offsets = listed.offsets.to(asked)
    first, counts = offsets[places], offsets[places + 1] - offsets[places]
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    entries = torch.arange(int(starts[-1]), device=asked.device) - torch.repeat_interleave(starts[:-1] - first, counts)
    ids = listed.ids[entries].to(torch.int64)
    return PixelGaussians(asked, starts, ids if near is None else near[ids], listed.weights[entries])


@torch.no_grad()
def pixels_of_gaussians(
    gaussians: Gaussians, camera: Camera, chosen: Bool[Tensor, " n"] | Int[Tensor, " k"]
) -> Float[Tensor, "h w"]:
    """How much of every pixel these Gaussians make together: their blending weights as an image.

    Args:
        gaussians: The scene.
        camera: The view.
        chosen: A mask over the Gaussians, or indices.

    Raises:
        InputError: a mask of another length, or indices that do not exist.
    """
    values = gaussians.means.new_zeros(len(gaussians), 1)
    values[as_ids(chosen, len(gaussians)).to(gaussians.device)] = 1
    return rasterize(gaussians, camera, values).values[..., 0]


@torch.no_grad()
def touched_pixels(
    gaussians: Gaussians, camera: Camera, chosen: Bool[Tensor, " n"] | Int[Tensor, " k"]
) -> GaussianPixels:
    """Which pixels each of these Gaussians touches, with its weight in each.

    Args:
        gaussians: The scene.
        camera: The view.
        chosen: A mask over the Gaussians, or indices (each once).

    Raises:
        InputError: a mask of another length, or indices that do not exist or are named twice.
    """
    ids = as_ids(chosen, len(gaussians)).to(gaussians.device)
    position = ids.new_full((len(gaussians),), -1)
    position[ids] = torch.arange(len(ids), device=ids.device)
    if len(ids) and int((position >= 0).sum()) != len(ids):
        raise InputError("Each Gaussian may be asked for once, found indices twice.")
    found = gaussians_of_pixels(gaussians, camera, pixels_of_gaussians(gaussians, camera, ids) > 0)
    owner = position[found.ids]
    kept = (owner >= 0).nonzero()[:, 0]
    # Stable, so that the pixels of each Gaussian stay in reading order.
    order = kept[torch.sort(owner[kept], stable=True).indices]
    counts = torch.bincount(owner[kept], minlength=len(ids))
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return GaussianPixels(ids, offsets, found.pixels[found.rows[order]], found.weights[order])


def as_pixels(pixels: Num[Tensor, "m 2"] | Bool[Tensor, "h w"] | ndarray, camera: Camera) -> Int[Tensor, "m 2"]:
    """Columns and rows of positions or of a mask's pixels (in reading order).

    Raises:
        InputError: a position lies outside the image or is NaN, or a mask is not of the camera's size.
    """
    given = torch.as_tensor(pixels)
    size = f"{camera.width}x{camera.height}"
    if given.dtype == torch.bool:
        if given.shape != (camera.height, camera.width):
            raise InputError(
                f"A mask of pixels must have shape [{camera.height}, {camera.width}], found {list(given.shape)}."
            )
        return given.nonzero().flip(1)
    if given.ndim != 2 or given.shape[1] != 2:
        raise InputError(f"Pixels must have shape [m, 2] (x, y) or be a mask [h, w] bool, found {list(given.shape)}.")
    inside = ((given >= 0) & (given < given.new_tensor([camera.width, camera.height]))).all(1)
    if not bool(inside.all()):
        x, y = given[~inside][0].tolist()
        raise InputError(f"The pixel ({x:g}, {y:g}) lies outside the image of {size} pixels.")
    return given.floor().to(torch.int64) if given.is_floating_point() else given.to(torch.int64)


def as_ids(chosen: Bool[Tensor, " n"] | Int[Tensor, " k"], n: int) -> Int[Tensor, " k"]:
    """Indices of Gaussians, from a mask or from indices.

    Raises:
        InputError: a mask of another length, or indices that do not exist.
    """
    given = torch.as_tensor(chosen)
    if given.dtype == torch.bool:
        if given.shape != (n,):
            raise InputError(f"A mask over the Gaussians must have shape [{n}], found {list(given.shape)}.")
        return given.nonzero()[:, 0]
    ids = given.to(torch.int64).reshape(-1)
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= n):
        raise InputError(f"Indices of Gaussians lie in 0 ... {n - 1}, found {int(ids.min())} to {int(ids.max())}.")
    return ids


def touching(gaussians: Gaussians, camera: Camera, marked: Bool[Tensor, "h w"]) -> Bool[Tensor, " n"]:
    """Gaussians that may touch the marked pixels: all that do, and some more.

    The rows of the projection's Jacobian bound the projected standard deviation by that of a ball:
    ``J S J^T <= |J|^2 max(scale)^2``.
    """
    centres, radii = _discs(gaussians, camera)
    # How many marked pixels lie above and left of a corner.
    table = torch.nn.functional.pad(marked.to(torch.int32).cumsum(0).cumsum(1), (1, 0, 1, 0))
    size = centres.new_tensor([camera.width, camera.height])
    # NaN, where a Gaussian is culled, becomes 0: an empty box.
    low = (centres - radii).floor().nan_to_num(0).clamp_min(0).minimum(size).long()
    high = (centres + radii).ceil().nan_to_num(0).clamp_min(0).minimum(size).long()
    (x0, y0), (x1, y1) = low.unbind(1), high.unbind(1)
    return table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0] > 0


def _discs(gaussians: Gaussians, camera: Camera) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2"]]:
    """Projected centres, and how far from them a Gaussian can be seen at most; NaN where it is culled."""
    camera = camera.to(gaussians.device, gaussians.means.dtype)
    local = gaussians.means @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    z = torch.where(local[:, 2] > NEAR, local[:, 2], torch.nan)[:, None]
    focal, principal = camera.K.diagonal()[:2], camera.K[:2, 2]
    size = principal.new_tensor([camera.width, camera.height])
    tangents = local[:, :2] / z
    margin = FIELD_MARGIN * size / focal
    clamped = tangents.clamp(-principal / focal - margin, (size - principal) / focal + margin)
    largest = gaussians.scales.amax(1, keepdim=True)
    deviations = ((largest * focal / z).square() * (1 + clamped.square()) + EPS2D).sqrt()
    return focal * tangents + principal, (MAX_SIGMAS * deviations).ceil() + 1
