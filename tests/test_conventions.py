"""Conversions undo each other, and moved scenes look as before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scipy.spatial.transform import Rotation

from render.camera import Camera
from render.conventions import (
    decompose_similarity,
    invert_rigid,
    is_rigid,
    multiply_quats,
    opencv_to_opengl,
    opengl_to_opencv,
    quats_to_rotmats,
    rotate_sh,
    rotmats_to_quats,
    sh_rotation,
    transform_camera,
    transform_gaussians,
)
from render.errors import InputError
from render.gaussians import Gaussians
from render.spherical_harmonics import sh_basis


def rotations(n: int, seed: int = 0) -> torch.Tensor:
    """Random rotations, and the half turns where formulas break."""
    random = Rotation.random(n, random_state=seed).as_matrix()
    half = Rotation.from_rotvec([[torch.pi, 0, 0], [0, torch.pi, 0], [0, 0, torch.pi], [2.2, 2.2, 0], [0, 0, 0]])
    return torch.cat([torch.from_numpy(random), torch.from_numpy(half.as_matrix())])


def poses(n: int) -> torch.Tensor:
    out = torch.eye(4, dtype=torch.float64).repeat(n, 1, 1)
    out[:, :3, :3] = rotations(n)[:n]
    out[:, :3, 3] = torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return out


def similarity(scale: float, seed: int = 3) -> torch.Tensor:
    out = torch.eye(4, dtype=torch.float64)
    out[:3, :3] = scale * rotations(1, seed)[0]
    out[:3, 3] = torch.tensor([0.3, -2.0, 1.1])
    return out


def test_quaternions_and_matrices_undo_each_other() -> None:
    matrices = rotations(200)
    quats = rotmats_to_quats(matrices)
    torch.testing.assert_close(quats_to_rotmats(quats), matrices, rtol=0, atol=1e-12)
    torch.testing.assert_close(quats.norm(dim=-1), torch.ones(205, dtype=torch.float64))
    assert (quats[:, 0] >= 0).all()


def test_quaternions_are_wxyz_and_their_length_does_not_matter() -> None:
    quats = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = Rotation.from_quat(quats[:, [1, 2, 3, 0]].numpy()).as_matrix()
    torch.testing.assert_close(quats_to_rotmats(3.7 * quats), torch.from_numpy(expected))


def test_the_product_of_quaternions_is_the_product_of_matrices() -> None:
    a, b = torch.randn(2, 40, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    product = quats_to_rotmats(multiply_quats(a, b))
    torch.testing.assert_close(product, quats_to_rotmats(a) @ quats_to_rotmats(b))


def test_rotation_matrices_are_differentiable() -> None:
    quats = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(quats_to_rotmats, (quats,))


def test_opengl_and_opencv_undo_each_other() -> None:
    camera_to_world = poses(20)
    torch.testing.assert_close(opencv_to_opengl(opengl_to_opencv(camera_to_world)), camera_to_world)
    torch.testing.assert_close(invert_rigid(invert_rigid(camera_to_world)), camera_to_world)


def test_an_opengl_camera_looks_along_minus_z_with_y_up() -> None:
    camera_to_world = poses(1)[0]
    ahead = camera_to_world @ torch.tensor([0.0, 1.0, -2.0, 1.0], dtype=torch.float64)
    seen = opengl_to_opencv(camera_to_world) @ ahead
    torch.testing.assert_close(seen[:3], torch.tensor([0.0, -1.0, 2.0], dtype=torch.float64))


def test_poses_that_are_not_rigid_are_noticed() -> None:
    p = poses(7)
    assert is_rigid(p).all()
    p[1, :3, :3] *= 1.01
    p[2, :3, 0] *= -1
    p[3, 0, 3] = torch.nan
    p[4, 0, 0] = torch.nan
    p[5, 3, 0] = 0.5
    p[6, 0, 3] = torch.inf
    assert is_rigid(p).tolist() == [True] + 6 * [False]


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_colour_seen_along_a_rotated_direction_is_unchanged(degree: int) -> None:
    generator = torch.Generator().manual_seed(degree)
    sh = torch.randn(6, (degree + 1) ** 2, 3, dtype=torch.float64, generator=generator)
    directions = torch.nn.functional.normalize(torch.randn(500, 3, dtype=torch.float64, generator=generator), dim=-1)
    for rotation in rotations(10):
        before = torch.einsum("dk,nkc->ndc", sh_basis(directions, degree=degree), sh)
        turned = sh_basis(directions @ rotation.T, degree=degree)
        after = torch.einsum("dk,nkc->ndc", turned, rotate_sh(sh, rotation))
        torch.testing.assert_close(after, before, rtol=0, atol=1e-12)


def test_rotations_of_harmonics_are_orthogonal_and_compose() -> None:
    a, b = rotations(2)[:2]
    first, second, both = (sh_rotation(r, degree=3) for r in (a, b, b @ a))
    torch.testing.assert_close(second @ first, both, rtol=0, atol=1e-12)
    torch.testing.assert_close(first @ first.T, torch.eye(16, dtype=torch.float64), rtol=0, atol=1e-12)


def some_gaussians(n: int, k: int) -> Gaussians:
    g = torch.Generator().manual_seed(5)
    double = torch.float64
    return Gaussians(
        torch.randn(n, 3, generator=g, dtype=double),
        torch.randn(n, 4, generator=g, dtype=double),
        torch.rand(n, 3, generator=g, dtype=double),
        torch.rand(n, generator=g, dtype=double),
        torch.randn(n, k, 3, generator=g, dtype=double),
    )


def covariances(g: Gaussians) -> torch.Tensor:
    axes = quats_to_rotmats(g.quats) * g.scales[:, None]
    return axes @ axes.transpose(-1, -2)


def test_covariances_move_with_the_similarity() -> None:
    g, move = some_gaussians(30, 4), similarity(1.7)
    moved = transform_gaussians(g, move)
    linear = move[:3, :3]
    torch.testing.assert_close(covariances(moved), linear @ covariances(g) @ linear.T)
    torch.testing.assert_close(moved.means, g.means @ linear.T + move[:3, 3])
    assert torch.equal(moved.opacities, g.opacities)


def test_moving_there_and_back_gives_the_same_gaussians() -> None:
    g, move = some_gaussians(30, 16), similarity(0.2)
    back = transform_gaussians(transform_gaussians(g, move), torch.linalg.inv(move))
    torch.testing.assert_close(back.means, g.means)
    torch.testing.assert_close(back.sh, g.sh)
    torch.testing.assert_close(covariances(back), covariances(g))


def test_a_camera_that_moves_along_sees_the_same_pixels_at_scaled_depth() -> None:
    move = similarity(2.5)
    camera = Camera(torch.eye(3, dtype=torch.float64), opengl_to_opencv(poses(1)[0]), 4, 4)
    points = torch.randn(20, 3, dtype=torch.float64)
    moved_points = points @ move[:3, :3].T + move[:3, 3]
    moved = transform_camera(camera, move)
    assert is_rigid(moved.world_to_camera)

    def seen(c: Camera, p: torch.Tensor) -> torch.Tensor:
        return p @ c.world_to_camera[:3, :3].T + c.world_to_camera[:3, 3]

    torch.testing.assert_close(seen(moved, moved_points), 2.5 * seen(camera, points))


def test_a_scene_and_its_camera_that_move_together_look_the_same() -> None:
    reference = pytest.importorskip("render.rasterizer.reference")
    g = some_gaussians(40, 16)
    g = g.with_values(scales=0.2 * g.scales + 0.05)
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = 5
    K = torch.tensor([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]], dtype=torch.float64)
    camera, move = Camera(K, pose, 32, 24), similarity(3.0)
    before = reference.rasterize(g, camera)
    after = reference.rasterize(transform_gaussians(g, move), transform_camera(camera, move))
    assert before.alpha.mean() > 0.1
    torch.testing.assert_close(after.values, before.values, rtol=0, atol=1e-9)
    torch.testing.assert_close(after.depth, 3 * before.depth, rtol=0, atol=1e-8)


@pytest.mark.parametrize("factors", [(1.0, 1.0, -1.0), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), (float("nan"), 1.0, 1.0)])
def test_what_is_no_similarity_is_refused(factors: tuple[float, float, float]) -> None:
    move = similarity(1.0)
    move[:3, :3] *= torch.tensor(factors)
    with pytest.raises(InputError, match="similarity"):
        transform_gaussians(some_gaussians(3, 1), move)


def test_a_similarity_falls_into_its_parts() -> None:
    scale, rotation, translation = decompose_similarity(similarity(0.37))
    assert scale == pytest.approx(0.37)
    torch.testing.assert_close(scale * rotation, similarity(0.37)[:3, :3])
    torch.testing.assert_close(translation, similarity(0.37)[:3, 3])


def test_moving_keeps_what_a_file_had_besides(tmp_path: Path) -> None:
    some_gaussians(9, 4).to(dtype=torch.float32).save(tmp_path / "a.ply")
    loaded = Gaussians.load(tmp_path / "a.ply")
    assert transform_gaussians(loaded, similarity(1.0)).source is loaded.source
