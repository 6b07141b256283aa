"""Run the variants on a task: masks of the target views, their overlap with the true ones, pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
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
    reference = find_view(setting.scene, task.reference)
    targets = {name: find_view(setting.scene, name) for name in task.truths}
    prompt = task.prompt(reference)
    skipped = {v.name: why for v in variants if (why := v.unavailable(setting)) is not None}
    running = [v for v in variants if v.name not in skipped]
    total = len(running) * len(targets)
    figures: dict[str, Any] = {}
    for done, variant in enumerate(running):

        def report(view: int, what: str = f"{task.name}: {variant.name}", start: int = done * len(targets)) -> None:
            progress(start + view, total, what)

        folder = None if pictures is None else pictures / plain_name(variant.name)
        report(0)
        start = time.perf_counter()
        scored = variant.run(setting, prompt)
        seconds = time.perf_counter() - start
        found = _overlaps(task, scored, targets, tolerance, folder, report)
        if members is not None and scored.selection is not None:
            found |= _left_of(scored.selection, setting, members, task, targets)
        about = dict(scored.about)
        figures[variant.name] = {**found, "threshold": scored.threshold, "seconds": seconds, "about": about}
    progress(total, total, task.name)
    return {
        "task": task.name,
        "reference": reference.name,
        "prompt": prompt.about,
        "variants": figures,
        "skipped": skipped,
    }


def _overlaps(
    task: Task,
    scored: Scored,
    targets: Mapping[str, View],
    tolerance: float,
    pictures: Path | None,
    report: Callable[[int], None],
) -> dict[str, Any]:
    """Overlap with the true masks, per view and on average."""
    views: dict[str, dict[str, float]] = {}
    for done, (name, view) in enumerate(targets.items()):
        report(done)
        truth = task.truths[name]()
        scores = _at_size(scored.scores(view), truth)
        mask = scores >= scored.threshold
        views[view.name] = {"iou": iou(mask, truth), "iou_tolerant": iou(mask, truth, tolerance)}
        if pictures is not None:
            save_mask(pictures / f"{view.name}.png", mask)
            save_heat(pictures / f"{view.name}_heat.png", scores, scored.threshold)
    return {
        "iou": float(np.mean([view["iou"] for view in views.values()])),
        "iou_tolerant": float(np.mean([view["iou_tolerant"] for view in views.values()])),
        "views": views,
    }


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
