"""Attempts on the machines of a Ray cluster: one detached actor each, found again by its name.

Ray starts nothing again by itself: our own state machine owns retries. The cluster holds no truth,
either: an actor that is gone is a lost attempt, which resumes from its committed checkpoint.
"""

from __future__ import annotations

import importlib
import json
import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import anyio
import anyio.to_thread

from orchestration.executors.child import ChildOrder
from orchestration.executors.frames import FrameDecoder
from orchestration.executors.ray_actor import KILLED_EXIT_CODE, AttemptActor
from utils.errors import ConfigError
from utils.logs import get_logger

CALL_SECONDS = 15.0
"""How long an actor may take to answer before it counts as hung."""
PAUSE_SECONDS = 0.5
logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """Which cluster, and how its attempts behave."""

    address: str | None = None
    """`HOST:PORT` of a running cluster, or "auto"; None starts one on this machine, which ends
    with this process."""
    namespace: str = "quartermaster"
    """Installations that share a cluster need one each."""
    orphan_seconds: float = 60.0
    """An actor that no supervisor has asked for so long saves its work and ends; longer than a
    lease, or nobody can take it over."""

    def __post_init__(self) -> None:
        if self.orphan_seconds <= 0:
            raise ConfigError(f"orphan_seconds={self.orphan_seconds}: choose more than 0")
        if not self.namespace:
            raise ConfigError("namespace: must not be empty")
        if self.address not in {None, "auto"} and not _is_host_and_port(self.address):
            raise ConfigError(f'address={self.address!r}: write HOST:PORT of the head, or "auto"')


class RayExecutor:
    """Starts each attempt as an actor; the cluster is met at the first start."""

    def __init__(self, config: RayConfig | None = None) -> None:
        """Remember where; nothing is imported or started yet.

        Args:
            config: Which cluster.
        """
        self._config = config or RayConfig()
        self._ray: Any = None
        self._connecting = anyio.Lock()

    async def start(self, order: ChildOrder) -> RayChild:
        """Start one attempt, or take over the job's actor if one of a former supervisor lives.

        Args:
            order: What it shall do.

        Raises:
            ConfigError: Ray is not installed, or the cluster cannot be joined.
        """
        await self._connect()
        for handle in await self._find_former(order):
            child = await self.reattach(handle, fence=order.fence)
            if child is not None:
                logger.info("actor_taken_over", actor=json.loads(handle)["actor"])
                return child
        return await self._start_new(order)

    async def reattach(self, handle: str, *, fence: int) -> RayChild | None:
        """Go on listening to a running attempt; None if it is gone or another one listens.

        Args:
            handle: Of a `RayChild`.
            fence: Of the lease that the listener has now; from now on lower ones are refused.

        Raises:
            ConfigError: Ray is not installed, or the cluster cannot be joined.
        """
        await self._connect()
        named = json.loads(handle)
        try:
            actor = await anyio.to_thread.run_sync(
                self._ray.get_actor, named["actor"], named["namespace"]
            )
        except ValueError:  # no actor of this name
            return None
        child = RayChild(self._ray, actor, handle, fence=fence)
        return child if await child.attach() else None

    async def _start_new(self, order: ChildOrder) -> RayChild:
        name = _name(order)
        if order.var is not None:  # the nodes have their own folders
            order = replace(order, work_folder=f"{order.var}/work/{order.job_id}")
        resources = order.resources
        options = {
            "name": name,
            "namespace": self._config.namespace,
            "lifetime": "detached",
            "get_if_exists": False,
            "max_restarts": 0,
            "max_task_retries": 0,
            "max_concurrency": 4,
            "num_cpus": resources.get("cpu_milli", 0) / 1000 or 1,  # it computes in any case
            "num_gpus": resources.get("gpu_milli", 0) / 1000,
            "memory": resources.get("memory_mb", 0) << 20 or None,
        }

        def create() -> Any:
            actor_class = self._ray.remote(AttemptActor).options(**options)
            return actor_class.remote(order.to_json(), self._config.orphan_seconds)

        actor = await anyio.to_thread.run_sync(create)
        handle = json.dumps({"actor": name, "namespace": self._config.namespace})
        return RayChild(self._ray, actor, handle, fence=order.fence)

    async def _find_former(self, order: ChildOrder) -> list[str]:
        """Return the handles of the job's living actors, the youngest first."""
        names = await anyio.to_thread.run_sync(self._ray.util.list_named_actors)
        prefix = f"job-{order.job_id}-"
        fences = [int(name.removeprefix(prefix)) for name in names if name.startswith(prefix)]
        namespace = self._config.namespace
        return [
            json.dumps({"actor": f"{prefix}{fence}", "namespace": namespace})
            for fence in sorted(fences, reverse=True)
            if fence < order.fence
        ]

    async def _connect(self) -> None:
        async with self._connecting:
            if self._ray is None:
                self._ray = await anyio.to_thread.run_sync(join_cluster, self._config)


class RayChild:
    """One actor and the conversation with it."""

    def __init__(self, ray: Any, actor: Any, handle: str, *, fence: int) -> None:
        """Talk to an actor that exists or is being made.

        Args:
            ray: The module.
            actor: Its handle for Ray.
            handle: What `RayExecutor.reattach` takes, JSON.
            fence: Of the lease under which we listen.
        """
        self.handle = handle
        self._ray = ray
        self._actor = actor
        self._fence = fence
        self._offset = 0
        self._decoder = FrameDecoder()
        self._frames: deque[dict[str, Any]] = deque()
        self._has_hung_up = False
        self._has_concluded = False
        self._is_former = False
        self._sending = anyio.Lock()

    async def attach(self) -> bool:
        """Take the attempt over from another listener; False if that cannot be."""
        opening = None
        with anyio.move_on_after(CALL_SECONDS):
            try:
                opening = await self._actor.attach.remote(self._fence)
            except self._ray.exceptions.RayError:
                return False
        if opening is None:
            return False
        if opening["hello"] is not None:
            self._frames.append(opening["hello"])
        self._offset = opening["offset"]
        self._decoder = FrameDecoder(after=opening["after"])
        return True

    async def receive(self) -> dict[str, Any] | None:
        """Return the next frame, or None once the child has hung up.

        An actor that ended without a word is told of by a frame of ours.

        Raises:
            FrameError: The child sent something else.
        """
        while not self._frames and not self._has_hung_up:
            try:
                answer = await self._actor.read.remote(self._fence, self._offset)
            except self._ray.exceptions.ActorUnavailableError:
                await anyio.sleep(PAUSE_SECONDS)
                continue
            except self._ray.exceptions.RayError as error:
                self._has_hung_up = True
                if not self._has_concluded:
                    return _obituary(error)
                break
            if answer is None:
                self._is_former = self._has_hung_up = True
                break
            piece, self._has_hung_up = answer
            self._offset += len(piece)
            self._frames.extend(self._decoder.feed(piece))
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._has_concluded = frame["type"] in {"result", "error"}
        return frame

    async def send(self, type_: str, fields: Mapping[str, Any]) -> None:
        """Send a frame; nothing happens if the child has hung up or is another's.

        Args:
            type_: What it says.
            fields: Plain JSON.
        """
        async with self._sending:
            with anyio.move_on_after(CALL_SECONDS):
                await self._send(type_, dict(fields))

    async def _send(self, type_: str, fields: dict[str, Any]) -> None:
        while True:
            try:
                was_heard = await self._actor.write.remote(self._fence, type_, fields)
            except self._ray.exceptions.ActorUnavailableError:
                await anyio.sleep(PAUSE_SECONDS)
            except self._ray.exceptions.RayError:
                return
            else:
                self._is_former = self._is_former or not was_heard
                return

    async def wait(self) -> int:
        """Wait for the end and return an exit code; a child that has hung up ends by this."""
        while not self._has_hung_up:
            if await self.receive() is None:
                break
        await self._end()
        return 0 if self._has_concluded else KILLED_EXIT_CODE

    def kill(self) -> None:
        """End the actor now, unless it is another's by now."""
        if not self._is_former:
            self._actor.kill.remote(self._fence)

    async def aclose(self) -> None:
        """Kill what is left; an actor that another supervisor has taken over goes on."""
        await self._end()

    async def _end(self) -> None:
        """Have Ray end the actor, unless it is another's; one that is hung does not answer."""
        may_end = not self._is_former
        with anyio.move_on_after(CALL_SECONDS if may_end else 0):
            try:
                may_end = await self._actor.end.remote(self._fence)
            except self._ray.exceptions.RayError:  # it is gone already
                may_end = False
        if may_end:
            await anyio.to_thread.run_sync(self._ray.kill, self._actor)
        self._is_former = True


def _is_host_and_port(address: str | None) -> bool:
    host, _, port = (address or "").rpartition(":")
    return bool(host) and "/" not in host and port.isdecimal() and int(port) < 65_536


def _name(order: ChildOrder) -> str:
    return f"job-{order.job_id}-{order.fence}"


def _obituary(error: Exception) -> dict[str, Any]:
    """Return the frame that a dead child did not send."""
    reason = str(error)
    error_class, advice = "crashed", ""
    if getattr(error, "actor_init_failed", False):
        error_class = "config"
        advice = "See that this program, of the same version, can be imported on every node. "
    elif "node has died" in reason or "node was" in reason:
        error_class = "lost"
    return {
        "type": "error",
        "class": error_class,
        "message": f"the actor ended without a result. {advice}{reason}",
    }


def join_cluster(config: RayConfig) -> Any:
    """Import ray and join the cluster, or start one; a process that is in one stays there.

    Args:
        config: Which cluster.

    Returns:
        The module.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be joined.
    """
    try:
        ray = importlib.import_module("ray")
        exceptions = importlib.import_module("ray.exceptions")
    except ImportError as error:
        raise ConfigError(
            f"ray cannot be imported ({error}): pip install -r requirements-ray.txt"
        ) from error
    if ray.is_initialized():  # a process can be in one cluster only
        return ray
    where = config.address or "local"
    options = {"include_dashboard": False} if config.address is None else {}
    try:
        if _is_host_and_port(config.address):
            _knock(where)
        ray.init(
            address=where,
            namespace=config.namespace,
            log_to_driver=False,
            configure_logging=False,
            **options,
        )
    except (exceptions.AuthenticationError, exceptions.RayError, OSError) as error:
        raise ConfigError(
            f"the Ray cluster at {where} cannot be joined ({error}): see that it runs there, and "
            "that its token is here in RAY_AUTH_TOKEN or ~/.ray/auth_token (`ray get-auth-token` "
            "on the head node shows it)"
        ) from error
    return ray


def _knock(address: str) -> None:
    """Fail soon where nobody listens; Ray tries for minutes, then ends the process."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=5).close()
