"""AugMix as a transform: for an existing data set, DataLoader or torchvision's Compose.

A transform is a plain callable. It takes what data sets hand out and gives the same kind back:

* a PIL image of mode L or RGB,
* a uint8 NumPy array `height width channel` (or `height width` for grey),
* a uint8 tensor `channel height width` or `batch channel height width`.

Draws are addressed by (the transform's seed, torch's seed of the process, the number of the call).
DataLoader seeds every worker of every epoch differently, so workers and epochs never repeat each
other, and a program that calls `torch.manual_seed` draws the same again when it is run again.
"""

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image

from augmix import images as convention
from augmix.augment.policies import AugMix as Policy
from augmix.augment.render import Executor, render
from augmix.streams import Stream

Batch = UInt8[np.ndarray, "batch height width channel"]
Views = Float32[np.ndarray, "view batch channel height width"]


class _Drawer:
    """The policy of a transform and the count of its calls."""

    def __init__(self, policy: Policy, seed: int, executor: Executor) -> None:
        self.policy = policy
        self.stream = Stream(seed=seed)
        self.executor: Executor = executor
        self.torch_seed = -1
        self.num_drawn = 0

    def views(self, batch: Batch, num_views: int, *, clean: bool) -> Views:
        """Draw and render the views of images that were never seen before in this process."""
        if torch.initial_seed() != self.torch_seed:  # another worker, epoch or manual_seed
            self.torch_seed, self.num_drawn = torch.initial_seed(), 0
        turn, first = divmod(self.num_drawn, 2**32)  # ids have 32 bits, epochs take the rest
        self.num_drawn += len(batch)
        stream = self.stream.spawn(self.torch_seed % 2**64).at(epoch=turn)
        ids = (first + np.arange(len(batch))) % 2**32
        plan = self.policy.sample(ids, num_views=num_views, size=batch.shape[1:3], stream=stream)
        return render(batch, plan.with_clean() if clean else plan, executor=self.executor)

    def __repr__(self) -> str:
        return f"{self.policy}, seed={self.stream.seed}"


class AugMix:
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
        executor: See `augmix.render`.

    Raises:
        ValueError: For options out of range, and images of a mode, shape or type not listed in
            the module's first lines.

    Example:
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
        executor: Executor = "auto",
    ) -> None:
        if dtype not in (torch.uint8, torch.float32):
            raise ValueError(f"dtype must be torch.uint8 or torch.float32, got {dtype}")
        policy = Policy(
            severity=severity,
            width=width,
            depth=depth,
            alpha=alpha,
            ops=ops,
            crop_padding=crop_padding,
            flip=flip,
        )
        self.dtype = dtype
        self.drawer = _Drawer(policy, seed, executor)

    def __call__(self, image: Any) -> Any:
        batch = to_batch(image)
        views = self.drawer.views(batch, 1, clean=False)[0]
        if self.dtype == torch.float32:
            return torch.from_numpy(views if _is_batch(image) else views[0])
        pixels = convention.to_channels_last(convention.to_uint8(views))
        return from_batch(pixels, image)

    def __repr__(self) -> str:
        return f"augmix.transforms.AugMix({self.drawer}, dtype={self.dtype})"


class AugMixViews:
    """The image and AugMix views of it, as float tensors for the consistency loss.

    Called on an image it gives a tuple (clean, view, view, ...) of float32 tensors in [0, 1],
    `channel height width` (`batch channel height width` for a batch). All share one crop and
    flip. The options are those of `AugMix`, except that there is no ``dtype``.

    Args:
        num_views: AugMix views besides the clean image; the paper's loss takes 2.

    Example:
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
        depth: int = -1,
        alpha: float = 1.0,
        ops: Literal["paper", "all"] = "paper",
        crop_padding: int = 0,
        flip: bool = False,
        seed: int = 0,
        executor: Executor = "auto",
    ) -> None:
        if num_views < 1:
            raise ValueError(f"num_views must be at least 1, got {num_views}")
        policy = Policy(
            severity=severity,
            width=width,
            depth=depth,
            alpha=alpha,
            ops=ops,
            crop_padding=crop_padding,
            flip=flip,
        )
        self.num_views = num_views
        self.drawer = _Drawer(policy, seed, executor)

    def __call__(self, image: Any) -> tuple[torch.Tensor, ...]:
        batch = to_batch(image)
        views = torch.from_numpy(self.drawer.views(batch, self.num_views, clean=True))
        return tuple(views if _is_batch(image) else views[:, 0])

    def __repr__(self) -> str:
        return f"augmix.transforms.AugMixViews({self.drawer}, num_views={self.num_views})"


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


def _is_batch(image: Any) -> bool:
    return isinstance(image, torch.Tensor) and image.ndim == 4


def _suggested_mode(mode: str) -> str:
    return "L" if mode in ("1", "I;16", "I", "F", "LA") else "RGB"
