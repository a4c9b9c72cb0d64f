"""Tar shards: classes, offsets, cached indices, and files that are broken."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from augmix.data import tar
from augmix.data.decode import ResizedCrop
from augmix.data.sources import load_at, open_source
from augmix.errors import RunError
from augmix.rng import Stream


@pytest.fixture
def numbered(tmp_path, pixels, png, make_tar) -> Path:
    """WebDataset shards: 5 and 3 training images, 2 of the validation; image i has class i % 4."""
    root, index = tmp_path / "numbered", 0
    root.mkdir()
    for name, count in (("train-000000", 5), ("train-000001", 3), ("val-000000", 2)):
        members = []
        for _ in range(count):
            members += [
                (f"{index:05d}.json", b"{}"),
                (f"{index:05d}.png", png(pixels[index])),
                (f"{index:05d}.cls", f"{index % 4}\n".encode()),
            ]
            index += 1
        (root / f"{name}.tar").write_bytes(make_tar(members))
    return root


def test_numbers_beside_the_images(numbered, pixels):
    source = open_source("tar", root=numbered)
    assert source.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert source.class_names == ("0", "1", "2", "3")
    assert np.array_equal(source.load(np.array([6, 0, 4])), pixels[[6, 0, 4]])
    test = open_source("tar", root=numbered, split="test")
    assert (test.labels.tolist(), test.num_classes) == ([0, 1], 4)
    assert np.array_equal(test.load(np.array([1, 0])), pixels[[9, 8]])
    one = open_source("tar", root=numbered / "train-000001.tar")
    assert np.array_equal(one.load(np.arange(3)), pixels[5:8])


def test_folders_name_the_classes_and_train_numbers_them(tmp_path, pixels, png, make_tar):
    root = tmp_path / "named"
    (root / "train").mkdir(parents=True)
    bees = make_tar([("./train/bee/a.png", png(pixels[0])), ("train/ant/b.PNG", png(pixels[1]))])
    (root / "train" / "0.tar").write_bytes(bees)
    (root / "imagenet-val-0.tar").write_bytes(make_tar([("cow/x.png", png(pixels[4]))]))
    (root / "train" / "1.tar").write_bytes(make_tar([("cow/d.png", png(pixels[3]))]))
    source = open_source("tar", root=root)
    assert source.class_names == ("ant", "bee", "cow")
    assert source.labels.tolist() == [1, 0, 2]
    assert np.array_equal(source.load(np.arange(3)), pixels[[0, 1, 3]])
    test = open_source("tar", root=root, split="test")
    assert (test.labels.tolist(), test.class_names) == ([2], ("ant", "bee", "cow"))
    (root / "imagenet-val-0.tar").write_bytes(make_tar([("dog/x.png", png(pixels[4]))]))
    with pytest.raises(RunError, match="expected the 3 classes of the training shards, got dog"):
        open_source("tar", root=root, split="test")


@pytest.mark.parametrize("layout", ["nested", "beside"])
def test_tars_of_one_synset_each(tmp_path, pixels, png, make_tar, layout):
    """The official archive is a tar of tars; its parts may lie in a folder, too."""
    parts = {
        name: make_tar([(f"{name}_{i}.JPEG", png(pixels[2 * part + i])) for i in range(2)])
        for part, name in enumerate(("n00000002", "n00000001"))
    }
    if layout == "nested":
        members = [(f"{name}.tar", content) for name, content in parts.items()]
        (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(make_tar(members))
        order = [0, 1, 2, 3]
    else:
        (tmp_path / "train").mkdir()
        for name, content in parts.items():
            (tmp_path / "train" / f"{name}.tar").write_bytes(content)
        order = [2, 3, 0, 1]
    source = open_source("tar", root=tmp_path)
    assert source.class_names == ("n00000001", "n00000002")
    assert source.labels.tolist() == ([1, 1, 0, 0] if layout == "nested" else [0, 0, 1, 1])
    assert np.array_equal(source.load(np.arange(4)), pixels[order])


def test_the_listing_is_kept_until_the_file_changes(
    numbered, cache, monkeypatch, pixels, png, make_tar
):
    before = open_source("tar", root=numbered)
    assert len(list((cache / "shards").iterdir())) == 3

    def fail(*arguments):
        raise AssertionError("the headers were read again")

    with monkeypatch.context() as patch:
        patch.setattr(tar, "_list_members", fail)
        again = open_source("tar", root=numbered)
    assert again.fingerprint == before.fingerprint
    assert again.labels.tolist() == before.labels.tolist()

    for path in (cache / "shards").iterdir():
        path.write_bytes(path.read_bytes()[:-40])
    assert open_source("tar", root=numbered).fingerprint == before.fingerprint

    members = [
        ("9.png", png(pixels[9])),
        ("9.cls", b"3"),
        ("8.png", png(pixels[8])),
        ("8.cls", b"2"),
    ]
    (numbered / "train-000001.tar").write_bytes(make_tar(members))
    changed = open_source("tar", root=numbered)
    assert changed.labels.tolist() == [0, 1, 2, 3, 0, 3, 2]
    assert np.array_equal(changed.load(np.array([5, 6])), pixels[[9, 8]])
    assert changed.fingerprint != before.fingerprint


def test_a_cache_that_cannot_be_written_costs_time_only(numbered, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AUGMIX_CACHE", str(tmp_path / "file"))
    assert len(open_source("tar", root=numbered)) == 8


def test_crops_from_shards(numbered, folder):
    source = open_source("tar", root=numbered, size=4, crop=ResizedCrop())
    whole = open_source("folder", root=folder, size=4, crop=ResizedCrop())
    ids = np.array([7, 2, 0])  # the same images in both
    stream = Stream(seed=1)
    assert np.array_equal(load_at(source, ids, stream=stream), load_at(whole, ids, stream=stream))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda content: content[:-6000],
            "(unexpected end|an end mark)",
        ),
        (lambda content: content[: 512 * 3], "end"),
        (lambda content: b"", "empty file; it may be truncated"),
        (lambda content: b"\x1f\x8b" + content[2:], "unpack a .tar.gz"),
        (
            lambda content: content[:1024] + b"\xff" * 512 + content[1536:],
            "at byte 1024, got a broken",
        ),
    ],
    ids=["cut", "cut at a header", "empty", "gzip", "broken header"],
)
def test_a_broken_shard_is_named(numbered, damage, message):
    path = numbered / "train-000000.tar"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError, match=f"cannot read the shard .*train-000000.tar: .*{message}"):
        open_source("tar", root=numbered)


def test_a_broken_image_or_vanished_shard_is_named(numbered, monkeypatch, pixels, png):
    monkeypatch.setattr("augmix.data.stores.MEMORY_BYTES", 100)
    path = numbered / "train-000000.tar"
    content = path.read_bytes()
    path.write_bytes(content.replace(png(pixels[3])[-60:-20], b"x" * 40))
    source = open_source("tar", root=numbered, size=8)
    where = r"train-000000.tar, member 00003.png \(index 3\)"
    with pytest.raises(RunError, match=f"cannot use image .*{where}: .*--on-error skip"):
        source.load(np.array([2, 3]))
    kept = open_source("tar", root=numbered, size=8, on_error="skip")
    assert kept.labels.tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert [where.partition(", ")[2] for where, _ in kept.skipped] == ["member 00003.png"]
    path.write_bytes(content[:2000])
    with pytest.raises(RunError, match="member 00004.png .*expected .* bytes in the shard, got 0"):
        source.load(np.array([4]))
    path.unlink()
    with pytest.raises(RunError, match="cannot read the shard: No such file"):
        source.load(np.array([0]))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../a.png", b"")], "expected relative printable names, got member '../a.png'"),
        ([("/etc/a.png", b"")], "expected relative printable names, got member '/etc/a.png'"),
        ([("a\n.png", b"")], "expected relative printable names"),
        ([("a.png", b""), ("b.png", b""), ("b.cls", b"1")], "got none for 1 of 2"),
        ([("a.png", b""), ("a.cls", b"x"), ("b.png", b""), ("b.cls", b"1")], "got '1' and 'x'"),
        ([("a.png", b""), ("a.cls", b"1\n2")], "member a.cls: expected a class, got '1.n2'"),
        ([("a.txt", b"")], r"expected images .* got none; 1 files are left out \(1 .txt\)"),
        ([("a/1.png", b""), ("./a//1.png", b"")], "the member a/1.png is there twice; unpack"),
        ([("a\x1b[2J.png", b"")], r"got member 'a.x1b\[2J.png'; rename it, or unpack the tar"),
        ([("a.png", b""), ("a.cls", b"1" * 30)], "expected class numbers 0..999999, got 1111"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, make_tar, members, message):
    (tmp_path / "train.tar").write_bytes(make_tar(members))
    with pytest.raises(RunError, match=message):
        open_source("tar", root=tmp_path)


def test_missing_shards_and_splits(numbered, tmp_path):
    with pytest.raises(RunError, match="expected data of split 'test', got .*train-000000.tar"):
        open_source("tar", root=numbered / "train-000000.tar", split="test")
    for path in numbered.glob("train*"):
        path.rename(numbered / f"{path.stem}-of-000003.tar")
    with pytest.raises(RunError, match="expected 3 files like .*got 2; fetch the rest"):
        open_source("tar", root=numbered)
    (numbered / "val-000000.tar").unlink()
    with pytest.raises(RunError, match="no split 'test': expected test.tar, .*got train-000000"):
        open_source("tar", root=numbered, split="test")


def test_names_that_are_no_ascii_are_read(tmp_path, make_tar, pixels, png):
    """Names of macOS's screenshots, a joined emoji, and a byte of Latin-1."""
    names = ["ant/Bild\u202f1.png", "ant/2\u00a03.png", "bee/a\u200db.png", "bee/\udce9.png"]
    members = [(name, png(pixels[index])) for index, name in enumerate(names)]
    (tmp_path / "train.tar").write_bytes(make_tar(members))
    source = open_source("tar", root=tmp_path)
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(source.load(np.arange(4)), pixels[:4])


def test_splits_within_a_tar(tmp_path, make_tar, pixels, png):
    members = [
        (f"NAME/{split}/{name}/{index}.png", png(pixels[index]))
        for split, count in (("train", 3), ("val", 2))
        for name in ("ant", "bee")
        for index in range(count)
    ]
    path = tmp_path / "photos.tar"
    path.write_bytes(make_tar([*members, ("NAME/val/readme.md", b"")]))
    for root in (path, tmp_path):  # no other tar names a split
        for split, count in (("train", 6), ("test", 4), ("val", 4)):
            source = open_source("tar", root=root, split=split)
            assert (len(source), source.class_names) == (count, ("ant", "bee"))
    assert open_source("tar", root=path, split="val").left_out == (("readme.md", ".md"),)
    path.write_bytes(make_tar([*members[:6], ("NAME/val/cow/1.png", png(pixels[0]))]))
    with pytest.raises(RunError, match="the 2 classes of the training shards, got cow besides"):
        open_source("tar", root=path, split="val")


def test_folders_of_numbers_are_classes_by_their_order(tmp_path, make_tar, pixels, png):
    members = [(f"{name}/1.png", png(pixels[0])) for name in (3, 20, 7)]
    (tmp_path / "train.tar").write_bytes(make_tar(members))
    source = open_source("tar", root=tmp_path)
    assert (source.class_names, source.labels.tolist()) == (("3", "7", "20"), [0, 2, 1])


def test_data_behind_the_end_mark_is_refused(tmp_path, make_tar, pixels, png):
    tars = [make_tar([(f"{name}/1.png", png(pixels[0]))]) for name in ("ant", "bee")]
    (tmp_path / "train.tar").write_bytes(b"".join(tars))
    message = "train.tar: expected nothing behind the end mark at byte 1[0-9]+, got data at byte"
    with pytest.raises(RunError, match=f"{message} {len(tars[0])}, .*--ignore-zeros"):
        open_source("tar", root=tmp_path)
    (tmp_path / "train.tar").write_bytes(tars[0] + bytes(2**21))
    assert len(open_source("tar", root=tmp_path)) == 1


def test_a_class_file_may_begin_with_a_byte_order_mark(tmp_path, make_tar, pixels, png):
    members = [("a.png", png(pixels[0])), ("a.cls", b"\xef\xbb\xbf1\n")]
    (tmp_path / "train.tar").write_bytes(make_tar(members))
    assert open_source("tar", root=tmp_path).labels.tolist() == [1]


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def write_links(path: Path, members: list[tuple[str, bytes]], links: list[tarfile.TarInfo]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in links:
            tar.addfile(info)


def test_links_within_a_tar(tmp_path, pixels, png):
    members = [("store/x", png(pixels[0])), ("ant/0.png", png(pixels[1]))]
    links = [
        link("bee/soft.png", "../store/x"),
        link("bee/hard.png", "store/x", tarfile.LNKTYPE),
        link("cow", "ant"),
    ]
    write_links(tmp_path / "train.tar", members, links)
    source = open_source("tar", root=tmp_path)
    assert source.class_names == ("ant", "bee", "cow", "store")
    assert source.labels.tolist() == [3, 0, 1, 1, 2]
    assert np.array_equal(source.load(np.arange(5)), pixels[[0, 1, 0, 0, 1]])


@pytest.mark.parametrize("target", ["nowhere.png", "/etc/passwd", "../../x.png", "dead.png"])
def test_links_that_lead_nowhere_are_broken_images(tmp_path, pixels, png, target):
    members = [("ant/0.png", png(pixels[0])), ("bee/0.png", png(pixels[1]))]
    write_links(tmp_path / "train.tar", members, [link("bee/dead.png", target)])
    with pytest.raises(
        RunError, match="bee/dead.png .index 2.: it is a link to a file that is not"
    ):
        open_source("tar", root=tmp_path)
    assert len(open_source("tar", root=tmp_path, on_error="skip")) == 2


def test_links_that_multiply_are_refused(tmp_path, pixels, png):
    links = [link(f"d{i + 1}/{j}", f"../d{i}") for i in range(20) for j in range(2)]
    write_links(tmp_path / "train.tar", [("d0/0.png", png(pixels[0]))], links)
    with pytest.raises(RunError, match="too many links to folders"):
        open_source("tar", root=tmp_path)


def test_depth_is_limited_by_names_only(tmp_path, make_tar, pixels, png):
    deep = [("/".join(["d"] * 400) + "/0.png", png(pixels[0])), ("e/0.png", png(pixels[1]))]
    (tmp_path / "train.tar").write_bytes(make_tar(deep))
    assert open_source("tar", root=tmp_path).labels.tolist() == [0, 1]
    content = make_tar(deep)
    for _ in range(12):
        content = make_tar([("n.tar", content)])
    (tmp_path / "train.tar").write_bytes(content)
    with pytest.raises(RunError, match="expected at most 8 tars within tars, got more"):
        open_source("tar", root=tmp_path)
