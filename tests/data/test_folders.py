import numpy as np
import pytest
from PIL import Image

from augmix.data.folders import check_outside
from augmix.data.sources import open_source
from augmix.errors import RunError


def test_splits_and_classes(folder, pixels):
    train = open_source("folder", root=folder)
    assert train.class_names == ("ant", "bee")
    assert train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert np.array_equal(train.load(np.array([5, 0])), pixels[[5, 0]])
    assert (train.size, train.channels, train.num_classes, train.skipped) == ((8, 10), 3, 2, ())
    for split in ("test", "val"):
        source = open_source("folder", root=folder, split=split)
        assert source.split == split
        assert source.labels.tolist() == [0, 0, 1, 1]
        assert np.array_equal(source.load(np.arange(4)), pixels[8:])


def test_without_splits_the_folder_is_the_split(folder, pixels):
    (folder / "train").rename(folder.parent / "anything")
    for split in ("train", "test"):
        source = open_source("folder", root=folder.parent / "anything", split=split)
        assert np.array_equal(source.load(np.arange(8)), pixels[:8])


def test_a_folder_named_after_another_split_is_refused(folder):
    with pytest.raises(RunError, match="expected data of split 'train', got .*val, named 'val'"):
        open_source("folder", root=folder / "val")
    assert len(open_source("folder", root=folder / "val", split="test")) == 4


def test_a_missing_split_names_what_is_there(folder):
    (folder / "val").rename(folder / "other")
    with pytest.raises(
        RunError, match="no split 'test': expected a folder test in .*got other/, train/"
    ):
        open_source("folder", root=folder, split="test")


def test_classes_are_numbered_as_in_training(folder, png, pixels):
    for file in (folder / "val" / "ant").iterdir():
        file.unlink()
    (folder / "val" / "ant").rmdir()
    assert open_source("folder", root=folder, split="val").labels.tolist() == [1, 1]
    (folder / "val" / "cow").mkdir()
    (folder / "val" / "cow" / "0.png").write_bytes(png(pixels[0]))
    with pytest.raises(RunError, match="expected the 2 classes of .*train, got cow besides"):
        open_source("folder", root=folder, split="val")


def test_files_are_found_at_any_depth_and_others_left_alone(folder, png, pixels):
    deep = folder / "train" / "ant" / "deep"
    deep.mkdir()
    (deep / "x.PNG").write_bytes(png(pixels[8]))
    (deep / ".hidden.png").write_bytes(b"no image")
    (deep / "notes.txt").write_bytes(b"no image")
    (folder / "train" / ".cache").mkdir()
    source = open_source("folder", root=folder)
    assert source.labels.tolist() == [0] * 5 + [1] * 4
    assert np.array_equal(source.load(np.array([4]))[0], pixels[8])


def test_grey_and_transparent_files_join_a_colour_set(folder):
    parent = folder / "train" / "ant"
    Image.new("L", (10, 8), 5).save(parent / "30.png")
    Image.new("RGBA", (10, 8), (1, 2, 3, 4)).save(parent / "31.png")
    images = open_source("folder", root=folder).load(np.array([4, 5]))
    assert images[:, 0, 0].tolist() == [[5, 5, 5], [1, 2, 3]]


def test_sizes_must_agree_or_be_given(folder, png, pixels):
    (folder / "train" / "bee" / "06.png").write_bytes(png(pixels[6, :4]))
    message = "got 8x10 .height x width. in .*ant/00.png and 4x10 in .*bee/06.png; resize.*--size"
    for on_error in ("raise", "skip"):
        with pytest.raises(RunError, match=message):
            open_source("folder", root=folder, on_error=on_error)
    assert open_source("folder", root=folder, size=16).size == (16, 16)


def test_a_broken_image_is_named_or_skipped(folder, pixels):
    path = folder / "train" / "bee" / "05.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        RunError, match=f"cannot use image {path} .index 5.: .*truncated.*--on-error"
    ):
        open_source("folder", root=folder)
    source = open_source("folder", root=folder, on_error="skip")
    assert source.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert np.array_equal(source.load(np.array([5])), pixels[[6]])
    assert [name for name, _ in source.skipped] == [str(path)]
    assert "truncated" in source.skipped[0][1]


def test_the_first_image_may_be_the_broken_one(folder, pixels):
    for name in ("00.png", "01.png"):
        (folder / "train" / "ant" / name).write_bytes(b"")
    source = open_source("folder", root=folder, on_error="skip")
    assert len(source.skipped) == 2
    assert np.array_equal(source.load(np.arange(2)), pixels[2:4])
    for file in (folder / "train").rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(
        RunError, match="expected at least one image that can be read, got none of 8"
    ):
        open_source("folder", root=folder, on_error="skip")


def test_large_sets_are_decoded_when_loaded(folder, pixels, monkeypatch):
    held = open_source("folder", root=folder)
    resized = open_source("folder", root=folder, size=8)
    monkeypatch.setattr("augmix.data.stores.MEMORY_BYTES", 100)
    lazy = open_source("folder", root=folder)
    ids = np.array([7, 0, 7, 3])
    assert np.array_equal(lazy.load(ids), held.load(ids))
    assert lazy.load(ids[:0]).shape == (0, 8, 10, 3)
    assert (lazy.size, lazy.channels, lazy.fingerprint) == ((8, 10), 3, held.fingerprint)
    again = open_source("folder", root=folder, size=8)
    assert np.array_equal(again.load(ids), resized.load(ids))

    path = folder / "train" / "bee" / "05.png"
    path.write_bytes(path.read_bytes()[:-40])
    broken = open_source("folder", root=folder)
    assert len(broken) == 8
    with pytest.raises(RunError, match=f"cannot use image {path} .index 5."):
        broken.load(np.array([0, 5]))
    skipping = open_source("folder", root=folder, on_error="skip")
    assert len(skipping) == 7
    assert np.array_equal(skipping.load(np.array([5, 4])), pixels[[6, 4]])
    assert skipping.skipped[0][0] == str(path)


def test_sizes_of_large_sets_are_checked_from_the_headers(folder, png, pixels, monkeypatch):
    monkeypatch.setattr("augmix.data.stores.MEMORY_BYTES", 100)
    path = folder / "train" / "bee" / "06.png"
    path.write_bytes(png(pixels[6, :4]))
    for on_error in ("raise", "skip"):
        with pytest.raises(RunError, match="got 8x10 .* and 4x10 in .*06.png; resize them all"):
            open_source("folder", root=folder, on_error=on_error)
    path.write_bytes(b"")
    with pytest.raises(RunError, match="06.png .index 6.: expected an image"):
        open_source("folder", root=folder)


def test_threads_change_nothing(tmp_path, noise, png):
    (tmp_path / "set" / "one").mkdir(parents=True)
    for index in range(200):
        content = png(noise[index % 8], "JPEG") if index != 150 else b"broken"
        (tmp_path / "set" / "one" / f"{index:03d}.jpg").write_bytes(content)
    options = {"root": tmp_path / "set", "on_error": "skip"}
    one, many = (open_source("folder", **options, num_threads=count) for count in (1, 7))
    assert np.array_equal(one.load(np.arange(199)), many.load(np.arange(199)))
    assert one.skipped == many.skipped
    with pytest.raises(RunError, match="150.jpg .index 150."):
        open_source("folder", root=tmp_path / "set", num_threads=7)


def test_the_fingerprint_is_of_the_listing(folder, png, pixels):
    before = open_source("folder", root=folder).fingerprint
    assert before == open_source("folder", root=folder).fingerprint
    path = folder / "train" / "bee" / "05.png"
    path.write_bytes(path.read_bytes() + b"\0")
    longer = open_source("folder", root=folder).fingerprint
    path.rename(path.with_name("05b.png"))
    renamed = open_source("folder", root=folder).fingerprint
    assert len({before, longer, renamed}) == 3


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_another_image_of_the_same_name_and_length_is_another_set(tmp_path, make_tar, pixels, form):
    def write(images: np.ndarray) -> str:
        root, members = tmp_path / "set", []
        for number, image in enumerate(images[:4]):
            path = root / f"ant/{number}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            members.append((f"ant/{number}.bmp", path.read_bytes()))
        if form == "tar":
            (tmp_path / "set.tar").write_bytes(make_tar(members))
            root = tmp_path / "set.tar"
        return open_source(form, root=root).fingerprint

    assert write(pixels) == write(pixels)
    assert write(pixels) != write(255 - pixels)


def test_nothing_to_read_is_named(tmp_path):
    with pytest.raises(RunError, match="nowhere does not exist; name a folder of class folders"):
        open_source("folder", root=tmp_path / "nowhere")
    (tmp_path / "set").mkdir()
    with pytest.raises(RunError, match="set: expected one folder per class, got nothing"):
        open_source("folder", root=tmp_path / "set")
    (tmp_path / "set" / "ant").mkdir()
    with pytest.raises(RunError, match="set: expected images .*in class folders ant, got none"):
        open_source("folder", root=tmp_path / "set")
    (tmp_path / "set" / "ant").rename(tmp_path / "set" / "train")
    with pytest.raises(RunError, match="got only the splits train without class folders"):
        open_source("folder", root=tmp_path / "set")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="file is no folder"):
        open_source("folder", root=tmp_path / "file")


def test_real_photographs(real_data):
    """The recipe of ImageNet evaluation on stored 256-pixel photographs is a plain centre crop."""
    root = real_data / "imagenet-samples"
    with pytest.raises(RunError, match="expected images of one size, got .*--size"):
        open_source("folder", root=root, split="val")
    source = open_source("folder", root=root, split="val", size=224)
    assert (len(source), source.num_classes, source.crop_padding) == (200, 200, 28)
    files = sorted((root / "val").glob("*/*.JPEG"))
    for index in (0, 77, 199):
        image = Image.open(files[index])
        assert min(image.size) == 256
        left, top = (round((edge - 224) / 2) for edge in image.size)
        expected = np.asarray(image)[top : top + 224, left : left + 224]
        assert np.array_equal(source.load(np.array([index]))[0], expected)


ACCENTS = "caf\u00e9", "cafe\u0301"  # the same name, its accent written in two ways


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_splits_may_write_accents_in_two_ways(tmp_path, png, pixels, make_tar, form):
    members = [
        (f"{split}/{name}/{number}.png", png(pixels[number]))
        for split, cafe in zip(("train", "test"), ACCENTS, strict=True)
        for number, name in enumerate((cafe, "ant"))
    ]
    for name, content in members:
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(content)
    (tmp_path / "set.tar").write_bytes(make_tar(members))
    root = tmp_path / ("set.tar" if form == "tar" else "set")
    source = open_source(form, root=root, split="test")
    assert source.class_names == ("ant", ACCENTS[0])
    order = np.argsort(source.labels)
    np.testing.assert_array_equal(source.load(order), pixels[[1, 0]])
    (tmp_path / "set/train" / ACCENTS[1]).mkdir()
    with pytest.raises(RunError, match="two classes are called caf"):
        open_source("folder", root=tmp_path / "set", split="train")


def test_a_class_of_nearly_the_same_name_is_shown(tmp_path, png, pixels):
    for name in ("train/Cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "0.png").write_bytes(png(pixels[0]))
    with pytest.raises(RunError, match="got cat besides .1 in all., did you mean 'Cat'"):
        open_source("folder", root=tmp_path, split="test")
    (tmp_path / "test/cat").rename(tmp_path / "test/Cat ")
    with pytest.raises(RunError, match="got 'Cat ' besides"):
        open_source("folder", root=tmp_path, split="test")


def test_a_folder_around_the_classes_of_a_split_is_no_class(tmp_path, png, pixels):
    for split, number in (("train", 0), ("test", 1)):
        for name in ("ant", "bee"):
            (tmp_path / split / "images" / name).mkdir(parents=True)
            (tmp_path / split / "images" / name / "0.png").write_bytes(png(pixels[number]))
    source = open_source("folder", root=tmp_path, split="test")
    assert source.class_names == ("ant", "bee")
    np.testing.assert_array_equal(source.load(np.array([0])), pixels[[1]])


def test_folds_are_no_classes(tmp_path, png, pixels):
    for fold in ("fold0", "Fold_1", "fold-2"):
        for name in ("ant", "bee"):
            (tmp_path / fold / name).mkdir(parents=True)
            (tmp_path / fold / name / "0.png").write_bytes(png(pixels[0]))
    with pytest.raises(RunError, match="Fold_1, fold-2, fold0 look like splits, each with"):
        open_source("folder", root=tmp_path)


def test_another_split_is_offered(tmp_path, png, pixels):
    (tmp_path / "train/ant").mkdir(parents=True)
    (tmp_path / "train/ant/0.png").write_bytes(png(pixels[0]))
    with pytest.raises(RunError, match="got train/; --split train takes those"):
        open_source("folder", root=tmp_path, split="test")


@pytest.mark.parametrize(
    ("out", "is_fine"),
    [("train/run", False), ("runs/run", True), ("train/cat/x", False), ("../runs", True)],
)
def test_what_is_written_lies_outside_the_classes(folder, out, is_fine):
    if is_fine:
        check_outside(str(folder), folder / out)
        return
    with pytest.raises(RunError, match="would be read as one of its classes"):
        check_outside(str(folder), folder / out)


def test_a_folder_of_classes_takes_nothing_else(folder):
    with pytest.raises(RunError, match="would be read as one of its classes"):
        check_outside(str(folder / "train"), folder / "train")
