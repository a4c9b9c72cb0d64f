"""Stages of APR, HybridAugment++ and AFA against the published text, pixel by pixel."""

import cmath
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from augmix.augment import render
from augmix.augment.ops import Op, apply_op
from augmix.augment.policies import APR, AugMix, FourierWaves, HybridAugment
from augmix.augment.policies.fourier import Recombined, Spectra, Waves
from augmix.augment.stages.chains import Chains
from augmix.rng import Stream

STREAM = Stream(seed=8)
IDS = np.arange(40)


def transform(values: np.ndarray, sign: int) -> np.ndarray:
    """The three-dimensional Fourier sum, term by term."""
    height, width, channels = values.shape
    result = np.zeros(values.shape, complex)
    for u, v, w in np.ndindex(values.shape):
        total = 0j
        for y, x, c in np.ndindex(values.shape):
            turn = u * y / height + v * x / width + w * c / channels
            total += values[y, x, c] * cmath.exp(sign * 2j * math.pi * turn)
        result[u, v, w] = total
    return result


def recombine(amplitude: np.ndarray, phase: np.ndarray) -> np.ndarray:
    size, waves = transform(amplitude, -1), transform(phase, -1)
    result = np.zeros(size.shape, complex)
    for at in np.ndindex(size.shape):
        angle = cmath.phase(waves[at]) if abs(waves[at]) > 1e-7 else 0.0
        result[at] = abs(size[at]) * cmath.exp(1j * angle)
    return (transform(result, 1) / amplitude.size).real


def blur(values: np.ndarray) -> np.ndarray:
    """Each pixel from its 3x3 neighbours; the image is mirrored without repeating its border."""
    height, width, channels = values.shape
    weights = [math.exp(-0.5 * (offset / 0.5) ** 2) for offset in (-1, 0, 1)]
    weights = [weight / sum(weights) for weight in weights]
    result = np.zeros(values.shape)
    for y, x, c in np.ndindex(height, width, channels):
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                row, column = abs(y + down), abs(x + right)
                row = 2 * (height - 1) - row if row >= height else row
                column = 2 * (width - 1) - column if column >= width else column
                result[y, x, c] += weights[down + 1] * weights[right + 1] * values[row, column, c]
    return result


def to_byte(value: float, overflow: str) -> int:
    whole = int(round(value, 6))
    return whole % 256 if overflow == "wrap" else min(max(whole, 0), 255)


def to_bytes(values: np.ndarray, overflow: str) -> np.ndarray:
    result = np.zeros(values.shape, np.uint8)
    for at in np.ndindex(values.shape):
        result[at] = to_byte(float(values[at]), overflow)
    return result


def operate(image: np.ndarray, op: int, amount: float) -> np.ndarray:
    return np.asarray(apply_op(Image.fromarray(image), Op(op), amount))


def apr(image: np.ndarray, steps: list, swap: int, overflow: str) -> np.ndarray:
    one = operate(image, *steps[0])
    if swap == 0:
        return one
    two = operate(one, *steps[1])
    mixed = recombine(one, two) if swap == 1 else recombine(two, one)
    return to_bytes(mixed, overflow)


def single(image: np.ndarray, steps: list, swap: int, low: int, overflow: str) -> np.ndarray:
    if not low:
        return apr(image, steps[:2], swap, overflow)
    first = operate(image, *steps[0])
    second = operate(first, *steps[1])
    kept, other = (first, second) if low == 1 else (second, first)
    smooth = apr(to_bytes(blur(kept), overflow), steps[2:], swap, overflow)
    return to_bytes(smooth + (other - blur(other)), overflow)


@pytest.mark.parametrize("overflow", ["wrap", "clip"])
@pytest.mark.parametrize("policy", [APR, HybridAugment])
def test_form_s_is_the_text(policy: type, overflow: str):
    plan = policy(form="s", overflow=overflow).sample(IDS, num_views=1, size=(5, 6), stream=STREAM)
    images = np.random.default_rng(0).integers(0, 256, (len(IDS), 5, 6, 3), dtype=np.uint8)
    stage = plan.find(Recombined)
    assert stage is not None
    views = render(images, plan, executor="pillow")
    seen = set()
    for index in range(0, len(IDS), 2):
        steps = list(zip(stage.op[0, index].tolist(), stage.amount[0, index].tolist(), strict=True))
        swap, low = int(stage.swap[0, index]), int(stage.low[0, index])
        expected = single(images[index], steps, swap, low, overflow)
        got = np.rint(views[0, index] * 255).astype(np.uint8).transpose(1, 2, 0)
        np.testing.assert_array_equal(got, expected)
        seen.add((swap, low))
    assert len(seen) >= (3 if policy is APR else 5)


@pytest.mark.parametrize("is_hybrid", [False, True])
@pytest.mark.parametrize("low", [False, True])
def test_form_p_is_the_text(is_hybrid: bool, low: bool):
    rng = np.random.default_rng(1)
    views = rng.random((2, 3, 3, 4, 5)).astype(np.float32)
    stage = Spectra(
        is_on=np.array([[False] * 3, [True] * 3]),
        low_partner=np.array([1, 2, 0]),
        high_partner=np.array([2, 0, 1]),
        low=np.full(3, low),
        high=np.full(3, is_hybrid),
    )
    got = stage.apply(views)
    np.testing.assert_array_equal(got[0], views[0])
    for index in range(3):
        own, amplitude, sharp = (
            views[1, at].transpose(1, 2, 0).astype(np.float64)
            for at in (index, stage.low_partner[index], stage.high_partner[index])
        )
        expected = own
        if is_hybrid:
            smooth = blur(own)
            mixed = recombine(blur(amplitude), smooth) if low else smooth
            expected = mixed + (sharp - blur(sharp))
        elif low:
            expected = recombine(amplitude, own)
        np.testing.assert_allclose(got[1, index].transpose(1, 2, 0), expected, atol=1e-6)


def mixture(image: np.ndarray, chains: Chains, view: int, index: int) -> np.ndarray:
    """AugMix's algorithm 1 on levels in [0, 1], chain after chain by Pillow."""
    mix, total = float(chains.mix[view, index]), np.zeros(image.shape)
    for chain, weight in enumerate(chains.weight[view, index].tolist()):
        changed = image
        for op, amount in zip(
            chains.op[view, index, chain].tolist(),
            chains.amount[view, index, chain].tolist(),
            strict=True,
        ):
            changed = operate(changed, op, amount) if op else changed
        total += weight * changed / 255
    return (1 - mix) * image / 255 + mix * total


def wave(size: int, frequency: float, angle: float, strength: float) -> np.ndarray:
    line = [-size / 2 + size * place / (size - 1) for place in range(size)]
    values = np.array(
        [
            [
                math.sin(
                    2 * math.pi * frequency * (u * math.cos(angle) + v * math.sin(angle))
                    - math.pi / 4
                )
                for u in line
            ]
            for v in line
        ]
    )
    return values / math.sqrt(np.sum(values**2)) * size / 32 * strength


def test_layers_over_augmix_are_carried_out_in_the_order_of_their_texts():
    """Form s of the image, AugMix, form p of that view with others; the last view has waves."""
    ids, size = np.arange(4), 6
    policy = FourierWaves(base=HybridAugment(base=AugMix(width=2)))
    plan = policy.sample(ids, num_views=3, size=(size, size), stream=Stream(seed=5)).with_clean()
    images = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), dtype=np.uint8)
    views = render(images, plan, executor="pillow").transpose(0, 1, 3, 4, 2)
    found: Any = [plan.find(kind) for kind in (Recombined, Chains, Spectra, Waves)]
    form_s, chains, form_p, waves = found
    assert form_p.high.all()
    assert form_p.low.all()
    mixed = np.zeros((4, size, size, 3))
    for index in range(4):
        np.testing.assert_array_equal(views[0, index], images[index] / np.float32(255))
        steps = list(zip(form_s.op[1, index].tolist(), form_s.amount[1, index], strict=True))
        swap, low = int(form_s.swap[1, index]), int(form_s.low[1, index])
        image = single(images[index], steps, swap, low, "wrap")
        mixed[index] = mixture(image, chains, 1, index)
        np.testing.assert_allclose(views[1, index], mixed[index], atol=1e-6)
        for channel in range(3):
            where = (3, index, channel)
            added = wave(
                size, *(float(a[where]) for a in (waves.frequency, waves.angle, waves.strength))
            )
            expected = np.clip(images[index, :, :, channel] / 255 + added, 0, 1)
            np.testing.assert_allclose(views[3, index, :, :, channel], expected, atol=1e-6)
    for index in range(4):
        smooth = blur(mixed[index])
        low = recombine(blur(mixed[form_p.low_partner[index]]), smooth)
        sharp = mixed[form_p.high_partner[index]]
        np.testing.assert_allclose(views[2, index], low + sharp - blur(sharp), atol=1e-5)


@pytest.mark.parametrize("policy", [APR, HybridAugment])
def test_the_laws_of_the_draws(policy: type):
    ids = np.arange(4000)
    plan = policy(form="s").sample(ids, num_views=1, size=(8, 8), stream=STREAM)
    stage = plan.find(Recombined)
    assert stage is not None
    by_low = [float((stage.low == n).mean()) for n in range(3)]
    by_swap = [float((stage.swap == n).mean()) for n in range(3)]
    expected = [1, 0, 0] if policy is APR else [0.5, 0.25, 0.25]
    np.testing.assert_allclose(by_low, expected, atol=0.03)
    expected = [0.5, 0.25, 0.25] if policy is APR else [0.75, 0.125, 0.125]
    np.testing.assert_allclose(by_swap, expected, atol=0.03)
    low, high = [], []
    for epoch in range(400):
        plan = policy(form="p").sample(
            np.arange(3), num_views=2, size=(2, 2), stream=STREAM.at(epoch=epoch)
        )
        paired = plan.find(Spectra)
        assert paired is not None
        assert len(set(paired.low)) == len(set(paired.high)) == 1  # once for the batch
        assert paired.is_on.tolist() == [[False] * 3, [True] * 3]
        low.append(paired.low[0])
        high.append(paired.high[0])
    is_apr = policy is APR
    assert np.mean(low) == pytest.approx(0.6 if is_apr else 0.36, abs=0.07)
    assert np.mean(high) == pytest.approx(0.0 if is_apr else 0.6, abs=0.07)


def test_wrapping_is_impulse_noise_and_clipping_is_not():
    images = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    views = {}
    for overflow in ("wrap", "clip"):
        policy = APR(form="s", overflow=overflow)
        plan = policy.sample(np.arange(60), num_views=1, size=(16, 16), stream=STREAM)
        views[overflow] = render(images, plan)
    share = float((np.abs(views["wrap"] - views["clip"]) > 0.5).mean())
    assert 0.01 < share < 0.2


def wave_of(size: int, frequency: float, angle: float, strength: float) -> np.ndarray:
    """sin(2 pi f (u cos a + v sin a) - pi / 4) on linspace(-S/2, S/2, S), of a given length."""
    result = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            u = -size / 2 + size * column / (size - 1)
            v = -size / 2 + size * row / (size - 1)
            along = u * math.cos(angle) + v * math.sin(angle)
            result[row, column] = math.sin(2 * math.pi * frequency * along - math.pi / 4)
    length = math.sqrt(sum(value**2 for value in result.ravel()))
    return result / length * (size / 32) * strength


@pytest.mark.parametrize("size", [8, 33])
def test_the_waves_are_those_of_the_text(size: int):
    rng = np.random.default_rng(0)
    views = rng.random((1, 2, 3, size, size)).astype(np.float32)
    stage = Waves(
        frequency=rng.random((1, 2, 3)).astype(np.float32),
        angle=(np.pi * rng.random((1, 2, 3))).astype(np.float32),
        strength=np.array([[[10.0, 2.0, 0.5], [0.0, 0.0, 0.0]]], np.float32),
    )
    got = stage.apply(views)
    np.testing.assert_array_equal(got[0, 1], views[0, 1])
    for channel in range(3):
        wave = wave_of(
            size, *(float(a[0, 0, channel]) for a in (stage.frequency, stage.angle, stage.strength))
        )
        expected = np.clip(views[0, 0, channel] + wave, 0, 1)
        np.testing.assert_allclose(got[0, 0, channel], expected, atol=1e-6)


def test_the_laws_of_the_waves():
    plan = FourierWaves(wave_min=2.0).sample(
        np.arange(20_000), num_views=1, size=(16, 24), stream=Stream(seed=2)
    )
    stage = plan.find(Waves)
    assert stage is not None
    frequency = np.unique((stage.frequency * 16).round(4))
    np.testing.assert_allclose(frequency, np.arange(1, 17))
    assert len(np.unique(stage.angle)) == 448
    assert stage.angle.min() == 0
    assert stage.angle.max() == pytest.approx(math.pi, abs=1e-6)
    assert stage.strength.min() >= 2
    assert float(stage.strength.mean()) == pytest.approx(12, abs=0.2)
    assert float(stage.strength.std()) == pytest.approx(10, abs=0.2)


def test_the_last_view_is_the_clean_one_with_waves():
    policy, ids, stream = FourierWaves(base=AugMix()), np.arange(6), Stream(seed=2)
    plan = policy.sample(ids, num_views=3, size=(8, 8), stream=stream)
    base = AugMix().sample(ids, num_views=2, size=(8, 8), stream=stream)
    chains, waves = plan.find(Chains), plan.find(Waves)
    assert chains is not None
    assert waves is not None
    np.testing.assert_array_equal(chains.op[:2], base.op)
    assert (chains.mix[2] == 0).all()
    assert ((waves.strength > 0).all(axis=-1) == [[False] * 6, [False] * 6, [True] * 6]).all()
