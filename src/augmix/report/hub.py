"""Publish the model of a run folder on the Hugging Face Hub, with its model card.

The package huggingface_hub (extra ``hub``) is imported when a model is published.
"""

import json
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from augmix.errors import RunError, first_line, import_library
from augmix.files import load_json, load_record
from augmix.report.comparison import compare
from augmix.report.exports import to_markdown
from augmix.report.load import flatten
from augmix.report.tables import escape_markdown
from augmix.results import (
    CONFIG_FILE,
    MODEL_FILE,
    RESULTS_FILE,
    WEIGHTS_FILE,
    ModelFile,
    load_results,
)

_FRONT_MATTER = """---
library_name: augmix
pipeline_tag: image-classification
tags:
- robustness
- augmix
---
"""
_PRIVATE = {  # entries that are of use on the machine that trained only
    CONFIG_FILE: ("data", "root", "out", "schema", "command"),
    RESULTS_FILE: ("command",),
}
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def push_to_hub(
    run: str | Path,
    repo_id: str,
    *,
    is_private: bool = False,
    message: str = "Upload model",
    token: str | None = None,
) -> str:
    """Upload the model of a run folder to the Hugging Face Hub, with a model card.

    The card shows how the model was trained and what `augmix evaluate` measured. `config.json` and
    `results.json` are uploaded too, without the paths and the command line of this machine.

    Args:
        run: Folder with `model.json` and `weights.safetensors`.
        repo_id: ``owner/name``; created if it does not exist.
        is_private: Whether a newly created repository is visible to its owner only.
        message: Of the commit.
        token: Token of the hub; by default the one that `hf auth login` stored.

    Returns:
        The address of the model.

    Raises:
        RunError: If huggingface_hub or a file of the model is missing, or the hub refuses.
    """
    folder = Path(run)
    if not _NAME.fullmatch(repo_id):
        raise RunError(f"a model on the hub is named owner/name, got {repo_id!r}")
    for file in (MODEL_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise RunError(f"{folder / file} does not exist; is {folder} a finished run?")
    files: dict[str, bytes | str] = {"README.md": write_card(folder, repo_id).encode()}
    files |= {file: str(folder / file) for file in (MODEL_FILE, WEIGHTS_FILE)}
    for file in _PRIVATE:
        if (folder / file).is_file():
            public = _load_public(folder / file)
            files[file] = json.dumps(public, indent=1, ensure_ascii=False).encode()
    hub = import_library(
        "huggingface_hub", "putting a model on the Hugging Face Hub", "augmix[hub]"
    )
    try:
        api = hub.HfApi(token=token)
        api.create_repo(repo_id, private=is_private, exist_ok=True)
        api.create_commit(
            repo_id,
            operations=[
                hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
                for name, content in files.items()
            ],
            commit_message=message,
        )
    except Exception as error:  # the package's own errors, the network's
        raise RunError(
            f"the Hugging Face Hub did not take {repo_id!r}: {first_line(error)}; "
            "log in with `hf auth login`, or pass a token that may write"
        ) from error
    return f"https://huggingface.co/{repo_id}"


def write_card(run: Path, name: str) -> str:
    """Write the model card of a run folder as Markdown, under a name ``owner/name``.

    `model.json` is needed; `config.json` and `results.json` are used if they exist. A damaged file
    is a `RunError`.
    """
    model = load_record(run / MODEL_FILE, ModelFile)
    parts = [
        _FRONT_MATTER,
        f"# {escape_markdown(name)}\n",
        f"A `{escape_markdown(str(model['name']))}` for {model['num_classes']} classes, trained "
        f"with [augmix](https://pypi.org/project/augmix/). It takes images in [0, 1] of "
        f"{model['channels']} channel(s), and normalises them itself.\n",
        "```python\nimport augmix\n\n"
        f"model = augmix.load_model({name!r})  # logits = model(images)\n```\n",
    ]
    if (run / CONFIG_FILE).is_file():
        settings = flatten(_load_public(run / CONFIG_FILE))
        rows = [[escape_markdown(str(word)) for word in entry] for entry in settings.items()]
        lines = [f"| {key} | {value} |" for key, value in rows]
        parts.append("\n".join(["## Training\n", "| setting | value |", "| --- | --- |", *lines]))
    path = run / RESULTS_FILE
    if path.is_file() and load_results(path).num_images:
        parts.append("\n" + re.sub(r"(?m)^#", "##", to_markdown(compare([run]))))
    else:
        parts.append("\n## Robustness\n\nNothing was measured.\n")
    return "\n".join(parts)


def _load_public(path: Path) -> dict[str, Any]:
    """Load `config.json` or `results.json` without private entries and folders."""
    private = _PRIVATE[path.name]

    def publish(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {k: v for k, v in value.items() if isinstance(v, dict) or k not in private}
            return {key: publish(entry) for key, entry in kept.items()}
        if isinstance(value, list):
            return [publish(entry) for entry in value]
        for kind in (PurePosixPath, PureWindowsPath):
            if isinstance(value, str) and kind(value).is_absolute():
                return kind(value).name
        return value

    return publish(load_json(path))
