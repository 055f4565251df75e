"""What the engine is given for each kind of job: what to run, and who keeps what it reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from utils.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from orchestration.job_store.checkpoints import Checkpoint
    from orchestration.jobs import Job


MetricRow = tuple[int, Mapping[str, float]]
"""A step, and what was measured there, by name."""


class Place(StrEnum):
    """Where attempts run."""

    PROCESS = "process"  # a process of its own: can be killed, cannot harm
    THREAD = "thread"  # a thread of the worker: short work that keeps to itself


@dataclass(frozen=True, kw_only=True)
class TaskDefinition:
    """A kind of work."""

    kind: str
    version: int = 1
    target: str
    """`module:function`, resolved where it runs: `target(spec, context) -> result`."""
    executor: Place = Place.PROCESS
    """Where it runs."""

    def __post_init__(self) -> None:
        module, colon, function = self.target.partition(":")
        if not (module and colon and function):
            raise ConfigError(f"target={self.target!r}: write module:function")


class FrameSink(Protocol):
    """Who keeps what children report.

    Each method runs inside a transaction that has proved the attempt's fence, together with the
    change of the job itself; it awaits only the connection. A report may come again after a crash.
    """

    async def started(self, connection: AsyncConnection, job: Job) -> None:
        """The attempt's process runs.

        Args:
            connection: The open transaction.
            job: With the attempt's fence.
        """
        ...

    async def metrics(
        self, connection: AsyncConnection, job: Job, rows: Sequence[MetricRow]
    ) -> None:
        """Numbers came.

        Args:
            connection: The open transaction.
            job: With the attempt's fence.
            rows: Each a step, where it belongs on the x axis, and values by name.
        """
        ...

    async def checkpoint(self, connection: AsyncConnection, job: Job, record: Checkpoint) -> None:
        """A checkpoint is being committed; the engine has written its row.

        Args:
            connection: The open transaction.
            job: With the attempt's fence.
            record: The file.
        """
        ...

    async def event(
        self, connection: AsyncConnection, job: Job, type_: str, payload: Mapping[str, Any]
    ) -> None:
        """The target emitted something; the engine has put it into the outbox.

        Args:
            connection: The open transaction.
            job: With the attempt's fence.
            type_: Its name.
            payload: Plain JSON.
        """
        ...

    async def finished(
        self, connection: AsyncConnection, job: Job, result: Mapping[str, Any]
    ) -> None:
        """All work is done; the job succeeds in this transaction.

        Args:
            connection: The open transaction.
            job: With the attempt's fence.
            result: What the target returned.
        """
        ...


class NullSink:
    """Keeps nothing; the outbox and the job row still tell the story."""

    async def started(self, connection: AsyncConnection, job: Job) -> None:
        """See `FrameSink`."""

    async def metrics(
        self, connection: AsyncConnection, job: Job, rows: Sequence[MetricRow]
    ) -> None:
        """See `FrameSink`."""

    async def checkpoint(self, connection: AsyncConnection, job: Job, record: Checkpoint) -> None:
        """See `FrameSink`."""

    async def event(
        self, connection: AsyncConnection, job: Job, type_: str, payload: Mapping[str, Any]
    ) -> None:
        """See `FrameSink`."""

    async def finished(
        self, connection: AsyncConnection, job: Job, result: Mapping[str, Any]
    ) -> None:
        """See `FrameSink`."""


@dataclass(frozen=True, kw_only=True)
class TaskBinding:
    """A kind of work together with its sink."""

    definition: TaskDefinition
    sink: FrameSink = field(default_factory=NullSink)

    @property
    def keeps_nothing(self) -> bool:
        """Whether nobody keeps what the task reports."""
        return type(self.sink) is NullSink  # a subclass keeps something
