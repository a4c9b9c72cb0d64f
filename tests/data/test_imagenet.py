"""ImageNet in every form it is kept in gives the same labels and pixels."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from augmix.data.imagenet import load_labels
from augmix.data.sources import open_source
from augmix.errors import RunError

SYNSETS = ("n01440764", "n01751748", "n03995372")
VAL = (1, 0, 2, 1)  # the class of ILSVRC2012_val_0000000{1..4}: images 6..9
FLAT = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 5)]


def write_train(root: Path, pixels, png) -> None:
    """Two images of each class: 0..5."""
    for index in range(6):
        folder = root / "train" / SYNSETS[index // 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{SYNSETS[index // 2]}_{index}.JPEG").write_bytes(png(pixels[index]))


def write_flat(root: Path, pixels, png) -> None:
    (root / "val").mkdir(parents=True)
    for index, name in enumerate(FLAT):
        (root / "val" / name).write_bytes(png(pixels[6 + index]))


def write_meta(path: Path) -> None:
    """The devkit's table: ids of their own order, and a class that is no leaf."""
    from scipy.io import savemat

    kind = [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("num_children", "f8")]
    rows = [(1, SYNSETS[2], 0), (2, SYNSETS[0], 0), (3, SYNSETS[1], 0), (1001, "n00000001", 3)]
    savemat(str(path), {"synsets": np.array(rows, dtype=kind)[:, None]})


def check(root: Path, pixels, *, split: str = "test", expected=VAL) -> None:
    source = open_source("imagenet", root=root, split=split, size=6)
    assert (source.name, source.class_names) == ("imagenet", SYNSETS)
    assert source.labels.tolist() == list(expected)
    first = 6 if split == "test" else 0
    plain = np.stack([square(image) for image in pixels[first : first + len(expected)]])
    assert np.array_equal(source.load(np.arange(len(expected))), plain)


def square(image: np.ndarray) -> np.ndarray:
    """8 x 10 pixels at size 6, by Pillow alone."""
    resized = Image.fromarray(image).resize((7, 6), Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((0, 0, 6, 6)))


@pytest.mark.parametrize("below", ["", "ILSVRC/Data/CLS-LOC"], ids=["plain", "kaggle"])
@pytest.mark.parametrize("labels_file", ["csv", "synsets", "numbers", "devkit"])
def test_the_flat_validation_set(tmp_path, pixels, png, below, labels_file):
    write_train(tmp_path / below, pixels, png)
    write_flat(tmp_path / below, pixels, png)
    if labels_file == "csv":
        lines = [
            f"{Path(FLAT[i]).stem},{SYNSETS[VAL[i]]} 1 2 3 4 {SYNSETS[0]}" for i in (2, 0, 3, 1)
        ]
        (tmp_path / "LOC_val_solution.csv").write_text("ImageId,P\n" + "\n".join(lines))
    elif labels_file == "synsets":
        text = "\n".join(SYNSETS[label] for label in VAL)
        (tmp_path / "imagenet_2012_validation_synset_labels.txt").write_text(text + "\n")
    elif labels_file == "numbers":
        lines = [f"{name} {label}" for name, label in zip(FLAT, VAL, strict=True)]
        (tmp_path / "val.txt").write_text("\n".join(lines[::-1]))
    else:
        data = tmp_path / "ILSVRC2012_devkit_t12" / "data"
        data.mkdir(parents=True)
        (data / "ILSVRC2012_validation_ground_truth.txt").write_text("3\n2\n1\n3\n")
        write_meta(data / "meta.mat")
    check(tmp_path, pixels)
    check(tmp_path, pixels, split="train", expected=(0, 0, 1, 1, 2, 2))


def test_folders_of_classes(tmp_path, pixels, png):
    write_train(tmp_path, pixels, png)
    for index, label in ((6, 0), (7, 2)):
        folder = tmp_path / "val" / SYNSETS[label]
        folder.mkdir(parents=True)
        (folder / f"{index}.JPEG").write_bytes(png(pixels[index]))
    check(tmp_path, pixels, expected=(0, 2))
    (tmp_path / "val").rename(tmp_path / "away")
    alone = open_source("imagenet", root=tmp_path / "away", split="test")
    assert (alone.size, alone.class_names) == ((224, 224), (SYNSETS[0], SYNSETS[2]))


def test_the_official_archives(tmp_path, pixels, png, make_tar):
    parts = []
    for label, synset in enumerate(SYNSETS):
        members = [(f"{synset}_{i}.JPEG", png(pixels[i])) for i in (2 * label, 2 * label + 1)]
        parts.append((f"{synset}.tar", make_tar(members)))
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(make_tar(parts))
    flat = [(name, png(pixels[6 + index])) for index, name in enumerate(FLAT)]
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(make_tar(flat))
    check(tmp_path, pixels, split="train", expected=(0, 0, 1, 1, 2, 2))
    with pytest.raises(RunError, match="lies in no folder of its class: expected one of LOC_val_"):
        open_source("imagenet", root=tmp_path, split="test")
    labels_file = tmp_path / "imagenet_2012_validation_synset_labels.txt"
    labels_file.write_text("\n".join(SYNSETS[label] for label in VAL))
    check(tmp_path, pixels)
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(make_tar(flat[::-1]))  # listed by name still
    source = open_source("imagenet", root=tmp_path, split="test", size=6)
    assert source.labels.tolist() == list(VAL)[::-1]


def test_shards_of_the_hub(tmp_path, pixels, png):
    (tmp_path / "data").mkdir()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": png(pixels[6 + index]), "path": None} for index in range(4)]
    for shard in range(2):
        part = slice(2 * shard, 2 * shard + 2)
        columns = {"image": pa.array(cells[part], kind), "label": pa.array(list(VAL[part]))}
        pq.write_table(
            pa.table(columns), tmp_path / "data" / f"validation-0000{shard}-of-00002.parquet"
        )
    source = open_source("imagenet", root=tmp_path, split="test", size=6)
    assert (source.name, source.labels.tolist()) == ("imagenet", list(VAL))
    assert np.array_equal(source.load(np.array([2]))[0], square(pixels[8]))


@pytest.mark.parametrize(
    ("name", "text", "classes", "message"),
    [
        (
            "val.txt",
            "a.JPEG 0",
            SYNSETS,
            "expected a line for each of 2 images, got none for b.JPEG",
        ),
        ("val.txt", "a.JPEG 0\nb.JPEG", SYNSETS, "expected 'image class', got 'b.JPEG'"),
        ("val.txt", "a.JPEG 0\nb.JPEG 3", SYNSETS, "expected numbers 0..2 for the 3 classes"),
        ("val.txt", "a.JPEG 0\nb.JPEG 1", (), "numbers need to know the synsets; put the class"),
        ("val.txt", "a.JPEG 0\nb.JPEG n01440764", SYNSETS, "expected synsets .*got '0'"),
        ("val.txt", "a.JPEG x\nb.JPEG 1", SYNSETS, "expected synsets .*got 'x'"),
        ("other.txt", "n01440764", SYNSETS, "expected a line for each of 2 images, got 1"),
        ("other.txt", "n01440764\nn00000001", SYNSETS, "the 3 classes .*, got n00000001 besides"),
        ("ILSVRC2012_validation_ground_truth.txt", "1\n2", (), "cannot read .*meta.mat"),
    ],
)
def test_listings_that_do_not_fit_are_refused(tmp_path, name, text, classes, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(RunError, match=message):
        load_labels(tmp_path / name, ["a.JPEG", "b.JPEG"], classes)


def test_ids_beyond_the_devkits_table(tmp_path):
    path = tmp_path / "ILSVRC2012_validation_ground_truth.txt"
    path.write_text("1\n1001")
    write_meta(tmp_path / "meta.mat")
    with pytest.raises(RunError, match="expected ids of meta.mat, got '1001'"):
        load_labels(path, ["a", "b"], ())


def test_nothing_there_names_the_forms(tmp_path):
    with pytest.raises(RunError, match=r"no split 'train': expected train/n01440764/.*train\*.tar"):
        open_source("imagenet", root=tmp_path)
    with pytest.raises(RunError, match="nowhere does not exist; name the folder of ImageNet"):
        open_source("imagenet", root=tmp_path / "nowhere")
