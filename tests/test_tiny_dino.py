"""tiny-dino: the network, its training task, and the encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from render.errors import InputError
from tests.test_tiny_pairs import wall_images
from training.loop import save_weights, train
from training.rooms.cameras import room_cameras
from training.rooms.layout import build_room
from training.rooms.rendering import RoomRenderer
from training.tiny.dino import DinoTask, belonging, contrast
from training.tiny.images import RoomImages
from training.tiny.pairs import Pairs
from training.tiny.patches import measure_patches
from training.tiny.task import schedule_of
from uplift.encoders import load_encoder
from uplift.encoders.tiny_dino import PATCH, WIDTH, build_tiny_dino, tokens

CPU = torch.device("cpu")
BEYOND = 64  # pixels beyond a patch that the stem of convolutions may see


def small_task() -> DinoTask:
    images = wall_images([0.0, 0.3, 0.6])
    return DinoTask(images, images, batch=4, device=CPU)


def test_what_hidden_patches_show_changes_nothing() -> None:
    torch.manual_seed(0)
    model = build_tiny_dino().eval()
    pixels = torch.randn(1, 3, 64, 128)
    mask = torch.zeros(1, 8, 16, dtype=torch.bool)
    mask[:, :, 6:] = True
    other = pixels.clone()
    other[..., 6 * PATCH + BEYOND :] += 1.0
    hidden = torch.randn(WIDTH)
    with torch.no_grad():
        torch.testing.assert_close(tokens(model, pixels, mask, hidden), tokens(model, other, mask, hidden))
        assert not torch.allclose(tokens(model, pixels)[1], tokens(model, other)[1], atol=1e-2)


def test_tokens_are_those_of_the_library_s_own_forward_pass() -> None:
    model = build_tiny_dino().eval()
    pixels = torch.randn(2, 3, 48, 64)
    with torch.no_grad():
        whole, patches = tokens(model, pixels)
        expected = model.forward_features(pixels)
    torch.testing.assert_close(torch.cat([whole[:, None], patches.flatten(1, 2)], 1), expected)
    assert patches.shape == (2, 6, 8, WIDTH)


def test_the_student_learns_from_every_loss_and_the_teacher_follows() -> None:
    task = small_task()
    loss, figures = task.step(np.random.default_rng(0), 0.0)
    assert set(figures) >= {"patches", "whole"}
    assert all(np.isfinite(value) and value > 0 for value in figures.values())
    loss.backward()
    parameters = dict(task.student.named_parameters())
    assert parameters["hidden"].grad is not None
    assert float(parameters["hidden"].grad.abs().sum()) > 0
    assert all(p.grad is None for p in task.teacher.parameters())
    before = task.teacher.hidden.clone()
    with torch.no_grad():
        task.student.hidden += 1
    task.after_step(0.0)
    assert torch.all((task.teacher.hidden > before) & (task.teacher.hidden < task.student.hidden))


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    class Unmeasured(DinoTask):
        def validate(self) -> dict[str, float]:
            return {}

    images = wall_images([0.0, 0.3, 0.6])
    whole, first, second = (Unmeasured(images, images, batch=2, seed=seed, device=CPU) for seed in (0, 0, 1))
    schedule = replace(schedule_of(steps=3, rate=1e-3), save_every=0.0)

    def stop(done: int, total: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    train(whole, schedule, tmp_path / "whole", device=CPU)
    with pytest.raises(KeyboardInterrupt):
        train(first, schedule, tmp_path / "parts", device=CPU, progress=stop)
    train(second, schedule, tmp_path / "parts", device=CPU)
    # The remembered crops are among the state.
    torch.testing.assert_close(second.state_dict(), whole.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(second._whole.memory_bank.bank, whole._whole.memory_bank.bank, rtol=0, atol=0)


def pairs_at(points: list[list[float]], others: list[list[float]], extent: float = 0.1) -> Pairs:
    places = np.array([[points], [others]], np.float32)[:, 0]
    return Pairs(np.zeros((2, 8, 8, 3), np.uint8), places, np.full(places.shape[:2], extent, np.float32))


def test_patches_belong_to_those_that_are_near_in_the_room() -> None:
    pairs = pairs_at([[0, 0, 0], [1, 0, 0]], [[1.01, 0, 0], [0.2, 0, 0]])
    same = belonging(pairs, np.array([0.0]))
    assert same.shape == (2, 2, 2)
    assert float(same[0, 1, 0]) > 0.9
    assert float(same.sum()) == pytest.approx(2 * float(same[0, 1, 0]))  # nothing else is near
    wide = belonging(pairs, np.array([0.4]))
    assert 0 < float(wide[0, 0, 1]) < float(wide[0, 1, 0])
    torch.testing.assert_close(wide[1], wide[0].T)


def test_patches_that_show_nothing_belong_to_none() -> None:
    pairs = pairs_at([[0, 0, 0]], [[0, 0, 0]], extent=0.0)
    assert float(belonging(pairs, np.array([1.0])).sum()) == 0


def test_the_contrast_is_least_where_guesses_say_what_they_belong_to() -> None:
    torch.manual_seed(0)
    answers = torch.nn.functional.normalize(torch.randn(4, 9, 16), dim=2)
    near = torch.eye(9).expand(4, 9, 9)
    right, wrong = (float(contrast(answers.roll(by, 0), answers, near)) for by in (2, 1))
    assert right < 0.5 < wrong
    counted = near.clone()
    counted[:, 1:] = 0
    assert float(contrast(answers.roll(2, 0), answers, counted)) < 0.5
    assert float(contrast(answers, answers, torch.zeros_like(near))) == 0


def test_exported_tokens_are_standardized_and_otherwise_the_teacher_s() -> None:
    task = small_task()
    model, _ = task.exported()
    pixels = task._pixels(task._images.photos.astype(np.float32) / 255)
    with torch.no_grad():
        before, after = (tokens(net, pixels)[1].flatten(0, 2) for net in (task.teacher.backbone, model))
    assert float(after.mean(0).abs().max()) < 0.1
    torch.testing.assert_close(after.std(0), torch.ones(WIDTH), atol=0.1, rtol=0)
    assert float(before.std(0).mean()) < 0.9
    correlation = ((before - before.mean(0)) / before.std(0) * after).mean(0)
    assert float(correlation.min()) > 0.98


def test_features_that_are_the_truth_measure_as_perfect() -> None:
    images = wall_images([0.0, 0.3, 0.6, 0.9])
    things = (np.indices(images.classes.shape).sum(0) // 32 % 3).astype(np.uint8)
    images = type(images)(
        images.photos, things, things.astype(np.int16), images.depths, images.K, images.world_to_camera,
        np.array([0, 0, 1, 1]), [[], []],
    )  # fmt: skip
    truth = torch.nn.functional.one_hot(torch.from_numpy(things[:, 4::8, 4::8]).long(), 3).float()
    rows = iter([truth])

    figures = measure_patches(lambda photos: next(rows), images)
    assert figures["accuracy"] == pytest.approx(100)
    assert figures["grouping"] == pytest.approx(100)
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(*truth.shape[:3], 4)).astype(np.float32))
    rows = iter([noise])
    assert measure_patches(lambda photos: next(rows), images)["grouping"] == pytest.approx(50, abs=3)


def furnished_rooms() -> RoomImages:
    """Photos of some rooms of a split that nothing is trained on, with their classes and instances."""
    shown, numbers = [], []
    for index in range(4):
        room = build_room("val", index)
        renderer = RoomRenderer(room, threads=1)
        cameras = room_cameras(room, 3, 192, 192, 0, surfaces=renderer.surfaces, caster=renderer.caster)
        shown += [renderer.render(camera) for camera in cameras]
        numbers += [index] * len(cameras)
    still = np.tile(np.eye(4, dtype=np.float32), (len(shown), 1, 1))
    return RoomImages(
        np.stack([image.rgb for image in shown]),
        np.stack([image.classes for image in shown]),
        np.stack([image.instances for image in shown]),
        np.stack([image.depth for image in shown]),
        still[:, :3, :3],
        still,
        np.array(numbers),
        [[]] * 4,
    )


def test_the_bundled_weights_know_more_of_unseen_rooms_than_random_ones() -> None:
    rooms = furnished_rooms()

    def measured(name: str) -> dict[str, float]:
        encoder = load_encoder(name, device="cpu")
        return measure_patches(lambda photos: torch.stack([encoder.encode(p) for p in photos]), rooms)

    trained, untrained = measured("tiny-dino"), measured("tiny-dino-untrained")
    assert trained["grouping"] > untrained["grouping"] + 2
    assert trained["accuracy"] > untrained["accuracy"]


def test_weights_of_an_own_training_can_be_loaded(tmp_path: Path) -> None:
    torch.manual_seed(3)
    file = tmp_path / "w.safetensors"
    save_weights(build_tiny_dino(), file)
    encoder = load_encoder("tiny-dino", weights=file, device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (100, 140, 3), dtype=np.uint8)
    features = encoder.encode(image)
    assert features.shape[2] == WIDTH
    assert features.shape[:2] == (13, 18)
    assert bool(torch.isfinite(features).all())
    untrained = load_encoder("tiny-dino-untrained", device="cpu")
    assert not torch.allclose(untrained.encode(image), features, atol=0.1)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_weights(torch.nn.Linear(3, 3), file)
    with pytest.raises(InputError, match="does not hold the weights of tiny-dino"):
        load_encoder("tiny-dino", weights=file, device="cpu")


def test_the_untrained_network_is_the_same_every_time() -> None:
    first, second = (load_encoder("tiny-dino-untrained", device="cpu") for _ in range(2))
    assert first.weights_hash() == second.weights_hash()
