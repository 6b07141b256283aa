"""``fit3d lift`` with encoders that have weights: reduction, pruning, windows, the cache of maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from app.main import BAD_INPUT, INTERRUPTED, OK, main
from tests.room import HEIGHT, VIEWS, WIDTH, tiny_scene
from tests.tiny_models import tiny_clip, tiny_sam_file, tiny_vit_file
from uplift.encoders.vit import ViTEncoder
from uplift.field import FeatureField


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tiny_scene(tmp_path)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Sizes of the photos that the vision transformer was given."""
    calls: list[tuple[int, ...]] = []
    plain = ViTEncoder.encode

    def counted(self: ViTEncoder, image: np.ndarray) -> torch.Tensor:
        calls.append(image.shape)
        return plain(self, image)

    monkeypatch.setattr(ViTEncoder, "encode", counted)
    return calls


def lift(scene: Path, encoder: str, weights: Path, *more: object) -> int:
    arguments = ["lift", scene, "--encoder", encoder, "--weights", weights, "--device", "cpu", *more]
    return main([str(argument) for argument in arguments])


def test_a_reduced_field_says_what_it_is_and_what_it_took(
    scene: Path, tmp_path: Path, encoded: list[tuple[int, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    name, weights = tiny_vit_file(tmp_path)
    more = ["--reduce", 8, "--weight-by-eigenvalues", "--keep", 0.5, "--window", 48, "--stride", 32, "--seed", 4]
    assert lift(scene, name, weights, *more) == OK
    output = capsys.readouterr().out
    field = FeatureField.load(scene / "fields" / "timm-test_vit-8.safetensors")
    assert (field.dimension, field.metadata["reduced_from"], field.metadata["keep"]) == (8, 64, len(field) // 2)
    assert field.metadata["options"] == {"window": 48, "stride": 32}
    assert 0 < int((field.weights > 0).sum()) <= len(field) // 2
    for words in ("Apache-2.0", "8 dimensions, reduced from 64", "memory: about", "feature maps: about", "time: about"):
        assert words in output
    assert encoded == [(HEIGHT, WIDTH, 3)] * VIEWS
    assert len(list((tmp_path / "cache" / "fit3d" / "maps").rglob("*.safetensors"))) == VIEWS
    assert main(["info", str(scene)]) == OK
    listed = capsys.readouterr().out
    for words in (
        "reduced from 64",
        "by timm:test_vit",
        f"{len(field) // 2} kept",
        field.metadata["weights"][:12],
        "Apache-2.0",
    ):
        assert words in listed


def test_an_interrupted_lift_goes_on_where_it_stopped(
    scene: Path, tmp_path: Path, encoded: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, weights = tiny_vit_file(tmp_path)
    counted = ViTEncoder.encode

    def interrupted(self: ViTEncoder, image: np.ndarray) -> torch.Tensor:
        if len(encoded) == 2:
            raise KeyboardInterrupt
        return counted(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(ViTEncoder, "encode", interrupted)
        assert lift(scene, name, weights) == INTERRUPTED
    assert not (scene / "fields" / "timm-test_vit.safetensors").exists()
    assert lift(scene, name, weights) == OK
    assert len(encoded) == VIEWS
    assert lift(scene, name, weights, "--name", "again", "--normalization", "count") == OK
    assert len(encoded) == VIEWS


def test_the_cache_can_be_elsewhere_or_left_out(
    scene: Path, tmp_path: Path, encoded: list[tuple[int, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    name, weights = tiny_vit_file(tmp_path)
    assert lift(scene, name, weights, "--no-cache") == OK
    assert not (tmp_path / "cache" / "fit3d" / "maps").exists()
    assert lift(scene, name, weights, "--cache", tmp_path / "maps", "--overwrite") == OK
    assert len(list((tmp_path / "maps").rglob("*.safetensors"))) == VIEWS
    assert lift(scene, name, weights, "--cache", tmp_path / "maps", "--no-cache", "--overwrite") == BAD_INPUT
    assert "--no-cache" in capsys.readouterr().err


def test_clip_and_segment_anything_are_lifted_by_name(scene: Path, tmp_path: Path) -> None:
    name, weights = tiny_clip(tmp_path)
    assert lift(scene, name, weights, "--scales", 0.3, 0.5, "--overlap", 0.4) == OK
    field = FeatureField.load(scene / "fields" / "clip-tiny-clip.safetensors")
    assert (field.dimension, field.metadata["options"]) == (24, {"scales": [0.3, 0.5], "overlap": 0.4})
    assert lift(scene, "sam-vit-b", tiny_sam_file(tmp_path)) == OK
    assert FeatureField.load(scene / "fields" / "sam-vit-b.safetensors").dimension == 32


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--reduce", "65"], "can be reduced to 1 to 64, found 65"),
        (["--weight-by-eigenvalues"], "needs --reduce"),
        (["--keep", "0"], "Pruning keeps"),
        (["--scales", "0.5"], "no setting scales; it has window, stride"),
        (["--normalization", "count", "--refine", "1"], "do not go with --normalization count"),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_any_photo_is_encoded(
    scene: Path,
    tmp_path: Path,
    encoded: list[tuple[int, ...]],
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    words: str,
) -> None:
    name, weights = tiny_vit_file(tmp_path)
    assert lift(scene, name, weights, *more) == BAD_INPUT
    assert words in capsys.readouterr().err
    assert encoded == []
