"""The published -C and -P sets: where they lie, their checksums, and how they come onto this disk.

Archives come from Zenodo or from a folder of files fetched by hand, are held against their MD5 (no
other checksum is published) and unpacked safely. What was half done, goes on.

The sets are those of Hendrycks & Dietterich (2019). Checksums of the -C sets as in
`ENSTA-U2IS-AI/torch-uncertainty`; of the -P sets as in `kkirchheim/pytorch-ood`, which agrees with
the former on all -C archives that both have. The photographs of frost are held against the sha256
of the files in `hendrycks/robustness`."""

import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from augmix.data.download import check_file, fetch_file, unpack_archive, write_members
from augmix.errors import RunError, did_you_mean
from augmix.progress import ChecksumStarted, OnProgress, UnpackingStarted, ignore

ZENODO = "https://zenodo.org/records/{record}/files/"
GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
CORRUPTIONS = tuple(name for names in GROUPS.values() for name in names)
_NOISE_SEQUENCES = ("gaussian_noise", "shot_noise", "speckle_noise")
_MOVING_SEQUENCES = (
    *("motion_blur", "zoom_blur", "gaussian_blur", "snow", "spatter", "brightness"),
    *("translate", "rotate", "tilt", "scale", "shear"),
)
SEQUENCES = (
    *_MOVING_SEQUENCES,
    *(f"{name}{level}" for name in _NOISE_SEQUENCES for level in ("", "_2", "_3")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A published set.

    Attributes:
        url: The address below which its files lie.
        folder: What the set is unpacked to.
        form: ``"arrays"``: one archive of ``.npy`` files in one folder; ``"tree"``: archives of
            folders named after corruptions or sequences; ``"plain"``: files as they are.
        archives: MD5, or sha256 where longer, of every file to fetch, by name.
        names: The folders of a tree.
        files: MD5 of every unpacked file, where published.
    """

    url: str
    folder: str
    form: Literal["arrays", "tree", "plain"]
    archives: Mapping[str, str]
    names: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


_CIFAR10_FILES = {
    "labels.npy": "c439b113295ed5254878798ffe28fd54",
    "gaussian_noise.npy": "ecaf8b9a2399ffeda7680934c33405fd",
    "shot_noise.npy": "3a7239bb118894f013d9bf1984be7f11",
    "impulse_noise.npy": "2090e01c83519ec51427e65116af6b1a",
    "defocus_blur.npy": "7d1322666342a0702b1957e92f6254bc",
    "glass_blur.npy": "7361fb4019269e02dbf6925f083e8629",
    "motion_blur.npy": "fffa5f852ff7ad299cfe8a7643f090f4",
    "zoom_blur.npy": "6ea8e63f1c5cdee1517533840641641b",
    "snow.npy": "bb238de8555123da9c282dea23bd6e55",
    "frost.npy": "31f6ab3bce1d9934abfb0cc13656f141",
    "fog.npy": "7b397314b5670f825465fbcd1f6e9ccd",
    "brightness.npy": "0a81ef75e0b523c3383219c330a85d48",
    "contrast.npy": "3c8262171c51307f916c30a3308235a8",
    "elastic_transform.npy": "9421657c6cd452429cf6ce96cc412b5f",
    "pixelate.npy": "0f14f7e2db14288304e1de10df16832f",
    "jpeg_compression.npy": "2b9cc4c864e0193bb64db8d7728f8187",
    "speckle_noise.npy": "ef00b87611792b00df09c0b0237a1e30",
    "gaussian_blur.npy": "c33370155bc9b055fb4a89113d3c559d",
    "spatter.npy": "8a5a3903a7f8f65b59501a6093b4311e",
    "saturate.npy": "1cfae0964219c5102abbb883e538cc56",
}
_CIFAR100_FILES = {
    "labels.npy": "bb4026e9ce52996b95f439544568cdb2",
    "gaussian_noise.npy": "ecc4d366eac432bdf25c024086f5e97d",
    "shot_noise.npy": "b0a1fa6e1e465a747c1b204b1914048a",
    "impulse_noise.npy": "3b3c210ddfa0b5cb918ff4537a429fef",
    "defocus_blur.npy": "d923e3d9c585a27f0956e2f2ad832564",
    "glass_blur.npy": "0bf384f38e5ccbf8dd479d9059b913e1",
    "motion_blur.npy": "732a7e2e54152ff97c742d4c388c5516",
    "zoom_blur.npy": "0204613400c034a81c4830d5df81cb82",
    "snow.npy": "0237be164583af146b7b144e73b43465",
    "frost.npy": "3a39c6823bdfaa0bf8b12fe7004b8117",
    "fog.npy": "4efc7ebd5e82b028bdbe13048e3ea564",
    "brightness.npy": "f22d7195aecd6abb541e27fca230c171",
    "contrast.npy": "322bb385f1d05154ee197ca16535f71e",
    "elastic_transform.npy": "a0792bd6581f6810878be71acedfc65a",
    "pixelate.npy": "96c00c60f144539e14cffb02ddbd0640",
    "jpeg_compression.npy": "c851b7f1324e1d2ffddeb76920576d11",
    "speckle_noise.npy": "e3f215b1a0f9fd9fd6f0d1cf94a7ce99",
    "gaussian_blur.npy": "5204ba0d557839772ef5a4196a052c3e",
    "spatter.npy": "12ccf41d62564d36e1f6a6ada5022728",
    "saturate.npy": "c0697e9fdd646916a61e9c312c77bf6b",
}
RELEASES: Mapping[str, Release] = {
    "cifar10-c": Release(
        url=ZENODO.format(record=2535967),
        folder="CIFAR-10-C",
        form="arrays",
        archives={"CIFAR-10-C.tar": "56bf5dcef84df0e2308c6dcbcbbd8499"},
        files=_CIFAR10_FILES,
    ),
    "cifar100-c": Release(
        url=ZENODO.format(record=3555552),
        folder="CIFAR-100-C",
        form="arrays",
        archives={"CIFAR-100-C.tar": "11f0ed0f1191edbf9fa23466ae6021d3"},
        files=_CIFAR100_FILES,
    ),
    "tiny-imagenet-c": Release(
        url=ZENODO.format(record=8206060),
        folder="Tiny-ImageNet-C",
        form="tree",
        names=CORRUPTIONS,
        archives={
            "Tiny-ImageNet-C.tar": "f9c9a9dbdc11469f0b850190f7ad8be1",
            "Tiny-ImageNet-C-extra.tar": "0db0588d243cf403ef93449ec52b70eb",
        },
    ),
    "imagenet-c": Release(
        url=ZENODO.format(record=2235448),
        folder="ImageNet-C",
        form="tree",
        names=CORRUPTIONS,
        archives={
            "noise.tar": "e80562d7f6c3f8834afb1ecf27252745",
            "blur.tar": "2d8e81fdd8e07fef67b9334fa635e45c",
            "weather.tar": "33ffea4db4d93fe4a428c40a6ce0c25d",
            "digital.tar": "89157860d7b10d5797849337ca2e5c03",
            "extra.tar": "d492dfba5fc162d8ec2c3cd8ee672984",
        },
    ),
    "cifar10-p": Release(
        url=ZENODO.format(record=2535967),
        folder="CIFAR-10-P",
        form="arrays",
        archives={"CIFAR-10-P.tar": "125d6775afc5846ea84584d7524dedff"},
    ),
    "imagenet-p": Release(
        url=ZENODO.format(record=3565846),
        folder="ImageNet-P",
        form="tree",
        names=SEQUENCES,
        archives={
            "noise.tar": "619b37b5139ce764f77ce3bed3aee837",
            "blur.tar": "869b2d2fb1604d1baa4316b5ecc9fdea",
            "weather.tar": "a597ff6db8c6fb0dbcd6eb12ed620002",
            "digital.tar": "8c1f73e4912812788e2fdb637cd55372",
        },
    ),
    "frost": Release(
        url="https://raw.githubusercontent.com/hendrycks/robustness/master/ImageNet-C/create_c/",
        folder="frost",
        form="plain",
        archives={
            "frost1.png": "ff9f907860bd7a835d459e32f9d588062b7f61ee267343cc7222b56753a14755",
            "frost2.png": "fe211a89b336999c207a852ce05818d4545d0b57c5beadd824b4cc9d9a9b6137",
            "frost3.png": "2d0d50b4a9bb213f38b024ef7768731bb83cc08d2f26b5766bbc167cdfa0e504",
            "frost4.jpg": "3f8b91ca1a9fa7167b09e773da53f5ae60d0a1fd88f02a783f6e328a72887f6e",
            "frost5.jpg": "5fc6a19df4a429ba68abdcc8f8a4278d4c9f81c9ccafd2c92ab0c8cf8992ebd2",
        },
    ),
}


def fetch_release(
    name: str,
    root: Path,
    *,
    archives: Sequence[str] = (),
    from_local: Path | None = None,
    url: str = "",
    keep_archives: bool = True,
    on_progress: OnProgress | None = None,
) -> Path:
    """Bring a published set into ``root``; what is there already is not fetched again.

    Args:
        name: One of `RELEASES`.
        root: The folder for the unpacked set, and for its archives below ``archives``; made if
            missing.
        archives: File names of the archives wanted, e.g. ``["weather.tar"]``; all if none.
        from_local: Take the archives from this folder instead of the web. If it holds the unpacked
            set, that is used where it lies, once its files' checksums hold.
        url: The address below which the archives lie; the official one if empty.
        keep_archives: Whether downloaded archives stay once they are unpacked.
        on_progress: Called with the events of `fetch_file` and with `UnpackingStarted`.

    Returns:
        The unpacked folder.

    Raises:
        ValueError: If the set or an archive is not known.
        RunError: If an archive cannot be had, its checksum is wrong, or it is not safe.
    """
    release = find_release(name)
    wanted = _choose(release, archives)
    emit = on_progress or ignore
    if from_local is not None and (from_local / release.folder).is_dir():
        verify_files(release, from_local / release.folder, on_progress=emit)
        return from_local / release.folder
    folder = root / release.folder
    place = folder if release.form == "plain" else root / "archives" / release.folder
    missing = [file for file in wanted if not _is_done(release, file, folder)]
    _make_folder(place if missing and from_local is None else root)
    for file in missing:
        checksum = release.archives[file]
        if from_local is not None:
            emit(ChecksumStarted(file=file))
            path = check_file(from_local / file, checksum=checksum)
        else:
            address = (url or release.url) + file
            path = fetch_file(address, place / file, checksum=checksum, on_progress=on_progress)
        _put(release, file, path, folder, emit)
        if from_local is None and not keep_archives and release.form != "plain":
            path.unlink()
    return folder


def find_release(name: str) -> Release:
    """A published set by its name.

    Raises:
        ValueError: If there is none of this name; names the nearest.
    """
    if name in RELEASES:
        return RELEASES[name]
    raise ValueError(
        f"unknown published set {name!r}{did_you_mean(name, RELEASES, cutoff=0.0)} There are "
        f"{', '.join(RELEASES)}; no other has a published checksum"
    )


def verify_files(release: Release, folder: Path, *, on_progress: OnProgress | None = None) -> None:
    """Hold the files of an unpacked set against their published checksums, where there are any.

    Raises:
        RunError: If one is missing or differs.
    """
    files = release.archives if release.form == "plain" else release.files
    for file, checksum in files.items():
        if on_progress is not None:
            on_progress(ChecksumStarted(file=file))
        check_file(folder / file, checksum=checksum)


def _choose(release: Release, archives: Sequence[str]) -> Sequence[str]:
    unknown = [file for file in archives if file not in release.archives]
    if unknown:
        raise ValueError(
            f"archives of {release.folder} are {', '.join(release.archives)}, got {unknown[0]!r}"
        )
    return archives or list(release.archives)


def _is_done(release: Release, file: str, folder: Path) -> bool:
    """Whether a file need not be fetched: its set, or its part of it, is whole."""
    if release.form == "plain":
        return False  # small enough to be checked each time
    return folder.is_dir() if release.form == "arrays" else _mark(folder, file).exists()


def _mark(folder: Path, file: str) -> Path:
    """A file that says that an archive was unpacked whole."""
    return folder / f".{file}.unpacked"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {folder}: {error.strerror or error}") from error


def _put(release: Release, file: str, path: Path, folder: Path, emit: OnProgress) -> None:
    """Bring what was fetched into the set; a plain tar file holds no more than its own length."""
    if release.form == "plain":
        if path.parent != folder:
            _make_folder(folder)
            shutil.copyfile(path, folder / file)
        return
    emit(UnpackingStarted(file=file))
    if release.form == "arrays":
        unpack_archive(path, folder, max_bytes=path.stat().st_size)
    else:
        _unpack_tree(release, file, path, folder)


def _unpack_tree(release: Release, file: str, path: Path, folder: Path) -> None:
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        with tarfile.open(path, "r:") as archive:
            write_members(
                archive,
                path,
                temporary,
                place=lambda parts: _place(parts, release.names),
                expected=f"folders named {release.names[0]}, {release.names[1]}, ...",
                max_bytes=path.stat().st_size,
            )
        folder.mkdir(exist_ok=True)
        for made in sorted(temporary.iterdir()):
            if not (folder / made.name).exists():  # else whole, from an earlier try
                made.rename(folder / made.name)
        _mark(folder, file).touch()
    except (tarfile.TarError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"cannot unpack {path} to {folder}: {reason}; download it again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _place(parts: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """``[set/][group/]fog/1/class/file.JPEG`` goes to ``fog/1/class/file.JPEG``."""
    for place, part in enumerate(parts[:3]):
        if part in names:
            return parts[place:]
    return ()
