"""The stage of Lp noise: random points of a ball, for one of several norms, in a box of a view."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int8, Int32, Int64, UInt32

from augmix.augment.stages import Pictures, Pixels, Stage, register_stage
from augmix.augment.stages.patches import check_boxes, describe_box, pixels_inside
from augmix.rng import to_uniforms, to_uniforms_torch, words_at, words_at_torch

_CHANNELS = 4  # for which blocks are kept at an address
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
class LpNoise(Stage):
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
