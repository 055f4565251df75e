"""PPO learns to balance a pole; the benchmark runs more seeds."""

from __future__ import annotations

import pytest
import torch

from benchmarks.ppo_cartpole import SOLVED, train_once


@pytest.mark.learning
@pytest.mark.slow
def test_ppo_solves_cartpole():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    result = train_once(seed=0)
    torch.set_num_threads(threads)
    assert result.env_steps < 100_000
    assert result.mean_return >= SOLVED
