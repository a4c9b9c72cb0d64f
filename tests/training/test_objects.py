"""`augmix.train` takes any module and any data set, and returns a run that can be measured."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from toy_runs import toy_config, write_npz

import augmix
from augmix.errors import ResumeError, RunError
from augmix.models.weights import build_model, load_model


class Net(nn.Module):
    """Logits beside features, for normalised images."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.fc = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images).mean((2, 3))
        return self.fc(features), features


class Photos:
    """A torch data set of one of the forms of an image."""

    def __init__(self, form: str, count: int = 12, first: int = 0) -> None:
        self.form, self.count, self.first = form, count, first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if index >= self.count:
            raise IndexError
        rng = np.random.default_rng(self.first + index)
        pixels = rng.integers(0, 200, (16, 16, 3)).astype(np.uint8)
        forms = {
            "pil": Image.fromarray,
            "array": lambda each: each,
            "tensor": lambda each: torch.from_numpy(each).permute(2, 0, 1),
        }
        return forms[self.form](pixels), index % 3


SETTINGS: dict[str, Any] = {"method": "augmix", "epochs": 1, "batch_size": 6, "device": "cpu"}


def make_net(num_classes: int = 3) -> Net:
    torch.manual_seed(0)
    return Net(num_classes)


def test_every_form_of_an_image_is_the_same_run(tmp_path: Path) -> None:
    found = []
    for form in ("pil", "array", "tensor"):
        net = make_net()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        run = augmix.train(net, Photos(form), out=tmp_path / form, **SETTINGS)
        assert Path(run) == tmp_path / form
        assert all(torch.equal(before[name], net.state_dict()[name]) for name in before)
        found.append((tmp_path / form / "weights.safetensors").read_bytes())
        assert run.model(torch.rand(2, 3, 16, 16)).shape == (2, 3)
        assert [line["step"] for line in run.log if line["step"]] == [2]
    assert found[0] == found[1] == found[2]


def test_a_run_is_measured_and_reported(tmp_path: Path) -> None:
    run = augmix.train(
        make_net(),
        Photos("array"),
        Photos("pil", first=100),
        out=tmp_path / "run",
        preprocessing=augmix.Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3),
        **SETTINGS,
    )
    assert "validation" in run.log[-1]
    results = run.evaluate(Photos("array", first=50), suite=("clean",), device="cpu")
    assert results.cells[0].num_images == 12
    page = augmix.write_report([run], tmp_path / "report.html")
    assert "run" in page.read_text()
    assert run.model.network.config.std == (0.25,) * 3
    with pytest.raises(RunError, match=r"object of class Net: .*load_model\(folder, network=...\)"):
        load_model(run.folder)
    again = load_model(run.folder, network=make_net())
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(again(images), run.model(images))


def test_the_same_call_continues_or_refuses(tmp_path: Path) -> None:
    from augmix.progress import StepFinished

    def stop(event: Any) -> None:
        if isinstance(event, StepFinished) and event.step == 1:
            raise ZeroDivisionError

    how: dict[str, Any] = {**SETTINGS, "checkpoint_every": 1, "epochs": 2}
    whole = augmix.train(make_net(), Photos("array"), out=tmp_path / "whole", **how)
    with pytest.raises(ZeroDivisionError):
        augmix.train(make_net(), Photos("array"), out=tmp_path / "run", on_progress=stop, **how)
    run = augmix.train(make_net(), Photos("array"), out=tmp_path / "run", **how)
    first, second = ((Path(each) / "weights.safetensors").read_bytes() for each in (whole, run))
    assert first == second
    with pytest.raises(ResumeError, match="source_fingerprint"):
        augmix.train(make_net(), Photos("array", first=9), out=tmp_path / "run", **how)
    torch.manual_seed(5)
    with pytest.raises(ResumeError, match="start = "):
        augmix.train(Net(), Photos("array"), out=tmp_path / "run", **how)


def test_models_of_the_package_and_texts_are_opened_again(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "toy.npz")
    source = augmix.open_source("npz", root=path)
    torch.manual_seed(0)
    runs = {
        "own": augmix.train(
            build_model("small", num_classes=7), source, out=tmp_path / "a", **SETTINGS
        ),
        "text": augmix.train("small", path, out=tmp_path / "b", **SETTINGS),
        "config": augmix.train(toy_config(tmp_path / "c", epochs=1)),
    }
    for run in runs.values():
        assert load_model(run.folder).config.num_classes == 3
        assert run.model.num_classes == 3
    results = augmix.evaluate(runs["text"].model, path, suite=("clean",), device="cpu")
    assert results.cells[0].num_images == 20
    opened = augmix.open_model(str(runs["own"].folder))
    again = augmix.train(opened, source, out=tmp_path / "d", **SETTINGS)
    assert load_model(again.folder).config.name == "small"


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    data, out = Photos("array"), tmp_path / "run"
    with pytest.raises(RunError, match="gives 5 classes, the images have 3; name its last layer"):
        augmix.train(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)),
            data,
            out=out,
            **SETTINGS,
        )
    run = augmix.train(Net(5), data, out=out, head="fc", **SETTINGS)
    assert run.model(torch.rand(2, 3, 16, 16)).shape == (2, 3)
    with pytest.raises(RunError, match="has no weights that could be trained"):
        augmix.train(nn.Flatten(), data, out=out)
    with pytest.raises(TypeError, match="takes the images to train on"):
        augmix.train(Net())
    with pytest.raises(TypeError, match="config or its fields, not both"):
        augmix.train(Net(), data, config=augmix.TrainConfig(), epochs=3)
    with pytest.raises(ValueError, match="leave out val_fraction"):
        augmix.train(Net(), data, data, val_fraction=0.5)
    with pytest.raises(ValueError, match="or leave out resized_crop"):
        augmix.train(Net(), data, recipe="finetune", size=16)
    with pytest.raises(RunError, match="are trained on"):
        augmix.train(make_net(), data, data, out=tmp_path / "x", **SETTINGS)
