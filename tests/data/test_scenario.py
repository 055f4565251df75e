"""Scenarios are checked where they enter; a bank is a function of source, seed and counter."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from data.scenario import (
    BankConfig,
    FixedSource,
    MixedSource,
    ScenarioBank,
    ScenarioError,
    WorkloadScenarios,
    hash_scenarios,
    join_scenarios,
)
from data.workload import ServiceDemand, SyntheticConfig, SyntheticWorkload, WorldConfig
from utils.errors import ConfigError

WORLD = WorldConfig(
    priority=(1.0, 2.0), capacity=(10.0,), price=(0.1,), max_steps=6, lookback=3, jitter=0.1
)
LAWS = SyntheticConfig(services=(ServiceDemand(mean=3.0), ServiceDemand(mean=5.0)))
SOURCE = SyntheticWorkload(LAWS, WORLD)


def draw(num_episodes=5, seed=0):
    return SOURCE.draw(num_episodes, np.random.default_rng(seed))


def make_bank(seed=0, source=SOURCE, **sizes):
    return ScenarioBank(source, BankConfig(**{"num_episodes": 5, **sizes}), seed)


def test_same_source_and_seed_same_bank():
    assert make_bank(3).hash == make_bank(3).hash
    assert make_bank(3).hash != make_bank(4).hash


def test_refresh_gives_new_episodes_and_restart_the_first_ones():
    bank = make_bank()
    hashes = [bank.hash]
    for _ in range(3):
        bank.refresh()
        hashes.append(bank.hash)
    assert len(set(hashes)) == 4
    assert bank.refresh_counter == 3
    bank.restart()
    assert (bank.hash, bank.refresh_counter) == (hashes[0], 0)


def test_restore_continues_the_sequence():
    bank = make_bank(8)
    bank.refresh()
    saved = (bank.seed, bank.refresh_counter, bank.hash)
    bank.refresh()
    other = make_bank(1)
    other.restore(*saved)
    assert other.hash == saved[2]
    other.refresh()
    assert other.hash == bank.hash


def test_restore_refuses_a_source_that_has_changed():
    bank = make_bank()
    louder = replace(LAWS, services=(ServiceDemand(mean=3.1), ServiceDemand(mean=5.0)))
    changed = make_bank(source=SyntheticWorkload(louder, WORLD))
    with pytest.raises(ScenarioError, match="start a new run"):
        changed.restore(bank.seed, bank.refresh_counter, bank.hash)


def test_byte_cap_is_exact_and_the_error_states_the_size():
    size = draw(5).num_bytes
    assert make_bank(max_bytes=size).scenarios.num_bytes == size
    with pytest.raises(ConfigError, match=f"takes {size} bytes"):
        make_bank(max_bytes=size - 1)


@pytest.mark.parametrize("field", [field.name for field in fields(WorkloadScenarios)])
def test_hash_sees_every_array(field):
    scenarios = draw()
    changed = getattr(scenarios, field).copy()
    changed.flat[-1] = np.nextafter(changed.flat[-1], np.float32(2))
    assert hash_scenarios(replace(scenarios, **{field: changed})) != hash_scenarios(scenarios)


def test_hash_never_changes():
    ones = np.ones((1, 2, 1), np.float32)
    scenarios = WorkloadScenarios(
        history=ones,
        demand=ones,
        capacity=ones,
        priority=ones[:, 0],
        price=ones[:, 0],
        time_of_day=ones[..., 0],
    )
    assert hash_scenarios(scenarios).startswith("e6079bdf38007ed2")


@pytest.mark.parametrize("field", [field.name for field in fields(WorkloadScenarios)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_impossible_values_are_refused_by_name(field, value):
    scenarios = draw()
    broken = getattr(scenarios, field).copy()
    broken.flat[0] = value
    with pytest.raises(ScenarioError, match=f"{field} holds"):
        replace(scenarios, **{field: broken})


@pytest.mark.parametrize("field", ["history", "capacity", "priority", "price", "time_of_day"])
def test_wrong_shapes_are_refused_by_name(field):
    scenarios = draw()
    with pytest.raises(ScenarioError, match=f"{field} has shape"):
        replace(scenarios, **{field: getattr(scenarios, field)[1:]})


def test_take_and_join_are_inverse():
    scenarios = draw(5)
    parts = [scenarios.take(np.arange(2)), scenarios.take(np.arange(2, 5))]
    assert hash_scenarios(join_scenarios(parts)) == hash_scenarios(scenarios)


def test_fixed_source_serves_in_order_and_repeats():
    scenarios = draw(3)
    served = FixedSource(scenarios).draw(7, np.random.default_rng(0))
    assert np.array_equal(served.demand, scenarios.demand[[0, 1, 2, 0, 1, 2, 0]])


def test_mixture_keeps_its_shares_and_shuffles():
    levels = (1.0, 2.0, 3.0)
    sources = []
    for level in levels:
        scenarios = draw(1)
        sources.append(FixedSource(replace(scenarios, demand=scenarios.demand * 0 + level)))
    mixed = MixedSource(tuple(sources), (1.0, 2.0, 1.0))
    drawn = mixed.draw(40, np.random.default_rng(0)).demand[:, 0, 0]
    assert [int((drawn == level).sum()) for level in levels] == [10, 20, 10]
    assert not np.array_equal(drawn, np.sort(drawn))


def test_mixture_of_few_episodes_still_has_the_right_number():
    mixed = MixedSource((SOURCE, SOURCE, SOURCE), (1.0, 1.0, 1.0))
    for count in (1, 2, 5, 7):
        assert mixed.draw(count, np.random.default_rng(0)).num_episodes == count


@pytest.mark.parametrize(("count", "weights"), [(2, (1.0,)), (0, ()), (2, (1.0, 0.0))])
def test_impossible_mixtures_are_refused(count, weights):
    with pytest.raises(ConfigError):
        MixedSource((SOURCE,) * count, weights)


@pytest.mark.parametrize("name", ["num_episodes", "refresh_every_episodes", "max_bytes"])
def test_empty_banks_are_refused(name):
    with pytest.raises(ConfigError):
        BankConfig(**{name: 0})
