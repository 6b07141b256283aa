"""How often a CLIP encoder finds in a photo what a text names, measured quickly while a training runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from training.rooms.captions import room_queries
from training.tiny.images import RoomImages
from uplift.encoders.clip import ClipEncoder
from uplift.relevancy import CANONICAL, most_relevant_pixel, relevancies

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

LEAST = 60  # pixels of what is asked for that the photo shows


@torch.no_grad()
def share_found(encoder: ClipEncoder, images: RoomImages, *, photos: int = 1) -> dict[str, float]:
    """Part of the queries whose most relevant pixel lies on a thing that they are true of (LERF's localization).

    Args:
        encoder: Of photos and texts.
        images: Photos of rooms that were not trained on.
        photos: Of every room; those that show most things.

    Returns:
        ``found``: of all queries, percent; ``word``, ``synonym`` and ``attributes``: of those of one kind.
    """
    negatives = encoder.encode_text(CANONICAL)
    hits: dict[str, list[bool]] = {"word": [], "synonym": [], "attributes": []}
    for room, things in enumerate(images.things):
        members = np.flatnonzero(images.rooms == room)
        counts = [_counts(images.instances[index], len(things)) for index in members]
        richest = np.argsort([-(count >= LEAST).sum() for count in counts], kind="stable")[:photos]
        for which in richest:
            visible = {int(i): int(n) for i, n in enumerate(counts[which]) if n}
            queries = room_queries(things, visible, np.random.default_rng(room))
            asked = [q for q in queries if max(visible.get(i, 0) for i in q.instances) >= LEAST]
            if not asked:
                continue
            with torch.autocast(negatives.device.type, torch.bfloat16):
                values = encoder.encode(images.photos[members[which]]).float()
            texts = encoder.encode_text([query.text for query in asked])
            scores = pixel_relevancies(values, texts, negatives, images.photos.shape[1:3])
            for query, score in zip(asked, scores, strict=True):
                column, row, _ = most_relevant_pixel(score)
                hits[query.kind].append(int(images.instances[members[which], row, column]) in query.instances)
    every = [hit for found in hits.values() for hit in found]
    return {"found": _percent(every)} | {kind: _percent(found) for kind, found in hits.items()}


def pixel_relevancies(
    values: Float[Tensor, "gh gw c"],
    queries: Float[Tensor, "q c"],
    negatives: Float[Tensor, "k c"],
    size: tuple[int, ...],
) -> Float[Tensor, "q h w"]:
    """Relevancies of a feature map's nodes, interpolated to the pixels of a photo of ``size`` (height, width)."""
    gh, gw, c = values.shape
    found = relevancies(values.reshape(-1, c), queries, negatives).T.reshape(1, len(queries), gh, gw)
    return torch.nn.functional.interpolate(found, size, mode="bilinear", align_corners=False)[0]


def _counts(instances: np.ndarray, things: int) -> np.ndarray:
    return np.bincount(instances[instances >= 0].ravel(), minlength=things)


def _percent(hits: list[bool]) -> float:
    return 100 * float(np.mean(hits)) if hits else 0.0
