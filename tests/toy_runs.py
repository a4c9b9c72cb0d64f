"""A toy run that takes milliseconds: 20 images of 16x16 pixels, 3 steps an epoch."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from augmix.training.config import TrainConfig
from augmix.training.settings import build_config

STEPS_PER_EPOCH = 3
RICH: dict[str, Any] = {  # a run that keeps all that a run can keep
    "val_fraction": 0.3,  # of 20 images, so an epoch has 2 steps
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "layer_decay": 0.8,
    "freeze": 2,  # with batch norms
    "split_batch_norm": True,
    "ema_decay": 0.9,
    "checkpoint_every": 3,
    "logger": ("none",),
}


def write_npz(path: Path, *, num_images: int = 20, num_classes: int = 3, seed: int = 0) -> Path:
    """Random images whose brightness tells the class, others for training than for the test."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_images) % num_classes
    arrays: dict[str, np.ndarray] = {}
    for split in ("train", "test"):
        images = rng.integers(0, 120, (num_images, 16, 16, 3)) + 60 * labels[:, None, None, None]
        arrays |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels.astype(np.int64)}
    np.savez(path, **arrays)
    return path


def toy_config(folder: Path, **changes: Any) -> TrainConfig:
    """A run of 9 steps with dropout; the data lies beside the run folder."""
    data = folder.parent / "toy.npz"
    if not data.exists():
        write_npz(data)
    settings: dict[str, Any] = {
        "source": "npz",
        "data": str(data),
        "model": "small",
        "method": "augmix",
        "out": folder,
        "epochs": 3,
        "batch_size": 8,
        "dropout": 0.3,
        "crop_padding": 1,
        "flip": True,
        "executor": "pillow",
        "device": "cpu",
        "log_every": 2,
        "checkpoint_every": 4,
    }
    return build_config(**{**settings, **changes})


def replace_flags(words: list[str], flags: list[str]) -> list[str]:
    """The words of a command with these flags, in place of those of the same names."""
    names = {flag for flag in flags if flag.startswith("--")}
    kept: list[str] = []
    is_replaced = False
    for word in words:
        is_replaced = word in names or (is_replaced and not word.startswith("--"))
        kept += [] if is_replaced else [word]
    return [*kept, *flags]


def load_config(folder: Path) -> TrainConfig:
    """The run that `config.json` of a run folder describes."""
    flat = json.loads((folder / "config.json").read_text())
    assert flat.pop("schema") == 2
    if flat["on_error"] == "raise":  # what None stood for
        del flat["on_error"]
    return build_config(**{**flat, "out": folder})


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The log without what the machine decides."""
    times = ("images_per_second", "wait_fraction", "peak_memory_mib", "seconds")
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for line in lines:
        for name in ("seconds", "time_fraction"):
            line.get("validation", {}).pop(name, None)
    return [{k: v for k, v in line.items() if k not in times} for line in lines]


def read_weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()
