"""`augmix corrupt`: the -C form of a data set."""

from collections.abc import Sequence

from augmix.commands.terminal import make_console, parse
from augmix.progress import ProgressDisplay
from augmix.write import CorruptConfig, corrupt_source


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    config = parse(CorruptConfig, "corrupt", words)
    with ProgressDisplay(make_console()) as progress:
        folder = corrupt_source(config, on_progress=progress)
    print(f"set: {folder}")
