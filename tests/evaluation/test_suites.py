"""The cells of every suite, and their images against the function that makes them."""

import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from augmix.corruptions import (
    CIFAR_BAR,
    CIFAR_SCRIPT_10,
    IMAGENET_BAR,
    PAPER_15,
    STANDARD_10,
    weather,
)
from augmix.corruptions.corrupt import corrupt, photograph_frames
from augmix.data.decode import Geometry
from augmix.data.derived import ClassList, map_classes, subset
from augmix.data.sources import Source, as_source, open_source
from augmix.data.stores import OpenOptions
from augmix.errors import ResumeError
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.loop import evaluate
from augmix.evaluation.suites import CLEAN, SUITES, Suite, list_cells, open_suites, register_suite
from augmix.per_image import load_predictions
from augmix.results import CellKey

IDS = np.array([7, 2])


def write_textures(folder: Path, seed: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for name in weather.FROST_PHOTOGRAPHS:
        pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def open_suite(name: str, source: Source, **settings: Any) -> Suite:
    config = EvaluateConfig(suite=(name,), seed=3, **settings)
    return open_suites(config, source)[name]


def test_cells_are_listed_suite_by_suite_each_once() -> None:
    config = EvaluateConfig(
        suite=("p", "c", "clean"), names=("fog", "fog"), severities=(5, 1), sequences=("tilt",)
    )
    assert list_cells(config) == [CLEAN, ("c", "fog", 5), ("c", "fog", 1), ("p", "tilt", 0)]


def test_lists_of_names_stand_for_their_names() -> None:
    corrupted = list_cells(EvaluateConfig(suite=("c",), severities=(3,)))
    assert [key.name for key in corrupted] == list(PAPER_15)
    sequences = ("cifar-script-10", "snow")
    perturbed = list_cells(EvaluateConfig(suite=("p",), sequences=sequences))
    assert [key.name for key in perturbed] == [*CIFAR_SCRIPT_10, "snow"]
    assert set(STANDARD_10) < {key.name for key in perturbed}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"suite": ("clean", "d")},
            "suite must be of clean, c, c-bar, p, natural, attack, fourier, ood; got 'd'",
        ),
        ({"suite": ()}, "nothing to measure"),
        ({"names": ("fogg",)}, "unknown corruption 'fogg', did you mean 'fog'"),
        ({"severities": (6,)}, "severity must be 1..5, got 6"),
        ({"severities": (0,)}, "severity must be 1..5, got 0"),
        ({"suite": ("p",), "sequences": ("tlit",)}, "perturbation 'tlit', did you mean 'tilt'"),
        ({"suite": ("c",), "severities": ()}, "nothing to measure"),
        ({"suite": ("attack",), "attack_restarts": 0}, "attack_restarts must be 1..1024, got 0"),
        ({"suite": ("attack",), "attack_epsilon": -1.0}, "epsilon must be a finite number"),
        ({"suite": ("attack",), "attack_steps": 0}, "num_steps must be at least 1, got 0"),
    ],
)
def test_unknown_cells_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list_cells(EvaluateConfig(**settings))


def test_clean_and_corrupted_images_are_those_of_their_ids(source: Source) -> None:
    clean = source.load(IDS)
    assert np.array_equal(open_suite("clean", source).images(CLEAN, IDS), clean)
    damaged = corrupt(clean, "fog", severity=4, preset="tiny", seed=3, ids=IDS)
    suite = open_suite("c", source, preset="tiny")
    assert np.array_equal(suite.images(CellKey("c", "fog", 4), IDS), damaged)


def test_frames_are_as_large_as_the_images(source: Source) -> None:
    suite = open_suite("p", source, preset="imagenet")
    assert suite.images(CellKey("p", "tilt", 0), IDS).shape == (2, 31, 16, 16, 3)
    translate = CellKey("p", "translate", 0)
    assert suite.num_frames(translate) == suite.images(translate, IDS).shape[1] == 41


SYNSETS = ("n01440764", "n01443537")


def write_everywhere(folder: Path) -> dict[str, tuple[str, Path]]:
    """The same four photographs in every form: name and path of their source."""
    rng, files, root = np.random.default_rng(0), [], folder / "imagenet"
    for index, size in enumerate([(90, 310), (280, 261), (300, 200), (257, 256)]):
        path = root / "val" / SYNSETS[index // 2] / f"ILSVRC2012_val_0000000{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
        files.append(path)
    flat = folder / "flat" / "val"
    flat.mkdir(parents=True)
    for path in files:
        (flat / path.name).write_bytes(path.read_bytes())
    solution = "".join(f"{path.stem},{path.parent.name} 1 1 2 2\n" for path in files)
    (folder / "flat" / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + solution)
    (folder / "tar").mkdir()
    with tarfile.open(folder / "tar" / "val.tar", "w") as tar:
        for path in files:
            tar.add(path, f"{path.parent.name}/{path.name}")
    (folder / "parquet").mkdir()
    cells = [{"bytes": path.read_bytes(), "path": path.name} for path in files]
    table = pyarrow.table({"image": cells, "label": [0, 0, 1, 1]})
    parquet.write_table(table, folder / "parquet" / "validation-00000-of-00001.parquet")
    return {
        "folder": ("folder", root),
        "tar": ("tar", folder / "tar"),
        "parquet": ("parquet", folder / "parquet"),
        "imagenet, folders": ("imagenet", root),
        "imagenet, flat": ("imagenet", folder / "flat"),
        "imagenet, tar": ("imagenet", folder / "tar"),
        "imagenet, parquet": ("imagenet", folder / "parquet"),
    }


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Path]]:
    return write_everywhere(tmp_path_factory.mktemp("everywhere"))


@pytest.mark.parametrize(("sequence", "index"), [("tilt", 3), ("scale", 0)])
def test_every_source_of_photographs_makes_the_published_frames(
    everywhere: dict[str, tuple[str, Path]], sequence: str, index: int
) -> None:
    root = everywhere["folder"][1]
    path = root / "val" / SYNSETS[index // 2] / f"ILSVRC2012_val_0000000{index}.png"
    photograph = np.asarray(Image.open(path))
    frames = photograph_frames(photograph, sequence, preset="imagenet", seed=3, sample=index)
    expected = np.stack([*frames])
    sources = [
        open_source(kind, root=path, split="test", size=224) for kind, path in everywhere.values()
    ]
    for source in (*sources, replace_all(sources[-1])):
        suite = open_suite("p", source)
        found = suite.images(CellKey("p", sequence, 0), np.array([index]))
        assert np.array_equal(found[0], expected)
        assert suite.describe()["frames_of"] == "photographs at their size"
        assert suite.note() == ""


def replace_all(source: Source) -> Source:
    """The same source with other classes, and as a subset of its images."""
    names = tuple((name,) for name in (*source.class_names, "other"))
    mapped = map_classes(source, ClassList(path="list", names=names))
    return subset(mapped, np.arange(len(source)))


def test_frames_of_a_subset_are_those_of_its_images(
    everywhere: dict[str, tuple[str, Path]],
) -> None:
    source = open_source("imagenet", root=everywhere["imagenet, flat"][1], split="test", size=64)
    photographs = source.photographs()
    assert photographs is not None
    some = subset(source, np.array([3, 1])).photographs()
    assert some is not None
    assert np.array_equal(some.load_one(0), photographs.load_one(3))
    assert np.array_equal(some.load_one(1), photographs.load_one(1))


def test_photographs_left_out_as_broken_are_left_out_of_the_sequences(
    everywhere: dict[str, tuple[str, Path]], tmp_path: Path
) -> None:
    shutil.copytree(everywhere["folder"][1], tmp_path / "broken")
    first = next(iter(sorted((tmp_path / "broken").rglob("*.png"))))
    whole = np.asarray(Image.open(sorted((tmp_path / "broken").rglob("*.png"))[1]))
    first.write_bytes(b"broken")
    source = open_source("folder", root=tmp_path / "broken", split="test", size=64, on_error="skip")
    suite = open_suite("p", source, preset="tiny")
    frames = suite.images(CellKey("p", "rotate", 0), np.array([0]))
    expected = photograph_frames(whole, "rotate", preset="tiny", seed=3, sample=0)
    assert np.array_equal(frames[0], np.stack(list(expected)))


class Pictures:
    """A data set of PIL images of several sizes, or of arrays of one."""

    labels = (0, 1)

    def __init__(self, is_array: bool) -> None:
        self.is_array = is_array

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[Any, int]:
        size = (224, 224) if self.is_array else (240 + 40 * index, 300)
        pixels = np.full((*size, 3), 200, np.uint8)
        return (pixels if self.is_array else Image.fromarray(pixels)), index


def test_arrays_of_one_size_move_as_measured_and_say_so(tmp_path: Path) -> None:
    """Published frames of scale show less black than moved crops."""
    shown = {}
    for is_array in (True, False):
        options = OpenOptions(name="own", split="test", geometry=Geometry(size=224))
        source = as_source(Pictures(is_array), options)
        suite = open_suite("p", source)
        frames = suite.images(CellKey("p", "scale", 0), np.array([0]))
        shown[is_array] = float((frames == 0).mean())
        assert suite.describe()["frames_of"] == (
            "images as measured" if is_array else "photographs at their size"
        )
        assert ("holds arrays of one size, no photographs" in suite.note()) == is_array
    assert shown[False] < 0.25 < 0.35 < shown[True]


def test_sequences_of_arrays_are_said_while_measuring(
    everywhere: dict[str, tuple[str, Path]], tmp_path: Path
) -> None:
    path = tmp_path / "arrays.npz"
    np.savez(path, images=np.zeros((2, 224, 224, 3), np.uint8), labels=np.arange(2))
    flat = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    flat = flat.append(torch.nn.Linear(3, 2))
    for kind, root, size, message in (
        ("npz", path, 0, "source 'npz' holds arrays of one size, no photographs"),
        ("folder", everywhere["folder"][1], 288, "published frames have 224x224 pixels, these"),
        ("folder", everywhere["folder"][1], 224, ""),
    ):
        source = open_source(kind, root=root, split="test", size=size)
        notes: list[str] = []
        settings: dict[str, Any] = {"suite": ("p",), "sequences": ("brightness",)}
        evaluate(
            flat,
            source,
            **settings,
            max_images=1,
            on_progress=lambda event: notes.append(getattr(event, "text", "")),  # noqa: B023
        )
        said = [note for note in notes if "suite 'p'" in note]
        assert [message in note for note in said] == [True] * bool(message)


def test_a_suite_can_be_added(
    model: torch.nn.Module, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SUITES, "dark", Suite)  # forgets the suite at the end

    @register_suite("dark")
    class Dark(Suite):
        @classmethod
        def list_cells(cls, config: EvaluateConfig) -> list[CellKey]:
            return [CellKey("dark", name, 0) for name in ("half", "black")]

        def images(self, key: CellKey, ids: np.ndarray) -> np.ndarray:
            return self.source.load(ids) // 2 if key.name == "half" else 0 * self.source.load(ids)

        def describe(self) -> dict[str, Any]:
            return {"darkness": "by division"}

    settings: dict[str, Any] = {"bin_size": 5, "out": tmp_path}
    evaluate(model, source, suite=("clean",), **settings)
    results = evaluate(model, source, suite=("clean", "dark"), **settings)
    assert [cell.key for cell in results.cells] == [
        CLEAN,
        ("dark", "half", 0),
        ("dark", "black", 0),
    ]
    assert results.protocol["darkness"] == "by division"
    assert len(set(load_predictions(tmp_path, "dark", "black", 0).prediction)) == 1


def test_the_textures_of_frost_are_used_and_recorded(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    folders = [write_textures(tmp_path / str(seed), seed) for seed in (1, 2)]
    settings: dict[str, Any] = {"suite": ("c",), "names": ("frost",), "severities": (5,)}
    drawn, first, second = (
        evaluate(model, source, **settings, frost_textures=folder) for folder in (None, *folders)
    )
    assert (
        drawn.protocol["frost_textures"] == f"drawn by augmix, sha256 {weather.frost_fingerprint()}"
    )
    given = f"photographs, sha256 {weather.frost_fingerprint(folders[0])}"
    assert first.protocol["frost_textures"] == given
    sums = {results.cells[0].nll_sum for results in (drawn, first, second)}
    assert len(sums) == 3
    assert open_suite("c", source, names=("fog",)).describe()["frost_textures"] == ""


def test_corrupted_images_may_be_coded_once_more(source: Source) -> None:
    suite = open_suite("c", source, preset="tiny", jpeg_quality=85)
    clean = source.load(IDS)
    damaged = corrupt(clean, "fog", severity=4, preset="tiny", seed=3, ids=IDS, jpeg_quality=85)
    assert np.array_equal(suite.images(CellKey("c", "fog", 4), IDS), damaged)
    assert not np.array_equal(damaged, corrupt(clean, "fog", severity=4, preset="tiny", seed=3))
    assert suite.describe()["jpeg_quality"] == 85


def test_the_cells_of_c_bar(source: Source):
    def names(**settings: Any) -> list[str]:
        config = EvaluateConfig(severities=(2,), **settings)
        suites = open_suites(config, source)
        return [key.name for suite in suites.values() for key in suite.cells() if key.severity]

    assert names(suite=("clean", "c-bar")) == list(CIFAR_BAR)
    assert names(suite=("c-bar",), preset="imagenet") == list(IMAGENET_BAR)
    assert names(suite=("c", "c-bar")) == [*PAPER_15, *CIFAR_BAR]
    assert names(suite=("c-bar",), names=("blue_noise", "lines")) == ["blue_noise_sample", "lines"]
    assert names(suite=("c",), names=("fog", "lines")) == ["fog", "lines"]
    with pytest.raises(ValueError, match="names fog would have no effect: suite 'c-bar' has"):
        names(suite=("c-bar",), names=("fog",))


def test_severities_in_between(model: torch.nn.Module, source: Source, tmp_path: Path):
    settings: dict[str, Any] = {"suite": ("c",), "names": ("fog",), "severities": (1, 2.5, 4.0)}
    results = evaluate(model, source, bin_size=5, out=tmp_path, **settings)
    assert [cell.key for cell in results.cells] == [CellKey("c", "fog", s) for s in (1, 2.5, 4)]
    assert (tmp_path / "predictions" / "c-fog-2.5.npz").exists()
    assert load_predictions(tmp_path, "c", "fog", 2.5).prediction.shape == (20,)
    again = evaluate(model, source, bin_size=5, out=tmp_path, **settings)
    assert again.cells == results.cells  # read, not measured again


def test_a_preset_of_a_file(source: Source, model: torch.nn.Module, tmp_path: Path) -> None:
    """Its numbers are those measured, and results of another one are not continued or compared."""
    path = tmp_path / "own.json"
    path.write_text('{"corruptions": {"contrast": [0.75, 0.5], "fog": [[0.2, 3]]}}')
    how: dict[str, Any] = {"suite": ("c",), "device": "cpu", "severities": (2,)}
    how |= {"names": ("contrast",), "out": tmp_path / "run"}
    own = evaluate(model, source, preset=path, **how)
    published = evaluate(model, source, preset="cifar", **(how | {"out": None}))
    assert own.cells[0].nll_sum == published.cells[0].nll_sum  # 0.5 is severity 2 of `cifar`
    assert (own.protocol["preset"], len(own.protocol["preset_sha256"])) == ("own", 64)
    assert "preset_sha256" not in published.protocol
    path.write_text('{"corruptions": {"contrast": [0.75, 0.4]}}')
    with pytest.raises(ResumeError, match="preset_sha256"):
        evaluate(model, source, preset=path, **how)
    with pytest.raises(ValueError, match="preset 'own' lacks severities: contrast 3"):
        open_suite("c", source, preset=path, names=("contrast",), severities=(1, 3))
    with pytest.raises(ValueError, match="none of sequences"):
        EvaluateConfig(suite=("p",), preset=path)
    with pytest.raises(ValueError, match="would have no effect on official files"):
        EvaluateConfig(preset=path, official=(tmp_path,))
