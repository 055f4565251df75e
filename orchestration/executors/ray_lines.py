"""Parts of one task on the machines of a Ray cluster: an actor each, asked in bytes.

They belong to the process that started them and end with it. Ray restarts nothing: a part that is
gone ends the attempt, and the next attempt goes on from its checkpoint.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, cast

from orchestration.executors.ray_executor import RayConfig, join_cluster
from utils.errors import ConfigError, ProcessLostError

START_SECONDS = 120.0
"""How long actors may wait for free cores, and their nodes for imports."""


class Answers(Protocol):
    """What a target makes: answers questions, one after another."""

    def answer(self, question: bytes) -> bytes:
        """Return the answer to a question."""
        ...


class AnsweringActor:
    """Lives on a node; nothing in it imports ray."""

    def __init__(self, target: str) -> None:
        """Make the part.

        Args:
            target: `module:function`, called without arguments.
        """
        module, _, name = target.partition(":")
        self._part = cast("Answers", getattr(importlib.import_module(module), name)())

    def answer(self, question: bytes) -> bytes:
        """Pass a question on.

        Args:
            question: As it came.
        """
        return self._part.answer(question)


class RayLine:
    """The way to one actor; one question at a time."""

    def __init__(self, ray: Any, actor: Any, place: str) -> None:
        """Keep the actor.

        Args:
            ray: The module.
            actor: Started.
            place: Where it runs, for people.
        """
        self.place = place
        self._ray, self._actor = ray, actor
        self._answer: Any = None

    def send(self, question: bytes) -> None:
        """Begin to ask.

        Args:
            question: Understood by the actor's target.
        """
        self._answer = self._actor.answer.remote(question)

    def receive(self) -> bytes:
        """Wait for the answer.

        Raises:
            ProcessLostError: The actor or its node has died.
        """
        try:
            return cast("bytes", self._ray.get(self._answer))
        except self._ray.exceptions.RayError as error:
            raise ProcessLostError(f"{self.place} has died ({_first_line(error)})") from error

    def close(self) -> None:
        """Have Ray end the actor."""
        self._ray.kill(self._actor)


def open_ray_lines(
    devices: Sequence[str], *, target: str, config: RayConfig | None = None
) -> list[RayLine]:
    """Start an actor for each part, spread over the nodes; it has a core, and its accelerator.

    Args:
        devices: Of each part; one on `cuda` is given an accelerator of its own.
        target: What runs in each, `module:function`; makes something that answers.
        config: Which cluster, unless this process is in one.

    Raises:
        ConfigError: Ray is not installed, the cluster cannot be joined, or the program is not on
            its nodes.
        ProcessLostError: The cluster had no room for all parts in time, or a node died.
    """
    ray = join_cluster(config or RayConfig())
    remote = ray.remote(AnsweringActor)
    actors = [
        remote.options(
            max_restarts=0,
            max_task_retries=0,
            num_cpus=1,
            num_gpus=1 if device.startswith("cuda") else 0,
            scheduling_strategy="SPREAD",
        ).remote(target)
        for device in devices
    ]
    try:
        ready = [actor.__ray_ready__.remote() for actor in actors]
        begun, waiting = ray.wait(ready, num_returns=len(ready), timeout=START_SECONDS)
        ray.get(begun)
    except ray.exceptions.RayActorError as error:
        _end(ray, actors)
        if getattr(error, "actor_init_failed", False):
            raise ConfigError(
                f"{target} cannot be started on a node of the cluster: see that this program, of "
                f"the same version, can be imported on every node. {error}"
            ) from error
        raise ProcessLostError(f"an actor died at its start ({_first_line(error)})") from error
    if waiting:
        _end(ray, actors)
        raise ProcessLostError(
            f"the cluster had no free cores or accelerators for {len(waiting)} of {len(devices)} "
            f"parts within {START_SECONDS:.0f} s: add nodes, or ask for fewer parts"
        )
    return [RayLine(ray, actor, f"actor {actor._actor_id.hex()[:12]}") for actor in actors]  # noqa: SLF001


def _end(ray: Any, actors: Sequence[Any]) -> None:
    for actor in actors:
        ray.kill(actor)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
