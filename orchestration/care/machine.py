"""What can be said of the machine without a database: versions, disk, clock, port, file system."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.care.findings import Finding, fine, note, problem
from orchestration.job_logs import can_trim

if TYPE_CHECKING:
    from utils.clock import Clock

TESTED_PYTHON = (3, 11)
GIB = 1 << 30
SERVING = Path(__file__).parents[2] / "requirements-serve.txt"
LEAST_FREE, LOW_FREE = GIB // 2, 5 * GIB
LEAST_INODES = 10_000
OLDEST_YEAR = 2026
CLOCK_SAMPLE_SECONDS, CLOCK_SLACK_SECONDS = 0.2, 0.1
_PIN = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;#]+)")


def check_versions(requirements: Path = SERVING) -> Iterator[Finding]:
    """Compare Python and libraries with what this program was tested with.

    Args:
        requirements: Lines of `name==version`.
    """
    python = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] == TESTED_PYTHON:
        yield fine("python", f"Python {python}")
    else:
        tested = ".".join(str(part) for part in TESTED_PYTHON)
        yield note("python", f"Python {python}, tested with {tested}", f"Use {tested} if in doubt.")
    try:
        pins = _PIN.findall(requirements.read_text(encoding="utf-8"))
    except OSError:
        yield note("libraries", f"{requirements} is not there", "Run from a whole checkout.")
        return
    remedy = f"Run `pip install -r {requirements.name}` in this environment."
    other = []
    for name, wanted in pins:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield problem("libraries", f"{name} is not installed", remedy)
            continue
        if found != wanted:
            other.append(f"{name} {found} instead of {wanted}")
    if other:
        yield note("libraries", f"other than tested: {', '.join(other)}", remedy)
    else:
        yield fine("libraries", f"{len(pins)} as tested")


def check_disk(var: Path) -> Iterator[Finding]:
    """Look at the space that is left, and at how the file system treats logs.

    Args:
        var: Folder of the state; its nearest parent stands for one that is not there yet.
    """
    place = next(path for path in (var.absolute(), *var.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    inodes = os.statvfs(place).f_favail
    words = f"{free / GIB:.1f} GiB free in {place}"
    advice = "Free some: `gc` removes deleted runs, unwanted artifacts and old logs."
    if free < LEAST_FREE:
        yield problem("disk", words, advice)
    elif free < LOW_FREE:
        yield note("disk", words, advice)
    else:
        yield fine("disk", words)
    if 0 < inodes < LEAST_INODES:
        yield problem("disk", f"only {inodes:,} more files fit in {place}", advice)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            trims = can_trim(file.fileno())
    except OSError as error:
        text = f"{place} cannot be written: {error.strerror}"
        yield problem("disk", text, "Make it writable for this user.")
        return
    if not trims:
        yield note(
            "logs",
            f"the file system of {place} cannot free the front of a file: logs of attempts grow",
            "Keep --var on ext4, XFS, Btrfs, tmpfs or NFS 4.2.",
        )


async def check_clock(clock: Clock) -> list[Finding]:
    """Compare the wall clock with the monotonic one for a moment.

    Args:
        clock: Both of them.
    """
    wall, steady = clock.now(), clock.monotonic()
    await clock.sleep(CLOCK_SAMPLE_SECONDS)
    drift = (clock.now() - wall).total_seconds() - (clock.monotonic() - steady)
    advice = "Set the clock and let NTP keep it (`timedatectl`); leases are told by it."
    if wall.year < OLDEST_YEAR:
        return [problem("clock", f"the clock says {wall:%Y-%m-%d}", advice)]
    if abs(drift) > CLOCK_SLACK_SECONDS:
        return [problem("clock", f"the clock jumped by {drift:+.2f} s while we looked", advice)]
    return [fine("clock", f"{wall:%Y-%m-%d %H:%M:%S} UTC, steady")]


def check_port(host: str, port: int) -> Finding:
    """Say whether `serve` could listen.

    Args:
        host: Where.
        port: Where.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            text = f"cannot listen on {host}:{port}: {error.strerror}"
            return problem("port", text, "Choose another --host or --port.")
        return note(
            "port",
            f"{host}:{port} is taken",
            f"Fine if `serve` runs; else see `ss -ltnp 'sport = :{port}'`, or choose --port.",
        )
    return fine("port", f"{host}:{port} is free")
