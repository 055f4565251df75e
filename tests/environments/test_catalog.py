"""Every world of the catalog plays at once, through every face, and can be looked at."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test

from rl.environments.base_environment import BatchedEnvironment
from rl.environments.catalog import PRESETS, make_world, with_actions
from rl.environments.conformance import random_action
from rl.environments.faces import DictEnvironment
from rl.environments.registration import id_of, register_environments
from rl.environments.rendering import EpisodeHistory, render_text
from utils.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "environments"
INDEX = (PAGES / "README.md").read_text()
SINGLE = [name for name, preset in PRESETS.items() if not preset.has_many_agents]
every_world = pytest.mark.parametrize("name", PRESETS)


@every_world
def test_plays_an_episode_to_its_end_with_pictures(name):
    env = make_world(name, num_envs=2, seed=3)
    assert isinstance(env, BatchedEnvironment)
    generator = torch.Generator().manual_seed(0)
    history, record = EpisodeHistory(env.charts), env.reset(0)
    assert env.charts, "a world says what is worth a picture"
    for step in range(min(env.shape.num_steps, 40)):
        assert env.t == step
        record = env.step(random_action(env, record, generator))
        history.add(record)
    text = render_text(history)
    assert text.count("\n") > len(env.charts)
    ended = record.terminated | record.truncated
    assert ended.all() == (env.shape.num_steps <= 40)


@every_world
def test_many_agents_are_said_to_be_many(name):
    assert (make_world(name, num_envs=1).num_agents > 1) == PRESETS[name].has_many_agents


@pytest.mark.parametrize("name", SINGLE)
def test_gymnasium_makes_it(name):
    register_environments()
    environment = gymnasium.make(id_of(name), render_mode="rgb_array", disable_env_checker=True)
    if name != "newsvendor":  # the checker wants episodes of two steps or more
        check_env(environment.unwrapped, skip_render_check=True)
    copies = gymnasium.make_vec(id_of(name), num_envs=3)
    observation, _ = copies.reset(seed=1)
    assert observation.shape[0] == 3
    assert np.isfinite(observation).all()


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in SINGLE])
def test_pettingzoo_accepts_it(name):
    parallel_api_test(DictEnvironment(make_world(name, num_envs=1)), num_cycles=60)


@every_world
def test_value_based_agents_can_play_it(name):
    world = make_world(name, num_envs=2)
    if world.groups[0].action.kind == "discrete":
        with pytest.raises(ConfigError, match="chooses already"):
            with_actions(world, "units")
        return
    face = with_actions(world, "units")
    record = face.reset(0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(7):
        record = face.step(random_action(face, record, generator))
        assert (record.reward == 0).all()
    record = face.step(random_action(face, record, generator))
    assert world.t == 1 % world.shape.num_steps
    assert torch.isfinite(record.reward).all()


@every_world
def test_another_seed_draws_other_scenarios(name):
    one, same, other = (make_world(name, num_envs=1, seed=seed).bank.hash for seed in (3, 3, 4))
    assert one == same != other


def test_gymnasium_passes_the_seed_and_the_actions_on():
    register_environments()
    wanted = make_world("workforce", num_envs=1, seed=5).bank.hash
    for make in (gymnasium.make_vec, gymnasium.make):
        made = make(id_of("workforce"), seed=5, actions="binned")
        core = made.core if make is gymnasium.make_vec else made.unwrapped._copy.core
        assert core.core.bank.hash == wanted
        assert core.groups[0].action.size == 125


@pytest.mark.parametrize("name", ["no_such_world", ""])
def test_unknown_worlds_are_refused_with_the_known_ones(name):
    with pytest.raises(ConfigError, match="there are shared_services, "):
        make_world(name)


def test_unknown_actions_are_refused():
    with pytest.raises(ConfigError, match="known: own, binned, units"):
        with_actions(make_world("newsvendor", num_envs=1), "digits")


def index_rows():
    rows = [line.strip("| ").split(" | ") for line in INDEX.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_the_index_of_worlds_is_complete():
    assert list(index_rows()) == list(PRESETS)


@every_world
def test_the_index_says_what_the_world_is(name):
    about, agents, action, differentiable, _, _, page = index_rows()[name]
    world = make_world(name, num_envs=1)
    spec = world.groups[0].action
    kind = "choices" if spec.kind == "discrete" else "number"
    assert about == PRESETS[name].about
    assert int(agents) == world.num_agents
    assert re.fullmatch(rf"{spec.size} {kind}s?", action)
    assert differentiable.startswith("yes" if world.is_differentiable else "no")
    (target,) = re.findall(r"\]\((.*)\)", page)
    assert f"](pictures/{name}.png)" in (PAGES / target).read_text()
    assert f"--worlds {name}`" in (PAGES / target).read_text()


def test_the_python_blocks_of_the_index_run():
    blocks = re.findall(r"```python\n(.*?)```", INDEX, flags=re.DOTALL)
    assert len(blocks) == 5
    program = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks) + "print(*rewards)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert program.returncode == 0, program.stderr
    assert program.stdout.split() == [f"trader_{number}" for number in range(4)]
