"""TrivialAugment: one random operation in place of the image, at a random strength."""

from dataclasses import dataclass

import numpy as np

from augmix.augment.ops import WIDE_OPS, level_to_amount
from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import Ids, check_crop, check_request, make_plan, one_chain
from augmix.rng import Purpose, Stream

_LEVELS = 31  # strengths of an operation, 0..30
_PART = 1  # of Purpose.POLICY; AutoAugment draws from part 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrivialAugment:
    """TrivialAugment, wide: one of 14 operations at one of 31 strengths (Mueller and Hutter 2021).

    The operations are those of AugMix, all 13, and the image as it is; the strengths reach 135
    degrees, a shear of 0.99, 32 pixels, 2 bits, all of solarize, and factors of 0.01 to 2. Moved
    images are sampled bilinearly, as everywhere in this package; the published code takes the
    nearest pixel.
    """

    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        check_crop(self.crop_padding)

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw one operation for each view, which takes the place of the image."""
        ids = check_request(ids, num_views, size)
        at = stream.at(Purpose.POLICY, part=_PART)
        uniforms = at.uniforms(ids, num_views=num_views, count=3)[:, :, None, None]
        op = np.array(WIDE_OPS, np.int8)[(uniforms[..., 0] * len(WIDE_OPS)).astype(np.int8)]
        level = np.floor(uniforms[..., 1] * _LEVELS) * 10 / (_LEVELS - 1)
        sign = np.where(uniforms[..., 2] > 0.5, -1.0, 1.0)
        amount = level_to_amount(op, level, sign, size, is_wide=True)
        return make_plan(ids, size, one_chain(op, amount), self.crop_padding, self.flip, stream)
