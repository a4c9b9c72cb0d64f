"""One measurement as data: which models, on which images, how."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from augmix import distributed
from augmix.corruptions.registry import resolve_preset
from augmix.data.folders import Photographs, open_photographs
from augmix.data.sources import Source
from augmix.evaluation.loop import evaluate
from augmix.evaluation.models import (
    Member,
    combine,
    match_labels,
    open_images,
    open_members,
    shorten,
)
from augmix.evaluation.predictor import STEPS, choose_adversary
from augmix.methods.attacks import Norm
from augmix.models.preprocessing import Preprocessing, choose_preprocessing
from augmix.progress import OnProgress
from augmix.results import Results

ADAPTED = "adapted"  # folder below a run: its results with batch-norm adaptation
_RUNS = Path("runs")
_PHOTOGRAPH_SIDES = {"tiny": 64, "imagenet": 224, "imagenet-299": 299}  # of published sequences


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """One measurement of a model, or of several as an ensemble."""

    models: tuple[str, ...]
    """Run folders, or timm:NAME, torchvision:NAME, hf:REPO, onnx:FILE, python:MODULE:FUNCTION,
    NAME@FILE; several are measured as one ensemble, the mean of their probabilities."""
    suite: tuple[Literal["clean", "c", "p", "attack"], ...] = ("clean", "c")
    """What is measured: clean images, corrupted images, perturbation sequences, attacked images."""
    names: tuple[str, ...] = ()
    """Corruptions, paper-15, extra-4, or your own as python:FILE:FUNCTION; none means the
    paper's."""
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Severities of the corruptions, 1..5."""
    sequences: tuple[str, ...] = ()
    """Perturbations, standard-10, cifar-script-10, extra-4, or your own as python:FILE:FUNCTION;
    none means the standard."""
    difficulty: Literal[1, 2, 3] = 1
    """Of the perturbations: how strong noise is, how far apart other compared frames are."""
    preset: Literal["auto", "cifar", "tiny", "imagenet", "imagenet-299"] = "auto"
    """Strength table of corruptions and perturbations; auto goes by image size."""
    official: tuple[str, ...] = ()
    """Folders of official -C and -P files, read instead of damaging images on the fly."""
    frost_textures: str = ""
    """Folder of the published frost photographs; empty takes the textures the package draws."""
    jpeg_quality: int = 0
    """Corrupted images are coded as JPEG of this quality and decoded, as the published ImageNet-C
    is by 85; 0 leaves it out."""
    source: str = ""
    """Kind of the images: digits, cifar10, cifar100, folder, parquet, npz; empty takes the run's
    own, or goes by the name of --data."""
    data: str = ""
    """Folder or file of the images; empty takes the run's own."""
    split: str = "test"
    """Part of the images that is measured."""
    preprocessing: str = ""
    """What the model wants done to images, by name (none, half, imagenet, imagenet-bicubic,
    imagenet-half, imagenet-none, efficientnet-lite); empty takes what the model states."""
    resize: int = 0
    """Shorter side after resizing, in pixels; 0 takes what the model or its run states."""
    crop: int = 0
    """Side of the centre square cut out, in pixels; 0 takes what the model or its run states."""
    interpolation: Literal["", "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = ""
    """Filter of the resizing; empty takes what the model states."""
    mean: tuple[float, ...] = ()
    """Subtracted from every channel, in units of --input-range; with --preprocessing."""
    std: tuple[float, ...] = ()
    """Every channel is then divided by it; with --preprocessing."""
    input_range: tuple[float, ...] = ()
    """What black and white become before that, e.g. 0 255; with --preprocessing."""
    class_list: str = ""
    """File that lists the model's classes, a line each (index synset name), where the images have
    only some of them or another order."""
    restrict: bool = False
    """With a class list: the model may only predict classes that the images have."""
    allow_train_data: bool = False
    """Measure on images that the run was trained on."""
    attack_norm: Norm = "linf"
    """What bounds an attack: every value's change, or the length of all changes."""
    attack_epsilon: float = 0.0
    """Radius of the attack, in [0, 1] units; 0 takes 8/255 for linf, 0.5 for l2."""
    attack_steps: int = STEPS
    """Gradient steps of the attack."""
    attack_step_size: float = 0.0
    """Length of a step; 0 takes a quarter of the radius."""
    attack_restarts: int = 1
    """Attacks on each image, from different random starts; it must resist them all."""
    adapt_batch_norm: bool = False
    """Batch-norm layers adapt to the statistics of every test batch."""
    adapt_prior: int = 16
    """How many images their stored statistics are worth then."""
    temperature_images: int = 0
    """Clean images held out of everything measured, on which a temperature is fitted; calibration
    is then kept before and after it."""
    seed: int = 0
    """Seed of the corruptions, perturbations and starts of attacks."""
    batch_size: int = 256
    """Images a forward pass takes."""
    num_threads: int = 0
    """Threads that damage images while the model computes; 0 takes one beside a CPU, and beside a
    GPU this process's share of the processors, 8 at most."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network."""
    bin_size: int = 100
    """Predictions in a bin of the RMS calibration error."""
    max_images: int = 0
    """Measure a fixed random part of the images; 0 takes all."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the model computes."""
    out: str = ""
    """Where the results go; by default into the run folder (adapted: its folder adapted), for other
    models into runs/ under their name."""

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("name at least one model: a run folder, or e.g. timm:resnet50")
        if len(self.models) > 1 and not self.out:
            raise ValueError("several models are an ensemble: name a folder for its results, --out")
        if self.input_range and len(self.input_range) != 2:
            raise ValueError(f"input_range must be two numbers, got {self.input_range}")
        if self.restrict and not self.class_list:
            raise ValueError("restrict needs the list of the model's classes, --class-list")
        if (self.mean or self.std or self.input_range) and not self.preprocessing:
            raise ValueError(
                "mean, std and input_range change a preprocessing named with --preprocessing "
                "(none, to state all of it), got none"
            )
        self.stated()
        choose_adversary(
            self.suite,
            norm=self.attack_norm,
            epsilon=self.attack_epsilon,
            num_steps=self.attack_steps,
            step_size=self.attack_step_size,
            num_restarts=self.attack_restarts,
            seed=self.seed,
            is_adapted=self.adapt_batch_norm,
        )

    @property
    def folder(self) -> Path:
        """Where the results go."""
        if self.out:
            return Path(self.out)
        run = Path(self.models[0]).expanduser()
        if not run.is_dir():
            run = _RUNS / re.sub(r"[^\w.-]+", "-", shorten(self.models[0])).strip("-.")
        return run / ADAPTED if self.adapt_batch_norm else run

    def stated(self) -> Preprocessing | None:
        """The preprocessing that stands above the model's own, if one is named.

        Raises:
            ValueError: If it is unknown, or its parts do not go together.
        """
        if not self.preprocessing:
            return None
        changes = {name: getattr(self, name) or None for name in ("mean", "std", "input_range")}
        return choose_preprocessing(self.preprocessing, **changes, **self._given("crop"))

    def geometry(self) -> dict[str, Any]:
        """What stands above the geometry that the model states, as `open_source` takes it.

        A crop without a resize is resized in proportion. A preprocessing named has it all.
        """
        if self.preprocessing:
            return {}
        given: dict[str, Any] = self._given("size")
        return {"resize": 0, **given} if "size" in given else given

    def _given(self, crop: str) -> dict[str, Any]:
        given = {crop: self.crop, "resize": self.resize, "interpolation": self.interpolation}
        return {name: value for name, value in given.items() if value}


def evaluate_run(config: EvaluateConfig, *, on_progress: OnProgress | None = None) -> Results:
    """Measure a model, or an ensemble, on images; see `engine.evaluate`.

    Started by `torchrun` in several processes, they share the work and process 0 has the results.

    Raises:
        ValueError: If an argument is out of range.
        RunError: If a model or its data is missing, or they do not go together.
    """
    with distributed.joined():
        return _evaluate(config, on_progress if distributed.rank() == 0 else None)


def _evaluate(config: EvaluateConfig, on_progress: OnProgress | None) -> Results:
    members = open_members(config.models, preprocessing=config.stated())
    model, facts = combine(members)
    source = open_images(
        members,
        source=config.source,
        data=config.data,
        split=config.split,
        geometry=config.geometry(),
        allow_train_data=config.allow_train_data,
    )
    model, source = match_labels(
        model, source, class_list=config.class_list, restrict=config.restrict
    )
    if config.adapt_batch_norm:
        facts["label"] = f"{facts['label']}, adapted"
    return evaluate(
        model,
        source,
        suite=config.suite,
        names=config.names,
        severities=config.severities,
        sequences=config.sequences,
        difficulty=config.difficulty,
        preset=config.preset,
        seed=config.seed,
        official=config.official,
        frost_textures=config.frost_textures or None,
        jpeg_quality=config.jpeg_quality or None,
        photographs=_find_photographs(config, members, source),
        attack_norm=config.attack_norm,
        attack_epsilon=config.attack_epsilon,
        attack_steps=config.attack_steps,
        attack_step_size=config.attack_step_size,
        attack_restarts=config.attack_restarts,
        adapt_batch_norm=config.adapt_batch_norm,
        adapt_prior=config.adapt_prior,
        temperature_images=config.temperature_images,
        batch_size=config.batch_size,
        num_threads=config.num_threads,
        device=config.device,
        precision=config.precision,
        bin_size=config.bin_size,
        out=config.folder,
        max_images=config.max_images,
        about=facts,
        on_progress=on_progress,
    )


def _find_photographs(
    config: EvaluateConfig, members: list[Member], source: Source
) -> Photographs | None:
    """The images of a folder at their own size, where published sequences would start from them.

    That is where frames prepared as the published scripts do have the size of the images.
    """
    if "p" not in config.suite or source.name != "folder" or source.skipped:
        return None
    side = _PHOTOGRAPH_SIDES.get(resolve_preset(config.preset, source.size))
    if source.size != (side, side):
        return None
    trained = members[0].trained
    root = config.data or (trained and trained.data) or ""
    return open_photographs(Path(root).expanduser(), split=config.split)
