"""Policies: frozen dataclasses that draw the plan of a batch.

`AugMix`, `RandomAA`, `AutoAugment` and `TrivialAugment` draw chains, `Standard` none. Others change
the plan of another policy, their ``base``: `Cutout`, `PatchUniform`, `RandomStart`,
`RandomErasing`, `LpNoise`, `Mixup` and `CutMix` add a stage behind it, `PRIME` mixes its chains
into the views, `FourierWaves` adds a view, `APR` and `HybridAugment` a stage before and one behind.
`PixMix` and `IPMix` mix images with pictures.
"""

from augmix.augment.policies.augmix import AugMax, AugMix, Policy, RandomAA, Standard
from augmix.augment.policies.autoaugment import AutoAugment, TrivialAugment
from augmix.augment.policies.fourier import APR, FourierWaves, HybridAugment
from augmix.augment.policies.noise2net import Noise2Net
from augmix.augment.policies.pairs import CutMix, Mixup
from augmix.augment.policies.patches import (
    Cutout,
    LpNoise,
    PatchUniform,
    RandomErasing,
    RandomStart,
)
from augmix.augment.policies.pixmix import IPMix, PixMix
from augmix.augment.policies.prime import PRIME

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
    "LpNoise",
    "Mixup",
    "Noise2Net",
    "PatchUniform",
    "PixMix",
    "Policy",
    "RandomAA",
    "RandomErasing",
    "RandomStart",
    "Standard",
    "TrivialAugment",
]
