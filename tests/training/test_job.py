"""The child's side of a training job, with a context that only remembers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from rl.training import job
from rl.training.recorder import CheckpointRecord, EvaluationRecord, StopReason
from rl.training.training_config import TrainingConfig
from utils.config import to_json
from utils.errors import ConfigError
from utils.persistence.run_facts import RunLineage


class Context:
    fence = 4
    var = artifacts = None

    def __init__(self, *, resume=None, stop=None):
        self.resume = resume
        self.told = []
        self._stop = stop

    def metrics(self, step, values):
        self.told.append(("metrics", step, values))

    def progress(self, done, total):
        self.told.append(("progress", done, total))

    def checkpoint(self, path, sha256, step, size_bytes):
        self.told.append(("checkpoint", path, sha256, step, size_bytes))

    def emit(self, type_, payload):
        self.told.append((type_, payload))

    def should_stop(self):
        return self._stop


def spec_for(folder, **config):
    return {
        "config": {**to_json(TrainingConfig(total_episodes=4, num_envs=2)), **config},
        "run_id": "r1",
        "artifact_root": str(folder / "artifacts"),
        "run_root": str(folder / "runs"),
    }


@pytest.fixture
def train(monkeypatch):
    """Replace the training itself; the calls are kept."""
    calls = []

    def stand_in(config, recorder, places, *, run_id):
        calls.append((config, places, run_id))
        return SimpleNamespace(
            agent="resource_allocator",
            ended="all steps are done",
            env_steps=288,
            updates=2,
            stopped=None,
            best_score=1.5,
            artifact_sha256="a" * 64,
            artifact_bytes=7,
            card=None,
            tables=(),
            curriculum=None,
            lineage=RunLineage(),
            report="/report",
        )

    monkeypatch.setattr(job, "train_problem", stand_in)
    return calls


def test_what_the_trainer_says_becomes_frames():
    context = Context()
    recorder = job.FrameRecorder(context)
    recorder.metrics(72, {"loss": 0.5})
    recorder.progress(72, 288)
    recorder.checkpoint_written(
        CheckpointRecord(path="/c.json", sha256="c" * 64, env_steps=72, size_bytes=3)
    )
    recorder.evaluated(EvaluationRecord(env_steps=72, scores={"kpi": 2.0}))
    recorder.stage_changed(72, "training")
    assert context.told == [
        ("metrics", 72, {"loss": 0.5}),
        ("progress", 72, 288),
        ("checkpoint", Path("/c.json"), "c" * 64, 72, 3),
        ("checkpoints_kept", {"env_steps": 72, "score": None, "kept": []}),
        ("evaluated", {"env_steps": 72, "scores": {"kpi": 2.0}}),
        ("stage_changed", {"env_steps": 72, "stage": "training"}),
    ]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (None, None),
        ("pause", StopReason.PAUSE),
        ("preempt", StopReason.PREEMPT),
        ("cancel", StopReason.CANCEL),
        ("orphaned", StopReason.PREEMPT),
    ],
)
def test_every_wish_of_the_supervisor_is_understood(told, reason):
    assert job.FrameRecorder(Context(stop=told)).should_stop() is reason


def test_the_attempt_gets_its_folder_fence_and_checkpoint(train, tmp_path):
    resume = {"path": "/c.json", "sha256": "c" * 64, "step": 72, "size_bytes": 3}
    result = job.train(spec_for(tmp_path, seed=9), Context(resume=resume))
    ((config, places, run_id),) = train
    assert config.seed == 9
    assert places.folder == tmp_path / "runs" / "r1"
    assert (run_id, places.fence, places.init) == ("r1", 4, None)
    assert (places.resume.path, places.resume.sha256) == ("/c.json", "c" * 64)
    assert result["agent"] == "resource_allocator"
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_first_attempt_starts_at_the_beginning(train, tmp_path):
    job.train(spec_for(tmp_path), Context())
    assert train[0][1].resume is None


@pytest.mark.parametrize(
    ("change", "message"),
    [({"nmu_agents": 3}, "config.nmu_agents"), ({"num_agents": "4"}, "config.num_agents")],
)
def test_a_wrong_setting_is_named(train, tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        job.train(spec_for(tmp_path, **change), Context())
    assert train == []
