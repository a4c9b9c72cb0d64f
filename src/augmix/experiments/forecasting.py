"""What a training run will take on this machine, before it is started."""

import datetime

from augmix import ranks
from augmix.engine import checkpoint
from augmix.engine.forecast import Forecast, forecast
from augmix.experiments.settings import TrainConfig
from augmix.experiments.training import backend, prepared


def forecast_run(config: TrainConfig) -> list[str]:
    """Time some steps of a run, or of what is left of it, and say what all of it will take.

    Nothing is written. Started by `torchrun`, the processes take their steps together.

    Args:
        config: The run; of several seeds the first is measured.

    Returns:
        Lines to read: what is trained, steps, memory, time.

    Raises:
        RunError: If the data, the device or its memory are not usable, or the folder's checkpoint
            is damaged.
        ValueError: If the run is complete.
    """
    one = config.member(0) if config.seeds > 1 else config
    with ranks.joined(backend=backend()), prepared(one) as run:
        state = checkpoint.load_state(one.out)
        if state is not None:
            checkpoint.check_identity(state, run.identity, one.out)
        found = forecast(
            run.model,
            run.method,
            run.source,
            recipe=one,
            device=run.device,
            first_step=state.step if state else 0,
        )
        return describe(found, config, run.identity["device"])


def describe(found: Forecast, config: TrainConfig, device: str) -> list[str]:
    """A forecast in words."""
    processes = ranks.world_size()
    where = device if processes == 1 else f"{processes} processes on {device}"
    left, whole = found.seconds_left, found.num_steps * found.step_s
    lines = [
        f"{config.method} on {config.source}: {config.network} of {found.num_parameters:,} "
        f"parameters, {where}; views by {found.executor}",
        f"{found.num_images:,} images, {found.steps_per_epoch:,} steps an epoch of "
        f"{config.batch_size} images with {found.num_views} view(s) each, {found.num_steps:,} "
        f"steps in {config.epochs} epoch(s)",
        f"{found.measured_steps} steps measured: {_time(found.step_s)} each, "
        f"{found.images_per_second:,.0f} images/s, {100 * found.wait_share:.1f} % of the time "
        "waiting for views",
        f"memory: {found.peak_memory_mib:,.0f} MiB at most; a checkpoint takes "
        f"{found.checkpoint_mib:,.1f} MiB",
    ]
    if found.first_step:
        lines.append(f"{found.first_step:,} steps are done already")
    if config.seeds > 1:
        left += (config.seeds - 1) * whole
        lines.append(f"{config.seeds} runs, one after another")
    end = datetime.datetime.now() + datetime.timedelta(seconds=left)
    return [
        *lines,
        f"about {_time(left)} of training left: until {end:%Y-%m-%d %H:%M} if begun now",
    ]


def _time(seconds: float) -> str:
    """A stretch of time in the unit that suits it."""
    for unit, size, most in (("ms", 0.001, 1.0), ("s", 1.0, 90.0), ("min", 60.0, 5400.0)):
        if seconds < most:
            return f"{seconds / size:.3g} {unit}"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
