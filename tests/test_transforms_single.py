"""Transforms: same type out, the numbers of the executor, sound draws in DataLoader workers."""

import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate
from toy_plans import define

from augmix.arrays import to_batch
from augmix.augment import policies
from augmix.augment.policies import AugMix as Policy
from augmix.rng import Stream
from augmix.transforms import (
    AugMix,
    AugMixViews,
    AutoAugment,
    Collate,
    Corrupt,
    Cutout,
    OneView,
    PatchUniform,
    RandomAA,
    Transformed,
)


def picture(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def test_same_type_out():
    torch.manual_seed(0)
    for mode in ("L", "RGB"):
        out = AugMix()(picture(mode))
        assert isinstance(out, Image.Image)
        assert (out.mode, out.size) == (mode, (20, 24))
    array = np.asarray(picture())
    grey = np.asarray(picture("L"))
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    for image in (array, grey, grey[:, :, None], np.stack([array, array])):
        out = AugMix()(image)
        assert isinstance(out, np.ndarray)
        assert (out.shape, out.dtype) == (image.shape, np.uint8)
    for image in (tensor, tensor[:1], torch.stack([tensor, tensor])):
        out = AugMix()(image)
        assert isinstance(out, torch.Tensor)
        assert (out.shape, out.dtype) == (image.shape, torch.uint8)


def test_corrupt_goes_by_the_pixels_whatever_the_order_and_type():
    import zlib

    from augmix import corrupt

    damage = Corrupt("gaussian_noise", severity=3, seed=5)
    array = np.asarray(picture())
    expected = corrupt(array, "gaussian_noise", severity=3, seed=5, ids=zlib.crc32(array.tobytes()))
    other = np.ascontiguousarray(array[::-1])
    assert np.array_equal(damage(np.stack([other, array]))[1], expected)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    assert np.array_equal(damage(tensor).permute(1, 2, 0), expected)
    out = damage(picture())
    assert isinstance(out, Image.Image)
    assert np.array_equal(np.asarray(out), expected)
    torch.manual_seed(3)  # draws of the process do not matter
    loader = DataLoader([(array, 0), (other, 1)], num_workers=2, collate_fn=Collate(damage))
    first, _ = next(iter(loader))
    assert np.array_equal(first[0].permute(1, 2, 0), expected)
    with pytest.raises(ValueError, match="unknown corruption 'fogg'"):
        Corrupt("fogg", severity=1)
    with pytest.raises(ValueError, match="severity must be 1..5, got 6"):
        Corrupt("fog", severity=6)


def test_all_types_get_the_same_pixels():
    array = np.asarray(picture())
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    outs = []
    for image in (picture(), array, tensor, tensor[None]):
        torch.manual_seed(5)
        outs.append(to_batch(AugMix()(image)))
    for out in outs[1:]:
        np.testing.assert_array_equal(out, outs[0])


def test_float_keeps_the_mixture_and_uint8_rounds_it():
    torch.manual_seed(1)
    exact = AugMix(dtype=torch.float32)(picture())
    torch.manual_seed(1)
    rounded = np.asarray(AugMix()(picture()))
    assert (exact.shape, exact.dtype) == ((3, 24, 20), torch.float32)
    scaled = exact.numpy().transpose(1, 2, 0) * 255
    assert (scaled != np.rint(scaled)).any()
    np.testing.assert_array_equal(rounded, np.rint(scaled).astype(np.uint8))


BASE = {"crop_padding": 2, "flip": True}
STANDARD = policies.Standard(crop_padding=2, flip=True)
OTHERS = [
    (
        AutoAugment(table="imagenet", full=True, dtype=torch.float32, **BASE),
        policies.AutoAugment(table="imagenet", full=True, crop_padding=2, flip=True),
    ),
    (
        RandomAA(severity=5, depth=2, ops="all", dtype=torch.float32, **BASE),
        policies.RandomAA(severity=5, depth=2, ops="all", crop_padding=2, flip=True),
    ),
    (
        Cutout(size_px=7, fill=(0.1, 0.2, 0.3), dtype=torch.float32, **BASE),
        policies.Cutout(size_px=7, fill=(0.1, 0.2, 0.3), base=STANDARD),
    ),
    (
        PatchUniform(size_px=9, amplitude=0.3, random_size=True, dtype=torch.float32, **BASE),
        policies.PatchUniform(size_px=9, amplitude=0.3, random_size=True, base=STANDARD),
    ),
    (
        OneView(policies.Cutout(size_px=5, base=Policy()), dtype=torch.float32),
        policies.Cutout(size_px=5, base=Policy()),
    ),
]


@pytest.mark.parametrize(
    ("transform", "policy"), OTHERS, ids=[type(policy).__name__ for _, policy in OTHERS]
)
def test_every_policy_as_a_transform(transform, policy):
    torch.manual_seed(5)
    transform(picture())
    got = transform(picture())
    plan = policy.sample(np.array([1]), num_views=1, size=(24, 20), stream=Stream(seed=0).spawn(5))
    expected = define(to_batch(picture()), plan)[0, 0]
    np.testing.assert_array_equal(got.numpy(), expected)
    assert type(transform).__name__ in repr(transform)
    assert repr(policy) in repr(transform)


@pytest.mark.parametrize("kind", [Cutout, PatchUniform, AutoAugment, RandomAA])
def test_others_give_the_same_type_out(kind):
    out = kind()(picture("L"))
    assert (out.mode, out.size) == ("L", (20, 24))
    assert kind()(np.asarray(picture())).shape == (24, 20, 3)


def test_policies_of_pairs_are_no_transform_of_one_image():
    for policy in (policies.Mixup(), policies.Cutout(base=policies.CutMix())):
        with pytest.raises(ValueError, match="pairs the images of a batch and mixes their labels"):
            OneView(policy)


def test_views_are_the_clean_image_and_two_others():
    clean, first, second = AugMixViews()(picture())
    expected = torch.from_numpy(np.asarray(picture()).copy()).permute(2, 0, 1).float() / 255
    assert torch.equal(clean, expected)
    assert not torch.equal(first, second)
    assert not torch.equal(clean, first)
    assert len(AugMixViews(num_views=4)(picture())) == 5
    batch = torch.zeros(6, 3, 8, 8, dtype=torch.uint8)
    assert [tuple(view.shape) for view in AugMixViews()(batch)] == [(6, 3, 8, 8)] * 3


def test_draws_are_those_of_the_policy_at_the_stated_address():
    torch.manual_seed(5)
    transform = AugMix(seed=2, alpha=0.5, dtype=torch.float32)
    transform(picture())
    got = transform(picture())  # the second call in this process since the seed
    plan = Policy(alpha=0.5).sample(
        np.array([1]), num_views=1, size=(24, 20), stream=Stream(seed=2).spawn(5)
    )
    expected = define(to_batch(picture()), plan)[0, 0]
    np.testing.assert_array_equal(got.numpy(), expected)


@pytest.mark.parametrize("policy", [Policy(crop_padding=2, flip=True), policies.Cutout(size_px=3)])
def test_images_planned_together_are_those_planned_alone(policy):
    torch.manual_seed(5)
    transform = OneView(policy, dtype=torch.float32)
    rng = np.random.default_rng(0)
    for number in range(150):
        size = (9, 7) if number in (20, 21, 60) or number > 140 else (8, 8)
        if number == 100:
            transform = pickle.loads(pickle.dumps(transform))
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        stream = Stream(seed=0).spawn(5)
        plan = policy.sample(np.array([number]), num_views=1, size=size, stream=stream)
        expected = define(image[None], plan)[0, 0]
        np.testing.assert_array_equal(transform(image).numpy(), expected)


def test_views_planned_together_are_those_planned_alone():
    torch.manual_seed(5)
    transform, stream = AugMixViews(flip=True), Stream(seed=0).spawn(5)
    for number in range(40):
        plan = Policy(flip=True).sample(
            np.array([number]), num_views=2, size=(24, 20), stream=stream
        )
        expected = define(to_batch(picture()), plan.with_clean())[:, 0]
        np.testing.assert_array_equal(torch.stack(transform(picture())).numpy(), expected)


def test_views_share_the_crop():
    image = np.zeros((16, 16, 3), np.uint8)
    image[8, 8] = 255
    clean, *views = AugMixViews(crop_padding=4, flip=True, severity=1)(image)
    row, column = np.argwhere(clean[0].numpy() == 1)[0]
    for view in views:
        brightest = np.unravel_index(view[0].numpy().argmax(), (16, 16))
        assert abs(brightest[0] - row) + abs(brightest[1] - column) <= 2


def test_calls_differ_and_seeds_repeat():
    torch.manual_seed(3)
    transform = AugMix()
    first = [np.asarray(transform(picture())) for _ in range(4)]
    for left in range(4):
        for right in range(left):
            assert (first[left] != first[right]).any()
    torch.manual_seed(3)
    again = [np.asarray(image) for image in map(AugMix(), [picture()] * 4)]
    np.testing.assert_array_equal(first, again)
    torch.manual_seed(3)
    other = np.asarray(AugMix(seed=1)(picture()))
    assert (other != first[0]).any()


class Repeated(Dataset):
    """The same image over and over: only the draws can make a difference."""

    def __init__(self) -> None:
        self.transform = AugMix(dtype=torch.float32)

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(picture())


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_and_epochs_never_repeat(persistent: bool):
    def two_epochs() -> torch.Tensor:
        torch.manual_seed(0)
        loader = DataLoader(
            Repeated(),
            batch_size=2,
            num_workers=2,
            persistent_workers=persistent,
            multiprocessing_context="fork",
        )
        return torch.cat([batch for _ in range(2) for batch in loader]).flatten(1)

    views = two_epochs()
    assert len(torch.unique(views, dim=0)) == 24
    assert torch.equal(views, two_epochs())


def test_main_process_epochs_never_repeat():
    torch.manual_seed(0)
    loader = DataLoader(Repeated(), batch_size=4)
    views = torch.cat([batch for _ in range(2) for batch in loader]).flatten(1)
    assert len(torch.unique(views, dim=0)) == 24


def test_a_pickled_transform_draws_the_same():
    transform = AugMix(severity=5, alpha=0.5)
    torch.manual_seed(4)
    expected = np.asarray(transform(picture()))
    torch.manual_seed(4)
    again = pickle.loads(pickle.dumps(AugMix(severity=5, alpha=0.5)))
    np.testing.assert_array_equal(np.asarray(again(picture())), expected)


@pytest.mark.parametrize("mode", ["RGBA", "P", "1", "I;16", "CMYK", "F", "LA", "I"])
def test_other_modes_are_refused(mode: str):
    image = Image.new(mode, (8, 8))
    with pytest.raises(ValueError, match=f"mode L or RGB, got {mode}; convert it first"):
        AugMix()(image)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ("picture.png", TypeError, "got str"),
        (np.zeros((8, 8, 3)), TypeError, "got float64; convert with"),
        (
            torch.zeros(3, 8, 8),
            TypeError,
            r"got torch.float32 of shape \(3, 8, 8\); if it is float",
        ),
        (torch.zeros(8, 8, dtype=torch.uint8), ValueError, "a grey image is image.None."),
        (torch.zeros(4, 8, 8, dtype=torch.uint8), ValueError, "1 or 3 channels"),
        (
            torch.zeros(3, 8, 8, dtype=torch.uint8, device="meta"),
            ValueError,
            "lie on the CPU, got device meta",
        ),
    ],
)
def test_bad_images(image, error, message):
    with pytest.raises(error, match=message):
        AugMix()(image)


def test_bad_options():
    with pytest.raises(ValueError, match="dtype must be torch.uint8 or torch.float32, got"):
        AugMix(dtype=torch.float16)
    with pytest.raises(ValueError, match="severity must be 1..10, got 0"):
        AugMix(severity=0)
    with pytest.raises(ValueError, match="num_views must be at least 1, got 0"):
        AugMixViews(num_views=0)


def test_repr_says_what_it_is():
    assert "severity=4" in repr(AugMix(severity=4))
    assert "num_views=3" in repr(AugMixViews(num_views=3))


REFUSED = """
import sys
from augmix import transforms
names = ("AugMix", "AugMixViews", "AutoAugment", "RandomAA", "Cutout", "PatchUniform")
for name in names:
    for executor in ("pillow", "compiled", "batched", "gpu"):
        try:
            getattr(transforms, name)(executor=executor)
        except ValueError as error:
            print(name, error)
print("torchvision" in sys.modules)
"""


def test_executors_for_devices_are_refused_and_torchvision_is_not_needed():
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True)
    *lines, is_loaded = done.stdout.splitlines()
    assert len(lines) == 2 * 6, done.stderr
    for line, executor in zip(lines, ["batched", "gpu"] * 6, strict=True):
        assert f"must be 'auto', 'pillow' or 'compiled', got '{executor}': its images" in line
    assert is_loaded == "False"


def test_signatures_show_the_options_of_the_policy():
    own = ["dtype", "seed", "executor"]
    assert list(inspect.signature(AugMix).parameters) == [
        *own, "severity", "width", "depth", "alpha", "ops", "crop_padding", "flip"
    ]  # fmt: skip
    assert list(inspect.signature(Cutout).parameters) == [
        *own, "size_px", "fill", "crop_padding", "flip"
    ]  # fmt: skip
    assert inspect.signature(AugMix).parameters["severity"].default == 3
    with pytest.raises(TypeError, match="unexpected keyword argument 'severty'"):
        AugMix(severty=3)


def samples_of(count: int) -> list[tuple[Image.Image, int]]:
    rng = np.random.default_rng(1)
    arrays = rng.integers(0, 256, (count, 10, 12, 3), dtype=np.uint8)
    return [(Image.fromarray(pixels), index % 3) for index, pixels in enumerate(arrays)]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_batches_transformed_together_are_those_transformed_one_by_one(dtype):
    samples = samples_of(6)
    torch.manual_seed(2)
    alone = [AugMixViews(dtype=dtype, flip=True)]
    expected = [torch.stack(views) for views in map(alone[0], [image for image, _ in samples])]
    for transform_of in ("collate", "data set"):
        torch.manual_seed(2)
        transform = AugMixViews(dtype=dtype, flip=True)
        if transform_of == "collate":
            views, labels = Collate(transform)(samples)
        else:
            items = Transformed(samples, transform).__getitems__(range(6))
            views, labels = default_collate(items)
        assert labels.tolist() == [0, 1, 2, 0, 1, 2]
        assert torch.equal(torch.stack(list(views), dim=1), torch.stack(expected))
        assert views[0].dtype == dtype


def test_one_view_of_a_batch_is_a_tensor():
    images = [image for image, _ in samples_of(4)]
    torch.manual_seed(2)
    views = Collate(AugMix())(images)
    torch.manual_seed(2)
    expected = [torch.from_numpy(np.array(view)) for view in map(AugMix(), images)]
    assert torch.equal(views, torch.stack(expected).permute(0, 3, 1, 2))
    torch.manual_seed(2)
    assert np.array_equal(np.array(Transformed(images, AugMix())[0]), expected[0].numpy())


def test_a_loader_asks_for_whole_batches():
    loader = DataLoader(Transformed(samples_of(8), AugMix()), batch_size=4, num_workers=2)
    found = [(tuple(images.shape), labels.tolist()) for images, labels in loader]
    assert found == [((4, 3, 10, 12), [0, 1, 2, 0]), ((4, 3, 10, 12), [1, 2, 0, 1])]


def test_images_of_several_sizes_are_refused_in_a_batch():
    samples = [*samples_of(2), (Image.new("RGB", (9, 9)), 0)]
    with pytest.raises(ValueError, match="one size and mode, got 9x9x3 and 10x12x3"):
        Collate(AugMix())(samples)
    with pytest.raises(ValueError, match="dtype must be torch.uint8 or torch.float32, got torch.f"):
        AugMixViews(dtype=torch.float16)
