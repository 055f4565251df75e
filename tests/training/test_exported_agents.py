"""Problems of supply and trading give artifacts that answer as the trained policy acts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ai_agents.base_agent import InvocationContext
from ai_agents.domains import DOMAINS
from ai_agents.policy_agent import PolicyAgent
from data.scenario import BankConfig, ScenarioBank
from rl.artifacts import Baseline, PolicyArtifact
from rl.deployment.inventory_exporter import ServedInventory
from rl.deployment.policy_runtime import PolicyRuntime
from rl.domains.inventory import inv_management
from rl.training import portfolio_problem as portfolios
from rl.training.agents import make_agent
from rl.training.execution_problem import execution_problem
from rl.training.inventory_problem import WORLDS, inventory_problem
from rl.training.portfolio_problem import portfolio_problem
from tests.serving import make_card
from utils.errors import ConfigError
from utils.seeding import make_generator

pytestmark = pytest.mark.anyio
BEST = {
    "execution": "almgren_chriss",
    "portfolio": "equal",
    **dict.fromkeys(WORLDS, "shrinking_horizon"),
}


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(params=sorted(BEST))
def problem(request, monkeypatch):
    monkeypatch.setattr(portfolios, "locate_traces", lambda: None)
    monkeypatch.setattr(portfolios, "NUM_SYNTHETIC", 4)
    if request.param == "execution":
        return execution_problem()
    return portfolio_problem() if request.param == "portfolio" else inventory_problem(request.param)


def export(problem):
    bank = ScenarioBank(problem.training, BankConfig(num_episodes=2), 0)
    world = problem.learn_in(bank, 2, 0)
    agent = make_agent(problem.settings["apg"].config, world, seed=0)
    record = world.reset()
    seen = problem.training.draw(16, make_generator(0, "ranges"))
    card = replace(
        make_card(),
        agent=problem.agent,
        validated_for=problem.exporter.ranges([seen, problem.held_out.scenarios]),
        limits=problem.exporter.limits,
        baseline=Baseline(expert=BEST[problem.name], parameters=(), kpi=0.0),
    )
    artifact = problem.exporter.make(agent, card)
    return agent, record, PolicyArtifact.from_bytes(artifact.to_bytes())


async def test_an_artifact_acts_as_the_trained_policy_and_answers_its_example(problem):
    agent, record, artifact = export(problem)
    with torch.no_grad():
        ours = agent.act(record.observation, record.action_mask, deterministic=True).action
    theirs = PolicyRuntime(artifact).act(record.observation.numpy())
    np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-6)
    async with PolicyAgent(artifact, DOMAINS[artifact.domain](artifact)) as business:
        context = InvocationContext(request_id="r")
        decision = await business.invoke(business.example_request(), context)
    assert decision.decided_by == "policy"
    assert all(one.low <= one.high for one in artifact.card.validated_for)


def test_ranges_of_another_world_are_refused(problem):
    other = execution_problem() if problem.name != "execution" else inventory_problem(
        "serial_inventory"
    )  # fmt: skip
    with pytest.raises(ConfigError, match="measured on"):
        problem.exporter.ranges([problem.held_out.scenarios, other.held_out.scenarios])
    with pytest.raises(ConfigError, match="measured on"):
        problem.exporter.ranges([])


def test_a_policy_of_another_world_is_not_exported(problem):
    other = "serial_inventory" if problem.name == "execution" else "execution"
    foreign = execution_problem() if other == "execution" else inventory_problem(other)
    bank = ScenarioBank(foreign.training, BankConfig(num_episodes=2), 0)
    agent = make_agent(
        foreign.settings["apg"].config, foreign.learn_in(bank, 2, 0), seed=0
    )  # fmt: skip
    with pytest.raises(ConfigError, match="export it with the config it was trained with"):
        problem.exporter.make(agent, make_card())


@pytest.mark.parametrize("levels", [(1.0, 2.0), (1.0, 2.0, -3.0), (1.0, 2.0, float("inf"))])
def test_levels_that_do_not_fit_the_chain_are_refused(levels):
    with pytest.raises(ConfigError, match="base_stock_levels"):
        ServedInventory(chain=inv_management(lost_sales=False), base_stock_levels=levels)
