"""Which fires of a schedule are due: a pure function of where it got to and what time it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from orchestration.scheduler.timing import ByClock

GRACE = timedelta(seconds=60)
"""Later than this a fire is a misfire."""
CLOCK_STEP = timedelta(seconds=60)
"""A clock further back than this was set back; less is the difference between two machines."""
MOST_ON_TIME = 100


class Misfire(StrEnum):
    """What becomes of fires that nobody was there for."""

    SKIP = "skip"
    ONCE = "once"  # the newest of them stands for all, unless one is due right now
    CATCH_UP = "catch_up"  # the newest N of them


class Overlap(StrEnum):
    """What happens while the work of an earlier fire is unfinished."""

    SKIP = "skip"
    QUEUE = "queue"  # begin when it has ended
    CANCEL = "cancel"  # cancel it, then begin


@dataclass(frozen=True, kw_only=True)
class DueFires:
    """What a look at the clock came to."""

    times: tuple[datetime, ...]
    """To fire now, oldest first."""
    missed_since: datetime | None
    """The first fire that was left out, if any was."""
    handled_until: datetime
    """Fires up to here need no further look."""
    next_time: datetime | None


def plan_fires(
    timing: ByClock, misfire: Misfire, catch_up: int, *, handled_until: datetime, now: datetime
) -> DueFires:
    """Say what to fire.

    Fires have times of their own, so whoever has recorded one keeps all others from firing it
    again: looking twice, or with a clock that was set back, asks for nothing that is not due.

    Args:
        timing: When it fires.
        misfire: What becomes of late ones.
        catch_up: How many late ones are caught up, under that policy.
        handled_until: As the last look returned it.
        now: What time it is.
    """
    if handled_until - now > CLOCK_STEP:
        handled_until = now
    if handled_until >= now:
        return DueFires(
            times=(),
            missed_since=None,
            handled_until=handled_until,
            next_time=timing.after(handled_until),
        )
    line = max(handled_until, now - GRACE)
    on_time = timing.newest(line, now, MOST_ON_TIME)
    once = 0 if on_time else 1
    wanted = {Misfire.SKIP: 0, Misfire.ONCE: once, Misfire.CATCH_UP: catch_up}[misfire]
    late = timing.newest(handled_until, line, wanted) if wanted and line > handled_until else []
    times = (*late, *on_time)
    first = timing.after(handled_until)
    missed = first is not None and first <= now and first not in times
    return DueFires(
        times=times,
        missed_since=first if missed else None,
        handled_until=now,
        next_time=timing.after(now),
    )
