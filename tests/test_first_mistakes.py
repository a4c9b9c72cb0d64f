"""The first mistakes of a newcomer: each is answered by one line that says the way out."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_runs import toy_config

from augmix import cli
from augmix.training.run import train


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a newcomer has it: photographs of several forms, files, and a trained run."""
    folder = tmp_path_factory.mktemp("desk")
    rng = np.random.default_rng(0)
    names = ["photos/cat", "photos/dog", "single/only", "flat", "broken/a", "broken/b"]
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "broken/a/0.png").write_text("no picture")
    for name in ("empty", "taken"):
        (folder / name).mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "taken/notes.txt").write_text("mine")
    (folder / "taken/config.json").write_text("{}")
    (folder / "mycode.py").write_text("def build():\n    pass\n")
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        archive.writestr("cat/0.png", b"")
    train(toy_config(folder / "run", epochs=1, executor="compiled"))
    return folder


TRAIN = "--model small --size 16 --epochs 1 --val-fraction 0.5"
MISTAKES = {
    "trian photos": "unknown command 'trian', did you mean 'train'?",
    "train": "name the training images: --data FOLDER",
    "train phtos": "phtos does not exist, did you mean 'photos'?",
    "train photos.zip": "photos.zip is no folder, and images are read from class folders, .tar, ",
    "train notes.txt": "notes.txt is no folder, and images are read from class folders, .tar, .npz",
    "train photos --epoch 3": "there is no setting --epoch, did you mean '--epochs'?",
    "train photos --epochs three": "--epochs must be a whole number, got 'three'",
    "train photos --data other": "--data is given twice; give it once",
    "train photos --seed 1 --seed 2": "--seed is given twice",
    "train photos --method augmix --method=standard": "--method is given twice",
    "train photos --pretrained --no-pretrained": "--pretrained is given twice",
    "train photos --device gpu": "one of auto, cpu, cuda, mps, got 'gpu', did you mean 'cuda'?",
    f"train photos --device cuda {TRAIN}": "finds none on this machine; use --device auto or cpu",
    "train photos --method augmx": "got 'augmx', did you mean 'augmix'?",
    "train photos --model resnet51": "depth must be one of 18, 34, 50, 101, 152, got 51",
    "train photos --mixup-alpha 1": "--method augmix+mixup lays it over",
    "train photos --resume": "the same command continues the run in its folder --out",
    f"train single {TRAIN}": "of the class 'only', and training needs at least two",
    f"train flat {TRAIN}": "put the images of each class into a folder of its name",
    f"train empty {TRAIN}": "empty: expected one folder per class, got nothing; put the images",
    f"train broken {TRAIN}": "leave out what is broken with --on-error skip",
    f"train photos {TRAIN} --out notes.txt/x": "choose another --out",
    "train photos --model python:mycode.py:biuld": "no 'biuld', did you mean 'build'?",
    "train photos --model python:other.py:build": "there is no file ",
    "train photos --device cuda:1": "got 'cuda:1', did you mean 'cuda'?",
    f"train photos {TRAIN} --jsd-weight -3": "jsd_weight must be a finite number of at least 0",
    "predict small@notes.txt photos": "notes.txt is damaged or no file of torch.save",
    "evaluate": "name at least one model: a run folder, or e.g. timm:resnet50",
    "evaluate rnu": "did you mean 'run'?",
    "evaluate rnu/": "rnu does not exist, did you mean 'run'?",
    "evaluate photos": "photos is no run folder: it has no config.json. Name a folder that augmix",
    "evaluate run --data photos": "(--class-list), or take class i of the images as class i",
    "evaluate run --split tset": "split must be one of train, test, val, got 'tset', did you mean",
    "evaluate run --names fogg": "unknown corruption 'fogg', did you mean 'fog'?",
    "evaluate run --names fog,snow": "'fog,snow', separate them by spaces: fog snow.",
    "evaluate run --severities 1,2": "--severities does not take '1,2'; separate them by spaces: 1",
    "evaluate run --severities 6": "severity must be 1..5, got 6",
    "evaluate run --max-images 0": "max_images must be at least 1, got 0",
    "evaluate onnx:model.onnx --data photos": "augmix export RUN --out model.onnx writes one",
    "predict": "missing after 'predict': Run folder; see augmix predict --help",
    "predict run": "name the images behind the model run: files, folders or patterns",
    "predict run other.jpg": "other.jpg does not exist; name image files, folders or patterns",
    "report": "a report needs at least one run folder, got none",
    "report photos": "so there is nothing to report; measure it first: augmix evaluate",
    "check run": "so there is nothing to report; measure it first: augmix evaluate",
    "corrupt photos": "missing after 'corrupt': Folder of the set to write",
    "corrupt photos photos": "choose a destination beside it",
    "corrupt photos taken --size 16": "choose an empty or new folder",
    "corrupt photos new --size 16 --manifest photos": "choose another --manifest",
    f"train photos {TRAIN} --out photos/run": "photos/run lies in the folder of the images, photos",
    "evaluate run --data photos --out photos": "photos lies in the folder of the images, photos, ",
    "check run --max-rms 1 --junit notes.txt": "notes.txt exists and is no JUnit file, so it is",
    "export run --out photos/manifest.json": "manifest.json is the name of a file of run folders",
    "export rnu": "rnu",
    "preview --data photos --out notes.txt": "it is not written over; choose another --out",
    "reproduce table9": "got 'table9', did you mean 'table6'?",
    "bench executors --seconds nan": "seconds must be a finite number from 0, got nan",
    "bench executors --sizes 32 0": "sizes must be at least 1 pixel, got (32, 0)",
    "bench corruptions --num-threads -1": "num_threads must be at least 1, got (-1,)",
    "bench train --batch-size 0": "batch_size must be at least 1, got 0",
    "corrupt photos new --max-images 0": "max_images must be at least 1, got 0",
    "perturb photos new --max-images -1": "max_images must be at least 1, got -1",
    "bench speed": "must be one of executors, corruptions, startup, train, all, got 'speed'",
}


NO_EFFECT = {  # settings of something else than what the command does
    "evaluate run --suite clean --names fog": "it belongs to suite 'c' or 'c-bar', suites asked",
    "evaluate run --suite p --severities 3": "severities 3 would have no effect: it belongs to",
    "evaluate run --suite clean --sequences tilt": "sequences tilt would have no effect: it belong",
    "evaluate run --difficulty 2": "difficulty 2 would have no effect: it belongs to suite 'p'",
    "evaluate run --suite clean --preset tiny": "preset tiny would have no effect: it belongs to",
    "evaluate run --suite clean --official set": "official set would have no effect: it belongs to",
    "evaluate run --suite p --jpeg-quality 50": "jpeg_quality 50 would have no effect: it belongs",
    "evaluate run --suite c-bar --frost-textures photos": "it belongs to suite 'c', suites asked",
    "evaluate run --adapt-prior 4": "adapt_prior 4 would have no effect: it belongs to adapt_batch",
    "evaluate run --source digits --data photos": "digits' has no files, so photos would have no",
    "evaluate run --names fog --frost-textures photos": "frost is not among the corruptions",
    "calibrate-severity run --names fog --frost-textures photos": "frost is not among the",
    "corrupt photos d --names fog --size 16 --frost-textures photos": "frost is not among the",
    "corrupt photos d --source digits": "digits' has no files, so photos would have no effect",
    "corrupt photos d --layout cifar --jpeg-quality 50 --size 16": "layout 'cifar' holds arrays",
    "perturb photos d --layout cifar --jpeg-quality 50 --size 16": "layout 'cifar' holds arrays",
    "perturb photos d --names tilt --difficulty 3 --size 16": "it is how strong noise is, and none",
    "predict run photos --image-column img": "image_column 'img' would have no effect: predict",
    "check run --max-rms 0.5 --margin 2": "margin 2 would have no effect: it belongs to no_worse_",
    "check run --max-rms 0.5 --min-agreement 0.5": "it belongs to agrees_with, which names a run",
    "check run --at-most error@clean=20": "it is a fraction, 0.2 for 20 %",
    "export run --format torch-export --out x.onnx": "torch-export, whose files are NAME.pt2",
    "preview --data photos --names fog": "names would have no effect on the picture of views: it b",
    "preview --data photos --bank --first 1": "first would have no effect on the picture of bank",
    "preview --data photos --bank --operations": "operations and bank are pictures of their own",
    "bench startup --methods all": "methods would have no effect on startup: it belongs to execut",
    "reproduce figure4 --data digits --seeds 3": "seeds 3 would have no effect on figure4: it belo",
    "train photos --model small --no-reduced-decoding": "would have no effect without resized_crop",
    "train photos --decay-at 0.5": "decay_at (0.5,) would do nothing with schedule 'cosine'",
}


@pytest.mark.parametrize("words", NO_EFFECT)
def test_a_setting_without_effect_is_refused(words, desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    assert cli.main(words.split()) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert NO_EFFECT[words] in lines[0]


@pytest.mark.parametrize("words", MISTAKES)
def test_a_first_mistake_is_one_line(words, desk, monkeypatch, capsys):
    if "--device cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.chdir(desk)
    assert cli.main(words.split()) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("augmix: ")
    assert MISTAKES[words] in lines[0]


def test_data_that_is_named_is_measured_not_the_images_of_the_run(tmp_path, monkeypatch, capsys):
    """A run on the digits, which need no folder, took them for any --data."""
    monkeypatch.chdir(tmp_path)
    changes = {
        "source": "digits",
        "data": "digits",
        "size": 16,
        "max_train_images": 20,
        "epochs": 1,
    }
    train(toy_config(tmp_path / "run", **{**changes, "executor": "compiled"}))
    assert cli.main(["evaluate", "run", "--data", "photos"]) == 2
    assert "photos does not exist" in capsys.readouterr().err
