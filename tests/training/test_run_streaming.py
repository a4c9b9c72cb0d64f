"""Training on photographs that are cropped as they are decoded, from folders and from shards."""

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toy_runs import load_config, read_log, read_weights

from augmix import cli
from augmix.data.batches import BatchOrder
from augmix.data.decode import ResizedCrop
from augmix.errors import RunError
from augmix.methods import TrainingImages
from augmix.progress import Event, OnProgress, StepFinished
from augmix.rng import Stream
from augmix.training.config import TrainConfig
from augmix.training.pipeline import open_pipeline
from augmix.training.run import open_split, train
from augmix.training.settings import build_config, update_config
from augmix.training.validation import open_validation

SYNSETS = ("n01440764", "n01751748")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGMIX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Ten JPEGs of two classes, each of its own size."""
    rng = np.random.default_rng(0)
    for index in range(10):
        folder = tmp_path / "photographs" / "train" / SYNSETS[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shape = (70 + 3 * index, 90 - 2 * index, 3)
        waves = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(waves).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index}.JPEG")
    return tmp_path / "photographs"


def toy(data: Path, out: Path, **changes: Any) -> TrainConfig:
    """Nine steps, three an epoch, of images of 16 pixels."""
    settings: dict[str, Any] = {
        "data": str(data),
        "model": "small",
        "epochs": 3,
        "batch_size": 4,
        "size": 16,
        "out": out,
        "device": "cpu",
        "checkpoint_every": 100,
        "log_every": 1,
    }
    return build_config("imagenet", **{**settings, **changes})


def stop_after(step: int) -> OnProgress:
    """A watcher that fails after a step, in the middle of whatever is under way."""

    def watch(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == step:
            raise ZeroDivisionError

    return watch


def test_a_run_stopped_within_an_epoch_goes_on_to_the_same_bits(
    photographs: Path, tmp_path: Path
) -> None:
    whole = train(toy(photographs, tmp_path / "whole"))
    config = toy(photographs, tmp_path / "parts", checkpoint_every=2, num_threads=2)
    for step in (3, 5):  # neither has a checkpoint of its own, nor ends an epoch after the second
        with pytest.raises(ZeroDivisionError):
            train(config, on_progress=stop_after(step))
    parts = train(config)
    assert read_weights(parts) == read_weights(whole)
    assert read_log(parts) == read_log(whole)


def test_shards_train_to_the_same_weights_as_folders(photographs: Path, tmp_path: Path) -> None:
    whole = train(toy(photographs, tmp_path / "whole", epochs=1))
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "train-0.tar", "w") as tar:
        for path in sorted((photographs / "train").rglob("*.JPEG")):
            tar.add(path, f"{path.parent.name}/{path.name}")
    shards = train(toy(tmp_path / "shards", tmp_path / "sharded", epochs=1, decode_threads=1))
    assert read_weights(shards) == read_weights(whole)


def test_validation_images_are_whole_where_nothing_is_decoded_reduced(
    photographs: Path, tmp_path: Path
) -> None:
    val = tmp_path / "val"
    for name in SYNSETS:
        (val / name).mkdir(parents=True)
        Image.new("RGB", (40, 30), "red").save(val / name / "0.png")
    config = toy(photographs, tmp_path / "run", reduced_decoding=False, val=str(val))
    found = open_validation(config, open_split(config, "train"), open_split)
    assert (len(found), found.size) == (2, (16, 16))


def test_the_batches_are_crops_at_their_address(photographs: Path, tmp_path: Path) -> None:
    """The clean view of a step, from the file, the draws and the flip alone."""
    config = toy(photographs, tmp_path / "run", reduced_decoding=False)
    source = open_split(config, "train")
    images = TrainingImages(crop_padding=0, flip=True, size=(16, 16), num_classes=2)
    method = config.method.fit(images)
    order = BatchOrder(num_images=10, batch_size=4, seed=0)
    pipeline = open_pipeline(source, method, order, config, torch.device("cpu"))
    batch = pipeline.make(4)  # of the second epoch
    stream = Stream(seed=0).at(epoch=1)
    plan = method.policy.sample(order.ids(4), num_views=2, size=(16, 16), stream=stream)
    draws = ResizedCrop().sample(order.ids(4), stream=stream)
    files = sorted((photographs / "train").rglob("*.JPEG"))
    for row, number in enumerate(order.ids(4)):
        picture = Image.open(files[number])
        top, left, tall, wide = ResizedCrop().box(draws[row], picture.height, picture.width)
        cut = picture.crop((left, top, left + wide, top + tall))
        pixels = np.asarray(cut.resize((16, 16), Image.Resampling.BILINEAR))
        pixels = pixels[:, ::-1] if plan.flip[row] else pixels
        clean = np.moveaxis(batch.views[0, row], 0, 2)
        np.testing.assert_allclose(clean, pixels / 255, atol=1e-6)
    assert plan.crop_padding == 0
    assert 0 < plan.flip.sum() < 4


def test_a_broken_image_stops_the_run_by_name_and_skip_goes_on(
    photographs: Path, tmp_path: Path
) -> None:
    path = photographs / "train" / SYNSETS[1] / "3.JPEG"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(RunError, match=r"cannot use image .*/3.JPEG \(index 6\)"):
        train(toy(photographs, tmp_path / "run"))
    assert (tmp_path / "run" / "state.pt").exists()
    kept = train(toy(photographs, tmp_path / "kept", on_error="skip", epochs=1))
    first, *_, last = read_log(kept)
    assert last["step"] == 3  # 9 images in batches of 4
    assert first["step"] == 0
    assert [line.partition(": ")[0] for line in first["skipped"]] == [str(path)]
    plain = load_config(kept).data.reading
    assert (plain.on_error, plain.exif_orientation) == ("skip", None)


def test_the_recipe_is_one_command(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = f"train --recipe imagenet --data {photographs} --out {out} --model small --size 16"
    toy_sized = ["--epochs", "1", "--batch-size", "4", "--device", "cpu"]
    assert cli.main([*words.split(), *toy_sized]) == 0
    assert f"run: {out}" in capsys.readouterr().out
    config = load_config(out)
    how = config.optimisation
    assert (config.data.kind, config.method.policy.severity) == ("imagenet", 1)
    assert (how.schedule, how.nesterov, how.decay_at, how.epochs) == (
        "step",
        False,
        (1 / 3, 2 / 3),
        1,
    )


def test_crops_can_be_asked_for_and_refused(photographs: Path, tmp_path: Path) -> None:
    config = toy(photographs, tmp_path / "run", source="folder", resized_crop=True)
    assert open_split(config, "train").crop == ResizedCrop()
    assert open_split(update_config(config, source="imagenet"), "train").crop == ResizedCrop()
    for changes in ({"source": "folder", "resized_crop": None}, {"resized_crop": False}):
        plain = open_split(update_config(config, **changes), "train")
        assert plain.crop is None
    with pytest.raises(ValueError, match="random resized crops need a size"):
        open_split(update_config(config, size=None), "train")


@pytest.mark.slow
def test_imagenet_by_its_recipe_at_a_small_size(real_data: Path, tmp_path: Path) -> None:
    """ResNet-18 at 64 pixels on photographs: seven steps, stopped within the epoch and resumed."""
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet" / "train").symlink_to(real_data / "imagenet-samples" / "val")
    small: dict[str, Any] = {
        "model": "resnet18",
        "size": 64,
        "batch_size": 30,
        "epochs": 1,
        "precision": "bf16",
        "channels_last": True,
    }
    whole = train(toy(tmp_path / "imagenet", tmp_path / "whole", **small))
    config = toy(tmp_path / "imagenet", tmp_path / "parts", **{**small, "checkpoint_every": 3})
    with pytest.raises(ZeroDivisionError):
        train(config, on_progress=stop_after(5))
    parts = train(config)
    assert read_weights(parts) == read_weights(whole)
    assert read_log(parts) == read_log(whole)
    losses = [line["loss"] for line in read_log(parts)]
    assert len(losses) == 7
    assert all(4 < loss < 12 for loss in losses)  # log 200 = 5.3, and the consistency
