"""The training loop: steps, signals, errors of torch, checkpoints.

A step is ids -> images -> plan -> views (prepared ahead on threads) -> loss -> backward -> update.
It depends on (seed, step) and the number of processes alone, so a run that was stopped anywhere and
started again ends with the same weights, bit for bit on the CPU. Of several processes each makes
and trains on views of its own images; process 0 keeps the run folder.
"""

import copy
import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor, nn

from augmix import distributed, files, run_folder
from augmix.data.batches import BatchOrder
from augmix.data.inventory import record_images
from augmix.data.sources import Source
from augmix.errors import Interrupted, ResumeError, RunError, first_line, memory_error
from augmix.methods import Method
from augmix.methods.losses import Loss
from augmix.models.batch_norm import is_split
from augmix.models.layers import Classifier
from augmix.models.weights import check_reload, has_whole_model, save_model
from augmix.progress import (
    CheckpointWritten,
    EpochValidated,
    Note,
    OnProgress,
    StepFinished,
    StepsLogged,
    TrainingFinished,
    TrainingStarted,
    ignore,
)
from augmix.rng import Purpose, Stream
from augmix.training import checkpoint
from augmix.training.checkpoint import Checkpointer
from augmix.training.config import OptimisationConfig, TrainConfig
from augmix.training.logging import Cost, Meters, count_cost
from augmix.training.optimizer import describe_training
from augmix.training.pipeline import Pipeline, open_order, open_pipeline, prepare
from augmix.training.step import Learner, offers_checkpointing, open_learner
from augmix.training.validation import Score, Validation, prepare_validation

GRACE_S = 1.5  # time for a step to end after a signal
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AVERAGED_STEPS = 200  # at most, from whose views an average's batch norm is recomputed
_STATISTICS_FRACTION = 0.12  # of an epoch's steps, for the same at a validation


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """All parts of a run before its first step."""

    model: Classifier  # with its start weights, on the CPU; trained in place
    method: Method  # fitted to the images
    source: Source  # all that is trained on
    device: torch.device
    identity: Mapping[str, Any]  # all that decides about the bits of the run
    origin: str = "random weights"  # what the model starts from
    class_weights: Sequence[float] | None = None  # in the loss
    validation: Source | None = None  # images that are measured after each epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A step that was just taken."""

    loss: Loss  # of this process's images, as the targets
    targets: Tensor
    num_images: int  # over all processes
    rate: float
    began: float  # by `perf_counter`
    waited_s: float  # for views that were not ready


def check_smallest_part(run: Prepared, order: BatchOrder, accumulate: int) -> None:
    """Refuse a single image in a step if batch norm of the model cannot be trained on it.

    That is so where its maps have one pixel. The last batch of an epoch is the smallest one.

    Raises:
        RunError: Naming a batch size without such a step.
    """
    sizes = {order.batch_size, order.count(order.steps_per_epoch - 1)}
    num_views = 1 if is_split(run.model) else run.method.num_views + run.method.has_clean
    smallest = min(size // min(accumulate, size) for size in sizes)
    if smallest * num_views > 1 or distributed.world_size() > 1:
        return
    images = torch.zeros(1, run.source.channels, *run.source.size, device=run.device)
    try:
        with torch.no_grad():
            copy.deepcopy(run.model).train()(images)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        better = range(order.batch_size + 1, order.batch_size + order.num_images + 2)
        size = next(each for each in better if order.num_images % each != 1)
        raise RunError(
            "a step would have one image, on which this network's batch norm cannot be trained "
            f"(its last maps have one pixel): {order.num_images:,} images in batches of "
            f"{order.batch_size}{f' in {accumulate} parts' if accumulate > 1 else ''}; choose "
            f"another --batch-size, e.g. {size}" + (", and --accumulate 1" * (accumulate > 1))
        ) from error


def open_run_learner(run: Prepared, optimisation: OptimisationConfig) -> Learner:
    """The learner of a run; its model is trained in place."""
    return open_learner(
        run.model,
        run.method,
        optimisation=optimisation,
        device=run.device,
        class_weights=run.class_weights,
    )


def train_model(
    run: Prepared, config: TrainConfig, *, on_progress: OnProgress | None = None
) -> None:
    """Train a model into a run folder, or continue the run the folder holds.

    The folder gets `state.pt`, `log.jsonl` and at the end the weights; ``on_progress`` is called
    with an event after every step, log line and checkpoint.

    The caller holds the folder's lock. Interrupt and termination signals let the step end, write a
    checkpoint and raise `Interrupted`; a second one stops at once. If a step on a CPU has not ended
    a moment after the signal, the state from before it is written meanwhile.

    Raises:
        ResumeError: If the folder holds another run.
        Interrupted: If a signal stopped the run.
        RunError: If the loss is no longer finite, memory does not suffice, another process of the
            run has ended, or a file cannot be written.
    """
    training = _restore(run, config, on_progress or ignore)
    folder, meters = config.run.out, training.meters
    has_model = distributed.any_rank(distributed.rank() == 0 and has_whole_model(folder))
    if training.is_over and has_model:
        training.emit(TrainingFinished(folder=folder, num_steps=meters.step, was_finished=True))
        return
    training.announce(has_model)
    training.take_steps()
    training.keep_model()
    training.emit(TrainingFinished(folder=folder, num_steps=meters.step))


def _restore(run: Prepared, config: TrainConfig, emit: OnProgress) -> "_Training":
    """A run at the step where its folder left it."""
    order = open_order(run.source, config)
    learner = open_run_learner(run, config.optimisation)
    num_steps = config.optimisation.epochs * order.steps_per_epoch
    check_smallest_part(run, order, config.optimisation.accumulate)
    meters = _start(config.run.out, learner, run, order, num_steps)
    return _Training(
        run=run,
        config=config,
        emit=emit,
        order=order,
        learner=learner,
        num_steps=num_steps,
        meters=meters,
    )


@dataclass(kw_only=True, eq=False)
class _Training:
    """A run from the step it is at to its last one."""

    run: Prepared
    config: TrainConfig
    emit: OnProgress
    order: BatchOrder
    learner: Learner
    num_steps: int
    meters: Meters  # the step it is at, and all that was counted
    signals: list[str] = field(default_factory=list)  # that asked this process to stop

    @cached_property
    def cost(self) -> Cost:
        """What an image costs."""
        source, model, device = self.run.source, self.run.model, self.run.device
        with self._explained():
            return count_cost(
                model, self.run.method, size=source.size, channels=source.channels, device=device
            )

    @cached_property
    def validation(self) -> Validation | None:
        """What is measured after each epoch."""
        if self.run.validation is None:
            return None
        return prepare_validation(
            self.run.validation,
            self.config,
            self.run.method,
            num_train=self.order.num_images,
            is_trained=_is_trained(self.learner.model),
        )

    @cached_property
    def pipeline(self) -> Pipeline:
        """What makes the views."""
        run = self.run
        return open_pipeline(run.source, run.method, self.order, self.config, run.device)

    @cached_property
    def checkpointer(self) -> Checkpointer:
        """What writes `state.pt`."""
        return Checkpointer(
            folder=self.config.run.out,
            model=self.learner.model,
            capture=self.learner.capture,
            identity=self.run.identity,
        )

    @property
    def is_slow(self) -> bool:
        """Whether a step can take seconds."""
        return self.run.device.type == "cpu"

    @property
    def is_unvalidated(self) -> bool:
        """Whether the run is between the last step of an epoch and its validation."""
        return self.run.validation is not None and _is_due(self.meters, self.order)

    @property
    def is_over(self) -> bool:
        """Whether no step is left, and the last epoch was validated."""
        if self.is_unvalidated:
            return False
        patience, meters = self.config.validation.patience, self.meters
        is_stale = patience is not None and meters.validated - meters.selected >= patience
        return meters.step == self.num_steps or (self.run.validation is not None and is_stale)

    def announce(self, has_model: bool) -> None:
        """Say what is trained, what it costs, and what is measured.

        Raises:
            RunError: If the weights of the selected epoch are gone.
        """
        for line in describe_training(self.run.model, self.config.optimisation):
            self.emit(Note(text=line))
        num_images = count_images(self.order, self.num_steps)
        self.emit(Note(text=self.cost.describe(num_images)))
        folder, meters = self.config.run.out, self.meters
        if self.run.validation is not None and meters.selected and not has_model:
            raise RunError(
                f"{folder / run_folder.WEIGHTS_FILE} with the weights of the selected epoch "
                f"{meters.selected} is gone, and {run_folder.STATE_FILE} has those of the last "
                "one; put it back, or train again in another --out"
            )
        if self.validation is not None:
            self.emit(Note(text=self.validation.describe()))
        self.emit(
            TrainingStarted(
                folder=folder,
                step=meters.step,
                num_steps=self.num_steps,
                executor=self.pipeline.executor,
            )
        )

    def take_steps(self) -> None:
        """Take the steps that are left, until the run is over.

        Raises:
            Interrupted: If a signal stopped it.
        """
        write_marked = self.checkpointer.write_marked
        in_time = write_after_signal(write_marked) if self.is_slow else nullcontext()
        steps = take_steps(
            self.learner,
            self.pipeline,
            range(self.meters.step, self.num_steps),
            num_threads=self.config.run.num_threads,
            guard=self.checkpointer.guard,  # until weights and meters are those of after the step
        )
        with catch_signals() as self.signals, in_time, closing(steps):
            if self.is_unvalidated:
                last = self.meters.step - 1
                self._log(self.config.optimisation.rate(last, self.order.steps_per_epoch))
                self._save()
            for step in () if self.is_over else steps:
                self._end_step(step)
                if self.is_over:
                    break

    def keep_model(self) -> None:
        """Write the weights of the last step, where no epoch was selected."""
        if self.validation is not None:
            text = f"{run_folder.WEIGHTS_FILE} has the weights of epoch {self.meters.selected}"
            self.emit(Note(text=text))
            return
        seed_torch(self.config.run.seed, self.num_steps)
        with self._explained():
            finished = self.learner.finish(_views_after(self.pipeline, self.num_steps))
        if distributed.rank() == 0:
            save_model(self.config.run.out, cast(Classifier, finished))

    def _end_step(self, step: Step) -> None:
        """Count a step that was taken; log, validate and save where that is due."""
        meters, settings = self.meters, self.config.run
        meters.add(step.loss, step.targets, step.num_images)
        done = meters.step
        is_logged = done % self.order.steps_per_epoch == 0 or done % settings.log_every == 0
        is_due = done % settings.checkpoint_every == 0 or done == self.num_steps
        if is_logged or is_due or self.is_slow:
            meters.settle()
        meters.clock(perf_counter() - step.began, step.waited_s, step.num_images)
        if is_logged:
            self._log(step.rate)
        self.emit(StepFinished(step=done, num_steps=self.num_steps))
        is_stopped = distributed.any_rank(bool(self.signals)) and not self.is_over
        if is_due or is_stopped or self.is_over:
            meters.settle()
            self._save()
            self.emit(CheckpointWritten(step=done, num_steps=self.num_steps))
        if self.is_slow:
            self.checkpointer.mark(done, meters.to_plain())
        if is_stopped:
            raise self._stopped()

    def _log(self, rate: float) -> None:
        """Write the line of the steps since the last one; at the end of an epoch validate."""
        done, steps_per_epoch = self.meters.step, self.order.steps_per_epoch
        self.meters.settle()
        is_end = done % steps_per_epoch == 0
        found = self._validate(self.validation) if self.validation and is_end else {}
        line = self.meters.line(epoch=done / steps_per_epoch, rate=rate, device=self.run.device)
        flop = float(self.cost.flop * count_images(self.order, done))
        record = {**line, "flop": flop, **found}
        if distributed.rank() == 0:
            files.append_line(self.config.run.out / run_folder.LOG_FILE, record)
        self.emit(StepsLogged(num_steps=self.num_steps, record=record))

    def _validate(self, validation: Validation) -> dict[str, Any]:
        """Measure the model so far, keep it if it is the best, and return what the log says."""
        began, meters = perf_counter(), self.meters
        self._save()  # a run that is stopped now validates again
        model, score = self._measure(validation)
        if score is None:
            raise self._stopped()
        trained_s = meters.seconds - meters.validated_at
        if meters.select(validation.key(score)) and distributed.rank() == 0:
            save_model(self.config.run.out, cast(Classifier, model))
        seconds = perf_counter() - began
        record = run_folder.ValidationRecord(
            clean_error=score.clean / len(validation.plan.clean),
            corrupted_error=score.corrupted / len(validation.plan.corrupted),
            selected_epoch=meters.selected,
            seconds=seconds,
            time_fraction=seconds / trained_s if trained_s else 0.0,
        )
        self.emit(
            EpochValidated(
                epoch=meters.validated,
                clean_error=record["clean_error"],
                corrupted_error=record["corrupted_error"],
                selected_epoch=meters.selected,
                time_fraction=record["time_fraction"],
            )
        )
        return {"validation": record}

    def _measure(self, validation: Validation) -> tuple[nn.Module, Score | None]:
        """The model so far and its errors; no errors once a process was asked to stop."""
        learner, done = self.learner, self.meters.step
        count = max(int(_STATISTICS_FRACTION * self.order.steps_per_epoch), 1)
        seed_torch(self.config.run.seed, done)
        with self._explained():
            model = learner.finish(_views_after(self.pipeline, done, count))
            if not self.config.optimisation.sync_batch_norm:
                share_buffers(model)  # those of process 0 are kept
            score = validation.measure(
                model,
                self.run.device,
                autocast=learner.autocast(),
                is_stopped=lambda: bool(self.signals),
            )
        return model, score

    def _save(self) -> None:
        self.checkpointer.save(self.meters.step, self.meters.to_plain())

    def _stopped(self) -> Interrupted:
        return Interrupted(
            f"stopped by {self.signals[0] if self.signals else 'another process'} after step "
            f"{self.meters.step} of {self.num_steps}; start the same command again to continue "
            f"the run in {self.config.run.out}"
        )

    def _explained(self) -> AbstractContextManager[None]:
        return explain_errors(self.config.optimisation, self.run.device, self.learner.model)


def count_images(order: BatchOrder, num_steps: int) -> int:
    """Count the images of the first steps of a run, over all processes."""
    epochs, steps = divmod(num_steps, order.steps_per_epoch)
    return epochs * order.num_images + steps * order.batch_size


def _is_due(meters: Meters, order: BatchOrder) -> bool:
    """Whether the run stopped between the last step of an epoch and its validation."""
    return meters.validated < meters.step // order.steps_per_epoch


def _is_trained(model: nn.Module) -> bool:
    """Whether gradients pass through most of a network."""
    weights = list(model.parameters())
    trained = sum(values.numel() for values in weights if values.requires_grad)
    return 2 * trained > sum(values.numel() for values in weights)


@torch.no_grad()
def share_buffers(model: nn.Module) -> None:
    """Give every process the buffers that process 0 has: running statistics of batch norm."""
    if distributed.world_size() > 1:
        found = distributed.broadcast([values.cpu() for values in model.buffers()])
        for values, first in zip(model.buffers(), found, strict=True):
            values.copy_(first)


def take_steps(
    learner: Learner,
    pipeline: Pipeline,
    steps: Iterable[int],
    *,
    num_threads: int,
    guard: AbstractContextManager[Any] | None = None,
) -> Generator[Step]:
    """Take steps of a run one by one; they are counted from the start of the run.

    The guard is entered before the weights are updated, and left when the next step is asked for.
    """
    optimisation, device, order = learner.optimisation, learner.device, pipeline.order
    steps, prepared = itertools.tee(steps)
    with closing(prepare(pipeline, prepared, num_threads)) as batches:
        for step in steps:
            began = perf_counter()
            batch = next(batches)
            waited_s = perf_counter() - began
            seed_torch(pipeline.stream.seed, step)
            num_images, rate = order.count(step), optimisation.rate(step, order.steps_per_epoch)
            with explain_errors(optimisation, device, learner.model):
                views, targets = pipeline.finish(batch)
                loss = learner.backward(views, targets, num_images)
            with guard or nullcontext():
                with explain_errors(optimisation, device, learner.model):
                    learner.update(rate)
                yield Step(
                    loss=loss,
                    targets=targets,
                    num_images=num_images,
                    rate=rate,
                    began=began,
                    waited_s=waited_s,
                )


def seed_torch(seed: int, step: int) -> None:
    """Set torch's generators to the address of a step, from which dropout draws.

    Processes draw for their own images, each at an address of its own.
    """
    stream = Stream(seed=seed).at(Purpose.TORCH, epoch=distributed.rank())
    torch.manual_seed(int(stream.generator(step).integers(2**63)))


def _views_after(
    pipeline: Pipeline, num_steps: int, most: int = _AVERAGED_STEPS
) -> Iterator[Tensor]:
    """Views of the steps that would follow some, as flat batches; at most those of an epoch.

    Where batch norms are split they are those alone that pass through the network at once.
    """
    count = min(pipeline.order.steps_per_epoch, most, _AVERAGED_STEPS)
    kept = pipeline.method.num_passed if pipeline.method.splits_batch_norm else None
    for step in itertools.islice(itertools.count(num_steps), count):
        yield pipeline.finish(pipeline.make(step))[0][:kept].flatten(0, 1)


def _start(
    folder: Path, learner: Learner, run: Prepared, order: BatchOrder, num_steps: int
) -> Meters:
    """Restore the run from its folder; a new run writes its first checkpoint at once.

    So a model that cannot be saved, and a folder that cannot be written or is too small, are found
    before any work is done.
    """
    identity = run.identity
    distributed.agree(json.dumps(files.to_plain(dict(identity)), sort_keys=True), "configuration")
    state = checkpoint.load_state(folder)
    if state is not None:
        checkpoint.check_identity(state, identity, folder)
        learner.restore(state, folder)
    meters = checkpoint.load_meters(folder, Meters, state) if state else Meters()
    if meters.step > num_steps:
        raise ResumeError(
            f"{folder / run_folder.STATE_FILE} is of step {meters.step}, after the last one of the "
            f"run, {num_steps}; choose another --out, or delete {folder}"
        )
    if distributed.rank() == 0:
        if state is None:
            check_reload(run.model)
        sizes = learner.sizes() if state else learner.rehearse_saving(folder)
        checkpoint.check_space(folder, sizes, sizes["average"] or sizes["weights"])
        if state is None:
            checkpoint.write_state(folder, learner.capture(0, identity, meters.to_plain()))
        is_due = run.validation is not None and _is_due(meters, order)  # its line is written again
        cut_log(folder, meters.step - is_due, record_images(run.source))
    return meters


def cut_log(folder: Path, step: int, left_out: Mapping[str, Any] | None = None) -> None:
    """Drop the log lines after a step, which the continued run writes again.

    Args:
        left_out: What is left out of the images, for a first line at step 0.
    """
    lines: list[Any] = [{"step": 0, **left_out}] if left_out else []
    lines += [line for line in run_folder.load_log(folder) if 0 < line["step"] <= step]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    files.write_bytes(folder / run_folder.LOG_FILE, text.encode())


@contextmanager
def catch_signals() -> Iterator[list[str]]:
    """Collect the name of the first signal that asks this process to stop.

    The second signal of a kind has its usual effect. Only the main thread may catch signals;
    elsewhere the list stays empty.
    """
    caught: list[str] = []
    if not _is_main_thread():
        yield caught
        return
    earlier = {number: signal.getsignal(number) for number in _STOP_SIGNALS}

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
def write_after_signal(write: Callable[[], None], *, grace_s: float = GRACE_S) -> Iterator[None]:
    """Call ``write`` on a thread, once, if the block has not ended a moment after a signal.

    A step on a CPU can take longer than a machine that is taken away gives. An error of ``write``
    is dropped, since the main thread writes too.
    """
    if not _is_main_thread() or os.name == "nt":  # there, a signal wakes no other thread
        yield
        return
    wakeups, wakeup_fd = os.pipe()
    os.set_blocking(wakeup_fd, False)
    ended = threading.Event()

    def wait() -> None:
        number = 0
        while number not in _STOP_SIGNALS and not ended.is_set():  # others are written too
            number = os.read(wakeups, 1)[0]
        if not ended.wait(grace_s):
            try:
                write()
            except Exception:  # the main thread meets and raises the same
                return

    earlier = signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
    watcher = threading.Thread(target=wait, name="augmix-stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier)
        ended.set()
        os.write(wakeup_fd, b"\0")
        watcher.join()
        os.close(wakeup_fd)
        os.close(wakeups)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


_NOT_DETERMINISTIC = "does not have a deterministic implementation"
_COMPILERS = ("torch._dynamo", "torch._inductor")
_CAPTURING = "captur"  # "operation not permitted when stream is capturing"


@contextmanager
def explain_errors(
    optimisation: OptimisationConfig, device: torch.device, model: nn.Module | None = None
) -> Iterator[None]:
    """Raise errors of torch about memory, compiling, determinism and processes as `RunError`."""
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        text = str(error)
        if distributed.is_lost(error):
            raise distributed.lost(error) from error
        if memory_error(error):
            offers = model is not None and offers_checkpointing(model)
            raise RunError(_no_memory(optimisation, device, error, offers)) from error
        if isinstance(error, RuntimeError) and _NOT_DETERMINISTIC in text:
            raise RunError(
                f"no deterministic form of this network's step on {device.type} "
                f"({first_line(error)}); leave out --deterministic"
            ) from error
        is_captured = isinstance(error, RuntimeError) and _CAPTURING in text
        is_compilers = type(error).__module__.startswith(_COMPILERS)
        if optimisation.compile and (is_compilers or is_captured):
            raise RunError(
                f"torch.compile cannot build this step here ({first_line(error)}); leave out "
                "--compile"
            ) from error
        raise


def _no_memory(
    optimisation: OptimisationConfig, device: torch.device, error: BaseException, offers: bool
) -> str:
    batch, parts = optimisation.batch_size, optimisation.accumulate
    least = "" if batch == 1 else f", or a --batch-size of {batch // 2}"
    if offers and not optimisation.gradient_checkpointing:
        least = f", or --gradient-checkpointing, which keeps fewer activations{least}"
    return (
        f"{device} has too little memory for a step of {batch} images in {parts} part(s): take "
        f"--accumulate {2 * parts}, the same step in half the memory (batch norm then sees a part "
        f"at a time){least}; the last checkpoint is kept ({first_line(error)})"
    )
