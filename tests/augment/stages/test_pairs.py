"""Pairs, pixel by pixel; their targets, class by class; slices of paired batches."""

import numpy as np
import pytest
from toy_plans import assert_equal_bits, define, draw, images_of

from augmix.augment import compiled
from augmix.augment.policies import Cutout, Mixup, Standard
from augmix.augment.stages.pairs import Pairs


def pairs_of(partner: list[int], weight: list[float]) -> Pairs:
    return Pairs(
        partner=np.array(partner),
        weight=np.array(weight, np.float32),
        box=np.arange(4 * len(partner), dtype=np.int32).reshape(-1, 4),
        is_cut=True,
    )


def test_the_target_of_every_class():
    pairs = pairs_of([1, 0, 3, 2, 4], [0.75, 0.25, 0.5, 1.0, 0.0])
    targets = pairs.targets(np.array([2, 0, 1, 1, 3]), 4)
    assert targets.dtype == np.float32
    assert targets.tolist() == [
        [0.25, 0, 0.75, 0],
        [0.25, 0, 0.75, 0],
        [0, 1, 0, 0],  # two images of one class
        [0, 1, 0, 0],
        [0, 0, 0, 1],  # its own partner
    ]


def test_targets_sum_to_one():
    rng = np.random.default_rng(0)
    pairs = Pairs(
        partner=rng.permutation(500),
        weight=rng.random(500, np.float32),
        box=np.zeros((500, 4), np.int32),
        is_cut=False,
    )
    targets = pairs.targets(rng.integers(0, 7, 500), 7)
    np.testing.assert_allclose(targets.sum(1), 1, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 4], r"labels must be 0\.\.2, got 0\.\.4"),
        ([-1, 2], r"labels must be 0\.\.2, got -1\.\.2"),
        ([0, 1, 2], "labels must be 2, one an image, got 3"),
    ],
    ids=["high", "low", "many"],
)
def test_wrong_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        pairs_of([1, 0], [0.5, 0.5]).targets(np.array(labels), 3)


def test_a_slice_keeps_both_images_of_a_pair():
    pairs = pairs_of([2, 1, 0, 3], [0.1, 0.2, 0.3, 0.4])
    chosen = pairs.select(np.array([2, 0]))
    assert chosen.partner.tolist() == [1, 0]
    assert chosen.weight.tolist() == pairs.weight[[2, 0]].tolist()
    assert chosen.box.tolist() == pairs.box[[2, 0]].tolist()
    assert pairs.select(slice(1, 2)).partner.tolist() == [0]
    repeated = pairs.select(np.array([0, 2, 0]))
    assert repeated.partner.tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match="partner of image 0 of the batch, image 2, is left out"):
        pairs.select(slice(0, 2))


def test_joined_batches_keep_their_own_pairs():
    joined = Pairs.join([pairs_of([1, 0], [0.1, 0.2]), pairs_of([2, 0, 1], [0.3, 0.4, 0.5])])
    assert joined.partner.tolist() == [1, 0, 4, 2, 3]


@pytest.mark.parametrize(
    ("partner", "weight", "message"),
    [
        ([2, 0], [0.5, 0.5], r"partners must be positions 0\.\.1 of the batch, got 0\.\.2"),
        ([-1, 0], [0.5, 0.5], r"partners must be positions 0\.\.1 of the batch, got -1\.\.0"),
        ([1, 0], [0.5, 1.5], r"weights of pairs must be in \[0, 1\], got 1.5"),
        ([1, 0], [float("nan"), 0.5], r"weights of pairs must be in \[0, 1\], got nan"),
    ],
    ids=["high", "low", "weight", "nan"],
)
def test_impossible_pairs(partner, weight, message):
    with pytest.raises(ValueError, match=message):
        pairs_of(partner, weight)


@pytest.mark.parametrize("is_cut", [True, False], ids=["cut", "blend"])
def test_every_pixel_of_a_pair(is_cut: bool) -> None:
    pairs = Pairs(
        partner=np.array([2, 1, 0]),
        weight=np.array([0.7, 0.0, 1.0], np.float32),
        box=np.array([[1, 0, 4, 3], [0, 0, 6, 9], [2, 2, 2, 5]], np.int32),
        is_cut=is_cut,
    )
    plan = draw(Standard(), 3, (6, 9), 0).with_stage(pairs)
    images = images_of(plan, 3)
    plain = define(images, plan.without(Pairs))
    views = define(images, plan)
    for view, image, channel, y, x in np.ndindex(2, 3, 3, 6, 9):
        own = plain[view, image, channel, y, x]
        other = plain[view, pairs.partner[image], channel, y, x]
        top, left, bottom, right = pairs.box[image]
        if is_cut:
            expected = other if top <= y < bottom and left <= x < right else own
        else:
            weight = pairs.weight[image]
            expected = weight * own + (np.float32(1) - weight) * other
        assert views[view, image, channel, y, x] == expected
    assert_equal_bits(images, plan)


def test_the_clean_view_is_paired_like_the_others() -> None:
    plan = draw(Mixup(base=Cutout(size_px=30)), 6, (8, 8), 0).with_clean()
    assert plan.pairs is not None
    images = images_of(plan, 3)
    clean = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    weight = plan.pairs.weight[:, None, None, None]
    expected = weight * clean + (np.float32(1) - weight) * clean[plan.pairs.partner]
    np.testing.assert_array_equal(compiled.render(images, plan)[0], expected)
