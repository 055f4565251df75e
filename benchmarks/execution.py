"""What does selling a million shares cost, simulated, in closed form, and learned?

Run `python -m benchmarks.execution`: every risk aversion with every expert in the environment
beside the closed forms of Almgren and Chriss, then agents that learn by gradients through the
market at the risk aversion of 1e-6, each beside the optimum nobody can beat; prints the tables and
writes benchmarks/results/execution.json. About 30 CPU seconds on one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.price_shocks import NormalShocks, ShockConfig
from data.scenario import BankConfig, ScenarioBank
from rl.algorithms.apg_agent import APGAgent
from rl.algorithms.apg_config import APGConfig
from rl.domains.execution import ExecutionConfig, almgren_chriss
from rl.domains.execution_experts import EXPERTS
from rl.environments.execution_environment import BatchedExecution
from rl.environments.lockstep import LockstepOptions
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.execution_bounds import compute_execution_bound, compute_moments
from rl.training.learners import EpisodeLearner
from rl.training.provenance import read_provenance
from utils.config import to_json

RESULTS = Path(__file__).parent / "results" / "execution.json"
RISK_AVERSIONS = (0.0, 1e-6, 2e-6, 1e-5)
EPISODES = 65_536
LEARNED_RISK_AVERSION = 1e-6
FRONTIER = (3e-7, 1e-6, 3e-6, 1e-5)
"""Risk aversions at which one agent each is trained, for the frontier of cost against risk."""
COPIES = 256
FIRST_ACTION = 0.1
"""Agents begin far from the optimum; their default, half of the rest, is within 1 % by luck."""

Decide = Callable[[BatchedExecution, Tensor], Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One policy at one risk aversion, in currency; deviations of the cost of an episode."""

    risk_aversion: float
    policy: str
    expected_cost: float
    """Closed form."""
    deviation: float
    simulated_cost: float
    standard_error: float
    simulated_deviation: float
    disutility: float
    best_disutility: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """How much is played and learned."""

    episodes: int = EPISODES
    updates: int = 300
    judged: int = 4096


SMOKE = Size(episodes=256, updates=2, judged=64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned:
    """One agent, judged by expected cost plus risk penalty on shocks it has not seen."""

    seed: int
    risk_aversion: float
    cost: float
    """Mean implementation shortfall, simulated."""
    deviation: float
    best_cost: float
    """Of the optimal schedule, closed form."""
    best_deviation: float
    first_disutility: float
    disutility: float
    best_disutility: float
    excess: float
    """Over the best, as a share of it."""
    env_steps: int
    cpu_seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What episodes of one policy cost, `[episode]`, and what it held, `[time]` of the first."""

    shortfall: Tensor
    disutility: Tensor
    holdings: Tensor


def build(config: ExecutionConfig, *, copies: int, seed: int, mirrored: bool) -> BatchedExecution:
    """Return copies that draw new shocks for every episode.

    Args:
        config: The order.
        copies: How many.
        seed: Of the shocks.
        mirrored: Whether shocks come in pairs that sum to zero.
    """
    source = NormalShocks(ShockConfig(num_steps=config.num_steps, antithetic=mirrored))
    sizes = BankConfig(num_episodes=copies, refresh_every_episodes=copies)
    bank = ScenarioBank(source, sizes, seed)
    options = LockstepOptions(num_envs=copies, shuffle=mirrored)
    return BatchedExecution(config, bank, options, seed)


def play(environment: BatchedExecution, decide: Decide) -> Outcome:
    """Play one episode in every copy.

    Args:
        environment: At any point; it is reset.
        decide: The policy, from the environment and the observation.
    """
    record = environment.reset()
    shortfall = torch.zeros(environment.num_envs, dtype=torch.float64)
    disutility, held = torch.zeros_like(shortfall), []
    for _ in range(environment.config.num_steps):
        record = environment.step(decide(environment, record.observation))
        shortfall += record.metrics["shortfall"]
        disutility -= (record.reward - record.reward_terms["price_move"])[:, 0]
        held.append(record.metrics["remaining_share"][0].double())
    return Outcome(shortfall=shortfall, disutility=disutility, holdings=torch.stack(held))


def compare(risk_aversion: float, policy: str, *, episodes: int, seed: int) -> Row:
    """Play an expert and put its cost beside the closed form of the schedule it sold by.

    Args:
        risk_aversion: lambda.
        policy: Name of the expert.
        episodes: How many.
        seed: Of the shocks.
    """
    config = almgren_chriss(risk_aversion)
    environment = build(config, copies=episodes, seed=seed, mirrored=False)

    def decide(world: BatchedExecution, observation: Tensor) -> Tensor:
        del observation
        view = view_to_numpy(world.view)
        return torch.from_numpy(EXPERTS[policy](view, config))[:, None]

    outcome = play(environment, decide)
    exact = compute_moments(config.shares * np.asarray(outcome.holdings), config)
    deviation = float(outcome.shortfall.std())
    return Row(
        risk_aversion=risk_aversion,
        policy=policy,
        expected_cost=float(exact.expected_cost),
        deviation=float(exact.deviation),
        simulated_cost=float(outcome.shortfall.mean()),
        standard_error=deviation / episodes**0.5,
        simulated_deviation=deviation,
        disutility=float(exact.disutility(risk_aversion)),
        best_disutility=compute_execution_bound(config).disutility,
    )


def learn(seed: int, risk_aversion: float, size: Size) -> Learned:
    """Train one agent by gradients through the market.

    Args:
        seed: Of weights and shocks.
        risk_aversion: lambda.
        size: How much.
    """
    config = almgren_chriss(risk_aversion)
    settings = APGConfig(hidden_dims=(32, 32), initial_action_mean=FIRST_ACTION)
    agent = APGAgent("trader", 4, 1, settings, seed=seed)

    def judge() -> Outcome:
        unseen = build(config, copies=size.judged, seed=seed + 1000, mirrored=True)
        return play(unseen, lambda _, observation: agent.act(observation, None).action)

    first, best = float(judge().disutility.mean()), compute_execution_bound(config)
    environment = build(config, copies=COPIES, seed=seed, mirrored=True)
    learner = EpisodeLearner(environment, agent, seed=seed)
    started = time.process_time()
    for _ in range(size.updates):
        learner.learn(size.updates * COPIES * config.num_steps)
    seconds, played = time.process_time() - started, judge()
    reached = float(played.disutility.mean())
    return Learned(
        seed=seed,
        risk_aversion=risk_aversion,
        cost=float(played.shortfall.mean()),
        deviation=float(played.shortfall.std()),
        best_cost=best.expected_cost,
        best_deviation=best.deviation,
        first_disutility=first,
        disutility=reached,
        best_disutility=best.disutility,
        excess=reached / best.disutility - 1.0,
        env_steps=learner.env_steps,
        cpu_seconds=round(seconds, 2),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, learn, print, write.

    Args:
        arguments: Of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument(
        "--smoke", action="store_true", help="see that it runs; figures mean little"
    )
    options = parser.parse_args(arguments)
    size = SMOKE if options.smoke else Size()
    torch.set_num_threads(1)
    print("lambda  policy          E cost      simulated +- s.e.      sd         simulated")
    rows = [
        compare(value, policy, episodes=size.episodes, seed=0)
        for value in RISK_AVERSIONS
        for policy in EXPERTS
    ]
    for row in rows:
        print(
            f"{row.risk_aversion:6.0e}  {row.policy:14}  {row.expected_cost:9,.0f}  "
            f"{row.simulated_cost:9,.0f} +- {row.standard_error:5,.0f}  {row.deviation:9,.0f}  "
            f"{row.simulated_deviation:9,.0f}"
        )
    agents = [learn(seed, LEARNED_RISK_AVERSION, size) for seed in range(options.seeds)]
    others = [value for value in FRONTIER if value != LEARNED_RISK_AVERSION]
    agents += [learn(0, value, size) for value in others]
    for agent in agents:
        print(
            f"lambda {agent.risk_aversion:.0e}, seed {agent.seed}: cost plus penalty "
            f"{agent.first_disutility:,.0f} -> "
            f"{agent.disutility:,.0f}, best {agent.best_disutility:,.0f} ({agent.excess:+.3%}), "
            f"{agent.env_steps:,} steps, {agent.cpu_seconds} s"
        )
    content = {
        "command": "python -m benchmarks.execution",
        "commit": read_provenance().code_commit,
        "machine": platform.platform(),
        "torch": torch.__version__,
        "episodes": size.episodes,
        "shock_seed": 0,
        "rows": [to_json(row) for row in rows],
        "learned": [to_json(agent) for agent in agents],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
