"""Where a child's words go: its own log file, bounded, every line at once, with its job's name."""

from __future__ import annotations

import faulthandler
import io
import os
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from orchestration.job_logs import LogKeeper, LogLimits, drop_old, log_path
from utils.logs import configure_logs, get_logger, label_process

TRIM_SECONDS = 0.2
logger = get_logger(__name__)


def capture_output(
    folder: Path, fence: int, *, job: str, attempt: int, run: str | None, limits: LogLimits
) -> None:
    """Send all that this process and those it starts print to the attempt's log.

    Log lines are JSON and name the job, whichever thread writes them.

    Args:
        folder: The job's work folder; made if absent.
        fence: Of the attempt; names the file.
        job: For log lines.
        attempt: For log lines.
        run: For log lines, if the job belongs to one.
        limits: What is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with log_path(folder, fence).open("ab", buffering=0) as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.stdout, sys.stderr = _unbuffered(sys.stdout), _unbuffered(sys.stderr)
    drop_old(folder, limits)
    faulthandler.enable()
    label_process(job=job, attempt=attempt, run=run)
    configure_logs(json=True, stream=sys.stderr)
    keeper = LogKeeper(sys.stderr.fileno(), limits.max_bytes)
    threading.Thread(target=_keep_trimmed, args=(keeper,), name="log-trim", daemon=True).start()


def _unbuffered(stream: TextIO) -> TextIO:
    """Return a stream to the same place; a crash would take buffered words along."""
    raw = io.FileIO(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        raw,  # as Python itself does it when asked for no buffers
        encoding="utf-8",
        errors="backslashreplace",
        write_through=True,
    )


def _keep_trimmed(keeper: LogKeeper) -> None:
    while keeper.trim():
        time.sleep(TRIM_SECONDS)
    logger.warning("log_grows", reason="this file system cannot free the front of a file")
