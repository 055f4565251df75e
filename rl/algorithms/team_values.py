"""What every agent of a team values its choices at: one shared network that is told who asks."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rl.algorithms.mixing import MixingSizes, MixingWeights, MonotonicMixer, mix_values, sum_values
from rl.algorithms.stacked_networks import StackedMLP

Memory = Float[Tensor, "batch agent memory"]


class TeamValues(nn.Module):
    """Q_a of every choice of every agent; the number of the agent is appended to what it observes.

    With memory, rectified layers are followed by a GRU that reads the whole episode so far
    (deep recurrent Q-learning, arXiv:1507.06527).
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        num_agents: int,
        *,
        recurrent: bool,
        generator: torch.Generator,
    ) -> None:
        """Draw the initial weights.

        Args:
            sizes: Length of an observation, of every hidden layer (with memory the last of them is
                the GRU), and number of choices of the agent with most of them.
            num_agents: Who is told apart.
            recurrent: Whether it has a memory.
            generator: Source of the initial weights, on the CPU.
        """
        super().__init__()
        self.register_buffer("identity", torch.eye(num_agents), persistent=False)
        self.identity: Tensor
        observed, *hidden, num_choices = sizes
        inputs = observed + num_agents
        self.memory_size = hidden[-1] if recurrent else 0
        self.gru: nn.GRU | None = None
        self.encoder: StackedMLP | None = None
        if recurrent:
            *before, memory = hidden
            if before:
                self.encoder = StackedMLP((inputs, *before), init="uniform", generator=generator)
            self.gru = nn.GRU((inputs, *before)[-1], memory)
            for parameter in self.gru.parameters():
                nn.init.uniform_(parameter, -(memory**-0.5), memory**-0.5, generator=generator)
            inputs, hidden = memory, []
        self.head = StackedMLP((inputs, *hidden, num_choices), init="uniform", generator=generator)

    def empty_memory(self, num_envs: int) -> Memory:
        """Return what agents remember before an episode begins.

        Args:
            num_envs: How many copies.
        """
        return self.identity.new_zeros((num_envs, len(self.identity), self.memory_size))

    def forward(
        self, observation: Float[Tensor, "time batch agent obs"], memory: Memory
    ) -> tuple[Float[Tensor, "time batch agent act"], Memory]:
        """Value all choices along some steps of an episode.

        Args:
            observation: In the order of time.
            memory: From the steps before; left as it is by a network without one.

        Returns:
            The values, and the memory after the last step.
        """
        leading = observation.shape[:3]
        who = self.identity.expand(*leading, -1)
        rows = torch.cat((observation, who), -1).flatten(0, 2)
        if self.gru is not None:
            if self.encoder is not None:
                rows = self.encoder(rows[None])[0].relu()
            steps, last = self.gru(
                rows.view(leading[0], -1, rows.shape[-1]), memory.flatten(0, 1)[None]
            )
            rows, memory = steps.flatten(0, 1), last.view_as(memory)
        return self.head(rows[None])[0].view(*leading, -1), memory

    def around(
        self, observation: Float[Tensor, "moment batch agent obs"]
    ) -> tuple[Float[Tensor, "time batch agent act"], Float[Tensor, "time batch agent act"]]:
        """Value all choices before every step of whole episodes, and after it without gradient.

        Args:
            observation: Of episodes from their first step, or around single steps.
        """
        nothing = self.empty_memory(observation.shape[1])
        if self.gru is not None:
            q, _ = self(observation, nothing)
            return q[:-1], q[1:].detach()
        with torch.no_grad():
            following, _ = self(observation[1:], nothing)
        return self(observation[:-1], nothing)[0], following

    @torch.no_grad()
    def after(
        self, observation: Float[Tensor, "moment batch agent obs"]
    ) -> Float[Tensor, "time batch agent act"]:
        """Value all choices after every step of whole episodes, as a target.

        Args:
            observation: Of episodes from their first step, or around single steps.
        """
        nothing = self.empty_memory(observation.shape[1])
        if self.gru is None:
            following: Tensor = self(observation[1:], nothing)[0]
            return following
        whole: Tensor = self(observation, nothing)[0]
        return whole[1:]


class TeamNetwork(nn.Module):
    """The agents' values, and how they become the team's."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        num_agents: int,
        *,
        recurrent: bool,
        mixing: MixingSizes | None,
        generator: torch.Generator,
    ) -> None:
        """Draw the initial weights.

        Args:
            sizes: Of the agents' values, from the observation to the choices.
            num_agents: Size of the team.
            recurrent: Whether agents remember.
            mixing: Of the mixer; None where values are added (VDN).
            generator: Source of the initial weights, on the CPU.

        Raises:
            ConfigError: The mixer has no global state to go by.
        """
        super().__init__()
        self.values = TeamValues(sizes, num_agents, recurrent=recurrent, generator=generator)
        self.mixer = mixing and MonotonicMixer(mixing, num_agents, generator=generator)

    def total(
        self,
        value: Float[Tensor, "*batch agent"],
        alive: Bool[Tensor, "*batch agent"],
        state: Float[Tensor, "*batch state"],
    ) -> tuple[Float[Tensor, "*batch"], MixingWeights | None]:
        """Return the team's value, and the weights it was mixed by; None where values are added.

        Args:
            value: Of the action that each agent takes.
            alive: False where an agent is absent.
            state: Global states.
        """
        if self.mixer is None:
            return sum_values(value, alive), None
        weights = self.mixer.weights(state)
        return mix_values(value, alive, weights), weights
