"""What every world with episodes in lockstep can do: other scenarios, saved states, refusals."""

from __future__ import annotations

import pytest
import torch

from data.demand import PoissonDemand
from data.scenario import BankConfig, ScenarioBank, ScenarioError
from rl.domains.inventory import inv_management
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.environments.lockstep import LockstepOptions
from utils.errors import ConfigError

CONFIG = inv_management(lost_sales=False)


def make_bank(mean=20.0, steps=30, episodes=8):
    source = PoissonDemand(mean=mean, max_steps=steps)
    return ScenarioBank(source, BankConfig(num_episodes=episodes), 0)


def make_chain(bank=None):
    return BatchedInventory(CONFIG, bank or make_bank(), InventoryOptions(num_envs=16), 0)


def mean_demand(env):
    action = torch.zeros((16, 1, 3))
    return float(sum(env.step(action).metrics["demand"].mean() for _ in range(30)) / 30)


def test_another_bank_is_another_world_of_the_same_shape():
    env = make_chain()
    assert mean_demand(env) == pytest.approx(20, rel=0.1)
    env.step(torch.zeros((16, 1, 3)))
    record = env.use_bank(make_bank(mean=60.0), seed=1)
    assert env.t == 0
    assert record.observation.shape == (16, 1, env.observation_size)
    assert mean_demand(env) == pytest.approx(60, rel=0.1)


def test_another_bank_begins_as_a_new_environment_would():
    changed, fresh = make_chain(), make_chain(make_bank(mean=60.0))
    changed.step(torch.full((16, 1, 3), 0.5))
    first, second = changed.use_bank(make_bank(mean=60.0), seed=3), fresh.reset(3)
    assert torch.equal(first.observation, second.observation)
    action = torch.full((16, 1, 3), 0.2)
    for _ in range(31):
        assert torch.equal(changed.step(action).reward, fresh.step(action).reward)


def test_a_bank_of_other_shapes_is_refused_by_name():
    env = make_chain()
    with pytest.raises(ConfigError, match="demand differ in shape; pad the smaller stage"):
        env.use_bank(make_bank(steps=12), seed=0)
    assert env.bank.scenarios.demand.shape[1] == 30


def test_a_saved_state_of_another_world_is_refused():
    state = make_chain().state_dict()
    del state["state.unmet"]
    with pytest.raises(ScenarioError, match=r"state\.stock.*this world has.*state\.unmet"):
        make_chain().load_state_dict(state)


@pytest.mark.parametrize("copies", [1, 3])
def test_a_saved_state_of_another_number_of_copies_is_refused(copies):
    options = InventoryOptions(num_envs=copies)
    state = BatchedInventory(inv_management(lost_sales=False), make_bank(), options, 0).state_dict()
    with pytest.raises(ScenarioError, match=f"of {copies} copies.*build it with num_envs={copies}"):
        make_chain().load_state_dict(state)


def test_an_empty_batch_is_refused():
    with pytest.raises(ConfigError, match="num_envs must be at least 1"):
        LockstepOptions(num_envs=0)


def test_a_saved_state_that_lacks_a_part_is_refused():
    env = make_chain()
    for name in ("dealt", "bank_hash", "generator", "time", "episode"):
        state = env.state_dict()
        del state[name]
        with pytest.raises(ScenarioError, match=f"lacks {name}"):
            env.load_state_dict(state)


def test_a_saved_state_of_other_sizes_is_refused_and_changes_nothing():
    env = make_chain()
    action = torch.full((16, 1, 3), 0.2)
    env.step(action)
    before = env.state_dict()
    wrong = before | {"state.unmet": torch.zeros((16, 99)), "time": torch.tensor(7)}
    with pytest.raises(ScenarioError, match=r"state\.unmet .*\(16, 99\), here it has"):
        env.load_state_dict(wrong)
    options = InventoryOptions(num_envs=8)
    fewer = BatchedInventory(CONFIG, make_bank(), options, 0).state_dict()
    with pytest.raises(ScenarioError, match="is of 8 copies, this world has 16"):
        env.load_state_dict(fewer)
    assert all(torch.equal(value, before[name]) for name, value in env.state_dict().items())


def test_a_state_saved_under_another_bank_is_refused_and_changes_nothing():
    env = make_chain()
    env.step(torch.zeros((16, 1, 3)))
    saved = env.state_dict()
    other = ScenarioBank(PoissonDemand(mean=60.0, max_steps=30), BankConfig(num_episodes=8), 5)
    env.use_bank(other, seed=1)
    before = env.state_dict()
    with pytest.raises(ScenarioError, match="gives other episodes"):
        env.load_state_dict(saved)
    assert all(torch.equal(value, before[name]) for name, value in env.state_dict().items())
    assert env.bank.seed == 5
    env.use_bank(make_bank(), seed=0)
    env.load_state_dict(saved)
    assert env.t == 1


def test_actions_of_other_kinds_play_the_same_world_in_single_precision():
    one, other = make_chain(), make_chain()
    for _ in range(31):
        first = one.step(torch.full((16, 1, 3), 0.25))
        second = other.step(torch.full((16, 1, 3), 0.25, dtype=torch.float64))
        assert second.reward.dtype == torch.float32
        assert torch.equal(first.reward, second.reward)
    assert {v.dtype for v in one.state_dict().values()} == {
        v.dtype for v in other.state_dict().values()
    }
