"""The replay against a slow one that keeps lists of episodes, and its edges by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.algorithms import replay_buffer, replay_ring
from rl.algorithms.policy_state import StateMismatchError, load_tensors, save_tensors
from rl.algorithms.priority_config import PriorityConfig
from rl.algorithms.replay_buffer import ReplayBuffer, Step
from tests.algorithms.replay_streams import SlowReplay, Stream
from utils.errors import ConfigError


def filled(stream: Stream, count: int, **options: object) -> tuple[ReplayBuffer, list]:
    buffer = ReplayBuffer(**options)
    steps = stream.steps(count)
    for step in steps:
        buffer.add(step)
    return buffer, steps


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None)
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


def test_one_step_transitions_are_those_of_the_way_for_devices(monkeypatch):
    buffer, _ = filled(Stream(num_envs=3, end_probability=0.3), 50, capacity=60, gamma=0.9)
    on_host = buffer.sample(200, generator())
    monkeypatch.setattr(replay_buffer, "host_transitions", None)
    monkeypatch.setattr(buffer, "_is_one_step_on_host", False)
    as_on_device = buffer.sample(200, generator())
    for name, value in vars(on_host).items():
        assert torch.equal(value, getattr(as_on_device, name)), name


def test_random_streams_bring_the_same_state_in_any_order_of_saving():
    stream = Stream(num_envs=2, end_probability=0.4, leave_probability=0.1)
    steps = stream.steps(60)
    for split in (0, 1, 7, 21, 40):
        options = {"capacity": 40, "gamma": 0.9, "n_step": 3, "priority": PriorityConfig()}
        whole, first = ReplayBuffer(**options), ReplayBuffer(**options)
        draws, continued = generator(), generator()
        for step in steps[:split]:
            for buffer, source in ((whole, draws), (first, continued)):
                buffer.add(step)
                batch = buffer.sample(8, source)
                buffer.update_priorities(batch.index, batch.reward.mean(1))
        second = ReplayBuffer(**options)
        second.load_state_dict(load_tensors(save_tensors(first.state_dict())))
        for step in steps[split:]:
            batches = []
            for buffer, source in ((whole, draws), (second, continued)):
                buffer.add(step)
                batch = buffer.sample(8, source)
                buffer.update_priorities(batch.index, batch.reward.mean(1))
                batches.append((batch, buffer.sample_episodes(4, 5, source)))
            for ours, theirs in zip(*batches, strict=True):
                for name, value in vars(ours).items():
                    assert torch.equal(value, getattr(theirs, name)), name
        assert save_tensors(whole.state_dict()) == save_tensors(second.state_dict())


def test_saved_tensors_hold_the_filled_part_only():
    buffer, _ = filled(Stream(num_envs=1), 9, capacity=1_000_000, gamma=0.9)
    state = buffer.state_dict()
    assert len(state["ring.reward"]) == len(state["ring.observation"]) == 10
    assert sum(tensor.nbytes for name, tensor in state.items() if "begun" not in name) < 2000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity": 30}, "buffer_size"),
        ({"gamma": 0.5}, "gamma"),
        ({"priority": PriorityConfig()}, "priority"),
    ],
)
def test_another_configuration_cannot_take_the_state(options, message):
    wanted = {"capacity": 40, "gamma": 0.9}
    buffer, _ = filled(Stream(), 9, **wanted)
    with pytest.raises(StateMismatchError, match=message):
        ReplayBuffer(**(wanted | options)).load_state_dict(buffer.state_dict())


def test_another_version_cannot_take_the_state():
    buffer, _ = filled(Stream(), 3, capacity=40, gamma=0.9)
    state = buffer.state_dict() | {"version": torch.tensor([99, 0])}
    with pytest.raises(StateMismatchError, match="version 99"):
        buffer.load_state_dict(state)


def test_memory_that_does_not_fit_is_refused_with_the_bytes(monkeypatch):
    monkeypatch.setattr(replay_ring, "available_bytes", lambda device: 1000)
    step = Stream(num_envs=2, num_agents=1, state_size=0).steps(1)[0]
    # Seen: observation 8, mask 3, alive 1; done: reward, discount, boundary 4 each, action 1.
    with pytest.raises(ConfigError, match=r"needs 2,856 bytes \(28 a transition.*1,000.*most 33"):
        ReplayBuffer(capacity=100, gamma=0.9).add(step)
    ReplayBuffer(capacity=33, gamma=0.9).add(step)


def test_memory_is_taken_as_it_fills():
    buffer = ReplayBuffer(capacity=1_000_000, gamma=0.9)
    steps = Stream(num_envs=100, num_agents=1).steps(30)
    sizes = []
    for step in steps:
        buffer.add(step)
        sizes.append(len(buffer._ring._seen.observation))
    assert sizes[0] == 10
    assert sizes[-1] == 40


@pytest.mark.parametrize("options", [{"capacity": 0}, {"n_step": 0}, {"gamma": 1.1}])
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ConfigError):
        ReplayBuffer(**({"capacity": 10, "gamma": 0.9} | options))


def test_an_empty_replay_cannot_be_sampled():
    with pytest.raises(ConfigError, match="add steps"):
        ReplayBuffer(capacity=10, gamma=0.9).sample(1, generator())


def test_choices_are_kept_in_one_byte_and_come_back_wide():
    buffer, steps = filled(Stream(num_envs=1, num_agents=1), 1, capacity=10, gamma=0.9)
    assert buffer.state_dict()["ring.action"].dtype == torch.int8
    batch = buffer.sample(1, generator())
    assert batch.action.dtype == torch.int64
    assert torch.equal(batch.action, steps[0].action)


def test_a_break_counts_as_truncated_and_keeps_what_followed():
    first, *_, last = Stream(num_envs=1, num_agents=1, end_probability=0.0).steps(9)
    buffer = ReplayBuffer(capacity=10, gamma=0.5, n_step=3)
    buffer.add(first)
    buffer.add(last)
    batch = buffer.sample(20, generator())
    early = batch.observation[:, 0, 0] == first.observation[0, 0, 0]
    assert early.any()
    assert (batch.next_observation[early] == first.next_observation[0]).all()
    assert (batch.discount[early] == 0.5).all()
    starts = buffer.sample_episodes(20, 2, generator())
    assert set(starts.observation[0, :, 0, 0].tolist()) == {
        float(first.observation[0, 0, 0]),
        float(last.observation[0, 0, 0]),
    }


def end_of_one_episode(*, terminated: bool) -> Step:
    """One step that ends: seen 1, last 2, then a new episode's 10."""
    one = torch.ones(1, 1, 1)
    mask = torch.ones(1, 1, 2, dtype=torch.bool)
    return Step(
        observation=one,
        action_mask=mask,
        alive=mask[..., 0],
        action=torch.zeros(1, 1, dtype=torch.int64),
        reward=torch.full((1, 1), 3.0),
        terminated=torch.tensor([terminated]),
        truncated=torch.tensor([not terminated]),
        next_observation=10 * one,
        next_action_mask=mask,
        next_alive=mask[..., 0],
        final_observation=2 * one,
        state=torch.zeros(1, 0),
        next_state=torch.zeros(1, 0),
        final_state=torch.zeros(1, 0),
    )


def target(step: Step) -> float:
    """The TD target of the step, if the value of an observation is the observation."""
    buffer = ReplayBuffer(capacity=4, gamma=0.5)
    buffer.add(step)
    batch = buffer.sample(1, generator())
    return float(batch.reward + batch.discount * batch.next_observation[..., 0])


def test_a_truncated_step_bootstraps_from_the_true_last_observation():
    step = end_of_one_episode(terminated=False)
    assert target(step) == 3.0 + 0.5 * 2.0
    assert target(end_of_one_episode(terminated=True)) == 3.0
    taken_as_terminated = step._replace(terminated=step.truncated)
    assert target(taken_as_terminated) == 3.0, "planted fault: the end would count as final"
    reset_one = step._replace(final_observation=step.next_observation)
    assert target(reset_one) == 3.0 + 0.5 * 10.0, "planted fault: the next episode's observation"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 8), st.integers(4, 40))
def test_episodes_are_followed_from_their_first_steps(seed, count, max_length, capacity):
    stream = Stream(num_envs=2, end_probability=0.25, leave_probability=0.05, seed=seed)
    buffer, steps = filled(stream, count, capacity=capacity, gamma=0.5)
    kept = min(count, capacity // 2)
    firsts = {
        (time, env)
        for time in range(count - kept, count)
        for env in range(2)
        if time == 0 or steps[time - 1].terminated[env] or steps[time - 1].truncated[env]
    }
    if not firsts:
        with pytest.raises(ConfigError, match="first step"):
            buffer.sample_episodes(1, max_length, generator())
        return
    batch = buffer.sample_episodes(60, max_length, generator())
    where = {float(steps[t].observation[e, 0, 0]): (t, e) for t, e in firsts}
    drawn = [where[float(first)] for first in batch.observation[0, :, 0, 0]]
    assert len(firsts) > 5 or set(drawn) == firsts
    for b, (start, env) in enumerate(drawn):
        for time in range(max_length):
            now = start + time
            before = steps[start : min(now, count)]
            over = now >= count or any(s.terminated[env] or s.truncated[env] for s in before)
            assert bool(batch.valid[time, b]) is not over
            if over:
                assert not batch.reward[time, b].any()
                assert not batch.discount[time, b].any()
                continue
            step = steps[now]
            assert torch.equal(batch.observation[time, b], step.observation[env])
            assert torch.equal(batch.observation[time + 1, b], step.final_observation[env])
            assert torch.equal(batch.action_mask[time, b], step.action_mask[env])
            assert torch.equal(batch.action[time, b], step.action[env])
            assert torch.equal(batch.reward[time, b], step.reward[env])
            assert torch.equal(batch.state[time, b], step.state[env])
            ended = bool(step.terminated[env] | step.truncated[env])
            goes_on = step.alive[env] & (step.next_alive[env] | ended) & ~step.terminated[env]
            assert torch.equal(batch.discount[time, b], goes_on * 0.5)


def test_no_read_goes_behind_what_is_filled(monkeypatch):
    """A device does not forgive it, and a ring that still grows is shorter than its capacity."""
    steps = {"capacity": 5000, "gamma": 0.9, "n_step": 3}
    buffer, _ = filled(Stream(num_envs=1, end_probability=0.0), 1023, **steps)
    on_host = buffer.sample(4000, generator())
    episodes = buffer.sample_episodes(2, 1100, generator())
    monkeypatch.setattr(buffer._ring.columns, "_on_host", False)
    on_device = buffer.sample(4000, generator())
    assert torch.equal(on_host.next_observation, on_device.next_observation)
    assert torch.equal(on_host.reward, on_device.reward)
    followed = buffer.sample_episodes(2, 1100, generator())
    assert torch.equal(followed.observation, episodes.observation)
    assert torch.equal(followed.reward, episodes.reward)


@pytest.mark.parametrize(("first", "second"), [(4, 1), (4, 2), (1, 4)])
def test_another_number_of_copies_is_refused(first, second):
    buffer, _ = filled(Stream(num_envs=first), 3, capacity=40, gamma=0.9)
    (step,) = Stream(num_envs=second).steps(1)
    with pytest.raises(StateMismatchError, match=rf"\({second}, 2, 2\), but .* \({first}, 2, 2\)"):
        buffer.add(step)
    assert len(buffer) == 3 * first


def test_priorities_are_not_forgotten_silently():
    buffer, _ = filled(Stream(), 9, capacity=40, gamma=0.9, priority=PriorityConfig())
    with pytest.raises(StateMismatchError, match="saved with priorities"):
        ReplayBuffer(capacity=40, gamma=0.9).load_state_dict(buffer.state_dict())
