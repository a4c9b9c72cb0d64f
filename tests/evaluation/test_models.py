"""Measurements: which models, which images, where the results go."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toy_runs import toy_config, write_npz

from augmix import files
from augmix.arrays import to_float
from augmix.corruptions.corrupt import photograph_frames
from augmix.data.derived import hold_out
from augmix.data.sources import open_source
from augmix.errors import ResumeError, RunError
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.decide import Arm, decide
from augmix.evaluation.loop import evaluate
from augmix.evaluation.models import find_preprocessing, run_measurement
from augmix.evaluation.predictions import evaluate_predictions
from augmix.models.open_model import open_model
from augmix.models.weights import build_model, load_model, save_model
from augmix.per_image import load_images, load_predictions, load_sequence_predictions
from augmix.progress import Note
from augmix.results import Results, load_results
from augmix.training.run import open_split, train
from augmix.training.settings import flatten, update_config

MODULE = """
import torch

class Brightness(torch.nn.Module):
    '''Four classes by brightness; the first layer takes pixels 0..255.'''

    def forward(self, images):
        level = images.mean(dim=(1, 2, 3))
        return -(level[:, None] - torch.tensor([250.0, 60.0, 120.0, 180.0])).abs() / 20

def make():
    return Brightness()
"""


def nearest(levels: np.ndarray) -> list[int]:
    """What the module's model says of images of these mean grey levels."""
    return np.abs(levels[:, None] - [250, 60, 120, 180]).argmin(axis=1).tolist()


def make_run(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A run folder as training leaves it, its network untrained."""
    config = toy_config(folder, seed=seed, **changes)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    save_model(folder, build_model("small", num_classes=3))
    files.write_json(folder / "config.json", {"schema": 2, **files.to_plain(flatten(config))})
    return folder


def measure(*models: Path | str, **changes: Any) -> Results:
    settings: dict[str, Any] = {"suite": ("clean",), "device": "cpu", "bin_size": 5, **changes}
    names = {entry.name for entry in fields(EvaluateConfig)}
    how = EvaluateConfig(**{name: settings.pop(name) for name in names & settings.keys()})
    models = tuple(str(model) for model in models)
    return run_measurement(Measurement(models=models, how=how, **settings))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture
def module(tmp_path: Path) -> str:
    (tmp_path / "toy_brightness.py").write_text(MODULE)
    return f"python:{tmp_path / 'toy_brightness.py'}:make"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Six photographs of several sizes in two classes."""
    rng = np.random.default_rng(0)
    for index in range(6):
        place = tmp_path / "photographs" / "test" / ("n2", "n1")[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 40, (90 + index, 100 - index, 3)) + 40 * index
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{index}.png")
    return tmp_path / "photographs"


def test_an_ensemble_is_the_mean_of_its_members_probabilities(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"seed{seed}", seed) for seed in range(3)]
    results = measure(*runs, out=tmp_path / "all")
    source = open_split(toy_config(runs[0]), "test")
    images = torch.from_numpy(to_float(source.load(np.arange(20))))
    with torch.inference_mode():
        odds = torch.stack([load_model(run)(images).softmax(dim=1) for run in runs]).mean(dim=0)
    kept = load_predictions(tmp_path / "all", "clean", "clean", 0)
    assert kept.prediction.tolist() == odds.argmax(dim=1).tolist()
    np.testing.assert_allclose(kept.confidence, odds.max(dim=1).values, rtol=1e-5)
    facts = results.model
    assert (facts["label"], facts["method"]) == ("augmix ensemble of 3", "augmix")
    assert facts["seed"] is None
    assert [(each["label"], each["seed"]) for each in facts["members"]] == [
        ("seed0", 0),
        ("seed1", 1),
        ("seed2", 2),
    ]
    singles = [measure(run).model["weights_sha256"] for run in runs]
    assert [each["weights_sha256"] for each in facts["members"]] == singles
    assert facts["weights_sha256"] not in singles
    assert facts["num_parameters"] == 3 * facts["members"][0]["num_parameters"]


def test_runs_are_measured_on_what_they_held_out(tmp_path: Path) -> None:
    data = np.load(write_npz(tmp_path / "split.npz", num_images=30))
    np.savez(tmp_path / "whole.npz", images=data["x_train"], labels=data["y_train"])
    changes = {"data": str(tmp_path / "whole.npz"), "val_fraction": 0.2, "epochs": 1}
    runs = [train(toy_config(tmp_path / f"run{seed}", seed=seed, **changes)) for seed in range(2)]
    found = measure(*runs, out=tmp_path / "both")
    held = hold_out(open_source("npz", root=tmp_path / "whole.npz"), 0.2)[1]
    assert (found.source["split"], found.source["fingerprint"]) == ("val", held.fingerprint)
    assert found.num_images == 6
    notes: list[str] = []
    how = EvaluateConfig(suite=("clean",), device="cpu", bin_size=5)
    run_measurement(
        Measurement(models=(str(runs[0]),), how=how),
        on_progress=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
    )
    assert any("held out of the training for validation" in note for note in notes)
    assert measure(runs[0], out=tmp_path / "all", allow_train_data=True).num_images == 30
    other = train(toy_config(tmp_path / "other", **{**changes, "val_fraction": None}))
    with pytest.raises(RunError, match="are those the model was trained on"):
        measure(runs[0], other, out=tmp_path / "three")


def test_an_ensemble_needs_a_folder_and_one_set_of_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="several models are an ensemble: .*--out"):
        Measurement(models=("a", "b"))
    with pytest.raises(ValueError, match="name at least one model"):
        Measurement(models=())
    first = make_run(tmp_path / "first")
    second = make_run(tmp_path / "second", size=20)
    with pytest.raises(RunError, match=r"different images \(npz .* at size 0, npz .* size 20\)"):
        measure(first, second, out=tmp_path / "all")


def test_adapted_results_lie_below_the_run_and_say_so(run: Path) -> None:
    plain = measure(run)
    adapted = measure(run, adapt_batch_norm=True, adapt_prior=2)
    assert adapted.model["label"] == "run, adapted"
    assert adapted.model["adaptation"] == "batch norm, prior 2"
    assert adapted.cells[0].nll_sum != plain.cells[0].nll_sum
    assert load_results(run / "adapted" / "results.json") == adapted
    assert load_results(run / "results.json") == plain


def test_a_temperature_is_measured_in_the_same_pass(run: Path) -> None:
    results = measure(run, suite=("clean", "c"), names=("fog",), temperature_images=8)
    assert results.temperature is not None
    assert all(cell.scaled is not None and cell.num_images == 12 for cell in results.cells)


def test_a_python_function_is_measured_on_images_that_are_named(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "toy.npz", num_classes=4)
    with pytest.raises(RunError, match="does not say what images .*--data"):
        measure(module)
    results = measure(module, data="toy.npz", preprocessing="none", input_range=(0.0, 255.0))
    assert results.source["name"] == "npz"
    assert results.model["label"] == "python:toy_brightness.py:make"
    assert (results.model["method"], results.model["seed"]) == ("", None)
    folder = Measurement(models=(module,)).folder
    assert folder == Path("runs") / "python-toy_brightness.py-make"
    assert load_results(folder / "results.json") == results
    with np.load("toy.npz") as file:
        levels = file["x_test"].mean(axis=(1, 2, 3))
    kept = load_predictions(folder, "clean", "clean", 0)
    assert kept.prediction.tolist() == nearest(levels)


def test_classes_are_matched_by_a_list(module: str, photographs: Path, tmp_path: Path) -> None:
    """The source has two of the model's four classes, sorted otherwise."""
    listing = tmp_path / "classes.txt"
    listing.write_text("0 n0 white\n1 n2 dark\n2 n1 grey\n3 n3 light\n")
    settings: dict[str, Any] = {
        "data": str(photographs),
        "preprocessing": "none",
        "crop": 32,
        "input_range": (0.0, 255.0),
        "class_list": str(listing),
    }
    whole = measure(module, **settings, out=tmp_path / "whole")
    assert (whole.source["num_classes"], whole.source["size"]) == (4, [32, 32])
    assert load_images(tmp_path / "whole").labels.tolist() == [2, 2, 2, 1, 1, 1]
    levels = np.array([60, 140, 220, 20, 100, 180])  # n1 has the images 1, 3, 5
    kept = load_predictions(tmp_path / "whole", "clean", "clean", 0)
    assert kept.prediction.tolist() == nearest(levels)
    some = measure(module, **settings, restrict=True, out=tmp_path / "some")
    assert some.source["class_names"] == ["n1", "n2"]
    assert some.model["name"].endswith("2 classes")
    assert load_images(tmp_path / "some").labels.tolist() == [0, 0, 0, 1, 1, 1]
    kept = load_predictions(tmp_path / "some", "clean", "clean", 0)
    assert kept.prediction.tolist() == [int(abs(level - 60) < abs(level - 120)) for level in levels]


def named_run(folder: Path, class_names: tuple[str, ...]) -> Path:
    """A run folder whose model names its classes."""
    make_run(folder)
    save_model(folder, build_model("small", num_classes=3, class_names=class_names))
    return folder


def write_folder(root: Path, class_names: tuple[str, ...]) -> Path:
    """Two images of each class, of the same pixels for the class at the same position."""
    for number, name in enumerate(class_names):
        (root / name).mkdir(parents=True)
        for index in range(2):
            image = np.random.default_rng(2 * number + index).integers(0, 255, (16, 16, 3))
            Image.fromarray(image.astype(np.uint8)).save(root / name / f"{index}.png")
    return root


def test_a_run_keeps_the_names_of_its_classes(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data" / "train", ("ant", "bee", "cat")).parent
    config = toy_config(tmp_path / "run", source="folder", data=str(root), epochs=1)
    assert load_model(train(config)).config.class_names == ("ant", "bee", "cat")


def test_images_are_given_the_numbers_of_the_model(tmp_path: Path) -> None:
    """The order of the images' classes is another one, or some are missing."""
    run = named_run(tmp_path / "run", ("cat", "ant", "bee"))
    data = write_folder(tmp_path / "data", ("ant", "bee", "cat"))
    found = measure(str(run), source="folder", data=str(data), out=tmp_path / "out")
    assert found.source["class_names"] == ["cat", "ant", "bee"]
    assert load_images(tmp_path / "out").labels.tolist() == [1, 1, 2, 2, 0, 0]
    some = write_folder(tmp_path / "some", ("bee", "cat"))
    measure(str(run), source="folder", data=str(some), out=tmp_path / "part")
    assert load_images(tmp_path / "part").labels.tolist() == [2, 2, 0, 0]


def test_classes_of_other_names_are_refused_unless_asked_for(tmp_path: Path) -> None:
    run = named_run(tmp_path / "run", ("ant", "bee", "cat"))
    data = write_folder(tmp_path / "data", ("feline", "hymenoptera_ant", "hymenoptera_bee"))
    settings: dict[str, Any] = {"source": "folder", "data": str(data)}
    message = "model run lists 3 classes, but not 'feline'.*--class-list.*--classes-by-position"
    with pytest.raises(RunError, match=message):
        measure(str(run), **settings, out=tmp_path / "refused")
    measure(str(run), **settings, classes_by_position=True, out=tmp_path / "position")
    assert load_images(tmp_path / "position").labels.tolist() == [0, 0, 1, 1, 2, 2]
    listing = tmp_path / "classes.txt"
    listing.write_text("\ufeff0 hymenoptera_ant\n1 hymenoptera_bee\n2 feline\n")
    measure(str(run), **settings, class_list=str(listing), out=tmp_path / "list")
    assert load_images(tmp_path / "list").labels.tolist() == [2, 2, 0, 0, 1, 1]
    with pytest.raises(ValueError, match="a class list, or take classes_by_position"):
        Measurement(models=("run",), class_list=str(listing), classes_by_position=True)


def test_members_of_an_ensemble_have_one_order_of_classes(tmp_path: Path) -> None:
    runs = [named_run(tmp_path / "a", ("ant", "bee", "cat"))]
    runs += [named_run(tmp_path / "b", ("cat", "ant", "bee"))]
    data = write_folder(tmp_path / "data", ("ant", "bee", "cat"))
    with pytest.raises(RunError, match="a and b have other classes, or another order"):
        measure(*map(str, runs), source="folder", data=str(data), out=tmp_path / "out")


def test_sequences_of_a_folder_start_from_its_photographs(
    module: str, photographs: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "data": str(photographs),
        "preprocessing": "none",
        "input_range": (0.0, 255.0),
        "suite": ("p",),
        "sequences": ("brightness",),
        "class_list": str(tmp_path / "classes.txt"),
    }
    (tmp_path / "classes.txt").write_text("0 n1 a\n1 n2 b\n2 n3 c\n3 n4 d\n")
    results = measure(module, **settings, crop=64, out=tmp_path / "p")
    assert results.protocol["preset"] == "tiny"
    assert results.protocol["frames_of"] == "photographs at their size"
    photograph = np.asarray(Image.open(photographs / "test" / "n1" / "3.png"))
    frames = photograph_frames(photograph, "brightness", preset="tiny", sample=1)
    levels = np.array([frame.mean() for frame in frames])
    kept = load_sequence_predictions(tmp_path / "p", "brightness")
    assert kept.prediction[1].tolist() == nearest(levels)
    other = measure(module, **settings, crop=60, out=tmp_path / "q")
    assert other.protocol["frames_of"] == "images as measured"


def test_images_seen_in_training_are_refused(run: Path, tmp_path: Path) -> None:
    trained = toy_config(run)
    (tmp_path / "same.npz").write_bytes((tmp_path / "toy.npz").read_bytes())
    done = train(update_config(trained, out=tmp_path / "trained", epochs=1))
    with np.load(tmp_path / "toy.npz") as file:
        arrays = {"images": file["x_train"], "labels": file["y_train"]}
    np.savez(tmp_path / "single.npz", **arrays)  # serves any split
    settings: dict[str, Any] = {"data": str(tmp_path / "single.npz"), "out": tmp_path / "m"}
    with pytest.raises(RunError, match="are those the model was trained on.*--allow-train-data"):
        measure(done, **settings)
    assert measure(done, **settings, allow_train_data=True).cells[0].num_images == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessing": "imagnet"}, "did you mean 'imagenet'"),
        ({"mean": (0.5,)}, "change a preprocessing named with --preprocessing"),
        ({"restrict": True}, "restrict needs the list of the model's classes"),
        ({"preprocessing": "none", "resize": 30}, "crop must be above 0 where images are resized"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_preprocessing(Measurement(models=("run",), **changes))


def test_a_misspelt_name_is_found_before_a_model_is_opened() -> None:
    with pytest.raises(ValueError, match="unknown corruption 'fogg', did you mean 'fog'"):
        measure("no such run", suite=("c",), names=("fogg",))


def test_the_geometry_of_a_run_may_be_changed(run: Path, tmp_path: Path) -> None:
    results = measure(run, crop=24, out=tmp_path / "large")
    assert results.source["size"] == [24, 24]
    assert measure(run).source["size"] == [16, 16]


def test_library_and_configuration_measure_the_same(run: Path) -> None:
    source = open_split(toy_config(run), "test")
    settings: dict[str, Any] = {"suite": ("clean", "c", "p", "attack"), "names": ("fog",)}
    settings |= {"sequences": ("tilt",), "severities": (3,)}
    settings |= {"attack_norm": "l2", "attack_epsilon": 0.3, "attack_steps": 2}
    settings |= {"attack_step_size": 0.2, "attack_restarts": 3}
    ours = evaluate(load_model(run), source, EvaluateConfig(bin_size=5, **settings))
    theirs = measure(run, **settings)
    assert [replace(cell, seconds=0.0) for cell in (*ours.cells, *ours.sequences)] == [
        replace(cell, seconds=0.0) for cell in (*theirs.cells, *theirs.sequences)
    ]
    assert ours.protocol == theirs.protocol
    assert ours.model["weights_sha256"] == theirs.model["weights_sha256"]


def test_results_belong_to_one_preprocessing(module: str, photographs: Path, tmp_path: Path):
    settings: dict[str, Any] = {"data": str(photographs), "out": tmp_path / "m"}
    settings |= {"preprocessing": "none", "crop": 32, "input_range": (0.0, 255.0)}
    (tmp_path / "classes.txt").write_text("0 n0 a\n1 n2 b\n2 n1 c\n3 n3 d\n")
    settings |= {"class_list": str(tmp_path / "classes.txt")}
    measure(module, **settings)
    changes: dict[str, dict[str, Any]] = {
        r"preprocessing mean = \[0.0, 0.0, 0.0\], this evaluation has \[9.0": {"mean": (9.0,) * 3},
        r"preprocessing std = .* has \[2.0": {"std": (2.0,) * 3},
        r"preprocessing input_range = \[0.0, 255.0\], .* \[0.0, 1.0\]": {"input_range": (0.0, 1.0)},
        "preprocessing resize = 37, this evaluation has 40": {"resize": 40},
        "preprocessing interpolation = 'bilinear', .* 'bicubic'": {"interpolation": "bicubic"},
    }
    for message, change in changes.items():
        for suite in (("clean",), ("clean", "c")):
            with pytest.raises(ResumeError, match=message):
                measure(module, **{**settings, **change}, suite=suite)
    assert measure(module, **settings).cells[0].num_images == 6


def test_results_belong_to_one_geometry(run: Path, tmp_path: Path) -> None:
    measure(run, crop=24, out=tmp_path / "m")
    for change, message in (
        ({"crop": 26}, r"size = \[24, 24\], this evaluation has \[26, 26\]"),
        ({"crop": 24, "resize": 30}, "geometry resize = 24, this evaluation has 30"),
        ({"crop": 24, "interpolation": "box"}, "geometry interpolation = 'bilinear', .* 'box'"),
        ({}, r"size = \[24, 24\], this evaluation has \[16, 16\]"),
    ):
        with pytest.raises(ResumeError, match=message):
            measure(run, **change, out=tmp_path / "m")


def test_results_belong_to_one_code(module: str, tmp_path: Path) -> None:
    """Weights or code that a function keeps outside of tensors count too."""
    write_npz(tmp_path / "toy.npz", num_classes=4)
    settings: dict[str, Any] = {"data": str(tmp_path / "toy.npz"), "out": tmp_path / "m"}
    (tmp_path / "made.py").write_text(
        "import pathlib, torch\n"
        "def make():\n"
        "    scale = float(pathlib.Path(__file__).with_name('scale.txt').read_text())\n"
        "    return lambda images: scale * images.mean((2, 3)) @ torch.ones(3, 4).cumsum(1)\n"
    )
    (tmp_path / "scale.txt").write_text("1.0")
    measure(f"python:{tmp_path / 'made.py'}:make", **settings)
    (tmp_path / "scale.txt").write_text("1.5")
    with pytest.raises(ResumeError, match="computes other logits"):
        measure(f"python:{tmp_path / 'made.py'}:make", **settings)


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    """What `augmix train --seeds 2` leaves: a folder of run folders."""
    (tmp_path / "ens").mkdir()
    for seed in (4, 5):
        make_run(tmp_path / "ens" / f"seed-{seed}", seed)
    return tmp_path / "ens"


def test_the_seeds_of_a_run_are_measured_as_one_ensemble(seeds: Path, tmp_path: Path) -> None:
    found = measure(seeds)
    named = measure(seeds / "seed-4", seeds / "seed-5", out=tmp_path / "named")
    assert load_results(seeds / "results.json") == found
    assert [member["label"] for member in found.model["members"]] == ["seed-4", "seed-5"]
    assert found.cells[0].nll_sum == named.cells[0].nll_sum
    assert found.model["weights_sha256"] == named.model["weights_sha256"]


def test_a_folder_of_other_runs_lists_them(seeds: Path, tmp_path: Path) -> None:
    runs = tmp_path / "ens2"
    (seeds / "seed-4").rename(seeds / "mine")
    seeds.rename(runs)
    with pytest.raises(RunError, match=r"ens2 is no run, but holds 2: .*mine, .*seed-5; name one"):
        measure(runs)
    with pytest.raises(RunError, match=r"ens2 is no run, but holds 2: .*mine, .*seed-5; name one"):
        load_model(runs)


def test_a_name_without_weights_suggests_the_libraries() -> None:
    for name in ("resnet50", "convnext_tiny"):
        with pytest.raises(RunError, match=f"timm:{name} or torchvision:{name}"):
            measure(name, data="x.npz")


def test_probabilities_are_measured_as_what_they_are(module: str, tmp_path: Path) -> None:
    code = Path(module.split(":")[1])
    code.write_text(
        code.read_text() + "\ndef odds():\n    model = make()\n"
        "    return lambda images: model(images).softmax(1)\n"
    )
    write_npz(tmp_path / "toy.npz", num_classes=4)
    settings: dict[str, Any] = {"data": str(tmp_path / "toy.npz"), "preprocessing": "none"}
    settings |= {"input_range": (0.0, 255.0)}
    odds = f"{module.removesuffix('make')}odds"
    usual = measure(module, **settings, out=tmp_path / "usual")
    with pytest.raises(RunError, match="gives probabilities .*--outputs probabilities"):
        measure(odds, **settings, out=tmp_path / "odds")
    found = measure(odds, **settings, outputs="probabilities", out=tmp_path / "odds")
    assert found.cells[0].num_errors == usual.cells[0].num_errors
    assert found.cells[0].nll == pytest.approx(usual.cells[0].nll, rel=1e-5)
    assert found.cells[0].brier == pytest.approx(usual.cells[0].brier, rel=1e-5)


def test_the_names_that_a_model_brings_map_the_images(
    photographs: Path, tmp_path: Path, module: str
) -> None:
    """As Hugging Face writes them: another order, words between commas, more classes."""
    code = Path(module.split(":")[1])
    code.write_text(
        code.read_text() + "\ndef named():\n    model = make()\n"
        "    model.class_names = ['white', 'n2', 'grey, n1', 'light']\n    return model\n"
    )
    settings: dict[str, Any] = {"data": str(photographs), "preprocessing": "none", "crop": 32}
    settings |= {"input_range": (0.0, 255.0)}
    named = f"{module.removesuffix('make')}named"
    found = measure(named, **settings, out=tmp_path / "named")
    assert load_images(tmp_path / "named").labels.tolist() == [2, 2, 2, 1, 1, 1]
    assert found.source["class_names"] == ["white", "n2", "grey, n1", "light"]
    (photographs / "test" / "n1").rename(photographs / "test" / "n9")
    with pytest.raises(RunError, match="lists 4 classes, but not 'n9'.*--class-list"):
        measure(named, **settings, out=tmp_path / "other")


def test_results_do_not_go_into_the_folder_of_another_run(
    run: Path, tmp_path: Path, module: str
) -> None:
    other = make_run(tmp_path / "other", seed=1)
    refused = "other is the run folder of another model.*other/other"
    source = open_split(toy_config(run), "test")
    for models in ((str(run),), (module,), (str(run), str(other))):
        with pytest.raises(RunError, match=refused):
            measure(*models, data=str(tmp_path / "toy.npz"), out=other)
    config = EvaluateConfig(suite=("clean",), device="cpu", bin_size=5, out=other)
    for model in (load_model(run), open_model(str(run))):
        with pytest.raises(RunError, match=refused):
            evaluate(model, source, config)
    with pytest.raises(RunError, match=refused):
        decide(Arm(model=load_model(run), source=source, about={}), None, config, margin=0.1)
    rows = {"id": np.arange(2), "label": np.zeros(2, int), "suite": np.array(["clean"] * 2)}
    answers = {"prediction": np.zeros(2, int), "confidence": np.ones(2)}
    with pytest.raises(RunError, match=refused):
        evaluate_predictions({**rows, **answers}, out=other)
    assert not (other / "results.json").exists()
    for model in (load_model(other), open_model(str(other))):
        evaluate(model, source, config)
    assert (other / "results.json").exists()
