"""LUDVIG's segmentation by graph diffusion (section 5.4.1; appendix C.1.3), parameters chosen on the reference.

An object is what can be reached from the anchors over edges between similar features, weighed by how much
each feature looks like the object's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from render.gaussians import Gaussians
from render.rasterizer import rasterize
from uplift.diffusion import EDGE_THRESHOLD, STEPS, edge_weights, reachable
from uplift.graph import Metric, NeighbourGraph
from uplift.prompts import Prompt
from uplift.thresholds import best_iou_threshold, li_threshold
from uplift.unary import LogisticModel, mean_feature_unary
from uplift.visibility import LiftedPrompt

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

ANCHORS = 0.1  # of the Gaussians with positive mask values are anchors, section C.1.3
BANDWIDTHS = (0.02, 0.05, 0.1, 0.3, 1.0)  # of S_f that are tried
MEAN_BANDWIDTHS = (0.1, 0.3, 1.0)  # of P for scribbles
LOGISTIC_BANDWIDTHS = (0.1, 0.3, 1.0)  # of P for masks
SMALLEST_THRESHOLD = 1e-6


@dataclass(frozen=True, eq=False)
class _Candidate:
    bandwidth: float
    unary_bandwidth: float
    scores: Float[Tensor, " n"]


def diffused_scores(
    gaussians: Gaussians,
    graph: NeighbourGraph,
    values: Float[Tensor, "n c"],
    metric: Metric,
    prompts: Sequence[Prompt],
    lifted: Sequence[LiftedPrompt],
    *,
    bandwidth: float | None = None,
    unary_bandwidth: float | None = None,
    threshold: float | None = None,
) -> tuple[Float[Tensor, " n"], dict[str, Any]]:
    """``h_i = P(f_i)`` on the reachable set, 0 elsewhere, and the threshold of its renderings.

    Where masks are given, bandwidths and threshold are those whose rendering overlaps the reference mask best.
    Where strokes are given, the threshold is Li's on the rendered reference view, and the bandwidths those that
    tell the strokes on the object from those on the background best.

    Args:
        gaussians: The scene.
        graph: With the distances of ``values``.
        values: Features; ``[n, c]``.
        metric: How they are compared.
        prompts: What was marked, the reference view first.
        lifted: The same on the Gaussians.
        bandwidth: b of S_f instead of the chosen one.
        unary_bandwidth: b of P instead of the chosen one.
        threshold: Instead of the chosen one.

    Returns:
        Scores ``[n]``, and what was chosen and why.
    """
    anchors, background = _anchors(lifted)
    complete = all(prompt.complete for prompt in prompts)
    terms = _unary_terms(values, metric, anchors, background, complete, unary_bandwidth)
    candidates = []
    for unary_width, unary in terms:
        for width in BANDWIDTHS if bandwidth is None else (bandwidth,):
            inside = reachable(graph, edge_weights(graph, width, unary) > EDGE_THRESHOLD, anchors, STEPS)
            candidates.append(_Candidate(width, unary_width, torch.where(inside, unary, torch.zeros_like(unary))))
    judged = _judge(gaussians, [candidate.scores for candidate in candidates], prompts, complete, threshold)
    best, (chosen, agreement) = max(zip(candidates, judged, strict=True), key=lambda pair: pair[1][1])
    by = "the overlap with the reference mask" if complete else "the strokes"
    about = {
        "bandwidth": best.bandwidth,
        "bandwidth_from": by if bandwidth is None else "given",
        "unary": "logistic regression" if complete else "mean feature of the anchors",
        "unary_bandwidth": best.unary_bandwidth,
        "unary_bandwidth_from": by if unary_bandwidth is None else "given",
        "threshold": chosen,
        "threshold_from": "given" if threshold is not None else by if complete else "Li's method on the reference view",
        "agreement": agreement,
        "anchors": {"object": int(anchors.sum()), "background": int(background.sum())},
        "reached": int((best.scores > 0).sum()),
    }
    return best.scores, about


def _anchors(lifted: Sequence[LiftedPrompt]) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
    """The tenth of the Gaussians with the highest lifted values, and those that are marked as background."""
    anchors = torch.zeros_like(lifted[0].visible)
    background = torch.zeros_like(anchors)
    for one in lifted:
        values = torch.where(one.visible, one.positive, torch.zeros_like(one.positive))
        count = max(1, int(ANCHORS * int((values > 0).sum())))
        anchors[values.topk(count).indices] = True
        background |= one.background
    return anchors, background & ~anchors


def _unary_terms(
    values: Float[Tensor, "n c"],
    metric: Metric,
    anchors: Bool[Tensor, " n"],
    background: Bool[Tensor, " n"],
    complete: bool,
    given: float | None,
) -> Iterator[tuple[float, Float[Tensor, " n"]]]:
    """P for each bandwidth that is tried."""
    normalize = metric == "cosine"
    if complete:
        model = LogisticModel.fit(values, anchors, background, normalize=normalize)
        likelihood = model.probability(values)
        for width in LOGISTIC_BANDWIDTHS if given is None else (given,):
            yield width, likelihood.pow(1 / width)
    else:
        likeness = mean_feature_unary(values, anchors, 1.0, normalize=normalize)
        for width in MEAN_BANDWIDTHS if given is None else (given,):
            yield width, likeness.pow(1 / width)


def _judge(
    gaussians: Gaussians,
    scores: Sequence[Float[Tensor, " n"]],
    prompts: Sequence[Prompt],
    complete: bool,
    given: float | None,
) -> list[tuple[float, float]]:
    """The threshold for each of some scores, and how well they agree with what was marked; rendered together."""
    columns = torch.stack(list(scores), dim=1)
    pictures = [rasterize(gaussians, prompt.view.camera, columns).values.cpu().numpy() for prompt in prompts]
    judged = []
    for index in range(len(scores)):
        own = [picture[..., index] for picture in pictures]
        object_scores = np.concatenate([picture[p.positive] for picture, p in zip(own, prompts, strict=True)])
        other_scores = np.concatenate([picture[p.negative] for picture, p in zip(own, prompts, strict=True)])
        marked = np.concatenate([object_scores, other_scores])
        truth = np.arange(len(marked)) < len(object_scores)
        if given is not None:
            threshold = given
        elif complete:
            threshold, _ = best_iou_threshold(marked, truth)
        else:
            threshold = li_threshold(own[0])
        threshold = max(threshold, SMALLEST_THRESHOLD)
        found = marked >= threshold
        judged.append((threshold, float((found & truth).sum() / max(1, (found | truth).sum()))))
    return judged
