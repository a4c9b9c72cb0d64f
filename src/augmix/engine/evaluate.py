"""Clean and corrupted images streamed through a model into sums.

A cell is one corruption at one severity, or the clean images. Images are damaged ahead on threads
while the model computes; what is kept of a cell is a `records.Cell`, written to `results.json` as
soon as it is complete, so an interrupted evaluation goes on with the missing cells.
"""

import hashlib
import io
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, UInt8
from torch import nn

from augmix import records
from augmix.corrupt import frost
from augmix.corrupt import suite as suites
from augmix.data.batches import prefetch
from augmix.data.sources import Source
from augmix.engine import checkpoint
from augmix.engine.checkpoint import Interrupted, ResumeError
from augmix.engine.scores import gather, score
from augmix.images import to_float
from augmix.records import Cell, Results, RunError
from augmix.streams import Purpose, Stream

EXAMPLES_FILE = "examples.npz"
SUITES = ("clean", "c")
_NUM_EXAMPLES = 5
_MEASURED_PART = 2  # of Purpose.SPLIT; data.sources has 0 and 1
_DEVICES = ("auto", "cpu", "cuda", "mps")

OnProgress = Callable[[dict[str, Any]], None]
Made = TypeVar("Made")
Spot = tuple[str, str, int]  # suite, name, severity


def evaluate(
    model: nn.Module,
    source: Source,
    *,
    suite: Sequence[str] = SUITES,
    names: Sequence[str] = (),
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    preset: str = "auto",
    seed: int = 0,
    batch_size: int = 256,
    num_threads: int = 1,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    bin_size: int = 100,
    out: Path | str | None = None,
    max_images: int = 0,
    about: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> Results:
    """Measure a model on clean and corrupted images.

    Args:
        model: Takes `batch channel height width` in [0, 1] and gives logits `batch label`.
        source: The images and their labels.
        suite: ``clean`` and/or ``c`` (the corruptions).
        names: Corruptions; none means the paper's.
        severities: 1..5.
        preset: Strength table: ``cifar``, ``tiny`` or ``imagenet``; ``auto`` goes by image size.
        seed: Of the corruptions; same seed, same damaged images.
        batch_size: Images a forward pass takes.
        num_threads: Threads that damage images while the model computes.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32``, or ``bf16`` by autocast; logits are scored in float64.
        bin_size: Predictions in an adaptive bin of the RMS calibration error.
        out: Folder for `results.json` and `examples.npz`; cells already there are not measured
            again. None keeps nothing.
        max_images: Measure a fixed random part of the images; 0 takes all.
        about: More facts about the model for the results, e.g. method, seed and label of its run.
        on_progress: Called with a dict after every batch and cell.

    Raises:
        ValueError: If an argument is out of range.
        ResumeError: If ``out`` holds results of another model, source or protocol.
        RunError: If the model gives the wrong shape or NaN, or a file cannot be written.
        Interrupted: If the work was stopped; with ``out`` it goes on when started again.
    """
    emit = on_progress or ignore
    spots = list_spots(suite, names or _paper_names(), severities)
    _check_counts(batch_size=batch_size, num_threads=num_threads, bin_size=bin_size)
    target = resolve_device(device)
    ids = _choose_images(len(source), max_images, seed=seed)
    preset = suites.resolve_preset(preset, source.size)
    results = Results(
        model={**_describe_model(model), **(about or {})},
        source=_describe_source(source, len(ids)),
        protocol={
            "suite": list(dict.fromkeys(spot[0] for spot in spots)),
            "names": list(dict.fromkeys(spot[1] for spot in spots if spot[0] == "c")),
            "severities": list(dict.fromkeys(spot[2] for spot in spots if spot[0] == "c")),
            "preset": preset,
            "seed": seed,
            "bin_size": bin_size,
            "max_images": max_images,
            "batch_size": batch_size,
            "precision": precision,
            "device": target.type,
            "suite_version": suites.SUITE_VERSION,
            "frost_textures": _describe_frost(spots),
        },
        provenance=records.provenance(),
    )
    damage = _Damage(source=source, preset=preset, seed=seed)
    folder = None if out is None else Path(out)
    with checkpoint.lock(folder) if folder else nullcontext():
        if folder:
            results = _continue(folder / records.RESULTS_FILE, results, len(spots))
            _write_examples(folder / EXAMPLES_FILE, damage, spots, ids)
        missing = [spot for spot in spots if results.find(*spot) is None]
        cells = _measure(
            model, damage, missing, ids, batch_size, num_threads, target, precision, bin_size, emit
        )
        try:
            with closing(cells):
                for cell in cells:
                    results = replace(results, cells=(*results.cells, cell))
                    if folder:
                        records.write_results(folder / records.RESULTS_FILE, results)
                    emit(_cell_event(cell, len(results.cells), len(spots)))
        except KeyboardInterrupt:
            kept = f"; start the same command again to go on in {folder}" if folder else ""
            raise Interrupted(
                f"stopped after {len(results.cells)} of {len(spots)} measurements{kept}"
            ) from None
    return results


def list_spots(
    suite: Sequence[str], names: Sequence[str], severities: Sequence[int]
) -> tuple[Spot, ...]:
    """What is measured, in order: (suite, name, severity); clean images have severity 0.

    Raises:
        ValueError: If a suite or severity is unknown, or nothing is asked for.
    """
    for part in suite:
        if part not in SUITES:
            raise ValueError(f"suite must be of {SUITES}, got {part!r}")
    spots: list[Spot] = [("clean", "clean", 0)] if "clean" in suite else []
    if "c" in suite:
        for name in names:
            suites.find(name)
        for severity in severities:
            if severity not in suites.SEVERITIES:
                raise ValueError(f"severity must be 1..5, got {severity}")
        spots += [("c", name, severity) for name in names for severity in severities]
    if not spots:
        raise ValueError("nothing to measure: name a suite, and for 'c' at least one severity")
    return tuple(dict.fromkeys(spots))


def run_ahead(
    make: Callable[[int], Made], indices: Iterable[int], *, num_threads: int
) -> Generator[Made]:
    """`prefetch` with one more ahead than there are threads; closing it stops the threads."""
    yield from prefetch(make, indices, num_threads=num_threads, num_ahead=num_threads + 1)


def ignore(event: dict[str, Any]) -> None:
    """Take progress events while nobody watches."""


def resolve_device(name: str) -> torch.device:
    """A device by name; ``auto`` is CUDA, else Apple's GPU, else the CPU.

    Raises:
        ValueError: If the name is unknown.
        RunError: If this machine or this build of torch has no such device.
    """
    if name not in _DEVICES:
        raise ValueError(f"device must be one of {', '.join(_DEVICES)}; got {name!r}")
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, is_there in found.items() if is_there), "cpu")
    if not found.get(name, True):
        raise RunError(
            f"device {name!r} was asked for, but torch {torch.__version__} finds none on this "
            "machine; use --device auto or cpu"
        )
    return torch.device(name)


def hash_weights(model: nn.Module) -> str:
    """sha256 of the names, types, shapes and values of a model's state."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Damage:
    """The images of a spot by id: clean, or corrupted at their address."""

    source: Source
    preset: str
    seed: int

    def load(
        self, spot: Spot, ids: Int64[np.ndarray, " batch"]
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """The images of a spot."""
        images = self.source.load(ids)
        kind, name, severity = spot
        if kind == "clean":
            return images
        return suites.corrupt(
            images, name, severity=severity, preset=self.preset, seed=self.seed, ids=ids
        )


def _measure(
    model: nn.Module,
    damage: _Damage,
    spots: Sequence[Spot],
    ids: Int64[np.ndarray, " image"],
    batch_size: int,
    num_threads: int,
    device: torch.device,
    precision: str,
    bin_size: int,
    emit: OnProgress,
) -> Generator[Cell]:
    """The cells one after another; images of the next cell are made while this one is measured."""
    splits = [ids[start : start + batch_size] for start in range(0, len(ids), batch_size)]

    def make(index: int) -> Float32[np.ndarray, "batch channel height width"]:
        spot = spots[index // len(splits)]
        return to_float(damage.load(spot, splits[index % len(splits)]))

    indices = range(len(spots) * len(splits))
    ahead = run_ahead(make, indices, num_threads=num_threads)
    with (
        _evaluating(model.to(device)),
        closing(ahead) as batches,
    ):
        for spot in spots:
            began = perf_counter()
            scored = []
            for split in splits:
                images = torch.from_numpy(next(batches)).to(device)
                logits = _run(model, images, damage.source.num_classes, precision)
                _check_finite(logits, spot, split)
                scored.append(score(logits, damage.source.labels[split]))
                emit({"event": "batch", "name": spot[1], "severity": spot[2], "images": len(split)})
            yield gather(spot, scored, bin_size=bin_size, seconds=perf_counter() - began)


def _run(
    model: nn.Module,
    images: Float32[torch.Tensor, "batch channel height width"],
    num_classes: int,
    precision: str,
) -> Float64[np.ndarray, "batch label"]:
    """The logits of a batch, back on the CPU."""
    is_bf16 = precision == "bf16"
    with (
        torch.inference_mode(),
        torch.autocast(images.device.type, torch.bfloat16, enabled=is_bf16),
    ):
        logits = model(images)
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (len(images), num_classes):
        raise RunError(
            f"the model must give logits [batch, label] = ({len(images)}, {num_classes}) for this "
            f"source of {num_classes} classes, got {shape}; was it trained on another data set?"
        )
    return logits.detach().to("cpu").double().numpy()


def _check_finite(
    logits: Float64[np.ndarray, "batch label"], spot: Spot, ids: Int64[np.ndarray, " batch"]
) -> None:
    bad = ~np.isfinite(logits).all(axis=1)
    if bad.any():
        raise RunError(
            f"the model's logits are not finite for {spot[1]} at severity {spot[2]}, first for "
            f"image {int(ids[bad.argmax()])}; check its weights, or measure with --precision fp32"
        )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; every module's own mode is restored after."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, is_training in modes.items():
            module.training = is_training


def _continue(path: Path, fresh: Results, num_spots: int) -> Results:
    """The results already in the file if they are of the same measurement; else a refusal."""
    if not path.exists():
        return fresh
    found = records.load_results(path)
    wanted = {
        "weights": (found.model.get("weights_sha256"), fresh.model["weights_sha256"]),
        "source": (found.source.get("fingerprint"), fresh.source["fingerprint"]),
        "split": (found.source.get("split"), fresh.source["split"]),
        **_pairs(found.protocol, records.to_plain(fresh.protocol)),
    }
    if len(found.cells) < num_spots:  # what is missing must be measured with the same packages
        ours, theirs = (each.provenance.get("versions", {}) for each in (fresh, found))
        wanted |= {f"{name} version": pair for name, pair in _pairs(theirs, ours).items()}
    for name, (old, new) in wanted.items():
        if old != new:
            raise ResumeError(
                f"{path} holds results with {name} = {old!r}, this evaluation has {new!r}; "
                f"evaluate into another --out, or delete {path} to measure anew"
            )
    return found


def _pairs(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (old.get(name), new.get(name)) for name in {**old, **new}}


def _write_examples(
    path: Path, damage: _Damage, spots: Sequence[Spot], ids: Int64[np.ndarray, " image"]
) -> None:
    """A handful of images, clean and under every corruption, for the report; written once."""
    if path.exists():
        return
    chosen = ids[Stream(seed=damage.seed, purpose=Purpose.EXAMPLES).permutation(len(ids))]
    chosen = np.sort(chosen[:_NUM_EXAMPLES])
    arrays = {
        "clean": damage.load(("clean", "clean", 0), chosen),
        "labels": damage.source.labels[chosen],
    }
    for name in dict.fromkeys(spot[1] for spot in spots if spot[0] == "c"):
        rows = [spot for spot in spots if spot[1] == name]
        arrays[name] = np.stack([damage.load(spot, chosen) for spot in rows])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    records.write_bytes(path, buffer.getvalue())


def _describe_model(model: nn.Module) -> dict[str, Any]:
    config = getattr(model, "config", None)
    return {
        "name": getattr(config, "name", type(model).__name__),
        "num_classes": getattr(config, "num_classes", None),
        "num_parameters": sum(values.numel() for values in model.parameters()),
        "weights_sha256": hash_weights(model),
    }


def _describe_source(source: Source, num_images: int) -> dict[str, Any]:
    return {
        "name": source.name,
        "split": source.split,
        "num_images": num_images,
        "num_classes": source.num_classes,
        "class_names": list(source.class_names),
        "fingerprint": source.fingerprint,
        "size": list(source.size),
    }


def _describe_frost(spots: Sequence[Spot]) -> str:
    """Which textures frost overlays: the package's own and their hash; empty without frost."""
    if not any(spot[1] == "frost" for spot in spots):
        return ""
    return f"drawn by augmix, sha256 {frost.fingerprint()}"


def _choose_images(num_images: int, max_images: int, *, seed: int) -> Int64[np.ndarray, " chosen"]:
    """Ids of a random part of the images, in order; ``max_images`` 0 takes all.

    Raises:
        ValueError: If ``max_images`` is negative.
        RunError: If there is no image.
    """
    if num_images == 0:
        raise RunError("the source holds no image")
    if max_images < 0:
        raise ValueError(f"max_images must be at least 0, got {max_images}")
    if not 0 < max_images < num_images:
        return np.arange(num_images)
    stream = Stream(seed=seed, purpose=Purpose.SPLIT, part=_MEASURED_PART)
    return np.sort(stream.permutation(num_images)[:max_images])


def _paper_names() -> tuple[str, ...]:
    """The paper's corruptions, of those that are available."""
    return tuple(name for name in suites.PAPER_15 if name in suites.available())


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def _cell_event(cell: Cell, done: int, num_cells: int) -> dict[str, Any]:
    return {
        "event": "cell",
        "name": cell.name,
        "severity": cell.severity,
        "error": cell.num_errors / cell.num_images,
        "done": done,
        "num_cells": num_cells,
    }
