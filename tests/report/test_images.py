"""The images that are hardest, by hand: who is most often wrong, and what for."""

from pathlib import Path

import numpy as np
from fake_runs import NAMES, make_run

from augmix.files import to_plain, write_json
from augmix.per_image import (
    SequencePredictions,
    load_predictions,
    predictions_path,
    write_predictions,
)
from augmix.report.comparison import Comparison, compare
from augmix.report.images import corruption_drills, perturbation_drills
from augmix.results import RESULTS_FILE, load_results


def rewrite(folder: Path, predictions: dict[int, list[int]]) -> None:
    """Give the first corruption these predictions by severity, and count its errors again."""
    labels = [0, 1, 2, 3]
    results = to_plain(load_results(folder / RESULTS_FILE))
    for cell in results["cells"]:
        if cell["suite"] == "c":
            said = np.array(predictions[cell["severity"]], np.uint8)
            path = predictions_path(folder, "c", cell["name"], cell["severity"])
            confidence = load_predictions(folder, "c", cell["name"], cell["severity"]).confidence
            write_predictions(
                path,
                type(load_predictions(folder, "c", cell["name"], 1))(
                    prediction=said, confidence=confidence
                ),
            )
            cell["num_errors"] = int((said != labels).sum())
    write_json(folder / RESULTS_FILE, {"schema": 3, **results})


def four_images(tmp_path: Path) -> Comparison:
    """Labels 0 to 3: image 9 is always wrong, 3 in two severities, 0 and 6 never."""
    folder = tmp_path / "run"
    make_run(folder, names=NAMES[:1], num_images=4, has_log=False, sequences=("tilt",))
    images = np.load(folder / "predictions" / "images.npz")
    np.savez(folder / "predictions" / "images.npz", ids=images["ids"], labels=np.arange(4))
    always, sometimes = [0, 1, 2, 7], [0, 5, 2, 7]
    rewrite(folder, {1: always, 2: always, 3: sometimes, 4: sometimes, 5: [0, 1, 2, 8]})
    clean = load_predictions(folder, "clean", "clean", 0)
    right = type(clean)(prediction=np.arange(4, dtype=np.uint8), confidence=clean.confidence)
    write_predictions(predictions_path(folder, "clean", "clean", 0), right)
    results = to_plain(load_results(folder / RESULTS_FILE))
    results["cells"][0]["num_errors"] = 0
    frames = SequencePredictions(
        prediction=np.zeros((4, 5), np.uint8),
        flips=np.array([0, 3, 1, 0], np.uint16),
        pairs=np.full(4, 4, np.uint16),
    )
    write_predictions(predictions_path(folder, "p", "tilt"), frames)
    results["sequences"][0] |= {"num_flips": 4, "num_pairs": 16}
    write_json(folder / RESULTS_FILE, {"schema": 3, **results})
    return compare([folder])


def test_hardest_images(tmp_path: Path):
    comparison = four_images(tmp_path)
    (drill,) = corruption_drills(comparison, {3})
    assert drill.title == "gaussian noise"
    assert [image.number for image in drill.hard] == [9, 3]
    assert drill.hard[0].notes == ("5 of 5 wrong: 7",)
    assert drill.hard[1].notes == ("2 of 5 wrong: 5",)
    assert drill.hard[1].label == "1"
    assert drill.mistakes == ("3 → 7 (4), 1 → 5 (2), 3 → 8 (1)",)
    assert drill.table is not None
    assert [entry.text for entry in drill.table.rows[0].entries] == [
        "25.0",
        "25.0",
        "50.0",
        "50.0",
        "25.0",
    ]


def test_most_flipped_images(tmp_path: Path):
    (drill,) = perturbation_drills(four_images(tmp_path), set())
    assert [image.number for image in drill.hard] == [3, 6]
    assert drill.hard[0].notes == ("flips in 75 % of pairs",)


def test_equally_hard_images_with_a_picture_come_first(tmp_path: Path):
    make_run(tmp_path / "a", names=NAMES[:1], num_images=100, has_log=False)
    comparison = compare([tmp_path / "a"])
    (without,) = corruption_drills(comparison, set())
    worst = without.hard[0].notes
    equal = [image.number for image in without.hard if image.notes[0][:6] == worst[0][:6]]
    assert len(equal) > 2
    (with_one,) = corruption_drills(comparison, {equal[-1]})
    assert with_one.hard[0].number == equal[-1]
    assert {image.number for image in with_one.hard[: len(equal)]} == set(equal)
