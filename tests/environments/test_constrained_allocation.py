"""Constrained allocation: numbers by hand, exact gradients, experts below the exact optimum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from data.scenario import BankConfig, FixedSource, ScenarioBank, ScenarioError
from data.task_demand import TaskDemand, TaskLaws, TaskScenarios
from rl.domains.constrained_allocation import (
    ConstrainedConfig,
    ConstrainedDomain,
    ConstrainedView,
)
from rl.domains.constrained_experts import EXPERTS
from rl.environments.conformance import check_environment
from rl.environments.constrained_allocation_environment import (
    BatchedConstrainedAllocation,
    ConstrainedAllocationEnvironment,
)
from rl.environments.lockstep import LockstepOptions
from rl.evaluation.constrained_bounds import compute_constrained_optimum
from utils.errors import ConfigError

SHORT = ConstrainedConfig(episode_length=6)
seeds = st.integers(0, 2**32 - 1)


def make_bank(laws=None, *, episodes=8, seed=0):
    return ScenarioBank(TaskDemand(laws or TaskLaws(), seed), BankConfig(num_episodes=episodes), 0)


def make_environment(config=SHORT, laws=None, *, num_envs=4, shuffle=False, bank=None):
    options = LockstepOptions(num_envs=num_envs, shuffle=shuffle)
    bank = bank or make_bank(laws, episodes=max(num_envs, 2))
    return BatchedConstrainedAllocation(config, bank, options, 0)


def as_numpy(view):
    return ConstrainedView(**{name: value.detach().numpy() for name, value in vars(view).items()})


def one_world(**change):
    """Two tasks, two resources, the first cheap."""
    arrays = {
        "cost": [[0.1, 1.0]],
        "priority": [[1.0, 0.5]],
        "availability": [[0.5, 1.0]],
        "demand": [[0.4, 0.8]],
        "task_active": [[1.0, 1.0]],
        "resource_active": [[1.0, 1.0]],
    }
    return TaskScenarios(**{n: np.asarray(v, np.float32) for n, v in (arrays | change).items()})


SMALL = ConstrainedConfig(num_resources=2, num_tasks=2, episode_length=3)


def play_small(action, config=SMALL, **change):
    bank = ScenarioBank(FixedSource(one_world(**change)), BankConfig(num_episodes=1), 0)
    environment = make_environment(config, bank=bank, num_envs=1)
    return environment.step(torch.tensor(action, dtype=torch.float32)[None, None])


@pytest.mark.parametrize(
    "laws", [None, TaskLaws(active_resources=2, active_tasks=3)], ids=["all", "some are off"]
)
def test_examiner(laws):
    """The limit of time is the task's end, as published, so no `max_steps` is checked."""
    check_environment(lambda: make_environment(laws=laws, num_envs=3, shuffle=True), num_steps=20)


def test_gymnasium_checker():
    check_env(ConstrainedAllocationEnvironment(episode_length=5), skip_render_check=True)


def test_episodes_are_terminated():
    environment = make_environment()
    for step in range(6):
        record = environment.step(torch.zeros(4, 1, 15))
        assert record.terminated.all() == (step == 5)
        assert not record.truncated.any()


def test_one_step_by_hand():
    """Task 1 takes 0.4 of the cheap one; task 2 takes 0.2 of it and 0.4 of the dear one."""
    record = play_small([0.4, 0.0, 0.2, 0.4])
    terms = {name: value.item() for name, value in record.reward_terms.items()}
    assert terms["satisfaction"] == pytest.approx((1.0 + 0.5 * 0.75) / 2)
    assert terms["cost"] == pytest.approx(-0.1 * (0.06 + 0.4))
    assert terms["violation"] == pytest.approx(-10 * 0.1**2, rel=1e-4)
    assert record.cost.item() == pytest.approx(0.01, rel=1e-4)
    assert record.metrics["resource_utilization"].item() == pytest.approx((1.0 + 0.4) / 2)
    assert record.metrics["allocation_efficiency"].item() == pytest.approx((1.0 + 0.75) / 2)


@pytest.mark.parametrize(
    ("change", "term", "value"),
    [
        ({"reward_scale": 3.0}, "satisfaction", 3 * 0.6875),
        ({"cost_penalty": 0.2}, "cost", -0.092),
        ({"constraint_violation_penalty": 20.0}, "violation", -0.2),
        ({"max_allocation_per_resource": 0.5}, "cost", -0.023),
    ],
)
def test_settings_change_the_world(change, term, value):
    record = play_small([0.4, 0.0, 0.2, 0.4], replace(SMALL, **change))
    assert record.reward_terms[term].item() == pytest.approx(value, rel=1e-4)


def test_what_is_off_is_out_of_the_world():
    off = {
        "cost": [[0.1, 0.0]],
        "priority": [[1.0, 0.0]],
        "availability": [[0.5, 0.0]],
        "demand": [[0.4, 0.0]],
        "task_active": [[1.0, 0.0]],
        "resource_active": [[1.0, 0.0]],
    }
    record = play_small([0.2, 1.0, 1.0, 1.0], **off)
    assert record.reward_terms["satisfaction"].item() == pytest.approx(0.5)
    assert record.reward_terms["cost"].item() == pytest.approx(-0.1 * 0.1 * 0.2)
    assert record.metrics["resource_utilization"].item() == pytest.approx(0.2 / 0.5)
    assert record.metrics["allocation_efficiency"].item() == pytest.approx(0.5)
    assert record.cost.item() == 0.0
    assert record.action_mask[0, 0].tolist() == [True, False, False, False]


def test_a_stage_of_the_curriculum_keeps_the_shapes():
    environment = make_environment()
    small = make_bank(TaskLaws(active_resources=1, active_tasks=2))
    record = environment.use_bank(small, seed=0)
    assert record.observation.shape == (4, 1, 24)
    assert record.action_mask.sum((1, 2)).tolist() == [2] * 4
    assert (record.observation[..., 1:3] == 0).all()
    with pytest.raises(ConfigError, match="demand"):
        environment.use_bank(make_bank(TaskLaws(num_tasks=4)), seed=0)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_numpy_and_torch_see_and_do_the_same(seed):
    environment = make_environment()
    action = torch.rand((4, 1, 15), generator=torch.Generator().manual_seed(seed)) * 1.4 - 0.2
    view = as_numpy(environment.view)
    domain = ConstrainedDomain(SHORT)
    allocation = domain.project(action[:, 0].numpy(), view)
    observation = environment.step(action).observation
    np.testing.assert_allclose(environment.view.allocation, allocation, atol=1e-6)
    seen = domain.encode(as_numpy(environment.view))
    np.testing.assert_allclose(observation[:, 0], seen, atol=1e-6)


def test_only_the_allocation_and_the_clock_change():
    environment = make_environment()
    before = environment.reset(0).observation[..., :8]
    after = environment.step(torch.rand(4, 1, 15)).observation
    assert torch.equal(before, after[..., :8])
    assert after[..., -1].unique().item() == pytest.approx(1 / 6)


def test_gradient_equals_central_differences():
    """100 random points; the reward is quadratic or linear but at the kinks."""
    environment = make_environment(num_envs=100, bank=make_bank(episodes=100))
    draw = torch.Generator().manual_seed(4)
    point = 0.05 + 0.3 * torch.rand((6, 100, 15), generator=draw)
    direction = torch.randn(point.shape, generator=draw)

    def gain(actions):
        environment.reset(0)
        return sum(environment.step(action[:, None]).reward[:, 0].double() for action in actions)

    point.requires_grad_()
    (gradient,) = torch.autograd.grad(gain(point).sum(), point)
    slope = (gradient * direction).sum((0, 2))
    with torch.no_grad():
        up, down = (gain(point + sign * 1e-3 * direction) for sign in (1, -1))
    error = (slope - (up - down) / 2e-3).abs()
    scale = gradient.square().sum((0, 2)).sqrt() * direction.square().sum((0, 2)).sqrt()
    assert (error <= 0.01 * torch.maximum(slope.abs(), 0.05 * scale)).float().mean() > 0.9
    assert torch.equal(gain(point).detach(), gain(point.detach()))


def play(environment, expert):
    environment.reset(0)
    total = 0.0
    for _ in range(environment.config.episode_length):
        action = torch.as_tensor(EXPERTS[expert](as_numpy(environment.view), environment.config))
        total = total + environment.step(action[:, None]).reward[:, 0].double()
    return total.numpy()


@pytest.mark.parametrize("laws", [TaskLaws(), TaskLaws(active_resources=2, active_tasks=3)])
def test_experts_stay_below_the_optimum(laws):
    bank = make_bank(laws, episodes=12)
    environment = make_environment(bank=bank, num_envs=12)
    optimum = compute_constrained_optimum(bank.scenarios, SHORT)
    assert (optimum.hard <= optimum.soft + 1e-9).all()
    for name in EXPERTS:
        assert (play(environment, name) <= optimum.soft + 1e-4).all(), name
    for name in ("zeros", "equal_share", "greedy_cheapest"):
        assert (play(environment, name) <= optimum.hard + 1e-4).all(), name
    assert play(environment, "greedy_cheapest").mean() > 0.9 * optimum.hard.mean()


def test_optimum_by_hand():
    """All of the cheap one is used; the rest of 0.7 from the dear one costs 0.1 and gains 0.3125.

    With the penalty the cheap one gives v more instead of the dear one: 0.09 = 20 v.
    """
    optimum = compute_constrained_optimum(one_world(), SMALL)
    hard = 0.75 - 0.1 * (0.5 * 0.1 + 0.7 * 1.0)
    assert optimum.hard[0] / 3 == pytest.approx(hard)
    assert optimum.violation[0] / 3 == pytest.approx(0.0045**2, rel=0.03)
    assert optimum.soft[0] / 3 == pytest.approx(hard + 0.09 * 0.0045 - 10 * 0.0045**2)


def test_without_a_penalty_everything_comes_from_the_cheap_one():
    optimum = compute_constrained_optimum(
        one_world(), replace(SMALL, constraint_violation_penalty=0.0)
    )
    assert optimum.soft[0] / 3 == pytest.approx(0.75 - 0.1 * 0.1 * (0.4 + 0.8))


def test_greedy_by_hand():
    """Task 1 is worth 2.5 a unit, task 2 0.625: 1 takes the cheap one, 2 what is left of both."""
    view = ConstrainedView(
        allocation=np.zeros((1, 2, 2), np.float32), time=np.zeros(1), **vars(one_world())
    )
    action = EXPERTS["greedy_cheapest"](view, SMALL)
    np.testing.assert_allclose(action[0], [0.4, 0.0, 0.1, 0.7], atol=1e-6)


def test_info_tells_the_episode_so_far():
    environment = ConstrainedAllocationEnvironment(episode_length=4, seed=3, render_mode="ansi")
    environment.reset(seed=3)
    rewards, info = [], {}
    for _ in range(2):
        _, reward, _, _, info = environment.step(np.full(15, 0.3, np.float32))
        rewards.append(reward)
    assert info["total_reward"] == pytest.approx(sum(rewards))
    assert info["total_cost"] == pytest.approx(2 * info["metrics"]["total_cost"])
    assert info["allocation_efficiency"] == pytest.approx(info["metrics"]["allocation_efficiency"])
    assert "cost" in environment.render()


def test_seeds_make_worlds():
    first, again, other = (make_bank(seed=seed).scenarios for seed in (0, 0, 1))
    assert (first.cost == again.cost).all()
    assert (first.cost != other.cost).any()
    assert (first.cost == first.cost[:1]).all()
    assert (first.demand[0] != first.demand[1]).all()


@pytest.mark.parametrize(
    "change",
    [
        {"num_tasks": 0},
        {"cost_penalty": -1.0},
        {"reward_scale": float("nan")},
        {"max_allocation_per_resource": 0.0},
    ],
)
def test_impossible_worlds_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        ConstrainedConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"demand": (0.0, 1.0)}, "demands above 0"),
        ({"cost": (2.0, 1.0)}, "low <= high"),
        ({"active_tasks": 6}, "active_tasks"),
        ({"num_resources": 0}, "num_resources"),
    ],
)
def test_impossible_laws_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        TaskLaws(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cost": [[float("nan"), 1.0]]}, "cost holds"),
        ({"demand": [[1.0]]}, "priority and demand"),
        ({"task_active": [[0.0, 0.0]]}, "task_active"),
        ({"demand": [[0.0, 1.0]]}, "demand of a task that exists is 0"),
    ],
)
def test_impossible_episodes_are_refused(change, message):
    with pytest.raises(ScenarioError, match=message):
        one_world(**change)


def test_other_sizes_and_wrong_numbers_of_costs_are_refused():
    with pytest.raises(ConfigError, match="the bank holds"):
        make_environment(ConstrainedConfig(num_tasks=4))
    with pytest.raises(ConfigError, match="2 costs"):
        TaskDemand(TaskLaws(), 0, cost=(0.1, 0.2))


@pytest.mark.parametrize("most", [1.0, 0.7])
def test_within_limits_no_resource_is_overused_and_nothing_else_changes(most):
    config = ConstrainedConfig(episode_length=6, max_allocation_per_resource=most)
    environment = make_environment(config, num_envs=64, bank=make_bank(episodes=64))
    environment.reset(0)
    chance = torch.Generator().manual_seed(0)
    action = torch.rand(64, 1, 15, generator=chance) * 0.4 - 0.05
    fitted = environment.domain.within_limits(action[:, 0], environment.view)
    asked = environment.domain.project(action[:, 0], environment.view)
    given = environment.domain.project(fitted, environment.view)
    available = environment.view.availability
    over = asked.sum(1) > available
    assert over.any()
    assert not over.all()
    assert (given.sum(1) <= available).all()
    torch.testing.assert_close(given.sum(1)[over], available[over])
    kept = (~over)[:, None].expand_as(asked)
    torch.testing.assert_close(given[kept], asked[kept])
    torch.testing.assert_close(
        given * asked.sum(1, keepdim=True), asked * given.sum(1, keepdim=True)
    )
    record = environment.step(fitted[:, None])
    assert record.cost.max() == 0
