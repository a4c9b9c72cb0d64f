"""The policies as transforms: for an existing data set, DataLoader or torchvision's Compose.

A transform of one image is a plain callable. It takes what data sets hand out and gives the same
kind back:

* a PIL image of mode L or RGB,
* a uint8 NumPy array `height width channel` (or `height width` for grey),
* a uint8 tensor `channel height width` or `batch channel height width`.

`AugMix`, `AutoAugment`, `RandomAA`, `Cutout` and `PatchUniform` give one view, `OneView` does so by
any policy, `AugMixViews` gives several beside the image. `Mixup` and `CutMix` take finished batches
of float tensors with their labels.

Draws are addressed by (the transform's seed, torch's seed of the process, the number of the call).
DataLoader seeds every worker of every epoch differently, so workers and epochs never repeat each
other, and a program that calls `torch.manual_seed` draws the same again when it is run again.
"""

from augmix.transforms.images import from_batch, to_batch
from augmix.transforms.pairs import CutMix, Mixup
from augmix.transforms.single import (
    AugMix,
    AutoAugment,
    Cutout,
    OneView,
    PatchUniform,
    RandomAA,
)
from augmix.transforms.views import AugMixViews

__all__ = [
    "AugMix",
    "AugMixViews",
    "AutoAugment",
    "CutMix",
    "Cutout",
    "Mixup",
    "OneView",
    "PatchUniform",
    "RandomAA",
    "from_batch",
    "to_batch",
]
