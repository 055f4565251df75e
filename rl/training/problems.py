"""Every problem by its name in a configuration."""

from __future__ import annotations

from rl.training.allocation_problem import allocation_problem
from rl.training.catalog_problem import catalog_problem
from rl.training.problem import Problem
from rl.training.training_config import TrainingConfig

OTHER_NAMES = {"trading_market": "trading"}
"""Worlds of the catalogue whose name is that of a whole problem."""


def make_problem(config: TrainingConfig) -> Problem:
    """Build the problem that a configuration names.

    Args:
        config: The run.

    Raises:
        ConfigError: The problem does not fit the settings.
        TraceError: A trace file is damaged, or the folder given does not hold the files.
    """
    match config.environment:
        case "resource_allocation":
            return allocation_problem(
                config.num_agents,
                use_synthetic_data=config.use_synthetic_data,
                real_share=config.real_share,
                traces=config.traces,
                gain=config.algorithm == "apg",
            )
        case name:
            return catalog_problem(OTHER_NAMES.get(name, name), config.algorithm, config.world)
