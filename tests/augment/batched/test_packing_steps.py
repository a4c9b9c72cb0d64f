import numpy as np
import pytest
from toy_plans import make_plan

from augmix.augment.batched.packing import FAMILIES, Kind, encode
from augmix.augment.ops import Op
from augmix.augment.stages.chains import Chains

Chain = list[tuple[Op, float]]
SIZE = (8, 8)


def chains_of(chains: list[Chain]) -> Chains:
    """One view of one image, weight 1 for every chain."""
    depth = max(map(len, chains))
    op, amount = np.zeros((1, 1, len(chains), depth)), np.zeros((1, 1, len(chains), depth))
    for row, chain in enumerate(chains):
        for step, (kind, value) in enumerate(chain):
            op[0, 0, row, step], amount[0, 0, row, step] = kind, value
    made = make_plan(op, amount, SIZE).chains
    made.weight[...], made.mix[...] = 1, 1
    return made


def test_what_changes_nothing_is_dropped_and_the_rest_moves_up() -> None:
    nothing = [(Op.ROTATE, 720.0), (Op.SHEAR_X, 0.0), (Op.COLOR, 1.0), (Op.POSTERIZE, 8.9)]
    steps = encode(chains_of([[*nothing, (Op.SOLARIZE, 100.7)]]), 3, SIZE)
    assert steps.kind.tolist() == [[Kind.INVERT_FROM, 0, 0, 0, 0]]
    assert steps.value[0, 0] == 100
    assert encode(chains_of([[(Op.COLOR, 0.5)]]), 1, SIZE).kind.tolist() == [[Kind.NOTHING]]
    without = chains_of([[(Op.EQUALIZE, 0)]])
    without.mix[...] = 0
    assert encode(without, 3, SIZE).kind.tolist() == [[Kind.NOTHING]]


def test_rounds_end_where_pixels_are_needed() -> None:
    tables, move = [(Op.EQUALIZE, 0.0), (Op.INVERT, 0.0)], [(Op.TRANSLATE_X, 1.0)]
    chains: list[Chain] = [
        [*tables, *move, *tables[:1]],
        [*move, *move],
        tables,
        [*move, *tables, *move],
    ]
    steps = encode(chains_of(chains), 3, SIZE)
    assert steps.moves.tolist() == [1, 2, 0, 2]
    assert steps.start.tolist() == [
        [0, 3, 4, 4, 4, 4],
        [0, 1, 2, 2, 2, 2],
        [0, 2, 2, 2, 2, 2],
        [0, 1, 4, 4, 4, 4],
    ]


def test_numbers_and_values_of_every_kind() -> None:
    chain = [(Op.POSTERIZE, 3.0), (Op.SHEAR_Y, 0.25), (Op.TRANSLATE_Y, -2.0), (Op.CONTRAST, 0.1)]
    steps = encode(chains_of([chain]), 3, SIZE)
    assert steps.value[0].tolist() == [0b11100000, 0, 0, 0]
    assert steps.numbers[0, 1].tolist() == [1, 0, 0, 0.25, 1, 0]
    assert steps.numbers[0, 2].tolist() == [1, 0, 0, 0, 1, -2]
    assert steps.numbers[0, 3, 0] == np.float32(0.1)


def test_every_kind_is_in_one_family() -> None:
    assert sorted(kind for family in FAMILIES for kind in family) == list(Kind)[1:]


def test_impossible_amounts_are_refused() -> None:
    with pytest.raises(ValueError, match="posterize must keep 1..8 bits, got 0..9"):
        chains_of([[(Op.POSTERIZE, 0.0), (Op.POSTERIZE, 9.0)]]).check_amounts("batched")
    with pytest.raises(ValueError, match="amounts of a plan must be finite"):
        chains_of([[(Op.ROTATE, np.nan)]]).check_amounts("batched")
    broken = chains_of([[(Op.ROTATE, 1.0)]])
    broken.op[...] = 99
    with pytest.raises(ValueError, match=r"operations of a plan must be 0\.\.14, got 99"):
        broken.check_amounts("batched")
