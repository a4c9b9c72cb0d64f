"""Batches in pairs: pixels and targets of the plan that is drawn, soft and hard labels."""

import inspect

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset, default_collate

from augmix.augment import policies
from augmix.rng import Stream
from augmix.transforms import CutMix, Mixup

IMAGES = torch.rand(6, 3, 8, 10, generator=torch.Generator().manual_seed(0)) * 4 - 2  # normalised
LABELS = torch.tensor([0, 3, 1, 2, 2, 0])

CASES = {
    "mixup": (Mixup(num_classes=4), policies.Mixup()),
    "mixup per image": (
        Mixup(num_classes=4, alpha=0.3, per_image=True, seed=7),
        policies.Mixup(alpha=0.3, per_image=True),
    ),
    "cutmix": (CutMix(num_classes=4, probability=1.0), policies.CutMix(probability=1.0)),
    "cutmix per image": (
        CutMix(num_classes=4, alpha=2.0, probability=0.7, per_image=True),
        policies.CutMix(alpha=2.0, probability=0.7, per_image=True),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_pixels_and_targets_are_those_of_the_plan(name: str):
    transform, policy = CASES[name]
    torch.manual_seed(5)
    transform(IMAGES[:2], LABELS[:2])
    images, targets = transform(IMAGES, LABELS)
    seed = 7 if "mixup per" in name else 0
    plan = policy.sample(
        np.arange(2, 8), num_views=1, size=(8, 10), stream=Stream(seed=seed).spawn(5)
    )
    assert plan.pairs is not None
    expected = plan.pairs.apply(IMAGES.numpy()[None])[0]
    np.testing.assert_array_equal(images.numpy(), expected)
    rows = plan.pairs.targets(LABELS.numpy(), 4)
    np.testing.assert_allclose(targets.numpy(), rows, atol=1e-7)


def test_soft_labels_are_mixed_too():
    rows = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    rows = rows / rows.sum(dim=1, keepdim=True)
    torch.manual_seed(5)
    _, soft = Mixup(num_classes=4)(IMAGES, rows)
    torch.manual_seed(5)
    mixed, _ = Mixup(num_classes=4)(rows[:, None, None], LABELS)  # rows as pictures of one line
    torch.testing.assert_close(soft, mixed[:, 0, 0])


def test_it_stands_behind_a_loader():
    mixup = Mixup(num_classes=4)
    loader = DataLoader(
        TensorDataset(IMAGES, LABELS),
        batch_size=3,
        collate_fn=lambda items: mixup(*default_collate(items)),
    )
    for images, targets in loader:
        assert images.shape == (3, 3, 8, 10)
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(3))


def test_the_images_given_are_left_alone():
    kept = IMAGES.clone()
    for transform, _ in CASES.values():
        transform(IMAGES, LABELS)
    assert torch.equal(IMAGES, kept)


def test_half_precision_stays():
    for transform in (Mixup(num_classes=4), CutMix(num_classes=4, probability=1.0)):
        assert transform(IMAGES.half(), LABELS)[0].dtype == torch.float16


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[0], LABELS, r"got torch.float32 of shape \(3, 8, 10\)"),
        (IMAGES.byte(), LABELS, "must be a float tensor .* got torch.uint8"),
        (IMAGES, LABELS[:5], "labels must be 6 class ids"),
        (IMAGES, torch.rand(6, 3), r"rows of shape \(6, 4\), got torch.float32 of shape \(6, 3\)"),
    ],
    ids=["one image", "bytes", "few labels", "few classes"],
)
def test_wrong_batches(images, labels, message: str):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(Mixup.__call__)(Mixup(num_classes=4), images, labels)


def test_bad_options():
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        Mixup(num_classes=0)
    with pytest.raises(ValueError, match="alpha must be a finite number above 0"):
        CutMix(num_classes=3, alpha=-1.0)
    assert "4 classes" in repr(Mixup(num_classes=4))
