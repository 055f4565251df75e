"""The scaffolding of the long learning benchmarks: what is scored, stored and compared."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv

from benchmarks import multi_agent, presets_dqn, presets_ppo, single_agent
from benchmarks.learning_run import Measure, Recipe, play_episodes, train_and_score
from benchmarks.peer_python import PeerMissingError, peer_python, run_peer
from benchmarks.recipes import MULTI_AGENT, SINGLE_AGENT
from benchmarks.stored_runs import StoredRuns
from rl.algorithms.heads import ActionSample
from rl.algorithms.ppo_agent import PPOAgent, PPOConfig
from rl.environments.adapter import GymnasiumAdapter
from rl.environments.pettingzoo_adapter import PettingZooAdapter


class Uneven(ParallelEnv):
    """Two agents that earn 1 and 3 a step; an episode of copy k, in order of seeds, lasts k + 2."""

    metadata = {"name": "uneven"}  # noqa: RUF012
    possible_agents = ("a_0", "a_1")

    def observation_space(self, agent):
        return Box(-np.inf, np.inf, (1,))

    def action_space(self, agent):
        return Discrete(2)

    def look(self):
        return {name: np.zeros(1, np.float32) for name in self.possible_agents}

    def reset(self, seed=None, options=None):
        self.agents, self.time = list(self.possible_agents), 0
        return self.look(), {}

    def step(self, actions):
        self.time += 1
        over = dict.fromkeys(self.agents, self.time == self.length)
        if self.time == self.length:
            self.agents = []
        return self.look(), {"a_0": 1.0, "a_1": 3.0}, over, dict.fromkeys(over, False), {}


class Idle:
    def act(self, observation, action_mask, *, deterministic=False):
        assert deterministic
        chosen = torch.zeros(observation.shape[:2], dtype=torch.int64)
        return ActionSample(action=chosen, log_prob=torch.zeros(observation.shape[:2]))


def make_uneven(copies, seed):
    lengths = iter(range(2, 2 + copies))

    def make():
        env = Uneven()
        env.length = next(lengths)
        return env

    return PettingZooAdapter(make, copies, seed=seed)


def test_a_return_is_the_mean_over_agents_of_the_first_episode_alone():
    assert play_episodes(make_uneven, Idle(), episodes=3, seed=0) == [4.0, 6.0, 8.0]


def make_cartpole(copies, seed):
    return GymnasiumAdapter("CartPole-v1", copies, seed=seed)


RECIPE = Recipe(
    copies=2,
    steps_per_update=16,
    make_agent=lambda _, seed: PPOAgent(
        "cartpole", 4, 2, PPOConfig(hidden_dims=(8,)), discrete=True, seed=seed
    ),
)
MEASURE = Measure(env_steps=160, every=64, episodes=2, final_episodes=3)


def test_a_run_scores_the_last_and_the_best_policy_and_can_be_made_again():
    one, other = (train_and_score(make_cartpole, RECIPE, MEASURE, seed=1) for _ in range(2))
    assert [steps for steps, _, _ in one["curve"]] == [0, 64, 128, 160]
    assert one["env_steps"] == 160
    assert len(one["final_returns"]) == len(one["best_returns"]) == 3
    assert one["final_returns"] == other["final_returns"]
    assert one["best_returns"] == other["best_returns"]
    assert one["cpu_seconds"] > 0
    assert one["threads"] == torch.get_num_threads()


def test_a_timed_run_ends_once_the_score_is_reached():
    measure = replace(MEASURE, env_steps=10_000, final_episodes=0, until=1.0)
    found = train_and_score(make_cartpole, RECIPE, measure, seed=1)
    assert found["env_steps"] < 100
    assert found["curve"][-1][1] >= 1.0
    assert "best_returns" not in found


def test_a_stored_run_is_not_made_again(tmp_path):
    made = []

    def run():
        made.append(1)
        return {"version": "x", "figure": len(made)}

    for seed in (1, 0, 1):
        StoredRuns(tmp_path).run_once("task", "ours", run, env_steps=10, seed=seed)
    stored = StoredRuns(tmp_path)
    assert [row["seed"] for row in stored.rows("task", "ours", 10)] == [0, 1]
    assert [row["figure"] for row in stored.rows("task", "ours", 10)] == [2, 1]
    assert stored.rows("task", "ours", 20) == stored.rows("task", "peer", 10) == []


def test_a_run_with_another_budget_is_another_run(tmp_path):
    stored = StoredRuns(tmp_path)
    for env_steps in (10, 20):
        stored.run_once("task", "ours", dict, env_steps=env_steps, seed=0)
    assert [row["budget"] for row in stored.rows("task", "ours", 20)] == [20]


def test_a_missing_peer_names_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setenv("QUARTERMASTER_PEERS", str(tmp_path))
    with pytest.raises(PeerMissingError, match="scripts/install-peers sb3"):
        peer_python("sb3")


def test_a_peers_last_line_is_its_result_and_its_failure_is_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("QUARTERMASTER_PEERS", str(tmp_path))
    monkeypatch.setattr("benchmarks.peer_python.SCRIPTS", tmp_path)
    (tmp_path / "it/bin").mkdir(parents=True)
    (tmp_path / "it/bin/python").symlink_to(sys.executable)
    (tmp_path / "good.py").write_text("import os\nprint('noise')\nprint('{\"found\": 3}')")
    (tmp_path / "bad.py").write_text("raise SystemExit(3)")
    assert run_peer("it", "good.py", []) == {"found": 3}
    with pytest.raises(subprocess.CalledProcessError):
        run_peer("it", "bad.py", [])


def row(seed, returns, **others):
    return {
        "seed": seed,
        "commit": "c",
        "version": "v",
        "threads": 1,
        "env_steps": 300_000,
        "wall_seconds": 20.0,
        "cpu_seconds": 10.0,
        "best_returns": returns,
        "final_returns": returns,
        **others,
    }


def test_the_bar_is_met_by_the_middle_seeds():
    rows = [row(seed, [score] * 4) for seed, score in enumerate((0, 474, 476, 478, 500))]
    found = single_agent.summarise("cartpole-ppo", "sb3", rows)
    assert found["best"]["iqm"] == 476
    assert found["is_reached"]
    assert found["best"]["mean_of_each_seed"] == [0, 474, 476, 478, 500]
    rows[3] = row(3, [470.0] * 4)
    assert not single_agent.summarise("cartpole-ppo", "sb3", rows)["is_reached"]


def test_the_time_to_a_score_is_that_of_the_evaluation_that_reached_it():
    curves = [[(1_000, 400.0, 1.0), (2_000, 480.0, 2.5)], [(1_000, 476.0, 4.5)]]
    rows = [row(seed, [], curve=curve) for seed, curve in enumerate(curves)]
    found = single_agent.summarise("cartpole-ppo-475", "sb3", rows)
    assert found["cpu_seconds_to_bar"] == [2.5, 4.5]
    assert found["median_cpu_seconds_to_bar"] == 3.5
    assert found["reached"] == [True, True]


@pytest.mark.parametrize(("ours", "is_reached"), [(-20.0, True), (-30.0, False)])
def test_a_cell_is_reached_within_the_peers_interval_or_above(tmp_path, ours, is_reached):
    stored = StoredRuns(tmp_path)
    scores = {("spread-matd3", "quartermaster"): ours, ("spread-maddpg", "benchmarl"): -22.0}
    for (task, library), score in scores.items():
        for seed in range(3):
            returns = (np.linspace(-1, 1, 20) + score).tolist()
            stored.run_once(
                task, library, lambda r=returns: row(0, r), env_steps=300_000, seed=seed
            )
    found = multi_agent.summarise_cell("spread-matd3", stored)
    assert found["is_reached"] is is_reached
    assert found["times_faster"] == 1.0
    assert found["benchmarl"]["low"] < -22.0 < found["benchmarl"]["high"]
    assert json.dumps(found)


def test_every_task_has_a_recipe_of_ours_and_settings_of_the_peer():
    settings = Path("benchmarks/peers/sb3_run.py").read_text()
    for name in single_agent.TASKS:
        assert f'"{name}"' in settings
    assert single_agent.TASKS.keys() == SINGLE_AGENT.keys()
    assert multi_agent.CELLS.keys() == MULTI_AGENT.keys()
    for preset, name in (
        (presets_ppo.CARTPOLE.env_steps, "cartpole-ppo"),
        (presets_ppo.PENDULUM.env_steps, "pendulum-ppo"),
        (presets_ppo.ACROBOT.env_steps, "acrobot-ppo"),
        (presets_ppo.LUNAR_LANDER.env_steps, "lunarlander-ppo"),
        (presets_dqn.CARTPOLE_ENV_STEPS, "cartpole-dqn"),
        (presets_dqn.LUNAR_LANDER_ENV_STEPS, "lunarlander-dqn"),
        (presets_ppo.MAPPO_SPREAD.env_steps, None),
    ):
        budget = single_agent.TASKS[name].env_steps if name else multi_agent.ENV_STEPS
        assert preset == budget
