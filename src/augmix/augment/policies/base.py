"""What every policy is, and the simplest one."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int8, Int64, Integer

from augmix.augment.plan import Plan
from augmix.augment.policies.draws import draw_crop
from augmix.streams import Stream


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
