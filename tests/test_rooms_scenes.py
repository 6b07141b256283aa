"""Rooms on disk, and the command that writes them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.main import BAD_INPUT, OK, main
from render.errors import InputError
from render.scene import Scene
from training.rooms.cameras import room_cameras
from training.rooms.layout import build_room
from training.rooms.reading import RoomScene, is_whole_room
from training.rooms.rendering import RoomRenderer
from training.rooms.words import CLASSES
from training.rooms.writing import PHOTO_CAMERAS, RoomFormat, write_room

FORM = RoomFormat(views=3, width=64, height=48, gaussians="none")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms") / "val-00003"
    write_room(folder, "val", 3, FORM, threads=1)
    return folder


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(written, tmp_path / "copy"))


def test_a_written_room_reads_back_as_it_was_drawn(written: Path) -> None:
    room = build_room("val", 3)
    renderer = RoomRenderer(room, threads=1)
    cameras = room_cameras(room, 3, 64, 48, PHOTO_CAMERAS)
    read = RoomScene.open(written)
    assert (read.split, read.index) == ("val", 3)
    assert read.size == pytest.approx(tuple(room.size))
    assert read.class_names == CLASSES
    assert read.things == [thing.words for thing in room.things]
    assert len(read.views) == 3
    for camera, view in zip(cameras, read.scene.views, strict=True):
        image = renderer.render(camera)
        np.testing.assert_allclose(view.camera.world_to_camera, camera.world_to_camera, atol=1e-5)
        np.testing.assert_allclose(view.camera.K, camera.K, rtol=1e-5)
        np.testing.assert_array_equal(view.image(), image.rgb)
        np.testing.assert_allclose(read.depth(view.name), image.depth, atol=5.1e-4)
        np.testing.assert_array_equal(read.classes(view.name), image.classes)
        np.testing.assert_array_equal(read.instances(view.name), image.instances)
        assert ((read.normals(view.name) * image.normals).sum(-1) > 0.9999).all()


def test_words_queries_and_visibility_belong_to_the_maps(written: Path) -> None:
    read = RoomScene.open(written)
    counts = sum(np.bincount(read.instances(v).ravel() + 1, minlength=len(read.things) + 1)[1:] for v in read.views)
    assert read.visible == {i: n for i, n in enumerate(np.asarray(counts).tolist()) if n}
    assert len(read.captions) == len(read.things)
    assert read.queries
    for query in read.queries:
        assert query.instances
        assert all(0 <= i < len(read.things) for i in query.instances)
    classes, instances = read.classes(read.views[0]), read.instances(read.views[0])
    named = np.array([CLASSES.index(words.category) for words in read.things])
    np.testing.assert_array_equal(classes, named[instances])


def test_a_room_is_a_scene_without_gaussians(written: Path) -> None:
    scene = Scene.open(written)
    problems = scene.check()
    assert len(problems) == 1
    assert "ns-train fit3d-small" in problems[0]
    points = scene.points()
    assert points is not None
    assert len(points) >= 1000
    size = RoomScene.open(written).size
    assert ((points.positions.numpy() > -0.05) & (points.positions.numpy() < np.array(size) + 0.05)).all()


def test_writing_twice_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_room(tmp_path / "again", "val", 3, FORM, threads=2)
    for file in sorted(path for path in written.rglob("*") if path.is_file()):
        assert (tmp_path / "again" / file.relative_to(written)).read_bytes() == file.read_bytes(), file.name


def test_splits_and_numbers_give_different_rooms(written: Path, tmp_path: Path) -> None:
    write_room(tmp_path / "test", "test", 3, FORM, threads=1)
    first, other = (json.loads((p / "room.json").read_text()) for p in (written, tmp_path / "test"))
    assert first["size"] != other["size"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "room.json").unlink(), "not a room"),
        (lambda p: (p / "room.json").write_text("{"), "damaged"),
        (lambda p: (p / "room.json").write_text('{"version": 99}'), "version"),
        (lambda p: (p / "room.json").write_text('{"version": 1, "things": []}'), "damaged"),
        (lambda p: (p / "transforms.json").unlink(), "transforms.json"),
    ],
)
def test_a_damaged_description_is_one_sentence(copy: Path, damage: object, message: str) -> None:
    damage(copy)  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        RoomScene.open(copy)
    assert not is_whole_room(copy, FORM)


def test_a_damaged_map_is_one_sentence(copy: Path) -> None:
    room = RoomScene.open(copy)
    name = room.views[1]
    cv2.imwrite(str(copy / "depth" / f"{name}.png"), np.zeros((48, 60), np.uint16))
    with pytest.raises(InputError, match="64x48"):
        room.depth(name)
    (copy / "classes" / f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="found no picture"):
        room.classes(name)
    (copy / "instances" / f"{name}.png").unlink()
    with pytest.raises(InputError, match="lacks the map"):
        room.instances(name)
    with pytest.raises(InputError, match="no view"):
        room.normals("nowhere")
    with pytest.raises(InputError, match="not sampled"):
        room.gaussian_instances()


def test_what_is_whole_depends_on_what_is_asked_for(written: Path, copy: Path) -> None:
    assert is_whole_room(written, FORM)
    for other in (
        RoomFormat(4, 64, 48, "none"),
        RoomFormat(3, 48, 48, "none"),
        RoomFormat(3, 64, 48, "sampled"),
    ):
        assert not is_whole_room(written, other)
    (copy / "normals" / "view_002.png").unlink()
    assert not is_whole_room(copy, FORM)


def test_the_command_writes_rooms_and_keeps_whole_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["rooms", str(tmp_path / "out"), "--split", "val", "--first", "3", "--views", "2", "--width", "32"]
    arguments += ["--height", "32", "--gaussians", "none"]
    assert main([*arguments, "--scenes", "1"]) == OK
    file = tmp_path / "out" / "val-00003" / "room.json"
    before = file.stat().st_mtime_ns
    assert main([*arguments, "--scenes", "2", "--processes", "2"]) == OK
    assert re.search(r"1 val rooms in .*, 1 kept", capsys.readouterr().out)
    assert file.stat().st_mtime_ns == before
    assert RoomScene.open(tmp_path / "out" / "val-00004").index == 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["val-00003", "val-00004"]


def test_the_command_does_not_replace_a_scene_that_is_another(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    shutil.copytree(written, tmp_path / "val-00003")
    arguments = ["rooms", str(tmp_path), "--split", "val", "--first", "3", "--scenes", "1", "--views", "2"]
    arguments += ["--width", "32", "--height", "32", "--gaussians", "none"]
    assert main(arguments) == BAD_INPUT
    assert "--overwrite" in capsys.readouterr().err
    assert len(RoomScene.open(tmp_path / "val-00003").views) == 3
    assert main([*arguments, "--overwrite"]) == OK
    assert len(RoomScene.open(tmp_path / "val-00003").views) == 2


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--scenes", "0"], "--scenes"),
        (["--first", "-1"], "--first"),
        (["--views", "0"], "at least one view"),
        (["--width", "4"], "16 pixels"),
        (["--count", "3"], "500 Gaussians"),
        (["--processes", "0"], "--processes"),
        (["--picture", "sheet.jpg"], "either a folder"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(
    extra: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rooms", str(tmp_path / "out"), *extra]) == BAD_INPUT
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_picture_shows_one_tile_for_each_room(tmp_path: Path) -> None:
    from PIL import Image

    file = tmp_path / "sheet.png"
    assert main(["rooms", "--picture", str(file), "--split", "val", "--scenes", "2", "--processes", "1"]) == OK
    picture = np.asarray(Image.open(file))
    assert picture.shape == (240, 644, 3)
    assert (picture[:, 320:324] == 255).all()
    assert (picture[:, :320] != picture[:, 324:]).any()
    assert main(["rooms", "--picture", str(file), "--split", "val", "--scenes", "2"]) == BAD_INPUT


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train, val, test"):
        write_room(tmp_path / "room", "validation", 0, FORM)
