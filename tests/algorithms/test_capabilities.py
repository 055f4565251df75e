"""Impossible pairings are refused with a reason and a way out that itself is possible."""

from __future__ import annotations

import itertools
import re

import pytest
from jaxtyping import TypeCheckError

from rl.algorithms.capabilities import CAPABILITIES, Task, check_pairing
from utils.errors import ConfigError

TASKS = [
    Task(kind=kind, num_agents=agents, state_size=state, num_costs=1, is_differentiable=smooth)
    for kind, agents, state, smooth in itertools.product(
        ("continuous", "discrete"), (1, 3), (0, 5), (False, True)
    )
]


@pytest.mark.parametrize("algorithm", CAPABILITIES)
@pytest.mark.parametrize("task", TASKS)
def test_whoever_is_refused_is_told_what_is_possible(algorithm, task):
    try:
        check_pairing(algorithm, task)
    except ConfigError as error:
        (nearest,) = re.findall(r"choose (\w+)", str(error))
        check_pairing(nearest, task)


@pytest.mark.parametrize(
    ("algorithm", "task", "message"),
    [
        ("dqn", Task(kind="continuous"), r'wants amounts: choose sac, or .* "binned"'),
        ("sac", Task(kind="discrete"), "wants choices: choose dqn"),
        ("td3", Task(kind="discrete"), "wants choices: choose dqn"),
        ("maddpg", Task(kind="continuous"), "has one agent: choose td3"),
        ("matd3", Task(kind="discrete"), "has one agent: choose dqn"),
        ("qmix", Task(kind="discrete", num_agents=2), "has none: choose vdn"),
        ("vdn", Task(kind="continuous", num_agents=2), "choose maddpg"),
        ("mappo", Task(kind="discrete"), "has one agent: choose ppo"),
        ("apg", Task(kind="continuous"), "not differentiable: choose ppo"),
    ],
)
def test_refusals(algorithm, task, message):
    with pytest.raises(ConfigError, match=message):
        check_pairing(algorithm, task)


def test_an_unknown_name_is_refused_with_the_known_ones():
    # The shape checker, where it is on, refuses the word before the table can.
    with pytest.raises((ConfigError, TypeCheckError), match=r"a2c[\s\S]*ppo"):
        check_pairing("a2c", Task(kind="discrete"))


def test_limits_on_costs():
    costly = Task(kind="continuous", num_costs=1)
    check_pairing("ppo", costly, limits_costs=True)
    with pytest.raises(ConfigError, match="sac cannot keep costs below a limit: choose ppo"):
        check_pairing("sac", costly, limits_costs=True)
    with pytest.raises(ConfigError, match="no costs to limit"):
        check_pairing("ppo", Task(kind="continuous"), limits_costs=True)
