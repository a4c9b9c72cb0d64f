"""`augmix train`: one training run, by flags on top of a published recipe if one is named.

With `--dry-run` a few steps are timed and nothing is written.
"""

from collections.abc import Sequence

from augmix import distributed
from augmix.commands.terminal import make_console, parse
from augmix.progress import ProgressDisplay
from augmix.training.config import RECIPES, TrainConfig, build_config
from augmix.training.forecast import forecast_run
from augmix.training.run import backend, train

_FLAG = "--recipe"
_DRY = "--dry-run"


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    recipe, flags = split_recipe([word for word in words if word != _DRY])
    config = parse(
        TrainConfig,
        "train",
        flags,
        default=build_config(recipe) if recipe else None,
        note=f"{_FLAG} NAME starts from published settings: {', '.join(RECIPES)}\n"
        f"{_DRY} takes a few steps, tells what the run will take, and writes nothing",
    )
    with distributed.joined(backend=backend()):
        if distributed.rank():  # process 0 speaks for all
            forecast_run(config) if _DRY in words else train(config)
            return
        console = make_console()
        if _DRY in words:
            console.print("\n".join(forecast_run(config)), highlight=False, markup=False)
            return
        with ProgressDisplay(console) as progress:
            folder = train(config, on_progress=progress)
        console.print(f"run: {folder}", highlight=False, markup=False)


def split_recipe(words: Sequence[str]) -> tuple[str, list[str]]:
    """The recipe named among the words, empty if none, and the other words.

    Raises:
        ValueError: If the flag stands there without a name, or twice.
    """
    flags, names, rest = list(words), [], []
    while flags:
        word = flags.pop(0)
        if word == _FLAG:
            names.append(flags.pop(0) if flags else "")
        elif word.startswith(f"{_FLAG}="):
            names.append(word.partition("=")[2])
        else:
            rest.append(word)
    if len(names) > 1 or "" in names:
        raise ValueError(f"expected one name after {_FLAG}: {', '.join(RECIPES)}")
    return (names[0] if names else ""), rest
