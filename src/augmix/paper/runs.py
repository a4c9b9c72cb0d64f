"""Train and measure many runs, by one or several processes, each run once.

A task is one run folder. Its state is kept in `task.json`, and it is locked while a process works
on it, so processes, also on several machines that share the folder, take different tasks. Killed at
any time, the same call continues, even in the middle of a training run. Tables may share run
folders: what was trained or measured for one is not repeated for another.
"""

import hashlib
import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any, Literal

from augmix import files
from augmix.devices import keep_freed_memory
from augmix.errors import Interrupted, RunError
from augmix.evaluation.config import Measurement
from augmix.evaluation.models import run_measurement
from augmix.progress import Event, OnProgress, TaskFinished, TaskStarted, ignore
from augmix.training.config import TrainConfig
from augmix.training.run import train
from augmix.training.settings import flatten

TASK_FILE = "task.json"
_LOCKS = "locks"  # beside the run folders: training and measuring lock those themselves
_POLL_S = 0.5
# Paths and settings of the machine: they do not change a result.
_FREE = ("out", "data", "run", "models", "num_threads", "download", "logger")
_VISIBLE = "CUDA_VISIBLE_DEVICES"

State = Literal["open", "done", "failed", "held"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One run: a training, whose ``out`` is the run folder, then its measurements in order."""

    training: TrainConfig
    measurements: tuple[Measurement, ...] = ()

    @property
    def name(self) -> str:
        """The run folder's name."""
        return self.training.run.out.name

    @property
    def fingerprint(self) -> str:
        """sha256 of the training's settings without paths."""
        return _fingerprint(self.training)

    @property
    def parts(self) -> list[str]:
        """sha256 of each measurement's settings without paths."""
        return [_fingerprint(measurement) for measurement in self.measurements]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """The state of a task after `run_tasks`, and why it failed if it did."""

    task: Task
    state: State  # ``held`` by another process, ``open`` if not started
    reason: str = ""


def run_tasks(
    tasks: Sequence[Task],
    folder: Path,
    *,
    num_processes: int = 1,
    num_devices: int = 0,
    on_progress: OnProgress | None = None,
) -> list[TaskResult]:
    """Train and measure every task that is not done yet, and return the states of all in order.

    Args:
        tasks: Each with a folder of its own.
        folder: Holds their locks.
        num_processes: Tasks run at the same time.
        num_devices: GPUs the processes share, one each in turn; 0 leaves the choice to the tasks.
        on_progress: Called with `TaskStarted` and `TaskFinished`; with one process also with the
            events of the runs.

    Raises:
        ValueError: If two tasks share a folder or ``num_processes`` is below 1.
        Interrupted: If the work was stopped; the same call continues it.
    """
    if num_processes < 1:
        raise ValueError(f"num_processes must be at least 1, got {num_processes}")
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise ValueError(f"every task needs a folder of its own, got {sorted(names)}")
    emit = on_progress or ignore
    try:
        (folder / _LOCKS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {folder}: {error.strerror or error}") from error
    for task in tasks:  # failed tasks are tried again: the reason may be gone
        mark = _load_mark(task)
        if mark.get("reason"):
            _mark(task, mark["measured"])
    if num_processes == 1:
        _work(tasks, folder, emit)
    else:
        _work_together(tasks, folder, num_processes, num_devices, emit)
    return [_result(task, folder) for task in tasks]


def _work(tasks: Sequence[Task], folder: Path, emit: OnProgress) -> None:
    """Run one free task after another."""
    for index, task in enumerate(tasks):
        with ExitStack() as held:
            if _state(task) != "open" or not _is_free(task, folder, held):
                continue
            if _state(task) == "open":  # another process may just have finished it
                emit(TaskStarted(name=task.name, number=index + 1, total=len(tasks)))
                _run(task, emit)


def _run(task: Task, emit: OnProgress) -> None:
    """Train and measure a task, and record its state."""
    measured = list(_load_mark(task).get("measured", []))
    try:
        train(task.training, on_progress=emit)
        for measurement, part in zip(task.measurements, task.parts, strict=True):
            if part not in measured:
                run_measurement(measurement, on_progress=emit)
                measured.append(part)
    except Interrupted:
        raise
    except Exception as error:  # one failed task must not stop the others
        reason = f"{type(error).__name__}: {error}"
        _mark(task, measured, reason=reason, trace=traceback.format_exc())
        emit(TaskFinished(name=task.name, error=reason))
    else:
        _mark(task, measured)
        emit(TaskFinished(name=task.name))


def _work_together(
    tasks: Sequence[Task], folder: Path, num_processes: int, num_devices: int, emit: OnProgress
) -> None:
    """The same by several processes; the events of tasks come back through a queue."""
    context = multiprocessing.get_context("spawn")
    events = context.Queue()
    workers = []
    devices = [str(number) for number in range(num_devices)]
    if devices and os.environ.get(_VISIBLE):
        devices = os.environ[_VISIBLE].split(",")
    for index in range(num_processes):
        device = devices[index % len(devices)] if devices else None
        worker = context.Process(
            target=_worker, args=(list(tasks), folder, events, device), name=f"runs-{index}"
        )
        worker.start()
        workers.append(worker)
    try:
        while any(worker.is_alive() for worker in workers) or not events.empty():
            try:
                emit(events.get(timeout=_POLL_S))
            except Empty:
                continue
    except BaseException:
        for worker in workers:
            worker.terminate()  # SIGTERM: a training run writes a checkpoint before it ends
        raise
    finally:
        for worker in workers:
            worker.join()


def _worker(tasks: Sequence[Task], folder: Path, events: Any, device: str | None) -> None:
    """Run tasks in a process that has one GPU and stops when the one that started it has ended."""
    if device is not None:
        os.environ[_VISIBLE] = device  # nothing has opened a GPU yet
    keep_freed_memory()
    parent = multiprocessing.parent_process()

    def emit(event: Event) -> None:
        if parent is not None and not parent.is_alive():
            raise Interrupted("the process that started this one has ended")
        if isinstance(event, (TaskStarted, TaskFinished)):
            events.put(event)

    try:
        _work(tasks, folder, emit)
    except (Interrupted, KeyboardInterrupt):
        sys.exit(130)


def _is_free(task: Task, folder: Path, held: ExitStack) -> bool:
    """Lock a task until the stack is closed, if no other process has."""
    try:
        held.enter_context(files.hold_folder(folder / _LOCKS / task.name))
    except RunError:
        return False
    return True


def _mark(task: Task, measured: list[str], *, reason: str = "", trace: str = "") -> None:
    """Record that a task is trained, what of it is measured, and why it failed if it did."""
    task.training.run.out.mkdir(parents=True, exist_ok=True)
    mark = {"trained": task.fingerprint, "measured": measured, "reason": reason, "trace": trace}
    files.write_json(task.training.run.out / TASK_FILE, mark)


def _load_mark(task: Task) -> dict[str, Any]:
    """Read the record of a task, empty if it was never started; refuse one of other settings."""
    path = task.training.run.out / TASK_FILE
    if not path.exists():
        return {}
    mark = files.load_json(path)
    if mark.get("trained") != task.fingerprint:
        raise RunError(
            f"{task.training.run.out} was made with other settings than {task.name} has now; "
            "choose another --out, or delete the folder"
        )
    return mark


def _state(task: Task) -> State:
    mark = _load_mark(task)
    if mark.get("reason"):
        return "failed"
    return "done" if mark and set(task.parts) <= set(mark["measured"]) else "open"


def _result(task: Task, folder: Path) -> TaskResult:
    state = _state(task)
    with ExitStack() as held:
        if state == "open" and not _is_free(task, folder, held):
            state = "held"
    return TaskResult(task=task, state=state, reason=_load_mark(task).get("reason", ""))


def _fingerprint(config: TrainConfig | Measurement) -> str:
    plain = files.to_plain(flatten(config) if isinstance(config, TrainConfig) else config)
    plain |= plain.pop("how", {})  # of a measurement
    kept = {name: value for name, value in plain.items() if name not in _FREE}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
