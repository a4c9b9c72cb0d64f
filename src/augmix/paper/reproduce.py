"""The paper's tables and figures made again: runs by exhibit and scale, measured and published."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from augmix.augment.policies import AugMix
from augmix.data.sources import open_source
from augmix.errors import RunError
from augmix.evaluation.config import EvaluateConfig, evaluate_run
from augmix.paper.compare import ENSEMBLE, NETWORKS, Spot, list_findings, write_findings
from augmix.paper.figures import FIGURES, draw
from augmix.paper.runs import Outcome, Task, run_sweep
from augmix.paper.tables import EXHIBITS, SCALES, STYLISED, Exhibit
from augmix.preview import write_preview
from augmix.progress import OnProgress
from augmix.results import RESULTS_FILE, Results, load_results
from augmix.rng import Stream
from augmix.training.config import build_config

RUNS = "runs"
DRIFT = "drift"  # in a run folder: its -P results

ExhibitName = Literal[
    "table1", "table2", "table3", "table4", "figure4", "figure5", "figure6", "figure7"
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReproduceConfig:
    """Which exhibit of the paper, how large, from which data."""

    exhibit: ExhibitName
    """The table or figure."""
    scale: Literal["paper", "gpu-hour", "cpu-hour", "smoke"] = "cpu-hour"
    """What is trained for how long: the published settings; the published networks for about an
    hour on a GPU; narrow networks for about an hour on two CPU cores; a few steps."""
    data: str = ""
    """Folder of CIFAR-10 (official files, or train.parquet and test.parquet), or of ImageNet (train
    and val folders) for the exhibits on ImageNet."""
    data_cifar100: str = ""
    """Folder of CIFAR-100; without it its columns stay empty."""
    stylised: str = ""
    """Folder of stylised training images, for the methods sin and augmix-sin; without it their
    rows stay empty. `augmix stylize` makes one."""
    download: bool = False
    """Fetch CIFAR-10 and CIFAR-100 if they are not there."""
    methods: tuple[str, ...] = ()
    """Only these methods; none means all of the exhibit's."""
    families: tuple[str, ...] = ()
    """Only these networks: allconv, densenet, wrn, resnext; none means all of the exhibit's."""
    seeds: int = 0
    """Runs of each cell; 0 takes what the scale says."""
    num_processes: int = 0
    """Runs worked on at once; 0 takes one for each GPU, or for each CPU core."""
    out: Path = Path("runs/reproduce")
    """Folder of the runs, which exhibits of the same scale share, and of what is written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exhibited:
    """An exhibit that was made.

    Attributes:
        paths: The files written: JSON, CSV, Markdown, and the picture of a figure.
        outcomes: What became of its runs; a failed one leaves its place in the table empty.
    """

    paths: list[Path]
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def unfinished(self) -> list[Outcome]:
        """The runs that failed, or whose process died; not those that another process has."""
        return [outcome for outcome in self.outcomes if outcome.state in ("failed", "open")]


def reproduce(config: ReproduceConfig, *, on_progress: OnProgress | None = None) -> Exhibited:
    """Train and measure what an exhibit needs, and write it with the published numbers beside.

    Killed at any time, the same call goes on; run by several processes or machines that share
    ``out``, each takes other runs. A run that fails stops neither the others nor the table.

    Returns:
        The files written, and what became of every run.

    Raises:
        RunError: If no data set of the exhibit is given, or a run is there with other settings.
        ValueError: If the exhibit has no such method or network.
    """
    if config.exhibit == "figure4":
        return Exhibited(paths=[_draw_realisation(config)])
    exhibit, scale = EXHIBITS[config.exhibit], SCALES[config.scale]
    folder = config.out / config.scale
    tasks = plan_tasks(config)
    for root in (config.data, config.data_cifar100, config.stylised):
        if root not in ("", "digits") and not config.download and not Path(root).exists():
            raise RunError(f"{root} does not exist; name the folder of the images")
    num_devices = torch.cuda.device_count()
    outcomes = run_sweep(
        list(tasks.values()),
        folder,
        num_processes=config.num_processes or num_devices or os.cpu_count() or 1,
        num_devices=num_devices,
        on_progress=on_progress,
    )
    done = {outcome.task.name for outcome in outcomes if outcome.state == "done"}
    finished = {spot: task for spot, task in tasks.items() if task.name in done}
    measured = {spot: _load(task) for spot, task in finished.items()}
    if config.exhibit == "figure7":
        measured |= _measure_ensembles(finished, folder, on_progress)
    numbers = list_findings(config.exhibit, measured, tolerance=scale.tolerance)
    about = {
        "title": f"{config.exhibit}: {exhibit.title}",
        "scale": config.scale,
        "summary": scale.summary,
        "runs": {outcome.task.name: outcome.state for outcome in outcomes},
        "remarks": list(_remarks(config, exhibit, outcomes)),
    }
    paths = write_findings(folder, config.exhibit, numbers, about)
    if config.exhibit in FIGURES:
        paths.append(draw(folder / f"{config.exhibit}.svg", config.exhibit, numbers))
    return Exhibited(paths=paths, outcomes=outcomes)


def plan_tasks(config: ReproduceConfig) -> dict[Spot, Task]:
    """The runs of an exhibit for which there is data, in the order they are made.

    Raises:
        RunError: If no data set of the exhibit is given.
        ValueError: If the exhibit has no such method or network.
    """
    exhibit, scale = EXHIBITS[config.exhibit], SCALES[config.scale]
    methods = _chosen("method", config.methods, exhibit.methods)
    families = _chosen("network", config.families, exhibit.families)
    data_sets = [name for name in exhibit.data_sets if _root(config, name) or config.download]
    if not data_sets:
        raise RunError(
            f"{config.exhibit} needs the images of {' or '.join(exhibit.data_sets)}: name their "
            "folder by --data (CIFAR-100's by --data-cifar100)"
        )
    num_seeds = config.seeds or max(scale.num_seeds, exhibit.num_seeds)
    spots = [
        Spot(data_set=data_set, family=family, method=method, seed=seed)
        for seed in range(num_seeds)
        for data_set in data_sets
        for family in families
        for method in methods
        if config.stylised or method not in STYLISED
    ]
    return {spot: _task(config, spot) for spot in spots}


def _task(config: ReproduceConfig, spot: Spot) -> Task:
    exhibit, scale = EXHIBITS[config.exhibit], SCALES[config.scale]
    run = config.out / config.scale / RUNS / spot.name
    root = _root(config, spot.data_set)
    settings = {**scale.recipe, **scale.by_family.get(spot.family, {})}
    own = dict(scale.by_method.get(spot.method, {}))
    if spot.method in STYLISED:
        own["stylised"] = config.stylised
    training = build_config(
        settings,
        method=spot.method,
        model=scale.networks[spot.family],
        source=_source(spot.data_set, root),
        data=root or None,
        download=config.download,
        seed=spot.seed,
        out=run,
        **own,
    )
    common: dict[str, Any] = {"models": (str(run),), **scale.measuring}
    common["device"] = training.run.device
    measurements = [EvaluateConfig(suite=("clean", "c"), out=str(run), **common)]
    if "p" in exhibit.suites:
        measurements.append(EvaluateConfig(suite=("p",), out=str(run / DRIFT), **common))
    return Task(training=training, measurements=tuple(measurements))


def _draw_realisation(config: ReproduceConfig) -> Path:
    """Figure 4: two images and what AugMix makes of them, step by step."""
    if not config.data:
        raise RunError("figure4 needs images: name their folder by --data, or --data digits")
    data_set = "imagenet" if (Path(config.data) / "val").is_dir() else "cifar10"
    root = "" if config.data == "digits" else config.data
    source = open_source(_source(data_set, config.data), root=root or None, split="test")
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
    """The source that reads a folder: parquet files where it holds them."""
    if root == "digits":
        return "digits"
    if data_set == "imagenet":
        return "imagenet"
    return "parquet" if (Path(root) / "train.parquet").exists() else data_set


def _load(task: Task) -> Results:
    """The results of a run, its clean and corrupted cells and its sequences in one."""
    results = load_results(task.training.run.out / RESULTS_FILE)
    drift = task.training.run.out / DRIFT / RESULTS_FILE
    if not drift.exists():
        return results
    return replace(results, sequences=load_results(drift).sequences)


def _measure_ensembles(
    finished: Mapping[Spot, Task], folder: Path, on_progress: OnProgress | None
) -> dict[Spot, Results]:
    """The seeds of a method together, measured as its runs were."""
    ensembles = {}
    for method in dict.fromkeys(spot.method for spot in finished):
        tasks = [task for spot, task in finished.items() if spot.method == method]
        spot = replace(next(spot for spot in finished if spot.method == method), seed=ENSEMBLE)
        if len(tasks) > 1:
            members = tuple(str(task.training.run.out) for task in tasks)
            out = str(folder / RUNS / spot.name)
            one = replace(tasks[0].measurements[0], models=members, out=out)
            ensembles[spot] = evaluate_run(one, on_progress=on_progress)
    return ensembles


def _remarks(
    config: ReproduceConfig, exhibit: Exhibit, outcomes: Sequence[Outcome]
) -> Iterator[str]:
    """What a reader must know about the numbers."""
    scale = SCALES[config.scale]
    if not scale.tolerance:
        yield "the runs are smaller than the paper's: the published numbers are not to be met"
    stand_ins = {family: scale.networks[family] for family in exhibit.families}
    yield "networks: " + ", ".join(f"{NETWORKS[f]} is `{name}`" for f, name in stand_ins.items())
    for data_set in exhibit.data_sets:
        if not _root(config, data_set) and not config.download:
            yield f"{data_set} was not measured: no folder of it was given"
    if not config.stylised and any(method in STYLISED for method in exhibit.methods):
        yield "methods on stylised images were not run: --stylised was not given"
    for outcome in outcomes:
        if outcome.state != "done":
            yield f"{outcome.task.name}: {outcome.state} {outcome.reason}".rstrip()
