"""The headline script of `benchmarks/gpu` takes its whole walk on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu" / "headline.py"
PARTS = ("equality", "throughput", "step", "training", "corruptions", "perturbations")


def test_the_headline_script_runs_as_a_toy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--toy", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert not done.returncode, done.stdout + done.stderr
    facts = json.loads((tmp_path / "headline.json").read_text())
    assert [part for part in PARTS if part not in facts or "error" in facts[part]] == []
    assert {row["equal"] for row in facts["equality"]["rows"]} == {1.0}
    assert {row["side"] for row in facts["throughput"]["rows"]} == {16}
    assert facts["training"]["steps"] == 4
    assert 0 <= facts["corruptions"]["mean_corruption_error"] <= 1
    assert set(facts["corruptions"]["errors"]) == {"gaussian_noise", "contrast"}
    assert set(facts["perturbations"]["flip_probabilities"]) == {"brightness"}
    table = (tmp_path / "headline.md").read_text()
    assert "| augmix, all operations | 16 | torch | 100.0000 % | 100.0000 % | 0.00 |" in table
    assert (tmp_path / "run" / "weights.safetensors").exists()
