"""`augmix reproduce`: the paper's tables and figures, made again."""

from collections.abc import Sequence

from augmix.commands.terminal import make_console, parse
from augmix.console import Watch
from augmix.experiments.reproduce import ReproduceConfig, reproduce


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    config = parse(ReproduceConfig, "reproduce", words)
    console = make_console()
    with Watch(console) as watch:
        paths = reproduce(config, on_progress=watch)
    for path in paths:
        if path.suffix == ".md":
            console.print(path.read_text(), highlight=False, markup=False)
        print(f"written: {path}")
