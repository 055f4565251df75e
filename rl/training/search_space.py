"""What is searched over, as typed, and the configuration of each trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rl.training.run_settings import typed_names
from rl.training.settling import settle
from rl.training.training_config import TrainingConfig
from utils.dotted import names_of, unknown, value_at, with_values
from utils.errors import ConfigError
from utils.search_axis import Axis

MakeConfig = Callable[[Mapping[str, Any]], TrainingConfig]


def search_space(
    base: TrainingConfig, axes: Sequence[Axis], study: str
) -> tuple[TrainingConfig, MakeConfig]:
    """Return what all trials share, and how a trial's values are laid over it.

    Args:
        base: All that is not searched over; its algorithm's settings are filled in.
        axes: Named as settings are typed, or as fields of TrainingConfig.
        study: The experiment that all trials belong to.

    Raises:
        ConfigError: An axis is no setting; the nearest is named.
    """
    fields = {axis.name: _field(axis.name, base.environment) for axis in axes}
    shared = replace(settle(base), experiment_name=study)
    for axis in axes:
        value_at(shared, fields[axis.name])

    def make(values: Mapping[str, Any]) -> TrainingConfig:
        return with_values(shared, {fields[name]: value for name, value in values.items()})

    return shared, make


def _field(name: str, environment: str) -> str:
    typed, own = typed_names(environment), set(names_of(TrainingConfig))
    field = typed.get(name, name)
    if field not in own or field in {"environment", "algorithm", "experiment_name"}:
        known = {one for one, target in typed.items() if target in own}
        raise ConfigError(unknown("setting to search over", name, known - {name}))
    return field
