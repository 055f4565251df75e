"""Planted faults of the block: what they would do to the advantages, and that the checks notice."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.algorithms.returns import generalized_advantages
from rl.training.rollout import Collector
from tests.training.worlds import PointWorld, World


def collect(world, steps=40):
    agent = PPOAgent(
        "learner", world.observation_size, world.action_size, PPOConfig(hidden_dims=(8,)), seed=3
    )
    records = []
    step = world.step
    world.step = lambda action: records.append(step(action)) or records[-1]
    rollout, _ = Collector(world, agent, rollout_steps=steps, seed=1).collect()
    return agent, rollout, records


def brute_force(agent, rollout, records):
    """Return the one-step errors by the definition, row by row, from what the world said."""
    error = torch.zeros_like(rollout.reward)
    for time, after in enumerate(records):
        for copy in range(len(after.terminated)):
            follows = agent.value(after.final_observation[copy])
            keeps = 0.0 if after.terminated[copy] else agent.config.gamma
            error[time, copy] = after.reward[copy] + keeps * follows - rollout.value[time, copy]
    return error


def one_step_errors(rollout):
    return generalized_advantages(
        rollout.reward, rollout.discount, rollout.value, rollout.next_value,
        ended=rollout.ended, trace_decay=0.0,
    )  # fmt: skip


def check(agent, rollout, records):
    torch.testing.assert_close(
        one_step_errors(rollout), brute_force(agent, rollout, records), atol=1e-4, rtol=1e-4
    )


def test_the_block_is_right():
    agent, rollout, records = collect(PointWorld())
    ends = [
        (bool(t), bool(c)) for r in records for t, c in zip(r.terminated, r.truncated, strict=True)
    ]
    assert {(False, False), (True, False), (False, True)} <= set(ends)
    check(agent, rollout, records)


def test_truncation_treated_as_termination_is_noticed():
    agent, rollout, records = collect(PointWorld())
    faulty = dataclasses.replace(rollout, discount=rollout.discount.masked_fill(rollout.ended, 0.0))
    with pytest.raises(AssertionError, match="not close"):
        check(agent, faulty, records)


def test_the_reset_observation_in_place_of_the_final_one_is_noticed(monkeypatch):
    def forgetful(self, observation, reward=None, *, final=None, **rest):
        return record(self, observation, reward, **rest)

    record = World.record
    _, _, records = collect(PointWorld())
    monkeypatch.setattr(World, "record", forgetful)
    agent, faulty, _ = collect(PointWorld())
    with pytest.raises(AssertionError, match="not close"):
        check(agent, faulty, records)
