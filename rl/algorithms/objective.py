"""What a block of experience was worth to a learner: mean return, tail, or return under limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rl.algorithms.cost_critic import CostConstraint
from rl.algorithms.losses import require_finite
from rl.algorithms.normalization import RewardScaler
from rl.algorithms.policy_state import TensorDict, module_state, under_prefix, with_prefix
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.returns import generalized_advantages
from rl.algorithms.risk import TailRewards
from rl.algorithms.rollout_buffer import Rollout
from utils.errors import ConfigError


class Worth(NamedTuple):
    """What to climb and what the critics should have said."""

    advantage: Float[Tensor, "time env agent"]
    target: Float[Tensor, "time env agent"]
    cost_target: Float[Tensor, "time env agent constraint"]
    """No columns where no cost is limited."""
    metrics: TensorDict


class Objective:
    """Scales rewards, cuts them for the tail, and charges advantages for costs, as configured."""

    def __init__(
        self,
        observation_size: int,
        config: PPOConfig,
        *,
        device: torch.device,
        generator: torch.Generator,
    ) -> None:
        """Draw the cost critic's weights, if costs are limited.

        Args:
            observation_size: Length of an observation.
            config: Settings.
            device: Where rollouts come from.
            generator: Source of the initial weights, on the CPU.
        """
        self._config = config
        self.reward_scaler = RewardScaler(config.gamma).to(device)
        self.tail = None if config.tail_share is None else TailRewards(config.tail_share, device)
        self.constraint = None
        if config.cost is not None:
            self.constraint = CostConstraint(
                (observation_size, *config.hidden_dims),
                config.cost,
                activation=config.activation,
                learning_rate=config.learning_rate,
                device=device,
                generator=generator,
            )

    @property
    def num_costs(self) -> int:
        """How many costs are limited."""
        return 0 if self.constraint is None else self.constraint.num_costs

    def cost_value(
        self, normalized: Float[Tensor, "*batch obs"]
    ) -> Float[Tensor, "*batch constraint"]:
        """Estimate the discounted sum of each limited cost from here.

        Args:
            normalized: Observations as the policy sees them.
        """
        if self.constraint is None:
            return normalized.new_zeros((*normalized.shape[:-1], 0))
        return self.constraint.value(normalized)

    def assess(self, rollout: Rollout, *, progress: float) -> Worth:
        """Estimate advantages of a block, and learn its rewards' scale, tail and mean costs.

        Args:
            rollout: The block.
            progress: Share of training done.

        Raises:
            ConfigError: No agent is alive, or costs are limited that the block does not hold.
            DivergenceError: A cost is not finite.
        """
        if not rollout.alive.any():
            raise ConfigError("no agent is alive in this rollout: check agent_alive")
        if self.constraint is not None and rollout.cost.shape[-1] != self.num_costs:
            raise ConfigError(
                f"cost_limits has {self.num_costs} entries, but the experience has "
                f"{rollout.cost.shape[-1]} costs: one's own loop has none, train by make_learner"
            )
        require_finite({"cost": rollout.cost})
        reward, metrics = rollout.reward, TensorDict()
        if self.tail is not None:
            reward, metrics = self.tail(reward, rollout.ended, rollout.alive, progress=progress)
        if self._config.scale_rewards:
            reward = self.reward_scaler(reward, rollout.ended, rollout.alive)
        advantage = generalized_advantages(
            reward,
            rollout.discount,
            rollout.value,
            rollout.next_value,
            ended=rollout.ended,
            trace_decay=self._config.gae_lambda,
        )
        target, cost_target = advantage + rollout.value, rollout.cost_value
        if self.constraint is not None:
            advantage, cost_target = self.constraint.charge(
                advantage, rollout, trace_decay=self._config.gae_lambda
            )
            metrics |= self.constraint.metrics()
        return Worth(advantage, target, cost_target, metrics)

    def learn_costs(
        self,
        normalized: Float[Tensor, "batch obs"],
        target: Float[Tensor, "batch constraint"],
        *,
        learning_rate: float,
        generator: torch.Generator,
    ) -> TensorDict:
        """Fit the critic of the costs, if there is one, by as many steps as the policy takes.

        Args:
            normalized: Observations of live agents.
            target: What their costs came to.
            learning_rate: Of these steps.
            generator: Source of the order of minibatches, on the device of the rows.
        """
        if self.constraint is None:
            return {}
        errors: list[Tensor] = []
        for _ in range(self._config.ppo_epochs):
            order = torch.randperm(len(target), generator=generator, device=target.device)
            errors += [
                self.constraint.learn(normalized[part], target[part], learning_rate=learning_rate)
                for part in order.tensor_split(min(self._config.num_minibatches, len(target)))
            ]
        return {"cost_value_loss": torch.stack(errors).mean()}

    def begin_episodes(self) -> None:
        """Forget what episodes that will not be finished have paid so far."""
        self.reward_scaler.trace.zero_()
        if self.tail is not None:
            self.tail.begin_episodes()

    def state_dict(self) -> TensorDict:
        """Return copies of everything that is needed to go on bit for bit."""
        state = with_prefix("reward_scaler", module_state(self.reward_scaler))
        if self.tail is not None:
            state |= with_prefix("tail", self.tail.state_dict())
        if self.constraint is not None:
            state |= with_prefix("constraint", self.constraint.state_dict())
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned, of an agent with the same configuration.

        Raises:
            StateMismatchError: It was saved by another configuration.
        """
        self.reward_scaler.load_state(under_prefix("reward_scaler", state))
        if self.tail is not None:
            self.tail.load_state_dict(under_prefix("tail", state))
        if self.constraint is not None:
            self.constraint.load_state_dict(under_prefix("constraint", state))
