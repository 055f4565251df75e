"""When a schedule fires: cron, interval, one moment, or after an event; pure, moments in UTC."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from utils.errors import ConfigError

CRON_FIELDS = 5
FIRST_WINDOW = timedelta(hours=1)
LONGEST_INTERVAL_SECONDS = 366 * 86_400


@dataclass(frozen=True, kw_only=True)
class Cron:
    """Five fields on the wall clock of a zone, as Debian's cron reads them.

    A fixed hour that a change of the clock leaves out fires at the first minute after the gap, one
    that comes twice fires the first time only; `*` in hours or minutes follows elapsed time.
    """

    expression: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        """Refuse what never fires.

        Raises:
            ConfigError: The expression or the zone is wrong.
        """
        if len(self.expression.split()) != CRON_FIELDS:
            raise ConfigError(
                f"cron={self.expression!r}: write five fields, minute hour day month weekday, "
                "such as `30 2 * * *`"
            )
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigError(
                f"zone={self.zone!r}: no such time zone; take an IANA name such as Europe/Berlin"
            ) from error
        try:
            fires = self.after(datetime(2026, 1, 1, tzinfo=UTC)) is not None
        except CronSimError as error:
            raise ConfigError(f"cron={self.expression!r}: {error}") from error
        if not fires:
            raise ConfigError(f"cron={self.expression!r}: no such day comes in fifty years")

    def after(self, moment: datetime) -> datetime | None:
        """Return the first fire after a moment; None if there is none any more.

        Args:
            moment: Aware.
        """
        return next(self._from(moment), None)

    def newest(self, after: datetime, until: datetime, most: int) -> list[datetime]:
        """Return the last fires of a span, oldest first.

        Looks back in growing windows, so that a minute's schedule that stood still for a year costs
        no more than the fires that are wanted.

        Args:
            after: Not itself.
            until: Itself too.
            most: At most so many.
        """
        window = FIRST_WINDOW
        while True:
            start = max(after, until - window) if until - after > window else after
            found: deque[datetime] = deque(maxlen=most)
            for moment in self._from(start):
                if moment > until:
                    break
                found.append(moment)
            if len(found) == most or start == after:
                return list(found)
            window *= 2

    def _from(self, moment: datetime) -> Iterator[datetime]:
        last = moment.astimezone(UTC)
        for local in CronSim(self.expression, last.astimezone(ZoneInfo(self.zone))):
            fire = local.astimezone(UTC)
            if fire > last:  # inside a repeated hour the first ones may lie before the start
                yield fire
                last = fire


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Every so many seconds of elapsed time, counted from a start."""

    seconds: float
    start: datetime

    def __post_init__(self) -> None:
        """Refuse lengths that are none.

        Raises:
            ConfigError: The length is not at least a second and at most a year.
        """
        _check_aware("start", self.start)
        if not 1 <= self.seconds <= LONGEST_INTERVAL_SECONDS:
            raise ConfigError(
                f"every={self.seconds}: choose 1 to {LONGEST_INTERVAL_SECONDS} seconds"
            )

    def after(self, moment: datetime) -> datetime | None:
        """Return the first fire after a moment; the first of all is one interval after the start.

        Args:
            moment: Aware.
        """
        count = math.floor((moment - self.start) / timedelta(seconds=self.seconds))
        fire = self._fire(max(1, count))
        while fire <= moment:
            count += 1
            fire = self._fire(count)
        return fire

    def newest(self, after: datetime, until: datetime, most: int) -> list[datetime]:
        """Return the last fires of a span, oldest first.

        Args:
            after: Not itself.
            until: Itself too.
            most: At most so many.
        """
        count = math.floor((until - self.start) / timedelta(seconds=self.seconds)) + 1
        numbers = range(max(1, count - most - 1), max(1, count + 1))
        found = [fire for fire in map(self._fire, numbers) if after < fire <= until]
        return found[-most:]

    def _fire(self, number: int) -> datetime:
        return self.start + number * timedelta(seconds=self.seconds)


@dataclass(frozen=True, kw_only=True)
class Once:
    """One moment."""

    at: datetime

    def __post_init__(self) -> None:
        """Refuse a moment without a zone.

        Raises:
            ConfigError: It has none.
        """
        _check_aware("at", self.at)

    def after(self, moment: datetime) -> datetime | None:
        """Return the moment if it is still to come.

        Args:
            moment: Aware.
        """
        return self.at if self.at > moment else None

    def newest(self, after: datetime, until: datetime, most: int) -> list[datetime]:
        """Return the moment if it lies in the span.

        Args:
            after: Not itself.
            until: Itself too.
            most: At most so many.
        """
        return [self.at][:most] if after < self.at <= until else []


@dataclass(frozen=True, kw_only=True)
class OnEvent:
    """After an event of the outbox."""

    type: str
    where: Mapping[str, Any] = field(default_factory=dict)
    """Fields of its payload that must equal these."""
    cooldown_seconds: float = 300.0
    """Events so soon after the last fire are dropped."""

    def __post_init__(self) -> None:
        """Refuse what no event can be.

        Raises:
            ConfigError: The type is empty or the cool-down negative.
        """
        if not self.type.strip() or len(self.type) > 60:
            raise ConfigError(f"on={self.type!r}: name an event's type, such as job_succeeded")
        if not 0 <= self.cooldown_seconds <= LONGEST_INTERVAL_SECONDS:
            raise ConfigError(f"cooldown_seconds={self.cooldown_seconds}: choose 0 or more")

    def matches(self, type_: str, payload: Mapping[str, Any]) -> bool:
        """Say whether an event is meant.

        Args:
            type_: Its type.
            payload: What it tells.
        """
        return type_ == self.type and all(
            name in payload and payload[name] == value for name, value in self.where.items()
        )


ByClock = Cron | Interval | Once
Timing = ByClock | OnEvent
_KINDS = {"cron": Cron, "interval": Interval, "once": Once, "event": OnEvent}


def timing_to_json(timing: Timing) -> dict[str, Any]:
    """Return a timing as plain JSON.

    Args:
        timing: Any.
    """
    kind = next(name for name, known in _KINDS.items() if isinstance(timing, known))
    values = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in vars(timing).items()
    }
    return {"kind": kind, **values}


def timing_from_json(values: Mapping[str, Any]) -> Timing:
    """Read a timing.

    Args:
        values: What `timing_to_json` returned.

    Raises:
        ConfigError: It is none.
    """
    known = _KINDS.get(values.get("kind", ""))
    if known is None:
        raise ConfigError(f"timing of kind {values.get('kind')!r}: there are {', '.join(_KINDS)}")
    fields = {name: value for name, value in values.items() if name != "kind"}
    for name in ("start", "at"):
        if name in fields:
            fields[name] = read_moment(fields[name])
    try:
        timing: Timing = known(**fields)
    except TypeError as error:
        raise ConfigError(f"timing: {error}") from error
    return timing


def read_moment(text: str) -> datetime:
    """Read a moment as people write it.

    Args:
        text: ISO 8601 with an offset, such as 2026-12-24T18:00+01:00.

    Raises:
        ConfigError: It is none, or has no offset.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no moment: write 2026-12-24T18:00+01:00") from error
    _check_aware(text, moment)
    return moment.astimezone(UTC)


def is_by_clock(timing: Timing) -> bool:
    """Say whether the clock alone decides.

    Args:
        timing: Any.
    """
    return isinstance(timing, get_args(ByClock))


def _check_aware(name: str, moment: datetime) -> None:
    if moment.tzinfo is None:
        raise ConfigError(f"{name}={moment}: give an offset, such as +01:00 or Z")
