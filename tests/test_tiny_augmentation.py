"""Trainings of the tiny encoders with augmentations that were asked for."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from app.main import OK, main
from render.errors import InputError
from tests.small_rooms import small_room
from training.augmentation import Augmentation, augmentation_of
from training.augmentation.policy import Policy
from training.tiny.images import load_room_images
from training.tiny.task import TinyTask
from training.tiny.tasks import Name, make_task

CPU = torch.device("cpu")
INVERTED = Augmentation(Policy.uniform(("Invert", "Rotate"), steps=1))


def task_of(name: Name, augmentation: Augmentation | None) -> TinyTask:
    images = load_room_images(small_room("train").path.parent)
    return make_task(name, images, images, batch=2, seed=0, device=CPU, augmentation=augmentation)


def first_loss(name: Name, augmentation: Augmentation | None) -> float:
    task = task_of(name, augmentation)
    torch.manual_seed(0)
    return task.step(np.random.default_rng(0), 0.0)[0].item()


@pytest.mark.parametrize("name", get_args(Name))
def test_every_encoder_learns_from_photos_in_other_colours(name: Name) -> None:
    # Both draw as many numbers, so what differs is what the network sees.
    plain, changed, again = (first_loss(name, one) for one in (augmentation_of("none"), INVERTED, INVERTED))
    assert changed == again
    assert changed != plain


def test_colours_alone_are_changed() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    inverted = task_of("depth", INVERTED).coloured(np.random.default_rng(1), images, 1.0)
    np.testing.assert_allclose(inverted, 1 - images / 255, atol=1e-6)
    as_they_are = task_of("depth", augmentation_of("none")).coloured(np.random.default_rng(1), images, 1.0)
    np.testing.assert_allclose(as_they_are, images / 255, atol=1e-6)


def test_what_only_moves_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="only moves and hides pixels"):
        task_of("dino", Augmentation(Policy.uniform(("Rotate",))))


def test_the_command_says_which_and_goes_on_with_the_same_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, validation = (small_room(split).path.parent for split in ("train", "test"))
    command = [*map(str, ("tiny", "depth", train, validation, tmp_path)), "--batch", "2", "--steps", "2"]
    assert main([*command, "--augmentation", "uniform", "--device", "cpu"]) == OK
    assert augmentation_of("uniform").still().title in (tmp_path / "tiny-depth.md").read_text()
    assert main([*command, "--augmentation", "trivial-wide", "--device", "cpu"]) != OK
    assert "augmentation" in capsys.readouterr().err
