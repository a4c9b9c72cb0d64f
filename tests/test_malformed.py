"""Files damaged in any way are read as they are, or refused by a message that names them."""

import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import fake_runs
import numpy as np
import pytest
import torch
from mutations import mutate
from toy_runs import toy_config

from augmix import AugMix, Stream, report
from augmix.augment import render
from augmix.augment.plan import Plan
from augmix.data.sources import open_source
from augmix.errors import Interrupted, ResumeError, RunError
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.models import load_run, run_measurement
from augmix.models.weights import build_model, load_model, save_model
from augmix.progress import Event, StepFinished
from augmix.report.comparison import compare
from augmix.report.load import load_runs
from augmix.training.run import train

_LIMIT_S = 60
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    """End a test that hangs, and keep torch to one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def stop(number: int, frame: object) -> None:
        raise AssertionError(f"hung for {_LIMIT_S} s")

    earlier = signal.signal(signal.SIGALRM, stop)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, earlier)
    torch.set_num_threads(before)


def check(folder: Path, name: str, read: Callable[[Path], object], *, seeds: range) -> None:
    """Mutate a file of a folder again and again, and read it each time."""
    path = folder / name
    whole = path.read_bytes()
    failures = []
    for seed in seeds:
        how = mutate(path, np.random.default_rng([seed, len(name)]))
        signal.alarm(_LIMIT_S)
        try:
            read(folder)
        except Exception as error:
            is_message = isinstance(error, RunError | ValueError) and path.name in str(error)
            if not is_message and not isinstance(error, ResumeError):  # of another run, it seems
                failures.append(f"seed {seed}, {how}: {type(error).__name__} {str(error)[:300]}")
        finally:
            signal.alarm(0)
            path.write_bytes(whole)
    assert not failures, "\n".join(failures)


def read_model(folder: Path) -> None:
    load_model(folder)(torch.rand(1, 3, 16, 16))


def read_plan(folder: Path) -> None:
    plan = Plan.load(folder / "plan.npz")
    if len(plan) == len(IMAGES) and plan.size == (16, 16):
        render(IMAGES, plan, executor="pillow")


def read_data(folder: Path) -> None:
    source = open_source("npz", root=folder / "data.npz", split="test")
    source.load(np.arange(len(source)))


def read_report(folder: Path) -> None:
    compare([folder])


def write_files(folder: Path) -> Path:
    """A run folder with made-up results, a plan and images."""
    fake_runs.make_run(
        folder, names=fake_runs.NAMES[:1], sequences=("tilt",), num_images=20, side=8
    )
    fake_runs.add_frequencies(folder, size=3)
    torch.manual_seed(0)
    save_model(folder, build_model("small", num_classes=3))
    AugMix().sample(np.arange(4), num_views=2, size=(16, 16), stream=Stream(seed=0)).save(
        folder / "plan.npz"
    )
    np.savez(folder / "data.npz", images=IMAGES, labels=np.arange(4))
    return folder


READERS = {
    "model.json": read_model,
    "weights.safetensors": read_model,
    "plan.npz": read_plan,
    "data.npz": read_data,
    "results.json": load_runs,
    "log.jsonl": load_runs,
    "examples.npz": load_runs,
    "hardest.npz": load_runs,
    "mistakes.npz": load_runs,
    "predictions/images.npz": load_runs,
    "predictions/c-gaussian_noise-3.npz": load_runs,
    "predictions/p-tilt.npz": load_runs,
    "predictions/fourier-vertical-1.npz": load_runs,
}


def test_some_mutations_of_every_file(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "run")
    for name, read in READERS.items():
        of_runs = (lambda folder: load_runs([folder])) if read is load_runs else read
        check(folder, name, of_runs, seeds=range(5))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_mutations(tmp_path: Path, name: str) -> None:
    folder = write_files(tmp_path / "run")
    read = read_report if READERS[name] is load_runs else READERS[name]
    check(folder, name, read, seeds=range(5, 65))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy run, trained and measured."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(toy_config(folder, torch_threads=1))
    run_measurement(measurement(folder))
    return folder


@pytest.fixture(scope="session")
def half_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy run that was stopped after its first checkpoint."""
    folder = tmp_path_factory.mktemp("half") / "run"

    def stop(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == 5:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(toy_config(folder, torch_threads=1), on_progress=stop)
    return folder


def measurement(folder: Path) -> Measurement:
    how = EvaluateConfig(
        suite=("clean", "c", "p"), names=("contrast",), severities=(1, 5), sequences=("translate",)
    )
    return Measurement(models=(str(folder),), how=replace(how, device="cpu"))


def copy_run(run_folder: Path, folder: Path) -> Path:
    shutil.copytree(run_folder, folder)
    shutil.copy(run_folder.parent / "toy.npz", folder.parent)
    return folder


def train_on(folder: Path) -> None:
    train(toy_config(folder, torch_threads=1))


def evaluate_again(folder: Path) -> None:
    run_measurement(measurement(folder))


def write_page(folder: Path) -> None:
    report.write_report([folder], folder.parent / "page.html", ("csv", "json", "markdown"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "read", "count"),
    [
        ("config.json", load_run, 50),
        ("config.json", train_on, 20),
        ("state.pt", train_on, 80),
        ("log.jsonl", train_on, 20),
        ("weights.safetensors", evaluate_again, 20),
        ("model.json", evaluate_again, 20),
        ("results.json", evaluate_again, 60),
        ("predictions/c-contrast-5.npz", evaluate_again, 30),
        ("predictions/images.npz", evaluate_again, 10),
        ("examples.npz", evaluate_again, 10),
        ("results.json", write_page, 40),
        ("examples.npz", write_page, 15),
        ("hardest.npz", write_page, 15),
        ("mistakes.npz", write_page, 15),
        ("log.jsonl", write_page, 15),
    ],
)
def test_mutations_in_use(
    run_folder: Path,
    half_folder: Path,
    tmp_path: Path,
    name: str,
    read: Callable[[Path], object],
    count: int,
) -> None:
    if name == "mistakes.npz":  # the toy run makes no mistake
        folder = write_files(tmp_path / "run")
    else:
        folder = copy_run(half_folder if read is train_on else run_folder, tmp_path / "run")
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def read_whole(folder: Path) -> None:
        try:
            read(folder)
        finally:
            for path, content in whole.items():
                path.write_bytes(content)

    check(folder, name, read_whole, seeds=range(count))
