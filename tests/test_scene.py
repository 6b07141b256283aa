"""Scenes on disk: opened lazily, checked, written all or nothing."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from render.errors import InputError
from render.gaussians import Gaussians
from render.ply import Points
from render.readers import read_capture
from render.scene import Scene, write_scene


def some_gaussians(n: int = 4) -> Gaussians:
    return Gaussians(torch.randn(n, 3), torch.randn(n, 4), torch.rand(n, 3) + 0.1, torch.rand(n), torch.randn(n, 4, 3))


def some_transforms(n: int = 3, **changes: Any) -> dict[str, Any]:
    frames = []
    for i in range(n):
        pose = np.eye(4)
        pose[0, 3] = i / 7
        frames.append({"file_path": f"images/{i:03d}.png", "transform_matrix": pose.tolist()})
    return {"fl_x": 30.0, "w": 24, "h": 18, "k1": 0.05, "frames": frames, **changes}


def some_photos(n: int = 3) -> list[Path | np.ndarray]:
    return [np.full((18, 24, 3), 50 * i % 256, np.uint8) for i in range(n)]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scene"
    points = Points(torch.randn(6, 3), torch.zeros(6, 3, dtype=torch.uint8))
    write_scene(path, some_gaussians(), some_transforms(), some_photos(), points=points)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_was_written_is_there_when_opened(scene: Path) -> None:
    opened = Scene.open(scene)
    assert [view.name for view in opened.views] == ["000", "001", "002"]
    assert opened.view("002").image()[9, 12].tolist() == [100, 100, 100]
    assert len(opened.gaussians) == 4
    assert opened.gaussians is opened.gaussians
    points = opened.points()
    assert points is not None
    assert len(points) == 6
    assert opened.check() == []
    opened.require_photos()
    assert sorted(p.name for p in scene.iterdir()) == ["gaussians.ply", "images", "sparse_pc.ply", "transforms.json"]


def test_poses_are_written_to_the_last_bit(tmp_path: Path) -> None:
    content = some_transforms()
    content["frames"][1]["transform_matrix"][0][3] = 0.1 + 0.2
    write_scene(tmp_path / "s", some_gaussians(), content, some_photos())
    assert Scene.open(tmp_path / "s").capture.transforms["frames"] == content["frames"]


def test_a_written_capture_opens_as_the_same_views(shared: Path, tmp_path: Path) -> None:
    source = read_capture(shared / "data" / "kermit")
    assert source.points is not None
    write_scene(tmp_path / "s", None, source.transforms, source.photos, points=source.points())
    copied = Scene.open(tmp_path / "s")
    for a, b in zip(source.views, copied.views, strict=True):
        assert a.name == b.name
        assert torch.equal(a.camera.world_to_camera, b.camera.world_to_camera)
        assert torch.equal(a.camera.K, b.camera.K)
    np.testing.assert_array_equal(source.views[3].image(), copied.views[3].image())
    assert copied.points() is not None
    assert source.photos[0].read_bytes() == (tmp_path / "s" / "images" / "kermit000.jpg").read_bytes()


def test_masks_and_depths_go_along_or_are_not_named(shared: Path, tmp_path: Path) -> None:
    source = read_capture(shared / "data" / "rgbd_kitchen")
    frames = {**source.transforms, "frames": source.transforms["frames"][:2]}
    write_scene(tmp_path / "without", None, frames, source.photos[:2])
    assert "depth_file_path" not in Scene.open(tmp_path / "without").capture.transforms["frames"][0]
    name = frames["frames"][0]["depth_file_path"]
    write_scene(tmp_path / "with", None, frames, source.photos[:2], attachments={name: source.attachments[name]})
    written = Scene.open(tmp_path / "with").capture
    assert written.transforms["frames"][0]["depth_file_path"] == name
    assert "depth_file_path" not in written.transforms["frames"][1]
    assert (tmp_path / "with" / name).read_bytes() == source.attachments[name].read_bytes()


def test_a_ply_is_copied_byte_for_byte(tmp_path: Path) -> None:
    some_gaussians().save(tmp_path / "a.ply")
    write_scene(tmp_path / "s", tmp_path / "a.ply", some_transforms(), some_photos())
    assert (tmp_path / "s" / "gaussians.ply").read_bytes() == (tmp_path / "a.ply").read_bytes()
    (tmp_path / "b.ply").write_text("ply")
    with pytest.raises(InputError, match=r"b.ply"):
        write_scene(tmp_path / "t", tmp_path / "b.ply", some_transforms(), some_photos())
    assert not (tmp_path / "t").exists()


def test_photos_of_other_folders_get_names_of_their_own(tmp_path: Path) -> None:
    files: list[Path | np.ndarray] = []
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        Image.new("RGB", (24, 18)).save(tmp_path / side / "1.jpg")
        files.append(tmp_path / side / "1.jpg")
    content = some_transforms(2)
    for frame, file in zip(content["frames"], files, strict=True):
        frame["file_path"] = str(file)
    content["train_filenames"] = [str(files[0])]
    write_scene(tmp_path / "s", None, content, files)
    written = Scene.open(tmp_path / "s")
    assert [view.name for view in written.views] == ["left-1", "right-1"]
    assert written.check() != []
    assert written.capture.transforms["train_filenames"] == ["images/left-1.jpg"]


def test_intrinsics_that_all_frames_share_are_stated_once(tmp_path: Path) -> None:
    content = some_transforms(3)
    for i, frame in enumerate(content["frames"]):
        frame.update(fl_x=31.0, cx=12.0 + i, k1=0.0, k2=0.1 * i, camera_model="OPENCV")
    write_scene(tmp_path / "s", None, content, some_photos())
    written = Scene.open(tmp_path / "s").capture.transforms
    assert written["fl_x"] == 31.0
    assert written["camera_model"] == "OPENCV"
    assert [frame["cx"] for frame in written["frames"]] == [12.0, 13.0, 14.0]
    # Coefficients that differ stay together in their frames.
    assert written["frames"][0]["k1"] == 0.0


def test_missing_photos_are_named_and_counted(tmp_path: Path) -> None:
    write_scene(tmp_path / "s", some_gaussians(), some_transforms(9), some_photos(9))
    for i in range(7):
        (tmp_path / "s" / "images" / f"{i:03d}.png").unlink()
    opened = Scene.open(tmp_path / "s")
    with pytest.raises(InputError, match=r"7 of 9 photos .* images/000.png, .*004.png, ... \(7 in all\)"):
        opened.require_photos()
    assert len(opened.check()) == 1
    opened.require_photos(opened.views[7:])
    with pytest.raises(InputError, match=r"000.png is missing"):
        opened.view("000").image()


def test_photos_of_another_size_are_named(scene: Path) -> None:
    Image.new("RGB", (30, 18)).save(scene / "images" / "001.png")
    assert "001 (30x18)" in Scene.open(scene).check()[0]


def test_a_capture_without_gaussians_says_how_to_make_them(tmp_path: Path) -> None:
    write_scene(tmp_path / "s", None, some_transforms(), some_photos())
    opened = Scene.open(tmp_path / "s")
    with pytest.raises(InputError, match=r"no Gaussians yet.*ns-train fit3d-small --data"):
        _ = opened.gaussians
    assert "no Gaussians yet" in opened.check()[0]
    some_gaussians(7).save(tmp_path / "other.ply")
    assert len(Scene.open(tmp_path / "s", gaussians=tmp_path / "other.ply").gaussians) == 7


def test_what_is_no_scene_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing"):
        Scene.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"Expected a transforms.json"):
        Scene.open(tmp_path)
    write_scene(tmp_path / "s", None, some_transforms(), some_photos())
    with pytest.raises(InputError, match=r"no view '7'.*000, 001, 002"):
        Scene.open(tmp_path / "s").view("7")


def test_a_scene_does_not_reach_outside_its_folder(scene: Path) -> None:
    content = json.loads((scene / "transforms.json").read_text())
    content["frames"][0]["file_path"] = "/etc/hostname"
    (scene / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="outside its folder: /etc/hostname"):
        Scene.open(scene)


def test_fields_and_selections_are_listed_as_they_come_and_go(scene: Path) -> None:
    opened = Scene.open(scene)
    assert opened.fields == {}
    for name in ("fields/rgb.safetensors", "fields/.half.safetensors", "selections/cup.npz", "selections/notes.txt"):
        (scene / name).parent.mkdir(exist_ok=True)
        (scene / name).write_text("")
    assert opened.fields == {"rgb": scene / "fields" / "rgb.safetensors"}
    assert opened.selections == {"cup": scene / "selections" / "cup.npz"}
    assert opened.field_path("rgb") == opened.fields["rgb"]
    for name in ("../rgb", "", ".rgb", "a/b"):
        with pytest.raises(InputError, match="Expected a name"):
            opened.selection_path(name)


def test_a_scene_is_not_overwritten_unless_asked(scene: Path) -> None:
    before = tree(scene)
    with pytest.raises(InputError, match="--overwrite"):
        write_scene(scene, None, some_transforms(1), some_photos(1))
    assert tree(scene) == before
    write_scene(scene, None, some_transforms(1), some_photos(1), overwrite=True)
    assert sorted(tree(scene)) == ["images/000.png", "transforms.json"]


def test_a_folder_that_is_no_scene_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="not a scene folder"):
        write_scene(tmp_path / "home", None, some_transforms(), some_photos(), overwrite=True)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years"


def test_a_scene_is_not_written_over_what_it_is_made_of(scene: Path) -> None:
    before = tree(scene)
    source = read_capture(scene)
    with pytest.raises(InputError, match="choose another folder"):
        write_scene(scene, None, source.transforms, source.photos, overwrite=True)
    assert tree(scene) == before


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_stops_half_way_leaves_the_old_scene(
    scene: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before = tree(scene)
    images = [scene.parent / f"{i}.png" for i in range(3)]
    for image in images:
        shutil.copy(scene / "images" / "000.png", image)
    copy = shutil.copyfile
    copied: list[Path] = []

    def fill_up(source: Path, target: Path) -> Path:
        copied.append(target)
        if len(copied) == 2:
            target.write_bytes(b"half")
            raise error
        return Path(copy(source, target))

    monkeypatch.setattr("render.scene.shutil.copyfile", fill_up)
    with pytest.raises(type(error)):
        write_scene(scene, some_gaussians(), some_transforms(), images, overwrite=True)
    assert tree(scene) == before
    assert not [p.name for p in scene.parent.iterdir() if p.name.startswith(".")]


def test_missing_sources_are_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"3 of 3 photos and files to copy are missing: gone0.jpg"):
        write_scene(tmp_path / "s", None, some_transforms(), [Path(f"gone{i}.jpg") for i in range(3)])
    with pytest.raises(InputError, match="one photo per frame"):
        write_scene(tmp_path / "s", None, some_transforms(), some_photos(2))
    content = some_transforms()
    content["frames"][2]["transform_matrix"][1][3] = float("nan")
    with pytest.raises(InputError, match=r"images/002.png contain NaN"):
        write_scene(tmp_path / "s", None, content, some_photos())
    assert list(tmp_path.iterdir()) == []


def test_writing_reports_progress_and_can_add_files(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def finish(folder: Path) -> None:
        (folder / "fields").mkdir()
        (folder / "fields" / "learned.safetensors").write_text("")

    write_scene(
        tmp_path / "s",
        None,
        some_transforms(),
        some_photos(),
        finish=finish,
        progress=lambda done, total, what: told.append((done, total)),
    )
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert list(Scene.open(tmp_path / "s").fields) == ["learned"]


def test_two_threads_get_the_same_gaussians(scene: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    opened = Scene.open(scene)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: id(opened.gaussians), range(8)))
    assert len(set(found)) == 1
