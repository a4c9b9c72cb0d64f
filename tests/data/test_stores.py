"""Broken images of a large set are found once."""

import numpy as np
import pytest

from augmix.data.sources import open_source
from augmix.errors import RunError


@pytest.fixture(autouse=True)
def tiny_memory(monkeypatch):
    monkeypatch.setattr("augmix.data.stores.MEMORY_BYTES", 100)


def test_an_inspection_is_kept_until_the_files_change(folder, cache, monkeypatch):
    broken = folder / "train" / "ant" / "02.png"
    broken.write_bytes(broken.read_bytes()[:60])
    before = open_source("folder", root=folder, size=8, on_error="skip")
    assert (len(before), len(before.skipped)) == (7, 1)
    kept = list((cache / "inspections").iterdir())
    assert len(kept) == 1

    def fail(*arguments):
        raise AssertionError("the images were decoded again")

    with monkeypatch.context() as patch:
        patch.setattr("augmix.data.stores.try_all", fail)
        again = open_source("folder", root=folder, size=8, on_error="skip")
        assert again.skipped == before.skipped
        assert again.fingerprint == before.fingerprint
        assert np.array_equal(again.load(np.arange(7)), before.load(np.arange(7)))
    kept[0].write_text("{")
    assert open_source("folder", root=folder, size=8, on_error="skip").skipped == before.skipped

    other = folder / "train" / "bee" / "05.png"
    other.write_bytes(b"no image")
    assert len(open_source("folder", root=folder, size=8, on_error="skip").skipped) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AUGMIX_CACHE", str(tmp_path / "file"))
    assert len(open_source("folder", root=folder, size=8, on_error="skip")) == 8


def test_what_broke_since_is_named_when_it_is_loaded(folder):
    source = open_source("folder", root=folder, size=8, on_error="skip")
    path = folder / "train" / "bee" / "05.png"
    path.write_bytes(b"x" * path.stat().st_size)
    again = open_source("folder", root=folder, size=8, on_error="skip")
    assert len(again) == len(source) == 8
    with pytest.raises(RunError, match=r"05.png \(index 5\)"):
        again.load(np.array([5]))
