"""A training run from its configuration: trained into a run folder, or forecast.

A run folder holds all that is needed to continue the run or to measure it.
"""

import datetime
import hashlib
import itertools
import math
import statistics
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from augmix import distributed, files, results
from augmix.augment import bank
from augmix.data.decode import ResizedCrop
from augmix.data.derived import Subset, hold_out, mix, open_stylised, subset, take
from augmix.data.inventory import describe_images
from augmix.data.sources import Source, open_source
from augmix.data.stores import default_threads
from augmix.data.trees import FolderTree
from augmix.devices import choose_precision, peak_memory_mib, resolve_device, torch_settings
from augmix.errors import ResumeError, RunError
from augmix.methods import TrainingImages
from augmix.methods.losses import balanced_weights
from augmix.models import is_foreign
from augmix.models.layers import Classifier
from augmix.models.resnet import zero_last_scales
from augmix.models.start import Start, build_start, check_outputs, find_start
from augmix.models.wrapper import hash_weights
from augmix.progress import Note, OnProgress, PhaseStarted, ignore, tell
from augmix.rng import Stream
from augmix.training import checkpoint
from augmix.training.config import TrainConfig, flatten, update_config
from augmix.training.logging import count_cost, logging_to
from augmix.training.loop import (
    Prepared,
    check_smallest_part,
    open_run_learner,
    take_steps,
    train_model,
)
from augmix.training.optimizer import describe_training
from augmix.training.pipeline import Pipeline, open_order, open_pipeline
from augmix.training.step import Learner
from augmix.training.validation import match_validation, open_validation

_WARM_UP_STEPS = 3  # of a forecast: compile, tune and fill caches
_MEASURED_STEPS = 10
_NUM_STEPS = _WARM_UP_STEPS + _MEASURED_STEPS
_MEASURING_S = 17.0  # on one process, from its start on, so that the command ends within 20 s
_LEAST_MEASURING_S = 5.0  # however long opening the images and the model took
_PROBE_IMAGES = 4  # in the first steps on a CPU, which say how heavy a whole batch is

# Paths and speed, which change no bit of the result. The device and torch's threads do: the values
# they resolve to are compared instead, and how image files are read.
_FREE = (
    "out",
    "name",
    "data",
    "stylised",
    "val",
    "pictures",
    "download",
    "num_threads",
    "decode_threads",
    "exif_orientation",
    "background",
    "bit_depth",
    "image_column",
    "label_column",
    "executor",
    "checkpoint_every",
    "device",
    "torch_threads",
    "logger",
)


def train(
    config: TrainConfig,
    *,
    callbacks: Sequence[OnProgress] = (),
    on_progress: OnProgress | None = None,
) -> Path:
    """Train a model, or continue its run, in a run folder; several seeds one after another.

    Args:
        callbacks: Functions that are called with every event of `augmix.progress`, in process 0:
            `StepFinished`, `StepsLogged`, `EpochValidated`, `CheckpointWritten` ... An error of
            theirs ends the run, which the same call continues.
        on_progress: One more, which shows progress.

    Returns:
        The run folder, which now holds the model, or below it a run folder for each seed.

    Raises:
        ResumeError: If the folder holds a run of other settings.
        Interrupted: If a signal stopped the run; the same call continues it.
        RunError: If the data or the folder are not usable, the loss is no longer finite, or
            the library of a logger is not installed.
    """
    return train_settled(settle(config), callbacks=callbacks, on_progress=on_progress)


def train_settled(
    settled: "Settled",
    *,
    callbacks: Sequence[OnProgress] = (),
    on_progress: OnProgress | None = None,
) -> Path:
    """Train as `train` does, a run of which nothing is open."""
    config = settled.config
    seeds, folder = config.run.seeds, config.run.out
    if seeds > 1 and (folder / results.CONFIG_FILE).exists():
        raise ResumeError(
            f"{folder} holds a single run, where the runs of {seeds} seeds were to go; choose "
            "another --out"
        )
    with distributed.joined(backend=backend()):
        emit = tell((*callbacks, on_progress)) if distributed.rank() == 0 else None
        if seeds == 1:
            _train_one(settled, emit)
            return folder
        for number in range(seeds):  # finished ones are skipped
            member = config.member(number)
            if emit:
                emit(PhaseStarted(title=f"{member.run.out.name}: run {number + 1} of {seeds}"))
            _train_one(replace(settled, config=member), emit)
    return folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """The configuration of a run without what it left open."""

    config: TrainConfig
    start: Start
    decisions: tuple[str, ...]  # in words
    given: "GivenImages | None" = None


class GivenImages(NamedTuple):
    """Images that were given as objects, in place of a path of the configuration."""

    train: Source | None = None
    validation: Source | None = None


def settle(config: TrainConfig, start: Start | None = None) -> Settled:
    """Decide what the configuration leaves to the model and the machine.

    Size and filter of the images are those that a network from elsewhere takes, the arithmetic is
    what the device computes fast.

    Args:
        start: What the model starts from, where it was given as an object.
    """
    start = start or find_start(config.network.model, pretrained=config.network.pretrained)
    changes: dict[str, Any] = {}
    decisions: list[str] = []
    if config.data.size is None and start.size:
        changes["size"] = start.size
        decisions.append(f"size: {start.size}, as {start.name} takes")
    if config.data.interpolation is None and start.interpolation:
        changes["interpolation"] = start.interpolation
        decisions.append(f"interpolation: {start.interpolation}, as {start.name} takes")
    if config.optimisation.precision == "auto":
        device = resolve_device(config.run.device)
        changes["precision"], why = choose_precision(device, is_depthwise=start.is_depthwise)
        decisions.append(f"precision: {changes['precision']}, {why}")
    settled = update_config(config, **changes) if changes else config
    return Settled(config=settled, start=start, decisions=tuple(decisions))


@contextmanager
def prepared(
    config: TrainConfig, start: Start | None = None, given: GivenImages | None = None
) -> Iterator[Prepared]:
    """Prepare a run, with torch set up for it inside.

    Args:
        start: What its model starts from, if that was found already.
        given: Its images, if they were given as objects.

    Raises:
        RunError: If the data, the device or the processes are not usable.
        ValueError: If the device has no such precision.
    """
    device = resolve_device(config.run.device)
    _check_processes(device)
    if config.optimisation.precision == "fp16" and device.type == "cpu":
        raise ValueError(
            "precision 'fp16' is for GPUs; CPUs have no fast convolutions for it: take 'bf16'"
        )
    with torch_settings(
        device,
        seed=config.run.seed,
        num_threads=config.run.torch_threads or 0,
        is_tuned=not config.optimisation.deterministic,
        is_deterministic=config.optimisation.deterministic,
    ):
        plain, source, held = open_training(config, given)
        chosen = config.validation
        if held is None and (chosen.patience or chosen.select not in (None, "last")):
            name = "patience" if chosen.patience else f"select {chosen.select!r}"
            raise ValueError(
                f"{name} would do nothing without validation images: name them with --val, or hold "
                "out a part of the training images with --val-fraction 0.1"
            )
        _check_several(source, config.data.root)
        padding, flip = config.data.crop_padding, config.data.flip
        padding = source.crop_padding if padding is None else padding
        flip = source.flip if flip is None else flip
        network = config.network
        start = start or find_start(network.model, pretrained=network.pretrained)
        model, origin = build_start(
            replace(start, name=config.method.network_name(start.name)),
            num_classes=source.num_classes,
            channels=source.channels,
            dropout=network.dropout,
            blur_size=network.blur_size or 5,
            class_names=source.class_names,
            head=network.head or "",
        )
        if is_foreign(start.name):
            check_outputs(model, source.size)
        if config.network.zero_init_last:
            zero_last_scales(model)
        if model.num_fit_images:
            _fit_images(model, source)
        config.method.check_network(model)
        images = TrainingImages(
            size=source.size,
            num_classes=source.num_classes,
            mean=model.config.mean,
            crop_padding=padding,
            flip=flip,
        )
        settings = {name: value for name, value in flatten(config).items() if name not in _FREE}
        versions = results.provenance()["versions"]
        identity = {
            **settings,
            "source": config.data.kind,
            "on_error": config.data.reading.on_error or "raise",
            **config.data.reading.changes,
            "crop_padding": padding,
            "flip": flip,
            # of the images without their stylised copies, so that evaluation can refuse them
            "source_fingerprint": plain.fingerprint,
            "mix_fingerprint": "" if source is plain else source.fingerprint,
            "num_train_images": len(source),
            "val_fingerprint": "" if held is None else held.fingerprint,
            "device": _device_name(device),
            **{f"{name} version": version for name, version in versions.items()},
            **({"torch_threads": torch.get_num_threads()} if device.type == "cpu" else {}),
            "processes": distributed.world_size(),
            # sha256 of the layers with their settings: equal names may be another network's
            "network": hashlib.sha256(repr(model).encode()).hexdigest()[:16],
            **({"start": hash_weights(model)[:16]} if start.state or start.module else {}),
            **_method_code(config),
        }
        method = config.method.fit(images)
        plan = method.policy.sample(
            np.arange(2), num_views=1, size=source.size, stream=Stream(seed=config.run.seed)
        )
        if (found := bank.find_bank(plan)) is not None:
            identity["pictures_fingerprint"] = bank.fingerprint(*found)
        weights = None
        if config.optimisation.class_weights == "balanced":
            weights = _balance(source)
        yield Prepared(
            model=model,
            method=method,
            source=source,
            device=device,
            identity=identity,
            origin=origin,
            class_weights=weights,
            validation=held,
        )


def _train_one(settled: Settled, on_progress: OnProgress | None) -> None:
    config = settled.config
    with (
        logging_to(config.run.logger, on_progress, flatten(config)) as watch,
        prepared(config, settled.start, settled.given) as run,
        ExitStack() as held,
    ):
        for line in (*describe_images(run.source), f"start: {run.origin}", *settled.decisions):
            (on_progress or ignore)(Note(text=line))
        if distributed.rank() == 0:  # for all
            held.enter_context(files.hold_folder(config.run.out))
            _write_config(config)
        try:
            train_model(run, config, on_progress=watch)
        finally:
            if distributed.rank() == 0 and not (config.run.out / results.STATE_FILE).exists():
                (config.run.out / results.CONFIG_FILE).unlink(missing_ok=True)  # nothing began


def _method_code(config: TrainConfig) -> dict[str, str]:
    """The sha256 of the file of a method of the user's own."""
    code = config.method.code_sha256
    return {"method_sha256": code} if code else {}


def open_split(config: TrainConfig, split: str) -> Source:
    """Open the images of a split; of the training images those that are trained on."""
    data = config.data
    source = open_source(
        data.kind,
        root=data.root,
        split=split,
        size=data.size or 0,
        interpolation=data.interpolation or "bilinear",
        crop=ResizedCrop() if split == "train" and data.is_cropped else None,
        is_reduced=data.reduced_decoding,
        download=data.download,
        is_lazy=True if split == "train" and data.max_train_images else None,
        **data.reading.given,
        num_threads=data.decode_threads
        or max(1, default_threads() // distributed.local_world_size()),
    )
    return _part(config, source) if split == "train" else source


class TrainingData(NamedTuple):
    """The images of a run."""

    whole: Source  # the training images, also those that are held out
    source: Source  # what is trained on: with stylised copies, without what is held out
    validation: Source | None


def open_training(config: TrainConfig, given: GivenImages | None = None) -> TrainingData:
    """Open the training images, all that is trained on, and the validation images."""
    given = given or GivenImages()
    whole = _part(config, given.train) if given.train else open_split(config, "train")
    source, held, fraction = whole, None, config.validation.fraction
    if fraction is not None:
        source, held = hold_out(whole, fraction)
    elif given.validation:
        held = match_validation(given.validation, whole, where="val_data")
    elif config.validation.data is not None:
        held = open_validation(config, whole, open_split)
    if config.data.stylised:
        copies = _part(config, open_stylised(config.data.stylised, whole))
        if isinstance(source, Subset) and fraction is not None:
            if copies.labels.tolist() != whole.labels.tolist():
                raise RunError(
                    f"{config.data.stylised} has other images than the {len(whole):,} training "
                    "images, so copies of held-out ones cannot be left out: name validation images "
                    "with --val instead"
                )
            copies = subset(copies, source.ids)
        source = mix(source, copies)
    return TrainingData(whole=whole, source=source, validation=held)


def _fit_images(model: Classifier, source: Source) -> None:
    """Set the layers of a model that depend on the images, by evenly spaced ones."""
    count = min(model.num_fit_images, len(source))
    ids = np.linspace(0, len(source) - 1, count).round().astype(np.int64)
    images = torch.from_numpy(source.load(ids)).permute(0, 3, 1, 2)
    model.fit_images(images.float() / 255)


def _check_several(source: Source, root: str | None) -> None:
    """Refuse to train on a single class."""
    found = np.unique(source.labels)
    if len(found) > 1:
        return
    path = Path(root or "").expanduser()
    around = FolderTree(path.resolve().parent).folders() if path.is_dir() else []
    hint = (
        f" {path.resolve().parent} holds the folders {', '.join(around[:8])}:" if around[1:] else ""
    )
    raise RunError(
        f"the images of source {source.name} are all of the class "
        f"{source.class_names[found[0]]!r}, and training needs at least two;{hint} "
        "name a folder of several class folders with --data"
    )


def _balance(source: Source) -> list[float]:
    """The weights of the classes with which they count alike."""
    counts = np.bincount(source.labels, minlength=source.num_classes)
    empty = [source.class_names[index] for index in np.flatnonzero(counts == 0)]
    if empty:
        raise RunError(
            f"class_weights 'balanced' needs images of every class, and there are none of "
            f"{', '.join(empty[:8])}: add some, or leave the class out"
        )
    return balanced_weights(source.labels, source.num_classes)


def _part(config: TrainConfig, source: Source) -> Source:
    count = config.data.max_train_images
    return take(source, count) if count else source


def backend() -> str:
    """The backend of the gradient exchange: NCCL between GPUs, gloo on the CPU."""
    has_nccl = torch.cuda.is_available() and torch.distributed.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if has_nccl else "gloo"


def _check_processes(device: torch.device) -> None:
    """Refuse more processes on a machine than it has GPUs: NCCL needs one for each."""
    num_local, num_devices = distributed.local_world_size(), torch.cuda.device_count()
    if device.type == "cuda" and num_local > num_devices:
        raise RunError(
            f"{num_local} processes train on this machine, which has {num_devices} GPU(s): start "
            f"--nproc-per-node {num_devices}, or train with --device cpu"
        )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        return f"cpu {torch.backends.cpu.get_cpu_capability()}"
    return device.type


def _write_config(config: TrainConfig) -> None:
    """Write `config.json` into a new run folder; refuse the folder of another run."""
    path = config.run.out / results.CONFIG_FILE
    ours = {
        "schema": results.CONFIG_SCHEMA,
        **files.to_plain(flatten(config)),
        "source": config.data.kind,
        "on_error": config.data.reading.on_error or "raise",
        **_method_code(config),
    }
    if path.exists() and not (config.run.out / results.STATE_FILE).exists():
        found = files.load_json(path)
        is_other = any(found.get(name) != ours[name] for name in ours if name not in _FREE)
        if is_other or (config.run.out / results.WEIGHTS_FILE).exists():
            raise ResumeError(
                f"{config.run.out} holds {results.CONFIG_FILE} but no {results.STATE_FILE} to "
                "continue from; choose another --out, or delete the folder"
            )
    if not path.exists():
        files.write_json(path, ours)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTime:
    """The time of one step."""

    elapsed_s: float  # to the end of the device's work
    waited_s: float  # of it, waiting for views that were not ready


def open_parts(config: TrainConfig, run: Prepared) -> tuple[Learner, Pipeline]:
    """What `time_steps` takes of a run."""
    optimisation, device = config.optimisation, run.device
    learner = open_run_learner(run, optimisation)
    order = open_order(run.source, config)
    return learner, open_pipeline(run.source, run.method, order, config, device)


def time_steps(
    learner: Learner, pipeline: Pipeline, steps: Iterable[int], *, num_threads: int
) -> Generator[StepTime]:
    """Take steps of a run, each timed to the end of the device's work; see `take_steps`."""
    with closing(take_steps(learner, pipeline, steps, num_threads=num_threads)) as taken:
        for step in taken:
            if learner.device.type == "cuda":
                torch.cuda.synchronize(learner.device)
            yield StepTime(elapsed_s=perf_counter() - step.began, waited_s=step.waited_s)


class _TimeIsUp(Exception):
    """Ends a step that is measured for too long."""


class _StopAt(TorchDispatchMode):
    """Stops whatever torch computes, between two operations, once a time is reached."""

    def __init__(self, when: float) -> None:
        super().__init__()
        self.when = when  # by `perf_counter`

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if perf_counter() > self.when:
            raise _TimeIsUp
        return func(*args, **(kwargs or {}))


class _Measured(NamedTuple):
    """Steps that ended in time, and the seconds of one that did not."""

    times: list[StepTime]
    stopped_s: float = 0.0


def _measure(
    parts: tuple[Learner, Pipeline], steps: Iterable[int], config: TrainConfig, end: float
) -> _Measured:
    """Take steps until a time, by `perf_counter`; on a CPU the last one is stopped inside."""
    learner, pipeline = parts
    can_stop = learner.device.type == "cpu" and not config.optimisation.compile
    times: list[StepTime] = []
    with closing(
        time_steps(learner, pipeline, steps, num_threads=config.run.num_threads)
    ) as measured:
        while not times or perf_counter() < end:
            began = perf_counter()
            try:
                with _StopAt(end) if can_stop and end < math.inf else nullcontext():
                    times.append(next(measured))
            except StopIteration:
                break
            except _TimeIsUp:
                return _Measured(times, perf_counter() - began)
    return _Measured(times)


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What a run takes, estimated from a few of its steps."""

    num_parameters: int
    steps_per_epoch: int
    step_s: float  # median time of the measured steps; if none ended, what one takes at least
    images_per_second: float  # by that time, over all processes
    wait_fraction: float  # of the measured time, waiting for views
    peak_memory_mib: float  # of this process: on a GPU of tensors, on the CPU of everything
    checkpoint_mib: float  # size of `state.pt`
    executor: str  # what renders the views
    num_measured: int  # steps
    num_images: int  # in a measured step: a whole batch, or a part that fits the time


def forecast(
    config: TrainConfig,
    run: Prepared,
    *,
    first_step: int = 0,
    began: float | None = None,
    on_progress: OnProgress | None = None,
) -> Forecast:
    """Take some steps of a run, from ``first_step`` on, and estimate what all of it takes.

    One process stops in time, on a CPU also within a step. If a CPU could not take enough whole
    steps in that time, it takes steps of a part of the batch, and the time of a step is counted up
    in proportion.

    Args:
        began: When the time began, by `perf_counter`; by default now.

    Raises:
        RunError: If memory does not suffice, or torch cannot do what the run asks for.
        ValueError: If no step is left.
    """
    emit, batch = on_progress or ignore, config.optimisation.batch_size
    parts = learner, pipeline = open_parts(config, run)
    steps_per_epoch = pipeline.order.steps_per_epoch
    num_steps = config.optimisation.epochs * steps_per_epoch
    if first_step >= num_steps:
        raise ValueError(f"the run is complete: all {num_steps} steps are done")
    check_smallest_part(run, pipeline.order, config.optimisation.accumulate)
    end, now = math.inf, perf_counter()
    if distributed.world_size() == 1:
        end = max((now if began is None else began) + _MEASURING_S, now + _LEAST_MEASURING_S)
    steps, num_images, found = range(first_step, num_steps), batch, _Measured([])
    if end < math.inf and run.device.type == "cpu" and batch > 2 * _PROBE_IMAGES:
        emit(Note(text=f"measuring steps of {_PROBE_IMAGES} images"))
        found = _measure(open_parts(_with_batch(config, _PROBE_IMAGES), run), range(2), config, end)
        left_s = end - perf_counter()
        step_s = found.times[-1].elapsed_s if found.times else math.inf
        fits = _PROBE_IMAGES * left_s / (_WARM_UP_STEPS + 2) / step_s
        if fits < batch:
            num_images = max(_PROBE_IMAGES, int(fits))
            parts = learner, pipeline = open_parts(_with_batch(config, num_images), run)
            steps = range(config.optimisation.epochs * pipeline.order.steps_per_epoch)
    if not found.stopped_s:
        left = f", for about {end - perf_counter():.0f} s" if end < math.inf else ""
        emit(Note(text=f"measuring steps of {num_images} images{left}"))
        probed = found.times if num_images == _PROBE_IMAGES else []
        chosen = itertools.islice(itertools.cycle(steps), _NUM_STEPS)
        found = _measure(parts, chosen, config, end)
        found = found if found.times else _Measured(probed[-1:], found.stopped_s)
    times = found.times[min(_WARM_UP_STEPS, max(len(found.times) - 1, 0)) :]
    seconds = statistics.median(time.elapsed_s for time in times) if times else found.stopped_s
    step_s = seconds * batch / num_images
    return Forecast(
        num_parameters=sum(values.numel() for values in learner.model.parameters()),
        steps_per_epoch=steps_per_epoch,
        step_s=step_s,
        images_per_second=len(run.source) / steps_per_epoch / step_s,
        wait_fraction=sum(t.waited_s for t in times) / max(sum(t.elapsed_s for t in times), 1e-9),
        peak_memory_mib=peak_memory_mib(run.device),
        checkpoint_mib=sum(learner.sizes().values()) / 2**20,
        executor=pipeline.executor,
        num_measured=len(times),
        num_images=num_images,
    )


def _with_batch(config: TrainConfig, num_images: int) -> TrainConfig:
    return update_config(config, batch_size=num_images, accumulate=1)


def forecast_run(
    config: TrainConfig, *, began: float | None = None, on_progress: OnProgress | None = None
) -> list[str]:
    """Time some steps of a run, or of the rest of it, and describe what it will take.

    Nothing is written. Started by `torchrun`, the processes take their steps together. Of several
    seeds the first is measured.

    Args:
        began: When the time to measure began, by `perf_counter`; by default now.

    Returns:
        Lines to read: what is trained, steps, memory, time.

    Raises:
        RunError: If the data, the device or its memory are not usable, or the folder's checkpoint
            is damaged.
        ValueError: If the run is complete.
    """
    began = perf_counter() if began is None else began
    settled = settle(config)
    config = settled.config
    seeds, optimisation = config.run.seeds, config.optimisation
    one = config.member(0) if seeds > 1 else config
    emit = on_progress or ignore
    emit(Note(text=f"opening the images and {config.network_name}"))
    with distributed.joined(backend=backend()), prepared(one, settled.start) as run:
        state = checkpoint.load_state(one.run.out)
        if state is not None:
            checkpoint.check_identity(state, run.identity, one.run.out)
        first_step = state.step if state else 0
        cost = count_cost(
            run.model.to(run.device),
            run.method,
            size=run.source.size,
            channels=run.source.channels,
            device=run.device,
        )
        found = forecast(one, run, first_step=first_step, began=began, on_progress=emit)
        processes, where = distributed.world_size(), run.identity["device"]
    where = where if processes == 1 else f"{processes} processes on {where}"
    num_views = run.method.num_views + run.method.has_clean
    num_steps = optimisation.epochs * found.steps_per_epoch
    left = (seeds * num_steps - first_step) * found.step_s
    end = datetime.datetime.now() + datetime.timedelta(seconds=left)
    is_part = found.num_images < optimisation.batch_size
    of_part = f" of {found.num_images} images" if is_part else ""
    counted = f" for a whole batch of {optimisation.batch_size}" if is_part else ""
    measured = (
        f"{found.num_measured} steps{of_part} measured: {_time(found.step_s)} each{counted}, "
        f"{found.images_per_second:,.0f} images/s, {100 * found.wait_fraction:.1f} % of the time "
        "waiting for views"
    )
    if not found.num_measured:
        measured = (
            f"no step of {found.num_images} images ended in time, so neither time nor memory of a "
            f"step was measured; it takes more than {_time(found.step_s)}{counted}"
        )
    return [
        f"{config.method} on {config.data.kind}: {config.network_name} of {found.num_parameters:,} "
        f"parameters, {where}; views by {found.executor}",
        *describe_images(run.source),
        f"{len(run.source):,} images, {found.steps_per_epoch:,} steps an epoch of "
        f"{optimisation.batch_size} images with {num_views} view(s) each, {num_steps:,} "
        f"steps in {optimisation.epochs} epoch(s)",
        measured,
        f"memory: {found.peak_memory_mib:,.0f} MiB at "
        f"{'least' if is_part or not found.num_measured else 'most'}; a "
        "checkpoint takes "
        f"{found.checkpoint_mib:,.1f} MiB",
        *settled.decisions,
        *describe_training(run.model, optimisation),
        cost.describe(seeds * optimisation.epochs * len(run.source)),
        *([f"{first_step:,} steps are done already"] if first_step else []),
        *([f"{seeds} runs, one after another"] if seeds > 1 else []),
        f"about {_time(left)} of training left: until {end:%Y-%m-%d %H:%M} if begun now"
        if found.num_measured
        else f"more than {_time(left)} of training left",
    ]


def _time(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size, most in (("ms", 0.001, 1.0), ("s", 1.0, 90.0), ("min", 60.0, 5400.0)):
        if seconds < most:
            return f"{seconds / size:.3g} {unit}"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
