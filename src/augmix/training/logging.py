"""Meters, logs and cost of a run: JSON lines, and from them CSV, TensorBoard, wandb and mlflow.

The files are made from `log.jsonl`: a run that starts writes all lines of the log again, and then
adds each new one. So they show what the log shows, wherever a run was stopped and whatever of them
was lost then. To wandb and mlflow, which keep what they were sent, a continued run sends the lines
that are new, to the same run there.

The cost is counted in floating-point operations, whatever machine the run is on. A multiply-add is
two operations. A view that the weights learn from passes forward once and backward twice, for the
maps and for the weights: six operations for each multiply-add of the network. A step of an attack
passes forward and backward for the maps alone: four. Views, losses and the optimiser are not
counted.
"""

import csv
import io
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from augmix import distributed, files, run_folder
from augmix.devices import peak_memory_mib
from augmix.errors import RunError, first_line, import_library
from augmix.methods import Method
from augmix.methods.losses import Loss
from augmix.progress import (
    Event,
    Note,
    OnProgress,
    StepsLogged,
    TrainingFinished,
    TrainingStarted,
    ignore,
)


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


_CSV_FILE = "log.csv"
_TENSORBOARD = "tensorboard"
_EVENT_FILES = "events.out.tfevents.*"
_TRACKED_FILE = "tracked.json"  # ids of the run by logger
_PROJECT = "augmix"


@dataclass(kw_only=True)
class Logger(ABC):
    """Where the lines of a log go besides `log.jsonl`; the library is imported when it is made.

    Raises:
        RunError: If the library is not installed.
    """

    settings: Mapping[str, Any]  # of the run, by flat name
    name: ClassVar[str]

    @abstractmethod
    def start(self, folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
        """Begin with the lines that the log has already."""

    @abstractmethod
    def add(self, line: Mapping[str, Any]) -> None:
        """Add a line; it is kept once this returns."""

    def close(self, *, is_finished: bool) -> None:
        """End, also after an error."""
        return


@contextmanager
def logging_to(
    names: Sequence[str] | None, on_progress: OnProgress | None, settings: Mapping[str, Any]
) -> Iterator[OnProgress | None]:
    """Add loggers to a progress callback; they are closed in every case.

    Only process 0 of several writes. Names of None are TensorBoard where it is installed.

    Raises:
        RunError: If the library of a named one is not installed.
    """
    if distributed.rank():
        yield on_progress
        return
    loggers: list[Logger] = []
    chosen = (_TENSORBOARD,) if names is None else dict.fromkeys(names)
    for name in () if "none" in chosen else chosen:
        try:
            loggers.append(LOGGERS[name](settings=settings))
        except RunError:
            if names is not None:
                raise
    if not loggers:
        yield on_progress
        return
    emit, is_finished = on_progress or ignore, False
    with ExitStack() as stack:
        for logger in loggers:
            stack.callback(lambda logger=logger: logger.close(is_finished=is_finished))

        def watch(event: Event) -> None:
            nonlocal is_finished
            if isinstance(event, TrainingStarted):
                lines = run_folder.load_steps(event.folder)
                for logger in loggers:
                    logger.start(event.folder, lines)
            elif isinstance(event, StepsLogged):
                for logger in loggers:
                    logger.add(event.record)
            emit(event)
            is_finished = is_finished or isinstance(event, TrainingFinished)

        for logger in loggers:
            if isinstance(logger, Tracker):
                logger.emit = emit
        yield watch


@dataclass(kw_only=True)
class CsvLogger(Logger):
    """A table, `log.csv`, with a row for each line and a column for each number."""

    name: ClassVar[str] = "csv"
    path: Path = Path()
    rows: list[dict[str, float | int]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)

    def start(self, folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
        self.path = folder / _CSV_FILE
        self.rows = [_row(line) for line in lines]
        self._write()

    def add(self, line: Mapping[str, Any]) -> None:
        row = _row(line)
        self.rows.append(row)
        if row.keys() - set(self.columns):
            self._write()
            return
        try:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror or error}") from error

    def _write(self) -> None:
        self.columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        writer.writeheader()
        writer.writerows(self.rows)
        files.write_bytes(self.path, text.getvalue().encode())


@dataclass(kw_only=True)
class TensorBoardLogger(Logger):
    """Event files in the folder `tensorboard`."""

    name: ClassVar[str] = _TENSORBOARD
    folder: Path = Path()
    began: float = 0.0
    writer: Any = None
    open_writer: Any = field(init=False)

    def __post_init__(self) -> None:
        asked = "--logger tensorboard"
        import_library("tensorboard", asked, "augmix[tensorboard]")
        module = import_library("torch.utils.tensorboard", asked, "tensorboard")
        self.open_writer = module.SummaryWriter

    def start(self, folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
        self.folder = folder / _TENSORBOARD
        # times are those of a run that was never stopped: how long it trained, up to now
        self.began = time.time() - (lines[-1].get("seconds", 0.0) if lines else 0.0)
        with self._explain():
            for path in self.folder.glob(_EVENT_FILES):
                path.unlink()
            # step 0: a TensorBoard that shows this run drops what it has read
            self.writer = self.open_writer(str(self.folder), purge_step=0)
            for line in lines:
                self._write(line)
            self.writer.flush()

    def add(self, line: Mapping[str, Any]) -> None:
        with self._explain():
            self._write(line)
            self.writer.flush()

    def close(self, *, is_finished: bool) -> None:
        if self.writer is not None:
            with suppress(OSError):  # every line was flushed, or its error was raised
                self.writer.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        wall_time = self.began + line.get("seconds", 0.0)
        for tag, value in _curves(line):
            self.writer.add_scalar(tag, value, line["step"], walltime=wall_time)

    @contextmanager
    def _explain(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(f"cannot write {self.folder}: {error.strerror or error}") from error


@dataclass(kw_only=True)
class Tracker(Logger):
    """A service that tracks runs. Once it has started, an error of it does not end the training."""

    library: Any = field(init=False)
    emit: OnProgress = ignore
    is_lost: bool = False
    is_open: bool = False

    def __post_init__(self) -> None:
        self.library = import_library(self.name, f"--logger {self.name}", self.name)

    @abstractmethod
    def open(self, folder: Path, known: str | None) -> str:
        """Begin a run of the settings, or continue the known one; return its id."""

    @abstractmethod
    def send(self, numbers: Mapping[str, float | int], step: int) -> None:
        """Send the numbers of a line."""

    def start(self, folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
        path = folder / _TRACKED_FILE
        known = files.load_json(path) if path.exists() else {}
        try:
            found = self.open(folder, known.get(self.name))
        except Exception as error:  # of the library, the network, a missing login
            raise RunError(
                f"--logger {self.name} cannot begin a run: {first_line(error)}; set it up as "
                f"{self.name} says, or leave it out"
            ) from error
        self.is_open = True
        files.write_json(path, {**known, self.name: found})
        for line in lines if self.name not in known else ():  # of before it was asked for
            self.add(line)

    def add(self, line: Mapping[str, Any]) -> None:
        if self.is_lost:
            return
        try:
            self.send(dict(_curves(line)), line["step"])
        except Exception as error:
            self.is_lost = True
            self.emit(
                Note(
                    text=f"--logger {self.name} gets no more lines ({first_line(error)}); the "
                    "training continues, and its whole log is in log.jsonl"
                )
            )


@dataclass(kw_only=True)
class WandbLogger(Tracker):
    """Weights & Biases; project and mode are those of WANDB_PROJECT and WANDB_MODE."""

    name: ClassVar[str] = "wandb"
    run: Any = None

    def open(self, folder: Path, known: str | None) -> str:
        self.run = self.library.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=self.settings.get("name") or folder.name,
            dir=str(folder),
            id=known,
            resume="allow",
            config=files.to_plain(dict(self.settings)),
        )
        return str(self.run.id)

    def send(self, numbers: Mapping[str, float | int], step: int) -> None:
        self.run.log(dict(numbers), step=step)

    def close(self, *, is_finished: bool) -> None:
        if self.is_open:
            with suppress(Exception):
                self.run.finish(exit_code=0 if is_finished else 1)


@dataclass(kw_only=True)
class MlflowLogger(Tracker):
    """MLflow; server and experiment are those of MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME."""

    name: ClassVar[str] = "mlflow"

    def open(self, folder: Path, known: str | None) -> str:
        if not {"MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"} & os.environ.keys():
            self.library.set_experiment(_PROJECT)
        name = self.settings.get("name") or folder.name
        run = self.library.start_run(run_id=known, run_name=None if known else name)
        if not known:
            self.library.log_params(files.to_plain(dict(self.settings)))
        return str(run.info.run_id)

    def send(self, numbers: Mapping[str, float | int], step: int) -> None:
        self.library.log_metrics(dict(numbers), step=step)

    def close(self, *, is_finished: bool) -> None:
        if self.is_open:
            with suppress(Exception):
                self.library.end_run(status="FINISHED" if is_finished else "KILLED")


LOGGERS: Mapping[str, type[Logger]] = {
    kind.name: kind for kind in (CsvLogger, TensorBoardLogger, WandbLogger, MlflowLogger)
}
"""Every logger by the name that ``--logger`` takes."""


def _row(line: Mapping[str, Any]) -> dict[str, float | int]:
    return {"step": line["step"], **dict(_curves(line))}


def _curves(line: Mapping[str, Any]) -> Iterator[tuple[str, float | int]]:
    """Every number of a log line with its tag; the loss's terms are `terms/NAME`."""
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{below}", number) for below, number in _curves(value))
        elif isinstance(value, (int, float)) and name != "step":
            yield name, value


_OF_A_PASS, _OF_AN_ATTACK = 6, 4
_PREFIXES = ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What training on one image costs."""

    multiply_adds: int  # of a forward pass of one view
    passes: int  # views that the weights learn from
    attacks: int  # steps of attacks

    @property
    def flop(self) -> int:
        """Operations of one image in one step."""
        return self.multiply_adds * (_OF_A_PASS * self.passes + _OF_AN_ATTACK * self.attacks)

    def describe(self, num_images: int) -> str:
        """The cost of a run over so many images, all epochs counted, in a line."""
        attacked = f" and {self.attacks} step(s) of attack" if self.attacks else ""
        return (
            f"cost: {self.multiply_adds / 1e6:,.1f} million multiply-adds, {self.passes} view(s) "
            f"of an image in a step{attacked}: {format_flop(float(self.flop * num_images))} in all"
        )


def count_cost(
    model: nn.Module, method: Method, *, size: tuple[int, int], channels: int, device: torch.device
) -> Cost:
    """Count what a method costs on a network, by one forward pass of one image."""
    was_training = model.training
    images = torch.zeros(1, channels, *size, device=device)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.eval()(images)
    model.train(was_training)
    return Cost(
        multiply_adds=int(counter.get_total_flops()) // 2,
        passes=method.num_passed,
        attacks=method.num_attacks,
    )


def format_flop(flop: float) -> str:
    """Operations in the unit that suits them.

    Example:
        >>> format_flop(2.95e16), format_flop(3e8)
        ('29.5 PFLOP', '0.3 GFLOP')
    """
    size, unit = next((each for each in _PREFIXES if flop >= each[0]), _PREFIXES[-1])
    return f"{flop / size:,.3g} {unit}" if flop < 1000 * size else f"{flop / size:,.0f} {unit}"
