"""Streams: known answers of Philox4x32-10, and draws that depend on the address alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from augmix.jit import inner
from augmix.rng import (
    Purpose,
    Stream,
    philox4x32,
    philox4x32_scalar,
    philox4x32_torch,
    to_uniforms,
    to_uniforms_torch,
    words_at,
    words_at_torch,
)


@pytest.mark.parametrize(
    ("counter", "seed", "answer"),
    [  # Random123 1.14, kat_vectors
        ([0, 0, 0, 0], 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([2**32 - 1] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0A4093822,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_known_answers(counter, seed, answer):
    words = philox4x32(np.array(counter, np.uint32)[:, None], seed)
    assert words[:, 0].tolist() == answer


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1, 0x0123456789ABCDEF])
def test_the_three_forms_give_the_same_words(seed: int):
    counter = np.random.default_rng(0).integers(0, 2**32, (4, 50), dtype=np.uint32)
    expected = philox4x32(counter, seed)
    tensors = philox4x32_torch(list(torch.from_numpy(counter.astype(np.int64))), seed)
    np.testing.assert_array_equal(torch.stack(tensors).numpy(), expected)
    compiled, words = inner(philox4x32_scalar), np.empty(4, np.uint32)
    low, high = np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)
    for column in range(50):
        compiled(*counter[:, column], low, high, words)
        np.testing.assert_array_equal(words, expected[:, column])


IDS = np.array([5, 2**32 - 1, 0, 70000])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_uniforms_on_a_device_are_the_same(device: str):
    stream = Stream(seed=2**64 - 1, epoch=3).at(Purpose.ATTACK, part=2)
    drawn = stream.uniforms_torch(IDS, count=42, num_views=2, device=device)
    assert drawn.device.type == device
    expected = stream.uniforms(IDS, count=42, num_views=2)
    np.testing.assert_array_equal(drawn.cpu().numpy(), expected)


def test_the_words_at_an_address_are_those_that_uniforms_are_made_of():
    stream = Stream(seed=2**64 - 1, epoch=3).at(Purpose.ATTACK, part=2)
    addresses, blocks = stream.addresses(IDS, num_views=2), np.arange(11)
    expected = stream.uniforms(IDS, count=42, num_views=2)
    for view, index in np.ndindex(2, len(IDS)):
        words = words_at(addresses[view, index], blocks, stream.seed)
        np.testing.assert_array_equal(to_uniforms(words.T.ravel()[:42]), expected[view, index])
    rows = addresses.reshape(-1, 3)
    num = np.arange(len(rows)) % 3
    together = words_at(rows, np.concatenate([blocks[:count] for count in num]), stream.seed, num)
    singly = [
        words_at(row, blocks[:count], stream.seed) for row, count in zip(rows, num, strict=True)
    ]
    np.testing.assert_array_equal(together, np.concatenate(singly, axis=1))
    tensors = words_at_torch(
        torch.from_numpy(addresses.astype(np.int64)),
        torch.from_numpy(blocks).expand(2, len(IDS), -1),
        stream.seed,
    )
    drawn = to_uniforms_torch(torch.stack(tensors, dim=3).flatten(2)[..., :42])
    np.testing.assert_array_equal(drawn.numpy(), expected)


def test_words_become_the_same_uniforms_in_both_forms():
    words = np.array([0, 1, 2**31, 2**32 - 1], np.uint32)
    expected = to_uniforms(words)
    assert expected.min() > 0
    assert expected.max() < 1
    found = to_uniforms_torch(torch.from_numpy(words.astype(np.int64)))
    np.testing.assert_array_equal(found.numpy(), expected)


def test_uniforms_golden():
    got = Stream(seed=7).at(epoch=2).uniforms(np.array([5]), count=3)[0, 0]
    words = philox4x32(np.array([[0], [int(Purpose.CHAINS) << 26], [2], [5]], np.uint32), 7)
    np.testing.assert_array_equal(got, (words[:3, 0] + 0.5) / 2**32)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20), st.integers(1, 9))
def test_uniforms_do_not_depend_on_the_batch(ids, count):
    stream = Stream(seed=3)
    whole = stream.uniforms(np.array(ids), count=count, num_views=3)
    for position, sample in enumerate(ids):
        alone = stream.uniforms(np.array([sample]), count=count, num_views=2)
        np.testing.assert_array_equal(whole[:2, position], alone[:, 0])
    assert whole.min() > 0
    assert whole.max() < 1


@pytest.mark.parametrize(
    "other",
    [
        Stream(seed=1),
        Stream(seed=2**32),
        Stream(seed=0, epoch=1),
        Stream(seed=0, part=1),
        Stream(seed=0, purpose=Purpose.CROP),
    ],
)
def test_addresses_differ(other):
    ids = np.arange(100)
    assert not np.isclose(Stream(seed=0).uniforms(ids, count=4), other.uniforms(ids, count=4)).any()
    first, second = Stream(seed=0).generator(0), other.generator(0)
    assert first.random() != second.random()


def test_views_and_ids_differ():
    values = Stream(seed=0).uniforms(np.arange(50), count=8, num_views=4)
    assert len(np.unique(values)) == values.size


def test_first_block_leaves_out_blocks_of_four():
    stream, ids = Stream(seed=0), np.arange(3)
    whole = stream.uniforms(ids, count=12)
    np.testing.assert_array_equal(stream.uniforms(ids, count=4, first_block=2), whole[..., 8:])


def test_uniform_distribution():
    values = Stream(seed=0).uniforms(np.arange(100_000), count=4).ravel()
    assert abs(values.mean() - 0.5) < 4 * np.sqrt(1 / 12 / values.size)
    counts, _ = np.histogram(values, bins=64, range=(0, 1))
    expected = values.size / 64
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert 20 < chi_squared < 120  # 63 degrees of freedom: mean 63, standard deviation 11


def test_generator_is_addressed_by_sample():
    stream = Stream(seed=5).at(Purpose.CORRUPTION, part=12)
    np.testing.assert_array_equal(
        stream.generator(9).normal(size=5), stream.generator(9).normal(size=5)
    )
    assert stream.generator(9).random() != stream.generator(10).random()
    expected = np.random.Philox(key=5, counter=[0, int(Purpose.CORRUPTION) << 32 | 12, 0, 9])
    assert stream.generator(9).random() == np.random.Generator(expected).random()


def test_permutation():
    order = Stream(seed=0).at(Purpose.ORDER, epoch=1).permutation(1000)
    assert sorted(order) == list(range(1000))
    assert (order != Stream(seed=0).at(Purpose.ORDER, epoch=2).permutation(1000)).mean() > 0.9
    assert Stream(seed=0).permutation(0).shape == (0,)


def test_spawn_makes_unrelated_seeds():
    seeds = {Stream(seed=0).spawn(number).seed for number in range(100)}
    assert len(seeds) == 100
    assert Stream(seed=0).spawn(2**64 - 1) != Stream(seed=1).spawn(2**64 - 1)


def test_a_spawned_stream_is_of_the_same_epoch():
    streams = [Stream(seed=0).at(epoch=epoch).spawn(1) for epoch in (2, 3)]
    assert streams[0] == Stream(seed=0).spawn(1).at(epoch=2)
    first, second = (stream.uniforms(np.arange(4), count=3) for stream in streams)
    assert not np.isin(first, second).any()


@pytest.mark.parametrize("arguments", [{"seed": -1}, {"seed": 2**64}, {"seed": 0, "epoch": 2**32}])
def test_bad_addresses(arguments):
    with pytest.raises(ValueError, match="must be 0..2"):
        Stream(**arguments)


def test_bad_ids():
    with pytest.raises(ValueError, match=r"sample ids must be 0..2\*\*32 - 1, got -1..4"):
        Stream(seed=0).uniforms(np.array([4, -1]), count=1)
    with pytest.raises(ValueError, match="num_views must be 1..65536, got 0"):
        Stream(seed=0).uniforms(np.array([4]), count=1, num_views=0)
    with pytest.raises(ValueError, match="sample must be"):
        Stream(seed=0).generator(-1)
    with pytest.raises(ValueError, match="number must be"):
        Stream(seed=0).spawn(-1)
