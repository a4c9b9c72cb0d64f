from pathlib import Path

import numpy as np
import pytest

from augmix.data.benchmarks import Sequences, find_layout, open_perturbed
from augmix.errors import RunError

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
        sequences.frames(4)
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
def test_arrays_of_another_form(tmp_path, shape):
    np.save(tmp_path / "tilt.npy", np.zeros(shape, np.uint8))
    with pytest.raises(RunError, match="tilt.npy: expected uint8 .n, frame, height, width, 1 or 3"):
        open_perturbed(tmp_path, "tilt")


def test_images_are_no_sequences(tmp_path):
    np.save(tmp_path / "fog.npy", np.zeros((5, 8, 8, 3), np.uint8))
    with pytest.raises(RunError, match="holds corrupted images.*open them with open_corrupted"):
        open_perturbed(tmp_path, "fog")
