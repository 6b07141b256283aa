"""Run the variants on a task: masks of the target views, their overlap with the true ones, pictures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.rasterizer import rasterize
from render.views import View
from uplift.evaluation.store import plain_name, save_heat, save_mask
from uplift.evaluation.tasks import Task, find_view
from uplift.evaluation.variants import Scored, Setting, Variant
from uplift.selection import BOUNDARY, Selection
from uplift.thresholds import iou

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

TOLERANCE = 2.0  # pixels of the true mask: those this near to its border are not counted, beside counting all


def evaluate_task(
    task: Task,
    setting: Setting,
    variants: Sequence[Variant],
    *,
    tolerance: float = TOLERANCE,
    pictures: Path | None = None,
    members: Bool[Tensor, " n"] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The figures of one task.

    Args:
        task: What is given and what is true.
        setting: The scene and what the variants need.
        variants: Those to run.
        tolerance: Pixels this near to the true border are not counted in ``iou_tolerant``.
        pictures: Where ``VARIANT/VIEW.png`` and ``VARIANT/VIEW_heat.png`` are written; None = nowhere.
        members: The Gaussians that are the object, where that is known: what is left of it after removing a
            selection is measured too.
        progress: Told of every view of every variant.

    Returns:
        JSON values: ``variants`` with ``iou`` and ``iou_tolerant`` (means over the views, in [0, 1]), ``views``
        with those of each view, ``threshold``, ``seconds`` and ``about``; ``skipped`` with a sentence for each
        variant that cannot run here.

    Raises:
        InputError: a view or a file of the task is missing or of a wrong size.
    """
    (found,) = evaluate_tasks(
        [task],
        setting,
        [variants],
        tolerance=tolerance,
        pictures=[pictures],
        members=[members],
        progress=progress,
    )
    return found


def evaluate_tasks(
    tasks: Sequence[Task],
    setting: Setting,
    variants: Sequence[Sequence[Variant]],
    *,
    tolerance: float = TOLERANCE,
    pictures: Sequence[Path | None] | None = None,
    members: Sequence[Bool[Tensor, " n"] | None] | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """The figures of many tasks in one scene; what all of them show in a view is rendered together.

    Args:
        tasks: What is given and what is true.
        setting: The scene and what the variants need.
        variants: Those to run, for each task.
        tolerance: As :func:`evaluate_task`, like all that follow, which are given for each task.
        pictures: Folders.
        members: Gaussians.
        progress: Told of every variant of every task, then of every view.

    Returns:
        As :func:`evaluate_task`, for each task.

    Raises:
        InputError: a view or a file of a task is missing or of a wrong size.
    """
    targets = [{name: find_view(setting.scene, name) for name in task.truths} for task in tasks]
    references = [find_view(setting.scene, task.reference) for task in tasks]
    prompts = [task.prompt(reference) for task, reference in zip(tasks, references, strict=True)]
    reasons = [{v.name: why for v in own if (why := v.unavailable(setting)) is not None} for own in variants]
    running = [[v for v in own if v.name not in why] for own, why in zip(variants, reasons, strict=True)]
    total, done = sum(map(len, running)), 0
    answers: list[_Answer] = []
    for index, task in enumerate(tasks):
        for variant in running[index]:
            progress(done, total, f"selecting in {setting.scene.path.name}")
            start = time.perf_counter()
            scored = variant.run(setting, prompts[index])
            seconds = time.perf_counter() - start
            folder = pictures[index] if pictures is not None else None
            folder = None if folder is None else folder / plain_name(variant.name)
            answers.append(_Answer(index, task, variant.name, scored, targets[index], folder, seconds))
            done += 1
    progress(total, total, f"selecting in {setting.scene.path.name}")
    _compare(answers, setting, tolerance, progress)
    figures: list[dict[str, Any]] = [{} for _ in tasks]
    for answer in answers:
        own = None if members is None else members[answer.index]
        figures[answer.index][answer.variant] = answer.figures(setting, own)
    return [
        {
            "task": task.name,
            "reference": reference.name,
            "prompt": prompt.about,
            "variants": found,
            "skipped": skipped,
        }
        for task, reference, prompt, found, skipped in zip(tasks, references, prompts, figures, reasons, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Answer:
    """What a variant answers to a task, and how it overlaps with the truth, view by view."""

    index: int
    task: Task
    variant: str
    scored: Scored
    targets: Mapping[str, View]
    pictures: Path | None
    seconds: float
    views: dict[str, dict[str, float]] = field(default_factory=dict)

    def compare(self, name: str, scores: Float[np.ndarray, "H W"], tolerance: float) -> None:
        """Note the overlap in a view, and draw it."""
        view, truth = self.targets[name], self.task.truths[name]()
        scores = _at_size(scores, truth)
        mask = scores >= self.scored.threshold
        self.views[view.name] = {"iou": iou(mask, truth), "iou_tolerant": iou(mask, truth, tolerance)}
        if self.pictures is not None:
            save_mask(self.pictures / f"{view.name}.png", mask)
            save_heat(self.pictures / f"{view.name}_heat.png", scores, self.scored.threshold)

    def figures(self, setting: Setting, members: Bool[Tensor, " n"] | None) -> dict[str, Any]:
        """All figures as JSON values."""
        names = [view.name for view in self.targets.values()]
        found: dict[str, Any] = {
            "iou": float(np.mean([self.views[name]["iou"] for name in names])),
            "iou_tolerant": float(np.mean([self.views[name]["iou_tolerant"] for name in names])),
            "views": {name: self.views[name] for name in names},
        }
        if members is not None and self.scored.selection is not None:
            found |= _left_of(self.scored.selection, setting, members, self.task, self.targets)
        about = dict(self.scored.about)
        return {**found, "threshold": self.scored.threshold, "seconds": self.seconds, "about": about}


@torch.no_grad()
def _compare(answers: Sequence[_Answer], setting: Setting, tolerance: float, progress: Progress) -> None:
    """Overlap with the true masks, view by view."""
    views = {view.name: view for answer in answers for view in answer.targets.values()}
    for done, (view_name, view) in enumerate(views.items()):
        progress(done, len(views), f"comparing in {setting.scene.path.name}")
        here = [(a, name) for a in answers for name, target in a.targets.items() if target.name == view_name]
        columns = [answer.scored.column for answer, _ in here]
        drawn = iter(_drawn(setting, view, [column for column in columns if column is not None]))
        for (answer, name), column in zip(here, columns, strict=True):
            scored = answer.scored
            answer.compare(name, scored.scores(view) if column is None else scored.finish(view, next(drawn)), tolerance)
    progress(len(views), len(views), f"comparing in {setting.scene.path.name}")


def _drawn(setting: Setting, view: View, columns: Sequence[Float[Tensor, " n"]]) -> list[Float[Tensor, "h w"]]:
    if not columns:
        return []
    values = torch.stack([column.to(setting.gaussians.means) for column in columns], dim=1)
    return list(rasterize(setting.gaussians, view.covering_camera, values).values.unbind(2))


def _at_size(scores: Float[np.ndarray, "H W"], truth: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Scores of a photo at the size of its true mask, which may have been drawn at another resolution."""
    import cv2

    scores = scores.astype(np.float32)
    if scores.shape == truth.shape:
        return scores
    shrinks = truth.shape[1] < scores.shape[1]
    size = (truth.shape[1], truth.shape[0])
    return cv2.resize(scores, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _left_of(
    selection: Selection,
    setting: Setting,
    members: Bool[Tensor, " n"],
    task: Task,
    targets: Mapping[str, View],
) -> dict[str, float]:
    """What of the object is still seen when the selection is taken away, and which Gaussians went with it."""
    truths = [(view, task.truths[name]()) for name, view in targets.items()]
    members = members.to(selection.mask.device)
    inside = int((selection.mask & members).sum())
    return {
        "left": share_left(setting.gaussians, selection.with_margin(setting.segmenter.graph), members, truths),
        "left_without_margin": share_left(setting.gaussians, selection, members, truths),
        "gaussians_precision": inside / max(len(selection), 1),
        "gaussians_recall": inside / max(int(members.sum()), 1),
    }


@torch.no_grad()
def share_left(
    gaussians: Gaussians,
    selection: Selection,
    members: Bool[Tensor, " n"],
    truths: Sequence[tuple[View, Bool[np.ndarray, "h w"]]],
) -> float:
    """The share of an object's pixels that still show it when a selection is removed.

    Args:
        gaussians: The scene.
        selection: What is removed.
        members: The Gaussians that are the object.
        truths: Views, undistorted and at the size of their camera, with the object's pixels.

    Returns:
        In [0, 1]: pixels of the object to which its remaining Gaussians still contribute at least half.
    """
    kept = ~selection.mask.to(gaussians.device)
    remaining = gaussians[kept]
    shown = members.to(gaussians.device)[kept].to(gaussians.means)[:, None]
    left = total = 0
    for view, truth in truths:
        total += int(truth.sum())
        if len(remaining):
            drawn = rasterize(remaining, view.camera, shown).values[..., 0].cpu().numpy()
            left += int((truth & (drawn >= BOUNDARY)).sum())
    return left / max(total, 1)


def mean_of(figures: Sequence[Mapping[str, Any]], variant: str, key: str = "iou") -> float | None:
    """The mean of a figure over tasks; None if a task lacks it."""
    values = [task["variants"].get(variant, {}).get(key) for task in figures]
    return None if not values or any(value is None for value in values) else float(np.mean(values))
