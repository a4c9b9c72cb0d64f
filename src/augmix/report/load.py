"""Read run folders: results, log, images and predictions; and what of several can be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from augmix import published
from augmix.errors import RunError
from augmix.files import load_json
from augmix.per_image import (
    FrequencyPredictions,
    MeasuredImages,
    OutlierPredictions,
    Predictions,
    SequencePredictions,
    images_path,
    load_examples,
    load_frequency_predictions,
    load_hardest,
    load_images,
    load_mistakes,
    load_outlier_predictions,
    load_predictions,
    load_sequence_predictions,
    predictions_path,
)
from augmix.results import RESULTS_FILE, Cell, CellKey, FrequencyCell, Results, load_results
from augmix.run_folder import CONFIG_FILE, LogRecord, list_members, load_log

BAR = "c-bar"  # suite of the corruptions of Mintun et al. (2021)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPredictions:
    """The predictions of a run for single images: of every cell; of the others by their name."""

    images: MeasuredImages
    cells: dict[CellKey, Predictions]
    sequences: dict[str, SequencePredictions]
    frequencies: dict[str, FrequencyPredictions]
    outliers: dict[str, OutlierPredictions] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run folder."""

    folder: Path
    label: str  # its name in the report; no two runs share one
    config: dict[str, Any]  # `config.json`, or empty
    results: Results
    log: list[LogRecord]  # one record a step, once even if the step was repeated
    left_out: Mapping[str, Any]  # what was left out of the training images, as `log.jsonl` has it
    # ``clean`` is `image height width channel`, a corruption `severity image height width channel`;
    # ``labels`` and ``ids`` have one number an image.
    examples: dict[str, np.ndarray]
    hardest: dict[str, np.ndarray]  # ``ids``, ``labels``, ``images``, ``errors``; or empty
    mistakes: dict[str, np.ndarray]  # see `per_image.load_mistakes`; or empty
    predictions: RunPredictions | None  # of single images; None if the folder does not have them

    @property
    def method(self) -> str:
        """The training method; empty for a model trained by another program."""
        return str(self.results.model.get("method") or "")

    @property
    def network(self) -> str:
        """The network's name; of an ensemble also its size."""
        members = self.results.model.get("members") or []
        if not members:
            return str(self.results.model.get("name") or "")
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
    unique = list(dict.fromkeys(run for folder in folders for run in _expand(Path(folder))))
    if not unique:
        raise RunError(
            "a report needs at least one run folder, got none; name folders that `augmix train` "
            "and `augmix evaluate` have written"
        )
    runs = [_load_run(folder) for folder in unique]
    labels = distinct([run.label for run in runs])
    return [replace(run, label=label) for run, label in zip(runs, labels, strict=True)]


def _expand(folder: Path) -> list[Path]:
    """Return a folder, or those of its seeds if it holds several and no results of all together."""
    folder = folder.resolve()
    return (not (folder / RESULTS_FILE).exists() and list_members(folder)) or [folder]


def distinct(labels: Sequence[str]) -> list[str]:
    """Number the labels that are not unique."""
    seen: dict[str, int] = {}
    result = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        result.append(f"{label} ({seen[label]})" if labels.count(label) > 1 else label)
    return result if len(set(result)) == len(result) else [*map(str, range(1, len(labels) + 1))]


def flatten(settings: dict[str, Any], separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """Write nested settings as one level, named ``outer.inner``."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        nested = isinstance(value, dict)
        name = prefix + key
        flat |= flatten(value, separator, name + separator) if nested else {name: value}
    return flat


def _load_run(folder: Path) -> Run:
    results = _load_results(folder)
    label = str(results.model.get("label") or results.model.get("method") or folder.name)
    if adaptation := results.model.get("adaptation"):
        label = f"{label.removesuffix(', adapted')}, adapted ({adaptation})"
    # the last record of a repeated step; step 0 is about the images
    by_step = {record["step"]: record for record in load_log(folder)}
    about_images = dict(by_step.pop(0, {}))
    about_images.pop("step", None)
    return Run(
        folder=folder,
        label=label,
        config=load_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).exists() else {},
        results=results,
        log=[by_step[step] for step in sorted(by_step)],
        left_out=about_images,
        examples=load_examples(folder),
        hardest=load_hardest(folder),
        mistakes=load_mistakes(folder),
        predictions=_load_predictions(folder, results),
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
    if not results.num_images and results.decision is None:
        raise RunError(
            f"{folder / RESULTS_FILE} holds no measured cell yet; "
            f"finish the evaluation first: augmix evaluate {folder}"
        )
    return results


def _load_predictions(folder: Path, results: Results) -> RunPredictions | None:
    if not images_path(folder).exists():
        return None
    # natural shift has images of its own
    of_images = [cell for cell in results.cells if cell.suite != "natural"]
    found = RunPredictions(
        images=load_images(folder),
        cells={cell.key: load_predictions(folder, *cell.key) for cell in of_images},
        sequences={
            cell.name: load_sequence_predictions(folder, cell.name) for cell in results.sequences
        },
        frequencies={
            cell.name: load_frequency_predictions(folder, cell.name) for cell in results.frequencies
        },
        outliers={
            cell.name: load_outlier_predictions(folder, cell.name) for cell in results.outliers
        },
    )
    num_classes = results.source.get("num_classes") or 2**31
    by_path = {images_path(folder): found.images.labels}
    by_path |= {predictions_path(folder, *k): each.prediction for k, each in found.cells.items()}
    for name, each in found.sequences.items():
        by_path[predictions_path(folder, "p", name)] = each.prediction
    for name, each in found.frequencies.items():
        by_path[predictions_path(folder, "fourier", name)] = each.prediction
    num_images = len(found.images.ids)
    for path, classes in by_path.items():
        if len(classes) != num_images:
            raise RunError(
                f"the predictions in {path} must be of the {num_images} images of "
                f"{images_path(folder).name}, got {len(classes)}; delete {path.parent} and "
                "evaluate again"
            )
        if classes.size and classes.max() >= num_classes:
            raise RunError(
                f"{path} has class {classes.max()}, expected 0..{num_classes - 1}; delete it and "
                "evaluate the run again"
            )
    counts = [(c.key, [c.num_errors], found.cells[c.key].prediction) for c in of_images]
    counts += [
        (c.key, c.num_errors, found.frequencies[c.name].prediction) for c in results.frequencies
    ]
    for key, counted, prediction in counts:
        is_wrong = prediction.reshape(num_images, -1) != found.images.labels[:, None]
        num_errors = is_wrong.sum(axis=0).tolist()
        if num_errors != counted:
            path = predictions_path(folder, *key)
            raise RunError(
                f"{folder / RESULTS_FILE} counts {_listed(counted)} errors for {key.name} "
                f"{key.severity}, {path.name} and {images_path(folder).name} have "
                f"{_listed(num_errors)}; "
                f"delete {path.parent} and evaluate the run again"
            )
    for cell in results.outliers:
        kept, path = found.outliers[cell.name].is_outside, predictions_path(folder, *cell.key)
        counted = int((~kept).sum()), int(kept.sum())
        if counted != (cell.num_inside, cell.num_images):
            raise RunError(
                f"{folder / RESULTS_FILE} counts {cell.num_inside} clean images and "
                f"{cell.num_images} of {cell.name}, {path.name} has {counted[0]} and {counted[1]}; "
                f"delete {path.parent} and evaluate the run again"
            )
    return found


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


# -- What is averaged over ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Corruptions and severities that are averaged over; every cell of it was measured.

    The user's ``own`` corruptions are shown but not averaged over; those of C-bar, ``bar``, have a
    mean of their own.
    """

    names: tuple[str, ...] = ()
    severities: tuple[int | float, ...] = ()
    own: tuple[str, ...] = ()
    bar: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names and self.severities)

    def cells(self, results: Results) -> list[Cell]:
        """List the cells of one run, corruption by corruption."""
        found = [
            results.find("c", name, severity) for name in self.names for severity in self.severities
        ]
        return [cell for cell in found if cell is not None]

    @property
    def is_complete(self) -> bool:
        """Whether it has the benchmark's 15 corruptions at all 5 severities."""
        has_names = set(published.ALEXNET_ERRORS) <= set(self.names)
        return has_names and self.severities == (1, 2, 3, 4, 5)


def common_grid(results: Sequence[Results]) -> Grid:
    """Find the corruptions that all runs have measured at all severities they all planned.

    Runs without any corrupted cell are ignored: they have nothing to compare.
    """
    own, bar = _common(results, "own"), _common(results, BAR)
    measured = [each for each in results if any(cell.suite == "c" for cell in each.cells)]
    plans = [planned_grid(each) for each in measured] or [Grid()]
    severities = tuple(
        level for level in plans[0].severities if all(level in plan.severities for plan in plans)
    )
    names = tuple(
        name
        for name in plans[0].names
        if all(each.find("c", name, level) for each in measured for level in severities)
    )
    if not (names and severities):
        return Grid(own=own, bar=bar)
    return Grid(names=names, severities=severities, own=own, bar=bar)


def _common(results: Sequence[Results], suite: str) -> tuple[str, ...]:
    """The corruptions of a suite that all runs with any have measured at the same severities."""
    measured = []
    for each in results:
        levels: dict[str, list[float]] = {}
        for cell in each.cells:
            if cell.suite == suite:
                levels.setdefault(cell.name, []).append(cell.severity)
        measured += [levels] if levels else []
    names = measured[0] if measured else {}
    return tuple(n for n in names if all(each.get(n) == names[n] for each in measured))


def own_sequences(results: Results) -> Sequence[str]:
    """The user's own perturbations, which are in no mean."""
    return tuple(results.protocol.get("own_sequences") or ())


def planned_grid(results: Results) -> Grid:
    """Find the corruptions and severities that an evaluation set out to measure."""
    cells = [cell for cell in results.cells if cell.suite == "c"]
    suites = results.protocol.get("suite", ["c"] if cells else [])
    names = results.protocol.get("names", []) if "c" in suites else []
    severities = results.protocol.get("severities", []) if "c" in suites else []
    return Grid(
        names=tuple(dict.fromkeys([*names, *(cell.name for cell in cells)])),
        severities=tuple(sorted({*severities, *(cell.severity for cell in cells)})),
    )


def common_sequences(results: Sequence[Results]) -> tuple[str, ...]:
    """List the perturbations measured by all runs that have measured any."""
    measured = [each for each in results if each.sequences]
    if not measured:
        return ()
    names = [cell.name for cell in measured[0].sequences]
    return tuple(name for name in names if all(each.find_sequence(name) for each in measured))


def attacked_cell(results: Results) -> Cell | None:
    """Find the cell of the suite ``attack``; a folder has at most one."""
    return next((cell for cell in results.cells if cell.suite == "attack"), None)


BANDS = ("low", "middle", "high")  # of frequencies: thirds from the middle of the map outwards


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencySet:
    """Frequencies of the Fourier map of a run, each basis image once."""

    name: str
    cells: tuple[FrequencyCell, ...]
    chosen: tuple[list[int], ...]  # positions in the horizontal frequencies of each cell

    @property
    def key(self) -> CellKey:
        """Identity of the set."""
        return CellKey("fourier", self.name, 0)

    @property
    def error(self) -> float:
        """Fraction of the images that are misclassified, mean over the frequencies."""
        pairs = zip(self.cells, self.chosen, strict=True)
        errors = [cell.num_errors[index] / cell.num_images for cell, own in pairs for index in own]
        return float(np.mean(errors))

    def image_values(self, predictions: RunPredictions) -> Float[np.ndarray, " image"]:
        """Compute the fraction of the frequencies at which each image is misclassified."""
        labels, count = predictions.images.labels[:, None], sum(map(len, self.chosen))
        wrong = [
            (predictions.frequencies[cell.name].prediction[:, own] != labels).sum(axis=1)
            for cell, own in zip(self.cells, self.chosen, strict=True)
        ]
        return np.sum(wrong, axis=0) / count


def frequency_sets(results: Results) -> dict[str, FrequencySet]:
    """Gather the measured frequencies by band, and all of them as ``all``; none of a part of a map.

    The band of a frequency is its distance from the middle of the map, along the longer of its two
    axes.
    """
    errors, cells = results.fourier_map, results.frequencies
    if errors is None or np.isnan(errors).any():
        return {}
    rows, columns = errors.shape
    found: dict[str, list[list[int]]] = {}
    for number, cell in enumerate(cells):
        for index, horizontal in enumerate(cell.horizontal):
            distance = max(2 * cell.vertical / rows, 2 * abs(horizontal) / columns)
            band = BANDS[min(int(len(BANDS) * distance), len(BANDS) - 1)]
            for name in ("all", band):
                found.setdefault(name, [[] for _ in cells])[number].append(index)
    return {
        name: FrequencySet(name=name, cells=cells, chosen=tuple(chosen))
        for name, chosen in found.items()
    }
