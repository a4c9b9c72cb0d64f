import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from augmix.errors import RunError
from augmix.models.layers import ModelConfig
from augmix.models.weights import build_model, load_model, save_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved `small` of 5 classes for grey images."""
    torch.manual_seed(0)
    model = build_model("small", num_classes=5, channels=1, mean=(0.3,), std=(0.2,), dropout=0.1)
    model(torch.rand(4, 1, 8, 8))
    save_model(tmp_path, model)
    return tmp_path


def change(folder: Path, **entries: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_config_is_kept_on_the_model():
    model = build_model("wrn-16-2", num_classes=10, dropout=0.3)
    assert model.config == ModelConfig(name="wrn-16-2", num_classes=10, dropout=0.3)


@pytest.mark.parametrize(
    ("name", "channels", "mean", "std", "dropout"),
    [
        ("allconv", 3, (0.5,) * 3, (0.5,) * 3, 0.5),
        ("allconv-maxblur", 1, (0.5,), (0.5,), 0.5),
        ("densenet-40-12", 3, (0.5,) * 3, (0.5,) * 3, 0.0),
        ("resnet18-cifar", 3, (0.5,) * 3, (0.5,) * 3, 0.0),
        ("resnet18", 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.0),
        ("resnet18-maxblur", 1, (0.449,), (0.226,), 0.0),
    ],
)
def test_what_is_not_given_is_what_is_usual(
    name: str, channels: int, mean: tuple, std: tuple, dropout: float
):
    config = build_model(name, num_classes=2, channels=channels).config
    assert (config.mean, config.std, config.dropout) == (mean, std, dropout)
    assert config.blur_size == 5


def test_what_is_given_stays():
    model = build_model("allconv", num_classes=2, mean=(0.1,) * 3, std=(0.2,) * 3, dropout=0.0)
    assert model.config.dropout == 0
    assert model.config.mean == (0.1,) * 3
    assert model.config.std == (0.2,) * 3


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("wrn-40", "wrn-40-2"),
        ("smal", "small"),
        ("WRN-16-2", "wrn-16-2"),
        ("densenet", "densenet-40-12"),
        ("resnext29_4x32d", "resnext-29-4x32d"),
        ("resnet-50", "resnet50"),
        ("resnet50_maxblur", "resnet50-maxblur"),
    ],
)
def test_unknown_names_suggest_the_nearest(name: str, nearest: str):
    with pytest.raises(ValueError, match=rf"got '{name}', did you mean '{nearest}'\?"):
        build_model(name, num_classes=10)


@pytest.mark.parametrize(
    "name", ["", "xyz", "wrn-40-2 ", "xwrn-40-2", "wrn--40-2", "-maxblur", "resnet19"]
)
def test_other_names_are_refused(name: str):
    with pytest.raises(ValueError, match=r"model must be one of small, .*wrn-D-W, "):
        build_model(name, num_classes=10)


@pytest.mark.parametrize("name", ["small", "wrn-10-2-maxblur", "densenet-bc-10-4"])
def test_saved_model_comes_back_to_the_same_bits(tmp_path: Path, name: str):
    torch.manual_seed(0)
    model = build_model(name, num_classes=5, channels=1, mean=(0.3,), std=(0.2,), dropout=0.1)
    model(torch.rand(4, 1, 8, 8))  # batch statistics too
    save_model(tmp_path, model)
    loaded = load_model(tmp_path)
    assert loaded.config == model.config
    assert not loaded.training
    images = torch.rand(3, 1, 12, 12)
    assert torch.equal(loaded(images), model.eval()(images))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.json", "weights.safetensors"]
    weights = load_file(tmp_path / "weights.safetensors")  # anybody's reader
    assert {"head.weight", "head.bias"} <= set(weights)
    assert json.loads((tmp_path / "model.json").read_text()) == {
        "schema": 1,
        "name": name,
        "num_classes": 5,
        "channels": 1,
        "mean": [0.3],
        "std": [0.2],
        "dropout": 0.1,
        "blur_size": 5,
    }


def test_saving_twice_writes_the_same_bytes(tmp_path: Path):
    model = build_model("small", num_classes=3)
    save_model(tmp_path, model)
    first = (tmp_path / "weights.safetensors").read_bytes()
    save_model(tmp_path, model.to(memory_format=torch.channels_last))  # pyright: ignore
    assert (tmp_path / "weights.safetensors").read_bytes() == first


def test_loading_draws_nothing(folder: Path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_model(folder)
    assert torch.equal(torch.rand(3), expected)


def test_wrapped_models_are_not_saved(tmp_path: Path):
    with pytest.raises(TypeError, match="got DataParallel; unwrap it first"):
        save_model(tmp_path, nn.DataParallel(build_model("small", num_classes=3)))


def test_missing_folder(tmp_path: Path):
    with pytest.raises(RunError, match=r"cannot write .*nowhere"):
        save_model(tmp_path / "nowhere", build_model("small", num_classes=3))
    with pytest.raises(RunError, match=r"nowhere/model.json does not exist"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["model.json", "weights.safetensors"])
def test_missing_file(folder: Path, file: str):
    (folder / file).unlink()
    with pytest.raises(RunError, match=rf"{file} does not exist"):
        load_model(folder)


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_truncated_weights(folder: Path, size: int):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RunError, match=r"weights.safetensors is damaged or no safetensors file"):
        load_model(folder)


def test_weights_are_a_folder(folder: Path):
    (folder / "weights.safetensors").unlink()
    (folder / "weights.safetensors").mkdir()
    with pytest.raises(RunError, match=r"cannot read .*weights.safetensors: Is a directory"):
        load_model(folder)


def test_weights_of_another_architecture(folder: Path):
    change(folder, name="wrn-10-1")
    with pytest.raises(
        RunError,
        match=r"does not fit model 'wrn-10-1' with 5 classes: expected \d+ tensors, "
        r"got 32; missing: groups.0.0.conv1.weight, .* and \d+ more; "
        r"unknown: features.0.weight",
    ):
        load_model(folder)


def test_weights_of_another_class_count(folder: Path):
    change(folder, num_classes=7)
    with pytest.raises(
        RunError,
        match=r"does not fit model 'small' with 7 classes: head.weight must have shape "
        r"\(7, 128\), got \(5, 128\)",
    ):
        load_model(folder)


def test_missing_weight(folder: Path):
    weights = load_file(folder / "weights.safetensors")
    del weights["head.bias"]
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(RunError, match=r"expected 32 tensors, got 31; missing: head.bias"):
        load_model(folder)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"schema": 2}, "must have schema 1, got 2"),
        ({"name": "resnet"}, "got 'resnet'"),
        ({"name": "wrn-11-1"}, "depth must be"),
        ({"mean": [0.1, 0.2]}, "mean must have one number"),
        ({"mean": 3}, "does not describe a model"),
        ({"colour": 1}, "colour"),
        ({"num_classes": "ten"}, "does not describe a model"),
    ],
)
def test_wrong_description(folder: Path, entries: dict, message: str):
    change(folder, **entries)
    with pytest.raises(RunError, match=message):
        load_model(folder)


def test_descriptions_from_before_blur_pools_are_read(folder: Path):
    path = folder / "model.json"
    plain = json.loads(path.read_text())
    del plain["blur_size"]
    path.write_text(json.dumps(plain))
    assert load_model(folder).config.blur_size == 5


def test_the_weights_of_a_network_fit_its_blur_pooled_form(folder: Path):
    change(folder, name="small-maxblur", blur_size=3)
    assert load_model(folder).config.is_blurred


def test_description_without_a_field(folder: Path):
    path = folder / "model.json"
    plain = json.loads(path.read_text())
    del plain["mean"]
    path.write_text(json.dumps(plain))
    with pytest.raises(RunError, match=r"model.json does not describe a model: 'mean'"):
        load_model(folder)
