"""`augmix download`: a published -C or -P set by its name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from augmix.commands.terminal import make_console, parse
from augmix.data.published_sets import fetch_published
from augmix.progress import ProgressDisplay


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadConfig:
    """What is fetched, and where it goes."""

    name: str
    """Published set: cifar10-c, cifar100-c, tiny-imagenet-c, imagenet-c, cifar10-p, imagenet-p, or
    frost for the photographs of the corruption of that name."""
    dst: Path
    """Folder that gets the set's own folder, e.g. CIFAR-10-C, and its archives below archives. What
    an earlier try left there goes on."""
    archives: tuple[str, ...] = ()
    """Archives of the set, e.g. weather.tar; none takes all."""
    from_local: str = ""
    """Folder of archives fetched by hand, or of the unpacked set, which is then only checked."""
    url: str = ""
    """Address below which the archives lie; empty is the official one."""
    keep_archives: bool = True
    """Keep downloaded archives once they are unpacked."""


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    config = parse(DownloadConfig, "download", words)
    with ProgressDisplay(make_console()) as progress:
        folder = fetch_published(
            config.name,
            config.dst,
            archives=config.archives,
            from_local=Path(config.from_local).expanduser() if config.from_local else None,
            url=config.url and config.url.rstrip("/") + "/",
            keep_archives=config.keep_archives,
            on_progress=progress,
        )
    print(f"set: {folder}")
