"""`augmix evaluate`: one measurement."""

from collections.abc import Sequence
from pathlib import Path

from augmix.commands.terminal import make_console, parse, print_summaries
from augmix.console import Watch
from augmix.experiments.measuring import EvaluateConfig, evaluate_run


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    config = parse(EvaluateConfig, "evaluate", words)
    console = make_console()
    with Watch(console) as watch:
        evaluate_run(config, on_progress=watch)
    print_summaries(console, [Path(config.out or config.run)])
