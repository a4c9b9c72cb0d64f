"""What a run will take, told by some of its own steps; nothing is written."""

import itertools
import statistics
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter

import torch

from augmix.data.batches import BatchOrder
from augmix.data.sources import Source
from augmix.engine.devices import peak_memory_mib
from augmix.engine.learning import Learner, open_learner
from augmix.engine.mishaps import explained
from augmix.engine.progress import run_ahead
from augmix.engine.recipe import Recipe
from augmix.engine.train import Views, open_order, open_views, seed_torch
from augmix.methods import Method
from augmix.models.layers import Classifier

WARM_UP_STEPS = 3  # compile, tune and fill caches
MEASURED_STEPS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
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
    recipe: Recipe,
    device: torch.device,
    first_step: int = 0,
) -> Forecast:
    """Take the first steps of a run, or those it would go on with, and tell what all will take.

    Args:
        model: Trained for these steps, in place.
        method: Policy, objective and number of views.
        source: The training images.
        recipe: How the model is optimised.
        device: Where the model computes.
        first_step: Steps that are done already.

    Raises:
        RunError: If memory does not suffice, or torch cannot do what the recipe asks for.
        ValueError: If no step is left.
    """
    order = open_order(source, recipe)
    num_steps = recipe.epochs * order.steps_per_epoch
    if first_step >= num_steps:
        raise ValueError(f"the run is complete: all {num_steps} steps are done")
    learner = open_learner(model, method, recipe=recipe, device=device)
    views = open_views(source, method, order, recipe, device)
    count = WARM_UP_STEPS + MEASURED_STEPS
    steps = itertools.islice(itertools.cycle(range(first_step, num_steps)), count)
    paces = list(take_steps(learner, views, order, steps))[WARM_UP_STEPS:]
    step_s = statistics.median(pace.elapsed_s for pace in paces)
    mean_images = len(source) / order.steps_per_epoch
    return Forecast(
        num_images=len(source),
        num_views=method.num_views + method.has_clean,
        num_parameters=sum(values.numel() for values in learner.model.parameters()),
        steps_per_epoch=order.steps_per_epoch,
        num_steps=num_steps,
        first_step=first_step,
        measured_steps=len(paces),
        step_s=step_s,
        images_per_second=mean_images / step_s,
        wait_share=sum(pace.waited_s for pace in paces) / sum(pace.elapsed_s for pace in paces),
        peak_memory_mib=peak_memory_mib(device),
        checkpoint_mib=_checkpoint_bytes(learner) / 2**20,
        executor=views.executor,
    )


def take_steps(
    learner: Learner, views: Views, order: BatchOrder, steps: Iterable[int]
) -> Generator[Pace]:
    """Take steps of a run one by one, each timed to the end of the device's work.

    Args:
        learner: What learns; changed.
        views: How its views come about.
        order: Which images a step has.
        steps: Numbers of the steps, counted from the start of the run.
    """
    recipe, device = learner.recipe, learner.device
    steps, made = itertools.tee(steps)
    ahead = run_ahead(views.make, made, num_threads=recipe.num_threads)
    with closing(ahead) as batches:
        for step in steps:
            began = perf_counter()
            batch = next(batches)
            waited = perf_counter() - began
            seed_torch(recipe.seed, step)
            num_images = order.count(step)
            with explained(recipe, device):
                images, targets = views.finish(batch)
                rate = recipe.rate(step, order.steps_per_epoch)
                learner.learn(images, targets, num_images, rate)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
            yield Pace(elapsed_s=perf_counter() - began, waited_s=waited, num_images=num_images)


def _checkpoint_bytes(learner: Learner) -> int:
    """All numbers that a checkpoint keeps."""
    kept = [*learner.model.state_dict().values()]
    for state in learner.optimizer.state.values():
        kept += [values for values in state.values() if isinstance(values, torch.Tensor)]
    if learner.average is not None:
        kept += learner.average.state_dict().values()
    return sum(values.numel() * values.element_size() for values in kept)
