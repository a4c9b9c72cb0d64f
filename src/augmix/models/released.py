"""Weights trained by the published programs, under the names they have here.

Known are the networks of AugMix's released code for CIFAR and the blur-pooled ResNets of Zhang
(2019). ResNets without blur pools have torchvision's names, which are ours.
"""

import re

from torch import Tensor

from augmix.models.networks import find_family

_DENSE = [
    (r"conv1\.(.+)", r"stem.\1"),
    (r"bn1\.(.+)", r"norm.\1"),
    (r"fc\.(.+)", r"head.\1"),
]
_TRANSITIONS = [
    (r"trans1\.bn1\.(.+)", r"stages.1.norm.\1"),
    (r"trans1\.conv1\.(.+)", r"stages.1.conv.\1"),
    (r"trans2\.bn1\.(.+)", r"stages.3.norm.\1"),
    (r"trans2\.conv1\.(.+)", r"stages.3.conv.\1"),
]
# Family (its `form`) -> names of the released code as patterns, and ours.
_RULES: dict[str, list[tuple[str, str]]] = {
    "allconv": [(r"classifier\.(.+)", r"head.\1")],
    "wrn-D-W": [
        (r"conv1\.(.+)", r"stem.\1"),
        *(
            (rf"block{group + 1}\.layer\.(\d+)\.{theirs}\.(.+)", rf"groups.{group}.\1.{ours}.\2")
            for group in range(3)
            for theirs, ours in (
                ("bn1", "norm1"),
                ("bn2", "norm2"),
                ("conv1", "conv1"),
                ("conv2", "conv2"),
                ("convShortcut", "shortcut"),
            )
        ),
        (r"bn1\.(.+)", r"norm.\1"),
        (r"fc\.(.+)", r"head.\1"),
    ],
    "resnext-D-CxWd": [
        (r"conv_1_3x3\.(.+)", r"conv1.\1"),
        (r"bn_1\.(.+)", r"bn1.\1"),
        *(
            (rf"stage_(\d)\.(\d+)\.{theirs}\.(.+)", rf"layer\1.\2.{ours}.\3")
            for theirs, ours in (
                ("conv_reduce", "conv1"),
                ("bn_reduce", "bn1"),
                ("conv_conv", "conv2"),
                ("bn", "bn2"),
                ("conv_expand", "conv3"),
                ("bn_expand", "bn3"),
                ("downsample", "downsample"),
            )
        ),
        (r"classifier\.(.+)", r"fc.\1"),
    ],
}
_ALLCONV = re.compile(r"features\.(\d+)\.(.+)")
_ALLCONV_STAGE = 11  # layers: three times convolution, norm, activation; then pooling, dropout
_DENSE_LAYER = re.compile(r"dense(\d)\.(\d+)\.(bn|conv)(\d)\.(.+)")


def rename_released(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the published programs as one of ours; any other one comes back unchanged.

    Args:
        name: The network's name here, e.g. ``wrn-40-2`` or ``resnet50-maxblur``.
        state: Tensors by name, without the ``module.`` of data-parallel training.

    Returns:
        The same tensors; filters of blur pools, which are no weights here, are left out.

    Raises:
        ValueError: If no network has that name.
    """
    form = find_family(name).form.split(",")[0]  # without its narrow forms
    if form.startswith("resnet"):
        return _rename_blurred(state)
    renamed = {key: _rename(key, form, name) for key in state}
    if any(new is None for new in renamed.values()):
        return state
    return {str(renamed[key]): value for key, value in state.items()}


def _rename(key: str, form: str, name: str) -> str | None:
    """Our name of a tensor of the released CIFAR code; None if it has no such name."""
    if form == "allconv" and (match := _ALLCONV.fullmatch(key)):
        stage, layer = divmod(int(match[1]), _ALLCONV_STAGE)
        return f"stages.{stage}.{layer}.{match[2]}"
    rules = [*_DENSE, *_TRANSITIONS] if form == "densenet-D-K" else _RULES.get(form, [])
    if form == "densenet-D-K" and (match := _DENSE_LAYER.fullmatch(key)):
        block, layer, kind, place, rest = match.groups()
        ours = {"bn": "norm", "conv": "conv"}[kind] + (place if "-bc-" in name else "")
        return f"stages.{2 * int(block) - 2}.{layer}.{ours}.{rest}"
    for pattern, ours in rules:
        if re.fullmatch(pattern, key):
            return re.sub(pattern, ours, key)
    return None


def _rename_blurred(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A blur pool stands there as layer 0 in front of a convolution, and moves it to place 1."""
    renamed = {}
    for key, value in state.items():
        if key.endswith(".filt"):
            continue
        match = re.fullmatch(r"(.+\.(?:conv2|conv3|downsample))\.(\d)\.(.+)", key)
        if match and f"{match[1]}.0.filt" in state:
            at, place, rest = match[1], int(match[2]) - 1, match[3]
            key = f"{at}.{place}.{rest}" if at.endswith("downsample") else f"{at}.{rest}"
        renamed[key] = value
    return renamed
