"""Numbers drawn on a device are the stream's."""

import numpy as np
import pytest
import torch

from augmix.augment.batched.tensors import key_of, uniforms
from augmix.methods.attacks import random_start
from augmix.rng import Purpose, Stream

IDS = np.array([5, 2**32 - 1, 0, 70000])


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_uniforms_are_those_of_the_stream(seed: int) -> None:
    stream = Stream(seed=seed, epoch=3).at(Purpose.ATTACK, part=2)
    addresses = torch.from_numpy(stream.addresses(IDS)[0].astype(np.int64))
    drawn = uniforms(addresses, key_of(seed), 11)
    assert drawn.shape == (4, 11, 4)
    np.testing.assert_array_equal(drawn.reshape(4, -1), stream.uniforms(IDS, count=44)[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU for torch")
def test_attacks_start_at_the_same_place_on_a_gpu() -> None:
    images, stream = torch.rand(4, 3, 9, 7), Stream(seed=8)
    truth = random_start(images, IDS, epsilon=0.05, stream=stream)
    found = random_start(images.cuda(), IDS, epsilon=0.05, stream=stream)
    torch.testing.assert_close(found.cpu(), truth, rtol=0, atol=1e-7)
