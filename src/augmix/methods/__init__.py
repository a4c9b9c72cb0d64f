"""Methods of training; importing the package registers all of them.

Here is what a method of your own needs: `Method`, `register_method`, and for its loss `losses`.
"""

from augmix.methods.adversarial import Adversarial, Attack
from augmix.methods.augmix import (
    AugMax,
    AugMix,
    AugMixNoJSD,
    AugMixStylised,
    NoisyMix,
    RandomAA,
    RandomAAJSD,
)
from augmix.methods.baselines import (
    PRIME,
    AutoAugment,
    CutMix,
    Cutout,
    IPMix,
    LpNoise,
    MaxBlur,
    Mixup,
    Noise2Net,
    PatchUniform,
    PixMix,
    Standard,
    StylisedImages,
    TrivialAugment,
)
from augmix.methods.fourier import AFA, APR, PRIMEAFA, AugMixAFA, HybridAugment, TrivialAugmentAFA
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
