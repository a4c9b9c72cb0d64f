"""Flags of the commands: from configurations to flags, and from words to a configuration.

tyro parses; its messages are printed as one line, with the nearest flag for an unknown one.
"""

import io
import itertools
import os
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import field, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from augmix.commands import COMMANDS
from augmix.errors import did_you_mean

if TYPE_CHECKING:
    import tyro

    from augmix.training.config import TrainConfig

Config = TypeVar("Config")
Flag = tuple[str, Any, Any]  # name, type with help, dataclasses.field

_CHOICES = {"yes": True, "no": False, "auto": None}  # values of a flag that may be left open
_ALIASES = {
    "lr": "learning_rate",
    "b": "batch_size",
    "batch": "batch_size",
    "wd": "weight_decay",
    "opt": "optimizer",
    "workers": "num_threads",
    "val_split": "val_fraction",
}
_MEANT = {  # flags of other programs, and what does the same here
    "amp": "take --precision bf16, or fp16 on a GPU",
    "resume": "the same command continues the run in its folder --out",
    "gpus": "start torchrun --nproc-per-node N -m augmix train ...",
    "devices": "start torchrun --nproc-per-node N -m augmix train ...",
    "wandb": "take --logger wandb",
    "mlflow": "take --logger mlflow",
    "tensorboard": "take --logger tensorboard",
    "weights": "take --model NAME@FILE, or --model timm:NAME for published weights",
    "checkpoint": "take --model NAME@FILE, or a run folder",
    "num_classes": "classes are counted in the images",
    "warmup_epochs": "take --warm-up-epochs",
    "model_ema": "take --ema-decay 0.999",
    "output": "take --out",
    "img_size": "take --size",
}


def refuse_meant(words: Sequence[str], known: Collection[str]) -> None:
    """Refuse flags of other programs, and say what does the same here.

    Raises:
        ValueError: If there is one that is not known here.
    """
    for word in words:
        name = word.removeprefix("--").partition("=")[0].replace("-", "_")
        if word.startswith("--") and name in _MEANT and name not in known:
            raise ValueError(f"there is no option {word.partition('=')[0]}: {_MEANT[name]}")


def spell_choices(words: Sequence[str], names: Collection[str]) -> list[str]:
    """Write flags that may be left open, ``--name`` and ``--no-name``, with their value."""
    found: list[str] = []
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        name = word.removeprefix("--").replace("-", "_")
        is_flag = word.startswith("--")
        if is_flag and name.removeprefix("no_") in names and name not in names:
            found += [f"--{name.removeprefix('no_').replace('_', '-')}", "no"]
        elif is_flag and name in names and following not in _CHOICES:
            found += [word, "yes"]
        else:
            found.append(word)
    return found


def spell_margin(words: Sequence[str]) -> list[str]:
    """Write a precision in points, ``--precision 1.0``, as ``--margin-of-error 1.0``."""
    found: list[str] = []
    for word in words:
        name, _, value = word.partition("=")
        if name == "--precision" and _is_number(value):
            word = f"--margin-of-error={value}"
        elif found and found[-1] == "--precision" and _is_number(word):
            found[-1] = "--margin-of-error"
        found.append(word)
    return found


def _is_number(word: str) -> bool:
    try:
        return float(word) > 0
    except ValueError:
        return False


def parse(config: Callable[..., Config], name: str, words: Sequence[str]) -> Config:
    """The configuration of a command from its flags; tyro prints the help.

    Raises:
        ValueError: If a flag is unknown or its value is refused; the message is one line.
    """
    import tyro

    options: dict[str, Any] = {
        "prog": f"augmix {name}",
        "description": COMMANDS.get(name, "train a decoder for an encoder, to stylise with"),
        "config": (tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs),
        "registry": _registry(),
    }
    if {"-h", "--help"} & set(words):
        return tyro.cli(config, args=list(words), **options)
    _refuse_twice(words)
    printed = io.StringIO()
    try:
        with redirect_stderr(printed), _one_line():
            found, unknown = tyro.cli(config, args=list(words), return_unknown_args=True, **options)
    except SystemExit as stop:
        if not stop.code:  # a completion script was printed
            raise
        raise ValueError(f"{_explain_box(printed.getvalue())}; see augmix {name} --help") from stop
    if unknown:
        flag = next((word for word in unknown if word.startswith("-")), unknown[0])
        flag = flag.partition("=")[0]
        with redirect_stdout(printed), suppress(SystemExit):
            tyro.cli(config, args=["--help"], **options)
        known = set(re.findall(r"--[a-z0-9-]+", printed.getvalue()))
        guess = did_you_mean(flag, known)
        raise ValueError(f"{name} has no option {flag}{guess}; see augmix {name} --help")
    return found


def _refuse_twice(words: Sequence[str]) -> None:
    """Refuse a flag that is given twice, of which only the last would count."""
    flags = [word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--")]
    twice = next((flag for flag in flags if flags.count(flag) > 1), None)
    if twice:
        raise ValueError(
            f"{twice} is given twice; give it once, with several values behind it if it takes them"
        )


SHELLS = ("bash", "zsh")


def completion_script(shell: str, commands: Mapping[str, Callable[[Sequence[str]], Any]]) -> str:
    """The script with which a shell completes commands, flags, and values where a flag lists them.

    Args:
        shell: ``bash`` or ``zsh``.
        commands: What runs each command; the flags are read from its help.

    Raises:
        ValueError: If the shell is another.
    """
    if shell not in SHELLS:
        raise ValueError(f"--completion takes {' or '.join(SHELLS)}, got {shell!r}")
    values, flags = [], []
    for name, run in commands.items():
        printed = io.StringIO()
        with redirect_stdout(printed), _one_line(), suppress(SystemExit):
            run(["--help"])
        text = printed.getvalue()
        found = dict.fromkeys(re.findall(r"(?<![\w-])--[a-z0-9][a-z0-9-]*", text))
        flags.append(f'      *" {name}") words="{" ".join(found)}" ;;')
        for flag, choices in re.findall(r"(--[a-z0-9-]+) (?:\[?\{)([\w,-]+)\}", text):
            words = " ".join(word for word in choices.split(",") if word != "None")
            if words:
                values.append(f'    "{name} {flag}") words="{words}" ;;')
    lines = [
        "autoload -U +X bashcompinit && bashcompinit" if shell == "zsh" else "",
        "_augmix() {",
        '  local word="${COMP_WORDS[COMP_CWORD]}" words=""',
        '  case "${COMP_WORDS[1]} ${COMP_WORDS[COMP_CWORD-1]}" in',
        *values,
        '    *) case "$COMP_CWORD ${COMP_WORDS[1]}" in',
        f'      "1 "*) words="{" ".join(commands)} --help --version" ;;',
        *flags,
        "    esac",
        '    [ "$COMP_CWORD" = 1 ] || [ "${word#-}" != "$word" ] || words="" ;;  # else a file',
        "  esac",
        '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        "complete -o default -F _augmix augmix",
    ]
    return "\n".join(lines).lstrip()


@contextmanager
def _one_line() -> Iterator[None]:
    """Let tyro print every message on one line."""
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "9999"
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        os.environ |= {} if columns is None else {"COLUMNS": columns}


_TYPES = {
    r"invalid literal for int\(\) with base 10:": "must be a whole number, got",
    r"could not convert string to float:": "must be a number, got",
}


_UNION = r": no type matching (\S+) could be instantiated from \[(.*)\]"


def _explain_union(found: re.Match[str]) -> str:
    """What a flag of several types takes: `{None,backbone}|INT`."""
    kinds = {"INT": "a whole number", "FLOAT": "a number", "STR": "a text"}
    words = [each for part in found[1].split("|") for each in part.strip("{}").split(",")]
    shown = " or ".join(kinds.get(each, each) for each in words if each != "None")
    return f" must be {shown}, got {found[2]}"


_LIST = r"(--[\w-]+): Could not find valid parse for arguments: \[(.*)\]"


def _explain_list(found: re.Match[str]) -> str:
    """That the values of a flag are separated by spaces, or that they are of another kind."""
    values = " ".join(re.findall(r"'(.*?)'", found[2]))
    way = f"; separate them by spaces: {values.replace(',', ' ')}" if "," in values else ""
    return f"{found[1]} does not take {values!r}{way}"


_MISSING = r"Missing from augmix (.*?): (.*)"
_KIND = r"(?:^| )(?:STR|PATH|INT|FLOAT|\{.*?\})(?: \[.*?\])? "  # of a positional argument


def _explain_missing(found: re.Match[str]) -> str:
    """What a command lacks: the first words of the help of each argument."""
    helps = re.split(_KIND, found[2].replace("(required)", ""))
    ends = r"\. | \(|[;:]|, e\.g\.|\.$"
    lacks = [re.split(ends, text.strip())[0] for text in helps if text.strip()]
    return f"missing after {found[1]!r}: {'; '.join(lacks)}"


_CHOICE = r"invalid choice '(.*?)' for argument '(.*?)'\. Expected one of \((.*?),?\)"


def _explain_choice(found: re.Match[str]) -> str:
    """What a flag with choices takes, and the nearest to what came."""
    choices = re.findall(r"'(.*?)'", found[3])
    word = "cuda" if found[1].startswith(("cuda", "gpu")) else found[1]
    near = ", did you mean 'cuda'?" if word in choices else did_you_mean(word, choices)
    return f"{found[2]} must be one of {', '.join(choices)}, got {found[1]!r}{near}"


def _explain_box(text: str) -> str:
    """The message in a box of tyro's, between its title and the rule below it."""
    lines = [line.strip("\u2502| ") for line in text.splitlines()[1:]]
    below = itertools.dropwhile(lambda line: not set(line) - set("\u2500-"), lines)
    message = " ".join(itertools.takewhile(lambda line: set(line) - set("\u2500-"), below))
    message = re.sub(r"^Error parsing (?!-)[^:]*: ", "", message).removeprefix("Error parsing ")
    message = re.sub(_MISSING, _explain_missing, message)
    message = re.sub(_LIST, _explain_list, message)
    message = re.sub(_UNION, _explain_union, message)
    message = re.sub(_CHOICE, _explain_choice, message)
    for pattern, words in _TYPES.items():
        message = re.sub(f"(?<=\\w): {pattern}", f" {words}", message)
    return message.rstrip(".")


def _registry() -> "tyro.constructors.ConstructorRegistry":
    """What tyro must know of flags that are yes, no or left open: ``bool | None``."""
    import tyro

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


def make_flag(name: str, hint: Any, default: Any, text: str) -> Flag:
    """A field of a dataclass of flags; ``text`` is its help."""
    import tyro

    aliases = [alias.replace("_", "-") for alias, flag in _ALIASES.items() if flag == name]
    dashed = [f"-{alias}" if len(alias) == 1 else f"--{alias}" for alias in aliases]
    argument = tyro.conf.arg(help=text, aliases=dashed or None)
    return name, Annotated[hint, argument], field(default=default)


def make_group(name: str, flags: Sequence[Flag]) -> Any:
    """A dataclass of flags, which stand below its name in the help."""
    return make_dataclass(name, flags, kw_only=True, namespace={"__doc__": " "})


def make_part(kind: Any, name: str = "") -> Flag:
    """A dataclass as a field of another one."""
    return name or kind.__name__, kind, field(default_factory=kind)


def method_flag(method: str) -> Flag:
    """The flag that names the method, whose help lists all of them."""
    from augmix.methods import METHODS

    names = ", ".join(sorted(METHODS))
    over = "NAME+NAME lays the second over the first, python:MODULE:CLASS is one of your own"
    return make_flag("method", str, method, f"{names}; {over}.")


def method_group(
    method: str, words: Sequence[str], others: Sequence[str], presets: Mapping[str, Any]
) -> Any:
    """The flags of a method, once the words hold no flag of another one.

    Raises:
        ValueError: If they do.
    """
    from augmix.methods import build_method
    from augmix.training.settings import check_setting, method_settings

    own = method_settings(build_method(method))
    known = [*own, *others, *_ALIASES, "method", "help"]
    for word in words:
        name = word.removeprefix("--").partition("=")[0].replace("-", "_")
        if word.startswith("--"):
            positive = name.removeprefix("no_")
            check_setting(positive if positive in known else name, method, known)
    flags = [make_flag(n, s.hint, presets.get(n, s.value), s.help) for n, s in own.items()]
    return make_group(re.sub(r"\W", "_", method), flags)


def peek(words: Sequence[str], flag: str, default: str) -> str:
    """The value of a flag that decides about the others.

    Raises:
        ValueError: If it has no value, or is given twice.
    """
    values = [word.partition("=")[2] for word in words if word.startswith(f"{flag}=")]
    values += [(*words, "")[at + 1] for at, word in enumerate(words) if word == flag]
    _refuse_twice([flag] * len(values))
    if "" in values:
        raise ValueError(f"expected one name after {flag}")
    return values[0] if values else default


def parse_training(words: Sequence[str]) -> tuple["TrainConfig", bool]:
    """The run that flags describe, and whether it is only to be forecast.

    Flags are those of the method that is named, and those that every run has.

    Raises:
        ValueError: If a flag belongs to another method, or a value is wrong.
    """
    from augmix.training.recipes import RECIPES, find_recipe
    from augmix.training.settings import build_config, general_settings

    general = general_settings()
    refuse_meant(words, general)
    words = _spell_training(words)
    recipe = peek(words, "--recipe", "")
    presets = find_recipe(recipe)
    method = peek(words, "--method", presets.get("method", "augmix"))
    of_method = method_group(method, words, [*general, "recipe", "dry_run"], presets)
    groups: dict[str, list[Flag]] = {}
    for name, found in general.items():
        flag = make_flag(name, found.hint, presets.get(name, found.value), found.help)
        groups.setdefault(found.path[0], []).append(flag)
    recipes = f"Settings to start from: {', '.join(RECIPES)}."
    dry_run = "Take a few steps, say what the run will take, and write nothing."
    top = [
        method_flag(method),
        make_flag("recipe", str, recipe, recipes),
        make_flag("dry_run", bool, False, dry_run),
    ]
    parts = [of_method, *(make_group(name, flags) for name, flags in groups.items())]
    flags: Any = parse(make_group("flags", [*top, *map(make_part, parts)]), "train", words)
    given = {k: v for part in parts for k, v in vars(getattr(flags, part.__name__)).items()}
    return build_config(method=method, **given), flags.dry_run


def _spell_training(words: Sequence[str]) -> list[str]:
    """Write flags such as ``--no-pretrained`` of ``augmix train`` as ``--pretrained no``."""
    from augmix.training.settings import general_settings

    hints = {name: found.hint for name, found in general_settings().items()}
    return spell_choices(words, [name for name, hint in hints.items() if hint == bool | None])


def decide_training(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags of a command that names its images first, and what was decided, in words.

    What is not given is decided by the images; any other command is returned as it is.
    """
    if not words or words[0].startswith("-"):
        return list(words), []
    from augmix.training.recipes import choose_flags

    data, *rest = words[0], *_spell_training(words[1:])
    given = [word.removeprefix("--").partition("=")[0].replace("-", "_") for word in rest]
    is_pretrained = peek(rest, "--pretrained", "") != "no"
    model = peek(rest, "--model", "")
    choices = choose_flags(data, given, model=model, is_pretrained=is_pretrained)
    flags = ["--data", data, *(flag for choice in choices for flag in choice.flags), *rest]
    said = [choice.reason for choice in choices]
    return flags, [*said, f"to repeat: augmix train {shlex.join(flags)}"]
