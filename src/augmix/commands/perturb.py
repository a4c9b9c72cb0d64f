"""`augmix perturb`: the -P form of a data set."""

from collections.abc import Sequence

from augmix.commands.terminal import make_console, parse
from augmix.progress import ProgressDisplay
from augmix.write import PerturbConfig, perturb_source


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    config = parse(PerturbConfig, "perturb", words)
    with ProgressDisplay(make_console()) as progress:
        folder = perturb_source(config, on_progress=progress)
    print(f"set: {folder}")
