"""Targets of pairs, label by label, and slices of paired batches."""

import numpy as np
import pytest

from augmix.augment.pairing import PairPlan, join_pairs


def pairs_of(partner: list[int], share: list[float]) -> PairPlan:
    return PairPlan(
        partner=np.array(partner),
        share=np.array(share, np.float32),
        box=np.arange(4 * len(partner), dtype=np.int32).reshape(-1, 4),
        is_cut=True,
    )


def test_every_label_weight():
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
    pairs = PairPlan(
        partner=rng.permutation(500),
        share=rng.random(500, np.float32),
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
    chosen = pairs.rows(np.array([2, 0]))
    assert chosen.partner.tolist() == [1, 0]
    assert chosen.share.tolist() == pairs.share[[2, 0]].tolist()
    assert chosen.box.tolist() == pairs.box[[2, 0]].tolist()
    assert pairs.rows(slice(1, 2)).partner.tolist() == [0]
    repeated = pairs.rows(np.array([0, 2, 0]))
    assert repeated.partner.tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match="partner of row 0, row 2, is left out"):
        pairs.rows(slice(0, 2))


def test_joined_batches_keep_their_own_pairs():
    joined = join_pairs([pairs_of([1, 0], [0.1, 0.2]), pairs_of([2, 0, 1], [0.3, 0.4, 0.5])])
    assert joined is not None
    assert joined.partner.tolist() == [1, 0, 4, 2, 3]
    assert join_pairs([]) is None


@pytest.mark.parametrize(
    ("partner", "share", "message"),
    [
        ([2, 0], [0.5, 0.5], r"partners must be rows 0\.\.1 of the batch, got 0\.\.2"),
        ([-1, 0], [0.5, 0.5], r"partners must be rows 0\.\.1 of the batch, got -1\.\.0"),
        ([1, 0], [0.5, 1.5], r"shares of pairs must be in \[0, 1\], got 1.5"),
        ([1, 0], [float("nan"), 0.5], r"shares of pairs must be in \[0, 1\], got nan"),
    ],
    ids=["high", "low", "share", "nan"],
)
def test_impossible_pairs(partner, share, message):
    with pytest.raises(ValueError, match=message):
        pairs_of(partner, share)
