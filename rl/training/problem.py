"""A problem to train for: where to learn, what is never seen there, and whom to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data.scenario import BankConfig, ScenarioArrays, ScenarioBank, ScenarioSource
from rl.algorithms.capabilities import Algorithm
from rl.artifacts import Figure, PolicyArtifact, PolicyCard, ValidRange
from rl.deployment.exporters import ExportableAgent
from rl.environments.lockstep import LockstepEnvironment
from rl.evaluation.contest import Contest, Numbers, ScenarioSet
from rl.evaluation.players import Player
from rl.training.learning_settings import LearningConfig
from utils.errors import ConfigError

Parameters = tuple[Figure, ...]
"""What an expert's rule was tuned to; JSON-able, so that tuning is done once."""


@dataclass(frozen=True, kw_only=True)
class ExpertRule:
    """A rule that an expert would use, and how its parameters are found."""

    tune: Callable[[], Parameters]
    """On scenarios that are not held out; slow. No parameters if there is nothing to tune."""
    player: Callable[[Parameters], Player]
    """Plays it."""


@dataclass(frozen=True, kw_only=True)
class LearnerSettings:
    """How an algorithm learns a problem unless told otherwise."""

    config: LearningConfig
    num_envs: int
    """Copies played at once."""
    rollout_steps: int = 64
    """Steps per copy and update, for algorithms that learn from blocks."""


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """How a trained policy leaves as an artifact that serves without torch."""

    make: Callable[[ExportableAgent, PolicyCard], PolicyArtifact]
    ranges: Callable[[Sequence[ScenarioArrays]], tuple[ValidRange, ...]]
    """Between which request values these scenarios lie."""
    limits: tuple[str, ...]
    """What the policy must not be used for, or what is not known of it; a sentence each."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One world with all that training, judging and exporting in it needs."""

    name: str
    """As in `TrainingConfig.environment`."""
    title: str
    """A question, for reports: "Shared services: who allocates best?"."""
    agent: str
    """Name of the business agent that a trained policy becomes."""
    kpi: str
    """What is maximised, with its unit: "profit per episode"."""
    training: ScenarioSource[ScenarioArrays]
    training_data: str
    """What is trained on, for people."""
    learn_in: Callable[[ScenarioBank[ScenarioArrays], int, int], LockstepEnvironment[Any]]
    """From a bank, a number of copies and a seed to the world that is trained in."""
    contest: Contest
    """The same world as a judge sees it."""
    validation: ScenarioSet
    """Watched during training; chooses the best policy. Never held out, fixed by a seed."""
    held_out: ScenarioSet
    """What the result is judged on: nothing was trained, tuned or chosen on it."""
    settings: Mapping[Algorithm, LearnerSettings]
    """Of the algorithms that were tried; others learn with their own defaults."""
    bank: BankConfig = field(default_factory=BankConfig)
    experts: Mapping[str, ExpertRule] | None = None
    """By name; the best of them on the held-out set is what has to be beaten. None if unknown."""
    bound: Callable[[ScenarioArrays], Numbers] | None = None
    """The best KPI that anyone could reach on each episode, knowing the future."""
    stress: tuple[ScenarioSet, ...] = ()
    """Harder or other worlds of the same shapes, fixed by seeds: crises, failures, shocks."""
    exporter: Exporter | None = None

    def settings_of(self, algorithm: Algorithm) -> LearnerSettings:
        """Return how an algorithm learns here.

        Args:
            algorithm: Which.

        Raises:
            ConfigError: It was never tried here, so there are no settings.
        """
        if algorithm not in self.settings:
            raise ConfigError(
                f"{self.name} has no settings for {algorithm}; it has some for "
                f"{', '.join(self.settings)}"
            )
        return self.settings[algorithm]
