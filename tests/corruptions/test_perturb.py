"""The table of the sequences and the ways to run it: addresses, frames shown, messages."""

import hashlib
import inspect
import json
import re
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from augmix.corruptions import CIFAR_SCRIPT_10, STANDARD_10, registry
from augmix.corruptions.corrupt import (
    SEQUENCE_VERSION,
    frame_size,
    iterate_frames,
    perturb,
    photograph_frames,
)
from augmix.corruptions.registry import SEQUENCES, num_frames
from augmix.rng import Purpose, Stream

NOISE = {"gaussian_noise", "shot_noise", "speckle_noise"}
RANDOM = {*NOISE, "snow", "spatter"}


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (4, 20, 24, 3), dtype=np.uint8)


def test_table():
    assert len(STANDARD_10) == 10
    assert set(STANDARD_10) ^ set(CIFAR_SCRIPT_10) == {"snow", "spatter"}
    assert SEQUENCES.resolve(("standard-10", "extra-4")) == tuple(SEQUENCES)
    assert SEQUENCES.protocols["cifar-script-10"] == CIFAR_SCRIPT_10
    for number, (name, sequence) in enumerate(SEQUENCES.items()):
        assert (sequence.name, sequence.number) == (name, number)
        assert sequence.function.__name__ == name
        assert sequence.is_noise == (name in NOISE)
        assert set(sequence.num_frames) == set(sequence.parameters) == set(registry.PRESETS)


def test_number_of_frames():
    unusual = {
        ("motion_blur", "cifar"): 21,
        ("translate", "cifar"): 16,
        ("translate", "imagenet"): 41,
        ("translate", "imagenet-299"): 41,
    }
    for name in SEQUENCES:
        for preset in registry.PRESETS:
            assert num_frames(name, preset) == unusual.get((name, preset), 31)
    image = np.zeros((1, 16, 16, 1), np.uint8)
    for (name, preset), number in unusual.items():
        assert perturb(image, name, preset=preset).shape[1] == number


@pytest.mark.parametrize("name", tuple(SEQUENCES))
def test_same_address_same_bytes(name: str, images: np.ndarray):
    ids = np.array([3, 900, 0, 2**31])
    given = {"preset": "cifar", "seed": 9}
    whole = perturb(images, name, ids=ids, **given)
    order = np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(
        perturb(images[order], name, ids=ids[order], **given), whole[order]
    )
    np.testing.assert_array_equal(perturb(images, name, ids=ids, num_threads=3, **given), whole)
    for place in range(len(images)):
        alone = perturb(images[place][None], name, ids=ids[place][None], **given)
        np.testing.assert_array_equal(alone[0], whole[place])
    streamed = np.stack(list(iterate_frames(images, name, ids=ids, **given)), axis=1)
    np.testing.assert_array_equal(streamed, whole)
    threads = iterate_frames(images, name, ids=ids, num_threads=2, **given)
    np.testing.assert_array_equal(np.stack(list(threads), axis=1), whole)
    single = iterate_frames(images[1], name, ids=ids[1:2], **given)
    np.testing.assert_array_equal(np.stack(list(single)), whole[1])


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(tuple(SEQUENCES)),
    preset=st.sampled_from(registry.PRESETS),
    seed=st.integers(0, 2**64 - 1),
    sample=st.integers(0, 2**32 - 1),
    height=st.integers(16, 40),
    width=st.integers(16, 40),
    channels=st.sampled_from([1, 3]),
)
def test_any_place_in_any_batch(
    name: str, preset: str, seed: int, sample: int, height: int, width: int, channels: int
):
    rng = np.random.default_rng(sample)
    pair = rng.integers(0, 256, (2, height, width, channels), dtype=np.uint8)
    given = {"preset": preset, "seed": seed}
    ids = np.array([sample, 5])
    both = perturb(pair, name, ids=ids, **given)
    turned = perturb(pair[::-1], name, ids=ids[::-1], num_threads=2, **given)
    np.testing.assert_array_equal(turned[::-1], both)
    assert both.shape[1:4] == (
        num_frames(name, preset),
        *frame_size((height, width), preset),
    )


def test_another_address_other_draws():
    images = np.full((2, 24, 24, 3), 120, np.uint8)
    for name in RANDOM:
        first, second = perturb(images, name)[:, 1:3].reshape(2, -1)
        assert (first != second).any()
        other = perturb(images, name, seed=1)[0, 1:3].ravel()
        assert (other != first).any()
        swapped = perturb(images, name, ids=np.array([1, 0]))[1, 1:3].ravel()
        np.testing.assert_array_equal(swapped, first)
    for name in set(SEQUENCES) - RANDOM:
        first, second = perturb(images, name)
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(perturb(images, name, seed=1)[0], first)


def test_the_address_of_a_draw(images: np.ndarray):
    generator = Stream(seed=4).at(Purpose.CORRUPTION, part=512 + 10).generator(11)
    x = images[0] / 255.0
    expected = (np.clip(x + x * (0.07 * generator.standard_normal(x.shape)), 0, 1) * 255).astype(
        np.uint8
    )
    result = perturb(
        images[:1], "speckle_noise", preset="cifar", seed=4, ids=np.array([11]), difficulty=2
    )
    np.testing.assert_array_equal(result[0, 1], expected)


def test_no_address_is_that_of_a_corruption():
    corruptions = {
        row.number * 8 + s for row in registry.CORRUPTIONS.values() for s in registry.SEVERITIES
    }
    assert not corruptions & {512 + SEQUENCES.find(name).number for name in SEQUENCES}


@pytest.mark.parametrize(
    ("name", "preset", "strengths"),
    [
        ("gaussian_noise", "cifar", (0.02, 0.04, 0.06)),
        ("gaussian_noise", "imagenet", (0.03, 0.05, 0.08)),
        ("gaussian_noise", "tiny", (0.025, 0.05, 0.075)),
        ("speckle_noise", "cifar", (0.05, 0.07, 0.1)),
        ("speckle_noise", "imagenet", (0.05, 0.1, 0.15)),
        ("shot_noise", "cifar", (700, 400, 200)),
        ("shot_noise", "tiny", (500, 250, 125)),
        ("shot_noise", "imagenet", (300, 120, 60)),
        ("gaussian_noise", "imagenet-299", (0.035, 0.055, 0.085)),
        ("speckle_noise", "imagenet-299", (0.06, 0.11, 0.16)),
        ("shot_noise", "imagenet-299", (250, 100, 50)),
    ],
)
def test_difficulty_is_the_strength_of_noise(name: str, preset: str, strengths: tuple):
    images = np.full((8, 32, 32, 3), 102, np.uint8)
    for difficulty, strength in enumerate(strengths, start=1):
        result = perturb(images, name, preset=preset, difficulty=difficulty) / 255.0
        assert (result[:, 0] == 0.4).all()
        noise = result[:, 1:] - 0.4
        expected = {
            "gaussian_noise": strength,
            "speckle_noise": 0.4 * strength,
            "shot_noise": np.sqrt(0.4 / strength),
        }[name]
        # the cut of the fraction adds half a level below and its own spread
        assert noise.std() == pytest.approx(np.hypot(expected, 1 / 255 / np.sqrt(12)), rel=0.03)
        assert noise.mean() == pytest.approx(-0.5 / 255, abs=2e-4 + 0.01 * expected)
        later = result[:, 2:].ravel() - 0.4
        assert abs(np.corrcoef(noise[:, :-1].ravel(), later)[0, 1]) < 0.01  # never piles up


def test_difficulty_leaves_the_other_sequences(images: np.ndarray):
    for name in set(SEQUENCES) - NOISE:
        np.testing.assert_array_equal(
            perturb(images[:1], name, difficulty=3), perturb(images[:1], name)
        )


@pytest.mark.parametrize("name", tuple(SEQUENCES))
def test_first_and_clean_frames(name: str, images: np.ndarray):
    clean = {
        **dict.fromkeys([*NOISE, "zoom_blur"], 0),
        **dict.fromkeys(["rotate", "shear", "scale"], 15),
        "translate": 7,
    }
    result = perturb(images, name, preset="cifar")
    equal = [frame for frame in range(result.shape[1]) if (result[:, frame] == images).all()]
    assert equal == ([clean[name]] if name in clean else [])


def test_steps_are_small():
    """Temporal frames follow each other closer than frames far apart; noise does not."""
    y, x = np.mgrid[:32, :32]
    wave = 128 + 60 * np.sin(x / 4) + 60 * np.cos(y / 5)
    image = np.repeat(wave[None, :, :, None], 3, axis=3).astype(np.uint8)
    for name in SEQUENCES:
        frames = perturb(image, name, preset="cifar")[0].astype(float)
        near = np.mean([np.abs(a - b).mean() for a, b in pairwise(frames[1:])])
        far = np.mean([np.abs(a - b).mean() for a, b in zip(frames[1:], frames[9:], strict=False)])
        if name in NOISE:
            assert far == pytest.approx(near, rel=0.05), name
        else:
            assert far > 1.5 * near > 0, name


@pytest.mark.parametrize(
    ("name", "black"),
    [  # columns or rows of the 224 pixels that are black in frame i of 256 x 256 images
        ("translate", {0: 4, 3: 1, 4: 0, 20: 0, 36: 0, 37: 1, 40: 4}),
        ("scale", {0: 122, 18: 6, 19: 0, 24: 0, 30: 0}),
    ],
)
def test_black_borders_at_imagenet_scale(name: str, black: dict[int, int]):
    """Only a motion beyond the margin of 16 pixels shows what lies outside."""
    white = np.full((1, 256, 256, 1), 255, np.uint8)
    result = perturb(white, name)[0, :, :, :, 0]
    assert result.shape[1:] == (224, 224)
    for frame, count in black.items():
        assert (result[frame].max(axis=0) == 0).sum() == count, frame
    for frame in result:
        assert set(np.unique(frame)) <= {0, 255}


def test_borders_of_turned_pictures():
    white = np.full((1, 256, 256, 1), 255, np.uint8)
    for name in ("rotate", "shear", "tilt"):
        result = perturb(white, name)[0, :, :, :, 0]
        whole = perturb(white, name, size=(256, 256))[0, :, :, :, 0]
        assert (result[15] == 255).all()
        assert (result[:, 112, 112] == 255).all()
        assert (result[0] == 0).any() or name == "tilt"
        assert (whole[0] == 0).mean() > (result[0] == 0).mean()
        dark = (whole < 255).mean(axis=(1, 2))
        assert (np.diff(dark[:15]) <= 0).all()
        assert (np.diff(dark[16:]) >= 0).all()
    cifar = perturb(np.full((1, 32, 32, 3), 255, np.uint8), "tilt")[0]
    assert (cifar[15, 1:-1, 1:-1] == 255).all()  # shrunk by 0.3 of a pixel at every side
    assert (cifar[15, 0] < 255).all()


def test_which_part_is_shown():
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 80, 3), dtype=np.uint8)
    clean = {
        "cifar": images,
        "tiny": images[:, :, 8:72],
        "imagenet": images[:, 4:60, 12:68],
        "imagenet-299": images,
    }
    for preset, expected in clean.items():
        assert frame_size((64, 80), preset) == expected.shape[1:3]
        for name, frame in (("gaussian_noise", 0), ("zoom_blur", 0), ("rotate", 15)):
            result = perturb(images, name, preset=preset)[:, frame]
            np.testing.assert_array_equal(result, expected)
        chosen = perturb(images, "shear", preset=preset, size=(60, 64))[:, 15]
        np.testing.assert_array_equal(chosen, images[:, 2:62, 8:72])
    assert frame_size((256, 341), "auto") == (224, 224)
    assert frame_size((32, 48), "auto") == (32, 48)
    assert frame_size((96, 100), "auto") == (96, 96)


def resized(photograph: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(photograph).resize(size, Image.Resampling.BILINEAR))


def test_photographs_are_prepared_as_published():
    photograph = np.random.default_rng(1).integers(0, 256, (90, 121, 3), dtype=np.uint8)
    for name in ("gaussian_noise", "motion_blur"):
        given = {"seed": 3, "difficulty": 2}
        large = resized(photograph, (344, 256))  # 256 * 121 / 90 = 344.2
        result = photograph_frames(photograph, name, preset="imagenet", sample=8, **given)
        expected = perturb(large[None], name, preset="imagenet", ids=np.array([8]), **given)[0]
        np.testing.assert_array_equal(list(result), expected)
        result = photograph_frames(photograph, name, preset="cifar", sample=8, **given)
        expected = perturb(photograph[None], name, preset="cifar", ids=np.array([8]), **given)[0]
        np.testing.assert_array_equal(list(result), expected)
    small = resized(photograph, (86, 64))
    result = np.stack(list(photograph_frames(photograph, "rotate", preset="tiny")))
    assert result.shape == (31, 64, 64, 3)
    np.testing.assert_array_equal(result[15], small[:, 11:75])


def test_tiny_motion_blur_is_that_of_the_photograph():
    photograph = np.random.default_rng(1).integers(0, 256, (121, 90, 3), dtype=np.uint8)
    result = np.stack(list(photograph_frames(photograph, "motion_blur", preset="tiny")))
    assert result.shape == (31, 86, 64, 3)
    blurred = perturb(photograph[None], "motion_blur", preset="tiny", size=(121, 90))[0]
    np.testing.assert_array_equal(result[7], resized(blurred[7], (64, 86)))
    grey = photograph_frames(photograph[:, :, :1].copy(), "motion_blur", preset="tiny")
    assert next(iter(grey)).shape == (86, 64, 1)


def squeezed(photograph: np.ndarray) -> np.ndarray:
    """The middle 87.5 % as the published script cuts it, to 299 x 299."""
    height, width = photograph.shape[:2]
    rows, columns = int(height * 0.875), int(width * 0.875)
    top, left = round((height - rows) / 2), round((width - columns) / 2)
    return resized(photograph[top : top + rows, left : left + columns], (299, 299))


def test_photographs_for_299_pixels_are_prepared_as_published():
    photograph = np.random.default_rng(1).integers(0, 256, (90, 121, 3), dtype=np.uint8)
    for name in ("gaussian_noise", "scale", "zoom_blur"):  # act on the square
        result = photograph_frames(photograph, name, preset="imagenet-299", seed=3, sample=8)
        expected = perturb(
            squeezed(photograph)[None], name, preset="imagenet-299", seed=3, ids=np.array([8])
        )[0]
        np.testing.assert_array_equal(list(result)[:4], expected[:4])
    for name in ("translate", "rotate", "tilt", "shear"):  # act on the whole photograph
        result = list(photograph_frames(photograph, name, preset="imagenet-299"))
        moved = perturb(photograph[None], name, preset="imagenet-299")[0]
        np.testing.assert_array_equal(result[3], squeezed(moved[3]))
    grey = photograph_frames(photograph[:, :, :1].copy(), "rotate", preset="imagenet-299")
    assert next(iter(grey)).shape == (299, 299, 1)


def test_names_and_lists_of_names():
    assert registry.SEQUENCES.resolve("standard-10") == STANDARD_10
    assert registry.SEQUENCES.resolve(["tilt", "cifar-script-10"])[:2] == ("tilt", "gaussian_noise")
    with pytest.raises(ValueError, match="unknown perturbation 'standrd-10', did you mean 'stand"):
        registry.SEQUENCES.resolve(["standrd-10"])


def test_streaming_holds_no_set():
    """31 frames of this image are 31 MB; a few at a time are in use."""
    image = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    for name in ("rotate", "shot_noise", "brightness"):
        list(iterate_frames(image[:32, :32], name, preset="cifar"))  # compile
        tracemalloc.start()
        for frame in iterate_frames(image, name, preset="cifar"):
            assert frame.shape == image.shape
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 22 * image.size  # doubles for the noise; every frame at once would be 31


def test_a_stream_may_be_left(images: np.ndarray):
    stream = iterate_frames(images, "rotate", num_threads=2)
    np.testing.assert_array_equal(next(stream), perturb(images, "rotate")[:, 0])
    del stream


def test_inputs_of_every_kind(images: np.ndarray):
    for name in SEQUENCES:
        whole = perturb(images[:1], name)
        turned = images[:1, ::-1, ::-1].copy()[:, ::-1, ::-1]
        np.testing.assert_array_equal(perturb(turned, name), whole, err_msg=name)
        read_only = images[:1].copy()
        read_only.flags.writeable = False
        np.testing.assert_array_equal(perturb(read_only, name), whole)
        assert perturb(images[:0], name).shape == (0, *whole.shape[1:])
        assert [frame.shape[0] for frame in iterate_frames(images[:0], name)] == [0] * len(whole[0])
        grey = np.full((1, 20, 24, 1), 90, np.uint8)
        assert perturb(grey, name).shape == (*whole.shape[:4], 1)
        if name not in {*NOISE, "spatter"}:  # a grey image may be stored with three channels
            wide = perturb(np.repeat(grey, 3, axis=3), name)
            assert np.abs(wide.astype(int) - perturb(grey, name)).max() <= 1, name


def test_one_image_of_any_type(images: np.ndarray):
    expected = perturb(images[:1], "gaussian_noise", ids=np.array([5]))[0]
    np.testing.assert_array_equal(perturb(images[0], "gaussian_noise", ids=5), expected)
    pictures = perturb(Image.fromarray(images[0]), "gaussian_noise", ids=5)
    assert [picture.size for picture in pictures] == [(24, 20)] * len(expected)
    np.testing.assert_array_equal(np.stack([np.asarray(each) for each in pictures]), expected)
    tensor = torch.from_numpy(images[0].transpose(2, 0, 1).copy())
    for image in (tensor, tensor[None]):
        frames = perturb(image, "gaussian_noise", ids=5).reshape(-1, 3, 20, 24)
        assert frames.dtype == torch.uint8
        np.testing.assert_array_equal(frames.permute(0, 2, 3, 1).numpy(), expected)
    grey = images[0, :, :, 0]
    frames = perturb(grey, "gaussian_noise")
    np.testing.assert_array_equal(
        frames, perturb(grey[None, :, :, None], "gaussian_noise")[0, ..., 0]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "tranlate"}, "unknown perturbation 'tranlate', did you mean 'translate'?"),
        ({"name": "fog"}, "There are gaussian_noise, shot_noise"),
        ({"difficulty": 4}, "difficulty must be 1, 2 or 3, got 4 for 'tilt'"),
        (
            {"preset": "big"},
            "preset must be one of auto, cifar, tiny, imagenet, imagenet-299, got 'big'",
        ),
        ({"num_threads": 0}, "num_threads must be at least 1, got 0"),
        ({"ids": np.arange(3)}, "ids must be one for each of 4 images, got (3,)"),
        ({"seed": -1}, "seed must be"),
        ({"size": (21, 24)}, "size must lie within the images of 20 x 24 pixels, got 21 x 24"),
        ({"size": (0, 24)}, "got 0 x 24"),
    ],
)
def test_messages(images: np.ndarray, change: dict, message: str):
    settings = {"name": "tilt", **change}
    name = settings.pop("name")
    with pytest.raises(ValueError, match=re.escape(message)):
        perturb(images, name, **settings)
    with pytest.raises(ValueError, match=re.escape(message)):
        iterate_frames(images, name, **settings)  # at the call, not at the first frame


def test_messages_about_images(images: np.ndarray):
    small = "images to perturb must be at least 16 x 16 pixels, got 15 x 24; enlarge them first"
    for function in (perturb, iterate_frames):
        with pytest.raises(ValueError, match=small):
            function(images[:, :15], "tilt")
        with pytest.raises(ValueError, match="with 1 or 3 channels"):
            function(images[..., :2], "tilt")
        with pytest.raises(TypeError):
            function(images / 255.0, "tilt")
    check = inspect.unwrap(iterate_frames)  # without the shapes of the tests
    with pytest.raises(TypeError, match="must be uint8 in 0..255, got float64; convert"):
        check(images / 255.0, "tilt")
    with pytest.raises(TypeError, match="must be a uint8 NumPy array"):
        check(images.tolist(), "tilt")
    with pytest.raises(TypeError, match="difficulty must be a whole number, got 1.0"):
        check(images, "tilt", difficulty=1.0)
    with pytest.raises(ValueError, match="preset must be one of cifar, .*, got 'auto'"):
        photograph_frames(images[0], "tilt", preset="auto")
    with pytest.raises(ValueError, match="preset must be one of cifar, .*, got 'auto'"):
        num_frames("tilt", "auto")
    with pytest.raises(TypeError, match="photograph must be uint8"):
        inspect.unwrap(photograph_frames)(images[0] / 255.0, "tilt", preset="tiny")
    with pytest.raises(ValueError, match="one at a time, got shape"):
        inspect.unwrap(photograph_frames)(images, "tilt", preset="tiny")


GOLDEN = json.loads((Path(__file__).parent / "golden_sequences.json").read_text())


@pytest.mark.parametrize("preset", registry.PRESETS)
def test_golden_bytes(preset: str):
    """Draws and bytes of version 1; a change here needs a new version of the sequences."""
    y, x = np.mgrid[:32, :40]
    image = np.stack([8 * x, 8 * y, 3 * (x + y)], axis=-1).astype(np.uint8)[None]
    digest = {
        name: hashlib.sha256(perturb(image, name, preset=preset)).hexdigest()[:12]
        for name in SEQUENCES
    }
    assert digest == GOLDEN[preset]
    assert SEQUENCE_VERSION == "1"
