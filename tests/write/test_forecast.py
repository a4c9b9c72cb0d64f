"""A dry run says what writing makes, and makes nothing."""

import numpy as np
import pytest

from augmix.data.sources import open_source
from augmix.errors import RunError
from augmix.files import format_size
from augmix.progress import Note, PieceWritten
from augmix.write import CorruptOptions, PerturbOptions, forecast, sets


def dry_run(function, source, folder, options) -> list[str]:
    notes = []
    function(source, folder, options, on_progress=notes.append)
    return [note.text for note in notes if isinstance(note, Note) and "preset" not in note.text]


def tree(folder) -> tuple[int, int]:
    """Number of images' files, and their bytes."""
    files = [path for path in folder.rglob("*.*") if path.suffix in (".JPEG", ".jpg", ".npy")]
    return len(files), sum(path.stat().st_size for path in files)


def sized(num_bytes) -> str:
    return format_size(num_bytes)


@pytest.mark.parametrize("layout", ["cifar", "imagenet"])
def test_files_and_bytes_are_those_of_the_written_set(tmp_path, source, layout, monkeypatch):
    monkeypatch.setattr(forecast, "_SECONDS", 1e9)  # all seven images are measured
    how = {"layout": layout, "num_processes": 1}
    for function, options in (
        (sets.write_corrupted, CorruptOptions(names=("contrast", "fog"), **how)),
        (sets.write_perturbed, PerturbOptions(names=("tilt",), preset="cifar", **how)),
    ):
        folder = tmp_path / function.__name__
        dry = type(options)(**{**vars_of(options), "dry_run": True})
        files, time, decoded, free = dry_run(function, source, folder, dry)
        assert not folder.exists()
        seen = []

        def look(event, folder=folder, seen=seen):
            seen += [np.load(path).nbytes for path in folder.rglob("clean.npy")]

        function(source, folder, options, on_progress=look)
        assert decoded == f"{sized(max(seen))} of decoded images more until it is written"
        count, num_bytes = tree(folder)
        images = 70 if function is sets.write_corrupted else 7
        assert files == f"{count:,} files, {sized(num_bytes)}, of {images} images"
        assert "with 1 process (" in time
        assert f"measured on {images} images" in time
        assert free.endswith(f" free in {tmp_path}")
        files, time, _ = dry_run(function, source, folder, dry)
        assert files.endswith(f"of {images} images, 0 of them left")
        assert time.startswith("about 0 s ")


def vars_of(options):
    return {name: getattr(options, name) for name in type(options).__dataclass_fields__}


def test_what_is_written_is_not_counted_again(tmp_path, source, small_pieces):
    options = {"names": ("contrast",), "num_processes": 1}

    def stop(event):
        if isinstance(event, PieceWritten) and event.done >= 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sets.write_corrupted(source, tmp_path / "c", CorruptOptions(**options), on_progress=stop)
    dry = CorruptOptions(**options, dry_run=True)
    files, *_ = dry_run(sets.write_corrupted, source, tmp_path / "c", dry)
    assert files.endswith("of 35 images, 26 of them left")
    with pytest.raises(RunError, match="holds a set with seed = 0, asked for 1"):
        dry_run(
            sets.write_corrupted,
            source,
            tmp_path / "c",
            CorruptOptions(**options, seed=1, dry_run=True),
        )


def test_time_is_extended_from_what_was_measured(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(forecast, "perf_counter", lambda: clock[0])

    def make(piece):
        clock[0] += {"a": 1.0, "b": 3.0}[piece.name] * len(piece)
        return np.zeros((len(piece), 2, 2, 3), np.uint8)

    def load(index):
        clock[0] += 0.5

    pieces = [
        sets.Piece(name=name, severity=1, start=start, stop=start + 10, row=0)
        for name in "ab"
        for start in (0, 10)
    ]
    found = forecast.forecast_set(
        pieces,
        pieces[1:],  # ten images of a are there
        make,
        load,
        encode=lambda frame: bytes(7),
        shapes={},
        num_files=40,
        num_processes=4,
    )
    assert found.seconds == 10 * 1.0 + 20 * 3.0 + 20 * 0.5
    assert (found.num_bytes, found.num_left, found.num_images) == (40 * 7, 30, 40)
    assert found.num_measured == 4  # of two images, after which the time was over


def test_photographs_of_any_size(tmp_path, folder):
    source = open_source("folder", root=folder, split="test", size=256).photographs()
    assert source is not None
    options = PerturbOptions(names=("tilt",), preset="tiny", num_processes=1, dry_run=True)
    files, *_ = dry_run(sets.write_perturbed, source, tmp_path / "p", options)
    assert files.startswith("124 files, ")
    assert not (tmp_path / "p").exists()
