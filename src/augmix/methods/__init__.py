"""Methods of training; importing the package registers all of them.

Here is what a method of your own needs: `Method`, `register_method`, and for its loss `losses`.
"""

from augmix.methods.adversarial import Adversarial, Attack
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
    "METHODS",
    "Adversarial",
    "Attack",
    "AugMix",
    "AugMixNoJSD",
    "AugMixStylised",
    "AutoAugment",
    "CutMix",
    "Cutout",
    "MaxBlur",
    "Method",
    "Mixup",
    "Objective",
    "OptionalConsistency",
    "PatchUniform",
    "RandomAA",
    "RandomAAJSD",
    "Standard",
    "StylisedImages",
    "TrainingImages",
    "TrivialAugment",
    "build_method",
    "find_method",
    "register_method",
]
