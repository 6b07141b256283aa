"""Sixteen-lane float vectors for numba kernels, and the decorator that compiles those kernels.

numba leaves vectorization to LLVM's cost model and loses it without a word (20 ns per pixel-Gaussian
pair instead of 1).  One row of a 16x16 tile is one vector here, written as such: LLVM maps it to one
AVX-512 register, two AVX ones or four of SSE or NEON.  Inside kernels vectors support ``+ - *``, the
comparisons ``> >= <=``, and the functions below.
"""

from __future__ import annotations

import hashlib
import operator
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

LANES = 16
_FLOAT = ir.FloatType()
_INT = ir.IntType(32)
_FLOATS = ir.VectorType(_FLOAT, LANES)
_INTS = ir.VectorType(_INT, LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)


def _cache_folder() -> Path:
    """Where machine code is kept: numba watches one file per kernel, so the name hashes all of them."""
    sources = sorted(Path(__file__).parent.glob("_*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fit3d" / "kernels" / digest


_CACHE = _cache_folder()
_CHOOSING_CACHE = threading.Lock()


def is_compiled() -> bool:
    """Whether machine code of these sources lies in the cache."""
    return any(_CACHE.rglob("*.nbi"))


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first use to machine code that runs without the GIL and is kept on disk."""
    # numba has one setting for all threads, which may import kernels at the same time.
    with _CHOOSING_CACHE:
        previous, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(_CACHE)
        try:
            return numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})(function)
        finally:
            numba.config.CACHE_DIR = previous


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as a part of the kernels that call it."""
    return numba.njit(error_model="numpy", fastmath={"contract", "nsz"})(function)


@inlined
def lane_array(size: int) -> Any:
    """An uninitialized float32 array whose start lies on a 64-byte line, so that no row straddles two."""
    array = np.empty(size + LANES, np.float32)
    start = (-(array.ctypes.data // 4)) % LANES
    return array[start : start + size]


class _VectorType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float32x16")


class _MaskType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="boolx16")


vector_t = _VectorType()
mask_t = _MaskType()


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


@register_model(_MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _BITS)


def _constant(value: float | int) -> ir.Constant:
    kind = _FLOATS if isinstance(value, float) else _INTS
    # llvmlite prints a float32 constant only if it is exact.
    return ir.Constant(kind, [float(np.float32(value)) if isinstance(value, float) else value] * LANES)


def _call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    signature = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), args)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return _call(builder, "llvm.fmuladd.v16f32", _FLOATS, a, b, c)


def _row_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, value=array).data
    return builder.bitcast(builder.gep(data, [index]), _FLOATS.as_pointer())


@intrinsic
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """Read lanes ``array[index : index + 16]`` of a contiguous 1D float32 array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_row_pointer(context, builder, signature.args[0], *args), align=4)

    return vector_t(array, types.intp), codegen


@intrinsic
def store(typing_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write lanes to ``array[index : index + 16]``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _row_pointer(context, builder, signature.args[0], args[0], args[1]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector_t), codegen


@intrinsic
def prefetch(typing_context: Any, array: Any, row: Any) -> Any:
    """Ask for the cache line of ``array[row, 0]`` of a contiguous 2D array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, value=args[0])
        stride = cgutils.unpack_tuple(builder, view.strides)[0]
        address = builder.bitcast(view.data, ir.IntType(8).as_pointer())
        address = builder.gep(address, [builder.mul(args[1], stride)])
        hints = [ir.Constant(_INT, value) for value in (0, 3, 1)]  # read, keep in all caches, data
        kinds = [address.type, *(hint.type for hint in hints)]
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), kinds), "llvm.prefetch.p0"
        )
        builder.call(function, [address, *hints])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


@intrinsic
def splat(typing_context: Any, value: Any) -> Any:
    """All lanes equal to a scalar."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        single = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), args[0], ir.Constant(_INT, 0))
        return builder.shuffle_vector(single, single, ir.Constant(_INTS, [0] * LANES))

    return vector_t(types.float32), codegen


@intrinsic
def lane_numbers(typing_context: Any) -> Any:
    """0, 1, ... 15."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(_FLOATS, [float(i) for i in range(LANES)])

    return vector_t(), codegen


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` of three vectors."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _fma(builder, *args)

    return vector_t(vector_t, vector_t, vector_t), codegen


@intrinsic
def exp2(typing_context: Any, exponent: Any) -> Any:
    """``2 ** exponent`` for exponents in [-120, 120]; relative error below 2e-7."""
    # Remez polynomial of 2^f on [-1/2, 1/2].
    coefficients = (
        1.535336188319500e-4,
        1.339887440266574e-3,
        9.618437357674640e-3,
        5.550332471162809e-2,
        2.402264791363012e-1,
        6.931472028550421e-1,
    )

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shifted = builder.fadd(args[0], _constant(0.5))
        whole = _call(builder, "llvm.floor.v16f32", _FLOATS, shifted)
        fraction = builder.fsub(args[0], whole)
        value = _constant(coefficients[0])
        for coefficient in coefficients[1:]:
            value = _fma(builder, value, fraction, _constant(coefficient))
        value = _fma(builder, value, fraction, _constant(1.0))
        bits = builder.add(builder.bitcast(value, _INTS), builder.shl(builder.fptosi(whole, _INTS), _constant(23)))
        return builder.bitcast(bits, _FLOATS)

    return vector_t(vector_t), codegen


@intrinsic
def where(typing_context: Any, mask: Any, yes: Any, no: Any) -> Any:
    """Choose lane by lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return vector_t(mask_t, vector_t, vector_t), codegen


@intrinsic
def both(typing_context: Any, a: Any, b: Any) -> Any:
    """Lane-wise and of two masks."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.and_(*args)

    return mask_t(mask_t, mask_t), codegen


@intrinsic
def any_lane(typing_context: Any, mask: Any) -> Any:
    """Whether a lane is set."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(mask_t), codegen


@intrinsic
def store_sums(typing_context: Any, array: Any, index: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Write the lane sums of four vectors to ``array[index : index + 4]``.

    Halves of two vectors are packed into one before they are added: 13 instructions for four sums, not 32.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def pick(x: Any, y: Any, lanes: list[int]) -> Any:
            return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_INT, len(lanes)), lanes))

        def folded(x: Any, y: Any, width: int) -> Any:
            """Add the two halves of each group of ``width`` lanes, x's groups first, then y's."""
            starts = [base + group for base in (0, LANES) for group in range(0, LANES, width)]
            low = [start + i for start in starts for i in range(width // 2)]
            return builder.fadd(pick(x, y, low), pick(x, y, [lane + width // 2 for lane in low]))

        array_value, at, *vectors = args
        quarters = folded(folded(vectors[0], vectors[1], 16), folded(vectors[2], vectors[3], 16), 8)
        pairs = builder.fadd(quarters, pick(quarters, quarters, [lane ^ 2 for lane in range(LANES)]))
        sums = builder.fadd(pairs, pick(pairs, pairs, [lane ^ 1 for lane in range(LANES)]))
        four = pick(sums, sums, [0, 4, 8, 12])
        data = context.make_array(signature.args[0])(context, builder, value=array_value).data
        address = builder.bitcast(builder.gep(data, [at]), four.type.as_pointer())
        builder.store(four, address, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector_t, vector_t, vector_t, vector_t), codegen


@intrinsic
def magnitude(typing_context: Any, vector: Any) -> Any:
    """Absolute value."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "llvm.fabs.v16f32", _FLOATS, args[0])

    return vector_t(vector_t), codegen


@intrinsic
def root(typing_context: Any, vector: Any) -> Any:
    """Square root."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "llvm.sqrt.v16f32", _FLOATS, args[0])

    return vector_t(vector_t), codegen


def _arithmetic(symbol: Callable[..., Any], instruction: str) -> None:
    @intrinsic
    def vector_operation(typing_context: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, instruction)(*args)

        return vector_t(vector_t, vector_t), codegen

    @overload(symbol)
    def typed(a: Any, b: Any) -> Any:
        def implementation(a: Any, b: Any) -> Any:
            return vector_operation(a, b)

        return implementation if a is vector_t and b is vector_t else None


def _comparison(symbol: Callable[..., Any], predicate: str) -> None:
    @intrinsic
    def vector_comparison(typing_context: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.fcmp_ordered(predicate, *args)

        return mask_t(vector_t, vector_t), codegen

    @overload(symbol)
    def typed(a: Any, b: Any) -> Any:
        def implementation(a: Any, b: Any) -> Any:
            return vector_comparison(a, b)

        return implementation if a is vector_t and b is vector_t else None


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_symbol, _instruction)
for _symbol, _predicate in ((operator.gt, ">"), (operator.ge, ">="), (operator.le, "<=")):
    _comparison(_symbol, _predicate)
