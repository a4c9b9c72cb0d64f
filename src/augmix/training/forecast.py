"""What a run will take: time, memory and size, estimated from a few of its steps."""

import datetime
import itertools
import math
import statistics
from collections.abc import Generator, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from augmix import distributed
from augmix.data.inventory import describe_images
from augmix.devices import peak_memory_mib
from augmix.progress import Note, OnProgress, format_duration, ignore
from augmix.training import checkpoint
from augmix.training.config import TrainConfig
from augmix.training.logging import count_cost
from augmix.training.loop import (
    Prepared,
    check_smallest_part,
    open_run_learner,
    take_steps,
)
from augmix.training.optimizer import describe_training
from augmix.training.pipeline import Pipeline, open_order, open_pipeline
from augmix.training.run import backend, prepared, settle
from augmix.training.settings import update_config
from augmix.training.step import Learner

_WARM_UP_STEPS = 3  # of a forecast: compile, tune and fill caches
_MEASURED_STEPS = 10
_NUM_STEPS = _WARM_UP_STEPS + _MEASURED_STEPS
_MEASURING_S = 17.0  # on one process, from its start on, so that the command ends within 20 s
_LEAST_MEASURING_S = 5.0  # however long opening the images and the model took
_PROBE_IMAGES = 4  # in the first steps on a CPU, which say how heavy a whole batch is


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
    probe = None
    if distributed.world_size() == 1 and run.device.type == "cpu" and batch > 2 * _PROBE_IMAGES:
        probe = open_parts(_with_batch(config, _PROBE_IMAGES), run)
        probe[1].finish(probe[1].make(0))  # compiles the kernels of the views: not counted
    end, now = math.inf, perf_counter()
    if distributed.world_size() == 1:
        end = max((now if began is None else began) + _MEASURING_S, now + _LEAST_MEASURING_S)
    steps, num_images, found = range(first_step, num_steps), batch, _Measured([])
    if probe is not None:
        emit(Note(text=f"measuring steps of {_PROBE_IMAGES} images"))
        found = _measure(probe, range(2), config, end)
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
        f"{found.num_measured} steps{of_part} measured: {format_duration(found.step_s)} each"
        f"{counted}, {found.images_per_second:,.0f} images/s, {100 * found.wait_fraction:.1f} % "
        "of the time waiting for views"
    )
    if not found.num_measured:
        measured = (
            f"no step of {found.num_images} images ended in time, so neither time nor memory of a "
            f"step was measured; it takes more than {format_duration(found.step_s)}{counted}"
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
        f"about {format_duration(left)} of training left: until {end:%Y-%m-%d %H:%M} if begun now"
        if found.num_measured
        else f"more than {format_duration(left)} of training left",
    ]
