"""Climb the ablation ladder from AugMix to a recipe with a lower error at the same cost.

python benchmarks/ladder.py --data DIR [--preset cpu] [--seeds 1] [--device cpu] [--list] [--final]

Each level of the ladder changes the settings chosen so far; the change with the lowest selection
error stays, if it is lower than without. Levels can come again (`--levels`). Every run costs what
AugMix with three views costs: passes are traded for whole epochs, counted as by `augmix reproduce
field-equal-cost`.

The selection error never sees a test set. Its images are a tenth of the training images, on which
no run trains. Its corruptions are those of neither CIFAR-10-C nor CIFAR-10-C-bar: the four extra
ones of Hendrycks and Dietterich (2019), and the five that Mintun et al. (2021) have for ImageNet
alone. It is the mean of both groups' errors. What is chosen is written to OUT/ladder.json;
`--final` then measures it and AugMix on C and C-bar of the test images. Tables are for
`docs/results.md`. Killed at any time, the same command continues.
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64

from augmix import bootstrap, files, per_image, results
from augmix.bootstrap import Interval
from augmix.corruptions import CIFAR_BAR, EXTRA_4, IMAGENET_BAR
from augmix.corruptions.registry import SEVERITIES
from augmix.data.sources import Source
from augmix.data.stores import default_threads
from augmix.devices import choose_precision, keep_freed_memory, resolve_device
from augmix.errors import RunError
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.loop import evaluate
from augmix.evaluation.models import run_measurement
from augmix.models.weights import build_model, load_model
from augmix.paper.field import RunCost, equal_epochs
from augmix.training.config import TrainConfig
from augmix.training.logging import count_cost
from augmix.training.run import open_training, train
from augmix.training.settings import build_config

Settings = Mapping[str, Any]
OTHERS = tuple(name for name in IMAGENET_BAR if name not in CIFAR_BAR)  # C-bar's complement
PRESETS: Mapping[str, Settings] = {
    "cpu": {"model": "fast", "epochs": 4, "max_train_images": 10_000, "severities": (1, 3, 5)},
    "gpu": {
        "model": "fast",
        "epochs": 8,
        "max_train_images": None,
        "severities": (1, 3, 5),
    },
    "paper": {
        "model": "wrn-40-2",
        "epochs": 100,
        "max_train_images": None,
        "severities": (1, 2, 3, 4, 5),
    },
}
# Of every run; the optimisation is that of Hendrycks et al. (2020) for CIFAR.
COMMON: Settings = {
    "batch_size": 128, "crop_padding": 4, "flip": True, "val_fraction": 0.1, "select": "last",
    "precision": "auto", "channels_last": True, "logger": ("none",), "checkpoint_every": 50,
}  # fmt: skip
START: Settings = {"base": "augmix", "layers": (), "views": 2}
# Level -> rung -> settings; base, layers and views make the method, the others are flat names.
LEVELS: Mapping[str, Mapping[str, Settings]] = {
    "optimisation": {
        "ema": {"ema_decay": 0.998},
        "one-cycle-0.1": {"schedule": "one-cycle"},
        "one-cycle-0.2": {"schedule": "one-cycle", "learning_rate": 0.2},
        "one-cycle-0.2-ema": {"schedule": "one-cycle", "learning_rate": 0.2, "ema_decay": 0.998},
    },
    "views": {
        "one-view": {"views": 1},
        "three-views": {"views": 3},
        "wide": {"ops": "wide"},
        "severity-5": {"severity": 5},
    },
    "stages": {
        "apr": {"layers": ("apr-sp",)},
        "hybridaugment": {"layers": ("hybridaugment-pp",)},
        "hybridaugment-s-clipped": {
            "layers": ("hybridaugment-pp",),
            "hybridaugment_pp_form": "s",
            "hybridaugment_pp_overflow": "clip",
        },
        "hybridaugment-p": {"layers": ("hybridaugment-pp",), "hybridaugment_pp_form": "p"},
        "afa": {"layers": ("afa",), "views": 2},
        "hybridaugment-afa": {"layers": ("hybridaugment-pp", "afa"), "views": 2},
        "prime": {"base": "prime"},
        "prime-over-augmix": {"layers": ("prime",)},
        "ipmix": {"base": "ipmix"},
        "pixmix": {"base": "pixmix", "jsd_weight": 12.0},
    },
}
AUGMIX, FILE = "augmix", "ladder.json"
MACHINE = ("device", "torch_threads", "logger", "checkpoint_every")
OF_RECIPE = ("model", "batch_size", "precision", "channels_last")


@dataclass(frozen=True, slots=True)
class Budget:
    """What every rung has in common: network, images, AugMix's epochs, and the machine."""

    data: str
    out: Path
    common: Settings
    severities: tuple[int, ...]
    max_images: int | None
    num_seeds: int
    num_processes: int

    def config(self, settings: Settings, seed: int = 0, epochs: int | None = None) -> TrainConfig:
        """Return the run of a rung; `epochs` of None is AugMix's number."""
        flat = {**self.common, **flatten(settings), "seed": seed}
        flat |= {"epochs": epochs} if epochs else {}
        name = hashlib.sha256(json.dumps(flat, sort_keys=True, default=str).encode()).hexdigest()
        return build_config(flat, data=self.data, out=self.out / "runs" / name[:12])

    @property
    def plain(self) -> dict[str, Any]:
        """The settings that decide the numbers, as JSON has them."""
        common = {name: self.common[name] for name in self.common if name not in MACHINE}
        return json.loads(json.dumps({**common, "severities": self.severities}))

    def how(
        self, names: Sequence[str], severities: Sequence[int], folder: Path, config: TrainConfig
    ) -> EvaluateConfig:
        """Return how a run is measured: on clean images, suite c and suite c-bar."""
        precision, _ = choose_precision(resolve_device(config.run.device))
        return EvaluateConfig(
            suite=("clean", "c", "c-bar"),
            names=tuple(names),
            severities=tuple(severities),
            max_images=self.max_images,
            num_threads=max(1, default_threads() // self.num_processes),
            precision="bf16" if precision == "bf16" else "fp32",
            device=config.run.device,
            out=folder,
        )


class Rung(NamedTuple):
    """Settings of the ladder with what they cost."""

    name: str
    settings: Settings
    epochs: int
    cost: float  # of all epochs, by AugMix's


class Outcome(NamedTuple):
    """Error of every image, mean over the corruptions of a group, by seed."""

    clean: Float64[np.ndarray, "seed image"]
    c: Float64[np.ndarray, "seed image"]
    bar: Float64[np.ndarray, "seed image"]

    @property
    def both(self) -> Float64[np.ndarray, "seed image"]:
        """The mean of both groups of corruptions."""
        return (self.c + self.bar) / 2


Work = Callable[[Budget, Rung, int], Outcome]


def main() -> None:
    """Climb, or list the rungs, or measure what was chosen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help="folder of CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path("runs/ladder"))
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--model", help="small, fast, wrn-16-2, wrn-40-2 ...")
    parser.add_argument("--epochs", type=int, help="of AugMix with two views beside the image")
    parser.add_argument("--images", type=int, help="training images, a tenth is held out")
    parser.add_argument("--max-images", type=int, help="images of each measured set")
    parser.add_argument("--severities", type=int, nargs="+", help="of the selection")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--num-processes", type=int, default=1, help="runs at the same time")
    parser.add_argument("--levels", nargs="*", choices=LEVELS, default=list(LEVELS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--torch-threads", type=int)
    parser.add_argument("--list", action="store_true", help="the rungs and their cost")
    parser.add_argument("--final", action="store_true", help="measure what was chosen on tests")
    options = parser.parse_args()
    preset = dict(PRESETS[options.preset])
    given = {"model": options.model, "epochs": options.epochs, "max_train_images": options.images}
    preset |= {name: value for name, value in given.items() if value}
    machine = {"device": options.device, "torch_threads": options.torch_threads}
    severities = tuple(options.severities or preset["severities"])
    common = {**COMMON, **{k: v for k, v in preset.items() if k != "severities"}, **machine}
    workers = options.seeds, options.num_processes
    budget = Budget(options.data, options.out, common, severities, options.max_images, *workers)
    if options.list:
        list_rungs(budget, options.levels)
        return
    keep_freed_memory()
    try:
        if not options.data:
            raise ValueError("name the images: --data DIR")
        if options.final:
            measure_choice(budget)
        else:
            climb(budget, options.levels)
    except (ValueError, RunError) as error:
        sys.exit(f"augmix: {error}")
    except KeyboardInterrupt:
        sys.exit("augmix: stopped; the same command continues")


def flatten(settings: Settings) -> dict[str, Any]:
    """Return settings of the ladder by the flat names of a run."""
    flat = dict(settings)
    base, layers, views = (flat.pop(name) for name in START)
    flat["num_views" if base == AUGMIX else "jsd_views"] = views
    return {**flat, "method": "+".join([base, *layers])}


@cache
def _network(model: str, name: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        return build_model(name, num_classes=10)


def count(budget: Budget, name: str, settings: Settings) -> Rung:
    """Give settings the whole epochs that come nearest to the cost of AugMix."""
    found = []
    for own in (START, settings):
        config = budget.config(own)
        model = _network(config.network.model, config.network_name)
        device = torch.device("cpu")
        cost = count_cost(model, config.method, size=(32, 32), channels=3, device=device)
        found.append(RunCost(epochs=config.optimisation.epochs, num_images=1, cost=cost))
    epochs = equal_epochs(found[1], found[0])
    relative = epochs * found[1].flop_per_epoch / found[0].flop
    return Rung(name, settings, epochs, relative)


def list_rungs(budget: Budget, levels: Sequence[str]) -> None:
    """Print every rung as a change of AugMix with its epochs and cost, without training."""
    print(
        "| level | rung | changes | epochs | cost, by AugMix's |\n| --- | --- | --- | --- | --- |"
    )
    rungs = [("", AUGMIX, {}), *((i, name, LEVELS[i][name]) for i in levels for name in LEVELS[i])]
    for level, name, changes in rungs:
        rung = count(budget, name, {**START, **changes})
        shown = ", ".join(f"{key} {_words(value)}" for key, value in changes.items())
        print(f"| {level} | {name} | {shown} | {rung.epochs} | {100 * rung.cost:.0f} % |")


def _words(value: Any) -> str:
    return "+".join(value) if isinstance(value, tuple) else str(value)


def climb(budget: Budget, levels: Sequence[str]) -> None:
    """Measure every rung of every level, print a line of each, and write what was chosen."""
    start = best = count(budget, AUGMIX, START)
    first, lowest = None, math.inf
    record: dict[str, Any] = {"rungs": []}
    print(f"selection: {', '.join(EXTRA_4)}; {', '.join(OTHERS)}; severities {budget.severities}")
    print(
        "| level | rung | epochs | cost | clean % | extra 4 % | C-bar's other 5 % | both % (95 %) "
        "| minus AugMix |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    with open_workers(budget) as run_all:
        for level in levels or ("",):
            changes, settings = LEVELS.get(level, {}), best.settings
            rungs = [count(budget, name, {**settings, **changes[name]}) for name in changes]
            if first is None:
                rungs.insert(0, start)  # at the same time as the first level, which changes it
            for rung, found in zip(rungs, run_all(select, rungs), strict=True):
                first = found if first is None else first
                where = "" if rung is start else level
                record["rungs"].append(describe(where, rung, found, first))
                print(show(record["rungs"][-1]), flush=True)
                if found.both.mean() < lowest:
                    best, lowest = rung, float(found.both.mean())
    recipe = {name: budget.common[name] for name in OF_RECIPE}
    recipe |= {**flatten(best.settings), "epochs": best.epochs}
    record |= {
        "chosen": {"name": best.name, "settings": dict(best.settings), "recipe": recipe},
        "budget": budget.plain,
        "num_seeds": budget.num_seeds,
    }
    files.write_json(budget.out / FILE, record)
    print(f"\nchosen on images and corruptions of no test set: {json.dumps(recipe)}")


@contextmanager
def open_workers(budget: Budget) -> Iterator[Callable[[Work, Sequence[Rung]], Iterator[Outcome]]]:
    """Open as many processes as asked, which work on all seeds of each rung, in order."""
    seeds = range(budget.num_seeds)
    with ExitStack() as stack:
        run: Any = map
        if budget.num_processes > 1:
            context, first = get_context("spawn"), keep_freed_memory
            pool = ProcessPoolExecutor(budget.num_processes, context, initializer=first)
            run = stack.enter_context(pool).map

        def run_all(work: Work, rungs: Sequence[Rung]) -> Iterator[Outcome]:
            jobs = [(budget, rung, seed) for rung in rungs for seed in seeds]
            found = run(work, *zip(*jobs, strict=True))
            for _ in rungs:
                yield join([next(found) for _ in seeds])

        yield run_all


def select(budget: Budget, rung: Rung, seed: int) -> Outcome:
    """Train a seed of a rung, if it is not, and measure it for the selection."""
    config = budget.config(rung.settings, seed, rung.epochs)
    run = train(config)
    folder = run / "selection"
    how = budget.how((*EXTRA_4, *OTHERS), budget.severities, folder, config)
    about = {"label": rung.name, "method": str(config.method), "seed": seed}
    evaluate(load_model(run), _held_out(config), how, about=about)
    return load_outcome(folder)


_opened: dict[str, Source] = {}


def _held_out(config: TrainConfig) -> Source:
    """The images that no run trains on; they are the same for all runs of a budget."""
    key = f"{config.data} {config.validation}"
    if key not in _opened:
        held = open_training(config).validation
        assert held is not None
        _opened[key] = held
    return _opened[key]


def load_outcome(folder: Path) -> Outcome:
    """Read the error of every image from the predictions of one run."""
    cells = results.load_results(folder / results.RESULTS_FILE).cells
    labels = per_image.load_images(folder).labels

    def errors(suite: str) -> Float64[np.ndarray, "1 image"]:
        own = [cell.key for cell in cells if cell.suite == suite]
        said = [per_image.load_predictions(folder, *key).prediction for key in own]
        return (np.stack(said) != labels).mean(axis=0, keepdims=True)

    return Outcome(*(errors(suite) for suite in ("clean", "c", "c-bar")))


def join(found: Sequence[Outcome]) -> Outcome:
    """Join the outcomes of several seeds."""
    return Outcome(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def intervals(
    errors: Float64[np.ndarray, "seed image"], base: Float64[np.ndarray, "seed image"]
) -> tuple[Interval, Interval]:
    """Return the mean error, and its difference from that of AugMix on the same images.

    With several seeds the interval of the difference includes the noise of training.
    """
    values = np.stack([errors.mean(axis=0), base.mean(axis=0)])
    own, other = bootstrap.resample_means(values, limits=[bootstrap.FRACTION] * 2)
    apart = bootstrap.difference(own, other).interval()
    if min(len(errors), len(base)) > 1 and errors is not base:
        seeds = bootstrap.seed_difference(errors.mean(axis=1).tolist(), base.mean(axis=1).tolist())
        apart = bootstrap.widened(apart, seeds, (-1.0, 1.0))
    return own.interval(), apart


def describe(level: str, rung: Rung, found: Outcome, first: Outcome) -> dict[str, Any]:
    """Return the row of a rung, errors as fractions."""
    own, apart = intervals(found.both, first.both)
    return {
        "level": level,
        "rung": rung.name,
        "settings": dict(rung.settings),
        "epochs": rung.epochs,
        "cost": rung.cost,
        "clean": float(found.clean.mean()),
        "extra": float(found.c.mean()),
        "others": float(found.bar.mean()),
        "seeds": found.both.mean(axis=1).tolist(),
        "both": [own.estimate, own.low, own.high],
        "difference": [apart.estimate, apart.low, apart.high],
    }


def show(row: Mapping[str, Any]) -> str:
    """Write a row of the table in per cent."""
    clean, extra, others = (f"{100 * row[name]:.2f}" for name in ("clean", "extra", "others"))
    cells = (row["level"], row["rung"], row["epochs"], f"{100 * row['cost']:.0f} %", clean, extra)
    apart = "" if row["rung"] == AUGMIX else span(row["difference"], sign="+")
    return f"| {' | '.join(map(str, cells))} | {others} | {span(row['both'])} | {apart} |"


def span(numbers: Sequence[float], sign: str = "") -> str:
    """Write a number and its interval in per cent."""
    value, low, high = (f"{100 * number:{sign}.2f}" for number in numbers)
    return f"{value} ({low} to {high})"


def measure_choice(budget: Budget) -> None:
    """Measure AugMix and what was chosen on the test images, and print both and the difference."""
    path = budget.out / FILE
    if not path.exists():
        raise RunError(f"{path} does not exist: choose by the same command without --final")
    record = files.load_json(path)
    chosen, made = record["chosen"], record["budget"]
    if changed := [name for name, value in budget.plain.items() if made.get(name) != value]:
        name = changed[0]
        raise RunError(
            f"{path} was made with {name} {made.get(name)!r}, this command has "
            f"{budget.plain[name]!r}: give the same settings, or choose into another --out"
        )
    settings = {**chosen["settings"], "layers": tuple(chosen["settings"]["layers"])}
    if chosen["name"] == AUGMIX:
        raise RunError("no rung was better than AugMix, so there is nothing to compare")
    rungs = [count(budget, AUGMIX, START), count(budget, chosen["name"], settings)]
    with open_workers(budget) as run_all:
        first, second = run_all(test, rungs)
    print("| | AugMix | chosen | chosen minus AugMix |\n| --- | --- | --- | --- |")
    for title, field in {"clean": "clean", "C": "c", "C-bar": "bar"}.items():
        old, new = getattr(first, field), getattr(second, field)
        (before, _), (after, apart) = intervals(old, old), intervals(new, old)
        cells = [
            *(span([x.estimate, x.low, x.high]) for x in (before, after)),
            span([apart.estimate, apart.low, apart.high], "+"),
        ]
        print(f"| {title} error % | {' | '.join(cells)} |")
    print(f"\n{budget.num_seeds} seed(s) of each; chosen: {json.dumps(chosen['recipe'])}")


def test(budget: Budget, rung: Rung, seed: int) -> Outcome:
    """Train a seed of a rung, if it is not, and measure it on the test images."""
    config = budget.config(rung.settings, seed, rung.epochs)
    run = train(config)
    how = budget.how(("paper-15",), SEVERITIES, run / "test", config)
    run_measurement(Measurement(models=(str(run),), how=how))
    return load_outcome(run / "test")


if __name__ == "__main__":
    main()
