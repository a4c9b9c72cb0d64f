"""What of a training run is written down: log lines, and checkpoints from two threads."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from augmix import ranks, records
from augmix.engine import checkpoint
from augmix.engine.learning import Learner
from augmix.engine.tally import Tally
from augmix.records import RunError


@dataclass(kw_only=True)
class Keeper:
    """Writes for a run; of several processes, process 0 alone writes.

    During a step, forward and backward change nothing of the run's state but buffers (the running
    statistics of batch norm). So the state of the last `mark` is the learner as it is, with the
    buffers kept at the mark, as long as ``guard`` is held around everything else.

    Attributes:
        folder: The run folder.
        learner: Whose state is written.
        identity: What the run was started with.
        tally: Steps done and sums since the last log line.
        guard: Held while the learner or the tally changes, or a state is written.
    """

    folder: Path
    learner: Learner
    identity: Mapping[str, Any]
    tally: Tally
    guard: threading.Lock = field(default_factory=threading.Lock)
    _marked: tuple[int, dict[str, Any], dict[str, torch.Tensor]] | None = None

    def log(self, record: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        if ranks.rank() == 0:
            records.append_line(self.folder / records.LOG_FILE, dict(record))

    def save(self) -> None:
        """Write the state of now; the caller holds the guard.

        Raises:
            RunError: If weights are no longer finite, or the file cannot be written.
        """
        self.tally.settle()
        _check_weights(self.learner.model, self.tally.step)
        if ranks.rank() == 0:
            state = self.learner.capture(self.tally.step, self.identity, self.tally.to_plain())
            checkpoint.write_state(self.folder, state)

    def mark(self) -> None:
        """Keep what a step under way changes; the caller holds the guard."""
        if ranks.rank() == 0:
            buffers = {name: values.clone() for name, values in self.learner.model.named_buffers()}
            self._marked = (self.tally.step, self.tally.to_plain(), buffers)

    def write_marked(self) -> None:
        """Write the state of the last mark; from another thread, during a step.

        Raises:
            RunError: If weights are no longer finite, or the file cannot be written.
        """
        with self.guard:
            if self._marked is None:  # the first step: its state is on the disk already
                return
            step, tally, buffers = self._marked
            _check_weights(self.learner.model, step)
            state = self.learner.capture(step, self.identity, tally)
            model = {name: buffers.get(name, values) for name, values in state.model.items()}
            checkpoint.write_state(self.folder, replace(state, model=model))


def _check_weights(model: nn.Module, step: int) -> None:
    """Refuse to checkpoint weights that are lost, so that the good checkpoint stays."""
    for name, values in model.state_dict().items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise RunError(
                f"{name} is no longer finite after step {step}; the last checkpoint is from before "
                "it: start anew with a smaller --learning-rate in another --out"
            )
