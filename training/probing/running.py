"""One probe: features of a source, heads of several seeds, figures."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch

from render.errors import InputError
from render.progress import Progress, silent
from training.probing.augmented import Augmenting
from training.probing.dpt import fit_dpt
from training.probing.heads import Predictor, fit_classification, fit_depth, fit_segmentation
from training.probing.photos import ProbeData, ProbePhoto, Task
from training.probing.scores import ScoreKeeper, Scores, as_json
from training.probing.settings import DptSettings, ProbeSettings
from training.probing.sources import FeatureSource

Head = Literal["linear", "dpt"]
FITS = {"segmentation": fit_segmentation, "depth": fit_depth, "classification": fit_classification}


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """What a probe found.

    Attributes:
        source: Name of the source.
        task: What was told.
        head: By what.
        seeds: Of the heads.
        scores: On the test photos.
        seconds: That fitting and measuring took, features included.
        told: What the first seed said of the photos that were to be shown, by their index.
    """

    source: str
    task: Task
    head: Head
    seeds: tuple[int, ...]
    scores: Scores
    seconds: float
    told: Mapping[int, np.ndarray] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """As JSON values, without pictures."""
        about = {"source": self.source, "task": self.task, "head": self.head, "seeds": list(self.seeds)}
        return {**about, "seconds": round(self.seconds, 1), **as_json(self.scores)}


def run_probe(
    data: ProbeData,
    task: Task,
    source: FeatureSource,
    *,
    head: Head = "linear",
    seeds: Sequence[int] = (0, 1, 2),
    settings: ProbeSettings | None = None,
    dpt: DptSettings | None = None,
    augmenting: Augmenting | None = None,
    show: Collection[int] = (),
    device: str | torch.device = "cpu",
    progress: Progress = silent,
) -> ProbeResult:
    """Fit heads on features of the training photos, and measure them on the test photos.

    Args:
        data: Both kinds of photos.
        task: What is told of them.
        source: Of the features; one that adapts to photos is fitted to those of the training.
        head: linear, or dpt.
        seeds: One head for each.
        settings: How linear heads are fitted.
        dpt: How DPT heads are fitted.
        augmenting: How training photos are augmented; None = they are not.
        show: Indices of test photos that predictions are kept of.
        device: Where heads are fitted.
        progress: Told of photos and steps.

    Raises:
        InputError: the data do not have what the task needs, seeds are missing or twice, or the source does not
            have what the head needs, or knows certain photos alone while they are augmented, or heads diverge.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"A probe takes different seeds, at least one; found {list(seeds)}.")
    chosen = data.for_task(task)
    start, device = time.perf_counter(), torch.device(device)
    truth_of(chosen.test[0], task)  # refused now rather than after the heads were fitted
    source.fit(chosen.train, progress)
    taught = chosen if augmenting is None else replace(chosen, train=augmenting.of(chosen.train, task))
    if head == "dpt":
        predictor = fit_dpt(taught, task, source, dpt or DptSettings(), seeds, device, progress)
    else:
        predictor = FITS[task](taught, source, settings or ProbeSettings(), seeds, device, progress)
    scores, told = _measure(chosen, task, predictor, len(seeds), show, f"measuring {source.name}", progress)
    return ProbeResult(source.name, task, head, tuple(seeds), scores, time.perf_counter() - start, told)


def _measure(
    data: ProbeData,
    task: Task,
    predictor: Predictor,
    seeds: int,
    show: Collection[int],
    what: str,
    progress: Progress,
) -> tuple[Scores, dict[int, np.ndarray]]:
    keeper = ScoreKeeper(task, data.classes if task != "depth" else (), seeds)
    shown: dict[int, np.ndarray] = {}
    for index, photo in enumerate(data.test):
        progress(index, len(data.test), what)
        truth = truth_of(photo, task)
        for seed, told in enumerate(predictor.tell(photo, (truth.shape[0], truth.shape[-1]))):
            if task == "segmentation":
                keeper.add_classes(photo.group, seed, told, truth)
            elif task == "depth":
                keeper.add_depth(photo.group, seed, told, truth)
            else:
                keeper.add_label(photo.group, seed, int(told[0]), int(truth[0]))
            if seed == 0 and index in show:
                shown[index] = told
    progress(len(data.test), len(data.test), what)
    scores = keeper.scores()
    if not all(np.isfinite(values).all() for values in scores.figures().values()):
        raise InputError(f"{what.capitalize()}: expected finite figures, found others; choose a smaller rate.")
    return scores, shown


def truth_of(photo: ProbePhoto, task: Task) -> np.ndarray:
    """What is true of a photo: ``[h, w]`` classes or metres, or ``[1]``, its label."""
    if task == "classification":
        return np.array([photo.label])
    read = photo.classes if task == "segmentation" else photo.depth
    if read is None:
        raise InputError(f"Nothing is known of {photo.name} for the task {task}.")
    return read()
