"""The policy protocol, the standard policy, and draws that several policies share."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int32, Int64, Integer

from augmix.augment.plan import Plan
from augmix.rng import Purpose, Stream

LARGE_PX = 64
"""Images whose shorter side is above this take the settings published for ImageNet, the others
those for CIFAR, where a policy is left to choose."""


def draw_crop(
    ids: Integer[np.ndarray, " batch"], padding: int, flip: bool, stream: Stream
) -> tuple[Int32[np.ndarray, "batch 2"], Bool[np.ndarray, " batch"]]:
    """Crop corners and mirrorings, once per image, so that all its views share them."""
    if not padding and not flip:
        return np.zeros((len(ids), 2), np.int32), np.zeros(len(ids), bool)
    uniforms = stream.at(Purpose.CROP).uniforms(ids, count=3)[0]
    crop = (uniforms[:, :2] * (2 * padding + 1)).astype(np.int32)
    return crop, (uniforms[:, 2] < 0.5) & flip


def dirichlet(
    ids: Integer[np.ndarray, " batch"], num_views: int, width: int, alpha: float, stream: Stream
) -> Float64[np.ndarray, "view batch chain"]:
    """Symmetric Dirichlet rows, by normalising Gamma(alpha) draws in logarithms."""
    log_gamma = _log_gamma(ids, num_views, width, alpha, stream)
    gamma = np.exp(log_gamma - log_gamma.max(axis=-1, keepdims=True))
    return gamma / gamma.sum(axis=-1, keepdims=True)


def beta(
    ids: Integer[np.ndarray, " batch"], num_views: int, alpha: float, stream: Stream
) -> Float64[np.ndarray, "view batch"]:
    """Beta(alpha, alpha); the uniform distribution when alpha is 1."""
    if alpha == 1:
        return stream.uniforms(ids, num_views=num_views, count=1)[..., 0]
    return dirichlet(ids, num_views, 2, alpha, stream)[..., 0]


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


@runtime_checkable
class Policy(Protocol):
    """Draws the plan of a batch without touching a pixel; a frozen dataclass of its options."""

    def sample(
        self,
        ids: Integer[np.ndarray, " batch"],
        *,
        num_views: int,
        size: tuple[int, int],
        stream: Stream,
    ) -> Plan:
        """The plan of ``num_views`` views of every image; see `AugMix.sample`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Standard:
    """The standard CIFAR augmentation: random crop and mirror, nothing else."""

    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        check_crop(self.crop_padding)

    def sample(
        self,
        ids: Integer[np.ndarray, " batch"],
        *,
        num_views: int,
        size: tuple[int, int],
        stream: Stream,
    ) -> Plan:
        """Draw crops and flips; see `AugMix.sample`. All views of an image are alike."""
        check_request(num_views, size)
        ids = np.asarray(ids, dtype=np.int64)
        shape = (num_views, len(ids), 1, 1)
        plan = one_chain(
            ids,
            np.zeros(shape, np.int8),
            np.zeros(shape),
            size,
            self.crop_padding,
            self.flip,
            stream,
        )
        return replace(plan, mix=np.zeros(shape[:2], np.float32))


def one_chain(
    ids: Int64[np.ndarray, " batch"],
    op: Int8[np.ndarray, "view batch 1 depth"],
    amount: Float64[np.ndarray, "view batch 1 depth"],
    size: tuple[int, int],
    crop_padding: int,
    flip: bool,
    stream: Stream,
) -> Plan:
    """The plan of a single chain a view, which takes the place of the image."""
    crop, mirrored = draw_crop(ids, crop_padding, flip, stream)
    return Plan(
        ids=ids,
        size=(int(size[0]), int(size[1])),
        crop_padding=crop_padding,
        crop=crop,
        flip=mirrored,
        op=op,
        amount=amount,
        weight=np.ones(op.shape[:3], np.float32),
        mix=np.ones(op.shape[:2], np.float32),
    )


def check_request(num_views: int, size: tuple[int, int]) -> None:
    """Refuse a request for no view or no pixel.

    Raises:
        ValueError: If ``num_views`` is below 1, or a side of ``size``.
    """
    if num_views < 1:
        raise ValueError(f"num_views must be at least 1, got {num_views}")
    if min(size) < 1:
        raise ValueError(f"size must be at least 1x1 pixel, got {size[0]}x{size[1]}")


def check_crop(crop_padding: int) -> None:
    """Refuse a negative border.

    Raises:
        ValueError: If it is negative.
    """
    if crop_padding < 0:
        raise ValueError(f"crop_padding must be at least 0 pixels, got {crop_padding}")
