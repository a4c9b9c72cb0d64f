"""One look-up table applied to many grey levels, by vector instructions where the CPU has them.

LLVM turns no loop over a table into vector code. On CPUs with AVX-512 VBMI (Intel since Ice Lake,
AMD since Zen 4) two byte permutations look 64 levels up at once, 8 times faster than the loop; that
is what tables cost at 224x224. Every other CPU runs the loop. Both only move bytes.
"""

from typing import Any, no_type_check

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from augmix.jit import inner

_LANES = 64
_BYTES = ir.VectorType(ir.IntType(8), _LANES)
_PERMUTE = "llvm.x86.avx512.vpermi2var.qi.512"


def _has_permutation() -> bool:
    """Whether numba compiles for this very CPU, and it has the instruction."""
    chosen = any(getattr(config, name, None) for name in ("CPU_NAME", "CPU_FEATURES"))
    try:
        return not chosen and bool(llvm.get_host_cpu_features().get("avx512vbmi", False))
    except RuntimeError:  # llvmlite cannot tell the features of this kind of CPU
        return False


@intrinsic
def _look_up_64(typing_context: Any, pixels: Any, table: Any, result: Any, start: Any) -> Any:
    """``result[start : start + 64] = table[pixels[start : start + 64]]`` on contiguous uint8."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def address(argument: int, offset: Any) -> Any:
            array = context.make_array(signature.args[argument])(
                context, builder, arguments[argument]
            )
            return builder.bitcast(builder.gep(array.data, [offset]), _BYTES.as_pointer())

        def load(argument: int, offset: Any) -> Any:
            return builder.load(address(argument, offset), align=1)

        permute = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_BYTES, [_BYTES] * 3), _PERMUTE
        )
        levels = load(0, arguments[3])
        quarters = [load(1, ir.Constant(ir.IntType(64), _LANES * part)) for part in range(4)]
        low = builder.call(permute, [quarters[0], levels, quarters[1]])
        high = builder.call(permute, [quarters[2], levels, quarters[3]])
        is_high = builder.icmp_signed("<", levels, ir.Constant(_BYTES, [0] * _LANES))
        builder.store(builder.select(is_high, high, low), address(2, arguments[3]), align=1)
        return context.get_dummy_value()

    return types.void(pixels, table, result, start), generate


@inner
@no_type_check
def _look_up_by_vectors(pixels, table, result):
    whole = pixels.size // 64 * 64
    for start in range(0, whole, 64):
        _look_up_64(pixels, table, result, start)
    for index in range(whole, pixels.size):
        result[index] = table[pixels[index]]


@inner
@no_type_check
def _look_up_one_by_one(pixels, table, result):
    for index in range(pixels.size):
        result[index] = table[pixels[index]]


look_up = _look_up_by_vectors if _has_permutation() else _look_up_one_by_one
"""``look_up(pixels, table, result)``: flat contiguous uint8; the result may be the pixels."""
