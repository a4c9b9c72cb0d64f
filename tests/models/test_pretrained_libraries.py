"""Stand-ins take the place of the libraries, so that each path runs without them."""

import enum
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from augmix.errors import RunError
from augmix.models.open_model import open_subject
from augmix.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, PRESETS, Preprocessing
from augmix.models.wrapper import hash_weights

IMAGES = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}


class Linear(nn.Module):
    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fc = nn.Linear(3, num_classes)

    def forward(self, images):
        return self.fc(images.mean((2, 3)))


def fake(monkeypatch, name: str, **members) -> ModuleType:
    module = ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)
    return module


@pytest.fixture
def timm(monkeypatch):
    def create_model(name, pretrained=False, num_classes=1000):
        if name not in ("resnet50.tv_in1k", "resnet50", "hf-hub:timm/some@v2"):
            raise RuntimeError(f"Unknown model ({name})")
        torch.manual_seed(11)
        model = Linear(num_classes)
        model.is_pretrained = pretrained
        return model

    config = {"input_size": (3, 299, 299), "crop_pct": 0.95, "interpolation": "bicubic", **HALF}
    data = SimpleNamespace(resolve_model_data_config=lambda model: config)
    return fake(
        monkeypatch,
        "timm",
        create_model=create_model,
        list_models=lambda pretrained: ["resnet50.tv_in1k", "vit_base"],
        data=data,
    )


def test_timm(timm):
    subject = open_subject("timm:resnet50.tv_in1k")
    assert subject.network.is_pretrained
    assert (subject.name, subject.num_classes) == ("timm:resnet50.tv_in1k", 1000)
    wanted = Preprocessing(crop=299, resize=314, interpolation="bicubic", **HALF)
    assert subject.preprocessing == wanted
    assert torch.allclose(subject(IMAGES), subject.network((IMAGES - 0.5) / 0.5))
    assert subject.fingerprint == hash_weights(subject.network)
    stated = open_subject("timm:resnet50.tv_in1k", preprocessing=PRESETS["none"])
    assert stated.preprocessing is PRESETS["none"]
    with pytest.raises(RunError, match=r"Unknown model .*did you mean 'resnet50.tv_in1k'"):
        open_subject("timm:resnet50.tv_in1")


def test_timm_with_weights_of_a_file(timm, tmp_path):
    mine = Linear(7)
    torch.save({"state_dict": mine.state_dict()}, tmp_path / "mine.pt")
    subject = open_subject(f"timm:resnet50@{tmp_path}/mine.pt", preprocessing=PRESETS["none"])
    assert not subject.network.is_pretrained
    assert subject.num_classes == 7
    assert torch.equal(subject(IMAGES), mine(IMAGES))


class Weights(enum.Enum):
    IMAGENET1K_V1 = 256
    IMAGENET1K_V2 = 232
    DEFAULT = 232

    @property
    def meta(self):
        return {"categories": ["x"] * 1000}

    def transforms(self):
        return SimpleNamespace(
            crop_size=[224],
            resize_size=[self.value],
            interpolation=SimpleNamespace(value="bilinear"),
            mean=list(IMAGENET_MEAN),
            std=list(IMAGENET_STD),
        )


@pytest.fixture
def torchvision(monkeypatch):
    def get_model_weights(name):
        if name != "resnet50":
            raise ValueError(f"Unknown model {name}")
        return Weights

    def get_model(name, weights=None, num_classes=1000):
        torch.manual_seed(0 if weights is None else weights.value)
        return Linear(num_classes)

    models = fake(
        monkeypatch,
        "torchvision.models",
        get_model=get_model,
        get_model_weights=get_model_weights,
        list_models=lambda module: ["resnet50", "vgg16"],
    )
    fake(monkeypatch, "torchvision", models=models)


def test_torchvision(torchvision):
    subject = open_subject("torchvision:resnet50")
    assert (subject.name, subject.num_classes) == ("torchvision:resnet50:IMAGENET1K_V2", 1000)
    assert (subject.preprocessing.resize, subject.preprocessing.crop) == (232, 224)
    first = open_subject("torchvision:resnet50:IMAGENET1K_V1")
    assert first.preprocessing == PRESETS["imagenet"]
    assert first.fingerprint != subject.fingerprint
    with pytest.raises(RunError, match="has the weights IMAGENET1K_V1, .* got 'IMAGENET_V1', did"):
        open_subject("torchvision:resnet50:IMAGENET_V1")
    with pytest.raises(RunError, match="Unknown model resnet5, did you mean 'resnet50'"):
        open_subject("torchvision:resnet5")


def test_torchvision_with_weights_of_a_file(torchvision, tmp_path):
    mine = Linear(5)
    torch.save(
        {"module." + key: value for key, value in mine.state_dict().items()}, tmp_path / "mine.pt"
    )
    subject = open_subject(f"torchvision:resnet50@{tmp_path}/mine.pt")
    assert subject.num_classes == 5
    assert subject.preprocessing == PRESETS["imagenet"]
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))
    assert torch.allclose(subject(IMAGES), mine((IMAGES - mean) / std), atol=1e-6)


class Classifier(nn.Module):
    """Has the face of a transformers image classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_labels=4)
        self.head = nn.Linear(3, 4)

    def forward(self, pixel_values):
        return SimpleNamespace(logits=self.head(pixel_values.mean((2, 3))))


class EntryNotFoundError(Exception):
    pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub of files named OWNER/NAME@REVISION/FILE."""

    def hf_hub_download(repo, file, revision=None):
        folder = tmp_path / f"{repo}@{revision or 'main'}".replace("/", "--")
        if not folder.is_dir():
            raise OSError(f"404 Client Error for {repo}\nand more lines")
        if not (folder / file).is_file():
            raise EntryNotFoundError(file)
        return str(folder / file)

    def put(name: str, **files):
        folder = tmp_path / name.replace("/", "--")
        folder.mkdir()
        for file, content in files.items():
            (folder / f"{file}.json").write_text(json.dumps(content))
        return folder

    fake(monkeypatch, "huggingface_hub", hf_hub_download=hf_hub_download)
    put.calls = []

    def from_pretrained(repo, revision):
        put.calls.append((repo, revision))
        torch.manual_seed(1)
        return Classifier()

    auto = SimpleNamespace(from_pretrained=from_pretrained)
    fake(monkeypatch, "transformers", AutoModelForImageClassification=auto)
    return put


VIT = {"size": {"height": 8, "width": 8}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def test_transformers(hub):
    hub("some/vit@main", config={"architectures": ["ViT"]}, preprocessor_config=VIT)
    subject = open_subject("hf:some/vit")
    assert hub.calls == [("some/vit", "main")]
    assert (subject.name, subject.num_classes) == ("hf:some/vit", 4)
    assert subject.preprocessing == Preprocessing(crop=8, resize=8, squash=True, **HALF)
    wanted = subject.network.model((IMAGES - 0.5) / 0.5).logits
    assert torch.allclose(subject(IMAGES), wanted)


def test_transformers_at_a_revision_or_in_a_folder(hub):
    folder = hub("some/vit@v1", config={"architectures": ["ViT"]}, preprocessor_config=VIT)
    open_subject("hf:some/vit@v1")
    here = folder.rename(folder.parent / "here")
    open_subject(f"hf:{here}")
    assert hub.calls == [("some/vit", "v1"), (str(here), "main")]


def test_a_repository_of_timm(hub, timm):
    hub("timm/some@v2", config={"architecture": "resnet50"})
    subject = open_subject("hf:timm/some@v2")
    assert subject.network.is_pretrained
    assert (subject.name, subject.num_classes) == ("hf:timm/some@v2", 1000)
    assert hub.calls == []


def test_repositories_that_cannot_be_used(hub):
    hub("some/text@main", nothing={})
    with pytest.raises(RunError, match="hf:some/text: there is no config.json; is some/text a mod"):
        open_subject("hf:some/text")
    hub("some/bare@main", config={"architectures": ["ViT"]})
    with pytest.raises(RunError, match="does not state how its images are prepared .*--preproc"):
        open_subject("hf:some/bare")
    assert open_subject("hf:some/bare", preprocessing=PRESETS["half"]).num_classes == 4
    with pytest.raises(
        RunError, match="hf:no/where cannot be fetched: OSError: 404 .*no/where; is"
    ):
        open_subject("hf:no/where")


@pytest.mark.parametrize(
    ("spec", "module", "package"),
    [
        ("timm:x", "timm", "timm"),
        ("torchvision:x", "torchvision.models", "torchvision"),
        ("hf:a/b", "huggingface_hub", "huggingface-hub"),
    ],
)
def test_without_the_package_the_command_is_told(spec, module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RunError, match=f"{spec} needs {package}, .*pip install {package}"):
        open_subject(spec)


def test_transformers_is_asked_for_when_it_is_needed(hub, monkeypatch):
    hub("some/vit@main", config={"architectures": ["ViT"]}, preprocessor_config=VIT)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(RunError, match="hf:some/vit needs transformers, .*pip install transformer"):
        open_subject("hf:some/vit")


def test_a_library_that_cannot_be_imported(tmp_path, monkeypatch):
    """As torchvision does when it was made for another version of torch."""
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(
        RunError, match="cannot be imported .RuntimeError: operator nms .* of torch"
    ):
        open_subject("timm:x")
