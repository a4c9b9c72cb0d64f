"""One training run as data, and the run folder made of it.

A run folder knows all that is needed to go on with it or to measure it.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from augmix import distributed, files, results
from augmix.data.sources import Source
from augmix.devices import resolve_device, torch_settings
from augmix.errors import ResumeError, RunError
from augmix.methods.registry import Method
from augmix.models.layers import Classifier
from augmix.models.weights import build_model
from augmix.progress import OnProgress, PhaseStarted
from augmix.training import checkpoint, logging
from augmix.training import loop as engine
from augmix.training.config import TrainConfig

# Where things are and how fast they go; none of it changes a bit of the result. The device and
# torch's threads do: what they resolve to is compared instead of what was asked.
_FREE = (
    "out",
    "data",
    "stylised",
    "download",
    "num_threads",
    "decode_threads",
    "executor",
    "checkpoint_every",
    "device",
    "torch_threads",
    "tensorboard",
)


def train(config: TrainConfig, *, on_progress: OnProgress | None = None) -> Path:
    """Train a model, or continue its run, in a run folder; several seeds one after another.

    Args:
        config: What is trained.
        on_progress: Called with an event after every step, log line and checkpoint.

    Returns:
        The run folder, which now holds the model, or below it a run folder for each seed.

    Raises:
        ResumeError: If the folder holds a run of other settings.
        Interrupted: If a signal stopped the run; the same call goes on with it.
        RunError: If the data or the folder are not usable, the loss is no longer finite, or
            event files are asked for without the package tensorboard.
    """
    with distributed.joined(backend=backend()):
        emit = on_progress if distributed.rank() == 0 else None
        return _train_members(config, emit) if config.seeds > 1 else _train_one(config, emit)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A run with all its parts, before the first step.

    Attributes:
        model: With its start weights, on the CPU.
        method: Policy, objective and number of views.
        source: All that is trained on.
        device: Where the model will compute.
        identity: All that decides about the bits of the run.
    """

    model: Classifier
    method: Method
    source: Source
    device: torch.device
    identity: dict[str, Any]


@contextmanager
def prepared(config: TrainConfig) -> Iterator[Prepared]:
    """A run made ready, with torch set up for it inside.

    Raises:
        RunError: If the data, the device or the processes are not usable.
        ValueError: If the device has no such precision.
    """
    device = resolve_device(config.device)
    _check_processes(device)
    if config.precision == "fp16" and device.type == "cpu":
        raise ValueError(
            "precision 'fp16' is for GPUs; CPUs have no fast convolutions for it: take 'bf16'"
        )
    with torch_settings(
        device,
        seed=config.seed,
        num_threads=config.torch_threads,
        is_tuned=not config.deterministic,
        is_deterministic=config.deterministic,
    ):
        plain, source = config.open_training()
        padding = source.crop_padding if config.crop_padding < 0 else config.crop_padding
        flip = source.flip if config.flip == "auto" else config.flip == "yes"
        model = build_model(
            config.network,
            num_classes=source.num_classes,
            channels=source.channels,
            dropout=None if config.dropout == -1 else config.dropout,
            blur_size=config.blur_size,
        )
        method = config.build_method(
            crop_padding=padding,
            flip=flip,
            size=source.size,
            num_classes=source.num_classes,
            mean=model.config.mean,
        )
        identity = _identity(config, plain, source, device, padding, flip)
        yield Prepared(
            model=model,
            method=method,
            source=source,
            device=device,
            identity={**identity, "network": _hash_network(model)},
        )


def _train_one(config: TrainConfig, on_progress: OnProgress | None) -> Path:
    board = logging.beside(on_progress, config.tensorboard)
    with board as watch, prepared(config) as run, _held(config):
        engine.train(
            run.model,
            run.method,
            run.source,
            recipe=config,
            folder=config.out,
            identity=run.identity,
            device=run.device,
            on_progress=watch,
        )
    return config.out


@contextmanager
def _held(config: TrainConfig) -> Iterator[None]:
    """The run folder, held and with its configuration in it; process 0 does so for all."""
    if distributed.rank() > 0:
        yield
        return
    with checkpoint.lock(config.out):
        _write_config(config)
        yield


def _train_members(config: TrainConfig, on_progress: OnProgress | None) -> Path:
    """The runs of an ensemble, one after another; what is finished is passed over."""
    if (config.out / results.CONFIG_FILE).exists():
        raise ResumeError(
            f"{config.out} holds a single run, where the runs of {config.seeds} seeds were to go; "
            "choose another --out"
        )
    for number in range(config.seeds):
        member = config.member(number)
        if on_progress:
            title = f"{member.out.name}: run {number + 1} of {config.seeds}"
            on_progress(PhaseStarted(title=title))
        train(member, on_progress=on_progress)
    return config.out


def load_train_config(run: Path) -> TrainConfig:
    """The settings a run folder was trained with.

    Raises:
        RunError: If the folder holds no settings of this package.
    """
    path = run / results.CONFIG_FILE
    plain = files.load_json(path)
    if plain.pop("schema", None) != results.SCHEMA:
        raise RunError(f"{path} is not the configuration of a run of schema {results.SCHEMA}")
    settings = {k: tuple(value) if isinstance(value, list) else value for k, value in plain.items()}
    try:
        return TrainConfig(**{**settings, "out": run})
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is not the configuration of a run: {error}") from error


def _identity(
    config: TrainConfig,
    plain: Source,
    source: Source,
    device: torch.device,
    padding: int,
    flip: bool,
) -> dict[str, Any]:
    """All that decides about the bits of a run: settings, data, packages, arithmetic.

    The images themselves keep a fingerprint of their own, by which they are known again when the
    model is measured.
    """
    asked = files.to_plain(config)
    settings = {name: value for name, value in asked.items() if name not in _FREE}
    versions = results.provenance()["versions"]
    facts = {
        "crop_padding": padding,
        "flip": flip,
        "source_fingerprint": plain.fingerprint,
        "mix_fingerprint": "" if source is plain else source.fingerprint,
        "num_train_images": len(source),
        "device": _device_name(device),
        **{f"{name} version": version for name, version in versions.items()},
    }
    if device.type == "cpu":
        facts["torch_threads"] = torch.get_num_threads()
    return {**settings, **facts, "processes": distributed.world_size()}


def backend() -> str:
    """What processes exchange gradients by: NCCL between GPUs, gloo on the CPU."""
    has_nccl = torch.cuda.is_available() and torch.distributed.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if has_nccl else "gloo"


def _check_processes(device: torch.device) -> None:
    """Refuse more processes on a machine than it has GPUs: gradients cannot travel within one."""
    num_local, num_devices = distributed.local_world_size(), torch.cuda.device_count()
    if device.type == "cuda" and num_local > num_devices:
        raise RunError(
            f"{num_local} processes train on this machine, which has {num_devices} GPU(s): start "
            f"--nproc-per-node {num_devices}, or train with --device cpu"
        )


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
    path = config.out / results.CONFIG_FILE
    ours = {"schema": results.SCHEMA, **files.to_plain(config)}
    if path.exists() and not (config.out / results.STATE_FILE).exists():
        found = files.load_json(path)
        is_other = any(found.get(name) != ours[name] for name in ours if name not in _FREE)
        if is_other or (config.out / results.WEIGHTS_FILE).exists():
            raise ResumeError(
                f"{config.out} holds {results.CONFIG_FILE} but no {results.STATE_FILE} to continue "
                "from; choose another --out, or delete the folder"
            )
    if not path.exists():
        files.write_json(path, ours)
