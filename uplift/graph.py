"""The k-nearest-neighbour graph of Gaussian centres (LUDVIG, section 5.3.3).

Two Gaussians are linked if one is among the k nearest of the other.  Edges carry the squared distance of the
features of their ends, from which the similarities ``S_f`` of eq. (C.1) follow for any bandwidth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from render.gaussians import Gaussians
from render.ordering import spatial_order
from render.progress import Progress, silent
from render.rasterizer.threads import for_ranges
from uplift import _graph_kernels as kernels

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

Metric = Literal["cosine", "euclidean"]
QUERY_ROWS = 1 << 17  # points asked of the tree at a time: progress, and bounded memory
NEIGHBOURS = 16


@dataclass(frozen=True, eq=False)
class NeighbourGraph:
    """A symmetric neighbour graph in CSR, on the CPU.

    Nodes follow a Morton curve, so that loops over edges stay in the caches; node ``r`` is Gaussian
    ``order[r]``.  Whatever is given or returned per Gaussian is in the order of the Gaussians, whatever is
    per edge in the order of ``neighbours``.

    Attributes:
        order: Gaussian of each node; ``[n]`` int64.
        offsets: Node ``r`` owns edges ``offsets[r]:offsets[r + 1]``; ``[n + 1]`` int64.
        neighbours: The node at the other end; every edge is there from both ends; ``[m]`` int32.
        feature_distances: Squared distance of the ends' features; ``[m]`` float32, none without features.
    """

    order: Int[Tensor, " n"]
    offsets: Int[Tensor, " n+1"]
    neighbours: Int[Tensor, " m"]
    feature_distances: Float[Tensor, " m"] | None = None

    @property
    def n(self) -> int:
        """Number of nodes."""
        return len(self.order)

    @cached_property
    def rows(self) -> Int[Tensor, " m"]:
        """The node that owns each edge; int64."""
        return torch.repeat_interleave(torch.arange(self.n), self.offsets.diff())

    @cached_property
    def median_squared(self) -> float:
        """``s_f^2`` of eq. (C.1): the squared median distance of features over the edges.

        Zero where more than half of the edges link equal features; then the mean of the others, or 1.
        """
        distances = self._distances()
        middle = float(distances.median()) if len(distances) else 0.0
        if middle > 0:
            return middle
        others = distances[distances > 0]
        return float(others.mean()) if len(others) else 1.0

    def with_features(
        self, values: Float[Tensor, "n c"], metric: Metric = "cosine", *, progress: Progress = silent
    ) -> NeighbourGraph:
        """The same edges with the distances of these features.

        Args:
            values: One feature per Gaussian; ``[n, c]``.
            metric: cosine: features are l2-normalised first (eq. C.1); euclidean: they are taken as they are.
            progress: Told while distances are computed.

        Raises:
            InputError: the number of features is not that of the nodes.
        """
        if values.ndim != 2 or len(values) != self.n:
            raise InputError(f"The graph has {self.n} Gaussians; expected features [n, c], found {list(values.shape)}.")
        features = values.detach().cpu().to(torch.float32).contiguous()
        lengths = torch.linalg.vector_norm(features, dim=1)
        scales = torch.ones_like(lengths) if metric == "euclidean" else 1 / lengths.clamp_min(1e-12)
        scales[lengths == 0] = 0
        out = np.empty(len(self.neighbours), np.float32)
        graph = (self.offsets.numpy(), self.neighbours.numpy())
        steps = 8
        bounds = np.linspace(0, self.n, steps + 1).astype(np.int64)
        for step in range(steps):
            progress(step, steps, "feature distances")
            first, last = int(bounds[step]), int(bounds[step + 1])
            for_ranges(
                _shifted(kernels.edge_distances, first),
                last - first,
                *graph,
                self.order.numpy(),
                features.numpy(),
                scales.numpy(),
                out,
            )
        for_ranges(kernels.mirror, self.n, *graph, out)
        progress(steps, steps, "feature distances")
        return replace(self, feature_distances=torch.from_numpy(out))

    def similarities(self, bandwidth: float) -> Float[Tensor, " m"]:
        """``S_f = exp(-|f_i - f_j|^2 / (b s_f^2))`` of every edge (LUDVIG, eq. C.1).

        Raises:
            InputError: the bandwidth is not positive, or the graph has no features.
        """
        if not bandwidth > 0:
            raise InputError(f"A bandwidth must be greater than 0, found {bandwidth}.")
        return torch.exp(self._distances() / (-bandwidth * self.median_squared))

    def spread(self, values: Float[Tensor, "n *q"], how: Literal["max", "min"]) -> Float[Tensor, "n *q"]:
        """The largest or smallest value of each Gaussian and its neighbours."""
        nodes = self.to_nodes(values.to(torch.float32)).reshape(self.n, -1).contiguous()
        out = torch.empty_like(nodes)
        sign = np.float32(1 if how == "max" else -1)
        arrays = (self.offsets.numpy(), self.neighbours.numpy(), nodes.numpy(), sign, out.numpy())
        for_ranges(kernels.extremes, self.n, *arrays)
        return self.to_gaussians(out.reshape(values.shape)).to(values.device)

    def components(self, keep: Bool[Tensor, " n"] | None = None) -> tuple[Int[Tensor, " n"], Int[Tensor, " k"]]:
        """Connected components of the graph, or of the part that the kept Gaussians make.

        Returns:
            The component of each Gaussian, largest first, -1 where not kept; and the sizes.

        Raises:
            InputError: ``keep`` has another length.
        """
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import connected_components

        kept = torch.ones(self.n, dtype=torch.bool) if keep is None else keep.detach().cpu()
        if kept.shape != (self.n,):
            raise InputError(f"The graph has {self.n} Gaussians, but keep has shape {list(kept.shape)}.")
        inside = self.to_nodes(kept)
        edges = (inside[self.rows] & inside[self.neighbours.long()]).numpy()
        # A copy: dropping zeros would rewrite the graph itself.
        matrix = csr_matrix((edges, self.neighbours.numpy(), self.offsets.numpy()), (self.n, self.n), copy=True)
        matrix.eliminate_zeros()
        _, found = connected_components(matrix, directed=False)
        # Gaussians that are not kept are components of their own and drop out.
        names, labels, sizes = np.unique(found[inside.numpy()], return_inverse=True, return_counts=True)
        rank = np.empty(len(names), np.int64)
        rank[np.argsort(-sizes, kind="stable")] = np.arange(len(names))
        nodes = torch.full((self.n,), -1)
        nodes[inside] = torch.from_numpy(rank[labels])
        return self.to_gaussians(nodes), torch.from_numpy(np.sort(sizes)[::-1].copy())

    def to_nodes(self, values: Tensor) -> Tensor:
        """Rows in the order of the Gaussians to the order of the nodes, on the CPU."""
        return values.detach().cpu()[self.order]

    def to_gaussians(self, values: Tensor) -> Tensor:
        """Rows in the order of the nodes to the order of the Gaussians."""
        out = torch.empty_like(values)
        out[self.order] = values
        return out

    def _distances(self) -> Float[Tensor, " m"]:
        if self.feature_distances is None:
            raise InputError("The graph has no features: give it some with with_features(values).")
        return self.feature_distances


def knn_graph(
    gaussians: Gaussians | Float[Tensor, "n 3"],
    neighbours: int = NEIGHBOURS,
    *,
    features: Float[Tensor, "n c"] | None = None,
    metric: Metric = "cosine",
    progress: Progress = silent,
) -> NeighbourGraph:
    """Link each Gaussian with its k nearest neighbours by the distance of centres; exact (scipy's cKDTree).

    Args:
        gaussians: The Gaussians, or their centres ``[n, 3]``.
        neighbours: k.
        features: Features whose distances the edges carry; None = none yet.
        metric: See :meth:`NeighbourGraph.with_features`.
        progress: Told while neighbours are searched.

    Raises:
        InputError: k is below 1, there are fewer than two Gaussians, or a centre is not finite.
    """
    means = (gaussians.means if isinstance(gaussians, Gaussians) else gaussians).detach().cpu().to(torch.float32)
    if neighbours < 1 or means.ndim != 2 or len(means) < 2:
        raise InputError(
            f"A neighbour graph needs at least two Gaussians and one neighbour, found {list(means.shape)} "
            f"centres and {neighbours} neighbours."
        )
    if not bool(torch.isfinite(means).all()):
        raise InputError("A neighbour graph needs finite centres, found NaN or infinite ones; remove those Gaussians.")
    order = spatial_order(means)
    nearest = _nearest(means.numpy()[order], min(neighbours, len(means) - 1), progress)
    n = len(order)
    offsets = np.zeros(n + 1, np.int64)
    kernels.count_edges(0, n, nearest, offsets[1:])
    np.cumsum(offsets, out=offsets)
    columns = np.empty(offsets[-1], np.int32)
    kernels.fill_edges(0, n, nearest, offsets[:-1].copy(), columns)
    graph = NeighbourGraph(torch.from_numpy(order), torch.from_numpy(offsets), torch.from_numpy(columns))
    return graph if features is None else graph.with_features(features, metric, progress=progress)


def _nearest(points: Float[np.ndarray, "n 3"], neighbours: int, progress: Progress) -> Int[np.ndarray, "n k+1"]:
    """The nearest points, themselves among them, in an order of points that keeps the tree in the caches."""
    from scipy.spatial import cKDTree

    n = len(points)
    tree = cKDTree(points, balanced_tree=False, compact_nodes=False)
    nearest = np.empty((n, neighbours + 1), np.int32)
    for start in range(0, n, QUERY_ROWS):
        progress(start, n, "nearest neighbours")
        stop = min(start + QUERY_ROWS, n)
        nearest[start:stop] = tree.query(points[start:stop], neighbours + 1, workers=torch.get_num_threads())[1]
    progress(n, n, "nearest neighbours")
    # Of coincident points one may not find itself: its farthest neighbour goes instead.
    lost = ~(nearest == np.arange(n, dtype=np.int32)[:, None]).any(1)
    nearest[lost, -1] = np.flatnonzero(lost)
    return nearest


def graph_memory(n: int, neighbours: int) -> int:
    """Estimate the bytes that searching neighbours needs, the edges included."""
    edges = int(1.3 * n * neighbours)
    tree = (8 * 3 + 8 + 16) * n
    asked = min(n, QUERY_ROWS) * (neighbours + 1) * 16
    return tree + 4 * n * (neighbours + 1) + asked + 4 * edges + 36 * n


def _shifted(kernel: Callable[..., Any], start: int) -> Callable[..., None]:
    """The kernel with ranges that begin at ``start``."""

    def run(first: int, last: int, *args: Any) -> None:
        kernel(first + start, last + start, *args)

    return run
