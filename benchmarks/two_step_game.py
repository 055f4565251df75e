"""QMIX and VDN on the two-step game: greedy returns and the tables they learnt, beside the paper's.

Run `python -m benchmarks.two_step_game`: tables, and JSON in benchmarks/results/two_step_game.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import torch

from benchmarks.measuring import RESULTS, write_report
from rl.algorithms.qmix_agent import QMIXAgent
from rl.algorithms.qmix_config import Mixing, QMIXConfig
from rl.environments.lockstep import LockstepOptions
from rl.environments.two_step_game import BatchedTwoStepGame
from rl.training.replay_learner import ReplayLearner

ENV_STEPS = 96_000
COPIES = 32
RETURNS: dict[Mixing, float] = {"vdn": 7.0, "qmix": 8.0}
"""What each can reach: the best sum of the agents' values of matrix 2B is 6.5, under the safe 7."""
ROOMS = ("1", "2A", "2B")
PAPER = {
    "vdn": {
        "1": [[6.94, 6.94], [6.35, 6.36]],
        "2A": [[6.99, 7.02], [6.99, 7.02]],
        "2B": [[-1.87, 2.31], [2.33, 6.51]],
    },
    "qmix": {
        "1": [[6.93, 6.93], [7.92, 7.92]],
        "2A": [[7.00, 7.00], [7.00, 7.00]],
        "2B": [[0.00, 1.00], [1.00, 8.00]],
    },
}
"""arXiv:1803.11485, its tables of the two-step game, as recalled; not read here."""

Table = list[list[float]]


def make_config(mixer: Mixing) -> QMIXConfig:
    """Return the settings: all choices random while learning, as in the paper.

    Args:
        mixer: `vdn` or `qmix`.
    """
    return QMIXConfig(
        mixer=mixer,
        hidden_dims=(64,),
        mixing_dim=8,
        hypernet_dim=16,
        learning_rate=1e-3,
        epsilon_end=1.0,
        target_update_frequency=100,
        buffer_size=8_192,
        batch_size=128,
        train_frequency=2,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """One training run."""

    mixer: Mixing
    seed: int
    greedy_return: float
    """Of the team, not discounted."""
    tables: dict[str, Table]
    """Q_tot of every joint choice by room, `[first][second]`."""
    cpu_seconds: float


def make_game(copies: int) -> BatchedTwoStepGame:
    """Return copies of the paper's game.

    Args:
        copies: How many.
    """
    return BatchedTwoStepGame(LockstepOptions(num_envs=copies), 0)


@torch.no_grad()
def learnt_tables(agent: QMIXAgent) -> dict[str, Table]:
    """Return Q_tot of every joint choice in every room.

    Args:
        agent: Without memory.
    """
    rooms = torch.eye(3)[[2, 0, 1]]
    network = agent.network
    q, _ = network.values(
        rooms[None, :, None].expand(-1, -1, 2, -1), network.values.empty_memory(3)
    )
    first, second = q[0].unbind(1)
    joint = torch.stack((first[:, :, None].expand(-1, 2, 2), second[:, None].expand(-1, 2, 2)), -1)
    everyone = torch.ones_like(joint, dtype=torch.bool)
    total, _ = network.total(joint, everyone, rooms[:, None, None].expand(-1, 2, 2, -1))
    return {name: table.tolist() for name, table in zip(ROOMS, total, strict=True)}


def greedy_return(agent: QMIXAgent) -> float:
    """Return what the team is paid when every agent takes its best choice.

    Args:
        agent: Acts deterministically.
    """
    game = make_game(1)
    record, paid = game.reset(), 0.0
    while not record.terminated.any():
        action = agent.act(record.observation, record.action_mask, deterministic=True).action
        record = game.step(action)
        paid += float(record.reward.sum())  # halves to each agent
    return paid


def train(config: QMIXConfig, seed: int, *, env_steps: int) -> QMIXAgent:
    """Return a team that has learnt the game.

    Args:
        config: Settings.
        seed: Of everything.
        env_steps: How long, over all copies.
    """
    game = make_game(COPIES)
    agent = QMIXAgent(
        "team",
        game.observation_size,
        game.action_size,
        config,
        num_agents=game.num_agents,
        state_size=game.state_size,
        seed=seed,
    )
    learner = ReplayLearner(game, agent, seed=seed)
    while learner.env_steps < env_steps:
        learner.learn(env_steps)
    return agent


def train_once(mixer: Mixing, seed: int, *, env_steps: int = ENV_STEPS) -> Result:
    """Train one team and let it play greedily.

    Args:
        mixer: `vdn` or `qmix`.
        seed: Of everything.
        env_steps: How long, over all copies.
    """
    started = time.process_time()
    agent = train(make_config(mixer), seed, env_steps=env_steps)
    return Result(
        mixer=mixer,
        seed=seed,
        greedy_return=greedy_return(agent),
        tables=learnt_tables(agent),
        cpu_seconds=round(time.process_time() - started, 2),
    )


def show(result: Result) -> None:
    """Print one run: its return, and its tables beside the paper's.

    Args:
        result: Of one seed.
    """
    print(f"{result.mixer:4}  seed {result.seed}  greedy return {result.greedy_return:.0f}")
    for room, table in result.tables.items():
        learnt = "  ".join(f"{value:6.2f}" for row in table for value in row)
        paper = "  ".join(f"{value:6.2f}" for row in PAPER[result.mixer][room] for value in row)
        print(f"      {room:2}  {learnt}    paper: {paper}", flush=True)


def main() -> None:
    """Train both mixers with every seed, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--output", type=Path, default=RESULTS / "two_step_game.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for mixer, wanted in RETURNS.items():
        found = []
        for seed in arguments.seeds:
            found.append(train_once(mixer, seed))
            show(found[-1])
        reached = sum(abs(result.greedy_return - wanted) < 1e-6 for result in found)
        print(f"{mixer}: {reached} of {len(found)} seeds return {wanted:.0f}")
        results += found
    report = {
        "command": "python -m benchmarks.two_step_game",
        "env_steps": ENV_STEPS,
        "configs": {mixer: dataclasses.asdict(make_config(mixer)) for mixer in RETURNS},
        "paper": PAPER,
        "results": [dataclasses.asdict(result) for result in results],
    }
    write_report(arguments.output, report)


if __name__ == "__main__":
    main()
