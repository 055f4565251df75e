"""Everybody plays the same episodes; what is counted is what happened."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.domains.inventory import inv_management, inv_management_demand
from rl.domains.inventory_experts import base_stock
from rl.environments.inventory_environment import BatchedInventory, InventoryOptions
from rl.evaluation.contest import Contest, ScenarioSet
from rl.evaluation.inventory_scores import score_policy
from rl.evaluation.players import random_player, rule_player
from utils.errors import ConfigError

CHAIN = inv_management(lost_sales=False)


def make_environment(scenarios: object) -> BatchedInventory:
    count = scenarios.num_episodes
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=count), 0)
    return BatchedInventory(CHAIN, bank, InventoryOptions(num_envs=count, shuffle=False), 0)


def make_set(count: int = 6, seed: int = 3) -> ScenarioSet:
    scenarios = inv_management_demand().draw(count, np.random.default_rng(seed))
    return ScenarioSet(
        name="held_out", about="demand", scenarios=scenarios, blocks=np.arange(count)
    )


CONTEST = Contest(make_environment=make_environment, num_steps=CHAIN.max_steps)


def test_a_rule_scores_as_the_domains_own_examiner_says() -> None:
    episodes, levels = make_set(), np.array([100.0, 200.0, 300.0])

    def rule(view: object) -> np.ndarray:
        return base_stock(view, CHAIN, levels)

    expected = score_policy(rule, episodes.scenarios, CHAIN).profit
    scores = CONTEST.play(rule_player(rule), episodes)
    np.testing.assert_allclose(scores.kpi, expected, rtol=1e-6)


def test_random_players_of_one_seed_play_alike_and_stay_in_range() -> None:
    episodes = make_set()
    first, again, other = (CONTEST.play(random_player(seed), episodes).kpi for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    environment = make_environment(episodes.scenarios)
    spec, action = environment.groups[0].action, random_player(1)(environment, environment.reset())
    assert spec.low <= float(action.min())
    assert float(action.max()) <= spec.high
    assert float(action.std()) > 0.2


def test_a_contest_of_the_wrong_length_is_refused() -> None:
    for steps in (CHAIN.max_steps - 1, CHAIN.max_steps + 1):
        with pytest.raises(ConfigError, match="do not all end"):
            replace(CONTEST, num_steps=steps).play(random_player(0), make_set())


def test_sets_know_their_content() -> None:
    assert make_set(seed=3).sha256 == make_set(seed=3).sha256 != make_set(seed=4).sha256
    with pytest.raises(ConfigError, match="blocks"):
        replace(make_set(), blocks=np.arange(2))


def test_playing_leaves_global_chance_alone() -> None:
    before = torch.get_rng_state()
    CONTEST.play(random_player(0), make_set())
    assert torch.equal(before, torch.get_rng_state())
