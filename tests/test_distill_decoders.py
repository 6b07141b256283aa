"""A teacher's decoder on a student: it learns, the student does not, and depths are those of the photos' cameras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch

from render.errors import InputError
from tests.small_rooms import renamed, small_room
from tests.tiny_models import TINY_VIT, tiny_vit_file
from training.distillation.decoders import (
    DecoderSettings,
    StudentDecoder,
    channel_statistics,
    fit_decoder,
    measure_depths,
    measure_teacher,
)
from training.probing.data.rooms import room_photos
from training.probing.kept import Maps, describe_photos
from training.probing.photos import ProbePhoto
from training.probing.sources import Described
from training.rooms.reading import RoomScene
from training.rooms.writing import room_name
from uplift.encoders import load_encoder
from uplift.encoders.base import Encoder, TrainableEncoder
from uplift.encoders.tiny_depth import FOCAL, WIDTH, DepthDecoder, TinyDepth, TinyDepthEncoder

QUICK = DecoderSettings(steps=2, batch=2)


@cache
def student() -> TrainableEncoder:
    """A ViT with random weights, of 64 channels and patches of 16 pixels."""
    encoder = load_encoder(TINY_VIT, tiny_vit_file(Path(mkdtemp(prefix="fit3d-tests-")))[1], "cpu")
    assert isinstance(encoder, TrainableEncoder)
    return encoder


@cache
def decoder() -> DepthDecoder:
    torch.manual_seed(0)
    return DepthDecoder(WIDTH)


def focals(scene: RoomScene) -> list[float]:
    return [float(view.camera.K[0, 0]) for view in scene.scene.views]


def test_the_decoder_learns_and_the_student_does_not(tmp_path: Path) -> None:
    train, test = [small_room("train")], [small_room("test")]
    before = {name: value.clone() for name, value in decoder().state_dict().items()}
    weights = student().weights_hash()
    # What is measured on what is learned: it is about learning alone.
    other = renamed(small_room("train"), "test", 7, tmp_path)
    few, many = (
        fit_decoder(student(), decoder(), train, [other], seeds=(0,), settings=DecoderSettings(steps=steps, batch=3))
        for steps in (1, 25)
    )
    assert many.scores.figures()["absrel"][0, 0] < 0.7 * few.scores.figures()["absrel"][0, 0]
    assert student().weights_hash() == weights
    torch.testing.assert_close(decoder().state_dict(), before, rtol=0, atol=0)
    moved = many.decoders[0].decoder.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in moved.items())
    result = fit_decoder(student(), decoder(), train, test, seeds=(3, 4), settings=QUICK, show=(1,))
    assert result.scores.groups == (room_name("test", 0),)
    told = result.json()
    assert set(told["figures"]) == {"rmse", "absrel"}
    assert len(set(told["figures"]["rmse"])) == 2, "each seed has a decoder of its own"
    again = fit_decoder(student(), decoder(), train, test, seeds=(4,), settings=QUICK)
    assert again.json()["figures"]["rmse"] == told["figures"]["rmse"][1:]


def test_features_that_others_took_are_not_computed_again() -> None:
    train, test = [small_room("train")], [small_room("test")]

    def rmse(maps: Maps | None = None) -> float:
        found = fit_decoder(student(), decoder(), train, test, seeds=(0,), settings=QUICK, maps=maps)
        return float(found.scores.figures()["rmse"][0, 0])

    known = describe_photos(student(), room_photos([*train, *test]))
    seen: list[tuple[str, str]] = []

    def describe(encoder: Encoder, photos: Sequence[ProbePhoto], **options: Any) -> Maps:
        seen.extend((photo.group, photo.name) for photo in photos)
        return describe_photos(encoder, photos, **options)

    alone = rmse()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.distillation.decoders.describe_photos", describe)
        assert rmse(known) == alone
        assert seen == []
        left_out = next(key for key in known if key[0] == room_name("test", 0))
        assert rmse({key: one for key, one in known.items() if key != left_out}) == alone
        assert seen == [left_out]
    other = {key: Described(one.patches.flip(0), one.whole) for key, one in known.items()}
    assert rmse(other) != alone, "they are taken as they are given"


def test_decoders_are_fitted_on_encoders_that_cannot_be_trained_too() -> None:
    found = fit_decoder(
        load_encoder("rgb", device="cpu"), decoder(), [small_room("train")], [small_room("test")], seeds=(0,),
        settings=QUICK,
    )  # fmt: skip
    assert found.decoders[0].patches.in_features == 3
    assert found.scores.figures()["rmse"][0, 0] > 0


def test_depths_are_told_for_the_focal_length_of_the_photo() -> None:
    test = [small_room("test")]
    result = fit_decoder(student(), decoder(), [small_room("train")], test, seeds=(0,), settings=QUICK, show=(0, 2))
    assert set(result.told) == {0, 2}
    photos = room_photos(test)
    maps = describe_photos(student(), photos)
    for index, depth in result.told.items():
        found = maps[photos[index].group, photos[index].name]
        with torch.no_grad():
            plain = result.decoders[0](found.patches[None].float(), found.whole[None].float())
            sized = torch.nn.functional.interpolate(plain[None], (64, 64), mode="bilinear")[0, 0]
        np.testing.assert_allclose(depth, sized.numpy() * focals(test[0])[index] / FOCAL, rtol=1e-4)


def test_what_is_learned_is_depth_for_the_same_focal_length(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.distillation import decoders

    seen: list[torch.Tensor] = []

    def unfitted(head: StudentDecoder, examples: Any, *_: Any) -> StudentDecoder:
        seen.append(examples.depths)
        return head

    monkeypatch.setattr(decoders, "_fitted", unfitted)
    fit_decoder(student(), decoder(), [small_room("train")], [small_room("test")], seeds=(0,), settings=QUICK)
    truth = np.stack([small_room("train").depth(name) for name in small_room("train").views])
    expected = truth[:, 4::8, 4::8] * (FOCAL / np.array(focals(small_room("train"))))[:, None, None]
    assert seen[0].shape == (3, 8, 8)
    np.testing.assert_allclose(seen[0].numpy(), expected, rtol=0.35)
    np.testing.assert_allclose(seen[0].numpy().mean((1, 2)), expected.mean((1, 2)), rtol=0.02)


def test_depths_are_measured_by_room_as_by_hand(tmp_path: Path) -> None:
    rooms = [small_room("test"), renamed(small_room("test"), "test", 1, tmp_path)]
    truth = {(one.path.name, name): one.depth(name).astype(np.float64) for one in rooms for name in one.views}

    def tell(photo: ProbePhoto, focal: float) -> Iterator[np.ndarray]:
        assert 30 < focal < 70
        for factor in (1.0, 1.2):
            yield (truth[photo.group, photo.name] * factor).astype(np.float32)

    scores, shown = measure_depths(tell, rooms, seeds=2, show=(4,))
    assert scores.groups == tuple(one.path.name for one in rooms)
    figures = scores.figures()
    np.testing.assert_allclose(figures["absrel"][0], [0, 0.2], atol=1e-5)
    rmse = np.mean([0.2 * np.sqrt((depth[depth > 0] ** 2).mean()) for depth in truth.values()])
    np.testing.assert_allclose(figures["rmse"][0], [0, rmse], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(shown[4], list(truth.values())[4], rtol=1e-5)


def test_a_teacher_is_measured_with_its_own_decoder() -> None:
    torch.manual_seed(0)
    encoder = TinyDepthEncoder(TinyDepth())
    scores = measure_teacher(encoder, [small_room("test")])
    scene = small_room("test")
    errors = []
    for view, focal in zip(scene.scene.views, focals(scene), strict=True):
        truth = scene.depth(view.name)
        told = encoder.depth(view.image(), focal).numpy()
        errors.append(np.sqrt(((told - truth)[truth > 0] ** 2).mean()))
    assert scores.figures()["rmse"][0, 0] == pytest.approx(np.mean(errors), rel=1e-4)


def test_the_scale_of_a_student_s_features_does_not_matter() -> None:
    torch.manual_seed(0)
    patches, whole = torch.randn(3, 4, 4, 24), torch.randn(3, 24)
    told = []
    for factor, shift in ((1.0, 0.0), (50.0, -7.0)):
        torch.manual_seed(1)
        moved = factor * patches + shift, factor * whole - shift
        head = StudentDecoder(decoder(), *(channel_statistics(part) for part in moved))
        with torch.no_grad():
            told.append(head(*moved))
    assert told[0].shape == (3, 8, 8)
    torch.testing.assert_close(told[0], told[1], rtol=1e-3, atol=1e-4)
    many = (3 + 2 * torch.randn(70, 2, 3, 4)).half()
    deviation, mean = torch.std_mean(many.double().flatten(0, -2), 0, correction=0)
    torch.testing.assert_close(channel_statistics(many), torch.stack([mean, deviation]).float())
    silent = channel_statistics(torch.ones(5, 2))
    assert bool((silent[1] > 0).all())


def test_what_cannot_be_learned_is_refused(tmp_path: Path) -> None:
    def fit(train: list[RoomScene], seeds: tuple[int, ...] = (0,)) -> None:
        fit_decoder(student(), decoder(), train, [small_room("test")], seeds=seeds, settings=QUICK)

    with pytest.raises(InputError, match="both learned from and measured"):
        fit([small_room("test")])
    with pytest.raises(InputError, match="different seeds"):
        fit([small_room("train")], (1, 1))
    with pytest.raises(InputError, match="photos of one size, found maps of 4x4, 4x6 patches"):
        fit([small_room("train"), renamed(small_room("train", width=96), "train", 1, tmp_path)])
    with pytest.raises(InputError, match="different names, found train-00000 twice"):
        fit([small_room("train"), small_room("train", width=96)])
    with pytest.raises(InputError, match="steps, batch, rate and photos above 0"):
        DecoderSettings(steps=0)
