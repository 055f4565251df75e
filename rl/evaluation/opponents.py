"""Seats of a world of several agents given to others than the one who is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from rl.environments.base_environment import BatchedEnvironment, StepRecord
from rl.evaluation.contest import Contest, Numbers
from rl.evaluation.entrants import Entrant
from rl.evaluation.players import Player
from utils.errors import ConfigError

JUDGED: Final = "judged seats"


@dataclass(frozen=True, kw_only=True)
class Opponents:
    """Who sits on the other seats, and which seats are judged."""

    entrant: Entrant
    """Plays all other seats with its first run; nobody judged was trained against it."""
    judged_seats: tuple[int, ...]
    """Positions on the agent axis."""


def judge_seats(contest: Contest, seats: tuple[int, ...]) -> Contest:
    """Return the contest with the mean reward of some seats as its KPI.

    What all seats together came to stays as the figure `kpi_of_all`.

    Args:
        contest: The world.
        seats: Positions on the agent axis.
    """
    columns = list(seats)

    def measure(record: StepRecord) -> Mapping[str, Tensor]:
        return {**contest.measure(record), JUDGED: record.reward[:, columns].mean(-1)}

    def figures(sums: Mapping[str, Numbers]) -> Mapping[str, Numbers]:
        own = {name: value for name, value in sums.items() if name != JUDGED}
        found = contest.figures(own)
        return {**found, "kpi": sums[JUDGED], "kpi_of_all": found["kpi"]}

    return replace(contest, measure=measure, figures=figures)


def seat_players(judged: Player, others: Player, seats: tuple[int, ...]) -> Player:
    """Let two players share the seats of a world.

    Args:
        judged: Plays `seats`.
        others: Plays the rest.
        seats: Positions on the agent axis.
    """

    def act(environment: BatchedEnvironment, record: StepRecord) -> Tensor:
        check_seats(seats, environment.num_agents)
        ours, theirs = judged(environment, record), others(environment, record)
        is_ours = torch.zeros(environment.num_agents, dtype=torch.bool, device=ours.device)
        is_ours[list(seats)] = True
        return torch.where(is_ours.view(1, -1, *[1] * (ours.ndim - 2)), ours, theirs)

    return act


def check_seats(seats: tuple[int, ...], num_agents: int) -> None:
    """Refuse seats that do not exist, and those that leave none for others.

    Args:
        seats: Positions on the agent axis.
        num_agents: Of the world.

    Raises:
        ConfigError: They do not fit.
    """
    if not seats or len(set(seats)) != len(seats) or not set(seats) < set(range(num_agents)):
        raise ConfigError(
            f"judged_seats {seats} of a world of {num_agents} agents; name some of 0 .. "
            f"{num_agents - 1}, each once, and leave at least one to the opponents"
        )
