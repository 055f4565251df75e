"""What a storm left behind, read from the database and the files once all is quiet."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select, text

from orchestration.jobs import TERMINAL, Condition, JobState
from tests.chaos.storm_worker import LEASE_SECONDS, effect
from utils.persistence import jobs as tables
from utils.persistence.files import hash_file

ENDS = {f"job_{state.value}" for state in TERMINAL}
ALLOWED_SECONDS = LEASE_SECONDS + 2


@dataclass(kw_only=True)
class Findings:
    """Everything that the bar asks for; each list names offenders and ought to be empty."""

    states: Counter = field(default_factory=Counter)
    outcomes: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """What is wrong apart from duplicates."""
    duplicates: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the kill of a worker until each of its jobs was taken back."""

    def table(self):
        """The summary, one fact a line."""
        slow = max(self.recoveries, default=0.0)
        middle = statistics.median(self.recoveries) if self.recoveries else 0.0
        lines = [
            ("jobs by state", _counts(self.states)),
            ("attempts by outcome", _counts(self.outcomes)),
            ("duplicate effects", len(self.duplicates)),
            ("other faults", len(self.faults)),
            ("jobs taken from killed workers", len(self.recoveries)),
            ("recovery, median and worst", f"{middle:.2f} s, {slow:.2f} s"),
            ("recovery allowed", f"{ALLOWED_SECONDS:.1f} s"),
        ]
        return "\n".join(f"  {name:32} {value}" for name, value in lines)


def _counts(counter):
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items()))


async def find(database, *, effects, submitted, cancelled, kills, outages):
    """Examine everything.

    `submitted` has job ids by number; `cancelled` ids whose cancel was asked for; `kills` are
    (worker's pid, time) pairs; `outages` (begin, end) pairs of the database.
    """
    async with database.read() as connection:

        async def load(table):
            return (await connection.execute(select(table))).all()

        jobs = {row.id: row for row in await load(tables.job)}
        needs, attempts = await load(tables.job_need), await load(tables.attempt)
        events = sorted(await load(tables.event), key=lambda row: row.seq)
        rows, workers = await load(effect), await load(tables.worker)
        checkpoints = await load(tables.checkpoint)
        intact = "ok"
        if not database.is_server:
            intact = await connection.scalar(text("PRAGMA integrity_check"))
            strays = (await connection.execute(text("PRAGMA foreign_key_check"))).all()
            intact = intact if not strays else f"{len(strays)} rows without their parents"
    findings = Findings(
        states=Counter(row.state for row in jobs.values()),
        outcomes=Counter(str(row.outcome) for row in attempts),
    )
    faults = findings.faults
    if intact != "ok":
        faults.append(f"the database: {intact}")
    faults += [f"submitted and gone: {id_}" for id_ in submitted.values() if id_ not in jobs]
    faults += _wrong_ends(jobs, needs, cancelled)
    _judge_events(findings, jobs, events)
    _judge_effects(findings, jobs, rows, effects)
    faults += _wrong_attempts(jobs, attempts)
    faults += _torn_checkpoints(checkpoints)
    findings.recoveries = _recoveries(workers, attempts, kills, outages)
    slow = [seconds for seconds in findings.recoveries if seconds > ALLOWED_SECONDS]
    faults += [f"a job was taken back only after {seconds:.2f} s" for seconds in slow]
    return findings


def _wrong_ends(jobs, needs, cancelled):
    broken = {
        need.job_id
        for need in needs
        if need.condition == Condition.SUCCEEDED.value
        and jobs[need.needs_job_id].state != JobState.SUCCEEDED.value
    }
    for id_, row in jobs.items():
        excused = id_ in cancelled or id_ in broken
        if row.state == "succeeded" or (row.state == "cancelled" and excused):
            continue
        yield f"lost: job {id_} ({row.kind}) is {row.state}: {row.error_class}: {row.error}"


def _judge_events(findings, jobs, events):
    ends, ended_at = Counter(), {}
    for event in events:
        if event.type in ENDS:
            ends[event.job_id] += 1
            ended_at.setdefault(event.job_id, event.seq)
        elif event.job_id in ended_at:
            findings.duplicates.append(f"{event.type} of job {event.job_id} after its end")
    for id_ in jobs:
        if ends[id_] > 1:
            findings.duplicates.append(f"job {id_} ended {ends[id_]} times")
        elif ends[id_] < 1:
            findings.faults.append(f"job {id_} never ended")
    steps = Counter(
        (event.job_id, event.payload["step"])
        for event in events
        if event.type == "checkpoint_committed"
    )
    findings.duplicates += [
        f"step {key} was committed {n} times" for key, n in steps.items() if n > 1
    ]


def _judge_effects(findings, jobs, rows, effects):
    inside = Counter(row.job_id for row in rows)
    fences = {row.job_id: row.fence for row in rows}
    lines = effects.read_text().splitlines() if effects.exists() else []
    outside = Counter(line.split()[0] for line in lines)
    for name, counter in (("inside", inside), ("outside", outside)):
        findings.duplicates += [
            f"{n} effects {name} of job {id_}" for id_, n in counter.items() if n > 1
        ]
    for id_, job in jobs.items():
        wanted = int(job.state == "succeeded")
        if inside[id_] < wanted or outside[id_] < wanted:
            findings.faults.append(f"job {id_} succeeded without its effect")
        if inside[id_] and not wanted:
            findings.duplicates.append(f"job {id_} is {job.state} and left an effect")
        if wanted and id_ in fences and fences[id_] != job.fence:
            findings.duplicates.append(f"the effect of job {id_} is of an old attempt")


def _wrong_attempts(jobs, attempts):
    fences = {}
    for row in attempts:
        fences.setdefault(row.job_id, []).append(row.fence)
        if row.ended_at is None:
            yield f"attempt {row.fence} of job {row.job_id} never ended"
    for id_, job in jobs.items():
        if sorted(fences.get(id_, [])) != list(range(1, job.fence + 1)):
            yield f"job {id_}: fence {job.fence}, attempts {fences.get(id_)}"


def _torn_checkpoints(checkpoints):
    for row in checkpoints:
        if not Path(row.path).is_file() or hash_file(Path(row.path)) != row.sha256:
            yield f"checkpoint {row.path} of job {row.job_id} is not whole"


def _recoveries(workers, attempts, kills, outages):
    ids = {row.pid: row.id for row in workers}
    found = []
    for pid, at in kills:
        since = at
        for begin, end in sorted(outages):  # one may follow the other
            if begin < since + timedelta(seconds=ALLOWED_SECONDS) and end > since:
                since = end
        for row in attempts:
            was_open = row.ended_at is not None and row.started_at <= at < row.ended_at
            if was_open and row.worker_id == ids.get(pid):
                found.append(max((row.ended_at - since).total_seconds(), 0.0))
    return found
