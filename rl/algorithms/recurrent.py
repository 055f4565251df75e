"""An actor-critic that remembers: gated recurrent units, unrolled over blocks of steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rl.algorithms.heads import ActionDistribution, DiagonalGaussian, MaskedCategorical
from rl.algorithms.networks import (
    ACTIVATIONS,
    ACTOR_GAIN,
    CRITIC_GAIN,
    HIDDEN_GAIN,
    OBSERVATION_CLIP,
    Activation,
    multilayer_perceptron,
)
from rl.algorithms.normalization import ObservationNormalizer


class RecurrentBranch(nn.Module):
    """A perceptron, a gated recurrent unit (arXiv:1406.1078) and a linear output."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        outputs: int,
        *,
        activation: Activation,
        output_gain: float,
        generator: torch.Generator,
    ) -> None:
        """Draw the initial weights: orthogonal, biases zero.

        Args:
            sizes: Length of an observation, of every hidden layer, and of the memory.
            outputs: Length of the output.
            activation: After every hidden layer.
            output_gain: Scale of the last layer's weights.
            generator: Source of the initial weights, on the CPU.
        """
        super().__init__()
        *hidden, memory = sizes
        self.encoder = multilayer_perceptron(
            tuple(hidden), activation=activation, output_gain=HIDDEN_GAIN, generator=generator
        )
        self.encoder.append(ACTIVATIONS[activation]())
        self.cell = nn.GRUCell(hidden[-1], memory)
        self.output = multilayer_perceptron(
            (memory, outputs), activation=activation, output_gain=output_gain, generator=generator
        )
        for weight in (self.cell.weight_ih, self.cell.weight_hh):
            for gate in weight.detach().chunk(3):
                nn.init.orthogonal_(gate, generator=generator)
        nn.init.zeros_(self.cell.bias_ih)
        nn.init.zeros_(self.cell.bias_hh)

    def forward(
        self,
        inputs: Float[Tensor, "time *row obs"],
        memory: Float[Tensor, "*row memory"],
        begins: Bool[Tensor, " time *row"],
    ) -> tuple[Float[Tensor, "time *row out"], Float[Tensor, "*row memory"]]:
        """Unroll from a memory, which is wiped where an episode begins.

        Args:
            inputs: Observations in order of time.
            memory: Before the first of them.
            begins: True where an observation is the first of its episode.

        Returns:
            The outputs, and the memory after the last observation.
        """
        rows = memory.shape[:-1]
        kept = (~begins).reshape(len(begins), -1, 1).to(memory.dtype)
        encoded = self.encoder(inputs).reshape(len(inputs), kept.shape[1], -1)
        memory = memory.reshape(kept.shape[1], -1)
        memories = []
        for seen, keep in zip(encoded, kept, strict=True):
            memory = self.cell(seen, memory * keep)
            memories.append(memory.view(*rows, -1))
        return self.output(torch.stack(memories)), memories[-1]


class RecurrentActorCritic(nn.Module):
    """A policy and its critic, each with a memory, apart but for the normaliser.

    The two memories travel as one tensor, the policy's first. Parameters are shared by all agents.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        action_dim: int,
        *,
        discrete: bool,
        activation: Activation = "tanh",
        observation_clip: float | None = OBSERVATION_CLIP,
        generator: torch.Generator,
    ) -> None:
        """Draw the initial weights.

        Args:
            sizes: Length of an observation, of every hidden layer, and of each memory.
            action_dim: Continuous dimensions, or number of choices.
            discrete: True for choices.
            activation: After every hidden layer.
            observation_clip: Largest magnitude of a normalised observation; None for no limit.
            generator: Source of the initial weights, on the CPU.
        """
        super().__init__()
        limit = torch.finfo(torch.float32).max if observation_clip is None else observation_clip
        self.memory_size = 2 * sizes[-1]
        self.normalizer = ObservationNormalizer(sizes[0], clip=limit)
        self.actor = RecurrentBranch(
            sizes, action_dim, activation=activation, output_gain=ACTOR_GAIN, generator=generator
        )
        self.critic = RecurrentBranch(
            sizes, 1, activation=activation, output_gain=CRITIC_GAIN, generator=generator
        )
        self.log_std = None if discrete else nn.Parameter(torch.zeros(action_dim))

    def unroll(
        self,
        normalized: Float[Tensor, "time *row obs"],
        mask: Bool[Tensor, "time *row act"] | None,
        memory: Float[Tensor, "*row memory"],
        begins: Bool[Tensor, " time *row"],
    ) -> tuple[ActionDistribution, Float[Tensor, " time *row"], Float[Tensor, "*row memory"]]:
        """Return the policy and the values of a sequence, and the memory after it.

        Args:
            normalized: Observations after `normalizer`, in order of time.
            mask: True where a dimension or choice is in use; None where all are.
            memory: Before the first observation.
            begins: True where an observation is the first of its episode.
        """
        of_actor, of_critic = memory.chunk(2, -1)
        output, of_actor = self.actor(normalized, of_actor, begins)
        value, of_critic = self.critic(normalized, of_critic, begins)
        policy = (
            MaskedCategorical.from_logits(output, mask)
            if self.log_std is None
            else DiagonalGaussian(output, self.log_std, mask)
        )
        return policy, value.squeeze(-1), torch.cat((of_actor, of_critic), -1)


class Sequences(NamedTuple):
    """Blocks of steps to learn from; copies and agents are rows, time stays in order."""

    observation: Float[Tensor, "time row obs"]
    """Normalised."""
    mask: Bool[Tensor, "time row act"]
    begins: Bool[Tensor, "time row"]
    alive: Bool[Tensor, "time row"]
    action: Shaped[Tensor, "time row ..."]
    log_prob: Float[Tensor, "time row"]
    value: Float[Tensor, "time row"]
    advantage: Float[Tensor, "time row"]
    target: Float[Tensor, "time row"]
    memory: Float[Tensor, "1 row memory"]
    """As it was before the first step, when the block was played."""

    def rows(self, index: Tensor) -> Sequences:
        """Return some of the rows, whole.

        Args:
            index: Which, as integers or as a mask.
        """
        return Sequences(*(column[:, index] for column in self))

    def minibatches(self, count: int, generator: torch.Generator) -> Iterator[Sequences]:
        """Split the rows at random, whole sequences each; one minibatch needs no shuffling.

        Args:
            count: How many parts; sizes differ by at most one row.
            generator: Source of the order, on the device of the rows.
        """
        if count == 1:
            yield self
            return
        rows = self.log_prob.shape[1]
        order = torch.randperm(rows, generator=generator, device=self.log_prob.device)
        for index in order.tensor_split(min(count, rows)):
            yield self.rows(index)


def episode_begins(
    ended: Bool[Tensor, "time env agent"],
) -> Bool[Tensor, "time env agent"]:
    """Return where an observation is the first of its episode: one step after an end.

    The first row is False: who played the block wiped the memory already if an episode began.

    Args:
        ended: True where the step was the last of its episode.
    """
    begins = torch.zeros_like(ended)
    begins[1:] = ended[:-1]
    return begins
