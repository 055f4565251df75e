"""A storm: thousands of jobs while workers, their children and the database are mistreated.

python -m tests.chaos.storm --seconds 180 --jobs 2000 --workers 4 [--database sqlite|postgres]
    [--without-fence] [--seed N] [--folder DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread
from sqlalchemy import func, select

from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from orchestration.jobs import LIVE, TERMINAL, Condition, Desired, Need, NewJob
from tests.chaos.findings import find
from tests.chaos.plan import Storm, plan_blows, plan_tasks
from tests.chaos.storm_worker import WorkerOrder, effect
from tests.postgres import open_server
from utils.clock import SystemClock
from utils.persistence import jobs as tables
from utils.persistence.engine import open_database
from utils.persistence.errors import DatabaseError

ROOT = Path(__file__).parents[2]
QUIET_SECONDS = 180
RESTART_SECONDS = 0.3


class Hand:
    """One worker that is started again whenever it is gone."""

    def __init__(self, number, order, folder):
        self.number = number
        self._order = order
        self._log = folder / f"worker-{number}.log"
        self._ready = folder / "ready"
        self._lives = 0
        self.process = None
        self.is_frozen = False
        self.was_killed = False

    def start(self):
        order = {**asdict(self._order), "seed": f"{self._order.seed}:{self.number}:{self._lives}"}
        self._lives += 1
        self.is_frozen = self.was_killed = False
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.storm_worker", json.dumps(order)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def works(self):
        """Whether it has come so far as to work, and is not frozen."""
        if self.process is None or self.is_frozen or self.process.poll() is not None:
            return False
        return (self._ready / str(self.process.pid)).exists()

    def kill(self):
        self.was_killed = True
        self.process.kill()
        self.process.wait()


class Conductor:
    """Runs a storm and keeps account of what was done."""

    def __init__(self, storm, folder, database, location, server):
        self.storm = storm
        self._folder = folder
        self._database = database
        self._server = server
        self._store = SqlJobStore(JobLedger(database, SystemClock()))
        order = WorkerOrder(
            database=location,
            work_root=str(folder / "work"),
            seed=str(storm.seed),
            fault_rate=storm.fault_rate,
            without_fence=storm.without_fence,
        )
        self._hands = [Hand(number, order, folder) for number in range(storm.workers)]
        self._raging = True
        self.submitted = {}
        self.cancelled = set()
        self.kills = []
        self.outages = []
        self.done = Counter()
        self.crashes = []

    async def run(self):
        """Rage for the time, then wait until all is quiet, and say what is found."""
        async with self._database.write() as connection:
            await connection.run_sync(effect.metadata.create_all)
        try:
            async with anyio.create_task_group() as keepers:
                keepers.start_soon(self._keep_alive)
                while not all(hand.works for hand in self._hands):  # noqa: ASYNC110
                    await anyio.sleep(0.1)
                async with anyio.create_task_group() as group:
                    group.start_soon(self._submit_all)
                    group.start_soon(self._rage)
                self._raging = False
                await self._until_quiet()
                keepers.cancel_scope.cancel()
        finally:
            for hand in self._hands:
                hand.kill()
        findings = await find(
            self._database,
            effects=self._folder / "effects",
            submitted=self.submitted,
            cancelled=self.cancelled,
            kills=self.kills,
            outages=self.outages,
        )
        findings.faults += self.crashes
        return findings

    async def _keep_alive(self):
        for hand in self._hands:
            hand.start()
        while True:
            await anyio.sleep(RESTART_SECONDS)
            for hand in self._hands:
                if hand.process.poll() is not None:
                    if not hand.was_killed:
                        self.crashes.append(
                            f"worker {hand.number} ended: {hand.process.returncode}"
                        )
                    hand.start()

    # Submitting

    async def _submit_all(self):
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for number, task in enumerate(plan_tasks(self.storm)):
                await anyio.sleep_until(began + task.at)
                job = await _insist(self._store.submit_all, [self._request(number, task)])
                self.submitted[number] = job[0].id
                if task.cancelled_after is not None:
                    group.start_soon(self._cancel, job[0].id, task.cancelled_after)

    def _request(self, number, task):
        needs = tuple(
            Need(job_id=self.submitted[one], name=f"n{one}", condition=Condition(task.condition))
            for one in task.needs
        )
        return NewJob(
            kind=task.kind,
            spec={**task.spec, "effects": str(self._folder / "effects")},
            idempotency_key=f"storm-{number}",  # so that a submission can be repeated
            max_attempts=1000,
            max_lost=1000,
            needs=needs,
        )

    async def _cancel(self, job_id, seconds):
        await anyio.sleep(seconds)
        self.cancelled.add(job_id)
        await _insist(self._store.request, job_id, Desired.CANCEL)

    # Raging

    async def _rage(self):
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for blow in plan_blows(self.storm):
                await anyio.sleep_until(began + blow.at)
                if blow.kind == "restart database":
                    await self._restart_database(blow)
                elif blow.kind.endswith("worker"):
                    self._hit_worker(blow, group)
                else:
                    await self._hit_child(blow, group)
            await anyio.sleep_until(began + self.storm.seconds)

    def _hit_worker(self, blow, group):
        """Hit one, unless nobody would be left to pick its work up."""
        fit = [hand for hand in self._hands if hand.works]
        if len(fit) < 2:
            self.done["spared"] += 1
            return
        hand = fit[blow.victim % len(fit)]
        self.done[blow.kind] += 1
        if blow.kind == "kill worker":
            self.kills.append((hand.process.pid, datetime.now(UTC)))
            hand.kill()
        else:
            hand.is_frozen = True
            hand.process.send_signal(signal.SIGSTOP)
            group.start_soon(self._thaw, hand, hand.process, blow.seconds)

    async def _thaw(self, hand, process, seconds):
        began = datetime.now(UTC)
        until = anyio.current_time() + seconds
        blocks = self._server is None and await anyio.to_thread.run_sync(
            _is_locked, self._database.path
        )
        await anyio.sleep_until(until)
        process.send_signal(signal.SIGCONT)
        hand.is_frozen = False
        if blocks:  # it slept with the write lock of the file: nobody could write meanwhile
            self.done["frozen with the lock"] += 1
            self.outages.append((began, datetime.now(UTC)))

    async def _hit_child(self, blow, group):
        workers = {hand.process.pid for hand in self._hands}
        live = [state.value for state in LIVE]
        query = (
            select(tables.attempt.c.pid)
            .join(tables.job, tables.job.c.id == tables.attempt.c.job_id)
            .where(tables.attempt.c.ended_at.is_(None), tables.job.c.state.in_(live))
            .order_by(tables.attempt.c.pid)
        )
        try:
            async with self._database.read() as connection:
                found = set((await connection.execute(query)).scalars())
        except DatabaseError:
            found = set()
        children = sorted(found - workers - {None})
        if not children:
            self.done["no child there"] += 1
            return
        pid = children[blow.victim % len(children)]
        self.done[blow.kind] += 1
        freezes = blow.kind == "freeze child"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP if freezes else signal.SIGKILL)
        if freezes:
            group.start_soon(_wake, pid, blow.seconds)

    async def _restart_database(self, blow):
        self.done[blow.kind] += 1
        began = datetime.now(UTC)
        mode = "immediate" if blow.victim % 2 else "fast"
        await anyio.to_thread.run_sync(self._server.stop, mode)
        await anyio.sleep(blow.seconds)
        await anyio.to_thread.run_sync(self._server.start)
        self.outages.append((began, datetime.now(UTC)))

    async def _until_quiet(self):
        terminal = [state.value for state in TERMINAL]
        query = select(func.count()).where(tables.job.c.state.not_in(terminal))
        with anyio.move_on_after(QUIET_SECONDS):
            while await _insist(self._scalar, query):  # noqa: ASYNC110  others change it
                await anyio.sleep(0.2)
            await anyio.sleep(1)  # for late writes of attempts that were given up

    async def _scalar(self, query):
        async with self._database.read() as connection:
            return await connection.scalar(query)


def _is_locked(path):
    with contextlib.closing(sqlite3.connect(path, timeout=1.5, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
    return False


async def _wake(pid, seconds):
    await anyio.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def _insist(call, *arguments):
    """Call until the database answers; what may have been committed before is named by a key."""
    while True:
        try:
            return await call(*arguments)
        except DatabaseError:
            await anyio.sleep(0.1)


@contextlib.asynccontextmanager
async def _open(storm, folder):
    with contextlib.ExitStack() as stack:
        server, location = None, str(folder / "q.sqlite")
        if storm.database == "postgres":
            server = stack.enter_context(open_server(fsync=True))
            location = server.url
        database = await open_database(location)
        try:
            yield Conductor(storm, folder, database, location, server)
        finally:
            await database.aclose()


async def run_storm(storm, folder):
    """Run a storm in a folder; return the conductor's account and the findings."""
    async with _open(storm, folder) as conductor:
        return conductor.done, await conductor.run()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for field in fields(Storm):
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    parser.add_argument("--folder", type=Path, help="keep everything there")
    options = vars(parser.parse_args())
    folder = options.pop("folder") or Path(tempfile.mkdtemp(prefix="storm-"))
    folder.mkdir(parents=True, exist_ok=True)
    storm = Storm(**options)
    done, findings = anyio.run(run_storm, storm, folder)
    blows = ", ".join(f"{count} {kind}" for kind, count in sorted(done.items()))
    lines = [str(storm), f"  {'blows':32} {blows}", findings.table()]
    lines += [f"  ! {line}" for line in [*findings.faults, *findings.duplicates][:20]]
    sys.stdout.write("\n".join([*lines, f"  everything is in {folder}", ""]))
    is_good = (
        bool(findings.duplicates)
        if storm.without_fence
        else not (findings.faults or findings.duplicates)
    )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
