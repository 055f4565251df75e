"""Untrained policies of worlds with a view, whose actions differ from view to view."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from data.scenario import ScenarioBank
from rl.artifacts import PolicyArtifact, ValidRange
from rl.deployment.view_exporter import export_view_policy
from rl.training.agents import make_agent
from rl.training.catalog_export import describe_world
from rl.training.catalog_problem import catalog_problem
from tests.cards import make_card


@cache
def make_world(name: str) -> tuple[Any, Any, Any]:
    """Return a problem, two copies of its world and a policy with outputs all over the range."""
    problem = catalog_problem(name, "ppo")
    environment = problem.learn_in(ScenarioBank(problem.training, problem.bank, 0), 2, 0)
    agent = make_agent(problem.settings_of("ppo").config, environment, seed=0)
    with torch.no_grad():
        agent.network.actor.weights[-1].mul_(60.0)
        agent.network.actor.biases[-1].add_(0.4)
    return problem, environment, agent


@cache
def make_artifact(name: str, *valid: ValidRange, expert: str = "") -> PolicyArtifact:
    """Export the policy of `make_world`, validated for everything that is not named."""
    problem, environment, agent = make_world(name)
    environment.reset()
    config, actions = describe_world(environment)
    card = make_card(agent=name, expert=expert or next(iter(problem.experts)), valid=valid)
    artifact = export_view_policy(agent, card, name=name, config=config, actions=actions)
    return PolicyArtifact.from_bytes(artifact.to_bytes())
