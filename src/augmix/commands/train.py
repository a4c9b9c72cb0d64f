"""`augmix train`: one training run."""

from collections.abc import Sequence

from augmix.commands.terminal import make_console, parse
from augmix.console import Watch
from augmix.experiments.training import TrainConfig, train


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    config = parse(TrainConfig, "train", words)
    console = make_console()
    with Watch(console) as watch:
        folder = train(config, on_progress=watch)
    console.print(f"run: {folder}", highlight=False, markup=False)
