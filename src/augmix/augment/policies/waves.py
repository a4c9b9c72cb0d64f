"""The policy of AFA: views of another policy, and one of the clean image with plane waves."""

from dataclasses import dataclass, field

import numpy as np

from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import Ids, Policy, Standard, check_request
from augmix.augment.stages.waves import Waves
from augmix.errors import check_fields
from augmix.rng import Purpose, Stream

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

    def __post_init__(self) -> None:
        check_fields(
            self,
            wave_mean=(0 < self.wave_mean < np.inf, "a finite number above 0"),
            wave_min=(0 <= self.wave_min < np.inf, "a finite number from 0"),
        )

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the base's plan of all views but the last, and the waves of that."""
        ids = check_request(ids, num_views, size)
        num_own = max(num_views - 1, 1)
        plan = self.base.sample(ids, num_views=num_own, size=size, stream=stream).with_clean()
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
