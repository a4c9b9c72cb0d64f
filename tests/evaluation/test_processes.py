"""Several processes, and a killed one, measure what one does: the same bits."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from toy_runs import write_npz

from augmix import results
from augmix.results import Results

# Processes are forked from one that has loaded torch already: loading it takes seconds.
WORK = """
import os, random, shutil, signal, socket, sys, time, warnings
from pathlib import Path
import torch
from augmix import distributed
from augmix.data.sources import open_source
from augmix.evaluation.loop import evaluate
from augmix.models.weights import build_model
from augmix.errors import RunError

warnings.simplefilter("ignore")  # fork beside threads
torch.set_num_threads(1)

def work(folder, dies_at, seed):
    torch.manual_seed(seed)
    model = build_model("small", num_classes=6)
    calls = []

    def die(*_):
        calls.append(1)
        if distributed.rank() == 1 and len(calls) == dies_at:
            os._exit(9)

    model.register_forward_pre_hook(die)
    with distributed.joined():
        evaluate(
            model,
            open_source("npz", root=folder.parent / "toy.npz", split="test"),
            suite=("clean", "c", "p"),
            names=("shot_noise", "contrast"),
            severities=(1, 5),
            sequences=("translate", "gaussian_noise"),
            batch_size=7,
            bin_size=5,
            adapt_batch_norm=True,
            temperature_images=6,
            metrics=("classwise", "conformal", "calibrators"),
            out=folder,
        )
        evaluate(
            model,
            open_source("npz", root=folder.parent / "toy.npz", split="test"),
            suite=("clean", "attack", "fourier", "ood"),
            ood=(folder.parent / "toy.npz",),
            fourier_size=3,
            attack_epsilon=0.005,
            attack_steps=3,
            attack_restarts=2,
            batch_size=3,
            bin_size=5,
            out=folder.with_name(folder.name + "-attacked"),
        )

def run_all(folder, world_size, dies_at=0, seeds=(0, 0)):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(world_size):
        child = os.fork()
        if not child:
            launched = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size}
            launched |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in launched.items()})
            code = 0
            try:
                work(folder, dies_at, seeds[rank])
            except RunError as error:
                code = 1
                print(f"{folder.name} {rank} refused: {error}", file=sys.stderr, flush=True)
            os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(folder.name, *codes, flush=True)

def run_killed(folder):
    delays, kills, code = random.Random(0), 0, -9
    while code == -9:
        child = os.fork()
        if not child:
            work(folder, 0, 0)
            os._exit(0)
        if kills < 4:
            time.sleep(delays.uniform(0.05, 0.3))
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        kills += code == -9
    print(folder.name, code, kills, flush=True)

folder = Path(sys.argv[1])
if sys.argv[2] == "together":
    run_all(folder / "alone", 1)
    run_all(folder / "two", 2)
    run_all(folder / "differ", 2, seeds=(0, 1))
else:
    run_all(folder / "dies", 2, dies_at=4)
    shutil.copy(folder / "dies" / "results.json", folder / "dies.json")
    run_all(folder / "dies", 1)
    run_killed(folder / "killed")
"""


Done = tuple[Path, str, str]  # the folder of all measurements, their exit codes, their messages


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One process, two, and two of different models."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    folder = tmp_path_factory.mktemp("processes")
    write_npz(folder / "toy.npz", num_classes=6)
    return run_work(folder, "together")


@pytest.fixture(scope="module")
def ended(done: Done) -> Done:
    """Two processes of which one ends, and one that is killed again and again."""
    return run_work(done[0], "ended")


def run_work(folder: Path, part: str) -> Done:
    finished = subprocess.run(
        [sys.executable, "-c", WORK, str(folder), part],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.returncode == 0, finished.stderr
    return folder, finished.stdout, finished.stderr


def load_timeless(folder: Path) -> Results:
    """The results without machine and times."""
    found = results.load_results(folder / "results.json")
    return replace(
        found,
        provenance={},
        cells=tuple(replace(cell, seconds=0.0) for cell in found.cells),
        sequences=tuple(replace(cell, seconds=0.0) for cell in found.sequences),
        frequencies=tuple(replace(cell, seconds=0.0) for cell in found.frequencies),
        outliers=tuple(replace(cell, seconds=0.0) for cell in found.outliers),
    )


def assert_same_files(first: Path, second: Path, num_files: int = 8) -> None:
    assert load_timeless(first) == load_timeless(second)
    files = sorted((first / "predictions").iterdir())
    assert len(files) == num_files
    for file in files:
        assert file.read_bytes() == (second / "predictions" / file.name).read_bytes()


def test_two_processes_give_the_bits_of_one(done: Done) -> None:
    folder, codes, _ = done
    assert codes.splitlines()[:2] == ["alone 0", "two 0 0"]
    one = load_timeless(folder / "alone")
    assert (len(one.cells), len(one.sequences)) == (5, 2)
    assert one.temperature is not None
    assert one.cells[0].num_images == 14
    assert one.cells[0].scaled is not None
    assert_same_files(folder / "alone", folder / "two")


def test_two_processes_attack_as_one(done: Done) -> None:
    folder, _, _ = done
    clean, attacked = load_timeless(folder / "alone-attacked").cells
    assert (attacked.suite, attacked.num_images) == ("attack", 20)
    assert clean.nll_sum < attacked.nll_sum
    assert_same_files(folder / "alone-attacked", folder / "two-attacked", num_files=6)


@pytest.mark.slow
def test_when_one_ends_the_others_say_so_and_can_continue(ended: Done) -> None:
    folder, codes, messages = ended
    assert codes.splitlines()[:2] == ["dies 1 9", "dies 0"]
    assert "dies 0 refused: process 0 of 2 has lost the others" in messages
    assert "start again to continue" in messages
    kept = json.loads((folder / "dies.json").read_text())
    assert 0 < len(kept["cells"]) < 5
    assert_same_files(folder / "alone", folder / "dies")


def test_processes_of_different_models_do_not_work_together(done: Done) -> None:
    folder, codes, messages = done
    assert codes.splitlines()[2] == "differ 1 1"
    assert "differ 1 refused: process 1 of 2 has another model, source or protocol" in messages
    assert not (folder / "differ" / "results.json").exists()


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_no_bit(ended: Done) -> None:
    folder, codes, _ = ended
    name, code, kills = codes.splitlines()[2].split()
    assert (name, code) == ("killed", "0")
    assert int(kills) >= 1
    assert_same_files(folder / "alone", folder / "killed")
    assert_same_files(folder / "alone-attacked", folder / "killed-attacked", num_files=6)
    for file in ("examples.npz", "hardest.npz"):
        assert (folder / "alone" / file).read_bytes() == (folder / "killed" / file).read_bytes()
