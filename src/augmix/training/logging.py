"""Meters and logs of a run: JSON lines and TensorBoard.

The event files are made from `log.jsonl`: a run that starts writes all lines of the log again, and
then adds each new one. So they show what the log shows, wherever a run was stopped and whatever of
them was lost then.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from augmix import distributed, results
from augmix.devices import peak_memory_mib
from augmix.errors import RunError, import_library
from augmix.methods.losses import Loss
from augmix.progress import Event, OnProgress, StepsLogged, TrainingStarted, ignore


@dataclass(kw_only=True)
class Meters:
    """Steps done and the sums since the last log line.

    Losses stay on the device until they are settled, so that a step does not wait for the device.
    Of the times, which are this process's own, only `seconds` is kept in checkpoints.
    """

    step: int = 0
    images: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    validated: int = 0  # epochs
    validated_at: float = 0.0  # seconds, at the last validation
    selected: int = 0  # epoch whose weights are kept, counted from 1; 0 for none yet
    selected_key: list[int] = field(default_factory=list)  # what it was selected by
    pending: list[tuple[int, int, int, tuple[str, ...], torch.Tensor]] = field(default_factory=list)
    elapsed: float = 0.0
    waited: float = 0.0
    seen: int = 0

    def add(self, loss: Loss, targets: torch.Tensor, num_images: int) -> None:
        """Count one more step of ``num_images`` over all processes.

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
        self.pending.append((self.step, len(targets), num_images, names, stacked))

    def settle(self) -> None:
        """Fetch the pending losses from the device, in the order of the steps.

        Raises:
            RunError: If one is no longer finite, on every process alike.
        """
        if not self.pending:
            return
        weights = torch.tensor([own / all_ for _, own, all_, _, _ in self.pending]).double()
        own = torch.stack([values for *_, values in self.pending]).cpu().double()  # step name
        summed = distributed.sum_over_ranks(own * weights[:, None]).tolist()
        for (step, _, num_images, names, _), values in zip(self.pending, summed, strict=True):
            if not all(map(math.isfinite, values)):
                shown = ", ".join(f"{n} {v:g}" for n, v in zip(names, values, strict=True))
                raise RunError(
                    f"the loss is no longer finite at step {step} ({shown}); the last checkpoint "
                    "is from before it: start again with a smaller --learning-rate in another --out"
                )
            self.images += num_images
            for name, value in zip(names, values, strict=True):
                self.sums[name] = self.sums.get(name, 0.0) + value * num_images
        self.pending.clear()

    def clock(self, elapsed: float, waited: float, images: int) -> None:
        """Count the time of a step, in seconds."""
        self.seconds += elapsed
        self.elapsed += elapsed
        self.waited += waited
        self.seen += images

    def select(self, key: list[int]) -> bool:
        """Count a validated epoch; return whether it is the best so far, by the smallest key."""
        self.validated += 1
        self.validated_at = self.seconds
        if self.selected and self.selected_key and key >= self.selected_key:
            return False
        self.selected, self.selected_key = self.validated, key
        return True

    def line(self, *, epoch: float, rate: float, device: torch.device) -> dict[str, Any]:
        """The log record of the steps since the last one; resets the sums."""
        means = {name: total / self.images for name, total in self.sums.items()}
        loss, error = means.pop("loss"), means.pop("error")
        record = {
            "step": self.step,
            "epoch": epoch,
            "loss": loss,
            "terms": means,
            "learning_rate": rate,
            "train_error": error,
            "images_per_second": self.seen / self.elapsed if self.elapsed else 0.0,
            "wait_fraction": self.waited / self.elapsed if self.elapsed else 0.0,
            "peak_memory_mib": peak_memory_mib(device),
            "seconds": self.seconds,
        }
        self.images, self.sums = 0, {}
        self.elapsed = self.waited = 0.0
        self.seen = 0
        return record

    def to_plain(self) -> dict[str, Any]:
        """The part of the state that a checkpoint keeps."""
        kept = ("images", "seconds", "validated", "validated_at", "selected", "selected_key")
        return {"sums": dict(self.sums), **{name: getattr(self, name) for name in kept}}


_FOLDER = "tensorboard"
_EVENT_FILES = "events.out.tfevents.*"


@contextmanager
def tensorboard(on_progress: OnProgress | None, choice: bool | None) -> Iterator[OnProgress | None]:
    """Add TensorBoard event files to a progress callback; they are closed in every case.

    Only process 0 of several writes. A choice of None writes where the package is installed.

    Raises:
        RunError: If the choice is True without the package.
    """
    open_writer: Any = None
    if choice is not False:
        try:
            import_library("tensorboard", "--tensorboard yes", "augmix[tensorboard]")
            module = import_library("torch.utils.tensorboard", "--tensorboard yes", "tensorboard")
            open_writer = module.SummaryWriter
        except RunError:
            if choice:
                raise
    if open_writer is None or distributed.rank():
        yield on_progress
        return
    emit = on_progress or ignore
    writer: Any = None
    folder, began = Path(), 0.0

    def watch(event: Event) -> None:
        nonlocal writer, folder, began
        lines: list[Any] = []
        if isinstance(event, TrainingStarted):
            folder, lines = event.folder / _FOLDER, results.load_steps(event.folder)
            # times are those of a run that was never stopped: how long it trained, up to now
            began = time.time() - (lines[-1].get("seconds", 0.0) if lines else 0.0)
        elif isinstance(event, StepsLogged):
            lines = [event.record]
        try:
            if isinstance(event, TrainingStarted):
                for path in folder.glob(_EVENT_FILES):
                    path.unlink()
                # step 0: a TensorBoard that shows this run drops what it has read
                writer = open_writer(str(folder), purge_step=0)
            for line in lines:
                for tag, value in _curves(line):
                    writer.add_scalar(
                        tag, value, line["step"], walltime=began + line.get("seconds", 0.0)
                    )
            if lines:
                writer.flush()
        except OSError as error:
            raise RunError(f"cannot write {folder}: {error.strerror or error}") from error
        emit(event)

    try:
        yield watch
    finally:
        if writer is not None:
            with suppress(OSError):  # every line was flushed, or its error was raised
                writer.close()


def _curves(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every number of a log line with its tag; the loss's terms are `terms/NAME`."""
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{below}", number) for below, number in _curves(value))
        elif isinstance(value, (int, float)) and name != "step":
            yield name, value
