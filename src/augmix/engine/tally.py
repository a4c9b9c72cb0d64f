"""The sums of a training run since its last log line, over all processes."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from augmix import ranks
from augmix.engine.devices import peak_memory_mib
from augmix.objectives import Loss
from augmix.records import RunError


@dataclass(kw_only=True)
class Tally:
    """Steps done and the sums since the last log line.

    Losses stay on the device until they are settled, so that a step need not wait for the device.
    The times are this process's own and do not count as state, but for `seconds`.
    """

    step: int = 0
    images: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    pending: list[tuple[int, int, int, tuple[str, ...], torch.Tensor]] = field(default_factory=list)
    elapsed: float = 0.0
    waited: float = 0.0
    seen: int = 0

    def add(self, loss: Loss, targets: torch.Tensor, num_images: int) -> None:
        """Count one more step of ``num_images`` over all processes.

        Where targets are probabilities, a prediction is right by the probability of its class.
        """
        self.step += 1
        with torch.no_grad():
            predicted = loss.logits.argmax(dim=1)
            if targets.is_floating_point():
                errors = 1 - targets.gather(1, predicted[:, None]).mean()
            else:
                errors = (predicted != targets).float().mean()
            names = ("loss", "error", *loss.terms)
            values = [loss.total.detach(), errors, *(term.detach() for term in loss.terms.values())]
            stacked = torch.stack([value.float().reshape(()) for value in values])
        self.pending.append((self.step, len(targets), num_images, names, stacked))

    def settle(self) -> None:
        """Fetch the pending losses from the device, in the order of the steps.

        Raises:
            RunError: If one is no longer finite, on every process alike.
        """
        if not self.pending:
            return
        shares = torch.tensor([own / all_ for _, own, all_, _, _ in self.pending]).double()
        own = torch.stack([values for *_, values in self.pending]).cpu().double()  # step name
        rows = ranks.sum_over_ranks(own * shares[:, None]).tolist()
        for (step, _, num_images, names, _), values in zip(self.pending, rows, strict=True):
            if not all(map(math.isfinite, values)):
                shown = ", ".join(f"{n} {v:g}" for n, v in zip(names, values, strict=True))
                raise RunError(
                    f"the loss is no longer finite at step {step} ({shown}); the last checkpoint "
                    "is from before it: start anew with a smaller --learning-rate in another --out"
                )
            self.images += num_images
            for name, value in zip(names, values, strict=True):
                self.sums[name] = self.sums.get(name, 0.0) + value * num_images
        self.pending.clear()

    def clock(self, elapsed: float, waited: float, images: int) -> None:
        """Count the time of a step, in seconds."""
        self.seconds += elapsed
        self.elapsed += elapsed
        self.waited += waited
        self.seen += images

    def line(self, *, epoch: float, rate: float, device: torch.device) -> dict[str, Any]:
        """The log line of the steps since the last one; starts the sums anew."""
        means = {name: total / self.images for name, total in self.sums.items()}
        loss, error = means.pop("loss"), means.pop("error")
        record = {
            "step": self.step,
            "epoch": epoch,
            "loss": loss,
            "terms": means,
            "learning_rate": rate,
            "train_error": error,
            "images_per_second": self.seen / self.elapsed,
            "wait_share": self.waited / self.elapsed,
            "peak_memory_mib": peak_memory_mib(device),
            "seconds": self.seconds,
        }
        self.images, self.sums = 0, {}
        self.elapsed = self.waited = 0.0
        self.seen = 0
        return record

    def to_plain(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"images": self.images, "sums": dict(self.sums), "seconds": self.seconds}
