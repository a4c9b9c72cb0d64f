"""PRIME and its stage: random deformations, colour curves and filters, mixed like chains of AugMix.

The plan does not hold the coefficients of a primitive but their address: normal number n is made of
the words of Philox block ``n // 4`` there (`Stream.addresses`), by Box and Muller.
"""

import math
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int8, Int32, Int64, UInt32

from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import LARGE_PX, Ids, Policy, Standard, beta, dirichlet
from augmix.augment.stages import Pictures, Pixels, Stage, register_stage
from augmix.errors import check_fields, check_positive
from augmix.rng import Purpose, Stream, to_uniforms, to_uniforms_torch, words_at, words_at_torch

Image = Float64[np.ndarray, "channel height width"]


class Primitive(IntEnum):
    """One step of a chain."""

    NONE = 0
    DEFORM = 1
    COLOR = 2
    FILTER = 3


@register_stage("primitives")
@dataclass(frozen=True, slots=True, kw_only=True)
class Primitives(Stage):
    """Mix chains of primitives with the view itself (Modas et al. 2022).

    A view becomes ``(1 - mix) * view + mix * sum_i weight_i * chain_i(view)``, all in floats. With
    N independent normals:

    * deform: the pixel at (x, y) is taken from (x - dx, y - dy), bilinearly and within the border;
      ``dx = sqrt(temperature) * width * sum_ij N / |(i, j)| sin(i pi x') sin(j pi y')`` over all
      i, j from 1 with |(i, j)| < last + 1/2, x' and y' from 0 to 1; dy likewise;
    * color: ``v + sqrt(temperature) * sum_k N sin(k pi v)`` over k = first .. last, in each
      channel, clipped;
    * filter: a 3x3 correlation of ``temperature * N``, plus 1 at the centre or in the last corner,
      with zeros outside, clipped.

    Attributes:
        kind: The primitives of every chain, by `Primitive`.
        first, last: The range of frequencies.
        temperature: The strength.
        weight: Weight of every chain in the mixture; they sum to 1 over the chains of a view.
        mix: Weight of the mixture in the view.
        address: Counter words 1 to 3 of every step.
        seed: Key of the generator.
        num_terms: Most frequencies of a color.
        num_modes: Most frequencies of a deformation along an axis.
        is_corner: Whether the filter's 1 is in the last corner.
    """

    kind: Int8[np.ndarray, "view batch chain depth"]
    first: Int32[np.ndarray, "view batch chain depth"]
    last: Int32[np.ndarray, "view batch chain depth"]
    temperature: Float32[np.ndarray, "view batch chain depth"]
    weight: Float32[np.ndarray, "view batch chain"]
    mix: Float32[np.ndarray, "view batch"]
    address: UInt32[np.ndarray, "view batch chain depth 3"]
    seed: int
    num_terms: int
    num_modes: int
    is_corner: bool

    rank: ClassVar[int] = 45

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        views = pixels.copy()
        for view, index in np.argwhere(self.mix > 0):
            image = pixels[view, index].astype(np.float64)
            mix = np.float64(self.mix[view, index])
            total = (1 - mix) * image
            for chain, weight in enumerate(self.weight[view, index]):
                changed = image
                for step in range(self.kind.shape[3]):
                    changed = self._apply_step(changed, (view, index, chain, step))
                total += mix * weight * changed
            views[view, index] = np.clip(total, 0, 1)
        return views

    def _apply_step(self, image: Image, at: tuple[Any, ...]) -> Image:
        kind, address = self.kind[at], self.address[at]
        if kind == Primitive.DEFORM:
            return self._deform(image, at, address)
        root = np.sqrt(np.float64(self.temperature[at]))
        if kind == Primitive.COLOR:
            first, num = int(self.first[at]), int(self.last[at] - self.first[at] + 1)
            numbers = _normals(np.arange(num), address, self.seed)
            return _color(image, root * numbers[: len(image)], first)
        if kind == Primitive.FILTER:
            numbers = _normals(np.arange(3), address, self.seed).T.reshape(-1)[:9].reshape(3, 3)
            return _filter(image, filter_kernels(numbers, self.temperature[at], self.is_corner))
        return image

    def _deform(self, image: Image, at: tuple[Any, ...], address: np.ndarray) -> Image:
        height, width = image.shape[1:]
        last = int(self.last[at])
        i, j = find_modes(last)
        numbers = _normals((i - 1) * self.num_modes + j - 1, address, self.seed)[:2]
        coefficients = np.zeros((2, last, last))
        coefficients[:, i - 1, j - 1] = numbers / np.sqrt(i * i + j * j)
        across, down = wave_table(last, width), wave_table(last, height)
        root = np.sqrt(np.float64(self.temperature[at]))
        dx, dy = (root * _sum_waves(own, across, down) for own in coefficients)
        return _move(image, width * dx, height * dy)

    @staticmethod
    def apply_torch(
        pixels: Any,
        *,
        kind: Any,
        first: Any,
        last: Any,
        temperature: Any,
        weight: Any,
        mix: Any,
        address: Any,
        seed: int,
        num_terms: int,
        num_modes: int,
        is_corner: bool,
    ) -> Any:
        import torch

        real = torch.float32 if pixels.device.type == "mps" else torch.float64
        views, batch, _, height, width = pixels.shape
        images = pixels.to(real).flatten(0, 1)
        mix = mix.to(real).flatten()[:, None, None, None]
        total = (1 - mix) * images
        for chain in range(kind.shape[2]):
            changed = images
            for step in range(kind.shape[3]):
                what, low, high = (v[:, :, chain, step].flatten() for v in (kind, first, last))
                strength = temperature[:, :, chain, step].flatten().to(real)
                where = address[:, :, chain, step].flatten(0, 1)
                numbers = _normals_torch(max(num_terms, 3), where, seed, real)
                root = strength.sqrt()
                colored = _color_torch(changed, root[:, None, None] * numbers, low, high, num_terms)
                kernel = numbers[:, :, :3].transpose(1, 2).flatten(1)[:, :9].unflatten(1, (3, 3))
                filtered = _filter_torch(changed, strength, kernel, 2 if is_corner else 1)
                size = (num_modes, height, width)
                dx, dy = _fields_torch(high, strength, where, seed, *size)
                moved = _move_torch(changed, width * dx, height * dy)
                for each, result in (
                    (Primitive.DEFORM, moved),
                    (Primitive.COLOR, colored),
                    (Primitive.FILTER, filtered),
                ):
                    changed = torch.where((what == int(each))[:, None, None, None], result, changed)
            own = weight[:, :, chain].to(real).flatten()[:, None, None, None]
            total = total + mix * own * changed
        mixed = torch.where(mix > 0, total.clamp(0, 1), images)
        return mixed.unflatten(0, (views, batch)).to(pixels.dtype)

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        mix = float(self.mix[view, index])
        if mix == 0:
            return []
        chains = []
        for chain, weight in enumerate(self.weight[view, index]):
            steps = []
            for step, kind in enumerate(self.kind[view, index, chain]):
                at = (view, index, chain, step)
                name, strength = Primitive(int(kind)).name.lower(), self.temperature[at]
                if kind == Primitive.FILTER:
                    steps.append(f"{name} {strength:.2f}")
                elif kind != Primitive.NONE:
                    steps.append(f"{name} {self.first[at]}..{self.last[at]} {strength:.1e}")
            chains.append(f"{weight:.2f} * {' -> '.join(steps) or 'unchanged'}")
        return [f"{1 - mix:.2f} itself + {mix:.2f} of {'; '.join(chains)}"]


def _normals(
    blocks: Int64[np.ndarray, " block"], address: UInt32[np.ndarray, " 3"], seed: int
) -> Float64[np.ndarray, "4 block"]:
    """Four independent normal numbers for every block at an address."""
    return to_normals(to_uniforms(words_at(address, blocks, seed)))


def to_normals(uniforms: Float64[np.ndarray, "word block"]) -> Float64[np.ndarray, "word block"]:
    """Normal numbers of uniform ones, by Box and Muller from two words each."""
    radius = np.sqrt(-2 * np.log(uniforms[::2]))
    turn = 2 * uniforms[1::2]
    pairs = [radius * _sin_pi(turn + 0.5), radius * _sin_pi(turn)]
    return np.stack(pairs, axis=1).reshape(uniforms.shape)


SIN_PI = tuple((-1) ** k * math.pi ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(11))
"""Taylor's coefficients of sin(pi x), enough for an error of 1e-16 up to 1/2."""


def _sin_pi(x: np.ndarray) -> np.ndarray:
    """sin(pi x) from sums and products alone, so that it has the same bits everywhere."""
    x = x - 2 * np.rint(x / 2)
    x = np.where(x > 0.5, 1 - x, np.where(x < -0.5, -1 - x, x))
    square = x * x
    total = np.full_like(x, SIN_PI[-1])
    for coefficient in SIN_PI[-2::-1]:
        total = total * square + coefficient
    return x * total


@lru_cache(maxsize=1024)
def find_modes(last: int) -> Int64[np.ndarray, "2 mode"]:
    """The frequencies (i, j) of a deformation: all from 1 with |(i, j)| < last + 1/2."""
    squares = np.arange(1, last + 1) ** 2
    return 1 + np.stack(np.nonzero(squares[:, None] + squares < (last + 0.5) ** 2))


def wave_table(num_modes: int, size: int) -> Float64[np.ndarray, "mode position"]:
    """Sines of 1 to ``num_modes`` half waves along an axis."""
    return _sin_pi(np.arange(1, num_modes + 1)[:, None] * np.linspace(0, 1, size))


def filter_kernels(
    numbers: Float64[np.ndarray, "*batch 3 3"],
    temperature: Float32[np.ndarray, "*batch"] | np.float32,
    is_corner: bool,
) -> Float64[np.ndarray, "*batch 3 3"]:
    """The weights of filters, from nine normal numbers each."""
    kernels = np.asarray(temperature, np.float64)[..., None, None] * numbers
    middle = 2 if is_corner else 1
    kernels[..., middle, middle] += 1
    return kernels


def _sum_waves(
    coefficients: Float64[np.ndarray, "mode mode"],
    across: Float64[np.ndarray, "mode width"],
    down: Float64[np.ndarray, "mode height"],
) -> Float64[np.ndarray, "height width"]:
    """``sum_ij coefficients_ij across_i down_j``, term after term."""
    rows, total = np.zeros_like(across), np.zeros((down.shape[1], across.shape[1]))
    for own, wave in zip(coefficients, across, strict=True):
        rows += own[:, None] * wave
    for row, wave in zip(rows, down, strict=True):
        total += wave[:, None] * row
    return total


def _color(image: Image, numbers: Float64[np.ndarray, "channel term"], first: int) -> Image:
    """The curve of every channel, its sines summed by Clenshaw's recurrence."""
    twice = 2 * _sin_pi(image + 0.5)
    now, before = np.zeros_like(image), np.zeros_like(image)
    for term in range(numbers.shape[1] - 1, -1, -1):
        now, before = numbers[:, term, None, None] + twice * now - before, now
    change = now * _sin_pi(first * image) - before * _sin_pi((first - 1) * image)
    return np.clip(image + change, 0, 1)


def _filter(image: Image, kernel: Float64[np.ndarray, "3 3"]) -> Image:
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    result = np.zeros_like(image)
    for row, column in np.ndindex(3, 3):
        part = padded[:, row : row + height, column : column + width]
        result += kernel[row, column] * part
    return np.clip(result, 0, 1)


def _move(
    image: Image, dx: Float64[np.ndarray, "height width"], dy: Float64[np.ndarray, "height width"]
) -> Image:
    height, width = image.shape[1:]
    x = np.clip(np.arange(width) - dx, 0, width - 1)
    y = np.clip(np.arange(height)[:, None] - dy, 0, height - 1)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = np.ceil(x).astype(np.int64), np.ceil(y).astype(np.int64)
    x, y = x - left, y - top
    upper = (1 - x) * image[:, top, left] + x * image[:, top, right]
    lower = (1 - x) * image[:, bottom, left] + x * image[:, bottom, right]
    return (1 - y) * upper + y * lower


def _normals_torch(count: int, address: Any, seed: int, real: Any) -> Any:
    """`_normals` of blocks 0 .. count - 1 for every image: `image 4 block`."""
    import torch

    block = torch.arange(count, device=address.device).expand(len(address), -1)
    drawn = to_uniforms_torch(torch.stack(words_at_torch(address, block, seed), dim=1)).to(real)
    radius = (-2 * drawn[:, ::2].log()).sqrt()
    turn = 2 * torch.pi * drawn[:, 1::2]
    return torch.stack([radius * turn.cos(), radius * turn.sin()], dim=2).flatten(1, 2)


def _color_torch(images: Any, numbers: Any, first: Any, last: Any, num_terms: int) -> Any:
    import torch

    angle = torch.pi * images
    twice = 2 * angle.cos()
    now, before = torch.zeros_like(images), torch.zeros_like(images)
    for term in range(num_terms - 1, -1, -1):
        own = torch.where((term <= last - first)[:, None], numbers[:, : images.shape[1], term], 0)
        now, before = own[..., None, None] + twice * now - before, now
    start = first.to(images.dtype)[:, None, None, None]
    change = now * (start * angle).sin() - before * ((start - 1) * angle).sin()
    return (images + change).clamp(0, 1)


def _filter_torch(images: Any, strength: Any, kernel: Any, corner: int) -> Any:
    import torch

    height, width = images.shape[2:]
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    result = torch.zeros_like(images)
    for row, column in np.ndindex(3, 3):
        factor = strength * kernel[:, row, column] + float(row == column == corner)
        part = padded[:, :, row : row + height, column : column + width]
        result = result + factor[:, None, None, None] * part
    return result.clamp(0, 1)


def _fields_torch(
    last: Any, temperature: Any, address: Any, seed: int, num_modes: int, height: int, width: int
) -> list[Any]:
    """The displacements of every image along x and y, as fractions of its size."""
    import torch

    device, real = last.device, temperature.dtype
    modes = torch.arange(1, num_modes + 1, device=device, dtype=real)
    numbers = _normals_torch(num_modes**2, address, seed, real)[:, :2]
    numbers = numbers.unflatten(2, (num_modes, num_modes))
    radius = torch.hypot(modes[:, None], modes)
    is_used = radius < last[:, None, None].to(real) + 0.5
    numbers = torch.where(is_used[:, None], numbers / radius, 0)
    lines = []
    for size in (width, height):
        line = torch.arange(size, device=device, dtype=real) / max(size - 1, 1)
        lines.append((torch.pi * modes[:, None] * line).sin())  # mode position
    across, down = lines
    root = temperature.sqrt()[:, None, None]
    return [root * (down.T @ (own.transpose(1, 2) @ across)) for own in numbers.unbind(1)]


def _move_torch(images: Any, dx: Any, dy: Any) -> Any:
    import torch

    channels, height, width = images.shape[1:]
    real, device = images.dtype, images.device
    x = (torch.arange(width, device=device, dtype=real) - dx).clamp(0, width - 1)
    y = (torch.arange(height, device=device, dtype=real)[:, None] - dy).clamp(0, height - 1)
    left, top = x.floor().long(), y.floor().long()
    right, bottom = x.ceil().long(), y.ceil().long()
    x, y = (x - left)[:, None], (y - top)[:, None]
    flat = images.flatten(2)

    def at(row: Any, column: Any) -> Any:
        position = (row * width + column).flatten(1)[:, None].expand(-1, channels, -1)
        return flat.gather(2, position).unflatten(2, (height, width))

    upper = (1 - x) * at(top, left) + x * at(top, right)
    lower = (1 - x) * at(bottom, left) + x * at(bottom, right)
    return (1 - y) * upper + y * lower


_MAX_DEPTH = 3
_SIGMA = 4.0  # largest standard deviation of a filter's weights
_WINDOW = 20  # consecutive frequencies of a colour curve on large images


@dataclass(frozen=True, kw_only=True, slots=True)
class PRIME:
    """PRIME (Modas et al. 2022): chains of three primitives, all of maximum entropy.

    What is drawn of every image: which primitives, their range of frequencies, their strength and
    all coefficients. Above 64 pixels the settings are those published for ImageNet.
    """

    width: int = 3
    """Chains that are mixed, at least 1."""
    depth: int | None = None
    """Primitives in a chain; None draws 1, 2 or 3 for each chain."""
    cutoff: int | None = None
    """Highest frequency of deformations and colour curves, at least 3; None is the published one:
    100, above 64 pixels 500."""
    color_strength: float | None = None
    """Largest temperature of a colour curve; None is the published one: 0.01, above 64 pixels
    0.05."""
    filter_delta: Literal["corner", "centre"] = "corner"
    """Where the filter keeps the image: in a corner of its 3x3 pixels, which moves it by a pixel
    too, as the published code does, or at the centre."""
    batch_field: bool = False
    """Draw one deformation, and one range and strength of curves and filters, for a whole batch, as
    published."""
    base: Policy = field(default_factory=Standard)
    """Policy of the views that the chains start from."""

    def __post_init__(self) -> None:
        check_positive(self, "width", "depth")
        cutoff, strength = self.cutoff, self.color_strength
        check_fields(
            self,
            cutoff=(cutoff is None or cutoff >= 3, "at least 3, or None for the published one"),
            color_strength=(strength is None or 0 < strength < np.inf, "a finite number above 0"),
            filter_delta=(self.filter_delta in ("corner", "centre"), "'corner' or 'centre'"),
        )

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the base's plan, the chains and their mixture."""
        plan = self.base.sample(ids, num_views=num_views, size=size, stream=stream)
        is_large = min(size) > LARGE_PX
        cutoff = self.cutoff or (500 if is_large else 100)
        strength = self.color_strength or (0.05 if is_large else 0.01)
        depth, width = self.depth or _MAX_DEPTH, self.width
        shape = (num_views, len(plan), width, depth)
        count = width * (1 + 6 * depth)

        def draw(own: Ids) -> np.ndarray:
            at = stream.at(Purpose.PRIMITIVES)
            return at.uniforms(own, num_views=num_views, count=count)

        uniforms = draw(plan.ids).reshape(*shape[:3], 1 + 6 * depth)
        length = depth if self.depth else 1 + np.floor(uniforms[..., :1] * _MAX_DEPTH)
        steps = uniforms[..., 1:].reshape(*shape, 6)
        kind = (1 + np.floor(steps[..., 0] * 3)).astype(np.int8)
        kind = np.where(np.arange(depth) < length, kind, np.int8(Primitive.NONE))
        if self.batch_field and len(plan):  # one for all images and chains
            owner = draw(np.sort(plan.ids)[:1]).reshape(num_views, 1, width, -1)[..., 1:]
            steps = np.broadcast_to(
                owner.reshape(num_views, 1, width, depth, 6)[:, :, :1], (*shape, 6)
            )
        first, last, temperature = _draw_ranges(kind, steps, cutoff, min(size), strength, is_large)
        address = np.empty((*shape, 3), np.uint32)
        for chain, step in np.ndindex(width, depth):
            at = stream.at(Purpose.PRIMITIVES, part=3 + chain * depth + step)
            address[:, :, chain, step] = at.addresses(plan.ids, num_views=num_views)
            if self.batch_field and len(plan):
                at = stream.at(Purpose.PRIMITIVES, part=3 + step)
                shared = at.addresses(np.sort(plan.ids)[:1], num_views=num_views)
                is_field = kind[:, :, chain, step] == Primitive.DEFORM
                own = address[:, :, chain, step]
                address[:, :, chain, step] = np.where(is_field[..., None], shared, own)
        weight = dirichlet(plan.ids, num_views, width, 1.0, stream.at(Purpose.PRIMITIVES, part=1))
        mix = beta(plan.ids, num_views, 1.0, stream.at(Purpose.PRIMITIVES, part=2))
        chains = Primitives(
            kind=kind,
            first=first.astype(np.int32),
            last=last.astype(np.int32),
            temperature=temperature.astype(np.float32),
            weight=weight.astype(np.float32),
            mix=mix.astype(np.float32),
            address=address,
            seed=stream.seed,
            num_terms=min(_WINDOW, cutoff) if is_large else cutoff,
            num_modes=cutoff,
            is_corner=self.filter_delta == "corner",
        )
        return plan.with_stage(chains)


def _draw_ranges(
    kind: np.ndarray, steps: np.ndarray, cutoff: int, size_px: int, strength: float, is_large: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequencies and strengths of every step, from five numbers each."""
    highest = 3 + np.floor(steps[..., 1] * (cutoff - 2))  # 3 .. cutoff
    arcs = np.sin(np.pi / 2 * steps[..., 2:4]) ** 2  # Beta(1/2, 1/2)
    modes = np.minimum(2 + np.floor(arcs[..., 0] * (highest - 1)), highest)
    logarithm = np.log(modes + 1e-6)
    lowest = 1 / (np.pi * size_px**2 * logarithm)
    largest = np.maximum(4 / (np.pi**3 * (modes + 1e-6) ** 2 * logarithm), lowest)
    field_strength = lowest + arcs[..., 1] * (largest - lowest)
    terms = 1 + np.floor(steps[..., 4] * cutoff)  # 1 .. cutoff
    start, end = np.ones_like(terms), terms
    if is_large:
        start = 1 + np.floor(steps[..., 5] * terms)
        end = np.minimum(start + _WINDOW - 1, terms)
    is_field, is_color = kind == Primitive.DEFORM, kind == Primitive.COLOR
    is_filter = kind == Primitive.FILTER
    first = np.where(is_field, 1, np.where(is_color, start, 0))
    last = np.where(is_field, modes, np.where(is_color, end, 0))
    temperature = np.where(is_color, strength * steps[..., 3], 0)
    temperature = np.where(is_filter, _SIGMA * steps[..., 3], temperature)
    return first, last, np.where(is_field, field_strength, temperature)
