"""Capacity in lumps: lumps, units and money add up, bounds hold, stages change the world."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test

from data.capacity_demand import CapacityDemand, CapacityDemandConfig, CapacityScenarios
from data.scenario import BankConfig, FixedSource, ScenarioBank, ScenarioError
from rl.domains.capacity_experts import EXPERTS
from rl.domains.capacity_planning import CapacityConfig, CapacityDomain, CapacityView
from rl.environments.base_environment import InvalidActionError
from rl.environments.capacity_planning_environment import (
    BatchedCapacityPlanning,
    CapacityPlanningEnvironment,
)
from rl.environments.conformance import check_environment
from rl.environments.gymnasium_faces import SingleAgentEnvironment
from rl.environments.lockstep import LockstepOptions
from rl.evaluation.capacity_bounds import capacity_hindsight_bound
from utils.errors import ConfigError

LAW = CapacityDemandConfig(num_regions=2, max_steps=14, lookback=5, season_steps=6)
SMALL = CapacityConfig(num_regions=2, max_steps=14, lookback=5, lead_time=2, max_lumps=2)


def make_environment(law=LAW, config=SMALL, *, num_envs=4, seed=0, source=None, shuffle=False):
    bank = ScenarioBank(source or CapacityDemand(law), BankConfig(num_episodes=8), seed)
    options = LockstepOptions(num_envs=num_envs, shuffle=shuffle)
    return BatchedCapacityPlanning(config, bank, options, 0)


def as_numpy(view):
    return CapacityView(**{name: value.numpy() for name, value in vars(view).items()})


def returns_of(env, rule):
    """Play one episode; `rule(view)` returns actions, NumPy."""
    env.reset(0)
    total = torch.zeros(env.num_envs, dtype=torch.float64)
    for _ in range(env.config.max_steps):
        total += env.step(torch.as_tensor(rule(as_numpy(env.view)))[:, None]).reward[:, 0]
    return total.numpy()


def adds_up(env, record):
    assert (env.state.lumps >= 0).all()
    assert (env.state.lumps == env.state.lumps.round()).all()
    if record.metrics:
        metrics = record.metrics
        torch.testing.assert_close(metrics["served"] + metrics["unmet"], metrics["demand"])
        assert torch.equal(record.cost[:, 0, 0], metrics["unmet"])
        assert (metrics["served"] <= metrics["capacity"] + 1e-3).all()
        assert all((term <= 0).all() for term in record.reward_terms.values())


def test_examiner():
    check_environment(
        lambda: make_environment(num_envs=3, shuffle=True),
        num_steps=45,
        max_steps=14,
        invariants=(adds_up,),
    )


def test_faces():
    parallel_api_test(CapacityPlanningEnvironment(num_regions=2, max_steps=20), num_cycles=30)
    check_env(SingleAgentEnvironment(make_environment(num_envs=1)), skip_render_check=True)


def test_an_episode_can_be_looked_at():
    face = CapacityPlanningEnvironment(render_mode="ansi")
    face.reset(seed=0)
    for _ in range(3):
        face.step({agent: face.action_space(agent).sample() for agent in face.agents})
    assert "unmet_penalty" in face.render()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), lead_time=st.integers(1, 5))
def test_lumps_are_conserved_and_come_after_the_lead_time(seed, lead_time):
    env = make_environment(config=replace(SMALL, lead_time=lead_time), seed=seed)
    env.reset(0)
    draw = torch.Generator().manual_seed(seed)
    expected, built = env.state.lumps.clone(), []
    for step in range(SMALL.max_steps - 1):
        action = 3 * torch.rand((4, 1, 2), generator=draw) - 1.5
        change = env.domain.project(action[:, 0], env.view)
        built.append(change.clamp(min=0.0))
        if step >= lead_time:
            expected += built[step - lead_time]
        expected -= (-change).clamp(min=0.0)
        record = env.step(action)
        assert torch.equal(env.state.lumps, expected)
        pending = sum(built[max(0, step + 1 - lead_time) :])
        assert torch.equal(env.state.coming.sum(-1), pending)
        adds_up(env, record)


def plain_world(demand, *, lumps, history=5.0, config=None):
    """One episode of one region."""
    config = config or replace(SMALL, num_regions=1, max_steps=len(demand), lookback=1, lead_time=1)
    scenarios = CapacityScenarios(
        demand=np.asarray(demand, np.float32).reshape(1, -1, 1),
        history=np.full((1, config.lookback, 1), history, np.float32),
        initial_lumps=np.full((1, 1), lumps, np.float32),
        active=np.ones((1, 1), np.float32),
    )
    return make_environment(config=config, source=FixedSource(scenarios), num_envs=1)


def test_three_steps_by_hand():
    """One lump of 10. Demand 15, 25, 4. Build two, nothing, remove two."""
    env = plain_world([15.0, 25.0, 4.0], lumps=1)
    terms = []
    for action in (1.0, 0.0, -1.0):
        record = env.step(torch.full((1, 1, 1), action))
        terms.append({name: float(value) for name, value in record.reward_terms.items()})
    assert terms == [
        {"building": -450.0, "removal": 0.0, "idle": 0.0, "unmet_penalty": -15.0},
        {"building": 0.0, "removal": 0.0, "idle": -2.5, "unmet_penalty": 0.0},
        {"building": 0.0, "removal": -40.0, "idle": -3.0, "unmet_penalty": 0.0},
    ]


def test_what_does_not_stand_cannot_be_removed():
    env = plain_world([15.0, 25.0, 4.0], lumps=1)
    record = env.step(torch.full((1, 1, 1), -1.0))
    assert record.metrics["removed_lumps"].tolist() == [1]
    assert env.step(torch.full((1, 1, 1), -1.0)).metrics["removed_lumps"].tolist() == [0]


def test_observation_and_mask_equal_the_domain_on_numpy():
    env = make_environment(num_envs=8)
    domain = CapacityDomain(SMALL)
    draw = torch.Generator().manual_seed(0)
    for _ in range(13):
        record = env.step(2 * torch.rand((8, 1, 2), generator=draw) - 1)
        view = as_numpy(env.view)
        np.testing.assert_allclose(record.observation[:, 0], domain.encode(view), atol=1e-6)
        np.testing.assert_array_equal(record.action_mask[:, 0], view.active > 0)


def test_trajectory_does_not_depend_on_the_batch():
    few, many = make_environment(num_envs=2), make_environment(num_envs=8)
    for share in (0.3, -0.9, 0.5, 1.0):
        small, large = (e.step(torch.full((e.num_envs, 1, 2), share)) for e in (few, many))
        assert torch.equal(small.reward, large.reward[:2])
        assert torch.equal(small.observation, large.observation[:2])


def dynamic_program(demand, lumps, config, most=9):
    """The optimum of one region, by the state: lumps standing and coming."""

    @cache
    def cost(step, standing, coming):
        if step == len(demand):
            return 0.0
        best = np.inf
        for change in range(-config.max_lumps, config.max_lumps + 1):
            now = standing + coming[0] + min(change, 0)
            if now < 0 or now + sum(coming[1:]) + max(change, 0) > most:
                continue
            capacity = config.lump_units * now
            paid = config.build_cost * max(change, 0) + config.step_cost * (change > 0)
            paid += config.removal_cost * max(-change, 0)
            paid += config.idle_cost * max(capacity - demand[step], 0.0)
            paid += config.unmet_penalty * max(demand[step] - capacity, 0.0)
            best = min(best, paid + cost(step + 1, now, (*coming[1:], max(change, 0))))
        return best

    return cost(0, lumps, (0,) * config.lead_time)


@pytest.mark.parametrize(("seed", "lead_time"), [(0, 1), (1, 2), (2, 3), (3, 2)])
def test_integer_program_equals_dynamic_program_and_relaxation_is_below(seed, lead_time):
    draw = np.random.default_rng(seed)
    demand = draw.uniform(5, 60, 10).astype(np.float32).astype(float)
    config = replace(
        SMALL, num_regions=1, max_steps=10, lookback=1, lead_time=lead_time, build_cost=60.0
    )
    env = plain_world(demand, lumps=2, config=config)
    scenarios = env.bank.scenarios.take(np.arange(1))
    whole = capacity_hindsight_bound(scenarios, config, integral=True)[0]
    relaxed = capacity_hindsight_bound(scenarios, config)[0]
    assert whole == pytest.approx(dynamic_program(tuple(demand), 2, config), rel=1e-4)
    assert relaxed < whole - 0.1
    generator = np.random.default_rng(0)
    for rule in EXPERTS.values():
        returns = returns_of(env, lambda view, rule=rule: rule(view, config, generator))
        assert -returns[0] >= whole - 1e-2


def test_no_policy_beats_hindsight_and_planning_beats_chance():
    law, config = CapacityDemandConfig(max_steps=40), CapacityConfig(max_steps=40)
    env = make_environment(law, config, num_envs=8)
    generator = np.random.default_rng(0)
    bound = -capacity_hindsight_bound(env.bank.scenarios, config)
    played = {
        name: returns_of(env, lambda view, rule=rule: rule(view, config, generator))
        for name, rule in EXPERTS.items()
    }
    for returns in played.values():
        assert (returns <= bound + 1e-2).all()
    assert played["forecast_base_stock"].mean() > played["random"].mean()
    assert played["forecast_base_stock"].mean() > played["nothing"].mean()


def test_a_region_that_is_off_is_out_of_the_world():
    env = make_environment()
    size = env.observation_size
    bank = ScenarioBank(CapacityDemand(replace(LAW, active_regions=1)), BankConfig(), 0)
    env.use_bank(bank, seed=0)
    assert env.observation_size == size
    for _ in range(6):
        one = env.step(torch.tensor([[[0.5, 1.0]]]).expand(4, 1, 2))
        assert not one.action_mask[..., 1].any()
        assert (env.state.lumps[:, 1] == 0).all()
        assert (env.state.coming[:, 1] == 0).all()


@pytest.mark.parametrize(
    ("change", "measure"),
    [
        ({"growth": (0.05, 0.05)}, lambda s: s.demand[:, -1].mean() / s.demand[:, 0].mean()),
        ({"level": (200.0, 200.0)}, lambda s: s.demand.mean()),
        ({"season": 0.9}, lambda s: s.demand.std()),
        ({"noise": 0.8}, lambda s: s.demand.std()),
        ({"noise_memory": 0.0}, lambda s: np.abs(np.diff(np.log(s.demand), axis=1)).mean()),
    ],
)
def test_stages_change_the_world(change, measure):
    before, after = (
        measure(CapacityDemand(law).draw(64, np.random.default_rng(0)))
        for law in (LAW, replace(LAW, **change))
    )
    assert after > 1.1 * before


GOOD = {
    "demand": np.ones((1, 2, 1), np.float32),
    "history": np.ones((1, 3, 1), np.float32),
    "initial_lumps": np.ones((1, 1), np.float32),
    "active": np.ones((1, 1), np.float32),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"demand": np.full((1, 2, 1), np.nan)}, "demand holds negative or non-finite"),
        ({"history": np.full((1, 3, 1), -1.0)}, "history holds negative"),
        ({"initial_lumps": np.full((1, 1), 0.5)}, "parts of lumps"),
        ({"active": np.full((1, 1), 0.5)}, "active holds values other"),
        ({"active": np.zeros((1, 1))}, "not active has demand"),
        ({"history": np.ones((1, 3, 2))}, "history has shape"),
        ({"demand": np.ones((1, 0, 1))}, "not empty"),
    ],
)
def test_bad_scenarios_are_refused(change, message):
    CapacityScenarios(**GOOD)
    with pytest.raises(ScenarioError, match=message):
        CapacityScenarios(**(GOOD | change))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CapacityDemandConfig(max_steps=0), "max_steps"),
        (lambda: CapacityDemandConfig(active_regions=4), "active_regions=4 must lie in 1 .. 3"),
        (lambda: CapacityDemandConfig(level=(2.0, 1.0)), "level wants"),
        (lambda: CapacityDemandConfig(growth=(-1.0, 0.0)), "growth wants"),
        (lambda: CapacityDemandConfig(noise_memory=1.0), "noise_memory"),
        (lambda: CapacityConfig(lead_time=0), "lead_time"),
        (lambda: CapacityConfig(lump_units=0.0), "lump_units"),
        (lambda: CapacityConfig(idle_cost=float("nan")), "idle_cost"),
        (lambda: make_environment(config=replace(SMALL, max_steps=13)), "the bank holds"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_bad_actions_are_refused():
    with pytest.raises(InvalidActionError, match="not finite"):
        make_environment().step(torch.full((4, 1, 2), float("nan")))
