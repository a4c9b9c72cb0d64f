"""Configuration of the demo and of reproductions: tables and figures, scales, what to run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from augmix import published
from augmix.data import Reading
from augmix.training.recipes import RECIPES

# -- Tables and scales ----------------------------------------------------------------------------

STYLISED = ("sin", "augmix-sin")  # trained on stylised copies too
RECIPE_TITLES: Mapping[str, str] = {"robust": "Recipe `robust`"}  # rows beside the methods


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperTable:
    """A table or figure of the paper, and the runs it needs."""

    title: str
    data_sets: tuple[str, ...] = ()  # ``cifar10``, ``cifar100`` or ``imagenet``
    families: tuple[str, ...] = ()  # networks by family; a scale names the member
    methods: tuple[str, ...] = ()  # as for `methods.build_method`, or one of `RECIPE_TITLES`
    suites: tuple[str, ...] = ("c",)  # what is measured beside clean images
    sequences: str = "standard-10"  # of suite ``p``
    num_seeds: int = 1  # runs of each cell that the table itself asks for (deep ensembles)
    is_ablation: bool = False  # whether every value of `compare.ABLATION` has a run of its own
    is_field: bool = False  # whether it is made by `field.list_field`
    # the method whose counted cost every run has, by as many epochs; empty: epochs of the scale
    equal_cost_to: str = ""


def recipe_settings(row: str) -> dict[str, Any]:
    """What a recipe of `RECIPE_TITLES` sets beside network and length; nothing for a method."""
    own = RECIPES[row] if row in RECIPE_TITLES else {}
    return {name: value for name, value in own.items() if name not in ("model", "epochs")}


def _methods(number: int) -> tuple[str, ...]:
    """The methods of a printed table, in its order."""
    return tuple(dict.fromkeys(row.method for row in published.TABLES[number].rows))


_TABLE_1 = PaperTable(
    title="Average error on CIFAR-10-C and CIFAR-100-C",
    data_sets=("cifar10", "cifar100"),
    families=("allconv", "densenet", "wrn", "resnext"),
    methods=_methods(1),
)
_TABLE_2 = PaperTable(
    title="Clean error, corruption errors and mCE on ImageNet-C",
    data_sets=("imagenet",),
    families=("resnet",),
    methods=_methods(2),
)
_TABLE_4 = replace(
    _TABLE_1,
    title="Ablation of AugMix on CIFAR-10-C and CIFAR-100-C",
    families=("wrn",),
    methods=_methods(4),
)
_TABLE_6 = replace(
    _TABLE_1,
    title="Clean error and mean flip probability on CIFAR-10(-P) by network",
    data_sets=("cifar10",),
    suites=("c", "p"),
    sequences="cifar-script-10",
)
_FIGURE_5 = replace(
    _TABLE_1,
    title="Error on CIFAR-10-C with a ResNeXt",
    data_sets=("cifar10",),
    families=("resnext",),
)
_FIELD = PaperTable(
    title="Methods of the paper and after it: errors, stability, calibration and cost",
    data_sets=("cifar10", "cifar100"),
    families=("wrn",),
    methods=(
        *(name for name in published.LABELS if name != "augmix+mixup"),
        *(
            "trivialaugment",
            "apr-sp",
            "hybridaugment-pp",
            "afa",
            "augmix-afa",
            "trivialaugment-afa",
        ),
        *("prime", "prime-afa", "pixmix", "ipmix", "noisymix", "augmax", "lp-noise", "noise2net"),
        *RECIPE_TITLES,
    ),
    suites=("c", "c-bar", "p"),
    sequences="cifar-script-10",
    is_field=True,
)
PAPER_TABLES: Mapping[str, PaperTable] = {
    "table1": _TABLE_1,
    "table2": _TABLE_2,
    "table3": replace(_TABLE_2, title="Flip rates and mFR on ImageNet-P", suites=("c", "p")),
    "table4": _TABLE_4,
    "table4-extended": replace(
        _TABLE_4,
        title="Ablation of AugMix on CIFAR-10-C and CIFAR-100-C, with Mixup over AugMix",
        methods=(*_methods(4), "augmix+mixup"),
    ),
    "table5": replace(
        _TABLE_1,
        title="RMS calibration error on CIFAR-10 and CIFAR-10-C by network",
        data_sets=("cifar10",),
    ),
    "table6": _TABLE_6,
    "figure5": _FIGURE_5,
    "figure6": replace(
        _TABLE_6,
        title="Flip probability on CIFAR-10-P and calibration on CIFAR-10(-C), ResNeXt",
        families=("resnext",),
    ),
    "figure7": replace(
        _TABLE_2,
        title="Calibration and error by severity on ImageNet-C, single networks and ensembles",
        methods=("standard", "augmix"),
        num_seeds=3,
    ),
    "figure8": replace(
        _FIGURE_5,
        title="AugMix on CIFAR-10-C with one setting at a time changed, WideResNet",
        families=("wrn",),
        methods=("augmix",),
        is_ablation=True,
    ),
    "figure9": replace(
        _FIGURE_5,
        title="Error under single Fourier-basis perturbations of CIFAR-10, WideResNet",
        families=("wrn",),
        suites=("c", "fourier"),
    ),
    "figure11": replace(_FIGURE_5, title="Error by corruption of CIFAR-10-C, ResNeXt"),
    "field": _FIELD,
    "field-equal-cost": replace(
        _FIELD,
        title="Methods of the paper and after it at the cost of AugMix",
        equal_cost_to="augmix",
    ),
}
ALTERNATIVES = {"densenet": "densenet-bc"}  # families that are chosen by name alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How long the runs of a table train."""

    summary: str
    networks: Mapping[str, str]  # the network that stands for each family
    recipe: Mapping[str, Any]  # settings of every training run
    # Settings on top of the recipe:
    by_family: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    by_method: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    by_cell: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    measuring: Mapping[str, Any] = field(default_factory=dict)  # settings of every measurement
    fourier_size: int | None = None  # rows and columns of the map of figure 9; None: all
    num_seeds: int = 1
    # percentage points from measured to published mean; 0 if the runs are too small to compare
    tolerance: float = 0.0


_PUBLISHED = {
    "allconv": "allconv",
    "densenet": "densenet-40-12",
    "densenet-bc": "densenet-bc-100-12",
    "wrn": "wrn-40-2",
    "resnext": "resnext-29-4x32d",
    "resnet": "resnet50",
}
_SMALL = {
    "allconv": "allconv-16",
    "densenet": "densenet-10-8",
    "densenet-bc": "densenet-bc-16-8",
    "wrn": "wrn-10-1",
    "resnext": "resnext-11-4x4d-8",
    "resnet": "resnet18-cifar",
}
_IMAGENET = {  # but the network and the images, which the table names
    name: value
    for name, value in RECIPES["imagenet-goyal"].items()
    if name not in ("source", "model", "epochs")
}
_TWICE_AS_LONG = ("autoaugment", "random-aa", "augmix", "augmix-sin")  # on ImageNet
_FAST_CPU = {"precision": "bf16", "channels_last": True, "torch_threads": 1, "device": "cpu"}

SCALES: Mapping[str, Scale] = {
    "paper": Scale(
        summary="the published networks, epochs and data",
        networks=_PUBLISHED,
        recipe={"epochs": 100, "batch_size": 128},
        by_family={
            "densenet": {"epochs": 200},
            "densenet-bc": {"epochs": 200},
            "resnext": {"epochs": 200},
            "resnet": {**_IMAGENET, "epochs": 90, "reduced_decoding": False},
        },
        by_cell={("resnet", method): {"epochs": 180} for method in _TWICE_AS_LONG},
        num_seeds=1,
        tolerance=1.5,
    ),
    "gpu-hour": Scale(
        summary="the published networks on one GPU, epochs cut to about an hour a table",
        networks={**_PUBLISHED, "resnet": "resnet18"},
        recipe={
            "epochs": 10,
            "batch_size": 256,
            "learning_rate": 0.2,
            "schedule": "one-cycle",
            "precision": "bf16",
            "channels_last": True,
        },
        by_family={"resnet": {"size": 64, "severity": 1, "max_train_images": 130_000}},
    ),
    "cpu-hour": Scale(
        summary="narrow networks of the same four families on two CPU cores, within the hour",
        networks=_SMALL,
        recipe={
            **_FAST_CPU,
            "epochs": 5,
            "batch_size": 128,
            "learning_rate": 0.2,
            "schedule": "one-cycle",
            "max_train_images": 16_000,
        },
        by_family={"allconv": {"dropout": 0.0}, "resnet": {"size": 32}},
        by_method={"adversarial": {"attack_steps": 3, "attack_step_size": 4 / 255}},
        measuring={"max_images": 1_000, "precision": "bf16"},
        fourier_size=16,
    ),
    "smoke": Scale(
        summary="a few steps of the smallest network, to show that everything runs",
        networks=dict.fromkeys(_PUBLISHED, "small"),
        recipe={**_FAST_CPU, "epochs": 1, "batch_size": 32, "max_train_images": 64},
        by_family={"resnet": {"size": 32}},
        measuring={"max_images": 20},
        fourier_size=3,
    ),
}


# -- Commands --------------------------------------------------------------------------------------

RUNS_FOLDER = "runs"
SEQUENCES_FOLDER = "drift"  # of a run folder: its -P results
FOURIER_FOLDER = "fourier"  # likewise
BAR_FOLDER = "c-bar"

TableName = Literal[
    "table1",
    "table2",
    "table3",
    "table4",
    "table4-extended",
    "table5",
    "table6",
    "figure4",
    "figure5",
    "figure6",
    "figure7",
    "figure8",
    "figure9",
    "figure10",
    "figure11",
    "field",
    "field-equal-cost",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReproduceConfig:
    """Which tables and figures, how large, from which data."""

    tables: tuple[TableName, ...]
    """The tables and figures of the paper; field, the methods of the paper and after it;
    field-equal-cost, the same with as many epochs as AugMix's cost pays for. Runs that several need
    are made once."""
    scale: Literal["paper", "gpu-hour", "cpu-hour", "smoke"] = "cpu-hour"
    """How long the runs train: the published settings; the published networks for about an hour on
    a GPU; narrow networks for about an hour on two CPU cores; a few steps."""
    data: str = ""
    """Folder of CIFAR-10 (official files, or train.parquet and test.parquet), or of ImageNet (train
    and val folders) for the tables on ImageNet."""
    data_cifar100: str = ""
    """Folder of CIFAR-100; without it its columns stay empty."""
    stylised: str = ""
    """Folder of stylised training images, for the methods sin and augmix-sin; without it their
    rows stay empty. `augmix stylize` makes one."""
    official: tuple[Path, ...] = ()
    """Folders of the published CIFAR-10-C and -P, or ImageNet-C and -P, or files of C-bar. Without
    them images are corrupted on the fly, and numbers are not judged by the printed ones."""
    official_cifar100: tuple[Path, ...] = ()
    """Folders of the published CIFAR-100-C, or files of C-bar."""
    frost_textures: Path | None = None
    """Folder of the published frost photographs, for images corrupted on the fly; by default the
    textures that the package draws."""
    jpeg_quality: int | None = None
    """Images of ImageNet that are corrupted on the fly are coded as JPEG of this quality, as the
    published ImageNet-C is by 85; by default they are not."""
    maxblur_weights: Path | None = None
    """Zhang's released ResNet-50 with Bin-5 blur pools, measured in place of a run of maxblur."""
    download: bool = False
    """Fetch CIFAR-10 and CIFAR-100 if they are not there."""
    methods: tuple[str, ...] = ()
    """Only these methods; none means all of the table's."""
    families: tuple[str, ...] = ()
    """Only these networks: allconv, densenet, wrn, resnext; none means all of the table's. Without
    being named, densenet-bc, the DenseNet-BC of the paper's text, is never one of them."""
    seeds: int | None = None
    """Runs of each cell; by default the scale's number."""
    num_processes: int | None = None
    """Runs trained at the same time; by default one for each GPU, or for each CPU core."""
    out: Path = Path("runs/reproduce")
    """Folder of the runs, which all tables of a scale share, and of the files written."""
    dry_run: bool = False
    """List the runs with their epochs and counted cost, and train nothing."""
    reading: Reading = field(default_factory=Reading)
    """How image files are read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoConfig:
    """The demo: Standard and AugMix trained on handwritten digits, measured under corruption."""

    out: Path = Path("runs/demo")
    """Folder of both runs, the report and the summary."""
    epochs: int = 14
    """Passes over the 1,400 training images."""
    seed: int = 0
    """Seed of both runs."""
    max_images: int | None = None
    """Measure a fixed random part of the 397 test images; by default all."""
    max_train_images: int | None = None
    """Train on a fixed random part of the images; by default all."""
