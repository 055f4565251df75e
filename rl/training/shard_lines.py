"""Ways to a shard: a question goes there as bytes, and its answer comes back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from typing import Protocol

from rl.training.shard_service import ShardService
from utils.errors import ProcessLostError

END_SECONDS = 5.0
"""How long the end of a process that has hung up is waited for, to tell its exit code."""


class ShardLine(Protocol):
    """The way to one shard; one question at a time."""

    @property
    def place(self) -> str:
        """Where the shard runs, for people."""
        ...

    def send(self, question: bytes) -> None:
        """Begin to ask.

        Raises:
            ProcessLostError: Nobody is there any more.
        """
        ...

    def receive(self) -> bytes:
        """Wait for the answer.

        Raises:
            ProcessLostError: Nobody is there any more.
        """
        ...

    def close(self) -> None:
        """End the shard, unless it has ended."""
        ...


OpenLines = Callable[[Sequence[str]], Sequence[ShardLine]]
"""Starts a shard for each device in a list."""


class InlineLine:
    """To a shard of this process, which works when it is asked."""

    place = "this process"

    def __init__(self, service: ShardService) -> None:
        """Keep the service.

        Args:
            service: Of one shard.
        """
        self._service = service
        self._answer = b""

    def send(self, question: bytes) -> None:
        """Ask, and keep the answer.

        Args:
            question: A packed message.
        """
        self._answer = self._service.answer(question)

    def receive(self) -> bytes:
        """Return the answer."""
        return self._answer

    def close(self) -> None:
        """Do nothing: there is no process to end."""


class ProcessLine:
    """To a shard in a process of its own, over a pipe; it ends when the pipe does."""

    def __init__(self) -> None:
        """Start the process; it is a new program, so nothing of this one is copied."""
        self._pipe, theirs = Pipe()
        paths = os.pathsep.join(path or os.curdir for path in sys.path)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # words of ours only
                [sys.executable, "-m", "rl.training.shard_process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": paths},
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def place(self) -> str:
        """Where the shard runs."""
        return f"process {self.pid}"

    def send(self, question: bytes) -> None:
        """Write the question.

        Args:
            question: A packed message.

        Raises:
            ProcessLostError: The process has died.
        """
        try:
            self._pipe.send_bytes(question)
        except OSError as error:
            raise self._loss() from error

    def receive(self) -> bytes:
        """Wait for the answer.

        Raises:
            ProcessLostError: The process has died.
        """
        try:
            return self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._loss() from error

    def close(self) -> None:
        """Kill the process: it holds nothing that is not here, or in a checkpoint."""
        self._pipe.close()
        self._process.kill()
        self._process.wait()

    def _loss(self) -> ProcessLostError:
        try:
            code: int | None = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        return ProcessLostError(f"{self.place} has hung up (exit code {code})")


def open_processes(devices: Sequence[str]) -> Sequence[ShardLine]:
    """Start a process for each shard.

    Args:
        devices: Of each shard; every process sees all of the machine's.
    """
    return [ProcessLine() for _ in devices]
