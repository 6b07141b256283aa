"""Which Gaussians a tile sees, front to back; and sums over a Gaussian's tiles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from render.rasterizer._kinds import Bytes, Floats, Ints, Longs, Words
from render.rasterizer._raster import AHEAD, FALL_X, FALL_Y, LOG, LOWEST, MEAN_X, MEAN_Y, TILE, A, B, C
from render.rasterizer._simd import inlined, kernel, prefetch

PRODUCT_ROWS = 32
_HALF = np.float32(0.5)
_ONE = np.float32(1)
_ZERO = np.float32(0)
_LOG2E = np.float32(math.log2(math.e))
_LAST = np.float32(TILE - 1)
_PER_TILE = np.float32(1.0 / TILE)
_SLACK = np.float32(1e-3)  # pixels: rounding must not lose a tile


@kernel
def radix_order(first: int, last: int, keys: Words, order: Longs, scratch: Longs) -> None:
    """Stable radix sort (3 x 11 bits) of positions ``order`` by ``keys``, such as the bits of positive depths.

    The result is in ``scratch``.
    """
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
def morton_codes(first: int, last: int, points: Floats, low: Floats, scale: Floats, codes: Words) -> None:
    """Interleave ten bits of each coordinate."""
    for i in range(first, last):
        code = np.uint32(0)
        for axis in range(3):
            bits = np.uint32((points[i, axis] - low[axis]) * scale[axis])
            # Spread ten bits three places apart.
            bits = (bits | (bits << np.uint32(16))) & np.uint32(0x030000FF)
            bits = (bits | (bits << np.uint32(8))) & np.uint32(0x0300F00F)
            bits = (bits | (bits << np.uint32(4))) & np.uint32(0x030C30C3)
            bits = (bits | (bits << np.uint32(2))) & np.uint32(0x09249249)
            code |= bits << np.uint32(axis)
        codes[i] = code


@kernel
def spatial_order(
    first: int, last: int, visible: Longs, means2d: Floats, tiles_x: int, tiles_y: int, order: Longs, rank_of: Longs
) -> None:
    """Counting sort of ``visible`` by the tile of their centres; ``rank_of`` is the inverse, by position.

    Neighbours in the image get neighbouring ranks: what the tiles read and write stays in the cache.
    """
    starts = np.zeros(tiles_x * tiles_y + 1, np.int64)
    tiles = np.empty(last - first, np.int32)
    for position in range(first, last):
        i = visible[position]
        x = min(max(np.int64(means2d[i, 0] * _PER_TILE), np.int64(0)), np.int64(tiles_x - 1))
        y = min(max(np.int64(means2d[i, 1] * _PER_TILE), np.int64(0)), np.int64(tiles_y - 1))
        tiles[position] = y * tiles_x + x
        starts[tiles[position] + 1] += 1
    for tile in range(tiles_x * tiles_y):
        starts[tile + 1] += starts[tile]
    for position in range(first, last):
        rank = starts[tiles[position]]
        order[rank] = visible[position]
        rank_of[position] = rank
        starts[tiles[position]] = rank + 1


@kernel
def make_records(
    first: int,
    last: int,
    order: Longs,
    means2d: Floats,
    conics: Floats,
    variances: Floats,
    tiles_x: int,
    tiles_y: int,
    records: Floats,
    counts: Longs,
) -> None:
    """Everything the inner loops need of a Gaussian, in one cache line.

    ``counts[rank + 1]`` gets the number of tiles of its bounding box.
    """
    for rank in range(first, last):
        later = order[min(rank + AHEAD, last - 1)]
        prefetch(means2d, later)
        prefetch(conics, later)
        prefetch(variances, later)
        i = order[rank]
        log_opacity = variances[i, 2]
        records[rank, MEAN_X] = means2d[i, 0]
        records[rank, MEAN_Y] = means2d[i, 1]
        records[rank, A] = -_HALF * _LOG2E * conics[i, 0]
        records[rank, B] = -_LOG2E * conics[i, 1]
        records[rank, C] = -_HALF * _LOG2E * conics[i, 2]
        records[rank, LOG] = log_opacity
        records[rank, FALL_X] = -_HALF * _LOG2E / variances[i, 0]
        records[rank, FALL_Y] = -_HALF * _LOG2E / variances[i, 1]
        room = LOWEST - log_opacity
        left, right = _tile_range(means2d[i, 0], _reach(room, records[rank, FALL_X]), tiles_x)
        top, bottom = _tile_range(means2d[i, 1], _reach(room, records[rank, FALL_Y]), tiles_y)
        counts[rank + 1] = max(right - left, 0) * max(bottom - top, 0)


@inlined
def _reach(room: float, fall: float) -> float:
    """How far from the centre the ellipse alpha >= MIN_ALPHA goes along an axis."""
    return math.sqrt(max(room / fall, _ZERO)) + _SLACK


@inlined
def _tile_range(centre: Any, reach: float, tiles: int) -> tuple[int, int]:
    """First tile of an axis, and one past the last, with a pixel centre within ``reach`` of ``centre``."""
    begin = max(np.int64(math.floor((centre - reach - _HALF) * _PER_TILE)), np.int64(0))
    end = min(np.int64(math.floor((centre + reach - _HALF) * _PER_TILE)) + 1, np.int64(tiles))
    return begin, end


@inlined
def _extreme(curvature: float, shift: float, fall: float, room: float) -> float:
    """Where the ellipse ``fall v^2 + curvature (u - shift v)^2 >= room`` reaches the largest u: its v."""
    return shift * math.sqrt(max(curvature * room / (fall * (fall + curvature * shift * shift)), _ZERO))


@inlined
def _extent(
    low: float, high: float, inverse: float, shift: float, fall: float, room: float, extreme: float
) -> tuple[float, float]:
    """Smallest and largest u of that ellipse within ``low <= v <= high``: each side is concave in v.

    ``inverse`` is 1 / curvature.
    """
    at_end = min(max(extreme, low), high)
    at_start = min(max(-extreme, low), high)
    end = shift * at_end + math.sqrt(max((room - fall * at_end * at_end) * inverse, _ZERO))
    start = shift * at_start - math.sqrt(max((room - fall * at_start * at_start) * inverse, _ZERO))
    return start - _SLACK, end + _SLACK


@kernel
def list_tiles(
    first: int,
    last: int,
    records: Floats,
    tiles_x: int,
    tiles_y: int,
    slot_starts: Longs,
    slot_ends: Longs,
    slot_tiles: Ints,
    slot_rows: Bytes,
) -> None:
    """The tiles of each rank, one slot each, from ``slot_starts[rank]`` on, and which of their rows it reaches.

    Rows are packed as ``first + 16 * last``.
    """
    for rank in range(first, last):
        x, y = records[rank, MEAN_X], records[rank, MEAN_Y]
        a, b, c = records[rank, A], records[rank, B], records[rank, C]
        fall_x, fall_y = records[rank, FALL_X], records[rank, FALL_Y]
        room = LOWEST - records[rank, LOG]
        inverse_a, inverse_c = _ONE / a, _ONE / c
        shift_x, shift_y = -_HALF * b * inverse_a, -_HALF * b * inverse_c
        extreme_x, extreme_y = _extreme(a, shift_x, fall_y, room), _extreme(c, shift_y, fall_x, room)
        reach_x, reach_y = _reach(room, fall_x), _reach(room, fall_y)
        begin, end = _tile_range(y, reach_y, tiles_y)
        # The box was counted: a slot outside of it, which rounding would find, belongs to another rank or to nobody.
        leftmost, rightmost = _tile_range(x, reach_x, tiles_x)
        slot = slot_starts[rank]
        for tile_y in range(begin, end):
            top = np.float32(tile_y * TILE) + _HALF - y
            left, right = _extent(
                max(top, -reach_y), min(top + _LAST, reach_y), inverse_a, shift_x, fall_y, room, extreme_x
            )
            tile_x = max(np.int64(math.floor((x + left - _HALF) * _PER_TILE)), leftmost)
            stop_x = min(np.int64(math.floor((x + right - _HALF) * _PER_TILE)) + 1, rightmost)
            while tile_x < stop_x:
                side = np.float32(tile_x * TILE) + _HALF - x
                low, high = _extent(
                    max(side, -reach_x), min(side + _LAST, reach_x), inverse_c, shift_y, fall_x, room, extreme_y
                )
                first_row = min(max(np.int64(math.ceil(low - top)), np.int64(0)), np.int64(TILE - 1))
                last_row = min(max(np.int64(math.floor(high - top)), np.int64(0)), np.int64(TILE - 1))
                slot_tiles[slot] = tile_y * tiles_x + tile_x
                slot_rows[slot] = min(first_row, last_row) + TILE * last_row
                slot += 1
                tile_x += 1
        slot_ends[rank] = slot


@kernel
def bin_slots(
    first: int,
    last: int,
    slot_starts: Longs,
    slot_ends: Longs,
    slot_tiles: Ints,
    slot_rows: Bytes,
    starts: Longs,
    ranks: Words,
    rows: Bytes,
    slots: Words,
) -> None:
    """Counting sort of the slots of ranks ``first .. last`` by tile."""
    for rank in range(first, last):
        for slot in range(slot_starts[rank], slot_ends[rank]):
            starts[slot_tiles[slot] + 1] += 1
    for tile in range(len(starts) - 1):
        starts[tile + 1] += starts[tile]
    cursors = starts[:-1].copy()
    for rank in range(first, last):
        for slot in range(slot_starts[rank], slot_ends[rank]):
            tile = slot_tiles[slot]
            ranks[cursors[tile]] = rank
            slots[cursors[tile]] = slot
            rows[cursors[tile]] = slot_rows[slot]
            cursors[tile] += 1


@kernel
def sort_tiles(
    first: int, last: int, starts: Longs, longest: int, depth_ranks: Words, ranks: Words, rows: Bytes, slots: Words
) -> None:
    """Sort the entries of each tile front to back: radix sort by the bytes of ``depth_ranks[rank]``."""
    keys, new_keys = np.empty(longest, np.uint32), np.empty(longest, np.uint32)
    order, new_order = np.empty(longest, np.uint32), np.empty(longest, np.uint32)
    counts = np.empty(256, np.int64)
    old_ranks, old_slots = np.empty(longest, np.uint32), np.empty(longest, np.uint32)
    old_rows = np.empty(longest, np.uint8)
    for tile in range(first, last):
        start = starts[tile]
        length = starts[tile + 1] - start
        for i in range(length):
            keys[i] = depth_ranks[ranks[start + i]]
            order[i] = i
            old_ranks[i], old_slots[i], old_rows[i] = ranks[start + i], slots[start + i], rows[start + i]
        bits = 0
        while len(depth_ranks) >> bits:
            counts[:] = 0
            for i in range(length):
                counts[(keys[i] >> bits) & 255] += 1
            total = 0
            for i in range(256):
                total, counts[i] = total + counts[i], total
            for i in range(length):
                bucket = (keys[i] >> bits) & 255
                new_keys[counts[bucket]], new_order[counts[bucket]] = keys[i], order[i]
                counts[bucket] += 1
            keys, new_keys, order, new_order = new_keys, keys, new_order, order
            bits += 8
        for i in range(length):
            ranks[start + i], slots[start + i] = old_ranks[order[i]], old_slots[order[i]]
            rows[start + i] = old_rows[order[i]]


@kernel
def sum_slots(
    first: int, last: int, order: Longs, slot_starts: Longs, slot_ends: Longs, slot_values: Floats, out: Floats
) -> None:
    """Add up a Gaussian's slots into its row of ``out [n, c]``, in file order."""
    columns = out.shape[1]
    for rank in range(first, last):
        i = order[rank]
        for slot in range(slot_starts[rank], slot_ends[rank]):
            for column in range(columns):
                out[i, column] += slot_values[slot, column]


@kernel
def shape_gradients(
    first: int,
    last: int,
    order: Longs,
    slot_starts: Longs,
    slot_ends: Longs,
    sums: Floats,
    conics: Floats,
    opacities: Floats,
    means2d: Floats,
    out_conics: Floats,
    out_opacities: Floats,
    absolute: Any,
) -> None:
    """Gradients of centres, conics and opacities from the slots' sums (:func:`_raster.backward`)."""
    total = np.empty(8, np.float32)
    ln2 = np.float32(math.log(2.0))
    for rank in range(first, last):
        i = order[rank]
        total[:] = _ZERO
        for slot in range(slot_starts[rank], slot_ends[rank]):
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


@kernel
def merge_nodes(
    first: int,
    last: int,
    order: Longs,
    slot_starts: Longs,
    slot_ends: Longs,
    slot_tiles: Ints,
    slot_rows: Bytes,
    slot_nodes: Floats,
    tiles_x: int,
    first_x: Longs,
    first_y: Longs,
    counts_x: Longs,
    row_node: Longs,
    grid_w: int,
    grid_h: int,
    row_ranges: Any,
    columns: Any,
) -> None:
    """Add up the slots of each Gaussian on the grid, in place: one sparse row each.

    Row ``i`` is ``columns[row_ranges[i, 0] : row_ranges[i, 1]]`` with its weights at the same places of the flattened
    ``slot_nodes``: a sum has no more nodes than its parts.
    """
    nodes_x = slot_nodes.shape[2]
    flat = slot_nodes.reshape(-1)
    sums = np.zeros(grid_w * grid_h, np.float32)
    for rank in range(first, last):
        prefetch(row_ranges, order[min(rank + AHEAD, last - 1)])
        i = order[rank]
        x0, y0, x1, y1 = grid_w, grid_h, 0, 0
        for slot in range(slot_starts[rank], slot_ends[rank]):
            tile_x, tile_y = slot_tiles[slot] % tiles_x, slot_tiles[slot] // tiles_x
            left, top = first_x[tile_x], first_y[tile_y]
            count = min(counts_x[tile_x], grid_w - left)
            begin = row_node[tile_y * TILE + (slot_rows[slot] & 15)]
            end = min(row_node[tile_y * TILE + (slot_rows[slot] >> 4)] + 2, grid_h - top)
            x0, y0, x1, y1 = min(x0, left), min(y0, top + begin), max(x1, left + count), max(y1, top + end)
            for node_y in range(begin, end):
                to = (top + node_y) * grid_w + left
                for node_x in range(count):
                    sums[to + node_x] += slot_nodes[slot, node_y, node_x]
        to = slot_starts[rank] * slot_nodes.shape[1] * nodes_x
        row_ranges[i, 0] = to
        for y in range(y0, y1):
            for node in range(y * grid_w + x0, y * grid_w + x1):
                # Written always, kept if positive: cheaper than a branch nobody can predict.
                columns[to] = node
                flat[to] = sums[node]
                to += sums[node] > _ZERO
                sums[node] = _ZERO
        row_ranges[i, 1] = to


@kernel
def gather_rows(
    first: int,
    last: int,
    ranges: Longs,
    columns: Ints,
    weights: Floats,
    csr_starts: Longs,
    csr_columns: Ints,
    csr_weights: Floats,
) -> None:
    """Copy sparse rows to where CSR wants them."""
    for row in range(first, last):
        later = ranges[min(row + AHEAD, last - 1), 0]
        prefetch(columns, later)
        prefetch(weights, later)
        to = csr_starts[row]
        for entry in range(ranges[row, 0], ranges[row, 1]):
            csr_columns[to] = columns[entry]
            csr_weights[to] = weights[entry]
            to += 1


@inlined
def _add_row(total: Floats, entry: int, end: int, columns: Any, weights: Any, dense: Any) -> float:
    """``total += sum weights dense[columns]`` over a sparse row; returns the sum of the weights."""
    weight = _ZERO
    channels = len(total)
    while entry + 4 <= end:
        # Four rows at a time: the running total is loaded and stored once for them.
        w0, w1, w2, w3 = weights[entry], weights[entry + 1], weights[entry + 2], weights[entry + 3]
        c0, c1, c2, c3 = columns[entry], columns[entry + 1], columns[entry + 2], columns[entry + 3]
        for channel in range(channels):
            total[channel] += (w0 * dense[c0, channel] + w1 * dense[c1, channel]) + (
                w2 * dense[c2, channel] + w3 * dense[c3, channel]
            )
        weight += (w0 + w1) + (w2 + w3)
        entry += 4
    while entry < end:
        w0, c0 = weights[entry], columns[entry]
        for channel in range(channels):
            total[channel] += w0 * dense[c0, channel]
        weight += w0
        entry += 1
    return weight


@kernel
def add_products(
    first: int,
    last: int,
    order: Longs,
    starts: Any,
    columns: Any,
    weights: Any,
    dense: Any,
    out: Floats,
    row_sums: Floats,
) -> None:
    """``out += sum_v A_v dense_v`` for a tuple of sparse views; ``row_sums += sum_v A_v 1``.

    Sparse row ``p`` belongs to row ``order[p]`` of ``out``, which is read and written once for all views;
    neighbours in ``order`` share rows of ``dense``.
    """
    totals = np.empty((PRODUCT_ROWS, out.shape[1]), np.float32)
    sums = np.empty(PRODUCT_ROWS, np.float32)
    for block in range(first, last, PRODUCT_ROWS):
        stop = min(block + PRODUCT_ROWS, last)
        totals[:] = _ZERO
        sums[:] = _ZERO
        # Taking an array out of a tuple is slow: once for many rows.
        for view in range(len(starts)):
            view_starts, view_columns, view_weights, view_dense = (
                starts[view],
                columns[view],
                weights[view],
                dense[view],
            )
            for position in range(block, stop):
                begin, end = view_starts[position], view_starts[position + 1]
                if begin < end:
                    row = position - block
                    sums[row] += _add_row(totals[row], begin, end, view_columns, view_weights, view_dense)
        for position in range(block, stop):
            prefetch(out, order[position])
        for position in range(block, stop):
            row = position - block
            if sums[row] > _ZERO:
                i = order[position]
                row_sums[i] += sums[row]
                for channel in range(out.shape[1]):
                    out[i, channel] += totals[row, channel]
