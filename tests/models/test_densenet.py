"""DenseNet's blocks against the published sizes and a forward pass written out."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.models.densenet import DenseNet
from augmix.models.weights import build_model


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
