"""Policies as transforms of one image or one batch, for data sets and loaders.

They stand behind everything done to single images, also normalisation: blending and cutting do not
care which numbers a pixel has.
"""

from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Integer, UInt8
from PIL import Image
from torch import Tensor

from augmix import arrays as convention
from augmix.augment import policies
from augmix.augment.pairing import PairPlan
from augmix.augment.plan import Plan
from augmix.augment.policies import Policy
from augmix.augment.render import render
from augmix.rng import Stream

Batch = UInt8[np.ndarray, "batch height width channel"]


def to_batch(image: Any) -> Batch:
    """Any accepted image as uint8 `batch height width channel`.

    Raises:
        ValueError: If the image is of another mode, type or shape.
    """
    if isinstance(image, Image.Image):
        if image.mode not in ("L", "RGB"):
            raise ValueError(
                f"a PIL image must be of mode L or RGB, got {image.mode}; "
                f"convert it first, e.g. image.convert('{_suggested_mode(image.mode)}')"
            )
        pixels = np.asarray(image)
        batch = pixels[None, :, :, None] if image.mode == "L" else pixels[None]
    elif isinstance(image, torch.Tensor):
        if image.dtype != torch.uint8 or image.ndim not in (3, 4):
            raise ValueError(
                "a tensor must be uint8 [channel height width] or [batch channel height width], "
                f"got {image.dtype} of shape {tuple(image.shape)}"
            )
        if image.device.type != "cpu":
            raise ValueError(f"a tensor must lie on the CPU, got device {image.device}")
        pixels = image.numpy()
        batch = convention.to_channels_last(pixels if image.ndim == 4 else pixels[None])
    elif isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise ValueError(
                "an array must be uint8 [height width channel] or [height width], "
                f"got {image.dtype} of shape {image.shape}"
            )
        batch = image[None, :, :, None] if image.ndim == 2 else image[None]
    else:
        raise ValueError(
            "an image must be a PIL image, a uint8 NumPy array or a uint8 tensor, "
            f"got {type(image).__name__}"
        )
    return convention.check_images(batch, where=f"the {type(image).__name__}")


def from_batch(batch: Batch, image: Any) -> Any:
    """A finished batch in the type, mode and layout of the image that it was made from."""
    if isinstance(image, Image.Image):
        return Image.fromarray(batch[0, :, :, 0] if image.mode == "L" else batch[0])
    if isinstance(image, torch.Tensor):
        first = torch.from_numpy(np.ascontiguousarray(convention.to_channels_first(batch)))
        return first if image.ndim == 4 else first[0]
    return batch[0, :, :, 0] if image.ndim == 2 else batch[0]


def is_batch(image: Any) -> bool:
    """Whether it is a tensor of several images."""
    return isinstance(image, torch.Tensor) and image.ndim == 4


def _suggested_mode(mode: str) -> str:
    return "L" if mode in ("1", "I;16", "I", "F", "LA") else "RGB"


Views = Float32[np.ndarray, "view batch channel height width"]
CpuExecutor = Literal["auto", "pillow", "compiled"]


class Drawer:
    """The policy of a transform, what renders its plans, and the count of its calls.

    Raises:
        ValueError: If the executor is not one of those for the CPU.
    """

    def __init__(self, policy: Policy, seed: int, executor: CpuExecutor = "auto") -> None:
        if executor not in get_args(CpuExecutor):
            raise ValueError(
                "executor of a transform must be 'auto', 'pillow' or 'compiled', "
                f"got {executor!r}: its images come and go on the CPU; "
                "augmix.render takes batches to a device"
            )
        self.policy = policy
        self.executor: CpuExecutor = executor
        self.stream = Stream(seed=seed)
        self.torch_seed = -1
        self.num_drawn = 0

    def plan(self, count: int, size: tuple[int, int], num_views: int) -> Plan:
        """The plan of images that were never seen before in this process."""
        stream, ids = self._next(count)
        return self.policy.sample(ids, num_views=num_views, size=size, stream=stream)

    def views(self, batch: Batch, num_views: int, *, clean: bool) -> Views:
        """Draw and render the views of a batch, behind the images themselves if asked for."""
        plan = self.plan(len(batch), batch.shape[1:3], num_views)
        return render(batch, plan.with_clean() if clean else plan, executor=self.executor)

    def _next(self, count: int) -> tuple[Stream, Int64[np.ndarray, " batch"]]:
        if torch.initial_seed() != self.torch_seed:  # another worker, epoch or manual_seed
            self.torch_seed, self.num_drawn = torch.initial_seed(), 0
        turn, first = divmod(self.num_drawn, 2**32)  # ids have 32 bits, epochs take the rest
        self.num_drawn += count
        stream = self.stream.spawn(self.torch_seed % 2**64).at(epoch=turn)
        return stream, (first + np.arange(count)) % 2**32

    def __repr__(self) -> str:
        return f"{self.policy}, seed={self.stream.seed}"


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
        >>> from augmix import AugMix
        >>> from augmix import Cutout
        >>> OneView(Cutout(size_px=8, base=AugMix()))(Image.new("RGB", (32, 32), "teal")).size
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
        depth: Operations in a chain; None draws 1, 2 or 3.
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
        depth: int | None = None,
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
        table: ``cifar10`` or ``imagenet``; None goes by the size of the image.
        full: Keep the operations that overlap with the test corruptions.
        crop_padding: Random crop from the image padded by this many pixels; 0 is none.
        flip: Mirror half of the images.
        dtype: See `OneView`, as ``seed`` and ``executor``.
    """

    def __init__(
        self,
        *,
        table: Literal["cifar10", "imagenet"] | None = "cifar10",
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
        depth: Operations in the chain; None draws 1, 2 or 3.
        ops: ``paper`` (9 operations) or ``all`` (13).
        crop_padding: Random crop from the image padded by this many pixels; 0 is none.
        flip: Mirror half of the images.
        dtype: See `OneView`, as ``seed`` and ``executor``.
    """

    def __init__(
        self,
        *,
        severity: int = 3,
        depth: int | None = None,
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
        size_px: Size of the square in pixels; None goes by the image, see the policy.
        fill: Level shown, 0..1, one for all channels or one for each.
        crop_padding: Random crop from the image padded by this many pixels; 0 is none.
        flip: Mirror half of the images.
        dtype: See `OneView`, as ``seed`` and ``executor``.
    """

    def __init__(
        self,
        *,
        size_px: int | None = 16,
        fill: tuple[float, ...] = (0.5,),
        crop_padding: int = 0,
        flip: bool = False,
        dtype: torch.dtype = torch.uint8,
        seed: int = 0,
        executor: CpuExecutor = "auto",
    ) -> None:
        base = policies.Standard(crop_padding=crop_padding, flip=flip)
        policy = policies.Cutout(size_px=size_px, fill=fill, base=base)
        super().__init__(policy, dtype=dtype, seed=seed, executor=executor)


class PatchUniform(OneView):
    """Uniform noise in a square of the image; see `augmix.PatchUniform`.

    Args:
        size_px: Size of the square in pixels; None goes by the image, see the policy.
        amplitude: Largest noise that is drawn, above 0, in [0, 1] units.
        random_size: Draw the size from 0 .. size_px.
        crop_padding: Random crop from the image padded by this many pixels; 0 is none.
        flip: Mirror half of the images.
        dtype: See `OneView`, as ``seed`` and ``executor``.
    """

    def __init__(
        self,
        *,
        size_px: int | None = 25,
        amplitude: float = 1.0,
        random_size: bool = False,
        crop_padding: int = 0,
        flip: bool = False,
        dtype: torch.dtype = torch.uint8,
        seed: int = 0,
        executor: CpuExecutor = "auto",
    ) -> None:
        base = policies.Standard(crop_padding=crop_padding, flip=flip)
        policy = policies.PatchUniform(
            size_px=size_px, amplitude=amplitude, random_size=random_size, base=base
        )
        super().__init__(policy, dtype=dtype, seed=seed, executor=executor)


class AugMixViews:
    """The image and AugMix views of it, as float tensors for the consistency loss.

    Called on an image it gives a tuple (clean, view, view, ...) of float32 tensors in [0, 1],
    `channel height width` (`batch channel height width` for a batch). All share one crop and
    flip. The options are those of `AugMix`, except that there is no ``dtype``.

    Args:
        num_views: AugMix views besides the clean image; the paper's loss takes 2.

    Example:
        >>> from PIL import Image
        >>> picture = Image.new("L", (28, 28))
        >>> [tuple(view.shape) for view in AugMixViews()(picture)]
        [(1, 28, 28), (1, 28, 28), (1, 28, 28)]
    """

    def __init__(
        self,
        *,
        num_views: int = 2,
        severity: int = 3,
        width: int = 3,
        depth: int | None = None,
        alpha: float = 1.0,
        ops: Literal["paper", "all"] = "paper",
        crop_padding: int = 0,
        flip: bool = False,
        seed: int = 0,
        executor: CpuExecutor = "auto",
    ) -> None:
        if num_views < 1:
            raise ValueError(f"num_views must be at least 1, got {num_views}")
        policy = policies.AugMix(
            severity=severity,
            width=width,
            depth=depth,
            alpha=alpha,
            ops=ops,
            crop_padding=crop_padding,
            flip=flip,
        )
        self.num_views = num_views
        self.drawer = Drawer(policy, seed, executor)

    def __call__(self, image: Any) -> tuple[torch.Tensor, ...]:
        views = self.drawer.views(to_batch(image), self.num_views, clean=True)
        tensors = torch.from_numpy(views)
        return tuple(tensors if is_batch(image) else tensors[:, 0])

    def __repr__(self) -> str:
        return f"augmix.transforms.AugMixViews({self.drawer}, num_views={self.num_views})"


Images = Float[Tensor, "batch channel height width"]
Labels = Integer[Tensor, " batch"] | Float[Tensor, "batch label"]
Rows = Float32[Tensor, "batch label"]


class Pairs:
    """Mixes the images and targets of finished batches by a policy that pairs them.

    Args:
        policy: `augmix.Mixup` or `augmix.CutMix`.
        num_classes: Classes of the labels.
        seed: Separates transforms that are used together, 0 .. 2**64 - 1.
    """

    def __init__(
        self, policy: policies.Mixup | policies.CutMix, *, num_classes: int, seed: int = 0
    ) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.num_classes = num_classes
        self.drawer = Drawer(policy, seed)

    def __call__(self, images: Images, labels: Labels) -> tuple[Images, Rows]:
        """Mix a batch.

        Args:
            images: Float tensors, normalised or not, on any device.
            labels: Class ids, or rows of class probabilities.

        Returns:
            The mixed images, and the targets as rows of class probabilities.

        Raises:
            ValueError: If images are no float tensor of four axes, or labels do not fit.
        """
        if images.ndim != 4 or not images.is_floating_point():
            raise ValueError(
                "images must be a float tensor [batch channel height width], "
                f"got {images.dtype} of shape {tuple(images.shape)}; it comes behind ToTensor"
            )
        rows = self._rows(labels, len(images))
        height, width = images.shape[2:]
        pairs = self.drawer.plan(len(images), (height, width), 1).pairs
        assert pairs is not None
        partner = torch.from_numpy(pairs.partner).to(images.device)
        share = torch.from_numpy(np.array(pairs.share)).to(images.device)
        mixed = _mix_images(images, pairs, partner, share)
        return mixed, share[:, None] * rows + (1 - share[:, None]) * rows[partner]

    def _rows(self, labels: Labels, batch: int) -> Rows:
        is_soft = labels.is_floating_point()
        expected = (batch, self.num_classes) if is_soft else (batch,)
        if tuple(labels.shape) != expected:
            raise ValueError(
                f"labels must be {batch} class ids, or rows of shape {(batch, self.num_classes)}, "
                f"got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        if is_soft:
            return labels.float()
        return torch.nn.functional.one_hot(labels.long(), self.num_classes).float()

    def __repr__(self) -> str:
        return f"augmix.transforms.{type(self).__name__}({self.drawer}, {self.num_classes} classes)"


class Mixup(Pairs):
    """Images and targets of a batch blended in pairs; see `augmix.Mixup`.

    Args:
        num_classes: Classes of the labels.
        alpha: Concentration of the Beta share, above 0.
        per_image: Draw a share for every image instead of one for the batch.
        seed: Separates transforms that are used together, 0 .. 2**64 - 1.

    Example:
        >>> images, targets = Mixup(num_classes=10)(torch.rand(4, 3, 8, 8), torch.arange(4))
        >>> targets.sum(dim=1).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(
        self, *, num_classes: int, alpha: float = 1.0, per_image: bool = False, seed: int = 0
    ) -> None:
        policy = policies.Mixup(alpha=alpha, per_image=per_image)
        super().__init__(policy, num_classes=num_classes, seed=seed)


class CutMix(Pairs):
    """A box of every image of a batch from another image, targets by area; see `augmix.CutMix`.

    Args:
        num_classes: Classes of the labels.
        alpha: Concentration of the Beta share, above 0.
        probability: Share of the batches that are cut (published: CIFAR 0.5, ImageNet 1).
        per_image: Draw for every image instead of once for the batch.
        seed: Separates transforms that are used together, 0 .. 2**64 - 1.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        alpha: float = 1.0,
        probability: float = 0.5,
        per_image: bool = False,
        seed: int = 0,
    ) -> None:
        policy = policies.CutMix(alpha=alpha, probability=probability, per_image=per_image)
        super().__init__(policy, num_classes=num_classes, seed=seed)


def _mix_images(
    images: Images,
    pairs: PairPlan,
    partner: Integer[Tensor, " batch"],
    share: Float32[Tensor, " batch"],
) -> Images:
    """What `augment.pillow.mix_pairs` does, for tensors of one view."""
    if not pairs.is_cut:
        own = share.to(images.dtype)[:, None, None, None]
        return own * images + (1 - own) * images[partner]
    mixed = images.clone()
    for index, (top, left, bottom, right) in enumerate(pairs.box):
        box = (slice(None), slice(int(top), int(bottom)), slice(int(left), int(right)))
        mixed[index][box] = images[int(pairs.partner[index])][box]
    return mixed
