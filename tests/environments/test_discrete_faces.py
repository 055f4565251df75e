"""Grids and units of continuous actions, worked by hand and put through the examiner."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from data.capacity_demand import CapacityDemand, CapacityDemandConfig
from data.demand import PoissonDemand
from data.node_workload import NodeWorkload
from data.scenario import BankConfig, ScenarioBank, ScenarioError
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.domains.capacity_planning import CapacityConfig
from rl.domains.inventory import inv_management
from rl.domains.nodes import distributed_nodes
from rl.environments.capacity_planning_environment import BatchedCapacityPlanning
from rl.environments.conformance import check_environment
from rl.environments.discrete_faces import BinnedActions, UnitActions
from rl.environments.gymnasium_faces import SingleAgentEnvironment
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.environments.lockstep import LockstepOptions
from rl.environments.node_allocation_environment import BatchedNodes
from rl.training.rollout import Collector
from tests.training.worlds import PointWorld
from utils.errors import ConfigError

STEPS = 6


def make_chain(num_envs=3, view="planner"):
    config = replace(inv_management(lost_sales=False), max_steps=STEPS)
    bank = ScenarioBank(PoissonDemand(mean=20.0, max_steps=STEPS), BankConfig(num_episodes=8), 0)
    return BatchedInventory(config, bank, InventoryOptions(num_envs=num_envs, view=view), 0)


def make_nodes():
    preset = distributed_nodes(3, workload_arrival_rate=20.0, max_steps=STEPS)
    bank = ScenarioBank(NodeWorkload(preset.world), BankConfig(num_episodes=8), 0)
    return BatchedNodes(preset.nodes, bank, LockstepOptions(num_envs=3), 0)


class OneDimensionOff(BatchedInventory):
    """The planner's second dimension is not in use, and does nothing."""

    def __init__(self, *settings):
        super().__init__(*settings)
        self._every_action[..., 1] = False

    def step(self, action):
        return super().step(action * self._every_action)


def with_one_off():
    chain = make_chain()
    return OneDimensionOff(chain.config, chain.bank, chain.options, 0)


@pytest.mark.parametrize("make", [make_chain, make_nodes, with_one_off])
def test_grid_conforms(make):
    levels = (0.0, 0.5, 1.0) if make is not make_nodes else (0.25, 0.5, 1.0)
    check_environment(lambda: BinnedActions(make(), levels), num_steps=14, seeds=(0,))


@pytest.mark.parametrize("make", [make_chain, make_nodes, with_one_off])
def test_units_conform(make):
    check_environment(lambda: UnitActions(make(), num_units=3, unit=0.5), num_steps=50)


def test_a_choice_is_a_point_of_the_grid():
    face, core = BinnedActions(make_chain(), (0.0, 0.1, 0.3)), make_chain()
    assert face.groups[0].action.size == 27
    face.reset(1), core.reset(1)
    choices = torch.tensor([[0], [1 * 9 + 0 * 3 + 2], [26]])  # the first dimension is the slowest
    points = torch.tensor([[[0.0, 0.0, 0.0]], [[0.1, 0.0, 0.3]], [[0.3, 0.3, 0.3]]])
    chosen, played = face.step(choices), core.step(points)
    assert torch.equal(chosen.reward, played.reward)
    assert torch.equal(chosen.observation, played.observation)
    assert chosen.action_mask.all()


def test_a_grid_masks_what_moves_an_unused_dimension():
    mask = BinnedActions(with_one_off(), (0.0, 1.0)).reset(0).action_mask[0, 0]
    # Choices count 000, 001, 010, ... with the unused dimension in the middle.
    assert mask.tolist() == [True, True, False, False, True, True, False, False]


def test_units_add_up_to_one_action():
    face, core = UnitActions(make_chain(num_envs=1), num_units=4, unit=0.25), make_chain(1)
    face.reset(1), core.reset(1)
    for choice in (0, 2, 0):
        between = face.step(torch.tensor([[choice]]))
        assert between.reward.item() == 0
        assert not between.truncated.any()
    given = between.observation[0, 0, -4:].tolist()
    assert given == [0.5, 0.0, 0.25, 0.75]
    last = face.step(torch.tensor([[3]]))  # holds the fourth unit back
    played = core.step(torch.tensor([[[0.5, 0.0, 0.25]]]))
    assert torch.equal(last.reward, played.reward)
    assert torch.equal(last.observation[..., :-4], played.observation)
    assert last.observation[0, 0, -4:].tolist() == [0.0, 0.0, 0.0, 0.0]


def test_a_full_dimension_is_masked_and_choosing_it_holds_back():
    face = UnitActions(make_chain(num_envs=1), num_units=3, unit=0.5)
    face.reset(0)
    for _ in range(2):
        record = face.step(torch.tensor([[1]]))
    assert record.action_mask[0, 0].tolist() == [True, False, True, True]
    again, held = (face, UnitActions(make_chain(num_envs=1), num_units=3, unit=0.5))
    held.reset(0)
    for choice in (1, 1):
        held.step(torch.tensor([[choice]]))
    full = again.step(torch.tensor([[1]])).reward
    assert torch.equal(full, held.step(torch.tensor([[3]])).reward)


def test_an_episode_is_units_times_as_long():
    environment = SingleAgentEnvironment(UnitActions(make_chain(num_envs=1), num_units=5))
    environment.reset(seed=0)
    ends = [environment.step(0)[3] for _ in range(5 * STEPS)]
    assert ends.index(True) == 5 * STEPS - 1


def test_a_grid_too_fine_says_what_else_to_do():
    with pytest.raises(ConfigError, match=r"531,441 choices.*UnitActions"):
        BinnedActions(make_chain(), tuple(index / 80 for index in range(81)))


@pytest.mark.parametrize("levels", [(0.5,), (0.0, 0.0), (1.0, 0.0), (0.0, 1.5)])
def test_levels_that_are_no_grid_are_refused(levels):
    with pytest.raises(ConfigError, match="levels must be two or more, ascending"):
        BinnedActions(make_chain(), levels)


@pytest.mark.parametrize(("units", "unit"), [(0, 0.1), (3, 0.0), (3, 1.5)])
def test_units_that_make_no_sense_are_refused(units, unit):
    with pytest.raises(ConfigError, match="num_units must be at least 1 and unit in"):
        UnitActions(make_chain(), num_units=units, unit=unit)


def test_choices_are_not_discretised_again():
    with pytest.raises(ConfigError, match="chooses already"):
        UnitActions(BinnedActions(make_chain()))


@pytest.mark.parametrize("face", [BinnedActions, UnitActions])
def test_a_learner_of_choices_plays_it(face):
    environment = face(make_chain())
    group = environment.groups[0]
    agent = PPOAgent(
        "a", group.observation_size, group.action.size, PPOConfig(), seed=0, discrete=True
    )
    rollout, summary = Collector(environment, agent, rollout_steps=60, seed=0).collect()
    assert summary.env_steps == 180
    assert torch.isfinite(rollout.reward).all()


def test_units_refuse_a_saved_state_that_lacks_a_part_and_change_nothing():
    face = UnitActions(make_chain())
    face.reset(0)
    face.step(torch.zeros((3, 1), dtype=torch.int64))
    saved = face.state_dict()
    for _ in range(9):
        face.step(torch.ones((3, 1), dtype=torch.int64))
    before = face.state_dict()
    for name in saved:
        if name.startswith(("units.metrics", "units.reward_terms")):
            continue
        with pytest.raises(ScenarioError, match=r"lacks|this world has"):
            face.load_state_dict({other: saved[other] for other in saved if other != name})
    assert all(torch.equal(value, before[name]) for name, value in face.state_dict().items())


def make_capacity():
    config = CapacityConfig(num_regions=3, max_steps=STEPS)
    law = CapacityDemandConfig(num_regions=3, active_regions=2, max_steps=STEPS)
    bank = ScenarioBank(CapacityDemand(law), BankConfig(num_episodes=8), 0)
    return BatchedCapacityPlanning(config, bank, LockstepOptions(num_envs=3), 0)


def test_units_of_amounts_that_can_be_negative_begin_at_zero_and_go_both_ways():
    face, core = UnitActions(make_capacity(), num_units=4, unit=0.25), make_capacity()
    face.reset(1), core.reset(1)
    assert face.groups[0].action.size == 7
    assert face.reset(1).action_mask[0, 0].tolist() == [True, True, False] * 2 + [True]
    for choices, amounts in (
        ([6, 6, 6, 6], [0.0, 0.0, 0.0]),
        ([0, 4, 6, 2], [0.5, -0.5, 0.0]),
        ([3, 3, 3, 6], [-1.0, 0.0, 0.0]),
        ([1, 4, 1, 1], [0.0, 1.0, 0.0]),
    ):
        for choice in choices:
            shown = face.step(torch.full((3, 1), choice))
        played = core.step(torch.tensor(amounts).expand(3, 1, 3))
        assert torch.equal(shown.reward, played.reward)
    for choice, mask in ((3, [1, 1, 0, 1, 1, 0, 1]), (3, [1, 1, 0, 0, 1, 0, 1])):
        assert face.step(torch.full((3, 1), choice)).action_mask[0, 0].tolist() == mask


def test_units_of_amounts_that_can_be_negative_conform():
    check_environment(lambda: UnitActions(make_capacity(), num_units=3, unit=0.5), num_steps=50)


def test_a_masked_choice_holds_the_unit_back_and_the_last_look_is_complete():
    face = UnitActions(with_one_off(), num_units=2, unit=0.5)
    seen = face.core.observation_size
    assert not face.reset(0).action_mask[:, 0, 1].any()
    shown = face.step(torch.ones((3, 1), dtype=torch.int64))
    assert (shown.observation[:, 0, seen:] == torch.tensor([0.0, 0.0, 0.0, 0.5])).all()
    for _ in range(2 * STEPS - 1):
        shown = face.step(torch.zeros((3, 1), dtype=torch.int64))
    assert shown.truncated.all()
    assert (shown.final_observation[:, 0, seen:] == torch.tensor([1.0, 0.0, 0.0, 1.0])).all()
    assert (shown.observation[:, 0, seen:] == 0.0).all()


@pytest.mark.parametrize("face", [BinnedActions, UnitActions])
def test_the_next_stage_begins_with_nothing_handed_out(face):
    changed, fresh = face(make_chain()), face(make_chain())
    changed.reset(0)
    changed.step(torch.ones((3, 1), dtype=torch.int64))
    source = PoissonDemand(mean=60.0, max_steps=STEPS)
    first = changed.use_bank(ScenarioBank(source, BankConfig(num_episodes=8), 0), seed=5)
    second = fresh.use_bank(ScenarioBank(source, BankConfig(num_episodes=8), 0), seed=5)
    assert torch.equal(first.observation, second.observation)
    for _ in range(9):
        action = torch.ones((3, 1), dtype=torch.int64)
        assert torch.equal(changed.step(action).reward, fresh.step(action).reward)


def test_a_foreign_world_has_no_bank():
    with pytest.raises(ConfigError, match="PointWorld does not play scenarios"):
        UnitActions(PointWorld()).use_bank(make_chain().bank, seed=0)


def test_units_can_be_looked_at_before_the_first_step_of_the_core():
    environment = SingleAgentEnvironment(UnitActions(make_chain(num_envs=1)), "ansi")
    environment.reset(seed=0)
    environment.step(0)
    assert "demand" in environment.render()
    for _ in range(8):
        environment.step(0)
    assert environment.render().startswith("step 9")
