"""Nodes that offer shares of their free capacity to workloads, as one batched program."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.node_workload import NodeScenarios, NodeWorkload
from data.scenario import BankConfig, ScenarioBank
from rl.domains.nodes import NodeConfig, NodeDomain, NodeView, distributed_nodes
from rl.environments.base_environment import ActionSpec, AgentGroup, Chart
from rl.environments.faces import DictEnvironment
from rl.environments.lockstep import (
    LockstepEnvironment,
    LockstepOptions,
    Outcome,
    WorldShape,
    WorldState,
)
from utils.errors import ConfigError

NodeBank = ScenarioBank[NodeScenarios]


@dataclass(frozen=True, kw_only=True)
class NodeState(WorldState):
    """What is in use, and how far the list of workloads has been tried."""

    usage: Tensor
    """`[env, node, resource]`: shares of the capacity."""
    tried: Tensor
    """`[env]`: workloads so far."""


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


class BatchedNodes(LockstepEnvironment[NodeState]):
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

    charts = (
        Chart(
            title="workloads so far",
            metrics=("completed_workloads", "failed_workloads"),
            unit="workloads",
            is_sum=True,
        ),
        Chart(title="use of the first resource", metrics=("avg_utilization",), unit="share"),
        Chart(
            title="reward so far, by cause",
            metrics=("placement", "failure", "imbalance"),
            unit="reward",
            is_sum=True,
        ),
    )

    def __init__(
        self, config: NodeConfig, bank: NodeBank, options: LockstepOptions, seed: int
    ) -> None:
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
        self.config = config
        self.domain = NodeDomain(config, torch)
        nodes = range(config.num_nodes)
        group = AgentGroup(
            name="nodes",
            members=tuple(nodes),
            observation_size=self.domain.observation_size,
            action=ActionSpec(kind="continuous", size=self.domain.num_resources),
            observation_low=0.0,
            observation_high=1.0,
        )
        shape = WorldShape(
            agent_ids=tuple(f"node_{number}" for number in nodes),
            groups=(group,),
            state_size=config.num_nodes * self.domain.observation_size,
            num_steps=config.max_steps,
            num_costs=1,
            ends="terminated",
        )
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> NodeView:
        """What is known before the next step, over all copies."""
        return NodeView(usage=self.state.usage)

    def _first_state(self) -> NodeState:
        shape = (self.num_envs, self.num_agents, self.domain.num_resources)
        return NodeState(
            usage=torch.zeros(shape, device=self.device),
            tried=torch.zeros(self.num_envs, dtype=torch.int64, device=self.device),
        )

    def _advance(self, action: Tensor) -> Outcome[NodeState]:
        """Place or refuse what arrived, count, drain."""
        config = self.config
        arrivals = self.rows["arrivals"][:, self.t].long()
        placed = self._place(action, arrivals)
        variance, mean = torch.var_mean(placed.usage[..., 0], dim=-1, correction=0)
        shape = (self.num_envs, self.num_agents)
        terms = {
            "placement": placed.reward,
            "failure": (-config.failure_penalty * placed.failed_priority)[:, None].expand(shape),
            "imbalance": (-config.imbalance_penalty * variance)[:, None].expand(shape),
        }
        metrics = {
            "total_workloads": placed.completed + placed.failed,
            "completed_workloads": placed.completed,
            "failed_workloads": placed.failed,
            "avg_utilization": mean,
        }
        usage = placed.usage.sub_(config.drain).clamp_(min=0.0)
        return Outcome(
            state=NodeState(usage=usage, tried=self.state.tried + arrivals),
            reward_terms=terms,
            metrics=metrics,
            cost=(placed.failed / self.num_agents)[:, None, None].expand(*shape, 1),
        )

    def _observe(self) -> Tensor:
        observation: Tensor = self.domain.encode(self.view)
        return observation

    def _place(self, action: Tensor, arrivals: Tensor) -> _Placements:
        """Try the workloads one after another, each time in the copies that still have one."""
        rows, domain, config = self.rows, self.domain, self.config
        usage = self.state.usage.clone()
        reward = usage.new_zeros(usage.shape[:2])
        counts = usage.new_zeros((3, self.num_envs))
        completed, failed, failed_priority = counts
        for number in range(int(arrivals.max())):
            copy = (arrivals > number).nonzero()[:, 0]
            workload = self.state.tried[copy] + number
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
        return _Placements(
            usage=usage,
            reward=reward,
            completed=completed,
            failed=failed,
            failed_priority=failed_priority,
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
        super().__init__(BatchedNodes(preset.nodes, bank, LockstepOptions(num_envs=1), seed or 0))

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
