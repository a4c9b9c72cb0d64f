"""Checkpoints: the state of a run, written atomically and restored exactly.

Learning rates, data order, views and what torch draws (dropout) are functions of the step, so a
checkpoint is the step, the weights and their average, the optimiser and its scale, the meters of
the next log line, and the identity of the run: all that decides about its bits. A run of another
identity is not continued. Of several processes, process 0 reads and writes for all.
"""

import io
import json
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from augmix import distributed, files, run_folder
from augmix.errors import ResumeError, RunError, first_line

_SCHEMA = 3  # 2 had an identity of other names; 1 kept the state of torch's random generators
_ABSENT = "nothing"
_Meters = TypeVar("_Meters")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The content of `state.pt`; what belongs to torch as its `state_dict`."""

    step: int  # optimiser steps done
    identity: dict[str, Any]  # all that decides about the bits of the run: plain values by name
    model: dict[str, Any]
    optimizer: dict[str, Any]
    meters: dict[str, Any]  # sums since the last log line
    scaler: dict[str, Any] = field(default_factory=dict)  # of float16 alone
    average: dict[str, Any] = field(default_factory=dict)  # of the weights, where there is one


def capture(
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    identity: Mapping[str, Any],
    meters: Mapping[str, Any],
) -> State:
    """The state of a run after ``step`` steps; shares its tensors with the model."""
    return State(
        step=step,
        identity=files.to_plain(dict(identity)),
        model=model.state_dict(),
        optimizer=optimizer.state_dict(),
        meters=files.to_plain(dict(meters)),
    )


def restore(
    state: State, model: nn.Module, optimizer: torch.optim.Optimizer, *, folder: Path
) -> None:
    """Restore a model and its optimiser from the state that a run folder holds.

    Raises:
        ResumeError: If they are of another architecture or optimiser, or not finite.
    """
    with explain_misfit(folder):
        groups = [_settings(group) for group in optimizer.param_groups]
        model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        if [_settings(group) for group in optimizer.param_groups] != groups:
            raise ValueError("the optimiser has other settings")
        for parameter, values in optimizer.state.items():
            for name, value in values.items():
                shape = value.shape if isinstance(value, torch.Tensor) else None
                if shape not in ((), parameter.shape) or not bool(torch.isfinite(value).all()):
                    raise ValueError(f"{name} of the optimiser is no finite {parameter.shape}")
        for name, value in model.state_dict().items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise ValueError(f"{name} is not finite")


@contextmanager
def explain_misfit(folder: Path) -> Iterator[None]:
    """Raise what goes wrong when a state is restored as a `ResumeError` that names its file."""
    try:
        yield
    except Exception as error:  # torch raises what its code meets
        raise ResumeError(
            f"{folder / run_folder.STATE_FILE}: the checkpoint does not fit this model "
            f"({first_line(error)}); choose another --out, or delete {folder}"
        ) from error


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of some parameters of an optimiser that a run does not change."""
    return {name: value for name, value in group.items() if name not in ("params", "lr")}


def write_state(folder: Path, state: State) -> None:
    """Write `state.pt`; the earlier one is kept until the new one is complete on the disk.

    Raises:
        RunError: If it cannot be written, e.g. because the disk is full.
    """
    files.write_bytes(folder / run_folder.STATE_FILE, pack(state))


def pack(state: State) -> bytes:
    """The content of `state.pt`."""
    content = io.BytesIO()
    plain = {entry.name: getattr(state, entry.name) for entry in fields(state)}
    torch.save({"schema": _SCHEMA, **plain}, content)
    return content.getvalue()


def check_space(folder: Path, sizes: Mapping[str, int], num_weights: int) -> None:
    """Refuse to train where the files of the run do not fit.

    Args:
        sizes: Bytes of `state.pt` by part.
        num_weights: Bytes of the weights that the run ends with.

    Raises:
        RunError: Naming what is free, and what is needed by what.
    """
    state, mib = sum(sizes.values()), 2**20
    paths = (folder / run_folder.STATE_FILE, folder / run_folder.WEIGHTS_FILE)
    there = sum(path.stat().st_size for path in paths if path.exists())
    needed = 2 * state + num_weights - there
    free = shutil.disk_usage(folder).free
    if free < needed:
        parts = ", ".join(f"{name} {size / mib:,.1f}" for name, size in sizes.items() if size)
        raise RunError(
            f"{folder} has {free / mib:,.1f} MiB free, and the run needs {needed / mib:,.1f} MiB: "
            f"twice {run_folder.STATE_FILE} of {state / mib:,.1f} MiB ({parts}), of which the "
            f"earlier one is kept until the next is complete, and {num_weights / mib:,.1f} MiB of "
            f"{run_folder.WEIGHTS_FILE}"
            + (f", less the {there / mib:,.1f} MiB that are there" if there else "")
            + "; free some space, or choose another --out"
        )


def parse_state(path: Path, content: bytes) -> State:
    """The state in the content of a `state.pt`.

    Raises:
        RunError: If it is damaged (its checksums are verified) or of another schema.
    """
    plain = _parse(path, content)
    names = {"schema", *(entry.name for entry in fields(State))}
    found = plain.get("schema") if isinstance(plain, dict) else None
    if not isinstance(plain, dict) or found != _SCHEMA or set(plain) != names:
        raise RunError(
            f"{path} is not a checkpoint of schema {_SCHEMA} (it has {found!r}), the one this "
            "version of the package reads; finish the run with the version that began it, choose "
            f"another --out, or delete {path.parent}"
        )
    del plain["schema"]
    try:
        for name, value in plain.items():
            kind = int if name == "step" else dict
            if not isinstance(value, kind) or plain["step"] < 0:
                raise ValueError(f"{name} must be {kind.__name__}, got {type(value).__name__}")
        json.dumps([plain["identity"], plain["meters"]], allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(path, error) from error
    return State(**plain)


@dataclass(kw_only=True)
class Checkpointer:
    """Writes the checkpoints of a run; of several processes, process 0 alone writes.

    During a step, forward and backward change nothing of the run's state but buffers (the running
    statistics of batch norm). So the state of the last `mark` is the model as it is, with the
    buffers kept at the mark, as long as ``guard`` is held around everything else.
    """

    folder: Path
    model: nn.Module  # whose weights are checked
    capture: Callable[[int, Mapping[str, Any], Mapping[str, Any]], State]  # see `Learner.capture`
    identity: Mapping[str, Any]
    guard: threading.Lock = field(default_factory=threading.Lock)  # see above
    _marked: tuple[int, Mapping[str, Any], dict[str, torch.Tensor]] | None = None

    def save(self, step: int, meters: Mapping[str, Any]) -> None:
        """Write the state of now; the caller holds the guard.

        Raises:
            RunError: If weights are no longer finite, or the file cannot be written.
        """
        _check_weights(self.model, step)
        self._marked = None  # its weights are those of another step by now
        if distributed.rank() == 0:
            write_state(self.folder, self.capture(step, self.identity, meters))

    def mark(self, step: int, meters: Mapping[str, Any]) -> None:
        """Keep what the next step changes early; the caller holds the guard."""
        if distributed.rank() == 0:
            buffers = {name: values.clone() for name, values in self.model.named_buffers()}
            self._marked = (step, meters, buffers)

    def write_marked(self) -> None:
        """Write the state of the last mark; from another thread, during a step.

        Raises:
            RunError: If weights are no longer finite, or the file cannot be written.
        """
        with self.guard:
            if self._marked is None:  # its state is on the disk already
                return
            step, meters, buffers = self._marked
            _check_weights(self.model, step)
            state = self.capture(step, self.identity, meters)
            model = {name: buffers.get(name, values) for name, values in state.model.items()}
            write_state(self.folder, replace(state, model=model))


def _check_weights(model: nn.Module, step: int) -> None:
    """Refuse to overwrite a good checkpoint by weights that are no longer finite."""
    for name, values in model.state_dict().items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise RunError(
                f"{name} is no longer finite after step {step}; the last checkpoint is from before "
                "it: start again with a smaller --learning-rate in another --out"
            )


def load_state(folder: Path) -> State | None:
    """The state a run folder holds, on the CPU; None if it holds none.

    Raises:
        RunError: If the file is damaged (its checksums are verified) or of another schema.
    """
    path = folder / run_folder.STATE_FILE
    content = distributed.broadcast(_read(path) if distributed.rank() == 0 else None)
    if content is None:
        return None
    return parse_state(path, content)


def load_meters(folder: Path, kind: type[_Meters], state: State) -> _Meters:
    """Make the meters of a run, a dataclass of steps and sums, from its state."""
    return files.load_record(
        folder / run_folder.STATE_FILE,
        kind,
        {**state.meters, "step": state.step},
        way_out=f"choose another --out, or delete {folder}",
    )


def check_identity(state: State, identity: Mapping[str, Any], folder: Path) -> None:
    """Refuse to continue a run of another identity.

    Raises:
        ResumeError: At the first difference, naming the field and both values.
    """
    asked = files.to_plain(dict(identity))
    for name in [*state.identity, *asked]:
        found, expected = state.identity.get(name, _ABSENT), asked.get(name, _ABSENT)
        if found != expected:
            raise ResumeError(
                f"{folder} holds a run with {name} = {found!r}, this one has {expected!r}; a run "
                f"is continued with the settings it was started with: set {name} back, choose "
                f"another --out, or delete {folder}"
            )


def _read(path: Path) -> bytes | None:
    """The bytes of a state file, if there is one."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


def _parse(path: Path, content: bytes) -> Any:
    """The content of a state file, after checking its checksums, which torch skips."""
    try:
        broken = zipfile.ZipFile(io.BytesIO(content)).testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {broken}")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # zipfile and torch raise what their parsers meet
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(
        f"{path} is damaged ({first_line(error)}); delete {path.parent} to start again, "
        "or choose another --out"
    )
