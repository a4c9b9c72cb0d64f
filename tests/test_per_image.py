"""Outcomes: what was said about every image comes back the same, in the smallest type."""

from pathlib import Path

import numpy as np
import pytest

from augmix.errors import RunError
from augmix.per_image import (
    MeasuredImages,
    Predictions,
    SequencePredictions,
    images_path,
    load_images,
    load_predictions,
    load_sequence_predictions,
    predictions_path,
    to_classes,
    write_predictions,
)


def test_files_are_named_by_suite_name_and_severity(tmp_path: Path):
    found = [
        images_path(tmp_path),
        predictions_path(tmp_path, "clean", "clean", 0),
        predictions_path(tmp_path, "c", "fog", 3),
        predictions_path(tmp_path, "p", "tilt"),
    ]
    names = ["images.npz", "clean-clean-0.npz", "c-fog-3.npz", "p-tilt.npz"]
    assert found == [tmp_path / "predictions" / name for name in names]


def test_outcomes_come_back_the_same(tmp_path: Path):
    images = MeasuredImages(ids=np.array([4, 7]), labels=np.array([1, 0]))
    cell = Predictions(
        prediction=np.array([1, 999], np.uint16), confidence=np.array([0.5, 0.1], np.float32)
    )
    sequence = SequencePredictions(
        prediction=np.array([[0, 1, 1], [2, 2, 2]], np.uint8),
        flips=np.array([1, 0], np.uint16),
        pairs=np.array([2, 2], np.uint16),
    )
    write_predictions(images_path(tmp_path), images)
    write_predictions(predictions_path(tmp_path, "c", "fog", 3), cell)
    write_predictions(predictions_path(tmp_path, "p", "tilt"), sequence)
    assert load_images(tmp_path).ids.tolist() == [4, 7]
    again = load_predictions(tmp_path, "c", "fog", 3)
    assert again.prediction.dtype == np.uint16
    assert again.prediction.tolist() == [1, 999]
    assert again.confidence.tobytes() == cell.confidence.tobytes()
    frames = load_sequence_predictions(tmp_path, "tilt")
    assert frames.prediction.tolist() == sequence.prediction.tolist()
    assert (frames.flips.tolist(), frames.pairs.tolist()) == ([1, 0], [2, 2])


@pytest.mark.parametrize(
    ("num_classes", "kind"), [(256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "int32")]
)
def test_classes_take_the_smallest_type_that_holds_them(num_classes: int, kind: str):
    found = to_classes(np.array([0, num_classes - 1]), num_classes)
    assert found.dtype == kind
    assert found.tolist() == [0, num_classes - 1]


def test_missing_and_damaged_files_are_named(tmp_path: Path):
    with pytest.raises(RunError, match=r"c-fog-3\.npz does not exist; evaluate the run again"):
        load_predictions(tmp_path, "c", "fog", 3)
    path = predictions_path(tmp_path, "c", "fog", 3)
    cell = Predictions(prediction=np.zeros(9, np.uint8), confidence=np.ones(9, np.float32))
    write_predictions(path, cell)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(RunError, match=r"c-fog-3\.npz is damaged .*delete it and evaluate"):
        load_predictions(tmp_path, "c", "fog", 3)
    write_predictions(path, MeasuredImages(ids=np.arange(2), labels=np.arange(2)))
    with pytest.raises(RunError, match="damaged"):
        load_predictions(tmp_path, "c", "fog", 3)
