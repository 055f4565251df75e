"""Whether an algorithm can learn an environment at all, told without building either, or torch."""

from __future__ import annotations

from typing import Final

from rl.algorithms.capabilities import CAPABILITIES, Task, check_pairing
from rl.training.training_config import CUSTOM, TrainingConfig
from utils.errors import ConfigError

CHOICES: Final = frozenset({"cluster_scheduling", "job_scheduling", "traffic_shares"})
"""Environments whose actions are choices; in all others they are amounts."""
WITHOUT_GRADIENT: Final = CHOICES | {
    "capacity_planning",
    "distributed_nodes",
    "distributed_nodes_deadlines",
    "market_making",
    "workforce",
}
TEAMS: Final = frozenset(
    {
        "distributed_nodes",
        "distributed_nodes_deadlines",
        "service_agents",
        "service_market",
        "trading",
        "trading_market",
    }
)
"""Environments of several agents; `trading` has as many as `num_agents` says."""
WITHOUT_GRID: Final = frozenset(
    {
        "execution",
        "five_product",
        "multi_echelon",
        "portfolio",
        "resource_allocation",
        "serial_inventory",
        "serial_inventory_lost_sales",
        "shared_services",
        "supply_chain",
        "trading",
        "trading_market",
    }
)
"""Environments whose amounts no algorithm that only chooses can set: a grid of them is not made.

Whether one of `constrained_allocation` is too large is told by its sizes, when it is made."""


def check_learnable(config: TrainingConfig) -> None:
    """Refuse an algorithm that cannot learn the environment; one of the user's own is not judged.

    Args:
        config: The run.

    Raises:
        ConfigError: It cannot; says why, and which algorithm comes nearest.
    """
    name, algorithm = config.environment, config.algorithm
    if name == CUSTOM:
        return
    kinds = CAPABILITIES[algorithm].kinds
    is_choice = name in CHOICES or ("continuous" not in kinds and name not in WITHOUT_GRID)
    is_team = config.num_agents > 1 if name == "trading" else name in TEAMS
    task = Task(
        kind="discrete" if is_choice else "continuous",
        num_agents=2 if is_team else 1,
        state_size=1,
        is_differentiable=name not in WITHOUT_GRADIENT,
    )
    try:
        check_pairing(algorithm, task)
    except ConfigError as error:
        raise ConfigError(
            f"algorithm={algorithm} cannot learn environment={name}: {error}"
        ) from None
