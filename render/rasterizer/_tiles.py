"""Which Gaussians a tile sees, front to back; and sums over a Gaussian's tiles."""

from __future__ import annotations

import math

import numpy as np

from render.rasterizer._raster import FALL_X, FALL_Y, LOG, LOWEST, MEAN_X, MEAN_Y, TILE, A, B, C
from render.rasterizer._simd import inlined, kernel

_HALF = np.float32(0.5)
_ZERO = np.float32(0)
_LOG2E = np.float32(math.log2(math.e))
_LAST = np.float32(TILE - 1)
_PER_TILE = np.float32(1.0 / TILE)
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
def make_records(first, last, order, means2d, conics, opacities, variances, records):
    """Everything the inner loops need of a Gaussian, in depth order, in one cache line."""
    for rank in range(first, last):
        i = order[rank]
        records[rank, MEAN_X] = means2d[i, 0]
        records[rank, MEAN_Y] = means2d[i, 1]
        records[rank, A] = -_HALF * _LOG2E * conics[i, 0]
        records[rank, B] = -_LOG2E * conics[i, 1]
        records[rank, C] = -_HALF * _LOG2E * conics[i, 2]
        records[rank, LOG] = np.float32(math.log2(opacities[i]))
        records[rank, FALL_X] = -_HALF * _LOG2E / variances[i, 0]
        records[rank, FALL_Y] = -_HALF * _LOG2E / variances[i, 1]


@inlined
def _extreme(curvature, shift, fall, room):
    """Where the ellipse ``fall v^2 + curvature (u - shift v)^2 >= room`` reaches the largest u: its v."""
    return shift * math.sqrt(max(curvature * room / (fall * (fall + curvature * shift * shift)), _ZERO))


@inlined
def _extent(low, high, curvature, shift, fall, room, extreme):
    """Smallest and largest u of that ellipse within ``low <= v <= high``: each side is concave in v."""
    at_end = min(max(extreme, low), high)
    at_start = min(max(-extreme, low), high)
    end = shift * at_end + math.sqrt(max((room - fall * at_end * at_end) / curvature, _ZERO))
    start = shift * at_start - math.sqrt(max((room - fall * at_start * at_start) / curvature, _ZERO))
    return start - _SLACK, end + _SLACK


@inlined
def _rows_of_tiles(record, tiles_y):
    """First row of tiles, and one past the last, that the Gaussian meets; and its half height."""
    reach = math.sqrt(max((LOWEST - record[LOG]) / record[FALL_Y], _ZERO)) + _SLACK
    begin = max(np.int64(math.floor((record[MEAN_Y] - reach - _HALF) * _PER_TILE)), np.int64(0))
    end = min(np.int64(math.floor((record[MEAN_Y] + reach - _HALF) * _PER_TILE)) + 1, np.int64(tiles_y))
    return begin, end, reach


@inlined
def _tiles_of_row(record, tile_y, tiles_x, reach, extreme):
    """First tile of a row of tiles, and one past the last, with a pixel centre in the ellipse."""
    top = np.float32(tile_y * TILE) + _HALF - record[MEAN_Y]
    left, right = _extent(
        max(top, -reach),
        min(top + _LAST, reach),
        record[A],
        -_HALF * record[B] / record[A],
        record[FALL_Y],
        LOWEST - record[LOG],
        extreme,
    )
    begin = max(np.int64(math.floor((record[MEAN_X] + left - _HALF) * _PER_TILE)), np.int64(0))
    end = min(np.int64(math.floor((record[MEAN_X] + right - _HALF) * _PER_TILE)) + 1, np.int64(tiles_x))
    return begin, end


@kernel
def count_tiles(first, last, records, tiles_x, tiles_y, counts):
    """Number of tiles that each rank meets, in ``counts[rank + 1]``."""
    for rank in range(first, last):
        record = records[rank]
        begin, end, reach = _rows_of_tiles(record, tiles_y)
        room = LOWEST - record[LOG]
        extreme = _extreme(record[A], -_HALF * record[B] / record[A], record[FALL_Y], room)
        total = 0
        for tile_y in range(begin, end):
            left, right = _tiles_of_row(record, tile_y, tiles_x, reach, extreme)
            total += max(right - left, 0)
        counts[rank + 1] = total


@kernel
def list_tiles(first, last, records, tiles_x, tiles_y, slot_starts, slot_tiles, slot_rows):
    """The tiles of each rank, one slot each, from ``slot_starts[rank]`` on, and which of their rows it reaches.

    Rows are packed as ``first + 16 * last``.
    """
    for rank in range(first, last):
        record = records[rank]
        begin, end, reach = _rows_of_tiles(record, tiles_y)
        room = LOWEST - record[LOG]
        shift_x, shift_y = -_HALF * record[B] / record[A], -_HALF * record[B] / record[C]
        extreme_x = _extreme(record[A], shift_x, record[FALL_Y], room)
        extreme_y = _extreme(record[C], shift_y, record[FALL_X], room)
        width = math.sqrt(max(room / record[FALL_X], _ZERO)) + _SLACK
        slot = slot_starts[rank]
        for tile_y in range(begin, end):
            left, right = _tiles_of_row(record, tile_y, tiles_x, reach, extreme_x)
            middle = record[MEAN_Y] - np.float32(tile_y * TILE) - _HALF
            for tile_x in range(left, right):
                side = np.float32(tile_x * TILE) + _HALF - record[MEAN_X]
                top, bottom = _extent(
                    max(side, -width), min(side + _LAST, width), record[C], shift_y, record[FALL_X], room, extreme_y
                )
                first_row = min(max(np.int64(math.ceil(middle + top)), np.int64(0)), np.int64(TILE - 1))
                last_row = min(max(np.int64(math.floor(middle + bottom)), np.int64(0)), np.int64(TILE - 1))
                slot_tiles[slot] = tile_y * tiles_x + tile_x
                slot_rows[slot] = min(first_row, last_row) + TILE * last_row
                slot += 1


@kernel
def sort_by_tile(first, last, slot_starts, slot_tiles, slot_rows, starts, ranks, rows, slots):
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
            rows[cursors[tile]] = slot_rows[slot]
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
def _merge(rank, slot_starts, slot_tiles, slot_nodes, tiles_x, first_x, first_y, nodes_x, grid_w, grid_h, sums):
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
                    total[channel] += w0 * d0[channel] + w1 * d1[channel] + w2 * d2[channel] + w3 * d3[channel]
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
