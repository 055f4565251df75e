"""The two networks of PPO as stacks of perceptrons, and their weights as one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rl.algorithms import stacked_networks
from rl.algorithms.activation import Activation
from rl.algorithms.heads import ActionDistribution, DiagonalGaussian, MaskedCategorical
from rl.algorithms.multi_discrete import MultiCategorical
from rl.algorithms.networks import ACTOR_GAIN, CRITIC_GAIN, OBSERVATION_CLIP, PolicyLayers
from rl.algorithms.normalization import ObservationNormalizer
from rl.algorithms.parameter_groups import ParameterGroups
from rl.algorithms.policy_state import load_module_state
from rl.algorithms.stacked_networks import StackedMLP
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """What an actor and its critic take and give."""

    observation_size: int
    action_size: int
    """Outputs of the policy: continuous dimensions, or choices of all parts."""
    hidden_dims: Sequence[int]
    discrete: bool
    num_choices: tuple[int, ...] = ()
    """Choices of each part of an action that has several."""
    num_agents: int = 1
    append_agent_id: bool = False
    """Let the networks see a one-hot code of the agent after its normalised observation."""
    is_central: bool = False
    """One critic takes the observations of all agents side by side, and values each."""
    activation: Activation = "tanh"
    observation_clip: float | None = OBSERVATION_CLIP
    """Largest magnitude of a normalised observation; None passes observations unchanged."""


class Trace(NamedTuple):
    """A forward pass of both networks over a minibatch."""

    policy: ActionDistribution
    value: Float[Tensor, "stack row"]
    actor: stacked_networks.Trace
    critic: stacked_networks.Trace


class OutputGradient(NamedTuple):
    """Gradient of the loss where it enters the networks."""

    output: Float[Tensor, "stack row out"]
    """At the policy's output: logits, or means."""
    log_std: Float[Tensor, "stack 1 act"] | None
    """None for a policy of choices."""
    value: Float[Tensor, "stack row"]


class ActorCritic(nn.Module):
    """A policy and its critic for each set of weights, apart but for the normaliser.

    Rows are laid out `[stack row ...]` by `groups`. A central critic is one network with a value
    for every agent.
    """

    def __init__(
        self,
        shape: NetworkShape,
        groups: ParameterGroups,
        *,
        device: torch.device,
        generator: torch.Generator,
    ) -> None:
        """Draw the initial weights.

        Args:
            shape: Sizes.
            groups: Which agents share weights.
            device: Where the weights live.
            generator: Source of the initial weights, on the CPU.
        """
        super().__init__()
        self.shape = shape
        self.groups = groups
        clip = shape.observation_clip
        limit = torch.finfo(torch.float32).max if clip is None else clip
        self.normalizer = ObservationNormalizer(shape.observation_size, clip=limit)
        num_agents = shape.num_agents
        seen = shape.observation_size + (num_agents if shape.append_agent_id else 0)
        joint = num_agents * shape.observation_size
        self.actor = StackedMLP(
            (seen, *shape.hidden_dims, shape.action_size),
            stack=groups.stack,
            activation=shape.activation,
            output_gain=ACTOR_GAIN,
            generator=generator,
        )
        self.critic = StackedMLP(
            (joint, *shape.hidden_dims, num_agents)
            if shape.is_central
            else (seen, *shape.hidden_dims, 1),
            stack=1 if shape.is_central else groups.stack,
            activation=shape.activation,
            output_gain=CRITIC_GAIN,
            generator=generator,
        )
        self.log_std = (
            None
            if shape.discrete
            else nn.Parameter(torch.zeros(groups.stack, 1, shape.action_size))
        )
        self.to(device)
        self._join()

    def _join(self) -> None:
        """Make all weights views of `vector`, and their gradients of its gradient."""
        networks = [self.actor, self.critic]
        owners = [network.vector for network in networks]
        if self.log_std is not None:
            owners.append(self.log_std)
        self.vector = torch.cat([owner.detach().flatten() for owner in owners])
        self.gradient = torch.zeros_like(self.vector)
        self.vector.grad = self.gradient
        sizes = [owner.numel() for owner in owners]
        values = self.vector.split_with_sizes(sizes)
        gradients = self.gradient.split_with_sizes(sizes)
        for network, value, gradient in zip(networks, values, gradients, strict=False):
            network.look_into(value, gradient)
        if self.log_std is not None:
            self.log_std.data = values[-1].view_as(self.log_std)
            self._log_std_gradient = gradients[-1].view_as(self.log_std)

    def __deepcopy__(self, memo: dict[int, Any]) -> ActorCritic:
        """Copy with one vector of its own; torch's way would tear the networks from it."""
        other = ActorCritic(
            self.shape, self.groups, device=self.vector.device, generator=torch.Generator()
        )
        load_module_state(other, self.state_dict())
        memo[id(self)], memo[id(self.vector)] = other, other.vector
        return other

    def normalize(self, observation: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch obs"]:
        """Return what the networks see of an observation.

        Args:
            observation: As the environment gave it.
        """
        if self.shape.observation_clip is None:
            return observation
        normalized: Tensor = self.normalizer(observation)
        return normalized

    def policy(
        self,
        observation: Float[Tensor, "*batch obs"],
        mask: Bool[Tensor, "*batch act"] | None,
    ) -> ActionDistribution:
        """Return the distribution over actions.

        Args:
            observation: As the environment gave it; the last axis of the batch is the agents'.
            mask: True where a dimension or choice is in use; None where all are.
        """
        output = self._of_agents(self.actor, self.normalize(observation))
        log_std = None if self.log_std is None else self.groups.of_agent(self.log_std)
        return self._distribution(output, mask, log_std)

    def value(self, observation: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch"]:
        """Return the critic's estimate of the return.

        Args:
            observation: As the environment gave it; the last axis of the batch is the agents'.
        """
        normalized = self.normalize(observation)
        if not self.shape.is_central:
            return self._of_agents(self.critic, normalized).squeeze(-1)
        value: Tensor = self.critic(normalized.reshape(1, -1, self.critic.sizes[0]))
        return value.reshape(observation.shape[:-1])

    def inputs(
        self, observation: Float[Tensor, "moment agent obs"]
    ) -> tuple[Float[Tensor, "stack moment slot seen"], Float[Tensor, "1 moment 1 joint"] | None]:
        """Return what the actors take, and a central critic; None if critics take the same.

        Args:
            observation: As the environment gave it.
        """
        normalized = self.normalize(observation)
        joint = normalized.flatten(1)[None, :, None] if self.shape.is_central else None
        return self._seen(normalized), joint

    def trace(
        self,
        seen: Float[Tensor, "stack row seen"],
        joint: Float[Tensor, "1 moment joint"] | None,
        mask: Bool[Tensor, "stack row act"] | None,
    ) -> Trace:
        """Evaluate both networks on a minibatch and keep what `backward` needs.

        Args:
            seen: What the actors take.
            joint: What a central critic takes; None if critics take the same.
            mask: True where a dimension or choice is in use; None where all are.
        """
        actor = self.actor.trace(seen)
        critic = self.critic.trace(seen if joint is None else joint)
        value = (
            critic.output.squeeze(-1)
            if joint is None
            else self.groups.stacked(critic.output.squeeze(0)).flatten(1, 2)
        )
        return Trace(self._distribution(actor.output, mask, self.log_std), value, actor, critic)

    def backward(self, trace: Trace, gradient: OutputGradient) -> None:
        """Write the gradient of all weights over `vector.grad`.

        Args:
            trace: Of the forward pass, with the weights unchanged since.
            gradient: Of the loss at the outputs.
        """
        self.actor.backward(trace.actor, gradient.output)
        grad_value = gradient.value.unsqueeze(-1)
        if self.shape.is_central:
            moments = trace.critic.output.shape[1]
            by_slot = gradient.value.view(self.groups.stack, moments, -1)
            grad_value = self.groups.by_agent(by_slot).unsqueeze(0)
        self.critic.backward(trace.critic, grad_value)
        if self.log_std is not None and gradient.log_std is not None:
            self._log_std_gradient.copy_(gradient.log_std)

    def export_layers(self) -> PolicyLayers:
        """Return copies of the numbers of a policy that is one network of an observation.

        Raises:
            ConfigError: It is more than that.
        """
        if self.groups.stack > 1 or self.shape.append_agent_id or self.shape.num_choices:
            raise ConfigError(
                "only a policy with one set of weights, without agent ids and with one choice can "
                'be exported: train with parameter_sharing="shared" and append_agent_id=False'
            )
        return self.actor.export_layers(self.normalizer)

    def _of_agents(
        self, network: StackedMLP, normalized: Float[Tensor, "*batch obs"]
    ) -> Float[Tensor, "*batch out"]:
        """Evaluate a network for every agent of a batch of any shape."""
        batch = normalized.shape[:-1]
        if self.groups.is_shared and not self.shape.append_agent_id:
            rows = normalized.reshape(1, -1, normalized.shape[-1])
            return network.forward(rows).view(*batch, -1)
        moments = normalized.reshape(-1, self.shape.num_agents, normalized.shape[-1])
        stacked = self._seen(moments)
        output = network.forward(stacked.flatten(1, 2)).view(*stacked.shape[:3], -1)
        return self.groups.by_agent(output).reshape(*batch, -1)

    def _seen(
        self, normalized: Float[Tensor, "moment agent obs"]
    ) -> Float[Tensor, "stack moment slot seen"]:
        if self.shape.append_agent_id:
            code = torch.eye(self.shape.num_agents, device=normalized.device)
            normalized = torch.cat((normalized, code.expand(len(normalized), -1, -1)), -1)
        return self.groups.stacked(normalized)

    def _distribution(
        self, output: Tensor, mask: Tensor | None, log_std: Tensor | None
    ) -> ActionDistribution:
        if log_std is not None:
            return DiagonalGaussian(output, log_std, mask)
        if self.shape.num_choices:
            return MultiCategorical.from_logits(output, mask, self.shape.num_choices)
        return MaskedCategorical.from_logits(output, mask)
