"""Who makes room for a more urgent job: the least urgent ones, and only if that is enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.jobs import Job, Resources


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A job that a worker carries, and whether it is leaving already."""

    job: Job
    leaves: bool


def choose_victims(
    carried: Sequence[Carried], rival: Job, *, parallel_jobs: int, capacity: Resources | None
) -> list[Job]:
    """Return the jobs that must stop so that a more urgent one can start here.

    Args:
        carried: What the worker carries.
        rival: The more urgent job.
        parallel_jobs: How many jobs the worker carries at once.
        capacity: What it has for them; None counts nothing.

    Returns:
        Jobs of lower priority, least urgent first; none if the rival fits without, if jobs that
        leave already make enough room, or if stopping all of them would not help.
    """
    staying = [one.job for one in carried if not one.leaves]
    victims: list[Job] = []
    # Of equally urgent ones the youngest has least to lose.
    candidates = sorted(
        (job for job in staying if job.priority < rival.priority),
        key=lambda job: (-job.priority, job.id),
    )
    while not _fits(rival, staying, parallel_jobs, capacity):
        if not candidates:
            return []
        victims.append(candidates.pop())
        staying.remove(victims[-1])
    return victims


def _fits(
    rival: Job, staying: Sequence[Job], parallel_jobs: int, capacity: Resources | None
) -> bool:
    if len(staying) >= parallel_jobs:
        return False
    if capacity is None:
        return True
    used = rival.resources
    for job in staying:
        used = used.plus(job.resources)
    return used.fits_into(capacity)
