"""Style transfer by adaptive instance normalisation: the settings of `augmix stylize`."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from augmix.data import Reading
from augmix.errors import check_fields, check_positive, check_shard

Precision = Literal["fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Config:
    """Settings that writing and fitting share."""

    src: str
    """Folder or file of the content images, or the word digits."""
    styles: str = ""
    """Folder of the style images, e.g. paintings."""
    source: str | None = None
    """Kind of the images (digits, cifar10, cifar100, folder, parquet, npz, tar, imagenet); by
    default seen from the file's ending, else folder."""
    split: str = "train"
    """Split of the images: train, test or val."""
    size: int | None = None
    """Height and width of the images in pixels; by default as stored, 224 for a folder."""
    max_images: int | None = None
    """Take a fixed random subset of this many images; by default all."""
    scale: int | None = None
    """Whole factor by which small images are enlarged, and averaged back when written; by default
    the smallest that reaches 128 pixels for VGG, or the size a decoder was fitted at."""
    style_size: int | None = None
    """Height and width of the style images in pixels, cut square; by default those of the enlarged
    images, at least 96."""
    seed: int = 0
    """Seed of the choice of styles, and of crops and start weights of a fit."""
    precision: Precision = "fp32"
    """Arithmetic of the networks."""
    device: Device = "auto"
    """Device of the networks."""
    num_threads: int | None = None
    """CPU threads of torch; by default torch's own choice."""
    reading: Reading = field(default_factory=Reading)
    """How images and style images are read."""

    def __post_init__(self) -> None:
        check_positive(self, "size", "max_images", "scale", "style_size", "num_threads")


@dataclass(frozen=True, kw_only=True, slots=True)
class StylizeConfig(_Config):
    """Write a stylised copy of a data set."""

    dst: Path
    """Folder of the set to write; an unfinished one of the same settings is continued."""
    decoder: str = ""
    """Weights of the decoder: a file of augmix stylize fit, or the published decoder.pth."""
    encoder: str | None = None
    """Weights of the encoder: vgg_normalised.pth for the published decoder; a decoder of augmix
    stylize fit names its own."""
    alpha: float = 1.0
    """Strength of the style, 0..1; Stylized-ImageNet has 1."""
    layout: Literal["auto", "folder", "npz"] = "auto"
    """PNG files in class folders, or one archive; auto writes files for image files."""
    batch_size: int = 16
    """Images per forward pass."""
    verify: bool = False
    """Compare what an earlier call wrote with its checksums, not only with its sizes; files that
    are damaged are written again."""
    shard: str | None = None
    """i/n: this is one of n jobs that write the set together, into one folder that all of them see;
    their number does not change a byte. Processes of torchrun are shards by themselves."""
    dry_run: bool = False
    """Say how many files and bytes the set has and how long it takes, from a few batches, and write
    nothing."""

    def __post_init__(self) -> None:
        _Config.__post_init__(self)
        if self.shard is not None:
            check_shard(self.shard)
        check_fields(self, alpha=(0 <= self.alpha <= 1, "0..1"))
        check_positive(self, "batch_size")


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig(_Config):
    """Train a decoder for an encoder, on content images and style images."""

    encoder: str = ""
    """The encoder: a folder of augmix train, vgg_normalised.pth, or python:MODULE:FUNCTION."""
    out: Path = Path("decoder.safetensors")
    """The decoder to write; NAME.json and the folder NAME.fit with log and state lie beside it."""
    stages: tuple[str, ...] = ()
    """Modules of the encoder whose channel means and stds are compared, shallow to deep; by default
    the last one at each size down to a quarter of the image's. Deep ones give coarser strokes."""
    restyled: str | None = None
    """The stage whose features are restyled and decoded. By default the deepest that keeps at least
    half of the image's size, for VGG the last. A shallow one keeps more of the content."""
    crop: int | None = None
    """Size of random square crops of images and style images; by default they are not cropped."""
    depth: int = 2
    """Convolutions of the decoder at each size; VGG has its own decoder."""
    steps: int = 2000
    """Steps of Adam."""
    batch_size: int = 8
    """Images in a step."""
    learning_rate: float = 1e-3
    """Learning rate at the start; it falls by a cosine."""
    content_weight: float = 1.0
    """Weight of the distance to the restyled features."""
    style_weight: float = 10.0
    """Weight of the distance to the means and stds of the style at every stage."""
    identity_weight: float = 50.0
    """Weight of the distance to the image itself if nothing was restyled."""
    checkpoint_every: int = 100
    """Steps between checkpoints."""
    log_every: int = 20
    """Steps between lines of the log."""

    def __post_init__(self) -> None:
        _Config.__post_init__(self)
        check_positive(self, "crop", "depth", "steps", "batch_size")
        check_positive(self, "checkpoint_every", "log_every")
        is_rate = 0 < self.learning_rate < math.inf
        check_fields(self, learning_rate=(is_rate, "a finite number above 0"))
        for name in ("content_weight", "style_weight", "identity_weight"):
            is_weight = 0 <= getattr(self, name) < math.inf
            check_fields(self, **{name: (is_weight, "a finite number from 0")})
        if self.out.suffix != ".safetensors":
            raise ValueError(f"out must be a file NAME.safetensors, got {self.out}")
