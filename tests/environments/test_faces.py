"""Each face keeps the contract of its library and shows what the core does."""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from pettingzoo.test import parallel_api_test, parallel_seed_test, seed_test
from pettingzoo.utils.conversions import parallel_to_aec

from rl.environments.adapter import GymnasiumAdapter
from rl.environments.base_environment import (
    AgentConfig,
    AgentRole,
    EpisodeEndedError,
    InvalidActionError,
)
from rl.environments.faces import DictEnvironment
from rl.environments.gymnasium_faces import SingleAgentEnvironment, VectorEnvironment
from rl.environments.registration import (
    RESOURCE_ALLOCATION_ID,
    make_planner,
    make_planners,
    register_environments,
)
from rl.environments.resource_allocation_environment import ResourceAllocationEnvironment
from rl.environments.spaces import AgentSpaces, UnknownAgentError
from utils.errors import ConfigError

STEPS = 6


def make_services(**settings):
    return ResourceAllocationEnvironment(**{"max_steps": STEPS, **settings})


def act_fully(environment):
    return {agent: np.full(2, 0.5, np.float32) for agent in environment.agents}


@pytest.fixture
def registered():
    register_environments()
    register_environments()
    yield
    del gymnasium.registry[RESOURCE_ALLOCATION_ID]


def test_promised_call_shape_works_as_written():
    env = ResourceAllocationEnvironment(
        agent_configs=[
            AgentConfig(agent_id="web", role=AgentRole.EXECUTOR),
            AgentConfig(agent_id="batch", role="executor"),
        ],
        resource_types=["cpu", "memory", "network"],
        total_resources={"cpu": 30.0},
        allocation_mechanism="priority",
        max_steps=STEPS,
        seed=3,
    )
    observations, info = env.reset()
    assert set(observations) == set(info) == {"web", "batch"}
    for _ in range(STEPS):
        actions = {agent: env.action_space.sample() for agent in observations}
        observations, rewards, terminated, truncated, info = env.step(actions)
    assert all(truncated.values())
    assert not any(terminated.values())
    assert set(rewards) == {"web", "batch"}
    assert env.core.config.capacity == (30.0, 40.0, 40.0)
    assert env.agents == []


def test_pettingzoo_accepts_the_dict_face():
    parallel_api_test(make_services(), num_cycles=3 * STEPS)
    parallel_seed_test(make_services)
    seed_test(lambda: parallel_to_aec(make_services()))


def test_pettingzoo_accepts_discrete_actions():
    def make():
        return DictEnvironment(GymnasiumAdapter("CartPole-v1", 1))

    parallel_api_test(make(), num_cycles=40)
    _, info = make().reset(seed=1)
    assert info["agent_0"]["action_mask"].tolist() == [1, 1]


def test_gymnasium_accepts_the_single_face(registered):
    check_env(gymnasium.make(RESOURCE_ALLOCATION_ID, num_services=2).unwrapped)


def test_registered_ids_make_both_faces(registered):
    single = gymnasium.make(RESOURCE_ALLOCATION_ID, max_steps=STEPS)
    assert isinstance(single.unwrapped, SingleAgentEnvironment)
    copies = gymnasium.make_vec(RESOURCE_ALLOCATION_ID, num_envs=3, max_steps=STEPS)
    assert isinstance(copies, VectorEnvironment)
    assert copies.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_importing_the_faces_registers_nothing():
    code = (
        "import gymnasium, rl.environments.registration as r, sys;"
        "sys.exit(r.RESOURCE_ALLOCATION_ID in gymnasium.registry)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_space_serves_both_call_shapes():
    env = make_services()
    assert isinstance(env.action_space, AgentSpaces)
    assert env.action_space("search") is env.action_space("search")
    assert env.observation_space("search") is env.observation_space("search")
    sample = env.action_space.sample()
    assert env.action_space("search").contains(sample)
    assert env.action_space.contains(sample)
    env.action_space.seed(5)
    first = [env.action_space(agent).sample() for agent in env.possible_agents]
    env.action_space.seed(5)
    second = [env.action_space(agent).sample() for agent in env.possible_agents]
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first, axis=0)) == len(first)
    with pytest.raises(UnknownAgentError, match="no agent 'nobody'; there are storefront"):
        env.action_space("nobody")


def test_different_spaces_have_no_common_sample():
    spaces = AgentSpaces({"a": Box(0, 1, (1,)), "b": Box(0, 1, (2,))})
    with pytest.raises(ConfigError, match="space\\(agent\\)"):
        spaces.sample()
    assert spaces("b").shape == (2,)


def test_steps_outside_an_episode_are_refused():
    env = make_services()
    with pytest.raises(EpisodeEndedError, match="no episode has begun"):
        env.step({})
    env.reset()
    for _ in range(STEPS):
        env.step(act_fully(env))
    with pytest.raises(EpisodeEndedError, match="the episode has ended; call reset"):
        env.step({})
    env.reset()
    env.step(act_fully(env))


def test_agents_left_out_ask_for_nothing():
    silent, zero = make_services(seed=2), make_services(seed=2)
    silent.reset(seed=4)
    zero.reset(seed=4)
    one = {"search": np.full(2, 0.7, np.float32)}
    nothing = {agent: np.zeros(2, np.float32) for agent in zero.agents}
    for _ in range(STEPS):
        assert silent.step(dict(one))[1] == zero.step({**nothing, **one})[1]


@pytest.mark.parametrize(
    ("actions", "error", "message"),
    [
        ({"serch": np.zeros(2)}, UnknownAgentError, "no agents serch; there are storefront"),
        ({"search": np.zeros(3)}, InvalidActionError, r"search has shape \(3,\), not \(2,\)"),
        ({"search": np.full(2, np.nan)}, InvalidActionError, "not finite"),
    ],
)
def test_wrong_actions_are_named(actions, error, message):
    env = make_services()
    env.reset()
    with pytest.raises(error, match=message):
        env.step(actions)


def test_info_explains_the_reward():
    env = make_services()
    env.reset(seed=1)
    totals = dict.fromkeys(("served_value", "holding_cost"), 0.0)
    for _ in range(STEPS):
        _, rewards, _, truncated, info = env.step(act_fully(env))
        for agent, reward in rewards.items():
            terms = info[agent]["reward_terms"]
            assert set(terms) == set(totals)
            assert sum(terms.values()) == pytest.approx(reward, abs=1e-3)
            assert info[agent]["truncated"] == truncated[agent]
            for name, value in terms.items():
                totals[name] += value
    metrics = env.get_allocation_metrics()
    assert metrics["steps"] == STEPS
    assert metrics["value"] == pytest.approx(sum(totals.values()), rel=1e-4)
    assert 0 < metrics["served_share"] <= 1
    assert 0 < metrics["held_share"] <= 1


def test_metrics_are_zero_before_the_first_step():
    env = make_services()
    env.reset()
    assert set(env.get_allocation_metrics().values()) == {0.0}


def test_last_observation_is_the_episodes_own():
    env = make_services()
    env.reset(seed=1)
    for _ in range(STEPS):
        observations, _, _, _, info = env.step(act_fully(env))
    core = env.core
    lasts = env._copy.last.final_observation[0]
    for position, agent in enumerate(core.agent_ids):
        np.testing.assert_array_equal(observations[agent], lasts[position])
        np.testing.assert_array_equal(info[agent]["final_observation"], lasts[position])
    following = env.reset()[0]
    assert any((following[agent] != observations[agent]).any() for agent in following)


def test_no_episode_is_skipped_by_a_reset():
    env = make_services()
    env.reset(seed=1)
    for _ in range(STEPS):
        env.step(act_fully(env))
    begun = env.core.episode_index.tolist()
    env.reset()
    assert env.core.episode_index.tolist() == begun
    env.step(act_fully(env))
    env.reset()
    assert env.state().shape == (env.core.state_size,)


def test_dead_agents_leave():
    class Dies(GymnasiumAdapter):
        steps = 0

        def step(self, action):
            record = super().step(action)
            self.steps += 1
            record.agent_alive[:] = self.steps < 2
            return record

    env = DictEnvironment(Dies("CartPole-v1", 1))
    env.reset(seed=0)
    assert env.step({"agent_0": 0})[2] == {"agent_0": False}
    _, _, terminated, truncated, _ = env.step({"agent_0": 1})
    assert terminated == {"agent_0": True}
    assert truncated == {"agent_0": False}
    assert env.agents == []


@pytest.mark.parametrize(
    "settings",
    [
        {"agent_configs": []},
        {"agent_configs": [AgentConfig(agent_id="a"), AgentConfig(agent_id="a")]},
        {"agent_configs": [AgentConfig(agent_id="a", role=AgentRole.MONITOR)]},
        {"resource_types": ["cpu", "cpu"]},
        {"resource_types": []},
        {"resource_types": "cpu"},
        {"resource_types": ["cpu", " "]},
        {"total_resources": {"gold": 3.0}},
        {"total_resources": {"compute": 0.0}},
        {"allocation_mechanism": "lottery"},
        {"max_steps": 0},
        {"max_steps": 1.5},
        {"max_steps": 10**9},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        make_services(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"agent_id": ""}, {"agent_id": "  "}, {"agent_id": 3}, {"agent_id": "a", "role": "king"}],
)
def test_impossible_agents_are_refused(settings):
    with pytest.raises(ConfigError):
        AgentConfig(**settings)


def test_single_face_equals_one_row_of_the_vector_face():
    single, copies = make_planner(max_steps=STEPS), make_planners(1, max_steps=STEPS)
    first, rows = single.reset(seed=5)[0], copies.reset(seed=5)[0]
    np.testing.assert_array_equal(first, rows[0])
    copies.action_space.seed(0)
    for step in range(STEPS):
        actions = copies.action_space.sample()
        observation, reward, terminated, truncated, info = single.step(actions[0])
        rows, rewards, ends, limits, infos = copies.step(actions)
        assert (reward, terminated, truncated) == (rewards[0], ends[0], limits[0])
        assert sum(info["reward_terms"].values()) == pytest.approx(reward, abs=1e-3)
        if step < STEPS - 1:
            np.testing.assert_array_equal(observation, rows[0])
            assert infos["served_work"][0] == info["metrics"]["served_work"]
    np.testing.assert_array_equal(observation, infos["final_obs"][0])
    assert infos["final_info"]["served_work"][0] == info["metrics"]["served_work"]
    np.testing.assert_array_equal(single.reset()[0], rows[0])
    with pytest.raises(ConfigError, match="known: None, ansi, rgb_array"):
        make_planner(render_mode="human")


def test_vector_face_keeps_the_conventions():
    envs = make_planners(3, max_steps=STEPS)
    observation, infos = envs.reset(seed=2)
    assert envs.observation_space.contains(observation)
    assert infos == {}
    for _ in range(STEPS):
        observation, reward, terminated, truncated, infos = envs.step(envs.action_space.sample())
        assert reward.dtype == np.float64
        assert terminated.dtype == truncated.dtype == np.bool_
    assert truncated.all()
    assert infos["_final_obs"].all()
    assert infos["_final_info"].all()
    assert infos["final_obs"].dtype == object
    assert infos["final_info"]["_served_work"].tolist() == [True] * 3
    assert "served_work" not in infos
    with pytest.raises(InvalidActionError, match="shape"):
        envs.step(np.zeros((2, 8)))
    with pytest.raises(ConfigError, match="seeded together"):
        envs.reset(seed=[1, 2, 3])


def test_vector_face_masks_copies_that_go_on():
    envs = VectorEnvironment(GymnasiumAdapter("CartPole-v1", 4, seed=1))
    envs.reset(seed=3)
    push = np.array([0, 0, 1, 1])
    for step in range(30):
        observation, _, terminated, _, infos = envs.step(push)
        push[2] = step % 2
        if terminated.any() and not terminated.all():
            break
    assert infos["_final_obs"].tolist() == terminated.tolist()
    for copy in range(4):
        assert (infos["final_obs"][copy] is not None) == terminated[copy]
        if terminated[copy]:
            assert (infos["final_obs"][copy] != observation[copy]).any()


@pytest.mark.parametrize("face", [DictEnvironment, SingleAgentEnvironment])
def test_faces_of_one_copy_refuse_many(face):
    with pytest.raises(ConfigError, match="one copy"):
        face(make_planners(2).core)


@pytest.mark.parametrize("face", [VectorEnvironment, SingleAgentEnvironment])
def test_faces_of_one_agent_refuse_many(face):
    with pytest.raises(ConfigError, match="one agent"):
        face(make_services().core)


def test_returned_arrays_are_the_callers():
    env = make_planner(max_steps=STEPS)
    observation, _ = env.reset(seed=1)
    kept = observation.copy()
    observation[:] = -1.0
    following, *_ = env.step(env.action_space.sample())
    again, _ = make_planner(max_steps=STEPS).reset(seed=1)
    np.testing.assert_array_equal(again, kept)
    assert torch.as_tensor(following).ge(0).all()
