"""The neural value of nodes: what it sees, what it learns from, and that it does learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from benchmarks.neural_node_value import (
    DENSE,
    SCALE,
    NeuralValue,
    NodeNetwork,
    describe,
    list_afterstates,
    take,
)
from benchmarks.neural_placement import RULES, Shuffles, Size, main
from benchmarks.neural_placement_learning import fit_changes, fit_outcomes, follow, watch
from benchmarks.placement_runs import SEEDS, Timed, play, weights
from data.cluster_trace import GPU_MILLI, make_cluster_trace
from rl.domains.cluster import Nodes, Task
from rl.domains.cluster_experts import EXPERTS
from rl.domains.cluster_presets import cluster_scheduling
from rl.domains.cluster_simulator import LOST, ClusterSimulator
from rl.domains.cluster_value import ClusterValue
from rl.evaluation.cluster_prices import find_cluster_prices
from utils.seeding import make_generator

TRACE = make_cluster_trace(num_nodes=40, num_types=20)
SOURCE = cluster_scheduling(TRACE).source
MODELS = len(TRACE.nodes.models)
TASKS = ((3000, 20_000, 1, 300), (3000, 20_000, 1, 1000), (8000, 50_000, 2, 1000), (500, 9, 0, 0))


def draw_nodes(count, seed=0):
    generator = np.random.default_rng(seed)
    devices = generator.choice([0, 300, 310, 450, 1000], size=(count, 8)).astype(np.int32)
    devices[:, :2] = GPU_MILLI
    nodes = Nodes(
        cpu=generator.integers(9000, 96_000, count),
        memory=generator.integers(60_000, 500_000, count),
        devices=devices,
    )
    return nodes, generator.integers(0, MODELS, count)


def ask(cpu, memory, gpus, milli):
    return Task(
        **{
            name: np.asarray([amount])
            for name, amount in zip(
                ("cpu", "memory", "gpus", "milli"), (cpu, memory, gpus, milli), strict=True
            )
        },
        accepted=np.asarray([True]),
    )


def make_network(seed=0):
    torch.manual_seed(seed)
    return NodeNetwork(MODELS)


@pytest.fixture(scope="module")
def teacher():
    return ClusterValue(find_cluster_prices(TRACE), weights())


@pytest.mark.parametrize("task", TASKS)
def test_the_teachers_score_is_the_fall_of_its_worth(teacher, task):
    nodes, model = draw_nodes(12)
    after, node, device = list_afterstates(nodes, ask(*task))
    gain = np.floor(teacher.worth(after, model[node]) - teacher.worth(nodes, model)[node] + 1e-9)
    table = np.full((12, 8), -np.inf)
    table[node, device] = gain
    score, best = teacher.score(nodes, ask(*task), model)
    np.testing.assert_array_equal(table.max(1), score)
    np.testing.assert_array_equal(table.argmax(1), best)


def test_numpy_and_torch_say_the_same():
    nodes, model = draw_nodes(30)
    network, other = make_network(), make_network(1)
    with torch.no_grad():
        ours, theirs = (
            SCALE * one(*describe(nodes, model).tensors()).numpy() for one in (network, other)
        )
    value = NeuralValue([(0.75, network), (0.25, other)])
    np.testing.assert_allclose(value.worth(nodes, model), 0.75 * ours + 0.25 * theirs, atol=2e-3)
    assert describe(nodes, model).dense.shape == (30, DENSE)


def test_the_order_of_gpus_does_not_matter_and_all_else_does():
    nodes, model = draw_nodes(30)
    value = NeuralValue([(1.0, make_network())])
    turned = Nodes(cpu=nodes.cpu, memory=nodes.memory, devices=nodes.devices[:, ::-1])
    worth = value.worth(nodes, model)
    np.testing.assert_array_equal(value.worth(turned, model), worth)
    for other, of in (
        (Nodes(cpu=nodes.cpu // 2, memory=nodes.memory, devices=nodes.devices), model),
        (Nodes(cpu=nodes.cpu, memory=nodes.memory // 9, devices=nodes.devices), model),
        (nodes, (model + 1) % MODELS),
    ):
        assert (value.worth(other, of) != worth).all()


@pytest.mark.parametrize("task", TASKS)
def test_many_nodes_score_as_each_alone_does(task):
    nodes, model = draw_nodes(60)
    all_nodes = take(nodes, np.tile(np.arange(60), 4))
    all_nodes.cpu[60:120] -= 900
    all_nodes.memory[120:180] -= 9000
    models = np.tile(model, 4)
    models[180:] = (model + 1) % MODELS
    network = make_network()
    with torch.no_grad():
        network.last.weight *= 1e4
    value = NeuralValue([(1.0, network)])
    score, device = value.score(all_nodes, ask(*task), models)
    for one in range(240):
        alone, gpu = value.score(take(all_nodes, np.asarray([one])), ask(*task), models[[one]])
        assert alone[0] == pytest.approx(score[one], abs=1.0)
        assert gpu[0] == device[one]
        assert all_nodes.devices[one, device[one]] >= task[3]
    again, _ = value.score(take(nodes, np.r_[:60, :60]), ask(*task), np.tile(model, 2))
    np.testing.assert_array_equal(again[:60], again[60:])


def test_a_replay_ends_where_the_simulator_does(teacher):
    scenarios = SOURCE.draw(1, make_generator(3, "list"))
    simulator = ClusterSimulator(scenarios, 0, EXPERTS["fgd"], teacher)
    placed = simulator.run(make_generator(0, "rule"))
    fates = follow(scenarios, placed)
    left = simulator.nodes.devices.sum(1)
    count = int((placed.node != LOST).sum())
    assert len(fates.lost) == len(left) + count
    np.testing.assert_array_equal(fates.lost[: len(left)], left)
    np.testing.assert_array_equal(fates.lost[len(left) :], left[placed.node[placed.node != LOST]])
    last = {int(node): row for row, node in enumerate(placed.node[placed.node != LOST], len(left))}
    for node, row in last.items():
        for name in ("cpu", "memory", "devices"):
            found = getattr(fates.states.nodes, name)[row]
            np.testing.assert_array_equal(found, getattr(simulator.nodes, name)[node])


def test_it_learns_what_the_teacher_says_of_lists_it_has_not_seen(teacher):
    lists = [SOURCE.draw(1, make_generator(seed, "list")) for seed in (1, 2)]
    seen, unseen = (watch([one], teacher, teacher, make_generator(0, "watch")) for one in lists)
    network = make_network()
    fit_changes(network, seen, 200, make_generator(0, "fit"))
    value = NeuralValue([(1.0, network)])
    found = [value.worth(part.nodes, part.model) for part in (unseen.after, unseen.before)]
    error = np.sqrt(np.mean((found[0] - found[1] - unseen.change) ** 2))
    assert error < 0.35 * unseen.change.std()


def test_it_learns_what_nodes_lose(teacher):
    lists = [SOURCE.draw(1, make_generator(seed, "list")) for seed in (1, 2)]
    seen, unseen = (follow(one, play(one, teacher)) for one in lists)
    network = make_network()
    fit_outcomes(network, [seen], 400, make_generator(0, "fit"))
    found = -13.3 * NeuralValue([(1.0, network)]).worth(unseen.states.nodes, unseen.states.model)
    assert np.corrcoef(found, unseen.lost)[0, 1] > 0.5


def test_no_shuffle_is_seen_twice_nor_judged():
    shuffles, size = Shuffles(SOURCE), Size()
    first, second = shuffles.next(3), shuffles.next(2)
    assert len({one.arrivals.tobytes() for one in first + second}) == 5
    assert not set(shuffles.used) & set(size.seeds)
    assert size.seeds == SEEDS == tuple(range(42, 52))


def test_watching_the_clock_changes_nothing(teacher):
    scenarios = SOURCE.draw(1, make_generator(1, "list"))
    timed = Timed(teacher)
    np.testing.assert_array_equal(play(scenarios, timed).node, play(scenarios, teacher).node)
    assert timed.seconds


def test_the_benchmark_runs_small(tmp_path):
    path = tmp_path / "neural.json"
    assert main(["--smoke", "--output", str(path)]) == 0
    report = json.loads(path.read_text())
    assert set(report["percent"]) == set(RULES)
    assert all(0 < one <= 100 for found in report["percent"].values() for one in found)
    assert not set(report["training_shuffles"]) & set(report["seeds"])
    ours, theirs = (np.asarray(report["percent"][rule]) for rule in ("sum", "value"))
    assert report["gain_over_value"]["sum"]["mean"] == pytest.approx(
        np.mean(ours - theirs), abs=2e-3
    )
    assert report["share"] == float(max(report["tried"], key=report["tried"].get))
