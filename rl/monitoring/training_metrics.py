"""Metric families of training runs: what a learning curve, an alert and a dashboard need.

Fed by whoever records a run; a run's series disappear when it is retired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from utils.errors import ConfigError

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
}
"""What a trainer reports, and the family and help text under which it is exposed."""

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


class TrainingMetrics:
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
        self._values = _gauges(registry, REPORTED_VALUES)
        self._scores = _gauges(registry, EVALUATION_SCORES)
        self._env_steps = Counter(
            "rl_env_steps_total",
            "Environment steps trained on, without those repeated after a resume",
            _LABELS,
            registry=registry,
        )
        self._episodes = Counter(
            "rl_episodes_total", "Episodes that ended in training", _LABELS, registry=registry
        )
        self._speed = Gauge(
            "rl_env_steps_per_second",
            "Environment steps per second of wall time between reports, learning included",
            _LABELS,
            registry=registry,
        )
        self._heartbeat = Gauge(
            "rl_heartbeat_timestamp_seconds",
            "When the run last reported, in Unix time",
            _LABELS,
            registry=registry,
        )
        self._checkpoint_time = Gauge(
            "rl_checkpoint_timestamp_seconds",
            "When the newest checkpoint was recorded, in Unix time",
            _LABELS,
            registry=registry,
        )
        self._checkpoint_size = Gauge(
            "rl_checkpoint_size_bytes", "Size of the newest checkpoint", _LABELS, registry=registry
        )

    def observe(
        self, run: RunLabels, values: Mapping[str, float], *, env_steps: int, now: float
    ) -> None:
        """Take a trainer's report.

        Args:
            run: Whose report it is.
            values: Names of `REPORTED_VALUES`, and `episodes`, the number that ended since the last
                report; others, such as reward terms, have no family.
            env_steps: Environment steps since the run began, continued over resumes.
            now: Unix time in seconds.
        """
        self._beat(run, now)
        identity = _identity(run)
        for name, gauge in self._values.items():
            if name in values:
                gauge.labels(*identity).set(-values[name] if name in _NEGATED else values[name])
        self._episodes.labels(*identity).inc(values.get("episodes", 0))
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
                gauge.labels(*_identity(run)).set(scores[name])

    def checkpoint_written(self, run: RunLabels, *, size_bytes: int, now: float) -> None:
        """Take note of a durable checkpoint.

        Args:
            run: Whose checkpoint it is.
            size_bytes: How large it is.
            now: Unix time in seconds.
        """
        self._beat(run, now)
        self._checkpoint_time.labels(*_identity(run)).set(now)
        self._checkpoint_size.labels(*_identity(run)).set(size_bytes)

    def retire(self, run: RunLabels) -> None:
        """Remove the series of a run that has ended; unknown runs are ignored.

        Args:
            run: Which run.
        """
        if self._progress.pop(run, None) is None:
            return
        for family in self._families():
            family.remove(*_identity(run))

    def _advance(self, run: RunLabels, env_steps: int, now: float) -> None:
        last = self._progress[run]
        new_steps = max(0, env_steps - last.env_steps)
        self._env_steps.labels(*_identity(run)).inc(new_steps)
        if last.time is not None and now > last.time:
            self._speed.labels(*_identity(run)).set(new_steps / (now - last.time))
        last.env_steps += new_steps
        last.time = now

    def _beat(self, run: RunLabels, now: float) -> None:
        # Taken out and put back, so that the mapping is ordered by the last report.
        self._progress[run] = self._progress.pop(run, _Progress())
        self._heartbeat.labels(*_identity(run)).set(now)
        if len(self._progress) > self._max_runs:
            self.retire(next(iter(self._progress)))

    def _families(self) -> Iterator[Gauge | Counter]:
        yield from self._values.values()
        yield from self._scores.values()
        yield from (self._env_steps, self._episodes, self._speed, self._heartbeat)
        yield from (self._checkpoint_time, self._checkpoint_size)


def _gauges(
    registry: CollectorRegistry, families: Mapping[str, tuple[str, str]]
) -> dict[str, Gauge]:
    return {
        name: Gauge(family, text, _LABELS, registry=registry)
        for name, (family, text) in families.items()
    }


def _identity(run: RunLabels) -> tuple[str, str, str]:
    return run.environment, run.algorithm, run.run
