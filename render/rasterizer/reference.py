"""The rasterizer in plain torch: dense, readable, any dtype, differentiable by autograd.

It is what the fast implementations are tested against.  Every pixel is compared with every
Gaussian, so keep ``pixels * n`` below some hundred million.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.rasterizer._types import (
    EPS2D,
    FAR,
    MAX_ALPHA,
    MAX_SIGMAS,
    MIN_ALPHA,
    MIN_TRANSMITTANCE,
    NEAR,
    Contributions,
    Rendering,
)
from render.spherical_harmonics import sh_to_rgb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool, Float, Int

PAIRS_PER_CHUNK = 1 << 22


@dataclass(frozen=True)
class Projected:
    """Gaussians on the image plane: centres, inverse covariances (xx, xy, yy), depths, touched boxes."""

    means2d: Float[Tensor, "n 2"]
    conics: Float[Tensor, "n 3"]
    depths: Float[Tensor, "n"]
    radii: Int[Tensor, "n 2"]


def rotation_matrices(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices of wxyz quaternions of any positive length."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(rows, dim=-1).reshape(-1, 3, 3)


def project(gaussians: Gaussians, camera: Camera) -> Projected:
    """Project Gaussians by EWA splatting (Zwicker et al. 2001) with gsplat's clamped Jacobian."""
    rotation, translation = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
    means = gaussians.means @ rotation.T + translation
    x, y, z = means.unbind(-1)
    visible = (z > NEAR) & (z < FAR)
    z_safe = torch.where(visible, z, torch.ones_like(z))
    fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
    # Far outside the image the linearization explodes: clamp its point to 1.3 times the field of view.
    margin_x, margin_y = 0.15 * camera.width / fx, 0.15 * camera.height / fy
    jx = z_safe * (x / z_safe).clamp(-cx / fx - margin_x, (camera.width - cx) / fx + margin_x)
    jy = z_safe * (y / z_safe).clamp(-cy / fy - margin_y, (camera.height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [fx / z_safe, zero, -fx * jx / z_safe**2, zero, fy / z_safe, -fy * jy / z_safe**2], dim=-1
    ).reshape(-1, 2, 3)
    factor = jacobian @ rotation @ (rotation_matrices(gaussians.quats) * gaussians.scales[:, None, :])
    covariances = factor @ factor.transpose(1, 2)
    xx = covariances[:, 0, 0] + EPS2D
    yy = covariances[:, 1, 1] + EPS2D
    xy = covariances[:, 0, 1]
    determinant = (xx * yy - xy * xy).clamp_min(1e-10)
    means2d = torch.stack([fx * x / z_safe + cx, fy * y / z_safe + cy], dim=-1)
    conics = torch.stack([yy, -xy, xx], dim=-1) / determinant[:, None]
    radii = _radii(gaussians.opacities, torch.stack([xx, yy], -1), means2d, visible, camera)
    return Projected(means2d, conics, z, radii)


@torch.no_grad()
def _radii(
    opacities: Tensor, variances: Tensor, means2d: Tensor, visible: Tensor, camera: Camera
) -> Int[Tensor, "n 2"]:
    reach = (2 * (opacities / MIN_ALPHA).clamp_min(1).log()).sqrt().clamp_max(MAX_SIGMAS)
    radii = (reach[:, None] * variances.sqrt()).ceil()
    size = means2d.new_tensor([camera.width, camera.height])
    inside = ((means2d + radii > 0) & (means2d - radii < size)).all(-1)
    return (radii * (visible & inside & (opacities >= MIN_ALPHA))[:, None]).to(torch.int32)


def _weights(projected: Projected, opacities: Tensor, pixels: Tensor) -> tuple[Float[Tensor, "p m"], Int[Tensor, "m"]]:
    """Alpha-blending weights of all pixels (``[p, 2]`` centres) and the depth-sorted ids of the columns."""
    # A chunk is a few rows: only Gaussians whose box reaches them can count.
    top, bottom = pixels[:, 1].min(), pixels[:, 1].max()
    offset = (projected.means2d[:, 1] - (top + bottom) / 2).abs()
    reach = projected.radii[:, 1] + (bottom - top) / 2
    kept = ((projected.radii.min(-1).values > 0) & (offset <= reach)).nonzero()[:, 0]
    ids = kept[torch.sort(projected.depths.detach()[kept], stable=True).indices]
    delta = pixels[:, None] - projected.means2d[ids]
    a, b, c = projected.conics[ids].unbind(-1)
    sigma = 0.5 * (a * delta[..., 0] ** 2 + c * delta[..., 1] ** 2) + b * delta[..., 0] * delta[..., 1]
    alpha = (opacities[ids] * torch.exp(-sigma)).clamp_max(MAX_ALPHA)
    alpha = torch.where((sigma >= 0) & (alpha >= MIN_ALPHA), alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, dim=1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=1)
    return torch.where(after > MIN_TRANSMITTANCE, alpha * before, torch.zeros_like(alpha)), ids


def _pixel_centres(camera: Camera, like: Tensor) -> Float[Tensor, "p 2"]:
    y, x = torch.meshgrid(
        torch.arange(camera.height, device=like.device),
        torch.arange(camera.width, device=like.device),
        indexing="ij",
    )
    return torch.stack([x, y], -1).reshape(-1, 2).to(like.dtype) + 0.5


def _weights_in_chunks(projected: Projected, opacities: Tensor, camera: Camera) -> Iterator[tuple[Tensor, Tensor]]:
    for chunk in _pixel_centres(camera, opacities).split(max(1, PAIRS_PER_CHUNK // max(1, len(opacities)))):
        yield _weights(projected, opacities, chunk)


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    values: Float[Tensor, "n c"] | None = None,
    background: Float[Tensor, "c"] | None = None,
) -> Rendering:
    """See :func:`render.rasterize`; gradients come from autograd."""
    camera = camera.to(gaussians.device, gaussians.means.dtype)
    projected = project(gaussians, camera)
    if values is None:
        values = sh_to_rgb(gaussians.sh, gaussians.means, camera.centre)
    columns = torch.cat([values, projected.depths[:, None], torch.ones_like(projected.depths)[:, None]], -1)
    blended = torch.cat(
        [w @ columns[ids] for w, ids in _weights_in_chunks(projected, gaussians.opacities, camera)]
    ).reshape(camera.height, camera.width, -1)
    image, depth, alpha = blended[..., :-2], blended[..., -2], blended[..., -1]
    if background is not None:
        image = image + (1 - alpha)[..., None] * background
    depth = depth / alpha.clamp_min(1e-10)
    return Rendering(image, alpha, depth, projected.means2d, projected.radii)


@torch.no_grad()
def contributions(gaussians: Gaussians, camera: Camera, pixels: Bool[Tensor, "h w"] | None = None) -> Contributions:
    """See :func:`render.contributions`."""
    camera = camera.to(gaussians.device, gaussians.means.dtype)
    counts, ids, weights = [], [], []
    for w, columns in _weights_in_chunks(project(gaussians, camera), gaussians.opacities, camera):
        rows, entries = w.nonzero(as_tuple=True)
        counts.append(torch.bincount(rows, minlength=len(w)))
        ids.append(columns[entries].to(torch.int32))
        weights.append(w[rows, entries])
    offsets = torch.cat([counts[0].new_zeros(1), torch.cat(counts).cumsum(0)])
    listed = Contributions(offsets, torch.cat(ids), torch.cat(weights), camera.width, camera.height)
    return listed if pixels is None else listed.only(pixels)


def bilinear_matrix(camera: Camera, grid: tuple[int, int], like: Tensor) -> Tensor:
    """U: bilinear interpolation (``align_corners=False``) from a grid to the pixels, sparse ``[h*w, gh*gw]``."""
    along_y = _interpolation(camera.height, grid[0], like)
    along_x = _interpolation(camera.width, grid[1], like)
    return torch.einsum("hi,wj->hwij", along_y, along_x).reshape(camera.height * camera.width, -1).to_sparse()


def _interpolation(size: int, nodes: int, like: Tensor) -> Float[Tensor, "size nodes"]:
    """Dense 1D linear interpolation from ``nodes`` cell centres to ``size`` pixel centres."""
    position = ((torch.arange(size, device=like.device) + 0.5) * nodes / size - 0.5).clamp(0, nodes - 1)
    lower = position.floor().clamp_max(max(nodes - 2, 0)).to(torch.int64)
    fraction = (position - lower).to(like.dtype)
    matrix = torch.zeros(size, nodes, dtype=like.dtype, device=like.device)
    matrix.scatter_add_(1, lower[:, None], (1 - fraction)[:, None])
    return matrix.scatter_add_(1, (lower + 1).clamp_max(nodes - 1)[:, None], fraction[:, None])


@torch.no_grad()
def lifting_matrix(gaussians: Gaussians, camera: Camera, grid: tuple[int, int]) -> Tensor:
    """See :func:`render.lifting_matrix`."""
    n = len(gaussians)
    rendering_matrix = contributions(gaussians, camera).to_sparse(n).to_dense()
    interpolation = bilinear_matrix(camera, grid, gaussians.opacities).to_dense()
    return (rendering_matrix.T @ interpolation).to_sparse_csr()


@torch.no_grad()
def rasterize_transposed(
    gaussians: Gaussians, camera: Camera, values: Float[Tensor, "h w c"]
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n"]]:
    """See :func:`render.rasterize_transposed`."""
    camera = camera.to(gaussians.device, gaussians.means.dtype)
    projected = project(gaussians, camera)
    flat = values.reshape(camera.height * camera.width, -1).to(gaussians.means.dtype)
    sums = flat.new_zeros(len(gaussians), flat.shape[1])
    weights = flat.new_zeros(len(gaussians))
    start = 0
    for w, ids in _weights_in_chunks(projected, gaussians.opacities, camera):
        sums[ids] += w.T @ flat[start : start + len(w)]
        weights[ids] += w.sum(0)
        start += len(w)
    return sums, weights
