"""Example images of a run: each clean, and damaged at every severity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from augmix.report.grids import readable
from augmix.report.pictures import class_name, data_uri
from augmix.report.runs import Run

_PIXELS = 700_000  # of all example images together: keeps the page below 5 MB
_MAX_EXAMPLES = 5
_LARGEST_SIDE = 160
_NO_CORRUPTION = ("clean", "labels", "ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One image: as data URIs, clean and for each corruption a row of severities."""

    title: str
    clean: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """The gallery.

    Attributes:
        label: Of the run that kept them.
        names: Corruptions in words.
        severities: Of the columns.
        images: The first few.
        side: Longest side shown, in pixels.
        reduced_from: Longest side as measured if it was larger, else 0.
        others: Labels of runs that were measured on other images.
    """

    label: str
    names: tuple[str, ...]
    severities: tuple[int, ...]
    images: tuple[Example, ...]
    side: int
    reduced_from: int
    others: tuple[str, ...]


def examples(runs: Sequence[Run]) -> Examples | None:
    """Example images of the first run that kept some."""
    owner = next((run for run in runs if "clean" in run.examples), None)
    if owner is None:
        return None
    pictures = owner.examples
    clean = pictures["clean"][:_MAX_EXAMPLES]
    names = [name for name in pictures if name not in _NO_CORRUPTION]
    planned = owner.results.protocol.get("severities", [])
    levels = max((len(pictures[name]) for name in names), default=0)
    largest = max(clean.shape[1:3])
    num, side = _budget(len(clean), 1 + len(names) * levels, largest)
    return Examples(
        label=owner.label,
        names=tuple(readable(name) for name in names),
        severities=tuple(planned if len(planned) == levels else range(1, levels + 1)),
        images=tuple(_example(owner, index, names, side) for index in range(num)),
        side=side,
        reduced_from=largest if largest > side else 0,
        others=tuple(
            run.label
            for run in runs
            if run is not owner
            and not np.array_equal(run.examples.get("clean", pictures["clean"]), pictures["clean"])
        ),
    )


def _example(run: Run, index: int, names: Sequence[str], side: int) -> Example:
    pictures = run.examples
    return Example(
        title=_title(run, index),
        clean=data_uri(pictures["clean"][index], side=side),
        rows=tuple(
            tuple(data_uri(level[index], side=side) for level in pictures[name]) for name in names
        ),
    )


def _budget(available: int, tiles: int, side: int) -> tuple[int, int]:
    """How many images are shown and how large, so that noise still fits into the page."""
    side = min(side, _LARGEST_SIDE)
    num = max(1, min(available, _PIXELS // (tiles * side * side)))
    largest = int((_PIXELS / (num * tiles)) ** 0.5)
    return num, max(16, min(side, largest))


def _title(run: Run, index: int) -> str:
    labels = run.examples.get("labels")
    if labels is None or index >= len(labels):
        return f"image {index + 1}"
    return class_name(run, int(labels[index]))
