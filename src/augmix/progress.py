"""Typed events of long work, shown as a progress bar on a terminal and as plain lines elsewhere.

Training, evaluation, writing and downloads take ``on_progress``, a function that is called with
every event. The command line passes a `Watch`; a program may pass any function of its own:

    >>> def show(event: Event) -> None:
    ...     if isinstance(event, CellFinished):
    ...         print(event.name, event.severity, event.value)
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""


OnProgress = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Do nothing with an event: the default ``on_progress``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted(Event):
    """A titled part of a longer piece of work starts, e.g. one run of the demo."""

    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Event):
    """A line for the user."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted(Event):
    """One of several runs of `augmix reproduce` starts; ``number`` counts from 1."""

    name: str
    number: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFinished(Event):
    """One of several runs has ended; ``error`` is the reason if it failed, else empty."""

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
    """One optimizer step is done; ``step`` counts from 1."""

    step: int
    num_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsLogged(Event):
    """A record was added to the ``log.jsonl`` of a training run."""

    num_steps: int
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointWritten(Event):
    """The state of training after ``step`` is on disk."""

    step: int
    num_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFinished(Event):
    """All steps are done; ``was_finished`` if there was nothing left to do."""

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
    """An evaluation starts: ``done`` of ``num_cells`` cells are there from an earlier call.

    ``num_images`` are the images and frames that this process still shows to the model.
    """

    done: int
    num_cells: int
    num_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFinished(Event):
    """A batch of a cell was shown to the model; severity 0 if the suite has none."""

    suite: str
    name: str
    severity: int
    num_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFinished(Event):
    """A cell is measured; ``value`` is a fraction, ``done`` counts this cell.

    ``wait_fraction`` is the fraction of the time spent waiting for images.
    """

    suite: str
    name: str
    severity: int
    metric: Literal["error", "flip probability"]
    value: float
    wait_fraction: float
    done: int
    num_cells: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceWritten(Event):
    """Some images of a data set are on disk; ``done`` and ``total`` are images of the whole set.

    Severity is 0 if the set has none.
    """

    name: str
    severity: int
    done: int
    total: int
    images_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadProgress(Event):
    """A file has grown to ``num_bytes``; ``total_bytes`` as far as the server said."""

    file: str
    num_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadDelayed(Event):
    """A download has failed and is tried again in ``wait_s`` seconds."""

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


_LINE_EVERY_S = 10.0  # without a terminal
_LONG_WAIT = 0.3  # fraction of an evaluation's time spent waiting that is worth a remark
_MEGABYTE = 10**6


class Watch:
    """Show events on a console; use it as a context manager and as ``on_progress``."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.task: TaskID | None = None
        self.file = ""  # the file of a download's bar
        self.last_line = 0.0
        self.began = 0.0
        self.first = 0

    def __enter__(self) -> "Watch":
        if self.console.is_terminal:
            self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finish()
        if self.console.is_terminal:
            self.progress.stop()  # older releases of rich would print an empty line elsewhere

    def __call__(self, event: Event) -> None:
        match event:
            case Note():
                self._say(event.text)
            case PhaseStarted():
                self._finish()
                self.console.print(f"[bold]{event.title}[/bold]", highlight=False)
            case TaskStarted():
                self._finish()
                self._say(f"run {event.number} of {event.total}: {event.name}")
            case TaskFinished():
                self._finish()
                failed = f" failed: {event.error}" if event.error else ": done"
                self._say(f"{event.name}{failed}")
            case TrainingStarted():
                self._begin("training", event.num_steps, event.step)
                if event.step:
                    self._say(f"continues {event.folder} after step {event.step}")
            case StepFinished():
                self._advance_to(event.step)
            case StepsLogged():
                self._show_training(event.record, event.num_steps)
            case TrainingFinished():
                self._finish()
                if event.was_finished:
                    self._say(f"{event.folder} is trained already ({event.num_steps} steps)")
            case DecoderStepsLogged():
                self._show_decoder(event.record, event.num_steps)
            case EvaluationStarted():
                self._begin("measuring", event.num_images, 0)
                if event.done == event.num_cells:
                    self._say(f"all {event.num_cells} measurements are there already")
                elif event.done:
                    self._say(f"continues after {event.done} of {event.num_cells} measurements")
            case BatchFinished():
                if self.task is not None:
                    self.progress.update(self.task, advance=event.num_images)
            case CellFinished():
                self._show_cell(event)
            case PieceWritten():
                if self.task is None:
                    self._begin("writing", event.total, event.done - 1)
                cell = f"{event.name} {event.severity or ''}".rstrip()
                note = f"{cell}, {event.images_per_second:.0f} images/s"
                self._update(event.done, event.total, note, "written")
            case DownloadProgress():
                self._show_download(event)
            case DownloadDelayed():
                self._say(f"{event.file}: {event.reason}; trying again in {event.wait_s:.0f} s")
            case ChecksumStarted():
                self._finish()
                self._say(f"{event.file}: taking its checksum")
            case UnpackingStarted():
                self._finish()
                self._say(f"{event.file}: unpacking")
            case _:  # nothing to show
                pass

    def _show_training(self, record: Mapping[str, Any], num_steps: int) -> None:
        note = (
            f"loss {record['loss']:.3f}, train error {100 * record['train_error']:.1f} %, "
            f"{record['images_per_second']:.0f} images/s"
        )
        self._update(record["step"], num_steps, note, f"epoch {record['epoch']:.1f}")

    def _show_decoder(self, record: Mapping[str, Any], num_steps: int) -> None:
        if self.task is None:
            self._begin("fitting", num_steps, record["step"] - 1)
        terms = ", ".join(f"{name} {record[name]:.3f}" for name in ("content", "style", "identity"))
        self._update(record["step"], num_steps, f"loss {record['loss']:.3f}, {terms}", "fit")

    def _show_cell(self, event: CellFinished) -> None:
        if self.task is None:
            return
        cell = f"{event.name} {event.severity or ''}".rstrip()
        done = f"{event.done}/{event.num_cells}"
        note = f"{cell}: {event.metric} {100 * event.value:.1f} %"
        if event.wait_fraction > _LONG_WAIT:
            note += f", {100 * event.wait_fraction:.0f} % of the time waiting for images"
        self.progress.update(self.task, note=f"{done} {note}")
        if self._is_due(event.done == event.num_cells):
            self._say(f"measured: {done}, {note}{self._left()}")

    def _show_download(self, event: DownloadProgress) -> None:
        done, total = round(event.num_bytes / _MEGABYTE), round(event.total_bytes / _MEGABYTE)
        if self.task is None or self.file != event.file:
            self._begin(f"{event.file}, MB", total, done)
            self.file = event.file
        if self.task is not None:
            self.progress.update(self.task, completed=done, total=total, note="")
        if self._is_due(event.num_bytes == event.total_bytes):
            self._say(f"{event.file}: {done:,} of {total:,} MB{self._left()}")

    def _begin(self, description: str, total: int, done: int) -> None:
        self._finish()
        self.last_line = self.began = time.monotonic()
        self.first = done
        self.task = self.progress.add_task(description, total=total, completed=done, note="")

    def _advance_to(self, step: int) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=step)

    def _update(self, done: int, total: int, note: str, what: str) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=done, note=note)
        if self._is_due(done == total):
            self._say(f"{what}: {done}/{total}, {note}")

    def _is_due(self, is_last: bool) -> bool:
        """Whether to print a plain line now: seldom, and never on a terminal."""
        is_due = time.monotonic() - self.last_line > _LINE_EVERY_S or is_last
        if self.console.is_terminal or not is_due:
            return False
        self.last_line = time.monotonic()
        return True

    def _left(self) -> str:
        """Time left at the speed so far, as the end of a line; empty if nothing is left."""
        task = next(each for each in self.progress.tasks if each.id == self.task)
        passed = time.monotonic() - self.began
        gained = task.completed - self.first
        if gained <= 0 or not task.remaining:
            return ""
        return f", about {_in_words(passed * task.remaining / gained)} left"

    def _finish(self) -> None:
        if self.task is not None:
            self.progress.stop_task(self.task)
            self.task = None

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)


def _in_words(seconds: float) -> str:
    """Round a duration to what an estimate is worth."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
