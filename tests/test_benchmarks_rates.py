"""Executors are measured row by row, and one that is not equal is noticed."""

from typing import Any

import numpy as np
import pytest
import torch

from augmix import augment, benchmarks
from augmix.errors import RunError

KEYS = ["size", "severity", "executor", "device", "threads", "views_per_second"]
KEYS = [*KEYS, "times_pillow", "times_first", "planning_share", "equal"]


def test_one_row_for_every_size_executor_and_number_of_threads() -> None:
    rows = benchmarks.measure_executors(sizes=(6,), num_threads=(1, 2), seconds=0.0)
    assert [list(row) for row in rows] == [KEYS] * 3
    assert [(row["executor"], row["threads"]) for row in rows] == [
        ("pillow", 1),
        ("compiled", 1),
        ("compiled", 2),
    ]
    assert all(row["equal"] for row in rows)
    assert all(row["views_per_second"] > 0 for row in rows)
    assert all(0 < row["planning_share"] < 1 for row in rows)
    assert rows[0]["times_pillow"] == 1
    assert rows[1]["times_first"] == 1


def test_the_batched_executor_is_measured_where_it_works() -> None:
    rows = benchmarks.measure_executors(sizes=(6,), num_threads=(1,), seconds=0.0, device="cpu")
    assert [row["executor"] for row in rows] == ["pillow", "compiled", "batched"]
    assert rows[2]["device"] == "cpu"
    assert rows[2]["threads"] == torch.get_num_threads()
    assert rows[2]["equal"]
    with pytest.raises(RunError, match="'cuda:99' was asked for"):
        benchmarks.measure_executors(sizes=(6,), seconds=0.0, device="cuda:99")


def test_the_advice_is_the_fastest_that_was_equal() -> None:
    def row(size: int, severity: int, executor: str, pace: float, **changes: Any) -> dict[str, Any]:
        own = {"device": "cpu", "threads": 1, "views_per_second": pace, "equal": True}
        return {"size": size, "severity": severity, "executor": executor, **own, **changes}

    rows = [
        row(32, 3, "pillow", 10.0),
        row(32, 3, "compiled", 5000.4, threads=2),
        row(32, 3, "batched", 9000.0, equal=False),
        row(224, 1, "compiled", 800.0),
        row(224, 3, "compiled", 20.0),
        row(224, 3, "batched", 70.0, device="cuda", threads=0),
    ]
    assert benchmarks.advise(rows) == [
        "32 px: executor 'compiled' with 2 threads makes most, 5,000 views a second",
        "224 px: executor 'batched' on cuda makes most, 70 views a second",
    ]
    assert benchmarks.advise([]) == []


def test_a_wrong_executor_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    render = augment.compiled.render

    def off_by_a_bit(images, plan, *, num_threads: int = 1):
        views = render(images, plan, num_threads=num_threads)
        views[-1, -1, -1, -1, -1] += np.float32(1e-7)
        return views

    monkeypatch.setattr(augment.compiled, "render", off_by_a_bit)
    rows = benchmarks.measure_executors(sizes=(5,), num_threads=(1,), seconds=0.0)
    assert [row["equal"] for row in rows] == [True, False]


def test_errors_name_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r"sizes must be at least 1 pixel, got \(0,\)"):
        benchmarks.measure_executors(sizes=(0,))
    with pytest.raises(ValueError, match=r"num_threads must be at least 1, got \(\)"):
        benchmarks.measure_executors(num_threads=())
