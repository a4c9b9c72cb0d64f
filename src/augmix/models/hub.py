"""Models on the Hugging Face Hub: found by name, fetched, and put there with a model card.

Only `model.json` and `weights.safetensors` are fetched, neither of which can run code. The package
`huggingface_hub` (extra ``hub``) is loaded when the hub is asked for the first time.
"""

import importlib
import json
import re
from pathlib import Path
from typing import Any

from augmix import records
from augmix.models.card import write_card
from augmix.records import RunError

_PREFIX = "hub:"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_FILES = (records.MODEL_FILE, records.WEIGHTS_FILE)


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
            f"{hint}{repo!r} cannot be fetched from the Hugging Face Hub: {_first_line(error)}; "
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
            f"the Hugging Face Hub did not take {repo_id!r}: {_first_line(error)}; "
            "log in with `hf auth login`, or give a token that may write"
        ) from error
    return f"https://huggingface.co/{repo_id}"


def _public_records(run: Path) -> dict[str, bytes | str]:
    """`config.json` and `results.json`, where they are, without what only this machine knows."""
    files: dict[str, bytes | str] = {}
    for file in (records.CONFIG_FILE, records.RESULTS_FILE):
        if (run / file).is_file():
            plain = records.load_json(run / file)
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


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
