"""The lines that `ProgressDisplay` prints without a terminal, and its bar on one."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from augmix import progress as module
from augmix.progress import (
    BatchFinished,
    CellFinished,
    CheckpointWritten,
    ChecksumStarted,
    DecoderStepsLogged,
    DownloadDelayed,
    DownloadProgress,
    EvaluationStarted,
    Event,
    Note,
    PhaseStarted,
    PieceWritten,
    ProgressDisplay,
    StepFinished,
    StepsLogged,
    TaskFinished,
    TaskStarted,
    TrainingFinished,
    TrainingStarted,
    UnpackingStarted,
)


class Clock:
    """A clock that a test sets, and the lines printed meanwhile."""

    def __init__(self) -> None:
        self.now = 100.0
        self.text = io.StringIO()
        self.display = ProgressDisplay(Console(file=self.text, width=120))

    def show(self, *events: Event) -> None:
        for event in events:
            self.display(event)

    def lines(self) -> list[str]:
        return self.text.getvalue().splitlines()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    return clock


def batch(num_images: int) -> BatchFinished:
    return BatchFinished(suite="c", name="fog", severity=1, num_images=num_images)


def cell(done: int, name: str, *, value: float = 0.25, wait: float = 0.05) -> CellFinished:
    return CellFinished(
        suite="c" if name == "clean" else "p",
        name=name,
        severity=0,
        metric="error" if name == "clean" else "flip probability",
        value=value,
        wait_fraction=wait,
        done=done,
        num_cells=4,
    )


def test_evaluation_prints_cells_done_and_time_left(clock: Clock) -> None:
    clock.show(EvaluationStarted(done=1, num_cells=4, num_images=3000), batch(500))
    clock.show(cell(2, "clean"))  # too early for a line
    clock.now += 20
    clock.show(batch(500), cell(3, "clean"))
    clock.now += 20
    clock.show(batch(2000), cell(4, "tilt", value=0.0321, wait=0.4))
    assert clock.lines() == [
        "continuing after 1 of 4 cells",
        "evaluated: 3/4, clean: error 25.0 %, about 40 s left",
        "evaluated: 4/4, tilt: flip probability 3.2 %, 40 % of the time waiting for images",
    ]


def test_a_complete_evaluation_prints_that_nothing_is_left(clock: Clock) -> None:
    clock.show(EvaluationStarted(done=4, num_cells=4, num_images=0))
    assert clock.lines() == ["all 4 cells are already evaluated"]


def test_training_prints_where_it_continues_and_log_records(clock: Clock) -> None:
    record = {"step": 9, "epoch": 3.0, "loss": 1.5, "train_error": 0.5, "images_per_second": 80.4}
    clock.show(
        PhaseStarted(title="seed0: run 1 of 2"),
        TrainingStarted(folder=Path("run"), step=8, num_steps=9, executor="compiled"),
        StepFinished(step=9, num_steps=9),
        StepsLogged(num_steps=9, record=record),
        CheckpointWritten(step=9, num_steps=9),
        TrainingFinished(folder=Path("run"), num_steps=9),
        TrainingFinished(folder=Path("run"), num_steps=9, was_finished=True),
    )
    assert clock.lines() == [
        "seed0: run 1 of 2",
        "continuing run after step 8",
        "epoch 3.0: 9/9, loss 1.500, train error 50.0 %, 80 images/s",
        "run is already trained (9 steps)",
    ]


def test_a_decoder_prints_the_terms_of_its_loss(clock: Clock) -> None:
    record = {"step": 5, "loss": 2.0, "content": 1.0, "style": 0.5, "identity": 0.25}
    clock.show(DecoderStepsLogged(num_steps=5, record=record))
    assert clock.lines() == ["decoder: 5/5, loss 2.000, content 1.000, style 0.500, identity 0.250"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (0.0123, "12.3 ms"),
        (4.4, "4.4 s"),
        (89.0, "89 s"),
        (200.0, "3.3 min"),
        (10800.0, "3.0 h"),
        (400_000.0, "4.6 days"),
    ],
)
def test_durations_are_rounded(seconds: float, words: str) -> None:
    assert module.format_duration(seconds) == words


def test_a_download_prints_its_size_its_delays_and_what_follows(clock: Clock) -> None:
    def grown(num_bytes: int) -> DownloadProgress:
        return DownloadProgress(file="a.tar", num_bytes=num_bytes, total_bytes=9_000_000)

    clock.show(grown(1_000_000))  # an earlier try left this
    clock.now += 20
    clock.show(grown(3_000_000))
    clock.show(DownloadDelayed(file="a.tar", wait_s=8.0, reason="busy (429)"))
    clock.now += 40
    clock.show(grown(9_000_000), ChecksumStarted(file="a.tar"), UnpackingStarted(file="a.tar"))
    assert clock.lines() == [
        "a.tar: 3 of 9 MB, about 60 s left",
        "a.tar: busy (429); retrying in 8 s",
        "a.tar: 9 of 9 MB",
        "a.tar: computing the checksum",
        "a.tar: unpacking",
    ]


def test_writing_prints_notes_and_images_a_second(clock: Clock) -> None:
    def piece(done: int) -> PieceWritten:
        return PieceWritten(name="fog", severity=2, done=done, total=40, images_per_second=123.4)

    clock.show(Note(text="preset tiny, by the size of 64 x 80 pixels"), piece(20), piece(40))
    assert clock.lines() == [
        "preset tiny, by the size of 64 x 80 pixels",
        "written: 40/40, fog 2, 123 images/s",
    ]


def test_several_runs_are_numbered_and_failures_named(clock: Clock) -> None:
    clock.show(
        TaskStarted(name="a", number=1, total=2),
        TaskFinished(name="a"),
        TaskStarted(name="b", number=2, total=2),
        TaskFinished(name="b", error="RunError: no [file]"),
    )
    assert clock.lines() == [
        "run 1 of 2: a",
        "a: done",
        "run 2 of 2: b",
        "b failed: RunError: no [file]",
    ]


def test_a_terminal_gets_a_bar_and_no_plain_lines() -> None:
    text = io.StringIO()
    console = Console(file=text, width=120, force_terminal=True, color_system=None)
    with ProgressDisplay(console) as display:
        display(EvaluationStarted(done=0, num_cells=4, num_images=40))
        display(batch(40))
        display(cell(4, "clean"))
    assert "evaluating" in text.getvalue()
    assert "4/4 clean: error 25.0 %" in text.getvalue()
    assert "evaluated:" not in text.getvalue()


@pytest.mark.parametrize("name", ["[/red]", "[bold]a", ":smile:", "a\x1b[2Jb"])
def test_names_are_no_markup(name: str):
    clock = Clock()
    clock.display(PhaseStarted(title=name))
    clock.display(TaskStarted(name=name, number=1, total=2))
    shown = name.replace("\x1b", "\\x1b")
    assert clock.text.getvalue() == f"{shown}\nrun 1 of 2: {shown}\n"
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, width=120, force_terminal=True)) as display:
        display(DownloadProgress(file=name, num_bytes=1, total_bytes=2))
    assert shown in text.getvalue()
