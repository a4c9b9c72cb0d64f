"""Many runs: every task once, failures recorded, killed and continued, two processes apart."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from toy_runs import read_weights, toy_config, write_npz

from augmix import files, results, run_folder
from augmix.errors import Interrupted, RunError
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.files import hold_folder
from augmix.paper.runs import TASK_FILE, Task, run_tasks
from augmix.progress import Event, StepFinished, TaskFinished, TaskStarted
from augmix.training.settings import update_config


def make_tasks(folder: Path, seeds: tuple[int, ...] = (0, 1)) -> list[Task]:
    folder.mkdir(exist_ok=True)
    tasks = []
    for seed in seeds:
        training = update_config(toy_config(folder / f"seed{seed}"), seed=seed)
        how = EvaluateConfig(suite=("clean",), max_images=10)
        clean = Measurement(models=(str(training.run.out),), how=how)
        tasks.append(Task(training=training, measurements=(clean,)))
    return tasks


def states(events: list[Event]) -> list[tuple[str, str]]:
    """Name and state of every task event."""
    found = []
    for event in events:
        if isinstance(event, TaskStarted):
            found.append((event.name, "started"))
        elif isinstance(event, TaskFinished):
            found.append((event.name, "failed" if event.error else "done"))
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Task], list[Event]]:
    """Two finished tasks, their folder, and what was reported."""
    folder = tmp_path_factory.mktemp("finished")
    tasks, events = make_tasks(folder), list[Event]()
    assert [each.state for each in run_tasks(tasks, folder, on_progress=events.append)] == [
        "done"
    ] * 2
    return folder, tasks, events


def test_every_task_is_done_once(finished: tuple[Path, list[Task], list[Event]]):
    folder, tasks, events = finished
    assert states(events) == [
        ("seed0", "started"),
        ("seed0", "done"),
        ("seed1", "started"),
        ("seed1", "done"),
    ]
    assert (folder / "seed1" / results.RESULTS_FILE).exists()
    again: list[Event] = []
    assert [each.state for each in run_tasks(tasks, folder, on_progress=again.append)] == [
        "done"
    ] * 2
    assert again == []


def test_a_failing_task_does_not_stop_the_rest(tmp_path: Path):
    broken, fine = make_tasks(tmp_path)
    gone = update_config(broken.training, source="npz", data=str(tmp_path / "nowhere"))
    events: list[Event] = []
    found = run_tasks([replace(broken, training=gone), fine], tmp_path, on_progress=events.append)
    assert [each.state for each in found] == ["failed", "done"]
    assert "nowhere" in found[0].reason
    assert "nowhere" in getattr(events[1], "error", "")
    mark = files.load_json(tmp_path / "seed0" / TASK_FILE)
    assert "Traceback" in mark["trace"]


def test_what_failed_is_tried_again(tmp_path: Path):
    (task,) = make_tasks(tmp_path, seeds=(0,))
    data = tmp_path / "set.npz"
    training = update_config(task.training, source="npz", data=str(data))
    task = replace(task, training=training)
    assert run_tasks([task], tmp_path)[0].state == "failed"
    write_npz(data)
    assert run_tasks([task], tmp_path)[0].state == "done"


def test_stopped_tasks_continue_to_the_same_bits(
    finished: tuple[Path, list[Task], list[Event]], tmp_path: Path
):
    cut = make_tasks(tmp_path)

    def stop(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == 2:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        run_tasks(cut, tmp_path, on_progress=stop)
    assert not (cut[0].training.run.out / TASK_FILE).exists()
    assert [each.state for each in run_tasks(cut, tmp_path)] == ["done", "done"]
    for one, other in zip(finished[1], cut, strict=True):
        assert read_weights(one.training.run.out) == read_weights(other.training.run.out)


def test_other_settings_are_refused(finished: tuple[Path, list[Task], list[Event]]):
    folder, (task, _), _ = finished
    other = replace(task, training=update_config(task.training, learning_rate=0.01))
    with pytest.raises(RunError, match="other settings than seed0 has now"):
        run_tasks([other], folder)


def test_another_measurement_keeps_the_training(
    finished: tuple[Path, list[Task], list[Event]], tmp_path: Path
):
    folder, (task, _), _ = finished
    how = EvaluateConfig(suite=("clean",), out=tmp_path / "more", max_images=5)
    more = replace(task.measurements[0], how=how)
    events: list[Event] = []
    wider = replace(task, measurements=(*task.measurements, more))
    assert run_tasks([wider], folder, on_progress=events.append)[0].state == "done"
    assert not [event for event in events if isinstance(event, StepFinished)]
    assert (tmp_path / "more" / results.RESULTS_FILE).exists()


HOLD = """
import sys
from pathlib import Path
from augmix.files import hold_folder
with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_task_of_another_process_is_left_alone(tmp_path: Path):
    held, free = make_tasks(tmp_path)
    command = [sys.executable, "-c", HOLD, str(tmp_path / "locks" / "seed0")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:  # ends with its input
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        found = run_tasks([held, free], tmp_path)
        other.communicate()
    assert other.returncode == 0
    assert [each.state for each in found] == ["held", "done"]
    assert not held.training.run.out.exists()


def test_two_processes_share_the_tasks(tmp_path: Path):
    tasks = make_tasks(tmp_path, seeds=(0, 1, 2))
    events: list[Event] = []
    found = run_tasks(tasks, tmp_path, num_processes=2, on_progress=events.append)
    assert [each.state for each in found] == ["done"] * 3
    assert sorted(states(events)) == sorted(
        (task.name, state) for task in tasks for state in ("started", "done")
    )


VICTIM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from toy_runs import toy_config
from augmix.paper.runs import Task, run_tasks
from augmix.training.settings import update_config
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    training = update_config(toy_config(folder / "endless"), epochs=1_000_000)
    other = update_config(training, seed=1, out=folder / "endless1")
    run_tasks([Task(training=training), Task(training=other)], folder, num_processes=2)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_workers_end_with_the_process_that_started_them(tmp_path: Path):
    script = tmp_path / "victim.py"
    script.write_text(VICTIM)
    tests = Path(__file__).parents[1]
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path), str(tests)])
    logs = [tmp_path / name / run_folder.LOG_FILE for name in ("endless", "endless1")]
    give_up = time.monotonic() + 120
    while not all(map(Path.exists, logs)):
        assert parent.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    for log in logs:
        while True:  # the run's lock is free once its process has ended
            assert time.monotonic() < give_up
            try:
                with hold_folder(log.parent):
                    break
            except RunError:
                time.sleep(0.1)


def test_bad_arguments(tmp_path: Path):
    (task,) = make_tasks(tmp_path, seeds=(0,))
    with pytest.raises(ValueError, match="num_processes must be at least 1, got 0"):
        run_tasks([task], tmp_path, num_processes=0)
    with pytest.raises(ValueError, match="a folder of its own"):
        run_tasks([task, task], tmp_path)
