"""What a storm will do, from its seed alone: which jobs, and which blows against whom and when."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.chaos.storm_worker import LEASE_SECONDS


@dataclass(frozen=True, kw_only=True)
class Storm:
    """How bad it gets."""

    seconds: float = 180.0
    jobs: int = 2000
    workers: int = 4
    database: str = "sqlite"
    without_fence: bool = False
    seed: int = 1
    fault_rate: float = 0.02
    """Of the workers' writes, so many fail whole, and as many are committed but reported lost."""


@dataclass(frozen=True, kw_only=True)
class Blow:
    """One thing done to the system."""

    at: float
    kind: str
    victim: int
    """Counts through those that are there then."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Task:
    """One job to submit."""

    at: float
    kind: str
    spec: dict
    needs: tuple[int, ...]
    """Numbers of earlier tasks."""
    condition: str
    cancelled_after: float | None


BLOWS = {
    "kill worker": 8,
    "freeze worker": 6,
    "kill child": 3,
    "freeze child": 2,
    "restart database": 2,
}


def plan_blows(storm):
    """The blows, in order of time; none in the last moments, which are for picking up."""
    chance = random.Random(f"{storm.seed}:blows")
    weights = dict(BLOWS)
    if storm.database == "sqlite":
        del weights["restart database"]
    blows, at = [], 1.0
    while at < storm.seconds - 2:
        kind = chance.choices(list(weights), list(weights.values()))[0]
        seconds = chance.uniform(1.3, 1.8) * LEASE_SECONDS
        if kind == "restart database":
            seconds = chance.uniform(0, 2)
        blows.append(Blow(at=at, kind=kind, victim=chance.randrange(1000), seconds=seconds))
        at += chance.uniform(0.8, 2.4)
    return blows


def plan_tasks(storm):
    """The jobs, spread over most of the time; a tenth need others, a twentieth is cancelled."""
    chance = random.Random(f"{storm.seed}:tasks")
    tasks = []
    for number in range(storm.jobs):
        kind = chance.choices(["thread", "solo", "stepwise"], [80, 8, 12])[0]
        needs = ()
        if number > 10 and kind != "stepwise" and chance.random() < 0.12:
            needs = tuple(sorted(chance.sample(range(number - 10, number), 2)))
        spec = {"n": number, "seconds": chance.choice([0.0, 0.05, 0.2, 0.8])}
        spec["needs"] = [f"n{one}" for one in needs]
        if kind == "stepwise":
            spec |= {"steps": chance.randint(2, 6), "seconds": chance.choice([0.05, 0.3])}
        tasks.append(
            Task(
                at=0.9 * storm.seconds * number / storm.jobs,
                kind=kind,
                spec=spec,
                needs=needs,
                condition=chance.choice(["succeeded", "finished"]),
                cancelled_after=chance.uniform(0, 1.5) if chance.random() < 0.05 else None,
            )
        )
    return tasks
