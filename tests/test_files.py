"""A folder is held by one process, which the others are told, and by nobody once that has ended."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from augmix import files
from augmix.errors import RunError
from augmix.files import LOCK_FILE, hold_folder

HOLDER = """
import sys, time
from pathlib import Path
from augmix.files import hold_folder
with hold_folder(Path(sys.argv[1]), what="set", way_out="-"):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(folder: Path):
    return hold_folder(folder, what="set of mine", way_out="take another folder")


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path):
    folder = tmp_path / "new" / "set"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        message = f"set of mine is in use by process {holder.pid}; wait until it has ended, or take"
        with pytest.raises(RunError, match=message), hold(folder):
            pass
        holder.send_signal(signal.SIGKILL)
    for _ in range(2):
        with hold(folder):
            assert (folder / LOCK_FILE).read_text() == str(os.getpid())


def test_it_is_given_up_after_an_error(tmp_path: Path):
    with pytest.raises(KeyError), hold(tmp_path):
        raise KeyError
    with hold(tmp_path), pytest.raises(RunError, match="in use"), hold(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(RunError, match="cannot write into the set of mine: .*; take another folder"),
        hold(tmp_path / "file" / "set"),
    ):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="locks by flock")
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    message = "cannot lock files .No locks available.; take a local disk, or take another folder"
    with pytest.raises(RunError, match=message), hold(tmp_path):
        pass
