"""Fixed episodes of a world, and how whoever plays them is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.scenario import ScenarioArrays, hash_scenarios
from rl.algorithms.base_algorithm import Policy
from rl.environments.base_environment import BatchedEnvironment, StepRecord
from rl.evaluation.players import Player, policy_player, undisturbed
from utils.errors import ConfigError

Numbers = NDArray[np.float64]
Measure = Callable[[StepRecord], Mapping[str, Tensor]]
"""What of a step is counted, `[env]` each; summed over the episode."""
Figures = Callable[[Mapping[str, Numbers]], Mapping[str, Numbers]]
"""From the sums of every episode to what is reported, `[episode]` each; holds "kpi"."""


@dataclass(frozen=True, kw_only=True)
class ScenarioSet:
    """Episodes that everybody plays, in the same order, with the same luck."""

    name: str
    """Such as `validation`, `held_out` or `crisis`."""
    about: str
    """What they are, for people."""
    scenarios: ScenarioArrays
    blocks: NDArray[np.intp]
    """`[episode]`: the unit that a bootstrap resamples, such as the day an episode is cut from."""
    block_name: str = "episode"
    """What such a unit is called."""

    @cached_property
    def sha256(self) -> str:
        """Over all arrays; the same set always has the same."""
        return hash_scenarios(self.scenarios)

    def first(self, count: int | None) -> ScenarioSet:
        """Return the first episodes only, for quick looks; all of them if there are no more.

        Args:
            count: How many; None for all.
        """
        if count is None or count >= len(self.blocks):
            return self
        rows = np.arange(count)
        return replace(self, scenarios=self.scenarios.take(rows), blocks=self.blocks[rows])

    def __post_init__(self) -> None:
        """Refuse a set whose blocks do not fit.

        Raises:
            ConfigError: There is not one block for every episode.
        """
        if len(self.blocks) != self.scenarios.num_episodes or not len(self.blocks):
            raise ConfigError(
                f"{self.name}: {self.scenarios.num_episodes} episodes, {len(self.blocks)} blocks; "
                "give every episode one"
            )


@dataclass(frozen=True, kw_only=True)
class Column:
    """How a figure is shown to people."""

    name: str
    """Among the figures of the scores."""
    title: str
    format: str = ",.1f"
    """As Python's format takes it, such as `.1%`."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How each episode of a set went, `[episode]` each."""

    kpi: Numbers
    """What the world is about, in its unit; higher is better."""
    figures: Mapping[str, Numbers]
    """What lies behind it, by name."""


def count_reward(record: StepRecord) -> Mapping[str, Tensor]:
    """Count the mean reward of the agents, and the sum of every cost.

    Args:
        record: Of one step.
    """
    return {"kpi": record.reward.mean(-1), "cost": record.cost.sum((-1, -2))}


def keep_sums(sums: Mapping[str, Numbers]) -> Mapping[str, Numbers]:
    """Report the sums as they are.

    Args:
        sums: Of every episode.
    """
    return sums


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A world as a judge sees it: episodes are given, one copy plays each."""

    make_environment: Callable[[ScenarioArrays], BatchedEnvironment]
    """Builds one copy per episode, played in their order."""
    num_steps: int
    """Of every episode."""
    measure: Measure = count_reward
    figures: Figures = keep_sums
    policy_player: Callable[[Policy], Player] = field(default=policy_player)
    """How a trained policy plays, if its actions mean something else than the experts' do."""
    kpi: str = "mean return of the agents per episode"
    """What is maximised, with its unit, for people."""
    kpi_format: str = ",.1f"
    columns: tuple[Column, ...] = ()
    """The figures worth a column of their own beside the KPI."""

    def play(self, player: Player, episodes: ScenarioSet) -> Scores:
        """Play every episode once, all at the same time.

        Args:
            player: Who decides.
            episodes: What is played.

        Raises:
            ConfigError: An episode is longer or shorter than `num_steps`.
        """
        environment = self.make_environment(episodes.scenarios)
        record = environment.reset()
        sums: dict[str, Numbers] = {}
        with torch.no_grad():
            for step in range(self.num_steps):
                record = environment.step(player(environment, record))
                _check_end(record, is_last=step == self.num_steps - 1)
                for name, value in self.measure(record).items():
                    counted = value.double().cpu().numpy()
                    sums[name] = sums[name] + counted if name in sums else counted.copy()
        figures = dict(self.figures(sums))
        return Scores(kpi=figures.pop("kpi"), figures=figures)

    def play_policy(self, policy: Policy, episodes: ScenarioSet) -> Scores:
        """Let a policy play every episode once, as it would begin them; it is left as it was.

        Args:
            policy: Trained or not.
            episodes: What is played.
        """
        with undisturbed(policy, episodes.scenarios.num_episodes):
            return self.play(self.policy_player(policy), episodes)


def _check_end(record: StepRecord, *, is_last: bool) -> None:
    ended = record.terminated | record.truncated
    if bool((ended != is_last).any()):
        raise ConfigError("episodes of this world do not all end at the step that num_steps names")
