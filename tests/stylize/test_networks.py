"""Encoders and decoders: the published networks, and any network as an encoder."""

import sys
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from toy_styles import ENCODER, ToyEncoder, build_toy

from augmix.errors import RunError
from augmix.models.weights import build_model, save_model
from augmix.stylize.networks import (
    VGG_DECODER_LAYERS,
    VGG_LAYERS,
    VGG_STAGES,
    Encoder,
    Stage,
    build_decoder,
    build_encoder,
    check_size,
    find_stages,
    mirror,
    open_encoder,
)

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_encoder_is_vgg_19_up_to_relu4_1():
    network = build_encoder(VGG_LAYERS)
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
    network = build_decoder(VGG_DECODER_LAYERS)
    assert len(network) == 29
    names = [name for name, _ in network.named_parameters() if "weight" in name]
    numbers = [1, 5, 8, 11, 14, 18, 21, 25, 28]
    assert names == [f"{number}.weight" for number in numbers]
    assert count(network) == 3_505_219
    assert isinstance(network[28], nn.Conv2d)
    glayern = [module for module in network if isinstance(module, nn.Upsample)]
    assert [(module.mode, module.scale_factor) for module in glayern] == [("nearest", 2.0)] * 3
    with torch.no_grad():
        assert network(torch.zeros(1, 512, 3, 4)).shape == (1, 3, 24, 32)


def test_features_and_images_have_the_published_sizes():
    encoder = build_encoder(VGG_LAYERS)
    with torch.no_grad():
        assert encoder(torch.zeros(1, 3, 32, 40)).shape == (1, 512, 4, 5)
        assert encoder(torch.zeros(1, 3, 33, 40)).shape == (1, 512, 5, 5)  # pools round up


@pytest.mark.parametrize(
    ("channels", "strides"),
    [((8,), (1,)), ((8,), (2,)), ((6, 8), (1, 2)), ((3, 40, 64), (1, 2, 8)), ((9, 9), (2, 2))],
    ids=str,
)
@pytest.mark.parametrize("depth", [1, 3])
def test_a_mirror_decodes_images_of_the_size_the_encoder_saw(channels, strides, depth):
    network = build_decoder(mirror(channels, strides, depth=depth))
    size = 16 // strides[-1]
    with torch.no_grad():
        assert network(torch.zeros(1, channels[-1], size, size)).shape == (1, 3, 16, 16)
    convolutions = [module for module in network if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == depth * (len(channels) + 1)
    assert min(module.out_channels for module in convolutions[:-1]) >= 8


@pytest.mark.parametrize(
    "layer", [("conv", 3), ("turn", 2), ("glayer", 1), ("shrink", 3), ("conv", "a", 3)], ids=str
)
def test_unknown_layers_are_refused(layer):
    with pytest.raises(ValueError, match="no layer"):
        build_encoder([layer])


@pytest.mark.parametrize("layers", [(), (("conv", 8, 4),), (("glayer", 2),)], ids=str)
def test_a_decoder_ends_in_colours(layers):
    with pytest.raises(ValueError, match="must end with a convolution to 3 channels"):
        build_decoder(layers)


def reflect(network: nn.Module) -> nn.Module:
    """The paper's padding in every convolution."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "reflect"
    return network


@pytest.fixture(scope="module")
def vgg() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_encoder(VGG_LAYERS).requires_grad_(False)


@pytest.fixture
def published(vgg, tmp_path):
    """The published file: all 53 modules, of which 31 are used."""
    weights = dict(vgg.state_dict())
    for number in (32, 35, 38, 42, 45, 48, 51):
        weights |= {f"{number}.weight": torch.zeros(2, 2, 3, 3), f"{number}.bias": torch.zeros(2)}
    torch.save(weights, tmp_path / "vgg_normalised.pth")
    return tmp_path / "vgg_normalised.pth"


def test_vgg_gives_the_features_of_its_four_stages(vgg, published):
    encoder = open_encoder(str(published), size=16)
    features = encoder(IMAGES)
    assert [tuple(found.shape[1:]) for found in features] == [
        (64, 16, 16),
        (128, 8, 8),
        (256, 4, 4),
        (512, 2, 2),
    ]
    for stage, found in zip((3, 10, 17, 30), features, strict=True):
        torch.testing.assert_close(found, vgg[: stage + 1](IMAGES))
    assert encoder.stride == 8
    assert encoder.min_size == 128
    assert encoder.identity["kind"] == "vgg"


def test_vgg_is_read_from_safetensors_too(vgg, published, tmp_path):
    save_file(vgg.state_dict(), tmp_path / "vgg.safetensors")
    other = open_encoder(str(tmp_path / "vgg.safetensors"), size=16)
    first = open_encoder(str(published), size=16)
    torch.testing.assert_close(other(IMAGES)[-1], first(IMAGES)[-1])
    assert other.identity["sha256"] != first.identity["sha256"]  # of the files


def test_a_trained_run_is_an_encoder(tmp_path):
    with torch.random.fork_rng(devices=[]):
        model = build_model("small", num_classes=3).eval()
    save_model(tmp_path, model)
    encoder = open_encoder(str(tmp_path), stages=("features.2", "features.5"), size=16)
    features = encoder(IMAGES)
    reflect(model)
    inputs = model.normalize(IMAGES)
    with torch.no_grad():
        torch.testing.assert_close(features[0], model.features[:3](inputs))
        torch.testing.assert_close(features[1], model.features[:6](inputs))
    assert [(stage.channels, stage.stride) for stage in encoder.stages] == [(32, 2), (64, 2)]
    assert encoder.identity["kind"] == "run"


def test_a_function_s_network_is_an_encoder_with_a_stage_at_each_size():
    encoder = open_encoder(ENCODER, size=16)
    expected = (("first", 6, 1), ("second", 8, 2), ("third", 10, 4))
    assert encoder.stages == tuple(Stage(name=n, channels=c, stride=s) for n, c, s in expected)
    network = build_toy()
    reflect(network)
    with torch.no_grad():
        first = network.first(IMAGES)
        second = network.second(first)
        for found, wanted in zip(
            encoder(IMAGES), (first, second, network.third(second)), strict=True
        ):
            torch.testing.assert_close(found, wanted)


def test_zeros_around_the_image_are_replaced_by_reflection():
    """A flat image has flat features up to its border."""
    features = open_encoder(ENCODER, size=16)(torch.full((1, 3, 16, 16), 0.7))
    for found in features:
        assert float((found - found[:, :, :1, :1]).abs().max()) < 1e-6


def test_layers_that_work_in_place_do_not_change_an_earlier_stage():
    """The convolution's output is overwritten by the ReLU behind it."""
    encoder = open_encoder(ENCODER, stages=("first.0", "second"), size=16)
    with torch.no_grad():
        raw = reflect(build_toy().first)[0](IMAGES)
    assert raw.min() < 0
    torch.testing.assert_close(encoder(IMAGES)[0], raw)


def test_what_lies_behind_the_last_stage_is_not_computed():
    network = build_toy()
    calls = []
    network.head.register_forward_hook(lambda *_: calls.append(1))
    encoder = Encoder(network, [Stage(name="second", channels=8, stride=2)])
    assert len(encoder(IMAGES)) == 1
    assert calls == []


def test_gains_multiply_the_stages():
    encoder = open_encoder(ENCODER, size=16)
    plain = encoder(IMAGES)
    encoder.gains = (2.0, 1.0, 0.5)
    for gain, found, before in zip(encoder.gains, encoder(IMAGES), plain, strict=True):
        torch.testing.assert_close(found, gain * before)


def test_an_encoder_is_never_trained():
    encoder = open_encoder(ENCODER, size=16)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.network.training


def test_stages_are_offered_two_levels_deep_in_computing_order():
    names = [stage.name for stage in find_stages(ToyEncoder(), size=16)]
    blocks = [(f"{name}.0", f"{name}.1", name) for name in ("first", "second", "third")]
    assert names == [name for block in blocks for name in block]


@pytest.mark.parametrize("size", [8, 50, 224])
def test_stages_do_not_depend_on_the_size(size):
    assert [stage.stride for stage in open_encoder(ENCODER, size=size).stages] == [1, 2, 4]


def test_images_too_small_for_the_last_stage_are_refused():
    encoder = open_encoder(ENCODER, size=16)
    check_size(encoder.stride, 8, "images")
    with pytest.raises(ValueError, match="images must be at least 8 pixels wide and high .* got 7"):
        check_size(encoder.stride, 7, "images")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (("secnd",), "no usable stage 'secnd', did you mean 'second'"),
        (("second", "first"), "from shallow to deep"),
        (("head",), "no usable stage 'head'"),
    ],
    ids=["unknown", "order", "no image"],
)
def test_stages_that_cannot_be_used_are_refused(stages, message):
    with pytest.raises(RunError, match=message):
        open_encoder(ENCODER, stages=stages, size=16)


def test_vgg_has_its_own_stages(published):
    with pytest.raises(RunError, match="VGG-19 has the stages 3, 10, 17, 30, got 3, 10"):
        open_encoder(str(published), stages=("3", "10"), size=16)


def test_wrong_weights_are_named(vgg, tmp_path):
    weights = dict(vgg.state_dict())
    path = tmp_path / "vgg.pth"
    torch.save({name: value for name, value in weights.items() if name != "9.bias"}, path)
    with pytest.raises(RunError, match="expected 20 tensors, got 19; missing: 9.bias; unknown: no"):
        open_encoder(str(path), size=16)
    torch.save(weights | {"9.weight": torch.zeros(64, 64, 3, 3)}, path)
    with pytest.raises(RunError, match=r"9.weight must have shape \(128, 64, 3, 3\), got \(64, 64"):
        open_encoder(str(path), size=16)
    torch.save(weights | {"0.bias": torch.full((3,), torch.nan)}, path)
    with pytest.raises(RunError, match="0.bias holds numbers that are not finite"):
        open_encoder(str(path), size=16)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", b"no weights", "a.pth (is damaged|holds more than tensors)"),
        ("a.safetensors", b"no weights", "damaged or no safetensors"),
        ("b.pth", None, "b.pth does not exist; expected a file of weights"),
    ],
    ids=["torch", "safetensors", "missing"],
)
def test_broken_files_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=message):
        open_encoder(str(tmp_path / name), size=16)


def test_a_file_that_holds_objects_is_not_run(tmp_path):
    torch.save(ToyEncoder(), tmp_path / "whole.pth")
    with pytest.raises(RunError, match="whole.pth holds more than tensors, and reading it"):
        open_encoder(str(tmp_path / "whole.pth"), size=16)
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(RunError, match="expected tensors by name"):
        open_encoder(str(tmp_path / "list.pth"), size=16)


def test_functions_that_give_no_network_are_named(monkeypatch):
    module = ModuleType("toy_module")
    module.number = lambda: 3  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "toy_module", module)
    with pytest.raises(RunError, match="must return an nn.Module, got int"):
        open_encoder("python:toy_module:number", size=16)
    with pytest.raises(RunError, match=r"toy_module has no 'nothing'"):
        open_encoder("python:toy_module:nothing", size=16)
    with pytest.raises(RunError, match="there is no module 'nowhere'"):
        open_encoder("python:nowhere:f", size=16)


def test_a_network_that_refuses_the_images_is_named(tmp_path):
    with torch.random.fork_rng(devices=[]):
        model = build_model("small", num_classes=2, channels=1, mean=(0.5,), std=(0.5,))
    save_model(tmp_path, model)
    with pytest.raises(RunError, match="cannot take square RGB images of 16 pixels and more"):
        open_encoder(str(tmp_path), size=16)
