"""Measuring functions return one record per case, notice wrong views, and show what is slow."""

import importlib.metadata
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from augmix import benchmarks
from augmix.augment import batched, compiled
from augmix.augment.policies import Policy
from augmix.corruptions import registry
from augmix.errors import RunError
from augmix.methods import METHODS, TrainingImages, build_method
from augmix.methods.losses import Loss
from augmix.training.step import Learner

KEYS = ["size", "method", "severity", "executor", "device", "threads", "views_per_second"]
KEYS = [*KEYS, "times_pillow", "times_first", "planning_fraction", "equal"]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fewest images and turns: times do not count here."""
    monkeypatch.setattr(benchmarks, "_PIXELS", 0)
    monkeypatch.setattr(benchmarks, "_MIN_EXECUTOR_TURNS", 2)


def test_executors_give_a_record_per_size_and_number_of_threads() -> None:
    records = benchmarks.measure_executors((6,), (1, 2), seconds=0.0, device="cpu")
    assert [list(record) for record in records] == [KEYS] * 4
    assert [(record["executor"], record["threads"], record["device"]) for record in records] == [
        ("pillow", 1, "cpu"),
        ("compiled", 1, "cpu"),
        ("compiled", 2, "cpu"),
        ("batched", torch.get_num_threads(), "cpu"),
    ]
    assert all(record["equal"] for record in records)
    assert all(record["views_per_second"] > 0 for record in records)
    assert all(0 < record["planning_fraction"] < 1 for record in records)
    assert records[0]["times_pillow"] == records[0]["times_first"] == 1
    assert records[1]["times_first"] == 1


def test_views_of_other_methods_are_measured_too() -> None:
    names = ("trivialaugment", "afa")
    records = benchmarks.measure_executors((6,), (1,), seconds=0.0, device="cpu", methods=names)
    assert [record["method"] for record in records] == [n for n in names for _ in range(3)]
    assert all(record["equal"] for record in records)
    with pytest.raises(ValueError, match="method must be one of .*, got 'augmx'"):
        benchmarks.measure_executors((6,), methods=("augmx",))


def test_the_policies_of_all_methods_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Policy] = []

    def measure(size: int, policy: Policy, *others: Any) -> list[dict[str, Any]]:
        drawn.append(policy)
        return [{"executor": "pillow"}]

    monkeypatch.setattr(benchmarks, "_measure_case", measure)
    records = benchmarks.measure_executors((32,), methods=("all",))
    images = TrainingImages(size=(32, 32))
    policies = {repr(build_method(name).fit(images).policy) for name in METHODS}
    assert {repr(policy) for policy in drawn} == policies
    assert len(drawn) == len({record["method"] for record in records}) == len(policies)


@pytest.mark.slow
def test_views_of_every_policy_are_equal_on_the_executors() -> None:
    records = benchmarks.measure_executors((8,), (1,), 0.0, device="cpu", methods=("all",))
    assert [record for record in records if not record["equal"]] == []
    assert all(record["views_per_second"] > 0 for record in records)


def test_the_fastest_equal_executor_is_recommended() -> None:
    def record(
        size: int, severity: int, executor: str, speed: float, **changes: Any
    ) -> dict[str, Any]:
        own = {"device": "cpu", "threads": 1, "views_per_second": speed, "equal": True}
        return {"size": size, "severity": severity, "executor": executor, **own, **changes}

    records = [
        record(32, 3, "pillow", 10.0),
        record(32, 3, "compiled", 5000.4, threads=2),
        record(32, 3, "batched", 9000.0, equal=False),
        record(224, 1, "compiled", 800.0),
        record(224, 3, "compiled", 20.0),
        record(224, 3, "batched", 70.0, device="cuda", threads=0),
    ]
    assert benchmarks.recommend_executors(records) == [
        "32 px: executor 'compiled' with 2 threads is the fastest, 5,000 views per second",
        "224 px: executor 'batched' on cuda is the fastest, 70 views per second",
    ]
    assert benchmarks.recommend_executors([]) == []


def test_a_wrong_executor_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    render = compiled.render

    def off_by_a_bit(images, plan, *, num_threads: int = 1):
        views = render(images, plan, num_threads=num_threads)
        views[-1, -1, -1, -1, -1] += np.float32(1e-7)
        return views

    monkeypatch.setattr(compiled, "render", off_by_a_bit)
    records = benchmarks.measure_executors(sizes=(5,), num_threads=(1,), seconds=0.0)
    assert [record["equal"] for record in records] == [True, False]


def test_batches_of_crop_and_chains_must_have_every_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    render = batched.render
    monkeypatch.setattr(batched, "render", lambda *given: render(*given) + np.float32(1e-4))
    names = ("augmix", "noise2net")
    records = benchmarks.measure_executors((6,), (1,), seconds=0.0, device="cpu", methods=names)
    found = {each["method"]: each["equal"] for each in records if each["executor"] == "batched"}
    assert found == {"augmix": False, "noise2net": True}


def test_executors_check_their_settings() -> None:
    with pytest.raises(ValueError, match=r"sizes must be at least 1 pixel, got \(0,\)"):
        benchmarks.measure_executors(sizes=(0,))
    with pytest.raises(ValueError, match=r"num_threads must be at least 1, got \(\)"):
        benchmarks.measure_executors(num_threads=())
    with pytest.raises(RunError, match="'cuda:99' was asked for"):
        benchmarks.measure_executors((6,), seconds=0.0, device="cuda:99")


def test_corruptions_give_a_record_each_and_the_sum_of_the_papers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmarks, "corrupt", lambda images, name, **settings: images)
    records = benchmarks.measure_corruptions(sizes=(16, 18), num_threads=(1, 2), seconds=0.0)
    keys = ["corruption", "package", "size", "threads", "ms_per_image"]
    assert [list(record) for record in records] == [keys] * 80
    assert {record["package"] for record in records} == {"augmix"}
    cases = [(size, threads) for size in (16, 18) for threads in (1, 2)]
    for index, case in enumerate(cases):
        part = records[20 * index : 20 * index + 20]
        assert {(record["size"], record["threads"]) for record in part} == {case}
        assert [record["corruption"] for record in part] == [
            *registry.CORRUPTIONS.resolve(["paper-15", "extra-4"]),
            "sum of paper-15",
        ]
        times = [record["ms_per_image"] for record in part]
        assert min(times) > 0
        assert times[19] == pytest.approx(sum(times[:15]))


def test_the_fastest_turn_of_a_corruption_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def corrupt(images, name, *, severity, preset, num_threads):
        calls.append((name, severity, preset, num_threads))
        time.sleep(0.001 * len(images) if name == "fog" and len(calls) > 4 else 0)

    monkeypatch.setattr(benchmarks, "corrupt", corrupt)
    records = benchmarks.measure_corruptions(
        (64,), (2,), 4, 0.0, names=("fog", "frost"), preset="imagenet"
    )
    assert calls == [(name, 4, "imagenet", 2) for name in ("fog", "frost")] * 4
    assert [record["corruption"] for record in records] == ["fog", "frost"]
    assert records[0]["ms_per_image"] < 1, "the fastest turn counts"
    calls.extend(["more"] * 4)
    records = benchmarks.measure_corruptions((64,), (2,), 4, 0.0, names=("fog", "frost"))
    assert 1 <= records[0]["ms_per_image"] < 5
    assert records[1]["ms_per_image"] < 1


def test_another_package_is_measured_in_the_same_run() -> None:
    calls = []

    def corrupt(image: np.ndarray, *, severity: int, corruption_name: str) -> np.ndarray:
        calls.append((image.shape, severity, corruption_name))
        return image

    peer = benchmarks.Peer("other 1.0", corrupt)
    records = benchmarks.measure_corruptions(
        (16, 256), (1,), 2, 0.0, names=("contrast", "pixelate"), peer=peer
    )
    assert [(record["package"], record["size"]) for record in records] == [
        *[("augmix", 16)] * 2,  # too small for the other
        *[("augmix", 256)] * 2,
        *[("other 1.0", 256)] * 2,
    ]
    assert set(calls) == {((256, 256, 3), 2, name) for name in ("contrast", "pixelate")}
    heads = list(benchmarks.tabulate_corruptions(records)[0])
    assert heads == ["ms_per_image", "16 px, 1 thread", "256 px, 1 thread", "256 px, other 1.0"]


def test_another_package_is_found_if_it_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"imagecorruptions": "1.1.2"}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setitem(sys.modules, "imagecorruptions", SimpleNamespace(corrupt=max))
    assert benchmarks.find_peer() == benchmarks.Peer("imagecorruptions 1.1.2", max)
    versions["imagecorruptions-imaug"] = "1.1.5"
    assert benchmarks.find_peer() == benchmarks.Peer("imagecorruptions-imaug 1.1.5", max)
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)  # its import fails
    assert benchmarks.find_peer() is None
    versions.clear()
    assert benchmarks.find_peer() is None


def test_the_table_of_corruptions_has_a_column_per_case() -> None:
    records = [
        {
            "corruption": name,
            "package": "augmix",
            "size": size,
            "threads": threads,
            "ms_per_image": value,
        }
        for size, threads, values in ((32, 1, (1.0, 2.0)), (64, 2, (3.0, 4.0)))
        for name, value in zip(("fog", "snow"), values, strict=True)
    ]
    assert benchmarks.tabulate_corruptions(records) == [
        {"ms_per_image": "fog", "32 px, 1 thread": 1.0, "64 px, 2 threads": 3.0},
        {"ms_per_image": "snow", "32 px, 1 thread": 2.0, "64 px, 2 threads": 4.0},
    ]


def test_startup_reads_what_each_process_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def printed(*arguments: str, cache: str | None = None) -> str:
        calls.append((arguments[0], cache is not None))
        return f"{len(calls)}.5\n"

    monkeypatch.setattr(benchmarks, "run_python", printed)
    seconds = benchmarks.measure_startup()
    assert calls == [("-c", True), ("-c", True), ("-c", False), ("-m", False)]
    assert seconds["first_cold_s"] == 1.5
    assert seconds["first_warm_s"] == 2.5
    assert seconds["import_s"] == 3.5
    assert seconds["help_s"] >= 0


def test_the_error_of_a_process_is_reported() -> None:
    assert benchmarks.run_python("-c", "print('hello')") == "hello\n"
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        benchmarks.run_python("-c", "1 / 0")


def test_corruptions_check_their_settings() -> None:
    with pytest.raises(ValueError, match=r"num_threads must be at least 1, got \(0,\)"):
        benchmarks.measure_corruptions(num_threads=(0,))
    records = benchmarks.measure_corruptions((16,), (2,), seconds=0.0, names=("contrast",))
    assert [record["corruption"] for record in records] == ["contrast"]
    with pytest.raises(ValueError, match="did you mean 'fog'"):
        benchmarks.measure_corruptions((16,), (1,), seconds=0.0, names=("fogg",))


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "_TURN_S", 0.0)
    monkeypatch.setattr(benchmarks, "_TRAINING_SIZE", 16)
    monkeypatch.setattr(benchmarks, "_BATCHES_PER_EPOCH", 2)


@pytest.mark.usefixtures("short_turns")
def test_training_gives_a_record_per_network_and_arithmetic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    precisions = []

    nothing = torch.zeros(())

    def slow(learner: Learner, *arguments: Any) -> Loss:
        precisions.append((learner.optimisation.precision, learner.optimisation.channels_last))
        time.sleep(0.2 if learner.optimisation.precision == "fp32" else 0.01)
        return Loss(total=nothing, terms={}, logits=torch.zeros(4, 10))

    monkeypatch.setattr(Learner, "backward", slow)
    monkeypatch.setattr(Learner, "update", lambda learner, rate: None)
    records = benchmarks.measure_training(
        ("small", "wrn-10-1"), batch_size=4, seconds=0.0, device="cpu"
    )
    keys = ["model", "arithmetic", "batch_size", "images_per_second", "times_first"]
    assert [list(record) for record in records] == [[*keys, "wait_fraction"]] * 4
    names = [(record["model"], record["arithmetic"]) for record in records]
    assert names == [(m, a) for m in ("small", "wrn-10-1") for a in benchmarks.ARITHMETICS]
    for fp32, bf16 in (records[:2], records[2:]):
        assert fp32["times_first"] == 1
        assert bf16["times_first"] > 1.5
        assert bf16["images_per_second"] > fp32["images_per_second"]
        assert 0 <= bf16["wait_fraction"] <= 1
    warm_up, turns = precisions[:6], precisions[6:12]
    assert warm_up == [("fp32", False)] * 3 + [("bf16", True)] * 3
    assert turns == [("fp32", False), ("bf16", True)] * 3


@pytest.mark.usefixtures("short_turns")
def test_training_checks_its_settings() -> None:
    with pytest.raises(ValueError, match="arithmetic must be 'fp32' or 'bf16'.*got 'fp32 fast'"):
        benchmarks.measure_training(("small",), arithmetics=("fp32 fast",), seconds=0.0)
    with pytest.raises(ValueError, match=r"at least one model.* got \(\), "):
        benchmarks.measure_training(())
    with pytest.raises(ValueError, match="nosuch"):
        benchmarks.measure_training(("nosuch",), batch_size=4, seconds=0.0)
