"""Tar and parquet files at addresses are fetched once, whole, checked, and to nowhere else."""

import errno
import hashlib
import http.server
import io
import os
import socket
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image
from pyarrow import parquet

from augmix.data import remote
from augmix.data.sources import name_source, open_source
from augmix.errors import RunError
from augmix.progress import DownloadProgress


def png(seed: int) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def shard(first: int) -> bytes:
    """A tar of two classes with two images each."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number in range(4):
            content = png(first + number)
            info = tarfile.TarInfo(f"{'ant' if number < 2 else 'bee'}/{first + number}.png")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def table(count: int) -> bytes:
    cells = [{"bytes": png(seed), "path": None} for seed in range(count)]
    buffer = io.BytesIO()
    labels = [seed % 2 for seed in range(count)]
    parquet.write_table(pyarrow.table({"image": cells, "label": labels}), buffer)
    return buffer.getvalue()


SHARDS = {f"train-{number:03d}.tar": shard(10 * number) for number in range(3)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("AUGMIX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "remote"


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    system = fsspec.filesystem("memory")
    for name, content in SHARDS.items():
        system.pipe(f"/bucket/tars/{name}", content)
    system.pipe("/bucket/tables/test-00000-of-00001.parquet", table(5))
    system.pipe("/bucket/tables/readme.txt", b"not data")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture
def reads(monkeypatch) -> list[tuple[str, int]]:
    """What is read of every file: its name and the first byte."""
    found: list[tuple[str, int]] = []
    own = remote._read

    def counted(content, file, done):
        found.append((file.name, done))
        return own(content, file, done)

    monkeypatch.setattr(remote, "_read", counted)
    return found


def local(tmp_path: Path, files: dict[str, bytes]) -> Path:
    folder = tmp_path / "local"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_folder_is_read_as_the_local_one(tmp_path, memory, reads):
    expected = open_source("tar", root=local(tmp_path, SHARDS), split="train")
    for address in (
        "memory://bucket/tars",
        "memory://bucket/tars/train-{000..002}.tar",
        "memory://bucket/tars/train-*.tar",
        "memory://bucket/tars/train-00{0,1,2}.tar",
    ):
        assert name_source(address) == "tar"
        found = open_source("tar", root=address, split="train")
        assert found.fingerprint == expected.fingerprint
        assert np.array_equal(found.load(np.arange(12)), expected.load(np.arange(12)))
    assert sorted({name for name, _ in reads}) == sorted(SHARDS)
    assert len([done for _, done in reads if done == 0]) == 3  # each once, for all addresses


def test_one_table_and_a_folder_of_tables(memory):
    address = "memory://bucket/tables"
    whole = open_source(name_source(address), root=address, split="test")
    one = open_source("parquet", root=f"{address}/test-00000-of-00001.parquet", split="test")
    assert whole.fingerprint == one.fingerprint
    assert whole.labels.tolist() == [0, 1, 0, 1, 0]


def test_a_file_that_changes_is_fetched_again(memory, reads):
    address = "memory://bucket/tars/train-000.tar"
    assert remote.fetch(address).read_bytes() == SHARDS["train-000.tar"]
    assert remote.fetch(address).read_bytes() == SHARDS["train-000.tar"]
    changed = SHARDS["train-001.tar"]
    assert len(changed) == len(SHARDS["train-000.tar"])
    memory.pipe("/bucket/tars/train-000.tar", changed)
    assert remote.fetch(address).read_bytes() == changed
    assert [done for _, done in reads].count(0) == 2


def test_progress_is_told(memory):
    events: list[Any] = []
    with remote.watch_downloads(events.append):
        remote.fetch("memory://bucket/tars/train-000.tar")
    size = len(SHARDS["train-000.tar"])
    assert events == [DownloadProgress(file="train-000.tar", num_bytes=size, total_bytes=size)]


def test_checksums_are_compared(memory, cache):
    content = SHARDS["train-000.tar"]
    address, right = "memory://bucket/tars/train-000.tar", hashlib.sha256(content).hexdigest()
    with pytest.raises(RunError, match=f"expected sha256 {'0' * 64}, got {right}"):
        remote.fetch(f"{address}#sha256={'0' * 64}")
    assert not list(cache.rglob("*.part"))
    assert remote.fetch(f"{address}#sha256={right}").read_bytes() == content
    with pytest.raises(RunError, match="expected 64 hexadecimal digits"):
        remote.fetch(f"{address}#sha256=abc")
    with pytest.raises(RunError, match="a checksum is of one file, got 3"):
        remote.fetch(f"memory://bucket/tars#sha256={right}")
    memory.pipe("/bucket/tars/SHA256SUMS", f"{'1' * 64}  train-001.tar\n".encode())
    with pytest.raises(RunError, match=f"train-001.tar: expected sha256 {'1' * 64}"):
        remote.fetch("memory://bucket/tars")


def test_a_download_that_is_cut_is_continued(memory, reads, monkeypatch):
    monkeypatch.setattr(remote, "_CHUNK_BYTES", 1000)
    counted, address = remote._read, "memory://bucket/tars/train-000.tar"
    size = len(SHARDS["train-000.tar"])

    def cut(content, file, done):
        return b"" if done >= 3000 else counted(content, file, done)

    monkeypatch.setattr(remote, "_read", cut)
    with pytest.raises(RunError, match=f"got 3,000 of {size:,} bytes; the connection was cut"):
        remote.fetch(address)
    monkeypatch.setattr(remote, "_read", counted)
    assert remote.fetch(address).read_bytes() == SHARDS["train-000.tar"]
    starts = [done for _, done in reads]
    assert starts == sorted(set(starts))  # nothing was read twice


def test_a_download_that_breaks_off_is_one_message(memory, monkeypatch):
    def broken(content, file, done):
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(remote, "_read", broken)
    with pytest.raises(RunError, match="ConnectionResetError reset by peer; what was fetched is"):
        remote.fetch("memory://bucket/tars/train-000.tar")


@pytest.mark.parametrize(
    "name",
    ["/bucket/tars/../../x.tar", "/bucket/tars/a\\b.tar", "/etc/x.tar", "/bucket/tars/\x1b.tar"],
)
def test_names_that_lead_elsewhere_are_refused(memory, monkeypatch, name, cache):
    monkeypatch.setattr(MemoryFileSystem, "find", lambda self, path, **_: [name])
    monkeypatch.setattr(MemoryFileSystem, "info", lambda self, path, **_: {"size": 1})
    with pytest.raises(RunError, match="whose name leads elsewhere"):
        remote.fetch("memory://bucket/tars")
    assert not cache.exists()


def test_a_cache_without_hard_links_gets_copies(memory, monkeypatch):
    def refuse(*paths):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    found = remote.fetch("memory://bucket/tars")
    assert {path.name: path.read_bytes() for path in found.iterdir()} == SHARDS


def test_two_files_of_one_name_are_refused(memory):
    memory.pipe("/bucket/new/train-000.tar", SHARDS["train-001.tar"])
    memory.pipe("/bucket/new/train-003.tar", SHARDS["train-002.tar"])
    for part in ("", "/train-000.tar", "/train-*.tar"):
        with pytest.raises(RunError, match="which are both named train-000.tar; name the folder"):
            remote.fetch(f"memory://bucket/{{tars,new}}{part}")
    found = remote.fetch("memory://bucket/{tars/train-000,tars/train-000,new/train-003}.tar")
    assert sorted(path.name for path in found.iterdir()) == ["train-000.tar", "train-003.tar"]


def test_what_cannot_be_fetched_is_said(memory, monkeypatch):
    for address, message in (
        ("memory://bucket/none.tar", "there is no /bucket/none.tar"),
        ("memory://bucket/empty", "holds no .tar and no .parquet file"),
        ("memory://bucket/x-{3..1}.tar", "expected {first..last}, got {3..1}"),
        ("simplecache::memory://bucket/tars", "one protocol only"),
        ("file:///bucket/tars", "name a folder or file by its path"),
        ("nosuch://bucket/x.tar", "Protocol not known: nosuch"),
    ):
        with pytest.raises(RunError) as found:
            remote.fetch(address)
        assert message in str(found.value)
    monkeypatch.setattr(
        fsspec.core, "url_to_fs", lambda address: (_ for _ in ()).throw(ImportError("Install s3fs"))
    )
    with pytest.raises(
        RunError, match="reading s3:// needs a package that is missing: pip install s3fs"
    ):
        remote.fetch("s3://bucket/x.tar")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(RunError, match="reading gs:// needs fsspec"):
        remote.fetch("gs://bucket/x.tar")


class _Handler(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes]
    has_ranges = True
    stops_after = 0  # bytes of the first answer
    asked: list[str | None]

    def do_HEAD(self):
        self._answer(is_head=True)

    def do_GET(self):
        self._answer(is_head=False)

    def _answer(self, *, is_head: bool) -> None:
        kind, content = type(self), self.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range") if kind.has_ranges else None
        first, last = 0, len(content) - 1
        if asked:
            low, _, high = asked.removeprefix("bytes=").partition("-")
            first, last = int(low), min(int(high or last), last)
        self.send_response(206 if asked else 200)
        if kind.has_ranges:
            self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("ETag", hashlib.md5(content).hexdigest())
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        if not is_head:
            kind.asked.append(asked)
            part = content[first : last + 1]
            if kind.stops_after:
                part, kind.stops_after = part[: kind.stops_after], 0
            self.wfile.write(part)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[tuple[str, type[_Handler]]]:
    """The address of a server, and its handler."""
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp, of the extra remote")
    files = {f"/set/{name}": content for name, content in SHARDS.items()}

    class Handler(_Handler):
        pass

    Handler.files, Handler.asked = files, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/set", Handler
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("has_ranges", [True, False])
def test_files_of_a_web_server(tmp_path, web, has_ranges):
    address, handler = web
    handler.has_ranges = has_ranges
    expected = open_source("tar", root=local(tmp_path, SHARDS), split="train")
    for _ in range(2):
        found = open_source("tar", root=f"{address}/train-{{000..002}}.tar", split="train")
        assert found.fingerprint == expected.fingerprint
    num_read = len(handler.asked)
    assert num_read >= 3
    handler.files = {**handler.files, "/set/train-000.tar": SHARDS["train-001.tar"]}
    assert remote.fetch(f"{address}/train-000.tar").read_bytes() == SHARDS["train-001.tar"]
    with pytest.raises(RunError, match="there is no .*/set/none.tar"):
        remote.fetch(f"{address}/none.tar")


def test_a_web_server_that_does_not_answer_is_no_missing_file(cache):
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp, of the extra remote")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/set.tar"
        with pytest.raises(RunError, match=f"cannot read {address}: .*Cannot connect to host"):
            remote.fetch(address)


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_web_server_that_breaks_off(web, has_ranges, cache):
    address, handler = web
    handler.has_ranges, handler.stops_after = has_ranges, 2000
    with pytest.raises(RunError, match="start again to continue"):
        remote.fetch(f"{address}/train-002.tar")
    assert remote.fetch(f"{address}/train-002.tar").read_bytes() == SHARDS["train-002.tar"]
    assert not list(cache.rglob("*.part"))


def test_a_web_server_that_is_away(web):
    address, _ = web
    port = int(address.split(":")[2].split("/")[0])
    other = address.replace(str(port), "9")
    with pytest.raises(RunError, match="127.0.0.1:9/set/train-000.tar"):
        remote.fetch(f"{other}/train-000.tar")
