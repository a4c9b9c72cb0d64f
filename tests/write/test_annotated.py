"""Trees of COCO, YOLO and Cityscapes are written with their labels, stopped and continued."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmix.corruptions.corrupt import corrupt, iterate_frames
from augmix.corruptions.digital import encode_jpeg
from augmix.corruptions.warps import corruption_warp, sequence_warps
from augmix.data import Reading
from augmix.data.annotated import find_annotated, open_annotated
from augmix.data.benchmarks import find_layout
from augmix.errors import RunError
from augmix.files import hash_file, load_json
from augmix.progress import Note, PieceWritten
from augmix.write import CorruptConfig, PerturbConfig, annotated
from augmix.write.destination import load_sums
from augmix.write.labels import encode_rle, move_coco
from augmix.write.sets import corrupt_source, perturb_source

SIZES = [(48, 40), (40, 64), (52, 44)]  # width and height


@pytest.fixture
def coco(tmp_path) -> Path:
    """Three images, the last without annotations; a polygon, a box and a crowd."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").mkdir()
    images = []
    for number, size in enumerate(SIZES):
        name = f"{number:012d}.jpg" if number else "scan.png"
        save(root / "val2017" / name, size, seed=number)
        images.append({"id": 70 - number, "file_name": name, "width": size[0], "height": size[1]})
    crowd = np.zeros((64, 40), bool)
    crowd[20:40, 10:30] = True
    polygon = [10, 10, 30, 10, 30, 30, 10, 30]
    annotations: list[dict] = [
        {"id": 1, "image_id": 70, "bbox": [10, 10, 20, 20], "segmentation": [polygon], "area": 400},
        {"id": 2, "image_id": 69, "bbox": [5, 6, 20, 30], "segmentation": [], "area": 600},
        {
            "id": 3,
            "image_id": 69,
            "bbox": [10, 20, 20, 20],
            "segmentation": {"size": [64, 40], "counts": encode_rle(crowd)},
            "iscrowd": 1,
            "area": 400,
        },
    ]
    content = {"info": {"year": 2017}, "images": images, "annotations": annotations}
    path = root / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps({**content, "categories": [{"id": 1, "name": "dog"}]}, indent=1))
    return root


@pytest.fixture
def yolo(tmp_path) -> Path:
    root = tmp_path / "yolo"
    for name in ("images/val", "labels/val", "images/train", "labels/train"):
        (root / name).mkdir(parents=True)
    for number, size in enumerate(SIZES):
        save(root / f"images/val/p{number}.jpg", size, seed=number)
    (root / "labels/val/p0.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (root / "labels/val/p1.txt").write_text("1 0.2 0.2 0.6 0.2 0.6 0.7\n")
    (root / "data.yaml").write_text(
        "path: ../datasets/toy  # of another machine\ntrain: images/train\nval:\n  - images/val\n"
        "names:\n  0: dog\n  1: cat\ndownload: |\n  import os\n"
    )
    return root


@pytest.fixture
def cityscapes(tmp_path) -> Path:
    root = tmp_path / "city"
    for number, size in enumerate(SIZES[:2]):
        stem = f"ulm_00000{number}_000019"
        save(root / f"leftImg8bit/val/ulm/{stem}_leftImg8bit.png", size, seed=number)
        ids = np.zeros(size[::-1], np.uint8)
        ids[10:30, 8:30] = 26
        truth = root / "gtFine/val/ulm"
        truth.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids).save(truth / f"{stem}_gtFine_labelIds.png")
        Image.fromarray(ids.astype(np.uint16) * 1000).save(truth / f"{stem}_gtFine_instanceIds.png")
        objects = [{"label": "car", "polygon": [[8, 10], [29, 10], [29, 29], [8, 29]]}]
        text = json.dumps({"imgHeight": size[1], "imgWidth": size[0], "objects": objects})
        (truth / f"{stem}_gtFine_polygons.json").write_text(text)
    return root


def save(path: Path, size: tuple[int, int], *, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    Image.fromarray(levels).resize(size).save(path)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hash_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write(src: Path, dst: Path, *, on_progress=None, **options) -> Path:
    how = {"names": ("elastic_transform", "fog"), "severities": (5,), "num_processes": 1}
    config = CorruptConfig(src=str(src), dst=dst, **{**how, **options})
    return corrupt_source(config, on_progress=on_progress)


def test_coco_images_are_those_of_corrupt_and_labels_move_with_them(tmp_path, coco):
    out = write(coco, tmp_path / "out", seed=4)
    files = sorted(path.name for path in (coco / "val2017").iterdir())
    by_name = {each["file_name"]: each for each in coco_content(coco)["images"]}
    for name in ("elastic_transform", "fog"):
        for index, file in enumerate(files):
            clean = pixels((coco / "val2017" / file).read_bytes())
            made = corrupt(clean, name, severity=5, preset="imagenet", seed=4, ids=index)
            found = (out / name / "5" / "val2017" / file).read_bytes()
            if file.endswith(".png"):
                assert np.array_equal(pixels(found), made)
            else:
                assert found == encode_jpeg(made, quality=85)
    text = (coco / "annotations" / "instances_val2017.json").read_bytes()
    assert (out / "fog/5/annotations/instances_val2017.json").read_bytes() == text
    before, after = coco_content(coco), coco_content(out / "elastic_transform" / "5")
    assert {name: after[name] for name in ("info", "images", "categories")} == {
        name: before[name] for name in ("info", "images", "categories")
    }
    images = {each["id"]: each for each in before["images"]}
    for old, new in zip(before["annotations"], after["annotations"], strict=True):
        image = images[old["image_id"]]
        warp = corruption_warp(
            (image["height"], image["width"]),
            "elastic_transform",
            severity=5,
            preset="imagenet",
            seed=4,
            id=files.index(image["file_name"]),
        )
        assert warp is not None
        assert new == move_coco(old, warp)
        assert new["bbox"] != old["bbox"]
    assert set(by_name) == set(files)
    with pytest.raises(RunError, match="boxes, polygons or masks in the layout of coco"):
        find_layout(out)
    manifest = load_json(out / "manifest.json")
    assert manifest["complete"] is True
    assert manifest["layout"] == "coco"
    assert manifest["labels"] == {
        "protocol": "move",
        "moved": ["elastic_transform"],
        "copied": ["fog"],
    }
    sums = load_sums(out / "SHA256SUMS")
    written = {k: v for k, v in digests(out).items() if k not in ("manifest.json", "SHA256SUMS")}
    assert sums == written


def coco_content(root: Path) -> dict:
    return json.loads((root / "annotations" / "instances_val2017.json").read_text())


def test_labels_are_copied_in_the_protocol_of_the_benchmark(tmp_path, coco):
    notes: list[str] = []

    def hear(event: object) -> None:
        notes.extend([event.text] if isinstance(event, Note) else [])

    out = write(coco, tmp_path / "out", labels="keep", on_progress=hear)
    text = (coco / "annotations" / "instances_val2017.json").read_bytes()
    assert (out / "elastic_transform/5/annotations/instances_val2017.json").read_bytes() == text
    assert load_json(out / "manifest.json")["labels"]["protocol"] == "keep"
    assert notes == [
        "layout coco: 3 images in val2017, 1 file of labels",
        "preset imagenet",
        "labels are copied for all, as Michaelis et al. (2019) do",
    ]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("fog",), "labels are copied, as nothing of these moves the content of images"),
        (("elastic_transform",), "labels move with elastic_transform"),
        (
            ("elastic_transform", "fog"),
            "labels move with elastic_transform, and are copied for the others",
        ),
    ],
)
def test_what_happens_to_labels_is_said(tmp_path, coco, names, text):
    notes: list[str] = []

    def hear(event: object) -> None:
        notes.extend([event.text] if isinstance(event, Note) else [])

    write(coco, tmp_path / "out", names=names, max_images=1, on_progress=hear)
    assert notes[-1] == text


def test_a_part_of_the_images_is_that_of_the_whole_set(tmp_path, coco):
    whole = write(coco, tmp_path / "whole")
    part = write(coco, tmp_path / "part", max_images=2)
    for name in ("elastic_transform", "fog"):
        kept = coco_content(part / name / "5")
        assert len(kept["images"]) == 2
        names = {each["file_name"] for each in kept["images"]}
        assert {path.name for path in (part / name / "5/val2017").iterdir()} == names
        for file in names:
            path = f"{name}/5/val2017/{file}"
            assert (part / path).read_bytes() == (whole / path).read_bytes()
        ids = {each["id"] for each in kept["images"]}
        everything = coco_content(whole / name / "5")["annotations"]
        assert kept["annotations"] == [each for each in everything if each["image_id"] in ids]


def test_yolo_lines_move_and_data_yaml_names_the_written_images(tmp_path, yolo):
    out = write(yolo, tmp_path / "out")
    assert (out / "fog/5/labels/val/p1.txt").read_text() == (yolo / "labels/val/p1.txt").read_text()
    moved = (out / "elastic_transform/5/labels/val/p0.txt").read_text().split()
    assert moved[0] == "0"
    assert np.abs(np.array(moved[1:], float) - [0.5, 0.5, 0.4, 0.4]).max() > 0.01
    assert not (out / "fog/5/labels/val/p2.txt").exists()  # a background has no file
    assert (out / "fog/5/data.yaml").read_text() == (
        "train: images/val\nval: images/val\ntest: images/val\nnames:\n  0: dog\n  1: cat\n"
    )
    again = open_annotated(out / "fog/5", "yolo", "val")
    assert again.images == tuple(f"images/val/p{number}.jpg" for number in range(3))
    with pytest.raises(RunError, match="expected images of split 'train'"):
        write(yolo, tmp_path / "train", split="train")


def test_yolo_images_are_read_upright(tmp_path, yolo):
    with Image.open(yolo / "images/val/p0.jpg") as picture:
        exif = picture.getexif()
        exif[0x0112] = 6  # turned by 90 degrees
        picture.save(yolo / "images/val/p0.jpg", exif=exif)
    out = write(yolo, tmp_path / "out", names=("fog",))
    assert pixels((out / "fog/5/images/val/p0.jpg").read_bytes()).shape[:2] == SIZES[0]


def test_pictures_of_cityscapes_move_with_the_image(tmp_path, cityscapes):
    out = write(cityscapes, tmp_path / "out")
    truth = "gtFine/val/ulm/ulm_000001_000019_gtFine"
    before = np.asarray(Image.open(cityscapes / f"{truth}_labelIds.png"))
    after = np.asarray(Image.open(out / f"elastic_transform/5/{truth}_labelIds.png"))
    warp = corruption_warp((64, 40), "elastic_transform", severity=5, preset="imagenet", id=1)
    assert warp is not None
    assert np.array_equal(after, warp.mask(before))
    deep = np.asarray(Image.open(out / f"elastic_transform/5/{truth}_instanceIds.png"))
    assert np.array_equal(deep, after.astype(int) * 1000)
    polygon = load_json(out / f"elastic_transform/5/{truth}_polygons.json")["objects"][0]["polygon"]
    assert polygon != [[8, 10], [29, 10], [29, 29], [8, 29]]
    kept = out / f"fog/5/{truth}_labelIds.png"
    assert kept.read_bytes() == (cityscapes / f"{truth}_labelIds.png").read_bytes()
    again = open_annotated(out / "elastic_transform/5", "cityscapes", "val")
    assert again.images == open_annotated(cityscapes, "cityscapes", "val").images


def test_frames_are_trees_with_labels_of_their_own(tmp_path, coco):
    (coco / "annotations/captions_val2017.json").write_text(
        json.dumps({**coco_content(coco), "annotations": [{"image_id": 70, "caption": "dog"}]})
    )
    names = ("translate", "motion_blur")
    how = {"names": names, "preset": "cifar", "num_processes": 1, "max_images": 2}
    out = perturb_source(PerturbConfig(src=str(coco), dst=tmp_path / "out", **how))
    folders = [f"{frame:02d}" for frame in range(16)]
    assert sorted(path.name for path in (out / "translate").iterdir()) == folders
    assert len(list((out / "motion_blur").iterdir())) == 21
    annotations, kept = (coco_content(root) for root in (coco, out / "translate" / "00"))
    images = {each["id"]: each["file_name"] for each in kept["images"]}
    assert len(images) == 2
    image = next(
        each["image_id"] for each in annotations["annotations"] if each["image_id"] in images
    )
    path = out / "translate/00/val2017" / images[image]
    id = sorted(each.name for each in (coco / "val2017").iterdir()).index(path.name)
    clean = pixels((coco / "val2017" / path.name).read_bytes())
    size = clean.shape[:2]
    frames = iterate_frames(clean, "translate", preset="cifar", ids=np.array([id]), size=size)
    warps = sequence_warps(size, "translate", preset="cifar")
    assert warps is not None
    old = [each for each in annotations["annotations"] if each["image_id"] in images]
    assert old
    for name, frame, warp in zip(folders, frames, warps, strict=True):
        file = (out / "translate" / name / "val2017" / path.name).read_bytes()
        assert np.array_equal(pixels(file), frame) or file == encode_jpeg(frame, quality=85)
        moved = coco_content(out / "translate" / name)
        found = [each for each in moved["annotations"] if each["image_id"] == image]
        assert found == [move_coco(each, warp) for each in old if each["image_id"] == image]
        assert (out / "translate" / name / "annotations/captions_val2017.json").exists()
    assert coco_content(out / "motion_blur" / "03")["annotations"] == old


@pytest.mark.parametrize("layout", ["coco", "yolo"])
def test_a_stopped_run_is_continued_and_shards_write_the_same(
    tmp_path, request, layout, monkeypatch
):
    tree = request.getfixturevalue(layout)
    monkeypatch.setattr(annotated, "_PIECE", 2)
    whole = digests(write(tree, tmp_path / "whole"))

    def stop(event: object) -> None:
        if isinstance(event, PieceWritten):
            raise KeyboardInterrupt

    out = tmp_path / "out"
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            write(tree, out, on_progress=stop)
    assert load_json(out / "manifest.json")["complete"] is False
    assert digests(write(tree, out)) == whole
    next(out.rglob("fog/5/**/*.jpg")).unlink()
    assert digests(write(tree, out)) == whole
    for shard in ("1/2", "2/2"):  # the first writes all, as the second has not begun
        write(tree, tmp_path / "shards", shard=shard)
    assert digests(tmp_path / "shards") == whole


def test_a_dry_run_writes_nothing(tmp_path, coco):
    notes: list[str] = []

    def hear(event: object) -> None:
        notes.extend([event.text] if isinstance(event, Note) else [])

    out = write(coco, tmp_path / "out", dry_run=True, on_progress=hear)
    assert not out.exists()
    assert any(note.startswith("8 files, ") for note in notes)


def test_layouts_are_found_by_their_files(tmp_path, coco, yolo, cityscapes):
    assert find_annotated(coco) == "coco"
    assert find_annotated(yolo) == "yolo"
    assert find_annotated(cityscapes) == "cityscapes"
    assert find_annotated(coco / "val2017") is None
    with pytest.raises(RunError, match="no tree of the layout yolo, which has images/ and labels/"):
        find_annotated(coco, "yolo")
    with pytest.raises(RunError, match=r"expected annotations of split 'train'.*--split"):
        write(coco, tmp_path / "out", split="train")
    for images in (coco / "val2017", yolo / "images/val", cityscapes / "leftImg8bit/val/ulm"):
        with pytest.raises(RunError, match="holds images whose labels are elsewhere in"):
            write(images, tmp_path / "out")
    (coco / "val2017" / "scan.png").unlink()
    with pytest.raises(RunError, match=r"lists 3 images, of which 1 are missing, e\.g\. .*scan"):
        write(coco, tmp_path / "out")


def test_roboflow_layouts(tmp_path, coco, yolo):
    export = tmp_path / "export"
    (coco / "val2017").rename(tmp_path / "valid")
    export.mkdir()
    (tmp_path / "valid").rename(export / "valid")
    (coco / "annotations" / "instances_val2017.json").rename(
        export / "valid" / "_annotations.coco.json"
    )
    assert open_annotated(export, "coco", "test").images[0] == "valid/000000000001.jpg"
    other = tmp_path / "other"
    (other / "valid").mkdir(parents=True)
    (yolo / "images/val").rename(other / "valid/images")
    (yolo / "labels/val").rename(other / "valid/labels")
    (other / "data.yaml").write_text("names: [dog, cat]\nnc: 2\nval: ../valid/images\n")
    assert find_annotated(other) == "yolo"
    out = write(other, tmp_path / "out", names=("fog",))
    assert (out / "fog/5/data.yaml").read_text().startswith("train: valid/images\n")
    assert (out / "fog/5/valid/labels/p0.txt").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 32}, "--size is for images of classes"),
        ({"layout": "imagenet"}, "--layout is for images of classes"),
        ({"manifest": Path("m")}, "--manifest is for images of classes"),
        ({"reading": Reading(on_error="skip")}, "--on-error skip is for images of classes"),
    ],
)
def test_settings_of_images_of_classes_are_refused(tmp_path, coco, options, message):
    with pytest.raises(ValueError, match=message):
        write(coco, tmp_path / "out", **options)


def test_labels_are_refused_for_images_of_classes(tmp_path, folder):
    with pytest.raises(ValueError, match="labels 'keep' is for boxes, polygons and masks"):
        write(folder, tmp_path / "out", labels="keep")


def test_wrong_labels_name_their_file(tmp_path, coco, yolo):
    (yolo / "labels/val/p0.txt").write_text("0 1 2\n")
    with pytest.raises(RunError, match=r"p0\.txt: labels are not as expected: a line of 2 numbers"):
        write(yolo, tmp_path / "a")
    save(coco / "val2017" / "scan.png", (30, 30), seed=0)
    with pytest.raises(RunError, match=r"scan\.png has 30 x 30 pixels, but the annotations say"):
        write(coco, tmp_path / "b")


@pytest.mark.parametrize("layout", ["coco", "yolo"])
def test_labels_that_cannot_be_moved_are_refused_before_images_are_written(
    tmp_path, request, layout
):
    tree = request.getfixturevalue(layout)
    if layout == "yolo":
        (tree / "labels/val/p1.txt").write_text("0 1 2\n")
    else:
        path = tree / "annotations/instances_val2017.json"
        content = json.loads(path.read_text())
        content["annotations"][-1]["segmentation"]["counts"] = [7]
        path.write_text(json.dumps(content))
    message = {
        "coco": "annotation 3 is not as expected: runs of 7 pixels",
        "yolo": "p1.txt: labels",
    }
    with pytest.raises(RunError, match=message[layout]):
        write(tree, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    write(tree, tmp_path / "out", names=("fog",))  # copies them


def test_annotations_that_are_no_objects_are_named(tmp_path, coco):
    path = coco / "annotations/instances_val2017.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": [[1, 2]]}))
    with pytest.raises(RunError, match="instances_val2017.json: annotations that are no objects"):
        write(coco, tmp_path / "out")
