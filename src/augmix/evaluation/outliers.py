"""Images of no class of the model against clean ones: the suite ``ood``, and its cells."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from augmix import metrics
from augmix.data.sources import Source, name_source, open_source
from augmix.errors import RunError
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.suites import Ids, Logits, Suite, register_suite
from augmix.per_image import OutlierPredictions
from augmix.results import CellKey, OutlierCell
from augmix.rng import Purpose, Stream

_PART = 4  # of Purpose.SPLIT; data.sources has 0 and 1, clean images 2, natural shift 3
_NORMALISED = 1e-2  # energies of logarithms of probabilities, which are 0 but for rounding


@register_suite("ood")
class Outliers(Suite):
    """Images of no class of the model, a cell for each set of them, after the clean images.

    Ids from the number of clean images on are of the set.
    """

    @classmethod
    def list_cells(cls, config: EvaluateConfig) -> list[CellKey]:
        """List a cell for each set, which is named after its folder or file."""
        if not config.ood:
            raise ValueError("suite 'ood' needs images of no class of the model: --ood DIR ...")
        names = [path.stem if path.suffix else path.name for path in config.ood]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"ood has two sets named {twice[0]!r}; rename a folder or file")
        return [CellKey(cls.name, name, 0) for name in names]

    @cached_property
    def sets(self) -> dict[str, Source]:
        """The sets by name, prepared like the clean images."""
        names = [key.name for key in self.list_cells(self.config)]
        pairs = zip(names, self.config.ood, strict=True)
        return {name: open_like(path, self.source) for name, path in pairs}

    def describe(self) -> dict[str, Any]:
        """Return the fingerprint of each set."""
        return {"ood": {name: each.fingerprint for name, each in self.sets.items()}}

    def ids(self, key: CellKey, ids: Ids) -> Int64[np.ndarray, " image"]:
        found = self.sets[key.name]
        stream = Stream(seed=self.config.seed, purpose=Purpose.SPLIT, part=_PART)
        order = stream.permutation(len(found))[: self.config.max_images]
        return np.concatenate([ids, len(self.source) + np.sort(order)])

    def is_outside(self, ids: Ids) -> Bool[np.ndarray, " batch"]:
        """Return which images are of no class."""
        return ids >= len(self.source)

    def images(self, key: CellKey, ids: Ids) -> UInt8[np.ndarray, "batch height width channel"]:
        is_outside = self.is_outside(ids)
        parts = [
            source.load(own)
            for source, own in (
                (self.source, ids[~is_outside]),
                (self.sets[key.name], ids[is_outside] - len(self.source)),
            )
            if len(own)
        ]
        return np.concatenate(parts)


def open_like(path: Path, clean: Source) -> Source:
    """Open images in any form that ``--data`` takes, of the size and channels of the clean ones.

    Raises:
        RunError: If the images are missing or broken, or have other channels.
    """
    kind, geometry = name_source(str(path)), clean.geometry
    size = geometry.size or (clean.size[0] if clean.size[0] == clean.size[1] else 0)
    found = open_source(
        kind,
        root=path,
        split="test",
        size=size,
        resize=geometry.resize,
        interpolation=geometry.interpolation,
        squash=geometry.squash,
        convention=geometry.convention,
        is_lazy=True,
    )
    if (found.size, found.channels) != (clean.size, clean.channels):
        raise RunError(
            f"{path}: expected images of {clean.size[0]}x{clean.size[1]} with {clean.channels} "
            f"channels like the clean ones, got {found.size[0]}x{found.size[1]} with "
            f"{found.channels}; convert them, or name a size (--crop)"
        )
    return found


def outlier_arrays(logits: Logits, is_outside: Bool[np.ndarray, " batch"]) -> dict[str, np.ndarray]:
    """Compute the arrays of `OutlierPredictions` of some images."""
    return {
        "is_outside": is_outside,
        "confidence": np.exp(metrics.log_softmax(logits)).max(axis=1),
        "max_logit": metrics.max_logit(logits),
        "energy": metrics.energy_score(logits),
    }


def make_outlier_cell(name: str, kept: OutlierPredictions, *, seconds: float) -> OutlierCell:
    """Measure how well each score tells the images of no class."""
    auroc, fpr95 = {}, {}
    for score in outlier_scores_of(kept.energy):
        values = getattr(kept, score)
        inside, outside = values[~kept.is_outside], values[kept.is_outside]
        auroc[score] = metrics.auroc(inside, outside)
        fpr95[score] = metrics.fpr_at_recall(inside, outside)
    return OutlierCell(
        name=name,
        num_inside=int((~kept.is_outside).sum()),
        num_images=int(kept.is_outside.sum()),
        auroc=auroc,
        fpr95=fpr95,
        seconds=seconds,
    )


def outlier_scores_of(energy: Float64[np.ndarray, " image"]) -> tuple[str, ...]:
    """Return the scores that say something, by the energies: those of probabilities are all 0."""
    is_normalised = float(np.abs(energy).max()) <= _NORMALISED
    return ("confidence",) if is_normalised else ("confidence", "max_logit", "energy")
