"""`python scripts/train.py` as promised: help that teaches, overrides, sweeps, errors, runs."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.policy_state import load_tensors
from rl.training.run_settings import ALGORITHMS, ENVIRONMENTS
from rl.training.training_config import TrainingConfig
from utils.config import from_json

ROOT = Path(__file__).parents[2]
PROMISED = [
    *("algorithm=ppo", "env.num_resources=5", "env.num_tasks=8"),
    *("training.total_timesteps=200000", "algorithm.dqn.learning_rate=1e-4"),
]
TINY = ["env=newsvendor", "algorithm=ppo", "training.total_timesteps=64", "training.num_envs=32"]


def load(name):
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / f"scripts/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def train():
    return load("train")


def test_the_promised_words_run_as_written(train):
    config = train.read_words(PROMISED)
    assert (config.environment, config.algorithm) == ("constrained_allocation", "ppo")
    assert config.world.constrained_allocation.num_tasks == 8
    assert config.total_env_steps == 200_000
    assert config.settings.dqn == DQNConfig(learning_rate=1e-4)


@pytest.mark.parametrize("preset", sorted((ROOT / "configs/preset").glob("*.yaml")), ids=str)
def test_every_preset_is_a_configuration(train, preset):
    config = train.read_words([f"preset={preset.stem}"])
    assert config.environment in ENVIRONMENTS
    if preset.stem.endswith("_demo"):
        assert preset.stem == f"{config.environment}_demo"
        assert f"--num_agents {config.num_agents} --episodes {config.total_episodes}" in {
            "--num_agents 4 --episodes 2000",
            "--num_agents 6 --episodes 3000",
            "--num_agents 8 --episodes 2500",
        }


def test_the_configuration_is_printed_whole(train, capsys, tmp_path):
    assert train.main([*PROMISED, "--print-config", "--output-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert {"learning_rate: 0.0001", "num_tasks: 8", "gae_lambda: 0.95"} <= {
        line.strip() for line in printed.splitlines()
    }
    assert re.findall(r"^(\w+):$", printed, re.MULTILINE) == ["env", "algorithm", "training"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env.num_resorces=5"], "did you mean 'env.num_resources'?"),
        (["algorithm=pppo"], "no algorithm 'pppo': did you mean 'ppo'?"),
        (["algorithm=ppo,dqn"], "add -m"),
        (["training.total_timesteps=-5"], "total_episodes"),
        (["algorithm.ppo.gamma=2"], "gamma=2.0: choose a number in [0, 1]"),
        (["env=newsvendor", "algorithm=qmix"], "qmix"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(train, capsys, tmp_path, words, message):
    assert train.main([*words, "--output-dir", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_ctrl_c_ends_in_one_line(train, capsys, monkeypatch, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "_train", interrupt)
    assert train.main([*TINY, "--output-dir", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "stopped; what was saved until now stays\n"


def test_a_sweep_is_checked_before_it_trains(train, capsys, tmp_path):
    words = ["-m", *TINY, "training.seed=0,-1", "--output-dir", str(tmp_path)]
    assert train.main(words) == 2
    assert not (tmp_path / "runs").exists()


def test_a_sweep_trains_every_combination_in_a_folder_of_its_own(train, capsys, tmp_path):
    words = ["-m", *TINY, "training.seed=0,1", "algorithm.ppo.gamma=0.5"]
    assert train.main([*words, "--output-dir", str(tmp_path)]) == 0
    assert "[2/2]" in capsys.readouterr().out
    found = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/config.json")]
    configs = sorted((from_json(TrainingConfig, one) for one in found), key=lambda one: one.seed)
    assert [one.seed for one in configs] == [0, 1]
    assert {one.settings.ppo.gamma for one in configs} == {0.5}


def test_a_run_is_collected_in_shards(train, tmp_path):
    shards = ["training.collection_shards=2", "training.collection_devices=[cpu,cpu]"]
    assert train.main([*TINY, *shards, "--output-dir", str(tmp_path)]) == 0
    (found,) = tmp_path.glob("runs/*/config.json")
    assert from_json(TrainingConfig, json.loads(found.read_text())).collection_shards == 2
    (manifest,) = tmp_path.glob("runs/*/checkpoints/*.safetensors")
    assert {"environment.shard0.generator", "environment.shard1.generator"} <= load_tensors(
        manifest.read_bytes()
    ).keys()


def test_help_names_every_choice():
    command = [sys.executable, "scripts/train.py", "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    words = set(re.findall(r"\w+", result.stdout))
    assert {*ENVIRONMENTS, *ALGORITHMS, "total_timesteps", "num_resources"} <= words
