import hashlib
import http.server
import io
import tarfile
import threading
from dataclasses import replace

import pytest

from augmix.data import cifar, download
from augmix.data.cifar import EDITIONS, open_cifar
from augmix.data.download import Archive, fetch_archive, unpack_archive
from augmix.data.items import Geometry
from augmix.errors import RunError


@pytest.fixture
def served(tmp_path):
    """A folder and the address of a server for it, which counts the requests."""
    folder = tmp_path / "served"
    folder.mkdir()
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def do_GET(self):
            requests.append(self.path)
            if self.path == "/short.tar.gz":  # promises more than it sends
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.wfile.write(b"only this")
                return
            super().do_GET()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/", requests
        server.shutdown()
        thread.join()


def make_archive(path, members, mode="w:gz"):
    """A tar file of (name or TarInfo, content)."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return Archive(
        file=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), folder="set"
    )


def test_the_official_archives():
    """Known from the set's page (MD5) and from independent loaders (sha256)."""
    assert download.CIFAR10.sha256.startswith("6d958be0745778")
    assert download.CIFAR100.sha256.startswith("85cd44d02ba643")
    assert all(len(EDITIONS[name].archive.sha256) == 64 for name in EDITIONS)
    assert download.OFFICIAL_URL == "https://www.cs.toronto.edu/~kriz/"


def test_fetched_unpacked_and_kept(tmp_path, served):
    folder, url, requests = served
    archive = make_archive(folder / "a.tar.gz", [("set/one", b"1"), ("set/deep/two", b"22")])
    root = tmp_path / "new" / "root"
    unpacked = fetch_archive(archive, root, url=url)
    assert unpacked == root / "set"
    assert (unpacked / "one").read_bytes() == b"1"
    assert (unpacked / "deep" / "two").read_bytes() == b"22"
    assert sorted(path.name for path in root.iterdir()) == ["a.tar.gz", "set"]
    assert fetch_archive(archive, root, url=url) == unpacked
    assert requests == ["/a.tar.gz"]


def test_a_wrong_checksum_is_refused(tmp_path, served):
    folder, url, _ = served
    archive = make_archive(folder / "a.tar.gz", [("set/one", b"1")])
    with pytest.raises(
        RunError, match=r"cannot download .*a.tar.gz .*hash.*fetch the file by hand"
    ):
        fetch_archive(replace(archive, sha256="0" * 64), tmp_path / "root", url=url)
    assert list((tmp_path / "root").iterdir()) == []


def test_a_truncated_or_missing_download_is_refused(tmp_path, served):
    folder, url, _ = served
    archive = make_archive(folder / "a.tar.gz", [("set/one", b"1")])
    for file in ("short.tar.gz", "missing.tar.gz"):
        with pytest.raises(RunError, match=f"cannot download {url}{file}"):
            fetch_archive(replace(archive, file=file), tmp_path / "root", url=url)
    assert list((tmp_path / "root").iterdir()) == []


def test_no_server_is_named(tmp_path):
    archive = Archive(file="a.tar.gz", sha256="0" * 64, folder="set")
    with pytest.raises(RunError, match="cannot download http://127.0.0.1:9/a.tar.gz"):
        fetch_archive(archive, tmp_path, url="http://127.0.0.1:9/")


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    return member


@pytest.mark.parametrize(
    "member",
    [
        "/etc/evil",
        "../evil",
        "set/../../evil",
        "other/evil",
        "set\\..\\evil",
        special("set/link", tarfile.SYMTYPE, "/etc/passwd"),
        special("set/link", tarfile.LNKTYPE, "set/one"),
        special("set/pipe", tarfile.FIFOTYPE),
        special("set/device", tarfile.CHRTYPE),
    ],
    ids=lambda member: getattr(member, "name", member),
)
def test_members_that_could_leave_the_folder_are_refused(tmp_path, member):
    root = tmp_path / "root"
    root.mkdir()
    make_archive(root / "a.tar.gz", [("set/one", b"1"), (member, b"")])
    with pytest.raises(RunError, match="expected only files and folders below set/; nothing was"):
        unpack_archive(root / "a.tar.gz", root / "set")
    assert [path.name for path in root.iterdir()] == ["a.tar.gz"]
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_tar_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_MAX_BYTES", 1000)
    make_archive(tmp_path / "a.tar.gz", [("set/one", b"0" * 1001)])
    with pytest.raises(RunError, match="unpacks to more than 1,000 bytes; nothing was kept"):
        unpack_archive(tmp_path / "a.tar.gz", tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("keep", [0, 0.3, 0.9])
def test_broken_archives_are_named(tmp_path, keep):
    path = tmp_path / "a.tar.gz"
    noise = hashlib.shake_256(b"noise").digest(5000)
    make_archive(path, [("set/one", noise), ("set/two", noise)])
    content = path.read_bytes()
    start = content[: int(keep * len(content))]
    for content in (start, start.ljust(100, b"\xff"), start + bytes(9)):
        path.write_bytes(content)
        with pytest.raises(RunError, match=f"cannot unpack {path} to {tmp_path}/set: .*download"):
            unpack_archive(path, tmp_path / "set")
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_set_is_downloaded_once(tmp_path, served, cifar10, monkeypatch):
    folder, url, requests = served
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(cifar10, arcname="cifar-10-batches-py")
    sha256 = hashlib.sha256((folder / "cifar-10-python.tar.gz").read_bytes()).hexdigest()
    edition = EDITIONS["cifar10"]
    fake = replace(edition, archive=replace(edition.archive, sha256=sha256))
    monkeypatch.setitem(cifar.EDITIONS, "cifar10", fake)
    options = {"geometry": Geometry(size=0), "on_error": "raise", "num_threads": 1, "url": url}
    root = tmp_path / "root"
    for split, count in [("train", 10), ("test", 2)]:
        assert len(open_cifar("cifar10", root, split=split, download=True, **options)) == count
    assert len(open_cifar("cifar10", root, split="test", download=False, **options)) == 2
    assert requests == ["/cifar-10-python.tar.gz"]
