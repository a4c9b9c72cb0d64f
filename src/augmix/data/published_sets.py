"""Data sets on the web: where they are, their checksums, how they are downloaded and unpacked.

Zenodo answers 429 to eager clients and drops long transfers, so a file grows under the name
``FILE.part``, is continued by the next try, and gets its own name once its checksum is right.

The -C and -P sets are those of Hendrycks & Dietterich (2019), ImageNet-A, -R and -O those of
Hendrycks et al. (2021). Their MD5 are from
`ENSTA-U2IS-AI/torch-uncertainty` (-C) and `kkirchheim/pytorch-ood` (-P), which agree where they
overlap; the sha256 of the photographs of frost are of the files in `hendrycks/robustness`.
"""

import glob
import os
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from augmix.errors import RunError, did_you_mean
from augmix.files import make_folder, replace_durably, sync
from augmix.progress import (
    ChecksumStarted,
    DownloadDelayed,
    DownloadProgress,
    OnProgress,
    UnpackingStarted,
    ignore,
)

_MAX_TRIES = 6
_LONGEST_WAIT_S = 300.0
_TIMEOUT_S = 60
_CHUNK = 2**16
_PROGRESS_BYTES = 2**23  # between two events

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
SEQUENCES = (
    *("motion_blur", "zoom_blur", "gaussian_blur", "snow", "spatter", "brightness"),
    *("translate", "rotate", "tilt", "scale", "shear"),
    *(f"{name}{level}" for name in _NOISE_SEQUENCES for level in ("", "_2", "_3")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSet:
    """A data set on the web.

    The form is ``arrays``: one archive of one folder, as of ``.npy`` files; ``tree``: archives of
    folders named after corruptions or sequences; or ``plain``: files as they are.
    """

    url: str  # the address below which its files lie
    folder: str  # what it is unpacked to
    form: Literal["arrays", "tree", "plain"]
    archives: Mapping[str, str]  # MD5, or sha256 where longer, of every file to fetch, by name
    names: tuple[str, ...] = ()  # the folders of a tree
    files: Mapping[str, str] = field(default_factory=dict)  # MD5 of unpacked ones, where published


# MD5 of the arrays of CIFAR-10-C and of CIFAR-100-C
_CIFAR_FILES = """
    labels            c439b113295ed5254878798ffe28fd54 bb4026e9ce52996b95f439544568cdb2
    gaussian_noise    ecaf8b9a2399ffeda7680934c33405fd ecc4d366eac432bdf25c024086f5e97d
    shot_noise        3a7239bb118894f013d9bf1984be7f11 b0a1fa6e1e465a747c1b204b1914048a
    impulse_noise     2090e01c83519ec51427e65116af6b1a 3b3c210ddfa0b5cb918ff4537a429fef
    defocus_blur      7d1322666342a0702b1957e92f6254bc d923e3d9c585a27f0956e2f2ad832564
    glass_blur        7361fb4019269e02dbf6925f083e8629 0bf384f38e5ccbf8dd479d9059b913e1
    motion_blur       fffa5f852ff7ad299cfe8a7643f090f4 732a7e2e54152ff97c742d4c388c5516
    zoom_blur         6ea8e63f1c5cdee1517533840641641b 0204613400c034a81c4830d5df81cb82
    snow              bb238de8555123da9c282dea23bd6e55 0237be164583af146b7b144e73b43465
    frost             31f6ab3bce1d9934abfb0cc13656f141 3a39c6823bdfaa0bf8b12fe7004b8117
    fog               7b397314b5670f825465fbcd1f6e9ccd 4efc7ebd5e82b028bdbe13048e3ea564
    brightness        0a81ef75e0b523c3383219c330a85d48 f22d7195aecd6abb541e27fca230c171
    contrast          3c8262171c51307f916c30a3308235a8 322bb385f1d05154ee197ca16535f71e
    elastic_transform 9421657c6cd452429cf6ce96cc412b5f a0792bd6581f6810878be71acedfc65a
    pixelate          0f14f7e2db14288304e1de10df16832f 96c00c60f144539e14cffb02ddbd0640
    jpeg_compression  2b9cc4c864e0193bb64db8d7728f8187 c851b7f1324e1d2ffddeb76920576d11
    speckle_noise     ef00b87611792b00df09c0b0237a1e30 e3f215b1a0f9fd9fd6f0d1cf94a7ce99
    gaussian_blur     c33370155bc9b055fb4a89113d3c559d 5204ba0d557839772ef5a4196a052c3e
    spatter           8a5a3903a7f8f65b59501a6093b4311e 12ccf41d62564d36e1f6a6ada5022728
    saturate          1cfae0964219c5102abbb883e538cc56 c0697e9fdd646916a61e9c312c77bf6b
"""


def _file_checksums(column: int) -> dict[str, str]:
    rows = (line.split() for line in _CIFAR_FILES.strip().splitlines())
    return {f"{row[0]}.npy": row[column] for row in rows}


PUBLISHED_SETS: Mapping[str, PublishedSet] = {
    "cifar10-c": PublishedSet(
        url=ZENODO.format(record=2535967),
        folder="CIFAR-10-C",
        form="arrays",
        archives={"CIFAR-10-C.tar": "56bf5dcef84df0e2308c6dcbcbbd8499"},
        files=_file_checksums(1),
    ),
    "cifar100-c": PublishedSet(
        url=ZENODO.format(record=3555552),
        folder="CIFAR-100-C",
        form="arrays",
        archives={"CIFAR-100-C.tar": "11f0ed0f1191edbf9fa23466ae6021d3"},
        files=_file_checksums(2),
    ),
    "tiny-imagenet-c": PublishedSet(
        url=ZENODO.format(record=8206060),
        folder="Tiny-ImageNet-C",
        form="tree",
        names=CORRUPTIONS,
        archives={
            "Tiny-ImageNet-C.tar": "f9c9a9dbdc11469f0b850190f7ad8be1",
            "Tiny-ImageNet-C-extra.tar": "0db0588d243cf403ef93449ec52b70eb",
        },
    ),
    "imagenet-c": PublishedSet(
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
    "cifar10-p": PublishedSet(
        url=ZENODO.format(record=2535967),
        folder="CIFAR-10-P",
        form="arrays",
        archives={"CIFAR-10-P.tar": "125d6775afc5846ea84584d7524dedff"},
    ),
    "imagenet-p": PublishedSet(
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
    **{
        f"imagenet-{letter}": PublishedSet(
            url="https://people.eecs.berkeley.edu/~hendrycks/",
            folder=f"imagenet-{letter}",
            form="arrays",
            archives={f"imagenet-{letter}.tar": checksum},
        )
        for letter, checksum in (
            ("a", "c3e55429088dc681f30d81f4726b6595"),
            ("r", "a61312130a589d0ca1a8fca1f2bd3337"),
            ("o", "86bd7a50c1c4074fb18fc5f219d6d50b"),
        )
    },
    "frost": PublishedSet(
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


def fetch_published(
    name: str,
    root: Path,
    *,
    archives: Sequence[str] = (),
    from_local: Path | None = None,
    url: str = "",
    keep_archives: bool = True,
    on_progress: OnProgress | None = None,
) -> Path:
    """Download and unpack a published set into ``root``, except what is already there.

    Args:
        name: One of `PUBLISHED_SETS`.
        root: The folder for the unpacked set, and for its archives below ``archives``; made if
            missing.
        archives: File names of the archives wanted, e.g. ``["weather.tar"]``; all if none.
        from_local: Take the archives from this folder instead of the web. If it holds the unpacked
            set, the files of that are checked and used where they are.
        url: The address below which the archives lie; the official one if empty.
        keep_archives: Whether downloaded archives stay once they are unpacked.
        on_progress: Called with the events of `fetch_file` and with `UnpackingStarted`.

    Returns:
        The unpacked folder.
    """
    published = find_published(name)
    unknown = [file for file in archives if file not in published.archives]
    if unknown:
        raise ValueError(
            f"archives of {published.folder} are {', '.join(published.archives)}, got "
            f"{unknown[0]!r}"
        )
    emit, is_plain = on_progress or ignore, published.form == "plain"
    if from_local is not None and (from_local / published.folder).is_dir():
        folder = from_local / published.folder
        files = published.archives if is_plain else published.files
        for file, checksum in files.items():
            emit(ChecksumStarted(file=file))
            check_file(folder / file, checksum=checksum)
        return folder
    folder = root / published.folder
    downloads = folder if is_plain else root / "archives" / published.folder
    wanted = archives or list(published.archives)
    missing = [file for file in wanted if not _is_done(published, file, folder)]
    make_folder(downloads if missing and from_local is None else root)
    for file in missing:
        checksum = published.archives[file]
        if from_local is not None:
            emit(ChecksumStarted(file=file))
            path = check_file(from_local / file, checksum=checksum)
        else:
            address = (url or published.url) + file
            path = fetch_file(address, downloads / file, checksum=checksum, on_progress=on_progress)
        _put(published, path, folder, emit)
        if from_local is None and not keep_archives and not is_plain:
            path.unlink()
    return folder


def find_published(name: str) -> PublishedSet:
    """Look up a published set by its name."""
    if name in PUBLISHED_SETS:
        return PUBLISHED_SETS[name]
    raise ValueError(
        f"unknown published set {name!r}{did_you_mean(name, PUBLISHED_SETS, cutoff=0.0)} There are "
        f"{', '.join(PUBLISHED_SETS)}; no other has a published checksum"
    )


def _is_done(published: PublishedSet, file: str, folder: Path) -> bool:
    """Whether a file need not be fetched: its set, or its part of it, is whole."""
    if published.form == "plain":
        return False  # small enough to be checked each time
    return folder.is_dir() if published.form == "arrays" else _mark(folder, file).exists()


def _mark(folder: Path, file: str) -> Path:
    """A file that says that an archive was unpacked whole."""
    return folder / f".{file}.unpacked"


def _put(published: PublishedSet, path: Path, folder: Path, emit: OnProgress) -> None:
    """Add a downloaded file to the set. A plain tar file holds no more than its own length."""
    if published.form != "arrays":
        make_folder(folder)
    if published.form == "plain":
        if path.parent != folder:
            shutil.copyfile(path, folder / path.name)
        return
    emit(UnpackingStarted(file=path.name))
    num_bytes = path.stat().st_size
    if published.form == "arrays":
        unpack_archive(path, folder.parent, names=(folder.name,), max_bytes=num_bytes)
    else:
        unpack_archive(path, folder, names=published.names, max_bytes=num_bytes)
        _mark(folder, path.name).touch()


def unpack_archive(path: Path, destination: Path, *, names: Sequence[str], max_bytes: int) -> None:
    """Unpack folders of a tar archive; each appears whole or not at all.

    `pooch.Untar` does not do, since on Python 3.11 it lets members leave the folder.

    Args:
        names: The folders; in the archive they may lie in up to two others.
        max_bytes: Refuse an archive that unpacks to more.

    Raises:
        RunError: If a member would lie elsewhere or is a link or device, if the archive is too
            large or broken, or if the disk is full. Nothing is left behind then.
    """
    if all((destination / name).exists() for name in names):
        return
    for left in destination.glob(f".{glob.escape(path.name)}.{'?' * 8}"):  # by a killed process
        shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=destination, prefix=f".{path.name}."))
    total = 0
    try:
        with tarfile.open(path) as archive:
            archive.extraction_filter = lambda member, _: member  # checked here
            for member in archive:
                parts = PurePosixPath(member.name).parts
                start = next((i for i, part in enumerate(parts[:3]) if part in names), None)
                is_inside = not {"..", "/"} & set(parts) and "\\" not in member.name
                if is_inside and member.isdir() and start is None:
                    continue  # a folder around those that are expected
                if not is_inside or start is None or not (member.isfile() or member.isdir()):
                    folders = (
                        f"folders named {', '.join(names[:2])}, ..." if names[1:] else names[0]
                    )
                    raise RunError(
                        f"{path} holds {member.name!r}, expected only files and folders below "
                        f"{folders}; nothing was kept, take the official archive"
                    )
                total += member.size
                if total > max_bytes:
                    raise RunError(
                        f"{path} unpacks to more than {max_bytes:,} bytes; nothing was kept"
                    )
                member.name = "/".join(parts[start:])
                archive.extract(member, temporary, set_attrs=False)
        if hasattr(os, "sync"):  # one call for very many files
            os.sync()
        for made in sorted(temporary.iterdir()):
            if not (destination / made.name).exists():  # else whole, from an earlier try
                made.rename(destination / made.name)
        sync(destination)
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise RunError(
            f"cannot unpack {path} to {destination}: {reason}; download it again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def fetch_file(
    url: str,
    path: Path,
    *,
    checksum: str,
    num_tries: int = _MAX_TRIES,
    on_progress: OnProgress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Download a file, continuing what an earlier try left, and return its path.

    Args:
        path: Where it goes; if it is there, only its checksum is looked at.
        checksum: Hexadecimal MD5 or sha256 of the whole file, distinguished by their lengths.
        num_tries: Tries without a new byte until it fails.
        on_progress: Called with `DownloadProgress` as the file grows, `DownloadDelayed` before a
            new try, and `ChecksumStarted`.

    Raises:
        RunError: If the server says no, stays silent through all tries, or sends another file.
            What arrived stays, unless it is wrong.
    """
    emit = on_progress or ignore
    if path.exists():
        emit(ChecksumStarted(file=path.name))
        return check_file(path, checksum=checksum)
    part = path.with_name(f"{path.name}.part")
    if part.exists() and _digest(part, checksum) == checksum:  # killed just before it got its name
        replace_durably({part: path})
        return path
    tries = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        problem, asked_s, is_final = _attempt(url, part, before, emit)
        if not problem:
            emit(ChecksumStarted(file=path.name))
            found = _digest(part, checksum)
            if found == checksum:
                replace_durably({part: path})
                return path
            part.unlink()
            if not before:
                raise RunError(
                    f"{url}: expected a file with {_kind(checksum)} {checksum}, got {found}; "
                    "nothing was kept. The server may have sent a message instead: try again "
                    "later, or fetch it by hand"
                )
            problem = "the continued file has another checksum, so it is fetched again"
        grown = part.exists() and part.stat().st_size > before
        tries = 0 if grown else tries + 1
        if is_final or tries >= num_tries:
            raise RunError(
                f"cannot download {url}: {problem}; start again to continue {part.name}, or "
                f"fetch the file by hand ({_kind(checksum)} {checksum}) and name its folder as the "
                "local one"
            )
        wait_s = min(max(asked_s, 2.0**tries), _LONGEST_WAIT_S)
        emit(DownloadDelayed(file=path.name, wait_s=wait_s, reason=problem))
        sleep(wait_s)


def check_file(path: Path, *, checksum: str) -> Path:
    """Check the MD5 or sha256 of a file and return its path."""
    kind = _kind(checksum)
    if not path.is_file():
        raise RunError(f"{path} does not exist; expected the published file with {kind} {checksum}")
    found = _digest(path, checksum)
    if found != checksum:
        raise RunError(
            f"{path}: expected {kind} {checksum}, got {found} ({path.stat().st_size:,} bytes); it "
            "is half-downloaded or another file: delete it and fetch it again"
        )
    return path


def _attempt(url: str, part: Path, start: int, emit: OnProgress) -> tuple[str, float, bool]:
    """Fetch what is missing.

    Returns:
        What went wrong, empty if nothing did; the seconds the server asks to wait; whether another
        try is pointless.
    """
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
            status, given = response.status_code, response.headers.get("Content-Range", "")
            if status == 416 or (status == 206 and not given.startswith(f"bytes {start}-")):
                part.unlink(missing_ok=True)
                return f"the server cannot continue at byte {start:,}", 0.0, False
            response.raise_for_status()
            _save(response, part, start if status == 206 else 0, emit)
    except requests.HTTPError as error:
        answer: Any = error.response
        is_busy = answer.status_code in (408, 429) or answer.status_code >= 500
        wait_s = answer.headers.get("Retry-After", "")  # a date instead of seconds is ignored
        return str(error), float(wait_s) if wait_s.isdigit() else 0.0, not is_busy
    except requests.RequestException as error:
        return " ".join(str(error).split()), 0.0, False
    except OSError as error:
        raise RunError(f"cannot write {part}: {error.strerror or error}") from error
    return "", 0.0, False


def _save(response: Any, part: Path, start: int, emit: OnProgress) -> None:
    """Write what the server sends from byte ``start`` on."""
    file_name = part.name.removesuffix(".part")
    total = start + int(response.headers.get("Content-Length", 0))
    num_bytes = reported = start

    def report() -> None:
        size = max(total, num_bytes)
        emit(DownloadProgress(file=file_name, num_bytes=num_bytes, total_bytes=size))

    with open(part, "ab" if start else "wb") as file:
        for chunk in response.iter_content(_CHUNK):
            num_bytes += file.write(chunk)
            if num_bytes - reported >= _PROGRESS_BYTES:
                reported = num_bytes
                report()
        file.flush()
        os.fsync(file.fileno())
    report()


def _kind(checksum: str) -> str:
    return "md5" if len(checksum) == 32 else "sha256"


def _digest(path: Path, checksum: str) -> str:
    """Hash a file by the algorithm of the checksum it is compared with."""
    import pooch

    return pooch.file_hash(str(path), alg=_kind(checksum))
