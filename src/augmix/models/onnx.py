"""ONNX files as models, run by onnxruntime (extra ``onnx``) on CUDA if it can, else on the CPU."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from augmix.errors import RunError
from augmix.models.weights import import_library
from augmix.models.wrapper import OpenedModel, OpenOptions

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_EXTERNAL = (".data", "_data")  # weights beside a file, as the usual exporters name them


def open_onnx(text: str, options: OpenOptions) -> OpenedModel:
    """Open an ONNX file.

    It has one input of floats, `batch channel height width` or, if its shape says so, `batch height
    width channel`, and one output of two axes. If its batch size is fixed, larger batches are
    split, and the last part is padded.

    Raises:
        RunError: If onnxruntime or the file is missing, or it has other inputs or outputs.
    """
    path = Path(text).expanduser()
    if not path.is_file():
        raise RunError(f"the ONNX file {path} does not exist")
    network = _OnnxNetwork(_start(path), path)
    return OpenedModel(
        network,
        name=f"onnx:{path.name}",
        fingerprint=_hash_files(path),
        num_classes=network.num_classes,
        preprocessing=options.preprocessing,
        hint="the file's inputs must fit the images (--preprocessing, --crop)",
    )


class _OnnxNetwork(nn.Module):
    """Run an onnxruntime session as a module without weights.

    Args:
        session: An `InferenceSession`.
        path: Its file, for messages.

    Raises:
        RunError: If inputs or outputs are not those of an image classifier.
    """

    def __init__(self, session: Any, path: Path) -> None:
        super().__init__()
        self._session = session
        self._path = path
        self._input = _find_input(session, path)
        self._output = _find_output(session, path)
        shape = list(self._input.shape)
        self._is_last = shape[3] in (1, 3) and shape[1] not in (1, 3)  # channels
        if self._is_last:
            shape = [shape[0], shape[3], shape[1], shape[2]]
        self._batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else 0
        self._expected = [
            size if isinstance(size, int) and size > 0 else None for size in shape[1:]
        ]
        count = self._output.shape[1] if self._output.shape else None
        self.num_classes: int | None = count if isinstance(count, int) and count > 0 else None

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits on the device of the images."""
        self._check(tuple(images.shape))
        pixels = images.detach().cpu().numpy().astype(_TYPES[self._input.type])
        if self._is_last:
            pixels = pixels.transpose(0, 2, 3, 1)
        step = self._batch or len(pixels)
        parts = [self._run(pixels[start : start + step]) for start in range(0, len(pixels), step)]
        return torch.from_numpy(np.concatenate(parts).astype(np.float32)).to(images.device)

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        missing = max(self._batch - len(pixels), 0)
        full = np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)])
        feed = {self._input.name: np.ascontiguousarray(full)}
        (logits,) = self._session.run([self._output.name], feed)
        return logits[: len(pixels)]

    def _check(self, shape: tuple[int, ...]) -> None:
        expected = self._expected
        if any(size not in (None, got) for size, got in zip(expected, shape[1:], strict=True)):
            shown = " x ".join("any" if size is None else str(size) for size in expected)
            raise RunError(
                f"{self._path} takes images of {shown} (channels, height, width), got "
                f"{' x '.join(map(str, shape[1:]))}; crop them to that size with --crop"
            )


def _start(path: Path) -> Any:
    runtime = import_library("onnxruntime", "onnx:FILE", "augmix[onnx]")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = torch.get_num_threads()
    providers = [name for name in _PROVIDERS if name in runtime.get_available_providers()]
    try:
        return runtime.InferenceSession(str(path), sess_options=options, providers=providers)
    except Exception as error:  # the runtime has an error class for each way to fail
        raise RunError(f"onnxruntime cannot use {path}: {error}") from error


def _find_input(session: Any, path: Path) -> Any:
    found = session.get_inputs()
    shown = ", ".join(f"{each.name} {each.type} {each.shape}" for each in found)
    if len(found) != 1 or len(found[0].shape) != 4 or found[0].type not in _TYPES:
        raise RunError(
            f"{path}: expected one input of float images [batch, channel, height, width], "
            f"got {shown or 'none'}"
        )
    return found[0]


def _find_output(session: Any, path: Path) -> Any:
    """Return the only output of two axes; some exporters leave the shape of an output open."""
    found = session.get_outputs()
    fitting = [each for each in found if len(each.shape or (0, 0)) == 2]
    if len(fitting) != 1:
        shown = ", ".join(f"{each.name} {each.shape}" for each in found)
        raise RunError(f"{path}: expected one output of logits [batch, class], got {shown}")
    return fitting[0]


def _hash_files(path: Path) -> str:
    """Compute the sha256 of a file, and of the weights beside it if it keeps them apart."""
    beside = [path.with_name(path.name + suffix) for suffix in _EXTERNAL]
    hasher = hashlib.sha256()
    for file in (path, *(each for each in beside if each.is_file())):
        with open(file, "rb") as content:
            while piece := content.read(2**20):
                hasher.update(piece)
    return hasher.hexdigest()
