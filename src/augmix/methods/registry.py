"""One row per method: what is drawn for the pixels, what is minimised, on which network and images.

A row names the policy that draws a plan, what is laid over it, how many views it draws, whether the
clean images go in front of them, and the objective that takes the views. Cutout, Mixup and CutMix
can be laid over every method that they go together with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from augmix.augment.policies import (
    AugMix,
    AutoAugment,
    CutMix,
    Cutout,
    Mixup,
    PatchUniform,
    Policy,
    RandomAA,
    RandomStart,
    Standard,
)
from augmix.errors import did_you_mean
from augmix.methods.attacks import Attack
from augmix.methods.losses import Adversarial, Consistency, CrossEntropy, Objective

_LARGE = (
    64  # px; the settings published for ImageNet hold above this side, those for CIFAR up to it
)
_MANY_CLASSES = 10  # above, the holes of Cutout are those of CIFAR-100


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run chooses besides crops, flips and chains; -1 or 0 leaves it to the method.

    Attributes:
        jsd_weight: Factor of the consistency term, where there is one.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1).
        cutout_side: Side of the hole in every drawn view, px; 0 none, -1 what the method has.
        cutout_fill: Level in the hole: the mean that the model subtracts.
        mixup_alpha: Concentration of Mixup's share; 0 no Mixup, -1 what the method has.
        cutmix_probability: Share of the batches that are cut; 0 none, -1 what the method has.
        cutmix_alpha: Concentration of CutMix's share, above 0.
        pairs_per_image: Whether pairs draw for every image instead of once a batch.
        autoaugment_table: The policy of AutoAugment; ``auto`` goes by image size.
        autoaugment_full: Whether operations that overlap with the test corruptions are kept.
        patch_side: Side of the noise of Patch Uniform, px; 0 is the usual.
        patch_random_side: Whether that side is the largest of those drawn.
        patch_amplitude: Largest noise of Patch Uniform, in [0, 1] units.
        attack: What adversarial training defends against.
        size: Height and width of the images, px.
        num_classes: Classes of the images.
    """

    jsd_weight: float = 12.0
    label_smoothing: float = 0.0
    cutout_side: int = -1
    cutout_fill: tuple[float, ...] = (0.5,)
    mixup_alpha: float = -1.0
    cutmix_probability: float = -1.0
    cutmix_alpha: float = 1.0
    pairs_per_image: bool = False
    autoaugment_table: Literal["auto", "cifar10", "imagenet"] = "auto"
    autoaugment_full: bool = False
    patch_side: int = 0
    patch_random_side: bool = False
    patch_amplitude: float = 1.0
    attack: Attack = field(default_factory=Attack)
    size: tuple[int, int] = (32, 32)
    num_classes: int = 10

    def __post_init__(self) -> None:
        for name in ("cutout_side", "mixup_alpha", "cutmix_probability"):
            value = getattr(self, name)
            if value < 0 and value != -1:
                raise ValueError(f"{name} must be at least 0, or -1 for the method's, got {value}")
        if self.patch_side < 0:
            raise ValueError(f"patch_side must be at least 0 pixels, got {self.patch_side}")

    @property
    def is_large(self) -> bool:
        """Whether images are of a size like ImageNet's."""
        return min(self.size) > _LARGE


Layer = Literal["cutout", "mixup", "cutmix"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A method of the literature as data.

    Attributes:
        title: Its name in the paper's tables.
        summary: What it does, in one line.
        source: Where it was published.
        policy: The policy with the crop, flip and, where it has them, chains of an `AugMix`.
        objective: What is minimised.
        num_views: Views drawn for every image.
        has_clean: Whether the clean images go in front of the drawn views.
        lays: What the method itself lays over its policy.
        is_blurred: Whether it trains the blur-pooled form of the network.
        needs_stylised: Whether it trains on a stylised set too.
        recipe: Settings of the recipe that the method has its own numbers for.
    """

    title: str
    summary: str
    source: str
    policy: Callable[[AugMix, Options], Policy]
    objective: Callable[[Options], Objective]
    num_views: int = 1
    has_clean: bool = False
    lays: tuple[Layer, ...] = ()
    is_blurred: bool = False
    needs_stylised: bool = False
    recipe: Mapping[str, float] = field(default_factory=dict)


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


def _augmix(chains: AugMix, options: Options) -> AugMix:
    return chains


def _standard(chains: AugMix, options: Options) -> Standard:
    return Standard(crop_padding=chains.crop_padding, flip=chains.flip)


def _random_aa(chains: AugMix, options: Options) -> RandomAA:
    return RandomAA(
        severity=chains.severity,
        depth=chains.depth,
        ops=chains.ops,
        crop_padding=chains.crop_padding,
        flip=chains.flip,
    )


def _autoaugment(chains: AugMix, options: Options) -> AutoAugment:
    table = options.autoaugment_table
    if table == "auto":
        table = "imagenet" if options.is_large else "cifar10"
    return AutoAugment(
        table=table,
        full=options.autoaugment_full,
        crop_padding=chains.crop_padding,
        flip=chains.flip,
    )


def _patch_uniform(chains: AugMix, options: Options) -> PatchUniform:
    """The sides published for Patch Gaussian: 25 of 32 pixels, or any up to 250 of 224."""
    side, is_random = options.patch_side, options.patch_random_side
    if not side:
        share = 250 / 224 if options.is_large else 25 / 32
        side, is_random = max(round(share * min(options.size)), 1), is_random or options.is_large
    return PatchUniform(
        size_px=side,
        random_size=is_random,
        amplitude=options.patch_amplitude,
        base=_standard(chains, options),
    )


def _random_start(chains: AugMix, options: Options) -> RandomStart:
    return RandomStart(epsilon=options.attack.radius, base=_standard(chains, options))


def _cross_entropy(options: Options) -> CrossEntropy:
    return CrossEntropy(label_smoothing=options.label_smoothing)


def _consistency(options: Options) -> Consistency:
    return Consistency(weight=options.jsd_weight, label_smoothing=options.label_smoothing)


def _adversarial(options: Options) -> Adversarial:
    return Adversarial(attack=options.attack, label_smoothing=options.label_smoothing)


_ALONE: dict[str, Any] = {"policy": _standard, "objective": _cross_entropy}
_JSD: dict[str, Any] = {"objective": _consistency, "num_views": 2, "has_clean": True}

METHODS: dict[str, Row] = {
    "standard": Row(
        title="Standard",
        summary="crop and mirror only; cross-entropy",
        source="the baseline of Hendrycks et al. (2020)",
        **_ALONE,
    ),
    "cutout": Row(
        title="Cutout",
        summary="a square of every image covered with the mean; cross-entropy",
        source="DeVries and Taylor (2017)",
        lays=("cutout",),
        **_ALONE,
    ),
    "mixup": Row(
        title="Mixup",
        summary="images and targets blended in pairs; cross-entropy",
        source="Zhang et al. (2018)",
        lays=("mixup",),
        recipe=MappingProxyType({"weight_decay": 1e-4}),
        **_ALONE,
    ),
    "cutmix": Row(
        title="CutMix",
        summary="a box of every image from another, targets by area; cross-entropy",
        source="Yun et al. (2019)",
        lays=("cutmix",),
        **_ALONE,
    ),
    "autoaugment": Row(
        title="AutoAugment*",
        summary="a published sub-policy in place of the image; cross-entropy",
        source="Cubuk et al. (2019)",
        policy=_autoaugment,
        objective=_cross_entropy,
    ),
    "random-aa": Row(
        title="Random AutoAugment*",
        summary="one random chain in place of the image; cross-entropy",
        source="an ablation of Hendrycks et al. (2020)",
        policy=_random_aa,
        objective=_cross_entropy,
    ),
    "random-aa-jsd": Row(
        title="Random AutoAugment* + JSD",
        summary="the clean image and two random chains; cross-entropy and consistency",
        source="an ablation of Hendrycks et al. (2020)",
        policy=_random_aa,
        **_JSD,
    ),
    "patch-uniform": Row(
        title="Patch Uniform",
        summary="uniform noise in a square of every image; cross-entropy",
        source="Lopes et al. (2019), with uniform noise as in Hendrycks et al. (2020)",
        policy=_patch_uniform,
        objective=_cross_entropy,
    ),
    "adversarial": Row(
        title="Adv Training",
        summary="images attacked by the model's own gradient; cross-entropy",
        source="Madry et al. (2018)",
        policy=_random_start,
        objective=_adversarial,
        has_clean=True,
    ),
    "maxblur": Row(
        title="MaxBlur pool",
        summary="the network's maps halved behind a blur; crop and mirror; cross-entropy",
        source="Zhang (2019)",
        is_blurred=True,
        **_ALONE,
    ),
    "sin": Row(
        title="SIN",
        summary="images and their stylised copies; crop and mirror; cross-entropy",
        source="Geirhos et al. (2019)",
        needs_stylised=True,
        **_ALONE,
    ),
    "augmix": Row(
        title="AugMix",
        summary="the clean image and two AugMix views; cross-entropy and consistency",
        source="Hendrycks et al. (2020)",
        policy=_augmix,
        **_JSD,
    ),
    "augmix-no-jsd": Row(
        title="AugMix without JSD",
        summary="one AugMix view in place of the image; cross-entropy",
        source="an ablation of Hendrycks et al. (2020)",
        policy=_augmix,
        objective=_cross_entropy,
    ),
    "augmix-sin": Row(
        title="AugMix + SIN",
        summary="AugMix on images and their stylised copies; cross-entropy and consistency",
        source="Hendrycks et al. (2020), Geirhos et al. (2019)",
        policy=_augmix,
        needs_stylised=True,
        **_JSD,
    ),
}


def find_row(name: str) -> Row:
    """The row of a method.

    Raises:
        ValueError: If no method has that name; the message suggests the nearest.
    """
    if name not in METHODS:
        hint = did_you_mean(name, METHODS)
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {name!r}{hint}")
    return METHODS[name]


def build_method(name: str, *, policy_options: AugMix, options: Options | None = None) -> Method:
    """Make the method of a row ready for a run.

    Args:
        name: A key of `METHODS`.
        policy_options: Crop and flip of every method, chains of those that draw them.
        options: Everything else.

    Raises:
        ValueError: If no method has that name, a number is out of range, or things do not go
            together.

    Example:
        >>> build_method("augmix", policy_options=AugMix(crop_padding=4, flip=True)).num_views
        2
    """
    row, options = find_row(name), options or Options()
    return Method(
        name=name,
        policy=_lay(name, row, row.policy(policy_options, options), options),
        objective=row.objective(options),
        num_views=row.num_views,
        has_clean=row.has_clean,
    )


def _lay(name: str, row: Row, policy: Policy, options: Options) -> Policy:
    """Lay the method's own holes and pairs, and those that were asked for, over its policy."""
    side = _own(options.cutout_side, "cutout" in row.lays, _usual_hole(options))
    alpha = _own(options.mixup_alpha, "mixup" in row.lays, 1.0)
    probability = _own(
        options.cutmix_probability, "cutmix" in row.lays, 1.0 if options.is_large else 0.5
    )
    for layer, setting, value in (
        ("cutout", "cutout_side", side),
        ("mixup", "mixup_alpha", alpha),
        ("cutmix", "cutmix_probability", probability),
    ):
        if layer in row.lays and not value:
            raise ValueError(
                f"method {name!r} is nothing without {setting}, got 0; take method 'standard'"
            )
    if side and isinstance(policy, RandomStart):
        raise ValueError(
            f"method {name!r} cannot have holes (cutout_side {int(side)}): the attack starts at "
            "the very image it is bound to"
        )
    if alpha and probability:
        raise ValueError(
            f"an image is paired once: mixup_alpha {alpha:g} and cutmix_probability "
            f"{probability:g} do not go together; set one of them to 0"
        )
    if side:
        policy = Cutout(size_px=int(side), fill=options.cutout_fill, base=policy)
    if alpha:
        policy = Mixup(alpha=alpha, per_image=options.pairs_per_image, base=policy)
    if probability:
        policy = CutMix(
            alpha=options.cutmix_alpha,
            probability=probability,
            per_image=options.pairs_per_image,
            base=policy,
        )
    return policy


def _own(asked: int | float, is_own: bool, usual: int | float) -> int | float:
    """What was asked for; else the usual where the method has it, and nothing where not."""
    if asked >= 0:
        return asked
    return usual if is_own else 0


def _usual_hole(options: Options) -> int:
    """Half the image, a quarter of it for many classes: 16 px on CIFAR-10, 8 on CIFAR-100."""
    share = 4 if options.num_classes > _MANY_CLASSES else 2
    return max(min(options.size) // share, 1)
