"""Fields of nested configs by dotted names, such as `settings.ppo.learning_rate`."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from utils.config import from_json, plain, to_json
from utils.errors import ConfigError

Config = TypeVar("Config")


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """Return the config with other values in some fields.

    A nested config that is None so far begins with its defaults.

    Args:
        config: A dataclass instance.
        values: JSON values by dotted name.

    Raises:
        ConfigError: A name is unknown (the nearest is named), or a value does not fit.
    """
    tree = to_json(config)
    for name, value in values.items():
        _set(tree, type(config), name, value)
    return from_json(type(config), tree)


def value_at(config: Any, name: str) -> Any:
    """Return a field; None if a config on the way is.

    Args:
        config: A dataclass instance.
        name: Dotted.

    Raises:
        ConfigError: The name is unknown; the nearest is named.
    """
    check_name(type(config), name)
    value = config
    for part in name.split("."):
        value = None if value is None else getattr(value, part)
    return value


def names_of(config_type: Any, prefix: str = "") -> Iterator[str]:
    """Name all fields, those of nested configs after the config itself.

    Args:
        config_type: A dataclass.
        prefix: Goes before every name.
    """
    for field, hint in typing.get_type_hints(config_type).items():
        yield prefix + field
        nested = nested_type(hint)
        if nested is not None:
            yield from names_of(nested, f"{prefix}{field}.")


def check_name(config_type: Any, name: str) -> None:
    """Refuse a name that no field has.

    Args:
        config_type: A dataclass.
        name: Dotted.

    Raises:
        ConfigError: It is unknown; the nearest is named.
    """
    known = list(names_of(config_type))
    if name not in known:
        raise ConfigError(unknown("setting", name, known))


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is unknown, and which one may be meant.

    Args:
        kind: What it should name.
        name: As given.
        known: All there are.
    """
    names, start = list(known), name.rpartition(".")[0]
    beside = [one for one in names if one.rpartition(".")[0] == start]
    ends = {one.rpartition(".")[2]: one for one in beside}
    near = [ends[end] for end in get_close_matches(name.rpartition(".")[2], ends, n=1)]
    if not near and not beside:
        near = get_close_matches(name, names, n=1)
    if near:
        return f"no {kind} {name!r}: did you mean {near[0]!r}?"
    return f"no {kind} {name!r}; there are {', '.join(beside or names)}"


def nested_type(hint: Any) -> Any:
    """Return the dataclass that a field holds, or may hold; None if it is no config.

    Args:
        hint: The field's type.
    """
    options = (
        typing.get_args(hint)
        if typing.get_origin(hint) in {typing.Union, types.UnionType}
        else (hint,)
    )
    found = [option for option in options if dataclasses.is_dataclass(option)]
    return found[0] if found else None


def _set(tree: dict[str, Any], config_type: Any, name: str, value: Any) -> None:
    check_name(config_type, name)
    *path, last = name.split(".")
    for part in path:
        config_type = nested_type(typing.get_type_hints(config_type)[part])
        if tree[part] is None:
            tree[part] = _defaults(config_type)
        tree = tree[part]
    tree[last] = value


def _defaults(config_type: Any) -> dict[str, Any]:
    """Return what the fields are that have a default."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config_type):
        if field.default is not dataclasses.MISSING:
            values[field.name] = plain(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            values[field.name] = plain(field.default_factory())
    return values
