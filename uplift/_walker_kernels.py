"""Compiled loops of the multigrid solver: aggregation, coarse graphs, smoothing, restriction."""

from __future__ import annotations

import numpy as np

from render.rasterizer._kinds import Floats, Ints, Longs
from render.rasterizer._simd import kernel

_ZERO = np.float32(0)
_ONE = np.float32(1)


@kernel
def row_sums(first: int, last: int, offsets: Longs, weights: Floats, out: Floats) -> None:
    """Degrees of a weighted graph."""
    for row in range(first, last):
        total = _ZERO
        for entry in range(offsets[row], offsets[row + 1]):
            total += weights[entry]
        out[row] = total


@kernel
def aggregate(offsets: Longs, columns: Ints, weights: Floats, strong: float, out: Ints) -> int:
    """Gather nodes that are linked strongly; ``out [n]`` becomes the group of each, the count is returned.

    An edge is strong if it weighs ``strong`` times the heaviest of its row.  First, nodes whose strong
    neighbours are all free found a group with them; then the others join their heaviest grouped neighbour.
    """
    n = len(offsets) - 1
    heaviest = np.zeros(n, np.float32)
    for row in range(n):
        out[row] = -1
        for entry in range(offsets[row], offsets[row + 1]):
            heaviest[row] = max(heaviest[row], weights[entry])
    count = 0
    for row in range(n):
        if out[row] >= 0 or heaviest[row] <= _ZERO:
            continue
        free = True
        bound = strong * heaviest[row]
        for entry in range(offsets[row], offsets[row + 1]):
            if weights[entry] >= bound and out[columns[entry]] >= 0:
                free = False
                break
        if free:
            out[row] = count
            for entry in range(offsets[row], offsets[row + 1]):
                if weights[entry] >= bound:
                    out[columns[entry]] = count
            count += 1
    founded = out.copy()
    for row in range(n):
        if founded[row] >= 0:
            continue
        best, group = _ZERO, -1
        for entry in range(offsets[row], offsets[row + 1]):
            node = columns[entry]
            if founded[node] >= 0 and weights[entry] > best:
                best, group = weights[entry], founded[node]
        if group < 0:
            group = count
            count += 1
        out[row] = group
    return count


@kernel
def coarse_graph(
    offsets: Longs,
    columns: Ints,
    weights: Floats,
    groups: Ints,
    starts: Longs,
    members: Ints,
    out_offsets: Longs,
    out_columns: Ints,
    out_weights: Floats,
) -> int:
    """Sum the edges between groups; group ``g`` holds ``members[starts[g]:starts[g + 1]]``."""
    count = len(starts) - 1
    place = np.full(count, -1, np.int64)
    end = 0
    for group in range(count):
        begin = end
        for position in range(starts[group], starts[group + 1]):
            row = members[position]
            for entry in range(offsets[row], offsets[row + 1]):
                other = groups[columns[entry]]
                if other == group:
                    continue
                if place[other] < begin:
                    place[other] = end
                    out_columns[end] = other
                    out_weights[end] = _ZERO
                    end += 1
                out_weights[place[other]] += weights[entry]
        out_offsets[group + 1] = end
    return end


@kernel
def apply(
    first: int,
    last: int,
    offsets: Longs,
    columns: Ints,
    weights: Floats,
    diagonal: Floats,
    free: Floats,
    x: Floats,
    out: Floats,
) -> None:
    """``out = free * (diagonal x - W x)``."""
    for row in range(first, last):
        total = _ZERO
        for entry in range(offsets[row], offsets[row + 1]):
            total += weights[entry] * x[columns[entry]]
        out[row] = free[row] * (diagonal[row] * x[row] - total)


@kernel
def residual_sums(
    first: int,
    last: int,
    starts: Longs,
    members: Ints,
    offsets: Longs,
    columns: Ints,
    weights: Floats,
    diagonal: Floats,
    free: Floats,
    x: Floats,
    right: Floats,
    out: Floats,
) -> None:
    """``out = P^T free * (right - (diagonal x - W x))`` for groups ``first`` to ``last``."""
    for group in range(first, last):
        sums = _ZERO
        for position in range(starts[group], starts[group + 1]):
            row = members[position]
            if free[row] == _ZERO:
                continue
            total = _ZERO
            for entry in range(offsets[row], offsets[row + 1]):
                total += weights[entry] * x[columns[entry]]
            sums += right[row] - diagonal[row] * x[row] + total
        out[group] = sums


@kernel
def smooth(
    first: int,
    last: int,
    offsets: Longs,
    columns: Ints,
    weights: Floats,
    diagonal: Floats,
    free: Floats,
    damping: float,
    x: Floats,
    right: Floats,
    out: Floats,
) -> None:
    """``out = x + damping D^-1 (right - (diagonal x - W x))`` where free, a step of damped Jacobi."""
    for row in range(first, last):
        if free[row] == _ZERO:
            out[row] = _ZERO
            continue
        total = _ZERO
        for entry in range(offsets[row], offsets[row + 1]):
            total += weights[entry] * x[columns[entry]]
        out[row] = x[row] + damping * (right[row] - diagonal[row] * x[row] + total) / diagonal[row]


@kernel
def prolong(first: int, last: int, groups: Ints, free: Floats, scale: float, coarse: Floats, x: Floats) -> None:
    """``x += scale free * P coarse``."""
    for row in range(first, last):
        x[row] += scale * free[row] * coarse[groups[row]]
