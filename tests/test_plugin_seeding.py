"""Where Gaussians start."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from render import Camera, InputError
from training.capture import sightings
from training.seeding import SeedView, neighbour_distances, pixel_seeds, visible_points


def _camera() -> Camera:
    K = torch.tensor([[100.0, 0, 60], [0, 100, 50], [0, 0, 1]])
    world_to_camera = torch.eye(4)
    world_to_camera[:3, 3] = torch.tensor([0.1, -0.2, 0.3])
    return Camera(K, world_to_camera, 120, 100)


def _wall(depth: float) -> torch.Tensor:
    x, y = torch.meshgrid(torch.linspace(-1, 1, 15), torch.linspace(-1, 1, 15), indexing="ij")
    wall = torch.stack([x, y, torch.full_like(x, depth)], -1).reshape(-1, 3)
    return wall - torch.tensor([0.1, -0.2, 0.3])


def _image() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(256, (100, 120, 3), generator=generator, dtype=torch.uint8)


def test_seeds_lie_on_the_plane_of_the_points_and_take_their_pixels_colours() -> None:
    camera, image = _camera(), _image()
    generator = torch.Generator().manual_seed(0)
    positions, colours = pixel_seeds(_wall(2.0), [SeedView(camera, image)], 500, generator=generator)
    local = positions + camera.world_to_camera[:3, 3]
    assert len(positions) == 500
    torch.testing.assert_close(local[:, 2], torch.full((500,), 2.0), atol=1e-4, rtol=0)
    pixels = ((local @ camera.K.T)[:, :2] / local[:, 2:]).long()
    assert torch.equal(image[pixels[:, 1], pixels[:, 0]], colours)


def test_pixels_far_from_any_point_are_put_behind_the_points() -> None:
    camera = _camera()
    corner = _wall(2.0)
    corner = corner[(corner[:, 0] < -0.5) & (corner[:, 1] < 0)]
    generator = torch.Generator().manual_seed(0)
    positions, _ = pixel_seeds(corner, [SeedView(camera, _image())], 800, generator=generator)
    local = positions + camera.world_to_camera[:3, 3]
    right = local[:, 0] / local[:, 2] > 0.3
    assert right.sum() > 100
    assert float(local[right, 2].min()) >= 1.99
    assert float(local[right, 2].mean()) > 2.5


def test_points_behind_nearer_ones_are_not_seen() -> None:
    near, far = _wall(2.0), _wall(6.0) * torch.tensor([3.0, 3, 1])
    seen = visible_points(torch.cat([near, far]), _camera())
    inside = visible_points(near, _camera())
    assert torch.equal(seen[seen < len(near)], inside)
    assert (seen >= len(near)).sum() < 0.2 * len(far)


def test_a_photo_without_points_gives_no_seeds() -> None:
    view = SeedView(_camera(), _image(), torch.zeros(0, dtype=torch.int64))
    positions, colours = pixel_seeds(_wall(2.0), [view], 50, generator=torch.Generator())
    assert positions.shape == (0, 3)
    assert colours.shape == (0, 3)


def test_seeding_without_photos_is_a_sentence() -> None:
    with pytest.raises(InputError, match="photo"):
        pixel_seeds(_wall(2.0), [], 5, generator=torch.Generator())


def test_identical_points_still_get_a_positive_scale() -> None:
    assert float(neighbour_distances(torch.ones(6, 3)).min()) > 0
    assert neighbour_distances(torch.zeros(1, 3)).tolist() == [1.0]


def test_sightings_are_found_by_photo_and_checked(tmp_path: Path) -> None:
    frames = [{"file_path": f"images/{name}.png", "transform_matrix": np.eye(4).tolist()} for name in "ab"]
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
    photos = [tmp_path / "images" / "b.png", tmp_path / "images" / "a.png"]
    assert sightings(tmp_path, photos, 9) == [None, None]
    np.savez(tmp_path / "observations.npz", image=np.array([0, 1, 1]), point=np.array([4, 8, 2]))
    seen = sightings(tmp_path, photos, 9)
    assert [s.tolist() for s in seen if s is not None] == [[2, 8], [4]]
    with pytest.raises(InputError, match="5 sparse points"):
        sightings(tmp_path, photos, 5)
