"""The stages of APR and HybridAugment: amplitudes and phases of two images recombined.

Amplitudes and phases are those of the Fourier transform over rows, columns and channels together
(Chen et al. 2021). A frequency that an image does not have counts as one of phase 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64, UInt8

from augmix.arrays import from_pillow, to_pillow
from augmix.augment.ops import Op, apply_op, describe_step
from augmix.augment.stages import Pictures, Pixels, Stage, register_stage
from augmix.augment.stages.pairs import join_partners, select_partners

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
    side, middle = _blur_weights()
    for axis in (-3, -2):
        size = levels.shape[axis]
        before = levels.take([min(1, size - 1), *range(size - 1)], axis)
        behind = levels.take([*range(1, size), max(size - 2, 0)], axis)
        levels = side * before + middle * levels + side * behind
    return levels


def _real_of(tensor: Any) -> Any:
    """The widest float of a tensor's device."""
    import torch

    return torch.float32 if tensor.device.type == "mps" else torch.float64


def _blur_weights() -> tuple[float, float]:
    """What a neighbour and the pixel itself weigh."""
    side = math.exp(-1 / (2 * _BLUR_SIGMA**2))
    return side / (1 + 2 * side), 1 / (1 + 2 * side)


def _blur_torch(levels: Any) -> Any:
    import torch

    side, middle = _blur_weights()
    for axis in (-3, -2):
        size = levels.shape[axis]
        second = levels.narrow(axis, min(1, size - 1), 1)
        last_but_one = levels.narrow(axis, max(size - 2, 0), 1)
        before = torch.cat([second, levels.narrow(axis, 0, size - 1)], dim=axis)
        behind = torch.cat([levels.narrow(axis, 1, size - 1), last_but_one], dim=axis)
        levels = side * before + middle * levels + side * behind
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
