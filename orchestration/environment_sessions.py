"""Worlds that callers play step by step: one child process each, few at once, none for ever.

Nothing of a session outlives its process. One question is under way at a time; whatever breaks it
off ends the session, so that an answer is never taken for that of another question.
"""

from __future__ import annotations

import math
import shutil
import signal
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from orchestration.executors.child import ChildOrder
from orchestration.executors.frames import FrameError
from rl.domains.world_sizes import WorldSizes
from utils.clock import Clock, new_id
from utils.errors import ConfigError, QuartermasterError
from utils.logs import get_logger

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from orchestration.executors.process import Child, Executor

TARGET = "rl.training.environment_session:serve"
SWEEP_SECONDS = 1.0
ENDS_REMEMBERED = 256
logger = get_logger(__name__)


class SessionNotFoundError(QuartermasterError, LookupError):
    """No session has this id."""


class SessionEndedError(QuartermasterError):
    """The session is over; open another one."""


class SessionLimitError(QuartermasterError):
    """As many sessions as allowed are open."""


class SessionBusyError(QuartermasterError):
    """Another question of the session is under way."""


class SessionConflictError(QuartermasterError):
    """The session cannot do this any more, such as step past the end of its episode."""


@dataclass(frozen=True, kw_only=True)
class SessionConfig:
    """Bounds of sessions."""

    most: int = 4
    """How many are open at once."""
    idle_seconds: float = 600.0
    """How long one stays open unused."""
    longest_seconds: float = 3600.0
    """How long one stays open at all."""
    answer_seconds: float = 60.0
    """How long a world may take to be built or to step."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: A number is not positive.
        """
        for name in ("most", "idle_seconds", "longest_seconds", "answer_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name}={value}: choose a positive number")


@dataclass(frozen=True, kw_only=True)
class SessionOrder:
    """What to play."""

    environment: str
    """A world of the catalog (rl/environments/catalog.py)."""
    actions: str = "own"
    seed: int = 0
    sizes: WorldSizes = field(default_factory=WorldSizes)
    """Chosen ones; they must fit the world."""


@dataclass(kw_only=True)
class _Session:
    """One open session and the way to its child."""

    id: str
    order: SessionOrder
    opened_at: float
    used_at: float
    answers: MemoryObjectReceiveStream[dict[str, Any]]
    heard: MemoryObjectSendStream[dict[str, Any]]
    asking: anyio.Lock = field(default_factory=anyio.Lock)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    gone: anyio.Event = field(default_factory=anyio.Event)
    why: str = "it was closed"
    child: Child | None = None


class EnvironmentSessions:
    """All sessions of this process; they live while `run` does."""

    def __init__(
        self,
        executor: Executor,
        clock: Clock,
        *,
        work_root: Path,
        config: SessionConfig | None = None,
    ) -> None:
        """Begin without any.

        Args:
            executor: Starts the children.
            clock: Tells how long they are unused.
            work_root: Folder of their folders.
            config: Their bounds.
        """
        self._executor = executor
        self._clock = clock
        self._work_root = work_root
        self._config = config or SessionConfig()
        self._open: dict[str, _Session] = {}
        self._ends: OrderedDict[str, str] = OrderedDict()
        self._group: TaskGroup | None = None

    @property
    def open(self) -> int:
        """How many places are taken."""
        return len(self._open)

    async def run(self) -> None:
        """Keep sessions, and end those that nobody uses, until cancelled."""
        async with anyio.create_task_group() as group:
            self._group = group
            try:
                while True:
                    self.sweep()
                    await self._clock.sleep(SWEEP_SECONDS)
            finally:
                self._group = None

    def sweep(self) -> None:
        """End the sessions whose time is over."""
        now = self._clock.monotonic()
        for session in list(self._open.values()):
            if now - session.used_at >= self._config.idle_seconds:
                self._end(session, f"nobody used it for {self._config.idle_seconds:g} s")
            elif now - session.opened_at >= self._config.longest_seconds:
                self._end(session, f"it was open for {self._config.longest_seconds:g} s")

    async def start(self, order: SessionOrder) -> tuple[str, dict[str, Any]]:
        """Open a session; return its id and what its world says of itself.

        Args:
            order: What to play.

        Raises:
            SessionLimitError: As many as allowed are open.
            ConfigError: There is no such world, or the actions do not fit it.
            SessionEndedError: Its process died, or was too slow.
        """
        if self._group is None:
            raise SessionLimitError("sessions are not kept by this process now; try again")
        if len(self._open) >= self._config.most:
            raise SessionLimitError(f"{self._config.most} sessions are open: close one, or wait")
        now = self._clock.monotonic()
        heard, answers = anyio.create_memory_object_stream[dict[str, Any]](4)
        session = _Session(
            id=new_id(self._clock),
            order=order,
            opened_at=now,
            used_at=now,
            heard=heard,
            answers=answers,
        )
        self._open[session.id] = session
        self._group.start_soon(self._carry, session)
        try:
            async with session.asking:
                return session.id, await self._hear(session)
        except ConfigError:
            self._end(session, "its world could not be built")
            raise

    async def step(self, session_id: str, actions: Mapping[str, Any]) -> dict[str, Any]:
        """Let the agents of a session act once.

        Args:
            session_id: Which.
            actions: Per agent: numbers, or the number of a choice.

        Raises:
            SessionNotFoundError: There is none.
            SessionEndedError: It is over, or its process died.
            SessionBusyError: Another question is under way.
            SessionConflictError: Its episode has ended.
            ConfigError: An action does not fit.
        """
        return await self.ask(session_id, {"ask": "step", "actions": dict(actions)})

    async def trajectory(self, session_id: str, *, offset: int, limit: int) -> dict[str, Any]:
        """Return some of the steps of a session.

        Args:
            session_id: Which.
            offset: How many to leave out at the beginning.
            limit: At most so many.

        Raises:
            SessionNotFoundError: There is none.
            SessionEndedError: It is over, or its process died.
            SessionBusyError: Another question is under way.
        """
        return await self.ask(session_id, {"ask": "steps", "offset": offset, "limit": limit})

    async def close(self, session_id: str) -> None:
        """End a session; one that is over stays so.

        Args:
            session_id: Which.

        Raises:
            SessionNotFoundError: There never was one, or long ago.
        """
        if session_id in self._ends:
            return
        session = self._find(session_id)
        self._end(session, "it was closed")
        await session.gone.wait()

    def _find(self, session_id: str) -> _Session:
        session = self._open.get(session_id)
        if session is not None:
            return session
        if session_id in self._ends:
            raise SessionEndedError(f"session {session_id} is over: {self._ends[session_id]}")
        raise SessionNotFoundError(f"no session {session_id}: open one first")

    async def ask(self, session_id: str, question: dict[str, Any]) -> dict[str, Any]:
        """Ask a session anything that its child answers.

        Args:
            session_id: Which.
            question: As `rl/training/environment_session.py` reads it.

        Raises:
            SessionNotFoundError: There is none.
            SessionEndedError: It is over, or its process died.
            SessionBusyError: Another question is under way.
            SessionConflictError: Its episode has ended.
            ConfigError: Something of the question does not fit.
        """
        session = self._find(session_id)
        if session.child is None or session.asking.locked():
            raise SessionBusyError("another question of this session is under way; wait for it")
        async with session.asking:
            await session.child.send("question", {"question": question})
            return await self._hear(session)

    async def _hear(self, session: _Session) -> dict[str, Any]:
        answer: dict[str, Any] | None = None
        try:
            with anyio.move_on_after(self._config.answer_seconds) as patience:
                answer = await session.answers.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):  # the process has ended
            await session.gone.wait()
        finally:
            if answer is None:
                slow = f"no answer within {self._config.answer_seconds:g} s"
                self._end(session, slow if patience.cancelled_caught else "a question broke off")
        if answer is None:
            raise SessionEndedError(f"session {session.id} is over: {session.why}")
        session.used_at = self._clock.monotonic()
        if "message" not in answer:
            return answer
        error = SessionConflictError if answer["is_conflict"] else ConfigError
        raise error(answer["message"])

    def _end(self, session: _Session, why: str) -> None:
        if session.id in self._open and not session.scope.cancel_called:
            session.why = why
            session.scope.cancel()

    async def _carry(self, session: _Session) -> None:
        folder = self._work_root / session.id
        try:
            with session.scope:
                session.child = await self._executor.start(_order_of(session, folder))
                session.why = await _listen(session, session.child)
        except (OSError, EOFError) as error:
            session.why = f"its process could not be started: {error}"
            logger.warning("session_not_started", reason=str(error))
        finally:
            with anyio.CancelScope(shield=True):
                if session.child is not None:
                    await session.child.aclose()
                await anyio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))
            self._forget(session)

    def _forget(self, session: _Session) -> None:
        del self._open[session.id]
        self._ends[session.id] = session.why
        while len(self._ends) > ENDS_REMEMBERED:
            self._ends.popitem(last=False)
        session.heard.close()
        session.answers.close()
        session.gone.set()
        logger.info("session_ended", session=session.id, reason=session.why)


async def _listen(session: _Session, child: Child) -> str:
    try:
        while (frame := await child.receive()) is not None:
            if frame["type"] == "event":
                session.heard.send_nowait(frame["payload"])
            elif frame["type"] == "error":
                return f"its world broke: {frame['message'].splitlines()[0]}"
    except FrameError as error:
        return f"its process spoke badly: {error}"
    code = await child.wait()
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"its process ended ({how})"


def _order_of(session: _Session, folder: Path) -> ChildOrder:
    order = session.order
    return ChildOrder(
        job_id=session.id,
        fence=1,
        attempt=1,
        target=TARGET,
        spec={
            "environment": order.environment,
            "actions": order.actions,
            "seed": order.seed,
            "sizes": order.sizes.given(),
        },
        work_folder=str(folder),
        resume=None,
        orphan_grace_seconds=1.0,
    )
