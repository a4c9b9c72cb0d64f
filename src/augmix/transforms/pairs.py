"""Transforms of a whole batch: images and targets mixed in pairs.

They stand behind everything done to single images, also normalisation: blending and cutting do not
care which numbers a pixel has.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer
from torch import Tensor

from augmix.augment import policies
from augmix.augment.pairing import PairPlan
from augmix.transforms.drawing import Drawer

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
