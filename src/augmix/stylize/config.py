"""The settings of `augmix stylize` and `augmix stylize fit`."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["auto", "digits", "cifar10", "cifar100", "folder", "parquet", "npz"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StylizeConfig:
    """A stylised copy of a data set."""

    src: str
    """Folder or file of the images, or the word digits."""
    dst: Path
    """Folder of the set to write; an unfinished one of the same settings is continued."""
    styles: str = ""
    """Folder of the style pictures, e.g. paintings."""
    decoder: str = ""
    """What paints: a file of augmix stylize fit, or the published decoder.pth."""
    encoder: str = ""
    """What sees: vgg_normalised.pth for the published decoder; a fitted one names its own."""
    alpha: float = 1.0
    """Share of the style, 0..1; Stylized-ImageNet has 1."""
    source: Kind = "auto"
    """Kind of the images; auto takes digits, npz and parquet by name, all else for a folder."""
    split: str = "train"
    """Part of the images: train, test or val."""
    size: int = 0
    """Side of the images in pixels; 0 keeps the stored size; a folder is brought to 224."""
    max_images: int = 0
    """Write a fixed random part of the images; 0 takes all."""
    on_error: Literal["raise", "skip"] = "raise"
    """What a broken image or style picture does: stop the writing, or be left out."""
    scale: int = 0
    """Whole number of times that small images are enlarged, and the result averaged back; 0 takes
    the smallest that reaches 128 pixels for VGG, or the size a decoder was fitted at."""
    style_size: int = 0
    """Side in pixels of the style pictures, cut square; 0 takes that of the images as enlarged, at
    least 96."""
    layout: Literal["auto", "folder", "npz"] = "auto"
    """PNG files in class folders, or one archive; auto takes files for image folders."""
    seed: int = 0
    """Seed of which style an image gets."""
    batch_size: int = 16
    """Images painted at a time."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the networks."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where they compute."""
    num_threads: int = 0
    """CPU threads of torch; 0 leaves torch's own choice."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be 0..1, got {self.alpha}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        for name in ("size", "max_images", "scale", "style_size", "num_threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """A decoder for an encoder, learned from content images and style pictures."""

    src: str
    """Folder or file of the content images, or the word digits."""
    styles: str = ""
    """Folder of the style pictures, e.g. paintings."""
    encoder: str = ""
    """What sees: a folder of augmix train, vgg_normalised.pth, or python:module:function."""
    out: Path = Path("decoder.safetensors")
    """The decoder to write; beside it go NAME.json and the folder NAME.fit with log and state."""
    stages: tuple[str, ...] = ()
    """Modules of the encoder whose means and deviations are compared, shallow to deep; by default
    the last one at each size down to a quarter of the image's. Deep ones give coarser strokes."""
    restyled: str = ""
    """The one of them whose features are restyled and painted from. By default the deepest that
    keeps at least half of the image's size, of VGG the last. A shallow one keeps the content."""
    source: Kind = "auto"
    """Kind of the images; auto takes digits, npz and parquet by name, all else for a folder."""
    split: str = "train"
    """Part of the images: train, test or val."""
    size: int = 0
    """Side of the images in pixels; 0 keeps the stored size; a folder is brought to 224."""
    max_images: int = 0
    """Fit on a fixed random part of the images; 0 takes all."""
    on_error: Literal["raise", "skip"] = "raise"
    """What a broken image or style picture does: stop the fit, or be left out."""
    crop: int = 0
    """Side of random squares that are cut out of images and pictures; 0 takes them whole."""
    scale: int = 0
    """Whole number of times that images are enlarged; 0 enlarges for VGG alone, to 128 pixels."""
    style_size: int = 0
    """Side in pixels of the style pictures, cut square; 0 takes that of the images as enlarged, at
    least 96."""
    depth: int = 2
    """Convolutions of the decoder at each size; VGG has its own decoder."""
    steps: int = 2000
    """Steps of Adam."""
    batch_size: int = 8
    """Images in a step."""
    learning_rate: float = 1e-3
    """Where the learning rate starts; it falls by a cosine."""
    content_weight: float = 1.0
    """Weight of the distance to the restyled features."""
    style_weight: float = 10.0
    """Weight of the distance to the style's means and deviations at every stage."""
    identity_weight: float = 50.0
    """Weight of the distance to the image itself where nothing was restyled."""
    seed: int = 0
    """Seed of the start weights and of every draw."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the networks."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where they compute."""
    num_threads: int = 0
    """CPU threads of torch; 0 leaves torch's own choice."""
    checkpoint_every: int = 100
    """Steps between checkpoints."""
    log_every: int = 20
    """Steps between lines of the log."""

    def __post_init__(self) -> None:
        for name in ("depth", "steps", "batch_size", "checkpoint_every", "log_every"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        for name in ("crop", "scale", "size", "style_size", "max_images", "num_threads"):
            _require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
        rate = self.learning_rate
        _require(0 < rate < math.inf, "learning_rate", "a finite number above 0", rate)
        for name in ("content_weight", "style_weight", "identity_weight"):
            weight = getattr(self, name)
            _require(0 <= weight < math.inf, name, "a finite number from 0", weight)
        if self.out.suffix != ".safetensors":
            raise ValueError(f"out must be a file NAME.safetensors, got {self.out}")


def _require(is_met: bool, name: str, expected: str, got: Any) -> None:
    if not is_met:
        raise ValueError(f"{name} must be {expected}, got {got!r}")
