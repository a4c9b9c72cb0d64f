"""The bank of pictures: its bytes, that they differ, the cache, and a folder of one's own."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmix.augment import bank
from augmix.errors import RunError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, for a bank of eight pictures."""
    monkeypatch.setenv("AUGMIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bank, "NUM_PICTURES", 8)
    bank.open_bank.cache_clear()
    bank._list_files.cache_clear()
    yield tmp_path / "cache" / "pictures"
    bank.open_bank.cache_clear()
    bank._list_files.cache_clear()


GOLDEN = "03c033cf437cbb32b0cd202dd49f5b231a0842fd833bc5937aad1787ebfe5378"


def test_the_bytes_of_a_version():
    """On every platform: a change here is a new version of the bank."""
    pictures = bank.draw_pictures(range(40), 20)
    assert hashlib.sha256(pictures.tobytes()).hexdigest() == GOLDEN
    np.testing.assert_array_equal(bank.draw_pictures([33, 2], 20), pictures[[33, 2]])


def test_no_two_pictures_are_alike():
    """Also when made so small that only their coarse colours are left."""
    pictures = bank.open_bank(bank.PROCEDURAL, 36)
    assert pictures.shape == (1200, 36, 36, 3)
    assert len({picture.tobytes() for picture in pictures}) == 1200
    coarse = pictures.reshape(1200, 6, 6, 6, 6, 3).mean(axis=(2, 4)).reshape(1200, -1)
    squares = (coarse**2).sum(1)
    apart = squares[:, None] + squares - 2 * coarse @ coarse.T + np.diag(np.full(1200, 1e9))
    assert np.sqrt(apart.min() / coarse.shape[1]) > 8  # grey levels, root mean square
    assert pictures.std(axis=(1, 2)).max(axis=1).min() > 4  # none is flat


def test_large_pictures_are_the_small_ones_in_more_detail():
    numbers = [2, 3, 6, 7]  # noise and cells, drawn at points of the picture
    small, large = bank.draw_pictures(numbers, 36), bank.draw_pictures(numbers, 144)
    averaged = large.reshape(4, 36, 4, 36, 4, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(averaged, small, atol=1)


def test_the_cache_is_read_and_replaced_when_damaged(cache: Path, monkeypatch):
    pictures = bank.open_bank(bank.PROCEDURAL, 9)
    (path,) = cache.iterdir()
    assert path.name == "procedural-1-9.npz"
    content = path.read_bytes()
    for damage in (content[:-500], b"", content):
        path.write_bytes(damage)
        bank.open_bank.cache_clear()
        np.testing.assert_array_equal(bank.open_bank(bank.PROCEDURAL, 9), pictures)
        assert path.read_bytes() == content
    monkeypatch.setattr(bank, "draw_pictures", None)
    bank.open_bank.cache_clear()
    np.testing.assert_array_equal(bank.open_bank(bank.PROCEDURAL, 9), pictures)
    with pytest.raises(ValueError, match="read-only"):
        pictures[0] = 0


def test_grey_pictures_are_those_of_pillow(cache: Path):
    pictures = bank.draw_pictures(range(4), 12)
    grey = bank.open_bank(bank.PROCEDURAL, 12, 1)
    for number in range(4):
        expected = np.asarray(Image.fromarray(pictures[number]).convert("L"))
        np.testing.assert_array_equal(grey[number, ..., 0], expected)


def test_a_folder_of_pictures(cache: Path, tmp_path: Path, monkeypatch):
    folder = tmp_path / "mixing" / "deep"
    folder.mkdir(parents=True)
    for number, colour in enumerate(("red", "lime", "blue")):
        Image.new("RGB", (30 + number, 20), colour).save(folder / f"{number}.png")
    (folder / "readme.txt").write_text("fractals")
    name = bank.bank_name(str(tmp_path / "mixing"))
    assert bank.count_pictures(name, 9) == 3
    pictures = bank.open_bank(name, 9)
    assert pictures[:, 4, 4].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert bank.fingerprint(name, 9) != bank.fingerprint(bank.PROCEDURAL, 9)
    monkeypatch.setattr(bank, "_MAX_BYTES", 2 * 3 * 81)
    bank._list_files.cache_clear()
    assert bank.count_pictures(name, 9) == 2
    (folder / "2.png").write_bytes(b"broken")
    monkeypatch.setattr(bank, "_MAX_BYTES", 2**20)
    bank._list_files.cache_clear()
    bank.open_bank.cache_clear()
    with pytest.raises(RunError, match=r"cannot read the picture .*2\.png"):
        bank.open_bank(name, 9)


def test_a_folder_without_pictures_is_named(tmp_path: Path):
    with pytest.raises(RunError, match=r"--pictures .*nowhere is no folder of images"):
        bank.count_pictures(bank.bank_name(str(tmp_path / "nowhere")), 9)
    with pytest.raises(RunError, match="holds no images"):
        bank.count_pictures(bank.bank_name(str(tmp_path)), 9)
