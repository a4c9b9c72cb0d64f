"""The networks against the released code's numbers and forward passes written out."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.models.cifar import DenseNet, WideResNet
from augmix.models.weights import build_model


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def train_step(network: nn.Module, images: Tensor, labels: Tensor, optimiser) -> float:
    optimiser.zero_grad()
    loss = F.cross_entropy(network(images).float(), labels)
    loss.backward()
    optimiser.step()
    return float(loss.detach())


@pytest.mark.parametrize(("num_classes", "expected"), [(10, 2_243_546), (100, 2_255_156)])
def test_wrn_40_2_has_the_published_size(num_classes: int, expected: int):
    network = build_model("wrn-40-2", num_classes=num_classes)
    assert isinstance(network, WideResNet)
    assert count(network) == expected
    assert [count(group) for group in network.groups] == [107_232, 427_456, 1_706_880]
    assert count(network.norm) == 256
    assert sum(isinstance(layer, nn.Conv2d) for layer in network.modules()) == 40
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()) == 37


def test_wrn_40_2_does_the_published_arithmetic():
    network = build_model("wrn-40-2", num_classes=10).eval()
    multiplications = []

    def record(layer, inputs, output):
        per_output = layer.weight[0].numel()
        multiplications.append(per_output * output.numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(record)
    with torch.no_grad():
        network(torch.zeros(1, 3, 32, 32))
    assert sum(multiplications) == 327_599_360


@pytest.mark.parametrize("name", ["wrn-10-1", "wrn-16-3"])
def test_wrn_equals_a_forward_pass_written_out(name: str):
    torch.manual_seed(0)
    network = build_model(name, num_classes=7, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0)).eval()
    for key, value in network.state_dict().items():  # batch norms that do something
        if "running" in key or "norm" in key:
            value.copy_(torch.rand(value.shape) + 0.5)
    weights = network.state_dict()
    images = torch.rand(2, 3, 32, 32)

    def norm_relu(x: Tensor, at: str) -> Tensor:
        kind = ("running_mean", "running_var", "weight", "bias")
        mean, var, scale, shift = (weights[f"{at}.{k}"][:, None, None] for k in kind)
        return torch.relu((x - mean) / torch.sqrt(var + 1e-5) * scale + shift)

    x = (images - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([1.0, 2.0, 3.0])[
        :, None, None
    ]
    x = F.conv2d(x, weights["stem.weight"], padding=1)
    for group in range(3):
        for block in range((int(name.split("-")[1]) - 4) // 6):
            at = f"groups.{group}.{block}"
            stride = 2 if group and not block else 1
            first = norm_relu(x, f"{at}.norm1")
            if f"{at}.shortcut.weight" in weights:
                x = F.conv2d(first, weights[f"{at}.shortcut.weight"], stride=stride)
            first = F.conv2d(first, weights[f"{at}.conv1.weight"], stride=stride, padding=1)
            second = norm_relu(first, f"{at}.norm2")
            x = x + F.conv2d(second, weights[f"{at}.conv2.weight"], padding=1)
    x = F.avg_pool2d(norm_relu(x, "norm"), 8).flatten(1)
    expected = x @ weights["head.weight"].T + weights["head.bias"]
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


def test_a_projection_stands_only_where_channels_change():
    names = build_model("wrn-16-1", num_classes=10).state_dict()
    shortcuts = [name for name in names if "shortcut" in name]
    assert shortcuts == ["groups.1.0.shortcut.weight", "groups.2.0.shortcut.weight"]


@pytest.mark.parametrize("depth", [4, 9, 11, 41])
def test_other_depths_are_refused(depth: int):
    with pytest.raises(ValueError, match=rf"depth must be 6 n \+ 4 .* got {depth} in 'wrn-{depth}"):
        build_model(f"wrn-{depth}-2", num_classes=10)


def test_width_zero_is_refused():
    with pytest.raises(ValueError, match="width must be at least 1, got 0 in 'wrn-16-0'"):
        build_model("wrn-16-0", num_classes=10)


def test_allconv_has_the_published_layers():
    network = build_model("allconv", num_classes=10).eval()
    shapes, params = [], []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            params.append(count(layer))
            layer.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:3])))
    with torch.no_grad():
        network(torch.rand(1, 3, 32, 32))
    assert params == [2_688, 83_040, 83_040, 166_080, 331_968, 331_968, 331_968, 37_056, 37_056]
    assert shapes == [
        *[(96, 32)] * 3,
        *[(192, 16)] * 3,
        (192, 6),
        (192, 8),
        (192, 10),
    ]


def test_allconv_equals_a_forward_pass_written_out():
    torch.manual_seed(0)
    network = build_model("allconv", num_classes=7).eval()
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):  # batch norms that do something
            for value in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                assert isinstance(value, Tensor)
                nn.init.uniform_(value, 0.5, 1.5)
    images = torch.rand(2, 3, 32, 32)
    x = (images - 0.5) / 0.5
    with torch.no_grad():
        for place in range(9):
            convolution, norm = layers[2 * place], layers[2 * place + 1]
            assert isinstance(convolution, nn.Conv2d)
            padding = 0 if place == 6 else 1
            x = F.conv2d(x, convolution.weight, convolution.bias, padding=padding)
            x = norm(x)
            x = x / (1 + torch.exp(-1.702 * x))
            if place in (2, 5):
                x = F.max_pool2d(x, 2)
        x = F.avg_pool2d(x, 8).flatten(1)  # of the 10x10 map the first 8x8 window
        head = network.get_submodule("head")
        torch.testing.assert_close(network(images), head(x), rtol=1e-4, atol=1e-4)


def test_small_has_six_layers_with_weights():
    network = build_model("small", num_classes=10)
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in network.modules()) == 6
    assert count(network) == 279_466


@pytest.mark.parametrize("name", ["small", "wrn-10-1"])
@pytest.mark.parametrize("size", [(8, 8), (9, 31), (1, 1), (64, 48)])
@pytest.mark.parametrize("channels", [1, 3])
def test_takes_any_size(name: str, size: tuple[int, int], channels: int):
    network = build_model(
        name, num_classes=5, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels
    )
    assert network(torch.rand(2, channels, *size)).shape == (2, 5)


@pytest.mark.parametrize("name", ["small", "wrn-10-1"])
class TestBehaviour:
    def test_same_seed_same_start(self, name: str):
        torch.manual_seed(3)
        first = build_model(name, num_classes=10).state_dict()
        torch.manual_seed(3)
        again = build_model(name, num_classes=10).state_dict()
        other = build_model(name, num_classes=10).state_dict()
        assert all(torch.equal(first[key], again[key]) for key in first)
        assert not torch.equal(first["head.weight"], other["head.weight"])

    @pytest.mark.parametrize("precision", ["fp32", "bf16", "channels_last"])
    def test_learns_a_batch(self, name: str, precision: str):
        torch.manual_seed(0)
        network = build_model(name, num_classes=4)
        images, labels = torch.rand(16, 3, 16, 16), torch.arange(16) % 4
        if precision == "channels_last":
            network = network.to(memory_format=torch.channels_last)  # pyright: ignore
            images = images.to(memory_format=torch.channels_last)
        optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
        losses = []
        for _ in range(12):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                losses.append(train_step(network, images, labels, optimiser))
        assert losses[-1] < 0.5 * losses[0]
        assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "params", "channels"),
    [
        ("densenet-40-12", [118_800, 28_560, 308_880, 97_968, 498_960], [168, 168, 312, 312, 456]),
        (
            "densenet-bc-100-12",
            [175_680, 23_760, 242_880, 45_600, 276_480],
            [216, 108, 300, 150, 342],
        ),
    ],
    ids=["plain", "bc"],
)
def test_stages(name: str, params: list[int], channels: list[int]):
    network = build_model(name, num_classes=10).eval()
    assert isinstance(network, DenseNet)
    assert [sum(p.numel() for p in stage.parameters()) for stage in network.stages] == params
    shapes = []
    for stage in network.stages:
        stage.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        network(torch.rand(1, 3, 32, 32))
    sizes = [32, 16, 16, 8, 8]
    assert shapes == [(width, size, size) for width, size in zip(channels, sizes, strict=True)]
    assert network.stem.weight.numel() == 648
    assert sum(p.numel() for p in network.norm.parameters()) == 2 * channels[-1]
    assert sum(p.numel() for p in network.head.parameters()) == 10 * channels[-1] + 10


@pytest.mark.parametrize("name", ["densenet-10-3", "densenet-bc-16-3"])
def test_equals_a_forward_pass_written_out(name: str):
    torch.manual_seed(0)
    network = build_model(name, num_classes=5).eval()
    for key, value in network.state_dict().items():  # batch norms that do something
        if "norm" in key:
            value.copy_(torch.rand(value.shape) + 0.5)
    state = network.state_dict()

    def norm_relu(x: Tensor, at: str) -> Tensor:
        kinds = ("running_mean", "running_var", "weight", "bias")
        mean, var, scale, shift = (state[f"{at}.{kind}"][:, None, None] for kind in kinds)
        return torch.relu((x - mean) / torch.sqrt(var + 1e-5) * scale + shift)

    images = torch.rand(2, 3, 16, 16)
    x = F.conv2d((images - 0.5) / 0.5, state["stem.weight"], padding=1)
    for block in range(3):
        for layer in range(2):
            at = f"stages.{2 * block}.{layer}"
            if "bc" in name:
                y = F.conv2d(norm_relu(x, f"{at}.norm1"), state[f"{at}.conv1.weight"])
                y = F.conv2d(norm_relu(y, f"{at}.norm2"), state[f"{at}.conv2.weight"], padding=1)
            else:
                y = F.conv2d(norm_relu(x, f"{at}.norm"), state[f"{at}.conv.weight"], padding=1)
            x = torch.cat([x, y], 1)
        if block < 2:
            at = f"stages.{2 * block + 1}"
            x = F.conv2d(norm_relu(x, f"{at}.norm"), state[f"{at}.conv.weight"])
            x = F.avg_pool2d(x, 2)
    expected = norm_relu(x, "norm").mean((2, 3)) @ state["head.weight"].T + state["head.bias"]
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


def test_transitions_of_the_blurred_form_pool_without_aliasing():
    network = build_model("densenet-10-3-maxblur", num_classes=5)
    assert not any(isinstance(layer, nn.AvgPool2d) for layer in network.modules())


def test_fast_whitens_patches_of_images():
    """Components of 4x4 patches 2 pixels apart, by NumPy's SVD of all patches."""
    network = build_model("fast", num_classes=10)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.from_numpy(np.random.default_rng(0).random((6, 3, 12, 12), np.float32))
    images = F.avg_pool2d(images, 3, stride=1)  # neighbours alike, 10x10
    network.fit_images(images)
    patches = np.array(
        [
            2 * image[:, y : y + 4, x : x + 4].ravel() - 1
            for image in images.double().numpy()
            for y in range(0, 7, 2)
            for x in range(0, 7, 2)
        ]
    )
    centred = patches - patches.mean(0)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    variances = lengths[:24] ** 2 / len(patches)
    assert np.allclose(centred.T @ centred @ directions[0], lengths[0] ** 2 * directions[0])
    found = network.state_dict()["whitening.weight"].flatten(1).double().numpy()
    assert found.shape == (48, 48)
    assert np.array_equal(found[:24], -found[24:])
    expected = directions[:24] / np.sqrt(variances + 0.02)[:, None]
    signs = np.sign((found[:24] * expected).sum(1, keepdims=True))
    np.testing.assert_allclose(found[:24], signs * expected, atol=1e-3)
    assert (np.take_along_axis(found, abs(found).argmax(1)[:, None], 1)[:24] > 0).all()
    changed = {
        name for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"whitening.weight", "whitening.is_fitted"}
    assert "whitening.weight" not in dict(network.named_parameters())
    network.fit_images(1 - images / 2)
    assert np.array_equal(network.state_dict()["whitening.weight"].flatten(1).double(), found)


def test_fast_by_hand():
    """Its forward pass layer by layer."""
    network = build_model("fast", num_classes=10).eval()
    images = torch.rand(2, 3, 32, 32)
    state = network.state_dict()
    x = F.relu(F.conv2d(2 * images - 1, state["whitening.weight"], stride=2, padding=1))
    assert x.shape[1:] == (48, 16, 16)
    for stage, index in ((0, 0), (1, 0), (1, 4), (2, 0), (2, 4)):
        x = F.conv2d(x, state[f"stages.{stage}.{index}.weight"], padding=1)
        if stage and not index:
            x = F.max_pool2d(x, 2)
        norm = f"stages.{stage}.{index + (2 if stage and not index else 1)}"
        x = F.relu(x / (1 + 1e-5) ** 0.5)
        assert state[f"{norm}.running_var"].shape == x.shape[1:2]
    assert x.shape[1:] == (256, 4, 4)
    expected = F.linear(x.mean((2, 3)), state["head.weight"], state["head.bias"])
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)
