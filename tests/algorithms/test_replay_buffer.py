"""The replay against a slow one that keeps lists of episodes, and its edges by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.algorithms.replay_buffer import ReplayBuffer
from tests.algorithms.replay_streams import SlowReplay, Stream


def filled(stream: Stream, count: int, **options: object) -> tuple[ReplayBuffer, list]:
    buffer = ReplayBuffer(**options)
    steps = stream.steps(count)
    for step in steps:
        buffer.add(step)
    return buffer, steps


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Stream,
        num_envs=st.integers(1, 3),
        num_agents=st.integers(1, 3),
        discrete=st.booleans(),
        state_size=st.integers(0, 2),
        end_probability=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
        leave_probability=st.sampled_from([0.0, 0.2]),
        seed=st.integers(0, 10**6),
    ),
    st.integers(1, 40),
    st.integers(1, 4),
    st.integers(3, 60),
)
def test_transitions_are_those_of_a_slow_replay(stream, count, n_step, capacity):
    gamma = 0.5
    buffer, steps = filled(stream, count, capacity=capacity, gamma=gamma, n_step=n_step)
    kept = min(count, max(capacity // stream.num_envs, 1))
    assert len(buffer) == kept * stream.num_envs
    slow = SlowReplay(kept, gamma, n_step)
    batch = buffer.sample(64, generator())
    times = {
        float(s.observation[e, 0, 0]): (t, e)
        for t, s in enumerate(steps)
        for e in range(stream.num_envs)
    }
    for b in range(64):
        time, env = times[float(batch.observation[b, 0, 0])]
        assert time >= count - kept
        step = steps[time]
        assert torch.equal(batch.observation[b], step.observation[env])
        assert torch.equal(batch.action_mask[b], step.action_mask[env])
        assert torch.equal(batch.alive[b], step.alive[env])
        assert torch.equal(batch.action[b], step.action[env])
        assert torch.equal(batch.state[b], step.state[env])
        for agent in range(stream.num_agents):
            expected = slow.expected(steps, env, time, agent)
            assert float(batch.reward[b, agent]) == pytest.approx(expected["reward"])
            assert float(batch.discount[b, agent]) == pytest.approx(expected["discount"])
            if "next_observation" in expected:
                assert torch.equal(batch.next_observation[b, agent], expected["next_observation"])
                assert torch.equal(batch.next_action_mask[b, agent], expected["next_action_mask"])
                assert torch.equal(batch.next_state[b], expected["next_state"])
