"""Who may play a world: a policy, an expert's rule or chance, all asked in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl.algorithms.base_algorithm import Policy
from rl.algorithms.qmix_agent import QMIXAgent
from rl.algorithms.recurrent_ppo_agent import RecurrentPPOAgent
from rl.environments.base_environment import BatchedEnvironment, StepRecord
from rl.environments.torch_tools import view_to_numpy
from utils.seeding import make_generator

Player = Callable[[BatchedEnvironment, StepRecord], Tensor]
"""From a world and what its agents see to their actions, which the world then takes."""
Rule = Callable[[Any], NDArray[np.floating]]
"""From a NumPy view of all episodes to actions `[episode, act]`."""


def policy_player(policy: Policy) -> Player:
    """Let a policy act, without exploring.

    Args:
        policy: Trained or not; its generators are left alone. Play it inside `undisturbed`.
    """

    def act(environment: BatchedEnvironment, record: StepRecord) -> Tensor:
        del environment
        return policy.act(record.observation, record.action_mask, deterministic=True).action

    return act


def rule_player(rule: Rule) -> Player:
    """Let an expert's rule act in a world of one agent that has a `view`.

    Args:
        rule: What it does.
    """

    def act(environment: Any, record: StepRecord) -> Tensor:
        action = np.asarray(rule(view_to_numpy(environment.view)), np.float32)
        return torch.from_numpy(action)[:, None].to(record.observation.device)

    return act


def random_player(seed: int) -> Player:
    """Act at random: any amount in range, any choice that is allowed.

    Args:
        seed: The only source of chance; the same at every call, so one player plays one set.
    """
    generator = make_generator(seed, "random player")

    def act(environment: BatchedEnvironment, record: StepRecord) -> Tensor:
        mask = record.action_mask.cpu().numpy()
        drawn = generator.random(mask.shape)
        spec = environment.groups[0].action
        if spec.kind == "discrete":
            action = torch.from_numpy(np.where(mask, drawn, -1.0).argmax(-1))
        else:
            action = torch.from_numpy((spec.low + (spec.high - spec.low) * drawn).astype("f4"))
        return action.to(record.observation.device)

    return act


@contextmanager
def undisturbed(policy: Policy, num_episodes: int) -> Iterator[None]:
    """Let a policy act inside as in new episodes, and leave it as it was.

    Policies with a memory begin without one and get their own back.

    Args:
        policy: Any agent.
        num_episodes: Played at once.
    """
    if isinstance(policy, RecurrentPPOAgent):
        with policy.fresh_memory():
            yield
        return
    if isinstance(policy, QMIXAgent):
        # What it remembers while it looks on is kept apart from learning, but not ended by itself.
        policy.begin_episodes(torch.ones(num_episodes, dtype=torch.bool), deterministic=True)
    yield
