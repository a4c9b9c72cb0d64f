"""What `docs/models.md` shows is run at toy size; commands of absent libraries are parsed."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from toy_runs import toy_config, write_npz

from augmix.evaluation.config import Measurement
from augmix.evaluation.models import run_measurement
from augmix.flags import parse
from augmix.models import list_networks
from augmix.models.open_model import PREFIXES
from augmix.models.preprocessing import PRESETS, choose_preprocessing
from augmix.models.weights import build_model
from augmix.training.run import train

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "models.md").read_text()
TOY = ["--max-images", "4", "--names", "contrast", "--severities", "3", "--batch-size", "2"]
LIBRARIES = ("timm:", "torchvision:", "hf:")


def blocks(language: str) -> str:
    """The content of all blocks of a language, "" for those that name none."""
    parts = re.split(r"^```(\w*)\n", PAGE, flags=re.MULTILINE)  # text, language, content, "", text
    opened = range(1, len(parts), 4)
    return "\n".join(parts[index + 1] for index in opened if parts[index] == language)


def commands() -> list[list[str]]:
    lines = (blocks("bash") + "\n" + blocks("")).replace("\\\n", "").splitlines()
    return [shlex.split(line)[2:] for line in lines if line.startswith("augmix evaluate ")]


def is_run(words: list[str]) -> bool:
    return not words[0].startswith(LIBRARIES) and "DIR" not in words


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Path:
    """A folder with everything the page names."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "runs").mkdir()
    write_npz(folder / "elsewhere.npz", seed=1)
    for name in ("mine", "other"):
        train(toy_config(folder / "runs" / name, epochs=1, method="standard"))
    rng = np.random.default_rng(0)
    for name in ("n01440764", "n01443537"):
        (folder / "photos" / name).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 256, (70, 80, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{index}.png")
    listing = re.search(r"^```\n(0 n01440764.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert listing
    (folder / "classes.txt").write_text(listing[1] + "999 n15075141 toilet_tissue\n")
    small = build_model("small", num_classes=2)
    save_file(small.state_dict(), folder / "mine.safetensors")
    large = build_model("resnet18", num_classes=2)
    torch.save({"state_dict": large.state_dict()}, folder / "checkpoint.pth.tar")
    (folder / "mymodels.py").write_text(blocks("python"))
    write_onnx(folder / "model.onnx")
    return folder


def write_onnx(path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="writes the page's model.onnx")
    pytest.importorskip("onnxruntime", reason="extra onnx is not installed")
    helper, element = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["means"]),
            helper.make_node("Flatten", ["means"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        ],
        "page",
        [helper.make_tensor_value_info("images", element, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("logits", element, ["n", 2])],
        [helper.make_tensor("weight", element, (3, 2), list(range(6)))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("words", [words for words in commands() if is_run(words)], ids=" ".join)
def test_commands_run(bench, monkeypatch, words):
    monkeypatch.chdir(bench)
    torch.manual_seed(0)
    config = parse(
        Measurement,
        "evaluate",
        [*words, *TOY, *(["--sequences", "translate"] if "p" in words else [])],
    )
    results = run_measurement(config)
    assert (config.folder / "results.json").is_file()
    measured = [(cell.suite, cell.name) for cell in results.cells]
    assert measured == [("clean", "clean"), ("c", "contrast")]
    assert len(results.sequences) == ("p" in config.how.suite)
    assert bool(results.temperature) == ("--temperature-images" in words)
    num_classes = 1000 if "classes.txt" in words and "--restrict" not in words else None
    assert num_classes in (None, results.source["num_classes"])


@pytest.mark.parametrize(
    "words", [words for words in commands() if not is_run(words)], ids=" ".join
)
def test_other_commands_are_well_formed(words):
    config = parse(Measurement, "evaluate", words)
    kind, _, _ = config.models[0].partition(":")
    assert kind in PREFIXES


def test_the_tables_are_those_of_the_code():
    forms = re.findall(r"^\| `(\w+):", PAGE, re.MULTILINE)
    assert sorted(forms) == sorted(PREFIXES)
    named = re.findall(
        r"^\| `([a-z-]+)` \| (?:as stored|(\d+), (\d+)) \| (\w*)", PAGE, re.MULTILINE
    )
    assert [row[0] for row in named] == list(PRESETS)
    for name, resize, crop, filter_name in named:
        preset = choose_preprocessing(name)
        assert (preset.resize, preset.crop) == (int(resize or 0), int(crop or 0))
        assert not filter_name or preset.interpolation == filter_name


def test_networks_named_are_there():
    for name in re.findall(r"augmix evaluate ([\w.-]+)@", PAGE):
        assert name in list_networks()


def test_files_named_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
