"""Settings of a training run by flat name, the words of the command line.

``augmix train --cutout-size-px 8``, ``build_config(cutout_size_px=8)`` and ``"cutout_size_px": 8``
in `config.json` set the same field of a nested `TrainConfig`.
"""

import ast
import inspect
import textwrap
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

from augmix.augment.policies import Policy
from augmix.errors import RunError, did_you_mean
from augmix.methods import METHODS, Method, build_method
from augmix.methods.registry import laid_over, layer_names
from augmix.training.config import TrainConfig
from augmix.training.recipes import find_recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting of a run; ``path`` names the fields that lead to it, ``hint`` is its type."""

    path: tuple[str, ...]
    hint: Any
    value: Any
    help: str


_OF_DATA = ("crop_padding", "flip")  # fields of policies that `DataConfig` fills in
_GROUPS: Mapping[str, Any] = {  # classes of the settings that every run has
    entry.name: entry.default_factory for entry in fields(TrainConfig) if entry.name != "method"
}


def method_settings(method: Method) -> dict[str, Setting]:
    """The settings of a method by flat name: its own, and those of its policies.

    Example:
        >>> from augmix.methods import build_method
        >>> sorted(method_settings(build_method("standard+mixup")))
        ['label_smoothing', 'mixup_alpha', 'mixup_per_image']
    """
    over = {layer: METHODS[name].flag_prefix or name for layer, name in laid_over(method).items()}
    return dict(_list_settings(method, ("method",), "", over))


def general_settings(config: TrainConfig | None = None) -> dict[str, Setting]:
    """The settings that every run has, whatever its method: those of a run, else the defaults."""
    return {
        name: found
        for group, cls in _GROUPS.items()
        for name, found in _list_settings(getattr(config, group, cls()), (group,), "")
    }


def config_settings(config: TrainConfig) -> dict[str, Setting]:
    """All settings of a run by flat name."""
    return method_settings(config.method) | general_settings(config)


def flatten(config: TrainConfig) -> dict[str, Any]:
    """The settings of a run by flat name, beginning with the method's name.

    Raises:
        RunError: If `build_config` could not make the run again from them.
    """
    flat = {name: setting.value for name, setting in config_settings(config).items()}
    flat = {"method": str(config.method), **flat}
    try:
        is_same = build_config(**flat) == config
    except ValueError:
        is_same = False
    if not is_same:
        raise RunError(
            f"the method {config.method!r} cannot be written down by its flags, so its run could "
            "not be continued: give it a name of its own with augmix.register_method"
        )
    return flat


def build_config(
    recipe: str | Mapping[str, Any] = "", *, method: str | None = None, **changes: Any
) -> TrainConfig:
    """Build the configuration of a run from flat names, the words of the command line.

    Args:
        recipe: A key of `recipes.RECIPES` to start from, or settings like one. What it says of a
            method counts for methods that have such a setting.
        method: A name, as for `augmix.methods.build_method`; by default the recipe's, or augmix.
        changes: Settings by flat name.

    Raises:
        ValueError: If there is no such recipe, method or setting (the nearest is suggested, or the
            method that has the setting), or a value is wrong.

    Example:
        >>> build_config("imagenet", data="/data/imagenet").method.policy.severity
        1
    """
    presets = dict(find_recipe(recipe) if isinstance(recipe, str) else recipe)
    usual = str(presets.pop("method", "augmix"))
    method = method or usual
    parts: dict[str, Any] = {"method": build_method(method)}
    parts |= {name: group() for name, group in _GROUPS.items()}
    known = method_settings(parts["method"]) | general_settings()
    own = {
        name: value
        for name, value in presets.items()
        if name in known or not (find_owners(name) or find_layers(name))
    }
    return TrainConfig(**_apply(parts, known, {**own, **changes}, method))


def update_config(config: TrainConfig, **changes: Any) -> TrainConfig:
    """Change settings of a configuration by their flat names.

    Raises:
        ValueError: If there is no such setting, or a value is wrong.

    Example:
        >>> update_config(TrainConfig(), seed=3).run.seed
        3
    """
    parts = {entry.name: getattr(config, entry.name) for entry in fields(config)}
    return TrainConfig(**_apply(parts, config_settings(config), changes, str(config.method)))


def find_owners(name: str) -> list[str]:
    """The methods that have a setting of this flat name."""
    return [method for method, cls in METHODS.items() if name in method_settings(cls())]


def find_layers(name: str) -> list[str]:
    """The methods that have a setting of this flat name where they are laid over another."""
    plain = method_settings(build_method("standard"))
    return [
        layer
        for layer in layer_names()
        if name not in plain and name in method_settings(build_method(f"standard+{layer}"))
    ]


def check_setting(name: str, method: str, known: Collection[str]) -> None:
    """Refuse the flat name of a setting that a run by this method does not have.

    Raises:
        ValueError: Naming the method it belongs to, or the nearest name.
    """
    if name in known:
        return
    flag = f"--{name.replace('_', '-')}"
    owners, over = find_owners(name), find_layers(name)
    if not owners and not over:
        flags = [f"--{each.replace('_', '-')}" for each in known]
        raise ValueError(f"there is no setting {flag}{did_you_mean(flag, flags)}")
    hint = f"; --method {method}+{over[0]} lays it over" if over else ""
    owned = ", ".join(owners) or f"{over[0]} over another method"
    raise ValueError(f"{flag} belongs to {owned}; --method is {method}{hint}")


def _list_settings(
    node: Any, path: tuple[str, ...], prefix: str, over: Mapping[type, str] = MappingProxyType({})
) -> Iterator[tuple[str, Setting]]:
    hints, docs = get_type_hints(type(node)), field_docs(type(node))
    for entry in fields(node):
        value, below = getattr(node, entry.name), (*path, entry.name)
        if is_dataclass(value):
            own = entry.metadata.get("flag", entry.name)
            if isinstance(value, Policy):
                own = over.get(type(value), _prefix(value)).replace("-", "_")
            yield from _list_settings(value, below, own, over)
        elif not (entry.name in _OF_DATA and isinstance(node, Policy)):
            name = entry.metadata.get("flag", entry.name)
            yield (
                f"{prefix}_{name}" if prefix else name,
                Setting(
                    path=below,
                    hint=entry.metadata.get("hint", hints[entry.name]),
                    value=value,
                    help=docs[entry.name],
                ),
            )


def _prefix(policy: Any) -> str:
    """What stands in front of the settings of a policy: that of the method whose policy it is."""
    for method in METHODS.values():
        if method.flag_prefix and type(method().policy) is type(policy):
            return method.flag_prefix
    return ""


@cache
def field_docs(cls: type) -> dict[str, str]:
    """The string under every field of a dataclass, inherited ones too."""
    docs = {entry.name: "" for entry in fields(cls)}
    for base in reversed(cls.__mro__):
        if not is_dataclass(base):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for line, below in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(line, ast.AnnAssign) and isinstance(below, ast.Expr):
                text = ast.literal_eval(below.value)
                docs[line.target.id] = " ".join(text.split())  # pyright: ignore
    return docs


def _apply(
    parts: Mapping[str, Any], known: Mapping[str, Setting], changes: Mapping[str, Any], method: str
) -> dict[str, Any]:
    """The parts of a configuration with settings changed; every part is checked once."""
    nested: dict[str, Any] = {}
    for name, value in changes.items():
        check_setting(name, method, known)
        setting = known[name]
        at = nested
        for step in setting.path[:-1]:
            at = at.setdefault(step, {})
        at[setting.path[-1]] = _coerce(value, setting.hint)
    return {name: _replace(part, nested.get(name, {})) for name, part in parts.items()}


def _replace(node: Any, changes: Mapping[str, Any]) -> Any:
    if not changes:
        return node
    values = {
        name: _replace(getattr(node, name), value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return replace(node, **values)


def _coerce(value: Any, hint: Any) -> Any:
    """A value as JSON gives it in the type of its field."""
    if hint is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, Path) and hint is not Path:
        return str(value)
    is_tuple = any(get_origin(kind) is tuple for kind in (hint, *get_args(hint)))
    return tuple(value) if is_tuple and isinstance(value, list) else value
