"""Measure the headline numbers of one GPU in under 9 minutes; see `README.md` in this folder.

python benchmarks/gpu/headline.py [--data DIR] [--out DIR] [--seconds 500] [--part all]
python benchmarks/gpu/headline.py --toy        # all parts on a CPU in seconds

In this order: views of the device compared with the definition, images per second of the executor,
the cost of views in a training step and its slowest kernels, the headline run (CIFAR-10, WRN-40-2,
AugMix with the consistency loss; as many of the paper's epochs as the time allows), and its -C,
C-bar, -P and calibration results; -C and -P are made by other processes while the GPU trains.
`headline.json` and `headline.md` are rewritten after every part, so that measurements survive a
later failure.
"""

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1] / "src"
if SOURCES.is_dir():  # runs from a checkout where the package is not installed
    sys.path.insert(0, str(SOURCES))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from equality import is_equal_enough, measure_equality  # noqa: E402
from tables import to_markdown  # noqa: E402
from throughput import measure_throughput  # noqa: E402
from training import Setup, measure_steps, train_headline  # noqa: E402

from augmix import benchmarks, metrics  # noqa: E402
from augmix.augment import batched  # noqa: E402
from augmix.corruptions import CIFAR_BAR  # noqa: E402
from augmix.data.derived import take  # noqa: E402
from augmix.data.sources import Source, open_source  # noqa: E402
from augmix.evaluation.config import EvaluateConfig  # noqa: E402
from augmix.evaluation.loop import evaluate  # noqa: E402
from augmix.results import Cell, Results, provenance  # noqa: E402
from augmix.training.recipes import find_recipe  # noqa: E402

DATA = HERE.parents[2] / "shared" / "data" / "cifar10-jpeg"
_EVALUATION_S = 60.0  # reserved for the evaluation after training


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much to measure; the toy scale runs all parts with as little work as possible."""

    model: str = "wrn-40-2"
    batch_size: int = 128
    equality: tuple[tuple[int, int], ...] = ((32, 240), (224, 48))  # size, images per operation
    throughput: tuple[tuple[int, int, int], ...] = ((32, 4096, 3), (224, 256, 1))  # + severity
    row_s: float = 1.0  # per row of the throughput
    rounds: int = 5
    length: int = 20  # steps of a round
    is_compiled: bool = True
    max_epochs: int = 100  # as in the paper
    sequence_images: int = 1000
    corruptions: tuple[str, ...] = ("paper-15",)
    bar: tuple[str, ...] = CIFAR_BAR
    sequences: tuple[str, ...] = ("standard-10",)
    evaluation_batch_size: int = 1000


FULL = Scale()
TOY = Scale(
    model="small",
    batch_size=16,
    equality=((16, 6),),
    throughput=((16, 8, 3),),
    row_s=0.02,
    rounds=1,
    length=1,
    is_compiled=False,
    max_epochs=2,
    sequence_images=4,
    corruptions=("gaussian_noise", "contrast"),
    bar=("sparkles",),
    sequences=("brightness",),
    evaluation_batch_size=16,
)


@dataclass
class Report:
    """The measurements so far, kept in a folder."""

    folder: Path
    facts: dict[str, Any] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.start

    @contextmanager
    def part(self, name: str) -> Iterator[dict[str, Any]]:
        """Run a part; an error is recorded in the report and does not stop the next parts."""
        start, found = time.monotonic(), {}
        print(f"[{self.elapsed_s:5.0f} s] {name}", flush=True)
        try:
            yield found
        except Exception as error:
            found["error"] = f"{type(error).__name__}: {error}"
            traceback.print_exc()
        found["seconds"] = time.monotonic() - start
        self.facts[name] = found
        self.write()

    def write(self) -> None:
        """Write `headline.json` and `headline.md`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = {**self.facts, "seconds": self.elapsed_s}
        (self.folder / "headline.json").write_text(json.dumps(facts, indent=1) + "\n")
        (self.folder / "headline.md").write_text(to_markdown(facts))


def main() -> int:
    """Measure; return 0 if every part succeeded and the views are equal enough."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true", help="as little work as possible, on the CPU")
    parser.add_argument("--data", default=str(DATA), help="folder of CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path("runs/headline"))
    parser.add_argument("--seconds", type=float, default=500.0, help="time for everything")
    parser.add_argument("--epochs", type=int, default=0, help="at most; 0: the 100 of the paper")
    parser.add_argument(
        "--recipe",
        default="cifar",
        help="method and optimisation of the headline run: a recipe, or the ladder.json of "
        "benchmarks/ladder.py; network, batch size and length stay",
    )
    parser.add_argument(
        "--part",
        choices=("all", "executor", "training"),
        default="all",
        help="executor: equality, throughput and step; training: the headline run, with nearly all "
        "of the time",
    )
    options = parser.parse_args()
    if not options.toy and not torch.cuda.is_available():
        print("this machine has no CUDA or ROCm GPU for torch; try --toy", file=sys.stderr)
        return 2
    device = torch.device("cpu" if options.toy else "cuda")
    with TemporaryDirectory() as work:
        if options.toy:
            name, data = "npz", write_toy_set(Path(work) / "toy.npz")
        else:
            name, data = "cifar10", options.data
        report = Report(options.out, {"machine": describe_machine(device)})
        scale = TOY if options.toy else FULL
        if options.part == "training":
            scale = replace(scale, equality=(), throughput=(), rounds=1)
        return run_parts(report, scale, device, name, data, Path(work), options)


def run_parts(
    report: Report,
    scale: Scale,
    device: torch.device,
    name: str,
    data: str,
    work: Path,
    options: argparse.Namespace,
) -> int:
    """Run the parts one after another."""
    torch.backends.cudnn.benchmark = True
    writer = None
    try:
        with report.part("data") as found:
            train_set = open_source(name, root=data, split="train")
            test_set = open_source(name, root=data, split="test")
            found |= {"train_images": len(train_set), "test_images": len(test_set)}
        if "error" in found:
            return 1
        measure_executor(report, scale, device)
        setup = Setup(
            source=train_set, device=device, model=scale.model, batch_size=scale.batch_size,
            is_compiled=scale.is_compiled, settings=load_settings(options.recipe),
        )  # fmt: skip
        setup, model = measure_step(report, setup, scale), None
        if options.part == "executor":
            return finish(report, scale, options.out)
        writer = start_writer(scale, name, data, work)  # only now: it takes nearly all cores
        folder = options.out / "run"
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier call
        with report.part("training") as found:
            most = affordable_epochs(report, setup, options.seconds)
            epochs = min(most, options.epochs or scale.max_epochs)
            found |= {"model": scale.model, "batch_size": scale.batch_size}
            model, trained = train_headline(setup, folder, epochs=epochs)
            found |= trained
        with report.part("waiting for sets") as found:
            if writer.wait():
                raise RuntimeError(f"{' '.join(map(str, writer.args))} failed")
        if model is not None:
            measure_model(report, model, test_set, scale, device, work)
    finally:
        if writer is not None:
            writer.kill()
            writer.wait()
    return finish(report, scale, options.out)


def load_settings(recipe: str) -> dict[str, Any]:
    """Return the settings of a recipe, or those that the ladder chose, by flat name."""
    path = Path(recipe)
    is_file = path.suffix == ".json"
    found = json.loads(path.read_text())["chosen"]["recipe"] if is_file else find_recipe(recipe)
    return {name: value for name, value in found.items() if name not in ("model", "epochs")}


def finish(report: Report, scale: Scale, folder: Path) -> int:
    """Print the report; return 0 if every part succeeded and the views are equal enough."""
    failed = [part for part, found in report.facts.items() if "error" in found]
    print((folder / "headline.md").read_text())
    is_equal = not scale.equality or is_equal_enough(report.facts["equality"].get("rows", []))
    print(f"failed parts: {', '.join(failed) or 'none'}; equal enough: {is_equal}")
    return int(bool(failed) or not is_equal)


def measure_executor(report: Report, scale: Scale, device: torch.device) -> None:
    """Run the parts about the executor."""
    if not scale.equality:
        return
    best = batched.choose_backend(device)
    backends = list(dict.fromkeys((best, "torch")))
    with report.part("equality") as found:
        found["rows"] = [
            row
            for size, count in scale.equality
            for row in measure_equality(device, backends, size=size, count=count)
        ]
    with report.part("throughput") as found:
        found["rows"] = [
            row
            for size, batch, severity in scale.throughput
            for row in measure_throughput(
                device, backends, size=size, batch=batch, severity=severity, seconds=scale.row_s
            )
        ]


def measure_step(report: Report, setup: Setup, scale: Scale) -> Setup:
    """Run the part about a training step, without `torch.compile` if that fails.

    Returns:
        The setup that works.
    """
    with report.part("step") as found:
        found |= measure_steps(setup, rounds=scale.rounds, length=scale.length)
    if "error" in found and setup.is_compiled:
        report.facts["step, compiled"] = report.facts.pop("step")
        return measure_step(report, replace(setup, is_compiled=False), scale)
    return setup


def affordable_epochs(report: Report, setup: Setup, seconds: float) -> int:
    """Return the number of epochs that fit into the time left, at least 1."""
    step_s = report.facts["step"].get("step_ms", math.inf) / 1000
    left_s = seconds - report.elapsed_s - _EVALUATION_S
    return max(int(left_s / (step_s * setup.order.steps_per_epoch)), 1)


def start_writer(scale: Scale, name: str, data: str, work: Path) -> subprocess.Popen:
    """Start the process that writes the -C and -P form of the test set."""
    processes = max((os.cpu_count() or 1) - 3, 1)
    return subprocess.Popen(
        [
            *(sys.executable, str(HERE / "sets.py"), name, data, str(work)),
            *("--processes", str(processes)),
            *("--sequence-images", str(scale.sequence_images)),
            *("--corruptions", *scale.corruptions),
            *("--sequences", *scale.sequences),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCES), *sys.path])},
    )


def measure_model(
    report: Report,
    model: torch.nn.Module,
    test_set: Source,
    scale: Scale,
    device: torch.device,
    work: Path,
) -> None:
    """Run the parts about the trained model."""
    common: dict[str, Any] = {
        "preset": "cifar",
        "device": device.type,
        "precision": "fp32" if device.type == "cpu" else "bf16",
        "num_threads": 2 if device.type == "cpu" else 8,
    }
    with report.part("corruptions") as found:
        config = EvaluateConfig(
            names=scale.corruptions, official=(work / "c",),
            batch_size=scale.evaluation_batch_size, **common,
        )  # fmt: skip
        found |= summarise_corruptions(evaluate(model, test_set, config))
    with report.part("c-bar") as found:
        config = EvaluateConfig(
            suite=("clean", "c-bar"), names=scale.bar,
            batch_size=scale.evaluation_batch_size, **common,
        )  # fmt: skip
        found |= summarise_corruptions(evaluate(model, test_set, config))
    with report.part("perturbations") as found:
        few = take(test_set, scale.sequence_images)
        config = EvaluateConfig(
            suite=("p",), sequences=scale.sequences, official=(work / "p",),
            batch_size=2 * scale.evaluation_batch_size, **common,
        )  # fmt: skip
        results = evaluate(model, few, config)
        flips = {cell.name: cell.flip_probability for cell in results.sequences}
        found |= {
            "images": len(few),
            "mean_flip_probability": float(np.mean(list(flips.values()))),
            "flip_probabilities": flips,
        }


def summarise_corruptions(results: Results) -> dict[str, Any]:
    """Return errors and calibration errors as fractions."""

    def rms(cell: Cell) -> float:
        return metrics.rms_from_bins(*cell.adaptive)

    clean = results.find("clean", "clean", 0)
    assert clean is not None
    errors: dict[str, list[float]] = {}
    calibration = []
    for cell in results.cells:
        if cell.suite in ("c", "c-bar"):
            errors.setdefault(cell.name, []).append(cell.error)
            calibration.append(rms(cell))
    return {
        "clean_error": clean.error,
        "clean_rms_calibration_error": rms(clean),
        "mean_corruption_error": metrics.mean_error(errors),
        "mean_rms_calibration_error": float(np.mean(calibration)),
        "errors": {name: float(np.mean(values)) for name, values in errors.items()},
    }


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Describe device, processors and versions."""
    named: Callable[[], str] = {
        "cuda": lambda: torch.cuda.get_device_name(device),
        "cpu": platform.machine,
    }[device.type]
    return {
        "device": named(),
        "processors": os.cpu_count(),
        "executor": batched.describe_backend(device),
        "date": time.strftime("%Y-%m-%d"),
        **provenance(),
    }


def write_toy_set(path: Path) -> str:
    """Write a few images whose brightness depends on the class."""
    arrays: dict[str, np.ndarray] = {}
    for split, count in (("train", 32), ("test", 16)):
        labels = np.arange(count) % 10
        images = benchmarks.smooth_images(count, 16) // 2 + 12 * labels[:, None, None, None]
        arrays |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels}
    np.savez(path, **arrays)
    return str(path)


if __name__ == "__main__":
    sys.exit(main())
