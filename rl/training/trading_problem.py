"""Execution against TWAP: several desks sell an order each, and all follow one policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.desk_orders import DeskLaws, DeskScenarios, RealDesks, SyntheticDesks, mirror
from data.market_config import PriceLaw
from data.price_traces import PriceTable, load_google, load_stocks
from data.scenario import (
    BankConfig,
    FixedSource,
    MixedSource,
    ScenarioBank,
    ScenarioSource,
    join_scenarios,
)
from data.traces import locate_traces
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.capabilities import Algorithm
from rl.algorithms.ppo_config import PPOConfig
from rl.deployment.trading_exporter import desk_ranges, export_desk
from rl.domains.order_desks import EXPERTS, Expert, OrderDesksConfig
from rl.environments.base_environment import BatchedEnvironment, StepRecord
from rl.environments.lockstep import LockstepOptions
from rl.environments.order_desks_environment import BatchedOrderDesks
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.contest import Column, Contest, Numbers, ScenarioSet
from rl.evaluation.order_desk_bounds import compute_desk_bound
from rl.evaluation.players import Player
from rl.training.curriculum_world import ProblemStage, count_return
from rl.training.problem import ExpertRule, Exporter, LearnerSettings, Parameters, Problem
from rl.training.problem_stages import make_order_stages
from utils.errors import ConfigError
from utils.seeding import make_generator

FIXED_SEED = 20_150_102
"""Validation, held-out and stress sets are the same for every run."""
FIRST_VALIDATION_DAY = date(2007, 1, 3)
FIRST_HELD_OUT_DAY = date(2015, 1, 2)
ORDERS_PER_WINDOW = 12
"""Episodes with other shares and terms of the same days."""
NUM_SYNTHETIC = 192
EVEN_PACE = 0.1
"""The action of 100 steps that sells evenly: what learners begin with."""
GAPS = PriceLaw(jump_probability=0.03, jump_mean=-0.5, jump_deviation=4.0)
LIMITS = (
    "Desks do not move one another's prices: not for several orders in one share.",
    "Orders only sell, in 100 equal steps; shares are real numbers.",
    "Impact is linear and permanent or gone after a step; a real book's is neither.",
    "Real prices are of twenty shares that survived from 1990 to 2022, at the close of each day.",
)
COLUMNS = (
    Column(name="shortfall", title="shortfall, bp", format=",.0f"),
    Column(name="risk", title="risk charge, bp", format=",.0f"),
    Column(name="impact", title="impact, bp", format=",.0f"),
)
SETTINGS: Mapping[Algorithm, LearnerSettings] = {
    "apg": LearnerSettings(
        config=APGConfig(initial_action_mean=EVEN_PACE, hidden_dims=(32, 32)), num_envs=16
    ),
    "ppo": LearnerSettings(
        config=PPOConfig(
            hidden_dims=(32, 32), learning_rate=1e-3, decay_learning_rate=True, gamma=1.0,
            scale_rewards=True, initial_log_std=-2.5, initial_action_mean=EVEN_PACE,
        ),
        num_envs=8,
        rollout_steps=100,
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Data:
    """Where the sets of a problem come from."""

    training: ScenarioSource[DeskScenarios]
    training_data: str
    validation: ScenarioSet
    held_out: ScenarioSet
    unseen_share: tuple[ScenarioSet, ...] = ()


def trading_problem(
    num_agents: int = 4,
    *,
    use_synthetic_data: bool = True,
    real_share: float = 0.8,
    traces: str | None = None,
) -> Problem:
    """Build the problem of the trading demo.

    Args:
        num_agents: Desks, each with an order of its own.
        use_synthetic_data: Mix synthetic prices into the real ones; without price files all
            prices are synthetic, and the problem says so.
        real_share: Share of real episodes in the mix, in (0, 1).
        traces: Folder of the price files; None looks where `data.traces.locate_traces` says.

    Raises:
        ConfigError: A setting is out of range.
        TraceError: A price file is missing from the folder given, or damaged.
    """
    if not 0 < real_share < 1:
        raise ConfigError(f"real_share={real_share}: choose a share between 0 and 1")
    laws = DeskLaws(num_desks=num_agents)
    config = OrderDesksConfig(num_desks=num_agents, num_steps=laws.num_steps)
    folder = Path(traces) if traces else locate_traces()
    if folder is None:
        found = _synthetic_data(laws)
    else:
        found = _real_data(folder, laws, real_share=real_share if use_synthetic_data else 1.0)
    return Problem(
        name="trading",
        title="Selling orders: who pays the least for impact and risk?",
        agent="trading",
        training=found.training,
        training_data=found.training_data,
        learn_in=partial(_learn_in, config),
        contest=Contest(
            make_environment=partial(_judge_in, config),
            num_steps=config.num_steps,
            measure=_measure,
            kpi="minus cost and risk charge, basis points of the order",
            kpi_format=",.0f",
            columns=COLUMNS,
        ),
        validation=found.validation,
        held_out=found.held_out,
        settings=SETTINGS,
        bank=BankConfig(num_episodes=512, refresh_every_episodes=512),
        experts={
            name: ExpertRule(tune=_nothing_to_tune, player=_player_of(rule, config))
            for name, rule in EXPERTS.items()
        },
        rival="twap",
        bound=partial(_bound, config),
        stress=(*_stress_sets(laws), *found.unseen_share),
        stages=_make_stages,
        exporter=Exporter(
            make=lambda agent, card: export_desk(agent, config, card),
            ranges=desk_ranges,
            limits=LIMITS,
        ),
    )


def desk_player(rule: Expert, config: OrderDesksConfig) -> Player:
    """Let every desk follow an expert's rule.

    Args:
        rule: What it does.
        config: The orders.
    """

    def act(environment: BatchedEnvironment, record: StepRecord) -> Tensor:
        if not isinstance(environment, BatchedOrderDesks):
            raise ConfigError(f"desks sell in BatchedOrderDesks, not {type(environment).__name__}")
        action = rule(view_to_numpy(environment.view), config)
        return torch.from_numpy(action).to(record.observation.device)

    return act


def _make_stages(problem: Problem, experts: Mapping[str, Parameters]) -> tuple[ProblemStage, ...]:
    returns = replace(problem.contest, measure=count_return)
    return make_order_stages(problem, returns, experts)


def _player_of(rule: Expert, config: OrderDesksConfig) -> Callable[[Parameters], Player]:
    return lambda _: desk_player(rule, config)


def _nothing_to_tune() -> Parameters:
    return ()


def _bound(config: OrderDesksConfig, scenarios: DeskScenarios) -> Numbers:
    return compute_desk_bound(scenarios, config)


def _learn_in(
    config: OrderDesksConfig, bank: ScenarioBank[DeskScenarios], num_envs: int, seed: int
) -> BatchedOrderDesks:
    return BatchedOrderDesks(config, bank, LockstepOptions(num_envs=num_envs), seed)


def _judge_in(config: OrderDesksConfig, scenarios: DeskScenarios) -> BatchedOrderDesks:
    count = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=count), 0)
    return BatchedOrderDesks(config, bank, LockstepOptions(num_envs=count, shuffle=False), 0)


def _measure(record: StepRecord) -> Mapping[str, Tensor]:
    metrics = record.metrics
    figures = {name: metrics[name] for name in ("shortfall", "risk", "impact")}
    return {"kpi": record.reward.mean(-1), **figures}


def _real_data(folder: Path, laws: DeskLaws, *, real_share: float) -> _Data:
    """Train before 2007, choose by 2007-2014, judge from 2015."""
    shares = load_stocks(folder)
    known, held_out = shares.split(FIRST_HELD_OUT_DAY)
    trained, watched = known.split(FIRST_VALIDATION_DAY)
    training: ScenarioSource[DeskScenarios] = RealDesks(trained, trained, laws)
    about = f"twenty shares from 1990 to {FIRST_VALIDATION_DAY.year - 1}"
    if real_share < 1:
        training = MixedSource((training, SyntheticDesks(laws)), (real_share, 1 - real_share))
        about = f"{real_share:.0%} {about}, {1 - real_share:.0%} synthetic prices"
    windows, blocks = _cut_windows(RealDesks(trained, watched, laws), laws, "validation")
    return _Data(
        training=training,
        training_data=about,
        validation=ScenarioSet(
            name="validation",
            about="twenty shares from 2007 to 2014, each episode and its mirror image",
            scenarios=join_scenarios([windows, mirror(windows)]),
            blocks=np.tile(blocks, 2),
        ),
        held_out=_window_set(
            RealDesks(known, held_out, laws),
            laws,
            "held_out",
            "twenty shares from 2015 to 2022, never trained, tuned or chosen on",
        ),
        unseen_share=(_unseen_share(load_google(folder), laws),),
    )


def _unseen_share(google: PriceTable, laws: DeskLaws) -> ScenarioSet:
    known, later = google.split(FIRST_HELD_OUT_DAY)
    about = "Alphabet from 2015 to 2018, a share that was never trained on"
    return _window_set(RealDesks(known, later, laws), laws, "unseen_share", about)


def _window_set(source: RealDesks, laws: DeskLaws, name: str, about: str) -> ScenarioSet:
    scenarios, blocks = _cut_windows(source, laws, name)
    return ScenarioSet(
        name=name, about=about, scenarios=scenarios, blocks=blocks, block_name="window"
    )


def _cut_windows(
    source: RealDesks, laws: DeskLaws, name: str
) -> tuple[DeskScenarios, NDArray[np.intp]]:
    """Cut all windows that do not overlap in what is played; a window is a block."""
    starts = np.arange(0, source.num_starts, laws.num_steps)
    blocks = np.repeat(np.arange(len(starts)), ORDERS_PER_WINDOW)
    return source.cut(starts[blocks], make_generator(FIXED_SEED, name)), blocks


def _synthetic_data(laws: DeskLaws) -> _Data:
    source, about = SyntheticDesks(laws), "synthetic prices only (no price files found)"
    return _Data(
        training=source,
        training_data=about,
        validation=_draw(source, "validation", "synthetic prices"),
        held_out=_draw(source, "held_out", f"held-out {about}"),
    )


def _stress_sets(laws: DeskLaws) -> tuple[ScenarioSet, ...]:
    crisis = SyntheticDesks(replace(laws, volatility_scale=2.5))
    return (
        _draw(SyntheticDesks(laws), "plain", "synthetic prices, nothing unusual"),
        _draw(crisis, "crisis", "prices move 2.5 times as much as in the long run"),
        _draw(
            SyntheticDesks(replace(laws, impact_scale=3.0)),
            "illiquid",
            "impact is three times the expected one",
        ),
        _draw(SyntheticDesks(laws, GAPS), "gaps", "prices jump, three times in a hundred steps"),
    )


def _draw(source: ScenarioSource[DeskScenarios], name: str, about: str) -> ScenarioSet:
    scenarios = source.draw(NUM_SYNTHETIC, make_generator(FIXED_SEED, name))
    return ScenarioSet(name=name, about=about, scenarios=scenarios, blocks=np.arange(NUM_SYNTHETIC))
