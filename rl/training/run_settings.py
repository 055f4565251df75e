"""What people type becomes a training configuration: `env`, `algorithm` and `training` settings.

| typed | field of TrainingConfig |
| --- | --- |
| `env=W`, `env.num_resources` | `environment`, `world.W.num_resources` |
| `env.num_agents`, `env.traces`, ... | the same without `env.` |
| `algorithm=A`, `algorithm.dqn.gamma` | `algorithm`, `settings.dqn.gamma` |
| `training.seed` | `seed` |
| `training.total_timesteps`, ... | `total_episodes`, ..., in whole episodes |

The fields' own names, such as `seed` and `settings.dqn.gamma`, are understood as well.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, cast, get_args, get_type_hints

from rl.algorithms.capabilities import Algorithm
from rl.training.learning_settings import family_of
from rl.training.training_config import CUSTOM, EPISODE_STEPS, TrainingConfig
from rl.training.world_settings import WorldSettings
from utils.config import to_json
from utils.dotted import names_of, nested_type, unknown, with_values
from utils.errors import ConfigError

ENVIRONMENTS: Final = tuple(name for name in EPISODE_STEPS if name != CUSTOM)
ALGORITHMS: Final[tuple[str, ...]] = get_args(Algorithm)
WORLD_FIELDS: Final = (
    *("num_agents", "use_synthetic_data", "real_share"),
    *("synthetic_data_refresh_frequency", "traces"),
)
"""Fields of TrainingConfig that belong to the world."""
IN_STEPS: Final = {
    "total_timesteps": "total_episodes",
    "eval_freq": "eval_frequency",
    "save_freq": "checkpoint_frequency",
}
"""Settings in env steps, and the fields that hold the same in episodes."""
TWINS: Final = IN_STEPS | {field: name for name, field in IN_STEPS.items()}
ELSEWHERE: Final = ("environment", "world", "algorithm", "settings", *WORLD_FIELDS)
Settle = Callable[[TrainingConfig], TrainingConfig]
"""Fills in how the problem itself would have the algorithm learn."""


def typed_names(environment: str) -> dict[str, str]:
    """Return every setting as typed, and the dotted field it sets.

    Args:
        environment: The world, as its sizes differ.
    """
    fields = list(names_of(TrainingConfig))
    world = f"world.{environment}."
    names = {f"env.{name.removeprefix(world)}": name for name in fields if name.startswith(world)}
    names |= {f"env.{name}": name for name in WORLD_FIELDS}
    names |= {
        f"algorithm.{name.removeprefix('settings.')}": name
        for name in fields
        if name.startswith("settings.")
    }
    names |= {f"training.{name}": name for name in IN_STEPS}
    names |= {
        f"training.{name}": name for name in fields if "." not in name and name not in ELSEWHERE
    }
    return names


def make_config(
    choices: Mapping[str, str], values: Mapping[str, Any], settle: Settle
) -> TrainingConfig:
    """Build the configuration that choices and values describe.

    A setting of the chosen algorithm changes how the problem itself would have it learn; without
    one, `settings` stays empty, which means the same.

    Args:
        choices: `env` and `algorithm`.
        values: JSON values by typed name; later ones win.
        settle: Asked if settings of the chosen algorithm are changed.

    Raises:
        ConfigError: A name is unknown (the nearest is named), or a value does not fit.
    """
    base = TrainingConfig(environment=choices["env"], algorithm=_algorithm(choices["algorithm"]))
    fields = _fields_of(base.environment, values)
    learning = {name: value for name, value in fields.items() if name.startswith("settings.")}
    steps = {name: value for name, value in fields.items() if name in IN_STEPS}
    rest = {name: value for name, value in fields.items() if name not in {*learning, *steps}}
    config = with_values(base, rest)
    config = with_values(config, _in_episodes(steps, config))
    if any(name.startswith(f"settings.{family_of(config.algorithm)}.") for name in learning):
        config = settle(config)
    return with_values(config, learning)


def idle_settings(config: TrainingConfig) -> tuple[str, ...]:
    """Return the families that were set but do not learn in this run.

    Args:
        config: The run.
    """
    used = family_of(config.algorithm)
    given = (field.name for field in dataclasses.fields(config.settings))
    return tuple(
        name for name in given if name != used and getattr(config.settings, name) is not None
    )


def as_typed(config: TrainingConfig) -> dict[str, Any]:
    """Return a configuration as nested values, under the names that are typed.

    Args:
        config: Any.
    """
    values = to_json(config)
    world = values["world"].get(config.environment) or _usual_sizes(config.environment)
    named = {name: values[name] for name in WORLD_FIELDS}
    training = {name: value for name, value in values.items() if name not in ELSEWHERE}
    learning = {name: value for name, value in values["settings"].items() if value is not None}
    return {
        "env": {"name": config.environment, **world, **named},
        "algorithm": {"name": config.algorithm, **learning},
        "training": training,
    }


def _usual_sizes(environment: str) -> dict[str, Any]:
    sizes = nested_type(get_type_hints(WorldSettings).get(environment))
    return {} if sizes is None else to_json(sizes())


def _algorithm(name: str) -> Algorithm:
    if name not in ALGORITHMS:
        raise ConfigError(unknown("algorithm", name, ALGORITHMS))
    return cast("Algorithm", name)


def _fields_of(environment: str, values: Mapping[str, Any]) -> dict[str, Any]:
    names, own = typed_names(environment), set(names_of(TrainingConfig))
    fields: dict[str, Any] = {}
    for name, value in values.items():
        field = names.get(name, name)
        if name not in names and (name not in own or name in {"environment", "algorithm"}):
            raise ConfigError(unknown("setting", name, names if "." in name else [*names, *own]))
        fields.pop(field, None)
        if field not in IN_STEPS or value is not None:
            fields.pop(TWINS.get(field, field), None)
            fields[field] = value
    return fields


def _in_episodes(steps: Mapping[str, Any], config: TrainingConfig) -> dict[str, int]:
    """Return the same settings in whole episodes, rounded up."""
    episode_steps = config.total_env_steps // config.total_episodes
    episodes = {}
    for name, value in steps.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
            raise ConfigError(f"training.{name}={value!r}: give a whole number of env steps")
        episodes[IN_STEPS[name]] = math.ceil(value / episode_steps)
    return episodes
