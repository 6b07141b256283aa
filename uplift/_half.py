"""The CPU kernel of text queries: dot products of many features with some queries, fp16 read once.

Features of 600k Gaussians are larger than any cache, so reading them is the cost: each row is widened to
float32 lanes of the first-level cache once, and all queries and its length are taken from there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from torch import Tensor

from render.rasterizer._simd import LANES, fma, inlined, kernel, lane_array, load, splat, store, store_sums, vector_t
from render.rasterizer.threads import for_ranges

ROWS = 4  # whose sums fill one store
_HALVES = ir.VectorType(ir.IntType(16), LANES)
_BITS = ir.VectorType(ir.IntType(32), LANES)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)


@intrinsic
def _lanes(typing_context: Any, array: Any, index: Any) -> Any:  # noqa: ARG001  numba prescribes the signature
    """``array[index : index + 16]`` as float32 lanes; the array holds float32, or the bits of fp16 as uint16."""
    half = array.dtype == types.uint16

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        address = builder.bitcast(builder.gep(data, [args[1]]), (_HALVES if half else _FLOATS).as_pointer())
        found = builder.load(address, align=2 if half else 4)
        return _widened(builder, found) if half else found

    return vector_t(array, types.intp), codegen


def _widened(builder: Any, halves: Any) -> Any:
    """fp16 bits as float32 lanes, in integers: where a processor cannot convert, LLVM's ``fpext`` needs a
    function that numba does not have."""

    def constant(value: int) -> Any:
        return ir.Constant(_BITS, [value] * LANES)

    wide = builder.zext(halves, _BITS)
    sign = builder.shl(builder.and_(wide, constant(0x8000)), constant(16))
    bits = builder.shl(builder.and_(wide, constant(0x7FFF)), constant(13))
    # Exponents are biased by 15 in fp16 and by 127 in float32; the largest one means infinity in both.
    infinite = builder.icmp_unsigned(">=", bits, constant(0x1F << 23))
    normal = builder.add(bits, builder.select(infinite, constant(224 << 23), constant(112 << 23)))
    # A subnormal's implicit one is added as such and subtracted as a float.
    one = builder.bitcast(constant(113 << 23), _FLOATS)
    subnormal = builder.fsub(builder.bitcast(builder.add(bits, constant(113 << 23)), _FLOATS), one)
    small = builder.icmp_unsigned("<", bits, constant(1 << 23))
    magnitude = builder.select(small, builder.bitcast(subnormal, _BITS), normal)
    return builder.bitcast(builder.or_(magnitude, sign), _FLOATS)


@inlined
def _widen_rows(values: Any, first: int, count: int, c: int, rows: Any, stride: int, rest: Any, squares: Any) -> None:
    """Write ``count`` rows as float32 to ``rows``, the rest of ``ROWS`` as copies of the last, and their
    squared lengths to ``squares``; ``rest`` is room for 16 values, zeros where no row ends in it."""
    whole = c // LANES * LANES
    for r in range(ROWS):
        source = (first + min(r, count - 1)) * c
        for k in range(0, whole, LANES):
            store(rows, r * stride + k, _lanes(values, source + k))
        if whole < c:
            rest[: c - whole] = values[source + whole : source + c]
            store(rows, r * stride + whole, _lanes(rest, 0))
    a = b = d = e = splat(np.float32(0))
    for k in range(0, stride, LANES):
        x, y, z, w = load(rows, k), load(rows, stride + k), load(rows, 2 * stride + k), load(rows, 3 * stride + k)
        a, b, d, e = fma(x, x, a), fma(y, y, b), fma(z, z, d), fma(w, w, e)
    store_sums(squares, 0, a, b, d, e)


@kernel
def _margins(start: int, stop: int, values: Any, c: int, queries: Any, wanted: int, margins: Any) -> None:
    """``(f . q - max_k f . n_k) / |f|`` of rows ``start .. stop`` of ``values``, flat ``[n * c]``.

    ``queries`` ``[wanted + k, stride]`` are first the queries, then the negatives, zeros after column ``c``.
    Rows of zeros give -inf.
    """
    total, stride = queries.shape
    flat = queries.reshape(total * stride)
    rows = lane_array(ROWS * stride)
    rest = np.zeros(LANES, values.dtype)
    squares = lane_array(LANES)
    dots = lane_array(total * ROWS)
    for first in range(start, stop, ROWS):
        count = min(ROWS, stop - first)
        _widen_rows(values, first, count, c, rows, stride, rest, squares)
        for q in range(total):
            a = b = d = e = splat(np.float32(0))
            for k in range(0, stride, LANES):
                query = load(flat, q * stride + k)
                a = fma(load(rows, k), query, a)
                b = fma(load(rows, stride + k), query, b)
                d = fma(load(rows, 2 * stride + k), query, d)
                e = fma(load(rows, 3 * stride + k), query, e)
            store_sums(dots, q * ROWS, a, b, d, e)
        for r in range(count):
            highest = dots[wanted * ROWS + r]
            for q in range(wanted + 1, total):
                highest = max(highest, dots[q * ROWS + r])
            inverse = np.float32(1) / np.sqrt(squares[r])
            for q in range(wanted):
                margin = (dots[q * ROWS + r] - highest) * inverse
                margins[first + r, q] = margin if squares[r] > 0 else np.float32(-np.inf)


def margins(values: Tensor, queries: Tensor, negatives: Tensor) -> Tensor:
    """``f . q - max_k f . n_k`` of every feature, l2-normalised, and query; -inf for features of zeros.

    Args:
        values: ``[n, c]`` fp16 or float32 on the CPU, finite.
        queries: ``[q, c]``.
        negatives: ``[k, c]``, at least one.

    Returns:
        ``[n, q]`` float32.
    """
    n, c = values.shape
    values = values.detach().contiguous()
    bits = values.view(torch.int16).numpy().view(np.uint16) if values.dtype == torch.float16 else values.numpy()
    both = torch.cat([queries, negatives]).detach().to("cpu", torch.float32)
    padded = torch.nn.functional.pad(both, (0, -c % LANES)).contiguous()
    result = torch.empty(n, len(queries))
    for_ranges(_margins, n, bits.reshape(-1), c, padded.numpy(), len(queries), result.numpy(), block=ROWS)
    return result
