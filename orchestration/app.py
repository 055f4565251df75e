"""The composition root: the only place that builds engines, stores, registries and endpoints."""

from __future__ import annotations

import contextlib
import ipaddress
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio

from ai_agents.registry import AgentRegistry
from orchestration import tasks
from orchestration.delegation.blackboard import Blackboard
from orchestration.delegation.decision_log import DecisionLog
from orchestration.endpoints.metrics import JobMetrics
from orchestration.endpoints.store_metrics import StoreMetrics
from orchestration.environment_sessions import EnvironmentSessions
from orchestration.executors.binding import TaskBinding
from orchestration.executors.places import SharedPlaces
from orchestration.executors.process import ProcessExecutor
from orchestration.executors.ray_executor import RayConfig, RayExecutor
from orchestration.executors.supervisor import AttemptConfig
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.jobs import Resources
from orchestration.orchestrator import Orchestrator, Parts
from orchestration.pipelines import promoting
from orchestration.pipelines.automation import Automation
from orchestration.pipelines.kinds import Surroundings
from orchestration.pipelines.submission import PipelineDesk
from orchestration.rollout.canary import Canary
from orchestration.rollout.desk import RolloutDesk
from orchestration.rollout.plan_store import SqlPlans
from orchestration.rollout.routing import VersionRouter
from orchestration.rollout.second_answers import SecondAnswers
from orchestration.scheduler.scheduler import Scheduler
from orchestration.scheduler.schedules import SqlSchedules
from orchestration.stores.registry_store import SqlRegistryStore
from orchestration.webhooks.courier import Courier
from orchestration.webhooks.hosts import HostRules, hosts_of_environment
from orchestration.webhooks.sending import Sender
from orchestration.worker import Worker, WorkerConfig
from rl.monitoring.rollout_metrics import RolloutMetrics
from rl.monitoring.serving_metrics import ServingMetrics
from rl.monitoring.training_metrics import TrainingMetrics
from rl.training.training_events import MetricsExporter, TrainingEvents
from utils.clock import Clock, SystemClock
from utils.errors import ConfigError
from utils.observability import make_registry
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.engine import Database, open_database
from utils.persistence.http_artifact_store import open_artifact_store

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where one process keeps its state and listens."""

    var: Path = Path("var")
    """Folder of everything that is generated: database, artifacts, runs."""
    database: str | None = None
    """URL of the database; a SQLite file in `var` if absent."""
    host: str = "127.0.0.1"
    port: int = 8321
    """0 takes any free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that callers use for this server, beside `host` and those of this machine."""
    calls_per_second: float | None = None
    """Decisions that each caller may ask agents for, a second on average; None counts nothing."""
    attempt: AttemptConfig = field(default_factory=AttemptConfig)
    """How training children are watched."""
    parallel_jobs: int = 1
    """How many jobs this process carries at once, if it carries any."""
    capacity: Resources | None = None
    """What this process has for jobs that say what they need; None counts nothing."""
    webhook_hosts: tuple[str, ...] = field(default_factory=hosts_of_environment)
    """Where webhooks may go; see `orchestration.webhooks.hosts`."""
    artifacts: str | None = None
    """Where machines that share a database find artifacts and checkpoints: the URL of an API, or a
    folder that all of them reach; those in `var` if absent."""
    executor: Literal["process", "ray"] = "process"
    """Where attempts run."""
    ray: RayConfig = field(default_factory=RayConfig)
    """The cluster, for the executor of that name."""
    ray_var: Path | None = None
    """Folder for generated state on the cluster's nodes; the path of `var` if absent."""

    def __post_init__(self) -> None:
        """Refuse what cannot be listened on.

        Raises:
            ConfigError: The host is no address, nobody could name the server, or the port is none.
        """
        address = _address_of(self.host)
        if address is None:
            raise ConfigError(f"host={self.host}: write an IP address, or localhost")
        if address.is_unspecified and not self.allowed_hosts:
            raise ConfigError(
                f"host={self.host} listens on every address: say by which names callers reach it "
                "(allowed_hosts, --allow-host NAME)"
            )
        if not 0 <= self.port < 65_536:
            raise ConfigError(f"port={self.port}: choose 0 to 65535")
        if self.executor == "ray" and self.ray.address is not None and self.artifacts is None:
            raise ConfigError(
                "artifacts: nodes of a Ray cluster must find them, too; name the URL of an API "
                "that they reach, or a folder that all machines share"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        address = _address_of(self.host)
        return address is not None and address.is_loopback


@dataclass(frozen=True, kw_only=True)
class Application:
    """Everything that runs in one process, put together."""

    settings: Settings
    orchestrator: Orchestrator
    metrics: CollectorRegistry
    training_events: TrainingEvents
    """What the jobs of this process's worker report, for displays."""
    database: Database
    job_metrics: JobMetrics
    decision_log: DecisionLog
    second_answers: SecondAnswers
    worker: Worker | None
    sessions: EnvironmentSessions
    parts: Parts
    ledger: JobLedger

    async def run(self) -> None:
        """Do the work in the background until cancelled; running jobs are then saved and queued."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.job_metrics.run)
            group.start_soon(self.sessions.run)
            group.start_soon(self.decision_log.run)
            group.start_soon(self.parts.registry.run)
            group.start_soon(self.parts.router.run)
            group.start_soon(self.orchestrator.supervision.run)
            if self.worker is not None:
                group.start_soon(self.worker.run)
                group.start_soon(self.orchestrator.regret.run)
                group.start_soon(self.orchestrator.automation.run)


@contextlib.asynccontextmanager
async def open_application(
    settings: Settings, *, with_worker: bool, clock: Clock | None = None
) -> AsyncIterator[Application]:
    """Build an application; what it needs in the background runs in its `run`.

    Args:
        settings: Where it keeps its state.
        with_worker: Whether it carries jobs itself. Jobs of dead workers of this machine are taken
            over at once.
        clock: Tells the time.

    Raises:
        DatabaseError: The database cannot be used as it is.
    """
    database = await open_database(settings.database or settings.var / "quartermaster.sqlite")
    shared = _find_shared(settings, database)
    try:
        application, registry = _build(
            settings, database, clock or SystemClock(), with_worker=with_worker, shared=shared
        )
        try:
            yield application
        finally:
            application.second_answers.close()
            await application.orchestrator.supervision.aclose()
            await application.decision_log.aclose()
        await registry.aclose()
    finally:
        if shared is not None:
            shared.store.close()
        await database.aclose()


async def run_with(application: Application, work: Callable[[], Awaitable[T]]) -> T | None:
    """Work while the application runs in the background; both stop at SIGINT or SIGTERM.

    Args:
        application: Stopped when the work is done.
        work: Cancelled by a signal. A second Ctrl-C ends the process at once; a second SIGTERM does
            not, as the kernel sends one for every thread of a parent that was killed.

    Returns:
        What the work returned, or None if a signal came first.
    """
    returned: T | None = None
    failure: Exception | None = None

    async def foreground() -> None:
        nonlocal returned, failure
        try:
            returned = await work()
        except Exception as error:  # noqa: BLE001  raised again below, outside the group
            failure = error
        group.cancel_scope.cancel()

    async def stop_at(signals: AsyncIterator[signal.Signals]) -> None:
        await anext(signals)
        group.cancel_scope.cancel()

    with anyio.open_signal_receiver(signal.SIGTERM) as terminations:
        async with anyio.create_task_group() as group:
            with anyio.open_signal_receiver(signal.SIGINT) as interrupts:
                group.start_soon(application.run)
                group.start_soon(foreground)
                group.start_soon(stop_at, aiter(terminations))
                await stop_at(aiter(interrupts))
    if failure is not None:
        raise failure
    return returned


def _build(
    settings: Settings,
    database: Database,
    clock: Clock,
    *,
    with_worker: bool,
    shared: SharedPlaces | None,
) -> tuple[Application, AgentRegistry]:
    metrics = make_registry()
    StoreMetrics(metrics, database)
    events = TrainingEvents()
    events.subscribe(MetricsExporter(TrainingMetrics(metrics), clock))
    observer = tasks.RunStateObserver(clock, events=events)
    ledger = JobLedger(database, clock, observer=observer, trusts_server_clock=True)
    local = DirectoryArtifactStore(settings.var / "artifacts")
    artifacts = local if shared is None else shared.store
    registry_store = SqlRegistryStore(database, artifacts, clock)
    registry = AgentRegistry(registry_store, clock=clock)
    executor = ProcessExecutor(preload=["torch", "numpy"])
    worker = (
        _make_worker(settings, ledger, events, executor=executor, shared=shared)
        if with_worker
        else None
    )
    store, wake = SqlJobStore(ledger), _do_nothing if worker is None else worker.wake
    serving_metrics = ServingMetrics(metrics)
    decision_log = DecisionLog(database, clock, serving_metrics)
    rollout_metrics = RolloutMetrics(metrics)
    canary = Canary(SqlPlans(database, clock), clock, rollout_metrics)
    second = SecondAnswers(registry, canary, database, clock=clock, metrics=rollout_metrics)
    parts = Parts(
        database=database,
        store=store,
        registry=registry,
        registry_store=registry_store,
        serving_metrics=serving_metrics,
        decision_log=decision_log,
        router=VersionRouter(registry, canary, second),
        rollout=RolloutDesk(database, registry, registry_store, canary, clock=clock),
        blackboard=Blackboard(database, clock),
        clock=clock,
        output_dir=settings.var,
        wake=wake,
        automation=_make_automation(settings, ledger, store, wake),
    )
    application = Application(
        settings=settings,
        orchestrator=Orchestrator(parts),
        metrics=metrics,
        training_events=events,
        database=database,
        job_metrics=JobMetrics(metrics, database, clock),
        decision_log=decision_log,
        second_answers=second,
        worker=worker,
        sessions=EnvironmentSessions(executor, clock, work_root=settings.var / "sessions"),
        parts=parts,
        ledger=ledger,
    )
    return application, registry


def _make_automation(
    settings: Settings, ledger: JobLedger, store: SqlJobStore, wake: Callable[[], None]
) -> Automation:
    database, clock = ledger.database, ledger.clock
    surroundings = Surroundings(output_dir=settings.var, clock=clock)
    pipelines = PipelineDesk(database, store, surroundings, wake=wake)
    return Automation(
        pipelines=pipelines,
        schedules=SqlSchedules(database, clock),
        scheduler=Scheduler(ledger, pipelines, wake=wake),
        courier=Courier(database, Sender(HostRules(settings.webhook_hosts), clock), clock),
    )


def make_kinds(clock: Clock, events: TrainingEvents | None = None) -> dict[str, TaskBinding]:
    """Return all kinds of jobs of this program, by name.

    Args:
        clock: Tells when reports came.
        events: Hears of each report.
    """
    return tasks.make_registry(clock, events=events) | promoting.make_registry(clock)


def _find_shared(settings: Settings, database: Database) -> SharedPlaces | None:
    """Return where files lie for all machines; None while this one is alone."""
    is_ray = settings.executor == "ray"
    if settings.artifacts is None and not database.is_server and not is_ray:
        return None
    kept = settings.var.absolute() / "artifacts"
    location = settings.artifacts or str(kept)
    var = settings.ray_var if is_ray and settings.ray_var is not None else settings.var
    store = open_artifact_store(location, kept)
    return SharedPlaces(var=str(var.absolute()), artifacts=location, store=store)


def _make_worker(
    settings: Settings,
    ledger: JobLedger,
    events: TrainingEvents,
    *,
    executor: ProcessExecutor,
    shared: SharedPlaces | None,
) -> Worker:
    return Worker(
        ledger,
        RayExecutor(settings.ray) if settings.executor == "ray" else executor,
        make_kinds(ledger.clock, events),
        work_root=settings.var / "work",
        config=WorkerConfig(
            parallel_jobs=settings.parallel_jobs,
            capacity=settings.capacity,
            attempt=settings.attempt,
        ),
        shared=shared,
    )


def _address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


def _do_nothing() -> None:
    """No worker of this process waits for jobs."""
