"""Real networks of timm, torchvision and transformers: depth, head, frozen parts, resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
from real_models import import_timm, write_code, write_vit
from toy_runs import read_weights, toy_config

from augmix.errors import RunError
from augmix.models.depth import find_head, group_layers
from augmix.models.layers import Classifier
from augmix.models.start import build_start, find_start
from augmix.models.weights import load_model
from augmix.progress import StepFinished
from augmix.training.run import settle, train
from augmix.training.step import checkpoint_gradients

HEADS = {
    "tv_resnet": "fc",
    "tv_convnext": "classifier.2",
    "tv_vit": "heads.head",
    "tv_swin": "head",
}
GROUPS = {  # stem, blocks, head
    "resnet": 1 + 4 + 1,
    "convnext": 1 + 5 + 1,
    "vit": 1 + 3 + 1,
    "swin": 1 + 4 + 1,
    "tv_resnet": 1 + 5 + 1,
    "tv_convnext": 1 + 2 + 1 + 2 + 1,  # what halves the maps is a block of its own
    "tv_vit": 1 + 3 + 1,
    "tv_swin": 1 + 2 + 1 + 2 + 1,
}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> str:
    import_timm()
    return write_code(tmp_path_factory.mktemp("code"))


@pytest.fixture(scope="module")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_vit(tmp_path_factory.mktemp("vit"))


def build(text: str, num_classes: int = 3, head: str = "") -> Classifier:
    start = find_start(text)
    torch.manual_seed(0)
    return build_start(start, num_classes=num_classes, channels=3, class_names=(), head=head)[0]


def check_groups(model: Classifier, count: int) -> None:
    groups = group_layers(model)
    assert len(groups) == count
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    (head,) = find_head(model)
    assert f"{head}.weight" in groups[-1]
    assert model.get_submodule(head).weight.shape[0] == 3


@pytest.mark.parametrize("name", GROUPS)
def test_layers_are_ordered_by_depth(code: str, name: str) -> None:
    model = build(f"{code}{name}", head=HEADS.get(name, ""))
    check_groups(model, GROUPS[name])
    assert model(torch.rand(2, 3, 16, 16)).shape == (2, 3)


def test_groups_of_timm_are_those_of_its_own_layer_decay(code: str) -> None:
    from timm.optim import param_groups_layer_decay

    from augmix.training.config import OptimisationConfig
    from augmix.training.optimizer import build_optimizer

    model = build(f"{code}vit")
    theirs = param_groups_layer_decay(model.network, 0.1, layer_decay=0.7)
    scales = {id(each): group["lr_scale"] for group in theirs for each in group["params"]}
    found = build_optimizer(model, OptimisationConfig(layer_decay=0.7), torch.device("cpu"))
    assert len({group["lr_scale"] for group in found.param_groups}) == 5
    for group in found.param_groups:
        for each in group["params"]:
            assert group["lr_scale"] == pytest.approx(scales[id(each)])


def test_a_folder_of_transformers_is_a_start(vit_folder: str) -> None:
    model = build(vit_folder)
    check_groups(model, 1 + 3 + 1)
    same = build(vit_folder, num_classes=5)
    check = {
        name: torch.equal(value, same.state_dict()[name])
        for name, value in model.state_dict().items()
        if "classifier" not in name
    }
    assert all(check.values())
    assert find_head(build(vit_folder, head="classifier")) == ("network.model.classifier",)


EVERYTHING: dict[str, Any] = {
    "dropout": None,
    "epochs": 1,
    "batch_size": 8,
    "executor": "compiled",
    "checkpoint_every": 1,
    "optimizer": "adamw",
    "layer_decay": 0.8,
    "head_lr_scale": 3.0,
    "freeze": 2,
    "ema_decay": 0.9,
}


def check_resume(folder: Path, text: str, **changes: Any) -> Classifier:
    def stop(event: Any) -> None:
        if isinstance(event, StepFinished) and event.step == 1:
            raise ZeroDivisionError

    settings = {**EVERYTHING, "model": text, **changes}
    whole = train(toy_config(folder / "whole", **settings))
    config = toy_config(folder / "run", **settings)
    with pytest.raises(ZeroDivisionError):
        train(config, on_progress=stop)
    train(config)
    assert read_weights(config.run.out) == read_weights(whole)
    return load_model(whole)


@pytest.mark.parametrize("name", GROUPS)
def test_a_stopped_run_ends_with_the_same_bits(tmp_path: Path, code: str, name: str) -> None:
    model = check_resume(tmp_path, f"{code}{name}", head=HEADS.get(name))
    before = build(f"{code}{name}", head=HEADS.get(name, ""))
    assert model.config.num_classes == 3
    frozen = [each for group in group_layers(before)[:2] for each in group]
    assert frozen
    assert set(frozen) < set(dict(model.named_parameters()))


def test_a_run_of_transformers(tmp_path: Path, vit_folder: str) -> None:
    trained = check_resume(tmp_path, vit_folder, gradient_checkpointing=True).state_dict()
    start = build(vit_folder)
    names = [name for group in group_layers(start)[:2] for name in group]
    assert all(torch.equal(trained[name], start.state_dict()[name]) for name in names)
    found = settle(toy_config(tmp_path / "x", model=vit_folder, dropout=None))
    assert (found.config.data.size, found.config.data.interpolation) == (16, "bicubic")
    assert found.decisions == (
        f"size: 16, as {vit_folder} takes",
        f"interpolation: bicubic, as {vit_folder} takes",
    )


def test_gradient_checkpointing_changes_no_gradient(tmp_path: Path, code: str) -> None:
    runs = [
        train(
            toy_config(
                tmp_path / f"{is_on}",
                **{**EVERYTHING, "gradient_checkpointing": is_on},
                model=f"{code}vit",
            )
        )
        for is_on in (False, True)
    ]
    kept, recomputed = (load_model(run).state_dict() for run in runs)
    for name, value in kept.items():
        torch.testing.assert_close(value, recomputed[name])


def test_a_timm_that_would_lose_gradients_is_refused(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(f"{code}vit")
    monkeypatch.delattr(import_timm().models, "checkpoint")
    with pytest.raises(RunError, match=r"needs timm 1\.0\.13 or newer.*'timm>=1\.0\.13'"):
        checkpoint_gradients(model)
