"""The door: commands, flags from the dataclasses, messages and exit codes.

Every command imports what it needs inside its own function, so that `augmix --help` stays quick; a
required field of a configuration is a positional argument, all others are flags.
Exit codes: 0 done, 2 a mistake that the message explains, 130 stopped by Ctrl-C.
"""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import tyro
from rich.console import Console
from rich.table import Table

Config = TypeVar("Config")


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command: its line in the help and what runs it."""

    summary: str
    run: Callable[[Sequence[str]], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the process's exit code."""
    # Before torch is loaded: its threads sleep instead of spinning while they wait for each other.
    # Spinning costs most of a core as soon as anything else runs, and views are made beside them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] == "--version":
        import augmix

        print(augmix.__version__)
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        return _fail(f"unknown command {words[0]!r}{_nearest(words[0])}; see augmix --help")
    try:
        command.run(words[1:])
    except SystemExit as stop:  # tyro has printed its message
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        return _fail("stopped; start the same command again to go on", code=130)
    except Exception as error:
        return _explain(error, is_debug)
    return 0


def _explain(error: Exception, is_debug: bool) -> int:
    """One message for what a user can mend; anything else is a bug and shows where."""
    from augmix.records import RunError

    if is_debug:
        traceback.print_exception(error)
        return 2
    if type(error).__name__ == "Interrupted":
        return _fail(str(error), code=130)
    if isinstance(error, (RunError, ValueError, TypeError, OSError)):
        return _fail(f"{error}")
    traceback.print_exception(error)
    return _fail("this is a bug; please report it with the lines above", code=1)


def _fail(message: str, code: int = 2) -> int:
    print(f"augmix: {message}", file=sys.stderr)
    return code


def _nearest(word: str) -> str:
    import difflib

    near = difflib.get_close_matches(word, COMMANDS, n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""


def _help() -> str:
    lines = [
        "augmix: image classifiers that stay accurate and honest when the data shifts",
        "",
        "usage: augmix COMMAND [OPTIONS]     (augmix COMMAND --help lists the options)",
        "",
        *(f"  {name:<10} {command.summary}" for name, command in COMMANDS.items()),
        "",
        "  --debug    show the traceback of an error",
        "  --version  print the version",
    ]
    return "\n".join(lines)


def _parse(config: Callable[..., Config], name: str, words: Sequence[str]) -> Config:
    """The command's configuration from its flags; tyro prints help and mistakes."""
    return tyro.cli(
        config,
        prog=f"augmix {name}",
        args=list(words),
        description=COMMANDS[name].summary,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs),
    )


def _console() -> Console:
    """Standard output; where it is no terminal, lines are long enough for every table."""
    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else 120)


def _demo(words: Sequence[str]) -> None:
    from augmix import experiments
    from augmix.console import Watch

    config = _parse(experiments.DemoConfig, "demo", words)
    console = _console()
    with Watch(console) as watch:
        report = experiments.demo(config, on_progress=watch)
    _print_summaries(console, [report.parent / "standard", report.parent / "augmix"])
    console.print(f"report: {report}", highlight=False, markup=False)


def _train(words: Sequence[str]) -> None:
    from augmix import experiments
    from augmix.console import Watch

    config = _parse(experiments.TrainConfig, "train", words)
    console = _console()
    with Watch(console) as watch:
        folder = experiments.train(config, on_progress=watch)
    console.print(f"run: {folder}", highlight=False, markup=False)


def _evaluate(words: Sequence[str]) -> None:
    from augmix import experiments
    from augmix.console import Watch

    config = _parse(experiments.EvaluateConfig, "evaluate", words)
    console = _console()
    with Watch(console) as watch:
        experiments.evaluate_run(config, on_progress=watch)
    _print_summaries(console, [Path(config.out or config.run)])


def _print_summaries(console: Console, folders: Sequence[Path]) -> None:
    """A table of the runs' main numbers, in percent."""
    from augmix import records, report

    table = Table("run", "clean error %", "corruption error %", "RMS calibration error %")
    for folder in folders:
        summary = report.summarise(records.load_results(folder / records.RESULTS_FILE))
        values = [
            summary["clean_error"],
            summary["corruption_error"],
            summary["rms_calibration_error"],
        ]
        cells = ["-" if value is None else f"{100 * value:.2f}" for value in values]
        table.add_row(folder.name, *cells)
    console.print(table)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """Which runs the page compares."""

    runs: tuple[Path, ...]
    """Run folders that were evaluated."""
    out: Path = Path("report.html")
    """The page to write."""


def _report(words: Sequence[str]) -> None:
    config = _parse(ReportConfig, "report", words)
    from augmix import report

    path = report.write_report(config.runs, config.out)
    print(f"report: {path}")


def _corrupt(words: Sequence[str]) -> None:
    from augmix import conversions
    from augmix.console import Watch

    config = _parse(conversions.CorruptConfig, "corrupt", words)
    with Watch(_console()) as watch:
        folder = conversions.corrupt_source(config, on_progress=watch)
    print(f"set: {folder}")


def _perturb(words: Sequence[str]) -> None:
    from augmix import conversions
    from augmix.console import Watch

    config = _parse(conversions.PerturbConfig, "perturb", words)
    with Watch(_console()) as watch:
        folder = conversions.perturb_source(config, on_progress=watch)
    print(f"set: {folder}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewConfig:
    """What the picture shows."""

    source: str = "digits"
    """Where the images come from: digits, cifar10, cifar100, folder, parquet or npz."""
    root: str = ""
    """Folder or file of the source; digits needs none."""
    size: int = 0
    """Side in pixels the images are brought to; 0 keeps them as stored."""
    num_images: int = 3
    """Realisations to draw, each of another image."""
    first: int = 0
    """Index of the first image."""
    seed: int = 0
    """Seed of the draws."""
    severity: int = 3
    """Largest level of an operation, 1..10."""
    width: int = 3
    """Chains that are mixed."""
    depth: int = -1
    """Operations in a chain; -1 draws 1, 2 or 3."""
    alpha: float = 1.0
    """Concentration of the mixing weights."""
    ops: Literal["paper", "all"] = "paper"
    """The paper's 9 operations, or all 13."""
    out: Path = Path("preview.png")
    """The picture to write; with --corruptions a folder, whose name loses the ending .png."""
    corruptions: bool = False
    """Show the damage to image FIRST instead: OUT/corruptions.png has every corruption at five
    severities, OUT/perturbations.png strips of every sequence, OUT/perturbations/NAME.webp the
    animation of each. The other flags of AugMix are not used."""
    preset: Literal["auto", "cifar", "tiny", "imagenet"] = "auto"
    """Strength table of the corruptions; auto goes by image size."""


def _preview(words: Sequence[str]) -> None:
    config = _parse(PreviewConfig, "preview", words)
    import numpy as np

    from augmix import preview
    from augmix.augment.policies import AugMix
    from augmix.data.sources import open_source
    from augmix.streams import Stream

    source = open_source(config.source, root=config.root or None, split="test", size=config.size)
    if config.num_images < 1 or not 0 <= config.first <= len(source) - config.num_images:
        raise ValueError(
            f"first and num_images must name images 0..{len(source) - 1}, "
            f"got {config.num_images} from {config.first}"
        )
    ids = np.arange(config.first, config.first + config.num_images)
    if config.corruptions:
        _preview_corruptions(config, source.load(ids[:1])[0])
        return
    policy = AugMix(
        severity=config.severity,
        width=config.width,
        depth=config.depth,
        alpha=config.alpha,
        ops=config.ops,
    )
    images = source.load(ids)
    plan = policy.sample(ids, num_views=1, size=images.shape[1:3], stream=Stream(seed=config.seed))
    print(f"picture: {preview.write_preview(config.out, images, plan)}")


def _preview_corruptions(config: PreviewConfig, image: Any) -> None:
    from augmix import gallery

    folder = config.out.with_suffix("") if config.out.suffix == ".png" else config.out
    paths = gallery.write_galleries(
        folder, image, preset=config.preset, seed=config.seed, sample=config.first
    )
    print(f"pictures: {paths[0]}, {paths[1]} and {len(paths) - 2} animations in {paths[2].parent}")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchConfig:
    """What is measured."""

    what: Literal["executors", "corruptions", "startup", "train", "all"] = "all"
    """Executors: views per second, equality, planning share. Corruptions: milliseconds an image at
    severity 3. Startup: imports and first uses. Train: images per second, and the share of a step
    spent waiting for views."""
    sizes: tuple[int, ...] = (32, 64, 224)
    """Sides in pixels of the square images."""
    num_threads: tuple[int, ...] = (1, 2)
    """Threads of the compiled executor and of the corruptions."""
    seconds: float = 2.0
    """Time for each measurement."""


def _bench(words: Sequence[str]) -> None:
    config = _parse(BenchConfig, "bench", words)
    from augmix import bench

    console = _console()
    if config.what in ("executors", "all"):
        rows = bench.measure_executors(
            sizes=config.sizes, num_threads=config.num_threads, seconds=config.seconds
        )
        _print_table(console, rows)
    if config.what in ("corruptions", "all"):
        rows = bench.measure_corruptions(
            sizes=config.sizes, num_threads=config.num_threads, seconds=config.seconds
        )
        _print_table(console, bench.spread_corruptions(rows))
    if config.what in ("startup", "all"):
        _print_table(console, [bench.measure_startup()])
    if config.what in ("train", "all"):
        _print_table(console, [bench.measure_training()])


_HEADINGS = {
    "size": "pixels",
    "views_per_second": "views/s",
    "ms_per_image": "ms an image",
    "times_pillow": "x pillow",
    "times_first": "x first",
    "planning_share": "planning",
}


def _print_table(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """Records as a table; shares in percent, large numbers without decimals."""
    table = Table(*(_HEADINGS.get(name, name.replace("_", " ")) for name in rows[0]))
    for row in rows:
        table.add_row(*(_cell(name, value) for name, value in row.items()))
    console.print(table)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if not isinstance(value, float):
        return str(value)
    if name.endswith("_share"):
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


COMMANDS = {
    "demo": Command(
        summary="train Standard and AugMix on the embedded digits, measure both, write a report",
        run=_demo,
    ),
    "train": Command(summary="train one model by one method on one source", run=_train),
    "evaluate": Command(summary="measure a run on clean and corrupted images", run=_evaluate),
    "report": Command(summary="one HTML page that compares any number of runs", run=_report),
    "corrupt": Command(
        summary="write the -C form of any images, in the official layout", run=_corrupt
    ),
    "perturb": Command(
        summary="write the -P form of any images, in the official layout", run=_perturb
    ),
    "preview": Command(
        summary="pictures of AugMix realisations, or of every corruption", run=_preview
    ),
    "bench": Command(summary="how fast executors and corruptions are on this machine", run=_bench),
}


if __name__ == "__main__":
    sys.exit(main())
