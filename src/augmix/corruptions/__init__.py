"""The published corruptions and perturbation sequences, with their parameters.

Names, order and numbers are those of Hendrycks & Dietterich (2019), "Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations": the scripts `make_cifar_c.py`,
`make_tinyimagenet_c.py`, `make_imagenet_c.py`, `make_imagenet_c_inception.py`, and their
counterparts ``*_p.py``, of `hendrycks/robustness`. A preset names the set whose numbers are used;
the sets differ in the size of their images.

The corruptions of C-bar are those of Mintun et al. (2021), in the files `cifar10_c_bar.csv` and
`imagenet_c_bar.csv` of `facebookresearch/augmentation-corruption`.
"""

import math
from collections.abc import Callable
from typing import Any

from augmix.corruptions import (
    blur,
    cbar,
    cbar_warps,
    digital,
    noise,
    sequences,
    weather,
)
from augmix.corruptions.registry import (
    BAR,
    CORRUPTIONS,
    NOT_NEGATIVE,
    PRESETS,
    SEQUENCES,
    Corruption,
    Perturbation,
    Real,
)

# The position of a name is its number, the address of its draws: append new ones at the end.
_GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
    BAR: (
        *("blue_noise_sample", "brownish_noise", "checkerboard_cutout", "inverse_sparkles"),
        *("sparkles", "circular_motion_blur", "lines", "pinch_and_twirl", "ripple"),
        *("transverse_chromatic_abberation", "caustic_refraction", "cocentric_sine_waves"),
        *("perlin_noise", "plasma_noise", "single_frequency_greyscale"),
    ),
}
_SEQUENCE_GROUPS = {
    "standard": (
        *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "snow", "brightness"),
        *("translate", "rotate", "tilt", "scale"),
    ),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "shear"),
}

EXTRA_4 = _GROUPS["extra"]
PAPER_15 = tuple(
    name for group in ("noise", "blur", "weather", "digital") for name in _GROUPS[group]
)
CIFAR_BAR = _GROUPS[BAR][:10]
IMAGENET_BAR = (*_GROUPS[BAR][:5], *_GROUPS[BAR][10:])
STANDARD_10 = _SEQUENCE_GROUPS["standard"]
# The evaluation script of CIFAR-10-P averages over spatter in place of snow.
CIFAR_SCRIPT_10 = tuple("spatter" if name == "snow" else name for name in STANDARD_10)

CORRUPTIONS.protocols |= {
    "paper-15": PAPER_15,
    "extra-4": EXTRA_4,
    "cifar-bar": CIFAR_BAR,
    "imagenet-bar": IMAGENET_BAR,
}
CORRUPTIONS.aliases["blue_noise"] = "blue_noise_sample"  # of files of other projects
SEQUENCES.protocols |= {
    "standard-10": STANDARD_10,
    "cifar-script-10": CIFAR_SCRIPT_10,
    "extra-4": _SEQUENCE_GROUPS["extra"],
}


def _corruption(
    function: Callable[..., Any],
    *,
    origin: tuple[Real | None, ...],
    limits: tuple[tuple[Real, Real], ...],
    takes_batches: bool = True,
    **table: tuple[Any, ...],
) -> None:
    """Add a corruption under the name of its function; each preset has severity 1 to 5."""
    parameters = {
        preset: tuple(each if isinstance(each, tuple) else (each,) for each in severities)
        for preset, severities in _by_preset(**table).items()
    }
    position = _position(function.__name__, _GROUPS)
    facts = {"parameters": parameters, "origin": origin, "limits": limits}
    facts["takes_batches"] = takes_batches
    CORRUPTIONS.add(Corruption(**position, function=function, **facts))


def _sequence(
    function: Callable[..., Any],
    *,
    num_frames: tuple[int, int, int] = (31, 31, 31),
    **table: tuple[Any, ...],
) -> None:
    """Add a sequence under the name of its function."""
    SEQUENCES.add(
        Perturbation(
            **_position(function.__name__, _SEQUENCE_GROUPS),
            function=function,
            parameters=_by_preset(**table),
            num_frames=_by_preset(*num_frames),
            is_noise="noise" in function.__name__,
        )
    )


def _by_preset(cifar: Any, tiny: Any, imagenet: Any, imagenet_299: Any = None) -> dict[str, Any]:
    """A table by preset; ImageNet's serves the network of 299 pixels where it has no own."""
    return dict(zip(PRESETS, (cifar, tiny, imagenet, imagenet_299 or imagenet), strict=True))


def _position(name: str, groups: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    order = [each for names in groups.values() for each in names]
    group = next(group for group, names in groups.items() if name in names)
    return {"name": name, "number": order.index(name), "group": group}


def _elastic(
    size: int, distance: tuple[Real, ...], smoothness: tuple[Real, ...], jolt: tuple[Real, ...]
) -> tuple[tuple[Real, ...], ...]:
    """Pixels from fractions of a size; ImageNet's is 244 by a slip in the script, for 224."""
    severities = zip(distance, smoothness, jolt, strict=True)
    return tuple(tuple(size * part for part in severity) for severity in severities)


# At the origin an image stays as it is, or nearly so: `Corruption.origin`.
_FRACTION, _POSITIVE = (0, 1), (0.01, math.inf)
_corruption(  # standard deviation, as a fraction of white
    noise.gaussian_noise,
    origin=(0,),
    limits=(NOT_NEGATIVE,),
    cifar=(0.04, 0.06, 0.08, 0.09, 0.10),
    tiny=(0.04, 0.08, 0.12, 0.15, 0.18),
    imagenet=(0.08, 0.12, 0.18, 0.26, 0.38),
    imagenet_299=(0.09, 0.13, 0.19, 0.27, 0.40),
)
_corruption(  # photons counted at white
    noise.shot_noise,
    origin=(2000,),
    limits=((0.1, 10_000),),
    cifar=(500, 250, 100, 75, 50),
    tiny=(250, 100, 50, 30, 15),
    imagenet=(60, 25, 12, 5, 3),
    imagenet_299=(50, 20, 10, 5, 3),
)
_corruption(  # fraction of the values that turn black or white
    noise.impulse_noise,
    origin=(0,),
    limits=(_FRACTION,),
    cifar=(0.01, 0.02, 0.03, 0.05, 0.07),
    tiny=(0.01, 0.02, 0.05, 0.08, 0.14),
    imagenet=(0.03, 0.06, 0.09, 0.17, 0.27),
    imagenet_299=(0.04, 0.07, 0.10, 0.18, 0.28),
)
_corruption(  # radius of the disk and std of its softening, in pixels
    blur.defocus_blur,
    origin=(0, 0.1),
    limits=(NOT_NEGATIVE, _POSITIVE),
    cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    tiny=((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    imagenet_299=((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
)
_corruption(  # std in pixels, reach in pixels, rounds
    blur.glass_blur,
    origin=(0, None, 0),
    limits=(NOT_NEGATIVE, (1, 100), (0, 100)),
    cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    tiny=((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    imagenet_299=((0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
)
_corruption(  # radius and std of the trail, in pixels
    blur.motion_blur,
    origin=(None, 0.1),
    limits=(_POSITIVE, _POSITIVE),
    cifar=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    tiny=((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    imagenet_299=((12, 4), (17, 6), (17, 9), (17, 13), (22, 16)),
)
_corruption(  # factors from 1 up to the first number by steps of the second
    blur.zoom_blur,
    origin=(1.001, None),
    limits=((1.001, 4), (0.001, 1)),
    cifar=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    tiny=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    imagenet=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
)
_corruption(  # mean, std, zoom, threshold, radius and std of the trail, blend
    weather.snow,
    origin=(None, None, None, 1, None, None, 1),
    limits=((-1, 2), NOT_NEGATIVE, (1, 100), (-1, 2), _POSITIVE, _POSITIVE, _FRACTION),
    cifar=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    tiny=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    imagenet=(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
)
_corruption(  # weight of the image, weight of the texture, scale of the texture
    weather.frost,
    origin=(1, 0, None),
    limits=(NOT_NEGATIVE, NOT_NEGATIVE, (0.05, 4)),
    cifar=((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    tiny=((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
    imagenet=((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
)
_corruption(  # height of the cloud as a multiple of white, decay
    weather.fog,
    origin=(0.001, None),
    limits=((0.001, math.inf), (1, 10)),
    cifar=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    tiny=((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    imagenet_299=((1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)),
)
_corruption(  # added to the value V, as a fraction of white
    weather.brightness,
    origin=(0,),
    limits=((-1, 1),),
    cifar=(0.05, 0.1, 0.15, 0.2, 0.3),
    tiny=(0.1, 0.2, 0.3, 0.4, 0.5),
    imagenet=(0.1, 0.2, 0.3, 0.4, 0.5),
)
_corruption(  # fraction of the distance to the mean that is kept
    digital.contrast,
    origin=(1,),
    limits=(_FRACTION,),
    cifar=(0.75, 0.5, 0.4, 0.3, 0.15),
    tiny=(0.4, 0.3, 0.2, 0.1, 0.05),
    imagenet=(0.4, 0.3, 0.2, 0.1, 0.05),
)
_ELASTIC = ((2, 2, 0.05, 0.07, 0.12), (0.7, 0.08, 0.01, 0.01, 0.01), (0.1, 0.2, 0.02, 0.02, 0.02))
_corruption(  # distance, smoothness and jolt, in pixels
    digital.elastic_transform,
    origin=(0, None, 0),
    limits=(NOT_NEGATIVE, NOT_NEGATIVE, NOT_NEGATIVE),
    cifar=_elastic(
        32, (0, 0.05, 0.08, 0.1, 0.1), (0, 0.2, 0.06, 0.04, 0.03), (0.08, 0.07, 0.06, 0.05, 0.03)
    ),
    tiny=_elastic(
        64, (0, 0.05, 0.1, 0.1, 0.16), (0, 0.3, 0.08, 0.03, 0.03), (0.08, 0.06, 0.06, 0.03, 0.02)
    ),
    imagenet=_elastic(244, *_ELASTIC),
    imagenet_299=_elastic(360, *_ELASTIC),
)
_corruption(  # size of the small image, as a fraction
    digital.pixelate,
    origin=(1,),
    limits=((0.001, 1),),
    cifar=(0.95, 0.9, 0.85, 0.75, 0.65),
    tiny=(0.9, 0.8, 0.7, 0.6, 0.5),
    imagenet=(0.6, 0.5, 0.4, 0.3, 0.25),
    imagenet_299=(0.5, 0.4, 0.3, 0.25, 0.2),
)
_corruption(  # quality
    digital.jpeg_compression,
    origin=(95,),
    limits=((1, 95),),
    cifar=(80, 65, 58, 50, 40),
    tiny=(65, 58, 50, 40, 25),
    imagenet=(25, 18, 15, 10, 7),
    imagenet_299=(23, 16, 13, 8, 5),
)
_corruption(  # standard deviation, as a fraction of the value
    noise.speckle_noise,
    origin=(0,),
    limits=(NOT_NEGATIVE,),
    cifar=(0.06, 0.1, 0.12, 0.16, 0.2),
    tiny=(0.15, 0.2, 0.25, 0.3, 0.35),
    imagenet=(0.15, 0.2, 0.35, 0.45, 0.6),
    imagenet_299=(0.16, 0.21, 0.36, 0.46, 0.61),
)
_corruption(  # standard deviation, in pixels
    blur.gaussian_blur,
    origin=(0,),
    limits=(NOT_NEGATIVE,),
    cifar=(0.4, 0.6, 0.7, 0.8, 1),
    tiny=(0.5, 0.75, 1, 1.25, 1.5),
    imagenet=(1, 2, 3, 4, 6),
    imagenet_299=(1.5, 2.5, 3.5, 4.5, 6.5),
)
_corruption(  # mean, std and blur of the field, threshold, strength, 1 for mud
    weather.spatter,
    takes_batches=False,
    origin=(None, None, None, 1, None, None),
    limits=((-1, 2), NOT_NEGATIVE, NOT_NEGATIVE, (-1, 2), NOT_NEGATIVE, (0, 1)),
    cifar=(
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    tiny=(
        (0.62, 0.1, 0.7, 0.7, 0.6, 0),
        (0.65, 0.1, 0.8, 0.7, 0.6, 0),
        (0.65, 0.3, 1, 0.69, 0.6, 0),
        (0.65, 0.1, 0.7, 0.68, 0.6, 1),
        (0.65, 0.1, 0.5, 0.67, 0.6, 1),
    ),
    imagenet=(
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    imagenet_299=(
        (0.65, 0.3, 4, 0.69, 0.9, 0),
        (0.65, 0.3, 3.5, 0.68, 0.9, 0),
        (0.65, 0.3, 3, 0.68, 0.8, 0),
        (0.65, 0.3, 1.2, 0.65, 1.8, 1),
        (0.67, 0.4, 1.2, 0.65, 1.8, 1),
    ),
)
_corruption(  # factor and shift of the saturation
    weather.saturate,
    origin=(1, 0),
    limits=(NOT_NEGATIVE, (-1, 1)),
    cifar=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    tiny=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
)


def _bar(
    function: Callable[..., Any], *, largest: Real = math.inf, **table: tuple[Real, ...]
) -> None:
    """Add a corruption of C-bar, by the published amounts for CIFAR, ImageNet, or both.

    A preset without amounts has those of the other set. Tiny-ImageNet's images are ImageNet's.
    """
    cifar, imagenet = (table.get(name) or next(iter(table.values())) for name in _BAR_SETS)
    table = {"cifar": cifar, "tiny": imagenet, "imagenet": imagenet}
    limits = ((0, largest),)
    _corruption(function, origin=(0,), limits=limits, takes_batches=False, **table)


_BAR_SETS = ("cifar", "imagenet")
_bar(
    cbar.blue_noise_sample,
    cifar=(0.7, 1.4, 2.1, 3.5, 4.2),
    imagenet=(0.8, 1.6, 2.4, 4.0, 5.6),
)
_bar(cbar.brownish_noise, cifar=(2.5, 4.0, 5.5, 6.5, 7.0), imagenet=(1, 2, 3, 4, 5))
_bar(cbar.checkerboard_cutout, largest=10, cifar=(1, 2, 3, 4, 5), imagenet=(2, 3, 4, 5, 6))
_bar(cbar.inverse_sparkles, cifar=(1.0, 1.5, 2.5, 4.5, 5.0), imagenet=(1, 2, 4, 9, 10))
_bar(cbar.sparkles, cifar=(0.7, 3.5, 5.6, 6.3, 7.0), imagenet=(1, 2, 3, 5, 6))
_bar(cbar_warps.circular_motion_blur, cifar=(2.8, 3.6, 4.4, 5.2, 6.0))
_bar(cbar.lines, cifar=(0.5, 1.0, 1.5, 2.0, 2.5))
_bar(cbar_warps.pinch_and_twirl, cifar=(5.5, 6.0, 6.5, 8.5, 10))
_bar(cbar_warps.ripple, cifar=(5.5, 6.0, 6.5, 7.5, 8.0))
_bar(cbar_warps.transverse_chromatic_abberation, cifar=(1, 2, 5, 9, 10))
_bar(cbar_warps.caustic_refraction, imagenet=(2.35, 3.2, 4.9, 6.6, 9.15))
_bar(cbar.cocentric_sine_waves, imagenet=(3, 5, 8, 9, 10))
_bar(cbar.perlin_noise, largest=20, imagenet=(4.6, 5.2, 5.8, 7.6, 8.8))
_bar(cbar.plasma_noise, largest=40, imagenet=(4.75, 7.0, 8.5, 9.25, 10))
_bar(cbar.single_frequency_greyscale, imagenet=(1.0, 1.5, 2.0, 4.5, 5.0))

_sequence(  # standard deviation as a fraction of white, at difficulty 1, 2, 3
    sequences.gaussian_noise,
    cifar=(0.02, 0.04, 0.06),
    tiny=(0.025, 0.05, 0.075),
    imagenet=(0.03, 0.05, 0.08),
    imagenet_299=(0.035, 0.055, 0.085),
)
_sequence(  # photons counted at white, at difficulty 1, 2, 3
    sequences.shot_noise,
    cifar=(700, 400, 200),
    tiny=(500, 250, 125),
    imagenet=(300, 120, 60),
    imagenet_299=(250, 100, 50),
)
_sequence(  # radius and std of the trail in pixels, turn in degrees
    sequences.motion_blur,
    cifar=(6, 1.8, 9),
    tiny=(14, 3, 5),
    imagenet=(10, 3, 4),
    imagenet_299=(13, 3, 4),
    num_frames=(21, 31, 31),
)
_sequence(  # added to the factor from frame to frame
    sequences.zoom_blur, cifar=(0.004,), tiny=(0.004,), imagenet=(0.004,)
)
_sequence(  # mean, std, zoom, threshold, radius and std of the trail, blend
    sequences.snow,
    cifar=(0.05, 0.3, 2, 0.5, 10, 2, 0.85),
    tiny=(0.05, 0.28, 2, 0.5, 10, 2.5, 0.85),
    imagenet=(0.05, 0.3, 3, 0.5, 14, 4, 0.85),
)
_sequence(sequences.brightness, cifar=(1.5,), tiny=(2,), imagenet=(2,))  # step, percent of white
_sequence(  # first shift to the right, in pixels
    sequences.translate, cifar=(-7,), tiny=(-15,), imagenet=(-20,), num_frames=(16, 31, 41)
)
_sequence(sequences.rotate, cifar=(1,), tiny=(1,), imagenet=(1,))  # step, degrees
_sequence(sequences.tilt, cifar=(0.75,), tiny=(1,), imagenet=(1,))  # step, degrees
_sequence(  # first size and its step, in percent
    sequences.scale, cifar=(70, 2), tiny=(40, 2.5), imagenet=(40, 2.5)
)
_sequence(  # standard deviation as a fraction of the value, at difficulty 1, 2, 3
    sequences.speckle_noise,
    cifar=(0.05, 0.07, 0.1),
    tiny=(0.05, 0.1, 0.15),
    imagenet=(0.05, 0.1, 0.15),
    imagenet_299=(0.06, 0.11, 0.16),
)
_sequence(  # first standard deviation and its step in pixels, reach in stds
    sequences.gaussian_blur,
    cifar=(0.3, 0.015, 7.0),
    tiny=(0.35, 0.014, 7.0),
    imagenet=(0.25, 0.035, 6.0),
    imagenet_299=(0.35, 0.035, 6.0),
)
_sequence(  # mean, std and blur of the field, threshold, strength, fall
    sequences.spatter,
    cifar=(0.6, 0.265, 1.75, 0.7, 0.6, (0.2, 0.8)),
    tiny=(0.6, 0.25, 1.75, 0.7, 0.6, (0.2, 0.8)),
    imagenet=(0.65, 0.27, 3.7, 0.69, 0.6, (0.05, 0.1, 0.15, 0.7)),
    imagenet_299=(0.65, 0.3, 4, 0.69, 0.6, (0.05, 0.1, 0.15, 0.7)),
)
_sequence(sequences.shear, cifar=(1,), tiny=(1,), imagenet=(1,))  # step, degrees
