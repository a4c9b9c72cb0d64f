import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmix.data.batches import BatchOrder, run_ahead
from augmix.rng import Purpose, Stream


@settings(deadline=None)  # the first example loads the compiled generator
@given(
    num_images=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    world_size=st.integers(1, 4),
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 3),
)
def test_ranks_share_every_image_once_an_epoch(num_images, batch_size, world_size, seed, epoch):
    last = num_images % batch_size or min(num_images, batch_size)
    if last < world_size:
        with pytest.raises(ValueError, match="every rank needs an image"):
            BatchOrder(num_images, batch_size, seed, 0, world_size)
        return
    whole = BatchOrder(num_images, batch_size, seed)
    ranks = [
        BatchOrder(num_images, batch_size, seed, rank, world_size) for rank in range(world_size)
    ]
    steps = range(epoch * whole.steps_per_epoch, (epoch + 1) * whole.steps_per_epoch)
    seen = []
    for step in steps:
        pieces = [order.ids(step) for order in ranks]
        assert np.array_equal(np.concatenate(pieces), whole.ids(step))
        sizes = [len(piece) for piece in pieces]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1
        assert whole.epoch(step) == epoch
        seen += whole.ids(step).tolist()
    assert sorted(seen) == list(range(num_images))
    expected = Stream(seed=seed).at(Purpose.ORDER, epoch=epoch).permutation(num_images)
    assert seen == expected.tolist()


def test_any_step_can_be_asked_for_first():
    order = BatchOrder(10, 4, seed=3)
    forward = [order.ids(step).tolist() for step in range(9)]
    backward = [BatchOrder(10, 4, seed=3).ids(step).tolist() for step in reversed(range(9))]
    assert forward == backward[::-1]
    assert [len(ids) for ids in forward[:3]] == [4, 4, 2]
    assert forward[:3] != forward[3:6]  # another order in another epoch
    assert forward != [BatchOrder(10, 4, seed=4).ids(step).tolist() for step in range(9)]


def test_the_given_ids_belong_to_the_caller():
    order = BatchOrder(10, 10, seed=3)
    first = order.ids(0)
    first[:] = 0
    assert sorted(order.ids(0)) == list(range(10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_images": 0}, "num_images must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"world_size": 0}, "world_size must be at least 1, got 0"),
        ({"rank": 2, "world_size": 2}, r"rank must be 0..1, got 2"),
        ({"rank": -1}, r"rank must be 0..0, got -1"),
        ({"batch_size": 9, "world_size": 2}, "last batch of 10 images in batches of 9 has 1"),
    ],
)
def test_refused_orders(arguments, message):
    with pytest.raises(ValueError, match=message):
        BatchOrder(**{"num_images": 10, "batch_size": 4, "seed": 0, **arguments})


def test_negative_steps_are_refused():
    with pytest.raises(ValueError, match="step must be 0 or more, got -1"):
        BatchOrder(10, 4, seed=0).ids(-1)


def threads_ahead() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("augmix-ahead")]


@pytest.mark.parametrize("num_threads", [1, 3])
def test_results_come_in_order(num_threads):
    def make(index: int) -> int:
        time.sleep(0.002 * (index % 3 == 0))
        return index * index

    made = list(run_ahead(make, range(20), num_threads=num_threads))
    assert made == [index * index for index in range(20)]
    assert not threads_ahead()


@pytest.mark.parametrize("num_threads", [1, 3])
def test_no_more_than_one_besides_those_of_the_threads_wait(num_threads):
    begun = []
    results = run_ahead(lambda index: begun.append(index), range(100), num_threads=num_threads)
    for taken in range(1, 10):
        next(results)
        time.sleep(0.005)
        assert taken <= len(begun) <= taken + num_threads + 1
    results.close()
    assert len(begun) < 20


def test_the_next_result_is_made_while_the_consumer_works():
    made = threading.Event()

    def make(index: int) -> int:
        if index == 1:
            made.set()
        return index

    results = run_ahead(make, range(5))
    assert next(results) == 0
    assert made.wait(5)
    results.close()


@pytest.mark.parametrize("num_threads", [1, 2])
def test_an_error_comes_out_at_its_step(num_threads):
    def make(index: int) -> int:
        if index == 3:
            raise KeyError("broken image")
        return index

    results = run_ahead(make, range(10), num_threads=num_threads)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="broken image"):
        next(results)
    assert list(results) == []
    assert not threads_ahead()


def test_threads_end_with_the_consumer():
    results = run_ahead(lambda index: index, range(10**9), num_threads=2)
    next(results)
    assert threads_ahead()
    results.close()
    assert not threads_ahead()

    def consume() -> None:
        for result in run_ahead(lambda index: index, range(10**9), num_threads=2):
            if result == 3:
                raise RuntimeError("the step failed")

    with pytest.raises(RuntimeError, match="the step failed"):
        consume()
    assert not threads_ahead()
