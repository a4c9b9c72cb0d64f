"""ONNX files, run by onnxruntime."""

import ast
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from augmix.errors import RunError, import_library
from augmix.files import from_plain
from augmix.models.preprocessing import Preprocessing
from augmix.models.wrapper import OpenedModel, OpenOptions

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_BYTES = "tensor(uint8)"
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    _BYTES: np.uint8,
}
_EXTERNAL = (".data", "_data")  # weights beside an ONNX file, as the usual exporters name them
_NAMES_KEYS = ("names", "class_names", "classes", "labels", "id2label")  # of a file's metadata


def open_onnx(text: str, options: OpenOptions) -> OpenedModel:
    """Open ``FILE`` or ``FILE@OUTPUT``, run by onnxruntime on CUDA if it can, else on the CPU.

    It has one input of floats or bytes, `batch channel height width` or `batch height width
    channel`, and one output of two axes, unless OUTPUT names it or it is named ``logits``. If its
    batch size is fixed, larger batches are split, and the last part is padded. Bytes are the pixels
    0..255. Names of classes are read from the metadata.
    """
    path, output = Path(text).expanduser(), ""
    if not path.is_file() and "@" in path.name:
        name, _, output = path.name.rpartition("@")
        path = path.with_name(name)
    if not path.is_file():
        raise RunError(
            f"the ONNX file {path} does not exist; augmix export RUN --out {path} writes one"
        )
    network = OnnxNetwork(_start(path), path, output)
    own, temperature = _find_description(network.metadata, path)
    preprocessing = options.preprocessing or own
    if network.takes_bytes and preprocessing is not None:
        preprocessing = _check_bytes(preprocessing, path)
    return OpenedModel(
        network,
        name=f"onnx:{path.name}",
        fingerprint=_hash_files(path),
        num_classes=network.num_classes,
        class_names=network.class_names,
        preprocessing=preprocessing,
        temperature=temperature,
        hint="the file's inputs must fit the images (--preprocessing, --crop)",
    )


class OnnxNetwork(nn.Module):
    """Run the `InferenceSession` of a file as a module without weights."""

    def __init__(self, session: Any, path: Path, output: str) -> None:
        super().__init__()
        self._session = session
        self._path = path
        self._input = _find_input(session, path)
        self._output = _find_output(session, path, output)
        self.takes_bytes = self._input.type == _BYTES
        known = [size if isinstance(size, int) and size > 0 else None for size in self._input.shape]
        self._batch, shape = known[0] or 0, known[1:]
        self._is_last: bool | None = shape[2] in (1, 3) and shape[0] not in (1, 3)  # channels
        if shape[0] is None and not self._is_last:
            self._is_last = None  # the first batch shows it
        self._expected = [shape[2], *shape[:2]] if self._is_last else shape
        self.channels = self._expected[0]
        count = self._output.shape[1] if self._output.shape else None
        self.num_classes = count if isinstance(count, int) and count > 0 else None
        self.metadata = session.get_modelmeta().custom_metadata_map
        self.class_names = _find_names(self.metadata)
        if self.num_classes not in (None, len(self.class_names or ())):
            self.class_names = None

    def forward(self, images: Tensor) -> Tensor:
        shape, expected = images.shape[1:], self._expected
        if any(size not in (None, got) for size, got in zip(expected, shape, strict=True)):
            shown = " x ".join("any" if size is None else str(size) for size in expected)
            raise RunError(
                f"{self._path} takes images of {shown} (channels, height, width), got "
                f"{' x '.join(map(str, shape))}; crop them to that size with --crop"
            )
        values = images.detach().cpu().numpy()
        values = np.rint(values * 255).clip(0, 255) if self.takes_bytes else values
        pixels = values.astype(_TYPES[self._input.type])
        if self._is_last is None:
            self._is_last = self._find_layout(pixels[:1])
        if self._is_last:
            pixels = pixels.transpose(0, 2, 3, 1)
        step = self._batch or len(pixels)
        parts = [self._run(pixels[start : start + step]) for start in range(0, len(pixels), step)]
        return torch.from_numpy(np.concatenate(parts).astype(np.float32)).to(images.device)

    def _find_layout(self, pixels: np.ndarray) -> bool:
        """Return whether the file takes channels last; its shape leaves that open."""
        errors = []
        for is_last in (False, True):
            try:
                self._run(pixels.transpose(0, 2, 3, 1) if is_last else pixels)
                return is_last
            except Exception as error:  # the runtime has an error class for each way to fail
                errors.append(str(error).splitlines()[0])
        raise RunError(
            f"{self._path} leaves the layout of its images open and takes neither channels first "
            f"({errors[0]}) nor channels last ({errors[1]}); crop them to its size with --crop"
        )

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        missing = max(self._batch - len(pixels), 0)
        full = np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)])
        feed = {self._input.name: np.ascontiguousarray(full)}
        (logits,) = self._session.run([self._output.name], feed)
        return logits[: len(pixels)]


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


def _find_output(session: Any, path: Path, name: str) -> Any:
    """Return the output of that name, or of two axes; some exporters leave its shape open."""
    found = session.get_outputs()
    fitting = [each for each in found if len(each.shape or (0, 0)) == 2]
    wanted = [each for each in fitting if each.name == (name or "logits")]
    if len(fitting) == 1 and not name:
        wanted = fitting
    if len(wanted) != 1:
        shown = ", ".join(f"{each.name} {each.shape}" for each in found)
        first = fitting[0].name if fitting else "OUTPUT"
        raise RunError(
            f"{path}: expected one output of logits [batch, class]"
            f"{f' named {name!r}' if name else ''}, got {shown}; name the one to measure as "
            f"onnx:{path}@{first}"
        )
    return wanted[0]


def _check_bytes(preprocessing: Preprocessing, path: Path) -> Preprocessing:
    """Return the geometry of a preprocessing for a file that takes pixels of 0..255."""
    statistics = (set(preprocessing.mean), set(preprocessing.std), preprocessing.is_bgr)
    is_plain = statistics == ({0.0}, {1.0}, False)
    if not is_plain or preprocessing.input_range not in ((0.0, 1.0), (0.0, 255.0)):
        raise RunError(
            f"{path} takes pixels of 0..255 (uint8) and normalises them itself; name a geometry "
            "only (--preprocessing none with --resize, --crop, --interpolation)"
        )
    return replace(preprocessing, input_range=(0.0, 1.0))


def _find_names(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Read the names of classes that exporters keep as JSON, a Python literal or words."""
    text = next((metadata[key] for key in _NAMES_KEYS if metadata.get(key)), "")
    found: Any = None
    if "augmix" in metadata:  # of `augmix export`
        text = metadata["augmix"]
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
            break
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    if found is None and text:
        found = text.splitlines() if "\n" in text.strip() else text.split(",")
    if isinstance(found, Mapping) and "class_names" in found:
        found = found["class_names"]
    if isinstance(found, Mapping):
        try:
            numbers = sorted(found, key=int)
        except (TypeError, ValueError):
            return None
        if [int(each) for each in numbers] != list(range(len(numbers))):
            return None
        found = [found[each] for each in numbers]
    if not isinstance(found, (list, tuple)) or len(found) < 2:
        return None
    return tuple(str(each).strip() for each in found)


def _find_description(
    metadata: Mapping[str, str], path: Path
) -> tuple[Preprocessing | None, float]:
    """Return how the images of a file of `augmix export` are prepared, and its temperature."""
    try:
        found = json.loads(metadata.get("augmix", "{}"))
        own, temperature = found.get("preprocessing"), float(found.get("temperature", 1.0))
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        if own is None:
            return None, temperature
        return from_plain(Preprocessing, own), temperature
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: the description of its images cannot be read ({error}); export it again, or "
            "remove the key augmix from its metadata"
        ) from error


def _hash_files(path: Path) -> str:
    """Compute the sha256 of a file, and of the weights beside it if it keeps them apart."""
    beside = [path.with_name(path.name + suffix) for suffix in _EXTERNAL]
    hasher = hashlib.sha256()
    for file in (path, *(each for each in beside if each.is_file())):
        with open(file, "rb") as content:
            hashlib.file_digest(content, lambda: hasher)
    return hasher.hexdigest()
