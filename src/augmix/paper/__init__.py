"""Reproduce the paper's tables and figures: train and measure their runs, then compare.

A table names data sets, networks and methods; a scale names a network for each family and the
settings of its training. Together they are a list of runs. Settings are those of Hendrycks et al.
(2020), section 4, as far as they are published, and the released code's otherwise.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8

from augmix import published
from augmix.augment.policies import AugMix
from augmix.corruptions import SEQUENCES
from augmix.data import Reading
from augmix.data.sources import open_source
from augmix.errors import RunError
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.models import run_measurement
from augmix.paper.compare import (
    ENSEMBLE,
    NETWORKS,
    RunKey,
    ablated,
    list_findings,
    write_findings,
)
from augmix.paper.figures import FIGURES, draw
from augmix.paper.runs import Task, TaskResult, run_tasks
from augmix.pictures import render_operations, save_picture, write_preview
from augmix.progress import OnProgress
from augmix.results import RESULTS_FILE, Results, load_results
from augmix.rng import Stream
from augmix.training.config import build_config
from augmix.training.recipes import RECIPES

# -- Tables and scales ----------------------------------------------------------------------------

STYLISED = ("sin", "augmix-sin")  # trained on stylised copies too


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperTable:
    """A table or figure of the paper, and the runs it needs."""

    title: str
    data_sets: tuple[str, ...] = ()  # ``cifar10``, ``cifar100`` or ``imagenet``
    families: tuple[str, ...] = ()  # networks by family; a scale names the member
    methods: tuple[str, ...] = ()  # as for `methods.build_method`
    suites: tuple[str, ...] = ("c",)  # what is measured beside clean images
    sequences: str = "standard-10"  # of suite ``p``
    num_seeds: int = 1  # runs of each cell that the table itself asks for (deep ensembles)
    is_ablation: bool = False  # whether every value of `compare.ABLATION` has a run of its own


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
}
_ALTERNATIVES = {"densenet": "densenet-bc"}  # families that are chosen by name alone


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


# -- Reproducing -----------------------------------------------------------------------------------

RUNS_FOLDER = "runs"
SEQUENCES_FOLDER = "drift"  # of a run folder: its -P results
FOURIER_FOLDER = "fourier"  # likewise

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
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReproduceConfig:
    """Which tables and figures of the paper, how large, from which data."""

    tables: tuple[TableName, ...]
    """The tables and figures; runs that several need are made once."""
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
    """Folders of the published CIFAR-10-C and -P, or ImageNet-C and -P. Without them images are
    corrupted on the fly, and numbers are not judged by the printed ones."""
    official_cifar100: tuple[Path, ...] = ()
    """Folders of the published CIFAR-100-C."""
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
    reading: Reading = field(default_factory=Reading)
    """How image files are read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """The files of a table or figure (JSON, CSV, Markdown, a figure's picture), and its runs.

    The cell of a failed run stays empty.
    """

    paths: list[Path]
    runs: list[TaskResult] = field(default_factory=list)

    @property
    def unfinished(self) -> list[TaskResult]:
        """The runs that failed, or whose process died; not those that another process has."""
        return [run for run in self.runs if run.state in ("failed", "open")]


def reproduce(config: ReproduceConfig, *, on_progress: OnProgress | None = None) -> Reproduction:
    """Train and measure the runs of tables, and write them with the published numbers.

    Killed at any time, the same call continues. Several processes or machines that share ``out``
    take different runs. A failed run stops neither the others nor the table.

    Raises:
        RunError: If no data set of a table is given, or a run exists with other settings.
        ValueError: If a table has no such method or network.
    """
    if not config.tables:
        raise ValueError("name at least one table or figure, e.g. table4")
    folder = config.out / config.scale
    planned = {name: plan_tasks(config, name) for name in config.tables if name in PAPER_TABLES}
    for path in (
        *(config.data, config.data_cifar100, config.stylised, config.maxblur_weights or ""),
        *(config.frost_textures or "", *config.official, *config.official_cifar100),
    ):
        if path not in ("", "digits") and not config.download and not Path(path).exists():
            raise RunError(f"{path} does not exist; name the folder of the images")
    num_devices = torch.cuda.device_count()
    tasks: dict[str, Task] = {}
    for task in (each for of_table in planned.values() for each in of_table.values()):
        known = tasks.setdefault(task.name, task)
        more = [each for each in task.measurements if each not in known.measurements]
        tasks[task.name] = replace(known, measurements=(*known.measurements, *more))
    runs = run_tasks(
        list(tasks.values()),
        folder,
        num_processes=config.num_processes or num_devices or os.cpu_count() or 1,
        num_devices=num_devices,
        on_progress=on_progress,
    )
    paths: list[Path] = []
    for name in config.tables:
        if name in _PICTURES:
            paths.append(_PICTURES[name](config))
        else:
            states = {run.task.name: run for run in runs}
            of_table = {key: states[task.name] for key, task in planned[name].items()}
            paths += _write_table(config, name, of_table, on_progress)
    return Reproduction(paths=paths, runs=runs)


def _write_table(
    config: ReproduceConfig,
    name: str,
    runs: Mapping[RunKey, TaskResult],
    on_progress: OnProgress | None,
) -> list[Path]:
    """Write a table or figure from those of its runs that are done."""
    table, scale, folder = PAPER_TABLES[name], SCALES[config.scale], config.out / config.scale
    finished = {key: run.task for key, run in runs.items() if run.state == "done"}
    measured = {key: _load(task) for key, task in finished.items()}
    if name == "figure7":
        measured |= _measure_ensembles(finished, folder, on_progress)
    if config.maxblur_weights and "maxblur" in table.methods:
        key = RunKey(data_set="imagenet", family="resnet", method="maxblur", seed=0)
        measured[key] = _measure_released(config, name, key, on_progress)
    tolerance = dict.fromkeys(table.data_sets, scale.tolerance)
    numbers = list_findings(
        name,
        measured,
        tolerance={each: most for each, most in tolerance.items() if _official(config, each)},
        networks=scale.networks,
    )
    about = {
        "title": f"{name}: {table.title}",
        "scale": config.scale,
        "summary": scale.summary,
        "runs": {run.task.name: run.state for run in runs.values()},
        "remarks": list(_remarks(config, name, runs)),
    }
    paths = write_findings(folder, name, numbers, about)
    if name in FIGURES:
        paths.append(draw(folder / f"{name}.svg", name, numbers))
    return paths


def plan_tasks(config: ReproduceConfig, name: str) -> dict[RunKey, Task]:
    """List the runs of a table for which there is data, in the order they are made.

    Raises as `reproduce`.
    """
    table, scale = PAPER_TABLES[name], SCALES[config.scale]
    methods = _chosen("method", config.methods, table.methods)
    others = [_ALTERNATIVES[family] for family in table.families if family in _ALTERNATIVES]
    families = _chosen("network", config.families, table.families, others)
    data_sets = [each for each in table.data_sets if _root(config, each) or config.download]
    if not data_sets:
        raise RunError(
            f"{name} needs the images of {' or '.join(table.data_sets)}: name their "
            "folder by --data (CIFAR-100's by --data-cifar100)"
        )
    num_seeds = config.seeds or max(scale.num_seeds, table.num_seeds)
    skipped = {
        *(() if config.stylised else STYLISED),
        *(["maxblur"] * bool(config.maxblur_weights)),
    }
    keys = [
        RunKey(data_set=data_set, family=family, method=method, seed=seed)
        for seed in range(num_seeds)
        for data_set in data_sets
        for family in families
        for method in methods
        if method not in skipped
    ]
    if table.is_ablation:
        keys = list(dict.fromkeys(each for key in keys for each in ablated(key)))
    return {key: _task(config, name, key) for key in keys}


def _task(config: ReproduceConfig, name: str, key: RunKey) -> Task:
    scale = SCALES[config.scale]
    run = config.out / config.scale / RUNS_FOLDER / key.name
    root = _root(config, key.data_set)
    stylised = {"stylised": config.stylised} if key.method in STYLISED else {}
    training = build_config(
        {
            **scale.recipe,
            **scale.by_family.get(key.family, {}),
            **scale.by_cell.get((key.family, key.method), {}),
        },
        method=key.method,
        model=scale.networks[key.family],
        source=_source(key.data_set, root),
        data=root or None,
        download=config.download,
        seed=key.seed,
        out=run,
        **config.reading.given,
        **scale.by_method.get(key.method, {}),
        **({key.setting: key.value} if key.setting else {}),
        **stylised,
    )
    measurements = tuple(
        Measurement(models=(str(run),), how=how)
        for how in _ways(config, name, key, run, training.run.device)
    )
    return Task(training=training, measurements=measurements)


def _ways(
    config: ReproduceConfig, name: str, key: RunKey, folder: Path, device: Any
) -> list[EvaluateConfig]:
    """How a run is measured: clean and corrupted images, then sequences where a table has them."""
    table = PAPER_TABLES[name]
    common: dict[str, Any] = {
        **SCALES[config.scale].measuring,
        "device": device,
        "official": _official(config, key.data_set),
        "frost_textures": config.frost_textures,
        "jpeg_quality": config.jpeg_quality if key.data_set == "imagenet" else None,
    }
    scale = SCALES[config.scale]
    ways = [EvaluateConfig(suite=("clean", "c"), out=folder, **common)]
    if "fourier" in table.suites:
        out, size = folder / FOURIER_FOLDER, scale.fourier_size
        plain = {**scale.measuring, "device": device}
        ways.append(EvaluateConfig(suite=("fourier",), fourier_size=size, out=out, **plain))
    if "p" in table.suites:
        out = folder / SEQUENCES_FOLDER
        ways.append(EvaluateConfig(suite=("p",), sequences=(table.sequences,), out=out, **common))
    return ways


def _draw_realisation(config: ReproduceConfig) -> Path:
    """Figure 4: two images and their augmentation by AugMix, step by step."""
    images, severity = _open_images(config, "figure4", 2)
    ids = np.arange(len(images))
    plan = AugMix(severity=severity).sample(
        ids, num_views=1, size=images.shape[1:3], stream=Stream(seed=0)
    )
    config.out.mkdir(parents=True, exist_ok=True)
    return write_preview(config.out / "figure4.png", images, plan)


def _draw_operations(config: ReproduceConfig) -> Path:
    """Figure 10: an image, and each operation alone."""
    images, severity = _open_images(config, "figure10", 1)
    config.out.mkdir(parents=True, exist_ok=True)
    return save_picture(
        config.out / "figure10.png", render_operations(images[0], severity=severity)
    )


def _open_images(
    config: ReproduceConfig, name: str, count: int
) -> tuple[UInt8[np.ndarray, "batch height width channel"], int]:
    """Some test images, and the severity that AugMix has on their data set."""
    if not config.data:
        raise RunError(f"{name} needs images: name their folder by --data, or --data digits")
    is_imagenet = (Path(config.data) / "val").is_dir()
    data_set, severity = ("imagenet", 1) if is_imagenet else ("cifar10", 3)
    root = "" if config.data == "digits" else config.data
    source = open_source(
        _source(data_set, config.data), root=root or None, split="test", **config.reading.given
    )
    return source.load(np.arange(min(count, len(source)))), severity


_PICTURES: Mapping[str, Callable[[ReproduceConfig], Path]] = {
    "figure4": _draw_realisation,
    "figure10": _draw_operations,
}


def _chosen(
    what: str, wanted: Sequence[str], usual: Sequence[str], others: Sequence[str] = ()
) -> list[str]:
    known = (*usual, *others)
    for name in wanted:
        if name not in known:
            raise ValueError(f"{what} must be one of {', '.join(known)}; got {name!r}")
    return [name for name in known if name in (wanted or usual)]


def _root(config: ReproduceConfig, data_set: str) -> str:
    return config.data_cifar100 if data_set == "cifar100" else config.data


def _official(config: ReproduceConfig, data_set: str) -> tuple[Path, ...]:
    return config.official_cifar100 if data_set == "cifar100" else config.official


def _source(data_set: str, root: str) -> str:
    """Choose the source that reads a folder: parquet files where it has them."""
    if root == "digits":
        return "digits"
    if data_set == "imagenet":
        return "imagenet"
    return "parquet" if (Path(root) / "train.parquet").exists() else data_set


def _load(task: Task) -> Results:
    """The results of a run, its clean and corrupted cells, sequences and frequencies in one."""
    folder = task.training.run.out
    results = load_results(folder / RESULTS_FILE)
    if (path := folder / SEQUENCES_FOLDER / RESULTS_FILE).exists():
        results = replace(results, sequences=load_results(path).sequences)
    if (path := folder / FOURIER_FOLDER / RESULTS_FILE).exists():
        found = load_results(path)
        protocol = {**found.protocol, **results.protocol}  # with the size of the map
        results = replace(results, frequencies=found.frequencies, protocol=protocol)
    return results


def _measure_ensembles(
    finished: Mapping[RunKey, Task], folder: Path, on_progress: OnProgress | None
) -> dict[RunKey, Results]:
    """Measure the seeds of a method as one ensemble, as its runs were measured."""
    ensembles = {}
    for method in dict.fromkeys(key.method for key in finished):
        keys = [key for key in finished if key.method == method]
        if len(keys) > 1:
            key, first = replace(keys[0], seed=ENSEMBLE), finished[keys[0]].measurements[0]
            members = tuple(str(finished[each].training.run.out) for each in keys)
            how = replace(first.how, out=folder / RUNS_FOLDER / key.name)
            measurement = replace(first, models=members, how=how)
            ensembles[key] = run_measurement(measurement, on_progress=on_progress)
    return ensembles


def _measure_released(
    config: ReproduceConfig, name: str, key: RunKey, on_progress: OnProgress | None
) -> Results:
    """Measure Zhang's released weights of MaxBlur pooling as the runs of a table are."""
    folder = config.out / config.scale / RUNS_FOLDER / f"{key.name}-released"
    measured = None
    for how in _ways(config, name, key, folder, "auto"):
        measurement = Measurement(
            models=(f"resnet50-maxblur@{config.maxblur_weights}",),
            source=_source(key.data_set, config.data),
            data=config.data,
            how=how,
        )
        found = run_measurement(measurement, on_progress=on_progress)
        measured = replace(measured, sequences=found.sequences) if measured else found
    assert measured is not None
    return measured


def _remarks(
    config: ReproduceConfig, name: str, runs: Mapping[RunKey, TaskResult]
) -> Iterator[str]:
    """Sentences that a reader must know about the numbers."""
    table, scale = PAPER_TABLES[name], SCALES[config.scale]
    if not scale.tolerance:
        yield "the runs are smaller than the paper's: do not expect the published numbers"
    families = dict.fromkeys(key.family for key in runs)
    networks = [f"{NETWORKS[family]} is `{scale.networks[family]}`" for family in families]
    yield "networks: " + ", ".join(networks)
    for data_set in table.data_sets:
        if not _root(config, data_set) and not config.download:
            yield f"{data_set} was not measured: no folder of it was given"
        elif not _official(config, data_set):
            frost = "the published frost photographs" if config.frost_textures else "drawn frost"
            yield (
                f"images of {data_set} were corrupted on the fly, with {frost}, not read from the "
                "published files (--official): numbers are not judged by the printed ones"
            )
    if "p" in table.suites:
        names = ", ".join(SEQUENCES.resolve(table.sequences))
        yield f"sequences ({table.sequences}): {names}"
    if any(method == "augmix+mixup" for method in table.methods):
        yield "the published number of AugMix + Mixup is from memory of the paper: unverified"
    if name in ("figure6", "figure7"):
        yield (
            "RMS calibration errors use all bins; those of the published script leave out the most "
            "confident bin"
        )
    if name == "figure7":
        yield "ensembles of 3: the paper does not say how many networks it took"
    if not config.stylised and any(method in STYLISED for method in table.methods):
        yield "methods on stylised images were not run: --stylised was not given"
    if config.maxblur_weights and "maxblur" in table.methods:
        yield f"MaxBlur pool is measured from the released weights {config.maxblur_weights.name}"
    for run in runs.values():
        if run.state != "done":
            yield f"{run.task.name}: {run.state} {run.reason}".rstrip()
