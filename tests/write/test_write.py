"""Written sets are read back, stopped at many places and compared byte by byte."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from augmix.corruptions import weather
from augmix.corruptions.corrupt import corrupt, perturb, photograph_frames
from augmix.data import Reading
from augmix.data.benchmarks import find_layout, open_corrupted, open_perturbed
from augmix.data.derived import subset, take
from augmix.data.sources import open_source
from augmix.errors import RunError
from augmix.files import hash_file, load_json
from augmix.progress import Note, PieceWritten
from augmix.write import CorruptConfig, CorruptOptions, PerturbConfig, PerturbOptions, sets
from augmix.write.destination import complete, describe_file, load_sums
from augmix.write.sets import corrupt_source, perturb_source

NAMES = ("contrast", "gaussian_noise")


def write_corrupted(source, destination, on_progress=None, **options) -> Path:
    options = CorruptOptions(**options)
    return sets.write_corrupted(source, destination, options, on_progress=on_progress)


def write_perturbed(source, destination, on_progress=None, **options) -> Path:
    options = PerturbOptions(**options)
    return sets.write_perturbed(source, destination, options, on_progress=on_progress)


def content(folder: Path) -> dict[str, str]:
    """Sha256 of every file below a folder, the hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Coded and decoded as the published script does, `save(..., quality=85, optimize=True)`."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
    return np.asarray(Image.open(buffer).convert("RGB"))


def test_arrays_read_back_are_the_corrupted_images(tmp_path, source, small_pieces):
    out = write_corrupted(source, tmp_path / "out", names=NAMES, seed=4, num_processes=1)
    assert sorted(path.name for path in out.iterdir()) == [
        "SHA256SUMS",
        "contrast.npy",
        "gaussian_noise.npy",
        "labels.npy",
        "manifest.json",
    ]
    assert np.load(out / "contrast.npy").shape == (35, 16, 20, 3)
    assert np.load(out / "labels.npy").tolist() == source.labels.tolist() * 5
    clean = source.load(np.arange(7))
    for name in NAMES:
        for severity in range(1, 6):
            read = open_corrupted(out, name, severity)
            expected = corrupt(clean, name, severity=severity, seed=4)
            assert np.array_equal(read.load(np.arange(7)), expected)
            assert read.labels.tolist() == source.labels.tolist()
            assert read.class_names == ("ant", "bee", "cow")


def test_files_read_back_are_the_corrupted_images_coded(tmp_path, folder):
    source = open_source("folder", root=folder, split="test", size=32)
    out = write_corrupted(
        source,
        tmp_path / "out",
        names=NAMES,
        severities=(5, 2),
        layout="imagenet",
        preset="tiny",
        num_processes=1,
    )
    layout = find_layout(out)
    assert (layout.kind, layout.names) == ("imagenet-c", NAMES)
    clean = source.load(np.arange(4))
    for name in NAMES:
        for severity in (2, 5):
            read = open_corrupted(layout, name, severity)
            expected = corrupt(clean, name, severity=severity, preset="tiny")
            coded = np.stack([jpeg(image, 85) for image in expected])
            assert np.array_equal(read.load(np.arange(4)), coded)
            assert read.labels.tolist() == source.labels.tolist()
    files = sorted(path for path in content(out) if path.startswith("contrast/2/"))
    assert [file.removeprefix("contrast/2/") for file in files] == [
        "n1/a.JPEG",
        "n1/b.png.JPEG",
        "n1/deep/c.jpg",
        "n2/a.JPEG",
    ]


def test_images_that_are_no_files_are_numbered(tmp_path, source):
    chosen = subset(source, np.array([3, 1, 2]))
    out = write_corrupted(
        chosen, tmp_path / "out", names=("contrast",), layout="imagenet", num_processes=1
    )
    assert sorted(path.name for path in out.rglob("*.JPEG") if "/5/" in str(path)) == [
        "00000000.JPEG",
        "00000001.JPEG",
        "00000002.JPEG",
    ]
    read = open_corrupted(out, "contrast", 5)  # in the order of the classes
    assert (read.class_names, read.labels.tolist()) == (("ant", "bee", "cow"), [0, 0, 2])
    damaged = corrupt(chosen.load(np.array([1, 2, 0])), "contrast", severity=5)
    assert np.array_equal(read.load(np.arange(3)), np.stack([jpeg(one, 85) for one in damaged]))


def test_a_part_of_a_folder_keeps_its_file_names(tmp_path, folder):
    part = subset(open_source("folder", root=folder, split="test", size=32), np.array([3, 0]))
    out = write_corrupted(
        part, tmp_path / "out", names=("fog",), severities=(1,), layout="imagenet", num_processes=1
    )
    assert {path for path in content(out) if "JPEG" in path} == {
        "fog/1/n2/a.JPEG",
        "fog/1/n1/a.JPEG",
    }


def test_the_manifest_and_the_sums(tmp_path, source):
    events = []
    out = write_corrupted(
        source, tmp_path / "out", names=NAMES, num_processes=1, on_progress=events.append
    )
    manifest = load_json(out / "manifest.json")
    assert manifest["complete"] is True
    assert (manifest["form"], manifest["preset"], manifest["seed"]) == ("corrupted", "cifar", 0)
    assert manifest["source"]["fingerprint"] == source.fingerprint
    assert {"augmix", "numpy", "pillow", "numba", "python"} <= set(manifest["versions"])
    assert manifest["suite_version"]
    sums = dict(
        reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().split("\n")[:-1]
    )
    found = content(out)
    assert manifest["files"]["sha256"] == found.pop("SHA256SUMS")
    found.pop("manifest.json")
    assert sums == found
    assert manifest["files"]["count"] == 3
    first, *events = events
    assert first == Note(text="preset cifar, by the size of 16 x 20 pixels")
    assert [event.done for event in events] == [7 * count for count in range(1, 11)]
    assert (events[-1].total, events[-1].severity) == (70, 5)


def test_any_number_of_processes_gives_the_same_files(tmp_path, source, small_pieces):
    for count in (1, 2):
        write_corrupted(source, tmp_path / str(count), names=NAMES, num_processes=count)
    assert content(tmp_path / "1") == content(tmp_path / "2")


class Stop(Exception):
    pass


@pytest.mark.parametrize("layout", ["cifar", "imagenet"])
def test_stopped_after_every_piece_and_continued(tmp_path, source, small_pieces, layout):
    def write(folder, on_progress=None):
        write_corrupted(
            source,
            tmp_path / folder,
            names=("contrast",),
            layout=layout,
            num_processes=1,
            on_progress=on_progress,
        )

    def stop(event):
        if not isinstance(event, PieceWritten):
            return
        seen.append(event.done)
        raise Stop

    write("whole")
    seen: list[int] = []
    while not seen or seen[-1] < 35:
        with pytest.raises(Stop):
            write("stopped", stop)
        with pytest.raises(RunError, match="is not complete: manifest.json says"):
            find_layout(tmp_path / "stopped")
    assert seen == [done for whole in range(5) for done in np.array([2, 4, 6, 7]) + 7 * whole]
    write("stopped")
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")
    before = {
        path: os.stat(tmp_path / "stopped" / path).st_mtime_ns
        for path in content(tmp_path / "stopped")
    }
    write("stopped", stop)  # complete: nothing is made
    after = {path: os.stat(tmp_path / "stopped" / path).st_mtime_ns for path in before}
    assert before == after


def test_lost_files_are_made_again(tmp_path, source, small_pieces):
    def stop(event):
        if isinstance(event, PieceWritten) and event.done > 20:
            raise Stop

    arguments = {"names": ("contrast",), "layout": "imagenet", "num_processes": 1}
    write_corrupted(source, tmp_path / "whole", **arguments)
    with pytest.raises(Stop):
        write_corrupted(source, tmp_path / "out", **arguments, on_progress=stop)
    files = sorted((tmp_path / "out").rglob("*.JPEG"))
    files[0].unlink()
    files[1].write_bytes(b"")  # as a power cut may leave it
    write_corrupted(source, tmp_path / "out", **arguments)
    assert content(tmp_path / "whole") == content(tmp_path / "out")


SCRIPT = """
import sys
from augmix.write import sets as writing
from augmix.data.sources import open_source
writing._MAX_IMAGES = 2

if __name__ == "__main__":
    source = open_source("npz", root=sys.argv[1], split="test")
    options = writing.CorruptOptions(
        names=("contrast", "gaussian_noise"), layout=sys.argv[3], num_processes=2
    )
    writing.write_corrupted(
        source, sys.argv[2], options,
        on_progress=lambda event: print(getattr(event, "done", 0), flush=True),
    )
"""


@pytest.mark.slow
def test_killed_and_started_again(tmp_path, source, small_pieces):
    """SIGKILL in the middle: the workers end too, and the next start completes the same tree."""
    layout = "imagenet"
    write_corrupted(source, tmp_path / "whole", names=NAMES, layout=layout, num_processes=1)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "clean.npz"), str(tmp_path / "out")]
    with subprocess.Popen([*command, layout], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 20:
                break
        process.send_signal(signal.SIGKILL)
    for _ in range(100):  # the lock falls with the last of its processes
        try:
            write_corrupted(source, tmp_path / "out", names=NAMES, layout=layout, num_processes=1)
            break
        except RunError as error:
            if "is in use by process" not in str(error):
                raise
            time.sleep(0.1)
    assert content(tmp_path / "whole") == content(tmp_path / "out")


def test_another_set_is_refused(tmp_path, source):
    out = write_corrupted(source, tmp_path / "out", names=("fog",), num_processes=1)
    before = content(out)
    other = subset(source, np.arange(6))
    for settings, message in (
        ({"seed": 1}, "holds a set with seed = 0, asked for 1; choose another destination"),
        ({"preset": "tiny"}, "holds a set with preset = 'cifar', asked for 'tiny'"),
        ({"names": ("fog", "snow")}, r"with names = \['fog'\], asked for \['fog', 'snow'\]"),
        ({"layout": "imagenet"}, "with layout = 'cifar', asked for 'imagenet'"),
        ({"source": other}, "with source.num_images = 7, asked for 6"),
    ):
        arguments = {"source": source, "names": ("fog",), "num_processes": 1, **settings}
        with pytest.raises(RunError, match=message):
            write_corrupted(destination=out, **arguments)
    assert content(out) == before


def test_a_set_in_work_elsewhere_is_left_alone(tmp_path, source):
    destination = tmp_path / "c"

    def again(event):
        if not isinstance(event, PieceWritten):
            return
        with pytest.raises(RunError, match=f"set {destination} is in use by process {os.getpid()}"):
            write_corrupted(source, destination, names=NAMES, num_processes=1)
        raise Stop

    with pytest.raises(Stop):
        write_corrupted(source, destination, names=NAMES, num_processes=1, on_progress=again)
    write_corrupted(source, destination, names=NAMES, num_processes=1)
    assert find_layout(destination).names == NAMES


def test_another_version_is_refused(tmp_path, source, monkeypatch):
    monkeypatch.setattr(sets, "versions", lambda: {"numpy": "1"})
    write_corrupted(source, tmp_path / "out", names=("fog",), num_processes=1)
    monkeypatch.setattr(sets, "versions", lambda: {"numpy": "2"})
    with pytest.raises(RunError, match="with versions.numpy = '1', asked for '2'"):
        write_corrupted(source, tmp_path / "out", names=("fog",), num_processes=1)


def test_a_folder_of_something_else_is_refused(tmp_path, source):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(RunError, match="holds thesis.tex but no manifest.json; choose an empty"):
        write_corrupted(source, tmp_path / "out", names=("fog",), num_processes=1)
    assert list(content(tmp_path / "out")) == ["thesis.tex"]
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file is a file; choose a folder"):
        write_corrupted(source, tmp_path / "file", names=("fog",), num_processes=1)


def test_arguments_out_of_range(tmp_path, source):
    for settings, message in (
        ({"names": ("fogg",)}, "unknown corruption 'fogg', did you mean 'fog'"),
        ({"names": ()}, "names must be at least one corruption or list of them, got none"),
        ({"names": ("paper15",)}, "unknown corruption 'paper15', did you mean 'paper-15'"),
        ({"severities": (1, 2)}, "layout 'cifar' stores all severities 1..5 in one array"),
        ({"severities": (0, 1), "layout": "imagenet"}, "severities must be some of 1..5"),
        ({"severities": (1, 1), "layout": "imagenet"}, "severities must be some of 1..5"),
        ({"num_processes": 0}, "num_processes must be at least 1, got 0"),
        ({"jpeg_quality": 0}, "jpeg_quality must be 1..100, got 0"),
        ({"preset": "huge"}, "preset must be one of auto, cifar|huge"),
        ({"layout": "zip"}, "layout must be auto, cifar or imagenet, got 'zip'|zip"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            write_corrupted(source, tmp_path / "out", **{"names": ("fog",), **settings})
    assert not (tmp_path / "out").exists()


def test_images_too_small_are_refused_before_anything_is_written(tmp_path):
    arrays = {"images": np.zeros((2, 15, 20, 3), np.uint8), "labels": np.arange(2)}
    np.savez(tmp_path / "small.npz", **arrays)
    small = open_source("npz", root=tmp_path / "small.npz", split="test")
    for function, what in ((write_corrupted, "corrupt"), (write_perturbed, "perturb")):
        with pytest.raises(ValueError, match=f"images to {what} must be at least 16 x 16 pixels"):
            function(small, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_frost_photographs_are_part_of_the_manifest(tmp_path, source, real_data):
    textures = shutil.copytree(real_data / "frost", tmp_path / "textures")
    arguments = {"names": ("frost",), "num_processes": 1, "frost_textures": textures}
    out = write_corrupted(source, tmp_path / "out", **arguments)
    assert load_json(out / "manifest.json")["frost_sha256"] == weather.frost_fingerprint(textures)
    expected = corrupt(source.load(np.arange(7)), "frost", severity=2, frost_textures=textures)
    assert np.array_equal(open_corrupted(out, "frost", 2).load(np.arange(7)), expected)
    others = shutil.copytree(textures, tmp_path / "others")
    shutil.copy(others / "frost5.jpg", others / "frost4.jpg")
    with pytest.raises(RunError, match="with frost_sha256 = "):
        write_corrupted(source, out, **{**arguments, "frost_textures": others})


def test_arrays_of_sequences(tmp_path, source, small_pieces):
    out = write_perturbed(
        source,
        tmp_path / "out",
        names=("translate", "gaussian_noise"),
        difficulty=3,
        seed=2,
        num_processes=1,
    )
    layout = find_layout(out)
    assert (layout.kind, layout.names) == ("cifar-p", ("gaussian_noise_3", "translate"))
    clean = source.load(np.arange(7))
    for title, name in (("gaussian_noise_3", "gaussian_noise"), ("translate", "translate")):
        expected = perturb(clean, name, difficulty=3, seed=2)
        assert np.array_equal(open_perturbed(out, title).load(np.arange(7)), expected)


def test_frames_of_photographs(tmp_path, folder):
    photographs = open_source("folder", root=folder, split="test", size=64).photographs()
    out = write_perturbed(
        photographs,
        tmp_path / "out",
        names=("scale",),
        preset="tiny",
        layout="imagenet",
        num_processes=1,
    )
    read = open_perturbed(out, "scale")
    assert (len(read), read.num_frames, read.size) == (4, 31, (64, 64))
    for index, file in enumerate(("n1/a.JPEG", "n1/b.png", "n1/deep/c.jpg", "n2/a.JPEG")):
        picture = np.asarray(Image.open(folder / file).convert("RGB"))
        expected = photograph_frames(picture, "scale", preset="tiny", sample=index)
        for frame, whole in zip(read.frames(index), expected, strict=True):
            assert np.array_equal(frame, jpeg(whole, 85))
    with pytest.raises(ValueError, match="need layout 'imagenet' and a preset by name"):
        write_perturbed(photographs, tmp_path / "other", preset="auto", layout="imagenet")


def test_sequences_are_gone_on_with(tmp_path, source, small_pieces):
    def stop(event):
        raise Stop

    arguments = {"names": ("brightness", "translate"), "layout": "imagenet", "num_processes": 1}
    write_perturbed(source, tmp_path / "whole", **arguments)
    for _ in range(3):
        with pytest.raises(Stop):
            write_perturbed(source, tmp_path / "out", **arguments, on_progress=stop)
    write_perturbed(source, tmp_path / "out", **arguments)
    assert content(tmp_path / "whole") == content(tmp_path / "out")
    with pytest.raises(RunError, match="holds a set with seed = 0, asked for 2"):
        write_perturbed(source, tmp_path / "out", **arguments, seed=2)
    with pytest.raises(
        RunError, match="holds a set with form = 'perturbed', asked for 'corrupted'"
    ):
        write_corrupted(source, tmp_path / "out", names=("fog",), num_processes=1)


def test_grey_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 20), dtype=np.uint8)
    np.savez(tmp_path / "grey.npz", images=images, labels=np.arange(3))
    source = open_source("npz", root=tmp_path / "grey.npz", split="test")
    expected = corrupt(images[..., None], "fog", severity=4)
    out = write_corrupted(source, tmp_path / "arrays", names=("fog",), num_processes=1)
    assert np.array_equal(open_corrupted(out, "fog", 4).load(np.arange(3)), expected)
    out = write_corrupted(
        source, tmp_path / "tree", names=("fog",), layout="imagenet", num_processes=1
    )
    read = open_corrupted(out, "fog", 4).load(np.arange(3))
    assert np.array_equal(read[..., 0], read[..., 2])
    assert np.array_equal(read, np.stack([jpeg(image[..., 0], 85) for image in expected]))


def test_class_names_that_cannot_be_folders(tmp_path, source):
    outside = replace(source, class_names=("../evil", "bee", "cow"))
    with pytest.raises(RunError, match="class name '../evil' cannot be a folder"):
        write_corrupted(
            outside, tmp_path / "out", names=("fog",), layout="imagenet", num_processes=1
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean.npz", "out"]


def pack(folder: Path, path: Path) -> Path:
    """An uncompressed tar of a folder's content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        file.add(folder, arcname=".")
    return path


def test_tar_shards(tmp_path, folder):
    shard = pack(folder, tmp_path / "shards" / "test-0.tar")
    common = {"src": str(shard.parent), "source": "tar", "num_processes": 1}
    out = corrupt_source(
        CorruptConfig(dst=tmp_path / "c", names=("contrast",), severities=(3,), **common)
    )
    source = open_source("tar", root=shard.parent, split="test", size=224)
    read = open_corrupted(out, "contrast", 3)
    assert (read.size, read.class_names, len(read)) == ((224, 224), source.class_names, 4)
    assert load_json(out / "manifest.json")["layout"] == "imagenet"
    order = np.argsort(source.labels, kind="stable")  # read back class by class
    expected = corrupt(source.load(order[2:3]), "contrast", severity=3)
    assert np.array_equal(read.load(np.array([2]))[0], jpeg(expected[0], 85))
    out = perturb_source(PerturbConfig(dst=tmp_path / "p", names=("translate",), **common))
    assert open_perturbed(out, "translate").load(np.arange(4)).shape == (4, 41, 224, 224, 3)


def write_table(folder: Path, path: Path) -> None:
    """The images of an image folder as a parquet file, classes by their names."""
    files = sorted(file for file in folder.rglob("*.*") if file.is_file())
    columns = {
        "image": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
        "label": [file.relative_to(folder).parts[0] for file in files],
    }
    path.parent.mkdir()
    parquet.write_table(pyarrow.table(columns), path)


@pytest.mark.parametrize("max_images", [None, 2])
def test_sequences_of_every_source_start_from_its_photographs(tmp_path, folder, max_images):
    pack(folder, tmp_path / "tar" / "test-0.tar")
    write_table(folder, tmp_path / "parquet" / "test.parquet")
    photographs = open_source("folder", root=folder, split="test", size=64, is_lazy=True)
    chosen = take(photographs, max_images) if max_images else photographs
    stored = [np.asarray(Image.open(folder / file).convert("RGB")) for file in chosen.files]
    sources = {"folder": folder, "tar": tmp_path / "tar", "parquet": tmp_path / "parquet"}
    for kind, src in sources.items():
        config = PerturbConfig(
            src=str(src),
            dst=tmp_path / "out" / kind,
            source=kind,
            names=("scale",),
            preset="tiny",
            max_images=max_images,
            num_processes=2 if kind == "parquet" and not max_images else 1,
        )
        out = perturb_source(config)
        read = open_perturbed(out, "scale")
        assert len(read) == len(stored)
        for index, photograph in enumerate(stored):
            expected = photograph_frames(photograph, "scale", preset="tiny", sample=index)
            for frame, whole in zip(read.frames(index), expected, strict=True):
                assert np.array_equal(frame, jpeg(whole, 85)), (kind, index)


def test_broken_photographs_are_left_out_of_sequences(tmp_path, folder):
    (folder / "n1" / "a.JPEG").write_bytes(b"broken")
    config = PerturbConfig(
        src=str(folder),
        dst=tmp_path / "out",
        names=("translate",),
        preset="tiny",
        num_processes=1,
        reading=Reading(on_error="skip"),
    )
    read = open_perturbed(perturb_source(config), "translate")
    whole = np.asarray(Image.open(folder / "n1" / "b.png").convert("RGB"))
    expected = next(iter(photograph_frames(whole, "translate", preset="tiny", sample=0)))
    assert len(read) == 3
    assert np.array_equal(next(read.frames(0)), jpeg(expected, 85))


@pytest.mark.parametrize("is_flat", [False, True])
def test_imagenet(tmp_path, folder, is_flat):
    """Folders of synsets, and the flat folder of the published archive with its annotations."""
    root = tmp_path / "imagenet"
    shutil.copytree(folder, root / "val")
    if is_flat:
        lines = []
        for index, path in enumerate(sorted((root / "val").rglob("*.*"))):
            name, synset = (
                f"ILSVRC2012_val_{index:08d}.JPEG",
                path.relative_to(root / "val").parts[0],
            )
            path.rename(root / "val" / name)
            lines.append(f"{name} n0000000{synset[1]}")
        (root / "val.txt").write_text("\n".join(lines) + "\n")
        for name in ("n1", "n2"):
            shutil.rmtree(root / "val" / name)
    out = corrupt_source(
        CorruptConfig(
            src=str(root),
            dst=tmp_path / "c",
            source="imagenet",
            names=("contrast",),
            severities=(3,),
            num_processes=1,
        )
    )
    source = open_source("imagenet", root=root, split="test")
    read = open_corrupted(out, "contrast", 3)
    assert (read.class_names, read.labels.tolist()) == (source.class_names, source.labels.tolist())
    expected = corrupt(source.load(np.array([3])), "contrast", severity=3)
    assert np.array_equal(read.load(np.array([3]))[0], jpeg(expected[0], 85))


def test_real_images(tmp_path, real_data):
    """Parquet and photographs, by the settings of the command line."""
    out = corrupt_source(
        CorruptConfig(
            src=str(real_data / "imagenet-samples"),
            dst=tmp_path / "c",
            names=("pixelate",),
            severities=(3,),
            max_images=4,
            num_processes=1,
        )
    )
    whole = open_source("folder", root=real_data / "imagenet-samples", split="test", size=224)
    read = open_corrupted(out, "pixelate", 3)
    assert (len(read), read.num_classes, read.size) == (4, 200, (224, 224))
    files = {path.name for path in (real_data / "imagenet-samples").rglob("*.JPEG")}
    assert {path.name for path in out.rglob("*.JPEG")} <= files
    place = int(read.labels[2])  # one image for each class
    damaged = corrupt(whole.load(np.array([place])), "pixelate", severity=3)
    assert np.array_equal(read.load(np.array([2]))[0], jpeg(damaged[0], 85))
    small = perturb_source(
        PerturbConfig(
            src=str(real_data / "cifar10-jpeg-small"),
            dst=tmp_path / "p",
            source="cifar10",
            names=("tilt",),
            max_images=5,
            num_processes=1,
        )
    )
    assert open_perturbed(small, "tilt").load(np.arange(5)).shape == (5, 31, 32, 32, 3)


def test_names_are_escaped_in_the_sums(tmp_path: Path):
    """As sha256sum writes and reads them; names that are not UTF-8 are kept."""
    names = ["a\nb.png", "c\\d.png", "e\rf.png", os.fsdecode(b"g\xe9.png"), "plain.png"]
    for name in names:
        (tmp_path / name).write_text(name, encoding="utf-8", errors="surrogateescape")
    complete(tmp_path, {}, (describe_file(tmp_path / name) for name in names))
    sums = tmp_path / "SHA256SUMS"
    assert sums.read_bytes().count(b"\n") == len(names)
    assert load_sums(sums) == {name: hash_file(tmp_path / name) for name in names}
    tool = shutil.which("sha256sum")
    if tool:
        checked = subprocess.run([tool, "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True)
        assert checked.returncode == 0, checked.stderr
        written = subprocess.run([tool, *names], cwd=tmp_path, capture_output=True, check=True)
        assert written.stdout == sums.read_bytes()


def test_a_destination_in_the_folder_of_the_images_is_refused(tmp_path):
    (tmp_path / "photos" / "ant").mkdir(parents=True)
    where: dict[str, Any] = {"src": str(tmp_path / "photos"), "dst": tmp_path / "photos" / "out"}
    message = "out lies in the folder of the images, .*beside it"
    with pytest.raises(RunError, match=message):
        corrupt_source(CorruptConfig(**where))
    with pytest.raises(RunError, match=message):
        perturb_source(PerturbConfig(**where))


@pytest.mark.parametrize("layout", ["cifar", "imagenet"])
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("missing", "missing"),
        ("empty", "empty"),
        ("longer", "another checksum"),
        ("zeros", "another checksum"),
    ],
)
def test_damaged_files_of_a_complete_set_are_written_again(
    source, tmp_path, layout: str, damage: str, told: str
):
    options = {"layout": layout, "names": ("contrast",), "num_processes": 1}
    destination = write_corrupted(source, tmp_path / "set", **options)
    whole = content(destination)
    found = sorted([*destination.rglob("contrast*.npy"), *destination.rglob("*.JPEG")])[0]
    changes = {
        "missing": lambda _: found.unlink(),
        "empty": lambda _: found.write_bytes(b""),
        "longer": lambda old: found.write_bytes(old + b"x"),
        "zeros": lambda old: found.write_bytes(bytes(len(old))),
    }
    changes[damage](found.read_bytes())
    events: list = []
    if damage == "zeros":  # of the right size
        write_corrupted(source, destination, on_progress=events.append, **options)
        assert content(destination) != whole
    how = {**options, "verify": damage == "zeros"}
    write_corrupted(source, destination, on_progress=events.append, **how)
    assert content(destination) == whole
    notes = [event.text for event in events if isinstance(event, Note)]
    name = found.relative_to(destination)
    assert f"1 file(s) of the set are written again: {name} ({told})" in notes
    again: list = []
    write_corrupted(source, destination, on_progress=again.append, **{**options, "verify": True})
    assert not [event for event in again if "again" in getattr(event, "text", "")]


def test_a_set_killed_before_its_first_manifest_is_begun_again(source, tmp_path):
    (tmp_path / "set").mkdir()
    left = tmp_path / "set" / ".manifest.json.abcdefgh.tmp"
    left.write_text('{"sch')
    write_corrupted(source, tmp_path / "set", names=("contrast",), num_processes=1)
    assert not left.exists()
    (tmp_path / "set" / ".SHA256SUMS.abcdefgh.tmp").write_text("")
    write_corrupted(source, tmp_path / "set", names=("contrast",), num_processes=1)
    assert not any(path.name.endswith(".tmp") for path in (tmp_path / "set").iterdir())


def test_rows_that_are_not_as_written_are_never_vouched_for(source, tmp_path, small_pieces):
    def damage(event) -> None:  # in the middle of the last array
        if isinstance(event, PieceWritten) and event.done == event.total - 1:
            path = tmp_path / "set" / ".work" / "contrast.npy"
            path.write_bytes(path.read_bytes()[:128] + bytes(path.stat().st_size - 128))

    with pytest.raises(RunError, match=r"part.s. of .*contrast.npy are not as they were written"):
        write_corrupted(
            source, tmp_path / "set", names=("contrast",), on_progress=damage, num_processes=1
        )
    write_corrupted(source, tmp_path / "set", names=("contrast",), num_processes=1)
    whole = write_corrupted(source, tmp_path / "other", names=("contrast",), num_processes=1)
    assert content(tmp_path / "set") == content(whole)


def test_a_preset_of_a_file(source, tmp_path):
    """Its parameters are in the manifest, and the set is read back with its name."""
    preset = tmp_path / "own.json"
    preset.write_text('{"corruptions": {"contrast": [0.75, 0.5, 0.4, 0.3, 0.15]}}')
    how = {"names": ("contrast",), "layout": "cifar", "num_processes": 1}
    own = write_corrupted(source, tmp_path / "own", preset=preset, **how)
    cifar = write_corrupted(source, tmp_path / "cifar", preset="cifar", **how)
    assert (own / "contrast.npy").read_bytes() == (cifar / "contrast.npy").read_bytes()
    manifest = load_json(own / "manifest.json")
    assert manifest["preset"] == "own"
    assert manifest["preset_parameters"] == {"contrast": [[0.75], [0.5], [0.4], [0.3], [0.15]]}
    named = find_layout(own).own_preset
    assert named == f"own {manifest['preset_sha256'][:12]}"
    assert find_layout(cifar).own_preset == ""
    with pytest.raises(RunError, match="holds a set with preset = 'own', asked for 'cifar'"):
        write_corrupted(source, own, preset="cifar", **how)
    with pytest.raises(ValueError, match="preset 'own' has no parameters for fog"):
        write_corrupted(source, tmp_path / "fog", preset=preset, **(how | {"names": ("fog",)}))
