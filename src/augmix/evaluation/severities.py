"""Find the severities of corruptions at which a reference model loses a given accuracy.

For every corruption the severity scale of a published preset is searched, which is extended below 1
to the image as it is and above 5 by the step from 4 to 5
(`augmix.corruptions.registry.Corruption.parameters_on_scale`). Positions 0, 1, ..., 7, 8.5, 10, 14,
20, 30 and 40 are measured from the mild end on until the loss is reached; then the step that
crosses it is halved. So the first position of the scale with that loss is found, also where a table
does not grow. What is found is a preset (`augmix.corruptions.presets`).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from torch import nn

from augmix import distributed
from augmix.arrays import to_float
from augmix.bootstrap import resample_means
from augmix.corruptions import weather
from augmix.corruptions.corrupt import SUITE_VERSION, corrupt
from augmix.corruptions.presets import load_preset, write_preset
from augmix.corruptions.registry import (
    CORRUPTIONS,
    LAST_POSITION,
    SEVERITIES,
    Corruption,
    Parameters,
    Preset,
    Real,
    resolve_preset,
)
from augmix.data.batches import run_ahead
from augmix.data.sources import Source
from augmix.devices import resolve_device
from augmix.errors import Interrupted, ResumeError, RunError, check_textures
from augmix.evaluation.config import CalibrateConfig, CalibrateOptions, EvaluateConfig, Measurement
from augmix.evaluation.images import choose_images, open_data
from augmix.evaluation.loop import useful_threads
from augmix.evaluation.models import open_arm
from augmix.evaluation.predictor import Predictor, check_outputs, describe_model, ready
from augmix.evaluation.suites import CLEAN
from augmix.files import check_own_name, load_json, make_folder, to_plain, write_json
from augmix.progress import Note, OnProgress, ignore
from augmix.results import CellKey

_MOST_HALVINGS = 10
_KEPT_BYTES = 2**30  # clean images that are decoded once
_AT_MOST = "loses at most"  # begins a reason
_BEYOND = (7, 8.5, 10, 14, 20, 30, LAST_POSITION)  # positions measured above 6

Answers = Bool[np.ndarray, " image"]  # whether the model is right


def calibrate_severity(
    model: nn.Module,
    data: Any,
    options: CalibrateOptions | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
    **fields: Any,
) -> Preset:
    """Find the parameters at which a model loses some points of accuracy; return them as a preset.

    Severity 1 loses the first drop, 2 the second, and so on. The loss is measured on one fixed
    random part of the images, of which each severity draws as `evaluate` does with the same seed:
    measured with the preset on the same images, the model has exactly the errors that are noted.
    A corruption that cannot lose so much, or not so little, has no such severity.

    Args:
        model: As for `evaluate`.
        data: As for `evaluate`.
        options: What is searched, and how; the default options if not given.
        about: Facts about the model for the file, e.g. its ``label``.
        on_progress: Called with a `Note` for the model and for every corruption.
        **fields: Fields of `CalibrateOptions`, instead of ``options``.

    Returns:
        The preset. With ``out`` it is written there too, beside it how every number was found:
        position on the scale, loss and its 95 % interval over images. A search that was stopped is
        continued by the same call.

    Raises:
        TypeError: If both ``options`` and ``fields`` are given, or the data has another form.
        ValueError: If a setting is out of range.
        ResumeError: If ``out`` is there and another preset.
        RunError: If no loss is reached, or the model fails.
        Interrupted: If the work was stopped.

    Example:
        >>> preset = calibrate_severity(model, "photos", drop=(10, 20))  # doctest: +SKIP
        >>> results = evaluate(model, "photos", preset=preset, severities=(1, 2))  # doctest: +SKIP
    """
    if options is not None and fields:
        raise TypeError(f"give options or their fields, not both; got options and {sorted(fields)}")
    options = CalibrateOptions(**fields) if options is None else options
    names = CORRUPTIONS.resolve(options.names)
    check_textures(options.frost_textures, names)
    emit = on_progress or ignore
    if distributed.world_size() > 1:
        raise RunError("severities are calibrated by one process; start it without torchrun")
    source = open_data(data, model)
    device = resolve_device(options.device)
    ids, _ = choose_images(len(source), max_images=options.max_images, seed=options.seed)
    with ExitStack() as stack:
        search = _Search(
            predictor=Predictor(
                model=model,
                device=device,
                precision=options.precision,
                num_classes=source.num_classes,
            ),
            source=source,
            ids=ids,
            options=options,
            scale=resolve_preset(options.preset, source.size),
            num_threads=options.num_threads or useful_threads(device),
        )
        for name in names:
            _check_numbers(CORRUPTIONS[name], search.scale)
        stack.enter_context(ready(model, device))
        facts = describe_model(model)
        identity = search.describe() | {
            name: facts[name] for name in ("weights_sha256", "preprocessing")
        }
        outputs = search.predictor.probe_source(source, ids, batch_size=options.batch_size)
        identity |= {"own": own} if (own := CORRUPTIONS.hash_own(names)) else {}
        kept = _Kept(options.out, identity, outputs) if options.out else None
        if kept is not None:
            check_own_name(kept.out)
            make_folder(kept.out.parent)
            if kept.is_complete():
                emit(Note(text=f"{kept.out} is complete"))
                return load_preset(kept.out)
        found = kept.load() if kept else {}
        clean = search.clean
        emit(Note(text=f"clean accuracy {100 * clean.mean():.2f} % on {len(ids)} images"))
        try:
            for name in names:
                if name not in found:
                    found[name] = search.find(CORRUPTIONS[name])
                    if kept:
                        kept.add(name, found[name])
                emit(Note(text=f"{name}: {_words(found[name])}"))
        except KeyboardInterrupt:
            more = "; start the same command again to continue" if kept else ""
            raise Interrupted(f"stopped after {len(found)} of {len(names)}{more}") from None
        preset = _make_preset(options, {name: found[name] for name in names})
        if kept:
            facts = {"label": "", **(about or {}), "clean_accuracy": float(clean.mean())}
            kept.finish(preset, facts, {name: found[name] for name in names})
        return preset


def _check_numbers(corruption: Corruption, scale: str) -> None:
    """Refuse parameters between which nothing can be searched, with a `RunError`."""
    for severity, parameters in enumerate(corruption.parameters[scale], 1):
        for value in parameters:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise RunError(
                    f"{corruption.name} has the parameter {value!r} at severity {severity}, which "
                    "is no number, so there are no severities between its own to search; leave it "
                    "out of --names, or let its function take numbers"
                )


def calibrate_model(config: CalibrateConfig, *, on_progress: OnProgress | None = None) -> Preset:
    """Open the model and the images of a configuration and calibrate; see `calibrate_severity`."""
    measurement = Measurement(
        models=(config.model,),
        how=EvaluateConfig(max_images=config.max_images),
        **{name: getattr(config, name) for name in _OF_IMAGES},
    )
    # a misspelt name is found before a model is opened
    check_textures(config.frost_textures, CORRUPTIONS.resolve(config.names))
    arm = open_arm(measurement, on_progress or ignore)
    return calibrate_severity(
        arm.model, arm.source, config, about=arm.about, on_progress=on_progress
    )


_OF_IMAGES = (
    *("source", "data", "split", "preprocessing", "resize", "crop", "interpolation"),
    *("outputs", "class_list", "classes_by_position", "allow_train_data", "reading"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found for one loss of one corruption; numbers are percentage points."""

    drop: Real
    """The loss that was asked for."""
    position: float | None
    """On the severity scale; None if the loss cannot be reached."""
    parameters: list[Any] | None
    achieved: float | None
    """The loss on the images."""
    low: float | None
    high: float | None
    reason: str = ""
    """Why it cannot be reached."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Search:
    """A model and the images on which its losses are measured."""

    predictor: Predictor
    source: Source
    ids: Int64[np.ndarray, " image"]
    options: CalibrateOptions
    scale: str  # the published preset
    num_threads: int
    _kept: dict[str, Any] = field(default_factory=dict)

    @property
    def clean(self) -> Answers:
        """Whether the model is right on each of the clean images."""
        if "clean" not in self._kept:
            self._kept["clean"] = self._answers(CLEAN, lambda images, ids: images)
        return self._kept["clean"]

    def describe(self) -> dict[str, Any]:
        """Return everything that the numbers depend on but the model."""
        options = self.options
        has_frost = "frost" in CORRUPTIONS.resolve(options.names)
        return {
            "drops": list(options.drop),
            "tolerance": options.tolerance,
            "scale": self.scale,
            "seed": options.seed,
            "num_images": len(self.ids),
            "max_images": options.max_images,
            "precision": options.precision,
            "jpeg_quality": options.jpeg_quality,
            "frost_sha256": weather.frost_fingerprint(options.frost_textures)
            if has_frost
            else None,
            "source": self.source.name,
            "fingerprint": self.source.fingerprint,
            "size": list(self.source.size),
            "geometry": to_plain(self.source.geometry.describe()),
            "suite_version": SUITE_VERSION,
        }

    def find(self, corruption: Corruption) -> list[Found]:
        """Find the parameters for every loss."""
        measured: dict[tuple[int, Parameters], Answers] = {}

        def drops(level: int, parameters: Parameters) -> Answers:
            key = (level, parameters)
            if key not in measured:
                measured[key] = self._corrupted(corruption.name, level, parameters)
            return measured[key]

        first = 0 if corruption.origin is not None else 1
        grid = [*range(first, len(SEVERITIES) + 2), *_BEYOND]
        found: list[Found] = []
        for level, drop in enumerate(self.options.drop, 1):
            if found and found[-1].reason.startswith(_AT_MOST):  # and so no larger loss
                found.append(replace(found[-1], drop=drop))
                continue
            last = found[-1].position if found else None  # a larger loss lies further on
            rest = [each for k, each in enumerate(grid) if (*grid, math.inf)[k + 1] > (last or 0)]
            here = self._find(corruption, rest, drop, level, drops)
            if here.position is None and rest != grid:
                here = self._find(corruption, grid, drop, level, drops)
            found.append(here)
        return found

    def _find(
        self,
        corruption: Corruption,
        grid: list[Real],
        drop: Real,
        level: int,
        measure: Callable[[int, Parameters], Answers],
    ) -> Found:
        """Find the first position that loses enough, with the draws of the severity it becomes."""
        tried: list[tuple[float, Real, Parameters]] = []  # loss, position, parameters

        def loss(position: Real) -> float:
            parameters = corruption.parameters_on_scale(self.scale, position)
            value = 100 * float(self._lost(measure(level, parameters)).mean())
            tried.append((value, position, parameters))
            return value

        above = next((k for k, each in enumerate(grid) if loss(each) >= drop), None)
        if above is not None and above > 0:
            low, high = float(grid[above - 1]), float(grid[above])
            for _ in range(_MOST_HALVINGS):
                if min(abs(each[0] - drop) for each in tried) <= self.options.tolerance / 4:
                    break
                middle = (low + high) / 2
                low, high = (low, middle) if loss(middle) >= drop else (middle, high)
        value, position, parameters = min(tried, key=lambda each: (abs(each[0] - drop), each[1]))
        if abs(value - drop) > self.options.tolerance:
            nothing = dict.fromkeys(("position", "parameters", "achieved", "low", "high"))
            return Found(drop=drop, **nothing, reason=_reason([each[0] for each in tried], drop))
        interval = resample_means(
            self._lost(measure(level, parameters))[None], limits=[(-1.0, 1.0)]
        )[0].interval()
        return Found(
            drop=drop,
            position=float(position),
            parameters=list(parameters),
            achieved=value,
            low=100 * interval.low,
            high=100 * interval.high,
        )

    def _lost(self, answers: Answers) -> Int64[np.ndarray, " image"]:
        """1 for each image that is lost, -1 for one that is gained."""
        return self.clean.astype(np.int64) - answers

    def _corrupted(self, name: str, level: int, parameters: Parameters) -> Answers:
        table = {name: (*[None] * (level - 1), parameters)}
        preset = Preset(name="searched", table=table)
        options = self.options

        def make(images: UInt8[np.ndarray, "batch height width channel"], ids: Any) -> np.ndarray:
            return corrupt(
                images,
                name,
                severity=level,
                preset=preset,
                seed=options.seed,
                ids=ids,
                frost_textures=options.frost_textures,
                jpeg_quality=options.jpeg_quality,
            )

        return self._answers(CellKey(CORRUPTIONS[name].suite, name, level), make)

    def _answers(self, key: CellKey, change: Callable[[Any, Any], np.ndarray]) -> Answers:
        """Whether the model is right on each image after a change."""
        step = self.options.batch_size
        parts = [self.ids[start : start + step] for start in range(0, len(self.ids), step)]

        def make(index: int) -> np.ndarray:
            return to_float(change(self._load(index, parts[index]), parts[index]))

        found = []
        with closing(run_ahead(make, range(len(parts)), num_threads=self.num_threads)) as ahead:
            for ids, images in zip(parts, ahead, strict=True):
                logits = self.predictor.logits(images, key, ids)
                found.append(logits.argmax(axis=1) == self.source.labels[ids])
        return np.concatenate(found)

    def _load(self, index: int, ids: Int64[np.ndarray, " batch"]) -> np.ndarray:
        """Load a batch of clean images, once if all of them fit."""
        num_bytes = len(self.ids) * math.prod(self.source.size) * self.source.channels
        if num_bytes > _KEPT_BYTES:
            return self.source.load(ids)
        if str(index) not in self._kept:
            self._kept[str(index)] = self.source.load(ids)
        return self._kept[str(index)]


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept on disk: the preset, and until it is complete the corruptions searched."""

    out: Path
    identity: dict[str, Any]
    outputs: list[list[float | None]]  # what the model says to a few images

    @property
    def partial(self) -> Path:
        """The file of an unfinished search."""
        return self.out.with_name(f"{self.out.stem}.partial.json")

    def is_complete(self) -> bool:
        """Whether the preset is there and the same search."""
        if not self.out.exists():
            return False
        self._check(self.out, load_json(self.out).get("calibration") or {})
        return True

    def load(self) -> dict[str, list[Found]]:
        """Load what an earlier call has found."""
        if not self.partial.exists():
            return {}
        content = load_json(self.partial)
        self._check(self.partial, content)
        return {
            name: [Found(**each) for each in rows]
            for name, rows in (content.get("corruptions") or {}).items()
        }

    def add(self, name: str, found: list[Found]) -> None:
        """Keep what was found for a corruption."""
        known = to_plain(self.load()) | {name: to_plain(found)}
        write_json(self.partial, {**self._facts, "corruptions": known})

    def finish(
        self, preset: Preset, facts: Mapping[str, Any], found: Mapping[str, list[Found]]
    ) -> None:
        """Write the preset with all that was found."""
        model = {name: facts[name] for name in ("label", "clean_accuracy")}
        content = {**self._facts, "model": model, "corruptions": to_plain(dict(found))}
        write_preset(self.out, preset, content)
        self.partial.unlink(missing_ok=True)

    @property
    def _facts(self) -> dict[str, Any]:
        return {**self.identity, "outputs": self.outputs}

    def _check(self, path: Path, theirs: Mapping[str, Any]) -> None:
        for name, ours in to_plain(self.identity).items():
            if theirs.get(name) != ours:
                raise ResumeError(
                    f"{path} is of another search, with {name} = {theirs.get(name)!r}, asked for "
                    f"{ours!r}; name another --out, or delete it"
                )
        check_outputs(path, theirs.get("outputs"), self.outputs, self.identity["precision"])


def _make_preset(options: CalibrateOptions, found: Mapping[str, list[Found]]) -> Preset:
    table = {
        name: tuple(None if each.parameters is None else tuple(each.parameters) for each in rows)
        for name, rows in found.items()
    }
    table = {name: rows for name, rows in table.items() if any(rows)}
    if not table:
        raise RunError(
            "no corruption reaches a loss of "
            f"{', '.join(f'{each:g}' for each in options.drop)} points; take other losses, e.g. "
            "--drop 5 10, a larger --tolerance, or other --names"
        )
    name = options.name or (options.out.stem if options.out else "calibrated")
    return Preset(name=name, table=table)


def _reason(losses: list[float], drop: Real) -> str:
    low = max((each for each in losses if each < drop), default=None)
    high = min((each for each in losses if each >= drop), default=None)
    if high is None:
        return f"{_AT_MOST} {max(losses):.1f}"
    if low is None:
        return f"loses {losses[0]:.1f} at its mildest"
    return f"goes from {low:.1f} to {high:.1f} at once"


def _words(found: list[Found]) -> str:
    """One line about a corruption."""
    reached = [
        f"{each.drop:g} at {each.position:.2f} ({each.low:.1f} to {each.high:.1f})"
        for each in found
        if each.position is not None
    ]
    return ", ".join([*reached, *(f"not reached {words}" for words in _missing(found))])


def _missing(found: list[Found]) -> Iterator[str]:
    """The losses that are not reached, by their reason."""
    unreached = [each for each in found if each.position is None]
    for reason, group in groupby(unreached, key=lambda each: each.reason):
        yield f"{', '.join(f'{each.drop:g}' for each in group)} ({reason})"


def lines(path: Path) -> Iterator[str]:
    """Say which corruptions of a written preset are incomplete or beyond the published table."""
    rows = (load_json(path).get("calibration") or {}).get("corruptions") or {}
    found = {name: [Found(**each) for each in each_row] for name, each_row in rows.items()}
    for name, each_row in found.items():
        if missing := ", ".join(_missing(each_row)):
            yield f"not reached: {name} {missing}"
    beyond = [
        name
        for name, each_row in found.items()
        if any(each.position is not None and each.position > SEVERITIES[-1] for each in each_row)
    ]
    if beyond:
        yield f"beyond the published severity 5: {', '.join(beyond)}"
