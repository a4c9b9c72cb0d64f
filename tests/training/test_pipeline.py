"""Views made on the device are those made on the CPU, and a run trained on them is the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from toy_runs import read_weights, toy_config

from augmix.data.batches import BatchOrder
from augmix.methods import TrainingImages
from augmix.training import pipeline
from augmix.training.config import TrainConfig, update_config
from augmix.training.loop import make_batches
from augmix.training.pipeline import DeviceViews, open_device_views
from augmix.training.run import open_split, train

CPU = torch.device("cpu")


def open_views(config: TrainConfig) -> tuple[DeviceViews, tuple]:
    source = open_split(config, "train")
    order = BatchOrder(
        num_images=len(source), batch_size=config.optimisation.batch_size, seed=config.run.seed
    )
    parts = (source, config.method.fit(TrainingImages(crop_padding=1, flip=True)), order, config)
    views = open_device_views(*parts, CPU)
    assert views is not None
    return views, parts


@pytest.mark.parametrize("is_resident", [True, False])
@pytest.mark.parametrize("method", ["augmix", "standard", "cutmix"])
def test_steps_are_those_of_the_cpu(
    tmp_path: Path, method: str, is_resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "is_resident", lambda source, device: is_resident)
    config = toy_config(tmp_path / "run", method=method, executor="batched")
    made, parts = open_views(config)
    assert (made.images is not None) == is_resident
    expected = make_batches(*parts[:3], update_config(config, executor="pillow"))
    for step in (4, 0):
        views, targets = made.finish(made.draw(step))
        batch = expected(step)
        np.testing.assert_array_equal(views.numpy(), batch.views)
        np.testing.assert_array_equal(targets.numpy(), batch.targets)


def test_a_run_is_the_same_by_either_executor(tmp_path: Path) -> None:
    weights = [
        read_weights(train(toy_config(tmp_path / executor, executor=executor)))
        for executor in ("compiled", "batched")
    ]
    assert weights[0] == weights[1]


def test_the_recipe_says_where_views_are_made(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run")
    source = open_split(config, "train")
    order = BatchOrder(num_images=len(source), batch_size=8, seed=0)
    method = config.method.fit(TrainingImages(crop_padding=1, flip=True))
    for executor in ("auto", "pillow", "compiled"):
        recipe = update_config(config, executor=executor)
        assert open_device_views(source, method, order, recipe, CPU) is None
    made, _ = open_views(update_config(config, executor="batched"))
    assert made.executor == f"batched by torch {torch.__version__}, images on the device"


def test_images_live_on_the_device_if_they_are_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_split(toy_config(tmp_path / "run"), "train")
    num_bytes = len(source) * 16 * 16 * 3
    monkeypatch.setattr(pipeline, "_RESIDENT_BYTES", num_bytes)
    assert pipeline.is_resident(source, CPU)
    monkeypatch.setattr(pipeline, "_RESIDENT_BYTES", num_bytes - 1)
    assert not pipeline.is_resident(source, CPU)
    images = pipeline.load_images(source, CPU)
    np.testing.assert_array_equal(images.numpy(), source.load(np.arange(len(source))))
