"""Recipes for a model with weights: what they settle, and that they train what they say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toy_runs import read_weights, toy_config

from augmix import devices
from augmix.augment.policies import AugMix, RandomAA
from augmix.augment.policies.fourier import HybridAugment
from augmix.errors import Interrupted
from augmix.evaluation.models import load_run
from augmix.flags import parse_training
from augmix.methods import METHODS
from augmix.models.start import start_from
from augmix.models.weights import build_model, load_model
from augmix.progress import Note, StepFinished
from augmix.rng import Stream
from augmix.training import recipes
from augmix.training.forecast import forecast_run
from augmix.training.recipes import RECIPES
from augmix.training.run import settle, train
from augmix.training.settings import build_config
from augmix.training.step import decay_of


def write_photos(folder: Path, num_images: int = 6, size: int = 40) -> Path:
    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (folder / name).mkdir(parents=True)
        for number in range(num_images):
            pixels = rng.integers(0, 255, (size, size + 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")
    return folder


def photo_config(folder: Path, recipe: str, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "data": str(folder / "photos"),
        "model": "small",
        "size": 16,
        "epochs": 1,
        "batch_size": 4,
        "device": "cpu",
        "out": folder / recipe,
    }
    return build_config(recipe, **{**settings, **changes})


@pytest.mark.parametrize("recipe", ["finetune", "finetune-head"])
def test_a_recipe_trains_photographs(tmp_path: Path, recipe: str) -> None:
    write_photos(tmp_path / "photos")
    config = photo_config(tmp_path, recipe, precision="fp32")
    notes: list[str] = []
    run = train(config, on_progress=lambda e: notes.append(e.text) if isinstance(e, Note) else None)
    assert load_model(run).config.class_names == ("ant", "bee")
    optimisation = config.optimisation
    assert optimisation.optimizer == "adamw"
    assert optimisation.weight_decay == 0.05
    assert optimisation.weight_decay_on == "weights"
    assert config.data.resized_crop
    assert config.method.label_smoothing == 0.1
    assert config.method.policy.severity is None
    assert any(text.startswith("frozen: ") for text in notes) == (recipe == "finetune-head")


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_takes_the_recipe(method: str) -> None:
    if METHODS[method].needs_stylised:
        pytest.skip("needs stylised images")
    config = build_config("finetune", method=method, data="digits")
    assert config.method.label_smoothing == 0.1
    assert config.method.objective.label_smoothing == 0.1  # type: ignore[attr-defined]


@pytest.mark.parametrize("policy", [AugMix, RandomAA, HybridAugment])
@pytest.mark.parametrize(("size", "usual"), [(32, 3), (64, 3), (96, 1)])
def test_the_severity_goes_by_the_size(policy: Any, size: int, usual: int) -> None:
    plans = [
        policy(severity=severity).sample(
            np.arange(8), num_views=2, size=(size, size), stream=Stream(seed=0)
        )
        for severity in (None, usual, 4 - usual)
    ]
    amounts = [np.concatenate([s.amount.ravel() for s in _stages(plan)]) for plan in plans]
    assert np.array_equal(amounts[0], amounts[1])
    assert not np.array_equal(amounts[0], amounts[2])


def _stages(plan: Any) -> list[Any]:
    return [stage for stage in plan.stages if hasattr(stage, "amount")]


@pytest.mark.parametrize(
    ("kind", "has_fast", "expected"),
    [
        ("cpu", True, ("bf16", "which this CPU computes by AMX")),
        ("cpu", False, ("fp32", "since this cpu has no fast bfloat16")),
        ("mps", True, ("fp32", "since this mps has no fast bfloat16")),
        ("cuda", True, ("bf16", "which this GPU computes by tensor cores")),
        ("cuda", False, ("fp32", "since this GPU (compute capability 7.5) has no fast bfloat16")),
    ],
)
def test_bfloat16_is_taken_where_it_is_fast(
    monkeypatch: pytest.MonkeyPatch, kind: str, has_fast: bool, expected: tuple[str, str]
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_fast, raising=False)
    capability = (9, 0) if has_fast else (7, 5)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert devices.choose_precision(torch.device(kind)) == expected


def test_depthwise_networks_stay_in_float32_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    path = tmp_path / "nets.py"
    path.write_text(
        "from torch import nn\n"
        "def make(groups, n):\n"
        "    layers = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=groups), nn.Conv2d(8, 8, 1)\n"
        "    pool = nn.AdaptiveAvgPool2d(1), nn.Flatten()\n"
        "    return nn.Sequential(*layers, *pool, nn.Linear(8, n))\n"
        "def depthwise(num_classes): return make(8, num_classes)\n"
        "def grouped(num_classes): return make(4, num_classes)\n"
    )
    for name, expected in (("depthwise", "fp32"), ("grouped", "bf16")):
        text = f"python:{path}:{name}"
        config = build_config("finetune", data="digits", model=text, device="cpu")
        assert settle(config).config.optimisation.precision == expected
        module = torch.nn.Sequential(find_module(path, name))
        assert start_from(module).is_depthwise == (name == "depthwise")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert devices.choose_precision(torch.device("cuda"), is_depthwise=True)[0] == "bf16"


def find_module(path: Path, name: str) -> torch.nn.Module:
    found: dict[str, Any] = {}
    exec(path.read_text(), found)
    return found[name](3)


def test_what_was_decided_is_said_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path / "photos")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    config = photo_config(tmp_path, "finetune", interpolation="bicubic")
    assert settle(config).decisions == ("precision: fp32, since this cpu has no fast bfloat16",)
    assert settle(config).config.optimisation.precision == "fp32"
    assert "precision: fp32, since this cpu has no fast bfloat16" in forecast_run(config)
    run = train(config)
    assert load_run(run).interpolation == "bicubic"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    with pytest.raises(Exception, match="precision = 'fp32', this one has 'bf16'"):
        train(config)


def test_the_filter_reaches_the_images(tmp_path: Path) -> None:
    from augmix.training.run import open_split

    write_photos(tmp_path / "photos")
    loaded = {
        name: open_split(photo_config(tmp_path, "finetune", interpolation=name), "train").load(
            np.arange(2)
        )
        for name in (None, "bilinear", "nearest")
    }
    assert np.array_equal(loaded[None], loaded["bilinear"])
    assert not np.array_equal(loaded[None], loaded["nearest"])


def test_a_short_run_is_not_dominated_by_its_start() -> None:
    """The part of the start weights in the average after 5 epochs of 20 steps."""
    decay = RECIPES["finetune"]["ema_decay"]
    assert np.prod([decay_of(step, decay) for step in range(100)]) < 1e-9
    assert np.prod([decay] * 100) > 0.8  # it would be without the warm-up of the decay


def test_arrays_say_how_they_are_trained_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"leave out resized_crop \(--resized-crop no\)"):
        train(toy_config(tmp_path / "run", resized_crop=True, size=16))


def test_fast_whitens_the_training_images_and_resumes(tmp_path: Path) -> None:
    """The fixed layer is that of the images, also after training, in averages and in resume."""
    changes = {"model": "fast", "dropout": None, "batch_size": 10, "epochs": 2, "log_every": 1}
    given = {**changes, "num_views": 1, "ema_decay": 0.9, "channels_last": True, "device": "cpu"}
    whole = train(toy_config(tmp_path / "whole", **given))
    with np.load(tmp_path / "toy.npz") as data:
        images = torch.from_numpy(data["x_train"]).permute(0, 3, 1, 2) / 255
    network = build_model("fast", num_classes=3)
    network.fit_images(images)
    trained = load_model(whole).state_dict()
    torch.testing.assert_close(
        trained["whitening.weight"], network.state_dict()["whitening.weight"]
    )
    assert bool(trained["whitening.is_fitted"])

    def stop(event: object) -> None:
        if isinstance(event, StepFinished) and event.step == 3:
            raise Interrupted("stopped")

    config = toy_config(tmp_path / "again", checkpoint_every=1, **given)
    with pytest.raises(Interrupted):
        train(config, on_progress=stop)
    assert read_weights(train(config)) == read_weights(whole)


def test_the_recipe_fast_is_for_any_method() -> None:
    config = build_config("fast", data="digits")
    assert (config.network.model, config.method.num_passed) == ("fast", 2)
    assert config.optimisation.precision == "auto"
    assert build_config("fast", data="digits", num_views=2).method.num_passed == 3
    assert build_config("fast", method="hybridaugment-pp", data="digits").network.model == "fast"


def test_the_recipe_robust_costs_what_the_recipe_of_the_paper_does() -> None:
    own, paper = (build_config(name, data="digits") for name in ("robust", "cifar"))
    assert str(own.method) == "augmix+prime"
    passes = [each.method.num_passed * each.optimisation.epochs for each in (own, paper)]
    assert passes == [300, 300]


def test_the_command_takes_the_method_of_a_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"method": "augmix+apr-sp", "apr_sp_form": "s", "num_views": 1, "epochs": 3}
    monkeypatch.setattr(recipes, "RECIPES", {**RECIPES, "own": own})
    config, _ = parse_training(["--recipe", "own", "--data", "digits"])
    assert config == build_config("own", data="digits")
    assert (str(config.method), config.method.num_passed) == ("augmix+apr-sp", 2)
    words = ["--recipe", "own", "--data", "digits", "--method", "prime"]
    config, _ = parse_training(words)
    assert (str(config.method), config.optimisation.epochs) == ("prime", 3)
