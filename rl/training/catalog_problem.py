"""Any world of the catalogue as a problem.

Worlds with a view have experts to beat, and their policies can be exported; elsewhere there is only
chance to beat.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from data.scenario import ScenarioArrays, ScenarioBank, ScenarioSource, fixed_bank
from rl.algorithms.capabilities import CAPABILITIES, Algorithm, check_pairing
from rl.environments.base_environment import BatchedEnvironment
from rl.environments.catalog import (
    PRESETS,
    Actions,
    make_world,
    with_actions,
)
from rl.environments.discrete_faces import BinnedActions, UnitActions
from rl.environments.world_builders import World, make_constrained_allocation
from rl.evaluation.contest import Contest, ScenarioSet
from rl.training.agents import task_of
from rl.training.catalog_export import view_experts, view_exporter
from rl.training.problem import Problem
from rl.training.world_settings import WorldSettings
from utils.errors import ConfigError
from utils.seeding import make_generator

FIXED_SEED: Final = 20_140_214
"""Validation and held-out sets are the same for every run."""
NUM_VALIDATION, NUM_HELD_OUT = 64, 128


def catalog_problem(
    world_name: str, algorithm: Algorithm, sizes: WorldSettings | None = None
) -> Problem:
    """Build the problem of a world.

    Args:
        world_name: In the catalogue.
        algorithm: Who will learn; one that only chooses plays amounts through a grid of them.
        sizes: Of the world, where they can be chosen.

    Raises:
        ConfigError: There is no such world, or its grid would be too large; names who can learn it.
    """
    make = _maker(world_name, sizes or WorldSettings())
    probe = make(1, 0)
    kind = probe.groups[0].action.kind
    actions: Actions = "own" if kind in CAPABILITIES[algorithm].kinds else "binned"
    if kind == "continuous" and actions == "binned":
        _check_grid(probe, algorithm)
    build = partial(_build, make, actions if kind == "continuous" else "own")
    source: ScenarioSource[ScenarioArrays] = probe.bank.source
    about = PRESETS[world_name].about
    judge = partial(_judge_in, build)
    held_out = _draw(source, "held_out", NUM_HELD_OUT)
    plays_own = actions == "own"
    return Problem(
        name=world_name,
        title=f"{about[0].upper()}{about[1:]}: who does best?",
        agent=world_name,
        training=source,
        training_data="synthetic scenarios",
        learn_in=partial(_learn_in, build),
        contest=Contest(
            make_environment=judge,
            num_steps=probe.shape.num_steps,
            kpi="return of an agent per episode",
        ),
        validation=_draw(source, "validation", NUM_VALIDATION),
        held_out=held_out,
        settings={},
        bank=probe.bank.config,
        experts=view_experts(world_name) if plays_own else {},
        exporter=view_exporter(world_name, judge, held_out.scenarios) if plays_own else None,
    )


def _check_grid(world: World, algorithm: Algorithm) -> None:
    try:
        with_actions(world, "binned")
    except ConfigError:
        check_pairing(algorithm, task_of(world))
        raise


def _maker(world_name: str, sizes: WorldSettings) -> Callable[[int, int], World]:
    if world_name == "constrained_allocation" and sizes.constrained_allocation is not None:
        return partial(make_constrained_allocation, config=sizes.constrained_allocation)
    return lambda num_envs, seed: make_world(world_name, num_envs=num_envs, seed=seed)


def _build(
    make: Callable[[int, int], World], actions: Actions, num_envs: int, seed: int
) -> _Banked:
    return with_actions(make(num_envs, seed), actions)


_Banked = World | BinnedActions | UnitActions


def _learn_in(
    build: partial[_Banked], bank: ScenarioBank[ScenarioArrays], num_envs: int, seed: int
) -> BatchedEnvironment:
    environment = build(num_envs, seed)
    environment.use_bank(bank, seed=seed)
    return environment


def _judge_in(build: partial[_Banked], scenarios: ScenarioArrays) -> BatchedEnvironment:
    episodes = scenarios.num_episodes
    environment = build(episodes, 0)
    environment.use_bank(fixed_bank(scenarios), seed=0, in_order=True)
    return environment


def _draw(source: ScenarioSource[ScenarioArrays], name: str, count: int) -> ScenarioSet:
    scenarios = source.draw(count, make_generator(FIXED_SEED, name))
    return ScenarioSet(
        name=name,
        about=f"{name.replace('_', '-')} synthetic scenarios",
        scenarios=scenarios,
        blocks=np.arange(count),
    )
