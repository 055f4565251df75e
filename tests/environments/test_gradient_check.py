"""The examiner of gradients passes what is right and catches what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from data.node_workload import NodeWorkload
from data.scenario import BankConfig, ScenarioBank
from rl.domains.nodes import distributed_nodes
from rl.environments.gradient_check import check_gradients
from rl.environments.lockstep import LockstepOptions
from rl.environments.node_allocation_environment import BatchedNodes
from rl.environments.record_rules import ConformanceError
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    EnvironmentConfig,
)
from rl.environments.synthetic_services import make_synthetic_services
from utils.errors import ConfigError

CONFIG, BANK = make_synthetic_services(max_steps=12)


def make(kind=BatchedResourceAllocation, **options):
    return lambda copies: kind(CONFIG, BANK, EnvironmentConfig(num_envs=copies, **options), 0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"action": "coverage"},
        {"view": "services"},
        {"view": "services", "mechanism": "priority"},
    ],
    ids=["shares", "coverage", "services", "by priority"],
)
def test_shared_services_have_the_slopes_they_say(options):
    report = check_gradients(make(**options))
    assert report.num_smooth >= 100
    assert report.worst_error <= 0.01


class LosesAPath(BatchedResourceAllocation):
    """Served work no longer depends on what was held the step before."""

    def _advance(self, action):
        outcome = super()._advance(action)
        state = replace(outcome.state, backlog=outcome.state.backlog.detach())
        return replace(outcome, state=state)


class RoundsOnlyWithGradients(BatchedResourceAllocation):
    def _advance(self, action):
        return super()._advance(action * 1.001 if action.requires_grad else action)


class JumpsEverywhere(BatchedResourceAllocation):
    def _advance(self, action):
        return super()._advance(action + 0.1 * torch.sin(1e5 * action.detach()))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (LosesAPath, "a slope is off by"),
        (RoundsOnlyWithGradients, "recording gradients changes"),
        (JumpsEverywhere, r"\d of 400 points are smooth"),
    ],
)
def test_planted_faults_are_caught(fault, words):
    with pytest.raises(ConformanceError, match=words):
        check_gradients(make(fault))


def test_a_world_without_gradients_is_refused():
    preset = distributed_nodes(3, max_steps=5)
    bank = ScenarioBank(NodeWorkload(preset.world), BankConfig(num_episodes=8), 0)
    with pytest.raises(ConfigError, match="BatchedNodes is not differentiable"):
        check_gradients(
            lambda copies: BatchedNodes(preset.nodes, bank, LockstepOptions(num_envs=copies), 0)
        )
