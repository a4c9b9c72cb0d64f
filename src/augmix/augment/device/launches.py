"""Launches of the Triton kernels: a whole batch, as one operation of torch.

For a batch there is one launch that loads the images, two a round, and one that mixes; how many
does not depend on the plan, so a CUDA graph of them serves every plan of a shape.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, no_type_check

import torch
import triton  # pyright: ignore[reportMissingImports]
from jaxtyping import Float, UInt8
from torch import Tensor

from augmix.augment.device import kernels
from augmix.augment.device.packing import Layout
from augmix.augment.device.tensors import Arrays

_COUNTED = 512  # pixels a program counts at a time
_BLOCK = 256  # pixels a program loads, moves or mixes
_SCRATCH_BYTES = 2**31  # of the chains' pixels; batches that need more are done in parts


def render(
    images: UInt8[Tensor, "batch height width channel"],
    arrays: Arrays,
    layout: Layout,
    dtype: torch.dtype,
    channels_last: bool,
) -> Float[Tensor, "view batch channel height width"]:
    """The views of a batch; one opaque operation for `torch.compile`.

    Raises:
        ValueError: If the images are neither on a GPU nor is Triton interpreted.
    """
    if images.device.type == "cpu" and not is_interpreted():
        raise ValueError("Triton kernels need a GPU, got images on the cpu; use backend 'torch'")
    return _render(images, *_chosen(arrays), list(layout[:8]), dtype, channels_last)


def is_interpreted() -> bool:
    """Whether Triton was loaded with TRITON_INTERPRET=1 and runs on the CPU."""
    return not isinstance(kernels.load, triton.JITFunction)


_SCHEMA = """(
    Tensor images, Tensor numbers, Tensor kind, Tensor value, Tensor start, Tensor moves,
    Tensor crop, Tensor share, Tensor clean_share, int[] axes, ScalarType dtype, bool channels_last
) -> Tensor"""  # written out: not every release of torch reads all annotations


@torch.library.custom_op("augmix::render", mutates_args=(), schema=_SCHEMA)
@no_type_check
def _render(
    images: Tensor,
    numbers: Tensor,
    kind: Tensor,
    value: Tensor,
    start: Tensor,
    moves: Tensor,
    crop: Tensor,
    share: Tensor,
    clean_share: Tensor,
    axes: Sequence[int],
    dtype: torch.dtype,
    channels_last: bool,
) -> Tensor:
    """Launch the kernels of a batch, in parts if its chains take too much memory."""
    layout = Layout(*axes)
    views = _empty_views(images, layout, dtype, channels_last)
    pairs, chains = layout.views, layout.views * layout.chains
    per_image = 2 * 4 * layout.num_pixels * max(chains, 1)
    most = max(_SCRATCH_BYTES // per_image, 1)
    with _on(images.device):
        for first in range(0, layout.batch, most):
            last = min(first + most, layout.batch)
            steps, near = slice(first * chains, last * chains), slice(first * pairs, last * pairs)
            _launch(
                images[first:last].contiguous(),
                {
                    "numbers": numbers[steps],
                    "kind": kind[steps],
                    "value": value[steps],
                    "start": start[steps],
                    "moves": moves[steps],
                    "crop": crop[first:last],
                    "share": share[steps],
                    "clean_share": clean_share[near],
                },
                layout._replace(batch=last - first),
                views,
                first,
                channels_last,
            )
    return views


@_render.register_fake
@no_type_check
def _render_fake(
    images, numbers, kind, value, start, moves, crop, share, clean_share, axes, dtype, channels_last
):
    return _empty_views(images, Layout(*axes), dtype, channels_last)


def _chosen(arrays: Arrays) -> tuple[Tensor, ...]:
    """What the kernels read of a plan."""
    return (
        arrays.numbers,
        arrays.kind,
        arrays.value,
        arrays.start,
        arrays.moves,
        arrays.crop,
        arrays.share,
        arrays.clean_share,
    )


def _empty_views(
    images: Tensor, layout: Layout, dtype: torch.dtype, channels_last: bool
) -> Float[Tensor, "view batch channel height width"]:
    pixels = (layout.height, layout.width)
    if not channels_last:
        shape = (layout.views, layout.batch, layout.channels, *pixels)
        return images.new_empty(shape, dtype=dtype)
    shape = (layout.views, layout.batch, *pixels, layout.channels)
    return images.new_empty(shape, dtype=dtype).permute(0, 1, 4, 2, 3)


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Triton launches on the current device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _launch(
    images: UInt8[Tensor, "batch height width channel"],
    plan: dict[str, Tensor],
    layout: Layout,
    views: Float[Tensor, "view all channel height width"],
    first: int,
    channels_last: bool,
) -> None:
    """All launches for some images, which are ``first`` and following of the views."""
    num, size, channels = layout.num_chains, layout.num_pixels, layout.channels
    clean = images.new_empty((layout.batch, size), dtype=torch.int32)
    pixels = images.new_empty((2, num, size), dtype=torch.int32)
    tables = images.new_empty((num, channels, 256))
    blocks = triton.cdiv(size, _BLOCK)
    form = {"CHANNELS": channels, "enable_fp_fusion": False}
    near = {"height": layout.height, "width": layout.width, "num_blocks": blocks, "BLOCK": _BLOCK}
    _start(kernels.load, layout.batch * blocks, images, plan["crop"], clean, **near, **form)
    chains = {name: plan[name] for name in ("kind", "numbers", "start", "moves")}
    for turn in range(layout.depth + 1):
        source = pixels[(turn - 1) % 2] if turn else clean
        where = {
            "turn": turn,
            "depth": layout.depth,
            "per_image": layout.views * layout.chains,
            "IS_FIRST": turn == 0,
        }
        steps = {"pixels": source, "tables": tables, **chains, **where, **form}
        _start(kernels.make_tables, num, value=plan["value"], size=size, **steps, BLOCK=_COUNTED)
        if turn < layout.depth:
            _start(kernels.move, num * blocks, target=pixels[turn % 2], **near, **steps)
    _start(
        kernels.mix, layout.batch * layout.views * blocks, clean, pixels, tables,
        *(plan[name] for name in ("start", "moves", "share", "clean_share")),
        views, first, views.shape[1], layout.batch, layout.views, layout.chains, layout.depth,
        size, blocks, IS_LAST=channels_last, BLOCK=_BLOCK, **form,
    )  # fmt: skip


def _start(kernel: Any, num_programs: int, *arguments: Any, **options: Any) -> None:
    """Launch a kernel unless there is nothing to do."""
    if num_programs:
        kernel[(num_programs,)](*arguments, **options)
