"""Every algorithm goes on in a new process as if nothing had happened, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from rl.training.checkpointing import CheckpointFolder
from tests.training.resume_runs import CONFIGS, CURRICULA

ROOT = Path(__file__).parents[2]
BEFORE, AFTER = 4, 3


def go_on(folder, updates):
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "tests.training.resume_runs",
        str(folder),
        str(updates),
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return where the whole runs lie, and those in two halves."""
    whole, halves = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("halves")

    def in_halves():
        go_on(halves, BEFORE)
        go_on(halves, AFTER)

    with ThreadPoolExecutor() as pool:
        for run in [pool.submit(go_on, whole, BEFORE + AFTER), pool.submit(in_halves)]:
            run.result()
    return whole, halves


@pytest.mark.parametrize("name", [*CONFIGS, *(f"{run}/checkpoints" for run in CURRICULA)])
def test_a_run_in_two_processes_equals_one_in_one(folders, name):
    one, other = (CheckpointFolder(folder / name).newest().checkpoint for folder in folders)
    assert one.fields == other.fields
    assert one.fields["updates"] == BEFORE + AFTER
    assert one.tensors.keys() == other.tensors.keys()
    for tensor, value in one.tensors.items():
        assert torch.equal(value, other.tensors[tensor]), tensor


@pytest.mark.parametrize("name", CURRICULA)
def test_a_curriculum_and_its_evaluations_are_the_same_in_two_processes(folders, name):
    """Stages were left in both halves; the curve has every evaluation once, the due one too."""
    whole, halves = (folder / name for folder in folders)
    curves = [json.loads((run / "curve.json").read_text()) for run in (whole, halves)]
    assert curves[0] == curves[1]
    steps = [point["env_steps"] for point in curves[0]["points"]]
    assert steps == sorted(set(steps))
    assert len(steps) > 2
    newest = CheckpointFolder(halves / "checkpoints").newest()
    entries = newest.checkpoint.fields["curriculum"]["driver"]["entries"]
    assert len({entry["stage"] for entry in entries}) > 1
