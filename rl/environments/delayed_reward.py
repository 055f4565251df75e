"""A world whose rewards come late: nothing during an episode, all of it at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from data.scenario import ScenarioError
from rl.environments.base_environment import BatchedEnvironment, StepRecord

SO_FAR = "delayed_reward.so_far"


class DelayedReward:
    """Pays every agent the sum of an episode's rewards at its last step, and 0 before it.

    The return of an episode without discount is the same; only when it is told changes. A
    `BatchedEnvironment` like its core: observations, ends, costs and metrics are the core's. The
    record has no reward terms, for they would tell at every step what is to be learnt at the end.
    """

    is_differentiable = False

    def __init__(self, core: BatchedEnvironment) -> None:
        """Keep the core; `reset` it before the first step, as any world.

        Args:
            core: Stepped by nobody else.
        """
        self.core = core
        self.num_envs, self.num_agents = core.num_envs, core.num_agents
        self.agent_ids, self.groups = core.agent_ids, core.groups
        self.observation_size, self.state_size = core.observation_size, core.state_size
        self.num_costs, self.device = core.num_costs, core.device
        self._so_far = torch.zeros((self.num_envs, self.num_agents), device=self.device)

    def reset(self, seed: int | None = None) -> StepRecord:
        """Begin a new episode in every copy; what was earned in the old ones is never paid.

        Args:
            seed: Begins the whole sequence anew.
        """
        self._so_far = torch.zeros_like(self._so_far)
        return replace(self.core.reset(seed), reward_terms={})

    def step(self, action: Tensor) -> StepRecord:
        """Advance every copy by one step.

        Args:
            action: As the core takes it.

        Raises:
            InvalidActionError: The core refuses it.
        """
        record = self.core.step(action)
        earned = self._so_far + record.reward
        ended = (record.terminated | record.truncated)[:, None]
        self._so_far = torch.where(ended, 0.0, earned)
        return replace(record, reward=torch.where(ended, earned, 0.0), reward_terms={})

    def state_dict(self) -> dict[str, Tensor]:
        """Return the core's state and what is not paid yet."""
        return {**self.core.state_dict(), SO_FAR: self._so_far.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned.

        Raises:
            ScenarioError: It lacks what was earned, or is of other numbers of copies or agents.
        """
        so_far = state.get(SO_FAR)
        if so_far is None or so_far.shape != self._so_far.shape:
            found = "nothing" if so_far is None else f"shape {tuple(so_far.shape)}"
            raise ScenarioError(
                f"{SO_FAR} of the saved state is {found}, here it has "
                f"{tuple(self._so_far.shape)}; give a state that this world saved"
            )
        self.core.load_state_dict({name: v for name, v in state.items() if name != SO_FAR})
        self._so_far = so_far.to(self.device, copy=True)
