import dataclasses

import pytest

from augmix.models.layers import ModelConfig


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_classes": 0}, r"num_classes must be at least 1, got 0"),
        ({"channels": 4}, r"channels must be 1 or 3, got 4"),
        ({"channels": 1}, r"mean must have one number for each of 1 channel\(s\), got \(0.5, 0.5"),
        ({"std": (1.0,)}, r"std must have one number for each of 3 channel\(s\), got \(1.0,\)"),
        ({"std": (1.0, 0.0, 1.0)}, r"std must be above 0 in every channel, got \(1.0, 0.0, 1.0\)"),
        ({"mean": (0.0, float("nan"), 0.0)}, r"mean must be finite"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"blur_size": 6}, r"blur_size must be 2..5 pixels, got 6"),
    ],
)
def test_wrong_numbers_are_refused(wrong: dict, message: str):
    right = {"name": "small", "num_classes": 10}
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{**right, **wrong})


def test_is_frozen():
    config = ModelConfig(name="small", num_classes=10)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.num_classes = 3  # pyright: ignore
