"""Commands on runs that are there, as people type them."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import anyio
import pytest
from sqlalchemy import update

from orchestration.app import Settings, open_application
from orchestration.stores.registry_store import SqlRegistryStore
from tests.orchestration.test_cli import Shell
from tests.training.shelf import AGENT, Shelf
from utils.persistence.experiments import run
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import list_checkpoints

pytestmark = pytest.mark.usefixtures("logs_as_before")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs of library use."""
    var = tmp_path_factory.mktemp("made") / "var"

    async def make():
        async with open_application(Settings(var=var), with_worker=False) as application:
            shelf = Shelf(application.database, var)
            await shelf.add_run("run-0001")
            await shelf.fill("run-0001")
            await shelf.add_run("run-0002", state=RunState.FAILED, algorithm="dqn")

    anyio.run(make)
    return var


@pytest.fixture
def shell(made, tmp_path):
    shutil.copytree(made, tmp_path / "var")
    return Shell(tmp_path / "var")


def listed(shell, *words):
    return [run["id"] for run in shell.json("runs", "--json", *words)]


def test_runs_are_found(shell):
    assert listed(shell) == ["run-0002", "run-0001"]
    assert listed(shell, "--state", "failed", "--state", "paused") == ["run-0002"]
    assert listed(shell, "--algorithm", "ppo", "--env", "trading") == ["run-0001"]
    assert listed(shell, "--where", "return>=7", "--where", "best_score<13") == ["run-0001"]
    assert listed(shell, "--tag", "baseline", "--text", "V1") == ["run-0001"]
    assert listed(shell, "--limit", "1", "--before", "0002") == ["run-0001"]
    assert "12.5" in shell("runs").stdout
    assert "Older ones: --before run-0002" in shell("runs", "--limit", "1").stdout
    assert "No such runs" in shell("runs", "--text", "nowhere").stdout
    wrong = shell("runs", "--where", "return")
    assert (wrong.exit_code, "write METRIC>=NUMBER" in wrong.stderr) == (2, True)


def test_a_run_is_found_by_its_end_however_many_came_after_it(shell):
    with sqlite3.connect(shell.var / "quartermaster.sqlite") as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(run)")]
        rest = ", ".join(name for name in names if name not in {"id", "job_id"})
        connection.execute(
            "WITH RECURSIVE later(n) AS (SELECT 1000 UNION ALL SELECT n + 1 FROM later LIMIT 1100) "
            f"INSERT INTO run (id, {rest}) SELECT 'run-' || n, {rest} FROM later, run "
            "WHERE id = 'run-0002'"
        )
    connection.close()
    assert shell.json("show", "0001", "--json")["summary"]["id"] == "run-0001"
    assert shell.json("show", "latest", "--json")["summary"]["id"] == "run-2099"
    for end, said in (
        ("run-1", "no run"),
        ("n-10", "no run"),
        ("____", "no run"),
        ("01", "no run"),
    ):
        assert said in shell("show", end).stderr
    with sqlite3.connect(shell.var / "quartermaster.sqlite") as connection:
        connection.execute("UPDATE run SET id = 'other-1001' WHERE id = 'run-1002'")
    connection.close()
    assert "several runs end in '1001'" in shell("show", "1001").stderr


def test_runs_are_compared(shell):
    told = shell("compare", "0001", "latest").stdout
    assert "algorithm" in told
    assert "dqn" in told
    assert "3 settings are the same" in told
    assert "gamma" not in told
    found = shell.json("compare", "0001", "0002", "--json")
    assert found["best_scores"] == [12.5, None]
    assert shell("compare", "0001").exit_code == 2


def test_tags_are_given_and_taken(shell):
    assert "run-0001: draft v1.0" in shell("tag", "0001", "+draft", "-baseline").stdout
    assert shell.json("tag", "0001", "+a", "--json")["tags"] == ["a", "draft", "v1.0"]
    assert "write +TAG" in shell("tag", "0001", "draft").stderr
    page = shell("show", "0001").stdout
    assert "a draft v1.0" in page
    assert "validation data" in page
    assert "plot.svg" in page
    assert "c0ffee" in page


def test_a_run_moves(shell, tmp_path):
    path = tmp_path / "run.tar.gz"
    assert "Elsewhere: " in shell("export", "0001", str(path)).stdout
    other = Shell(tmp_path / "other")
    assert "is here now" in other("import", str(path)).stdout
    assert "was here already" in other("import", str(path)).stdout
    assert listed(other) == ["run-0001"]
    path.write_bytes(path.read_bytes()[:-1])
    broken = Shell(tmp_path / "third")
    refused = broken("import", str(path))
    assert (refused.exit_code, "Export or copy the run again" in refused.stderr) == (2, True)
    assert listed(broken) == []


def test_a_run_is_deleted_by_its_whole_id_only(shell):
    assert "repeat its whole id" in shell("delete", "0001", "--confirm", "0001").stderr
    asked = shell("delete", "0001", stdin="no\n")
    assert (asked.exit_code, "type its whole id" in asked.stderr) == (2, True)
    assert "is deleted" in shell("delete", "0001", stdin="run-0001\n").stdout
    assert listed(shell) == ["run-0002"]
    assert "Removed 0 runs" in shell("gc").stdout
    assert shell.json("gc", "--grace-days", "0", "--json")["runs"] == ["run-0001"]
    assert not (shell.var / "runs" / "run-0001").exists()


def test_a_rerun_remembers_whose_it_is_and_says_that_the_code_differs(shell):
    job = shell.json("submit", "train", "seed=7", "--json")
    again = shell.json("rerun", job["run_id"], "--json")
    assert again["run"] != job["run_id"]
    details = shell.json("show", again["run"], "--json")
    assert details["config"] == shell.json("show", job["run_id"], "--json")["config"]
    (parent,) = details["facts"]["parents"]
    assert (parent["relation"], parent["run_id"]) == ("rerun", job["run_id"])

    async def age(application):
        async with application.database.write() as connection:
            old = update(run).where(run.c.id == job["run_id"])
            await connection.execute(old.values(code_commit="0" * 40))

    shell.work(age)
    assert "the run was made at 000000000000" in shell("rerun", job["run_id"]).stdout
    refused = shell("rerun", "run-0001")  # settings that this program does not have
    assert (refused.exit_code, "error: " in refused.stderr) == (2, True)


def test_promotion_pins_the_checkpoint(tmp_path):
    async def fill(application):
        shelf = Shelf(application.database, application.settings.var)
        await shelf.add_run()
        first, *_ = await shelf.fill()
        artifacts = shelf.places.artifacts
        registry = SqlRegistryStore(application.database, artifacts, shelf.clock)
        await registry.set_alias(AGENT, "champion", 1, reason="best")
        async with application.database.read() as connection:
            rows = await list_checkpoints(connection, "r1")
        return Path(first.path), {row.step for row in rows if row.pinned}

    manifest, pinned = Shell(tmp_path).work(fill)
    assert manifest.with_suffix(".pin").is_file()
    assert pinned == {10}


def test_jobs_are_not_deleted_under_their_worker(shell):
    run_id = shell.json("submit", "train", "seed=7", "--json")["run_id"]
    busy = shell("delete", run_id, "--confirm", run_id)
    assert (busy.exit_code, "pause or cancel it first" in busy.stderr) == (2, True)
    shell("cancel", run_id)
    assert shell("delete", run_id, "--confirm", run_id).exit_code == 0
    assert listed(shell) == ["run-0002", "run-0001"]
