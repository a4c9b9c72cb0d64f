"""Exported files are read back by other programs than ours and compared with the network."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from augmix.errors import RunError
from augmix.models import export
from augmix.models.export import SUFFIXES, export_model
from augmix.models.layers import Classifier
from augmix.models.weights import build_model

NEEDS_ONNX = "ONNX files are written and read with the extra onnx"
PUBLISHED = (
    "allconv",
    "densenet-40-12",
    "densenet-bc-100-12",
    "wrn-40-2",
    "resnext-29-4x32d",
    "resnext-29-32x4d",
    "resnet18-cifar",
    "resnet18",
    "resnet50",
    "resnet50-maxblur",
    "allconv-maxblur",
    "densenet-40-12-maxblur",
    "wrn-40-2-maxblur",
    "resnext-29-4x32d-maxblur",
)


def build(name: str, **changes) -> Classifier:
    """Build a network whose batch statistics have moved away from their start."""
    torch.manual_seed(0)
    network = build_model(name, **{"num_classes": 5, **changes})
    side = 64 if name.startswith("resnet") and "cifar" not in name else 16
    with torch.no_grad():
        network(torch.rand(4, network.config.channels, side, side))
    return network


def run_onnx(path: Path, images: torch.Tensor) -> torch.Tensor:
    onnxruntime = pytest.importorskip("onnxruntime", reason=NEEDS_ONNX)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"images": images.numpy()})
    return torch.from_numpy(found)


@pytest.mark.parametrize("name", ["wrn-10-1-maxblur"])
def test_onnx_gives_the_same_logits(tmp_path: Path, name: str):
    onnx = pytest.importorskip("onnx", reason=NEEDS_ONNX)
    pytest.importorskip("onnxscript", reason=NEEDS_ONNX)
    network = build(name)
    path = tmp_path / "model.onnx"
    done = export_model(network, path, size=(16, 18))
    assert network.training
    assert done.num_bytes == path.stat().st_size
    assert done.max_difference <= 1e-4
    network.eval()
    for count in (1, 2, 7):  # any number of images; it was traced with two
        images = torch.rand(count, 3, 16, 18)
        with torch.no_grad():
            torch.testing.assert_close(
                run_onnx(path, images), network(images), rtol=1e-4, atol=1e-4
            )
    graph = onnx.load(path).graph
    dims = [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 3, 16, 18]
    onnx.checker.check_model(path, full_check=True)
    facts = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}
    assert facts["augmix"]["name"] == name
    assert str(Path(export.__file__).parent).encode() not in path.read_bytes()


@pytest.mark.parametrize("name", ["small", "resnext-11-2x2d-maxblur"])
def test_torch_export_gives_the_same_logits(tmp_path: Path, name: str):
    network = build(name, channels=1).eval()
    path = tmp_path / "new" / "model.pt2"
    export_model(network, path, format="torch-export", size=(16, 16))
    found = torch.export.load(path).module()
    for count in (1, 2, 7):
        images = torch.rand(count, 1, 16, 16)
        with torch.no_grad():
            torch.testing.assert_close(found(images), network(images), rtol=1e-4, atol=1e-4)


def test_safetensors_describe_themselves(tmp_path: Path):
    network = build("densenet-bc-10-4-maxblur", dropout=0.2, blur_size=3).eval()
    path = tmp_path / "model.safetensors"
    done = export_model(network, path, format="safetensors")
    assert done.max_difference == 0
    assert done.size == (32, 32)
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["augmix"])
    config = json.loads(json.dumps(asdict(network.config)))
    assert {name: description[name] for name in config} == config
    assert json.loads((tmp_path / "model.safetensors.json").read_text()) == description
    assert description["images"]["shape"] == ["batch", 3, 32, 32]
    assert description["preprocessing"]["resize"] == description["preprocessing"]["crop"] == 32
    weights = load_file(path)
    assert all(torch.equal(weights[key], value) for key, value in network.state_dict().items())


def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    network = build("small")

    def write_wrongly(network: Classifier, images: torch.Tensor, described: str):
        return b"file", lambda batch: network(batch) + 2e-4

    monkeypatch.setitem(export._WRITERS, "safetensors", write_wrongly)
    with pytest.raises(RunError, match=r"differ by up to 0.0002 where 0.0001 of .* nothing was wr"):
        export_model(network, tmp_path / "x", format="safetensors")

    def write_nan(network: Classifier, images: torch.Tensor, described: str):
        return b"file", lambda batch: network(batch) * float("nan")

    monkeypatch.setitem(export._WRITERS, "safetensors", write_nan)
    with pytest.raises(RunError, match="differ by up to nan"):
        export_model(network, tmp_path / "x", format="safetensors")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    network = build("allconv")
    with pytest.raises(ValueError, match="'allconv' takes images of at least 12x12 pixels, got 8x"):
        export_model(network, tmp_path / "x", format="safetensors", size=(8, 8))
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot make the folder .*file"):
        export_model(network, tmp_path / "file" / "x", format="safetensors")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RunError, match=r"needs onnxruntime, which .*'onnxruntime>="):
        export_model(network, tmp_path / "x.onnx", size=(16, 16))


@pytest.mark.parametrize("kind", [torch.onnx.OnnxExporterError, RuntimeError])
def test_what_this_torch_cannot_write_as_onnx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[RuntimeError]
):
    def refuse(*arguments: object, **options: object) -> None:
        raise kind("no such operator\nmany more lines")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(RunError, match=r"torch .* cannot write 'small' as ONNX: no such op.*; a n"):
        export_model(build("small"), tmp_path / "x.onnx", size=(16, 16))
    assert list(tmp_path.iterdir()) == []


# A process without the shape checker, whose wrappers torch.compile cannot trace.
_COMPILE = """
import sys, warnings, torch
from augmix.models.weights import build_model
backend, *names = sys.argv[1:]
for name in names:
    torch.manual_seed(0)
    size = 64 if name.startswith("resnet") and "cifar" not in name else 32
    model, images = build_model(name, num_classes=5, dropout=0.0), torch.rand(2, 3, size, size)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    grads = []
    for network in (model, compiled):
        model.zero_grad()
        network(images).square().mean().backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    for ours, theirs in zip(*grads):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3 * float(ours.abs().max()))
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), model(images), rtol=1e-3, atol=1e-4)
    print(name, flush=True)
"""


def compile_all(backend: str, names: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _COMPILE, backend, *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == list(names)


def test_compiles_as_one_graph():
    compile_all("eager", ("small-maxblur",))


@pytest.mark.slow
def test_every_network_compiles_as_one_graph():
    compile_all("aot_eager", PUBLISHED)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="machine code is made by a C++ compiler")
def test_compiles_to_machine_code():
    compile_all("inductor", ("small-maxblur",))


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_network_is_exported(tmp_path: Path, name: str):
    pytest.importorskip("onnxscript", reason=NEEDS_ONNX)
    network = build(name).eval()
    size = (64, 64) if name.startswith("resnet") and "cifar" not in name else (32, 32)
    images = torch.rand(3, 3, *size)
    with torch.no_grad():
        expected = network(images)
    for format, suffix in SUFFIXES.items():
        path = tmp_path / f"model{suffix}"
        done = export_model(network, path, format=format, size=size)
        assert done.max_difference <= 1e-4 * max(1, done.largest_logit)
    found = run_onnx(tmp_path / "model.onnx", images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    program = torch.export.load(io.BytesIO((tmp_path / "model.pt2").read_bytes()))
    with torch.no_grad():
        np.testing.assert_allclose(program.module()(images), expected, rtol=1e-4, atol=1e-4)
