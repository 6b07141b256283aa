"""Whether features alone tell an object from its background: decided on the reference view, before P is used.

The unary term of LUDVIG is as good as its features: colours make it harmful, a foundation model helpful.  Half
of the marked Gaussians say how well it tells the other half apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from render.gaussians import Gaussians
from render.rasterizer import rasterize
from uplift.graph import Metric, NeighbourGraph
from uplift.prompts import Prompt
from uplift.thresholds import best_iou_threshold, li_threshold
from uplift.unary import LogisticModel, mean_feature_unary

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

FEWEST = 20  # anchors of each label in each half,
FEWEST_OF_STROKES = 100  # of which fewer show a part of the object only
EVIDENCE = 0.98  # balanced accuracy on the other half, from which on P is used
BLOCK = 64  # neighbouring nodes that fall into the same half
ROWS = 2000  # of each class that the halves are fitted on
BANDWIDTHS = (0.5, 1.0, 2.0)


def combined_with_unary(
    gaussians: Gaussians,
    graph: NeighbourGraph,
    values: Float[Tensor, "n c"],
    metric: Metric,
    scores: Float[Tensor, " n"],
    prompts: Sequence[Prompt],
    foreground: Bool[Tensor, " n"],
    background: Bool[Tensor, " n"],
    *,
    default: tuple[float, str],
    unary: str,
    bandwidth: float | None,
    threshold: float | None,
) -> tuple[Float[Tensor, " n"], dict[str, Any]]:
    """The walker's probabilities, multiplied by the unary term if that is asked for or the evidence says so.

    Args:
        gaussians: The scene.
        graph: With the distances of ``values``.
        values: Features; ``[n, c]``.
        metric: How they are compared.
        scores: The walker's probabilities; ``[n]``.
        prompts: What was marked.
        foreground: Anchors of the object; ``[n]`` bool.
        background: Anchors of the background.
        default: Threshold of the walker's probabilities, and where it is from.
        unary: auto, yes or no.
        bandwidth: b of the unary term instead of the chosen one.
        threshold: Instead of the chosen one.

    Returns:
        Scores ``[n]``, and the threshold of their renderings with the reasons.
    """
    plain = {
        "threshold": default[0] if threshold is None else threshold,
        "threshold_from": default[1] if threshold is None else "given",
    }
    if unary == "no":
        return scores, plain | {"unary": "not used: switched off"}
    complete = all(prompt.complete for prompt in prompts)
    normalize = metric == "cosine"
    if unary == "auto":
        found = held_out_accuracy(graph, values, foreground, background, complete=complete, normalize=normalize)
        plain["evidence"] = found
        if found < EVIDENCE:
            said = f"not used: features alone tell {found:.1%} of the marked Gaussians, needed are {EVIDENCE:.0%}"
            return scores, plain | {"unary": said}
    widths = BANDWIDTHS if bandwidth is None else (bandwidth,)
    products = [scores * _unary(values, foreground, background, width, complete, normalize) for width in widths]
    judged = [_agreement(gaussians, product, prompts) for product in products]
    best = max(range(len(widths)), key=lambda index: judged[index][1])
    chosen = {
        "threshold": judged[best][0] if threshold is None else threshold,
        "threshold_from": "the overlap with what was marked" if threshold is None else "given",
        "unary": "logistic regression" if complete else "mean feature of the anchors",
        "unary_bandwidth": widths[best],
    }
    return products[best], plain | chosen


def held_out_accuracy(
    graph: NeighbourGraph,
    values: Float[Tensor, "n c"],
    foreground: Bool[Tensor, " n"],
    background: Bool[Tensor, " n"],
    *,
    complete: bool,
    normalize: bool,
) -> float:
    """Balanced accuracy with which the unary term of one half of the anchors tells the other half, both ways.

    Halves are made of blocks that lie together, so that no Gaussian is told by its neighbour.  0 where a half
    has too few of a label.
    """
    blocks = torch.empty(graph.n, dtype=torch.long)
    blocks[graph.order] = torch.arange(graph.n) // BLOCK
    accuracies = []
    for parity in (0, 1):
        known = (blocks % 2 == parity).to(foreground.device)
        sets = [foreground & known, background & known, foreground & ~known, background & ~known]
        if any(int(one.sum()) < (FEWEST if complete else FEWEST_OF_STROKES) for one in sets):
            return 0.0
        own = [_some(one) for one in sets]
        if complete:
            rows = torch.cat([own[0], own[1]])
            positive = torch.arange(len(rows), device=rows.device) < len(own[0])
            model = LogisticModel.fit(values[rows], positive, balanced=True, normalize=normalize)
            told = [model.probability(values[one]) >= 0.5 for one in own[2:]]
        else:
            rows = torch.cat(own)
            anchors = torch.arange(len(rows), device=rows.device) < len(own[0])
            term = mean_feature_unary(values[rows], anchors, 1.0, normalize=normalize)
            parts = term.split([len(one) for one in own])
            cut, _ = best_iou_threshold(
                torch.cat(parts[:2]).cpu().numpy(), np.arange(len(own[0]) + len(own[1])) < len(own[0])
            )
            told = [part >= cut for part in parts[2:]]
        accuracies.append((told[0].float().mean() + 1 - told[1].float().mean()) / 2)
    return float(torch.stack(accuracies).mean())


def _some(members: Bool[Tensor, " n"]) -> Tensor:
    """At most ``ROWS`` of the members, evenly spread."""
    every = members.nonzero()[:, 0]
    if len(every) <= ROWS:
        return every
    return every[torch.linspace(0, len(every) - 1, ROWS, device=every.device).long()]


def _unary(
    values: Tensor, foreground: Tensor, background: Tensor, width: float, complete: bool, normalize: bool
) -> Float[Tensor, " n"]:
    if complete:
        model = LogisticModel.fit(values, foreground, background, normalize=normalize)
        return model.probability(values).pow(1 / width)
    return mean_feature_unary(values, foreground, width, normalize=normalize)


def _agreement(gaussians: Gaussians, scores: Tensor, prompts: Sequence[Prompt]) -> tuple[float, float]:
    """The threshold that tells the marked pixels best, Li's where no background is marked; and its overlap."""
    shown, truth = [], []
    pictures = []
    for prompt in prompts:
        picture = rasterize(gaussians, prompt.view.camera, scores[:, None]).values[..., 0].cpu().numpy()
        pictures.append(picture)
        marked = prompt.positive | prompt.negative
        shown.append(picture[marked])
        truth.append(prompt.positive[marked])
    scores_there, labels = np.concatenate(shown), np.concatenate(truth)
    if labels.all():
        threshold = li_threshold(pictures[0])
        return threshold, float((scores_there >= threshold).mean())
    return best_iou_threshold(scores_there, labels)
