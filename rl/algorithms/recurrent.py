"""An actor-critic that remembers: gated recurrent units, unrolled over blocks of steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from rl.algorithms.activation import Activation
from rl.algorithms.heads import ActionDistribution, DiagonalGaussian, MaskedCategorical
from rl.algorithms.losses import shares, standardize
from rl.algorithms.networks import (
    ACTIVATIONS,
    ACTOR_GAIN,
    CRITIC_GAIN,
    HIDDEN_GAIN,
    OBSERVATION_CLIP,
    multilayer_perceptron,
)
from rl.algorithms.normalization import ObservationNormalizer
from rl.algorithms.ppo_batch import Batch


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


class RecurrentOutputs(NamedTuple):
    """What both networks make of a sequence."""

    policy: Float[Tensor, "time *row act"]
    """Means or logits."""
    value: Float[Tensor, " time *row"]
    memory: Float[Tensor, "*row memory"]
    """After the last observation."""


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

    def outputs(
        self,
        normalized: Float[Tensor, "time *row obs"],
        memory: Float[Tensor, "*row memory"],
        begins: Bool[Tensor, " time *row"],
    ) -> RecurrentOutputs:
        """Unroll both networks over a sequence.

        Args:
            normalized: Observations after `normalizer`, in order of time.
            memory: Before the first observation.
            begins: True where an observation is the first of its episode.
        """
        of_actor, of_critic = memory.chunk(2, -1)
        output, of_actor = self.actor(normalized, of_actor, begins)
        value, of_critic = self.critic(normalized, of_critic, begins)
        return RecurrentOutputs(output, value.squeeze(-1), torch.cat((of_actor, of_critic), -1))

    def policy(
        self,
        output: Float[Tensor, "*batch act"],
        mask: Bool[Tensor, "*batch act"] | None,
    ) -> ActionDistribution:
        """Return the distribution over actions.

        Args:
            output: Of the policy's network.
            mask: True where a dimension or choice is in use; None where all are.
        """
        if self.log_std is None:
            return MaskedCategorical.from_logits(output, mask)
        return DiagonalGaussian(output, self.log_std, mask)


class Sequences(NamedTuple):
    """Blocks of steps to learn from; copies and agents are rows, time stays in order."""

    observation: Float[Tensor, "time row obs"]
    """Normalised."""
    mask: Bool[Tensor, "time row act"]
    begins: Bool[Tensor, "time row"]
    action: Shaped[Tensor, "time row ..."]
    log_prob: Float[Tensor, "time row"]
    value: Float[Tensor, "time row"]
    advantage: Float[Tensor, "time row"]
    target: Float[Tensor, "time row"]
    weight: Float[Tensor, "time row"]
    """0 for absent agents, 1 for the others."""
    memory: Float[Tensor, "1 row memory"]
    """As it was before the first step, when the block was played."""

    def minibatches(self, count: int, generator: torch.Generator) -> list[Sequences]:
        """Deal the rows out at random, whole sequences each; one minibatch needs no shuffling.

        Args:
            count: How many parts; they are equal, so up to `count - 1` rows are left out.
            generator: Source of the order, on the device of the rows.
        """
        rows = self.log_prob.shape[1]
        count = min(count, rows)
        if count == 1:
            return [self]
        order = torch.randperm(rows, generator=generator, device=self.log_prob.device)
        parts = order[: rows // count * count].view(count, -1)
        return [Sequences(*(column[:, part] for column in self)) for part in parts.unbind()]

    def batch(self, *, normalize_advantages: bool) -> Batch:
        """Return all steps as rows of one set of weights, for the loss, which needs no order.

        Args:
            normalize_advantages: Standardise them over the live rows.
        """
        flat = Sequences(*(column.flatten(0, 1).unsqueeze(0) for column in self))
        share = shares(flat.weight)
        advantage = flat.advantage
        if normalize_advantages:
            advantage = standardize(advantage, share)
        return Batch(
            observation=flat.observation,
            joint=None,
            mask=flat.mask,
            action=flat.action,
            log_prob=flat.log_prob,
            value=flat.value,
            advantage=advantage,
            target=flat.target,
            weight=share,
        )


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
