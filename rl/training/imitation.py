"""A warm start: make a new policy do what an expert does."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from rl.algorithms.heads import DiagonalGaussian
from rl.algorithms.losses import require_finite
from rl.algorithms.ppo_agent import PPOAgent


def imitate(
    agent: PPOAgent,
    observation: Float[Tensor, "batch obs"],
    action: Shaped[Tensor, "batch ..."],
    *,
    action_mask: Bool[Tensor, "batch act"] | None = None,
    returns: Float[Tensor, " batch"] | None = None,
    epochs: int = 20,
    minibatch_rows: int = 512,
    learning_rate: float = 1e-3,
) -> float:
    """Fit the mean action, or the choices, to an expert's, and the critic to the returns.

    The observation normaliser learns from the observations first; the noise of the policy and the
    optimiser of its later training are left alone.

    Args:
        agent: Learns in place; draws the order of minibatches from its own generator.
        observation: What the expert saw.
        action: What it did: `[batch, act]`, or indices `[batch]` of choices.
        action_mask: True where a dimension or choice is in use; None where all are.
        returns: Discounted return that followed each action; None leaves the critic alone.
        epochs: Passes over the data.
        minibatch_rows: Rows per optimiser step.
        learning_rate: Of Adam.

    Returns:
        The mean loss of the policy over the last pass.

    Raises:
        DivergenceError: The loss is not finite.
    """
    network, log_std = agent.network, agent.network.log_std
    if agent.config.normalize_observations:
        network.normalizer.update(observation)
    normalized = network.normalizer(observation)
    if action_mask is not None and log_std is not None:
        action = action.masked_fill(~action_mask, 0.0)
    learnt = [parameter for parameter in agent.parameters if parameter is not log_std]
    optimizer = torch.optim.Adam(learnt, lr=learning_rate, fused=True)
    history = [torch.zeros(())]
    for _ in range(epochs):
        history.clear()
        order = torch.randperm(len(action), generator=agent.generator, device=agent.device)
        for index in order.tensor_split(math.ceil(len(action) / minibatch_rows)):
            mask = None if action_mask is None else action_mask[index]
            policy = network.policy(normalized[index], mask)
            if isinstance(policy, DiagonalGaussian):
                loss = (policy.mode() - action[index]).square().mean()
            else:
                loss = -policy.log_prob(action[index]).mean()
            history.append(loss.detach())
            if returns is not None:
                loss = loss + (network.value(normalized[index]) - returns[index]).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    mean_loss = torch.stack(history).mean()
    require_finite({"imitation loss": mean_loss})
    return float(mean_loss)
