"""Serial inventories as problems: OR-Gym's InvManagement, and one shelf with a cost per order."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from torch import Tensor

from data.demand import InventoryScenarios
from data.scenario import BankConfig, FixedSource, ScenarioBank, ScenarioSource
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.capabilities import Algorithm
from rl.algorithms.ppo_config import PPOConfig
from rl.artifacts import Figure
from rl.deployment.inventory_exporter import (
    ServedInventory,
    export_inventory_planner,
    inventory_ranges,
)
from rl.domains.inventory import InventoryConfig, inv_management, inv_management_demand
from rl.domains.inventory_experts import base_stock, tune_base_stock
from rl.domains.world_rules import BASE_STOCK_LEVELS
from rl.environments.base_environment import StepRecord
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.evaluation.contest import Column, Contest, Numbers, ScenarioSet
from rl.evaluation.inventory_bounds import ShrinkingHorizonPlanner, inventory_hindsight_bound
from rl.evaluation.inventory_scores import base_stock_score
from rl.evaluation.players import Player, rule_player
from rl.training.problem import ExpertRule, Exporter, LearnerSettings, Parameters, Problem
from utils.errors import ConfigError
from utils.seeding import make_generator

WORLDS = {"serial_inventory": False, "serial_inventory_lost_sales": True}
"""Name in the catalogue, and whether what is not delivered is lost."""
LIMITS = (
    "Trained and judged in a simulated chain on independent Poisson demand of one mean.",
    "The measured expert is told the mean and solves a program; base stock stands in for it.",
    "Stock is sold off in the last days: for a chain that goes on, ask with most time left.",
)
FIXED_SEED = 20_200_815
NUM_VALIDATION, NUM_TUNING, NUM_HELD_OUT, NUM_BLOCKS = 256, 256, 1000, 100
HIGHEST_LEVEL, FIRST_SPACING = 640, 64
BANK = BankConfig(num_episodes=1024, refresh_every_episodes=1024)
SETTINGS: Mapping[Algorithm, LearnerSettings] = {
    "apg": LearnerSettings(
        config=APGConfig(learning_rate=1e-2, initial_action_mean=0.25), num_envs=256
    ),
    "ppo": LearnerSettings(
        config=PPOConfig(
            learning_rate=1e-3,
            decay_learning_rate=True,
            gamma=1.0,
            gae_lambda=0.97,
            scale_rewards=True,
            initial_log_std=-2.0,
            initial_action_mean=0.25,
        ),
        num_envs=64,
        rollout_steps=30,
    ),
}


def inventory_problem(name: str) -> Problem:
    """Build the problem of a preset of OR-Gym.

    The linear program on mean demand is told that the mean is 20; the learners find out.

    Args:
        name: `serial_inventory` (v0) or `serial_inventory_lost_sales` (v1).

    Raises:
        ConfigError: It is neither.
    """
    if name not in WORLDS:
        raise ConfigError(f"no inventory problem {name!r}; there are {', '.join(WORLDS)}")
    config, source = inv_management(lost_sales=WORLDS[name]), inv_management_demand()
    tuning = source.draw(NUM_TUNING, make_generator(FIXED_SEED, "tuning"))
    return Problem(
        name=name,
        title="Three stages in a line: who orders best?",
        agent="inventory_planner",
        training=source,
        training_data="Poisson demand of 20 units a step",
        learn_in=partial(_learn_in, config),
        contest=Contest(
            make_environment=partial(_make_copies, config),
            num_steps=config.max_steps,
            measure=measure_inventory,
            figures=summarise_inventory,
            kpi="discounted profit per episode",
            columns=(Column(name="fill_rate", title="fill rate", format=".1%"),),
        ),
        validation=_draw_set("validation", source, NUM_VALIDATION, NUM_VALIDATION),
        held_out=_draw_set("held_out", source, NUM_HELD_OUT, NUM_BLOCKS),
        settings=SETTINGS,
        bank=BANK,
        experts={
            "base_stock": ExpertRule(
                tune=partial(_tune, config, tuning), player=partial(_base_stock_player, config)
            ),
            "shrinking_horizon": ExpertRule(
                tune=tuple,
                player=lambda _: rule_player(ShrinkingHorizonPlanner(config, source.mean)),
            ),
        },
        bound=partial(inventory_hindsight_bound, config=config),
        exporter=Exporter(
            make=partial(
                export_inventory_planner,
                served=ServedInventory(chain=config, base_stock_levels=BASE_STOCK_LEVELS[name]),
            ),
            ranges=partial(inventory_ranges, config),
            limits=LIMITS,
        ),
    )


def measure_inventory(record: StepRecord) -> Mapping[str, Tensor]:
    """Count profit, demand, sales and stock.

    Args:
        record: Of one step.
    """
    kept = {name: record.metrics[name] for name in ("demand", "sold_units", "stock_units")}
    return {"kpi": record.reward[:, 0], **kept}


def summarise_inventory(sums: Mapping[str, Numbers]) -> Mapping[str, Numbers]:
    """Return profit, fill rate and the sum of stock over the steps.

    Args:
        sums: Of every episode.
    """
    return {
        "kpi": sums["kpi"],
        "fill_rate": sums["sold_units"] / np.maximum(sums["demand"], 1e-9),
        "stock_steps": sums["stock_units"],
    }


def _learn_in(
    config: InventoryConfig, bank: ScenarioBank[InventoryScenarios], num_envs: int, seed: int
) -> BatchedInventory:
    return BatchedInventory(config, bank, InventoryOptions(num_envs=num_envs), seed)


def _make_copies(config: InventoryConfig, scenarios: InventoryScenarios) -> BatchedInventory:
    episodes = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=episodes), 0)
    return BatchedInventory(config, bank, InventoryOptions(num_envs=episodes, shuffle=False), 0)


def _draw_set(
    name: str, source: ScenarioSource[InventoryScenarios], count: int, blocks: int
) -> ScenarioSet:
    return ScenarioSet(
        name=name,
        about="fresh paths of the same law",
        scenarios=source.draw(count, make_generator(FIXED_SEED, name)),
        blocks=np.arange(count) % blocks,
    )


def _tune(config: InventoryConfig, tuning: InventoryScenarios) -> Parameters:
    levels = tune_base_stock(
        base_stock_score(tuning, config),
        num_stages=config.num_stages,
        highest=HIGHEST_LEVEL,
        spacing=FIRST_SPACING,
    )
    return tuple(Figure(name=f"level_{n}", value=float(v)) for n, v in enumerate(levels))


def _base_stock_player(config: InventoryConfig, parameters: Parameters) -> Player:
    levels = np.asarray([figure.value for figure in parameters])
    return rule_player(lambda view: base_stock(view, config, levels))
