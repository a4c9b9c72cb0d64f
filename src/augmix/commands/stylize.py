"""`augmix stylize`: a stylised copy of a data set; `augmix stylize fit`: a decoder for it."""

from collections.abc import Sequence

import tyro

from augmix.commands.terminal import make_console, parse
from augmix.progress import ProgressDisplay
from augmix.stylize import FitConfig, StylizeConfig

_FIT = "fit"


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line; the first may be ``fit``."""
    if words and words[0] == _FIT:
        settings = tyro.cli(
            FitConfig,
            prog=f"augmix stylize {_FIT}",
            args=list(words[1:]),
            description="train a decoder for an encoder, to stylise with",
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs),
        )
        from augmix.stylize.training import fit

        with ProgressDisplay(make_console()) as progress:
            path = fit(settings, on_progress=progress)
        print(f"decoder: {path}")
        return
    config = parse(StylizeConfig, "stylize", words)
    from augmix.stylize.write import stylize

    with ProgressDisplay(make_console()) as progress:
        folder = stylize(config, on_progress=progress)
    print(f"set: {folder}")
