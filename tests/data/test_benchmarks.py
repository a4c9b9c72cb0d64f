"""Published and written -C and -P files."""

from pathlib import Path

import numpy as np
import pytest

from augmix.corruptions import registry
from augmix.data import benchmarks, published_sets
from augmix.data.benchmarks import Sequences, find_layout, open_corrupted, open_perturbed
from augmix.data.cifar import CIFAR10_CLASSES
from augmix.data.sources import Source
from augmix.errors import RunError

NUM_IMAGES = 4


@pytest.fixture
def cifar10_c(tmp_path):
    """A CIFAR-10-C of 4 images: the pixels of image i at severity s are 10 s + i."""
    folder = tmp_path / "sets" / "CIFAR-10-C"
    folder.mkdir(parents=True)
    levels = [10 * severity + image for severity in range(1, 6) for image in range(NUM_IMAGES)]
    images = np.zeros((len(levels), 8, 8, 3), np.uint8)
    images[:] = np.array(levels, np.uint8)[:, None, None, None]
    np.save(folder / "fog.npy", images)
    np.save(folder / "snow.npy", images + 100)
    np.save(folder / "labels.npy", np.tile(np.array([3, 9, 0, 1], np.uint8), 5))
    return folder


@pytest.fixture
def imagenet_c(tmp_path, png, pixels):
    """An ImageNet-C with its group folders: weather/fog and extra/spatter, 5 severities, 3 images.

    Image i at severity s is ``pixels[(s + i) % 12]``; classes n1 (2 images) and n2 (1).
    """
    root = tmp_path / "ImageNet-C"
    for group, name in (("weather", "fog"), ("extra", "spatter")):
        for severity in range(1, 6):
            for image, file in enumerate(("n1/a.JPEG", "n1/b.JPEG", "n2/a.JPEG")):
                path = root / group / name / str(severity) / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png(pixels[(severity + image) % 12]))
    return root


def test_the_names_are_those_of_the_suite():
    listed = {name: group for group, names in published_sets.GROUPS.items() for name in names}
    rows = {name: row for name, row in registry.CORRUPTIONS.items() if row.suite == "c"}
    assert listed == {name: row.group for name, row in rows.items()}
    assert list(listed) == list(rows)
    assert benchmarks.SEVERITIES == registry.SEVERITIES


def test_rows_of_an_array_by_severity(cifar10_c):
    for severity in range(1, 6):
        source = open_corrupted(cifar10_c, "fog", severity)
        assert isinstance(source, Source)
        assert len(source) == NUM_IMAGES
        loaded = source.load(np.arange(NUM_IMAGES))
        assert loaded[:, 0, 0, 0].tolist() == [10 * severity + image for image in range(4)]
        assert source.labels.tolist() == [3, 9, 0, 1]
    assert source.class_names == CIFAR10_CLASSES
    assert (source.size, source.channels, source.split) == ((8, 8), 3, "test")
    assert source.name == "CIFAR-10-C/fog/5"
    loaded = source.load(np.array([2, 0, 2]))
    assert loaded[:, 5, 5, 1].tolist() == [52, 50, 52]
    loaded[:] = 0  # a copy: the file is not written
    assert source.load(np.array([2]))[0, 0, 0, 0] == 52
    with pytest.raises(IndexError, match="0..3"):
        source.load(np.array([4]))


def test_fingerprints_tell_content_apart(cifar10_c):
    prints = [open_corrupted(cifar10_c, "fog", severity).fingerprint for severity in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]
    labels = np.load(cifar10_c / "labels.npy")
    np.save(cifar10_c / "labels.npy", labels[::-1])
    assert open_corrupted(cifar10_c, "fog", 1).fingerprint != prints[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint16])
def test_labels_of_any_integer_type(cifar10_c, dtype):
    np.save(cifar10_c / "labels.npy", np.load(cifar10_c / "labels.npy").astype(dtype))
    labels = open_corrupted(cifar10_c, "fog", 2).labels
    assert labels.dtype == np.int64
    assert labels.tolist() == [3, 9, 0, 1]


def test_classes_come_from_the_caller_or_the_largest_label(cifar10_c):
    other = cifar10_c.rename(cifar10_c.parent / "mine")
    assert open_corrupted(other, "fog", 1).class_names == tuple("0123456789")
    names = [f"class {number}" for number in range(12)]
    assert open_corrupted(other, "fog", 1, class_names=names).num_classes == 12
    with pytest.raises(RunError, match="expected labels 0..4, got 9.*more classes than the names"):
        open_corrupted(other, "fog", 1, class_names=names[:5])


def test_the_folder_above_will_do(cifar10_c):
    layout = find_layout(cifar10_c.parent)
    assert (layout.root, layout.kind, layout.names) == (cifar10_c, "cifar-c", ("fog", "snow"))
    assert np.array_equal(
        open_corrupted(layout, "snow", 1).load(np.arange(4)),
        open_corrupted(cifar10_c, "snow", 1).load(np.arange(4)),
    )


def test_trees_with_and_without_groups(imagenet_c, pixels):
    for _ in range(2):
        source = open_corrupted(imagenet_c, "fog", 4)
        assert isinstance(source, Source)
        assert np.array_equal(source.load(np.array([2, 0])), pixels[[6, 4]])
        assert source.labels.tolist() == [0, 0, 1]
        assert source.class_names == ("n1", "n2")
        assert source.size == (8, 10)
        assert find_layout(imagenet_c).names == ("fog", "spatter")
        for group in ("weather", "extra"):
            for name in ("fog", "spatter"):
                if (imagenet_c / group / name).exists():
                    (imagenet_c / group / name).rename(imagenet_c / name)


def test_classes_of_a_tree_by_the_models_order(imagenet_c):
    source = open_corrupted(imagenet_c, "fog", 1, class_names=("n0", "n2", "n1"))
    assert source.labels.tolist() == [2, 2, 1]
    assert source.num_classes == 3
    with pytest.raises(RunError, match="expected the 1 classes n1, ..., got n2 besides"):
        open_corrupted(imagenet_c, "fog", 1, class_names=("n1",))


def test_unknown_names_and_severities(cifar10_c, imagenet_c):
    for root in (cifar10_c, imagenet_c):
        with pytest.raises(RunError, match="holds no 'fogg', did you mean 'fog'. It holds fog, s"):
            open_corrupted(root, "fogg", 1)
        for severity in (0, 6):
            with pytest.raises(ValueError, match=f"severity must be 1..5, got {severity} for"):
                open_corrupted(root, "fog", severity)


def test_a_missing_severity(imagenet_c):
    parent = imagenet_c / "weather" / "fog"
    (parent / "3").rename(parent / "other")
    message = "fog/3 is missing: expected .* 1 to 5, or five values .* in .*fog, got 1/, 2/, 4/, 5/"
    with pytest.raises(RunError, match=message):
        open_corrupted(imagenet_c, "fog", 3)
    (parent / "3").mkdir()
    with pytest.raises(RunError, match="fog/3: expected files in class folders, got none"):
        open_corrupted(imagenet_c, "fog", 3)


def test_a_broken_image_is_named(imagenet_c):
    for file, index in (("n1/b.JPEG", 1), ("n1/a.JPEG", 0)):
        (imagenet_c / "weather" / "fog" / "2" / file).write_bytes(b"broken")
        with pytest.raises(RunError, match=f"cannot use image .*fog/2/{file}"):
            open_corrupted(imagenet_c, "fog", 2).load(np.array([index]))


@pytest.mark.parametrize("keep", [0, 5, 60, 127, 128, 1000])
def test_arrays_cut_short(cifar10_c, keep):
    content = (cifar10_c / "fog.npy").read_bytes()
    (cifar10_c / "fog.npy").write_bytes(content[:keep])
    with pytest.raises(RunError, match="cannot read .*fog.npy: .*fetch or write it again"):
        open_corrupted(cifar10_c, "fog", 1)


def test_arrays_with_a_broken_head(cifar10_c):
    """Every byte of the header changed at a time: a clear error or the same form, no crash."""
    path = cifar10_c / "fog.npy"
    content = path.read_bytes()
    messages = []
    for offset in range(0, 100, 3):
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 0x15]) + content[offset + 1 :])
        try:
            open_corrupted(cifar10_c, "fog", 1).load(np.arange(1))
        except RunError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert all("fog" in message for message in messages)


def test_pickled_objects_are_refused(cifar10_c):
    np.save(cifar10_c / "fog.npy", np.array([{}, {}], object), allow_pickle=True)
    with pytest.raises(RunError, match="cannot read .*fog.npy.*expected a whole .npy array of num"):
        open_corrupted(cifar10_c, "fog", 1)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((20, 8, 8, 3), np.float32),
        ((20, 8, 8, 3), np.int8),
        ((21, 8, 8, 3), np.uint8),
        ((20, 3, 8, 8), np.uint8),
        ((20, 8, 8), np.uint8),
        ((0, 8, 8, 3), np.uint8),
    ],
)
def test_arrays_of_another_form(cifar10_c, shape, dtype):
    np.save(cifar10_c / "fog.npy", np.zeros(shape, dtype))
    with pytest.raises(RunError, match="fog.npy: expected uint8 .5 n, height, width, 1 or 3.*got"):
        open_corrupted(cifar10_c, "fog", 1)


def test_labels_that_do_not_fit(cifar10_c):
    path = cifar10_c / "labels.npy"
    for labels, message in (
        (np.zeros(4, np.int64), "for fog.npy: expected 20 labels, one per image, got 4"),
        (np.zeros(20), "expected labels as one whole number per image, got float64"),
        (np.full(20, 10), "expected labels 0..9, got 10 at index 0"),
        (np.full(20, -1), "expected labels 0..9, got -1"),
    ):
        np.save(path, labels)
        with pytest.raises(RunError, match=message):
            open_corrupted(cifar10_c, "fog", 1)
    path.unlink()
    with pytest.raises(RunError, match="labels.npy does not exist"):
        open_corrupted(cifar10_c, "fog", 1)


def test_folders_that_hold_no_set(tmp_path, cifar10_c, imagenet_c, folder):
    with pytest.raises(RunError, match="nowhere does not exist; expected the folder of a -C or -P"):
        find_layout(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"images: expected a -C or -P set .*got train/, val/"):
        find_layout(folder)
    (cifar10_c.parent / "other").mkdir()
    np.save(cifar10_c.parent / "other" / "fog.npy", np.zeros((5, 8, 8, 3), np.uint8))
    with pytest.raises(RunError, match="holds several sets: CIFAR-10-C, other; name one"):
        find_layout(cifar10_c.parent)
    np.save(cifar10_c / "tilt.npy", np.zeros((2, 3, 8, 8, 3), np.uint8))
    with pytest.raises(RunError, match="mixes the forms cifar-c and cifar-p"):
        find_layout(cifar10_c)


def test_sequences_are_no_images(tmp_path):
    np.save(tmp_path / "tilt.npy", np.zeros((2, 3, 8, 8, 3), np.uint8))
    with pytest.raises(RunError, match="holds perturbation sequences.*open them with open_pert"):
        open_corrupted(tmp_path, "tilt", 1)


# Seven frames of 32 x 32, made as the published videos: libx264, crf 20, one frame a second, 4:4:4.
VIDEO = Path(__file__).with_name("drift.mp4")


def drift(frame):
    """The picture before it was coded."""
    y, x = np.mgrid[:32, :32]
    channels = [x * 8 + frame * 4, y * 8, (x + y) * 4 + frame * 10]
    return np.stack([channel % 256 for channel in channels], axis=-1)


@pytest.fixture
def imagenet_p(tmp_path):
    for file in ("n1/a.mp4", "n1/b.mp4", "n2/a.mp4"):
        path = tmp_path / "ImageNet-P" / "tilt" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(VIDEO.read_bytes())
    return tmp_path / "ImageNet-P"


def test_arrays(tmp_path):
    """As published: the main ten in the folder, the others in `extra`."""
    folder = tmp_path / "CIFAR-10-P"
    (folder / "extra").mkdir(parents=True)
    frames = np.random.default_rng(0).integers(0, 256, (4, 5, 8, 9, 3), dtype=np.uint8)
    np.save(folder / "tilt.npy", frames)
    np.save(folder / "extra" / "spatter.npy", frames[:, :3])
    layout = find_layout(tmp_path)
    assert (layout.kind, layout.names) == ("cifar-p", ("spatter", "tilt"))
    sequences = open_perturbed(layout, "tilt")
    assert isinstance(sequences, Sequences)
    assert (len(sequences), sequences.num_frames, sequences.size) == (4, 5, (8, 9))
    assert np.array_equal(sequences.load(np.array([3, 0])), frames[[3, 0]])
    assert np.array_equal(np.stack(list(sequences.frames(2))), frames[2])
    assert open_perturbed(layout, "spatter").num_frames == 3
    assert open_perturbed(layout, "spatter").fingerprint != sequences.fingerprint
    with pytest.raises(IndexError):
        next(sequences.frames(4))
    with pytest.raises(RunError, match="holds no 'tilted', did you mean 'tilt'"):
        open_perturbed(layout, "tilted")


def test_videos(imagenet_p):
    layout = find_layout(imagenet_p)
    assert (layout.kind, layout.names) == ("imagenet-p", ("tilt",))
    sequences = open_perturbed(imagenet_p, "tilt")
    assert isinstance(sequences, Sequences)
    assert (len(sequences), sequences.num_frames, sequences.size) == (3, 7, (32, 32))
    loaded = sequences.load(np.array([1, 2]))
    assert loaded.shape == (2, 7, 32, 32, 3)
    assert np.array_equal(loaded[0], loaded[1])
    for number, frame in enumerate(sequences.frames(0)):
        assert np.array_equal(frame, loaded[0, number])
        error = np.abs(frame.astype(int) - drift(number)).mean()
        assert error < 2  # in RGB order; as BGR it is above 30


def test_videos_cut_short_or_of_other_length(imagenet_p):
    sequences = open_perturbed(imagenet_p, "tilt")
    content = VIDEO.read_bytes()
    path = imagenet_p / "tilt" / "n1" / "b.mp4"
    for broken, message in (
        (b"no video at all", "b.mp4: expected an mp4 video, got a file that starts"),
        (content[: len(content) // 2], "b.mp4"),
        (content[:40], "cannot read the video .*b.mp4"),
    ):
        path.write_bytes(broken)
        with pytest.raises(RunError, match=message):
            sequences.load(np.array([1]))
        assert len(sequences.load(np.array([0]))) == 1
    path.rename(path.with_name("aa.mp4"))
    (imagenet_p / "tilt" / "n1" / "a.mp4").unlink()
    with pytest.raises(RunError, match="cannot read the video .*aa.mp4"):
        open_perturbed(imagenet_p, "tilt")


def test_folders_of_frames(tmp_path, png, pixels):
    folder = tmp_path / "set" / "tilt"
    for video, first in (("n1/a", 0), ("n2/b", 6)):
        (folder / video).mkdir(parents=True)
        for frame in range(3):
            (folder / video / f"{frame:02d}.JPEG").write_bytes(png(pixels[first + frame]))
    sequences = open_perturbed(tmp_path, "tilt")
    assert (len(sequences), sequences.num_frames, sequences.size) == (2, 3, (8, 10))
    assert np.array_equal(sequences.load(np.array([1])), pixels[None, 6:9])
    (folder / "n2/b/03.JPEG").write_bytes(png(pixels[0]))
    with pytest.raises(RunError, match="b: expected 3 frames of 8x10 .* after 3 frames"):
        sequences.load(np.array([1]))
    (folder / "n2/b/03.JPEG").unlink()
    (folder / "n2/b/02.JPEG").write_bytes(png(pixels[0, :4]))
    with pytest.raises(RunError, match="b: expected 3 frames of 8x10 .* after 2 frames"):
        sequences.load(np.array([1]))
    (folder / "n2/b/02.JPEG").write_bytes(b"broken")
    with pytest.raises(RunError, match="cannot use frame .*02.JPEG"):
        list(sequences.frames(1))


@pytest.mark.parametrize("shape", [(2, 3, 8, 8, 2), (0, 3, 8, 8, 3)])
def test_sequences_of_another_form(tmp_path, shape):
    np.save(tmp_path / "tilt.npy", np.zeros(shape, np.uint8))
    with pytest.raises(RunError, match="tilt.npy: expected uint8 .n, frame, height, width, 1 or 3"):
        open_perturbed(tmp_path, "tilt")


def test_images_are_no_sequences(tmp_path):
    np.save(tmp_path / "fog.npy", np.zeros((5, 8, 8, 3), np.uint8))
    with pytest.raises(RunError, match="holds corrupted images.*open them with open_corrupted"):
        open_perturbed(tmp_path, "fog")
