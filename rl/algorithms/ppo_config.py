"""Settings of proximal policy optimisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from rl.algorithms.activation import Activation
from rl.algorithms.multiplier_config import MultiplierConfig
from rl.algorithms.setting_checks import check_finite
from utils.errors import ConfigError

ParameterSharing = Literal["shared", "grouped", "independent"]
Critic = Literal["own", "central"]


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Settings of PPO; the defaults suit a few dozen copies and short rollouts."""

    hidden_dims: Sequence[int] = (64, 64)
    """Hidden layers of the actor, and of the critic; kept as a tuple."""
    activation: Activation = "tanh"
    learning_rate: float = 3e-4
    decay_learning_rate: bool = False
    """Fall linearly to zero at the end of training."""
    gamma: float = 0.99
    gae_lambda: float = 0.95
    epsilon_clip: float = 0.2
    decay_epsilon_clip: bool = False
    """Fall linearly to zero at the end of training."""
    value_clip: float | None = None
    """How far a value may move in one update, in units of (scaled) reward; None for no limit."""
    batch_size: int = 256
    """Steps that `store_experience` gathers before `should_update` says yes. The trainer's loop
    does not ask: its blocks are `rollout_steps` long in every copy."""
    ppo_epochs: int = 4
    num_minibatches: int = 4
    """Equal parts of a block, each one optimiser step; what does not divide sits out an epoch."""
    entropy_coeff: float = 0.0
    final_entropy_coeff: float | None = None
    """Move there linearly by the end of training; None to stay."""
    value_loss_coeff: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = None
    """End the update after an epoch whose mean KL divergence exceeds this."""
    adaptive_kl_penalty: bool = False
    """Steer to `target_kl` by a penalty on the divergence instead of ending updates."""
    kl_coeff: float = 0.2
    """What the penalty begins with: it doubles after an update 1.5 times beyond `target_kl`, and
    halves after one as far below it."""
    normalize_advantages: bool = True
    normalize_observations: bool = True
    scale_rewards: bool = False
    """Divide by the running deviation of the discounted return."""
    initial_log_std: float = 0.0
    initial_action_mean: float = 0.0
    """What a new continuous policy does in every dimension, before noise."""
    parameter_sharing: ParameterSharing = "shared"
    """One set of weights for all agents, for each of `agent_groups`, or for each agent."""
    agent_groups: tuple[tuple[int, ...], ...] = ()
    """Members of each group, as positions on the agent axis, for "grouped"."""
    append_agent_id: bool = False
    """Let the policy see which agent it acts for, as a one-hot code after the observation."""
    critic: Critic = "own"
    """Values from an agent's own observation (IPPO), or from those of all agents (MAPPO)."""
    cost: MultiplierConfig | None = None
    """Limits on the environment's costs; None for no limit."""
    tail_share: float | None = None
    """Raise the mean of this share of the worst episodes; None for the mean of all."""
    memory_size: int = 0
    """Units of the recurrent memories of `RecurrentPPOAgent`; 0 for none."""
    use_curriculum: bool = True
    """Accepted as promised; curricula are the training pipeline's, PPO is the same with either."""

    def __post_init__(self) -> None:
        """Make lists tuples and refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range.
        """
        object.__setattr__(self, "hidden_dims", tuple(self.hidden_dims))
        check_finite(self, unlimited=("max_grad_norm",))
        _require_known(self)
        positive = ("learning_rate", "epsilon_clip", "max_grad_norm", "ppo_epochs", "kl_coeff")
        optional = [n for n in ("value_clip", "target_kl") if getattr(self, n) is not None]
        for name in ("gamma", "gae_lambda"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number in [0, 1]")
        for name in (*positive, *optional, "num_minibatches", "batch_size"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)}: choose a number above 0")
        if self.tail_share is not None and not 0.0 < self.tail_share <= 1.0:
            raise ConfigError(f"tail_share={self.tail_share}: choose a number in (0, 1], or None")
        if self.memory_size < 0:
            raise ConfigError(f"memory_size={self.memory_size}: choose 0 or more")
        if any(size < 1 for size in self.hidden_dims):
            raise ConfigError(f"hidden_dims={self.hidden_dims}: every layer needs a unit")
        if self.adaptive_kl_penalty and self.target_kl is None:
            raise ConfigError(
                "adaptive_kl_penalty=True steers to target_kl: give one, such as 0.01"
            )
        if (self.parameter_sharing == "grouped") != bool(self.agent_groups):
            raise ConfigError(
                f"agent_groups={self.agent_groups}: name every group's members with "
                'parameter_sharing="grouped", and only then'
            )

    def learning_rate_at(self, progress: float) -> float:
        """Return the step size of the optimiser at this point of training.

        Args:
            progress: Share of training done, in [0, 1].
        """
        return self.learning_rate * (1.0 - progress * self.decay_learning_rate)


def _require_known(config: PPOConfig) -> None:
    known = {"activation": Activation, "critic": Critic, "parameter_sharing": ParameterSharing}
    for name, kind in known.items():
        if getattr(config, name) not in get_args(kind):
            raise ConfigError(f"{name}={getattr(config, name)!r}: choose from {get_args(kind)}")
