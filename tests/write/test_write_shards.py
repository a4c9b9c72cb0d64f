"""Several shards write the set that one process writes, whichever of them is killed."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from augmix.errors import RunError
from augmix.progress import PieceWritten
from augmix.write import CorruptConfig, CorruptOptions, PerturbConfig, destination, sets
from augmix.write.destination import ArraySink, TreeSink
from augmix.write.sets import perturb_source

NAMES = ("contrast", "gaussian_noise")


class Stop(Exception):
    pass


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, the hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_corrupted(source, folder, on_progress=None, **options) -> Path:
    options = CorruptOptions(**{"names": NAMES, "num_processes": 1, **options})
    return sets.write_corrupted(source, folder, options, on_progress=on_progress)


def run_together(works) -> list[Exception]:
    """Call functions on threads; return what they raise."""
    errors: list[Exception] = []

    def call(work):
        try:
            work()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.parametrize("layout", ["cifar", "imagenet"])
def test_shards_at_once_write_every_piece_once(tmp_path, source, small_pieces, layout, monkeypatch):
    write_corrupted(source, tmp_path / "whole", layout=layout)
    written, by = Counter(), set()
    for sink in (ArraySink, TreeSink):
        own = sink.write

        def counted(self, piece, images, *, own=own, **notes):
            written[piece] += 1
            by.add(threading.get_ident())
            own(self, piece, images, **notes)

        monkeypatch.setattr(sink, "write", counted)
    events: list[list] = [[], [], []]
    errors = run_together(
        lambda number=number: write_corrupted(
            source,
            tmp_path / "out",
            layout=layout,
            shard=f"{number}/3",
            on_progress=events[number - 1].append,
        )
        for number in (1, 2, 3)
    )
    assert not errors
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert len(written) == 40
    assert set(written.values()) == {1}
    assert len(by) > 1
    done = [[one.done for one in each if isinstance(one, PieceWritten)] for each in events]
    assert any(done)
    assert all(each[-1] == 70 for each in done if each)  # of the whole set; one may come too late


def test_shards_that_start_in_the_same_moment_write_one_manifest(tmp_path, source, monkeypatch):
    write_corrupted(source, tmp_path / "whole")
    barrier, share = threading.Barrier(2), destination.share_folder

    @contextmanager
    def share_at_once(*given, **named):
        with share(*given, **named) as shared:
            barrier.wait(20)  # both are in the folder before one of them begins
            yield shared

    monkeypatch.setattr(destination, "share_folder", share_at_once)
    errors = run_together(
        lambda number=number: write_corrupted(source, tmp_path / "out", shard=f"{number}/2")
        for number in (1, 2)
    )
    assert not errors
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_one_shard_alone_completes_the_set(tmp_path, source, small_pieces):
    write_corrupted(source, tmp_path / "whole")
    write_corrupted(source, tmp_path / "out", shard="2/4")
    assert content(tmp_path / "out") == content(tmp_path / "whole")

    def stop(event):
        if isinstance(event, PieceWritten):
            raise Stop

    for number in (1, 4):  # those that come late find it complete
        write_corrupted(source, tmp_path / "out", stop, shard=f"{number}/4")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.parametrize("layout", ["cifar", "imagenet"])
def test_shards_stopped_after_every_piece_continue_each_other(
    tmp_path, source, small_pieces, layout
):
    write_corrupted(source, tmp_path / "whole", layout=layout)
    seen = []

    def stop(event):
        if isinstance(event, PieceWritten):
            seen.append(event.done)
            raise Stop

    shards = ["1/2", "3/3", "2/2", None]  # a process that works alone may continue too
    while not seen or seen[-1] < 70:
        with pytest.raises(Stop):
            write_corrupted(
                source, tmp_path / "out", stop, layout=layout, shard=shards[len(seen) % 4]
            )
        assert len(seen) < 50
    write_corrupted(source, tmp_path / "out", layout=layout, shard="1/2")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_shard_with_other_settings_is_refused(tmp_path, source, small_pieces):
    messages = []

    def other(event):
        if isinstance(event, PieceWritten) and not messages:
            for change in ({"seed": 1}, {"shard": "1/2"}, {"shard": None}):
                with pytest.raises(RunError) as found:
                    write_corrupted(source, tmp_path / "out", **{"shard": "2/2", **change})
                messages.append(str(found.value))

    write_corrupted(source, tmp_path / "out", other, shard="1/2")
    assert "holds a set with seed = 0, asked for 1" in messages[0]
    assert "is in use by shard 1/2, which is this one" in messages[1]
    assert "is in use by shard 1/2; wait until it has ended" in messages[2]
    assert not (tmp_path / "out" / ".work").exists()


def test_a_shard_finds_what_a_complete_set_has_lost(tmp_path, source, small_pieces):
    out = write_corrupted(source, tmp_path / "out", layout="imagenet", shard="1/2")
    before = content(out)
    next((out / "contrast" / "3").rglob("*.JPEG")).unlink()
    next((out / "contrast" / "4").rglob("*.JPEG")).write_bytes(b"")
    write_corrupted(source, out, layout="imagenet", shard="2/2")
    assert content(out) == before


def test_rows_that_another_has_damaged_are_written_again(tmp_path, source, small_pieces):
    write_corrupted(source, tmp_path / "whole")
    out, is_done = tmp_path / "out", []

    def damage(event):
        if isinstance(event, PieceWritten) and event.done == 70 and not is_done:
            is_done.append(True)
            rows = np.lib.format.open_memmap(out / ".work" / "contrast.npy", "r+")
            rows[3] ^= 1

    with pytest.raises(RunError, match=r"1 part\(s\) of .*contrast.npy are not as they were"):
        write_corrupted(source, out, damage, shard="1/2")
    write_corrupted(source, out, shard="2/2")
    assert content(out) == content(tmp_path / "whole")


def test_sequences_of_photographs_in_shards(tmp_path, folder, small_pieces):
    how = {"src": str(folder), "names": ("tilt",), "preset": "tiny", "num_processes": 1}
    perturb_source(PerturbConfig(dst=tmp_path / "whole", **how))
    errors = run_together(
        lambda number=number: perturb_source(
            PerturbConfig(dst=tmp_path / "out", shard=f"{number}/2", **how)
        )
        for number in (1, 2)
    )
    assert not errors
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_broken_image_stops_the_shards_that_meet_it(tmp_path, folder):
    (folder / "n1" / "b.png").write_bytes(b"no image")
    config = CorruptConfig(
        src=str(folder), dst=tmp_path / "out", names=NAMES, num_processes=1, shard="1/2"
    )
    with pytest.raises(RunError, match="b.png"):
        sets.corrupt_source(config)


SCRIPT = """
import sys
from augmix.write import sets
from augmix.data.sources import open_source
from augmix.write import CorruptOptions

sets._MAX_IMAGES = 2
if __name__ == "__main__":
    source = open_source("npz", root=sys.argv[1], split="test")
    options = CorruptOptions(
        names=("contrast", "gaussian_noise"),
        layout=sys.argv[3],
        num_processes=int(sys.argv[4]),
        shard=sys.argv[5],
    )
    def tell(event):
        print(getattr(event, "done", 0), flush=True)
    sets.write_corrupted(source, sys.argv[2], options, on_progress=tell)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "processes"), [("cifar", 1), ("imagenet", 2)])
def test_one_of_two_is_killed_and_the_other_takes_over(tmp_path, source, layout, processes):
    write_corrupted(source, tmp_path / "whole", layout=layout)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "clean.npz"), str(tmp_path / "out")]
    both = [
        subprocess.Popen(
            [*command, layout, str(processes), f"{number}/2"], stdout=subprocess.PIPE, text=True
        )
        for number in (1, 2)
    ]
    first, second = both
    assert first.stdout is not None
    for line in first.stdout:
        if int(line) >= 10:
            break
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0
    assert int(output.splitlines()[-1]) == 70
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.slow
def test_processes_of_torchrun_are_shards(tmp_path, source):
    write_corrupted(source, tmp_path / "whole")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["-m", "augmix", "corrupt", str(tmp_path / "clean.npz"), str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--names", *NAMES, "--num-processes", "1"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("set: ") == 1  # one process prints
    assert content(tmp_path / "out") == content(tmp_path / "whole")
