"""Reproduce the paper's tables and figures: train and measure their runs, then compare.

A table names data sets, networks and methods; a scale names a network for each family and the
settings of its training. Together they are a list of runs. Settings are those of Hendrycks et al.
(2020), section 4, as far as they are published, and the released code's otherwise.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from augmix import published
from augmix.augment.policies import AugMix
from augmix.data import Reading
from augmix.data.sources import open_source
from augmix.errors import RunError
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.models import run_measurement
from augmix.paper.compare import (
    ENSEMBLE,
    FIGURES,
    NETWORKS,
    RunKey,
    draw,
    list_findings,
    write_findings,
)
from augmix.paper.runs import Task, TaskResult, run_tasks
from augmix.pictures import write_preview
from augmix.progress import OnProgress
from augmix.results import RESULTS_FILE, Results, load_results
from augmix.rng import Stream
from augmix.training.config import RECIPES, build_config

# -- Tables and scales ----------------------------------------------------------------------------

STYLISED = ("sin", "augmix-sin")  # trained on stylised copies too


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperTable:
    """A table or figure of the paper, and the runs it needs."""

    title: str
    data_sets: tuple[str, ...] = ()  # ``cifar10``, ``cifar100`` or ``imagenet``
    families: tuple[str, ...] = ()  # networks by family; a scale names the member
    methods: tuple[str, ...] = ()  # rows of `methods.METHODS`
    suites: tuple[str, ...] = ("c",)  # what is measured: ``c``, ``p``; clean images always are
    num_seeds: int = 1  # runs of each cell that the table itself asks for (deep ensembles)


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
    "table4": replace(
        _TABLE_1,
        title="Ablation of AugMix on CIFAR-10-C and CIFAR-100-C",
        families=("wrn",),
        methods=_methods(4),
    ),
    "figure5": _FIGURE_5,
    "figure6": replace(
        _FIGURE_5,
        title="Flip probability on CIFAR-10-P and calibration on CIFAR-10(-C), ResNeXt",
        suites=("c", "p"),
    ),
    "figure7": replace(
        _TABLE_2,
        title="Calibration by severity on ImageNet-C, single networks and ensembles",
        methods=("standard", "augmix"),
        num_seeds=3,
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How long the runs of a table train."""

    summary: str
    networks: Mapping[str, str]  # the network that stands for each family
    recipe: Mapping[str, Any]  # settings of every training run
    # Settings on top of the recipe:
    by_family: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    by_method: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    measuring: Mapping[str, Any] = field(default_factory=dict)  # settings of every measurement
    num_seeds: int = 1
    # percentage points from measured to published mean; 0 if the runs are too small to compare
    tolerance: float = 0.0


_PUBLISHED = {
    "allconv": "allconv",
    "densenet": "densenet-bc-100-12",
    "wrn": "wrn-40-2",
    "resnext": "resnext-29-32x4d",
    "resnet": "resnet50",
}
_SMALL = {
    "allconv": "allconv-16",
    "densenet": "densenet-10-8",
    "wrn": "wrn-10-1",
    "resnext": "resnext-11-4x4d-8",
    "resnet": "resnet18-cifar",
}
_IMAGENET_180 = {  # but the network and the images, which the table names
    name: value
    for name, value in RECIPES["imagenet-180"].items()
    if name not in ("source", "model", "width", "depth", "alpha", "jsd_weight")
}
_FAST_CPU = {"precision": "bf16", "channels_last": True, "torch_threads": 1, "device": "cpu"}

SCALES: Mapping[str, Scale] = {
    "paper": Scale(
        summary="the published networks, epochs and data",
        networks=_PUBLISHED,
        recipe={"epochs": 100, "batch_size": 128},
        by_family={
            "densenet": {"epochs": 200},
            "resnext": {"epochs": 200},
            "resnet": _IMAGENET_180,
        },
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
    ),
    "smoke": Scale(
        summary="a few steps of the smallest network, to show that everything runs",
        networks=dict.fromkeys(_PUBLISHED, "small"),
        recipe={**_FAST_CPU, "epochs": 1, "batch_size": 32, "max_train_images": 64},
        by_family={"resnet": {"size": 32}},
        measuring={"max_images": 20},
    ),
}


# -- Reproducing -----------------------------------------------------------------------------------

RUNS_FOLDER = "runs"
SEQUENCES_FOLDER = "drift"  # of a run folder: its -P results

TableName = Literal[
    "table1", "table2", "table3", "table4", "figure4", "figure5", "figure6", "figure7"
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReproduceConfig:
    """Which table or figure of the paper, how large, from which data."""

    table: TableName
    """The table or figure."""
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
    download: bool = False
    """Fetch CIFAR-10 and CIFAR-100 if they are not there."""
    methods: tuple[str, ...] = ()
    """Only these methods; none means all of the table's."""
    families: tuple[str, ...] = ()
    """Only these networks: allconv, densenet, wrn, resnext; none means all of the table's."""
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
    """Train and measure the runs of a table, and write it with the published numbers.

    Killed at any time, the same call continues. Several processes or machines that share ``out``
    take different runs. A failed run stops neither the others nor the table.

    Raises:
        RunError: If no data set of the table is given, or a run exists with other settings.
        ValueError: If the table has no such method or network.
    """
    if config.table == "figure4":
        return Reproduction(paths=[_draw_realisation(config)])
    table, scale = PAPER_TABLES[config.table], SCALES[config.scale]
    folder = config.out / config.scale
    tasks = plan_tasks(config)
    for root in (config.data, config.data_cifar100, config.stylised):
        if root not in ("", "digits") and not config.download and not Path(root).exists():
            raise RunError(f"{root} does not exist; name the folder of the images")
    num_devices = torch.cuda.device_count()
    runs = run_tasks(
        list(tasks.values()),
        folder,
        num_processes=config.num_processes or num_devices or os.cpu_count() or 1,
        num_devices=num_devices,
        on_progress=on_progress,
    )
    done = {run.task.name for run in runs if run.state == "done"}
    finished = {key: task for key, task in tasks.items() if task.name in done}
    measured = {key: _load(task) for key, task in finished.items()}
    if config.table == "figure7":
        measured |= _measure_ensembles(finished, folder, on_progress)
    numbers = list_findings(config.table, measured, tolerance=scale.tolerance)
    about = {
        "title": f"{config.table}: {table.title}",
        "scale": config.scale,
        "summary": scale.summary,
        "runs": {run.task.name: run.state for run in runs},
        "remarks": list(_remarks(config, table, runs)),
    }
    paths = write_findings(folder, config.table, numbers, about)
    if config.table in FIGURES:
        paths.append(draw(folder / f"{config.table}.svg", config.table, numbers))
    return Reproduction(paths=paths, runs=runs)


def plan_tasks(config: ReproduceConfig) -> dict[RunKey, Task]:
    """List the runs of a table for which there is data, in the order they are made.

    Raises as `reproduce`.
    """
    table, scale = PAPER_TABLES[config.table], SCALES[config.scale]
    methods = _chosen("method", config.methods, table.methods)
    families = _chosen("network", config.families, table.families)
    data_sets = [name for name in table.data_sets if _root(config, name) or config.download]
    if not data_sets:
        raise RunError(
            f"{config.table} needs the images of {' or '.join(table.data_sets)}: name their "
            "folder by --data (CIFAR-100's by --data-cifar100)"
        )
    num_seeds = config.seeds or max(scale.num_seeds, table.num_seeds)
    keys = [
        RunKey(data_set=data_set, family=family, method=method, seed=seed)
        for seed in range(num_seeds)
        for data_set in data_sets
        for family in families
        for method in methods
        if config.stylised or method not in STYLISED
    ]
    return {key: _task(config, key) for key in keys}


def _task(config: ReproduceConfig, key: RunKey) -> Task:
    table, scale = PAPER_TABLES[config.table], SCALES[config.scale]
    run = config.out / config.scale / RUNS_FOLDER / key.name
    root = _root(config, key.data_set)
    stylised = {"stylised": config.stylised} if key.method in STYLISED else {}
    training = build_config(
        {**scale.recipe, **scale.by_family.get(key.family, {})},
        method=key.method,
        model=scale.networks[key.family],
        source=_source(key.data_set, root),
        data=root or None,
        download=config.download,
        seed=key.seed,
        out=run,
        **config.reading.given,
        **scale.by_method.get(key.method, {}),
        **stylised,
    )
    common = {**scale.measuring, "device": training.run.device}
    ways = [EvaluateConfig(suite=("clean", "c"), out=run, **common)]
    if "p" in table.suites:
        ways.append(EvaluateConfig(suite=("p",), out=run / SEQUENCES_FOLDER, **common))
    measurements = tuple(Measurement(models=(str(run),), how=how) for how in ways)
    return Task(training=training, measurements=measurements)


def _draw_realisation(config: ReproduceConfig) -> Path:
    """Figure 4: two images and their augmentation by AugMix, step by step."""
    if not config.data:
        raise RunError("figure4 needs images: name their folder by --data, or --data digits")
    data_set = "imagenet" if (Path(config.data) / "val").is_dir() else "cifar10"
    root = "" if config.data == "digits" else config.data
    source = open_source(
        _source(data_set, config.data), root=root or None, split="test", **config.reading.given
    )
    ids = np.arange(min(2, len(source)))
    images = source.load(ids)
    plan = AugMix().sample(ids, num_views=1, size=images.shape[1:3], stream=Stream(seed=0))
    config.out.mkdir(parents=True, exist_ok=True)
    return write_preview(config.out / "figure4.png", images, plan)


def _chosen(what: str, wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    for name in wanted:
        if name not in known:
            raise ValueError(f"{what} must be one of {', '.join(known)}; got {name!r}")
    return [name for name in known if not wanted or name in wanted]


def _root(config: ReproduceConfig, data_set: str) -> str:
    return config.data_cifar100 if data_set == "cifar100" else config.data


def _source(data_set: str, root: str) -> str:
    """Choose the source that reads a folder: parquet files where it has them."""
    if root == "digits":
        return "digits"
    if data_set == "imagenet":
        return "imagenet"
    return "parquet" if (Path(root) / "train.parquet").exists() else data_set


def _load(task: Task) -> Results:
    """The results of a run, its clean and corrupted cells and its sequences in one."""
    results = load_results(task.training.run.out / RESULTS_FILE)
    drift = task.training.run.out / SEQUENCES_FOLDER / RESULTS_FILE
    return replace(results, sequences=load_results(drift).sequences) if drift.exists() else results


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


def _remarks(
    config: ReproduceConfig, table: PaperTable, runs: Sequence[TaskResult]
) -> Iterator[str]:
    """Sentences that a reader must know about the numbers."""
    scale = SCALES[config.scale]
    if not scale.tolerance:
        yield "the runs are smaller than the paper's: do not expect the published numbers"
    networks = [f"{NETWORKS[family]} is `{scale.networks[family]}`" for family in table.families]
    yield "networks: " + ", ".join(networks)
    for data_set in table.data_sets:
        if not _root(config, data_set) and not config.download:
            yield f"{data_set} was not measured: no folder of it was given"
    if not config.stylised and any(method in STYLISED for method in table.methods):
        yield "methods on stylised images were not run: --stylised was not given"
    for run in runs:
        if run.state != "done":
            yield f"{run.task.name}: {run.state} {run.reason}".rstrip()
