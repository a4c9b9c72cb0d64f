"""Augmentation in three steps: a policy draws a plan, the plan is data, `render` carries it out.

`policies` draw, `plan` and `stages` hold what was drawn (a stage of a single policy is in the
policy's file), `compiled` (CPU) and `batched` (GPU) are the fast executors. The definition is the
loop at the end of this module.
"""

from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from augmix.arrays import Images, Views, check_images
from augmix.augment.bank import pictures_of
from augmix.augment.ops import own_ops
from augmix.augment.plan import Plan, check_plan
from augmix.augment.stages import Pictures

Executor = Literal["auto", "pillow", "compiled", "batched"]


def render(
    images: UInt8[Any, "batch height width channel"],
    plan: Plan,
    *,
    executor: Executor = "auto",
    num_threads: int = 1,
    device: Any = "auto",
    pictures: Pictures | None = None,
) -> Float32[Any, "view batch channel height width"]:
    """Carry out a plan on a batch of images.

    Args:
        images: uint8, RGB or grey, any height and width from 1 pixel; a NumPy array, or for
            ``batched`` a torch tensor on any device.
        plan: Drawn for as many images of this size.
        executor: ``pillow`` is the definition; ``compiled`` equals it bit for bit and is many times
            faster on a CPU; ``batched`` works on a GPU, or on any device of torch. ``auto`` is
            ``batched`` where the images are a tensor or a device other than the CPU is named, else
            ``compiled``, or ``pillow`` for operations of your own.
        num_threads: CPU threads of the compiled executor, at least 1.
        device: Where ``batched`` works, e.g. ``cuda`` or ``cuda:1``; ``auto`` is where the images
            are if they are a tensor, else a GPU if there is one.
        pictures: The bank of pictures for stages that take some (`Stage.needs_pictures`) and do
            not name one of `augmix.augment.bank`.

    Returns:
        Views in [0, 1], float32, never re-quantised: an array, or from ``batched`` a tensor on the
        device. More types and layouts of tensors: `augmix.augment.batched.render`.

    Raises:
        TypeError: If the images are not uint8, or a tensor is given to another executor.
        ValueError: If shapes do not fit, or the executor or device is unknown.
        RunError: If there is no such device, or it has too little memory.

    Example:
        >>> from augmix import AugMix
        >>> from augmix import Stream
        >>> images = np.zeros((4, 32, 32, 3), np.uint8)
        >>> plan = AugMix().sample(np.arange(4), num_views=2, size=(32, 32), stream=Stream(seed=0))
        >>> render(images, plan).shape
        (2, 4, 3, 32, 32)
    """
    if executor not in ("auto", "pillow", "compiled", "batched"):
        raise ValueError(
            f"executor must be 'auto', 'pillow', 'compiled' or 'batched', got {executor!r}"
        )
    is_elsewhere = str(device) not in ("auto", "cpu")
    if executor == "auto":
        executor = "batched" if is_elsewhere or not isinstance(images, np.ndarray) else "compiled"
        if executor == "compiled" and own_ops(plan.chains.op):
            executor = "pillow"
    if executor == "batched":
        from augmix.augment import batched  # loads torch, which the others do without

        return batched.render(images, plan, device=device, pictures=pictures)
    if is_elsewhere:
        raise ValueError(f"executor {executor!r} works on the CPU, got device {str(device)!r}")
    check_images(images)
    if pictures is None:
        pictures = pictures_of(plan, images.shape[3])
    check_plan(plan, images.shape, pictures)
    if executor == "pillow":
        return _render_by_definition(images, plan, pictures)
    from augmix.augment import compiled  # loads numba

    return compiled.render(images, plan, num_threads=num_threads, pictures=pictures)


def _render_by_definition(images: Images, plan: Plan, pictures: Pictures | None) -> Views:
    """The stages one after another by their NumPy definitions, which the other executors equal."""
    pixels: Any = images[None]
    for stage in plan.stages:
        if stage.takes == "views":
            pixels = _as_views(pixels, plan)
        pixels = stage.apply(pixels, pictures)
    return _as_views(pixels, plan)


def _as_views(pixels: Any, plan: Plan) -> Views:
    """Images as float views, v / 255 as empty chains give them; views as they are."""
    return pixels if pixels.dtype == np.float32 else plan.chains.apply(pixels)
