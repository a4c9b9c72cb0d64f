"""Files written atomically, and folders held by one process at a time."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
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
            assert (folder / "lock.holder").read_text().split()[0] == str(os.getpid())
    assert [path.name for path in folder.iterdir()] == [LOCK_FILE]


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


def test_a_read_only_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if os.access("/", os.W_OK):  # permissions do not bind the superuser
        monkeypatch.setattr(Path, "write_text", refuse(errno.EACCES))
    else:
        tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot write into the set .*Permission denied; take"):
        hold(tmp_path).__enter__()


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files.FileLock, "acquire", refuse(errno.ENOLCK))
    message = "cannot lock files .No locks available.; take a local disk, or take another folder"
    with pytest.raises(RunError, match=message), hold(tmp_path):
        pass


def test_the_holder_on_another_machine_is_named(tmp_path: Path):
    with hold(tmp_path):
        (tmp_path / "lock.holder").write_text("17 elsewhere")
        with pytest.raises(RunError, match="in use by process 17 on elsewhere; wait"):
            hold(tmp_path).__enter__()


def refuse(code: int):
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_contents_reach_the_disk_before_names_and_names_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done: list[tuple[str, str]] = []
    sync, replace = os.fsync, os.replace

    def record_sync(handle: int) -> None:
        done.append(("sync", os.path.realpath(f"/proc/self/fd/{handle}")))
        sync(handle)

    def record_replace(source: Path, target: Path) -> None:
        done.append(("replace", str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "replace", record_replace)
    files.make_folder(tmp_path / "new" / "run")
    assert done == [("sync", str(tmp_path / "new")), ("sync", str(tmp_path))]
    done.clear()
    files.write_bytes(tmp_path / "new" / "run" / "a", b"1")
    (what, temporary), *rest = done
    assert (what, Path(temporary).parent) == ("sync", tmp_path / "new" / "run")
    assert temporary.endswith(".tmp")
    assert rest == [
        ("replace", str(tmp_path / "new" / "run" / "a")),
        ("sync", str(tmp_path / "new" / "run")),
    ]


def test_leftovers_of_killed_writers_are_deleted_and_of_living_ones_kept(tmp_path: Path):
    folder = tmp_path / "run"
    (folder / "predictions").mkdir(parents=True)
    left = [folder / ".weights.safetensors.abcdefgh.tmp", folder / ".results.json._1234567.tmp"]
    left += [folder / "predictions" / ".c-fog-3.npz.abcd_fgh.tmp"]
    own = [folder / ".results.json.tmp", folder / "a.b.abcdefgh.tmp", folder / ".x.ABC.tmp"]
    for path in (*left, *own):
        path.write_bytes(b"")
    with files.open_atomic(folder / "state.pt") as file:
        file.write(b"whole")
        with hold(folder):
            assert not any(path.exists() for path in left)
            assert all(path.exists() for path in own)
    assert (folder / "state.pt").read_bytes() == b"whole"
    left[0].write_bytes(b"")
    left[1].write_bytes(b"")
    files.write_bytes(folder / "results.json", b"{}")  # without the lock: its own ones alone
    assert left[0].exists()
    assert not left[1].exists()


def test_a_bomb_is_refused_by_what_it_says_it_holds(tmp_path: Path):
    path = tmp_path / "bomb.npz"
    files.write_npz(path, {"a": np.zeros(2, np.uint8)})
    content = path.read_bytes().replace(
        (130).to_bytes(4, "little"), (2**32 - 2).to_bytes(4, "little")
    )
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"bomb.npz unpacks to 4,294,967,294 bytes, more than .*; x"):
        files.load_npz(path, hint="x")


@pytest.mark.parametrize("content", [b"", b"x" * 99, b"PK\3\4" + b"\0" * 40, b"\x93NUMPY"])
def test_what_is_no_archive_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(RunError, match=r"a.npz is damaged \(.*\)"):
        files.load_npz(tmp_path / "a.npz")


def test_npz_files_are_equal_for_equal_arrays(tmp_path: Path):
    arrays = {"images": np.arange(6, dtype=np.uint8), "names": np.array(["a", "b"])}
    for is_compressed in (True, False):
        paths = [tmp_path / f"{name}-{is_compressed}" for name in "ab"]
        for path in paths:
            files.write_npz(path, arrays, is_compressed=is_compressed)
        assert paths[0].read_bytes() == paths[1].read_bytes()
        with np.load(paths[0], allow_pickle=False) as found:
            assert found["images"].tolist() == list(range(6))
            assert found["names"].tolist() == ["a", "b"]


def test_objects_are_no_arrays(tmp_path: Path):
    with pytest.raises(TypeError, match="names holds objects, expected numbers or text"):
        files.write_npz(tmp_path / "a.npz", {"names": np.array([{}], object)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["lock", "lock.holder"])
def test_a_lock_that_leads_elsewhere_is_refused(tmp_path: Path, name: str):
    outside, folder = tmp_path / "outside", tmp_path / "run"
    outside.write_text("mine")
    folder.mkdir()
    (folder / name).symlink_to(outside)
    refused = pytest.raises(RunError, match=f"{name} is a symbolic link, which is not followed")
    with refused, hold_folder(folder):
        pass
    assert outside.read_text() == "mine"


def test_names_that_are_not_utf_8_survive_json(tmp_path: Path):
    value = {"name": os.fsdecode(b"caf\xe9"), "text": "é"}
    files.write_json(tmp_path / "a.json", value)
    assert files.load_json(tmp_path / "a.json") == value
    assert json.loads((tmp_path / "a.json").read_bytes()) == value


def test_only_earlier_output_is_written_over(tmp_path: Path):
    path = tmp_path / "x.txt"
    files.check_replaceable(path, "report", b"of us")
    for content in (b"", b"made by one of us"):
        path.write_bytes(content)
        files.check_replaceable(path, "report", b"of us")
    path.write_bytes(b"photograph")
    with pytest.raises(RunError, match=r"x.txt exists and is no report, so it is not written over"):
        files.check_replaceable(path, "report", b"of us")
    with pytest.raises(RunError, match="is a folder; name a file in it"):
        files.check_replaceable(tmp_path, "report")
