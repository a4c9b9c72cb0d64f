"""Open the models to evaluate, and the images that suit them.

A run folder names its own images; for any other model the user names them, and the model says how
they are resized and cropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from augmix import distributed, files, results, run_folder
from augmix.data import Reading
from augmix.data.decode import check_resize
from augmix.data.derived import (
    ClassList,
    check_disjoint,
    hold_out,
    load_class_list,
    map_classes,
    match_classes,
    take,
)
from augmix.data.folders import check_outside
from augmix.data.inventory import describe_images
from augmix.data.sources import SOURCES, Source, name_source, open_source
from augmix.errors import RunError
from augmix.evaluation.config import Measurement, shorten
from augmix.evaluation.decide import Arm, decide
from augmix.evaluation.forecast import forecast, forecast_decision
from augmix.evaluation.images import choose_class_list
from augmix.evaluation.loop import evaluate
from augmix.evaluation.predictions import evaluate_predictions
from augmix.evaluation.predictor import describe_model
from augmix.evaluation.suites import list_cells
from augmix.models.open_model import open_model
from augmix.models.preprocessing import Preprocessing, choose_preprocessing
from augmix.models.weights import load_tensors
from augmix.models.wrapper import Ensemble, OpenedModel, Restricted
from augmix.progress import Note, OnProgress, ignore
from augmix.results import Results


def run_measurement(measurement: Measurement, *, on_progress: OnProgress | None = None) -> Results:
    """Open the models and images of a measurement and evaluate; see `evaluate`.

    In several processes started by `torchrun`, they share the work and process 0 returns the
    results.

    Raises:
        ValueError: If a setting is out of range.
        RunError: If a model or its data is missing, or they do not go together.
    """
    if measurement.predictions:
        return _read_predictions(measurement, on_progress or ignore)
    with distributed.joined():
        config = replace(measurement.how, out=measurement.folder)
        list_cells(config)  # a misspelt name is found before a model is opened
        emit = on_progress if on_progress and distributed.rank() == 0 else ignore
        first = open_arm(measurement, emit)
        if measurement.margin_of_error is not None:
            second = None
            if measurement.against:
                other = replace(measurement, models=(measurement.against,), against=None, name=None)
                second = open_arm(other, ignore)
            margin = measurement.margin_of_error / 100
            return decide(first, second, config, margin=margin, on_progress=emit)
        facts = first.about
        found = evaluate(
            first.model,
            first.source,
            config,
            about=facts,
            on_progress=on_progress if distributed.rank() == 0 else None,
        )
        if measurement.name and found.model["label"] != facts["label"] and not distributed.rank():
            found = replace(found, model=found.model | {"label": facts["label"]})  # a new name
            results.write_results(measurement.folder / results.RESULTS_FILE, found)
        return found


def forecast_measurement(
    measurement: Measurement, *, on_progress: OnProgress | None = None
) -> list[str]:
    """Say what a measurement will take, from a few of its images; nothing is written.

    Returns:
        Lines to read: what is measured, what is there already, time, bytes.

    Raises:
        ValueError: As of `run_measurement`.
        RunError: As of `run_measurement`.
    """
    config, emit = measurement.how, on_progress or ignore
    list_cells(config)
    specs = [measurement]
    if measurement.against:
        specs.append(replace(measurement, models=(measurement.against,), against=None, name=None))
    arms = [open_arm(each, emit if each is measurement else ignore) for each in specs]
    if measurement.margin_of_error is None:
        config = replace(config, out=measurement.folder)
        found = forecast(arms[0].model, arms[0].source, config, on_progress=on_progress)
        return found.lines(measurement.folder)
    return forecast_decision(arms, config, measurement.folder, on_progress=on_progress)


def open_arm(measurement: Measurement, emit: OnProgress) -> Arm:
    """Open the model of a measurement, or its ensemble, and the images that suit it."""
    preprocessing = find_preprocessing(measurement)
    members = [
        _open_member(spec, preprocessing, measurement) for spec in _expand(measurement.models)
    ]
    for note in filter(None, (member.model.note for member in members)):
        emit(Note(text=note))
    model, facts = combine(members)
    source = open_images(measurement, members)
    for line in describe_images(source):
        emit(Note(text=line))
    if source.split != measurement.split:
        emit(
            Note(
                text="these images were held out of the training for validation; the epoch "
                "that was kept may have been selected by them"
            )
        )
    classes = find_class_list(measurement, members, source)
    if measurement.restrict and classes:
        model = Restricted(model, match_classes(source.class_names, classes))
    elif classes:
        source = map_classes(source, classes)
    if measurement.name:
        facts["label"] = measurement.name
    if measurement.how.adapt_batch_norm:
        facts["label"] = f"{facts['label']}, adapted"
    return Arm(model=model, source=source, about=facts)


def _read_predictions(measurement: Measurement, emit: OnProgress) -> Results:
    """Measure predictions that another program made; the images are opened if they are named."""
    assert measurement.predictions is not None
    source = None
    if measurement.data or measurement.source:
        source = open_images(measurement, [])
        for line in describe_images(source):
            emit(Note(text=line))
    found = evaluate_predictions(
        measurement.predictions,
        source,
        name=measurement.name,
        bin_size=measurement.how.bin_size,
        difficulty=measurement.how.difficulty,
        preset=None if str(measurement.how.preset) == "auto" else measurement.how.preset,
        temperature_images=measurement.how.temperature_images,
        metrics=measurement.how.metrics,
        conformal_coverage=measurement.how.conformal_coverage,
        seed=measurement.how.seed,
        out=None if distributed.rank() else measurement.folder,
    )
    if note := (found.fitted or {}).get("note"):
        emit(Note(text=note))
    return found


_SEEN_FORMS = ("digits", "folder", "npz", "parquet", "tar")  # data of these is known by its look


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRun:
    """The settings of a training run that matter for its evaluation, from its `config.json`."""

    method: str
    seed: int
    source: str  # kind of its images
    data: str  # their folder or file; empty for a source that needs none
    size: int  # their height and width in pixels; 0 as stored
    reading: Reading  # how its image files were read
    interpolation: str | None = None  # filter that resized them; None is the usual one
    max_train_images: int  # size of the random subset it was trained on; 0 for all images
    val_fraction: float | None = None  # of them, held out for validation
    name: str | None = None  # in tables and reports; None is the folder's


def load_run(folder: Path) -> TrainedRun:
    """Load the settings a run folder was trained with; a folder without them is a `RunError`."""
    path = folder / run_folder.CONFIG_FILE
    if folder.is_dir() and not path.exists():
        raise RunError(
            f"{folder} is no run folder: it has no {path.name}. Name a folder that augmix train "
            f"wrote, or another model, and the images by --data {folder}"
        )
    plain = files.load_json(path)
    if plain.get("schema") != run_folder.CONFIG_SCHEMA:
        raise RunError(
            f"{path} is not the configuration of a run of schema {run_folder.CONFIG_SCHEMA} "
            f"(it has {plain.get('schema')!r}): use the version of the package that began the run, "
            "or train it again"
        )
    if plain.get("source") == "digits":
        plain["data"] = None
    names = {entry.name for entry in fields(TrainedRun)} & plain.keys()
    found = {name: plain[name] for name in names}
    found["reading"] = {e.name: plain[e.name] for e in fields(Reading) if e.name in plain}
    for name, empty in (("data", ""), ("size", 0), ("max_train_images", 0)):
        if name in found:
            found[name] = found[name] or empty
    return files.load_record(path, TrainedRun, found, way_out="train the run again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One model to evaluate, by its name (see `open_model`), and its training settings if known."""

    spec: str
    model: OpenedModel
    trained: TrainedRun | None

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.spec).expanduser()

    @property
    def label(self) -> str:
        """The run's name, its folder's, or the text the model was named by."""
        if self.trained is None:
            return shorten(self.spec)
        return self.trained.name or self.folder.resolve().name

    def describe(self) -> dict[str, Any]:
        """Return facts for the results."""
        method, seed = (self.trained.method, self.trained.seed) if self.trained else ("", None)
        return {"method": method, "seed": seed, "label": self.label}


def _expand(models: Sequence[str]) -> list[str]:
    """Replace the folder of several seeds by their runs."""
    found: list[str] = []
    for spec in models:
        members = run_folder.list_members(Path(spec).expanduser())
        found += map(str, members) if members else [spec]
    return found


def _open_member(
    spec: str, preprocessing: Preprocessing | None, measurement: Measurement
) -> Member:
    folder = Path(spec).expanduser()
    trained = load_run(folder) if folder.is_dir() else None
    model = open_model(
        spec,
        preprocessing=preprocessing,
        test_input_size=measurement.test_input_size,
        outputs=measurement.outputs,
        use_ema=measurement.ema,
    )
    return Member(spec=spec, model=model, trained=trained)


def combine(members: Sequence[Member]) -> tuple[nn.Module, dict[str, Any]]:
    """The members as one model, a deep ensemble of several, and facts about it for the results.

    Members of different classes or image geometries are a `RunError`.
    """
    if len(members) == 1:
        return members[0].model, members[0].describe()
    try:
        model = Ensemble([member.model for member in members])
    except ValueError as error:
        raise RunError(str(error)) from error
    described = [describe_model(member.model) | member.describe() for member in members]
    methods = {member["method"] for member in described}
    method = methods.pop() if len(methods) == 1 else ""
    label = f"{method or 'mixed'} ensemble of {len(members)}"
    facts = {"method": method, "seed": None, "label": label, "members": described}
    return model, facts


def open_images(measurement: Measurement, members: Sequence[Member]) -> Source:
    """Open the images to evaluate on: those that are named, else the runs' own.

    A `RunError` if they are not known, missing, or trained on, or if the runs have different ones.
    """
    data, runs = measurement.data, [member.trained for member in members if member.trained]
    settings: dict[str, Any] = {"root": data or None}
    if runs and not measurement.source:
        own = _agreed(runs, data or "")
        kind = own.source
        if kind not in SOURCES:  # they were given as an object
            if not data:
                raise RunError(
                    f"{members[0].label} was trained on images that were given in Python; name "
                    "those to measure it on with --data"
                )
            kind = name_source(data)
        elif data and data != own.data and (kind in _SEEN_FORMS or Path(data).is_file()):
            kind = name_source(data)
        settings |= {"name": kind, "root": data or own.data or None}
        settings |= {"size": own.size, **own.reading.given}
        settings |= {"interpolation": own.interpolation} if own.interpolation else {}
    elif measurement.source or data:
        settings["name"] = measurement.source or name_source(data or "")
    else:
        raise RunError(
            f"{members[0].label} does not say what images to measure it on; name their folder or "
            "file with --data, and its kind with --source"
        )
    settings |= _model_geometry(members) | _find_geometry(measurement) | measurement.reading.given
    if measurement.resize is not None:
        check_resize(measurement.resize, settings.get("size", 0), "crop", "torchvision")
    settings["is_lazy"] = True if measurement.how.max_images else None
    if settings["root"] and settings["name"] in ("folder", "imagenet"):
        check_outside(settings["root"], measurement.folder)
    source = open_source(split=measurement.split, **settings)
    if not measurement.allow_train_data:
        if (held := find_held_out(source, members)) is not None:
            return held
        for member in members:
            _check_unseen(member, source)
    return source


def find_held_out(source: Source, members: Sequence[Member]) -> Source | None:
    """Return the images that runs held out of a set which they were trained on, if they all did.

    Data without splits serves any split: without them there would be nothing to measure on.
    """
    runs = [member.trained for member in members]
    first = runs[0] if runs else None  # predictions of a file have none
    if first is None or first.val_fraction is None or source.split == "train":
        return None
    chosen = {(each.val_fraction, each.max_train_images) for each in runs if each}
    fingerprints = {_trained_on(member) for member in members}
    count = first.max_train_images
    whole = take(source, count) if count else source
    if None in runs or len(chosen) > 1 or fingerprints != {whole.fingerprint}:
        return None
    return hold_out(whole, first.val_fraction)[1]


def find_class_list(
    measurement: Measurement, members: Sequence[Member], source: Source
) -> ClassList | None:
    """Return the classes of the model by which those of the images are looked up.

    They are those of the class list, else the names that the model brings. None leaves the classes
    as they are: the names are equal, or the model has none, or they go by position.
    """
    if measurement.class_list:
        return load_class_list(measurement.class_list)
    found = [(each, each.model.class_names) for each in members if each.model.class_names]
    for member, names in found[1:]:
        if names != found[0][1]:
            raise RunError(
                f"{found[0][0].label} and {member.label} have other classes, or another order of "
                "them, so their mean has no meaning; measure them one by one"
            )
    if not found or measurement.classes_by_position:
        return None
    member, names = found[0]
    return choose_class_list(names, source, where=f"model {member.label}")


def _agreed(runs: Sequence[TrainedRun], data: str) -> TrainedRun:
    """Return the first run's settings, after checking that all runs have the same images."""
    own = {(run.source, "" if data else run.data, run.size) for run in runs}
    if len(own) > 1:
        shown = ", ".join(sorted(f"{run.source} {run.data} at size {run.size}" for run in runs))
        raise RunError(
            f"the runs were trained on different images ({shown}); name those to measure on with "
            "--source and --data"
        )
    return runs[0]


def _model_geometry(members: Sequence[Member]) -> dict[str, Any]:
    """Return the geometry that the first model to name one asks for."""
    for member in members:
        preprocessing = member.model.preprocessing
        if preprocessing is not None and preprocessing.crop:
            return preprocessing.geometry
    return {}


def _check_unseen(member: Member, source: Source) -> None:
    if member.trained is None or source.split == "train":
        return
    fingerprint = _trained_on(member)
    if fingerprint is not None:
        check_disjoint(fingerprint, source, max_train_images=member.trained.max_train_images)


def _trained_on(member: Member) -> str | None:
    """The fingerprint of the training images of a run, also of those held out; None if unknown."""
    path = member.folder / run_folder.STATE_FILE
    if member.trained is None or not path.exists():
        return None
    state = load_tensors(path)
    identity = state.get("identity") if isinstance(state, dict) else None
    found = identity.get("source_fingerprint", "") if isinstance(identity, dict) else None
    if not isinstance(found, str):
        raise RunError(f"{path} is not a checkpoint of a run; name another run folder")
    return found


def find_preprocessing(measurement: Measurement) -> Preprocessing | None:
    """Return the preprocessing that replaces the models' own; an unknown one is a ValueError."""
    if not measurement.preprocessing:
        return None
    changes = {name: getattr(measurement, name) for name in ("mean", "std", "input_range")}
    return choose_preprocessing(
        measurement.preprocessing, **changes, **_sizes(measurement, crop="crop")
    )


def _find_geometry(measurement: Measurement) -> dict[str, Any]:
    """The geometry that replaces the models' own, as `open_source` takes it.

    A crop without a resize is resized in proportion. A named preprocessing has a geometry itself.
    """
    if measurement.preprocessing:
        return {}
    given = _sizes(measurement, crop="size")
    return {"resize": 0, **given} if "size" in given else given


def _sizes(measurement: Measurement, *, crop: str) -> dict[str, Any]:
    given = {
        crop: measurement.crop,
        "resize": measurement.resize,
        "interpolation": measurement.interpolation,
    }
    return {name: value for name, value in given.items() if value is not None}
