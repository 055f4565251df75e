"""Every algorithm goes on in a new process as if nothing had happened, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from rl.training.checkpointing import CheckpointFolder
from tests.training.resume_runs import CONFIGS

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


@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_in_two_processes_equals_one_in_one(folders, name):
    one, other = (CheckpointFolder(folder / name).newest().checkpoint for folder in folders)
    assert one.fields == other.fields
    assert one.fields["updates"] == BEFORE + AFTER
    assert one.tensors.keys() == other.tensors.keys()
    for tensor, value in one.tensors.items():
        assert torch.equal(value, other.tensors[tensor]), tensor
