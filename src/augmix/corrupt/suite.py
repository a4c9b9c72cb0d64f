"""The corruption benchmark, and the one way to run it.

`corrupt` gives every image a generator at its own address (seed, corruption, severity, id), so an
image is damaged the same way in whatever batch, order or thread it comes. What is done at which
severity stands in `augmix.corrupt.corruption_rows`.
"""

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8

from augmix.corrupt import kernels
from augmix.corrupt.corruption_rows import (
    ALL_19,
    EXTRA_4,
    GROUPS,
    PAPER_15,
    PROTOCOLS,
    ROWS,
    SEVERITIES,
    Corruption,
    available,
    find,
    resolve_names,
)
from augmix.corrupt.digital import recode
from augmix.corrupt.presets import PRESETS, SMALLEST_SIDE, check_sides, resolve_preset
from augmix.corrupt.threads import useful_threads, work_off
from augmix.images import check_images
from augmix.streams import Purpose, Stream

__all__ = [
    "ALL_19",
    "EXTRA_4",
    "GROUPS",
    "PAPER_15",
    "PRESETS",
    "PROTOCOLS",
    "ROWS",
    "SEVERITIES",
    "SMALLEST_SIDE",
    "SUITE_VERSION",
    "Corruption",
    "available",
    "corrupt",
    "find",
    "resolve_names",
    "resolve_preset",
]

SUITE_VERSION = "1"  # changes whenever any corrupted byte changes

_KEEP_LOCK = ("pixelate", "jpeg_compression")  # Pillow works under Python's lock here


def corrupt(
    images: UInt8[np.ndarray, "batch height width channel"],
    name: str,
    *,
    severity: int,
    preset: str = "auto",
    seed: int = 0,
    ids: Integer[np.ndarray, "..."] | None = None,
    num_threads: int = 1,
    frost_textures: Path | str | None = None,
    jpeg_quality: int | None = None,
) -> UInt8[np.ndarray, "batch height width channel"]:
    """Damage images as the corruption benchmark does.

    The bytes of an image depend on the image, ``name``, ``severity``, ``preset``, ``seed`` and its
    id, and on nothing else.

    Args:
        images: Grey levels, RGB or grey, at least 16 x 16; an empty batch gives an empty batch.
        name: One of `available()`, e.g. ``"gaussian_noise"``.
        severity: 1 (mild) to 5.
        preset: Whose severities: ``"cifar"``, ``"tiny"``, ``"imagenet"``, ``"imagenet-299"``, or
            ``"auto"``, see `resolve_preset`.
        seed: Of the draws.
        ids: Dataset indices of the images; their places in the batch if not given.
        num_threads: Images worked on at a time, at most: those too small for threads to pay are
            worked on one after the other, see `augmix.corrupt.threads`.
        frost_textures: Folder of the published photographs for ``"frost"``, see
            `augmix.corrupt.frost`; the textures that the package draws if not given.
        jpeg_quality: 1..100: code the corrupted images as JPEG and decode them, as those of the
            published ImageNet-C and Tiny-ImageNet-C are by 85. Not done if not given.

    Returns:
        New images of the same shape.

    Raises:
        TypeError: If the images are not a uint8 array.
        ValueError: If the name, the severity, the preset or the quality is none, the images are too
            small, or the shapes do not fit.
        RunError: If a frost photograph is missing or cannot be read.

    Example:
        >>> images = np.full((2, 32, 32, 3), 200, np.uint8)
        >>> corrupt(images, "pixelate", severity=3, preset="cifar")[0, 0, 0].tolist()
        [200, 200, 200]
    """
    check_images(images)
    check_sides(images.shape[1:3], "corrupt")
    row = find(name)
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1..5, got {severity} for corruption {name!r}")
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise ValueError(f"jpeg_quality must be 1..100, got {jpeg_quality}")
    ids = np.arange(len(images)) if ids is None else np.asarray(ids)
    if ids.shape != (len(images),):
        raise ValueError(f"ids must be one for each of {len(images)} images, got {ids.shape}")
    parameters = row.parameters[resolve_preset(preset, images.shape[1:3])][severity - 1]
    stream = Stream(seed=seed).at(Purpose.CORRUPTION, part=row.number * 8 + severity)
    kernel = row.kernel
    if kernel is kernels.frost and frost_textures is not None:
        kernel = partial(kernel, textures=Path(frost_textures))
    result = np.empty(images.shape, np.uint8)

    def damage(place: int) -> None:
        image = np.ascontiguousarray(images[place])
        generator = stream.generator(int(ids[place]))
        damaged = kernel(image, *parameters, generator=generator)
        result[place] = damaged if jpeg_quality is None else recode(damaged, jpeg_quality)

    threads = useful_threads(num_threads, images.shape[1:3], keeps_lock=name in _KEEP_LOCK)
    work_off(damage, len(images), num_threads=threads)
    return result
