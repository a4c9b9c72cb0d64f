"""One measurement as data: which model, on which images, how."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from augmix.data.sources import open_source
from augmix.engine.evaluate import OnProgress, evaluate
from augmix.experiments.training import load_train_config
from augmix.models.build import load_model
from augmix.records import Results


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
