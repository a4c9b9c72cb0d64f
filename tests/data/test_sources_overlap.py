import numpy as np
import pytest

from augmix.data.classes import ClassList, map_classes
from augmix.data.sources import check_disjoint, open_source, overlaps, subset, take
from augmix.errors import RunError


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
    assert overlaps(train.fingerprint, part)
    assert overlaps(train.fingerprint, map_classes(train, classes))
    assert overlaps(train.fingerprint, subset(map_classes(train, classes), np.array([0])))
    assert overlaps(take(train, 3).fingerprint, train, max_train_images=3)
    assert overlaps(take(train, 3).fingerprint, part, max_train_images=3)
    assert not overlaps(take(train, 3).fingerprint, train, max_train_images=4)
