"""The stage of Mixup and CutMix: finished views blended with, or cut from, others of the batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Int32, Int64, Integer

from augmix.augment.stages import Pictures, Pixels, Stage, register_stage
from augmix.augment.stages.patches import check_boxes, describe_box, pixels_inside


@register_stage("pairs")
@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs(Stage):
    """Mix every view with the same view of another image of its batch.

    Blended (Mixup): ``weight * view + (1 - weight) * partner``, in float32. Cut (CutMix): the
    pixels of the box are the partner's. All views of an image have the same partner, weight and
    box, so that one target holds for all of them.

    Attributes:
        partner: Position of the partner in the batch.
        weight: Weight of the image itself in the target, in [0, 1]; its partner has the rest.
        box: Top, left, bottom and right of the partner's pixels; unused in a blend.
        is_cut: Whether boxes are cut, or whole images blended.
    """

    partner: Int64[np.ndarray, " batch"]
    weight: Float32[np.ndarray, " batch"]
    box: Int32[np.ndarray, "batch 4"]
    is_cut: bool

    rank: ClassVar[int] = 80

    def __post_init__(self) -> None:
        batch = len(self.partner)
        if batch and not 0 <= self.partner.min() <= self.partner.max() < batch:
            raise ValueError(
                f"partners must be positions 0..{batch - 1} of the batch, "
                f"got {self.partner.min()}..{self.partner.max()}"
            )
        wrong = self.weight[~((self.weight >= 0) & (self.weight <= 1))]
        if len(wrong):
            raise ValueError(f"weights of pairs must be in [0, 1], got {wrong[0]}")

    def targets(
        self, labels: Integer[np.ndarray, " batch"], num_classes: int
    ) -> Float32[np.ndarray, "batch class"]:
        """The target of every image: its own class and its partner's, by their weights.

        Raises:
            ValueError: If a label is not 0 .. num_classes - 1.
        """
        if len(labels) != len(self.partner):
            raise ValueError(f"labels must be {len(self.partner)}, one an image, got {len(labels)}")
        if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(
                f"labels must be 0..{num_classes - 1}, got {labels.min()}..{labels.max()}"
            )
        targets = np.zeros((len(labels), num_classes), np.float32)
        index = np.arange(len(labels))
        targets[index, labels] = self.weight
        targets[index, labels[self.partner]] += np.float32(1) - self.weight
        return targets

    def apply(self, pixels: Pixels, pictures: Pictures | None = None) -> Pixels:
        if not self.is_cut:
            weight = self.weight[:, None, None, None]
            return weight * pixels + (np.float32(1) - weight) * pixels[:, self.partner]
        views = pixels.copy()
        for index, (top, left, bottom, right) in enumerate(self.box):
            taken = pixels[:, self.partner[index], :, top:bottom, left:right]
            views[:, index, :, top:bottom, left:right] = taken
        return views

    @staticmethod
    def apply_torch(pixels: Any, *, partner: Any, weight: Any, box: Any, is_cut: bool) -> Any:
        import torch

        others = pixels[:, partner]
        if is_cut:
            return torch.where(pixels_inside(box[None], pixels), others, pixels)
        weight = weight.to(pixels.dtype).reshape(-1, 1, 1, 1)
        return weight * pixels + (1 - weight) * others

    def check(self, size: tuple[int, int]) -> None:
        check_boxes("pairs", self.box, size)

    def select(self, index: slice | np.ndarray) -> "Pairs":
        """The pairs of some images, which must hold all their partners.

        Raises:
            ValueError: If a partner is left out.
        """
        chosen = np.arange(len(self.partner))[index]
        partner = select_partners(self.partner, chosen)
        return replace(self, partner=partner, weight=self.weight[chosen], box=self.box[chosen])

    @classmethod
    def join(cls, parts: Sequence["Pairs"]) -> "Pairs":
        return replace(
            parts[0],
            partner=join_partners([part.partner for part in parts]),
            weight=np.concatenate([part.weight for part in parts]),
            box=np.concatenate([part.box for part in parts]),
        )

    def describe(self, index: int, view: int, ids: Int64[np.ndarray, " batch"]) -> list[str]:
        weight, other = self.weight[index], ids[self.partner[index]]
        if weight >= 1:
            return []
        where = f" in {describe_box(self.box[index])}" if self.is_cut else ""
        return [f"{weight:.2f} itself + {1 - weight:.2f} image {other}{where}"]


def select_partners(
    partner: Int64[np.ndarray, " batch"], chosen: Integer[np.ndarray, " chosen"]
) -> Int64[np.ndarray, " chosen"]:
    """The partners of chosen images of a batch as positions among these.

    Raises:
        ValueError: If a partner is left out.
    """
    position = np.full(len(partner), -1)
    position[chosen[::-1]] = np.arange(len(chosen))[::-1]  # the first one of a repeated image
    found = position[partner[chosen]]
    if (found < 0).any():
        first = int(chosen[np.argmax(found < 0)])
        raise ValueError(
            f"a slice of a plan of pairs must hold both images of every pair; the partner of "
            f"image {first} of the batch, image {int(partner[first])}, is left out"
        )
    return found


def join_partners(parts: Sequence[Int64[np.ndarray, "_"]]) -> Int64[np.ndarray, " batch"]:
    """The partners of several batches whose images follow each other."""
    first = np.cumsum([0, *(len(part) for part in parts[:-1])])
    return np.concatenate([start + part for start, part in zip(first, parts, strict=True)])
