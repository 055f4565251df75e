"""A run that is killed and continued ends with the same bytes as one that never stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rl.domains.allocation_experts import EXPERTS
from rl.training.checkpointing import CheckpointFolder

PROGRAM = """
import os, signal, sys
from pathlib import Path
from rl.training.conclusion import Places, ResumePoint
from rl.training.checkpointing import CheckpointFolder
from rl.training.recorder import NullRecorder
from rl.training.training_config import TrainingConfig
from rl.training.training_run import train_problem
from utils.persistence.artifact_store import DirectoryArtifactStore

folder, algorithm = Path(sys.argv[1]), sys.argv[2]
seed, kill_after = int(sys.argv[3]), int(sys.argv[4])

class Recorder(NullRecorder):
    written = 0
    def checkpoint_written(self, checkpoint):
        self.written += 1
        if self.written == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

config = TrainingConfig(
    algorithm=algorithm, num_envs=4, total_episodes=32, eval_frequency=0,
    checkpoint_frequency=8, seed=seed,
)
newest = CheckpointFolder(folder / "checkpoints").newest()
resume = None
if newest is not None:
    record = newest.checkpoint.record
    print("resumed at", record.env_steps)
    resume = ResumePoint(path=record.path, sha256=record.sha256)
store = DirectoryArtifactStore(folder / "artifacts")
places = Places(folder=folder, artifacts=store, resume=resume)
result = train_problem(config, Recorder(), places, run_id="run")
print("finished at", result.env_steps)
"""


def run(folder: Path, algorithm: str, *, seed: int = 0, kill_after: int = 0):
    folder.mkdir(exist_ok=True)
    untuned = [{"name": name, "parameters": []} for name in EXPERTS]
    (folder / "experts.json").write_text(json.dumps(untuned))
    command = [sys.executable, "-c", PROGRAM, str(folder), algorithm, str(seed), str(kill_after)]
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def final_tensors(folder: Path) -> dict[str, torch.Tensor]:
    newest = CheckpointFolder(folder / "checkpoints").newest()
    assert newest is not None
    assert newest.checkpoint.record.env_steps == 32 * 72
    return newest.checkpoint.tensors


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["apg", "ppo"])
def test_kill_and_resume_ends_with_the_same_bytes(tmp_path, algorithm):
    straight = run(tmp_path / "straight", algorithm)
    assert straight.returncode == 0, straight.stderr
    killed = run(tmp_path / "killed", algorithm, kill_after=2)
    assert killed.returncode == -9
    resumed = run(tmp_path / "killed", algorithm)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed at 1152" in resumed.stdout
    expected, found = final_tensors(tmp_path / "straight"), final_tensors(tmp_path / "killed")
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert tensor.dtype == found[name].dtype, name
        assert tensor.numpy().tobytes() == found[name].numpy().tobytes(), name


@pytest.mark.slow
def test_another_seed_ends_with_other_bytes(tmp_path):
    for seed in (0, 1):
        assert run(tmp_path / str(seed), "apg", seed=seed).returncode == 0
    one, other = final_tensors(tmp_path / "0"), final_tensors(tmp_path / "1")
    weights = [name for name in one if name.startswith("agent") and name.endswith("weight")]
    assert weights
    assert not any(torch.equal(one[name], other[name]) for name in weights)
