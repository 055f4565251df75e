"""Rewards that come at the end only: the same sums, nothing before, the core untouched."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from data.demand import PoissonDemand
from data.scenario import BankConfig, ScenarioBank, ScenarioError
from rl.domains.inventory import inv_management
from rl.environments.conformance import check_environment
from rl.environments.delayed_reward import SO_FAR, DelayedReward
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions

STEPS = 6


def make_chain():
    config = replace(inv_management(lost_sales=False), max_steps=STEPS)
    bank = ScenarioBank(PoissonDemand(mean=20.0, max_steps=STEPS), BankConfig(num_episodes=8), 0)
    return BatchedInventory(config, bank, InventoryOptions(num_envs=3), 0)


def random_actions(count):
    return torch.rand((count, 3, 1, 3), generator=torch.Generator().manual_seed(7))


def test_it_conforms_and_resumes_in_the_middle_of_an_episode():
    check_environment(lambda: DelayedReward(make_chain()), num_steps=20, max_steps=STEPS)


def test_sums_are_equal_and_nothing_is_told_before_the_end():
    late, core = DelayedReward(make_chain()), make_chain()
    late.reset(1), core.reset(1)
    told, earned = [], []
    for action in random_actions(3 * STEPS):
        ours, theirs = late.step(action), core.step(action)
        told.append(ours.reward)
        earned.append(theirs.reward)
        assert torch.equal(ours.observation, theirs.observation)
        assert torch.equal(ours.final_observation, theirs.final_observation)
        assert torch.equal(ours.truncated, theirs.truncated)
        assert not ours.reward_terms
    paid, plain = (torch.stack(one).view(3, STEPS, 3, 1) for one in (told, earned))
    assert (paid[:, :-1] == 0).all()
    assert (plain[:, :-1] != 0).any()
    torch.testing.assert_close(paid[:, -1], plain.sum(1))


def test_what_was_earned_before_a_reset_is_never_paid():
    late, core = DelayedReward(make_chain()), make_chain()
    actions = random_actions(STEPS + 3)
    late.reset(1)
    for action in actions[:3]:
        late.step(action)
    late.reset(2), core.reset(2)
    record, earned = None, torch.zeros(3, 1)
    for action in actions[3:]:
        record = late.step(action)
        earned += core.step(action).reward
    torch.testing.assert_close(record.reward, earned)


@pytest.mark.parametrize("damage", [lambda _: None, lambda so_far: so_far[:2]])
def test_another_worlds_state_is_refused_and_changes_nothing(damage):
    late = DelayedReward(make_chain())
    late.reset(1)
    actions = random_actions(2)
    late.step(actions[0])
    state = late.state_dict()
    altered = {**state, SO_FAR: damage(state[SO_FAR])}
    altered = {name: value for name, value in altered.items() if value is not None}
    late.step(actions[1])
    before = late.state_dict()
    with pytest.raises(ScenarioError, match=SO_FAR):
        late.load_state_dict(altered)
    assert all(torch.equal(value, late.state_dict()[name]) for name, value in before.items())
