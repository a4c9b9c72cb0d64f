"""Official files: the sets this package writes are read as those it makes on the fly."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toy_runs import write_npz

from augmix.data.derived import ClassList, map_classes, subset
from augmix.data.sources import Source, open_source
from augmix.errors import ResumeError, RunError
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.images import find_official
from augmix.evaluation.loop import evaluate
from augmix.evaluation.suites import open_suites
from augmix.per_image import load_images
from augmix.progress import CellFinished, Event
from augmix.results import CellKey, Results, load_results
from augmix.write import CorruptOptions, PerturbOptions
from augmix.write.sets import write_corrupted, write_perturbed

NAMES = ("gaussian_noise", "contrast")
SEQUENCES = ("translate", "gaussian_noise")


@pytest.fixture
def corrupted(source: Source, tmp_path: Path) -> Path:
    return write_corrupted(source, tmp_path / "Toy-C", CorruptOptions(names=NAMES, num_processes=1))


@pytest.fixture
def perturbed(source: Source, tmp_path: Path) -> Path:
    return write_perturbed(
        source, tmp_path / "Toy-P", PerturbOptions(names=SEQUENCES, num_processes=1)
    )


def measure(model: torch.nn.Module, source: Source, **changes: Any) -> Results:
    settings = {"names": NAMES, "sequences": SEQUENCES, "bin_size": 5, "suite": ("c", "p")}
    return evaluate(model, source, **{**settings, **changes})


def cells(results: Results) -> list[Any]:
    return [replace(cell, seconds=0.0) for cell in (*results.cells, *results.sequences)]


def test_written_sets_measure_like_those_made_on_the_fly(
    model: torch.nn.Module, source: Source, corrupted: Path, perturbed: Path, tmp_path: Path
) -> None:
    fresh = measure(model, source, out=tmp_path / "fresh")
    read = measure(model, source, out=tmp_path / "read", official=(corrupted, perturbed))
    assert len(read.cells) == 10
    assert len(read.sequences) == 2
    assert cells(read) == cells(fresh)
    for file in sorted((tmp_path / "fresh" / "predictions").iterdir()):
        assert file.read_bytes() == (tmp_path / "read" / "predictions" / file.name).read_bytes()
    assert (fresh.protocol["official_c"], fresh.protocol["official_p"]) == ("", "")
    assert read.protocol["official_c"] == "Toy-C (cifar-c)"
    assert read.protocol["official_p"] == "Toy-P (cifar-p)"
    prints = read.protocol["fingerprints"]
    assert set(prints) == {
        *(f"c {name} {severity}" for name in NAMES for severity in range(1, 6)),
        *(f"p {name} 0" for name in SEQUENCES),
    }
    assert len(set(prints.values())) == 12
    assert load_results(tmp_path / "read" / "results.json") == read


BAR = ("blue_noise_sample", "ripple")


def test_a_set_of_c_bar_in_every_layout(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    ordered = subset(source, np.argsort(source.labels, kind="stable"))
    fresh = measure(model, ordered, suite=("c-bar",), names=BAR)
    assert [cell.key for cell in fresh.cells] == [
        CellKey("c-bar", name, severity) for name in BAR for severity in range(1, 6)
    ]
    assert fresh.protocol["bar_names"] == list(BAR)
    how: dict[str, Any] = {"names": BAR, "num_processes": 1}
    arrays = write_corrupted(ordered, tmp_path / "Toy-C-Bar", CorruptOptions(**how))
    (arrays / "blue_noise_sample.npy").rename(arrays / "blue_noise.npy")
    read = measure(model, ordered, suite=("c-bar",), names=BAR, official=(arrays,))
    assert cells(read) == cells(fresh)
    assert read.protocol["official_bar"] == "Toy-C-Bar (cifar-c)"
    trees = []
    for folder, by_value in (("numbers", False), ("values", True)):
        options = CorruptOptions(**how, layout="imagenet", value_folders=by_value)
        root = write_corrupted(ordered, tmp_path / folder, options)
        trees.append(measure(model, ordered, suite=("c-bar",), names=BAR, official=(root,)))
    found = sorted(path.name for path in (tmp_path / "values" / "ripple").iterdir())
    assert found == ["5.50", "6.00", "6.50", "7.50", "8.00"]
    assert cells(trees[0]) == cells(trees[1])


def test_folders_named_by_values_are_refused_for_others(source: Source, tmp_path: Path) -> None:
    for names, layout, message in (
        (("fog",), "imagenet", "one value a severity.*got 'fog'"),
        (("jpeg_compression",), "imagenet", "grows with it.*got 'jpeg_compression'"),
        (("lines",), "cifar", "value_folders are for files, got layout 'cifar'"),
    ):
        options = CorruptOptions(names=names, layout=layout, value_folders=True)
        with pytest.raises(ValueError, match=message):
            write_corrupted(source, tmp_path / "out", options)


def test_a_folder_of_c_and_c_bar_serves_both(source: Source, tmp_path: Path) -> None:
    options = CorruptOptions(names=("contrast", "lines"), num_processes=1)
    folder = write_corrupted(source, tmp_path / "Both", options)
    assert set(find_official([folder], source)) == {"c", "c-bar"}


def test_severities_between_are_not_read(source: Source, tmp_path: Path) -> None:
    how: dict[str, Any] = {"names": ("contrast",), "layout": "imagenet", "num_processes": 1}
    folder = write_corrupted(source, tmp_path / "a", CorruptOptions(**how, severities=(1, 1.5)))
    config = EvaluateConfig(
        suite=("c",), names=("contrast",), severities=(1, 1.5), official=(folder,)
    )
    with pytest.raises(ValueError, match=r"severity 1.5 is not in a \(imagenet-c\): sets are read"):
        open_suites(config, source)
    severities = (1.25, 1.75, 2.25, 2.75, 3.25)  # like five values of the script of C-bar
    folder = write_corrupted(source, tmp_path / "b", CorruptOptions(**how, severities=severities))
    with pytest.raises(RunError, match=r"written at severities 1.25, 1.75, .*without --official"):
        find_official([folder], source)


@pytest.mark.parametrize("layout", ["cifar", "imagenet"])
def test_a_set_goes_with_images_that_are_mapped_to_a_models_classes(
    model: torch.nn.Module, source: Source, tmp_path: Path, layout: Any
) -> None:
    ordered = subset(source, np.argsort(source.labels, kind="stable"))
    options = CorruptOptions(names=NAMES[1:], layout=layout, num_processes=1)
    folder = write_corrupted(ordered, tmp_path / "Set-C", options)
    classes = ClassList(path="list", names=(("2", "two"), ("0", "zero"), ("1", "one")))
    mapped = map_classes(ordered, classes)
    settings: dict[str, Any] = {"suite": ("c",), "names": NAMES[1:], "official": (folder,)}
    measure(model, mapped, **settings, out=tmp_path / "out")
    assert load_images(tmp_path / "out").labels.tolist() == mapped.labels.tolist()
    assert mapped.labels.tolist()[0] == 1


def test_a_set_of_image_files_is_read_too(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    ordered = subset(source, np.argsort(source.labels, kind="stable"))  # class after class
    folder = write_corrupted(
        ordered,
        tmp_path / "Tree-C",
        CorruptOptions(names=NAMES[1:], layout="imagenet", num_processes=1),
    )
    results = measure(model, ordered, suite=("c",), names=NAMES[1:], official=(folder,))
    assert [cell.num_images for cell in results.cells] == [20] * 5
    assert results.protocol["official_c"] == "Tree-C (imagenet-c)"


def test_noise_of_another_difficulty_lies_under_its_own_name(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    folder = write_perturbed(
        source,
        tmp_path / "Hard-P",
        PerturbOptions(names=SEQUENCES, difficulty=3, num_processes=1),
    )
    settings: dict[str, Any] = {"suite": ("p",), "difficulty": 3}
    read = measure(model, source, official=(folder,), **settings)
    assert cells(read) == cells(measure(model, source, **settings))
    assert [cell.num_pairs for cell in read.sequences] == [20 * (16 - 3), 20 * 30]
    with pytest.raises(RunError, match=r"holds no 'gaussian_noise_2', did you mean"):
        measure(model, source, official=(folder,), suite=("p",), difficulty=2)


def test_other_files_are_refused(
    model: torch.nn.Module, source: Source, corrupted: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"suite": ("c",), "official": (corrupted,), "out": tmp_path / "out"}

    def stop(event: Event) -> None:
        if isinstance(event, CellFinished) and event.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(RunError, match="stopped after 3 of 10"):
        measure(model, source, **settings, on_progress=stop)
    for name in NAMES:
        path = corrupted / f"{name}.npy"
        array = np.load(path)
        array[0, 0, 0] ^= 1
        np.save(path, array)
    with pytest.raises(ResumeError, match="results of gaussian_noise from files with fingerprint"):
        measure(model, source, **settings)
    with pytest.raises(ResumeError, match=r"official_c = 'Toy-C \(cifar-c\)', this .* has ''"):
        measure(model, source, **{**settings, "official": ()})


def test_sets_of_other_images_are_refused(
    model: torch.nn.Module, source: Source, corrupted: Path, perturbed: Path, tmp_path: Path
) -> None:
    other = open_source("npz", root=write_npz(tmp_path / "o.npz", num_classes=5), split="test")
    with pytest.raises(RunError, match=r"but the label of image 3 is 0 there and 3 here"):
        find_official((corrupted,), other)["c"].open(CellKey("c", "contrast", 2))
    few = subset(source, np.arange(7))
    message = "contrast 2: expected 7 images of 16x16 .* got 20 of 16x16"
    with pytest.raises(RunError, match=message):
        find_official((corrupted,), few)["c"].open(CellKey("c", "contrast", 2))
    with pytest.raises(RunError, match="translate: expected 7 images"):
        find_official((perturbed,), few)["p"].open(CellKey("p", "translate", 0))
    large = open_source("npz", root=tmp_path / "toy.npz", split="test", size=24)
    with pytest.raises(RunError, match="expected 20 images of 24x24 .* got 20 of 16x16"):
        measure(model, large, official=(corrupted,), suite=("c",))


def test_folders_that_cannot_be_used_are_refused(
    model: torch.nn.Module, source: Source, corrupted: Path, perturbed: Path
) -> None:
    with pytest.raises(ValueError, match="suite 'p', which is not measured; .*: c"):
        measure(model, source, official=(perturbed,), suite=("c",))
    with pytest.raises(RunError, match="both hold sets of suite c"):
        measure(model, source, official=(corrupted, corrupted))
    with pytest.raises(RunError, match="holds no 'fog'.*It holds contrast, gaussian_noise"):
        measure(model, source, official=(corrupted,), suite=("c",), names=("fog",))
    with pytest.raises(RunError, match="does not exist; expected the folder of a -C or -P set"):
        measure(model, source, official=(corrupted.parent / "none",))


def test_measured_images_are_those_of_their_ids(
    model: torch.nn.Module, source: Source, corrupted: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"suite": ("c",), "max_images": 6}
    read = measure(model, source, official=(corrupted,), out=tmp_path / "out", **settings)
    assert cells(read) == cells(measure(model, source, **settings))
    images = load_images(tmp_path / "out")
    assert len(images.ids) == 6
    assert images.labels.tolist() == source.labels[images.ids].tolist()


@pytest.mark.parametrize("layout", ["cifar", "imagenet"])
def test_stored_images_can_be_resized_and_cut_as_by_the_released_code(
    source: Source, tmp_path: Path, layout: Any
) -> None:
    """torchvision's ``Resize(20)`` and ``CenterCrop(16)`` on Pillow images."""
    ordered = subset(source, np.argsort(source.labels, kind="stable"))
    options = CorruptOptions(names=NAMES[1:], layout=layout, num_processes=1)
    folder = write_corrupted(ordered, tmp_path / "Set-C", options)
    key, ids = CellKey("c", NAMES[1], 4), np.array([5, 0])
    settings: dict[str, Any] = {"suite": ("c",), "names": NAMES[1:], "official": (folder,)}
    stored, resized = (
        open_suites(EvaluateConfig(**settings, official_resize=edge), ordered)["c"]
        for edge in (None, 20)
    )
    for image, found in zip(stored.images(key, ids), resized.images(key, ids), strict=True):
        large = Image.fromarray(image).resize((20, 20), Image.Resampling.BILINEAR)
        assert np.array_equal(found, np.asarray(large.crop((2, 2, 18, 18))))
    assert (stored.describe() | {"official_resize": 20}) == resized.describe()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"suite": ("c",)}, "official_resize 256 would have no effect: it is for -C files"),
        ({"suite": ("p",), "official": "perturbed"}, "would have no effect"),
        ({"suite": ("c",), "official": "corrupted", "official_resize": 12}, "edge = 16 pixels"),
    ],
)
def test_a_resize_without_use_is_refused(
    model: torch.nn.Module,
    source: Source,
    corrupted: Path,
    perturbed: Path,
    settings: dict[str, Any],
    message: str,
) -> None:
    folders = {"corrupted": (corrupted,), "perturbed": (perturbed,)}
    official = folders.get(settings.get("official", ""), ())
    with pytest.raises(ValueError, match=message):
        measure(model, source, **{"official_resize": 256, **settings, "official": official})
