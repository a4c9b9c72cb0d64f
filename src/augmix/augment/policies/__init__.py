"""Who draws a plan: one frozen dataclass a policy, from severities to physical amounts.

`AugMix`, `RandomAA` and `AutoAugment` draw chains, `Standard` none. `Cutout`, `PatchUniform`,
`RandomStart`, `Mixup` and `CutMix` lay their own over the plan of another policy, their ``base``.
"""

from augmix.augment.ops import ALL_OPS, PAPER_OPS, level_to_amount
from augmix.augment.policies.augmix import AugMix, RandomAA
from augmix.augment.policies.autoaugment import AutoAugment
from augmix.augment.policies.base import Policy, Standard
from augmix.augment.policies.pairs import CutMix, Mixup
from augmix.augment.policies.patches import Cutout, PatchUniform, RandomStart

__all__ = [
    "ALL_OPS",
    "PAPER_OPS",
    "AugMix",
    "AutoAugment",
    "CutMix",
    "Cutout",
    "Mixup",
    "PatchUniform",
    "Policy",
    "RandomAA",
    "RandomStart",
    "Standard",
    "level_to_amount",
]
