"""What happens in training, told to listeners of the same process: displays and metrics.

A listener only shows. What counts is in the database, and a listener may hear of something just
before its transaction fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rl.monitoring.training_metrics import RunLabels, TrainingMetrics
from utils.clock import Clock
from utils.logs import get_logger
from utils.persistence.run_log import RunState

logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """Which run something happened to."""

    run_id: str
    environment: str
    algorithm: str
    total_env_steps: int
    job_id: str | None = None

    @property
    def labels(self) -> RunLabels:
        """How the run is called in metrics."""
        return RunLabels(environment=self.environment, algorithm=self.algorithm, run=self.run_id)


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """An attempt at the run began; it may be a continuation."""

    run: RunInfo


@dataclass(frozen=True, kw_only=True)
class MetricsReported:
    """Figures of one update came."""

    run: RunInfo
    env_steps: int
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A policy was scored."""

    run: RunInfo
    env_steps: int
    scores: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class CheckpointWritten:
    """The run can be continued from here."""

    run: RunInfo
    env_steps: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class StageChanged:
    """Training entered another stage."""

    run: RunInfo
    env_steps: int
    stage: str


@dataclass(frozen=True, kw_only=True)
class RunEnded:
    """Nothing more will come, unless somebody continues the run."""

    run: RunInfo
    state: RunState


TrainingEvent = (
    RunStarted | MetricsReported | Evaluated | CheckpointWritten | StageChanged | RunEnded
)
TrainingListener = Callable[[TrainingEvent], None]


class TrainingEvents:
    """Passes events on, in the order of subscription; a listener that breaks harms nobody else."""

    def __init__(self) -> None:
        self._listeners: list[TrainingListener] = []

    def subscribe(self, listener: TrainingListener) -> Callable[[], None]:
        """Have a listener called from now on; the returned function ends that.

        Args:
            listener: Called on the event loop, so it must be quick; never twice for one event.
        """
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def publish(self, event: TrainingEvent) -> None:
        """Tell all listeners.

        Args:
            event: What happened.
        """
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:  # a display that breaks must not undo what it was told of
                logger.exception("training_listener_failed", told=type(event).__name__)


class MetricsExporter:
    """A listener that feeds the metric families; a run's series leave when it ends."""

    def __init__(self, metrics: TrainingMetrics, clock: Clock) -> None:
        """Remember where to write.

        Args:
            metrics: The families.
            clock: Tells when something happened.
        """
        self._metrics = metrics
        self._clock = clock

    def __call__(self, event: TrainingEvent) -> None:
        """Take note of an event.

        Args:
            event: What happened.
        """
        now, run = self._clock.now().timestamp(), event.run.labels
        match event:
            case MetricsReported():
                self._metrics.observe(run, event.values, env_steps=event.env_steps, now=now)
            case Evaluated():
                self._metrics.evaluated(run, event.scores, now=now)
            case CheckpointWritten():
                self._metrics.checkpoint_written(run, size_bytes=event.size_bytes, now=now)
            case RunEnded():
                self._metrics.retire(run)
            case RunStarted() | StageChanged():
                pass
