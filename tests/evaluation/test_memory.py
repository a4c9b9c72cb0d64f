"""The memory of an evaluation does not grow with its cells."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "memory.py"


@pytest.mark.skipif(sys.platform == "win32", reason="the peak is asked of a Unix system")
def test_memory_stays_flat_over_cells() -> None:
    """The logits of one cell alone are 23 MiB."""
    settings = ["--num-images", "3500", "--early", "4", "--names", "contrast", "pixelate"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *settings],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["num_cells"] == 10
    assert found["peak_mib"] - found["early_mib"] < 12
