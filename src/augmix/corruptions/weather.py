"""Weather and light: snow, fog, brightness, saturation, spatter, frost.

HSV is computed in double precision with the order of operations of scikit-image, since the fraction
dropped at the end can show the last bit. The water of spatter is the published chain of OpenCV
calls on 8-bit images. Functions take one image or a batch, but for `spatter`.

The published frost overlays photographs that this package may not distribute. The five textures
drawn here replace them: crystals grown branch by branch over a cloud, with the size and the
distribution of grey levels of the photograph that each replaces, so that the corruption is as
strong. They are drawn at first use and kept in memory. Results with either kind differ; results and
reports say which was used.
"""

import hashlib
import math
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, no_type_check

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from PIL import Image as PillowImage

from augmix.corruptions.blur import as_batch, gaussian_filter, motion_trail, sum_of_zooms
from augmix.corruptions.noise import integers
from augmix.corruptions.registry import Draws, Image, Images, Real
from augmix.errors import RunError
from augmix.jit import inner, outer

LUMA = np.array([0.299, 0.587, 0.114])
_WATER = np.array([175, 238, 238]) / 255.0
_MUD = np.array([63, 42, 20]) / 255.0
_EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])

Texture = UInt8[np.ndarray, "texture_height texture_width 3"]

FROST_PHOTOGRAPHS = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
"""In the published order. A sixth file, frost6.jpg, is never used; 2 and 3 are the same image."""

_QUANTILES = (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0)  # of grey levels of a drawn texture
_STEP_PX = 0.7  # of a growing branch of ice


def snow(
    image: Images,
    mean: Real,
    std: Real,
    zoom: Real,
    threshold: Real,
    radius: Real,
    trail_std: Real,
    blend: Real,
    *,
    generator: Draws,
) -> Images:
    """Whiten the image and add falling flakes.

    Args:
        mean: Of the normal field whose peaks are flakes, as a fraction of white.
        std: Of that field.
        zoom: Factor by which the field is enlarged.
        threshold: Values of the field below it are no flakes.
        radius: Half the length of a flake's trail, in pixels.
        trail_std: Of the trail's weights, in pixels.
        blend: Weight of the image that is not whitened.
        generator: Draws the field, then the direction of the fall.
    """
    flakes = draw_flakes(image.shape[:-1], mean, std, zoom, threshold, generator)
    angles = generator.uniform(-135, -45, image.shape[:-3])
    flakes = as_batch(motion_trail(flakes, radius, trail_std, angles))
    weights = np.float32(blend), np.float32(1 - blend)
    return _add_snow(as_batch(image), flakes, *weights).reshape(image.shape)


def draw_flakes(
    size: tuple[int, ...], mean: Real, std: Real, zoom: Real, threshold: Real, generator: Draws
) -> UInt8[np.ndarray, "*batch height width 1"]:
    """Draw the flakes of `snow`, before they fall; the size may begin with that of a batch."""
    field = mean + std * generator.standard_normal(size)
    field = sum_of_zooms(field[..., None], (float(zoom),))
    return _to_flakes(field.ravel(), float(threshold)).reshape(field.shape)


def fog(image: Images, amount: Real, decay: Real, *, generator: Draws) -> Images:
    """Add a plasma cloud and scale the image back to its old maximum.

    Args:
        amount: Height of the cloud, as a multiple of white.
        decay: The larger, the smoother the cloud.
        generator: Draws the cloud; its size is the next power of two not below the larger of
            height and width.
    """
    *axes, height, width, _ = image.shape
    size = max(2, 1 << (max(height, width) - 1).bit_length())
    uniforms = generator.uniform(0, 1, (*axes, size * size - 1)).reshape(-1, size * size - 1)
    shape = size, float(decay)
    return _add_fog(as_batch(image), uniforms, *shape, float(amount)).reshape(image.shape)


def plasma_fractal(size: int, decay: Real, *, generator: Draws) -> Float64[np.ndarray, "size size"]:
    """Make a cloud from 0 to 1 that repeats at its borders, by the diamond-square algorithm.

    ``size`` is a power of two; the disturbance falls by ``decay``, squared, from level to level.
    """
    return _plasma(size, float(decay), generator.uniform(0, 1, (size * size - 1,)))


def brightness(image: Images, shift: Real, *, generator: Draws) -> Images:
    """Add ``shift``, a fraction of white, to the value V of HSV; a grey image is its own V."""
    return _change_hsv(as_batch(image), 1.0, 0.0, float(shift)).reshape(image.shape)


def saturate(image: Images, factor: Real, shift: Real, *, generator: Draws) -> Images:
    """Set the saturation S of HSV to ``S * factor + shift``; a grey image, without S, is copied."""
    if image.shape[-1] == 1:
        return image.copy()
    return _change_hsv(as_batch(image), float(factor), float(shift), 0.0).reshape(image.shape)


@outer
@no_type_check
def _to_flakes(field, threshold):
    result = np.empty(field.size, np.uint8)
    for i in range(field.size):
        value = field[i] if field[i] >= threshold else 0.0
        result[i] = np.uint8(min(max(value, 0.0), 1.0) * 255)
    return result


@outer
@no_type_check
def _change_hsv(images, saturation_factor, saturation_shift, value_shift):
    result = np.empty_like(images)
    factors = saturation_factor, saturation_shift, value_shift
    for index in range(len(images)):
        _change_hsv_one(images[index], *factors, result[index])
    return result


@inner
@no_type_check
def _change_hsv_one(image, saturation_factor, saturation_shift, value_shift, result):
    """Set S to S * factor + shift and V to V + shift, both clipped to [0, 1]."""
    height, width, channels = image.shape
    last = channels - 1  # a grey image uses its channel for all three
    for y in range(height):
        for x in range(width):
            r = image[y, x, 0] / 255.0
            g = image[y, x, last // 2] / 255.0
            b = image[y, x, last] / 255.0
            v = max(r, g, b)
            d = v - min(r, g, b)
            h = 0.0
            s = 0.0
            if d > 0.0:
                s = d / v
                if b == v:
                    h = 4.0 + (r - g) / d
                elif g == v:
                    h = 2.0 + (b - r) / d
                else:
                    h = (g - b) / d
                h = (h / 6.0) % 1.0
            s = min(max(s * saturation_factor + saturation_shift, 0.0), 1.0)
            v = min(max(v + value_shift, 0.0), 1.0)
            k = np.floor(h * 6.0)
            f = h * 6.0 - k
            p = v * (1.0 - s)
            q = v * (1.0 - f * s)
            t = v * (1.0 - (1.0 - f) * s)
            if k == 0:
                r, g, b = v, t, p
            elif k == 1:
                r, g, b = q, v, p
            elif k == 2:
                r, g, b = p, v, t
            elif k == 3:
                r, g, b = p, q, v
            elif k == 4:
                r, g, b = t, p, v
            else:
                r, g, b = v, p, q
            result[y, x, 0] = np.uint8(min(max(r, 0.0), 1.0) * 255)
            if channels == 3:
                result[y, x, 1] = np.uint8(min(max(g, 0.0), 1.0) * 255)
                result[y, x, 2] = np.uint8(min(max(b, 0.0), 1.0) * 255)


@outer
@no_type_check
def _add_snow(images, flakes, blend, rest):
    result = np.empty_like(images)
    for index in range(len(images)):
        _add_snow_one(images[index], flakes[index, :, :, 0], blend, rest, result[index])
    return result


@inner
@no_type_check
def _add_snow_one(image, flakes, blend, rest, result):
    """Single precision up to the flakes, which are added in double precision."""
    height, width, channels = image.shape
    length = width * channels
    levels = result.reshape(height, length)
    unit = (np.arange(256) / 255.0).astype(np.float32)
    values = np.empty(length, np.float32)
    white = np.empty(length, np.float32)
    fall = np.empty(length)
    turned = np.empty(length)
    for y in range(height):
        for x in range(width):
            grey = unit[image[y, x, 0]]
            if channels == 3:
                grey *= np.float32(0.299)
                grey += unit[image[y, x, 1]] * np.float32(0.587)
                grey += unit[image[y, x, 2]] * np.float32(0.114)
            for channel in range(channels):
                at = x * channels + channel
                values[at] = unit[image[y, x, channel]]
                white[at] = grey
                fall[at] = flakes[y, x]
                turned[at] = flakes[height - 1 - y, width - 1 - x]
        target = levels[y]
        for x in range(length):
            bright = max(values[x], white[x] * np.float32(1.5) + np.float32(0.5))
            value = blend * values[x] + rest * bright + fall[x] / 255.0 + turned[x] / 255.0
            target[x] = np.uint8(min(max(value, 0.0), 1.0) * 255)


@outer
@no_type_check
def _add_fog(images, uniforms, size, decay, amount):
    result = np.empty_like(images)
    for index in range(len(images)):
        cloud = _plasma(size, decay, uniforms[index])
        _add_fog_one(images[index], cloud, amount, result[index])
    return result


@inner
@no_type_check
def _add_fog_one(image, cloud, amount, result):
    height, width, channels = image.shape
    length = width * channels
    brightest = image.max() / 255.0
    values, levels = image.reshape(height, length), result.reshape(height, length)
    clouds = np.empty(length)
    for y in range(height):
        for x in range(width):
            for channel in range(channels):
                clouds[x * channels + channel] = cloud[y, x]
        row, target = values[y], levels[y]
        for x in range(length):
            value = (row[x] / 255.0 + amount * clouds[x]) * brightest / (brightest + amount)
            target[x] = np.uint8(min(max(value, 0.0), 1.0) * 255)


@outer
@no_type_check
def _plasma(size, decay, uniforms):
    """Level by level: squares, then the diamonds of the rows, then those of the columns."""
    cloud = np.zeros((size, size))
    step, height, used = size, 100.0, 0
    while step >= 2:
        half, count = step // 2, size // step
        for (down, right), (y0, x0), (y1, x1), (y2, x2), (y3, x3) in (
            ((half, half), (0, 0), (step, 0), (0, step), (step, step)),
            ((0, half), (half, half), (-half, half), (0, 0), (0, step)),
            ((half, 0), (half, half), (half, -half), (0, 0), (step, 0)),
        ):
            for i in range(count):
                for j in range(count):
                    y, x, last = i * step, j * step, size - 1  # a power of two: wraps around
                    near = cloud[(y + y0) & last, (x + x0) & last]
                    near += cloud[(y + y1) & last, (x + x1) & last]
                    far = cloud[(y + y2) & last, (x + x2) & last]
                    far += cloud[(y + y3) & last, (x + x3) & last]
                    shake = -height + (height + height) * uniforms[used]
                    cloud[y + down, x + right] = (near + far) / 4 + height * shake
                    used += 1
        step, height = half, height / decay
    lowest = cloud.min()
    highest = (cloud - lowest).max()
    for i in range(size):
        for j in range(size):
            cloud[i, j] = (cloud[i, j] - lowest) / highest
    return cloud


def spatter(
    image: Image,
    mean: Real,
    std: Real,
    blur: Real,
    threshold: Real,
    strength: Real,
    is_mud: int,
    *,
    generator: Draws,
) -> Image:
    """Splash water or mud over the image; a grey image gets the luma of the colours.

    Args:
        mean: Of the normal field whose peaks are drops, as a fraction of white.
        std: Of that field.
        blur: Standard deviation of the Gaussian that smooths the field, in pixels.
        threshold: Values of the field below it are no drops.
        strength: For water, the fraction of its colour that is added where it is thickest; for mud,
            the standard deviation of the Gaussian that softens its edge, in pixels.
        is_mud: 0 for water, 1 for mud.
        generator: Draws the field.
    """
    field = draw_drops(image.shape[:2], mean, std, blur, threshold, generator)
    values = image.astype(np.float32) / np.float32(255)
    mixed = _mud(values, field > threshold, strength) if is_mud else water(values, field, strength)
    return (np.clip(mixed, 0, 1) * np.float32(255)).astype(np.uint8)


def draw_drops(
    size: tuple[int, int], mean: Real, std: Real, blur: Real, threshold: Real, generator: Draws
) -> Float64[np.ndarray, "height width"]:
    """Draw the height of the drops of `spatter`; 0 where there is none."""
    field = mean + std * generator.standard_normal(size)
    field = gaussian_filter(field[:, :, None], blur)[:, :, 0]
    field[field < threshold] = 0
    return field


def water(
    values: Float32[np.ndarray, "height width channel"],
    field: Float64[np.ndarray, "height width"],
    strength: Real,
) -> Float32[np.ndarray, "height width channel"]:
    """Add drops, as `draw_drops` gives them, that shine by height and distance to their edge.

    Values in [0, 1] become new ones, which may lie above 1; without a drop they are the same ones.
    """
    layer = (field * 255).astype(np.int64).astype(np.uint8)  # values above 1 wrap around
    distance = cv2.distanceTransform(255 - cv2.Canny(layer, 50, 150), cv2.DIST_L2, 5)
    distance = np.minimum(distance, np.float32(20))
    distance = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    distance = cv2.blur(cv2.filter2D(distance, cv2.CV_8U, _EMBOSS), (3, 3))
    height = layer * distance.astype(np.float32)
    if not height.any():  # without a drop the published script divides 0 by 0
        return values
    height = height / height.max() * np.float32(strength)
    return values + height[:, :, None] * _colour(_WATER, values.shape[2])


def _mud(
    values: Float32[np.ndarray, "height width channel"], is_drop: np.ndarray, strength: Real
) -> Float32[np.ndarray, "height width channel"]:
    """Cover with mud, of which only the inner part is opaque enough to be kept."""
    cover = gaussian_filter(is_drop[:, :, None].astype(np.float64), strength)
    cover[cover < 0.8] = 0
    mud = (cover * _colour(_MUD, values.shape[2])).astype(np.float32)
    return (values * (1 - cover)).astype(np.float32) + mud


def _colour(rgb: Float64[np.ndarray, " three"], channels: int) -> Float32[np.ndarray, " channel"]:
    """The colour, or its luma for a grey image."""
    return (rgb if channels == 3 else np.array([rgb @ LUMA])).astype(np.float32)


def frost(
    image: Images,
    image_weight: Real,
    texture_weight: Real,
    scale: Real,
    *,
    generator: Draws,
    textures: Path | None = None,
) -> Images:
    """Add a piece of a frost texture; a grey image gets its luma. Takes one image or a batch.

    Args:
        image_weight: Factor of the image.
        texture_weight: Factor of the texture.
        scale: Factor by which the texture is resized first; more where the image would not fit.
        generator: Draws which texture, then row and column of the piece.
        textures: Folder of the published photographs; the textures drawn here if not given.

    Raises:
        RunError: If a photograph is missing or cannot be read.
    """
    *axes, height, width, channels = image.shape
    indices = np.ravel(integers(generator, 0, len(FROST_PHOTOGRAPHS), (*axes,))).tolist()
    scaled = {k: _scale_texture(k, float(scale), height, width, textures) for k in set(indices)}
    tops, lefts = np.array([scaled[k].shape[:2] for k in indices]).T - [[height], [width]]
    rows = _draw_corners(generator, tops, axes)
    columns = _draw_corners(generator, lefts, axes)
    weights = float(image_weight), float(texture_weight)
    batch = as_batch(image).reshape(-1, height, width * channels)
    result = np.empty_like(batch)
    for k, texture in scaled.items():
        own = np.flatnonzero(np.equal(indices, k))
        if channels == 3:
            flat = texture.reshape(len(texture), -1)
            _blend_texture(batch, flat, own, rows, 3 * columns, *weights, result)
            continue
        for i in own.tolist():
            piece = texture[rows[i] : rows[i] + height, columns[i] : columns[i] + width] @ LUMA
            none = np.zeros(1, np.int64)
            _blend_texture(batch[i:], piece, none, none, none, *weights, result[i:])
    return result.reshape(image.shape)


def _draw_corners(
    generator: Draws, highs: Int64[np.ndarray, " image"], axes: list[int]
) -> Int64[np.ndarray, " image"]:
    """Draw a row or column for every image, below its own limit."""
    high = highs if axes else int(highs[0])
    return np.ravel(integers(generator, 0, high, (*axes,))).astype(np.int64)


def load_frost_texture(index: int, folder: Path | None = None) -> Texture:
    """Return one of the five textures at full size: a photograph of a folder, or drawn here.

    Raises:
        RunError: If the photograph is missing or cannot be read.
    """
    return (
        _draw_texture(index)
        if folder is None
        else _read_photograph(Path(folder) / FROST_PHOTOGRAPHS[index])
    )


def frost_fingerprint(folder: Path | None = None) -> str:
    """Return the sha256 of the five textures' pixels, for the record of a measurement."""
    total = hashlib.sha256()
    for index in range(len(FROST_PHOTOGRAPHS)):
        texture = load_frost_texture(index, folder)
        total.update(repr(texture.shape).encode() + texture.tobytes())
    return total.hexdigest()


@lru_cache(maxsize=64)
def _scale_texture(
    index: int, scale: float, height: int, width: int, folder: Path | None
) -> Texture:
    """The texture, resized so that a piece of ``height x width`` fits at least once."""
    texture = load_frost_texture(index, folder)
    rows, columns = texture.shape[:2]
    if round(rows * scale) <= height or round(columns * scale) <= width:
        needed = max((height + 1) / rows, (width + 1) / columns)
        size = (math.ceil(columns * needed), math.ceil(rows * needed))
        return np.asarray(cv2.resize(texture, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    if scale == 1.0:
        return texture
    return np.asarray(cv2.resize(texture, None, fx=scale, fy=scale), np.uint8)


@lru_cache(maxsize=len(FROST_PHOTOGRAPHS) * 2)
def _read_photograph(path: Path) -> Texture:
    try:
        with PillowImage.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except FileNotFoundError:
        raise RunError(
            f"no frost texture at {path}; its folder must hold {', '.join(FROST_PHOTOGRAPHS)}, "
            "or leave the folder out to use the textures that augmix draws"
        ) from None
    except OSError as error:
        raise RunError(f"cannot read the frost texture {path}: {error}") from error


class _IceStyle(NamedTuple):
    """How a texture is grown, and its grey levels."""

    size: tuple[int, int]  # height and width of the photograph that it replaces, in pixels
    stems: tuple[int, float, int, float]
    """Crystals, greatest length of a stem in pixels (a stem has 0.4 to 1 of it), stems that start
    at one point, and how much a branch bends at random."""
    twigs: tuple[float, int, float]
    """Angle to the branch in degrees, steps from one pair of twigs to the next, and length as a
    fraction of the rest of the branch."""
    weights: tuple[float, float, float, float]
    """Of cloud, crystals, light from the upper left, and grain."""
    levels: tuple[tuple[int, int, int, int, int], ...]
    """Red, green and blue at the quantiles 0.01, 0.1, 0.5, 0.9 and 0.99 of the photograph."""


_WRINKLED = _IceStyle(
    size=(600, 900),
    stems=(1800, 60.0, 1, 0.5),
    twigs=(25.0, 14, 0.5),
    weights=(0.9, 0.1, 0.9, 0.4),
    levels=((31, 46, 74, 115, 150), (116, 128, 148, 171, 190), (134, 146, 166, 186, 202)),
)
_NEEDLES = _IceStyle(
    size=(315, 560),
    stems=(700, 75.0, 1, 0.02),
    twigs=(14.0, 9, 0.6),
    weights=(0.5, 0.35, 0.6, 0.2),
    levels=((138, 173, 204, 225, 241), (140, 176, 209, 230, 245), (146, 184, 218, 240, 250)),
)
_GRAINS = _IceStyle(
    size=(350, 527),
    stems=(2600, 10.0, 3, 0.1),
    twigs=(30.0, 5, 0.4),
    weights=(0.4, 0.35, 0.9, 0.5),
    levels=((69, 102, 138, 171, 218), (84, 118, 153, 186, 234), (92, 129, 165, 201, 249)),
)
_FERNS = _IceStyle(
    size=(495, 660),
    stems=(260, 60.0, 3, 0.08),
    twigs=(52.0, 4, 0.45),
    weights=(0.45, 0.8, 0.4, 0.1),
    levels=((34, 59, 107, 174, 233), (45, 70, 119, 183, 238), (57, 83, 131, 192, 243)),
)
_ICE_STYLES = (_WRINKLED, _NEEDLES, _NEEDLES, _GRAINS, _FERNS)


@lru_cache(maxsize=len(_ICE_STYLES))
def _draw_texture(index: int) -> Texture:
    """Crystals over a cloud, with the grey levels of the photograph."""
    style = _ICE_STYLES[index]
    generator = np.random.Generator(np.random.Philox(key=index))
    cloud = _cut_cloud(style, 1.9, generator)
    grain = _cut_cloud(style, 1.05, generator)
    crystals = _grow_crystals(style, cloud, generator)
    soft = gaussian_filter(crystals[:, :, None], 0.6)[:, :, 0]
    glow = gaussian_filter(crystals[:, :, None], 5)[:, :, 0]
    light = np.pad(soft, 1, mode="edge")
    light = light[2:, 2:] - light[:-2, :-2]
    parts = (cloud, soft + glow, light, grain)
    mixed = np.zeros(cloud.shape)
    for weight, part in zip(style.weights, parts, strict=True):
        mixed += weight * (part - part.mean()) / part.std()
    return np.stack([_spread_levels(mixed, levels) for levels in style.levels], axis=-1)


def _cut_cloud(
    style: _IceStyle, decay: float, generator: np.random.Generator
) -> Float64[np.ndarray, "height width"]:
    height, width = style.size
    size = 1 << (max(height, width) - 1).bit_length()
    return plasma_fractal(size, decay, generator=generator)[:height, :width]


def _grow_crystals(
    style: _IceStyle, cloud: Float64[np.ndarray, "height width"], generator: np.random.Generator
) -> Float64[np.ndarray, "height width"]:
    """Stems at random points, the rays of a crystal evenly around it, twigs left and right."""
    count, longest, rays, bend = style.stems
    spread, spacing, twig = style.twigs
    twigs = (math.radians(spread), spacing, twig)
    stems = generator.random((count, 4))
    field = np.zeros(cloud.shape)
    uniforms = generator.random(1 << 16)
    for y, x, turn, size in stems:
        length = longest * (0.4 + 0.6 * size)
        stem = (y * style.size[0], x * style.size[1], turn * 2 * math.pi, length)
        _grow_branches(field, stem, rays, bend, twigs, uniforms, int(size * len(uniforms)))
    return field


def _spread_levels(
    values: Float64[np.ndarray, "height width"], levels: tuple[int, ...]
) -> UInt8[np.ndarray, "height width"]:
    """Replace every value by the grey level of its rank."""
    ranks = np.empty(values.size)
    ranks[np.argsort(values, axis=None, kind="stable")] = np.arange(values.size)
    ends = (levels[0] - 8, *levels, min(levels[-1] + 8, 255))
    grey = np.interp(ranks / (values.size - 1), _QUANTILES, ends)
    return np.rint(grey).astype(np.uint8).reshape(values.shape)


@outer
@no_type_check
def _blend_texture(images, texture, chosen, rows, columns, image_weight, texture_weight, result):
    """Add pieces of a texture, from a row and a column on, to the chosen images."""
    _, height, length = images.shape
    for index in chosen:
        for y in range(height):
            image, target = images[index, y], result[index, y]
            piece = texture[rows[index] + y][columns[index] :][:length]
            for x in range(length):
                value = image_weight * image[x] + texture_weight * piece[x]
                target[x] = np.uint8(min(max(value, 0.0), 255.0))


@outer
@no_type_check
def _grow_branches(field, stem, rays, bend, twigs, uniforms, used):
    """Draw every branch in small steps; a pixel keeps the larger of its old and new value."""
    y0, x0, turn, length = stem
    spread, spacing, twig_part = twigs
    stack = np.empty((4096, 6))
    top = 0
    for ray in range(rays):
        stack[top] = (y0, x0, turn + ray * 2 * np.pi / rays, length, 1.0, 0.0)
        top += 1
    while top > 0:
        top -= 1
        y, x, angle, reach, width, level = stack[top]
        steps = int(reach / _STEP_PX)
        for step in range(steps):
            used = (used + 1) % uniforms.size
            angle += bend * (uniforms[used] - 0.5)
            y += _STEP_PX * np.sin(angle)
            x += _STEP_PX * np.cos(angle)
            if not (0 <= y < field.shape[0] - 1 and 0 <= x < field.shape[1] - 1):
                break
            left = 1.0 - step / steps
            thick = width * (0.35 + 0.65 * left)
            row, column = int(y), int(x)
            down, right = y - row, x - column
            for i in range(2):
                for j in range(2):
                    near = (down if i else 1.0 - down) * (right if j else 1.0 - right)
                    near = min(1.0, 2.0 * near) * thick
                    if near > field[row + i, column + j]:
                        field[row + i, column + j] = near
            if level < 2 and step % spacing == spacing - 1 and top + 2 <= stack.shape[0]:
                for sign in (-1.0, 1.0):
                    used = (used + 1) % uniforms.size
                    twig = reach * left * twig_part * (0.5 + uniforms[used])
                    if twig > 2.0:
                        stack[top] = (y, x, angle + sign * spread, twig, width * 0.75, level + 1)
                        top += 1
