"""The commands of `augmix`: flags -> configuration -> one library call -> what is printed.

A required field of a configuration is a positional argument, every other field a flag. A command
imports what it needs when it is called, so that ``augmix --help`` is quick. Exit codes: 0 done, 1
some runs of ``augmix reproduce`` or a rule of ``augmix check`` failed (or a bug), 2 a mistake that
the message explains, 3 ``augmix check`` needs more images, 130 stopped by Ctrl-C.
"""

import math
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from augmix.commands import COMMANDS, help_text
from augmix.console import print_predictions, print_summaries, print_table, say, show_progress
from augmix.data import Reading
from augmix.errors import (
    START_BYTES,
    Interrupted,
    RunError,
    check_fields,
    check_headroom,
    check_positive,
    describe_import,
    did_you_mean,
    memory_error,
    printable,
)
from augmix.flags import (
    completion_script,
    decide_training,
    make_flag,
    make_group,
    make_part,
    method_flag,
    method_group,
    parse,
    parse_training,
    peek,
    spell_margin,
)

if TYPE_CHECKING:
    from augmix.evaluation.predict import Prediction

_WITHOUT_TORCH = ("check", "report", "download")  # commands that take far less memory

UNDECIDED = 3
"""Exit code of ``augmix check`` if no rule failed, but the images do not decide one."""

RUN: dict[str, Callable[[Sequence[str]], None]] = {}
"""What runs each command, on the words behind its name."""

Result = TypeVar("Result")
Device = Literal["auto", "cpu", "cuda", "mps"]


def command(name: str) -> Callable[[Callable], Callable]:
    """Decorator: make a function the command of this name."""

    def register(run: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
        RUN[name] = run
        return run

    return register


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code of the process.

    Args:
        arguments: The words behind ``augmix``; those of the command line if not given.
    """
    # Before torch is loaded: its threads sleep instead of spinning while they wait for each other.
    # Spinning costs most of a core as soon as anything else runs, and views are made beside them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if words[0] == "--version":
        import augmix

        print(augmix.__version__)
        return 0
    if words[0] == "--completion":
        try:
            print(completion_script(" ".join(words[1:]), RUN))
        except ValueError as error:
            return _fail(str(error))
        return 0
    if words[0] not in RUN:
        nearest = did_you_mean(words[0], COMMANDS)
        return _fail(f"unknown command {words[0]!r}{nearest}; see augmix --help")
    try:
        if not {"-h", "--help"} & set(words):
            least = START_BYTES // 3 if words[0] in _WITHOUT_TORCH else START_BYTES
            check_headroom(least, f"augmix {words[0]}")
        RUN[words[0]](words[1:])
    except SystemExit as stop:  # tyro has printed its message
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        continues = "start the same command again to continue"
        restarts = "the same command starts from the beginning"
        return _fail(f"stopped; {continues if _is_resumed(words) else restarts}", code=130)
    except BrokenPipeError:  # what reads the output has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still waiting
        return 141
    except Exception as error:
        return _explain(error, words, is_debug)
    return 0


_RESUMED = (
    "demo", "train", "evaluate", "calibrate-severity", "predict", "corrupt", "perturb", "stylize",
    "download", "reproduce",
)  # fmt: skip


def _is_resumed(words: Sequence[str]) -> bool:
    """Whether a command keeps what is finished when it is stopped, and continues from there."""
    names = {word.partition("=")[0] for word in words}
    is_printed = words[0] == "predict" and "--out" not in names
    return words[0] in _RESUMED and not is_printed and "--dry-run" not in names


def _explain(error: Exception, words: Sequence[str], is_debug: bool) -> int:
    """Print one message for what a user can fix; anything else is a bug and shows where."""
    if is_debug:
        traceback.print_exception(error)
        return 2
    if isinstance(error, Interrupted):
        return _fail(str(error), code=130)
    if not isinstance(error, RunError) and (reason := memory_error(error)):
        kept = "; what was finished is kept" if _is_resumed(words) else ""
        return _fail(
            f"too little memory ({reason}){kept}: raise the limit of this process, or take a "
            "smaller --batch-size, a smaller model, or fewer threads"
        )
    if isinstance(error, (RunError, ValueError, TypeError, OSError)):
        return _fail(f"{error}")
    if isinstance(error, ImportError) and error.name and not error.name.startswith("augmix"):
        library = error.name.partition(".")[0]
        return _fail(f"this command needs {describe_import(error, library)}")
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return _fail(
            "the home folder is unknown, so ~ and the folder of cached files cannot be found: set "
            "HOME, or name folders without ~ (and AUGMIX_CACHE for cached files)"
        )
    traceback.print_exception(error)
    return _fail("this is a bug; please report it with the lines above", code=1)


def _fail(message: str, code: int = 2) -> int:
    print(f"augmix: {printable(message)}", file=sys.stderr)
    return code


# --- commands


@command("demo")
def _demo(words: Sequence[str]) -> None:
    from augmix.paper.config import DemoConfig

    config = parse(DemoConfig, "demo", words)
    from augmix.paper.demo import demo

    report = _watch(demo, config)
    print_summaries([report.parent / "standard", report.parent / "augmix"])
    say(f"report: {report}")


_TRAIN_EXAMPLES = """\
examples:
  augmix train photos                                decides by itself, and says what it decided
  augmix train photos --model timm:resnet50          fine-tunes a pretrained model
  augmix train --recipe cifar --data CIFAR --val-fraction 0.1 --out runs/augmix
"""


@command("train")
def _train(words: Sequence[str]) -> None:
    began = perf_counter()
    if {"-h", "--help"} & set(words):
        print(_TRAIN_EXAMPLES)
    words, decisions = decide_training(words)
    config, is_dry = parse_training(words)
    for line in decisions if _is_first() else ():
        say(line)
    _keep_memory()
    from augmix import distributed
    from augmix.training.forecast import forecast_run
    from augmix.training.run import backend, train

    with distributed.joined(backend=backend()):
        if distributed.rank():  # process 0 prints for all
            forecast_run(config) if is_dry else train(config)
            return
        if is_dry:
            say("\n".join(_watch(partial(forecast_run, began=began), config)))
            return
        say(f"run: {_watch(train, config)}")


@command("evaluate")
def _evaluate(words: Sequence[str]) -> None:
    from augmix.evaluation.config import Measurement

    measurement = parse(Measurement, "evaluate", spell_margin(words))
    _keep_memory()
    from augmix import distributed
    from augmix.evaluation.models import forecast_measurement, run_measurement

    if measurement.dry_run:
        if _is_first():
            say("\n".join(_watch(forecast_measurement, measurement)))
        return
    with distributed.joined():
        if distributed.rank():  # process 0 prints for all
            run_measurement(measurement)
            return
        found = _watch(run_measurement, measurement)
        if found.decision is None:
            print_summaries([measurement.folder])
            return
        from augmix.report import decision_words

        say(decision_words(found))


@command("calibrate-severity")
def _calibrate_severity(words: Sequence[str]) -> None:
    from augmix.evaluation.config import CalibrateConfig

    config = parse(CalibrateConfig, "calibrate-severity", words)
    from augmix.evaluation import severities

    preset = _watch(severities.calibrate_model, config)
    assert config.out is not None  # it has a default
    for line in severities.lines(config.out):
        say(line)
    say(f"preset: {config.out}, {len(preset.table)} corruptions")


@command("predict")
def _predict(words: Sequence[str]) -> None:
    from augmix.evaluation.config import PredictConfig

    config = parse(PredictConfig, "predict", words)
    _keep_memory()
    from augmix.evaluation.predict import (
        forecast_predictions,
        predict,
        predict_file,
        write_predictions,
    )
    from augmix.shards import find_shard

    if config.dry_run:
        if _is_first():
            say("\n".join(forecast_predictions(config)))
        return
    if config.out is not None:
        if not _is_first():
            predict_file(config)
            return
        num_images, left_out = _watch(predict_file, config)
        _tell_broken(num_images, left_out)
        say(f"predictions: {config.out}")
        return
    if find_shard(None):
        raise ValueError("several processes of torchrun write one file: name it with --out")
    num_images, broken = 0, []

    def count(found: Iterable["Prediction"]) -> Iterator["Prediction"]:
        nonlocal num_images
        for each in found:
            num_images += 1
            if each.error:
                broken.append((each.path, each.error))
            yield each

    def note(event: Any) -> None:
        print(f"augmix: {printable(event.text)}", file=sys.stderr)

    predictions = count(predict(config, on_progress=note))
    if config.written_form == "table":
        print_predictions(predictions)
    else:
        for line in write_predictions(predictions, config.written_form):
            print(line, flush=True)
    _tell_broken(num_images, broken)


def _tell_broken(num_images: int, broken: Sequence[tuple[str, str]]) -> None:
    """Name the images that were left out; if that is all of them, end with exit code 1."""
    for path, why in broken:
        print(f"augmix: {printable(path)}: {why}", file=sys.stderr)
    if broken:
        print(f"augmix: {len(broken)} of {num_images} images left out", file=sys.stderr)
    if num_images and len(broken) == num_images:
        sys.exit(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """Which runs the page compares, and what is written."""

    runs: tuple[Path, ...]
    """Run folders that were evaluated; those that differ only in their seed become one row."""
    out: Path = Path("report.html")
    """The page to write."""
    export: tuple[Literal["csv", "json", "latex", "markdown"], ...] = ()
    """More files beside the page: every number, the tables, a model card."""
    title: str = "Robustness report"
    """Heading of the page."""


@command("report")
def _report(words: Sequence[str]) -> None:
    config = parse(ReportConfig, "report", words)
    from augmix import report

    path = report.write_report(config.runs, config.out, config.export, title=config.title)
    say(f"report: {path}")
    for name in dict.fromkeys(config.export):
        say(f"{name}: {report.export_path(path, name)}")


@command("check")
def _check(words: Sequence[str]) -> None:
    from augmix.report.check import LIMITED, CheckConfig, check_junit, check_run, write_junit

    config = parse(CheckConfig, "check", words)
    if config.junit is not None:
        check_junit(config.junit)
    limits = {name: value for name in LIMITED if (value := getattr(config, name)) is not None}
    verdicts = check_run(
        config.run,
        limits,
        at_most=config.at_most,
        at_least=config.at_least,
        no_worse_than=config.no_worse_than,
        margin=config.margin / 100,
        agrees_with=config.agrees_with,
        min_agreement=config.min_agreement,
    )
    for verdict in verdicts:
        say(str(verdict))
    if config.junit is not None:
        write_junit(config.junit, verdicts, str(config.run))
    outcomes = {verdict.outcome for verdict in verdicts}
    if outcomes != {"passed"}:
        sys.exit(1 if "failed" in outcomes else UNDECIDED)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig:
    """Which model, and as what."""

    run: str
    """The run folder that holds the model, or owner/name on the Hugging Face Hub."""
    format: Literal["onnx", "torch-export", "safetensors"] = "onnx"
    """What is written: ONNX, a program for torch.export.load, or the weights with a description."""
    out: Path | None = None
    """The file; None writes model.onnx, model.pt2 or model.safetensors into the run folder."""
    size: int | None = None
    """Size in pixels of the images it takes; None is what the model was trained or measured on."""

    def __post_init__(self) -> None:
        check_positive(self, "size")


@command("export")
def _export(words: Sequence[str]) -> None:
    config = parse(ExportConfig, "export", words)
    from augmix.models.export import export_run

    done = export_run(config.run, config.out, format=config.format, size=config.size)
    height, width = done.size
    say(
        f"{config.format}: {done.path}, {done.num_bytes / 1e6:.1f} MB; classes and preprocessing "
        f"in {done.path.name}.json\n"
        f"input: images [batch, {done.channels}, {height}, {width}], float32 in [0, 1]; "
        f"output: logits [batch, {done.num_classes}]\n"
        f"read back and compared: logits differ by at most {done.max_difference:.1e} "
        f"(largest {done.largest_logit:.2f})",
    )


@command("corrupt")
def _corrupt(words: Sequence[str]) -> None:
    from augmix.write import CorruptConfig

    config = parse(CorruptConfig, "corrupt", words)
    from augmix.write.sets import corrupt_source

    _write(corrupt_source, config)


@command("perturb")
def _perturb(words: Sequence[str]) -> None:
    from augmix.write import PerturbConfig

    config = parse(PerturbConfig, "perturb", words)
    from augmix.write.sets import perturb_source

    _write(perturb_source, config)


@command("stylize")
def _stylize(words: Sequence[str]) -> None:
    from augmix.stylize import FitConfig, StylizeConfig

    if words[:1] == ["fit"]:
        settings = parse(FitConfig, "stylize fit", words[1:])
        from augmix.stylize.training import fit

        say(f"decoder: {_watch(fit, settings)}")
        return
    config = parse(StylizeConfig, "stylize", words)
    from augmix.stylize.write import stylize

    _write(stylize, config)


def _write(work: Callable[..., Path], config: Any) -> None:
    """Write a set of images; of the processes of torchrun, the first prints for all."""
    if not _is_first():
        _keep_memory()
        work(config)
        return
    folder = _watch(work, config)
    if not config.dry_run:
        say(f"set: {folder}")


def _is_first() -> bool:
    """Whether this process is the only one, or the first of torchrun's."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadConfig:
    """What is fetched, and where it goes."""

    name: str
    """Published set: cifar10-c, cifar100-c, tiny-imagenet-c, imagenet-c, cifar10-p, imagenet-p,
    imagenet-a, imagenet-r, imagenet-o, or frost, the photographs of the corruption frost."""
    dst: Path
    """Folder that gets the set's own folder, e.g. CIFAR-10-C, and its archives below archives. A
    download that was stopped is continued."""
    archives: tuple[str, ...] = ()
    """Archives of the set, e.g. weather.tar; none takes all."""
    from_local: Path | None = None
    """Folder of archives fetched by hand, or of the unpacked set, which is then only checked."""
    url: str | None = None
    """Address below which the archives are; None is the official one."""
    keep_archives: bool = True
    """Keep downloaded archives once they are unpacked."""


@command("download")
def _download(words: Sequence[str]) -> None:
    config = parse(DownloadConfig, "download", words)
    from augmix.data.published_sets import fetch_published

    with show_progress() as progress:
        folder = fetch_published(
            config.name,
            config.dst,
            archives=config.archives,
            from_local=config.from_local.expanduser() if config.from_local else None,
            url=f"{config.url.rstrip('/')}/" if config.url else "",
            keep_archives=config.keep_archives,
            on_progress=progress,
        )
    say(f"set: {folder}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewConfig:
    """What the picture shows."""

    data: str = "digits"
    """Folder or file of the images, or digits."""
    source: str | None = None
    """Form of the data, as in augmix train; None goes by the data."""
    split: str = "test"
    """Part of the images: train, test or val."""
    size: int | None = None
    """Size in pixels the images are brought to; None keeps them as stored."""
    num_images: int = 3
    """Views to draw, each of another image."""
    first: int = 0
    """Index of the first image."""
    seed: int = 0
    """Seed of the draws."""
    out: Path = Path("preview.png")
    """The picture to write; with --corruptions a folder, whose name loses the ending .png."""
    corruptions: bool = False
    """Show corruptions of image FIRST instead: OUT/corruptions.png has every corruption at five
    severities, OUT/perturbations.png strips of every sequence, OUT/perturbations/NAME.webp the
    animation of each. The flags of the method are not used."""
    names: tuple[str, ...] = ("paper-15", "extra-4")
    """With --corruptions: corruptions, paper-15, extra-4, or your own as python:FILE:FUNCTION."""
    sequences: tuple[str, ...] = ("standard-10", "extra-4")
    """With --corruptions: perturbations, standard-10, cifar-script-10, extra-4, or your own."""
    preset: Literal["auto", "cifar", "tiny", "imagenet", "imagenet-299"] | Path = "auto"
    """Severity table of the corruptions: a published one; auto, by the size of the image; or the
    file of another one."""
    operations: bool = False
    """Show image FIRST under each operation alone instead, at the level --severity of the method;
    a bare --ops is the same, --ops all has all 13."""
    bank: bool = False
    """Show pictures of the bank that pixmix and ipmix mix with instead, for images of this size."""
    reading: Reading = field(default_factory=Reading)
    """How image files are read."""

    def __post_init__(self) -> None:
        kinds = [name for name in ("corruptions", "operations", "bank") if getattr(self, name)]
        if len(kinds) > 1:
            raise ValueError(f"{' and '.join(kinds)} are pictures of their own; name one of them")
        kind = kinds[0] if kinds else "views"
        for owners, names in _PICTURES.items():
            for name in names if kind not in owners else ():
                default = next(entry.default for entry in fields(self) if entry.name == name)
                if getattr(self, name) != default:
                    raise ValueError(
                        f"{name} would have no effect on the picture of {kind}: it belongs to "
                        f"{' and '.join(owners)}"
                    )


_PICTURES = {  # kinds of pictures, and the settings that no other kind has
    ("corruptions",): ("names", "sequences", "preset"),
    ("views",): ("num_images",),
    ("views", "corruptions"): ("seed",),
    ("views", "corruptions", "operations"): ("first",),
}


@command("preview")
def _preview(words: Sequence[str]) -> None:
    from augmix.training.config import DataConfig
    from augmix.training.settings import build_config

    words = [
        "--operations" if word == "--ops" and following.startswith("-") else word
        for word, following in zip(words, [*words, "-"][1:], strict=True)
    ]
    method = peek(words, "--method", "augmix")
    others = [entry.name for entry in (*fields(PreviewConfig), *fields(Reading))]
    of_method = method_group(method, words, others, {})
    parts = [make_part(PreviewConfig, "preview"), make_part(of_method)]
    flags: Any = parse(make_group("flags", [method_flag(method), *parts]), "preview", words)
    config: PreviewConfig = flags.preview
    training = build_config(method=method, stylised="-", **vars(getattr(flags, of_method.__name__)))
    import numpy as np

    from augmix import pictures, previews
    from augmix.augment.ops import Op, find_ops
    from augmix.data.inventory import describe_images
    from augmix.data.sources import open_source
    from augmix.methods import TrainingImages
    from augmix.rng import Stream

    data = DataConfig(path=config.data, source=config.source, size=config.size)
    source = open_source(
        data.kind,
        root=data.root,
        split=config.split,
        size=data.size or 0,
        is_lazy=True,
        **config.reading.given,
    )
    for line in describe_images(source):
        say(line)
    if config.num_images < 1 or not 0 <= config.first <= len(source) - config.num_images:
        raise ValueError(
            f"first and num_images must name images 0..{len(source) - 1}, "
            f"got {config.num_images} from {config.first}"
        )
    ids = np.arange(config.first, config.first + config.num_images)
    if config.corruptions:
        paths = pictures.write_galleries(
            config.out.with_suffix("") if config.out.suffix == ".png" else config.out,
            source.load(ids[:1])[0],
            names=config.names,
            sequences=config.sequences,
            preset=config.preset,
            seed=config.seed,
            sample=config.first,
        )
        animations = f"{len(paths) - 2} animations in {paths[2].parent}"
        say(f"pictures: {paths[0]}, {paths[1]} and {animations}")
        return
    from augmix.files import check_replaceable

    check_replaceable(config.out, "earlier preview", *(word.encode() for word in pictures.MADE_BY))
    if config.operations:
        from augmix.augment.policies.augmix import largest_level

        policy: Any = training.method.policy
        if not hasattr(policy, "ops"):
            raise ValueError(
                f"method {method!r} has no chains of operations to show; name augmix or random-aa"
            )
        sheet = pictures.render_operations(
            source.load(ids[:1])[0],
            ops=tuple(map(Op, find_ops(policy.ops))),
            severity=largest_level(policy.severity, source.size),
            is_wide=policy.ops == "wide",
        )
        say(f"picture: {pictures.save_preview(config.out, sheet)}")
        return
    if config.bank:
        from augmix.augment.bank import bank_name, bank_size

        folder = getattr(training.method.policy, "pictures", None)
        sheet = pictures.render_bank(bank_name(folder), bank_size(source.size))
        say(f"picture: {pictures.save_preview(config.out, sheet)}")
        return
    images = TrainingImages(size=source.size, num_classes=source.num_classes)
    plan = training.method.fit(images).policy.sample(
        ids, num_views=1, size=source.size, stream=Stream(seed=config.seed)
    )
    say(f"picture: {previews.write_preview(config.out, source.load(ids), plan)}")


@command("reproduce")
def _reproduce(words: Sequence[str]) -> None:
    from augmix.paper.config import ReproduceConfig

    config = parse(ReproduceConfig, "reproduce", words)
    from augmix.paper.reproduce import reproduce

    made = _watch(reproduce, config)
    for line in made.plan:
        say(line)
    for path in made.paths:
        if path.suffix == ".md":
            say(path.read_text())
        say(f"written: {path}")
    if not made.unfinished:
        return
    count = f"{len(made.unfinished)} of {len(made.runs)} runs"
    print(f"augmix: {count} failed; the same command tries them again:", file=sys.stderr)
    for failed in made.unfinished:
        reason = failed.reason or "its process ended before it was done"
        print(printable(f"  {failed.task.name}: {reason}"), file=sys.stderr)
    sys.exit(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchConfig:
    """How to measure."""

    sizes: tuple[int, ...] = (32, 64, 224)
    """Sizes in pixels of the square images."""
    num_threads: tuple[int, ...] = (1, 2)
    """Threads of the compiled executor and of the corruptions."""
    seconds: float = 2.0
    """Time for each measurement."""
    methods: tuple[str, ...] = ("augmix",)
    """Methods whose views the executors make; all is every one."""
    models: tuple[str, ...] = ("small", "wrn-16-2")
    """Networks to train."""
    batch_size: int = 128
    """Images of a training step."""
    device: Device = "auto"
    """Device of training and of the batched executor."""

    def __post_init__(self) -> None:
        check_positive(self, "batch_size")
        check_fields(
            self,
            sizes=(all(size >= 1 for size in self.sizes), "at least 1 pixel"),
            num_threads=(all(count >= 1 for count in self.num_threads), "at least 1"),
            seconds=(0 <= self.seconds < math.inf, "a finite number from 0"),
        )


_WHAT = (
    "Executors: views per second, equality, fraction of planning, and which to use. Corruptions: "
    "milliseconds per image at severity 3, beside those of imagecorruptions-imaug if it is "
    "installed. Startup: imports and first uses. Train: images per second in float32 and bfloat16, "
    "and the fraction of a step spent waiting for views."
)


@command("bench")
def _bench(words: Sequence[str]) -> None:
    import tyro

    kinds = Literal["executors", "corruptions", "startup", "train", "all"]
    what = make_flag("what", tyro.conf.Positional[kinds], "all", _WHAT)
    flags: Any = parse(make_group("flags", [what, make_part(BenchConfig, "bench")]), "bench", words)
    config: BenchConfig = flags.bench
    _check_measured(flags.what, config)
    _keep_memory()
    from augmix import benchmarks

    if flags.what in ("executors", "all"):
        with show_progress() as progress:
            rows = benchmarks.measure_executors(
                config.sizes,
                config.num_threads,
                config.seconds,
                device=config.device,
                methods=config.methods,
                on_progress=progress,
            )
        print_table(rows)
        say("\n".join(benchmarks.recommend_executors(rows)))
    if flags.what in ("corruptions", "all"):
        peer = benchmarks.find_peer()
        rows = benchmarks.measure_corruptions(
            sizes=config.sizes, num_threads=config.num_threads, seconds=config.seconds, peer=peer
        )
        print_table(benchmarks.tabulate_corruptions(rows))
        if peer is None:
            say(f"install {benchmarks.PEERS[0]} to compare with its times")
    if flags.what in ("startup", "all"):
        print_table([benchmarks.measure_startup()])
    if flags.what in ("train", "all"):
        size, seconds = config.batch_size, 10 * config.seconds
        print_table(
            benchmarks.measure_training(
                config.models, batch_size=size, seconds=seconds, device=config.device
            )
        )


_MEASURED_BY = {  # settings of measurements, and the measurements that have them
    "sizes": ("executors", "corruptions"),
    "num_threads": ("executors", "corruptions"),
    "seconds": ("executors", "corruptions", "train"),
    "methods": ("executors",),
    "models": ("train",),
    "batch_size": ("train",),
    "device": ("executors", "train"),
}


def _check_measured(what: str, config: BenchConfig) -> None:
    """Refuse settings of other measurements than what is measured."""
    for entry in fields(BenchConfig):
        owners = _MEASURED_BY[entry.name]
        if what not in (*owners, "all") and getattr(config, entry.name) != entry.default:
            raise ValueError(
                f"{entry.name} would have no effect on {what}: it belongs to {' and '.join(owners)}"
            )


def _keep_memory() -> None:
    """Let malloc keep what is freed, before anything large is allocated."""
    from augmix.devices import keep_freed_memory

    keep_freed_memory()


def _watch(work: Callable[..., Result], config: Any) -> Result:
    """Do long work of a configuration, and show its progress."""
    _keep_memory()
    from augmix.data.remote import watch_downloads
    from augmix.jit import watch_compiling
    from augmix.progress import Note

    with show_progress() as progress, watch_downloads(progress):
        watch_compiling(lambda: progress(Note(text="compiling kernels once (about 20 s)")))
        return work(config, on_progress=progress)
