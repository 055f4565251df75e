"""Fixed episodes played and kept step by step, and the figures that people ask of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student_t
from torch import Tensor

from rl.environments.rendering import EpisodeHistory
from rl.evaluation.contest import Contest, Numbers, ScenarioSet
from rl.evaluation.episode_statistics import mean_of_worst
from rl.evaluation.players import Player
from utils.errors import ConfigError

TOTAL_COST = "total_cost"
"""Metric of worlds in which decisions cost something that is no limit."""
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class RecordedPlay:
    """What was seen, done and received in every step of every episode."""

    observation: Numbers
    """`[episode, time, agent, obs]`, before the step."""
    action: Numbers
    """`[episode, time, agent, act]`; choices have no last axis."""
    reward: Numbers
    """`[episode, time, agent]`."""
    cost: Numbers
    """`[episode, time]`: what was spent; 0 in worlds that count no spending."""
    violation: Numbers
    """`[episode, time]`: the environment's costs, which limits are about, over agents and kinds."""
    history: EpisodeHistory
    """Of the first episode, for pictures."""


def record_play(contest: Contest, player: Player, episodes: ScenarioSet) -> RecordedPlay:
    """Play every episode once and keep everything.

    Args:
        contest: The world.
        player: Who decides.
        episodes: What is played.
    """
    environment: Any = contest.make_environment(episodes.scenarios)
    history = EpisodeHistory(getattr(environment, "charts", ()))
    record = environment.reset()
    steps: dict[str, list[Tensor]] = {
        name: [] for name in ("observation", "action", "reward", "cost", "violation")
    }
    with torch.no_grad():
        for _ in range(contest.num_steps):
            action = player(environment, record)
            steps["observation"].append(record.observation)
            steps["action"].append(action)
            record = environment.step(action)
            history.add(record)
            steps["reward"].append(record.reward)
            nothing = torch.zeros(len(record.reward))
            steps["cost"].append(record.metrics.get(TOTAL_COST, nothing))
            steps["violation"].append(record.cost.sum((-1, -2)))
    stacked = {name: torch.stack(rows, 1).double().cpu().numpy() for name, rows in steps.items()}
    return RecordedPlay(**stacked, history=history)


def summarise_play(play: RecordedPlay) -> dict[str, Any]:
    """Return the promised figures of an evaluation; a tail that too few episodes hold is None.

    An episode's reward is the mean over agents of their sums. Intervals are Student's, 95 %.
    `success_rate` counts rewards above 0, `constraint_satisfaction` episodes without violation;
    `reward_cvar_95` and `reward_cvar_99` are means of the worst 5 % and 1 %, and `notes` says
    what is missing and why.

    Args:
        play: Of one player.

    Raises:
        ConfigError: A reward is not finite.
    """
    reward = play.reward.sum(1).mean(-1)
    violation = play.violation.sum(1)
    if not np.isfinite(reward).all():
        raise ConfigError("a reward is not finite: the world or the policy is broken")
    figures: dict[str, Any] = {"num_episodes": len(reward)}
    series = {"reward": reward, "cost": play.cost.sum(1), "violation": violation}
    for name, values in series.items():
        figures |= _describe(name, values)
    figures["length"] = float(play.reward.shape[1])
    figures["success_rate"] = float((reward > 0).mean())
    figures["constraint_satisfaction"] = float((violation == 0).mean())
    notes = []
    for percent, share in ((95, 0.05), (99, 0.01)):
        tail = mean_of_worst(reward[None], share)
        figures[f"reward_cvar_{percent}"] = tail.value
        notes += [f"reward_cvar_{percent}: {tail.reason}"] if tail.value is None else []
    return figures | {"notes": notes}


def _describe(name: str, values: Numbers) -> dict[str, Any]:
    """Return mean, deviation and interval; one episode has neither of the latter."""
    mean, count = float(values.mean()), len(values)
    figures: dict[str, Any] = {f"{name}_mean": mean, f"{name}_std": None, f"{name}_ci": None}
    if count > 1:
        deviation = float(values.std(ddof=1))
        half = float(student_t.ppf((1 + LEVEL) / 2, count - 1)) * deviation / count**0.5
        figures |= {f"{name}_std": deviation, f"{name}_ci": [mean - half, mean + half]}
    return figures
