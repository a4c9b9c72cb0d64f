"""One training run as data, and the run folder made of it.

A run folder knows all that is needed to go on with it or to measure it.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from augmix import distributed, files, results
from augmix.data.decode import ResizedCrop
from augmix.data.derived import mix, open_stylised, take
from augmix.data.sources import Source, open_source
from augmix.data.stores import default_threads
from augmix.devices import resolve_device, torch_settings
from augmix.errors import ResumeError, RunError
from augmix.methods import METHODS, Method, TrainingImages
from augmix.models.layers import Classifier
from augmix.models.weights import build_model
from augmix.progress import OnProgress, PhaseStarted
from augmix.training import checkpoint, logging
from augmix.training import loop as engine
from augmix.training.config import (
    TrainConfig,
    UnknownMethod,
    build_config,
    flatten,
    general_settings,
)

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
        return _train_members(config, emit) if config.run.seeds > 1 else _train_one(config, emit)


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
    device = resolve_device(config.run.device)
    _check_processes(device)
    if config.optimisation.precision == "fp16" and device.type == "cpu":
        raise ValueError(
            "precision 'fp16' is for GPUs; CPUs have no fast convolutions for it: take 'bf16'"
        )
    with torch_settings(
        device,
        seed=config.run.seed,
        num_threads=config.run.torch_threads or 0,
        is_tuned=not config.optimisation.deterministic,
        is_deterministic=config.optimisation.deterministic,
    ):
        plain, source = open_training(config)
        padding, flip = config.data.crop_padding, config.data.flip
        padding = source.crop_padding if padding is None else padding
        flip = source.flip if flip is None else flip
        model = build_model(
            config.network_name,
            num_classes=source.num_classes,
            channels=source.channels,
            dropout=config.network.dropout,
            blur_size=config.network.blur_size or 5,
        )
        method = config.method.fit(
            TrainingImages(
                size=source.size,
                num_classes=source.num_classes,
                mean=model.config.mean,
                crop_padding=padding,
                flip=flip,
            )
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
    board = logging.beside(on_progress, config.run.tensorboard)
    with board as watch, prepared(config) as run, _held(config):
        engine.train(
            run.model,
            run.method,
            run.source,
            config=config,
            identity=run.identity,
            device=run.device,
            on_progress=watch,
        )
    return config.run.out


@contextmanager
def _held(config: TrainConfig) -> Iterator[None]:
    """The run folder, held and with its configuration in it; process 0 does so for all."""
    if distributed.rank() > 0:
        yield
        return
    with checkpoint.lock(config.run.out):
        _write_config(config)
        yield


def _train_members(config: TrainConfig, on_progress: OnProgress | None) -> Path:
    """The runs of an ensemble, one after another; what is finished is passed over."""
    if (config.run.out / results.CONFIG_FILE).exists():
        raise ResumeError(
            f"{config.run.out} holds a single run, where the runs of {config.run.seeds} seeds "
            "were to go; choose another --out"
        )
    for number in range(config.run.seeds):
        member = config.member(number)
        if on_progress:
            title = f"{member.run.out.name}: run {number + 1} of {config.run.seeds}"
            on_progress(PhaseStarted(title=title))
        train(member, on_progress=on_progress)
    return config.run.out


def load_train_config(run: Path) -> TrainConfig:
    """The settings a run folder was trained with.

    Raises:
        RunError: If the folder holds no settings of this package.
    """
    path = run / results.CONFIG_FILE
    plain = files.load_json(path)
    schema = plain.pop("schema", None)
    if schema != results.CONFIG_SCHEMA:
        raise RunError(
            f"{path} is not the configuration of a run of schema {results.CONFIG_SCHEMA} (it has "
            f"{schema!r}): use the version of the package that began the run, or train it again"
        )
    try:
        return _parse_config({**plain, "out": run})
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is not the configuration of a run: {error}") from error


def _parse_config(flat: dict[str, Any]) -> TrainConfig:
    """The configuration of flat settings, also of a method that is not registered here."""
    name = flat["method"]
    if set(name.split("+")) <= set(METHODS):
        return build_config(**flat)
    known = {key: value for key, value in flat.items() if key in general_settings()}
    settings = {key: value for key, value in flat.items() if key not in known and key != "method"}
    method = UnknownMethod(known_as=name, settings=settings)
    return replace(build_config(method="standard", **known), method=method)


def open_split(config: TrainConfig, split: str) -> Source:
    """Open the images of a split; of the training images those that are trained on."""
    data = config.data
    source = open_source(
        data.kind,
        root=data.root,
        split=split,
        size=data.size or 0,
        crop=ResizedCrop() if split == "train" and data.is_cropped else None,
        is_reduced=data.reduced_decoding,
        download=data.download,
        on_error=data.on_error,
        num_threads=data.decode_threads
        or max(1, default_threads() // distributed.local_world_size()),
    )
    return _part(config, source) if split == "train" else source


def open_training(config: TrainConfig) -> tuple[Source, Source]:
    """Open the training images, and all that is trained on: their stylised copies too, if any."""
    source = open_split(config, "train")
    if not config.data.stylised:
        return source, source
    return source, mix(source, _part(config, open_stylised(config.data.stylised, source)))


def _part(config: TrainConfig, source: Source) -> Source:
    count = config.data.max_train_images
    return take(source, count) if count else source


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
    settings = {name: value for name, value in flatten(config).items() if name not in _FREE}
    versions = results.provenance()["versions"]
    facts = {
        "source": config.data.kind,
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
    path = config.run.out / results.CONFIG_FILE
    ours = {
        "schema": results.CONFIG_SCHEMA,
        **files.to_plain(flatten(config)),
        "source": config.data.kind,
    }
    if path.exists() and not (config.run.out / results.STATE_FILE).exists():
        found = files.load_json(path)
        is_other = any(found.get(name) != ours[name] for name in ours if name not in _FREE)
        if is_other or (config.run.out / results.WEIGHTS_FILE).exists():
            raise ResumeError(
                f"{config.run.out} holds {results.CONFIG_FILE} but no {results.STATE_FILE} to "
                "continue from; choose another --out, or delete the folder"
            )
    if not path.exists():
        files.write_json(path, ours)
