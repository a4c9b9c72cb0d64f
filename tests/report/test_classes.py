"""Errors of classes, confusions and mistakes on the page, by hand."""

import json
from pathlib import Path

import numpy as np
from fake_runs import make_run

from augmix import metrics
from augmix.per_image import MISTAKES_FILE, load_images, load_mistakes, load_predictions
from augmix.report import write_report
from augmix.report.classes import class_records, class_tables, classes
from augmix.report.comparison import compare

KINDS = {"names": ("contrast",), "num_images": 120, "has_log": False}


def test_numbers_of_few_classes(tmp_path: Path) -> None:
    names = tuple(f"<b>kind {index}" for index in range(10))
    make_run(tmp_path / "a", class_names=names, clean_error=0.2, **KINDS)
    comparison = compare([tmp_path / "a"])
    labels = load_images(tmp_path / "a").labels
    clean = load_predictions(tmp_path / "a", "clean", "clean", 0).prediction
    corrupted = [
        metrics.class_errors(
            load_predictions(tmp_path / "a", "c", "contrast", s).prediction, labels, 10
        )
        for s in range(1, 6)
    ]
    expected = np.mean(corrupted, axis=0)
    (table, none), content = class_tables(comparison), classes(comparison)
    assert none is None
    assert [row.label for row in table.rows] == [names[i] for i in np.argsort(-expected)]
    for row in table.rows:
        index = names.index(row.label)
        count, of_clean, of_corrupted = row.entries
        assert count.value == (labels == index).sum()
        assert of_clean.value == np.mean(clean[labels == index] != index)
        np.testing.assert_allclose(of_corrupted.value, expected[index])
        assert of_corrupted.detail
    on_clean, on_corrupted = content["rows"][0]["matrices"]
    counts = metrics.confusion_matrix(clean, labels, 10)
    shown = [[entry.value for entry in row.entries] for row in on_clean.rows]
    np.testing.assert_allclose(shown, counts / counts.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(
        1 - np.diagonal([[entry.value for entry in row.entries] for row in on_corrupted.rows]),
        expected,
    )
    mistakes, kept = content["rows"][0]["mistakes"], load_mistakes(tmp_path / "a")
    assert len(mistakes["clean"]) == (kept["severities"] == 0).sum() == 12
    first = mistakes["corrupted"][0]
    index = np.flatnonzero(kept["severities"] == 5)[kept["confidence"][12:].argmax()]
    assert first.label == names[int(kept["labels"][index])]
    assert (first.what, first.confidence) == (
        "contrast 5",
        f"{100 * kept['confidence'][index]:.1f} %",
    )
    page = write_report([tmp_path / "a"], tmp_path / "page.html", ["json"]).read_text()
    assert "<b>kind" not in page
    records = json.loads((tmp_path / "page.json").read_text())["classes"]
    assert len(records) == 10
    np.testing.assert_allclose([each["corrupted_error"] for each in records], expected)


def test_many_classes_are_the_hardest_and_the_most_confused(tmp_path: Path) -> None:
    for name, weakness in (("a", 1.0), ("b", 0.5)):
        folder = tmp_path / name
        make_run(folder, label=name, weakness=weakness, seed=len(name), num_classes=200, **KINDS)
    comparison = compare([tmp_path / "a", tmp_path / "b"])
    table, confusions = class_tables(comparison)
    assert (len(table.rows), table.title) == (20, "Hardest classes")
    assert [column.group for column in table.columns] == ["", "a", "a", "b", "b"]
    number = len(np.unique(load_images(tmp_path / "a").labels))
    assert f"Of {number} classes" in table.note
    assert f"without an image: {200 - number}" in table.note
    assert 0 < len(confusions.rows) <= 20
    means = [np.mean([row.entries[2].value, row.entries[4].value]) for row in confusions.rows]
    assert means == sorted(means, reverse=True)
    assert all(row["matrices"] == [] for row in classes(comparison)["rows"])
    assert len(class_records(comparison)) == 400


def test_runs_without_predictions_have_no_section(tmp_path: Path) -> None:
    make_run(tmp_path / "a", has_predictions=False, **KINDS)
    comparison = compare([tmp_path / "a"])
    assert classes(comparison) is None
    assert class_tables(comparison) == class_records(comparison) == []


def test_a_mistake_names_a_severity_between_whole_ones(tmp_path: Path) -> None:
    make_run(tmp_path / "a", clean_error=0.2, **KINDS)
    kept = load_mistakes(tmp_path / "a")
    halves = kept["severities"] - 0.5 * (kept["severities"] > 0)
    np.savez(tmp_path / "a" / MISTAKES_FILE, **kept | {"severities": halves})
    content = classes(compare([tmp_path / "a"]))
    assert {each.what for each in content["rows"][0]["mistakes"]["corrupted"]} == {"contrast 4.5"}
    assert {each.what for each in content["rows"][0]["mistakes"]["clean"]} == {""}
