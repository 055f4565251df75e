"""The bound is right on paper, and nobody beats it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.scenario import WorkloadScenarios
from data.workload import SyntheticWorkload
from rl.domains.allocation_experts import EXPERTS, ExpertParameters
from rl.domains.resource_allocation import AllocationConfig, ServiceSpec
from rl.domains.shared_services import shared_services
from rl.evaluation.allocation_pictures import busiest_window
from rl.evaluation.bounds import BoundError, hindsight_bound
from rl.evaluation.evaluator import expert_decider, play, random_decider


def test_bound_of_an_episode_worked_out_on_paper(tiny_world):
    # A unit of compute earns 1.5 with dear work and 1 with cheap work, so dear work goes first:
    # 5 of the last 9 fill step 2, the 4 and 3 before take 14 of the 20 units of steps 0 and 1,
    # and the 6 units left serve cheap work.
    config, scenarios = tiny_world
    assert hindsight_bound(scenarios, config) == pytest.approx([12 * 3 + 6 * 1])


def test_bound_equals_brute_force_over_whole_units(tiny_world):
    config, scenarios = tiny_world
    cheap, dear = scenarios.demand[0].T.astype(int)
    best = 0
    for waits in product(*(range(work + 1) for work in dear[:2])):
        arriving = [dear[0] - waits[0], dear[1] - waits[1] + waits[0], dear[2] + waits[1]]
        value = 0
        for step, work in enumerate(arriving):
            served = min(work, 5)
            value += 3 * served + min(cheap[step], 10 - 2 * served)
        best = max(best, value)
    assert hindsight_bound(scenarios, config) == pytest.approx([best])


@pytest.mark.parametrize(("patience", "value"), [(1, 10.0), (2, 20.0), (3, 30.0)])
def test_work_earns_only_while_it_can_wait(patience, value):
    config = AllocationConfig(
        services=(
            ServiceSpec(name="asked", priority=1.0, patience=patience, usage=(1.0, 2.0)),
            ServiceSpec(name="silent", priority=1.0, patience=4, usage=(1.0, 1.0)),
        ),
        resources=("compute", "memory"),
        capacity=(10.0, 20.0),
        price=(0.0, 0.0),
        max_steps=4,
        lookback=3,
    )
    scenarios = WorkloadScenarios(
        history=np.zeros((1, 3, 2), np.float32),
        demand=np.asarray([[[100, 0], [0, 0], [0, 0], [0, 0]]], np.float32),
        capacity=np.full((1, 4, 2), (10, 20), np.float32),
        priority=np.ones((1, 2), np.float32),
        price=np.zeros((1, 2), np.float32),
        time_of_day=np.zeros((1, 4), np.float32),
    )
    assert hindsight_bound(scenarios, config) == pytest.approx([value])


def test_who_acts_on_foresight_reaches_the_bound():
    config = shared_services(1).allocation
    demand = np.full((1, config.max_steps, 1), 8.0, np.float32)
    scenarios = WorkloadScenarios(
        history=np.zeros((1, config.lookback, 1), np.float32),
        demand=demand,
        capacity=np.full((1, config.max_steps, 2), 20.0, np.float32),
        priority=np.full((1, 1), 2.0, np.float32),
        price=np.full((1, 2), 0.15, np.float32),
        time_of_day=np.zeros((1, config.max_steps), np.float32),
    )
    exact = np.asarray([[8.0 / 20.0, 4.0 / 20.0]], np.float32)
    scores = play(config, scenarios, lambda _: exact)
    assert scores.kpi == pytest.approx(hindsight_bound(scenarios, config), rel=1e-5)


@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32 - 1),
    services=st.integers(1, 5),
    headroom=st.floats(0, 3),
    lookback=st.integers(1, 12),
    urgency=st.floats(0, 1),
)
def test_nobody_beats_the_bound(seed, services, headroom, lookback, urgency):
    world = shared_services(services)
    source = SyntheticWorkload(world.synthetic, world.training_world)
    scenarios = source.draw(2, np.random.default_rng(seed))
    config = world.allocation
    bound = hindsight_bound(scenarios, config) * (1 + 1e-5)
    parameters = ExpertParameters(headroom=headroom, lookback=lookback, urgency=urgency)
    for expert in EXPERTS.values():
        kpi = play(config, scenarios, expert_decider(expert, config, parameters)).kpi
        assert (kpi <= bound).all()
    assert (play(config, scenarios, random_decider(config, seed)).kpi <= bound).all()


def test_more_patience_or_capacity_never_lowers_the_bound(preset):
    config, scenarios = preset
    few = scenarios.take(np.arange(2))
    bound = hindsight_bound(few, config)
    services = tuple(replace(s, patience=s.patience + 1) for s in config.services)
    patient = hindsight_bound(few, replace(config, services=services))
    assert (patient >= bound - 1e-6 * bound).all()
    assert (patient > bound).any()
    larger = replace(few, capacity=few.capacity * np.float32(1.1))
    assert (hindsight_bound(larger, config) > bound).all()


def test_a_solver_that_fails_is_an_error(preset, monkeypatch):
    failed = SimpleNamespace(status=4, message="numerical trouble")
    monkeypatch.setattr("rl.evaluation.bounds.linprog", lambda *_, **__: failed)
    config, scenarios = preset
    with pytest.raises(BoundError, match="episode 0: numerical trouble"):
        hindsight_bound(scenarios, config)


def test_busiest_window_is_the_one_with_most_excess(preset):
    config, scenarios = preset
    demand = scenarios.demand.copy()
    demand[5] *= 10
    assert busiest_window(config, replace(scenarios, demand=demand)) == 5
