"""Policies of chains: AugMix, one chain without mixing, and no chain at all.

Every policy is a frozen dataclass whose `sample` returns a `Plan`. The functions at the end draw
what several of them have in common.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int8, Int64, Integer
from PIL.Image import Image

from augmix.augment.ops import Op, find_ops, level_to_amount
from augmix.augment.plan import Plan
from augmix.augment.stages.chains import Chains, CropFlip
from augmix.rng import Purpose, Stream

Ids = Integer[np.ndarray, " batch"]
OpSet = Literal["paper", "all", "wide"]
Ops = OpSet | tuple[str | Callable[[Image, float], Image], ...]
_OPS_FLAG = {"hint": OpSet | tuple[str, ...]}  # functions have no text
LARGE_PX = 64
"""Images whose shorter side is above this take the settings published for ImageNet, the others
those for CIFAR, where a policy is left to choose."""
_SMALL_SEVERITY, _LARGE_SEVERITY = 3, 1  # on CIFAR and on ImageNet
_RANDOM_DEPTH = 3  # a chain of random depth has 1, 2 or 3 operations
LOWEST_LEVEL = 0.1


@runtime_checkable
class Policy(Protocol):
    """Draws the plan of a batch; what it draws for an image depends on its address alone.

    A policy with a field ``base`` is a layer: it changes the plan of that policy. A layer of which
    some views do not show what the base draws has a method ``num_base_views(num_views)`` that says
    how many do. A policy whose views have different uses in the loss sets ``has_fixed_views =
    True``; layers that leave it fewer views are refused over it.
    """

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw a plan with ``num_views`` views of every image; see `AugMix.sample`."""
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

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw crops and flips; see `AugMix.sample`. All views of an image are alike."""
        ids = check_request(ids, num_views, size)
        chains = Chains.unchanged(num_views, len(ids))
        return make_plan(ids, size, chains, self.crop_padding, self.flip, stream)


@dataclass(frozen=True, kw_only=True, slots=True)
class AugMix:
    """AugMix as published: chains of operations, mixed with random weights (Hendrycks et al. 2020).

    Magnitudes are those of the released code: every operation draws its own level, uniform in
    [0.1, severity].
    """

    severity: int | None = 3
    """Largest level of an operation, 1..10; None goes by the size of the images: 3 as on CIFAR up
    to 64 pixels, 1 as on ImageNet above."""
    width: int = 3
    """Chains that are mixed, at least 1."""
    depth: int | None = None
    """Operations in a chain; None draws 1, 2 or 3 for each chain."""
    alpha: float = 1.0
    """Concentration of the Dirichlet weights of the chains and the Beta weight of their mixture,
    above 0."""
    ops: Ops = field(default="paper", metadata=_OPS_FLAG)
    """The paper's 9 operations; all 13 (4 of which overlap with the test corruptions); wide, the 14
    of TrivialAugment with its amounts, of which severity 10 takes all; or names, e.g. rotate
    posterize. In Python also functions (picture, level) of your own, for the executor pillow."""
    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        _check_chains(self)
        if self.width < 1:
            raise ValueError(f"width must be at least 1 chain, got {self.width}")
        if not 0 < self.alpha < np.inf:
            raise ValueError(f"alpha must be a finite number above 0, got {self.alpha}")
        check_crop(self.crop_padding)

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw the AugMix plan of a batch without touching a pixel.

        Each image is drawn at its own address, so image 17 gets the same plan whatever the batch,
        worker or rank. Hendrycks et al. (2020), Algorithm 1.

        Args:
            ids: Dataset indices; any order, repeats allowed.
            num_views: Independent draws for each image; the consistency loss takes 2.
            size: Image height and width in pixels; translations are drawn in pixels of this size.
            stream: Address of the draws in the run, e.g. ``Stream(seed=0).at(epoch=3)``.

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
        ids = check_request(ids, num_views, size)
        op, amount = _draw_chains(self, self.width, ids, num_views, size, stream)
        weight = dirichlet(ids, num_views, self.width, self.alpha, stream.at(Purpose.WEIGHTS))
        mix = beta(ids, num_views, self.alpha, stream.at(Purpose.MIX))
        chains = Chains(
            op=op, amount=amount, weight=weight.astype(np.float32), mix=mix.astype(np.float32)
        )
        return make_plan(ids, size, chains, self.crop_padding, self.flip, stream)


@dataclass(frozen=True, kw_only=True, slots=True)
class AugMax(AugMix):
    """A view of AugMix, then single chains for an attack to mix (Wang et al. 2021).

    View 0 is that of `AugMix`. View v is chain v of other draws, in place of the image: chain
    ``v % width`` of its AugMix view.
    """

    has_fixed_views: ClassVar[bool] = True  # every one but the first is a chain

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw a view of AugMix and ``num_views - 1`` single chains; see `AugMix.sample`."""
        plan = AugMix.sample(self, ids, num_views=num_views, size=size, stream=stream)
        chains = plan.chains
        weight, mix = chains.weight.copy(), chains.mix.copy()
        weight[1:], mix[1:] = 0, 1
        for view in range(1, num_views):
            weight[view, :, view % self.width] = 1
        chains = replace(chains, weight=weight, mix=mix)
        return Plan(ids=plan.ids, size=plan.size, stages=(*plan.stages[:-1], chains))


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomAA:
    """Random AutoAugment*: one chain of AugMix in place of the image, without mixing.

    The baseline of the ablation of Hendrycks et al. (2020), Table 4, which draws operations at
    random where AutoAugment searches for them. The chain is the one that `AugMix` of width 1 draws.
    """

    severity: int | None = 3
    """Largest level of an operation, 1..10; None goes by the size of the images."""
    depth: int | None = None
    """Operations in the chain; None draws 1, 2 or 3."""
    ops: Ops = field(default="paper", metadata=_OPS_FLAG)
    """The paper's 9 operations; all 13 (4 of which overlap with the test corruptions); wide, the 14
    of TrivialAugment with its amounts, of which severity 10 takes all; or names, e.g. rotate
    posterize. In Python also functions (picture, level) of your own, for the executor pillow."""
    crop_padding: int = 0
    """Random crop from the image padded by this many black pixels; 0 is no crop (CIFAR: 4)."""
    flip: bool = False
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        _check_chains(self)
        check_crop(self.crop_padding)

    def sample(self, ids: Ids, *, num_views: int, size: tuple[int, int], stream: Stream) -> Plan:
        """Draw one chain for each view, which takes the place of the image; see `AugMix.sample`."""
        ids = check_request(ids, num_views, size)
        chains = one_chain(*_draw_chains(self, 1, ids, num_views, size, stream))
        return make_plan(ids, size, chains, self.crop_padding, self.flip, stream)


def _check_chains(policy: AugMix | RandomAA) -> None:
    check_severity(policy.severity)
    if policy.depth is not None and policy.depth < 1:
        raise ValueError(f"depth must be at least 1, or None for random, got {policy.depth}")
    find_ops(policy.ops)


def check_severity(severity: int | None) -> None:
    """Refuse a largest level outside 1..10 (ValueError)."""
    if severity is not None and not 1 <= severity <= 10:
        raise ValueError(f"severity must be 1..10, got {severity}")


def largest_level(severity: int | None, size: tuple[int, int]) -> int:
    """Return the largest level of an operation: as given, else as published for such images."""
    usual = _LARGE_SEVERITY if min(size) > LARGE_PX else _SMALL_SEVERITY
    return usual if severity is None else severity


def _draw_chains(
    policy: AugMix | RandomAA,
    width: int,
    ids: Ids,
    num_views: int,
    size: tuple[int, int],
    stream: Stream,
) -> tuple[
    Int8[np.ndarray, "view batch chain depth"], Float64[np.ndarray, "view batch chain depth"]
]:
    """Operations and amounts of every chain; one address for each view of an image."""
    depth = policy.depth or _RANDOM_DEPTH
    per_chain = 1 + 3 * depth  # the depth, then operation, level and sign of every step
    uniforms = stream.at(Purpose.CHAINS).uniforms(ids, num_views=num_views, count=width * per_chain)
    uniforms = uniforms.reshape(num_views, len(ids), width, per_chain)
    steps = uniforms[..., 1:].reshape(num_views, len(ids), width, depth, 3)
    ops = np.array(find_ops(policy.ops), np.int8)
    op = ops[(steps[..., 0] * len(ops)).astype(np.int8)]
    if policy.depth is None:
        length = 1 + (uniforms[..., 0] * _RANDOM_DEPTH).astype(np.int8)
        op = np.where(np.arange(depth) < length[..., None], op, np.int8(Op.NONE))
    highest = largest_level(policy.severity, size)
    level = LOWEST_LEVEL + steps[..., 1] * (highest - LOWEST_LEVEL)
    sign = np.where(steps[..., 2] > 0.5, -1.0, 1.0)
    return op, level_to_amount(op, level, sign, size, is_wide=policy.ops == "wide")


def make_plan(
    ids: Int64[np.ndarray, " batch"],
    size: tuple[int, int],
    chains: Chains,
    crop_padding: int,
    flip: bool,
    stream: Stream,
) -> Plan:
    """The plan of some chains behind a crop and flip that are drawn here, alike for all views."""
    corner, mirrored = np.zeros((len(ids), 2), np.int32), np.zeros(len(ids), bool)
    if crop_padding or flip:
        uniforms = stream.at(Purpose.CROP).uniforms(ids, count=3)[0]
        corner = (uniforms[:, :2] * (2 * crop_padding + 1)).astype(np.int32)
        mirrored = (uniforms[:, 2] < 0.5) & flip
    crop = CropFlip(padding=crop_padding, crop=corner, flip=mirrored)
    return Plan(ids=ids, size=(int(size[0]), int(size[1])), stages=(crop, chains))


def one_chain(
    op: Int8[np.ndarray, "view batch 1 depth"], amount: Float64[np.ndarray, "view batch 1 depth"]
) -> Chains:
    """A single chain for each view, which takes the place of the image."""
    weight, mix = np.ones(op.shape[:3], np.float32), np.ones(op.shape[:2], np.float32)
    return Chains(op=op, amount=amount, weight=weight, mix=mix)


def dirichlet(
    ids: Ids, num_views: int, width: int, alpha: float, stream: Stream
) -> Float64[np.ndarray, "view batch chain"]:
    """Symmetric Dirichlet rows, by normalising Gamma(alpha) draws in logarithms."""
    log_gamma = _log_gamma(ids, num_views, width, alpha, stream)
    gamma = np.exp(log_gamma - log_gamma.max(axis=-1, keepdims=True))
    return gamma / gamma.sum(axis=-1, keepdims=True)


def beta(
    ids: Ids, num_views: int, alpha: float, stream: Stream
) -> Float64[np.ndarray, "view batch"]:
    """Beta(alpha, alpha); the uniform distribution when alpha is 1."""
    if alpha == 1:
        return stream.uniforms(ids, num_views=num_views, count=1)[..., 0]
    return dirichlet(ids, num_views, 2, alpha, stream)[..., 0]


def _log_gamma(
    ids: Ids, num_views: int, count: int, alpha: float, stream: Stream
) -> Float64[np.ndarray, "view batch count"]:
    """Logarithms of Gamma(alpha, 1) draws, for any alpha above 0.

    Alpha 1 is the exponential distribution. Otherwise Marsaglia and Tsang (2000), whose rejected
    attempts continue at the next address, so that no draw depends on its neighbours; below 1 the
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


def check_request(ids: Ids, num_views: int, size: tuple[int, int]) -> Int64[np.ndarray, " batch"]:
    """The ids as int64; refuse a request for no view or no pixel.

    Raises:
        ValueError: If ``num_views``, or a number in ``size``, is below 1.
    """
    if num_views < 1:
        raise ValueError(f"num_views must be at least 1, got {num_views}")
    if min(size) < 1:
        raise ValueError(f"size must be at least 1x1 pixel, got {size[0]}x{size[1]}")
    return np.asarray(ids, dtype=np.int64)


def check_crop(crop_padding: int) -> None:
    """Refuse a negative border."""
    if crop_padding < 0:
        raise ValueError(f"crop_padding must be at least 0 pixels, got {crop_padding}")
