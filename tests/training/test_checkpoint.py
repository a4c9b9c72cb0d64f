import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from augmix.errors import ResumeError, RunError
from augmix.files import hold_folder
from augmix.training import checkpoint
from augmix.training.checkpoint import State


def make_parts() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(5, 3)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def make_state(step: int = 7, **identity: object) -> State:
    model, optimizer = make_parts()
    identity = {"seed": 1, "ops": ("a", "b"), "out": Path("x"), **identity}
    return checkpoint.capture(step, model, optimizer, identity=identity, meters={"images": 3})


def test_a_state_comes_back_with_every_bit(tmp_path: Path) -> None:
    model, optimizer = make_parts()
    state = checkpoint.capture(7, model, optimizer, identity={"seed": 1}, meters={"seconds": 0.5})
    checkpoint.write_state(tmp_path, state)
    loaded = checkpoint.load_state(tmp_path)
    assert loaded is not None
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    other_optimizer = torch.optim.SGD(other.parameters(), lr=0.5, momentum=0.9)
    checkpoint.restore(loaded, other, other_optimizer, folder=tmp_path)
    assert (loaded.step, loaded.identity, loaded.meters) == (7, {"seed": 1}, {"seconds": 0.5})
    for name, values in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], values)
    momenta = [s["momentum_buffer"] for s in optimizer.state_dict()["state"].values()]
    others = [s["momentum_buffer"] for s in other_optimizer.state_dict()["state"].values()]
    assert len(momenta) == 4
    assert all(torch.equal(a, b) for a, b in zip(momenta, others, strict=True))


def test_no_state_is_none(tmp_path: Path) -> None:
    assert checkpoint.load_state(tmp_path) is None


@pytest.mark.parametrize("damage", ["flip", "cut", "garbage", "empty"])
def test_a_damaged_state_is_named(tmp_path: Path, damage: str) -> None:
    checkpoint.write_state(tmp_path, make_state())
    path = tmp_path / "state.pt"
    content = bytearray(path.read_bytes())
    if damage == "flip":  # one bit of a weight, which torch.load would not notice
        weight = make_parts()[0].state_dict()["0.weight"].numpy().tobytes()
        content[bytes(content).index(weight) + 2] ^= 1
    path.write_bytes(
        {"flip": content, "cut": content[: len(content) // 2], "garbage": b"x" * 99, "empty": b""}[
            damage
        ]
    )
    with pytest.raises(RunError, match=r"state\.pt is damaged .*delete .* or choose another --out"):
        checkpoint.load_state(tmp_path)


def test_a_state_never_runs_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"schema": 3, "step": Trap()}, tmp_path / "state.pt")
    with pytest.raises(RunError, match="damaged"):
        checkpoint.load_state(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_state_of_another_schema_is_refused(tmp_path: Path) -> None:
    torch.save({"schema": 99, "step": 3}, tmp_path / "state.pt")
    with pytest.raises(
        RunError, match=r"not a checkpoint of schema 3 \(it has 99\).*version that began it"
    ):
        checkpoint.load_state(tmp_path)


def test_identity_names_the_field_and_both_values(tmp_path: Path) -> None:
    checkpoint.write_state(tmp_path, make_state())
    state = checkpoint.load_state(tmp_path)
    assert state is not None
    same = {"seed": 1, "ops": ("a", "b"), "out": Path("x")}
    checkpoint.check_identity(state, same, tmp_path)
    with pytest.raises(ResumeError, match=r"seed = 1, this one has 2; .*set seed back.*--out"):
        checkpoint.check_identity(state, {**same, "seed": 2}, tmp_path)
    with pytest.raises(ResumeError, match=r"new = 'nothing', this one has 5"):
        checkpoint.check_identity(state, {**same, "new": 5}, tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ResumeError, match=r"state.pt: .*does not fit this model"):
        checkpoint.restore(make_state(), model, optimizer, folder=tmp_path)


def test_a_full_disk_keeps_the_older_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write_state(tmp_path, make_state(7))

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device; the earlier file"):
        checkpoint.write_state(tmp_path, make_state(8))
    loaded = checkpoint.load_state(tmp_path)
    assert loaded is not None
    assert loaded.step == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.pt"]


def test_a_run_folder_in_use_is_named(tmp_path: Path) -> None:
    message = f"run folder {tmp_path} is in use by process {os.getpid()}; .* choose another --out"
    with (
        hold_folder(tmp_path),
        pytest.raises(RunError, match=message),
        hold_folder(tmp_path),
    ):
        pass


def _refuse(*arguments: object, **options: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_disk_that_is_too_small_is_named_with_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mib = 2**20
    sizes = {"weights": 10 * mib, "optimiser": 20 * mib, "average": 10 * mib}
    usage = shutil.disk_usage(tmp_path)

    def leave(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free))

    leave(90 * mib)  # 40 twice, and 10 of weights
    checkpoint.check_space(tmp_path, sizes, 10 * mib)
    leave(90 * mib - 1)
    message = (
        r"has 90\.0 MiB free, and the run needs 90\.0 MiB: twice state\.pt of 40\.0 MiB "
        r"\(weights 10\.0, optimiser 20\.0, average 10\.0\), .* and 10\.0 MiB of weights"
    )
    with pytest.raises(RunError, match=message):
        checkpoint.check_space(tmp_path, sizes, 10 * mib)
    (tmp_path / "state.pt").write_bytes(bytes(mib))  # is written over
    checkpoint.check_space(tmp_path, sizes, 10 * mib)
    leave(88 * mib)
    with pytest.raises(RunError, match=r"less the 1\.0 MiB that are there; free some space"):
        checkpoint.check_space(tmp_path, sizes, 10 * mib)
