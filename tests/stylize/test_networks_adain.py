"""Restyled features are held against the formula written out in NumPy at float64."""

import numpy as np
import pytest
import torch
from torch import nn

from augmix.stylize.networks import (
    ChannelStatistics,
    Stylizer,
    adapt,
    channel_statistics,
    enlarge,
    pad_to_stride,
)


@pytest.fixture
def content() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(2, 3, (2, 5, 6, 7)))


@pytest.fixture
def style() -> torch.Tensor:
    """Of another size than the content: only statistics are taken from it."""
    return torch.from_numpy(np.random.default_rng(1).normal(-1, 0.5, (2, 5, 9, 4)))


def moments(features: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased variance of every channel, by loops and sums alone."""
    array = features.numpy().astype(np.float64)
    mean, variance = np.zeros(array.shape[:2]), np.zeros(array.shape[:2])
    for image in range(array.shape[0]):
        for channel in range(array.shape[1]):
            pixels = array[image, channel].ravel()
            mean[image, channel] = pixels.sum() / len(pixels)
            squares = ((pixels - mean[image, channel]) ** 2).sum()
            variance[image, channel] = squares / (len(pixels) - 1)
    return mean, variance


def test_statistics_are_mean_and_root_of_unbiased_variance_plus_floor(content):
    found = channel_statistics(content)
    mean, variance = moments(content)
    np.testing.assert_allclose(found.mean.numpy(), mean, rtol=1e-6)
    np.testing.assert_allclose(found.std.numpy(), np.sqrt(variance + 1e-5), rtol=1e-6)


def test_a_flat_channel_has_the_deviation_of_the_floor():
    found = channel_statistics(torch.full((1, 2, 3, 3), 4.0))
    np.testing.assert_allclose(found.std.numpy(), np.full((1, 2), np.sqrt(1e-5)), rtol=1e-6)


def test_adapted_features_equal_the_formula(content, style):
    mean_c, variance_c = (array[:, :, None, None] for array in moments(content))
    mean_s, variance_s = (array[:, :, None, None] for array in moments(style))
    std_c, std_s = np.sqrt(variance_c + 1e-5), np.sqrt(variance_s + 1e-5)
    expected = (content.numpy() - mean_c) / std_c * std_s + mean_s
    found = adapt(content, channel_statistics(style))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_adapted_features_have_the_style_s_mean_and_variance(content, style):
    mean, variance = moments(adapt(content, channel_statistics(style)))
    style_mean, style_variance = moments(style)
    np.testing.assert_allclose(mean, style_mean, atol=1e-5)
    # the floor shrinks it a little: var_c / (var_c + 1e-5) * (var_s + 1e-5)
    content_variance = moments(content)[1]
    expected = content_variance / (content_variance + 1e-5) * (style_variance + 1e-5)
    np.testing.assert_allclose(variance, expected, rtol=1e-5)


def test_alpha_blends_the_features(content, style):
    whole = adapt(content, channel_statistics(style))
    half = adapt(content, channel_statistics(style), alpha=0.25)
    torch.testing.assert_close(half, 0.25 * whole + 0.75 * content)
    torch.testing.assert_close(adapt(content, channel_statistics(style), alpha=0.0), content)


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_alpha_outsize_is_refused(content, style, alpha):
    with pytest.raises(ValueError, match=f"alpha must be 0..1, got {alpha}"):
        adapt(content, channel_statistics(style), alpha=alpha)


def test_a_single_pixel_has_no_variance():
    with pytest.raises(ValueError, match="at least 2 pixels"):
        channel_statistics(torch.zeros(1, 3, 1, 1))


class Double(nn.Module):
    """An encoder of one stage that doubles."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (2 * images,)


class Halve(nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features / 2


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))


def test_alpha_0_gives_the_decoder_s_image_of_the_content(images):
    stylizer = Stylizer(Double(), Halve(), stride=1, scale=1)
    style = stylizer.encode_style(
        torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    )
    torch.testing.assert_close(stylizer(images, style, alpha=0.0), images)
    stylised = stylizer(images, style, alpha=1.0)
    torch.testing.assert_close(stylised, (adapt(2 * images, style) / 2).clamp(0, 1))
    assert not torch.allclose(stylised, images, atol=0.05)


def test_images_are_clipped(images):
    stylizer = Stylizer(Double(), Halve(), stride=1, scale=1)
    bright = ChannelStatistics(mean=torch.full((2, 3), 9.0), std=torch.ones(2, 3))
    assert stylizer(images, bright, alpha=1.0).unique().tolist() == [1.0]


def test_enlarged_images_come_back_at_their_size(images):
    stylizer = Stylizer(Double(), Halve(), stride=4, scale=3)
    style = stylizer.encode_style(
        torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    )
    found = stylizer(images, style, alpha=0.0)
    expected = enlarge(images, 3).unflatten(2, (5, 3)).unflatten(4, (6, 3)).mean((3, 5))
    torch.testing.assert_close(found, expected)
    assert (found - images).abs().mean() < 0.1


def test_padding_repeats_the_border(images):
    padded = pad_to_stride(images, 4)
    assert padded.shape == (2, 3, 8, 8)
    assert torch.equal(padded[..., :5, :6], images)
    assert torch.equal(padded[:, :, 7, :6], images[:, :, 4])
    assert torch.equal(padded[:, :, 7, 7], images[:, :, 4, 5])
    assert pad_to_stride(padded, 4) is padded
