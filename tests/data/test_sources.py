import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from augmix.data.decode import Geometry
from augmix.data.derived import subset, take
from augmix.data.sources import (
    SOURCES,
    Source,
    as_source,
    name_source,
    open_source,
    register_source,
)
from augmix.data.stores import OpenOptions
from augmix.errors import RunError

OPTIONS = OpenOptions(name="dataset", split="test")
FIRST_TEST_LABELS = [1, 5, 7, 6, 3, 5, 6, 1, 7, 7, 8, 0]  # golden: the split must never change


@pytest.fixture(scope="module")
def digits() -> Source:
    return open_source("digits", split="test")


def test_digits_are_scikit_learns(digits):
    from sklearn.datasets import load_digits

    raw = load_digits()
    train = open_source("digits")
    assert (len(train), len(digits)) == (1400, 397)
    assert (digits.size, digits.channels, digits.num_classes) == ((32, 32), 3, 10)
    assert (digits.flip, digits.crop_padding) == (False, 4)
    assert digits.class_names == tuple("0123456789")

    def enlarge(levels: np.ndarray) -> bytes:
        small = Image.fromarray(np.round(levels * 255 / 16).astype(np.uint8))
        return np.asarray(small.resize((32, 32), Image.Resampling.BILINEAR)).tobytes()

    known = {enlarge(levels): number for number, levels in enumerate(raw.images)}
    assert len(known) == 1797  # all differ
    seen = []
    for source in (train, digits):
        images = source.load(np.arange(len(source)))
        assert np.array_equal(images[..., 0], images[..., 1])
        assert np.array_equal(images[..., 0], images[..., 2])
        numbers = [known[image[..., 0].tobytes()] for image in images]
        assert np.array_equal(source.labels, raw.target[numbers])
        seen += numbers
    assert sorted(seen) == list(range(1797))


def test_the_split_is_random_but_fixed(digits):
    assert digits.labels[:12].tolist() == FIRST_TEST_LABELS
    assert np.bincount(digits.labels).min() > 25
    assert digits.fingerprint == open_source("digits", split="test").fingerprint
    assert digits.fingerprint != open_source("digits").fingerprint


def test_digits_at_another_size():
    source = open_source("digits", split="test", size=8)
    assert source.load(np.array([0])).shape == (1, 8, 8, 3)
    assert source.crop_padding == 1


def test_digits_without_scikit_learn_name_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(RunError, match=r"scikit-learn needs sklearn.*pip install 'scikit-learn>="):
        open_source("digits")


def test_every_source_has_the_same_face(digits, folder, cifar10, monkeypatch):
    lazy = open_source("cifar10", root=cifar10, split="test")
    monkeypatch.setattr("augmix.data.stores.MEMORY_BYTES", 100)
    for source in (digits, take(digits, 3), lazy, open_source("folder", root=folder)):
        assert isinstance(source, Source)
        assert source.labels.dtype == np.int64
        assert len(source.fingerprint) == 64
        assert source.load(np.array([1, 1])).shape == (2, *source.size, source.channels)


def test_images_are_copies_and_ids_are_checked(digits):
    images = digits.load(np.array([0]))
    images[:] = 0
    assert digits.load(np.array([0])).any()
    for wrong in (-1, 397):
        with pytest.raises(IndexError, match=f"image ids must be 0..396, got .*{wrong}"):
            digits.load(np.array([wrong]))


def test_a_subset_is_renumbered(digits):
    some = subset(digits, np.array([7, 3, 100]))
    assert np.array_equal(some.labels, digits.labels[[7, 3, 100]])
    assert np.array_equal(some.load(np.array([2, 0])), digits.load(np.array([100, 7])))
    assert (len(some), some.name, some.split, some.num_classes) == (3, "digits", "test", 10)
    assert (
        len({digits.fingerprint, some.fingerprint, subset(digits, np.array([7, 3])).fingerprint})
        == 3
    )
    with pytest.raises(IndexError, match=r"image ids must be 0..2, got 3..3"):
        some.load(np.array([3]))
    with pytest.raises(IndexError, match=r"image ids must be 0..396"):
        subset(digits, np.array([400]))
    with pytest.raises(ValueError, match="a subset needs at least one id"):
        subset(digits, np.array([], int))


def test_a_random_subset_grows_with_its_count(digits):
    def chosen(count: int, seed: int) -> set[int]:
        marked = subset(digits, np.arange(397))
        part = take(marked, count, seed=seed)
        assert list(part.ids) == sorted(part.ids)
        return set(part.ids.tolist())

    assert chosen(10, 0) == chosen(10, 0)
    assert chosen(10, 0) < chosen(50, 0)
    assert chosen(50, 0) != chosen(50, 1)
    assert len(chosen(50, 0)) == 50
    assert take(digits, 397) is digits
    assert take(digits, 10**6) is digits
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        take(digits, 0)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cifar-10", {}, "source must be one of digits, .*got 'cifar-10', did you mean 'cifar10'"),
        ("digits", {"split": "dev"}, "split must be one of train, test, val, got 'dev'"),
        ("digits", {"size": -1}, r"size must be 0 .as stored. or 1..4096 pixels, got -1"),
        ("digits", {"size": 5000}, r"or 1..4096 pixels, got 5000"),
        ("digits", {"num_threads": -1}, "num_threads must be 0 .all processors. or more, got -1"),
        ("folder", {"download": True}, "download is for cifar10 and cifar100, got 'folder'"),
    ],
)
def test_refused_arguments(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        open_source(name, **arguments)


@pytest.mark.parametrize("name", ["folder", "parquet", "npz"])
def test_a_source_on_disk_needs_its_folder(name):
    assert name in SOURCES
    with pytest.raises(RunError, match=f"source {name} needs to know where its data lies"):
        open_source(name)


def test_digits_have_no_validation_split():
    with pytest.raises(RunError, match="digits has the splits train and test, got 'val'"):
        open_source("digits", split="val")


class Stripes:
    """A user's data set: image i is filled with i."""

    def __init__(self, path, split):
        self.labels = [0, 1, 1] if split == "train" else [1]

    def __len__(self):
        return len(self.labels)

    def images(self, ids):
        return np.stack([np.full((8, 6, 3), index, np.uint8) for index in ids])


@pytest.fixture
def stripes():
    register_source("stripes", reads="nothing", needs_data=False)(Stripes)
    yield "stripes"
    SOURCES.pop("stripes")


def test_a_registered_source_is_opened_like_any_other(stripes):
    source = open_source("stripes")
    assert "stripes" in SOURCES
    assert (source.name, source.split, len(source)) == ("stripes", "train", 3)
    assert (source.num_classes, source.class_names) == (2, ("0", "1"))
    assert source.load(np.array([2, 1]))[:, 0, 0, 0].tolist() == [2, 1]
    assert open_source("stripes", size=4).size == (4, 4)
    assert open_source("stripes", split="test").fingerprint != source.fingerprint
    with pytest.raises(ValueError, match="there is a source 'stripes' already"):
        register_source("stripes")(Stripes)


class Pairs(torch.utils.data.Dataset):
    """A torch data set of (image, label)."""

    def __init__(self, images, labels):
        self.pairs = list(zip(images, labels, strict=True))

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index]


def test_torch_data_sets_of_every_kind_of_image(pixels):
    """PIL images, arrays and tensors give the same source."""
    labels = [0, 2, 1, 0]
    kinds = [
        [Image.fromarray(image) for image in pixels[:4]],
        list(pixels[:4]),
        [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in pixels[:4]],
    ]
    sources = [
        as_source(Pairs(images, labels), OpenOptions(name="mine", split="val")) for images in kinds
    ]
    for source in sources:
        assert np.array_equal(source.load(np.array([3, 0])), pixels[[3, 0]])
        assert source.labels.tolist() == labels
        assert (source.name, source.split, source.class_names) == ("mine", "val", ("0", "1", "2"))
        assert source.fingerprint == sources[0].fingerprint
    named = Pairs(kinds[1], labels)
    named.classes, named.targets = ["ant", "bee", "cat"], torch.tensor(labels)
    assert as_source(named, OPTIONS).class_names == ("ant", "bee", "cat")
    assert as_source(sources[0], OPTIONS) is sources[0]


@pytest.mark.parametrize("memory", [2**30, 100], ids=["held", "lazy"])
def test_torch_data_sets_are_resized_and_read_on_threads(pixels, memory, monkeypatch):
    monkeypatch.setattr("augmix.data.stores.MEMORY_BYTES", memory)
    data = Pairs([image[..., 0] for image in pixels], [0] * 12)
    source = as_source(data, replace(OPTIONS, geometry=Geometry(size=4)))
    assert source.load(np.arange(12)).shape == (12, 4, 4, 1)


def test_data_of_other_forms_is_refused(pixels):
    with pytest.raises(TypeError, match=r"a torch Dataset of \(image, label\), .*, got int"):
        as_source(3, OPTIONS)
    beyond = Pairs(list(pixels[:2] / 25), [0, 1])  # floats are taken in [0, 1] only
    with pytest.raises(RunError, match="source dataset, image 0: expected a PIL image, a uint8"):
        as_source(beyond, OPTIONS)
    with pytest.raises(RunError, match=r"source dataset: expected labels 0..999999, got -1"):
        as_source(Pairs(list(pixels[:2]), [0, -1]), OPTIONS)


def test_every_kind_says_what_it_reads():
    assert all(kind.reads for kind in SOURCES.values())
    assert [name_source(f"set{ending}") for ending in (".TAR", ".npz", ".parquet", "")] == [
        *("tar", "npz", "parquet", "folder")
    ]


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["train/ant/1.png", "val/ant/1.png", "train.npz", "x.tar"], "folder"),
        (["ant/1.png", "bee/1.png", "images.parquet"], "folder"),
        (["ant/1.png", "labels.csv"], "folder"),
        (["default/train/0000.parquet", "default/test/0000.parquet"], "parquet"),
        (["data/train-00000-of-00001.parquet", "README.md"], "parquet"),
        (["train/0.tar", "val/0.tar"], "tar"),
        (["shard-0.tar"], "tar"),
        (["train.npz", "test.npz"], "npz"),
        (["cifar-10-batches-py/test_batch"], "cifar10"),
        (["cifar-100-python/train", "cifar-100-python/test"], "cifar100"),
    ],
)
def test_the_form_of_a_folder_is_seen_from_what_it_holds(tmp_path, files, kind):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    assert name_source(str(tmp_path)) == kind
