"""Published recipes by name, as settings of a run: what a command starts from.

``augmix train --recipe imagenet --data DIR`` is the whole of it; every other flag stands above the
recipe. What the paper itself states for ImageNet could not be checked at its source; the rows say
where each comes from.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from augmix.experiments.settings import TrainConfig

_IMAGENET: dict[str, Any] = {
    "source": "imagenet",
    "model": "resnet50",
    "batch_size": 256,
    "base_batch_size": 256,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "severity": 1,
    "width": 3,
    "depth": -1,
    "alpha": 1.0,
    "jsd_weight": 12.0,
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
        # 30, 60 and 80 of 90 epochs; twice as long.
        "imagenet-goyal": {
            **_IMAGENET,
            "epochs": 180,
            "schedule": "step",
            "decay_at": (30 / 90, 60 / 90, 80 / 90),
            "warm_up_epochs": 5.0,
            "nesterov": True,
        },
    }
)


def build_config(recipe: str, **changes: Any) -> TrainConfig:
    """The settings of a run by a named recipe.

    Args:
        recipe: A key of `RECIPES`.
        changes: Settings that stand above it.

    Raises:
        ValueError: If no recipe has that name (the nearest is suggested), or a setting is wrong.

    Example:
        >>> build_config("imagenet", data="/data/imagenet").severity
        1
    """
    if recipe not in RECIPES:
        near = get_close_matches(recipe, RECIPES, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {recipe!r}{hint}")
    return TrainConfig(**{**RECIPES[recipe], **changes})
