"""Frozen dataclasses to JSON and back, with errors that name the field."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from utils.errors import ConfigError

Config = TypeVar("Config")


def to_json(config: Any) -> dict[str, Any]:
    """Return the fields of a config as plain JSON values.

    Args:
        config: A dataclass instance of numbers, strings, enums, tuples and nested configs.
    """
    return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def from_json(config_type: type[Config], values: Mapping[str, Any], where: str = "") -> Config:
    """Build a config from JSON values.

    Args:
        config_type: The dataclass to build.
        values: Its fields; absent ones take their defaults.
        where: Prefix of field names in errors.

    Raises:
        ConfigError: A name is unknown, a type is wrong, or the config refuses a value.
    """
    hints = typing.get_type_hints(config_type)
    names = [f.name for f in dataclasses.fields(typing.cast("Any", config_type))]
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise ConfigError(f"unknown field {where}{unknown[0]}; known: {', '.join(names)}")
    arguments = {name: _typed(hints[name], value, where + name) for name, value in values.items()}
    try:
        return config_type(**arguments)
    except TypeError as error:
        raise ConfigError(f"{where or config_type.__name__}: {error}") from error


def check_types(config: Any) -> None:
    """Refuse values of other types than the fields have.

    Nested configs have looked after themselves; choices are their owner's, who knows the nearest.

    Args:
        config: A dataclass instance.

    Raises:
        ConfigError: A field holds something else.
    """
    hints = typing.get_type_hints(type(config))
    for name in (f.name for f in dataclasses.fields(config)):
        value, hint = getattr(config, name), hints[name]
        if not dataclasses.is_dataclass(value) and typing.get_origin(hint) is not typing.Literal:
            _typed(hint, value, name)


def plain(value: Any) -> Any:
    """Return a value of a config as plain JSON.

    Args:
        value: A number, string, enum, tuple or config.
    """
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def _typed(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in {typing.Union, types.UnionType}:
        if value is None and type(None) in typing.get_args(hint):
            return None
        (hint,) = [option for option in typing.get_args(hint) if option is not type(None)]
        return _typed(hint, value, where)
    if origin is tuple:
        return _typed_tuple(typing.get_args(hint), value, where)
    if origin is Sequence:
        return _typed_tuple((*typing.get_args(hint), Ellipsis), value, where)
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            raise ConfigError(f"{where}={value!r}: choose from {typing.get_args(hint)}")
        return value
    return _typed_scalar(hint, value, where)


def _typed_tuple(item_hints: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where} wants a list, not {value!r}")
    if len(item_hints) == 2 and item_hints[1] is Ellipsis:
        item_hints = (item_hints[0],) * len(value)
    if len(item_hints) != len(value):
        raise ConfigError(f"{where} wants {len(item_hints)} items, not {len(value)}")
    return tuple(
        _typed(item_hint, item, f"{where}[{index}]")
        for index, (item_hint, item) in enumerate(zip(item_hints, value, strict=True))
    )


def _typed_scalar(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} wants an object of fields, not {value!r}")
        return from_json(typing.cast("type[Any]", hint), value, where + ".")
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        try:
            return hint(value)
        except ValueError as error:
            choices = [member.value for member in hint]
            raise ConfigError(f"{where}={value!r}: choose from {choices}") from error
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where} wants {hint.__name__}, not {value!r}")
    return value
