"""Policies: frozen dataclasses that draw the plan of a batch.

`AugMix`, `RandomAA`, `AutoAugment` and `TrivialAugment` draw chains, `Standard` none. `Cutout`,
`PatchUniform`, `RandomStart`, `Mixup` and `CutMix` add a stage to the plan of another policy, their
``base``.
"""

from augmix.augment.policies.augmix import AugMix, Policy, RandomAA, Standard
from augmix.augment.policies.autoaugment import AutoAugment
from augmix.augment.policies.pairs import CutMix, Mixup
from augmix.augment.policies.patches import Cutout, PatchUniform, RandomStart
from augmix.augment.policies.trivialaugment import TrivialAugment

__all__ = [
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
    "TrivialAugment",
]
