"""The numbers of a run: one table of metrics, and their values with bootstrap draws.

`METRICS` has one line a metric: its headings, its unit, where it is shown and how it is computed.
Means are taken over a `Grid` that all runs have measured completely, so no mean hides a gap. A run
without predictions of single images has the same numbers without draws, and so without intervals;
the errors of single sets have Wilson's interval of their counts instead. Numbers are fractions.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum, auto
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from augmix import metrics, published
from augmix.bootstrap import (
    ANYTHING,
    FRACTION,
    Draws,
    Interval,
    Limits,
    average,
    biased,
    proportion_interval,
    resample_counts,
    resample_ece,
    resample_means,
    resample_outliers,
    resample_rms,
)
from augmix.report.load import (
    BAR,
    FrequencySet,
    Grid,
    Run,
    RunPredictions,
    attacked_cell,
    common_grid,
    frequency_sets,
    own_sequences,
)
from augmix.results import Cell, Results, SequenceCell

NUM_RESAMPLES = 300  # of a metric that is computed again for every cell: seconds a run


class Scope(StrEnum):
    """Where a number was taken; the last five scopes have a name too."""

    CLEAN = auto()
    CORRUPTED = auto()
    BAR = auto()  # of C-bar
    PERTURBED = auto()
    ATTACKED = auto()
    FOURIER = auto()  # all frequencies of the Fourier map
    BENCHMARK = auto()  # the paper's 15 corruptions at 5 severities, where all were measured
    CORRUPTION = auto()
    SEVERITY = auto()
    PERTURBATION = auto()
    BAND = auto()  # of frequencies
    OUTLIERS = auto()  # a set of images of no class


IMAGE_SCOPES = (Scope.CLEAN, Scope.CORRUPTED)


class Key(NamedTuple):
    """A number of the report: the metric, its scope, and the scope's name if it has one."""

    metric: str
    scope: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number of one run."""

    value: float  # as measured
    draws: Draws | None = None  # None without predictions of single images
    interval: Interval | None = None  # from counts, of a single set: right for no errors too


Estimates = dict[Key, Estimate]


def readable(name: str) -> str:
    """Write a name of the benchmark in words."""
    return name.replace("_", " ")


_SHORT = {  # headings of the paper's columns that are not the first word of the name
    "gaussian_noise": "Gauss",
    "brightness": "Bright",
    "pixelate": "Pixel",
    "jpeg_compression": "JPEG",
}


def short(name: str) -> str:
    """Write a name of the benchmark in one word, as the paper's tables do."""
    return _SHORT.get(name, name.partition("_")[0].capitalize())


# -- The table of metrics -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CellArrays:
    """The per-image arrays of one measured set, from which a metric is computed."""

    prediction: Integer[np.ndarray, " image"]
    confidence: Float[np.ndarray, " image"]
    labels: Integer[np.ndarray, " image"]
    bin_size: int = 100
    measures: Mapping[str, Float[np.ndarray, " image"]] = field(default_factory=dict)  # by name

    @property
    def correct(self) -> Bool[np.ndarray, " image"]:
        """Whether each prediction is the image's class."""
        return self.prediction == self.labels

    def take(self, images: Integer[np.ndarray, " drawn"]) -> "CellArrays":
        """Select images, each as often as it is named."""
        return replace(
            self,
            prediction=self.prediction[images],
            confidence=self.confidence[images],
            labels=self.labels[images],
            measures={name: values[images] for name, values in self.measures.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of the report: where it is shown, and how it is computed.

    A metric is the mean over images of `per_image`, or `per_set` of each measured set, or the mean
    over the pairs of frames of a sequence. `from_cell` and `from_bins` give the same value from the
    sums in `results.json`, which a run has even without predictions of single images.
    """

    title: str  # of its tables and charts
    column: str = ""  # heading of its column; by default the title
    label: str = ""  # its name among other words; by default the title in lower case
    unit: str = "%"  # ``%``, ``nats``, or nothing
    scale: float = 100.0  # from stored to shown values
    decimals: int = 1
    limits: Limits = ANYTHING  # the least and the largest value of a set, which no interval leaves
    lower_is_better: bool | None = True  # None for no better direction: no best value is marked
    scopes: tuple[str, ...] = IMAGE_SCOPES  # where it is computed
    # Tables of several metrics that have a column for it: ``summary``, ``calibration``, ``scores``.
    # Its own table for each corruption, severity or perturbation follows from the scopes.
    tables: tuple[str, ...] = ("summary",)
    # Values of the images of a set, which are averaged, or the value of a set; sets are averaged.
    per_image: Callable[[CellArrays], Shaped[np.ndarray, " image"]] | None = None
    per_set: Callable[[CellArrays], float] | None = None
    per_pair: bool = False  # whether it is the mean over the pairs of frames of a sequence
    # From the sums of a cell or sequence; from the bins of equal width of several cells, pooled.
    from_cell: Callable[..., float | None] | None = None
    from_bins: Callable[..., float] | None = None
    interval: Callable[[Cell], Interval] | None = None  # from the counts of a single set
    # Draws of all sets at once, or of the pooled sets, faster than one by one; of several metrics,
    # by name, where one pass gives them.
    resample: (
        Callable[[Sequence[CellArrays]], Sequence[Draws] | Mapping[str, Sequence[Draws]]] | None
    ) = None
    is_asked: bool = False  # only of cells measured with `evaluate --metrics`
    baseline: Mapping[str, float] | None = None  # divisors by name; only of the whole benchmark

    @property
    def heading(self) -> str:
        """Heading of its column."""
        return self.column or self.title

    @property
    def words(self) -> str:
        """Its name among other words."""
        return self.label or self.title.lower()

    @property
    def has_draws(self) -> bool:
        """Whether it is computed from single images, and so has intervals."""
        is_outlier = Scope.OUTLIERS in self.scopes
        return bool(self.per_image or self.per_set or self.per_pair or is_outlier)


def register_metric(key: str, metric: Metric) -> None:
    """Add a metric to every report, for runs evaluated before too.

    Args:
        key: Its name in CSV and JSON.
        metric: Give it `per_image` or `per_set`, functions of `CellArrays`.

    Raises:
        ValueError: If the name is taken, or nothing computes the metric.

    Example:
        >>> from augmix import report
        >>> sure = lambda cell: (cell.confidence > 0.9) & ~cell.correct
        >>> report.register_metric("sure", report.Metric(title="Sure errors", per_image=sure))
    """
    if key in METRICS:
        raise ValueError(f"a metric named {key!r} is registered already; choose another name")
    if (metric.per_image is None) == (metric.per_set is None):
        raise ValueError(f"give the metric {key!r} either per_image or per_set")
    METRICS[key] = metric


def _rms(cell: CellArrays) -> float:
    return metrics.rms_calibration_error(cell.confidence, cell.correct, bin_size=cell.bin_size)


def resample_cells_rms(cells: Sequence[CellArrays]) -> Sequence[Draws]:
    """Resample the RMS calibration error of some sets."""
    size = cells[0].bin_size
    return resample_rms(*stacked(cells), bin_size=size, num_resamples=NUM_RESAMPLES)


def stacked(cells: Sequence[CellArrays]) -> tuple[np.ndarray, np.ndarray]:
    """Return confidences and correct predictions, `cell image`."""
    return np.stack([cell.confidence for cell in cells]), np.stack([cell.correct for cell in cells])


METRICS: dict[str, Metric] = {
    "error": Metric(
        title="Error",
        limits=FRACTION,
        scopes=(
            Scope.CLEAN,
            Scope.ATTACKED,
            Scope.CORRUPTED,
            Scope.BAR,
            Scope.BENCHMARK,
            Scope.CORRUPTION,
            Scope.SEVERITY,
            Scope.FOURIER,
            Scope.BAND,
        ),
        per_image=lambda cell: ~cell.correct,
        from_cell=lambda cell: cell.error,
        interval=lambda cell: proportion_interval(cell.num_errors, cell.num_images),
    ),
    "ce": Metric(
        title="Corruption error (CE): error divided by AlexNet's",
        limits=FRACTION,
        column="mCE",
        label="mCE",
        scopes=(Scope.CORRUPTED, Scope.CORRUPTION),
        per_image=lambda cell: ~cell.correct,
        from_cell=lambda cell: cell.error,
        baseline={name: float(np.mean(each)) for name, each in published.ALEXNET_ERRORS.items()},
    ),
    "accuracy": Metric(
        title="Accuracy",
        limits=FRACTION,
        lower_is_better=None,
        tables=("calibration",),
        per_image=lambda cell: cell.correct,
        from_bins=metrics.accuracy_from_bins,
    ),
    "confidence": Metric(
        title="Confidence",
        limits=FRACTION,
        lower_is_better=None,
        tables=("calibration",),
        per_image=lambda cell: cell.confidence,
        from_bins=metrics.confidence_from_bins,
    ),
    "ece": Metric(
        title="ECE",
        limits=FRACTION,
        tables=("calibration",),
        per_set=lambda cell: metrics.expected_calibration_error(cell.confidence, cell.correct),
        from_bins=metrics.ece_from_bins,
        resample=lambda cells: [resample_ece(*stacked(cells))],
    ),
    "rms": Metric(
        title="RMS calibration error",
        limits=FRACTION,
        column="RMS cal.",
        label="RMS cal.",
        scopes=(Scope.CLEAN, Scope.CORRUPTED, Scope.BAR, Scope.CORRUPTION, Scope.SEVERITY),
        tables=("summary", "calibration"),
        per_set=_rms,
        from_cell=lambda cell: metrics.rms_from_bins(*cell.adaptive),
        resample=resample_cells_rms,
    ),
    "nll": Metric(
        title="Negative log-likelihood",
        unit="nats",
        scale=1.0,
        decimals=3,
        tables=("scores",),
        from_cell=lambda cell: cell.nll,
    ),
    "brier": Metric(
        title="Brier score",
        unit="0–2",
        scale=1.0,
        decimals=3,
        tables=("scores",),
        from_cell=lambda cell: cell.brier,
    ),
    "flip": Metric(
        title="Flip probability",
        limits=FRACTION,
        column="Flips",
        decimals=2,  # most are rare
        scopes=(Scope.PERTURBED, Scope.PERTURBATION),
        per_pair=True,
        from_cell=lambda cell: cell.flip_probability,
    ),
    "fr": Metric(
        title="Flip rate (FR): divided by AlexNet's",
        limits=FRACTION,
        column="mFR",
        label="mFR",
        scopes=(Scope.PERTURBED, Scope.PERTURBATION),
        per_pair=True,
        from_cell=lambda cell: cell.flip_probability,
        baseline=published.ALEXNET_FLIP_PROBABILITIES,
    ),
    "top5": Metric(
        title="Top-5 distance",
        unit="0 to 15, not divided by AlexNet's, for which no source is known",
        scale=1.0,
        decimals=2,
        scopes=(Scope.PERTURBATION,),
        tables=(),
        from_cell=lambda cell: cell.top5_distance,
    ),
}


# -- The estimates of a run -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """A number as the mean over some cells or sequences, each divided by its baseline."""

    key: Key
    cells: Sequence[Any]  # Cell, SequenceCell or FrequencySet, as the metric has them
    divisors: Sequence[float]

    @property
    def metric(self) -> Metric:
        return METRICS[self.key.metric]

    def weighted(self, values: Iterable[Any]) -> Any:
        """The mean of the cells' values, each divided by its baseline."""
        weights = [1 / (divisor * len(self.cells)) for divisor in self.divisors]
        return sum(weight * value for weight, value in zip(weights, values, strict=True))

    @property
    def limits(self) -> Limits:
        """The limits of the number."""
        low, high = self.metric.limits
        total = float(np.mean(np.divide(1, self.divisors)))
        return total * low, total * high


def estimate(
    run: Run,
    grid: Grid,
    sequences: Sequence[str],
    *,
    is_alexnet: bool = False,
    names: Collection[str] = (),
) -> Estimates:
    """Compute every number of a run on what all runs have measured.

    With ``is_alexnet``, errors and flip probabilities are also divided by AlexNet's. With ``names``
    only the numbers of these metrics are computed; they are the same as among all.
    """
    chosen = {name: metric for name, metric in METRICS.items() if name in (names or METRICS)}
    groups = [
        group
        for name, metric in chosen.items()
        if is_alexnet or not metric.baseline
        for group in _groups(name, metric, run.results, grid, sequences)
    ]
    draws = _draws(run.predictions, groups) if run.predictions else {}
    found = {}
    for group in groups:
        value, drawn, interval = _from_sums(group), draws.get(group.key), None
        if group.metric.interval and group.key.scope in (Scope.CLEAN, Scope.ATTACKED):
            interval = group.metric.interval(*group.cells)
        if value is None and drawn is not None:
            value = drawn.estimate
        if value is not None:
            found[group.key] = Estimate(value=value, draws=drawn, interval=interval)
    has_outliers = any(Scope.OUTLIERS in metric.scopes for metric in chosen.values())
    return found | (_outlier_estimates(run) if has_outliers else {})


def _outlier_estimates(run: Run) -> Estimates:
    """How well each score tells each set of images of no class."""
    found: Estimates = {}
    for cell in run.results.outliers:
        for score in cell.auroc:
            draws = None, None
            if run.predictions:
                kept = run.predictions.outliers[cell.name]
                values = getattr(kept, score)
                draws = resample_outliers(values[~kept.is_outside], values[kept.is_outside])
            for kind, drawn in zip(("auroc", "fpr95"), draws, strict=True):
                key = Key(f"{kind}_{score}", Scope.OUTLIERS, cell.name)
                found[key] = Estimate(value=getattr(cell, kind)[score], draws=drawn)
    return found


def _groups(
    name: str, metric: Metric, results: Results, grid: Grid, sequences: Sequence[str]
) -> Iterator[_Group]:
    """List every number of a metric with its cells."""
    clean, attacked = results.find("clean", "clean", 0), attacked_cell(results)
    corrupted, own = grid.cells(results), own_sequences(results)
    perturbed = [cell for cell in results.sequences if cell.name in sequences]
    paper = [cell for cell in corrupted if cell.name in published.ALEXNET_ERRORS]
    everything: defaultdict[Key, list[Any]] = defaultdict(list)
    everything[Key(name, Scope.CLEAN)] += [clean] if clean else []
    everything[Key(name, Scope.ATTACKED)] += [attacked] if attacked else []
    everything[Key(name, Scope.CORRUPTED)] += corrupted
    everything[Key(name, Scope.BENCHMARK)] += paper if grid.is_complete else []
    everything[Key(name, Scope.PERTURBED)] += [cell for cell in perturbed if cell.name not in own]
    for cell in corrupted:
        everything[Key(name, Scope.CORRUPTION, cell.name)].append(cell)
        everything[Key(name, Scope.SEVERITY, str(cell.severity))].append(cell)
    for cell in results.cells:
        if (cell.suite == "own" and cell.name in grid.own) or _is_bar(cell, grid):
            everything[Key(name, Scope.CORRUPTION, cell.name)].append(cell)
        if _is_bar(cell, grid):
            everything[Key(name, Scope.BAR)].append(cell)
    everything |= {Key(name, Scope.PERTURBATION, cell.name): [cell] for cell in perturbed}
    bands = frequency_sets(results) if Scope.FOURIER in metric.scopes else {}
    for band, frequencies in bands.items():
        key = Key(name, Scope.FOURIER) if band == "all" else Key(name, Scope.BAND, band)
        everything[key] = [frequencies]
    baseline = metric.baseline or {}
    measured = {cell.name for cell in perturbed}
    measured |= {cell.name for cell in corrupted} if grid.is_complete else set()
    if not set(baseline) <= measured:
        return
    for key, cells in everything.items():
        if key.scope not in metric.scopes:
            continue
        used = [cell for cell in cells if not baseline or cell.name in baseline]
        if metric.is_asked and not all(name in cell.measures for cell in used):
            continue
        if used:
            divisors = [baseline.get(cell.name, 1.0) for cell in used]
            yield _Group(key=key, cells=used, divisors=divisors)


def _is_bar(cell: Cell, grid: Grid) -> bool:
    return cell.suite == BAR and cell.name in grid.bar


def _from_sums(group: _Group) -> float | None:
    """The value of a number from the sums of its cells; None if they do not have it."""
    if group.metric.from_bins:
        return group.metric.from_bins(*metrics.pool_bins(cell.equal_width for cell in group.cells))
    if not group.metric.from_cell:
        return None
    values = map(group.metric.from_cell, group.cells)
    known = [value for value in values if value is not None]
    if len(known) < len(group.cells):
        return None
    if group.metric.per_image:
        return group.weighted(known)
    return float(np.mean(np.divide(known, group.divisors)))


def _draws(predictions: RunPredictions, groups: Sequence[_Group]) -> dict[Key, Draws]:
    """Draws of all numbers that are computed from single images, resampled together."""
    parts: dict[tuple[str, Any], np.ndarray] = {}
    means: dict[Key, Any] = {}
    limits: list[Limits] = []
    for group in groups:
        if group.metric.per_image or group.metric.per_pair:
            names = [(group.key.metric, cell.key) for cell in group.cells]
            for name, cell in zip(names, group.cells, strict=True):
                if name not in parts:
                    parts[name] = _image_values(group.metric, predictions, cell)
            means[group.key] = group.weighted(parts[name] for name in names)
            limits.append(group.limits)
    found: dict[Key, Draws] = {}
    if means:
        drawn = resample_means(np.stack(list(means.values())), limits=limits)
        found |= zip(means, drawn, strict=True)
    shared: dict[Any, Mapping[str, Sequence[Draws]]] = {}  # what one pass gave for several metrics
    for name, metric in METRICS.items():
        of_metric = [group for group in groups if group.key.metric == name]
        if metric.per_set and of_metric:
            found |= _set_draws(name, predictions, of_metric, shared)
    return found


def _image_values(
    metric: Metric, predictions: RunPredictions, cell: Cell | SequenceCell | FrequencySet
) -> np.ndarray:
    """What each image contributes to the metric of a cell."""
    if isinstance(cell, FrequencySet):
        return cell.image_values(predictions)
    if isinstance(cell, SequenceCell):
        found = predictions.sequences[cell.name]
        return found.flips / found.pairs
    assert metric.per_image is not None
    return np.asarray(metric.per_image(_arrays_of(predictions, cell)), np.float64)


def _set_draws(
    name: str,
    predictions: RunPredictions,
    groups: Sequence[_Group],
    shared: dict[Any, Mapping[str, Sequence[Draws]]],
) -> dict[Key, Draws]:
    """Draws of a metric of whole sets: each set resampled once, or pooled sets as one."""
    metric = METRICS[name]
    resample: Callable[..., Any] = metric.resample or partial(_resample_sets, metric)
    if metric.from_bins:
        sets = ([_arrays_of(predictions, cell) for cell in group.cells] for group in groups)
        return {group.key: resample(cells)[0] for group, cells in zip(groups, sets, strict=True)}
    cells = {cell.key: cell for group in groups for cell in group.cells}
    drawn = shared.get((resample, *cells))
    if drawn is None:
        drawn = resample([_arrays_of(predictions, cell) for cell in cells.values()])
    if isinstance(drawn, Mapping):
        shared[(resample, *cells)] = drawn
        drawn = drawn[name]
    by_cell = dict(zip(cells, drawn, strict=True))
    return {group.key: average([by_cell[cell.key] for cell in group.cells]) for group in groups}


def _resample_sets(metric: Metric, cells: Sequence[CellArrays]) -> Sequence[Draws]:
    """Resample a metric of whole sets by computing it again for every resampled set."""
    assert metric.per_set is not None
    num_images, values = len(cells[0].labels), []
    for counts in resample_counts(num_images, num_resamples=NUM_RESAMPLES):
        for count in counts:
            images = np.repeat(np.arange(num_images), count)
            values.append([metric.per_set(cell.take(images)) for cell in cells])
    return [
        biased(float(metric.per_set(cell)), resampled, limits=metric.limits)
        for cell, resampled in zip(cells, np.transpose(values), strict=True)
    ]


def _arrays_of(predictions: RunPredictions, cell: Cell) -> CellArrays:
    found = predictions.cells[cell.key]
    return CellArrays(
        prediction=found.prediction,
        confidence=found.confidence,
        labels=predictions.images.labels,
        bin_size=min(cell.adaptive.count),
        measures=found.measures,
    )


def summarise(results: Results, grid: Grid | None = None) -> dict[str, float | None]:
    """Compute the headline numbers of a run from its sums: fractions, nats and Brier units.

    Corrupted values are means over cells, each cell counting equally (Hendrycks et al. 2020); by
    default over every corruption measured at all its severities.

    Returns:
        ``clean_error``, ``corruption_error``, ``rms_calibration_error_clean``,
        ``rms_calibration_error`` (over the corruption cells), ``bar_error`` (over the cells of
        C-bar), ``nll_clean``, ``nll``,
        ``brier_clean``, ``brier`` (0..2), ``flip_probability`` (mean over perturbations),
        ``robust_error`` and ``fourier_error`` (mean over all frequencies); None where not measured.
    """
    grid = common_grid([results]) if grid is None else grid
    sequences = [cell.name for cell in results.sequences]
    found = {}
    for name, (metric, scope) in _HEADLINES.items():
        groups = _groups(metric, METRICS[metric], results, grid, sequences)
        cells = next((group.cells for group in groups if group.key.scope == scope), [])
        from_cell = METRICS[metric].from_cell
        values = [from_cell(cell) for cell in cells] if from_cell else []
        known = [value for value in values if value is not None]
        found[name] = float(np.mean(known)) if known else None
    return found


_HEADLINES = {
    "clean_error": ("error", Scope.CLEAN),
    "corruption_error": ("error", Scope.CORRUPTED),
    "bar_error": ("error", Scope.BAR),
    "flip_probability": ("flip", Scope.PERTURBED),
    "robust_error": ("error", Scope.ATTACKED),
    "fourier_error": ("error", Scope.FOURIER),
    "rms_calibration_error_clean": ("rms", Scope.CLEAN),
    "nll_clean": ("nll", Scope.CLEAN),
    "brier_clean": ("brier", Scope.CLEAN),
    "rms_calibration_error": ("rms", Scope.CORRUPTED),
    "nll": ("nll", Scope.CORRUPTED),
    "brier": ("brier", Scope.CORRUPTED),
}
