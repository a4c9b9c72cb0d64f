"""What is shown of long work, as plain lines: there is no terminal in tests."""

import io
from typing import Any

import pytest
from rich.console import Console

from augmix import progress as module
from augmix.progress import Watch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass only when a test says so."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def batch(num_images: int) -> dict[str, Any]:
    return {"event": "batch", "suite": "c", "name": "fog", "severity": 1, "images": num_images}


def cell(done: int, name: str = "fog", severity: int = 1, **facts: float) -> dict[str, Any]:
    facts = facts or {"error": 0.25}
    return {
        "event": "cell",
        "suite": "c",
        "name": name,
        "severity": severity,
        "wait_share": 0.05,
        "done": done,
        "num_cells": 4,
        **facts,
    }


def test_a_measurement_tells_what_is_done_and_how_long_it_takes(clock: list[float]) -> None:
    text = io.StringIO()
    with Watch(Console(file=text, width=120)) as watch:
        watch({"event": "total", "done": 1, "num_cells": 4, "num_images": 3000})
        watch(batch(500))
        watch(cell(2))  # too early for a line
        clock[0] += 20
        watch(batch(500))
        watch(cell(3, name="clean", severity=0))
        clock[0] += 20
        watch(batch(2000))
        watch(cell(4, name="tilt", severity=0, flip_probability=0.0321, wait_share=0.4))
    assert text.getvalue().splitlines() == [
        "goes on after 1 of 4 measurements",
        "measured: 3/4, clean: error 25.0 %, about 40 s left",
        "measured: 4/4, tilt: flip probability 3.2 %, 40 % of the time waiting for images",
    ]


def test_what_is_measured_already_is_said(clock: list[float]) -> None:
    text = io.StringIO()
    with Watch(Console(file=text, width=120)) as watch:
        watch({"event": "total", "done": 4, "num_cells": 4, "num_images": 0})
    assert text.getvalue() == "all 4 measurements are there already\n"


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.4, "4 s"), (89.0, "89 s"), (200.0, "3 min"), (10800.0, "3.0 h")]
)
def test_a_stretch_of_time_is_told_coarsely(seconds: float, words: str) -> None:
    assert module._in_words(seconds) == words


def test_a_download_tells_how_much_is_there_why_it_waits_and_what_follows(
    clock: list[float],
) -> None:
    def grown(num_bytes: int) -> dict[str, Any]:
        return {"event": "download", "file": "a.tar", "bytes": num_bytes, "total": 9_000_000}

    text = io.StringIO()
    with Watch(Console(file=text, width=120)) as watch:
        watch(grown(1_000_000))  # an earlier try left this
        clock[0] += 20
        watch(grown(3_000_000))
        watch({"event": "waiting", "file": "a.tar", "seconds": 8.0, "reason": "busy (429)"})
        clock[0] += 40
        watch(grown(9_000_000))
        watch({"event": "checking", "file": "a.tar"})
        watch({"event": "unpacking", "file": "a.tar"})
    assert text.getvalue().splitlines() == [
        "a.tar: 3 of 9 MB, about 60 s left",
        "a.tar: busy (429); trying again in 8 s",
        "a.tar: 9 of 9 MB",
        "a.tar: taking its checksum",
        "a.tar: unpacking",
    ]


def test_writing_says_the_preset_chosen_and_its_pace(clock: list[float]) -> None:
    text = io.StringIO()
    piece = {
        "event": "piece",
        "name": "fog",
        "severity": 2,
        "total": 40,
        "images_per_second": 123.4,
    }
    with Watch(Console(file=text, width=120)) as watch:
        watch({"event": "preset", "preset": "tiny", "asked": "auto", "size": (64, 80)})
        watch({"event": "preset", "preset": "cifar", "asked": "cifar", "size": (64, 80)})
        watch({**piece, "done": 20})
        watch({**piece, "done": 40})
    assert text.getvalue().splitlines() == [
        "preset tiny, by the size of 64 x 80 pixels",
        "written: 40/40, fog 2, 123 images/s",
    ]


def test_the_runs_of_a_sweep_are_told(clock: list[float]) -> None:
    text = io.StringIO()
    with Watch(Console(file=text, width=120)) as watch:
        watch({"event": "task", "name": "a", "state": "started", "number": 1, "total": 2})
        watch({"event": "task", "name": "a", "state": "done"})
        watch({"event": "task", "name": "b", "state": "started", "number": 2, "total": 2})
        watch({"event": "task", "name": "b", "state": "failed", "reason": "RunError: no [file]"})
    assert text.getvalue().splitlines() == [
        "run 1 of 2: a",
        "a: done",
        "run 2 of 2: b",
        "b failed: RunError: no [file]",
    ]
