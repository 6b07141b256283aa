"""The inner loops: alpha-blending weights of every tile, and what is done with them.

A tile is 16x16 pixels and one of its rows is one vector.  The Gaussians of a tile come front to back
as ranks into ``records`` (depth order).  The sign of a pixel's transmittance says whether it is
finished, so that rows need no branch per pixel.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from render.rasterizer._kinds import Bools, Bytes, Floats, Ints, Longs, Words
from render.rasterizer._simd import (
    any_lane,
    both,
    exp2,
    fma,
    inlined,
    kernel,
    lane_array,
    lane_numbers,
    load,
    magnitude,
    prefetch,
    splat,
    store,
    store_sums,
    where,
)
from render.rasterizer._types import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE

TILE = 16
PIXELS = TILE * TILE

# Columns of a record: centre, quadratic form and opacity as base-2 logarithms
# (alpha = 2^(A dx^2 + B dx dy + C dy^2 + LOG)), and how the maximum over dy falls with dx (LOG + FALL_X dx^2)
# and the other way round.  A record fills one cache line.
MEAN_X, MEAN_Y, A, B, C, LOG, FALL_X, FALL_Y = range(8)
RECORD = 16
AHEAD = 12  # how many Gaussians before its turn a record is fetched

HALF = np.float32(0.5)
ZERO = np.float32(0)
ONE = np.float32(1)
LOWEST = np.float32(math.log2(MIN_ALPHA))
TOP_ALPHA = np.float32(MAX_ALPHA)
END = np.float32(MIN_TRANSMITTANCE)
FAR_BELOW = np.float32(-20)


@inlined
def _open_tile(
    tile: int, tiles_x: int, width: int, height: int, transmittance: Floats, alive: Bools
) -> tuple[int, int, int, int]:
    """Start a tile: everything passes, and pixels beyond the image's edge are finished."""
    x0 = (tile % tiles_x) * TILE
    y0 = (tile // tiles_x) * TILE
    height_left = min(TILE, height - y0)
    width_left = min(TILE, width - x0)
    for row in range(TILE):
        alive[row] = row < height_left
        for column in range(TILE):
            inside = row < height_left and column < width_left
            transmittance[row * TILE + column] = ONE if inside else -ONE
    return x0, y0, height_left, width_left


@inlined
def _fetch(index: int, end: int, ranks: Words, records: Floats, rows: Bytes) -> tuple[int, int, int]:
    """Rank of an entry and the tile's rows that it can reach; asks for a later record."""
    prefetch(records, np.int64(ranks[min(index + AHEAD, end - 1)]))
    return np.int64(ranks[index]), np.int64(rows[index] & 15), np.int64(rows[index] >> 4) + 1


@inlined
def _load_shape(records: Floats, rank: int, x0: int, y0: int) -> Any:
    """What the rows of a tile need of a Gaussian, out of memory once: dx of a row, dy of row 0, A, B, C, LOG."""
    dx = splat(np.float32(x0) + HALF - records[rank, MEAN_X]) + lane_numbers()
    top = np.float32(y0) + HALF - records[rank, MEAN_Y]
    return dx, top, splat(records[rank, A]), records[rank, B], records[rank, C], records[rank, LOG]


@inlined
def _exponents(shape: Any, dy: float) -> Any:
    """Base-2 logarithm of alpha in a row."""
    dx, _, a, b, c, log_opacity = shape
    return fma(fma(a, dx, splat(b * dy)), dx, splat(c * dy * dy + log_opacity))


@inlined
def _alphas(exponents: Any) -> Any:
    """Alpha of a row before the clamp to MAX_ALPHA; exponents far below MIN_ALPHA are cut."""
    bottom = splat(FAR_BELOW)
    return exp2(where(exponents > bottom, exponents, bottom))


@inlined
def _visible(exponents: Any, log_opacity: float) -> Any:
    # The second condition drops rounding artefacts of needle-shaped Gaussians, as gsplat's sigma < 0 does.
    return both(exponents >= splat(LOWEST), exponents <= splat(log_opacity))


@inlined
def _blend_row(shape: Any, row: int, transmittance: Floats, alive: Bools) -> Any:
    """Weights of one Gaussian in one row; moves the row's transmittance past it."""
    exponents = _exponents(shape, shape[1] + np.float32(row))
    alpha = _alphas(exponents)
    alpha = where(alpha >= splat(TOP_ALPHA), splat(TOP_ALPHA), alpha)
    visible = _visible(exponents, shape[5])
    before = load(transmittance, row * TILE)
    after = before - before * alpha
    passes = both(visible, after > splat(END))
    finished = splat(ZERO) - magnitude(before)
    now = where(passes, after, where(visible, finished, before))
    store(transmittance, row * TILE, now)
    alive[row] = any_lane(now > splat(ZERO))
    return where(passes, before * alpha, splat(ZERO))


@inlined
def _any_alive(alive: Bools) -> bool:
    count = 0
    for row in range(TILE):
        count += alive[row]
    return count > 0


@kernel
def forward(
    first: int,
    last: int,
    tiles_x: int,
    width: int,
    height: int,
    starts: Longs,
    ranks: Words,
    rows: Bytes,
    records: Floats,
    values: Floats,
    image: Floats,
    depth: Floats,
    alpha: Floats,
    remaining: Floats,
    newest: Ints,
) -> None:
    """Blend ``values [m, c]`` into ``image [h, w, c]``, or all but the last into the image and that into ``depth``.

    ``alpha [h, w]`` gets the sum of the weights: 1 - transmittance has few digits where little is seen.
    Leaves each pixel's transmittance in ``remaining [h, w]`` and the place of its last contributor in the tile's
    list in ``newest [h, w]`` (-1 if there is none).
    """
    channels = values.shape[1]
    transmittance = lane_array(PIXELS)
    place, covered = lane_array(PIXELS), lane_array(PIXELS)
    alive = np.empty(TILE, np.bool_)
    blended = lane_array(channels * PIXELS)
    for tile in range(first, last):
        x0, y0, height_left, width_left = _open_tile(tile, tiles_x, width, height, transmittance, alive)
        blended[:] = ZERO
        place[:] = -ONE
        covered[:] = ZERO
        for index in range(starts[tile], starts[tile + 1]):
            rank, begin, end = _fetch(index, starts[tile + 1], ranks, records, rows)
            shape = _load_shape(records, rank, x0, y0)
            here = splat(np.float32(index - starts[tile]))
            finished = False
            for row in range(begin, end):
                if not alive[row]:
                    continue
                at = row * TILE
                weights = _blend_row(shape, row, transmittance, alive)
                finished = finished or not alive[row]
                store(covered, at, load(covered, at) + weights)
                store(place, at, where(weights > splat(ZERO), here, load(place, at)))
                for channel in range(channels):
                    to = channel * PIXELS + at
                    store(blended, to, fma(weights, splat(values[rank, channel]), load(blended, to)))
            if finished and not _any_alive(alive):
                break
        for row in range(height_left):
            for column in range(width_left):
                pixel = row * TILE + column
                alpha[y0 + row, x0 + column] = covered[pixel]
                remaining[y0 + row, x0 + column] = abs(transmittance[pixel])
                newest[y0 + row, x0 + column] = np.int32(place[pixel])
                if channels > image.shape[2]:
                    depth[y0 + row, x0 + column] = blended[(channels - 1) * PIXELS + pixel]
                for channel in range(image.shape[2]):
                    image[y0 + row, x0 + column, channel] = blended[channel * PIXELS + pixel]


@inlined
def _read_tile(
    tile: int,
    tiles_x: int,
    grad_image: Floats,
    grad_alpha: Floats,
    remaining: Floats,
    newest: Ints,
    gradients: Floats,
    behind: Floats,
    transmittance: Floats,
    place: Floats,
    tops: Longs,
) -> tuple[int, int, int]:
    """What a tile's replay starts from, and its first pixel and the last place in its list.

    ``gradients`` become channel-major, ``behind`` is -dL/dalpha times the transmittance, ``tops`` are the rows'
    last places.
    """
    height, width, channels = grad_image.shape
    x0 = (tile % tiles_x) * TILE
    y0 = (tile // tiles_x) * TILE
    gradients[:] = ZERO
    behind[:] = ZERO
    transmittance[:] = ONE
    place[:] = -ONE
    top = np.int64(-1)
    for row in range(TILE):
        tops[row] = -1
        if row >= height - y0:
            continue
        for column in range(min(TILE, width - x0)):
            pixel = row * TILE + column
            y, x = y0 + row, x0 + column
            for channel in range(channels):
                gradients[channel * PIXELS + pixel] = grad_image[y, x, channel]
            transmittance[pixel] = remaining[y, x]
            behind[pixel] = -remaining[y, x] * grad_alpha[y, x]
            place[pixel] = np.float32(newest[y, x])
            tops[row] = max(tops[row], np.int64(newest[y, x]))
        top = max(top, tops[row])
    return x0, y0, top


@inlined
def _store_channel_sums(sums: Floats, out: Floats) -> None:
    """Reduce a row of lanes per channel to a number each; there are multiples of four of them."""
    for channel in range(0, len(out), 4):
        at = channel * TILE
        store_sums(
            out, channel, load(sums, at), load(sums, at + TILE), load(sums, at + 2 * TILE), load(sums, at + 3 * TILE)
        )


@kernel
def backward(
    first: int,
    last: int,
    tiles_x: int,
    starts: Longs,
    ranks: Words,
    rows: Bytes,
    slots: Words,
    records: Floats,
    values: Floats,
    remaining: Floats,
    newest: Ints,
    grad_image: Floats,
    grad_alpha: Floats,
    absolute: Any,
    slot_shapes: Floats,
    slot_values: Floats,
) -> None:
    """Per tile-Gaussian sums of gradients, written to the Gaussian's own slots (no atomics).

    ``slot_shapes[slot]`` gets, with s = alpha dL/dalpha: sums of s, s dx, s dy, s dx^2, s dx dy, s dy^2 and,
    if ``absolute``, of the magnitudes of the pixel gradients of the centre.  ``slot_values[slot]`` gets dL/dvalue,
    filled up with zeros to a multiple of four.
    The replay runs back to front: what lies behind a Gaussian is a running sum, and the image is not needed.
    """
    channels = values.shape[1]
    transmittance, behind, place = lane_array(PIXELS), lane_array(PIXELS), lane_array(PIXELS)
    tops = np.empty(TILE, np.int64)
    gradients = lane_array(channels * PIXELS)
    value_sums = lane_array(slot_values.shape[1] * TILE)
    shapes = slot_shapes.reshape(-1)
    zeros, ones = splat(ZERO), splat(ONE)
    for tile in range(first, last):
        x0, y0, top = _read_tile(
            tile, tiles_x, grad_image, grad_alpha, remaining, newest, gradients, behind, transmittance, place, tops
        )
        for number in range(top, -1, -1):
            index = starts[tile] + number
            prefetch(records, np.int64(ranks[max(index - AHEAD, starts[tile])]))
            rank = np.int64(ranks[index])
            shape = _load_shape(records, rank, x0, y0)
            dx, a, b, c = shape[0], shape[2], shape[3], shape[4]
            sum_0, sum_y, sum_yy, abs_x, abs_y = zeros, zeros, zeros, zeros, zeros
            value_sums[:] = ZERO
            for row in range(np.int64(rows[index] & 15), np.int64(rows[index] >> 4) + 1):
                if number > tops[row]:
                    continue
                at = row * TILE
                dy = shape[1] + np.float32(row)
                exponents = _exponents(shape, dy)
                exact = _alphas(exponents)
                here = both(_visible(exponents, shape[5]), load(place, at) >= splat(np.float32(number)))
                alpha = where(here, where(exact >= splat(TOP_ALPHA), splat(TOP_ALPHA), exact), zeros)
                inverse = ones / (ones - alpha)
                before = load(transmittance, at) * inverse
                store(transmittance, at, before)
                weights = before * alpha
                received = zeros
                for channel in range(channels):
                    gradient = load(gradients, channel * PIXELS + at)
                    received = fma(splat(values[rank, channel]), gradient, received)
                    to = channel * TILE
                    store(value_sums, to, fma(weights, gradient, load(value_sums, to)))
                # alpha dL/dalpha = w received - alpha / (1 - alpha) behind; a clamped alpha has no slope.
                seen = weights * received
                past = load(behind, at)
                slope = where(exact <= splat(TOP_ALPHA), seen - alpha * inverse * past, zeros)
                store(behind, at, past + seen)
                sum_0 = sum_0 + slope
                sum_y = fma(slope, splat(dy), sum_y)
                sum_yy = fma(slope, splat(dy * dy), sum_yy)
                if absolute:
                    along_x = fma(a + a, dx, splat(b * dy))
                    along_y = fma(splat(b), dx, splat((c + c) * dy))
                    abs_x = abs_x + magnitude(slope * along_x)
                    abs_y = abs_y + magnitude(slope * along_y)
            slot = np.int64(slots[index])
            store_sums(shapes, slot * 8, sum_0, sum_0 * dx, sum_y, sum_0 * dx * dx)
            store_sums(shapes, slot * 8 + 4, sum_y * dx, sum_yy, abs_x, abs_y)
            _store_channel_sums(value_sums, slot_values[slot])


@kernel
def transposed(
    first: int,
    last: int,
    tiles_x: int,
    width: int,
    height: int,
    starts: Longs,
    ranks: Words,
    rows: Bytes,
    slots: Words,
    records: Floats,
    maps: Floats,
    slot_values: Floats,
) -> None:
    """Sum ``w F`` of every tile-Gaussian pair for a full-size map ``[h, w, c]``; the column
    after the channels gets sum ``w``."""
    channels = maps.shape[2]
    transmittance = lane_array(PIXELS)
    alive = np.empty(TILE, np.bool_)
    tile_map = lane_array(channels * PIXELS)
    sums = lane_array(slot_values.shape[1] * TILE)
    for tile in range(first, last):
        x0, y0, height_left, width_left = _open_tile(tile, tiles_x, width, height, transmittance, alive)
        tile_map[:] = ZERO
        for row in range(height_left):
            for column in range(width_left):
                for channel in range(channels):
                    tile_map[channel * PIXELS + row * TILE + column] = maps[y0 + row, x0 + column, channel]
        for index in range(starts[tile], starts[tile + 1]):
            rank, begin, end = _fetch(index, starts[tile + 1], ranks, records, rows)
            shape = _load_shape(records, rank, x0, y0)
            sums[:] = ZERO
            finished = False
            for row in range(begin, end):
                if not alive[row]:
                    continue
                at = row * TILE
                weights = _blend_row(shape, row, transmittance, alive)
                finished = finished or not alive[row]
                for channel in range(channels):
                    to = channel * TILE
                    store(sums, to, fma(weights, load(tile_map, channel * PIXELS + at), load(sums, to)))
                to = channels * TILE
                store(sums, to, load(sums, to) + weights)
            slot = np.int64(slots[index])
            _store_channel_sums(sums, slot_values[slot])
            if finished and not _any_alive(alive):
                break


@kernel
def lift_tiles(
    first: int,
    last: int,
    tiles_x: int,
    width: int,
    height: int,
    starts: Longs,
    ranks: Words,
    rows: Bytes,
    slots: Words,
    records: Floats,
    along_x: Floats,
    counts_x: Longs,
    row_node: Longs,
    row_fraction: Floats,
    slot_nodes: Floats,
) -> None:
    """Sum ``w U`` of every tile-Gaussian pair over the grid nodes near the tile.

    ``along_x [tiles_x, nx, 16]`` interpolates a tile's columns from its ``counts_x`` nodes; row ``y`` lies
    ``row_fraction[y]`` of the way from the tile's node row ``row_node[y]`` to the next one.  The two node rows
    are added up first; the reduction over columns comes once per pair.  ``slot_nodes [slots, ny, nx]`` is
    written at the node rows that the pair's pixel rows need.
    """
    nodes_y, nodes_x = slot_nodes.shape[1], slot_nodes.shape[2]  # nodes_x is a multiple of four
    nodes = slot_nodes.reshape(-1)
    transmittance = lane_array(PIXELS)
    alive = np.empty(TILE, np.bool_)
    sums = lane_array(nodes_y * TILE)
    weights_x = lane_array(nodes_x * TILE)
    for tile in range(first, last):
        x0, y0, _, _ = _open_tile(tile, tiles_x, width, height, transmittance, alive)
        weights_x[:] = along_x[tile % tiles_x].reshape(-1)
        used = counts_x[tile % tiles_x]
        done = False
        for index in range(starts[tile], starts[tile + 1]):
            rank, begin, end = _fetch(index, starts[tile + 1], ranks, records, rows)
            shape = _load_shape(records, rank, x0, y0)
            first_node, last_node = row_node[y0 + begin], row_node[y0 + end - 1] + 2
            sums[first_node * TILE : last_node * TILE] = ZERO
            finished = False
            for row in range(begin, end):
                if not alive[row]:
                    continue
                weights = _blend_row(shape, row, transmittance, alive)
                finished = finished or not alive[row]
                fraction = row_fraction[y0 + row]
                to = row_node[y0 + row] * TILE
                store(sums, to, fma(weights, splat(ONE - fraction), load(sums, to)))
                to += TILE
                store(sums, to, fma(weights, splat(fraction), load(sums, to)))
            slot = np.int64(slots[index])
            if done:
                slot_nodes[slot, first_node:last_node, :] = ZERO
                continue
            for node_y in range(first_node, last_node):
                total = load(sums, node_y * TILE)
                for node_x in range(0, used, 4):
                    at = node_x * TILE
                    store_sums(
                        nodes,
                        (slot * nodes_y + node_y) * nodes_x + node_x,
                        total * load(weights_x, at),
                        total * load(weights_x, at + TILE),
                        total * load(weights_x, at + 2 * TILE),
                        total * load(weights_x, at + 3 * TILE),
                    )
            done = finished and not _any_alive(alive)


@kernel
def list_pixels(
    first: int,
    last: int,
    tiles_x: int,
    width: int,
    height: int,
    starts: Longs,
    ranks: Words,
    rows: Bytes,
    records: Floats,
    ids: Ints,
    offsets: Longs,
    out_ids: Ints,
    out_weights: Floats,
) -> None:
    """Write ids and weights of every pixel's Gaussians from ``offsets[pixel + 1]`` on, which moves along.

    With empty outputs it only counts.
    """
    transmittance = lane_array(PIXELS)
    alive = np.empty(TILE, np.bool_)
    row_weights = lane_array(TILE)
    writes = len(out_ids) > 0
    for tile in range(first, last):
        x0, y0, _, width_left = _open_tile(tile, tiles_x, width, height, transmittance, alive)
        for index in range(starts[tile], starts[tile + 1]):
            rank, begin, end = _fetch(index, starts[tile + 1], ranks, records, rows)
            shape = _load_shape(records, rank, x0, y0)
            for row in range(begin, end):
                if not alive[row]:
                    continue
                store(
                    row_weights,
                    0,
                    _blend_row(shape, row, transmittance, alive),
                )
                pixel = (y0 + row) * width + x0 + 1
                for column in range(width_left):
                    if row_weights[column] > ZERO:
                        if writes:
                            out_ids[offsets[pixel + column]] = ids[rank]
                            out_weights[offsets[pixel + column]] = row_weights[column]
                        offsets[pixel + column] += 1
            if not _any_alive(alive):
                break
