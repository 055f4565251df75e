"""A task for memory: repeat the cue that was seen in the first step only."""

from __future__ import annotations

import torch

from rl.environments.base_environment import ActionSpec, AgentGroup, StepRecord

LENGTH = 6


class Recall:
    """Copies of a corridor (T-maze): the first observation says left or right, the last one asks.

    Observation: cue (-1 or 1 in the first step, else 0), 1 in the last step. Reward: 1 for the
    right choice in the last step. Copies are at different steps; a blind guess earns one half.
    """

    def __init__(self, num_envs: int, *, seed: int = 0) -> None:
        self.num_envs, self.num_agents, self.num_costs = num_envs, 1, 0
        self.agent_ids = ("agent",)
        self.observation_size = self.state_size = 2
        self.device = torch.device("cpu")
        action = ActionSpec(kind="discrete", size=2)
        self.groups = (AgentGroup(name="agent", members=(0,), observation_size=2, action=action),)
        self._generator = torch.Generator().manual_seed(seed)
        self._t = torch.arange(num_envs) % LENGTH
        self._cue = self._draw()

    def reset(self, seed: int | None = None) -> StepRecord:
        if seed is not None:
            self._generator.manual_seed(seed)
        self._t = torch.zeros(self.num_envs, dtype=torch.int64)
        self._cue = self._draw()
        return self._record(torch.zeros(self.num_envs), self._t < 0)

    def step(self, action: torch.Tensor) -> StepRecord:
        ended = self._t == LENGTH - 1
        reward = (ended & (action[:, 0] == (self._cue > 0))).float()
        self._t = torch.where(ended, 0, self._t + 1)
        self._cue = torch.where(ended, self._draw(), self._cue)
        return self._record(reward, ended)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {
            "t": self._t.clone(),
            "cue": self._cue.clone(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self._t, self._cue = state["t"].clone(), state["cue"].clone()
        self._generator.set_state(state["generator"])

    def _draw(self) -> torch.Tensor:
        return torch.randint(0, 2, (self.num_envs,), generator=self._generator) * 2.0 - 1.0

    def _record(self, reward: torch.Tensor, ended: torch.Tensor) -> StepRecord:
        seen = torch.stack((self._cue * (self._t == 0), (self._t == LENGTH - 1).float()), -1)
        seen = seen.unsqueeze(1)
        return StepRecord(
            observation=seen,
            action_mask=torch.ones(self.num_envs, 1, 2, dtype=torch.bool),
            agent_alive=torch.ones(self.num_envs, 1, dtype=torch.bool),
            reward=reward.unsqueeze(-1),
            cost=torch.zeros(self.num_envs, 1, 0),
            terminated=ended,
            truncated=torch.zeros_like(ended),
            final_observation=seen,
            global_state=seen[:, 0],
            final_global_state=seen[:, 0],
            metrics={},
        )
