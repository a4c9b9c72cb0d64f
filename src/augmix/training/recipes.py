"""Recipes: settings of a run by flat name, to start a configuration from.

`choose_flags` decides what a command that names only its images leaves open, as flags.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from augmix.errors import check_name
from augmix.models import is_foreign
from augmix.run_folder import MODEL_FILE

_PHOTOGRAPH_PX = 64  # of the shorter edge: larger images are photographs
_LOOKED_AT = 50  # images
_HELD_OUT = 0.15  # of the training images

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
    "head_lr_scale": 10.0,
    "warm_up_epochs": 0.5,
    "clip_norm": 1.0,
    "ema_decay": 0.998,
    "label_smoothing": 0.1,
    "resized_crop": True,
    "flip": True,
    "severity": None,
    "precision": "auto",
    "channels_last": True,
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
        # A low error on corrupted images in a short time, also on a CPU: the network `fast`, one
        # cycle, averaged weights, and the consistency of the clean image and one view.
        "fast": {
            "model": "fast",
            "epochs": 8,
            "batch_size": 128,
            "learning_rate": 0.2,
            "schedule": "one-cycle",
            "weight_decay_on": "no-norms",
            "ema_decay": 0.998,
            "num_views": 1,
            "precision": "auto",
            "channels_last": True,
        },
        # The choice of the ablation ladder (`benchmarks/ladder.py`), for a low error under both
        # CIFAR-10-C and C-bar: AugMix with one view, PRIME's stages over it, one cycle and averaged
        # weights. 150 epochs of its two passes cost what 100 of AugMix's three do.
        "robust": {
            "method": "augmix+prime",
            "epochs": 150,
            "batch_size": 128,
            "learning_rate": 0.2,
            "schedule": "one-cycle",
            "ema_decay": 0.998,
            "num_views": 1,
            "precision": "auto",
            "channels_last": True,
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
            "head_lr_scale": 1.0,
        },
    }
)


def find_recipe(name: str) -> Mapping[str, Any]:
    """The settings of a recipe; none for an empty name, a ValueError for an unknown one."""
    if not name:
        return {}
    check_name("recipe", name, RECIPES)
    return RECIPES[name]


class Choice(NamedTuple):
    """Flags that were decided, and why."""

    flags: tuple[str, ...]
    reason: str


def choose_flags(
    data: str, given: Collection[str], *, model: str = "", is_pretrained: bool = True
) -> list[Choice]:
    """Decide what flags of ``augmix train`` are for images, as far as they are not given.

    Args:
        data: Folder or file of the images.
        given: Names of the flags that are, by flat name.
        model: The model that is named, if one is.
        is_pretrained: Whether it starts from its published weights, if there are any.
    """
    from augmix.data.sources import name_source
    from augmix.data.trees import SERVING, FolderTree, find_splits

    kind = name_source(data)
    edges = _edges(Path(data).expanduser()) if kind == "folder" else []
    is_small = kind in ("digits", "cifar10", "cifar100") or (
        len(set(edges)) == 1 and min(edges[0]) <= _PHOTOGRAPH_PX
    )
    choices: list[Choice] = []

    def choose(name: str, value: str, reason: str) -> None:
        if name not in given:
            choices.append(Choice((f"--{name.replace('_', '-')}", value), f"{name}: {reason}"))

    is_run = bool(model) and (Path(model).expanduser() / MODEL_FILE).exists()
    is_started = is_pretrained and bool(model) and (is_foreign(model) or "@" in model or is_run)
    if not model:
        network = "wrn-40-2" if is_small else "resnet18"
        choose(
            "model",
            network,
            f"{network} of this package from random weights, which needs no download; with few "
            "images start from weights, e.g. --model timm:resnet50",
        )
    if is_started:
        choose("recipe", "finetune", f"finetune, since {model} starts from weights")
    elif kind == "folder" and not is_small:
        if not is_foreign(model):
            choose("size", "224", "224 pixels, the network's usual size")
        choose("resized_crop", "yes", "yes, another part of every photograph in each epoch")
        choose("flip", "yes", "yes, half of the photographs are mirrored")
    if not {"val", "val_fraction", "val_split"} & set(given):
        splits = find_splits(FolderTree(Path(data).expanduser())) if kind == "folder" else {}
        if {"train", *SERVING["val"]} <= set(splits):
            choose("val", data, f"the images of {splits['val']}")
        else:
            held = f"{100 * _HELD_OUT:.0f} % of the training images are held out, of every class"
            choose("val_fraction", f"{_HELD_OUT:g}", held)
    out = Path("runs") / (Path(data).expanduser().resolve().name.partition(".")[0] or "run")
    choose("out", str(out), f"{out}, where the same command continues")
    return choices


def _edges(root: Path) -> list[tuple[int, int]]:
    """Width and height of some images of a folder; none where it cannot be read."""
    from PIL import Image

    from augmix.data.trees import FolderTree

    if not root.is_dir():
        return []
    found: list[tuple[int, int]] = []
    for path in FolderTree(root).walk().images[:_LOOKED_AT]:
        try:
            with Image.open(root / path) as image:
                found.append(image.size)
        except (OSError, ValueError, Image.DecompressionBombError):
            continue
    return found
