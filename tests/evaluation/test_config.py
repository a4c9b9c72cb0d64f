"""Settings out of range, and what the command line makes of the dataclasses."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from augmix.data.sources import Source
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.loop import evaluate
from augmix.flags import parse


def test_flags_of_the_command_are_the_fields_of_the_configuration() -> None:
    words = "runs/a runs/b --suite clean attack --attack-epsilon 0.1 --out both --data x --crop 32"
    found = parse(Measurement, "evaluate", words.split())
    assert found.models == ("runs/a", "runs/b")
    assert (found.data, found.crop, found.resize) == ("x", 32, None)
    assert found.how.suite == ("clean", "attack")
    assert (found.how.attack_epsilon, found.how.attack_step_size) == (0.1, None)
    assert str(found.folder) == "both"


def test_results_go_into_the_run_folder_or_below_runs(tmp_path: Any) -> None:
    assert Measurement(models=(str(tmp_path),)).folder == tmp_path
    adapted = Measurement(models=(str(tmp_path),), how=EvaluateConfig(adapt_batch_norm=True))
    assert adapted.folder == tmp_path / "adapted"
    assert str(Measurement(models=("timm:resnet50",)).folder) == "runs/timm-resnet50"


def test_a_configuration_and_its_fields_are_not_mixed(
    model: torch.nn.Module, source: Source
) -> None:
    with pytest.raises(TypeError, match=r"not both; got config and \['seed'\]"):
        evaluate(model, source, EvaluateConfig(), seed=1)


def test_flags_are_declared_without_loading_torch() -> None:
    code = "import sys, augmix.evaluation.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
