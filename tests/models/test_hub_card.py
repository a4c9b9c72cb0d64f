"""The model card against numbers worked by hand."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from augmix import errors
from augmix.models.hub import write_card
from augmix.models.weights import build_model, save_model
from augmix.results import Bins, Cell, Results, SequenceCell, write_results


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save_model(tmp_path, build_model("small", num_classes=3))
    return tmp_path


def cell(suite: str, name: str, severity: int, num_errors: int, gap: float) -> Cell:
    """100 images in one bin whose mean confidence is off the accuracy by ``gap``."""
    num_correct = 100 - num_errors
    bins = Bins(count=[100], confidence_sum=[num_correct + 100 * gap], correct_sum=[num_correct])
    return Cell(
        suite=suite,
        name=name,
        severity=severity,
        num_images=100,
        num_errors=num_errors,
        nll_sum=0.0,
        brier_sum=0.0,
        adaptive=bins,
        equal_width=bins,
        seconds=0.0,
    )


def measured(cells: list[Cell], **source) -> Results:
    return Results(
        model={},
        source={"name": "digits", "split": "test", "num_images": 100, **source},
        protocol={"severities": [1, 5]},
        cells=tuple(cells),
    )


def tables(card: str) -> dict[str, list[str]]:
    rows = re.findall(r"^\| (.+?) \|$", card, re.MULTILINE)
    return {row.split(" | ")[0]: row.split(" | ")[1:] for row in rows}


def test_without_results(run: Path):
    card = write_card(run, "me/digits")
    assert card.startswith("---\nlibrary_name: augmix\npipeline_tag: image-classification\n")
    assert "\n# me/digits\n" in card
    assert "A `small` for 3 classes" in card
    assert "model = augmix.load_model('me/digits')" in card
    assert "Nothing was measured" in card
    assert "## Training" not in card


def test_settings_without_places(run: Path):
    config = {"schema": 1, "method": "augmix", "epochs": 7, "data": "/home/x", "out": "/home/y"}
    (run / "config.json").write_text(json.dumps(config))
    card = write_card(run, "me/digits")
    rows = tables(card)
    assert (rows["method"], rows["epochs"]) == (["augmix"], ["7"])
    assert not {"data", "out", "schema"} & set(rows)
    assert "/home" not in card


def test_means_over_cells(run: Path):
    cells = [
        cell("clean", "clean", 0, num_errors=3, gap=0.05),
        cell("c", "fog", 1, num_errors=10, gap=0.10),
        cell("c", "fog", 5, num_errors=30, gap=0.20),
        cell("c", "snow", 1, num_errors=5, gap=0.02),
        cell("c", "snow", 5, num_errors=15, gap=0.04),
        cell("c", "frost", 1, num_errors=99, gap=0.9),  # severity 5 is not measured yet
    ]
    write_results(run / "results.json", measured(cells))
    card = write_card(run, "me/digits")
    rows = tables(card)
    assert "On `digits`, split `test`, 100 images; percent." in card
    assert rows["clean"] == ["3.00", "5.00"]
    assert rows["fog"] == ["20.00", "15.00"]
    assert rows["snow"] == ["10.00", "3.00"]
    assert rows["corrupted (mean)"] == ["15.00", "9.00"]
    assert "frost" not in rows
    assert "2 corruptions at severities 1, 5" in card


def test_clean_alone(run: Path):
    clean = measured([cell("clean", "clean", 0, num_errors=3, gap=0.0)])
    write_results(run / "results.json", clean)
    rows = tables(write_card(run, "me/digits"))
    assert rows["clean"] == ["3.00", "0.00"]
    assert "corrupted (mean)" not in rows


def test_names_stay_text(run: Path):
    results = measured([], name="<script>|`x`", split="a\n# b")
    write_results(run / "results.json", results)
    card = write_card(run, "me/digits")
    assert "`&lt;script>\\|'x'`, split `a # b`" in card
    assert "<script>" not in card


def test_damaged_results(run: Path):
    (run / "results.json").write_text("{")
    with pytest.raises(errors.RunError, match="not valid JSON"):
        write_card(run, "me/digits")


def test_attacked_images_and_sequences(run: Path):
    flips = [("brightness", 3), ("tilt", 9)]
    results = replace(
        measured([cell("attack", "linf", 0, num_errors=60, gap=0.25)]),
        protocol={"attack_norm": "linf", "attack_epsilon": 0.03, "attack_steps": 20},
        sequences=tuple(
            SequenceCell(
                name=name,
                num_images=2,
                num_pairs=100,
                num_flips=count,
                top5_distance_sum=None,
                seconds=0.0,
            )
            for name, count in flips
        ),
    )
    write_results(run / "results.json", results)
    card = write_card(run, "me/digits")
    rows = tables(card)
    assert rows["attacked (linf)"] == ["60.00", "25.00"]
    assert "Attacked: projected gradient descent (norm linf, epsilon 0.03, steps 20); an" in card
    assert (rows["brightness"], rows["tilt"], rows["mean"]) == (["3.00"], ["9.00"], ["6.00"])
