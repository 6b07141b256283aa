"""A fine-tuning that takes seconds, and a program that does it until it is killed."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
from pathlib import Path

from tests.miniatures import tiny_objects
from tests.tiny_models import TINY_VIT
from training.finetuning.scenes import TunedScenes
from training.finetuning.targets import TargetKind, make_targets
from training.finetuning.task import FineTuning, Refresh
from training.loop import Schedule, train
from training.scenes import open_scenes
from uplift.encoders import TrainableEncoder, load_encoder

SCHEDULE = Schedule(
    steps=8,
    rate=2e-3,
    weight_decay=1e-4,
    warmup=0.0,
    decay="constant",
    clip=None,
    save_every=0.0,
    log_every=2,
    validate_every=4,
    picture_every=0,
    precision="no",
)


def two_scenes(folder: Path) -> Path:
    """A folder of two scenes, the same twice: photos of four views, Gaussians."""
    source = tiny_objects().scene.path
    for name in ("first", "second"):
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("transports", "fields"))
    return folder


def encoder_of(weights: Path) -> TrainableEncoder:
    """A ViT with random weights, of 64 channels and patches of 16 pixels."""
    encoder = load_encoder(TINY_VIT, weights, "cpu")
    assert isinstance(encoder, TrainableEncoder)
    return encoder


def make_task(
    scenes: Path,
    weights: Path,
    *,
    targets: TargetKind = "lifted",
    refresh: Refresh = "once",
    adapter: bool = False,
    batch: int = 2,
    validation: bool = False,
) -> FineTuning:
    """Two epochs of a folder of scenes."""
    encoder = encoder_of(weights)
    tuned = TunedScenes(open_scenes([scenes]), encoder)
    held = TunedScenes(open_scenes([scenes], 1), encoder) if validation else None
    made = make_targets(targets, tuned)
    return FineTuning(encoder, made, validation=held, batch=batch, epochs=2, refresh=refresh, adapter=adapter)


def main() -> None:
    """``python -m tests.tuned OUT SCENES WEIGHTS --kill-step STEP``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--kill-step", type=int, required=True)
    options = parser.parse_args()
    task = make_task(options.scenes, options.weights, refresh="every-epoch")

    def kill(progress: float) -> None:
        if progress >= options.kill_step / SCHEDULE.steps:
            os.kill(os.getpid(), signal.SIGKILL)

    task.after_step = kill  # type: ignore[method-assign]
    train(task, SCHEDULE, options.out, device="cpu")


if __name__ == "__main__":
    main()
