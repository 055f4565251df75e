"""The operator's commands: a look at the engine, logs, the doctor's words, backups."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
from datetime import datetime, timedelta

import anyio
import pytest

from orchestration import job_logs
from orchestration.care import doctor, machine
from orchestration.care.database_file import check_database_file
from orchestration.care.findings import Severity
from orchestration.cli import engine, logs
from orchestration.job_store.workers import SqlWorkers
from tests.orchestration.house import Hand
from tests.orchestration.test_cli import Shell
from tests.postgres import empty_tables
from tests.training.shelf import Shelf
from utils.clock import SystemClock

pytestmark = pytest.mark.usefixtures("logs_as_before")

NOW = SystemClock().now


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path / "var")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A training that this process works on, for half an hour at least."""
    shell = Shell(tmp_path_factory.mktemp("made") / "var")
    shell("submit", "train", "seed=1")

    async def work(application):
        hand = Hand(application)
        workers = SqlWorkers(hand.ledger)
        me = workers.identify()
        await workers.seen(me, parallel_jobs=3)
        claimed = await hand.leases.claim(me.id, ["train"], lease_seconds=3600)
        await hand.leases.heartbeat(
            claimed.id, claimed.fence, lease_seconds=3600, progress=(30, 100)
        )
        return claimed.id

    return shell.var, shell.work(work)


@pytest.fixture
def busy(made, shell):
    template, shell.job_id = made
    shutil.copytree(template, shell.var)
    execute(shell, f"UPDATE worker SET last_seen = '{NOW():%Y-%m-%d %H:%M:%S.%f}'")
    shell.folder = shell.var / "work" / shell.job_id
    shell.folder.mkdir(parents=True)
    return shell


def execute(shell, statement):
    with contextlib.closing(sqlite3.connect(shell.var / "quartermaster.sqlite")) as connection:
        connection.execute(statement)
        connection.commit()


def change(shell, table, **values):
    """Write values as text, as another program would."""
    moments = {key: f"{value:%Y-%m-%d %H:%M:%S.%f}" if isinstance(value, datetime) else value
               for key, value in values.items()}  # fmt: skip
    parts = ", ".join(f"{key} = {value!r}" for key, value in moments.items())
    execute(shell, f"UPDATE {table} SET {parts}")


def test_the_engine_at_a_glance(busy):
    shown = busy("engine").stdout
    assert "leased 1; 1 workers" in shown
    assert "30%" in shown
    assert "s left" in shown
    assert "1 of 3" in shown
    assert "job_submitted" in shown
    found = busy.json("engine", "--json")
    (live,) = found["live"]
    assert (live["id"], live["done"], live["total"]) == (busy.job_id, 30, 100)
    assert 1800 < live["lease_left_seconds"] <= 3600
    assert found["workers"][0]["is_alive"] is True
    change(busy, "job", lease_until=NOW() - timedelta(seconds=30))
    assert "over for 3" in busy("engine").stdout
    change(busy, "worker", pid=2**22 + 1)
    assert "gone" in busy("engine").stdout


def test_waiting_jobs_are_told(shell):
    assert "no jobs; 0 workers" in shell("engine").stdout
    shell("submit", "train", "seed=1")
    change(shell, "job", run_at=NOW() - timedelta(seconds=90))
    assert "1 due for 9" in shell("engine").stdout


class Steps(SystemClock):
    """A clock on which something happens at each sleep, until somebody presses Ctrl-C."""

    def __init__(self, *steps):
        self.steps = list(steps)

    async def sleep(self, seconds):
        if not self.steps:
            raise KeyboardInterrupt
        self.steps.pop(0)()

    def __call__(self):
        return self


def test_a_pipe_gets_lines(busy, monkeypatch):
    clock = Steps(
        lambda: execute(busy, "INSERT INTO event (type, payload, at) "
                        "VALUES ('drift', '{\"by\": 3}', '2026-01-01 00:00:00.000000')"),
        lambda: None,
        lambda: execute(busy, "UPDATE job SET state='paused'"),
    )  # fmt: skip
    monkeypatch.setattr(engine, "SystemClock", clock)
    lines = busy("engine", "--watch").stdout.splitlines()
    assert ["job_submitted" in line for line in lines] == [True, *[False] * (len(lines) - 1)]
    assert [line for line in lines if "workers" in line] == [
        "leased 1; 1 workers, 1 of 3 slots busy",
        "paused 1; 1 workers, 0 of 3 slots busy",
    ]
    assert [line for line in lines if "drift" in line] == ["00:00:00  drift  -  by=3"]
    monkeypatch.setattr(engine, "SystemClock", Steps(lambda: None))
    views = busy("engine", "--watch", "--json").stdout.splitlines()
    assert [json.loads(view)["states"] for view in views if view] == [{"paused": 1}] * 2


def test_jobs_are_listed_and_filtered(shell):
    assert "No such jobs" in shell("jobs").stdout
    for seed in (1, 2, 3):
        shell("submit", "train", f"seed={seed}")
    shell("cancel", "latest")
    ids = [one["id"] for one in shell.json("jobs", "--json")]
    assert len(ids) == 3
    assert [one["id"] for one in shell.json("jobs", "--state", "cancelled", "--json")] == ids[:1]
    assert shell.json("jobs", "--kind", "bake", "--json") == []
    assert shell.json("jobs", "--pipeline", "none", "--json") == []
    page = shell("jobs", "--limit", "1").stdout
    assert f"Older ones: --before {ids[0][-8:]}" in page
    older = shell.json("jobs", "--before", ids[0][-8:], "--limit", "1", "--json")
    assert [one["id"] for one in older] == [ids[1]]
    assert shell("jobs", "--state", "dancing").exit_code == 2


def test_logs_are_shown(busy):
    refused = busy("logs", "latest")
    assert (refused.exit_code, "printed nothing" in refused.stderr) == (2, True)
    for attempt in (1, 2):
        text = f"one of {attempt}\ntwo of {attempt}\nlast"
        job_logs.log_path(busy.folder, attempt).write_text(text)
    assert busy("logs", "latest").stdout == "one of 2\ntwo of 2\nlast"
    assert busy("logs", busy.job_id[-6:], "--tail", "2").stdout == "two of 2\nlast"
    assert busy("logs", "latest", "--attempt", "1", "--tail", "1").stdout == "last"
    gone = busy("logs", "latest", "--attempt", "9")
    assert (gone.exit_code, "attempt 9 has no log" in gone.stderr) == (2, True)
    assert busy("logs", "nobody").exit_code == 2


def test_logs_are_followed_to_the_end_of_the_job(busy, monkeypatch):
    def say(text, attempt):
        with job_logs.log_path(busy.folder, attempt).open("a") as file:
            file.write(text)

    say("one\n", 1)
    clock = Steps(
        lambda: say("two\n", 1),
        lambda: say("three\n", 2),
        lambda: (say("last", 2), execute(busy, "UPDATE job SET state='succeeded'")),
    )
    monkeypatch.setattr(logs, "SystemClock", clock)
    done = busy("logs", "latest", "--follow")
    assert (done.exit_code, done.stdout) == (0, "one\ntwo\nthree\nlast")
    assert done.stderr == "== attempt 2 ==\n"
    assert busy("logs", "latest", "--follow", "--attempt", "1").stdout == "one\ntwo\n"


def test_old_logs_are_collected_with_garbage(busy):
    job_logs.log_path(busy.folder, 1).write_text("x" * 5000)
    assert busy.json("gc", "--log-days", "0", "--log-mib", "0", "--json")["logs"]["jobs"] == 0
    change(busy, "job", state="succeeded", finished_at=NOW() - timedelta(days=20))
    assert "logs of 0 jobs" in busy("gc").stdout
    assert "logs of 1 jobs" in busy("gc", "--log-days", "10").stdout
    assert job_logs.list_attempts(busy.folder) == []
    assert busy("gc", "--log-days", "nan").exit_code == 2


OF_THE_MACHINE = {"python", "libraries", "disk", "logs", "port"}
"""What this machine is like has tests of its own below."""


def findings(shell, expected=0):
    result = shell("doctor", "--json")
    assert result.exit_code == expected, result.output
    found = json.loads(result.stdout)
    assert found["healthy"] == (expected == 0)
    for one in found["findings"]:
        assert one["severity"] == "ok" or one["advice"], one
    bad = {one["check"]: one["severity"] for one in found["findings"] if one["severity"] != "ok"}
    return {check: bad[check] for check in bad if check not in OF_THE_MACHINE}


def words_of(shell):
    found = json.loads(shell("doctor", "--json").stdout)["findings"]
    return " ".join(f"{one['text']} {one['advice']}" for one in found)


def test_a_healthy_machine(shell, busy):
    empty = Shell(shell.var.with_name("empty"))
    assert findings(empty) == {}
    assert not (empty.var / "quartermaster.sqlite").exists()
    assert findings(busy) == {}
    assert "No problems" in busy("doctor").stdout


class TestWhatIsWrong:
    def test_a_lease_that_nobody_takes_over(self, busy):
        change(busy, "job", lease_until=NOW() - timedelta(seconds=30))
        assert findings(busy, 1) == {"leases": "problem"}
        assert "see its log" in words_of(busy)

    def test_a_worker_that_is_gone(self, busy):
        change(busy, "worker", pid=2**22 + 1)
        assert findings(busy, 1) == {"leases": "problem"}
        assert "python -m orchestration worker" in words_of(busy)

    def test_an_owner_that_is_unknown(self, busy):
        change(busy, "job", lease_owner="nobody")
        assert findings(busy, 1) == {"leases": "problem"}

    def test_a_worker_that_hangs(self, busy):
        change(busy, "worker", last_seen=NOW() - timedelta(minutes=2))
        assert findings(busy, 1) == {"workers": "problem"}
        assert str(os.getpid()) in words_of(busy)

    def test_a_queue_without_workers(self, shell):
        shell("submit", "train", "seed=1")
        assert findings(shell) == {"workers": "note"}

    def test_a_clock_that_went_back(self, busy):
        change(busy, "event", at=NOW() + timedelta(hours=1))
        assert findings(busy, 1) == {"database clock": "problem"}
        assert "in the future" in words_of(busy)

    def test_files(self, shell, monkeypatch):
        async def fill(application):
            shelf = Shelf(application.database, shell.var.absolute())
            await shelf.add_run()
            await shelf.fill()
            shelf.places.artifacts.put(b"nobody's")

        shell.work(fill)
        (shell.var / "runs" / "stray").mkdir()
        (shell.var / "work" / "stray").mkdir(parents=True)
        assert findings(shell) == {"files": "note"}
        monkeypatch.setattr(doctor, "SECOND_LOOK_SECONDS", 0)
        newest = max((shell.var / "runs" / "r1" / "checkpoints").glob("*.safetensors"))
        content = newest.read_bytes()
        newest.write_bytes(content[:-1])
        assert findings(shell, 1) == {"files": "note", "checkpoints": "problem"}
        newest.unlink()
        assert f"{newest.name} is missing" in words_of(shell)
        newest.write_bytes(content)
        for path in (shell.var / "artifacts").glob("*/*"):
            path.write_bytes(b"other")
        assert findings(shell, 1) == {"files": "note", "artifacts": "problem"}

    def test_a_damaged_database(self, busy):
        place = busy.var / "quartermaster.sqlite"
        with contextlib.closing(sqlite3.connect(place)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = bytearray(place.read_bytes())
        content[4096 * 3 : 4096 * 6] = b"\xff" * 4096 * 3
        place.write_bytes(content)
        assert findings(busy, 1) == {"database": "problem"}
        place.write_bytes(b"text, not a database" * 300)
        assert "Restore a backup" in words_of(busy)

    def test_a_newer_database(self, busy):
        with contextlib.closing(sqlite3.connect(busy.var / "quartermaster.sqlite")) as connection:
            connection.execute("UPDATE quartermaster_revision SET version_num='9999'")
            connection.commit()
        assert findings(busy, 1) == {"revision": "problem"}


def test_a_locked_database_is_told(busy, monkeypatch):
    monkeypatch.setattr("orchestration.care.database_file.BUSY_SECONDS", 0.01)
    place = busy.var / "quartermaster.sqlite"
    with contextlib.closing(sqlite3.connect(place)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        bad = [one for one in check_database_file(place) if one.severity is Severity.PROBLEM]
    assert "locked" in bad[0].text
    assert "fuser" in bad[0].advice


def test_a_foreign_database_and_a_large_log_are_told(tmp_path, monkeypatch):
    place = tmp_path / "q.sqlite"
    with contextlib.closing(sqlite3.connect(place)) as connection:
        connection.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE child (id REFERENCES parent)")
        connection.execute("INSERT INTO child VALUES (7)")
        connection.commit()
    monkeypatch.setattr("orchestration.care.database_file.LARGE_WAL", -1)
    told = {one.check: one for one in check_database_file(place) if one.severity != "ok"}
    assert "no tables of this program" in told["revision"].text
    assert told["wal"].severity == "problem"
    assert "journal mode delete" in told["database"].text
    texts = [one.text for one in check_database_file(place)]
    assert any("child names a row of parent that is not there" in text for text in texts)


def test_versions_are_compared(tmp_path):
    pins = tmp_path / "pins.txt"
    pins.write_text("# words\nanyio==0.0.1\nno-such-thing==1\nsqlalchemy[asyncio]==2.1.9\n")
    _, missing, other = machine.check_versions(pins)
    assert (missing.severity, "no-such-thing" in missing.text) == ("problem", True)
    assert (other.severity, "anyio" in other.text, "sqlalchemy" in other.text) == (
        "note", True, False,
    )  # fmt: skip
    *_, none = machine.check_versions(tmp_path / "none.txt")
    assert none.severity == "note"
    assert {one.severity for one in machine.check_versions()} <= {"ok", "note"}


def test_the_disk_is_looked_at(tmp_path, monkeypatch):
    place = tmp_path / "not" / "there"
    assert {one.severity for one in machine.check_disk(place)} <= {"ok", "note"}
    assert not place.exists()
    monkeypatch.setattr(machine, "LEAST_FREE", 1 << 60)
    monkeypatch.setattr(machine, "LEAST_INODES", 1 << 60)
    monkeypatch.setattr(machine, "can_trim", lambda _: False)
    severities = [(one.check, one.severity) for one in machine.check_disk(tmp_path)]
    assert severities == [("disk", "problem"), ("disk", "problem"), ("logs", "note")]


class BadClock(SystemClock):
    def __init__(self, jump):
        self.jump, self.slept = jump, False

    def now(self):
        return super().now() + (self.jump if self.slept else timedelta(0))

    async def sleep(self, seconds):
        self.slept = True


@pytest.mark.parametrize(("jump", "severity"), [(0, "ok"), (-1, "problem"), (1, "problem")])
def test_a_clock_that_jumps_is_told(jump, severity):
    (found,) = anyio.run(machine.check_clock, BadClock(timedelta(seconds=jump)))
    assert found.severity == severity


def test_a_taken_port_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = machine.check_port("127.0.0.1", port)
    assert (found.severity, str(port) in found.advice) == ("note", True)
    assert machine.check_port("127.0.0.1", 0).severity == "ok"
    assert machine.check_port("203.0.113.7", 0).severity == "problem"


def test_a_database_on_a_server_is_examined_and_named(server_url, busy, tmp_path, monkeypatch):
    empty_tables(server_url)  # other tests of the session share it
    monkeypatch.setenv("QUARTERMASTER_DATABASE", server_url)
    shell = Shell(tmp_path / "files")
    shell("submit", "train", "seed=1")
    assert "queued" in shell("engine").stdout
    found = json.loads(shell("doctor", "--json").stdout)["findings"]
    assert [one["check"] for one in found if one["severity"] == "problem"] == []
    assert "database" not in {one["check"] for one in found}
    told = shell("backup", str(tmp_path / "files.tar")).stdout
    assert "pg_dump" in told
    monkeypatch.delenv("QUARTERMASTER_DATABASE")
    busy("backup", str(tmp_path / "whole.tar"))
    monkeypatch.setenv("QUARTERMASTER_DATABASE", server_url)
    refused = Shell(tmp_path / "new")("restore", str(tmp_path / "whole.tar"))
    assert (refused.exit_code, "without --database" in refused.stderr) == (2, True)
    monkeypatch.setenv("QUARTERMASTER_DATABASE", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    away = shell("doctor", "--json")
    assert away.exit_code == 1
    assert [one["check"] for one in json.loads(away.stdout)["findings"]][-1] == "database"


def test_backup_and_restore_are_commands(busy, tmp_path):
    path = tmp_path / "backup.tar"
    assert "checked" in busy("backup", str(path)).stdout
    other = Shell(tmp_path / "other")
    assert "files are back" in other("restore", str(path)).stdout
    assert other.json("jobs", "--json")[0]["id"] == busy.job_id
    refused = other("restore", str(path))
    assert (refused.exit_code, "add --force" in refused.stderr) == (2, True)
    assert "What was there lies in" in other("restore", str(path), "--force").stdout
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # the end is padding
    assert other("restore", str(path), "--force").exit_code == 2
    again = busy.json("backup", str(path), "--json")
    assert (again["has_database"], again["left_out"]) == (True, [])
    assert Shell(tmp_path / "third").json("restore", str(path), "--json")["num_files"] == 1
