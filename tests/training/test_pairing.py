"""Algorithms and environments that cannot go together are told before anything is built."""

from __future__ import annotations

import pytest

from rl.environments.catalog import make_world, with_actions
from rl.training.agents import task_of
from rl.training.pairing import CHOICES, TEAMS, WITHOUT_GRADIENT, WITHOUT_GRID, check_learnable
from rl.training.problems import BUILDERS, OTHER_NAMES, make_problem
from rl.training.training_config import CUSTOM, EPISODE_STEPS, TrainingConfig
from utils.errors import ConfigError

NAMES = sorted(set(EPISODE_STEPS) - {CUSTOM})


@pytest.mark.parametrize("name", NAMES)
def test_the_tables_say_what_the_environments_are(name):
    if name in BUILDERS:
        problem = make_problem(TrainingConfig(environment=name))
        task, has_grid = (
            task_of(problem.contest.make_environment(problem.validation.scenarios)),
            False,
        )
    else:
        world = make_world(OTHER_NAMES.get(name, name), num_envs=1)
        task, has_grid = task_of(world), name != "constrained_allocation" and _has_grid(world)
    assert task.kind == ("discrete" if name in CHOICES else "continuous")
    assert task.is_differentiable == (name not in WITHOUT_GRADIENT)
    assert (task.num_agents > 1) == (name in TEAMS)
    assert task.state_size > 0
    if name not in CHOICES and name != "constrained_allocation":
        assert has_grid == (name not in WITHOUT_GRID)


def _has_grid(world):
    try:
        with_actions(world, "binned")
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(
    ("algorithm", "environment", "nearest"),
    [
        ("apg", "workforce", "choose ppo"),
        ("apg", "cluster_scheduling", "choose dqn"),
        ("sac", "traffic_shares", "choose dqn"),
        ("dqn", "resource_allocation", "choose sac"),
        ("mappo", "newsvendor", "choose ppo"),
        ("vdn", "newsvendor", "choose dqn"),
    ],
)
def test_what_cannot_be_learnt_is_refused_with_the_nearest_that_can(
    algorithm, environment, nearest
):
    config = TrainingConfig(algorithm=algorithm, environment=environment)
    with pytest.raises(ConfigError, match=f"algorithm={algorithm}.*{environment}.*{nearest}"):
        check_learnable(config)


@pytest.mark.parametrize(
    ("algorithm", "environment"),
    [
        ("ppo", "workforce"),
        ("dqn", "cluster_scheduling"),
        ("dqn", "newsvendor"),
        ("dqn", "constrained_allocation"),
        ("matd3", "trading"),
        ("qmix", "distributed_nodes"),
        ("dqn", CUSTOM),
    ],
)
def test_what_can_be_learnt_is_let_through(algorithm, environment):
    check_learnable(TrainingConfig(algorithm=algorithm, environment=environment))


def test_a_team_of_one_is_none():
    config = TrainingConfig(algorithm="mappo", environment="trading", num_agents=1)
    with pytest.raises(ConfigError, match="one agent"):
        check_learnable(config)
