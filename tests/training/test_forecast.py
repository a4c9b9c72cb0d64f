"""A forecast takes real steps, writes nothing, and its numbers follow from them."""

import re
from pathlib import Path
from typing import Any

import pytest
from toy_runs import toy_config

from augmix import cli
from augmix.errors import ResumeError
from augmix.progress import CheckpointWritten, Event, Note
from augmix.training import forecast as module
from augmix.training.forecast import StepTime, forecast_run
from augmix.training.run import train


def fixed_times(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every step takes half a second, a tenth of it waiting; gives the steps that were taken."""
    take, taken = module.time_steps, []

    def timed(learner: Any, views: Any, steps: Any, *, num_threads: int) -> Any:
        steps = list(steps)
        taken.extend(steps)
        for time in take(learner, views, steps, num_threads=num_threads):
            assert time.elapsed_s > time.waited_s >= 0
            yield StepTime(elapsed_s=0.5, waited_s=0.05)

    monkeypatch.setattr(module, "time_steps", timed)
    monkeypatch.setattr(module, "_MEASURING_S", 1e6)  # whatever else the machine does
    return taken


def test_a_run_is_described_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = fixed_times(monkeypatch)
    before = set(tmp_path.iterdir())
    text = "\n".join(forecast_run(toy_config(tmp_path / "run", epochs=100)))
    assert taken == list(range(13))
    assert "small of 278,563 parameters" in text
    assert "20 images, 3 steps an epoch of 8 images with 3 view(s) each, 300 steps" in text
    assert "10 steps measured: 500 ms each, 13 images/s, 10.0 % of the time waiting" in text
    assert "about 2.5 min of training left" in text  # 300 steps of half a second
    assert "a checkpoint takes 2.1 MiB" in text  # weights and momentum, float32
    assert {path.name for path in set(tmp_path.iterdir()) - before} == {"toy.npz"}


def test_what_is_done_is_not_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config(tmp_path / "run")

    def stop(event: Event) -> None:
        if isinstance(event, CheckpointWritten):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(config, on_progress=stop)
    state = (config.run.out / "state.pt").read_bytes()
    taken = fixed_times(monkeypatch)
    text = "\n".join(forecast_run(config))
    assert taken == [*range(4, 9), *range(4, 9), *range(4, 7)]
    assert "4 steps are done already" in text
    assert "about 2.5 s of training left" in text
    assert (config.run.out / "state.pt").read_bytes() == state
    with pytest.raises(ResumeError, match="epochs = 3, this one has 4"):
        forecast_run(toy_config(tmp_path / "run", epochs=4))
    train(config)
    with pytest.raises(ValueError, match="the run is complete: all 9 steps are done"):
        forecast_run(config)


def test_several_seeds_take_several_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed_times(monkeypatch)
    text = "\n".join(forecast_run(toy_config(tmp_path / "run", seeds=4)))
    assert "4 runs, one after another" in text
    assert "about 18 s of training left" in text


def test_the_flag_stands_among_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed_times(monkeypatch)
    toy_config(tmp_path / "run")  # makes the data
    words = f"train --dry-run --source npz --data {tmp_path / 'toy.npz'} --model small"
    toy = ["--epochs", "1", "--device", "cpu", "--batch-size", "8", "--out", str(tmp_path / "run")]
    assert cli.main([*words.split(), *toy]) == 0
    assert "10 steps measured" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_a_heavy_run_is_measured_in_parts_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of 4 images takes 4 s here: 16 of them would take 16 s, and thirteen 208 s."""

    def timed(learner: Any, views: Any, steps: Any, *, num_threads: int) -> Any:
        for _ in steps:
            yield StepTime(elapsed_s=1.0 * views.order.batch_size, waited_s=0.0)

    monkeypatch.setattr(module, "time_steps", timed)
    events: list[Event] = []
    config = toy_config(tmp_path / "run", batch_size=16)
    text = "\n".join(forecast_run(config, on_progress=events.append))
    assert "10 steps of 4 images measured: 16 s each for a whole batch of 16" in text
    assert "MiB at least" in text
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes[0] == "opening the images and small"
    assert notes[1] == "measuring steps of 4 images"
    assert re.fullmatch(r"measuring steps of 4 images, for about \d+ s", notes[2])
    assert len(notes) == 3


def test_measuring_ends_in_time_within_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MEASURING_S", 0.0)
    monkeypatch.setattr(module, "_LEAST_MEASURING_S", 0.0)
    text = "\n".join(forecast_run(toy_config(tmp_path / "run", batch_size=16)))
    assert "no step of 4 images ended in time, so neither time nor memory of a step" in text
    assert "MiB at least" in text
    assert "of training left" in text
    assert "until" not in text
