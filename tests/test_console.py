"""What is shown of long work, as plain lines: there is no terminal in tests."""

import io
from typing import Any

import pytest
from rich.console import Console

from augmix import console as module
from augmix.console import Watch


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
        watch(cell(4, name="tilt", severity=0, flip_probability=0.0321))
    assert text.getvalue().splitlines() == [
        "goes on after 1 of 4 measurements",
        "measured: 3/4, clean: error 25.0 %, about 40 s left",
        "measured: 4/4, tilt: flip probability 3.2 %",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.4, "4 s"), (89.0, "89 s"), (200.0, "3 min"), (10800.0, "3.0 h")]
)
def test_a_stretch_of_time_is_told_coarsely(seconds: float, words: str) -> None:
    assert module._in_words(seconds) == words
