import argparse

import pytest
import torch
from safetensors.torch import save_file

from augmix.errors import RunError
from augmix.models.open_model import open_subject
from augmix.models.weights import build_model, load_state

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    torch.manual_seed(5)
    return build_model("wrn-10-1", num_classes=7).eval()


def prefixed(state: dict, prefix: str) -> dict:
    return {prefix + key: value for key, value in state.items()}


def wrappings(state: dict) -> dict[str, dict]:
    """What training scripts save; the first is that of AugMix's released code."""
    return {
        "released": {
            "epoch": 3,
            "model": "wrn",
            "state_dict": prefixed(state, "module."),
            "best_acc": 0.5,
            "optimizer": {"state": {}},
        },
        "plain": state,
        "compiled": prefixed(state, "module._orig_mod."),
        "compiled-first": prefixed(state, "_orig_mod.module."),
        "nested": {"model": {"state_dict": state}},
        "counters-missing": {
            key: value for key, value in state.items() if "num_batches" not in key
        },
    }


@pytest.mark.parametrize(
    "kind", ["released", "plain", "compiled", "compiled-first", "nested", "counters-missing"]
)
def test_wrappings_are_undone(model, tmp_path, kind):
    torch.save(wrappings(model.state_dict())[kind], tmp_path / "model.pth.tar")
    before = torch.random.get_rng_state()
    subject = open_subject(f"wrn-10-1@{tmp_path}/model.pth.tar")
    assert torch.equal(subject(IMAGES), model(IMAGES))
    assert subject.num_classes == 7
    assert torch.equal(torch.random.get_rng_state(), before)


def test_grey_images(tmp_path):
    grey = build_model("small", num_classes=3, channels=1).eval()
    save_file(grey.state_dict(), tmp_path / "grey.safetensors")
    subject = open_subject(f"small@{tmp_path}/grey.safetensors")
    assert torch.equal(subject(IMAGES[:, :1]), grey(IMAGES[:, :1]))


def test_files_that_would_run_code_are_refused(model, tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"state_dict": model.state_dict(), "args": argparse.Namespace(lr=1)}, path)
    with pytest.raises(RunError, match="holds more than tensors, and reading it would run code"):
        load_state(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pt", b"not torch", "is damaged or no file of torch.save|holds more than tensors"),
        ("a.safetensors", b"short", "is damaged or no safetensors file"),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=message):
        load_state(tmp_path / name)


def test_files_without_weights(tmp_path):
    torch.save({"epoch": 3, "note": "x"}, tmp_path / "a.pt")
    with pytest.raises(RunError, match="expected tensors by name, .* got epoch, note"):
        load_state(tmp_path / "a.pt")
    torch.save([1], tmp_path / "a.pt")
    with pytest.raises(RunError, match="got .*list"):
        load_state(tmp_path / "a.pt")
    with pytest.raises(RunError, match="is a folder"):
        load_state(tmp_path)


def test_another_network_is_refused(model, tmp_path):
    state = model.state_dict()
    path = tmp_path / "a.pt"
    torch.save(state, path)
    with pytest.raises(RunError, match="a.pt does not fit small: expected 32 .*unknown: .*and"):
        open_subject(f"small@{path}")
    torch.save(build_model("wrn-10-2", num_classes=7).state_dict(), path)
    with pytest.raises(RunError, match=r"does not fit wrn-10-3: .* must have shape \(.*got"):
        open_subject(f"wrn-10-3@{path}")
    torch.save({key: value for key, value in state.items() if "head" not in key}, path)
    with pytest.raises(RunError, match="expected its last layer as .*head"):
        open_subject(f"wrn-10-1@{path}")
    with pytest.raises(ValueError, match="got 'wr-10-1', did you mean 'wrn-"):
        open_subject(f"wr-10-1@{path}")


def test_imagenet_networks_state_their_geometry(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "a.pt")
    assert open_subject(f"wrn-10-1@{tmp_path}/a.pt").preprocessing is None
    torch.manual_seed(0)
    large = build_model("resnet18", num_classes=3).eval()
    torch.save(large.state_dict(), tmp_path / "b.pt")
    subject = open_subject(f"resnet18@{tmp_path}/b.pt")
    assert (subject.preprocessing.resize, subject.preprocessing.crop) == (256, 224)
    images = torch.rand(1, 3, 64, 64)
    assert torch.allclose(subject(images), large(images), atol=1e-5)
