"""The published networks: their modules, numbering, shapes and parameters."""

import pytest
import torch
from torch import nn

from augmix.stylize.encoder import (
    VGG_DECODER_ROWS,
    VGG_ROWS,
    VGG_STAGES,
    build_decoder,
    build_encoder,
    mirror,
)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_encoder_is_vgg_19_up_to_relu4_1():
    network = build_encoder(VGG_ROWS)
    kinds = [type(module).__name__ for module in network]
    block = ["ReflectionPad2d", "Conv2d", "ReLU"]
    pool = ["MaxPool2d"]
    expected = [*["Conv2d"], *block * 2, *pool, *block * 2, *pool, *block * 4, *pool, *block]
    assert kinds == expected
    assert len(network) == 31
    convolutions = {name: tuple(value.shape) for name, value in network.named_parameters()}
    assert {name: shape for name, shape in convolutions.items() if "weight" in name} == {
        "0.weight": (3, 3, 1, 1),
        "2.weight": (64, 3, 3, 3),
        "5.weight": (64, 64, 3, 3),
        "9.weight": (128, 64, 3, 3),
        "12.weight": (128, 128, 3, 3),
        "16.weight": (256, 128, 3, 3),
        "19.weight": (256, 256, 3, 3),
        "22.weight": (256, 256, 3, 3),
        "25.weight": (256, 256, 3, 3),
        "29.weight": (512, 256, 3, 3),
    }
    assert count(network) == 3_505_740
    assert all(isinstance(network[int(stage)], nn.ReLU) for stage in VGG_STAGES)
    pools = [module for module in network if isinstance(module, nn.MaxPool2d)]
    assert all(module.ceil_mode for module in pools)


def test_the_decoder_is_its_mirror():
    network = build_decoder(VGG_DECODER_ROWS)
    assert len(network) == 29
    names = [name for name, _ in network.named_parameters() if "weight" in name]
    numbers = [1, 5, 8, 11, 14, 18, 21, 25, 28]
    assert names == [f"{number}.weight" for number in numbers]
    assert count(network) == 3_505_219
    assert isinstance(network[28], nn.Conv2d)
    grown = [module for module in network if isinstance(module, nn.Upsample)]
    assert [(module.mode, module.scale_factor) for module in grown] == [("nearest", 2.0)] * 3
    with torch.no_grad():
        assert network(torch.zeros(1, 512, 3, 4)).shape == (1, 3, 24, 32)


def test_features_and_pictures_have_the_published_sizes():
    encoder = build_encoder(VGG_ROWS)
    with torch.no_grad():
        assert encoder(torch.zeros(1, 3, 32, 40)).shape == (1, 512, 4, 5)
        assert encoder(torch.zeros(1, 3, 33, 40)).shape == (1, 512, 5, 5)  # pools round up


@pytest.mark.parametrize(
    ("channels", "strides"),
    [((8,), (1,)), ((8,), (2,)), ((6, 8), (1, 2)), ((3, 40, 64), (1, 2, 8)), ((9, 9), (2, 2))],
    ids=str,
)
@pytest.mark.parametrize("depth", [1, 3])
def test_a_mirror_paints_images_of_the_size_the_encoder_saw(channels, strides, depth):
    network = build_decoder(mirror(channels, strides, depth=depth))
    side = 16 // strides[-1]
    with torch.no_grad():
        assert network(torch.zeros(1, channels[-1], side, side)).shape == (1, 3, 16, 16)
    convolutions = [module for module in network if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == depth * (len(channels) + 1)
    assert min(module.out_channels for module in convolutions[:-1]) >= 8


@pytest.mark.parametrize(
    "row", [("conv", 3), ("turn", 2), ("grow", 1), ("shrink", 3), ("conv", "a", 3)], ids=str
)
def test_unknown_rows_are_refused(row):
    with pytest.raises(ValueError, match="no layer"):
        build_encoder([row])


@pytest.mark.parametrize("rows", [(), (("conv", 8, 4),), (("grow", 2),)], ids=str)
def test_a_decoder_ends_in_colours(rows):
    with pytest.raises(ValueError, match="must end with a convolution to 3 channels"):
        build_decoder(rows)
