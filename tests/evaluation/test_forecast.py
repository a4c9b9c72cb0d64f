"""A dry run says what an evaluation takes, from counts that are the evaluation's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toy_runs import write_npz

from augmix import cli
from augmix.data.sources import Source
from augmix.errors import Interrupted, ResumeError
from augmix.evaluation import forecast as forecasts
from augmix.evaluation.config import EvaluateConfig, PredictConfig
from augmix.evaluation.forecast import forecast
from augmix.evaluation.loop import Evaluator, evaluate
from augmix.evaluation.predict import forecast_predictions, predict_file
from augmix.progress import CellFinished, EvaluationStarted
from augmix.results import CellKey

HOW: dict[str, Any] = {
    "suite": ("clean", "c", "p", "attack", "fourier"),
    "names": ("contrast", "fog"),
    "severities": (1, 3),
    "sequences": ("tilt",),
    "attack_steps": 3,
    "batch_size": 6,
}
HELD = {"temperature_images": 8, "metrics": ("classwise", "conformal", "calibrators")}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecasts, "_SECONDS", 0.0)
    monkeypatch.setattr(forecasts, "_PASS_S", 0.0)


def tree(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_counts_are_those_of_the_evaluation(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    out, started, finished = tmp_path / "run", [], []
    found = forecast(model, source, **HOW, **HELD, out=out)
    assert not out.exists()

    def stop(event: object) -> None:
        if isinstance(event, EvaluationStarted):
            started.append(event)
        if isinstance(event, CellFinished):
            finished.append(event)
            if len(finished) == 4:
                raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        evaluate(model, source, **HOW, **HELD, out=out, on_progress=stop)
    held, *suites = found.suites
    assert (held.name, held.num_sets, held.num_passes) == ("held out", 1, 8)
    assert [each.name for each in suites] == ["clean", "c", "p", "attack", "fourier"]
    assert [each.num_images for each in suites] == [12, 4 * 12, 12, 12, 9 * 12]
    assert sum(each.num_sets for each in suites) == started[0].num_cells
    assert sum(each.num_passes for each in suites) == started[0].num_images
    assert suites[3].num_passes == 12 * (1 + 3 + 1)
    assert sum(each.num_left for each in suites) == started[0].num_cells

    left = forecast(model, source, **HOW, **HELD, out=out)
    assert [(each.name, each.num_left) for each in left.suites[:3]] == [
        ("clean", 0),
        ("c", 1),
        ("p", 1),
    ]
    assert left.suites[1].num_passes == 12
    assert "c: 4 sets of 12 images, 3 measured already, 12 forward passes left" in left.lines(out)
    evaluate(model, source, **HOW, **HELD, out=out)
    before = tree(out)
    assert 0.4 * found.num_bytes < before < found.num_bytes
    done = forecast(model, source, **HOW, **HELD, out=out)
    assert (done.seconds, done.num_bytes, tree(out)) == (0, found.num_bytes, before)
    assert "nothing is left to measure" in done.lines(out)
    with pytest.raises(ResumeError, match="results with seed = 0, this evaluation has 1"):
        forecast(model, source, **HOW, **HELD, out=out, seed=1)


def test_time_is_extended_from_what_was_measured(
    model: torch.nn.Module, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(forecasts, "perf_counter", lambda: clock[0])
    load, logits = Evaluator.load, Evaluator.logits

    def slow_load(self: Evaluator, key: CellKey, ids: np.ndarray) -> np.ndarray:
        clock[0] += len(ids) * {"clean": 0.001, "contrast": 0.002, "fog": 0.004}[key.name]
        return load(self, key, ids)

    def slow_logits(
        self: Evaluator, key: CellKey, ids: np.ndarray, images: np.ndarray
    ) -> np.ndarray:
        clock[0] += len(ids) * 0.01
        return logits(self, key, ids, images)

    monkeypatch.setattr(Evaluator, "load", slow_load)
    monkeypatch.setattr(Evaluator, "logits", slow_logits)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    how: dict[str, Any] = {"names": ("contrast", "fog"), "severities": (1, 3), "num_threads": 2}
    found = forecast(model, source, **how)
    made_s = 20 * (0.001 + 2 * 0.002 + 2 * 0.004)  # of one thread
    assert found.passes_s == pytest.approx(20 * 5 * 0.01)
    assert found.images_s == pytest.approx(made_s / 2)
    assert found.seconds == pytest.approx(found.passes_s + made_s / 4)  # on 4 processors
    shard = forecast(model, source, **how, shard="2/4", out=Path("nowhere"))
    assert shard.seconds == pytest.approx(found.seconds / 4)


def test_command(tmp_path: Path, model: torch.nn.Module, capsys: pytest.CaptureFixture) -> None:
    from augmix.models.weights import save_model

    (tmp_path / "run").mkdir()
    save_model(tmp_path / "run", model.eval())
    (tmp_path / "run" / "config.json").write_text(
        '{"schema": 2, "method": "augmix", "seed": 0, "source": "npz", "data": "x", "size": 16, '
        '"max_train_images": null}'
    )
    write_npz(tmp_path / "toy.npz")
    before = sorted(tmp_path.rglob("*"))
    words = ["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "toy.npz")]
    words += ["--names", "contrast", "--dry-run"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "c: 5 sets of 20 images, 100 forward passes" in said
    assert "ms each (measured on" in said
    assert cli.main([*words, "--precision", "5"]) == 0
    said = capsys.readouterr().out
    assert "at most, if no interval of a part of the images is narrow enough:" in said
    assert "model run" in said
    assert sorted(tmp_path.rglob("*")) == before
    assert cli.main(["evaluate", "--predictions", "x.csv", "--dry-run"]) == 2
    assert "dry_run True would have no effect" in capsys.readouterr().err

    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(5):
        image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
        image.save(tmp_path / "photos" / f"{number}.png")
    out = tmp_path / "found.csv"
    before = sorted(tmp_path.rglob("*"))
    words = ["predict", str(tmp_path / "run"), str(tmp_path / "photos"), "--out", str(out)]
    assert cli.main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("5 images\nabout ")
    assert "(measured on 5 and 5 images)" in said
    assert sorted(tmp_path.rglob("*")) == before
    config = PredictConfig(model=words[1], images=(words[2],), out=out)
    predict_file(config)
    lines = forecast_predictions(config)
    assert lines[0] == "5 images, 0 of them left"
    rows = out.read_text().partition("\n")[2]
    assert lines[2].startswith(f"about {len(rows)} bytes in {out}")


def test_forecast_takes_a_configuration_or_its_fields(model: torch.nn.Module) -> None:
    with pytest.raises(TypeError, match="give config or its fields"):
        forecast(model, "digits", EvaluateConfig(), seed=1)
