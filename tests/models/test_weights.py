import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from augmix.errors import RunError
from augmix.models import ModelConfig
from augmix.models.weights import (
    build_model,
    check_state,
    is_hub_name,
    load_model,
    load_state,
    save_model,
)


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


@pytest.mark.parametrize("name", ["", "xyz", "wrn-40-2 ", "xwrn-40-2", "wrn--40-2", "-maxblur"])
def test_other_names_are_refused(name: str):
    with pytest.raises(ValueError, match=r"model must be one of .*wrn-{depth}-{width}, "):
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
        ({"name": "resnet19"}, "depth must be one of 18, 34, 50, 101, 152, got 19"),
        ({"name": "wrn-11-1"}, "depth must be"),
        ({"mean": [0.1, 0.2]}, "mean must have one number"),
        ({"mean": 3}, "mean must be a list, got 3"),
        ({"colour": 1}, "colour"),
        ({"num_classes": "ten"}, "num_classes must be a whole number"),
        ({"num_classes": 10**8}, "would have 12,900,277,600 parameters, more than 1,073,741,824"),
        ({"num_classes": 10**6}, r"head.weight must have shape \(1000000, 128\), got"),
        ({"name": "wrn-40000-1"}, "depth must be at most 2000, got 40000"),
        ({"name": "resnext-29-999x999d"}, "would have .* parameters, more than 1,073,741,824"),
        ({"name": "wrn-28-9999999999999"}, "would have .* parameters, more than 1,073,741,824"),
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
    with pytest.raises(RunError, match=r"model.json: mean is missing"):
        load_model(folder)


EXPECTED = {
    "a.weight": torch.zeros(2, 3),
    "a.bias": torch.zeros(2),
    "b.num_batches_tracked": torch.zeros(()),
}


def test_equal_names_and_shapes_pass() -> None:
    check_state(dict(EXPECTED), EXPECTED, what="file")


def test_other_names_and_shapes_are_named() -> None:
    found = {"a.weight": torch.zeros(2, 3), "c": torch.zeros(1)}
    message = (
        r"^file does not fit: expected 3 tensors, got 2; "
        r"missing: a.bias, b.num_batches_tracked; unknown: c$"
    )
    with pytest.raises(RunError, match=message):
        check_state(found, EXPECTED, what="file does not fit")
    with pytest.raises(RunError, match="expected 3 tensors, got 4; missing: none; unknown: c$"):
        check_state({**EXPECTED, "c": torch.zeros(1)}, EXPECTED, what="file")
    with pytest.raises(RunError, match="file: a.bias must have shape \\(2,\\), got \\(4,\\)"):
        check_state({**EXPECTED, "a.bias": torch.zeros(4)}, EXPECTED, what="file")


def test_counters_may_be_missing_where_that_is_said() -> None:
    found = {name: EXPECTED[name] for name in ("a.weight", "a.bias")}
    check_state(found, EXPECTED, what="file", needs_counters=False)
    with pytest.raises(RunError, match="missing: b.num_batches_tracked; unknown: none"):
        check_state(found, EXPECTED, what="file")
    with pytest.raises(RunError, match="missing: a.bias; unknown: none"):
        check_state({"a.weight": found["a.weight"]}, EXPECTED, what="file", needs_counters=False)


def test_files_that_would_run_code_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "args": argparse.Namespace(lr=1)}, path)
    with pytest.raises(RunError, match="holds more than tensors, and reading it would run code"):
        load_state(path)


MODULE = """
import torch

class Net(torch.nn.Linear):
    pass
"""


def test_the_advice_for_whole_modules_works(tmp_path):
    """The line of the message is run where the code of the module can be imported."""
    (tmp_path / "mine.py").write_text(MODULE)
    script = """
from pathlib import Path
import torch
from mine import Net
torch.manual_seed(0)
net = Net(2, 3)
from augmix.errors import RunError
from augmix.models.weights import load_tensors
forms = net, {'model': net, 'epoch': 3}, {'state_dict': net.state_dict(), 'flags': Net(1, 1)}
for form in forms:
    torch.save(form, "whole.pt")
    try:
        load_tensors(Path("whole.pt"))
    except RunError as error:
        exec(str(error).partition('python -c "')[2].removesuffix('"'))
    else:
        raise SystemExit("a whole module was read")
    found, wanted = torch.load("tensors.pt"), net.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    Path("tensors.pt").unlink()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pt", b"not torch", "is damaged or no file of torch.save"),
        ("a.safetensors", b"short", "is damaged or no safetensors file"),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=message):
        load_state(tmp_path / name)


def test_files_without_weights(tmp_path):
    torch.save({"epoch": 3, "note": "x"}, tmp_path / "a.pt")
    with pytest.raises(RunError, match="expected tensors by name, .* got epoch, note"):
        load_state(tmp_path / "a.pt")
    torch.save([1], tmp_path / "a.pt")
    with pytest.raises(RunError, match="got .*list"):
        load_state(tmp_path / "a.pt")
    with pytest.raises(RunError, match="cannot read"):
        load_state(tmp_path)


class FakeHub:
    """A hub of folders, with the function of huggingface_hub that downloads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.revisions: list[str | None] = []

    def snapshot_download(
        self, repo_id: str, *, revision: str | None = None, allow_patterns: list[str]
    ) -> str:
        self.revisions.append(revision)
        if not (self.root / repo_id).is_dir():
            raise FileNotFoundError(f"404: no repository {repo_id}.\nRequest ID: 1")
        cache = self.root / "cache" / repo_id
        cache.mkdir(parents=True, exist_ok=True)
        for name in allow_patterns:
            if (self.root / repo_id / name).exists():
                shutil.copy(self.root / repo_id / name, cache)
        return str(cache)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    found = FakeHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", found)
    return found


def test_a_model_of_the_hub(hub: FakeHub, folder: Path):
    shutil.copytree(folder, hub.root / "me/digits")
    (hub.root / "me/digits/README.md").write_text("more")
    images = torch.rand(2, 1, 8, 8)
    for name in ("me/digits", "hub:me/digits"):
        model = load_model(name, revision="v1")
        assert torch.equal(model(images), load_model(folder)(images))
    assert hub.revisions == ["v1", "v1"]
    cached = sorted(path.name for path in (hub.root / "cache/me/digits").iterdir())
    assert cached == ["model.json", "weights.safetensors"]


def test_folders_come_before_the_hub(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder.parent.parent)
    assert load_model(f"{folder.parent.name}/{folder.name}").config.num_classes == 5
    assert hub.revisions == []


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("hub:me/digits", True),
        ("hub:digits", True),
        ("me/digits", True),
        ("me/my.net-2_x", True),
        (Path("me/digits"), False),
        ("digits", False),
        ("/me/digits", False),
        ("./digits", False),
        ("../digits", False),
        ("runs/me/digits", False),
        ("runs/me/", False),
    ],
)
def test_which_texts_name_a_model_on_the_hub(where: str | Path, expected: bool):
    assert is_hub_name(where) is expected


def test_models_the_hub_does_not_have(hub: FakeHub):
    with pytest.raises(
        RunError,
        match=r"^there is no folder 'runs/typo', and 'runs/typo' cannot be fetched from the "
        r"Hugging Face Hub: 404: no repository runs/typo; check the name and the network$",
    ):
        load_model("runs/typo")
    with pytest.raises(RunError, match=r"^'runs/typo' cannot be fetched"):
        load_model("hub:runs/typo")
    with pytest.raises(RunError, match=r"named owner/name, got 'typo'"):
        load_model("hub:typo")


def test_models_of_others_are_refused(hub: FakeHub):
    (hub.root / "me/other").mkdir(parents=True)
    (hub.root / "me/other/model.json").write_text("{}")
    with pytest.raises(RunError, match=r"has no weights.safetensors: it is no model of this pack"):
        load_model("me/other")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    way_out = r"needs huggingface_hub, which is not installed: pip install 'huggingface-hub>="
    with pytest.raises(RunError, match=r"no folder 'me/digits', and a model .*" + way_out):
        load_model("me/digits")
