"""Training on a GPU: the engine's paths that no CPU takes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_runs import read_log, read_weights, toy_config

import augmix
from augmix.models.weights import load_model
from augmix.progress import Event, StepFinished
from augmix.training.run import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU for torch"),
]
GPU: dict[str, Any] = {"device": "cuda", "executor": "auto", "channels_last": True}


def train_alone(folder: Path, **options: Any) -> Path:
    """Train in a process that does not check types, which torch's compiler would compile too."""
    code = (
        "from pathlib import Path\nfrom toy_runs import toy_config\n"
        "from augmix.training.run import train\n"
        f"train(toy_config(Path({str(folder)!r}), **{options!r}))\n"
    )
    paths = [str(Path(augmix.__file__).parents[1]), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*paths, *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr[-4000:]
    return folder


def stop_after(step: int) -> Any:
    def watch(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == step:
            raise ZeroDivisionError

    return watch


def test_a_deterministic_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    calm = train(toy_config(tmp_path / "calm", deterministic=True, **GPU))
    config = toy_config(tmp_path / "run", deterministic=True, **GPU)
    with pytest.raises(ZeroDivisionError):
        train(config, on_progress=stop_after(6))
    train(config)
    assert read_weights(config.run.out) == read_weights(calm)
    assert read_log(config.run.out) == read_log(calm)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "fp16", "ema_decay": 0.9, "clip_norm": 1.0},
        {"precision": "bf16", "compile": True, "accumulate": 2},
        {"precision": "bf16", "compile": True},
        {"method": "adversarial", "attack_steps": 2, "precision": "bf16"},
    ],
    ids=["fp16", "compiled", "graphed", "attacked"],
)
def test_a_run_learns_what_the_cpu_learns(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain = {"dropout": 0.0, "learning_rate": 0.01, "log_every": 1, "batch_size": 10}
    made = train_alone(tmp_path / "made", **{**GPU, **plain, **changes})
    expected = {k: v for k, v in changes.items() if k not in ("precision", "compile")}
    truth = train(toy_config(tmp_path / "truth", **{**plain, **expected}))
    for first, second in zip(read_log(made), read_log(truth), strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=0.05)
    assert all(torch.isfinite(v).all() for v in load_model(made).state_dict().values())
    assert read_log(made)[0]["step"] == 1


def test_memory_of_the_gpu_is_in_the_log(tmp_path: Path) -> None:
    made = train(toy_config(tmp_path / "run", epochs=1, **GPU))
    text = (made / "log.jsonl").read_text()
    assert '"peak_memory_mib": 0.0' not in text
