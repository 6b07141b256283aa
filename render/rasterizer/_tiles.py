"""Which Gaussians a tile sees, front to back; and sums over a Gaussian's tiles."""

from __future__ import annotations

import math

import numpy as np

from render.rasterizer._raster import (
    FALL,
    LOG,
    LOWEST,
    MEAN_X,
    MEAN_Y,
    REACH,
    SHIFT,
    TILE,
    A,
    B,
    C,
)
from render.rasterizer._simd import inlined, kernel

_HALF = np.float32(0.5)
_ZERO = np.float32(0)
_LOG2E = np.float32(math.log2(math.e))
_SLACK = np.float32(1e-3)  # pixels: rounding must not lose a tile


@kernel
def depth_order(first, last, keys, order, scratch):
    """Stable radix sort (3 x 11 bits) of ``order`` by the bits of positive depths ``keys[order]``."""
    counts = np.empty(2048, np.int64)
    source, target = order, scratch
    for digit in range(3):
        shift = np.uint32(11 * digit)
        counts[:] = 0
        for i in range(first, last):
            counts[(keys[source[i]] >> shift) & np.uint32(2047)] += 1
        total = first
        for i in range(2048):
            total, counts[i] = total + counts[i], total
        for i in range(first, last):
            bucket = (keys[source[i]] >> shift) & np.uint32(2047)
            target[counts[bucket]] = source[i]
            counts[bucket] += 1
        source, target = target, source


@kernel
def make_records(first, last, order, means2d, conics, opacities, heights, records):
    """Everything the inner loops need of a Gaussian, in depth order, in one cache line."""
    for rank in range(first, last):
        i = order[rank]
        log_opacity = np.float32(math.log2(opacities[i]))
        a, b, c = conics[i, 0], conics[i, 1], conics[i, 2]
        records[rank, MEAN_X] = means2d[i, 0]
        records[rank, MEAN_Y] = means2d[i, 1]
        records[rank, A] = -_HALF * _LOG2E * a
        records[rank, B] = -_LOG2E * b
        records[rank, C] = -_HALF * _LOG2E * c
        records[rank, LOG] = log_opacity
        records[rank, SHIFT] = -b / a
        # c - b^2 / a = 1 / variance_y; the slack keeps edge pixels that rounding would lose.
        fall = -_HALF * _LOG2E / heights[i]
        records[rank, FALL] = fall * np.float32(0.999)
        records[rank, REACH] = (
            math.sqrt(max((LOWEST - log_opacity) / fall, _ZERO)) * np.float32(1.001) + _SLACK
        )


@inlined
def _tile_span(records, rank, middle, half_height, tiles_x):
    """First tile and one past the last tile of a row of tiles that the ellipse alpha >= MIN_ALPHA meets."""
    a, shift, fall = records[rank, A], records[rank, SHIFT], records[rank, FALL]
    room = LOWEST - records[rank, LOG]
    low = max(middle - half_height, -records[rank, REACH])
    high = min(middle + half_height, records[rank, REACH])
    # The ellipse reaches farthest right at dy = top; left at -top.  Each side is concave in dy.
    top = shift * math.sqrt(max(a * room / (fall * (fall + a * shift * shift)), _ZERO))
    right_at = min(max(top, low), high)
    left_at = min(max(-top, low), high)
    right = shift * right_at + math.sqrt(max((room - fall * right_at * right_at) / a, _ZERO))
    left = shift * left_at - math.sqrt(max((room - fall * left_at * left_at) / a, _ZERO))
    centre = records[rank, MEAN_X]
    scale = np.float32(1.0 / TILE)
    begin = max(np.int64(math.floor((centre + left - _HALF - _SLACK) * scale)), np.int64(0))
    # Pixel centres end half a pixel before a tile does.
    end = min(np.int64(math.floor((centre + right - _HALF + _SLACK) * scale)) + 1, np.int64(tiles_x))
    return begin, end


@inlined
def _tile_rows(records, rank, tiles_y):
    scale = np.float32(1.0 / TILE)
    low = records[rank, MEAN_Y] - records[rank, REACH] - _HALF
    high = records[rank, MEAN_Y] + records[rank, REACH] - _HALF
    begin = max(np.int64(math.floor(low * scale)), np.int64(0))
    end = min(np.int64(math.floor(high * scale)) + 1, np.int64(tiles_y))
    return begin, end


@kernel
def count_tiles(first, last, records, tiles_x, tiles_y, counts):
    """Number of tiles that each rank meets, in ``counts[rank + 1]``."""
    for rank in range(first, last):
        begin, end = _tile_rows(records, rank, tiles_y)
        total = 0
        for tile_y in range(begin, end):
            middle = np.float32(tile_y * TILE + TILE // 2) - records[rank, MEAN_Y]
            left, right = _tile_span(records, rank, middle, np.float32((TILE - 1) / 2), tiles_x)
            total += max(right - left, 0)
        counts[rank + 1] = total


@kernel
def list_tiles(first, last, records, tiles_x, tiles_y, slot_starts, slot_tiles):
    """The tiles of each rank, one slot each, at ``slot_tiles[slot_starts[rank]]`` and on."""
    for rank in range(first, last):
        begin, end = _tile_rows(records, rank, tiles_y)
        slot = slot_starts[rank]
        for tile_y in range(begin, end):
            middle = np.float32(tile_y * TILE + TILE // 2) - records[rank, MEAN_Y]
            left, right = _tile_span(records, rank, middle, np.float32((TILE - 1) / 2), tiles_x)
            for tile_x in range(left, right):
                slot_tiles[slot] = tile_y * tiles_x + tile_x
                slot += 1


@kernel
def sort_by_tile(first, last, slot_starts, slot_tiles, starts, ranks, slots):
    """Counting sort of the slots of ranks ``first .. last`` by tile; depth order is kept within a tile."""
    for slot in range(slot_starts[last]):
        starts[slot_tiles[slot] + 1] += 1
    for tile in range(len(starts) - 1):
        starts[tile + 1] += starts[tile]
    cursors = starts[:-1].copy()
    for rank in range(first, last):
        for slot in range(slot_starts[rank], slot_starts[rank + 1]):
            tile = slot_tiles[slot]
            ranks[cursors[tile]] = rank
            slots[cursors[tile]] = slot
            cursors[tile] += 1


@kernel
def sum_slots(first, last, order, slot_starts, slot_values, out):
    """Add up a Gaussian's slots into its row of ``out [n, c]``, in file order."""
    columns = out.shape[1]
    for rank in range(first, last):
        i = order[rank]
        for slot in range(slot_starts[rank], slot_starts[rank + 1]):
            for column in range(columns):
                out[i, column] += slot_values[slot, column]


@kernel
def shape_gradients(
    first, last, order, slot_starts, sums, conics, opacities, means2d, out_conics, out_opacities, absolute
):
    """Gradients of centres, conics and opacities from the slots' sums (:func:`_raster.backward`)."""
    total = np.empty(8, np.float32)
    ln2 = np.float32(math.log(2.0))
    for rank in range(first, last):
        i = order[rank]
        total[:] = _ZERO
        for slot in range(slot_starts[rank], slot_starts[rank + 1]):
            for column in range(sums.shape[1]):
                total[column] += sums[slot, column]
        a, b, c = conics[i, 0], conics[i, 1], conics[i, 2]
        means2d[i, 0] = a * total[1] + b * total[2]
        means2d[i, 1] = b * total[1] + c * total[2]
        out_conics[i, 0] = -_HALF * total[3]
        out_conics[i, 1] = -total[4]
        out_conics[i, 2] = -_HALF * total[5]
        out_opacities[i] = total[0] / opacities[i]
        if len(absolute) > 0:
            # The sums were taken of the base-2 exponent's slope.
            absolute[i, 0] = total[6] * ln2
            absolute[i, 1] = total[7] * ln2


@inlined
def _merge(
    rank, slot_starts, slot_tiles, slot_nodes, tiles_x, first_x, first_y, nodes_x, grid_w, grid_h, sums
):
    """Add the slots of one rank on the grid; returns the box of nodes that was touched."""
    nodes_y = slot_nodes.shape[1] // nodes_x
    x0, y0, x1, y1 = grid_w, grid_h, 0, 0
    for slot in range(slot_starts[rank], slot_starts[rank + 1]):
        left, top = first_x[slot_tiles[slot] % tiles_x], first_y[slot_tiles[slot] // tiles_x]
        x0, y0 = min(x0, left), min(y0, top)
        x1, y1 = max(x1, min(left + nodes_x, grid_w)), max(y1, min(top + nodes_y, grid_h))
    for y in range(y0, y1):
        for x in range(x0, x1):
            sums[y * grid_w + x] = _ZERO
    for slot in range(slot_starts[rank], slot_starts[rank + 1]):
        left, top = first_x[slot_tiles[slot] % tiles_x], first_y[slot_tiles[slot] // tiles_x]
        for node_y in range(nodes_y):
            y = min(top + node_y, grid_h - 1)
            for node_x in range(nodes_x):
                x = min(left + node_x, grid_w - 1)
                sums[y * grid_w + x] += slot_nodes[slot, node_y * nodes_x + node_x]
    return x0, y0, x1, y1


@kernel
def merge_nodes(
    first,
    last,
    order,
    slot_starts,
    slot_tiles,
    slot_nodes,
    tiles_x,
    first_x,
    first_y,
    nodes_x,
    grid_w,
    grid_h,
    row_starts,
    columns,
    weights,
):
    """One CSR row per Gaussian in file order from its slots; with empty ``columns`` it only counts."""
    sums = np.empty(grid_w * grid_h, np.float32)
    for rank in range(first, last):
        i = order[rank]
        x0, y0, x1, y1 = _merge(
            rank,
            slot_starts,
            slot_tiles,
            slot_nodes,
            tiles_x,
            first_x,
            first_y,
            nodes_x,
            grid_w,
            grid_h,
            sums,
        )
        to = row_starts[i] if len(columns) > 0 else np.int64(0)
        count = np.int64(0)
        for y in range(y0, y1):
            for x in range(x0, x1):
                if sums[y * grid_w + x] > _ZERO:
                    if len(columns) > 0:
                        columns[to + count] = y * grid_w + x
                        weights[to + count] = sums[y * grid_w + x]
                    count += 1
        if len(columns) == 0:
            row_starts[i + 1] = count


@kernel
def add_products(first, last, order, row_starts, columns, weights, dense, out, row_sums):
    """``out += sum_v A_v dense`` for stacked sparse views: ``row_starts [views, n + 1]`` index ``columns, weights``.

    A row of ``out`` is read and written once for all views; neighbours in ``order`` share rows of ``dense``.
    """
    channels = dense.shape[1]
    total = np.empty(channels, np.float32)
    for position in range(first, last):
        i = order[position]
        total[:] = _ZERO
        weight = _ZERO
        seen = False
        for view in range(row_starts.shape[0]):
            entry, end = row_starts[view, i], row_starts[view, i + 1]
            seen = seen or end > entry
            while entry + 4 <= end:
                # Four rows at a time: the running total is loaded and stored once for them.
                w0, w1, w2, w3 = weights[entry], weights[entry + 1], weights[entry + 2], weights[entry + 3]
                d0, d1 = dense[columns[entry]], dense[columns[entry + 1]]
                d2, d3 = dense[columns[entry + 2]], dense[columns[entry + 3]]
                for channel in range(channels):
                    total[channel] += (
                        w0 * d0[channel] + w1 * d1[channel] + w2 * d2[channel] + w3 * d3[channel]
                    )
                weight += w0 + w1 + w2 + w3
                entry += 4
            while entry < end:
                w0, d0 = weights[entry], dense[columns[entry]]
                for channel in range(channels):
                    total[channel] += w0 * d0[channel]
                weight += w0
                entry += 1
        if seen:
            row_sums[i] += weight
            for channel in range(channels):
                out[i, channel] += total[channel]
