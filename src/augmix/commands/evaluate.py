"""`augmix evaluate`: one measurement, in one process or in those that torchrun started."""

from collections.abc import Sequence

from augmix import ranks
from augmix.commands.terminal import make_console, parse, print_summaries
from augmix.console import Watch
from augmix.experiments.measuring import EvaluateConfig, evaluate_run


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line; only process 0 speaks."""
    config = parse(EvaluateConfig, "evaluate", words)
    with ranks.joined():
        if ranks.rank():
            evaluate_run(config)
            return
        console = make_console()
        with Watch(console) as watch:
            evaluate_run(config, on_progress=watch)
        print_summaries(console, [config.folder])
