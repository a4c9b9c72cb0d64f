"""Run folders as read from disk: results, log, pictures, and what was said about every image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from augmix.errors import RunError
from augmix.files import load_json, load_lines
from augmix.results import (
    CONFIG_FILE,
    LOG_FILE,
    RESULTS_FILE,
    Cell,
    MeasuredImages,
    Predictions,
    Results,
    SequencePredictions,
    images_path,
    load_images,
    load_predictions,
    load_results,
    load_sequence_predictions,
)

EXAMPLES_FILE = "examples.npz"
HARDEST_FILE = "hardest.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a run said about every image, cell by cell.

    Attributes:
        images: Which images, and their classes.
        cells: By suite, name and severity.
        sequences: By perturbation.
    """

    images: MeasuredImages
    cells: dict[tuple[str, str, int], Predictions]
    sequences: dict[str, SequencePredictions]

    def of(self, cell: Cell) -> Predictions:
        """What was said in a cell."""
        return self.cells[cell.suite, cell.name, cell.severity]

    def wrong(self, cell: Cell) -> np.ndarray:
        """Which images were taken for another class in a cell, as booleans."""
        return self.of(cell).prediction != self.images.labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run folder.

    Attributes:
        folder: Where it lies.
        label: What the page calls it; no two runs share one.
        config: `config.json`, or empty.
        results: `results.json`.
        log: `log.jsonl`, one record a step, repeated steps (after a restart) once.
        examples: Example images: ``clean`` is `image height width channel`, a corruption is
            `severity image height width channel`; ``labels`` and ``ids`` one number an image.
        hardest: Images most often wrong: ``ids``, ``labels``, ``images``, ``errors``; or empty.
        answers: What was said about every image; None if the folder does not hold it.
    """

    folder: Path
    label: str
    config: dict[str, Any]
    results: Results
    log: list[dict[str, Any]]
    examples: dict[str, np.ndarray]
    hardest: dict[str, np.ndarray]
    answers: Answers | None

    @property
    def method(self) -> str:
        """How it was trained; empty for a model from elsewhere."""
        return str(self.results.model.get("method") or "")

    @property
    def network(self) -> str:
        """What was measured: the network's name, or how many of it an ensemble has."""
        name = str(self.results.model.get("name") or "")
        members = self.results.model.get("members") or []
        if not members:
            return name
        names = dict.fromkeys(str(member.get("name") or "") for member in members)
        return f"ensemble of {len(members)} × {', '.join(names)}"

    @property
    def adaptation(self) -> str:
        """How the model was adapted to the measured images; empty if it was not."""
        return str(self.results.model.get("adaptation") or "")


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Read run folders, in the order given; a folder named twice is read once.

    Raises:
        RunError: If there is none, or one holds no results or a damaged file.
    """
    unique = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    if not unique:
        raise RunError(
            "a report needs at least one run folder, got none; name folders that `augmix train` "
            "and `augmix evaluate` have written"
        )
    runs = [_load_run(folder) for folder in unique]
    labels = distinct([run.label for run in runs])
    return [replace(run, label=label) for run, label in zip(runs, labels, strict=True)]


def distinct(labels: Sequence[str]) -> list[str]:
    """The labels, numbered where several share one."""
    seen: dict[str, int] = {}
    result = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        result.append(f"{label} ({seen[label]})" if labels.count(label) > 1 else label)
    return result if len(set(result)) == len(result) else [*map(str, range(1, len(labels) + 1))]


def _load_run(folder: Path) -> Run:
    results = _load_results(folder)
    label = results.model.get("label") or results.model.get("method") or folder.name
    adaptation = results.model.get("adaptation") or ""
    return Run(
        folder=folder,
        label=_named(str(label), adaptation),
        config=load_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).exists() else {},
        results=results,
        log=_load_log(folder / LOG_FILE),
        examples=_load_pictures(folder / EXAMPLES_FILE),
        hardest=_load_pictures(folder / HARDEST_FILE),
        answers=_load_answers(folder, results),
    )


def _load_results(folder: Path) -> Results:
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder; a report is made from run folders")
    if not (folder / RESULTS_FILE).exists():
        raise RunError(
            f"{folder} holds no {RESULTS_FILE}, so there is nothing to report; "
            f"measure it first: augmix evaluate {folder}"
        )
    results = load_results(folder / RESULTS_FILE)
    if not any(cell.num_images > 0 for cell in (*results.cells, *results.sequences)):
        raise RunError(
            f"{folder / RESULTS_FILE} holds no measured cell yet; "
            f"finish the evaluation first: augmix evaluate {folder}"
        )
    return results


def _load_answers(folder: Path, results: Results) -> Answers | None:
    if not images_path(folder).exists():
        return None
    images = load_images(folder)
    answers = Answers(
        images=images,
        cells={
            (cell.suite, cell.name, cell.severity): load_predictions(
                folder, cell.suite, cell.name, cell.severity
            )
            for cell in results.cells
        },
        sequences={
            cell.name: load_sequence_predictions(folder, cell.name) for cell in results.sequences
        },
    )
    lengths = {len(cell.prediction) for cell in (*answers.cells.values(),)}
    lengths |= {len(cell.flips) for cell in answers.sequences.values()} | {len(images.labels)}
    if lengths != {len(images.ids)}:
        raise RunError(
            f"the outcomes in {images_path(folder).parent} must be of the {len(images.ids)} images "
            f"of their images.npz, got {sorted(lengths)}; delete the folder and evaluate again"
        )
    return answers


def _load_log(path: Path) -> list[dict[str, Any]]:
    """Log records by step; where a restart repeated steps, the later record counts."""
    by_step = {record["step"]: record for record in load_lines(path) if "step" in record}
    return [by_step[step] for step in sorted(by_step)]


def _load_pictures(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (ValueError, EOFError, OSError) as error:
        raise RunError(
            f"{path} is not a file of example images ({error}); delete it and evaluate again"
        ) from error


def _named(label: str, adaptation: str) -> str:
    """A run's label with how its model was adapted; results of adapted models say that they are."""
    return f"{label.removesuffix(', adapted')}, adapted ({adaptation})" if adaptation else label
