"""A small world of two investors, and who plays it; for the tests of the suite."""

from __future__ import annotations

import numpy as np
import torch

from data.market_config import SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.algorithms.ppo_agent import PPOAgent
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.recurrent_ppo_agent import RecurrentPPOAgent
from rl.domains.portfolio import PortfolioConfig
from rl.domains.portfolio_experts import as_action, hold_equally
from rl.environments.lockstep import LockstepOptions
from rl.environments.portfolio_environment import BatchedPortfolio
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.contest import Contest, ScenarioSet
from rl.evaluation.entrants import Entrant
from rl.evaluation.players import random_player

CONFIG = PortfolioConfig(num_steps=12, num_agents=2)
MARKET = SyntheticMarketConfig(max_symbols=3, max_steps=12, lookback=30)


def make_environment(scenarios, config=CONFIG):
    count = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=count), 0)
    return BatchedPortfolio(config, bank, LockstepOptions(num_envs=count, shuffle=False), 0)


CONTEST = Contest(make_environment=make_environment, num_steps=12)


def make_set(count=24, seed=3, name="held_out"):
    scenarios = SyntheticMarket(MARKET).draw(count, np.random.default_rng(seed))
    return ScenarioSet(
        name=name, about="a market", scenarios=scenarios, blocks=np.arange(count) // 2
    )


def make_ppo(seed=0, memory=0):
    environment = make_environment(make_set(2).scenarios)
    config = PPOConfig(hidden_dims=(8,), memory_size=memory, normalize_observations=True)
    sizes = (f"ppo_{seed}", environment.observation_size, 3)
    if memory:
        agent = RecurrentPPOAgent(*sizes, config, discrete=False, seed=seed)
    else:
        agent = PPOAgent(*sizes, config, discrete=False, seed=seed, num_agents=2)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn((64, environment.observation_size), generator=generator)
    agent.network.normalizer.update(rows * 2 + 1)
    return agent


def hold(environment, record):
    del record
    weights = as_action(hold_equally(view_to_numpy(environment.view), CONFIG), CONFIG)
    return torch.from_numpy(weights)


def stay_in_cash(environment, record):
    del environment
    return torch.zeros((*record.reward.shape, 3))


EQUAL = Entrant(name="equal", kind="expert", players=(lambda: hold,))
CASH = Entrant(name="cash", kind="expert", players=(lambda: stay_in_cash,))
CHANCE = Entrant(name="chance", kind="random", players=(lambda: random_player(1),))
