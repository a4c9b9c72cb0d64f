"""`augmix evaluate`: one measurement, in one process or in those that torchrun started."""

from collections.abc import Sequence

from augmix import distributed
from augmix.commands.terminal import make_console, parse, print_summaries
from augmix.evaluation.config import EvaluateConfig, evaluate_run
from augmix.progress import ProgressDisplay


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line; only process 0 speaks."""
    config = parse(EvaluateConfig, "evaluate", words)
    with distributed.joined():
        if distributed.rank():
            evaluate_run(config)
            return
        console = make_console()
        with ProgressDisplay(console) as progress:
            evaluate_run(config, on_progress=progress)
        print_summaries(console, [config.folder])
