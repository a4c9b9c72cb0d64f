"""Classes of new images: any model on files of the user's, with calibrated confidences."""

import csv
import glob
import hashlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from augmix import results, run_folder
from augmix.arrays import from_pillow, to_float
from augmix.data import Reading
from augmix.data.batches import spread_positions
from augmix.data.decode import Geometry, ImageError, decode_image
from augmix.data.folders import FileItems
from augmix.data.trees import FolderTree
from augmix.devices import resolve_device
from augmix.errors import RunError, escape_cell, printable
from augmix.evaluation.config import PredictConfig
from augmix.evaluation.models import load_run
from augmix.evaluation.predictor import check_outputs, describe_model, summarize_logits
from augmix.files import (
    check_own_name,
    describe_space,
    format_size,
    hash_file,
    load_record,
    open_atomic,
    to_plain,
    write_json,
)
from augmix.models.calibration import Calibrator, load_calibrator
from augmix.models.layers import Classifier
from augmix.models.onnx import OnnxNetwork
from augmix.models.open_model import open_model
from augmix.models.wrapper import Ensemble, name_of, refuse_probabilities
from augmix.progress import Note, OnProgress, PieceWritten, format_duration, ignore
from augmix.shards import Pieces, find_shard, share_folder

_BATCHES_IN_PART = 8  # of a file that is written in parts
_TIMED_IMAGES = 32  # of a forecast
_NUM_PROBES = 4  # images whose logits tell models apart


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable classes of an image, or why it has none."""

    path: str
    classes: tuple[str, ...] = ()
    confidences: tuple[float, ...] = ()  # at the temperature
    error: str = ""


def predict(config: PredictConfig, *, on_progress: OnProgress = ignore) -> Iterator[Prediction]:
    """Predict the classes of images, in the order of their names; broken ones are skipped.

    Args:
        on_progress: Called with a `Note` where a file holds averaged weights that are not taken.

    Raises:
        RunError: If the model or a file is missing, or the model fails.
    """
    model = _open(config)
    model.tell(on_progress)
    paths = iter(list_files(config.images))
    while batch := list(islice(paths, config.batch_size)):
        yield from model.predict(batch, config)


_Read = tuple[str, np.ndarray | None, str]  # a file, its pixels, or why it has none


@dataclass(frozen=True, slots=True)
class _Model:
    """A model, its classes, how its images are prepared, and its calibrator."""

    network: nn.Module
    names: tuple[str, ...] | None
    geometry: Geometry
    calibrator: Calibrator
    device: torch.device
    note: str = ""  # what to say of its weights

    def tell(self, on_progress: OnProgress) -> None:
        """Say what its weights are not, if there is anything to say."""
        if self.note:
            on_progress(Note(text=self.note))

    def predict(self, batch: Sequence[str], config: PredictConfig) -> Iterator[Prediction]:
        """Predict the classes of the images of a batch."""
        return self.classify(self.read(batch, config), config)

    def read(self, batch: Sequence[str], config: PredictConfig) -> list[_Read]:
        """Read the images of a batch; a broken one is a `RunError` if the configuration asks."""
        is_grey = _channels(self.network) == 1
        read = [(path, *_read(path, self.geometry, is_grey=is_grey)) for path in batch]
        broken = next(((path, why) for path, _, why in read if why), None)
        if broken and config.reading.on_error == "raise":
            raise RunError(f"{broken[0]}: {broken[1]}; leave out --on-error raise to go on without")
        return read

    def classify(self, read: Sequence[_Read], config: PredictConfig) -> Iterator[Prediction]:
        """Predict the classes of images that were read."""
        names = self.names
        sizes = {pixels.shape for _, pixels, _ in read if pixels is not None}
        found: dict[str, Prediction] = {}
        for size in sizes:  # one, unless images are taken as stored
            chosen = [
                path for path, pixels, _ in read if pixels is not None and pixels.shape == size
            ]
            images = np.stack([p for _, p, _ in read if p is not None and p.shape == size])
            shown = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float() / 255
            logits = self.calibrator.scale(self._logits(shown, chosen))
            confidences, order = logits.softmax(1).sort(dim=1, descending=True, stable=True)
            confidences = self.calibrator.map(confidences)
            for row, path in enumerate(chosen):
                chosen_classes = order[row, : config.top].tolist()
                classes = [names[index] if names else str(index) for index in chosen_classes]
                numbers = confidences[row, : config.top].tolist()
                found[path] = Prediction(path, tuple(classes), tuple(numbers))
        yield from (found.get(path) or Prediction(path, error=why) for path, _, why in read)

    def _logits(self, images: Tensor, paths: Sequence[str]) -> Tensor:
        """The logits of images of one size, in float64 on the CPU."""
        with torch.inference_mode():
            logits = self.network(images).double().cpu()
        refuse_probabilities(logits, name_of(self.network))
        is_bad = ~logits.isfinite().all(dim=1)
        if is_bad.any():
            path = paths[int(is_bad.int().argmax())]
            raise RunError(
                f"the logits of {name_of(self.network)} for {path} are not finite, which is no "
                "prediction; check its weights"
            )
        return logits

    def probe(self, files: Sequence[str]) -> list[list[float | None]]:
        """Summarize the logits of a few images, by which two models can be distinguished."""
        is_grey = _channels(self.network) == 1
        found: list[list[float | None]] = []
        for position in spread_positions(len(files), min(len(files), _NUM_PROBES)):
            pixels, _ = _read(files[position], self.geometry, is_grey=is_grey)
            if pixels is not None:
                image = to_float(pixels[None])
                shown = torch.from_numpy(image).to(self.device)
                found += summarize_logits(self._logits(shown, [files[position]]).numpy())
        return found


class _Summary(TypedDict):
    """What was predicted, of some images or of all."""

    num_images: int
    broken: list[tuple[str, str]]  # images that were left out, with the reasons


class _Part(_Summary):
    """The lines of some images, as kept until the file is complete."""

    text: str


class _Manifest(TypedDict):
    """What stands beside a file of predictions: what it is of, and once it is complete the rest."""

    identity: dict[str, Any]
    outputs: list[Any]  # what the model says to a few of the images
    summary: _Summary | None
    sha256: str | None


def predict_file(
    config: PredictConfig, *, on_progress: OnProgress | None = None
) -> tuple[int, list[tuple[str, str]]]:
    """Write the predictions of `predict` into the file of a config, alone or as one of its shards.

    ``NAME.json`` beside the file says what it was made of. What is predicted is kept in the folder
    ``NAME.parts`` until all is there, so that a stopped call is continued; a complete file is not
    made again.

    Args:
        on_progress: Called with a `PieceWritten` for every part.

    Returns:
        The number of images, and those that were left out, with the reasons.

    Raises:
        RunError: As of `predict`; or if the file has predictions of another model, of other images,
            or with other settings.
    """
    path, form = config.out, config.written_form
    if path is None:
        raise ValueError("name the file to write: out")
    emit, shard = on_progress or ignore, find_shard(config.shard)
    model = _open(config)
    model.tell(emit)
    parts = _Parts.of(config, model, path)
    for written in (parts.path, parts.manifest):
        check_own_name(written)

    def write_part(start: int) -> None:
        found = [one for batch in parts.batches(start) for one in model.predict(batch, config)]
        lines = write_predictions(iter(found), form, has_header=start == 0)
        write_json(
            parts.file(start),
            {
                "text": "".join(f"{line}\n" for line in lines),
                "num_images": len(found),
                "broken": [(printable(each.path), each.error) for each in found if each.error],
            },
        )

    held = share_folder(parts.folder, shard, what=f"file {path}", way_out="choose another --out")
    with held as shared:
        with shared.alone():
            summary = parts.check_written()
            if summary is None:
                parts.write_manifest(None, None)
        if summary is None:
            todo = parts.missing()
            queue = Pieces(shared, todo, name=str, is_done=lambda start: parts.file(start).exists())
            began = perf_counter()
            done = skipped = len(parts.files) - sum(map(parts.count, todo))
            with closing(queue):
                for start in queue.run(write_part):
                    done += parts.count(start)
                    rate = (done - skipped) / max(perf_counter() - began, 1e-9)
                    emit(
                        PieceWritten(
                            name="predictions",
                            severity=0,
                            done=done,
                            total=len(parts.files),
                            images_per_second=rate,
                        )
                    )
        with shared.alone():
            summary = parts.check_written()
            if summary is None:
                summary = _join_parts(path, [parts.file(start) for start in parts.starts])
                parts.write_manifest(summary, hash_file(path))
    return summary["num_images"], summary["broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """A file of predictions, and the parts that are kept until it is complete."""

    path: Path
    files: list[str]  # the images
    batch_size: int
    identity: dict[str, Any]  # what the predictions are of
    outputs: list[list[float | None]]  # what the model says to a few of the images
    key: str  # of the identity, in the names of the parts

    @classmethod
    def of(cls, config: PredictConfig, model: _Model, path: Path) -> "_Parts":
        files = list(list_files(config.images))
        names = ("top", "batch_size", "size", "reading", "outputs", "ema")
        described = describe_model(model.network)
        identity: dict[str, Any] = {
            "model": described["weights_sha256"],
            "preprocessing": to_plain(described["preprocessing"]),
            "geometry": to_plain(model.geometry.describe()),
            "classes": list(model.names or ()),
            "images": FileItems(root=Path(), paths=tuple(files)).digest(np.arange(len(files))),
            "form": config.written_form,
            **model.calibrator.describe(),
            **{name: to_plain(getattr(config, name)) for name in names},
        }
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        return cls(
            path=path,
            files=files,
            batch_size=config.batch_size,
            identity=identity,
            outputs=model.probe(files),
            key=key,
        )

    @property
    def manifest(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def folder(self) -> Path:
        return self.path.with_name(f"{self.path.name}.parts")

    @property
    def starts(self) -> range:
        """Numbers of the first images of the parts."""
        return range(0, len(self.files), self.batch_size * _BATCHES_IN_PART)

    def count(self, start: int) -> int:
        return min(self.starts.step, len(self.files) - start)

    def batches(self, start: int) -> Iterator[list[str]]:
        for at in range(start, start + self.count(start), self.batch_size):
            yield self.files[at : min(at + self.batch_size, start + self.count(start))]

    def file(self, start: int) -> Path:
        return self.folder / f"{self.key}-{start:010d}.json"

    def missing(self) -> list[int]:
        return [start for start in self.starts if not self.file(start).exists()]

    def check_written(self) -> _Summary | None:
        """What a complete file holds, None if it is not complete; another file is refused."""
        return _check_written(self.path, self.manifest, self.identity, self.outputs)

    def write_manifest(self, summary: _Summary | None, sha256: str | None) -> None:
        """Write what the file is made of; without a summary it is not complete."""
        facts = {"identity": self.identity, "outputs": self.outputs}
        write_json(self.manifest, {**facts, "summary": summary, "sha256": sha256})


def forecast_predictions(config: PredictConfig) -> list[str]:
    """Say what predicting takes, in words, from a few images; nothing is written.

    Raises:
        RunError: As of `predict_file`.
    """
    model, form, shard = _open(config), config.written_form, find_shard(config.shard)
    parts = _Parts.of(config, model, config.out or Path())
    files = parts.files
    is_done = config.out is not None and parts.check_written() is not None
    todo = [] if is_done else parts.missing() if config.out else [*parts.starts]
    num_left = sum(map(parts.count, todo))
    positions = spread_positions(len(files), min(len(files), _TIMED_IMAGES))
    chosen = [files[position] for position in positions]
    began = perf_counter()
    read = model.read(chosen, config)
    read_s = (perf_counter() - began) / len(chosen)
    shown = [each for each in read if each[1] is not None][: config.batch_size]
    list(model.classify(shown, config))  # tunes and fills caches
    began = perf_counter()
    list(model.classify(shown, config))
    pass_s = (perf_counter() - began) / max(len(shown), 1)
    rest = "" if num_left == len(files) else f", {num_left:,} of them left"
    count = shard.count if shard else 1
    processes = f" with {count} processes" if count > 1 else ""
    lines = [
        f"{len(files):,} images{rest}",
        f"about {format_duration(num_left * (read_s + pass_s) / count)}{processes}: "
        f"{1000 * read_s:.2g} ms to read an image, {1000 * pass_s:.2g} ms to predict its class "
        f"(measured on {len(chosen)} and {len(shown)} images)",
    ]
    if config.out:
        found = model.classify(read, config)
        text = "".join(f"{line}\n" for line in write_predictions(found, form, has_header=False))
        num_bytes = round(len(text.encode()) / len(chosen) * len(files))
        lines += [
            f"about {format_size(num_bytes)} in {config.out}, and as much in {parts.folder.name} "
            "until it is complete",
            *describe_space(config.out.parent, 2 * num_bytes),
        ]
    return lines


def _check_written(
    path: Path, manifest: Path, identity: dict[str, Any], outputs: list[list[float | None]]
) -> _Summary | None:
    """What a complete file holds, None if it is not complete; another file is refused."""
    if not manifest.exists():
        if path.exists():
            raise RunError(
                f"{path} exists without {manifest.name}, so what it holds is not known; delete it, "
                "or choose another --out"
            )
        return None
    found = load_record(manifest, _Manifest, way_out=f"delete it and {path}")
    for name, value in identity.items():
        if (before := found["identity"].get(name)) != value:
            raise RunError(
                f"{path} holds predictions with {name} = {before!r}, asked for {value!r}; choose "
                f"another --out, or delete it and {manifest.name}"
            )
    check_outputs(manifest, found["outputs"], outputs, "fp32")
    is_there = path.exists() and hash_file(path) == found["sha256"]
    return found["summary"] if is_there else None


def _join_parts(path: Path, parts: Sequence[Path]) -> _Summary:
    """Write a file from its parts, in their order."""
    summary: _Summary = {"num_images": 0, "broken": []}
    with open_atomic(path) as file:
        for part in parts:
            found = load_record(part, _Part)
            file.write(found["text"].encode())
            summary["num_images"] += found["num_images"]
            summary["broken"] += found["broken"]
    return summary


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


def write_predictions(
    found: Iterator[Prediction], form: str, *, has_header: bool = True
) -> Iterator[str]:
    """The lines of predictions as ``csv`` or ``jsonl``, one an image and class or one an image."""
    if form == "csv" and has_header:
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


def _open(config: PredictConfig) -> _Model:
    """Open the model, on its device."""
    folder = Path(config.model).expanduser()
    members = run_folder.list_members(folder) if folder.is_dir() else []
    run = load_run(members[0] if members else folder) if folder.is_dir() else None
    models = [
        open_model(each, outputs=config.outputs, use_ema=config.ema)
        for each in members or [config.model]
    ]
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
    device = resolve_device(config.device)
    whole = Ensemble(models) if len(models) > 1 else model
    calibrator = _find_calibrator(config, folder, whole, model.temperature)
    network = whole.to(device)
    return _Model(network, model.class_names, geometry, calibrator, device, note=model.note)


def _find_calibrator(
    config: PredictConfig, folder: Path, model: nn.Module, temperature: float
) -> Calibrator:
    """Find what `evaluate` fitted for a model; its own ``temperature`` is taken if it did not."""
    name, where = config.calibrator, config.calibration or folder
    if name == "temperature" and config.calibration is None:
        found = config.temperature or results.find_temperature(folder) or temperature
        return Calibrator(temperature=found)
    path = where / results.RESULTS_FILE
    if not path.is_file():
        raise RunError(
            f"{name} was fitted for no model in {where}; evaluate the model with "
            "--temperature-images and --metrics calibrators, and name the folder of the results "
            "with --calibration unless it is the run folder"
        )
    measured = results.load_results(path)
    if measured.model.get("weights_sha256") != describe_model(model)["weights_sha256"]:
        raise RunError(
            f"{path} is of {measured.model.get('label') or 'a model'} with other weights than "
            f"{config.model}; name the results of this model with --calibration"
        )
    if measured.model.get("adaptation"):
        raise RunError(f"{path} is of an adapted model, and new images are predicted without")
    value = measured.temperature["value"] if measured.temperature else None
    try:
        return load_calibrator(name, measured.fitted or {}, value)
    except ValueError as error:
        raise RunError(f"{path}: {error}") from error


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
