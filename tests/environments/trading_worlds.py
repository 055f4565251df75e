"""Small trading worlds that the tests share."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch

from data.market_config import SyntheticMarketConfig
from data.market_generator import SyntheticMarket
from data.scenario import BankConfig, FixedSource, ScenarioBank
from data.trading_scenarios import TradingScenarios, TradingSource, TradingStage
from rl.domains.indicators import Indicators
from rl.domains.trading import TradingView
from rl.domains.trading_config import TradingConfig
from rl.environments.lockstep import LockstepOptions
from rl.environments.trading_market import BatchedTrading

FREE = {"half_spread": 0.0, "market_impact_factor": 0.0, "temporary_impact_factor": 0.0}


def make_config(agents=2, symbols=2, steps=12, **changes):
    return TradingConfig(
        symbols=tuple(f"S{n}" for n in range(symbols)),
        agents=tuple(f"trader_{n}" for n in range(agents)),
        max_steps=steps,
        **changes,
    )


def make_bank(config, stage=None, *, episodes=16, seed=0, **market):
    source = SyntheticMarket(
        SyntheticMarketConfig(max_symbols=len(config.symbols), max_steps=config.max_steps, **market)
    )
    stage = stage or TradingStage(max_agents=len(config.agents))
    return ScenarioBank(TradingSource(source, stage), BankConfig(num_episodes=episodes), seed)


def make_world(config=None, stage=None, *, copies=4, seed=0, shuffle=False, bank=None, **market):
    config = config or make_config()
    if bank is None:
        bank = make_bank(config, stage, seed=seed, **({"episodes": max(copies, 16)} | market))
    return BatchedTrading(config, bank, LockstepOptions(num_envs=copies, shuffle=shuffle), seed)


def make_path(config, returns, *, price=100.0, fee=0.0, **changes):
    """One episode with given returns, `[time]` or `[time, symbol]`, the same for all symbols."""
    returns = np.asarray(returns, np.float32).reshape(config.max_steps, -1)
    symbols, agents = len(config.symbols), len(config.agents)
    shape = (1, config.max_steps, symbols)
    flat = TradingScenarios(
        history=np.full((1, 30, symbols), price, np.float32),
        log_return=np.broadcast_to(returns, shape).astype(np.float32),
        volume=np.full(shape, 1e6, np.float32),
        regime=np.zeros((1, config.max_steps), np.int8),
        noise=np.zeros(shape, np.float32),
        symbol_active=np.ones((1, symbols), np.float32),
        agent_active=np.ones((1, agents), np.float32),
        transaction_cost=np.full(1, fee, np.float32),
        max_position=np.ones(1, np.float32),
    )
    bank = ScenarioBank(FixedSource(replace(flat, **changes)), BankConfig(num_episodes=1), 0)
    return make_world(config, copies=1, bank=bank)


def as_numpy(view):
    held = {f.name: getattr(view, f.name) for f in fields(TradingView)}
    read = {name: value.detach().numpy() for name, value in vars(held.pop("indicators")).items()}
    arrays = {n: v.detach().numpy() if isinstance(v, torch.Tensor) else v for n, v in held.items()}
    return TradingView(indicators=Indicators(**read), **arrays)


def order(world, *sizes, stop=0.0, take=0.0):
    """The same sizes per symbol for every agent of every copy."""
    action = torch.zeros((world.num_envs, world.num_agents, len(sizes), 3))
    action[..., 0] = torch.tensor(sizes)
    action[..., 1], action[..., 2] = stop, take
    return action.flatten(2)


def play_expert(world, expert, seed=0):
    """One episode; returns the sum of every reward term and of the reward, `[env, agent]`."""
    generator = np.random.default_rng(seed)
    world.reset(0)
    total = {}
    for _ in range(world.config.max_steps):
        action = expert(as_numpy(world.view), world.config, generator)
        record = world.step(torch.from_numpy(action))
        for name, value in (*record.reward_terms.items(), ("reward", record.reward)):
            total[name] = total.get(name, 0.0) + value.double()
    return total
