import hashlib
import http.server
import io
import re
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augmix.data import releases, transfers
from augmix.data.official import open_corrupted
from augmix.data.releases import RELEASES, fetch_release, find_release
from augmix.data.transfers import check_file, fetch_file
from augmix.records import RunError

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server:
    """Serves ``files``, after the answers listed in ``answers``: a status, or where to stop."""

    def __init__(self):
        self.files: dict[str, bytes] = {"/a.tar": CONTENT}
        self.answers: list[int | str] = []
        self.requests: list[str | None] = []  # the Range of each
        self.knows_ranges = True
        self.retry_after = ""
        self.url = ""


@pytest.fixture
def server():
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            state.requests.append(asked)
            answer = state.answers.pop(0) if state.answers else 200
            content = state.files.get(self.path)
            if content is None or (isinstance(answer, int) and answer != 200):
                self.send_response(404 if content is None else int(answer))
                if state.retry_after:
                    self.send_header("Retry-After", state.retry_after)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int(asked.removeprefix("bytes=")[:-1]) if asked and state.knows_ranges else 0
            if start >= len(content) and start:
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop = len(content) if answer == 200 else int(str(answer).removeprefix("stop "))
            self.wfile.write(content[start:stop])

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{listener.server_port}/"
        yield state
        listener.shutdown()
        thread.join()


class Clock:
    """Notes how long it was to sleep, and what was told."""

    def __init__(self):
        self.waits, self.events = [], []

    def fetch(self, server, path, md5=MD5):
        return fetch_file(
            f"{server.url}a.tar",
            path,
            md5=md5,
            on_progress=self.events.append,
            sleep=self.waits.append,
        )


def test_fetched_once(tmp_path, server):
    clock = Clock()
    path = clock.fetch(server, tmp_path / "a.tar")
    assert path.read_bytes() == CONTENT
    assert clock.fetch(server, path) == path
    assert server.requests == [None]
    assert clock.waits == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar"]
    assert clock.events[-1] == {
        "event": "download",
        "file": "a.tar",
        "bytes": len(CONTENT),
        "total": len(CONTENT),
    }


def test_a_busy_server_is_waited_for(tmp_path, server):
    server.answers = [429, 503, 429, 200]
    clock = Clock()
    assert clock.fetch(server, tmp_path / "a.tar").read_bytes() == CONTENT
    assert clock.waits == [2, 4, 8]
    assert [event["event"] for event in clock.events[:3]] == ["waiting"] * 3
    assert "429" in clock.events[0]["reason"]


def test_the_server_says_how_long(tmp_path, server):
    for asked, waited in (("60", 60), ("100000", 300), ("Wed, 21 Oct 2026 07:28:00 GMT", 2)):
        server.answers, server.retry_after = [429, 200], asked
        clock = Clock()
        clock.fetch(server, tmp_path / f"{waited}.tar")
        assert clock.waits == [waited]


def test_a_broken_transfer_goes_on_where_it_stopped(tmp_path, server):
    server.answers = ["stop 100000", "stop 200000", 200]
    clock = Clock()
    assert clock.fetch(server, tmp_path / "a.tar").read_bytes() == CONTENT
    starts = [int(re.findall(r"\d+", asked)[0]) for asked in server.requests[1:] if asked]
    assert len(starts) == 2
    assert 0 < starts[0] <= 100_000 < starts[1] <= 200_000
    assert clock.waits == [1, 1]  # bytes came, so the waits do not grow


def test_a_half_downloaded_archive_goes_on_in_a_later_call(tmp_path, server):
    (tmp_path / "a.tar.part").write_bytes(CONTENT[:123_456])
    assert Clock().fetch(server, tmp_path / "a.tar").read_bytes() == CONTENT
    assert server.requests == ["bytes=123456-"]


def test_a_server_without_ranges_sends_all_again(tmp_path, server):
    server.knows_ranges = False
    (tmp_path / "a.tar.part").write_bytes(CONTENT[:123_456])
    assert Clock().fetch(server, tmp_path / "a.tar").read_bytes() == CONTENT
    assert server.requests == ["bytes=123456-"]


@pytest.mark.parametrize("length", [1000, len(CONTENT), len(CONTENT) + 10])
def test_a_wrong_half_is_fetched_anew(tmp_path, server, length):
    (tmp_path / "a.tar.part").write_bytes(bytes(length))
    assert Clock().fetch(server, tmp_path / "a.tar").read_bytes() == CONTENT
    assert server.requests == [f"bytes={length}-", None]


def test_a_whole_part_only_gets_its_name(tmp_path, server):
    (tmp_path / "a.tar.part").write_bytes(CONTENT)
    assert Clock().fetch(server, tmp_path / "a.tar").read_bytes() == CONTENT
    assert server.requests == []


def test_another_file_is_refused(tmp_path, server):
    with pytest.raises(RunError, match=f"expected a file with md5 {'0' * 32}, got {MD5}; nothing"):
        Clock().fetch(server, tmp_path / "a.tar", md5="0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_tries_end(tmp_path, server):
    server.answers = [429] * 20
    clock = Clock()
    with pytest.raises(RunError, match=r"cannot download .*429.*go on with a.tar.part, or fetch"):
        clock.fetch(server, tmp_path / "a.tar")
    assert clock.waits == [2, 4, 8, 16, 32]
    assert len(server.requests) == transfers._MAX_TRIES


def test_a_no_is_final(tmp_path, server):
    server.answers = [403, 200]
    with pytest.raises(RunError, match="cannot download .*403"):
        Clock().fetch(server, tmp_path / "a.tar")
    assert len(server.requests) == 1


def test_no_server(tmp_path, server):
    server.url = "http://127.0.0.1:9/"
    clock = Clock()
    with pytest.raises(RunError, match="cannot download http://127.0.0.1:9/a.tar"):
        clock.fetch(server, tmp_path / "a.tar")
    assert len(clock.waits) == transfers._MAX_TRIES - 1


def test_files_by_hand_are_checked(tmp_path):
    path = tmp_path / "a.tar"
    with pytest.raises(RunError, match=f"a.tar does not exist; expected .* md5 {MD5}"):
        check_file(path, md5=MD5)
    path.write_bytes(CONTENT[:1000])
    with pytest.raises(
        RunError, match=r"1,000 bytes\); it is half-downloaded or another file: del"
    ):
        check_file(path, md5=MD5)
    path.write_bytes(CONTENT)
    assert check_file(path, md5=MD5) == path


def tar(members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def array(values) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


@pytest.fixture
def small(monkeypatch, server):
    """A CIFAR-10-C of two images and an ImageNet-C of one, served as in the published archives."""
    files = {
        "labels.npy": array(np.zeros(10, np.int64)),
        "fog.npy": array(np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)),
    }
    archives = {
        "CIFAR-10-C.tar": tar([(f"CIFAR-10-C/{name}", files[name]) for name in files]),
        "noise.tar": tar([("shot_noise/1/n1/a.JPEG", b"1"), ("gaussian_noise/1/n1/a.JPEG", b"2")]),
        "weather.tar": tar([("fog/1/n1/a.JPEG", b"3")]),
        "extra.tar": tar([("ImageNet-C/extra/spatter/1/n1/a.JPEG", b"4")]),
    }
    server.files = {f"/{name}": content for name, content in archives.items()}
    sums = {name: hashlib.md5(content).hexdigest() for name, content in archives.items()}
    cifar = replace(
        RELEASES["cifar10-c"],
        archives={"CIFAR-10-C.tar": sums.pop("CIFAR-10-C.tar")},
        files={name: hashlib.md5(content).hexdigest() for name, content in files.items()},
    )
    fakes = {"cifar10-c": cifar, "imagenet-c": replace(RELEASES["imagenet-c"], archives=sums)}
    monkeypatch.setattr(releases, "RELEASES", fakes)
    return archives


def test_the_table():
    """19 arrays and the labels of each CIFAR set; every checksum is one of its own."""
    names = {f"{name}.npy" for group in releases.GROUPS.values() for name in group}
    for name in ("cifar10-c", "cifar100-c"):
        assert set(RELEASES[name].files) == names | {"labels.npy"}
    sums = [
        md5
        for release in RELEASES.values()
        for table in (release.archives, release.files)
        for md5 in table.values()
    ]
    assert len(sums) == len(set(sums)) == 2 * 21 + 2 + 5
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in sums)
    with pytest.raises(ValueError, match="one of cifar10-c, cifar100-c, .*got 'cifar10'"):
        find_release("cifar10")


def test_arrays_are_fetched_unpacked_and_read(tmp_path, server, small):
    folder = fetch_release("cifar10-c", tmp_path / "root", url=server.url)
    assert folder == tmp_path / "root" / "CIFAR-10-C"
    assert open_corrupted(folder, "fog", 3).load(np.arange(2)).ravel().tolist() == [4, 5]
    assert fetch_release("cifar10-c", tmp_path / "root", url=server.url) == folder
    assert len(server.requests) == 1


def test_trees_are_put_together_from_their_archives(tmp_path, server, small):
    folder = fetch_release("imagenet-c", tmp_path, archives=["noise.tar"], url=server.url)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        "shot_noise",
        "gaussian_noise",
    }
    fetch_release("imagenet-c", tmp_path, url=server.url)
    assert (folder / "shot_noise/1/n1/a.JPEG").read_bytes() == b"1"
    assert (folder / "fog/1/n1/a.JPEG").read_bytes() == b"3"
    assert (folder / "spatter/1/n1/a.JPEG").read_bytes() == b"4"
    assert len(server.requests) == 3
    fetch_release("imagenet-c", tmp_path, url=server.url)
    assert len(server.requests) == 3
    with pytest.raises(ValueError, match="archives of ImageNet-C are noise.tar, .*got 'blurr.tar'"):
        fetch_release("imagenet-c", tmp_path, archives=["blurr.tar"])


def test_from_a_local_folder(tmp_path, server, small):
    local = tmp_path / "local"
    local.mkdir()
    with pytest.raises(RunError, match="local/CIFAR-10-C.tar does not exist"):
        fetch_release("cifar10-c", tmp_path / "root", from_local=local)
    (local / "CIFAR-10-C.tar").write_bytes(small["CIFAR-10-C.tar"][:-600])
    with pytest.raises(RunError, match="CIFAR-10-C.tar: expected md5 .* half-downloaded"):
        fetch_release("cifar10-c", tmp_path / "root", from_local=local)
    (local / "CIFAR-10-C.tar").write_bytes(small["CIFAR-10-C.tar"])
    folder = fetch_release("cifar10-c", tmp_path / "root", from_local=local)
    assert len(open_corrupted(folder, "fog", 1)) == 2
    assert server.requests == []
    moved = folder.rename(local / folder.name)  # unpacked by hand: used where it lies
    assert fetch_release("cifar10-c", tmp_path / "other", from_local=local) == moved
    (moved / "fog.npy").write_bytes(b"other")
    with pytest.raises(RunError, match="fog.npy: expected md5"):
        fetch_release("cifar10-c", tmp_path / "other", from_local=local)


@pytest.mark.parametrize("name", ["../evil", "/fog/1/evil", "fog/../../evil", "notes.txt"])
def test_members_elsewhere_are_refused(tmp_path, server, small, monkeypatch, name):
    content = tar([("fog/1/n1/a.JPEG", b"3"), (name, b"evil")])
    server.files["/weather.tar"] = content
    fakes = dict(releases.RELEASES)
    archives = {"weather.tar": hashlib.md5(content).hexdigest()}
    fakes["imagenet-c"] = replace(fakes["imagenet-c"], archives=archives)
    monkeypatch.setattr(releases, "RELEASES", fakes)
    root = tmp_path / "root"
    with pytest.raises(RunError, match="expected only files and folders below folders named"):
        fetch_release("imagenet-c", root, url=server.url)
    assert [path.name for path in root.iterdir()] == ["weather.tar"]
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_broken_archive_with_the_right_checksum(tmp_path, server, small, monkeypatch):
    content = small["weather.tar"][:700]
    server.files["/weather.tar"] = content
    fakes = dict(releases.RELEASES)
    archives = {"weather.tar": hashlib.md5(content).hexdigest()}
    fakes["imagenet-c"] = replace(fakes["imagenet-c"], archives=archives)
    monkeypatch.setattr(releases, "RELEASES", fakes)
    with pytest.raises(RunError, match="cannot unpack .*weather.tar to .*ImageNet-C: "):
        fetch_release("imagenet-c", tmp_path, url=server.url)
    assert not Path(tmp_path / "ImageNet-C" / ".weather.tar.unpacked").exists()
