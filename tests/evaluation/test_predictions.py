"""Results from files of predictions: equal to those of the model that made them."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from toy_runs import write_npz

from augmix import cli, files
from augmix.data.sources import Source, open_source
from augmix.errors import ResumeError, RunError
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.loop import evaluate
from augmix.evaluation.models import run_measurement
from augmix.evaluation.predictions import evaluate_predictions
from augmix.evaluation.predictor import Predictor
from augmix.metrics import image_scores
from augmix.models.weights import build_model
from augmix.per_image import PREDICTIONS_FOLDER
from augmix.report.estimates import estimate
from augmix.report.load import common_grid, common_sequences, load_runs
from augmix.results import Results, load_results

Columns = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = tmp_path_factory.mktemp("toy") / "toy.npz"
    return open_source("npz", root=write_npz(path, num_classes=6), split="test")


@pytest.fixture(scope="module")
def run(toy: Source, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Columns]:
    """The folder of an evaluation, and the logits of every image and frame it was made of."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    rows: list[tuple[Any, ...]] = []
    found: list[np.ndarray] = []
    logits = Predictor.logits

    def record(self: Predictor, images: Any, key: Any, ids: Any) -> Any:
        given = logits(self, images, key, ids)
        num_frames = len(ids) // len(set(ids.tolist()))
        frames = np.tile(np.arange(num_frames), len(ids) // num_frames)
        rows.extend((i, toy.labels[i], *key, f) for i, f in zip(ids, frames, strict=True))
        found.append(given)
        return given

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predictor, "logits", record)
        evaluate(
            build_model("small", num_classes=6),
            toy,
            suite=("clean", "c", "p"),
            names=("fog", "contrast"),
            severities=(2, 5),
            sequences=("brightness", "gaussian_noise"),
            difficulty=2,
            max_images=12,
            bin_size=5,
            out=folder,
        )
    names = ("id", "label", "suite", "corruption", "severity", "frame")
    columns = {
        name: np.array(each) for name, each in zip(names, zip(*rows, strict=True), strict=True)
    }
    return folder, {**columns, "logits": np.concatenate(found)}


def write_csv(path: Path, columns: Columns) -> Path:
    flat = flatten(columns)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(flat)
        writer.writerows(zip(*(each.tolist() for each in flat.values()), strict=True))
    return path


def write_parquet(path: Path, columns: Columns) -> Path:
    plain = {name: each.tolist() for name, each in columns.items()}
    parquet.write_table(pyarrow.table(plain), path, row_group_size=50)
    return path


def write_arrays(path: Path, columns: Columns) -> Path:
    files.write_npz(path, columns)
    return path


def flatten(columns: Columns) -> Columns:
    """Logits as a column for each class."""
    rest = {name: each for name, each in columns.items() if each.ndim == 1}
    wide = {f"logit_{i}": each for i, each in enumerate(columns.get("logits", np.empty((0, 0))).T)}
    return rest | wide


def same(results: Results) -> Results:
    """Results without what a file cannot say."""
    return replace(
        results,
        model={},
        source={},
        protocol={},
        provenance={},
        cells=tuple(replace(cell, seconds=0.0) for cell in results.cells),
        sequences=tuple(replace(cell, seconds=0.0) for cell in results.sequences),
    )


@pytest.mark.parametrize(
    ("ending", "write"), [("npz", write_arrays), ("parquet", write_parquet), ("csv", write_csv)]
)
def test_a_file_gives_the_results_of_its_model(
    run: tuple[Path, Columns], toy: Source, tmp_path: Path, ending: str, write: Callable[..., Path]
) -> None:
    folder, columns = run
    mixed = np.random.default_rng(0).permutation(len(columns["id"]))
    first = {key: i for i, key in reversed([*enumerate(zip(*keys_of(columns), strict=True))])}
    starts = sorted(first.values())  # cells are in the order of their first rows
    order = np.concatenate([starts, mixed[~np.isin(mixed, starts)]])
    path = write(tmp_path / f"mine.{ending}", {n: each[order] for n, each in columns.items()})
    out = tmp_path / "out"
    measurement = Measurement(
        models=(), predictions=path, how=EvaluateConfig(difficulty=2, bin_size=5, out=out)
    )
    found = run_measurement(measurement)
    theirs, ours = load_runs([folder, out])
    assert same(found) == same(theirs.results)
    for file in (folder / PREDICTIONS_FOLDER).iterdir():
        assert (out / PREDICTIONS_FOLDER / file.name).read_bytes() == file.read_bytes()
    grid = common_grid([theirs.results, found])
    sequences = common_sequences([theirs.results, found])
    assert (len(grid.cells(found)), len(sequences)) == (4, 2)
    numbers, expected = (estimate(each, grid, sequences) for each in (ours, theirs))
    assert {key: each.value for key, each in numbers.items()} == {
        key: each.value for key, each in expected.items()
    }
    assert {k: e.draws.interval() for k, e in numbers.items() if e.draws} == {
        k: e.draws.interval() for k, e in expected.items() if e.draws
    }


def keys_of(columns: Columns) -> list[list[Any]]:
    return [columns[name].tolist() for name in ("suite", "corruption", "severity")]


def test_probabilities_or_confidences_are_enough(run: tuple[Path, Columns]) -> None:
    folder, columns = run
    expected = load_runs([folder])[0].results
    rest = {name: each for name, each in columns.items() if name != "logits"}
    scores = image_scores(columns["logits"], columns["label"])
    shifted = np.exp(columns["logits"] - columns["logits"].max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    how: dict[str, Any] = {"bin_size": 5, "difficulty": 2}
    found = evaluate_predictions({**rest, "probabilities": probabilities}, **how)
    for ours, theirs in zip(found.cells, expected.cells, strict=True):
        assert ours.num_errors == theirs.num_errors
        assert ours.nll == pytest.approx(theirs.nll, rel=1e-12)
    answers = {"prediction": scores.prediction, "confidence": scores.confidence}
    found = evaluate_predictions({**rest, **answers}, **how)
    for ours, theirs in zip(found.cells, expected.cells, strict=True):
        unknown = {"nll_sum": None, "brier_sum": None, "seconds": 0.0}
        assert ours == replace(theirs, **unknown)
    for ours, theirs in zip(found.sequences, expected.sequences, strict=True):
        assert ours == replace(theirs, top5_distance_sum=None, seconds=0.0)


def test_a_source_gives_labels_and_pictures(
    run: tuple[Path, Columns], toy: Source, tmp_path: Path
) -> None:
    folder, columns = run
    rest = {name: each for name, each in columns.items() if name != "label"}
    found = evaluate_predictions(rest, toy, bin_size=5, difficulty=2, out=tmp_path)
    theirs = load_runs([folder])[0]
    assert found.source == theirs.results.source
    assert same(found) == same(theirs.results)
    ours = load_runs([tmp_path])[0]
    assert all(np.array_equal(ours.hardest[name], each) for name, each in theirs.hardest.items())
    wrong = columns | {"label": (columns["label"] + 1) % 6}
    with pytest.raises(RunError, match=r"image \d+ has label \d, in npz it is \d"):
        evaluate_predictions(wrong, toy)


def test_images_are_named_on_the_command_line(tmp_path: Path) -> None:
    for name in ("bright", "dark"):
        (tmp_path / "photos" / "test" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "test" / name / "a.png")
    rows = "id,label,suite,corruption,severity,prediction,confidence\n"
    rows += "0,0,clean,,,0,0.9\n1,1,clean,,,0,0.8\n"
    (tmp_path / "mine.csv").write_text(rows)
    words = ["--predictions", tmp_path / "mine.csv", "--data", tmp_path / "photos"]
    assert cli.main(["evaluate", *map(str, words), "--out", str(tmp_path / "out")]) == 0
    (cell,) = load_results(tmp_path / "out" / "results.json").cells
    assert (cell.num_images, cell.num_errors) == (2, 1)


ROWS: Columns = {
    "id": np.repeat([3, 5], 2),
    "label": np.repeat([0, 1], 2),
    "suite": np.array(["clean", "c"] * 2),
    "corruption": np.array(["", "fog"] * 2),
    "severity": np.array(["", "2"] * 2),
    "prediction": np.array([0, 1, 1, 1]),
    "confidence": np.array([0.9, 0.6, 0.8, 0.7]),
}


def test_a_few_rows_by_hand() -> None:
    found = evaluate_predictions(ROWS, bin_size=1, preset="tiny")
    assert found.protocol["preset"] == "tiny"
    clean, fog = found.cells
    assert (clean.num_errors, fog.num_errors) == (0, 1)
    assert fog.key == ("c", "fog", 2)
    assert fog.equal_width.confidence_sum[8] == pytest.approx(0.6)  # bin (8/15, 9/15]
    assert fog.equal_width.correct_sum[10] == 1


LOGITS = np.arange(8.0).reshape(4, 2)
BAD = [
    ({"prediction": None}, "has no answers: expected logits, probabilities"),
    ({"id": None}, "has no column 'id'"),
    ({"label": None}, "has no column 'label'"),
    ({"id": np.array([3, 3, 3, 5])}, "image 3 has the labels 0 and 1; expected one"),
    ({name: each[[0, 1, 2, 3, 1]] for name, each in ROWS.items()}, "image 3 has more than one row"),
    ({"id": np.array([3, 3, 5, 6])}, "clean: 1 of 3 rows are missing, first that of image 6"),
    ({"id": np.array([3.5, 3, 5, 5])}, "id must be whole numbers of at least 0, got 3.5"),
    ({"label": np.array([0, 1, 1, 1])}, "image 3 has the labels 0 and 1"),
    (
        {"suite": np.array(["clean", "d"] * 2)},
        "suite must be of clean, c, c-bar, own, p, ood, got 'd'",
    ),
    (
        {"corruption": np.array(["", "fogg"] * 2)},
        "unknown corruption 'fogg' of suite 'c', did you mean 'fog'?",
    ),
    ({"severity": np.array(["", "6"] * 2)}, "severity of fog must be 1..5, got '6'"),
    ({"confidence": np.array([0.9, 60, 0.8, 0.7])}, r"confidence must be in \[0, 1\], got 60"),
    ({"confidence": np.array(["0.9", "", "1", "1"])}, "got ''; fill in every row"),
    ({"confidence": np.array([0.9, np.nan, 0.8, 0.7])}, "must be finite numbers, got nan"),
    ({"prediction": np.array(["cat", "1", "1", "1"])}, "prediction must be numbers, got 'cat'"),
    ({"prediction": np.array([0, 1, 1])}, "expected columns of equal length"),
    ({"logits": np.zeros(4)}, r"logits must be numbers \[row class\]"),
    ({"logits": np.full((4, 2), np.inf)}, "logits must be finite, got another number for image 3"),
    ({"logits": LOGITS[:, :1]}, "logits must have a column for every class, got 1"),
    ({"logits": LOGITS, "probabilities": LOGITS}, "has both logits and probabilities"),
    ({"probabilities": LOGITS}, "probabilities must be in .* sum to 1, got .*; name logits"),
    ({"logit_0": LOGITS[:, 0], "logit_2": LOGITS[:, 1]}, "has logit_2, but no column logit_1"),
    ({"logits": LOGITS, "label": np.repeat([0, 4], 2)}, "has label 4, but 2 logits a row"),
    ({"suite": np.array(["clean", "p"] * 2), "corruption": np.array(["", "tilt"] * 2)}, "'frame'"),
    (
        {
            "suite": np.array(["clean", "p"] * 2),
            "corruption": np.array(["", "tilt"] * 2),
            "frame": np.array(["", "0"] * 2),
        },
        "sequences must have more frames, got 1",
    ),
    ({name: each[:0] for name, each in ROWS.items()}, "has no row"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_rows_are_refused(changes: dict[str, Any], message: str) -> None:
    columns = {name: each for name, each in {**ROWS, **changes}.items() if each is not None}
    with pytest.raises(RunError, match=message):
        evaluate_predictions(columns)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.txt", b"", "must be a file .npz, .parquet, .csv"),
        ("rows.csv", b"id,suite\n1,clean,2\n", "line 2: expected 2 cells"),
        ("rows.csv", b"id,id\n", "has the column 'id' twice"),
        ("rows.csv", b"\xff\xfe", "cannot read .*rows.csv"),
        ("rows.csv", b"", "has no column 'id'"),
        ("rows.npz", b"PK", "is damaged"),
        ("rows.parquet", b"PAR1", "cannot read .*rows.parquet"),
        ("none.csv", None, "does not exist"),
    ],
)
def test_bad_files_are_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=message):
        evaluate_predictions(path)


def test_folders_of_other_models_are_kept(run: tuple[Path, Columns], tmp_path: Path) -> None:
    folder, _ = run
    with pytest.raises(ResumeError, match="these are of 'predictions'"):
        evaluate_predictions(ROWS, out=folder)
    path = write_csv(tmp_path / "rows.csv", ROWS)
    evaluate_predictions(path, bin_size=2, out=tmp_path / "out")
    changed = evaluate_predictions(path, bin_size=1, out=tmp_path / "out")  # a file that grew
    assert load_runs([tmp_path / "out"])[0].results == changed
    with pytest.raises(ResumeError):
        evaluate_predictions(ROWS, out=tmp_path / "out")


def test_settings_of_a_model_are_refused() -> None:
    with pytest.raises(ValueError, match="name a model or predictions, not both"):
        Measurement(models=("timm:resnet18",), predictions=Path("a.csv"))
    with pytest.raises(ValueError, match="max_images 5 would have no effect"):
        Measurement(models=(), predictions=Path("a.csv"), how=EvaluateConfig(max_images=5))
