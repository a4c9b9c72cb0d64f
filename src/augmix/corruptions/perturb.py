"""Perturbation sequences: many frames of one image.

A sequence shows one image under a perturbation that changes a little from frame to frame, or under
noise drawn anew for every frame. `perturb` makes all frames as an array, `iterate_frames` one after
the other without keeping them. Every image has a generator at its own address (seed, sequence, id),
so it gives the same frames in whatever batch, order or thread.

**Which part of the image is shown.** The images given are the large ones on which the published
scripts move the picture; the frame is cut from the middle. With preset ``cifar`` it is the whole
image; with ``tiny`` the square of the shorter side (64 of 64 pixels), with ``imagenet`` the square
of 7/8 of the shorter side (224 of 256), so that the border outside the picture, which is black,
comes into sight only where the motion is larger than the margin; with ``imagenet-299`` again the
whole image. ``size`` sets another frame, e.g. the whole of images of 224 pixels. Noise, blur,
weather and light act on the frame alone.
`photograph_frames` starts from a photograph of any size, as the published scripts do."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image as PillowImage

from augmix.arrays import check_images
from augmix.corruptions.corrupt import for_each, useful_threads
from augmix.corruptions.geometry import Scene, centre_window
from augmix.corruptions.registry import (
    DIFFICULTIES,
    PRESETS,
    SEQUENCES,
    Frames,
    Perturbation,
    check_size,
    resolve_preset,
)
from augmix.rng import Stream

SEQUENCE_VERSION = "1"  # changes whenever any byte of any frame changes
_BASE_SIDES = {"tiny": 64, "imagenet": 256}  # shorter side of the large image, in pixels
_INCEPTION_SIDE, _INCEPTION_SHARE = 299, 0.875
_MOVED_BEFORE_CROP = ("translate", "rotate", "tilt", "shear")  # of imagenet-299


def perturb(
    images: UInt8[np.ndarray, "batch height width channel"],
    name: str,
    *,
    preset: str = "auto",
    seed: int = 0,
    ids: Integer[np.ndarray, "..."] | None = None,
    difficulty: int = 1,
    num_threads: int = 1,
    size: tuple[int, int] | None = None,
) -> UInt8[np.ndarray, "batch frame row column channel"]:
    """Make the perturbation sequence of every image.

    The bytes of a sequence depend on the image, ``name``, ``preset``, ``difficulty``, ``size``,
    ``seed`` and its id, and on nothing else.

    Args:
        images: Grey levels, RGB or grey, at least 16 x 16; an empty batch gives an empty batch.
        name: One of `available()`, e.g. ``"motion_blur"``.
        preset: Whose parameters: ``"cifar"``, ``"tiny"``, ``"imagenet"``, ``"imagenet-299"``, or
            ``"auto"``, see `augmix.corruptions.registry.resolve_preset`.
        seed: Of the draws.
        ids: Dataset indices of the images; their places in the batch if not given.
        difficulty: 1, 2 or 3: how strong noise is. The frames of the other sequences are the same
            at every difficulty, which is how far apart the compared frames lie
            (`augmix.metrics.flip_probability`).
        num_threads: Images worked on at a time, at most: those too small for threads to pay are
            worked on one after the other, see `augmix.corruptions.corrupt`.
        size: Height and width of the frames; by the rule at the top of this module if not given.

    Returns:
        The frames, `num_frames` of them an image.

    Raises:
        TypeError: If the images are not a uint8 array.
        ValueError: If an argument is out of range, or the shapes do not fit.

    Example:
        >>> images = np.full((2, 32, 32, 3), 200, np.uint8)
        >>> perturb(images, "translate", preset="cifar").shape
        (2, 16, 32, 32, 3)
    """
    batch = _check(images, name, preset, seed, ids, difficulty, size)
    shape = (batch.num_frames, *batch.frame_size, images.shape[3])
    result = np.empty((len(images), *shape), np.uint8)

    def fill(place: int) -> None:
        for frame, image in enumerate(batch.frames(place)):
            result[place, frame] = image

    for_each(fill, len(images), num_threads=useful_threads(num_threads, images.shape[1:3]))
    return result


def iterate_frames(
    images: UInt8[np.ndarray, "*batch height width channel"],
    name: str,
    *,
    preset: str = "auto",
    seed: int = 0,
    ids: Integer[np.ndarray, "..."] | None = None,
    difficulty: int = 1,
    num_threads: int = 1,
    size: tuple[int, int] | None = None,
) -> Iterator[UInt8[np.ndarray, "*batch row column channel"]]:
    """The same frames as `perturb`, one after the other and none of them kept.

    Args:
        images: A batch, or one image without the first axis; that one has id 0 if none is given.
        name: As for `perturb`, like the rest.
        preset: Whose parameters.
        seed: Of the draws.
        ids: Dataset indices, one an image.
        difficulty: How strong noise is.
        num_threads: Images worked on at a time.
        size: Height and width of the frames.

    Yields:
        Frame 0 of every image, frame 1 of every image, ...; one frame at a time for one image.

    Raises:
        TypeError: If the images are not a uint8 array.
        ValueError: If an argument is out of range, or the shapes do not fit. Both at the call.
    """
    is_single = getattr(images, "ndim", 4) == 3
    stack = images[None] if is_single else images
    batch = _check(stack, name, preset, seed, ids, difficulty, size)
    whole = _march(batch, useful_threads(num_threads, stack.shape[1:3]))
    return (frame[0] for frame in whole) if is_single else whole


def photograph_frames(
    photograph: UInt8[np.ndarray, "height width channel"],
    name: str,
    *,
    preset: str,
    seed: int = 0,
    sample: int = 0,
    difficulty: int = 1,
) -> Iterator[UInt8[np.ndarray, "row column channel"]]:
    """The frames of one photograph of any size, prepared as the published scripts do.

    ``imagenet`` first resizes the shorter side to 256 pixels, ``tiny`` to 64 (Pillow, bilinear),
    ``cifar`` takes the image as it is. ``tiny`` has one exception: motion blur acts on the whole
    photograph, whose blurred frames are then resized and not cropped, so they are as oblong as the
    photograph. ``imagenet-299`` cuts the middle 87.5 % of height and width and squeezes it to 299 x
    299; translate, rotate, tilt and shear move the whole photograph before that.

    Args:
        photograph: Grey levels, RGB or grey.
        name: One of `available()`.
        preset: ``"cifar"``, ``"tiny"``, ``"imagenet"`` or ``"imagenet-299"``.
        seed: Of the draws.
        sample: Dataset index of the photograph.
        difficulty: How strong noise is.

    Raises:
        TypeError: If the photograph is not a uint8 array.
        ValueError: If an argument is out of range, or the shape does not fit.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    is_single = getattr(photograph, "ndim", 4) == 3
    check_images(photograph[None] if is_single else photograph, where="photograph")
    if not is_single:
        raise ValueError(
            "photograph must be [height width channel], one at a time, "
            f"got shape {tuple(photograph.shape)}"
        )
    settings = {"preset": preset, "seed": seed, "ids": np.array([sample]), "difficulty": difficulty}
    is_inception = preset == "imagenet-299"
    side = _BASE_SIDES.get(preset, 0)
    if is_inception and name in _MOVED_BEFORE_CROP:
        return (_squeeze(frame) for frame in iterate_frames(photograph, name, **settings))
    if preset == "tiny" and name == "motion_blur":
        blurred = iterate_frames(photograph, name, size=photograph.shape[:2], **settings)
        return (_resize_shorter(frame, side) for frame in blurred)
    image = _resize_shorter(photograph, side) if side else photograph
    return iterate_frames(_squeeze(image) if is_inception else image, name, **settings)


def frame_size(size: tuple[int, int], preset: str) -> tuple[int, int]:
    """Height and width of the frames of images of some size, by the rule of the preset.

    Args:
        size: Height and width of the images.
        preset: ``"auto"`` too.
    """
    preset, side = resolve_preset(preset, size), min(size)
    if preset in ("cifar", "imagenet-299"):
        return size
    return (side, side) if preset == "tiny" else (side * 7 // 8, side * 7 // 8)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The checked arguments of a call, and the frames of each image."""

    images: UInt8[np.ndarray, "batch height width channel"]
    row: Perturbation
    preset: str
    difficulty: int
    frame_size: tuple[int, int]
    stream: Stream
    ids: Integer[np.ndarray, " batch"]

    @property
    def num_frames(self) -> int:
        return self.row.num_frames[self.preset]

    def frames(self, place: int) -> Frames:
        image = np.ascontiguousarray(self.images[place])
        scene = Scene(image, centre_window((image.shape[0], image.shape[1]), self.frame_size))
        generator = self.stream.generator(int(self.ids[place]))
        return self.row.apply(scene, self.preset, self.difficulty, generator)


def _check(
    images: UInt8[np.ndarray, "batch height width channel"],
    name: str,
    preset: str,
    seed: int,
    ids: Integer[np.ndarray, "..."] | None,
    difficulty: int,
    size: tuple[int, int] | None,
) -> _Batch:
    check_images(images)
    height, width = images.shape[1:3]
    check_size((height, width), "perturb")
    row = SEQUENCES.find(name)
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"difficulty must be 1, 2 or 3, got {difficulty} for {name!r}")
    ids = np.arange(len(images)) if ids is None else np.asarray(ids)
    if ids.shape != (len(images),):
        raise ValueError(f"ids must be one for each of {len(images)} images, got {ids.shape}")
    preset = resolve_preset(preset, (height, width))
    inner = frame_size((height, width), preset) if size is None else size
    if not (1 <= inner[0] <= height and 1 <= inner[1] <= width):
        raise ValueError(
            f"size must lie within the images of {height} x {width} pixels, "
            f"got {inner[0]} x {inner[1]}"
        )
    return _Batch(images, row, preset, difficulty, inner, row.stream(seed), ids)


def _march(
    batch: _Batch, num_threads: int
) -> Iterator[UInt8[np.ndarray, "batch row column channel"]]:
    """All images side by side, a frame at a time."""
    makers = [batch.frames(place) for place in range(len(batch.images))]
    shape = (len(makers), *batch.frame_size, batch.images.shape[3])
    with ThreadPoolExecutor(num_threads) as pool:
        for _ in range(batch.num_frames):
            result = np.empty(shape, np.uint8)
            step = (map if num_threads == 1 else pool.map)(next, makers)
            for place, frame in enumerate(step):
                result[place] = frame
            yield result


def _resize_shorter(
    image: UInt8[np.ndarray, "height width channel"], side: int
) -> UInt8[np.ndarray, "row column channel"]:
    """The shorter side to so many pixels, the other in proportion and cut, by Pillow."""
    height, width = image.shape[:2]
    shorter = min(height, width)
    if shorter == side:
        return image
    return _resize(image, side * height // shorter, side * width // shorter)


def _squeeze(
    image: UInt8[np.ndarray, "height width channel"],
) -> UInt8[np.ndarray, "row column channel"]:
    """The middle 87.5 % of height and width, to a square of 299 pixels."""
    height, width = image.shape[:2]
    inner = (int(height * _INCEPTION_SHARE), int(width * _INCEPTION_SHARE))
    part = centre_window((height, width), inner).cut(image)
    return _resize(part, _INCEPTION_SIDE, _INCEPTION_SIDE)


def _resize(
    image: UInt8[np.ndarray, "height width channel"], height: int, width: int
) -> UInt8[np.ndarray, "row column channel"]:
    channels = image.shape[2]
    picture = PillowImage.fromarray(image if channels == 3 else image[:, :, 0])
    resized = np.asarray(picture.resize((width, height), PillowImage.Resampling.BILINEAR))
    return resized.reshape(height, width, channels)
