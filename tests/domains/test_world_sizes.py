"""Sizes of worlds that people may choose: those of the presets unless chosen, and in bounds."""

from __future__ import annotations

import dataclasses

import pytest

from rl.domains.action_labels import LABELS, action_labels
from rl.domains.world_rules import poisson_quantile, rules_of
from rl.domains.world_sizes import SIZES, WORLDS, WorldSizes, check_sizes
from rl.environments.catalog import make_world
from utils.errors import ConfigError

SHOWN = {
    "num_nodes": lambda world: world.config.num_nodes,
    "num_traders": lambda world: world.num_agents,
    "num_services": lambda world: len(world.config.services),
    "num_regions": lambda world: world.config.num_regions,
    "num_employees": lambda world: world.config.num_employees,
    "num_weeks": lambda world: world.shape.num_steps / world.config.shifts_per_week,
    "num_symbols": lambda world: world.view.active.shape[-1],
    "lead_time": lambda world: world.config.lead_time,
    "risk_aversion": lambda world: world.config.risk_aversion,
    "cost_bps": lambda world: world.config.cost_bps,
    "mean_demand": lambda world: world.bank.source.mean,
    "num_steps": lambda world: world.shape.num_steps,
}
RESOURCES = {
    "constrained_allocation": lambda world: world.config.num_resources,
    "shared_services": lambda world: len(world.config.resources),
}
SLOW = {"five_product", "cluster_scheduling", "service_agents", "service_market"}


def small(size):
    return size.options[-1] if size.options else int(size.low) if size.is_whole else size.low


@pytest.mark.parametrize("name", sorted(set(WORLDS) - SLOW))
def test_defaults_are_those_of_the_preset_and_chosen_sizes_reach_the_world(name):
    sizes = SIZES[name]
    usual = make_world(name, num_envs=1)
    chosen = make_world(
        name, num_envs=1, sizes=WorldSizes(**{one.name: small(one) for one in sizes})
    )
    for size in sizes:
        read = RESOURCES.get(name) if size.name == "num_resources" else SHOWN.get(size.name)
        if read is not None and name != "five_product":
            assert (read(usual), read(chosen)) == (size.default, small(size)), size.name


def test_numbers_and_choices_have_names():
    named = {"constrained_allocation": "task 5 · resource 3", "traffic_shares": "leave all"}
    named |= {"job_scheduling": "let a step pass", "workforce": "skill 3", "newsvendor": "stage 1"}
    for name in set(LABELS) - SLOW:
        world = make_world(name, num_envs=1)
        labels = action_labels(name, world.config, world.groups[0].action.size)
        assert labels, name
        assert labels[-1].startswith(named.get(name, ""))
    assert action_labels("newsvendor", make_world("newsvendor", num_envs=1).config, 2) == []


def test_every_size_is_a_field_and_every_world_is_there():
    fields = {one.name for one in dataclasses.fields(WorldSizes)}
    assert {size.name for sizes in SIZES.values() for size in sizes} == fields
    assert set(SIZES) == set(WORLDS)
    assert all(rules_of(name) and "random" not in rules_of(name) for name in WORLDS)


@pytest.mark.parametrize(
    ("world", "sizes", "words"),
    [
        ("newsvendor", {"num_tasks": 3}, "newsvendor has no such size; it has mean_demand"),
        ("constrained_allocation", {"num_tasks": 16}, "num_tasks=16: give 3 to 15"),
        ("constrained_allocation", {"num_tasks": 3.5}, "give a whole number"),
        ("constrained_allocation", {"num_tasks": 4.0}, "give a whole number"),
        ("newsvendor", {"mean_demand": float("nan")}, "give a finite number"),
        ("serial_supply", {"demand_family": "odd"}, "choose one of stationary"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(world, sizes, words):
    with pytest.raises(ConfigError, match=words):
        check_sizes(world, WorldSizes(**sizes))


def test_the_fractile_of_poisson_demand_is_that_of_the_tables():
    assert [poisson_quantile(0.8, mean) for mean in (1, 20, 100)] == [2, 24, 108]
