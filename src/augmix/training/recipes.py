"""Recipes: settings of a run by flat name, to start a configuration from."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from augmix.errors import check_name

_IMAGENET: dict[str, Any] = {
    "source": "imagenet",
    "model": "resnet50",
    "batch_size": 256,
    "base_batch_size": 256,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "severity": 1,
}

_FINETUNE: dict[str, Any] = {
    "epochs": 10,
    "batch_size": 64,
    "optimizer": "adamw",
    "learning_rate": 3e-4,
    "weight_decay_on": "weights",
    "layer_decay": 0.9,
    "warm_up_epochs": 0.5,
    "clip_norm": 1.0,
    "ema_decay": 0.998,
    "label_smoothing": 0.1,
    "resized_crop": True,
    "flip": True,
    "severity": None,
    "precision": "auto",
}

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Hendrycks et al. (2020), section 4.1: WideResNet-40-2 and AllConvNet.
        "cifar": {},
        # The same: DenseNet and ResNeXt.
        "cifar-200": {"epochs": 200},
        # The released imagenet.py: divided by 10 after 30 and 60 of 90 epochs, no Nesterov.
        "imagenet": {**_IMAGENET, "epochs": 90, "schedule": "step", "nesterov": False},
        # The first author's script behind the released weights (77.53 % top-1, 65.3 mCE).
        "imagenet-180": {**_IMAGENET, "epochs": 180, "schedule": "cosine", "nesterov": True},
        # Goyal et al. (2017), whose schedule the paper cites: 5 epochs of warm-up, then down at
        # 30, 60 and 80 of 90 epochs; twice as long. Scales and shifts of batch norm do not decay,
        # and residual blocks start as the identity.
        "imagenet-goyal": {
            **_IMAGENET,
            "epochs": 180,
            "schedule": "step",
            "decay_at": (30 / 90, 60 / 90, 80 / 90),
            "warm_up_epochs": 5.0,
            "nesterov": True,
            "weight_decay_on": "no-norms",
            "zero_init_last": True,
        },
        # A model with weights on images of one's own: what is usual for AdamW, the parts of AugMix
        # as published for images of that size.
        "finetune": _FINETUNE,
        # The same for its last layer alone.
        "finetune-head": {
            **_FINETUNE,
            "freeze": "backbone",
            "learning_rate": 3e-3,
            "layer_decay": None,
        },
    }
)


def find_recipe(name: str) -> Mapping[str, Any]:
    """The settings of a recipe; none for an empty name, a ValueError for an unknown one."""
    if not name:
        return {}
    check_name("recipe", name, RECIPES)
    return RECIPES[name]
