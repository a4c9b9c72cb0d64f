"""Clean, corrupted, perturbed and attacked images streamed through a model into sums.

A cell is one corruption at one severity, the clean images, one perturbation or the attack. What is
kept of it is a row of `results.json` and a file of every image's outcome, written as soon as it is
complete, so an interrupted evaluation goes on with the missing cells.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from augmix import ranks, records
from augmix.attacks import Norm
from augmix.corrupt import sequences as perturbations
from augmix.corrupt import suite as corruptions
from augmix.corrupt.presets import check_sides
from augmix.data.folders import Photographs
from augmix.data.items import default_threads
from augmix.data.sources import Source
from augmix.engine import adversary, checkpoint, inference, ledger
from augmix.engine.checkpoint import Interrupted
from augmix.engine.devices import resolve_device
from augmix.engine.hardest import HARDEST_FILE, write_hardest
from augmix.engine.inference import Subject
from augmix.engine.ledger import Measured
from augmix.engine.measure import Exam, check_attack, measure, measure_logits
from augmix.engine.official import find_official
from augmix.engine.progress import OnProgress, ignore
from augmix.engine.sets import Sets
from augmix.engine.spots import Ids, Spot, choose_images, list_spots
from augmix.models import adaptation
from augmix.models.temperature import measure_temperature
from augmix.outcomes import Images
from augmix.records import Cell, Results

_MOST_THREADS = 8  # beyond that they wait for each other: part of a corruption holds Python's lock


def evaluate(
    model: nn.Module,
    source: Source,
    *,
    suite: Sequence[str] = ("clean", "c"),
    names: Sequence[str] = (),
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    sequences: Sequence[str] = (),
    difficulty: int = 1,
    preset: str = "auto",
    seed: int = 0,
    official: Sequence[Path | str] = (),
    frost_textures: Path | str | None = None,
    jpeg_quality: int | None = None,
    photographs: Photographs | None = None,
    attack_norm: Norm = "linf",
    attack_epsilon: float = 0.0,
    attack_steps: int = adversary.STEPS,
    attack_step_size: float = 0.0,
    attack_restarts: int = 1,
    adapt_batch_norm: bool = False,
    adapt_prior: int = 16,
    temperature_images: int = 0,
    batch_size: int = 256,
    num_threads: int = 0,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    bin_size: int = 100,
    out: Path | str | None = None,
    max_images: int = 0,
    about: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> Results:
    """Measure a model on clean, corrupted, perturbed and attacked images.

    Called by every process of a torch process group (see `ranks.joined`), the processes share the
    work; rank 0 writes and gives the same results as one process would, the others give no cell.

    Args:
        model: Takes `batch channel height width` in [0, 1] and gives logits `batch label`.
        source: The images and their labels.
        suite: ``clean``, ``c`` (the corruptions), ``p`` (the perturbation sequences) and/or
            ``attack`` (projected gradient descent; an image is an error if the model is wrong
            about it or about an attacked form of it).
        names: Corruptions, or lists of them: ``paper-15``, ``extra-4``, ``all-19``; none means the
            paper's.
        severities: 1..5.
        sequences: Perturbations, or lists of them: ``standard-10``, ``cifar-script-10``,
            ``extra-4``, ``all-14``; none means the standard ten.
        difficulty: 1..3: how strong noise sequences are, how far apart the compared frames of the
            others lie.
        preset: Strength table: ``cifar``, ``tiny`` or ``imagenet``; ``auto`` goes by image size.
        seed: Of the corruptions, perturbations and starts of attacks; same seed, same draws.
        official: Folders of official -C and -P files, which are read instead of damaging images on
            the fly; a suite without such a folder is made on the fly.
        frost_textures: Folder of the published photographs for frost; the textures that the package
            draws if not given.
        jpeg_quality: 1..100: corrupted images are coded as JPEG and decoded, as those of the
            published ImageNet-C and Tiny-ImageNet-C are by 85. Not done if not given.
        photographs: The source's images at their own size, from which sequences are made as the
            published scripts do; without them the source's images are moved themselves.
        attack_norm: What bounds an attack, ``linf`` or ``l2``.
        attack_epsilon: Radius of the ball, in [0, 1] units; 0 takes 8/255 for linf, 0.5 for l2.
        attack_steps: Gradient steps.
        attack_step_size: Length of a step; 0 takes a quarter of the radius.
        attack_restarts: Attacks on each image, from different starts; one that succeeds counts.
        adapt_batch_norm: Batch-norm layers adapt to the statistics of every batch; not with
            ``attack``.
        adapt_prior: How many images their stored statistics are worth.
        temperature_images: Clean images held out of everything measured, on which a temperature is
            fitted; every cell then keeps its calibration at that temperature too.
        batch_size: Images a forward pass takes; a batch of ``p`` holds whole sequences.
        num_threads: Threads that damage images while the model computes; 0 takes one beside a CPU,
            and beside a GPU this process's share of the processors, 8 at most.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32``, or ``bf16`` by autocast; logits are scored in float64.
        bin_size: Predictions in an adaptive bin of the RMS calibration error.
        out: Folder for `results.json`, `examples.npz` and `outcomes/`; cells already there are not
            measured again. None keeps nothing.
        max_images: Measure a fixed random part of the images; 0 takes all.
        about: More facts about the model for the results, e.g. method, seed and label of its run.
        on_progress: Called with a dict at the start (``total``), after every ``batch`` and
            ``cell``.

    Raises:
        ValueError: If an argument is out of range.
        ResumeError: If ``out`` holds results of another model, source or protocol.
        RunError: If the model gives the wrong shape or NaN, or to an attack no gradient, an
            official file does not fit, or a file cannot be written.
        Interrupted: If the work was stopped; with ``out`` it goes on when started again.
    """
    spots = list_spots(
        suite,
        names or corruptions.PAPER_15,
        severities,
        sequences or perturbations.STANDARD_10,
        attack_norm,
    )
    attacker = adversary.choose_adversary(
        suite,
        norm=attack_norm,
        epsilon=attack_epsilon,
        num_steps=attack_steps,
        step_size=attack_step_size,
        num_restarts=attack_restarts,
        seed=seed,
        is_adapted=adapt_batch_norm,
    )
    _check_counts(batch_size=batch_size, bin_size=bin_size)
    if num_threads < 0:
        raise ValueError(f"num_threads must be at least 0, got {num_threads}")
    if difficulty not in perturbations.DIFFICULTIES:
        raise ValueError(f"difficulty must be 1, 2 or 3, got {difficulty}")
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise ValueError(f"jpeg_quality must be 1..100, got {jpeg_quality}")
    target = resolve_device(device)
    ids, held = choose_images(
        len(source), max_images=max_images, num_held=temperature_images, seed=seed
    )
    sets = Sets(
        source=source,
        preset=corruptions.resolve_preset(preset, source.size),
        seed=seed,
        difficulty=difficulty,
        frost_textures=None if frost_textures is None else Path(frost_textures),
        jpeg_quality=jpeg_quality,
        official=find_official(official, source, difficulty=difficulty),
        photographs=photographs,
    )
    _check_sets(sets, spots)
    fresh = Results(
        model={
            **inference.describe_model(model),
            "adaptation": f"batch norm, prior {adapt_prior}" if adapt_batch_norm else "",
            **(about or {}),
        },
        source=_describe_source(source, len(ids)),
        protocol={
            **_describe_spots(spots),
            **sets.describe(spots),
            **(attacker.describe() if attacker else {}),
            "bin_size": bin_size,
            "max_images": max_images,
            "temperature_images": temperature_images,
            "batch_size": batch_size,
            "precision": precision,
            "device": target.type,
        },
        provenance=records.provenance(),
    )
    exam = Exam(
        subject=Subject(
            model=model, device=target, precision=precision, num_classes=source.num_classes
        ),
        sets=sets,
        ids=ids,
        adversary=attacker,
        batch_size=batch_size,
        num_threads=num_threads or _useful_threads(target),
        bin_size=bin_size,
        temperature=None,
        emit=on_progress or ignore,
    )
    plain = records.to_plain([fresh.model, fresh.source, fresh.protocol])
    ranks.agree(json.dumps(plain, sort_keys=True), "model, source or protocol")
    with ExitStack() as stack:
        folder = Path(out) if out and ranks.rank() == 0 else None
        results = fresh
        if folder:
            stack.enter_context(checkpoint.lock(folder))
            images = Images(ids=ids, labels=source.labels[ids])
            results = ledger.resume(folder, fresh, spots, sets, images)
        stack.enter_context(inference.ready(model, target))
        if adapt_batch_norm:
            stack.enter_context(adaptation.adapt_batch_norm(model, adapt_prior))
        return _examine(exam, spots, held, results, folder)


def _examine(
    exam: Exam, spots: Sequence[Spot], held: Ids, results: Results, folder: Path | None
) -> Results:
    """Measure the spots that are missing, each written down as soon as it is whole."""
    missing = _agree_on_missing(results, spots)
    done = len(spots) - len(missing)
    check_attack(exam, missing)
    try:
        if len(held) and missing:
            exam, results = _at_temperature(exam, held, results)
        exam.emit(
            {
                "event": "total",
                "done": done,
                "num_cells": len(spots),
                "num_images": exam.count_images(missing),
            }
        )
        with closing(measure(exam, missing)) as cells:
            for measured in cells:
                if measured is None:  # rank 0 has it
                    continue
                if folder:
                    results = ledger.record(folder, results, measured, exam.sets)
                else:
                    results = ledger.add(results, measured, exam.sets)
                done += 1
                exam.emit(_cell_event(measured, done, len(spots)))
    except KeyboardInterrupt:
        kept = f"; start the same command again to go on in {folder}" if folder else ""
        raise Interrupted(f"stopped after {done} of {len(spots)} measurements{kept}") from None
    if folder and (missing or not (folder / HARDEST_FILE).exists()):
        write_hardest(folder, results, exam.sets.source)
    return results


def _agree_on_missing(results: Results, spots: Sequence[Spot]) -> list[Spot]:
    """What rank 0 lacks."""
    is_missing = ranks.share(np.array([not ledger.is_done(results, spot) for spot in spots]))
    return [spot for spot, missing in zip(spots, is_missing, strict=True) if missing]


def _at_temperature(exam: Exam, held: Ids, results: Results) -> tuple[Exam, Results]:
    """The exam at the temperature of its results, fitted on held-out clean images if need be."""
    found = results.temperature
    if not ranks.share(np.array([found is not None]))[0]:
        logits = measure_logits(replace(exam, ids=held))
        if logits is not None:  # rank 0
            found = asdict(measure_temperature(logits, exam.sets.source.labels[held]))
    value = ranks.share(np.array([found["value"] if found else 0.0]))
    return replace(exam, temperature=float(value[0])), replace(results, temperature=found)


def _check_sets(sets: Sets, spots: Sequence[Spot]) -> None:
    """Refuse at once what would only be found when its turn comes."""
    suites = {spot[0] for spot in spots}
    for suite, files in sets.official.items():
        if suite not in suites:
            raise ValueError(
                f"{files.layout.root} holds official files of suite {suite!r}, which is not "
                f"measured; suites asked for: {', '.join(sorted(suites))}"
            )
    for suite in suites & {"c", "p"} - set(sets.official):
        check_sides(sets.source.size, {"c": "corrupt", "p": "perturb"}[suite])
    if sets.photographs is not None and len(sets.photographs) != len(sets.source):
        raise ValueError(
            f"photographs must be the {len(sets.source)} images of the source, "
            f"got {len(sets.photographs)}"
        )


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


def _describe_spots(spots: Sequence[Spot]) -> dict[str, Any]:
    """What is measured, each name once, of the suites that are."""
    facts: dict[str, Any] = {"suite": list(dict.fromkeys(spot[0] for spot in spots))}
    if "c" in facts["suite"]:
        facts["names"] = list(dict.fromkeys(spot[1] for spot in spots if spot[0] == "c"))
        facts["severities"] = list(dict.fromkeys(spot[2] for spot in spots if spot[0] == "c"))
    if "p" in facts["suite"]:
        facts["sequences"] = [spot[1] for spot in spots if spot[0] == "p"]
    return facts


def _useful_threads(device: torch.device) -> int:
    """More than one only where the model leaves the processors idle."""
    if device.type == "cpu":
        return 1
    return max(1, min(_MOST_THREADS, default_threads() // ranks.world_size()))


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def _cell_event(measured: Measured, done: int, num_cells: int) -> dict[str, Any]:
    suite, name, severity = measured.spot
    cell = measured.cell
    if isinstance(cell, Cell):
        facts = {"error": cell.num_errors / cell.num_images}
    else:
        facts = {"flip_probability": cell.num_flips / cell.num_pairs}
    return {
        "event": "cell",
        "suite": suite,
        "name": name,
        "severity": severity,
        **facts,
        "wait_share": measured.wait_s / cell.seconds,
        "done": done,
        "num_cells": num_cells,
    }
