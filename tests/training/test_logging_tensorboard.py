"""The event files of a run hold its log, read back by TensorBoard's own reader."""

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter
from toy_runs import read_weights, toy_config

from augmix import distributed
from augmix.errors import RunError
from augmix.paper.runs import Task
from augmix.progress import Event, OnProgress, StepFinished, StepsLogged, TrainingStarted
from augmix.training import logging
from augmix.training.run import train
from augmix.training.settings import update_config

Curves = dict[str, list[tuple[int, float]]]


class Crash(Exception):
    """Stands for anything that ends the process."""


def crash_at(step: int) -> OnProgress:
    def watch(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == step:
            raise Crash

    return watch


def read_events(folder: Path) -> Curves:
    """Step and value of every point."""
    reader = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    reader.Reload()
    tags = reader.Tags()["scalars"]
    return {tag: [(point.step, point.value) for point in reader.Scalars(tag)] for tag in tags}


def read_log(folder: Path) -> Curves:
    """The same of the log, in the single precision of TensorBoard's scalars."""
    curves: Curves = {}
    for text in (folder / "log.jsonl").read_text().splitlines():
        line = json.loads(text)
        terms = {f"terms/{name}": value for name, value in line.pop("terms").items()}
        step = line.pop("step")
        for tag, value in (line | terms).items():
            curves.setdefault(tag, []).append((step, float(np.float32(value))))
    return curves


def test_the_event_files_show_the_log(tmp_path: Path) -> None:
    run = train(toy_config(tmp_path / "run"))
    curves = read_events(run)
    assert curves == read_log(run)
    assert [step for step, _ in curves["loss"]] == [2, 3, 4, 6, 8, 9]
    assert set(curves) >= {
        *("loss", "terms/cross_entropy", "terms/consistency", "learning_rate", "train_error"),
        *("images_per_second", "wait_fraction", "epoch", "seconds"),
    }


@pytest.mark.parametrize("step", [1, 3, 5, 8])
def test_a_resumed_run_leaves_no_double_point(tmp_path: Path, step: int) -> None:
    config = toy_config(tmp_path / "run")
    with pytest.raises(Crash):
        train(config, on_progress=crash_at(step))
    assert read_events(config.run.out) == read_log(config.run.out)
    train(config)
    assert read_events(config.run.out) == read_log(config.run.out)
    assert len(list((config.run.out / "tensorboard").iterdir())) == 1


def test_every_line_is_on_the_disk_once_it_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(tmp_path / "run")
    seen = []
    write = RecordWriter.write

    def write_late(writer: RecordWriter, data: bytes) -> None:
        time.sleep(0.005)
        write(writer, data)

    monkeypatch.setattr(RecordWriter, "write", write_late)

    def watch(event: Event) -> None:
        if isinstance(event, StepsLogged):
            seen.append(event.record["step"])
            assert read_events(config.run.out) == read_log(config.run.out)

    train(config, on_progress=watch)
    assert seen == [2, 3, 4, 6, 8, 9]


def test_every_number_is_a_curve(tmp_path: Path) -> None:
    line = {"step": 3, "seconds": 1.5, "gpus": 2, "note": "text", "terms": {}}
    with logging.logging_to(("tensorboard",), None, {}) as watch:
        assert watch is not None
        watch(TrainingStarted(folder=tmp_path, step=0, num_steps=9, executor="pillow"))
        watch(StepsLogged(num_steps=9, record=line))
    assert read_events(tmp_path) == {"seconds": [(3, 1.5)], "gpus": [(3, 2.0)]}


def test_what_a_crash_took_is_written_again(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run")
    with pytest.raises(Crash):
        train(config, on_progress=crash_at(5))
    (file,) = (config.run.out / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:300])  # in the middle of a record
    assert read_events(config.run.out) != read_log(config.run.out)
    train(config)
    assert read_events(config.run.out) == read_log(config.run.out)


def test_times_are_those_of_the_training(tmp_path: Path) -> None:
    run = train(toy_config(tmp_path / "run", epochs=1))
    reader = EventAccumulator(str(run / "tensorboard"))
    reader.Reload()
    points = reader.Scalars("seconds")
    assert [point.wall_time - points[0].wall_time for point in points] == pytest.approx(
        [point.value - points[0].value for point in points], abs=1e-3
    )


def test_the_choice_changes_no_bit_and_may_be_changed(tmp_path: Path) -> None:
    calm = train(toy_config(tmp_path / "calm", logger=("none",)))
    assert not (calm / "tensorboard").exists()
    config = toy_config(tmp_path / "run", logger=("none",))
    with pytest.raises(Crash):
        train(config, on_progress=crash_at(5))
    train(update_config(config, logger=("tensorboard",)))
    assert read_events(config.run.out) == read_log(config.run.out)
    assert read_weights(config.run.out) == read_weights(calm)
    tasks = [
        Task(training=update_config(config, logger=(name,))) for name in ("none", "tensorboard")
    ]
    assert tasks[0].fingerprint == tasks[1].fingerprint


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    config = toy_config(tmp_path / "run", epochs=1)
    with pytest.raises(RunError, match="pip install 'tensorboard"):
        train(update_config(config, logger=("tensorboard",)))
    assert not config.run.out.exists()
    train(config)
    assert not (config.run.out / "tensorboard").exists()


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    with logging.logging_to(("tensorboard",), None, {}) as watch:
        assert watch is None
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    with logging.logging_to(("tensorboard",), None, {}) as watch:
        assert watch is not None


def test_the_files_are_closed_in_every_case(tmp_path: Path) -> None:
    def begin_and_crash() -> None:
        with logging.logging_to(("tensorboard",), None, {}) as watch:
            assert watch is not None
            watch(TrainingStarted(folder=tmp_path, step=0, num_steps=1, executor="pillow"))
            assert threading.active_count() == before + 1
            raise Crash

    before = threading.active_count()
    with pytest.raises(Crash):
        begin_and_crash()
    assert threading.active_count() == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run")
    config.run.out.mkdir()
    (config.run.out / "tensorboard").write_text("not a folder")
    with pytest.raises(RunError, match="cannot write .*tensorboard: File exists"):
        train(config)
