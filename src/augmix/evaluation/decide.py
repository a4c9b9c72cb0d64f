"""Measure no more of a benchmark than a given margin of error needs, for one model or two.

A plan that the seed decides gives every cell its own order of the images. A round takes the next
image of each cell, and both models see the same. After growing numbers of rounds the confidence
sequence of the mean is looked at, and the work stops when it is narrow enough, or when the sign of
the difference is settled. What was drawn is in ``draws.npz``.

An interval of the bootstrap holds at one number of images, chosen before. Whoever looks again and
again, and stops as soon as the interval suits, is wrong far more often than the level says. A
confidence sequence holds at every look at once, so that a measurement may stop at any.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from torch import nn

from augmix import distributed
from augmix.arrays import to_float
from augmix.bootstrap import LEVEL, Interval
from augmix.data.batches import run_ahead
from augmix.data.sources import Source
from augmix.devices import resolve_device
from augmix.errors import Interrupted, ResumeError, RunError
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.images import choose_images, describe_source
from augmix.evaluation.loop import describe_protocol, useful_threads
from augmix.evaluation.predictor import Predictor, check_outputs, describe_model, ready
from augmix.evaluation.store import check_folder
from augmix.evaluation.suites import Suite, list_cells, open_suites
from augmix.files import hold_folder, load_npz, make_folder, to_plain, write_npz
from augmix.per_image import to_classes
from augmix.progress import Note, OnProgress, ignore
from augmix.results import (
    DRAWS_FILE,
    RESULTS_FILE,
    CellKey,
    Decision,
    Results,
    load_results,
    provenance,
    write_results,
)
from augmix.rng import Purpose, Stream

METHOD = (
    "empirical-Bernstein confidence sequence, stratified, without replacement "
    "(Waudby-Smith & Ramdas 2020, 2023)"
)
_PRIOR_ROUNDS = 4  # that the prior of means and of the variance counts as
_LARGEST = 0.5  # of a bet times the largest deviation, below 1
_LEAST = 1e-3  # largest deviation, where a value is known to be at its bound


@dataclass(slots=True, kw_only=True)
class MeanSequence:
    """The mean of all values of a table `cell image`, from a growing part of each cell.

    A round adds one image of every cell, drawn without replacement and in an order of its own. The
    interval after a round is an empirical-Bernstein confidence sequence with predictable bets, as
    in Waudby-Smith & Ramdas (2023), "Estimating means of bounded random variables by betting",
    Theorem 2, for sampling without replacement, as in the same authors' "Confidence sequences for
    sampling without replacement" (2020).

    Given the rounds before, let a value X of a cell have the mean m, and let p be its prediction
    and c the largest distance of a value below p. By `_penalty`, with Y = X - p >= -c,

        E exp(bet Y - penalty Y^2) <= 1 + bet (m - p) <= exp(bet (m - p)),

    so the product over values of exp(bet (X - m) - penalty (X - p)^2) is a supermartingale, and by
    Ville's inequality exceeds 2 / (1 - level) at any time with probability (1 - level) / 2 at most.
    The m of a cell is the mean of its images that are left, (num_images mean - sum) / left; as all
    cells of a round have the same bet, only the mean over all cells is left in the sum, for which
    the exponent is solved. The upper end is the same for -X.

    Args:
        num_cells: Cells of the table, at least 1.
        num_images: Images of each.
        limits: The least and the largest value.
        precision: Half width at which the sequence is narrowest, for its stop; above 0.
        level: Fraction of repetitions in which all intervals hold the mean.

    Example:
        >>> sequence = MeanSequence(num_cells=2, num_images=50, limits=(0.0, 1.0), precision=0.1)
        >>> sequence.add(np.tile([[0.0], [1.0]], 25))
        >>> round(sequence.interval().low, 2), round(sequence.interval().high, 2)
        (0.38, 0.62)
    """

    num_cells: int
    num_images: int
    limits: tuple[float, float]
    precision: float
    level: float = LEVEL
    num_rounds: int = 0
    _sums: Float64[np.ndarray, " cell"] = field(init=False)
    _squares: float = field(init=False, default=0.0)  # of deviations from the predicted values
    _weighted: float = field(init=False, default=0.0)  # sum of the values, each times its bet
    _weights: float = field(init=False, default=0.0)  # what the mean is multiplied with in it
    _penalties: tuple[float, float] = field(init=False, default=(0.0, 0.0))  # below and above

    def __post_init__(self) -> None:
        if not self.precision > 0:
            raise ValueError(f"precision must be above 0, got {self.precision}")
        self._sums = np.zeros(self.num_cells)

    def add(self, values: Float64[np.ndarray, "cell round"]) -> None:
        """Add the values of some rounds, in their order."""
        for column in np.asarray(values, np.float64).T:
            self._add_round(column)

    def _add_round(self, values: Float64[np.ndarray, " cell"]) -> None:
        rounds, cells = self.num_rounds, self.num_cells
        low, high = self.limits
        total = float(self._sums.sum())
        # predicted from the rounds before alone: values, their variance, and the bet
        middle = total / (cells * rounds) if rounds else (low + high) / 2
        predicted = (self._sums + _PRIOR_ROUNDS * middle) / (rounds + _PRIOR_ROUNDS)
        prior = (high - low) ** 2 / 16
        count = cells * (rounds + _PRIOR_ROUNDS)
        variance = (self._squares + cells * _PRIOR_ROUNDS * prior) / count
        bet = min(self.precision / variance, _LARGEST / (high - low))
        squares = (values - predicted) ** 2
        self._penalties = (
            self._penalties[0] + float(squares @ _penalty(bet, predicted - low)),
            self._penalties[1] + float(squares @ _penalty(bet, high - predicted)),
        )
        # an image that is left has the mean of those that are left
        left = self.num_images - rounds
        self._weighted += bet * (float(values.sum()) + total / left)
        self._weights += bet * cells * self.num_images / left
        self._squares += float(squares.sum())
        self._sums += values
        self.num_rounds += 1

    @property
    def estimate(self) -> float:
        """The mean of the values so far."""
        return float(self._sums.sum()) / (self.num_cells * max(self.num_rounds, 1))

    @property
    def variance(self) -> float:
        """The variance of the values within their cells, about what was predicted."""
        return self._squares / (self.num_cells * max(self.num_rounds, 1))

    def interval(self) -> Interval:
        """Compute the interval after the rounds so far; after all of them it is the mean."""
        low, high = self.limits
        left = (self.num_images - self.num_rounds) / self.num_images
        known = self.estimate * (1 - left)  # what the values so far add to the mean
        bounds = [known + left * low, known + left * high]
        if self.num_rounds:
            reach = log(2 / (1 - self.level))
            lower = (self._weighted - reach - self._penalties[0]) / self._weights
            upper = (self._weighted + reach + self._penalties[1]) / self._weights
            bounds = [max(bounds[0], lower), min(bounds[1], upper)]
        estimate = self.estimate if self.num_rounds else (low + high) / 2
        return Interval(
            estimate=estimate,
            low=min(bounds[0], estimate),
            high=max(bounds[1], estimate),
            kind="confidence sequence",
        )


def _penalty(bet: float, deviation: Float64[np.ndarray, " cell"]) -> Any:
    """What a squared deviation costs, where values are at most so far on the side of the bet.

    By Fan, Grama & Liu (2015, Lemma 4.1), exp(bet x - penalty x^2) <= 1 + bet x for
    x >= -deviation and bet < 1 / deviation.
    """
    scaled = bet * np.maximum(deviation, _LEAST)
    return (-np.log1p(-scaled) - scaled) * (bet / scaled) ** 2


_FIRST_LOOK = 16  # rounds before the first look
_SUITES = ("c", "c-bar", "clean")
_GROWTH = 1.25  # of the number of rounds from look to look
_FIRST, _SECOND = "prediction", "prediction_against"  # arrays of `draws.npz`

Classes = Int64[np.ndarray, "cell round"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A model that is measured, and the images in its own size and with its own classes."""

    model: nn.Module
    source: Source
    about: Mapping[str, Any]  # more facts about the model, e.g. its label


def decide(
    first: Arm,
    second: Arm | None = None,
    config: EvaluateConfig | None = None,
    *,
    margin: float,
    on_progress: OnProgress | None = None,
) -> Results:
    """Estimate the error of a model, or the difference of two, to a margin of error.

    The number is the mean over all corruptions and severities of the configuration, on all images,
    as `evaluate` computes it from all of them: of suite ``c``, or of ``c-bar`` or ``clean`` if that
    alone is asked for. The interval holds at every look at once (see `MeanSequence`).

    Args:
        second: A model that the first one is compared with, on the same draws. The work then also
            stops when the interval of the difference does not contain 0.
        config: How the models are measured; its seed decides the draws.
        margin: Half the width of the 95 % interval that is wanted, as a fraction.
        on_progress: Called with a `Note` at every look.

    Returns:
        Results without cells, whose ``decision`` is what was found.

    Raises:
        ValueError: If a setting is out of range, or does not go with a part of the images.
        ResumeError: If ``out`` holds something else.
        RunError: If the models' images differ, or a model fails.
        Interrupted: If the work was stopped; with ``out`` the same call continues it.
    """
    config = EvaluateConfig() if config is None else config
    arms = [first, second] if second is not None else [first]
    emit = on_progress or ignore
    suite = choose_suite(config)
    if distributed.world_size() > 1:
        raise RunError("a margin of error is measured by one process; start it without torchrun")
    if not 0 < margin < 1:
        raise ValueError(
            f"margin_of_error must be above 0 and below 100 points, got {100 * margin:g}"
        )
    check_alike(arms)
    config = replace(config, suite=(suite,))
    device = resolve_device(config.device)
    ids, _ = choose_images(len(first.source), max_images=config.max_images, seed=config.seed)
    with ExitStack() as stack:
        measurers = [
            _Measurer(
                predictor=Predictor(
                    model=arm.model,
                    device=device,
                    precision=config.precision,
                    num_classes=arm.source.num_classes,
                ),
                suite=open_suites(config, arm.source)[suite],
                batch_size=config.batch_size,
                num_threads=config.num_threads or useful_threads(device),
            )
            for arm in arms
        ]
        keys = [key for key in measurers[0].suite.cells() if key.suite == suite]
        described = [{**describe_model(arm.model), **arm.about} for arm in arms]
        for arm, measurer, facts in zip(arms, measurers, described, strict=True):
            stack.enter_context(ready(arm.model, device))
            facts["outputs"] = measurer.predictor.probe_source(
                arm.source, ids, batch_size=config.batch_size
            )
        fresh = Results(
            model=described[0],
            source=describe_source(first.source, len(ids)),
            protocol=describe_protocol(config, {suite: measurers[0].suite}, device),
            provenance=provenance(),
            decision=Decision(
                against=described[1] if second is not None else None,
                margin=margin,
                num_cells=len(keys),
                num_images=len(ids),
                method=METHOD,
            ),
        )
        folder = Path(config.out) if config.out else None
        if folder:
            check_folder(folder, first.model)
            make_folder(folder)
            stack.enter_context(hold_folder(folder))
        plan = np.stack([_order(key, ids, config.seed) for key in keys])
        labels = [arm.source.labels for arm in arms]
        draws = _Draws(plan=plan, labels=labels, margin=margin)
        if folder:
            draws.restore(folder, fresh)
        return _draw_until_decided(draws, measurers, keys, fresh, folder, emit)


def looks(num_images: int) -> Iterator[int]:
    """List the numbers of rounds after which the interval is looked at."""
    rounds = float(_FIRST_LOOK)
    while rounds < num_images:
        yield int(rounds)
        rounds *= _GROWTH
    yield num_images


def is_decided(decision: Decision) -> bool:
    """Whether an interval is narrow enough, or the sign of a difference is settled."""
    half = max(decision.high - decision.estimate, decision.estimate - decision.low)
    has_sign = decision.against is not None and not decision.low <= 0 <= decision.high
    return has_sign or half <= decision.margin


def make_sequence(
    num_cells: int, num_images: int, margin: float, *, is_paired: bool
) -> MeanSequence:
    """Make the confidence sequence of an error, or of a difference of two errors."""
    limits = (-1.0, 1.0) if is_paired else (0.0, 1.0)
    return MeanSequence(num_cells=num_cells, num_images=num_images, limits=limits, precision=margin)


@dataclass(slots=True, kw_only=True)
class _Draws:
    """The plan, and what the models said so far."""

    plan: Int64[np.ndarray, "cell image"]  # ids in the order in which each cell takes them
    labels: Sequence[Int64[np.ndarray, " image"]]  # of all images, as each model knows them
    margin: float
    predictions: Sequence[Classes] = ()  # of each model

    def __post_init__(self) -> None:
        self.predictions = [np.empty((len(self.plan), 0), np.int64) for _ in self.labels]

    @property
    def num_rounds(self) -> int:
        """Rounds that all models have seen."""
        return self.predictions[0].shape[1]

    def add(self, predictions: Sequence[Classes]) -> None:
        """Add what the models said to the next images of the plan."""
        self.predictions = [
            np.concatenate(pair, axis=1) for pair in zip(self.predictions, predictions, strict=True)
        ]

    def decide(self, decision: Decision) -> Decision:
        """Compute errors and interval of the rounds so far."""
        drawn = self.plan[:, : self.num_rounds]
        wrong = [
            (said != labels[drawn]).astype(np.float64)
            for said, labels in zip(self.predictions, self.labels, strict=True)
        ]
        values = wrong[0] - wrong[1] if len(wrong) > 1 else wrong[0]
        num_cells, num_images = self.plan.shape
        sequence = make_sequence(num_cells, num_images, self.margin, is_paired=len(wrong) > 1)
        sequence.add(values)
        interval = sequence.interval()
        return replace(
            decision,
            num_rounds=self.num_rounds,
            errors=[float(each.mean()) for each in wrong],
            std=float(np.sqrt(values.var(axis=1).mean())),
            estimate=interval.estimate,
            low=interval.low,
            high=interval.high,
        )

    def write(self, folder: Path, keys: Sequence[CellKey], num_classes: Sequence[int]) -> None:
        """Write what was drawn."""
        drawn = self.plan[:, : self.num_rounds]
        arrays: dict[str, Any] = {
            "names": np.array([key.name for key in keys]),
            "severities": np.array([key.severity for key in keys]),
            "ids": drawn,
            "labels": self.labels[0][drawn],
        }
        pairs = zip((_FIRST, _SECOND), self.predictions, num_classes, strict=False)
        arrays |= {name: to_classes(said, number) for name, said, number in pairs}
        write_npz(folder / DRAWS_FILE, arrays)

    def restore(self, folder: Path, fresh: Results) -> None:
        """Load what an earlier call has drawn into a folder; another measurement is refused."""
        path, draws = folder / RESULTS_FILE, folder / DRAWS_FILE
        if not path.exists():
            return
        _check_same(path, load_results(path), fresh)
        if not draws.exists():
            return
        found = load_npz(draws, hint="delete it and measure again")
        names = (_FIRST, _SECOND)[: len(self.labels)]
        arrays = [found.get(name) for name in ("ids", *names)]
        num_rounds = arrays[0].shape[1] if arrays[0] is not None and arrays[0].ndim == 2 else 0
        shape = (len(self.plan), num_rounds)
        is_whole = num_rounds in looks(self.plan.shape[1]) and all(
            each is not None and each.shape == shape and each.dtype.kind in "iu" for each in arrays
        )
        if not is_whole or not np.array_equal(found["ids"], self.plan[:, :num_rounds]):
            raise RunError(f"{draws} is damaged, or of other draws; delete it and measure again")
        self.predictions = [found[name].astype(np.int64) for name in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measurer:
    """A model on its device, and the images of its cells."""

    predictor: Predictor
    suite: Suite
    batch_size: int
    num_threads: int

    def predict(self, keys: Sequence[CellKey], ids: Int64[np.ndarray, "cell round"]) -> Classes:
        """Predict the next images of every cell; a batch holds images of several cells."""
        step = max(1, self.batch_size // ids.shape[1])  # cells of a batch
        starts = range(0, len(keys), step)

        def make(start: int) -> np.ndarray:
            chosen = range(start, min(start + step, len(keys)))
            return np.concatenate([self.suite.images(keys[cell], ids[cell]) for cell in chosen])

        found = []
        images = run_ahead(make, starts, num_threads=self.num_threads)
        for start, batch in zip(starts, images, strict=True):
            of = ids[start : start + step].reshape(-1)
            for first in range(0, len(batch), self.batch_size):
                part = slice(first, first + self.batch_size)
                logits = self.predictor.logits(to_float(batch[part]), keys[start], of[part])
                found.append(logits.argmax(axis=1))
        return np.concatenate(found).reshape(ids.shape).astype(np.int64)


def _draw_until_decided(
    draws: _Draws,
    measurers: Sequence[_Measurer],
    keys: Sequence[CellKey],
    results: Results,
    folder: Path | None,
    emit: OnProgress,
) -> Results:
    decision = results.decision
    assert decision is not None  # `decide` made it
    num_images = draws.plan.shape[1]
    num_classes = [each.predictor.num_classes for each in measurers]
    try:
        for rounds in looks(num_images):
            if rounds > draws.num_rounds:
                ids = draws.plan[:, draws.num_rounds : rounds]
                draws.add([each.predict(keys, ids) for each in measurers])
                if folder:
                    draws.write(folder, keys, num_classes)
            elif rounds < draws.num_rounds:
                continue
            decision = draws.decide(decision)
            results = replace(results, decision=decision)
            if folder:
                write_results(folder / RESULTS_FILE, results)
            emit(Note(text=_progress(decision)))
            if is_decided(decision):
                break
    except KeyboardInterrupt:
        kept = f"; start the same command again to continue in {folder}" if folder else ""
        raise Interrupted(f"stopped after {draws.num_rounds} rounds{kept}") from None
    return results


def _progress(decision: Decision) -> str:
    what = "difference" if decision.against is not None else "error"
    low, high = 100 * decision.low, 100 * decision.high
    return (
        f"{decision.num_passes:,} images ({100 * decision.fraction:.2f} %): {what} "
        f"{100 * decision.estimate:.2f}, {low:.2f} to {high:.2f} points"
    )


def choose_suite(config: EvaluateConfig) -> str:
    """Return the suite that is measured; a ValueError if a part of its images means nothing.

    The clean images are left out where others are asked for: they are no part of that mean.
    """
    suites = set(config.suite)
    suite = next(iter(suites - {"clean"} or suites), None)
    if suite not in _SUITES or len(suites - {"clean"}) > 1:
        raise ValueError(
            f"a margin of error is for one of the suites {', '.join(_SUITES)}, whose images are "
            f"independent; got {', '.join(config.suite)}"
        )
    for name in ("adapt_batch_norm", "temperature_images", "metrics"):
        if getattr(config, name):
            raise ValueError(f"{name} needs whole batches of all images, not a part of them")
    if not [key for key in list_cells(config) if key.suite == suite]:
        raise ValueError(f"no corruption of the benchmark is among {', '.join(config.names)}")
    return suite


def check_alike(arms: Sequence[Arm]) -> None:
    """Refuse models whose images differ, with a `RunError`."""
    first = arms[0].source
    for arm in arms[1:]:
        theirs = arm.source.fingerprint, len(arm.source)
        if theirs != (first.fingerprint, len(first)):
            raise RunError(
                f"the models have other images: {len(first)} of {first.name}, {len(arm.source)} of "
                f"{arm.source.name}; name those of both with --data"
            )


def _check_same(path: Path, found: Results, fresh: Results) -> None:
    """Refuse a folder of another measurement, naming the first difference."""
    theirs, ours = (_identity(each) for each in (found, fresh))
    for name, value in ours.items():
        if theirs.get(name) != value:
            raise ResumeError(
                f"{path} holds results with {name} = {theirs.get(name)!r}, this measurement has "
                f"{value!r}; name another --out"
            )
    for old, new in zip(_models(found), _models(fresh), strict=True):
        check_outputs(path, old.get("outputs"), new["outputs"], fresh.protocol["precision"])


def _models(results: Results) -> list[Mapping[str, Any]]:
    """The facts about the model, and about the one that it is compared with."""
    against = results.decision.against if results.decision else None
    return [results.model, *([against] if against is not None else [])]


def _identity(results: Results) -> dict[str, Any]:
    """What two calls that continue each other have in common."""
    decision = results.decision
    against = decision.against if decision else None
    found = {
        "margin of error": decision.margin if decision else None,
        "weights": results.model.get("weights_sha256"),
        "preprocessing": results.model.get("preprocessing"),
        "weights of the other model": against.get("weights_sha256") if against else None,
        "preprocessing of the other model": against.get("preprocessing") if against else None,
        "images": results.source.get("fingerprint"),
        "classes of the images": results.source.get("class_names"),
        "size": results.source.get("size"),
        "geometry": results.source.get("geometry"),
        **{f"protocol {name}": value for name, value in results.protocol.items()},
        "versions": results.provenance.get("versions"),
    }
    return to_plain(found)


def _order(key: CellKey, ids: Int64[np.ndarray, " image"], seed: int) -> np.ndarray:
    """The order in which a cell takes the images."""
    whole = int(key.severity)
    between = "" if key.severity == whole else f" {key.severity}"
    address = zlib.crc32(f"{key.suite} {key.name}{between}".encode())
    stream = Stream(seed=seed, purpose=Purpose.DECISION, part=whole, epoch=address)
    return ids[stream.permutation(len(ids))]
