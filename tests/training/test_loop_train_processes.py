"""Several processes train what one does, stop together, and go on to the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from toy_runs import read_log, read_weights, toy_config

from augmix.errors import ResumeError
from augmix.training import checkpoint
from augmix.training.run import train

pytestmark = pytest.mark.slow

# Processes are forked from one that has loaded torch already: loading it takes seconds.
WORK = """
import json, os, signal, socket, sys, time, warnings
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
from toy_runs import toy_config, write_npz
from augmix.progress import StepFinished
from augmix.training.run import train
from augmix.errors import RunError

warnings.simplefilter("ignore")  # fork beside threads
torch.set_num_threads(1)
PLAIN = {"dropout": 0.0, "log_every": 1, "learning_rate": 0.01}  # larger ones are chaotic

def work(folder, rank, changes, dies_at, stops_at):
    def watch(event):  # process 0 alone is told; it speaks for process 1 too
        if not isinstance(event, StepFinished):
            return
        if event.step == dies_at:
            os.kill(peers[1], signal.SIGKILL)
        if event.step == stops_at:
            os.kill(peers[1], signal.SIGTERM)
    train(toy_config(folder, **changes), on_progress=watch)

def run_all(name, world_size, dies_at=0, stops_at=0, **changes):
    global peers
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    peers = {}
    for rank in reversed(range(world_size)):  # so that process 0 knows process 1
        child = os.fork()
        if not child:
            launched = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size}
            launched |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            launched |= {"LOCAL_WORLD_SIZE": world_size}
            os.environ.update({name: str(value) for name, value in launched.items()})
            code = 0
            try:
                work(place / name, rank, changes, dies_at, stops_at)
            except (RunError, ValueError) as error:
                code = 1
                print(f"{name} {rank}: {error}", file=sys.stderr, flush=True)
            os._exit(code)
        peers[rank] = child
    codes = [os.waitstatus_to_exitcode(os.waitpid(peers[r], 0)[1]) for r in sorted(peers)]
    print(name, *codes, flush=True)

place = Path(sys.argv[1])
write_npz(place / "toy.npz")
run_all("one", 1, **PLAIN)
run_all("two", 2, **PLAIN)
run_all("local", 2, sync_batch_norm=False, **PLAIN)
watched = {**PLAIN, "val_fraction": 0.4, "batch_size": 4}
run_all("watched-one", 1, **watched)
run_all("watched-two", 2, **watched)
attacked = {**PLAIN, "method": "adversarial", "attack_steps": 2, "epochs": 1}
run_all("attacked-one", 1, **attacked)
run_all("attacked-two", 2, **attacked)
rich = {"accumulate": 2, "ema_decay": 0.9, "clip_norm": 1.0, "epochs": 2, "checkpoint_every": 2}
run_all("calm", 2, **rich)
run_all("killed", 2, dies_at=3, **rich)
run_all("killed", 2, **rich)
run_all("stopped", 2, stops_at=3, **rich)
saved = place / "stopped" / "state.pt"
print("saved", torch.load(saved, weights_only=True)["step"], flush=True)
run_all("stopped", 2, **rich)
run_all("few", 2, batch_size=19, epochs=1)
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]], str]:
    """The folder of all runs, the exit codes by run in order, and what the processes said."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    place = tmp_path_factory.mktemp("processes")
    told = subprocess.run(
        [sys.executable, "-c", WORK, str(place), str(Path(__file__).parents[1])],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert told.returncode == 0, told.stderr
    codes: dict[str, list[str]] = {}
    for line in told.stdout.splitlines():
        name, _, rest = line.partition(" ")
        codes.setdefault(name, []).append(rest)
    return place, codes, told.stderr


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_log(folder)]


def test_two_processes_learn_what_one_learns(done: Any) -> None:
    place, codes, _ = done
    assert codes["one"] == ["0"]
    assert codes["two"] == ["0 0"]
    one, two = read_log(place / "one"), read_log(place / "two")
    assert len(one) == 9
    for alone, together in zip(one, two, strict=True):
        assert together["step"] == alone["step"]
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-4)
        assert together["terms"] == pytest.approx(alone["terms"], rel=1e-3)
        assert together["train_error"] == pytest.approx(alone["train_error"])


def test_batch_norm_of_each_process_alone_learns_otherwise(done: Any) -> None:
    place, codes, _ = done
    assert codes["local"] == ["0 0"]
    assert losses(place / "local")[2] != pytest.approx(losses(place / "one")[2], rel=5e-3)


def test_two_processes_measure_what_one_measures(done: Any) -> None:
    place, codes, _ = done
    assert (codes["watched-one"], codes["watched-two"]) == (["0"], ["0 0"])
    one, two = (
        [line["validation"] for line in read_log(place / name) if "validation" in line]
        for name in ("watched-one", "watched-two")
    )
    assert len(one) == 3
    assert two == one


def test_torchrun_on_the_command_line_measures_what_one_process_measures(tmp_path: Path) -> None:
    changes = {"dropout": 0.0, "learning_rate": 0.01, "val_fraction": 0.4, "batch_size": 4}
    config = toy_config(tmp_path / "one", **changes, ema_decay=0.9, torch_threads=1)
    one = train(config)
    flags = [
        f"--{name.replace('_', '-')}={value}"
        for name, value in {
            **changes,
            **{
                "ema_decay": 0.9,
                "torch_threads": 1,
                "data": tmp_path / "toy.npz",
                "model": "small",
            },
            **{"epochs": 3, "crop_padding": 1, "flip": "yes", "executor": "pillow"},
            **{"device": "cpu", "out": tmp_path / "two"},
        }.items()
    ]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "augmix", "train", *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run: ") == 1  # process 0 alone speaks
    measured = [
        [line["validation"] for line in read_log(folder) if "validation" in line]
        for folder in (one, tmp_path / "two")
    ]
    assert len(measured[0]) == 3
    assert measured[1] == measured[0]


def test_attacked_images_are_those_of_one_process(done: Any) -> None:
    place, codes, _ = done
    assert (codes["attacked-one"], codes["attacked-two"]) == (["0"], ["0 0"])
    expected = losses(place / "attacked-one")
    assert losses(place / "attacked-two") == pytest.approx(expected, rel=1e-3)


def test_when_one_is_killed_the_other_says_so_and_both_go_on_exactly(done: Any) -> None:
    place, codes, messages = done
    assert codes["calm"] == ["0 0"]
    assert codes["killed"] == ["1 -9", "0 0"]
    assert "killed 0: process 0 of 2 has lost the others" in messages
    assert read_weights(place / "killed") == read_weights(place / "calm")
    assert read_log(place / "killed") == read_log(place / "calm")


def test_a_signal_to_one_stops_both_after_the_same_step(done: Any) -> None:
    place, codes, messages = done
    assert codes["stopped"] == ["1 1", "0 0"]
    (step,) = codes["saved"]
    assert step in ("3", "4", "5")  # when the signal arrives
    assert f"stopped 1: stopped by SIGTERM after step {step} of 6" in messages
    assert f"stopped 0: stopped by another process after step {step} of 6" in messages
    assert read_weights(place / "stopped") == read_weights(place / "calm")
    assert read_log(place / "stopped") == read_log(place / "calm")


def test_another_number_of_processes_is_refused(done: Any) -> None:
    place, _, _ = done
    state = checkpoint.load_state(place / "two")
    assert state is not None
    assert state.identity["processes"] == 2
    config = json.loads((place / "two" / "config.json").read_text())
    assert config["sync_batch_norm"] is True
    with pytest.raises(ResumeError, match="processes = 2, this one has 1"):
        train(toy_config(place / "two", dropout=0.0, log_every=1, learning_rate=0.01))


def test_a_step_with_fewer_images_than_processes_is_refused(done: Any) -> None:
    _, codes, messages = done
    assert codes["few"] == ["1 1"]
    assert "the last batch of 20 images in batches of 19 has 1, got 2 ranks" in messages
