"""The scripts in `benchmarks/` run at toy size on the CPU."""

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from augmix import benchmarks, devices

FOLDER = Path(__file__).parents[1] / "benchmarks"
TOY_ROW = {"size": 16, "model": "small", "batch_size": 4, "method": "augmix", "device": "cpu"}


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a script in this process and return what it prints."""

    def run(command: str, *words: str) -> str:
        script, *others = command.split()
        monkeypatch.setattr(sys, "argv", [script, *others, *words])
        monkeypatch.syspath_prepend(str((FOLDER / script).parent))
        status = None
        try:
            runpy.run_path(str(FOLDER / script), run_name="__main__")
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        assert not status, printed
        return printed.out

    monkeypatch.setattr(devices, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    monkeypatch.setattr(benchmarks, "measure_startup", lambda: {"import_s": 0.25})
    monkeypatch.setattr(benchmarks, "_PIXELS", 0)  # the fewest images
    monkeypatch.setattr(benchmarks, "_MIN_EXECUTOR_TURNS", 1)
    return run


def test_executors_are_printed_with_the_fastest_and_startup(run_script) -> None:
    lines = run_script("executors.py --sizes 6 --seconds 0 --threads 1").splitlines()
    assert lines[0].startswith(
        "size  method  severity  executor  device  threads  views_per_second"
    )
    assert [line.split()[1] for line in lines[1:3]] == ["augmix", "augmix"]
    assert [line.split()[3] for line in lines[1:3]] == ["pillow", "compiled"]
    assert lines[3].startswith("6 px: executor 'compiled' with 1 thread is the fastest")
    assert lines[4].split() == ["import_s", "0.25"]


def test_the_feed_of_an_evaluation(run_script) -> None:
    lines = run_script("feed.py lock --sizes 32").splitlines()
    assert len(lines) == 16
    assert re.fullmatch(r"32 px fog: [\d,]+ ms, another thread waits at most [\d,]+ ms", lines[9])


@pytest.mark.slow
def test_rate_waiting_and_scaling_of_an_evaluation(run_script) -> None:
    (rate,) = run_script("feed.py rate --sizes 32 --seconds 0 --threads 1").splitlines()
    assert re.fullmatch(r"32 px: 1 threads [\d,]+/s; [\d,]+/s of a core", rate)
    command = "feed.py waiting --sizes 32 --models small --threads 1 --images 4"
    (line,) = run_script(command).splitlines()
    assert re.fullmatch(r"32 px small, 1 threads: waits [\d.]+%, [\d,]+/s", line)
    assert len(run_script("feed.py scaling --sizes 64 --seconds 0").splitlines()) == 15


def test_corruptions_are_printed_by_name(run_script) -> None:
    lines = run_script("corruptions.py --sizes 16 --seconds 0 contrast").splitlines()
    assert [line.split()[0] for line in lines] == ["ms_per_image", "contrast"]


@pytest.mark.slow
def test_peers_are_printed_by_name(run_script) -> None:
    processor, *lines = run_script("peers.py --sizes 8 --seconds 0").splitlines()
    assert processor
    assert lines[0].startswith("   8 px  augmix, batch, compiled ")
    assert all(line.endswith((" views/s", " images/s")) for line in lines)
    assert sum("loader of 2 processes: augmix" in line for line in lines) == 5


def test_the_memory_of_an_evaluation_is_printed(run_script) -> None:
    command = "memory.py --num-images 20 --num-classes 7 --names contrast --early 2"
    found = json.loads(run_script(command))
    assert found["num_cells"] == 5  # the severities
    assert 0 < found["early_mib"] <= found["peak_mib"]


def test_the_cost_of_steps_and_views_is_printed(run_script, monkeypatch) -> None:
    row = run_script("cost.py --row", json.dumps(TOY_ROW))
    assert json.loads(row)["step_s"] > 0
    monkeypatch.setattr(benchmarks, "run_python", lambda *words: row)
    lines = run_script("cost.py --quick").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| the base", "| batch_size 64"]
    assert [line.split(" | ")[:3] for line in lines[-2:]] == [
        ["| 32, 3", "1", "1-3"],
        ["| 32, 3", "2", "1-3"],
    ]


def test_decoding_is_printed_by_size(run_script, tmp_path: Path) -> None:
    for name in ("n01440764", "n01443537"):
        (tmp_path / "val" / name).mkdir(parents=True)
        levels = np.arange(96 * 96 * 3, dtype=np.uint8).reshape(96, 96, 3)
        Image.fromarray(levels).save(tmp_path / "val" / name / "a.JPEG")
    lines = run_script("decoding.py --sizes 8 --threads 1 --", str(tmp_path)).splitlines()
    assert [line.split()[2] for line in lines] == ["whole", "reduced", "100"]


def run_headline(run_script, folder: Path, part: str) -> dict[str, Any]:
    run_script(f"gpu/headline.py --toy --part {part} --out", str(folder))
    return json.loads((folder / "headline.json").read_text())


def missing_or_failed(facts: dict[str, Any], *parts: str) -> list[str]:
    return [part for part in parts if part not in facts or "error" in facts[part]]


def test_the_headline_script_measures_the_executor(run_script, tmp_path: Path) -> None:
    facts = run_headline(run_script, tmp_path, "executor")
    assert missing_or_failed(facts, "equality", "throughput", "step") == []
    assert "training" not in facts
    assert {row["equal"] for row in facts["equality"]["rows"]} == {1.0}
    assert {row["size"] for row in facts["throughput"]["rows"]} == {16}
    table = (tmp_path / "headline.md").read_text()
    assert "| augmix, all operations | 16 | torch | 100.0000 % | 100.0000 % | 0.00 |" in table
    assert "### The headline run" not in table


def test_the_headline_script_trains_and_evaluates(run_script, tmp_path: Path) -> None:
    facts = run_headline(run_script, tmp_path, "training")
    assert missing_or_failed(facts, "step", "training", "corruptions", "perturbations") == []
    assert "equality" not in facts
    assert facts["training"]["steps"] == 4
    assert 0 <= facts["corruptions"]["mean_corruption_error"] <= 1
    assert set(facts["corruptions"]["errors"]) == {"gaussian_noise", "contrast"}
    assert set(facts["perturbations"]["flip_probabilities"]) == {"brightness"}
    assert (tmp_path / "run" / "weights.safetensors").exists()
