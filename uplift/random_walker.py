"""Labels that are harmonic on a neighbour graph: the random walker (Grady 2006).

The probability that a walker from a free node meets an anchor of a label first is harmonic: ``L x = 0`` with
the graph's Laplacian, ``x`` clamped at the anchors.  The system is solved by conjugate gradients with a
multigrid cycle as preconditioner.  Its groups of nodes follow from the graph alone, so they are made once;
anchors only add to diagonals.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.errors import InputError
from render.rasterizer.threads import for_ranges
from uplift import _walker_kernels as kernels
from uplift.graph import NeighbourGraph

if TYPE_CHECKING:
    from jaxtyping import Float, Int

log = logging.getLogger(__name__)

FLOOR = 1e-5  # added to edges: geometry decides where features tell all neighbours apart
RIDGE = 1e-7  # of a node's degree, towards 0: what no anchor reaches is not selected
STRONG = 0.25
COARSEST = 800  # nodes that are solved directly
DAMPING = np.float32(0.6)
OVERCORRECTION = np.float32(1.4)  # of coarse steps: piecewise constants are too stiff
VISITS = 2  # of each coarse level: a W cycle
SERIAL = 4096  # rows that are not worth a second thread
TOLERANCE = 1e-3
MAX_STEPS = 200
KEPT = 3  # solvers of one graph: those of two defaults, and the one of a slider


@dataclass(frozen=True, eq=False)
class _Level:
    """A graph of the hierarchy, and how its nodes are gathered into those of the next."""

    offsets: NDArray[np.int64]
    columns: NDArray[np.int32]
    weights: NDArray[np.float32]
    degrees: NDArray[np.float32]
    groups: NDArray[np.int32]
    starts: NDArray[np.int64]
    members: NDArray[np.int32]

    @property
    def n(self) -> int:
        return len(self.degrees)

    @property
    def edges(self) -> tuple[Any, ...]:
        return self.offsets, self.columns, self.weights


class RandomWalker:
    """The solver for one graph and bandwidth: prepared once, asked many times.

    Args:
        graph: Neighbour graph with features.
        bandwidth: b of the similarities ``S_f`` (LUDVIG, eq. C.1) that weigh the edges.
    """

    def __init__(self, graph: NeighbourGraph, bandwidth: float) -> None:
        self._graph = graph
        weights = (graph.similarities(bandwidth) + FLOOR).numpy()
        self._levels = _hierarchy(graph.offsets.numpy(), graph.neighbours.numpy(), weights)
        self.steps = 0

    def probability(self, labels: Int[Tensor, " n"], *, tolerance: float = TOLERANCE) -> Float[Tensor, " n"]:
        """The probability that a walker from a Gaussian meets an anchor of label 1 before one of label 0.

        Args:
            labels: 1 and 0 at the anchors, -1 for Gaussians that are free; ``[n]`` int.
            tolerance: The relative residual at which to stop.

        Returns:
            In [0, 1], 0 where no anchor is in reach; ``[n]``.

        Raises:
            InputError: a wrong number of labels, or none of a kind.
        """
        if labels.shape != (self._graph.n,):
            raise InputError(f"Expected a label for each of {self._graph.n} Gaussians, found {list(labels.shape)}.")
        nodes = self._graph.to_nodes(labels).numpy()
        if not (nodes == 1).any() or not (nodes == 0).any():
            raise InputError("A random walker needs anchors of the object and of the background; mark both.")
        system = _System(self._levels, nodes < 0)
        values, self.steps = system.solve((nodes == 1).astype(np.float32), tolerance)
        return self._graph.to_gaussians(torch.from_numpy(values.clip(0, 1))).to(labels.device)


class _Turn:
    """Held by whoever makes the solver of one bandwidth."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Walkers:
    """The solvers of one graph by bandwidth: made when they are first asked for, the last few kept.

    Args:
        graph: Neighbour graph with features.
        kept: How many solvers are kept.
    """

    def __init__(self, graph: NeighbourGraph, kept: int = KEPT) -> None:
        self.graph = graph
        self._kept = kept
        self._made: OrderedDict[float, RandomWalker] = OrderedDict()
        self._making: WeakValueDictionary[float, _Turn] = WeakValueDictionary()  # while anybody asks for them
        self._lock = threading.Lock()

    def get(self, bandwidth: float) -> RandomWalker:
        """The solver of a bandwidth; who asks for the same one while it is made waits."""
        with self._lock:
            turn = self._making.setdefault(bandwidth, _Turn())
        with turn.lock:
            with self._lock:
                found = self._made.get(bandwidth)
            walker = RandomWalker(self.graph, bandwidth) if found is None else found
            with self._lock:
                self._made[bandwidth] = walker
                self._made.move_to_end(bandwidth)
                while len(self._made) > self._kept:
                    self._made.popitem(last=False)
        return walker


def walker_memory(n: int, edges: int) -> int:
    """Estimate the bytes that the solver takes beside its graph, while it is made."""
    # Weights and what they are made of; groups, members and sums of nodes; coarse levels are small beside these.
    return 8 * edges + 24 * n


def _hierarchy(offsets: NDArray[np.int64], columns: NDArray[np.int32], weights: NDArray[np.float32]) -> list[_Level]:
    levels: list[_Level] = []
    while True:
        n = len(offsets) - 1
        degrees = np.empty(n, np.float32)
        _ranges(kernels.row_sums, n, offsets, weights, degrees)
        groups = np.empty(n, np.int32)
        count = kernels.aggregate(offsets, columns, weights, np.float32(STRONG), groups) if n > COARSEST else n
        if count > 0.8 * n:
            # Small enough, or made of pieces that do not hang together.
            none = np.empty(0, np.int64)
            levels.append(
                _Level(offsets, columns, weights, degrees, none.astype(np.int32), none, none.astype(np.int32))
            )
            return levels
        members = np.argsort(groups, kind="stable").astype(np.int32)
        starts = np.searchsorted(groups[members], np.arange(count + 1)).astype(np.int64)
        levels.append(_Level(offsets, columns, weights, degrees, groups, starts, members))
        coarse = np.zeros(count + 1, np.int64), np.empty(len(columns), np.int32), np.empty(len(columns), np.float32)
        edges = kernels.coarse_graph(offsets, columns, weights, groups, starts, members, *coarse)
        offsets, columns, weights = coarse[0], coarse[1][:edges].copy(), coarse[2][:edges].copy()


class _System:
    """The Laplacian of the free nodes, at all levels."""

    def __init__(self, levels: Sequence[_Level], free: NDArray[np.bool_]) -> None:
        self._levels = levels
        # Anchors make the coarse nodes that hold them stiff.
        extra = levels[0].degrees * np.where(free, np.float32(RIDGE), np.float32(1))
        extra += np.float32(1e-30)
        self._free = [free.astype(np.float32)]
        self._diagonals = [levels[0].degrees + np.where(free, extra, np.float32(0))]
        for fine, coarse in itertools.pairwise(levels):
            extra = np.add.reduceat(extra[fine.members], fine.starts[:-1])
            self._diagonals.append(coarse.degrees + extra)
            self._free.append(np.ones(coarse.n, np.float32))
        self._solve_coarsest = self._factor()

    def _factor(self) -> Any:
        """The solver of the coarsest level: exact, or where pieces do not hang together one division."""
        from scipy.linalg import cho_factor, cho_solve
        from scipy.sparse import csr_matrix

        last, diagonal = self._levels[-1], self._diagonals[-1].astype(np.float64)
        if last.n > 4 * COARSEST:
            return lambda right: (right / diagonal).astype(np.float32)
        matrix = -csr_matrix((last.weights.astype(np.float64), last.columns, last.offsets), (last.n, last.n)).toarray()
        matrix[np.diag_indices(last.n)] += diagonal
        held = self._free[-1] == 0
        matrix[held] = matrix[:, held] = 0
        matrix[held, held] = 1
        factor = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
        return lambda right: cho_solve(factor, right.astype(np.float64), check_finite=False).astype(np.float32)

    def _apply(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        out = np.empty_like(x)
        _ranges(kernels.apply, len(x), *self._levels[0].edges, self._diagonals[0], self._free[0], x, out)
        return out

    def _cycle(self, depth: int, right: NDArray[np.float32]) -> NDArray[np.float32]:
        """One multigrid cycle for ``A x = right`` from 0: a symmetric approximation of the inverse."""
        if depth == len(self._levels) - 1:
            return self._solve_coarsest(right)
        level, diagonal, free = self._levels[depth], self._diagonals[depth], self._free[depth]
        x = DAMPING * right / diagonal
        for _ in range(1 if depth == 0 else VISITS):
            below = np.empty(len(level.starts) - 1, np.float32)
            _ranges(
                kernels.residual_sums,
                len(below),
                level.starts,
                level.members,
                *level.edges,
                diagonal,
                free,
                x,
                right,
                below,
            )
            step = self._cycle(depth + 1, below)
            _ranges(kernels.prolong, level.n, level.groups, free, OVERCORRECTION, step, x)
            out = np.empty_like(x)
            _ranges(kernels.smooth, level.n, *level.edges, diagonal, free, DAMPING, x, right, out)
            x = out
        return x

    def solve(self, clamped: NDArray[np.float32], tolerance: float) -> tuple[NDArray[np.float32], int]:
        """Preconditioned conjugate gradients for the free nodes, anchors held at ``clamped``."""
        x = clamped.copy()
        residual = -self._apply(x)
        target = tolerance * np.linalg.norm(residual)
        direction = np.zeros_like(x)
        previous, step = 1.0, 0
        while step < MAX_STEPS:
            if np.linalg.norm(residual) <= target:
                break
            conditioned = self._cycle(0, residual)
            product = float(residual @ conditioned)
            direction = conditioned + np.float32(product / previous if step else 0) * direction
            image = self._apply(direction)
            length = np.float32(product / float(direction @ image))
            x += length * direction
            residual -= length * image
            previous = product
            step += 1
        if step == MAX_STEPS:
            log.warning(
                "The random walker stopped after %d steps short of its tolerance; take a wider bandwidth.", step
            )
        return x, step


def _ranges(kernel: Any, total: int, *args: Any) -> None:
    if total <= SERIAL:
        kernel(0, total, *args)
    else:
        for_ranges(kernel, total, *args)
