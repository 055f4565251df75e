"""Fills in how a problem would have an algorithm learn, so that one setting can be changed."""

from __future__ import annotations

from dataclasses import replace

from rl.training.learning_settings import LearningConfig, family_of
from rl.training.problems import make_problem
from rl.training.training_config import TrainingConfig
from utils.config import to_json
from utils.dotted import with_values


def settle(config: TrainingConfig) -> TrainingConfig:
    """Return the configuration with all settings of its algorithm written out.

    Args:
        config: Any; settings that it has stay as they are.

    Raises:
        ConfigError: The problem does not fit the settings.
        TraceError: A trace file is damaged, or the folder given does not hold the files.
    """
    if config.settings.config_of(config.algorithm) is not None:
        return config
    learning: LearningConfig = make_problem(config).settings_of(config.algorithm).config
    place = {f"settings.{family_of(config.algorithm)}": to_json(learning)}
    return replace(config, settings=with_values(config, place).settings)
