"""`augmix evaluate`: one measurement, in one process or in those that torchrun started."""

from collections.abc import Sequence

from augmix.commands.terminal import make_console, parse, print_summaries
from augmix.evaluation.config import Measurement
from augmix.progress import ProgressDisplay


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line; only process 0 prints."""
    measurement = parse(Measurement, "evaluate", words)
    from augmix import distributed
    from augmix.evaluation.models import run_measurement

    with distributed.joined():
        if distributed.rank():
            run_measurement(measurement)
            return
        console = make_console()
        with ProgressDisplay(console) as progress:
            run_measurement(measurement, on_progress=progress)
        print_summaries(console, [measurement.folder])
