"""A single process; groups of several are tested in evaluation/test_processes.py."""

import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist

from augmix import distributed
from augmix.errors import RunError


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the only process of a launch."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "MASTER_PORT": port}
    for name, value in {**words, "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, str(value))


def check_alone() -> None:
    assert (distributed.rank(), distributed.world_size(), distributed.local_rank()) == (0, 1, 0)
    values = np.arange(6.0).reshape(3, 2)
    assert distributed.broadcast(values).tolist() == values.tolist()
    (found,) = distributed.gather(values)
    assert found.tolist() == values.tolist()
    assert distributed.sum_over_ranks(torch.ones(2)).tolist() == [1, 1]


def test_a_single_process_gets_its_own_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    check_alone()
    with distributed.joined():
        assert not dist.is_initialized()
        check_alone()


@pytest.mark.usefixtures("launched")
def test_a_launched_process_is_in_a_group_while_it_works() -> None:
    with distributed.joined():
        assert dist.is_initialized()
        check_alone()
        with distributed.joined():  # a group that is there is used and left
            pass
        assert dist.is_initialized()
    assert not dist.is_initialized()


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize("kind", ["bool", "uint16", "int64", "float64"])
def test_arrays_of_any_type_and_without_rows_are_exchanged(kind: str) -> None:
    with distributed.joined():
        for values in (np.array([[0, 1], [1, 0], [1, 1]]).astype(kind), np.empty((0, 2), kind)):
            for found in (distributed.broadcast(values), distributed.gather(values)[0]):
                assert found.dtype == values.dtype
                assert found.shape == values.shape
                assert found.tolist() == values.tolist()


@pytest.mark.usefixtures("launched")
def test_processes_that_cannot_join_get_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_PORT", "0x")
    message = "process 0 of 1 cannot join the others .*by torchrun"
    with pytest.raises(RunError, match=message), distributed.joined():
        pass


def test_a_call_that_fails_among_ranks_says_that_others_ended() -> None:
    def fail() -> None:
        raise RuntimeError("Connection closed by peer\nwith much more")

    message = r"process 0 of 1 has lost the others \(Connection closed by peer\): one of them ended"
    with pytest.raises(RunError, match=message):
        distributed.collective(fail)
