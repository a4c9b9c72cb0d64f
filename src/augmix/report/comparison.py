"""Runs made comparable: what all have measured, their numbers, and who is a row of the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from augmix.records import Results
from augmix.report.estimates import estimate
from augmix.report.grids import Grid, common_grid, common_sequences
from augmix.report.groups import Group, gather_runs
from augmix.report.remarks import differences, remarks
from augmix.report.runs import Run, load_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: In the order given.
        groups: The rows of the page: runs, or several seeds of the same.
        grid: Corruptions and severities measured by all.
        sequences: Perturbations measured by all.
        is_alexnet: Whether the set is like ImageNet, so that AlexNet's errors mean something.
        unlike: What forbids comparing the runs; empty if nothing does.
        notes: What a reader must know.
    """

    runs: tuple[Run, ...]
    groups: tuple[Group, ...]
    grid: Grid
    sequences: tuple[str, ...]
    is_alexnet: bool
    unlike: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_comparable(self) -> bool:
        """Whether there is more than one row, all measured alike."""
        return len(self.groups) > 1 and not self.unlike


def compare(folders: Sequence[Path]) -> Comparison:
    """Read run folders and estimate every number of theirs.

    Raises:
        RunError: If there is none, or one holds no results or a damaged file.
    """
    runs = load_runs(folders)
    results = [run.results for run in runs]
    grid, sequences = common_grid(results), common_sequences(results)
    is_alexnet = all(is_imagenet_like(each) for each in results)
    estimates = [estimate(run, grid, sequences, is_alexnet=is_alexnet) for run in runs]
    return Comparison(
        runs=tuple(runs),
        groups=tuple(gather_runs(runs, estimates)),
        grid=grid,
        sequences=sequences,
        is_alexnet=is_alexnet,
        unlike=tuple(differences(runs)),
        notes=tuple(remarks(runs, grid)),
    )


def is_imagenet_like(results: Results) -> bool:
    """Whether errors may be divided by AlexNet's: ImageNet's classes at ImageNet's severities."""
    classes = (results.model.get("num_classes"), results.source.get("num_classes"))
    name = str(results.source.get("name") or "").lower()
    is_imagenet = 1000 in classes or "imagenet" in name
    return is_imagenet and results.protocol.get("preset") == "imagenet"
