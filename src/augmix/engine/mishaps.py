"""What goes wrong inside torch in a step, in words that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from augmix import ranks
from augmix.engine.recipe import Recipe
from augmix.records import RunError

_CPU_IS_FULL = "can't allocate memory"  # DefaultCPUAllocator
_NOT_DETERMINISTIC = "does not have a deterministic implementation"
_COMPILERS = ("torch._dynamo", "torch._inductor")


@contextmanager
def explained(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Inside, errors of torch about memory, compiling, determinism and other processes become
    `RunError`.

    Args:
        recipe: What is learned by; the message says which of its numbers to change.
        device: Where.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise RunError(_no_memory(recipe, device, error)) from error
    except Exception as error:
        text = str(error)
        if ranks.is_lost(error):
            raise ranks.lost(error) from error
        if isinstance(error, RuntimeError) and _CPU_IS_FULL in text:
            raise RunError(_no_memory(recipe, device, error)) from error
        if isinstance(error, RuntimeError) and _NOT_DETERMINISTIC in text:
            raise RunError(
                f"no deterministic form of this network's step on {device.type} "
                f"({_first_line(error)}); leave out --deterministic"
            ) from error
        if recipe.compile and type(error).__module__.startswith(_COMPILERS):
            raise RunError(
                f"torch.compile cannot build this step here ({_first_line(error)}); leave out "
                "--compile"
            ) from error
        raise


def _no_memory(recipe: Recipe, device: torch.device, error: BaseException) -> str:
    batch, parts = recipe.batch_size, recipe.accumulate
    least = "" if batch == 1 else f", or a --batch-size of {batch // 2}"
    return (
        f"{device} has too little memory for a step of {batch} images in {parts} part(s): take "
        f"--accumulate {2 * parts}, the same step in half the memory (batch norm then sees a part "
        f"at a time){least}; the last checkpoint is kept ({_first_line(error)})"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
