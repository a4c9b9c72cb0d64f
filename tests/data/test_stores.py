"""Sources in memory and decoded on demand; broken images of a large set are found once."""

import io

import numpy as np
import pytest
from PIL import Image

from augmix.data.decode import INTERPOLATIONS, Geometry, ImageError, decode_image
from augmix.data.derived import take
from augmix.data.sources import open_source
from augmix.errors import RunError
from augmix.write import CorruptConfig
from augmix.write.sets import corrupt_source


@pytest.fixture
def tiny_memory(monkeypatch):
    monkeypatch.setattr("augmix.data.stores.MEMORY_BYTES", 100)


@pytest.mark.usefixtures("tiny_memory")
def test_an_inspection_is_kept_until_the_files_change(folder, cache, monkeypatch):
    broken = folder / "train" / "ant" / "02.png"
    broken.write_bytes(broken.read_bytes()[:60])
    before = open_source("folder", root=folder, size=8, on_error="skip")
    assert (len(before), len(before.skipped)) == (7, 1)
    kept = list((cache / "inspections").iterdir())
    assert len(kept) == 1

    def fail(*arguments, **options):
        raise AssertionError("the images were decoded again")

    with monkeypatch.context() as patch:
        patch.setattr("augmix.data.stores._visit", fail)
        again = open_source("folder", root=folder, size=8, on_error="skip")
        assert again.skipped == before.skipped
        assert again.fingerprint == before.fingerprint
    assert np.array_equal(again.load(np.arange(7)), before.load(np.arange(7)))
    kept[0].write_text("{")
    assert open_source("folder", root=folder, size=8, on_error="skip").skipped == before.skipped

    other = folder / "train" / "bee" / "05.png"
    other.write_bytes(b"no image")
    assert len(open_source("folder", root=folder, size=8, on_error="skip").skipped) == 2


@pytest.mark.usefixtures("tiny_memory")
def test_a_cache_that_cannot_be_written_costs_time_only(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AUGMIX_CACHE", str(tmp_path / "file"))
    assert len(open_source("folder", root=folder, size=8, on_error="skip")) == 8


@pytest.mark.usefixtures("tiny_memory")
def test_what_broke_since_is_named_when_it_is_loaded(folder):
    source = open_source("folder", root=folder, size=8, on_error="skip")
    path = folder / "train" / "bee" / "05.png"
    path.write_bytes(b"x" * path.stat().st_size)
    assert len(source) == 8
    with pytest.raises(RunError, match=r"05.png \(index 5\)"):
        source.load(np.array([5]))
    assert len(open_source("folder", root=folder, size=8, on_error="skip")) == 7


def make(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_shorter_side_then_centre_by_hand(interpolation):
    """A 30 x 20 picture to shorter edge 10 is 15 x 10; its centre of 8 starts at 4 (3.5), 1."""
    image = make(30, 20)
    got = Geometry(size=8, resize=10, interpolation=interpolation).apply(image)
    whole = image.resize((15, 10), INTERPOLATIONS[interpolation])
    expected = np.asarray(whole)[1:9, 4:12]
    assert np.array_equal(np.asarray(got), expected)


def test_a_shorter_side_that_fits_already_is_not_resampled():
    image = make(30, 20)
    got = Geometry(size=16, resize=20, interpolation="bicubic").apply(image)
    assert np.array_equal(np.asarray(got), np.asarray(image)[2:18, 7:23])


def test_squash_takes_the_whole_picture():
    image = make(30, 20)
    got = Geometry(size=8, squash=True, interpolation="bicubic").apply(image)
    assert np.array_equal(
        np.asarray(got), np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC))
    )


def test_the_usual_rule_with_another_filter():
    image = make(200, 100)
    got = Geometry(size=70, interpolation="bicubic").apply(image)
    whole = np.asarray(image.resize((160, 80), Image.Resampling.BICUBIC))
    assert np.array_equal(np.asarray(got), whole[5:75, 45:115])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 8, "interpolation": "bicubik"}, "did you mean 'bicubic'"),
        ({"size": 0, "resize": 8}, "resize = 8 needs a size"),
        ({"size": 224, "resize": 200}, "resize must be at least size = 224 pixels, got 200"),
        ({"size": 0, "squash": True}, "squash resizes both edges to size"),
        ({"size": 8, "convention": "pil"}, "convention must be one of torchvision, timm"),
    ],
)
def test_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Geometry(**wrong)


def test_an_extreme_picture_is_refused():
    with pytest.raises(ImageError, match="expected at most .* got resized"):
        Geometry(size=4000, resize=4096).apply(make(40_000, 1))


@pytest.mark.parametrize("memory", [2**30, 100], ids=["held", "lazy"])
def test_every_kind_of_source_takes_it(tmp_path, folder, pixels, memory, monkeypatch):
    """The 8 x 10 images of a folder, an archive and a table, each as Pillow makes them."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("augmix.data.stores.MEMORY_BYTES", memory)
    np.savez(tmp_path / "set.npz", images=pixels[:8], labels=np.arange(8))
    cells = []
    for image in pixels[:8]:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue()})
    pq.write_table(pa.table({"image": cells, "label": list(range(8))}), tmp_path / "set.parquet")
    options = {"size": 5, "resize": 6, "interpolation": "lanczos"}
    whole = np.asarray(Image.fromarray(pixels[3]).resize((7, 6), Image.Resampling.LANCZOS))
    for name, root in [
        ("folder", folder),
        ("npz", tmp_path / "set.npz"),
        ("parquet", tmp_path / "set.parquet"),
    ]:
        source = open_source(name, root=root, **options)
        assert source.size == (5, 5)
        assert np.array_equal(source.load(np.array([3]))[0], whole[0:5, 1:6])
        assert source.fingerprint == open_source(name, root=root).fingerprint


def test_grey_images(tmp_path, pixels):
    grey = pixels[..., 0]
    np.savez(tmp_path / "set.npz", images=grey, labels=np.arange(12))
    source = open_source("npz", root=tmp_path / "set.npz", size=4, resize=6)
    whole = np.asarray(Image.fromarray(grey[0]).resize((7, 6), Image.Resampling.BILINEAR))
    assert np.array_equal(source.load(np.array([0]))[0, ..., 0], whole[1:5, 2:6])


def test_a_broken_image_is_still_named(folder):
    path = folder / "train" / "bee" / "05.png"
    path.write_bytes(b"no image")
    options = {"root": folder, "size": 4, "resize": 6}
    with pytest.raises(Exception, match=r"05.png .index 5.: expected an image"):
        open_source("folder", **options)
    assert len(open_source("folder", **options, on_error="skip")) == 7


@pytest.fixture
def decoded(monkeypatch):
    """The items that are decoded, in order."""
    found = []

    def image(self, index, geometry=None):
        found.append(index)
        return decode_image(self.content(index), geometry)

    monkeypatch.setattr("augmix.data.stores.ImageFiles.image", image)
    return found


def test_images_of_a_large_set_are_decoded_when_they_are_loaded_and_once(
    folder, decoded, monkeypatch
):
    eager = open_source("folder", root=folder, size=8)
    assert sorted(decoded) == [0, 0, *range(1, 8)]
    monkeypatch.setattr("augmix.data.stores.MAX_AT_ONCE", 7)
    decoded.clear()
    lazy = open_source("folder", root=folder, size=8, num_threads=2)
    assert decoded == [0]
    assert (lazy.fingerprint, lazy.size) == (eager.fingerprint, eager.size)
    ids = np.array([3, 1, 3, 6])
    for _ in range(2):
        assert np.array_equal(lazy.load(ids), eager.load(ids))
    assert sorted(decoded) == [0, 1, 3, 6]
    assert np.array_equal(lazy.load(np.arange(8)), eager.load(np.arange(8)))
    assert sorted(decoded) == [0, *range(8)]


def test_only_the_images_of_a_part_are_decoded(folder, decoded, tmp_path):
    options = {"names": ("pixelate",), "severities": (1,), "num_processes": 1, "preset": "cifar"}
    config = CorruptConfig(
        src=str(folder), dst=tmp_path / "out", split="train", size=16, max_images=2, **options
    )
    corrupt_source(config)
    assert len(decoded) == 3  # the first tells the size
    assert len(list((tmp_path / "out").rglob("*.JPEG"))) == 2
    decoded.clear()
    broken = folder / "train" / "bee" / "05.png"
    broken.write_bytes(b"no image")
    part = take(open_source("folder", root=folder, size=8, is_lazy=True), 2)
    part.load(np.arange(2))
    assert len(decoded) == 3
    with pytest.raises(RunError, match=r"05.png \(index 5\): expected an image"):
        open_source("folder", root=folder, size=8)


def test_an_inspection_belongs_to_the_way_of_reading(tmp_path, cache, monkeypatch):
    monkeypatch.setattr("augmix.data.stores.MEMORY_BYTES", 10)
    (tmp_path / "ant").mkdir()
    for number, largest in enumerate((4095, 65535)):
        levels = np.full((8, 8), largest, np.uint16)
        Image.fromarray(levels).save(tmp_path / "ant" / f"{number}.png")
    for _ in range(2):
        assert len(open_source("folder", root=tmp_path, on_error="skip", split="test")) == 2
        deep = open_source("folder", root=tmp_path, on_error="skip", split="test", bit_depth=12)
        assert [why for _, why in deep.skipped] == [
            "expected levels 0..4095 as said by --bit-depth, got 65535..65535"
        ]
