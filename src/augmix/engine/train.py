"""The loop: one step is one walk.

A step is ids -> images -> plan -> views (made ahead on threads) -> loss -> backward -> update. What
a step does depends on (seed, step) and the number of processes alone, so a run that was stopped
anywhere and started again ends with the same weights, bit for bit on the CPU. Of several processes
each makes its own images' views and learns from them; process 0 keeps the run folder.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64

from augmix import ranks, records
from augmix.augment.render import render
from augmix.data.batches import BatchOrder
from augmix.data.sources import Source
from augmix.engine import checkpoint
from augmix.engine.checkpoint import Interrupted
from augmix.engine.keeping import Keeper
from augmix.engine.learning import Learner, open_learner
from augmix.engine.mishaps import explained
from augmix.engine.progress import OnProgress, ignore, run_ahead
from augmix.engine.recipe import Recipe
from augmix.engine.resident import make_images, make_plans, open_device_views
from augmix.engine.stopping import signals_caught, written_soon
from augmix.engine.tally import Tally
from augmix.methods import Method
from augmix.models.build import save_model
from augmix.models.layers import Classifier
from augmix.streams import Purpose, Stream

_AVERAGED_STEPS = 200  # at most, whose views an average's batch norm is measured on

Finish = Callable[[Any], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What the model learns from in one step.

    Attributes:
        views: In [0, 1]; the clean view comes first where the method has one.
        targets: Class of every image, or rows of class probabilities where images are paired.
    """

    views: Float32[np.ndarray, "view batch channel height width"]
    targets: Int64[np.ndarray, " batch"] | Float32[np.ndarray, "batch label"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """How the views of a run come about, step by step.

    Attributes:
        make: Rooms 1 to 4, or what of them needs no device; any thread may run any step.
        finish: What it made -> views and targets where the model is.
        executor: What renders them, for people to read.
    """

    make: Callable[[int], Any]
    finish: Finish
    executor: str


def train(
    model: Classifier,
    method: Method,
    source: Source,
    *,
    recipe: Recipe,
    folder: Path,
    identity: Mapping[str, Any],
    device: torch.device,
    on_progress: OnProgress | None = None,
) -> None:
    """Train a model into a run folder, or continue the run the folder holds.

    The caller holds the folder's lock. Interrupt and termination signals let the step end, write a
    checkpoint and raise `Interrupted`; a second one stops at once. On a CPU, a step that goes on
    for a moment after the signal has the state from before it written meanwhile.

    Args:
        model: Takes `batch channel height width` in [0, 1] and gives logits; trained in place.
        method: Policy, objective and number of views.
        source: The training images.
        recipe: How the model is optimised.
        folder: The run folder; gets `state.pt`, `log.jsonl` and at the end the weights.
        identity: What makes the run this run; continued only where it is equal.
        device: Where the model computes.
        on_progress: Called with a dict after every step, log line and checkpoint.

    Raises:
        ResumeError: If the folder holds another run.
        Interrupted: If a signal stopped the run.
        RunError: If the loss is no longer finite, memory does not suffice, another process of the
            run has ended, or a file cannot be written.
    """
    emit = on_progress or ignore
    order = open_order(source, recipe)
    learner = open_learner(model, method, recipe=recipe, device=device)
    num_steps = recipe.epochs * order.steps_per_epoch
    tally = _start(folder, learner, identity)
    if tally.step == num_steps and ranks.any_rank(_has_weights(folder)):
        emit({"event": "finished", "folder": str(folder), "step": num_steps, "already": True})
        return
    views = open_views(source, method, order, recipe, device)
    emit(
        {
            "event": "start",
            "step": tally.step,
            "num_steps": num_steps,
            "folder": str(folder),
            "executor": views.executor,
        }
    )
    keeper = Keeper(folder=folder, learner=learner, identity=identity, tally=tally)
    is_slow = device.type == "cpu"  # only there a step takes seconds
    soon = written_soon(keeper.write_marked) if is_slow else nullcontext()
    steps = range(tally.step, num_steps)
    ahead = run_ahead(views.make, steps, num_threads=recipe.num_threads)
    with signals_caught() as caught, soon, closing(ahead) as batches:
        for step in steps:
            began = perf_counter()
            batch = next(batches)
            waited = perf_counter() - began
            seed_torch(recipe.seed, step)
            num_images, rate = order.count(step), recipe.rate(step, order.steps_per_epoch)
            with explained(recipe, device):
                images, targets = views.finish(batch)
                loss = learner.backward(images, targets, num_images)
            with keeper.guard:  # until the weights and all sums are those of after the step
                with explained(recipe, device):
                    learner.update(rate)
                tally.add(loss, targets, num_images)
                done = tally.step
                is_logged = done % order.steps_per_epoch == 0 or done % recipe.log_every == 0
                is_due = done % recipe.checkpoint_every == 0 or done == num_steps
                if is_logged or is_due or is_slow:
                    tally.settle()
                tally.clock(perf_counter() - began, waited, num_images)
                if is_logged:
                    record = tally.line(
                        epoch=done / order.steps_per_epoch, rate=rate, device=device
                    )
                    keeper.log(record)
                    emit({"event": "log", "num_steps": num_steps, **record})
                emit({"event": "step", "step": done, "num_steps": num_steps})
                is_stopped = ranks.any_rank(bool(caught)) and done < num_steps
                if is_due or is_stopped:
                    keeper.save()
                    emit({"event": "checkpoint", "step": done, "num_steps": num_steps})
                if is_slow:
                    keeper.mark()
            if is_stopped:
                raise Interrupted(
                    f"stopped by {caught[0] if caught else 'another process'} after step {done} of "
                    f"{num_steps}; start the same command again to continue the run in {folder}"
                )
    with explained(recipe, device):
        finished = learner.finish(_views_after(views, order, num_steps))
    if ranks.rank() == 0:
        save_model(folder, finished)
    emit({"event": "finished", "folder": str(folder), "step": num_steps, "already": False})


def open_order(source: Source, recipe: Recipe) -> BatchOrder:
    """Which images this process learns from at every step.

    Raises:
        ValueError: If a step would have fewer images than there are processes.
    """
    return BatchOrder(
        num_images=len(source),
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        rank=ranks.rank(),
        world_size=ranks.world_size(),
    )


def open_views(
    source: Source, method: Method, order: BatchOrder, recipe: Recipe, device: torch.device
) -> Views:
    """What makes the views of a run: the device where it does, else this process's threads."""
    made = open_device_views(source, method, order, recipe, device)
    if made:
        return Views(make=made.draw, finish=made.finish, executor=made.executor)
    return Views(
        make=make_batches(source, method, order, recipe),
        finish=_sender(device, recipe.channels_last),
        executor=recipe.executor,
    )


def make_batches(
    source: Source,
    method: Method,
    order: BatchOrder,
    recipe: Recipe,
) -> Callable[[int], Batch]:
    """Rooms 1 to 4 of the walk as a function of the step; any thread may run any step."""
    plans = make_plans(source, method, order, recipe.seed)
    load = make_images(source, order, recipe.seed)

    def make(step: int) -> Batch:
        plan, targets = plans(step)
        views = render(load(step, plan.ids), plan, executor=recipe.executor)
        return Batch(views=views, targets=targets)

    return make


def seed_torch(seed: int, step: int) -> None:
    """Set torch's generators to the address of a step, from which dropout draws.

    Processes draw for their own images, each at an address of its own.
    """
    stream = Stream(seed=seed).at(Purpose.TORCH, epoch=ranks.rank())
    torch.manual_seed(int(stream.generator(step).integers(2**63)))


def _views_after(views: Views, order: BatchOrder, num_steps: int) -> Iterator[torch.Tensor]:
    """Views of the steps that would follow the last one, as flat batches."""
    count = min(order.steps_per_epoch, _AVERAGED_STEPS)
    for step in itertools.islice(itertools.count(num_steps), count):
        yield views.finish(views.make(step))[0].flatten(0, 1)


def _start(folder: Path, learner: Learner, identity: Mapping[str, Any]) -> Tally:
    """The run's state from its folder; a new run leaves its first checkpoint there at once.

    So a folder that cannot be written is found before any work is done.
    """
    ranks.agree(json.dumps(records.to_plain(dict(identity)), sort_keys=True), "configuration")
    state = checkpoint.load_state(folder)
    if state is not None:
        checkpoint.check_identity(state, identity, folder)
        learner.restore(state)
    tally = Tally(step=state.step, **state.tally) if state else Tally()
    if ranks.rank() == 0:
        if state is None:
            first = learner.capture(0, identity, tally.to_plain())
            checkpoint.write_state(folder, first)
        _cut_log(folder, tally.step)
    return tally


def _cut_log(folder: Path, step: int) -> None:
    """Drop the log lines after a step, which the continued run writes again."""
    path = folder / records.LOG_FILE
    lines = [line for line in records.load_lines(path) if line["step"] <= step]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    records.write_bytes(path, text.encode())


def _has_weights(folder: Path) -> bool:
    return ranks.rank() == 0 and all(
        (folder / name).exists() for name in (records.WEIGHTS_FILE, records.MODEL_FILE)
    )


def _sender(device: torch.device, channels_last: bool) -> Finish:
    """What sends a batch made on the CPU to the device."""
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def send(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        flat = torch.from_numpy(batch.views).flatten(0, 1)  # (view batch) channel height width
        moved = flat.to(device, memory_format=layout).unflatten(0, batch.views.shape[:2])
        return moved, torch.from_numpy(batch.targets).to(device)

    return send
