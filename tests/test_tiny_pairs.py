"""Pairs of crops: what corresponds shows the same point."""

from __future__ import annotations

import numpy as np

from training.tiny.images import RoomImages
from training.tiny.pairs import PairSampler

SIZE, FOCAL, DISTANCE = 128, 110.0, 2.0


def wall_images(shifts: list[float], *, blocked: bool = False) -> RoomImages:
    """Photos of a wall whose colour says where on it a point lies, from cameras that are shifted along it."""
    n = len(shifts)
    K = np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]], np.float32)
    poses = np.tile(np.eye(4, dtype=np.float32), (n, 1, 1))
    poses[:, 0, 3] = -np.array(shifts)
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5 - SIZE / 2) / FOCAL * DISTANCE
    photos = np.stack([np.stack([(x + s + 2) * 60, (y + 2) * 60, np.full_like(x, 9)], -1) for s in shifts])
    depths = np.full((n, SIZE, SIZE), DISTANCE, np.float16)
    if blocked:
        depths[1:] = 0.5  # something stands before the other cameras
    return RoomImages(
        np.clip(photos, 0, 255).astype(np.uint8),
        np.zeros((n, SIZE, SIZE), np.uint8),
        np.zeros((n, SIZE, SIZE), np.int16),
        depths,
        np.tile(K, (n, 1, 1)),
        poses,
        np.zeros(n, int),
        [[]],
    )


def patch_means(crops: np.ndarray, patch: int) -> np.ndarray:
    n, side, _, c = crops.shape
    g = side // patch
    return crops.reshape(n, g, patch, g, patch, c).mean((2, 4)).reshape(n, g * g, c)


def test_patches_lie_where_the_wall_has_their_colour() -> None:
    sampler = PairSampler(wall_images([0.0, 0.3, 0.6]), side=96, patch=8)
    pairs = sampler.draw(np.random.default_rng(0), 24)
    means = patch_means(pairs.crops.astype(float), 8)
    expected = (pairs.points[..., :2] + 2) * 60  # 60 grey values a metre
    assert np.abs(means[..., :2] - expected).mean() < 1
    np.testing.assert_allclose(pairs.points[..., 2], DISTANCE, atol=1e-4)
    # Patches that lie beside each other in a crop are an extent apart in the room.
    apart = np.linalg.norm(pairs.points[:, 1] - pairs.points[:, 0], axis=1)
    np.testing.assert_allclose(apart, pairs.extents[:, 0], rtol=0.15)


def test_the_crops_of_a_pair_overlap() -> None:
    sampler = PairSampler(wall_images([0.0, 0.3, 0.6]), side=96, patch=8)
    pairs = sampler.draw(np.random.default_rng(0), 24)
    apart = np.linalg.norm(pairs.points[:24, :, None] - pairs.points[24:, None], axis=-1).min(2)
    assert (apart < pairs.extents[:24]).mean() > 0.3


def test_what_the_partner_does_not_see_has_no_correspondence() -> None:
    images = wall_images([0.0, 0.3], blocked=True)
    sampler = PairSampler(images, side=96, patch=8)
    assert [list(found) for found in sampler._partners] == [[0], [1]]


def test_the_same_generator_draws_the_same_pairs() -> None:
    sampler = PairSampler(wall_images([0.0, 0.3]), side=96, patch=8)
    first, second = (sampler.draw(np.random.default_rng(5), 6) for _ in range(2))
    np.testing.assert_array_equal(first.crops, second.crops)
    np.testing.assert_array_equal(first.points, second.points)
