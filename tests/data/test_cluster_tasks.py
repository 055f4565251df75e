"""Lists are inflated by the published rule; relatives differ, fit, and are switched off in part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.cluster_tasks import (
    NO_TASK,
    InflatedList,
    RelativeLists,
    RelativesConfig,
    count_typical,
    inflate,
)
from data.cluster_trace import TaskTypes, load_cluster_trace
from data.scenario import ScenarioError, hash_scenarios
from data.traces import locate_traces
from tests.clusters import FEW, TRACE, draw_small, make_scenarios
from utils.errors import ConfigError


def make_types(cpu, memory, gpus, milli):
    return TaskTypes(
        cpu_milli=np.asarray(cpu),
        memory_mib=np.asarray(memory),
        num_gpus=np.asarray(gpus),
        gpu_milli=np.asarray(milli),
        allowed=np.ones((len(cpu), 1), bool),
    )


def test_a_list_grows_until_the_next_task_would_exceed_the_limit():
    """One type of 300 milli: 2 are there, 1000 allow 3 in all; 1200 allow 4 exactly."""
    for limit, length in ((1000, 3), (1199, 3), (1200, 4), (300, 2)):
        grown = inflate(
            np.asarray([0, 0]),
            np.asarray([1]),
            np.asarray([300]),
            limit=limit,
            generator=np.random.default_rng(0),
        )
        assert grown.tolist() == [0] * length


def test_inflation_draws_by_weight_and_shuffles():
    weights, demand = np.asarray([6, 3, 1]), np.asarray([100, 200, 0])
    base = np.asarray([1] * 50)
    grown = inflate(base, weights, demand, limit=1e6, generator=np.random.default_rng(1))
    assert 1e6 - 200 < demand[grown].sum() <= 1e6
    share = (np.bincount(grown) - [0, 50, 0]) / (len(grown) - 50)
    np.testing.assert_allclose(share, weights / 10, atol=0.02)
    assert (grown[:50] != 1).any()
    with pytest.raises(ConfigError, match="never end"):
        inflate(base, np.asarray([0, 0, 1]), demand, limit=1e6, generator=np.random.default_rng(1))


def test_typical_tasks_are_the_frequent_ones_and_blind_to_memory():
    """Requests 40 + 20 (other memory), 30, 6, 4 times: 60 + 30 + 6 reach 95 of 100."""
    types = make_types([1, 1, 2, 3, 4], [1, 2, 1, 1, 1], [1] * 5, [500] * 5)
    counts = np.asarray([40, 20, 30, 6, 4])
    assert count_typical(types, counts).tolist() == [60, 0, 30, 6, 0]
    assert count_typical(types, np.asarray([40, 20, 35, 5, 0])).tolist() == [60, 0, 35, 0, 0]


def test_an_inflated_list_holds_the_list():
    source = InflatedList(TRACE, num_tasks=700, demand_ratio=1.3)
    drawn = source.draw(2, np.random.default_rng(0))
    for row in drawn.arrivals:
        tasks = row[row != NO_TASK]
        asked = TRACE.types.demand[tasks].sum()
        assert 1.3 * TRACE.nodes.gpu_milli - 8000 < asked <= 1.3 * TRACE.nodes.gpu_milli
        held = np.bincount(tasks, minlength=len(TRACE.counts))
        assert (held >= TRACE.counts).all()
    assert (drawn.arrivals[0] != drawn.arrivals[1]).any()
    with pytest.raises(ConfigError, match="raise num_tasks"):
        InflatedList(TRACE, num_tasks=100).draw(1, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="demand_ratio above 0"):
        InflatedList(TRACE, num_tasks=100, demand_ratio=0.0)


def test_same_seed_same_episodes():
    first, again, other = (draw_small(8, seed) for seed in (0, 0, 1))
    assert hash_scenarios(first) == hash_scenarios(again) != hash_scenarios(other)


@pytest.mark.parametrize(
    ("stage", "size", "seen"),
    [
        (replace(FEW, active_nodes=2), 2, lambda drawn: drawn.node_active.sum(1)),
        (replace(FEW, active_tasks=7), 7, lambda drawn: (drawn.arrivals != NO_TASK).sum(1)),
        (
            replace(FEW, active_models=1),
            1,
            lambda drawn: [len(np.unique(row)) for row in drawn.node_model],
        ),
    ],
    ids=["nodes", "tasks", "models"],
)
def test_stages_switch_parts_off_in_arrays_of_the_same_shapes(stage, size, seen):
    smaller, whole = (draw_small(6, 0, one) for one in (stage, FEW))
    assert list(seen(smaller)) == [size] * 6
    assert list(seen(whole)) != [size] * 6
    for name, value in vars(whole).items():
        assert getattr(smaller, name).shape == value.shape


def test_relatives_differ_in_mix_and_spec_and_every_task_fits_somewhere():
    drawn = draw_small(20, 0)
    assert len({tuple(row) for row in drawn.typical}) == 20
    assert not drawn.type_allowed.all()
    assert drawn.type_allowed.any(-1).all()
    for row in range(20):
        kinds = np.unique(drawn.arrivals[row][drawn.arrivals[row] != NO_TASK])
        allowed = drawn.type_allowed[row][kinds][:, drawn.node_model[row]]
        fits = allowed | (drawn.type_gpus[row][kinds] == 0)[:, None]
        for name in ("cpu", "memory", "gpus"):
            asked = getattr(drawn, f"type_{name}")[row][kinds][:, None]
            fits &= asked <= getattr(drawn, f"node_{name}")[row]
        assert fits.any(1).all()


def test_spreads_of_zero_keep_the_mix():
    alike = RelativesConfig(
        num_nodes=60, num_tasks=900, weight_spread=0.0, kind_spread=0.0, spec_probability=0.0
    )
    drawn = RelativeLists(TRACE, alike).draw(1, np.random.default_rng(0))
    kinds = drawn.arrivals[0][drawn.arrivals[0] != NO_TASK]
    share = np.bincount(kinds, minlength=30) / len(kinds)
    np.testing.assert_allclose(share, TRACE.counts / TRACE.counts.sum(), atol=0.06)
    assert drawn.type_allowed.all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"active_nodes": 7}, "active_nodes must lie in 1 .. num_nodes=6, not 7"),
        ({"active_tasks": 0}, "active_tasks"),
        ({"active_models": 0}, "active_models"),
        ({"demand_ratio": -1.0}, "demand_ratio"),
        ({"kind_spread": -0.1}, "spreads"),
        ({"spec_probability": 1.5}, "spec_probability"),
    ],
)
def test_stages_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        replace(FEW, **wrong)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("node_cpu", [[-1, 5]], "node_cpu holds negative"),
        ("node_cpu", [[1.5, 2.0]], "node_cpu must hold whole numbers"),
        ("node_gpus", [[9, 1]], "at most 8"),
        ("node_gpus", [[0, 0]], "0 everywhere"),
        ("type_gpus", [[2]], "a task of several GPUs takes 1000 of each"),
        ("node_active", [[True, False]], "switched off has capacity"),
        ("arrivals", [[1, 0]], "beyond the 1"),
        ("arrivals", [[-1, 0]], "goes on after a -1"),
        ("type_cpu", [[1, 2]], "type_cpu has shape"),
        ("typical", [[0]], "typical must sum to 1"),
        ("typical", [[250_001]], "scale them down"),
    ],
)
def test_episodes_that_make_no_sense_are_refused(name, value, message):
    fine = make_scenarios([(9, 9, 1, 0), (9, 9, 2, 0)], [(1, 1, 1, 500, None)], [0, 0])
    with pytest.raises(ScenarioError, match=message):
        replace(fine, **{name: np.asarray(value)})


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not here")
def test_published_list():
    trace = load_cluster_trace(locate_traces())
    assert (count_typical(trace.types, trace.counts) > 0).sum() == 35
    drawn = InflatedList(trace, num_tasks=11_100).draw(1, np.random.default_rng(42))
    tasks = drawn.arrivals[0][drawn.arrivals[0] != NO_TASK]
    asked = trace.types.demand[tasks].sum() / trace.nodes.gpu_milli
    assert 1.3 - 8000 / trace.nodes.gpu_milli < asked <= 1.3
