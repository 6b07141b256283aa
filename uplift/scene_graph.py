"""What every prompt of a scene shares: the neighbour graph of a field and what each view sees, kept on disk."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.views import View
from uplift.field import FeatureField, read_safetensors, write_safetensors
from uplift.graph import NEIGHBOURS, Metric, NeighbourGraph, knn_graph
from uplift.visibility import largest_weights

if TYPE_CHECKING:
    from jaxtyping import Float

log = logging.getLogger(__name__)

STORED = {"order", "offsets", "neighbours", "feature_distances", "largest"}
SAMPLED_ROWS = 4096  # of a field's values, to know it again


@dataclass(frozen=True, eq=False)
class SceneGraph:
    """The neighbour graph of a field, and the visibility of the Gaussians.

    Attributes:
        graph: With the distances of the field's features.
        largest: Largest weight ``sum_p w_i(d, p)`` of each Gaussian in any single view; ``[n]`` float32.
        k: Neighbours that were searched.
    """

    graph: NeighbourGraph
    largest: Float[Tensor, " n"]
    k: int


def prepare_graph(
    gaussians: Gaussians,
    views: Sequence[View],
    field: FeatureField,
    *,
    neighbours: int = NEIGHBOURS,
    path: Path | None = None,
    progress: Progress = silent,
) -> SceneGraph:
    """Build the graph of a field once, or read it back if it is on disk.

    Args:
        gaussians: The scene.
        views: Its photos; only their cameras are used.
        field: Features of these Gaussians.
        neighbours: k.
        path: Where it is kept; None = it is not.  A file of other Gaussians, features or cameras is replaced;
            where nothing can be written, the graph is used all the same.
        progress: Told while it is built.

    Raises:
        InputError: the field belongs to other Gaussians, or there are no views.
    """
    field.check(len(gaussians))
    key = _key(gaussians, views, field, neighbours)
    kept = None if path is None else _read(path, key, len(gaussians))
    if kept is not None:
        return replace(kept, largest=kept.largest.to(gaussians.device), k=neighbours)
    largest = largest_weights(gaussians, views, progress=progress)
    graph = knn_graph(
        gaussians, neighbours, features=everywhere(field, gaussians), metric=metric_of(field), progress=progress
    )
    made = SceneGraph(graph, largest, neighbours)
    if path is not None:
        _write(path, made, key)
    return made


def metric_of(field: FeatureField) -> Metric:
    """How features are compared: as the encoder says, else by cosine."""
    return "euclidean" if field.metadata.get("metric") == "euclidean" else "cosine"


def everywhere(field: FeatureField, gaussians: Gaussians) -> Float[Tensor, "n c"]:
    """The field's values, where never-seen Gaussians take those of the nearest one that was seen."""
    from scipy.spatial import cKDTree

    seen = field.weights > 0
    if bool(seen.all()) or not bool(seen.any()):
        return field.values
    means = gaussians.means.detach().cpu().numpy()
    there, missing = seen.cpu().numpy(), (~seen).cpu().numpy()
    nearest = cKDTree(means[there]).query(means[missing], workers=torch.get_num_threads())[1]
    values = field.values.clone()
    values[~seen] = field.values[torch.from_numpy(np.flatnonzero(there)[nearest]).to(values.device)]
    return values


def _key(gaussians: Gaussians, views: Sequence[View], field: FeatureField, neighbours: int) -> str:
    """Hash of everything that the graph was made of; of the features, some rows."""
    step = max(1, len(field) // SAMPLED_ROWS)
    tensors = [
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        field.weights,
        field.values[::step].to(torch.float16),
    ]
    tensors += [view.camera.world_to_camera for view in views] + [view.camera.K for view in views]
    sizes = [(view.camera.width, view.camera.height) for view in views]
    return _digest(f"{neighbours} {metric_of(field)} {list(field.values.shape)} {sizes}", tensors)


def _digest(text: str, tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _read(path: Path, key: str, n: int) -> SceneGraph | None:
    """The graph on disk, or None if there is none, or one of something else."""
    if not path.is_file():
        return None
    try:
        tensors, header = read_safetensors(path)
    except InputError:
        return None
    if header.get("key") != key or set(tensors) != STORED or len(tensors["largest"]) != n:
        return None
    if header.get("checksum") != _checksum(tensors):
        return None
    graph = NeighbourGraph(
        tensors["order"].long(), tensors["offsets"], tensors["neighbours"], tensors["feature_distances"]
    )
    return SceneGraph(graph, tensors["largest"], 0)


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    return _digest("", (tensors[name] for name in sorted(tensors)))


def _write(path: Path, made: SceneGraph, key: str) -> None:
    graph = made.graph
    tensors = {
        "order": graph.order.to(torch.int32),
        "offsets": graph.offsets,
        "neighbours": graph.neighbours,
        "largest": made.largest.cpu(),
    }
    if graph.feature_distances is not None:
        tensors["feature_distances"] = graph.feature_distances
    try:
        path.parent.mkdir(exist_ok=True)
        write_safetensors(path, tensors, {"key": key, "checksum": _checksum(tensors)})
    except OSError as error:
        log.warning("The graph is not kept for the next time: %s", error)
