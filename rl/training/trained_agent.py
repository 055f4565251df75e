"""Brings a trained agent back from a run's folder."""

from __future__ import annotations

import json
from pathlib import Path

from data.scenario import BankConfig, ScenarioBank
from rl.algorithms.policy_state import under_prefix
from rl.training.agents import Agent, make_agent
from rl.training.checkpointing import Checkpoint, CheckpointFolder, load_checkpoint
from rl.training.problem import Problem
from rl.training.training_config import TrainingConfig
from rl.training.training_run import learner_settings
from utils.config import from_json
from utils.errors import ConfigError


def load_config(path: Path) -> TrainingConfig:
    """Read the configuration that a run was trained with.

    Args:
        path: JSON, as a run's `config.json`.

    Raises:
        ConfigError: There is no such file, or it is no configuration.
    """
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: give --config-path the config.json of the run"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no settings; give the config.json of the run")
    return from_json(TrainingConfig, values)


def load_agent(path: Path, config: TrainingConfig, problem: Problem) -> Agent:
    """Build the agent of a run with the best policy it found, or its last one if none was judged.

    Args:
        path: The run's folder, its `checkpoints`, or the manifest of one checkpoint.
        config: What it was trained with.
        problem: What it was trained for.

    Raises:
        ConfigError: There is no checkpoint.
        CheckpointCorruptError: No checkpoint is whole.
        StateMismatchError: It was trained with another configuration.
    """
    tensors = _find(path).tensors
    settings = learner_settings(config, problem)
    bank = ScenarioBank(problem.training, BankConfig(num_episodes=1), config.seed)
    world = problem.learn_in(bank, 1, config.seed)
    agent = make_agent(settings.config, world, seed=config.seed, agent_id="planner")
    best = under_prefix("best_policy", tensors)
    if best:
        agent.load_policy_state(best)
    else:
        agent.load_state_dict(under_prefix("agent", tensors))
    return agent


def _find(path: Path) -> Checkpoint:
    if path.is_file():
        return load_checkpoint(path)
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    newest = CheckpointFolder(folder).newest() if folder.is_dir() else None
    if newest is None:
        raise ConfigError(
            f"no checkpoint in {path}: give --agent-path the folder of a run, such as "
            "var/runs/RUN, or one checkpoint's manifest"
        )
    return newest.checkpoint
