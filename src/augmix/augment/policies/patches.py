"""Policies that fill a box of every view, with one colour or noise; and the stage of Lp noise."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int8, Int32, Int64, UInt32

from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import LARGE_PX, Ids, Policy, Standard
from augmix.augment.policies.autoaugment import TrivialAugment
from augmix.augment.stages import Pictures, Pixels, Stage, is_per_view, register_stage, stage_name
from augmix.augment.stages.chains import Chains
from augmix.augment.stages.patches import (
    Hole,
    Noise,
    boxes_around,
    check_boxes,
    describe_box,
    pixels_inside,
)
from augmix.errors import check_fields
from augmix.rng import Purpose, Stream, to_uniforms, to_uniforms_torch, words_at, words_at_torch

_GREY = (0.5,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cutout:
    """Cutout: a square hole in every view, clipped at the border (DeVries and Taylor 2017).

    The published code writes zeros after the normalisation, which is the mean that the model
    subtracts: ``fill``. Each view has its own hole; the clean view of `Plan.with_clean` has none.
    """

    size_px: int | None = 16
    """Size of the square in pixels, at least 1 (CIFAR-10 16, CIFAR-100 8); None takes half the
    images' shorter side."""
    fill: tuple[float, ...] | None = None
    """Level shown in the hole, 0..1, one for all channels or one for each; None is the mean that
    the model subtracts, in training, and 0.5 elsewhere."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views that the holes are cut into."""

    def __post_init__(self) -> None:
        if self.size_px is not None and self.size_px < 1:
            raise ValueError(f"size_px of a hole must be at least 1 pixel, got {self.size_px}")
        fill = self.fill or _GREY
        if len(fill) not in (1, 3) or not all(0 <= level <= 1 for level in fill):
            raise ValueError(f"fill must be 1 or 3 levels in [0, 1], got {self.fill}")

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, which cuts no hole itself, and a hole around any pixel."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        if plan.hole:
            raise ValueError("the base of Cutout cuts holes already; a view has one at most")
        uniforms = stream.at(Purpose.HOLE).uniforms(plan.ids, num_views=num_views, count=2)
        square_px = max(min(size) // 2, 1) if self.size_px is None else self.size_px
        box = boxes_around(uniforms, square_px, square_px, size)
        return plan.with_stage(Hole(box=box, fill=np.array(self.fill or _GREY, np.float32)))


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchUniform:
    """Patch Uniform: a square of uniform noise in every view, whose amplitude is drawn for each.

    Patch Gaussian (Lopes et al. 2019) with uniform noise, as Gaussian noise is a test corruption
    (Hendrycks et al. 2020, section 4.2). The noise of a view is U(-a, a) with a ~ U(0, amplitude).
    """

    size_px: int | None = 25
    """Size of the square in pixels, at least 1; None takes what is published for Patch Gaussian: 25
    of 32 pixels, above 64 pixels any size up to 250 of 224."""
    amplitude: float = 1.0
    """Largest noise that is drawn, above 0, in [0, 1] units."""
    random_size: bool = False
    """Draw the size for every view from 0 .. size_px, as on ImageNet."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views that get the noise."""

    def __post_init__(self) -> None:
        if self.size_px is not None and self.size_px < 1:
            raise ValueError(f"size_px of a patch must be at least 1 pixel, got {self.size_px}")
        if not 0 < self.amplitude < np.inf:
            raise ValueError(f"amplitude must be a finite number above 0, got {self.amplitude}")

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, which adds no noise itself, and a patch around any pixel."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        if plan.noise:
            raise ValueError("the base of PatchUniform adds noise already; a view has it once")
        uniforms = stream.at(Purpose.PATCH).uniforms(plan.ids, num_views=num_views, count=4)
        largest, is_random = self.size_px, self.random_size
        if largest is None:
            is_large = min(size) > LARGE_PX
            largest = max(round((250 / 224 if is_large else 25 / 32) * min(size)), 1)
            is_random |= is_large
        square_px = np.full(uniforms.shape[:2], largest)
        if is_random:
            square_px = (uniforms[..., 2] * (largest + 1)).astype(np.int64)
        noise = Noise(
            box=boxes_around(uniforms[..., :2], square_px, square_px, size),
            amplitude=(self.amplitude * uniforms[..., 3]).astype(np.float32),
            address=stream.at(Purpose.NOISE).addresses(plan.ids, num_views=num_views),
            seed=stream.seed,
        )
        return plan.with_stage(noise)


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomStart:
    """Uniform noise of one amplitude over the whole view: the start of an attack on the image.

    Projected gradient descent starts at ``image + U(-epsilon, epsilon)``, clipped to [0, 1] (Madry
    et al. 2018). Adversarial training takes the clean view and this one.
    """

    epsilon: float = 8 / 255
    """Largest noise, above 0, in [0, 1] units."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views that get the noise."""

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < np.inf:
            raise ValueError(f"epsilon must be a finite number above 0, got {self.epsilon}")

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, which changes no view alone, and addresses of the noise."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        if names := [stage_name(type(stage)) for stage in plan.stages if _changes_views(stage)]:
            raise ValueError(
                "an attack starts at the image itself: its base can change no view alone, got "
                f"stage {', '.join(names)}"
            )
        shape = (num_views, len(plan))
        noise = Noise(
            box=np.tile(np.array([0, 0, *plan.size], np.int32), (*shape, 1)),
            amplitude=np.full(shape, self.epsilon, np.float32),
            address=stream.at(Purpose.ATTACK).addresses(plan.ids, num_views=num_views),
            seed=stream.seed,
        )
        return plan.with_stage(noise)


def _changes_views(stage: Stage) -> bool:
    """Whether a stage may show something else than the clean view does."""
    is_empty = isinstance(stage, Chains) and not stage.mix.any()
    return is_per_view(type(stage)) and not is_empty


_CHANNELS = 4  # for which blocks of Lp noise are kept at an address
_TINY = 1e-30


class Norm(IntEnum):
    """Whose ball the noise comes from; impulses are no ball, but values set to 0 or 1."""

    NONE = 0
    INFINITY = 1
    HALF = 2
    ONE = 3
    TWO = 4
    IMPULSE = 5


_POWERS = {Norm.HALF: 0.5, Norm.ONE: 1.0, Norm.TWO: 2.0}


@register_stage("lp-noise")
@dataclass(frozen=True, slots=True, kw_only=True)
class LpNoiseStage(Stage):
    """Add a random point of an Lp ball to a view, inside a box, then clip the box to [0, 1].

    The point is uniform in the ball of all values of the image (Siedel et al. 2024): gamma numbers
    to the power 1/p with random signs, divided by their norm. Then each value is left out with
    probability 1 - kept. The value of channel c at pixel n has block ``c * height * width + n`` at
    the view's address (`Stream.addresses`): words 0 and 1 for the size, 2 for the sign, 3 for
    whether it is left out; block ``4 * height * width`` is for the distance from the centre.

    Attributes:
        box: Top, left, bottom and right of the noise.
        norm: The norm, by `Norm`.
        radius: Radius of the ball, in [0, 1] units; of impulses their probability.
        kept: Probability that a value of the point is used.
        address: Counter words 1 to 3 of every view.
        seed: Key of the generator.
    """

    box: Int32[np.ndarray, "view batch 4"]
    norm: Int8[np.ndarray, "view batch"]
    radius: Float32[np.ndarray, "view batch"]
    kept: Float32[np.ndarray, "view batch"]
    address: UInt32[np.ndarray, "view batch 3"]
    seed: int

    rank: ClassVar[int] = 75

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        views = pixels.copy()
        for view, index in np.argwhere(self.norm != Norm.NONE).tolist():
            top, left, bottom, right = self.box[view, index]
            image = views[view, index]
            drawn = self._uniforms(image.shape, view, index)
            norm, radius = Norm(int(self.norm[view, index])), np.float64(self.radius[view, index])
            is_kept = drawn[3, :-1].reshape(image.shape) < self.kept[view, index]
            sign = np.where(drawn[2, :-1] < 0.5, -1.0, 1.0).reshape(image.shape)
            part = (slice(None), slice(top, bottom), slice(left, right))
            if norm == Norm.IMPULSE:
                is_hit = is_kept & (drawn[0, :-1].reshape(image.shape) < radius)
                image[part] = np.where(is_hit, sign > 0, image)[part]
                continue
            point = _point(drawn[:, :-1], norm).reshape(image.shape) * sign
            point *= radius * drawn[0, -1] ** (1 / point.size)
            image[part] = np.clip(image + np.where(is_kept, point, 0), 0, 1)[part]
        return views

    def _uniforms(
        self, shape: tuple[int, ...], view: int, index: int
    ) -> Float64[np.ndarray, "4 block"]:
        """The numbers of every value of an image, and of its distance from the centre."""
        channels, height, width = shape
        blocks = np.append(np.arange(channels * height * width), _CHANNELS * height * width)
        return to_uniforms(words_at(self.address[view, index], blocks, self.seed))

    @staticmethod
    def apply_torch(
        pixels: Any, *, box: Any, norm: Any, radius: Any, kept: Any, address: Any, seed: int
    ) -> Any:
        import torch

        real = torch.float32 if pixels.device.type == "mps" else torch.float64
        channels, height, width = pixels.shape[2:]
        count = channels * height * width
        block = torch.arange(count + 1, device=pixels.device)
        block = torch.where(block < count, block, _CHANNELS * height * width)
        block = block.expand(*norm.shape, -1)
        drawn = to_uniforms_torch(torch.stack(words_at_torch(address, block, seed))).to(real)
        first, second, third, fourth = drawn[..., :-1].unbind(0)  # view batch value
        radius, norm = radius.to(real)[..., None], norm[..., None]
        is_kept = fourth < kept[..., None]
        sign = torch.where(third < 0.5, -1.0, 1.0).to(real)
        point = first
        for each, power in _POWERS.items():
            own = _sizes_torch(first, second, each)
            length = own.pow(power).sum(dim=-1, keepdim=True).clamp(min=_TINY).pow(1 / power)
            point = torch.where(norm == int(each), own / length, point)
        distance = drawn[0, ..., -1:] ** (1 / count)
        views = pixels.to(real).flatten(2)
        noisy = (views + torch.where(is_kept, sign * point * radius * distance, 0)).clamp(0, 1)
        impulses = torch.where(is_kept & (first < radius), (sign > 0).to(real), views)
        noisy = torch.where(norm == int(Norm.IMPULSE), impulses, noisy).to(pixels.dtype)
        is_inside = pixels_inside(box, pixels) & (norm[..., None, None] != int(Norm.NONE))
        return torch.where(is_inside, noisy.unflatten(2, pixels.shape[2:]), pixels)

    def check(self, size: tuple[int, int]) -> None:
        check_boxes("lp-noise", self.box, size)

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        norm = Norm(int(self.norm[view, index]))
        if norm == Norm.NONE:
            return []
        radius, kept = self.radius[view, index], self.kept[view, index]
        where = describe_box(self.box[view, index])
        return [f"noise {norm.name.lower()} {radius:.3g} in {kept:.0%} of {where}"]


def _point(drawn: Float64[np.ndarray, "4 value"], norm: Norm) -> Float64[np.ndarray, " value"]:
    """The sizes of the values of a point of norm 1; of a point of the cube in [0, 1]."""
    if norm == Norm.INFINITY:
        return drawn[0]
    if norm == Norm.TWO:
        sizes = np.abs(np.sqrt(-2 * np.log(drawn[0])) * np.cos(2 * np.pi * drawn[1]))
    elif norm == Norm.ONE:
        sizes = -np.log(drawn[0])
    else:  # Gamma(2) numbers, squared
        sizes = np.square(np.log(drawn[0]) + np.log(drawn[1]))
    power = _POWERS[norm]
    return sizes / max((sizes**power).sum(), _TINY) ** (1 / power)


def _sizes_torch(first: Any, second: Any, norm: Norm) -> Any:
    import torch

    if norm == Norm.TWO:
        return ((-2 * first.log()).sqrt() * (2 * torch.pi * second).cos()).abs()
    if norm == Norm.ONE:
        return -first.log()
    return (first.log() + second.log()).square()


_ASPECT = (0.3, 3.3)  # of height by width
_ERASED = (0.02, 0.33)  # fraction of the area
_NOISY = (0.2, 0.7)
_RADII = {Norm.INFINITY: 0.1, Norm.HALF: 4e5, Norm.ONE: 200.0, Norm.TWO: 5.0, Norm.IMPULSE: 0.2}
_EXPONENTS = {Norm.HALF: 2.0, Norm.ONE: 1.0, Norm.TWO: 0.5}  # by which radii grow with the pixels
_REFERENCE_PX = 32 * 32


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomErasing:
    """Random erasing: a black rectangle in some of the views (Zhong et al. 2020)."""

    erasing_probability: float = 0.3
    """Fraction of the views with a rectangle, 0..1; it covers 2 to 33 % of the image."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views that are erased."""

    def __post_init__(self) -> None:
        is_fine = 0 <= self.erasing_probability <= 1
        check_fields(self, erasing_probability=(is_fine, "in [0, 1]"))

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, which cuts no hole itself, and a rectangle for each view."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        if plan.hole:
            raise ValueError("the base of RandomErasing cuts holes already; a view has one at most")
        uniforms = stream.at(Purpose.ERASING).uniforms(plan.ids, num_views=num_views, count=5)
        box = _draw_boxes(uniforms[..., :4], _ERASED, plan.size)
        box[uniforms[..., 4] >= self.erasing_probability] = 0
        return plan.with_stage(Hole(box=box, fill=np.zeros(1, np.float32)))


def _erased_operation() -> Policy:
    return RandomErasing(base=TrivialAugment())


@dataclass(frozen=True, kw_only=True, slots=True)
class LpNoise:
    """Noise from a ball of a random Lp norm in a rectangle of every view (Siedel et al. 2024).

    One of Linf of radius 0.1, L0.5 of 400,000, L1 of 200, L2 of 5, and impulses in 0.2 of the
    values, for 32x32 pixels; the radius is multiplied by U(0, 1), and U(0, 1) of the values are
    left out. For other sizes the radii grow such that single values stay as large. Every view has
    its own noise; the published code draws it once for 8 images.
    """

    noise_strength: float = 1.0
    """Factor of all radii, above 0."""
    base: Policy = field(default_factory=_erased_operation)
    """Policy of the views that get the noise."""

    def __post_init__(self) -> None:
        is_fine = 0 < self.noise_strength < np.inf
        check_fields(self, noise_strength=(is_fine, "a finite number above 0"))

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, and norm, radius and rectangle of every view's noise."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        at = stream.at(Purpose.LP_NOISE)
        uniforms = at.uniforms(plan.ids, num_views=num_views, count=7)
        norm = (1 + np.floor(uniforms[..., 4] * len(_RADII))).astype(np.int8)
        largest = np.zeros(len(Norm))
        for each, radius in _RADII.items():
            growth = (size[0] * size[1] / _REFERENCE_PX) ** _EXPONENTS.get(each, 0.0)
            largest[each] = radius * growth * self.noise_strength
        noise = LpNoiseStage(
            box=_draw_boxes(uniforms[..., :4], _NOISY, plan.size),
            norm=norm,
            radius=(largest[norm] * uniforms[..., 5]).astype(np.float32),
            kept=uniforms[..., 6].astype(np.float32),
            address=stream.at(Purpose.LP_NOISE, part=1).addresses(plan.ids, num_views=num_views),
            seed=stream.seed,
        )
        return plan.with_stage(noise)


def _draw_boxes(
    uniforms: Float64[np.ndarray, "view batch 4"],
    fractions: tuple[float, float],
    size: tuple[int, int],
) -> Int32[np.ndarray, "view batch 4"]:
    """Rectangles of a fraction of the area, of logarithmically uniform aspect, inside the image."""
    least, most = fractions
    area = (least + uniforms[..., 0] * (most - least)) * size[0] * size[1]
    narrow, wide = np.log(_ASPECT)
    aspect = np.exp(narrow + uniforms[..., 1] * (wide - narrow))
    height = np.clip(np.rint(np.sqrt(area * aspect)), 1, size[0])
    width = np.clip(np.rint(np.sqrt(area / aspect)), 1, size[1])
    top = np.floor(uniforms[..., 2] * (size[0] - height + 1))
    left = np.floor(uniforms[..., 3] * (size[1] - width + 1))
    return np.stack([top, left, top + height, left + width], axis=-1).astype(np.int32)
