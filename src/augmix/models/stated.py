"""What other libraries say about a model's preprocessing, in the words of `Preprocessing`.

What cannot be said in those words (pictures that are not square, borders) is refused: the user
then states the preprocessing that comes nearest.
"""

import math
from collections.abc import Mapping
from typing import Any

from augmix.models.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    INTERPOLATIONS,
    Preprocessing,
)
from augmix.records import RunError

# Pillow's numbers of its filters, as transformers writes them
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_SMALL = 384  # ConvNeXT resizes in proportion and crops below this side, and squashes from it on


def from_timm(config: Mapping[str, Any], *, where: str) -> Preprocessing:
    """Of ``timm.data.resolve_model_data_config``: the side divided by ``crop_pct`` is resized to.

    Raises:
        RunError: If it says what `Preprocessing` cannot.
    """
    _, height, width = config["input_size"]
    crop = _square(height, width, where)
    mode = config.get("crop_mode", "center")
    if mode not in ("center", "squash"):
        raise _unsaid(f"a crop of mode {mode!r}", where)
    is_squashed = mode == "squash"
    return Preprocessing(
        crop=crop,
        resize=crop if is_squashed else math.floor(crop / config.get("crop_pct", 0.875)),
        squash=is_squashed,
        interpolation=_interpolation(config.get("interpolation", "bicubic"), where),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def from_torchvision(transform: Any, *, where: str) -> Preprocessing:
    """Of a set of weights' ``transforms()``.

    Raises:
        RunError: If it says what `Preprocessing` cannot.
    """
    try:
        (crop,), (resize,) = transform.crop_size, transform.resize_size
        interpolation = transform.interpolation.value
        mean, std = tuple(transform.mean), tuple(transform.std)
    except (AttributeError, TypeError, ValueError) as error:
        raise _unsaid(f"{transform!r}", where) from error
    return Preprocessing(
        crop=crop,
        resize=resize,
        interpolation=_interpolation(interpolation, where),
        mean=mean,
        std=std,
    )


def from_transformers(config: Mapping[str, Any], *, where: str) -> Preprocessing:
    """Of a ``preprocessor_config.json``.

    Raises:
        RunError: If it says what `Preprocessing` cannot.
    """
    resize, crop, is_squashed = _transformers_sides(config, where)
    is_normalised = config.get("do_normalize", True)
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    return Preprocessing(
        crop=crop,
        resize=resize,
        squash=is_squashed,
        interpolation=_interpolation(_FILTERS.get(config.get("resample", 2), "unknown"), where),
        mean=tuple(config.get("image_mean", IMAGENET_MEAN)) if is_normalised else (0.0,) * 3,
        std=tuple(config.get("image_std", IMAGENET_STD)) if is_normalised else (1.0,) * 3,
        input_range=(0.0, 255 * factor),
    )


def _transformers_sides(config: Mapping[str, Any], where: str) -> tuple[int, int, bool]:
    """What the shorter side is resized to, the crop, and whether both sides are."""
    if not config.get("do_resize", True):
        raise _unsaid("images that are not resized", where)
    size, cut = config.get("size"), config.get("crop_size")
    is_cropped = bool(config.get("do_center_crop", cut is not None))
    resize, is_squashed = _side(size, where)
    if "crop_pct" in config and not is_squashed:  # ConvNeXT: size is what is left after the crop
        if resize >= _SMALL:
            return resize, resize, True
        return int(resize / config["crop_pct"]), resize, False
    if not is_cropped:
        if not is_squashed:
            raise _unsaid("pictures of any shape, uncropped", where)
        return resize, resize, True
    crop, _ = _side(cut, where)
    if is_squashed and crop != resize:
        raise _unsaid(f"pictures squashed to {resize} and cropped to {crop}", where)
    return resize, crop, is_squashed


def _side(size: Any, where: str) -> tuple[int, bool]:
    """Pixels, and whether they are those of both sides."""
    if isinstance(size, int):
        return size, False
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return int(size["shortest_edge"]), False
    if isinstance(size, Mapping) and {"height", "width"} <= set(size):
        return _square(size["height"], size["width"], where), True
    raise _unsaid(f"the size {size!r}", where)


def _square(height: int, width: int, where: str) -> int:
    if height != width:
        raise _unsaid(f"pictures of {height} x {width}, which are not square", where)
    return int(height)


def _interpolation(name: str, where: str) -> str:
    if name not in INTERPOLATIONS:
        raise _unsaid(f"interpolation {name!r}", where)
    return name


def _unsaid(what: str, where: str) -> RunError:
    return RunError(
        f"{where} asks for {what}, which this package does not do; state the preprocessing that "
        "comes nearest with --preprocessing"
    )
