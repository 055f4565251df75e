"""The value of a node is what its definition says, and so is the choice made by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.cluster_trace import ClusterTrace, NodeTable, TaskTypes
from rl.domains.cluster import Nodes, Task
from rl.domains.cluster_experts import EXPERTS
from rl.domains.cluster_simulator import LOST, simulate
from rl.domains.cluster_value import ClusterPrices, ClusterValue
from rl.evaluation.bounds import BoundError
from rl.evaluation.cluster_prices import find_cluster_prices
from tests.clusters import TRACE, draw_small, make_scenarios
from utils.errors import ConfigError

PRICES = ClusterPrices(
    models=("a", "b"),
    cpu=(4000.0, 3000.0, 8000.0, 9000.0, 2000.0),
    gpus=(1, 1, 1, 2, 0),
    milli=(1000, 470, 310, 1000, 0),
    count=(3, 5, 2, 1, 4),
    allowed=((True, True), (True, False), (True, True), (True, True), (True, True)),
    worth=(900.0, 480.0, 250.0, 2500.0, 0.0),
    cpu_price=(0.0, 0.03, 0.1),
    largest_cpu=96_000.0,
    largest_memory=1e6,
)
WEIGHTS = np.asarray([0.1, -0.02], np.float32)
RESTS = (1000, 820, 530, 400, 60, 0)


def most_earned(rests, model, price):
    """The best filling of GPUs by trying all, CPU paid for at a price."""

    def gain(task):
        return PRICES.worth[task] - price * PRICES.cpu[task]

    def fill(room):
        singles = [t for t in (0, 1, 2) if PRICES.allowed[t][model] and gain(t) > 0]
        grains = {t: -(-PRICES.milli[t] // 10) for t in singles}
        return max(
            [gain(t) + fill(room - grains[t]) for t in singles if grains[t] <= room], default=0.0
        )

    idle = sum(rest == 1000 for rest in rests)
    beyond = max(0.0, gain(3) - 2 * fill(100))
    return sum(fill(rest // 10) for rest in rests) + beyond * (idle // 2)


def worth(cpu, rests, model):
    relaxed = min(most_earned(rests, model, price) + price * cpu for price in PRICES.cpu_price)
    unusable = 0.0
    for task, count in zip((0, 1, 2, 3), (3, 5, 2, 1), strict=True):
        milli, gpus = PRICES.milli[task], PRICES.gpus[task]
        room = sum(rest // 10 * 10 // milli for rest in rests)
        if gpus > 1:
            room = sum(rest == 1000 for rest in rests) // gpus
        used = milli * gpus * min(room, cpu // PRICES.cpu[task])
        unusable += count / 11 * (sum(rests) - used)
    weights = WEIGHTS.astype(float)
    return weights[0] * relaxed + weights[1] * unusable


def score_slowly(cpu, rests, model, task):
    """Score and GPU, from the definition."""
    need, gpus, milli = task
    before = worth(cpu, rests, model)
    if gpus == 1 and milli < 1000:
        found = []
        for device, rest in enumerate(rests):
            if rest >= milli:
                after = [*rests]
                after[device] -= milli
                found.append((np.floor(worth(cpu - need, after, model) - before + 1e-9), -device))
        score, device = max(found)
        return score, -device
    after, left = [], gpus
    for rest in rests:
        takes = left > 0 and rest == 1000
        after.append(0 if takes else rest)
        left -= takes
    return np.floor(worth(cpu - need, after, model) - before + 1e-9), None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 20_000),
            st.lists(st.sampled_from(RESTS), min_size=1, max_size=8),
            st.integers(0, 1),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([(500, 0, 0), (3000, 1, 1000), (3000, 1, 470), (100, 1, 55), (9000, 2, 1000)]),
)
def test_scores_are_those_of_the_definition(states, task):
    need, gpus, milli = task
    fitting = [
        (cpu, rests, model)
        for cpu, rests, model in states
        if cpu >= need and sum(rest >= max(milli, 1) for rest in rests) >= gpus
    ]
    devices = np.zeros((len(fitting), 8), np.int64)
    for row, (_, rests, _) in enumerate(fitting):
        devices[row, : len(rests)] = rests
    nodes = Nodes(
        cpu=np.asarray([cpu for cpu, _, _ in fitting], np.int64),
        memory=np.zeros(len(fitting)),
        devices=devices,
    )
    request = Task(
        cpu=np.asarray([need]),
        memory=np.asarray([0]),
        gpus=np.asarray([gpus]),
        milli=np.asarray([milli]),
        accepted=True,
    )
    models = np.asarray([model for _, _, model in fitting], np.int64)
    score, device = ClusterValue(PRICES, WEIGHTS).score(nodes, request, models)
    for row, state in enumerate(fitting):
        wanted, gpu = score_slowly(*state, task)
        assert score[row] == wanted
        assert gpu is None or device[row] == gpu


def test_a_task_goes_where_it_spoils_least():
    # One GPU has room for exactly the task, the other is idle; both nodes are alike otherwise.
    scenarios = make_scenarios(
        [(64_000, 1000, 2, 0)],
        [(1000, 1, 1, 530, None), (1000, 1, 1, 470, None)],
        [0, 1, 0, 1],
    )
    prices = replace(
        PRICES,
        models=("a",),
        cpu=(1000.0, 1000.0),
        gpus=(1, 1),
        milli=(530, 470),
        count=(1, 1),
        allowed=((True,), (True,)),
        worth=(530.0, 470.0),
    )
    value = ClusterValue(prices, WEIGHTS)
    placed = simulate(scenarios, EXPERTS["fgd"], np.random.default_rng(0), value=value)
    assert placed.device.tolist() == [0, 0, 1, 1]
    assert placed.allocated[-1] == 2000


def test_value_fills_small_clusters_better_than_chance():
    value = ClusterValue(find_cluster_prices(TRACE), np.asarray([1 / 13.3, -0.09 / 13.3]))
    scenarios = draw_small(6, 1)
    ours, chance = (
        [
            simulate(
                scenarios, EXPERTS["random"], np.random.default_rng(e), episode=e, value=rule
            ).allocated[-1]
            for e in range(6)
        ]
        for rule in (value, None)
    )
    assert np.mean(ours) > np.mean(chance)


def trace_of(nodes, tasks, counts):
    """Nodes (cpu, gpus) of one model, tasks (cpu, gpus, milli)."""
    cpu, gpus = np.asarray(nodes).T
    need, many, milli = np.asarray(tasks).T
    return ClusterTrace(
        nodes=NodeTable(
            cpu_milli=cpu,
            memory_mib=np.full(len(cpu), 1000),
            num_gpus=gpus,
            model=np.zeros(len(cpu), np.int64),
            models=("a",),
        ),
        types=TaskTypes(
            cpu_milli=need,
            memory_mib=np.ones(len(need), np.int64),
            num_gpus=many,
            gpu_milli=milli,
            allowed=np.ones((len(need), 1), bool),
        ),
        tasks=np.repeat(np.arange(len(counts)), counts),
    )


def test_prices_of_a_mix_that_fits_together_are_its_sizes():
    trace = trace_of([(8000, 2)], [(100, 1, 530), (100, 1, 470)], [5, 5])
    worth = find_cluster_prices(trace).worth
    assert sum(worth) == pytest.approx(1000.0)


def test_a_task_that_leaves_half_a_gpu_useless_costs_a_whole_one():
    # 600 and 700 never share a GPU, so each costs one, as the whole one does.
    trace = trace_of([(8000, 4)], [(100, 1, 600), (100, 1, 700), (100, 1, 1000)], [1, 1, 1])
    assert np.ptp(find_cluster_prices(trace).worth) == pytest.approx(0.0, abs=1e-6)


def test_where_cpu_is_short_it_is_what_costs():
    trace = trace_of([(4000, 8)], [(4000, 1, 100), (1000, 1, 100)], [1, 1])
    big, small = find_cluster_prices(trace).worth
    assert big == pytest.approx(4 * small)


def test_a_mix_that_no_node_can_serve_is_refused():
    with pytest.raises(BoundError, match="fit an empty node"):
        find_cluster_prices(trace_of([(4000, 1)], [(9000, 1, 500)], [1]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gpus", (1, 1)),
        ("worth", (900.0, float("nan"), 1.0, 1.0, 1.0)),
        ("cpu_price", ()),
        ("milli", (1000, 470, 310, 1001, 0)),
        ("gpus", (1, 1, 1, 9, 0)),
        ("count", (0, 0, 0, 0, 0)),
        ("allowed", ((True,),) * 5),
    ],
)
def test_prices_that_make_no_sense_are_refused(field, value):
    with pytest.raises(ConfigError):
        replace(PRICES, **{field: value})


def test_a_typical_task_without_cpu_has_room_on_nodes_whose_cpu_is_gone():
    value = ClusterValue(replace(PRICES, cpu=(4000.0, 0.0, 8000.0, 9000.0, 2000.0)), WEIGHTS)
    nodes = Nodes(
        cpu=np.asarray([0, 0]), memory=np.asarray([9e5, 9e5]), devices=np.asarray([RESTS] * 2)
    )
    worth = value.worth(nodes, np.asarray([0, 1]))
    need, gpus, milli = (np.asarray([one]) for one in (0, 1, 470))
    task = Task(cpu=need, memory=np.asarray([0]), gpus=gpus, milli=milli, accepted=True)
    score, device = value.score(nodes, task, np.asarray([0, 1]))
    assert np.isfinite(worth).all()
    assert np.isfinite(score).all()
    assert worth[0] > worth[1]  # only on the first model may the task run
    assert set(device) <= {0, 1, 2}


def test_weights_must_fit():
    with pytest.raises(ConfigError, match="features"):
        ClusterValue(PRICES, np.ones(3))


def test_the_value_never_places_where_a_task_does_not_fit():
    value = ClusterValue(find_cluster_prices(TRACE), WEIGHTS)
    scenarios = draw_small(4, 5)
    for episode in range(4):
        rng = np.random.default_rng(0)
        placed = simulate(scenarios, EXPERTS["fgd"], rng, episode=episode, value=value)
        rows = {name: array[episode] for name, array in vars(scenarios).items()}
        kinds = rows["arrivals"][: len(placed.node)]
        for what in ("cpu", "memory"):
            used = np.zeros(len(rows["node_cpu"]))
            taken = placed.node != LOST
            np.add.at(used, placed.node[taken], rows[f"type_{what}"][kinds[taken]])
            assert (used <= rows[f"node_{what}"]).all()


@pytest.mark.parametrize("task", [(500, 0, 0), (3000, 1, 470), (9000, 2, 1000)])
def test_many_nodes_are_scored_as_they_are_one_by_one(task):
    generator = np.random.default_rng(3)
    kinds = generator.integers(0, 7, 90)
    devices = np.full((7, 8), 1000)
    devices[:, 2:] = 10 * generator.integers(0, 101, (7, 6))
    nodes = Nodes(
        cpu=(9000 + 700 * (kinds // 3)).astype(np.int64),
        memory=np.zeros(90),
        devices=devices[kinds],
    )
    need, gpus, milli = (np.asarray([one]) for one in task)
    request = Task(cpu=need, memory=np.asarray([0]), gpus=gpus, milli=milli, accepted=True)
    models, value = kinds % 2, ClusterValue(PRICES, WEIGHTS)
    together = value.score(nodes, request, models)
    for node in range(90):
        one = slice(node, node + 1)
        alone = Nodes(cpu=nodes.cpu[one], memory=nodes.memory[one], devices=nodes.devices[one])
        found = value.score(alone, request, models[one])
        assert [part[0] for part in found] == [part[node] for part in together]
