"""Policies: frozen dataclasses that draw the plan of a batch.

`AugMix`, `RandomAA`, `AutoAugment` and `TrivialAugment` draw chains, `Standard` none. `Cutout`,
`PatchUniform`, `RandomStart`, `Mixup` and `CutMix` add a stage to the plan of another policy, their
``base``. `FourierWaves` adds a view to its base's, `APR` and `HybridAugment` a stage before its
base's and one behind, `PRIME` mixes
its chains into its base's views.
"""

from augmix.augment.policies.augmix import AugMax, AugMix, Policy, RandomAA, Standard
from augmix.augment.policies.autoaugment import AutoAugment
from augmix.augment.policies.hybridaugment import APR, HybridAugment
from augmix.augment.policies.noise2net import Noise2Net
from augmix.augment.policies.pairs import CutMix, Mixup
from augmix.augment.policies.patches import Cutout, PatchUniform, RandomStart
from augmix.augment.policies.pixmix import IPMix, PixMix
from augmix.augment.policies.prime import PRIME
from augmix.augment.policies.trivialaugment import TrivialAugment
from augmix.augment.policies.waves import FourierWaves

__all__ = [
    "APR",
    "PRIME",
    "AugMax",
    "AugMix",
    "AutoAugment",
    "CutMix",
    "Cutout",
    "FourierWaves",
    "HybridAugment",
    "IPMix",
    "Mixup",
    "Noise2Net",
    "PatchUniform",
    "PixMix",
    "Policy",
    "RandomAA",
    "RandomStart",
    "Standard",
    "TrivialAugment",
]
