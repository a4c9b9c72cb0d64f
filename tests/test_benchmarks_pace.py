"""Training is measured in turns of whole steps, and a slow arithmetic shows."""

import time
from typing import Any

import pytest

from augmix import benchmarks
from augmix.training.step import Learner


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "_TURN_S", 0.0)
    monkeypatch.setattr(benchmarks, "_SIDE", 16)
    monkeypatch.setattr(benchmarks, "_BATCHES", 2)


def test_one_row_for_every_network_and_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    precisions = []

    def slow(learner: Learner, *arguments: Any) -> None:
        precisions.append((learner.recipe.precision, learner.recipe.channels_last))
        time.sleep(0.2 if learner.recipe.precision == "fp32" else 0.01)

    monkeypatch.setattr(Learner, "learn", slow)
    rows = benchmarks.measure_training(
        ("small", "wrn-10-1"), batch_size=4, seconds=0.0, device="cpu"
    )
    keys = ["model", "arithmetic", "batch_size", "images_per_second", "times_first"]
    assert [list(row) for row in rows] == [[*keys, "waiting_share"]] * 4
    names = [(row["model"], row["arithmetic"]) for row in rows]
    assert names == [(m, a) for m in ("small", "wrn-10-1") for a in benchmarks.ARITHMETICS]
    for fp32, bf16 in (rows[:2], rows[2:]):
        assert fp32["times_first"] == 1
        assert bf16["times_first"] > 1.5
        assert bf16["images_per_second"] > fp32["images_per_second"]
        assert 0 <= bf16["waiting_share"] <= 1
    warm_up, turns = precisions[:6], precisions[6:12]
    assert warm_up == [("fp32", False)] * 3 + [("bf16", True)] * 3
    assert turns == [("fp32", False), ("bf16", True)] * 3


def test_names_are_checked() -> None:
    with pytest.raises(ValueError, match="arithmetic must be 'fp32' or 'bf16'.*got 'fp32 fast'"):
        benchmarks.measure_training(("small",), arithmetics=("fp32 fast",), seconds=0.0)
    with pytest.raises(ValueError, match=r"at least one model.* got \(\), "):
        benchmarks.measure_training(())
    with pytest.raises(ValueError, match="nosuch"):
        benchmarks.measure_training(("nosuch",), batch_size=4, seconds=0.0)
