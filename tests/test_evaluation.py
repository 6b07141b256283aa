"""``fit3d evaluate`` from the command line, on miniatures of the data sets and with tiny networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.main import BAD_INPUT, OK, main
from tests import miniatures
from tests.miniatures import OBJECT, tiny_objects
from tests.tiny_models import tiny_clip, tiny_sam_file, tiny_vit_file
from uplift.evaluation.tasks import read_nvos, read_spin_nerf
from uplift.thresholds import iou

ROWS = {
    "geometry only",
    "single view",
    "single view SAM",
    "uplifting",
    "uplifting SAM",
    "uplifting + diffusion",
    "random walker",
    "default",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments that name a tiny ViT and a tiny Segment Anything."""
    folder = tmp_path_factory.mktemp("models")
    name, weights = tiny_vit_file(folder)
    return ["--encoder", name, "--weights", str(weights), "--sam", str(tiny_sam_file(folder))]


def figures(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "figures.json").read_text())
    return dict(content["figures"])


def mask(path: Path) -> np.ndarray:
    return np.array(Image.open(path)) > 0


def run(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments), "--device", "cpu"])


def test_nvos_runs_every_variant_and_writes_what_it_measured(
    tmp_path: Path, models: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    data = miniatures.nvos(tmp_path)
    out = tmp_path / "out"
    assert run("nvos", data.data, "--scenes", data.scenes, *models, "--out", out) == OK
    shown = capsys.readouterr().out
    assert "(92.4)" in shown, "the paper's average"
    assert "SAGA 92.6" in shown
    assert f"wrote {out / 'figures.json'}" in shown
    fern = figures(out)["fern"]
    assert set(fern["variants"]) == ROWS
    assert fern["skipped"] == {}
    assert fern["reference"] == "IMG_4027"
    (task,) = read_nvos(data.data)
    for name, row in fern["variants"].items():
        folder = out / "fern" / name.replace(" + ", "-").replace(" ", "-")
        written = mask(folder / "IMG_4028.png")
        assert iou(written, task.truths["IMG_4028"]()) == row["views"]["IMG_4028"]["iou"] == row["iou"], name
        assert (folder / "IMG_4028_heat.png").is_file()
    assert not (data.scenes / "fern" / "fields").exists(), "the splats are left as they are"
    assert (out / "fields" / "fern").is_dir()


def test_spin_nerf_goes_on_where_it_stopped(
    tmp_path: Path, models: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    data = miniatures.spin_nerf(tmp_path)
    command = ("spin-nerf", data.data, "--scenes", data.scenes, *models, "--out", tmp_path / "out")
    rows = ("--variants", "geometry only", "uplifting", "--reduce", "8")
    assert run(*command, *rows, "--only", "orchids") == OK
    first = (tmp_path / "out" / "orchids" / "figures.json").stat().st_mtime_ns
    assert run(*command, *rows) == OK
    assert (tmp_path / "out" / "orchids" / "figures.json").stat().st_mtime_ns == first
    found = figures(tmp_path / "out")
    assert list(found) == ["orchids", "truck"]
    assert set(found["truck"]["variants"]) == {"geometry only", "uplifting"}
    assert set(found["orchids"]["variants"]["uplifting"]["views"]) == {"IMG_4468", "IMG_4469", "IMG_4470"}
    truck = next(task for task in read_spin_nerf(data.data) if task.name == "truck")
    written = mask(tmp_path / "out" / "truck" / "geometry-only" / "000002.png")
    assert written.shape == truck.truths["1_000002"]().shape, "masks are as large as the true ones"
    capsys.readouterr()
    assert run(*command, "--variants", "geometry only") == BAD_INPUT
    refusal = capsys.readouterr().err
    assert "other settings" in refusal
    assert "--overwrite" in refusal
    assert run(*command, "--variants", "geometry only", "--only", "truck", "--overwrite") == OK
    assert "(60.1)" in capsys.readouterr().out, "the paper's figure for this scene"


def test_lerf_measures_both_protocols_and_localization(
    tmp_path: Path, models: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    data = miniatures.lerf(tmp_path)
    clip, weights = tiny_clip(tmp_path)
    command = ("lerf", data.data, "--clip", clip, "--clip-weights", weights, *models, "--out", tmp_path / "out")
    assert run(*command) == OK
    shown = capsys.readouterr().out
    for words in ("3D protocol", "2D protocol", "accuracy", "(80.4)", "Dr. Splat 43.6"):
        assert words in shown
    rows = figures(tmp_path / "out")["figurines"]["variants"]
    assert {"2D", "2D + diffusion", "2D SAM", "2D SAM + diffusion", "3D", "3D + diffusion"} < set(rows)
    every = [value for texts in rows["2D"]["views"].values() for value in texts.values()]
    assert len(every) == 4, "two frames of two texts each"
    assert rows["2D"]["iou"] == pytest.approx(np.mean(every))
    assert 0 <= rows["localization"]["accuracy"] <= 1
    folder = tmp_path / "out" / "figurines"
    assert mask(folder / "2D-SAM" / "frame_00001" / f"{OBJECT}.png").shape == tiny_objects().maps["view_00"].shape
    assert (folder / "localization" / "frame_00003" / f"{OBJECT}_heat.png").is_file()


def test_a_capture_with_own_masks_is_measured_from_mask_and_scribbles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene, masks, scribble = miniatures.capture(tmp_path)
    assert main(["lift", str(scene), "--encoder", "rgb", "--device", "cpu"]) == OK
    shutil.copyfile(scene / "fields" / "rgb.safetensors", scene / "fields" / "again.safetensors")
    before = sorted(path.name for path in (scene / "fields").iterdir())
    command = ("capture", scene, "--masks", masks, "--reference", "view_00", "--scribbles", scribble)
    assert run(*command, "--out", tmp_path / "out", "--neighbours", 4, 8) == OK
    shown = capsys.readouterr().out
    for words in ("from the mask on view_00", "from the scribbles on view_00", "number of neighbours", "--sam FILE"):
        assert words in shown
    found = figures(tmp_path / "out")
    assert set(found) == {"mask-again", "mask-rgb", "scribbles-again", "scribbles-rgb"}
    rows = found["mask-rgb"]["variants"]
    assert {"single view", "uplifting", "random walker, k=4", "random walker, k=8", "default, k=8"} <= set(rows)
    assert "geometry only" not in rows, "what does not depend on features is measured once"
    assert "geometry only" in found["mask-again"]["variants"]
    assert rows["uplifting"]["iou"] == found["mask-again"]["variants"]["uplifting"]["iou"]
    for view, row in rows["random walker, k=8"]["views"].items():
        truth = mask(masks / f"{view}.png")
        written = mask(tmp_path / "out" / "mask-rgb" / "random-walker-k-8" / f"{view}.png")
        assert (iou(written, truth), iou(written, truth, 2)) == (row["iou"], row["iou_tolerant"])
    assert rows["random walker, k=8"]["iou_tolerant"] > 0.7
    assert sorted(path.name for path in (scene / "fields").iterdir()) == before, "the scene is left as it is"


def test_figures_of_other_input_are_not_taken_for_new_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene, masks, scribble = miniatures.capture(tmp_path)
    assert main(["lift", str(scene), "--encoder", "rgb", "--device", "cpu"]) == OK
    (masks / "view_00.png").unlink()
    other = tmp_path / "other.png"
    with Image.open(scribble) as opened:
        drawn = np.array(opened)
    drawn[:20] = 0
    Image.fromarray(drawn).save(other)
    command = ("capture", scene, "--masks", masks, "--reference", "view_00", "--out", tmp_path / "out")
    rows = ("--variants", "geometry only")
    assert run(*command, "--scribbles", scribble, *rows) == OK
    assert run(*command, "--scribbles", scribble, *rows) == OK, "the same again is not computed again"
    field, ply, truth = scene / "fields" / "rgb.safetensors", scene / "gaussians.ply", masks / "view_01.png"
    capsys.readouterr()
    assert run(*command, "--scribbles", other, *rows) == BAD_INPUT
    assert "other settings (files)" in capsys.readouterr().err
    for changed, words in ((truth, "(files)"), (field, "(own fields)"), (ply, "(gaussians)")):
        content = changed.read_bytes()
        changed.write_bytes(content + b" ")
        assert run(*command, "--scribbles", scribble, *rows) == BAD_INPUT
        if changed != field:  # a field may refuse to be read first
            assert f"other settings {words}" in capsys.readouterr().err
        changed.write_bytes(content)


def test_benchmark_figures_of_other_masks_or_splats_are_refused(
    tmp_path: Path, models: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    data = miniatures.spin_nerf(tmp_path)
    command = ("spin-nerf", data.data, "--scenes", data.scenes, *models, "--out", tmp_path / "out")
    rows = ("--variants", "geometry only", "--only", "orchids")
    assert run(*command, *rows) == OK
    masks = sorted(next(p for p in data.data.iterdir() if p.name.startswith("orchids")).glob("*.png"))
    shutil.copyfile(masks[0], next(path for path in masks[1:] if not path.stem.endswith(("_pseudo", "_cutout"))))
    capsys.readouterr()
    assert run(*command, *rows) == BAD_INPUT
    assert "other settings (files)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nvos", "DATA", "--scenes", "SPLATS", "--out", "OUT"), "masks, reference_image, scribbles"),
        (("spin-nerf", "DATA", "--scenes", "SPLATS", "--out", "OUT"), "orchids (llff)"),
        (("lerf", "DATA", "--out", "OUT"), "label/SCENE"),
        (("capture", "DATA", "--masks", "DATA", "--reference", "0", "--out", "OUT"), "transforms.json"),
        (
            ("capture", "SCENE", "--masks", "DATA", "--reference", "0", "--variants", "best", "--out", "OUT"),
            "geometry only",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "data").mkdir()
    names = {
        "SCENE": tiny_objects().scene.path,
        "DATA": tmp_path / "data",
        "SPLATS": tmp_path / "splats",
        "OUT": tmp_path / "out",
    }
    assert run(*(names.get(argument, argument) for argument in arguments)) == BAD_INPUT
    refusal = capsys.readouterr().err
    assert words in refusal
    assert refusal.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_splats_that_are_missing_are_named_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = miniatures.nvos(tmp_path)
    assert run("nvos", data.data, "--scenes", tmp_path, "--encoder", "rgb", "--out", tmp_path / "out") == BAD_INPUT
    assert "the splats of fern" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_published_weights_that_are_out_of_reach_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data = miniatures.nvos(tmp_path)
    missing = tmp_path / "nowhere.safetensors"
    command = ("nvos", data.data, "--scenes", data.scenes, "--weights", missing, "--out", tmp_path / "out")
    assert run(*command) == BAD_INPUT
    assert str(missing) in capsys.readouterr().err
