"""The world of `custom_environment`: a tank that fills too slowly for the village it serves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.demand import InventoryScenarios
from data.scenario import ScenarioBank
from rl.environments.base_environment import ActionSpec, AgentGroup
from rl.environments.lockstep import (
    LockstepEnvironment,
    LockstepOptions,
    Outcome,
    WorldShape,
    WorldState,
)

DAYS, NEED, INFLOW, FULL = 40, 10.0, 8.0, 60.0
SHARE = ActionSpec(kind="continuous", size=1)
KEEPER = AgentGroup(name="keeper", members=(0,), observation_size=3, action=SHARE)
SHAPE = WorldShape(agent_ids=("keeper",), groups=(KEEPER,), state_size=3, num_steps=DAYS)


@dataclass(frozen=True, kw_only=True)
class Tank(WorldState):
    """All that actions change."""

    level: Tensor
    """`[env]`, in the unit of `NEED`."""


class WaterTank(LockstepEnvironment[Tank]):
    """Copies of one tank, a day a step.

    Observation: level, what is asked for today, share of the days gone. Action: the share of what
    is asked for that is let out, in [0, 1]. Reward: minus the square of the missing share of a
    usual day, so that one dry day is worse than many tight ones. End: truncated after `DAYS`.
    """

    is_differentiable = True

    def __init__(self, bank: ScenarioBank[InventoryScenarios], num_envs: int, seed: int) -> None:
        super().__init__(bank, LockstepOptions(num_envs=num_envs), SHAPE, seed)

    def _first_state(self) -> Tank:
        return Tank(level=torch.full((self.num_envs,), FULL))

    def _advance(self, action: Tensor) -> Outcome[Tank]:
        asked, level = self.rows["demand"][:, self.t], self.state.level
        given = torch.minimum(action[:, 0, 0].clamp(0.0, 1.0) * asked, level)
        missing = (asked - given) / NEED
        return Outcome(
            state=Tank(level=(level - given + INFLOW).clamp(max=FULL)),
            reward_terms={"shortage": -missing.square()[:, None]},
            metrics={"given": given, "level": level},
        )

    def _observe(self) -> Tensor:
        asked = self.rows["demand"][:, min(self.t, DAYS - 1)]
        gone = torch.full_like(asked, self.t / DAYS)
        return torch.stack([self.state.level / FULL, asked / NEED, gone], -1)[:, None]
