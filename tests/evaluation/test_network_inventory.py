"""The benchmark of planners in gym-invmgmt runs from training to table, at a tiny size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.measuring import RESULTS
from benchmarks.network_evaluation import compare, make_table, read_published, summarise
from benchmarks.network_inventory import RECIPES, main
from benchmarks.network_package import FRESH_SEEDS, list_scenarios
from benchmarks.network_training import (
    DEVELOPMENT_SEED,
    draft_card,
    draw_development,
    make_planner,
    make_world,
)
from rl.artifacts import PolicyArtifact
from rl.deployment.planner_exporter import PlannerPolicy, export_network_planner
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.supply_scores import CANONICAL_SEEDS
from rl.training.learners import make_learner


def episode(scenario, seed, profit, *, bullwhip=1.0):
    return {
        "scenario": scenario.key,
        "seed": seed,
        "profit": profit,
        "fill_rate": 1.0,
        "bullwhip": bullwhip,
        "milliseconds": 2.0,
    }


@pytest.mark.slow
def test_the_path_from_training_to_the_table(tmp_path):
    output = tmp_path / "out.json"
    arguments = ["--smoke", "--runs", str(tmp_path / "runs"), "--output", str(output)]
    assert main([*arguments, "--artifacts", str(tmp_path / "artifacts")]) == 0
    report = json.loads(output.read_text())
    assert report["players"].keys() == {
        *("informed", "blind", "informed, PPO", "rolling program"),
        *("base stock, informed", "base stock, blind"),
    }
    assert report["bars"]["informed >= 1,380"]["met"] is False
    table = output.with_suffix(".md").read_text()
    assert "**rolling program**" in table
    for row in report["selection"].values():
        assert row["chosen_after_updates"] == int(
            max(row["development_profit"], key=row["development_profit"].get)
        )
    files = sorted((tmp_path / "artifacts").glob("*.safetensors"))
    assert len(files) == 4
    for path in files:
        artifact = PolicyArtifact.from_bytes(path.read_bytes())
        assert PlannerPolicy(artifact).config.max_steps == 30
        assert artifact.card.baseline.expert == "echelon_base_stock"
    before = output.read_text()
    assert main(arguments) == 0
    again = json.loads(output.read_text())
    assert again["players"] == json.loads(before)["players"]


def test_nothing_is_trained_or_chosen_on_what_is_scored():
    assert not {*CANONICAL_SEEDS} & {*FRESH_SEEDS}
    assert DEVELOPMENT_SEED not in {*CANONICAL_SEEDS, *FRESH_SEEDS}
    assert {recipe.seed for recipe in RECIPES}.isdisjoint({*CANONICAL_SEEDS, *FRESH_SEEDS})
    world = make_world(RECIPES[1])
    chosen_on = draw_development("serial")
    assert chosen_on.num_episodes == 2_000
    assert not (world.bank.scenarios.normal[:, None, 0] == chosen_on.normal[None, :, 0]).any()


@pytest.mark.parametrize("recipe", [RECIPES[1], RECIPES[3], RECIPES[5]], ids=lambda one: one.name)
def test_what_is_exported_orders_as_what_was_trained(recipe):
    recipe = replace(recipe, num_envs=12)
    world = make_world(recipe)
    agent = make_planner(recipe, world)
    learner = make_learner(world, agent, rollout_steps=30, seed=0)
    for _ in range(3):
        learner.learn(10_000)
    policy = PlannerPolicy(export_network_planner(agent, draft_card(recipe), world.config))
    record = world.reset(1)
    with torch.no_grad():
        for _ in range(15):
            view = view_to_numpy(world.view)
            action = agent.act(record.observation, None, deterministic=True).action[:, 0]
            orders = world.planner.orders(action.clamp(-10.0, 10.0)).numpy()
            np.testing.assert_allclose(policy.wish(view)[0], orders, rtol=1e-3, atol=1e-3)
            record = world.step(action[:, None])


def test_means_by_group_and_differences_paired_by_seed():
    base, serial = list_scenarios("base"), list_scenarios("serial")
    scenarios = [base[0], base[8], serial[0]]
    ours = [
        episode(one, seed, 10.0 * n + seed) for n, one in enumerate(scenarios) for seed in (1, 3)
    ]
    found = summarise(ours)
    assert found["profit"] == {"all": 12.0, "base": 7.0, "serial": 22.0, "stationary": 12.0}
    assert found["by_seed"] == {"1": 11.0, "3": 13.0}
    theirs = [{**row, "profit": row["profit"] - row["seed"]} for row in ours]
    found = compare(ours, theirs)
    assert found["mean"] == 2.0
    assert found["low"] < 2.0 < found["high"]


def test_the_published_rows_are_those_of_the_reference():
    published = read_published()
    if not published:
        pytest.skip("the published table is not there")
    assert published["Oracle"]["profit"]["all"] == 1445.7
    assert published["MSSP_I"]["profit"] == {
        "all": 1369.3,
        "base": 1299.7,
        "serial": 1438.9,
        "stationary": 909.2,
    }
    assert published["PPO_Transformer"]["profit"]["all"] == 1119.5
    report = {"published": published, "players": {}}
    assert (
        "| MSSP-I (published; stochastic program, knows the demand law) | 1,369.3 |"
        in make_table(report)
    )


def test_the_page_shows_the_stored_table():
    stored = (RESULTS / "network_inventory.md").read_text().strip()
    page = (Path(__file__).parents[2] / "docs" / "results" / "inventory.md").read_text()
    assert stored in page
