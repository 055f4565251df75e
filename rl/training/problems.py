"""Every problem by its name in a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rl.training.allocation_problem import allocation_problem
from rl.training.catalog_problem import catalog_problem
from rl.training.execution_problem import execution_problem
from rl.training.inventory_problem import inventory_problem
from rl.training.portfolio_problem import portfolio_problem
from rl.training.problem import Problem
from rl.training.supply_problem import supply_chain_problem
from rl.training.trading_problem import trading_problem
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
    name = config.environment
    if name in BUILDERS:
        return BUILDERS[name](config)
    return catalog_problem(OTHER_NAMES.get(name, name), config.algorithm, config.world)


def _allocation(config: TrainingConfig) -> Problem:
    return allocation_problem(
        config.num_agents,
        use_synthetic_data=config.use_synthetic_data,
        real_share=config.real_share,
        traces=config.traces,
        gain=config.algorithm == "apg",
    )


def _supply_chain(config: TrainingConfig) -> Problem:
    return supply_chain_problem(
        config.num_agents,
        use_synthetic_data=config.use_synthetic_data,
        real_share=config.real_share,
        traces=config.traces,
    )


def _trading(config: TrainingConfig) -> Problem:
    return trading_problem(
        config.num_agents,
        use_synthetic_data=config.use_synthetic_data,
        real_share=config.real_share,
        traces=config.traces,
    )


BUILDERS: Mapping[str, Callable[[TrainingConfig], Problem]] = {
    "resource_allocation": _allocation,
    "supply_chain": _supply_chain,
    "trading": _trading,
    "serial_inventory": lambda config: inventory_problem(config.environment),
    "serial_inventory_lost_sales": lambda config: inventory_problem(config.environment),
    "execution": lambda _: execution_problem(),
    "portfolio": lambda config: portfolio_problem(traces=config.traces),
}
"""Problems with experts; every other world of the catalogue is one by drawing scenarios."""
