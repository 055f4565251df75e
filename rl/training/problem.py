"""A problem to train for: where to learn, what is never seen there, and whom to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data.scenario import BankConfig, ScenarioArrays, ScenarioBank, ScenarioSource
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.capabilities import Algorithm
from rl.algorithms.ppo_config import PPOConfig
from rl.artifacts import Figure, PolicyArtifact, PolicyCard, ValidRange
from rl.deployment.exporters import ExportableAgent
from rl.environments.base_environment import BatchedEnvironment
from rl.evaluation.contest import Contest, Numbers, ScenarioSet
from rl.evaluation.players import Player
from rl.training.curriculum_world import ProblemStage
from rl.training.learning_settings import LearningConfig, algorithm_of, default_config
from rl.training.replay_learner import ENV_STEPS_PER_CALL
from utils.errors import ConfigError

WANTED_ROUNDS = 80
"""Episodes that every copy should play in a short run."""
UNTRIED_COPIES = 16
"""Played at once by an algorithm that has no settings in a problem."""
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
    fewest_envs: int | None = None
    """Down to which short runs may play fewer copies, for more updates; None if never."""
    rollout_steps: int = 64
    """Steps per copy and update, for algorithms that learn from blocks."""

    def copies_for(self, total_episodes: int) -> int:
        """Return how many copies a run of some length plays at once.

        Args:
            total_episodes: Summed over copies.
        """
        if self.fewest_envs is None:
            return self.num_envs
        return min(self.num_envs, max(self.fewest_envs, total_episodes // WANTED_ROUNDS))

    def env_steps_per_update(self, episode_steps: int) -> int:
        """Return how many transitions one call of the learner takes, over all copies.

        Args:
            episode_steps: Length of an episode.
        """
        if isinstance(self.config, APGConfig):
            return self.num_envs * episode_steps
        if isinstance(self.config, PPOConfig):
            return self.num_envs * self.rollout_steps
        steps = self.config.train_frequency * self.num_envs
        return -(-ENV_STEPS_PER_CALL // steps) * steps


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
    training: ScenarioSource[ScenarioArrays]
    training_data: str
    """What is trained on, for people."""
    learn_in: Callable[[ScenarioBank[ScenarioArrays], int, int], BatchedEnvironment]
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
    experts: Mapping[str, ExpertRule] = field(default_factory=dict)
    """By name; the best of them on the held-out set is what has to be beaten."""
    rival: str | None = None
    """The simple expert that must be beaten at the very least; another one may be better."""
    learn_steps: int | None = None
    """Of an episode in training, if it is not that of the contest."""
    bound: Callable[[ScenarioArrays], Numbers] | None = None
    """The best KPI that anyone could reach on each episode, knowing the future."""
    stress: tuple[ScenarioSet, ...] = ()
    """Harder or other worlds of the same shapes, fixed by seeds: crises, failures, shocks."""
    exporter: Exporter | None = None
    stages: MakeStages | None = None
    """The last of which is the problem itself."""
    illustrate: Callable[[Path, Mapping[str, Player]], tuple[Path, ...]] | None = None
    """Draws the same held-out episode, each player's way through it, as PNG files in a folder."""

    @property
    def episode_steps(self) -> int:
        """Steps of an episode in training."""
        return self.learn_steps or self.contest.num_steps

    def settings_of(
        self, algorithm: Algorithm, config: LearningConfig | None = None
    ) -> LearnerSettings:
        """Return how an algorithm learns here.

        Args:
            algorithm: Which.
            config: Its settings, if they are not to be the problem's own.

        Raises:
            ConfigError: The settings are those of another algorithm.
        """
        known = self.settings.get(algorithm)
        if config is not None and algorithm_of(config) != algorithm:
            raise ConfigError(
                f"algorithm={algorithm}, but the settings are those of {algorithm_of(config)}: "
                "choose one of them"
            )
        if known is None:
            return LearnerSettings(
                config=config or default_config(algorithm), num_envs=UNTRIED_COPIES
            )
        return known if config is None else replace(known, config=config)


MakeStages = Callable[[Problem, Mapping[str, Parameters]], tuple[ProblemStage, ...]]
"""From a problem and what its experts were tuned to to the stages of a curriculum."""
