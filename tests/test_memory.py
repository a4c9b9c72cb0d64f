"""Too little memory is one message, before anything is started that could hang or abort."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from augmix import cli, memory
from augmix.data.batches import run_ahead
from augmix.errors import RunError

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits of the address space are Linux's"
)


def test_headroom_is_what_the_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    memory.check_headroom(2**50, "a dream")  # without a limit
    monkeypatch.setattr(memory, "_free_bytes", lambda: 100 * 2**20)
    memory.check_headroom(100 * 2**20, "work")
    message = "^work needs 101 MiB of address space, and this process may take 100 MiB more; raise"
    with pytest.raises(RunError, match=message):
        memory.check_headroom(101 * 2**20, "work")
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
