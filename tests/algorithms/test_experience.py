"""Noise of actions and steps of an own loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rl.algorithms.action_noise import uniform_sample, unit_noise
from rl.algorithms.step_writer import StepWriter


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_unit_noise_is_standard_normal_and_remembers(correlation):
    noise, generator = unit_noise(correlation), torch.Generator().manual_seed(0)
    rest = torch.zeros(20_000, 1, 1)
    for _ in range(100):
        before = noise(rest, generator)
    after = noise(rest, generator)
    assert after.mean().item() == pytest.approx(0.0, abs=0.03)
    assert after.std().item() == pytest.approx(1.0, abs=0.03)
    related = torch.corrcoef(torch.stack((before.flatten(), after.flatten())))[0, 1]
    assert related.item() == pytest.approx(correlation, abs=0.03)


def test_uniform_sample_by_hand():
    """The normal distribution function is 0.5 at 0 and 0.841345 at 1."""
    mask = torch.tensor([[True, True, False]])
    action, log_prob = uniform_sample(torch.tensor([[0.0, 1.0, 3.0]]), mask, low=1.0, high=3.0)
    assert action.tolist()[0] == pytest.approx([2.0, 1.0 + 2.0 * 0.841345, 0.0])
    assert log_prob.item() == pytest.approx(-2.0 * np.log(2.0))


def test_a_step_is_written_when_its_successor_is_known():
    writer = StepWriter(1, torch.device("cpu"))
    last = np.array([9.0])
    cut = {"truncated": True, "final_observation": last}
    assert writer.write([0.0], [0.5], reward=1.0, done=False, info={}) is None
    first = writer.write([1.0], [0.6], reward=2.0, done=False, info=cut)
    second = writer.write([2.0], [0.7], reward=3.0, done=True, info={})
    third = writer.write([3.0], [0.8], reward=4.0, done=False, info={})
    assert [one.observation.item() for one in (first, second, third)] == [0.0, 1.0, 2.0]
    assert [one.next_observation.item() for one in (first, second, third)] == [1.0, 2.0, 3.0]
    assert [one.final_observation.item() for one in (first, second)] == [1.0, 9.0]
    assert [one.reward.item() for one in (first, second, third)] == [1.0, 2.0, 3.0]
    assert [one.terminated.item() for one in (first, second, third)] == [False, False, True]
    assert [one.truncated.item() for one in (first, second, third)] == [False, True, False]
    assert first.action.tolist() == [[[0.5]]]


def test_whole_numbers_are_numbers_where_actions_are_continuous():
    """The first action decides what the replay keeps: as choices, 0.7 would become 0 later."""
    for discrete, kept in ((False, torch.float32), (True, torch.int64)):
        writer = StepWriter(1, torch.device("cpu"), discrete=discrete)
        writer.write([0.0], [0], reward=1.0, done=False, info={})
        assert writer.held["action"].dtype == kept


def test_a_step_that_waits_follows_the_agent_to_its_device():
    writer = StepWriter(1, torch.device("meta"))
    writer.load({"observation": torch.zeros(1, 1, 1)})
    assert writer.held["observation"].device.type == "meta"
