"""How each agent is supervised: whether people approve, and whether its requests are kept.

Kept in the database and read anew every second in the background, so that asking an agent costs no
query. While the database is away the last known settings hold; as long as they were never read,
nothing is decided.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import anyio
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well

from utils.errors import ConfigError
from utils.logs import get_logger
from utils.persistence.approvals import agent_setting
from utils.persistence.audit_log import AuditLine, add_audit
from utils.persistence.polling import Quiet, look_for_ever

if TYPE_CHECKING:
    from utils.clock import Clock
    from utils.persistence.engine import Database

LOOK_SECONDS = 1.0
LONGEST_APPROVAL_SECONDS = 30 * 86_400.0
MOST_KEPT = 100_000
logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """Of one agent."""

    agent: str
    needs_approval: bool = False
    """Whether its decisions wait until a person approves, overrides or rejects."""
    approval_seconds: float = 3600.0
    """A decision that waited so long counts as rejected."""
    keep_requests: int = 0
    """So many of its newest requests are kept for replay."""
    expert_on_drift: bool = False
    """Whether its expert answers while requests have drifted."""
    regret_limit: float | None = None
    """Mean regret against the expert above which `regret_high` is told; None tells nothing."""
    changed_at: datetime | None = None
    changed_by: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: A number is out of range.
        """
        if not 1 <= self.approval_seconds <= LONGEST_APPROVAL_SECONDS:
            raise ConfigError(
                f"approval_seconds={self.approval_seconds}: choose 1 second to 30 days "
                f"({LONGEST_APPROVAL_SECONDS:.0f})"
            )
        if not 0 <= self.keep_requests <= MOST_KEPT:
            raise ConfigError(f"keep_requests={self.keep_requests}: choose 0 to {MOST_KEPT}")
        if self.regret_limit is not None and not math.isfinite(self.regret_limit):
            raise ConfigError(f"regret_limit={self.regret_limit}: choose a finite number, or none")


class SettingsShelf:
    """The settings of all agents; those nobody set have defaults."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Begin without knowing any.

        Args:
            database: Holds them.
            clock: Tells how old what is known is.
        """
        self._database = database
        self._clock = clock
        self._known: dict[str, AgentSettings] | None = None
        self._quiet = Quiet(database, clock)
        self._first_look = anyio.Lock()

    async def find(self, agent: str) -> AgentSettings:
        """Return the settings of an agent as they were read last.

        Args:
            agent: Its name.

        Raises:
            DatabaseError: They were never read, and cannot be now.
        """
        known = self._known
        if known is None:
            async with self._first_look:  # a burst at the start shares one
                known = await self.look() if self._known is None else self._known
        return known.get(agent) or AgentSettings(agent=agent)

    def known(self, agent: str) -> AgentSettings:
        """Return the settings of an agent as they were read last; the usual ones before that.

        Args:
            agent: Its name.
        """
        return (self._known or {}).get(agent) or AgentSettings(agent=agent)

    async def look(self) -> dict[str, AgentSettings]:
        """Read all settings anew."""
        async with self._database.read() as connection:
            rows = (await connection.execute(select(agent_setting))).mappings().all()
        self._known = {row["agent"]: AgentSettings(**row) for row in rows}
        return self._known

    async def run(self) -> None:
        """Read all settings every second if somebody wrote, until cancelled."""
        await look_for_ever(self._look_again, self._clock, LOOK_SECONDS, logger)

    async def _look_again(self) -> None:
        if not self._quiet.lasts:
            self._quiet.begin()
            await self.look()
            self._quiet.settle(None)

    async def list_all(self) -> list[AgentSettings]:
        """Return the settings that somebody made, by agent, as they are now."""
        known = await self.look()
        return [known[agent] for agent in sorted(known)]

    async def change(
        self, agent: str, edit: Callable[[AgentSettings], AgentSettings], *, by: str
    ) -> AgentSettings:
        """Change the settings of an agent in one transaction, and note who did in the audit log.

        Args:
            agent: Its name.
            edit: Turns the settings there are into the new ones.
            by: Who asks, such as `cli:USER`.
        """
        now = self._clock.now()
        query = select(agent_setting).where(agent_setting.c.agent == agent).with_for_update()
        async with self._database.write() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
            former = AgentSettings(**row) if row else AgentSettings(agent=agent)
            wanted = replace(edit(former), agent=agent, changed_at=now, changed_by=by)
            values = asdict(wanted)
            statement = insert(agent_setting).values(values)
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["agent"], set_=values)
            )
            line = AuditLine(
                at=now, who=by, action="agent settings", target=agent, outcome=_told(wanted)
            )
            await add_audit(connection, line)
        await self.look()
        return wanted


def _told(settings: AgentSettings) -> str:
    approval = f"{settings.approval_seconds:.0f}s" if settings.needs_approval else "no"
    drift = ", expert on drift" if settings.expert_on_drift else ""
    return (
        f"approval {approval}, keep {settings.keep_requests}, limit {settings.regret_limit}{drift}"
    )
