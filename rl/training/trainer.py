"""The training loop: collect, update, report, and now and then evaluate and save."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from rl.algorithms.base_algorithm import Policy
from rl.algorithms.policy_state import TensorDict, under_prefix, with_prefix
from rl.algorithms.recurrent_ppo_agent import RecurrentPPOAgent
from rl.environments.base_environment import BatchedEnvironment
from rl.training.checkpointing import Checkpoint, CheckpointFolder
from rl.training.freed_memory import keep_freed_memory
from rl.training.learners import make_learner
from rl.training.recorder import CheckpointRecord, EvaluationRecord, Recorder, StopReason
from rl.training.rollout import RolloutSummary
from utils.config import to_json
from utils.errors import ConfigError

Evaluate = Callable[[Policy], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How long to train and how often to stop and look."""

    total_env_steps: int
    """Transitions over all copies; the last update may pass it."""
    rollout_steps: int = 64
    """Steps per copy and update."""
    evaluate_every_updates: int = 0
    """0 evaluates at the end only."""
    checkpoint_every_updates: int = 0
    """0 saves at the end, and when asked to stop, only."""
    score: str = "kpi"
    """Which of the evaluation's scores decides what the best policy is; higher is better."""
    seed: int = 0
    """Of the environment's episodes."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A number is out of range.
        """
        for name in ("total_env_steps", "rollout_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: choose at least 1")
        for name in ("evaluate_every_updates", "checkpoint_every_updates"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose 0 or more")


@dataclass(frozen=True, kw_only=True)
class TrainOutcome:
    """What training came to."""

    env_steps: int
    updates: int
    stopped: StopReason | None
    """None if training ran to its end."""
    best_score: float | None
    best_policy: TensorDict | None
    """For `load_policy_state` of the agent; None if nothing was evaluated."""
    checkpoint: CheckpointRecord | None
    """The last one written or resumed from."""


class Trainer:
    """Trains one agent in one environment; stops and continues at any update, bit for bit."""

    def __init__(
        self,
        config: TrainerConfig,
        environment: BatchedEnvironment,
        agent: Policy,
        recorder: Recorder,
        *,
        checkpoints: CheckpointFolder | None = None,
        evaluate: Evaluate | None = None,
    ) -> None:
        """Reset the environment; the process keeps freed memory from now on.

        Args:
            config: Settings.
            environment: Stepped by nobody else while training.
            agent: Learns.
            recorder: Hears of everything that happens.
            checkpoints: Where to save; None to save nothing.
            evaluate: Scores the agent without changing it or the environment.
        """
        keep_freed_memory()
        self._config = config
        self._environment = environment
        self._agent = agent
        self._recorder = recorder
        self._checkpoints = checkpoints
        self._evaluate = evaluate
        self._learner = make_learner(
            environment, agent, rollout_steps=config.rollout_steps, seed=config.seed
        )
        self._updates = 0
        self._best_score: float | None = None
        self._best_policy: TensorDict | None = None
        self._last_checkpoint: CheckpointRecord | None = None

    @property
    def env_steps(self) -> int:
        """Transitions so far, over all copies."""
        return self._learner.env_steps

    def train(self) -> TrainOutcome:
        """Train to the end, or until the recorder asks to stop.

        Raises:
            DivergenceError: A loss, reward or observation is not finite.
            CheckpointWriteError: The disk is full or not writable.
        """
        total = self._config.total_env_steps
        self._recorder.progress(min(self.env_steps, total), total)
        stopped = self._recorder.should_stop()
        if stopped is None and self.env_steps == 0 and self._config.evaluate_every_updates > 0:
            self._score()
        while stopped is None and self.env_steps < total:
            self._update()
            stopped = self._recorder.should_stop()
            is_last = self.env_steps >= total
            is_due = stopped is None and self._is_due(self._config.evaluate_every_updates)
            if is_last or is_due:
                self._score()
            is_ending = is_last or stopped is not None
            if is_ending or self._is_due(self._config.checkpoint_every_updates):
                self._save()
        return TrainOutcome(
            env_steps=self.env_steps,
            updates=self._updates,
            stopped=stopped if self.env_steps < total else None,
            best_score=self._best_score,
            best_policy=self._best_policy,
            checkpoint=self._last_checkpoint,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from where a checkpoint was written.

        Args:
            checkpoint: Written by a trainer with the same agent and environment configuration.

        Raises:
            StateMismatchError: It was written with another configuration.
        """
        tensors, fields = checkpoint.tensors, checkpoint.fields
        self._environment.load_state_dict(under_prefix("environment", tensors))
        self._agent.load_state_dict(under_prefix("agent", tensors))
        self._learner.load_state_dict(under_prefix("learner", tensors))
        self._updates = fields["updates"]
        self._best_score = fields["best_score"]
        self._best_policy = under_prefix("best_policy", tensors) or None
        self._last_checkpoint = checkpoint.record

    def _update(self) -> None:
        total = self._config.total_env_steps
        summary, learning = self._learner.learn(total)
        self._updates += 1
        figures = _figures(summary) | {name: float(value) for name, value in learning.items()}
        finite = {name: value for name, value in figures.items() if math.isfinite(value)}
        self._recorder.metrics(self.env_steps, finite)
        self._recorder.progress(min(self.env_steps, total), total)

    def _is_due(self, every_updates: int) -> bool:
        return every_updates > 0 and self._updates % every_updates == 0

    def _score(self) -> None:
        if self._evaluate is None:
            return
        recurrent = self._agent if isinstance(self._agent, RecurrentPPOAgent) else None
        with nullcontext() if recurrent is None else recurrent.fresh_memory():
            scores = self._evaluate(self._agent)
        self._recorder.evaluated(EvaluationRecord(env_steps=self.env_steps, scores=scores))
        if self._config.score not in scores:
            raise ConfigError(
                f"score={self._config.score}: the evaluation has only {', '.join(scores)}"
            )
        score = scores[self._config.score]
        if self._best_score is None or score > self._best_score:
            self._best_score = score
            self._best_policy = self._agent.policy_state()

    def _save(self) -> None:
        if self._checkpoints is None:
            return
        tensors = {
            **with_prefix("environment", self._environment.state_dict()),
            **with_prefix("agent", self._agent.state_dict()),
            **with_prefix("learner", self._learner.state_dict()),
            **with_prefix("best_policy", self._best_policy or {}),
        }
        fields = {
            "updates": self._updates,
            "best_score": self._best_score,
            "trainer": to_json(self._config),
            "agent": type(self._agent).__name__,
        }
        record = self._checkpoints.write(self.env_steps, tensors, fields)
        self._last_checkpoint = record
        self._recorder.checkpoint_written(record)


def _figures(summary: RolloutSummary) -> dict[str, float]:
    """Return the figures of a block by their metric names."""
    figures = {f"environment/{name}": value for name, value in summary.metrics.items()}
    figures["episodes"] = float(summary.episodes)
    if summary.mean_return is not None and summary.mean_length is not None:
        figures["return"] = summary.mean_return
        figures["episode_length"] = summary.mean_length
    return figures
