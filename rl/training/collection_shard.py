"""One part of a run's copies, with an agent that acts in them as the run's own would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from torch import Tensor

from data.scenario import BankConfig, ScenarioBank, hash_scenarios
from rl.algorithms.policy_state import (
    TensorDict,
    load_module_state,
    module_state,
    take_tensor,
    under_prefix,
    with_prefix,
)
from rl.algorithms.ppo_agent import PPOAgent
from rl.algorithms.ppo_config import PPOConfig
from rl.environments.base_environment import BatchedEnvironment
from rl.environments.lockstep import worlds_on
from rl.training.agents import make_agent
from rl.training.curriculum import Place
from rl.training.curriculum_driver import PlaysBanks, draw_bank, episode_seed
from rl.training.curriculum_world import ProblemStage
from rl.training.devices import check_device, check_world
from rl.training.problem import Problem
from rl.training.rollout import Collector, RolloutSummary
from rl.training.training_config import TrainingConfig
from utils.errors import ConfigError
from utils.seeding import derive_seed, make_generator

Stages = Callable[[], tuple[ProblemStage, ...]]


@dataclass(frozen=True, kw_only=True)
class ShardOrder:
    """Which part of which run."""

    run: TrainingConfig
    learning: PPOConfig
    """As the run learns, whoever said so."""
    num_envs: int
    """Copies of this part."""
    rollout_steps: int
    index: int = 0
    device: str = "cpu"

    @property
    def seed(self) -> int:
        """Of all chance in this part."""
        return derive_seed(self.run.seed, "collection shard", self.index)

    def bank_of(self, usual: BankConfig) -> BankConfig:
        """Return the sizes of its bank, drawn anew as often, in episodes of the whole run.

        Args:
            usual: As the problem has them.
        """
        whole = self.run.bank_of(usual)
        share = -(-whole.refresh_every_episodes // self.run.collection_shards)
        return replace(whole, refresh_every_episodes=share)


class CollectionShard:
    """Collects blocks with the weights it is given; holds all that its part of the run needs."""

    def __init__(self, order: ShardOrder, problem: Problem, stages: Stages) -> None:
        """Begin the first episodes.

        Args:
            order: Which part of which run.
            problem: The run's.
            stages: Gives those of the run's curriculum; asked if it has one.

        Raises:
            ConfigError: There is no such device here, or the policy has a memory.
        """
        self._order, self._stages = order, stages
        self._bank = order.bank_of(problem.bank)
        bank = ScenarioBank(problem.training, self._bank, derive_seed(order.seed, "training bank"))
        shard = f"where shard {order.index} runs"
        check_device(order.device, "collection_devices", where=shard)
        with worlds_on(order.device):
            self._world: BatchedEnvironment = problem.learn_in(bank, order.num_envs, order.seed)
        check_world(self._world, order.device, "collection_devices")
        agent = make_agent(order.learning, self._world, seed=derive_seed(order.seed, "agent"))
        if not isinstance(agent, PPOAgent):
            raise ConfigError(
                f"settings.ppo.memory_size={order.learning.memory_size}: a policy with a memory "
                "collects in one piece; choose memory_size=0, or collection_shards=1"
            )
        self._agent = agent
        self._collector = Collector(
            self._world, agent, rollout_steps=order.rollout_steps, seed=order.seed
        )

    def collect(self, acting: Mapping[str, Tensor]) -> tuple[TensorDict, RolloutSummary]:
        """Act for one block.

        Args:
            acting: What `acting_state` says of the run's agent.

        Returns:
            The columns of the block by name, overwritten by the next call, and its summary.
        """
        load_acting_state(self._agent, acting)
        rollout, summary = self._collector.collect()
        return {field.name: getattr(rollout, field.name) for field in fields(rollout)}, summary

    def begin_again(self, seed: int) -> None:
        """Leave the episodes under way and begin others.

        Args:
            seed: Of the whole run; each shard derives its own.
        """
        own = derive_seed(seed, "collection shard", self._order.index)
        self._collector.take_record(self._world.reset(own))

    def enter(self, place: Place, number: int) -> None:
        """Play the scenarios of a place of the curriculum from now on.

        Args:
            place: Of the run's curriculum.
            number: How many places were entered before.

        Raises:
            ConfigError: The world plays no scenarios from a bank.
        """
        if not isinstance(self._world, PlaysBanks):
            raise ConfigError(
                f"{type(self._world).__name__} plays no scenarios from a bank, so a curriculum "
                "cannot exchange them: train without one"
            )
        seed = derive_seed(self._order.seed, "curriculum")
        bank = draw_bank(self._stages(), place, self._bank, seed=seed, number=number)
        record = self._world.use_bank(bank, seed=episode_seed(seed, number))
        self._collector.take_record(record)

    def state_dict(self) -> TensorDict:
        """Return copies of all that is needed to go on in the middle of an episode."""
        return {
            **with_prefix("world", self._world.state_dict()),
            **with_prefix("collector", self._collector.state_dict()),
            "generator": self._agent.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state.

        Args:
            state: What `state_dict` returned, of the same part of the same run.

        Raises:
            StateMismatchError: It was saved with other sizes.
            ScenarioError: The scenarios are others, or of another world.
        """
        self._world.load_state_dict(under_prefix("world", state))
        self._collector.load_state_dict(under_prefix("collector", state))
        self._agent.generator.set_state(take_tensor(state, "generator"))


def acting_state(agent: PPOAgent) -> TensorDict:
    """Return copies of what collecting needs: policy, normaliser and critics.

    Args:
        agent: That of the run.
    """
    state = with_prefix("policy", agent.policy_state())
    if agent.objective.constraint is not None:
        state |= with_prefix("cost_critic", module_state(agent.objective.constraint.critic))
    return state


def load_acting_state(agent: PPOAgent, state: Mapping[str, Tensor]) -> None:
    """Act and judge as the run's agent does.

    Args:
        agent: Of a shard.
        state: What `acting_state` returned.

    Raises:
        StateMismatchError: It is that of another configuration.
    """
    agent.load_policy_state(under_prefix("policy", state))
    if agent.objective.constraint is not None:
        critic = agent.objective.constraint.critic
        load_module_state(critic, under_prefix("cost_critic", state))


def mark_data(problem: Problem) -> str:
    """Return what differs where a machine has other data to train on, such as no traces.

    Args:
        problem: As built there.
    """
    return hash_scenarios(problem.training.draw(1, make_generator(0, "collection data")))
