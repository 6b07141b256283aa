"""``fit3d tiny``: trains the small encoders of fit3d."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from app.console import progress_bars, say, wrote


@dataclass(frozen=True)
class Tiny:
    """Train a small encoder, from nothing or from an earlier training, on rooms that ``fit3d rooms`` made.

    An interrupted training goes on where its last checkpoint was.  Writes the weights (half precision), a model
    card and the log; give the weights to any command with --weights, or copy the three into assets/tiny.
    """

    encoder: tyro.conf.Positional[Literal["dino", "clip", "sam", "depth"]]
    """What to train."""
    train: tyro.conf.Positional[Path]
    """Folder with rooms of split train."""
    validation: tyro.conf.Positional[Path]
    """Folder with rooms of split val."""
    out: tyro.conf.Positional[Path]
    """Folder of the training: checkpoint, log, TensorBoard's curves, and in the end the weights."""
    steps: int | None = None
    """Optimizer steps; by default as many as an hour on two cores allows."""
    batch: int | None = None
    """Photos or pairs of a step."""
    rate: float | None = None
    """Learning rate."""
    rooms: int | None = None
    """Use only so many rooms."""
    start: Path | None = None
    """checkpoint.pt of a finished training of the same encoder to go on from, with a schedule of its own (more
    rooms, more steps); by default from nothing."""
    augmentation: str | None = None
    """Change the colours of photos in the place of the usual jitter: a file of fit3d augment search, uniform,
    trivial-ra, trivial-wide or none.  Of these nothing that moves pixels is drawn.  Captions (clip) go on naming the
    colours that things have."""
    seed: int = 0
    """Of weights and batches."""
    threads: int | None = None
    """Processor threads; by default all."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Train and write."""
        import torch

        from render.devices import resolve_device
        from training.augmentation import augmentation_of
        from training.loop import train
        from training.tiny.card import export
        from training.tiny.images import load_room_images
        from training.tiny.task import schedule_of
        from training.tiny.tasks import make_task, recipe_of

        self._check()
        augmentation = None if self.augmentation is None else augmentation_of(self.augmentation).still()
        device = resolve_device(self.device)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        recipe = recipe_of(self.encoder)
        batch = self.batch or recipe.batch
        schedule = schedule_of(steps=self.steps or recipe.steps, rate=self.rate or recipe.rate, seed=self.seed)
        with progress_bars() as progress:
            images = load_room_images(self.train, most=self.rooms, progress=progress)
            validation = load_room_images(self.validation, progress=progress)
            say(f"{len(images)} photos of {len(images.things)} rooms; validation: {len(validation.things)} rooms")
            task = make_task(
                self.encoder,
                images,
                validation,
                batch=batch,
                seed=self.seed,
                device=device,
                augmentation=augmentation,
            )
            figures = train(task, schedule, self.out, start=self.start, device=device, progress=progress)
        say(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        for path in export(task, recipe.about, schedule, images, self.out, figures):
            wrote(path)

    def _check(self) -> None:
        from app.scenes import check_folder, check_positive

        check_folder(self.out)
        check_positive(
            {
                "--steps": self.steps,
                "--batch": self.batch,
                "--rooms": self.rooms,
                "--threads": self.threads,
                "--rate": self.rate,
            }
        )
