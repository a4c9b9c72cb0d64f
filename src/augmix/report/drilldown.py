"""One corruption or perturbation at a time: its numbers, what is mistaken, and for which images."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from augmix.report.comparison import Comparison
from augmix.report.estimates import counted
from augmix.report.grids import error_of, readable
from augmix.report.groups import Group, Number
from augmix.report.pictures import class_name
from augmix.report.runs import Answers, Run
from augmix.report.tables import Column, Entry, Row, Table, plain, shown, text

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
