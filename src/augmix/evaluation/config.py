"""Configuration of an evaluation: how a model is measured, and which models on which images."""

import math
import re
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from augmix.data import Reading
from augmix.errors import check_fields, check_positive, check_shard

_NOT_ADAPTED = {  # suites with settings of their own, and why they need a model as it was trained
    "attack": "the predictions of an adapted model depend on the whole batch, so no single image "
    "resists",
    "ood": "the statistics of a batch of images of no class are not those of clean images",
    "fourier": "a batch holds images under several frequencies, whose statistics would be mixed",
}
_SUITES_OF = {  # settings that other suites do not have
    **dict.fromkeys(("names", "severities", "jpeg_quality", "official_resize"), ("c", "c-bar")),
    "frost_textures": ("c",),
    **dict.fromkeys(("sequences", "difficulty"), ("p",)),
    "official": ("c", "c-bar", "p"),
    "preset": ("c", "c-bar", "p", "fourier"),
}
_OF_PREDICTIONS = ("models", "predictions", "name", "source", "data", "split", "resize", "crop")
_OF_ROWS = (
    "bin_size",
    "difficulty",
    "preset",
    "out",
    "temperature_images",
    "metrics",
    "conformal_coverage",
    "seed",
)  # settings of `EvaluateConfig` that predictions take
Group = Literal["classwise", "conformal", "calibrators"]
CalibratorName = Literal["temperature", "vector", "isotonic", "histogram"]
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Preset = Literal["auto", "cifar", "tiny", "imagenet", "imagenet-299"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """How a model is measured: on which suites, by which protocol, on which device."""

    suite: tuple[str, ...] = ("clean", "c")
    """What is measured: clean (clean images), c (corrupted images), c-bar (those of Mintun et al.),
    p (perturbation sequences), natural (other photographs, named with --natural), ood (images of no
    class, named with --ood, against clean ones), attack (attacked images), fourier (single
    Fourier-basis perturbations)."""
    names: tuple[str, ...] = ("paper-15",)
    """Corruptions of suite c, lists of them (paper-15, extra-4), or your own as
    python:FILE:FUNCTION. Suite c-bar has the named ones of cifar-bar and imagenet-bar; if none is
    named, the list that goes with the size of the images."""
    severities: tuple[int | float, ...] = (1, 2, 3, 4, 5)
    """Severities of the corruptions, 1..5, also between two of them, e.g. 2.5."""
    sequences: tuple[str, ...] = ("standard-10",)
    """Perturbations of suite p, lists of them (standard-10, cifar-script-10, extra-4), or your own
    as python:FILE:FUNCTION."""
    difficulty: Literal[1, 2, 3] = 1
    """Difficulty of the perturbations: how strong noise is, how far apart the compared frames of
    the other sequences are."""
    preset: Preset | Path = "auto"
    """Severity table of corruptions and perturbations: a published one; auto, by the size of the
    images; or a file of corruptions, as augmix calibrate-severity writes it."""
    official: tuple[Path, ...] = ()
    """Folders of official -C, C-bar and -P files, read instead of corrupting images on the fly."""
    official_resize: int | None = None
    """Shorter edge in pixels that stored -C images are resized to, bilinearly, before a square of
    their own size is cut out of the middle: 256 does as the code released with AugMix; by default
    they are measured as stored, as by the benchmark's own script."""
    frost_textures: Path | None = None
    """Folder of the published frost photographs; by default the textures that the package draws."""
    jpeg_quality: int | None = None
    """Corrupted images are coded as JPEG of this quality and decoded, as the published ImageNet-C
    and Tiny-ImageNet-C are by 85; by default they are not."""
    natural: tuple[Path, ...] = ()
    """Folders of suite natural: ImageNet-A, -R, -O, -Sketch, -V2, -D, -ES, -Hard, ObjectNet,
    CIFAR-10.1 or other photographs in class folders, and the JSON file of ReaL."""
    ood: tuple[Path, ...] = ()
    """Images of no class of the model for suite ood, in any form that --data takes; labels are
    ignored."""
    attack_norm: Literal["linf", "l2"] = "linf"
    """Norm that bounds an attack: linf (every value's change) or l2 (the length of all changes)."""
    attack_epsilon: float | None = None
    """Radius of the attack, in [0, 1] units; by default 8/255 for linf, 0.5 for l2."""
    attack_steps: int = 20  # usual for robust errors; Madry et al. (2018) Table 2 has it
    """Gradient steps of the attack."""
    attack_step_size: float | None = None
    """Length of a step; by default a quarter of the radius."""
    attack_restarts: int = 1
    """Attacks on each image, from different random starts; one that succeeds counts."""
    fourier_norm: float | None = None
    """l2 norm of a Fourier-basis perturbation in each channel, in [0, 1] units; by default 4 for
    32x32 pixels with the preset cifar, else 15.7 for 224x224, and in proportion to the edge."""
    fourier_size: int | None = None
    """Rows and columns of the map of frequencies, the lowest in its middle; by default all
    frequencies of images up to 64 pixels, and 63 of larger ones."""
    adapt_batch_norm: bool = False
    """Batch-norm layers adapt to the statistics of every test batch."""
    adapt_prior: int = 16
    """How many images the stored statistics count as in that adaptation."""
    temperature_images: int = 0
    """Clean images held out of everything measured, on which a temperature is fitted, and what
    --metrics asks for; calibration is then measured before and after it."""
    metrics: tuple[Group, ...] = ()
    """More that is measured of every set: classwise (class-wise calibration error), conformal
    (coverage and size of prediction sets by THR, APS and RAPS), calibrators (calibration after
    temperature, vector scaling, isotonic regression and histogram binning). The last two need
    --temperature-images."""
    conformal_coverage: float = 0.9
    """Probability with which prediction sets hold the right class of clean images."""
    bin_size: int = 100
    """Predictions in a bin of the RMS calibration error."""
    seed: int = 0
    """Seed of the corruptions, perturbations and starts of attacks."""
    max_images: int | None = None
    """Measure a fixed random subset of this many images; by default all."""
    batch_size: int = 256
    """Images in a forward pass; a batch of suite p holds whole sequences."""
    num_threads: int | None = None
    """Threads that make images while the model computes; by default one beside a CPU, and beside a
    GPU this process's part of the processors, at most 8."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network; bf16 is by autocast. Logits are scored in float64."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device that the model runs on."""
    out: Path | None = None
    """Folder of the results. By default the command writes into the run folder (adapted: its folder
    adapted), for other models into runs/NAME; a call from Python keeps nothing on disk."""
    shard: str | None = None
    """i/n: this is one of n jobs that measure together, into one --out that all of them see: each
    cell is measured by whoever is free. Processes of torchrun share every batch instead."""

    def __post_init__(self) -> None:
        if self.shard is not None:
            check_shard(self.shard)
        check_positive(self, "batch_size", "bin_size", "max_images", "num_threads", "fourier_size")
        quality, coverage = self.jpeg_quality, self.conformal_coverage
        check_fields(
            self,
            conformal_coverage=(0 < coverage < 1, "between 0 and 1"),
            difficulty=(self.difficulty in (1, 2, 3), "1, 2 or 3"),
            jpeg_quality=(quality is None or 1 <= quality <= 100, "1..100"),
            fourier_norm=(
                self.fourier_norm is None or 0 < self.fourier_norm < math.inf,
                "a finite number above 0",
            ),
        )
        self._check_metrics()
        if not self.adapt_batch_norm and self.adapt_prior != EvaluateConfig.default("adapt_prior"):
            raise ValueError(
                f"adapt_prior {self.adapt_prior} would have no effect: it belongs to "
                "adapt_batch_norm (--adapt-batch-norm)"
            )
        if self.preset_file and "p" in self.suite:
            raise ValueError(
                f"preset {self.preset} has parameters of corruptions and none of sequences; "
                "measure suite 'p' in a call of its own, with a published preset"
            )
        if self.preset_file and self.official:
            raise ValueError(
                f"preset {self.preset} would have no effect on official files, which are measured "
                "as they are"
            )
        for suite in ("natural", "ood"):
            paths = getattr(self, suite)
            if paths and suite not in self.suite:
                raise ValueError(
                    f"{suite} {', '.join(map(str, paths))} would have no effect: it belongs to "
                    f"suite {suite!r}, suites asked for: {', '.join(self.suite)}"
                )
        for suite, reason in _NOT_ADAPTED.items():
            if suite not in self.suite:
                self._check_unused(suite)
            elif self.adapt_batch_norm:
                raise ValueError(
                    f"suite {suite!r} does not go with adapt_batch_norm: {reason}; measure one "
                    "without the other"
                )

    @property
    def preset_file(self) -> Path | None:
        """The file of the preset; None for a published one."""
        path = Path(self.preset)
        return path if path.suffix.lower() in (".json", ".toml") else None

    def _check_metrics(self) -> None:
        """Refuse groups of metrics that nothing could be fitted for, and settings of no group."""
        for group in sorted({"conformal", "calibrators"} & {*self.metrics}):
            if not self.temperature_images:
                raise ValueError(
                    f"metrics {group!r} are fitted on held-out clean images: say how many with "
                    "temperature_images (--temperature-images 1000)"
                )
        if "conformal" not in self.metrics and self.conformal_coverage != 0.9:
            raise ValueError(
                f"conformal_coverage {self.conformal_coverage} would have no effect: it belongs to "
                "metrics 'conformal'"
            )

    def _check_unused(self, suite: str) -> None:
        """Refuse settings of a suite that is not measured."""
        for entry in fields(self):
            if entry.name.startswith(f"{suite}_"):
                self._check_default(entry.name, (suite,))

    def check_suites(self) -> None:
        """Refuse settings of corruptions or sequences where none are measured, by a ValueError.

        Commands are checked so; calls from Python may share settings among suites.
        """
        for name, suites in _SUITES_OF.items():
            if not set(suites) & set(self.suite):
                self._check_default(name, suites)

    def _check_default(self, name: str, suites: Sequence[str]) -> None:
        value = getattr(self, name)
        if value != EvaluateConfig.default(name):
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            raise ValueError(
                f"{name} {shown} would have no effect: it belongs to suite "
                f"{' or '.join(map(repr, suites))}, suites asked for: {', '.join(self.suite)}"
            )

    @staticmethod
    def default(name: str) -> Any:
        """Return the default of a setting."""
        return next(entry.default for entry in fields(EvaluateConfig) if entry.name == name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One measurement of a model, or of several as an ensemble: models, images, and how."""

    models: tuple[str, ...]
    """Run folders, or timm:NAME, torchvision:NAME, hf:REPO, onnx:FILE, python:MODULE:FUNCTION,
    NAME@FILE; several are measured as one ensemble, the mean of their probabilities."""
    predictions: Path | None = None
    """File of predictions that another program made (npz, parquet or csv), instead of a model; see
    augmix corrupt --manifest."""
    against: str | None = None
    """Model that is compared with the first one, up to --margin-of-error."""
    margin_of_error: float | None = None
    """Measure a growing random part of suite c (or clean) until the 95 % interval of the error, or
    of the difference from --against, is at most so many percentage points to each side, or the
    sign of the difference is settled. A number given as --precision is taken for it."""
    name: str | None = None
    """Name in tables and reports; by default that of the run, its folder, or the model."""
    source: str | None = None
    """Form of the images: digits, cifar10, cifar100, folder, parquet, npz, ...; by default the
    run's own, or the form seen from --data."""
    data: str | None = None
    """Folder or file of the images; by default the run's own."""
    split: str = "test"
    """Part of the images that is measured."""
    preprocessing: str | None = None
    """Preprocessing of the images, by name (none, half, imagenet, imagenet-bicubic, imagenet-half,
    imagenet-none, efficientnet-lite); by default the model's own."""
    resize: int | None = None
    """Size of the shorter side after resizing, in pixels; by default that of the model or run."""
    crop: int | None = None
    """Size of the square cut out of the middle, in pixels; by default that of the model or run."""
    interpolation: Filter | None = None
    """Filter of the resizing; by default the model's own."""
    mean: tuple[float, ...] | None = None
    """Subtracted from every channel, in units of --input-range; with --preprocessing."""
    std: tuple[float, ...] | None = None
    """Every channel is then divided by it; with --preprocessing."""
    input_range: tuple[float, float] | None = None
    """Values of black and white before that, e.g. 0 255; with --preprocessing."""
    test_input_size: bool = False
    """Images of the size that a timm model was tested at (its test_input_size), not of the size it
    was trained at."""
    outputs: Literal["logits", "probabilities"] = "logits"
    """What the models give: logits, or the probabilities of a softmax, whose logarithms are then
    measured."""
    ema: bool = False
    """Measure the averaged weights (state_dict_ema, model_ema, ...) of a file NAME@FILE that holds
    them beside the trained ones."""
    class_list: str | None = None
    """File that lists the model's classes, a line each (index synset name), where the images have
    only some of them or another order."""
    classes_by_position: bool = False
    """Take class i of the images as class i of the model, whatever the names of both."""
    restrict: bool = False
    """With a class list: the model may only predict classes that the images have."""
    allow_train_data: bool = False
    """Measure on images that the run was trained on."""
    dry_run: bool = False
    """Say what would be measured, what --out has of it already, how many bytes are written and how
    long it takes, from a few images, and write nothing."""
    reading: Reading = field(default_factory=Reading)
    """How image files are read."""
    how: EvaluateConfig = field(default_factory=EvaluateConfig)
    """How the model is measured."""

    def __post_init__(self) -> None:
        if self.predictions:
            self._check_predictions()
        elif not self.models:
            raise ValueError("name at least one model: a run folder, or e.g. timm:resnet50")
        else:
            self.how.check_suites()
        if self.against and self.margin_of_error is None:
            raise ValueError(
                "against needs a margin of error in percentage points: --margin-of-error 1"
            )
        if self.margin_of_error is not None and self.how.shard is not None:
            raise ValueError(
                f"shard {self.how.shard!r} does not go with a margin of error: what is measured "
                "next depends on what was found; start one process, or torchrun"
            )
        if len(self.models) > 1 and not self.how.out:
            raise ValueError("several models are an ensemble: name a folder for its results, --out")
        if self.class_list and self.classes_by_position:
            raise ValueError("name a class list, or take classes_by_position without one")
        if self.restrict and not self.class_list:
            raise ValueError("restrict needs the list of the model's classes, --class-list")
        if (self.mean or self.std or self.input_range) and not self.preprocessing:
            raise ValueError(
                "mean, std and input_range change a preprocessing named with --preprocessing "
                "(none, to give all of it), got none"
            )

    def _check_predictions(self) -> None:
        """Refuse settings of a model, or of images that are corrupted here."""
        if self.models:
            raise ValueError(f"name a model or predictions, not both; got {self.models[0]!r} too")
        for config, used in ((self, _OF_PREDICTIONS), (self.how, _OF_ROWS)):
            for entry in fields(config):
                value, default = getattr(config, entry.name), entry.default
                is_given = value != default and entry.default_factory is MISSING
                if is_given and entry.name not in used:
                    raise ValueError(
                        f"{entry.name} {value!r} would have no effect: it is for a model, and "
                        "predictions are taken as they are"
                    )

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        if self.how.out:
            return Path(self.how.out)
        if self.predictions:
            return Path("runs") / self.predictions.stem
        run = Path(self.models[0]).expanduser()
        if not run.is_dir():
            run = Path("runs") / _slug(self.models[0])
        if self.margin_of_error is not None:
            return run / (f"against-{_slug(self.against)}" if self.against else "sampled")
        return run / "adapted" if self.how.adapt_batch_norm else run


def _slug(model: str) -> str:
    """A model's name as one of a folder."""
    return re.sub(r"[^\w.-]+", "-", shorten(model.rstrip("/\\"))).strip("-.")


def shorten(model: str) -> str:
    """Remove the folders of a file from a model's name."""
    return re.sub(r"[^:@]*[/\\]", "", model)


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrateOptions:
    """Which losses of accuracy are searched for, and how they are measured."""

    drop: tuple[int | float, ...] = (10, 20, 30, 40, 50)
    """Percentage points of accuracy that the model loses at severity 1, 2, ...: up to five, each
    larger than the one before."""
    names: tuple[str, ...] = ("paper-15",)
    """Corruptions, lists of them (paper-15, extra-4, cifar-bar, imagenet-bar), or your own as
    python:FILE:FUNCTION."""
    preset: Preset = "auto"
    """Published preset whose severity scale is searched; auto goes by the size of the images."""
    tolerance: float = 1.0
    """Percentage points by which a loss may differ from the one that was asked for; a corruption
    that comes no nearer does not reach it."""
    max_images: int = 1000
    """Images in the fixed random part on which losses are measured."""
    frost_textures: Path | None = None
    """Folder of the published frost photographs; by default the textures that the package draws."""
    jpeg_quality: int | None = None
    """Corrupted images are coded as JPEG of this quality and decoded; by default they are not."""
    seed: int = 0
    """Seed of the part of the images and of the draws."""
    batch_size: int = 256
    """Images in a forward pass."""
    num_threads: int | None = None
    """Threads that make images while the model computes; by default as for augmix evaluate."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network; bf16 is by autocast."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device that the model runs on."""
    name: str | None = None
    """Name of the preset in results and reports; by default that of the file."""
    out: Path | None = None
    """File of the preset, NAME.json. The command writes preset.json by default; a call from Python
    keeps nothing on disk."""

    def __post_init__(self) -> None:
        check_positive(self, "max_images", "batch_size", "num_threads")
        steps = [0, *self.drop]
        is_growing = all(low < high for low, high in pairwise(steps))
        quality = self.jpeg_quality
        check_fields(
            self,
            drop=(
                1 <= len(self.drop) <= 5 and is_growing and steps[-1] < 100,
                "one to five growing numbers of percentage points above 0 and below 100",
            ),
            tolerance=(0 < self.tolerance < 100, "above 0 and below 100 percentage points"),
            jpeg_quality=(quality is None or 1 <= quality <= 100, "1..100"),
            out=(self.out is None or self.out.suffix.lower() == ".json", "a file NAME.json"),
        )


@dataclass(frozen=True, kw_only=True)
class _CalibratedModel:
    """The reference model and its images. No slots, as options are inherited too."""

    model: str
    """Reference model: a run folder, or timm:NAME, torchvision:NAME, hf:REPO, onnx:FILE,
    python:MODULE:FUNCTION, NAME@FILE."""
    data: str | None = None
    """Folder or file of the images; by default the run's own."""
    source: str | None = None
    """Form of the images: digits, cifar10, cifar100, folder, parquet, npz, ...; by default the
    run's own, or the form seen from --data."""
    split: str = "test"
    """Part of the images."""
    preprocessing: str | None = None
    """Preprocessing of the images, by name, as for augmix evaluate; by default the model's own."""
    resize: int | None = None
    """Size of the shorter side after resizing, in pixels; by default that of the model or run."""
    crop: int | None = None
    """Size of the square cut out of the middle, in pixels; by default that of the model or run."""
    interpolation: Filter | None = None
    """Filter of the resizing; by default the model's own."""
    outputs: Literal["logits", "probabilities"] = "logits"
    """What the model gives: logits, or the probabilities of a softmax."""
    class_list: str | None = None
    """File that lists the model's classes, where the images have only some of them or another
    order."""
    classes_by_position: bool = False
    """Take class i of the images as class i of the model, whatever the names of both."""
    allow_train_data: bool = False
    """Measure on images that the run was trained on."""
    reading: Reading = field(default_factory=Reading)
    """How image files are read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrateConfig(CalibrateOptions, _CalibratedModel):
    """The severities at which a reference model loses given points of accuracy, as a preset."""

    out: Path | None = Path("preset.json")
    """File of the preset, NAME.json; a search that was stopped is continued."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictConfig:
    """Which model, and which images."""

    model: str
    """Run folder (of several seeds: their ensemble), or timm:NAME, torchvision:NAME, hf:REPO,
    hub:OWNER/NAME, onnx:FILE, python:FILE:FUNCTION, NAME@FILE."""
    images: tuple[str, ...]
    """Image files, folders (with all folders below), patterns such as 'photos/*.jpg', or - for a
    list on standard input, a path a line."""
    top: int = 1
    """Classes listed for each image, the most probable first."""
    form: Literal["table", "csv", "jsonl"] | None = None
    """What is printed or written: a table, CSV, or a JSON object a line; by default the ending of
    --out, else a table."""
    out: Path | None = None
    """File to write, NAME.csv or NAME.jsonl, instead of printing; what a stopped call has predicted
    is kept in the folder NAME.csv.parts until the file is complete."""
    shard: str | None = None
    """i/n: this is one of n jobs that write one --out together, on a folder that all of them see.
    Processes of torchrun are shards by themselves."""
    temperature: float | None = None
    """Divides the logits; by default the temperature that evaluate fitted for the run, or that an
    exported file holds, else 1."""
    calibrator: CalibratorName = "temperature"
    """What makes confidences of logits, as evaluate fitted it with --temperature-images (and
    --metrics calibrators): a temperature, vector scaling (predictions change too), isotonic
    regression or histogram binning (of the first class alone)."""
    calibration: Path | None = None
    """Folder of the results in which evaluate fitted the calibrator; by default the run folder."""
    outputs: Literal["logits", "probabilities"] = "logits"
    """What the model gives: logits, or the probabilities of a softmax."""
    ema: bool = False
    """Take the averaged weights (state_dict_ema, model_ema, ...) of a file NAME@FILE that holds
    them beside the trained ones."""
    size: int | None = None
    """Size of the images in pixels; by default that of the model or of the run's training."""
    batch_size: int = 32
    """Images in a forward pass."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device that the model runs on."""
    dry_run: bool = False
    """Say how many images there are, how many --out has already, and bytes and time of the file,
    from a few images, and write nothing."""
    reading: Reading = field(default_factory=Reading)
    """How image files are read: broken ones are named and left out unless --on-error raise, and
    photographs are turned upright unless --exif-orientation ignore."""

    def __post_init__(self) -> None:
        check_positive(self, "top", "size", "batch_size")
        if not self.images:
            raise ValueError(
                f"name the images behind the model {self.model}: files, folders or patterns"
            )
        if self.temperature is not None and not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")
        if self.temperature is not None and (self.calibrator != "temperature" or self.calibration):
            raise ValueError(
                f"temperature {self.temperature} does not go with calibrator {self.calibrator!r} "
                "or with a folder of results that holds one; give one of them"
            )
        if self.top > 1 and self.calibrator in ("isotonic", "histogram"):
            raise ValueError(
                f"calibrator {self.calibrator!r} has the confidence of the first class only, and "
                f"top {self.top} asks for more; take temperature or vector, or top 1"
            )
        for name in ("image_column", "label_column"):
            if getattr(self.reading, name) is not None:
                raise ValueError(
                    f"{name} {getattr(self.reading, name)!r} would have no effect: predict reads "
                    "image files, which have no columns"
                )
        if self.shard is not None:
            check_shard(self.shard)
            if self.out is None:
                raise ValueError(
                    f"shard {self.shard!r} needs the file that all shards write: --out NAME.csv"
                )
        if self.out is not None and self.written_form == "table":
            raise ValueError(
                f"out must be a file NAME.csv or NAME.jsonl, or come with --form csv or jsonl, got "
                f"{str(self.out)!r}"
            )

    @property
    def written_form(self) -> Literal["table", "csv", "jsonl"]:
        """What is printed or written."""
        endings: dict[str, Literal["csv", "jsonl"]] = {".csv": "csv", ".jsonl": "jsonl"}
        return self.form or (endings.get(self.out.suffix.lower()) if self.out else None) or "table"
