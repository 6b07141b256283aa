"""The demo scene and what ``fit3d demo`` makes of it."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.main import BAD_INPUT, OK, main
from app.pictures import psnr, render_rgb
from render.errors import InputError
from tests.room import contents
from training.rooms import demo
from training.rooms.demo import (
    DemoRoom,
    Exhibit,
    KnownTexts,
    Plan,
    bundled_demo_room,
    make_demo_room,
    open_demo_room,
)
from training.rooms.writing import RoomFormat
from uplift.encoders import load_encoder
from uplift.encoders.tiny_clip import TinyClipEncoder, make_tiny_clip
from uplift.field import FeatureField, write_safetensors
from uplift.prompts import read_scribbles
from uplift.reduction import Reduced

SMALL = RoomFormat(views=3, width=96, height=72, count=3000)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo scene, with features that need no weights for what things are."""
    folder = tmp_path_factory.mktemp("demo") / "room"
    make_demo_room(folder, *_encoders(), _plan(), threads=1)
    return folder


def _encoders() -> tuple[Reduced, TinyClipEncoder]:
    return Reduced(load_encoder("dense-descriptors"), 6), make_tiny_clip(None, torch.device("cpu"), heights=(64,))


def _plan() -> Plan:
    return Plan(0, Exhibit("view_000", 1, "view_001", "view_002", (("cabinet", "view_000"),)), SMALL)


def test_a_demo_scene_holds_what_it_shows(small: Path) -> None:
    made = DemoRoom.open(small)
    assert made.exhibit == _plan().exhibit
    assert (made.name, made.structure, made.text) == ("floor", "dense-descriptors", "tiny-clip")
    scene = made.scene
    assert scene.check() == []
    assert [view.path.suffix for view in scene.views if view.path] == [".jpg"] * 3
    assert set(scene.fields) == {"dense-descriptors", "tiny-clip"}
    field = FeatureField.load(scene.fields["dense-descriptors"], n=len(scene.gaussians))
    assert field.dimension == 6
    field.load_encoder()
    prompt = read_scribbles(made.scribbles, scene.view("view_001"))
    floor = made.room.instances("view_001") == 1
    assert prompt.positive.any()
    assert not (prompt.positive & ~floor).any()
    assert not (prompt.negative & floor).any()
    assert made.room.gaussian_instances().shape == (len(scene.gaussians),)
    assert {query.text for query in made.room.queries} >= {"cabinet"}
    for view in scene.views:
        assert made.room.classes(view.name).shape == (72, 96)
        assert psnr(render_rgb(scene.gaussians, view.camera), view.image()) > 20
    with pytest.raises(InputError, match="lacks the map depth"):
        made.room.depth("view_000")


def test_its_texts_are_searched_as_the_encoder_would(small: Path) -> None:
    texts = DemoRoom.open(small).texts
    asked = ["cabinet", "object"]
    torch.testing.assert_close(texts.encode_text(asked), _encoders()[1].encode_text(asked))
    with pytest.raises(InputError, match="a pink elephant"):
        texts.encode_text(["a pink elephant"])


def test_its_gaussians_have_no_normals_and_are_edited_like_others(small: Path, tmp_path: Path) -> None:
    gaussians = DemoRoom.open(small).scene.gaussians
    assert gaussians.sh.shape[1] == 1
    assert b"property float nx" not in (small / "gaussians.ply").read_bytes()[:1000]
    half = torch.arange(len(gaussians)) % 2 == 0
    gaussians[half].save(tmp_path / "half.ply")
    again = type(gaussians).load(tmp_path / "half.ply")
    assert torch.equal(again.means, gaussians.means[half])
    assert b"property float nx" not in (tmp_path / "half.ply").read_bytes()[:1000]


def test_what_the_room_does_not_have_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Path
) -> None:
    # The room itself was made before.
    monkeypatch.setattr(demo, "write_room", lambda folder, *_, **__: _as_written(small, folder))
    monkeypatch.setattr(demo, "_compressed", lambda view, _: view.path)
    plan = _plan()
    for changed, words in (
        (replace(plan.exhibit, photo="view_009"), "view_009"),
        (replace(plan.exhibit, thing=99), "99"),
        (replace(plan.exhibit, texts=(("a pink elephant", "view_000"),)), "a pink elephant"),
    ):
        with pytest.raises(InputError, match=words):
            make_demo_room(tmp_path / "room", *_encoders(), replace(plan, exhibit=changed))
    monkeypatch.setattr(demo, "LIMIT", 10_000)
    with pytest.raises(InputError, match="at most 0 MB"):
        make_demo_room(tmp_path / "room", *_encoders(), plan)
    assert list(tmp_path.iterdir()) == []


def test_the_copy_in_the_cache_is_used_again_and_mended(small: Path, tmp_path: Path) -> None:
    before = contents(small)
    path = open_demo_room(small, tmp_path).room.path
    assert path.parent == tmp_path
    assert contents(path) == before
    stamp = (path / "gaussians.ply").stat().st_mtime_ns
    (path / "selections").mkdir()
    (path / "selections" / "mine.npz").write_bytes(b"mine")
    assert open_demo_room(small, tmp_path).room.path == path
    assert (path / "gaussians.ply").stat().st_mtime_ns == stamp
    (path / "gaussians.ply").write_bytes((path / "gaussians.ply").read_bytes()[:-9])
    (path / "images" / "view_000.jpg").unlink()
    (path / "fields" / "tiny-clip.safetensors").write_bytes(b"no field")
    open_demo_room(small, tmp_path)
    assert {k: v for k, v in contents(path).items() if k != "selections/mine.npz"} == before
    assert (path / "selections" / "mine.npz").read_bytes() == b"mine"
    assert contents(small) == before


def test_a_damaged_description_is_one_sentence(small: Path, tmp_path: Path) -> None:
    path = open_demo_room(small, tmp_path).room.path
    content = json.loads((path / "demo.json").read_text())
    del content["exhibit"]["photo"]
    for text in ("{", json.dumps(content)):
        (path / "demo.json").write_text(text)
        with pytest.raises(InputError, match="fit3d demo --make"):
            DemoRoom.open(path)


def test_the_bundled_scene_is_the_one_that_is_planned_and_small_enough() -> None:
    bundled = bundled_demo_room()
    assert sum(file.stat().st_size for file in bundled.rglob("*") if file.is_file()) <= 15_000_000
    made = DemoRoom.open(bundled)
    assert made.exhibit == demo.PLAN.exhibit
    assert (made.room.split, made.room.index) == ("test", demo.PLAN.index)
    assert len(made.scene.views) == 24
    assert {view.photo_size for view in made.scene.views} == {(480, 360)}
    assert 55_000 <= len(made.scene.gaussians) <= 62_000
    assert len(made.exhibit.texts) == 3


def test_the_bundled_fields_were_made_by_the_bundled_encoders() -> None:
    made = DemoRoom.open(bundled_demo_room())
    assert set(made.scene.fields) == {"tiny-clip", "tiny-dino"}
    for name, path in made.scene.fields.items():
        field = FeatureField.load(path, n=len(made.scene.gaussians))
        assert field.load_encoder().name == name, "make assets/demo_room again whenever the weights change"
        assert float((field.weights > 0).float().mean()) > 0.85
    texts = list(made.texts.texts)
    expected = make_tiny_clip(None, torch.device("cpu")).encode_text(texts)
    torch.testing.assert_close(made.texts.encode_text(texts), expected, atol=1e-3, rtol=0)


def test_demo_writes_a_sheet_of_pictures_and_says_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    packaged = contents(bundled_demo_room())
    out = tmp_path / "sheet.png"
    assert main(["demo", "--out", str(out), "--device", "cpu"]) == OK
    printed = capfd.readouterr().out
    assert f"wrote {out}" in printed
    for words in ("scene opened: ", "selected from a scribble: ", "removed: ", "texts found: ", "next, try", " s"):
        assert words in printed
    sheet = np.asarray(Image.open(out))
    assert sheet.shape[2] == 3
    cells = [cell for row in np.array_split(sheet, 3) for cell in np.array_split(row, 3, axis=1)]
    assert all(cell.std() > 20 for cell in cells)
    (path,) = (tmp_path / "cache" / "fit3d").glob("demo-room-*")
    made = DemoRoom.open(path)
    assert list(made.scene.selections) == [f"demo-{made.name}"]
    assert contents(bundled_demo_room()) == packaged
    before = contents(path)
    assert main(["demo", "--out", str(tmp_path / "again.jpg"), "--device", "cpu"]) == OK
    assert contents(path) == before
    commands = [shlex.split(line) for line in printed.splitlines() if line.startswith("  uv run fit3d ")]
    assert len(commands) == 5
    monkeypatch.chdir(tmp_path)
    assert [main(command[3:]) for command in commands] == [OK] * 5


def test_a_picture_that_exists_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sheet.png").write_bytes(b"precious")
    assert main(["demo", "--out", str(tmp_path / "sheet.png")]) == BAD_INPUT
    assert "--overwrite" in capsys.readouterr().err
    assert main(["demo", "--make", str(tmp_path)]) == BAD_INPUT
    assert "--overwrite" in capsys.readouterr().err


def _as_written(made: Path, folder: Path) -> None:
    """A demo scene in the place of the room that it was made of."""
    shutil.copytree(made, folder)


def test_texts_that_are_damaged_or_unknown_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "texts.safetensors"
    for tensors, header in (
        ({"embeddings": torch.zeros(2, 4)}, {}),
        ({"embeddings": torch.zeros(2, 4)}, {"texts": ["one"]}),
        ({"others": torch.zeros(2, 4)}, {"texts": ["one", "two"]}),
    ):
        write_safetensors(path, tensors, header)
        with pytest.raises(InputError, match="does not hold the embeddings"):
            KnownTexts(path)
    with pytest.raises(InputError, match="found locomotive"):
        KnownTexts(bundled_demo_room() / "texts.safetensors").encode_text(["locomotive"])
