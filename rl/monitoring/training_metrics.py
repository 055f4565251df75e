"""Metric families of training runs: what a learning curve, an alert and a dashboard need.

Fed by whoever records a run; a run's series disappear when it is retired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from utils.errors import ConfigError
from utils.observability import WrittenFamily, WrittenSeries

REPORTED_VALUES: dict[str, tuple[str, str]] = {
    "return": (
        "rl_episode_return",
        "Mean undiscounted return of the episodes that ended since the last report",
    ),
    "episode_length": (
        "rl_episode_length_steps",
        "Mean length of the episodes that ended since the last report",
    ),
    "policy_loss": ("rl_policy_loss", "Loss of the policy in the last update"),
    "value_loss": ("rl_value_loss", "Loss of the critic in the last update"),
    "entropy_loss": ("rl_policy_entropy", "Entropy of the policy in the last update, in nats"),
    "kl_divergence": (
        "rl_kl_divergence",
        "Estimated divergence of the policy from the one that collected the data, in nats",
    ),
    "clipfrac": ("rl_clip_fraction", "Share of samples whose probability ratio was clipped"),
    "explained_variance": (
        "rl_explained_variance",
        "Share of the variance of returns that the critic predicts",
    ),
    "gradient_norm": ("rl_gradient_norm", "Norm of the gradient before it was clipped"),
    "learning_rate": ("rl_learning_rate", "Step size of the optimiser"),
    "td_loss": ("rl_td_loss", "Loss of the action values in the last update"),
    "q_value": ("rl_q_value", "Mean value of the actions in the last batch"),
    "td_error_90": ("rl_td_error_p90", "TD error that 90 % of the last batch stay below"),
    "replay_fill": ("rl_replay_fill_ratio", "Share of the replay memory that is in use"),
    "epsilon": ("rl_exploration_ratio", "Share of actions that are drawn at random"),
    "temperature": ("rl_entropy_temperature", "Weight of the entropy in the objective"),
    "rollbacks": ("rl_rollbacks", "How often the run went back to a checkpoint by itself"),
    "curriculum/stage": ("rl_stage_number", "Number of the stage that is played, from 1"),
    "curriculum/stages": ("rl_stages", "Stages of the curriculum"),
    "curriculum/difficulty": ("rl_stage_difficulty_ratio", "Way to the next stage, 0 to 1"),
    "curriculum/stage_env_steps": ("rl_stage_env_steps", "Environment steps in this stage"),
    "curriculum/promotions": ("rl_stage_promotions", "Moves up since the run began"),
    "curriculum/regressions": ("rl_stage_regressions", "Moves down since the run began"),
}
"""What a trainer reports, and the family and help text under which it is exposed."""

SAME_AS = {"actor_loss": "policy_loss", "critic_loss": "value_loss", "entropy": "entropy_loss"}
"""Other words of algorithms for what has a family."""

WORLD = "environment/"
"""Begins the names of a world's own figures, such as lost work or the fill rate."""
MOST_FIGURES = 32
"""Of one run's world; later names are left out."""

EVALUATION_SCORES: dict[str, tuple[str, str]] = {
    "kpi": ("rl_evaluation_score", "Mean KPI of the policy on validation scenarios"),
    "kpi_low": ("rl_evaluation_score_low", "Lower end of the interval around the evaluation score"),
    "kpi_high": (
        "rl_evaluation_score_high",
        "Upper end of the interval around the evaluation score",
    ),
    "expert": ("rl_evaluation_expert_score", "Mean KPI of the best tuned expert, same scenarios"),
    "bound": ("rl_evaluation_bound_score", "Mean KPI that no policy can exceed, same scenarios"),
}
"""Scores of an evaluation, and the family and help text under which they are exposed."""

_NEGATED = {"entropy_loss"}
"""Reported as losses, exposed as what they stand for."""

_LABELS = ("environment", "algorithm", "run")


@dataclass(frozen=True, kw_only=True)
class RunLabels:
    """What tells the series of one run from those of another."""

    environment: str
    algorithm: str
    run: str


@dataclass(kw_only=True)
class _Progress:
    """How far a run was when it last reported steps."""

    env_steps: int = 0
    time: float | None = None
    figures: set[str] = field(default_factory=set)
    """Of its world, that have series."""


class TrainingMetrics(Collector):
    """Keeps the series of the runs that report; the longest silent one leaves when full."""

    def __init__(self, registry: CollectorRegistry, *, max_runs: int = 64) -> None:
        """Declare the families.

        Args:
            registry: Where they are exposed.
            max_runs: How many runs may have series at once.

        Raises:
            ConfigError: No run would be allowed.
        """
        if max_runs < 1:
            raise ConfigError(f"max_runs={max_runs}: allow at least one run")
        self._max_runs = max_runs
        self._progress: dict[RunLabels, _Progress] = {}
        self._values = {name: _gauge(*family) for name, family in REPORTED_VALUES.items()}
        self._scores = {name: _gauge(*family) for name, family in EVALUATION_SCORES.items()}
        self._env_steps = _counter(
            "rl_env_steps_total",
            "Environment steps trained on, without those repeated after a resume",
        )
        self._episodes = _counter("rl_episodes_total", "Episodes that ended in training")
        self._not_finite = _counter(
            "rl_not_finite_total", "Figures of updates that were not finite, and were left out"
        )
        self._world = _gauge(
            "rl_environment_figure",
            "A figure of the world itself, mean of the last update's steps, in the world's units",
            (*_LABELS, "figure"),
        )
        self._speed = _gauge(
            "rl_env_steps_per_second",
            "Environment steps per second of wall time between reports, learning included",
        )
        self._heartbeat = _gauge(
            "rl_heartbeat_timestamp_seconds", "When the run last reported, in Unix time"
        )
        self._checkpoint_time = _gauge(
            "rl_checkpoint_timestamp_seconds",
            "When the newest checkpoint was recorded, in Unix time",
        )
        self._checkpoint_size = _gauge("rl_checkpoint_size_bytes", "Size of the newest checkpoint")
        registry.register(self)

    def observe(
        self, run: RunLabels, values: Mapping[str, float], *, env_steps: int, now: float
    ) -> None:
        """Take a trainer's report.

        Args:
            run: Whose report it is.
            values: Names of `REPORTED_VALUES` or `SAME_AS`; `episodes`, the number that ended since
                the last report; `not_finite`, how many figures were not; the world's own figures,
                beginning with `WORLD`. Others have no family.
            env_steps: Environment steps since the run began, continued over resumes.
            now: Unix time in seconds.
        """
        self._beat(run, now)
        identity = _identity(run)
        for name, value in {"rollbacks": 0.0, **values}.items():  # zero: the first one is a rise
            gauge = self._values.get(SAME_AS.get(name, name))
            if gauge is not None:
                gauge.set(identity, -value if name in _NEGATED else value)
            elif name.startswith(WORLD):
                self._show_world(run, name.removeprefix(WORLD), value)
        self._not_finite.add(identity, values.get("not_finite", 0))
        self._episodes.add(identity, values.get("episodes", 0))
        self._advance(run, env_steps, now)

    def evaluated(self, run: RunLabels, scores: Mapping[str, float], *, now: float) -> None:
        """Take the result of an evaluation.

        Args:
            run: Whose policy was evaluated.
            scores: Names of `EVALUATION_SCORES`; others have no family.
            now: Unix time in seconds.
        """
        self._beat(run, now)
        for name, gauge in self._scores.items():
            if name in scores:
                gauge.set(_identity(run), scores[name])

    def checkpoint_written(self, run: RunLabels, *, size_bytes: int, now: float) -> None:
        """Take note of a durable checkpoint.

        Args:
            run: Whose checkpoint it is.
            size_bytes: How large it is.
            now: Unix time in seconds.
        """
        self._beat(run, now)
        self._checkpoint_time.set(_identity(run), now)
        self._checkpoint_size.set(_identity(run), size_bytes)

    def retire(self, run: RunLabels) -> None:
        """Remove the series of a run that has ended; unknown runs are ignored.

        Args:
            run: Which run.
        """
        progress = self._progress.pop(run, None)
        if progress is None:
            return
        for family in self._families():
            family.remove(_identity(run))
        for figure in progress.figures:
            self._world.remove((*_identity(run), figure))

    def collect(self) -> Iterator[WrittenFamily]:
        """Yield the families; called by the registry, in any thread."""
        for family in (*self._families(), self._world):
            yield WrittenFamily(family)

    def _show_world(self, run: RunLabels, figure: str, value: float) -> None:
        known = self._progress[run].figures
        if figure in known or len(known) < MOST_FIGURES:
            known.add(figure)
            self._world.set((*_identity(run), figure), value)

    def _advance(self, run: RunLabels, env_steps: int, now: float) -> None:
        last = self._progress[run]
        new_steps = max(0, env_steps - last.env_steps)
        self._env_steps.add(_identity(run), new_steps)
        if last.time is not None and now > last.time:
            self._speed.set(_identity(run), new_steps / (now - last.time))
        last.env_steps += new_steps
        last.time = now

    def _beat(self, run: RunLabels, now: float) -> None:
        # Taken out and put back, so that the mapping is ordered by the last report.
        self._progress[run] = self._progress.pop(run, _Progress())
        self._heartbeat.set(_identity(run), now)
        if len(self._progress) > self._max_runs:
            self.retire(next(iter(self._progress)))

    def _families(self) -> Iterator[WrittenSeries]:
        yield from self._values.values()
        yield from self._scores.values()
        yield from (self._env_steps, self._episodes, self._not_finite, self._speed, self._heartbeat)
        yield from (self._checkpoint_time, self._checkpoint_size)


def _gauge(name: str, text: str, labels: tuple[str, ...] = _LABELS) -> WrittenSeries:
    return WrittenSeries(name, text, labels, kind="gauge")


def _counter(name: str, text: str) -> WrittenSeries:
    return WrittenSeries(name, text, _LABELS, kind="counter")


def _identity(run: RunLabels) -> tuple[str, str, str]:
    return run.environment, run.algorithm, run.run
