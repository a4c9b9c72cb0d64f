"""Images of other depths and numbers of channels against the corruptions of uint8 RGB images."""

from typing import Any

import numpy as np
import pytest
import torch
from toy_images import checkered

from augmix.corruptions import general
from augmix.corruptions.corrupt import corrupt
from augmix.corruptions.registry import CORRUPTIONS

CASES = [(name, level) for name in general.GENERAL for level in (1, 5)]


def images(size: int = 40) -> np.ndarray:
    noisy = np.random.default_rng(0).integers(0, 256, (size, size - 3, 3), np.uint8)
    noisy[: size // 2] = checkered(size)[: size // 2, : size - 3]
    return noisy[None]


@pytest.mark.parametrize(("name", "level"), CASES)
def test_uint8_rgb_has_the_bytes_of_the_compiled_functions(name: str, level: int) -> None:
    corruption, image = CORRUPTIONS[name], images()
    expected = corrupt(image, name, severity=level, preset="tiny", seed=3, ids=[7])[0]
    generator = corruption.stream(3, level).generator(7)
    parameters = corruption.parameters_at("tiny", level)
    found = general.GENERAL[name](image[0], *parameters, generator=generator)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("name", "level"), CASES)
def test_16_bits_and_floats_agree_within_the_quantisation(name: str, level: int) -> None:
    image = images()
    how: dict[str, Any] = {"severity": level, "preset": "tiny", "seed": 3}
    expected = corrupt(image, name, **how).astype(np.float64)
    deep = corrupt(image.astype(np.uint16) * 257, name, **how)
    real = corrupt(image / 255, name, **how)
    single = corrupt((image / 255).astype(np.float32), name, **how)
    assert (deep.dtype, real.dtype, single.dtype) == (np.uint16, np.float64, np.float32)
    least = -1.01 if name in ("glass_blur", "pixelate", "motion_blur") else -1e-3
    for found in (deep / 257, real * 255, single * 255):
        # 8 bits drop up to a level, twice where they are quantised twice
        difference = found - expected
        is_near = (difference >= least) & (difference <= (2.01 if least < -1 else 1.001))
        assert is_near.mean() >= (0.999 if name == "shot_noise" else 1)  # a count may round
    differences = np.abs(real - deep / 65535)
    assert (
        np.quantile(differences, 0.999) if name == "shot_noise" else differences.max()
    ) <= 3 / 65535


@pytest.mark.parametrize("name", general.GENERAL)
def test_channels_are_treated_alike(name: str) -> None:
    """Six channels of two RGB images side by side: what draws nothing by channel is the same."""
    image = images()[0]
    both = np.concatenate([image, image[::-1]], axis=2)
    found = corrupt(both, name, severity=3, preset="tiny")
    assert found.shape == (40, 37, 6)
    if not name.endswith("noise") and name != "fog":
        for part in (slice(0, 3), slice(3, 6)):
            alone = corrupt(np.ascontiguousarray(both[:, :, part]), name, severity=3, preset="tiny")
            np.testing.assert_array_equal(found[:, :, part], alone)


def test_layouts() -> None:
    batch = np.random.default_rng(1).random((2, 20, 24, 5), np.float32)
    found = corrupt(batch, "gaussian_blur", severity=3, preset="imagenet")
    assert found.shape == batch.shape
    tensor = torch.from_numpy(np.moveaxis(batch, -1, 1).copy())
    of_tensor = corrupt(tensor, "gaussian_blur", severity=3, preset="imagenet")
    np.testing.assert_array_equal(np.moveaxis(of_tensor.numpy(), 1, -1), found)
    grey = corrupt(batch[0, :, :, 0], "contrast", severity=3, preset="imagenet")
    mean = batch[0, :, :, 0].mean(dtype=np.float64)
    np.testing.assert_allclose(grey, (batch[0, :, :, 0] - mean) * 0.2 + mean, atol=1e-6)


def test_what_is_refused() -> None:
    deep = np.zeros((20, 20, 6), np.uint16)
    words = "'snow' is for uint8 images of 1 or 3 channels, got uint16 of 6 channels; .*gaussian_n"
    with pytest.raises(ValueError, match=words):
        corrupt(deep, "snow", severity=1)
    with pytest.raises(ValueError, match="jpeg_quality is for uint8 images"):
        corrupt(deep, "contrast", severity=1, jpeg_quality=85)
    with pytest.raises(ValueError, match=r"floats must be in \[0, 1\].* got 0 to 2"):
        corrupt(np.array([0.0, 2.0]).repeat(200).reshape(20, 20), "contrast", severity=1)
    with pytest.raises(ValueError, match="floats must be"):
        corrupt(np.full((20, 20, 3), np.nan), "contrast", severity=1)
    with pytest.raises(
        ValueError, match=r"got shape \(20, 24\); an image of one channel is image\[None\]"
    ):
        corrupt(torch.zeros(20, 24), "contrast", severity=1)
    with pytest.raises(ValueError, match="17"):
        corrupt(np.zeros((20, 20, 17), np.uint8), "contrast", severity=1)
