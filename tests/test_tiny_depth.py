"""tiny-depth: what it is trained on, its training, and the ways to its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.main import OK, main
from render.errors import InputError
from tests.small_rooms import small_room
from tests.test_tiny_pairs import DISTANCE, wall_images
from tests.test_tiny_pairs import FOCAL as WALL_FOCAL
from training import loop
from training.loop import save_weights
from training.tiny import depth
from training.tiny.depth import DepthTask, draw_parts, measure_depth
from training.tiny.images import RoomImages
from training.tiny.task import schedule_of
from uplift.encoders import load_encoder
from uplift.encoders import tiny as tiny_encoders
from uplift.encoders.base import Tokens, TrainableEncoder
from uplift.encoders.tiny_depth import FARTHEST, FOCAL, NEAREST, WIDTH, DepthDecoder, TinyDepth, TinyDepthEncoder
from uplift.encoders.tiny_dino import build_tiny_dino

CPU = torch.device("cpu")


def told_model() -> TinyDepth:
    """A model whose depth depends on what it is shown: as they are made, decoders tell nearly the same of all."""
    torch.manual_seed(0)
    model = TinyDepth()
    torch.nn.init.normal_(model.decoder.fine[-1].weight, std=0.5)
    return model


def noise(height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_parts_are_as_far_away_as_the_focal_length_makes_them() -> None:
    images = wall_images([0.0, 0.3])
    for scale, size in ((1.0, 128), (0.5, 64)):
        seen = draw_parts(images, np.random.default_rng(0), 16, scale, 0.75)
        assert seen.photos.shape == (16, size, size, 3)
        assert seen.depths.shape == (16, size // 4, size // 4)
        assert np.ptp(seen.depths, (1, 2)).max() == 0
        # The wall's red rises by 60 a metre, so its slope tells the focal length of what is seen.
        slopes = np.abs(np.diff(seen.photos[:, :, size // 4 : -size // 4, 0].astype(float), axis=2).mean((1, 2)))
        focal = 60 * DISTANCE / slopes
        np.testing.assert_allclose(seen.depths[:, 0, 0], DISTANCE * FOCAL / focal, rtol=0.04)
        assert np.ptp(seen.depths) > 0.1, "parts of several sizes"
        assert focal.min() > 0.95 * WALL_FOCAL * scale


def test_depths_lie_under_what_is_seen() -> None:
    plain = wall_images([0.0])
    # As far away as it is red, so that photo and depth of a part tell whether they are of the same part.
    images = replace(plain, depths=(1 + plain.photos[..., 0] / 60).astype(np.float16))
    seen = draw_parts(images, np.random.default_rng(0), 8, 1.0, 0.75)
    told = 1 + seen.photos[:, 2::4, 2::4, 0] / 60
    factor = (seen.depths / told).mean((1, 2), keepdims=True)
    np.testing.assert_allclose(seen.depths, told * factor, atol=0.05)
    rising = np.sign(np.diff(seen.photos[:, 0, ::8, 0].astype(int), axis=1).sum(1))
    assert set(rising) == {-1, 1}, "half of them are mirrored"


def test_decoders_tell_depths_within_their_bins_at_two_nodes_a_patch() -> None:
    torch.manual_seed(0)
    decoder = DepthDecoder(24)
    torch.nn.init.normal_(decoder.fine[-1].weight, std=50.0)
    with torch.no_grad():
        told = decoder(torch.randn(2, 3, 4, 24), torch.randn(2, 24))
    assert told.shape == (2, 6, 8)
    assert NEAREST * 0.999 <= float(told.min()) < 1 < 8 < float(told.max()) <= FARTHEST * 1.001
    with torch.no_grad():
        decoder.fine[-1].weight.zero_()
        decoder.fine[-1].bias.zero_()
        nothing = decoder(torch.randn(1, 2, 2, 24), torch.randn(1, 24))
    torch.testing.assert_close(nothing, torch.full((1, 4, 4), (NEAREST * FARTHEST) ** 0.5), rtol=1e-4, atol=0)


def test_depth_follows_the_focal_length() -> None:
    encoder = TinyDepthEncoder(told_model())
    photo = noise()
    tokens = encoder.tokens(encoder.pixels(photo)[None])
    depth = encoder.decode(tokens)
    assert depth.shape == (1, 64, 64)
    assert float(depth.std()) > 0.01
    torch.testing.assert_close(encoder.decode(tokens, FOCAL), depth)
    torch.testing.assert_close(encoder.decode(tokens, 2 * FOCAL), 2 * depth)
    both = Tokens(*(part.repeat(2, *[1] * (part.ndim - 1)) for part in tokens if part is not None))
    told = encoder.decode(both, torch.tensor([FOCAL, FOCAL / 2]))
    torch.testing.assert_close(told, torch.cat([depth, depth / 2]))
    torch.testing.assert_close(encoder.depth(photo, 3 * FOCAL), 3 * depth[0])
    # What is resized to whole patches is told for the focal length that it then has.
    wide = noise(64, 60)
    resized = encoder.decode(encoder.tokens(encoder.pixels(wide)[None]), FOCAL * 64 / 60)
    assert encoder.depth(wide, FOCAL).shape == (64, 60)
    assert float(encoder.depth(wide, FOCAL).mean()) == pytest.approx(float(resized.mean()), rel=1e-3)
    with pytest.raises(InputError, match=f"its own tokens, .*{WIDTH}.*found .*7"):
        encoder.decode(Tokens(torch.zeros(1, 2, 2, 7), None))


def test_the_whole_photo_matters_to_its_depth() -> None:
    encoder = TinyDepthEncoder(told_model())
    patches = torch.randn(1, 4, 4, WIDTH)
    one, other = (encoder.decode(Tokens(patches, torch.full((1, WIDTH), value))) for value in (0.0, 1.0))
    assert float((one - other).abs().mean()) > 1e-3
    # Without a [CLS] token the mean of the patches stands for the photo.
    torch.testing.assert_close(
        encoder.decode(Tokens(patches, None)), encoder.decode(Tokens(patches, patches.mean((1, 2))))
    )


def test_measures_are_those_of_a_count_by_hand() -> None:
    images = wall_images([0.0, 0.3])
    images.depths[1, :, :64] = 0  # is not known there

    def tell(photo: np.ndarray, focal: float) -> np.ndarray:
        assert focal == WALL_FOCAL
        told = np.full(photo.shape[:2], 1.1 * DISTANCE, np.float32)
        told[:32] = 1.5 * DISTANCE
        return told

    figures = measure_depth(tell, images, photos=9)
    rmse = DISTANCE * np.array([np.sqrt(0.25 * 0.5**2 + 0.75 * 0.1**2)] * 2)
    assert figures["rmse"] == pytest.approx(rmse.mean(), rel=1e-4)
    assert figures["absrel"] == pytest.approx(0.25 * 0.5 + 0.75 * 0.1, rel=1e-4)
    assert figures["delta1"] == pytest.approx(75)


def test_depth_of_a_wall_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall that is nearer where its stripes are wider."""
    monkeypatch.setattr(depth, "JITTER", 0.0)
    images = striped_walls((1.0, 2.0, 4.0))
    task = DepthTask(images, images, batch=6, device=CPU)
    before = task.validate()
    optimizer = torch.optim.AdamW(task.trained(), lr=2e-3)
    for step in range(20):
        loss, figures = task.step(np.random.default_rng(step), 0.9)
        assert set(figures) == {"absrel"}
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = task.validate()
    assert before["absrel"] > 0.4
    assert after["absrel"] < 0.75 * before["absrel"], (before, after)


def striped_walls(distances: tuple[float, ...]) -> RoomImages:
    """Photos of 32 pixels of a wall with stripes half a metre wide."""
    plain = wall_images([0.0] * len(distances))
    photos, depths = [], []
    for distance in distances:
        x = (np.arange(32) - 16) / 24 * distance
        stripes = np.where((x % 0.5) < 0.25, 220, 30).astype(np.uint8)
        photos.append(np.broadcast_to(stripes[None, :, None], (32, 32, 3)))
        depths.append(np.full((32, 32), distance, np.float16))
    K = plain.K.copy()
    K[:, 0, 0] = K[:, 1, 1] = 24
    return replace(plain, photos=np.stack(photos), depths=np.stack(depths), K=K)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    images = striped_walls((1.0, 3.0))
    whole, first, second = (DepthTask(images, images, batch=2, seed=seed, device=CPU) for seed in (0, 0, 1))
    schedule = replace(schedule_of(steps=3, rate=1e-3), save_every=0.0, picture_every=0)

    def stop(done: int, total: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    figures = loop.train(whole, schedule, tmp_path / "whole", device=CPU)
    assert set(figures) == {"rmse", "absrel", "delta1"}
    with pytest.raises(KeyboardInterrupt):
        loop.train(first, schedule, tmp_path / "parts", device=CPU, progress=stop)
    loop.train(second, schedule, tmp_path / "parts", device=CPU)
    torch.testing.assert_close(second.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_the_command_trains_and_its_weights_are_an_encoder_everywhere(tmp_path: Path) -> None:
    out = tmp_path / "out"
    train, validation = (small_room(split).path.parent for split in ("train", "test"))
    arguments = ["tiny", "depth", train, validation, out]
    assert main([*map(str, arguments), "--steps", "2", "--batch", "2", "--device", "cpu"]) == OK
    card = (out / "tiny-depth.md").read_text()
    assert "fit3d tiny depth" in card
    assert all(name in card for name in ("rmse", "absrel", "delta1"))
    assert len(list((out / "pictures").glob("depth-*.png"))) == 2
    encoder = load_encoder("tiny-depth", out / "tiny-depth.safetensors", "cpu")
    assert isinstance(encoder, TinyDepthEncoder)
    assert isinstance(encoder, TrainableEncoder)
    assert "fit3d" in str(encoder.licence)
    photo = noise(48, 64)
    assert encoder.encode(photo).shape == (6, 8, WIDTH)
    assert encoder.encode_global(photo) is not None
    assert encoder.depth(photo, 50.0).shape == (48, 64)


def test_exported_weights_tell_the_models_depths(tmp_path: Path) -> None:
    model = told_model()
    model.load_state_dict({name: value.half().float() for name, value in model.state_dict().items()})
    save_weights(model, tmp_path / "w.safetensors")
    loaded = load_encoder("tiny-depth", tmp_path / "w.safetensors", "cpu")
    assert isinstance(loaded, TinyDepthEncoder)
    photo = noise()
    torch.testing.assert_close(loaded.depth(photo), TinyDepthEncoder(model).depth(photo), rtol=1e-4, atol=1e-5)
    tuned = loaded.copied()
    with torch.no_grad():
        next(tuned.network.parameters()).add_(1)
    torch.testing.assert_close(loaded.depth(photo), TinyDepthEncoder(model).depth(photo), rtol=1e-4, atol=1e-5)


def test_weights_that_are_missing_or_another_network_s_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_weights(build_tiny_dino(), tmp_path / "dino.safetensors")
    with pytest.raises(InputError, match="does not hold the weights of tiny-depth"):
        load_encoder("tiny-depth", tmp_path / "dino.safetensors", "cpu")
    monkeypatch.setattr(tiny_encoders.importlib.resources, "files", lambda name: tmp_path)
    with pytest.raises(InputError, match="train them with fit3d tiny depth and give the file with --weights"):
        load_encoder("tiny-depth", device="cpu")
