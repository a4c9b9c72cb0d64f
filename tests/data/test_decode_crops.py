"""The law of the crops against torchvision's code written out, and crops at their address."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from augmix.data.decode import ResizedCrop
from augmix.data.sources import find_crop, load_at, mix, open_source, open_stylised, subset
from augmix.errors import RunError
from augmix.rng import Stream


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
    room = 1000 - boxes[:, 2]
    assert np.mean(boxes[:, 0] / room) == pytest.approx(0.5, abs=0.02)


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
    with pytest.raises(ValueError, match=r"must be .*low <= high, got|must be shares"):
        ResizedCrop(**changes)


@pytest.fixture
def photographs(tmp_path, png):
    """Six JPEGs of different sizes in two classes, and their pixels in order of the ids."""
    rng, pixels = np.random.default_rng(0), []
    for index in range(6):
        place = tmp_path / "photographs" / "train" / ("ant", "bee")[index // 3]
        place.mkdir(parents=True, exist_ok=True)
        shape = (40 + 7 * index, 60 - 5 * index, 3)
        content = png(rng.integers(0, 256, shape, dtype=np.uint8), "JPEG")
        (place / f"{index}.jpg").write_bytes(content)
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
    assert find_crop(subset(open_source("folder", root=root, size=8), np.array([0]))) is None


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
