"""Worlds, replay, updates and whole runs on a device that is not the host; see `other_device`."""

from __future__ import annotations

import re
from dataclasses import replace
from unittest import mock

import pytest
import torch

from rl.algorithms.maddpg_config import MADDPGConfig
from rl.algorithms.sac_config import SACConfig
from rl.environments.catalog import PRESETS, make_world
from rl.environments.lockstep import worlds_on
from rl.training import training_config
from rl.training.agents import make_agent
from rl.training.checkpointing import CheckpointFolder
from rl.training.learners import make_learner
from rl.training.learning_settings import LearningSettings
from rl.training.recorder import NullRecorder
from rl.training.training_config import TrainingConfig
from rl.training.training_run import train_problem
from tests.other_device import DEVICE, MixedDevicesError, other_device
from tests.training.resume_runs import (
    CONFIGS,
    REPLAY,
    ROLLOUT_STEPS,
    go_on,
    make_environment,
)
from tests.training.small_problems import make_small, places_in
from utils.errors import ConfigError

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def train(name, config, device, updates=3):
    with worlds_on(device):
        world = make_environment(name)
        agent = make_agent(config, world, seed=0)
        learner = make_learner(world, agent, rollout_steps=ROLLOUT_STEPS, seed=0)
        for _ in range(updates):
            _, figures = learner.learn(10**6)
    return agent, figures


@pytest.mark.parametrize("name", CONFIGS)
def test_every_algorithm_comes_to_the_same_weights_there(name):
    here, figures = train(name, CONFIGS[name], "cpu")
    with other_device() as device:
        there, found = train(name, CONFIGS[name], DEVICE)
        state = there.state_dict()
        weights = {key: device.content(value) for key, value in there.policy_state().items()}
        saved = {
            key: device.content(value) if value.is_meta else value for key, value in state.items()
        }
        measured = {key: float(value) for key, value in found.items()}
    expected = here.policy_state()
    assert weights.keys() == expected.keys()
    assert any(value.is_meta for value in there.policy_state().values())
    for key, value in weights.items():
        torch.testing.assert_close(value, expected[key], **CLOSE)
    assert measured == pytest.approx(
        {key: float(value) for key, value in figures.items()}, rel=1e-4
    )
    here.load_state_dict(saved)


@pytest.mark.parametrize("name", PRESETS)
def test_every_world_of_the_catalogue_plays_the_same_there(name):
    played = play(name, "cpu", lambda tensor: tensor)
    with other_device() as device:
        found = play(name, DEVICE, device.content)
    for step, (mine, expected) in enumerate(zip(found, played, strict=True)):
        torch.testing.assert_close(mine, expected, msg=lambda text, at=step: f"{at}: {text}")


def play(name, device, content, steps=6):
    """Return what was seen and earned in some steps with random actions that the masks allow."""
    chance = torch.Generator().manual_seed(1)
    with worlds_on(device):
        world = make_world(name, num_envs=3)
    spec = max((group.action for group in world.groups), key=lambda action: action.size)
    record = world.reset(7)
    seen = []
    for step in range(steps):
        mask = content(record.action_mask)
        drawn = torch.rand(mask.shape, generator=chance)
        if spec.kind == "discrete":
            action = torch.where(mask, drawn, -1.0).argmax(-1)
        else:
            action = spec.low + (spec.high - spec.low) * drawn
        record = world.step(action.to(world.device))
        assert record.reward.device.type == device
        parts = (record.observation, record.reward, record.global_state, record.cost)
        seen += [content(part).clone() for part in (*parts, record.truncated, record.terminated)]
        if step == steps // 2:
            world.load_state_dict(world.state_dict())
    return seen


RUNS = {"resource_allocation": "sac", "trading": "apg"}


def run(folder, environment, algorithm, **settings):
    config = TrainingConfig(
        environment=environment,
        algorithm=algorithm,
        settings=LearningSettings(sac=SACConfig(**REPLAY | {"train_frequency": 72})),
        **{"num_envs": 4, "num_agents": 2, "total_episodes": 4, "checkpoint_frequency": 4}
        | settings,
    )
    return train_problem(
        config, NullRecorder(), places_in(folder), run_id="r", problem=make_small(config)
    )


@pytest.fixture
def knows_the_device(monkeypatch):
    monkeypatch.setattr(training_config, "DEVICE", re.compile(f"cpu|{DEVICE}"))


@pytest.mark.usefixtures("knows_the_device")
@pytest.mark.parametrize("environment", RUNS)
def test_a_run_ends_with_the_same_score_and_an_artifact_for_the_host(tmp_path, environment):
    expected = run(tmp_path / "here", environment, RUNS[environment])
    with other_device():
        found = run(tmp_path / "there", environment, RUNS[environment], device=DEVICE)
    assert found.best_score == pytest.approx(expected.best_score, rel=1e-4)
    assert found.artifact_bytes == expected.artifact_bytes


@pytest.mark.usefixtures("knows_the_device")
def test_shards_collect_on_one_device_and_learn_on_another(tmp_path):
    split = {"collection_shards": 2, "total_episodes": 8}
    expected = run(tmp_path / "here", "resource_allocation", "ppo", **split)
    with other_device():
        found = run(
            tmp_path / "there",
            "resource_allocation",
            "ppo",
            **split,
            device=DEVICE,
            collection_devices=("cpu", DEVICE),
        )
    assert found.best_score == pytest.approx(expected.best_score, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "config", "more"),
    [
        ("ppo", CONFIGS["ppo"], {"ppo_epochs": 6}),
        ("dqn", CONFIGS["dqn"], {"gradient_steps": 5}),
        ("sac", CONFIGS["sac"], {"gradient_steps": 5}),
        ("td3", CONFIGS["td3"], {"gradient_steps": 5}),
        ("maddpg", MADDPGConfig(**REPLAY), {"gradient_steps": 5}),
        ("recurrent_ppo", CONFIGS["recurrent_ppo"], {"ppo_epochs": 6}),
    ],
)
def test_no_optimiser_step_waits_for_a_number(name, config, more):
    reads = []
    for chosen in (config, replace(config, **more)):
        with other_device() as device:
            train(name, chosen, DEVICE, updates=2)
        reads.append(device.reads.total())
    assert reads[0] == reads[1] > 0


@pytest.mark.parametrize("name", ["ppo", "dqn", "sac", "maddpg", "recurrent_qmix", "apg"])
def test_a_stopped_run_goes_on_there_bit_for_bit(name, tmp_path):
    ends = []
    with other_device(), worlds_on(DEVICE):
        for folder, parts in (("whole", (4,)), ("halves", (2, 2))):
            for updates in parts:
                go_on(name, tmp_path / folder, updates)
            ends.append(CheckpointFolder(tmp_path / folder / name).newest().checkpoint.record)
    assert ends[0].sha256 == ends[1].sha256


def test_a_machine_without_the_device_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"device: on this machine there is no cuda:7 \("):
        run(tmp_path, "resource_allocation", "ppo", device="cuda:7")


def test_a_word_that_is_no_device_is_refused():
    with pytest.raises(ConfigError, match="device='gpu' is no device; write cpu, cuda"):
        TrainingConfig(device="gpu")


@pytest.mark.usefixtures("knows_the_device")
def test_a_world_that_plays_elsewhere_is_refused(tmp_path):
    with (
        other_device(),
        mock.patch("rl.training.training_run.worlds_on"),
        pytest.raises(ConfigError, match="played on cpu only, not on meta"),
    ):
        run(tmp_path, "supply_chain", "ppo", device=DEVICE)


@pytest.mark.parametrize(
    "fault",
    [
        lambda there: there + torch.ones(3),
        lambda there: there.reshape(1, 3) @ torch.ones(3, 2),
        lambda there: there.gather(0, torch.tensor([1])),
        lambda there: torch.einsum("i,i->", there, torch.ones(3)),
        lambda there: torch.where(torch.ones(3, dtype=torch.bool), there, 0.0),
    ],
)
def test_planted_fault_tensors_of_both_sides(fault):
    with other_device(), pytest.raises(MixedDevicesError):
        fault(torch.zeros(3, device=DEVICE))


def test_planted_fault_the_host_reads_memory_that_is_not_its_own():
    with other_device(), pytest.raises(TypeError, match="numpy"):
        torch.zeros(3, device=DEVICE).numpy()


def test_numbers_read_back_are_the_right_ones_and_counted():
    with other_device() as device:
        there = torch.arange(6.0, device=DEVICE).view(2, 3)
        there[:, [0, 2]] += 10.0
        there.mT[1] = 7.0
        assert (there.sum().item(), there.cpu().tolist()) == (64.0, [[10, 7, 12], [13, 7, 15]])
        assert there[there > 12].cpu().tolist() == [13, 15]
        doubled = torch.empty(2, 3, device=DEVICE)
        assert torch.mul(there, 2.0, out=doubled) is doubled
        assert device.content(doubled).tolist() == [[20, 14, 24], [26, 14, 30]]
    assert device.reads.total() == 4
