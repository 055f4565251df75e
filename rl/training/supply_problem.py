"""The retail chain as a problem: who orders best at every stage?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.chain_scenarios import ChainSource
from data.scenario import BankConfig, FixedSource, MixedSource, ScenarioBank, ScenarioSource
from data.shop_demand import RetailDays, ShopDemand, SyntheticShop, load_shop_days
from data.supply_disruptions import DisruptionLaw
from data.supply_scenarios import SupplyScenarios
from data.traces import locate_traces
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.capabilities import Algorithm
from rl.algorithms.ppo_config import PPOConfig
from rl.deployment.supply_exporter import export_supply_planner, supply_ranges
from rl.domains.retail_chain import SYNTHETIC_LAW, chain_shape, retail_chain, without_disruptions
from rl.domains.supply_chain import SupplyConfig
from rl.environments.base_environment import StepRecord
from rl.environments.echelon_environment import BatchedEchelonChain
from rl.environments.supply_network_environment import BatchedSupplyNetwork, SupplyOptions
from rl.evaluation.contest import Column, Contest, Numbers, ScenarioSet, keep_sums
from rl.evaluation.supply_bounds import supply_hindsight_bound
from rl.training.curriculum_world import ProblemStage, count_return
from rl.training.problem import Exporter, LearnerSettings, Parameters, Problem
from rl.training.problem_stages import make_chain_stages
from rl.training.supply_tuning import level_player, make_cover_experts
from utils.errors import ConfigError
from utils.seeding import make_generator

NAME, AGENT = "supply_chain", "supply_chain_planner"
FIXED_SEED = 20_111_209
"""Validation, tuning, held-out and stress sets are the same for every run."""
NUM_VALIDATION, NUM_TUNING, NUM_STRESS, STRESS_BLOCKS = 64, 64, 100, 10
HELD_OUT_STRIDE = 25
USUAL_TROUBLE = DisruptionLaw(probability=0.01, kinds=("supplier_shortage", "logistics_delay"))
HARD_TROUBLE = DisruptionLaw(
    probability=0.05,
    kinds=("supplier_shortage", "quality_issue", "regulation"),
    magnitude=(0.5, 1.0),
)
SHOCK, LATE_SHARE = 2.0, 0.5
BANK = BankConfig(num_episodes=512, refresh_every_episodes=512)
SETTINGS: Mapping[Algorithm, LearnerSettings] = {
    "apg": LearnerSettings(
        config=APGConfig(
            initial_action_mean=0.35, averaging=0.9, warmup_updates=5, normalizer_updates=5
        ),
        num_envs=128,
    ),
    "ppo": LearnerSettings(
        config=PPOConfig(
            learning_rate=1e-3,
            decay_learning_rate=True,
            gamma=0.99,
            gae_lambda=0.95,
            scale_rewards=True,
            initial_log_std=-2.5,
            initial_action_mean=0.35,
        ),
        num_envs=32,
        rollout_steps=100,
    ),
}
LIMITS = (
    "Trained and judged in a simulated chain; only what customers ask for is real.",
    "One product at a time, in multiples of its usual sales; products do not compete for room.",
    "Stock is sold off in the last days: for a chain that goes on, ask with most time left.",
)


def supply_chain_problem(
    num_agents: int = 6,
    *,
    use_synthetic_data: bool = True,
    real_share: float = 0.5,
    traces: str | None = None,
) -> Problem:
    """Build the problem.

    Args:
        num_agents: Stages that order, 2 to 16; one planner orders for all.
        use_synthetic_data: Mix drawn demand into the real one; without traces all is drawn.
        real_share: Share of real windows in the mix.
        traces: Folder of the trace files; None looks where `data.traces.locate_traces` says.

    Raises:
        ConfigError: A number is out of range.
        TraceError: A trace file is damaged or missing in the folder given.
    """
    if not 0 < real_share < 1:
        raise ConfigError(f"real_share={real_share}: choose a share between 0 and 1")
    config = retail_chain(num_agents)
    folder = Path(traces) if traces else locate_traces()
    days = None if folder is None else load_shop_days(folder)
    drawn = SyntheticShop(law=SYNTHETIC_LAW)
    shop: ShopDemand = drawn if days is None else days[0]
    tuning = _quiet(config, shop).draw(NUM_TUNING, make_generator(FIXED_SEED, "tuning"))
    training, training_data = _choose_training(
        config, None if days is None else days[0], share=real_share if use_synthetic_data else 1.0
    )
    validation = _quiet(config, shop).draw(NUM_VALIDATION, make_generator(FIXED_SEED, "validation"))
    held_out = _synthetic_held_out(config) if days is None else _real_held_out(config, days[1])
    return Problem(
        name=NAME,
        title=f"Retail chain of {num_agents} stages: who orders best?",
        agent=AGENT,
        training=training,
        training_data=training_data,
        learn_in=partial(_learn_in, config),
        contest=Contest(
            make_environment=partial(_make_copies, config),
            num_steps=config.max_steps,
            measure=measure_chain,
            figures=summarise_chain,
            policy_player=level_player,
            kpi="profit per episode",
            kpi_format=",.0f",
            columns=(
                Column(name="fill_rate", title="fill rate", format=".1%"),
                Column(name="bullwhip", title="bullwhip"),
                Column(name="mean_stock", title="mean stock"),
            ),
        ),
        validation=ScenarioSet(
            name="validation",
            about="windows of the days that are trained on, nothing goes wrong",
            scenarios=validation,
            blocks=np.arange(NUM_VALIDATION),
        ),
        held_out=held_out,
        settings=SETTINGS,
        bank=BANK,
        experts=make_cover_experts(config, tuning),
        rival="base_stock",
        bound=partial(chain_bound, config),
        stress=_stress_sets(config),
        stages=_make_stages,
        exporter=Exporter(
            make=partial(export_supply_planner, config=config),
            ranges=partial(supply_ranges, config),
            limits=LIMITS,
        ),
    )


def chain_bound(config: SupplyConfig, scenarios: SupplyScenarios) -> Numbers:
    """Compute the highest profit of every episode, its demand known and nothing going wrong.

    Where something does go wrong, this is still above what anyone can reach: what a disruption
    allows could be done without it.

    Args:
        config: The chain.
        scenarios: The episodes.
    """
    none = scenarios.shortage[..., :0]
    quiet = SupplyScenarios(
        **vars(scenarios)
        | {"shortage": none, "delay": none, "quality_loss": none, "capacity_loss": none}
    )
    return supply_hindsight_bound(quiet, without_disruptions(config))


def measure_chain(record: StepRecord) -> Mapping[str, Tensor]:
    """Count what profit, fill rate, stock and bullwhip are made of.

    Args:
        record: Of one step.
    """
    kept = ("demand", "sold_units", "stock_units", "ordered_units")
    squares = ("demand_squared", "ordered_units_squared")
    counted = {name: record.metrics[name] for name in (*kept, *squares)}
    profit = record.reward[:, 0]
    return {"kpi": profit, "steps": torch.ones_like(profit), **counted}


def summarise_chain(sums: Mapping[str, Numbers]) -> Mapping[str, Numbers]:
    """Return profit, fill rate, bullwhip (variance of orders over that of demand) and mean stock.

    Args:
        sums: Of every episode.
    """

    def variance(name: str) -> Numbers:
        mean = sums[name] / sums["steps"]
        return np.maximum(sums[f"{name}_squared"] / sums["steps"] - mean**2, 1e-9)

    return {
        "kpi": sums["kpi"],
        "fill_rate": sums["sold_units"] / np.maximum(sums["demand"], 1e-9),
        "bullwhip": variance("ordered_units") / variance("demand"),
        "mean_stock": sums["stock_units"] / sums["steps"],
    }


def _make_stages(problem: Problem, experts: Mapping[str, Parameters]) -> tuple[ProblemStage, ...]:
    returns = replace(problem.contest, measure=count_return, figures=keep_sums)
    return make_chain_stages(problem, returns, experts)


def _make_copies(config: SupplyConfig, scenarios: SupplyScenarios) -> BatchedSupplyNetwork:
    episodes = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=episodes), 0)
    return BatchedSupplyNetwork(config, bank, SupplyOptions(num_envs=episodes, shuffle=False), 0)


def _learn_in(
    config: SupplyConfig, bank: ScenarioBank[SupplyScenarios], num_envs: int, seed: int
) -> BatchedEchelonChain:
    return BatchedEchelonChain(config, bank, SupplyOptions(num_envs=num_envs), seed)


def _quiet(config: SupplyConfig, demand: ShopDemand) -> ChainSource:
    return ChainSource(shape=chain_shape(config), demand=demand)


def _choose_training(
    config: SupplyConfig, real: RetailDays | None, *, share: float
) -> tuple[ScenarioSource[SupplyScenarios], str]:
    shape = chain_shape(config)
    drawn = ChainSource(
        shape=shape, demand=SyntheticShop(law=SYNTHETIC_LAW), disruptions=USUAL_TROUBLE
    )
    if real is None:
        return drawn, "synthetic demand only (no traces found), drawn disruptions"
    found = ChainSource(shape=shape, demand=real, disruptions=USUAL_TROUBLE)
    about = f"real demand of {len(real.products)} shop products, {len(real.units)} days"
    if share == 1.0:
        return found, f"{about}, drawn disruptions"
    mixed = MixedSource((found, drawn), (share, 1.0 - share))
    return mixed, f"{share:.0%} {about}, {1 - share:.0%} synthetic demand, drawn disruptions"


def _real_held_out(config: SupplyConfig, days: RetailDays) -> ScenarioSet:
    units, product = days.cut_windows(config.max_steps, HELD_OUT_STRIDE)
    scenarios = _quiet(config, days).around(units, make_generator(FIXED_SEED, "held-out"))
    return ScenarioSet(
        name="held_out",
        about=f"real demand of {len(days.products)} products that are not trained on, on "
        f"{len(days.units)} later days; nothing goes wrong",
        scenarios=scenarios,
        blocks=product,
        block_name="product",
    )


def _synthetic_held_out(config: SupplyConfig) -> ScenarioSet:
    return _drawn_set(
        "held_out",
        "held-out synthetic demand (no traces found); nothing goes wrong",
        _quiet(config, SyntheticShop(law=SYNTHETIC_LAW)),
    )


def _stress_sets(config: SupplyConfig) -> tuple[ScenarioSet, ...]:
    shape, plain = chain_shape(config), SyntheticShop(law=SYNTHETIC_LAW)
    shock = SyntheticShop(law=SYNTHETIC_LAW, shock=SHOCK)
    return (
        _drawn_set(
            "supply_disruption",
            "synthetic demand; half to all of what some stages ship, receive or make is lost, "
            "for 5 to 20 days at a time",
            ChainSource(shape=shape, demand=plain, disruptions=HARD_TROUBLE),
        ),
        _drawn_set(
            "demand_shock",
            f"synthetic demand that grows by a factor of {SHOCK:g} after 40 days",
            ChainSource(shape=shape, demand=shock),
        ),
        _drawn_set(
            "late_shipments",
            f"synthetic demand; {LATE_SHARE:.0%} of all shipments are one to three days late",
            ChainSource(shape=shape, demand=plain, late_share=LATE_SHARE),
        ),
    )


def _drawn_set(name: str, about: str, source: ChainSource) -> ScenarioSet:
    blocks: NDArray[np.intp] = np.repeat(np.arange(STRESS_BLOCKS), NUM_STRESS // STRESS_BLOCKS)
    scenarios = source.draw(NUM_STRESS, make_generator(FIXED_SEED, name))
    return ScenarioSet(
        name=name, about=about, scenarios=scenarios, blocks=blocks, block_name="block"
    )
