"""Stills and videos are read back; camera paths are smooth."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from app.explorer import taking
from app.explorer.camera_path import MOST_FRAMES, MOST_VIEWPOINTS, camera_path
from app.explorer.frames import Interrupted, frame
from app.explorer.looks import Look
from app.explorer.taking import still, video, video_codec
from app.exports import write_masks
from app.pictures import psnr
from render.camera import Camera
from render.errors import InputError
from tests.explored import FIELD, HEIGHT, VIEWS, WIDTH, camera, of, select, session

RED = (255, 0, 0)


def viewpoints() -> list[Camera]:
    return [camera(view=index) for index in range(VIEWS)]


def test_a_still_is_the_frame_at_its_size(tmp_path: Path) -> None:
    shown, look = session(), Look("pca", field=FIELD)
    select(shown, ("chair", RED))
    large = camera().resized(3 * WIDTH, 3 * HEIGHT)
    written = still(shown, look, large, tmp_path / "new" / "still.png")
    assert np.array_equal(np.asarray(Image.open(written)), frame(shown, look, large))


def test_a_large_still_is_drawn_in_bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, large = session(), camera().resized(4 * WIDTH, 4 * HEIGHT)
    heights: list[int] = []
    import app.explorer.frames as frames

    original = frames.rasterize

    def noting(gaussians: object, view: Camera, *rest: object) -> object:
        heights.append(view.height)
        return original(gaussians, view, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(frames, "rasterize", noting)
    monkeypatch.setattr(frames, "BAND_PIXELS", large.width * 100)
    told: list[tuple[int, int, str]] = []
    written = still(shown, Look(), large, tmp_path / "still.png", progress=lambda *one: told.append(one))
    assert told == [(row, large.height, "drawing") for row in (0, 100, 200, 300)]
    assert len(heights) == 4
    assert max(heights) < large.height / 2
    monkeypatch.undo()
    assert psnr(np.asarray(Image.open(written)), frame(shown, Look(), large)) > 45


def test_stills_that_cannot_be_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    shown = session()
    with pytest.raises(InputError, match=r"\.png or \.jpg"):
        still(shown, Look(), camera(), tmp_path / "still.bmp")
    with pytest.raises(InputError, match="found 20000x20000"):
        still(shown, Look(), camera().resized(20000, 20000), tmp_path / "still.png")
    with pytest.raises(Interrupted):
        still(shown, Look(), camera(), tmp_path / "still.png", lambda: True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 300), (8192, 1), (8192, 17), (7, 8192)])
def test_a_still_has_any_shape(tmp_path: Path, width: int, height: int) -> None:
    written = still(session(), Look(), camera().resized(width, height), tmp_path / "still.png")
    assert Image.open(written).size == (width, height)


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_picture_and_the_masks_that_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, path, folder = session(), tmp_path / "still.png", tmp_path / "masks"
    select(shown, ("chair", RED))
    selection = shown.document.selections["chair"].selection
    path.write_bytes(b"before")
    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        still(shown, Look(), camera(), path)
    with pytest.raises(OSError, match="No space left"):
        write_masks(folder, shown.scene.views, shown.gaussians, selection)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_masks_are_never_written_over_a_folder_that_is_there(tmp_path: Path) -> None:
    shown, folder = session(), tmp_path / "masks"
    select(shown, ("chair", RED))
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not overwritten"):
        write_masks(folder, shown.scene.views, shown.gaussians, shown.document.selections["chair"].selection)
    assert [one.name for one in folder.iterdir()] == ["mine.txt"]


def test_a_video_plays_every_frame_in_order(tmp_path: Path) -> None:
    shown, look = session(), Look("pca", field=FIELD)
    cameras = camera_path([one.resized(161, 121) for one in viewpoints()], seconds=1, fps=12)
    told: list[tuple[int, int, str]] = []
    written = video(shown, look, cameras, tmp_path / "way.mp4", 12, progress=lambda *one: told.append(one))
    with av.open(str(written)) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate or 0) == 12
        assert stream.codec_context.pix_fmt == "yuv420p"
        pictures = [picture.to_ndarray(format="rgb24") for picture in container.decode(stream)]
    assert len(pictures) == len(cameras) == 12
    for view, picture in zip(cameras, pictures, strict=True):
        # Odd rows and columns are left out.
        assert picture.shape == (120, 160, 3)
        assert psnr(picture, frame(shown, look, view)[:120, :160]) > 24
    firsts = [psnr(picture, frame(shown, look, cameras[0])[:120, :160]) for picture in pictures]
    assert np.argmax(firsts) == 0
    assert told[0] == (0, 12, "video")
    assert told[-1] == (12, 12, "video")


def test_a_video_begins_with_its_index_and_is_h264(tmp_path: Path) -> None:
    if video_codec() not in ("libx264", "libopenh264"):
        pytest.skip(f"PyAV encodes {video_codec()} here")
    written = video(session(), Look(), viewpoints(), tmp_path / "way.mp4")
    content = written.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(written)) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def pictures_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]


def test_what_is_edited_while_a_video_is_made_does_not_appear_in_it(tmp_path: Path) -> None:
    shown, look = session(), Look()
    select(shown, ("chair", RED))
    before = frame(shown, look, camera())

    def editing(done: int, _total: int, _what: str) -> None:
        if done == 2:
            select(shown, ("vase", (0, 0, 255)))
            shown.show(replace(shown.document, hidden=~of("vase")))

    written = video(shown, look, [camera()] * 6, tmp_path / "way.mp4", progress=editing)
    pictures = pictures_of(written)
    assert psnr(frame(shown, look, camera()), before) < 20
    assert [psnr(picture, before) > 24 for picture in pictures] == [True] * 6


def test_a_video_and_a_still_show_the_document_that_was_given(tmp_path: Path) -> None:
    shown, look = session(), Look()
    select(shown, ("chair", RED))
    given, before = shown.document, frame(shown, look, camera())
    shown.show(replace(given, removed=of("chair")))
    written = still(shown, look, camera(), tmp_path / "still.png", document=given)
    assert np.array_equal(np.asarray(Image.open(written)), before)
    (picture,) = pictures_of(video(shown, look, [camera()], tmp_path / "way.mp4", document=given))
    assert psnr(picture, before) > 24


def test_a_cancelled_video_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "way.mp4"
    path.write_bytes(b"before")

    def cancel(done: int, _total: int, _what: str) -> None:
        if done == 2:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        video(session(), Look(), viewpoints(), path, progress=cancel)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_videos_that_cannot_be_are_refused(tmp_path: Path) -> None:
    shown = session()
    for cameras, name, fps, said in (
        (viewpoints(), "way.avi", 30.0, "ends in .mp4"),
        ([], "way.mp4", 30.0, "found no frames"),
        ([camera(), camera().resized(64, 48)], "way.mp4", 30.0, "found 64x48, 120x90"),
        (viewpoints(), "way.mp4", 0.0, "found 0"),
        ([camera()] * (MOST_FRAMES + 1), "way.mp4", 30.0, "at most 10000 frames, found 10001"),
    ):
        with pytest.raises(InputError, match=said):
            video(shown, Look(), cameras, tmp_path / name, fps)
    assert list(tmp_path.iterdir()) == []


def test_without_an_encoder_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "CODECS", ("no-such-codec",))
    with pytest.raises(InputError, match=r"can encode none of no-such-codec; install"):
        video(session(), Look(), viewpoints(), tmp_path / "way.mp4")
    assert list(tmp_path.iterdir()) == []


def test_any_encoder_that_is_there_writes_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "CODECS", ("mpeg4",))
    written = video(session(), Look(), viewpoints(), tmp_path / "way.mp4")
    with av.open(str(written)) as container:
        assert sum(1 for _ in container.decode(video=0)) == VIEWS


def test_a_path_passes_its_viewpoints_and_moves_smoothly() -> None:
    given = viewpoints()
    path = camera_path(given, seconds=10, fps=30)
    assert len(path) == 300
    centres = torch.stack([one.centre for one in path])
    for one in given:
        nearest = path[int((centres - one.centre).norm(dim=1).argmin())]
        assert (nearest.centre - one.centre).norm() < 0.05
        assert float((nearest.world_to_camera[2, :3] * one.world_to_camera[2, :3]).sum()) > 0.99
    torch.testing.assert_close(path[0].world_to_camera, given[0].world_to_camera, atol=1e-5, rtol=0)
    torch.testing.assert_close(path[-1].world_to_camera, given[-1].world_to_camera, atol=1e-5, rtol=0)
    torch.testing.assert_close(path[0].K, given[0].K, atol=1e-3, rtol=0)
    steps = centres.diff(dim=0).norm(dim=1)
    # From rest to rest, and never in jumps.
    assert steps[0] < 0.2 * steps.mean()
    assert steps[-1] < 0.2 * steps.mean()
    assert steps.max() < 4 * steps.mean()
    assert steps.diff().abs().max() < 0.5 * steps.mean()
    turned = torch.stack([one.world_to_camera[:3, :3] for one in path])
    torch.testing.assert_close(turned @ turned.mT, torch.eye(3).expand(300, 3, 3), atol=1e-5, rtol=0)


def test_a_path_between_two_ways_of_looking_from_one_place_turns_only() -> None:
    first = camera()
    turn = torch.eye(4)
    turn[:3, :3] = torch.tensor([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])
    path = camera_path([first, replace(first, world_to_camera=turn @ first.world_to_camera)], seconds=1, fps=10)
    centres = torch.stack([one.centre for one in path])
    assert (centres - first.centre).norm(dim=1).max() < 1e-4
    angles = [float((one.world_to_camera[2, :3] * first.world_to_camera[2, :3]).sum()) for one in path]
    assert angles == sorted(angles, reverse=True)
    assert angles[-1] == pytest.approx(0, abs=1e-4)


def test_a_path_zooms_between_focal_lengths_at_the_size_of_the_first() -> None:
    first = camera()
    tele = camera(2 * WIDTH, 2 * HEIGHT)
    tele = replace(tele, K=tele.K * tele.K.new_tensor([[2.0, 1, 1], [1, 2.0, 1], [1, 1, 1]]))
    path = camera_path([first, tele], seconds=1, fps=10)
    assert {(one.width, one.height) for one in path} == {(WIDTH, HEIGHT)}
    focals = [float(one.K[0, 0]) for one in path]
    assert focals == sorted(focals)
    assert focals[-1] == pytest.approx(2 * focals[0], rel=1e-4)


def test_paths_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="at least two viewpoints, found 1"):
        camera_path(viewpoints()[:1], seconds=1)
    with pytest.raises(InputError, match="at most 100 viewpoints, found 101"):
        camera_path([camera()] * (MOST_VIEWPOINTS + 1), seconds=1)
    for seconds in (0.0, -1.0, float("inf"), float("nan"), 1e9):
        with pytest.raises(InputError, match="1 to 10000 frames"):
            camera_path(viewpoints(), seconds=seconds)
