"""Corrupt a batch of images.

Every image draws from a generator at its own address (seed, corruption, severity, id), so that it
is corrupted the same way in whatever batch, order or thread it comes.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8

from augmix.arrays import check_images
from augmix.corruptions.digital import recode
from augmix.corruptions.registry import CORRUPTIONS, SEVERITIES, check_size, resolve_preset

SUITE_VERSION = "1"  # changes whenever any corrupted byte changes

_KEEP_GIL = ("pixelate", "jpeg_compression")  # Pillow works under the GIL here
_MIN_PIXELS = 128 * 128  # of an image, for threads to pay
_CHUNKS = 4  # of the batch for each thread, so that none waits long for the last one


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
    """Corrupt images as the corruption benchmark does.

    The bytes of an image depend on the image, ``name``, ``severity``, ``preset``, ``seed`` and its
    id, and on nothing else.

    Args:
        images: Grey levels, RGB or grey, at least 16 x 16; an empty batch gives an empty batch.
        name: A corruption, e.g. ``"gaussian_noise"``: a published one, one of your own that was
            registered, or ``"python:FILE:FUNCTION"``; see `augmix.corruptions.registry`.
        severity: 1 (mild) to 5.
        preset: Whose severities: ``"cifar"``, ``"tiny"``, ``"imagenet"``, ``"imagenet-299"``, or
            ``"auto"``, see `resolve_preset`.
        seed: Of the draws.
        ids: Dataset indices of the images; their positions in the batch if not given.
        num_threads: Images worked on at a time, at most; see `useful_threads`.
        frost_textures: Folder of the published photographs for ``"frost"``, see
            `augmix.corruptions.frost`; the textures that the package draws if not given.
        jpeg_quality: 1..100: encode the corrupted images as JPEG and decode them, as those of the
            published ImageNet-C and Tiny-ImageNet-C are at 85. Not done if not given.

    Returns:
        New images of the same shape.

    Raises:
        TypeError: If the images are not a uint8 array.
        ValueError: If the name, severity, preset or quality is unknown, the images are too small,
            or the shapes do not fit.
        RunError: If a frost photograph is missing or cannot be read, or the user's code fails.

    Example:
        >>> images = np.full((2, 32, 32, 3), 200, np.uint8)
        >>> corrupt(images, "pixelate", severity=3, preset="cifar")[0, 0, 0].tolist()
        [200, 200, 200]
    """
    check_images(images)
    check_size(images.shape[1:3], "corrupt")
    corruption = CORRUPTIONS.find(name)
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1..5, got {severity} for corruption {name!r}")
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise ValueError(f"jpeg_quality must be 1..100, got {jpeg_quality}")
    ids = np.arange(len(images)) if ids is None else np.asarray(ids)
    if ids.shape != (len(images),):
        raise ValueError(f"ids must be one for each of {len(images)} images, got {ids.shape}")
    preset = resolve_preset(preset, images.shape[1:3])
    stream = corruption.stream(seed, severity)
    if name == "frost" and frost_textures is not None:
        textures = Path(frost_textures)
        corruption = replace(corruption, function=partial(corruption.function, textures=textures))
    corrupt_image = corruption.at(preset, severity)
    result = np.empty(images.shape, np.uint8)

    def corrupt_one(index: int) -> None:
        image = np.ascontiguousarray(images[index])
        generator = stream.generator(int(ids[index]))
        corrupted = corrupt_image(image, generator)
        result[index] = corrupted if jpeg_quality is None else recode(corrupted, jpeg_quality)

    keeps_gil = corruption.is_own or name in _KEEP_GIL
    threads = useful_threads(num_threads, images.shape[1:3], keeps_gil=keeps_gil)
    for_each(corrupt_one, len(images), num_threads=threads)
    return result


def useful_threads(num_threads: int, size: tuple[int, int], *, keeps_gil: bool = False) -> int:
    """Return the number of threads asked for, or 1 where more would be slower.

    A compiled function releases the GIL, but the steps between need it. On small images these
    functions are so short that two threads mostly wait for each other: at 32 x 32 they took twice
    as long as one. From 128 x 128 on two were never slower than one.

    Args:
        num_threads: As asked for.
        size: Height and width of the images in pixels.
        keeps_gil: Whether most of the work is done under the GIL.

    Raises:
        ValueError: If ``num_threads`` is below 1.
    """
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, got {num_threads}")
    return 1 if keeps_gil or size[0] * size[1] < _MIN_PIXELS else num_threads


def for_each(work: Callable[[int], None], count: int, *, num_threads: int) -> None:
    """Call ``work`` with 0 .. count - 1, each once; the first error is raised.

    Args:
        work: Called from any thread, in any order, if there are several.
        count: How often.
        num_threads: 1 works in this thread.
    """
    if num_threads == 1 or count < 2:
        for index in range(count):
            work(index)
        return
    step = -(-count // (num_threads * _CHUNKS))

    def work_chunk(start: int) -> None:
        for index in range(start, min(start + step, count)):
            work(index)

    with ThreadPoolExecutor(min(num_threads, count)) as pool:
        for _ in pool.map(work_chunk, range(0, count, step)):
            pass
