import pytest
import torch
from safetensors.torch import save_file

from augmix.errors import RunError
from augmix.models.open_model import open_subject
from augmix.models.preprocessing import PRESETS, choose_preprocessing
from augmix.models.weights import build_model, save_model
from augmix.models.wrapper import hash_weights

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(3)
    model = build_model("small", num_classes=4).eval()
    save_model(tmp_path, model)
    return tmp_path, model


def test_a_run_folder(run):
    folder, model = run
    subject = open_subject(folder)
    assert torch.equal(subject(IMAGES), model(IMAGES))
    assert (subject.name, subject.num_classes, subject.preprocessing) == ("small", 4, None)
    assert subject.fingerprint == hash_weights(model)
    assert not subject.training
    assert open_subject(str(folder), num_classes=4).num_classes == 4
    with pytest.raises(RunError, match="small gives 4 classes, expected 10; .*--class-list"):
        open_subject(folder, num_classes=10)


def test_a_run_normalises_by_itself(run):
    folder, model = run
    geometry = choose_preprocessing("none", crop=16)
    subject = open_subject(folder, preprocessing=geometry)
    assert subject.preprocessing is geometry
    assert torch.equal(subject(IMAGES), model(IMAGES))
    with pytest.raises(RunError, match="small normalises its images by itself; state geometry"):
        open_subject(folder, preprocessing=PRESETS["half"])


def test_a_network_by_name_with_weights(run, tmp_path):
    folder, model = run
    save_file(model.state_dict(), tmp_path / "mine.safetensors")
    subject = open_subject(f"small@{tmp_path}/mine.safetensors")
    assert torch.equal(subject(IMAGES), model(IMAGES))
    assert (subject.name, subject.num_classes) == ("small@mine.safetensors", 4)
    assert subject.fingerprint == open_subject(folder).fingerprint
    half = open_subject(f"small@{tmp_path}/mine.safetensors", preprocessing=PRESETS["half"])
    assert torch.allclose(half(IMAGES), model(IMAGES), atol=1e-6)  # 0.5 is what is usual for it
    none = open_subject(f"small@{tmp_path}/mine.safetensors", preprocessing=PRESETS["none"])
    assert torch.allclose(none((IMAGES - 0.5) / 0.5), model(IMAGES), atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tim:resnet50", "got 'tim:resnet50', did you mean 'timm'"),
        ("onnx:", "expected onnx:FILE, got 'onnx:'"),
        ("smal@weights.pt", "the weights file weights.pt does not exist"),
        ("runs/nowhere", "runs/nowhere does not exist; a model is a run folder or one of hub:"),
    ],
)
def test_texts_that_name_nothing(spec, message):
    with pytest.raises((ValueError, RunError), match=message):
        open_subject(spec)


def test_a_folder_is_a_folder_whatever_its_name(run):
    folder, _ = run
    odd = folder.rename(folder.parent / "timm:x@y")
    assert open_subject(str(odd)).name == "small"


def test_a_model_on_the_hub(run, monkeypatch):
    folder, _ = run
    from augmix.models import hub

    asked = []
    monkeypatch.setattr(hub, "fetch", lambda name, revision="": asked.append(name) or folder)
    assert open_subject("hub:somebody/something").name == "small"
    assert asked == ["hub:somebody/something"]
