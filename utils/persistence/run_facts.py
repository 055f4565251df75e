"""What is kept beside a run: tags, artifacts, the data behind its numbers, and where it began.

Functions on an open transaction; each line is written once, however often it is told.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, delete, select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well

from utils.errors import ConfigError
from utils.persistence import experiments as tables

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from utils.clock import Clock

TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}")
SHA256 = re.compile(r"[0-9a-f]{64}")


class Relation(StrEnum):
    """How a run depends on another one."""

    INIT_FROM = "init_from"
    """It started with the other's weights."""
    RESUME = "resume"
    """It went on from a checkpoint, usually its own."""
    RERUN = "rerun"
    """It repeats the other's settings and seed."""


@dataclass(frozen=True, kw_only=True)
class RunParent:
    """Where a run began."""

    relation: Relation
    run_id: str
    checkpoint_sha256: str = ""
    """Of the manifest; empty if no checkpoint was read."""


@dataclass(frozen=True, kw_only=True)
class RunData:
    """Scenarios that a run's numbers come from."""

    role: str
    """`training`, or the name of the set: `validation`, `held_out`."""
    about: str
    """What they are, for people."""
    sha256: str = ""
    """Over all arrays; empty for a source that is drawn from for as long as training takes."""


@dataclass(frozen=True, kw_only=True)
class RunLineage:
    """What a training says of itself once it knows: told again it changes nothing."""

    parents: tuple[RunParent, ...] = ()
    data: tuple[RunData, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunArtifact:
    """A file of a run that the artifact store holds."""

    name: str
    """Unique within the run."""
    kind: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        """Refuse what cannot be an address.

        Raises:
            ConfigError: The hash is none, or the name is empty.
        """
        if not SHA256.fullmatch(self.sha256):
            raise ConfigError(f"sha256={self.sha256!r}: write 64 lower-case hexadecimal digits")
        if not self.name.strip() or self.size_bytes < 0:
            raise ConfigError(f"an artifact needs a name and a size, not {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """All of it."""

    tags: tuple[str, ...] = ()
    artifacts: tuple[RunArtifact, ...] = ()
    data: tuple[RunData, ...] = ()
    parents: tuple[RunParent, ...] = ()


def check_tags(tags: Collection[str]) -> None:
    """Refuse tags that nobody could type.

    Args:
        tags: Of a run.

    Raises:
        ConfigError: One is malformed.
    """
    for name in tags:
        if not TAG.fullmatch(name):
            raise ConfigError(
                f"tag {name!r}: use up to 100 letters, digits and _ . : / -, first no sign"
            )


async def change_tags(
    connection: AsyncConnection,
    run_id: str,
    *,
    add: Collection[str] = (),
    remove: Collection[str] = (),
) -> None:
    """Give a run tags and take some away; one that is there, or gone, already stays so.

    Args:
        connection: An open write transaction.
        run_id: An existing run.
        add: New tags.
        remove: Old ones.

    Raises:
        ConfigError: A tag is malformed, or is added and removed at once.
    """
    check_tags(add)
    both = sorted(set(add) & set(remove))
    if both:
        raise ConfigError(f"tag {both[0]!r} is added and removed at once: choose")
    await _insert(connection, tables.tag, run_id, [{"name": name} for name in add])
    table = tables.tag
    await connection.execute(
        delete(table).where(table.c.run_id == run_id, table.c.name.in_(list(remove)))
    )


async def add_parents(
    connection: AsyncConnection, run_id: str, parents: Iterable[RunParent]
) -> None:
    """Write where a run began.

    Args:
        connection: An open write transaction.
        run_id: An existing run.
        parents: More of its beginnings.
    """
    rows = [
        {
            "relation": parent.relation.value,
            "parent_run_id": parent.run_id,
            "checkpoint_sha256": parent.checkpoint_sha256,
        }
        for parent in parents
    ]
    await _insert(connection, tables.run_parent, run_id, rows)


async def add_data(connection: AsyncConnection, run_id: str, data: Iterable[RunData]) -> None:
    """Write which data a run uses; the first answer of a role stands.

    Args:
        connection: An open write transaction.
        run_id: An existing run.
        data: By role.

    Raises:
        ConfigError: A known set has other scenarios now: the numbers would not be comparable.
    """
    told = {one.role: one for one in data}
    for known in (await load_facts(connection, run_id)).data:
        now = told.get(known.role, known)
        if now.sha256 != known.sha256:
            raise ConfigError(
                f"run {run_id}: its {known.role} scenarios were {known.sha256[:12]}, now they are "
                f"{now.sha256[:12]}; data or code has changed: start a new run"
            )
    await _insert(connection, tables.run_data, run_id, [asdict(one) for one in told.values()])


async def add_artifacts(
    connection: AsyncConnection, run_id: str, artifacts: Iterable[RunArtifact], *, clock: Clock
) -> None:
    """Write which stored bytes belong to a run; a known name stays as it is.

    Args:
        connection: An open write transaction.
        run_id: An existing run.
        artifacts: Already in the artifact store.
        clock: Tells when.
    """
    rows = [{**asdict(one), "created_at": clock.now()} for one in artifacts]
    await _insert(connection, tables.run_artifact, run_id, rows)


async def load_facts(connection: AsyncConnection, run_id: str) -> RunFacts:
    """Return all that is kept beside a run; nothing if there is none.

    Args:
        connection: An open transaction.
        run_id: Which run.
    """
    tag, artifact = tables.tag, tables.run_artifact
    data, parent = tables.run_data, tables.run_parent
    artifacts = select(
        artifact.c.name, artifact.c.kind, artifact.c.sha256, artifact.c.size_bytes
    ).order_by(artifact.c.name)
    data_rows = select(data.c.role, data.c.about, data.c.sha256).order_by(data.c.role)
    parents = select(
        parent.c.relation, parent.c.parent_run_id.label("run_id"), parent.c.checkpoint_sha256
    ).order_by(parent.c.relation, parent.c.parent_run_id, parent.c.checkpoint_sha256)
    mine = {table.name: table.c.run_id == run_id for table in (tag, artifact, data, parent)}
    tags = select(tag.c.name).where(mine["tag"]).order_by(tag.c.name)

    async def rows(query: Any, table: Table) -> list[dict[str, Any]]:
        found = await connection.execute(query.where(mine[table.name]))
        return [dict(row) for row in found.mappings()]

    return RunFacts(
        tags=tuple(await connection.scalars(tags)),
        artifacts=tuple(RunArtifact(**row) for row in await rows(artifacts, artifact)),
        data=tuple(RunData(**row) for row in await rows(data_rows, data)),
        parents=tuple(
            RunParent(**{**row, "relation": Relation(row["relation"])})
            for row in await rows(parents, parent)
        ),
    )


async def _insert(
    connection: AsyncConnection, table: Table, run_id: str, rows: list[dict[str, Any]]
) -> None:
    if rows:
        lines = [{"run_id": run_id, **row} for row in rows]
        await connection.execute(insert(table).on_conflict_do_nothing(), lines)
