"""The examiner passes the shared services, and catches each planted fault by its rule."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from data.scenario import BankConfig, ScenarioBank
from data.workload import SyntheticWorkload
from rl.domains.shared_services import shared_services
from rl.environments.adapter import GymnasiumAdapter
from rl.environments.base_environment import AgentGroup
from rl.environments.conformance import ConformanceError, check_environment
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    EnvironmentConfig,
)
from utils.errors import ConfigError

STEPS = 5


def make_small(environment=BatchedResourceAllocation, **options):
    preset = shared_services(2)
    world = replace(preset.training_world, max_steps=STEPS)
    bank = ScenarioBank(
        SyntheticWorkload(preset.synthetic, world),
        BankConfig(num_episodes=16, refresh_every_episodes=9),
        3,
    )
    config = replace(preset.allocation, max_steps=STEPS)
    return environment(config, bank, EnvironmentConfig(num_envs=3, **options), 0)


def examine(environment=BatchedResourceAllocation, **options):
    check_environment(
        lambda: make_small(environment, **options), num_steps=4 * STEPS - 2, max_steps=STEPS
    )


@pytest.mark.parametrize(
    ("view", "mechanism", "action"),
    list(product(["planner", "services"], ["proportional", "priority"], ["shares", "coverage"])),
)
def test_shared_services_conform(view, mechanism, action):
    examine(view=view, mechanism=mechanism, action=action)


@pytest.mark.parametrize(
    ("name", "max_steps", "num_steps"), [("CartPole-v1", None, 60), ("Pendulum-v1", 200, 210)]
)
def test_foreign_environments_conform_but_for_resuming(name, max_steps, num_steps):
    check_environment(
        lambda: GymnasiumAdapter(name, 2),
        num_steps=num_steps,
        max_steps=max_steps,
        exact_resume=False,
    )


class TruncationAsTermination(BatchedResourceAllocation):
    def step(self, action):
        record = super().step(action)
        return replace(record, terminated=record.truncated, truncated=record.terminated)


class EndsTwice(BatchedResourceAllocation):
    def step(self, action):
        record = super().step(action)
        return replace(record, terminated=record.truncated)


class NeverEnds(BatchedResourceAllocation):
    def step(self, action):
        record = super().step(action)
        return replace(
            record,
            truncated=record.terminated,
            final_observation=record.observation,
            final_global_state=record.global_state,
        )


class EndsLate(BatchedResourceAllocation):
    late = None

    def step(self, action):
        record = super().step(action)
        late, self.late = self.late, record.truncated
        shown = record.terminated if late is None else late
        return replace(
            record,
            truncated=shown,
            final_observation=record.observation,
            final_global_state=record.global_state,
        )


class LeaksReward(BatchedResourceAllocation):
    def step(self, action):
        record = super().step(action)
        return replace(record, reward=record.reward + 1e-3 * record.reward.mean(0), reward_terms={})


class LeaksAction(BatchedResourceAllocation):
    def step(self, action):
        return super().step(torch.cat([action[:1], action[1:] * 0.999 + action[:1] * 0.001]))


class KeepsBacklog(BatchedResourceAllocation):
    def _begin_episodes(self):
        kept = getattr(self, "state", None)
        super()._begin_episodes()
        if kept is not None:
            self.state = replace(self.state, backlog=kept.backlog)


class KeepsBacklogOverItsOwnReset(BatchedResourceAllocation):
    def _begin_episodes(self):
        kept = self.state if self.t == self.config.max_steps else None
        super()._begin_episodes()
        if kept is not None:
            self.state = replace(self.state, backlog=kept.backlog)


class IgnoresSeed(BatchedResourceAllocation):
    def reset(self, seed=None):
        return super().reset(None if seed is None else 7)


class SeedsByChance(BatchedResourceAllocation):
    def reset(self, seed=None):
        return super().reset(torch.seed() % 2**31)


class GoesOnInsteadOfSeeding(BatchedResourceAllocation):
    def reset(self, seed=None):
        fresh = not hasattr(self, "begun")
        self.begun = True
        return super().reset(seed if fresh else None)


class ForgetsBacklog(BatchedResourceAllocation):
    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.state = replace(self.state, backlog=torch.zeros_like(self.state.backlog))


class ForgetsGenerator(BatchedResourceAllocation):
    def load_state_dict(self, state):
        super().load_state_dict(state)
        self._dealer._generator.manual_seed(0)


class SharesItsState(BatchedResourceAllocation):
    count = torch.zeros(())

    def step(self, action):
        self.count += 1
        return super().step(action)

    def state_dict(self):
        return {**super().state_dict(), "count": self.count}


class ReusesItsBuffer(BatchedResourceAllocation):
    buffer = None

    def step(self, action):
        record = super().step(action)
        if self.buffer is None:
            self.buffer = record.reward.clone()
        self.buffer.copy_(record.reward)
        return replace(record, reward=self.buffer)


class HidesTheEnd(BatchedResourceAllocation):
    def step(self, action):
        record = super().step(action)
        return replace(record, final_observation=record.observation)


class FinalsTheNext(BatchedResourceAllocation):
    def step(self, action):
        record = super().step(action)
        return replace(record, final_observation=record.observation * 0.5)


class FinalStateOfAnother(BatchedResourceAllocation):
    def step(self, action):
        record = super().step(action)
        return replace(record, final_global_state=record.global_state.roll(1, 0))


class LeavesItsBounds(BatchedResourceAllocation):
    def _observe(self):
        return super()._observe() - 0.5


class SaysNotANumber(BatchedResourceAllocation):
    def step(self, action):
        record = super().step(action)
        return replace(record, cost=record.cost / 0.0)


class CountsInDoubles(BatchedResourceAllocation):
    def step(self, action):
        record = super().step(action)
        return replace(record, reward=record.reward.double())


class LosesACost(BatchedResourceAllocation):
    def step(self, action):
        record = super().step(action)
        return replace(record, cost=record.cost[..., :0])


class RewardsTheReset(BatchedResourceAllocation):
    def reset(self, seed=None):
        record = super().reset(seed)
        return replace(record, reward=record.reward + 1.0)


class MissesATerm(BatchedResourceAllocation):
    def step(self, action):
        record = super().step(action)
        return replace(record, reward=record.reward - 0.1)


class MasksInVain(BatchedResourceAllocation):
    def __init__(self, *settings):
        super().__init__(*settings)
        self._every_action[..., -1] = False


class HonoursItsMask(MasksInVain):
    def step(self, action):
        return super().step(action * self._every_action[:1])


class Revives(BatchedResourceAllocation):
    def step(self, action):
        record = super().step(action)
        alive = torch.full_like(record.agent_alive, self.t % 2 == 0)
        return replace(record, agent_alive=alive)


class PaysTheDead(BatchedResourceAllocation):
    def __init__(self, *settings):
        super().__init__(*settings)
        self._every_agent[:, -1] = False


class ActsForNothing(BatchedResourceAllocation):
    def step(self, action):
        return super().step(torch.ones_like(action))


class TakesAnything(BatchedResourceAllocation):
    def step(self, action):
        return super().step(action[: self.num_envs].nan_to_num())


class StumblesOverRefusals(BatchedResourceAllocation):
    def step(self, action):
        if not torch.isfinite(action).all():
            self.state = replace(self.state, backlog=self.state.backlog + 1.0)
        return super().step(action)


class PadsWithNumbers(BatchedResourceAllocation):
    def __init__(self, *settings):
        super().__init__(*settings)
        group = self.groups[0]
        self.groups: tuple[AgentGroup, ...] = (
            replace(group, observation_size=group.observation_size - 1),
        )


FAULTS = [
    (TruncationAsTermination, "truncation"),
    (EndsTwice, "truncation"),
    (NeverEnds, "truncation"),
    (EndsLate, "truncation"),
    (LeaksReward, "copies"),
    (LeaksAction, "copies"),
    (KeepsBacklog, "reset"),
    (KeepsBacklogOverItsOwnReset, "reset"),
    (IgnoresSeed, "different_seeds"),
    (SeedsByChance, "same_seed"),
    (GoesOnInsteadOfSeeding, "reset"),
    (ForgetsBacklog, "state"),
    (ForgetsGenerator, "state"),
    (SharesItsState, "state"),
    (ReusesItsBuffer, "records_stay"),
    (HidesTheEnd, "final_observation"),
    (FinalsTheNext, "final_observation"),
    (FinalStateOfAnother, "final_global_state"),
    (LeavesItsBounds, "bounds"),
    (SaysNotANumber, "finite"),
    (CountsInDoubles, "shapes"),
    (LosesACost, "shapes"),
    (RewardsTheReset, "first_record"),
    (MissesATerm, "reward_terms"),
    (MasksInVain, "action_mask"),
    (Revives, "deaths"),
    (PaysTheDead, "deaths"),
    (ActsForNothing, "actions"),
    (TakesAnything, "refusal"),
    (StumblesOverRefusals, "refusal"),
    (PadsWithNumbers, "padding"),
]


@pytest.mark.parametrize(("environment", "rule"), FAULTS, ids=[case[0].__name__ for case in FAULTS])
def test_planted_fault_is_caught_by_its_rule(environment, rule):
    with pytest.raises(ConformanceError) as caught:
        examine(environment, view="services")
    assert caught.value.rule == rule
    assert str(caught.value).startswith(f"{rule}: ")


def test_honoured_mask_conforms():
    examine(HonoursItsMask)


def test_invariants_see_every_record():
    seen = []
    check_environment(
        make_small, num_steps=STEPS + 1, seeds=(4,), max_steps=STEPS,
        invariants=(lambda env, record: seen.append(record.reward.shape),),
    )  # fmt: skip
    assert seen == [(3, 1)] * (STEPS + 2)


@pytest.mark.parametrize(
    "settings", [{"num_steps": STEPS, "max_steps": STEPS}, {"seeds": (1, 1)}, {"seeds": ()}]
)
def test_useless_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        check_environment(make_small, **settings)
