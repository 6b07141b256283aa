"""Fine-tunings: the same targets for all seeds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from render.progress import Progress, silent
from training.finetuning.export import FILE, export
from training.finetuning.scenes import Forward, TunedScenes
from training.finetuning.targets import Target, Targets, make_targets
from training.finetuning.task import FineTuning
from training.reproduction.costs import last_logged, peak_of_job
from training.reproduction.fit3d.places import Places, targets_made, tuned
from training.reproduction.fit3d.plan import Plan, Tuning
from uplift.encoders.finetuned import FineTuned

if TYPE_CHECKING:
    from training.loop import Schedule

SAVE_EVERY = 60.0  # seconds: what a killed fine-tuning does again at most


class KeptTargets(Targets):
    """Targets that are rendered when they are asked for, kept in half precision for all trainings.

    Args:
        inner: They stay as they are whatever a network learns.
    """

    follows = False

    def __init__(self, inner: Targets) -> None:
        super().__init__(inner.scenes)
        self.kind = inner.kind
        self._inner = inner
        self._kept: dict[tuple[int, int], Target] = {}

    def prepare(self, forward: Forward, progress: Progress = silent) -> None:
        """Whatever they need."""
        self._inner.prepare(forward, progress)

    def of(self, scene: int, view: int) -> Target:
        """The target of a view."""
        found = self._kept.get((scene, view))
        if found is None:
            made = self._inner.of(scene, view)
            found = self._kept.setdefault((scene, view), Target(made.features.half(), made.mask))
        return Target(found.features.float(), found.mask)

    def identity(self) -> dict[str, Any]:
        """That of what is kept."""
        return self._inner.identity()


def tune(
    out: Path, plan: Plan, encoder: str, tuning: Tuning, seeds: Sequence[int], *, progress: Progress = silent
) -> None:
    """Fine-tune an encoder once for each seed; what is done is kept, what was interrupted goes on.

    Args:
        out: Folder of the reproduction.
        plan: Its sizes.
        encoder: A name of the plan's encoders.
        tuning: Targets, epochs, scenes.
        seeds: Of the order of the photos and the mirrored ones.
        progress: Told of targets and steps.

    Raises:
        InputError: scenes or the encoder are missing, or what is there was made with other settings.
    """
    from training.loop import CHECKPOINT, train

    places = Places(out, plan)
    store = places.store(tuning)
    missing = untuned_seeds(places, encoder, tuning, seeds)
    if not missing:
        return
    original = places.encoder(encoder)
    scenes = TunedScenes(places.scenes(tuning.scenes), original)
    targets = make_targets(tuning.targets, scenes)
    if tuning.targets == "learned":
        targets = KeptTargets(targets)
    # Once for all trainings: every one begins with the original network.
    began = time.perf_counter()
    with torch.no_grad():
        targets.prepare(lambda pixels: original.tokens(pixels).patches, progress)
    spent = {"scenes": len(scenes.scenes), "seconds": time.perf_counter() - began, "peak": peak_of_job()}
    if store.get(targets_made(encoder, tuning)) is None:
        store.put(targets_made(encoder, tuning), spent)
    for seed in missing:
        task = FineTuning(
            original,
            # What a training makes again belongs to it alone.
            copy(targets),
            batch=plan.batch,
            epochs=tuning.epochs,
            refresh=tuning.refresh,
            adapter=tuning.adapter,
            prepared=True,
            seed=seed,
            progress=progress,
        )
        schedule, folder = _schedule(plan, task.steps, seed), places.tuned(encoder, tuning, seed)
        train(task, schedule, folder, device="cpu", progress=progress)
        _write(task, tuning, folder, progress)
        figures = {name: last_logged(folder, name) for name in ("seconds", "loss")}
        store.put(tuned(encoder, tuning, seed), {"steps": schedule.steps, "peak": peak_of_job(), **figures})
        (folder / CHECKPOINT).unlink(missing_ok=True)


def untuned_seeds(places: Places, encoder: str, tuning: Tuning, seeds: Sequence[int]) -> list[int]:
    """The seeds whose fine-tunings are not there yet.

    Raises:
        InputError: figures that are there are damaged, or were made with other settings.
    """
    store = places.store(tuning)
    return [
        seed
        for seed in seeds
        if store.get(tuned(encoder, tuning, seed)) is None or not places.tuned_file(encoder, tuning, seed).is_file()
    ]


def _schedule(plan: Plan, steps: int, seed: int) -> Schedule:
    from training.loop import Schedule

    return Schedule(
        steps=steps,
        rate=plan.rate,
        weight_decay=plan.weight_decay,
        warmup=0.0,
        decay=plan.decay,
        clip=None,
        seed=seed,
        save_every=SAVE_EVERY,
        validate_every=0,
        picture_every=0,
    )


def _write(task: FineTuning, tuning: Tuning, folder: Path, progress: Progress) -> None:
    """The encoder's file; the linear layer that fuses features is fitted for 3D-aware ones alone."""
    if tuning.targets == "lifted" and not tuning.adapter:
        export(task, folder, progress=progress)
        return
    student = task.student
    network = None if student.adapter is not None else student.network.state_dict()
    FineTuned(network=network, adapter=student.adapter, training=task.identity()).save(folder / FILE, task.encoder)
