"""What jobs ought to do, written down a second time: plain records, no code of the engine.

The state machine in test_state_machine.py drives it beside the real store.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WAITING = {"queued", "retry_wait"}
LIVE = {"leased", "running", "cancelling"}
ENDED = {"succeeded", "failed", "cancelled", "timed_out", "dead"}
LEASE = 30


@dataclass(kw_only=True)
class ModelJob:
    """One job; times are seconds since the beginning."""

    id: str
    priority: int
    run_at: float
    wait: float | None
    max_attempts: int
    max_lost: int
    key: str | None
    needs: list[tuple[str, str]]
    state: str = "queued"
    desired: str = "run"
    attempt: int = 0
    lost: int = 0
    fence: int = 0
    owner: str | None = None
    until: float | None = None
    expires: float | None = None
    endings: int = 0

    def facts(self):
        return (
            self.state, self.desired, self.attempt, self.lost, self.fence, self.owner, self.until,
            self.run_at, self.expires,
        )  # fmt: skip


class Refused(Exception):
    """The lease is somebody else's."""


@dataclass(kw_only=True)
class Model:
    """All jobs, and the time."""

    now: float = 0.0
    jobs: dict[str, ModelJob] = field(default_factory=dict)

    def known(self, key):
        """The unfinished job of a dedupe key."""
        found = [job for job in self.jobs.values() if job.key == key and job.state not in ENDED]
        return found[0] if key is not None and found else None

    def add(self, job):
        self.jobs[job.id] = job
        job.run_at = max(job.run_at, self.now)
        if job.needs:
            job.state = "pending"
            self._judge(job)
        else:
            self._wait(job, "queued", job.run_at)

    def claim(self, worker, most, *, runs):
        due = [
            job
            for job in self.jobs.values()
            if job.state in WAITING
            and job.run_at <= self.now
            and (job.expires is None or job.expires > self.now)
        ]
        due.sort(key=lambda job: (-job.priority, job.run_at, job.id))
        for job in due[:most]:
            job.state = "running" if runs else "leased"
            job.attempt += 1
            job.fence += 1
            job.owner, job.until, job.expires = worker, self.now + LEASE, None
        return [(job.id, job.fence) for job in due[:most]]

    def owned(self, token):
        job = self.jobs[token[0]]
        if job.fence != token[1] or job.state not in LIVE:
            raise Refused
        return job

    def start(self, token):
        job = self.owned(token)
        if job.state == "leased":
            job.state = "running"

    def renew(self, token):
        self.owned(token).until = self.now + LEASE

    def complete(self, token):
        self._end(self.owned(token), "succeeded")

    def release(self, token):
        job = self.owned(token)
        if job.desired == "cancel":
            self._end(job, "cancelled")
        else:
            job.attempt -= 1
            self._leave(job, "queued", self.now)

    def fail(self, token, *, is_final):
        job = self.owned(token)
        if job.desired == "cancel":
            self._end(job, "cancelled")
        elif is_final:
            self._end(job, "failed")
        elif job.attempt >= job.max_attempts:
            self._end(job, "dead")
        else:
            self._leave(job, "retry_wait", self.now + 2.0**job.attempt)

    def reap(self, dead):
        changed = []
        for job in list(self.jobs.values()):
            if job.state in LIVE and (job.until < self.now or job.owner in dead):
                self._lose(job)
                changed.append(job)
            elif job.state in WAITING and job.expires is not None and job.expires <= self.now:
                self._close(job, "timed_out")
                changed.append(job)
        for job in changed:
            self._cascade(job)
        return {job.id for job in changed}

    def request(self, job_id, desired):
        job = self.jobs[job_id]
        if job.state in ENDED or job.desired in {desired, "cancel"}:
            return
        job.desired = desired
        if job.state in LIVE:
            if desired == "cancel":
                job.state = "cancelling"
        elif desired == "cancel":
            self._end(job, "cancelled")
        elif job.state != "pending":
            if desired == "pause":
                job.state, job.expires = "paused", None
            else:
                self._wait(job, "queued", max(job.run_at, self.now))

    def _lose(self, job):
        job.attempt -= 1
        job.lost += 1
        if job.desired == "cancel":
            self._close(job, "cancelled")
        elif job.lost > job.max_lost:
            self._close(job, "dead")
        else:
            delay = 2.0 ** (job.lost - 1) if job.lost > 1 else 0
            self._leave(job, "retry_wait", self.now + delay)

    def _leave(self, job, state, run_at):
        job.owner = job.until = None
        if job.desired == "pause":
            job.state = "paused"
        else:
            self._wait(job, state, run_at)

    def _wait(self, job, state, run_at):
        job.state, job.run_at = state, run_at
        job.expires = None if job.wait is None else run_at + job.wait

    def _end(self, job, state):
        self._close(job, state)
        self._cascade(job)

    def _close(self, job, state):
        job.state, job.endings = state, job.endings + 1
        job.owner = job.until = job.expires = None

    def _cascade(self, ended):
        if ended.state in ENDED:
            for job in self.jobs.values():
                if job.state == "pending" and any(need == ended.id for need, _ in job.needs):
                    self._judge(job)

    def _judge(self, job):
        states = [(self.jobs[need].state, condition) for need, condition in job.needs]
        if any(state in ENDED - {"succeeded"} and how == "succeeded" for state, how in states):
            self._end(job, "cancelled")
        elif all(state in ENDED for state, _ in states):
            if job.desired == "pause":
                job.state = "paused"
            else:
                self._wait(job, "queued", max(job.run_at, self.now))
