"""The policies as transforms: for a data set, a DataLoader or torchvision's Compose.

A transform of one image is a plain callable. It takes what data sets return, and returns the same
type:

* a PIL image of mode L or RGB,
* a uint8 NumPy array `height width channel` (or `height width` for grey), or `batch height width
  channel`,
* a uint8 tensor `channel height width` or `batch channel height width`.

`AugMix`, `AutoAugment`, `RandomAA`, `Cutout` and `PatchUniform` give one view, `OneView` does so by
any policy, `AugMixViews` gives several besides the image, `Corrupt` corrupts it for evaluation.
`Mixup` and `CutMix` take batches of float tensors with their labels, after all transforms of single
images and after normalisation.

Draws are addressed by (seed of the transform, torch's seed of the process, number of the call).
DataLoader seeds every worker in every epoch differently, so workers and epochs never repeat each
other, and a program that calls `torch.manual_seed` draws the same when it is run again.
"""

import inspect
import zlib
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, get_args

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from augmix import arrays
from augmix.arrays import from_batch, to_batch
from augmix.augment import policies, render
from augmix.augment.compiled import OneByOne
from augmix.augment.compiled.mixing import round_levels
from augmix.augment.plan import Plan
from augmix.augment.policies import Policy
from augmix.corruptions.corrupt import corrupt
from augmix.corruptions.presets import open_preset
from augmix.corruptions.registry import AnyPreset
from augmix.rng import Stream

Batch = UInt8[np.ndarray, "batch height width channel"]
Views = Float32[np.ndarray, "view batch channel height width"]
CpuExecutor = Literal["auto", "pillow", "compiled"]
_CLASS = TypeVar("_CLASS", bound=type)
_LARGEST_BLOCK = 64
_OF_BASE = ("crop_padding", "flip")  # options of the policy below


def is_batch(image: Any) -> bool:
    """Whether it is an array or a tensor of several images."""
    return not isinstance(image, Image.Image) and image.ndim == 4


class _Block(NamedTuple):
    """Images of one kind that are planned together before they are asked for, one at a time."""

    kind: tuple[Any, ...]
    first: int
    count: int
    images: OneByOne


class Drawer:
    """The policy of a transform, what renders its plans, and the number of images drawn so far.

    Raises:
        ValueError: If the executor is not one of those for the CPU.
    """

    def __init__(self, policy: Policy, seed: int, executor: CpuExecutor = "auto") -> None:
        if executor not in get_args(CpuExecutor):
            raise ValueError(
                "executor of a transform must be 'auto', 'pillow' or 'compiled', "
                f"got {executor!r}: its images are on the CPU; "
                "augmix.render takes batches to a device"
            )
        layer, has_own = policy, False
        while layer is not None:
            has_own |= any(map(callable, getattr(layer, "ops", ())))
            layer = getattr(layer, "base", None)
        self.policy = policy
        self.executor: CpuExecutor = "pillow" if has_own and executor == "auto" else executor
        self.stream = Stream(seed=seed)
        self.torch_seed = -1
        self.num_drawn = 0
        self._block: _Block | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_block": None}

    def plan(self, count: int, size: tuple[int, int], num_views: int) -> Plan:
        """The plan of the next images of this process."""
        return self._sample(self._advance(count), count, size, num_views)

    def views(self, batch: Batch, num_views: int, *, clean: bool) -> Views:
        """Draw and render the views of a batch; with ``clean`` the images themselves come first."""
        count, size = len(batch), batch.shape[1:3]
        if count > 1 or self.executor == "pillow":
            plan = self.plan(count, size, num_views)
            return render(batch, plan.with_clean() if clean else plan, executor=self.executor)
        first, kind = self._advance(1), (size, num_views, clean)
        block = self._block
        if block is None or block.kind != kind or first >= block.first + block.count:
            more = 2 * block.count if block is not None and block.kind == kind else 1
            more = min(more, _LARGEST_BLOCK, 2**32 - first % 2**32)
            plan = self._sample(first, more, size, num_views)
            images = OneByOne(plan.with_clean() if clean else plan)
            self._block = block = _Block(kind, first, more, images)
        return block.images.render(batch, first - block.first)

    def _advance(self, count: int) -> int:
        """The number of the next image of this process; as many as asked for are then counted."""
        if torch.initial_seed() != self.torch_seed:  # another worker, epoch or manual_seed
            self.torch_seed, self.num_drawn, self._block = torch.initial_seed(), 0, None
        self.num_drawn += count
        return self.num_drawn - count

    def _sample(self, first: int, count: int, size: tuple[int, int], num_views: int) -> Plan:
        """The plan of some images of this process, from a number on."""
        turn, first = divmod(first, 2**32)  # ids have 32 bits, epochs take the rest
        ids = (first + np.arange(count)) % 2**32
        stream = self.stream.spawn(self.torch_seed % 2**64).at(epoch=turn)
        return self.policy.sample(ids, num_views=num_views, size=size, stream=stream)

    def __repr__(self) -> str:
        return f"{self.policy}, seed={self.stream.seed}"


def _takes_options_of(policy: type, *left_out: str) -> Callable[[_CLASS], _CLASS]:
    """Decorator of a transform that makes its policy of options by name, which only that declares.

    So help() and editors show the options in the signature. Where the policy has a base they are
    also those of `Standard`, which is then the base.
    """

    def decorate(transform: _CLASS) -> _CLASS:
        own = inspect.signature(transform.__init__).parameters.values()
        named = [each for each in own if each.name not in ("self", "options")]
        options = list(inspect.signature(policy).parameters.values())
        if any(option.name == "base" for option in options):
            options += inspect.signature(policies.Standard).parameters.values()
        kept = [option for option in options if option.name not in ("base", *left_out)]
        setattr(transform, "__signature__", inspect.Signature([*named, *kept]))  # noqa: B010
        setattr(transform, "policy_type", policy)  # noqa: B010
        return transform

    return decorate


class OneView:
    """One view of an image by any policy that does not pair images, in the type it came in.

    Args:
        policy: Draws the view, e.g. ``augmix.Cutout(base=augmix.AugMix())``.
        dtype: ``torch.uint8`` gives the type that came in, rounded to nearest; ``torch.float32``
            gives a tensor in [0, 1], channels first, which keeps mixtures exactly.
        seed: Separates transforms that are used together, 0 .. 2**64 - 1.
        executor: ``pillow`` or ``compiled``, see `augmix.render`; ``auto`` is ``compiled``.

    Raises:
        TypeError: For images of a type other than those that `augmix.transforms` lists.
        ValueError: For options out of range, and images of a mode or shape other than those
            that `augmix.transforms` lists.

    Example:
        >>> from PIL import Image
        >>> from augmix import AugMix
        >>> from augmix import Cutout
        >>> OneView(Cutout(size_px=8, base=AugMix()))(Image.new("RGB", (32, 32), "teal")).size
        (32, 32)
    """

    def __init__(
        self,
        policy: Policy,
        *,
        dtype: torch.dtype = torch.uint8,
        seed: int = 0,
        executor: CpuExecutor = "auto",
    ) -> None:
        layer = policy
        while layer is not None:  # one image has no partner, and its label is not at hand
            if isinstance(layer, (policies.Mixup, policies.CutMix)):
                name = type(layer).__name__
                raise ValueError(
                    f"{name} pairs the images of a batch and mixes their labels; take "
                    f"augmix.transforms.{name} for finished batches"
                )
            layer = getattr(layer, "base", None)
        self.dtype = _check_dtype(dtype)
        self.drawer = Drawer(policy, seed, executor)

    def __call__(self, image: Any) -> Any:
        views = self.drawer.views(to_batch(image), 1, clean=False)[0]
        if self.dtype == torch.float32:
            return torch.from_numpy(views if is_batch(image) else views[0])
        is_first = isinstance(image, Tensor)  # its layout
        levels = round_levels(views, channels_last=not is_first)
        return from_batch(arrays.to_channels_last(levels) if is_first else levels, image)

    def __repr__(self) -> str:
        return f"augmix.transforms.{type(self).__name__}({self.drawer}, dtype={self.dtype})"


class _OptionsView(OneView):
    """One view by a policy of options, which the subclass names; the rest is as in `OneView`."""

    policy_type: ClassVar[Any]  # of its options

    def __init__(
        self,
        *,
        dtype: torch.dtype = torch.uint8,
        seed: int = 0,
        executor: CpuExecutor = "auto",
        **options: Any,
    ) -> None:
        if any(field.name == "base" for field in fields(self.policy_type)):
            of_base = {name: options.pop(name) for name in _OF_BASE if name in options}
            options["base"] = policies.Standard(**of_base)
        policy = self.policy_type(**options)
        super().__init__(policy, dtype=dtype, seed=seed, executor=executor)


@_takes_options_of(policies.AugMix)
class AugMix(_OptionsView):
    """One AugMix view of an image, in the type it came in.

    Args:
        options: The fields of `augmix.AugMix`: severity, width, depth, alpha, ops, crop_padding and
            flip; and dtype, seed and executor of `OneView`.

    Example:
        >>> from PIL import Image
        >>> picture = Image.new("RGB", (32, 32), "teal")
        >>> AugMix(severity=1)(picture).size
        (32, 32)
    """


@_takes_options_of(policies.AutoAugment)
class AutoAugment(_OptionsView):
    """A sub-policy of AutoAugment, by default of AutoAugment*.

    Args:
        options: The fields of `augmix.AutoAugment`: table, full, crop_padding and flip; and dtype,
            seed and executor of `OneView`.
    """


@_takes_options_of(policies.RandomAA)
class RandomAA(_OptionsView):
    """One random chain in place of the image.

    Args:
        options: The fields of `augmix.RandomAA`: severity, depth, ops, crop_padding and flip; and
            dtype, seed and executor of `OneView`.
    """


@_takes_options_of(policies.Cutout)
class Cutout(_OptionsView):
    """A square of the image covered with one level.

    Args:
        options: The fields of `augmix.Cutout` except its base, and those of `augmix.Standard`:
            size_px, fill, crop_padding and flip; and dtype, seed and executor of `OneView`.
    """


@_takes_options_of(policies.PatchUniform)
class PatchUniform(_OptionsView):
    """Uniform noise in a square of the image.

    Args:
        options: The fields of `augmix.PatchUniform` except its base, and those of
            `augmix.Standard`: size_px, amplitude, random_size, crop_padding and flip; and dtype,
            seed and executor of `OneView`.
    """


@_takes_options_of(policies.AugMix)
class AugMixViews:
    """The image and AugMix views of it, as tensors for the consistency loss.

    Called on an image it gives a tuple (clean, view, view, ...) of tensors, `channel height width`
    (`batch channel height width` for a batch). All have the same crop and flip.

    Args:
        num_views: AugMix views besides the clean image; the paper's loss takes 2.
        dtype: ``torch.float32``, in [0, 1], keeps mixtures exactly; ``torch.uint8`` rounds to
            nearest, for loaders that normalise on the device, as timm's prefetching one does.
        seed: See `OneView`, as ``executor``.
        options: The fields of `augmix.AugMix`.

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
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
        executor: CpuExecutor = "auto",
        **options: Any,
    ) -> None:
        if num_views < 1:
            raise ValueError(f"num_views must be at least 1, got {num_views}")
        self.num_views, self.dtype = num_views, _check_dtype(dtype)
        self.drawer = Drawer(policies.AugMix(**options), seed, executor)

    def __call__(self, image: Any) -> tuple[Tensor, ...]:
        views = self.drawer.views(to_batch(image), self.num_views, clean=True)
        tensors = torch.from_numpy(round_levels(views) if self.dtype == torch.uint8 else views)
        return tuple(tensors if is_batch(image) else tensors[:, 0])

    def __repr__(self) -> str:
        return (
            f"augmix.transforms.AugMixViews({self.drawer}, num_views={self.num_views}, "
            f"dtype={self.dtype})"
        )


class Corrupt:
    """A corruption of the benchmark, for evaluation: equal images become equal bytes.

    The draws of an image are addressed by its pixels, so they are the same in any order, worker,
    epoch or process; `augmix.corrupt` addresses them by the index in the data set. Put it behind
    resizing and cropping: the severities are those of the size that the network sees.

    Args:
        name: A corruption, e.g. ``"fog"``, as for `augmix.corrupt`.
        severity: 1 (mild) to 5.
        preset: Whose severities, as for `augmix.corrupt`.
        seed: Of the draws.

    Raises:
        ValueError: If the name, severity or preset is unknown.

    Example:
        >>> from PIL import Image
        >>> Corrupt("fog", severity=3)(Image.new("RGB", (32, 32), "teal")).size
        (32, 32)
    """

    def __init__(
        self, name: str, *, severity: int | float, preset: AnyPreset = "auto", seed: int = 0
    ) -> None:
        self.name, self.severity, self.seed = name, severity, seed
        self.preset = open_preset(preset)  # a file is read once
        self(np.zeros((0, 32, 32, 3), np.uint8))  # an unknown name is found before the first image

    def __call__(self, image: Any) -> Any:
        ids = [zlib.crc32(each.tobytes()) for each in to_batch(image)]
        return corrupt(
            image,
            self.name,
            severity=self.severity,
            preset=self.preset,
            seed=self.seed,
            ids=ids if is_batch(image) else ids[0],
        )

    def __repr__(self) -> str:
        return (
            f"augmix.transforms.Corrupt({self.name!r}, severity={self.severity}, "
            f"preset={getattr(self.preset, 'name', self.preset)!r}, seed={self.seed})"
        )


class Collate:
    """A ``collate_fn`` that stacks the images of a batch and transforms them together.

    One call for a batch takes a fraction of the time of as many calls: leave the transform out of
    the data set and give it to the loader. Samples are images, or tuples that begin with one; all
    images of a batch have one size and mode. The rest of the tuples is collated as usual.

    Args:
        transform: `OneView`, its kinds, `AugMixViews` or `Corrupt`.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> samples = [(np.zeros((8, 8, 3), np.uint8), label) for label in range(6)]
        >>> loader = DataLoader(samples, batch_size=3, collate_fn=Collate(AugMixViews()))
        >>> (clean, first, second), labels = next(iter(loader))
        >>> tuple(clean.shape), labels
        ((3, 3, 8, 8), tensor([0, 1, 2]))
    """

    def __init__(self, transform: "OneView | AugMixViews | Corrupt") -> None:
        self.transform = transform

    def __call__(self, samples: Sequence[Any]) -> Any:
        views, rest = self._transform(samples)
        return views if rest is None else [views, *default_collate(rest)]

    def _transform(self, samples: Sequence[Any]) -> tuple[Any, list[Any] | None]:
        """The views of the images, and what stands behind each of them, if anything does."""
        has_more = isinstance(samples[0], (tuple, list))
        images = [sample[0] for sample in samples] if has_more else samples
        batches = [to_batch(image) for image in images]
        shapes = sorted({batch.shape[1:] for batch in batches})
        if len(shapes) > 1:
            shown = " and ".join("x".join(map(str, shape)) for shape in shapes[:2])
            raise ValueError(
                f"the images of a batch must have one size and mode, got {shown} (height, width, "
                "channels); resize, crop or convert them in the data set"
            )
        stacked = np.ascontiguousarray(arrays.to_channels_first(np.concatenate(batches)))
        rest = [tuple(sample[1:]) for sample in samples] if has_more else None
        return self.transform(torch.from_numpy(stacked)), rest


class Transformed(Dataset):
    """A data set of transformed images; those of a batch are transformed together.

    torch's DataLoader asks for a whole batch by ``__getitems__``; a single item is transformed
    alone. All images of a batch have one size and mode.

    Args:
        dataset: Any map-style data set of images, or of tuples that begin with one: PIL images,
            uint8 arrays or uint8 tensors.
        transform: `OneView`, its kinds, `AugMixViews` or `Corrupt`.

    Example:
        >>> samples = [(np.zeros((8, 8, 3), np.uint8), label) for label in range(6)]
        >>> len(Transformed(samples, AugMix())), Transformed(samples, AugMix())[4][1]
        (6, 4)
    """

    def __init__(self, dataset: Any, transform: "OneView | AugMixViews | Corrupt") -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        sample = self.dataset[index]
        if isinstance(sample, (tuple, list)):
            return (self.transform(sample[0]), *sample[1:])
        return self.transform(sample)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The samples of a batch; images come as tensors."""
        together = getattr(self.dataset, "__getitems__", None)
        samples = together(indices) if together else [self.dataset[index] for index in indices]
        views, rest = Collate(self.transform)._transform(samples)
        images = list(zip(*views, strict=True)) if isinstance(views, tuple) else list(views)
        if rest is None:
            return images
        return [(image, *more) for image, more in zip(images, rest, strict=True)]


def _check_dtype(dtype: torch.dtype) -> torch.dtype:
    if dtype not in (torch.uint8, torch.float32):
        raise ValueError(f"dtype must be torch.uint8 or torch.float32, got {dtype}")
    return dtype


Images = Float[Tensor, "batch channel height width"]
Labels = Integer[Tensor, " batch"] | Float[Tensor, "batch class"]
Targets = Float32[Tensor, "batch class"]


class _Pairs:
    """Mix the images and targets of finished batches by the policy of the subclass."""

    policy_type: ClassVar[Any]  # of its options

    def __init__(self, *, num_classes: int, seed: int = 0, **options: Any) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.num_classes = num_classes
        self.drawer = Drawer(self.policy_type(**options), seed)

    def __call__(self, images: Images, labels: Labels) -> tuple[Images, Targets]:
        """Mix a batch.

        Args:
            images: Float tensors, normalised or not, on any device.
            labels: Class ids, or class probabilities.

        Returns:
            The mixed images, and the targets as class probabilities.

        Raises:
            ValueError: If images are not a float tensor of four axes, or labels do not fit.
        """
        if images.ndim != 4 or not images.is_floating_point():
            raise ValueError(
                "images must be a float tensor [batch channel height width], "
                f"got {images.dtype} of shape {tuple(images.shape)}; mix after ToTensor"
            )
        is_soft, batch = labels.is_floating_point(), len(images)
        if tuple(labels.shape) != ((batch, self.num_classes) if is_soft else (batch,)):
            raise ValueError(
                f"labels must be {batch} class ids, or rows of shape {(batch, self.num_classes)}, "
                f"got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        one_hot = torch.nn.functional.one_hot
        targets = labels.float() if is_soft else one_hot(labels.long(), self.num_classes).float()
        height, width = images.shape[2:]
        pairs = self.drawer.plan(len(images), (height, width), 1).pairs
        assert pairs is not None
        values = pairs.tensors(images.device)
        weight, partner = values["weight"][:, None], values["partner"]
        mixed = pairs.apply_torch(images[None], **values)[0]
        return mixed, weight * targets + (1 - weight) * targets[partner]

    def __repr__(self) -> str:
        return f"augmix.transforms.{type(self).__name__}({self.drawer}, {self.num_classes} classes)"


@_takes_options_of(policies.Mixup, "crop_padding", "flip")
class Mixup(_Pairs):
    """Blend the images and targets of a batch in pairs.

    Args:
        num_classes: Classes of the labels.
        seed: Separates transforms that are used together, 0 .. 2**64 - 1.
        options: The fields of `augmix.Mixup` except its base: alpha and per_image.

    Example:
        >>> images, targets = Mixup(num_classes=10)(torch.rand(4, 3, 8, 8), torch.arange(4))
        >>> targets.sum(dim=1).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """


@_takes_options_of(policies.CutMix, "crop_padding", "flip")
class CutMix(_Pairs):
    """Cut a box of every image of a batch from another image, targets by area.

    Args:
        num_classes: Classes of the labels.
        seed: Separates transforms that are used together, 0 .. 2**64 - 1.
        options: The fields of `augmix.CutMix` except its base: alpha, probability and per_image.
    """
