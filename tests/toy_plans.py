"""Plans and images for tests of executors: every operation at every extreme, and random chains."""

from dataclasses import replace

import numpy as np

from augmix.augment import compiled, render
from augmix.augment.ops import Op
from augmix.augment.plan import Plan
from augmix.augment.policies import Policy
from augmix.augment.stages import Stage
from augmix.augment.stages.chains import Chains, CropFlip
from augmix.rng import Stream

OPS = [op for op in Op if op != Op.NONE]
SHEARS = (0.0, 0.03, -0.09, 0.3, -0.5, 1.0, -1.0, 2.5, -7.0, 1e-12, 1 / 3, 1e9)
SHIFTS = (0.0, 1.0, -1.0, 3.0, 0.5, -0.5, 2.25, -2.75, 1e-9, 1 - 1e-12, -40.0, 999.5, 1e12, -1e300)
SHIFTS = (*SHIFTS, 1 - 2**-53, -(2**-60), 1e-15, -2 + 2**-52, -3 - 2**-51, 3 - 2**-51, 2**-53)
FACTORS = (0.0, 0.1, 0.5, 0.64, 1.0, 1 + 1e-12, 1.9, 3.5, -2.0, -0.3, 100.0)
ANGLES = (0.0, 5.0, -8.0, 29.0, 45.0, 90.0, -90.0, 180.0, 270.0, 360.0, 450.0, -720.0)
ANGLES = (*ANGLES, 1e-7, -1e-20, 180.00001, 0.37, 89.999, 12345.6)
AMOUNTS = {
    Op.AUTOCONTRAST: (0.0,),
    Op.EQUALIZE: (0.0,),
    Op.INVERT: (0.0, 77.0),
    Op.POSTERIZE: (1.0, 2.0, 3.0, 4.0, 4.9, 5.0, 6.0, 7.0, 8.0),
    Op.ROTATE: ANGLES,
    Op.SOLARIZE: (0.0, 1.0, 128.0, 180.0, 180.7, 255.0, 256.0, -3.0, 400.0),
    Op.SHEAR_X: SHEARS,
    Op.SHEAR_Y: SHEARS,
    Op.TRANSLATE_X: SHIFTS,
    Op.TRANSLATE_Y: SHIFTS,
    Op.COLOR: FACTORS,
    Op.CONTRAST: FACTORS,
    Op.BRIGHTNESS: FACTORS,
    Op.SHARPNESS: FACTORS,
}


def draw_images(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Noise, a slope, few levels, one colour, or one odd pixel."""
    if kind == "noise":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if kind == "slope":
        y, x = np.mgrid[: shape[1], : shape[2]]
        tilt = rng.integers(1, 9, (shape[0], 1, 1, shape[3], 2))
        levels = x[..., None] * tilt[..., 0] + y[..., None] * tilt[..., 1]
        return np.broadcast_to(levels % 256, shape).astype(np.uint8)
    if kind == "levels":
        return rng.choice(np.array([0, 1, 100, 254, 255], np.uint8), shape)
    flat = np.empty(shape, np.uint8)
    flat[...] = rng.integers(0, 256, (shape[0], 1, 1, shape[3]))
    if kind == "spot":
        flat[:, -1, -1] = rng.integers(0, 256, shape[3])
    return flat


def make_images(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise, few levels, one colour and a slope, image by image in turns."""
    images = np.empty(shape, np.uint8)
    for start, kind in enumerate(("noise", "levels", "flat", "slope")):
        images[start::4] = draw_images(rng, kind, images[start::4].shape)
    return images


def make_plan(
    op: np.ndarray, amount: np.ndarray, size: tuple[int, int], *, seed: int = 0, padding: int = 0
) -> Plan:
    """A plan of the given chains (`view batch chain depth`) and random weights, crops, flips."""
    rng = np.random.default_rng(seed)
    views, batch, chains, _ = op.shape
    weight = rng.dirichlet([0.7] * chains, (views, batch)).astype(np.float32)
    weight[rng.random(weight.shape) < 0.1] = 0
    mix = rng.random((views, batch)).astype(np.float32)
    mix[rng.random(mix.shape) < 0.1] = 0
    mix[rng.random(mix.shape) < 0.1] = 1
    crop = CropFlip(
        padding=padding,
        crop=rng.integers(0, 2 * padding + 1, (batch, 2), dtype=np.int32),
        flip=rng.random(batch) < 0.5,
    )
    chains = Chains(op=op.astype(np.int8), amount=amount.astype(float), weight=weight, mix=mix)
    return Plan(ids=np.arange(batch), size=size, stages=(crop, chains))


def change(plan: Plan, kind: type[Stage], **changes: object) -> Plan:
    """The plan with other values in its stages of a class."""
    stages = [replace(x, **changes) if isinstance(x, kind) else x for x in plan.stages]
    return replace(plan, stages=tuple(stages))


def single(op: Op, amounts: tuple[float, ...], size: tuple[int, int]) -> Plan:
    """One image an amount, one chain of one operation, nothing of the clean image."""
    values = np.array(amounts).reshape(1, -1, 1, 1)
    plan = make_plan(np.full(values.shape, int(op)), values, size)
    ones = np.ones((1, len(amounts)), np.float32)
    plan = change(plan, CropFlip, flip=np.zeros(len(amounts), bool))
    return change(plan, Chains, mix=ones, weight=ones[..., None])


def random_plan(rng: np.random.Generator, size: tuple[int, int], shape: tuple[int, ...]) -> Plan:
    """Any operations, at any of their amounts; ``shape`` is `view batch chain depth`."""
    op = rng.integers(0, len(Op), shape)
    amount = np.zeros(shape)
    for index, kind in np.ndenumerate(op):
        if kind:
            amount[index] = rng.choice(AMOUNTS[Op(kind)])
    return make_plan(op, amount, size, seed=int(rng.integers(2**32)), padding=int(rng.integers(4)))


def draw(policy: Policy, batch: int, size: tuple[int, int], seed: int, num_views: int = 2) -> Plan:
    """The plan of a policy for images 100 and following."""
    ids = np.arange(100, 100 + batch)
    return policy.sample(ids, num_views=num_views, size=size, stream=Stream(seed=seed))


def images_of(plan: Plan, channels: int, seed: int = 0) -> np.ndarray:
    """Random images that a plan can be carried out on."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (len(plan), *plan.size, channels), dtype=np.uint8)


def define(images: np.ndarray, plan: Plan) -> np.ndarray:
    """The views by the definition."""
    return render(images, plan, executor="pillow")


def assert_equal_bits(images: np.ndarray, plan: Plan, *, num_threads: int = 1) -> None:
    """Compare the compiled executor with the definition."""
    expected = define(images, plan)
    views = compiled.render(images, plan, num_threads=num_threads)
    assert (views.dtype, views.shape) == (np.float32, expected.shape)
    different = np.argwhere(views.view(np.uint32) != expected.view(np.uint32))
    assert not len(different), (
        f"{len(different)} values differ, first at {different[0]}:\n"
        f"{plan.describe(int(different[0][1]), int(different[0][0]))}"
    )
    assert ((expected >= 0) & (expected <= 1)).all()
