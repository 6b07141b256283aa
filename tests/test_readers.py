"""Readers: every format gives the same views, and bad captures are named."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pytest
import torch
from PIL import Image

from render.conventions import opengl_to_opencv
from render.errors import InputError
from render.gaussians import Gaussians
from render.readers import detect, read_capture, read_colmap, read_inria, read_transforms

SIZE = (40, 30)
NAMES = ("a.png", "b.png", "c.png")


def poses(n: int) -> list[np.ndarray]:
    """OpenGL cameras to world, on a circle."""
    out = []
    for angle in np.linspace(0, 1, n):
        c, s = math.cos(angle), math.sin(angle)
        pose = np.eye(4)
        pose[:3, :3] = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
        pose[:3, 3] = np.array([4 * s, 0.1, 4 * c])
        out.append(pose)
    return out


def photos(folder: Path, names: tuple[str, ...] = NAMES, size: tuple[int, int] = SIZE) -> None:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (40 * i, 90, 200)).save(folder / name)


def transforms(**changes: Any) -> dict[str, Any]:
    frames = [
        {"file_path": f"images/{name}", "transform_matrix": pose.tolist()}
        for name, pose in zip(NAMES, poses(3), strict=True)
    ]
    content = {"fl_x": 50.0, "fl_y": 51.0, "cx": 19.0, "cy": 16.0, "w": 40, "h": 30, "frames": frames}
    return {**content, **changes}


def capture(folder: Path, **changes: Any) -> Path:
    photos(folder / "images")
    (folder / "transforms.json").write_text(json.dumps(transforms(**changes)))
    return folder


def colmap(folder: Path, model: str = "PINHOLE", params: tuple[float, ...] = (50.0, 51.0, 19.0, 16.0)) -> Path:
    reconstruction = pycolmap.Reconstruction()
    camera = pycolmap.Camera(model=model, width=SIZE[0], height=SIZE[1], params=params, camera_id=1)
    reconstruction.add_camera_with_trivial_rig(camera)
    for i, pose in reversed(list(enumerate(poses(3)))):
        world_to_camera = opengl_to_opencv(torch.from_numpy(pose)).numpy()
        image = pycolmap.Image(name=NAMES[i], camera_id=1, image_id=i + 1)
        reconstruction.add_image_with_trivial_frame(image, pycolmap.Rigid3d(world_to_camera[:3]))
    reconstruction.add_point3D(np.array([0.5, 1.0, 2.0]), pycolmap.Track(), np.array([9, 8, 7], np.uint8))
    folder.mkdir(parents=True, exist_ok=True)
    reconstruction.write(str(folder))
    return folder


def gaussians(n: int = 5) -> Gaussians:
    return Gaussians(torch.randn(n, 3), torch.randn(n, 4), torch.rand(n, 3) + 0.1, torch.rand(n), torch.zeros(n, 1, 3))


def inria(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    cameras = []
    for i, pose in enumerate(poses(3)):
        rotation = (pose[:3, :3] * [1, -1, -1]).tolist()
        cameras.append(
            {"id": i, "img_name": names[i], "width": 40, "height": 30, "position": pose[:3, 3].tolist(),
             "rotation": rotation, "fy": 51.0, "fx": 50.0}
        )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.json").write_text(json.dumps(cameras))
    for iteration, count in ((700, 3), (30000, 5), (7000, 4)):
        gaussians(count).save(folder / "point_cloud" / f"iteration_{iteration}" / "point_cloud.ply")
    return folder


def test_every_format_gives_the_same_poses(tmp_path: Path) -> None:
    capture(tmp_path / "t")
    colmap(tmp_path / "c" / "sparse" / "0")
    photos(tmp_path / "c" / "images")
    photos(inria(tmp_path / "i") / "images")
    expected = opengl_to_opencv(torch.from_numpy(np.stack(poses(3)))).float()
    for folder in ("t", "c", "i"):
        found = read_capture(tmp_path / folder)
        assert [view.name for view in found.views] == ["a", "b", "c"]
        for view, pose, photo in zip(found.views, expected, found.photos, strict=True):
            torch.testing.assert_close(view.camera.world_to_camera, pose, rtol=0, atol=1e-6)
            assert view.image().shape == (30, 40, 3)
            assert view.path == photo
            assert float(view.camera.K[0, 0]) == 50.0
            assert float(view.camera.K[1, 1]) == 51.0


def test_what_a_frame_states_goes_before_what_the_file_states(tmp_path: Path) -> None:
    content = transforms()
    content["frames"][1].update(fl_x=60.0, cx=21.0)
    capture(tmp_path, frames=content["frames"])
    K = [view.camera.K for view in read_transforms(tmp_path).views]
    assert [float(k[0, 0]) for k in K] == [50.0, 60.0, 50.0]
    assert [float(k[0, 2]) for k in K] == [19.0, 21.0, 19.0]


def test_every_frame_may_have_a_lens_of_its_own(tmp_path: Path) -> None:
    content = transforms()
    own = {key: content.pop(key) for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
    for i, frame in enumerate(content["frames"]):
        frame.update(own, fl_x=50.0 + i, k1=-0.1 * i)
    photos(tmp_path / "images")
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    views = read_transforms(tmp_path).views
    assert [view.lens.fx for view in views if view.lens] == [50.0, 51.0, 52.0]
    assert views[0].camera.width == 40
    assert views[2].camera.K[0, 0] < 52


def test_blender_files_give_a_field_of_view_and_leave_the_extension_out(tmp_path: Path) -> None:
    photos(tmp_path / "train", ("r_0.png",))
    frame = {"file_path": "./train/r_0", "transform_matrix": poses(1)[0].tolist()}
    (tmp_path / "transforms.json").write_text(json.dumps({"camera_angle_x": 0.8, "frames": [frame]}))
    view = read_transforms(tmp_path).views[0]
    assert view.name == "r_0"
    assert view.image().shape == (30, 40, 3)
    expected = [[20 / math.tan(0.4), 0, 20], [0, 20 / math.tan(0.4), 15], [0, 0, 1]]
    torch.testing.assert_close(view.camera.K, torch.tensor(expected))


def test_listed_distortion_parameters_mean_the_same_as_named_ones(tmp_path: Path) -> None:
    named = capture(tmp_path / "n", k1=0.1, k2=-0.05, k3=0.01, p1=0.002, p2=0.001)
    listed = capture(tmp_path / "l", distortion_params=[0.1, -0.05, 0.01, 0.0, 0.002, 0.001])
    lenses = [read_transforms(folder).views[0].lens for folder in (named, listed)]
    assert lenses[0] == lenses[1]
    assert lenses[0] is not None
    # OpenCV's order.
    assert lenses[0].distortion == (0.1, -0.05, 0.002, 0.001, 0.01, 0.0, 0.0, 0.0)


def test_poses_of_three_rows_are_completed(tmp_path: Path) -> None:
    content = transforms()
    for frame in content["frames"]:
        frame["transform_matrix"] = frame["transform_matrix"][:3]
    whole, cut = capture(tmp_path / "w"), capture(tmp_path / "c", frames=content["frames"])
    for a, b in zip(read_transforms(whole).views, read_transforms(cut).views, strict=True):
        assert torch.equal(a.camera.world_to_camera, b.camera.world_to_camera)


def test_the_frame_of_the_file_is_kept(shared: Path) -> None:
    found = read_transforms(shared / "data" / "fox")
    assert found.points is not None
    points = found.points().positions
    observations = np.load(shared / "data" / "fox" / "observations.npz")
    errors = []
    for i in (0, 20, 40):
        view = found.views[i]
        chosen = observations["image"] == i
        seen = torch.from_numpy(observations["point"][chosen].astype(np.int64))
        camera = view.camera
        local = points[seen] @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
        assert (local[:, 2] > 0).all()
        pixels = (local @ camera.K.T)[:, :2] / local[:, 2:]
        on_photo = view.distort_points(pixels.double().numpy())
        errors.append(np.linalg.norm(on_photo - observations["xy"][chosen], axis=1))
    # The capture's own figure is 0.37 px: half a pixel off would show.
    assert np.concatenate(errors).mean() < 0.45


def change_pose(index: int, edit: Callable[[np.ndarray], None]) -> dict[str, Any]:
    content = transforms()
    pose = np.array(content["frames"][index]["transform_matrix"])
    edit(pose)
    content["frames"][index]["transform_matrix"] = pose.tolist()
    return {"frames": content["frames"]}


def test_bad_poses_are_named(tmp_path: Path) -> None:
    def nan(pose: np.ndarray) -> None:
        pose[0, 3] = math.nan

    def scaled(pose: np.ndarray) -> None:
        pose[:3, :3] *= 2

    def mirrored(pose: np.ndarray) -> None:
        pose[:3, 0] *= -1

    for i, (edit, said) in enumerate([(nan, "NaN"), (scaled, "not a rotation"), (mirrored, "not a rotation")]):
        folder = capture(tmp_path / str(i), **change_pose(1, edit))
        with pytest.raises(InputError, match=rf"images/b.png.*{said}"):
            read_transforms(folder)


def first(**changes: Any) -> dict[str, Any]:
    content = transforms()
    content["frames"][0].update(changes)
    return {"frames": content["frames"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frames": []}, "lists no frames"),
        ({"frames": [{"transform_matrix": np.eye(4).tolist()}]}, "frame 0 has no file_path"),
        (first(transform_matrix=[[1, 2], [3]]), r"images/a.png has no 4x4"),
        (first(transform_matrix=None), r"images/a.png has no 4x4"),
        (first(file_path="images/b.png"), "same photo in several frames: .*b.png"),
        ({"fl_x": None}, "no focal length for a.png"),
        ({"fl_x": "wide"}, "fl_x must be a number"),
        ({"fl_x": -3}, "must be positive"),
        ({"k1": math.nan}, "finite"),
        ({"camera_model": "EQUIRECTANGULAR"}, "EQUIRECTANGULAR is not supported"),
        ({"distortion_params": [0] * 7}, "distortion_params must be"),
    ],
)
def test_bad_transforms_are_refused_with_a_sentence(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_transforms(capture(tmp_path, **changes))


def test_text_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text('{"frames": [')
    with pytest.raises(InputError, match="not valid JSON"):
        read_transforms(tmp_path)


def test_photos_outside_the_folder_are_refused_where_asked(tmp_path: Path) -> None:
    capture(tmp_path / "s", **first(file_path="images/../../outside.png"))
    assert read_transforms(tmp_path / "s").photos[0] == tmp_path / "outside.png"
    with pytest.raises(InputError, match=r"outside its folder: images/../../outside.png"):
        read_transforms(tmp_path / "s", confined=True)
    capture(tmp_path / "p", ply_file_path="/etc/points.ply")
    with pytest.raises(InputError, match="points outside"):
        read_transforms(tmp_path / "p", confined=True)


def test_photos_of_the_same_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    names = ("left/1.png", "right/1.png", "left/2.png")
    photos(tmp_path / "images", names)
    frames = transforms()["frames"]
    for frame, name in zip(frames, names, strict=True):
        frame["file_path"] = f"images/{name}"
    (tmp_path / "transforms.json").write_text(json.dumps(transforms(frames=frames)))
    assert [view.name for view in read_transforms(tmp_path).views] == ["left-1", "right-1", "2"]
    frames[1]["file_path"] = "images/left/1.jpg"
    (tmp_path / "transforms.json").write_text(json.dumps(transforms(frames=frames)))
    with pytest.raises(InputError, match="nothing but the extension"):
        read_transforms(tmp_path)


@pytest.mark.parametrize(
    ("model", "params", "kind", "distortion"),
    [
        ("SIMPLE_PINHOLE", (50.0, 19.0, 16.0), "opencv", (0,) * 8),
        ("SIMPLE_RADIAL", (50.0, 19.0, 16.0, 0.1), "opencv", (0.1, 0, 0, 0, 0, 0, 0, 0)),
        ("RADIAL", (50.0, 19.0, 16.0, 0.1, 0.2), "opencv", (0.1, 0.2, 0, 0, 0, 0, 0, 0)),
        ("OPENCV", (50.0, 51.0, 19.0, 16.0, 0.1, 0.2, 0.03, 0.04), "opencv", (0.1, 0.2, 0.03, 0.04, 0, 0, 0, 0)),
        (
            "FULL_OPENCV",
            (50.0, 51.0, 19.0, 16.0, 0.1, 0.02, 0.003, 0.004, 0.05, 0.06, 0.07, 0.08),
            "opencv",
            (0.1, 0.02, 0.003, 0.004, 0.05, 0.06, 0.07, 0.08),
        ),
        ("OPENCV_FISHEYE", (50.0, 51.0, 19.0, 16.0, 0.1, 0.02, 0.03, 0.04), "fisheye", (0.1, 0.02, 0.03, 0.04)),
        ("RADIAL_FISHEYE", (50.0, 19.0, 16.0, 0.1, 0.02), "fisheye", (0.1, 0.02, 0, 0)),
    ],
)
def test_colmap_lenses_project_as_colmap_does(
    tmp_path: Path, model: str, params: tuple[float, ...], kind: str, distortion: tuple[float, ...]
) -> None:
    view = read_colmap(colmap(tmp_path / "sparse" / "0", model, params)).views[0]
    assert view.lens is not None
    assert (view.lens.model, view.lens.distortion) == (kind, distortion)
    ray = np.array([[0.11, -0.07, 1.0]])
    camera = pycolmap.Camera(model=model, width=SIZE[0], height=SIZE[1], params=params)
    K = view.camera.K.double().numpy()
    found = view.distort_points((ray @ K.T)[:, :2])
    np.testing.assert_allclose(found, camera.img_from_cam(ray), atol=1e-3)


def test_colmap_models_are_found_where_people_keep_them(tmp_path: Path) -> None:
    photos(tmp_path / "images")
    model = colmap(tmp_path / "sparse" / "0")
    for path in (tmp_path, tmp_path / "sparse", model):
        found = read_colmap(path)
        assert found.views[1].image().shape == (30, 40, 3)
        assert found.points is not None
        torch.testing.assert_close(found.points().positions, torch.tensor([[0.5, 1.0, 2.0]]))
        assert found.points().colours.tolist() == [[9, 8, 7]]
    colmap(tmp_path / "sparse" / "1")
    with pytest.raises(InputError, match=r"several: .*sparse/0, .*sparse/1"):
        read_colmap(tmp_path)
    assert len(read_colmap(model).views) == 3


def test_text_models_are_read(tmp_path: Path) -> None:
    model = colmap(tmp_path / "m")
    text = tmp_path / "text"
    text.mkdir()
    pycolmap.Reconstruction(str(model)).write_text(str(text))
    assert [view.name for view in read_colmap(text).views] == ["a", "b", "c"]


def test_unsupported_and_absent_colmap_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="camera model FOV"):
        read_colmap(colmap(tmp_path / "fov", "FOV", (50.0, 50.0, 19.0, 16.0, 0.5)))
    with pytest.raises(InputError, match="found none"):
        read_colmap(tmp_path / "nothing")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["cameras", "images", "points3D", "frames", "rigs"])
def test_truncated_colmap_files_are_refused(tmp_path: Path, name: str, keep: float) -> None:
    # pycolmap alone invents points from such files, or never returns.
    file = colmap(tmp_path) / f"{name}.bin"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputError, match=rf"{name}.bin cannot be read: it is truncated"):
        read_colmap(tmp_path)


def test_smaller_photos_than_the_cameras_say_scale_the_lens(tmp_path: Path) -> None:
    colmap(tmp_path / "sparse" / "0")
    photos(tmp_path / "images", size=(20, 15))
    view = read_colmap(tmp_path).views[0]
    torch.testing.assert_close(view.camera.K, torch.tensor([[25.0, 0, 9.5], [0, 25.5, 8.0], [0, 0, 1]]))
    assert view.image().shape == (15, 20, 3)
    photos(tmp_path / "images", size=(20, 30))
    with pytest.raises(InputError, match="not the same shape"):
        read_colmap(tmp_path)


def test_the_highest_iteration_counts(tmp_path: Path) -> None:
    found = read_inria(inria(tmp_path))
    assert found.gaussians == tmp_path / "point_cloud" / "iteration_30000" / "point_cloud.ply"
    assert len(Gaussians.load(found.gaussians)) == 5


def test_the_photos_of_a_3dgs_run_are_found_through_its_settings_and_without_extension(tmp_path: Path) -> None:
    photos(tmp_path / "source" / "pictures")
    run = inria(tmp_path / "run", ("a", "b", "c"))
    settings = f"Namespace(images='pictures', source_path='{tmp_path / 'source'}', model_path='x')"
    (run / "cfg_args").write_text(settings)
    assert [photo.name for photo in read_inria(run).photos] == list(NAMES)
    assert read_inria(run).views[2].image().shape == (30, 40, 3)
    photos(tmp_path / "source" / "pictures", ("a.jpg",))
    with pytest.raises(InputError, match="Several photos could be 'a'"):
        read_inria(run)


def test_damaged_3dgs_runs_are_refused(tmp_path: Path) -> None:
    run = inria(tmp_path)
    cameras = json.loads((run / "cameras.json").read_text())
    del cameras[1]["rotation"]
    (run / "cameras.json").write_text(json.dumps(cameras))
    with pytest.raises(InputError, match="camera 1 lacks rotation"):
        read_inria(run)
    cameras[1]["rotation"] = [[1, 0], [0, 1]]
    (run / "cameras.json").write_text(json.dumps(cameras))
    with pytest.raises(InputError, match=r"camera of b.png is damaged"):
        read_inria(run)
    (run / "cameras.json").write_text("[]")
    with pytest.raises(InputError, match="lists no cameras"):
        read_inria(run)


def test_formats_are_detected_and_ambiguity_is_named(tmp_path: Path) -> None:
    assert detect(capture(tmp_path / "t")) == "transforms"
    assert detect(tmp_path / "t" / "transforms.json") == "transforms"
    assert detect(inria(tmp_path / "i")) == "inria"
    colmap(tmp_path / "c" / "sparse" / "0")
    assert detect(tmp_path / "c") == "colmap"
    assert detect(tmp_path / "c" / "sparse" / "0") == "colmap"
    # What ns-process-data leaves behind is no second description.
    colmap(tmp_path / "t" / "colmap" / "sparse" / "0")
    assert detect(tmp_path / "t") == "transforms"
    colmap(tmp_path / "t" / "sparse" / "0")
    with pytest.raises(InputError, match=r"several descriptions.*transforms.json.*sparse/0"):
        detect(tmp_path / "t")
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"Expected a transforms.json .* found notes.txt"):
        detect(tmp_path / "n")
    with pytest.raises(InputError, match="does not exist"):
        detect(tmp_path / "nowhere")
