"""Example images and the drill-down of one corruption."""

import base64
import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from augmix.report.comparison import Comparison, Group, Number
from augmix.report.estimates import counted, error_of, readable
from augmix.report.load import Answers, Run
from augmix.report.tables import Column, Entry, Row, Table, plain, shown, text

_THUMB_PX = 96
_SMALLEST_PX = 32
_PIXELS = 300_000  # of all thumbs together: keeps the page below 5 MB


def data_uri(image: UInt8[np.ndarray, "height width channel"], *, side: int) -> str:
    """The picture as a PNG data URI, reduced so that no side is longer than ``side`` pixels."""
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    if max(picture.size) > side:
        picture.thumbnail((side, side), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def collect_thumbs(runs: Sequence[Run]) -> dict[int, np.ndarray]:
    """The clean images that any run kept, by their number in the source."""
    found: dict[int, np.ndarray] = {}
    for run in runs:
        for ids, images in (
            (run.hardest.get("ids"), run.hardest.get("images")),
            (run.examples.get("ids"), run.examples.get("clean")),
        ):
            if ids is not None and images is not None:
                found |= {int(number): image for number, image in zip(ids, images, strict=True)}
    return found


def thumb_uris(thumbs: Mapping[int, np.ndarray], used: Collection[int]) -> dict[int, str]:
    """The pictures shown, by their number, small enough that all fit into the page."""
    shown = {number: image for number, image in thumbs.items() if number in used}
    side = min(_THUMB_PX, int((_PIXELS / max(len(shown), 1)) ** 0.5))
    side = max(side, _SMALLEST_PX)
    return {number: data_uri(image, side=side) for number, image in shown.items()}


def class_name(run: Run, label: int) -> str:
    """A class of the run's source in words."""
    names = run.results.source.get("class_names") or []
    return str(names[label]) if 0 <= label < len(names) else f"class {label}"


_PIXELS_examples = 700_000  # of all example images together: keeps the page below 5 MB
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
    num = max(1, min(available, _PIXELS_examples // (tiles * side * side)))
    largest = int((_PIXELS_examples / (num * tiles)) ** 0.5)
    return num, max(16, min(side, largest))


def _title(run: Run, index: int) -> str:
    labels = run.examples.get("labels")
    if labels is None or index >= len(labels):
        return f"image {index + 1}"
    return class_name(run, int(labels[index]))


NUM_IMAGES = 8  # most often wrong, of each corruption
_NUM_MISTAKES = 3  # pairs of classes named


@dataclass(frozen=True, slots=True, kw_only=True)
class Hard:
    """An image that is often wrong, or often flips.

    Attributes:
        number: Its id in the source.
        label: Its class in words.
        answers: For each row of the page what happened to it, in words.
    """

    number: int
    label: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One corruption or perturbation.

    Attributes:
        name: Unique among the drills of a kind.
        title: In words.
        headline: The main number of each row of the page.
        table: Numbers by severity; None for a perturbation.
        mistakes: For each row of the page, the pairs of classes most often confused.
        hard: The images most often wrong or flipped.
    """

    name: str
    title: str
    headline: tuple[str, ...]
    table: Table | None
    mistakes: tuple[str, ...]
    hard: tuple[Hard, ...]


def corruption_drills(comparison: Comparison, thumbs: set[int]) -> list[Drill]:
    """Every corruption of the common grid; images with a thumb come first among equals."""
    return [
        Drill(
            name=f"c-{place}",
            title=readable(name),
            headline=tuple(_headline(group, comparison, name) for group in comparison.groups),
            table=_table(comparison, place, name),
            mistakes=tuple(_mistakes(group, comparison, name) for group in comparison.groups),
            hard=_hardest(comparison, name, thumbs),
        )
        for place, name in enumerate(comparison.grid.names)
    ]


def perturbation_drills(comparison: Comparison, thumbs: set[int]) -> list[Drill]:
    """Every common perturbation."""
    return [
        Drill(
            name=f"p-{place}",
            title=readable(name),
            headline=tuple(_flip_share(group, name) for group in comparison.groups),
            table=None,
            mistakes=(),
            hard=_most_flipped(comparison, name, thumbs),
        )
        for place, name in enumerate(comparison.sequences)
    ]


def _headline(group: Group, comparison: Comparison, name: str) -> str:
    cells = [
        run.results.find("c", name, severity)
        for run in group.runs
        for severity in comparison.grid.severities
    ]
    errors = [error_of(cell) for cell in cells if cell is not None]
    return plain(float(np.mean(errors)) if errors else None).text


def _flip_share(group: Group, name: str) -> str:
    cells = [run.results.find_sequence(name) for run in group.runs]
    shares = [cell.num_flips / cell.num_pairs for cell in cells if cell is not None]
    return plain(float(np.mean(shares)) if shares else None, decimals=2).text


def _table(comparison: Comparison, place: int, name: str) -> Table:
    """Error by severity of every row, with Wilson's intervals or the spread over seeds."""
    rows = [
        Row(
            label=group.label,
            style=style,
            entries=tuple(_error(group, name, severity) for severity in comparison.grid.severities),
        )
        for style, group in enumerate(comparison.groups)
    ]
    return Table(
        name=f"drill-{place}",
        title="Error by severity",
        unit="%",
        columns=tuple(Column(title=str(level)) for level in comparison.grid.severities),
        rows=tuple(rows),
    )


def _error(group: Group, name: str, severity: int) -> Entry:
    cells = [run.results.find("c", name, severity) for run in group.runs]
    known = [cell for cell in cells if cell is not None]
    if not known or len(known) < len(cells):
        return text("")
    if len(known) == 1:
        found = counted(known[0])
        return shown(Number(value=found.estimate, low=found.low, high=found.high))
    errors = [error_of(cell) for cell in known]
    deviation = float(np.std(errors, ddof=1))
    return shown(Number(value=float(np.mean(errors)), deviation=deviation, num_seeds=len(errors)))


def _answers(comparison: Comparison, group: Group, name: str) -> list[tuple[Answers, np.ndarray]]:
    """Predictions `severity image` of every run that kept them."""
    found = []
    for run in group.runs:
        cells = [run.results.find("c", name, level) for level in comparison.grid.severities]
        if run.answers is not None and all(cells):
            said = [run.answers.of(cell).prediction for cell in cells if cell is not None]
            found.append((run.answers, np.stack(said)))
    return found


def _mistakes(group: Group, comparison: Comparison, name: str) -> str:
    """The most frequent pairs of class and prediction, over severities and seeds."""
    pairs: Counter[tuple[int, int]] = Counter()
    for answers, said in _answers(comparison, group, name):
        labels = np.broadcast_to(answers.images.labels, said.shape)
        wrong = said != labels
        pairs.update(zip(labels[wrong].tolist(), said[wrong].tolist(), strict=True))
    return ", ".join(
        f"{class_name(group.first, label)} → {class_name(group.first, said)} ({count:,})"
        for (label, said), count in pairs.most_common(_NUM_MISTAKES)
    )


def _hardest(comparison: Comparison, name: str, thumbs: set[int]) -> tuple[Hard, ...]:
    """Images most often wrong over all rows and severities; nothing if they are not the same."""
    images = _same_images(comparison)
    if images is None:
        return ()
    found = [_answers(comparison, group, name) for group in comparison.groups]
    wrong = np.zeros(len(images.images.ids))
    for part in found:
        for answers, said in part:
            wrong += (said != answers.images.labels).mean(axis=0) / max(len(part), 1)
    return tuple(
        Hard(
            number=int(images.images.ids[place]),
            label=class_name(comparison.runs[0], int(images.images.labels[place])),
            answers=tuple(_said(comparison.runs[0], part, place) for part in found),
        )
        for place in _worst(wrong, images, thumbs)
    )


def _said(run: Run, part: list[tuple[Answers, np.ndarray]], place: int) -> str:
    """How often an image was wrong and what it was mostly taken for."""
    if not part:
        return ""
    said = np.concatenate([predictions[:, place] for _, predictions in part])
    wrong = said[said != part[0][0].images.labels[place]]
    if not len(wrong):
        return f"always right ({len(said)})"
    most, _ = Counter(wrong.tolist()).most_common(1)[0]
    return f"{len(wrong)} of {len(said)} wrong: {class_name(run, most)}"


def _most_flipped(comparison: Comparison, name: str, thumbs: set[int]) -> tuple[Hard, ...]:
    images = _same_images(comparison)
    if images is None:
        return ()
    found = [
        [
            run.answers.sequences[name]
            for run in group.runs
            if run.answers and name in run.answers.sequences
        ]
        for group in comparison.groups
    ]
    shares = [
        np.mean([each.flips / each.pairs for each in part], axis=0) if part else None
        for part in found
    ]
    known = [share for share in shares if share is not None]
    if not known:
        return ()
    return tuple(
        Hard(
            number=int(images.images.ids[place]),
            label=class_name(comparison.runs[0], int(images.images.labels[place])),
            answers=tuple(
                "" if share is None else f"flips in {100 * share[place]:.0f} % of pairs"
                for share in shares
            ),
        )
        for place in _worst(np.sum(known, axis=0), images, thumbs)
    )


def _same_images(comparison: Comparison) -> Answers | None:
    """The images, if all runs that kept outcomes were measured on the same ones."""
    kept = [run.answers for run in comparison.runs if run.answers is not None]
    if not kept or comparison.unlike:
        return None
    return kept[0]


def _worst(score: np.ndarray, images: Answers, thumbs: set[int]) -> list[int]:
    """Places of the highest scores above 0; equal ones with a picture first, then in order."""
    has_thumb = np.isin(images.images.ids, list(thumbs))
    order = np.lexsort((np.arange(len(score)), ~has_thumb, -np.round(score, 9)))
    return [int(place) for place in order[:NUM_IMAGES] if score[place] > 0]
