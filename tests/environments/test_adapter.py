"""Foreign environments: spaces, seeds, ends and bounds."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete

from rl.environments.adapter import GymnasiumAdapter
from utils.errors import ConfigError


class Counter(gymnasium.Env):
    """Counts steps; copies end after 3 steps, terminated or truncated as asked."""

    observation_space = Box(-np.inf, np.inf, (2, 1), np.float64)
    action_space = Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64)

    def __init__(self, ending="truncated"):
        self.ending = ending
        self.episode = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.time = 0
        return self.look(), {}

    def step(self, action):
        self.time += 1
        self.action = action
        over = self.time == 3
        return (
            self.look(),
            float(action.sum()),
            over and self.ending == "terminated",
            (over and self.ending == "truncated"),
            {},
        )

    def look(self):
        return np.array([[self.episode], [self.time]], dtype=np.float64)


def constant(adapter, number=0.0):
    return torch.full((adapter.num_envs, 1, 2), number)


@pytest.mark.parametrize("ending", ["terminated", "truncated"])
def test_the_last_observation_is_the_episodes_own(ending):
    adapter = GymnasiumAdapter(lambda: Counter(ending), 2)
    first = adapter.reset(0)
    assert first.observation.tolist() == [[[0, 0]]] * 2
    assert first.observation.dtype == torch.float32
    for time in (1, 2):
        record = adapter.step(constant(adapter))
        assert record.observation.tolist() == [[[0, time]]] * 2
        assert torch.equal(record.final_observation, record.observation)
        assert not (record.terminated | record.truncated).any()
    record = adapter.step(constant(adapter))
    assert record.final_observation.tolist() == [[[0, 3]]] * 2
    assert record.observation.tolist() == [[[1, 0]]] * 2
    assert getattr(record, ending).all()
    assert not (record.terminated & record.truncated).any()


def test_only_the_copies_that_ended_have_another_last_observation():
    copies = iter(["truncated", "never"])
    adapter = GymnasiumAdapter(lambda: Counter(next(copies, "never")), 2)
    adapter.reset(0)
    for _ in range(3):
        record = adapter.step(constant(adapter))
    assert record.truncated.tolist() == [True, False]
    assert record.observation.tolist() == [[[1, 0]], [[0, 3]]]
    assert record.final_observation.tolist() == [[[0, 3]], [[0, 3]]]


@pytest.mark.parametrize(
    ("asked", "given"), [(-1.0, [-2, 0]), (0.0, [0, 5]), (1.0, [2, 10]), (9.0, [2, 10])]
)
def test_actions_are_clipped_and_stretched_to_the_bounds(asked, given):
    adapter = GymnasiumAdapter(Counter, 2)
    adapter.reset(0)
    assert adapter.step(constant(adapter, asked)).reward.tolist() == [[sum(given)]] * 2
    spec = adapter.groups[0].action
    assert (spec.kind, spec.size, spec.low, spec.high) == ("continuous", 2, -1.0, 1.0)


def trajectory(adapter, seed):
    record = adapter.reset(seed)
    rows = [record.observation]
    for time in range(60):
        record = adapter.step(torch.full((3, 1), time % 2))
        rows.append(record.observation)
    return torch.stack(rows)


def test_seeds_decide_everything_and_copies_differ():
    one, other = GymnasiumAdapter("CartPole-v1", 3), GymnasiumAdapter("CartPole-v1", 3)
    path = trajectory(one, 5)
    assert torch.equal(path, trajectory(other, 5))
    assert torch.equal(path, trajectory(one, 5))
    assert not torch.equal(path, trajectory(one, 6))
    assert not torch.equal(path[:, 0], path[:, 1])
    assert torch.equal(GymnasiumAdapter("CartPole-v1", 3, seed=5).reset().observation, path[0])


def test_discrete_choices_start_where_the_space_says():
    class Shifted(gymnasium.Env):
        observation_space = Box(0, 1, (1,), np.float32)
        action_space = Discrete(2, start=5)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.zeros(1, np.float32), {}

        def step(self, action):
            return np.zeros(1, np.float32), float(action), False, False, {}

    adapter = GymnasiumAdapter(Shifted, 2)
    adapter.reset(0)
    assert adapter.groups[0].action.size == 2
    assert adapter.step(torch.tensor([[0], [1]])).reward.tolist() == [[5.0], [6.0]]


@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("observation_space", Dict({"x": Box(0, 1, (1,))})),
        ("observation_space", Discrete(3)),
        ("action_space", Box(-np.inf, np.inf, (1,))),
    ],
)
def test_other_spaces_are_refused(name, space):
    wrong = type("Wrong", (Counter,), {name: space})
    with pytest.raises(ConfigError, match=name.replace("_", " ")):
        GymnasiumAdapter(wrong, 1)


def test_it_says_that_it_cannot_be_saved():
    adapter = GymnasiumAdapter("CartPole-v1", 1)
    assert adapter.resume == "approximate"
    adapter.load_state_dict(adapter.state_dict())
    with pytest.raises(ConfigError, match="another kind"):
        adapter.load_state_dict({"time": torch.zeros(1)})


def test_no_action_leaves_the_bounds_by_rounding():
    """In single precision low + (high - low) is beyond high for these."""
    low, high = np.random.default_rng(0).random((2, 1000)).astype(np.float32) * [[-1], [3]]
    space = Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
    assert (space.low + (space.high - space.low) > space.high).any()

    class Strict(Counter):
        action_space = space

        def step(self, action):
            assert self.action_space.contains(action)
            return super().step(action)

    adapter = GymnasiumAdapter(Strict, 1)
    adapter.reset()
    for end in (-1.0, 1.0):
        adapter.step(torch.full((1, 1, 1000), end))
