"""The table of the corruption benchmark: 19 names, five severities, four presets.

A row is a name, a number and a kernel with its physical parameters. `augmix.corrupt.suite` runs it.

Source: Hendrycks & Dietterich (2019), "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations", scripts `make_cifar_c.py`, `make_tinyimagenet_c.py`, `make_imagenet_c.py` and
`make_imagenet_c_inception.py` of `hendrycks/robustness`.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from augmix.corrupt import kernels
from augmix.corrupt.draws import Real
from augmix.corrupt.presets import PRESETS, spell_out

SEVERITIES = (1, 2, 3, 4, 5)
GROUPS = {
    "gaussian_noise": "noise",
    "shot_noise": "noise",
    "impulse_noise": "noise",
    "defocus_blur": "blur",
    "glass_blur": "blur",
    "motion_blur": "blur",
    "zoom_blur": "blur",
    "snow": "weather",
    "frost": "weather",
    "fog": "weather",
    "brightness": "weather",
    "contrast": "digital",
    "elastic_transform": "digital",
    "pixelate": "digital",
    "jpeg_compression": "digital",
    "speckle_noise": "extra",
    "gaussian_blur": "extra",
    "spatter": "extra",
    "saturate": "extra",
}
ALL_19 = tuple(GROUPS)
PAPER_15 = ALL_19[:15]
EXTRA_4 = ALL_19[15:]
PROTOCOLS = {"paper-15": PAPER_15, "extra-4": EXTRA_4, "all-19": ALL_19}


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """A row of the benchmark.

    Attributes:
        name: As in the published file and folder names.
        number: Place in the benchmark's order, 0..18; part of the address of its draws.
        group: ``noise``, ``blur``, ``weather``, ``digital`` or ``extra``.
        kernel: Called as ``kernel(image, *parameters, generator=generator)``.
        parameters: For each preset five tuples, severity 1 first, in the kernel's units.
    """

    name: str
    number: int
    group: str
    kernel: Callable[..., UInt8[np.ndarray, "height width channel"]]
    parameters: Mapping[str, tuple[tuple[Real, ...], ...]]


def find(name: str) -> Corruption:
    """The row of a corruption.

    Raises:
        ValueError: If there is none; names the nearest.
    """
    if name in ROWS:
        return ROWS[name]
    near = difflib.get_close_matches(name, ROWS, n=1, cutoff=0.0)
    raise ValueError(
        f"unknown corruption {name!r}, did you mean {near[0]!r}? There are {', '.join(ROWS)}"
    )


def available() -> tuple[str, ...]:
    """The names that `corrupt` knows, in the benchmark's order."""
    return tuple(ROWS)


def resolve_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Corruptions and protocols as the corruptions they stand for, each once, in that order.

    Args:
        names: Names of `available()` and of `PROTOCOLS` in any mixture; one may stand alone.

    Raises:
        ValueError: If a name is neither, or there is none.

    Example:
        >>> resolve_names(["fog", "extra-4"])
        ('fog', 'speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
    """
    return spell_out(names, "corruption", PROTOCOLS, tuple(ROWS))


def _each(*values: Real) -> tuple[tuple[Real, ...], ...]:
    """Five severities of a kernel with one parameter."""
    return tuple((value,) for value in values)


def _elastic(side: int, *shares: tuple[Real, ...]) -> tuple[tuple[Real, ...], ...]:
    """Pixels from shares of a side; ImageNet's is 244 by an old slip, where 224 was meant."""
    return tuple(tuple(side * share for share in severity) for severity in shares)


def _row(
    kernel: Callable[..., UInt8[np.ndarray, "height width channel"]],
    *,
    cifar: tuple[tuple[Real, ...], ...],
    tiny: tuple[tuple[Real, ...], ...],
    imagenet: tuple[tuple[Real, ...], ...],
    imagenet_299: tuple[tuple[Real, ...], ...] = (),
) -> Corruption:
    """A row under the name of its kernel; ``imagenet_299`` is ``imagenet`` if not given."""
    name = kernel.__name__
    parameters = (cifar, tiny, imagenet, imagenet_299 or imagenet)
    return Corruption(
        name=name,
        number=ALL_19.index(name),
        group=GROUPS[name],
        kernel=kernel,
        parameters=dict(zip(PRESETS, parameters, strict=True)),
    )


_ROWS = (
    _row(  # standard deviation, as a share of white
        kernels.gaussian_noise,
        cifar=_each(0.04, 0.06, 0.08, 0.09, 0.10),
        tiny=_each(0.04, 0.08, 0.12, 0.15, 0.18),
        imagenet=_each(0.08, 0.12, 0.18, 0.26, 0.38),
        imagenet_299=_each(0.09, 0.13, 0.19, 0.27, 0.40),
    ),
    _row(  # photons counted at white
        kernels.shot_noise,
        cifar=_each(500, 250, 100, 75, 50),
        tiny=_each(250, 100, 50, 30, 15),
        imagenet=_each(60, 25, 12, 5, 3),
        imagenet_299=_each(50, 20, 10, 5, 3),
    ),
    _row(  # share of the values that turn black or white
        kernels.impulse_noise,
        cifar=_each(0.01, 0.02, 0.03, 0.05, 0.07),
        tiny=_each(0.01, 0.02, 0.05, 0.08, 0.14),
        imagenet=_each(0.03, 0.06, 0.09, 0.17, 0.27),
        imagenet_299=_each(0.04, 0.07, 0.10, 0.18, 0.28),
    ),
    _row(  # radius of the disk, deviation of its softening, in pixels
        kernels.defocus_blur,
        cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        tiny=((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        imagenet_299=((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
    ),
    _row(  # deviation in pixels, reach in pixels, rounds
        kernels.glass_blur,
        cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        tiny=((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        imagenet_299=((0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
    ),
    _row(  # radius and deviation of the trail, in pixels
        kernels.motion_blur,
        cifar=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        tiny=((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        imagenet_299=((12, 4), (17, 6), (17, 9), (17, 13), (22, 16)),
    ),
    _row(  # factors from 1 up to the first number by steps of the second
        kernels.zoom_blur,
        cifar=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        tiny=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        imagenet=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    _row(  # mean, deviation, zoom, threshold, radius and deviation of the trail, blend
        kernels.snow,
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
    ),
    _row(  # share of the image, share of the texture, scale of the texture
        kernels.frost,
        cifar=((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        tiny=((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
        imagenet=((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    ),
    _row(  # height of the cloud as a multiple of white, decay
        kernels.fog,
        cifar=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        tiny=((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        imagenet_299=((1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)),
    ),
    _row(  # added to the value V, as a share of white
        kernels.brightness,
        cifar=_each(0.05, 0.1, 0.15, 0.2, 0.3),
        tiny=_each(0.1, 0.2, 0.3, 0.4, 0.5),
        imagenet=_each(0.1, 0.2, 0.3, 0.4, 0.5),
    ),
    _row(  # share of the distance to the mean that stays
        kernels.contrast,
        cifar=_each(0.75, 0.5, 0.4, 0.3, 0.15),
        tiny=_each(0.4, 0.3, 0.2, 0.1, 0.05),
        imagenet=_each(0.4, 0.3, 0.2, 0.1, 0.05),
    ),
    _row(  # distance, smoothness and jolt, in pixels
        kernels.elastic_transform,
        cifar=_elastic(
            32,
            (0, 0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
        tiny=_elastic(
            64,
            (0, 0, 0.08),
            (0.05, 0.3, 0.06),
            (0.1, 0.08, 0.06),
            (0.1, 0.03, 0.03),
            (0.16, 0.03, 0.02),
        ),
        imagenet=_elastic(
            244,
            (2, 0.7, 0.1),
            (2, 0.08, 0.2),
            (0.05, 0.01, 0.02),
            (0.07, 0.01, 0.02),
            (0.12, 0.01, 0.02),
        ),
        imagenet_299=_elastic(
            360,
            (2, 0.7, 0.1),
            (2, 0.08, 0.2),
            (0.05, 0.01, 0.02),
            (0.07, 0.01, 0.02),
            (0.12, 0.01, 0.02),
        ),
    ),
    _row(  # side of the small image, as a share
        kernels.pixelate,
        cifar=_each(0.95, 0.9, 0.85, 0.75, 0.65),
        tiny=_each(0.9, 0.8, 0.7, 0.6, 0.5),
        imagenet=_each(0.6, 0.5, 0.4, 0.3, 0.25),
        imagenet_299=_each(0.5, 0.4, 0.3, 0.25, 0.2),
    ),
    _row(  # quality of the encoder
        kernels.jpeg_compression,
        cifar=_each(80, 65, 58, 50, 40),
        tiny=_each(65, 58, 50, 40, 25),
        imagenet=_each(25, 18, 15, 10, 7),
        imagenet_299=_each(23, 16, 13, 8, 5),
    ),
    _row(  # standard deviation, as a share of the value
        kernels.speckle_noise,
        cifar=_each(0.06, 0.1, 0.12, 0.16, 0.2),
        tiny=_each(0.15, 0.2, 0.25, 0.3, 0.35),
        imagenet=_each(0.15, 0.2, 0.35, 0.45, 0.6),
        imagenet_299=_each(0.16, 0.21, 0.36, 0.46, 0.61),
    ),
    _row(  # standard deviation, in pixels
        kernels.gaussian_blur,
        cifar=_each(0.4, 0.6, 0.7, 0.8, 1),
        tiny=_each(0.5, 0.75, 1, 1.25, 1.5),
        imagenet=_each(1, 2, 3, 4, 6),
        imagenet_299=_each(1.5, 2.5, 3.5, 4.5, 6.5),
    ),
    _row(  # mean, deviation and blur of the field, threshold, strength, 1 for mud
        kernels.spatter,
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
    ),
    _row(  # factor and shift of the saturation
        kernels.saturate,
        cifar=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        tiny=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    ),
)
ROWS: Mapping[str, Corruption] = {row.name: row for row in _ROWS}
