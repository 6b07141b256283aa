"""The demo scene and what ``fit3d demo`` makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from app.main import OK, main
from app.pictures import psnr, render_depth, render_rgb
from assets.demo_scene import cache_folder, demo_scene
from assets.ray_casting import RayCaster
from assets.room_corner import RoomCorner, build_room_corner
from render.errors import InputError
from tests.room import contents

SMALL = ["--gaussians", "3000", "--views", "3", "--width", "120", "--height", "90", "--device", "cpu"]


@pytest.fixture(scope="module")
def room() -> RoomCorner:
    return build_room_corner(count=8000, views=2, width=160, height=120)


def test_first_hits_on_a_sphere_are_where_geometry_says() -> None:
    import trimesh

    sphere = trimesh.creation.icosphere(subdivisions=5)
    caster = RayCaster(sphere.vertices, sphere.faces.astype(np.int32))
    random = np.random.default_rng(0)
    directions = random.normal(size=(5000, 3)).astype(np.float32)
    origins = (3 * directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
    hits = caster.first_hits(origins, -directions)
    assert (hits.faces >= 0).all()
    reached = origins - hits.distances[:, None] * directions
    assert np.abs(np.linalg.norm(reached, axis=1) - 1).max() < 2e-3
    corners = sphere.vertices[sphere.faces[hits.faces]]
    weights = np.concatenate([1 - hits.barycentric.sum(1, keepdims=True), hits.barycentric], 1)
    assert np.abs((weights[..., None] * corners).sum(1) - reached).max() < 1e-5
    assert (caster.first_hits(origins, directions).faces == -1).all()


def test_rays_agree_with_testing_every_triangle() -> None:
    random = np.random.default_rng(1)
    vertices = random.uniform(-1, 1, (300, 3))
    faces = random.integers(0, 300, (101, 3)).astype(np.int32)
    origins = random.uniform(-2, 2, (400, 3)).astype(np.float32)
    directions = random.normal(size=(400, 3)).astype(np.float32)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    matrix = np.stack(np.broadcast_arrays(b - a, c - a, -directions[:, None].astype(np.float64)), -1)
    with np.errstate(all="ignore"):
        inverse = np.linalg.inv(matrix + 1e-15)
    u, v, t = np.einsum("rfij,rfj->ifr", inverse, origins[:, None] - a).transpose(0, 2, 1)
    inside = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    expected = np.where(inside, t, np.inf).min(1)
    caster = RayCaster(vertices, faces)
    found = caster.first_hits(origins, directions).distances
    assert np.isfinite(expected).mean() > 0.1
    assert (np.isfinite(found) == np.isfinite(expected)).mean() > 0.995
    both = np.isfinite(found) & np.isfinite(expected)
    assert np.median(np.abs(found[both] - expected[both])) < 1e-5
    limits = np.full(400, 0.7, np.float32)
    assert (caster.blocked(origins, directions, limits) == (found < 0.7)).all()


def test_the_room_is_the_same_every_time(room: RoomCorner) -> None:
    again = build_room_corner(count=8000, views=2, width=160, height=120)
    for mine, theirs in zip(room.photos, again.photos, strict=True):
        assert np.array_equal(mine, theirs)
    assert torch.equal(room.gaussians.means, again.gaussians.means)
    assert torch.equal(room.gaussians.sh, again.gaussians.sh)


def test_the_gaussians_look_like_the_photos(room: RoomCorner) -> None:
    quality = [psnr(render_rgb(room.gaussians, c), p) for c, p in zip(room.cameras, room.photos, strict=True)]
    assert min(quality) > 21
    assert 0.8 * 8000 < len(room.gaussians) < 1.2 * 8000
    depth = render_depth(room.gaussians, room.cameras[0])
    assert (depth > 0).mean() > 0.98
    assert 1 < depth[depth > 0].min() < depth.max() < 6


def test_every_photo_is_filled_and_lit(room: RoomCorner) -> None:
    for photo in room.photos:
        assert photo.dtype == np.uint8
        assert (photo.max(2) < 5).mean() < 0.02
        assert 60 < photo.mean() < 200


@pytest.mark.parametrize(("count", "views", "width"), [(10, 1, 32), (600, 0, 32), (600, 1, 3)])
def test_a_room_too_small_is_refused(count: int, views: int, width: int) -> None:
    with pytest.raises(InputError, match="at least 500 Gaussians"):
        build_room_corner(count=count, views=views, width=width)


def test_the_cache_is_used_again_and_a_broken_copy_is_made_again(tmp_path: Path) -> None:
    def make() -> Path:
        return demo_scene(count=600, views=1, width=32, height=24, cache=tmp_path).path

    path = make()
    before, stamp = contents(path), (path / "gaussians.ply").stat().st_mtime_ns
    assert make() == path
    assert (path / "gaussians.ply").stat().st_mtime_ns == stamp
    (path / "gaussians.ply").write_bytes((path / "gaussians.ply").read_bytes()[:-9])
    make()
    assert contents(path) == before
    (path / "images" / "view_00.png").unlink()
    make()
    assert contents(path) == before


def test_the_cache_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "fit3d"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "fit3d"


def test_demo_writes_a_sheet_of_pictures_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "sheet.png"
    assert main(["demo", *SMALL, "--out", str(out)]) == OK
    printed = capfd.readouterr().out
    assert f"wrote {out}" in printed
    sheet = np.asarray(Image.open(out))
    assert sheet.shape[2] == 3
    assert sheet.shape[1] > 5 * 300
    cells = np.array_split(sheet[40:], 5, axis=1)
    assert all(cell.std() > 20 for cell in cells)
    (scene,) = (tmp_path / "cache" / "fit3d").glob("room-corner-*")
    assert sorted(path.name for path in (scene / "fields").iterdir()) == [
        "dense-descriptors.safetensors",
        "rgb.safetensors",
    ]
    assert [path.name for path in (scene / "selections").iterdir()] == ["fruit-bowl.npz"]
    before = contents(scene)
    assert main(["demo", *SMALL]) == OK
    assert "lifted" not in capfd.readouterr().out
    sheet_path = str((scene / "contact_sheet.png").relative_to(scene))
    assert {k: v for k, v in contents(scene).items() if k != sheet_path} == before
    assert os.path.getsize(scene / "contact_sheet.png") > 10_000


def test_a_damaged_field_of_the_demo_is_lifted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["demo", *SMALL]) == OK
    (field,) = (tmp_path / "fit3d").glob("room-corner-*/fields/rgb.safetensors")
    whole = field.read_bytes()
    field.write_bytes(whole[:-5])
    assert main(["demo", *SMALL]) == OK
    assert "damaged" in capfd.readouterr().out
    assert field.read_bytes() == whole
