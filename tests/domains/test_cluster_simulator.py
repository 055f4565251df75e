"""The fast simulator places as a slow one does, keeps its books, and meets the published means."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.cluster_tasks import NO_TASK, InflatedList
from data.cluster_trace import load_cluster_trace
from data.traces import locate_traces
from rl.domains.cluster import ClusterDomain, ClusterView, DeviceRule, Nodes, Task, TypicalTasks
from rl.domains.cluster_experts import EXPERTS, place
from rl.domains.cluster_simulator import LOST, ClusterSimulator, simulate
from tests.clusters import config_of, draw_small, make_scenarios

PUBLISHED = {"random": ("01-Random", 1.5), "best_fit": ("05-BestFit", 0.8), "fgd": ("06-FGD", 0.8)}
"""Rule: its name in the file and how far one seed may be from the mean, in percent of all GPUs."""


def generator(seed=0):
    return np.random.default_rng(seed)


def place_slowly(scenarios, expert):
    """Every score of every node, anew for every task."""
    rows = {name: value[0] for name, value in vars(scenarios).items()}
    config = config_of(scenarios, device_rule=expert.device)
    domain = ClusterDomain(config)
    left = Nodes(
        cpu=rows["node_cpu"].copy(),
        memory=rows["node_memory"].copy(),
        devices=1000 * (np.arange(8) < rows["node_gpus"][:, None]),
    )
    holds = np.zeros((config.num_nodes, 9), np.int64)
    model_fits = rows["type_allowed"][:, rows["node_model"]] | (rows["type_gpus"] == 0)[:, None]
    typical = TypicalTasks(
        cpu=rows["type_cpu"],
        gpus=rows["type_gpus"],
        milli=rows["type_milli"],
        count=rows["typical"].astype(float),
        accepted=model_fits.T,
    )
    chosen = []
    for kind in rows["arrivals"][rows["arrivals"] != NO_TASK]:
        task = Task(
            **{n: rows[f"type_{n}"][kind, None] for n in ("cpu", "memory", "gpus", "milli")},
            accepted=model_fits[kind] & rows["node_active"],
        )
        growth = domain.grow_fragments(left, task, typical) / typical.total
        device = domain.pick_device(left, task, growth)
        view = ClusterView(
            nodes=left,
            holds=holds,
            task=task,
            fits=domain.fits(left, task),
            growth=np.take_along_axis(growth, device[:, None], 1)[:, 0],
            fragments=np.zeros(config.num_nodes),
            arrived=np.zeros(()),
            allocated=np.zeros(()),
        )
        node = int(place(view, expert, config))
        chosen.append(node if node < config.num_nodes else LOST)
        if node == config.num_nodes:
            continue
        after = domain.take(left, task, device)
        for name, values in vars(left).items():
            values[node] = getattr(after, name)[node]
        if task.gpus[0]:
            holds[node, 0 if task.milli[0] < 1000 else task.gpus[0]] += 1
    return chosen


@pytest.mark.parametrize("name", [name for name in EXPERTS if name != "random"])
def test_lazy_scores_are_fresh_scores(name):
    for seed in range(3):
        scenarios = draw_small(1, seed)
        placed = simulate(scenarios, EXPERTS[name], generator())
        assert placed.node.tolist() == place_slowly(scenarios, EXPERTS[name])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(sorted(EXPERTS)))
def test_nothing_is_created_and_nothing_taken_twice(seed, name):
    scenarios = draw_small(1, seed)
    rows = {field: value[0] for field, value in vars(scenarios).items()}
    simulator = ClusterSimulator(scenarios, 0, EXPERTS[name])
    placed = simulator.run(generator(seed))
    tasks = rows["arrivals"][rows["arrivals"] != NO_TASK]
    cpu, memory = np.zeros((2, len(rows["node_cpu"])), np.int64)
    gpus = np.zeros((len(cpu), 8), np.int64)
    whole = np.zeros(len(cpu), np.int64)
    for kind, node, device in zip(tasks, placed.node, placed.device, strict=True):
        if node == LOST:
            assert device == LOST
            continue
        number, milli = rows["type_gpus"][kind], rows["type_milli"][kind]
        assert rows["node_active"][node]
        assert number == 0 or rows["type_allowed"][kind, rows["node_model"][node]]
        cpu[node] += rows["type_cpu"][kind]
        memory[node] += rows["type_memory"][kind]
        assert (device != LOST) == (number == 1 and milli < 1000)
        if device != LOST:
            gpus[node, device] += milli
        elif number:
            whole[node] += number
    left = simulator.nodes
    np.testing.assert_array_equal(left.cpu + cpu, rows["node_cpu"])
    np.testing.assert_array_equal(left.memory + memory, rows["node_memory"])
    assert min(left.cpu.min(), left.memory.min(), left.devices.min()) >= 0
    used = 1000 * (np.arange(8) < rows["node_gpus"][:, None]) - left.devices
    taken_whole = (used == 1000) & (gpus == 0)
    np.testing.assert_array_equal(taken_whole.sum(1), whole)
    np.testing.assert_array_equal(np.where(taken_whole, 0, used), gpus)
    assert placed.allocated[-1] == used.sum()


def test_a_list_by_hand():
    """One GPU with 8 cores and two with 4: the pair looks in vain for two idle ones."""
    scenarios = make_scenarios(
        nodes=[(8000, 99, 1, 0), (4000, 99, 2, 0)],
        types=[(1000, 1, 1, 600, None), (1000, 1, 2, 1000, None), (5000, 1, 0, 0, None)],
        arrivals=[0, 0, 0, 1, 2, 2, -1],
    )
    placed = simulate(scenarios, EXPERTS["first_fit"], generator(), marks=(0.2, 2.0))
    assert placed.node.tolist() == [0, 1, 1, LOST, 0, LOST]
    assert placed.device.tolist() == [0, 0, 1, LOST, LOST, LOST]
    assert placed.arrived.tolist() == [600, 1200, 1800, 3800, 3800, 3800]
    assert placed.allocated.tolist() == [600, 1200, 1800, 1800, 1800, 1800]
    assert placed.allocation_at(0.5) == pytest.approx(1200 / 3000)
    assert placed.allocation_at(0.1) == 0.0
    assert placed.allocation_at(1.3) == pytest.approx(1800 / 3000)
    after_first = 3 * 400 + 0 + 0 + 2000
    assert placed.fragments.tolist() == [after_first / 3, 1200]


def test_gpu_models_are_respected():
    scenarios = make_scenarios(
        nodes=[(9000, 99, 1, 0), (9000, 99, 1, 1)],
        types=[(1000, 1, 1, 500, (1,)), (1000, 1, 0, 0, (1,))],
        arrivals=[0, 0, 0, 1],
    )
    placed = simulate(scenarios, EXPERTS["first_fit"], generator())
    assert placed.node.tolist() == [1, 1, LOST, 0]


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not here")
@pytest.mark.parametrize("name", PUBLISHED)
def test_one_published_run(name):
    folder = locate_traces()
    trace = load_cluster_trace(folder)
    scenarios = InflatedList(trace, num_tasks=11_100).draw(1, generator(42))
    placed = simulate(scenarios, EXPERTS[name], generator(42))
    with (folder / "published_openb_alloc_by_policy_seed.csv").open() as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["workload"] == "openb_pod_list_default"
            and row["sc_policy"] == PUBLISHED[name][0]
        ]
    mean = np.mean([float(row["130"]) for row in rows])
    assert len(rows) == 10
    assert 100 * placed.allocation_at(1.3) == pytest.approx(mean, abs=PUBLISHED[name][1])


def test_device_rules_differ():
    assert EXPERTS["fgd"].device is DeviceRule.FRAGMENTATION
    scenarios = draw_small(1, 5)
    nodes = {name: tuple(simulate(scenarios, EXPERTS[name], generator()).node) for name in EXPERTS}
    assert len(set(nodes.values())) >= 5


@pytest.mark.parametrize("name", [name for name in EXPERTS if name != "random"])
def test_equal_nodes_are_filled_one_after_the_other(name):
    # One type comes late; a node that is not there lies between equal ones.
    scenarios = make_scenarios(
        nodes=[(4000, 99, 2, 0)] * 5,
        types=[(1000, 1, 1, 600, None), (1500, 1, 0, 0, None), (1000, 1, 2, 1000, None)],
        arrivals=[0, 1, 0, 0, 1, 0, 2, 0, 1, 1, 2, 0, 0, 0, 0],
    )
    scenarios.node_active[0, 2] = False
    placed = simulate(scenarios, EXPERTS[name], generator())
    assert placed.node.tolist() == place_slowly(scenarios, EXPERTS[name])
    assert set(placed.node.tolist()) >= {0, 1, 3, 4}
    assert 2 not in placed.node
