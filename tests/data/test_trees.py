"""Folders and tar files are read by one rule: splits, classes, links, and what is left out."""

import os
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest

from augmix.data.sources import open_source
from augmix.data.trees import FolderTree, find_splits, order_classes, split_kind
from augmix.errors import RunError

CLASSES = [
    ["ant", "bee", "cat"],
    ["0", "1", "2", "10", "11"],
    ["Ä", "é\u202fé", "猫"],
    ["9", "10", "x"],
    ["train", "bus", "car"],
    ["-1", "0", "1"],
]
SPLITS = [
    [""],
    ["train", "val"],
    ["Train", "Test"],
    ["training", "testing"],
    ["seg_train", "seg_test"],
    ["seg_train/seg_train", "seg_test/seg_test"],
    ["set/train", "set/val"],
    ["train", "val", "extra"],
]


def write_tree(root: Path, draw: random.Random, image: bytes) -> None:
    """A random tree of image folders, with what systems and people leave in them."""
    names, splits = draw.choice(CLASSES), draw.choice(SPLITS)

    def is_drawn() -> bool:
        return draw.random() < 0.2

    def write(path: Path, content: bytes = image) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    for split in splits:
        for name in names:
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(draw.choice([0, 1, 3])):
                write(folder / f"{index}.png")
            for path in ("deep/er/x.PNG", ".hidden.png", "nothing", ".cache/1.png"):
                if is_drawn():
                    write(folder / path)
            for path in ("._0.png", "note.txt", "Thumbs.db", "README"):
                if is_drawn():
                    write(folder / path, b"text")
            if is_drawn() and (folder / "0.png").exists():
                (folder / "link.png").symlink_to("0.png")
            if is_drawn() and (folder / "0.png").exists():
                os.link(folder / "0.png", folder / "hard.png")
            if is_drawn() and (folder / "deep").exists():
                (folder / "linked").symlink_to("deep")
        for path in ("__MACOSX/q/1.png", "@eaDir/1.png", "stray.png"):
            if is_drawn():
                write(root / split / path)
        if is_drawn():
            (root / split / "zz").symlink_to(names[0])


def describe(kind: str, path: Path, split: str):
    """What a reader makes of a tree; None if it refuses it."""
    try:
        source = open_source(kind, root=path, split=split)
    except RunError:
        return None
    counts = np.bincount(source.labels, minlength=source.num_classes).tolist()
    return source.class_names, counts, sorted(reason for _, reason in source.left_out)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("packed_as", [".", "NAME"])
def test_a_tar_gives_what_its_folder_gives(tmp_path, png, pixels, seed, packed_as):
    root, path = tmp_path / "set", tmp_path / "set.tar"
    root.mkdir()
    write_tree(root, random.Random(seed), png(pixels[0]))
    with tarfile.open(path, "w") as tar:
        tar.add(root, arcname=packed_as)
    found = [describe("folder", root, split) for split in ("train", "test", "val")]
    assert [describe("tar", path, split) for split in ("train", "test", "val")] == found
    assert any(found)


def fill(root: Path, names: list[str], image: bytes, count: int = 1) -> Path:
    for name in names:
        for index in range(count):
            (root / name).mkdir(parents=True, exist_ok=True)
            (root / name / f"{index}.png").write_bytes(image)
    return root


def test_numbers_are_ordered_as_numbers(tmp_path, png, pixels):
    names = [str(number) for number in range(12)]
    source = open_source("folder", root=fill(tmp_path / "set", names, png(pixels[0])))
    assert source.class_names == tuple(names)
    assert source.labels.tolist() == list(range(12))
    assert order_classes(["b", "10", "9"]) == ("10", "9", "b")
    assert order_classes(["1" * 400, "2"]) == ("1" * 400, "2")  # too long for a number


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("training", "TESTING"),
        ("seg_train", "seg_test"),
        ("set/a/train", "set/a/val"),
    ],
)
def test_splits_are_known_by_their_words(tmp_path, png, pixels, train, test):
    fill(tmp_path / "set" / train, ["ant", "bee"], png(pixels[0]), count=2)
    fill(tmp_path / "set" / test, ["ant", "bee"], png(pixels[1]), count=1)
    for split, count in (("train", 4), ("test", 2)):
        source = open_source("folder", root=tmp_path / "set", split=split)
        assert (len(source), source.class_names) == (count, ("ant", "bee"))


def test_words_within_names_of_classes_are_no_splits(tmp_path, png, pixels):
    root = fill(tmp_path / "set", ["train_station/deep", "test_tube/deep", "beach"], png(pixels[0]))
    assert open_source("folder", root=root).class_names == ("beach", "test_tube", "train_station")
    assert [split_kind(name)[0] for name in ("valley", "Trainer", "TestSet", "val2017")] == [
        "",
        "",
        "test",
        "val",
    ]


def test_splits_of_unknown_names_are_refused(tmp_path, png, pixels):
    found = {"set": ("for_test", "my_training"), "german": ("Testdaten", "Trainingsdaten")}
    for root, names in found.items():
        for name in names:
            fill(tmp_path / root / name, ["ant", "bee"], png(pixels[0]))
        message = f"{', '.join(names)} look like splits, .*ant, bee; rename"
        with pytest.raises(RunError, match=message):
            open_source("folder", root=tmp_path / root)
    for name in ("ant", "bee"):
        fill(tmp_path / "inner" / name, ["train", "val"], png(pixels[0]))
    with pytest.raises(RunError, match="the folder ant holds the splits train, val; put class"):
        open_source("folder", root=tmp_path / "inner")
    for name in ("train", "Train"):
        fill(tmp_path / "two" / name, ["ant", "bee"], png(pixels[0]))
    with pytest.raises(RunError, match="Train and train are both named for the split train"):
        find_splits(FolderTree(tmp_path / "two"))


def test_a_single_class_that_holds_more_is_refused(tmp_path, png, pixels):
    fill(tmp_path / "set" / "photos", ["ant", "bee"], png(pixels[0]))
    with pytest.raises(RunError, match="folder photos would be .* holds .*ant, bee; name .*photos"):
        open_source("folder", root=tmp_path / "set")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:  # whose inside cannot be named
        tar.add(tmp_path / "set", arcname="")
    assert open_source("tar", root=tmp_path / "set.tar").class_names == ("ant", "bee")
    (tmp_path / "set" / "empty").mkdir()
    with tarfile.open(tmp_path / "two.tar", "w") as tar:
        tar.add(tmp_path / "set", arcname="")
    for kind, root in (("folder", "set"), ("tar", "two.tar")):
        with pytest.raises(RunError, match="folder photos would be the only class with images"):
            open_source(kind, root=tmp_path / root)


def test_links_are_followed_and_loops_refused(tmp_path, png, pixels):
    root = fill(tmp_path / "set", ["ant", "bee"], png(pixels[0]))
    elsewhere = fill(tmp_path / "elsewhere", ["x"], png(pixels[1]), count=3)
    (root / "cat").symlink_to(elsewhere)
    assert open_source("folder", root=root).labels.tolist() == [0, 1, 2, 2, 2]
    (root / "cat").unlink()
    (root / "bee" / "again").symlink_to(root)
    with pytest.raises(RunError, match="bee/again is a link to a folder that it lies in"):
        open_source("folder", root=root)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(root, arcname=".")
        info = tarfile.TarInfo("ant/up")
        info.type, info.linkname = tarfile.SYMTYPE, ".."
        tar.addfile(info)
    with pytest.raises(RunError, match="ant/up is a link to a folder that it lies in"):
        open_source("tar", root=tmp_path / "x.tar")


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, png, pixels, monkeypatch):
    root = fill(tmp_path / "set", ["ant", "bee"], png(pixels[0]))
    listed = os.scandir

    def refuse(path):
        if Path(path).name == "bee":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(RunError, match="cannot list the folder .*bee: Permission denied"):
        open_source("folder", root=root)


def test_what_is_left_out_is_told_with_the_reason(tmp_path, png, pixels):
    root = fill(tmp_path / "set", ["ant", "bee"], png(pixels[0]))
    for path, content in {
        "ant/a.xyz": b"",
        "ant/LICENSE": b"text",
        "ant/photo": png(pixels[1]),
        "ant/._a.png": b"",
        "bee/.a.png": b"",
        "bee/Thumbs.db": b"",
        "a.png": png(pixels[1]),
    }.items():
        (root / path).write_bytes(content)
    os.mkfifo(root / "ant" / "pipe.png")
    source = open_source("folder", root=root)
    assert source.files == ("ant/0.png", "ant/photo", "bee/0.png")
    assert sorted(source.left_out) == [
        ("a.png", "outside class folders"),
        ("ant/LICENSE", "no suffix"),
        ("ant/a.xyz", ".xyz"),
        ("ant/pipe.png", "no file"),
        ("bee/.a.png", "hidden"),
    ]


def test_only_files_of_other_kinds_are_named(tmp_path):
    (tmp_path / "set" / "ant").mkdir(parents=True)
    (tmp_path / "set" / "ant" / "a.xyz").write_bytes(b"")
    with pytest.raises(RunError, match=r"got none; 1 files are left out \(1 .xyz\)"):
        open_source("folder", root=tmp_path / "set")


def test_a_class_name_that_is_not_utf8_is_refused(tmp_path, png, pixels):
    folder = os.fsencode(tmp_path / "set") + b"/caf\xe9"
    os.makedirs(folder)
    Path(os.fsdecode(folder), "0.png").write_bytes(png(pixels[0]))
    with pytest.raises(RunError, match=r"class name b'caf\\xe9' is not UTF-8; rename its folder"):
        open_source("folder", root=tmp_path / "set")


def test_annotations_of_tiny_imagenet(tmp_path, png, pixels):
    for name in ("n1", "n2"):
        fill(tmp_path / "train" / name, ["images"], png(pixels[0]), count=2)
        (tmp_path / "train" / name / f"{name}_boxes.txt").write_text("0.png\t0\t0\t8\t8\n")
    fill(tmp_path / "val", ["images"], png(pixels[1]), count=3)
    fill(tmp_path / "test", ["images"], png(pixels[2]), count=4)
    lines = [f"{index}.png\tn{2 - index % 2}\t0\t0\t8\t8" for index in (2, 0, 1)]
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(lines))
    assert open_source("folder", root=tmp_path).labels.tolist() == [0, 0, 1, 1]
    for split in ("val", "test"):  # the official test images have no labels
        source = open_source("folder", root=tmp_path, split=split)
        assert source.class_names == ("n1", "n2")
        assert source.labels.tolist() == [1, 0, 1]
    (tmp_path / "val" / "val_annotations.txt").write_text("0.png n1\n1.png n1\n")
    with pytest.raises(RunError, match="a line for each of 3 images, got none for images/2.png"):
        open_source("folder", root=tmp_path, split="val")
