"""Stand-ins replace the libraries, so that every path runs without them."""

import enum
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from augmix.errors import RunError
from augmix.models.open_model import from_timm, from_torchvision, open_model
from augmix.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, PRESETS, Preprocessing
from augmix.models.wrapper import hash_weights

USUAL = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
TIMM = {"input_size": (3, 224, 224), "interpolation": "bicubic", "crop_pct": 0.875, **USUAL}


def test_timm_preprocessing():
    usual = Preprocessing(crop=224, resize=256, interpolation="bicubic", **USUAL)
    assert from_timm(TIMM, where="x") == usual
    inception = {"input_size": (3, 299, 299), "crop_pct": 0.95, "interpolation": "bilinear", **HALF}
    assert from_timm(inception, where="x") == Preprocessing(crop=299, resize=314, **HALF)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": (3, 224, 192)}, "224 x 192, which are not square"),
        ({"crop_mode": "border"}, "a crop of mode 'border'"),
        ({"interpolation": "random"}, "interpolation 'random'"),
    ],
    ids=["wide", "border", "random"],
)
def test_what_cannot_be_said_of_timm(change, message):
    with pytest.raises(RunError, match=f"timm:x asks for .*{message}.*--preprocessing"):
        from_timm({**TIMM, **change}, where="timm:x")


def test_torchvision_preprocessing():
    transform = SimpleNamespace(
        crop_size=[224],
        resize_size=[232],
        interpolation=SimpleNamespace(value="bilinear"),
        mean=list(IMAGENET_MEAN),
        std=list(IMAGENET_STD),
    )
    wanted = Preprocessing(crop=224, resize=232, **USUAL)
    assert from_torchvision(transform, where="resnet50") == wanted
    with pytest.raises(RunError, match="resnet50 asks for .*which this package cannot do"):
        from_torchvision(SimpleNamespace(crop_size=[224, 192]), where="resnet50")


HALF_LISTS = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
IMAGES = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


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
        model.has_test_size = name == "resnet50"
        return model

    config = {"input_size": (3, 299, 299), "crop_pct": 0.95, "interpolation": "bicubic", **HALF}

    def resolve(model, use_test_size=False):
        tested = {"input_size": (3, 320, 320), "crop_pct": 1.0} if use_test_size else {}
        return config | (tested if getattr(model, "has_test_size", False) else {})

    data = SimpleNamespace(resolve_model_data_config=resolve)
    return fake(
        monkeypatch,
        "timm",
        create_model=create_model,
        list_models=lambda pretrained: ["resnet50.tv_in1k", "vit_base"],
        data=data,
    )


def test_timm(timm):
    model = open_model("timm:resnet50.tv_in1k")
    assert model.network.is_pretrained
    assert (model.name, model.num_classes) == ("timm:resnet50.tv_in1k", 1000)
    wanted = Preprocessing(crop=299, resize=314, interpolation="bicubic", **HALF)
    assert model.preprocessing == wanted
    assert torch.allclose(model(IMAGES), model.network((IMAGES - 0.5) / 0.5))
    assert model.fingerprint == hash_weights(model.network)
    stated = open_model("timm:resnet50.tv_in1k", preprocessing=PRESETS["none"])
    assert stated.preprocessing is PRESETS["none"]
    with pytest.raises(RunError, match=r"Unknown model .*did you mean 'resnet50.tv_in1k'"):
        open_model("timm:resnet50.tv_in1")


def test_the_size_that_timm_tested_at_is_said_and_offered(timm):
    usual = open_model("timm:resnet50")
    assert usual.preprocessing.crop == 299
    assert usual.note == (
        "timm:resnet50 is measured at 299x299; it was tested at 320x320 too: --test-input-size"
    )
    tested = open_model("timm:resnet50", test_input_size=True)
    assert (tested.preprocessing.crop, tested.preprocessing.resize, tested.note) == (320, 320, "")
    assert open_model("timm:resnet50.tv_in1k").note == ""
    with pytest.raises(ValueError, match="timm:resnet50.tv_in1k has one input size, 299x299"):
        open_model("timm:resnet50.tv_in1k", test_input_size=True)
    with pytest.raises(ValueError, match="test_input_size is of timm's models, got small"):
        open_model("small", num_classes=3, test_input_size=True)


def test_timm_without_weights(timm):
    model = open_model("timm:resnet50", num_classes=7, pretrained=False)
    assert not model.network.is_pretrained
    assert model(IMAGES).shape == (2, 7)
    assert open_model("timm:resnet50", pretrained=False).num_classes == 1000
    with pytest.raises(RunError, match="gives 1000 classes, expected 7"):
        open_model("timm:resnet50", num_classes=7)


def test_timm_with_weights_of_a_file(timm, tmp_path):
    mine = Linear(7)
    torch.save({"state_dict": mine.state_dict()}, tmp_path / "mine.pt")
    model = open_model(f"timm:resnet50@{tmp_path}/mine.pt", preprocessing=PRESETS["none"])
    assert not model.network.is_pretrained
    assert model.num_classes == 7
    assert torch.equal(model(IMAGES), mine(IMAGES))


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
    model = open_model("torchvision:resnet50")
    assert (model.name, model.num_classes) == ("torchvision:resnet50:IMAGENET1K_V2", 1000)
    assert (model.preprocessing.resize, model.preprocessing.crop) == (232, 224)
    assert model.class_names == ("x",) * 1000
    first = open_model("torchvision:resnet50:IMAGENET1K_V1")
    assert first.preprocessing == PRESETS["imagenet"]
    assert first.fingerprint != model.fingerprint
    with pytest.raises(RunError, match="has the weights IMAGENET1K_V1, .* got 'IMAGENET_V1', did"):
        open_model("torchvision:resnet50:IMAGENET_V1")
    with pytest.raises(RunError, match="Unknown model resnet5, did you mean 'resnet50'"):
        open_model("torchvision:resnet5")


def test_torchvision_without_weights(torchvision):
    model = open_model("torchvision:resnet50", num_classes=7, pretrained=False)
    assert (model.name, model.num_classes) == ("torchvision:resnet50", 7)
    assert model.class_names is None
    assert model(IMAGES).shape == (2, 7)
    with pytest.raises(ValueError, match="cannot be opened with pretrained=False"):
        open_model("torchvision:resnet50:IMAGENET1K_V1", pretrained=False)


def test_torchvision_with_weights_of_a_file(torchvision, tmp_path):
    mine = Linear(5)
    torch.save(
        {"module." + key: value for key, value in mine.state_dict().items()}, tmp_path / "mine.pt"
    )
    model = open_model(f"torchvision:resnet50@{tmp_path}/mine.pt")
    assert model.num_classes == 5
    assert model.preprocessing == PRESETS["imagenet"]
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))
    assert torch.allclose(model(IMAGES), mine((IMAGES - mean) / std), atol=1e-6)


class Inception(Linear):
    """What torchvision's inception_v3 does with its options."""

    def __init__(self, num_classes, transform_input=False, aux_logits=True, init_weights=True):
        super().__init__(num_classes)
        self.options = (transform_input, aux_logits, init_weights)
        if aux_logits:
            self.AuxLogits = nn.Linear(3, num_classes)


@pytest.mark.parametrize("has_aux", [True, False])
def test_networks_of_torchvision_that_transform_their_input(
    torchvision, tmp_path, monkeypatch, has_aux
):
    models = sys.modules["torchvision.models"]
    monkeypatch.setattr(models, "get_model_weights", lambda name: Weights)
    monkeypatch.setattr(models, "get_model", lambda name, weights, **given: Inception(**given))
    mine = Inception(5, aux_logits=has_aux)
    torch.save(mine.state_dict(), tmp_path / "mine.pt")
    model = open_model(f"torchvision:inception_v3@{tmp_path}/mine.pt")
    assert model.network.options == (True, has_aux, False)
    assert model.num_classes == 5


class Classifier(nn.Module):
    """An image classifier with the interface of transformers."""

    def __init__(self, num_labels: int = 4) -> None:
        super().__init__()
        labels = {3: "d", 0: "a", 1: "b", 2: "c"}
        self.config = SimpleNamespace(num_labels=num_labels, id2label=labels)
        self.head = nn.Linear(3, num_labels)

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

    models = SimpleNamespace(from_pretrained=from_pretrained, from_config=Classifier)
    configs = SimpleNamespace(
        from_pretrained=lambda repo, revision, **labels: len(labels["id2label"])
    )
    fake(monkeypatch, "transformers", AutoModelForImageClassification=models, AutoConfig=configs)
    return put


TINY_VIT = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}}


def test_transformers(hub):
    hub("some/vit@main", config={"architectures": ["ViT"]}, preprocessor_config=TINY_VIT)
    model = open_model("hf:some/vit")
    assert hub.calls == [("some/vit", "main")]
    assert (model.name, model.num_classes) == ("hf:some/vit", 4)
    assert model.class_names == ("a", "b", "c", "d")
    tiny = Preprocessing(crop=8, resize=8, squash=True, convention="transformers", **HALF)
    assert model.preprocessing == tiny
    wanted = model.network.model((IMAGES - 0.5) / 0.5).logits
    assert torch.allclose(model(IMAGES), wanted)


def test_transformers_without_weights(hub):
    hub("some/vit@v1", config={"architectures": ["ViT"]}, preprocessor_config=TINY_VIT)
    model = open_model("hf:some/vit@v1", num_classes=7, pretrained=False)
    assert hub.calls == []
    assert (model.num_classes, model.class_names) == (7, None)


def test_the_processor_of_a_repository(hub):
    """By the type of the model where the configuration names none; the nested form comes first."""
    old = {"do_normalize": True, "do_resize": True, "size": 9, "resample": 3, **HALF_LISTS}
    hub("some/old@main", config={"model_type": "swin"}, preprocessor_config=old)
    assert open_model("hf:some/old").preprocessing.squash
    hub("some/new@main", config={}, processor_config={"image_processor": TINY_VIT})
    assert open_model("hf:some/new").preprocessing.crop == 8
    hub("some/none@main", config={"model_type": "x"}, preprocessor_config={**old, "size": [9, 9]})
    assert open_model("hf:some/none").preprocessing.crop == 9
    hub("some/own@main", config={}, preprocessor_config={"image_processor_type": "OwnThing"})
    with pytest.raises(RunError, match="hf:some/own asks for image_processor_type 'OwnThing'"):
        open_model("hf:some/own")


def test_transformers_at_a_revision_or_in_a_folder(hub):
    folder = hub("some/vit@v1", config={"architectures": ["ViT"]}, preprocessor_config=TINY_VIT)
    open_model("hf:some/vit@v1")
    here = folder.rename(folder.parent / "here")
    open_model(f"hf:{here}")
    assert hub.calls == [("some/vit", "v1"), (str(here), "main")]


def test_a_repository_of_timm(hub, timm):
    hub("timm/some@v2", config={"architecture": "resnet50"})
    model = open_model("hf:timm/some@v2")
    assert model.network.is_pretrained
    assert (model.name, model.num_classes) == ("hf:timm/some@v2", 1000)
    assert hub.calls == []


def test_repositories_that_cannot_be_used(hub):
    hub("some/text@main", nothing={})
    with pytest.raises(RunError, match="hf:some/text: there is no config.json; is some/text a mod"):
        open_model("hf:some/text")
    hub("some/bare@main", config={"architectures": ["ViT"]})
    with pytest.raises(RunError, match="does not say how its images are prepared .*--preproc"):
        open_model("hf:some/bare")
    assert open_model("hf:some/bare", preprocessing=PRESETS["half"]).num_classes == 4
    with pytest.raises(
        RunError, match="hf:no/where cannot be fetched: OSError: 404 .*no/where; is"
    ):
        open_model("hf:no/where")


@pytest.mark.parametrize(
    ("spec", "module", "package"),
    [
        ("timm:x", "timm", "timm"),
        ("torchvision:x", "torchvision.models", "torchvision"),
        ("hf:a/b", "huggingface_hub", "huggingface-hub"),
    ],
)
def test_a_missing_package_is_named_with_its_command(spec, module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        RunError, match=f"{spec} needs {module.partition('.')[0]}, .*pip install '{package}'"
    ):
        open_model(spec)


def test_transformers_is_asked_for_when_it_is_needed(hub, monkeypatch):
    hub("some/vit@main", config={"architectures": ["ViT"]}, preprocessor_config=TINY_VIT)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(RunError, match="hf:some/vit needs transformers, .*pip install 'transf"):
        open_model("hf:some/vit")


def test_a_library_that_cannot_be_imported(tmp_path, monkeypatch):
    """As torchvision does when it was made for another version of torch."""
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(
        RunError, match="cannot be imported .RuntimeError: operator nms .* of torch"
    ):
        open_model("timm:x")
