"""A run can be stopped while the experts are tuned, and keeps what it has found."""

from __future__ import annotations

import json

from rl.domains.allocation_experts import EXPERTS
from rl.training import allocation_problem, allocation_world
from rl.training.conclusion import Places
from rl.training.recorder import NullRecorder, StopReason
from rl.training.training_config import TrainingConfig
from rl.training.training_run import train_problem
from utils.persistence.artifact_store import DirectoryArtifactStore


class StopsAfter(NullRecorder):
    def __init__(self, questions):
        self.questions = questions

    def should_stop(self):
        self.questions -= 1
        return StopReason.PREEMPT if self.questions < 0 else None


def test_tuning_stops_and_goes_on_where_it_was(tmp_path, monkeypatch):
    tuned = []

    def tune(scenarios, config, *, names):
        tuned.extend(names)
        return real_tune(scenarios.take([0, 1]), config, names=names)

    real_tune = allocation_problem.tune_experts
    monkeypatch.setattr(allocation_problem, "tune_experts", tune)
    monkeypatch.setattr(allocation_world, "locate_traces", lambda: None)

    def run(questions):
        return train_problem(
            TrainingConfig(num_envs=2, total_episodes=2, eval_frequency=0),
            StopsAfter(questions),
            Places(folder=tmp_path, artifacts=DirectoryArtifactStore(tmp_path / "artifacts")),
            run_id="run",
        )

    stopped = run(2)
    assert (stopped.stopped, stopped.env_steps, stopped.artifact_sha256) == ("preempt", 0, None)
    assert tuned == list(EXPERTS)[:2]
    assert len(json.loads((tmp_path / "experts.json").read_text())) == 2
    finished = run(10**6)
    assert finished.stopped is None
    assert tuned == list(EXPERTS)
    assert finished.ended == "all steps are done"
    assert {row.name for row in finished.tables[0].rows} >= {*EXPERTS, "apg", "random", "bound"}
