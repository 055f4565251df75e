"""The promised curricula: their numbers, and that each stage is another world as it claims."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
import torch

from data.scenario import BankConfig, ScenarioBank, hash_scenarios
from data.workload import SyntheticWorkload
from rl.domains.dual_sourcing import SUPPLIERS_OF, dual_sourcing
from rl.training.allocation_curriculum import (
    make_allocation_source,
    make_allocation_world,
    make_services,
)
from rl.training.curricula import (
    create_resource_allocation_curriculum,
    create_supply_chain_curriculum,
    create_trading_curriculum,
)
from rl.training.curriculum import CurriculumManager, CurriculumStage
from rl.training.curriculum_driver import CurriculumDriver
from rl.training.supply_curriculum import make_supply_source, make_supply_world
from rl.training.trading_curriculum import make_trading_source, make_trading_world
from utils.config import from_json, to_json
from utils.errors import ConfigError
from utils.seeding import make_generator

STEPS = 20
CURRICULA = (
    create_trading_curriculum,
    create_supply_chain_curriculum,
    create_resource_allocation_curriculum,
)


def column(stages, name):
    return [stage.number(name) for stage in stages]


@pytest.mark.parametrize("create", CURRICULA)
def test_stages_are_data(create):
    stages = create()
    values = json.loads(json.dumps([to_json(stage) for stage in stages]))
    assert tuple(from_json(CurriculumStage, value) for value in values) == stages
    assert CurriculumManager(stages).get_current_parameters()


def test_the_promised_numbers():
    trading = create_trading_curriculum()
    assert [stage.name for stage in trading] == [
        "basic_trading", "multi_asset_trading", "volatile_markets", "crisis_trading",
        "master_trader",
    ]  # fmt: skip
    assert column(trading, "num_symbols") == [2, 5, 8, 10, 15]
    assert column(trading, "volatility") == [0.1, 0.15, 0.25, 0.4, 0.3]
    assert column(trading, "transaction_cost") == [1e-4, 1e-3, 1e-3, 2e-3, 2e-3]
    assert column(trading, "max_position") == [0.1, 0.3, 0.5, 1, 1]
    regimes = [stage.choice("market_regime") for stage in trading]
    assert regimes == ["sideways", "mixed", "volatile", "crisis", "mixed"]
    assert [stage.min_episodes for stage in trading] == [100, 150, 200, 300, 500]
    assert [stage.advancement_threshold for stage in trading] == [0.7, 0.75, 0.8, 0.8, 0.85]
    supply = create_supply_chain_curriculum()
    assert column(supply, "num_suppliers") == [2, 4, 8]
    assert column(supply, "num_products") == [3, 6, 10]
    assert column(supply, "demand_variability") == [0.1, 0.2, 0.3]
    assert column(supply, "disruption_probability") == [0, 0.1, 0.2]
    assert column(supply, "lead_time_variability") == [0.1, 0.2, 0.3]
    assert [stage.min_episodes for stage in supply] == [100, 200, 300]
    assert [stage.advancement_threshold for stage in supply] == [0.75, 0.8, 0.8]
    allocation = create_resource_allocation_curriculum()
    assert column(allocation, "num_resources") == [3, 6, 8]
    assert column(allocation, "num_agents") == [4, 8, 12]
    assert column(allocation, "capacity") == [1000, 800, 600]
    assert column(allocation, "demand_variability") == [0.1, 0.25, 0.4]
    assert column(allocation, "fairness") == [0.5, 0.3, 0.2]
    assert column(allocation, "dynamic_pricing") == [0, 0, 1]
    assert [stage.advancement_threshold for stage in allocation] == [0.9, 0.9, 0.9]


def draw(source, episodes, seed=0):
    return source.draw(episodes, make_generator(seed, "test"))


def test_trading_stages_differ_as_they_claim():
    stages = create_trading_curriculum()
    drawn = [draw(make_trading_source(stage, num_agents=2, max_steps=252), 200) for stage in stages]
    assert [int(one.symbol_active[0].sum()) for one in drawn] == [2, 5, 8, 10, 15]
    for stage, one in zip(stages, drawn, strict=True):
        active = one.log_return[..., one.symbol_active[0] > 0]
        yearly = float(np.sqrt(active.astype(np.float64).var() * 252))
        assert yearly == pytest.approx(stage.number("volatility"), rel=0.1)
        assert (one.transaction_cost == np.float32(stage.number("transaction_cost"))).all()
        assert (one.max_position == np.float32(stage.number("max_position"))).all()
    changing = [(one.regime != one.regime[:, :1]).any() for one in drawn]
    assert changing == [False, False, False, False, True]
    kinds = [len(np.unique(one.regime)) for one in drawn]
    assert kinds == [1, 5, 1, 1, 5]
    assert len({one.log_return.shape for one in drawn}) == 1


def test_supply_stages_differ_as_they_claim():
    stages = create_supply_chain_curriculum()
    drawn = [draw(make_supply_source(stage, max_steps=30), 200) for stage in stages]
    assert [int(one.product_active[0].sum()) for one in drawn] == [3, 6, 10]
    assert [int(one.node_active[0, :8].sum()) for one in drawn] == [2, 4, 8]
    spread = [float(one.demand_mean[:, :1].std() / one.demand_mean[:, :1].mean()) for one in drawn]
    assert spread == pytest.approx([0.1, 0.2, 0.3], abs=0.03)
    late = [float((one.delay > 0).mean()) for one in drawn]
    assert late[0] == pytest.approx(0.1, abs=0.01)
    assert late[0] < late[1] < late[2]
    short = [float(one.shortage.mean()) for one in drawn]
    assert short[0] == 0 < short[1] < short[2]


def test_allocation_stages_differ_as_they_claim():
    stages = create_resource_allocation_curriculum()
    _, source = make_services()
    assert isinstance(source, SyntheticWorkload)
    drawn = [draw(make_allocation_source(stage, source), 100) for stage in stages]
    assert [int(one.service_active[0].sum()) for one in drawn] == [4, 8, 12]
    assert [int(one.resource_active[0].sum()) for one in drawn] == [3, 6, 8]
    assert [float(one.capacity.max()) for one in drawn] == [1000, 800, 600]
    assert [float(one.price_response[0]) for one in drawn] == [0, 0, 1]
    # Of the same four services, in the same episodes.
    spread = [float(one.demand[..., :4].std(1).mean()) for one in drawn]
    assert spread[0] < spread[1] < spread[2]
    assert spread[0] / spread[2] == pytest.approx(0.25, abs=0.1)
    load = [float(one.demand.sum(-1).mean() / one.capacity[..., 0].mean()) for one in drawn]
    assert load[0] < load[1] < load[2]


@cache
def make_world(name):
    if name == "trading":
        return make_trading_world(2, max_steps=STEPS)
    return make_supply_world() if name == "supply" else make_allocation_world()


@pytest.mark.parametrize("name", ["trading", "supply", "allocation"])
def test_every_stage_can_be_played_in_one_world(name):
    """Shapes are those of the largest stage, chance scores about 0, and the stages differ."""
    world = make_world(name)
    stages = world.stages
    manager = CurriculumManager(tuple(one.stage for one in stages))
    driver = CurriculumDriver(manager, stages, bank=BankConfig(num_episodes=4), seed=0)
    environment = world.learn_in(driver.make_bank(), 3, 0)
    seen = set()
    for number, one in enumerate(stages):
        manager.set_stage(number)
        driver.begin(environment)
        record = environment.reset()
        shape = (*record.action_mask.shape[:2], record.action_mask.shape[-1])
        record = environment.step(torch.full(shape, 0.5))
        assert torch.isfinite(record.observation).all()
        figures = one.figures({key: float(value.mean()) for key, value in record.metrics.items()})
        assert {criterion.figure for criterion in one.stage.success_criteria} <= set(figures)
        seen.add(hash_scenarios(environment.bank.scenarios))
        assert one.scale.expert > one.scale.random
    assert len(seen) == len(stages)
    assert len({one.episodes.sha256 for one in stages}) == len(stages)


@pytest.mark.parametrize("name", ["trading", "supply", "allocation"])
def test_the_fixed_episodes_are_always_the_same_and_never_trained_on(name):
    for one in make_world(name).stages:
        fixed = one.episodes.scenarios
        again = one.source.draw(
            fixed.num_episodes, make_generator(20_261_128, f"curriculum/{one.stage.name}")
        )
        assert hash_scenarios(again) == one.episodes.sha256
        bank = ScenarioBank(one.source, BankConfig(num_episodes=16), 0).scenarios
        first = fixed.log_return if name == "trading" else fixed.demand
        second = bank.log_return if name == "trading" else bank.demand
        assert not (first[:, None] == second[None]).all((-1, -2)).any()


def test_every_product_has_a_supplier_in_every_stage():
    assert len(SUPPLIERS_OF) == 10
    for stage in create_supply_chain_curriculum():
        suppliers, products = (
            stage.number(name) for name in ("num_suppliers", "num_products")
        )  # fmt: skip
        assert all(max(pair) < suppliers for pair in SUPPLIERS_OF[: round(products)])


@pytest.mark.parametrize(
    "sizes",
    [
        {"num_suppliers": 0},
        {"num_suppliers": 9},
        {"num_products": 0},
        {"num_products": 11},
        {"num_suppliers": 2, "num_products": 4},
    ],
)
def test_networks_without_supply_are_refused(sizes):
    with pytest.raises(ConfigError):
        dual_sourcing(**sizes)
