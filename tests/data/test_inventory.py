"""What a user is told about the images of a source."""

import io

import numpy as np
import pytest
from PIL import Image

from augmix.data.derived import mix, take
from augmix.data.inventory import describe_images, record_images
from augmix.data.sources import open_source


def write(path, orientation=1, levels=None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((8, 8, 3), np.uint8) if levels is None else levels
    Image.fromarray(pixels).save(path, exif=exif)


@pytest.fixture
def root(tmp_path):
    """Two classes, and a third one with a broken image only; three of six images are turned."""
    for number in range(4):
        write(tmp_path / "ant" / f"{number}.png", orientation=6 if number < 3 else 1)
    for number in range(2):
        write(tmp_path / "bee" / f"{number}.png")
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a\x1b[2J.png").write_bytes(b"\x89PNG broken")
    return tmp_path


def test_classes_broken_images_and_orientations_are_told(root):
    source = open_source("folder", root=root, on_error="skip")
    lines = describe_images(source)
    assert lines[:2] == (
        "3 classes: ant 4, bee 2, cat 0",
        "warning: no training image of class cat, which cannot be learned: add some, or remove the "
        "class",
    )
    assert lines[2].startswith(f"1 broken image skipped:\n  {root}/cat/a\\x1b[2J.png: expected an")
    assert lines[3] == (
        "warning: 3 of 6 images have an EXIF orientation that is ignored, as in the ImageNet "
        "protocol; --exif-orientation apply turns them upright"
    )
    assert len(lines) == 4
    assert record_images(source)["skipped"][0].startswith(f"{root}/cat/a\\x1b[2J.png: expected an")
    assert record_images(mix(source, source))["skipped"] == 2 * record_images(source)["skipped"]
    assert describe_images(mix(source, source)) == lines
    turned = open_source("folder", root=root, on_error="skip", exif_orientation="apply")
    assert describe_images(turned) == lines[:3]
    assert describe_images(take(source, 1))[0].count(" 0") == 2
    test = open_source("folder", root=root, split="test", on_error="skip")
    assert describe_images(test)[1] == "warning: no test image of class cat"


def test_the_first_ten_skipped_images_are_named_in_the_terminal_and_all_in_records(root):
    for number in range(11):
        (root / "bee" / f"broken{number:02d}.png").write_bytes(b"no image")
    source = open_source("folder", root=root, on_error="skip")
    _, _, skipped, more, _ = describe_images(source)
    assert skipped.startswith("12 broken images skipped:\n")
    assert len(skipped.splitlines()) == 11
    assert more == "  and 2 more"
    assert len(record_images(source)["skipped"]) == 12


def test_many_classes_are_summed_up(tmp_path):
    labels = np.repeat(np.arange(30), np.where(np.arange(30) == 7, 3, 2))
    images = np.zeros((len(labels), 8, 8, 3), np.uint8)
    np.savez(tmp_path / "train.npz", images=images, labels=labels)
    source = open_source("npz", root=tmp_path / "train.npz")
    assert describe_images(source) == ("30 classes: 61 images, 2 (0) to 3 (7) each",)
    assert record_images(source) == {}


@pytest.mark.parametrize(("largest", "bits"), [(255, 9), (4095, 12), (16383, 14), (16384, None)])
def test_levels_that_do_not_fill_16_bits_are_named(tmp_path, largest, bits):
    for number in range(2):
        levels = np.full((8, 8), largest // 2, np.uint16)
        levels[0, 0] = largest * number
        write(tmp_path / "ant" / f"{number}.png", levels=levels)
    source = open_source("folder", root=tmp_path)
    if bits is None:
        assert source.warnings == ()
        return
    assert source.warnings == (
        f"the 16-bit files looked at (2) hold levels 0..{largest} only and come out dark; if they "
        f"have {bits} bits, say so by --bit-depth {bits}",
    )
    read = open_source("folder", root=tmp_path, bit_depth=bits)
    assert read.warnings == ()
    assert read.load(np.array([1]))[0, 0, 0, 0] == largest >> (bits - 8)


def test_choices_without_effect_are_refused(tmp_path):
    images = np.zeros((2, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "train.npz", images=images, labels=[0, 1])
    for choice in ({"exif_orientation": "apply"}, {"background": "white"}, {"bit_depth": 12}):
        with pytest.raises(ValueError, match="would have no effect: it is for image files, got"):
            open_source("npz", root=tmp_path, **choice)
        with pytest.raises(ValueError, match="would have no effect: it is for image files, got"):
            open_source("digits", **choice)
    open_source("npz", root=tmp_path, exif_orientation="ignore")


def test_choices_reach_whole_images_and_crops(tmp_path):
    picture = Image.new("RGBA", (6, 4), (10, 20, 30, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", exif=exif)
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant" / "0.png").write_bytes(buffer.getvalue())
    source = open_source("folder", root=tmp_path, exif_orientation="apply", background="red")
    assert source.size == (6, 4)
    assert source.load(np.array([0]))[0, 0, 0].tolist() == [255, 0, 0]
    plain = open_source("folder", root=tmp_path)
    assert plain.size == (4, 6)
    assert plain.fingerprint == source.fingerprint  # the stored images are the same
    assert source.geometry.describe() == {"exif_orientation": "apply", "background": "red"}
    assert plain.geometry.describe() == {}
