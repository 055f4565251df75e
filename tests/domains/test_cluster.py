"""Every rule's score and fragmentation on nodes worked out by hand, and against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.domains.cluster import (
    ClusterConfig,
    ClusterDomain,
    ClusterView,
    DeviceRule,
    Nodes,
    Task,
    TypicalTasks,
    fgd_score,
)
from rl.domains.cluster_experts import EXPERTS, place
from utils.errors import ConfigError

CONFIG = ClusterConfig(num_nodes=1, num_types=1, num_models=1, num_tasks=1)
DOMAIN = ClusterDomain(CONFIG)
HALVES_AND_WHOLES = TypicalTasks(
    cpu=np.asarray([1000, 8000]),
    gpus=np.asarray([1, 1]),
    milli=np.asarray([500, 1000]),
    count=np.asarray([3.0, 1.0]),
    accepted=np.ones((1, 2), bool),
)


def devices(*left):
    return np.pad(np.asarray(left), (0, 8 - len(left)))


def one_node(cpu, *left, memory=10**6):
    return Nodes(cpu=np.asarray([cpu]), memory=np.asarray([memory]), devices=devices(*left)[None])


def request(cpu=1000, memory=0, gpus=1, milli=1000, accepted=(True,)):
    values = (np.asarray([one]) for one in (cpu, memory, gpus, milli))
    return Task(
        **dict(zip(("cpu", "memory", "gpus", "milli"), values, strict=True)),
        accepted=np.asarray(accepted),
    )


def look(nodes, task, holds=(), growth=0.0):
    kinds = np.zeros((1, 9), np.int64)
    kinds[0, list(holds)] = 1
    return ClusterView(
        nodes=nodes,
        holds=kinds,
        task=task,
        fits=DOMAIN.fits(nodes, task),
        growth=np.asarray([growth]),
        fragments=np.zeros(1),
        arrived=np.zeros(()),
        allocated=np.zeros(()),
    )


def score(name, nodes, task, **known):
    return float(np.ravel(EXPERTS[name].score(look(nodes, task, **known), CONFIG))[0])


def test_fragments_by_hand():
    """Halves cannot use the 400; wholes neither; with 7 cores wholes can use nothing."""
    before = DOMAIN.measure_fragments(one_node(10_000, 1000, 400), HALVES_AND_WHOLES)
    assert before.tolist() == [3 * 400 + 1 * 400]
    starved = DOMAIN.measure_fragments(one_node(7000, 1000, 400), HALVES_AND_WHOLES)
    assert starved.tolist() == [3 * 400 + 1 * 1400]


def test_growth_and_fgd_score_by_hand():
    """300 milli with 3 cores: on the idle GPU 175 more is lost, on the broken one 50 less."""
    nodes, task = one_node(10_000, 1000, 400), request(cpu=3000, milli=300)
    growth = DOMAIN.grow_fragments(nodes, task, HALVES_AND_WHOLES) / HALVES_AND_WHOLES.total
    assert growth[0, :2].tolist() == [(3 * 400 + 1100 - 1600) / 4, (3 * 100 + 1100 - 1600) / 4]
    assert fgd_score(growth)[0, :2].tolist() == [45.0, 51.0]
    assert DOMAIN.pick_device(nodes, task, growth).tolist() == [1]
    assert score("fgd", nodes, task, growth=-50.0) == 51.0
    assert score("fgd", nodes, task, growth=0.0) == 50.0
    assert score("fgd", nodes, task, growth=0.001) == 49.0


def test_whole_gpus_and_tasks_without_gpu_by_hand():
    nodes = one_node(10_000, 1000, 400, 1000)
    whole = DOMAIN.grow_fragments(nodes, request(cpu=1000, gpus=2), HALVES_AND_WHOLES)
    assert set(whole.ravel()) == {(3 * 400 + 400) - (3 * 400 + 400)}
    cpu_only = DOMAIN.grow_fragments(nodes, request(cpu=9500, gpus=0, milli=0), HALVES_AND_WHOLES)
    assert set(cpu_only.ravel()) == {4 * 2400 - 4 * 400}


def test_a_fraction_that_takes_the_last_idle_gpu_of_a_pair_by_hand():
    pairs = TypicalTasks(
        **{**vars(HALVES_AND_WHOLES), "gpus": np.asarray([2, 2]), "milli": np.asarray([1000, 1000])}
    )
    for left, growth in (((1000, 1000), 1700), ((1000, 1000, 1000), 700)):
        grown = DOMAIN.grow_fragments(one_node(20_000, *left), request(milli=300), pairs)
        assert grown[0, 0] == pairs.total * growth


def test_typical_tasks_without_gpu_and_of_other_models_can_use_nothing():
    for change in ({"gpus": np.asarray([1, 0])}, {"accepted": np.asarray([[True, False]])}):
        typical = TypicalTasks(**{**vars(HALVES_AND_WHOLES), **change})
        amount = DOMAIN.measure_fragments(one_node(10_000, 1000, 400), typical)
        assert amount.tolist() == [3 * 400 + 1400]


def test_best_fit_by_hand():
    """52 of 128 cores and 1500 of 8000 milli stay free: 100 (1 - .203 - .094)."""
    nodes = one_node(64_000, 1000, 1000)
    assert score("best_fit", nodes, request(cpu=12_000, milli=500)) == 70.0
    assert score("best_fit", one_node(12_000, 500), request(cpu=12_000, milli=500)) == 100.0


def test_dot_product_by_hand():
    """.5 x .09375 + .25 x .0625 = .0625, of which half is taken off one."""
    assert score("dot_product", one_node(64_000, 1000, 1000), request(12_000, milli=500)) == 96.0


@pytest.mark.parametrize(
    ("left", "holds", "task", "expected"),
    [
        ((700, 1000), (0,), request(milli=500), 100 - 7),
        ((700, 550), (0,), request(milli=500), 100 - 5),
        ((400, 1000), (0,), request(milli=500), 50 - 1),
        ((0, 1000, 1000), (1,), request(gpus=2), 50 - 2),
        ((1000, 1000), (), request(milli=500), 33 - 2),
        ((1000,) * 8, (), request(gpus=8), 33 - 8),
        ((700, 1000), (0,), request(gpus=0, milli=0), 0),
    ],
)
def test_packing_by_hand(left, holds, task, expected):
    assert score("packing", one_node(50_000, *left), task, holds=holds) == expected


@pytest.mark.parametrize(
    ("holds", "task", "expected"),
    [
        ((0,), request(milli=500), 75 + 21),
        ((0, 1), request(milli=500), 50 + 21),
        ((), request(milli=500), 25 + 21),
        ((1,), request(milli=500), 21),
        ((1,), request(), 75 + 21),
        ((2,), request(gpus=0, milli=0), 0),
    ],
)
def test_clustering_by_hand(holds, task, expected):
    """1200 of 8000 milli are left: 25 x .85 = 21."""
    assert score("clustering", one_node(50_000, 1000, 200), task, holds=holds) == expected


@pytest.mark.parametrize(
    ("task", "fits"),
    [
        (request(cpu=8000, memory=500, milli=600), True),
        (request(cpu=8001), False),
        (request(memory=501), False),
        (request(milli=1000), True),
        (request(gpus=2), False),
        (request(milli=500, accepted=(False,)), False),
        (request(gpus=0, milli=0), True),
    ],
)
def test_what_fits(task, fits):
    assert DOMAIN.fits(one_node(8000, 1000, 600, memory=500), task).tolist() == [fits]


def test_devices_of_fractions_and_whole_tasks():
    nodes = one_node(9000, 700, 1000, 600, 600, 1000)
    fullest = ClusterDomain(
        ClusterConfig(num_nodes=1, num_types=1, num_models=1, device_rule=DeviceRule.FULLEST)
    )
    task = request(cpu=2000, memory=7, milli=550)
    device = fullest.pick_device(nodes, task, None)
    assert device.tolist() == [2]
    after = DOMAIN.take(nodes, task, device)
    assert after.devices[0, :5].tolist() == [700, 1000, 50, 600, 1000]
    assert (after.cpu[0], after.memory[0]) == (7000, 10**6 - 7)
    whole = DOMAIN.take(nodes, request(gpus=2), device)
    assert whole.devices[0, :5].tolist() == [700, 0, 600, 600, 0]
    nothing = DOMAIN.take(nodes, request(gpus=0, milli=0), device)
    assert (nothing.devices == nodes.devices).all()


def three_nodes(fits):
    nodes = Nodes(
        cpu=np.asarray([9000, 5000, 5000]),
        memory=np.asarray([9] * 3),
        devices=np.stack([devices(1000)] * 3),
    )
    view = look(one_node(9000, 1000), request())
    return ClusterView(
        **{
            **vars(view),
            "nodes": nodes,
            "fits": np.asarray(fits),
            "holds": np.zeros((3, 9), np.int64),
            "growth": np.asarray([10.0, -20.0, -900.0]),
        }
    )


@pytest.mark.parametrize(
    ("name", "fits", "chosen"),
    [
        ("first_fit", (True, True, True), 0),
        ("best_fit", (True, True, True), 1),
        ("fgd", (True, True, True), 2),
        ("fgd", (True, True, False), 1),
        ("best_fit", (False, False, False), 3),
        ("random", (False, False, True), 2),
    ],
)
def test_the_highest_score_that_fits_wins_and_the_first_of_equals(name, fits, chosen):
    config = ClusterConfig(num_nodes=3, num_types=1, num_models=1)
    view = three_nodes(fits)
    assert place(view, EXPERTS[name], config, np.random.default_rng(0)) == chosen


def test_random_draws_evenly():
    config = ClusterConfig(num_nodes=3, num_types=1, num_models=1)
    view, generator = three_nodes((True, False, True)), np.random.default_rng(0)
    drawn = [int(place(view, EXPERTS["random"], config, generator)) for _ in range(400)]
    assert set(drawn) == {0, 2}
    assert 150 < drawn.count(0) < 250


def define_fragments(cpu, left, kinds):
    """The definition, in a loop."""
    amount = 0
    for need_cpu, gpus, milli, count in kinds:
        enough = [one for one in left if one >= milli]
        hosts = gpus > 0 and cpu >= need_cpu and len(enough) >= gpus
        lost = sum(one for one in left if one < milli) if hosts else sum(left)
        amount += count * lost
    return amount


kind = st.one_of(
    st.tuples(st.integers(0, 9), st.just(1), st.integers(1, 1000), st.integers(0, 9)),
    st.tuples(st.integers(0, 9), st.integers(1, 3), st.just(1000), st.integers(0, 9)),
    st.tuples(st.integers(0, 9), st.just(0), st.just(0), st.integers(0, 9)),
)


@settings(max_examples=200, deadline=None)
@given(
    cpu=st.integers(4, 9),
    left=st.lists(st.sampled_from([0, 10, 190, 500, 999, 1000]), min_size=8, max_size=8),
    kinds=st.lists(kind, min_size=1, max_size=5),
    task=kind,
)
def test_fragments_and_their_growth_equal_the_definition(cpu, left, kinds, task):
    need_cpu, gpus, milli, _ = task
    columns = np.asarray(kinds).T
    typical = TypicalTasks(
        cpu=columns[0],
        gpus=columns[1],
        milli=columns[2],
        count=columns[3].astype(float),
        accepted=np.ones((1, len(kinds)), bool),
    )
    nodes, placed = one_node(cpu, *left), request(need_cpu, 0, gpus, milli)
    before = define_fragments(cpu, left, kinds)
    assert DOMAIN.measure_fragments(nodes, typical).tolist() == [before]
    if not DOMAIN.fits(nodes, placed)[0]:
        return
    growth = DOMAIN.grow_fragments(nodes, placed, typical)[0]
    for device in np.flatnonzero(np.asarray(left) >= milli):
        after = DOMAIN.take(nodes, placed, np.asarray([device]))
        expected = define_fragments(cpu - need_cpu, after.devices[0].tolist(), kinds) - before
        assert growth[device] == expected


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_nodes": 0}, "at least 1"),
        ({"fragmentation_weight": float("nan")}, "fragmentation_weight must be finite"),
        ({"largest_cpu": 0.0}, "largest_cpu"),
    ],
)
def test_worlds_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        ClusterConfig(**wrong)
