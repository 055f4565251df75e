"""Exported policies play worlds of choices as they are served: only what may be chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rl.algorithms.ppo_config import PPOConfig
from rl.artifacts import PolicyArtifact
from rl.deployment.policy_runtime import PolicyRuntime
from rl.deployment.view_exporter import export_view_policy
from rl.domains.job_scheduling import JobSchedulingConfig
from rl.environments.catalog import make_world
from rl.training.agents import make_agent
from rl.training.artifact_policy import artifact_player, artifact_policy
from rl.training.catalog_export import describe_world
from rl.training.evaluation_job import _check_same_world
from rl.training.session_players import Decider, make_player
from tests.serving import make_card
from utils.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "shipped" / "job_scheduling.safetensors"
STEPS = 60


@pytest.fixture
def world():
    world = make_world("job_scheduling", num_envs=8)
    world.reset(0)
    return world


def export(world):
    agent = make_agent(PPOConfig(hidden_dims=(16,)), world, seed=2)
    agent.network.actor.weights[-1].mul_(300.0)  # a policy with a will of its own
    config, actions = describe_world(world)
    artifact = export_view_policy(
        agent, make_card(), name="job_scheduling", config=config, actions=actions
    )
    return agent, artifact


def test_a_played_artifact_chooses_what_the_trained_policy_does(world):
    agent, artifact = export(world)
    frozen, runtime = artifact_policy(artifact), PolicyRuntime(artifact)
    record, unmasked_differs = world.reset(0), False
    for _ in range(STEPS):
        seen, mask = record.observation, record.action_mask
        ours = agent.act(seen, mask, deterministic=True).action
        assert torch.equal(frozen.act(seen, mask, deterministic=True).action, ours)
        unmasked_differs |= bool((torch.from_numpy(runtime.act(seen.numpy())) != ours).any())
        record = world.step(ours)
    assert unmasked_differs


def earned(world, player):
    record, total = world.reset(0), 0.0
    for _ in range(STEPS):
        record = world.step(player(world, record))
        total += float(record.reward.mean())
    return total


def test_the_shipped_rule_that_scores_each_choice_plays_too(world):
    decider = Decider(kind="agent", name="job_scheduling", path=str(SHIPPED))
    mine = earned(world, make_player("job_scheduling", decider, world, 0))
    expert = earned(world, make_player("job_scheduling", Decider(kind="expert"), world, 0))
    assert (
        mine
        > expert
        > earned(world, make_player("job_scheduling", Decider(kind="random"), world, 0))
    )


def test_it_can_be_the_champion_of_a_trained_policy(world):
    champion = PolicyArtifact.from_bytes(SHIPPED.read_bytes())
    _, candidate = export(world)
    _check_same_world(candidate, champion, 1)
    with pytest.raises(ConfigError, match="domain differs"):
        _check_same_world(replace(candidate, domain="traffic_shares"), champion, 1)


def test_it_refuses_a_world_of_other_sizes(world):
    player = artifact_player(PolicyArtifact.from_bytes(SHIPPED.read_bytes()))
    world.config = replace(JobSchedulingConfig(), window=3)
    with pytest.raises(ConfigError, match="another job_scheduling"):
        player(world, world.reset(0))
