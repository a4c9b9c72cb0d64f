"""A signal in the middle of a long step: the state from before it is on the disk in time."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from toy_runs import read_log, read_weights, toy_config

from augmix.training import checkpoint
from augmix.training.loop import catch_signals, write_after_signal
from augmix.training.run import train

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signal wakes a thread there")

# Trains; step 6 computes for a long time without giving Python a chance to see the signal.
VICTIM = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
from toy_runs import toy_config
from augmix.training.step import Learner
from augmix.training.run import train
torch.set_num_threads(1)
backward, calls = Learner.backward, []

def slow(learner, *arguments):
    calls.append(1)
    loss = backward(learner, *arguments)  # moves the running statistics of batch norm
    if len(calls) == 6:
        print("in step 6", flush=True)
        torch.linalg.eigvals(torch.rand(4500, 4500))  # half a minute within one call
    return loss

Learner.backward = slow
train(toy_config(Path(sys.argv[1]), torch_threads=1))
"""


@pytest.mark.slow
def test_a_step_longer_than_the_grace_is_written_from_before_it(tmp_path: Path) -> None:
    whole = train(toy_config(tmp_path / "whole", torch_threads=1))
    run = tmp_path / "run"
    command = [sys.executable, "-c", VICTIM, str(run), str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"in step 6\n"
        before = (run / "state.pt").stat().st_mtime_ns
        victim.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        while (run / "state.pt").stat().st_mtime_ns == before and time.monotonic() < deadline:
            time.sleep(0.05)
        victim.send_signal(signal.SIGKILL)
    state = checkpoint.load_state(run)
    assert state is not None
    assert state.step == 5  # the checkpoint before it is of step 4
    train(toy_config(run, torch_threads=1))
    assert read_weights(run) == read_weights(whole)
    assert read_log(run) == read_log(whole)


def test_work_that_ends_in_time_is_not_written_by_the_thread() -> None:
    written: list[int] = []
    with catch_signals() as caught, write_after_signal(lambda: written.append(1), grace_s=30.0):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert caught == ["SIGTERM"]
    assert written == []


def test_work_that_goes_on_is_written_once() -> None:
    written: list[int] = []
    with catch_signals(), write_after_signal(lambda: written.append(1), grace_s=0.05):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.5)
    assert written == [1]


def test_an_error_while_writing_does_not_end_the_work() -> None:
    def fail() -> None:
        raise OSError

    with catch_signals(), write_after_signal(fail, grace_s=0.0):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.2)


def test_other_signals_write_nothing_and_the_thread_ends() -> None:
    written: list[int] = []
    earlier = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with write_after_signal(lambda: written.append(1), grace_s=0.0):
            signal.raise_signal(signal.SIGUSR1)
            time.sleep(0.2)
    finally:
        signal.signal(signal.SIGUSR1, earlier)
    assert written == []
    assert not [each for each in threading.enumerate() if each.name == "augmix-stop"]
    assert signal.set_wakeup_fd(-1) == -1


def test_elsewhere_than_in_the_main_thread_nothing_is_caught() -> None:
    seen: list[list[str]] = []

    def work() -> None:
        with catch_signals() as caught, write_after_signal(lambda: None):
            seen.append(caught)

    other = threading.Thread(target=work)
    other.start()
    other.join()
    assert seen == [[]]
