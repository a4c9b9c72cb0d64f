"""The pairs of a batch: which two images a view is made of, and how much each one counts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int32, Int64, Integer


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPlan:
    """What every finished view takes from the same view of another image of its batch.

    Blended (Mixup): ``share * view + (1 - share) * partner``, in float32. Cut (CutMix): the pixels
    of the box are the partner's. All views of an image share partner, share and box, so that one
    target stands for all of them.

    Attributes:
        partner: Row of the partner in the batch.
        share: Weight of the image itself in the target, in [0, 1]; its partner has the rest.
        box: The partner's pixels (top, left, bottom, right), see `patches`; unused in a blend.
        is_cut: Whether boxes are cut, or whole images blended.
    """

    partner: Int64[np.ndarray, " batch"]
    share: Float32[np.ndarray, " batch"]
    box: Int32[np.ndarray, "batch 4"]
    is_cut: bool

    def __post_init__(self) -> None:
        batch = len(self.partner)
        if batch and not 0 <= self.partner.min() <= self.partner.max() < batch:
            raise ValueError(
                f"partners must be rows 0..{batch - 1} of the batch, "
                f"got {self.partner.min()}..{self.partner.max()}"
            )
        wrong = self.share[~((self.share >= 0) & (self.share <= 1))]
        if len(wrong):
            raise ValueError(f"shares of pairs must be in [0, 1], got {wrong[0]}")

    def targets(
        self, labels: Integer[np.ndarray, " batch"], num_classes: int
    ) -> Float32[np.ndarray, "batch label"]:
        """The target of every image: its own class and its partner's, by their shares.

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
        rows = np.arange(len(labels))
        targets[rows, labels] = self.share
        targets[rows, labels[self.partner]] += np.float32(1) - self.share
        return targets

    def rows(self, index: slice | np.ndarray) -> "PairPlan":
        """The pairs of some images, which must hold all their partners.

        Raises:
            ValueError: If a partner is left out.
        """
        chosen = np.arange(len(self.partner))[index]
        place = np.full(len(self.partner), -1)
        place[chosen[::-1]] = np.arange(len(chosen))[::-1]  # the first place of a repeated row
        partner = place[self.partner[chosen]]
        if (partner < 0).any():
            row = int(chosen[np.argmax(partner < 0)])
            raise ValueError(
                f"a slice of a plan of pairs must hold both images of every pair; the partner of "
                f"row {row}, row {int(self.partner[row])}, is left out"
            )
        return replace(self, partner=partner, share=self.share[chosen], box=self.box[chosen])


def join_pairs(parts: Sequence[PairPlan]) -> PairPlan | None:
    """The pairs of several batches of one kind, whose rows follow each other; None of none."""
    if not parts:
        return None
    first = np.cumsum([0, *(len(part.partner) for part in parts[:-1])])
    pairs = zip(first, parts, strict=True)
    return replace(
        parts[0],
        partner=np.concatenate([start + part.partner for start, part in pairs]),
        share=np.concatenate([part.share for part in parts]),
        box=np.concatenate([part.box for part in parts]),
    )
