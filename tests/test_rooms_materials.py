"""Procedural materials: colours as asked, patterns where they belong, the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from render.errors import InputError
from training.rooms.materials import KINDS, Colour, Kind, Material, MaterialTable, linear, rgb

RED, BLUE, GREEN, BLACK = rgb("c22f2a"), rgb("2a6fc4"), rgb("2e8b4f"), rgb("101010")


def floats(values: object) -> np.ndarray:
    return np.array(values, np.float32)


def plane(count: int = 60, side: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Points on the plane y = 0, which faces -y."""
    x, z = np.meshgrid(np.linspace(-side / 2, side / 2, count), np.linspace(-side / 2, side / 2, count))
    points = np.stack([x, np.zeros_like(x), z], -1).reshape(-1, 3) + 0.0011
    return points.astype(np.float32), np.tile(floats([0, -1, 0]), (count * count, 1))


def colours_of(material: Material, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    return MaterialTable([material]).albedo(np.zeros(len(points), np.int64), points, normals)


def example(kind: Kind, *colours: Colour) -> Material:
    return Material(kind, colours, seed=3, around=6 * (kind == "sectors"), extent=(0.5, 0.5))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_reflectance_and_uses_its_colours(kind: Kind) -> None:
    random = np.random.default_rng(1)
    points = random.uniform(-0.5, 0.5, (20_000, 3)).astype(np.float32)
    normals = random.normal(size=points.shape)
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    one = colours_of(example(kind, RED, BLUE), points, normals)
    assert one.dtype == np.float32
    assert one.min() >= 0
    assert one.max() <= 1
    np.testing.assert_array_equal(
        one,
        colours_of(example(kind, RED, BLUE), points, normals),
    )
    other = colours_of(example(kind, GREEN, BLACK), points, normals)
    assert np.abs(one - other).max(1).mean() > 0.05
    if kind not in ("plain",):
        assert one.std(0).max() > 0.02


def test_a_smooth_plain_material_is_its_colour_in_linear_light() -> None:
    points, normals = plane()
    found = colours_of(Material("plain", (RED,), roughness=0.0), points, normals)
    np.testing.assert_allclose(found, np.tile(linear(floats(RED)), (len(points), 1)), atol=1e-5)
    assert linear(floats([0.5]))[0] == pytest.approx(0.2140, abs=1e-3)


def test_each_point_has_the_material_of_its_index() -> None:
    points, normals = plane(4)
    table = MaterialTable([Material("plain", (c,), roughness=0.0) for c in (RED, BLUE)])
    ids = np.arange(16) % 2
    found = table.albedo(ids, points, normals)
    np.testing.assert_allclose(found[ids == 1], np.tile(linear(floats(BLUE)), (8, 1)), atol=1e-5)
    np.testing.assert_allclose(found[ids == 0], np.tile(linear(floats(RED)), (8, 1)), atol=1e-5)


def test_checks_change_from_square_to_square_and_stripes_along_their_axis_only() -> None:
    x = floats([0.05, 0.15, 0.25])
    points = np.stack([x, np.zeros(3), np.full(3, 0.05)], -1).astype(np.float32)
    normals = np.tile(floats([0, -1, 0]), (3, 1))
    checked = colours_of(Material("checks", (RED, BLUE), 0.1, roughness=0.0), points, normals)
    assert np.allclose(checked[0], checked[2], atol=1e-5)
    assert np.abs(checked[0] - checked[1]).max() > 0.1
    points, normals = plane()
    striped = colours_of(Material("stripes", (RED, BLUE), 0.2, roughness=0.0), points, normals).reshape(60, 60, 3)
    assert np.abs(striped - striped[:1]).max() < 1e-5
    assert len(np.unique(striped[0].round(4), axis=0)) == 2


def test_a_side_on_the_border_of_two_squares_has_one_pattern() -> None:
    # The side x = 0.2 of a box: rounding may put its points on either side of the border.
    random = np.random.default_rng(0)
    points = np.stack([0.2 + random.uniform(-1e-6, 1e-6, 500), np.full(500, 0.03), np.full(500, 0.04)], -1)
    found = colours_of(Material("checks", (RED, BLUE), 0.1, roughness=0.0), points, np.tile([1.0, 0, 0], (500, 1)))
    assert np.ptp(found, axis=0).max() < 1e-5


def test_a_pattern_wrapped_around_z_closes() -> None:
    angle = np.array([np.pi - 1e-3, -np.pi + 1e-3])
    points = np.stack([0.1 * np.cos(angle), 0.1 * np.sin(angle), np.full(2, 0.03)], -1)
    normals = np.stack([np.cos(angle), np.sin(angle), np.zeros(2)], -1)
    kinds: tuple[Kind, ...] = ("dots", "zigzag")
    for kind in kinds:
        seam = colours_of(Material(kind, (RED, BLUE), 0.05, around=8, roughness=0.0), points, normals)
        np.testing.assert_allclose(seam[0], seam[1], atol=1e-5)
    turned = np.linspace(-np.pi, np.pi, 4000, endpoint=False) + 1e-4
    points = np.stack([0.1 * np.cos(turned), 0.1 * np.sin(turned), np.full(4000, 0.03)], -1)
    normals = np.stack([np.cos(turned), np.sin(turned), np.zeros(4000)], -1)
    striped = colours_of(Material("stripes", (RED, BLUE), 0.05, around=8, roughness=0.0), points, normals)
    assert (np.abs(np.diff(striped[:, 0])) > 0.05).sum() in (15, 16)


def test_seeds_change_what_is_irregular() -> None:
    points, normals = plane()
    one, other = (colours_of(Material("wood", (RED, BLACK), 0.06, seed), points, normals) for seed in (1, 2))
    assert np.abs(one - other).mean() > 0.01


def test_damaged_materials_are_refused_in_one_sentence() -> None:
    with pytest.raises(InputError, match="Expected a material of kind plain"):
        Material("velvet", (RED,))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one to 4 colours in a material, found 5"):
        Material("rings", (RED,) * 5)
    with pytest.raises(InputError, match="scale above 0 metres, found 0"):
        Material("dots", (RED, BLUE), 0.0)
    with pytest.raises(InputError, match="at least one material"):
        MaterialTable([])
    points, normals = plane(2)
    with pytest.raises(InputError, match="indices of materials from 0 to 0"):
        MaterialTable([Material("plain", (RED,))]).albedo(np.array([0, 0, 1, 0]), points, normals)


def test_no_points_have_no_colours() -> None:
    none = np.zeros((0, 3), np.float32)
    assert MaterialTable([Material("plain", (RED,))]).albedo(np.zeros(0, int), none, none).shape == (0, 3)
