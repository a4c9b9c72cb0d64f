"""Typed progress events, shown as a progress bar on a terminal and as plain lines elsewhere.

Training, evaluation, writing and downloads take ``on_progress``, a function that is called with
each event. The command line passes a `ProgressDisplay`; programs can pass any function:

    >>> def show(event: Event) -> None:
    ...     if isinstance(event, CellFinished):
    ...         print(event.name, event.severity, event.value)
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from augmix.errors import printable


@dataclass(frozen=True, slots=True)
class Event:
    """Base class of all events."""


OnProgress = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Ignore an event: the default ``on_progress``."""


def tell(listeners: Iterable[OnProgress | None]) -> OnProgress:
    """Make one function of several that calls them in turn; those that are None are left out."""
    known = [listener for listener in listeners if listener]

    def tell_all(event: Event) -> None:
        for listener in known:
            listener(event)

    return tell_all


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted(Event):
    """A phase of longer work starts, e.g. one run of the demo."""

    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Event):
    """A message to print."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted(Event):
    """One of several runs of `augmix reproduce` starts; ``number`` counts from 1."""

    name: str
    number: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFinished(Event):
    """One of several runs has ended; ``error`` is empty if it succeeded."""

    name: str
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStarted(Event):
    """Training starts after ``step`` of ``num_steps`` steps; ``executor`` renders the views."""

    folder: Path
    step: int
    num_steps: int
    executor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished(Event):
    """An optimizer step is done; ``step`` counts from 1."""

    step: int
    num_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsLogged(Event):
    """A record was added to the ``log.jsonl`` of a training run."""

    num_steps: int
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochValidated(Event):
    """An epoch, counted from 1, was validated; errors and the part of the time are fractions.

    ``selected_epoch`` is the one whose weights the run keeps so far.
    """

    epoch: int
    clean_error: float
    corrupted_error: float
    selected_epoch: int
    time_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointWritten(Event):
    """The training state after ``step`` was written to disk."""

    step: int
    num_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFinished(Event):
    """All steps are done; ``was_finished`` if they were done before this call."""

    folder: Path
    num_steps: int
    was_finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderStepsLogged(Event):
    """A record was added to the ``log.jsonl`` of a decoder's training."""

    num_steps: int
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationStarted(Event):
    """An evaluation starts: ``done`` of ``num_cells`` cells were evaluated by an earlier call.

    ``num_images`` counts the images and frames that this process will pass through the model.
    """

    done: int
    num_cells: int
    num_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFinished(Event):
    """A batch of a cell passed through the model; severity 0 if the suite has none."""

    suite: str
    name: str
    severity: int | float
    num_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFinished(Event):
    """A cell was evaluated; ``value`` is a fraction, ``done`` includes this cell.

    ``wait_fraction`` is the fraction of the time spent waiting for images.
    """

    suite: str
    name: str
    severity: int | float
    metric: Literal["error", "flip probability", "AUROC"]
    value: float
    wait_fraction: float
    done: int
    num_cells: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceWritten(Event):
    """Images of a data set were written; ``done`` and ``total`` count images of the whole set.

    ``severity`` is 0 if the set has none.
    """

    name: str
    severity: int | float
    done: int
    total: int
    images_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadProgress(Event):
    """A file has grown to ``num_bytes``; the two are equal if the size is unknown."""

    file: str
    num_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadDelayed(Event):
    """A download failed and will be retried in ``wait_s`` seconds."""

    file: str
    wait_s: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksumStarted(Event):
    """The checksum of a file is being computed."""

    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackingStarted(Event):
    """An archive is being unpacked."""

    file: str


_LINE_EVERY_S = 10.0  # between plain lines
_LONG_WAIT = 0.3  # fraction of the time spent waiting for images that is worth a remark
_MEGABYTE = 10**6


_WIDE = 120  # columns of a terminal that takes the long bar
_BAR, _SHORT_BAR = 40, 12  # columns


class _NoteColumn(ProgressColumn):
    """What was measured last; it is cut where a line is full, so that counts and times are not."""

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=False))  # the only column that may shrink

    def render(self, task: Task) -> Text:
        return Text(task.fields["note"], no_wrap=True, overflow="ellipsis")


class ProgressDisplay:
    """Show events on a console; use it as a context manager and pass it as ``on_progress``."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.is_live = console.is_terminal and not console.is_dumb_terminal
        whole = Column(no_wrap=True)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(_BAR if console.width >= _WIDE else _SHORT_BAR, table_column=whole),
            MofNCompleteColumn(table_column=whole),
            _NoteColumn(),
            TimeElapsedColumn(table_column=whole),
            TextColumn("eta"),
            TimeRemainingColumn(table_column=whole),
            console=console,
            disable=not self.is_live,
        )
        self.task: TaskID | None = None  # the current bar
        self.file = ""  # that the bar of a download is about
        self.start_s = 0.0  # of the current bar
        self.first = 0  # what was done when the bar started
        self.last_line_s = 0.0

    def __enter__(self) -> "ProgressDisplay":
        if self.is_live:
            self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._finish()
        if self.is_live:
            self.progress.stop()  # elsewhere, rich before 14.3 prints an empty line

    def __call__(self, event: Event) -> None:
        match event:
            case Note():
                self._print(event.text)
            case PhaseStarted():
                self._finish()
                self.console.print(Text(printable(event.title), style="bold"))
            case TaskStarted():
                self._finish()
                self._print(f"run {event.number} of {event.total}: {event.name}")
            case TaskFinished():
                self._finish()
                failed = f" failed: {event.error}" if event.error else ": done"
                self._print(f"{event.name}{failed}")
            case TrainingStarted():
                self._start("training", event.num_steps, event.step)
                if event.step:
                    self._print(f"continuing {event.folder} after step {event.step}")
            case StepFinished():
                self._update(completed=event.step)
            case StepsLogged():
                self._show_training(event.record, event.num_steps)
            case EpochValidated():
                self._show_validation(event)
            case TrainingFinished():
                self._finish()
                if event.was_finished:
                    self._print(f"{event.folder} is already trained ({event.num_steps} steps)")
            case DecoderStepsLogged():
                self._show_decoder(event.record, event.num_steps)
            case EvaluationStarted():
                self._start("evaluating", event.num_images, 0)
                if event.done == event.num_cells:
                    self._print(f"all {event.num_cells} cells are already evaluated")
                elif event.done:
                    self._print(f"continuing after {event.done} of {event.num_cells} cells")
            case BatchFinished():
                self._update(advance=event.num_images)
            case CellFinished():
                self._show_cell(event)
            case PieceWritten():
                if self.task is None:
                    self._start("writing", event.total, event.done - 1)
                cell = f"{event.name} {event.severity or ''}".rstrip()
                note = f"{cell}, {event.images_per_second:.0f} images/s"
                self._show_count("written", event.done, event.total, note)
            case DownloadProgress():
                self._show_download(event)
            case DownloadDelayed():
                self._print(f"{event.file}: {event.reason}; retrying in {event.wait_s:.0f} s")
            case ChecksumStarted():
                self._finish()
                self._print(f"{event.file}: computing the checksum")
            case UnpackingStarted():
                self._finish()
                self._print(f"{event.file}: unpacking")
            case _:  # nothing to show
                pass

    def _show_training(self, record: Mapping[str, Any], num_steps: int) -> None:
        note = (
            f"loss {record['loss']:.3f}, train error {100 * record['train_error']:.1f} %, "
            f"{record['images_per_second']:.0f} images/s"
        )
        self._show_count(f"epoch {record['epoch']:.1f}", record["step"], num_steps, note)

    def _show_validation(self, event: EpochValidated) -> None:
        is_selected = event.selected_epoch == event.epoch
        kept = "the best so far" if is_selected else f"epoch {event.selected_epoch} is better"
        self._print(
            f"epoch {event.epoch}: validation error {100 * event.clean_error:.1f} % clean, "
            f"{100 * event.corrupted_error:.1f} % corrupted, {kept}; validated in "
            f"{100 * event.time_fraction:.1f} % of the epoch's time"
        )

    def _show_decoder(self, record: Mapping[str, Any], num_steps: int) -> None:
        if self.task is None:
            self._start("training the decoder", num_steps, record["step"] - 1)
        terms = ", ".join(f"{name} {record[name]:.3f}" for name in ("content", "style", "identity"))
        note = f"loss {record['loss']:.3f}, {terms}"
        self._show_count("decoder", record["step"], num_steps, note)

    def _show_cell(self, event: CellFinished) -> None:
        if self.task is None:
            return
        cell = f"{event.name} {event.severity or ''}".rstrip()
        done = f"{event.done}/{event.num_cells}"
        note = f"{cell}: {event.metric} {100 * event.value:.1f} %"
        if event.wait_fraction > _LONG_WAIT:
            note += f", {100 * event.wait_fraction:.0f} % of the time waiting for images"
        self._update(note=f"{done} {note}")
        if self._is_due(event.done == event.num_cells):
            self._print(f"evaluated: {done}, {note}{self._time_left()}")

    def _show_download(self, event: DownloadProgress) -> None:
        done, total = round(event.num_bytes / _MEGABYTE), round(event.total_bytes / _MEGABYTE)
        if self.task is None or self.file != event.file:
            self._start(f"{event.file}, MB", total, done)
            self.file = event.file
        self._update(completed=done, total=total, note="")
        if self._is_due(event.num_bytes == event.total_bytes):
            self._print(f"{event.file}: {done:,} of {total:,} MB{self._time_left()}")

    def _show_count(self, label: str, done: int, total: int, note: str) -> None:
        self._update(completed=done, note=note)
        if self._is_due(done == total):
            self._print(f"{label}: {done}/{total}, {note}")

    def _start(self, description: str, total: int, done: int) -> None:
        """Replace the current bar by a new one."""
        self._finish()
        self.last_line_s = self.start_s = time.monotonic()
        self.first = done
        description = printable(description)
        self.task = self.progress.add_task(description, total=total, completed=done, note="")

    def _update(self, **changes: Any) -> None:
        if self.task is not None:
            self.progress.update(self.task, **changes)

    def _finish(self) -> None:
        if self.task is not None:
            self.progress.stop_task(self.task)
            self.task = None

    def _is_due(self, is_last: bool) -> bool:
        """Whether to print a plain line now: every 10 seconds, and never beside a bar."""
        is_due = time.monotonic() - self.last_line_s > _LINE_EVERY_S or is_last
        if self.is_live or not is_due:
            return False
        self.last_line_s = time.monotonic()
        return True

    def _time_left(self) -> str:
        """The estimated time left, as the end of a line; empty if nothing is left."""
        task = next(each for each in self.progress.tasks if each.id == self.task)
        gained = task.completed - self.first
        if gained <= 0 or not task.remaining:
            return ""
        elapsed_s = time.monotonic() - self.start_s
        return f", about {format_duration(elapsed_s * task.remaining / gained)} left"

    def _print(self, text: str) -> None:
        self.console.print(printable(text), highlight=False, markup=False, emoji=False)


def format_duration(seconds: float) -> str:
    """Write an estimated time in the unit that suits it, to about two digits.

    Example:
        >>> [format_duration(seconds) for seconds in (0.0123, 43.7, 690.0, 10800.0)]
        ['12.3 ms', '44 s', '12 min', '3.0 h']
    """
    if 0 < seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    for unit, length, most in (("s", 1, 90), ("min", 60, 90 * 60)):
        if seconds < most:
            return f"{seconds / length:.2g} {unit}"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
