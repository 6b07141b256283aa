"""Graph diffusion (LUDVIG, eq. 5.8; sections C.1.3 and C.1.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from render.progress import Progress, silent
from render.rasterizer.threads import for_ranges
from uplift import _graph_kernels as kernels
from uplift.graph import NeighbourGraph

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

EDGE_THRESHOLD = 1e-5  # of the binarized graph, section C.1.3
STEPS = 100


def edge_weights(
    graph: NeighbourGraph, bandwidth: float, unary: Float[Tensor, " n"] | None = None
) -> Float[Tensor, " m"]:
    """``A_ij = S_f(f_i, f_j) P(f_i)^1/2 P(f_j)^1/2`` of every edge (eq. 5.7), in the order of the graph's edges.

    Raises:
        InputError: the unary term does not have one value >= 0 per Gaussian, or the bandwidth is not positive.
    """
    similarities = graph.similarities(bandwidth)
    if unary is None:
        return similarities
    root = _root(graph, unary)
    return similarities * root[graph.rows] * root[graph.neighbours.long()]


def diffuse(
    graph: NeighbourGraph,
    similarities: Float[Tensor, " m"],
    start: Float[Tensor, "n *q"],
    steps: int = STEPS,
    *,
    unary: Float[Tensor, "n *q"] | None = None,
    progress: Progress = silent,
) -> Float[Tensor, "n *q"]:
    """``g <- A g / |g|`` for all columns at once (eq. 5.8), with ``A = P^1/2 S P^1/2`` (eq. 5.7).

    Args:
        graph: The graph; where ``start`` is on an accelerator, the products are computed there.
        similarities: ``S`` (or all of ``A``) per edge.
        start: ``g_0`` per Gaussian, one or more columns.
        steps: T, at least 0.
        unary: P per Gaussian and column, or one column for all; None = 1.
        progress: Told once per step.

    Returns:
        ``g_T``, each column of length 1 (zero if ``g_0`` is).

    Raises:
        InputError: shapes do not fit, or the unary term is negative.
    """
    if start.shape[:1] != (graph.n,) or start.ndim > 2 or similarities.shape != graph.neighbours.shape or steps < 0:
        raise InputError(
            f"Diffusion needs a column of {graph.n} values, {len(graph.neighbours)} edge weights and steps >= 0, "
            f"found {list(start.shape)}, {list(similarities.shape)} and {steps}."
        )
    values = _normalized(graph.to_nodes(start).to(torch.float32).reshape(graph.n, -1))
    root = None if unary is None else _root(graph, unary).reshape(graph.n, -1)
    multiply = _Product(graph, similarities, start.device)
    values = values.to(start.device)
    root = None if root is None else root.to(start.device)
    for step in range(steps):
        progress(step, steps, "diffusing")
        values = multiply(values if root is None else values * root)
        values = _normalized(values if root is None else values * root)
    progress(steps, steps, "diffusing")
    return graph.to_gaussians(values.cpu()).reshape(start.shape).to(start.device)


def reachable(
    graph: NeighbourGraph, edges: Bool[Tensor, " m"], start: Bool[Tensor, " n"], steps: int | None = None
) -> Bool[Tensor, " n"]:
    """The Gaussians with a positive value after T steps on the binarized graph (section C.1.3).

    Every node counts as linked to itself, so what was reached stays reached.  The front alone is expanded, so
    each edge is visited once instead of T times.

    Args:
        graph: The graph.
        edges: Which edges exist, e.g. ``edge_weights(...) > EDGE_THRESHOLD``.
        start: Where ``g_0`` is positive.
        steps: T; None = until nothing new is reached.

    Raises:
        InputError: shapes do not fit.
    """
    if start.shape != (graph.n,) or edges.shape != graph.neighbours.shape:
        raise InputError(
            f"Expected {graph.n} starting values and {len(graph.neighbours)} edges, found {list(start.shape)} and "
            f"{list(edges.shape)}."
        )
    reached = graph.to_nodes(start.to(torch.bool)).numpy().copy()
    frontier = np.flatnonzero(reached).astype(np.int32)
    other = np.empty(graph.n, np.int32)
    arrays = (graph.offsets.numpy(), graph.neighbours.numpy(), edges.cpu().numpy())
    step = 0
    while len(frontier) and (steps is None or step < steps):
        count = kernels.advance(0, len(frontier), *arrays, frontier, reached, other)
        frontier = other[:count].copy()
        step += 1
    return graph.to_gaussians(torch.from_numpy(reached)).to(start.device)


def _root(graph: NeighbourGraph, unary: Tensor) -> Tensor:
    if unary.shape[:1] != (graph.n,) or unary.ndim > 2 or not bool((unary >= 0).all()):
        raise InputError(f"A unary term needs a value >= 0 for each of {graph.n} Gaussians, found {list(unary.shape)}.")
    return graph.to_nodes(unary).to(torch.float32).sqrt()


def _normalized(values: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
    lengths = torch.linalg.vector_norm(values, dim=0)
    return values / torch.where(lengths > 0, lengths, torch.ones_like(lengths))


class _Product:
    """``A x`` on a device: compiled on the CPU, torch's sparse product elsewhere."""

    def __init__(self, graph: NeighbourGraph, weights: Tensor, device: torch.device) -> None:
        self._offsets, self._columns = graph.offsets, graph.neighbours
        self._weights = weights.detach().cpu().to(torch.float32).contiguous()
        self._matrix: Tensor | None = None
        if device.type != "cpu":
            self._matrix = torch.sparse_csr_tensor(
                self._offsets, self._columns.long(), self._weights, (graph.n, graph.n), device=device
            )

    def __call__(self, values: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
        if self._matrix is not None:
            return self._matrix @ values
        values = values.contiguous()
        out = torch.empty_like(values)
        arrays = (self._offsets.numpy(), self._columns.numpy(), self._weights.numpy())
        if values.shape[1] == 1:
            for_ranges(kernels.multiply, len(values), *arrays, values[:, 0].numpy(), out[:, 0].numpy())
        else:
            for_ranges(kernels.multiply_columns, len(values), *arrays, values.numpy(), out.numpy())
        return out
