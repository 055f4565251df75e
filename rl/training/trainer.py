"""The training loop: collect, update, report, and now and then evaluate and save."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rl.algorithms.base_algorithm import Policy
from rl.algorithms.losses import DivergenceError
from rl.algorithms.policy_state import TensorDict, under_prefix, with_prefix
from rl.environments.base_environment import BatchedEnvironment
from rl.training.callbacks import TrainingCallback
from rl.training.checkpointing import Checkpoint, CheckpointFolder, load_checkpoint
from rl.training.curriculum_driver import CurriculumDriver, CurriculumWorlds
from rl.training.freed_memory import keep_freed_memory
from rl.training.learners import make_learner
from rl.training.recorder import CheckpointRecord, EvaluationRecord, Recorder, StopReason
from rl.training.rollout import RolloutSummary
from rl.training.sharded_collection import ShardedWorlds
from utils.config import to_json
from utils.errors import ConfigError
from utils.seeding import derive_seed

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
    ended: str
    """Why training is over, in words; empty if it was stopped and can be continued."""
    rollbacks: int
    """How often training had left the finite numbers and went back to a checkpoint."""
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
        environment: BatchedEnvironment | ShardedWorlds,
        agent: Policy,
        recorder: Recorder,
        *,
        checkpoints: CheckpointFolder | None = None,
        evaluate: Evaluate | None = None,
        callbacks: Sequence[TrainingCallback] = (),
        curriculum: CurriculumDriver | None = None,
    ) -> None:
        """Reset the environment; the process keeps freed memory from now on.

        Args:
            config: Settings.
            environment: Stepped by nobody else while training; or the shards that have it.
            agent: Learns.
            recorder: Hears of everything that happens.
            checkpoints: Where to save; None to save nothing.
            evaluate: Scores the agent without changing it or the environment.
            callbacks: Hear of every update and evaluation, and may end training.
            curriculum: Exchanges the scenarios as the agent gets better; the environment then
                plays scenarios from a bank.

        Raises:
            ConfigError: There is a curriculum, but the environment has no bank.
        """
        keep_freed_memory()
        self._config = config
        self._environment = environment
        self._agent = agent
        self._recorder = recorder
        self._checkpoints = checkpoints
        self._evaluate = evaluate
        self._callbacks = callbacks
        self._curriculum = curriculum
        if curriculum is not None:
            curriculum.begin(_with_bank(environment))
        self._learner = make_learner(
            environment, agent, rollout_steps=config.rollout_steps, seed=config.seed
        )
        self._updates = 0
        self._scored: tuple[int, float] | None = None
        self._owes_score = config.evaluate_every_updates > 0
        self._best_score: float | None = None
        self._best_policy: TensorDict | None = None
        self._last_checkpoint: CheckpointRecord | None = None
        self._ended = ""
        self._rollbacks = 0

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
        if stopped is None and self._owes_score:
            self._score()
            if self._ended:
                self._save()
        while stopped is None and not self._ended:
            try:
                stopped = self._advance()
            except DivergenceError as error:
                self._roll_back(error)
        return TrainOutcome(
            env_steps=self.env_steps,
            updates=self._updates,
            stopped=None if self._ended else stopped,
            ended=self._ended,
            rollbacks=self._rollbacks,
            best_score=self._best_score,
            best_policy=self._best_policy,
            checkpoint=self._last_checkpoint,
        )

    def _advance(self) -> StopReason | None:
        """Update once, and look and save if it is time; a stop leaves looking to who goes on."""
        self._update()
        stopped = self._recorder.should_stop()
        if self.env_steps >= self._config.total_env_steps:
            self._ended = "all steps are done"
        self._owes_score = self._is_due(self._config.evaluate_every_updates)
        if self._ended or (stopped is None and self._owes_score):
            self._score()
        is_ending = bool(self._ended) or stopped is not None
        if is_ending or self._is_due(self._config.checkpoint_every_updates):
            self._save()
        return stopped

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from where a checkpoint was written.

        Args:
            checkpoint: Written by a trainer with the same agent and environment configuration.

        Raises:
            StateMismatchError: It was written with another configuration.
        """
        tensors, fields = checkpoint.tensors, checkpoint.fields
        if self._curriculum is not None:
            self._curriculum.restore(_with_bank(self._environment), fields["curriculum"])
        self._environment.load_state_dict(under_prefix("environment", tensors))
        self._agent.load_state_dict(under_prefix("agent", tensors))
        self._learner.load_state_dict(under_prefix("learner", tensors))
        self._updates = fields["updates"]
        self._best_score = fields["best_score"]
        self._best_policy = under_prefix("best_policy", tensors) or None
        self._ended, self._rollbacks = fields["ended"], fields["rollbacks"]
        self._scored, self._owes_score = None, fields["owes_score"]
        for callback in self._callbacks:
            callback.load_state_dict(under_prefix(f"callback.{callback.name}", tensors))
        self._last_checkpoint = checkpoint.record

    def _roll_back(self, error: DivergenceError) -> None:
        """Go back to the last checkpoint and on with other episodes; a second time, give up."""
        if self._last_checkpoint is None or self._rollbacks:
            raise error
        record = self._last_checkpoint
        self.restore(load_checkpoint(record.path, record.sha256))
        self._rollbacks += 1
        seed = derive_seed(self._config.seed, "rollback")
        self._learner.begin_again(seed)
        self._recorder.stage_changed(self.env_steps, f"diverged, back at step {self.env_steps:,}")

    def _update(self) -> None:
        total = self._config.total_env_steps
        summary, learning = self._learner.learn(total)
        self._updates += 1
        figures = _figures(summary) | {name: float(value) for name, value in learning.items()}
        if self._curriculum is not None:
            figures |= self._curriculum.figures(self.env_steps)
        finite = {name: value for name, value in figures.items() if math.isfinite(value)}
        troubles = {"not_finite": len(figures) - len(finite), "rollbacks": self._rollbacks}
        finite |= {name: float(number) for name, number in troubles.items() if number}
        self._recorder.metrics(self.env_steps, finite)
        self._recorder.progress(min(self.env_steps, total), total)
        self._follow_curriculum(summary)
        self._hear(callback.after_update(self.env_steps, finite) for callback in self._callbacks)

    def _follow_curriculum(self, summary: RolloutSummary) -> None:
        if self._curriculum is None:
            return
        world, steps = _with_bank(self._environment), self.env_steps
        stage = self._curriculum.after_update(world, summary, steps)
        record = self._curriculum.take_record()
        if record is not None:
            self._learner.take_record(record)
        if stage is not None:
            self._recorder.stage_changed(steps, stage)

    def _hear(self, reasons: Iterable[str | None]) -> None:
        """Let the first callback that gives a reason end training; all of them are asked."""
        given = [reason for reason in reasons if reason]
        if given and not self._ended:
            self._ended = given[0]

    def _is_due(self, every_updates: int) -> bool:
        return every_updates > 0 and self._updates % every_updates == 0

    def _score(self) -> None:
        if self._evaluate is None:
            return
        scores = self._evaluate(self._agent)
        if self._config.score not in scores:
            raise ConfigError(
                f"score={self._config.score}: the evaluation has only {', '.join(scores)}"
            )
        score = scores[self._config.score]
        if not math.isfinite(score):
            raise DivergenceError(f"the evaluation at step {self.env_steps:,} gave {score}")
        self._owes_score = False
        self._recorder.evaluated(EvaluationRecord(env_steps=self.env_steps, scores=scores))
        self._scored = (self.env_steps, score)
        if self._best_score is None or score > self._best_score:
            self._best_score = score
            self._best_policy = self._agent.policy_state()
        self._hear(
            callback.after_evaluation(self.env_steps, scores) for callback in self._callbacks
        )

    def _last_score(self) -> float | None:
        """Return the score of the policy as it is now, if it was evaluated."""
        if self._scored is None or self._scored[0] != self.env_steps:
            return None
        return self._scored[1]

    def _save(self) -> None:
        if self._checkpoints is None:
            return
        tensors = {
            **with_prefix("environment", self._environment.state_dict()),
            **with_prefix("agent", self._agent.state_dict()),
            **with_prefix("learner", self._learner.state_dict()),
            **with_prefix("best_policy", self._best_policy or {}),
        }
        for callback in self._callbacks:
            tensors |= with_prefix(f"callback.{callback.name}", callback.state_dict())
        fields = {
            "updates": self._updates,
            "best_score": self._best_score,
            "ended": self._ended,
            "owes_score": self._owes_score,
            "rollbacks": self._rollbacks,
            "curriculum": None if self._curriculum is None else self._curriculum.state(),
            "trainer": to_json(self._config),
            "agent": type(self._agent).__name__,
        }
        record = self._checkpoints.write(self.env_steps, tensors, fields, score=self._last_score())
        self._last_checkpoint = record
        self._recorder.checkpoint_written(record)


def _with_bank(environment: BatchedEnvironment | ShardedWorlds) -> CurriculumWorlds:
    if not isinstance(environment, CurriculumWorlds):
        raise ConfigError(
            f"{type(environment).__name__} plays no scenarios from a bank, so a curriculum cannot "
            "exchange them: train without one"
        )
    return environment


def _figures(summary: RolloutSummary) -> dict[str, float]:
    """Return the figures of a block by their metric names."""
    figures = {f"environment/{name}": value for name, value in summary.metrics.items()}
    figures["episodes"] = float(summary.episodes)
    if summary.mean_return is not None and summary.mean_length is not None:
        figures["return"] = summary.mean_return
        figures["episode_length"] = summary.mean_length
    return figures
