"""How long work is shown: a bar with rate and ETA on a terminal, plain lines elsewhere."""

import time
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

_LINE_EVERY_S = 10.0  # without a terminal


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

    def __enter__(self) -> "Watch":
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finish()
        self.progress.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        handler = getattr(self, f"_on_{event['event'].replace('-', '_')}", None)
        if handler is not None:
            handler(event)

    def _on_phase(self, event: dict[str, Any]) -> None:
        """A part of a longer piece of work begins, e.g. one run of the demo."""
        self._finish()
        self.title = event["title"]
        self.console.print(f"[bold]{event['title']}[/bold]", highlight=False)

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

    def _on_cell(self, event: dict[str, Any]) -> None:
        if self.task is None:
            self._begin("measuring", event["num_cells"], event["done"] - 1)
        place = (
            event["name"] if event["name"] == "clean" else f"{event['name']} {event['severity']}"
        )
        note = f"{place}: error {100 * event['error']:.1f} %"
        self._update(event["done"], event["num_cells"], note, "measured")

    def _on_piece(self, event: dict[str, Any]) -> None:
        if self.task is None:
            self._begin("writing", event["total"], event["done"] - 1)
        note = f"{event['name']} {event['severity'] or ''}".rstrip()
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
        self.last_line = time.monotonic()
        self.task = self.progress.add_task(description, total=total, completed=done, note="")

    def _update(self, done: int, total: int, note: str, what: str) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=done, note=note)
        is_due = time.monotonic() - self.last_line > _LINE_EVERY_S or done == total
        if not self.console.is_terminal and is_due:
            self.last_line = time.monotonic()
            self._say(f"{what}: {done}/{total}, {note}")

    def _finish(self) -> None:
        if self.task is not None:
            self.progress.stop_task(self.task)
            self.task = None

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)
