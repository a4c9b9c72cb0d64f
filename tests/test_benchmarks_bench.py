"""The measuring functions give one record a row."""

import importlib.metadata
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from augmix import benchmarks, corruptions
from augmix.corruptions import registry


def test_one_row_for_every_corruption_and_the_sum_of_the_papers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(corruptions.corrupt, "corrupt", lambda images, name, **settings: images)
    rows = benchmarks.measure_corruptions(sizes=(16, 18), num_threads=(1, 2), seconds=0.0)
    keys = ["corruption", "package", "size", "threads", "ms_per_image"]
    assert [list(row) for row in rows] == [keys] * 80
    assert {row["package"] for row in rows} == {"augmix"}
    cases = [(size, threads) for size in (16, 18) for threads in (1, 2)]
    for index, case in enumerate(cases):
        part = rows[20 * index : 20 * index + 20]
        assert {(row["size"], row["threads"]) for row in part} == {case}
        assert [row["corruption"] for row in part] == [
            *registry.CORRUPTIONS,
            "sum of paper-15",
        ]
        times = [row["ms_per_image"] for row in part]
        assert min(times) > 0
        assert times[19] == pytest.approx(sum(times[:15]))


def test_a_slow_corruption_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def corrupt(images, name, *, severity, preset, num_threads):
        calls.append((name, severity, preset, num_threads))
        time.sleep(0.001 * len(images) if name == "fog" and len(calls) > 4 else 0)

    monkeypatch.setattr(benchmarks, "corrupt", corrupt)
    rows = benchmarks.measure_corruptions(
        (64,), (2,), 4, 0.0, names=("fog", "frost"), preset="imagenet"
    )
    assert calls == [(name, 4, "imagenet", 2) for name in ("fog", "frost")] * 4
    assert [row["corruption"] for row in rows] == ["fog", "frost"]
    assert rows[0]["ms_per_image"] < 1, "the fastest turn counts"
    calls.extend(["more"] * 4)
    rows = benchmarks.measure_corruptions((64,), (2,), 4, 0.0, names=("fog", "frost"))
    assert 1 <= rows[0]["ms_per_image"] < 5
    assert rows[1]["ms_per_image"] < 1


def test_another_package_is_measured_in_the_same_run() -> None:
    calls = []

    def corrupt(image: np.ndarray, *, severity: int, corruption_name: str) -> np.ndarray:
        calls.append((image.shape, severity, corruption_name))
        return image

    peer = benchmarks.Peer("other 1.0", corrupt)
    rows = benchmarks.measure_corruptions(
        (16, 256), (1,), 2, 0.0, names=("contrast", "pixelate"), peer=peer
    )
    assert [(row["package"], row["size"]) for row in rows] == [
        *[("augmix", 16)] * 2,  # too small for the other
        *[("augmix", 256)] * 2,
        *[("other 1.0", 256)] * 2,
    ]
    assert set(calls) == {((256, 256, 3), 2, name) for name in ("contrast", "pixelate")}
    heads = list(benchmarks.spread_corruptions(rows)[0])
    assert heads == ["ms_per_image", "16 px, 1 thread", "256 px, 1 thread", "256 px, other 1.0"]


def test_the_other_package_is_found_if_it_is_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_table_of_the_corruptions_has_a_column_for_every_case() -> None:
    rows = [
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
    assert benchmarks.spread_corruptions(rows) == [
        {"ms_per_image": "fog", "32 px, 1 thread": 1.0, "64 px, 2 threads": 3.0},
        {"ms_per_image": "snow", "32 px, 1 thread": 2.0, "64 px, 2 threads": 4.0},
    ]


def test_startup_reads_what_each_process_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def printed(*arguments: str, cache: str | None = None) -> str:
        calls.append((arguments[0], cache is not None))
        return f"{len(calls)}.5\n"

    monkeypatch.setattr(benchmarks, "_run_python", printed)
    seconds = benchmarks.measure_startup()
    assert calls == [("-c", True), ("-c", True), ("-c", False), ("-m", False)]
    assert seconds["first_cold_s"] == 1.5
    assert seconds["first_warm_s"] == 2.5
    assert seconds["import_s"] == 3.5
    assert seconds["help_s"] >= 0


def test_a_process_that_fails_says_why() -> None:
    assert benchmarks._run_python("-c", "print('hello')") == "hello\n"
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        benchmarks._run_python("-c", "1 / 0")


def test_corruptions_check_their_settings() -> None:
    with pytest.raises(ValueError, match=r"num_threads must be at least 1, got \(0,\)"):
        benchmarks.measure_corruptions(num_threads=(0,))
    rows = benchmarks.measure_corruptions((16,), (2,), seconds=0.0, names=("contrast",))
    assert [row["corruption"] for row in rows] == ["contrast"]
    with pytest.raises(ValueError, match="did you mean 'fog'"):
        benchmarks.measure_corruptions((16,), (1,), seconds=0.0, names=("fogg",))
