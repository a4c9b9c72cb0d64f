"""Image files and arrays to pixels: decoding, resizing, random crops."""

import io
import math
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from augmix.data import Reading
from augmix.data.decode import (
    Geometry,
    ImageError,
    ResizedCrop,
    decode_crop,
    decode_image,
    inspect_file,
    is_image_start,
    stored_size,
)
from augmix.data.derived import mix, open_stylised, subset
from augmix.data.sources import load_at, open_source
from augmix.errors import RunError
from augmix.rng import Stream


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


def read(content: bytes, **choices) -> np.ndarray:
    return decode_image(content, Geometry(reading=Reading(**choices)))


TWELVE_BITS = np.array([[0, 255, 4000, 4095]], np.uint16)


def twelve_bit_tiff(levels: np.ndarray) -> bytes:
    """A TIFF with 12 bits a level, which Pillow reads and does not write."""
    bits = (levels[..., None] >> np.arange(11, -1, -1)) & 1
    content = np.packbits(bits.astype(np.uint8).reshape(len(levels), -1), axis=1).tobytes()
    height, width = levels.shape
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: height}
    tags |= {279: len(content)}
    tags[273] = 14 + 12 * len(tags)  # where the levels begin
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return start + entries + bytes(4) + content


@pytest.mark.parametrize(
    "content",
    [
        b"P5 4 1 4095\n" + TWELVE_BITS.astype(">u2").tobytes(),
        b"P2 4 1 4095\n0 255 4000 4095\n",
        twelve_bit_tiff(TWELVE_BITS),
        encode(Image.fromarray(TWELVE_BITS), "TIFF", tiffinfo={281: 4095}),
    ],
    ids=["binary PGM", "plain PGM", "12-bit TIFF", "TIFF with a maximum"],
)
def test_the_header_says_how_bright_a_level_is(content):
    assert read(content)[0, :, 0].tolist() == [0, 15, 250, 255]


def test_sixteen_bits_of_pgm_and_jpeg_2000_are_those_of_png():
    levels = np.array([[0, 255, 256, 65535]], np.uint16)
    for kind in ("PPM", "JPEG2000"):
        assert read(encode(Image.fromarray(levels), kind))[0, :, 2].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_a_bit_depth_says_how_bright_a_level_is(kind):
    content = encode(Image.fromarray(TWELVE_BITS), kind)
    assert read(content)[0, :, 0].tolist() == [0, 0, 15, 15]  # almost black
    assert read(content, bit_depth=12)[0, :, 0].tolist() == [0, 15, 250, 255]
    assert inspect_file(content).levels == (0, 4095)
    with pytest.raises(ImageError, match=r"expected levels 0..1023 as said by --bit-depth, got"):
        read(content, bit_depth=10)
    stored_in_32_bits = encode(Image.fromarray(TWELVE_BITS.astype(np.int32)), "TIFF")
    assert read(stored_in_32_bits, bit_depth=12)[0, :, 0].tolist() == [0, 15, 250, 255]


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_a_bit_depth_counts_for_colours_too(suffix):
    levels = np.random.default_rng(0).integers(0, 4096, (4, 6, 3), np.uint16)
    content = cv2.imencode(suffix, levels[..., ::-1])[1].tobytes()
    assert np.array_equal(read(content), levels >> 8)
    assert np.array_equal(read(content, bit_depth=12), levels >> 4)
    assert inspect_file(content).levels == (levels.min(), levels.max())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_ignored_or_applied_in_every_format(kind, noise):
    exact = {"lossless": True} if kind == "WEBP" else {}
    stored = read(encode(Image.fromarray(noise[0][:5]), kind, **exact))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        tag = {"tiffinfo": {0x0112: orientation}} if kind == "TIFF" else {"exif": exif}
        content = encode(Image.fromarray(noise[0][:5]), kind, **tag, **exact)
        assert np.array_equal(read(content), stored)
        assert stored_size(content) == stored.shape[:2]
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
        applied = read(content, exif_orientation="apply")
        assert np.array_equal(applied, np.asarray(upright))
        reading = Reading(exif_orientation="apply")
        assert stored_size(content, reading) == applied.shape[:2]
        part = decode_crop(content, lambda h, w: (0, 0, h, w), size=4, reading=reading)
        resized = Image.fromarray(applied).resize((4, 4), Image.Resampling.BILINEAR)
        assert np.array_equal(part, np.asarray(resized))
        assert inspect_file(content).is_turned == (orientation > 1)


def test_a_broken_exif_tag_breaks_no_image(pixels):
    content = encode(Image.fromarray(pixels[0]), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(read(content, exif_orientation="apply"), pixels[0])


def test_a_background_appears_behind_transparent_pixels():
    clear, half = (encode(Image.new("RGBA", (1, 1), (10, 20, 30, a))) for a in (0, 128))
    assert read(clear, background="white").tolist() == [[[255, 255, 255]]]
    assert read(half, background="#ffffff").tolist() == [[[132, 137, 142]]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([1, 2, 3, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        content = encode(palette, kind, transparency=0)
        assert read(content, background="red").tolist() == [[[255, 0, 0], [200, 100, 50]]]
    for mode, key in (("L", 7), ("RGB", (7, 7, 7))):
        content = encode(Image.new(mode, (1, 1), key), transparency=key)
        assert read(content, background="blue").tolist() == [[[0, 0, 255]]]
        assert read(content).tolist() == [[[7, 7, 7]]]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"background": "whitish"}, "background must be a colour such as white, #ff8800"),
        ({"bit_depth": 8}, "bit_depth must be 9..16 bits, got 8"),
    ],
)
def test_choices_are_checked(choices, message):
    with pytest.raises(ValueError, match=message):
        Reading(**choices)


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "MPO", "TGA", "WEBP"])
def test_formats_of_phones_and_games(kind, noise):
    image = Image.fromarray(noise[0])
    more = {"save_all": True, "append_images": [image]} if kind == "MPO" else {}
    content = encode(image, kind, **more)
    assert np.array_equal(read(content), Image.open(io.BytesIO(content)).convert("RGB"))
    assert is_image_start(content[:64]) == (kind != "TGA")  # which has no signature


def test_a_heif_file_without_its_plugin_names_it():
    if "HEIF" in Image.OPEN:
        pytest.skip("pillow-heif is installed")
    with pytest.raises(ImageError, match="a HEIF file needs pip install pillow-heif"):
        read(b"\0\0\0\x18ftypheic" + bytes(40))


@pytest.mark.parametrize(
    ("kind", "most"), [("WEBP", 67_108_864), ("JPEG2000", 53_687_091), ("AVIF", 107_374_182)]
)
def test_formats_that_take_more_memory_have_a_lower_limit(kind, most, monkeypatch):
    content = encode(Image.new("RGB", (16, 16)), kind)
    monkeypatch.setattr("augmix.data.decode._MAX_BYTES", 2**30 // most * 256)
    assert read(content).shape == (16, 16, 3)
    monkeypatch.setattr("augmix.data.decode._MAX_BYTES", 2**30 // most * 256 - 1)
    with pytest.raises(ImageError, match=f"expected at most 255 pixels, got {kind} of 16x16 = 256"):
        stored_size(content)


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
    assert np.array_equal(decode_image(png(one), Geometry(size=5)), np.broadcast_to(one, (5, 5, 3)))


@pytest.mark.parametrize("edge", [9_100, 15_000, 20_000])
def test_a_bomb_is_refused_before_it_is_decoded(edge):
    content = png_header(edge, 20_000)
    for read in (decode_image, stored_size):
        message = f"expected at most 178,956,970 pixels, got {edge * 20_000:,}"
        with pytest.raises(ImageError, match=message):
            read(content)


def test_a_small_but_endless_strip_is_refused():
    with pytest.raises(ImageError, match=r"got resized 30720000x256 = 7,864,320,000"):
        decode_image(encode(Image.new("RGB", (120_000, 1))), Geometry(size=224))


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
    assert np.array_equal(Geometry(size=size).apply_to_array(array), expected)


def test_grey_stays_grey_when_resized(pixels):
    grey = pixels[0, ..., :1]
    assert np.array_equal(Geometry(size=8).apply_to_array(grey)[..., 0], grey[:, 1:9, 0])


@pytest.mark.parametrize(
    ("edge", "size", "scale"), [(191, 64, 1), (192, 64, 2), (192, 32, 4), (192, 16, 8), (200, 1, 8)]
)
def test_large_crops_of_jpegs_are_decoded_reduced(edge, size, scale):
    image = Image.fromarray(smooth_picture(300, 270))
    content = encode(image, "JPEG", quality=95)
    whole = Image.open(io.BytesIO(content))
    box = (7, 11, edge, edge)
    cut = whole.crop((11, 7, 11 + edge, 7 + edge)).resize((size, size), Image.Resampling.BILINEAR)
    exact = decode_crop(content, lambda height, width: box, size=size, is_reduced=False)
    assert np.array_equal(exact, np.asarray(cut))
    reduced = decode_crop(content, lambda height, width: box, size=size)
    small = Image.open(io.BytesIO(content))
    small.draft("RGB", (270 // scale, 300 // scale))
    assert small.size == (-(-270 // scale), -(-300 // scale))
    left, top, right, low = (corner / scale for corner in (11, 7, 11 + edge, 7 + edge))
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


class Replay:
    """Numbers drawn beforehand, handed out as torch's generator would."""

    def __init__(self, numbers: np.ndarray) -> None:
        self.numbers = iter(numbers.ravel().tolist())

    def uniform(self, low: float, high: float) -> float:
        return low + next(self.numbers) * (high - low)

    def randint(self, low: int, high: int) -> int:
        return low + math.floor(next(self.numbers) * (high - low))


def published(
    height: int, width: int, numbers: np.ndarray, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)
):
    """``RandomResizedCrop.get_params`` line by line; a try that fails leaves its corner undrawn."""
    area = height * width
    for row in numbers:
        draw = Replay(row)
        target_area = area * draw.uniform(*scale)
        aspect_ratio = math.exp(draw.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w = round(math.sqrt(target_area * aspect_ratio))
        h = round(math.sqrt(target_area / aspect_ratio))
        if 0 < w <= width and 0 < h <= height:
            return draw.randint(0, height - h + 1), draw.randint(0, width - w + 1), h, w
    in_ratio = float(width) / float(height)
    if in_ratio < min(ratio):
        w = width
        h = round(w / min(ratio))
    elif in_ratio > max(ratio):
        h = height
        w = round(h * max(ratio))
    else:
        w = width
        h = height
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize(
    ("height", "width"), [(375, 500), (500, 375), (30, 400), (400, 30), (1, 1), (64, 64)]
)
def test_boxes_are_the_published_ones(height: int, width: int) -> None:
    crop = ResizedCrop()
    draws = crop.sample(np.arange(200), stream=Stream(seed=3))
    boxes = [crop.box(draw, height, width) for draw in draws]
    assert boxes == [published(height, width, draw) for draw in draws]
    for top, left, tall, wide in boxes:
        assert 0 <= top <= height - tall
        assert 0 <= left <= width - wide


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(10, 100, (0, 43, 10, 13)), (100, 10, (43, 0, 13, 10)), (30, 40, (0, 0, 30, 40))],
)
def test_ten_failures_give_the_centre(height: int, width: int, expected: tuple) -> None:
    hopeless = np.full((10, 4), 1 - 1e-9)  # all of the area, at the widest
    hopeless[5:, 1] = 1e-9  # and at the tallest
    assert ResizedCrop().box(hopeless, height, width) == expected


def test_area_and_shape_have_their_distributions() -> None:
    """Of a square of 1,000 pixels: log ratio uniform; area of the first tries that fit, by rule."""
    crop = ResizedCrop(area=(0.1, 0.5))
    draws = crop.sample(np.arange(4000), stream=Stream(seed=0))
    boxes = np.array([crop.box(draw, 1000, 1000) for draw in draws])
    area = boxes[:, 2] * boxes[:, 3] / 1e6
    shape = np.log(boxes[:, 3] / boxes[:, 2]) / math.log(4 / 3)
    np.testing.assert_allclose(np.quantile(area, [0.25, 0.5, 0.75]), [0.2, 0.3, 0.4], atol=0.012)
    np.testing.assert_allclose(np.quantile(shape, [0.25, 0.5, 0.75]), [-0.5, 0, 0.5], atol=0.06)
    free = 1000 - boxes[:, 2]
    assert np.mean(boxes[:, 0] / free) == pytest.approx(0.5, abs=0.02)


def test_numbers_belong_to_seed_epoch_and_id() -> None:
    crop, ids = ResizedCrop(), np.array([5, 9, 5])
    draws = crop.sample(ids, stream=Stream(seed=1).at(epoch=2))
    assert draws.shape == (3, 10, 4)
    assert np.array_equal(draws[0], draws[2])
    alone = crop.sample(np.array([9]), stream=Stream(seed=1).at(epoch=2))
    assert np.array_equal(alone[0], draws[1])
    for stream in (Stream(seed=1).at(epoch=3), Stream(seed=2).at(epoch=2)):
        assert not np.isin(crop.sample(ids, stream=stream), draws).any()


@pytest.mark.parametrize(
    "changes", [{"area": (0.0, 1.0)}, {"area": (0.5, 0.2)}, {"ratio": (2.0, 1.0)}], ids=str
)
def test_ranges_are_checked(changes: dict) -> None:
    with pytest.raises(ValueError, match=r"must be .*low <= high, got|must be fractions"):
        ResizedCrop(**changes)


@pytest.fixture
def photographs(tmp_path, png):
    """Six JPEGs of different sizes in two classes, and their pixels in order of the ids."""
    rng, pixels = np.random.default_rng(0), []
    for index in range(6):
        parent = tmp_path / "photographs" / "train" / ("ant", "bee")[index // 3]
        parent.mkdir(parents=True, exist_ok=True)
        shape = (40 + 7 * index, 60 - 5 * index, 3)
        content = png(rng.integers(0, 256, shape, dtype=np.uint8), "JPEG")
        (parent / f"{index}.jpg").write_bytes(content)
        pixels.append(np.asarray(Image.open(io.BytesIO(content))))
    return tmp_path / "photographs", pixels


def test_training_images_are_cropped_at_their_address(photographs) -> None:
    root, pixels = photographs
    crop = ResizedCrop()
    source = open_source("folder", root=root, size=8, crop=crop, is_reduced=False)
    assert (source.size, source.crop_padding, source.flip) == ((8, 8), 0, True)
    stream, ids = Stream(seed=7).at(epoch=1), np.array([4, 0, 4, 2, 5, 1, 3])
    images = load_at(source, ids, stream=stream)
    for image, number in zip(images, ids, strict=True):
        draw = crop.sample(np.array([number]), stream=stream)[0]
        top, left, tall, wide = crop.box(draw, *pixels[number].shape[:2])
        cut = Image.fromarray(pixels[number]).crop((left, top, left + wide, top + tall))
        expected = np.asarray(cut.resize((8, 8), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(image, expected)
    other = load_at(source, ids, stream=stream.at(epoch=2))
    assert all((image != before).any() for image, before in zip(other, images, strict=True))
    plain = open_source("folder", root=root, size=8)
    assert np.array_equal(source.load(ids), plain.load(ids))
    assert source.fingerprint == plain.fingerprint
    assert np.array_equal(load_at(plain, ids, stream=stream), plain.load(ids))


def test_threads_and_batches_change_no_crop(photographs) -> None:
    sources = [
        open_source("folder", root=photographs[0], size=8, crop=ResizedCrop(), num_threads=count)
        for count in (1, 3)
    ]
    ids, stream = np.arange(30) % 6, Stream(seed=0)
    one, three = (load_at(source, ids, stream=stream) for source in sources)
    assert np.array_equal(one, three)
    assert np.array_equal(load_at(sources[0], ids[4:5], stream=stream)[0], one[4])


def test_parts_and_mixes_crop_too(photographs) -> None:
    root, _ = photographs
    source = open_source("folder", root=root, size=8, crop=ResizedCrop())
    stream = Stream(seed=0)
    part = subset(source, np.array([5, 1]))
    draws = ResizedCrop().sample(np.array([1]), stream=stream)  # by its number in the part
    expected = source.load_crops(np.array([1]), draws)
    assert np.array_equal(load_at(part, np.array([1]), stream=stream), expected)

    both = mix(source, open_stylised(root, source))
    images = load_at(both, np.array([8, 2]), stream=stream)
    draws = ResizedCrop().sample(np.array([8]), stream=stream)
    assert np.array_equal(images[:1], source.load_crops(np.array([2]), draws))
    assert np.array_equal(images[1:], load_at(source, np.array([2]), stream=stream))
    assert subset(open_source("folder", root=root, size=8), np.array([0])).crop is None


def test_a_broken_photograph_is_named_and_the_others_stay_usable(photographs) -> None:
    root, _ = photographs
    path = root / "train" / "bee" / "4.jpg"
    path.write_bytes(path.read_bytes()[:200])
    source = open_source("folder", root=root, size=8, crop=ResizedCrop())
    message = r"cannot use image .*bee/4.jpg \(index 4\): .*--on-error skip"
    with pytest.raises(RunError, match=message):
        load_at(source, np.array([0, 4]), stream=Stream(seed=0))
    assert load_at(source, np.array([0, 5]), stream=Stream(seed=0)).shape == (2, 8, 8, 3)
    kept = open_source("folder", root=root, size=8, crop=ResizedCrop(), on_error="skip")
    assert (len(kept), len(kept.skipped)) == (5, 1)
    stored = source.load_crops(np.array([5]), np.full((1, 10, 4), 0.4))
    assert np.array_equal(kept.load_crops(np.array([4]), np.full((1, 10, 4), 0.4)), stored)


def test_crops_need_files_and_a_size(photographs, tmp_path) -> None:
    with pytest.raises(ValueError, match="random resized crops need a size.*--size 224"):
        open_source("folder", root=photographs[0], crop=ResizedCrop())
    np.savez(tmp_path / "train.npz", images=np.zeros((2, 8, 8, 3), np.uint8), labels=[0, 1])
    for name in ("npz", "digits"):
        with pytest.raises(ValueError, match=f"need image files, got the arrays of '{name}'"):
            open_source(name, root=tmp_path, size=8, crop=ResizedCrop())
