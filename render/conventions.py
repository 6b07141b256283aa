"""Conversions between conventions, in one place: rotations, camera axes, similarities, spherical
harmonics."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.camera import Camera
from render.errors import InputError
from render.gaussians import Gaussians
from render.spherical_harmonics import sh_basis

if TYPE_CHECKING:
    from jaxtyping import Float

RIGID_TOLERANCE = 1e-3


def quats_to_rotmats(quats: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of wxyz quaternions of any positive length; differentiable."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def rotmats_to_quats(rotmats: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit wxyz quaternions with ``w >= 0`` of rotation matrices."""
    m = rotmats
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Row k is 4 q_k times the quaternion; the row of the largest component is the accurate one (Shepperd
    # 1978).
    a, b, c = m[..., 2, 1], m[..., 0, 2], m[..., 1, 0]
    d, e, f = m[..., 1, 2], m[..., 2, 0], m[..., 0, 1]
    rows = [
        1 + xx + yy + zz, a - d, b - e, c - f,
        a - d, 1 + xx - yy - zz, c + f, b + e,
        b - e, c + f, 1 - xx + yy - zz, a + d,
        c - f, b + e, a + d, 1 - xx - yy + zz,
    ]  # fmt: skip
    candidates = torch.stack(rows, dim=-1).unflatten(-1, (4, 4))
    best = torch.diagonal(candidates, dim1=-2, dim2=-1).argmax(-1)
    quats = candidates.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    quats = torch.nn.functional.normalize(quats, dim=-1)
    return torch.where(quats[..., :1] < 0, -quats, quats)


def multiply_quats(left: Float[Tensor, "*batch 4"], right: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Hamilton product of wxyz quaternions: the rotation ``right`` followed by ``left``."""
    a, b, c, d = left.unbind(-1)
    w, x, y, z = right.unbind(-1)
    return torch.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        dim=-1,
    )


def opengl_to_opencv(camera_to_world: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """OpenGL camera to world (+x right, +y up, looks along -z) to world to OpenCV camera (+y down, +z
    forward).

    Args:
        camera_to_world: Rigid, as in nerfstudio's ``transform_matrix``.
    """
    flip = camera_to_world.new_tensor([1.0, -1.0, -1.0, 1.0])
    return invert_rigid(camera_to_world * flip)


def opencv_to_opengl(world_to_camera: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The inverse of :func:`opengl_to_opencv`."""
    flip = world_to_camera.new_tensor([1.0, -1.0, -1.0, 1.0])
    return invert_rigid(world_to_camera) * flip


def invert_rigid(pose: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Inverse of a rotation and a translation."""
    rotation = pose[..., :3, :3].transpose(-1, -2)
    translation = -rotation @ pose[..., :3, 3:]
    return torch.cat([torch.cat([rotation, translation], dim=-1), pose[..., 3:, :]], dim=-2)


def is_rigid(poses: Float[Tensor, "*batch 4 4"]) -> Tensor:
    """Which of these are finite, with a proper rotation and a last row of 0 0 0 1; ``[*batch]`` bool."""
    rotation = poses[..., :3, :3]
    eye = torch.eye(3, dtype=poses.dtype, device=poses.device)
    orthonormal = ((rotation @ rotation.transpose(-1, -2) - eye).abs() < RIGID_TOLERANCE).all(-1).all(-1)
    last = (poses[..., 3, :] == poses.new_tensor([0.0, 0.0, 0.0, 1.0])).all(-1)
    finite = torch.isfinite(poses).all(-1).all(-1)
    proper = torch.linalg.det(torch.where(finite[..., None, None], rotation, eye)) > 0
    return finite & orthonormal & last & proper


def decompose_similarity(
    similarity: Float[Tensor, "4 4"],
) -> tuple[float, Float[Tensor, "3 3"], Float[Tensor, " 3"]]:
    """Split ``x -> scale * rotation @ x + translation`` into its parts (float64).

    Raises:
        InputError: the matrix shears, mirrors, scales axes differently, or is not finite.
    """
    matrix = similarity.detach().double().cpu()
    scale = float(torch.linalg.det(matrix[:3, :3]).clamp_min(0) ** (1 / 3)) if matrix.shape == (4, 4) else 0.0
    unit = matrix.clone()
    if scale > 0:
        unit[:3, :3] /= scale
    if not scale > 0 or not bool(is_rigid(unit)):
        raise InputError(
            "Expected a 4x4 similarity (rotation, one positive scale, translation), found "
            f"{matrix.tolist()}; Gaussians cannot be sheared or mirrored."
        )
    return scale, unit[:3, :3], unit[:3, 3]


def transform_gaussians(gaussians: Gaussians, similarity: Float[Tensor, "4 4"]) -> Gaussians:
    """Move Gaussians by ``x -> s R x + t``: centres, rotations, scales, and the colours' directions.

    Seen by a camera that is moved along (:func:`transform_camera`) they look as before.

    Raises:
        InputError: not a similarity.
    """
    scale, rotation, translation = decompose_similarity(similarity)
    g = gaussians
    turn = rotation.to(g.means)
    quat = rotmats_to_quats(rotation).to(g.quats)
    return g.with_values(
        means=scale * (g.means @ turn.T) + translation.to(g.means),
        quats=multiply_quats(quat.expand_as(g.quats), g.quats),
        scales=g.scales * scale,
        sh=rotate_sh(g.sh, rotation),
    )


def transform_camera(camera: Camera, similarity: Float[Tensor, "4 4"]) -> Camera:
    """Move a camera along with a scene that is moved by a similarity; depths grow by its scale.

    Raises:
        InputError: not a similarity.
    """
    scale, rotation, translation = decompose_similarity(similarity)
    pose = camera.world_to_camera
    turned = pose[:3, :3] @ rotation.T.to(pose)
    shift = scale * pose[:3, 3] - turned @ translation.to(pose)
    moved = torch.cat([torch.cat([turned, shift[:, None]], dim=1), pose[3:]], dim=0)
    return Camera(camera.K, moved, camera.width, camera.height)


def rotate_sh(sh: Float[Tensor, "n k 3"], rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "n k 3"]:
    """Coefficients of the rotated functions: what was seen along ``d`` is now seen along ``rotation @ d``."""
    degree = round(sh.shape[-2] ** 0.5) - 1
    matrix = sh_rotation(rotation, degree=degree).to(sh)
    return torch.einsum("ij,njc->nic", matrix, sh)


def sh_rotation(rotation: Float[Tensor, "3 3"], *, degree: int) -> Float[Tensor, "k k"]:
    """The matrix that rotates spherical-harmonics coefficients of all degrees up to ``degree``; float64.

    The basis functions of one degree span a space that rotations keep, so the block of a degree follows
    exactly from their values along more directions than there are functions: ``Y(R d) D = Y(d)``, solved by
    least squares.
    """
    rotation = rotation.detach().double().cpu()
    directions = _sample_directions()
    before = sh_basis(directions, degree=degree)
    after = sh_basis(directions @ rotation.T, degree=degree)
    matrix = torch.zeros(before.shape[1], before.shape[1], dtype=torch.float64)
    for band in range(degree + 1):
        block = slice(band**2, (band + 1) ** 2)
        matrix[block, block] = torch.linalg.lstsq(after[:, block], before[:, block]).solution
    return matrix


@lru_cache(maxsize=1)
def _sample_directions() -> Float[Tensor, "m 3"]:
    """Unit directions spread over the sphere (Fibonacci lattice)."""
    count = 64
    i = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * i / count
    angle = torch.pi * (1 + 5**0.5) * i
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=1)
