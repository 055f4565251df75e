"""Splitting wealth among twenty shares, against holding the same of each."""

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

from data.market import MarketRegime, MarketScenarios
from data.market_config import SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.market_traces import RealMarketConfig, TraceMarket
from data.price_traces import PriceTable, load_stocks
from data.scenario import BankConfig, FixedSource, ScenarioBank, ScenarioSource
from data.traces import locate_traces
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.base_algorithm import Policy
from rl.algorithms.capabilities import Algorithm
from rl.deployment.portfolio_exporter import export_investor, market_ranges
from rl.domains.portfolio import PortfolioConfig, PortfolioDomain
from rl.domains.portfolio_experts import EXPERTS, Rebalanced
from rl.environments.base_environment import BatchedEnvironment, StepRecord
from rl.environments.lockstep import LockstepOptions
from rl.environments.portfolio_environment import BatchedPortfolio
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.contest import Contest, Numbers, ScenarioSet
from rl.evaluation.players import Player
from rl.evaluation.portfolio_bounds import compute_hindsight_path
from rl.training.problem import ExpertRule, Exporter, LearnerSettings, Parameters, Problem
from utils.errors import ConfigError
from utils.seeding import make_generator

LIMITS = (
    "Holds twenty shares that survived from 1990 to 2022, and knows their prices only.",
    "Trades are filled at the close at a cost in proportion; own trades move no price.",
    "It says how fast to go back to equal weights; it does not pick shares.",
)
FIXED_SEED = 20_180_102
FIRST_VALIDATION_DAY = date(2008, 1, 2)
FIRST_LOCKED_DAY = date(2018, 1, 2)
"""From here on nothing was trained, tuned or chosen on."""
YEAR = 251
"""Steps of a judged episode: five of them fill the locked days."""
QUARTER = 63
"""Steps of a training episode, and between the beginnings of validation episodes."""
LOOKBACK = 253
"""Prices known before the first step."""
NUM_SYNTHETIC = 48
SETTINGS: Mapping[Algorithm, LearnerSettings] = {
    "apg": LearnerSettings(
        config=APGConfig(
            hidden_dims=(32, 32), learning_rate=4e-3, initial_action_mean=1.0 / 21, averaging=0.9
        ),
        num_envs=32,
    )
}
"""Learners begin by going a twenty-first of the way to equal weights in every step."""


@dataclass(frozen=True, kw_only=True)
class _Data:
    """Where the sets of a problem come from."""

    num_symbols: int
    training: ScenarioSource[MarketScenarios]
    training_data: str
    validation: ScenarioSet
    held_out: ScenarioSet


class ShuffledSymbols:
    """A scenario source that deals the symbols of another anew in every episode.

    So nothing can be learnt about a symbol as such, which a table of survivors would reward.
    """

    def __init__(self, source: ScenarioSource[MarketScenarios]) -> None:
        """Keep the source.

        Args:
            source: Where episodes come from.
        """
        self._source = source

    def draw(self, num_episodes: int, generator: np.random.Generator) -> MarketScenarios:
        """Draw episodes and shuffle the symbols of each.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        drawn = self._source.draw(num_episodes, generator)
        count = drawn.symbol_active.shape[-1]
        order = np.argsort(generator.random((num_episodes, count)), axis=-1)

        def deal(values: NDArray[np.float32]) -> NDArray[np.float32]:
            shaped = order.reshape((num_episodes, *(1,) * (values.ndim - 2), count))
            return np.take_along_axis(values, shaped, -1)

        return replace(
            drawn,
            history=deal(drawn.history),
            log_return=deal(drawn.log_return),
            volume=deal(drawn.volume),
            noise=deal(drawn.noise),
            symbol_active=deal(drawn.symbol_active),
        )


def portfolio_problem(*, traces: str | None = None) -> Problem:
    """Build the problem: train before 2008, choose by 2008-2017, judge from 2018 to 2022.

    Args:
        traces: Folder of the price files; None looks where `data.traces.locate_traces` says.
            Without them all prices are synthetic, and the problem says so.

    Raises:
        TraceError: The price file is missing from the folder given, or damaged.
    """
    folder = Path(traces) if traces else locate_traces()
    found = _synthetic_data() if folder is None else _real_data(load_stocks(folder))
    task = PortfolioConfig(num_steps=YEAR)
    return Problem(
        name="portfolio",
        title="Twenty shares: does anything beat holding the same of each?",
        agent="portfolio",
        training=found.training,
        training_data=found.training_data,
        learn_in=partial(_learn_in, replace(task, num_steps=QUARTER, action="rebalancing")),
        contest=Contest(
            make_environment=partial(judge_in, task),
            num_steps=task.num_steps,
            measure=_measure,
            kpi="growth of the logarithm of wealth in a year, after costs",
            kpi_format=".4f",
            policy_player=rebalancing_player,
        ),
        validation=found.validation,
        held_out=found.held_out,
        settings=SETTINGS,
        bank=BankConfig(num_episodes=256, refresh_every_episodes=256),
        experts={
            name: ExpertRule(tune=_nothing_to_tune, player=_player_of(expert, task))
            for name, expert in EXPERTS.items()
        },
        learn_steps=QUARTER,
        bound=partial(_bound, task),
        exporter=Exporter(
            make=partial(
                export_investor,
                config=replace(task, action="rebalancing"),
                num_symbols=found.num_symbols,
            ),
            ranges=market_ranges,
            limits=LIMITS,
        ),
    )


def portfolio_player(expert: Rebalanced, config: PortfolioConfig) -> Player:
    """Let every investor follow an expert's rule.

    Args:
        expert: What it holds, and how often it trades.
        config: The task.
    """

    def act(environment: BatchedEnvironment, record: StepRecord) -> Tensor:
        if not isinstance(environment, BatchedPortfolio):
            name = type(environment).__name__
            raise ConfigError(f"investors hold portfolios in BatchedPortfolio, not {name}")
        action = expert(view_to_numpy(environment.view), config)
        return torch.from_numpy(action).to(record.observation.device)

    return act


def rebalancing_player(policy: Policy) -> Player:
    """Let a policy act that says how far to go to equal weights, where others name weights.

    Args:
        policy: Trained in a world of "rebalancing" actions; it does not explore.
    """

    def act(environment: BatchedEnvironment, record: StepRecord) -> Tensor:
        if not isinstance(environment, BatchedPortfolio):
            name = type(environment).__name__
            raise ConfigError(f"investors hold portfolios in BatchedPortfolio, not {name}")
        part = policy.act(record.observation, record.action_mask, deterministic=True).action
        task = replace(environment.config, action="rebalancing")
        weights: Tensor = PortfolioDomain(task, torch).project(part, environment.view)
        return weights

    return act


def judge_in(config: PortfolioConfig, scenarios: MarketScenarios) -> BatchedPortfolio:
    """Build one copy per episode, played in their order.

    Args:
        config: The task.
        scenarios: The episodes.
    """
    count = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=count), 0)
    return BatchedPortfolio(config, bank, LockstepOptions(num_envs=count, shuffle=False), 0)


def cut_days(table: PriceTable, first: date, num_steps: int) -> MarketScenarios:
    """Cut one long episode that begins on a day; what is known before it comes before it.

    Args:
        table: The prices.
        first: Day of the first step's return.
        num_steps: How many days.
    """
    start = int(np.searchsorted(table.dates, np.datetime64(first, "D"))) - LOOKBACK
    sizes = RealMarketConfig(max_steps=num_steps, lookback=LOOKBACK)
    return TraceMarket(table, sizes).cut(np.asarray([start]), np.random.default_rng(0))


def _player_of(expert: Rebalanced, config: PortfolioConfig) -> Callable[[Parameters], Player]:
    return lambda _: portfolio_player(expert, config)


def _nothing_to_tune() -> Parameters:
    return ()


def _bound(config: PortfolioConfig, scenarios: MarketScenarios) -> Numbers:
    moves = scenarios.log_return.astype(np.float64)
    active = scenarios.symbol_active.astype(np.float64)
    return compute_hindsight_path(moves, active, config).log_growth


def _learn_in(
    config: PortfolioConfig, bank: ScenarioBank[MarketScenarios], num_envs: int, seed: int
) -> BatchedPortfolio:
    return BatchedPortfolio(config, bank, LockstepOptions(num_envs=num_envs), seed)


def _measure(record: StepRecord) -> Mapping[str, Tensor]:
    figures = {name: record.metrics[name] for name in ("turnover", "cost_share")}
    return {"kpi": record.metrics["log_growth"], **figures}


def _real_data(table: PriceTable) -> _Data:
    known, _ = table.split(FIRST_LOCKED_DAY)
    trained, _ = known.split(FIRST_VALIDATION_DAY)
    first, end = (
        int(np.searchsorted(table.dates, np.datetime64(day, "D")))
        for day in (FIRST_VALIDATION_DAY, FIRST_LOCKED_DAY)
    )
    return _Data(
        num_symbols=len(table.symbols),
        training=ShuffledSymbols(
            TraceMarket(trained, RealMarketConfig(max_steps=QUARTER, lookback=LOOKBACK))
        ),
        training_data=f"twenty shares from 1990 to {FIRST_VALIDATION_DAY.year - 1}, shuffled",
        validation=_cut_years(
            table,
            np.arange(first, end - YEAR, QUARTER),
            name="validation",
            about="twenty shares, a year from every quarter of 2008 to 2016",
        ),
        held_out=_cut_years(
            table,
            np.arange(end, len(table.dates) - YEAR + 1, YEAR),
            name="held_out",
            about="twenty shares, 2018 to 2022: locked, one year a block",
        ),
    )


def _cut_years(
    table: PriceTable, first_days: NDArray[np.intp], *, name: str, about: str
) -> ScenarioSet:
    source = TraceMarket(table, RealMarketConfig(max_steps=YEAR, lookback=LOOKBACK))
    scenarios = source.cut(first_days - LOOKBACK, make_generator(FIXED_SEED, name))
    blocks = (first_days - first_days[0]) // YEAR
    return ScenarioSet(
        name=name, about=about, scenarios=scenarios, blocks=blocks, block_name="year"
    )


def _synthetic_data() -> _Data:
    symbols, about = 5, "synthetic prices only (no price files found)"
    market = SyntheticMarketConfig(
        max_symbols=symbols, lookback=LOOKBACK, regime=MarketRegime.BULL, regime_switching=True
    )
    judged = SyntheticMarket(replace(market, max_steps=YEAR))

    def draw(name: str) -> ScenarioSet:
        scenarios = judged.draw(NUM_SYNTHETIC, make_generator(FIXED_SEED, name))
        blocks = np.arange(NUM_SYNTHETIC)
        return ScenarioSet(name=name, about=about, scenarios=scenarios, blocks=blocks)

    return _Data(
        num_symbols=symbols,
        training=SyntheticMarket(replace(market, max_steps=QUARTER)),
        training_data=about,
        validation=draw("validation"),
        held_out=draw("held_out"),
    )
