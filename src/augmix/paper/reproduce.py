"""Reproduce the paper's tables and figures: train and measure their runs, then compare.

A table names data sets, networks and methods; a scale names a network for each family and the
settings of its training. Together they are a list of runs. Settings are those of Hendrycks et al.
(2020), section 4, as far as they are published, and the released code's otherwise.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from augmix.augment.policies import AugMix
from augmix.corruptions import SEQUENCES
from augmix.data.sources import open_source
from augmix.errors import RunError
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.images import official_suites
from augmix.evaluation.models import run_measurement
from augmix.paper.compare import (
    ENSEMBLE,
    NETWORKS,
    RunKey,
    ablated,
    list_findings,
    write_findings,
)
from augmix.paper.config import (
    ALTERNATIVES,
    BAR_FOLDER,
    FOURIER_FOLDER,
    PAPER_TABLES,
    RUNS_FOLDER,
    SCALES,
    SEQUENCES_FOLDER,
    STYLISED,
    PaperTable,
    ReproduceConfig,
    recipe_settings,
)
from augmix.paper.field import (
    count_runs,
    describe_costs,
    equal_epochs,
    field_tables,
    list_field,
    read_facts,
)
from augmix.paper.figures import FIGURES, draw
from augmix.paper.runs import Task, TaskResult, run_tasks
from augmix.pictures import render_operations, save_picture
from augmix.previews import write_preview
from augmix.progress import OnProgress
from augmix.results import RESULTS_FILE, Results, load_results
from augmix.rng import Stream
from augmix.training.settings import build_config


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """The files of a table or figure (JSON, CSV, Markdown, LaTeX, a picture), and its runs.

    The cell of a failed run stays empty. A dry run has only its plan.
    """

    paths: list[Path]
    runs: list[TaskResult] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)  # the runs with their counted cost, in words

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
    _check_used(config)
    folder = config.out / config.scale
    for path in (
        *(config.data, config.data_cifar100, config.stylised, config.maxblur_weights or ""),
        *(config.frost_textures or "", *config.official, *config.official_cifar100),
    ):
        if path not in ("", "digits") and not config.download and not Path(path).exists():
            raise RunError(f"{path} does not exist; name the folder of the images")
    planned = {name: plan_tasks(config, name) for name in config.tables if name in PAPER_TABLES}
    if config.dry_run:
        costs = count_runs({key: each for tasks in planned.values() for key, each in tasks.items()})
        counted = _count_baseline(config, next(iter(planned)), list(costs)) if planned else {}
        return Reproduction(paths=[], plan=describe_costs(costs, "augmix", counted))
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
    if _has_released(config, table):
        key = RunKey(data_set="imagenet", family="resnet", method="maxblur", seed=0)
        measured[key] = _measure_released(config, name, key, on_progress)
    tolerance = {each: scale.tolerance for each in table.data_sets if _official(config, each, "c")}
    tables = None
    if table.is_field:
        facts = {key: read_facts(task) for key, task in finished.items()}
        numbers = list_field(
            list(runs),
            measured,
            facts,
            counted=_count_baseline(config, name, list(facts)),
            tolerance={} if table.equal_cost_to else tolerance,
            networks=scale.networks,
            has_published=not table.equal_cost_to,
        )
        tables = field_tables(name, numbers)
    else:
        numbers = list_findings(name, measured, tolerance=tolerance, networks=scale.networks)
    about = {
        "title": f"{name}: {table.title}",
        "scale": config.scale,
        "summary": scale.summary,
        "runs": {run.task.name: run.state for run in runs.values()},
        "remarks": list(_remarks(config, name, runs)),
    }
    paths = write_findings(folder, name, numbers, about, tables)
    if name in FIGURES:
        paths.append(draw(folder / f"{name}.svg", name, numbers))
    return paths


def _check_used(config: ReproduceConfig) -> None:
    """Refuse settings that none of the tables and figures has, by a `ValueError`."""
    tables = [PAPER_TABLES[name] for name in config.tables if name in PAPER_TABLES]
    data_sets = {each for table in tables for each in table.data_sets}
    methods = {each for table in tables for each in table.methods}
    of_runs = "tables and figures that are made of runs"
    rules = {
        **{
            name: (bool(tables), of_runs)
            for name in ("methods", "families", "seeds", "num_processes", "official", "dry_run")
        },
        "frost_textures": (bool(tables), of_runs),
        "jpeg_quality": ("imagenet" in data_sets, "tables on ImageNet"),
        "maxblur_weights": (any(_has_released(config, each) for each in tables), "table2, table3"),
        "data_cifar100": ("cifar100" in data_sets, "tables on CIFAR-100"),
        "official_cifar100": ("cifar100" in data_sets, "tables on CIFAR-100"),
        "stylised": (bool(methods & set(STYLISED)), "tables with the methods sin and augmix-sin"),
        "download": (bool(data_sets - {"imagenet"}), "tables on CIFAR-10 and CIFAR-100"),
    }
    for name, (is_used, owner) in rules.items():
        if not is_used and (value := getattr(config, name)):
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            raise ValueError(
                f"{name} {shown} would have no effect on {', '.join(config.tables)}: it belongs to "
                f"{owner}"
            )


def _count_baseline(
    config: ReproduceConfig, name: str, keys: Sequence[RunKey], baseline: str = "augmix"
) -> dict[tuple[str, str], float]:
    """Count what the runs of a method would cost where none of them is among others."""
    of_base = {(key.data_set, key.family) for key in keys if key.method == baseline}
    bases = {
        (key.data_set, key.family): RunKey(
            data_set=key.data_set, family=key.family, method=baseline, seed=0
        )
        for key in keys
    }
    wanted = {base: _task(config, name, base) for at, base in bases.items() if at not in of_base}
    costs = count_runs(wanted)
    return {(key.data_set, key.family): float(cost.flop) for key, cost in costs.items()}


def plan_tasks(config: ReproduceConfig, name: str) -> dict[RunKey, Task]:
    """List the runs of a table for which there is data, in the order they are made.

    Raises as `reproduce`.
    """
    table, scale = PAPER_TABLES[name], SCALES[config.scale]
    methods = _chosen("method", config.methods, table.methods)
    others = [ALTERNATIVES[family] for family in table.families if family in ALTERNATIVES]
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
        *(["maxblur"] * _has_released(config, table)),
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
    tasks = {key: _task(config, name, key) for key in keys}
    return _at_equal_cost(config, name, tasks) if table.equal_cost_to else tasks


def _at_equal_cost(
    config: ReproduceConfig, name: str, tasks: Mapping[RunKey, Task]
) -> dict[RunKey, Task]:
    """The same runs, each of as many epochs as the cost of the run of one method pays for."""
    table = PAPER_TABLES[name]
    bases = {key: replace(key, method=table.equal_cost_to) for key in tasks}
    base_tasks = {base: tasks.get(base) or _task(config, name, base) for base in bases.values()}
    costs = count_runs({**base_tasks, **tasks})
    found = {}
    for key, task in tasks.items():
        epochs = equal_epochs(costs[key], costs[bases[key]])
        if epochs != costs[key].epochs:
            key = replace(key, setting="epochs", value=epochs)
            task = _task(config, name, key)
        found[key] = task
    return found


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
            "method": key.method,
            **recipe_settings(key.method),
        },
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
    scale = SCALES[config.scale]
    common: dict[str, Any] = {**scale.measuring, "device": device}

    def made(suite: str) -> dict[str, Any]:
        """The official files of a suite, or how its images are corrupted on the fly."""
        if files := _official(config, key.data_set, suite):
            return {"official": files}
        quality = config.jpeg_quality if key.data_set == "imagenet" else None
        textures = config.frost_textures if suite == "c" else None
        return {"frost_textures": textures, "jpeg_quality": quality if suite != "p" else None}

    ways = [EvaluateConfig(suite=("clean", "c"), out=folder, **made("c"), **common)]
    if "c-bar" in table.suites:
        out = folder / BAR_FOLDER
        ways.append(EvaluateConfig(suite=("c-bar",), out=out, **made("c-bar"), **common))
    if "fourier" in table.suites:
        out, size = folder / FOURIER_FOLDER, scale.fourier_size
        ways.append(EvaluateConfig(suite=("fourier",), fourier_size=size, out=out, **common))
    if "p" in table.suites:
        out, names = folder / SEQUENCES_FOLDER, (table.sequences,)
        ways.append(EvaluateConfig(suite=("p",), sequences=names, out=out, **made("p"), **common))
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


def _official(config: ReproduceConfig, data_set: str, suite: str) -> tuple[Path, ...]:
    """The folders that hold official files of a suite; those that do not exist are of all."""
    folders = config.official_cifar100 if data_set == "cifar100" else config.official
    return tuple(each for each in folders if not each.exists() or suite in official_suites(each))


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
    if (path := folder / BAR_FOLDER / RESULTS_FILE).exists():
        results = replace(results, cells=(*results.cells, *load_results(path).cells))
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


def _has_released(config: ReproduceConfig, table: PaperTable) -> bool:
    """Whether released weights, which are for ImageNet, stand for the runs of MaxBlur pooling."""
    is_there = "maxblur" in table.methods and "imagenet" in table.data_sets
    return config.maxblur_weights is not None and is_there


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
        elif not _official(config, data_set, "c"):
            frost = "the published frost photographs" if config.frost_textures else "drawn frost"
            yield (
                f"images of {data_set} were corrupted on the fly, with {frost}, not read from the "
                "published files (--official): numbers are not judged by the printed ones"
            )
    if table.is_field:
        yield from _field_remarks(config, table)
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
    if config.maxblur_weights and _has_released(config, table):
        yield f"MaxBlur pool is measured from the released weights {config.maxblur_weights.name}"
    for run in runs.values():
        if run.state != "done":
            yield f"{run.task.name}: {run.state} {run.reason}".rstrip()


def _field_remarks(config: ReproduceConfig, table: PaperTable) -> Iterator[str]:
    """Sentences about the tables of the field."""
    yield (
        "training cost is counted: multiply-adds of the network x passes x 6 operations, x 4 for a "
        "step of an attack; views, Noise2Net's network, losses and the optimiser are not counted"
    )
    yield "training time is wall time of the steps, of runs that may share the machine"
    if table.equal_cost_to:
        yield (
            "every method trains for the number of whole epochs, at least 1, whose cost is nearest "
            f"to that of {table.equal_cost_to}; the column of relative cost says how near"
        )
    else:
        yield "published numbers are of other training runs, as their sources say"
        yield "a source with the word unverified was not checked against its publication"
    for data_set in table.data_sets:
        given = bool(_root(config, data_set))
        for suite, title in (("c-bar", "C-bar"), ("p", "sequences")):
            if given and not _official(config, data_set, suite):
                yield f"{title} of {data_set}: made on the fly"
