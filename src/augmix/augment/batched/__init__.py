"""The GPU executor: a whole batch of plans at once, on any torch device.

The plan is packed on the host (`packing`) and sent in one copy; from there on nothing waits for the
host. Crop, chains and mixing are done by torch operations (`tensors`) on any device, or by Triton
kernels (`triton`) on NVIDIA and AMD GPUs where Triton is installed: both do Pillow's arithmetic;
`choose_backend` decides between them. The other stages are done by their torch forms, those of
PRIME by kernels too (`triton_primitives`).

In a loop that must not wait, or inside a CUDA graph or `torch.compile`, use the parts: `upload` a
plan, then `execute` it.
"""

import importlib.util
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from augmix.arrays import check_images
from augmix.augment.bank import find_bank, open_bank
from augmix.augment.batched import tensors
from augmix.augment.batched.packing import Layout, Packed, StageForm, pack, sections
from augmix.augment.batched.tensors import Arrays, real_of
from augmix.augment.plan import Plan, check_plan
from augmix.augment.policies.prime import Primitives
from augmix.errors import RunError, first_line

Backend = Literal["auto", "torch", "triton"]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_LEAST_TRITON = (3, 3)  # has tl.gather
_KINDS = ("auto", "cpu", "cuda", "mps", "xpu")


def render(
    images: UInt8[np.ndarray, "batch height width channel"] | Tensor,
    plan: Plan,
    *,
    device: str | torch.device = "auto",
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    backend: Backend = "auto",
    pictures: UInt8[np.ndarray, "picture picture_height picture_width channel"]
    | Tensor
    | None = None,
) -> Float[Tensor, "view batch channel height width"]:
    """Carry out a plan on a device.

    Args:
        images: uint8, 1 or 3 channels, any height and width from 1 pixel; a NumPy array, or a
            tensor on any device.
        plan: Drawn for as many images of this size.
        device: Where to work; ``auto`` is where the images are if they are a tensor, else a GPU if
            there is one, else the CPU.
        dtype: Of the views: float32, bfloat16 or float16, rounded to nearest.
        channels_last: Keep the channels of a pixel together in memory; the axes stay in order.
        backend: ``torch`` or ``triton``; ``auto`` takes Triton where it can.
        pictures: See `augmix.render`.

    Returns:
        Views in [0, 1] on the device; computed, like any work on a GPU, while Python continues.

    Raises:
        TypeError: If the images are not uint8.
        ValueError: If shapes do not fit, an amount is impossible, or a name is unknown.
        RunError: If there is no such device, or it has too little memory for the batch.
    """
    is_near = isinstance(images, Tensor) and device == "auto"
    device = find_device(images.device if is_near else device)  # type: ignore[union-attr]
    _check_images(images)
    if pictures is None:
        pictures = pictures_on(plan, images.shape[3], device)
    check_plan(plan, tuple(images.shape), pictures)
    if not len(plan):  # which not every function of torch takes
        return torch.empty(plan.num_views, 0, images.shape[3], *plan.size, dtype=dtype).to(device)
    try:
        has_rows = choose_backend(device, backend) == "torch"
        packed = pack(plan, images.shape[3], real=real_of(device), has_rows=has_rows)
        arrays, layout = upload(packed, device)
        return execute(
            torch.as_tensor(images).to(device, non_blocking=True),
            arrays,
            layout,
            dtype=dtype,
            channels_last=channels_last,
            backend=backend,
            pictures=None if pictures is None else torch.as_tensor(pictures).to(device),
        )
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"{device} has too little memory to render {len(plan)} images of "
            f"{plan.size[0]}x{plan.size[1]} pixels with {plan.num_views} views at once; render at "
            f"most {max(len(plan) // 2, 1)} at a time ({first_line(error)})"
        ) from error


def pictures_on(plan: Plan, channels: int, device: torch.device) -> Tensor | None:
    """The bank that the stages of a plan name, on a device, where it stays for further plans."""
    found = find_bank(plan)
    return None if found is None else _bank_on(*found, channels, device)


@lru_cache(maxsize=2)
def _bank_on(name: str, size_px: int, channels: int, device: torch.device) -> Tensor:
    return torch.tensor(open_bank(name, size_px, channels)).to(device)


def upload(packed: Packed, device: torch.device) -> tuple[Arrays, Layout]:
    """Send a packed plan to a device in one copy that the host does not wait for."""
    words = pin(packed.words, device).to(device, non_blocking=True)
    return open_words(words, packed.layout), packed.layout


def pin(values: np.ndarray, device: torch.device) -> Tensor:
    """A tensor from which a GPU copies while Python continues; for a CPU, the array itself.

    NumPy copies it: torch would take all cores, and wait for each, for a few kilobytes.
    """
    tensor = torch.from_numpy(values)
    if device.type != "cuda":
        return tensor
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    pinned.numpy()[...] = values
    return pinned


def open_words(words: UInt8[Tensor, " byte"], layout: Layout) -> Arrays:
    """The arrays of a buffer that lies on a device already, without copying.

    A CUDA graph reads its plan from one buffer, which is filled again before every replay.
    """
    found: dict[str, Any] = {}
    stages: tuple[dict[str, Tensor], ...] = tuple({} for _ in (*layout.before, *layout.after))
    for part in sections(layout, real_of(words.device)):
        values = words[part.start : part.stop].view(getattr(torch, part.dtype)).reshape(part.shape)
        position, _, name = part.name.rpartition(".")
        (stages[int(position)] if position else found)[name] = values
    return Arrays(**found, stages=stages)


def execute(
    images: UInt8[Tensor, "batch height width channel"],
    arrays: Arrays,
    layout: Layout,
    *,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    backend: Backend = "auto",
    pictures: UInt8[Tensor, "picture picture_height picture_width channel"] | None = None,
) -> Float[Tensor, "view batch channel height width"]:
    """Carry out an uploaded plan; neither waits for the device nor looks at a value.

    Images, pictures and arrays are on one device; the options are those of `render`. A step that is
    compiled or captured for a layout serves every plan that was packed for it.

    Raises:
        ValueError: If an option is unknown.
    """
    if dtype not in DTYPES:
        names = ", ".join(str(one).removeprefix("torch.") for one in DTYPES)
        raise ValueError(f"dtype must be one of {names}, got {str(dtype).removeprefix('torch.')}")
    pixels: Any = images[None]
    for form, values in zip(layout.before, arrays.stages, strict=False):
        pixels = _apply(form, values, pixels, pictures)
    if layout.has_chains:
        folded = pixels.flatten(0, 1)  # one batch of all views, if they differ
        if choose_backend(images.device, backend) == "torch":
            pixels = tensors.render(folded, arrays, layout)
        else:
            from augmix.augment.batched import triton  # needs the package triton

            is_last = not layout.after and layout.num_folded == 1
            if is_last:
                return triton.render(folded, arrays, layout, dtype, channels_last)
            pixels = triton.render(folded, arrays, layout, torch.float32, False)
        if layout.num_folded > 1:
            unfolded = (layout.num_folded, layout.batch // layout.num_folded)
            pixels = pixels.unflatten(1, unfolded).transpose(0, 1).flatten(0, 1)
    has_kernels = choose_backend(images.device, backend) == "triton"
    for form, values in zip(layout.after, arrays.stages[len(layout.before) :], strict=True):
        if has_kernels and form.kind is Primitives:
            from augmix.augment.batched import triton_primitives

            pixels = triton_primitives.apply(pixels, **values, **dict(form.settings))
        else:
            pixels = _apply(form, values, pixels, pictures)
    views = pixels.to(dtype)
    if not channels_last:
        return views.contiguous()
    return views.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def _apply(form: StageForm, values: dict[str, Tensor], pixels: Any, pictures: Any) -> Any:
    """A stage by its torch form."""
    more = {"pictures": pictures} if form.kind.needs_pictures else {}
    return form.kind.apply_torch(pixels, **values, **dict(form.settings), **more)


def choose_backend(device: torch.device, backend: str = "auto") -> Literal["torch", "triton"]:
    """What carries out a plan on a device.

    Raises:
        ValueError: If the name is unknown, or Triton cannot serve the device.
    """
    if backend not in ("auto", "torch", "triton"):
        raise ValueError(f"backend must be 'auto', 'torch' or 'triton', got {backend!r}")
    is_served = _TRITON >= _LEAST_TRITON
    if backend == "triton" and not is_served:
        least, found = (".".join(map(str, each)) for each in (_LEAST_TRITON, _TRITON))
        raise ValueError(
            f"backend 'triton' needs the package triton from {least} on, got {found or 'none'}; "
            "install it (torch 2.7 and later bring it), or use 'torch'"
        )
    has_kernels = backend == "triton" or (backend == "auto" and device.type == "cuda")
    return "triton" if has_kernels and is_served else "torch"


def describe_backend(device: torch.device) -> str:
    """The backend of a device with its version, for records, e.g. ``triton 3.6.0``."""
    name = choose_backend(device)
    if name == "torch":
        return f"torch {torch.__version__}"
    return f"triton {importlib.import_module('triton').__version__}"


def find_device(name: str | torch.device) -> torch.device:
    """A device by name, e.g. ``cuda``, ``cuda:1``, ``cpu``; ``auto`` is a GPU if there is one.

    Raises:
        ValueError: If the name is no device's.
        RunError: If this machine or this build of torch has no such device.
    """
    if isinstance(name, str) and name.split(":")[0] not in _KINDS:
        raise ValueError(
            f"device must be one of {', '.join(_KINDS)}, with a number if there are several "
            f"('cuda:1'), got {name!r}"
        )
    if name == "auto":
        gpus = (kind for kind in _KINDS[2:] if torch.get_device_module(kind).device_count())
        name = next(gpus, "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device must be a name such as 'cuda:1', got {name!r}") from error
    number = torch.get_device_module(device).device_count()
    if (device.index or 0) >= number:
        raise RunError(
            f"device {str(device)!r} was asked for, but torch {torch.__version__} finds {number} "
            f"of kind {device.type!r} on this machine; use device 'auto' or 'cpu'"
        )
    return device


def _find_triton() -> tuple[int, ...]:
    """The first two numbers of Triton's version, empty if it is not installed.

    They are read from its source without importing it; the name of its distribution differs.
    """
    spec = importlib.util.find_spec("triton")
    if spec is None or spec.origin is None:
        return ()
    found = re.search(r"__version__ = ['\"](\d+)\.(\d+)", Path(spec.origin).read_text("utf-8"))
    return tuple(map(int, found.groups())) if found else ()


_TRITON = _find_triton()


def _check_images(images: Any) -> None:
    """`check_images`, of an array or a tensor."""
    if not isinstance(images, Tensor):
        check_images(images)
    elif images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8 in 0..255, got {images.dtype}")
    else:  # shape alone, whatever the device
        check_images(np.broadcast_to(np.zeros((), np.uint8), tuple(images.shape)))
