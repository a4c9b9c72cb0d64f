"""The loop: one step is one walk.

A step is ids -> images -> plan -> views (made ahead on threads) -> loss -> backward -> update. What
a step does depends on (seed, step) alone, so a run that was stopped anywhere and started again ends
with the same weights, bit for bit on the CPU.
"""

import json
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import nn

from augmix import records
from augmix.augment.render import render
from augmix.data.batches import BatchOrder
from augmix.data.sources import Source
from augmix.engine import checkpoint
from augmix.engine.checkpoint import Interrupted
from augmix.engine.progress import OnProgress, ignore, run_ahead
from augmix.engine.recipe import Recipe
from augmix.engine.resident import make_images, make_plans, open_device_views
from augmix.methods import Method
from augmix.models.build import save_model
from augmix.models.layers import Classifier
from augmix.objectives import Loss
from augmix.records import RunError


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What the model learns from in one step.

    Attributes:
        views: In [0, 1]; the clean view comes first where the method has one.
        targets: Class of every image, or rows of class probabilities where images are paired.
    """

    views: Float32[np.ndarray, "view batch channel height width"]
    targets: Int64[np.ndarray, " batch"] | Float32[np.ndarray, "batch label"]


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
    checkpoint and raise `Interrupted`; a second one stops at once.

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
        RunError: If the loss is no longer finite, or a file cannot be written.
    """
    emit = on_progress or ignore
    model.to(device).train()
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.peak,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
    )
    order = BatchOrder(num_images=len(source), batch_size=recipe.batch_size, seed=recipe.seed)
    num_steps = recipe.epochs * order.steps_per_epoch
    tally = _start(folder, model, optimizer, identity)
    if tally.step == num_steps and _has_weights(folder):
        emit({"event": "finished", "folder": str(folder), "step": num_steps, "already": True})
        return
    resident = open_device_views(source, method, order, recipe, device)
    emit(
        {
            "event": "start",
            "step": tally.step,
            "num_steps": num_steps,
            "folder": str(folder),
            "executor": resident.executor if resident else recipe.executor,
        }
    )

    def save() -> None:
        tally.settle()
        _check_weights(model, tally.step)
        state = checkpoint.capture(
            tally.step, model, optimizer, identity=identity, tally=tally.to_plain()
        )
        checkpoint.write_state(folder, state)
        emit({"event": "checkpoint", "step": tally.step, "num_steps": num_steps})

    make: Callable[[int], Any] = make_batches(source, method, order, recipe)
    finish: Callable[[Any], tuple[torch.Tensor, torch.Tensor]]
    finish = _sender(device, recipe.channels_last)
    if resident:
        make, finish = resident.draw, resident.finish
    steps = range(tally.step, num_steps)
    ahead = run_ahead(make, steps, num_threads=recipe.num_threads)
    with _signals_caught() as caught, closing(ahead) as batches:
        for step in steps:
            began = perf_counter()
            batch = next(batches)
            waited = perf_counter() - began
            rate = recipe.rate(step, order.steps_per_epoch)
            views, targets = finish(batch)
            loss = _learn(model, optimizer, method, views, targets, rate, recipe)
            tally.add(loss, targets)
            done = tally.step
            is_epoch_end = done % order.steps_per_epoch == 0
            is_logged = is_epoch_end or done % recipe.log_every == 0
            is_due = done % recipe.checkpoint_every == 0 or done == num_steps
            if is_logged or is_due or device.type == "cpu":
                tally.settle()
            tally.clock(perf_counter() - began, waited, len(targets))
            if is_logged:
                record = tally.line(epoch=done / order.steps_per_epoch, rate=rate)
                records.append_line(folder / records.LOG_FILE, record)
                emit({"event": "log", "num_steps": num_steps, **record})
            emit({"event": "step", "step": done, "num_steps": num_steps})
            is_stopped = bool(caught) and done < num_steps
            if is_due or is_stopped:
                save()
            if is_stopped:
                raise Interrupted(
                    f"stopped by {caught[0]} after step {done} of {num_steps}; start the same "
                    f"command again to continue the run in {folder}"
                )
    save_model(folder, model)
    emit({"event": "finished", "folder": str(folder), "step": num_steps, "already": False})


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


@dataclass(kw_only=True)
class _Tally:
    """Steps done and the sums since the last log line.

    Losses stay on the device until they are settled, so that a step need not wait for the device.
    The times are this process's own and do not count as state, but for `seconds`.
    """

    step: int = 0
    images: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    pending: list[tuple[int, int, tuple[str, ...], torch.Tensor]] = field(default_factory=list)
    elapsed: float = 0.0
    waited: float = 0.0
    seen: int = 0

    def add(self, loss: Loss, targets: torch.Tensor) -> None:
        """Count one more step.

        Where targets are probabilities, a prediction is right by the probability of its class.
        """
        self.step += 1
        with torch.no_grad():
            predicted = loss.logits.argmax(dim=1)
            if targets.is_floating_point():
                errors = 1 - targets.gather(1, predicted[:, None]).mean()
            else:
                errors = (predicted != targets).float().mean()
            names = ("loss", "error", *loss.terms)
            values = [loss.total.detach(), errors, *(term.detach() for term in loss.terms.values())]
            stacked = torch.stack([value.float().reshape(()) for value in values])
        self.pending.append((self.step, len(targets), names, stacked))

    def settle(self) -> None:
        """Fetch the pending losses from the device, in the order of the steps."""
        for step, images, names, stacked in self.pending:
            values = stacked.tolist()
            if not all(map(math.isfinite, values)):
                shown = ", ".join(f"{n} {v:g}" for n, v in zip(names, values, strict=True))
                raise RunError(
                    f"the loss is no longer finite at step {step} ({shown}); the last checkpoint "
                    "is from before it: start anew with a smaller --learning-rate in another --out"
                )
            self.images += images
            for name, value in zip(names, values, strict=True):
                self.sums[name] = self.sums.get(name, 0.0) + value * images
        self.pending.clear()

    def clock(self, elapsed: float, waited: float, images: int) -> None:
        """Count the time of a step, in seconds."""
        self.seconds += elapsed
        self.elapsed += elapsed
        self.waited += waited
        self.seen += images

    def line(self, *, epoch: float, rate: float) -> dict[str, Any]:
        """The log line of the steps since the last one; starts the sums anew."""
        means = {name: total / self.images for name, total in self.sums.items()}
        loss, error = means.pop("loss"), means.pop("error")
        record = {
            "step": self.step,
            "epoch": epoch,
            "loss": loss,
            "terms": means,
            "learning_rate": rate,
            "train_error": error,
            "images_per_second": self.seen / self.elapsed,
            "wait_share": self.waited / self.elapsed,
            "seconds": self.seconds,
        }
        self.images, self.sums = 0, {}
        self.elapsed = self.waited = 0.0
        self.seen = 0
        return record

    def to_plain(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"images": self.images, "sums": dict(self.sums), "seconds": self.seconds}


def _start(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, identity: Mapping[str, Any]
) -> _Tally:
    """The run's state from its folder; a new run leaves its first checkpoint there at once.

    So a folder that cannot be written is found before any work is done.
    """
    state = checkpoint.load_state(folder)
    if state is None:
        first = checkpoint.capture(
            0, model, optimizer, identity=identity, tally=_Tally().to_plain()
        )
        checkpoint.write_state(folder, first)
        _cut_log(folder, 0)
        return _Tally()
    checkpoint.check_identity(state, identity, folder)
    checkpoint.restore(state, model, optimizer)
    _cut_log(folder, state.step)
    return _Tally(step=state.step, **state.tally)


def _cut_log(folder: Path, step: int) -> None:
    """Drop the log lines after a step, which the continued run writes again."""
    path = folder / records.LOG_FILE
    lines = [line for line in records.load_lines(path) if line["step"] <= step]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    records.write_bytes(path, text.encode())


def _has_weights(folder: Path) -> bool:
    return all((folder / name).exists() for name in (records.WEIGHTS_FILE, records.MODEL_FILE))


def _learn(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    method: Method,
    views: Float32[torch.Tensor, "view batch channel height width"],
    targets: torch.Tensor,
    rate: float,
    recipe: Recipe,
) -> Loss:
    """Rooms 5 and 6: loss, backward, update, where the views are."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast(views.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        loss = method.objective(model, views, targets)
    optimizer.zero_grad(set_to_none=True)
    loss.total.backward()
    optimizer.step()
    return loss


def _sender(
    device: torch.device, channels_last: bool
) -> Callable[[Batch], tuple[torch.Tensor, torch.Tensor]]:
    """What sends a batch made on the CPU to the device."""
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def send(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        flat = torch.from_numpy(batch.views).flatten(0, 1)  # (view batch) channel height width
        moved = flat.to(device, memory_format=layout).unflatten(0, batch.views.shape[:2])
        return moved, torch.from_numpy(batch.targets).to(device)

    return send


def _check_weights(model: nn.Module, step: int) -> None:
    """Refuse to checkpoint weights that are lost, so that the good checkpoint stays."""
    for name, values in model.state_dict().items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise RunError(
                f"{name} is no longer finite after step {step}; the last checkpoint is from before "
                "it: start anew with a smaller --learning-rate in another --out"
            )


@contextmanager
def _signals_caught() -> Iterator[list[str]]:
    """A list that gets the name of the first signal that asks this process to stop.

    The second signal of a kind does what it did before. Only the main thread may catch signals;
    elsewhere the list stays empty.
    """
    caught: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def catch(number: int, frame: Any) -> None:
        caught.append(signal.Signals(number).name)
        signal.signal(number, earlier[signal.Signals(number)])

    for number in earlier:
        signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
