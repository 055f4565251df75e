"""The sets of a run: fixed where they judge, drawn from the seed where they train."""

from __future__ import annotations

import numpy as np
import pytest

from data.scenario import hash_scenarios
from data.traces import TRACES_SETTING, TraceError, locate_traces
from rl.training import allocation_world
from rl.training.allocation_world import build_world
from rl.training.training_config import EPISODE_STEPS, TrainingConfig
from utils.errors import ConfigError
from utils.seeding import make_generator

JUDGING = ("validation", "tuning")


@pytest.fixture
def no_traces(monkeypatch):
    monkeypatch.setattr(allocation_world, "locate_traces", lambda: None)


def hashes(world):
    sets = [getattr(world, name) for name in JUDGING] + [world.held_out.scenarios]
    return [hash_scenarios(scenarios) for scenarios in sets]


def test_judging_sets_are_the_same_every_time_and_differ_from_each_other(no_traces):
    one, other = (build_world(4) for _ in range(2))
    assert hashes(one) == hashes(other)
    assert len(set(hashes(one))) == 3


def test_without_traces_the_data_says_so(no_traces):
    world = build_world(4)
    assert "no traces" in world.training_data
    assert "no traces" in world.held_out.data
    assert world.held_out_bursts is None
    assert len(np.unique(world.held_out.days)) == 10


def test_judging_sets_carry_the_plain_priorities(no_traces):
    world = build_world(6)
    priority = [service.priority for service in world.preset.allocation.services]
    assert world.held_out.scenarios.demand.shape == (100, EPISODE_STEPS["resource_allocation"], 6)
    np.testing.assert_array_equal(world.held_out.scenarios.priority[0], priority)
    drawn = world.training.draw(4, make_generator(0, "training"))
    assert not np.array_equal(drawn.priority[0], priority)


def test_a_named_folder_without_files_is_an_error(tmp_path):
    with pytest.raises(TraceError, match="nab_elb"):
        build_world(4, traces=str(tmp_path))


@pytest.mark.skipif(locate_traces() is None, reason=f"no real traces; set {TRACES_SETTING}")
def test_real_days_are_mixed_with_synthetic_demand_and_judged_apart():
    world = build_world(4)
    assert world.held_out.scenarios.num_episodes == 100
    assert np.bincount(world.held_out.days).tolist() == [23, 24, 24, 24, 5]
    assert world.held_out_bursts is not None
    assert "80%" in world.training_data
    only_real = build_world(4, use_synthetic_data=False)
    assert only_real.training_data == "real demand of days 1-9"


@pytest.mark.parametrize(
    "change",
    [
        {"num_agents": 0},
        {"total_episodes": 0},
        {"num_envs": 0},
        {"num_envs": 10**12},
        {"eval_frequency": -1},
        {"real_share": 1.0},
        {"experiment_name": " "},
        {"seed": -1},
    ],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ConfigError):
        TrainingConfig(**change)


def test_episodes_become_steps():
    config = TrainingConfig(total_episodes=130)
    assert config.total_env_steps == 130 * EPISODE_STEPS["resource_allocation"]
