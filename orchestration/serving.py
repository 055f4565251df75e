"""The server: the application behind its HTTP doors. Other commands do without what it loads."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import partial

import anyio

from orchestration.app import Application, Settings, make_kinds, open_application, run_with
from orchestration.care.pruning import KEPT_DAYS, check_days, prune_daily
from orchestration.endpoints.callers import Callers
from orchestration.endpoints.late_doors import LateDoors
from orchestration.endpoints.outbox import Outbox
from orchestration.endpoints.parts import ApiParts
from orchestration.endpoints.reception import Reception, ReceptionConfig
from orchestration.endpoints.rest import ApiServer, make_api
from orchestration.endpoints.streams import Streams
from utils.errors import ConfigError, QuartermasterError
from utils.logs import get_logger
from utils.persistence.access_tokens import has_tokens
from utils.persistence.artifact_store import DirectoryArtifactStore

SWITCH_SECONDS = 0.0005
"""So long a thread that only computes may keep the event loop waiting, each time that it waits."""
logger = get_logger(__name__)


async def serve(
    settings: Settings, *, announce: Callable[[str], None], record_days: float = KEPT_DAYS
) -> None:
    """Serve API and metrics and carry jobs, until SIGINT or SIGTERM.

    Args:
        settings: Where to listen and keep state.
        announce: Told the address once connections are accepted.
        record_days: How long records of what is over are kept.

    Raises:
        ConfigError: The port is taken, or the number of days is none.
        DatabaseError: The database cannot be used as it is.
    """
    check_days(record_days)
    sys.setswitchinterval(SWITCH_SECONDS)
    async with open_application(settings, with_worker=True) as application:
        await _check_access(application)
        parts = make_api_parts(application)
        server = ApiServer(
            make_api(parts), host=settings.host, port=settings.port, on_stop=parts.stop
        )
        prune = partial(prune_daily, parts.database, parts.clock, days=record_days)

        async def work() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(prune)
                await server.run()

        await _warm_up(application)
        announce(server.url)
        await run_with(application, work)


async def serve_stdio(settings: Settings) -> None:
    """Serve agents as MCP tools on standard input and output, until the input ends.

    Args:
        settings: Where state is kept.

    Raises:
        DatabaseError: The database cannot be used as it is.
    """
    async with open_application(settings, with_worker=False) as application:
        parts = application.parts
        reception = Reception(application.orchestrator, parts.clock)
        door = await LateDoors(parts.registry, reception, parts.clock).load_mcp()
        await run_with(application, door.run_stdio)


def make_api_parts(application: Application, streams: Streams | None = None) -> ApiParts:
    """Return what the HTTP API needs of an application.

    Args:
        application: Behind its doors.
        streams: How it streams events.
    """
    parts, settings = application.parts, application.settings
    pace = ReceptionConfig(calls_per_second=settings.calls_per_second)
    reception = Reception(application.orchestrator, parts.clock, pace)
    return ApiParts(
        orchestrator=application.orchestrator,
        reception=reception,
        late=LateDoors(parts.registry, reception, parts.clock),
        metrics=application.metrics,
        database=application.database,
        callers=Callers(application.database, parts.clock, is_open=settings.is_local),
        store=parts.store,
        ledger=application.ledger,
        outbox=Outbox(parts.store, application.database, parts.clock),
        artifacts=DirectoryArtifactStore(settings.var / "artifacts"),
        kinds=make_kinds(parts.clock),
        output_dir=parts.output_dir,
        sessions=application.sessions,
        streams=streams or Streams(parts.clock),
        clock=parts.clock,
        wake=parts.wake,
        allowed_hosts=(*settings.allowed_hosts, settings.host),
    )


async def _warm_up(application: Application) -> None:
    """Set all champions up, so that nobody waits for it; a bad one is left to who asks for it."""
    parts = application.parts
    for name in await parts.registry_store.list_agents():
        try:
            await parts.registry.resolve(name)
        except QuartermasterError as error:
            logger.warning("agent_not_ready", agent=name, reason=str(error))
    gc.collect()
    gc.freeze()  # what is loaded by now stays: a full collection need not look at it again


async def _check_access(application: Application) -> None:
    if application.settings.is_local:
        return
    async with application.database.read() as connection:
        if not await has_tokens(connection):
            raise ConfigError(
                f"host={application.settings.host}: others can reach it, and there is no token: "
                "make one first (`python -m orchestration tokens create NAME --scope admin`), or "
                "listen on 127.0.0.1"
            )
