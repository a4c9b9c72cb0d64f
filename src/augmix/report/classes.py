"""Errors of single classes: which are hardest, what they are taken for, and the surest mistakes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from augmix import metrics
from augmix.bootstrap import FRACTION, proportion_interval, resample_means
from augmix.report.comparison import Comparison, Group, Number, over_seeds
from augmix.report.estimates import readable
from augmix.report.images import class_name, data_uri
from augmix.report.load import Run
from augmix.report.tables import Column, Entry, Row, Table, shown, text
from augmix.results import Cell

_MAX_CLASSES = 20  # shown all, and beside each other in a matrix
_MOST_CLASSES = 5_000  # whose matrices are made at all
_MAX_MISTAKES = 12  # pictures of each part
_MISTAKE_PIXELS = 400_000  # of all pictures together: keeps the page below 5 MB
_LARGEST_PX, _SMALLEST_PX = 144, 32
_PARTS = ("clean", "corrupted")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassErrors:
    """What a run predicted for the images of every class, as sums over the measured sets."""

    confusion: Int64[np.ndarray, "class class"]  # class of the image, predicted class
    wrong: Float[np.ndarray, " image"]  # fraction of the sets in which each image is misclassified
    labels: Int64[np.ndarray, " image"]

    def number(self, index: int) -> Number | None:
        """Estimate the error of a class; None if it has no image."""
        chosen = self.wrong[self.labels == index]
        if not len(chosen):
            return None
        if set(np.unique(chosen)) <= {0.0, 1.0}:  # of a single set
            found = proportion_interval(int(chosen.sum()), len(chosen))
        else:
            found = resample_means(chosen[None], limits=[FRACTION])[0].interval()
        return Number(value=float(chosen.mean()), low=found.low, high=found.high)


def class_errors(run: Run, cells: Sequence[Cell]) -> ClassErrors | None:
    """Count what a run predicted in some cells; None without, or of too many classes."""
    if run.predictions is None or not cells:
        return None
    labels = run.predictions.images.labels
    predicted = [run.predictions.cells[cell.key].prediction for cell in cells]
    largest = max(int(each.max()) for each in (labels, *predicted))
    num_classes = max(int(run.results.source.get("num_classes") or 0), largest + 1)
    if num_classes > _MOST_CLASSES:
        return None
    confusion = sum(metrics.confusion_matrix(each, labels, num_classes) for each in predicted)
    wrong = np.mean([each != labels for each in predicted], axis=0)
    return ClassErrors(confusion=np.asarray(confusion), wrong=wrong, labels=labels)


Parts = Mapping[str, Sequence[ClassErrors]]  # of each part that all runs of a row have


def _parts(comparison: Comparison, group: Group) -> Parts:
    """The clean and the corrupted images of a row, of each of its runs."""
    found: dict[str, list[ClassErrors]] = {}
    for run in group.runs:
        clean = run.results.find("clean", "clean", 0)
        cells = [clean] if clean else [], comparison.grid.cells(run.results)
        for part, of_part in zip(_PARTS, cells, strict=True):
            if each := class_errors(run, of_part):
                found.setdefault(part, []).append(each)
    return {part: each for part, each in found.items() if len(each) == len(group.runs)}


def _rates(errors: Sequence[ClassErrors]) -> Float[np.ndarray, "class class"]:
    """Fractions of the images of each class that are predicted as each, mean over runs."""
    counts = [
        each.confusion / np.maximum(each.confusion.sum(axis=1)[:, None], 1) for each in errors
    ]
    return np.mean(counts, axis=0)


def classes(comparison: Comparison) -> dict[str, Any] | None:
    """Collect the section for its template; None without predictions of single images."""
    found = [_parts(comparison, group) for group in comparison.groups]
    if comparison.unlike or not any(found):
        return None
    rates = [{part: _rates(each) for part, each in parts.items()} for parts in found]
    names = _names(comparison, rates)
    matrices = [
        [_matrix(names, index, part, each) for part, each in of_row.items()]
        if len(names) <= _MAX_CLASSES
        else []
        for index, of_row in enumerate(rates)
    ]
    return {
        "tables": [
            _error_table(comparison, names, found),
            _confusion_table(comparison, names, rates),
        ],
        "rows": [
            {"matrices": of_row, "mistakes": mistakes}
            for of_row, mistakes in zip(matrices, _mistakes(comparison), strict=True)
        ],
    }


def class_tables(comparison: Comparison) -> list[Table | None]:
    """List the tables of the section for other programs."""
    content = classes(comparison)
    return content["tables"] if content else []


def class_records(comparison: Comparison) -> list[dict[str, Any]]:
    """List the errors of all classes of every row, as fractions."""
    records = []
    for group in comparison.groups:
        parts = _parts(comparison, group)
        rates = {part: _rates(each) for part, each in parts.items()}
        num_classes = max((len(each) for each in rates.values()), default=0)
        for index in range(num_classes):
            own = next(iter(parts.values()))[0]
            record: dict[str, Any] = {
                "row": group.label,
                "class": class_name(group.first, index),
                "num_images": int((own.labels == index).sum()),
            }
            for part, each in rates.items():
                is_there = record["num_images"] > 0
                record[f"{part}_error"] = float(1 - each[index, index]) if is_there else None
            records.append(record)
    return records


def _names(comparison: Comparison, rates: Sequence[Mapping[str, np.ndarray]]) -> list[str]:
    count = max(len(each) for of_row in rates for each in of_row.values())
    return [class_name(comparison.runs[0], index) for index in range(count)]


def _error_table(comparison: Comparison, names: Sequence[str], found: Sequence[Parts]) -> Table:
    """The error of every class, or of those with the highest."""
    known = [each for parts in found for of_part in parts.values() for each in of_part]
    counts = np.bincount(known[0].labels, minlength=len(names))
    last = [list(parts.values())[-1] for parts in found if parts]  # corrupted, if measured
    hardness = np.mean([1 - np.diagonal(_rates(each)) for each in last], axis=0)
    order = [int(each) for each in np.lexsort((np.arange(len(names)), -hardness)) if counts[each]]
    chosen = order[:_MAX_CLASSES]
    note = f"Classes without an image: {int((counts == 0).sum())}." if (counts == 0).any() else ""
    if len(chosen) < len(order):
        note = f"Of {len(order)} classes those of highest error. {note}".strip()
    columns, entries = [Column(title="Images"), *_columns(comparison, found)], []
    for index in chosen:
        count = Entry(text=f"{counts[index]:,}", value=float(counts[index]))
        numbers = [shown(_number(each, index)) for parts in found for each in parts.values()]
        entries.append((count, *numbers))
    rows = [
        Row(label=names[index], entries=each) for index, each in zip(chosen, entries, strict=True)
    ]
    return Table(
        name="classes",
        title="Error by class" if len(chosen) == len(order) else "Hardest classes",
        unit="%",
        corner="Class",
        columns=tuple(columns),
        rows=tuple(rows),
        note=note,
    )


def _columns(comparison: Comparison, parts: Sequence[Mapping[str, Any]]) -> list[Column]:
    """A column for each part of each row of the report, under the row's label."""
    has_groups = len(comparison.groups) > 1
    return [
        Column(title=part.capitalize(), group=group.label if has_groups else "")
        for group, of_row in zip(comparison.groups, parts, strict=True)
        for part in of_row
    ]


def _number(errors: Sequence[ClassErrors], index: int) -> Number | None:
    numbers = [each.number(index) for each in errors]
    known = [each for each in numbers if each is not None]
    if len(known) < len(numbers):
        return None
    return known[0] if len(known) == 1 else over_seeds([each.value for each in known])


def _confusion_table(
    comparison: Comparison, names: Sequence[str], rates: Sequence[Mapping[str, np.ndarray]]
) -> Table | None:
    """The pairs of class and prediction that are most frequent, where a matrix would not fit."""
    if len(names) <= _MAX_CLASSES:
        return None
    last = [list(of_row.values())[-1] for of_row in rates if of_row]
    mean = np.mean(last, axis=0)
    np.fill_diagonal(mean, 0)
    order = np.argsort(-mean, axis=None, kind="stable")[:_MAX_CLASSES]
    rows = []
    for index in order:
        one, other = divmod(int(index), len(names))
        if mean[one, other] == 0:
            break
        values = [float(each[one, other]) for of_row in rates for each in of_row.values()]
        entries = [text(names[other]), *(shown(Number(value=value)) for value in values)]
        rows.append(Row(label=names[one], entries=tuple(entries)))
    columns = [Column(title="Taken for", is_number=False)]
    columns += _columns(comparison, rates)
    return Table(
        name="confusions",
        title="Most frequent confusions",
        unit="% of the images of the class",
        corner="Class",
        columns=tuple(columns),
        rows=tuple(rows),
    )


def _matrix(names: Sequence[str], row: int, part: str, rates: np.ndarray) -> Table:
    """The confusion matrix of a row as a table whose errors are coloured."""
    wrong = rates.copy()
    np.fill_diagonal(wrong, 0)
    top = max(float(wrong.max()), 1e-9)
    rows = []
    for index, name in enumerate(names):
        entries = []
        for other, value in enumerate(rates[index].tolist()):
            percent = f"{100 * value:.0f}"
            is_right = index == other
            entry = Entry(text="" if percent == "0" and not is_right else percent, value=value)
            heat = None if is_right else round(100 * float(wrong[index, other]) / top)
            entries.append(replace(entry, heat=heat, mark="right" if is_right else ""))
        rows.append(Row(label=name, entries=tuple(entries)))
    return Table(
        name=f"confusion-{row}-{part}",
        title=f"Confusion, {part} images",
        unit="% of the images of the class in the row that are predicted as the class above",
        corner="Class",
        columns=tuple(Column(title=name) for name in names),
        rows=tuple(rows),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A misclassified image as the model saw it."""

    uri: str
    label: str
    prediction: str
    confidence: str
    what: str  # corruption and severity; empty for a clean image


def _mistakes(comparison: Comparison) -> list[dict[str, list[Mistake]]]:
    """The surest mistakes of the first run of each row, by part."""
    kept = [group.first.mistakes for group in comparison.groups]
    count = sum(min(len(each["ids"]), 2 * _MAX_MISTAKES) for each in kept if each)
    size = int((_MISTAKE_PIXELS / max(count, 1)) ** 0.5)
    size = max(min(size, _LARGEST_PX), _SMALLEST_PX)
    found = []
    for group, arrays in zip(comparison.groups, kept, strict=True):
        of_row: dict[str, list[Mistake]] = {}
        order = np.argsort(-arrays["confidence"], kind="stable") if arrays else ()
        for index in map(int, order):
            name, severity = str(arrays["names"][index]), float(arrays["severities"][index])
            mistakes = of_row.setdefault(_PARTS[severity > 0], [])
            if len(mistakes) == _MAX_MISTAKES:
                continue
            mistakes.append(
                Mistake(
                    uri=data_uri(arrays["images"][index], max_px=size),
                    label=class_name(group.first, int(arrays["labels"][index])),
                    prediction=class_name(group.first, int(arrays["predictions"][index])),
                    confidence=f"{100 * float(arrays['confidence'][index]):.1f} %",
                    what=f"{readable(name)} {severity:g}" if severity else "",
                )
            )
        found.append({part: of_row[part] for part in _PARTS if part in of_row})
    return found
