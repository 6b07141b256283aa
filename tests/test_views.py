"""Views: undistorted as nerfstudio does it, and pixels that find their way back to the photo."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from render.errors import InputError
from render.readers import read_transforms
from render.undistortion import Lens, undistort_image, undistorted
from render.views import View, photo_size, read_photo

BENT = Lens("opencv", 100.0, 105.0, 62.0, 47.0, 120, 96, (-0.25, 0.08, 0.003, -0.002, -0.01, 0.02, 0.01, 0.0))
CUSHION = replace(BENT, distortion=(0.2, 0.05, 0.0, 0.001))
FISH = Lens("fisheye", 60.0, 60.0, 61.0, 48.0, 120, 96, (0.02, -0.01, 0.002, 0.0))
STRAIGHT = replace(BENT, distortion=())
LENSES = pytest.mark.parametrize("lens", [BENT, CUSHION, FISH, STRAIGHT], ids=["barrel", "cushion", "fisheye", "none"])


def view(lens: Lens, path: Path | None = None) -> View:
    return View.from_photo_file("photo", path or Path("photo.png"), lens, np.eye(4))


def nerfstudio_lens(transforms: dict[str, float]) -> Lens:
    t = transforms
    distortion = (t["k1"], t["k2"], t["p1"], t["p2"])
    return Lens("opencv", t["fl_x"], t["fl_y"], t["cx"], t["cy"], int(t["w"]), int(t["h"]), distortion)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fox", "kermit", "rgbd_kitchen"])
def test_views_equal_nerfstudios_undistorted_images_to_the_pixel(shared: Path, name: str) -> None:
    from nerfstudio.cameras.camera_utils import get_distortion_params
    from nerfstudio.cameras.cameras import Cameras, CameraType
    from nerfstudio.data.datamanagers.full_images_datamanager import _undistort_image

    capture = read_transforms(shared / "data" / name)
    t = capture.transforms
    cameras = Cameras(
        torch.eye(4)[None, :3],
        *(t[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")),
        get_distortion_params(**{key: t[key] for key in ("k1", "k2", "p1", "p2")}),
        CameraType.PERSPECTIVE,
    )
    camera = cameras[0].reshape(())
    for found in capture.views[:2]:
        assert found.path is not None
        photo = read_photo(found.path)
        K, image, _ = _undistort_image(
            camera, camera.distortion_params.numpy(), {}, photo, camera.get_intrinsics_matrices().numpy()
        )
        np.testing.assert_array_equal(found.image(), image)
        np.testing.assert_array_equal(found.camera.K.numpy(), K)
        assert (found.camera.height, found.camera.width) == image.shape[:2]


def test_a_fisheye_view_equals_nerfstudios_undistorted_image() -> None:
    from nerfstudio.cameras.cameras import Cameras, CameraType
    from nerfstudio.data.datamanagers.full_images_datamanager import _undistort_image

    f = FISH
    parameters = torch.tensor([*f.distortion, 0.0, 0.0])
    cameras = Cameras(torch.eye(4)[None, :3], f.fx, f.fy, f.cx, f.cy, f.width, f.height, parameters, CameraType.FISHEYE)
    camera = cameras[0].reshape(())
    photo = np.random.default_rng(0).integers(0, 256, (f.height, f.width, 3), np.uint8)
    K, image, _ = _undistort_image(camera, parameters.numpy(), {}, photo, camera.get_intrinsics_matrices().numpy())
    np.testing.assert_array_equal(undistort_image(photo, f), image)
    np.testing.assert_allclose(undistorted(f).K, K, rtol=1e-6)


def brown(x: float, y: float, d: tuple[float, ...]) -> tuple[float, float]:
    """OpenCV's documented formula, written out."""
    k1, k2, p1, p2, k3, k4, k5, k6 = (*d, *(0.0,) * (8 - len(d)))
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


@pytest.mark.parametrize("lens", [BENT, CUSHION])
def test_a_ray_meets_view_and_photo_where_the_formula_says(lens: Lens) -> None:
    v = view(lens)
    K = v.camera.K.double().numpy()
    x, y = 0.31, -0.22
    bent = brown(x, y, lens.distortion)
    on_view = np.array([[K[0, 0] * x + K[0, 2], K[1, 1] * y + K[1, 2]]])
    on_photo = np.array([[lens.fx * bent[0] + lens.cx, lens.fy * bent[1] + lens.cy]])
    np.testing.assert_allclose(v.distort_points(on_view), on_photo, atol=1e-4)
    np.testing.assert_allclose(v.undistort_points(on_photo), on_view, atol=1e-4)


def test_a_fisheye_ray_meets_view_and_photo_where_the_formula_says() -> None:
    v = view(FISH)
    K = v.camera.K.double().numpy()
    x, y = 0.5, 0.2
    r = math.hypot(x, y)
    theta = math.atan(r)
    bent = theta * (1 + sum(k * theta ** (2 * i + 2) for i, k in enumerate(FISH.distortion))) / r
    on_view = np.array([[K[0, 0] * x + K[0, 2], K[1, 1] * y + K[1, 2]]])
    on_photo = np.array([[FISH.fx * bent * x + FISH.cx, FISH.fy * bent * y + FISH.cy]])
    np.testing.assert_allclose(v.distort_points(on_view), on_photo, atol=1e-4)
    np.testing.assert_allclose(v.undistort_points(on_photo), on_view, atol=1e-4)


@LENSES
def test_points_go_to_the_view_and_back(lens: Lens) -> None:
    v = view(lens)
    points = np.random.default_rng(0).uniform(0, 1, (500, 2)) * [lens.width, lens.height]
    np.testing.assert_allclose(v.distort_points(v.undistort_points(points)), points, atol=1e-6)
    assert v.undistort_points(np.empty((0, 2))).shape == (0, 2)


@LENSES
def test_every_pixel_of_the_view_comes_from_the_photo(lens: Lens) -> None:
    v = view(lens)
    corners = np.array([[0.5, 0.5], [v.camera.width - 0.5, 0.5], [0.5, v.camera.height - 0.5]])
    photo = v.distort_points(corners)
    assert (photo > -1).all()
    assert (photo < np.array([lens.width, lens.height]) + 1).all()


@LENSES
def test_a_mask_on_the_photo_comes_back_to_where_it_was(lens: Lens) -> None:
    v = view(lens)
    y, x = np.mgrid[: lens.height, : lens.width]
    mask = (x - 50) ** 2 + (y - 40) ** 2 < 22**2
    back = v.to_photo(v.from_photo(mask))
    assert back.shape == mask.shape
    assert back.dtype == bool
    assert (back & mask).sum() / (back | mask).sum() > 0.95


@LENSES
def test_smooth_values_of_the_photo_come_back(lens: Lens) -> None:
    v = view(lens)
    camera = v.covering_camera
    u = np.stack(np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), axis=-1)
    offset = (v.camera.K - camera.K)[:2, 2].double().numpy()
    photo_pixels = v.distort_points((u + offset).reshape(-1, 2)).reshape(u.shape)
    channels = np.concatenate([photo_pixels, photo_pixels, photo_pixels[..., :1]], axis=-1)
    found = v.to_photo(channels)
    expected = np.stack(np.meshgrid(np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5), axis=-1)
    inner = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(found[inner][..., 2:4], expected[inner], atol=0.15)
    np.testing.assert_allclose(found[inner][..., 4], expected[inner][..., 0], atol=0.15)


@LENSES
def test_the_covering_camera_reaches_every_pixel_of_the_photo(lens: Lens) -> None:
    v = view(lens)
    camera = v.covering_camera
    assert v.to_photo(np.ones((camera.height, camera.width), bool)).all()
    seen = v.to_photo(torch.ones(v.camera.height, v.camera.width))
    assert seen.shape == (lens.height, lens.width)
    assert lens is STRAIGHT or not (seen > 0).all()


def test_a_one_pixel_click_arrives_at_the_pixel_that_shows_the_same(tmp_path: Path) -> None:
    photo = np.zeros((BENT.height, BENT.width, 3), np.uint8)
    photo[70:73, 20:23] = 255
    Image.fromarray(photo).save(tmp_path / "dot.png")
    v = view(BENT, tmp_path / "dot.png")
    x, y = v.undistort_points(np.array([[21.5, 71.5]]))[0]
    assert v.image()[int(y), int(x)].min() > 200


def test_labels_are_not_mixed() -> None:
    labels = np.random.default_rng(0).choice([0, 7, 200], (BENT.height, BENT.width, 4)).astype(np.uint8)
    v = view(BENT)
    there = v.from_photo(labels)
    assert set(np.unique(there)) == {0, 7, 200}
    assert set(np.unique(v.to_photo(there))) == {0, 7, 200}


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (100, 96)).save(tmp_path / "small.png")
    v = view(BENT, tmp_path / "small.png")
    with pytest.raises(InputError, match=r"small.png has 100x96 pixels, but the cameras say 120x96"):
        v.image()
    with pytest.raises(InputError, match="photo's size 120x96, found 100x96"):
        v.from_photo(np.zeros((96, 100), bool))
    with pytest.raises(InputError, match="size of view 'photo'"):
        v.to_photo(np.zeros((10, 10), bool))


def test_views_without_a_lens_are_their_own_photo() -> None:
    plain = View("a", view(STRAIGHT).camera, lambda: np.zeros((96, 120, 3), np.uint8))
    mask = np.random.default_rng(0).random((96, 120)) > 0.5
    np.testing.assert_array_equal(plain.to_photo(plain.from_photo(mask)), mask)
    assert plain.photo_size == (120, 96)
    assert plain.covering_camera is plain.camera


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "LA", "1"])
def test_photos_of_any_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("photo.tif" if mode in ("CMYK", "LA") else "photo.png")
    Image.new("RGB", (8, 6), (255, 255, 255)).convert(mode).save(path)
    assert read_photo(path).shape == (6, 8, 3)
    assert (read_photo(path) == 255).all()
    assert photo_size(path) == (8, 6)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (200, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_photo(tmp_path / "clear.png") == 255).all()


def test_broken_photos_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.jpg is missing"):
        read_photo(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(InputError, match=r"text.jpg cannot be read"):
        read_photo(tmp_path / "text.jpg")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cut.png cannot be read"):
        read_photo(tmp_path / "cut.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match="more than 8 bits"):
        read_photo(tmp_path / "deep.png")
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + b"\0" * 4)
    with pytest.raises(InputError, match=r"bomb.png cannot be read"):
        read_photo(tmp_path / "bomb.png")


def test_lenses_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        replace(BENT, fx=math.nan)
    with pytest.raises(InputError, match="positive"):
        replace(BENT, fy=-1.0)
    with pytest.raises(InputError, match="at least one pixel"):
        replace(BENT, width=0)
    with pytest.raises(InputError, match="no valid pixel"):
        undistorted(replace(BENT, distortion=(0.0, 0.0, 5.0, 0.0)))


def test_photos_are_read_on_demand(shared: Path, tmp_path: Path) -> None:
    content = json.loads((shared / "data" / "fox" / "transforms.json").read_text())
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    views = read_transforms(tmp_path).views
    assert len(views) == 50
    with pytest.raises(InputError, match=r"0001.jpg is missing"):
        views[0].image()
    assert nerfstudio_lens(content) == replace(views[0].lens or BENT, distortion=nerfstudio_lens(content).distortion)
