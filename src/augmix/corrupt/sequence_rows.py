"""The table of the perturbation sequences: 10 standard and 4 extra ones, at four presets.

Source: Hendrycks & Dietterich (2019), "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations", scripts `make_cifar_p.py`, `make_tinyimagenet_p.py`, `make_imagenet_p.py` and
`make_imagenet_p_inception.py` of `hendrycks/robustness`.
"""

import difflib
from collections.abc import Callable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any

from augmix.corrupt import frames, motions
from augmix.corrupt.draws import Draws
from augmix.corrupt.presets import PRESETS, spell_out
from augmix.corrupt.warps import Frames, Scene

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
EXTRA_4 = ("speckle_noise", "gaussian_blur", "spatter", "shear")
ALL_14 = STANDARD_10 + EXTRA_4
CIFAR_SCRIPT_10 = tuple("spatter" if name == "snow" else name for name in STANDARD_10)
"""What the published evaluation script of CIFAR-10-P averages over."""
PROTOCOLS = {
    "standard-10": STANDARD_10,
    "cifar-script-10": CIFAR_SCRIPT_10,
    "extra-4": EXTRA_4,
    "all-14": ALL_14,
}
DIFFICULTIES = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
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
        preset: One of `augmix.corrupt.presets.PRESETS`; the size decides for ``"auto"``, so that
            is none here.

    Raises:
        ValueError: If there is no such sequence or preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    return find(name).num_frames[preset]


def find(name: str) -> Sequence:
    """The row of a sequence.

    Raises:
        ValueError: If there is none; names the nearest.
    """
    if name in ROWS:
        return ROWS[name]
    near = difflib.get_close_matches(name, ROWS, n=1, cutoff=0.0)
    raise ValueError(
        f"unknown perturbation {name!r}, did you mean {near[0]!r}? There are {', '.join(ROWS)}"
    )


def available() -> tuple[str, ...]:
    """The names that `perturb` knows, the standard ten first."""
    return tuple(ROWS)


def resolve_names(names: str | SequenceOf[str]) -> tuple[str, ...]:
    """Perturbations and protocols as the perturbations they stand for, each once, in that order.

    Args:
        names: Names of `available()` and of `PROTOCOLS` in any mixture; one may stand alone.

    Raises:
        ValueError: If a name is neither, or there is none.
    """
    return spell_out(names, "perturbation", PROTOCOLS, tuple(ROWS))


def _row(
    maker: Maker,
    *,
    cifar: tuple[Any, ...],
    tiny: tuple[Any, ...],
    imagenet: tuple[Any, ...],
    imagenet_299: tuple[Any, ...] = (),
    num_frames: tuple[int, int, int] = (31, 31, 31),
) -> Sequence:
    """A row under the name of its maker; ``imagenet_299`` is ``imagenet`` if not given."""
    name = maker.__name__
    return Sequence(
        name=name,
        number=ALL_14.index(name),
        kind="noise" if "noise" in name else "temporal",
        maker=maker,
        num_frames=dict(zip(PRESETS, (*num_frames, num_frames[-1]), strict=True)),
        parameters=dict(
            zip(PRESETS, (cifar, tiny, imagenet, imagenet_299 or imagenet), strict=True)
        ),
    )


_ROWS = (
    _row(  # standard deviation, as a share of white, at difficulty 1, 2, 3
        frames.gaussian_noise,
        cifar=(0.02, 0.04, 0.06),
        tiny=(0.025, 0.05, 0.075),
        imagenet=(0.03, 0.05, 0.08),
        imagenet_299=(0.035, 0.055, 0.085),
    ),
    _row(  # photons counted at white, at difficulty 1, 2, 3
        frames.shot_noise,
        cifar=(700, 400, 200),
        tiny=(500, 250, 125),
        imagenet=(300, 120, 60),
        imagenet_299=(250, 100, 50),
    ),
    _row(  # radius and deviation of the trail in pixels, turn in degrees
        frames.motion_blur,
        cifar=(6, 1.8, 9),
        tiny=(14, 3, 5),
        imagenet=(10, 3, 4),
        imagenet_299=(13, 3, 4),
        num_frames=(21, 31, 31),
    ),
    _row(motions.zoom_blur, cifar=(0.004,), tiny=(0.004,), imagenet=(0.004,)),  # of the factor
    _row(  # mean, deviation, zoom, threshold, radius and deviation of the trail, blend
        frames.snow,
        cifar=(0.05, 0.3, 2, 0.5, 10, 2, 0.85),
        tiny=(0.05, 0.28, 2, 0.5, 10, 2.5, 0.85),
        imagenet=(0.05, 0.3, 3, 0.5, 14, 4, 0.85),
    ),
    _row(frames.brightness, cifar=(1.5,), tiny=(2,), imagenet=(2,)),  # percent of white
    _row(  # pixels to the right at first
        motions.translate,
        cifar=(-7,),
        tiny=(-15,),
        imagenet=(-20,),
        num_frames=(16, 31, 41),
    ),
    _row(motions.rotate, cifar=(1,), tiny=(1,), imagenet=(1,)),  # degrees
    _row(motions.tilt, cifar=(0.75,), tiny=(1,), imagenet=(1,)),  # degrees
    _row(  # percent of the size: at first, step
        motions.scale, cifar=(70, 2), tiny=(40, 2.5), imagenet=(40, 2.5)
    ),
    _row(  # standard deviation, as a share of the value, at difficulty 1, 2, 3
        frames.speckle_noise,
        cifar=(0.05, 0.07, 0.1),
        tiny=(0.05, 0.1, 0.15),
        imagenet=(0.05, 0.1, 0.15),
        imagenet_299=(0.06, 0.11, 0.16),
    ),
    _row(  # standard deviation in pixels at first, step; reach in deviations
        frames.gaussian_blur,
        cifar=(0.3, 0.015, 7.0),
        tiny=(0.35, 0.014, 7.0),
        imagenet=(0.25, 0.035, 6.0),
        imagenet_299=(0.35, 0.035, 6.0),
    ),
    _row(  # mean, deviation and blur of the field, threshold, strength, fall
        frames.spatter,
        cifar=(0.6, 0.265, 1.75, 0.7, 0.6, (0.2, 0.8)),
        tiny=(0.6, 0.25, 1.75, 0.7, 0.6, (0.2, 0.8)),
        imagenet=(0.65, 0.27, 3.7, 0.69, 0.6, (0.05, 0.1, 0.15, 0.7)),
        imagenet_299=(0.65, 0.3, 4, 0.69, 0.6, (0.05, 0.1, 0.15, 0.7)),
    ),
    _row(motions.shear, cifar=(1,), tiny=(1,), imagenet=(1,)),  # degrees
)
ROWS: Mapping[str, Sequence] = {row.name: row for row in _ROWS}
