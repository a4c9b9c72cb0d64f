"""Methods of training; importing the package registers all of them.

Here is what a method of your own needs: `Method`, `register_method`, and for its loss `losses`.
"""

from augmix.methods.adversarial import Adversarial, Attack
from augmix.methods.afa import AFA, PRIMEAFA, AugMixAFA, TrivialAugmentAFA
from augmix.methods.augmax import AugMax
from augmix.methods.augmix import AugMix, AugMixNoJSD, AugMixStylised, RandomAA, RandomAAJSD
from augmix.methods.baselines import (
    AutoAugment,
    CutMix,
    Cutout,
    MaxBlur,
    Mixup,
    PatchUniform,
    Standard,
    StylisedImages,
)
from augmix.methods.hybridaugment import APR, HybridAugment
from augmix.methods.lp_noise import LpNoise
from augmix.methods.noise2net import Noise2Net
from augmix.methods.noisymix import NoisyMix
from augmix.methods.pixmix import IPMix, PixMix
from augmix.methods.prime import PRIME
from augmix.methods.registry import (
    METHODS,
    Method,
    Objective,
    OptionalConsistency,
    TrainingImages,
    build_method,
    find_method,
    register_method,
)
from augmix.methods.trivialaugment import TrivialAugment

__all__ = [
    "AFA",
    "APR",
    "METHODS",
    "PRIME",
    "PRIMEAFA",
    "Adversarial",
    "Attack",
    "AugMax",
    "AugMix",
    "AugMixAFA",
    "AugMixNoJSD",
    "AugMixStylised",
    "AutoAugment",
    "CutMix",
    "Cutout",
    "HybridAugment",
    "IPMix",
    "LpNoise",
    "MaxBlur",
    "Method",
    "Mixup",
    "Noise2Net",
    "NoisyMix",
    "Objective",
    "OptionalConsistency",
    "PatchUniform",
    "PixMix",
    "RandomAA",
    "RandomAAJSD",
    "Standard",
    "StylisedImages",
    "TrainingImages",
    "TrivialAugment",
    "TrivialAugmentAFA",
    "build_method",
    "find_method",
    "register_method",
]
