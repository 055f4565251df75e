"""The child's side of an attempt: resolve the target, run it, report, obey.

Lives in a process of its own that never opens the database. It knows its supervisor only as a
socket: when that ends, the supervisor is gone, and the child saves its work and stops.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import socket
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from orchestration.executors.child_output import capture_output
from orchestration.executors.frames import FrameDecoder, FrameEncoder, FrameError
from orchestration.job_logs import LogLimits
from utils.errors import ConfigError, ProcessLostError
from utils.persistence.errors import ArtifactsUnreachableError

FLUSH_SECONDS = 0.2
MAX_ROWS_PER_FRAME = 200
ORPHANED_EXIT_CODE = 70
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True, kw_only=True)
class ChildOrder:
    """All that a child is told; travels as one JSON string."""

    job_id: str
    fence: int
    attempt: int
    target: str
    spec: Mapping[str, Any]
    work_folder: str
    resume: Mapping[str, Any] | None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Results of the jobs that this one needed, by its names for them."""
    orphan_grace_seconds: float = 20.0
    resources: Mapping[str, int] = field(default_factory=dict)
    """What the job asks for: `cpu_milli`, `gpu_milli`, `memory_mb`."""
    var: str | None = None
    """Folder for generated state where the child runs; None: as the spec says."""
    artifacts: str | None = None
    """Where everybody finds artifacts and checkpoints, a URL or a folder; None: as the spec says,
    and checkpoints stay in their folder."""
    logs: Mapping[str, int] = field(default_factory=dict)
    """`LogLimits` for what it prints."""

    def to_json(self) -> str:
        """Return the order as JSON."""
        return json.dumps(asdict(self))


class TaskContext:
    """What a running target may ask and tell; any thread may."""

    def __init__(self, order: ChildOrder, channel: socket.socket) -> None:
        self.job_id = order.job_id
        self.fence = order.fence
        self.attempt = order.attempt
        self.work_folder = Path(order.work_folder)
        self.resume = None if order.resume is None else dict(order.resume)
        self.inputs = dict(order.inputs)
        self.var = None if order.var is None else Path(order.var)
        self.artifacts = order.artifacts
        self._orphan_grace_seconds = order.orphan_grace_seconds
        self._channel = channel
        self._encoder = FrameEncoder()
        self._writing = threading.RLock()
        self._rows: list[tuple[int, dict[str, float]]] = []
        self._progress: tuple[int, int] | None = None
        self._sent_progress: tuple[int, int] | None = None
        self._stop: str | None = None
        self._seen_stop: str | None = None
        self._changed = threading.Condition()
        self._acknowledged = 0
        self._questions: deque[dict[str, Any]] = deque()
        self._closing = threading.Event()

    @property
    def stopped_by(self) -> str | None:
        """The reason that `should_stop` has told the target, if it has told one."""
        return self._seen_stop

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Report numbers of one step; sent together with others, soon.

        Args:
            step: Where they belong on the x axis.
            values: By name.
        """
        with self._writing:
            self._rows.append((step, {key: float(value) for key, value in values.items()}))
            if len(self._rows) >= MAX_ROWS_PER_FRAME:
                self.flush()

    def progress(self, done: int, total: int) -> None:
        """Report how far the work is; a smaller `done` than before is ignored.

        Args:
            done: Units of work done.
            total: Units of work in all.
        """
        with self._writing:
            if self._progress is None or done >= self._progress[0]:
                self._progress = (done, total)

    def checkpoint(self, path: Path, sha256: str, step: int, size_bytes: int) -> None:
        """Offer a whole file to resume from; returns once the supervisor has committed it.

        Without a supervisor it returns at once: nobody will resume from this one.

        Args:
            path: The file, fsynced, under a name that contains the fence.
            sha256: Its hash.
            step: How far the work was.
            size_bytes: Its size.
        """
        record = {"path": str(path), "sha256": sha256, "step": step, "size_bytes": size_bytes}
        seq = self._send("checkpoint", record)
        with self._changed:
            self._changed.wait_for(lambda: self._acknowledged >= seq or self._stop == "orphaned")

    def emit(self, type_: str, payload: Mapping[str, Any]) -> None:
        """Report anything else.

        Args:
            type_: Its name in snake_case.
            payload: Plain JSON.
        """
        self._send("event", {"event": type_, "payload": dict(payload)})

    def should_stop(self) -> str | None:
        """Return why to stop ("pause", "preempt", "cancel", "orphaned"), or None to go on.

        A target that has been told to stop saves its work and returns; its result is not kept.
        """
        self._seen_stop = self._stop
        return self._stop

    def next_question(self) -> dict[str, Any] | None:
        """Wait for what the supervisor asks next; None once it wants the target to stop.

        Targets that serve answer each question with `emit`, in order.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._questions or self._stop)
            return None if self.should_stop() else self._questions.popleft()

    def flush(self) -> None:
        """Send what was coalesced."""
        with self._writing:
            rows, self._rows = self._rows, []
            if rows:
                self._send_frame("metrics", {"rows": rows})
            if self._progress != self._sent_progress and self._progress is not None:
                done, total = self._sent_progress = self._progress
                self._send_frame("progress", {"done": done, "total": total})

    def start(self) -> None:
        """Say hello, then listen and flush in the background."""
        self._send("hello", {"pid": os.getpid()})
        threading.Thread(target=self._listen, name="frames-in", daemon=True).start()
        threading.Thread(target=self._pump, name="frames-out", daemon=True).start()

    def finish(self, type_: str, fields: Mapping[str, Any]) -> None:
        """Send the last frame and hang up.

        Args:
            type_: "result" or "error".
            fields: What to say.
        """
        self._closing.set()
        self._send(type_, fields)

    def _send(self, type_: str, fields: Mapping[str, Any]) -> int:
        with self._writing:
            self.flush()
            return self._send_frame(type_, fields)

    def _send_frame(self, type_: str, fields: Mapping[str, Any]) -> int:
        seq, packed = self._encoder.encode(type_, fields)
        try:
            self._channel.sendall(packed)
        except OSError:
            self._orphan()
        return seq

    def _pump(self) -> None:
        while not self._closing.wait(FLUSH_SECONDS):
            self.flush()

    def _listen(self) -> None:
        decoder = FrameDecoder()
        try:
            while piece := self._channel.recv(1 << 16):
                for frame in decoder.feed(piece):
                    self._obey(frame)
        except (OSError, FrameError):
            traceback.print_exc()
        self._orphan()

    def _obey(self, frame: Mapping[str, Any]) -> None:
        with self._changed:
            if frame["type"] == "ack":
                self._acknowledged = frame["of"]
            elif frame["type"] == "stop":
                self._stop = frame["reason"]
            elif frame["type"] == "question":
                self._questions.append(frame["question"])
            self._changed.notify_all()

    def _orphan(self) -> None:
        with self._changed:
            first = self._stop != "orphaned"
            self._stop = "orphaned"
            self._changed.notify_all()
        if first and not self._closing.is_set():
            last = threading.Timer(self._orphan_grace_seconds, os._exit, args=(ORPHANED_EXIT_CODE,))
            last.daemon = True
            last.start()


Target = Callable[[dict[str, Any], TaskContext], Mapping[str, Any]]


def resolve(target: str) -> Target:
    """Import a target.

    Args:
        target: Its dotted name, `module:function`.

    Raises:
        ConfigError: There is no such function.
    """
    module_name, _, name = target.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"target {target!r} cannot be imported: {error}") from error
    if not callable(function):
        raise ConfigError(f"target {target!r} is not a function")
    return cast("Target", function)


def run_child(channel: socket.socket, argument: str) -> None:
    """Be the child: the entry of its process.

    Args:
        channel: Our end of the conversation.
        argument: A `ChildOrder` as JSON.
    """
    os.setsid()
    order = ChildOrder(**json.loads(argument))
    capture_words(order)
    carry_out(order, TaskContext(order, channel))


def capture_words(order: ChildOrder) -> None:
    """Send all that this process prints to the attempt's log.

    Args:
        order: Names the attempt.
    """
    capture_output(
        Path(order.work_folder),
        order.fence,
        job=order.job_id,
        attempt=order.attempt,
        run=order.spec.get("run_id"),  # jobs that belong to a run name it in their spec
        limits=LogLimits(**order.logs),
    )


def carry_out(order: ChildOrder, context: TaskContext) -> None:
    """Run the target and say how it ended.

    Args:
        order: What to do.
        context: Not yet started.
    """
    context.start()
    try:
        result = dict(resolve(order.target)(dict(order.spec), context))
        context.finish("result", {"result": result, "stopped": context.stopped_by})
    except Exception as error:  # noqa: BLE001  # whatever the target raises is the attempt's error
        traceback.print_exc()
        context.finish("error", describe(error))


def describe(error: Exception) -> dict[str, str]:
    """Return an error as the fields of an error frame: its class, and text with a short traceback.

    What a setting did wrong has none: where it was found is in the log, and helps no caller.

    Args:
        error: What the target raised.
    """
    error_class, advice = "user", ""
    if isinstance(error, ConfigError):
        error_class = "config"
    elif isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        error_class = "resource"
    elif isinstance(error, ProcessLostError):
        error_class = "crashed"
    elif isinstance(error, ArtifactsUnreachableError):
        error_class = "unreachable"
    elif isinstance(error, OSError) and error.errno in _FULL:
        error_class, advice = "storage", " Free some space, then submit the job again."
    headline = f"{type(error).__name__}: {error}.{advice}"
    if error_class == "config":
        return {"class": error_class, "message": headline}
    tail = "".join(traceback.format_exception(error))[-4000:]
    return {"class": error_class, "message": f"{headline}\n{tail}"}
