"""What torch computes with, and how images get to it and back."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from augmix import images


def arithmetic(device: torch.device) -> dict[str, Any]:
    """What decides about the last bits: device, torch's version, threads."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability()
    )
    facts = {"device": f"{device.type} {name}", "torch": str(torch.__version__)}
    return {**facts, "threads": torch.get_num_threads() if device.type == "cpu" else 0}


def to_floats(
    batch: UInt8[np.ndarray, "batch height width channel"],
) -> Float32[Tensor, "batch channel height width"]:
    """Grey levels as a tensor in [0, 1]."""
    return torch.from_numpy(images.to_float(batch))


def to_levels(
    painted: Float32[Tensor, "batch channel height width"],
) -> UInt8[np.ndarray, "batch height width channel"]:
    """Pictures in [0, 1] as grey levels 0..255, rounded to nearest."""
    return np.ascontiguousarray(images.to_channels_last(images.to_uint8(painted.cpu().numpy())))
