"""PixMix, IPMix and their stages: images mixed with own copies and with pictures of a bank."""

from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int32, Int64, UInt32

from augmix.augment.bank import bank_name, bank_size, count_pictures
from augmix.augment.ops import OP_SETS, Op, level_to_amount
from augmix.augment.plan import Plan
from augmix.augment.policies.augmix import (
    LOWEST_LEVEL,
    Ids,
    OpSet,
    beta,
    check_crop,
    check_request,
    check_severity,
    dirichlet,
    largest_level,
    make_plan,
)
from augmix.augment.stages import Form, Pictures, Stage, register_stage
from augmix.augment.stages.chains import Chains, Copies
from augmix.augment.stages.patches import check_boxes, describe_box, pixels_inside
from augmix.errors import check_positive
from augmix.rng import Purpose, Stream, to_uniforms, to_uniforms_torch, words_at, words_at_torch

_LEAST = np.float32(1e-37)  # of a factor, whose power may be negative (released code)
_HALF, _ONE, _TWO = np.float32(0.5), np.float32(1), np.float32(2)


@unique
class Operator(IntEnum):
    """How two images x and y are mixed; the result is clipped to [0, 1]."""

    NOTHING = 0
    ADD = 1  # (a (2 x - 1) + b (2 y - 1) + 1) / 2
    MULTIPLY = 2  # (2 x)^a max(2 y, 1e-37)^b / 2
    PIXELS = 3  # every pixel of x with a probability, else of y
    VALUES = 4  # the same for every value of every channel


@dataclass(frozen=True, slots=True, kw_only=True)
class _WithPicture(Stage):
    """What both stages have: a picture of a bank for every view, cut at a corner.

    Attributes:
        picture: Number of the picture in the bank.
        corner: Row and column of the picture at which it is cut to the size of the image.
        bank: Name of the bank, see `augmix.augment.bank`.
        size_px: Height and width of its pictures.
    """

    picture: Int64[np.ndarray, "view batch"]
    corner: Int32[np.ndarray, "view batch 2"]
    bank: str
    size_px: int

    takes: ClassVar[Form] = "copies"
    rank: ClassVar[int] = 45
    needs_pictures: ClassVar[bool] = True

    def check(self, size: tuple[int, int]) -> None:
        last = self.size_px - np.array(size)
        if ((self.corner < 0) | (self.corner > last)).any():
            raise ValueError(
                f"corners of pictures of {self.size_px} pixels must lie within 0..{last.tolist()} "
                f"for images of {size[0]}x{size[1]}, got {self.corner.max()}"
            )

    def picture_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.size_px, self.size_px

    def cut(
        self, pictures: Pictures, view: int, index: int, size: tuple[int, int]
    ) -> Float32[np.ndarray, "channel height width"]:
        """The picture of a view at the size of its image, in [0, 1]."""
        top, left = self.corner[view, index].tolist()
        picture = pictures[int(self.picture[view, index])]
        shown = picture[top : top + size[0], left : left + size[1]]
        return shown.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


@register_stage("pixmix")
@dataclass(frozen=True, slots=True, kw_only=True)
class PixMixStage(_WithPicture):
    """Mix the first copy with the others or with a picture, round by round (Hendrycks et al. 2022).

    Round r mixes what there is with copy r + 1 or with the picture, by an `Operator`.

    Attributes:
        operator: `Operator.ADD` or `Operator.MULTIPLY`; `Operator.NOTHING` in rounds not taken.
        is_picture: Whether the partner is the picture.
        a, b: Weights or exponents of what there is, and of its partner.
    """

    operator: Int8[np.ndarray, "view batch round"]
    is_picture: Bool[np.ndarray, "view batch round"]
    a: Float32[np.ndarray, "view batch round"]
    b: Float32[np.ndarray, "view batch round"]

    def apply(self, pixels: Any, pictures: Pictures | None = None) -> Any:
        assert pictures is not None
        num_views, batch, num_rounds = self.operator.shape
        copies = pixels.reshape(num_views, num_rounds + 1, *pixels.shape[1:])
        views = copies[:, 0].copy()
        for view, index in np.ndindex(num_views, batch):
            for number in np.flatnonzero(self.operator[view, index]):
                partner = copies[view, number + 1, index]
                if self.is_picture[view, index, number]:
                    partner = self.cut(pictures, view, index, pixels.shape[3:])
                where = view, index, number
                views[view, index] = blend(
                    views[view, index], partner, self.operator[where], self.a[where], self.b[where]
                )
        return views

    @staticmethod
    def apply_torch(
        pixels: Any,
        *,
        picture: Any,
        corner: Any,
        operator: Any,
        is_picture: Any,
        a: Any,
        b: Any,
        pictures: Any,
        **settings: Any,
    ) -> Any:
        import torch

        num_views, _, num_rounds = operator.shape
        copies = pixels.unflatten(0, (num_views, num_rounds + 1))
        shown = cut_torch(pictures, picture, corner, pixels)
        mixed = copies[:, 0]
        for number in range(num_rounds):
            wide = [
                values[..., number, None, None, None] for values in (is_picture, operator, a, b)
            ]
            partner = torch.where(wide[0], shown, copies[:, number + 1])
            mixed = blend_torch(mixed, partner, *wide[1:])
        return mixed

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        lines = []
        for number in np.flatnonzero(self.operator[view, index]):
            where = view, index, number
            partner = f"copy {number + 1}"
            if self.is_picture[where]:
                partner = f"picture {self.picture[view, index]}"
            name = Operator(self.operator[where]).name.lower()
            lines.append(f"{name} {partner} ({self.a[where]:.2f}, {self.b[where]:.2f})")
        return lines


@register_stage("ipmix")
@dataclass(frozen=True, slots=True, kw_only=True)
class IPMixStage(_WithPicture):
    """Mix chains of operations, and chains of patches of a picture, with the image (IPMix, 2023).

    The image is copy 0, chain i starts from copy i + 1, mirrored or not, and mixes patches of the
    picture into it. A view is ``(1 - mix) * image + mix * sum_i weight_i * chain_i`` in float32, in
    this order.

    The random choice of pixels or values is not held but its addresses: step s of S of chain i
    takes, for pixel n of N, the words of Philox block ``(i * S + s) * N + n`` at the view's address
    (`Stream.addresses`): word c for the value of channel c, word 3 for the pixel.

    Attributes:
        weight, mix: Weight of every chain in the mixture, and of the mixture in the view.
        is_mirrored: Whether the copy of a chain is mirrored left to right first.
        operator: `Operator` of every step of every chain.
        box: Top, left, bottom and right of the patch.
        a, b: Weights or exponents of the image and the picture, for add and multiply.
        keep: Probability with which a pixel or value stays, for the random choices.
        address: Counter words 1 to 3 of every view.
        seed: Key of the generator.
    """

    weight: Float32[np.ndarray, "view batch chain"]
    mix: Float32[np.ndarray, "view batch"]
    is_mirrored: Bool[np.ndarray, "view batch chain"]
    operator: Int8[np.ndarray, "view batch chain step"]
    box: Int32[np.ndarray, "view batch chain step 4"]
    a: Float32[np.ndarray, "view batch chain step"]
    b: Float32[np.ndarray, "view batch chain step"]
    keep: Float32[np.ndarray, "view batch chain step"]
    address: UInt32[np.ndarray, "view batch 3"]
    seed: int

    def check(self, size: tuple[int, int]) -> None:
        _WithPicture.check(self, size)
        check_boxes("ipmix", self.box, size)

    def apply(self, pixels: Any, pictures: Pictures | None = None) -> Any:
        assert pictures is not None
        num_views, batch, num_chains = self.weight.shape
        copies = pixels.reshape(num_views, num_chains + 1, *pixels.shape[1:])
        views = np.empty_like(copies[:, 0])
        for view, index in np.ndindex(num_views, batch):
            mix = self.mix[view, index]
            total = (_ONE - mix) * copies[view, 0, index]
            shown = None
            for chain, weight in enumerate(self.weight[view, index]):
                mixed = copies[view, chain + 1, index]
                if self.is_mirrored[view, index, chain]:
                    mixed = mixed[..., ::-1]
                for step in np.flatnonzero(self.operator[view, index, chain]):
                    if shown is None:
                        shown = self.cut(pictures, view, index, pixels.shape[3:])
                    mixed = self._mix_patch(mixed, shown, (view, index, chain, int(step)))
                total += (mix * weight) * mixed
            views[view, index] = np.minimum(total, _ONE)  # weights may sum to 1 + 1e-7
        return views

    def _mix_patch(
        self,
        image: Float32[np.ndarray, "channel height width"],
        picture: Float32[np.ndarray, "channel height width"],
        where: tuple[int, int, int, int],
    ) -> Float32[np.ndarray, "channel height width"]:
        """The image with one patch mixed with the picture's."""
        channels, height, width = image.shape
        top, left, bottom, right = self.box[where].tolist()
        rows, columns = slice(top, bottom), slice(left, right)
        result, other = image.copy(), picture[:, rows, columns]
        patch, operator = image[:, rows, columns], self.operator[where]
        if operator < Operator.PIXELS:
            result[:, rows, columns] = blend(patch, other, operator, self.a[where], self.b[where])
            return result
        view, index, chain, step = where
        number = (np.arange(height)[:, None] * width + np.arange(width))[rows, columns]
        block = ((chain * self.operator.shape[3] + step) * height * width + number).ravel()
        words = words_at(self.address[view, index], block, self.seed)
        chosen = words[3:] if operator == Operator.PIXELS else words[:channels]
        stays = (to_uniforms(chosen) < self.keep[where]).reshape(-1, *number.shape)
        result[:, rows, columns] = np.where(stays, patch, other)
        return result

    @staticmethod
    def apply_torch(
        pixels: Any,
        *,
        picture: Any,
        corner: Any,
        weight: Any,
        mix: Any,
        is_mirrored: Any,
        operator: Any,
        box: Any,
        a: Any,
        b: Any,
        keep: Any,
        address: Any,
        seed: int,
        pictures: Any,
        **settings: Any,
    ) -> Any:
        import torch

        num_views, batch, num_chains, num_steps = operator.shape
        channels, height, width = pixels.shape[2:]
        copies = pixels.unflatten(0, (num_views, num_chains + 1))
        shown = cut_torch(pictures, picture, corner, pixels)
        pixel = torch.arange(height * width, device=pixels.device).expand(num_views, batch, -1)
        mix = mix[..., None, None, None]
        total = (1 - mix) * copies[:, 0]
        for chain in range(num_chains):
            mixed = copies[:, chain + 1]
            mixed = torch.where(is_mirrored[..., chain, None, None, None], mixed.flip(-1), mixed)
            for step in range(num_steps):
                kind, first, second, stay = (
                    values[..., chain, step, None, None, None] for values in (operator, a, b, keep)
                )
                block = pixel + (chain * num_steps + step) * height * width
                drawn = torch.stack(words_at_torch(address, block, seed), dim=2)
                drawn = to_uniforms_torch(drawn).unflatten(3, (height, width))
                of_pixels = drawn[:, :, 3:].expand(-1, -1, channels, -1, -1)
                chosen = torch.where(kind == Operator.PIXELS, of_pixels, drawn[:, :, :channels])
                changed = torch.where(chosen < stay, mixed, shown)
                changed = torch.where(
                    kind < Operator.PIXELS, blend_torch(mixed, shown, kind, first, second), changed
                )
                is_inside = pixels_inside(box[:, :, chain, step], mixed)
                mixed = torch.where(is_inside & (kind != Operator.NOTHING), changed, mixed)
            total = total + (mix * weight[..., chain, None, None, None]) * mixed
        return total.clamp(max=1)

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        mix = float(self.mix[view, index])
        lines = [f"{1 - mix:.2f} image + {mix:.2f} mixture"]
        for chain, weight in enumerate(self.weight[view, index]):
            words = ["mirrored"] if self.is_mirrored[view, index, chain] else []
            for step in np.flatnonzero(self.operator[view, index, chain]):
                where = view, index, chain, step
                name = Operator(self.operator[where]).name.lower()
                words.append(f"{name} in {describe_box(self.box[where])}")
            source = f", picture {self.picture[view, index]}: " if words else ""
            lines.append(f"{weight:.2f} * copy {chain + 1}{source}{', '.join(words)}")
        return lines


def blend(
    image: Float32[np.ndarray, "*shape"],
    other: Float32[np.ndarray, "*shape"],
    operator: Any,
    a: np.float32,
    b: np.float32,
) -> Float32[np.ndarray, "*shape"]:
    """Two images in [0, 1] added or multiplied, clipped to [0, 1]; see `Operator`."""
    if operator == Operator.ADD:
        mixed = (a * (image * _TWO - _ONE) + b * (other * _TWO - _ONE) + _ONE) * _HALF
    else:
        mixed = np.power(image * _TWO, a) * np.power(np.maximum(other * _TWO, _LEAST), b) * _HALF
    return np.clip(mixed, 0, 1)


def blend_torch(image: Any, other: Any, operator: Any, a: Any, b: Any) -> Any:
    """`blend` for tensors, by the operator of every image; others than add or multiply leave it."""
    import torch

    added = (a * (image * 2 - 1) + b * (other * 2 - 1) + 1) * 0.5
    multiplied = (image * 2) ** a * (other * 2).clamp(min=float(_LEAST)) ** b * 0.5
    mixed = torch.where(operator == Operator.ADD, added, multiplied).clamp(0, 1)
    return torch.where((operator == Operator.ADD) | (operator == Operator.MULTIPLY), mixed, image)


def cut_torch(pictures: Any, picture: Any, corner: Any, pixels: Any) -> Any:
    """The picture of every view at the size of the images, in [0, 1]."""
    import torch

    height, width = pixels.shape[3:]
    rows = corner[..., 0, None] + torch.arange(height, device=pixels.device)  # view batch height
    columns = corner[..., 1, None] + torch.arange(width, device=pixels.device)
    chosen = picture[..., None, None]
    shown = pictures[chosen, rows[..., None].long(), columns[..., None, :].long()]
    return shown.permute(0, 1, 4, 2, 3).float() / 255


_MIRROR = len(Op)  # stands for mirroring among the operations of IPMix
_IPMIX_OPS = (
    *(Op.EQUALIZE, Op.POSTERIZE, Op.ROTATE, Op.SOLARIZE, Op.SHEAR_X, Op.SHEAR_Y),
    *(Op.TRANSLATE_X, Op.TRANSLATE_Y, _MIRROR, Op.INVERT),
)
_PATCHES = (8, 4, 2, 1)  # divisors of the image's size: 4, 8, 16 and 32 of 32 pixels
_LEAST_PATCH = 2  # px


@dataclass(frozen=True, kw_only=True, slots=True)
class PixMix:
    """PixMix: rounds of mixing with copies of the image and a picture (Hendrycks et al. 2022).

    A view starts as the image or as one operation of it. In each of 0 to ``rounds`` rounds it is
    added to or multiplied with a partner, one operation of the image or the view's picture.
    """

    severity: int | None = 3
    """Largest level of an operation, 1..10; None goes by the size of the images, as for AugMix."""
    rounds: int = 4
    """Largest number of rounds, at least 1 (the paper's k)."""
    beta: float = 3.0
    """Concentration of the weights of a round, above 0: the larger, the weaker the mixing."""
    ops: OpSet = "all"
    """All 13 operations as published (4 of which overlap with the test corruptions); the 9 of the
    AugMix paper; or wide, the 14 of TrivialAugment."""
    pictures: str | None = None
    """Folder of pictures to mix with, e.g. the published fractals; None takes the bank that is
    drawn by the package."""
    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        _check(self, "rounds")
        if self.ops not in OP_SETS:
            raise ValueError(f"ops must be one of {', '.join(OP_SETS)}, got {self.ops!r}")

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw start, rounds, partners and picture of every view; see `AugMix.sample`."""
        ids = check_request(ids, num_views, size)
        at, rounds = stream.at(Purpose.PICTURES), self.rounds
        count = 2 + 3 * (rounds + 1) + 5 * rounds
        uniforms = at.uniforms(ids, num_views=num_views, count=count)
        start, length, rest = uniforms[..., 0], uniforms[..., 1], uniforms[..., 2:]
        steps = rest[..., : 3 * (rounds + 1)].reshape(*rest.shape[:2], rounds + 1, 3)
        draws = rest[..., 3 * (rounds + 1) :].reshape(*rest.shape[:2], rounds, 5)
        is_taken = np.arange(rounds) < (length * (rounds + 1)).astype(np.int64)[..., None]
        is_picture = draws[..., 0] >= 0.5
        ops = np.array(OP_SETS[self.ops], np.int8)
        op = ops[(steps[..., 0] * len(ops)).astype(np.int64)]
        is_used = np.concatenate([(start < 0.5)[..., None], is_taken & ~is_picture], axis=-1)
        op = np.where(is_used, op, np.int8(Op.NONE))
        largest = largest_level(self.severity, size)
        level = LOWEST_LEVEL + steps[..., 1] * (largest - LOWEST_LEVEL)
        sign = np.where(steps[..., 2] > 0.5, -1.0, 1.0)
        amount = level_to_amount(op, level, sign, size, is_wide=self.ops == "wide")
        operator = np.where(draws[..., 1] < 0.5, Operator.ADD, Operator.MULTIPLY)
        a, b = _draw_weights(draws[..., 2:], self.beta)
        stage = PixMixStage(
            **_draw_picture(self.pictures, ids, num_views, size, stream),
            operator=np.where(is_taken, operator, Operator.NOTHING).astype(np.int8),
            is_picture=is_picture & is_taken,
            a=a,
            b=b,
        )
        copies = Copies(op=op[..., None], amount=amount[..., None])
        return _make_plan(self, copies, stage, ids, num_views, size, stream)


@dataclass(frozen=True, kw_only=True, slots=True)
class IPMix:
    """IPMix: AugMix whose chains are operations, or patches of a picture (Huang et al. 2023).

    Each chain has, with equal probability, 0 to ``depth`` operations of ten, or as many patches in
    which the image is mixed with the view's picture. The chains are mixed as in AugMix.
    """

    severity: int | None = 3
    """Largest level of an operation, 1..10; None goes by the size of the images, as for AugMix."""
    width: int = 3
    """Chains that are mixed, at least 1."""
    depth: int = 3
    """Largest number of operations or patches in a chain, at least 1."""
    alpha: float = 1.0
    """Concentration of the Dirichlet weights of the chains and the Beta weight of their mixture,
    above 0."""
    beta: float = 3.0
    """Concentration of the weights within a patch, above 0: the larger, the weaker the mixing."""
    pictures: str | None = None
    """Folder of pictures to mix with, e.g. the published fractals; None takes the bank that is
    drawn by the package."""
    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        _check(self, "width", "depth")
        if not 0 < self.alpha < np.inf:
            raise ValueError(f"alpha must be a finite number above 0, got {self.alpha}")

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw chains, patches, weights and picture of every view; see `AugMix.sample`."""
        ids = check_request(ids, num_views, size)
        at, per_step = stream.at(Purpose.PICTURES), 13
        shape = (num_views, len(ids), self.width)
        count = 2 + self.depth * per_step
        uniforms = at.uniforms(ids, num_views=num_views, count=self.width * count)
        uniforms = uniforms.reshape(*shape, count)
        length = (uniforms[..., 1] * (self.depth + 1)).astype(np.int64)
        is_taken = np.arange(self.depth) < length[..., None]
        has_patches = (uniforms[..., 0] >= 0.5)[..., None]
        draws = uniforms[..., 2:].reshape(*shape, self.depth, per_step)
        op, amount, is_mirrored = self._draw_operations(draws, is_taken & ~has_patches, size)
        operator = (1 + 4 * draws[..., 3]).astype(np.int8)
        a, b = _draw_weights(draws[..., 4:7], self.beta)
        weight = dirichlet(ids, num_views, self.width, self.alpha, stream.at(Purpose.WEIGHTS))
        stage = IPMixStage(
            **_draw_picture(self.pictures, ids, num_views, size, stream),
            weight=weight.astype(np.float32),
            mix=beta(ids, num_views, self.alpha, stream.at(Purpose.MIX)).astype(np.float32),
            is_mirrored=is_mirrored,
            operator=np.where(is_taken & has_patches, operator, np.int8(Operator.NOTHING)),
            box=_draw_boxes(draws[..., 7:13], size),
            a=a,
            b=b,
            keep=draws[..., 6].astype(np.float32),
            address=stream.at(Purpose.PICTURES, part=_MASK_PART).addresses(
                ids, num_views=num_views
            ),
            seed=stream.seed,
        )
        image = np.zeros((*shape[:2], 1, self.depth))  # copy 0
        copies = Copies(
            op=np.concatenate([image.astype(np.int8), op], axis=2),
            amount=np.concatenate([image, amount], axis=2),
        )
        return _make_plan(self, copies, stage, ids, num_views, size, stream)

    def _draw_operations(
        self, draws: Float64[np.ndarray, "view batch chain step draw"], is_taken: Any, size: Any
    ) -> tuple[Any, Any, Any]:
        """Operations and amounts of the chains, and which are mirrored.

        Mirroring before an operation is mirroring after it with the sign of its amount changed,
        and signs are drawn at random. So it is enough to count how often a chain mirrors.
        """
        ops = np.array(_IPMIX_OPS, np.int8)
        op = np.where(is_taken, ops[(draws[..., 0] * len(ops)).astype(np.int64)], np.int8(Op.NONE))
        is_mirror = op == _MIRROR
        op = np.where(is_mirror, np.int8(Op.NONE), op)
        largest = largest_level(self.severity, size)
        level = LOWEST_LEVEL + draws[..., 1] * (largest - LOWEST_LEVEL)
        amount = level_to_amount(op, level, np.where(draws[..., 2] > 0.5, -1.0, 1.0), size)
        return op, amount, is_mirror.sum(axis=-1) % 2 == 1


_PICTURE_PART, _MASK_PART = 1, 2  # of Purpose.PICTURES; part 0 has the other numbers


def _check(policy: PixMix | IPMix, *counts: str) -> None:
    check_severity(policy.severity)
    if not 0 < policy.beta < np.inf:
        raise ValueError(f"beta must be a finite number above 0, got {policy.beta}")
    check_positive(policy, *counts)
    check_crop(policy.crop_padding)


def _draw_picture(
    folder: str | None, ids: Ids, num_views: int, size: tuple[int, int], stream: Stream
) -> dict[str, Any]:
    """The fields of a stage that say which picture of which bank a view has."""
    name, size_px = bank_name(folder), bank_size(size)
    at = stream.at(Purpose.PICTURES, part=_PICTURE_PART)
    uniforms = at.uniforms(ids, num_views=num_views, count=3)
    num_corners = size_px - np.array(size) + 1
    return {
        "picture": (uniforms[..., 0] * count_pictures(name, size_px)).astype(np.int64),
        "corner": (uniforms[..., 1:] * num_corners).astype(np.int32),
        "bank": name,
        "size_px": size_px,
    }


def _draw_weights(
    uniforms: Float64[np.ndarray, "*shape 3"], concentration: float
) -> tuple[Float32[np.ndarray, "*shape"], Float32[np.ndarray, "*shape"]]:
    """Weights or exponents a and b of a round (released code of PixMix).

    Half of them are Beta(c, 1) and Beta(1, c), the others 1 + Beta(1, c) and -Beta(1, c).
    """
    power = 1 / concentration
    high, low = uniforms[..., 1] ** power, 1 - (1 - uniforms[..., 1]) ** power
    other = 1 - (1 - uniforms[..., 2]) ** power
    is_inside = uniforms[..., 0] < 0.5
    a = np.where(is_inside, high, 1 + low)
    return a.astype(np.float32), np.where(is_inside, other, -other).astype(np.float32)


def _draw_boxes(
    uniforms: Float64[np.ndarray, "*shape 6"], size: tuple[int, int]
) -> Int32[np.ndarray, "*shape 4"]:
    """Patches inside the image: half of them squares of the drawn edge, the others smaller."""
    squares = np.maximum(min(size) // np.array(_PATCHES), min(_LEAST_PATCH, min(size)))
    square = squares[(uniforms[..., 0] * len(squares)).astype(np.int64)]
    least = np.minimum(_LEAST_PATCH, square)
    edges: list[Int64[np.ndarray, "*shape"]] = []
    for axis in (0, 1):
        smaller = least + (uniforms[..., 2 + axis] * (square - least + 1)).astype(np.int64)
        edges.append(np.where(uniforms[..., 1] < 0.5, square, smaller))
    extent = np.stack(edges, axis=-1)
    first = (uniforms[..., 4:6] * (np.array(size) - extent + 1)).astype(np.int64)
    return np.concatenate([first, first + extent], axis=-1).astype(np.int32)


def _make_plan(
    policy: PixMix | IPMix,
    copies: Copies,
    stage: PixMixStage | IPMixStage,
    ids: Int64[np.ndarray, " batch"],
    num_views: int,
    size: tuple[int, int],
    stream: Stream,
) -> Plan:
    """The plan of copies and what combines them behind the crop that every policy draws."""
    chains = Chains.unchanged(num_views, len(ids))
    plan = make_plan(ids, size, chains, policy.crop_padding, policy.flip, stream)
    crop = plan.stages[0]
    return Plan(ids=plan.ids, size=plan.size, stages=(crop, copies, stage))
