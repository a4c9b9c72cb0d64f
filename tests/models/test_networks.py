"""Every network against published numbers and `docs/networks.md`, and what all networks promise."""

import inspect
import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.models import find_family, maxblur_name
from augmix.models.layers import BlurPool, Classifier
from augmix.models.weights import build_model

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
ROWS = re.findall(
    r"^\| `(\S+)` \| ([\d,]+) \| ([\d,]*) ?\| ([\d,]+) \| ([\d,]+) \| (\d+) \|",
    PAGE.read_text(),
    re.M,
)
# parameters for 10 and 100 classes, multiply-adds at 32x32, batch norms, convolutions
PUBLISHED = {
    "allconv": (1_409_674, 1_427_044, 402_851_712, 9, 9),
    "densenet-40-12": (1_059_298, 1_100_428, 282_917_328, 39, 39),
    "densenet-bc-100-12": (769_162, 800_032, 287_929_692, 99, 99),
    "wrn-40-2": (2_243_546, 2_255_156, 327_599_360, 37, 40),
    "resnext-29-4x32d": (6_807_882, 6_900_132, 1_071_327_232, 31, 31),
    "resnext-29-32x4d": (4_775_754, 4_868_004, 774_055_936, 31, 31),
}
# Small members of every family and their blur-pooled forms, with the least size they take.
TINY = {
    "small": 1,
    "small-maxblur": 9,
    "fast": 8,
    "fast-maxblur": 16,
    "allconv": 12,
    "allconv-maxblur": 12,
    "densenet-10-4": 4,
    "densenet-bc-10-4": 4,
    "densenet-bc-10-4-maxblur": 5,
    "wrn-10-1": 1,
    "wrn-10-1-maxblur": 5,
    "resnext-11-2x2d": 1,
    "resnext-11-2x2d-maxblur": 5,
    "resnet18-cifar-maxblur": 9,
    "resnet18": 1,
}
LEAST = {**TINY, "resnet18-cifar": 1, "resnet18-maxblur": 35}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def multiplications(network: Classifier, size: int) -> int:
    """Multiply-adds of convolutions and linear layers for one image."""
    found = []

    def record(layer: nn.Module, inputs: tuple, output: Tensor) -> None:
        assert isinstance(layer.weight, Tensor)
        found.append(layer.weight[0].numel() * output.numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(record)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size, device=next(network.parameters()).device))
    return sum(found)


def size_for(name: str) -> int:
    """A small image size in pixels, for quick tests."""
    return max(TINY[name], 9 if name.startswith("resnet18-cifar") else 16)


def build(name: str, **changes) -> Classifier:
    torch.manual_seed(0)
    return build_model(name, **{"num_classes": 4, **changes})


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str):
    params_10, params_100, multiply_adds, norms, convs = PUBLISHED[name]
    with torch.device("meta"):  # shapes without numbers
        network = build_model(name, num_classes=10)
        assert count(network) == params_10
        assert count(build_model(name, num_classes=100)) == params_100
        assert count(build_model(maxblur_name(name), num_classes=10)) == params_10
    assert multiplications(network, 32) == multiply_adds
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()) == norms
    assert sum(isinstance(layer, nn.Conv2d) for layer in network.modules()) == convs


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet50-maxblur", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
    ],
)
def test_published_sizes_for_imagenet(name: str, expected: int):
    with torch.device("meta"):
        assert count(build_model(name, num_classes=1000)) == expected


@pytest.mark.parametrize(("name", "expected"), [("resnet18", 11_173_962), ("resnet50", 23_520_842)])
def test_published_sizes_for_small_images(name: str, expected: int):
    with torch.device("meta"):
        assert count(build_model(f"{name}-cifar", num_classes=10)) == expected


def test_narrow_forms():
    """Counted by hand; the published width is what a name without it has."""
    with torch.device("meta"):
        named = {
            name: build_model(name, num_classes=10)
            for name in ("allconv", "allconv-96", "allconv-24", "resnext-11-4x4d-16")
        }
        whole = build_model("resnext-29-4x32d-64", num_classes=10)
    assert count(named["allconv"]) == count(named["allconv-96"]) == 1_409_674
    # 3x3 convolutions 3-24-24-24-48-48-48-48, 1x1 48-48-48, biases, norms (2 a channel), linear
    kernels = 9 * (3 * 24 + 2 * 24 * 24 + 24 * 48 + 3 * 48 * 48) + 2 * 48 * 48
    channels = 3 * 24 + 6 * 48
    assert count(named["allconv-24"]) == kernels + 3 * channels + 48 * 10 + 10
    assert count(whole) == 6_807_882
    # stem 3-16; a stage of p planes: 1x1 i-p, 3x3 p-p in 4 groups, 1x1 p-4p, 1x1 shortcut i-4p
    stages = [(16, 16), (64, 32), (128, 64)]
    kernels = 9 * 3 * 16 + sum(i * p + 9 * p * p // 4 + 4 * p * p + 4 * i * p for i, p in stages)
    norms = 2 * (16 + sum(10 * p for _, p in stages))
    assert count(named["resnext-11-4x4d-16"]) == kernels + norms + 256 * 10 + 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("densenet-41-12", r"depth must be 3 n \+ 4 \(7, 10, ...\), got 41 in 'densenet-41-12'"),
        ("densenet-4-12", r"depth must be 3 n \+ 4 .*got 4 "),
        ("densenet-bc-40-0", r"growth must be at least 1, got 0 in 'densenet-bc-40-0'"),
        ("densenet-bc-39-12", r"depth must be 6 n \+ 4 \(10, 16, ...\), got 39"),
        ("resnext-30-4x32d", r"depth must be 9 n \+ 2 \(11, 20, 29, ...\), got 30"),
        ("resnext-2-4x32d", r"got 2 in"),
        ("resnext-29-1x64d", r"at least 2 groups of at least 1 channel .*got 'resnext-29-1x64d'"),
        ("resnext-29-4x0d", r"got 'resnext-29-4x0d'"),
    ],
)
def test_numbers_that_make_no_network(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        build_model(name, num_classes=2)


@pytest.mark.parametrize("name", LEAST)
def test_takes_images_from_its_least_size_on(name: str):
    network = build(name).eval()
    least = LEAST[name]
    with torch.no_grad():
        for height, width in ((least, least), (least, least + 9), (least + 6, least + 1)):
            assert network(torch.rand(1, 3, height, width)).shape == (1, 4)
        if least > 1:
            for height, width in ((least - 1, 64), (64, least - 1)):
                with pytest.raises(ValueError, match=r"too small|takes images of at least"):
                    network(torch.rand(1, 3, height, width))


@pytest.mark.parametrize("name", TINY)
class TestAll:
    def test_refuses_other_channels_and_integers(self, name: str):
        network = build(name).eval()
        size = TINY[name] + 1
        unchecked = inspect.unwrap(type(network.normalize).forward)  # without the shape checker
        for images in (torch.rand(1, 1, size, size), torch.rand(1, 4, size, size)):
            with pytest.raises(ValueError, match=r"a model of 3 channel\(s\) takes images"):
                network(images)
        with pytest.raises(TypeError, match="got torch.uint8; divide uint8 images by 255"):
            unchecked(network.normalize, torch.zeros(1, 3, size, size, dtype=torch.uint8))

    def test_gradients_reach_every_weight(self, name: str):
        network = build(name, dropout=0.0)
        size = size_for(name)
        images = torch.rand(4, 3, size, size, requires_grad=True)
        F.cross_entropy(network(images), torch.arange(4)).backward()
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None, key
            assert torch.isfinite(parameter.grad).all(), key
            if "bias" not in key:  # normalisation undoes a convolution's bias
                assert parameter.grad.abs().max() > 0, key
        assert images.grad is not None
        assert images.grad.abs().max() > 0

    def test_evaluation_is_repeatable_and_independent_of_the_batch(self, name: str):
        network = build(name, dropout=0.5)
        size = size_for(name)
        images = torch.rand(3, 3, size, size)
        with torch.no_grad():
            network(images)  # batch statistics move away from their start
            network.eval()
            together = network(images)
            assert torch.equal(together, network(images))
            alone = torch.cat([network(image[None]) for image in images])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)

    def test_dropout_acts_only_in_training(self, name: str):
        size = size_for(name)
        images = torch.rand(4, 3, size, size)
        dropping, plain = build(name, dropout=0.5), build(name, dropout=0.0)
        assert not torch.equal(dropping(images), dropping(images))
        assert torch.equal(plain(images), plain(images))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
    def test_memory_formats_and_precisions_agree(self, name: str, dtype: torch.dtype):
        size = size_for(name)
        network, images = build(name), torch.rand(2, 3, size, size)
        with torch.no_grad():
            network(images)  # batch statistics move away from their start
            expected = network.eval()(images)
            network = network.to(dtype=dtype, memory_format=torch.channels_last)  # pyright: ignore
            found = network(images.to(dtype=dtype, memory_format=torch.channels_last))
        assert found.dtype == dtype
        tolerance = {torch.float32: 1e-4, torch.bfloat16: 0.08, torch.float16: 0.01}[dtype]
        scale = float(expected.abs().max())
        torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance * scale)

    def test_blur_pooled_form_has_the_same_state(self, name: str):
        plain = build(name.removesuffix("-maxblur"))
        blurred = build(maxblur_name(plain.config.name))
        assert list(plain.state_dict()) == list(blurred.state_dict())
        blurred.load_state_dict(plain.state_dict())
        assert not any(isinstance(layer, BlurPool) for layer in plain.modules())
        assert any(isinstance(layer, BlurPool) for layer in blurred.modules())


@pytest.mark.parametrize("name", TINY)
def test_learns_a_batch(name: str):
    network = build(name, dropout=0.0)
    size = size_for(name)
    images, labels = torch.rand(8, 3, size, size), torch.arange(8) % 4
    optimiser = torch.optim.Adam(network.parameters(), lr=0.003)
    losses = []
    for _ in range(50 if name.startswith("densenet") else 4):
        optimiser.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_blur_size_reaches_every_pool(size: int):
    for name in ("small", "allconv", "densenet-10-4", "wrn-10-1", "resnext-11-2x2d", "resnet18"):
        network = build(maxblur_name(name), blur_size=size)
        pools = [layer for layer in network.modules() if isinstance(layer, BlurPool)]
        assert pools
        assert all(pool.kernel.shape[-1] == size for pool in pools)


def test_start_weights_of_convolutions():
    """N(0, 2 / (size^2 outputs)) in every network, grouped convolutions too (recipes 4)."""
    for name in ("allconv", "densenet-40-12", "resnext-29-4x32d", "resnet18"):
        for key, layer in build(name, num_classes=10).named_modules():
            if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 5000:
                expected = math.sqrt(2 / (math.prod(layer.kernel_size) * layer.out_channels))
                assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=0.05), key


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_sizes_on_the_page(row: tuple[str, ...]):
    name, params, params_100, plain, blurred, size = row
    assert find_family(name).size == int(size)
    num_classes = 10 if params_100 else 1000
    with torch.device("meta"):  # shapes without numbers
        network = build_model(name, num_classes=num_classes)
        assert f"{count(network):,}" == params
        assert f"{multiplications(network, int(size)):,}" == plain
        pooled = build_model(f"{name}-maxblur", num_classes=num_classes)
        assert f"{multiplications(pooled, int(size)):,}" == blurred
        if params_100:
            assert f"{count(build_model(name, num_classes=100)):,}" == params_100


def test_every_row_of_the_page_was_read():
    assert len(ROWS) == 17


def test_example_of_the_page_runs():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    names: dict = {}
    exec(code, names)
    assert names["logits"].shape == (2, 10)
