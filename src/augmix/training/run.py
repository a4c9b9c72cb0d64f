"""A training run from its configuration, trained into a run folder.

A run folder holds all that is needed to continue the run or to measure it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from augmix import distributed, files, results, run_folder
from augmix.augment import bank
from augmix.data.decode import ResizedCrop
from augmix.data.derived import Subset, hold_out, mix, open_stylised, subset, take
from augmix.data.folders import check_outside
from augmix.data.inventory import describe_images
from augmix.data.sources import Source, open_source
from augmix.data.stores import default_threads
from augmix.data.trees import FolderTree
from augmix.devices import choose_precision, resolve_device, torch_settings
from augmix.errors import ResumeError, RunError
from augmix.methods import TrainingImages
from augmix.methods.losses import balanced_weights
from augmix.models import is_foreign
from augmix.models.layers import Classifier
from augmix.models.resnet import zero_last_scales
from augmix.models.start import Start, build_start, check_outputs, find_start
from augmix.models.wrapper import hash_weights
from augmix.progress import Note, OnProgress, PhaseStarted, ignore, tell
from augmix.rng import Stream
from augmix.training.config import TrainConfig
from augmix.training.logging import logging_to
from augmix.training.loop import (
    Prepared,
    train_model,
)
from augmix.training.settings import flatten, update_config
from augmix.training.validation import match_validation, open_validation

# Paths and speed, which change no bit of the result. The device and torch's threads do: the values
# they resolve to are compared instead, and how image files are read.
_FREE = (
    "out",
    "name",
    "data",
    "stylised",
    "val",
    "pictures",
    "download",
    "num_threads",
    "decode_threads",
    "exif_orientation",
    "background",
    "bit_depth",
    "image_column",
    "label_column",
    "executor",
    "checkpoint_every",
    "device",
    "torch_threads",
    "logger",
)


def train(
    config: TrainConfig,
    *,
    callbacks: Sequence[OnProgress] = (),
    on_progress: OnProgress | None = None,
) -> Path:
    """Train a model, or continue its run, in a run folder; several seeds one after another.

    Args:
        callbacks: Functions that are called with every event of `augmix.progress`, in process 0:
            `StepFinished`, `StepsLogged`, `EpochValidated`, `CheckpointWritten` ... An error of
            theirs ends the run, which the same call continues.
        on_progress: One more, which shows progress.

    Returns:
        The run folder, which now holds the model, or below it a run folder for each seed.

    Raises:
        ResumeError: If the folder holds a run of other settings.
        Interrupted: If a signal stopped the run; the same call continues it.
        RunError: If the data or the folder are not usable, the loss is no longer finite, or
            the library of a logger is not installed.
    """
    return train_settled(settle(config), callbacks=callbacks, on_progress=on_progress)


def train_settled(
    settled: "Settled",
    *,
    callbacks: Sequence[OnProgress] = (),
    on_progress: OnProgress | None = None,
) -> Path:
    """Train as `train` does, a run of which nothing is open."""
    config = settled.config
    seeds, folder = config.run.seeds, config.run.out
    if config.data.path is not None and config.data.kind in ("folder", "imagenet"):
        check_outside(config.data.path, folder)
    if seeds > 1 and (folder / run_folder.CONFIG_FILE).exists():
        raise ResumeError(
            f"{folder} holds a single run, where the runs of {seeds} seeds were to go; choose "
            "another --out"
        )
    with distributed.joined(backend=backend()):
        emit = tell((*callbacks, on_progress)) if distributed.rank() == 0 else None
        if seeds == 1:
            _train_one(settled, emit)
            return folder
        for number in range(seeds):  # finished ones are skipped
            member = config.member(number)
            if emit:
                emit(PhaseStarted(title=f"{member.run.out.name}: run {number + 1} of {seeds}"))
            _train_one(replace(settled, config=member), emit)
    return folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """The configuration of a run without what it left open."""

    config: TrainConfig
    start: Start
    decisions: tuple[str, ...]  # in words
    given: "GivenImages | None" = None


class GivenImages(NamedTuple):
    """Images that were given as objects, in place of a path of the configuration."""

    train: Source | None = None
    validation: Source | None = None


def settle(config: TrainConfig, start: Start | None = None) -> Settled:
    """Decide what the configuration leaves to the model and the machine.

    Size and filter of the images are those that a network from elsewhere takes, the arithmetic is
    what the device computes fast.

    Args:
        start: What the model starts from, where it was given as an object.
    """
    start = start or find_start(config.network.model, pretrained=config.network.pretrained)
    changes: dict[str, Any] = {}
    decisions: list[str] = []
    if config.data.size is None and start.size:
        changes["size"] = start.size
        decisions.append(f"size: {start.size}, as {start.name} takes")
    if config.data.interpolation is None and start.interpolation:
        changes["interpolation"] = start.interpolation
        decisions.append(f"interpolation: {start.interpolation}, as {start.name} takes")
    if config.optimisation.precision == "auto":
        device = resolve_device(config.run.device)
        changes["precision"], why = choose_precision(device, is_depthwise=start.is_depthwise)
        decisions.append(f"precision: {changes['precision']}, {why}")
    settled = update_config(config, **changes) if changes else config
    return Settled(config=settled, start=start, decisions=tuple(decisions))


@contextmanager
def prepared(
    config: TrainConfig, start: Start | None = None, given: GivenImages | None = None
) -> Iterator[Prepared]:
    """Prepare a run, with torch set up for it inside.

    Args:
        start: What its model starts from, if that was found already.
        given: Its images, if they were given as objects.

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
        plain, source, held = open_training(config, given)
        chosen = config.validation
        if held is None and (chosen.patience or chosen.select not in (None, "last")):
            name = "patience" if chosen.patience else f"select {chosen.select!r}"
            raise ValueError(
                f"{name} would do nothing without validation images: name them with --val, or hold "
                "out a part of the training images with --val-fraction 0.1"
            )
        _check_several(source, config.data.root)
        padding, flip = config.data.crop_padding, config.data.flip
        padding = source.crop_padding if padding is None else padding
        flip = source.flip if flip is None else flip
        network = config.network
        start = start or find_start(network.model, pretrained=network.pretrained)
        model, origin = build_start(
            replace(start, name=config.method.network_name(start.name)),
            num_classes=source.num_classes,
            channels=source.channels,
            dropout=network.dropout,
            blur_size=network.blur_size or 5,
            class_names=source.class_names,
            head=network.head or "",
        )
        if is_foreign(start.name):
            check_outputs(model, source.size)
        if config.network.zero_init_last:
            zero_last_scales(model)
        if model.num_fit_images:
            _fit_images(model, source)
        config.method.check_network(model)
        images = TrainingImages(
            size=source.size,
            num_classes=source.num_classes,
            mean=model.config.mean,
            crop_padding=padding,
            flip=flip,
        )
        settings = {name: value for name, value in flatten(config).items() if name not in _FREE}
        versions = results.provenance()["versions"]
        identity = {
            **settings,
            "source": config.data.kind,
            "on_error": config.data.reading.on_error or "raise",
            **config.data.reading.changes,
            "crop_padding": padding,
            "flip": flip,
            # of the images without their stylised copies, so that evaluation can refuse them
            "source_fingerprint": plain.fingerprint,
            "mix_fingerprint": "" if source is plain else source.fingerprint,
            "num_train_images": len(source),
            "val_fingerprint": "" if held is None else held.fingerprint,
            "device": _device_name(device),
            **{f"{name} version": version for name, version in versions.items()},
            **({"torch_threads": torch.get_num_threads()} if device.type == "cpu" else {}),
            "processes": distributed.world_size(),
            # sha256 of the layers with their settings: equal names may be another network's
            "network": hashlib.sha256(repr(model).encode()).hexdigest()[:16],
            **({"start": hash_weights(model)[:16]} if start.state or start.module else {}),
            **_method_code(config),
        }
        method = config.method.fit(images)
        plan = method.policy.sample(
            np.arange(2), num_views=1, size=source.size, stream=Stream(seed=config.run.seed)
        )
        if (found := bank.find_bank(plan)) is not None:
            identity["pictures_fingerprint"] = bank.fingerprint(*found)
        weights = None
        if config.optimisation.class_weights == "balanced":
            weights = _balance(source)
        yield Prepared(
            model=model,
            method=method,
            source=source,
            device=device,
            identity=identity,
            origin=origin,
            class_weights=weights,
            validation=held,
        )


def _train_one(settled: Settled, on_progress: OnProgress | None) -> None:
    config = settled.config
    with (
        logging_to(config.run.logger, on_progress, flatten(config)) as watch,
        prepared(config, settled.start, settled.given) as run,
        ExitStack() as held,
    ):
        for line in (*describe_images(run.source), f"start: {run.origin}", *settled.decisions):
            (on_progress or ignore)(Note(text=line))
        if distributed.rank() == 0:  # for all
            held.enter_context(files.hold_folder(config.run.out))
            _write_config(config)
        try:
            train_model(run, config, on_progress=watch)
        finally:
            if distributed.rank() == 0 and not (config.run.out / run_folder.STATE_FILE).exists():
                (config.run.out / run_folder.CONFIG_FILE).unlink(missing_ok=True)  # nothing began


def _method_code(config: TrainConfig) -> dict[str, str]:
    """The sha256 of the file of a method of the user's own."""
    code = config.method.code_sha256
    return {"method_sha256": code} if code else {}


def open_split(config: TrainConfig, split: str) -> Source:
    """Open the images of a split; of the training images those that are trained on."""
    data = config.data
    source = open_source(
        data.kind,
        root=data.root,
        split=split,
        size=data.size or 0,
        interpolation=data.interpolation or "bilinear",
        crop=ResizedCrop() if split == "train" and data.is_cropped else None,
        is_reduced=data.reduced_decoding,
        download=data.download,
        is_lazy=True if split == "train" and data.max_train_images else None,
        **data.reading.given,
        num_threads=data.decode_threads
        or max(1, default_threads() // distributed.local_world_size()),
    )
    return _part(config, source) if split == "train" else source


class TrainingData(NamedTuple):
    """The images of a run."""

    whole: Source  # the training images, also those that are held out
    source: Source  # what is trained on: with stylised copies, without what is held out
    validation: Source | None


def open_training(config: TrainConfig, given: GivenImages | None = None) -> TrainingData:
    """Open the training images, all that is trained on, and the validation images."""
    given = given or GivenImages()
    whole = _part(config, given.train) if given.train else open_split(config, "train")
    source, held, fraction = whole, None, config.validation.fraction
    if fraction is not None:
        source, held = hold_out(whole, fraction)
    elif given.validation:
        held = match_validation(given.validation, whole, where="val_data")
    elif config.validation.data is not None:
        held = open_validation(config, whole, open_split)
    if config.data.stylised:
        copies = _part(config, open_stylised(config.data.stylised, whole))
        if isinstance(source, Subset) and fraction is not None:
            if copies.labels.tolist() != whole.labels.tolist():
                raise RunError(
                    f"{config.data.stylised} has other images than the {len(whole):,} training "
                    "images, so copies of held-out ones cannot be left out: name validation images "
                    "with --val instead"
                )
            copies = subset(copies, source.ids)
        source = mix(source, copies)
    return TrainingData(whole=whole, source=source, validation=held)


def _fit_images(model: Classifier, source: Source) -> None:
    """Set the layers of a model that depend on the images, by evenly spaced ones."""
    count = min(model.num_fit_images, len(source))
    ids = np.linspace(0, len(source) - 1, count).round().astype(np.int64)
    images = torch.from_numpy(source.load(ids)).permute(0, 3, 1, 2)
    model.fit_images(images.float() / 255)


def _check_several(source: Source, root: str | None) -> None:
    """Refuse to train on a single class."""
    found = np.unique(source.labels)
    if len(found) > 1:
        return
    path = Path(root or "").expanduser()
    around = FolderTree(path.resolve().parent).folders() if path.is_dir() else []
    hint = (
        f" {path.resolve().parent} holds the folders {', '.join(around[:8])}:" if around[1:] else ""
    )
    raise RunError(
        f"the images of source {source.name} are all of the class "
        f"{source.class_names[found[0]]!r}, and training needs at least two;{hint} "
        "name a folder of several class folders with --data"
    )


def _balance(source: Source) -> list[float]:
    """The weights of the classes with which they count alike."""
    counts = np.bincount(source.labels, minlength=source.num_classes)
    empty = [source.class_names[index] for index in np.flatnonzero(counts == 0)]
    if empty:
        raise RunError(
            f"class_weights 'balanced' needs images of every class, and there are none of "
            f"{', '.join(empty[:8])}: add some, or leave the class out"
        )
    return balanced_weights(source.labels, source.num_classes)


def _part(config: TrainConfig, source: Source) -> Source:
    count = config.data.max_train_images
    return take(source, count) if count else source


def backend() -> str:
    """The backend of the gradient exchange: NCCL between GPUs, gloo on the CPU."""
    has_nccl = torch.cuda.is_available() and torch.distributed.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if has_nccl else "gloo"


def _check_processes(device: torch.device) -> None:
    """Refuse more processes on a machine than it has GPUs: NCCL needs one for each."""
    num_local, num_devices = distributed.local_world_size(), torch.cuda.device_count()
    if device.type == "cuda" and num_local > num_devices:
        raise RunError(
            f"{num_local} processes train on this machine, which has {num_devices} GPU(s): start "
            f"--nproc-per-node {num_devices}, or train with --device cpu"
        )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        return f"cpu {torch.backends.cpu.get_cpu_capability()}"
    return device.type


def _write_config(config: TrainConfig) -> None:
    """Write `config.json` into a new run folder; refuse the folder of another run."""
    path = config.run.out / run_folder.CONFIG_FILE
    ours = {
        "schema": run_folder.CONFIG_SCHEMA,
        **files.to_plain(flatten(config)),
        "source": config.data.kind,
        "on_error": config.data.reading.on_error or "raise",
        **_method_code(config),
    }
    if path.exists() and not (config.run.out / run_folder.STATE_FILE).exists():
        found = files.load_json(path)
        is_other = any(found.get(name) != ours[name] for name in ours if name not in _FREE)
        if is_other or (config.run.out / run_folder.WEIGHTS_FILE).exists():
            raise ResumeError(
                f"{config.run.out} holds {run_folder.CONFIG_FILE} but no {run_folder.STATE_FILE} "
                "to continue from; choose another --out, or delete the folder"
            )
    if not path.exists():
        files.write_json(path, ours)
