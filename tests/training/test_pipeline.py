"""Views made on the device are those made on the CPU, and a run trained on them is the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_runs import read_weights, toy_config

from augmix.methods import TrainingImages
from augmix.training import pipeline
from augmix.training.config import TrainConfig
from augmix.training.pipeline import CpuPipeline, DevicePipeline, open_order, open_pipeline
from augmix.training.run import open_split, train
from augmix.training.settings import update_config

CPU = torch.device("cpu")


def opened(config: TrainConfig, **changes: Any) -> Any:
    """The pipeline of a run, with settings changed."""
    config = update_config(config, **changes)
    source = open_split(config, "train")
    method = config.method.fit(TrainingImages(crop_padding=1, flip=True))
    return open_pipeline(source, method, open_order(source, config), config, CPU)


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("method", ["augmix", "standard", "cutmix"])
def test_steps_are_those_of_the_cpu(
    tmp_path: Path, method: str, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "fits_device", lambda source, device: fits)
    config = toy_config(tmp_path / "run", method=method, executor="batched")
    device, cpu = opened(config), opened(config, executor="pillow")
    assert (device.images is not None) == fits
    for step in (4, 0):
        views, targets = device.finish(device.make(step))
        batch = cpu.make(step)
        np.testing.assert_array_equal(views.numpy(), batch.views)
        np.testing.assert_array_equal(targets.numpy(), batch.targets)


def test_a_run_is_the_same_by_either_executor(tmp_path: Path) -> None:
    weights = [
        read_weights(train(toy_config(tmp_path / executor, executor=executor)))
        for executor in ("compiled", "batched")
    ]
    assert weights[0] == weights[1]


def test_a_run_is_the_same_without_a_thread_that_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = []
    for folder, is_ahead in (("ahead", True), ("between", False)):
        monkeypatch.setattr(DevicePipeline, "is_made_ahead", is_ahead)
        weights.append(read_weights(train(toy_config(tmp_path / folder, executor="batched"))))
    assert weights[0] == weights[1]


def test_the_executor_decides_where_views_are_made(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run")
    for executor in ("auto", "pillow", "compiled"):
        made = opened(config, executor=executor)
        assert isinstance(made, CpuPipeline)
        assert made.executor == executor
    made = opened(config, executor="batched")
    assert isinstance(made, DevicePipeline)
    assert made.executor == f"batched by torch {torch.__version__}, images on the device"


def test_images_stay_on_the_device_if_they_are_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_split(toy_config(tmp_path / "run"), "train")
    num_bytes = len(source) * 16 * 16 * 3
    monkeypatch.setattr(pipeline, "_MAX_BYTES", num_bytes)
    assert pipeline.fits_device(source, CPU)
    monkeypatch.setattr(pipeline, "_MAX_BYTES", num_bytes - 1)
    assert not pipeline.fits_device(source, CPU)
    images = pipeline.load_images(source, CPU)
    np.testing.assert_array_equal(images.numpy(), source.load(np.arange(len(source))))


def test_plans_alone_are_drawn_ahead_for_a_cpu_only(tmp_path: Path) -> None:
    made = opened(toy_config(tmp_path / "run"), executor="batched")
    assert made.is_made_ahead
    assert not replace(made, device=torch.device("cuda")).is_made_ahead
    assert replace(made, device=torch.device("cuda"), images=None).is_made_ahead
