"""``fit3d finetune`` and what its encoder is good for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.main import main
from tests.tiny_models import TINY_VIT, tiny_vit_file
from tests.tuned import two_scenes
from training.loop import LOG


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vit_file(tmp_path_factory.mktemp("vit"))[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return two_scenes(tmp_path / "scenes")


def finetune(folder: Path, weights: Path, out: Path, *options: str) -> int:
    named = ["--encoder", TINY_VIT, "--weights", str(weights), "--out", str(out), "--device", "cpu"]
    return main(["finetune", str(folder), *named, *options])


def test_an_encoder_is_fine_tuned_and_its_features_are_lifted(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, scene = tmp_path / "out", str(folder / "first")
    options = ["--epochs", "2", "--rate", "1e-3", "--targets", "blurred", "--refresh", "every-epoch"]
    options += ["--augmentation", "trivial-wide"]
    assert finetune(folder, weights, out, "--validation", scene, *options) == 0
    said = capsys.readouterr().out
    assert "8 photos of 2 scenes, 64 channels" in said
    assert f"wrote {out / 'encoder.safetensors'}" in said
    assert "inconsistency" in said
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines if "val_inconsistency" in line] == [4, 8]
    assert len(list((out / "pictures").iterdir())) == 2 * 3
    assert list((out / "tensorboard").iterdir())
    encoder = f"fit3d:{out / 'encoder.safetensors'}@alone"
    assert main(["lift", scene, "--encoder", encoder, "--weights", str(weights), "--name", "tuned", "--no-cache"]) == 0
    assert "64 dimensions" in capsys.readouterr().out
    assert (folder / "first" / "fields" / "tuned.safetensors").is_file()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--batch", "0"], "--batch"),
        (["--targets", "learned"], "has no field learned-timm:test_vit"),
        (["--encoder", "rgb"], "rgb has no weights"),
        (["--validation", "nowhere"], "Expected a scene, or a folder of scenes"),
        (["--augmentation", "policy"], "found no file policy"),
        (["--side", "8"], "patches of 16 pixels"),
        (["--batch", "2", "--accumulate", "3"], "choose a multiple of 3"),
        (["--weight-decay", "-1"], "--weight-decay must be a number of at least 0, found -1"),
        (["--precision", "fp16"], "needs CUDA"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    options: list[str],
    complaint: str,
    folder: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert finetune(folder, weights, tmp_path / "out", *options) == 2
    assert complaint in capsys.readouterr().err
    assert not list(folder.rglob("transports")), "said before the long work"
