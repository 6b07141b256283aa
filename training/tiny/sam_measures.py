"""How well a predictor of masks finds the things of rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int16, UInt8

    from uplift.encoders.tiny_sam import SamPredictor

SMALLEST = 100  # pixels of the things that are asked for
THINGS, POINTS = 6, 3


@torch.no_grad()
def measure_masks(
    predictor: SamPredictor,
    photos: UInt8[np.ndarray, "n h w 3"],
    instances: Int16[np.ndarray, "n h w"],
    *,
    things: int = THINGS,
    smallest: int = SMALLEST,
    seed: int = 0,
) -> dict[str, float]:
    """Mean IoU over things, in percent, of the masks that points drawn uniformly on them and boxes give.

    Args:
        predictor: Segment Anything's, of whatever size.
        photos: Of rooms.
        instances: Thing of every pixel; -1 = nothing.
        things: Asked for in each photo, drawn from those that are large enough.
        smallest: What is large enough, in pixels.
        seed: Of things and points.

    Returns:
        ``click``: one point, the mask that the predictor holds best of its three; ``best_of_three``: one point, the
        mask that is best; ``three_points``: three points, one mask; ``box``: the exact box, one mask; ``guess``: the
        mean difference of predicted and true IoU after one point.
    """
    random = np.random.default_rng(seed)
    rows: dict[str, list[Tensor]] = {name: [] for name in ("click", "best_of_three", "three_points", "box", "guess")}
    for photo, ids in zip(photos, instances, strict=True):
        found = np.flatnonzero(np.bincount(ids.reshape(-1) + 1)[1:] >= smallest)
        if len(found) == 0:
            continue
        wanted = random.permutation(found)[:things]
        predictor.set_image(photo)
        truth = torch.from_numpy(ids[None] == wanted[:, None, None])
        points, boxes = _prompts(random, truth.numpy())
        masks, scores, _ = _predict(predictor, points[:, :1], None, several=True)
        overlaps = iou(masks, truth[:, None])
        first = scores.argmax(1, keepdim=True)
        rows["click"].append(overlaps.gather(1, first)[:, 0])
        rows["guess"].append((scores - overlaps).abs().gather(1, first)[:, 0])
        rows["best_of_three"].append(overlaps.amax(1))
        masks, _, _ = _predict(predictor, points, None, several=False)
        rows["three_points"].append(iou(masks, truth[:, None])[:, 0])
        masks, _, _ = _predict(predictor, None, boxes, several=False)
        rows["box"].append(iou(masks, truth[:, None])[:, 0])
    return {name: 100 * float(torch.cat(values).mean()) for name, values in rows.items()}


def iou(a: Bool[Tensor, "... h w"], b: Bool[Tensor, "... h w"]) -> Float[Tensor, "..."]:
    """Intersection over union of masks, 0 where both are empty."""
    return (a & b).sum((-2, -1)) / (a | b).sum((-2, -1)).clamp_min(1)


def _prompts(random: np.random.Generator, truth: Bool[np.ndarray, "p h w"]) -> tuple[np.ndarray, np.ndarray]:
    points, boxes = [], []
    for mask in truth:
        y, x = np.nonzero(mask)
        chosen = random.choice(len(y), POINTS)
        points.append(np.stack([x[chosen], y[chosen]], 1))
        boxes.append([x.min(), y.min(), x.max(), y.max()])
    return np.stack(points).astype(np.float32), np.array(boxes, np.float32)


def _predict(
    predictor: SamPredictor, points: np.ndarray | None, boxes: np.ndarray | None, *, several: bool
) -> Sequence[Tensor]:
    """Masks ``[p, k, h, w]``, predicted overlaps ``[p, k]`` and logits, of prompts in pixels of the photo."""
    shape, device = predictor.original_size, predictor.device
    xy = box = labels = None
    if points is not None:
        xy = torch.from_numpy(predictor.transform.apply_coords(points, shape)).float().to(device)
        labels = torch.ones(xy.shape[:2], dtype=torch.int, device=device)
    if boxes is not None:
        box = torch.from_numpy(predictor.transform.apply_boxes(boxes, shape)).float().to(device)
    masks, scores, logits = predictor.predict_torch(xy, labels, box, multimask_output=several)
    return masks.cpu(), scores.float().cpu(), logits
