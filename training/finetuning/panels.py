"""Pictures of feature maps beside each other: PCA colours and clusters in one basis per photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from training.sheets import sheet
from uplift.pca import PCAColours

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

TITLES = ("photo", "original", "fine-tuned", "target")
CLUSTERS = 8
HUES = np.frombuffer(bytes.fromhex("4e79a7f28e2b59a14fe1575976b7b2edc948b07aa19c755f"), np.uint8).reshape(CLUSTERS, 3)

Row: TypeAlias = "tuple[np.ndarray, Tensor, Tensor, Tensor]"
"""A photo ``[h, w, 3]`` uint8 and three maps ``[gh, gw, c]``: original, fine-tuned, target."""


def panels(rows: Sequence[Row]) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """One picture of PCA colours and one of k-means clusters; a row for each photo, from left to right as given."""
    drawings = {"pca": _pca, "clusters": _clusters}
    return {name: sheet([(row[0], *draw(row[1:])) for row in rows], TITLES) for name, draw in drawings.items()}


def _pca(maps: Sequence[Float[Tensor, "gh gw c"]]) -> list[UInt8[np.ndarray, "gh gw 3"]]:
    """Colours in the basis of the first map, so that what differs are the features."""
    basis = PCAColours.fit(maps[0].detach().flatten(0, 1).float().cpu())
    return [(basis.colours(one.detach().cpu()) * 255).round().to(torch.uint8).numpy() for one in maps]


def _clusters(maps: Sequence[Float[Tensor, "gh gw c"]]) -> list[UInt8[np.ndarray, "gh gw 3"]]:
    """Clusters of the features of all maps together, so that a colour means the same in each."""
    from sklearn.cluster import KMeans

    rows = torch.cat([one.detach().flatten(0, 1).float().cpu() for one in maps]).numpy()
    labels = KMeans(min(CLUSTERS, len(rows)), n_init=2, random_state=0).fit_predict(rows)
    ends = np.cumsum([one.shape[0] * one.shape[1] for one in maps])[:-1]
    return [HUES[part].reshape(*one.shape[:2], 3) for part, one in zip(np.split(labels, ends), maps, strict=True)]
