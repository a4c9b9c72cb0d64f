"""Every method teaches a small network the digits, in seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from augmix.data.sources import Source, open_source
from augmix.methods.attacks import Attack, resists
from augmix.methods.registry import METHODS
from augmix.models.weights import load_model
from augmix.rng import Stream
from augmix.training.run import train
from augmix.training.settings import build_config

QUICK = ("mixup",)
SIDE = 16


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits() -> Source:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    return open_source("digits", split="test", size=SIDE)


def learn(folder: Path, method: str, **changes: Any) -> Path:
    settings: dict[str, Any] = {
        "source": "digits",
        "size": SIDE,
        "max_train_images": 600,
        "model": "small",
        "epochs": 5,
        "batch_size": 50,
        "schedule": "one-cycle",
        "device": "cpu",
        "checkpoint_every": 1000,
    }
    return train(build_config(method=method, out=folder / method, **{**settings, **changes}))


def options(method: str, folder: Path) -> dict[str, Any]:
    """What a method needs besides its name."""
    if method == "adversarial":
        return {"attack_epsilon": 0.1, "attack_steps": 2}
    if method == "maxblur":
        return {"blur_size": 3}
    if METHODS[method].needs_stylised:  # inverted digits stand for paintings
        source = open_source("digits", split="train", size=SIDE)
        images = 255 - source.load(np.arange(len(source)))
        np.savez(
            folder / "styled.npz",
            images=images,
            labels=source.labels,
            class_names=np.array(source.class_names),
        )
        return {"stylised": str(folder / "styled.npz")}
    return {}


def error(run: Path, digits: Source) -> float:
    model = load_model(run).eval()
    with torch.no_grad():
        predicted = model(as_tensor(digits)).argmax(dim=1).numpy()
    return float((predicted != digits.labels).mean())


def as_tensor(digits: Source) -> torch.Tensor:
    images = digits.load(np.arange(len(digits))).transpose(0, 3, 1, 2)
    return torch.from_numpy(images / np.float32(255))


@pytest.mark.parametrize(
    "method",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in METHODS],
)
def test_it_learns(method: str, digits: Source, tmp_path: Path) -> None:
    """Guessing is wrong 90 times of 100."""
    run = learn(tmp_path, method, **options(method, tmp_path))
    assert error(run, digits) < (0.4 if method == "adversarial" else 0.2)


@pytest.mark.slow
def test_mixup_and_consistency_together(digits: Source, tmp_path: Path) -> None:
    run = learn(tmp_path, "augmix+mixup+cutout", cutout_size_px=4)
    assert error(run, digits) < 0.25


@pytest.mark.slow
def test_attack_training_resists_attacks(digits: Source, tmp_path: Path) -> None:
    attack = Attack(epsilon=0.1, num_steps=5)
    labels, ids = torch.from_numpy(digits.labels[:200]), np.arange(200)
    images = as_tensor(digits)[:200]
    shares = {}
    for method in ("standard", "adversarial"):
        run = learn(tmp_path, method, **options(method, tmp_path))
        model = load_model(run).eval()
        right = resists(model, images, labels, ids, attack=attack, stream=Stream(seed=0))
        shares[method] = float(right.float().mean())
    assert shares["adversarial"] > shares["standard"] + 0.15
