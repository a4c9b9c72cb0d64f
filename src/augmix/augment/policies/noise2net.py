"""Noise2Net and its stage: views passed through small networks of freshly drawn weights."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt32

from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import Ids, Policy, Standard
from augmix.augment.stages import Pictures, Pixels, Stage, register_stage
from augmix.rng import Purpose, Stream, to_uniforms, to_uniforms_torch, words_at, words_at_torch

WIDTH, SPLITS = 16, 4  # channels of a split, and splits of a block
STD = 0.225  # of images in [0, 1]: the published networks take images divided by it
_EPS = 1e-5  # of batch norm
_BLOCK = " ".join(["[13][123]"] * (SPLITS - 1))
_LAYERS = re.compile(f"{_BLOCK}(, {_BLOCK})*")


@register_stage("noise2net")
@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseNet(Stage):
    """Pass a view through a residual network of its own, with random weights.

    A block adds ``strength * STD`` times its output to the view: a 1x1 convolution to 64
    channels; batch norm and ReLU; of the four splits of 16 channels the first three each pass, with
    the result of the one before added, through a convolution, batch norm and ReLU (Res2Net, Gao et
    al. 2021); and a 1x1 convolution back, with batch norm. The view is clipped to [0, 1] at the
    end. Batch norm is over the pixels of a single view, as in a grouped network of a whole batch.

    The plan does not hold the weights but their addresses: weight n, counted convolution by
    convolution in the order of use, is ``(2 u - 1) / sqrt(inputs)`` of uniform number n at the
    view's address, ``inputs`` being the values that an output is a sum of.

    Attributes:
        strength: Factor of a block's output; 0 leaves the view as it is.
        address: Counter words 1 to 3 of every view.
        seed: Key of the generator.
        layers: Size and dilation of the three convolutions of every block, e.g. ``31 12 33, ...``.
    """

    strength: Float32[np.ndarray, "view batch"]
    address: UInt32[np.ndarray, "view batch 3"]
    seed: int
    layers: str

    rank: ClassVar[int] = 55

    def check_values(self) -> None:
        Stage.check_values(self)
        if not _LAYERS.fullmatch(self.layers):
            raise ValueError(f"layers must be like '31 12 33, 11 32 13', got {self.layers!r}")

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        views, channels = pixels.copy(), pixels.shape[2]
        shapes = list(weight_shapes(self.layers, channels))
        count = sum(int(np.prod(shape)) for shape in shapes)
        for view, index in np.ndindex(self.strength.shape):
            strength = float(self.strength[view, index])
            if not strength:
                continue
            words = words_at(self.address[view, index], np.arange(-(-count // 4)), self.seed)
            drawn = 2 * to_uniforms(words.T.ravel()) - 1
            weights = _cut(drawn, shapes)
            image = pixels[view, index].astype(np.float64)
            for block in parse_layers(self.layers):
                image += strength * STD * _pass_block(image, block, weights)
            views[view, index] = np.clip(image, 0, 1)
        return views

    @staticmethod
    def apply_torch(pixels: Any, *, strength: Any, address: Any, seed: int, layers: str) -> Any:
        import torch
        from torch.nn import functional as F

        num_views, batch, channels = pixels.shape[:3]
        groups = num_views * batch
        shapes = list(weight_shapes(layers, channels))
        count = sum(int(np.prod(shape)) for shape in shapes)
        block = torch.arange(-(-count // 4), device=pixels.device).expand(num_views, batch, -1)
        words = torch.stack(words_at_torch(address, block, seed), dim=3).flatten(2)
        drawn = (2 * to_uniforms_torch(words) - 1).float().reshape(groups, -1)
        at = 0

        def convolve(maps: Any, dilation: int = 1) -> Any:
            nonlocal at
            shape = shapes.pop(0)
            size = int(np.prod(shape))
            weight = drawn[:, at : at + size] / np.sqrt(size / shape[0])
            at += size
            found = F.conv2d(
                maps.flatten(0, 1)[None],
                weight.reshape(groups * shape[0], *shape[1:]),
                padding=dilation * (shape[2] // 2),
                dilation=dilation,
                groups=groups,
            )
            return _normalize_torch(found[0].unflatten(0, (groups, -1)))

        image = pixels.flatten(0, 1)
        scale = (strength.reshape(-1, 1, 1, 1) * STD).to(pixels.dtype)
        for sizes in parse_layers(layers):
            splits = list(convolve(image).relu().chunk(SPLITS, dim=1))
            for number, (_, dilation) in enumerate(sizes):
                given = splits[number] + splits[number - 1] if number else splits[0]
                splits[number] = convolve(given, dilation).relu()
            image = image + scale * convolve(torch.cat(splits, dim=1))
        changed = image.clamp(0, 1).unflatten(0, (num_views, batch))
        return torch.where(strength[..., None, None, None] > 0, changed, pixels)

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        strength = self.strength[view, index]
        return [f"a network of random weights, strength {strength:.2f}"] if strength else []


def parse_layers(layers: str) -> list[list[tuple[int, int]]]:
    """Size and dilation of the convolutions of every block, of the text that a stage keeps.

    Example:
        >>> parse_layers("31 12 33, 11 32 13")[1]
        [(1, 1), (3, 2), (1, 3)]
    """
    blocks = [block.split() for block in layers.split(",")]
    return [[(int(pair[0]), int(pair[1])) for pair in block] for block in blocks]


def weight_shapes(layers: str, channels: int) -> Iterator[tuple[int, int, int, int]]:
    """The shapes of all weights, outputs first, in the order of use."""
    for block in parse_layers(layers):
        yield WIDTH * SPLITS, channels, 1, 1
        for size, _ in block:
            yield WIDTH, WIDTH, size, size
        yield channels, WIDTH * SPLITS, 1, 1


def _cut(
    drawn: Float64[np.ndarray, " word"], shapes: list[tuple[int, int, int, int]]
) -> Iterator[Float64[np.ndarray, "output input rows columns"]]:
    """The weights one after another."""
    start = 0
    for shape in shapes:
        size = int(np.prod(shape))
        yield drawn[start : start + size].reshape(shape) / np.sqrt(size / shape[0])
        start += size


def _pass_block(
    image: Float64[np.ndarray, "channel height width"],
    block: list[tuple[int, int]],
    weights: Iterator[np.ndarray],
) -> Float64[np.ndarray, "channel height width"]:
    """The output of a block, in double precision."""
    maps = np.maximum(_normalize(_convolve(image, next(weights))), 0)
    splits = list(maps.reshape(SPLITS, WIDTH, *maps.shape[1:]))
    for number, (_, dilation) in enumerate(block):
        given = splits[number] + splits[number - 1] if number else splits[0]
        splits[number] = np.maximum(_normalize(_convolve(given, next(weights), dilation)), 0)
    return _normalize(_convolve(np.concatenate(splits), next(weights)))


def _convolve(
    maps: Float64[np.ndarray, "input height width"],
    weight: Float64[np.ndarray, "output input rows columns"],
    dilation: int = 1,
) -> Float64[np.ndarray, "output height width"]:
    """A convolution with zeros around, as one product of matrices."""
    outputs, inputs, size, _ = weight.shape
    height, width = maps.shape[1:]
    border = dilation * (size // 2)
    padded = np.pad(maps, ((0, 0), (border, border), (border, border)))
    shifted = np.empty((inputs, size, size, height, width))
    for y, x in np.ndindex(size, size):
        top, left = y * dilation, x * dilation
        shifted[:, y, x] = padded[:, top : top + height, left : left + width]
    product = weight.reshape(outputs, -1) @ shifted.reshape(-1, height * width)
    return product.reshape(outputs, height, width)


def _normalize(
    maps: Float64[np.ndarray, "channel height width"],
) -> Float64[np.ndarray, "channel height width"]:
    mean = maps.mean(axis=(1, 2), keepdims=True)
    return (maps - mean) / np.sqrt(maps.var(axis=(1, 2), keepdims=True) + _EPS)


def _normalize_torch(maps: Any) -> Any:
    mean = maps.mean(dim=(2, 3), keepdim=True)
    variance = (maps - mean).square().mean(dim=(2, 3), keepdim=True)
    return (maps - mean) * (variance + _EPS).rsqrt()


_BLOCKS = 4
_LAYERS_PART, _WEIGHTS_PART = 1, 2  # of Purpose.NOISE_NET; part 0 has the strengths


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise2Net:
    """Noise2Net: a freshly drawn residual network in front (Hendrycks et al. 2021, DeepAugment).

    Each view has weights of its own. Sizes and dilations of the convolutions are drawn once, from
    the seed of the run. Half of the views, drawn one by one, pass; published is the first half of
    every batch.
    """

    probability: float = 0.5
    """Probability with which a view passes through its network, 0..1."""
    strength: float = 0.75
    """Largest factor of a block's output, above 0; each view draws one between half of it and it.
    """
    base: Policy = field(default_factory=Standard)
    """Policy of the views that pass."""

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {self.probability}")
        if not 0 < self.strength < np.inf:
            raise ValueError(f"strength must be a finite number above 0, got {self.strength}")

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the plan of the base, which has no such network, and the networks."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        if plan.find(NoiseNet):
            raise ValueError("the base of Noise2Net passes views through networks already")
        at = stream.at(Purpose.NOISE_NET)
        uniforms = at.uniforms(plan.ids, num_views=num_views, count=2)
        strength = self.strength * (1 + uniforms[..., 1]) / 2
        address = at.at(part=_WEIGHTS_PART).addresses(plan.ids, num_views=num_views)
        stage = NoiseNet(
            strength=np.where(uniforms[..., 0] < self.probability, strength, 0).astype(np.float32),
            address=address,
            seed=stream.seed,
            layers=_draw_layers(Stream(seed=stream.seed)),
        )
        return plan.with_stage(stage)


def _draw_layers(stream: Stream) -> str:
    """Size 1 or 3 and dilation 1, 2 or 3 of the convolutions of every block."""
    at = stream.at(Purpose.NOISE_NET, part=_LAYERS_PART)
    uniforms = at.uniforms(np.arange(_BLOCKS), count=2 * (SPLITS - 1))[0]
    blocks = []
    for row in uniforms.reshape(_BLOCKS, SPLITS - 1, 2):
        pairs = [f"{1 if size < 0.5 else 3}{1 + int(3 * dilation)}" for size, dilation in row]
        blocks.append(" ".join(pairs))
    return ", ".join(blocks)
