"""Checkpoints: the state of a run, written atomically and restored exactly.

Learning rates, data order, views and what torch draws (dropout) are functions of the step, so a
checkpoint is the step, the weights and their average, the optimiser and its scale, and the sums of
the log line under way; beside them stands what the run was started with. A run that differs in any
of it is not continued. Of several processes, process 0 reads and writes for all.
"""

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from augmix import distributed, files, results
from augmix.errors import ResumeError, RunError
from augmix.files import hold_folder

_SCHEMA = 2  # 1 kept the state of torch's random generators
_ABSENT = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What `state.pt` holds.

    Attributes:
        step: Optimiser steps done.
        identity: What the run was started with: plain values by name.
        model: The model's `state_dict`.
        optimizer: The optimiser's `state_dict`.
        tally: Sums since the last log line.
        scaler: The `state_dict` of the gradient's scale, of float16 alone.
        average: The `state_dict` of the weights' moving average, where there is one.
    """

    step: int
    identity: dict[str, Any]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    tally: dict[str, Any]
    scaler: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Any] = field(default_factory=dict)


def capture(
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    identity: Mapping[str, Any],
    tally: Mapping[str, Any],
) -> State:
    """The state of a run after ``step`` steps; shares its tensors with the model."""
    return State(
        step=step,
        identity=files.to_plain(dict(identity)),
        model=model.state_dict(),
        optimizer=optimizer.state_dict(),
        tally=files.to_plain(dict(tally)),
    )


def restore(state: State, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a state back into a model and its optimiser.

    Raises:
        ResumeError: If the weights are those of another architecture.
    """
    try:
        model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ResumeError(
            f"the checkpoint's weights do not fit this model: {error}; "
            "choose another --out or delete the run folder"
        ) from error


def write_state(folder: Path, state: State) -> None:
    """Write `state.pt`; the earlier one stays until the new one is whole on the disk.

    Raises:
        RunError: If it cannot be written, e.g. because the disk is full.
    """
    content = io.BytesIO()
    plain = {entry.name: getattr(state, entry.name) for entry in fields(state)}
    torch.save({"schema": _SCHEMA, **plain}, content)
    files.write_bytes(folder / results.STATE_FILE, content.getvalue())


def load_state(folder: Path) -> State | None:
    """The state a run folder holds, on the CPU; None if it holds none.

    Raises:
        RunError: If the file is damaged (its checksums are verified) or of another schema.
    """
    path = folder / results.STATE_FILE
    content = distributed.broadcast_bytes(_read(path) if distributed.rank() == 0 else b"")
    if not content:
        return None
    plain = _parse(path, content)
    names = {"schema", *(entry.name for entry in fields(State))}
    found = plain.get("schema") if isinstance(plain, dict) else None
    if not isinstance(plain, dict) or found != _SCHEMA or set(plain) != names:
        raise RunError(
            f"{path} is not a checkpoint of schema {_SCHEMA} (it has {found!r}), the one this "
            "version of the package reads; finish the run with the version that began it, choose "
            f"another --out, or delete {folder}"
        )
    del plain["schema"]
    return State(**plain)


def load_identity(folder: Path) -> dict[str, Any]:
    """What a run was started with, by a checkpoint of any schema; empty without a checkpoint.

    Every process reads for itself: a run that cannot be continued can still be measured.

    Raises:
        RunError: If the file is damaged or no checkpoint.
    """
    path = folder / results.STATE_FILE
    content = _read(path)
    if not content:
        return {}
    plain = _parse(path, content)
    identity = plain.get("identity") if isinstance(plain, dict) else None
    if not isinstance(identity, dict):
        raise RunError(f"{path} is not a checkpoint of a run; name another run folder")
    return identity


def check_identity(state: State, identity: Mapping[str, Any], folder: Path) -> None:
    """Refuse to continue a run with anything but what it was started with.

    Raises:
        ResumeError: At the first difference, naming the field and both values.
    """
    asked = files.to_plain(dict(identity))
    for name in [*state.identity, *asked]:
        found, expected = state.identity.get(name, _ABSENT), asked.get(name, _ABSENT)
        if found != expected:
            raise ResumeError(
                f"{folder} holds a run with {name} = {found!r}, this one has {expected!r}; a run "
                f"is continued with what it was started with: set {name} back, choose another "
                f"--out, or delete {folder}"
            )


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run folder, made if missing, for this process alone.

    The operating system releases the lock when the process ends, however it ends.

    Raises:
        RunError: If another process holds it, or the folder cannot be written.
    """
    with hold_folder(folder, what=f"run folder {folder}", way_out="choose another --out"):
        yield


def _read(path: Path) -> bytes:
    """The bytes of a state file; none if there is no such file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    return content or b"nothing"  # an empty file is a damaged one


def _parse(path: Path, content: bytes) -> Any:
    """The content of a state file, once every checksum in it holds; torch itself skips them."""
    try:
        broken = zipfile.ZipFile(io.BytesIO(content)).testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {broken}")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, RuntimeError, EOFError, KeyError, UnpicklingError) as error:
        raise RunError(
            f"{path} is damaged ({error}); delete {path.parent} to start anew, "
            "or choose another --out"
        ) from error
