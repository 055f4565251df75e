"""Hydra, for command lines: groups, presets, `name=value` words and sweeps become plain values.

Nothing else imports Hydra or OmegaConf. Hydra composes the choices and the presets; what a setting
is called and which values fit is known by the frozen dataclasses alone, see `utils.dotted`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from utils.dotted import unknown
from utils.errors import ConfigError
from utils.search_axis import Axis

HYDRA_API = "1.3"


@dataclass(frozen=True, kw_only=True)
class Presets:
    """A folder of YAML files in which presets are kept, and the groups one can choose from."""

    folder: Path
    """Holds the primary file and a folder for each group that consists of files."""
    primary: str
    """Name of the file that everything begins with, without its ending."""
    names: Mapping[str, Sequence[str]]
    """Options by group, of groups without files: an option is its name."""

    def options(self) -> dict[str, tuple[str, ...]]:
        """Return the options of every group, files included."""
        files = {
            one.name: tuple(sorted(path.stem for path in one.glob("*.yaml")))
            for one in sorted(self.folder.iterdir())
            if one.is_dir()
        }
        return files | {group: tuple(options) for group, options in self.names.items()}


@dataclass(frozen=True, kw_only=True)
class Composed:
    """What presets and words together say."""

    choices: Mapping[str, str]
    """The option chosen of each group without files."""
    values: Mapping[str, Any]
    """JSON values by dotted name: those of presets first, then those of words."""


def expand_sweeps(words: Sequence[str], *, is_multirun: bool) -> list[tuple[str, ...]]:
    """Return the words of every run: all combinations of what is swept over.

    Args:
        words: As typed, such as `algorithm=ppo,sac` or `training.seed=range(3)`.
        is_multirun: Whether sweeps are wanted.

    Raises:
        ConfigError: A word is no override, or a sweep where none is wanted.
    """
    axes: list[list[str]] = []
    for word in words:
        override = _parse(word)
        if not override.is_sweep_override():
            axes.append([word])
            continue
        if not is_multirun:
            raise ConfigError(f"{word!r} sweeps over several values: add -m, or write it in quotes")
        try:
            values = list(override.sweep_string_iterator())
        except (HydraException, TypeError, ValueError) as error:
            raise ConfigError(f"{word!r} has no list of values: {_line(error)}") from error
        axes.append([f"{override.get_key_element()}={value}" for value in values])
    return list(itertools.product(*axes))


def split_axes(words: Sequence[str]) -> tuple[tuple[Axis, ...], tuple[str, ...]]:
    """Take the words that name what to search over from those that set something.

    Args:
        words: Such as `a=interval(0,1)`, `b=tag(log,interval(1e-5,1e-2))`, `c=int(interval(1,8))`,
            `d=tanh,relu` or `e=range(1,9,2)`, and plain ones.

    Returns:
        The axes, and the plain words.

    Raises:
        ConfigError: A word is no override, or an axis has nothing to choose.
    """
    axes: list[Axis] = []
    plain: list[str] = []
    for word in words:
        override = _parse(word)
        if override.is_sweep_override():
            axes.append(_axis(override))
        else:
            plain.append(word)
    return tuple(axes), tuple(plain)


def compose_words(presets: Presets, words: Sequence[str]) -> Composed:
    """Compose presets and words; later ones win.

    Args:
        presets: What there is to choose from.
        words: `group=option` and `dotted.name=value`, without sweeps.

    Raises:
        ConfigError: A word is no override, an option is unknown, or a preset is damaged.
    """
    options = presets.options()
    chosen: list[str] = []
    values: dict[str, Any] = {}
    for word in words:
        override = _parse(word)
        name = override.key_or_group
        if name not in options:
            values.pop(name, None)
            values[name] = override.value()
            continue
        option = str(override.value())
        if option not in options[name] and override.value() is not None:
            raise ConfigError(unknown(name, option, options[name]))
        chosen.append(word)
    tree = _compose_choices(presets, chosen)
    choices = {group: str(tree.get(group, {}).pop("name", "")) for group in presets.names}
    preset = {name: value for name, value in _leaves(tree) if name not in values}
    return Composed(choices=choices, values=preset | values)


def to_yaml(tree: Mapping[str, Any]) -> str:
    """Return nested JSON values as YAML.

    Args:
        tree: Of strings, numbers, lists and nested mappings.
    """
    return str(OmegaConf.to_yaml(OmegaConf.create(dict(tree))))


def _parse(word: str) -> Override:
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except HydraException as error:
        raise ConfigError(f"cannot read {word!r}: write name=value. {_line(error)}") from error
    if override.is_add() or override.is_delete() or override.package is not None:
        raise ConfigError(
            f"{word!r}: settings can be changed, not added, deleted or moved: write name=value"
        )
    return override


def _axis(override: Override) -> Axis:
    name, swept = override.key_or_group, override.value()
    if isinstance(swept, IntervalSweep):
        low, high = swept.start or 0, swept.end or 0
        return Axis(
            name=name,
            low=float(low),
            high=float(high),
            is_log="log" in swept.tags,
            is_int=isinstance(low, int) and isinstance(high, int),
        )
    try:
        words = [f"{name}={text}" for text in override.sweep_string_iterator()]
    except (HydraException, TypeError, ValueError) as error:
        raise ConfigError(f"{name} has no list of values: {_line(error)}") from error
    return Axis(name=name, options=tuple(_parse(word).value() for word in words))


def _compose_choices(presets: Presets, words: Sequence[str]) -> dict[str, Any]:
    store = ConfigStore.instance()
    for group, options in presets.names.items():
        for option in options:
            store.store(group=group, name=option, node={"name": option})
    try:
        folder = str(presets.folder.resolve())
        with initialize_config_dir(folder, version_base=HYDRA_API):
            composed = compose(presets.primary, overrides=list(words))
        return dict(OmegaConf.to_container(composed, resolve=True))  # type: ignore[arg-type]
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(f"presets of {presets.folder}: {_line(error)}") from error


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
