"""Nodes that offer shares of their free capacity to workloads, as one batched program."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
TIME_TOLERANCE = 1e-4
"""Steps by which float32 may miss that a deadline is a whole number of steps."""


@dataclass(frozen=True, kw_only=True)
class NodeState(WorldState):
    """What is in use, and how far the list of workloads has been tried."""

    usage: Tensor
    """`[env, node, resource]`: shares of the capacity."""
    tried: Tensor
    """`[env]`: workloads so far."""
    oldest: Tensor
    """`[env]`: the first that still waits for another try, `tried` if none does."""
    waiting: Tensor
    """`[env, workload]`: whether it will be tried again; no workloads where each is tried once."""


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
    waiting: Tensor
    """`[env, workload]`: what will be tried again."""


class BatchedNodes(LockstepEnvironment[NodeState]):
    """Copies of a cluster of nodes; all play one step at a time, episodes in lockstep.

    A step: workloads are tried in order of arrival. Nodes whose offers cover all needs are
    feasible; the one with the least mean waste takes it, and offers less to the next workload. What
    none takes has failed, or, where `config.step_seconds` is set, is tried again in every step that
    begins before its deadline and fails with the last of them.
    Observation, per node: `[2 * resources]` in [0, 1], shares in use and shares free; with
    `config.observe="team"` `[3 * resources + 1]`, also its rank among nodes and their mean use.
    Action, per node: `[resources]` in [0, 1], shares of the free amounts that are offered.
    Reward, per node: `placement` (priority and fit of what it took), `failure` (all pay for what
    none took) and `imbalance` (all pay for the variance of the first usage, before the drain); with
    `config.shared_reward` all get the mean `placement`.
    Cost: workloads that failed, split evenly. End: terminated after `config.max_steps`; truncated
    never.
    Invariants: usage lies in [0, 1]; arrived = completed + failed + waiting.
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

    def _enter_episodes(self) -> None:
        """Find the step of each workload's last try."""
        deadline, seconds = self.rows["deadline"], self.config.step_seconds
        self._last_try = deadline.new_zeros((self.num_envs, 0))
        if seconds is not None:
            number = torch.arange(deadline.shape[1], device=self.device).expand(deadline.shape)
            arrived = self.rows["arrivals"].long().cumsum(1)
            first_try = torch.searchsorted(arrived, number.contiguous(), right=True)
            self._last_try = first_try + torch.ceil(deadline / seconds - TIME_TOLERANCE) - 1.0

    def _first_state(self) -> NodeState:
        shape = (self.num_envs, self.num_agents, self.domain.num_resources)
        none = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        return NodeState(
            usage=torch.zeros(shape, device=self.device),
            tried=none,
            oldest=none,
            waiting=torch.zeros(self._last_try.shape, dtype=torch.bool, device=self.device),
        )

    def _advance(self, action: Tensor) -> Outcome[NodeState]:
        """Place or refuse what arrived, count, drain."""
        config = self.config
        arrivals = self.rows["arrivals"][:, self.t].long()
        placed = self._place(action, arrivals)
        variance, mean = torch.var_mean(placed.usage[..., 0], dim=-1, correction=0)
        shape = (self.num_envs, self.num_agents)
        terms = {
            "placement": self._dealt(placed.reward),
            "failure": (-config.failure_penalty * placed.failed_priority)[:, None].expand(shape),
            "imbalance": (-config.imbalance_penalty * variance)[:, None].expand(shape),
        }
        metrics = {
            "total_workloads": placed.completed + placed.failed,
            "completed_workloads": placed.completed,
            "failed_workloads": placed.failed,
            "avg_utilization": mean,
        }
        tried = oldest = self.state.tried + arrivals
        if config.step_seconds is not None:
            metrics["waiting_workloads"] = placed.waiting.sum(1).float()
            first = placed.waiting.to(torch.uint8).argmax(1)
            oldest = torch.where(placed.waiting.any(1), first, tried)
        usage = placed.usage.sub_(config.drain).clamp_(min=0.0)
        return Outcome(
            state=NodeState(usage=usage, tried=tried, oldest=oldest, waiting=placed.waiting),
            reward_terms=terms,
            metrics=metrics,
            cost=(placed.failed / self.num_agents)[:, None, None].expand(*shape, 1),
        )

    def _dealt(self, reward: Tensor) -> Tensor:
        """Leave rewards to those who earned them, or give everyone the mean."""
        if not self.config.shared_reward:
            return reward
        return reward.mean(1, keepdim=True).expand_as(reward)

    def _observe(self) -> Tensor:
        observation: Tensor = self.domain.encode(self.view)
        return observation

    def _place(self, action: Tensor, arrivals: Tensor) -> _Placements:
        """Try the workloads one after another, each time in the copies that still have one."""
        rows, domain, config, state = self.rows, self.domain, self.config, self.state
        usage, waiting = state.usage.clone(), state.waiting.clone()
        reward = usage.new_zeros(usage.shape[:2])
        counts = usage.new_zeros((3, self.num_envs))
        completed, failed, failed_priority = counts
        candidates = state.tried + arrivals - state.oldest
        for number in range(int(candidates.max())):
            copy = (candidates > number).nonzero()[:, 0]
            workload = state.oldest[copy] + number
            if config.step_seconds is not None:
                is_due = waiting[copy, workload] | (workload >= state.tried[copy])
                copy, workload = copy[is_due], workload[is_due]
            priority = rows["priority"][copy, workload]
            need = rows["need"][copy, workload][:, None] / rows["capacity"][copy]
            offer = domain.project(action[copy], NodeView(usage=usage[copy]))
            waste, node = domain.waste(offer, need).min(-1)
            fits = waste.isfinite()
            fails = ~fits
            if config.step_seconds is not None:
                has_time = self._last_try[copy, workload] > self.t
                waiting[copy, workload] = fails & has_time
                fails &= ~has_time
            failed[copy[fails]] += 1.0
            failed_priority[copy[fails]] += priority[fails]
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
            waiting=waiting,
        )


class NodeAllocationEnvironment(DictEnvironment):
    """`distributed_nodes` or `distributed_nodes_deadlines`, in dicts; see `BatchedNodes`."""

    def __init__(
        self,
        num_agents: int = 10,
        workload_arrival_rate: float = 5.0,
        episode_length: int = 1000,
        seed: int | None = None,
        *,
        step_seconds: float | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Build the world; call `reset` before the first step.

        Args:
            num_agents: Nodes.
            workload_arrival_rate: Expected before the first step, and per 100 later steps.
            episode_length: Steps.
            seed: Of the episodes; None is zero.
            step_seconds: Length of a step, where workloads are tried until their deadline; None
                tries each once.
            render_mode: What `render` returns: text for `ansi`, a picture for `rgb_array`.

        Raises:
            ConfigError: A number is out of range.
        """
        preset = distributed_nodes(
            num_agents, workload_arrival_rate=workload_arrival_rate, max_steps=episode_length
        )
        nodes = replace(preset.nodes, step_seconds=step_seconds)
        bank = ScenarioBank(NodeWorkload(preset.world), BankConfig(), seed or 0)
        core = BatchedNodes(nodes, bank, LockstepOptions(num_envs=1), seed or 0)
        super().__init__(core, render_mode)

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
