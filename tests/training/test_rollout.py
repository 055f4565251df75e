"""Blocks of steps: what is written where, what counts, and what ends mean."""

from __future__ import annotations

import torch

from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.training.rollout import Collector
from tests.training.worlds import ConstantWorld, PointWorld


def make_agent(world, *, discrete=False, **settings):
    return PPOAgent(
        "learner",
        world.observation_size,
        world.action_size,
        PPOConfig(hidden_dims=(8,), **settings),
        discrete=discrete,
        seed=3,
    )


class Script:
    """Wraps a world and keeps every record it gave."""

    def __init__(self, world):
        self.world = world
        self.records = []

    def __getattr__(self, name):
        return getattr(self.world, name)

    def reset(self, seed=None):
        self.records.append(self.world.reset(seed))
        return self.records[-1]

    def step(self, action):
        self.records.append(self.world.step(action))
        return self.records[-1]


def collect(steps=40):
    script = Script(PointWorld())
    agent = make_agent(script.world)
    collector = Collector(script, agent, rollout_steps=steps, seed=1)
    rollout, summary = collector.collect()
    return script.records, agent, rollout, summary


def test_rows_are_what_the_agent_saw_before_acting():
    records, agent, rollout, _ = collect()
    for time in range(40):
        assert torch.equal(rollout.observation[time], records[time].observation)
        assert torch.equal(rollout.action_mask[time], records[time].action_mask)
        assert torch.equal(rollout.alive[time], records[time].agent_alive)
        assert torch.equal(rollout.reward[time], records[time + 1].reward)
    policy = agent.network.policy(rollout.observation, rollout.action_mask)
    torch.testing.assert_close(policy.log_prob(rollout.action), rollout.log_prob)


def test_discount_and_next_value_follow_the_kind_of_end():
    records, agent, rollout, _ = collect()
    seen = set()
    for time in range(40):
        after = records[time + 1]
        for copy in range(4):
            terminated, truncated = bool(after.terminated[copy]), bool(after.truncated[copy])
            seen.add((terminated, truncated))
            expected = 0.0 if terminated else 0.99
            assert (rollout.discount[time, copy] == torch.tensor(expected)).all()
            assert (rollout.ended[time, copy] == (terminated or truncated)).all()
            if not terminated:
                value = agent.value(after.final_observation[copy])
                torch.testing.assert_close(rollout.next_value[time, copy], value)
    assert {(False, False), (True, False), (False, True)} <= seen


def test_an_agent_that_leaves_is_terminated_for_itself_only():
    class Leaving(ConstantWorld):
        def step(self, action):
            record = super().step(action)
            record.agent_alive[2] = self.time < 2
            return record

    world = Leaving(ending="truncated")
    collector = Collector(world, make_agent(world, discrete=True), rollout_steps=4, seed=0)
    rollout, summary = collector.collect()
    assert rollout.discount[:2, 2, 0].tolist() == torch.tensor([0.99, 0.0]).tolist()
    assert rollout.ended[:2, 2, 0].tolist() == [False, True]
    assert rollout.alive[:, 2, 0].tolist() == [True, True, False, False]
    assert (rollout.discount[:, 1] == torch.tensor(0.99)).all()
    assert summary.episodes == 0


def test_summary_counts_episodes_across_blocks():
    world = ConstantWorld(ending="truncated")
    collector = Collector(world, make_agent(world, discrete=True), rollout_steps=3, seed=0)
    summaries = [collector.collect()[1] for _ in range(5)]
    assert [summary.episodes for summary in summaries] == [0, 4, 0, 4, 4]
    assert [summary.mean_return for summary in summaries] == [None, 5.0, None, 5.0, 5.0]
    assert summaries[1].mean_length == 5.0
    assert summaries[0].env_steps == 12
    assert collector.env_steps == 60
    assert summaries[0].metrics == {"load": 1.5}


def test_returns_are_summed_over_agents():
    records, _, _, summary = collect()
    ends = [record.terminated | record.truncated for record in records[1:]]
    total, finished = torch.zeros(4), []
    for record, ended in zip(records[1:], ends, strict=True):
        total += record.reward.sum(-1)
        finished += total[ended].tolist()
        total[ended] = 0
    assert summary.episodes == len(finished)
    torch.testing.assert_close(
        torch.tensor(summary.mean_return), torch.tensor(finished).mean(), rtol=1e-5, atol=1e-5
    )


def test_a_collector_goes_on_in_the_middle_of_an_episode():
    world, other = PointWorld(), PointWorld()
    agent = make_agent(world)
    collector = Collector(world, agent, rollout_steps=7, seed=1)
    collector.collect()
    saved, state = collector.state_dict(), world.state_dict()
    choices = agent.generator.get_state()
    expected, summary = collector.collect()

    late = Collector(other, agent, rollout_steps=7, seed=99)
    other.load_state_dict(state)
    late.load_state_dict(saved)
    agent.generator.set_state(choices)
    found, found_summary = late.collect()
    assert torch.equal(found.observation, expected.observation)
    assert torch.equal(found.reward, expected.reward)
    assert found_summary == summary


def test_what_cannot_be_restored_begins_episodes_not_shown_before():
    class Foreign(PointWorld):
        resume = "approximate"

        def load_state_dict(self, state):
            pass

    world, other = Foreign(), Foreign()
    agent = make_agent(world, tail_share=0.5, scale_rewards=True)
    collector = Collector(world, agent, rollout_steps=7, seed=1)
    rollout, _ = collector.collect()
    first = rollout.observation[0].clone()
    agent.update(rollout)
    assert agent.objective.reward_scaler.trace.any()
    assert agent.objective.state_dict()["tail.carry"].any()
    late = Collector(other, agent, rollout_steps=7, seed=1)
    late.load_state_dict(collector.state_dict())
    assert late.env_steps == 28
    assert not agent.objective.reward_scaler.trace.any()
    assert not agent.objective.state_dict()["tail.carry"].any()
    assert not torch.equal(late.collect()[0].observation[0], first)
