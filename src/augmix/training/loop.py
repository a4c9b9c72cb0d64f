"""The training loop.

The first signal lets the step end. A step on a CPU can take longer than a machine that is being
taken away gives; so a thread of its own, woken by the signal even while torch computes, writes down
the state from before the step when the step has not ended after a moment.

A step is ids -> images -> plan -> views (made ahead on threads) -> loss -> backward -> update. What
a step does depends on (seed, step) and the number of processes alone, so a run that was stopped
anywhere and started again ends with the same weights, bit for bit on the CPU. Of several processes
each makes its own images' views and learns from them; process 0 keeps the run folder.
"""

import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import nn

from augmix import distributed, files, results
from augmix.augment import render
from augmix.data.batches import BatchOrder, run_ahead
from augmix.data.sources import Source
from augmix.errors import Interrupted, RunError, first_line
from augmix.methods import Method
from augmix.models.layers import Classifier
from augmix.models.weights import save_model
from augmix.progress import (
    CheckpointWritten,
    OnProgress,
    StepFinished,
    StepsLogged,
    TrainingFinished,
    TrainingStarted,
    ignore,
)
from augmix.rng import Purpose, Stream
from augmix.training import checkpoint
from augmix.training.config import OptimisationConfig, TrainConfig
from augmix.training.logging import Tally
from augmix.training.pipeline import make_images, make_plans, open_device_views
from augmix.training.step import Learner, open_learner

GRACE_S = 1.5  # what a step gets to end by itself
_ASKED_BY = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_caught() -> Iterator[list[str]]:
    """A list that gets the name of the first signal that asks this process to stop.

    The second signal of a kind does what it did before. Only the main thread may catch signals;
    elsewhere the list stays empty.
    """
    caught: list[str] = []
    if not _is_main_thread():
        yield caught
        return
    earlier = {number: signal.getsignal(number) for number in _ASKED_BY}

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


@contextmanager
def written_soon(write: Callable[[], None], *, grace_s: float = GRACE_S) -> Iterator[None]:
    """Inside, ``write`` is called on a thread if the block goes on for a moment after a signal.

    Args:
        write: Called at most once; an error in it is dropped, since whoever gets the signal writes
            too, and tells.
        grace_s: How long after the signal, in seconds.
    """
    if not _is_main_thread() or os.name == "nt":  # there, a signal wakes no other thread
        yield
        return
    told, bell = os.pipe()
    os.set_blocking(bell, False)
    ended = threading.Event()

    def wait() -> None:
        rung = 0
        while rung not in _ASKED_BY and not ended.is_set():  # other signals ring too
            rung = os.read(told, 1)[0]
        if not ended.wait(grace_s):
            try:
                write()
            except Exception:  # the step's own writing meets the same and tells
                return

    earlier = signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
    watcher = threading.Thread(target=wait, name="augmix-stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier)
        ended.set()
        os.write(bell, b"\0")
        watcher.join()
        os.close(bell)
        os.close(told)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


_CPU_IS_FULL = "can't allocate memory"  # DefaultCPUAllocator
_NOT_DETERMINISTIC = "does not have a deterministic implementation"
_COMPILERS = ("torch._dynamo", "torch._inductor")


@contextmanager
def explained(optimisation: OptimisationConfig, device: torch.device) -> Iterator[None]:
    """Inside, errors of torch about memory, compiling, determinism and other processes become
    `RunError`.

    Args:
        optimisation: Its numbers; the message says which to change.
        device: Where.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise RunError(_no_memory(optimisation, device, error)) from error
    except Exception as error:
        text = str(error)
        if distributed.is_lost(error):
            raise distributed.lost(error) from error
        if isinstance(error, RuntimeError) and _CPU_IS_FULL in text:
            raise RunError(_no_memory(optimisation, device, error)) from error
        if isinstance(error, RuntimeError) and _NOT_DETERMINISTIC in text:
            raise RunError(
                f"no deterministic form of this network's step on {device.type} "
                f"({first_line(error)}); leave out --deterministic"
            ) from error
        if optimisation.compile and type(error).__module__.startswith(_COMPILERS):
            raise RunError(
                f"torch.compile cannot build this step here ({first_line(error)}); leave out "
                "--compile"
            ) from error
        raise


def _no_memory(optimisation: OptimisationConfig, device: torch.device, error: BaseException) -> str:
    batch, parts = optimisation.batch_size, optimisation.accumulate
    least = "" if batch == 1 else f", or a --batch-size of {batch // 2}"
    return (
        f"{device} has too little memory for a step of {batch} images in {parts} part(s): take "
        f"--accumulate {2 * parts}, the same step in half the memory (batch norm then sees a part "
        f"at a time){least}; the last checkpoint is kept ({first_line(error)})"
    )


@dataclass(kw_only=True)
class Keeper:
    """Writes for a run; of several processes, process 0 alone writes.

    During a step, forward and backward change nothing of the run's state but buffers (the running
    statistics of batch norm). So the state of the last `mark` is the learner as it is, with the
    buffers kept at the mark, as long as ``guard`` is held around everything else.

    Attributes:
        folder: The run folder.
        learner: Whose state is written.
        identity: What the run was started with.
        tally: Steps done and sums since the last log line.
        guard: Held while the learner or the tally changes, or a state is written.
    """

    folder: Path
    learner: Learner
    identity: Mapping[str, Any]
    tally: Tally
    guard: threading.Lock = field(default_factory=threading.Lock)
    _marked: tuple[int, dict[str, Any], dict[str, torch.Tensor]] | None = None

    def log(self, record: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        if distributed.rank() == 0:
            files.append_line(self.folder / results.LOG_FILE, dict(record))

    def save(self) -> None:
        """Write the state of now; the caller holds the guard.

        Raises:
            RunError: If weights are no longer finite, or the file cannot be written.
        """
        self.tally.settle()
        _check_weights(self.learner.model, self.tally.step)
        if distributed.rank() == 0:
            state = self.learner.capture(self.tally.step, self.identity, self.tally.to_plain())
            checkpoint.write_state(self.folder, state)

    def mark(self) -> None:
        """Keep what a step under way changes; the caller holds the guard."""
        if distributed.rank() == 0:
            buffers = {name: values.clone() for name, values in self.learner.model.named_buffers()}
            self._marked = (self.tally.step, self.tally.to_plain(), buffers)

    def write_marked(self) -> None:
        """Write the state of the last mark; from another thread, during a step.

        Raises:
            RunError: If weights are no longer finite, or the file cannot be written.
        """
        with self.guard:
            if self._marked is None:  # the first step: its state is on the disk already
                return
            step, tally, buffers = self._marked
            _check_weights(self.learner.model, step)
            state = self.learner.capture(step, self.identity, tally)
            model = {name: buffers.get(name, values) for name, values in state.model.items()}
            checkpoint.write_state(self.folder, replace(state, model=model))


def _check_weights(model: nn.Module, step: int) -> None:
    """Refuse to checkpoint weights that are lost, so that the good checkpoint stays."""
    for name, values in model.state_dict().items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise RunError(
                f"{name} is no longer finite after step {step}; the last checkpoint is from before "
                "it: start anew with a smaller --learning-rate in another --out"
            )


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
    config: TrainConfig,
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
        config: The run; its folder gets `state.pt`, `log.jsonl` and at the end the weights.
        identity: What makes the run this run; continued only where it is equal.
        device: Where the model computes.
        on_progress: Called with an event after every step, log line and checkpoint.

    Raises:
        ResumeError: If the folder holds another run.
        Interrupted: If a signal stopped the run.
        RunError: If the loss is no longer finite, memory does not suffice, another process of the
            run has ended, or a file cannot be written.
    """
    emit = on_progress or ignore
    folder, optimisation = config.run.out, config.optimisation
    order = open_order(source, config)
    learner = open_learner(model, method, optimisation=optimisation, device=device)
    num_steps = optimisation.epochs * order.steps_per_epoch
    tally = _start(folder, learner, identity)
    if tally.step == num_steps and distributed.any_rank(_has_weights(folder)):
        emit(TrainingFinished(folder=folder, num_steps=num_steps, was_finished=True))
        return
    views = open_views(source, method, order, config, device)
    emit(
        TrainingStarted(
            folder=folder, step=tally.step, num_steps=num_steps, executor=views.executor
        )
    )
    keeper = Keeper(folder=folder, learner=learner, identity=identity, tally=tally)
    is_slow = device.type == "cpu"  # only there a step takes seconds
    soon = written_soon(keeper.write_marked) if is_slow else nullcontext()
    steps = range(tally.step, num_steps)
    ahead = run_ahead(views.make, steps, num_threads=config.run.num_threads)
    with signals_caught() as caught, soon, closing(ahead) as batches:
        for step in steps:
            began = perf_counter()
            batch = next(batches)
            waited = perf_counter() - began
            seed_torch(config.run.seed, step)
            num_images, rate = order.count(step), optimisation.rate(step, order.steps_per_epoch)
            with explained(optimisation, device):
                images, targets = views.finish(batch)
                loss = learner.backward(images, targets, num_images)
            with keeper.guard:  # until the weights and all sums are those of after the step
                with explained(optimisation, device):
                    learner.update(rate)
                tally.add(loss, targets, num_images)
                done = tally.step
                is_logged = done % order.steps_per_epoch == 0 or done % config.run.log_every == 0
                is_due = done % config.run.checkpoint_every == 0 or done == num_steps
                if is_logged or is_due or is_slow:
                    tally.settle()
                tally.clock(perf_counter() - began, waited, num_images)
                if is_logged:
                    record = tally.line(
                        epoch=done / order.steps_per_epoch, rate=rate, device=device
                    )
                    keeper.log(record)
                    emit(StepsLogged(num_steps=num_steps, record=record))
                emit(StepFinished(step=done, num_steps=num_steps))
                is_stopped = distributed.any_rank(bool(caught)) and done < num_steps
                if is_due or is_stopped:
                    keeper.save()
                    emit(CheckpointWritten(step=done, num_steps=num_steps))
                if is_slow:
                    keeper.mark()
            if is_stopped:
                raise Interrupted(
                    f"stopped by {caught[0] if caught else 'another process'} after step {done} of "
                    f"{num_steps}; start the same command again to continue the run in {folder}"
                )
    with explained(optimisation, device):
        finished = learner.finish(_views_after(views, order, num_steps))
    if distributed.rank() == 0:
        save_model(folder, finished)
    emit(TrainingFinished(folder=folder, num_steps=num_steps))


def open_order(source: Source, config: TrainConfig) -> BatchOrder:
    """Which images this process learns from at every step.

    Raises:
        ValueError: If a step would have fewer images than there are processes.
    """
    return BatchOrder(
        num_images=len(source),
        batch_size=config.optimisation.batch_size,
        seed=config.run.seed,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )


def open_views(
    source: Source, method: Method, order: BatchOrder, config: TrainConfig, device: torch.device
) -> Views:
    """What makes the views of a run: the device where it does, else this process's threads."""
    made = open_device_views(source, method, order, config, device)
    if made:
        return Views(make=made.draw, finish=made.finish, executor=made.executor)
    return Views(
        make=make_batches(source, method, order, config),
        finish=_sender(device, config.optimisation.channels_last),
        executor=config.run.executor,
    )


def make_batches(
    source: Source,
    method: Method,
    order: BatchOrder,
    config: TrainConfig,
) -> Callable[[int], Batch]:
    """Rooms 1 to 4 of the walk as a function of the step; any thread may run any step."""
    plans = make_plans(source, method, order, config.run.seed)
    load = make_images(source, order, config.run.seed)

    def make(step: int) -> Batch:
        plan, targets = plans(step)
        views = render(load(step, plan.ids), plan, executor=config.run.executor)
        return Batch(views=views, targets=targets)

    return make


def seed_torch(seed: int, step: int) -> None:
    """Set torch's generators to the address of a step, from which dropout draws.

    Processes draw for their own images, each at an address of its own.
    """
    stream = Stream(seed=seed).at(Purpose.TORCH, epoch=distributed.rank())
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
    distributed.agree(json.dumps(files.to_plain(dict(identity)), sort_keys=True), "configuration")
    state = checkpoint.load_state(folder)
    if state is not None:
        checkpoint.check_identity(state, identity, folder)
        learner.restore(state)
    tally = Tally(step=state.step, **state.tally) if state else Tally()
    if distributed.rank() == 0:
        if state is None:
            first = learner.capture(0, identity, tally.to_plain())
            checkpoint.write_state(folder, first)
        _cut_log(folder, tally.step)
    return tally


def _cut_log(folder: Path, step: int) -> None:
    """Drop the log lines after a step, which the continued run writes again."""
    path = folder / results.LOG_FILE
    lines = [line for line in files.load_lines(path) if line["step"] <= step]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    files.write_bytes(path, text.encode())


def _has_weights(folder: Path) -> bool:
    return distributed.rank() == 0 and all(
        (folder / name).exists() for name in (results.WEIGHTS_FILE, results.MODEL_FILE)
    )


def _sender(device: torch.device, channels_last: bool) -> Finish:
    """What sends a batch made on the CPU to the device."""
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def send(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        flat = torch.from_numpy(batch.views).flatten(0, 1)  # (view batch) channel height width
        moved = flat.to(device, memory_format=layout).unflatten(0, batch.views.shape[:2])
        return moved, torch.from_numpy(batch.targets).to(device)

    return send
