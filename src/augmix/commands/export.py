"""`augmix export`: a trained model as one file for other programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from augmix.commands.terminal import make_console, parse


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig:
    """Which model, and as what."""

    run: str
    """The run folder that holds the model, or owner/name on the Hugging Face Hub."""
    format: Literal["onnx", "torch-export", "safetensors"] = "onnx"
    """What is written: ONNX, a program for torch.export.load, or the weights with a description."""
    out: str = ""
    """The file; by default model.onnx, model.pt2 or model.safetensors in the run folder."""
    size: int = 0
    """Side in pixels of the images it takes; 0 is what the model was measured or trained on."""

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size must be at least 0, got {self.size}")


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    config = parse(ExportConfig, "export", words)
    from augmix.models.export import SUFFIXES, export_model
    from augmix.models.weights import load_model

    model = load_model(config.run)
    folder = Path(config.run) if Path(config.run).is_dir() else Path()
    out = Path(config.out) if config.out else folder / f"model{SUFFIXES[config.format]}"
    size = (config.size, config.size) if config.size else _known_size(folder)
    done = export_model(model, out, format=config.format, size=size)
    height, width = done.size
    console = make_console()
    console.print(
        f"{config.format}: {done.path}, {done.num_bytes / 1e6:.1f} MB\n"
        f"input: images [batch, {model.config.channels}, {height}, {width}], float32 in [0, 1]; "
        f"output: logits [batch, {model.config.num_classes}]\n"
        f"read back and compared: logits differ by at most {done.max_difference:.1e} "
        f"(largest {done.largest_logit:.2f})",
        highlight=False,
        markup=False,
    )


def _known_size(folder: Path) -> tuple[int, int] | None:
    """Height and width a run was measured on, else the side it was trained on, where known."""
    from augmix import files
    from augmix.results import CONFIG_FILE, RESULTS_FILE

    results: dict[str, Any] = {}
    for file in (CONFIG_FILE, RESULTS_FILE):
        if (folder / file).is_file():
            results[file] = files.load_json(folder / file)
    measured = results.get(RESULTS_FILE, {}).get("source", {}).get("size")
    if measured:
        return (measured[0], measured[1])
    side = results.get(CONFIG_FILE, {}).get("size", 0)
    return (side, side) if side else None
