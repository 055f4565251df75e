"""Which checkpoints stay: the newest, the best, the pinned; files first, rows after them."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import anyio.to_thread
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.training.checkpointing import CheckpointCorruptError, CheckpointFolder, load_checkpoint
from rl.training.experiment_manager import ExperimentManager
from rl.training.training_config import TrainingConfig
from utils.clock import ManualClock
from utils.errors import ConfigError
from utils.persistence.engine import open_database
from utils.persistence.run_queries import list_checkpoints

TENSORS = {"weight": torch.ones(3)}


def steps(root):
    return {int(path.name.split(".")[0][5:]) for path in root.glob("*.json")}


def write_all(folder, scores):
    return [
        folder.write(10 * number, TENSORS, {}, score=score)
        for number, score in enumerate(scores, start=1)
    ]


def test_by_default_the_newest_two_and_the_best_stay(tmp_path):
    folder = CheckpointFolder(tmp_path)
    records = write_all(folder, [1.0, 5.0, None, 2.0, 3.0])
    assert steps(tmp_path) == {20, 40, 50}
    assert len(list(tmp_path.iterdir())) == 6
    assert [Path(path).name[:17] for path in records[-1].kept] == [
        *("step-000000000050", "step-000000000040", "step-000000000020")
    ]
    assert load_checkpoint(records[1].path).record.score == 5.0
    assert load_checkpoint(records[1].path, records[1].sha256).record == records[1]


def test_a_pinned_one_stays_for_good_and_in_later_attempts(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_best=0)
    first = folder.write(10, TENSORS, {})
    folder.pin(first)
    folder.pin(first)
    later = CheckpointFolder(tmp_path, fence=1, keep_best=0)
    write_all(later, [None] * 4)
    assert steps(tmp_path) == {10, 30, 40}
    load_checkpoint(first.path, first.sha256)


def test_what_is_gone_cannot_be_pinned(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_best=0)
    gone = write_all(folder, [None] * 3)[0]
    with pytest.raises(CheckpointCorruptError, match="is not there"):
        folder.pin(gone)
    assert not list(tmp_path.glob("*.pin"))


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused_and_costs_nothing(tmp_path, score):
    folder = CheckpointFolder(tmp_path)
    folder.write(10, TENSORS, {}, score=1.0)
    with pytest.raises(ConfigError, match="finite"):
        folder.write(20, TENSORS, {}, score=score)
    assert steps(tmp_path) == {10}
    with pytest.raises(ConfigError, match="keep_best=-1"):
        CheckpointFolder(tmp_path, keep_best=-1)


def test_a_checkpoint_of_the_former_format_has_no_score(tmp_path):
    folder = CheckpointFolder(tmp_path)
    record = folder.write(10, TENSORS, {})
    path = Path(record.path)
    path.write_text(path.read_text().replace(' "score": null,\n', ""))
    assert "score" not in path.read_text()
    assert load_checkpoint(path).record.score is None
    write_all(CheckpointFolder(tmp_path, fence=1), [1.0, 2.0])
    assert steps(tmp_path) == {10, 20}


WRITES = st.lists(
    st.tuples(
        st.none() | st.integers(-3, 3).map(float),
        st.sampled_from(["keep", "pin", "restart", "damage"]),
    ),
    min_size=1,
    max_size=9,
)


@settings(max_examples=25, deadline=None)
@given(writes=WRITES, last=st.integers(2, 3), best=st.integers(0, 3))
def test_newest_whole_pinned_and_best_are_never_removed(tmp_path_factory, writes, last, best):
    root = tmp_path_factory.mktemp("run")
    fence, pinned, written, damaged = 0, set(), {}, set()
    for number, (score, then) in enumerate(writes, start=1):
        folder = CheckpointFolder(root, fence=fence, keep_last=last, keep_best=best)
        record = folder.write(number, TENSORS, {}, score=score)
        written[number] = score
        there = steps(root)
        ranked = sorted(
            (one for one in written if written[one] is not None), key=lambda n: (-written[n], -n)
        )
        assert there >= {number, *sorted(written)[-last:], *pinned, *ranked[:best]}
        assert len(there) <= last + best + len(pinned)
        assert folder.newest().checkpoint.record.env_steps == number
        assert {Path(path).name for path in record.kept} == {p.name for p in root.glob("*.json")}
        assert all(path.with_suffix(".safetensors").exists() for path in root.glob("*.json"))
        if then == "pin":
            folder.pin(record)
            pinned.add(number)
        elif then == "restart":
            fence += 1
        elif then == "damage":
            damaged.add(number)
            Path(record.path).with_suffix(".safetensors").write_bytes(b"")
    whole = sorted(steps(root) - damaged)
    if whole:
        assert folder.newest().checkpoint.record.env_steps == whole[-1]


REMOVE_UNTIL_KILLED = """
import os, signal, sys, torch
from pathlib import Path
from rl.training.checkpointing import CheckpointFolder
folder = CheckpointFolder(Path(sys.argv[1]), keep_best=0)
for step in (10, 20):
    folder.write(step, {"weight": torch.ones(3)}, {})
unlink, calls = Path.unlink, 0
def killed(path, missing_ok=False):
    global calls
    unlink(path, missing_ok=missing_ok)
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
Path.unlink = killed
folder.write(30, {"weight": torch.ones(3)}, {})
"""


@pytest.mark.parametrize("killed_at", [1, 2])
def test_kill_while_removing_leaves_no_manifest_without_tensors(tmp_path, killed_at):
    command = [sys.executable, "-c", REMOVE_UNTIL_KILLED, str(tmp_path), str(killed_at)]
    child = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert child.returncode == -9
    assert steps(tmp_path) == {20, 30}
    found = CheckpointFolder(tmp_path).newest()
    assert (found.checkpoint.record.env_steps, found.skipped) == (30, ())
    CheckpointFolder(tmp_path, keep_best=0).write(40, TENSORS, {})
    assert len(list(tmp_path.iterdir())) == 4


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_rows_follow_the_files_and_catch_up_after_a_crash(tmp_path):
    database = await open_database(tmp_path / "q.sqlite")
    manager = ExperimentManager(database, clock=ManualClock())
    config = TrainingConfig(total_episodes=10, num_envs=2)
    run_id = await manager.open_run(config)
    recorder = manager.recorder(run_id, config)
    folder = CheckpointFolder(tmp_path / "checkpoints")

    async def rows():
        async with database.read() as connection:
            found = await list_checkpoints(connection, run_id)
        return [(one.step, one.score) for one in found]

    async def write(step, score, *, recorded=True):
        record = folder.write(step, TENSORS, {}, score=score)
        if recorded:
            await anyio.to_thread.run_sync(recorder.checkpoint_written, record)

    await write(10, 9.0)
    await write(20, 1.0)
    await write(30, 2.0)
    assert await rows() == [(30, 2.0), (20, 1.0), (10, 9.0)]
    await write(40, 3.0, recorded=False)  # killed between file and row
    assert await rows() == [(30, 2.0), (20, 1.0), (10, 9.0)]
    resumable = [step for step, _ in await rows() if step in steps(folder.root)]
    assert resumable == [30, 10]
    await write(50, 4.0)
    assert await rows() == [(50, 4.0), (10, 9.0)]
    await database.aclose()
