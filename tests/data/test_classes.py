from pathlib import Path

import numpy as np
import pytest

from augmix.data.classes import ClassList, load_class_list, map_classes, match_classes
from augmix.data.sources import Source, open_source
from augmix.errors import RunError

LISTING = "# animals\n0 n10 cow\n\n1 n20 ant\n3 n30 bee, the honey bee\n"


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text(LISTING)
    return path


def test_a_listing_is_read(listing):
    classes = load_class_list(listing)
    assert classes.names == (("n10", "cow"), ("n20", "ant"), (), ("n30", "bee, the honey bee"))
    assert classes.num_classes == 4


def test_a_source_takes_the_models_labels(folder, listing):
    listing.write_text("7 n20 ant\n2 n30 bee\n0 n10 cow\n")
    source = open_source("folder", root=folder, split="test")
    mapped = map_classes(source, load_class_list(listing))
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


def test_unknown_names_are_told(listing):
    with pytest.raises(
        RunError, match="lists 3 classes, but not 'n31' of the source's 2, did you mean 'n30'"
    ):
        match_classes(("n10", "n31"), load_class_list(listing))
    with pytest.raises(RunError, match="'a', 'b', 'c', 'd', 'e' and 1 more of the source's 6"):
        match_classes(tuple("abcdef"), load_class_list(listing))


def test_two_names_of_one_class_are_refused(listing):
    with pytest.raises(RunError, match="'n20' and 'ant' of the source are both class 1"):
        match_classes(("n20", "ant"), load_class_list(listing))


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
def test_wrong_listings(listing, text, message):
    listing.write_text(text)
    with pytest.raises(RunError, match=message):
        load_class_list(listing)


def test_a_missing_listing(tmp_path):
    with pytest.raises(RunError, match="nowhere.txt does not exist; name one with --class-list"):
        load_class_list(tmp_path / "nowhere.txt")
    with pytest.raises(RunError, match="cannot read the class list"):
        load_class_list(tmp_path)


def test_real_photographs(real_data):
    root = real_data / "imagenet-samples"
    source = open_source("folder", root=root, split="val", size=32)
    mapped = map_classes(source, load_class_list(root / "classes.txt"))
    assert mapped.labels.tolist() == list(range(0, 1000, 5))
    assert mapped.num_classes == 1000
    assert mapped.class_names[134] == "crane_bird"
