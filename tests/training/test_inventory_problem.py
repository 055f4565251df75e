"""OR-Gym's InvManagement as problems: one contest for learners, experts and the bound."""

from __future__ import annotations

import pytest

from data.scenario import BankConfig, ScenarioBank
from rl.artifacts import Figure
from rl.domains.inventory import inv_management
from rl.evaluation.players import random_player
from rl.training.agents import make_agent
from rl.training.inventory_problem import WORLDS, inventory_problem
from utils.errors import ConfigError

LEVELS = {"serial_inventory": (92, 212, 416), "serial_inventory_lost_sales": (93, 213, 0)}


@pytest.mark.parametrize("name", WORLDS)
def test_experts_and_bound_are_at_their_reference_values(name):
    """Base stock 410.5 and 452.0, the program on mean demand 522.5 and 488.7 (domains.md 2.2)."""
    problem = inventory_problem(name)
    known = tuple(Figure(name=str(n), value=float(v)) for n, v in enumerate(LEVELS[name]))
    base_stock = problem.contest.play(problem.experts["base_stock"].player(known), problem.held_out)
    expected = {"serial_inventory": 410.5, "serial_inventory_lost_sales": 452.0}[name]
    assert base_stock.kpi.mean() == pytest.approx(expected, abs=4.0)
    episodes = problem.held_out.first(5)
    planner = problem.experts["shrinking_horizon"]
    planned = problem.contest.play(planner.player(planner.tune()), episodes).kpi
    bound = problem.bound(episodes.scenarios)
    assert (planned <= bound + 1e-3).all()
    assert planned.mean() > base_stock.kpi[:5].mean()


@pytest.mark.parametrize("name", WORLDS)
def test_the_world_is_the_preset_and_settings_fit_it(name):
    problem = inventory_problem(name)
    bank = ScenarioBank(problem.training, BankConfig(num_episodes=2), 0)
    world = problem.learn_in(bank, 2, 0)
    assert world.config == inv_management(lost_sales=WORLDS[name])
    for settings in problem.settings.values():
        make_agent(settings.config, world, seed=0)
    scores = problem.contest.play(random_player(0), problem.validation.first(8))
    assert set(scores.figures) == {"fill_rate", "stock_steps"}


def test_sets_are_fixed_and_apart():
    first, again = (inventory_problem("serial_inventory") for _ in range(2))
    assert first.held_out.sha256 == again.held_out.sha256
    assert first.held_out.scenarios.num_episodes == 1000
    held = {row.tobytes() for row in first.held_out.scenarios.demand}
    assert not held & {row.tobytes() for row in first.validation.scenarios.demand}


def test_an_unknown_preset_is_refused_by_name():
    with pytest.raises(ConfigError, match="no inventory problem 'newsvendor'"):
        inventory_problem("newsvendor")
