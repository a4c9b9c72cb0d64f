"""Mixtures, class mappings, and overlap of training and test images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmix.data.derived import (
    ClassList,
    check_disjoint,
    find_shared,
    hold_out,
    load_class_list,
    map_classes,
    match_classes,
    mix,
    name_classes,
    open_stylised,
    subset,
    take,
)
from augmix.data.sources import Source, open_source
from augmix.errors import RunError

NAMES = np.array(["ant", "bee", "cow"])


def write(path: Path, count: int, *, seed: int, size: int = 6, names=NAMES, channels: int = 3):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    labels = np.arange(count) % len(names)
    np.savez(path, images=images, labels=labels, class_names=names)
    return images, labels


def open_npz(path: Path) -> Source:
    return open_source("npz", root=path, split="train")


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Source, Source]:
    write(tmp_path / "train.npz", 5, seed=0)
    write(tmp_path / "other.npz", 4, seed=1)
    return open_npz(tmp_path / "train.npz"), open_npz(tmp_path / "other.npz")


def test_images_and_labels_come_from_their_part(parts):
    first, second = parts
    both = mix(first, second)
    assert len(both) == 9
    ids = np.array([8, 0, 5, 4, 5, 2])
    images = both.load(ids)
    for image, number in zip(images, ids, strict=True):
        part, row = (first, number) if number < 5 else (second, number - 5)
        np.testing.assert_array_equal(image, part.load(np.array([row]))[0])
        assert both.labels[number] == part.labels[row]
    assert both.load(np.array([], np.int64)).shape == (0, 6, 6, 3)
    with pytest.raises(IndexError):
        both.load(np.array([9]))


def test_it_is_a_source_like_the_first(parts):
    both = mix(*parts)
    assert isinstance(both, Source)
    for name in ("name", "split", "class_names", "size", "channels", "crop_padding", "flip"):
        assert getattr(both, name) == getattr(parts[0], name)
    assert both.num_classes == 3
    assert both.skipped == ()
    assert len(take(both, 4)) == 4
    np.testing.assert_array_equal(
        subset(both, np.array([6])).load(np.array([0])), parts[1].load(np.array([1]))
    )


def test_the_fingerprint_tells_of_both_parts_and_their_shares(parts):
    first, second = parts
    prints = [
        mix(first, second).fingerprint,
        mix(second, first).fingerprint,
        mix(first, first).fingerprint,
        mix(first, subset(second, np.arange(3))).fingerprint,
        mix(subset(first, np.arange(4)), second).fingerprint,
        first.fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert mix(first, second).fingerprint == prints[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": NAMES[:2]}, "expected classes 3, got 2 in source 'npz'"),
        ({"names": NAMES[::-1]}, "expected class 0 ant, got cow in source"),
        ({"size": 7}, r"height and width \(6, 6\), got \(7, 7\)"),
        ({"channels": 1}, "expected channels 3, got 1"),
    ],
    ids=["number", "names", "size", "channels"],
)
def test_what_does_not_fit_is_refused(parts, tmp_path: Path, changes, message: str):
    write(tmp_path / "wrong.npz", 4, seed=1, **changes)
    with pytest.raises(RunError, match=message):
        mix(parts[0], open_npz(tmp_path / "wrong.npz"))


def test_stylised_sets_in_every_layout(parts, tmp_path: Path):
    first = parts[0]
    images, labels = write(tmp_path / "archive.npz", 4, seed=7)
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "train.npz", 4, seed=7)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        parent = tmp_path / "tree" / str(NAMES[label])
        parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(parent / f"{number}.png")
    for name in ("archive.npz", "folder", "tree"):
        found = mix(first, open_stylised(tmp_path / name, first))
        loaded = found.load(np.arange(5, 9))
        order = [0, 3, 1, 2] if name == "tree" else [0, 1, 2, 3]  # trees go class by class
        np.testing.assert_array_equal(loaded, images[order])
        np.testing.assert_array_equal(found.labels[5:], labels[order])


def test_a_missing_stylised_set_is_named(parts, tmp_path: Path):
    with pytest.raises(RunError, match="nowhere"):
        open_stylised(tmp_path / "nowhere", parts[0])


def test_an_unsplit_folder_is_recognised(folder):
    root = (folder / "train").rename(folder.parent / "anything")
    train, test = (open_source("folder", root=root, split=split) for split in ("train", "test"))
    with pytest.raises(
        RunError, match="'test' images of source 'folder' are those .*--allow-train"
    ):
        check_disjoint(train.fingerprint, test)


def test_splits_are_told_apart(folder):
    train, test = (open_source("folder", root=folder, split=split) for split in ("train", "test"))
    check_disjoint(train.fingerprint, test)
    check_disjoint(train.fingerprint, test, max_train_images=3)


def test_parts_and_mappings_of_the_training_set(folder):
    train = open_source("folder", root=folder)
    classes = ClassList(path="list", names=(("bee",), ("ant",)))
    part = subset(train, np.array([1, 5]))
    for fingerprint, test, limit in (
        (train.fingerprint, part, 0),
        (train.fingerprint, map_classes(train, classes), 0),
        (train.fingerprint, subset(map_classes(train, classes), np.array([0])), 0),
        (take(train, 3).fingerprint, train, 3),
        (take(train, 3).fingerprint, part, 3),
    ):
        with pytest.raises(RunError, match="those the model was trained on"):
            check_disjoint(fingerprint, test, max_train_images=limit)
    check_disjoint(take(train, 3).fingerprint, train, max_train_images=4)


CLASS_LIST = "# animals\n0 n10 cow\n\n1 n20 ant\n3 n30 bee, the honey bee\n"


@pytest.fixture
def class_list(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text(CLASS_LIST)
    return path


def test_a_class_list_is_read(class_list):
    classes = load_class_list(class_list)
    assert classes.names == (("n10", "cow"), ("n20", "ant"), (), ("n30", "bee, the honey bee"))
    assert classes.num_classes == 4


def test_a_source_takes_the_models_labels(folder, class_list):
    class_list.write_text("7 n20 ant\n2 n30 bee\n0 n10 cow\n")
    source = open_source("folder", root=folder, split="test")
    mapped = map_classes(source, load_class_list(class_list))
    assert isinstance(mapped, Source)
    assert mapped.labels.tolist() == [7, 7, 2, 2]
    assert mapped.num_classes == 8
    assert mapped.class_names[:3] == ("cow", "class 1", "bee")
    ids = np.array([3, 0])
    assert np.array_equal(mapped.load(ids), source.load(ids))
    assert mapped.fingerprint != source.fingerprint
    assert (len(mapped), mapped.size, mapped.split, mapped.name) == (4, (8, 10), "test", "folder")


def test_the_first_name_stands_above_a_second_one():
    """ImageNet: 134 is crane_bird and 517 crane; a folder named as a synset is never mistaken."""
    classes = ClassList(path="list", names=(("crane", "bird"), ("machine", "crane"), ("x", "x")))
    assert match_classes(("crane", "machine", "x"), classes).tolist() == [0, 1, 2]


def test_a_name_of_two_classes_cannot_be_used():
    classes = ClassList(path="list", names=(("n1", "crane"), ("n2", "crane")))
    with pytest.raises(RunError, match="but not 'crane' of the source's 1"):
        match_classes(("crane",), classes)


def test_unknown_names_are_refused(class_list):
    with pytest.raises(
        RunError, match="lists 3 classes, but not 'n31' of the source's 2, did you mean 'n30'"
    ):
        match_classes(("n10", "n31"), load_class_list(class_list))
    with pytest.raises(RunError, match="'a', 'b', 'c', 'd', 'e' and 1 more of the source's 6"):
        match_classes(tuple("abcdef"), load_class_list(class_list))


def test_two_names_of_one_class_are_refused(class_list):
    with pytest.raises(RunError, match="'n20' and 'ant' of the source are both class 1"):
        match_classes(("n20", "ant"), load_class_list(class_list))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n01440764 tench\n", "line 1: expected 'index synset name' .* got 'n01440764 tench'"),
        ("0\n", "line 1: expected"),
        ("0 a\n0 b\n", "line 2: index 0 is there already"),
        ("0 a\n1 a\n", "'a' is the name of both class 0 and class 1"),
        ("99999999 a\n", "line 1: expected"),
        ("# nothing\n", "expected lines 'index synset name', got none"),
    ],
)
def test_wrong_class_lists(class_list, text, message):
    class_list.write_text(text)
    with pytest.raises(RunError, match=message):
        load_class_list(class_list)


def test_a_missing_listing(tmp_path):
    with pytest.raises(RunError, match="nowhere.txt does not exist; name one with --class-list"):
        load_class_list(tmp_path / "nowhere.txt")
    with pytest.raises(RunError, match="cannot read the class list"):
        load_class_list(tmp_path)


def test_names_that_macos_wrote_are_the_same_names():
    classes = name_classes(["cafe\u0301", "bar"], where="run")
    assert match_classes(("bar", "caf\u00e9"), classes).tolist() == [1, 0]


def test_real_photographs(real_data):
    root = real_data / "imagenet-samples"
    source = open_source("folder", root=root, split="val", size=32)
    mapped = map_classes(source, load_class_list(root / "classes.txt"))
    assert mapped.labels.tolist() == list(range(0, 1000, 5))
    assert mapped.num_classes == 1000
    assert mapped.class_names[134] == "crane_bird"


def classes_of(source: Source, counts: list[int]) -> Source:
    """Some images of a source of three classes, so many of each class."""
    ids = [np.flatnonzero(source.labels == label)[:count] for label, count in enumerate(counts)]
    return subset(source, np.sort(np.concatenate(ids)))


@pytest.fixture
def sixty(tmp_path: Path) -> Source:
    write(tmp_path / "sixty.npz", 60, seed=0)
    return open_npz(tmp_path / "sixty.npz")


@pytest.mark.parametrize(
    ("counts", "fraction", "held"),
    [
        ([20, 20, 20], 0.1, [2, 2, 2]),
        ([20, 10, 4], 0.25, [5, 2, 1]),  # 8.5 of 34 images
        ([20, 1, 1], 0.1, [2, 0, 0]),  # a class keeps an image to train on
        ([2, 2, 2], 0.9, [1, 1, 1]),
        ([3, 3, 3], 0.1, [1, 0, 0]),
    ],
)
def test_every_class_gives_its_part(
    sixty: Source, counts: list[int], fraction: float, held: list[int]
) -> None:
    source = classes_of(sixty, counts)
    rest, out = hold_out(source, fraction)
    assert np.bincount(out.labels, minlength=3).tolist() == held
    assert (np.bincount(rest.labels, minlength=3) + held).tolist() == counts
    assert out.split == "val"
    both = np.concatenate([each.load(np.arange(len(each))) for each in (rest, out)])
    whole = source.load(np.arange(len(source)))
    assert sorted(map(bytes, both)) == sorted(map(bytes, whole))
    assert hold_out(source, fraction)[1].fingerprint == out.fingerprint


def test_nothing_to_hold_out(sixty: Source) -> None:
    with pytest.raises(RunError, match=r"0.1 of 3 images in 3 classes leaves no image"):
        hold_out(classes_of(sixty, [1, 1, 1]), 0.1)


def test_a_copy_of_a_trained_image_is_not_held_out(tmp_path: Path) -> None:
    images, labels = write(tmp_path / "once.npz", 30, seed=0)
    out = hold_out(open_npz(tmp_path / "once.npz"), 0.2)[1]
    assert len(out) == 6
    held = {bytes(image) for image in out.load(np.arange(6))}
    others = [i for i in range(30) if bytes(images[i]) not in held]
    images[others[0]] = out.load(np.array([0]))[0]
    np.savez(tmp_path / "twice.npz", images=images, labels=labels, class_names=NAMES)
    rest, out = hold_out(open_npz(tmp_path / "twice.npz"), 0.2)
    assert (len(rest), len(out)) == (25, 5)
    assert not len(find_shared(rest, out))


def test_shared_files_are_found_by_their_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for place in ("one/a/0", "one/b/1", "two/a/2", "two/a/3", "two/b/4"):
        path = tmp_path / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    (tmp_path / "two/b/5.png").write_bytes((tmp_path / "one/a/0.png").read_bytes())
    one, two = (open_source("folder", root=tmp_path / name) for name in ("one", "two"))
    assert [two.files[index] for index in find_shared(one, two)] == ["b/5.png"]
    assert [one.files[index] for index in find_shared(two, one)] == ["a/0.png"]
    assert not len(find_shared(one, subset(two, np.arange(3))))


def test_stylised_copies_in_another_order_of_classes_are_mapped(tmp_path: Path):
    """Class folders are in the order of their names, the images list theirs as they like."""
    images, labels = write(tmp_path / "train.npz", 6, seed=0, size=8, names=NAMES[[2, 0, 1]])
    source = open_npz(tmp_path / "train.npz")
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "sin" / "train" / str(source.class_names[label])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index}.png")
    copies = open_stylised(tmp_path / "sin", source)
    assert copies.class_names == source.class_names
    both = mix(source, copies)
    for number in range(6, 12):
        image = both.load(np.array([number]))[0]
        (twin,) = [i for i in range(6) if np.array_equal(images[i], image)]
        assert both.labels[number] == both.labels[twin]
    (tmp_path / "sin" / "train" / "bee").rename(tmp_path / "sin" / "train" / "wasp")
    with pytest.raises(RunError, match="sets that are mixed must agree"):
        mix(source, open_stylised(tmp_path / "sin", source))
