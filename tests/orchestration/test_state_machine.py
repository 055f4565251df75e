"""The store against an independent model: whatever happens in whatever order, both agree.

`--hypothesis-profile=chaos` runs 2,000 examples on the store in memory. Rules cannot be
coroutines, so each step drives an event loop by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import anyio
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestration.events import Completed, Started, Stopped
from orchestration.job_store.claims import Offer
from orchestration.job_store.group_writer import GroupWriter
from orchestration.job_store.leases import Lease, SqlLeases
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.job_store.submission import IdempotencyConflictError
from orchestration.jobs import (
    Condition,
    Desired,
    LeaseLostError,
    Limits,
    Need,
    NewJob,
)
from orchestration.retry import Backoff, ErrorClass, RetryPolicy
from tests.orchestration.job_model import ENDED, LEASE, LIVE, Model, ModelJob, Refused
from tests.postgres import open_server_database
from utils.clock import ManualClock
from utils.persistence import jobs as tables
from utils.persistence.engine import open_database, open_memory_database

PROFILE = settings.get_current_profile_name()
IS_LONG = PROFILE == "chaos"
EXAMPLES = {"memory": 2000 if IS_LONG else 30, "file": 60 if IS_LONG else 6}
EXAMPLES["server"] = EXAMPLES["file"]
START = datetime(2026, 1, 1, tzinfo=UTC)
SLOW = Backoff(first_delay_seconds=2, jitter_fraction=0)
RETRY = RetryPolicy(crashed=SLOW, lost=SLOW)
WORKERS = st.sampled_from(["w0", "w1"])
PICKS = st.integers(0, 10**6)
WRITES = ["start", "renew", "complete", "release", "fail", "break", "renew_all", "wishes"]
FINDINGS = SimpleNamespace(refused=0, accepted=0)


async def empty(database):
    async with database.write() as connection:
        for table in (tables.event, tables.job_need, tables.attempt, tables.job):
            await connection.execute(table.delete())


class JobMachine(RuleBasedStateMachine):
    """Drives both; `database` is emptied before each example."""

    loop = database = None

    def __init__(self):
        super().__init__()
        self.run = self.loop.run_until_complete
        self.run(empty(self.database))
        self.clock = ManualClock(START)
        ledger = JobLedger(self.database, self.clock)
        self.store, self.leases = SqlJobStore(ledger), SqlLeases(ledger, retry=RETRY)
        self.ledger, self.writer = ledger, GroupWriter(ledger)
        self.model = Model()
        self.tokens = []
        self.ids = []
        self.idempotent = {}

    # What people do

    @initialize()
    def begin(self):
        for _ in range(2):
            self.submit(0, 0, None, (2, 1), None, [])

    @rule(
        priority=st.integers(0, 1),
        delay=st.sampled_from([0, 0, 3]),
        wait=st.sampled_from([None, None, 5]),
        most=st.tuples(st.integers(1, 2), st.integers(0, 1)),
        key=st.sampled_from([None, None, "d0", "d1"]),
        needs=st.lists(st.tuples(PICKS, st.sampled_from(Condition)), max_size=2),
    )
    def submit_one(self, priority, delay, wait, most, key, needs):
        self.submit(priority, delay, wait, most, key, needs)

    def submit(self, priority, delay, wait, most, key, needs):
        found = {self.ids[pick % len(self.ids)]: how for pick, how in needs if self.ids}
        new = NewJob(
            kind="k",
            priority=priority,
            run_at=self.clock.now() + timedelta(seconds=delay),
            limits=Limits(queue_seconds=wait),
            max_attempts=most[0],
            max_lost=most[1],
            dedupe_key=key,
            needs=tuple(Need(job_id=id_, name=id_, condition=how) for id_, how in found.items()),
        )
        (job,) = self.run(self.store.submit_all([new]))
        known = self.model.known(key)
        if known is not None:
            assert job.id == known.id
        else:
            assert job.id not in self.model.jobs
            self.ids.append(job.id)
            self.model.add(
                ModelJob(
                    id=job.id,
                    priority=priority,
                    run_at=self.model.now + delay,
                    wait=wait,
                    max_attempts=most[0],
                    max_lost=most[1],
                    key=key,
                    needs=[(id_, how.value) for id_, how in found.items()],
                )
            )
        self.agree()

    @rule(key=st.sampled_from(["i0", "i1"]), content=st.integers(0, 1))
    def submit_once(self, key, content):
        new = NewJob(kind="k", spec={"content": content}, idempotency_key=key)
        known = self.idempotent.get(key)
        if known is not None and known[1] != content:
            with pytest.raises(IdempotencyConflictError):
                self.run(self.store.submit_all([new]))
            return
        (job,) = self.run(self.store.submit_all([new]))
        if known is not None:
            assert job.id == known[0]
        else:
            self.idempotent[key] = (job.id, content)
            self.ids.append(job.id)
            fields = {"priority": 0, "wait": None, "max_attempts": 3, "max_lost": 10}
            self.model.add(ModelJob(id=job.id, run_at=self.model.now, key=None, needs=[], **fields))
        self.agree()

    @precondition(lambda self: self.ids)
    @rule(pick=PICKS, desired=st.sampled_from(Desired))
    def request(self, pick, desired):
        job_id = self.ids[pick % len(self.ids)]
        self.run(self.store.request(job_id, desired))
        self.model.request(job_id, desired.value)
        self.agree()

    @rule(seconds=st.sampled_from([1, 3, 12, LEASE + 1]))
    def advance(self, seconds):
        self.clock.advance(seconds)
        self.model.now += seconds

    # What workers do

    @rule(worker=WORKERS, most=st.integers(1, 3), runs=st.booleans())
    def claim(self, worker, most, runs):
        self.take(worker, most, runs=runs)

    def take(self, worker, most, *, runs):
        offer = Offer(worker_id=worker, kinds=["k"], lease_seconds=LEASE, most=most, runs=runs)
        jobs = self.run(self.leases.claim_many(offer))
        tokens = [(job.id, job.fence) for job in jobs]
        assert sorted(tokens) == sorted(self.model.claim(worker, most, runs=runs))
        self.tokens += tokens
        self.agree()

    @precondition(lambda self: self.ids)
    @rule(
        writes=st.lists(
            st.tuples(PICKS, st.booleans(), st.sampled_from(WRITES)), min_size=1, max_size=4
        )
    )
    def write_some(self, writes):
        for write in writes:
            self.write(*write)

    def write(self, pick, is_late, write):
        """Any write of any attempt there ever was, or rather of one under way."""
        if not self.live_tokens():
            self.take("w0", 2, runs=False)
        tokens = self.tokens if is_late else self.live_tokens() or self.tokens
        if not tokens:
            return
        token = tokens[pick % len(tokens)]
        try:
            getattr(self, f"model_{write}")(token)
            FINDINGS.accepted += 1
            is_owner = True
        except Refused:
            FINDINGS.refused += 1
            is_owner = False
        lost = contextlib.nullcontext() if is_owner else pytest.raises(LeaseLostError)
        if write in {"renew_all", "wishes"}:
            answer = self.run(getattr(self, f"do_{write}")(*token))
            wanted = Desired(self.model.jobs[token[0]].desired) if is_owner else None
            assert answer == {token[0]: wanted}
        else:
            with lost:
                self.run(getattr(self, f"do_{write}")(*token))
        self.agree()

    @precondition(lambda self: len(self.live_tokens()) > 1)
    @rule(stops=st.booleans())
    def write_together(self, stops):
        """Several attempts end at once, through the group writer; late ones among them."""
        tokens = dict(self.tokens)  # the newest fence of each job
        late = {id_: fence - 1 for id_, fence in list(tokens.items())[:1]}
        outcomes = self.run(self.end_all({**tokens, **late}, stops))
        for token in {**tokens, **late}.items():
            try:
                (self.model.release if stops else self.model.complete)(token)
                wanted = "ended"
            except Refused:
                wanted = "refused"
            assert outcomes[token[0]] == wanted
        self.agree()

    @rule(dead=st.sets(WORKERS, max_size=1))
    def reap(self, dead):
        changed = {job.id for job in self.run(self.leases.reap(dead))}
        assert changed == self.model.reap(dead)
        self.agree()

    # Parts

    def live_tokens(self):
        jobs = self.model.jobs
        return [
            (id_, fence)
            for id_, fence in self.tokens
            if jobs[id_].state in LIVE and jobs[id_].fence == fence
        ]

    def model_start(self, token):
        self.model.start(token)

    def model_renew(self, token):
        self.model.renew(token)

    model_renew_all = model_renew

    def model_wishes(self, token):
        self.model.owned(token)

    def model_complete(self, token):
        self.model.complete(token)

    def model_release(self, token):
        self.model.release(token)

    def model_fail(self, token):
        self.model.fail(token, is_final=False)

    def model_break(self, token):
        self.model.fail(token, is_final=True)

    async def apply(self, id_, fence, event):
        async with self.leases.fenced(id_, fence) as connection:
            await self.ledger.apply(connection, id_, event)

    async def do_start(self, id_, fence):
        await self.apply(id_, fence, Started(fence=fence, pid=1))

    async def do_complete(self, id_, fence):
        await self.apply(id_, fence, Completed(fence=fence, result={}))

    async def do_renew(self, id_, fence):
        await self.leases.heartbeat(id_, fence, lease_seconds=LEASE)

    async def do_renew_all(self, id_, fence):
        return await self.leases.renew_all({id_: Lease(fence=fence)}, lease_seconds=LEASE)

    async def do_wishes(self, id_, fence):
        return await self.leases.wishes({id_: fence})

    async def do_release(self, id_, fence):
        await self.leases.release(id_, fence)

    async def do_fail(self, id_, fence):
        await self.leases.fail(id_, fence, ErrorClass.CRASHED, "signal 9")

    async def do_break(self, id_, fence):
        await self.leases.fail(id_, fence, ErrorClass.USER, "ValueError")

    async def end_all(self, tokens, stops):
        outcomes = {}

        async def end(id_, fence):
            event = Stopped(fence=fence) if stops else Completed(fence=fence, result={})
            try:
                await self.writer.apply(id_, event)
                outcomes[id_] = "ended"
            except LeaseLostError:
                outcomes[id_] = "refused"

        async with anyio.create_task_group() as group:
            for token in tokens.items():
                group.start_soon(end, *token)
        return outcomes

    def agree(self):
        jobs = self.run(self.store.list_jobs(limit=1000))
        assert {job.id for job in jobs} == set(self.model.jobs)
        for job in jobs:
            assert facts(job) == self.model.jobs[job.id].facts(), job

    def teardown(self):
        """Each job that ended has ended once, and each claim has left one attempt."""
        ends = {}
        since = 0
        while events := self.run(self.store.events(since)):
            since = events[-1].seq
            for event in events:
                if event.type.removeprefix("job_") in ENDED:
                    ends[event.job_id] = ends.get(event.job_id, 0) + 1
        wanted = {id_: job.endings for id_, job in self.model.jobs.items() if job.endings}
        assert ends == wanted
        assert set(ends.values()) <= {1}


def facts(job):
    def seconds(moment):
        return None if moment is None else (moment - START).total_seconds()

    return (
        job.state.value, job.desired.value, job.attempt, job.lost, job.fence, job.lease_owner,
        seconds(job.lease_until), seconds(job.run_at), seconds(job.expires_at),
    )  # fmt: skip


@contextlib.asynccontextmanager
async def opened(kind, request, folder):
    if kind == "server":
        async with open_server_database(request.getfixturevalue("server_url"), folder) as database:
            yield database
        return
    database = await (
        open_database(folder / "q.sqlite") if kind == "file" else open_memory_database()
    )
    yield database
    await database.aclose()


@pytest.mark.parametrize("kind", ["memory", "file", "server"])
def test_the_store_does_what_the_model_says(kind, request, tmp_path):
    loop = asyncio.new_event_loop()
    stack = opened(kind, request, tmp_path)
    database = loop.run_until_complete(stack.__aenter__())
    FINDINGS.refused = FINDINGS.accepted = 0
    try:
        run_state_machine_as_test(
            type("Machine", (JobMachine,), {"loop": loop, "database": database}),
            settings=settings(
                max_examples=EXAMPLES[kind],
                stateful_step_count=30,
                deadline=None,
                phases=[Phase.generate, Phase.shrink],
            ),
        )
    finally:
        loop.run_until_complete(stack.__aexit__(None, None, None))
        loop.close()
    print(f"{kind}: {FINDINGS}")  # noqa: T201
    wanted = EXAMPLES[kind] / 2 if IS_LONG else 0
    assert min(FINDINGS.refused, FINDINGS.accepted) > wanted
