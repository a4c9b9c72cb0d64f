"""`augmix train`: one training run, by flags on top of a published recipe if one is named.

With `--dry-run` a few steps are timed and nothing is written.
"""

import re
from collections.abc import Sequence
from dataclasses import field, make_dataclass
from typing import Annotated, Any

import tyro

from augmix.cli import COMMANDS
from augmix.commands.terminal import make_console
from augmix.methods import METHODS, build_method
from augmix.training.config import (
    RECIPES,
    TrainConfig,
    build_config,
    check_setting,
    find_recipe,
    general_settings,
    method_settings,
)

_CHOICES = {"yes": True, "no": False, "auto": None}


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    config, is_dry = parse_run(words)
    from augmix import distributed
    from augmix.progress import ProgressDisplay
    from augmix.training.forecast import forecast_run
    from augmix.training.run import backend, train

    with distributed.joined(backend=backend()):
        if distributed.rank():  # process 0 prints for all
            forecast_run(config) if is_dry else train(config)
            return
        console = make_console()
        if is_dry:
            console.print("\n".join(forecast_run(config)), highlight=False, markup=False)
            return
        with ProgressDisplay(console) as progress:
            folder = train(config, on_progress=progress)
        console.print(f"run: {folder}", highlight=False, markup=False)


def parse_run(words: Sequence[str]) -> tuple[TrainConfig, bool]:
    """The run that flags describe, and whether it is only to be forecast.

    Flags are those of the method that is named, and those that every run has.

    Raises:
        ValueError: If a flag belongs to another method, or a value is wrong.
    """
    method, recipe = _peek(words, "--method", "augmix"), _peek(words, "--recipe", "")
    presets = find_recipe(recipe)
    own, general = method_settings(build_method(method)), general_settings()
    for word in words:
        name = word.removeprefix("--").partition("=")[0].replace("-", "_")
        if word.startswith("--") and name not in ("method", "recipe", "dry_run", "help"):
            check_setting(
                name if name in own or name in general else name.removeprefix("no_"),
                method,
                [*own, *general],
            )
    groups: dict[str, list[Any]] = {}
    for name, setting in {**own, **general}.items():
        group = setting.path[0] if name in general else re.sub(r"\W", "_", method)
        flag = _flag(name, setting.hint, presets.get(name, setting.value), setting.help)
        groups.setdefault(group, []).append(flag)
    over = "NAME+NAME lays the second over the first"
    top = [
        _flag("method", str, method, f"{', '.join(sorted(METHODS))}; {over}."),
        _flag("recipe", str, recipe, f"Published settings to start from: {', '.join(RECIPES)}."),
        _flag("dry_run", bool, False, "Take a few steps, say what the run takes, write nothing."),
    ]
    parts = [(name, _dataclass(name, flags)) for name, flags in groups.items()]
    flags: Any = tyro.cli(
        _dataclass("flags", [*top, *((n, kind, field(default_factory=kind)) for n, kind in parts)]),
        prog="augmix train",
        args=list(words),
        description=COMMANDS["train"],
        config=(tyro.conf.OmitArgPrefixes,),
        registry=_registry(),
    )
    given = {key: value for name in groups for key, value in vars(getattr(flags, name)).items()}
    return build_config(method=method, **given), flags.dry_run


def _flag(name: str, hint: Any, default: Any, text: str) -> tuple[str, Any, Any]:
    return name, Annotated[hint, tyro.conf.arg(help=text)], field(default=default)


def _dataclass(name: str, flags: list[Any]) -> Any:
    return make_dataclass(name, flags, kw_only=True, namespace={"__doc__": " "})


def _peek(words: Sequence[str], flag: str, default: str) -> str:
    """The value of a flag that decides about the others.

    Raises:
        ValueError: If it stands there without a value, or twice.
    """
    values = [word.partition("=")[2] for word in words if word.startswith(f"{flag}=")]
    values += [(*words, "")[at + 1] for at, word in enumerate(words) if word == flag]
    if len(values) > 1 or "" in values:
        raise ValueError(f"expected one name after {flag}")
    return values[0] if values else default


def _registry() -> tyro.constructors.ConstructorRegistry:
    """Values of flags that tyro has no good form for: auto, yes or no."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def read_choice(kind: tyro.constructors.PrimitiveTypeInfo) -> Any:
        if kind.type != bool | None:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="{auto,yes,no}",
            choices=tuple(_CHOICES),
            instance_from_str=lambda words: _CHOICES[words[0]],
            is_instance=lambda value: value is None or isinstance(value, bool),
            str_from_instance=lambda value: [k for k, v in _CHOICES.items() if v is value],
        )

    return registry
