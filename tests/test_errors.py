"""The wording of messages: for a terminal, for a missing package, and for too little memory."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from augmix import cli, errors
from augmix.data.batches import run_ahead
from augmix.errors import RunError, import_library, printable


def test_nothing_acts_on_the_terminal():
    assert printable("\x1b]0;title\x07\r\x9b1m\x00\x7f") == "\\x1b]0;title\\x07\\r\\x9b1m\\x00\\x7f"
    assert printable("a\u202eb\u2028c\udcff") == "a\\u202eb\\u2028c\\udcff"
    plain = "a\tb\nc é \u202f\u00a0\u200d 犬"  # names of screenshots and emoji stay as they are
    assert printable(plain) == plain


def test_a_message_with_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for name in ("a\x1b[31m", "b\udcff", "[/red]"):
        assert cli.main(["report", str(tmp_path / name), "--out", str(tmp_path / "x.html")]) == 2
        found = capsys.readouterr().err
        assert found.startswith("augmix: ")
        assert printable(name) in found
        assert found.count("\n") == 1
    assert "\x1b" not in found


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import lacking_one", "needs f_package, which is installed but lacks lacking_one: pip in"),
        ("import numpy.nothing_there", "is installed but lacks numpy"),
        ("raise ImportError('libfoo.so: no such file')", "cannot be imported (ImportError: libfoo"),
        (
            "raise RuntimeError('built for another torch')",
            "(RuntimeError: built for another torch)",
        ),
        (None, "X needs f_package, which is not installed: pip install 'augmix[f]'"),
    ],
)
def test_a_missing_package_is_named_truly(
    source: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if source is not None:
        (tmp_path / "f_package.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "f_package", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(RunError) as caught:
        import_library("f_package", "X", "augmix[f]")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "packages"),
    [("demo", "'scikit-learn>="), ("onnx", "'onnxruntime>="), ("parquet", "'pyarrow>=")],
)
def test_a_missing_extra_is_answered_by_its_packages(extra: str, packages: str):
    with pytest.raises(RunError) as caught:
        import_library("no_such_library", "X", f"augmix[{extra}]")
    advice = str(caught.value).partition("pip install ")[2]
    assert packages in advice
    assert "augmix" not in advice  # whose name is no package of an index


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "torch, which is not inst"),
        (ImportError("cannot import name 'a'", name="numba.core"), "numba, but it cannot be imp"),
        (RuntimeError("Could not determine home directory."), "the home folder is unknown"),
        (RuntimeError("could not determine the home directory for '~/.cache'"), "set HOME"),
    ],
)
def test_what_the_machine_lacks_is_no_bug(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, capsys
):
    def fail(words: object) -> None:
        raise error

    monkeypatch.setitem(cli.RUN, "bench", fail)
    assert cli.main(["bench"]) == 2
    found = capsys.readouterr().err
    assert message in found
    assert found.startswith("augmix: ")
    assert "Traceback" not in found


def test_a_missing_module_of_ours_is_a_bug(monkeypatch: pytest.MonkeyPatch, capsys):
    def fail(words: object) -> None:
        raise ModuleNotFoundError("No module named 'augmix.gone'", name="augmix.gone")

    monkeypatch.setitem(cli.RUN, "bench", fail)
    assert cli.main(["bench"]) == 1
    assert "this is a bug" in capsys.readouterr().err


pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits of the address space are Linux's"
)


def test_headroom_is_what_the_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    errors.check_headroom(2**50, "a dream")  # without a limit
    monkeypatch.setattr(errors, "_free_bytes", lambda: 100 * 2**20)
    errors.check_headroom(100 * 2**20, "work")
    message = "^work needs 101 MiB of address space, and this process may take 100 MiB more; raise"
    with pytest.raises(RunError, match=message):
        errors.check_headroom(101 * 2**20, "work")
    with pytest.raises(RunError, match=r"a pool of 2 thread\(s\) needs 256 MiB"):
        list(run_ahead(abs, range(3), num_threads=2))


@pytest.mark.parametrize("command", ["train", "evaluate", "corrupt", "preview", "report"])
def test_a_small_address_space_is_refused_before_libraries_are_loaded(command: str) -> None:
    found = run_limited(800, command, "x", "y")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith(f"augmix: augmix {command} needs ")
    assert found.stderr.count("\n") == 1


def run_limited(limit_mib: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of augmix in an address space of so many MiB."""
    limited = f'ulimit -v {limit_mib * 1024}; exec "$@"'
    command = ["sh", "-c", limited, "sh", sys.executable, "-m", "augmix", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=180)


def allocate() -> None:
    bytearray(2**62)


def start_thread() -> None:
    raise RuntimeError("can't start new thread")


def load_library() -> None:
    try:
        raise ImportError("libx.so: failed to map segment from shared object")
    except ImportError as error:
        raise KeyError("x") from error


@pytest.mark.parametrize("fail", [allocate, start_thread, load_library])
def test_memory_that_is_used_up_is_one_message(
    fail: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.RUN, "report", lambda words: fail())
    assert cli.main(["report"]) == 2
    assert capsys.readouterr().err.startswith("augmix: too little memory (")


@pytest.mark.slow
def test_at_any_limit_there_is_a_result_or_one_message(tmp_path) -> None:
    words = ["train", "--source", "digits", "--model", "wrn-40-2", "--epochs", "1"]
    words += ["--max-train-images", "600", "--batch-size", "600", "--out", str(tmp_path / "run")]
    for limit_mib in (1200, 2000, 3000, 3300, 3800, 4500):
        found = run_limited(limit_mib, *words)
        assert "Traceback" not in found.stderr, limit_mib
        assert found.returncode == 0 or (
            found.returncode == 2 and found.stderr.startswith("augmix: ")
        ), (limit_mib, found.stderr)
