"""Export a model as one file for other programs, after reading it back and comparing logits.

| format | file | read by |
| --- | --- | --- |
| ``onnx`` | .onnx | onnxruntime and others; extra ``onnx`` |
| ``torch-export`` | .pt2 | `torch.export.load`, without this package |
| ``safetensors`` | .safetensors | any safetensors reader; the header describes the network |

The first two take any number of float32 images in [0, 1] as ``images``, ``batch channel height
width``, and give ``logits``; normalisation is included. A JSON file beside each,
``model.onnx.json`` for ``model.onnx``, has the classes in the order of the logits, how an image
file becomes an input, and the temperature of the confidences; ONNX and safetensors files hold the
same under ``augmix`` in their metadata.
"""

import copy
import io
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import load as parse_weights
from safetensors.torch import save as pack_weights
from torch import Tensor

from augmix import files
from augmix.data.decode import Geometry
from augmix.errors import RunError, check_name, first_line, import_library
from augmix.models import find_family
from augmix.models.layers import Classifier
from augmix.models.preprocessing import Preprocessing
from augmix.models.weights import build_network, load_model
from augmix.results import RESULTS_FILE, find_temperature, load_results
from augmix.run_folder import CONFIG_FILE, ConfigFacts

Format = Literal["onnx", "torch-export", "safetensors"]
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2", "safetensors": ".safetensors"}
TOLERANCE = 1e-4  # of the largest logit, for differences in other programs' arithmetic
_BATCHES = (3, 1)  # batch sizes of the comparison
_GOLDEN = 0.6180339887  # the fractional parts of its multiples cover [0, 1) evenly

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An exported file, and how well it agrees with the model."""

    path: Path
    num_bytes: int
    size: tuple[int, int]  # height and width in pixels of the images it takes
    channels: int
    num_classes: int
    max_difference: float  # between its logits and the model's
    largest_logit: float  # of the model, absolute, for comparison


def export_run(
    run: str, out: Path | None = None, *, format: Format = "onnx", size: int | None = None
) -> Exported:
    """Export the model of a run as `export_model` does, with the settings of the run.

    Args:
        run: Run folder, or owner/name on the Hugging Face Hub.
        out: The file; None is model.onnx, model.pt2 or model.safetensors in the run folder.
        format: See the table of this module.
        size: Size in pixels of the images it takes; None is what the model was trained on, else
            measured on.
    """
    model = load_model(run)
    folder = Path(run) if Path(run).is_dir() else None
    out = out or (folder or Path()) / f"model{SUFFIXES[format]}"
    square, known = (size, size) if size else None, {}
    if folder:
        path = folder / CONFIG_FILE
        facts = files.load_record(path, ConfigFacts) if path.is_file() else ConfigFacts()
        square = square or _known_size(folder, facts)
        known = {
            "interpolation": facts.get("interpolation") or "bilinear",
            "temperature": find_temperature(folder) or 1.0,
        }
    return export_model(model, out, format=format, size=square, **known)


def _known_size(folder: Path, facts: ConfigFacts) -> tuple[int, int] | None:
    """Height and width a run was trained on, else measured on, where known."""
    if size := facts.get("size"):
        return size, size
    if (folder / RESULTS_FILE).is_file():
        measured = load_results(folder / RESULTS_FILE).source.get("size") or []
        if len(measured) == 2:
            return measured[0], measured[1]
    return None


def export_model(
    model: Classifier,
    path: str | Path,
    *,
    format: Format = "onnx",
    size: tuple[int, int] | None = None,
    interpolation: str = "bilinear",
    temperature: float = 1.0,
) -> Exported:
    """Write a model as one file, and its description as JSON beside it; the model does not change.

    Args:
        model: A model of `build_model` or `load_model`.
        path: The file; its folder is made if it is not there.
        format: See the table of this module.
        size: Height and width in pixels of the images the file takes; by default those the network
            was made for. A safetensors file takes any.
        interpolation: Filter that resized the images of the training; the description has it.
        temperature: Divides the logits for calibrated confidences; the description has it, the
            file's logits are those of the model.

    Raises:
        ValueError: If the format is unknown, or the images are too small for the network.
        RunError: If a package is missing, the file does not compute what the model does, or a file
            is there that is no earlier export.
    """
    check_name("format", format, get_args(Format))
    ending = Path(path).suffix.lower()
    if ending in SUFFIXES.values() and ending != SUFFIXES[format]:
        raise ValueError(
            f"{path} has the ending of another format than {format}, whose files are "
            f"NAME{SUFFIXES[format]}; other programs go by it"
        )
    beside = Path(path).with_name(f"{Path(path).name}.json")
    files.check_replaceable(Path(path), f"earlier {format} export", *_SIGNS[format])
    files.check_replaceable(beside, "description of an earlier export", b'"preprocessing": ')
    network = copy.deepcopy(model).float().cpu().eval()
    usual = find_family(network.config.name).size
    size = size or (usual, usual)
    described = describe(network, size, interpolation, temperature)
    shape = (max(_BATCHES), network.config.channels, *size)
    values = torch.arange(math.prod(shape), dtype=torch.float64) * _GOLDEN % 1
    images = values.float().reshape(shape)
    with torch.no_grad():
        expected = network(images)
        content, run = _WRITERS[format](network, images[:2], json.dumps(described))
        differences = [
            (run(images[:count]) - network(images[:count])).abs().max().item() for count in _BATCHES
        ]
    exported = Exported(
        path=Path(path),
        num_bytes=len(content),
        size=size,
        channels=network.config.channels,
        num_classes=network.config.num_classes,
        max_difference=max(differences),
        largest_logit=expected.abs().max().item(),
    )
    if not exported.max_difference <= TOLERANCE * max(1.0, exported.largest_logit):  # NaN too
        raise RunError(
            f"the {format} form of {network.config.name!r} gives other logits than the model: they "
            f"differ by up to {exported.max_difference:.2g} where {TOLERANCE:g} of "
            f"{exported.largest_logit:.2g} is allowed; nothing was written"
        )
    files.make_folder(exported.path.parent)
    files.write_bytes(exported.path, content)
    files.write_json(beside, described)
    return exported


def describe(
    network: Classifier, size: tuple[int, int], interpolation: str, temperature: float
) -> dict[str, Any]:
    """Describe a model and its images of a size: what a program needs to use an exported file.

    Photographs are resized and cut as `augmix.evaluate` does. ``mean`` and ``std`` of the
    preprocessing are 0 and 1, since the model normalises its images itself.
    """
    config = network.config
    crop = size[0] if size[0] == size[1] else 0
    prepared = Preprocessing(
        resize=Geometry(size=crop).shorter,
        crop=crop,
        interpolation=interpolation,
        mean=(0.0,) * config.channels,
        std=(1.0,) * config.channels,
    )
    return {
        **asdict(config),
        "images": {
            "shape": ["batch", config.channels, *size],
            "dtype": "float32",
            "order": "grey" if config.channels == 1 else "RGB",
        },
        "preprocessing": asdict(prepared),
        "temperature": temperature,
    }


def _write_onnx(network: Classifier, images: Tensor, described: str) -> tuple[bytes, Run]:
    onnxruntime = import_library("onnxruntime", "the onnx format", "augmix[onnx]")
    import_library("onnxscript", "the onnx format", "augmix[onnx]")  # used by torch.onnx
    try:
        with _quiet():
            program = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                verbose=False,
            )
    except RuntimeError as error:  # OnnxExporterError of torch, PassError of onnx_ir
        raise RunError(
            f"torch {torch.__version__} cannot write {network.config.name!r} as ONNX: "
            f"{first_line(error)}; a newer torch or onnxscript may, or take another format"
        ) from error
    assert program is not None
    model = program.model_proto
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")  # names of local files
    model.metadata_props.add(key="augmix", value=described)
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda batch: torch.from_numpy(session.run(None, {"images": batch.numpy()})[0])


def _write_torch_export(network: Classifier, images: Tensor, described: str) -> tuple[bytes, Run]:
    with _quiet():
        program = torch.export.export(
            network, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
        )
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # names of local files
        file = io.BytesIO()
        torch.export.save(program, file)
        found = torch.export.load(io.BytesIO(file.getvalue())).module()
    return file.getvalue(), found


def _write_safetensors(network: Classifier, images: Tensor, described: str) -> tuple[bytes, Run]:
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    content = pack_weights(weights, metadata={"augmix": described})
    with torch.random.fork_rng(devices=[]):
        found = build_network(network.config).eval()
    found.load_state_dict(parse_weights(content))
    return content, found


_SIGNS = {
    "onnx": (b"augmix",),
    "torch-export": (b"archive_format|exported_program",),
    "safetensors": (b'"augmix"',),
}
_WRITERS = {
    "onnx": _write_onnx,
    "torch-export": _write_torch_export,
    "safetensors": _write_safetensors,
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings of torch's exporter that are meant for its own developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
