"""A roster: nobody works too much, people and money add up, stages change the world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test

from data.scenario import BankConfig, FixedSource, ScenarioBank, ScenarioError
from data.staffing_demand import StaffingConfig, StaffingDemand, StaffingScenarios
from rl.domains.workforce import WorkforceConfig, WorkforceDomain, WorkforceView
from rl.domains.workforce_experts import EXPERTS
from rl.environments.base_environment import InvalidActionError
from rl.environments.conformance import check_environment
from rl.environments.gymnasium_faces import SingleAgentEnvironment
from rl.environments.lockstep import LockstepOptions
from rl.environments.workforce_environment import BatchedWorkforce, WorkforceEnvironment
from rl.evaluation.workforce_bounds import RollingPlanner, staffing_hindsight_bound
from utils.errors import ConfigError

LAW = StaffingConfig(
    num_employees=7,
    day_profile=(1.0, 1.3),
    num_weeks=2,
    people_per_shift=3.0,
    contract_hours=(16.0, 8.0),
)
SMALL = WorkforceConfig(
    num_employees=7, num_shifts=12, shifts_per_week=6, lookahead=4, max_overtime=8.0
)


def make_environment(law=LAW, config=SMALL, *, num_envs=4, seed=0, source=None, shuffle=False):
    bank = ScenarioBank(source or StaffingDemand(law), BankConfig(num_episodes=8), seed)
    options = LockstepOptions(num_envs=num_envs, shuffle=shuffle)
    return BatchedWorkforce(config, bank, options, 0)


def as_numpy(view):
    return WorkforceView(**{name: value.numpy() for name, value in vars(view).items()})


def returns_of(env, decide):
    """Play one episode; `decide(view)` returns actions, NumPy."""
    env.reset(0)
    total = torch.zeros(env.num_envs, dtype=torch.float64)
    for _ in range(env.config.num_shifts):
        action = torch.as_tensor(decide(as_numpy(env.view)), dtype=torch.float32)
        total += env.step(action[:, None]).reward[:, 0]
    return total.numpy()


def keeps_limits(env, record):
    limit = env.rows["contract_hours"] + env.config.max_overtime
    assert (env.state.hours <= limit + 1e-4).all()
    if not record.metrics:
        return
    metrics = record.metrics
    balance = metrics["staffed_people"] + metrics["missing_people"] - metrics["extra_people"]
    assert torch.equal(balance, metrics["demand_people"])
    assert torch.equal(record.cost[:, 0, 0], metrics["missing_people"])
    hours = metrics["regular_hours"] + metrics["overtime_hours"]
    assert torch.equal(hours, 8.0 * metrics["staffed_people"])
    assert (metrics["fairness"] <= 1 + 1e-5).all()


def test_examiner():
    check_environment(
        lambda: make_environment(num_envs=3, shuffle=True),
        num_steps=40,
        max_steps=12,
        invariants=(keeps_limits,),
    )


def test_faces():
    parallel_api_test(WorkforceEnvironment(num_employees=6, num_weeks=1, seed=1), num_cycles=30)
    check_env(SingleAgentEnvironment(make_environment(num_envs=1)), skip_render_check=True)


def test_an_episode_can_be_looked_at():
    face = WorkforceEnvironment(render_mode="ansi")
    face.reset(seed=0)
    for _ in range(3):
        face.step({agent: face.action_space(agent).sample() for agent in face.agents})
    assert "fairness" in face.render()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), eagerness=st.floats(0.2, 1.5))
def test_nobody_works_twice_absent_tired_or_beyond_limits(seed, eagerness):
    env = make_environment(seed=seed, num_envs=8)
    env.reset(0)
    draw = torch.Generator().manual_seed(seed)
    week, before = torch.zeros(8, 7), torch.zeros(8, 7)
    for shift in range(SMALL.num_shifts - 1):
        view = env.view
        record = env.step(eagerness * torch.rand((8, 1, 3), generator=draw))
        worked = env.state.just_worked
        week = (torch.zeros(8, 7) if shift % 6 == 0 else week) + 8.0 * worked
        assert not (worked * before).any()
        assert not (worked * env.rows["absent"][:, shift]).any()
        assert (worked <= view.can_work).all()
        assert (week <= view.contract_hours + SMALL.max_overtime).all()
        assert torch.equal(8.0 * worked.sum(1), 8.0 * record.metrics["staffed_people"])
        keeps_limits(env, record)
        before = worked


def roster(demand, *, skills, contract, absent=None):
    """One episode; `demand` [time, skill]."""
    demand = np.asarray([demand], np.float32)
    people = len(contract)
    return FixedSource(
        StaffingScenarios(
            demand=demand,
            forecast=demand.copy(),
            absent=np.zeros((1, demand.shape[1], people), np.float32)
            if absent is None
            else np.asarray([absent], np.float32),
            skills=np.asarray([skills], np.float32),
            contract_hours=np.asarray([contract], np.float32),
        )
    )


def test_two_shifts_by_hand():
    """Three can do skill 0, the last also skill 1. All but one are called, two wanted for skill 1.

    Those with more contract hours come first, so the last two do skill 0, and the first cannot do
    skill 1. Then only the first is rested.
    """
    source = roster(
        [[2, 2], [1, 0]],
        skills=[[1, 0], [1, 0], [1, 1]],
        contract=[4.0, 16.0, 24.0],
    )
    config = WorkforceConfig(num_employees=3, num_skills=2, num_shifts=2, lookahead=2)
    env = make_environment(config=config, source=source, num_envs=1)
    record = env.step(torch.tensor([[[2 / 3, 1.0]]]))
    assert record.metrics["staffed_people"].tolist() == [2]
    assert record.metrics["missing_people"].tolist() == [2]
    terms = {name: float(value) for name, value in record.reward_terms.items()}
    assert terms == {"wages": -2 * 8 * 20, "overtime": 0.0, "understaffing": -2 * 8 * 60}
    fairness = (0.5 + 1 / 3) ** 2 / 3 / (0.25 + 1 / 9)
    np.testing.assert_allclose(record.metrics["fairness"], fairness, rtol=1e-6)
    record = env.step(torch.ones(1, 1, 2))
    terms = {name: float(value) for name, value in record.reward_terms.items()}
    assert terms == {"wages": -8 * 20, "overtime": -4 * 20 * 0.5, "understaffing": 0.0}
    bound = staffing_hindsight_bound(env.bank.scenarios.take(np.arange(1)), config)
    # Best: shift 0 with three people in their places, one missing; shift 1 missing one, or the
    # first waits: 2 of 4 missing and one served later. Overtime of 4 hours costs 40.
    assert bound[0] == pytest.approx(3 * 160 + 40 + 2 * 480)


def test_a_new_week_begins_with_no_hours():
    env = make_environment()
    for _ in range(5):
        env.step(torch.ones(4, 1, 3))
    assert (env.state.hours > 0).any()
    env.step(torch.ones(4, 1, 3))
    assert (env.state.hours == 0).all()
    assert (env.state.total_hours > 0).any()


def test_observation_and_mask_equal_the_domain_on_numpy():
    env = make_environment(num_envs=8)
    domain = WorkforceDomain(SMALL)
    draw = torch.Generator().manual_seed(0)
    for _ in range(11):
        record = env.step(torch.rand((8, 1, 3), generator=draw))
        view = as_numpy(env.view)
        np.testing.assert_allclose(record.observation[:, 0], domain.encode(view), atol=1e-6)
        np.testing.assert_array_equal(record.action_mask[:, 0], domain.in_use(view))


def test_trajectory_does_not_depend_on_the_batch():
    few, many = make_environment(num_envs=2), make_environment(num_envs=8)
    for share in (0.3, 0.9, 0.5, 0.1):
        small, large = (e.step(torch.full((e.num_envs, 1, 3), share)) for e in (few, many))
        assert torch.equal(small.reward, large.reward[:2])
        assert torch.equal(small.observation, large.observation[:2])


def test_no_policy_beats_hindsight_and_planning_beats_chance():
    env = make_environment(num_envs=8)
    generator = np.random.default_rng(0)
    bound = -staffing_hindsight_bound(env.bank.scenarios, SMALL)
    played = {
        name: returns_of(env, lambda view, rule=rule: rule(view, SMALL, generator))
        for name, rule in EXPERTS.items()
    }
    played["rolling"] = returns_of(env, RollingPlanner(SMALL, window=4))
    for returns in played.values():
        assert (returns <= bound + 1e-2).all()
    assert played["rolling"].mean() > played["random"].mean()


def test_with_certain_demand_the_rolling_plan_comes_close():
    source = StaffingDemand(LAW)
    drawn = source.draw(8, np.random.default_rng(0))
    certain = replace(drawn, forecast=drawn.demand, absent=np.zeros_like(drawn.absent))
    config = replace(SMALL, lookahead=12)
    env = make_environment(config=config, source=FixedSource(certain), num_envs=8)
    bound = staffing_hindsight_bound(certain, config)
    cost = -returns_of(env, RollingPlanner(config, window=12))
    assert (cost >= bound - 1e-2).all()
    assert cost.mean() < 1.15 * bound.mean()


def test_switched_off_places_and_skills_are_out_of_the_world():
    env = make_environment()
    size = env.observation_size
    env.use_bank(
        ScenarioBank(
            StaffingDemand(replace(LAW, active_employees=4, active_skills=2)),
            BankConfig(num_episodes=8),
            0,
        ),
        seed=0,
    )
    assert env.observation_size == size
    assert (env.rows["demand"][..., 2] == 0).all()
    for _ in range(11):
        record = env.step(torch.ones(4, 1, 3))
        assert not record.action_mask[..., 2].any()
        assert (env.state.total_hours[:, 4:] == 0).all()
    assert (env.state.total_hours[:, :4] > 0).any()


@pytest.mark.parametrize(
    ("field", "low", "high", "measure"),
    [
        ("people_per_shift", 1.0, 4.0, lambda s: s.demand.mean()),
        ("absence_rate", 0.01, 0.3, lambda s: s.absent.mean()),
        ("surprise", 0.0, 1.0, lambda s: np.square(s.demand - s.forecast).mean()),
        ("second_skill_share", 0.0, 1.0, lambda s: s.skills.sum(2).mean()),
    ],
)
def test_stages_change_the_world(field, low, high, measure):
    draws = [
        measure(StaffingDemand(replace(LAW, **{field: value})).draw(64, np.random.default_rng(0)))
        for value in (low, high)
    ]
    assert draws[1] > 1.3 * draws[0]


GOOD = {
    "demand": np.ones((1, 2, 1), np.float32),
    "forecast": np.ones((1, 2, 1), np.float32),
    "absent": np.zeros((1, 2, 1), np.float32),
    "skills": np.ones((1, 1, 1), np.float32),
    "contract_hours": np.ones((1, 1), np.float32),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forecast": np.full((1, 2, 1), np.nan)}, "forecast holds negative or non-finite"),
        ({"demand": np.full((1, 2, 1), -1.0)}, "demand holds negative"),
        ({"demand": np.full((1, 2, 1), 0.5)}, "parts of people"),
        ({"absent": np.full((1, 2, 1), 0.5)}, "absent holds values other"),
        ({"skills": np.zeros((1, 1, 1))}, "skill nobody has"),
        ({"contract_hours": np.zeros((1, 1))}, "contract_hours must be above 0 exactly"),
        ({"contract_hours": np.ones((1, 2))}, "contract_hours has shape"),
        ({"demand": np.ones((1, 0, 1))}, "not empty"),
    ],
)
def test_bad_scenarios_are_refused(change, message):
    StaffingScenarios(**GOOD)
    with pytest.raises(ScenarioError, match=message):
        StaffingScenarios(**(GOOD | change))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StaffingConfig(num_weeks=0), "num_weeks"),
        (lambda: StaffingConfig(active_skills=4), "active_skills=4 must lie in 1 .. 3"),
        (lambda: StaffingConfig(active_employees=2), "2 employees cannot have 3"),
        (lambda: StaffingConfig(contract_hours=(0.0,)), "contract_hours and profiles"),
        (lambda: StaffingConfig(absence_rate=2.0), "absence_rate"),
        (lambda: StaffingConfig(people_per_shift=-1.0), "people_per_shift"),
        (lambda: WorkforceConfig(lookahead=0), "lookahead"),
        (lambda: WorkforceConfig(shift_hours=0.0), "shift_hours"),
        (lambda: WorkforceConfig(wage=float("nan")), "wage"),
        (lambda: make_environment(config=replace(SMALL, num_shifts=11)), "the bank holds"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_bad_actions_are_refused():
    with pytest.raises(InvalidActionError, match="not finite"):
        make_environment().step(torch.full((4, 1, 3), float("nan")))
