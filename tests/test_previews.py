from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from toy_plans import change, define

from augmix import pictures, previews
from augmix.augment.ops import Op
from augmix.augment.plan import Plan
from augmix.augment.policies import APR, AugMix, CutMix, Cutout, PatchUniform, Standard
from augmix.augment.policies.fourier import Recombined
from augmix.augment.stages.chains import Chains, CropFlip
from augmix.errors import RunError
from augmix.rng import Stream

SIDE = 28  # is shown five times as large: 140 units


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def plan() -> Plan:
    """Image 0: solarize then equalize (0.25), posterize (0.75), half mixed in."""
    drawn = AugMix(width=2, depth=2).sample(
        np.arange(2), num_views=1, size=(SIDE, SIDE), stream=Stream(seed=0)
    )
    op, amount = drawn.op.copy(), drawn.amount.copy()
    op[0, 0] = [[Op.SOLARIZE, Op.EQUALIZE], [Op.POSTERIZE, Op.NONE]]
    amount[0, 0] = [[100, 0], [2, 0]]
    weight, mix = drawn.weight.copy(), drawn.mix.copy()
    weight[0, 0], mix[0, 0] = [0.25, 0.75], 0.5
    return change(drawn, Chains, op=op, amount=amount, weight=weight, mix=mix)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words of the pictures drawn in a test, in order."""
    words: list[str] = []
    original = pictures.Pen.text

    def record(self: Any, x: Any, y: Any, text: str, **options: Any) -> None:
        words.append(text)
        original(self, x, y, text, **options)

    monkeypatch.setattr(pictures.Pen, "text", record)
    return words


def tile(picture: Image.Image, x: float, y: float) -> np.ndarray:
    """The image shown at a position, back at its own size; every pixel must be a square of 5."""
    box = np.asarray(picture)[round(y) : round(y) + 5 * SIDE, x : x + 5 * SIDE]
    small = box[::5, ::5]
    np.testing.assert_array_equal(box, small.repeat(5, axis=0).repeat(5, axis=1))
    return small


def test_every_tile_shows_what_its_step_makes(images: np.ndarray, plan: Plan):
    picture = previews.render_preview(images[0], plan, index=0)
    layout = previews._layout(plan)
    start = Image.fromarray(images[0])
    solarized = ImageOps.solarize(start, 100)
    equalized = ImageOps.equalize(solarized)
    posterized = ImageOps.posterize(start, 2)
    rows = [60, 60 + 140 + 46]
    second = layout.start + 140 + 22
    np.testing.assert_array_equal(tile(picture, layout.start, rows[0]), np.asarray(solarized))
    np.testing.assert_array_equal(tile(picture, second, rows[0]), np.asarray(equalized))
    np.testing.assert_array_equal(tile(picture, layout.start, rows[1]), np.asarray(posterized))

    middle = (rows[0] + rows[1]) / 2
    mixture = 0.25 * np.asarray(equalized, float) + 0.75 * np.asarray(posterized, float)
    view = 0.5 * images[0] + 0.5 * mixture
    np.testing.assert_array_equal(tile(picture, 26, middle), images[0])
    np.testing.assert_allclose(tile(picture, layout.mixture, middle), mixture, atol=0.51)
    np.testing.assert_allclose(tile(picture, layout.view, middle), view, atol=0.51)


def test_operations_amounts_and_weights_are_written(
    images: np.ndarray, plan: Plan, written: list[str]
):
    crop, flip = np.array([[6, 1], [4, 4]], np.int32), np.array([True, True])
    moved = change(plan, CropFlip, padding=4, crop=crop, flip=flip)
    previews.render_preview(images[0], moved, index=0)
    assert written[0] == "image 0, view 0"
    pairs = set(pairwise(written))
    assert {("solarize", "100 threshold"), ("equalize", ""), ("posterize", "2 bits")} <= pairs
    assert {"x 0.25", "x 0.75"} <= set(written)
    assert ("view", "0.50 clean + 0.50 mix") in pairs
    assert ("clean", "mirrored, 3 px right, 2 px up") in pairs
    written.clear()
    previews.render_preview(images[1], moved, index=1)
    assert ("clean", "mirrored") in set(pairwise(written))


def test_bars_are_as_long_as_the_weights(images: np.ndarray, plan: Plan):
    pixels = np.asarray(previews.render_preview(images[0], plan))
    layout = previews._layout(plan)
    column = (pixels[:, layout.weight : layout.weight + 74] == pictures._BAR).all(axis=2)
    lengths = [row.sum() for row in column if row.any()]
    assert sorted({round(length / 62, 1) for length in lengths}) == [0.3, 0.8]  # 62 is a whole bar
    assert lengths[0] < lengths[-1]


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (40, 20, 1), (20, 40, 3), (224, 200, 1), (1, 300, 3), (300, 1, 1)]
)
def test_any_image_is_drawn(shape: tuple[int, int, int]):
    image = np.full(shape, 200, np.uint8)
    plan = AugMix(ops="all").sample(
        np.array([7]), num_views=1, size=shape[:2], stream=Stream(seed=1)
    )
    picture = previews.render_preview(image, plan)
    assert picture.mode == "RGB"
    assert 1100 <= picture.width <= 1300
    assert previews.render_preview(image, plan, scale=2).width == 2 * picture.width


def test_a_plan_without_operations_is_drawn(images: np.ndarray):
    plan = Standard().sample(np.arange(2), num_views=1, size=(SIDE, SIDE), stream=Stream(seed=0))
    picture = previews.render_preview(images[0], plan)
    layout = previews._layout(plan)
    np.testing.assert_array_equal(tile(picture, layout.view, 60), images[0])


def test_noise_holes_and_partners_are_shown_and_named(
    tmp_path, images: np.ndarray, written: list[str]
):
    base = PatchUniform(size_px=11, base=AugMix(width=1))
    policy = CutMix(probability=1.0, base=Cutout(size_px=9, base=base))
    plan = next(
        drawn
        for seed in range(50)
        if (
            drawn := policy.sample(
                np.arange(2), num_views=1, size=(SIDE, SIDE), stream=Stream(seed=seed)
            )
        ).pairs.partner[0]
        == 1
        and drawn.pairs.weight[0] < 1
    )
    path = previews.write_preview(tmp_path / "preview.png", images, plan)
    layout = previews._layout(plan)
    views = np.rint(define(images, plan)[0] * 255).transpose(0, 2, 3, 1)
    with Image.open(path) as page:
        for row in range(2):
            shown = tile(page.convert("RGB"), layout.view, 60 + row * page.height / 2)
            np.testing.assert_array_equal(shown, views[row])
    assert "; ".join(plan.describe_finish(0)) in written
    assert "; ".join(plan.describe_finish(1)) in written
    with pytest.raises(ValueError, match="call write_preview"):
        previews.render_preview(images[0], plan)


def test_views_with_the_amplitude_of_others_are_shown(tmp_path, images: np.ndarray):
    draws = {"num_views": 2, "size": (SIDE, SIDE), "stream": Stream(seed=6)}
    plan = APR(form="p", base=AugMix(width=1)).sample(np.arange(2), **draws)
    page = np.asarray(Image.open(previews.write_preview(tmp_path / "preview.png", images, plan)))
    views = np.clip(np.rint(define(images, plan) * 255), 0, 255).transpose(0, 1, 3, 4, 2)
    assert "amplitude from image" in plan.describe_finish(0, 1)[0]
    left = previews._layout(plan).view
    for row in range(4):  # image after image, view after view
        shown = tile(Image.fromarray(page).convert("RGB"), left, 60 + row * page.shape[0] / 4)
        np.testing.assert_array_equal(shown, views[row % 2, row // 2])
    with pytest.raises(ValueError, match="call write_preview"):
        previews.render_preview(images[0], plan)


def test_an_image_changed_before_the_chains_has_the_name_of_its_stage(
    tmp_path, images: np.ndarray, written: list[str]
):
    policy = APR(base=AugMix(crop_padding=4))
    plan = policy.sample(np.arange(2), num_views=1, size=(SIDE, SIDE), stream=Stream(seed=6))
    previews.write_preview(tmp_path / "preview.png", images, plan.with_clean())
    stage = plan.find(Recombined)
    crop = plan.find(CropFlip)
    assert stage is not None
    assert crop is not None
    # views of an image after one another, the clean one first
    names = [word for word in written if word in ("clean", "recombined")]
    assert names == ["clean", "recombined"] * 2
    mixed = [word for word in written if word.endswith(" mix")]
    assert [word.split()[1] for word in mixed] == ["clean", "first"] * 2
    first = stage.describe(0, 0, plan.ids)[0]
    assert any(note.startswith(f"first: {first}") for note in written)
    page = np.asarray(Image.open(tmp_path / "preview.png").convert("RGB"))
    made = crop.apply(stage.apply(images[None]))
    middle = 60 + (previews._layout(plan).tile_height + 46)
    shown = tile(Image.fromarray(page), 26, middle + page.shape[0] / 4)
    np.testing.assert_array_equal(shown, made[0, 0])


def test_a_page_holds_all_views_of_all_images(tmp_path, images: np.ndarray, plan: Plan):
    path = previews.write_preview(tmp_path / "preview.png", images, plan.with_clean())
    row = previews.render_preview(images[0], plan)
    with Image.open(path) as page:
        assert page.format == "PNG"
        assert page.size == (row.width, 4 * row.height)
        second = page.crop((0, row.height, row.width, 2 * row.height - 1))
    expected = previews.render_preview(images[0], plan.with_clean(), view=1)
    expected = expected.crop((0, 0, row.width, row.height - 1))
    np.testing.assert_array_equal(np.asarray(second), np.asarray(expected))


def test_what_cannot_be_drawn_is_refused(tmp_path, images: np.ndarray, plan: Plan):
    with pytest.raises(ValueError, match="one of 2 images and 1 views, got index 2"):
        previews.render_preview(images[0], plan, index=2)
    with pytest.raises(ValueError, match="scale must be above 0"):
        previews.render_preview(images[0], plan, scale=0)
    with pytest.raises(ValueError, match="28x28 pixels, got 1 of 20x28"):
        previews.render_preview(images[0, :20], plan)
    with pytest.raises(ValueError, match="nothing to draw"):
        previews.write_preview(tmp_path / "x.png", images[:0], plan[:0])
    with pytest.raises(ValueError, match=r"must end in \.png, got .*x\.jpg"):
        previews.write_preview(tmp_path / "x.jpg", images, plan)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot make the folder"):
        previews.write_preview(tmp_path / "file" / "x.png", images, plan)
    assert previews.write_preview(tmp_path / "new" / "x.png", images, plan).exists()
