import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_runs import write_npz

from augmix.corruptions import PAPER_15
from augmix.corruptions.corrupt import corrupt
from augmix.corruptions.registry import CORRUPTIONS
from augmix.data.sources import Source, open_source
from augmix.devices import resolve_device
from augmix.errors import Interrupted, ResumeError, RunError
from augmix.evaluation.loop import evaluate
from augmix.models.wrapper import hash_weights
from augmix.progress import CellFinished, Event, OnProgress
from augmix.results import Results

NAMES = ("gaussian_noise", "contrast")


class Crash(Exception):
    """Stands for anything that ends the process."""


class Constant(torch.nn.Module):
    """Gives the same row of logits for every image."""

    def __init__(self, *row: float) -> None:
        super().__init__()
        self.row = torch.nn.Parameter(torch.tensor(row))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.row.expand(len(images), -1)


def measure(model: torch.nn.Module, source: Source, **changes: Any) -> Results:
    settings = {"names": NAMES, "severities": (1, 3, 5), "batch_size": 7, "bin_size": 5}
    return evaluate(model, source, **{**settings, **changes})


def timeless(results: Results) -> list[Any]:
    return [replace(cell, seconds=0.0) for cell in (*results.cells, *results.sequences)]


def at_cell(number: int, act: Callable[[], None]) -> OnProgress:
    def watch(event: Event) -> None:
        if isinstance(event, CellFinished) and event.done == number:
            act()

    return watch


def crash() -> None:
    raise Crash


def interrupt() -> None:
    raise KeyboardInterrupt


def test_cells_count_the_errors_of_a_model_worked_by_hand(source: Source) -> None:
    results = measure(Constant(1.0, 0.0, -1.0), source)
    clean = results.find("clean", "clean", 0)
    assert clean is not None
    assert clean.num_images == 20
    assert clean.num_errors == 13  # 7 of the 20 labels are 0
    total = np.exp([1.0, 0.0, -1.0]).sum()
    assert clean.nll_sum == pytest.approx(20 * np.log(total) - 7 * 1 + 6 * 1)
    np.testing.assert_allclose(sum(clean.adaptive.confidence_sum), 20 * np.e / total)
    corrupted = [("c", name, severity) for name in NAMES for severity in (1, 3, 5)]
    assert [cell.key for cell in results.cells] == [("clean", "clean", 0), *corrupted]


def test_the_model_sees_the_corrupted_images_of_their_ids(source: Source) -> None:
    seen: list[torch.Tensor] = []

    class Watching(Constant):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images.clone())
            return super().forward(images)

    measure(
        Watching(0.0, 0.0, 1.0),
        source,
        names=("shot_noise",),
        severities=(4,),
        suite=("c",),
        seed=9,
    )
    ids = np.arange(20)
    damaged = corrupt(source.load(ids), "shot_noise", severity=4, seed=9, ids=ids)
    expected = damaged.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    assert torch.equal(torch.cat(seen), torch.from_numpy(expected))


def test_batches_and_threads_change_nothing_but_rounding(
    model: torch.nn.Module, source: Source
) -> None:
    one = measure(model, source)
    many = measure(model, source, num_threads=3)
    assert timeless(one) == timeless(many)
    large = measure(model, source, batch_size=20)
    for small_cell, large_cell in zip(one.cells, large.cells, strict=True):
        assert small_cell.nll_sum == pytest.approx(large_cell.nll_sum, rel=1e-5)


def test_part_of_the_images_is_a_fixed_part(model: torch.nn.Module, source: Source) -> None:
    results = measure(model, source, max_images=6)
    assert {cell.num_images for cell in results.cells} == {6}
    assert results.source["num_images"] == 6
    assert timeless(results) == timeless(measure(model, source, max_images=6))


def test_training_mode_and_weights_are_left_as_they_were(
    model: torch.nn.Module, source: Source
) -> None:
    model.train()
    next(iter(model.children())).eval()
    before = hash_weights(model)
    modes = [module.training for module in model.modules()]
    measure(model, source)
    assert [module.training for module in model.modules()] == modes
    assert hash_weights(model) == before


@pytest.mark.parametrize("stop", [crash, interrupt])
@pytest.mark.parametrize("number", [1, 4, 7])
def test_an_interrupted_evaluation_continues_with_what_is_missing(
    model: torch.nn.Module, source: Source, tmp_path: Path, number: int, stop: Callable[[], None]
) -> None:
    out = tmp_path / "out"
    with pytest.raises((Crash, Interrupted)) as caught:
        measure(model, source, out=out, on_progress=at_cell(number, stop))
    if stop is interrupt:
        assert f"stopped after {number} of 7 measurements; start the same" in str(caught.value)
    done: list[int] = []

    def watch(event: Event) -> None:
        done.extend([event.done] if isinstance(event, CellFinished) else [])

    results = measure(model, source, out=out, on_progress=watch)
    assert done == list(range(number + 1, 8))
    assert timeless(results) == timeless(measure(model, source))
    again = measure(model, source, out=out)
    assert again == results


def test_results_of_other_weights_data_or_protocol_are_refused(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    measure(model, source, out=out)
    before = (out / "results.json").read_bytes()
    with pytest.raises(ResumeError, match="seed = 0, this evaluation has 1; .*delete"):
        measure(model, source, out=out, seed=1)
    with pytest.raises(ResumeError, match=r"severities = \[1, 3, 5\], this evaluation has \[1\]"):
        measure(model, source, out=out, severities=(1,))
    with pytest.raises(ResumeError, match="preset = 'cifar', this evaluation has 'imagenet'"):
        measure(model, source, out=out, preset="imagenet")
    with pytest.raises(ResumeError, match="weights = '.*', this evaluation has '"):
        measure(Constant(0.0, 0.0, 0.0), source, out=out)
    other = open_source("npz", root=write_npz(tmp_path / "other.npz", seed=1), split="test")
    with pytest.raises(
        ResumeError,
        match="holds results of other images, with source = '.*', this evaluation has '",
    ):
        measure(model, other, out=out)
    assert (out / "results.json").read_bytes() == before


def test_missing_cells_are_not_measured_with_other_packages(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    with pytest.raises(Crash):
        measure(model, source, out=tmp_path, on_progress=at_cell(2, crash))
    path = tmp_path / "results.json"
    plain = json.loads(path.read_text())
    plain["provenance"]["versions"]["numpy"] = "0.1"
    path.write_text(json.dumps(plain))
    with pytest.raises(ResumeError, match=r"numpy version = '0\.1'"):
        measure(model, source, out=tmp_path)


def test_examples_hold_every_corruption(
    model: torch.nn.Module, source: Source, tmp_path: Path
) -> None:
    measure(model, source, out=tmp_path / "out")
    with np.load(tmp_path / "out" / "examples.npz") as file:
        examples = dict(file)
    assert set(examples) == {"clean", "ids", "labels", *NAMES}
    assert examples["clean"].shape == (5, 16, 16, 3)
    assert examples["labels"].dtype == np.int64
    rows = examples["gaussian_noise"]
    assert rows.shape == (3, 5, 16, 16, 3)
    distances = np.abs(rows.astype(float) - examples["clean"]).mean(axis=(1, 2, 3, 4))
    assert (np.diff(distances) > 0).all()
    images = [source.load(np.array([index]))[0] for index in range(20)]
    ids = [
        next(i for i, image in enumerate(images) if (image == e).all()) for e in examples["clean"]
    ]
    assert ids == sorted(set(ids)) == examples["ids"].tolist()
    assert examples["labels"].tolist() == source.labels[ids].tolist()


def test_the_default_is_the_papers_corruptions(source: Source) -> None:
    results = evaluate(Constant(0.0, 0.0, 0.0), source, severities=(1,))
    assert results.protocol["names"] == [name for name in PAPER_15 if name in CORRUPTIONS]
    assert results.protocol["preset"] == "cifar"


def test_a_wrong_class_count_names_both(source: Source, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"= \(7, 3\) for this source of 3 classes, got \(7, 2\)"):
        measure(Constant(0.0, 1.0), source, out=tmp_path / "out")
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_model_that_gives_no_tensor_is_refused(source: Source) -> None:
    class Pair(Constant):
        def forward(self, images: torch.Tensor) -> Any:
            return super().forward(images), None

    with pytest.raises(RunError, match="got tuple"):
        measure(Pair(0.0, 0.0, 0.0), source)


def test_nan_names_corruption_severity_and_image(source: Source) -> None:
    class Fragile(Constant):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images).clone()
            if self.calls == 3 * 4 + 1:  # contrast at severity 3, second of 3 batches
                logits[2] = torch.nan
            self.calls += 1
            return logits

        calls = 0

    message = "not finite for contrast at severity 3, first for image 9"
    with pytest.raises(RunError, match=message):
        measure(Fragile(0.0, 0.0, 0.0), source, suite=("c",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ("fogg",)}, "fogg"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"num_threads": -1}, "num_threads must be at least 1, got -1"),
        ({"temperature_images": 20}, "leave some of the source's 20 images .* got 20"),
        ({"bin_size": 0}, "bin_size must be at least 1, got 0"),
        ({"max_images": -1}, "max_images must be at least 1, got -1"),
        ({"jpeg_quality": 101}, r"jpeg_quality must be 1\.\.100, got 101"),
    ],
)
def test_arguments_out_of_range_are_refused(
    source: Source, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure(Constant(0.0, 0.0, 0.0), source, **changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_named() -> None:
    with pytest.raises(RunError, match="device 'cuda' was asked for, but torch .* finds none"):
        resolve_device("cuda")
    assert resolve_device("cpu") == torch.device("cpu")


def test_bfloat16_is_close_to_float32(model: torch.nn.Module, source: Source) -> None:
    half, full = (measure(model, source, precision=p, suite=("clean",)) for p in ("bf16", "fp32"))
    assert half.cells[0].nll_sum != full.cells[0].nll_sum
    assert half.cells[0].nll_sum == pytest.approx(full.cells[0].nll_sum, rel=0.02)
