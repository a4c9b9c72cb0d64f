"""Policies in the Fourier domain and their stages: APR, HybridAugment++ and AFA.

APR and HybridAugment++ recombine amplitudes and phases of two images. Amplitudes and phases are
those of the Fourier transform over rows, columns and channels together (Chen et al. 2021). A
frequency that an image does not have counts as one of phase 0. Each method has a form for a single
image (S), which works before the crop, and one for pairs of the batch (P), which works on finished
views. What is drawn once for a whole batch is drawn at the address of its smallest id.

AFA adds a view of the clean image with a plane wave of its own on every channel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int64, UInt8

from augmix.arrays import from_pillow, to_pillow
from augmix.augment.ops import PAPER_OPS, Op, apply_op, describe_step, level_to_amount
from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import (
    LOWEST_LEVEL,
    Ids,
    Policy,
    Standard,
    check_request,
    check_severity,
    largest_level,
)
from augmix.augment.policies.pairs import draw_partners
from augmix.augment.stages import Pictures, Pixels, Stage, register_stage
from augmix.augment.stages.pairs import join_partners, select_partners
from augmix.errors import check_fields
from augmix.rng import Purpose, Stream

Overflow = Literal["wrap", "clip"]
_TINY = 1e-7  # amplitudes below this are rounding errors
_DECIMALS = 6  # to which levels are rounded before they are cut to whole numbers
_BLUR_SIGMA = 0.5  # px, of the 3x3 blur whose result is the low frequencies (Yucel et al. 2023)

Image = UInt8[np.ndarray, "height width channel"]
Levels = Float64[np.ndarray, "*batch height width channel"]


@register_stage("recombined")
@dataclass(frozen=True, slots=True, kw_only=True)
class Recombined(Stage):
    """Operations on an 8-bit image, then amplitude and phase of two of its forms recombined.

    With x the image, x1 is x after operation 0 and x2 is x1 after operation 1. Where ``low`` is 0
    the result is ``recombine(x1, x2)`` (APR-S): by ``swap``, 0 x1 itself, 1 the amplitude of x1
    with the phase of x2, 2 the amplitude of x2 with the phase of x1. Elsewhere (HybridAugment++ S)
    low frequencies, of x1 if ``low`` is 1 and of x2 if it is 2, are recombined with themselves in
    the same way, by the operations 2 and 3, and are added to the high frequencies of the other.

    Attributes:
        op: Operations by `Op`.
        amount: Their amounts, in the units of `Chains`.
        swap: 0, 1 or 2.
        low: 0, 1 or 2.
        overflow: What becomes of levels outside 0..255: ``wrap`` takes them modulo 256, as the
            published code does by its cast to bytes, ``clip`` the nearest level.
    """

    op: Int8[np.ndarray, "view batch 4"]
    amount: Float64[np.ndarray, "view batch 4"]
    swap: Int8[np.ndarray, "view batch"]
    low: Int8[np.ndarray, "view batch"]
    overflow: Overflow

    takes: ClassVar[Literal["images", "views"]] = "images"
    gives: ClassVar[Literal["images", "views"]] = "images"
    rank: ClassVar[int] = 5

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        result = np.empty((len(self.op), *pixels.shape[1:]), np.uint8)
        for view, index in np.ndindex(self.swap.shape):
            image = pixels[view if len(pixels) > 1 else 0, index]
            result[view, index] = self._apply_one(image, view, index)
        return result

    def _apply_one(self, image: Image, view: int, index: int) -> Image:
        steps = list(zip(self.op[view, index], self.amount[view, index], strict=True))
        swap, low = int(self.swap[view, index]), int(self.low[view, index])
        if not low:
            return self._recombine(image, steps[0], steps[1], swap)
        first = _operate(image, *steps[0])
        second = _operate(first, *steps[1])
        kept, other = (first, second) if low == 1 else (second, first)
        blurred = _to_levels(blur(kept.astype(np.float64)), self.overflow)
        blurred = self._recombine(blurred, steps[2], steps[3], swap)
        sharp = other - blur(other.astype(np.float64))
        return _to_levels(blurred + sharp, self.overflow)

    def _recombine(self, image: Image, first: Any, second: Any, swap: int) -> Image:
        one = _operate(image, *first)
        if not swap:
            return one
        two = _operate(one, *second)
        amplitude, phase = (one, two) if swap == 1 else (two, one)
        return _to_levels(recombine(amplitude, phase), self.overflow)

    @staticmethod
    def apply_torch(
        pixels: Any, *, op: Any, amount: Any, swap: Any, low: Any, overflow: str
    ) -> Any:
        import torch

        views, batch = swap.shape
        height, width = pixels.shape[2:4]
        flat = pixels.expand(views, -1, -1, -1, -1).flatten(0, 1)
        op, amount = op.flatten(0, 1), amount.flatten(0, 1)
        swap, low = (values.flatten()[:, None, None, None] for values in (swap, low))

        def operate(images: Any, step: int) -> Any:
            from augmix.augment.batched.tensors import apply_ops

            planes = images.permute(0, 3, 1, 2).flatten(2)
            changed = apply_ops(planes, op[:, step], amount[:, step], height, width)
            return changed.unflatten(2, (height, width)).permute(0, 2, 3, 1)

        def recombined(one: Any, two: Any) -> Any:
            amplitude, phase = (torch.where(swap == n, one, two) for n in (1, 2))
            levels = _to_levels_torch(_recombine_torch(amplitude, phase), overflow)
            return torch.where(swap == 0, one, levels)

        first = operate(flat, 0)
        second = operate(first, 1)
        plain = recombined(first, second)
        kept, other = (torch.where(low == n, first, second) for n in (1, 2))
        blurred = _to_levels_torch(_blur_torch(kept.to(_real_of(flat))), overflow)
        third = operate(blurred, 2)
        blurred = recombined(third, operate(third, 3))
        sharp = other - _blur_torch(other.to(_real_of(flat)))
        hybrid = _to_levels_torch(blurred + sharp, overflow)
        return torch.where(low == 0, plain, hybrid).unflatten(0, (views, batch))

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        names = [
            describe_step(Op(op), amount)
            for op, amount in zip(
                self.op[view, index].tolist(), self.amount[view, index].tolist(), strict=True
            )
        ]
        swap, low = int(self.swap[view, index]), int(self.low[view, index])
        if not low:
            return [_describe_swap(names[0], names[1], swap)]
        kept = names[0] if low == 1 else f"{names[0]} -> {names[1]}"
        other = f"{names[0]} -> {names[1]}" if low == 1 else names[0]
        inner = _describe_swap(names[2], names[3], swap)
        return [f"low frequencies of {kept} ({inner}) + high frequencies of {other}"]


@register_stage("spectra")
@dataclass(frozen=True, slots=True, kw_only=True)
class Spectra(Stage):
    """Mix the frequencies of a view with those of the same view of other images of its batch.

    Where ``high`` holds, low frequencies stay and the high ones are those of ``high_partner``
    (HybridAugment P). Where ``low`` holds, the phase stays and the amplitude is that of
    ``low_partner`` (APR-P), of the low frequencies alone where ``high`` holds too. The result is
    not clipped, as published, so values may leave [0, 1].

    Attributes:
        is_on: Views that are changed.
        low_partner, high_partner: Positions of the partners in the batch.
        low, high: What is mixed.
    """

    is_on: Bool[np.ndarray, "view batch"]
    low_partner: Int64[np.ndarray, " batch"]
    high_partner: Int64[np.ndarray, " batch"]
    low: Bool[np.ndarray, " batch"]
    high: Bool[np.ndarray, " batch"]

    rank: ClassVar[int] = 85

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        views = pixels.copy()
        for view, index in np.argwhere(self.is_on & (self.low | self.high)):
            batch = pixels[view].transpose(0, 2, 3, 1).astype(np.float64)
            own = batch[index]
            amplitude = batch[self.low_partner[index]]
            if self.high[index]:
                own, amplitude = blur(own), blur(amplitude)
            if self.low[index]:
                own = recombine(amplitude, own)
            if self.high[index]:
                other = batch[self.high_partner[index]]
                own = own + (other - blur(other))
            views[view, index] = own.transpose(2, 0, 1)
        return views

    @staticmethod
    def apply_torch(
        pixels: Any, *, is_on: Any, low_partner: Any, high_partner: Any, low: Any, high: Any
    ) -> Any:
        import torch

        low, high = (values[None, :, None, None, None] for values in (low, high))
        images = pixels.permute(0, 1, 3, 4, 2).to(_real_of(pixels))
        blurred = _blur_torch(images)
        base = torch.where(high, blurred, images)
        mixed = torch.where(low, _recombine_torch(base[:, low_partner], base), base)
        sharp = (images - blurred)[:, high_partner]
        mixed = torch.where(high, mixed + sharp, mixed).permute(0, 1, 4, 2, 3)
        is_changed = is_on[:, :, None, None, None] & (low | high)
        return torch.where(is_changed, mixed.to(pixels.dtype), pixels)

    def select(self, index: slice | np.ndarray) -> "Spectra":
        """The stage of some images, which must hold all their partners; see `Pairs.select`."""
        chosen = np.arange(len(self.low))[index]
        return replace(
            self,
            is_on=self.is_on[:, chosen],
            low_partner=select_partners(self.low_partner, chosen),
            high_partner=select_partners(self.high_partner, chosen),
            low=self.low[chosen],
            high=self.high[chosen],
        )

    @classmethod
    def join(cls, parts: Sequence["Spectra"]) -> "Spectra":
        return replace(
            parts[0],
            is_on=np.concatenate([part.is_on for part in parts], axis=1),
            low=np.concatenate([part.low for part in parts]),
            high=np.concatenate([part.high for part in parts]),
            low_partner=join_partners([part.low_partner for part in parts]),
            high_partner=join_partners([part.high_partner for part in parts]),
        )

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        if not self.is_on[view, index]:
            return []
        lines = []
        if self.low[index]:
            of = " of the low frequencies" if self.high[index] else ""
            lines.append(f"amplitude{of} from image {ids[self.low_partner[index]]}")
        if self.high[index]:
            lines.append(f"high frequencies of image {ids[self.high_partner[index]]}")
        return lines


def recombine(amplitude: np.ndarray, phase: np.ndarray) -> Float64[np.ndarray, "*batch"]:
    """The image `height width channel` with the amplitude of one and the phase of another."""
    size = np.abs(np.fft.fftn(amplitude))
    waves = np.fft.fftn(phase)
    length = np.abs(waves)
    turns = np.where(length > _TINY, waves / np.maximum(length, _TINY), 1)
    return np.fft.ifftn(size * turns).real


def blur(levels: Levels) -> Levels:
    """The low frequencies: a Gaussian blur of 3x3 pixels, mirrored at the border."""
    outer, middle = _blur_weights()
    for axis in (-3, -2):
        size = levels.shape[axis]
        before = levels.take([min(1, size - 1), *range(size - 1)], axis)
        behind = levels.take([*range(1, size), max(size - 2, 0)], axis)
        levels = outer * before + middle * levels + outer * behind
    return levels


def _real_of(tensor: Any) -> Any:
    """The widest float of a tensor's device."""
    import torch

    return torch.float32 if tensor.device.type == "mps" else torch.float64


def _blur_weights() -> tuple[float, float]:
    """What a neighbour and the pixel itself weigh."""
    outer = math.exp(-1 / (2 * _BLUR_SIGMA**2))
    return outer / (1 + 2 * outer), 1 / (1 + 2 * outer)


def _blur_torch(levels: Any) -> Any:
    import torch

    outer, middle = _blur_weights()
    for axis in (-3, -2):
        size = levels.shape[axis]
        second = levels.narrow(axis, min(1, size - 1), 1)
        last_but_one = levels.narrow(axis, max(size - 2, 0), 1)
        before = torch.cat([second, levels.narrow(axis, 0, size - 1)], dim=axis)
        behind = torch.cat([levels.narrow(axis, 1, size - 1), last_but_one], dim=axis)
        levels = outer * before + middle * levels + outer * behind
    return levels


def _recombine_torch(amplitude: Any, phase: Any) -> Any:
    """`recombine` of batches, by the last three axes."""
    import torch

    real, axes = _real_of(amplitude), (-3, -2, -1)
    size = torch.fft.fftn(amplitude.to(real), dim=axes).abs()
    waves = torch.fft.fftn(phase.to(real), dim=axes)
    length = waves.abs()
    turns = torch.where(length > _TINY, waves / length.clamp(min=_TINY), 1)
    return torch.fft.ifftn(size * turns, dim=axes).real


def _to_levels(levels: Float64[np.ndarray, "*batch"], overflow: Overflow) -> Any:
    """Levels as bytes, cut to whole numbers as a cast does."""
    whole = np.trunc(np.round(levels, _DECIMALS))
    if overflow == "clip":
        return np.clip(whole, 0, 255).astype(np.uint8)
    return (whole.astype(np.int64) & 255).astype(np.uint8)


def _to_levels_torch(levels: Any, overflow: str) -> Any:
    import torch

    whole = torch.round(levels, decimals=_DECIMALS).trunc()
    if overflow == "clip":
        return whole.clamp(0, 255).to(torch.uint8)
    return (whole.long() & 255).to(torch.uint8)


def _operate(image: Image, op: Any, amount: Any) -> Image:
    return from_pillow(apply_op(to_pillow(image), Op(int(op)), float(amount)))


def _describe_swap(first: str, second: str, swap: int) -> str:
    if not swap:
        return first
    parts = (first, f"{first} -> {second}")
    amplitude, phase = parts if swap == 1 else parts[::-1]
    return f"amplitude of {amplitude}, phase of {phase}"


Form = Literal["s", "p", "sp"]
_PAIR_PROBABILITY = 0.6


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recombining:
    """What APR and HybridAugment++ have in common."""

    form: Form = "sp"
    """s changes every image by itself; p mixes the last view of every image with those of others of
    the batch; sp does both."""
    severity: int | None = 3
    """Largest level of an operation, 1..10; None goes by the size of the images."""
    overflow: Overflow = "wrap"
    """What becomes of levels outside 0..255 in form s: wrap takes them modulo 256, as published,
    which is impulse noise; clip takes the nearest level."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views behind form s and before form p."""

    def __post_init__(self) -> None:
        if self.form not in ("s", "p", "sp"):
            raise ValueError(f"form must be 's', 'p' or 'sp', got {self.form!r}")
        check_severity(self.severity)
        if self.overflow not in ("wrap", "clip"):
            raise ValueError(f"overflow must be 'wrap' or 'clip', got {self.overflow!r}")

    def num_base_views(self, num_views: int) -> int:
        """How many of the views are the base's: in form p all but the last of several."""
        return max(num_views - ("p" in self.form), 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class APR(_Recombining):
    """Amplitude-phase recombination (Chen et al. 2021).

    Form s: an operation of AugMix; with probability 1/2 a second one on top, and the amplitude of
    one with the phase of the other result. Form p: with probability 0.6 for the batch, the
    amplitude of another image.
    """

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan; in form sp and p the last of several views is the paired form of the one
        before it."""
        return _sample(self, False, ids, num_views, size, stream)


@dataclass(frozen=True, kw_only=True, slots=True)
class HybridAugment(_Recombining):
    """HybridAugment++ (Yucel et al. 2023): APR of low frequencies, high ones of another image.

    Low frequencies are a Gaussian blur of 3x3 pixels and sigma 0.5. Form s: an operation of AugMix;
    with probability 1/2 a second one on top, and the low frequencies of one, changed by APR, with
    the high frequencies of the other. Form p: with probability 0.6 for the batch, high frequencies
    of another image, and with probability 0.6 the amplitude of the low ones of a third.
    """

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan; see `APR.sample`."""
        return _sample(self, True, ids, num_views, size, stream)


def _sample(
    policy: _Recombining,
    is_hybrid: bool,
    ids: Ids,
    num_views: int,
    size: tuple[int, int],
    stream: Stream,
) -> Plan:
    """The base's views behind form s, the last of which is paired with the others of the batch."""
    ids = check_request(ids, num_views, size)
    num_base = policy.num_base_views(num_views)
    plan = policy.base.sample(ids, num_views=num_base, size=size, stream=stream)
    if "s" in policy.form:
        plan = plan.with_stage(_draw_single(policy, is_hybrid, plan, stream))
    if "p" not in policy.form:
        return plan
    plan = plan.take_views([*range(num_base), *([num_base - 1] * (num_views - num_base))])
    is_on = np.zeros((num_views, len(plan)), bool)
    is_on[-1] = True
    owner = np.sort(plan.ids)[:1]  # empty for an empty batch
    chance = np.zeros(2)
    chance[:] = stream.at(Purpose.SPECTRA).uniforms(owner, count=2)[0].sum(axis=0)
    low, high = chance < _PAIR_PROBABILITY
    paired = Spectra(
        is_on=is_on,
        low_partner=draw_partners(plan.ids, stream.at(Purpose.SPECTRA, part=1)),
        high_partner=draw_partners(plan.ids, stream.at(Purpose.SPECTRA, part=2)),
        low=np.full(len(plan), low and (high or not is_hybrid)),
        high=np.full(len(plan), high and is_hybrid),
    )
    return plan.with_stage(paired)


def _draw_single(policy: _Recombining, is_hybrid: bool, plan: Plan, stream: Stream) -> Recombined:
    num_views = plan.num_views
    uniforms = stream.at(Purpose.RECOMBINE).uniforms(plan.ids, num_views=num_views, count=16)
    steps = uniforms[..., :12].reshape(num_views, len(plan), 4, 3)
    ops = np.array(PAPER_OPS, np.int8)
    op = ops[(steps[..., 0] * len(ops)).astype(np.int8)]
    highest = largest_level(policy.severity, plan.size)
    level = LOWEST_LEVEL + steps[..., 1] * (highest - LOWEST_LEVEL)
    sign = np.where(steps[..., 2] > 0.5, -1.0, 1.0)
    one_or_two, has_second = 1 + (uniforms[..., 12:14] < 0.5), uniforms[..., 14:16] < 0.5
    inner = np.where(has_second[..., 1], one_or_two[..., 1], 0)
    low = np.where(has_second[..., 0], one_or_two[..., 0], 0)
    if not is_hybrid:
        inner, low = low, np.zeros_like(low)
    else:
        inner = np.where(low > 0, inner, 0)
    op = np.where(_is_used(inner, low), op, np.int8(Op.NONE))
    amount = level_to_amount(op, level, sign, plan.size)
    return Recombined(
        op=op,
        amount=np.where(op == Op.NONE, 0.0, amount),
        swap=inner.astype(np.int8),
        low=low.astype(np.int8),
        overflow=policy.overflow,
    )


def _is_used(
    swap: Int64[np.ndarray, "view batch"], low: Int64[np.ndarray, "view batch"]
) -> np.ndarray:
    """Which of the four operations of a view change anything."""
    is_hybrid = low > 0
    is_first = np.ones_like(is_hybrid)
    second = is_hybrid | (swap > 0)
    return np.stack([is_first, second, is_hybrid, is_hybrid & (swap > 0)], axis=-1)


_PHASE = -np.pi / 4
_REFERENCE_PX = 32  # size of the images that strengths are given for


@register_stage("waves")
@dataclass(frozen=True, slots=True, kw_only=True)
class Waves(Stage):
    """Add a plane wave to each channel, then clip to [0, 1] (Vaish et al. 2024).

    With u and v the columns and rows, spread evenly over -width / 2 .. width / 2 and likewise, the
    wave is ``sin(2 pi frequency (u cos angle + v sin angle) - pi / 4)``, divided by its Euclidean
    length over the image and multiplied by ``strength * sqrt(height * width) / 32``.

    Attributes:
        frequency: Cycles a pixel.
        angle: Of the direction, in radians.
        strength: Length of the wave on an image of 32x32 pixels; 0 adds none.
    """

    frequency: Float32[np.ndarray, "view batch 3"]
    angle: Float32[np.ndarray, "view batch 3"]
    strength: Float32[np.ndarray, "view batch 3"]

    rank: ClassVar[int] = 65

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        channels, height, width = pixels.shape[2:]
        views = pixels.copy()
        is_on = (self.strength > 0).any(axis=-1)
        frequency, angle, strength = (
            values[is_on][:, :channels].astype(np.float64)
            for values in (self.frequency, self.angle, self.strength)
        )
        across = 2 * np.pi * frequency * np.cos(angle)
        down = 2 * np.pi * frequency * np.sin(angle)
        x = across[..., None] * _positions(width)  # image channel width
        y = down[..., None] * _positions(height) + _PHASE  # image channel height
        # sin(x + y) by sines and cosines of lines
        wave = np.cos(y)[..., None] * np.sin(x)[:, :, None]
        wave += np.sin(y)[..., None] * np.cos(x)[:, :, None]
        length = np.sqrt(np.square(wave).sum(axis=(2, 3)))
        scale = strength * np.sqrt(height * width) / _REFERENCE_PX / length
        views[is_on] = np.clip(views[is_on] + scale[..., None, None] * wave, 0, 1)
        return views

    @staticmethod
    def apply_torch(pixels: Any, *, frequency: Any, angle: Any, strength: Any) -> Any:
        import torch

        channels, height, width = pixels.shape[2:]
        real = torch.float32 if pixels.device.type == "mps" else torch.float64
        frequency, angle, strength = (
            values[..., :channels].to(real) for values in (frequency, angle, strength)
        )
        lines = []
        for size, turned in ((width, torch.cos(angle)), (height, torch.sin(angle))):
            line = (torch.arange(size, device=pixels.device, dtype=real) / max(size - 1, 1)) - 0.5
            lines.append(2 * torch.pi * (frequency * turned)[..., None] * (size * line))
        x, y = lines[0][..., None, :], lines[1][..., None] + _PHASE
        wave = torch.cos(y) * torch.sin(x) + torch.sin(y) * torch.cos(x)
        length = wave.square().sum(dim=(3, 4), keepdim=True).sqrt()
        scale = strength[..., None, None] * (height * width) ** 0.5 / _REFERENCE_PX / length
        is_on = (strength > 0)[..., None, None]
        waved = (pixels.to(real) + scale * wave).clamp(0, 1).to(pixels.dtype)
        return torch.where(is_on, waved, pixels)

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        strength = self.strength[view, index]
        if not strength.any():
            return []
        waves = [
            f"{own:.1f} at {cycles:.2f} cycles/px, {np.degrees(angle):.0f} deg"
            for own, cycles, angle in zip(
                strength, self.frequency[view, index], self.angle[view, index], strict=True
            )
        ]
        return [f"waves of strength {', '.join(waves)} in red, green and blue"]


def _positions(size: int) -> Float64[np.ndarray, " size"]:
    """Where the pixels of a line lie: evenly over -size / 2 .. size / 2."""
    return size * (np.arange(size) / max(size - 1, 1) - 0.5)


_NUM_ANGLES = 448  # directions over half a turn


@dataclass(frozen=True, kw_only=True, slots=True)
class FourierWaves:
    """Auxiliary Fourier-basis augmentation (Vaish et al. 2024).

    The last view of an image is the clean one with a plane wave in each channel; those before it
    are the base's.
    """

    wave_mean: float = 10.0
    """Mean of the exponential distribution of a wave's strength, above 0: its Euclidean length on
    32x32 pixels."""
    wave_min: float = 0.0
    """Strength that is added to all waves, at least 0."""
    base: Policy = field(default_factory=Standard)
    """Policy of the other views."""

    has_fixed_views: ClassVar[bool] = True  # the last one has the waves

    def __post_init__(self) -> None:
        check_fields(
            self,
            wave_mean=(0 < self.wave_mean < np.inf, "a finite number above 0"),
            wave_min=(0 <= self.wave_min < np.inf, "a finite number from 0"),
        )

    def num_base_views(self, num_views: int) -> int:
        """How many of the views are the base's: all but the last."""
        return num_views - 1

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the base's plan of all views but the last, and the waves of that."""
        ids = check_request(ids, num_views, size)
        num_base = max(self.num_base_views(num_views), 1)
        plan = self.base.sample(ids, num_views=num_base, size=size, stream=stream).with_clean()
        plan = plan.take_views([*range(1, num_views), 0])
        uniforms = stream.at(Purpose.WAVES).uniforms(plan.ids, count=9)[0]
        drawn = uniforms.reshape(len(plan), 3, 3)  # batch, channel, number
        shortest = min(size)
        values = {
            "frequency": (1 + np.floor(drawn[..., 0] * shortest)) / shortest,
            "angle": np.floor(drawn[..., 1] * _NUM_ANGLES) * np.pi / (_NUM_ANGLES - 1),
            "strength": self.wave_min - self.wave_mean * np.log(drawn[..., 2]),
        }
        arrays = {
            name: np.zeros((num_views, *each.shape), np.float32) for name, each in values.items()
        }
        for name, each in values.items():
            arrays[name][-1] = each
        return plan.with_stage(Waves(**arrays))
