import io
import json
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from augmix.data import parquet, stores
from augmix.data.sources import open_source
from augmix.errors import RunError


def make_table(cells, labels, image="img", label="label", names=None, kind="struct"):
    """A table in the Hub's layout."""
    if kind == "struct":
        cells = [cell if cell is None else {"bytes": cell, "path": None} for cell in cells]
        column = pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    else:
        column = pa.array(cells, kind)
    table = pa.table({image: column, label: pa.array(labels)})
    if names is None:
        return table
    features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
    text = json.dumps({"info": {"features": features}})
    return table.replace_schema_metadata({"huggingface": text})


@pytest.fixture
def cells(pixels, png):
    return [png(image) for image in pixels]


@pytest.mark.parametrize("kind", ["struct", pa.binary(), pa.large_binary()], ids=str)
def test_columns_labels_and_names(tmp_path, cells, pixels, kind):
    path = tmp_path / "train.parquet"
    pq.write_table(make_table(cells, [1, 0] * 6, names=["cat", "dog", "owl"], kind=kind), path)
    for root in (tmp_path, path):
        source = open_source("parquet", root=root)
        assert source.class_names == ("cat", "dog", "owl")
        assert source.labels.tolist() == [1, 0] * 6
        assert source.labels.dtype == np.int64
        assert np.array_equal(source.load(np.array([11, 2])), pixels[[11, 2]])


@pytest.mark.parametrize("subfolder", ["", "data", "plain_text", "default"])
def test_shards_in_order_below_the_usual_folders(tmp_path, cells, pixels, subfolder):
    (tmp_path / subfolder).mkdir(exist_ok=True)
    for shard, start in enumerate((0, 5, 7)):
        part = make_table(
            cells[start:][: (5, 2, 5)[shard]], list(range(start, start + (5, 2, 5)[shard]))
        )
        pq.write_table(part, tmp_path / subfolder / f"train-{shard:05d}-of-00003.parquet")
    pq.write_table(make_table(cells[:1], [12]), tmp_path / subfolder / "validation.parquet")
    source = open_source("parquet", root=tmp_path)
    assert source.labels.tolist() == list(range(12))
    assert np.array_equal(source.load(np.arange(12)), pixels)
    test = open_source("parquet", root=tmp_path, split="test")
    assert source.num_classes == test.num_classes == 13  # both splits count

    (tmp_path / subfolder / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(
        RunError, match="expected 3 files like .*train-00000-of-00003.*got 2; fetch"
    ):
        open_source("parquet", root=tmp_path)


def test_a_missing_split_names_what_is_there(tmp_path, cells):
    pq.write_table(make_table(cells[:1], [0]), tmp_path / "train.parquet")
    with pytest.raises(
        RunError, match="no split 'test': expected test.parquet or .*got train.parquet"
    ):
        open_source("parquet", root=tmp_path, split="test")
    with pytest.raises(RunError, match="expected data of split 'test', got .*train.parquet, named"):
        open_source("parquet", root=tmp_path / "train.parquet", split="test")
    with pytest.raises(RunError, match="nowhere does not exist"):
        open_source("parquet", root=tmp_path / "nowhere")


def test_a_truncated_file_is_named(tmp_path, cells):
    path = tmp_path / "train.parquet"
    pq.write_table(make_table(cells, [0] * 12), path)
    content = path.read_bytes()
    for broken in (b"", content[:1000], content[:-3], content[:500] + bytes(900) + content[1400:]):
        path.write_bytes(broken)
        with pytest.raises(
            RunError, match=f"cannot read {path}: .*may be truncated|cannot use image"
        ):
            open_source("parquet", root=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image": "picture"},
            "expected the image column image or img, got columns picture, label",
        ),
        ({"label": "target"}, "expected the label column label or .*, got columns img, target"),
        ({"labels": [0.5] * 12}, "expected whole numbers in column 'label', got double"),
        (
            {"labels": [0, None] * 6},
            "6 of 12 labels are empty cells, first in row 1; .*--on-error skip",
        ),
        (
            {"labels": pa.array([None] * 12, pa.int64())},
            "expected whole numbers in column 'label', got int64 with 12 empty",
        ),
        (
            {"labels": [0, -1] * 6},
            r"expected labels 0..\d+, got -1 at index 1 .6 wrong.*unlabelled",
        ),
        ({"labels": [0, 2**40] * 6}, "expected labels 0..999999, got 1099511627776 at index 1"),
        (
            {"labels": [0, 2] * 6, "names": ["a", "b"]},
            "expected labels 0..1, got 2 .*names 2 classes",
        ),
        ({"kind": pa.string(), "cells": ["a.png"] * 12}, "expected images as binary or struct"),
        (
            {"cells": [], "labels": pa.array([], pa.int64())},
            "expected at least one image, got none",
        ),
    ],
)
def test_tables_of_another_form_are_named(tmp_path, cells, changes, message):
    changes = {"cells": cells, "labels": [0] * 12, **changes}
    pq.write_table(make_table(**changes), tmp_path / "train.parquet")
    with pytest.raises(RunError, match=f"train.parquet.*{message}"):
        open_source("parquet", root=tmp_path)


def test_broken_metadata_is_named(tmp_path, cells):
    table = make_table(cells, [0] * 12).replace_schema_metadata({"huggingface": "{"})
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(RunError, match="the schema's 'huggingface' metadata is broken"):
        open_source("parquet", root=tmp_path)


def test_broken_and_empty_cells(tmp_path, cells, pixels):
    cells = [*cells[:3], None, b"broken", *cells[5:]]
    pq.write_table(make_table(cells, list(range(12))), tmp_path / "train.parquet")
    with pytest.raises(RunError, match=r"train.parquet, row 3 .index 3.: .*got an empty cell"):
        open_source("parquet", root=tmp_path)
    source = open_source("parquet", root=tmp_path, on_error="skip")
    assert source.labels.tolist() == [0, 1, 2, *range(5, 12)]
    assert [name.split()[-1] for name, _ in source.skipped] == ["3", "4"]
    assert np.array_equal(source.load(np.array([3])), pixels[[5]])


@pytest.mark.parametrize("is_text", [False, True])
@pytest.mark.parametrize("is_large", [False, True])
def test_rows_without_a_label_are_left_out(tmp_path, cells, pixels, monkeypatch, is_text, is_large):
    cells = [*cells[:3], None, *cells[4:]]
    labels = [7, None, 3, 3, 5, None, *range(6)]
    known = sorted({*labels} - {None})
    names = {number: f"class {number}" for number in known} if is_text else {}
    table = make_table(cells, [names.get(each, each) for each in labels])
    pq.write_table(table, tmp_path / "test.parquet")
    if is_large:
        monkeypatch.setattr(parquet, "MEMORY_BYTES", 0)
        monkeypatch.setattr(stores, "MEMORY_BYTES", 0)
        monkeypatch.setenv("AUGMIX_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RunError, match="2 of 12 labels are empty cells, first in row 1"):
        open_source("parquet", root=tmp_path, split="test")
    source = open_source("parquet", root=tmp_path, split="test", on_error="skip")
    kept = [0, 2, 4, *range(6, 12)]
    expected = [labels[row] for row in kept]
    assert source.labels.tolist() == [known.index(n) if is_text else n for n in expected]
    assert np.array_equal(source.load(np.arange(9)), pixels[kept])
    why = [(where.split()[-1], why) for where, why in source.skipped]
    assert why[0] == ("1", "expected a label, got an empty cell")
    assert why[1] == ("3", "expected the bytes of an image, got an empty cell")
    assert why[2][0] == "5"


def test_the_fingerprint_is_of_cells_and_labels(tmp_path, cells):
    found = set()
    for chosen, labels in [(cells, [0] * 12), (cells, [0] * 11 + [1]), (cells[::-1], [0] * 12)]:
        pq.write_table(make_table(chosen, labels), tmp_path / "train.parquet")
        found |= {open_source("parquet", root=tmp_path).fingerprint for _ in range(2)}
    assert len(found) == 3


def test_without_pyarrow_the_way_out_is_named(tmp_path, cells, monkeypatch):
    pq.write_table(make_table(cells, [0] * 12), tmp_path / "train.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RunError, match=r"needs pyarrow.*pip install 'pyarrow>="):
        open_source("parquet", root=tmp_path)


def test_cifar_in_the_hubs_layout(tmp_path, pixels, png):
    cells = [png(np.full((32, 32, 3), index, np.uint8)) for index in range(3)]
    (tmp_path / "cifar100").mkdir()
    table = make_table(cells, [99, 0, 5], label="fine_label")
    pq.write_table(table, tmp_path / "cifar100" / "train-00000-of-00001.parquet")
    source = open_source("cifar100", root=tmp_path)
    assert source.labels.tolist() == [99, 0, 5]
    assert source.class_names[99] == "worm"
    assert source.load(np.array([2]))[0, 7, 8].tolist() == [2, 2, 2]
    with pytest.raises(RunError, match="cifar10: expected"):
        open_source("cifar10", root=tmp_path)
    with pytest.raises(
        RunError, match="label column label, got columns img, fine_label; if this is"
    ):
        open_source("cifar10", root=tmp_path / "cifar100")
    pq.write_table(make_table(cells, [99, 0, 5]), tmp_path / "train.parquet")
    with pytest.raises(
        RunError, match="expected labels 0..9, got 99 .*if this is cifar100, open it"
    ):
        open_source("cifar10", root=tmp_path)


def test_real_cifar(real_data):
    root = real_data / "cifar10-jpeg-small"
    train = open_source("cifar10", root=root)
    test = open_source("cifar10", root=root, split="test")
    assert (len(train), len(test), train.size) == (2000, 500, (32, 32))
    assert np.bincount(train.labels).tolist() == [200] * 10
    rows = pq.read_table(root / "test.parquet").slice(123, 1).to_pylist()
    expected = np.asarray(Image.open(io.BytesIO(rows[0]["img"]["bytes"])))
    assert np.array_equal(test.load(np.array([123]))[0], expected)
    assert test.labels[123] == rows[0]["label"]
    assert open_source("parquet", root=root).class_names == train.class_names


def test_large_sets_are_mapped_and_give_the_same(tmp_path, cells, pixels, cache, monkeypatch):
    for shard, rows in enumerate((slice(0, 5), slice(5, 12))):
        name = f"train-{shard:05d}-of-00002.parquet"
        pq.write_table(
            make_table(cells[rows], [1, 0, 1, 1, 0, 0, 1][: len(cells[rows])]), tmp_path / name
        )
    held = open_source("parquet", root=tmp_path)
    monkeypatch.setattr("augmix.data.parquet.MEMORY_BYTES", 100)
    monkeypatch.setattr("augmix.data.parquet._ROWS", 2)
    monkeypatch.setattr("augmix.data.stores.MEMORY_BYTES", 100)
    mapped = open_source("parquet", root=tmp_path, size=8)
    assert mapped.labels.tolist() == held.labels.tolist()
    files = sorted((cache / "tables").iterdir())
    assert [file.suffix for file in files] == [".arrow", ".arrow"]
    times = [file.stat().st_mtime_ns for file in files]
    again = open_source("parquet", root=tmp_path, size=8)
    assert times == [file.stat().st_mtime_ns for file in files]
    assert again.fingerprint == mapped.fingerprint
    ids = np.array([11, 0, 4, 5])
    expected = open_source("parquet", root=tmp_path, size=8).load(ids)
    monkeypatch.undo()
    whole = open_source("parquet", root=tmp_path, size=8)
    assert np.array_equal(expected, whole.load(ids))
    stored = np.stack([np.asarray(Image.fromarray(pixels[i]).crop((1, 0, 9, 8))) for i in ids])
    assert np.array_equal(expected, stored)


def test_a_broken_row_or_shard_names_its_own_file(tmp_path, cells):
    for shard in range(2):
        part = [*cells[:3], b"no image"] if shard else cells[:4]
        pq.write_table(make_table(part, [0, 1, 0, 1]), tmp_path / f"train-{shard}.parquet")
    with pytest.raises(RunError, match=r"train-1.parquet, row 3 \(index 7\): expected an image"):
        open_source("parquet", root=tmp_path)
    (tmp_path / "train-1.parquet").write_bytes((tmp_path / "train-1.parquet").read_bytes()[:-50])
    with pytest.raises(RunError, match=r"cannot read [^ ]*train-1.parquet: .*truncated"):
        open_source("parquet", root=tmp_path)
    pq.write_table(make_table(cells[:2], [0, 1], kind=pa.binary()), tmp_path / "train-1.parquet")
    pq.write_table(
        make_table(cells[:2], [0, 1], kind=pa.large_binary()), tmp_path / "train-0.parquet"
    )
    with pytest.raises(
        RunError, match=r"train-1.parquet: expected large_binary as in .*, got binary"
    ):
        open_source("parquet", root=tmp_path)


def test_splits_that_list_the_classes_in_another_order_are_mapped(tmp_path, cells):
    table = make_table(cells[:3], [0, 1, 2], names=["cat", "dog", "owl"])
    pq.write_table(table, tmp_path / "train-00000-of-00002.parquet")
    table = make_table(cells[3:5], [0, 2], names=["owl", "cat", "dog"])
    pq.write_table(table, tmp_path / "train-00001-of-00002.parquet")
    table = make_table(cells[5:8], [0, 1, 1], names=["dog", "owl"])
    pq.write_table(table, tmp_path / "test.parquet")
    source = open_source("parquet", root=tmp_path)
    assert (source.class_names, source.labels.tolist()) == (("cat", "dog", "owl"), [0, 1, 2, 2, 1])
    test = open_source("parquet", root=tmp_path, split="test")
    assert (test.class_names, test.labels.tolist()) == (("cat", "dog", "owl"), [1, 2, 2])
    pq.write_table(make_table(cells[:1], [0], names=["cow"]), tmp_path / "test.parquet")
    with pytest.raises(RunError, match="test.parquet: expected the 3 classes .*, got cow besides"):
        open_source("parquet", root=tmp_path, split="test")


def test_labels_may_be_names(tmp_path, cells):
    for split, labels in (("train", ["10", "9", "x"]), ("test", ["x", "9"])):
        table = make_table(cells[: len(labels)], labels)
        pq.write_table(table, tmp_path / f"{split}.parquet")
    source = open_source("parquet", root=tmp_path, split="test")
    assert (source.class_names, source.labels.tolist()) == (("10", "9", "x"), [2, 1])


def test_names_of_the_hub_with_a_hash(tmp_path, cells):
    name = "train-0000{}-of-00002-ba23e5a1c9fd01ce.parquet"
    pq.write_table(make_table(cells[:2], [0, 1]), tmp_path / name.format(0))
    with pytest.raises(RunError, match="expected 2 files like .*train-00000-of-00002-ba.*got 1"):
        open_source("parquet", root=tmp_path)
    pq.write_table(make_table(cells[2:4], [1, 0]), tmp_path / name.format(1))
    assert open_source("parquet", root=tmp_path).labels.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("folder", ["default/train", "en/train", "train"])
def test_files_that_the_hub_converted(tmp_path, cells, folder):
    (tmp_path / folder).mkdir(parents=True)
    for shard in range(2):
        table = make_table(cells[:2], [shard, 2], image="jpg", label="cls")
        pq.write_table(table, tmp_path / folder / f"000{shard}.parquet")
    for root in (tmp_path, tmp_path / folder):
        assert open_source("parquet", root=root).labels.tolist() == [0, 2, 1, 2]
    with pytest.raises(RunError, match="no split 'test'|expected data of split 'test'"):
        open_source("parquet", root=tmp_path / folder, split="test")


def test_columns_of_other_names(tmp_path, cells):
    table = make_table(cells[:2], [1, 0], image="picture", label="species")
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(RunError, match="got columns picture, species; name it with --label-column"):
        open_source("parquet", root=tmp_path)
    with pytest.raises(RunError, match="column image or img, .*name it with --image-column"):
        open_source("parquet", root=tmp_path, label_column="species")
    columns: dict[str, Any] = {"image_column": "picture", "label_column": "species"}
    assert open_source("parquet", root=tmp_path, **columns).labels.tolist() == [1, 0]
    with pytest.raises(ValueError, match="image_column 'picture' would have no effect"):
        open_source("folder", root=tmp_path, **columns)
