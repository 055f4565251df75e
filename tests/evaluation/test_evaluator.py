"""Playing gives the scores that paper gives, and every episode is played by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.domains.allocation_experts import EXPERTS, ExpertParameters
from rl.domains.resource_allocation import AllocationDomain
from rl.environments.resource_allocation_environment import (
    BatchedResourceAllocation,
    EnvironmentConfig,
)
from rl.evaluation.evaluator import (
    expert_decider,
    play,
    policy_decider,
    random_decider,
    record_play,
    score_play,
)
from rl.evaluation.players import rule_player


def greedy(config):
    return expert_decider(EXPERTS["greedy_value"], config, ExpertParameters())


def test_scores_worked_out_on_paper(tiny_world):
    config, scenarios = tiny_world
    halves = np.asarray([[0.5, 0.5]], np.float32)
    scores = play(config, scenarios, lambda _: halves)
    # Each step 5 units per service, and dear work takes 2: it serves 2.5, 2.5, 2.5 of 4, 3, 9;
    # 1.5 + 3 - 2.5 = 2 wait into step 2, which loses none of them; cheap serves 5, 5, 2.
    assert scores.served_value == pytest.approx([7.5 * 3 + 12 * 1])
    assert scores.holding_cost == pytest.approx([3 * 0.5])
    assert scores.kpi == pytest.approx([22.5 + 12 - 1.5])
    assert scores.lost_share == pytest.approx([2 / 30])
    assert scores.utilisation == pytest.approx([(12 + 15) / 30])
    served = np.asarray([12 / 14, 7.5 / 16])
    assert scores.fairness == pytest.approx([served.sum() ** 2 / (2 * (served**2).sum())])


def test_fairness_counts_only_services_that_were_asked(tiny_world):
    config, scenarios = tiny_world
    scenarios.demand[..., 1] = 0
    assert play(config, scenarios, lambda _: np.ones((1, 2), np.float32)).fairness == [1.0]
    scenarios.demand[...] = 0
    scores = play(config, scenarios, lambda _: np.ones((1, 2), np.float32))
    assert (scores.fairness, scores.lost_share) == ([1.0], [0.0])


def test_trace_adds_up_to_the_environments_own_figures(preset):
    config, scenarios = preset
    trace = record_play(config, scenarios, rule_player(random_decider(config, 4)))
    value = (trace.served_work * scenarios.priority[:, None]).sum(-1)
    assert value == pytest.approx(trace.served_value, rel=1e-4)
    domain = AllocationDomain(config)
    idle = trace.allocation - trace.served_work[..., None] * domain.usage
    cost = (idle * scenarios.price[:, None, None]).sum((-1, -2))
    assert trace.reward == pytest.approx(trace.served_value - cost, rel=1e-3, abs=1e-3)
    assert (trace.allocation.sum(2) <= scenarios.capacity * (1 + 1e-5)).all()


def test_episodes_do_not_touch_one_another(preset):
    config, scenarios = preset
    together = play(config, scenarios, greedy(config))
    for episode in (0, 5):
        alone = play(config, scenarios.take(np.asarray([episode])), greedy(config))
        assert alone.kpi == pytest.approx(together.kpi[[episode]], rel=1e-6)


def test_playing_twice_gives_the_same_bits(preset):
    config, scenarios = preset
    first, second = (play(config, scenarios, random_decider(config, 9)) for _ in range(2))
    assert np.array_equal(first.kpi, second.kpi)
    assert not np.array_equal(first.kpi, play(config, scenarios, random_decider(config, 8)).kpi)


def test_deciders_see_every_step_once_and_in_order(preset):
    config, scenarios = preset
    seen = []

    def decide(view):
        seen.append(view.time_of_day.copy())
        assert all(isinstance(values, np.ndarray) for values in vars(view).values())
        return np.zeros((scenarios.num_episodes, 8), np.float32)

    play(config, scenarios, decide)
    assert np.array_equal(np.stack(seen, axis=1), scenarios.time_of_day)


def test_demand_of_the_step_is_not_known_beforehand(preset):
    config, scenarios = preset
    newest = []

    def decide(view):
        newest.append(view.recent_demand[..., -1].copy())
        return np.zeros((scenarios.num_episodes, 8), np.float32)

    play(config, scenarios, decide)
    assert np.array_equal(newest[0], scenarios.history[:, -1])
    assert np.array_equal(newest[1], scenarios.demand[:, 0])


def test_a_policy_sees_the_encoded_view(preset):
    config, scenarios = preset
    shapes = []

    def act(observation):
        shapes.append(observation.shape)
        return np.full((len(observation), 8), 0.5, np.float32)

    trace = record_play(config, scenarios, rule_player(policy_decider(act, config)))
    assert set(shapes) == {(8, AllocationDomain(config).observation_size)}
    assert np.allclose(trace.allocation, scenarios.capacity[:, :, None] / 4, rtol=1e-5)


@pytest.mark.parametrize("action", ["shares", "coverage"])
def test_a_policy_earns_what_it_earns_in_training(preset, action):
    config, scenarios = preset
    bank = ScenarioBank(FixedSource(scenarios), BankConfig(num_episodes=8), seed=0)
    options = EnvironmentConfig(num_envs=8, shuffle=False, action=action)
    environment = BatchedResourceAllocation(config, bank, options, seed=0)
    size = environment.groups[0].action.size

    def act(observation):
        return np.abs(np.sin(observation[:, :size] * 5 + 1)).astype(np.float32)

    record, earned = environment.reset(), 0.0
    for _ in range(config.max_steps):
        chosen = act(record.observation[:, 0].numpy())
        record = environment.step(torch.from_numpy(chosen)[:, None])
        earned = earned + record.reward[:, 0].numpy()
    kpi = play(config, scenarios, policy_decider(act, config, action=action)).kpi
    assert kpi == pytest.approx(earned, rel=1e-4)


def test_play_is_record_and_score(preset):
    config, scenarios = preset
    trace = record_play(config, scenarios, rule_player(greedy(config)))
    assert np.array_equal(
        score_play(config, scenarios, trace).kpi, play(config, scenarios, greedy(config)).kpi
    )
