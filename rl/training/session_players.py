"""Who decides in a world that is played from outside: an expert's rule, chance, or a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from rl.artifacts import PolicyArtifact
from rl.deployment.projections import to_budget
from rl.deployment.view_policy import scores_choices
from rl.domains.portfolio import PortfolioDomain
from rl.domains.resource_allocation import AllocationDomain
from rl.domains.world_rules import RANDOM, played_by, rules_of
from rl.environments.base_environment import BatchedEnvironment, StepRecord
from rl.environments.supply_network_environment import BatchedSupplyNetwork
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.players import Player, random_player
from rl.training.artifact_policy import artifact_player
from utils.errors import ConfigError

COVERAGE = "coverage"


@dataclass(frozen=True, kw_only=True)
class Decider:
    """Who shall decide."""

    kind: Literal["expert", "random", "agent"]
    name: str = ""
    """Of the expert's rule (empty: the usual one), or of the agent, for messages."""
    path: str = ""
    """Of an agent's artifact, on this machine."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Decider:
        """Read what the server sent.

        Args:
            values: Of the fields.
        """
        return cls(**values)


def make_player(world: str, decider: Decider, environment: Any, seed: int) -> Player:
    """Return who plays one set of episodes.

    Args:
        world: Its name.
        decider: Who.
        environment: The world itself, with its own actions.
        seed: Of chance, where the decider draws.

    Raises:
        ConfigError: There is no such rule, or the agent does not fit the world.
    """
    if decider.kind == RANDOM:
        return random_player(seed)
    if not hasattr(environment, "view"):
        raise ConfigError(
            f"{decider.kind}s decide in the world's own actions, not in a grid of them: open it "
            'with actions="own"'
        )
    if decider.kind == "expert":
        return _expert(world, decider.name, environment)
    artifact = PolicyArtifact.from_bytes(Path(decider.path).read_bytes())
    return _agent(world, decider.name, artifact, environment)


def _expert(world: str, name: str, environment: Any) -> Player:
    rules = rules_of(world)
    if not rules:
        raise ConfigError(f"expert: nobody wrote a rule for {world}; play it by hand or at random")
    if name and name not in rules:
        raise ConfigError(f"expert={name!r}: the rules of {world} are {', '.join(rules)}")
    rule = rules[name or next(iter(rules))](environment)

    def act(environment: Any, record: StepRecord) -> Tensor:
        del record
        action = np.asarray(rule(view_to_numpy(environment.view)))
        copies, agents = environment.num_envs, environment.num_agents
        if isinstance(environment, BatchedSupplyNetwork):
            orders = torch.from_numpy(action).to(environment.state.stock.dtype)
            placed: Tensor = environment.place(orders)
            return placed
        if environment.groups[0].action.kind == "discrete":
            return torch.from_numpy(action.astype(np.int64)).reshape(copies, agents)
        return torch.from_numpy(action.astype(np.float32)).reshape(copies, agents, -1)

    return act


def _agent(world: str, name: str, artifact: PolicyArtifact, environment: Any) -> Player:
    fitting = played_by(world)
    if artifact.domain not in fitting:
        raise ConfigError(
            f"agent {name} decides in {artifact.domain}; {world} is played by agents of "
            f"{' or '.join(fitting)}"
        )
    coverage = artifact.action.meaning == COVERAGE
    group = environment.groups[0]
    wanted = group.observation_size, group.action.size
    domain = AllocationDomain(environment.config) if world == "shared_services" else None
    if domain is not None and coverage:
        per_service = artifact.action.size / domain.num_services
        wanted = (wanted[0], int(per_service) * domain.num_services)
    if world == "portfolio":
        wanted = (wanted[0], artifact.action.size)
    has = artifact.observation_size, artifact.action.size
    if has != wanted and not scores_choices(artifact):
        raise ConfigError(
            f"agent {name} turns {has[0]} numbers into {has[1]}, {world} of these sizes "
            f"{wanted[0]} into {wanted[1]}: open it with the sizes that the agent was trained for"
        )
    player = artifact_player(artifact)
    if domain is not None and coverage:
        return _covering(player, domain)
    return _rebalancing(player) if world == "portfolio" else player


def _covering(player: Player, domain: AllocationDomain) -> Player:
    """Turn coverage of needs into shares of the capacities."""

    def act(environment: Any, record: StepRecord) -> Tensor:
        chosen = player(environment, record)[:, 0].numpy()
        shares = domain.cover(chosen, view_to_numpy(environment.view))
        return torch.from_numpy(np.asarray(shares, np.float32))[:, None]

    return act


def _rebalancing(player: Player) -> Player:
    """Turn how far to go to equal weights into weights."""

    def act(environment: Any, record: StepRecord) -> Tensor:
        task = replace(environment.config, action="rebalancing")
        weights: Tensor = PortfolioDomain(task, torch).project(
            player(environment, record), environment.view
        )
        return weights

    return act


def _within_availability(player: Player) -> Player:
    """Shrink what tasks get of a resource, in proportion, to what there is of it."""

    def act(environment: Any, record: StepRecord) -> Tensor:
        config, view = environment.config, view_to_numpy(environment.view)
        most = config.max_allocation_per_resource
        asked = np.clip(player(environment, record).numpy().astype(np.float64), 0.0, 1.0) * most
        shape = (len(asked), config.num_tasks, config.num_resources)
        by_resource = asked.reshape(shape).swapaxes(-1, -2)
        cut = to_budget(by_resource, np.ones(config.num_tasks), view.availability)
        shares = (cut.swapaxes(-1, -2).reshape(len(asked), 1, -1) / most).astype(np.float32)
        below = np.nextafter(shares, np.float32(0.0))
        is_kept = (cut == by_resource).swapaxes(-1, -2).reshape(shares.shape)
        return torch.from_numpy(np.where(is_kept, shares, below))

    return act


PROJECTIONS: Mapping[str, Callable[[Player], Player]] = {
    "constrained_allocation": _within_availability,
}
"""By world, what makes a player's actions meet its limit exactly; other worlds project every action
by themselves."""


def action_of(environment: BatchedEnvironment, joint: Tensor, agents: list[str]) -> dict[str, Any]:
    """Return what agents do, by name, as plain numbers.

    Args:
        environment: Of one copy.
        joint: `[1, agent, act]`, or choices `[1, agent]`.
        agents: Those that still act.
    """
    sizes = {
        environment.agent_ids[member]: group.action
        for group in environment.groups
        for member in group.members
    }
    position = {agent: number for number, agent in enumerate(environment.agent_ids)}
    found: dict[str, Any] = {}
    for agent in agents:
        mine = joint[0, position[agent]]
        is_choice = sizes[agent].kind == "discrete"
        found[agent] = int(mine) if is_choice else mine[: sizes[agent].size].double().tolist()
    return found
