"""Records: atomic writes that lose nothing, JSON that comes back the same."""

import errno
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_runs import BAR, NAMES, add_frequencies, make_run

from augmix import files
from augmix.errors import RunError
from augmix.report import summarise
from augmix.results import (
    Bins,
    Cell,
    Results,
    Scaled,
    SequenceCell,
    load_results,
    provenance,
    write_results,
)
from augmix.run_folder import load_log


def make_results() -> Results:
    bins = Bins(count=[3, 4], confidence_sum=[1.5, 0.1 + 0.2], correct_sum=[1, 4])
    cell = Cell(
        suite="c",
        name="fog",
        severity=3,
        num_images=7,
        num_errors=2,
        nll_sum=1 / 3,
        brier_sum=0.7,
        adaptive=bins,
        equal_width=bins,
        seconds=0.25,
    )
    scaled = Scaled(nll_sum=0.25, brier_sum=0.5, adaptive=bins, equal_width=bins)
    tilt = SequenceCell(
        name="tilt",
        num_images=7,
        num_pairs=210,
        num_flips=11,
        top5_distance_sum=0.1 + 0.2,
        seconds=1.5,
    )
    return Results(
        model={"name": "small"},
        source={"name": "digits"},
        protocol={"seed": 0},
        temperature={"value": 1.5, "num_images": 5, "nll_before": 0.5, "nll_after": 0.25},
        cells=(cell, replace(cell, severity=4, scaled=scaled)),
        sequences=(tilt, replace(tilt, name="scale", top5_distance_sum=None)),
    )


def test_results_come_back_the_same(tmp_path: Path):
    results = make_results()
    write_results(tmp_path / "results.json", results)
    again = load_results(tmp_path / "results.json")
    assert again == results
    assert again.find("c", "fog", 3) == results.cells[0]
    assert again.find("c", "fog", 4) == results.cells[1]
    assert again.find("c", "fog", 5) is None
    assert again.find_sequence("scale") == results.sequences[1]
    assert again.find_sequence("shear") is None


def test_schema_is_checked(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"schema": 99}))
    with pytest.raises(RunError, match="a results file of schema 3, got 99"):
        load_results(path)
    path.write_text(json.dumps({"schema": 2, "cells": []}))
    with pytest.raises(RunError, match="of schema 3, got 2; .*delete it and evaluate again"):
        load_results(path)
    path.write_text(json.dumps({"schema": 3, "cells": [{}]}))
    with pytest.raises(RunError, match=r"results.json: cells\[0\].suite is missing; .*delete it"):
        load_results(path)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not valid JSON"), ("[1]", "JSON object, got list")]
)
def test_broken_json(tmp_path: Path, text: str, message: str):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(RunError, match=message):
        files.load_json(tmp_path / "a.json")


def test_missing_json(tmp_path: Path):
    with pytest.raises(RunError, match="does not exist"):
        files.load_json(tmp_path / "a.json")


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "config.json"
    files.write_json(path, {"value": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot write .*config.json: No space left on device"):
        files.write_json(path, {"value": 2})
    monkeypatch.undo()
    assert files.load_json(path) == {"value": 1}
    assert os.listdir(tmp_path) == ["config.json"]


def test_an_error_inside_the_block_keeps_the_old_file(tmp_path: Path):
    path = tmp_path / "state"
    files.write_bytes(path, b"old")

    def stop_halfway() -> None:
        with files.open_atomic(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_halfway()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(RunError, match="cannot write"):
        files.write_bytes(tmp_path / "no" / "file", b"")
    with pytest.raises(RunError, match="cannot write"):
        files.append_line(tmp_path / "no" / "log", {})


def test_nan_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_line_cut_short_is_left_out(tmp_path: Path):
    log = tmp_path / "log.jsonl"
    files.append_line(log, {"step": 1})
    files.append_line(log, {"step": 2})
    log.write_text(log.read_text()[:-4])
    assert files.load_lines(log) == [{"step": 1}]
    assert files.load_lines(tmp_path / "none") == []


def test_a_damaged_line_is_named(tmp_path: Path):
    log = tmp_path / "log.jsonl"
    for line in ('{"step": 1', '{"step": NaN}', "[1]", '{"step": "1"}', '{"loss": 1}', "\0\0"):
        log.write_text('{"step": 1, "loss": 0.5}\n' + line + "\n")
        with pytest.raises(RunError, match=r"log\.jsonl, line 2: .*delete its lines from there on"):
            load_log(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": []}, r"model must be an object, got \[\]"),
        ({"model": {"num_classes": "ten"}}, "model.num_classes must be .*whole number.*got 'ten'"),
        ({"source": {"class_names": ["a", 5]}}, r"class_names\[1\] must be text, got 5"),
        ({"source": {"num_classes": 3, "class_names": ["a"]}}, "class_names must name every class"),
        ({"protocol": {"severities": 5}}, "protocol.severities must be a list, got 5"),
        ({"temperature": {"value": 1.0}}, "temperature.* is missing"),
        ({"cells": [{"severity": 9}]}, r"cells\[0\]: severity must be 0..5"),
        ({"cells": [{"num_images": 0}]}, r"cells\[0\]: num_errors must be 0..num_images"),
        ({"cells": [{"num_errors": -1}]}, r"cells\[0\]: num_errors must be 0..num_images"),
        ({"cells": [{"nll_sum": 1e400}]}, "is not valid JSON"),
        ({"cells": [{"name": "../fog"}]}, "'../fog' cannot be part of a file's name"),
        ({"cells": [{}, {}]}, "a cell is in it twice"),
        ({"cells": [{"extra": 1}]}, r"cells\[0\].extra is no field of Cell"),
    ],
)
def test_results_are_checked_field_by_field(tmp_path: Path, change: dict, message: str):
    write_results(path := tmp_path / "results.json", make_results())
    plain = json.loads(path.read_text())
    good = plain["cells"][0]
    change = {**change, "cells": [good | cell for cell in change.get("cells", [])]}
    path.write_text(json.dumps({**plain, **change}))
    with pytest.raises(RunError, match=f"results.json.*{message}.*delete it"):
        load_results(path)


def test_to_plain():
    value = {"a": (np.float32(0.5), np.int64(3)), "path": Path("x")}
    assert files.to_plain(value) == {"a": [0.5, 3], "path": "x"}


def test_provenance_names_the_versions():
    found = provenance()
    assert found["versions"]["numpy"] == np.__version__
    assert found["python"].startswith("3.")


def test_summary_is_what_the_report_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sequences = ("tilt", "scale")
    names = (*NAMES[:3], *sorted(BAR)[:2])
    make_run(tmp_path / "run", names=names, sequences=sequences, robust_error=0.5, num_images=60)
    add_frequencies(tmp_path / "run")
    results = load_results(tmp_path / "run" / "results.json")
    expected = {k: v for k, v in summarise(results).items() if "nll" not in k and "brier" not in k}
    assert results.summary() == pytest.approx(expected)
    text = repr(results)
    assert len(text) < 400
    assert f"corruption_error {expected['corruption_error']:.4f}" in text
    assert Results(model={}, source={}, protocol={}).summary() == {}
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    rows: Any = results.to_pandas()
    assert len(rows) == len(results.measured)
    cell = results.cells[3]
    assert (rows[3]["name"], rows[3]["error"]) == (cell.name, cell.error)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RunError, match="to_pandas.. needs pandas, which is not installed"):
        results.to_pandas()
