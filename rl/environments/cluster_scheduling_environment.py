"""Placing tasks on the nodes of a GPU cluster as they come, as one batched program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from data.cluster_tasks import NO_TASK
from data.cluster_trace import GPU_MILLI, MAX_DEVICES
from rl.domains.cluster import (
    ClusterConfig,
    ClusterDomain,
    ClusterView,
    Nodes,
    Task,
    TypicalTasks,
    is_fraction,
)
from rl.environments.base_environment import ActionSpec, AgentGroup, Chart
from rl.environments.cluster_rows import (
    ClusterBank,
    ClusterRows,
    at_node,
    check_bank,
    put_at,
    read_rows,
    rows_at,
)
from rl.environments.faces import DictEnvironment
from rl.environments.lockstep import (
    LockstepEnvironment,
    LockstepOptions,
    Outcome,
    WorldShape,
    WorldState,
)


@dataclass(frozen=True, kw_only=True)
class ClusterState(WorldState):
    """What is left of every cluster, and what that means for every type of task."""

    cpu: Tensor
    """`[env, node]`, milli-cores."""
    memory: Tensor
    """`[env, node]`, MiB."""
    devices: Tensor
    """`[env, node, 8]`, thousandths."""
    holds: Tensor
    """`[env, node, 9]`: tasks with a fraction, and with 1 .. 8 whole GPUs."""
    fragments: Tensor
    """`[env, node]`: fragmentation times the sum of the counts of typical tasks."""
    growth: Tensor
    """`[env, type, node]`: its growth if a task of the type came there, in the same measure."""


class BatchedClusterScheduling(LockstepEnvironment[ClusterState]):
    """Copies of a cluster; one task comes at each step and the scheduler chooses its node.

    Observation `[9 * nodes + 7]`: see `ClusterDomain.encode`. Action: a choice of `nodes + 1`, the
    last of which declines. The mask holds the nodes where the task fits; declining is in it where
    there is none, and always with `config.may_decline`. A task is lost if it is declined or sent
    where it does not fit. Nothing leaves the cluster.
    Reward, in percent of the cluster's GPUs: `allocated`, and `fragmentation`, minus
    `config.fragmentation_weight` times its growth. Cost: none.
    Metrics: `allocated_gpu_percent` sums over an episode to the GPU allocation; `lost_tasks`,
    `lost_gpu_percent`; the state after the step: `fragmentation_percent`, `gpu_utilisation`,
    `cpu_utilisation`.
    End: terminated never; truncated after `config.num_tasks`. Where the list ends earlier the
    scheduler is not alive for the rest.
    Invariants: free plus used is the capacity of every node and GPU, and neither is negative; a
    fraction lies on one GPU, whole GPUs were idle.
    """

    charts = (
        Chart(title="GPUs in use", metrics=("gpu_utilisation",), unit="share"),
        Chart(title="CPUs in use", metrics=("cpu_utilisation",), unit="share"),
        Chart(title="fragmentation", metrics=("fragmentation_percent",), unit="% of all GPUs"),
        Chart(title="tasks lost so far", metrics=("lost_tasks",), unit="tasks", is_sum=True),
        Chart(
            title="GPUs of lost tasks so far",
            metrics=("lost_gpu_percent",),
            unit="% of all GPUs",
            is_sum=True,
        ),
    )

    def __init__(
        self, config: ClusterConfig, bank: ClusterBank, options: LockstepOptions, seed: int
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The world.
            bank: Clusters and lists of tasks; refreshed by this environment.
            options: How it is played.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The bank's arrays do not fit the world.
        """
        check_bank(bank, config)
        self.config = config
        self.domain = ClusterDomain(config, torch)
        size = config.observation_size
        scheduler = AgentGroup(
            name="scheduler",
            members=(0,),
            observation_size=size,
            action=ActionSpec(kind="discrete", size=config.num_nodes + 1),
            observation_low=-1.0,
            observation_high=2.0,
        )
        shape = WorldShape(
            agent_ids=("scheduler",),
            groups=(scheduler,),
            state_size=size,
            num_steps=config.num_tasks,
        )
        self._seen: tuple[ClusterState, ClusterView] | None = None
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> ClusterView:
        """What is known before the next step, over all copies."""
        if self._seen is None or self._seen[0] is not self.state:
            self._seen = (self.state, self._make_view())
        return self._seen[1]

    @property
    def has_task(self) -> Tensor:
        """Where a task has come, `[env]`."""
        return self._kind() != NO_TASK

    def _enter_episodes(self) -> None:
        self._world: ClusterRows = read_rows(self.rows)

    def _first_state(self) -> ClusterState:
        rows, world = self.rows, self._world
        nodes = Nodes(
            cpu=rows["node_cpu"].float(),
            memory=rows["node_memory"].float(),
            devices=_idle_devices(rows["node_gpus"]),
        )
        holds = nodes.devices.new_zeros((*nodes.cpu.shape, MAX_DEVICES + 1))
        return ClusterState(
            **vars(nodes),
            holds=holds,
            fragments=self.domain.measure_fragments(nodes, world.typical),
            growth=self._first_growth(),
        )

    def _first_growth(self) -> Tensor:
        """Fill the table for empty nodes: those of one make are alike."""
        rows, world = self.rows, self._world
        names = ("node_cpu", "node_gpus", "node_model", "node_active")
        makes = torch.stack([rows[name].long() for name in names], -1).flatten(0, 1)
        makes, number = torch.unique(makes, dim=0, return_inverse=True)
        cpu, gpus, model, active = makes.T
        empty = Nodes(
            cpu=cpu.float(), memory=torch.zeros_like(cpu).float(), devices=_idle_devices(gpus)
        )
        accepted = world.typical_allowed[:, :, model] & (active > 0)
        typical = TypicalTasks(**{**vars(world.typical), "accepted": accepted.transpose(1, 2)})
        each = TypicalTasks(**{name: value[:, None] for name, value in vars(typical).items()})
        growth = self.domain.grow_fragments(empty, self._tasks(), each, candidates=1)[..., 0]
        across = number.view(self.num_envs, 1, -1).expand(-1, self.config.num_types, -1)
        table: Tensor = growth.to(torch.int32).gather(2, across)
        return table

    def _advance(self, action: Tensor) -> Outcome[ClusterState]:
        """Place the task, or lose it."""
        config, world, view, state = self.config, self._world, self.view, self.state
        choice = action.long()
        node = choice.clamp(max=config.num_nodes - 1)
        places = (choice < config.num_nodes) & view.fits.gather(1, node)
        task = Task(**{**vars(view.task), "accepted": places})
        typical = at_node(world.typical, node)
        before = _nodes_at(state, node)
        growth = self.domain.grow_fragments(before, task, typical) / world.total[:, None, None]
        device = self.domain.pick_device(before, task, growth)
        taken = self.domain.take(before, task, device)
        after = Nodes(
            **{
                name: torch.where(places.view(-1, *[1] * (old.ndim - 1)), new, old)
                for (name, old), new in zip(vars(before).items(), vars(taken).values(), strict=True)
            }
        )
        fragments = self.domain.measure_fragments(after, typical)
        grown = (fragments - state.fragments.gather(1, node))[:, 0] / world.total
        placed = places[:, 0].float()
        demand = self._demand(task)
        share = 100.0 / world.gpu_capacity
        terms = {
            "allocated": (share * placed * demand)[:, None],
            "fragmentation": (-config.fragmentation_weight * share * grown).float()[:, None],
        }
        kind = torch.where(is_fraction(task), 0, task.gpus).long()
        counts = (placed[:, None] * (task.gpus > 0))[..., None]
        new_state = ClusterState(
            cpu=state.cpu.scatter(1, node, after.cpu),
            memory=state.memory.scatter(1, node, after.memory),
            devices=put_at(state.devices, node, after.devices),
            holds=put_at(
                state.holds,
                node,
                rows_at(state.holds, node).scatter_add(2, kind[..., None], counts),
            ),
            fragments=state.fragments.scatter(1, node, fragments),
            growth=self._renew_growth(node, after, typical),
        )
        return Outcome(
            state=new_state, reward_terms=terms, metrics=self._measure(new_state, placed, demand)
        )

    def _renew_growth(self, node: Tensor, after: Nodes, typical: TypicalTasks) -> Tensor:
        """Compute the table's column of the node that has changed, for all types."""
        total = self._world.total[:, None, None, None]
        alone = Nodes(**{name: value[:, None] for name, value in vars(after).items()})
        each = TypicalTasks(**{name: value[:, None] for name, value in vars(typical).items()})
        task = self._tasks()
        growth = self.domain.grow_fragments(alone, task, each)
        device = self.domain.pick_device(alone, task, growth / total)
        column = growth.gather(-1, device[..., None])[..., 0].to(torch.int32)
        where = node[:, None].expand(-1, self.config.num_types, 1)
        return self.state.growth.scatter(2, where, column)

    def _measure(self, state: ClusterState, placed: Tensor, demand: Tensor) -> Mapping[str, Tensor]:
        world, exists = self._world, self.has_task.float()
        left = state.devices.sum((1, 2))
        fragments = (state.fragments.sum(1) / world.total).float()
        return {
            "allocated_gpu_percent": 100.0 * placed * demand / world.gpu_capacity,
            "lost_tasks": exists * (1.0 - placed),
            "lost_gpu_percent": 100.0 * exists * (1.0 - placed) * demand / world.gpu_capacity,
            "fragmentation_percent": 100.0 * fragments / world.gpu_capacity,
            "gpu_utilisation": 1.0 - left / world.gpu_capacity,
            "cpu_utilisation": 1.0 - state.cpu.sum(1) / world.cpu_capacity,
        }

    def _observe(self) -> Tensor:
        observation: Tensor = self.domain.encode(self.view)[:, None]
        return observation

    def _action_mask(self) -> Tensor:
        fits = self.view.fits
        nowhere = ~fits.any(1, keepdim=True)
        decline = torch.ones_like(nowhere) if self.config.may_decline else nowhere
        return torch.cat([fits, decline], dim=1)[:, None]

    def _agent_alive(self) -> Tensor:
        return self.has_task[:, None]

    def _kind(self) -> Tensor:
        """Type of the task that has come, `[env]`; -1 where none has."""
        arrivals = self.rows["arrivals"]
        if self.t < self.config.num_tasks:
            return arrivals[:, self.t].long()
        return torch.full_like(arrivals[:, 0], NO_TASK).long()

    def _make_view(self) -> ClusterView:
        world, state, kind = self._world, self.state, self._kind()
        exists, chosen = (kind != NO_TASK)[:, None], kind.clamp(min=0)[:, None]
        across = chosen[..., None].expand(-1, 1, self.config.num_nodes)
        task = Task(
            cpu=world.cpu.gather(1, chosen) * exists,
            memory=world.memory.gather(1, chosen) * exists,
            gpus=world.gpus.gather(1, chosen) * exists,
            milli=world.milli.gather(1, chosen) * exists,
            accepted=world.accepted.gather(1, across)[:, 0] & exists,
        )
        nodes = Nodes(cpu=state.cpu, memory=state.memory, devices=state.devices)
        fits = self.domain.fits(nodes, task)
        growth = state.growth.gather(1, across)[:, 0].double() / world.total[:, None]
        last = min(self.t, self.config.num_tasks - 1)
        return ClusterView(
            nodes=nodes,
            holds=state.holds,
            task=task,
            fits=fits,
            growth=torch.where(fits, growth, 0.0),
            fragments=state.fragments / world.total[:, None],
            arrived=world.arrived[:, last] / world.gpu_capacity,
            allocated=1.0 - state.devices.sum((1, 2)) / world.gpu_capacity,
        )

    def _demand(self, task: Task) -> Tensor:
        demand: Tensor = (task.gpus * task.milli)[:, 0]
        return demand

    def _tasks(self) -> Task:
        """Return all types as tasks, `[env, type, 1]` each."""
        world = self._world
        return Task(
            cpu=world.cpu[..., None],
            memory=world.memory[..., None],
            gpus=world.gpus[..., None],
            milli=world.milli[..., None],
            accepted=world.accepted,
        )


class ClusterSchedulingEnvironment(DictEnvironment):
    """One cluster with one scheduler, spoken to in dicts; a PettingZoo `ParallelEnv`."""

    def __init__(
        self,
        config: ClusterConfig,
        bank: ClusterBank,
        seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        """Build the world and its face.

        Args:
            config: The world.
            bank: Clusters and lists of tasks.
            seed: Seed of the choice of episodes.
            render_mode: None, `ansi` or `rgb_array`.

        Raises:
            ConfigError: The bank's arrays do not fit the world, or the render mode is unknown.
        """
        core = BatchedClusterScheduling(config, bank, LockstepOptions(num_envs=1), seed)
        super().__init__(core, render_mode)


def _nodes_at(state: ClusterState, node: Tensor) -> Nodes:
    return Nodes(
        cpu=state.cpu.gather(1, node),
        memory=state.memory.gather(1, node),
        devices=rows_at(state.devices, node),
    )


def _idle_devices(gpus: Tensor) -> Tensor:
    """Return `[..., 8]`: 1000 for every GPU a node has."""
    number = torch.arange(MAX_DEVICES, device=gpus.device)
    return GPU_MILLI * (number < gpus[..., None]).float()
