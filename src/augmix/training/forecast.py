"""Steps, memory and time of a run, estimated from a few of its steps."""

import datetime
import itertools
import statistics
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter

import torch

from augmix import distributed
from augmix.data.batches import BatchOrder, run_ahead
from augmix.data.sources import Source
from augmix.devices import peak_memory_mib
from augmix.methods import Method
from augmix.models.layers import Classifier
from augmix.training import checkpoint
from augmix.training.config import RunConfig, TrainConfig
from augmix.training.loop import Views, explained, open_order, open_views, seed_torch
from augmix.training.run import backend, prepared
from augmix.training.step import Learner, open_learner

WARM_UP_STEPS = 3  # compile, tune and fill caches
MEASURED_STEPS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTime:
    """The time of one step.

    Attributes:
        elapsed_s: From one step's end to the next one's, on the device too.
        waited_s: Of it, waiting for views that were not ready.
        num_images: Images of the step over all processes.
    """

    elapsed_s: float
    waited_s: float
    num_images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What a run is and will take.

    Attributes:
        num_images: Training images.
        num_views: Images that the network sees for each of them in a step.
        num_parameters: Of the network.
        steps_per_epoch: Of the run.
        num_steps: Of the whole run.
        first_step: Steps that are done already.
        measured_steps: Steps that were timed.
        step_s: Their median time, in seconds.
        images_per_second: By that time, over all processes.
        wait_share: Of the measured time, waiting for views.
        peak_memory_mib: Of this process: on a GPU of tensors, on the CPU of everything.
        checkpoint_mib: Size of `state.pt`.
        executor: What renders the views.
    """

    num_images: int
    num_views: int
    num_parameters: int
    steps_per_epoch: int
    num_steps: int
    first_step: int
    measured_steps: int
    step_s: float
    images_per_second: float
    wait_share: float
    peak_memory_mib: float
    checkpoint_mib: float
    executor: str

    @property
    def seconds_left(self) -> float:
        """Training time from here to the end of the run."""
        return (self.num_steps - self.first_step) * self.step_s


def forecast(
    model: Classifier,
    method: Method,
    source: Source,
    *,
    config: TrainConfig,
    device: torch.device,
    first_step: int = 0,
) -> Forecast:
    """Take the first steps of a run, or those it would go on with, and tell what all will take.

    Args:
        model: Trained for these steps, in place.
        method: Policy, objective and number of views.
        source: The training images.
        config: The run.
        device: Where the model computes.
        first_step: Steps that are done already.

    Raises:
        RunError: If memory does not suffice, or torch cannot do what the recipe asks for.
        ValueError: If no step is left.
    """
    order = open_order(source, config)
    num_steps = config.optimisation.epochs * order.steps_per_epoch
    if first_step >= num_steps:
        raise ValueError(f"the run is complete: all {num_steps} steps are done")
    learner = open_learner(model, method, optimisation=config.optimisation, device=device)
    views = open_views(source, method, order, config, device)
    count = WARM_UP_STEPS + MEASURED_STEPS
    steps = itertools.islice(itertools.cycle(range(first_step, num_steps)), count)
    times = list(take_steps(learner, views, order, steps, config.run))[WARM_UP_STEPS:]
    step_s = statistics.median(time.elapsed_s for time in times)
    mean_images = len(source) / order.steps_per_epoch
    return Forecast(
        num_images=len(source),
        num_views=method.num_views + method.has_clean,
        num_parameters=sum(values.numel() for values in learner.model.parameters()),
        steps_per_epoch=order.steps_per_epoch,
        num_steps=num_steps,
        first_step=first_step,
        measured_steps=len(times),
        step_s=step_s,
        images_per_second=mean_images / step_s,
        wait_share=sum(time.waited_s for time in times) / sum(time.elapsed_s for time in times),
        peak_memory_mib=peak_memory_mib(device),
        checkpoint_mib=_checkpoint_bytes(learner) / 2**20,
        executor=views.executor,
    )


def take_steps(
    learner: Learner, views: Views, order: BatchOrder, steps: Iterable[int], run: RunConfig
) -> Generator[StepTime]:
    """Take steps of a run one by one, each timed to the end of the device's work.

    Args:
        learner: What learns; changed.
        views: How its views come about.
        order: Which images a step has.
        steps: Numbers of the steps, counted from the start of the run.
    """
    optimisation, device = learner.optimisation, learner.device
    steps, made = itertools.tee(steps)
    ahead = run_ahead(views.make, made, num_threads=run.num_threads)
    with closing(ahead) as batches:
        for step in steps:
            began = perf_counter()
            batch = next(batches)
            waited = perf_counter() - began
            seed_torch(run.seed, step)
            num_images = order.count(step)
            with explained(optimisation, device):
                images, targets = views.finish(batch)
                rate = optimisation.rate(step, order.steps_per_epoch)
                learner.learn(images, targets, num_images, rate)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
            yield StepTime(elapsed_s=perf_counter() - began, waited_s=waited, num_images=num_images)


def _checkpoint_bytes(learner: Learner) -> int:
    """All numbers that a checkpoint keeps."""
    kept = [*learner.model.state_dict().values()]
    for state in learner.optimizer.state.values():
        kept += [values for values in state.values() if isinstance(values, torch.Tensor)]
    if learner.average is not None:
        kept += learner.average.state_dict().values()
    return sum(values.numel() * values.element_size() for values in kept)


def forecast_run(config: TrainConfig) -> list[str]:
    """Time some steps of a run, or of what is left of it, and say what all of it will take.

    Nothing is written. Started by `torchrun`, the processes take their steps together.

    Args:
        config: The run; of several seeds the first is measured.

    Returns:
        Lines to read: what is trained, steps, memory, time.

    Raises:
        RunError: If the data, the device or its memory are not usable, or the folder's checkpoint
            is damaged.
        ValueError: If the run is complete.
    """
    one = config.member(0) if config.run.seeds > 1 else config
    with distributed.joined(backend=backend()), prepared(one) as run:
        state = checkpoint.load_state(one.run.out)
        if state is not None:
            checkpoint.check_identity(state, run.identity, one.run.out)
        found = forecast(
            run.model,
            run.method,
            run.source,
            config=one,
            device=run.device,
            first_step=state.step if state else 0,
        )
        return describe(found, config, run.identity["device"])


def describe(found: Forecast, config: TrainConfig, device: str) -> list[str]:
    """A forecast in words."""
    processes = distributed.world_size()
    where = device if processes == 1 else f"{processes} processes on {device}"
    left, whole = found.seconds_left, found.num_steps * found.step_s
    lines = [
        f"{config.method} on {config.data.kind}: {config.network_name} of {found.num_parameters:,} "
        f"parameters, {where}; views by {found.executor}",
        f"{found.num_images:,} images, {found.steps_per_epoch:,} steps an epoch of "
        f"{config.optimisation.batch_size} images with {found.num_views} view(s) each, "
        f"{found.num_steps:,} "
        f"steps in {config.optimisation.epochs} epoch(s)",
        f"{found.measured_steps} steps measured: {_time(found.step_s)} each, "
        f"{found.images_per_second:,.0f} images/s, {100 * found.wait_share:.1f} % of the time "
        "waiting for views",
        f"memory: {found.peak_memory_mib:,.0f} MiB at most; a checkpoint takes "
        f"{found.checkpoint_mib:,.1f} MiB",
    ]
    if found.first_step:
        lines.append(f"{found.first_step:,} steps are done already")
    if config.run.seeds > 1:
        left += (config.run.seeds - 1) * whole
        lines.append(f"{config.run.seeds} runs, one after another")
    end = datetime.datetime.now() + datetime.timedelta(seconds=left)
    return [
        *lines,
        f"about {_time(left)} of training left: until {end:%Y-%m-%d %H:%M} if begun now",
    ]


def _time(seconds: float) -> str:
    """A stretch of time in the unit that suits it."""
    for unit, size, most in (("ms", 0.001, 1.0), ("s", 1.0, 90.0), ("min", 60.0, 5400.0)):
        if seconds < most:
            return f"{seconds / size:.3g} {unit}"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
