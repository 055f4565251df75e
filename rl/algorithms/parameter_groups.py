"""Which agents share weights: the agent axis becomes a stack of parameter sets, and back."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor

from rl.algorithms.ppo_config import PPOConfig
from utils.errors import ConfigError


class ParameterGroups:
    """Turns `[row agent ...]` into `[stack row slot ...]`, one stack entry per set of weights.

    All agents in one set: a view. Groups of unlike size are filled up with copies of their first
    member, whose slots `in_use` marks False.
    """

    def __init__(
        self, members: tuple[tuple[int, ...], ...] | None, *, device: torch.device
    ) -> None:
        """Lay out the slots.

        Args:
            members: Positions on the agent axis of each set; None puts all agents, however many,
                in one.
            device: Where the arrays live.
        """
        self.is_shared = members is None
        self.stack = 1 if members is None else len(members)
        self.in_use = torch.ones(1, 1, 1, dtype=torch.bool, device=device)
        if members is None:
            return
        width = max(len(group) for group in members)
        padded = [[*group, *[group[0]] * (width - len(group))] for group in members]
        sizes = torch.tensor([len(group) for group in members])
        places = sorted(
            (agent, group, slot)
            for group, agents in enumerate(members)
            for slot, agent in enumerate(agents)
        )
        self.in_use = (torch.arange(width) < sizes.unsqueeze(-1)).unsqueeze(1).to(device)
        self._members = torch.tensor(padded, device=device)
        self._group = torch.tensor([group for _, group, _ in places], device=device)
        self._slot = torch.tensor([slot for _, _, slot in places], device=device)

    def stacked(
        self, rows: Shaped[Tensor, "row agent ..."]
    ) -> Shaped[Tensor, "stack row slot ..."]:
        """Put every agent's entries where its weights are.

        Args:
            rows: One entry per agent.
        """
        if self.is_shared:
            return rows.unsqueeze(0)
        return rows[:, self._members].movedim(1, 0)

    def by_agent(
        self, stacked: Shaped[Tensor, "stack row slot ..."]
    ) -> Shaped[Tensor, "row agent ..."]:
        """Undo `stacked`; what slots out of use hold is dropped.

        Args:
            stacked: One entry per slot.
        """
        if self.is_shared:
            return stacked.squeeze(0)
        return stacked[self._group, :, self._slot].movedim(0, 1)

    def of_agent(self, parameter: Shaped[Tensor, "stack 1 act"]) -> Shaped[Tensor, "*agent act"]:
        """Return every agent's own numbers; without an agent axis where all share them.

        Args:
            parameter: One set of numbers per stack entry.
        """
        return parameter[0, 0] if self.is_shared else parameter[self._group, 0]


def groups_of(config: PPOConfig, num_agents: int, device: torch.device) -> ParameterGroups:
    """Return the layout that a configuration asks for.

    Args:
        config: Names the sharing and the groups.
        num_agents: Length of the agent axis.
        device: Where the arrays live.

    Raises:
        ConfigError: The groups are not a partition of the agents.
    """
    if config.parameter_sharing == "shared":
        return ParameterGroups(None, device=device)
    if config.parameter_sharing == "independent":
        if num_agents == 1:
            return ParameterGroups(None, device=device)
        return ParameterGroups(tuple((agent,) for agent in range(num_agents)), device=device)
    members = config.agent_groups
    agents = sorted(agent for group in members for agent in group)
    if agents != list(range(num_agents)) or not all(members):
        raise ConfigError(
            f"agent_groups={members}: every one of the {num_agents} agents belongs to one group, "
            "and no group is empty"
        )
    return ParameterGroups(None if num_agents == 1 else members, device=device)
