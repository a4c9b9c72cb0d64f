"""Written sets: the settings of `augmix corrupt` and `augmix perturb`; `sets` writes them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from augmix.data import Reading
from augmix.errors import check_fields, check_positive, check_shard, check_textures

Layout = Literal["cifar", "imagenet"]
LayoutChoice = Literal["auto", "cifar", "imagenet"]
Preset = Literal["auto", "cifar", "tiny", "imagenet", "imagenet-299"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Options:
    """What both forms of a set have in common."""

    preset: Preset | Path = "auto"
    """Severity table: a published one; auto, by the size of the images; or the file of another one,
    as augmix calibrate-severity writes it."""
    seed: int = 0
    """Seed of the draws."""
    layout: LayoutChoice = "auto"
    """Arrays (cifar) or JPEG files (imagenet); auto takes files for a folder, tar or imagenet."""
    labels: Literal["move", "keep"] | None = None
    """Labels of a COCO, YOLO or Cityscapes tree: move boxes, polygons and masks with the pixels
    where these are displaced (move, the default), or copy all files of labels, the protocol of
    Michaelis et al. (2019) for COCO-C and Cityscapes-C (keep)."""
    jpeg_quality: int = 85
    """Quality of JPEG files, 1..100; the published -C sets have 85."""
    num_processes: int | None = None
    """Number of processes, which does not change a byte; by default one for every processor."""
    manifest: Path | None = None
    """Folder that gets list.csv, a row for every image, to fill in with the predictions of another
    program (augmix evaluate --predictions), and the clean images as PNG files."""
    verify: bool = False
    """Compare what an earlier call wrote with its checksums, not only with its sizes; files that
    are damaged are written again."""
    shard: str | None = None
    """i/n: this is one of n jobs that write the set together, into one folder that all of them see;
    their number does not change a byte. Processes of torchrun are shards by themselves."""
    dry_run: bool = False
    """Say how many files and bytes the set has and how long it takes, from a few images, and write
    nothing."""

    def __post_init__(self) -> None:
        check_positive(self, "num_processes")
        if self.shard is not None:
            check_shard(self.shard)
        check_fields(
            self,
            labels=(self.labels in (None, "move", "keep"), "move or keep"),
            layout=(self.layout in get_args(LayoutChoice), "auto, cifar or imagenet"),
            jpeg_quality=(1 <= self.jpeg_quality <= 100, "1..100"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CorruptOptions(_Options):
    """How images are corrupted and written."""

    names: tuple[str, ...] = ("paper-15", "extra-4")
    """Corruptions, paper-15, extra-4, cifar-bar, imagenet-bar, or your own as
    python:FILE:FUNCTION."""
    severities: tuple[int | float, ...] = (1, 2, 3, 4, 5)
    """Severities, 1..5, for files also between two of them, e.g. 2.5; the layout cifar needs all
    five and no other."""
    value_folders: bool = False
    """Name the folders of severities by their value with two decimals, e.g. 4.75, as the script of
    ImageNet-C-bar does; by default 1 to 5."""
    frost_textures: Path | None = None
    """Folder of the published frost photographs; by default the textures that the package draws."""

    def __post_init__(self) -> None:
        wrong = [each for each in self.severities if not 1 <= each <= 5]
        if wrong or len(set(self.severities)) < len(self.severities) or not self.severities:
            raise ValueError(
                f"severities must be some of 1..5, each once, got {list(self.severities)}"
            )
        _Options.__post_init__(self)

    def check_names(self, names: Sequence[str]) -> None:
        """Refuse settings of other corruptions than those of some names, by a ValueError."""
        check_textures(self.frost_textures, names)


@dataclass(frozen=True, kw_only=True, slots=True)
class PerturbOptions(_Options):
    """How sequences are made and written."""

    names: tuple[str, ...] = ("standard-10",)
    """Perturbations, standard-10, cifar-script-10, extra-4, or your own as python:FILE:FUNCTION."""
    preset: Preset = "auto"
    """Table of the parameters; auto goes by image size (imagenet for a folder without size)."""
    difficulty: Literal[1, 2, 3] = 1
    """How strong noise is."""

    def __post_init__(self) -> None:
        check_fields(self, difficulty=(self.difficulty in (1, 2, 3), "1, 2 or 3"))
        _Options.__post_init__(self)

    def check_names(self, names: Sequence[str], noises: Sequence[str]) -> None:
        """Refuse settings of noise, by a ValueError, where none is among some names."""
        if self.difficulty > 1 and not noises:
            raise ValueError(
                f"difficulty {self.difficulty} would have no effect: it is how strong noise is, "
                f"and none is among {', '.join(names)}"
            )


@dataclass(frozen=True, kw_only=True)
class _Paths:
    """Where a set comes from, and where it is written. No slots, as options are inherited too."""

    src: str
    """Folder or file of the images, or the word digits. A folder in the layout of COCO, YOLO or
    Cityscapes is written with its boxes, polygons and masks."""
    dst: Path
    """Folder of the set to write; an unfinished one of the same settings is continued."""
    source: str | None = None
    """Kind of the images, as in augmix train, or coco, yolo or cityscapes; by default by the name
    of SRC, e.g. its ending, and by the files in it."""
    split: str = "test"
    """Part of the images: train, test or val."""
    max_images: int | None = None
    """Write a fixed random part of the images; by default all."""
    reading: Reading = field(default_factory=Reading)
    """How image files are read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorruptConfig(CorruptOptions, _Paths):
    """The -C form of a data set: every image under every corruption at every severity."""

    size: int | None = None
    """Height and width of the images in pixels; by default as stored, or 224 (299 for the preset
    imagenet-299) for a folder, tar or imagenet."""

    def __post_init__(self) -> None:
        check_positive(self, "max_images")
        CorruptOptions.__post_init__(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class PerturbConfig(PerturbOptions, _Paths):
    """The -P form of a data set: the perturbation sequences of every image."""

    size: int | None = None
    """Height and width of the images in pixels. By default as stored; those of a folder, tar or
    imagenet, and of a parquet with one of the presets tiny, imagenet and imagenet-299, are prepared
    as the published scripts do: at 224 pixels out of 256, at 64, or at 299."""

    def __post_init__(self) -> None:
        check_positive(self, "max_images")
        PerturbOptions.__post_init__(self)
