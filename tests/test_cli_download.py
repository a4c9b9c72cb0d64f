"""The command against a server on this machine; no network."""

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from local_server import Server, serve

from augmix import cli
from augmix.data import published_sets
from augmix.data.benchmarks import open_corrupted


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    """Serves a CIFAR-10-C of two images."""
    arrays = {
        "labels.npy": np.zeros(10, np.int64),
        "fog.npy": np.zeros((10, 16, 16, 3), np.uint8)
        + np.arange(10, dtype=np.uint8)[:, None, None, None],
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, values in arrays.items():
            file = io.BytesIO()
            np.save(file, values)
            member = tarfile.TarInfo(f"CIFAR-10-C/{name}")
            member.size = len(file.getvalue())
            archive.addfile(member, io.BytesIO(file.getvalue()))
    content = buffer.getvalue()
    sums = {"CIFAR-10-C.tar": hashlib.md5(content).hexdigest()}
    fake = replace(published_sets.PUBLISHED_SETS["cifar10-c"], archives=sums, files={})
    monkeypatch.setattr(published_sets, "PUBLISHED_SETS", {"cifar10-c": fake})
    with serve() as state:
        state.files = {"/CIFAR-10-C.tar": content}
        yield state


def test_a_busy_server_is_waited_for_and_the_set_is_read(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    server.answers = [429, 200]
    words = ["download", "cifar10-c", str(tmp_path), "--url", server.url.rstrip("/")]
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert "CIFAR-10-C.tar: 429 Client Error: Too Many Requests" in text
    assert "retrying in 2 s" in text
    assert "CIFAR-10-C.tar: computing the checksum" in text
    assert "CIFAR-10-C.tar: unpacking" in text
    assert f"set: {tmp_path / 'CIFAR-10-C'}" in text
    loaded = open_corrupted(tmp_path / "CIFAR-10-C", "fog", 3).load(np.arange(2))
    assert loaded[:, 0, 0, 0].tolist() == [4, 5]
    assert cli.main(words) == 0
    assert len(server.requests) == 2


def test_from_a_local_folder_and_without_the_archive(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    local = tmp_path / "local"
    local.mkdir()
    (local / "CIFAR-10-C.tar").write_bytes(server.files["/CIFAR-10-C.tar"])
    words = ["download", "cifar10-c", str(tmp_path / "sets")]
    assert cli.main([*words, "--from-local", str(local)]) == 0
    assert server.requests == []
    assert (local / "CIFAR-10-C.tar").exists()
    other = ["download", "cifar10-c", str(tmp_path / "other"), "--url", server.url]
    assert cli.main([*other, "--no-keep-archives"]) == 0
    assert not list((tmp_path / "other").rglob("*.tar"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cifar10c"], "unknown published set 'cifar10c', did you mean 'cifar10-c'?"),
        (["cifar10-c", "--archives", "fog.tar"], "archives of CIFAR-10-C are CIFAR-10-C.tar, got"),
        (["cifar10-c", "--from-local", "nowhere"], "nowhere/CIFAR-10-C.tar does not exist"),
    ],
    ids=["name", "archive", "local"],
)
def test_mistakes(words, message, server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["download", words[0], "sets", *words[1:]]) == 2
    assert message in capsys.readouterr().err


def test_a_half_downloaded_archive_by_hand(server, tmp_path, capsys):
    (tmp_path / "CIFAR-10-C.tar").write_bytes(server.files["/CIFAR-10-C.tar"][:5000])
    words = ["download", "cifar10-c", str(tmp_path / "sets"), "--from-local", str(tmp_path)]
    assert cli.main(words) == 2
    assert "(5,000 bytes); it is half-downloaded or another file" in capsys.readouterr().err
