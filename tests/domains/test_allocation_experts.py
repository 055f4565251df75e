"""Rules do what their names say: never over capacity, max-min fair, greedy in order of value."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from rl.domains.allocation_experts import EXPERTS, ExpertParameters, forecast_need
from rl.domains.resource_allocation import (
    AllocationConfig,
    AllocationDomain,
    AllocationView,
    ServiceSpec,
)
from utils.errors import ConfigError

LOOKBACK = 6
every_expert = pytest.mark.parametrize("name", EXPERTS)


def make_config(
    priorities=(1.0, 2.0, 3.0), patiences=(1, 2, 4), usages=None, capacity=(10.0, 20.0)
):
    usages = usages or [(1.0, 0.5), (1.0, 3.0), (0.5, 1.0)]
    services = zip(priorities, patiences, usages, strict=True)
    return AllocationConfig(
        services=tuple(
            ServiceSpec(name=f"s{k}", priority=priority, patience=patience, usage=usage)
            for k, (priority, patience, usage) in enumerate(services)
        ),
        resources=("compute", "memory"),
        capacity=capacity,
        price=(0.1, 0.1),
        lookback=LOOKBACK,
    )


def make_view(config, need, batch=(), capacity=None, backlog=None):
    """View in which recent demand is `need` all along and, unless given, nothing waits."""
    services, slacks = len(config.services), config.max_patience
    need = np.broadcast_to(np.asarray(need, np.float32), (*batch, services))
    capacity = np.asarray(config.capacity if capacity is None else capacity, np.float32)
    priority = np.asarray([service.priority for service in config.services], np.float32)
    if backlog is None:
        backlog = np.zeros((*batch, services, slacks), np.float32)
    return AllocationView(
        backlog=np.asarray(backlog, np.float32),
        recent_demand=np.repeat(need[..., None], LOOKBACK, axis=-1),
        allocation=np.zeros((*batch, services, 2), np.float32),
        capacity=np.broadcast_to(capacity, (*batch, 2)),
        priority=np.broadcast_to(priority, (*batch, services)),
        price=np.full((*batch, 2), 0.1, np.float32),
        time_of_day=np.zeros(batch, np.float32),
    )


def random_view(config, seed, batch):
    generator = np.random.default_rng(seed)
    services = len(config.services)
    patience = np.asarray([service.patience for service in config.services])
    backlog = generator.exponential(3, (*batch, services, config.max_patience))
    backlog *= np.arange(config.max_patience) < patience[:, None] - 1
    return AllocationView(
        backlog=backlog.astype(np.float32),
        recent_demand=generator.exponential(4, (*batch, services, LOOKBACK)).astype(np.float32),
        allocation=np.zeros((*batch, services, 2), np.float32),
        capacity=generator.uniform(0, 20, (*batch, 2)).astype(np.float32),
        priority=generator.uniform(0.5, 4, (*batch, services)).astype(np.float32),
        price=np.full((*batch, 2), 0.1, np.float32),
        time_of_day=np.zeros(batch, np.float32),
    )


def work_of(name, view, config, parameters=None):
    """Return the work that the allocation of a rule can serve, `[..., service]`."""
    action = EXPERTS[name](view, config, parameters or ExpertParameters())
    domain = AllocationDomain(config)
    return (domain.project(action, view.capacity) / domain.usage).min(-1)


parameters_strategy = st.builds(
    ExpertParameters,
    headroom=st.floats(0, 3),
    lookback=st.integers(1, LOOKBACK),
    urgency=st.floats(0, 1),
)


@every_expert
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), parameters=parameters_strategy)
def test_capacity_is_never_exceeded(name, seed, parameters):
    config = make_config()
    action = EXPERTS[name](random_view(config, seed, (4,)), config, parameters)
    shares = action.reshape(4, 3, 2)
    assert (shares >= 0).all()
    assert (shares.sum(1) <= 1 + 1e-5).all()


@every_expert
def test_batch_axes_change_nothing(name):
    config = make_config()
    view = random_view(config, 1, (2, 5))
    together = EXPERTS[name](view, config, ExpertParameters())
    assert together.shape == (2, 5, 6)
    assert together.dtype == np.float32
    for index in np.ndindex(2, 5):
        parts = {f.name: getattr(view, f.name)[index] for f in fields(view)}
        alone = EXPERTS[name](AllocationView(**parts), config, ExpertParameters())
        assert alone.shape == (6,)
        assert alone == pytest.approx(together[index], abs=1e-6)


@every_expert
def test_views_are_not_changed(name):
    config = make_config()
    view = random_view(config, 2, (3,))
    before = {f.name: getattr(view, f.name).copy() for f in fields(view)}
    EXPERTS[name](view, config, ExpertParameters())
    for field, values in before.items():
        assert np.array_equal(getattr(view, field), values)


@every_expert
def test_no_capacity_no_allocation_and_no_division_by_zero(name):
    config = make_config()
    view = make_view(config, [3, 3, 3], capacity=(0.0, 0.0))
    with np.errstate(all="raise"):
        action = EXPERTS[name](view, config, ExpertParameters())
    assert np.isfinite(action).all()
    assert (work_of(name, view, config) == 0).all()


@pytest.mark.parametrize("name", [name for name in EXPERTS if name != "equal"])
def test_what_fits_is_served_in_full_and_nothing_is_held_for_nobody(name):
    config = make_config()
    view = make_view(config, [2.0, 0.0, 1.0])
    action = EXPERTS[name](view, config, ExpertParameters())
    held = action.reshape(3, 2) * view.capacity
    assert held == pytest.approx(np.asarray([[2.0, 1.0], [0.0, 0.0], [0.5, 1.0]]), abs=1e-5)


def test_need_is_expiring_work_the_urgent_share_of_the_rest_and_the_forecast():
    config = make_config()
    view = make_view(config, [1, 1, 1], backlog=[[0] * 4, [4, 0, 0, 0], [1, 2, 3, 0]])
    newest = np.asarray([9.0, 0.0, 0.0], np.float32)
    view.recent_demand[..., -1] = newest
    need = forecast_need(view, config, ExpertParameters(headroom=2.0, lookback=2, urgency=0.5))
    assert need == pytest.approx([10.0, 4 + 1.0, 1 + 0.5 * 5 + 1.0])


def test_equal_gives_everybody_the_same():
    config = make_config()
    action = EXPERTS["equal"](make_view(config, [1, 2, 3]), config, ExpertParameters(headroom=0.6))
    assert action == pytest.approx(np.full(6, 0.2))


def test_proportional_scales_each_short_resource_by_one_factor():
    config = make_config(usages=[(1.0, 1.0)] * 3)
    view = make_view(config, [10, 20, 10], capacity=(10.0, 80.0))
    shares = EXPERTS["proportional"](view, config, ExpertParameters()).reshape(3, 2)
    assert shares[:, 0] == pytest.approx([0.25, 0.5, 0.25])
    assert shares[:, 1] == pytest.approx([1 / 8, 1 / 4, 1 / 8])


def common_level(need, usage, nominal, capacity, weight):
    """Return by linear programming the work at the highest common weighted dominant share.

    The curve min(need, level * rate) is concave in the level, so the level is searched among the
    linear pieces between the breakpoints, each solved exactly.
    """
    rate = weight / (usage / nominal).max(1)
    breaks = np.unique(np.concatenate([[0.0], need / rate]))
    best = 0.0
    for low, high in pairwise(breaks):
        rising = need / rate > low
        fixed = np.where(rising, 0.0, need) @ usage
        slope = np.where(rising, rate, 0.0) @ usage
        solution = linprog([-1], A_ub=slope[:, None], b_ub=capacity - fixed, bounds=[(low, high)])
        if solution.status == 0:
            best = max(best, solution.x[0])
    return np.minimum(need, best * rate)


@pytest.mark.parametrize("name", ["max_min", "weighted_max_min"])
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_max_min_equals_exact_water_filling(name, seed):
    config = make_config()
    view = random_view(config, seed, ())
    need = forecast_need(view, config, ExpertParameters())
    usage = np.asarray([service.usage for service in config.services])
    weight = np.ones(3) if name == "max_min" else view.priority
    expected = common_level(
        need, usage, np.asarray(config.capacity), view.capacity, weight.astype(np.float64)
    )
    assert work_of(name, view, config) == pytest.approx(expected, abs=2e-3, rel=1e-3)


def test_max_min_spares_the_small_and_weights_tell():
    config = make_config(priorities=(1.0, 1.0, 3.0), usages=[(1.0, 0.1)] * 3, capacity=(12.0, 20.0))
    view = make_view(config, [2, 20, 20])
    assert work_of("max_min", view, config) == pytest.approx([2, 5, 5], abs=1e-4)
    assert work_of("weighted_max_min", view, config) == pytest.approx([2, 2.5, 7.5], abs=1e-4)


def test_greedy_fills_by_value_per_dominant_share():
    # Value per share of 10 compute or 20 memory: 1 / 0.1, 2 / 0.15, 3 / 0.05.
    config = make_config()
    view = make_view(config, [4, 4, 10])
    served = work_of("greedy_value", view, config)
    # 10 of the third take 5 compute and 10 memory; the second stops at 10 / 3 for memory.
    assert served == pytest.approx([0, 10 / 3, 10], abs=1e-4)
    ordered = replace(view, priority=np.asarray([9.0, 2.0, 0.1], np.float32))
    assert work_of("greedy_value", ordered, config) == pytest.approx([4, 4, 4], abs=1e-4)


def test_greedy_breaks_ties_by_position():
    config = make_config(priorities=(2.0,) * 3, usages=[(1.0, 0.5)] * 3)
    assert work_of("greedy_value", make_view(config, [6, 6, 6]), config) == pytest.approx(
        [6, 4, 0], abs=1e-4
    )


def test_urgent_work_goes_before_dearer_work_that_can_wait():
    config = make_config(priorities=(1.0, 2.0, 9.0), usages=[(1.0, 0.1)] * 3, capacity=(10.0, 20.0))
    backlog = [[0] * 4, [3, 0, 0, 0], [0, 0, 20, 0]]
    view = make_view(config, [4, 0, 0], backlog=backlog)
    # 3 expire, 4 of the impatient service are about to; what is left goes to the dearest.
    assert work_of("urgent_value", view, config) == pytest.approx([4, 3, 3], abs=1e-4)
    assert work_of("greedy_value", view, config) == pytest.approx([0, 0, 10], abs=1e-4)


def test_urgent_rule_asks_in_all_for_what_greedy_asks():
    config = make_config()
    view = make_view(config, [1, 1, 1], backlog=[[0] * 4, [1, 0, 0, 0], [1, 1, 1, 0]])
    both = [work_of(name, view, config) for name in ("urgent_value", "greedy_value")]
    assert both[0] == pytest.approx(both[1], abs=1e-4)


@pytest.mark.parametrize("bad", [{"headroom": -0.1}, {"lookback": 0}, {"urgency": 1.1}])
def test_impossible_parameters_are_refused(bad):
    with pytest.raises(ConfigError):
        ExpertParameters(**bad)
