import inspect
import math

import pytest
import torch
from torch import nn

from augmix.models.layers import Normalize, conv, global_average, initialize


def test_normalize_by_hand():
    layer = Normalize((0.5, 0.0, 0.25), (0.5, 2.0, 0.25))
    images = torch.tensor([1.0, 1.0, 1.0]).reshape(1, 3, 1, 1)
    assert layer(images).flatten().tolist() == [1.0, 0.5, 3.0]
    assert layer.state_dict() == {}
    assert "mean=[0.5, 0.0, 0.25]" in repr(layer)


def test_normalize_keeps_the_memory_format():
    layer = Normalize((0.5,) * 3, (0.5,) * 3)
    images = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert layer(images).is_contiguous(memory_format=torch.channels_last)
    assert layer(images.contiguous()).is_contiguous()


def test_normalize_refuses_other_images():
    layer = Normalize((0.5,), (0.5,))
    forward = inspect.unwrap(Normalize.forward)  # past the checker of shapes
    with pytest.raises(TypeError, match=r"floating-point images in \[0, 1\], got torch.uint8"):
        forward(layer, torch.zeros(1, 1, 2, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"model of 1 channel\(s\) .* got shape \(1, 3, 2, 2\)"):
        forward(layer, torch.zeros(1, 3, 2, 2))
    with pytest.raises(ValueError, match=r"got shape \(3, 2\)"):
        forward(layer, torch.zeros(3, 2))


def test_initialize_draws_the_stated_distributions():
    torch.manual_seed(0)
    network = nn.Sequential(conv(40, 160), nn.BatchNorm2d(160), nn.Linear(400, 300))
    initialize(network)
    first, norm, last = network
    assert float(first.weight.detach().std()) == pytest.approx(math.sqrt(2 / (9 * 160)), rel=0.02)
    assert float(first.weight.detach().mean()) == pytest.approx(0, abs=1e-3)
    assert first.bias is None
    assert norm.weight.unique().tolist() == [1]
    assert norm.bias.unique().tolist() == [0]
    assert float(last.weight.detach().abs().max()) == pytest.approx(1 / 20, rel=1e-3)
    assert float(last.weight.detach().std()) == pytest.approx(1 / 20 / math.sqrt(3), rel=0.02)
    assert last.bias.unique().tolist() == [0]


def test_global_average():
    features = torch.arange(12.0).reshape(1, 2, 2, 3)
    assert global_average(features).tolist() == [[2.5, 8.5]]
