"""A tiny world of targets to be hit, with stages whose scores are known beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from data.scenario import Array, BankConfig, ScenarioArrays, ScenarioBank
from rl.environments.base_environment import ActionSpec, AgentGroup
from rl.environments.lockstep import (
    LockstepEnvironment,
    LockstepOptions,
    Outcome,
    WorldShape,
    WorldState,
)
from rl.evaluation.contest import ScenarioSet
from rl.training.curriculum import CurriculumManager, CurriculumStage, DifficultyLevel
from rl.training.curriculum_driver import CurriculumDriver
from rl.training.curriculum_world import ProblemStage, ScoreScale

STEPS, COPIES = 5, 6


@dataclass(frozen=True, kw_only=True)
class TargetScenarios(ScenarioArrays):
    target: Array
    """`[episode, time + 1]`."""


@dataclass(frozen=True)
class TargetSource:
    """Uniform targets around a centre."""

    centre: float

    def draw(self, num_episodes, generator):
        drawn = generator.uniform(-0.1, 0.1, (num_episodes, STEPS + 1)) + self.centre
        return TargetScenarios(target=drawn.astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class TargetState(WorldState):
    miss: torch.Tensor


class TargetWorld(LockstepEnvironment[TargetState]):
    """Reward of a step: minus the square of what the action misses the target by."""

    is_differentiable = True

    def __init__(self, bank, *, seed=0):
        group = AgentGroup(
            name="shooter",
            members=(0,),
            observation_size=2,
            action=ActionSpec(kind="continuous", size=1),
        )
        shape = WorldShape(agent_ids=("shooter",), groups=(group,), state_size=2, num_steps=STEPS)
        super().__init__(bank, LockstepOptions(num_envs=COPIES), shape, seed)

    def _first_state(self):
        return TargetState(miss=torch.zeros(self.num_envs))

    def _advance(self, action):
        miss = action[:, 0, 0] - self.rows["target"][:, self.t]
        return Outcome(
            state=TargetState(miss=miss),
            reward_terms={"hit": -miss.square()[:, None]},
            metrics={"miss": miss.abs()},
        )

    def _observe(self):
        return torch.stack((self.rows["target"][:, self.t], self.state.miss), -1)[:, None]


def make_stage(name, **changes):
    defaults = {
        "difficulty": DifficultyLevel.EASY,
        "min_episodes": 12,
        "max_episodes": 1000,
        "stability_window": 12,
    }
    return CurriculumStage(name=name, **(defaults | changes))


def make_problem_stages(*scales, **changes):
    """One stage per scale (returns of chance and of the expert), its targets ever further away."""
    made = []
    for number, (random, expert) in enumerate(scales):
        source = TargetSource(0.3 + 0.2 * number)
        episodes = ScenarioSet(
            name=f"stage_{number}",
            about="targets",
            scenarios=source.draw(4, np.random.default_rng(number)),
            blocks=np.arange(4),
        )
        made.append(
            ProblemStage(
                stage=make_stage(f"stage_{number}", **changes),
                source=source,
                episodes=episodes,
                scale=ScoreScale(random=random, expert=expert, expert_name="marksman"),
            )
        )
    return tuple(made)


EASY = (-1000.0, -500.0)
"""Whatever is played scores far above 1."""
IMPOSSIBLE = (1.0, 2.0)
"""Whatever is played scores below -1."""
BANK = BankConfig(num_episodes=16, refresh_every_episodes=64)


def make_driver(stages, *, scheduler=None, seed=5):
    manager = CurriculumManager(tuple(one.stage for one in stages), scheduler)
    return CurriculumDriver(manager, stages, bank=BANK, seed=seed)


def make_target_world():
    return TargetWorld(ScenarioBank(TargetSource(0.9), BANK, 99))
