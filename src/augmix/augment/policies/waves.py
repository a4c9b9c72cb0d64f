"""AFA and its stage: a view of the clean image with a plane wave of its own on every channel."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int64

from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import Ids, Policy, Standard, check_request
from augmix.augment.stages import Pictures, Pixels, Stage, register_stage
from augmix.errors import check_fields
from augmix.rng import Purpose, Stream

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
