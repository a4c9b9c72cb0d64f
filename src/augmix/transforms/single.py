"""Transforms of one image: a view of it by a policy, in the type that came in."""

from typing import Any, Literal

import torch

from augmix import images as convention
from augmix.augment import policies
from augmix.transforms.drawing import CpuExecutor, Drawer
from augmix.transforms.images import from_batch, is_batch, to_batch


class OneView:
    """One view of an image by any policy that pairs no images, in the type it came in.

    Args:
        policy: Draws the view, e.g. ``augmix.Cutout(base=augmix.AugMix())``.
        dtype: ``torch.uint8`` gives the type that came in, rounded to nearest; ``torch.float32``
            gives a tensor in [0, 1], channels first, which keeps mixtures exactly.
        seed: Separates transforms that are used together, 0 .. 2**64 - 1.
        executor: ``pillow`` or ``compiled``, see `augmix.render`; ``auto`` is ``compiled``.

    Raises:
        ValueError: For options out of range, and images of a mode, shape or type not listed in
            the first lines of `augmix.transforms`.

    Example:
        >>> from PIL import Image
        >>> from augmix import AugMix, Cutout
        >>> OneView(Cutout(side=8, base=AugMix()))(Image.new("RGB", (32, 32), "teal")).size
        (32, 32)
    """

    def __init__(
        self,
        policy: policies.Policy,
        *,
        dtype: torch.dtype = torch.uint8,
        seed: int = 0,
        executor: CpuExecutor = "auto",
    ) -> None:
        if dtype not in (torch.uint8, torch.float32):
            raise ValueError(f"dtype must be torch.uint8 or torch.float32, got {dtype}")
        _refuse_pairs(policy)
        self.dtype = dtype
        self.drawer = Drawer(policy, seed, executor)

    def __call__(self, image: Any) -> Any:
        views = self.drawer.views(to_batch(image), 1, clean=False)[0]
        if self.dtype == torch.float32:
            return torch.from_numpy(views if is_batch(image) else views[0])
        pixels = convention.to_channels_last(convention.to_uint8(views))
        return from_batch(pixels, image)

    def __repr__(self) -> str:
        return f"augmix.transforms.{type(self).__name__}({self.drawer}, dtype={self.dtype})"


def _refuse_pairs(policy: policies.Policy) -> None:
    """One image has no partner, and its label is not at hand."""
    layer = policy
    while layer is not None:
        if isinstance(layer, (policies.Mixup, policies.CutMix)):
            name = type(layer).__name__
            raise ValueError(
                f"{name} pairs the images of a batch and mixes their labels; take "
                f"augmix.transforms.{name} for finished batches"
            )
        layer = getattr(layer, "base", None)


class AugMix(OneView):
    """One AugMix view of an image, in the type it came in.

    Args:
        severity: Largest level of an operation, 1..10 (3 on CIFAR, 1 on ImageNet).
        width: Chains that are mixed.
        depth: Operations in a chain; -1 draws 1, 2 or 3.
        alpha: Concentration of the mixing weights, above 0.
        ops: ``paper`` (9 operations) or ``all`` (13).
        crop_padding: Random crop from the image padded by this many pixels; 0 is none.
        flip: Mirror half of the images.
        dtype: ``torch.uint8`` gives the type that came in, rounded to nearest; ``torch.float32``
            gives a tensor in [0, 1], channels first, which keeps the mixture exactly.
        seed: Separates transforms that are used together, 0 .. 2**64 - 1.
        executor: ``pillow`` or ``compiled``, see `augmix.render`; ``auto`` is ``compiled``.

    Raises:
        ValueError: For options out of range, and images of a mode, shape or type not listed in
            the first lines of `augmix.transforms`.

    Example:
        >>> from PIL import Image
        >>> picture = Image.new("RGB", (32, 32), "teal")
        >>> AugMix(severity=1)(picture).size
        (32, 32)
    """

    def __init__(
        self,
        *,
        severity: int = 3,
        width: int = 3,
        depth: int = -1,
        alpha: float = 1.0,
        ops: Literal["paper", "all"] = "paper",
        crop_padding: int = 0,
        flip: bool = False,
        dtype: torch.dtype = torch.uint8,
        seed: int = 0,
        executor: CpuExecutor = "auto",
    ) -> None:
        policy = policies.AugMix(
            severity=severity,
            width=width,
            depth=depth,
            alpha=alpha,
            ops=ops,
            crop_padding=crop_padding,
            flip=flip,
        )
        super().__init__(policy, dtype=dtype, seed=seed, executor=executor)


class AutoAugment(OneView):
    """A sub-policy of AutoAugment, by default AutoAugment*; see `augmix.AutoAugment`.

    Args:
        table: ``cifar10`` or ``imagenet``.
        full: Keep the operations that overlap with the test corruptions.
        crop_padding: Random crop from the image padded by this many pixels; 0 is none.
        flip: Mirror half of the images.
        dtype: See `OneView`, as ``seed`` and ``executor``.
    """

    def __init__(
        self,
        *,
        table: Literal["cifar10", "imagenet"] = "cifar10",
        full: bool = False,
        crop_padding: int = 0,
        flip: bool = False,
        dtype: torch.dtype = torch.uint8,
        seed: int = 0,
        executor: CpuExecutor = "auto",
    ) -> None:
        policy = policies.AutoAugment(table=table, full=full, crop_padding=crop_padding, flip=flip)
        super().__init__(policy, dtype=dtype, seed=seed, executor=executor)


class RandomAA(OneView):
    """One random chain in place of the image; see `augmix.RandomAA`.

    Args:
        severity: Largest level of an operation, 1..10.
        depth: Operations in the chain; -1 draws 1, 2 or 3.
        ops: ``paper`` (9 operations) or ``all`` (13).
        crop_padding: Random crop from the image padded by this many pixels; 0 is none.
        flip: Mirror half of the images.
        dtype: See `OneView`, as ``seed`` and ``executor``.
    """

    def __init__(
        self,
        *,
        severity: int = 3,
        depth: int = -1,
        ops: Literal["paper", "all"] = "paper",
        crop_padding: int = 0,
        flip: bool = False,
        dtype: torch.dtype = torch.uint8,
        seed: int = 0,
        executor: CpuExecutor = "auto",
    ) -> None:
        policy = policies.RandomAA(
            severity=severity, depth=depth, ops=ops, crop_padding=crop_padding, flip=flip
        )
        super().__init__(policy, dtype=dtype, seed=seed, executor=executor)


class Cutout(OneView):
    """A square of the image covered with one level; see `augmix.Cutout`.

    Args:
        side: Side of the square in pixels.
        fill: Level shown, 0..1, one for all channels or one for each.
        crop_padding: Random crop from the image padded by this many pixels; 0 is none.
        flip: Mirror half of the images.
        dtype: See `OneView`, as ``seed`` and ``executor``.
    """

    def __init__(
        self,
        *,
        side: int = 16,
        fill: tuple[float, ...] = (0.5,),
        crop_padding: int = 0,
        flip: bool = False,
        dtype: torch.dtype = torch.uint8,
        seed: int = 0,
        executor: CpuExecutor = "auto",
    ) -> None:
        base = policies.Standard(crop_padding=crop_padding, flip=flip)
        policy = policies.Cutout(side=side, fill=fill, base=base)
        super().__init__(policy, dtype=dtype, seed=seed, executor=executor)


class PatchUniform(OneView):
    """Uniform noise in a square of the image; see `augmix.PatchUniform`.

    Args:
        side: Side of the square in pixels.
        amplitude: Largest noise that is drawn, above 0, in [0, 1] units.
        random_side: Draw the side from 0 .. side.
        crop_padding: Random crop from the image padded by this many pixels; 0 is none.
        flip: Mirror half of the images.
        dtype: See `OneView`, as ``seed`` and ``executor``.
    """

    def __init__(
        self,
        *,
        side: int = 25,
        amplitude: float = 1.0,
        random_side: bool = False,
        crop_padding: int = 0,
        flip: bool = False,
        dtype: torch.dtype = torch.uint8,
        seed: int = 0,
        executor: CpuExecutor = "auto",
    ) -> None:
        base = policies.Standard(crop_padding=crop_padding, flip=flip)
        policy = policies.PatchUniform(
            side=side, amplitude=amplitude, random_side=random_side, base=base
        )
        super().__init__(policy, dtype=dtype, seed=seed, executor=executor)
