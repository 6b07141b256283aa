"""The command line: what good input gives, and what bad input gets."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from app.console import READER_LEFT
from app.main import BAD_INPUT, FAILURE, INTERRUPTED, OK, _one_sentence, main, parse
from render.gaussians import Gaussians
from render.scene import Scene
from tests.room import HEIGHT, VIEWS, WIDTH, contents, tiny_scene
from uplift.field import FeatureField

ROOT = Path(__file__).resolve().parents[1]


class Result(NamedTuple):
    code: int
    out: str
    err: str


Fit3d = Callable[..., Result]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return tiny_scene(tmp_path)


@pytest.fixture
def fit3d(capfd: pytest.CaptureFixture[str]) -> Fit3d:
    def run(*arguments: object) -> Result:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return run


def assert_one_sentence(result: Result, code: int, *words: str) -> None:
    assert result.code == code, result
    assert len(result.err.strip().splitlines()) == 1, result.err
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err, result.err


def edit_transforms(scene: Path, change: Callable[[dict], None]) -> None:
    file = scene / "transforms.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_lift_writes_a_field_that_belongs_to_the_scene(scene: Path, fit3d: Fit3d) -> None:
    result = fit3d("lift", scene, "--encoder", "rgb", "--refine", 1, "--name", "colours", "--device", "cpu")
    assert result.code == OK, result
    path = scene / "fields" / "colours.safetensors"
    field = FeatureField.load(path, n=len(Gaussians.load(scene / "gaussians.ply")))
    assert field.dimension == 3
    assert (field.weights > 0).float().mean() > 0.5
    for word in ("memory: about", "time: about", f"wrote {path}"):
        assert word in result.out


def test_lift_says_how_well_held_out_photos_are_rendered(scene: Path, fit3d: Fit3d) -> None:
    result = fit3d("lift", scene, "--encoder", "rgb", "--hold-out", 3)
    assert result.code == OK
    match = re.search(r"1 held-out photos: (\S+)% of the variance explained, PSNR (\S+) dB", result.out)
    assert match
    assert 10 < float(match[2]) < 40
    assert_one_sentence(fit3d("lift", scene, "--encoder", "rgb", "--name", "x", "--hold-out", 1), BAD_INPUT, "held out")


@pytest.mark.parametrize("what", ["rgb", "depth", "pca"])
def test_render_writes_one_picture_per_view(scene: Path, fit3d: Fit3d, tmp_path: Path, what: str) -> None:
    from PIL import Image

    fit3d("lift", scene, "--encoder", "rgb")
    out = tmp_path / "pictures"
    result = fit3d("render", scene, "--what", what, "--out", out)
    assert result.code == OK, result
    assert f"wrote {out}" in result.out
    names = sorted(path.name for path in out.glob("*.png"))
    assert names == [f"view_{i:02d}.png" for i in range(VIEWS)]
    picture = np.asarray(Image.open(out / names[0]))
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.std() > 5
    if what == "depth":
        depth = np.load(out / "view_00.npy")
        assert depth.shape == (HEIGHT, WIDTH)
        assert 1 < np.median(depth) < 4


def test_rendered_colours_resemble_the_photo(scene: Path, fit3d: Fit3d, tmp_path: Path) -> None:
    from PIL import Image

    from app.pictures import psnr

    fit3d("render", scene, "--out", tmp_path / "rgb", "--view", "view_01")
    assert [path.name for path in (tmp_path / "rgb").iterdir()] == ["view_01.png"]
    photo = Scene.open(scene).view("view_01").image()
    assert psnr(np.asarray(Image.open(tmp_path / "rgb" / "view_01.png")), photo) > 16


def test_info_lists_what_is_there_and_what_is_missing(scene: Path, fit3d: Fit3d) -> None:
    fit3d("lift", scene, "--encoder", "rgb")
    result = fit3d("info", scene)
    assert result.code == OK
    for word in ("view_00", f"{WIDTH}x{HEIGHT}", "field rgb", "lift 384 dimensions", "SH degree 0"):
        assert word in result.out
    (scene / "images" / "view_01.png").unlink()
    (scene / "gaussians.ply").unlink()
    result = fit3d("info", scene)
    assert result.code == OK
    assert "missing: " in result.out
    assert "view_01.png" in result.out
    assert "ns-train fit3d-small" in result.out


def test_import_of_a_capture_with_a_ply_gives_the_same_scene(scene: Path, fit3d: Fit3d, tmp_path: Path) -> None:
    ply = tmp_path / "fitted.ply"
    (scene / "gaussians.ply").rename(ply)
    before = contents(scene)
    result = fit3d("import", scene, tmp_path / "made", "--ply", ply)
    assert result.code == OK, result
    assert contents(scene) == before
    made = Scene.open(tmp_path / "made")
    assert not made.check()
    assert made.gaussians_path.read_bytes() == ply.read_bytes()
    original = Scene.open(scene, gaussians=ply)
    for mine, theirs in zip(made.views, original.views, strict=True):
        assert torch.equal(mine.camera.world_to_camera, theirs.camera.world_to_camera)
        assert np.array_equal(mine.image(), theirs.image())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "nowhere"], ["nowhere"]),
        (["lift", "nowhere", "--encoder", "rgb"], ["nowhere"]),
        (["lift", "{scene}", "--encoder", "dinosaur"], ["dinosaur", "dense-descriptors", "rgb"]),
        (["lift", "{scene}", "--encoder", "rgb", "--weights", "w.pt"], ["w.pt"]),
        (["lift", "{scene}", "--encoder", "rgb", "--refine", "-1"], ["refine"]),
        (["lift", "{scene}", "--encoder", "rgb", "--device", "abacus"], ["abacus"]),
        (["lift", "{scene}", "--encoder", "rgb", "--name", "../escape"], ["../escape"]),
        (["render", "{scene}", "--out", "o", "--view", "view_99"], ["view_99", "view_00"]),
        (["render", "{scene}", "--out", "o", "--what", "pca"], ["no fields", "fit3d lift"]),
        (["render", "{scene}", "--out", "o", "--field", "rgb"], ["--what pca"]),
        (["import", "nowhere", "o"], ["nowhere"]),
        (["import", "{scene}", "o", "--ply", "no.ply"], ["no.ply"]),
        (["demo", "--make", "o", "--out", "sheet.png"], ["--make", "--out"]),
        (["demo", "--out", "sheet.txt"], ["sheet.txt", ".png"]),
    ],
)
def test_bad_arguments_get_one_sentence_and_change_nothing(
    scene: Path, fit3d: Fit3d, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = contents(tmp_path)
    result = fit3d(*[argument.format(scene=scene) for argument in arguments])
    assert_one_sentence(result, BAD_INPUT, *words)
    assert contents(tmp_path) == before


def remove_photos(scene: Path) -> None:
    shutil.rmtree(scene / "images")


def truncate_ply(scene: Path) -> None:
    ply = scene / "gaussians.ply"
    ply.write_bytes(ply.read_bytes()[:-100])


def replace_ply_by_points(scene: Path) -> None:
    lines = ["ply", "format ascii 1.0", "element vertex 1", "property float x", "property float y"]
    lines += ["property float z", "end_header", "0 0 0"]
    (scene / "gaussians.ply").write_text("\n".join(lines) + "\n")


def remove_all_gaussians(scene: Path) -> None:
    ply = scene / "gaussians.ply"
    header = ply.read_bytes().split(b"end_header\n")[0]
    ply.write_bytes(re.sub(rb"element vertex \d+", b"element vertex 0", header) + b"end_header\n")


def break_a_pose(scene: Path) -> None:
    def change(content: dict) -> None:
        content["frames"][1]["transform_matrix"][0][3] = float("nan")

    edit_transforms(scene, change)


def stretch_a_pose(scene: Path) -> None:
    def change(content: dict) -> None:
        content["frames"][1]["transform_matrix"][0][0] += 3

    edit_transforms(scene, change)


def look_away(scene: Path) -> None:
    def change(content: dict) -> None:
        for frame in content["frames"]:
            frame["transform_matrix"] = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -500], [0, 0, 0, 1]]

    edit_transforms(scene, change)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove_photos, ["view_00.png", "3 of 3"]),
        (truncate_ply, ["gaussians.ply"]),
        (replace_ply_by_points, ["gaussians.ply"]),
        (remove_all_gaussians, ["gaussians.ply"]),
        (break_a_pose, ["view_01", "NaN"]),
        (stretch_a_pose, ["view_01", "rotation"]),
        (look_away, ["sees any"]),
    ],
)
def test_a_damaged_scene_gets_one_sentence_and_stays_as_it_was(
    scene: Path, fit3d: Fit3d, damage: Callable[[Path], None], words: list[str]
) -> None:
    damage(scene)
    before = contents(scene)
    result = fit3d("lift", scene, "--encoder", "rgb")
    assert_one_sentence(result, BAD_INPUT, *words)
    assert contents(scene) == before


def test_missing_photos_are_named_up_to_five_and_counted(scene: Path, fit3d: Fit3d) -> None:
    def change(content: dict) -> None:
        frame = content["frames"][0]
        content["frames"] += [{**frame, "file_path": f"images/lost_{i}.png"} for i in range(7)]

    edit_transforms(scene, change)
    result = fit3d("lift", scene, "--encoder", "rgb")
    assert_one_sentence(result, BAD_INPUT, "7 of 10", "lost_0.png", "lost_4.png")
    assert "lost_5.png" not in result.err


def test_outputs_are_replaced_only_when_asked(scene: Path, fit3d: Fit3d, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    out.mkdir()
    (out / "mine.png").write_text("precious")
    fit3d("lift", scene, "--encoder", "rgb")
    before = contents(tmp_path)
    for command in (
        ("render", scene, "--out", out),
        ("lift", scene, "--encoder", "rgb"),
        ("import", scene, out, "--ply", scene / "gaussians.ply"),
    ):
        assert_one_sentence(fit3d(*command), BAD_INPUT, "--overwrite")
        assert contents(tmp_path) == before
    assert fit3d("render", scene, "--out", out, "--overwrite").code == OK
    assert not (out / "mine.png").exists()
    assert fit3d("lift", scene, "--encoder", "rgb", "--overwrite").code == OK


def test_a_full_disk_leaves_the_scene_as_it_was(scene: Path, fit3d: Fit3d, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch

    def half_written(tensors: object, path: Path, metadata: object = None) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(safetensors.torch, "save_file", half_written)
    before = contents(scene)
    assert_one_sentence(fit3d("lift", scene, "--encoder", "rgb"), FAILURE, "No space left on device")
    assert contents(scene) == before


def test_a_full_disk_in_the_middle_of_rendering_leaves_nothing(
    scene: Path, fit3d: Fit3d, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app import pictures

    original = pictures.save_picture
    written: list[Path] = []

    def second_fails(path: Path, image: np.ndarray) -> None:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        original(path, image)
        written.append(path)

    monkeypatch.setattr(pictures, "save_picture", second_fails)
    before = contents(tmp_path)
    assert_one_sentence(fit3d("render", scene, "--out", tmp_path / "o"), FAILURE, "No space left on device")
    assert written
    assert contents(tmp_path) == before
    assert not (tmp_path / "o").exists()


def test_interrupting_a_lift_leaves_the_scene_as_it_was(
    scene: Path, fit3d: Fit3d, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uplift.encoders.rgb import RGBEncoder

    original = RGBEncoder.encode
    calls: list[None] = []

    def interrupted(self: RGBEncoder, image: np.ndarray) -> torch.Tensor:
        calls.append(None)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return original(self, image)

    monkeypatch.setattr(RGBEncoder, "encode", interrupted)
    before = contents(scene)
    assert_one_sentence(fit3d("lift", scene, "--encoder", "rgb"), INTERRUPTED, "Interrupted")
    assert contents(scene) == before


def test_a_defect_ends_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    error = KeyError("lost")
    _one_sentence(type(error), error, None)
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1
    assert "KeyError" in err
    assert "FIT3D_TRACEBACK=1" in err


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["lift"], ["render", "scene", "--out", "o", "--what", "smell"], ["info", "a", "--b"]]
)
def test_arguments_that_do_not_fit_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['fit3d', '--help']\n"
        "from app.main import entrypoint\n"
        "try: entrypoint()\n"
        "except SystemExit as end: code = end.code\n"
        "print('heavy:', [m for m in ('torch', 'numba', 'scipy', 'cv2', 'nerfstudio', 'viser') if m in sys.modules])\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout
    commands = "demo import info lift render segment query combine extract remove masks evaluate bench"
    for command in commands.split():
        assert command in done.stdout


@pytest.mark.parametrize("arguments", [["rooms", "--help"], ["info", "scene"]])
def test_a_reader_that_leaves_is_no_failure(arguments: list[str], scene: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "app", *(str(scene) if word == "scene" else word for word in arguments)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (READER_LEFT, "")


def test_rendering_never_replaces_a_folder_of_other_things(scene: Path, fit3d: Fit3d, tmp_path: Path) -> None:
    before = contents(scene)
    result = fit3d("render", scene, "--out", scene, "--overwrite")
    assert_one_sentence(result, BAD_INPUT, "holds more than rendered pictures", "choose another folder")
    assert contents(scene) == before
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "precious.txt").write_text("kept")
    assert fit3d("render", scene, "--view", "view_00", "--out", notes, "--overwrite").code == BAD_INPUT
    assert (notes / "precious.txt").read_text() == "kept"


def test_a_first_photo_that_sees_nothing_does_not_stop_a_lift(scene: Path, fit3d: Fit3d) -> None:
    def away(content: dict) -> None:
        content["frames"][0]["transform_matrix"][1][3] += 1e4

    edit_transforms(scene, away)
    assert fit3d("lift", scene, "--encoder", "dense-descriptors").code == OK
