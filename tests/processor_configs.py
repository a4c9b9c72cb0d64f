"""Preprocessor configurations of transformers, in the forms that repositories have.

`EXPECTED` holds what each model's own processor makes of `picture`, computed by transformers
4.57.6: mean, standard deviation, the first value of the first channel and the middle one in the
last row of the third.
"""

import numpy as np
from PIL import Image

HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
RESIZED = {"do_resize": True, "do_normalize": True}
NEW = {"do_rescale": True, "rescale_factor": 1 / 255, **RESIZED}


def named(name: str, *parts: dict, **changes) -> dict:
    """A configuration by the name of its processor, in the older or newer form."""
    key = "feature_extractor_type" if name.endswith("Extractor") else "image_processor_type"
    config = {key: name}
    for part in (*parts, changes):
        config |= part
    return config


def box(size: int) -> dict:
    return {"height": size, "width": size}


def picture() -> Image.Image:
    """A smooth picture of 333 x 247 pixels with a little noise."""
    rows, columns = np.mgrid[0:247, 0:333]
    waves = [np.sin(rows / (9 + k)) * np.cos(columns / (13 - 2 * k)) for k in range(3)]
    noise = np.random.default_rng(0).normal(0, 12, (247, 333, 3))
    return Image.fromarray((127 + 90 * np.stack(waves, 2) + noise).clip(0, 255).astype(np.uint8))


CONFIGS = {
    "vit": named("ViTFeatureExtractor", RESIZED, HALF, size=224, resample=2),
    "vit-new": named("ViTImageProcessor", NEW, HALF, size=box(224), resample=2),
    "vit-fast": named(
        "ViTImageProcessorFast",
        NEW,
        HALF,
        size=box(96),
        resample=3,
        default_to_square=True,
        do_convert_rgb=None,
        crop_size=None,
        do_center_crop=None,
        data_format="channels_first",
        input_data_format=None,
        return_tensors=None,
        device=None,
    ),
    "vit-raw": named("ViTImageProcessor", HALF, size=32, resample=2, do_rescale=False),
    "vit-signed": named(
        "ViTImageProcessor", size=32, resample=0, rescale_factor=1 / 127.5, do_normalize=False
    ),
    "vit-scalar": named("ViTImageProcessor", size=32, resample=5, image_mean=0.4, image_std=0.3),
    "swin": named("ViTFeatureExtractor", RESIZED, IMAGENET, size=224, resample=3),
    "beit": named(
        "BeitFeatureExtractor",
        RESIZED,
        HALF,
        size=224,
        crop_size=224,
        do_center_crop=False,
        resample=2,
    ),
    "beit-cropped": named(
        "BeitImageProcessor",
        NEW,
        HALF,
        size=box(256),
        crop_size=box(224),
        do_center_crop=True,
        resample=3,
        do_reduce_labels=False,
    ),
    "deit": named(
        "DeiTFeatureExtractor",
        RESIZED,
        IMAGENET,
        size=256,
        crop_size=224,
        do_center_crop=True,
        resample=3,
    ),
    "deit-shorter": named(
        "DeiTImageProcessor",
        NEW,
        IMAGENET,
        size={"height": 256, "width": 256},
        crop_size=box(224),
        resample=3,
    ),
    "resnet": named(
        "ConvNextFeatureExtractor", RESIZED, IMAGENET, size=224, crop_pct=0.875, resample=3
    ),
    "convnext-large": named(
        "ConvNextImageProcessor",
        NEW,
        IMAGENET,
        size={"shortest_edge": 384},
        crop_pct=1.0,
        resample=3,
    ),
    "convnext-odd": named(
        "ConvNextImageProcessor",
        NEW,
        IMAGENET,
        size={"shortest_edge": 97},
        crop_pct=None,
        resample=2,
    ),
    "dinov2": named(
        "BitImageProcessor",
        NEW,
        IMAGENET,
        size={"shortest_edge": 257},
        crop_size=box(224),
        do_center_crop=True,
        do_convert_rgb=True,
        resample=3,
    ),
    "clip": named("CLIPFeatureExtractor", RESIZED, size=224, crop_size=224, do_center_crop=True),
    "mobilenet": named(
        "MobileNetV2ImageProcessor",
        NEW,
        HALF,
        size={"shortest_edge": 256},
        crop_size=box(224),
        do_center_crop=True,
        resample=2,
    ),
    "mobilevit": named(
        "MobileViTFeatureExtractor",
        size=288,
        crop_size=256,
        do_center_crop=True,
        do_resize=True,
        do_flip_channel_order=True,
        resample=2,
    ),
    "mobilevit-border": named(
        "MobileViTImageProcessor", size={"shortest_edge": 224}, crop_size=box(301), resample=2
    ),
    "efficientnet": named(
        "EfficientNetImageProcessor",
        NEW,
        size=box(224),
        crop_size=box(289),
        do_center_crop=False,
        resample=0,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.4785, 0.4733, 0.4743],
        include_top=True,
        rescale_offset=False,
    ),
    "efficientnet-bare": named(
        "EfficientNetImageProcessor", NEW, HALF, size=64, resample=2, include_top=False
    ),
    "efficientnet-signed": named(
        "EfficientNetImageProcessor",
        HALF,
        size=64,
        do_center_crop=True,
        crop_size=50,
        resample=3,
        rescale_factor=1 / 127.5,
        rescale_offset=True,
        do_normalize=False,
    ),
    "levit": named(
        "LevitFeatureExtractor",
        RESIZED,
        IMAGENET,
        size=224,
        crop_size=224,
        do_center_crop=True,
        resample=3,
    ),
    "perceiver": named(
        "PerceiverFeatureExtractor",
        RESIZED,
        IMAGENET,
        size=224,
        crop_size=256,
        do_center_crop=True,
        resample=3,
    ),
    "poolformer": named(
        "PoolFormerFeatureExtractor",
        RESIZED,
        IMAGENET,
        size=224,
        crop_pct=0.95,
        crop_size=224,
        do_center_crop=True,
        resample=3,
    ),
    "pvt": named("PvtImageProcessor", NEW, IMAGENET, size=box(224), resample=2),
    "segformer": named(
        "SegformerFeatureExtractor", RESIZED, IMAGENET, size=512, reduce_labels=False, resample=2
    ),
    "siglip": named("SiglipImageProcessor", NEW, HALF, size=box(224), resample=3),
}


EXPECTED = {
    "vit": (-0.0079, 0.3556, 0.0118, -0.1922),
    "vit-new": (-0.0079, 0.3556, 0.0118, -0.1922),
    "vit-fast": (-0.0079, 0.354, 0.0353, -0.2078),
    "vit-raw": (251.974, 79.2019, 319.0, 253.0),
    "vit-signed": (0.9941, 0.3637, 1.349, 0.8627),
    "vit-scalar": (0.3202, 0.544, 0.7451, 0.2745),
    "swin": (0.209, 0.8053, 0.0912, 0.0082),
    "beit": (-0.0079, 0.3556, 0.0118, -0.1922),
    "beit-cropped": (-0.0075, 0.3598, -0.1059, 0.5294),
    "deit": (0.21, 0.8089, -0.1657, 1.5942),
    "deit-shorter": (0.21, 0.8089, -0.1657, 1.5942),
    "resnet": (0.2071, 0.8046, -0.2684, 1.664),
    "convnext-large": (0.209, 0.8123, 0.0741, -0.0615),
    "convnext-odd": (0.2081, 0.7856, -0.3712, 1.5942),
    "dinov2": (0.2071, 0.8047, -0.0458, 1.7163),
    "clip": (0.1754, 0.683, -0.1864, -0.2289),
    "mobilenet": (-0.0088, 0.3542, -0.1529, 0.5608),
    "mobilevit": (0.4959, 0.178, 0.8275, 0.7333),
    "mobilevit-border": (0.3692, 0.2656, 0.0, 0.0),
    "efficientnet": (0.2092, 0.8221, 0.0741, 0.2348),
    "efficientnet-bare": (-0.0079, 0.3421, 0.1059, -0.1608),
    "efficientnet-signed": (-0.0156, 0.7006, 0.0078, 1.1686),
    "levit": (0.2071, 0.8046, -0.2684, 1.664),
    "perceiver": (0.2072, 0.8052, -0.0287, 1.6814),
    "poolformer": (0.2126, 0.8204, -0.5424, 0.7576),
    "pvt": (0.209, 0.7997, 0.0912, -0.0092),
    "segformer": (0.209, 0.8053, 0.0741, -0.1487),
    "siglip": (-0.0079, 0.3582, 0.0118, -0.1843),
}
