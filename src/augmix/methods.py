"""One row per method: what is drawn for the pixels, and what is minimised.

A row names the policy that draws a plan, how many views it draws, whether the clean images go in
front of them, and the objective that takes the views.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from augmix.augment.policies import AugMix, Policy, Standard
from augmix.objectives import Consistency, CrossEntropy, Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A method of the literature as data.

    Attributes:
        title: Its name in the paper's tables.
        summary: What it does, in one line.
        policy: The policy with the crop, flip and, where it has them, chains of an `AugMix`.
        objective: The objective for (weight of the divergence, label smoothing).
        num_views: Views drawn for every image.
        has_clean: Whether the clean images go in front of the drawn views.
    """

    title: str
    summary: str
    policy: Callable[[AugMix], Policy]
    objective: Callable[[float, float], Objective]
    num_views: int
    has_clean: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method made ready for a run: ``objective(model, render(images, plan), targets)``.

    Attributes:
        name: Its key in `METHODS`.
        policy: Draws the plan of a batch with ``num_views`` views.
        objective: Turns views and targets into a loss.
        num_views: Views the policy draws for every image.
        has_clean: Whether `Plan.with_clean` puts the clean images in front.
    """

    name: str
    policy: Policy
    objective: Objective
    num_views: int
    has_clean: bool


def _augmix(options: AugMix) -> AugMix:
    return options


def _standard(options: AugMix) -> Standard:
    return Standard(crop_padding=options.crop_padding, flip=options.flip)


def _cross_entropy(weight: float, label_smoothing: float) -> CrossEntropy:
    return CrossEntropy(label_smoothing=label_smoothing)


def _consistency(weight: float, label_smoothing: float) -> Consistency:
    return Consistency(weight=weight, label_smoothing=label_smoothing)


METHODS: dict[str, Row] = {
    "standard": Row(
        title="Standard",
        summary="crop and mirror only; cross-entropy",
        policy=_standard,
        objective=_cross_entropy,
        num_views=1,
        has_clean=False,
    ),
    "augmix": Row(
        title="AugMix",
        summary="the clean image and two AugMix views; cross-entropy and consistency",
        policy=_augmix,
        objective=_consistency,
        num_views=2,
        has_clean=True,
    ),
    "augmix-no-jsd": Row(
        title="AugMix without JSD",
        summary="one AugMix view in place of the image; cross-entropy",
        policy=_augmix,
        objective=_cross_entropy,
        num_views=1,
        has_clean=False,
    ),
}


def build_method(
    name: str,
    *,
    policy_options: AugMix,
    jsd_weight: float = 12.0,
    label_smoothing: float = 0.0,
) -> Method:
    """Make the method of a row ready for a run.

    Args:
        name: A key of `METHODS`.
        policy_options: Crop and flip of every method, chains of the AugMix ones.
        jsd_weight: Factor of the consistency term, where there is one.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1).

    Raises:
        ValueError: If no method has that name, or a number is out of range.

    Example:
        >>> build_method("augmix", policy_options=AugMix(crop_padding=4, flip=True)).num_views
        2
    """
    if name not in METHODS:
        nearest = get_close_matches(name, METHODS, n=1, cutoff=0.3)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {name!r}{hint}")
    row = METHODS[name]
    return Method(
        name=name,
        policy=row.policy(policy_options),
        objective=row.objective(jsd_weight, label_smoothing),
        num_views=row.num_views,
        has_clean=row.has_clean,
    )
