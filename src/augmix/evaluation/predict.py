"""Classes of new images: any model on files of the user's, with calibrated confidences."""

import csv
import glob
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from augmix import results
from augmix.arrays import from_pillow
from augmix.data import Reading
from augmix.data.decode import Geometry, ImageError, decode_image
from augmix.data.trees import FolderTree
from augmix.devices import resolve_device
from augmix.errors import RunError, escape_cell, printable
from augmix.evaluation.config import PredictConfig
from augmix.evaluation.models import load_run
from augmix.models.ensemble import Ensemble
from augmix.models.layers import Classifier
from augmix.models.onnx import OnnxNetwork
from augmix.models.open_model import open_model


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable classes of an image, or why it has none."""

    path: str
    classes: tuple[str, ...] = ()
    confidences: tuple[float, ...] = ()  # at the temperature
    error: str = ""


def predict(config: PredictConfig) -> Iterator[Prediction]:
    """Predict the classes of images, in the order of their names; broken ones are skipped.

    Raises:
        RunError: If the model or a file is missing, or the model fails.
    """
    model, names, geometry, temperature = _open(config)
    device = resolve_device(config.device)
    model.to(device)
    is_grey = _channels(model) == 1
    paths = iter(list_files(config.images))
    while batch := list(islice(paths, config.batch_size)):
        read = [(path, *_read(path, geometry, is_grey=is_grey)) for path in batch]
        broken = next(((path, why) for path, _, why in read if why), None)
        if broken and config.reading.on_error == "raise":
            raise RunError(f"{broken[0]}: {broken[1]}; leave out --on-error raise to go on without")
        sizes = {pixels.shape for _, pixels, _ in read if pixels is not None}
        found: dict[str, Prediction] = {}
        for size in sizes:  # one, unless images are taken as stored
            chosen = [
                path for path, pixels, _ in read if pixels is not None and pixels.shape == size
            ]
            images = np.stack([p for _, p, _ in read if p is not None and p.shape == size])
            shown = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode():
                logits = model(shown).double().cpu() / temperature
            confidences, order = logits.softmax(1).sort(dim=1, descending=True, stable=True)
            for row, path in enumerate(chosen):
                chosen_classes = order[row, : config.top].tolist()
                classes = [names[index] if names else str(index) for index in chosen_classes]
                numbers = confidences[row, : config.top].tolist()
                found[path] = Prediction(path, tuple(classes), tuple(numbers))
        yield from (found.get(path) or Prediction(path, error=why) for path, _, why in read)


def list_files(names: Sequence[str]) -> Iterator[str]:
    """List the files that the images' names stand for, each where it is named first.

    Raises:
        RunError: If there is no such file, or a folder or pattern holds no image.
    """
    seen: set[str] = set()
    for path in _expand(names):
        if path not in seen:
            seen.add(path)
            yield path


def _expand(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        path = Path(name).expanduser()
        if name == "-":
            yield from _expand([line.strip() for line in sys.stdin if line.strip()])
        elif path.is_dir():
            images = FolderTree(path).walk().images
            if not images:
                raise RunError(f"the folder {name} holds no image")
            yield from (str(path / image) for image in images)
        elif path.exists():
            yield str(path)
        else:
            matches = sorted(glob.glob(str(path), recursive=True))
            if not matches:
                raise RunError(f"{name} does not exist; name image files, folders or patterns")
            yield from _expand(matches)


def write_predictions(found: Iterator[Prediction], form: str) -> Iterator[str]:
    """The lines of predictions as ``csv`` or ``jsonl``, one an image and class or one an image."""
    if form == "csv":
        yield _csv_line(["path", "rank", "class", "confidence", "error"])
    for each in found:
        if form == "jsonl":
            pairs = zip(each.classes, each.confidences, strict=True)
            classes = [{"class": name, "confidence": number} for name, number in pairs]
            record: dict[str, Any] = {"path": each.path, "predictions": classes}
            yield json.dumps(record | ({"error": each.error} if each.error else {}))
        elif each.error:
            yield _csv_line([each.path, "", "", "", each.error])
        else:
            for rank, (name, number) in enumerate(zip(each.classes, each.confidences, strict=True)):
                yield _csv_line([each.path, rank + 1, name, f"{number:.6f}", ""])


def _csv_line(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(map(escape_cell, cells))
    return text.getvalue().encode("utf-8", "backslashreplace").decode()  # of names that are not


def _open(
    config: PredictConfig,
) -> tuple[nn.Module, tuple[str, ...] | None, Geometry, float]:
    """The model, its classes, how its images are prepared, and the temperature."""
    folder = Path(config.model).expanduser()
    members = results.list_members(folder) if folder.is_dir() else []
    run = load_run(members[0] if members else folder) if folder.is_dir() else None
    models = [open_model(each) for each in members or [config.model]]
    model = models[0]
    if any(each.class_names != model.class_names for each in models):
        raise RunError(f"the runs in {folder} have other classes, or another order of them")
    settings: dict[str, Any] = {}
    if run is not None:
        settings = {"size": run.size}
        settings |= {"interpolation": run.interpolation} if run.interpolation else {}
    if model.preprocessing is not None and model.preprocessing.crop:
        settings = model.preprocessing.geometry
    if config.size is not None:
        settings = {**settings, "size": config.size, "resize": 0}
    reading = run.reading if run is not None else Reading()
    reading = replace(reading, exif_orientation="apply", on_error=None)
    given = {name: value for name, value in config.reading.given.items() if name != "on_error"}
    geometry = Geometry(**settings, reading=replace(reading, **given))
    whole = Ensemble(models) if len(models) > 1 else model
    temperature = config.temperature or results.find_temperature(folder) or model.temperature
    return whole, model.class_names, geometry, temperature


def _channels(model: nn.Module) -> int:
    """Channels of the images that a model takes."""
    for each in model.modules():
        if isinstance(each, Classifier):
            return each.config.channels
        if isinstance(each, OnnxNetwork):
            return each.channels or 3
    return 3


def _read(path: str, geometry: Geometry, *, is_grey: bool) -> tuple[np.ndarray | None, str]:
    """The pixels of a file, or why it has none."""
    try:
        pixels = decode_image(Path(path).read_bytes(), geometry)
        return from_pillow(Image.fromarray(pixels).convert("L")) if is_grey else pixels, ""
    except ImageError as error:
        return None, printable(str(error))
    except OSError as error:
        return None, error.strerror or str(error)
