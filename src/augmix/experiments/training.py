"""One training run as data, and the run folder made of it.

A run folder knows all that is needed to go on with it or to measure it.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from augmix import records
from augmix.augment.policies import AugMix
from augmix.data.sources import Source, open_source, take
from augmix.engine import checkpoint
from augmix.engine import train as engine
from augmix.engine.evaluate import OnProgress, resolve_device
from augmix.engine.recipe import Recipe
from augmix.methods import Method, build_method
from augmix.models.build import build_model
from augmix.records import RunError

# Where things are and how fast they go; none of it changes a bit of the result. The device and
# torch's threads do: what they resolve to is compared instead of what was asked.
_FREE = (
    "out",
    "data",
    "download",
    "num_threads",
    "executor",
    "checkpoint_every",
    "device",
    "torch_threads",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(Recipe):
    """One training run: one model, by one method, on one source."""

    method: str = "augmix"
    """How it learns: standard, augmix, augmix-no-jsd."""
    model: str = "wrn-40-2"
    """What learns: small, or wrn-D-W for a WideResNet of depth D and width W."""
    source: str = "cifar10"
    """From what: digits, cifar10, cifar100, folder, parquet, npz."""
    data: str = ""
    """Folder or file of the source; digits needs none."""
    download: bool = False
    """Fetch the data set if it is not there."""
    size: int = 0
    """Side of the images in pixels; 0 keeps the stored size."""
    on_error: Literal["raise", "skip"] = "raise"
    """What a broken image does: stop the run, or be skipped and counted."""
    max_train_images: int = 0
    """Train on a fixed random part of the images, the same for every seed; 0 takes all."""
    out: Path = Path("runs/run")
    """The run folder; a run of the same settings is continued there."""
    dropout: float = 0.0
    """Share of activations dropped in the network."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""
    jsd_weight: float = 12.0
    """Weight of the consistency loss."""
    severity: int = 3
    """Largest level of an AugMix operation, 1..10."""
    width: int = 3
    """AugMix chains that are mixed."""
    depth: int = -1
    """Operations in a chain; -1 draws 1, 2 or 3 for each."""
    alpha: float = 1.0
    """Concentration of the mixing weights and the share, above 0."""
    ops: Literal["paper", "all"] = "paper"
    """The paper's 9 operations, or all 13 (4 of which overlap with the test corruptions)."""
    crop_padding: int = -1
    """Random crop from the image padded by this many pixels; -1 is what is usual for the source."""
    flip: Literal["auto", "yes", "no"] = "auto"
    """Mirror half of the images; auto is what is usual for the source."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the model computes."""
    torch_threads: int = 0
    """CPU threads of torch; 0 leaves torch's own choice."""

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        if self.crop_padding < -1:
            raise ValueError(
                f"crop_padding must be at least 0 pixels, or -1 for the source's own, "
                f"got {self.crop_padding}"
            )
        if self.flip not in ("auto", "yes", "no"):
            raise ValueError(f"flip must be 'auto', 'yes' or 'no', got {self.flip!r}")
        for name in ("size", "max_train_images", "torch_threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be 0 up to below 1, got {self.dropout}")
        self.build_method(crop_padding=0, flip=False)

    def build_method(self, *, crop_padding: int, flip: bool) -> Method:
        """The row of the table of methods, with this run's options."""
        return build_method(
            self.method,
            policy_options=AugMix(
                severity=self.severity,
                width=self.width,
                depth=self.depth,
                alpha=self.alpha,
                ops=self.ops,
                crop_padding=crop_padding,
                flip=flip,
            ),
            jsd_weight=self.jsd_weight,
            label_smoothing=self.label_smoothing,
        )

    def open_source(self, split: str) -> Source:
        """The images of a split; of the training images those that are trained on."""
        source = open_source(
            self.source,
            root=self.data or None,
            split=split,
            size=self.size,
            download=self.download,
            on_error=self.on_error,
        )
        if split == "train" and self.max_train_images:
            source = take(source, self.max_train_images)
        return source


def train(config: TrainConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Train a model, or continue its run, in a run folder.

    Args:
        config: What is trained.
        on_progress: Called with a dict after every step, log line and checkpoint.

    Returns:
        The run folder, which now holds the model.

    Raises:
        ResumeError: If the folder holds a run of other settings.
        Interrupted: If a signal stopped the run; the same call goes on with it.
        RunError: If the data or the folder are not usable, or the loss is no longer finite.
    """
    device = resolve_device(config.device)
    with _torch_settings(config, device):
        source = config.open_source("train")
        padding = source.crop_padding if config.crop_padding < 0 else config.crop_padding
        flip = source.flip if config.flip == "auto" else config.flip == "yes"
        model = build_model(
            config.model,
            num_classes=source.num_classes,
            channels=source.channels,
            mean=(0.5,) * source.channels,
            std=(0.5,) * source.channels,
            dropout=config.dropout,
        )
        with checkpoint.lock(config.out):
            _write_config(config)
            engine.train(
                model,
                config.build_method(crop_padding=padding, flip=flip),
                source,
                recipe=config,
                folder=config.out,
                identity={
                    **_identity(config, source, device, padding, flip),
                    "network": _hash_network(model),
                },
                device=device,
                on_progress=on_progress,
            )
    return config.out


def load_train_config(run: Path) -> TrainConfig:
    """The settings a run folder was trained with.

    Raises:
        RunError: If the folder holds no settings of this package.
    """
    path = run / records.CONFIG_FILE
    plain = records.load_json(path)
    if plain.pop("schema", None) != records.SCHEMA:
        raise RunError(f"{path} is not the configuration of a run of schema {records.SCHEMA}")
    try:
        return TrainConfig(**{**plain, "out": run})
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is not the configuration of a run: {error}") from error


def _identity(
    config: TrainConfig, source: Source, device: torch.device, padding: int, flip: bool
) -> dict[str, Any]:
    """All that decides about the bits of a run: settings, data, packages, arithmetic."""
    plain = records.to_plain(config)
    settings = {name: value for name, value in plain.items() if name not in _FREE}
    versions = records.provenance()["versions"]
    facts = {
        "crop_padding": padding,
        "flip": flip,
        "source_fingerprint": source.fingerprint,
        "num_train_images": len(source),
        "device": _device_name(device),
        **{f"{name} version": version for name, version in versions.items()},
    }
    if device.type == "cpu":
        facts["torch_threads"] = torch.get_num_threads()
    return {**settings, **facts}


def _hash_network(model: torch.nn.Module) -> str:
    """sha256 of the layers with their settings: equal weights may stand in another network."""
    return hashlib.sha256(repr(model).encode()).hexdigest()[:16]


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        return f"cpu {torch.backends.cpu.get_cpu_capability()}"
    return device.type


def _write_config(config: TrainConfig) -> None:
    """Write `config.json` into a new run folder, and refuse a folder of something else."""
    path = config.out / records.CONFIG_FILE
    ours = {"schema": records.SCHEMA, **records.to_plain(config)}
    if path.exists() and not (config.out / records.STATE_FILE).exists():
        found = records.load_json(path)
        is_other = any(found.get(name) != ours[name] for name in ours if name not in _FREE)
        if is_other or (config.out / records.WEIGHTS_FILE).exists():
            raise checkpoint.ResumeError(
                f"{config.out} holds {records.CONFIG_FILE} but no {records.STATE_FILE} to continue "
                "from; choose another --out, or delete the folder"
            )
    if not path.exists():
        records.write_json(path, ours)


@contextmanager
def _torch_settings(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """torch seeded for this run; the caller's random state and threads are put back after."""
    threads = torch.get_num_threads()
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(config.seed)
        if config.torch_threads:
            torch.set_num_threads(config.torch_threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
