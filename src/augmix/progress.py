"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

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

OnProgress = Callable[[dict[str, Any]], None]


def ignore(event: dict[str, Any]) -> None:
    """Take progress events while nobody watches."""


_LINE_EVERY_S = 10.0  # without a terminal
_LONG_WAIT = 0.3  # share of a measurement's time that is worth a word
_MEGABYTE = 10**6


class Watch:
    """Takes the events of training and evaluation and shows them; use it as a context manager."""

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
        self.title = ""
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

    def __call__(self, event: dict[str, Any]) -> None:
        handler = getattr(self, f"_on_{event['event'].replace('-', '_')}", None)
        if handler is not None:
            handler(event)

    def _on_phase(self, event: dict[str, Any]) -> None:
        """A part of a longer piece of work begins, e.g. one run of the demo."""
        self._finish()
        self.title = event["title"]
        self.console.print(f"[bold]{event['title']}[/bold]", highlight=False)

    def _on_task(self, event: dict[str, Any]) -> None:
        """A run of a sweep begins, is done or has failed."""
        self._finish()
        if event["state"] == "started":
            self._say(f"run {event['number']} of {event['total']}: {event['name']}")
        elif event["state"] == "failed":
            self._say(f"{event['name']} failed: {event['reason']}")
        else:
            self._say(f"{event['name']}: {event['state']}")

    def _on_start(self, event: dict[str, Any]) -> None:
        self._begin("training", event["num_steps"], event["step"])
        if event["step"]:
            self._say(f"continues {event['folder']} after step {event['step']}")

    def _on_log(self, event: dict[str, Any]) -> None:
        note = (
            f"loss {event['loss']:.3f}, train error {100 * event['train_error']:.1f} %, "
            f"{event['images_per_second']:.0f} images/s"
        )
        self._update(event["step"], event["num_steps"], note, f"epoch {event['epoch']:.1f}")

    def _on_step(self, event: dict[str, Any]) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=event["step"])

    def _on_total(self, event: dict[str, Any]) -> None:
        """A measurement begins: how much there is, in images shown to the model."""
        self._begin("measuring", event["num_images"], 0)
        done, num_cells = event["done"], event["num_cells"]
        if done == num_cells:
            self._say(f"all {num_cells} measurements are there already")
        elif done:
            self._say(f"goes on after {done} of {num_cells} measurements")

    def _on_batch(self, event: dict[str, Any]) -> None:
        if self.task is not None:
            self.progress.update(self.task, advance=event["images"])

    def _on_cell(self, event: dict[str, Any]) -> None:
        if self.task is None:
            return
        place = f"{event['name']} {event['severity'] or ''}".rstrip()
        name = "error" if "error" in event else "flip_probability"
        done = f"{event['done']}/{event['num_cells']}"
        note = f"{place}: {name.replace('_', ' ')} {100 * event[name]:.1f} %"
        if event["wait_share"] > _LONG_WAIT:
            note += f", {100 * event['wait_share']:.0f} % of the time waiting for images"
        self.progress.update(self.task, note=f"{done} {note}")
        if self._is_due(event["done"] == event["num_cells"]):
            self._say(f"measured: {done}, {note}{self._left()}")

    def _on_download(self, event: dict[str, Any]) -> None:
        done, total = (round(event[name] / _MEGABYTE) for name in ("bytes", "total"))
        if self.task is None or self.title != event["file"]:
            self._begin(f"{event['file']}, MB", total, done)
            self.title = event["file"]
        if self.task is not None:
            self.progress.update(self.task, completed=done, total=total, note="")
        if self._is_due(event["bytes"] == event["total"]):
            self._say(f"{event['file']}: {done:,} of {total:,} MB{self._left()}")

    def _on_waiting(self, event: dict[str, Any]) -> None:
        self._say(f"{event['file']}: {event['reason']}; trying again in {event['seconds']:.0f} s")

    def _on_checking(self, event: dict[str, Any]) -> None:
        self._finish()
        self._say(f"{event['file']}: taking its checksum")

    def _on_unpacking(self, event: dict[str, Any]) -> None:
        self._finish()
        self._say(f"{event['file']}: unpacking")

    def _on_preset(self, event: dict[str, Any]) -> None:
        if event["asked"] == "auto":
            height, width = event["size"]
            self._say(f"preset {event['preset']}, by the size of {height} x {width} pixels")

    def _on_piece(self, event: dict[str, Any]) -> None:
        if self.task is None:
            self._begin("writing", event["total"], event["done"] - 1)
        place = f"{event['name']} {event['severity'] or ''}".rstrip()
        note = f"{place}, {event['images_per_second']:.0f} images/s"
        self._update(event["done"], event["total"], note, "written")

    def _on_fit(self, event: dict[str, Any]) -> None:
        if self.task is None:
            self._begin("fitting", event["num_steps"], event["step"] - 1)
        terms = ", ".join(f"{name} {event[name]:.3f}" for name in ("content", "style", "identity"))
        self._update(event["step"], event["num_steps"], f"loss {event['loss']:.3f}, {terms}", "fit")

    def _on_note(self, event: dict[str, Any]) -> None:
        self._say(event["text"])

    def _on_finished(self, event: dict[str, Any]) -> None:
        self._finish()
        if event["already"]:
            self._say(f"{event['folder']} is trained already ({event['step']} steps)")

    def _begin(self, description: str, total: int, done: int) -> None:
        self._finish()
        self.last_line = self.began = time.monotonic()
        self.first = done
        self.task = self.progress.add_task(description, total=total, completed=done, note="")

    def _update(self, done: int, total: int, note: str, what: str) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=done, note=note)
        if self._is_due(done == total):
            self._say(f"{what}: {done}/{total}, {note}")

    def _is_due(self, is_last: bool) -> bool:
        """Whether a plain line should be printed now: seldom, and never on a terminal."""
        is_due = time.monotonic() - self.last_line > _LINE_EVERY_S or is_last
        if self.console.is_terminal or not is_due:
            return False
        self.last_line = time.monotonic()
        return True

    def _left(self) -> str:
        """How long the rest of the task takes at the pace so far; empty at its end."""
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
    """A stretch of time as coarse as a guess is."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
