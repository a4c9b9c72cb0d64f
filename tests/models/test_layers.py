import inspect
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from augmix.models.layers import BlurPool, Normalize, conv, global_average, initialize


def test_normalize_by_hand():
    layer = Normalize((0.5, 0.0, 0.25), (0.5, 2.0, 0.25))
    images = torch.tensor([1.0, 1.0, 1.0]).reshape(1, 3, 1, 1)
    assert layer(images).flatten().tolist() == [1.0, 0.5, 3.0]
    assert layer.state_dict() == {}
    assert "mean=[0.5, 0.0, 0.25]" in repr(layer)


def test_normalize_keeps_the_memory_format():
    layer = Normalize((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    images = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert layer(images).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(layer(images), layer(images.contiguous()))
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


ROWS = {2: (1, 1), 3: (1, 2, 1), 4: (1, 3, 3, 1), 5: (1, 4, 6, 4, 1)}


def reflect(place: int, length: int) -> int:
    """The pixel that stands at a place beside the border, the border pixel not repeated."""
    place = abs(place)
    return 2 * (length - 1) - place if place >= length else place


def blur_written_out(maps: Tensor, size: int) -> Tensor:
    """Pixel by pixel, tap by tap (recipes 6.1): binomial filter, reflected border, stride 2."""
    row = [tap / sum(ROWS[size]) for tap in ROWS[size]]
    before = (size - 1) // 2
    batch, channels, height, width = maps.shape
    out = torch.zeros(batch, channels, (height + 1) // 2, (width + 1) // 2, dtype=maps.dtype)
    for y in range(out.shape[2]):
        for x in range(out.shape[3]):
            for i, above in enumerate(row):
                for j, beside in enumerate(row):
                    source_y = reflect(2 * y + i - before, height)
                    source_x = reflect(2 * x + j - before, width)
                    out[:, :, y, x] += above * beside * maps[:, :, source_y, source_x]
    return out


class TestBlurPool:
    @pytest.mark.parametrize("size", ROWS)
    @pytest.mark.parametrize("shape", [(8, 8), (7, 9), (3, 4)], ids=str)
    def test_equals_a_convolution_written_out(self, size: int, shape: tuple[int, int]):
        torch.manual_seed(0)
        maps = torch.rand(2, 3, *shape, dtype=torch.float64)
        found = BlurPool(size).double()(maps)
        torch.testing.assert_close(found, blur_written_out(maps, size), rtol=0, atol=1e-14)

    @pytest.mark.parametrize("size", ROWS)
    def test_by_hand(self, size: int):
        """One bright pixel gives the filter itself, and a grey map stays grey."""
        maps = torch.zeros(1, 1, 16, 16)
        maps[0, 0, 8, 8] = 1.0
        row = torch.tensor(ROWS[size]) / sum(ROWS[size])
        taps = [place for place in range(size) if (8 + (size - 1) // 2 - place) % 2 == 0]
        found = BlurPool(size)(maps)
        assert float(found.sum()) == pytest.approx(float(row[taps].sum()) ** 2)
        assert float(found.max()) == pytest.approx(float(row[taps].max()) ** 2)
        assert torch.allclose(BlurPool(size)(torch.full((1, 2, 9, 7), 0.3)), torch.tensor(0.3))

    @pytest.mark.parametrize("size", ROWS)
    def test_a_shift_by_the_stride_shifts_the_output(self, size: int):
        torch.manual_seed(0)
        maps = torch.rand(1, 2, 32, 32)
        shifted = torch.roll(maps, (2, 4), (2, 3))
        found = torch.roll(BlurPool(size)(maps), (1, 2), (2, 3))
        inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))
        torch.testing.assert_close(BlurPool(size)(shifted)[inside], found[inside])

    @pytest.mark.parametrize("size", ROWS)
    def test_moves_less_than_strided_pooling_when_shifted_by_a_pixel(self, size: int):
        """Max pooling with a stride jumps where a shift by one pixel changes its windows."""
        torch.manual_seed(0)
        maps = torch.rand(8, 4, 32, 32)
        shifted = torch.roll(maps, 1, 3)

        def jump(pool: nn.Module) -> float:
            change = (pool(maps) - pool(shifted))[:, :, 2:-2, 2:-2]
            return float(change.square().mean().sqrt())

        strided = jump(nn.MaxPool2d(2))
        blurred = jump(nn.Sequential(nn.MaxPool2d(2, stride=1), BlurPool(size)))
        assert blurred < {2: 0.75, 3: 0.6, 4: 0.5, 5: 0.45}[size] * strided

    def test_decisions_flip_less_than_with_strided_pooling(self):
        """A linear rule on pooled maps, asked about pictures that move by one pixel."""
        generator = torch.Generator().manual_seed(0)
        maps = F.interpolate(torch.rand(500, 1, 4, 4, generator=generator), scale_factor=4)
        rule = torch.randn(64, 10, generator=generator)

        def decide(pool: nn.Module, maps: Tensor) -> Tensor:
            features = pool(maps).flatten(1)
            return ((features - features.mean(1, keepdim=True)) @ rule).argmax(1)

        flips = []
        for pool in (nn.MaxPool2d(2), nn.Sequential(nn.MaxPool2d(2, stride=1), BlurPool(5))):
            moved = decide(pool, torch.roll(maps, 1, 3))
            flips.append(float((decide(pool, maps) != moved).float().mean()))
        assert 0 < flips[1] < 0.75 * flips[0]

    def test_has_no_weights_and_no_state(self):
        layer = BlurPool(3)
        assert layer.state_dict() == {}
        assert list(layer.parameters()) == []
        assert "size=3" in repr(layer)

    def test_keeps_memory_format_and_precision(self):
        maps = torch.rand(2, 4, 8, 8, dtype=torch.bfloat16)
        found = BlurPool(4).bfloat16()(maps.to(memory_format=torch.channels_last))
        assert found.dtype == torch.bfloat16
        assert found.is_contiguous(memory_format=torch.channels_last)

    def test_gradient_is_the_blur_of_the_gradient(self):
        maps = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(BlurPool(5).double(), maps)

    @pytest.mark.parametrize("size", [0, 1, 6])
    def test_other_sizes_are_refused(self, size: int):
        with pytest.raises(ValueError, match=rf"must be 2..5 pixels, got {size}"):
            BlurPool(size)

    def test_too_small_maps_are_refused(self):
        with pytest.raises(ValueError, match=r"maps of at least 3x3, got 2x8; use larger images"):
            BlurPool(5)(torch.rand(1, 1, 2, 8))
        with pytest.raises(ValueError, match=r"maps of at least 2x2, got 1x1"):
            BlurPool(2)(torch.rand(1, 1, 1, 1))


def test_global_average_equals_pooling():
    features = torch.rand(2, 3, 5, 7)
    torch.testing.assert_close(
        global_average(features), F.adaptive_avg_pool2d(features, 1).flatten(1)
    )
