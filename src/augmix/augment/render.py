"""Which executor carries out a plan."""

from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from augmix.augment import compiled, pillow
from augmix.augment.plan import Plan

Executor = Literal["auto", "pillow", "compiled"]


def render(
    images: UInt8[np.ndarray, "batch height width channel"],
    plan: Plan,
    *,
    executor: Executor = "auto",
    num_threads: int = 1,
) -> Float32[np.ndarray, "view batch channel height width"]:
    """Carry out a plan on a batch of images.

    Args:
        images: uint8, RGB or grey, any height and width from 1 pixel.
        plan: Drawn for as many images of this size.
        executor: ``pillow`` is the definition, ``compiled`` equals it bit for bit and is many
            times faster, ``auto`` takes the fastest.
        num_threads: CPU threads of the compiled executor, at least 1.

    Returns:
        Views in [0, 1], float32.

    Raises:
        TypeError: If the images are not a uint8 NumPy array.
        ValueError: If shapes do not fit, or the executor is unknown.

    Example:
        >>> from augmix import AugMix, Stream
        >>> images = np.zeros((4, 32, 32, 3), np.uint8)
        >>> plan = AugMix().sample(np.arange(4), num_views=2, size=(32, 32), stream=Stream(seed=0))
        >>> render(images, plan).shape
        (2, 4, 3, 32, 32)
    """
    if executor == "pillow":
        return pillow.render(images, plan)
    if executor in ("auto", "compiled"):
        return compiled.render(images, plan, num_threads=num_threads)
    raise ValueError(f"executor must be 'auto', 'pillow' or 'compiled', got {executor!r}")
