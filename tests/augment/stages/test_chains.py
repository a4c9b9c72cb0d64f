"""The definition itself: plain Pillow calls written out, and the reference code's own numbers."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from augmix.augment import render
from augmix.augment.ops import Op
from augmix.augment.plan import Plan
from augmix.augment.stages.chains import Chains, CropFlip

BILINEAR, AFFINE = Image.Resampling.BILINEAR, Image.Transform.AFFINE
PAPER = ("autocontrast", "equalize", "posterize", "rotate", "solarize")
PAPER = (*PAPER, "shear_x", "shear_y", "translate_x", "translate_y")


def checkered(side: int) -> np.ndarray:
    """The test image T(side) of the corruption tables: slopes, inverted in every other square."""
    y, x = np.mgrid[:side, :side]
    k = 256 // side
    image = np.stack([k * x, k * y, k * (x + y) // 2], axis=-1)
    return np.where(((x // 4 + y // 4) % 2 == 1)[..., None], 255 - image, image).astype(np.uint8)


def plan_of(
    chains: list[list[tuple[Op, float]]],
    weight: list[float],
    mix: float,
    size: tuple[int, int] = (32, 32),
) -> Plan:
    """One view of one image, written out."""
    depth = max(len(chain) for chain in chains)
    op = np.zeros((1, 1, len(chains), depth), np.int8)
    amount = np.zeros(op.shape)
    for index, chain in enumerate(chains):
        for step, (kind, value) in enumerate(chain):
            op[0, 0, index, step], amount[0, 0, index, step] = kind, value
    chains = Chains(
        op=op,
        amount=amount,
        weight=np.array(weight, np.float32).reshape(1, 1, -1),
        mix=np.full((1, 1), mix, np.float32),
    )
    return Plan(ids=np.zeros(1, np.int64), size=size, stages=(chains,))


def define(images: np.ndarray, plan: Plan) -> np.ndarray:
    return render(images, plan, executor="pillow")


def alone(image: np.ndarray, op: Op, amount: float) -> np.ndarray:
    """One operation on one image, by the definition, as grey levels `height width channel`."""
    plan = plan_of([[(op, amount)]], [1.0], 1.0, image.shape[:2])
    view = define(image[None], plan)[0, 0]
    levels = np.rint(view * 255).astype(np.uint8)
    np.testing.assert_array_equal(view, levels.astype(np.float32) / np.float32(255))
    return levels.transpose(1, 2, 0)


# made by the released code: mean of all values, RGB at row 5 column 7, RGB at row 30 column 2
VECTORS = [
    (Op.AUTOCONTRAST, 0, 128.5205, (56, 40, 49), (239, 15, 130)),
    (Op.EQUALIZE, 0, 147.2666, (75, 53, 20), (255, 16, 118)),
    (Op.POSTERIZE, 4, 120.0000, (48, 32, 48), (224, 0, 112)),
    (Op.POSTERIZE, 3, 112.6667, (32, 32, 32), (224, 0, 96)),
    (Op.ROTATE, 8, 119.5625, (177, 206, 192), (249, 34, 141)),
    (Op.ROTATE, -8, 119.5625, (44, 50, 47), (0, 0, 0)),
    (Op.SOLARIZE, 180, 82.9118, (56, 40, 48), (16, 15, 127)),
    (Op.SHEAR_X, 0.09, 121.3913, (122, 126, 124), (37, 240, 138)),
    (Op.SHEAR_Y, -0.09, 120.9059, (56, 34, 45), (239, 16, 127)),
    (Op.TRANSLATE_X, 3, 116.2969, (175, 215, 195), (40, 240, 140)),
    (Op.TRANSLATE_Y, -2, 119.0312, (199, 231, 215), (239, 31, 135)),
    (Op.COLOR, 0.5, 127.2578, (51, 43, 47), (167, 55, 111)),
    (Op.CONTRAST, 0.5, 127.5000, (92, 84, 88), (183, 71, 127)),
    (Op.BRIGHTNESS, 0.5, 63.5000, (28, 20, 24), (119, 7, 63)),
    (Op.SHARPNESS, 0.5, 127.3392, (70, 60, 65), (239, 15, 127)),
]


def test_invert_is_the_distance_to_white() -> None:
    image = checkered(32)
    np.testing.assert_array_equal(alone(image, Op.INVERT, 0), 255 - image)
    np.testing.assert_array_equal(alone(image[..., :1], Op.INVERT, 0), 255 - image[..., :1])


def test_the_test_image() -> None:
    image = checkered(32)
    assert image.mean() == 127.5
    assert tuple(image[5, 7]) == (56, 40, 48)
    assert tuple(image[31, 30]) == (240, 248, 244)


@pytest.mark.parametrize(
    ("op", "amount", "mean", "upper", "lower"),
    VECTORS,
    ids=[f"{vector[0].name}-{vector[1]}" for vector in VECTORS],
)
def test_single_operations_against_the_released_code(
    op: Op, amount: float, mean: float, upper: tuple[int, ...], lower: tuple[int, ...]
) -> None:
    levels = alone(checkered(32), op, amount)
    assert levels.mean() == pytest.approx(mean, abs=5.1e-5)
    assert tuple(levels[5, 7]) == upper
    assert tuple(levels[30, 2]) == lower


PLAIN = {
    (Op.AUTOCONTRAST, 0.0): ImageOps.autocontrast,
    (Op.EQUALIZE, 0.0): ImageOps.equalize,
    (Op.POSTERIZE, 3.0): lambda picture: ImageOps.posterize(picture, 3),
    (Op.SOLARIZE, 100.0): lambda picture: ImageOps.solarize(picture, 100),
    (Op.ROTATE, 17.0): lambda picture: picture.rotate(17, resample=BILINEAR),
    (Op.SHEAR_X, 0.2): lambda picture: picture.transform(
        picture.size, AFFINE, (1, 0.2, 0, 0, 1, 0), resample=BILINEAR
    ),
    (Op.SHEAR_Y, -0.2): lambda picture: picture.transform(
        picture.size, AFFINE, (1, 0, 0, -0.2, 1, 0), resample=BILINEAR
    ),
    (Op.TRANSLATE_X, 5.0): lambda picture: picture.transform(
        picture.size, AFFINE, (1, 0, 5, 0, 1, 0), resample=BILINEAR
    ),
    (Op.TRANSLATE_Y, -4.5): lambda picture: picture.transform(
        picture.size, AFFINE, (1, 0, 0, 0, 1, -4.5), resample=BILINEAR
    ),
    (Op.COLOR, 1.7): lambda picture: ImageEnhance.Color(picture).enhance(1.7),
    (Op.CONTRAST, 0.3): lambda picture: ImageEnhance.Contrast(picture).enhance(0.3),
    (Op.BRIGHTNESS, 1.4): lambda picture: ImageEnhance.Brightness(picture).enhance(1.4),
    (Op.SHARPNESS, 1.9): lambda picture: ImageEnhance.Sharpness(picture).enhance(1.9),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("op", "amount"), list(PLAIN), ids=lambda value: str(value))
def test_single_operations_are_plain_pillow_calls(op: Op, amount: float, channels: int) -> None:
    image = np.random.default_rng(0).integers(30, 220, (20, 24, channels), dtype=np.uint8)
    picture = Image.fromarray(image if channels == 3 else image[..., 0])
    expected = np.asarray(PLAIN[op, amount](picture)).reshape(image.shape)
    np.testing.assert_array_equal(alone(image, op, amount), expected)


def test_signs_of_the_operations() -> None:
    image = np.zeros((9, 9, 1), np.uint8)
    image[2, 6] = 255
    assert np.argwhere(alone(image, Op.TRANSLATE_X, 2)[..., 0]).tolist() == [[2, 4]]  # to the left
    assert np.argwhere(alone(image, Op.TRANSLATE_Y, 2)[..., 0]).tolist() == [[0, 6]]  # up
    assert np.argwhere(alone(image, Op.ROTATE, 90)[..., 0]).tolist() == [
        [2, 2]
    ]  # counter-clockwise


def test_a_mixture_by_hand() -> None:
    """0.5 clean + 0.5 (0.25 * moved left + 0.75 * inverted), then / 255."""
    image = np.array([[[10], [200]]], np.uint8)
    chains = [[(Op.TRANSLATE_X, 1.0)], [(Op.SOLARIZE, 0.0)]]
    view = define(image[None], plan_of(chains, [0.25, 0.75], 0.5, (1, 2)))[0, 0, 0, 0]
    left = 0.5 * 10 + 0.5 * (0.25 * 200 + 0.75 * 245)
    right = 0.5 * 200 + 0.5 * (0.25 * 0 + 0.75 * 55)
    np.testing.assert_allclose(view, [left / 255, right / 255], rtol=1e-6)


def test_crop_and_flip_come_first_and_are_shared_by_the_views() -> None:
    image = np.arange(1, 13, dtype=np.uint8).reshape(1, 3, 4, 1)
    crop = CropFlip(padding=2, crop=np.array([[1, 3]], np.int32), flip=np.array([True]))
    stages = (crop, Chains.unchanged(2, 1))
    plan = Plan(ids=np.zeros(1, np.int64), size=(3, 4), stages=stages)
    moved = [[0, 0, 0, 0], [3, 2, 1, 0], [7, 6, 5, 0]]
    expected = np.array(moved, np.float32) / np.float32(255)
    for view in define(image, plan)[:, 0, 0]:
        np.testing.assert_array_equal(view, expected)


def replay(seed: int, severity: float = 3.0) -> tuple[Plan, list[list[str]]]:
    """The draws of the released code for one image of 32 x 32: width 3, random depth, alpha 1.

    Its order of draws and its level-to-amount formulas, written out here so that they owe nothing
    to the package.
    """
    rng = np.random.RandomState(seed)
    weight = rng.dirichlet([1.0] * 3).astype(np.float32)
    mix = np.float32(rng.beta(1.0, 1.0))
    chains: list[list[tuple[Op, float]]] = []
    for _ in range(3):
        chain = []
        for _ in range(rng.randint(1, 4)):
            name = PAPER[rng.choice(len(PAPER))]
            chain.append((Op[name.upper()], draw_amount(name, severity, rng)))
        chains.append(chain)
    names = [[op.name.lower() for op, _ in chain] for chain in chains]
    return plan_of(chains, weight.tolist(), float(mix)), names


def draw_amount(name: str, severity: float, rng: np.random.RandomState) -> float:
    if name in ("autocontrast", "equalize"):
        return 0.0
    level = rng.uniform(low=0.1, high=severity)
    if name == "posterize":
        return 4 - int(level * 4 / 10)
    if name == "solarize":
        return 256 - int(level * 256 / 10)
    amount = {
        "rotate": int(level * 30 / 10),
        "shear_x": level * 0.3 / 10,
        "shear_y": level * 0.3 / 10,
        "translate_x": int(level * (32 / 3) / 10),
        "translate_y": int(level * (32 / 3) / 10),
    }[name]
    return -float(amount) if rng.uniform() > 0.5 else float(amount)


WHOLE = {
    0: (
        (0.26751828, 0.42215756, 0.31032413),
        0.5625832,
        [["posterize", "shear_y"], ["shear_y", "equalize"], ["translate_y", "rotate"]],
        -0.001268,
        {(5, 7): (-0.37288, -0.46283, -0.46547), (16, 16): (0.09706, 0.03931, 0.03186)},
    ),
    1: (
        (0.29749274, 0.70244420, 0.00006306),
        0.67321384,
        [["equalize"], ["translate_x"], ["solarize", "posterize", "posterize"]],
        0.017186,
        {(5, 7): (-0.03023, -0.01679, -0.09262)},
    ),
    2: (
        (0.41002688, 0.01880712, 0.57116600),
        0.50873834,
        [
            ["equalize", "shear_x", "solarize"],
            ["translate_x", "rotate"],
            ["rotate", "shear_y", "posterize"],
        ],
        -0.094983,
        {(5, 7): (-0.52741, -0.65973, -0.64487)},
    ),
}


@pytest.mark.parametrize("seed", WHOLE)
def test_whole_mixtures_against_the_released_training_script(seed: int) -> None:
    weight, mix, names, mean, pixels = WHOLE[seed]
    plan, drawn = replay(seed)
    np.testing.assert_allclose(plan.weight[0, 0], weight, atol=5.1e-9, rtol=1e-7)
    assert plan.mix[0, 0] == pytest.approx(mix, rel=1e-7)
    assert drawn == names
    view = define(checkered(32)[None], plan)[0, 0].astype(np.float64)
    normalised = (view - 0.5) / 0.5
    assert normalised.mean() == pytest.approx(mean, abs=5.5e-7)
    for (row, column), expected in pixels.items():
        np.testing.assert_allclose(normalised[:, row, column], expected, atol=5.5e-6)


def test_whole_mixture_against_the_released_numpy_script() -> None:
    """The other released form normalises before it mixes; convex mixing gives the same."""
    plan, _ = replay(0)
    view = define(checkered(32)[None], plan)[0, 0].astype(np.float64)
    mean = np.array([0.4914, 0.4822, 0.4465])[:, None, None]
    std = np.array([0.2023, 0.1994, 0.2010])[:, None, None]
    normalised = (view - mean) / std
    assert normalised.mean() == pytest.approx(0.129163, abs=1e-6)
    np.testing.assert_allclose(normalised[:, 5, 7], (-0.879086, -1.071287, -0.891718), atol=1e-6)
    np.testing.assert_allclose(normalised[:, 16, 16], (0.282398, 0.187847, 0.345429), atol=1e-6)


def test_errors_name_what_was_expected(noise: np.ndarray) -> None:
    plan = plan_of([[(Op.NONE, 0.0)]], [1.0], 0.5, (20, 24))
    with pytest.raises(ValueError, match="the plan was drawn for 1 images of 20x24 pixels, got 8"):
        define(noise, plan)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        define(noise[:1, ..., :2], plan)
