"""The batched cluster: conservation, masks, the simulator's placements, stages switched off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test

from data.cluster_tasks import NO_TASK
from data.scenario import BankConfig, ScenarioBank
from rl.domains.cluster import ClusterDomain, ClusterView, DeviceRule, Nodes, Task
from rl.domains.cluster_experts import EXPERTS, place
from rl.domains.cluster_presets import cluster_scheduling, small_cluster
from rl.domains.cluster_simulator import LOST, simulate
from rl.environments.cluster_scheduling_environment import (
    BatchedClusterScheduling,
    ClusterSchedulingEnvironment,
)
from rl.environments.conformance import check_environment
from rl.environments.gymnasium_faces import SingleAgentEnvironment
from rl.environments.lockstep import LockstepOptions
from tests.clusters import FEW, TRACE, bank_of, config_of, draw_small, make_scenarios
from utils.errors import ConfigError

seeds = st.integers(0, 2**32 - 1)
FULLEST_RULES = ("first_fit", "dot_product", "clustering", "packing", "best_fit")


def make_environment(relatives=FEW, *, num_envs=3, seed=0, shuffle=False, episodes=None, **rules):
    preset = small_cluster(TRACE, relatives)
    bank = ScenarioBank(preset.source, BankConfig(num_episodes=episodes or num_envs), seed)
    options = LockstepOptions(num_envs=num_envs, shuffle=shuffle)
    return BatchedClusterScheduling(replace(preset.config, **rules), bank, options, seed)


def make_by_hand(scenarios, **rules):
    options = LockstepOptions(num_envs=1, shuffle=False)
    return BatchedClusterScheduling(config_of(scenarios, **rules), bank_of(scenarios), options, 0)


def as_numpy(view):
    def convert(record):
        return {
            name: value.numpy() if isinstance(value, torch.Tensor) else convert(value)
            for name, value in vars(record).items()
        }

    known = convert(view)
    return ClusterView(**{**known, "nodes": Nodes(**known["nodes"]), "task": Task(**known["task"])})


def random_choice(record, generator):
    allowed = record.action_mask[:, 0].float()
    return torch.multinomial(allowed, 1, generator=generator)


def play_expert(environment, name):
    """One episode; the chosen nodes `[env, time]`, lost as -1, and the sums of the metrics."""
    record, config, chosen, sums = environment.reset(0), environment.config, [], {}
    for _ in range(config.num_tasks):
        has_task = environment.has_task.numpy()
        node = place(as_numpy(environment.view), EXPERTS[name], config)
        chosen.append(np.where(has_task & (node < config.num_nodes), node, LOST))
        record = environment.step(torch.as_tensor(node)[:, None])
        for key, value in record.metrics.items():
            sums[key] = sums.get(key, 0.0) + value.double().numpy()
    assert record.truncated.all()
    return np.stack(chosen, 1), sums


def keeps_its_books(environment, record):
    state, rows = environment.state, environment.rows
    whole = 1000.0 * (torch.arange(8) < rows["node_gpus"][..., None])
    assert (state.cpu >= 0).all()
    assert (state.memory >= 0).all()
    assert ((state.devices >= 0) & (state.devices <= whole)).all()
    assert (state.cpu <= rows["node_cpu"]).all()
    if record.metrics and not record.truncated.any():
        used = 1 - state.devices.sum((1, 2)) / whole.sum((1, 2))
        torch.testing.assert_close(record.metrics["gpu_utilisation"], used, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rules", [{}, {"may_decline": True, "device_rule": DeviceRule.FULLEST}])
def test_examiner(rules):
    few = replace(FEW, num_tasks=30, active_tasks=24)
    check_environment(
        lambda: make_environment(few, episodes=8, shuffle=True, **rules),
        num_steps=70,
        max_steps=30,
        invariants=(keeps_its_books,),
    )


def test_gymnasium_checker():
    environment = SingleAgentEnvironment(make_environment(num_envs=1, episodes=8))
    check_env(environment, skip_render_check=True)


def test_pettingzoo_checker():
    preset = small_cluster(TRACE, FEW)
    bank = ScenarioBank(preset.source, BankConfig(num_episodes=4), 0)
    face = ClusterSchedulingEnvironment(preset.config, bank)
    parallel_api_test(face, num_cycles=60)
    assert face.possible_agents == ["scheduler"]


def test_the_face_shows_the_charts():
    preset = small_cluster(TRACE, FEW)
    bank = ScenarioBank(preset.source, BankConfig(num_episodes=1), 0)
    face = ClusterSchedulingEnvironment(preset.config, bank, render_mode="ansi")
    _, infos = face.reset(0)
    face.step({"scheduler": int(infos["scheduler"]["action_mask"].argmax())})
    assert "gpu_utilisation" in face.render()


@pytest.mark.parametrize("name", ["fgd", *FULLEST_RULES])
def test_experts_place_as_in_the_simulator(name):
    environment = make_environment(device_rule=EXPERTS[name].device)
    chosen, sums = play_expert(environment, name)
    for episode, nodes in enumerate(chosen):
        placed = simulate(
            environment.bank.scenarios, EXPERTS[name], np.random.default_rng(0), episode=episode
        )
        assert nodes[: len(placed.node)].tolist() == placed.node.tolist()
        assert (nodes[len(placed.node) :] == LOST).all()
        share = 100 * placed.allocated[-1] / placed.capacity
        assert sums["allocated_gpu_percent"][episode] == pytest.approx(share, abs=1e-4)
        assert sums["lost_tasks"][episode] == (placed.node == LOST).sum()


def test_a_whole_list_of_a_larger_cluster():
    preset = cluster_scheduling(TRACE, num_tasks=640)
    bank = ScenarioBank(preset.source, BankConfig(num_episodes=1), 0)
    options = LockstepOptions(num_envs=1, shuffle=False)
    environment = BatchedClusterScheduling(preset.config, bank, options, 0)
    chosen, _ = play_expert(environment, "fgd")
    placed = simulate(bank.scenarios, EXPERTS["fgd"], np.random.default_rng(0))
    assert chosen[0, : len(placed.node)].tolist() == placed.node.tolist()


@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_free_plus_used_is_the_capacity(seed):
    """The books kept from actions alone, node by node, against the state."""
    environment = make_environment(num_envs=4, seed=seed % 101)
    generator = torch.Generator().manual_seed(seed)
    rows, record = environment.rows, environment.reset(0)
    rows = environment.rows
    cpu, memory = rows["node_cpu"].clone(), rows["node_memory"].clone()
    milli = 1000 * rows["node_gpus"].clone()
    for step in range(environment.config.num_tasks - 1):
        before, kinds = environment.state.devices, rows["arrivals"][:, step].long()
        action = random_choice(record, generator)
        record = environment.step(action)
        changed = before - environment.state.devices
        for copy, (node, kind) in enumerate(zip(action[:, 0], kinds, strict=True)):
            placed = kind != NO_TASK and node < environment.config.num_nodes
            gpus, part = (int(rows[f"type_{n}"][copy, kind]) for n in ("gpus", "milli"))
            expected = [float(part)] * gpus if placed else []
            assert changed[copy][changed[copy] != 0].tolist() == expected
            if placed:
                cpu[copy, node] -= rows["type_cpu"][copy, kind]
                memory[copy, node] -= rows["type_memory"][copy, kind]
                milli[copy, node] -= gpus * part
                assert (changed[copy, node] != 0).sum() == gpus
                assert (before[copy, node][changed[copy, node] == 1000] == 1000).all()
                model = rows["node_model"][copy, node]
                assert gpus == 0 or rows["type_allowed"][copy, kind, model]
        torch.testing.assert_close(environment.state.cpu, cpu.float(), rtol=0, atol=0)
        torch.testing.assert_close(environment.state.memory, memory.float(), rtol=0, atol=0)
        torch.testing.assert_close(environment.state.devices.sum(2), milli.float(), rtol=0, atol=0)


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_table_and_fragments_are_what_a_fresh_computation_gives(seed):
    environment = make_environment(num_envs=2, seed=seed % 101)
    generator = torch.Generator().manual_seed(seed)
    record = environment.reset(0)
    for _ in range(20):
        record = environment.step(random_choice(record, generator))
    state, rows = environment.state, environment._world
    nodes = Nodes(cpu=state.cpu, memory=state.memory, devices=state.devices)
    fresh = environment.domain.measure_fragments(nodes, rows.typical)
    torch.testing.assert_close(state.fragments, fresh, rtol=0, atol=0)
    for kind in range(environment.config.num_types):
        task = environment._tasks()
        task = Task(**{name: value[:, kind] for name, value in vars(task).items()})
        growth = environment.domain.grow_fragments(nodes, task, rows.typical)
        device = environment.domain.pick_device(nodes, task, growth / rows.total[:, None, None])
        best = growth.gather(2, device[..., None])[..., 0]
        fits = environment.domain.fits(nodes, task)
        assert (best == state.growth[:, kind])[fits].all()


ONE_OF_EACH = make_scenarios(
    nodes=[(8000, 99, 1, 0), (4000, 50, 2, 0), (0, 0, 0, 0)],
    types=[(1000, 1, 1, 600, None), (1000, 60, 2, 1000, None), (2000, 1, 1, 1000, None)],
    arrivals=[0, 1, 2, -1],
)


def test_one_episode_by_hand():
    """600 of 3000 milli, then nowhere (memory), then a whole GPU; then the list is over."""
    environment = make_by_hand(ONE_OF_EACH, fragmentation_weight=0.5)
    record = environment.reset(0)
    assert record.action_mask[0, 0].tolist() == [True, True, False, False]
    # Node 1 can host all three kinds, node 0 all but the pair.
    assert environment.state.fragments[0].tolist() == [1000, 0, 0]
    record = environment.step(torch.tensor([[0]]))
    terms = {name: float(value[0, 0]) for name, value in record.reward_terms.items()}
    # Of 400 milli left on node 0 no kind can use any: 3 x 400 instead of 1000 milli of counts.
    assert terms["allocated"] == pytest.approx(20.0)
    assert terms["fragmentation"] == pytest.approx(-0.5 * 100 * (1200 - 1000) / 3 / 3000)
    assert record.metrics["fragmentation_percent"][0] == pytest.approx(100 * 400 / 3000)
    assert record.metrics["cpu_utilisation"][0] == pytest.approx(1000 / 12_000)
    assert record.action_mask[0, 0].tolist() == [False, False, False, True]
    record = environment.step(torch.tensor([[3]]))
    assert record.metrics["lost_tasks"].tolist() == [1.0]
    assert record.metrics["lost_gpu_percent"][0] == pytest.approx(200 / 3)
    assert record.action_mask[0, 0].tolist() == [False, True, False, False]
    record = environment.step(torch.tensor([[1]]))
    assert record.metrics["gpu_utilisation"][0] == pytest.approx(1600 / 3000)
    assert record.agent_alive.tolist() == [[False]]
    record = environment.step(torch.tensor([[1]]))
    assert record.reward.tolist() == [[0.0]]
    assert record.metrics["lost_tasks"].tolist() == [0.0]
    assert record.truncated.tolist() == [True]


@pytest.mark.parametrize("choice", [2, 3])
def test_a_task_sent_where_it_does_not_fit_or_declined_is_lost(choice):
    environment = make_by_hand(ONE_OF_EACH, may_decline=True)
    before = environment.reset(0)
    assert before.action_mask[0, 0].tolist() == [True, True, False, True]
    record = environment.step(torch.tensor([[choice]]))
    assert record.metrics["lost_tasks"].tolist() == [1.0]
    assert record.reward.tolist() == [[0.0]]
    assert environment.state.devices.sum() == 3000


def test_a_node_that_is_switched_off_takes_not_even_a_task_that_needs_nothing():
    environment = make_by_hand(
        make_scenarios([(9, 9, 1, 0), (0, 0, 0, 0)], [(0, 0, 0, 0, None)], [0, 0])
    )
    assert environment.reset(0).action_mask[0, 0].tolist() == [True, False, False]
    record = environment.step(torch.tensor([[1]]))
    assert record.metrics["lost_tasks"].tolist() == [1.0]


def test_observation_by_hand():
    environment = make_by_hand(ONE_OF_EACH)
    seen = environment.reset(0).observation[0, 0]
    environment.step(torch.tensor([[1]]))
    node, off = seen[9:18], seen[18:27]
    growth = (400 + 1400 + 400) / 3
    best_fit = 1 - 0.5 * 3000 / 128_000 - 0.5 * 1400 / 8000
    expected = [4000 / 128_000, 50 / 1_048_576, 0.25, 0.25, 0, 0, 1]
    np.testing.assert_allclose(node[:7], expected, rtol=1e-6)
    assert node[7] == pytest.approx(1 / (1 + np.exp(growth / 1000)))
    assert node[8] == pytest.approx(best_fit)
    assert off.tolist() == [0.0] * 9
    task = [1000 / 128_000, 1 / 1_048_576, 1 / 8, 0.6, 2 / 3, 0.2, 0.0]
    np.testing.assert_allclose(seen[27:], task, rtol=1e-6)


def test_observation_equals_the_domain_on_numpy():
    environment = make_environment(num_envs=4)
    domain, generator = ClusterDomain(environment.config), torch.Generator().manual_seed(0)
    record = environment.reset(0)
    for _ in range(30):
        expected = domain.encode(as_numpy(environment.view))
        seen = record.observation[:, 0].numpy()
        np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-6)
        record = environment.step(random_choice(record, generator))


def test_trajectory_does_not_depend_on_the_batch():
    few, many = make_environment(num_envs=2, episodes=6), make_environment(num_envs=6)
    records = [one.reset(0) for one in (few, many)]
    generator = torch.Generator().manual_seed(1)
    for _ in range(45):
        action = random_choice(records[1], generator)
        records = [few.step(action[:2]), many.step(action)]
        small, large = records
        if small.truncated.any():
            break
        assert torch.equal(small.reward, large.reward[:2])
        assert torch.equal(small.observation, large.observation[:2])


@pytest.mark.parametrize(
    "stage", [{"active_nodes": 2}, {"active_tasks": 9}, {"active_models": 1}], ids=str
)
def test_what_a_stage_switches_off_is_out_of_the_world(stage):
    environment = make_environment(num_envs=4)
    smaller = small_cluster(TRACE, replace(FEW, **stage))
    whole = environment.reset(0).observation.shape
    bank = ScenarioBank(smaller.source, BankConfig(num_episodes=4), 0)
    record = environment.use_bank(bank, seed=0)
    generator = torch.Generator().manual_seed(0)
    active = environment.rows["node_active"]
    played = torch.zeros(4)
    for _ in range(environment.config.num_tasks - 1):
        assert record.observation.shape == whole
        assert not (record.action_mask[:, 0, :-1] & ~active).any()
        per_node = record.observation[:, 0, :-7].reshape(4, -1, 9)
        assert (per_node[~active] == 0).all()
        played += record.agent_alive[:, 0]
        dead = ~record.agent_alive[:, 0]
        record = environment.step(random_choice(record, generator))
        assert (record.reward[dead] == 0).all()
        assert (record.metrics["lost_tasks"][dead] == 0).all()
    if "active_tasks" in stage:
        assert played.tolist() == [9] * 4
    else:
        assert active.all() == ("active_nodes" not in stage)
    if "active_models" in stage:
        assert all(len(row.unique()) == 1 for row in environment.rows["node_model"])


def test_state_is_restored_with_its_scenarios():
    """A second world that has looked at other episodes continues the first one's."""
    first = make_environment(num_envs=2, episodes=8, shuffle=True)
    other = make_environment(num_envs=2, episodes=8, shuffle=True)
    generator = torch.Generator().manual_seed(0)
    record = first.reset(0)
    other.reset(7)
    for _ in range(10):
        record = first.step(random_choice(record, generator))
    other.load_state_dict(first.state_dict())
    assert torch.equal(other.view.growth, first.view.growth)
    action = random_choice(record, generator)
    assert torch.equal(first.step(action).observation, other.step(action).observation)


def test_a_bank_of_another_world_is_refused():
    preset = small_cluster(TRACE, FEW)
    bank = bank_of(draw_small(2, 0))
    with pytest.raises(ConfigError, match="take both from one preset"):
        BatchedClusterScheduling(
            replace(preset.config, num_nodes=7), bank, LockstepOptions(num_envs=1), 0
        )
