"""Runs once they are made, on SQLite and on PostgreSQL: found, compared, tagged, moved, deleted."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from rl.training.provenance import Provenance, tell_code_difference
from rl.training.run_places import RunBusyError
from rl.training.run_removal import mark_garbage, sweep_garbage
from rl.training.shared_checkpoints import SharedCheckpoints, list_named
from rl.training.training_config import TrainingConfig
from tests.postgres import open_server_database
from tests.training.shelf import AGENT, Shelf
from utils.errors import ConfigError
from utils.persistence import experiments, jobs, registry
from utils.persistence import run_removal as rows
from utils.persistence.engine import open_database
from utils.persistence.run_facts import Relation, RunData, RunLineage, add_data
from utils.persistence.run_filter import RunFilter, Threshold
from utils.persistence.run_log import RunState, add_metrics, keep_checkpoints
from utils.persistence.run_queries import RunNotFoundError, get_run, list_checkpoints
from utils.persistence.run_removal import Kind, RunInUseError, list_tombstones

pytestmark = pytest.mark.anyio
GRACE = timedelta(days=7)
LATER = GRACE.total_seconds() + 3600
"""Longer than any machine takes to write the files of a test, whose times are real ones."""


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Durability has tests of its own."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(params=["sqlite", "postgresql"])
async def opened(request, tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "sqlite":
            database = await open_database(tmp_path / "var" / "q.sqlite")
            stack.push_async_callback(database.aclose)
        else:
            url = request.getfixturevalue("server_url")
            database = await stack.enter_async_context(open_server_database(url, tmp_path))
        yield Shelf(database, tmp_path / "var")


async def count(opened, table, **where):
    async with opened.database.read() as connection:
        query = select(func.count()).select_from(table).filter_by(**where)
        return await connection.scalar(query)


async def ids(opened, **wishes):
    options = {name: wishes.pop(name) for name in ("limit", "before") if name in wishes}
    return [run.id for run in await opened.shelf.find(RunFilter(**wishes), **options)]


async def test_runs_are_found_by_each_wish_and_all_together(opened):
    await opened.add_run("r1")
    await opened.add_run("r2", experiment="Second", state=RunState.FAILED, algorithm="dqn")
    await opened.add_run("r3", environment="supply_chain", note="50%_off")
    await opened.fill("r1")
    await opened.write(add_metrics, "r3", [(1, {"return": -2.0})], clock=opened.clock)
    assert await ids(opened) == ["r3", "r2", "r1"]
    assert await ids(opened, limit=2) == ["r3", "r2"]
    assert await ids(opened, limit=2, before="r2") == ["r1"]
    assert await ids(opened, experiment="first") == ["r3", "r1"]
    assert await ids(opened, states=(RunState.FAILED,)) == ["r2"]
    assert await ids(opened, tags=("baseline", "v1.0")) == ["r1"]
    assert await ids(opened, tags=("baseline", "v2")) == []
    assert await ids(opened, environment="trading") == ["r2", "r1"]
    assert await ids(opened, algorithm="dqn") == ["r2"]
    over = Threshold.parse("return >= 5")
    assert await ids(opened, thresholds=(over,)) == ["r1"]
    assert await ids(opened, thresholds=(Threshold.parse("return<0"),)) == ["r3"]
    assert await ids(opened, thresholds=(Threshold.parse("best_score>12"),)) == ["r1"]
    assert await ids(opened, thresholds=(Threshold.parse("best_score>12.5"),)) == []
    assert await ids(opened, text="SECOND") == ["r2"]
    assert await ids(opened, text="BASE") == ["r1"]
    assert await ids(opened, text="50%_o") == ["r3"]
    assert await ids(opened, text="%") == ["r3"], "no wildcards"
    assert await ids(opened, environment="trading", thresholds=(over,), text="ppo") == ["r1"]


async def test_shared_checkpoints_stay_as_long_as_somebody_may_go_on_from_them(opened):
    await opened.add_run("r1")
    await opened.add_run("r2")
    shared = SharedCheckpoints(opened.places.artifacts, opened.places.folder("r1"))
    (old, new) = (await opened.fill("r1", policy=b"shared"))[-2:]
    for record in (old, new):
        shared.share(record)
    loose = opened.places.artifacts.put(b"nobody wants this")
    await opened.write(keep_checkpoints, "r1", [new.path], fence=0)
    await mark_garbage(opened.database, opened.places, clock=opened.clock)
    opened.clock.advance(GRACE.total_seconds())
    await sweep_garbage(opened.database, opened.places, until=opened.clock.now())
    stored = opened.places.artifacts.list_hashes()
    assert new.sha256 in stored
    assert len(list_named(opened.places.artifacts, [new.sha256])) == 2
    assert list_named(opened.places.artifacts, [new.sha256]) <= set(stored)
    assert not {old.sha256, loose} & set(stored)


@pytest.mark.parametrize("words", ["return", "return=5", "return>=x", ">=5", "return>=nan"])
def test_a_malformed_threshold_is_refused(words):
    with pytest.raises(ConfigError, match="write METRIC>=NUMBER"):
        Threshold.parse(words)


async def test_only_what_differs_is_compared(opened):
    await opened.add_run("r1")
    await opened.add_run("r2", seed=4, ppo={"gamma": 0.9})
    await opened.fill("r1")
    await opened.write(add_metrics, "r2", [(7, {"return": 3.0})], clock=opened.clock)
    await opened.write(add_data, "r2", [RunData(role="validation", about="", sha256="e" * 64)])
    found = await opened.shelf.compare("r1", "r2")
    assert found.differing == {"seed": ("3", "4"), "ppo.gamma": ("0.99", "0.9")}
    assert found.num_same == 2
    assert found.best_scores == (12.5, None)
    assert found.last_metrics == {"loss": (None, None), "return": (7.0, 3.0)}
    assert found.other_data == ("validation",)
    with pytest.raises(ConfigError, match="two runs"):
        await opened.shelf.compare("r1")
    with pytest.raises(RunNotFoundError):
        await opened.shelf.compare("r1", "r9")


async def test_tags_come_and_go_once(opened):
    await opened.add_run()
    assert await opened.shelf.tag("r1", add=["b", "a"]) == ("a", "b")
    assert await opened.shelf.tag("r1", add=["b", "c"], remove=["a", "x"]) == ("b", "c")
    for wrong in ("", " a", "a b", "-a", "x" * 101):
        with pytest.raises(ConfigError, match="tag"):
            await opened.shelf.tag("r1", add=["fine", wrong])
    with pytest.raises(ConfigError, match="added and removed"):
        await opened.shelf.tag("r1", add=["a"], remove=["a"])
    with pytest.raises(RunNotFoundError):
        await opened.shelf.tag("r9", add=["a"])
    async with opened.database.read() as connection:
        assert (await get_run(connection, "r1")).facts.tags == ("b", "c")


async def test_telling_everything_twice_changes_nothing(opened):
    await opened.add_run()
    records = await opened.fill(parent=None)
    tables = [*experiments.metadata.sorted_tables]
    before = [await count(opened, table) for table in tables]
    await opened.add_run()
    rows = [(step, {"return": 99.0, "loss": 99.0}) for step in range(50)]
    await opened.write(add_metrics, "r1", rows, clock=opened.clock)
    await opened.add_artifact("r1", "plot.svg", b"<svg/>")
    lineage = RunLineage(data=(RunData(role="validation", about="other words", sha256="d" * 64),))
    await opened.manager.note_lineage("r1", lineage)
    assert [await count(opened, table) for table in tables] == before
    async with opened.database.read() as connection:
        details = await get_run(connection, "r1")
    assert details.latest["return"].value == 7.0
    assert details.facts.data[0].about == "20 days"
    assert [one.kind for one in details.facts.artifacts] == ["plot", "policy"]
    assert details.summary.best_score == 12.5
    assert [one.step for one in await stored(opened)] == [40, 30, 10]
    assert len(records) == 4


async def stored(opened, run_id="r1"):
    async with opened.database.read() as connection:
        return await list_checkpoints(connection, run_id)


async def test_other_data_under_a_known_name_is_refused(opened):
    await opened.add_run()
    await opened.fill()
    changed = RunLineage(data=(RunData(role="validation", about="20 days", sha256="e" * 64),))
    with pytest.raises(ConfigError, match="start a new run"):
        await opened.manager.note_lineage("r1", changed)


async def test_deleting_wants_the_id_again_and_a_run_at_rest(opened):
    await opened.add_run("r1", state=RunState.RUNNING)
    with pytest.raises(ConfigError, match="repeat its whole id"):
        await opened.shelf.delete("r1", confirm="yes")
    with pytest.raises(RunBusyError, match="pause or cancel"):
        await opened.shelf.delete("r1", confirm="r1")
    opened.clock.advance(601)  # a program without a job that has said nothing for ten minutes
    await opened.shelf.delete("r1", confirm="r1")
    with pytest.raises(RunNotFoundError):
        await opened.shelf.delete("r1", confirm="r1")
    assert await ids(opened) == []


async def test_files_outlive_the_grace_and_no_more(opened):
    await opened.add_run("r1")
    await opened.add_run("r2")
    await opened.fill("r1")
    await opened.fill("r2", policy=b"another")
    shared = opened.places.artifacts.put(b"<svg/>")
    before = opened.files()
    await opened.shelf.delete("r1", confirm="r1")
    early = await opened.shelf.collect(grace=GRACE)
    assert (early.runs, early.artifacts) == ((), ())
    assert opened.files() == before
    assert await ids(opened) == ["r2"]
    opened.clock.advance(LATER)
    late = await opened.shelf.collect(grace=GRACE)
    assert late.runs == ("r1",)
    assert len(late.artifacts) == 1, "only its policy: the plot is r2's as well"
    assert opened.places.artifacts.holds(shared)
    assert not opened.places.folder("r1").exists()
    left = {name for name in before if "r1" not in name} - {
        f"artifacts/{sha[:2]}/{sha}" for sha in late.artifacts
    }
    assert set(opened.files()) == left
    assert await count(opened, experiments.run) == 1
    assert await count(opened, experiments.metric, run_id="r1") == 0
    assert await count(opened, jobs.checkpoint, run_id="r1") == 0
    assert await count(opened, registry.model_version) == 2, "numbers are not given twice"
    again = await opened.shelf.collect(grace=GRACE)
    assert (again.runs, again.artifacts, again.folders, again.marked) == ((), (), (), 0)


async def test_a_promoted_model_holds_its_run_its_policy_and_its_checkpoint(opened):
    await opened.add_run("r1")
    first, *others = await opened.fill("r1")
    await opened.promote(1)
    with pytest.raises(RunInUseError, match="promote another version first"):
        await opened.shelf.delete("r1", confirm="r1")
    await opened.add_run("r2")
    await opened.fill("r2", policy=b"another")
    await opened.promote(2)
    await opened.shelf.delete("r1", confirm="r1")
    opened.clock.advance(LATER)
    for _ in range(2):
        found = await opened.shelf.collect(grace=GRACE)
        assert (found.runs, found.kept) == ((), ("r1",))
        checkpoints = opened.places.folder("r1") / "checkpoints"
        assert {path.name for path in checkpoints.iterdir()} == {
            *("step-000000000010.fence-0.json", "step-000000000010.fence-0.safetensors")
        }
        assert opened.places.artifacts.get(await sha_of_version(opened, 1)) == b"a policy"
    assert [one.sha256 for one in await stored(opened)] == [first.sha256]
    assert len(others) == 3


async def sha_of_version(opened, version):
    table = registry.model_version
    async with opened.database.read() as connection:
        query = select(table.c.artifact_sha256).filter_by(agent=AGENT, version=version)
        return await connection.scalar(query)


async def test_a_checkpoint_that_another_run_began_with_stays_until_that_one_goes(opened):
    await opened.add_run("r1")
    *_, last = await opened.fill("r1")
    await opened.add_run("r2")
    await opened.fill("r2", policy=b"another", parent=last)
    await opened.shelf.delete("r1", confirm="r1")
    opened.clock.advance(LATER)
    assert (await opened.shelf.collect(grace=GRACE)).kept == ("r1",)
    assert {path.name[:17] for path in (opened.places.folder("r1") / "checkpoints").iterdir()} == {
        "step-000000000040"
    }
    await opened.shelf.delete("r2", confirm="r2")
    opened.clock.advance(LATER)
    assert set((await opened.shelf.collect(grace=GRACE)).runs) == {"r1", "r2"}
    assert list(opened.places.runs.iterdir()) == []


async def test_what_no_row_knows_is_marked_first_and_swept_later(opened):
    await opened.add_run("r1")
    await opened.fill("r1")
    orphan = opened.places.artifacts.put(b"nobody's")
    (opened.places.runs / ".import-killed").mkdir()
    assert await mark_garbage(opened.database, opened.places, clock=opened.clock) == 2
    assert opened.places.artifacts.holds(orphan)  # stopped here, nothing is lost
    opened.clock.advance(LATER)
    used = await opened.add_artifact("r1", "late.svg", b"nobody's")
    os.utime(opened.places.artifacts.path(used), (0, 0))  # only its row speaks for it
    until = opened.clock.now() - GRACE
    found = await sweep_garbage(opened.database, opened.places, until=until)
    assert (found.artifacts, found.folders) == ((), (".import-killed",))
    assert opened.places.artifacts.holds(used)
    async with opened.database.read() as connection:
        assert await list_tombstones(connection, Kind.ARTIFACT) == []


@pytest.mark.parametrize("phase", ["drop_run", "list_wanted_artifacts"])
async def test_a_sweep_that_is_stopped_halfway_is_finished_by_the_next(opened, monkeypatch, phase):
    await opened.add_run("r1")
    await opened.add_run("r2")
    await opened.fill("r1")
    await opened.fill("r2", policy=b"another")
    kept = {name: content for name, content in opened.files().items() if "r1" not in name}
    kept = {name: content for name, content in kept.items() if content != b"a policy"}
    await opened.shelf.delete("r1", confirm="r1")
    opened.clock.advance(LATER)
    until = opened.clock.now() - GRACE

    async def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rows, phase, stopped)
        with pytest.raises(KeyboardInterrupt):
            await sweep_garbage(opened.database, opened.places, until=until)
    left = opened.files()
    assert {name: left.get(name) for name in kept} == kept
    assert (await ids(opened)) == ["r2"]
    await opened.shelf.collect(grace=GRACE)
    assert opened.files() == kept
    assert await count(opened, experiments.run) == 1


async def test_a_rerun_has_the_same_settings_and_its_parent(opened):
    config = TrainingConfig(total_episodes=10, num_envs=2, seed=7)
    first = await opened.manager.open_run(config)
    again = await opened.manager.open_rerun(first)
    assert again.config == config
    async with opened.database.read() as connection:
        ours, theirs = await get_run(connection, first), await get_run(connection, again.run_id)
    assert ours.config == theirs.config
    assert ours.code_commit == theirs.code_commit
    assert [(one.relation, one.run_id) for one in theirs.facts.parents] == [(Relation.RERUN, first)]


CODE = Provenance(code_commit="a" * 40, code_dirty=False, versions={})


@pytest.mark.parametrize(
    ("commit", "dirty", "now", "said"),
    [
        ("a" * 40, False, CODE, ""),
        ("b" * 40, False, CODE, "the run was made at bbbbbbbbbbbb"),
        ("a" * 40, True, CODE, "has changes beside commit"),
        ("a" * 40, None, CODE, "has changes beside commit"),
        ("a" * 40, False, replace(CODE, code_dirty=True), "has changes beside commit"),
        ("", None, CODE, "not known"),
        ("a" * 40, False, replace(CODE, code_commit=""), "not known"),
    ],
)
def test_other_code_is_told(commit, dirty, now, said):
    told = tell_code_difference(commit, code_dirty=dirty, now=now)
    assert (said in told) if said else told == ""


async def test_bytes_that_are_put_again_between_the_phases_stay(opened):
    orphan = opened.places.artifacts.put(b"nobody's")
    await mark_garbage(opened.database, opened.places, clock=opened.clock)
    until = opened.clock.now() - timedelta(hours=1)
    opened.clock.advance(1)
    found = await sweep_garbage(opened.database, opened.places, until=until)
    assert found.artifacts == (), "its mark is too young"
    opened.places.artifacts.put(b"nobody's")  # about to be recorded
    assert not opened.places.artifacts.remove(orphan, touched_by=until.timestamp())
    assert opened.places.artifacts.get(orphan) == b"nobody's"


async def test_a_deleted_models_number_is_not_reused_and_its_bytes_can_return(opened):
    await opened.add_run("r1")
    await opened.fill("r1")
    await opened.shelf.delete("r1", confirm="r1")
    await opened.add_run("r2")
    await opened.fill("r2")  # the same policy
    opened.clock.advance(LATER)
    assert (await opened.shelf.collect(grace=GRACE)).artifacts == ()
    assert await count(opened, registry.model_version) == 1
    assert await count(opened, registry.model_version, deleted_at=None) == 1
    assert opened.places.artifacts.get(await sha_of_version(opened, 1)) == b"a policy"


async def test_grace_is_not_negative(opened):
    with pytest.raises(ConfigError, match="grace"):
        await opened.shelf.collect(grace=-GRACE)
