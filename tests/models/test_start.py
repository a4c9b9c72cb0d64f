"""Training starts from any model: of the user's code, of a file, of another run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from toy_runs import toy_config, write_npz

from augmix.errors import RunError
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.models import run_measurement
from augmix.models import start as start_module
from augmix.models.start import build_start, check_outputs, find_start, network_name, start_from
from augmix.models.weights import build_model, check_reload, load_model, save_model
from augmix.progress import StepFinished
from augmix.training.run import settle, train
from augmix.training.settings import build_config

CODE = """
import threading
import torch
from torch import nn
from augmix import Preprocessing

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, num_classes)
        self.preprocessing = Preprocessing(
            mean=(127.5,) * 3, std=(255.0,) * 3, input_range=(0.0, 255.0)
        )

    def forward(self, images):
        return {"logits": self.head(self.body(images).mean((2, 3)))}

def make(num_classes):
    return Net(num_classes)

def fixed():
    return Net(5)

def tuples(num_classes):
    net = Net(num_classes)
    net.forward = lambda images: (Net.forward(net, images)["logits"], images.mean((2, 3)))
    return net

def pair(num_classes):
    net = Net(num_classes)
    net.forward = lambda images: (net.body(images).mean((2, 3)),) * 2
    return net

def picky(num_classes):
    net = Net(num_classes)
    net.forward = lambda images: net.head(images.reshape(len(images), 4))
    return net

def tied(num_classes):
    net = Net(num_classes)
    net.also = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    net.also[1].weight = net.also[0].weight
    net.forward = lambda images: net.head(net.also(net.body(images).mean((2, 3))))
    return net

class Told(Net):
    def get_extra_state(self):
        return {"calls": 3}

    def set_extra_state(self, state):
        pass

class Counting(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.register_buffer("seen", torch.zeros(2), persistent=False)

    def forward(self, images):
        self.seen += float(self.training)
        return super().forward(images)

class Scaled(Net):
    def __init__(self, num_classes, step=0):
        super().__init__(num_classes)
        scale = torch.tensor([1.5, float("nan")]).to(torch.float8_e4m3fn)
        self.register_buffer("scale", scale, persistent=False)
        self.step = step

    def forward(self, images):
        if self.training and self.step:
            self.scale.view(torch.uint8).add_(self.step)
        return super().forward(images)

def rescaled(num_classes):
    return Scaled(num_classes, step=1)

def masked(num_classes):
    net = Net(num_classes)
    net.register_buffer("mask", torch.full((2,), -float("inf")))
    return net

def locked(num_classes):
    net = Net(num_classes)
    net.lock = threading.Lock()
    return net

def maps(num_classes):
    return nn.Conv2d(3, num_classes, 1)

def array(num_classes):
    return lambda images: images
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("code") / "own_net.py"
    path.write_text(CODE)
    return f"python:{path}"


def toy(folder: Path, **changes: Any) -> Any:
    return toy_config(folder, **{"dropout": None, "epochs": 1, "executor": "compiled", **changes})


def test_a_network_of_the_users_code_is_trained_and_measured(tmp_path: Path, code: str) -> None:
    notes: list[str] = []
    config = toy(tmp_path / "run", model=f"{code}:make")
    run = train(config, on_progress=lambda event: notes.append(getattr(event, "text", "")))
    assert f"start: {code}:make" in notes
    model = load_model(run)
    assert model.config.name == f"{code}:make"
    assert (model.config.mean, model.config.std) == ((0.5,) * 3, (1.0,) * 3)
    assert model(torch.rand(2, 3, 16, 16)).shape == (2, 3)
    how = EvaluateConfig(suite=("clean",), out=tmp_path / "out")
    found = run_measurement(Measurement(models=(str(run),), how=how))
    assert found.cells[0].num_images == 20
    assert train(config) == run  # complete: nothing left to do


def test_a_named_last_layer_is_replaced(tmp_path: Path, code: str) -> None:
    text = f"{code}:fixed"
    start = find_start(text)
    torch.manual_seed(0)
    model, _ = build_start(start, num_classes=3, channels=3, class_names=(), head="head")
    assert model.config.head == "head"
    assert model(torch.rand(2, 3, 8, 8)).shape == (2, 3)
    run = train(toy(tmp_path / "run", model=text, head="head", freeze="backbone"))
    assert load_model(run).config.head == "head"
    again = toy(tmp_path / "again", model=str(run), head="head")
    assert load_model(train(again)).config.num_classes == 3
    for name, message in (
        ("haed", "there is no layer 'haed', did you mean 'head'.; its last ones are head, body.0"),
        ("body", "'body' is a Sequential"),
        ("body.0", "on images of 16x16 pixels fails: .*another last layer than body.0"),
    ):
        with pytest.raises(RunError, match=message):
            train(toy(tmp_path / name, model=text, head=name))
    with pytest.raises(ValueError, match="head would do nothing with small"):
        build_config(model="small", head="head")


def test_logits_are_found_among_several_outputs(tmp_path: Path, code: str) -> None:
    run = train(toy(tmp_path / "run", model=f"{code}:tuples"))
    assert load_model(run)(torch.rand(2, 3, 16, 16)).shape == (2, 3)


def test_an_interrupted_run_continues_to_the_same_bits(tmp_path: Path, code: str) -> None:
    from augmix.progress import StepFinished

    def stop(event: Any) -> None:
        if isinstance(event, StepFinished) and event.step == 2:
            raise ZeroDivisionError

    whole = train(toy(tmp_path / "whole", model=f"{code}:make", checkpoint_every=1))
    config = toy(tmp_path / "run", model=f"{code}:make", checkpoint_every=1)
    with pytest.raises(ZeroDivisionError):
        train(config, on_progress=stop)
    train(config)
    first, second = (load_model(each).state_dict() for each in (whole, config.run.out))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_folder_with_the_name_of_a_network_is_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("small", "photos"):
        (tmp_path / name).mkdir()
    assert network_name("small") == "small"
    with pytest.raises(RunError, match="photos holds no model.json: name a run folder"):
        network_name("photos")


def test_a_run_starts_from_another_with_other_classes(tmp_path: Path) -> None:
    torch.manual_seed(3)
    start = build_model("small", num_classes=7, mean=(0.25,) * 3, std=(0.5,) * 3)
    (tmp_path / "old").mkdir()
    save_model(tmp_path / "old", start)
    text = str(tmp_path / "old")
    assert network_name(text) == "small"
    torch.manual_seed(0)
    model, origin = build_start(find_start(text), num_classes=3, channels=3, class_names=())
    assert origin.startswith(f"{text}, with a new last layer (")
    assert "for 3 classes" in origin
    assert model.config.mean == (0.25,) * 3
    old, new = start.state_dict(), model.state_dict()
    changed = {name for name in new if new[name].shape != old[name].shape}
    assert len(changed) == 2  # weight and bias of the last layer
    assert all(torch.equal(new[name], old[name]) for name in new if name not in changed)
    run = train(toy(tmp_path / "run", model=text, epochs=1))
    assert load_model(run).config.num_classes == 3
    same, origin = build_start(find_start(text), num_classes=7, channels=3, class_names=())
    assert origin == text
    assert all(torch.equal(value, old[name]) for name, value in same.state_dict().items())


def test_a_run_of_a_foreign_network_is_a_start_too(tmp_path: Path, code: str) -> None:
    first = train(toy(tmp_path / "first", model=f"{code}:make", size=12))
    start = find_start(str(first))
    assert (start.name, start.size) == (f"{code}:make", 12)
    again = toy(tmp_path / "again", model=str(first))
    assert settle(again).config.data.size == 12
    train(again)
    assert load_model(again.run.out).config.name == f"{code}:make"
    with pytest.raises(ValueError, match="dropout would do nothing with"):
        build_config(model=str(first), dropout=0.1)


def test_a_run_starts_from_a_file(tmp_path: Path) -> None:
    start = build_model("wrn-10-1", num_classes=10)
    torch.save(start.state_dict(), tmp_path / "best.pt")
    text = f"wrn-10-1@{tmp_path / 'best.pt'}"
    model, _ = build_start(find_start(text), num_classes=4, channels=3, class_names=())
    old, new = start.state_dict(), model.state_dict()
    same = [name for name in new if new[name].shape == old[name].shape]
    assert len(same) == len(new) - 2
    assert all(torch.equal(new[name], old[name]) for name in same)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    save_model(tmp_path / "old", build_model("small", num_classes=3))
    start = find_start(str(tmp_path / "old"))
    other = type(start)(name="wrn-10-1", state=start.state, source="small")
    with pytest.raises(RunError, match="weights of small are not those of wrn-10-1"):
        build_start(other, num_classes=3, channels=3, class_names=())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "fixed",
            "gives 5 classes, the images have 3; let the function take num_classes, or name ",
        ),
        ("pair", r"must give logits, got tuple of several outputs \(0: \(2, 4\), 1: \(2, 4\)\)"),
        ("picky", r"on images of 16x16 pixels fails: .*; name another size with --size"),
        ("maps", r"must give logits \[batch class\], got \(2, 3, 16, 16\) for 2 images"),
        ("array", "must return an nn.Module to be trained, got function"),
        ("missing", "missing"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(
    tmp_path: Path, code: str, function: str, message: str
) -> None:
    with pytest.raises(RunError, match=message):
        train(toy(tmp_path / "run", model=f"{code}:{function}"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "timm:resnet18", "dropout": 0.1}, "dropout would do nothing with timm:resnet18"),
        ({"model": "wrn-10-1", "pretrained": True}, "wrn-10-1 has no published weights"),
        ({"model": "timm:resnet18", "zero_init_last": True}, "zero_init_last would do nothing"),
        ({"model": "timm:resnet18", "method": "maxblur"}, "has no blur-pooled form"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(build_config(**settings), "network_name")  # noqa: B009


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(RunError, match="nowhere/run does not exist; name a run folder"):
        build_config(model="nowhere/run")


def test_grey_images_need_a_network_of_this_package(tmp_path: Path, code: str) -> None:
    with pytest.raises(RunError, match="takes images of 3 channels, got 1"):
        build_start(find_start(f"{code}:make"), num_classes=3, channels=1, class_names=())
    assert write_npz(tmp_path / "x.npz").exists()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("Told", r"network\._extra_state of its state is a dict, .*make it a buffer"),
        ("Counting", r"changes its buffer seen while it trains, but does not save it"),
        ("masked", r"network\.mask is not finite at the start; .*persistent=False"),
        ("locked", r"cannot be copied \(cannot pickle '_thread\.lock' object\)"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_the_first_step(
    tmp_path: Path, code: str, made: str, message: str
) -> None:
    steps: list[Any] = []
    with pytest.raises(RunError, match=message):
        train(toy(tmp_path / "run", model=f"{code}:{made}"), on_progress=steps.append)
    assert not any(isinstance(event, StepFinished) for event in steps)
    assert not list(tmp_path.glob("run/*.json"))  # other settings may go there


def test_buffers_of_8_bits_are_compared(code: str) -> None:
    check_outputs(build_model(f"{code}:Scaled", num_classes=3), (16, 16))
    with pytest.raises(RunError, match="changes its buffer scale while it trains"):
        check_outputs(build_model(f"{code}:rescaled", num_classes=3), (16, 16))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
def test_an_object_that_cannot_be_copied_is_refused_with_the_line_to_write() -> None:
    def start(norm: Any) -> Any:
        layers = (torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        network = torch.nn.Sequential(norm(layers[0]), *layers[1:], torch.nn.Linear(4, 3))
        return start_from(network)

    how: dict[str, Any] = {"num_classes": 3, "channels": 3, "class_names": ()}
    with pytest.raises(RunError, match=r"write torch\.nn\.utils\.parametrizations\.weight_norm"):
        build_start(start(torch.nn.utils.weight_norm), **how)
    model, _ = build_start(start(torch.nn.utils.parametrizations.weight_norm), **how)
    check_outputs(model, (16, 16))


def test_a_network_that_is_built_otherwise_each_time_is_refused(
    tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model(f"{code}:make", num_classes=3)
    check_reload(model)
    monkeypatch.setattr(start_module, "_call_for", lambda name, count: torch.nn.Linear(3, count))
    with pytest.raises(RunError, match=r"not loaded from its run folder again: its saved weights"):
        check_reload(model)


def test_tied_weights_are_saved_whole_and_stay_tied(tmp_path: Path, code: str) -> None:
    run = train(toy(tmp_path / "run", model=f"{code}:tied", ema_decay=0.9))
    loaded: Any = load_model(run).network
    assert loaded.also[0].weight is loaded.also[1].weight
    assert not torch.equal(loaded.also[0].weight, torch.zeros(4, 4))
