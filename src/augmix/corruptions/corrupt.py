"""Corrupt a batch of images.

A kernel gives Python's lock up while it runs, but the steps between kernels need it. On small
images the kernels are so short that two threads mostly wait for each other: at 32 x 32 they took
twice as long as one. So threads are used only from a size on at which two were never slower than
one, and each takes whole stretches of the batch.

`corrupt` gives every image a generator at its own address (seed, corruption, severity, id), so an
image is damaged the same way in whatever batch, order or thread it comes. What is done at which
severity stands in `augmix.corruptions.registry`.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8

from augmix.arrays import check_images
from augmix.corruptions import frost
from augmix.corruptions.digital import recode
from augmix.corruptions.registry import (
    SEVERITIES,
    check_sides,
    find_corruption,
    resolve_preset,
)
from augmix.rng import Purpose, Stream

_LEAST_PIXELS = 128 * 128  # of an image
_STRETCHES = 4  # a thread, so that none waits long for the last one


def useful_threads(num_threads: int, size: tuple[int, int], *, keeps_lock: bool = False) -> int:
    """As many threads as were asked for, or one where more would be slower.

    Args:
        num_threads: As asked for.
        size: Height and width of the images in pixels.
        keeps_lock: Whether most of the work is done by a library that keeps Python's lock.

    Raises:
        ValueError: If ``num_threads`` is below 1.
    """
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, got {num_threads}")
    return 1 if keeps_lock or size[0] * size[1] < _LEAST_PIXELS else num_threads


def work_off(work: Callable[[int], None], count: int, *, num_threads: int) -> None:
    """Call ``work`` with 0 .. count - 1, each once; the first error comes out.

    Args:
        work: What to do; with several threads it is called from any of them, in any order.
        count: How often.
        num_threads: 1 works in this thread.
    """
    if num_threads == 1 or count < 2:
        for place in range(count):
            work(place)
        return
    step = -(-count // (num_threads * _STRETCHES))

    def stretch(start: int) -> None:
        for place in range(start, min(start + step, count)):
            work(place)

    with ThreadPoolExecutor(min(num_threads, count)) as pool:
        for _ in pool.map(stretch, range(0, count, step)):
            pass


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
            worked on one after the other, see `augmix.corruptions.corrupt`.
        frost_textures: Folder of the published photographs for ``"frost"``, see
            `augmix.corruptions.frost`; the textures that the package draws if not given.
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
    row = find_corruption(name)
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
    if kernel is frost.frost and frost_textures is not None:
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
