"""Removes records of what is long over: fires, deliveries, decisions, lines of the outbox.

What is unfinished stays, however old: a fire whose jobs go on, a delivery that waits, a decision
that waits for a person, lines of unfinished jobs and lines that a trigger or webhook has not seen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, FromClause, Table, and_, delete, exists, func, select, tuple_

from orchestration.jobs import TERMINAL
from orchestration.webhooks.deliveries import PENDING
from utils.errors import ConfigError
from utils.logs import get_logger
from utils.persistence.approvals import approval
from utils.persistence.decisions import decision
from utils.persistence.jobs import event, job
from utils.persistence.polling import look_for_ever
from utils.persistence.schedules import delivery, schedule, schedule_fire, webhook

if TYPE_CHECKING:
    from utils.clock import Clock
    from utils.persistence.engine import Database

KEPT_DAYS = 365.0
PAUSE_SECONDS = 86_400.0
BATCH = 1000
"""Rows that one transaction removes, so that nobody waits for long."""
WAITS = "waiting"
"""State of a decision that a person has not judged yet."""
logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """How many records were removed."""

    fires: int
    deliveries: int
    decisions: int
    events: int


def check_days(days: float) -> None:
    """Refuse a time that is none.

    Args:
        days: How long records are kept.

    Raises:
        ConfigError: It is less than a day, or no number.
    """
    if not 1 <= days < 100_000:
        raise ConfigError(f"record_days={days}: keep records for 1 to 100,000 days")


async def prune(database: Database, clock: Clock, *, days: float = KEPT_DAYS) -> Pruned:
    """Remove records that are older and over.

    Args:
        database: Holds them.
        clock: Tells the time.
        days: How long they are kept.

    Raises:
        ConfigError: The number of days is none.
        DatabaseError: It is out of reach; what was removed so far stays removed.
    """
    check_days(days)
    before = clock.now() - timedelta(days=days)
    fires, deliveries = schedule_fire.alias("old"), delivery.alias("old")
    decisions, events = decision.alias("old"), event.alias("old")
    return Pruned(
        fires=await _remove(database, schedule_fire, fires, _old_fires(fires, before)),
        deliveries=await _remove(
            database,
            delivery,
            deliveries,
            and_(deliveries.c.status != PENDING, deliveries.c.ended_at < before),
        ),
        decisions=await _remove(database, decision, decisions, _old_decisions(decisions, before)),
        events=await _remove(database, event, events, _old_events(events, before)),
    )


async def prune_daily(database: Database, clock: Clock, *, days: float) -> None:
    """Prune once a day until cancelled.

    Args:
        database: Holds the records.
        clock: Tells the time.
        days: How long they are kept.
    """

    async def look() -> None:
        removed = asdict(await prune(database, clock, days=days))
        if any(removed.values()):
            logger.info("old_records_removed", **removed)

    await look_for_ever(look, clock, PAUSE_SECONDS, logger)


async def _remove(
    database: Database, table: Table, old: FromClause, is_old: ColumnElement[bool]
) -> int:
    names = [column.name for column in table.primary_key]
    some = select(*(old.c[name] for name in names)).where(is_old).limit(BATCH)
    some = some.with_for_update(of=old, skip_locked=True)  # several programs may prune
    removal = delete(table).where(tuple_(*(table.c[name] for name in names)).in_(some))
    total = 0
    while True:
        async with database.write() as connection:
            found = (await connection.execute(removal)).rowcount
        total += found
        if found < BATCH:
            return total


def _old_fires(old: FromClause, before: datetime) -> ColumnElement[bool]:
    """The last one of a schedule stays: cooling down is counted from it."""
    newer = schedule_fire.alias("newer")
    is_last = ~exists().where(
        newer.c.schedule_id == old.c.schedule_id,
        (newer.c.event_seq > 0) == (old.c.event_seq > 0),
        newer.c.fired_at > old.c.fired_at,
    )
    goes_on = exists().where(job.c.pipeline_id == old.c.pipeline_id, _is_unfinished())
    return and_(old.c.fired_at < before, ~is_last, ~goes_on)


def _old_decisions(old: FromClause, before: datetime) -> ColumnElement[bool]:
    waits = exists().where(approval.c.decision_id == old.c.id, approval.c.state == WAITS)
    return and_(old.c.at < before, ~waits)


def _old_events(old: FromClause, before: datetime) -> ColumnElement[bool]:
    """The newest line stays: whoever begins to listen begins after it."""
    newest = select(func.max(event.alias("any").c.seq)).scalar_subquery()
    is_waited_for = exists().where(
        schedule.c.active, schedule.c.event_type == old.c.type, schedule.c.event_seq < old.c.seq
    )
    is_to_be_sent = exists().where(webhook.c.active, webhook.c.event_seq < old.c.seq)
    goes_on = exists().where(job.c.id == old.c.job_id, _is_unfinished())
    kept = is_waited_for | is_to_be_sent | goes_on
    return and_(old.c.at < before, old.c.seq < newest, ~kept)


def _is_unfinished() -> ColumnElement[bool]:
    return job.c.state.not_in([state.value for state in TERMINAL])
