"""Models on the Hugging Face Hub.

was measured; the first page of a model on the hub.

Only `model.json` and `weights.safetensors` are fetched, neither of which can run code. The package
`huggingface_hub` (extra ``hub``) is loaded when the hub is asked for the first time.
"""

import importlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augmix import files, results
from augmix.errors import RunError, first_line
from augmix.files import load_json
from augmix.metrics import rms_from_bins
from augmix.results import CONFIG_FILE, MODEL_FILE, RESULTS_FILE, Bins, Cell, Results, load_results

_FRONT = """---
library_name: augmix
pipeline_tag: image-classification
tags:
- robustness
- augmix
---
"""
# Where things were on the machine that trained; of no use and no business of anybody else.
PRIVATE = ("data", "out", "schema")


def write_card(run: Path, name: str) -> str:
    """The model card of a run folder as Markdown.

    Args:
        run: Folder with `model.json`; `config.json` and `results.json` are used where they are.
        name: What the card calls the model; ``owner/name`` stands in its example.

    Raises:
        RunError: If one of the files is damaged.
    """
    model = files.load_json(run / MODEL_FILE)
    parts = [_FRONT, f"# {_escape(name)}\n", _introduction(model, name)]
    if (run / CONFIG_FILE).is_file():
        parts.append(_training(files.load_json(run / CONFIG_FILE)))
    if (run / RESULTS_FILE).is_file():
        parts.append(_measurements(load_results(run / RESULTS_FILE)))
    else:
        parts.append("## Measurements\n\nNothing was measured.\n")
    return "\n".join(parts)


def _introduction(model: dict[str, Any], name: str) -> str:
    return (
        f"A `{_escape(model['name'])}` for {model['num_classes']} classes, trained with "
        f"[augmix](https://pypi.org/project/augmix/). It takes images in [0, 1], "
        f"{model['channels']} channel(s), and normalises them itself.\n\n"
        "```python\nimport augmix\n\n"
        f"model = augmix.load_model({name!r})  # logits = model(images)\n```\n"
    )


def _training(config: dict[str, Any]) -> str:
    rows = [(key, value) for key, value in config.items() if key not in PRIVATE]
    return "## Training\n\n" + _table(("setting", "value"), rows)


def _measurements(results: Results) -> str:
    source = results.source
    lines = [
        "## Measurements\n",
        f"On `{_escape(source.get('name', ''))}`, split `{_escape(source.get('split', ''))}`, "
        f"{source.get('num_images', 'unknown')} images; percent.\n",
    ]
    clean = results.find("clean", "clean", 0)
    corrupted = _complete(results)
    attacked = [cell for cell in results.cells if cell.suite == "attack"]
    groups = {
        "clean": [clean] if clean else [],
        "corrupted (mean)": [cell for row in corrupted.values() for cell in row],
        **{f"attacked ({cell.name})": [cell] for cell in attacked},
    }
    rows = [(title, _error(group), _calibration(group)) for title, group in groups.items() if group]
    lines.append(_table(("images", "error", "RMS calibration error"), rows))
    lines += _attack(results) if attacked else []
    if corrupted:
        lines.append(
            f"Corrupted: {len(corrupted)} corruptions at severities "
            f"{', '.join(map(str, _severities(results)))}, each cell counting equally.\n"
        )
        rows = [(name, _error(row), _calibration(row)) for name, row in corrupted.items()]
        lines.append(_table(("corruption", "error", "RMS calibration error"), rows))
    if results.sequences:
        flips = [(cell.name, cell.num_flips / cell.num_pairs) for cell in results.sequences]
        rows = [(name, _percent([share])) for name, share in flips]
        rows.append(("mean", _percent([share for _, share in flips])))
        lines.append(_table(("perturbation", "flip probability"), rows))
    return "\n".join(lines)


def _attack(results: Results) -> list[str]:
    """By what images were attacked."""
    settings = {
        title: results.protocol[f"attack_{title}"]
        for title in ("norm", "epsilon", "steps", "step_size", "restarts")
        if f"attack_{title}" in results.protocol
    }
    told = ", ".join(f"{title.replace('_', ' ')} {value}" for title, value in settings.items())
    return [
        f"Attacked: projected gradient descent ({_escape(told)}); an image counts as an error if "
        "the model is wrong about it or any attacked form of it.\n"
    ]


def _complete(results: Results) -> dict[str, list[Cell]]:
    """The cells of every corruption that was measured at all severities that were asked for."""
    found: dict[str, list[Cell]] = {}
    for name in dict.fromkeys(cell.name for cell in results.cells if cell.suite == "c"):
        row = [results.find("c", name, severity) for severity in _severities(results)]
        if all(row):
            found[name] = [cell for cell in row if cell is not None]
    return found


def _severities(results: Results) -> list[int]:
    measured = {cell.severity for cell in results.cells if cell.suite == "c"}
    return sorted({*results.protocol.get("severities", ()), *measured}) if measured else []


def _error(cells: Sequence[Cell]) -> str:
    return _percent([cell.num_errors / cell.num_images for cell in cells])


def _calibration(cells: Sequence[Cell]) -> str:
    bins = [cell.adaptive for cell in cells]
    return _percent([rms_from_bins(*_arrays(each)) for each in bins])


def _arrays(bins: Bins) -> tuple[Any, Any, Any]:
    return (
        np.array(bins.count, np.int64),
        np.array(bins.confidence_sum, np.float64),
        np.array(bins.correct_sum, np.int64),
    )


def _percent(shares: Sequence[float]) -> str:
    return f"{100 * sum(shares) / len(shares):.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_escape(cell) for cell in line)} |\n" for line in lines)


def _escape(value: Any) -> str:
    """Text that stays text in a Markdown page."""
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(text.replace("`", "'").split())


_PREFIX = "hub:"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_FILES = (results.MODEL_FILE, results.WEIGHTS_FILE)


def is_hub_id(where: str | Path) -> bool:
    """Whether text names a model on the hub: ``hub:owner/name``, or ``owner/name`` where there is
    no folder of that name. A path never does.
    """
    if not isinstance(where, str):
        return False
    if where.startswith(_PREFIX):
        return True
    return bool(_NAME.fullmatch(where)) and not Path(where).exists()


def fetch(name: str, *, revision: str = "") -> Path:
    """Fetch a model from the hub into its local cache; fetched files are not fetched again.

    Args:
        name: ``owner/name``, with or without ``hub:`` in front.
        revision: Branch, tag or commit; the main branch by default.

    Returns:
        The folder with `model.json` and `weights.safetensors`.

    Raises:
        RunError: If the package is missing, there is no such model, it is not one of this
            package, or the hub cannot be reached.
    """
    repo = name.removeprefix(_PREFIX)
    hint = "" if name.startswith(_PREFIX) else f"there is no folder {name!r}, and "
    if not _NAME.fullmatch(repo):
        raise RunError(f"a model on the hub is named owner/name, got {repo!r}")
    hub = _import_hub(f"{hint}a model on the Hugging Face Hub ({repo!r})")
    try:
        folder = hub.snapshot_download(repo, revision=revision or None, allow_patterns=list(_FILES))
    except Exception as error:  # the package's own, the transport's, the disk's
        raise RunError(
            f"{hint}{repo!r} cannot be fetched from the Hugging Face Hub: {first_line(error)}; "
            "look at the name and the network"
        ) from error
    missing = [file for file in _FILES if not (Path(folder) / file).is_file()]
    if missing:
        raise RunError(
            f"{repo!r} on the Hugging Face Hub has no {missing[0]}: it is no model of this package"
        )
    return Path(folder)


def push_to_hub(
    run: str | Path,
    repo_id: str,
    *,
    is_private: bool = False,
    message: str = "Upload model",
    token: str = "",
) -> str:
    """Put the model of a run folder on the hub, with a model card made from its results.

    The card says how the model was trained and what `augmix evaluate` measured; without
    `results.json` it says that nothing was measured. Settings and results go along as files,
    without the paths and the command lines of this machine.

    Args:
        run: Folder with `model.json` and `weights.safetensors`.
        repo_id: ``owner/name``; made if it is not there.
        is_private: Whether a newly made one is seen by its owner alone.
        message: Of the commit.
        token: Of the hub; by default the one that `hf auth login` stored.

    Returns:
        The address of the model.

    Raises:
        RunError: If the package or a file of the model is missing, or the hub refuses.
    """
    folder = Path(run)
    if not _NAME.fullmatch(repo_id):
        raise RunError(f"a model on the hub is named owner/name, got {repo_id!r}")
    for file in _FILES:
        if not (folder / file).is_file():
            raise RunError(f"{folder / file} does not exist; is {folder} a finished run?")
    card = write_card(folder, repo_id)
    hub = _import_hub("putting a model on the Hugging Face Hub")
    files = {"README.md": card.encode(), **_public_records(folder)}
    files |= {file: str(folder / file) for file in _FILES}
    try:
        api = hub.HfApi(token=token or None)
        api.create_repo(repo_id, private=is_private, exist_ok=True)
        api.create_commit(
            repo_id,
            operations=[
                hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
                for name, content in files.items()
            ],
            commit_message=message,
        )
    except Exception as error:
        raise RunError(
            f"the Hugging Face Hub did not take {repo_id!r}: {first_line(error)}; "
            "log in with `hf auth login`, or give a token that may write"
        ) from error
    return f"https://huggingface.co/{repo_id}"


def _public_records(run: Path) -> dict[str, bytes | str]:
    """`config.json` and `results.json`, where they are, without what only this machine knows."""
    files: dict[str, bytes | str] = {}
    for file in (results.CONFIG_FILE, results.RESULTS_FILE):
        if (run / file).is_file():
            plain = load_json(run / file)
            for name in ("data", "out"):
                plain.pop(name, None)
            plain.get("provenance", {}).pop("command", None)
            files[file] = json.dumps(plain, indent=1, ensure_ascii=False).encode()
    return files


def _import_hub(what: str) -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise RunError(
            f"{what} needs the package huggingface_hub; install it with: pip install 'augmix[hub]'"
        ) from None
