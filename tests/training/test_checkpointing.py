"""Checkpoints: whole or refused, and never lost to the next one."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rl.training.checkpointing import (
    CheckpointCorruptError,
    CheckpointFolder,
    CheckpointWriteError,
    load_checkpoint,
)
from utils.errors import ConfigError

TENSORS = {
    "weight": torch.randn(7, 3, generator=torch.Generator().manual_seed(0)),
    "step": torch.tensor(3),
    "generator": torch.Generator().get_state(),
    "empty": torch.zeros(0, 2),
    "mask": torch.tensor([True, False]),
    "transposed": torch.arange(6.0).view(2, 3).T,
}


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(tmp_path / "checkpoints", fence=3)


def same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(found[name].dtype == expected[name].dtype for name in expected)


def test_round_trip(folder):
    record = folder.write(12345, TENSORS, {"updates": 5, "best_score": None})
    assert Path(record.path).name == "step-000000012345.fence-3.json"
    checkpoint = load_checkpoint(record.path, record.sha256)
    assert checkpoint.record == record
    assert checkpoint.fields == {"updates": 5, "best_score": None}
    same(checkpoint.tensors, TENSORS)
    assert record.size_bytes == sum(file.stat().st_size for file in folder.root.iterdir())
    manifest = json.loads(Path(record.path).read_text())
    assert manifest["schema_version"] == 1
    assert manifest["versions"]["torch"] == torch.__version__


def tensors_file(record):
    return Path(record.path).with_suffix(".safetensors")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [truncate, empty, flip, Path.unlink])
@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_any_damage_is_refused_by_name(folder, damage, suffix):
    record = folder.write(10, TENSORS, {})
    victim = Path(record.path).with_suffix(suffix)
    damage(victim)
    with pytest.raises(CheckpointCorruptError, match=victim.name) as caught:
        load_checkpoint(record.path, record.sha256)
    assert "Resume from an earlier checkpoint" in str(caught.value)


def test_a_whole_checkpoint_that_is_not_the_recorded_one_is_refused(folder):
    record = folder.write(10, TENSORS, {})
    with pytest.raises(CheckpointCorruptError, match="recorded was 0000"):
        load_checkpoint(record.path, "0000")


def test_an_unknown_schema_is_refused(folder):
    path = Path(folder.write(10, TENSORS, {}).path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))
    with pytest.raises(CheckpointCorruptError, match="schema version 2"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [{"tensors_file": 5}, {"env_steps": "ten"}, {"fields": []}, {"tensors_file": ".."}],
)
def test_a_manifest_of_other_things_is_corrupt(folder, change):
    path = Path(folder.write(10, TENSORS, {}).path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointCorruptError):
        load_checkpoint(path)


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
def test_the_newest_whole_checkpoint_is_found_and_the_rest_is_told(folder, damage):
    folder.write(10, TENSORS, {"updates": 1})
    damage(tensors_file(folder.write(20, TENSORS, {"updates": 2})))
    found = folder.newest()
    assert found.checkpoint.record.env_steps == 10
    assert len(found.skipped) == 1
    assert "step-000000000020" in found.skipped[0]


def test_no_checkpoint_is_none_but_no_whole_one_is_an_error(folder):
    assert folder.newest() is None
    flip(tensors_file(folder.write(10, TENSORS, {})))
    with pytest.raises(CheckpointCorruptError, match="start the run anew"):
        folder.newest()


def test_a_higher_fence_is_newer_whatever_the_step(tmp_path):
    CheckpointFolder(tmp_path, fence=3).write(500, TENSORS, {})
    CheckpointFolder(tmp_path, fence=4).write(100, TENSORS, {})
    assert CheckpointFolder(tmp_path, fence=4).newest().checkpoint.record.env_steps == 100


def test_only_the_newest_stay_and_a_stale_attempt_removes_nothing_newer(tmp_path):
    ahead = CheckpointFolder(tmp_path, fence=4)
    kept = [ahead.write(step, TENSORS, {}) for step in (10, 20, 30)][1:]
    under_way = tmp_path / "step-000000000040.fence-4.safetensors"
    under_way.write_bytes(b"its manifest comes in a moment")
    stale = CheckpointFolder(tmp_path, fence=3)
    kept.append(stale.write(1000, TENSORS, {}))
    assert under_way.exists()
    for record in kept:
        load_checkpoint(record.path, record.sha256)
    assert not (tmp_path / "step-000000000010.fence-4.json").exists()
    with pytest.raises(ConfigError, match="at least 2"):
        CheckpointFolder(tmp_path, keep_last=1)


@pytest.mark.parametrize("call_that_fails", [1, 2, 3, 4])
def test_a_full_disk_costs_the_new_checkpoint_only(folder, monkeypatch, call_that_fails):
    """The calls are: tensors, their folder, manifest, its folder."""
    before = folder.write(10, TENSORS, {})
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == call_that_fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(CheckpointWriteError, match="No space left on device"):
            folder.write(20, TENSORS, {})
    load_checkpoint(before.path, before.sha256)
    assert not list(folder.root.glob("*.tmp"))
    folder.write(30, TENSORS, {})
    assert folder.newest().checkpoint.record.env_steps == 30


WRITE_UNTIL_KILLED = """
import os, signal, sys, torch
from pathlib import Path
import utils.persistence.files as files
from rl.training.checkpointing import CheckpointFolder
folder = CheckpointFolder(Path(sys.argv[1]))
tensors = {"weight": torch.ones(1000)}
folder.write(10, tensors, {})
calls = 0
def fsync(descriptor):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
folder.write(20, tensors, {})
"""


@pytest.mark.parametrize(("killed_at", "survives"), [(1, 10), (3, 10), (4, 20)])
def test_kill_while_writing_leaves_a_whole_checkpoint(tmp_path, killed_at, survives):
    child = subprocess.run(
        [sys.executable, "-c", WRITE_UNTIL_KILLED, str(tmp_path), str(killed_at)],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert child.returncode == -9
    assert CheckpointFolder(tmp_path).newest().checkpoint.record.env_steps == survives
    for step in (30, 40):
        CheckpointFolder(tmp_path).write(step, TENSORS, {})
    assert len(list(tmp_path.iterdir())) == 4, "half-written files stay"
