"""Small sets on disk, made for every test."""

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """An image file of uint8 `height width` or `height width 3` pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write_batch(path: Path, data: np.ndarray, labels: list[int], key: str = "labels") -> None:
    """A CIFAR pickle in the official form: protocol 2, keys as Python 2 byte strings."""
    path.write_bytes(pickle.dumps({b"data": data, key.encode(): labels}, protocol=2))


def pack(members: list[tuple[str, bytes]]) -> bytes:
    """A tar of these names and contents."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, yet to be made."""
    monkeypatch.setenv("AUGMIX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def make_tar() -> Callable[..., bytes]:
    return pack


@pytest.fixture
def pixels() -> np.ndarray:
    """Twelve random RGB images of 8 x 10 pixels."""
    return np.random.default_rng(1).integers(0, 256, (12, 8, 10, 3), dtype=np.uint8)


@pytest.fixture
def png() -> Callable[..., bytes]:
    return encode


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    """A folder with an official CIFAR-10 of 2 images a file; image i of all is filled with i."""
    folder = tmp_path / "cifar" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for number, name in enumerate(names):
        data = np.repeat(np.arange(2 * number, 2 * number + 2, dtype=np.uint8)[:, None], 3072, 1)
        write_batch(folder / name, data, [number, number + 4])
    return folder


@pytest.fixture
def folder(tmp_path: Path, pixels: np.ndarray) -> Path:
    """`train` and `val` of classes ant and bee: images 0..3 and 4..7, 8..9 and 10..11."""
    labelled = [("train", "ant")] * 4 + [("train", "bee")] * 4 + [("val", "ant")] * 2
    for index, (split, name) in enumerate([*labelled, ("val", "bee"), ("val", "bee")]):
        parent = tmp_path / "images" / split / name
        parent.mkdir(parents=True, exist_ok=True)
        (parent / f"{index:02d}.png").write_bytes(encode(pixels[index]))
    return tmp_path / "images"
