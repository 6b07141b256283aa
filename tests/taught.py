"""Distillation for one task in miniature, and a program that does it in several processes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.tiny_models import TINY_VIT
from training.distillation.specific.augmentation import Recipe
from training.distillation.specific.features import FrozenFeatures
from training.distillation.specific.losses import Weighting
from training.distillation.specific.mixing import RegionMixer
from training.distillation.specific.models import Goal, ModelSpec, TaskModel, build_model
from training.distillation.specific.samples import TaskPhotos
from training.distillation.specific.task import MixedIn, TaskTraining
from training.loop import Schedule, train
from training.probing.photos import VOID, ProbeData, ProbePhoto

CLASSES = ("red", "green", "blue")
COLOURS = np.array([(200, 40, 40), (40, 200, 40), (40, 40, 200)], np.uint8)
SIDE, BATCH = 32, 4
SCHEDULE = Schedule(
    steps=4,
    rate=0.05,
    optimizer="sgd",
    weight_decay=1e-3,
    warmup=0.0,
    save_every=0.0,
    log_every=1,
    validate_every=0,
    picture_every=0,
    precision="no",
)


def photo_of(label: int, seed: int, side: int = SIDE) -> np.ndarray:
    """A photo of one colour, with noise."""
    noise = np.random.default_rng(seed).integers(-30, 30, size=(side, side, 3))
    return (COLOURS[label].astype(int) + noise).clip(0, 255).astype(np.uint8)


def map_of(seed: int) -> np.ndarray:
    """Classes in blocks of 16 pixels, ``[32, 48]``, with a row of void."""
    classes = np.random.default_rng(seed).integers(3, size=(2, 3)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
    classes[0] = VOID
    return classes


def pixels_of(seed: int) -> np.ndarray:
    """The photo of a class map."""
    classes = map_of(seed)
    photo: np.ndarray = np.where((classes == VOID)[..., None], 90, COLOURS[np.minimum(classes, 2)]).astype(np.uint8)
    return photo


def small_data(goal: Goal, count: int = 12) -> ProbeData:
    """Photos of one class each, or with class maps; groups of two."""

    def photos(first: int) -> list[ProbePhoto]:
        names = [f"{first + i:03d}" for i in range(count)]
        if goal == "classification":
            return [
                ProbePhoto(name, f"group {i // 2}", partial(photo_of, i % 3, first + i), label=i % 3)
                for i, name in enumerate(names)
            ]
        return [
            ProbePhoto(name, f"group {i // 2}", partial(pixels_of, first + i), classes=partial(map_of, first + i))
            for i, name in enumerate(names)
        ]

    return ProbeData("miniature", photos(0), photos(500), classes=CLASSES)


def write_camvid(folder: Path, count: int = 4) -> None:
    """CamVid's layout with photos of :func:`small_data`, of one drive."""
    for split, first in (("train", 0), ("test", 500)):
        for i in range(count):
            for name, values in ((split, pixels_of(first + i)), (f"{split}_labels", map_of(first + i))):
                (folder / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(folder / name / f"0001_{i:03d}.png")
    listed = [f"{index} {name} 1 2 3" for index, name in enumerate(CLASSES)]
    (folder / "classes.txt").write_text("\n".join([*listed, "255 Void 0 0 0"]))


def spec_of(goal: Goal, name: str, *, frozen: bool = False) -> ModelSpec:
    """A network for :func:`small_data`."""
    return ModelSpec(name=name, goal=goal, classes=len(CLASSES), frozen=frozen, side=SIDE, blocks=2)


def network_of(goal: Goal, weights: Path | None, *, name: str = TINY_VIT, frozen: bool = False) -> TaskModel:
    """A network with random weights, those of a transformer from a file."""
    return build_model(spec_of(goal, name, frozen=frozen), weights=weights, device=torch.device("cpu"))


def make_task(
    goal: Goal,
    student: TaskModel,
    teacher: TaskModel | None = None,
    *,
    mixed: bool = False,
    mixed_in: MixedIn = "distillation",
    recipe: Recipe | None = None,
    weighting: Weighting | None = None,
    batch: int = BATCH,
    held: bool = False,
    features: FrozenFeatures | None = None,
) -> TaskTraining:
    """A student with a teacher, or without."""
    data = small_data(goal)
    photos = TaskPhotos(data.train, goal, len(CLASSES))
    recipe = recipe or Recipe(side=SIDE, scale=0.4)
    return TaskTraining(
        student,
        photos,
        recipe,
        batch=batch,
        teacher=teacher,
        weighting=weighting,
        mixer=RegionMixer(photos, recipe) if mixed else None,
        mixed_in=mixed_in,
        validation=data.test if held else (),
        classes=data.classes,
        features=features,
    )


def taught_deeplab(weights: Path) -> TaskTraining:
    """A DeepLabv3 whose batch norms, dropout and mixed images all cross the border between processes."""
    student = network_of("segmentation", None, name="deeplabv3-resnet18")
    return make_task("segmentation", student, network_of("segmentation", weights, frozen=True), mixed=True)


def taught_vit(weights: Path) -> TaskTraining:
    """A transformer that learns to tell photos, with Mixup and mixed images."""
    student = network_of("classification", weights)
    return make_task("classification", student, network_of("classification", weights, frozen=True), mixed=True)


TASKS: dict[str, Callable[[Path], TaskTraining]] = {"deeplab": taught_deeplab, "vit": taught_vit}


def schedule_of(kind: str) -> Schedule:
    """SGD for the convolutional network, AdamW for the transformer."""
    if kind == "deeplab":
        return replace(SCHEDULE, steps=2, save_every=1e9)
    return replace(SCHEDULE, optimizer="adamw", rate=1e-3, steps=3)


def main() -> None:
    """``python -m tests.taught OUT WEIGHTS``: one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("weights", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for kind, make in TASKS.items():
        task = make(given.weights)
        train(task, schedule_of(kind), given.out / kind, device="cpu")
        torch.save(task.state_dict(), given.out / f"{kind}-{os.environ.get('RANK', '0')}.pt")


if __name__ == "__main__":
    main()
