"""`augmix preview`: pictures of the views of a method, or of every corruption."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from augmix.commands.terminal import parse


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewConfig:
    """What the picture shows."""

    source: str = "digits"
    """Where the images come from: digits, cifar10, cifar100, folder, parquet or npz."""
    root: str = ""
    """Folder or file of the source; digits needs none."""
    size: int = 0
    """Side in pixels the images are brought to; 0 keeps them as stored."""
    num_images: int = 3
    """Realisations to draw, each of another image."""
    first: int = 0
    """Index of the first image."""
    method: str = "augmix"
    """Whose views are drawn, e.g. augmix, cutout, cutmix, autoaugment; see augmix train."""
    seed: int = 0
    """Seed of the draws."""
    severity: int = 3
    """Largest level of an operation, 1..10."""
    width: int = 3
    """Chains that are mixed."""
    depth: int | None = None
    """Operations in a chain; None draws 1, 2 or 3."""
    alpha: float = 1.0
    """Concentration of the mixing weights."""
    ops: Literal["paper", "all"] = "paper"
    """The paper's 9 operations, or all 13."""
    out: Path = Path("preview.png")
    """The picture to write; with --corruptions a folder, whose name loses the ending .png."""
    corruptions: bool = False
    """Show the damage to image FIRST instead: OUT/corruptions.png has every corruption at five
    severities, OUT/perturbations.png strips of every sequence, OUT/perturbations/NAME.webp the
    animation of each. The other flags of AugMix are not used."""
    preset: Literal["auto", "cifar", "tiny", "imagenet"] = "auto"
    """Strength table of the corruptions; auto goes by image size."""


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    config = parse(PreviewConfig, "preview", words)
    import numpy as np

    from augmix import preview
    from augmix.augment.policies import AugMix
    from augmix.data.sources import open_source
    from augmix.methods.registry import Options, build_method
    from augmix.rng import Stream

    source = open_source(config.source, root=config.root or None, split="test", size=config.size)
    if config.num_images < 1 or not 0 <= config.first <= len(source) - config.num_images:
        raise ValueError(
            f"first and num_images must name images 0..{len(source) - 1}, "
            f"got {config.num_images} from {config.first}"
        )
    ids = np.arange(config.first, config.first + config.num_images)
    if config.corruptions:
        _preview_corruptions(config, source.load(ids[:1])[0])
        return
    chains = AugMix(
        severity=config.severity,
        width=config.width,
        depth=config.depth,
        alpha=config.alpha,
        ops=config.ops,
    )
    options = Options(size=source.size, num_classes=source.num_classes)
    policy = build_method(config.method, policy_options=chains, options=options).policy
    images = source.load(ids)
    plan = policy.sample(ids, num_views=1, size=images.shape[1:3], stream=Stream(seed=config.seed))
    print(f"picture: {preview.write_preview(config.out, images, plan)}")


def _preview_corruptions(config: PreviewConfig, image: Any) -> None:
    from augmix import pictures

    folder = config.out.with_suffix("") if config.out.suffix == ".png" else config.out
    paths = pictures.write_galleries(
        folder, image, preset=config.preset, seed=config.seed, sample=config.first
    )
    print(f"pictures: {paths[0]}, {paths[1]} and {len(paths) - 2} animations in {paths[2].parent}")
