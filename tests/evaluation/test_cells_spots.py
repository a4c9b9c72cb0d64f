import numpy as np
import pytest

from augmix.corruptions import CIFAR_SCRIPT_10, PAPER_15, STANDARD_10
from augmix.errors import RunError
from augmix.evaluation.cells import choose_images, list_spots


def test_spots_are_listed_suite_by_suite_each_once() -> None:
    found = list_spots(("p", "c", "clean"), ("fog", "fog"), (5, 1), ("tilt",))
    assert found == (("clean", "clean", 0), ("c", "fog", 5), ("c", "fog", 1), ("p", "tilt", 0))


def test_lists_of_names_stand_for_their_names() -> None:
    corrupted = list_spots(("c",), ("paper-15",), (3,))
    assert [name for _, name, _ in corrupted] == list(PAPER_15)
    perturbed = list_spots(("p",), (), (), ("cifar-script-10", "snow"))
    assert [name for _, name, _ in perturbed] == [*CIFAR_SCRIPT_10, "snow"]
    assert set(STANDARD_10) < {name for _, name, _ in perturbed}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((("clean", "d"), (), ()), "suite must be of .*got 'd'"),
        ((("c",), ("fogg",), (1,)), "unknown corruption 'fogg', did you mean 'fog'"),
        ((("c",), ("fog",), (6,)), "severity must be 1..5, got 6"),
        ((("p",), (), (), ("tlit",)), "unknown perturbation 'tlit', did you mean 'tilt'"),
        ((("c",), ("fog",), ()), "nothing to measure"),
    ],
)
def test_unknown_spots_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list_spots(*arguments)


def test_all_images_are_measured_in_order() -> None:
    ids, held = choose_images(7, seed=3)
    assert ids.tolist() == list(range(7))
    assert held.tolist() == []


def test_held_out_images_are_never_measured() -> None:
    ids, held = choose_images(50, num_held=12, seed=3)
    assert len(held) == 12
    assert sorted([*ids, *held]) == list(range(50))
    assert (np.diff(ids) > 0).all()
    assert (np.diff(held) > 0).all()
    assert held.tolist() == choose_images(50, num_held=12, seed=3)[1].tolist()
    assert held.tolist() != choose_images(50, num_held=12, seed=4)[1].tolist()


def test_fewer_images_are_a_part_of_more_with_or_without_held_out_ones() -> None:
    few, _ = choose_images(50, max_images=10, seed=0)
    more, _ = choose_images(50, max_images=30, seed=0)
    assert set(few) < set(more)
    assert choose_images(50, max_images=10, num_held=20, seed=0)[0].tolist() == few.tolist()
    assert len(choose_images(50, max_images=45, num_held=20, seed=0)[0]) == 30


def test_a_choice_out_of_range_is_refused() -> None:
    with pytest.raises(RunError, match="no image"):
        choose_images(0, seed=0)
    with pytest.raises(ValueError, match="max_images must be at least 0, got -1"):
        choose_images(5, max_images=-1, seed=0)
    for number in (-1, 5, 6):
        with pytest.raises(ValueError, match=f"leave some of the source's 5 .*got {number}"):
            choose_images(5, num_held=number, seed=0)
