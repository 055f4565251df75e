"""What a learner under limits on costs adds: a critic of the costs, and its multipliers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from rl.algorithms.activation import Activation
from rl.algorithms.constraints import (
    MultiplierState,
    constrained_advantage,
    first_multipliers,
    mean_step_cost,
    next_multipliers,
)
from rl.algorithms.multiplier_config import MultiplierConfig
from rl.algorithms.networks import CRITIC_GAIN
from rl.algorithms.policy_state import (
    TensorDict,
    load_module_state,
    load_optimizer_state,
    module_state,
    optimizer_state,
    take_tensor,
    under_prefix,
    with_prefix,
)
from rl.algorithms.returns import generalized_advantages
from rl.algorithms.rollout_buffer import Rollout
from rl.algorithms.stacked_networks import StackedMLP


class CostConstraint:
    """The multipliers of one learner, the critic of its costs and the critic's optimiser."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        config: MultiplierConfig,
        *,
        activation: Activation,
        learning_rate: float,
        device: torch.device,
        generator: torch.Generator,
    ) -> None:
        """Draw the critic's weights.

        Args:
            sizes: Length of an observation, then of every hidden layer.
            config: Limits and how multipliers move.
            activation: Between the critic's layers.
            learning_rate: Of the critic.
            device: Where rollouts come from.
            generator: Source of the initial weights, on the CPU.
        """
        self.config = config
        self.num_costs = len(config.cost_limits)
        self.state = MultiplierState(*(t.to(device) for t in first_multipliers(config)))
        self.critic = StackedMLP(
            (*sizes, self.num_costs),
            stack=1,
            activation=activation,
            output_gain=CRITIC_GAIN,
            generator=generator,
        ).to(device)
        self.optimizer = torch.optim.Adam(
            [self.critic.vector], lr=learning_rate, eps=1e-5, fused=True
        )

    @torch.no_grad()
    def value(self, normalized: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch constraint"]:
        """Estimate the discounted sum of each cost from here.

        Args:
            normalized: Observations as the agent's networks see them.
        """
        output: Tensor = self.critic(normalized.reshape(1, -1, normalized.shape[-1]))
        return output.view(*normalized.shape[:-1], self.num_costs)

    def charge(
        self,
        advantage: Float[Tensor, "time env agent"],
        rollout: Rollout,
        *,
        trace_decay: float,
    ) -> tuple[Float[Tensor, "time env agent"], Float[Tensor, "time env agent constraint"]]:
        """Move the multipliers by the costs of a block, then weigh them into its advantages.

        Args:
            advantage: Of the reward.
            rollout: The block, with its costs and what the critic made of them.
            trace_decay: Of the generalised advantages of the costs.

        Returns:
            The advantages to climb, and the critic's targets.
        """
        mean_cost = mean_step_cost(rollout.cost, rollout.alive)
        self.state = next_multipliers(self.state, mean_cost, self.config)
        cost_advantage = generalized_advantages(
            rollout.cost,
            rollout.discount.unsqueeze(-1),
            rollout.cost_value,
            rollout.next_cost_value,
            ended=rollout.ended.unsqueeze(-1),
            trace_decay=trace_decay,
        )
        charged = constrained_advantage(advantage, cost_advantage, self.state.multiplier)
        return charged, cost_advantage + rollout.cost_value

    def learn(
        self,
        normalized: Float[Tensor, "batch obs"],
        target: Float[Tensor, "batch constraint"],
        *,
        learning_rate: float,
    ) -> Float[Tensor, ""]:
        """Take one step of the critic towards its targets and return the squared error.

        Args:
            normalized: Observations of live agents.
            target: What their costs came to.
            learning_rate: Of this step.
        """
        self.optimizer.param_groups[0]["lr"] = learning_rate
        trace = self.critic.trace(normalized.unsqueeze(0))
        error = trace.output - target
        self.critic.backward(trace, 2.0 / error.numel() * error)
        self.optimizer.step()
        return error.square().mean()

    def metrics(self) -> TensorDict:
        """Return each multiplier, and the mean cost per step that last moved it."""
        pairs = zip(self.state.multiplier, self.state.last_cost, strict=True)
        return {
            name: value
            for number, (multiplier, cost) in enumerate(pairs)
            for name, value in ((f"multiplier_{number}", multiplier), (f"cost_{number}", cost))
        }

    def state_dict(self) -> TensorDict:
        """Return copies of all that is needed to go on bit for bit."""
        return {
            **with_prefix("critic", module_state(self.critic)),
            **with_prefix("optimizer", optimizer_state(self.optimizer)),
            **{name: value.clone() for name, value in self.state._asdict().items()},
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned, with the same configuration.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        load_module_state(self.critic, under_prefix("critic", state))
        load_optimizer_state(self.optimizer, under_prefix("optimizer", state))
        current = self.state._asdict()
        self.state = MultiplierState(
            *(
                take_tensor(state, name, value).to(value.device, copy=True)
                for name, value in current.items()
            )
        )
