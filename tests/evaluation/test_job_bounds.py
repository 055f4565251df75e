"""Bounds on slowdown: worked by hand, and in their order on small cases solved to the optimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.job_arrivals import JobArrivals, JobConfig, JobScenarios
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.domains.job_experts import EXPERTS
from rl.domains.job_scheduling import JobSchedulingConfig, JobSchedulingDomain, JobView
from rl.environments.job_scheduling_environment import BatchedJobScheduling
from rl.environments.lockstep import LockstepOptions
from rl.evaluation.job_bounds import area_bound, time_indexed_bound


def make_jobs(jobs, *, steps, capacity=(10.0,)):
    """One episode of {arrival: (length, needs)}."""
    length = np.zeros((1, steps), np.int16)
    need = np.zeros((1, steps, len(capacity)), np.float32)
    for arrival, (one, needs) in jobs.items():
        length[0, arrival], need[0, arrival] = one, needs
    return JobScenarios(length=length, need=need, capacity=np.asarray([capacity], np.float32))


def test_full_width_jobs_by_hand():
    """Both fill the machine: 4 steps from 0, 1 step from 1. Whole: 4/4 + (5-1)/1 = 5 or, the short
    one first, 1 + 6/4 = 2.5. Split: busy from 0 to 1 and 2 to 5 has mean 2.75, so (2.75 + 2)/4 + 1.
    """
    jobs = make_jobs({0: (4, [10]), 1: (1, [10])}, steps=2)
    assert area_bound(jobs)[0] == pytest.approx(4.75 / 4 + 1)
    assert time_indexed_bound(jobs, 0, integral=True) == pytest.approx(2.5)


def test_jobs_that_fit_together_slow_down_by_one_each():
    jobs = make_jobs({0: (3, [5, 1]), 1: (2, [5, 2])}, steps=3, capacity=(10.0, 10.0))
    assert area_bound(jobs)[0] == pytest.approx(2.0)
    assert time_indexed_bound(jobs, 0, integral=True) == pytest.approx(2.0)
    assert area_bound(make_jobs({}, steps=3))[0] == 0.0
    assert time_indexed_bound(make_jobs({}, steps=3), 0, integral=True) == 0.0


def play(name, scenarios, config):
    episodes = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=episodes), 0)
    options = LockstepOptions(num_envs=episodes, shuffle=False)
    environment = BatchedJobScheduling(config, bank, options, 0)
    domain, generator = JobSchedulingDomain(config), np.random.default_rng(0)
    environment.reset(0)
    total, slowdown = torch.zeros(episodes), torch.zeros(episodes)
    for _ in range(config.max_steps):
        view = JobView(**{key: value.numpy() for key, value in vars(environment.view).items()})
        choice = EXPERTS[name](view, domain, generator)
        record = environment.step(torch.as_tensor(choice)[:, None])
        total -= record.reward[:, 0]
        slowdown += record.metrics["slowdown_sum"]
    np.testing.assert_allclose(total, slowdown, rtol=1e-4)
    return total.numpy()


def test_experts_optimum_and_relaxations_are_in_order():
    """About ten jobs each; the optimum is strictly better than experts and the area bound."""
    law = JobConfig(num_arrival_steps=16, arrival_rate=0.65)
    scenarios = JobArrivals(law).draw(6, np.random.default_rng(3))
    config = JobSchedulingConfig(num_arrival_steps=16, max_steps=160)
    area = area_bound(scenarios)
    relaxed = np.array([time_indexed_bound(scenarios, e, integral=False) for e in range(6)])
    optimum = np.array([time_indexed_bound(scenarios, e, integral=True) for e in range(6)])
    assert (area <= relaxed + 1e-6).all()
    assert (relaxed <= optimum + 1e-6).all()
    played = {name: play(name, scenarios, config) for name in EXPERTS}
    for total in played.values():
        assert (total >= optimum - 1e-3).all()
    assert area.sum() < 0.98 * optimum.sum() < 0.98 * 0.98 * min(p.sum() for p in played.values())
