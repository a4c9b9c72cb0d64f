"""Publishing a model with its card; the hub is a folder behind a module with the same functions."""

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_runs import NAMES, make_run

import augmix
from augmix.errors import RunError
from augmix.models.weights import build_model, load_model, save_model
from augmix.report.hub import write_card
from augmix.results import Results, load_results, write_results


class FakeHub:
    """A hub of folders, with the functions of huggingface_hub that upload."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: list[tuple[str, bool | None]] = []
        self.commits: list[str] = []
        self.tokens: list[str | None] = []
        self.error: Exception | None = None

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
    config = {"schema": 1, "method": "augmix", "epochs": 7, "data": "mine/x", "out": "/home/r"}
    config |= {"stylised": "/home/me/sin", "nested": {"depth": 3, "root": "mine/y"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_files_of_a_published_model(fake: FakeHub, run: Path):
    address = augmix.push_to_hub(run, "me/digits", is_private=True, message="First", token="t")
    assert address == "https://huggingface.co/me/digits"
    assert fake.made == [("me/digits", True)]
    assert fake.commits == ["First"]
    assert fake.tokens == ["t"]
    there = fake.root / "me/digits"
    files = sorted(path.name for path in there.iterdir())
    assert files == ["README.md", "config.json", "model.json", "weights.safetensors"]
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(load_model(there)(images), load_model(run)(images))


def test_paths_and_commands_stay_private(fake: FakeHub, run: Path):
    results = Results(
        model={"name": "small"},
        source={"name": "digits"},
        protocol={"official": ["/home/me/Digits-C", "C:\\\\me\\\\more"]},
        provenance={"command": "augmix evaluate /home/me/run", "python": "3.11"},
    )
    write_results(run / "results.json", results)
    augmix.push_to_hub(run, "me/digits")
    there = fake.root / "me/digits"
    for path in (*there.glob("*.json"), there / "README.md"):
        assert not re.search(rb"/home|mine/|C:", path.read_bytes()), path.name
    config = {"method": "augmix", "epochs": 7, "stylised": "sin", "nested": {"depth": 3}}
    assert json.loads((there / "config.json").read_text()) == config
    published = load_results(there / "results.json")
    assert published.provenance == {"python": "3.11"}
    assert published.protocol == {"official": ["Digits-C", "more"]}
    assert load_results(run / "results.json") == results


def test_without_the_package(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = r"putting a model on the Hugging Face Hub needs huggingface_hub, .*'huggingface-hub>="
    with pytest.raises(RunError, match=message):
        augmix.push_to_hub(run, "me/digits")


def test_what_cannot_be_published(fake: FakeHub, run: Path):
    with pytest.raises(RunError, match=r"named owner/name, got 'digits'"):
        augmix.push_to_hub(run, "digits")
    fake.error = PermissionError("403 Forbidden.\nRequest ID: 1")
    with pytest.raises(RunError, match=r"did not take 'me/x': 403 Forbidden; log in with `hf auth"):
        augmix.push_to_hub(run, "me/x")
    (run / "weights.safetensors").unlink()
    with pytest.raises(RunError, match=r"weights.safetensors does not exist; is .* a finished run"):
        augmix.push_to_hub(run, "me/x")


def test_card_of_an_unmeasured_run(run: Path):
    card = write_card(run, "me/digits")
    assert card.startswith("---\nlibrary_name: augmix\npipeline_tag: image-classification\n")
    assert "\n# me/digits\n" in card
    assert "A `small` for 3 classes" in card
    assert "model = augmix.load_model('me/digits')" in card
    assert "| method | augmix |" in card
    assert "| nested.depth | 3 |" in card
    assert "Nothing was measured" in card
    (run / "config.json").unlink()
    assert "## Training" not in write_card(run, "me/digits")


def test_card_of_a_measured_run(run: Path):
    """Its numbers are those of the report; see `test_exports.py`."""
    folder = run.parent / "measured"
    make_run(folder, names=NAMES[:2], sequences=("tilt",), num_images=100, robust_error=0.5)
    for file in ("model.json", "config.json"):
        shutil.copy(run / file, folder)
    card = write_card(folder, "me/digits")
    assert re.findall(r"(?m)^#+ .*", card)[:4] == [
        "# me/digits",
        "## Training",
        f"## Robustness of {load_results(folder / 'results.json').model['label']}",
        "### Models",
    ]
    for title in ("attack", "tilt", "### Limits"):
        assert title.lower() in card.lower()
    assert "Nothing was measured" not in card


def test_damaged_results(run: Path):
    (run / "results.json").write_text("{")
    with pytest.raises(RunError, match="not valid JSON"):
        write_card(run, "me/digits")
