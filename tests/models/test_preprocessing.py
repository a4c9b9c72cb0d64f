import pytest

from augmix.models.preprocessing import PRESETS, Preprocessing, choose_preprocessing


def test_geometry_has_the_arguments_of_sources():
    assert PRESETS["imagenet"].geometry == {
        "size": 224,
        "resize": 256,
        "interpolation": "bilinear",
        "squash": False,
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
        ({"crop": 8, "resize": 9, "squash": True}, "so resize must be 8, got 9"),
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
