"""Shards measure, cell by cell, what one process does."""

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_runs import write_npz

from augmix.data.sources import open_source
from augmix.errors import ResumeError, RunError
from augmix.evaluation import loop
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.loop import evaluate
from augmix.models.weights import build_model
from augmix.progress import CellFinished

HOW: dict[str, Any] = {
    "suite": ("clean", "c", "p"),
    "names": ("shot_noise", "contrast"),
    "severities": (1, 5),
    "sequences": ("translate",),
    "batch_size": 7,
    "bin_size": 5,
    "temperature_images": 6,
}


def content(folder: Path) -> dict[str, Any]:
    """Every file; the results without times."""
    found: dict[str, Any] = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    results = json.loads(found.pop("results.json"))
    for name in ("cells", "sequences", "frequencies"):
        for cell in results.get(name, ()):
            cell.pop("seconds")
    return found | {"results.json": results}


@pytest.fixture
def measure(tmp_path):
    """A function that measures a network into a folder."""
    source = open_source("npz", root=write_npz(tmp_path / "toy.npz"), split="test")
    torch.manual_seed(0)
    network = build_model("small", num_classes=source.num_classes)

    def measure(out, on_progress=None, **how):
        model = deepcopy(network)
        config = EvaluateConfig(**{**HOW, **how}, out=out)
        return evaluate(model, source, config, on_progress=on_progress)

    return measure


def test_shards_measure_every_cell_once(tmp_path, measure, monkeypatch):
    measure(tmp_path / "whole")
    measured = Counter()
    own = loop.Evaluator.measure

    def counted(self, key, ahead):
        measured[key] += 1
        return own(self, key, ahead)

    monkeypatch.setattr(loop.Evaluator, "measure", counted)
    started = threading.Barrier(2)

    def work(number):
        started.wait()
        return measure(tmp_path / "shards", shard=f"{number}/2")

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, (1, 2))
    assert first.cells == second.cells
    assert len(measured) == 6
    assert set(measured.values()) == {1}
    assert content(tmp_path / "shards") == content(tmp_path / "whole")


def test_stopped_shards_are_continued_by_others(tmp_path, measure):
    measure(tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(event):
        if isinstance(event, CellFinished):
            raise Stop

    for shard in ("1/2", "3/3", None):
        with pytest.raises(Stop):
            measure(tmp_path / "shards", stop, shard=shard)
    measure(tmp_path / "shards", shard="2/2")
    assert content(tmp_path / "shards") == content(tmp_path / "whole")
    before = content(tmp_path / "shards")
    measure(tmp_path / "shards", stop, shard="1/2")  # nothing is left
    assert content(tmp_path / "shards") == before


def test_shards_that_do_not_go_together_are_refused(tmp_path, measure):
    messages = []

    def others(event):
        if isinstance(event, CellFinished) and not messages:
            for change in ({"seed": 1, "shard": "2/2"}, {"shard": "1/2"}, {}):
                with pytest.raises((ResumeError, RunError)) as found:
                    measure(tmp_path / "out", **change)
                messages.append(str(found.value))

    measure(tmp_path / "out", others, shard="1/2")
    assert "holds results with seed = 0, this evaluation has 1" in messages[0]
    assert "in use by shard 1/2, which is this one" in messages[1]
    assert "in use by shard 1/2; wait until it has ended" in messages[2]


def test_shards_need_a_folder_and_a_number(measure):
    with pytest.raises(ValueError, match="shard '1/2' needs the folder that all shards share: out"):
        measure(None, shard="1/2")
    with pytest.raises(ValueError, match="shard must be i/n"):
        EvaluateConfig(shard="2/1")
    with pytest.raises(ValueError, match="does not go with a margin of error"):
        Measurement(models=("x",), margin_of_error=1.0, how=EvaluateConfig(shard="1/2"))
