from types import SimpleNamespace

import pytest

from augmix.errors import RunError
from augmix.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from augmix.models.pretrained import from_timm, from_torchvision, from_transformers

USUAL = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
TIMM = {"input_size": (3, 224, 224), "interpolation": "bicubic", "crop_pct": 0.875, **USUAL}
VIT = {  # preprocessor_config.json of google/vit-base-patch16-224, in its older and newer form
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
}
RESNET = {  # of microsoft/resnet-50
    "crop_pct": 0.875,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": list(IMAGENET_MEAN),
    "image_std": list(IMAGENET_STD),
    "resample": 3,
    "size": {"shortest_edge": 224},
}
DEIT = {  # of facebook/deit-base-distilled-patch16-224
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_resize": True,
    "do_normalize": True,
    "image_mean": list(IMAGENET_MEAN),
    "image_std": list(IMAGENET_STD),
    "resample": 3,
    "size": {"shortest_edge": 256},
}


def test_timm():
    usual = Preprocessing(crop=224, resize=256, interpolation="bicubic", **USUAL)
    assert from_timm(TIMM, where="x") == usual
    inception = {"input_size": (3, 299, 299), "crop_pct": 0.95, "interpolation": "bilinear", **HALF}
    assert from_timm(inception, where="x") == Preprocessing(crop=299, resize=314, **HALF)
    squash = from_timm({**TIMM, "crop_mode": "squash"}, where="x")
    assert (squash.crop, squash.resize, squash.squash) == (224, 224, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": (3, 224, 192)}, "224 x 192, which are not square"),
        ({"crop_mode": "border"}, "a crop of mode 'border'"),
        ({"interpolation": "random"}, "interpolation 'random'"),
    ],
    ids=["wide", "border", "random"],
)
def test_what_cannot_be_said_of_timm(change, message):
    with pytest.raises(RunError, match=f"timm:x asks for .*{message}.*--preprocessing"):
        from_timm({**TIMM, **change}, where="timm:x")


def test_torchvision():
    transform = SimpleNamespace(
        crop_size=[224],
        resize_size=[232],
        interpolation=SimpleNamespace(value="bilinear"),
        mean=list(IMAGENET_MEAN),
        std=list(IMAGENET_STD),
    )
    wanted = Preprocessing(crop=224, resize=232, **USUAL)
    assert from_torchvision(transform, where="resnet50") == wanted
    with pytest.raises(RunError, match="resnet50 asks for .*which this package does not do"):
        from_torchvision(SimpleNamespace(crop_size=[224, 192]), where="resnet50")


def test_transformers():
    vit = Preprocessing(crop=224, resize=224, squash=True, **HALF)
    assert from_transformers(VIT, where="x") == vit
    old = {key: value for key, value in VIT.items() if "rescale" not in key} | {
        "size": {"height": 224, "width": 224}
    }
    assert from_transformers(old, where="x") == vit
    resnet = Preprocessing(crop=224, resize=256, interpolation="bicubic", **USUAL)
    assert from_transformers(RESNET, where="x") == resnet
    assert from_transformers(DEIT, where="x") == resnet
    large = from_transformers({**RESNET, "size": {"shortest_edge": 384}}, where="x")
    assert (large.crop, large.resize, large.squash) == (384, 384, True)


def test_transformers_range():
    signed = from_transformers(
        {**VIT, "rescale_factor": 1 / 127.5, "do_normalize": False}, where=""
    )
    assert signed.input_range == pytest.approx((0, 2))
    assert signed.mean == (0.0,) * 3
    raw = from_transformers({**VIT, "do_rescale": False}, where="x")
    assert raw.input_range == (0.0, 255.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**VIT, "do_resize": False}, "images that are not resized"),
        ({**VIT, "size": {"height": 224, "width": 192}}, "224 x 192"),
        ({**VIT, "size": {"longest_edge": 224}}, "the size {'longest_edge': 224}"),
        ({**VIT, "size": {"shortest_edge": 224}}, "pictures of any shape"),
        (
            {**DEIT, "size": {"height": 256, "width": 256}},
            "pictures squashed to 256 and cropped to 224",
        ),
        ({**VIT, "resample": 9}, "interpolation 'unknown'"),
    ],
    ids=["unresized", "wide", "longest", "uncropped", "both", "filter"],
)
def test_what_cannot_be_said_of_transformers(config, message):
    with pytest.raises(RunError, match=f"hf:x asks for .*{message}"):
        from_transformers(config, where="hf:x")
