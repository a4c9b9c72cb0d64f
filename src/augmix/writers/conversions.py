"""A data set turned into its -C or -P form: settings of `augmix corrupt` and `augmix perturb`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from augmix.data.folders import open_photographs
from augmix.data.sources import Source, name_source, open_source, take
from augmix.writers.writing import OnProgress, write_corrupted, write_perturbed


@dataclass(frozen=True, kw_only=True, slots=True)
class CorruptConfig:
    """The -C form of a data set: every image under every corruption at every severity."""

    src: str
    """Folder or file of the images, or the word digits."""
    dst: Path
    """Folder of the set to write; an unfinished one of the same settings is continued."""
    source: Literal["auto", "digits", "cifar10", "cifar100", "folder", "parquet", "npz"] = "auto"
    """Kind of the images; auto takes digits, npz and parquet by name, all else for a folder."""
    split: str = "test"
    """Part of the images: train, test or val."""
    size: int = 0
    """Side of the images in pixels; 0 keeps the stored size; a folder is brought to 224 (299 for
    imagenet-299)."""
    max_images: int = 0
    """Write a fixed random part of the images; 0 takes all."""
    on_error: Literal["raise", "skip"] = "raise"
    """What a broken image does: stop the writing, or be left out."""
    names: tuple[str, ...] = ("all-19",)
    """Corruptions, or paper-15, extra-4, all-19."""
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Severities, 1..5; the layout cifar needs all."""
    preset: Literal["auto", "cifar", "tiny", "imagenet", "imagenet-299"] = "auto"
    """Strength table; auto goes by image size."""
    seed: int = 0
    """Seed of the draws."""
    layout: Literal["auto", "cifar", "imagenet"] = "auto"
    """Arrays (cifar) or JPEG files (imagenet); auto takes files for image folders."""
    jpeg_quality: int = 85
    """Quality of JPEG files, 1..100; the published sets have 85."""
    frost_textures: str = ""
    """Folder of the published frost photographs; empty takes the textures the package draws."""
    num_processes: int = 0
    """Processes that work; 0 takes every processor. They do not change a byte."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PerturbConfig:
    """The -P form of a data set: the perturbation sequences of every image."""

    src: str
    """Folder or file of the images, or the word digits."""
    dst: Path
    """Folder of the set to write; an unfinished one of the same settings is continued."""
    source: Literal["auto", "digits", "cifar10", "cifar100", "folder", "parquet", "npz"] = "auto"
    """Kind of the images; auto takes digits, npz and parquet by name, all else for a folder."""
    split: str = "test"
    """Part of the images: train, test or val."""
    size: int = 0
    """Side of the images in pixels. 0 keeps the stored size; images of a folder are then prepared
    as the published scripts do: at 224 pixels out of 256, at 64, or at 299."""
    max_images: int = 0
    """Write a fixed random part of the images; 0 takes all. Not for a folder of size 0."""
    on_error: Literal["raise", "skip"] = "raise"
    """What a broken image does: stop the writing, or be left out. Not for a folder of size 0."""
    names: tuple[str, ...] = ("standard-10",)
    """Perturbations, or the lists standard-10, cifar-script-10, extra-4, all-14."""
    preset: Literal["auto", "cifar", "tiny", "imagenet", "imagenet-299"] = "auto"
    """Table of the parameters; auto goes by image size (a folder of size 0: imagenet)."""
    seed: int = 0
    """Seed of the draws."""
    difficulty: Literal[1, 2, 3] = 1
    """How strong noise is."""
    layout: Literal["auto", "cifar", "imagenet"] = "auto"
    """Arrays (cifar) or folders of JPEG frames (imagenet); auto takes files for image folders."""
    jpeg_quality: int = 85
    """Quality of JPEG files, 1..100."""
    num_processes: int = 0
    """Processes that work; 0 takes every processor. They do not change a byte."""


def corrupt_source(config: CorruptConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Write the -C form of a data set; see `writing.write_corrupted`.

    Returns:
        The set's folder.
    """
    kind = name_source(config.src) if config.source == "auto" else config.source
    return write_corrupted(
        _open(config, kind),
        config.dst,
        names=config.names,
        severities=config.severities,
        preset=config.preset,
        seed=config.seed,
        layout=_layout(config.layout, kind),
        num_processes=config.num_processes,
        jpeg_quality=config.jpeg_quality,
        frost_textures=config.frost_textures or None,
        on_progress=on_progress,
    )


def perturb_source(config: PerturbConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Write the -P form of a data set; see `writing.write_perturbed`.

    Returns:
        The set's folder.

    Raises:
        ValueError: If a setting does not go with a folder of images of any size.
    """
    kind = name_source(config.src) if config.source == "auto" else config.source
    layout, preset = _layout(config.layout, kind), config.preset
    if kind == "folder" and not config.size:
        if config.max_images or config.on_error == "skip":
            raise ValueError("max_images and on_error='skip' need a size for a folder of images")
        source = open_photographs(Path(config.src).expanduser(), split=config.split)
        preset = "imagenet" if preset == "auto" else preset
    else:
        source = _open(config, kind)
    return write_perturbed(
        source,
        config.dst,
        names=config.names,
        preset=preset,
        seed=config.seed,
        difficulty=config.difficulty,
        layout=layout,
        num_processes=config.num_processes,
        jpeg_quality=config.jpeg_quality,
        on_progress=on_progress,
    )


def _layout(
    layout: Literal["auto", "cifar", "imagenet"], kind: str
) -> Literal["cifar", "imagenet"]:
    if layout != "auto":
        return layout
    return "imagenet" if kind == "folder" else "cifar"


def _open(config: CorruptConfig | PerturbConfig, kind: str) -> Source:
    usual = 299 if config.preset == "imagenet-299" else 224
    size = config.size or (usual if kind == "folder" else 0)
    source = open_source(
        kind,
        root=None if kind == "digits" else config.src,
        split=config.split,
        size=size,
        on_error=config.on_error,
    )
    return take(source, config.max_images) if config.max_images else source
