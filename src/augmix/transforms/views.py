"""The image and views of it together, for the consistency loss."""

from typing import Any, Literal

import torch

from augmix.augment import policies
from augmix.transforms.drawing import CpuExecutor, Drawer
from augmix.transforms.images import is_batch, to_batch


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
        depth: int = -1,
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
