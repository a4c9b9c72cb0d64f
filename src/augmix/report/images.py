"""Example images, and the details of one corruption or perturbation."""

import base64
import io
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from augmix.bootstrap import proportion_interval
from augmix.report.comparison import Comparison, Group, Number, over_seeds
from augmix.report.estimates import readable
from augmix.report.load import Run, RunPredictions
from augmix.report.tables import Column, Entry, Row, Table, shown, text

_THUMB_PX = 96
_SMALLEST_PX = 32
_THUMB_PIXELS = 300_000  # of all thumbnails together: keeps the page below 5 MB


def data_uri(image: UInt8[np.ndarray, "height width channel"], *, max_px: int) -> str:
    """Encode an image as a PNG data URI, reduced to at most ``max_px`` in height and width."""
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    if max(picture.size) > max_px:
        picture.thumbnail((max_px, max_px), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def collect_thumbs(runs: Sequence[Run]) -> dict[int, np.ndarray]:
    """Collect the clean images that any run kept, by their id in the source."""
    found: dict[int, np.ndarray] = {}
    for run in runs:
        for kept, images in ((run.hardest, "images"), (run.examples, "clean")):
            if "ids" in kept and images in kept:
                found |= zip(kept["ids"].tolist(), kept[images], strict=True)
    return found


def thumb_uris(thumbs: Mapping[int, np.ndarray], used: Collection[int]) -> dict[int, str]:
    """Encode the thumbnails that are used, small enough that all fit into the page."""
    kept = {number: image for number, image in thumbs.items() if number in used}
    size = int((_THUMB_PIXELS / max(len(kept), 1)) ** 0.5)
    size = max(min(size, _THUMB_PX), _SMALLEST_PX)
    return {number: data_uri(image, max_px=size) for number, image in kept.items()}


def class_name(run: Run, label: int) -> str:
    """Name a class of the run's source."""
    names = run.results.source.get("class_names") or []
    return str(names[label]) if 0 <= label < len(names) else f"class {label}"


_EXAMPLE_PIXELS = 700_000  # of all example images together: keeps the page below 5 MB
_MAX_EXAMPLES = 5
_LARGEST_PX = 160
_NO_CORRUPTION = ("clean", "labels", "ids")


def examples(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Collect the example images of the first run that kept some, for their template.

    Images are data URIs: clean, and a row of severities for each corruption.
    """
    owner = next((run for run in runs if "clean" in run.examples), None)
    if owner is None:
        return None
    pictures = owner.examples
    clean = pictures["clean"][:_MAX_EXAMPLES]
    labels = [class_name(owner, int(label)) for label in pictures.get("labels", ())]
    names = [name for name in pictures if name not in _NO_CORRUPTION]
    planned = owner.results.protocol.get("severities", [])
    levels = max((len(pictures[name]) for name in names), default=0)
    largest = max(clean.shape[1:3])
    num, size = _budget(len(clean), 1 + len(names) * levels, largest)
    images = [
        {
            "title": labels[index] if index < len(labels) else f"image {index + 1}",
            "clean": data_uri(clean[index], max_px=size),
            "rows": [
                [data_uri(level[index], max_px=size) for level in pictures[name]] for name in names
            ],
        }
        for index in range(num)
    ]
    kept = pictures["clean"]
    return {
        "label": owner.label,
        "names": [readable(name) for name in names],
        "severities": planned if len(planned) == levels else range(1, levels + 1),
        "images": images,
        "max_px": size,
        "reduced_from": largest if largest > size else 0,
        "others": [
            run.label for run in runs if not np.array_equal(run.examples.get("clean", kept), kept)
        ],
    }


def _budget(available: int, tiles: int, size: int) -> tuple[int, int]:
    """How many images are shown and how large, so that noise still fits into the page."""
    size = min(size, _LARGEST_PX)
    num = max(1, min(available, _EXAMPLE_PIXELS // (tiles * size * size)))
    largest = int((_EXAMPLE_PIXELS / (num * tiles)) ** 0.5)
    return num, max(16, min(size, largest))


_NUM_IMAGES = 8  # most often wrong, of each corruption
_NUM_MISTAKES = 3  # pairs of classes named


@dataclass(frozen=True, slots=True, kw_only=True)
class HardImage:
    """An image and its id in the source; for each row of the report, how often it is wrong."""

    number: int
    label: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """The details of one corruption or perturbation."""

    name: str
    title: str
    table: Table | None  # numbers by severity; None for a perturbation
    mistakes: tuple[str, ...]  # of each row, the pairs of classes most often confused
    hard: tuple[HardImage, ...]  # the images most often wrong or flipped


def corruption_drills(comparison: Comparison, thumbs: set[int]) -> list[Drill]:
    """Detail every corruption of the common grid; of equal images, those with a thumbnail first."""
    return [
        Drill(
            name=f"c-{index}",
            title=readable(name),
            table=_table(comparison, index, name),
            mistakes=tuple(_mistakes(group, comparison, name) for group in comparison.groups),
            hard=_hardest(comparison, name, thumbs),
        )
        for index, name in enumerate(comparison.grid.names)
    ]


def perturbation_drills(comparison: Comparison, thumbs: set[int]) -> list[Drill]:
    """Detail every common perturbation."""
    return [
        Drill(
            name=f"p-{index}",
            title=readable(name),
            table=None,
            mistakes=(),
            hard=_most_flipped(comparison, name, thumbs),
        )
        for index, name in enumerate(comparison.sequences)
    ]


def _table(comparison: Comparison, index: int, name: str) -> Table:
    """Error by severity of every row, with Wilson's interval, or ± the std over seeds."""
    levels = comparison.grid.severities
    rows = []
    for style, group in enumerate(comparison.groups):
        entries = tuple(_error(group, name, level) for level in levels)
        rows.append(Row(label=group.label, style=style, entries=entries))
    return Table(
        name=f"drill-{index}",
        title="Error by severity",
        unit="%",
        columns=tuple(Column(title=str(level)) for level in levels),
        rows=tuple(rows),
    )


def _error(group: Group, name: str, severity: int | float) -> Entry:
    cells = [run.results.find("c", name, severity) for run in group.runs]
    known = [cell for cell in cells if cell is not None]
    if len(known) < len(cells):
        return text("")
    if len(known) == 1:
        found = proportion_interval(known[0].num_errors, known[0].num_images)
        return shown(Number(value=found.estimate, low=found.low, high=found.high))
    return shown(over_seeds([cell.error for cell in known]))


def _predicted(comparison: Comparison, run: Run, name: str) -> np.ndarray | None:
    """Classes `severity image` that a run predicted, if it kept them."""
    cells = [run.results.find("c", name, level) for level in comparison.grid.severities]
    if run.predictions is None or not all(cells):
        return None
    return np.stack(
        [run.predictions.cells[cell.key].prediction for cell in cells if cell is not None]
    )


def _mistakes(group: Group, comparison: Comparison, name: str) -> str:
    """The most frequent pairs of class and prediction, over severities and seeds."""
    pairs: Counter[tuple[int, int]] = Counter()
    for run in group.runs:
        predicted = _predicted(comparison, run, name)
        if run.predictions is not None and predicted is not None:
            labels = np.broadcast_to(run.predictions.images.labels, predicted.shape)
            wrong = predicted != labels
            pairs.update(zip(labels[wrong].tolist(), predicted[wrong].tolist(), strict=True))
    return ", ".join(
        f"{class_name(group.first, label)} → {class_name(group.first, other)} ({count:,})"
        for (label, other), count in pairs.most_common(_NUM_MISTAKES)
    )


def _hardest(comparison: Comparison, name: str, thumbs: set[int]) -> tuple[HardImage, ...]:
    """Images most often wrong over all rows and severities; none if runs have other images."""
    predictions = _same_images(comparison)
    if predictions is None:
        return ()
    labels = predictions.images.labels
    predicted = [
        [each for run in group.runs if (each := _predicted(comparison, run, name)) is not None]
        for group in comparison.groups
    ]
    wrong = np.zeros(len(labels))
    for of_group in predicted:
        for classes in of_group:
            wrong += (classes != labels).mean(axis=0) / len(of_group)
    run = comparison.runs[0]

    def notes(index: int) -> list[str]:
        return [_note(run, of_group, index, int(labels[index])) for of_group in predicted]

    return _worst(run, predictions, wrong, notes, thumbs)


def _note(run: Run, predicted: list[np.ndarray], index: int, label: int) -> str:
    """How often an image was wrong, and its most frequent wrong class."""
    if not predicted:
        return ""
    classes = np.concatenate([each[:, index] for each in predicted])
    wrong = classes[classes != label]
    if not len(wrong):
        return f"always right ({len(classes)})"
    most, _ = Counter(wrong.tolist()).most_common(1)[0]
    return f"{len(wrong)} of {len(classes)} wrong: {class_name(run, most)}"


def _most_flipped(comparison: Comparison, name: str, thumbs: set[int]) -> tuple[HardImage, ...]:
    predictions = _same_images(comparison)
    if predictions is None:
        return ()
    fractions = []
    for group in comparison.groups:
        kept = [run.predictions for run in group.runs if run.predictions]
        found = [each.sequences[name] for each in kept if name in each.sequences]
        fractions.append(
            np.mean([each.flips / each.pairs for each in found], axis=0) if found else None
        )
    known = [fraction for fraction in fractions if fraction is not None]
    if not known:
        return ()

    def notes(index: int) -> list[str]:
        percents = [None if each is None else 100 * each[index] for each in fractions]
        return ["" if each is None else f"flips in {each:.0f} % of pairs" for each in percents]

    return _worst(comparison.runs[0], predictions, np.sum(known, axis=0), notes, thumbs)


def _same_images(comparison: Comparison) -> RunPredictions | None:
    """The images, if all runs that kept predictions were measured on the same ones."""
    kept = [run.predictions for run in comparison.runs if run.predictions is not None]
    return kept[0] if kept and not comparison.unlike else None


def _worst(
    run: Run,
    predictions: RunPredictions,
    score: np.ndarray,
    notes: Callable[[int], Sequence[str]],
    thumbs: set[int],
) -> tuple[HardImage, ...]:
    """The images of highest score above 0; of equal ones, those with a thumbnail first."""
    ids, labels = predictions.images.ids, predictions.images.labels
    has_thumb = np.isin(ids, list(thumbs))
    order = np.lexsort((np.arange(len(score)), ~has_thumb, -np.round(score, 9)))
    return tuple(
        HardImage(
            number=int(ids[index]),
            label=class_name(run, int(labels[index])),
            notes=tuple(notes(index)),
        )
        for index in order[:_NUM_IMAGES].tolist()
        if score[index] > 0
    )
