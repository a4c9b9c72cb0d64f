"""State dicts held against each other."""

import pytest
import torch

from augmix.errors import RunError
from augmix.models.weights import check_state, shorten

EXPECTED = {
    "a.weight": torch.zeros(2, 3),
    "a.bias": torch.zeros(2),
    "b.num_batches_tracked": torch.zeros(()),
}


def test_equal_names_and_shapes_pass() -> None:
    check_state(dict(EXPECTED), EXPECTED, what="file")


def test_other_names_and_shapes_are_named() -> None:
    found = {"a.weight": torch.zeros(2, 3), "c": torch.zeros(1)}
    message = (
        r"^file does not fit: expected 3 tensors, got 2; "
        r"missing: a.bias, b.num_batches_tracked; unknown: c$"
    )
    with pytest.raises(RunError, match=message):
        check_state(found, EXPECTED, what="file does not fit")
    with pytest.raises(RunError, match="expected 3 tensors, got 4; missing: none; unknown: c$"):
        check_state({**EXPECTED, "c": torch.zeros(1)}, EXPECTED, what="file")
    with pytest.raises(RunError, match="file: a.bias must have shape \\(2,\\), got \\(4,\\)"):
        check_state({**EXPECTED, "a.bias": torch.zeros(4)}, EXPECTED, what="file")


def test_counters_may_be_missing_where_that_is_said() -> None:
    found = {name: EXPECTED[name] for name in ("a.weight", "a.bias")}
    check_state(found, EXPECTED, what="file", needs_counters=False)
    with pytest.raises(RunError, match="missing: b.num_batches_tracked; unknown: none"):
        check_state(found, EXPECTED, what="file")
    with pytest.raises(RunError, match="missing: a.bias; unknown: none"):
        check_state({"a.weight": found["a.weight"]}, EXPECTED, what="file", needs_counters=False)


def test_long_lists_are_cut() -> None:
    assert shorten(["d", "b", "a", "c", "e"]) == "a, b, c and 2 more"
    assert shorten([]) == "none"
