"""A cluster with a queue: jobs are conserved, rewards are slowdowns, a plain loop agrees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test

from benchmarks.plain_jobs import PlainJobs
from data.job_arrivals import JobArrivals, JobConfig, JobScenarios, rate_for_load
from data.scenario import BankConfig, FixedSource, ScenarioBank, ScenarioError
from rl.domains.job_experts import EXPERTS
from rl.domains.job_scheduling import JobSchedulingConfig, JobSchedulingDomain, JobView
from rl.environments.base_environment import InvalidActionError
from rl.environments.conformance import check_environment
from rl.environments.gymnasium_faces import SingleAgentEnvironment
from rl.environments.job_scheduling_environment import (
    BatchedJobScheduling,
    JobSchedulingEnvironment,
)
from rl.environments.lockstep import LockstepOptions
from utils.errors import ConfigError

SMALL = JobSchedulingConfig(num_arrival_steps=30, window=3, backlog=8, max_steps=70)
ENDLESS = replace(SMALL, max_steps=300)


def make_bank(config=SMALL, *, seed=0, episodes=8, source=None, active=None, rate=0.7):
    law = JobConfig(
        num_arrival_steps=config.num_arrival_steps, active_resources=active, arrival_rate=rate
    )
    return ScenarioBank(source or JobArrivals(law), BankConfig(num_episodes=episodes), seed)


def make_environment(config=SMALL, *, num_envs=4, bank=None, shuffle=False):
    options = LockstepOptions(num_envs=num_envs, shuffle=shuffle)
    return BatchedJobScheduling(config, bank or make_bank(config), options, 0)


def as_numpy(view):
    return JobView(**{name: value.numpy() for name, value in vars(view).items()})


def one_episode(jobs, *, steps, capacity):
    length = np.zeros((1, steps), np.int16)
    need = np.zeros((1, steps, len(capacity)), np.float32)
    for arrival, (one, needs) in jobs.items():
        length[0, arrival], need[0, arrival] = one, needs
    return JobScenarios(length=length, need=need, capacity=np.asarray([capacity], np.float32))


def check_bookings(env, record):
    view = env.view
    assert (view.free >= 0).all()
    assert (view.free <= view.capacity[..., None]).all()
    assert (env.state.entered <= env.state.arrived).all()
    assert all((term <= 0).all() for term in record.reward_terms.values())


def test_examiner():
    check_environment(
        lambda: make_environment(num_envs=3, shuffle=True),
        num_steps=150,
        max_steps=70,
        invariants=(check_bookings,),
    )


def test_faces():
    parallel_api_test(JobSchedulingEnvironment(load=0.9, max_steps=30, seed=1), num_cycles=40)
    check_env(SingleAgentEnvironment(make_environment(num_envs=1)), skip_render_check=True)
    face = JobSchedulingEnvironment()
    observations, infos = face.reset(seed=0)
    assert observations["scheduler"].shape == (82,)
    assert infos["scheduler"]["action_mask"].tolist() == [0] * 10 + [1]


def test_bookings_by_hand():
    """Three jobs on ten units. Job 0 runs 2 steps on 6, job 1 runs 3 on 6, job 2 runs 1 on 4."""
    jobs = {0: (2, [6]), 1: (3, [6]), 2: (1, [4])}
    config = JobSchedulingConfig(
        num_resources=1, num_arrival_steps=4, window=2, horizon=6, max_steps=20
    )
    source = FixedSource(one_episode(jobs, steps=4, capacity=[10.0]))
    env = make_environment(config, num_envs=1, bank=make_bank(config, episodes=1, source=source))
    void, rewards, slowdowns = 2, [], []
    for choice in (0, void, 0, void, 0, void, void, void, void):
        record = env.step(torch.tensor([[choice]]))
        rewards.append(float(record.reward))
        if record.metrics["placed_jobs"]:
            slowdowns.append(float(record.metrics["slowdown_sum"]))
    # Job 0 at once: 2/2. Job 1, of time 1, waits until job 0 ends at 2: (5 - 1) / 3.
    # Job 2 fits beside it at once: 1/1.
    assert slowdowns == pytest.approx([1.0, 4 / 3, 1.0])
    assert rewards == pytest.approx([0, -1 / 2 - 1 / 3, 0, -1 / 3 - 1, 0, -1 / 3, -1 / 3, 0, 0])
    assert sum(rewards) == pytest.approx(-sum(slowdowns) + 0.5), "at time 0 no reward is paid"


def test_what_cannot_be_booked_lets_time_pass():
    env = make_environment(num_envs=1)
    for choice in (0, SMALL.window):
        env.reset(0)
        record = env.step(torch.tensor([[choice]]))
        assert record.metrics["time_steps"] == 1, "nothing has arrived yet"
    while not env.view.length[0, 0]:
        env.step(torch.tensor([[SMALL.window]]))
    before = env.state.now.clone()
    assert env.step(torch.tensor([[0]])).metrics["placed_jobs"] == 1
    assert torch.equal(env.state.now, before)


def test_an_episode_can_be_looked_at():
    face = JobSchedulingEnvironment(render_mode="ansi")
    face.reset(seed=0)
    for _ in range(3):
        face.step({agent: face.action_space(agent).sample() for agent in face.agents})
    assert "utilisation" in face.render()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), patience=st.floats(0.05, 0.9))
def test_jobs_are_conserved_and_rewards_are_slowdowns(seed, patience):
    env = make_environment(ENDLESS, num_envs=8, bank=make_bank(ENDLESS, seed=seed))
    env.reset(seed)
    jobs = env.bank.scenarios.length[env.episode_index] > 0
    draw = torch.Generator().manual_seed(seed)
    sums = dict.fromkeys(("arrived_jobs", "placed_jobs", "finished_jobs", "slowdown_sum"), 0.0)
    paid = 0.0
    for _ in range(ENDLESS.max_steps):
        waits = torch.rand((8, 1), generator=draw) < patience
        choice = torch.randint(0, 3, (8, 1), generator=draw)
        record = env.step(torch.where(waits, SMALL.window, choice))
        sums = {name: value + record.metrics[name] for name, value in sums.items()}
        paid -= record.reward[:, 0]
        assert torch.equal(
            sums["arrived_jobs"] - sums["finished_jobs"],
            record.metrics["waiting_jobs"] + record.metrics["running_jobs"],
        )
    done = (record.metrics["waiting_jobs"] + record.metrics["running_jobs"]) == 0
    assert torch.equal(sums["finished_jobs"][done], torch.as_tensor(jobs.sum(1))[done].float())
    torch.testing.assert_close(paid[done], sums["slowdown_sum"][done], rtol=1e-4, atol=1e-3)
    if patience < 0.5:
        assert done.any()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_plain_loop_plays_the_same_world(seed):
    env = make_environment(num_envs=1, bank=make_bank(seed=seed))
    observation = env.reset(seed).observation
    plain = PlainJobs(SMALL, env.bank.scenarios)
    seen, mask = plain.reset(int(env.episode_index[0]))
    draw = np.random.default_rng(seed)
    for _ in range(SMALL.max_steps - 1):
        np.testing.assert_allclose(seen, observation[0, 0], atol=1e-6)
        choice = int(draw.integers(0, SMALL.window + 1))
        record = env.step(torch.tensor([[choice]]))
        seen, mask, reward, _ = plain.step(choice)
        observation = record.observation
        assert mask == record.action_mask[0, 0].tolist()
        assert reward == pytest.approx(float(record.reward), abs=1e-4)


def test_observation_and_mask_equal_the_domain_on_numpy():
    env = make_environment(num_envs=8)
    domain = JobSchedulingDomain(SMALL)
    draw = torch.Generator().manual_seed(0)
    for _ in range(60):
        record = env.step(torch.randint(0, 4, (8, 1), generator=draw))
        view = as_numpy(env.view)
        np.testing.assert_allclose(record.observation[:, 0], domain.encode(view), rtol=0, atol=1e-6)
        mask = domain.feasible(domain.earliest_start(view))
        np.testing.assert_array_equal(record.action_mask[:, 0], mask)


def test_trajectory_does_not_depend_on_the_batch():
    few, many = make_environment(num_envs=2), make_environment(num_envs=8)
    for choice in (3, 3, 0, 1, 3, 2, 0, 3):
        small, large = (e.step(torch.full((e.num_envs, 1), choice)) for e in (few, many))
        assert torch.equal(small.reward, large.reward[:2])
        assert torch.equal(small.observation, large.observation[:2])


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_start_jobs_now_and_pass_when_none_fits(name):
    env = make_environment(ENDLESS, num_envs=8)
    domain, generator = JobSchedulingDomain(ENDLESS), np.random.default_rng(0)
    for _ in range(ENDLESS.max_steps - 1):
        view = as_numpy(env.view)
        start = domain.earliest_start(view)
        choice = EXPERTS[name](view, domain, generator)
        chosen = np.take_along_axis(start, choice[:, None].clip(max=2), 1)[:, 0]
        assert ((choice == SMALL.window) | (chosen == 0)).all()
        if name != "fifo":
            assert ((choice < SMALL.window) == (start == 0).any(1)).all()
        record = env.step(torch.as_tensor(choice)[:, None])
    assert (record.metrics["waiting_jobs"] == 0).all()


def test_a_resource_that_is_off_is_out_of_the_world():
    env = make_environment(bank=make_bank(active=2))
    both = env.observation_size
    env.use_bank(make_bank(active=1), seed=0)
    assert env.observation_size == both
    for _ in range(20):
        record = env.step(torch.zeros((4, 1), dtype=torch.int64))
        assert (record.observation[:, 0, SMALL.horizon : 2 * SMALL.horizon] == 0).all()
        assert (env.view.need[..., 1] == 0).all()
    alone = make_environment(
        replace(SMALL, num_resources=1),
        bank=make_bank(
            source=FixedSource(
                replace(
                    env.bank.scenarios,
                    need=env.bank.scenarios.need[..., :1],
                    capacity=env.bank.scenarios.capacity[:, :1],
                )
            )
        ),
    )
    env.use_bank(make_bank(active=1), seed=0)
    for choice in (3, 3, 0, 1, 3, 0, 2, 3, 3):
        two, one = (e.step(torch.full((4, 1), choice)) for e in (env, alone))
        assert torch.equal(two.reward, one.reward)
        assert torch.equal(two.metrics["utilisation"], one.metrics["utilisation"])


def test_load_acts():
    arrived = {}
    for load in (0.5, 1.3):
        rate = rate_for_load(load, JobConfig())
        env = make_environment(bank=make_bank(rate=rate))
        for _ in range(SMALL.max_steps - 1):
            env.step(torch.zeros((4, 1), dtype=torch.int64))
        arrived[load] = float(env.state.arrived.sum())
    assert arrived[0.5] < 0.7 * arrived[1.3]


def test_rates_of_loads_by_hand():
    assert JobConfig().work_per_job == pytest.approx(4.1 * 4.5 / 10)
    assert rate_for_load(0.5, JobConfig()) == pytest.approx(0.5 / 1.845)
    assert rate_for_load(1.3, JobConfig()) == pytest.approx(0.704607, rel=1e-5)
    jobs = JobArrivals(JobConfig()).draw(4000, np.random.default_rng(0))
    work = (jobs.length[..., None] * jobs.need).sum((1, 2)) / 2 / 10 / 49
    assert work.mean() == pytest.approx(JobConfig().load, abs=float(4 * work.std() / 4000**0.5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"need": np.full((1, 2, 1), np.nan, np.float32)}, "need holds negative or non-finite"),
        ({"need": np.full((1, 2, 1), 11, np.float32)}, "need exceeds capacity"),
        ({"need": np.full((1, 2, 1), 0.5, np.float32)}, "parts of units"),
        ({"need": np.zeros((1, 2, 1), np.float32)}, "a job needs both"),
        ({"need": np.ones((1, 3, 1), np.float32)}, "need has shape"),
        ({"capacity": np.full((1, 1), -1, np.float32)}, "capacity holds negative"),
        ({"capacity": np.zeros((1, 1), np.float32)}, "switch on one resource"),
        ({"capacity": np.ones((1, 2), np.float32)}, "capacity has shape"),
        ({"length": np.zeros((1, 0), np.int16)}, "not empty"),
    ],
)
def test_bad_scenarios_are_refused(change, message):
    good = {
        "length": np.ones((1, 2), np.int16),
        "need": np.ones((1, 2, 1), np.float32),
        "capacity": np.full((1, 1), 10, np.float32),
    }
    JobScenarios(**good)
    with pytest.raises(ScenarioError, match=message):
        JobScenarios(**(good | change))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JobConfig(arrival_rate=1.2), "arrival_rate"),
        (lambda: JobConfig(active_resources=3), "active_resources=3 exceeds"),
        (lambda: JobConfig(num_arrival_steps=1), "num_arrival_steps"),
        (lambda: JobConfig(short_length=(3, 1)), "short_length"),
        (lambda: JobConfig(capacity=9), "raise capacity"),
        (lambda: rate_for_load(2.0, JobConfig()), "ask for 0 to 184%"),
        (lambda: JobSchedulingConfig(window=0), "window must be"),
        (lambda: JobSchedulingConfig(horizon=99), "horizon must lie"),
        (lambda: make_environment(replace(SMALL, horizon=14)), "lengthen the horizon"),
        (lambda: make_environment(replace(SMALL, num_resources=3), bank=make_bank()), "resources"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_bad_actions_are_refused():
    env = make_environment()
    with pytest.raises(InvalidActionError, match="choices of scheduler"):
        env.step(torch.full((4, 1), 4))
