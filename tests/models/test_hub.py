"""Models on the hub, which here is a folder behind a module with the package's functions."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import augmix
from augmix.errors import RunError
from augmix.models import hub
from augmix.models.weights import build_model, load_model, save_model
from augmix.results import Results, load_results, write_results


class FakeHub:
    """Repositories as folders; refuses what the real one refuses, and counts nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: list[tuple[str, bool | None]] = []
        self.commits: list[str] = []
        self.tokens: list[str | None] = []
        self.revisions: list[str | None] = []
        self.error: Exception | None = None

    def snapshot_download(
        self, repo_id: str, *, revision: str | None = None, allow_patterns: list[str]
    ) -> str:
        self.revisions.append(revision)
        if self.error:
            raise self.error
        if not (self.root / repo_id).is_dir():
            raise FileNotFoundError(f"404: no repository {repo_id}.\nRequest ID: 1")
        cache = self.root / "cache" / repo_id
        cache.mkdir(parents=True, exist_ok=True)
        for name in allow_patterns:
            if (self.root / repo_id / name).exists():
                shutil.copy(self.root / repo_id / name, cache)
        return str(cache)

    def HfApi(self, *, token: str | None = None) -> "FakeHub":
        self.tokens.append(token)
        return self

    def create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> None:
        assert exist_ok
        if self.error:
            raise self.error
        self.made.append((repo_id, private))
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)

    def CommitOperationAdd(self, path_in_repo: str, path_or_fileobj: Any) -> SimpleNamespace:
        return SimpleNamespace(path=path_in_repo, content=path_or_fileobj)

    def create_commit(self, repo_id: str, operations: list, *, commit_message: str) -> None:
        self.commits.append(commit_message)
        for each in operations:
            data = each.content
            data = data if isinstance(data, bytes) else Path(data).read_bytes()
            (self.root / repo_id / each.path).write_bytes(data)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    found = FakeHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", found)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    torch.manual_seed(0)
    save_model(folder, build_model("small", num_classes=3))
    config = {"schema": 1, "method": "augmix", "epochs": 7, "data": "/home/me/x", "out": "/home/r"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_what_is_put_there_comes_back(fake: FakeHub, run: Path):
    address = augmix.push_to_hub(run, "me/digits", is_private=True, message="First", token="t")
    assert address == "https://huggingface.co/me/digits"
    assert fake.made == [("me/digits", True)]
    assert fake.commits == ["First"]
    assert fake.tokens == ["t"]
    files = sorted(path.name for path in (fake.root / "me/digits").iterdir())
    assert files == ["README.md", "config.json", "model.json", "weights.safetensors"]
    images = torch.rand(2, 3, 16, 16)
    for name in ("me/digits", "hub:me/digits"):
        model = augmix.load_model(name, revision="v1")
        assert torch.equal(model(images), load_model(run)(images))
    assert fake.revisions == ["v1", "v1"]
    cached = sorted(path.name for path in (fake.root / "cache/me/digits").iterdir())
    assert cached == ["model.json", "weights.safetensors"]


def test_nothing_of_this_machine_is_put_there(fake: FakeHub, run: Path):
    results = Results(
        model={"name": "small"},
        source={"name": "digits"},
        protocol={},
        provenance={"command": "augmix evaluate /home/me/run", "python": "3.11"},
    )
    write_results(run / "results.json", results)
    augmix.push_to_hub(run, "me/digits")
    for path in (fake.root / "me/digits").iterdir():
        assert b"/home" not in path.read_bytes(), path.name
    there = fake.root / "me/digits"
    assert json.loads((there / "config.json").read_text())["epochs"] == 7
    assert load_results(there / "results.json").provenance == {"python": "3.11"}
    assert load_results(run / "results.json").provenance["command"].startswith("augmix")


def test_folders_come_first(fake: FakeHub, run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(run.parent.parent)
    assert load_model(f"{run.parent.name}/{run.name}").config.num_classes == 3
    assert fake.revisions == []


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("hub:me/digits", True),
        ("hub:digits", True),
        ("me/digits", True),
        ("me/my.net-2_x", True),
        (Path("me/digits"), False),
        ("digits", False),
        ("/me/digits", False),
        ("./digits", False),
        ("../digits", False),
        ("runs/me/digits", False),
        ("runs/me/", False),
    ],
)
def test_which_texts_name_a_model_on_the_hub(where: str | Path, expected: bool):
    assert hub.is_hub_id(where) is expected


def test_missing_models_say_where_was_looked(fake: FakeHub):
    with pytest.raises(
        RunError,
        match=r"^there is no folder 'runs/typo', and 'runs/typo' cannot be fetched from the "
        r"Hugging Face Hub: 404: no repository runs/typo; look at the name and the network$",
    ):
        load_model("runs/typo")
    with pytest.raises(RunError, match=r"^'runs/typo' cannot be fetched"):
        load_model("hub:runs/typo")
    with pytest.raises(RunError, match=r"named owner/name, got 'typo'"):
        load_model("hub:typo")


def test_models_of_others_are_refused(fake: FakeHub):
    (fake.root / "me/other").mkdir(parents=True)
    (fake.root / "me/other/model.json").write_text("{}")
    with pytest.raises(RunError, match=r"has no weights.safetensors: it is no model of this pack"):
        load_model("me/other")


def test_without_the_package(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    way_out = r"needs the package huggingface_hub; install it with: pip install 'augmix\[hub\]'"
    with pytest.raises(RunError, match=r"no folder 'me/digits', and a model .*" + way_out):
        load_model("me/digits")
    with pytest.raises(RunError, match=r"putting a model on the Hugging Face Hub " + way_out):
        augmix.push_to_hub(run, "me/digits")


def test_what_cannot_be_put_there(fake: FakeHub, run: Path):
    with pytest.raises(RunError, match=r"named owner/name, got 'digits'"):
        augmix.push_to_hub(run, "digits")
    fake.error = PermissionError("403 Forbidden.\nRequest ID: 1")
    with pytest.raises(RunError, match=r"did not take 'me/x': 403 Forbidden; log in with `hf auth"):
        augmix.push_to_hub(run, "me/x")
    (run / "weights.safetensors").unlink()
    with pytest.raises(RunError, match=r"weights.safetensors does not exist; is .* a finished run"):
        augmix.push_to_hub(run, "me/x")
