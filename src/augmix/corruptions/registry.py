"""Registry of corruptions and perturbation sequences: names, severities, presets.

A preset names the published set whose numbers are used; the published sets differ by the size of
their images. The corruptions and the sequences both have a table a preset, and both choose it here.

A row is a name, a number and a kernel with its physical parameters. `corrupt` runs it.

Source: Hendrycks & Dietterich (2019), "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations", scripts `make_cifar_c.py`, `make_tinyimagenet_c.py`, `make_imagenet_c.py` and
`make_imagenet_c_inception.py` of `hendrycks/robustness`.

Source: Hendrycks & Dietterich (2019), "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations", scripts `make_cifar_p.py`, `make_tinyimagenet_p.py`, `make_imagenet_p.py` and
`make_imagenet_p_inception.py` of `hendrycks/robustness`.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from augmix.corruptions import blur, digital, frost, noise, sequences, weather
from augmix.corruptions.draws import Draws, Real
from augmix.corruptions.geometry import Frames, Scene
from augmix.errors import did_you_mean

PRESETS = ("cifar", "tiny", "imagenet", "imagenet-299")
SMALLEST_SIDE = 16  # pixels

_LARGEST_CIFAR = 48  # pixels of the shorter side
_LARGEST_TINY = 112


def resolve_preset(preset: str, size: tuple[int, int]) -> str:
    """The preset itself, or for ``"auto"`` the one made for images of about this size.

    Args:
        preset: ``"cifar"``, ``"tiny"``, ``"imagenet"``, ``"imagenet-299"`` or ``"auto"``.
        size: Height and width in pixels. ``"auto"`` is ``cifar`` up to 48 pixels of the shorter
            side, ``tiny`` up to 112, else ``imagenet``; never ``imagenet-299``, whose numbers are
            those of one family of networks.

    Raises:
        ValueError: If there is no such preset.
    """
    if preset == "auto":
        side = min(size)
        return (
            "cifar" if side <= _LARGEST_CIFAR else "tiny" if side <= _LARGEST_TINY else "imagenet"
        )
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of auto, {', '.join(PRESETS)}, got {preset!r}")
    return preset


def check_sides(size: tuple[int, int], what: str) -> None:
    """Refuse images smaller than anything the benchmarks were made for.

    Args:
        size: Height and width in pixels.
        what: Of the message: what is to be done to the images.

    Raises:
        ValueError: If a side is below 16 pixels.
    """
    if min(size) < SMALLEST_SIDE:
        raise ValueError(
            f"images to {what} must be at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels, got "
            f"{size[0]} x {size[1]}; enlarge them first, e.g. by the size of their source"
        )


def spell_out(
    names: str | Sequence[str],
    what: str,
    protocols: Mapping[str, tuple[str, ...]],
    known: tuple[str, ...],
) -> tuple[str, ...]:
    """Names and protocols as the names they stand for, each once, in the order given.

    Args:
        names: One, or several in any mixture.
        what: Of the message: what is named.
        protocols: The names each protocol stands for.
        known: All names.

    Raises:
        ValueError: If a name is neither, or there is none.
    """
    given = (names,) if isinstance(names, str) else tuple(names)
    choices = (*known, *protocols)
    for name in given:
        if name not in choices:
            raise ValueError(
                f"unknown {what} {name!r}{did_you_mean(str(name), choices, cutoff=0.0)} There are "
                f"{', '.join(known)}; and the lists {', '.join(protocols)}"
            )
    if not given:
        raise ValueError(f"names must be at least one {what} or list of them, got none")
    return tuple(dict.fromkeys(part for name in given for part in protocols.get(name, (name,))))


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
EXTRA_CORRUPTIONS = ALL_19[15:]
CORRUPTION_PROTOCOLS = {"paper-15": PAPER_15, "extra-4": EXTRA_CORRUPTIONS, "all-19": ALL_19}


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


def find_corruption(name: str) -> Corruption:
    """The row of a corruption.

    Raises:
        ValueError: If there is none; names the nearest.
    """
    if name in CORRUPTIONS:
        return CORRUPTIONS[name]
    raise ValueError(
        f"unknown corruption {name!r}{did_you_mean(name, CORRUPTIONS, cutoff=0.0)} There are "
        f"{', '.join(CORRUPTIONS)}"
    )


def available_corruptions() -> tuple[str, ...]:
    """The names that `corrupt` knows, in the benchmark's order."""
    return tuple(CORRUPTIONS)


def resolve_corruptions(names: str | Sequence[str]) -> tuple[str, ...]:
    """Corruptions and protocols as the corruptions they stand for, each once, in that order.

    Args:
        names: Names of `available()` and of `PROTOCOLS` in any mixture; one may stand alone.

    Raises:
        ValueError: If a name is neither, or there is none.

    Example:
        >>> resolve_names(["fog", "extra-4"])
        ('fog', 'speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
    """
    return spell_out(names, "corruption", CORRUPTION_PROTOCOLS, tuple(CORRUPTIONS))


def _each(*values: Real) -> tuple[tuple[Real, ...], ...]:
    """Five severities of a kernel with one parameter."""
    return tuple((value,) for value in values)


def _elastic(side: int, *shares: tuple[Real, ...]) -> tuple[tuple[Real, ...], ...]:
    """Pixels from shares of a side; ImageNet's is 244 by an old slip, where 224 was meant."""
    return tuple(tuple(side * share for share in severity) for severity in shares)


def _corruption(
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


_CORRUPTIONS = (
    _corruption(  # standard deviation, as a share of white
        noise.gaussian_noise,
        cifar=_each(0.04, 0.06, 0.08, 0.09, 0.10),
        tiny=_each(0.04, 0.08, 0.12, 0.15, 0.18),
        imagenet=_each(0.08, 0.12, 0.18, 0.26, 0.38),
        imagenet_299=_each(0.09, 0.13, 0.19, 0.27, 0.40),
    ),
    _corruption(  # photons counted at white
        noise.shot_noise,
        cifar=_each(500, 250, 100, 75, 50),
        tiny=_each(250, 100, 50, 30, 15),
        imagenet=_each(60, 25, 12, 5, 3),
        imagenet_299=_each(50, 20, 10, 5, 3),
    ),
    _corruption(  # share of the values that turn black or white
        noise.impulse_noise,
        cifar=_each(0.01, 0.02, 0.03, 0.05, 0.07),
        tiny=_each(0.01, 0.02, 0.05, 0.08, 0.14),
        imagenet=_each(0.03, 0.06, 0.09, 0.17, 0.27),
        imagenet_299=_each(0.04, 0.07, 0.10, 0.18, 0.28),
    ),
    _corruption(  # radius of the disk, deviation of its softening, in pixels
        blur.defocus_blur,
        cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        tiny=((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        imagenet_299=((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
    ),
    _corruption(  # deviation in pixels, reach in pixels, rounds
        blur.glass_blur,
        cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        tiny=((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        imagenet_299=((0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
    ),
    _corruption(  # radius and deviation of the trail, in pixels
        blur.motion_blur,
        cifar=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        tiny=((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        imagenet_299=((12, 4), (17, 6), (17, 9), (17, 13), (22, 16)),
    ),
    _corruption(  # factors from 1 up to the first number by steps of the second
        blur.zoom_blur,
        cifar=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        tiny=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        imagenet=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    _corruption(  # mean, deviation, zoom, threshold, radius and deviation of the trail, blend
        weather.snow,
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
    _corruption(  # share of the image, share of the texture, scale of the texture
        frost.frost,
        cifar=((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        tiny=((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
        imagenet=((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    ),
    _corruption(  # height of the cloud as a multiple of white, decay
        weather.fog,
        cifar=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        tiny=((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        imagenet_299=((1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)),
    ),
    _corruption(  # added to the value V, as a share of white
        weather.brightness,
        cifar=_each(0.05, 0.1, 0.15, 0.2, 0.3),
        tiny=_each(0.1, 0.2, 0.3, 0.4, 0.5),
        imagenet=_each(0.1, 0.2, 0.3, 0.4, 0.5),
    ),
    _corruption(  # share of the distance to the mean that stays
        digital.contrast,
        cifar=_each(0.75, 0.5, 0.4, 0.3, 0.15),
        tiny=_each(0.4, 0.3, 0.2, 0.1, 0.05),
        imagenet=_each(0.4, 0.3, 0.2, 0.1, 0.05),
    ),
    _corruption(  # distance, smoothness and jolt, in pixels
        digital.elastic_transform,
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
    _corruption(  # side of the small image, as a share
        digital.pixelate,
        cifar=_each(0.95, 0.9, 0.85, 0.75, 0.65),
        tiny=_each(0.9, 0.8, 0.7, 0.6, 0.5),
        imagenet=_each(0.6, 0.5, 0.4, 0.3, 0.25),
        imagenet_299=_each(0.5, 0.4, 0.3, 0.25, 0.2),
    ),
    _corruption(  # quality of the encoder
        digital.jpeg_compression,
        cifar=_each(80, 65, 58, 50, 40),
        tiny=_each(65, 58, 50, 40, 25),
        imagenet=_each(25, 18, 15, 10, 7),
        imagenet_299=_each(23, 16, 13, 8, 5),
    ),
    _corruption(  # standard deviation, as a share of the value
        noise.speckle_noise,
        cifar=_each(0.06, 0.1, 0.12, 0.16, 0.2),
        tiny=_each(0.15, 0.2, 0.25, 0.3, 0.35),
        imagenet=_each(0.15, 0.2, 0.35, 0.45, 0.6),
        imagenet_299=_each(0.16, 0.21, 0.36, 0.46, 0.61),
    ),
    _corruption(  # standard deviation, in pixels
        blur.gaussian_blur,
        cifar=_each(0.4, 0.6, 0.7, 0.8, 1),
        tiny=_each(0.5, 0.75, 1, 1.25, 1.5),
        imagenet=_each(1, 2, 3, 4, 6),
        imagenet_299=_each(1.5, 2.5, 3.5, 4.5, 6.5),
    ),
    _corruption(  # mean, deviation and blur of the field, threshold, strength, 1 for mud
        weather.spatter,
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
    _corruption(  # factor and shift of the saturation
        weather.saturate,
        cifar=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        tiny=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    ),
)
CORRUPTIONS: Mapping[str, Corruption] = {row.name: row for row in _CORRUPTIONS}


Maker = Callable[..., Frames]

STANDARD_10 = (
    "gaussian_noise",
    "shot_noise",
    "motion_blur",
    "zoom_blur",
    "snow",
    "brightness",
    "translate",
    "rotate",
    "tilt",
    "scale",
)
EXTRA_SEQUENCES = ("speckle_noise", "gaussian_blur", "spatter", "shear")
ALL_14 = STANDARD_10 + EXTRA_SEQUENCES
CIFAR_SCRIPT_10 = tuple("spatter" if name == "snow" else name for name in STANDARD_10)
"""What the published evaluation script of CIFAR-10-P averages over."""
SEQUENCE_PROTOCOLS = {
    "standard-10": STANDARD_10,
    "cifar-script-10": CIFAR_SCRIPT_10,
    "extra-4": EXTRA_SEQUENCES,
    "all-14": ALL_14,
}
DIFFICULTIES = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbation:
    """A row of the benchmark.

    Attributes:
        name: As in the published file and folder names.
        number: Place in `ALL_14`; part of the address of its draws.
        kind: ``"noise"`` (frames are compared with the first, clean one) or ``"temporal"``
            (with the frame before).
        maker: Called as ``maker(scene, *parameters, num_frames=n, generator=generator)``.
        num_frames: For each preset.
        parameters: For each preset, in the maker's units; for noise the strength at difficulty 1,
            2 and 3, of which the maker gets one.
    """

    name: str
    number: int
    kind: str
    maker: Maker
    num_frames: Mapping[str, int]
    parameters: Mapping[str, tuple[Any, ...]]

    def make(self, scene: Scene, preset: str, difficulty: int, generator: Draws) -> Frames:
        """The frames of one scene; the preset is a name of the table."""
        parameters = self.parameters[preset]
        if self.kind == "noise":
            parameters = (parameters[difficulty - 1],)
        return self.maker(
            scene, *parameters, num_frames=self.num_frames[preset], generator=generator
        )


def num_frames(name: str, preset: str) -> int:
    """How many frames a sequence has.

    Args:
        name: One of `available()`.
        preset: One of `PRESETS`; the size decides for ``"auto"``, so that
            is none here.

    Raises:
        ValueError: If there is no such sequence or preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    return find_sequence(name).num_frames[preset]


def find_sequence(name: str) -> Perturbation:
    """The row of a sequence.

    Raises:
        ValueError: If there is none; names the nearest.
    """
    if name in SEQUENCES:
        return SEQUENCES[name]
    raise ValueError(
        f"unknown perturbation {name!r}{did_you_mean(name, SEQUENCES, cutoff=0.0)} There are "
        f"{', '.join(SEQUENCES)}"
    )


def available_sequences() -> tuple[str, ...]:
    """The names that `perturb` knows, the standard ten first."""
    return tuple(SEQUENCES)


def resolve_sequences(names: str | SequenceOf[str]) -> tuple[str, ...]:
    """Perturbations and protocols as the perturbations they stand for, each once, in that order.

    Args:
        names: Names of `available()` and of `PROTOCOLS` in any mixture; one may stand alone.

    Raises:
        ValueError: If a name is neither, or there is none.
    """
    return spell_out(names, "perturbation", SEQUENCE_PROTOCOLS, tuple(SEQUENCES))


def _sequence(
    maker: Maker,
    *,
    cifar: tuple[Any, ...],
    tiny: tuple[Any, ...],
    imagenet: tuple[Any, ...],
    imagenet_299: tuple[Any, ...] = (),
    num_frames: tuple[int, int, int] = (31, 31, 31),
) -> Perturbation:
    """A row under the name of its maker; ``imagenet_299`` is ``imagenet`` if not given."""
    name = maker.__name__
    return Perturbation(
        name=name,
        number=ALL_14.index(name),
        kind="noise" if "noise" in name else "temporal",
        maker=maker,
        num_frames=dict(zip(PRESETS, (*num_frames, num_frames[-1]), strict=True)),
        parameters=dict(
            zip(PRESETS, (cifar, tiny, imagenet, imagenet_299 or imagenet), strict=True)
        ),
    )


_SEQUENCES = (
    _sequence(  # standard deviation, as a share of white, at difficulty 1, 2, 3
        sequences.gaussian_noise,
        cifar=(0.02, 0.04, 0.06),
        tiny=(0.025, 0.05, 0.075),
        imagenet=(0.03, 0.05, 0.08),
        imagenet_299=(0.035, 0.055, 0.085),
    ),
    _sequence(  # photons counted at white, at difficulty 1, 2, 3
        sequences.shot_noise,
        cifar=(700, 400, 200),
        tiny=(500, 250, 125),
        imagenet=(300, 120, 60),
        imagenet_299=(250, 100, 50),
    ),
    _sequence(  # radius and deviation of the trail in pixels, turn in degrees
        sequences.motion_blur,
        cifar=(6, 1.8, 9),
        tiny=(14, 3, 5),
        imagenet=(10, 3, 4),
        imagenet_299=(13, 3, 4),
        num_frames=(21, 31, 31),
    ),
    _sequence(
        sequences.zoom_blur, cifar=(0.004,), tiny=(0.004,), imagenet=(0.004,)
    ),  # of the factor
    _sequence(  # mean, deviation, zoom, threshold, radius and deviation of the trail, blend
        sequences.snow,
        cifar=(0.05, 0.3, 2, 0.5, 10, 2, 0.85),
        tiny=(0.05, 0.28, 2, 0.5, 10, 2.5, 0.85),
        imagenet=(0.05, 0.3, 3, 0.5, 14, 4, 0.85),
    ),
    _sequence(sequences.brightness, cifar=(1.5,), tiny=(2,), imagenet=(2,)),  # percent of white
    _sequence(  # pixels to the right at first
        sequences.translate,
        cifar=(-7,),
        tiny=(-15,),
        imagenet=(-20,),
        num_frames=(16, 31, 41),
    ),
    _sequence(sequences.rotate, cifar=(1,), tiny=(1,), imagenet=(1,)),  # degrees
    _sequence(sequences.tilt, cifar=(0.75,), tiny=(1,), imagenet=(1,)),  # degrees
    _sequence(  # percent of the size: at first, step
        sequences.scale, cifar=(70, 2), tiny=(40, 2.5), imagenet=(40, 2.5)
    ),
    _sequence(  # standard deviation, as a share of the value, at difficulty 1, 2, 3
        sequences.speckle_noise,
        cifar=(0.05, 0.07, 0.1),
        tiny=(0.05, 0.1, 0.15),
        imagenet=(0.05, 0.1, 0.15),
        imagenet_299=(0.06, 0.11, 0.16),
    ),
    _sequence(  # standard deviation in pixels at first, step; reach in deviations
        sequences.gaussian_blur,
        cifar=(0.3, 0.015, 7.0),
        tiny=(0.35, 0.014, 7.0),
        imagenet=(0.25, 0.035, 6.0),
        imagenet_299=(0.35, 0.035, 6.0),
    ),
    _sequence(  # mean, deviation and blur of the field, threshold, strength, fall
        sequences.spatter,
        cifar=(0.6, 0.265, 1.75, 0.7, 0.6, (0.2, 0.8)),
        tiny=(0.6, 0.25, 1.75, 0.7, 0.6, (0.2, 0.8)),
        imagenet=(0.65, 0.27, 3.7, 0.69, 0.6, (0.05, 0.1, 0.15, 0.7)),
        imagenet_299=(0.65, 0.3, 4, 0.69, 0.6, (0.05, 0.1, 0.15, 0.7)),
    ),
    _sequence(sequences.shear, cifar=(1,), tiny=(1,), imagenet=(1,)),  # degrees
)
SEQUENCES: Mapping[str, Perturbation] = {row.name: row for row in _SEQUENCES}
