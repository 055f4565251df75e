"""Nodes that offer shares of their free capacity to workloads, as one batched program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data.node_workload import NodeScenarios, NodeWorkload
from data.scenario import BankConfig, ScenarioBank
from rl.domains.nodes import NodeConfig, NodeDomain, NodeView, distributed_nodes
from rl.environments.base_environment import (
    ActionSpec,
    AgentGroup,
    StepRecord,
    check_action,
)
from rl.environments.episodes import Deal, EpisodeDealer
from rl.environments.faces import DictEnvironment
from utils.errors import ConfigError

NodeBank = ScenarioBank[NodeScenarios]


@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """How the world is played."""

    num_envs: int = 64
    shuffle: bool = True
    """Draw episodes from the bank at random, or play them in order."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse an empty batch."""
        if self.num_envs < 1:
            raise ConfigError(f"num_envs wants to be at least 1, not {self.num_envs}")


@dataclass(frozen=True, kw_only=True)
class _Placements:
    """What became of the workloads of one step."""

    usage: Tensor
    """`[env, node, resource]`"""
    reward: Tensor
    """`[env, node]`: to the nodes that took them."""
    completed: Tensor
    """`[env]`"""
    failed: Tensor
    """`[env]`"""
    failed_priority: Tensor
    """`[env]`"""


class BatchedNodes:
    """Copies of a cluster of nodes; all play one step at a time, episodes in lockstep.

    A step: workloads that arrived are tried once each, in order. Nodes whose offers cover all needs
    are feasible; the one with the least mean waste takes it, and offers less to the next workload.
    Observation, per node: `[2 * resources]` in [0, 1], shares in use and shares free.
    Action, per node: `[resources]` in [0, 1], shares of the free amounts that are offered.
    Reward, per node: `placement` (priority and fit of what it took), `failure` (all pay for what
    none took) and `imbalance` (all pay for the variance of the first usage, before the drain).
    Cost: workloads that failed, split evenly. End: terminated after `config.max_steps`; truncated
    never.
    Invariants: usage lies in [0, 1]; arrived = completed + failed.
    """

    def __init__(self, config: NodeConfig, bank: NodeBank, options: NodeOptions, seed: int) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The world.
            bank: Its scenarios; refreshed by this environment.
            options: How it is played.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The bank's arrays do not fit the world.
        """
        _check_bank(bank, config)
        self.config, self.bank, self.options = config, bank, options
        self.device = torch.device(options.device)
        self.domain = NodeDomain(config, torch)
        self.num_envs, self.num_agents = options.num_envs, config.num_nodes
        self.agent_ids = tuple(f"node_{number}" for number in range(config.num_nodes))
        self.observation_size = self.domain.observation_size
        self.state_size = self.num_agents * self.observation_size
        self.num_costs = 1
        action = ActionSpec(kind="continuous", size=self.domain.num_resources)
        group = AgentGroup(
            name="nodes",
            members=tuple(range(self.num_agents)),
            observation_size=self.observation_size,
            action=action,
            observation_low=0.0,
            observation_high=1.0,
        )
        self.groups: tuple[AgentGroup, ...] = (group,)
        shape = (self.num_envs, self.num_agents)
        self._mask = torch.ones((*shape, action.size), dtype=torch.bool, device=self.device)
        self._alive = torch.ones(shape, dtype=torch.bool, device=self.device)
        self._never = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self._dealer = EpisodeDealer(
            bank, num_envs=self.num_envs, shuffle=options.shuffle, device=self.device
        )
        self._dealer.restart(seed)
        self._begin_episodes()

    def reset(self, seed: int | None = None) -> StepRecord:
        """Begin a new episode in every copy.

        Args:
            seed: Begins the sequence of episodes anew, including the bank's.
        """
        if seed is not None:
            self._dealer.restart(seed)
        self._begin_episodes()
        observation = self.domain.encode(self.view)
        zeros = observation.new_zeros((self.num_envs, self.num_agents))
        return self._record(observation, zeros, zeros[..., None])

    def step(self, action: Tensor) -> StepRecord:
        """Place or refuse what arrived, count, drain.

        Args:
            action: `[env, node, resource]`, shares of what is free; clipped to [0, 1].

        Raises:
            InvalidActionError: The shape is wrong or a value is not finite.
        """
        check_action(action, self.groups, self._mask.shape)
        config = self.config
        placed = self._place(action)
        leading = placed.usage[..., 0]
        variance, mean = torch.var_mean(leading, dim=-1, correction=0)
        shape = (self.num_envs, self.num_agents)
        terms = {
            "placement": placed.reward,
            "failure": (-config.failure_penalty * placed.failed_priority)[:, None].expand(shape),
            "imbalance": (-config.imbalance_penalty * variance)[:, None].expand(shape),
        }
        reward = terms["placement"] + terms["failure"] + terms["imbalance"]
        self._usage = placed.usage.sub_(config.drain).clamp_(min=0.0)
        self._t += 1
        metrics = {
            "total_workloads": placed.completed + placed.failed,
            "completed_workloads": placed.completed,
            "failed_workloads": placed.failed,
            "avg_utilization": mean,
        }
        cost = (placed.failed / self.num_agents)[:, None, None].expand(*shape, 1)
        return replace(self._finish_step(reward, cost), metrics=metrics, reward_terms=terms)

    @property
    def view(self) -> NodeView:
        """What is known before the next step, over all copies."""
        return NodeView(usage=self._usage)

    @property
    def episode_index(self) -> Tensor:
        """Position in the bank of the episode each copy plays, `[env]`."""
        return self._deal.index

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that is needed to continue bit for bit."""
        return {
            **self._dealer.state_dict(),
            "time": torch.tensor(self._t),
            "episode": self._deal.index.clone(),
            "usage": self._usage.clone(),
            "tried": self._tried.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state that `state_dict` returned.

        Args:
            state: The tensors.

        Raises:
            ScenarioError: The scenario source gives other episodes than it did.
        """
        self._deal: Deal = self._dealer.restore(state, state["episode"])
        self._t = int(state["time"])
        self._usage = state["usage"].to(self.device, copy=True)
        self._tried = state["tried"].to(self.device, copy=True)

    def _begin_episodes(self) -> None:
        self._t = 0
        self._deal = self._dealer.deal()
        self._usage = torch.zeros(self._mask.shape, device=self.device)
        self._tried = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)

    def _place(self, action: Tensor) -> _Placements:
        """Try the workloads one after another, each time in the copies that still have one."""
        rows, domain, config = self._deal.rows, self.domain, self.config
        arrivals = rows["arrivals"][:, self._t].long()
        usage = self._usage.clone()
        reward = usage.new_zeros(usage.shape[:2])
        counts = usage.new_zeros((3, self.num_envs))
        completed, failed, failed_priority = counts
        for number in range(int(arrivals.max())):
            copy = (arrivals > number).nonzero()[:, 0]
            workload = self._tried[copy] + number
            priority = rows["priority"][copy, workload]
            need = rows["need"][copy, workload][:, None] / rows["capacity"][copy]
            offer = domain.project(action[copy], NodeView(usage=usage[copy]))
            waste, node = domain.waste(offer, need).min(-1)
            fits = waste.isfinite()
            failed[copy[~fits]] += 1.0
            failed_priority[copy[~fits]] += priority[~fits]
            copy, node, waste = copy[fits], node[fits], waste[fits]
            usage[copy, node] += need[fits, node]
            completed[copy] += 1.0
            reward[copy, node] += config.placement_reward * priority[fits]
            reward[copy, node] += config.fit_reward * (1.0 - waste)
        self._tried = self._tried + arrivals
        return _Placements(
            usage=usage,
            reward=reward,
            completed=completed,
            failed=failed,
            failed_priority=failed_priority,
        )

    def _finish_step(self, reward: Tensor, cost: Tensor) -> StepRecord:
        final = self.domain.encode(self.view)
        if self._t < self.config.max_steps:
            return self._record(final, reward, cost)
        self._begin_episodes()
        record = self._record(self.domain.encode(self.view), reward, cost)
        return replace(record, final_observation=final, terminated=~self._never)

    def _record(self, observation: Tensor, reward: Tensor, cost: Tensor) -> StepRecord:
        return StepRecord(
            observation=observation,
            action_mask=self._mask,
            agent_alive=self._alive,
            reward=reward,
            cost=cost,
            terminated=self._never,
            truncated=self._never,
            final_observation=observation,
            global_state=observation.flatten(1),
            metrics={},
        )


class NodeAllocationEnvironment(DictEnvironment):
    """The preset `distributed_nodes`, spoken to in dicts; see `BatchedNodes`."""

    def __init__(
        self,
        num_agents: int = 10,
        workload_arrival_rate: float = 5.0,
        episode_length: int = 1000,
        seed: int | None = None,
    ) -> None:
        """Build the world; call `reset` before the first step.

        Args:
            num_agents: Nodes.
            workload_arrival_rate: Expected before the first step, and per 100 later steps.
            episode_length: Steps.
            seed: Of the episodes; None is zero.

        Raises:
            ConfigError: A number is out of range.
        """
        preset = distributed_nodes(
            num_agents, workload_arrival_rate=workload_arrival_rate, max_steps=episode_length
        )
        bank = ScenarioBank(NodeWorkload(preset.world), BankConfig(), seed or 0)
        super().__init__(BatchedNodes(preset.nodes, bank, NodeOptions(num_envs=1), seed or 0))

    def get_allocation_metrics(self) -> dict[str, float]:
        """Return what was placed, refused and used since the episode began."""
        metrics = self.get_performance_metrics()
        steps, total = metrics.pop("steps"), metrics.get("total_workloads", 0.0)
        failed = metrics.get("failed_workloads", 0.0)
        violation_rate = failed / total if total else 0.0
        return {
            **metrics,
            "step": steps,
            "avg_utilization": metrics.get("avg_utilization", 0.0) / max(steps, 1.0),
            "completion_rate": 1.0 - violation_rate,
            "sla_violation_rate": violation_rate,
        }


def _check_bank(bank: NodeBank, config: NodeConfig) -> None:
    scenarios = bank.scenarios
    held = (scenarios.arrivals.shape[1], *scenarios.capacity.shape[1:])
    wanted = (config.max_steps, config.num_nodes, len(config.resources))
    if held != wanted:
        raise ConfigError(f"the bank holds (steps, nodes, resources) = {held}, not {wanted}")
