"""Array conventions: exact conversions both ways, checks with a way out."""

import os

import jaxtyping
import numpy as np
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation

from augmix import arrays, errors


def test_every_level_survives_the_round_trip():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    floats = arrays.to_float(levels)
    assert floats.dtype == np.float32
    assert floats.shape == (1, 1, 16, 16)
    np.testing.assert_array_equal(
        floats.ravel(), np.arange(256, dtype=np.float32) / np.float32(255)
    )
    np.testing.assert_array_equal(arrays.to_uint8(floats)[0, 0], levels[0, :, :, 0])


def test_to_float_equals_torch_division(noise):
    expected = torch.from_numpy(noise).permute(0, 3, 1, 2).float() / 255
    np.testing.assert_array_equal(arrays.to_float(noise), expected.numpy())


def test_to_uint8_rounds_to_nearest_and_clips():
    values = np.array([-0.1, 0, 0.4 / 255, 0.6 / 255, 1, 1.5], np.float32)
    assert arrays.to_uint8(values).tolist() == [0, 0, 0, 1, 255, 255]


def test_layouts_serve_numpy_and_torch(noise):
    first = arrays.to_channels_first(noise)
    assert first.shape == (8, 3, 20, 24)
    np.testing.assert_array_equal(arrays.to_channels_last(first), noise)
    np.testing.assert_array_equal(arrays.to_channels_first(torch.from_numpy(noise)).numpy(), first)


def test_channel_statistics(noise):
    mean, std = arrays.channel_statistics(noise)
    scaled = noise / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std((0, 1, 2)), rtol=1e-12)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ([[1]], TypeError, "got list"),
        (np.zeros((1, 4, 4, 3), np.float32), TypeError, "got float32; convert with"),
        (np.zeros((4, 4, 3), np.uint8), ValueError, r"got shape \(4, 4, 3\)"),
        (np.zeros((1, 4, 4, 4), np.uint8), ValueError, "1 or 3 channels"),
        (np.zeros((1, 0, 4, 3), np.uint8), ValueError, "at least one pixel"),
    ],
)
def test_bad_images(value, error, message):
    with pytest.raises(error, match=message):
        arrays.check_images(value)


def test_an_empty_batch_is_fine():
    arrays.check_images(np.zeros((0, 4, 4, 3), np.uint8))


@pytest.mark.skipif(os.environ.get("AUGMIX_TEST_SHAPES") == "no", reason="nothing is checked")
def test_the_suite_checks_shapes_and_types() -> None:
    """What `conftest.py` installs, for functions with shapes and for those without."""
    with pytest.raises(jaxtyping.TypeCheckError):
        arrays.to_float(np.zeros((4, 4), np.uint8))
    with pytest.raises(BeartypeCallHintViolation):
        errors.check_threads("2")  # pyright: ignore[reportArgumentType]
