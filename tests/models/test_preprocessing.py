import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from processor_configs import CONFIGS, EXPECTED, HALF, IMAGENET, NEW, box, named, picture
from real_models import import_transformers

from augmix.arrays import to_float
from augmix.data.decode import Geometry
from augmix.errors import RunError
from augmix.models.preprocessing import (
    PRESETS,
    Preprocessing,
    choose_preprocessing,
    from_timm,
    from_transformers,
)
from augmix.models.wrapper import build_normalization


def prepare(image, preprocessing):
    """What a model's network gets of an image: by the source, then by the first layer."""
    pixels = np.asarray(Geometry(**preprocessing.geometry).apply(image))
    layer = build_normalization(preprocessing)
    return layer(torch.from_numpy(to_float(pixels[None])))[0].numpy()


def test_geometry_has_the_arguments_of_sources():
    assert PRESETS["imagenet"].geometry == {
        "size": 224,
        "resize": 256,
        "interpolation": "bilinear",
        "squash": False,
        "convention": "torchvision",
    }
    assert PRESETS["none"].geometry["size"] == 0


def test_a_preset_is_changed_field_by_field():
    changed = choose_preprocessing("imagenet", crop=299, interpolation="lanczos", mean=None)
    assert (changed.crop, changed.resize, changed.interpolation) == (299, 342, "lanczos")
    assert changed.mean == PRESETS["imagenet"].mean
    squashed = choose_preprocessing("half", crop=32, squash=True)
    assert (squashed.resize, squashed.squash) == (32, True)
    assert choose_preprocessing("half") is not None
    with pytest.raises(ValueError, match="did you mean 'imagenet-bicubic'"):
        choose_preprocessing("imagenet_bicubic")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"crop": -1, "resize": 0}, "crop must be above 0 where images are resized"),
        ({"resize": 256}, "got crop 0, resize 256"),
        ({"crop": 224, "resize": 200}, "resize must be at least crop = 224 pixels, got 200"),
        ({"crop": 8, "squash": True}, "resize must be above 0 where images are cropped to 8"),
        ({"convention": "timms"}, "did you mean 'timm'"),
        ({"interpolation": "bicubik"}, "did you mean 'bicubic'"),
        ({"mean": (0.5,)}, "one number per channel, 1 or 3"),
        ({"mean": (0.5,) * 2, "std": (1.0,) * 2}, "one number per channel, 1 or 3"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be above 0"),
        ({"mean": (float("nan"), 0.0, 0.0)}, "must be finite"),
        ({"input_range": (1.0, 0.0)}, "must rise from black to white"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**wrong)


@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_preprocessing_gives_the_pixels_of_the_processor(name):
    got = prepare(picture(), from_transformers(CONFIGS[name], where="hf:x"))
    shown = got.mean(), got.std(), got[0, 0, 0], got[2, -1, got.shape[2] // 2]
    assert_allclose(shown, EXPECTED[name], atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.filterwarnings("ignore")
def test_the_installed_processor_gives_the_same_pixels(name):
    transformers = import_transformers()
    config = CONFIGS[name]
    old = config.get("feature_extractor_type", "").replace("FeatureExtractor", "ImageProcessor")
    kind = (old or config["image_processor_type"]).removesuffix("Fast")
    processor = getattr(transformers, f"{kind}Pil", None) or getattr(transformers, kind)
    if config.get("crop_pct", 1) is None and int(transformers.__version__.split(".")[0]) > 4:
        pytest.skip("transformers 5 fails on crop_pct null")
    for image in (picture(), picture().transpose(Image.Transpose.ROTATE_90).resize((71, 96))):
        wanted = processor.from_dict(dict(config))(images=image, return_tensors="np")
        got = prepare(image, from_transformers(config, where="hf:x"))
        assert_allclose(got, wanted["pixel_values"][0], atol=1e-4)


VIT = named("ViTImageProcessor", NEW, HALF, size=box(224), resample=2)
DEIT = CONFIGS["deit"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**VIT, "do_resize": False}, "images that are not resized"),
        ({**VIT, "size": {"height": 224, "width": 192}}, "224 x 192"),
        ({**VIT, "size": {"longest_edge": 224}}, "the size {'longest_edge': 224}"),
        ({**VIT, "size": {"shortest_edge": 8, "longest_edge": 9}}, "the size"),
        ({**VIT, "size": {"shortest_edge": 224}}, "images of any shape"),
        ({**VIT, "size": "224"}, "the size '224'"),
        ({**VIT, "resample": 9}, "interpolation 'unknown'"),
        ({**VIT, "do_pad": True}, "do_pad = True of the ViTImageProcessor"),
        ({**VIT, "do_flip_channel_order": True}, "do_flip_channel_order = True of the ViT"),
        ({**VIT, "crop_pct": 0.9}, "crop_pct = 0.9 of the ViTImageProcessor"),
        ({**VIT, "size_divisor": 32}, "size_divisor = 32"),
        ({**VIT, "do_center_crop": True, "crop_size": 200}, "do_center_crop = True, which only"),
        ({**VIT, "auto_map": {"AutoImageProcessor": "x.Y"}}, "auto_map = {'AutoImageProcessor'"),
        ({**VIT, "image_mean": [0.5], "image_std": [0.5]}, r"image_mean \[0.5\], not of three"),
        ({**VIT, "image_processor_type": "DonutImageProcessor"}, "'DonutImageProcessor'"),
        ({**DEIT, "crop_size": {"height": 2, "width": 3}}, "2 x 3"),
        (named("ImageGPTFeatureExtractor", size=32), "'ImageGPTImageProcessor'"),
        (named("TextNetImageProcessor"), "'TextNetImageProcessor'"),
        (named("ConvNextImageProcessor", NEW, IMAGENET, size=box(224), resample=3), "a crop of"),
        (named("MobileViTImageProcessor", HALF, do_normalize=True, resample=2), "do_normalize"),
        (named("PerceiverImageProcessor", crop_size=200), "a crop of 224 / 200 of the shorter"),
        (named("RTDetrImageProcessor", do_pad=True, size=box(64)), "do_pad = True"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value.split()[-1],
)
def test_transformers_preprocessing_that_cannot_be_expressed(config, message):
    with pytest.raises(RunError, match=f"hf:x asks for .*{message}.*--preprocessing"):
        from_transformers(config, where="hf:x")


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (named("BeitImageProcessor", HALF, size=box(9), resample=2), "do_center_crop"),
        (named("ConvNextImageProcessor", HALF, size=97), "resample"),
        (named("EfficientNetImageProcessor"), "resample"),
        ({"size": box(9), "resample": 2}, "image_mean"),
        ({}, "size"),
    ],
)
def test_a_default_that_versions_of_transformers_differ_in_is_not_guessed(config, key):
    with pytest.raises(RunError, match=f"hf:x does not say {key}, which has no one default"):
        from_transformers(config, where="hf:x")


TIMM = {"input_size": (3, 224, 224), "interpolation": "bicubic", "mean": (0.5,) * 3}
TIMM["std"] = (0.5,) * 3


def timm_reference(image, size, *, squash):
    """Resize, CenterCrop and ToTensor of torchvision, written out; they pad before they cut."""
    width, height = image.size
    short = (
        (size, size) if squash else tuple(int(size * e / min(width, height)) for e in image.size)
    )
    pixels = np.asarray(image.resize(short, Image.Resampling.BICUBIC)).astype(float)
    for axis in (0, 1):
        missing = 224 - pixels.shape[axis]
        if missing > 0:
            around = [(0, 0)] * 3
            around[axis] = (missing // 2, (missing + 1) // 2)
            pixels = np.pad(pixels, around)
        first = round((pixels.shape[axis] - 224) / 2)
        pixels = np.take(pixels, range(first, first + 224), axis)
    return (pixels.transpose(2, 0, 1) / 255 - 0.5) / 0.5


@pytest.mark.parametrize(
    ("changes", "resize", "squash"),
    [
        ({"crop_pct": 0.9}, 248, False),
        ({"crop_pct": 0.9, "crop_mode": "squash"}, 248, True),
        ({"crop_pct": 1.0, "crop_mode": "squash"}, 224, True),
        ({"crop_pct": 1.09}, 205, False),
        ({"crop_pct": 1.05, "crop_mode": "squash"}, 213, True),
        ({}, 256, False),
    ],
)
def test_timm_preprocessing_gives_the_pixels_of_its_transform(changes, resize, squash):
    preprocessing = from_timm({**TIMM, **changes}, where="timm:x")
    assert preprocessing.resize == resize
    for image in (picture(), picture().resize((91, 240))):
        wanted = timm_reference(image, resize, squash=squash)
        assert_allclose(prepare(image, preprocessing), wanted, atol=1e-6)
