"""Corrupting batches: addresses, threads, inputs, messages."""

import hashlib
import inspect
import io
import re
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import augmix
from augmix.corruptions.corrupt import SUITE_VERSION, corrupt, for_each, perturb, useful_threads
from augmix.corruptions.registry import CORRUPTIONS
from augmix.errors import RunError
from augmix.rng import Purpose, Stream

MODULE = sys.modules[corrupt.__module__]


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (6, 20, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_same_address_same_bytes(name: str, images: np.ndarray):
    ids = np.array([3, 900, 0, 77, 5, 2**31])
    whole = corrupt(images, name, severity=3, preset="imagenet", seed=9, ids=ids)
    order = np.array([4, 2, 0, 5, 1, 3])
    turned = corrupt(images[order], name, severity=3, preset="imagenet", seed=9, ids=ids[order])
    np.testing.assert_array_equal(turned, whole[order])
    threads = corrupt(images, name, severity=3, preset="imagenet", seed=9, ids=ids, num_threads=3)
    np.testing.assert_array_equal(threads, whole)
    for place in range(len(images)):
        alone = corrupt(
            images[place : place + 1],
            name,
            severity=3,
            preset="imagenet",
            seed=9,
            ids=ids[place : place + 1],
        )
        np.testing.assert_array_equal(alone[0], whole[place])


@pytest.mark.parametrize(
    "name", ["gaussian_noise", "shot_noise", "impulse_noise", "fog", "snow", "elastic_transform"]
)
def test_another_address_other_draws(name: str):
    images = np.full((2, 20, 24, 3), 120, np.uint8)
    first, second = corrupt(images, name, severity=5)
    assert (first != second).any()
    assert (corrupt(images, name, severity=5, seed=1)[0] != first).any()
    np.testing.assert_array_equal(corrupt(images, name, severity=5, ids=np.array([1, 0]))[1], first)


def test_the_address_of_a_draw(images: np.ndarray):
    row = CORRUPTIONS.find("impulse_noise")
    generator = Stream(seed=4).at(Purpose.CORRUPTION, part=2 * 8 + 5).generator(11)
    expected = row.function(images[0], 0.27, generator=generator)
    result = corrupt(
        images[:1], "impulse_noise", severity=5, preset="imagenet", seed=4, ids=np.array([11])
    )
    np.testing.assert_array_equal(result[0], expected)


def test_inputs_of_every_kind(images: np.ndarray):
    images = images[:2]
    for name in list(CORRUPTIONS):
        whole = corrupt(images, name, severity=2)
        np.testing.assert_array_equal(
            corrupt(images[:, ::-1][:, ::-1], name, severity=2), whole, err_msg=name
        )
        grey = corrupt(images[..., :1], name, severity=2)
        assert grey.shape == (2, 20, 24, 1)
        assert corrupt(images[:0], name, severity=2).shape == (0, 20, 24, 3)
        read_only = images.copy()
        read_only.flags.writeable = False
        np.testing.assert_array_equal(corrupt(read_only, name, severity=2), whole)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"name": "gausian_noise"}, ValueError, "did you mean 'gaussian_noise'"),
        ({"severity": 7}, ValueError, "severity must be 1..5, got 7 for corruption 'contrast'"),
        ({"severity": 0}, ValueError, "severity must be 1..5, got 0 for corruption 'contrast'"),
        ({"preset": "big"}, ValueError, "preset must be one of"),
        ({"num_threads": 0}, ValueError, "num_threads must be at least 1, got 0"),
        ({"ids": np.arange(3)}, ValueError, "ids must be one for each of 6 images, got (3,)"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"jpeg_quality": 0}, ValueError, "jpeg_quality must be 1..100, got 0"),
        ({"jpeg_quality": 101}, ValueError, "jpeg_quality must be 1..100, got 101"),
    ],
)
def test_messages(images: np.ndarray, change: dict, error: type, message: str):
    settings = {"name": "contrast", "severity": 3, **change}
    with pytest.raises(error, match=re.escape(message)):
        corrupt(images, settings.pop("name"), **settings)


@pytest.mark.parametrize("channels", [1, 3])
def test_coded_as_the_published_files_are(images: np.ndarray, channels: int):
    """`save(path, quality=85, optimize=True)` after the cut to whole levels."""
    images = images[..., :channels]
    for name in ("fog", "jpeg_compression"):
        result = corrupt(images, name, severity=2, jpeg_quality=85, num_threads=2)
        for image, coded in zip(corrupt(images, name, severity=2), result, strict=True):
            file = io.BytesIO()
            picture = Image.fromarray(image.squeeze())
            picture.save(file, "JPEG", quality=85, optimize=True)
            decoded = np.asarray(Image.open(file)).reshape(image.shape)
            np.testing.assert_array_equal(coded, decoded)
        assert (result != corrupt(images, name, severity=2)).any()


def test_images_that_are_none(images: np.ndarray):
    small = "images to corrupt must be at least 16 x 16 pixels, got 15 x 24; enlarge them first"
    with pytest.raises(ValueError, match=small):
        corrupt(images[:, :15], "fog", severity=3)
    with pytest.raises(ValueError, match="got 20 x 15"):
        corrupt(images[:, :, :15], "contrast", severity=1)
    check = inspect.unwrap(corrupt)  # without the shapes of the tests
    with pytest.raises(TypeError, match="must be uint8 in 0..255, got float64; convert with augm"):
        check((images / 255.0)[..., None], "fog", severity=3)
    with pytest.raises(TypeError, match="must be uint8 in 0..255, got int64"):
        check(images.astype(np.int64), "fog", severity=3)
    with pytest.raises(TypeError, match="must be a PIL image, a uint8 NumPy array .*, got list"):
        check(images.tolist(), "fog", severity=3)
    with pytest.raises(
        ValueError, match="uint8 images of 1 or 3 channels, got uint8 of 2 channels"
    ):
        check(images[..., :2], "snow", severity=3)


def test_one_image_of_any_type(images: np.ndarray):
    """Array, PIL image and tensor give the same pixels, in the type that came in."""
    expected = corrupt(images[:1], "gaussian_noise", severity=3)
    array = corrupt(images[0], "gaussian_noise", severity=3)
    np.testing.assert_array_equal(array, expected[0])
    picture = corrupt(Image.fromarray(images[0]), "gaussian_noise", severity=3)
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), expected[0])
    first = torch.from_numpy(images[0].transpose(2, 0, 1).copy())
    for tensor in (first, first[None]):
        result = corrupt(tensor, "gaussian_noise", severity=3)
        assert (result.shape, result.dtype) == (tensor.shape, torch.uint8)
        last = result.reshape(3, 20, 24).permute(1, 2, 0)
        np.testing.assert_array_equal(last.numpy(), expected[0])

    grey = images[0, :, :, 0]
    expected = corrupt(grey[None, :, :, None], "gaussian_noise", severity=3)[0, :, :, 0]
    result = corrupt(grey, "gaussian_noise", severity=3)
    np.testing.assert_array_equal(result, expected)
    picture = corrupt(Image.fromarray(grey), "gaussian_noise", severity=3)
    assert picture.mode == "L"
    np.testing.assert_array_equal(np.asarray(picture), expected)


def test_one_image_has_an_id(images: np.ndarray):
    expected = corrupt(images[:1], "gaussian_noise", severity=3, ids=np.array([7]))[0]
    for ids in (7, [7], np.int64(7), np.array([7])):
        np.testing.assert_array_equal(
            corrupt(images[0], "gaussian_noise", severity=3, ids=ids), expected
        )
    assert (corrupt(images[0], "gaussian_noise", severity=3) != expected).any()
    with pytest.raises(TypeError, match="ids must be whole numbers, got float64"):
        inspect.unwrap(corrupt)(images[0], "fog", severity=3, ids=[0.5])


@pytest.mark.parametrize(
    ("shape", "is_tensor", "message"),
    [
        ((20, 24, 3), True, "looks like [height width channel]; give image.permute(2, 0, 1)"),
        ((6, 20, 24, 3), True, "looks like [height width channel]; give image.permute(0, 3, 1, 2)"),
        ((3, 20, 24), False, "looks like [channel height width]; give image.transpose(1, 2, 0)"),
        ((6, 1, 20, 24), False, "[channel height width]; give image.transpose(0, 2, 3, 1)"),
        (
            (20, 24, 4),
            False,
            "got uint8 of 4 channels; without an alpha channel it is image[..., :3]",
        ),
        ((6, 20, 24), False, "a batch of grey images is image[..., None]"),
        ((20, 24), True, "a grey image is image[None]"),
        ((2, 2, 20, 24, 3), False, "got shape (2, 2, 20, 24, 3)"),
    ],
)
def test_layouts_that_are_wrong(shape: tuple[int, ...], is_tensor: bool, message: str):
    array = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match=re.escape(message)):
        corrupt(torch.from_numpy(array) if is_tensor else array, "snow", severity=3)


@pytest.mark.parametrize(
    ("name", "what", "wrong"),
    [
        ("severity", "a number", (True, "3")),
        ("jpeg_quality", "a whole number", (3.0, True, "3", np.float64(3))),
    ],
)
def test_numbers_that_are_none(images: np.ndarray, name: str, what: str, wrong: tuple[Any, ...]):
    for value in wrong:
        settings = {"severity": 3, name: value}
        with pytest.raises(TypeError, match=re.escape(f"{name} must be {what}, got {value!r}")):
            inspect.unwrap(corrupt)(images, "pixelate", **settings)
    settings = {"severity": 3, name: np.int64(2)}
    expected = corrupt(images, "pixelate", **{"severity": 3, name: 2})
    np.testing.assert_array_equal(inspect.unwrap(corrupt)(images, "pixelate", **settings), expected)


def test_frost_textures_of_a_folder(images: np.ndarray, real_data: Path, tmp_path: Path):
    drawn = corrupt(images, "frost", severity=3)
    for folder in (real_data / "frost", str(real_data / "frost")):
        photographs = corrupt(images, "frost", severity=3, frost_textures=folder)
        assert (photographs != drawn).any()
    np.testing.assert_array_equal(
        corrupt(images, "fog", severity=3, frost_textures=tmp_path),
        corrupt(images, "fog", severity=3),
    )
    with pytest.raises(RunError, match="no frost texture at"):
        corrupt(images, "frost", severity=3, frost_textures=tmp_path)


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_odd_sizes(name: str):
    """Tall, wide, larger than every texture of the preset, and as small as can be."""
    for size in ((16, 16), (97, 20), (20, 97), (130, 131)):
        for channels in (1, 3):
            images = np.random.default_rng(0).integers(0, 256, (1, *size, channels), np.uint8)
            result = corrupt(images, name, severity=4, preset="tiny")
            assert result.shape == images.shape
            assert name == "saturate" or (result != images).any()


def test_the_package_is_the_function(images: np.ndarray):
    np.testing.assert_array_equal(
        augmix.corrupt(images, "contrast", severity=1), corrupt(images, "contrast", severity=1)
    )


GOLDEN = {
    "gaussian_noise": "73c647b34ef5",
    "shot_noise": "bf64ff86c935",
    "impulse_noise": "3d145b502fd8",
    "defocus_blur": "c846341f3f86",
    "glass_blur": "f2c59db4abcb",
    "motion_blur": "dab745e4a0b5",
    "zoom_blur": "79d47a46985c",
    "snow": "b5cdb4409df4",
    "frost": "ded98eb297fe",
    "fog": "3e77b6180853",
    "brightness": "f6f2a080610f",
    "contrast": "2d81399ef6a6",
    "elastic_transform": "c2b2c0116a29",
    "pixelate": "d527ceea0850",
    "jpeg_compression": "578d5812028f",
    "speckle_noise": "7fa64404360f",
    "gaussian_blur": "63b03ee84657",
    "spatter": "cf6fa8db0727",
    "saturate": "40ff5f199440",
    "blue_noise_sample": "ac4e619182e3",
    "brownish_noise": "a961aaad82f8",
    "checkerboard_cutout": "1df827054ce3",
    "inverse_sparkles": "1716767c422b",
    "sparkles": "a57950a1b7aa",
    "circular_motion_blur": "731faec87d80",
    "lines": "51802e0cde21",
    "pinch_and_twirl": "6b3e1314d396",
    "ripple": "9a4e314e248f",
    "transverse_chromatic_abberation": "418610607910",
    "caustic_refraction": "d0067150cf4f",
    "cocentric_sine_waves": "a96e0d9c0ffa",
    "perlin_noise": "502d49e209f8",
    "plasma_noise": "88f3b5ac77e3",
    "single_frequency_greyscale": "61becd506338",
}


def test_golden_bytes():
    """Draws and bytes of suite version 1; a change here needs a new version of the suite."""
    y, x = np.mgrid[:32, :32]
    image = np.stack([8 * x, 8 * y, 4 * (x + y)], axis=-1).astype(np.uint8)[None]
    digest = {
        name: hashlib.sha256(corrupt(image, name, severity=3, preset="imagenet")).hexdigest()[:12]
        for name in list(CORRUPTIONS)
    }
    assert digest == GOLDEN
    assert SUITE_VERSION == "1"


def test_small_images_have_one_thread():
    assert useful_threads(4, (32, 32)) == 1
    assert useful_threads(4, (127, 129)) == 1
    assert useful_threads(4, (128, 128)) == 4
    assert useful_threads(1, (224, 224)) == 1
    assert useful_threads(4, (224, 224), keeps_gil=True) == 1
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"num_threads must be at least 1, got {wrong}"):
            useful_threads(wrong, (32, 32))


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 25])
def test_every_place_once(num_threads: int, count: int):
    done: list[int] = []
    for_each(done.append, count, num_threads=num_threads)
    assert sorted(done) == list(range(count))


def test_threads_work_at_the_same_time():
    barrier = threading.Barrier(2, timeout=10)
    for_each(lambda place: barrier.wait() and None, 2, num_threads=2)


def test_an_error_comes_out():
    def work(place: int) -> None:
        if place == 5:
            raise RuntimeError("place 5")

    for num_threads in (1, 2):
        with pytest.raises(RuntimeError, match="place 5"):
            for_each(work, 9, num_threads=num_threads)


def test_any_number_of_threads_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch):
    """Threads forced upon small images, which is where they would meet most often.

    Functions get two images at a time, the last one gets one.
    """
    images = np.random.default_rng(5).integers(0, 256, (9, 20, 24, 3), dtype=np.uint8)
    corrupted = [corrupt(images, name, severity=3) for name in list(CORRUPTIONS)]
    drifting = perturb(images, "snow")
    monkeypatch.setattr(MODULE, "_MIN_PIXELS", 0)
    monkeypatch.setattr(MODULE, "_PIXELS_PER_CALL", 2 * 20 * 24)
    for name, expected in zip(list(CORRUPTIONS), corrupted, strict=True):
        result = corrupt(images, name, severity=3, num_threads=3)
        np.testing.assert_array_equal(result, expected, err_msg=name)
    np.testing.assert_array_equal(perturb(images, "snow", num_threads=3), drifting)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_made_as_its_images_are_one_by_one(channels: int):
    """By NumPy's generators, an image at a time, as every corruption is defined."""
    images = np.random.default_rng(6).integers(0, 256, (7, 18, 21, channels), dtype=np.uint8)
    ids = np.array([0, 3, 70_000, 2**32, 5, 6, 2**40])
    batched = [name for name, entry in CORRUPTIONS.items() if entry.takes_batches]
    assert {*CORRUPTIONS.resolve(("paper-15",))} < {*batched}
    for name in batched:
        for severity in (1, 4):
            function = CORRUPTIONS[name].at("cifar", severity)
            stream = CORRUPTIONS[name].stream(9, severity)
            result = corrupt(images, name, severity=severity, preset="cifar", seed=9, ids=ids)
            for image, i, found in zip(images, ids.tolist(), result, strict=True):
                expected = function(image, stream.generator(i))
                np.testing.assert_array_equal(found, expected, err_msg=f"{name} {severity}")


class TestSeveritiesInBetween:
    """Parameters are interpolated; whole numbers among them are rounded."""

    def test_parameters(self):
        at = {name: CORRUPTIONS[name].parameters_at for name in CORRUPTIONS}
        assert at["gaussian_noise"]("cifar", 2.5) == pytest.approx((0.07,))
        assert at["gaussian_noise"]("cifar", 3) == (0.08,)
        assert at["fog"]("imagenet", 4.75) == pytest.approx((2.875, 1.425))
        # reach 1, 2 and rounds 2, 1 are whole
        assert at["glass_blur"]("imagenet", 1.25) == pytest.approx((0.75, 1, 2))
        assert at["glass_blur"]("imagenet", 1.5) == pytest.approx((0.8, 2, 2))
        assert at["jpeg_compression"]("cifar", 1.5) == (73,)  # of 80 and 65
        assert at["plasma_noise"]("imagenet", 1.2) == pytest.approx((5.2,))

    def test_parameters_of_own_functions(self):
        def own(image: Any, count: "int", is_dark: bool, *, generator: Any) -> Any:
            """As a module with postponed annotations has them."""
            return image

        tables = {"imagenet": ((1, False), (2, False), (4, True), (5, True), (6, True))}
        entry = replace(CORRUPTIONS["fog"], function=own, parameters=tables)
        with pytest.raises(ValueError, match="severity 2.5 .* lies between False and True"):
            entry.parameters_at("imagenet", 2.5)
        numbers = {"imagenet": tuple((count, 0.5) for count, _ in tables["imagenet"])}
        assert replace(entry, parameters=numbers).parameters_at("imagenet", 3.5) == (5, 0.5)

    @pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "frost"])
    def test_every_corruption_takes_them(self, name: str):
        image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        for severity in (1.5, 3.5):
            result = corrupt(image, name, severity=severity, preset="imagenet")
            assert result.shape == image.shape

    def test_draws_are_those_of_the_lower_one(self):
        image = np.full((1, 32, 32, 3), 128, np.uint8)
        low, middle, high = (
            corrupt(image, "gaussian_noise", severity=severity, preset="cifar").astype(float)
            - 127.5
            for severity in (2, 2.5, 3)
        )
        assert np.corrcoef(low.ravel(), middle.ravel())[0, 1] > 0.99
        assert abs(np.corrcoef(low.ravel(), high.ravel())[0, 1]) < 0.1
        assert low.std() < middle.std() < high.std()

    def test_whole_numbers_are_the_same(self):
        image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        for severity in (3.0, np.float64(3)):
            np.testing.assert_array_equal(
                corrupt(image, "fog", severity=severity), corrupt(image, "fog", severity=3)
            )

    def test_mistakes(self):
        image = np.zeros((32, 32, 3), np.uint8)
        for wrong in (0.5, 5.1):
            with pytest.raises(ValueError, match=f"severity must be 1..5, got {wrong} for"):
                corrupt(image, "fog", severity=wrong)
