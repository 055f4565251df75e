"""What a form for a training asks: every setting with its type, default, bounds, choices and words.

Made from the configurations themselves, so that a form cannot know other settings than training
does. Bounds are found by asking their checks. Read without torch.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml  # type: ignore[import-untyped]

from rl.algorithms.capabilities import Algorithm
from rl.training.demos import DEMOS, demo_config
from rl.training.learning_settings import LearningSettings, family_of
from rl.training.run_settings import ENVIRONMENTS, make_config
from rl.training.training_config import TrainingConfig
from rl.training.world_settings import WorldSettings
from utils.config import from_json, plain, to_json
from utils.dotted import nested_type
from utils.errors import ConfigError
from utils.field_docs import field_docs

Kind = Literal["whole", "number", "text", "switch", "choice", "wholes", "texts", "json"]
PRESETS: Final = Path(__file__).parents[2] / "configs"
SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "What is trained": ("environment", "algorithm", "num_agents", "init_from"),
    "How long": ("total_episodes", "early_stopping_patience", "max_hours"),
    "Scenarios": (
        *("use_curriculum", "use_synthetic_data", "real_share"),
        "synthetic_data_refresh_frequency",
    ),
    "Evaluations and checkpoints": (
        *("eval_frequency", "eval_episodes", "checkpoint_frequency", "keep_last", "keep_best"),
        "tensorboard",
    ),
    "Collection": (
        *("num_envs", "device", "collection_shards", "collection_place", "collection_devices"),
    ),
    "Name and chance": ("experiment_name", "seed", "tags"),
}
"""Fields of TrainingConfig by topic; `traces` is the server's to know, not a caller's."""
SIMPLE: Final[dict[Any, Kind]] = {
    int: "whole", float: "number", str: "text", bool: "switch",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FormField:
    """One setting."""

    name: str
    """Dotted, such as `settings.ppo.gamma`."""
    section: str
    """Of the form; of inner settings, where they belong, such as `settings.ppo`."""
    kind: Kind
    default: Any
    is_optional: bool
    """May be left empty, which is `null`."""
    about: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    takes_least: bool = True
    takes_most: bool = True


@dataclass(frozen=True, kw_only=True)
class FormPreset:
    """Settings to begin with."""

    name: str
    about: str
    config: Mapping[str, Any]
    """What differs from the defaults."""


@dataclass(frozen=True, kw_only=True)
class TrainingForm:
    """All of it."""

    fields: tuple[FormField, ...]
    families: Mapping[str, str]
    """By algorithm, the place in `settings` that it takes its settings from."""
    presets: tuple[FormPreset, ...]


@functools.cache
def describe_training() -> TrainingForm:
    """Return what a form for a training asks."""
    sections = {name: title for title, names in SECTIONS.items() for name in names}
    fields = [_field(TrainingConfig, name, section) for name, section in sections.items()]
    for place, config_type in (("settings", LearningSettings), ("world", WorldSettings)):
        for part, hint in typing.get_type_hints(config_type).items():
            inner = nested_type(hint)
            section = f"{place}.{part}"
            fields += [
                _field(inner, name, section, prefix=f"{section}.")
                for name in typing.get_type_hints(inner)
            ]
    return TrainingForm(
        fields=tuple(fields),
        families={name: family_of(name) for name in typing.get_args(Algorithm)},
        presets=(*_demos(), *_presets()),
    )


def differing(config: TrainingConfig) -> dict[str, Any]:
    """Return the fields of a configuration that are not as usual, as plain JSON.

    Args:
        config: Any.
    """
    defaults = to_json(TrainingConfig())
    return {name: value for name, value in to_json(config).items() if value != defaults[name]}


def read_preset(folder: Path, name: str) -> TrainingConfig:
    """Return what `scripts/train.py preset=NAME` trains, read without Hydra.

    Args:
        folder: Holds `train.yaml` and `preset/`.
        name: Of a file in `preset/`.

    Raises:
        ConfigError: A file is damaged, or says what does not fit.
    """
    choices: dict[str, str] = {}
    values: dict[str, Any] = {}
    for path in (folder / "train.yaml", folder / "preset" / f"{name}.yaml"):
        try:
            content = yaml.safe_load(path.read_text())
            listed = [one for one in content.pop("defaults", []) if isinstance(one, Mapping)]
            choices |= {k.removeprefix("override /"): v for one in listed for k, v in one.items()}
            values |= {f"{k}.{n}": v for k, group in content.items() for n, v in group.items()}
        except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
            raise ConfigError(f"preset {path.name} cannot be read: {error}") from error
    return make_config(choices, values, lambda config: config)


def _demos() -> list[FormPreset]:
    return [
        FormPreset(
            name=f"demo: {name}",
            about=demo.about.format(demo.num_agents),
            config=differing(demo_config(name)),
        )
        for name, demo in DEMOS.items()
    ]


def _presets() -> list[FormPreset]:
    found = []
    for path in sorted((PRESETS / "preset").glob("*.yaml")):
        comments = [line[1:].strip() for line in path.read_text().splitlines() if line[:1] == "#"]
        about = " ".join(line for line in comments if not line.startswith("@"))
        config = differing(read_preset(PRESETS, path.stem))
        found.append(FormPreset(name=f"preset: {path.stem}", about=about, config=config))
    return found


def _field(config_type: Any, name: str, section: str, prefix: str = "") -> FormField:
    hint, is_optional = _without_none(typing.get_type_hints(config_type)[name])
    kind, choices = _kind_of(hint)
    if name == "environment":
        kind, choices = "choice", ENVIRONMENTS
    default = plain(getattr(config_type(), name))
    is_number = kind in {"whole", "number"}
    bounds = _find_bounds(config_type, name, is_whole=kind == "whole") if is_number else {}
    return FormField(
        name=prefix + name,
        section=section,
        kind=kind,
        default=default,
        is_optional=is_optional,
        about=field_docs(config_type).get(name, ""),
        choices=choices,
        **bounds,
    )


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) not in {typing.Union, types.UnionType}:
        return hint, False
    rest = [one for one in typing.get_args(hint) if one is not type(None)]
    return rest[0], True


def _kind_of(hint: Any) -> tuple[Kind, tuple[str, ...]]:
    if hint in SIMPLE:
        return SIMPLE[hint], ()
    if typing.get_origin(hint) is Literal:
        return "choice", tuple(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) in {tuple, Sequence}:
        items = set(typing.get_args(hint)) - {Ellipsis}
        if items == {int}:
            return "wholes", ()
        if items == {str}:
            return "texts", ()
    return "json", ()


def _find_bounds(config_type: Any, name: str, *, is_whole: bool) -> dict[str, Any]:
    """Return the least and the most that the checks take, as far as these are 0, 1 or 2."""
    convert = int if is_whole else float

    def takes(value: float) -> bool:
        try:
            from_json(config_type, {name: convert(value)})
        except ConfigError:
            return False
        return True

    if is_whole:
        return {"least": next((n for n in (0, 1, 2) if takes(n) and not takes(n - 1)), None)}
    has_least, has_most = not takes(-1), takes(0.5) and not takes(2)
    return {
        "least": 0 if has_least else None,
        "most": 1 if has_most else None,
        "takes_least": not has_least or takes(0),
        "takes_most": not has_most or takes(1),
    }
