"""The published -C sets: where they lie, their checksums, and how they come onto this disk.

Archives come from Zenodo or from a folder of files fetched by hand, are held against their MD5 (no
other checksum is published) and unpacked safely. What was half done, goes on.

Checksums as in `ENSTA-U2IS-AI/torch-uncertainty`; the sets are those of Hendrycks & Dietterich
(2019). No checksums are published for the -P sets, so they are not fetched by name.
"""

import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from augmix.data.downloads import unpack_archive, write_members
from augmix.data.transfers import OnProgress, check_file, fetch_file
from augmix.records import RunError

ZENODO = "https://zenodo.org/records/{record}/files/"
GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
_CORRUPTIONS = frozenset(name for names in GROUPS.values() for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A published set.

    Attributes:
        record: Its number at Zenodo.
        folder: What the set is unpacked to.
        archives: MD5 of every archive, by file name.
        files: MD5 of every unpacked file, where published.
    """

    record: int
    folder: str
    archives: Mapping[str, str]
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
        record=2535967,
        folder="CIFAR-10-C",
        archives={"CIFAR-10-C.tar": "56bf5dcef84df0e2308c6dcbcbbd8499"},
        files=_CIFAR10_FILES,
    ),
    "cifar100-c": Release(
        record=3555552,
        folder="CIFAR-100-C",
        archives={"CIFAR-100-C.tar": "11f0ed0f1191edbf9fa23466ae6021d3"},
        files=_CIFAR100_FILES,
    ),
    "tiny-imagenet-c": Release(
        record=8206060,
        folder="Tiny-ImageNet-C",
        archives={
            "Tiny-ImageNet-C.tar": "f9c9a9dbdc11469f0b850190f7ad8be1",
            "Tiny-ImageNet-C-extra.tar": "0db0588d243cf403ef93449ec52b70eb",
        },
    ),
    "imagenet-c": Release(
        record=2235448,
        folder="ImageNet-C",
        archives={
            "noise.tar": "e80562d7f6c3f8834afb1ecf27252745",
            "blur.tar": "2d8e81fdd8e07fef67b9334fa635e45c",
            "weather.tar": "33ffea4db4d93fe4a428c40a6ce0c25d",
            "digital.tar": "89157860d7b10d5797849337ca2e5c03",
            "extra.tar": "d492dfba5fc162d8ec2c3cd8ee672984",
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
    on_progress: OnProgress | None = None,
) -> Path:
    """Bring a published set into ``root``; what is there already is not fetched again.

    Args:
        name: One of `RELEASES`.
        root: The folder for the archives and the unpacked set, made if missing.
        archives: File names of the archives wanted, e.g. ``["weather.tar"]``; all if none.
        from_local: Take the archives from this folder instead of the web. If it holds the unpacked
            set, that is used where it lies, once its files' checksums hold.
        url: The address below which the archives lie; Zenodo's if empty.
        on_progress: Called with a dict while a download runs or waits.

    Returns:
        The unpacked folder.

    Raises:
        ValueError: If the set or an archive is not known.
        RunError: If an archive cannot be had, its checksum is wrong, or it is not safe.
    """
    release = find_release(name)
    wanted = _choose(release, archives)
    url = url or ZENODO.format(record=release.record)
    if from_local is not None and (from_local / release.folder).is_dir():
        verify_files(release, from_local / release.folder)
        return from_local / release.folder
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {root}: {error.strerror or error}") from error
    folder = root / release.folder
    for file in wanted:
        if _is_unpacked(release, file, folder):
            continue
        if from_local is not None:
            path = check_file(from_local / file, md5=release.archives[file])
        else:
            path = fetch_file(
                url + file, root / file, md5=release.archives[file], on_progress=on_progress
            )
        _unpack(release, file, path, folder)
    return folder


def find_release(name: str) -> Release:
    """A published set by its name.

    Raises:
        ValueError: If there is none of this name.
    """
    if name not in RELEASES:
        raise ValueError(f"published set must be one of {', '.join(RELEASES)}, got {name!r}")
    return RELEASES[name]


def verify_files(release: Release, folder: Path) -> None:
    """Hold the files of an unpacked set against their published checksums, where there are any.

    Raises:
        RunError: If one is missing or differs.
    """
    for file, md5 in release.files.items():
        check_file(folder / file, md5=md5)


def _choose(release: Release, archives: Sequence[str]) -> Sequence[str]:
    unknown = [file for file in archives if file not in release.archives]
    if unknown:
        raise ValueError(
            f"archives of {release.folder} are {', '.join(release.archives)}, got {unknown[0]!r}"
        )
    return archives or list(release.archives)


def _is_unpacked(release: Release, file: str, folder: Path) -> bool:
    return folder.is_dir() if release.files else _mark(folder, file).exists()


def _mark(folder: Path, file: str) -> Path:
    """A file that says that an archive was unpacked whole."""
    return folder / f".{file}.unpacked"


def _unpack(release: Release, file: str, path: Path, folder: Path) -> None:
    """Unpack an archive; a plain tar file cannot hold more than its own length."""
    if release.files:
        unpack_archive(path, folder, max_bytes=path.stat().st_size)
        return
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        with tarfile.open(path, "r:") as archive:
            write_members(
                archive,
                path,
                temporary,
                place=_place,
                expected="folders named after corruptions",
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


def _place(parts: tuple[str, ...]) -> tuple[str, ...]:
    """``[set/][group/]fog/1/class/file.JPEG`` goes to ``fog/1/class/file.JPEG``."""
    for place, part in enumerate(parts[:3]):
        if part in _CORRUPTIONS:
            return parts[place:]
    return ()
