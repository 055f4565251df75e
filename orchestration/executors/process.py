"""Children as processes of their own, forked from a clean server that has its imports done.

Never forked from us: children of a process that has used torch's threads hang.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, popen_forkserver, reduction, spawn, util
from multiprocessing.context import ForkServerProcess, set_spawning_popen
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.to_thread
from anyio.abc import UNIXSocketStream

from orchestration.executors.child import ChildOrder, run_child
from orchestration.executors.frames import FrameDecoder, FrameEncoder

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


class Child(Protocol):
    """A running attempt, wherever it runs."""

    async def receive(self) -> dict[str, Any] | None:
        """Return the next frame, or None once the child has hung up.

        Raises:
            FrameError: The child sent something else.
        """
        ...

    async def send(self, type_: str, fields: Mapping[str, Any]) -> None:
        """Send a frame; nothing happens if the child has hung up.

        Args:
            type_: What it says.
            fields: Plain JSON.
        """
        ...

    async def wait(self) -> int:
        """Wait for the end and return the exit code, minus the signal if one ended it."""
        ...

    def kill(self) -> None:
        """End the child and all that it started, now."""
        ...

    async def aclose(self) -> None:
        """Kill what is left and free what was held."""
        ...


class Executor(Protocol):
    """Starts attempts."""

    async def start(self, order: ChildOrder) -> Child:
        """Start one attempt.

        Args:
            order: What it shall do.
        """
        ...


class ProcessExecutor:
    """Starts each attempt in a process of its own, in a session of its own."""

    def __init__(self, *, preload: Sequence[str] = ()) -> None:
        """Say what the server imports before it forks.

        Args:
            preload: Modules that start no threads; the first start waits for them.
        """
        forkserver.set_forkserver_preload([__name__, *preload])

    async def start(self, order: ChildOrder) -> ProcessChild:
        """Start one attempt.

        Args:
            order: What it shall do.
        """
        return await ProcessChild.start(order)


class ProcessChild:
    """One child process and the conversation with it."""

    def __init__(self, process: BaseProcess, stream: UNIXSocketStream) -> None:
        self._process = process
        self._stream = stream
        self._encoder = FrameEncoder()
        self._decoder = FrameDecoder()
        self._frames: deque[dict[str, Any]] = deque()
        self._pid = process.pid or 0
        self._sending = anyio.Lock()

    @classmethod
    async def start(cls, order: ChildOrder) -> ProcessChild:
        """Fork a child.

        Args:
            order: What it shall do.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = _ForkedProcess(target=run_child, args=(theirs, order.to_json()))
            try:
                await anyio.to_thread.run_sync(process.start)
            except BaseException:
                ours.close()
                raise
        return cls(process, await UNIXSocketStream.from_socket(ours))

    async def receive(self) -> dict[str, Any] | None:
        """Return the next frame, or None once the child has hung up.

        Raises:
            FrameError: The child sent something else.
        """
        while not self._frames:
            try:
                piece = await self._stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return None
            self._frames.extend(self._decoder.feed(piece))
        return self._frames.popleft()

    async def send(self, type_: str, fields: Mapping[str, Any]) -> None:
        """Send a frame; nothing happens if the child has hung up.

        Args:
            type_: What it says.
            fields: Plain JSON.
        """
        async with self._sending:
            _, packed = self._encoder.encode(type_, fields)
            with contextlib.suppress(anyio.BrokenResourceError):
                await self._stream.send(packed)

    async def wait(self) -> int:
        """Wait for the end and return the exit code, minus the signal if one ended it."""
        if self._process.exitcode is None:
            await anyio.wait_readable(self._process.sentinel)
        self._process.join()
        code = self._process.exitcode
        return 255 if code is None else code

    def kill(self) -> None:
        """End the child and all that it started, now."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        if self._process.exitcode is None:  # it may not have come to open its session yet
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    async def aclose(self) -> None:
        """Kill what is left and free what was held."""
        self.kill()
        await self._stream.aclose()
        await self.wait()
        self._process.close()


class _Popen(popen_forkserver.Popen):
    """As multiprocessing does it, but the child does not run our `__main__` again."""

    _fds: list[int]

    def _launch(self, process_obj: BaseProcess) -> None:
        preparation = spawn.get_preparation_data(process_obj.name)
        preparation.pop("init_main_from_name", None)
        preparation.pop("init_main_from_path", None)
        buffer = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(preparation, buffer)
            reduction.dump(process_obj, buffer)
        finally:
            set_spawning_popen(None)
        self.sentinel, writer = forkserver.connect_to_new_process(self._fds)
        kept = os.dup(writer)
        self.finalizer = util.Finalize(self, _close, (kept, self.sentinel))
        with os.fdopen(writer, "wb") as file:
            file.write(buffer.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


class _ForkedProcess(ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: BaseProcess) -> _Popen:  # noqa: N802  # multiprocessing's name
        return _Popen(process_obj)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
