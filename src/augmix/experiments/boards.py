"""A run's log as TensorBoard event files, in the folder `tensorboard` of the run folder.

The event files are made from `log.jsonl`: a run that starts writes the lines the log holds anew,
and then adds each line as it comes. So they show what the log shows, wherever a run was stopped
and whatever of them was lost then.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from augmix import ranks, records
from augmix.engine.progress import OnProgress, ignore
from augmix.records import RunError

FOLDER = "tensorboard"
Choice = Literal["auto", "yes", "no"]

_EVENT_FILES = "events.out.tfevents.*"
_PLACES = ("event", "step", "num_steps")  # numbers of a line that are no curve


@contextmanager
def beside(on_progress: OnProgress | None, choice: Choice) -> Iterator[OnProgress | None]:
    """The watcher of a run, which inside writes event files too; they are closed in every case.

    Only process 0 of several writes.

    Args:
        on_progress: Who else watches.
        choice: ``auto`` writes where the package tensorboard is installed.

    Raises:
        RunError: If the choice is ``yes`` without the package.
    """
    open_writer = _find_writer() if choice != "no" else None
    if choice == "yes" and open_writer is None:
        raise RunError(
            "tensorboard 'yes' needs the package tensorboard, which is not installed: "
            "pip install 'augmix[tensorboard]'"
        )
    if open_writer is None or ranks.rank():
        yield on_progress
        return
    board = _Board(open_writer)
    emit = on_progress or ignore

    def watch(event: dict[str, Any]) -> None:
        board.show(event)
        emit(event)

    try:
        yield watch
    finally:
        board.close()


class _Board:
    """Takes the progress events of a run; its event files are open from the first to `close`."""

    def __init__(self, open_writer: Any) -> None:
        self.open_writer = open_writer
        self.writer: Any = None
        self.began = 0.0

    def show(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "start":
            folder = Path(event["folder"])
            self.open(folder / FOLDER, records.load_lines(folder / records.LOG_FILE))
        elif event["event"] == "log":
            self.add([event])

    def open(self, folder: Path, lines: list[dict[str, Any]]) -> None:
        """Begin the event files anew with the lines that are there.

        Times are those of a run that was never stopped: how long it trained, up to now.
        """
        self.began = time.time() - (lines[-1]["seconds"] if lines else 0.0)
        try:
            for path in folder.glob(_EVENT_FILES):
                path.unlink()
            # step 0: a TensorBoard that is looking on forgets what it has read of this run
            self.writer = self.open_writer(str(folder), purge_step=0)
        except OSError as error:
            raise RunError(f"cannot write {folder}: {error.strerror or error}") from error
        self.add(lines)

    def add(self, lines: list[Any]) -> None:
        """Write lines, to the disk at once: what comes after a crash builds on them."""
        try:
            for line in lines:
                for tag, value in _curves(line):
                    moment = self.began + line["seconds"]
                    self.writer.add_scalar(tag, value, line["step"], walltime=moment)
            self.writer.flush()
        except OSError as error:
            folder = self.writer.log_dir
            raise RunError(f"cannot write {folder}: {error.strerror or error}") from error

    def close(self) -> None:
        if self.writer is not None:
            with suppress(OSError):  # every line was flushed, or its failure was told
                self.writer.close()


def _curves(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every number of a log line with its tag; the loss's terms are `terms/NAME`."""
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{below}", number) for below, number in _curves(value))
        elif isinstance(value, (int, float)) and name not in _PLACES:
            yield name, value


def _find_writer() -> Any:
    """torch's writer of event files; None without the package tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter
