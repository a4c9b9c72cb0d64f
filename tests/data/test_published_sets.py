"""Downloads against a server on this machine, and archives that are not to be trusted."""

import hashlib
import io
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from local_server import serve

from augmix.corruptions import weather
from augmix.corruptions.registry import SEQUENCES
from augmix.data import cifar, published_sets
from augmix.data.benchmarks import open_corrupted, open_perturbed
from augmix.data.cifar import EDITIONS, open_cifar
from augmix.data.published_sets import (
    PUBLISHED_SETS,
    check_file,
    fetch_file,
    fetch_published,
    find_published,
    unpack_archive,
)
from augmix.data.stores import OpenOptions
from augmix.errors import RunError
from augmix.progress import ChecksumStarted, DownloadDelayed, DownloadProgress, UnpackingStarted

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server():
    with serve() as state:
        state.files = {"/a.tar": CONTENT}
        yield state


class Clock:
    """Records the waits and the events of a download."""

    def __init__(self):
        self.waits, self.events = [], []

    def fetch(self, server, path, md5=MD5):
        return fetch_file(
            f"{server.url}a.tar",
            path,
            checksum=md5,
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
    assert clock.events[-2:] == [ChecksumStarted(file="a.tar")] * 2
    assert clock.events[-3] == DownloadProgress(
        file="a.tar", num_bytes=len(CONTENT), total_bytes=len(CONTENT)
    )


def test_a_busy_server_is_waited_for(tmp_path, server):
    server.answers = [429, 503, 429, 200]
    clock = Clock()
    assert clock.fetch(server, tmp_path / "a.tar").read_bytes() == CONTENT
    assert clock.waits == [2, 4, 8]
    assert [type(event) for event in clock.events[:3]] == [DownloadDelayed] * 3
    assert "429" in clock.events[0].reason


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
    with pytest.raises(RunError, match=r"cannot download .*429.*continue a.tar.part, or fetch"):
        clock.fetch(server, tmp_path / "a.tar")
    assert clock.waits == [2, 4, 8, 16, 32]
    assert len(server.requests) == published_sets._MAX_TRIES


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
    assert len(clock.waits) == published_sets._MAX_TRIES - 1


def test_files_by_hand_are_checked(tmp_path):
    path = tmp_path / "a.tar"
    with pytest.raises(RunError, match=f"a.tar does not exist; expected .* md5 {MD5}"):
        check_file(path, checksum=MD5)
    path.write_bytes(CONTENT[:1000])
    with pytest.raises(
        RunError, match=r"1,000 bytes\); it is half-downloaded or another file: del"
    ):
        check_file(path, checksum=MD5)
    path.write_bytes(CONTENT)
    assert check_file(path, checksum=MD5) == path


def tar(members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content or b"")
            member.type = tarfile.REGTYPE if content is not None else tarfile.DIRTYPE
            archive.addfile(member, io.BytesIO(content or b""))
    return buffer.getvalue()


def array(values) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


@pytest.fixture
def small(monkeypatch, server):
    """Sets of one or two images and two photographs of ice, served as in the published archives."""
    files = {
        "labels.npy": array(np.zeros(10, np.int64)),
        "fog.npy": array(np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)),
    }
    tilt = array(np.zeros((2, 31, 1, 1, 3), np.uint8))
    archives = {
        "CIFAR-10-C.tar": tar([(f"CIFAR-10-C/{name}", files[name]) for name in files]),
        "noise.tar": tar([("shot_noise/1/n1/a.JPEG", b"1"), ("gaussian_noise/1/n1/a.JPEG", b"2")]),
        "weather.tar": tar([("fog/1/n1/a.JPEG", b"3")]),
        "extra.tar": tar(
            [(folder, None) for folder in (".", "ImageNet-C", "ImageNet-C/extra")]
            + [("ImageNet-C/extra/spatter/1/n1/a.JPEG", b"4")]
        ),
        "CIFAR-10-P.tar": tar([("CIFAR-10-P", None), ("CIFAR-10-P/tilt.npy", tilt)]),
        "digital.tar": tar([("tilt/n1/a.mp4", b"5"), ("gaussian_noise_3/n1/a.mp4", b"6")]),
        "frost1.png": b"ice",
        "frost2.png": b"more ice",
    }
    server.files = {f"/{name}": content for name, content in archives.items()}
    sums = {name: hashlib.md5(content).hexdigest() for name, content in archives.items()}
    cifar = replace(
        PUBLISHED_SETS["cifar10-c"],
        archives={"CIFAR-10-C.tar": sums.pop("CIFAR-10-C.tar")},
        files={name: hashlib.md5(content).hexdigest() for name, content in files.items()},
    )
    trees = {
        "imagenet-c": ("noise.tar", "weather.tar", "extra.tar"),
        "imagenet-p": ("digital.tar",),
        "cifar10-p": ("CIFAR-10-P.tar",),
    }
    fakes = {
        name: replace(PUBLISHED_SETS[name], archives={file: sums[file] for file in files})
        for name, files in trees.items()
    }
    pictures = {
        name: hashlib.sha256(archives[name]).hexdigest() for name in archives if ".p" in name
    }
    fakes["cifar10-c"] = cifar
    fakes["frost"] = replace(PUBLISHED_SETS["frost"], archives=pictures)
    monkeypatch.setattr(published_sets, "PUBLISHED_SETS", fakes)
    return archives


def test_the_table():
    """19 arrays and the labels of each CIFAR set; every checksum is one of its own."""
    names = {f"{name}.npy" for group in published_sets.GROUPS.values() for name in group}
    for name in ("cifar10-c", "cifar100-c"):
        assert set(PUBLISHED_SETS[name].files) == names | {"labels.npy"}
    sums = [
        checksum
        for published in PUBLISHED_SETS.values()
        for table in (published.archives, published.files)
        for checksum in table.values()
    ]
    assert len(sums) == len(set(sums)) == 2 * 21 + 2 + 5 + 1 + 4 + 3 + 5
    assert all(re.fullmatch("[0-9a-f]{32}|[0-9a-f]{64}", checksum) for checksum in sums)
    assert len({published.folder for published in PUBLISHED_SETS.values()}) == len(PUBLISHED_SETS)
    for published in PUBLISHED_SETS.values():
        assert published.url.startswith("https://")
        assert published.url.endswith("/")
        assert bool(published.names) == (published.form == "tree")
    with pytest.raises(ValueError, match="unknown published set 'cifar10', did you mean 'cifar10-"):
        find_published("cifar10")
    with pytest.raises(ValueError, match="There are cifar10-c, .*no other has a published checks"):
        find_published("cifar100-p")


def test_the_sequences_are_those_of_the_program():
    levels = {f"{name}_{level}" for name in tuple(SEQUENCES) if "noise" in name for level in (2, 3)}
    assert set(published_sets.SEQUENCES) == {*tuple(SEQUENCES), *levels}


def test_the_photographs_of_frost(real_data, tmp_path):
    """The checksums are those of the files; what is there is only checked."""
    assert tuple(PUBLISHED_SETS["frost"].archives) == weather.FROST_PHOTOGRAPHS
    assert fetch_published("frost", tmp_path, from_local=real_data) == real_data / "frost"
    assert list(tmp_path.iterdir()) == []
    copied = fetch_published("frost", tmp_path, from_local=real_data / "frost")
    assert copied == tmp_path / "frost"
    assert sorted(path.name for path in copied.iterdir()) == sorted(weather.FROST_PHOTOGRAPHS)
    assert weather.frost_fingerprint(copied) == weather.frost_fingerprint(real_data / "frost")


def test_arrays_are_fetched_unpacked_and_read(tmp_path, server, small):
    folder = fetch_published("cifar10-c", tmp_path / "root", url=server.url)
    assert folder == tmp_path / "root" / "CIFAR-10-C"
    assert open_corrupted(folder, "fog", 3).load(np.arange(2)).ravel().tolist() == [4, 5]
    assert fetch_published("cifar10-c", tmp_path / "root", url=server.url) == folder
    assert len(server.requests) == 1


def test_trees_are_put_together_from_their_archives(tmp_path, server, small):
    folder = fetch_published("imagenet-c", tmp_path, archives=["noise.tar"], url=server.url)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        "shot_noise",
        "gaussian_noise",
    }
    fetch_published("imagenet-c", tmp_path, url=server.url)
    assert (folder / "shot_noise/1/n1/a.JPEG").read_bytes() == b"1"
    assert (folder / "fog/1/n1/a.JPEG").read_bytes() == b"3"
    assert (folder / "spatter/1/n1/a.JPEG").read_bytes() == b"4"
    assert len(server.requests) == 3
    fetch_published("imagenet-c", tmp_path, url=server.url)
    assert len(server.requests) == 3
    with pytest.raises(ValueError, match="archives of ImageNet-C are noise.tar, .*got 'blurr.tar'"):
        fetch_published("imagenet-c", tmp_path, archives=["blurr.tar"])


def test_sequences_and_their_archives_of_the_same_names(tmp_path, server, small):
    """ImageNet-C and ImageNet-P both have a noise.tar; they lie apart."""
    folder = fetch_published("imagenet-p", tmp_path, url=server.url)
    assert (folder / "tilt/n1/a.mp4").read_bytes() == b"5"
    assert (folder / "gaussian_noise_3/n1/a.mp4").read_bytes() == b"6"
    assert (tmp_path / "archives" / "ImageNet-P" / "digital.tar").exists()
    folder = fetch_published("cifar10-p", tmp_path, url=server.url)
    assert open_perturbed(folder, "tilt").num_frames == 31


def test_photographs_are_fetched_as_they_are(tmp_path, server, small):
    for _ in range(2):
        folder = fetch_published("frost", tmp_path, url=server.url)
        assert {path.name for path in folder.iterdir()} == {"frost1.png", "frost2.png"}
        assert len(server.requests) == 2
    (folder / "frost1.png").write_bytes(b"water")
    with pytest.raises(RunError, match="frost1.png: expected sha256 .* half-downloaded or another"):
        fetch_published("frost", tmp_path, url=server.url)


def test_archives_may_go_once_they_are_unpacked(tmp_path, server, small):
    events = []
    folder = fetch_published(
        "imagenet-c", tmp_path, url=server.url, keep_archives=False, on_progress=events.append
    )
    assert list((tmp_path / "archives" / "ImageNet-C").iterdir()) == []
    assert (folder / "spatter/1/n1/a.JPEG").read_bytes() == b"4"
    fetch_published("imagenet-c", tmp_path, url=server.url)
    assert len(server.requests) == 3
    kinds = [type(event) for event in events if event.file == "extra.tar"]
    assert kinds[0] is DownloadProgress
    assert kinds[-2:] == [ChecksumStarted, UnpackingStarted]


def test_from_a_local_folder(tmp_path, server, small):
    local = tmp_path / "local"
    local.mkdir()
    with pytest.raises(RunError, match="local/CIFAR-10-C.tar does not exist"):
        fetch_published("cifar10-c", tmp_path / "root", from_local=local)
    (local / "CIFAR-10-C.tar").write_bytes(small["CIFAR-10-C.tar"][:-600])
    with pytest.raises(RunError, match="CIFAR-10-C.tar: expected md5 .* half-downloaded"):
        fetch_published("cifar10-c", tmp_path / "root", from_local=local)
    (local / "CIFAR-10-C.tar").write_bytes(small["CIFAR-10-C.tar"])
    folder = fetch_published("cifar10-c", tmp_path / "root", from_local=local)
    assert len(open_corrupted(folder, "fog", 1)) == 2
    assert server.requests == []
    moved = folder.rename(local / folder.name)  # unpacked by hand: used where it lies
    assert fetch_published("cifar10-c", tmp_path / "other", from_local=local) == moved
    (moved / "fog.npy").write_bytes(b"other")
    with pytest.raises(RunError, match="fog.npy: expected md5"):
        fetch_published("cifar10-c", tmp_path / "other", from_local=local)


@pytest.mark.parametrize("name", ["../evil", "/fog/1/evil", "fog/../../evil", "notes.txt"])
def test_members_elsewhere_are_refused(tmp_path, server, small, monkeypatch, name):
    content = tar([("fog/1/n1/a.JPEG", b"3"), (name, b"evil")])
    server.files["/weather.tar"] = content
    fakes = dict(published_sets.PUBLISHED_SETS)
    archives = {"weather.tar": hashlib.md5(content).hexdigest()}
    fakes["imagenet-c"] = replace(fakes["imagenet-c"], archives=archives)
    monkeypatch.setattr(published_sets, "PUBLISHED_SETS", fakes)
    root = tmp_path / "root"
    with pytest.raises(RunError, match="expected only files and folders below folders named"):
        fetch_published("imagenet-c", root, url=server.url)
    assert [path for path in root.rglob("*") if path.is_file()] == [
        root / "archives" / "ImageNet-C" / "weather.tar"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_broken_archive_with_the_right_checksum(tmp_path, server, small, monkeypatch):
    content = small["weather.tar"][:700]
    server.files["/weather.tar"] = content
    fakes = dict(published_sets.PUBLISHED_SETS)
    archives = {"weather.tar": hashlib.md5(content).hexdigest()}
    fakes["imagenet-c"] = replace(fakes["imagenet-c"], archives=archives)
    monkeypatch.setattr(published_sets, "PUBLISHED_SETS", fakes)
    with pytest.raises(RunError, match="cannot unpack .*weather.tar to .*ImageNet-C: "):
        fetch_published("imagenet-c", tmp_path, url=server.url)
    assert not Path(tmp_path / "ImageNet-C" / ".weather.tar.unpacked").exists()


def write_tar(path, members):
    """A compressed tar of (name or TarInfo, content)."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def unpack(path, max_bytes=2**20):
    unpack_archive(path, path.parent, names=("set",), max_bytes=max_bytes)


def test_a_folder_is_unpacked_once(tmp_path):
    write_tar(tmp_path / "a.tar.gz", [("set/one", b"1"), ("set/deep/two", b"22")])
    unpack(tmp_path / "a.tar.gz")
    assert (tmp_path / "set" / "one").read_bytes() == b"1"
    (tmp_path / "set" / "deep" / "two").write_bytes(b"kept")
    unpack(tmp_path / "a.tar.gz")
    assert (tmp_path / "set" / "deep" / "two").read_bytes() == b"kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "set"]


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
    write_tar(root / "a.tar.gz", [("set/one", b"1"), (member, b"")])
    with pytest.raises(RunError, match="expected only files and folders below set; nothing was"):
        unpack(root / "a.tar.gz")
    assert [path.name for path in root.iterdir()] == ["a.tar.gz"]
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_tar_bomb_is_refused(tmp_path):
    write_tar(tmp_path / "a.tar.gz", [("set/one", b"0" * 1001)])
    with pytest.raises(RunError, match="unpacks to more than 1,000 bytes; nothing was kept"):
        unpack(tmp_path / "a.tar.gz", max_bytes=1000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("keep", [0, 0.3, 0.9])
def test_broken_archives_are_named(tmp_path, keep):
    path = tmp_path / "a.tar.gz"
    noise = hashlib.shake_256(b"noise").digest(5000)
    write_tar(path, [("set/one", noise), ("set/two", noise)])
    content = path.read_bytes()
    start = content[: int(keep * len(content))]
    for content in (start, start.ljust(100, b"\xff"), start + bytes(9)):
        path.write_bytes(content)
        with pytest.raises(RunError, match=f"cannot unpack {path} to {tmp_path}: .*download"):
            unpack(path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar.gz"]


def test_cifar_is_downloaded_once(tmp_path, server, cifar10, monkeypatch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(cifar10, arcname="cifar-10-batches-py")
    server.files = {"/cifar-10-python.tar.gz": buffer.getvalue()}
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    monkeypatch.setitem(cifar.EDITIONS, "cifar10", replace(EDITIONS["cifar10"], sha256=sha256))
    root = tmp_path / "new" / "root"
    for split, count in [("train", 10), ("test", 2)]:
        options = OpenOptions(name="cifar10", split=split, download=True)
        source = open_cifar(root, options, url=server.url)
        assert len(source) == count
    assert len(open_cifar(root, OpenOptions(name="cifar10", split="test"))) == 2
    assert len(server.requests) == 1
    assert sorted(path.name for path in root.iterdir()) == [
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
    ]


def test_cifar_by_hand_where_the_server_is_away(tmp_path, server):
    options = OpenOptions(name="cifar10", split="test", download=True)
    server.answers = [403]
    server.files = {"/cifar-10-python.tar.gz": b""}
    with pytest.raises(RunError, match=r"cannot download .*cifar-10-python.tar.gz: 403.*by hand"):
        open_cifar(tmp_path, options, url=server.url)


def test_the_official_archives_of_cifar():
    """Known from the set's page (MD5) and from independent loaders (sha256)."""
    assert EDITIONS["cifar10"].sha256.startswith("6d958be0745778")
    assert EDITIONS["cifar100"].sha256.startswith("85cd44d02ba643")
    assert cifar.OFFICIAL_URL == "https://www.cs.toronto.edu/~kriz/"
