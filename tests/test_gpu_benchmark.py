"""The headline script of `benchmarks/gpu` takes its whole walk on a CPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu" / "headline.py"
EXECUTOR = ("equality", "throughput", "step")
TRAINING = ("step", "training", "corruptions", "perturbations")


def run_toy(folder: Path, part: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--toy", "--out", str(folder), "--part", part],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert not done.returncode, done.stdout + done.stderr
    return json.loads((folder / "headline.json").read_text())


def test_the_executor_is_measured_as_a_toy(tmp_path: Path) -> None:
    facts = run_toy(tmp_path, "executor")
    assert [part for part in EXECUTOR if part not in facts or "error" in facts[part]] == []
    assert "training" not in facts
    assert {row["equal"] for row in facts["equality"]["rows"]} == {1.0}
    assert {row["side"] for row in facts["throughput"]["rows"]} == {16}
    table = (tmp_path / "headline.md").read_text()
    assert "| augmix, all operations | 16 | torch | 100.0000 % | 100.0000 % | 0.00 |" in table
    assert "### The headline run" not in table


def test_the_headline_run_is_trained_and_measured_as_a_toy(tmp_path: Path) -> None:
    facts = run_toy(tmp_path, "training")
    assert [part for part in TRAINING if part not in facts or "error" in facts[part]] == []
    assert "equality" not in facts
    assert facts["training"]["steps"] == 4
    assert 0 <= facts["corruptions"]["mean_corruption_error"] <= 1
    assert set(facts["corruptions"]["errors"]) == {"gaussian_noise", "contrast"}
    assert set(facts["perturbations"]["flip_probabilities"]) == {"brightness"}
    assert (tmp_path / "run" / "weights.safetensors").exists()
