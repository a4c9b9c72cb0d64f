"""A growing part of the images, until the margin of error is reached or the sign is settled.

A confidence sequence holds at all times together, at the level that it states.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toy_runs import write_npz

from augmix.data.sources import Source, open_source
from augmix.errors import Interrupted, ResumeError, RunError
from augmix.evaluation import decide as module
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.decide import Arm, MeanSequence, _penalty, decide, looks
from augmix.evaluation.loop import evaluate
from augmix.evaluation.models import run_measurement
from augmix.files import load_npz
from augmix.progress import Event, Note
from augmix.report import decision_words, write_report
from augmix.results import DRAWS_FILE, Results, load_results


class Threshold(nn.Module):
    """Tells three classes by brightness, and errs the more the further its limits are off."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        brightness = images.mean(dim=(1, 2, 3)) + self.shift
        centres = torch.tensor([60.0, 120.0, 180.0]) / 255
        return -100 * (brightness[:, None] - centres) ** 2


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = write_npz(tmp_path / "toy.npz", num_images=90)
    return open_source("npz", root=path, split="test")


HOW: dict[str, Any] = {"names": ("brightness", "contrast"), "severities": (1, 3), "batch_size": 40}


def arm(source: Source, shift: float = 0.0) -> Arm:
    return Arm(model=Threshold(shift), source=source, about={"label": f"shift {shift}"})


def timeless(results: Results) -> Results:
    return replace(results, provenance={})


def test_all_images_give_the_error_of_evaluate(source: Source) -> None:
    config = EvaluateConfig(**HOW)
    found = decide(arm(source, 0.1), None, config, margin=1e-6)
    whole = evaluate(Threshold(0.1), source, config)
    assert found.decision is not None
    assert found.decision.fraction == 1
    assert found.decision.estimate == pytest.approx(whole.summary()["corruption_error"])
    assert found.decision.high - found.decision.low < 1e-6
    assert found.cells == ()


def test_a_settled_sign_stops_early_and_both_see_the_same(source: Source, tmp_path: Path) -> None:
    events: list[Event] = []
    config = EvaluateConfig(**HOW, out=tmp_path / "out")
    found = decide(arm(source), arm(source, 0.3), config, margin=0.05, on_progress=events.append)
    decision = found.decision
    assert decision is not None
    assert decision.high < 0
    assert decision.fraction < 1
    assert decision.errors[0] - decision.errors[1] == pytest.approx(decision.estimate)
    assert len([each for each in events if isinstance(each, Note)]) >= 1
    draws = load_npz(tmp_path / "out" / DRAWS_FILE)
    assert draws["ids"].shape == (4, decision.num_rounds)
    for ids, name in zip(draws["ids"], draws["names"], strict=True):
        assert len(set(ids.tolist())) == decision.num_rounds, name
    assert not np.array_equal(draws["ids"][0], draws["ids"][1])
    np.testing.assert_array_equal(draws["labels"], source.labels[draws["ids"]])
    errors = [
        (draws[name] != draws["labels"]).mean() for name in ("prediction", "prediction_against")
    ]
    assert errors == pytest.approx(decision.errors)
    assert decision_words(found).startswith("shift 0.0 errs less than shift 0.3, by ")
    page = write_report([tmp_path / "out"], tmp_path / "page.html").read_text()
    assert "Decided on a part of the images" in page
    assert "shift 0.3" in page
    with pytest.raises(RunError, match="an export needs the results of a whole evaluation"):
        write_report([tmp_path / "out"], tmp_path / "page.html", ["csv"])


def test_a_stopped_measurement_continues_to_the_same_bits(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(out: Path) -> Results:
        config = EvaluateConfig(**HOW, out=out)
        return decide(arm(source, 0.02), arm(source, 0.05), config, margin=0.06)

    whole = run(tmp_path / "whole")
    calls = 0
    write = module._Draws.write

    def stop(self: Any, *given: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        write(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(module._Draws, "write", stop)
        with pytest.raises(Interrupted, match="start the same command again"):
            run(tmp_path / "stopped")
    assert run(tmp_path / "stopped") == replace(
        whole, provenance=run(tmp_path / "stopped").provenance
    )
    for name in ("results.json", DRAWS_FILE):
        one, other = (tmp_path / folder / name for folder in ("whole", "stopped"))
        assert one.read_bytes() == other.read_bytes()
    loaded = load_results(tmp_path / "whole" / "results.json")
    assert loaded.decision == whole.decision
    config = EvaluateConfig(**HOW, out=tmp_path / "whole")
    with pytest.raises(ResumeError, match=r"margin of error = 0\.06, this measurement has 0\.03"):
        decide(arm(source, 0.02), arm(source, 0.05), config, margin=0.03)
    with pytest.raises(ResumeError, match="weights of the other model"):
        decide(arm(source, 0.02), arm(source, 0.2), config, margin=0.06)
    with pytest.raises(ResumeError, match="a part of the images, to a margin of error"):
        evaluate(Threshold(0.02), source, config)
    draws = tmp_path / "whole" / DRAWS_FILE
    draws.write_bytes(draws.read_bytes()[:-40])
    with pytest.raises(RunError, match="draws.npz"):
        run(tmp_path / "whole")


def test_another_model_of_the_same_weights_is_refused(source: Source, tmp_path: Path) -> None:
    class Other(Threshold):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(images)

    config = EvaluateConfig(**HOW, out=tmp_path / "one")
    decide(arm(source), config=config, margin=0.4)
    with pytest.raises(ResumeError, match="computes other logits for the same images"):
        decide(Arm(model=Other(), source=source, about={}), config=config, margin=0.4)
    config = replace(config, out=tmp_path / "two")
    decide(arm(source), arm(source, 0.1), config, margin=0.4)
    with pytest.raises(ResumeError, match="computes other logits for the same images"):
        decide(arm(source), Arm(model=Other(0.1), source=source, about={}), config, margin=0.4)


def test_looks_grow_and_end_with_all_images() -> None:
    assert [*looks(40)] == [16, 20, 25, 31, 39, 40]
    assert [*looks(3)] == [3]


@pytest.mark.parametrize(
    ("changes", "margin", "message"),
    [
        (
            {"suite": ("clean", "p")},
            0.1,
            "is for one of the suites c, c-bar, clean, .*got clean, p",
        ),
        ({"adapt_batch_norm": True}, 0.1, "adapt_batch_norm needs whole batches"),
        ({}, 0.0, "margin_of_error must be above 0 and below 100 points, got 0"),
        ({}, 1.0, "got 100"),
    ],
)
def test_what_has_no_meaning_is_refused(
    source: Source, changes: dict[str, Any], margin: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        decide(arm(source), None, EvaluateConfig(**HOW, **changes), margin=margin)


def test_models_of_other_images_are_refused(source: Source, tmp_path: Path) -> None:
    other = open_source("npz", root=write_npz(tmp_path / "b.npz", seed=1), split="test")
    with pytest.raises(RunError, match="90 of npz, 20 of npz"):
        decide(arm(source), arm(other), EvaluateConfig(**HOW), margin=0.1)


def test_the_command_measures_a_part(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "models.py"
    path.write_text(
        "import torch\nfrom torch import nn\n\nclass Model(nn.Module):\n"
        "    def forward(self, images):\n"
        "        centres = torch.tensor([60.0, 120.0, 180.0]) / 255\n"
        "        return -100 * (images.mean(dim=(1, 2, 3))[:, None] - centres) ** 2\n\n"
        "def model():\n    return Model()\n"
    )
    measurement = Measurement(
        models=(f"python:{path}:model",),
        data=str(tmp_path / "toy.npz"),
        margin_of_error=8.0,
        how=EvaluateConfig(**HOW, out=tmp_path / "out"),
    )
    found = run_measurement(measurement)
    assert found.decision is not None
    assert found.decision.against is None
    assert "of 360 images a model" in decision_words(found)
    with pytest.raises(ValueError, match="against needs a margin of error"):
        Measurement(models=("a",), against="b")


def table(rng: np.random.Generator, *, is_paired: bool) -> np.ndarray:
    """Eight cells of 60 images, wrong or not, or the difference of two models."""
    errors = np.linspace(0.05, 0.6, 8)[:, None]
    first = (rng.random((8, 60)) < errors).astype(float)
    if not is_paired:
        return first
    return first - np.where(rng.random((8, 60)) < 0.8, first, rng.random((8, 60)) < errors)


@pytest.mark.parametrize("is_paired", [False, True])
def test_the_mean_is_inside_at_all_looks_together(is_paired: bool) -> None:
    rng = np.random.default_rng(0)
    limits = (-1.0, 1.0) if is_paired else (0.0, 1.0)
    missed, repetitions = 0, 100
    values = table(rng, is_paired=is_paired)
    for _ in range(repetitions):
        drawn = rng.permuted(values, axis=1)
        sequence = MeanSequence(num_cells=8, num_images=60, limits=limits, precision=0.03)
        is_inside = True
        for rounds in range(60):
            sequence.add(drawn[:, rounds : rounds + 1])
            found = sequence.interval()
            assert found.low <= found.estimate <= found.high
            is_inside &= found.low <= values.mean() + 1e-12 and found.high >= values.mean() - 1e-12
        missed += not is_inside
        assert found.low == pytest.approx(found.high)  # all of them
        assert found.estimate == pytest.approx(values.mean())
    assert missed <= 0.05 * repetitions + 3  # 5 are allowed on average


def test_the_interval_against_its_formula_value_by_value() -> None:
    rng = np.random.default_rng(2)
    num_cells, num_images, precision = 3, 200, 0.05
    values = (rng.random((num_cells, 150)) < 0.3).astype(float)
    sequence = MeanSequence(
        num_cells=num_cells, num_images=num_images, limits=(0.0, 1.0), precision=precision
    )
    sequence.add(values)
    weighted = weights = squares = below = above = 0.0
    for number in range(150):
        before = values[:, :number]
        middle = before.mean() if number else 0.5
        variance = (squares + 3 * 4 / 16) / (3 * (number + 4))
        bet = min(precision / variance, 0.5)
        for cell in range(num_cells):
            x, past = values[cell, number], before[cell].sum()
            guess = (past + 4 * middle) / (number + 4)
            # minus the mean of the images that are left, which is (N mean - past) / (N - number)
            weighted += bet * (x + past / (num_images - number))
            weights += bet * num_images / (num_images - number)
            below += (x - guess) ** 2 * (-math.log(1 - bet * guess) - bet * guess) / guess**2
            rest = 1 - guess
            above += (x - guess) ** 2 * (-math.log(1 - bet * rest) - bet * rest) / rest**2
            squares += (x - guess) ** 2
    reach = math.log(2 / 0.05)
    found = sequence.interval()
    known = values.sum() / (num_cells * num_images)
    assert found.low == pytest.approx(max((weighted - reach - below) / weights, known))
    assert found.high == pytest.approx(min((weighted + reach + above) / weights, known + 0.25))
    assert known < found.low < values.mean() < found.high < known + 0.25
    assert found.estimate == pytest.approx(values.mean())
    assert sequence.num_rounds == 150


@pytest.mark.parametrize("deviation", [0.0, 1e-6, 0.01, 0.3, 1.0])
def test_the_inequality_behind_the_interval_holds(deviation: float) -> None:
    for bet in (0.001, 0.1, 0.3, 0.5):
        x = np.linspace(-deviation, 2.0, 401)
        penalty = float(_penalty(bet, np.array([deviation]))[0])
        left, right = bet * x - penalty * x**2, np.log1p(bet * x)
        assert (left <= right + 1e-12).all()
        if deviation > 1e-3:  # equal at the end, so no smaller penalty will do
            assert left[0] == pytest.approx(right[0])


def test_small_deviations_make_narrow_intervals() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for rate in (0.5, 0.1, 0.02):
        values = (rng.random((20, 400)) < rate).astype(float)
        sequence = MeanSequence(num_cells=20, num_images=4000, limits=(0.0, 1.0), precision=0.02)
        sequence.add(values)
        found = sequence.interval()
        widths.append(found.high - found.low)
        usual = 2 * 1.96 * np.sqrt(rate * (1 - rate) / values.size)
        assert usual < widths[-1] < 2.5 * usual + 0.01
    assert widths[0] > widths[1] > widths[2]


def test_a_precision_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="precision must be above 0, got 0"):
        MeanSequence(num_cells=1, num_images=1, limits=(0.0, 1.0), precision=0.0)
