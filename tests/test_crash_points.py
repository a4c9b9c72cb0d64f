"""Runs that are killed, or lose their power, at any write continue to the same bytes.

A run is copied as its disk would be at each flush and each rename: after SIGKILL (all that was
written is there), after a power loss (only what was flushed is there), and after one that kept
names whose contents were not flushed (zeros). Each copy is then continued.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_runs import read_log, read_weights, toy_config, write_npz

from augmix.data.sources import Source, open_source
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.models import run_measurement
from augmix.files import is_leftover
from augmix.results import RESULTS_FILE, load_results
from augmix.training.run import train
from augmix.write import CorruptOptions, sets

KINDS = ("killed", "power lost", "contents lost")


class Disk:
    """What of a folder is on the disk: contents that were flushed, and names in flushed folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.contents: dict[int, bytes] = {}
        self.names: dict[int, dict[str, tuple[int, bool]]] = {}

    def flushed(self, handle: int) -> None:
        """Record what `os.fsync` has made durable."""
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        number = os.fstat(handle).st_ino
        if path.is_dir():
            self.names[number] = {
                entry.name: (entry.inode(), entry.is_dir()) for entry in os.scandir(path)
            }
        else:
            self.contents[number] = path.read_bytes()

    def copy(self, target: Path, kind: str) -> None:
        """Copy the folder as it is found after a crash."""
        if kind == "killed":
            shutil.copytree(self.root, target)
        elif kind == "power lost":
            self._copy_flushed(self.root.stat().st_ino, target)
        else:
            shutil.copytree(self.root, target, copy_function=self._copy_content)

    def _copy_flushed(self, folder: int, target: Path) -> None:
        target.mkdir()
        for name, (number, is_folder) in self.names.get(folder, {}).items():
            if is_folder:
                self._copy_flushed(number, target / name)
            else:
                (target / name).write_bytes(self.contents.get(number, b""))

    def _copy_content(self, source: str, target: str) -> None:
        status = os.stat(source)
        content = self.contents.get(status.st_ino, bytes(status.st_size))
        Path(target).write_bytes(content)


@contextmanager
def crashing(root: Path, copies: Path, *, every: int) -> Iterator[None]:
    """Copy a folder at every so many flushes and renames, by all kinds of crashes in turn."""
    disk, count = Disk(root), 0
    fsync, rename = os.fsync, os.replace
    copies.mkdir()

    def snapshot() -> None:
        nonlocal count
        count += 1
        if count % every == 0:
            kind = KINDS[count // every % len(KINDS)]
            disk.copy(copies / f"{count:04d} {kind}", kind)

    def flush(handle: int) -> None:
        fsync(handle)
        disk.flushed(handle)
        snapshot()

    def replace_file(source: Path, target: Path) -> None:
        rename(source, target)
        snapshot()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", flush)
        patch.setattr(os, "replace", replace_file)
        yield


def check(
    tmp_path: Path, run: Callable[[Path], object], read: Callable[[Path], object], *, every: int
) -> int:
    """Run into a folder, continue every copy of it, and compare; return the number of copies."""
    root, copies = tmp_path / "disk", tmp_path / "copies"
    root.mkdir()
    with crashing(root, copies, every=every):
        run(root)
    whole = read(root)
    for copy in (found := sorted(copies.iterdir())):
        shutil.rmtree(root)
        copy.rename(root)
        run(root)
        assert read(root) == whole, copy.name
        assert not [path for path in root.rglob("*") if is_leftover(path.name)], copy.name
    return len(found)


def make_source(tmp_path: Path, num_images: int) -> Source:
    images = np.random.default_rng(0).integers(0, 256, (num_images, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "clean.npz", images=images, labels=np.arange(num_images) % 3)
    return open_source("npz", root=tmp_path / "clean.npz", split="test")


def read_set(root: Path) -> dict[str, bytes]:
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


@pytest.mark.parametrize(
    ("num_images", "every"), [(2, 13), pytest.param(7, 7, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("layout", ["cifar", "imagenet"])
def test_a_written_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, num_images: int, every: int
) -> None:
    monkeypatch.setattr(sets, "_MAX_IMAGES", 2)
    source = make_source(tmp_path, num_images)
    names = ("contrast", "gaussian_noise")[: num_images // 3 + 1]
    options = CorruptOptions(names=names, layout=layout, num_processes=1)

    def run(root: Path) -> None:
        sets.write_corrupted(source, root / "set", options)

    assert check(tmp_path, run, read_set, every=every) >= 3


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"val_fraction": 0.2, "ema_decay": 0.9, "patience": 2}])
def test_a_training(tmp_path: Path, one_torch_thread: None, changes: dict[str, Any]) -> None:
    def read(root: Path) -> object:
        return read_weights(root / "run"), read_log(root / "run")

    data = write_npz(tmp_path / "data.npz")

    def run(root: Path) -> None:
        common = {"data": str(data), "torch_threads": 1, "logger": ("none",)}
        train(toy_config(root / "run", **common, **changes))

    assert check(tmp_path, run, read, every=2) >= 15


@pytest.mark.slow
def test_an_evaluation(tmp_path: Path, one_torch_thread: None) -> None:
    trained = tmp_path / "trained" / "run"
    trained.parent.mkdir()
    train(toy_config(trained, torch_threads=1, logger=("none",), epochs=1))
    how = EvaluateConfig(
        suite=("clean", "c", "p"), names=("contrast",), severities=(1, 5), sequences=("translate",)
    )

    def run(root: Path) -> None:
        out = replace(how, device="cpu", out=root / "results")
        run_measurement(Measurement(models=(str(trained),), how=out))

    def read(root: Path) -> object:
        results = load_results(root / "results" / RESULTS_FILE)
        cells = [replace(cell, seconds=0.0) for cell in results.cells]
        found = read_set(root)
        return cells, {name: found[name] for name in found if name.endswith(".npz")}

    assert check(tmp_path, run, read, every=1) > 15
