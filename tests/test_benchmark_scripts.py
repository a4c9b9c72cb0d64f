"""The scripts in `benchmarks/` run at toy size on the CPU."""

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_runs import NAMES, make_run
from PIL import Image

from augmix import benchmarks, devices, files
from augmix.results import load_results
from augmix.training.settings import build_config

FOLDER = Path(__file__).parents[1] / "benchmarks"
TOY_ROW = {"size": 16, "model": "small", "batch_size": 4, "method": "augmix", "device": "cpu"}


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a script in this process and return what it prints."""

    def run(command: str, *words: str) -> str:
        script, *others = command.split()
        monkeypatch.setattr(sys, "argv", [script, *others, *words])
        monkeypatch.syspath_prepend(str((FOLDER / script).parent))
        status = None
        try:
            runpy.run_path(str(FOLDER / script), run_name="__main__")
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        assert not status, (status, printed)
        return printed.out

    monkeypatch.setattr(devices, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    monkeypatch.setattr(benchmarks, "measure_startup", lambda: {"import_s": 0.25})
    monkeypatch.setattr(benchmarks, "_PIXELS", 0)  # the fewest images
    monkeypatch.setattr(benchmarks, "_MIN_EXECUTOR_TURNS", 1)
    return run


def test_executors_are_printed_with_the_fastest_and_startup(run_script) -> None:
    lines = run_script("executors.py --sizes 6 --seconds 0 --threads 1").splitlines()
    assert lines[0].startswith(
        "size  method  severity  executor  device  threads  views_per_second"
    )
    assert [line.split()[1] for line in lines[1:3]] == ["augmix", "augmix"]
    assert [line.split()[3] for line in lines[1:3]] == ["pillow", "compiled"]
    assert lines[3].startswith("6 px: executor 'compiled' with 1 thread is the fastest")
    assert lines[4].split() == ["import_s", "0.25"]


def test_the_feed_of_an_evaluation(run_script) -> None:
    lines = run_script("feed.py lock --sizes 32").splitlines()
    assert len(lines) == 16
    assert re.fullmatch(r"32 px fog: [\d,]+ ms, another thread waits at most [\d,]+ ms", lines[9])


def test_time_to_error_keeps_the_trainings_that_are_finished(run_script, tmp_path: Path) -> None:
    command = f"time_to_error.py --toy --runs fast:fast --out {tmp_path}"
    _, _, *rows = run_script(command).splitlines()
    assert [row.split("|")[1:4] for row in rows] == [
        [" `fast` ", " `fast` ", f" {n} "] for n in (1, 2)
    ]
    points = files.load_json(tmp_path / "time_to_error.json")["points"]
    test = load_results(tmp_path / "runs" / "fast-fast-2-seed0" / "test" / "results.json").cells
    assert points[1]["corrupted"] == pytest.approx(
        np.mean([c.error for c in test if c.suite == "c"])
    )
    assert points[1]["clean"] == next(c.error for c in test if c.suite == "clean")
    (tmp_path / "runs" / "fast-fast-2-seed0" / "time-cpu.json").unlink()  # it was stopped
    run_script(command)
    again = files.load_json(tmp_path / "time_to_error.json")["points"]
    assert again[0] == points[0]
    assert again[1]["seconds"] != points[1]["seconds"]
    assert again[1]["corrupted"] == points[1]["corrupted"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--runs fast", "runs must be NETWORK:RECIPE, got 'fast'"),
        ("--runs fast:fst", "did you mean 'fast'"),
        ("--runs wrn-16:cifar", "wrn-16"),
        ("--epochs 0", "epochs must be at least 1"),
    ],
)
def test_time_to_error_refuses_before_it_trains(
    run_script, monkeypatch, tmp_path: Path, words: str, message: str
) -> None:
    monkeypatch.setattr("augmix.training.run.train", lambda config: pytest.fail("trains"))
    with pytest.raises(AssertionError, match=re.escape(message)):
        run_script(f"time_to_error.py --data digits --device cpu --out {tmp_path} {words}")


def test_decisions_are_simulated_on_stored_outcomes(run_script, tmp_path: Path) -> None:
    how: dict[str, Any] = {"num_images": 40, "has_log": False, "has_examples": False}
    names = {"names": NAMES[:2]}
    runs = [
        make_run(tmp_path / label, label=label, weakness=weakness, **how, **names)
        for label, weakness in (("a", 0.5), ("b", 1.0))
    ]
    errors = [100 * np.mean([c.error for c in run.cells if c.suite == "c"]) for run in runs]
    command = f"decisions.py {tmp_path / 'a'} {tmp_path / 'b'} --repetitions 3 --margins 5 10"
    first, second, *margins = run_script(f"{command} --num-images 80").splitlines()
    assert first.startswith(
        f"10 cells x 80 images; errors {errors[0]:.2f} %, {errors[1]:.2f} %; mean "
        f"{errors[0] - errors[1]:.2f}; "
    )
    assert second.startswith("  without pairing ")
    line = (
        r"margin {} points, 3 repetitions: missed the truth at a look in [\d.]+ % \(allowed 5 %\), "
    )
    assert [bool(re.match(line.format(n), m)) for n, m in zip((5, 10), margins, strict=True)]
    assert all("wrong sign in" in each and "usual intervals" in each for each in margins)


@pytest.mark.slow
def test_rate_waiting_and_scaling_of_an_evaluation(run_script) -> None:
    (rate,) = run_script("feed.py rate --sizes 32 --seconds 0 --threads 1").splitlines()
    assert re.fullmatch(r"32 px: 1 threads [\d,]+/s; [\d,]+/s of a core", rate)
    command = "feed.py waiting --sizes 32 --models small --threads 1 --images 4"
    (line,) = run_script(command).splitlines()
    assert re.fullmatch(r"32 px small, 1 threads: waits [\d.]+%, [\d,]+/s", line)
    assert len(run_script("feed.py scaling --sizes 64 --seconds 0").splitlines()) == 15
    if Path("/proc/self/schedstat").exists():
        lines = run_script("feed.py blocked --sizes 32 --seconds 0 --threads 2").splitlines()
        pattern = (
            r"32 px, 2 threads: computes [\d.]+ us, waits -?[\d.]+ us, [\d.]+ times one thread"
        )
        assert lines
        assert all(re.fullmatch(pattern, line) for line in lines)


def test_corruptions_are_printed_by_name(run_script) -> None:
    lines = run_script("corruptions.py --sizes 16 --seconds 0 contrast").splitlines()
    assert [line.split()[0] for line in lines] == ["ms_per_image", "contrast"]


@pytest.mark.slow
def test_peers_are_printed_by_name(run_script) -> None:
    processor, *lines = run_script("peers.py --sizes 8 --seconds 0").splitlines()
    assert processor
    assert lines[0].startswith("   8 px  augmix, batch, compiled ")
    assert all(line.endswith((" views/s", " images/s")) for line in lines)
    assert sum("loader of 2 processes: augmix" in line for line in lines) == 5


def test_the_memory_of_an_evaluation_is_printed(run_script) -> None:
    command = "memory.py --num-images 20 --num-classes 7 --names contrast --early 2"
    found = json.loads(run_script(command))
    assert found["num_cells"] == 5  # the severities
    assert 0 < found["early_mib"] <= found["peak_mib"]


def test_the_cost_of_steps_and_views_is_printed(run_script, monkeypatch) -> None:
    row = run_script("cost.py --row", json.dumps(TOY_ROW))
    assert json.loads(row)["step_s"] > 0
    monkeypatch.setattr(benchmarks, "run_python", lambda *words: row)
    lines = run_script("cost.py --quick").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| the base", "| batch_size 64"]
    assert [line.split(" | ")[:3] for line in lines[-2:]] == [
        ["| 32, 3", "1", "1-3"],
        ["| 32, 3", "2", "1-3"],
    ]


def test_decoding_is_printed_by_size(run_script, tmp_path: Path) -> None:
    for name in ("n01440764", "n01443537"):
        (tmp_path / "val" / name).mkdir(parents=True)
        levels = np.arange(96 * 96 * 3, dtype=np.uint8).reshape(96, 96, 3)
        Image.fromarray(levels).save(tmp_path / "val" / name / "a.JPEG")
    lines = run_script("decoding.py --sizes 8 --threads 1 --", str(tmp_path)).splitlines()
    assert [line.split()[2] for line in lines] == ["whole", "reduced", "100"]


LADDER = (
    "ladder.py --model small --epochs 2 --images 40 --max-images 2 --severities 3 "
    "--device cpu --torch-threads 1"
)


def test_the_rungs_of_the_ladder_are_listed_at_equal_cost(run_script) -> None:
    lines = run_script("ladder.py --list --model small --epochs 4").splitlines()
    rows = {row[2]: row[3:6] for row in ([cell.strip() for cell in x.split("|")] for x in lines)}
    assert rows["augmix"] == ["", "4", "100 %"]
    assert rows["one-view"] == ["views 1", "6", "100 %"]  # two passes in place of three
    assert rows["three-views"] == ["views 3", "3", "100 %"]
    assert rows["hybridaugment"] == ["layers hybridaugment-pp", "4", "100 %"]
    assert rows["pixmix"] == ["base pixmix, jsd_weight 12.0", "4", "100 %"]


@pytest.fixture(scope="module")
def toy_images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty images of 32x32 pixels to train on and as many others, of ten classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 10
    arrays: dict[str, Any] = {"y_train": labels, "y_test": labels}
    for split in ("train", "test"):
        pixels = rng.integers(0, 60, (40, 32, 32, 3)) + 19 * labels[:, None, None, None]
        arrays[f"x_{split}"] = pixels.astype(np.uint8)
    path = tmp_path_factory.mktemp("ladder") / "toy.npz"
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize(
    ("levels", "rungs"),
    [
        ([], ["augmix"]),
        pytest.param(
            ["views"],
            ["augmix", "one-view", "three-views", "wide", "severity-5"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["start", "views"],
)
def test_the_ladder_chooses_without_the_test_sets(
    run_script, tmp_path: Path, toy_images: str, levels: list[str], rungs: list[str]
) -> None:
    words = ("--data", toy_images, "--out", str(tmp_path), "--levels", *levels)
    with pytest.raises(AssertionError, match="choose by the same command without --final"):
        run_script(LADDER, "--final", *words)
    lines = run_script(LADDER, *words).splitlines()
    record = json.loads((tmp_path / "ladder.json").read_text())
    assert [row["rung"] for row in record["rungs"]] == rungs
    assert [line.split(" | ")[1] for line in lines[3:-2]] == rungs
    runs = sorted((tmp_path / "runs").iterdir())
    assert len(runs) == len(rungs)
    named: set[tuple[str, str]] = set()
    errors: dict[str, list[float]] = {}
    for run in runs:
        assert not (run / "test").exists()
        found = load_results(run / "selection" / "results.json")
        named |= {(cell.suite, cell.name) for cell in found.cells}
        assert found.source["split"] == "val"
        by_suite = [[c.error for c in found.cells if c.suite == name] for name in ("c", "c-bar")]
        error = np.mean([np.mean(each) for each in by_suite])
        errors.setdefault(found.model["label"], []).append(error)
    extra = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    others = ("caustic_refraction", "cocentric_sine_waves", "perlin_noise", "plasma_noise")
    others = (*others, "single_frequency_greyscale")
    expected = {("clean", "clean"), *(("c", n) for n in extra), *(("c-bar", n) for n in others)}
    assert named == expected
    for row in record["rungs"]:
        assert sorted(row["seeds"]) == pytest.approx(sorted(errors[row["rung"]]))
        assert row["both"][0] == pytest.approx(np.mean(errors[row["rung"]]))
        assert row["both"][1] <= row["both"][0] <= row["both"][2]
    lowest = min(record["rungs"], key=lambda row: row["both"][0])
    assert record["chosen"]["name"] == lowest["rung"]
    recipe = build_config(record["chosen"]["recipe"], data="digits")
    assert (recipe.network.model, str(recipe.method)) == ("small", "augmix")
    assert recipe.optimisation.epochs == lowest["epochs"]
    times = [(run / "weights.safetensors").stat().st_mtime_ns for run in runs]
    assert run_script(LADDER, *words).splitlines() == lines  # everything is there already
    assert [(run / "weights.safetensors").stat().st_mtime_ns for run in runs] == times


@pytest.mark.slow
def test_the_choice_is_measured_on_the_test_sets(
    run_script, tmp_path: Path, toy_images: str
) -> None:
    words = ("--data", toy_images, "--out", str(tmp_path))
    chosen = {"base": "ipmix", "layers": ["apr-sp"], "views": 1, "apr_sp_form": "s"}
    run_script(LADDER, "--levels", *words)
    record = json.loads((tmp_path / "ladder.json").read_text())
    record["chosen"] |= {"name": "mine", "settings": chosen}
    (tmp_path / "ladder.json").write_text(json.dumps(record))
    with pytest.raises(AssertionError, match="was made with epochs 2, this command has 3"):
        run_script(LADDER, "--epochs", "3", "--final", *words)
    lines = run_script(LADDER, "--final", "--seeds", "2", *words).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == [
        "| clean error %",
        "| C error %",
        "| C-bar error %",
    ]
    errors: dict[str, list[float]] = {}
    for run in (tmp_path / "runs").iterdir():
        found = load_results(run / "test" / "results.json")
        assert found.source["split"] == "test"
        own = [cell.error for cell in found.cells if cell.suite == "c"]
        assert len(own) == 75
        assert sum(cell.suite == "c-bar" for cell in found.cells) == 50
        errors.setdefault(found.model["method"], []).append(float(np.mean(own)))
    old, new = (100 * np.mean(errors[name]) for name in ("augmix", "ipmix+apr-sp"))
    shown = [float(cell.split(" (")[0]) for cell in lines[3].split(" | ")[1:]]
    assert shown == pytest.approx([old, new, new - old], abs=0.006)


def run_headline(run_script, folder: Path, part: str, *words: str) -> dict[str, Any]:
    run_script(f"gpu/headline.py --toy --part {part} --out", str(folder), *words)
    return json.loads((folder / "headline.json").read_text())


def missing_or_failed(facts: dict[str, Any], *parts: str) -> list[str]:
    return [part for part in parts if part not in facts or "error" in facts[part]]


def test_the_headline_script_measures_the_executor(run_script, tmp_path: Path) -> None:
    facts = run_headline(run_script, tmp_path, "executor")
    assert missing_or_failed(facts, "equality", "throughput", "step") == []
    assert "training" not in facts
    assert {row["equal"] for row in facts["equality"]["rows"]} == {1.0}
    assert {row["size"] for row in facts["throughput"]["rows"]} == {16}
    table = (tmp_path / "headline.md").read_text()
    assert "| augmix, all operations | 16 | torch | 100.0000 % | 100.0000 % | 0.00 |" in table
    assert "### The headline run" not in table


def test_the_headline_script_trains_and_evaluates(run_script, tmp_path: Path) -> None:
    facts = run_headline(run_script, tmp_path, "training", "--recipe", "fast")
    assert (
        missing_or_failed(facts, "step", "training", "corruptions", "c-bar", "perturbations") == []
    )
    assert "equality" not in facts
    assert facts["training"]["steps"] == 4
    assert 0 <= facts["corruptions"]["mean_corruption_error"] <= 1
    assert set(facts["corruptions"]["errors"]) == {"gaussian_noise", "contrast"}
    assert set(facts["perturbations"]["flip_probabilities"]) == {"brightness"}
    assert (tmp_path / "run" / "weights.safetensors").exists()
    rates = [line["learning_rate"] for line in files.load_lines(tmp_path / "run" / "log.jsonl")]
    assert max(rates) == pytest.approx(0.2)  # of the recipe
