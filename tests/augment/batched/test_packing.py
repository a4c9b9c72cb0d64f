import itertools

import numpy as np
import pytest
import torch

from augmix.augment import batched
from augmix.augment.batched.packing import Layout, pack, sections
from augmix.augment.policies import AugMix, CutMix, Cutout, PatchUniform
from augmix.rng import Stream


def draw(batch: int, epoch: int = 0):
    policy = CutMix(base=Cutout(base=PatchUniform(base=AugMix())), probability=1.0)
    stream = Stream(seed=0).at(epoch=epoch)
    return policy.sample(np.arange(batch), num_views=2, size=(9, 8), stream=stream)


@pytest.mark.parametrize("real", ["float64", "float32"])
@pytest.mark.parametrize("batch", [0, 1, 5])
def test_sections_are_aligned_and_do_not_overlap(real: str, batch: int) -> None:
    packed = pack(draw(batch), 3, real=real)
    parts = sections(packed.layout, real)
    assert all(part.start % 64 == 0 for part in parts)
    pairs = itertools.pairwise(parts)
    assert all(first.stop <= second.start for first, second in pairs)
    assert len(packed.words) >= parts[-1].stop


def test_arrays_lie_where_the_sections_say() -> None:
    plan = draw(5)
    packed = pack(plan, 3)
    found = {
        part.name: packed.words[part.start : part.stop].view(part.dtype).reshape(part.shape)
        for part in sections(packed.layout)
    }
    np.testing.assert_array_equal(found["ids"], plan.ids)
    weight = (plan.mix[..., None] * plan.weight).swapaxes(0, 1).reshape(-1)
    np.testing.assert_array_equal(found["weight"], weight)
    np.testing.assert_array_equal(found["0.address"], plan.noise.address)
    np.testing.assert_array_equal(found["2.partner"], plan.pairs.partner)
    assert found["rows"].shape == (sum(map(sum, packed.layout.capacity)),)


def test_a_layout_of_full_capacity_serves_other_plans() -> None:
    tight, other = pack(draw(5), 3).layout, draw(5, epoch=1)
    assert pack(other, 3, layout=tight.with_full_capacity()).layout == tight.with_full_capacity()
    assert isinstance(tight, Layout)
    assert tight.capacity != pack(other, 3).layout.capacity
    with pytest.raises(ValueError, match=r"too little capacity.* take its with_full"):
        pack(other, 3, layout=tight)
    with pytest.raises(ValueError, match="the layout is for Layout"):
        pack(draw(4), 3, layout=tight.with_full_capacity())


def test_without_rows_all_plans_of_a_shape_have_one_layout() -> None:
    first, other = (pack(draw(5, epoch=epoch), 3, has_rows=False) for epoch in (0, 1))
    assert first.layout == other.layout  # so that a CUDA graph of one serves the other
    assert hash(first.layout) == hash(other.layout)
    arrays, layout = batched.upload(first, torch.device("cpu"))
    images = torch.zeros((5, 9, 8, 3), dtype=torch.uint8)
    with pytest.raises(ValueError, match="backend 'torch' needs a plan .* has_rows=True"):
        batched.execute(images, arrays, layout, backend="torch")
