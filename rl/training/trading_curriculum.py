"""The trading curriculum in the market world: 15 symbols, of which a stage lists the first few."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.market import REGIMES, MarketRegime
from data.market_config import SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.market_timeline import SYMBOLS
from data.scenario import ScenarioArrays, ScenarioBank, fixed_bank
from data.trading_scenarios import TradingSource, TradingStage
from rl.domains.trading_config import TradingConfig
from rl.domains.trading_experts import EXPERTS
from rl.environments.base_environment import StepRecord
from rl.environments.lockstep import LockstepOptions
from rl.environments.torch_tools import view_to_numpy
from rl.environments.trading_market import BatchedTrading
from rl.evaluation.contest import Contest
from rl.evaluation.players import Player
from rl.training.curricula import create_trading_curriculum
from rl.training.curriculum_stage import CurriculumStage
from rl.training.curriculum_world import CurriculumWorld, count_return, make_stages
from utils.seeding import make_generator

NUM_SYMBOLS = 15
RULES = ("hold_cash", "buy_and_hold", "equal_weight", "momentum", "trend_volatility_target")
MIXED = "mixed"
NOTES = (
    "volatility is that of a year, over all regimes of the stage; a regime adds its drift.",
    f"{MIXED} draws one of the five regimes for every episode.",
    "regime_switching lets regimes change within an episode.",
)


def make_trading_world(num_agents: int = 4, *, max_steps: int = 252) -> CurriculumWorld:
    """Return the market of the largest stage, and the five stages in it.

    Args:
        num_agents: Who trade, in every stage.
        max_steps: Of an episode.
    """
    config = TradingConfig(
        symbols=SYMBOLS[:NUM_SYMBOLS],
        agents=tuple(f"trader_{number}" for number in range(num_agents)),
        max_steps=max_steps,
    )

    def learn_in(bank: ScenarioBank[Any], num_envs: int, seed: int) -> BatchedTrading:
        return BatchedTrading(config, bank, LockstepOptions(num_envs=num_envs), seed)

    def judge(scenarios: ScenarioArrays) -> BatchedTrading:
        count = scenarios.num_episodes
        bank: ScenarioBank[Any] = fixed_bank(scenarios)
        return BatchedTrading(config, bank, LockstepOptions(num_envs=count, shuffle=False), 0)

    contest = Contest(make_environment=judge, num_steps=max_steps, measure=count_return)
    return CurriculumWorld(
        name="trading",
        stages=make_stages(
            create_trading_curriculum(),
            lambda stage: make_trading_source(stage, num_agents=num_agents, max_steps=max_steps),
            contest=contest,
            experts={name: _player(name, config) for name in RULES},
        ),
        learn_in=learn_in,
        contest=contest,
        notes=NOTES,
    )


def make_trading_source(
    stage: CurriculumStage, *, num_agents: int, max_steps: int
) -> TradingSource:
    """Return what is played in a stage.

    Args:
        stage: Of the trading curriculum.
        num_agents: Who trade.
        max_steps: Of an episode.
    """
    name = stage.choice("market_regime")
    regime = None if name == MIXED else MarketRegime(name)
    played = REGIMES if regime is None else (regime,)
    usual = float(np.sqrt(np.mean([one.volatility**2 for one in played])))
    market = SyntheticMarketConfig(
        max_symbols=NUM_SYMBOLS,
        num_symbols=round(stage.number("num_symbols")),
        max_steps=max_steps,
        regime=regime,
        regime_switching=stage.number("regime_switching") > 0,
        volatility=stage.number("volatility") / usual,
    )
    return TradingSource(
        SyntheticMarket(market),
        TradingStage(
            max_agents=num_agents,
            transaction_cost=stage.number("transaction_cost"),
            max_position=stage.number("max_position"),
        ),
    )


def _player(name: str, config: TradingConfig) -> Player:
    generator = make_generator(0, "trading expert")

    def act(environment: Any, record: StepRecord) -> Tensor:
        action = EXPERTS[name](view_to_numpy(environment.view), config, generator)
        return torch.from_numpy(action).to(record.observation.device)

    return act
