"""Mixup and CutMix: partners, weights and boxes by their published laws, draws by address."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from augmix.augment.policies import AugMix, CutMix, Mixup, Policy, Standard
from augmix.augment.stages.pairs import Pairs
from augmix.rng import Stream

SIZE = (24, 40)
BATCHES = 300
GOLDEN_PARTNERS = [0, 1, 4, 2, 3]
GOLDEN_WEIGHTS = [
    *[0.15561679005622864, 0.9702367782592773, 0.8625147938728333, 0.13390624523162842],
    0.2490626722574234,
]
GOLDEN_BOX = [0, 0, 16, 31]


def draw(policy: Policy, ids: np.ndarray, *, size=SIZE, seed: int = 0, epoch: int = 0) -> Pairs:
    stream = Stream(seed=seed).at(epoch=epoch)
    pairs = policy.sample(ids, num_views=1, size=size, stream=stream).pairs
    assert pairs is not None
    return pairs


def assert_distribution(values: np.ndarray, expected) -> None:
    """Kolmogorov-Smirnov at 1e-6."""
    assert stats.kstest(values.astype(np.float64), expected.cdf).pvalue > 1e-6


@pytest.mark.parametrize("policy", [Mixup(), CutMix()], ids=["mixup", "cutmix"])
def test_partners_are_a_uniform_permutation(policy: Policy):
    ids = np.array([40, 7, 1000])
    drawn = [tuple(draw(policy, ids, epoch=epoch).partner.tolist()) for epoch in range(BATCHES)]
    counts = [drawn.count(order) for order in permutations(range(3))]
    assert sum(counts) == BATCHES
    assert stats.chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize("per_image", [False, True], ids=["batch", "image"])
@pytest.mark.parametrize("kind", [Mixup, CutMix])
def test_pairs_depend_on_the_images_not_on_their_order(kind, per_image: bool):
    policy = kind(per_image=per_image)
    ids = np.random.default_rng(0).permutation(500)[:64]
    order = np.random.default_rng(1).permutation(64)
    first, second = draw(policy, ids), draw(policy, ids[order])
    np.testing.assert_array_equal(ids[first.partner][order], ids[order][second.partner])
    np.testing.assert_array_equal(first.weight[order], second.weight)
    np.testing.assert_array_equal(first.box[order], second.box)
    assert not np.array_equal(draw(policy, ids, seed=1).partner, first.partner)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_weights_are_beta(alpha: float):
    batches = [np.arange(4 * n, 4 * n + 4) for n in range(BATCHES)]
    drawn = [draw(Mixup(alpha=alpha), ids).weight for ids in batches]
    assert all((share == share[0]).all() for share in drawn)
    assert_distribution(np.array([share[0] for share in drawn]), stats.beta(alpha, alpha))
    single = draw(Mixup(alpha=alpha, per_image=True), np.arange(20_000)).weight
    assert len(np.unique(single)) > 10_000
    assert_distribution(single, stats.beta(alpha, alpha))


def test_a_blend_has_no_box():
    pairs = draw(Mixup(), np.arange(5))
    assert not pairs.is_cut
    assert not pairs.box.any()


def by_hand(share: float, row: int, column: int, size: tuple[int, int]) -> list[int]:
    """The box of the published code, line by line."""
    height, width = size
    ratio = np.sqrt(1.0 - share)
    cut_width, cut_height = int(width * ratio), int(height * ratio)
    return [
        min(max(row - cut_height // 2, 0), height),
        min(max(column - cut_width // 2, 0), width),
        min(max(row + cut_height // 2, 0), height),
        min(max(column + cut_width // 2, 0), width),
    ]


def test_boxes_are_those_of_the_published_code():
    policy = CutMix(per_image=True, probability=1.0)
    ids = np.arange(3000)
    pairs = draw(policy, ids)
    shares = draw(Mixup(per_image=True), ids).weight  # drawn at the same address
    allowed_rows, allowed_columns = range(SIZE[0]), range(SIZE[1])
    for index in range(100):
        boxes = {
            tuple(by_hand(float(shares[index]), row, column, SIZE))
            for row in allowed_rows
            for column in allowed_columns
        }
        assert tuple(pairs.box[index].tolist()) in boxes


def test_shares_are_the_pixels_left():
    pairs = draw(CutMix(per_image=True, probability=1.0), np.arange(2000))
    for share, (top, left, bottom, right) in zip(pairs.weight, pairs.box, strict=True):
        mask = np.zeros(SIZE, bool)
        mask[top:bottom, left:right] = True
        assert share == np.float32(1 - mask.mean())
    assert (pairs.weight < 1).any()


def test_centres_of_boxes_are_uniform():
    """Boxes of no size show nothing, so small ones of a large image tell the centre."""
    size = (400, 400)
    pairs = draw(CutMix(per_image=True, probability=1.0), np.arange(60_000), size=size)
    sides = pairs.box[:, 2:] - pairs.box[:, :2]
    small = (sides[:, 0] > 0) & (sides < 40).all(1)
    rows = (pairs.box[small, 0] + pairs.box[small, 2]) / 2
    inside = rows[(rows > 40) & (rows < 360)]
    assert_distribution(inside, stats.uniform(40, 320))


def test_the_probability_is_a_share_of_the_batches():
    batches = [np.arange(3 * n, 3 * n + 3) for n in range(BATCHES)]
    drawn = [draw(CutMix(probability=0.3), ids) for ids in batches]
    for pairs in drawn:
        assert (pairs.box == pairs.box[0]).all()
        assert (pairs.weight == pairs.weight[0]).all()
    # a lambda near 1 gives an empty box too: sides below 2 px
    cut = np.mean([pairs.weight[0] < 1 for pairs in drawn])
    empty = (2 / SIZE[0]) ** 2
    assert abs(cut - 0.3 * (1 - empty)) < 0.13  # five deviations
    assert (draw(CutMix(probability=0.0), np.arange(9)).weight == 1).all()
    single = draw(CutMix(probability=0.3, per_image=True), np.arange(20_000)).weight < 1
    assert 0.27 < single.mean() < 0.32


def test_pairs_of_no_images():
    for policy in (Mixup(), CutMix(), Mixup(per_image=True)):
        assert len(draw(policy, np.arange(0)).partner) == 0


def test_the_plan_below_is_kept():
    ids, stream = np.arange(9), Stream(seed=0)
    base = AugMix(crop_padding=2, flip=True)
    below = base.sample(ids, num_views=2, size=SIZE, stream=stream)
    over = Mixup(base=base).sample(ids, num_views=2, size=SIZE, stream=stream)
    for name in ("op", "amount", "weight", "mix", "crop", "flip"):
        np.testing.assert_array_equal(getattr(below, name), getattr(over, name))


def test_golden_pairs():
    """Kept as drawn: a change here changes everybody's runs."""
    ids = np.array([3, 70000, 12, 5, 4])
    blend = draw(Mixup(per_image=True), ids)
    cut = draw(CutMix(probability=1.0), ids)
    assert blend.partner.tolist() == cut.partner.tolist() == GOLDEN_PARTNERS
    np.testing.assert_array_equal(blend.weight, np.array(GOLDEN_WEIGHTS, np.float32))
    assert cut.box[0].tolist() == GOLDEN_BOX


@pytest.mark.parametrize("other", [Mixup(), CutMix()], ids=["mixup", "cutmix"])
def test_pairs_are_made_once(other: Policy):
    for policy in (Mixup(base=other), CutMix(base=other)):
        with pytest.raises(ValueError, match="pairs images already"):
            draw(policy, np.arange(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixup(alpha=0.0), "alpha must be a finite number above 0, got 0"),
        (lambda: CutMix(alpha=float("nan")), "alpha must be a finite number above 0, got nan"),
        (lambda: CutMix(probability=1.2), r"probability must be in \[0, 1\], got 1.2"),
    ],
    ids=["mixup alpha", "cutmix alpha", "probability"],
)
def test_bad_options(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_default_base_is_standard():
    assert Mixup().base == CutMix().base == Standard()
