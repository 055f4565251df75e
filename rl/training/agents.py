"""Builds the agent that a configuration names, for a world, or says why it cannot be."""

from __future__ import annotations

import torch

from rl.algorithms.apg_agent import APGAgent
from rl.algorithms.apg_config import APGConfig
from rl.algorithms.capabilities import Task, check_pairing
from rl.algorithms.dqn_agent import DQNAgent
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.maddpg_agent import MADDPGAgent
from rl.algorithms.maddpg_config import MADDPGConfig
from rl.algorithms.ppo_agent import PPOAgent
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.qmix_agent import QMIXAgent
from rl.algorithms.qmix_config import QMIXConfig
from rl.algorithms.recurrent_ppo_agent import RecurrentPPOAgent
from rl.algorithms.sac_agent import SACAgent
from rl.algorithms.sac_config import SACConfig
from rl.algorithms.td3_agent import TD3Agent
from rl.algorithms.td3_config import TD3Config
from rl.environments.base_environment import ActionSpec, BatchedEnvironment
from rl.training.learning_settings import LearningConfig, algorithm_of
from utils.errors import ConfigError

Agent = (
    APGAgent
    | DQNAgent
    | MADDPGAgent
    | PPOAgent
    | QMIXAgent
    | RecurrentPPOAgent
    | SACAgent
    | TD3Agent
)


def task_of(environment: BatchedEnvironment) -> Task:
    """Say what a world asks of a learner.

    Args:
        environment: The world.

    Raises:
        ConfigError: Some of its agents choose and others set amounts.
    """
    kinds = {group.action.kind for group in environment.groups}
    if len(kinds) > 1:
        raise ConfigError(
            "some agents of this world choose and others set amounts: train them apart, or give "
            "all the same kind of action"
        )
    return Task(
        kind=kinds.pop(),
        num_agents=environment.num_agents,
        state_size=environment.state_size,
        num_costs=environment.num_costs,
        is_differentiable=getattr(environment, "is_differentiable", False),
    )


def make_agent(
    config: LearningConfig,
    environment: BatchedEnvironment,
    *,
    seed: int,
    agent_id: str = "learner",
) -> Agent:
    """Build an untrained agent that fits a world.

    Args:
        config: Its settings, which also say what it is.
        environment: What it will play; it is only looked at.
        seed: Of its weights and all its chance.
        agent_id: Its name.

    Raises:
        ConfigError: It cannot learn in this world; says why, and what comes nearest.
    """
    limits_costs = isinstance(config, PPOConfig) and config.cost is not None
    check_pairing(algorithm_of(config), task_of(environment), limits_costs=limits_costs)
    action, device = _widest_action(environment), environment.device
    sizes = (agent_id, environment.observation_size, action.size)
    discrete, agents = action.kind == "discrete", environment.num_agents
    match config:
        case APGConfig() | DQNConfig() | SACConfig() | TD3Config():
            return _make_single(config, sizes, action, seed=seed, device=device)
        case MADDPGConfig():
            return MADDPGAgent(
                *sizes,
                config,
                num_agents=agents,
                discrete=discrete,
                seed=seed,
                action_low=action.low,
                action_high=action.high,
                device=device,
            )
        case QMIXConfig():
            return QMIXAgent(
                *sizes,
                config,
                num_agents=agents,
                state_size=environment.state_size,
                seed=seed,
                device=device,
            )
        case PPOConfig():
            if config.memory_size:
                return RecurrentPPOAgent(
                    *sizes, config, discrete=discrete, seed=seed, device=device
                )
            return PPOAgent(
                *sizes, config, discrete=discrete, seed=seed, device=device, num_agents=agents
            )


def _make_single(
    config: APGConfig | DQNConfig | SACConfig | TD3Config,
    sizes: tuple[str, int, int],
    action: ActionSpec,
    *,
    seed: int,
    device: torch.device,
) -> Agent:
    """Build an agent that all agents of a world share."""
    low, high = action.low, action.high
    match config:
        case APGConfig():
            return APGAgent(*sizes, config, seed=seed, device=device)
        case DQNConfig():
            return DQNAgent(*sizes, config, seed=seed, device=device)
        case SACConfig():
            return SACAgent(
                *sizes, config, seed=seed, action_low=low, action_high=high, device=device
            )
        case TD3Config():
            return TD3Agent(
                *sizes, config, seed=seed, action_low=low, action_high=high, device=device
            )


def _widest_action(environment: BatchedEnvironment) -> ActionSpec:
    """Return the action to which those of all agents are padded."""
    return max((group.action for group in environment.groups), key=lambda action: action.size)
