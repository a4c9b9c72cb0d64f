"""Corrupt batches of images, and make their perturbation sequences.

Every image draws from a generator at its own address (seed, corruption, severity, id) or (seed,
sequence, id), so the result does not depend on batch, order or thread.

**Which part of an image a sequence shows.** The images given are the large ones that the published
scripts move; the frame is cut from the middle. With preset ``cifar`` it is the
whole image; with ``tiny`` a square of the shorter of height and width (64 of 64 pixels), with
``imagenet`` a square of 7/8 of it (224 of 256), so that the black border outside the image shows
only where the motion is larger than the margin; with ``imagenet-299`` again the whole image.
``size`` sets another frame, e.g. the whole of images of 224 pixels. Noise, blur, weather and light
act on the frame alone. `photograph_frames` starts from a photograph of any size, as the published
scripts do.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Integer, UInt8
from PIL.Image import Resampling

from augmix.arrays import check_images, from_batch, from_pillow, to_batch, to_pillow
from augmix.corruptions.digital import compress_jpeg
from augmix.corruptions.draws import Generators
from augmix.corruptions.general import GENERAL, MOST_CHANNELS, is_general, to_general_batch
from augmix.corruptions.presets import find_preset
from augmix.corruptions.registry import (
    CORRUPTIONS,
    DIFFICULTIES,
    PRESETS,
    SEQUENCES,
    AnyPreset,
    Corruption,
    Frame,
    Frames,
    Image,
    Real,
    check_severity,
    check_size,
    resolve_preset,
)
from augmix.corruptions.sequences import Scene, centre_window
from augmix.errors import check_integer, check_name

Ids = Integer[np.ndarray, "..."]

SUITE_VERSION = "1"  # changes whenever any corrupted byte changes
SEQUENCE_VERSION = "1"  # changes whenever any byte of any frame changes

_MIN_PIXELS = 128 * 128  # of an image, from which threads that take one image at a time pay off
_PIXELS_PER_CALL = 2**15  # of the images that a function is given at a time
_LARGE_SIZES = {"tiny": 64, "imagenet": 256}  # shorter edge of the large image, in pixels
_INCEPTION_SIZE, _INCEPTION_CROP = 299, 0.875
_SHRUNK_AFTERWARDS = {
    "tiny": ("motion_blur",),
    "imagenet-299": ("translate", "rotate", "tilt", "shear"),
}


def corrupt(
    images: Any,
    name: str,
    *,
    severity: Real,
    preset: AnyPreset = "auto",
    seed: int = 0,
    ids: Ids | Sequence[int] | SupportsIndex | None = None,
    num_threads: int = 1,
    frost_textures: Path | str | None = None,
    jpeg_quality: int | None = None,
) -> Any:
    """Corrupt images as the corruption benchmark does.

    The bytes of an image depend on the image, ``name``, ``severity``, ``preset``, ``seed`` and its
    id, and on nothing else.

    Args:
        images: One image or a batch, RGB or grey, at least 16 x 16, as the transforms take them: a
            PIL image; a uint8 array `batch height width channel`, `height width channel` or `height
            width`; a uint8 tensor `batch channel height width` or `channel height width`. An empty
            batch gives an empty batch. The corruptions of `augmix.corruptions.general` also take
            arrays and tensors of 1 to 16 channels, of uint8, uint16 or floats in [0, 1].
        name: A corruption, e.g. ``"gaussian_noise"``: a published one, one of your own that was
            registered, or ``"python:FILE:FUNCTION"``; see `augmix.corruptions.registry`.
        severity: 1 (mild) to 5, also between two of them, e.g. 2.5; see `Corruption.parameters_at`.
        preset: The set whose severities are used: ``"cifar"``, ``"tiny"``, ``"imagenet"``,
            ``"imagenet-299"``, or ``"auto"``, see `resolve_preset`; or a file of your own or its
            content, see `augmix.corruptions.presets`.
        seed: Seed of the random numbers.
        ids: Dataset indices of the images, of one image a number; their positions in the batch if
            not given. An image passed alone therefore has id 0, and all such images get the same
            noise: pass the index in the data set, or another number for each image.
        num_threads: Threads to use, at most. Published corruptions, but for spatter and those of
            C-bar, are made of many images at a time without the GIL; for others see
            `useful_threads`.
        frost_textures: Folder of the published photographs for ``"frost"``, see
            `augmix.corruptions.weather`; the textures that the package draws if not given.
        jpeg_quality: 1..100: encode the corrupted images as JPEG and decode them, as those of the
            published ImageNet-C and Tiny-ImageNet-C are at 85. Not done if not given.

    Returns:
        New images of the same type and shape.

    Raises:
        TypeError: If the images have another type, or an integer is none.
        ValueError: If the name, severity, preset or quality is unknown, the images are too small,
            or the shapes do not fit.
        RunError: If a frost photograph or the file of a preset is missing or cannot be read, or the
            user's code fails.

    Example:
        >>> images = np.full((2, 32, 32, 3), 200, np.uint8)
        >>> corrupt(images, "pixelate", severity=3, preset="cifar")[0, 0, 0].tolist()
        [200, 200, 200]
        >>> corrupt(to_pillow(images[0]), "fog", severity=3, ids=17).size
        (32, 32)
    """
    has_any_depth = is_general(images)
    batch = to_general_batch(images) if has_any_depth else to_batch(images)
    check_size(batch.shape[1:3], "corrupt")
    corruption = CORRUPTIONS.find(name)
    if has_any_depth:
        _check_general(batch, corruption, jpeg_quality)
        corruption = replace(corruption, function=GENERAL[corruption.name])
    severity = check_severity(severity, name)
    if jpeg_quality is not None:
        jpeg_quality = check_integer("jpeg_quality", jpeg_quality)
        if not 1 <= jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality must be 1..100, got {jpeg_quality}")
    batch_ids = _ids_of(len(batch), ids)
    table = find_preset(preset, batch.shape[1:3])
    stream = corruption.stream(seed, severity)
    if name == "frost" and frost_textures is not None:
        textures = Path(frost_textures)
        corruption = replace(corruption, function=partial(corruption.function, textures=textures))
    corrupt_images = corruption.at(table, severity)
    takes_batches = corruption.takes_batches and not has_any_depth
    height, width = batch.shape[1:3]
    step = max(1, _PIXELS_PER_CALL // (height * width)) if takes_batches else 1
    result = np.empty(batch.shape, batch.dtype)

    def corrupt_part(index: int) -> None:
        part = slice(index * step, (index + 1) * step)
        originals, samples = np.ascontiguousarray(batch[part]), batch_ids[part]
        if takes_batches:
            corrupted = corrupt_images(originals, Generators(stream, samples))
        else:
            corrupted = corrupt_images(originals[0], stream.generator(int(samples[0])))
        if jpeg_quality is not None:
            corrupted = compress_jpeg(corrupted, jpeg_quality)
        result[part] = corrupted

    threads = useful_threads(num_threads, (height, width), keeps_gil=corruption.is_own)
    for_each(
        corrupt_part, -(-len(batch) // step), num_threads=num_threads if takes_batches else threads
    )
    return from_batch(result, images)


def perturb(
    images: Any,
    name: str,
    *,
    preset: str = "auto",
    seed: int = 0,
    ids: Ids | Sequence[int] | SupportsIndex | None = None,
    difficulty: int = 1,
    num_threads: int = 1,
    size: tuple[int, int] | None = None,
) -> Any:
    """Make the perturbation sequence of every image.

    The bytes of a sequence depend on the image, ``name``, ``preset``, ``difficulty``, ``size``,
    ``seed`` and its id, and on nothing else.

    Args:
        images: One image or a batch, as in `corrupt`.
        name: A sequence, e.g. ``"motion_blur"``; this, ``preset``, ``seed``, ``ids`` and
            ``num_threads`` are as in `corrupt`.
        difficulty: 1, 2 or 3: how strong noise is. The frames of the other sequences are the same
            at every difficulty, which is how far apart the compared frames lie
            (`augmix.metrics.flip_probability`).
        size: Height and width of the frames; by the rule at the top of this module if not given.

    Returns:
        The frames, `num_frames` of them for each image, in the type that came in: an axis of frames
        stands before those of an image, `batch frame height width channel` for a batch of arrays;
        for a PIL image they are a list.

    Raises:
        TypeError: If the images have another type, or an integer is none.
        ValueError: If an argument is out of range, or the shapes do not fit.
        RunError: If the user's code fails.

    Example:
        >>> images = np.full((2, 32, 32, 3), 200, np.uint8)
        >>> perturb(images, "translate", preset="cifar").shape
        (2, 16, 32, 32, 3)
    """
    frames = iterate_frames(
        to_batch(images),
        name,
        preset=preset,
        seed=seed,
        ids=ids,
        difficulty=difficulty,
        num_threads=num_threads,
        size=size,
    )
    return from_batch(np.stack(list(frames), axis=1), images)


def iterate_frames(
    images: UInt8[np.ndarray, "*batch height width channel"],
    name: str,
    *,
    preset: str = "auto",
    seed: int = 0,
    ids: Ids | Sequence[int] | SupportsIndex | None = None,
    difficulty: int = 1,
    num_threads: int = 1,
    size: tuple[int, int] | None = None,
) -> Iterator[UInt8[np.ndarray, "*batch row column channel"]]:
    """Yield the frames of `perturb` one at a time, without storing them.

    Args:
        images: A batch, or one image without the first axis, whose id is 0 if none is given.
        name: This and the other arguments are those of `perturb`.

    Yields:
        Frame 0 of every image, frame 1 of every image, ...; one frame at a time for one image.

    Raises:
        TypeError: At the call, if the images are not a uint8 array.
        ValueError: At the call, if an argument is out of range, or the shapes do not fit.
    """
    is_single = getattr(images, "ndim", 4) == 3
    batch = check_images(images[None] if is_single else images)
    height, width = batch.shape[1:3]
    check_size((height, width), "perturb")
    sequence = SEQUENCES.find(name)
    difficulty = check_integer("difficulty", difficulty)
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"difficulty must be 1, 2 or 3, got {difficulty} for {name!r}")
    batch_ids = _ids_of(len(batch), ids)
    preset = resolve_preset(preset, (height, width))
    inner = frame_size((height, width), preset)
    if size is not None:
        inner = (check_integer("size", size[0]), check_integer("size", size[1]))
    if not (1 <= inner[0] <= height and 1 <= inner[1] <= width):
        raise ValueError(
            f"size must lie within the images of {height} x {width} pixels, "
            f"got {inner[0]} x {inner[1]}"
        )
    stream, window = sequence.stream(seed), centre_window((height, width), inner)
    num_threads = useful_threads(num_threads, (height, width), keeps_gil=sequence.is_own)

    def start(index: int) -> Frames:
        scene = Scene(np.ascontiguousarray(batch[index]), window)
        generator = stream.generator(int(batch_ids[index]))
        return sequence.apply(scene, preset, difficulty, generator)

    def frame_by_frame() -> Iterator[UInt8[np.ndarray, "*batch row column channel"]]:
        sequences = [start(index) for index in range(len(batch))]
        shape = (*batch.shape[:1], *inner, *batch.shape[3:])
        with ThreadPoolExecutor(num_threads) as pool:
            for _ in range(sequence.num_frames[preset]):
                frames = np.empty(shape, np.uint8)
                made = (map if num_threads == 1 else pool.map)(next, sequences)
                for index, frame in enumerate(made):
                    frames[index] = frame
                yield frames[0] if is_single else frames

    return frame_by_frame()


def photograph_frames(
    photograph: Image,
    name: str,
    *,
    preset: str,
    seed: int = 0,
    sample: int = 0,
    difficulty: int = 1,
) -> Frames:
    """Yield the frames of one photograph of any size, prepared as the published scripts do.

    ``imagenet`` first resizes the shorter edge to 256 pixels, ``tiny`` to 64 (Pillow, bilinear),
    ``cifar`` takes the image as it is. ``tiny`` has one exception: motion blur acts on the whole
    photograph, whose blurred frames are then resized and not cropped, so that they keep its aspect
    ratio. ``imagenet-299`` crops the middle 87.5 % of height and width and resizes it to 299 x 299,
    whatever its shape; translate, rotate, tilt and shear move the whole photograph before that.

    Args:
        photograph: RGB or grey.
        name: This, preset (not ``"auto"``), seed and difficulty are those of `perturb`.
        sample: Dataset index of the photograph.

    Raises:
        TypeError: If the photograph is not a uint8 array.
        ValueError: If an argument is out of range, or the shape does not fit.
    """
    check_name("preset", preset, PRESETS)
    is_single = getattr(photograph, "ndim", 4) == 3
    check_images(photograph[None] if is_single else photograph, where="photograph")
    if not is_single:
        raise ValueError(
            "photograph must be [height width channel], one at a time, "
            f"got shape {tuple(photograph.shape)}"
        )
    shrink: Callable[[Image], Frame] = _crop_for_inception
    if preset in _LARGE_SIZES:
        shrink = partial(_resize_shorter, shorter=_LARGE_SIZES[preset])
    settings = {"preset": preset, "seed": seed, "ids": np.array([sample]), "difficulty": difficulty}
    if preset == "cifar":
        return iterate_frames(photograph, name, **settings)
    if name in _SHRUNK_AFTERWARDS.get(preset, ()):
        frames = iterate_frames(photograph, name, size=photograph.shape[:2], **settings)
        return map(shrink, frames)
    return iterate_frames(shrink(photograph), name, **settings)


def frame_size(size: tuple[int, int], preset: str) -> tuple[int, int]:
    """Return height and width of the frames of images of some size, by the rule of the preset."""
    preset, shorter = resolve_preset(preset, size), min(size)
    if preset in ("cifar", "imagenet-299"):
        return size
    return (shorter, shorter) if preset == "tiny" else (shorter * 7 // 8, shorter * 7 // 8)


def useful_threads(num_threads: int, size: tuple[int, int], *, keeps_gil: bool = False) -> int:
    """Return the number of threads asked for, or 1 where more would be slower.

    This is for functions that take one image at a time. A compiled function releases the GIL, but
    the steps between need it. On small images these functions are so short that two threads mostly
    wait for each other: at 32 x 32 they took twice as long as one. From 128 x 128 on two were never
    slower than one.

    Raises:
        ValueError: If ``num_threads`` is below 1.
    """
    if check_integer("num_threads", num_threads) < 1:
        raise ValueError(f"num_threads must be at least 1, got {num_threads}")
    return 1 if keeps_gil or size[0] * size[1] < _MIN_PIXELS else num_threads


def for_each(work: Callable[[int], None], count: int, *, num_threads: int) -> None:
    """Call ``work`` with 0 .. count - 1, each once, in any order; the first error is raised."""
    with ThreadPoolExecutor(num_threads) as pool:
        for _ in (map if num_threads == 1 else pool.map)(work, range(count)):
            pass


def _check_general(batch: Any, corruption: Corruption, jpeg_quality: int | None) -> None:
    """Refuse options that need uint8 images of 1 or 3 channels."""
    channels = batch.shape[3]
    got = f"got {batch.dtype} of {channels} channel{'s' if channels != 1 else ''}"
    if batch.dtype == np.uint8 and channels == 4:
        got += "; without an alpha channel it is image[..., :3]"
    if corruption.is_own or corruption.name not in GENERAL:
        raise ValueError(
            f"corruption {corruption.name!r} is for uint8 images of 1 or 3 channels, {got}; "
            f"1 to {MOST_CHANNELS} channels of uint8, uint16 or floats in [0, 1] are taken by "
            f"{', '.join(GENERAL)}"
        )
    if jpeg_quality is not None:
        raise ValueError(f"jpeg_quality is for uint8 images of 1 or 3 channels, {got}")


def _ids_of(count: int, ids: Any) -> Integer[np.ndarray, " batch"]:
    """Return the ids of ``count`` images; a number is the id of a single one."""
    found = np.atleast_1d(np.arange(count) if ids is None else np.asarray(ids))
    if not found.size:
        found = found.astype(np.int64)
    if found.dtype.kind not in "iu":
        raise TypeError(f"ids must be whole numbers, got {found.dtype}")
    if found.shape != (count,):
        raise ValueError(f"ids must be one for each of {count} images, got {found.shape}")
    return found


def _resize_shorter(image: Image, shorter: int) -> Frame:
    """Resize the shorter edge to a size in pixels, the other in proportion, rounded down."""
    height, width = image.shape[:2]
    old = min(height, width)
    if old == shorter:
        return image
    return _resize(image, shorter * height // old, shorter * width // old)


def _crop_for_inception(image: Image) -> Frame:
    """Crop the middle 87.5 % of height and width and resize it to a square of 299 pixels."""
    height, width = image.shape[:2]
    inner = (int(height * _INCEPTION_CROP), int(width * _INCEPTION_CROP))
    part = centre_window((height, width), inner).crop(image)
    return _resize(part, _INCEPTION_SIZE, _INCEPTION_SIZE)


def _resize(image: Image, height: int, width: int) -> Frame:
    return from_pillow(to_pillow(image).resize((width, height), Resampling.BILINEAR))
