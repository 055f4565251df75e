"""Traffic shares: choices by hand, the published table, experts below the bound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from data.scenario import BankConfig, FixedSource, ScenarioBank, ScenarioError
from data.traffic_demand import TrafficDemand, TrafficLaws, TrafficScenarios
from rl.domains.traffic_experts import EXPERTS, find_static_shares
from rl.domains.traffic_shares import TrafficConfig, TrafficDomain, TrafficView
from rl.environments.base_environment import InvalidActionError
from rl.environments.conformance import check_environment
from rl.environments.lockstep import LockstepOptions
from rl.environments.traffic_shares_environment import BatchedTrafficShares, DynamicTrafficEnv
from rl.evaluation.traffic_bounds import compute_static_return, compute_traffic_bound
from utils.errors import ConfigError

STEPS = 12
seeds = st.integers(0, 2**32 - 1)


def make_environment(*, num_envs=4, shuffle=False, movable="all", slots=4, steps=STEPS, **laws):
    config = TrafficConfig(num_slots=slots, num_steps=steps, movable=movable)
    source = TrafficDemand(TrafficLaws(num_slots=slots, num_steps=steps, **laws))
    bank = ScenarioBank(source, BankConfig(num_episodes=max(num_envs, 2)), 0)
    return BatchedTrafficShares(
        config, bank, LockstepOptions(num_envs=num_envs, shuffle=shuffle), 0
    )


def as_numpy(view):
    return TrafficView(**{name: value.numpy() for name, value in vars(view).items()})


def play(environment, expert):
    environment.reset(0)
    total = 0.0
    for _ in range(environment.config.num_steps):
        choice = EXPERTS[expert](as_numpy(environment.view), environment.config)
        total = total + environment.step(torch.as_tensor(choice)[:, None]).reward[:, 0].double()
    return total.numpy()


def shares_are_shares(environment, record):
    share = environment.view.share
    assert (share >= 0).all()
    assert (share.sum(-1) <= 1 + 1e-5).all()
    assert (share[environment.view.resource_active == 0] == 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"movable": "first"},
        {"slots": 9, "task": "cloud_computing", "highest_difficulty": 1.0},
    ],
    ids=["all", "published", "padded"],
)
def test_examiner(options):
    check_environment(
        lambda: make_environment(num_envs=3, shuffle=True, **options),
        num_steps=40,
        max_steps=STEPS,
        invariants=(shares_are_shares,),
    )


def test_gymnasium_checker():
    check_env(DynamicTrafficEnv(num_steps=5), skip_render_check=True)


@pytest.mark.parametrize(
    ("share", "choice", "after"),
    [
        ([0.25] * 4, 8, [0.25] * 4),
        ([0.25] * 4, 0, [0.2, 0.25, 0.25, 0.25]),
        ([0.25] * 4, 3, [0.25 / 1.05, 0.3 / 1.05, 0.25 / 1.05, 0.25 / 1.05]),
        ([0.1, 0.2, 0.3, 0.2], 7, [0.1, 0.2, 0.3, 0.25]),
        ([0.02, 0.2, 0.3, 0.2], 0, [0.0, 0.2, 0.3, 0.2]),
    ],
    ids=["no-op", "lower", "raise and divide", "room", "not below zero"],
)
def test_choices_by_hand(share, choice, after):
    view = TrafficView(
        demand=np.zeros(4), share=np.asarray(share, np.float32), resource_active=np.ones(4)
    )
    np.testing.assert_allclose(TrafficDomain(TrafficConfig()).project(choice, view), after, 1e-5)


def test_reward_is_the_distance_from_the_demand_that_was_seen():
    demand = np.zeros((1, 2, 4), np.float32)
    demand[0, 0] = [0.9, 0.2, 0.25, 0.0]
    scenarios = TrafficScenarios(demand=demand, resource_active=np.ones((1, 4), np.float32))
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=1), 0)
    config = TrafficConfig(num_steps=1)
    environment = BatchedTrafficShares(config, bank, LockstepOptions(num_envs=1), 0)
    record = environment.step(torch.tensor([[6]]))
    assert record.reward.item() == pytest.approx(-(0.65 + 0.05 + 0.0 + 0.2))
    assert record.metrics["unmet_demand"].item() == pytest.approx(0.65)
    assert record.metrics["idle_share"].item() == pytest.approx(0.05 + 0.2)
    assert record.truncated.item()


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_numpy_and_torch_see_and_do_the_same(seed):
    environment = make_environment(num_envs=8, slots=9, task="smart_grid", highest_difficulty=1.0)
    domain = TrafficDomain(environment.config)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(4):
        choice = torch.randint(0, 19, (8, 1), generator=draw)
        view = as_numpy(environment.view)
        share = domain.project(choice[:, 0].numpy(), view)
        every = domain.consider(view)
        np.testing.assert_allclose(every[np.arange(8), choice[:, 0]], share, atol=1e-6)
        seen = environment.step(choice).observation
        np.testing.assert_allclose(environment.view.share, share, atol=1e-6)
        np.testing.assert_allclose(seen[:, 0], domain.encode(as_numpy(environment.view)), atol=1e-6)


def test_difficulty_adds_resources_and_nothing_is_truncated():
    """Difficulty 0.75 of vehicle routing: nine resources, 18 numbers seen."""
    few, many = (
        make_environment(slots=9, task=task, lowest_difficulty=level, highest_difficulty=level)
        for task, level in (("cloud_computing", 0.0), ("vehicle_routing", 0.75))
    )
    assert few.reset(0).observation.shape == many.reset(0).observation.shape == (4, 1, 18)
    assert few.view.resource_active.sum(-1).tolist() == [3] * 4
    assert many.view.resource_active.sum(-1).tolist() == [9] * 4
    assert few.reset(0).action_mask.sum(-1).unique().tolist() == [7]
    record = few.use_bank(many.bank, seed=0)
    assert (record.observation > 0).all()


def test_published_table():
    """30 episodes each there, 400 here: random -272.0, no-op -250.8, greedy -272.6."""
    environment = make_environment(num_envs=400, movable="first", steps=200)
    for name, published, deviation in (("no_op", -250.8, 6.5), ("chase_first", -272.6, 8.1)):
        played = play(environment, name)
        assert played.mean() == pytest.approx(published, abs=3 * deviation / 30**0.5)
    environment.reset(0)
    draw = torch.Generator().manual_seed(0)
    steps = [environment.step(torch.randint(0, 5, (400, 1), generator=draw)) for _ in range(200)]
    total = sum(record.reward for record in steps)
    assert total.mean() == pytest.approx(-272.0, abs=3 * 8.1 / 30**0.5)


@pytest.mark.parametrize("movable", ["all", "first"])
def test_experts_stay_below_the_bound(movable):
    environment = make_environment(num_envs=6, movable=movable, steps=40)
    bound = compute_traffic_bound(environment.bank.scenarios, environment.config)
    for name in EXPERTS:
        assert (play(environment, name) <= bound + 1e-3).all(), name
    generator = torch.Generator().manual_seed(1)
    environment.reset(0)
    steps = [
        environment.step(
            torch.randint(0, environment.config.num_choices, (6, 1), generator=generator)
        )
        for _ in range(40)
    ]
    assert (sum(record.reward[:, 0] for record in steps).numpy() <= bound + 1e-3).all()


def test_bound_follows_a_demand_that_moves_slowly():
    """One resource whose demand falls by 0.05 a step is met exactly; one by 0.1 is not."""
    for fall, lost in ((0.05, 0.0), (0.1, 0.05 + 0.1)):
        demand = (1.0 - fall * np.arange(1, 4, dtype=np.float32))[None, :, None]
        scenarios = TrafficScenarios(demand=demand, resource_active=np.ones((1, 1), np.float32))
        config = TrafficConfig(num_slots=1, num_steps=2)
        assert compute_traffic_bound(scenarios, config)[0] == pytest.approx(-lost, abs=1e-5)


def test_foresight_beats_both_extremes():
    environment = make_environment(num_envs=200, steps=200)
    ahead, greedy, still = (play(environment, n).mean() for n in ("look_ahead", "greedy", "no_op"))
    assert ahead > max(greedy, still) + 3


@pytest.mark.parametrize(("count", "share"), [(1, 0.5), (2, 0.5), (3, 1 / 3), (9, 1 / 9)])
def test_best_static_shares(count, share):
    """No other constant shares lose less on 20,000 demands."""
    active = np.ones(count, np.float32)
    best = find_static_shares(active)
    assert best == pytest.approx(share)
    draw = np.random.default_rng(0)
    demand = draw.random((20_000, count))
    loss = np.abs(demand - best).sum(-1).mean()
    for _ in range(20):
        other = np.clip(best + draw.normal(0, 0.1, count), 0, 1)
        other /= max(1.0, other.sum())
        assert loss <= np.abs(demand - other).sum(-1).mean() + 0.005
    scenarios = TrafficScenarios(
        demand=demand[None].astype(np.float32), resource_active=active[None]
    )
    expected = compute_static_return(scenarios, TrafficConfig(num_slots=count, num_steps=1))
    assert expected[0] == pytest.approx(-loss, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "chess"}, "chess"),
        ({"highest_difficulty": 2.0}, "highest_difficulty"),
        ({"highest_difficulty": 0.5}, "num_slots"),
        ({"num_steps": 0}, "step or more"),
    ],
)
def test_impossible_laws_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        TrafficLaws(**change)


@pytest.mark.parametrize("change", [{"num_slots": 0}, {"move": 0.0}, {"movable": "none"}])
def test_impossible_worlds_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        TrafficConfig(**change)


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1])
def test_demands_outside_are_refused(value):
    demand = np.full((1, 3, 2), value, np.float32)
    with pytest.raises(ScenarioError, match="demand must lie"):
        TrafficScenarios(demand=demand, resource_active=np.ones((1, 2), np.float32))
    with pytest.raises(ScenarioError, match="resource_active"):
        TrafficScenarios(demand=0 * demand + 0.5, resource_active=np.ones((1, 3), np.float32))


def test_unknown_choices_and_other_sizes_are_refused():
    environment = make_environment()
    with pytest.raises(InvalidActionError, match=r"0 \.\. 8"):
        environment.step(torch.full((4, 1), 9))
    with pytest.raises(ConfigError, match="the bank holds"):
        BatchedTrafficShares(
            replace(environment.config, num_steps=3), environment.bank, LockstepOptions(), 0
        )
