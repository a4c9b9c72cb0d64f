"""Who draws a plan: one frozen dataclass a policy, from severities to physical amounts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int32, Integer

from augmix.augment.plan import Op, Plan
from augmix.streams import Purpose, Stream

PAPER_OPS = (
    Op.AUTOCONTRAST,
    Op.EQUALIZE,
    Op.POSTERIZE,
    Op.ROTATE,
    Op.SOLARIZE,
    Op.SHEAR_X,
    Op.SHEAR_Y,
    Op.TRANSLATE_X,
    Op.TRANSLATE_Y,
)
ALL_OPS = (*PAPER_OPS, Op.COLOR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS)
_SETS = {"paper": PAPER_OPS, "all": ALL_OPS}
_RANDOM_DEPTH = 3  # a chain of random depth has 1, 2 or 3 operations
_LOWEST_LEVEL = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class AugMix:
    """AugMix as published: chains of operations, mixed with random weights (Hendrycks et al. 2020).

    Magnitudes are those of the released code: every operation draws its own level, uniform in
    [0.1, severity].
    """

    severity: int = 3
    """Largest level of an operation, 1..10 (3 on CIFAR, 1 on ImageNet)."""
    width: int = 3
    """Chains that are mixed, at least 1."""
    depth: int = -1
    """Operations in a chain; -1 draws 1, 2 or 3 for each chain."""
    alpha: float = 1.0
    """Concentration of the Dirichlet weights and the Beta share, above 0."""
    ops: Literal["paper", "all"] = "paper"
    """The paper's 9 operations, or all 13 (4 of which overlap with the test corruptions)."""
    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        if not 1 <= self.severity <= 10:
            raise ValueError(f"severity must be 1..10, got {self.severity}")
        if self.width < 1:
            raise ValueError(f"width must be at least 1 chain, got {self.width}")
        if self.depth < 1 and self.depth != -1:
            raise ValueError(f"depth must be at least 1, or -1 for random, got {self.depth}")
        if not 0 < self.alpha < np.inf:
            raise ValueError(f"alpha must be a finite number above 0, got {self.alpha}")
        if self.ops not in _SETS:
            raise ValueError(f"ops must be 'paper' or 'all', got {self.ops!r}")
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding must be at least 0 pixels, got {self.crop_padding}")

    def sample(
        self,
        ids: Integer[np.ndarray, " batch"],
        *,
        num_views: int,
        size: tuple[int, int],
        stream: Stream,
    ) -> Plan:
        """Draw the AugMix plan of a batch without touching a pixel.

        Each image is drawn at its own address, so image 17 gets the same plan in whatever batch,
        worker or rank it turns up. Hendrycks et al. (2020), Algorithm 1.

        Args:
            ids: Dataset indices; any order, repeats allowed.
            num_views: Independent draws per image; the JSD objective needs 2.
            size: Image height and width in pixels; translations are drawn in pixels of this size.
            stream: Where in the run this happens, e.g. ``Stream(seed=0).at(epoch=3)``.

        Returns:
            A plan whose ``op`` and ``amount`` are ``view batch chain depth`` and whose ``weight``
            rows (``view batch chain``) sum to 1.

        Raises:
            ValueError: If ``num_views`` is below 1, or a size or id is out of range.

        Example:
            >>> ids, stream = np.arange(4), Stream(seed=0)
            >>> plan = AugMix().sample(ids, num_views=2, size=(32, 32), stream=stream)
            >>> plan.weight.shape
            (2, 4, 3)
        """
        if num_views < 1:
            raise ValueError(f"num_views must be at least 1, got {num_views}")
        if min(size) < 1:
            raise ValueError(f"size must be at least 1x1 pixel, got {size[0]}x{size[1]}")
        ids = np.asarray(ids, dtype=np.int64)
        op, level, sign = _draw_chains(
            ids, num_views, self.width, self.depth, _SETS[self.ops], self.severity, stream
        )
        crop, flip = _draw_crop(ids, self.crop_padding, self.flip, stream)
        weight = _dirichlet(ids, num_views, self.width, self.alpha, stream.at(Purpose.WEIGHTS))
        return Plan(
            ids=ids,
            size=(int(size[0]), int(size[1])),
            crop_padding=self.crop_padding,
            crop=crop,
            flip=flip,
            op=op,
            amount=level_to_amount(op, level, sign, size),
            weight=weight.astype(np.float32),
            mix=_beta(ids, num_views, self.alpha, stream.at(Purpose.SHARE)).astype(np.float32),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Standard:
    """The standard CIFAR augmentation: random crop and mirror, nothing else."""

    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding must be at least 0 pixels, got {self.crop_padding}")

    def sample(
        self,
        ids: Integer[np.ndarray, " batch"],
        *,
        num_views: int,
        size: tuple[int, int],
        stream: Stream,
    ) -> Plan:
        """Draw crops and flips; see `AugMix.sample`. All views of an image are alike."""
        ids = np.asarray(ids, dtype=np.int64)
        crop, flip = _draw_crop(ids, self.crop_padding, self.flip, stream)
        shape = (num_views, len(ids), 1)
        return Plan(
            ids=ids,
            size=(int(size[0]), int(size[1])),
            crop_padding=self.crop_padding,
            crop=crop,
            flip=flip,
            op=np.zeros((*shape, 1), np.int8),
            amount=np.zeros((*shape, 1)),
            weight=np.ones(shape, np.float32),
            mix=np.zeros(shape[:2], np.float32),
        )


Policy = AugMix | Standard


def level_to_amount(
    op: Int8[np.ndarray, "*shape"],
    level: Float64[np.ndarray, "*shape"],
    sign: Float64[np.ndarray, "*shape"],
    size: tuple[int, int],
) -> Float64[np.ndarray, "*shape"]:
    """The paper's level (0..10) as the physical amount of each operation (released code).

    Args:
        op: Operations by `Op`.
        level: Levels, 0..10.
        sign: +1 or -1, used by rotation, shear and translation.
        size: Image height and width in pixels.
    """
    height, width = size
    largest = _LARGEST.copy()
    largest[Op.TRANSLATE_X], largest[Op.TRANSLATE_Y] = width / 3, height / 3
    value = level * largest[op] / 10
    value = np.where(_IS_WHOLE[op], np.trunc(value), value)
    return _OFFSET[op] + np.where(_IS_SIGNED[op], sign, _SCALE[op]) * value


def _per_op(values: Mapping[Op, int | float], otherwise: float = 0.0) -> Float64[np.ndarray, " op"]:
    """A number for every operation, to be looked up by arrays of operations."""
    table = np.full(len(Op), otherwise)
    for op, value in values.items():
        table[op] = value
    return table


_ENHANCE = (Op.COLOR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS)
_SIGNED = (Op.ROTATE, Op.SHEAR_X, Op.SHEAR_Y, Op.TRANSLATE_X, Op.TRANSLATE_Y)
_WHOLE = (Op.POSTERIZE, Op.SOLARIZE, Op.ROTATE, Op.TRANSLATE_X, Op.TRANSLATE_Y)
# amount = offset + scale (or the sign) * level * largest / 10, cut to a whole number for some
_LARGEST = _per_op(
    {
        **{Op.POSTERIZE: 4, Op.SOLARIZE: 256, Op.ROTATE: 30, Op.SHEAR_X: 0.3, Op.SHEAR_Y: 0.3},
        **dict.fromkeys(_ENHANCE, 1.8),
    }
)
_OFFSET = _per_op({Op.POSTERIZE: 4, Op.SOLARIZE: 256, **dict.fromkeys(_ENHANCE, 0.1)})
_SCALE = _per_op({Op.POSTERIZE: -1, Op.SOLARIZE: -1}, otherwise=1.0)
_IS_SIGNED = _per_op(dict.fromkeys(_SIGNED, 1.0)).astype(bool)
_IS_WHOLE = _per_op(dict.fromkeys(_WHOLE, 1.0)).astype(bool)


def _draw_chains(
    ids: Integer[np.ndarray, " batch"],
    num_views: int,
    width: int,
    depth: int,
    ops: tuple[Op, ...],
    severity: int,
    stream: Stream,
) -> tuple[
    Int8[np.ndarray, "view batch chain depth"],
    Float64[np.ndarray, "view batch chain depth"],
    Float64[np.ndarray, "view batch chain depth"],
]:
    """Operations, levels and signs of every chain; one address a view and image."""
    longest = _RANDOM_DEPTH if depth == -1 else depth
    per_chain = 1 + 3 * longest  # the depth, then operation, level and sign of every step
    uniforms = stream.at(Purpose.CHAINS).uniforms(ids, num_views=num_views, count=width * per_chain)
    uniforms = uniforms.reshape(num_views, len(ids), width, per_chain)
    steps = uniforms[..., 1:].reshape(num_views, len(ids), width, longest, 3)
    op = np.array(ops, np.int8)[(steps[..., 0] * len(ops)).astype(np.int8)]
    if depth == -1:
        length = 1 + (uniforms[..., 0] * _RANDOM_DEPTH).astype(np.int8)
        op = np.where(np.arange(longest) < length[..., None], op, np.int8(Op.NONE))
    level = _LOWEST_LEVEL + steps[..., 1] * (severity - _LOWEST_LEVEL)
    sign = np.where(steps[..., 2] > 0.5, -1.0, 1.0)
    return op, level, sign


def _draw_crop(
    ids: Integer[np.ndarray, " batch"], padding: int, flip: bool, stream: Stream
) -> tuple[Int32[np.ndarray, "batch 2"], Bool[np.ndarray, " batch"]]:
    """Crop corners and mirrorings, once per image, so that all its views share them."""
    if not padding and not flip:
        return np.zeros((len(ids), 2), np.int32), np.zeros(len(ids), bool)
    uniforms = stream.at(Purpose.CROP).uniforms(ids, count=3)[0]
    crop = (uniforms[:, :2] * (2 * padding + 1)).astype(np.int32)
    return crop, (uniforms[:, 2] < 0.5) & flip


def _dirichlet(
    ids: Integer[np.ndarray, " batch"], num_views: int, width: int, alpha: float, stream: Stream
) -> Float64[np.ndarray, "view batch chain"]:
    """Symmetric Dirichlet rows, by normalising Gamma(alpha) draws in logarithms."""
    log_gamma = _log_gamma(ids, num_views, width, alpha, stream)
    gamma = np.exp(log_gamma - log_gamma.max(axis=-1, keepdims=True))
    return gamma / gamma.sum(axis=-1, keepdims=True)


def _beta(
    ids: Integer[np.ndarray, " batch"], num_views: int, alpha: float, stream: Stream
) -> Float64[np.ndarray, "view batch"]:
    """Beta(alpha, alpha); the uniform distribution when alpha is 1."""
    if alpha == 1:
        return stream.uniforms(ids, num_views=num_views, count=1)[..., 0]
    return _dirichlet(ids, num_views, 2, alpha, stream)[..., 0]


def _log_gamma(
    ids: Integer[np.ndarray, " batch"], num_views: int, count: int, alpha: float, stream: Stream
) -> Float64[np.ndarray, "view batch count"]:
    """Logarithms of Gamma(alpha, 1) draws, for any alpha above 0.

    Alpha 1 is the exponential distribution. Otherwise Marsaglia and Tsang (2000), whose rejected
    attempts go on at the next address, so a draw never depends on its neighbours; below 1 the
    draw is Gamma(alpha + 1) * U^(1 / alpha), in logarithms because that underflows.
    """
    if alpha == 1:
        return np.log(-np.log(stream.uniforms(ids, num_views=num_views, count=count)))
    d = (alpha if alpha > 1 else alpha + 1) - 1 / 3
    c = 1 / np.sqrt(9 * d)
    result = np.full((num_views, len(ids), count), np.nan)
    attempt = 0
    while np.isnan(result).any():
        uniforms = stream.uniforms(
            ids, num_views=num_views, count=4 * count, first_block=attempt * count
        ).reshape(num_views, len(ids), count, 4)
        normal = np.sqrt(-2 * np.log(uniforms[..., 0])) * np.cos(2 * np.pi * uniforms[..., 1])
        cube = np.maximum(1 + c * normal, 0) ** 3
        with np.errstate(divide="ignore"):
            log_cube = np.log(cube)
        bound = normal**2 / 2 + d - d * cube + d * log_cube
        drawn = np.log(d) + log_cube
        if alpha < 1:
            drawn = drawn + np.log(uniforms[..., 3]) / alpha
        accepted = np.isnan(result) & (cube > 0) & (np.log(uniforms[..., 2]) < bound)
        np.copyto(result, drawn, where=accepted)
        attempt += 1
    return result
