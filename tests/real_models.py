"""The libraries of models as they are, and tiny networks of theirs with random weights.

torchvision and timm, which imports it, ask for torchvision's own operators, which its wheel of
PyPI cannot load beside a torch without CUDA. Their classifiers use none of them, so here their
names are declared where they are missing.
"""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import torch

CODE = """
import timm
from torch import nn

def resnet(num_classes):
    return timm.create_model("resnet10t", stem_width=8, channels=(8, 16, 24, 32),
                             num_classes=num_classes)

def convnext(num_classes):
    return timm.create_model("convnext_atto", output_stride=8, depths=(1, 1, 2, 1),
                             dims=(8, 16, 24, 32), num_classes=num_classes)

def vit(num_classes):
    return timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=4, embed_dim=16,
                             depth=3, num_heads=2, num_classes=num_classes)

def swin(num_classes):
    return timm.create_model("swin_tiny_patch4_window7_224", img_size=16, patch_size=2,
                             window_size=2, embed_dim=8, depths=(2, 2), num_heads=(2, 2),
                             num_classes=num_classes)

def tv_resnet():
    from torchvision.models.resnet import Bottleneck, ResNet
    return ResNet(Bottleneck, [1, 1, 2, 1], width_per_group=1, num_classes=5)

def tv_convnext():
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt
    return ConvNeXt([CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 2)], num_classes=5)

def tv_vit():
    from torchvision.models import VisionTransformer
    return VisionTransformer(16, 4, 3, 2, 16, 32, num_classes=5)

def tv_swin():
    from torchvision.models import SwinTransformer
    return SwinTransformer([2, 2], 8, [2, 2], [2, 2], [2, 2], num_classes=5)
"""


def import_torchvision() -> Any:
    """Import torchvision, or skip the test."""
    _require("torchvision")
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare_operators()
        return importlib.import_module("torchvision")


def import_timm() -> Any:
    """Import timm, which imports torchvision, or skip the test."""
    import_torchvision()
    _require("timm")
    return importlib.import_module("timm")


def import_transformers() -> Any:
    """Import transformers, some of whose classes import torchvision, or skip the test."""
    if importlib.util.find_spec("torchvision") is not None:
        import_torchvision()
    return pytest.importorskip("transformers", reason="transformers is not installed")


def _require(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed (pip install -e .[models])")


_LIBRARY: list[torch.library.Library] = []  # declarations last as long as it does


def _declare_operators() -> None:
    folder = Path(importlib.util.find_spec("torchvision").origin).parent  # type: ignore[union-attr]
    code = (folder / "_meta_registrations.py").read_text(encoding="utf-8")
    names = re.findall(r"torchvision::(\w+)", code) + re.findall(r'register_meta\("(\w+)"', code)
    _LIBRARY.append(torch.library.Library("torchvision", "DEF"))
    for name in sorted(set(names)):
        _LIBRARY[0].define(f"{name}(Tensor a, Tensor b, float c) -> Tensor")


def write_code(folder: Path) -> str:
    """Write functions that make tiny networks, and return what stands before their names."""
    path = folder / "real_nets.py"
    path.write_text(CODE)
    return f"python:{path}:"


def write_vit(folder: Path) -> str:
    """Write a tiny ViT of transformers with its processor as a folder; return its text."""
    transformers = import_transformers()
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=16,
        patch_size=4,
        num_labels=5,
    )
    torch.manual_seed(0)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    size = '{"height": 16, "width": 16}'
    (folder / "preprocessor_config.json").write_text(
        f'{{"image_processor_type": "ViTImageProcessor", "size": {size}, "resample": 3}}'
    )
    return f"hf:{folder}"
