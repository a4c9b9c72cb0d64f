"""Style images are found, cut and drawn; broken ones are named or passed over."""

import numpy as np
import pytest
from PIL import Image

from augmix.data import Reading
from augmix.errors import RunError
from augmix.rng import Purpose, Stream
from augmix.stylize.styles import (
    StyleImages,
    choose_style_size,
    crop_square,
    open_styles,
    style_stream,
)

STREAM = style_stream(7, 0)
SKIP = Reading(on_error="skip")


def test_images_are_found_at_any_depth_in_order(style_folder):
    styles = open_styles(style_folder, size=8)
    assert styles.files == ("a.png", "b.jpg", "d.bmp", "deep/c.webp")
    assert len(styles.files) == 4


def test_fingerprints_differ_with_the_files(style_folder):
    first = open_styles(style_folder, size=8).fingerprint
    assert open_styles(style_folder, size=8).fingerprint == first
    (style_folder / "a.png").rename(style_folder / "e.png")
    assert open_styles(style_folder, size=8).fingerprint != first


def test_the_centre_square_is_resized_by_lanczos():
    pixels = np.random.default_rng(0).integers(0, 256, (21, 40, 3), dtype=np.uint8)
    square = Image.fromarray(pixels[:, 9:30])  # 40 - 21 = 19 columns are cut, 9 of them left
    expected = np.asarray(square.resize((16, 16), Image.Resampling.LANCZOS))
    assert np.array_equal(crop_square(pixels, size=16), expected)
    tall = crop_square(pixels.transpose(1, 0, 2), size=16)
    turned = Image.fromarray(pixels.transpose(1, 0, 2)[9:30])
    assert np.array_equal(tall, np.asarray(turned.resize((16, 16), Image.Resampling.LANCZOS)))


def test_style_images_are_as_large_as_the_images_but_not_tiny():
    assert [choose_style_size(None, size) for size in (32, 96, 224)] == [96, 96, 224]
    assert choose_style_size(40, 224) == 40


def test_every_image_is_drawn_about_equally_often(style_folder):
    drawn = open_styles(style_folder, size=8).draw(np.arange(4000), STREAM)
    counts = np.bincount(drawn, minlength=4)
    assert (abs(counts - 1000) < 5 * np.sqrt(4000 * 0.25 * 0.75)).all()


def test_the_draw_is_the_uniform_at_the_image_s_address(style_folder):
    styles = open_styles(style_folder, size=8)
    ids = np.array([5, 3, 900, 3])
    drawn = styles.draw(ids, STREAM)
    uniforms = Stream(seed=7, purpose=Purpose.STYLE).uniforms(ids, count=1)[0, :, 0]
    assert drawn.tolist() == [int(4 * uniform) for uniform in uniforms]
    assert drawn[1] == drawn[3]
    assert styles.draw(ids[::-1].copy(), STREAM).tolist() == drawn[::-1].tolist()


def test_a_broken_image_stops_or_another_is_drawn(style_folder):
    (style_folder / "b.jpg").write_bytes(b"broken")
    styles = open_styles(style_folder, size=8)
    ids = np.arange(50)
    with pytest.raises(RunError, match=r"cannot use style image .*b\.jpg.*--on-error skip"):
        open_styles(style_folder, size=8).draw(ids, STREAM)
    first = styles.draw_any(ids, STREAM)
    cache = open_styles(style_folder, size=8, reading=SKIP)
    drawn = cache.draw(ids, STREAM)
    assert (first == 1).any()
    assert not (drawn == 1).any()
    assert np.array_equal(drawn[first != 1], first[first != 1])
    assert list(cache.broken) == [1]
    alone = [
        open_styles(style_folder, size=8, reading=SKIP).draw(ids[i : i + 1], STREAM)[0] for i in ids
    ]
    assert drawn.tolist() == alone  # whatever else is drawn with it


def test_a_truncated_image_is_broken(style_folder):
    content = (style_folder / "a.png").read_bytes()
    (style_folder / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match=r"cannot use style image .*a\.png"):
        open_styles(style_folder, size=8).draw(np.arange(50), STREAM)


def test_a_folder_of_broken_images_only_is_refused(style_folder):
    for path in style_folder.rglob("*.*"):
        path.write_bytes(b"broken")
    cache = open_styles(style_folder, size=8, reading=SKIP)
    with pytest.raises(RunError, match="100 images in a row could not be read"):
        cache.draw(np.arange(3), STREAM)


def test_images_are_kept_while_memory_allows(style_folder, monkeypatch):
    monkeypatch.setattr(StyleImages, "MEMORY_BYTES", 2 * 8 * 8 * 3)
    cache = open_styles(style_folder, size=8)
    images = [cache.image(index) for index in range(4)]
    assert [cache.image(index) is image for index, image in enumerate(images)] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: "", "name a folder of style images"),
        (lambda path: path / "missing", "missing does not exist"),
        (lambda path: path / "notes.txt", "is no folder"),
        (lambda path: path / "empty", "holds no style image"),
    ],
    ids=["unnamed", "missing", "file", "empty"],
)
def test_folders_without_images_are_refused(style_folder, make, message):
    (style_folder / "empty").mkdir()
    with pytest.raises(RunError, match=message):
        open_styles(make(style_folder), size=8)
