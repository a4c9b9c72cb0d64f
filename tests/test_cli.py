"""The command line: the walk from train to report, one message and exit code 2 for a mistake."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import augmix
from augmix import benchmarks, cli, corruptions, files, pictures
from augmix.evaluation.models import load_run
from augmix.flags import decide_training, parse_training, spell_margin
from augmix.results import RESULTS_FILE, load_results
from augmix.run_folder import CONFIG_FILE, LOG_FILE, MODEL_FILE, STATE_FILE, WEIGHTS_FILE
from augmix.training.settings import flatten

TOY = ["--source", "digits", "--model", "small", "--epochs", "1", "--max-train-images", "60"]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "augmix", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    for name, summary in cli.COMMANDS.items():
        assert f"  {name} " in text
        assert summary in text


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        ("", {"torch", "numba", "cv2", "matplotlib", "numpy", "tyro"}),
        ("train", {"torch", "numba", "cv2", "matplotlib", "scipy"}),
        ("preview", {"torch", "numba", "cv2", "matplotlib", "scipy"}),
        ("export", {"torch", "numba", "cv2", "matplotlib", "numpy"}),
        ("bench", {"torch", "numba", "cv2", "matplotlib", "numpy"}),
        ("stylize", {"torch", "numba", "cv2", "matplotlib", "numpy"}),
        ("corrupt", {"torch", "numba", "cv2", "matplotlib", "numpy"}),
        ("perturb", {"torch", "numba", "cv2", "matplotlib", "numpy"}),
    ],
)
def test_help_loads_nothing_heavy(command: str, heavy: set[str]):
    words = [command, "--help"] if command else ["--help"]
    code = (
        f"import sys; from augmix.cli import main; main({words!r});"
        f"heavy = {heavy!r} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_loads_nothing_heavy():
    code = (
        "import sys, augmix;"
        "heavy = {'torch', 'numba', 'cv2', 'matplotlib', 'numpy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == augmix.__version__


def test_every_public_name_exists():
    for name in augmix.__all__:
        assert getattr(augmix, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        augmix.nothing  # noqa: B018


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy run, trained and measured through the command line."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert cli.main(["train", *TOY, "--out", str(folder)]) == 0
    measured = ["evaluate", str(folder), "--names", "contrast", "--max-images", "20"]
    assert cli.main([*measured, "--severities", "1", "5"]) == 0
    return folder


def test_train_and_evaluate_fill_the_run_folder(trained: Path):
    names = {path.name for path in trained.iterdir()}
    assert {
        CONFIG_FILE,
        LOG_FILE,
        MODEL_FILE,
        RESULTS_FILE,
        STATE_FILE,
        WEIGHTS_FILE,
    } <= names
    results = load_results(trained / RESULTS_FILE)
    assert [(cell.name, cell.severity) for cell in results.cells] == [
        ("clean", 0),
        ("contrast", 1),
        ("contrast", 5),
    ]
    assert all(cell.num_images == 20 for cell in results.cells)


def test_started_again_a_finished_run_says_so(trained: Path, capsys: pytest.CaptureFixture[str]):
    weights = (trained / WEIGHTS_FILE).read_bytes()
    assert cli.main(["train", *TOY, "--out", str(trained)]) == 0
    assert "is already trained" in capsys.readouterr().out
    assert (trained / WEIGHTS_FILE).read_bytes() == weights


def test_other_settings_are_refused(trained: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["train", *TOY, "--severity", "5", "--out", str(trained)]) == 2
    message = capsys.readouterr().err
    assert "severity" in message
    assert "Traceback" not in message


def test_attacked_images(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "attacked"
    words = ["evaluate", str(trained), "--suite", "clean", "attack", "--max-images", "12"]
    words += ["--out", str(out), "--attack-norm", "l2", "--attack-steps", "2"]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    results = load_results(out / RESULTS_FILE)
    clean, attacked = results.cells
    assert (attacked.suite, attacked.name, attacked.num_images) == ("attack", "l2", 12)
    assert clean.num_errors <= attacked.num_errors
    assert (results.protocol["attack_epsilon"], results.protocol["attack_steps"]) == (0.5, 2)
    head = next(line for line in shown.splitlines() if "robust error %" in line)
    row = next(line for line in shown.splitlines() if line.startswith("│ run"))
    place = head.replace("┃", "│").split("│").index(" robust error % ")
    assert row.split("│")[place].strip() == f"{100 * attacked.num_errors / 12:.2f}"
    page = tmp_path / "page.html"
    assert cli.main(["report", str(out), "--out", str(page), "--export", "markdown"]) == 0
    assert "Error under attack" in page.read_text()
    assert "| l2 | 0.5 | 2 | 0.125 | 1 |" in (tmp_path / "page.md").read_text()


def test_report(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page = tmp_path / "page.html"
    assert cli.main(["report", str(trained), "--out", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    assert "<html" in page.read_text()[:200]


def test_a_run_has_a_name(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    page = ["report", str(folder), "--out", str(tmp_path / "page.html"), "--export", "csv"]
    again = ["evaluate", str(folder), "--names", "contrast", "--max-images", "20"]
    again += ["--severities", "1", "5"]
    for name in ("[/red]", "Baseline, 3rd try"):
        assert cli.main([*again, "--name", name]) == 0
        assert name in capsys.readouterr().out
        assert load_results(folder / RESULTS_FILE).model["label"] == name
        assert cli.main(page) == 0
        assert name in (tmp_path / "page.csv").read_text()
    config = json.loads((folder / CONFIG_FILE).read_text())
    assert config["name"] is None
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"name": "Trained"}))
    assert load_run(folder).name == "Trained"


def test_preview(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from PIL import Image

    picture = tmp_path / "picture.png"
    assert cli.main(["preview", "--num-images", "2", "--out", str(picture)]) == 0
    with Image.open(picture) as image:
        assert image.width > 300
    assert cli.main(["preview", "--first", "9999"]) == 2
    assert "must name images 0..396, got 3 from 9999" in capsys.readouterr().err


def test_preview_of_the_operations(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from PIL import Image

    sizes = {}
    for words in ("--ops", "--operations", "--operations --ops all", "--severity 1 --ops"):
        picture = tmp_path / "operations.png"
        assert cli.main(["preview", "--out", str(picture), *words.split()]) == 0
        with Image.open(picture) as image:
            sizes[words] = image.size
    assert sizes["--ops"] == sizes["--operations"] == sizes["--severity 1 --ops"]
    assert sizes["--operations --ops all"][1] > sizes["--ops"][1]
    photograph = tmp_path / "photograph.png"
    Image.new("RGB", (4, 4)).save(photograph)
    assert cli.main(["preview", "--ops", "--out", str(photograph)]) == 2
    assert "is no earlier preview" in capsys.readouterr().err
    assert cli.main(["preview", "--ops", "--method", "cutout"]) == 2
    assert "method 'cutout' has no chains of operations to show" in capsys.readouterr().err


def test_corrupt_and_perturb_write_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    few = ["--max-images", "4", "--num-processes", "1", "--preset", "cifar"]
    damaged, drifting = tmp_path / "c", tmp_path / "p"
    assert cli.main(["corrupt", "digits", str(damaged), *few, "--names", "contrast"]) == 0
    assert f"set: {damaged}" in capsys.readouterr().out
    assert np.load(damaged / "contrast.npy").shape == (20, 32, 32, 3)
    assert cli.main(["perturb", "digits", str(drifting), *few, "--names", "brightness"]) == 0
    assert np.load(drifting / "brightness.npy").shape == (4, 31, 32, 32, 3)
    capsys.readouterr()
    assert cli.main(["corrupt", "digits", str(damaged), *few, "--names", "contrsat"]) == 2
    assert "contrast" in capsys.readouterr().err


@pytest.mark.slow
def test_demo_at_toy_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "demo"
    toy = ["--epochs", "1", "--max-train-images", "60", "--max-images", "10"]
    assert cli.main(["demo", "--out", str(folder), *toy]) == 0
    text = capsys.readouterr().out
    assert f"report: {folder / 'report.html'}" in text
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary) == {"seconds", "standard", "augmix"}
    for method in ("standard", "augmix"):
        assert set(summary[method]) == {
            "clean_error",
            "corruption_error",
            "rms_calibration_error",
        }
        assert all(0 <= value <= 1 for value in summary[method].values())


def test_bench_at_toy_size(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(benchmarks, "_PIXELS", 0)  # the fewest images
    toy = ["executors", "--sizes", "8", "--num-threads", "1", "--seconds", "0.05"]
    assert cli.main(["bench", *toy]) == 0
    assert "compiled" in capsys.readouterr().out


def test_bench_of_the_corruptions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(corruptions.corrupt, "corrupt", lambda images, name, **settings: images)
    monkeypatch.setattr(benchmarks, "find_peer", lambda: None)
    toy = ["corruptions", "--sizes", "16", "32", "--num-threads", "2", "--seconds", "0"]
    assert cli.main(["bench", *toy]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(line for line in lines if "ms an image" in line)  # kernels may be compiled before
    assert "16 px, 2 threads" in head
    assert "32 px, 2" in head
    assert sum("gaussian_noise" in line or "sum of paper-15" in line for line in lines) == 2
    assert lines[-1] == "install imagecorruptions-imaug to compare with its times"


@pytest.mark.parametrize("out", ["shown", "shown.png"])
def test_preview_of_the_corruptions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, out: str
):
    calls = []

    def write(folder, image, *, names, sequences, preset, seed, sample):
        calls.append((folder, image.shape, names, sequences, preset, seed, sample))
        return [folder / name for name in ("a.png", "b.png", "all/c.webp", "all/d.webp")]

    monkeypatch.setattr(pictures, "write_galleries", write)
    settings = ["--corruptions", "--first", "3", "--seed", "7", "--preset", "tiny", "--size", "20"]
    settings += ["--names", "fog", "--out", str(tmp_path / out)]
    assert cli.main(["preview", *settings]) == 0
    names = (("fog",), ("standard-10", "extra-4"))
    assert calls == [(tmp_path / "shown", (20, 20, 3), *names, "tiny", 7, 3)]
    assert "2 animations in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tran"], "unknown command 'tran', did you mean 'train'?"),
        (["train", "--method", "augmxi", "--source", "digits"], "augmix"),
        (["train", "--model", "wrn-41-2", "--source", "digits", *TOY[4:]], "wrn"),
        (
            ["train", *TOY, "--cutout-size-px", "4"],
            "--cutout-size-px belongs to cutout; --method is",
        ),
        (
            ["preview", "--method", "cutout", "--severity", "4"],
            "--severity belongs to ",
        ),
        (["train", *TOY, "--recipe"], "expected one name after --recipe"),
        (["train", "--model", "small"], "name the training images: --data FOLDER"),
        (["train", *TOY, "--severity", "0"], "severity must be 1..10, got 0"),
        (["train", *TOY, "--severity", "11"], "severity must be 1..10, got 11"),
        (["train", *TOY, "--width", "0"], "width must be at least 1 chain, got 0"),
        (["train", *TOY, "--alpha", "0"], "alpha must be a finite number above 0, got 0"),
        (["train", "--source", "folder", "--data", "nowhere"], "nowhere"),
        (["train", "--source", "cifar10", "--data", "nowhere"], "nowhere"),
        (["evaluate", "nowhere"], "nowhere"),
        (["evaluate", "nowhere", "--attack-steps", "3"], "attack_steps 3 would have no effect"),
        (["report", "nowhere"], "nowhere"),
        (["report"], "run"),
        (
            ["train", "--epochs", "x"],
            "--epochs must be a whole number, got 'x'; see augmix train --h",
        ),
        (["train", "--lr", "x"], "--lr/--learning-rate must be a number, got 'x'"),
        (
            ["train", *TOY, "--freeze", "bakbone"],
            "--freeze must be backbone or a whole number, got 'bakbone'",
        ),
        (["train", *TOY, "--preciion", "bf16"], "--preciion, did you mean '--precision'?"),
        (
            ["evaluate", "x", "--batch-size", "0"],
            "augmix: batch_size must be at least 1, got 0; see",
        ),
        (
            ["evaluate", "x", "--precision", "fp8"],
            "augmix: --precision must be one of fp32, bf16, got 'fp8', did you mean 'fp32'?",
        ),
        (
            ["evaluate", "x", "--batchsize=3"],
            "evaluate has no option --batchsize, did you mean '--ba",
        ),
        (
            ["report", "x", "--exprot", "csv"],
            "report has no option --exprot, did you mean '--export'",
        ),
        (
            ["bench", "exec"],
            "augmix: what must be one of executors, corruptions, ",
        ),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message(arguments, message, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.startswith("augmix: ")
    assert text.count("\n") == 1
    assert "Traceback" not in text


@pytest.mark.parametrize("command", ["corrupt", "stylize", "train"])
@pytest.mark.parametrize("source", ["", ".npz", ".tar", "cifar10"])
def test_missing_images_are_answered_without_flags_of_other_commands(
    command: str, source: str, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = f"nowhere{source if source.startswith('.') else ''}"
    words = ["--data", data] if command in ("preview", "train") else [data, "out"]
    words += ["--source", source] if source.isalnum() else []
    assert cli.main([command, *words]) == 2
    text = capsys.readouterr().err
    assert text.startswith("augmix: ")
    assert "nowhere" in text
    assert not set(re.findall(r"(?<!augmix train )--[a-z-]+", text))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--precision", "1.0", "a"], ["--margin-of-error", "1.0", "a"]),
        (["--precision=0.5"], ["--margin-of-error=0.5"]),
        (["--precision", "bf16", "--seed", "1"], ["--precision", "bf16", "--seed", "1"]),
        (["a", "--precision"], ["a", "--precision"]),
    ],
)
def test_a_precision_in_points_is_the_margin_of_error(words: list[str], expected: list[str]):
    assert spell_margin(words) == expected


def test_lr_is_the_learning_rate() -> None:
    config, _ = parse_training(["--data", "x", "--lr", "0.25"])
    assert config.optimisation.learning_rate == 0.25


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["report", "nowhere", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_unknown_flag_is_a_mistake():
    done = run("train", "--no-such-flag", "1")
    assert done.returncode == 2
    assert "no-such-flag" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_bug_is_not_hidden(monkeypatch, capsys: pytest.CaptureFixture[str]):
    def broken(_):
        raise KeyError("inside")

    monkeypatch.setitem(cli.RUN, "bench", broken)
    assert cli.main(["bench"]) == 1
    assert "this is a bug" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "is_resumed"),
    [
        ("bench startup", False),
        ("check run", False),
        ("corrupt photos set", True),
        ("corrupt photos set --dry-run", False),
        ("predict run photos", False),
        ("predict run photos --out=found.csv", True),
    ],
)
def test_a_stopped_command_says_whether_it_continues(
    line: str, is_resumed: bool, monkeypatch, capsys
) -> None:
    words = line.split()
    raised: list[BaseException] = [KeyboardInterrupt(), MemoryError("no memory")]
    monkeypatch.setitem(cli.RUN, words[0], mock.Mock(side_effect=raised))
    assert cli.main(words) == 130
    continues = "start the same command again to continue"
    expected = continues if is_resumed else "the same command starts from the beginning"
    assert capsys.readouterr().err == f"augmix: stopped; {expected}\n"
    assert cli.main(words) == 2
    assert ("what was finished is kept" in capsys.readouterr().err) == is_resumed


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path: Path):
    folder = tmp_path / "run"
    endless = [*TOY[:5], "100000", *TOY[6:], "--log-every", "1", "--out", str(folder)]

    def start_and_stop(after: int) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "augmix", "train", *endless],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        while len(files.load_lines(folder / LOG_FILE)) <= after:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 130, errors
        assert "same command again" in errors
        assert "Traceback" not in errors
        return output

    start_and_stop(after=2)
    done = len(files.load_lines(folder / LOG_FILE))
    assert f"after step {done}" in start_and_stop(after=done)
    steps = [line["step"] for line in files.load_lines(folder / LOG_FILE)]
    assert steps == list(range(1, len(steps) + 1))


def test_the_page_of_commands_is_up_to_date():
    """Pins every flag, its default and its help."""
    docs = Path(__file__).parents[1] / "docs"
    code = "import make; print(make.cli_page(), end='')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=docs
    )
    assert done.stdout == (docs / "cli.md").read_text(), "run `make docs` and read the difference"


@pytest.mark.slow
def test_completion_in_bash(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["--completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    cases = {
        "augmix tr": "train",
        "augmix train --prec": "--precision",
        "augmix train --precision b": "bf16",
        "augmix report --export j": "json",
        "augmix train --data ''": "",  # bash completes a file
    }
    lines = ["source ./script"]
    for words in cases:
        lines.append(f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _augmix")
        lines.append('echo "${COMPREPLY[*]}"')
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == list(cases.values())
    assert not done.stderr


def test_completion_of_another_shell_is_refused(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["--completion", "fish"]) == 2
    message = "augmix: --completion takes bash or zsh, got 'fish'\n"
    assert capsys.readouterr().err == message


def write_photographs(folder: Path, size: tuple[int, int] = (90, 70)) -> Path:
    from PIL import Image

    for index in range(6):
        path = folder / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size[0], size[1] + index), (40 * index, 0, 0)).save(path)
    return folder


def test_a_folder_alone_is_a_run_and_can_be_repeated(tmp_path: Path) -> None:
    photos = str(write_photographs(tmp_path / "photos"))
    words, said = decide_training([photos, "-b", "4"])
    config, _ = parse_training(words)
    assert (config.network.model, config.data.size, config.data.is_cropped) == (
        "resnet18",
        224,
        True,
    )
    assert (config.validation.fraction, config.optimisation.batch_size) == (0.15, 4)
    assert config.run.out == Path("runs/photos")
    *reasons, repeat = said
    assert len(reasons) == 6
    again = shlex.split(repeat.removeprefix("to repeat: augmix train "))
    assert decide_training(again) == (again, [])
    assert parse_training(again)[0] == config


def test_what_is_given_is_not_decided(tmp_path: Path) -> None:
    photos = str(write_photographs(tmp_path / "photos"))
    words, _ = decide_training([photos, "--model", "timm:resnet18", "--val-split", "0.3"])
    assert words[2:4] == ["--recipe", "finetune"]
    assert "--val-fraction" not in words
    for flags in (["--no-pretrained"], ["--no_pretrained"], ["--pretrained", "no"]):
        scratch, _ = decide_training([photos, "--model", "timm:resnet18", *flags])
        assert "finetune" not in scratch
    plain, said = decide_training([photos, "--no-flip"])
    assert plain.count("--flip") == 1
    assert not any(line.startswith("flip") for line in said)
    assert parse_training(plain)[0].data.flip is False
    assert "--model" in decide_training(["digits"])[0]
    assert parse_training([])[0] == parse_training(["--method", "augmix"])[0]
    assert "wrn-40-2" in decide_training(["digits"])[0]


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["-b", "7"], "batch_size", 7),
        (["--batch", "7"], "batch_size", 7),
        (["--wd", "0.5"], "weight_decay", 0.5),
        (["--workers", "3"], "num_threads", 3),
        (["--val-split", "0.2"], "val_fraction", 0.2),
        (["--logger", "csv", "wandb"], "logger", ("csv", "wandb")),
        (["--model", "timm:resnet18", "--pretrained"], "pretrained", True),
        (["--model", "timm:resnet18", "--no-pretrained"], "pretrained", False),
        (["--model", "timm:resnet18", "--no_pretrained"], "pretrained", False),
        (["--flip", "--epochs", "3"], "flip", True),
    ],
)
def test_usual_names_of_flags(words: list[str], name: str, value: Any) -> None:
    config, _ = parse_training(["--data", "x", *words])
    assert flatten(config)[name] == value


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--amp", "--precision bf16"),
        ("--resume", "the same command continues"),
        ("--gpus", "torchrun"),
        ("--wandb", "--logger wandb"),
    ],
)
def test_flags_of_other_programs_are_explained(
    word: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "--data", "x", word]) == 2
    assert f"augmix: there is no option {word}: " in (message := capsys.readouterr().err)
    assert hint in message
