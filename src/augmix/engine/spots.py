"""What is measured: the spots of an evaluation in order, and the images they are measured on."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from augmix.corrupt import sequences as perturbations
from augmix.corrupt import suite as corruptions
from augmix.records import RunError
from augmix.streams import Purpose, Stream

SUITES = ("clean", "c", "p", "attack")
CLEAN = ("clean", "clean", 0)
_MEASURED_PART = 2  # of Purpose.SPLIT; data.sources has 0 and 1

Spot = tuple[str, str, int]  # suite, name, severity; 0 but for corruptions
Ids = Int64[np.ndarray, " image"]


def list_spots(
    suite: Sequence[str],
    names: Sequence[str],
    severities: Sequence[int],
    sequences: Sequence[str] = (),
    attack_norm: str = "linf",
) -> tuple[Spot, ...]:
    """What is measured, in order: (suite, name, severity).

    Args:
        suite: Of `SUITES`.
        names: Corruptions of ``c``, or lists of them such as ``paper-15``.
        severities: Of the corruptions, 1..5.
        sequences: Perturbations of ``p``, or lists of them such as ``standard-10``.
        attack_norm: Of ``attack``; the attack's name.

    Raises:
        ValueError: If a suite, a name or a severity is unknown, or nothing is asked for.
    """
    for part in suite:
        if part not in SUITES:
            raise ValueError(f"suite must be of {SUITES}, got {part!r}")
    spots: list[Spot] = [CLEAN] if "clean" in suite else []
    if "c" in suite:
        for severity in severities:
            if severity not in corruptions.SEVERITIES:
                raise ValueError(f"severity must be 1..5, got {severity}")
        named = corruptions.resolve_names(names)
        spots += [("c", name, severity) for name in named for severity in severities]
    if "p" in suite:
        spots += [("p", name, 0) for name in perturbations.resolve_names(sequences)]
    if "attack" in suite:
        spots.append(("attack", attack_norm, 0))
    if not spots:
        raise ValueError("nothing to measure: name a suite, and for 'c' at least one severity")
    return tuple(dict.fromkeys(spots))


def choose_images(
    num_images: int, *, max_images: int = 0, num_held: int = 0, seed: int
) -> tuple[Int64[np.ndarray, " image"], Int64[np.ndarray, " held"]]:
    """Ids of the images that are measured, and of those held out for the temperature, in order.

    Both are fixed random parts. Fewer measured images are a part of more, and the same whether or
    not others are held out, as long as they need not be.

    Args:
        num_images: Of the source.
        max_images: Measured at most; 0 takes all that are not held out.
        num_held: Held out.
        seed: Of the choice.

    Raises:
        ValueError: If a number is negative, or more are held out than can be.
        RunError: If there is no image.
    """
    if num_images == 0:
        raise RunError("the source holds no image")
    if max_images < 0:
        raise ValueError(f"max_images must be at least 0, got {max_images}")
    if not 0 <= num_held < num_images:
        raise ValueError(
            f"temperature_images must be at least 0 and leave some of the source's {num_images} "
            f"images to measure, got {num_held}"
        )
    num_rest = num_images - num_held
    num_measured = min(max_images or num_rest, num_rest)
    if num_measured == num_images:
        return np.arange(num_images), np.empty(0, np.int64)
    order = Stream(seed=seed, purpose=Purpose.SPLIT, part=_MEASURED_PART).permutation(num_images)
    return np.sort(order[:num_measured]), np.sort(order[num_rest:])
