"""The ablations as data: one question each, two arms that differ in one thing, a cheap world."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.priority_config import PriorityConfig
from rl.training.learning_settings import LearningSettings
from rl.training.training_config import TrainingConfig
from utils.config import to_json

DQN = DQNConfig(
    learning_rate=5e-4,
    gamma=0.8,
    batch_size=128,
    train_frequency=1,
    gradient_steps=6,
    target_update_frequency=1,
    tau=0.01,
    dueling=False,
    epsilon_end=0.02,
    epsilon_decay_steps=20_000,
)
PPO = PPOConfig(
    learning_rate=2e-3,
    decay_learning_rate=True,
    gamma=0.8,
    gae_lambda=0.8,
    scale_rewards=True,
    entropy_coeff=0.003,
)
WHOLE = 24
"""Episodes of traffic_shares that are whole updates of PPO (8) and of DQN (3 steps of a copy)."""
COPIES, EPISODES = 25, 17 * WHOLE
BATCHES = EPISODES * 200 // COPIES * DQN.gradient_steps
"""That DQN learns from."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One of two ways to train."""

    name: str
    config: TrainingConfig
    """Its seed is replaced by that of the run."""
    delay_rewards: bool = False
    """Pay the rewards of an episode at its end only."""

    @property
    def key(self) -> str:
        """Of all that decides a run but the seed; arms of one key are trained once."""
        plain = to_json(replace(self, name="", config=replace(self.config, seed=0)))
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
        return f"{self.config.algorithm}-{digest[:12]}"

    def shortened(self, length: float) -> Arm:
        """Return the same arm with shorter training, such as for a first look.

        Args:
            length: Share of the env steps, in (0, 1]; 1 is the arm itself.
        """
        if length == 1:
            return self
        episodes = WHOLE * max(1, round(self.config.total_episodes * length / WHOLE))
        every = max(1, round(self.config.eval_frequency * length))
        return replace(
            self, config=replace(self.config, total_episodes=episodes, eval_frequency=every)
        )


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A question and the two arms that answer it."""

    question: str
    first: Arm
    second: Arm
    changed: str
    """The one setting in which the arms differ, as `differences` names it."""
    note: str = ""
    """What the answer does not say."""
    needs_traces: bool = False
    """Whether real data must be there."""

    @property
    def arms(self) -> tuple[Arm, Arm]:
        """Both."""
        return self.first, self.second

    def shortened(self, length: float) -> Ablation:
        """Return the same ablation with shorter training.

        Args:
            length: Share of the env steps, in (0, 1].
        """
        return replace(
            self, first=self.first.shortened(length), second=self.second.shortened(length)
        )


def differences(one: Arm, other: Arm) -> list[str]:
    """Name the settings in which two arms differ, with dots between the levels.

    Args:
        one: An arm.
        other: Another; their names do not count.
    """
    plain = [to_json(replace(arm, name="")) for arm in (one, other)]
    return _differences("", *plain)


def _differences(path: str, one: Any, other: Any) -> list[str]:
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return [] if one == other else [path.removeprefix(".")]
    names = sorted({*one, *other})
    return [
        found
        for name in names
        for found in _differences(f"{path}.{name}", one.get(name), other.get(name))
    ]


def _shares(name: str, *, dqn: DQNConfig | None = None, ppo: PPOConfig | None = None) -> Arm:
    """Learn traffic_shares with DQN, or with PPO if only its settings are given."""
    return Arm(
        name=name,
        config=TrainingConfig(
            environment="traffic_shares",
            algorithm="ppo" if dqn is None else "dqn",
            settings=LearningSettings(dqn=dqn or DQN, ppo=ppo or PPO),
            num_envs=COPIES,
            total_episodes=EPISODES,
            eval_frequency=WHOLE,
            checkpoint_frequency=0,
        ),
    )


INVENTORY = TrainingConfig(
    environment="serial_inventory",
    algorithm="ppo",
    total_episodes=20_000,
    eval_frequency=1_000,
    checkpoint_frequency=0,
)
ORDERS = TrainingConfig(
    environment="trading",
    algorithm="ppo",
    total_episodes=1_500,
    eval_frequency=75,
    eval_episodes=64,
    checkpoint_frequency=0,
)
SERVICES = TrainingConfig(
    environment="resource_allocation",
    algorithm="apg",
    total_episodes=2_500,
    eval_frequency=125,
    checkpoint_frequency=0,
    real_share=1e-6,
)
"""A mixture without a real window: so small a share of a bank of 512 rounds to none."""

ABLATIONS: dict[str, Ablation] = {
    "exploration": Ablation(
        question="Explore by epsilon (DQN) or by entropy (PPO)?",
        first=_shares("epsilon", dqn=DQN),
        second=_shares("entropy", ppo=PPO),
        changed="config.algorithm",
        note="No learner here explores in both ways, so the arms differ in all that the learner "
        "is; the next two rows say what each way of exploring adds to its own learner.",
    ),
    "epsilon": Ablation(
        question="DQN: does epsilon-greedy exploration help?",
        first=_shares("epsilon from 1", dqn=DQN),
        second=_shares("epsilon 0.02 from the start", dqn=replace(DQN, epsilon_start=0.02)),
        changed="config.settings.dqn.epsilon_start",
    ),
    "entropy": Ablation(
        question="PPO: does an entropy bonus help?",
        first=_shares("entropy bonus 0.003", ppo=PPO),
        second=_shares("no bonus", ppo=replace(PPO, entropy_coeff=0.0)),
        changed="config.settings.ppo.entropy_coeff",
    ),
    "dueling": Ablation(
        question="DQN: value and advantages apart?",
        first=_shares("dueling", dqn=replace(DQN, dueling=True)),
        second=_shares("plain", dqn=DQN),
        changed="config.settings.dqn.dueling",
    ),
    "replay": Ablation(
        question="DQN: prioritised or uniform replay?",
        first=_shares(
            "prioritised", dqn=replace(DQN, priority=PriorityConfig(beta_batches=BATCHES))
        ),
        second=_shares("uniform", dqn=DQN),
        changed="config.settings.dqn.priority",
    ),
    "reward": Ablation(
        question="Reward at every step, or only at the end?",
        first=Arm(name="shaped", config=INVENTORY),
        second=Arm(name="sparse", config=INVENTORY, delay_rewards=True),
        changed="delay_rewards",
        note="Both arms train for the same return, for nothing is discounted; both are judged "
        "by the profit of every step.",
    ),
    "curriculum": Ablation(
        question="Begin with easier stages?",
        first=Arm(name="curriculum", config=replace(ORDERS, use_curriculum=True)),
        second=Arm(name="none", config=ORDERS),
        changed="config.use_curriculum",
        note="`python -m benchmarks.curriculum` asks this in three worlds made of stages.",
    ),
    "data": Ablation(
        question="Train on synthetic or on real demand?",
        first=Arm(name="synthetic", config=SERVICES),
        second=Arm(name="real", config=replace(SERVICES, use_synthetic_data=False)),
        changed="config.use_synthetic_data",
        note="Both are judged on the same real days, on which nobody was trained. Synthetic demand "
        "draws its bursts from the profiles of a real trace, and the validation windows that "
        "choose each run's best policy are real: synthetic here means without real windows in "
        "training.",
        needs_traces=True,
    ),
}
