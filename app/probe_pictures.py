"""Pictures of a probe: what heads told beside the truth; features as colours and as clusters (FiT3D, figures 5-11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from app.pictures import colour_depth, depth_range, row_sheet

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from training.probing.photos import ProbeData
    from training.probing.running import ProbeResult
    from training.probing.sources import FeatureSource

CELL = 320  # pixels, the width of a picture in a sheet
CLUSTERS = 8
RESTARTS = 3  # of k-means
UNKNOWN = (0, 0, 0)
BRIGHT, DARK = 0.95, 0.55  # of the colours of classes
GOLDEN = 0.618034  # of a turn of the colour circle, between one class and the next


def prediction_sheet(data: ProbeData, results: Sequence[ProbeResult]) -> UInt8[np.ndarray, "h w 3"]:
    """A row for each photo: the photo, what each source's head told, the truth.

    Args:
        data: As it was measured.
        results: Of the sources, all for one task of pixels, with what they told of the photos to be shown.
    """
    from training.probing.running import truth_of

    task, indices = results[0].task, sorted(results[0].told)
    titles = ["photo", *(result.source for result in results), "truth"]
    rows = []
    for index in indices:
        photo = data.test[index]
        truth = truth_of(photo, task)
        maps = [*(result.told[index] for result in results), truth]
        limits = depth_range([truth]) if task == "depth" else (0.0, 0.0)
        pictures = [colour_depth(one, limits) if task == "depth" else class_colours(one) for one in maps]
        rows.append([photo.image(), *pictures])
    return row_sheet([_short(title) for title in titles], rows, cell_width=CELL)


def feature_sheet(
    data: ProbeData, sources: Sequence[FeatureSource], indices: Sequence[int]
) -> UInt8[np.ndarray, "h w 3"]:
    """A row for each photo: the photo, and of each source PCA colours and k-means clusters, one basis for all photos.

    Args:
        data: As it was measured.
        sources: Of the features.
        indices: Of the test photos to show.
    """
    from uplift.pca import PCAColours

    columns: list[list[np.ndarray]] = []
    titles = ["photo"]
    for source in sources:
        maps = [source.describe(data.test[index], whole=False).patches for index in indices]
        basis = PCAColours.fit(torch.cat([one.flatten(0, 1) for one in maps]))
        columns.append([(basis.colours(one) * 255).round().to(torch.uint8).numpy() for one in maps])
        columns.append([class_colours(one) for one in clusters([one.numpy() for one in maps])])
        titles += [source.name, "clusters"]
    photos = [data.test[index].image() for index in indices]
    return row_sheet(
        [_short(title) for title in titles], [list(row) for row in zip(photos, *columns, strict=True)], cell_width=CELL
    )


def clusters(maps: Sequence[Float[np.ndarray, "gh gw c"]]) -> list[UInt8[np.ndarray, "gh gw"]]:
    """Nearest of eight means of all maps' features together, so that a cluster is the same in each."""
    from sklearn.cluster import KMeans

    rows = np.concatenate([one.reshape(-1, one.shape[-1]) for one in maps])
    labels = KMeans(min(CLUSTERS, len(rows)), n_init=RESTARTS, random_state=0).fit_predict(rows)
    ends = np.cumsum([one.shape[0] * one.shape[1] for one in maps])[:-1]
    return [
        part.reshape(one.shape[:2]).astype(np.uint8) for part, one in zip(np.split(labels, ends), maps, strict=True)
    ]


def class_colours(classes: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A colour for each class, black where nothing counts."""
    from colorsys import hsv_to_rgb

    hues = [
        (index * GOLDEN % 1.0, 0.45 + 0.5 * (index % 3 == 0), BRIGHT if index % 2 == 0 else DARK)
        for index in range(255)
    ]
    table = np.array([*(hsv_to_rgb(*hue) for hue in hues), UNKNOWN])
    return (table[classes] * 255).round().astype(np.uint8)


def _short(title: str, most: int = 34) -> str:
    return title if len(title) <= most else f"{title[: most // 2 - 1]}...{title[-(most // 2 - 2) :]}"
