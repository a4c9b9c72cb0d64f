import inspect

import pytest
import torch

from augmix.models.preprocessing import PRESETS, Photometry, Preprocessing, choose_preprocessing


def test_geometry_is_what_sources_take():
    assert PRESETS["imagenet"].geometry == {
        "size": 224,
        "resize": 256,
        "interpolation": "bilinear",
        "squash": False,
    }
    assert PRESETS["none"].geometry["size"] == 0


def test_photometry_by_hand():
    """Efficientnet-lite: (pixel - 127) / 128; ImageNet's mean and deviation channel by channel."""
    pixels = torch.tensor([0.0, 127.0, 255.0])
    images = (pixels / 255).reshape(3, 1, 1, 1).expand(3, 3, 1, 1)
    lite = Photometry(PRESETS["efficientnet-lite"])(images)
    assert torch.allclose(lite[:, 0, 0, 0], torch.tensor([-127 / 128, 0.0, 1.0]), atol=1e-6)
    usual = Photometry(PRESETS["imagenet"])(images)
    assert usual[2].flatten().tolist() == pytest.approx(
        [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    )
    assert torch.equal(Photometry(PRESETS["none"])(images), images)
    signed = Photometry(Preprocessing(input_range=(-1.0, 1.0)))(images)
    assert signed[:, 1, 0, 0].tolist() == pytest.approx([-1, -1 + 2 * 127 / 255, 1])
    assert Photometry(PRESETS["half"]).state_dict() == {}


def test_one_number_serves_any_channels():
    layer = Photometry(Preprocessing(mean=(0.5,), std=(0.25,)))
    assert layer(torch.ones(1, 1, 2, 2)).unique().tolist() == [2.0]
    assert layer(torch.ones(1, 3, 2, 2)).unique().tolist() == [2.0]
    three = inspect.unwrap(Photometry.forward)
    with pytest.raises(ValueError, match=r"images of 3 channels .* got shape \(1, 1, 2, 2\)"):
        three(Photometry(PRESETS["half"]), torch.ones(1, 1, 2, 2))


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
        ({"crop": 8, "resize": 9, "squash": True}, "so resize must be 8, got 9"),
        ({"interpolation": "bicubik"}, "did you mean 'bicubic'"),
        ({"mean": (0.5,)}, "one number a channel, 1 or 3"),
        ({"mean": (0.5,) * 2, "std": (1.0,) * 2}, "one number a channel, 1 or 3"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be above 0"),
        ({"mean": (float("nan"), 0.0, 0.0)}, "must be finite"),
        ({"input_range": (1.0, 0.0)}, "must rise from black to white"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**wrong)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_bring_grey_near_zero(name):
    """But for `none`, which leaves images in [0, 1], every preset centres them."""
    grey = Photometry(PRESETS[name])(torch.full((1, 3, 1, 1), 0.45))
    assert float(grey.abs().max()) < 0.5
