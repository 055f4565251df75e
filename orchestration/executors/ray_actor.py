"""What runs on a node of a Ray cluster: one attempt, as an actor. Nothing here imports ray.

The target runs in a thread and speaks to its `TaskContext` as everywhere. The other end of that
socket is here: its bytes go into a `FrameLog`, which supervisors read by calling the actor. A
supervisor with a higher fence takes the attempt over; from then on older ones are refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from orchestration.executors.child import (
    ORPHANED_EXIT_CODE,
    ChildOrder,
    TaskContext,
    capture_words,
    carry_out,
)
from orchestration.executors.frames import FrameEncoder, FrameError
from orchestration.executors.ray_log import FrameLog

WAIT_SECONDS: Final = 2.0
"""How long a call waits for news."""
KILLED_EXIT_CODE: Final = 137


class AttemptActor:
    """One attempt of one job; ends the process it lives in when it is over."""

    def __init__(self, order: str, orphan_seconds: float) -> None:
        """Start the target.

        Args:
            order: A `ChildOrder` as JSON.
            orphan_seconds: Without a call for so long, nobody is there any more.
        """
        self._order = ChildOrder(**json.loads(order))
        self._orphan_seconds = orphan_seconds
        self._owner = self._order.fence
        self._asked_at = time.monotonic()
        self._log = FrameLog()
        self._encoder = FrameEncoder()
        self._calls = threading.Lock()
        self._is_over = False
        self._is_orphan = False
        self._socket, self._theirs = socket.socketpair()
        capture_words(self._order)
        for work in (self._work, self._fill_log, self._watch_owner):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()

    def attach(self, fence: int) -> dict[str, Any] | None:
        """Give the attempt to a supervisor; None if a newer one has it, or it is being left.

        Args:
            fence: Of the supervisor's lease.
        """
        with self._calls:
            if self._is_over or not self._is_owner(fence):
                return None
            self._owner = fence
            return asdict(self._log.open())

    def read(self, fence: int, offset: int) -> tuple[bytes, bool] | None:
        """Return what the child said next and whether that was all; None to a former owner.

        Args:
            fence: Of the supervisor's lease.
            offset: Up to where it has read.
        """
        if not self._is_owner(fence):
            return None
        return self._log.read(offset, wait_seconds=min(WAIT_SECONDS, self._orphan_seconds / 4))

    def write(self, fence: int, type_: str, fields: Mapping[str, Any]) -> bool:
        """Send the child a frame; False to a former owner.

        Args:
            fence: Of the supervisor's lease.
            type_: What it says.
            fields: Plain JSON.
        """
        with self._calls:
            if not self._is_owner(fence):
                return False
            if type_ == "ack":
                self._log.forget(fields["of"])
            with contextlib.suppress(OSError):
                self._socket.sendall(self._encoder.encode(type_, fields)[1])
            return True

    def kill(self, fence: int) -> bool:
        """End the process now; False to a former owner.

        Args:
            fence: Of the supervisor's lease.
        """
        with self._calls:
            if not self._is_owner(fence):
                return False
            os._exit(KILLED_EXIT_CODE)

    def end(self, fence: int) -> bool:
        """Let nobody take the attempt over from now on; False to a former owner.

        Args:
            fence: Of the supervisor's lease, who then has Ray end the process.
        """
        with self._calls:
            self._is_over = self._is_owner(fence)
            return self._is_over

    def _is_owner(self, fence: int) -> bool:
        if fence < self._owner:
            return False
        self._asked_at = time.monotonic()
        return True

    def _work(self) -> None:
        context = TaskContext(self._order, self._theirs)
        carry_out(self._order, context)
        with contextlib.suppress(OSError):
            self._theirs.shutdown(socket.SHUT_WR)

    def _fill_log(self) -> None:
        try:
            while piece := self._socket.recv(1 << 16):
                self._log.append(piece)
        except (OSError, FrameError):
            traceback.print_exc()
        self._log.close()
        if self._is_orphan:
            os._exit(ORPHANED_EXIT_CODE)

    def _watch_owner(self) -> None:
        while (left := self._asked_at + self._orphan_seconds - time.monotonic()) > 0:
            time.sleep(left)
        with self._calls:
            self._is_over = self._is_orphan = True
        if self._log.is_closed:
            os._exit(ORPHANED_EXIT_CODE)
        self._socket.shutdown(socket.SHUT_WR)  # the target sees that nobody is there, and saves
