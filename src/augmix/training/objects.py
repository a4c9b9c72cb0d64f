"""Training of models and data sets that are given in Python, and the run that comes of it."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from augmix import files, run_folder
from augmix.data.decode import Geometry
from augmix.data.sources import SOURCES, Source, as_source, name_source
from augmix.data.stores import OpenOptions
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.loop import evaluate
from augmix.models.open_model import open_model
from augmix.models.preprocessing import Preprocessing
from augmix.models.start import start_from
from augmix.models.weights import load_model
from augmix.models.wrapper import OpenedModel
from augmix.progress import OnProgress
from augmix.results import Results
from augmix.training import run as runs
from augmix.training.config import TrainConfig
from augmix.training.settings import build_config, update_config

GIVEN = "python"  # kind of images that were given as an object


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished training run; ``Path(run)`` is its folder."""

    folder: Path
    network: nn.Module | None = field(default=None, repr=False)  # as given, where no name opens it

    def __fspath__(self) -> str:
        return str(self.folder)

    @cached_property
    def model(self) -> OpenedModel:
        """The model that the run keeps, on the CPU and in evaluation mode."""
        if self.network is None:
            return open_model(self.folder)
        network = load_model(self.folder, network=copy.deepcopy(self.network))
        return OpenedModel(
            network,
            name=network.config.name,
            num_classes=network.config.num_classes,
            class_names=network.config.class_names or None,
        )

    @property
    def log(self) -> list[Any]:
        """The lines of `log.jsonl`: loss, learning rate and errors by step."""
        return run_folder.load_log(self.folder)

    def evaluate(self, data: Any, config: EvaluateConfig | None = None, **options: Any) -> Results:
        """Measure the model and write the results into the run folder, for `write_report`.

        Args:
            data: Images and labels as `augmix.evaluate` takes them.
            config: As for `augmix.evaluate`, and so are ``options``.
        """
        if config is None:
            config = EvaluateConfig(**{"out": self.folder, **options})
        elif options:
            raise TypeError(f"give config or its fields, not both; got {sorted(options)}")
        settings = files.load_json(self.folder / run_folder.CONFIG_FILE)
        about = {
            "method": settings.get("method", ""),
            "seed": settings.get("seed"),
            "label": settings.get("name") or self.folder.resolve().name,
        }
        return evaluate(self.model, data, config, about=about)


def train(
    model: nn.Module | str | TrainConfig,
    train_data: Any = None,
    val_data: Any = None,
    config: TrainConfig | None = None,
    *,
    preprocessing: Preprocessing | None = None,
    callbacks: Sequence[OnProgress] = (),
    on_progress: OnProgress | None = None,
    **settings: Any,
) -> Run:
    """Train a model, or continue its run, in a run folder.

    Args:
        model: Any `nn.Module` that gives logits; a copy of it is trained, which `Run.model`
            returns. Or a text as ``augmix train --model`` takes, or a whole configuration, which
            then names the data too.
        train_data: A source of `open_source`; a torch `Dataset` of (image, label) whose images are
            PIL, uint8 arrays `height width channel` or uint8 tensors `channel height width`; or a
            path.
        val_data: Likewise, images that are measured after each epoch and never trained on.
        config: Settings of the run; the default configuration if not given.
        preprocessing: Mean, std and size of the images that the model takes, for an `nn.Module`
            without an attribute ``preprocessing``. By default it takes images in [0, 1].
        callbacks: Functions that are called with every event of `augmix.progress`, in process 0:
            `StepFinished`, `StepsLogged`, `EpochValidated`, `CheckpointWritten` ... An error of
            theirs ends the run, which the same call continues.
        on_progress: One more, which shows progress.
        **settings: Flags of ``augmix train`` instead of ``config``, such as ``recipe``, ``method``,
            ``epochs`` or ``out``.

    Raises:
        TypeError: If both ``config`` and ``settings`` are given, or the data has another form.
        ValueError: If a setting is unknown or out of range.
        ResumeError: If the folder holds a run of other settings, weights or images.
        Interrupted: If a signal stopped the run; the same call continues it.
        RunError: If model and data do not go together, or the loss is no longer finite.

    Example:
        >>> run = train(model, dataset, recipe="finetune", out="runs/mine")  # doctest: +SKIP
        >>> run.evaluate(test_set, suite=("clean", "corruptions"))  # doctest: +SKIP
    """
    if isinstance(model, TrainConfig):
        if train_data is not None or val_data is not None or config is not None or settings:
            raise TypeError("a configuration names model, data and settings: give it alone")
        return Run(folder=runs.train(model, callbacks=callbacks, on_progress=on_progress))
    if train_data is None:
        raise TypeError("train takes the images to train on as its second argument, got None")
    if config is not None and settings:
        raise TypeError(f"give config or its fields, not both; got config and {sorted(settings)}")
    start = None
    if isinstance(model, nn.Module):
        start = start_from(model, preprocessing)
    elif preprocessing is not None:
        raise ValueError(f"{model} says itself how its images are prepared: leave it out")
    name: Any = start.name if start else model
    config = (
        build_config(**settings, model=name)
        if config is None
        else update_config(config, model=name)
    )
    settled = runs.settle(_name_data(config, train_data, val_data), start)
    given = runs.GivenImages(
        train=_open(train_data, "train", settled.config),
        validation=_open(val_data, "val", settled.config),
    )
    folder = runs.train_settled(
        replace(settled, given=given), callbacks=callbacks, on_progress=on_progress
    )
    return Run(folder=folder, network=settled.start.module)


def _name_data(config: TrainConfig, train_data: Any, val_data: Any) -> TrainConfig:
    """A configuration with the paths of the data, or what kind of object it is."""
    changes: dict[str, Any] = {"data": None, "source": GIVEN, "val": None}
    if isinstance(train_data, (str, PathLike)):
        path = str(train_data)
        changes |= {"data": path, "source": config.data.source or name_source(path)}
    elif isinstance(train_data, Source) and train_data.name in SOURCES:
        changes["source"] = train_data.name
    if isinstance(val_data, (str, PathLike)):
        changes["val"] = str(val_data)
    elif val_data is not None and config.validation.fraction is not None:
        raise ValueError("val_data holds the validation images: leave out val_fraction")
    elif val_data is None:
        del changes["val"]
    return update_config(config, **changes)


def _open(data: Any, split: str, config: TrainConfig) -> Source | None:
    """A source of a data set; None for a path, which the configuration names."""
    if data is None or isinstance(data, (str, PathLike)):
        return None
    if split == "train" and config.data.resized_crop and getattr(data, "crop", None) is None:
        raise ValueError(
            "random resized crops need image files: name their folder, open them by "
            "augmix.open_source(..., crop=ResizedCrop()), or leave out resized_crop"
        )
    geometry = Geometry(
        size=config.data.size or 0, interpolation=config.data.interpolation or "bilinear"
    )
    return as_source(data, OpenOptions(name=type(data).__name__, split=split, geometry=geometry))
