"""Compiled loops over the edges of a neighbour graph in CSR."""

from __future__ import annotations

from typing import Any

import numpy as np

from render.rasterizer._kinds import Bools, Floats, Ints, Longs
from render.rasterizer._simd import LANES, inlined, kernel, load, splat, store

_ZERO = np.float32(0)


@inlined
def _listed(neighbours: Any, row: int, node: int) -> bool:
    """Whether ``node`` is in a row of nearest neighbours."""
    for slot in range(neighbours.shape[1]):  # noqa: SIM110  numba compiles no any() of a generator
        if neighbours[row, slot] == node:
            return True
    return False


@kernel
def count_edges(first: int, last: int, neighbours: Ints, degrees: Longs) -> None:
    """Degrees of the union of ``j in N(i)`` and ``i in N(j)``; entries equal to their row or below 0 are none."""
    for row in range(first, last):
        for slot in range(neighbours.shape[1]):
            node = neighbours[row, slot]
            if node >= 0 and node != row:
                degrees[row] += 1
                if not _listed(neighbours, node, row):
                    degrees[node] += 1


@kernel
def fill_edges(first: int, last: int, neighbours: Ints, ends: Longs, columns: Ints) -> None:
    """Both directions of every edge; ``ends`` starts at the rows' starts and moves to their ends."""
    for row in range(first, last):
        for slot in range(neighbours.shape[1]):
            node = neighbours[row, slot]
            if node >= 0 and node != row:
                columns[ends[row]] = node
                ends[row] += 1
                if not _listed(neighbours, node, row):
                    columns[ends[node]] = row
                    ends[node] += 1


@inlined
def _squared_distance(a: Floats, b: Floats, scale_a: float, scale_b: float, sums: Floats) -> Any:
    """``|scale_a a - scale_b b|^2``."""
    channels = len(a)
    whole = channels - channels % LANES
    total = splat(_ZERO)
    left, right = splat(scale_a), splat(scale_b)
    for channel in range(0, whole, LANES):
        difference = load(a, channel) * left - load(b, channel) * right
        total = total + difference * difference
    store(sums, 0, total)
    result = _ZERO
    for lane in range(LANES):
        result += sums[lane]
    for channel in range(whole, channels):
        rest = a[channel] * scale_a - b[channel] * scale_b
        result += rest * rest
    return result


@kernel
def edge_distances(
    first: int, last: int, offsets: Longs, columns: Ints, order: Longs, values: Floats, scales: Floats, out: Floats
) -> None:
    """``|s_i f_i - s_j f_j|^2`` of every edge from a lower to a higher node; see :func:`mirror`."""
    sums = np.empty(LANES, np.float32)
    for row in range(first, last):
        i = order[row]
        for entry in range(offsets[row], offsets[row + 1]):
            if columns[entry] > row:
                j = order[columns[entry]]
                out[entry] = _squared_distance(values[i], values[j], scales[i], scales[j], sums)


@kernel
def mirror(first: int, last: int, offsets: Longs, columns: Ints, out: Floats) -> None:
    """Copy what edges from lower to higher nodes hold to their opposites."""
    for row in range(first, last):
        for entry in range(offsets[row], offsets[row + 1]):
            node = columns[entry]
            if node < row:
                opposite = offsets[node]
                while columns[opposite] != row:
                    opposite += 1
                out[entry] = out[opposite]


@kernel
def multiply(
    first: int, last: int, offsets: Longs, columns: Ints, weights: Floats, values: Floats, out: Floats
) -> None:
    """``out = A values`` for a vector."""
    for row in range(first, last):
        total = _ZERO
        for entry in range(offsets[row], offsets[row + 1]):
            total += weights[entry] * values[columns[entry]]
        out[row] = total


@kernel
def multiply_columns(
    first: int, last: int, offsets: Longs, columns: Ints, weights: Floats, values: Floats, out: Floats
) -> None:
    """``out = A values`` for ``values [n, q]``."""
    channels = values.shape[1]
    total = np.empty(channels, np.float32)
    for row in range(first, last):
        total[:] = _ZERO
        for entry in range(offsets[row], offsets[row + 1]):
            weight, node = weights[entry], columns[entry]
            for channel in range(channels):
                total[channel] += weight * values[node, channel]
        out[row] = total


@kernel
def extremes(first: int, last: int, offsets: Longs, columns: Ints, values: Floats, sign: float, out: Floats) -> None:
    """``out [n, q]`` = the largest (sign 1) or smallest (sign -1) value of each node and its neighbours."""
    channels = values.shape[1]
    for row in range(first, last):
        for channel in range(channels):
            best = sign * values[row, channel]
            for entry in range(offsets[row], offsets[row + 1]):
                best = max(best, sign * values[columns[entry], channel])
            out[row, channel] = sign * best


@kernel
def advance(
    first: int,
    last: int,
    offsets: Longs,
    columns: Ints,
    edges: Bools,
    frontier: Ints,
    reached: Bools,
    found: Ints,
) -> int:
    """Put the neighbours of ``frontier[first:last]`` that were not reached yet into ``found``; return how many."""
    count = 0
    for position in range(first, last):
        row = frontier[position]
        for entry in range(offsets[row], offsets[row + 1]):
            node = columns[entry]
            if edges[entry] and not reached[node]:
                reached[node] = True
                found[count] = node
                count += 1
    return count
