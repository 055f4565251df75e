"""Checkpoints go to other machines whole, by hash, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from rl.domains.allocation_experts import EXPERTS
from rl.training import job, training_run
from rl.training.checkpointing import CheckpointFolder, load_checkpoint
from rl.training.conclusion import leave_unfinished
from rl.training.recorder import StopReason
from rl.training.run_diary import Diary, StageEntry
from rl.training.shared_checkpoints import CheckpointAbsentError, SharedCheckpoints, list_named
from rl.training.training_config import EPISODE_STEPS, TrainingConfig
from utils.config import to_json
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.errors import ArtifactCorruptError

CONFIG = TrainingConfig(
    total_episodes=8,
    num_envs=2,
    eval_frequency=2,
    eval_episodes=8,
    checkpoint_frequency=2,
    num_agents=3,
)

UPDATE = CONFIG.num_envs * EPISODE_STEPS["resource_allocation"]


@pytest.fixture
def store(tmp_path):
    return DirectoryArtifactStore(tmp_path / "store")


def write(store, folder, *, diary=None):
    """One small checkpoint with all that lies beside it."""
    folder.mkdir()
    (folder / "experts.json").write_text("[]")
    diary = diary or Diary(stages=(StageEntry(name="easy", env_steps=0),), cpu_seconds=3.5)
    (folder / "diary.json").write_text(json.dumps(to_json(diary)))
    shared = SharedCheckpoints(store, folder)
    checkpoints = CheckpointFolder(
        folder / "checkpoints", fence=1, share_beside=shared.share_beside
    )
    record = checkpoints.write(10, {"weight": torch.arange(3.0)}, {"a": 1})
    shared.share(record)
    return record


def test_an_empty_folder_gets_all_that_belongs_to_a_checkpoint(store, tmp_path):
    record = write(store, tmp_path / "here")
    shutil.rmtree(tmp_path / "here")
    shared = SharedCheckpoints(store, tmp_path / "there")
    path = shared.fetch(record.path, record.sha256, "checkpoints")
    assert path == str(tmp_path / "there" / "checkpoints" / "step-000000000010.fence-1.json")
    found = load_checkpoint(path, record.sha256)
    assert torch.equal(found.tensors["weight"], torch.arange(3.0))
    assert (tmp_path / "there" / "experts.json").read_text() == "[]"
    diary = json.loads((tmp_path / "there" / "diary.json").read_text())
    assert (diary["stages"][0]["name"], diary["cpu_seconds"]) == ("easy", 0.0)
    assert shared.fetch(path, record.sha256, "checkpoints") == path


def test_a_checkpoint_that_is_here_is_not_fetched(store, tmp_path):
    record = write(store, tmp_path / "here")
    empty = DirectoryArtifactStore(tmp_path / "empty")
    shared = SharedCheckpoints(empty, tmp_path / "here")
    assert shared.fetch(record.path, record.sha256, "checkpoints") == record.path


def test_one_of_another_run_brings_nothing_else(store, tmp_path):
    record = write(store, tmp_path / "here")
    shutil.rmtree(tmp_path / "here")
    shared = SharedCheckpoints(store, tmp_path / "there")
    assert Path(shared.fetch(record.path, record.sha256, "init")).parent.name == "init"
    assert not (tmp_path / "there" / "experts.json").exists()


def test_time_does_not_change_the_hash(store, tmp_path):
    one = write(store, tmp_path / "one", diary=Diary(cpu_seconds=1))
    other = write(store, tmp_path / "other", diary=Diary(cpu_seconds=2))
    assert one.sha256 == other.sha256


def test_an_absent_one_is_named(store, tmp_path):
    shared = SharedCheckpoints(store, tmp_path / "there")
    with pytest.raises(CheckpointAbsentError, match=r"/elsewhere/step-1\.fence-1\.json is not on"):
        shared.fetch("/elsewhere/step-1.fence-1.json", "0" * 64, "checkpoints")
    record = write(store, tmp_path / "here")
    tensors = json.loads(Path(record.path).read_text())["tensors_sha256"]
    store.path(tensors).unlink()
    shutil.rmtree(tmp_path / "here")
    with pytest.raises(CheckpointAbsentError):
        shared.fetch(record.path, record.sha256, "checkpoints")
    assert not (tmp_path / "there").exists()


def test_damage_is_noticed_and_nothing_is_written(store, tmp_path):
    record = write(store, tmp_path / "here")
    shutil.rmtree(tmp_path / "here")
    store.path(record.sha256).write_bytes(b"{}")
    shared = SharedCheckpoints(store, tmp_path / "there")
    with pytest.raises(ArtifactCorruptError):
        shared.fetch(record.path, record.sha256, "checkpoints")
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"tensors_file": "../outside.safetensors"},
        {"tensors_file": ".."},
        {"tensors_file": ""},
        {"tensors_file": 5},
        {"beside": {"../../evil": "0" * 64}},
        {"beside": {"experts.json": "../../etc/passwd"}},
        {"tensors_sha256": None},
        {"beside": []},
    ],
)
def test_a_manifest_leads_nowhere_else(store, tmp_path, change):
    record = write(store, tmp_path / "here")
    manifest = json.loads(Path(record.path).read_text()) | change
    sha256 = store.put(json.dumps(manifest).encode())
    shared = SharedCheckpoints(store, tmp_path / "there")
    with pytest.raises(ArtifactCorruptError, match="manifest"):
        shared.fetch("/elsewhere/step-1.fence-1.json", sha256, "checkpoints")
    assert not (tmp_path / "there").exists()


def test_all_parts_of_a_shared_checkpoint_are_listed(store, tmp_path):
    record = write(store, tmp_path / "here")
    assert list_named(store, [record.sha256, "0" * 64]) == set(store.list_hashes())


class Context:
    """A supervisor that commits everything, and may call a halt after some checkpoints."""

    def __init__(self, var, store, *, fence=1, resume=None, stop_after=None):
        self.var, self.artifacts, self.fence, self.resume = var, str(store), fence, resume
        self.stop_after = stop_after
        self.checkpoints = []

    def metrics(self, step, values): ...
    def progress(self, done, total): ...
    def emit(self, type_, payload): ...

    def checkpoint(self, path, sha256, step, size_bytes):
        self.checkpoints.append({"path": str(path), "sha256": sha256})

    def should_stop(self):
        return "preempt" if len(self.checkpoints) == self.stop_after else None


def leave_experts(folder):
    folder.mkdir(parents=True)
    experts = [{"name": name, "parameters": []} for name in EXPERTS]
    (folder / "experts.json").write_text(json.dumps(experts))


def dismiss(study, agent, outcome, curve, *, curriculum):
    """Judging the policy takes most of the time and is not what is tested here."""
    return leave_unfinished(study.problem, StopReason.PREEMPT, outcome)


def test_a_training_goes_on_with_nothing_but_the_store_as_if_never_moved(
    store, tmp_path, monkeypatch
):
    """Machine B has an empty folder; only hashes come over."""
    monkeypatch.setattr(training_run, "conclude_run", dismiss)
    spec = {"config": to_json(CONFIG), "run_id": "r", "artifact_root": "/none", "run_root": "/none"}
    place = tmp_path / "store"
    for machine in ("a", "whole"):
        leave_experts(tmp_path / machine / "runs" / "r")
    first = Context(tmp_path / "a", place, stop_after=1)
    assert job.train(spec, first)["env_steps"] == 2 * UPDATE
    shutil.rmtree(tmp_path / "a")
    second = Context(tmp_path / "b", place, fence=2, resume=first.checkpoints[-1])
    whole = Context(tmp_path / "whole", place)
    assert job.train(spec, second)["env_steps"] == job.train(spec, whole)["env_steps"] == 4 * UPDATE
    assert len(second.checkpoints) == 2
    ours, theirs = [load_checkpoint(**one.checkpoints[-1]).tensors for one in (second, whole)]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    curves = [(tmp_path / one / "runs/r/curve.json").read_text() for one in ("b", "whole")]
    assert curves[0] == curves[1]
    assert (tmp_path / "b" / "runs/r/experts.json").exists()
