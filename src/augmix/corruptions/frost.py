"""Frost: textures of ice, drawn here or read from the published photographs, added to an image.

The published corruption overlays photographs that this package may not distribute. The five
textures drawn here replace them: crystals grown branch by branch over a cloud, with the size and
the distribution of grey levels of the photograph that each replaces, so that the corruption is as
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
from jaxtyping import Float64, Int64, UInt8
from PIL import Image as PillowImage

from augmix.corruptions.blur import as_batch, gaussian_filter
from augmix.corruptions.noise import integers
from augmix.corruptions.registry import Draws, Images, Real
from augmix.corruptions.weather import LUMA, plasma_fractal
from augmix.errors import RunError
from augmix.jit import outer

Texture = UInt8[np.ndarray, "texture_height texture_width 3"]

PHOTOGRAPHS = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
"""In the published order. A sixth file, frost6.jpg, is never used; 2 and 3 are the same image."""

_QUANTILES = (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0)
_STEP_PX = 0.7  # of a growing branch


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
    indices = np.ravel(integers(generator, 0, len(PHOTOGRAPHS), (*axes,))).tolist()
    scaled = {k: _scaled(k, float(scale), height, width, textures) for k in set(indices)}
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
            _blend(batch, flat, own, rows, 3 * columns, *weights, result)
            continue
        for i in own.tolist():
            piece = texture[rows[i] : rows[i] + height, columns[i] : columns[i] + width] @ LUMA
            none = np.zeros(1, np.int64)
            _blend(batch[i:], piece, none, none, none, *weights, result[i:])
    return result.reshape(image.shape)


def _draw_corners(
    generator: Draws, highs: Int64[np.ndarray, " image"], axes: list[int]
) -> Int64[np.ndarray, " image"]:
    """Draw a row or column for every image, below its own limit."""
    high = highs if axes else int(highs[0])
    return np.ravel(integers(generator, 0, high, (*axes,))).astype(np.int64)


def load_texture(index: int, folder: Path | None = None) -> Texture:
    """Return one of the five textures at full size: a photograph of a folder, or drawn here.

    Raises:
        RunError: If the photograph is missing or cannot be read.
    """
    return _drawn(index) if folder is None else _photograph(Path(folder) / PHOTOGRAPHS[index])


def fingerprint(folder: Path | None = None) -> str:
    """Return the sha256 of the five textures' pixels, for the record of a measurement."""
    total = hashlib.sha256()
    for index in range(len(PHOTOGRAPHS)):
        texture = load_texture(index, folder)
        total.update(repr(texture.shape).encode() + texture.tobytes())
    return total.hexdigest()


@lru_cache(maxsize=64)
def _scaled(index: int, scale: float, height: int, width: int, folder: Path | None) -> Texture:
    """The texture, resized so that a piece of ``height x width`` fits at least once."""
    texture = load_texture(index, folder)
    rows, columns = texture.shape[:2]
    if round(rows * scale) <= height or round(columns * scale) <= width:
        needed = max((height + 1) / rows, (width + 1) / columns)
        size = (math.ceil(columns * needed), math.ceil(rows * needed))
        return np.asarray(cv2.resize(texture, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    if scale == 1.0:
        return texture
    return np.asarray(cv2.resize(texture, None, fx=scale, fy=scale), np.uint8)


@lru_cache(maxsize=len(PHOTOGRAPHS) * 2)
def _photograph(path: Path) -> Texture:
    try:
        with PillowImage.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except FileNotFoundError:
        raise RunError(
            f"no frost texture at {path}; its folder must hold {', '.join(PHOTOGRAPHS)}, "
            "or leave the folder out to use the textures that augmix draws"
        ) from None
    except OSError as error:
        raise RunError(f"cannot read the frost texture {path}: {error}") from error


class _Style(NamedTuple):
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


_WRINKLED = _Style(
    size=(600, 900),
    stems=(1800, 60.0, 1, 0.5),
    twigs=(25.0, 14, 0.5),
    weights=(0.9, 0.1, 0.9, 0.4),
    levels=((31, 46, 74, 115, 150), (116, 128, 148, 171, 190), (134, 146, 166, 186, 202)),
)
_NEEDLES = _Style(
    size=(315, 560),
    stems=(700, 75.0, 1, 0.02),
    twigs=(14.0, 9, 0.6),
    weights=(0.5, 0.35, 0.6, 0.2),
    levels=((138, 173, 204, 225, 241), (140, 176, 209, 230, 245), (146, 184, 218, 240, 250)),
)
_GRAINS = _Style(
    size=(350, 527),
    stems=(2600, 10.0, 3, 0.1),
    twigs=(30.0, 5, 0.4),
    weights=(0.4, 0.35, 0.9, 0.5),
    levels=((69, 102, 138, 171, 218), (84, 118, 153, 186, 234), (92, 129, 165, 201, 249)),
)
_FERNS = _Style(
    size=(495, 660),
    stems=(260, 60.0, 3, 0.08),
    twigs=(52.0, 4, 0.45),
    weights=(0.45, 0.8, 0.4, 0.1),
    levels=((34, 59, 107, 174, 233), (45, 70, 119, 183, 238), (57, 83, 131, 192, 243)),
)
_STYLES = (_WRINKLED, _NEEDLES, _NEEDLES, _GRAINS, _FERNS)


@lru_cache(maxsize=len(_STYLES))
def _drawn(index: int) -> Texture:
    """Crystals over a cloud, with the grey levels of the photograph."""
    style = _STYLES[index]
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
    return np.stack([_spread(mixed, levels) for levels in style.levels], axis=-1)


def _cut_cloud(
    style: _Style, decay: float, generator: np.random.Generator
) -> Float64[np.ndarray, "height width"]:
    height, width = style.size
    size = 1 << (max(height, width) - 1).bit_length()
    return plasma_fractal(size, decay, generator=generator)[:height, :width]


def _grow_crystals(
    style: _Style, cloud: Float64[np.ndarray, "height width"], generator: np.random.Generator
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
        _grow(field, stem, rays, bend, twigs, uniforms, int(size * len(uniforms)))
    return field


def _spread(
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
def _blend(images, texture, chosen, rows, columns, image_weight, texture_weight, result):
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
def _grow(field, stem, rays, bend, twigs, uniforms, used):
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
