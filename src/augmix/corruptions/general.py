"""Corruptions of images of 1 to 16 channels, of 8 or 16 bits or floats.

The corruptions of `GENERAL` mean the same for every channel and depth: sensor noise, blur,
contrast, and what moves or merges pixels; fog adds the same cloud to every channel. The others are
of colours (brightness, saturation, snow, frost, spatter) or of a format (JPEG). Each function draws
what the one of RGB images draws, and for uint8 of 3 channels gives its bytes. White is 255, 65535,
or 1.0 for floats; whole numbers drop the fraction, as the published scripts do. Parameters are the
same.

Functions are written in NumPy and are slower than the compiled ones, which serve uint8 images of 1
or 3 channels.
"""

from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image as PillowImage
from PIL.Image import Image as Picture

from augmix.arrays import is_tensor
from augmix.corruptions import blur, digital, weather
from augmix.corruptions.noise import MOST_PHOTONS, bernoulli, random_words
from augmix.corruptions.registry import Draws, Real
from augmix.jit import outer

MOST_CHANNELS = 16
_WHITE = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0, "float64": 1.0}

Pixels = Shaped[np.ndarray, "height width channel"]
Values = Float[np.ndarray, "height width channel"]


def is_general(images: Any) -> bool:
    """Whether images are of another depth or number of channels than uint8 of 1 or 3."""
    if not isinstance(images, np.ndarray) and not is_tensor(images):
        return False
    if _dtype(images) not in _WHITE or images.ndim not in (2, 3, 4):
        return False
    channels = 1 if images.ndim == 2 else images.shape[-3 if is_tensor(images) else -1]
    is_usual = _dtype(images) == "uint8" and channels in (1, 3)
    return not is_usual and 1 <= channels <= MOST_CHANNELS


def to_general_batch(images: Any) -> Shaped[np.ndarray, "batch height width channel"]:
    """Convert one image or a batch, as `is_general` knows them, to a batch of arrays.

    Raises:
        ValueError: If a tensor is not on the CPU or has no channels, or floats are not all in
            [0, 1].
    """
    if is_tensor(images):
        if images.device.type != "cpu":
            raise ValueError(f"a tensor must lie on the CPU, got device {images.device}")
        if images.ndim == 2:
            raise ValueError(
                "a tensor must be [channel height width] or [batch channel height width], got "
                f"shape {tuple(images.shape)}; an image of one channel is image[None]"
            )
        pixels = np.moveaxis(images.detach().numpy(), -3, -1)
    else:
        pixels = images[:, :, None] if images.ndim == 2 else images
    batch = pixels if pixels.ndim == 4 else pixels[None]
    if batch.dtype.kind == "f" and batch.size:
        low, high = float(batch.min()), float(batch.max())
        if not (low >= 0 and high <= 1):  # also NaN
            raise ValueError(
                f"floats must be in [0, 1], where 1 is white, got {low:g} to {high:g}; divide by "
                "the value of white, e.g. 10,000 for reflectances of Sentinel-2, and clip"
            )
    return batch


def _dtype(images: Any) -> str:
    return str(images.dtype).removeprefix("torch.")


def _values(image: Pixels) -> Values:
    return image / _WHITE[image.dtype.name]


def _pixels(values: Values, like: Pixels) -> Pixels:
    """Values in [0, 1] at the depth of an image; whole numbers drop the fraction."""
    white = _WHITE[like.dtype.name]
    return (np.clip(values, 0, 1) * values.dtype.type(white)).astype(like.dtype)


def gaussian_noise(image: Pixels, std: Real, *, generator: Draws) -> Pixels:
    """See `augmix.corruptions.noise.gaussian_noise`."""
    noise = generator.standard_normal(image.shape)
    return _pixels(_values(image) + std * noise, image)


def speckle_noise(image: Pixels, std: Real, *, generator: Draws) -> Pixels:
    """See `augmix.corruptions.noise.speckle_noise`."""
    noise, values = generator.standard_normal(image.shape), _values(image)
    return _pixels(values + values * (std * noise), image)


def impulse_noise(image: Pixels, amount: Real, *, generator: Draws) -> Pixels:
    """See `augmix.corruptions.noise.impulse_noise`."""
    flipped = bernoulli(generator, amount, image.shape)
    salted = bernoulli(generator, 0.5, image.shape)
    extreme = np.where(salted, _WHITE[image.dtype.name], 0.0).astype(image.dtype)
    return np.where(flipped, extreme, image)


def shot_noise(image: Pixels, photons: Real, *, generator: Draws) -> Pixels:
    """See `augmix.corruptions.noise.shot_noise`.

    Raises:
        ValueError: For more than 700 photons.
    """
    if photons > MOST_PHOTONS:
        raise ValueError(
            f"shot_noise of more than {MOST_PHOTONS} photons is for uint8 images of 1 or 3 "
            f"channels, got {photons:g}"
        )
    means = (_values(image).astype(np.float64) * photons).ravel()
    if isinstance(generator, np.random.RandomState):
        counts = generator.poisson(means).astype(np.float64)
    else:
        counts = _count(means, random_words(generator, means.shape), int(photons) + 1)
    return _pixels(counts.reshape(image.shape) / photons, image)


@outer
@no_type_check
def _count(means, words, most):
    """The first count whose cumulative probability, in units of 2**-32, lies above the word."""
    counts = np.empty(means.size)
    for i in range(means.size):
        probability = np.exp(-means[i])
        total = probability
        count = 0
        while count < most and min(np.rint(total * 4294967296.0), 4294967295.0) <= words[i]:
            count += 1
            probability *= means[i] / count
            total = min(total + probability, 1.0)
        counts[i] = count
    return counts


def defocus_blur(image: Pixels, radius: Real, alias_std: Real, *, generator: Draws) -> Pixels:
    """See `augmix.corruptions.blur.defocus_blur`."""
    plan = blur.plan_disk(radius, alias_std)
    height, width = image.shape[:2]
    rows, columns = (blur.padded_indices(size, plan.margin, "mirror") for size in (height, width))
    padded = image[rows[:, None], columns]
    is_small = not plan.half_widths.size
    levels = _values(padded) if is_small else padded.astype(np.float64)
    sums = np.zeros(image.shape)
    if not is_small:
        sums = _soft_disk(levels, plan, height, width)
    for (row, column), weight in zip(plan.taps.tolist(), plan.weights.tolist(), strict=True):
        top, left = plan.margin + row, plan.margin + column
        sums += weight * levels[top : top + height, left : left + width]
    return _pixels(sums, image) if is_small else _cut(sums, image)


def _soft_disk(
    padded: Float[np.ndarray, "row column channel"], plan: blur.DiskPlan, height: int, width: int
) -> Values:
    """Sum rows of a disk as differences of running sums, which are exact for whole numbers."""
    soft, radius = len(plan.softening) // 2, len(plan.half_widths) // 2
    running = np.pad(np.cumsum(padded, axis=1), ((0, 0), (1, 0), (0, 0)))
    high, wide = height + 2 * soft, width + 2 * soft
    disk = np.zeros((high, wide, padded.shape[2]))
    for k, half in enumerate(plan.half_widths.tolist()):
        top = plan.margin - soft - radius + k
        first, last = plan.margin - soft - half, plan.margin - soft + half + 1
        part = running[top : top + high]
        disk += part[:, last : last + wide] - part[:, first : first + wide]
    lines = np.zeros((height, wide, padded.shape[2]))
    for k, weight in enumerate(plan.softening.tolist()):
        lines += weight * disk[k : k + height]
    values = np.zeros((height, width, padded.shape[2]))
    for k, weight in enumerate(plan.softening.tolist()):
        values += weight * lines[:, k : k + width]
    return values * plan.scale


def _cut(levels: Pixels, like: Pixels) -> Pixels:
    return np.clip(levels, 0, _WHITE[like.dtype.name]).astype(like.dtype)


def glass_blur(
    image: Pixels, std: Real, reach: int, num_rounds: int, *, generator: Draws
) -> Pixels:
    """See `augmix.corruptions.blur.glass_blur`."""
    height, width = image.shape[:2]
    smooth = _pixels(blur.gaussian_filter(_values(image).astype(np.float64), std), image)
    shape = (num_rounds, max(height - 2 * reach, 0), max(width - 2 * reach, 0), 2)
    offsets = blur.integers(generator, -reach, reach, shape)
    blur.copy_neighbours(smooth[None], offsets[None], reach)
    return _pixels(blur.gaussian_filter(_values(smooth).astype(np.float64), std), image)


def motion_blur(image: Pixels, radius: Real, std: Real, *, generator: Draws) -> Pixels:
    """See `augmix.corruptions.blur.motion_blur`."""
    weights, down, right = blur.trail(radius, std, float(generator.uniform(-45, 45, ())))
    height, width = image.shape[:2]
    sums = np.zeros(image.shape)
    for weight, below, beside in zip(weights, down, right, strict=True):
        rows = np.clip(np.arange(height) + below, 0, height - 1)
        columns = np.clip(np.arange(width) + beside, 0, width - 1)
        sums += weight * image[rows[:, None], columns]
    if image.dtype == np.uint8:  # rounded to 16 bits, then cut to 8
        return ((257.0 * sums + 0.5).astype(np.int64) // 257).astype(np.uint8)
    return _cut(sums + (0.5 if image.dtype == np.uint16 else 0.0), image)


def zoom_blur(image: Pixels, stop: Real, step: Real, *, generator: Draws) -> Pixels:
    """See `augmix.corruptions.blur.zoom_blur`; in single precision."""
    factors = tuple(np.arange(1, stop, step).tolist())
    values = _values(image).astype(np.float32)
    mean = (values + blur.sum_of_zooms(values, factors)) / np.float32(len(factors) + 1)
    return _pixels(mean, image)


def gaussian_blur(image: Pixels, std: Real, *, generator: Draws) -> Pixels:
    """See `augmix.corruptions.blur.gaussian_blur`."""
    return _pixels(blur.gaussian_filter(_values(image).astype(np.float64), std), image)


def fog(image: Pixels, amount: Real, decay: Real, *, generator: Draws) -> Pixels:
    """See `augmix.corruptions.weather.fog`; every channel gets the same cloud."""
    height, width = image.shape[:2]
    size = max(2, 1 << (max(height, width) - 1).bit_length())
    cloud = weather.plasma_fractal(size, decay, generator=generator)[:height, :width, None]
    values = _values(image)
    brightest = float(values.max())
    return _pixels((values + amount * cloud) * brightest / (brightest + amount), image)


def contrast(image: Pixels, factor: Real, *, generator: Draws) -> Pixels:
    """See `augmix.corruptions.digital.contrast`."""
    values = _values(image).astype(np.float64)
    num_pixels = image.shape[0] * image.shape[1]
    mean = np.cumsum(values.reshape(num_pixels, -1), axis=0)[-1] / num_pixels
    return _pixels((values - mean) * factor + mean, image)


def elastic_transform(
    image: Pixels, distance: Real, smoothness: Real, jolt: Real, *, generator: Draws
) -> Pixels:
    """See `augmix.corruptions.digital.elastic_transform`; in single precision."""
    size = image.shape[:2]
    backward, right, down = digital.elastic_fields(
        size, distance, smoothness, jolt, generator=generator
    )
    values = digital.warp(_values(image).astype(np.float32)[None], backward[None])[0].astype(
        np.float64
    )
    at_y = np.arange(size[0])[:, None] + down.astype(np.float64)
    at_x = np.arange(size[1]) + right.astype(np.float64)
    rows, columns = (_neighbours(at, edge) for at, edge in zip((at_y, at_x), size, strict=True))
    total = np.zeros(image.shape)
    for row, above in rows:
        for column, before in columns:
            total += values[row, column] * (above * before)[:, :, None]
    return _pixels(total.astype(np.float32), image)


def _neighbours(at: np.ndarray, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pixels before and behind, mirrored with the edge twice, and their weights."""
    first = np.floor(at)
    near = 1.0 - (at - first)
    found = []
    for offset, weight in ((0, near), (1, 1.0 - near)):
        index = (first.astype(np.int64) + offset) % (2 * size)
        found.append((np.minimum(index, 2 * size - 1 - index), weight))
    return found


def pixelate(image: Pixels, fraction: Real, *, generator: Draws) -> Pixels:
    """See `augmix.corruptions.digital.pixelate`; in single precision but for 8 bits."""
    height, width = image.shape[:2]
    small = (max(int(width * fraction), 1), max(int(height * fraction), 1))

    def shrink(picture: Picture) -> np.ndarray:
        reduced = picture.resize(small, PillowImage.Resampling.BOX)
        return np.asarray(reduced.resize((width, height), PillowImage.Resampling.BOX))

    kept = image if image.dtype == np.uint8 else image.astype(np.float32)
    planes = [
        shrink(PillowImage.fromarray(np.ascontiguousarray(kept[:, :, channel])))
        for channel in range(image.shape[2])
    ]
    return _cut(np.stack(planes, axis=2), image)


GENERAL: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *(gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur),
        *(zoom_blur, fog, contrast, elastic_transform, pixelate, speckle_noise, gaussian_blur),
    )
}
"""By name of the corruption."""
