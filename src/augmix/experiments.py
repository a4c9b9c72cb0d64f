"""Runs as data: what is trained, what is measured, and the demo made of both.

This module alone builds sources and models by name. A run folder knows all that is needed to go
on with it or to measure it.
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
from augmix.engine.evaluate import OnProgress, evaluate, ignore, resolve_device
from augmix.engine.recipe import Recipe
from augmix.methods import Method, build_method
from augmix.models.build import build_model, load_model
from augmix.records import Results, RunError
from augmix.report import summarise, write_report

SUMMARY_FILE = "summary.json"
_SUMMARY = ("clean_error", "corruption_error", "rms_calibration_error")
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


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """One measurement of a trained run."""

    run: Path
    """The run folder that holds the model."""
    suite: tuple[Literal["clean", "c"], ...] = ("clean", "c")
    """What is measured: clean images, corrupted images."""
    names: tuple[str, ...] = ()
    """Corruptions; none means the paper's."""
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Severities of the corruptions, 1..5."""
    preset: Literal["auto", "cifar", "tiny", "imagenet"] = "auto"
    """Strength table of the corruptions; auto goes by image size."""
    split: str = "test"
    """Part of the run's source that is measured."""
    data: str = ""
    """Folder or file of the source, if it is no longer where it was in training."""
    seed: int = 0
    """Seed of the corruptions."""
    batch_size: int = 256
    """Images a forward pass takes."""
    num_threads: int = 1
    """Threads that damage images while the model computes."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network."""
    bin_size: int = 100
    """Predictions in a bin of the RMS calibration error."""
    max_images: int = 0
    """Measure a fixed random part of the images; 0 takes all."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the model computes."""
    out: str = ""
    """Where results.json goes; by default into the run folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoConfig:
    """The demo: Standard and AugMix trained on handwritten digits, measured under corruption."""

    out: Path = Path("runs/demo")
    """Folder of both runs, the report and the summary."""
    epochs: int = 20
    """Passes over the 1,400 training images."""
    seed: int = 0
    """Seed of both runs."""
    max_images: int = 0
    """Measure a fixed random part of the 397 test images; 0 takes all."""
    max_train_images: int = 0
    """Train on a fixed random part of the images; 0 takes all."""


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


def evaluate_run(config: EvaluateConfig, *, on_progress: OnProgress | None = None) -> Results:
    """Measure the model of a run folder on its source; see `evaluate`.

    Raises:
        RunError: If the folder holds no trained model, or its data is gone.
    """
    trained = load_train_config(config.run)
    model = load_model(config.run)
    source = open_source(
        trained.source,
        root=config.data or trained.data or None,
        split=config.split,
        size=trained.size,
        on_error=trained.on_error,
    )
    return evaluate(
        model,
        source,
        suite=config.suite,
        names=config.names,
        severities=config.severities,
        preset=config.preset,
        seed=config.seed,
        batch_size=config.batch_size,
        num_threads=config.num_threads,
        device=config.device,
        precision=config.precision,
        bin_size=config.bin_size,
        out=config.out or config.run,
        max_images=config.max_images,
        about={"method": trained.method, "seed": trained.seed, "label": config.run.name},
        on_progress=on_progress,
    )


def demo(config: DemoConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Train Standard and AugMix on the embedded digits, measure both, write the report.

    Digits are measured at the ``imagenet`` severities; those of ``cifar`` hardly hurt them. Started
    again, the demo goes on where it was stopped.

    Returns:
        The report, one HTML page.
    """
    emit = on_progress or ignore
    runs, summary = [], {}
    for method in ("standard", "augmix"):
        run = config.out / method
        emit({"event": "phase", "title": f"{method}: training"})
        train(demo_run(config, method), on_progress=on_progress)
        emit({"event": "phase", "title": f"{method}: measuring"})
        measurement = EvaluateConfig(
            run=run, preset="imagenet", max_images=config.max_images, device="cpu"
        )
        numbers = summarise(evaluate_run(measurement, on_progress=on_progress))
        summary[method] = {name: numbers[name] for name in _SUMMARY}
        runs.append(run)
    emit({"event": "phase", "title": "report"})
    seconds = sum(_seconds(run) for run in runs)
    records.write_json(config.out / SUMMARY_FILE, {"seconds": seconds, **summary})
    return write_report(runs, config.out / records.REPORT_FILE)


def demo_run(config: DemoConfig, method: str) -> TrainConfig:
    """One training run of the demo."""
    return TrainConfig(
        method=method,
        model="small",
        source="digits",
        out=config.out / method,
        epochs=config.epochs,
        batch_size=100,
        learning_rate=0.1,
        schedule="one-cycle",
        seed=config.seed,
        max_train_images=config.max_train_images,
        crop_padding=2,  # half a pixel of the original 8x8
        channels_last=True,  # a quarter faster on a CPU too
        device="cpu",
    )


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


def _seconds(run: Path) -> float:
    """Time of training and measuring a run, all its sittings together."""
    lines = records.load_lines(run / records.LOG_FILE)
    cells = records.load_results(run / records.RESULTS_FILE).cells
    return lines[-1]["seconds"] + sum(cell.seconds for cell in cells)
