"""Residual networks against torchvision's names, and against forward passes written out."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.models.layers import BlurPool
from augmix.models.resnet import ResidualNet, zero_last_scales
from augmix.models.weights import build_model

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def norm(at: str, channels: int) -> dict[str, tuple[int, ...]]:
    each = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{at}.{k}": (channels,) for k in each}, f"{at}.num_batches_tracked": ()}


def torchvision_state(depth: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes, in order, of torchvision's ResNet for 1000 classes, written as its rule."""
    expansion = 1 if depth < 50 else 4
    state: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    inputs = 64
    for stage, blocks in enumerate(BLOCKS[depth]):
        planes = 64 * 2**stage
        outputs = planes * expansion
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            kernels = [(planes, inputs, 3), (planes, planes, 3)]
            if expansion == 4:
                kernels = [(planes, inputs, 1), (planes, planes, 3), (outputs, planes, 1)]
            for place, (to, of, size) in enumerate(kernels, 1):
                state[f"{at}.conv{place}.weight"] = (to, of, size, size)
                state |= norm(f"{at}.bn{place}", to)
            if block == 0 and (stage or expansion == 4):
                state[f"{at}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                state |= norm(f"{at}.downsample.1", outputs)
            inputs = outputs
    return {**state, "fc.weight": (1000, inputs), "fc.bias": (1000,)}


@pytest.mark.parametrize("form", ["", "-maxblur"])
@pytest.mark.parametrize("depth", BLOCKS)
def test_state_is_that_of_torchvision(depth: int, form: str):
    with torch.device("meta"):
        state = build_model(f"resnet{depth}{form}", num_classes=1000).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == torchvision_state(depth)
    assert list(state) == list(torchvision_state(depth))


def test_torchvision_has_320_entries_for_resnet50():
    assert len(torchvision_state(50)) == 320


def shapes_after(network: nn.Module, layers: list[str], size: int) -> list[tuple[int, ...]]:
    found = []
    for name in layers:
        network.get_submodule(name).register_forward_hook(
            lambda layer, inputs, output: found.append(tuple(output.shape[1:]))
        )
    with torch.no_grad():
        network.eval()(torch.rand(1, 3, size, size))
    return found


@pytest.mark.parametrize("name", ["resnet50", "resnet50-maxblur"])
def test_stages_for_imagenet(name: str):
    layers = ["conv1", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    assert shapes_after(build_model(name, num_classes=3), layers, 224) == [
        (64, 112, 112),
        (64, 56, 56),
        (256, 56, 56),
        (512, 28, 28),
        (1024, 14, 14),
        (2048, 7, 7),
    ]


@pytest.mark.parametrize(
    ("name", "sizes", "kernel"),
    [
        ("resnext-29-4x32d", [302_592, 1_301_504, 5_191_680], [32, 64, 128]),
        ("resnext-29-32x4d", [205_824, 914_432, 3_643_392], [4, 8, 16]),
    ],
)
def test_stages_of_resnext(name: str, sizes: list[int], kernel: list[int]):
    network = build_model(name, num_classes=10)
    assert isinstance(network, ResidualNet)
    stages = [network.layer1, network.layer2, network.layer3]
    assert [sum(p.numel() for p in stage.parameters()) for stage in stages] == sizes
    for stage, inner, inputs in zip(
        ("layer1", "layer2", "layer3"), (128, 256, 512), kernel, strict=True
    ):
        weight = network.get_parameter(f"{stage}.0.conv2.weight")
        assert tuple(weight.shape) == (inner, inputs, 3, 3)
    assert shapes_after(network, ["conv1", "layer1", "layer2", "layer3"], 32) == [
        (64, 32, 32),
        (256, 32, 32),
        (512, 16, 16),
        (1024, 8, 8),
    ]


def test_resnet50_maxblur_has_its_seven_blur_pools():
    """Where recipes 6.1 says: channels and sizes of what each pool is given."""
    network = build_model("resnet50-maxblur", num_classes=3).eval()
    given = []
    for name, layer in network.named_modules():
        if isinstance(layer, BlurPool):
            layer.register_forward_hook(
                lambda layer, inputs, output, name=name: given.append(
                    (name, *inputs[0].shape[1:3], *output.shape[2:3])
                )
            )
    with torch.no_grad():
        network(torch.rand(1, 3, 224, 224))
    assert given == [
        ("maxpool.1", 64, 111, 56),
        ("layer2.0.blur", 128, 56, 28),
        ("layer2.0.blur", 256, 56, 28),
        ("layer3.0.blur", 256, 28, 14),
        ("layer3.0.blur", 512, 28, 14),
        ("layer4.0.blur", 512, 14, 7),
        ("layer4.0.blur", 1024, 14, 7),
    ]
    strided = [
        k for k, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.stride[0] > 1
    ]
    assert strided == ["conv1"]
    assert network.get_submodule("maxpool.0").stride == 1  # pyright: ignore


def batch_norm(x: Tensor, state: dict[str, Tensor], at: str) -> Tensor:
    kinds = ("running_mean", "running_var", "weight", "bias")
    mean, var, scale, shift = (state[f"{at}.{kind}"][:, None, None] for kind in kinds)
    return (x - mean) / torch.sqrt(var + 1e-5) * scale + shift


def blur(x: Tensor) -> Tensor:
    """The binomial filter of five pixels written out, then every second pixel."""
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    padded = F.pad(x, (2, 2, 2, 2), mode="reflect")
    height, width = x.shape[2:]
    total = torch.zeros_like(x)
    for i in range(5):
        for j in range(5):
            total += row[i] * row[j] * padded[:, :, i : i + height, j : j + width]
    return total[:, :, ::2, ::2]


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet18-maxblur",
        "resnet18-cifar",
        "resnext-11-2x8d",
        "resnext-11-2x8d-maxblur",
    ],
)
def test_equals_a_forward_pass_written_out(name: str):
    torch.manual_seed(0)
    network = build_model(name, num_classes=5).eval()
    for key, value in network.state_dict().items():  # batch norms that do something
        if "running" in key or "bn" in key or "downsample.1" in key:
            value.copy_(torch.rand(value.shape) + 0.5)
    state = network.state_dict()
    images = torch.rand(2, 3, 40, 40)
    is_blurred, is_basic = name.endswith("-maxblur"), "18" in name
    groups = 1 if is_basic else 2
    config = network.config
    x = (images - torch.tensor(config.mean)[:, None, None]) / torch.tensor(config.std)[
        :, None, None
    ]
    if is_basic and "cifar" not in name:
        x = torch.relu(batch_norm(F.conv2d(x, state["conv1.weight"], None, 2, 3), state, "bn1"))
        x = blur(F.max_pool2d(x, 2, 1)) if is_blurred else F.max_pool2d(x, 3, 2, 1)
    else:
        x = torch.relu(batch_norm(F.conv2d(x, state["conv1.weight"], None, 1, 1), state, "bn1"))
    for at in dict.fromkeys(k.rsplit(".conv", 1)[0] for k in state if ".conv" in k):
        halves = at[-1] == "0" and not at.startswith("layer1")
        stride = 2 if halves and not is_blurred else 1
        thin = blur if halves and is_blurred else lambda maps: maps

        def step(y: Tensor, place: int, stride: int = 1, groups: int = 1, at: str = at) -> Tensor:
            weight = state[f"{at}.conv{place}.weight"]
            y = F.conv2d(y, weight, None, stride, weight.shape[-1] // 2, 1, groups)
            return batch_norm(y, state, f"{at}.bn{place}")

        if is_basic:
            y = step(thin(torch.relu(step(x, 1, stride))), 2)
        else:
            y = torch.relu(step(torch.relu(step(x, 1)), 2, stride, groups))
            y = step(thin(y), 3)
        if f"{at}.downsample.0.weight" in state:
            x = F.conv2d(thin(x), state[f"{at}.downsample.0.weight"], None, stride)
            x = batch_norm(x, state, f"{at}.downsample.1")
        x = torch.relu(x + y)
    expected = x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, rtol=1e-3, atol=1e-3)


def test_start_weights_of_the_last_layer():
    """ResNeXt: N(0, 2 / inputs) and 0 (released code); ResNet: torchvision's, bias uniform too."""
    torch.manual_seed(0)
    resnext = build_model("resnext-11-4x16d", num_classes=200)
    resnet = build_model("resnet18", num_classes=1000)
    assert isinstance(resnext, ResidualNet)
    assert isinstance(resnet, ResidualNet)
    assert float(resnext.fc.weight.detach().std()) == pytest.approx(math.sqrt(2 / 1024), rel=0.01)
    assert resnext.fc.bias.unique().tolist() == [0]
    for values in (resnet.fc.weight.detach(), resnet.fc.bias.detach()):
        assert float(values.abs().max()) == pytest.approx(512**-0.5, rel=0.01)
        assert float(values.std()) == pytest.approx(512**-0.5 / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize("name", ["resnet18-cifar", "resnet50", "resnext-11-4x4d-8"])
def test_blocks_without_a_last_scale_are_the_identity(name: str) -> None:
    model = build_model(name, num_classes=3)
    zero_last_scales(model)
    blocks = [each for each in model.modules() if hasattr(each, "downsample")]
    assert blocks
    for block in blocks:
        channels = next(each for each in block.modules() if isinstance(each, nn.Conv2d)).in_channels
        features = torch.rand(2, channels, 8, 8)
        shortcut = features if block.downsample is None else block.downsample(features)
        assert torch.equal(block(features), torch.relu(shortcut))


def test_networks_without_such_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="no residual block that ends in batch norm"):
        zero_last_scales(build_model("wrn-10-1", num_classes=3))
