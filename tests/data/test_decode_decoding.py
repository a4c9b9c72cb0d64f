import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from augmix.data.decode import ImageError, decode_crop, decode_image, resize_image, stored_size


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10))
        + chunk(b"IEND", b"")
    )


def test_png_pixels_are_exact(pixels, png):
    assert np.array_equal(decode_image(png(pixels[0])), pixels[0])


def test_jpeg_is_pillows(pixels, png):
    content = png(pixels[0], "JPEG")
    assert np.array_equal(decode_image(content), np.asarray(Image.open(io.BytesIO(content))))


def test_grey_is_repeated(pixels, png):
    grey = pixels[0, ..., 0]
    assert np.array_equal(decode_image(png(grey)), np.repeat(grey[..., None], 3, axis=2))


def test_one_bit_is_black_and_white():
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert decode_image(encode(image)).tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_sixteen_bit_keeps_the_high_byte():
    levels = np.array([[0, 255, 256, 65535]], np.uint16)
    assert decode_image(encode(Image.fromarray(levels)))[0, :, 0].tolist() == [0, 0, 1, 255]
    content = encode(Image.fromarray(levels), "TIFF")
    assert decode_image(content)[0, :, 1].tolist() == [0, 0, 1, 255]


def test_alpha_is_dropped():
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    assert decode_image(encode(image)).tolist() == [[[10, 20, 30]] * 2]
    image = Image.new("LA", (1, 1), (77, 3))
    assert decode_image(encode(image)).tolist() == [[[77, 77, 77]]]


def test_palettes_give_their_colours_with_and_without_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 200, 100, 50])
    image.putpixel((1, 0), 1)
    expected = [[[1, 2, 3], [200, 100, 50]]]
    assert decode_image(encode(image)).tolist() == expected
    assert decode_image(encode(image, transparency=b"\x00\x80")).tolist() == expected
    assert decode_image(encode(image, "GIF")).tolist() == expected


def test_cmyk_is_converted():
    image = Image.new("CMYK", (8, 8), (0, 0, 0, 0))  # no ink: white
    assert decode_image(encode(image, "JPEG")).tolist() == [[[255, 255, 255]] * 8] * 8


@pytest.mark.parametrize(("mode", "what"), [("I", "32-bit integers"), ("F", "floats")])
def test_levels_without_a_range_are_refused(mode, what):
    content = encode(Image.new(mode, (2, 2)), "TIFF")
    with pytest.raises(ImageError, match=f"expected 8- or 16-bit grey levels, got mode .*{what}"):
        decode_image(content)


def test_one_pixel_is_an_image(png):
    one = np.array([[[7, 8, 9]]], np.uint8)
    assert decode_image(png(one)).tolist() == [[[7, 8, 9]]]
    assert np.array_equal(decode_image(png(one), size=5), np.broadcast_to(one, (5, 5, 3)))


@pytest.mark.parametrize("side", [15_000, 20_000])
def test_a_bomb_is_refused_before_it_is_decoded(side):
    content = png_header(side, 20_000)
    for read in (decode_image, stored_size):
        with pytest.raises(ImageError, match="expected at most 200,000,000 pixels"):
            read(content)


def test_a_small_but_endless_strip_is_refused():
    with pytest.raises(ImageError, match=r"got resized 30720000x256 = 7,864,320,000"):
        decode_image(encode(Image.new("RGB", (120_000, 1))), size=224)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got no bytes at all"),
        (b"GIF? no", "expected an image .JPEG, PNG.*got 7 bytes that start b'GIF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "expected an image"),
    ],
)
def test_what_is_no_image_is_named(content, message):
    for read in (decode_image, stored_size):
        with pytest.raises(ImageError, match=message):
            read(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_truncated_images_are_refused(kind, noise):
    content = encode(Image.fromarray(np.tile(noise[0], (4, 4, 1))), kind)
    with pytest.raises(ImageError, match="truncated"):
        decode_image(content[: len(content) // 2])


def test_stored_size_is_height_and_width(pixels, png):
    assert stored_size(png(pixels[0])) == (8, 10)


@pytest.mark.parametrize(
    ("height", "width", "size", "resized", "corner"),
    [
        (300, 400, 224, (341, 256), (58, 16)),  # 256 * 400 / 300 = 341.3, cut to 341
        (40, 20, 10, (10, 20), (0, 5)),
        (64, 100, 64, (114, 73), (25, 4)),  # half to even: (73 - 64) / 2 = 4.5 -> 4
    ],
)
def test_resizing_is_the_published_recipe(height, width, size, resized, corner):
    array = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    small = Image.fromarray(array).resize(resized, Image.Resampling.BILINEAR)
    left, top = corner
    expected = np.asarray(small)[top : top + size, left : left + size]
    assert np.array_equal(resize_image(array, size=size), expected)


def test_grey_stays_grey_when_resized(pixels):
    grey = pixels[0, ..., :1]
    assert np.array_equal(resize_image(grey, size=8)[..., 0], grey[:, 1:9, 0])


@pytest.mark.parametrize(
    ("side", "size", "scale"), [(191, 64, 1), (192, 64, 2), (192, 32, 4), (192, 16, 8), (200, 1, 8)]
)
def test_large_crops_of_jpegs_are_decoded_reduced(side, size, scale):
    image = Image.fromarray(smooth_picture(300, 270))
    content = encode(image, "JPEG", quality=95)
    whole = Image.open(io.BytesIO(content))
    box = (7, 11, side, side)
    cut = whole.crop((11, 7, 11 + side, 7 + side)).resize((size, size), Image.Resampling.BILINEAR)
    exact = decode_crop(content, lambda height, width: box, size=size, is_reduced=False)
    assert np.array_equal(exact, np.asarray(cut))
    reduced = decode_crop(content, lambda height, width: box, size=size)
    small = Image.open(io.BytesIO(content))
    small.draft("RGB", (270 // scale, 300 // scale))
    assert small.size == (-(-270 // scale), -(-300 // scale))
    left, top, right, low = (corner / scale for corner in (11, 7, 11 + side, 7 + side))
    around = small.crop((int(left), int(top), int(-(-right // 1)), int(-(-low // 1))))
    inside = (left % 1, top % 1, right - int(left), low - int(top))
    expected = around.resize((size, size), Image.Resampling.BILINEAR, box=inside)
    if scale > 1:
        assert np.array_equal(reduced, np.asarray(expected))
    else:
        assert np.array_equal(reduced, exact)
    assert np.abs(reduced.astype(int) - exact).mean() < 2


def test_crops_of_other_formats_are_exact_and_rgb(pixels):
    for kind, mode in (("PNG", "RGB"), ("PNG", "P"), ("PNG", "L"), ("JPEG", "CMYK")):
        image = Image.fromarray(smooth_picture(64, 80)).convert(mode)
        content = encode(image, kind)
        whole = decode_image(content)
        got = decode_crop(content, lambda height, width: (0, 16, height, height), size=10)
        cut = Image.fromarray(whole[:, 16:80]).resize((10, 10), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(got, np.asarray(cut), atol=0 if kind == "PNG" else 6)


def test_a_broken_crop_is_an_image_error():
    content = encode(Image.fromarray(smooth_picture(64, 64)), "JPEG")
    for broken in (content[:300], b"", b"text"):
        with pytest.raises(ImageError):
            decode_crop(broken, lambda height, width: (0, 0, 8, 8), size=4)


def smooth_picture(height, width):
    """Waves of several pixels in each colour."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / (20 + c)) + np.cos(columns / (25 + c)) for c in range(3)]
    return (127.5 + 60 * np.stack(waves, axis=2)).astype(np.uint8)
