"""Shards on a shared folder: who takes which piece, and what a killed one leaves."""

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from filelock import FileLock

from augmix import shards
from augmix.errors import RunError
from augmix.shards import Pieces, Shard, find_shard, share_folder


def share(path, text=None):
    shard = Shard.parse(text) if text else None
    return share_folder(path / "work", shard, what="set x", way_out="choose another")


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/2", "-1/2", "1/2/3", " 1/2"])
def test_a_shard_out_of_range_is_refused(text):
    with pytest.raises(ValueError, match="shard must be i/n with i from 1 to n, e.g. 1/8 to 8/8"):
        Shard.parse(text)


def test_torchrun_numbers_the_shards(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert find_shard(None) is None
    assert find_shard("2/3") == Shard(2, 3)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert find_shard(None) is None
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert find_shard(None) == Shard(4, 4)
    assert shards.num_local_shards() == 2
    with pytest.raises(ValueError, match="does not go with torchrun, whose 4 processes"):
        find_shard("1/4")


def run(queue, done):
    """Take and finish all pieces that are free; return them."""
    taken = []
    while (piece := queue.take()) is not None:
        taken.append(piece)
        done.add(piece)
        queue.finish(piece)
    return taken


def test_each_begins_with_its_own_part_and_takes_the_rest(tmp_path):
    done: set[int] = set()
    with share(tmp_path, "2/3") as shared:
        queue = Pieces(shared, range(8), name=str, is_done=done.__contains__)
        assert [queue.take() for _ in range(3)] == [1, 4, 7]
        with share(tmp_path, "1/3") as other:
            others = Pieces(other, range(8), name=str, is_done=done.__contains__)
            assert run(others, done) == [0, 3, 6, 2, 5]
            assert others.num_left == 3  # which the first has claimed
            assert others.take() is None
            for piece in (1, 4):
                done.add(piece)
                queue.finish(piece)
            queue.close()  # as if it were killed in the middle of 7
            assert run(others, done) == [7]
            assert sorted(others.finished_by_others()) == [1, 4]
            assert others.finished_by_others() == []
            assert others.num_left == 0
        assert run(queue, done) == []
        assert sorted(queue.finished_by_others()) == [0, 2, 3, 5, 6]


def test_alone_hands_out_all_in_order_without_a_file(tmp_path):
    with share(tmp_path) as shared:
        queue = Pieces(shared, range(4), name=str, is_done=lambda piece: False)
        assert run(queue, set()) == [0, 1, 2, 3]
        assert sorted(path.name for path in shared.path.iterdir()) == ["lock", "lock.holder"]


def test_no_two_do_alone_at_once_and_one_prepares(tmp_path):
    inside, most, prepared = [], [], []

    def work(text):
        with share(tmp_path, text) as shared:
            with shared.once("prepared") as is_first:
                prepared.append(is_first)
                inside.append(text)
                most.append(len(inside))
                time.sleep(0.05)
                inside.remove(text)
            everyone.wait(timeout=30)
            with shared.alone(), shared.alone():
                inside.append(text)
                most.append(len(inside))
                inside.remove(text)

    everyone = threading.Barrier(3)
    threads = [threading.Thread(target=work, args=(f"{number}/3",)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), len(most), sum(prepared)) == (1, 6, 1)


def test_the_last_one_deletes_the_folder(tmp_path):
    with share(tmp_path, "1/2"):
        with share(tmp_path, "2/2"):
            pass
        assert (tmp_path / "work").exists()
    assert not any(tmp_path.iterdir())
    with share(tmp_path) as shared:
        (shared.path / "part").mkdir()
    assert not any(tmp_path.iterdir())
    with pytest.raises(FileExistsError), share(tmp_path, "1/2") as shared:
        (shared.path / "claims").mkdir()
    assert (tmp_path / "work" / "claims").exists()  # to continue


def test_of_two_that_end_together_one_deletes_the_folder(tmp_path, monkeypatch):
    first, second = share(tmp_path, "1/2"), share(tmp_path, "2/2")
    first.__enter__()
    second.__enter__()
    wait_for, ends = shards._wait_for, [second]

    @contextmanager
    def ends_between(path):
        with wait_for(path):
            yield
        if ends:  # as soon as the first has looked, and before it ends
            ends.pop().__exit__(None, None, None)

    monkeypatch.setattr(shards, "_wait_for", ends_between)
    first.__exit__(None, None, None)
    assert not ends
    assert not any(tmp_path.iterdir())


def test_a_lock_that_was_deleted_while_another_waited_holds_nobody(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    lock, flock, third = tmp_path / "order.lock", fcntl.flock, []

    def late(handle, how):
        if how & fcntl.LOCK_EX and not third:  # between opening the file and locking it
            lock.unlink()  # by the one who held it, as it ends
            third.append(os.open(lock, os.O_RDWR | os.O_CREAT))
            flock(third[0], fcntl.LOCK_EX)
            threading.Timer(0.2, lambda: (flock(third[0], fcntl.LOCK_UN), third.append(0))).start()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with shards._wait_for(lock):
        assert len(third) == 2  # the third has ended
    os.close(third[0])


def test_processes_that_do_not_go_together_are_refused(tmp_path, monkeypatch):
    with share(tmp_path, "1/2"):
        with (
            pytest.raises(RunError, match="in use by shard 1/2, which is this one; give every"),
            share(tmp_path, "1/2"),
        ):
            pass
        with (
            pytest.raises(RunError, match="set x is in use by shard 1/2; wait until it has ended"),
            share(tmp_path),
        ):
            pass
        with monkeypatch.context() as patch:  # which would fail while the folder is held
            patch.setattr(shards, "hold_folder", None)
            with pytest.raises(RunError, match="in use by shard 1/2"), share(tmp_path):
                pass
        with share(tmp_path, "1/3"):  # another number of jobs continues the work
            pass
    with (
        share(tmp_path),
        pytest.raises(RunError, match=f"set x is in use by process {os.getpid()}"),
        share(tmp_path, "1/2"),
    ):
        pass


def test_a_new_start_prepares_again(tmp_path):
    for _ in range(2):
        with share(tmp_path, "1/2") as shared, shared.once("prepared") as is_first:
            assert is_first
    with share(tmp_path) as shared, shared.once("prepared") as is_first:
        assert is_first


def test_the_claim_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / "piece.lock"
    script = f"from filelock import FileLock; lock = FileLock({str(path)!r}); lock.acquire(); "
    script += "print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert shards._held(path)
        process.kill()
        process.wait()
    assert not shards._held(path)
    assert not shards._held(tmp_path / "deleted" / "piece.lock")
    with FileLock(path, timeout=0):
        assert shards._held(path)
