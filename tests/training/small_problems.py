"""The demos' problems, small enough to train in a test: synthetic data, few episodes, no tuning."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from unittest import mock

from data.scenario import BankConfig
from rl.artifacts import Figure
from rl.training import allocation_world, curriculum_world, supply_problem, trading_problem
from rl.training.conclusion import Places
from rl.training.problems import make_problem
from utils.persistence.artifact_store import DirectoryArtifactStore

COVERS = tuple(Figure(name=f"number {i}", value=v) for i, v in enumerate([0.5, 0.0] + [5.0] * 16))
"""For the rule of a chain: trust, gap and the days that every stage covers."""
DEMOS = ("resource_allocation", "supply_chain", "trading")


def make_small(config):
    """Return a configuration's problem with few episodes, one expert, stages soon passed."""
    with ExitStack() as stack:
        for module in (allocation_world, supply_problem, trading_problem):
            stack.enter_context(mock.patch.object(module, "locate_traces", return_value=None))
        problem = make_problem(config)
    parameters = COVERS[: 2 + config.num_agents] if problem.name == "supply_chain" else ()
    first = list(problem.experts)[:1]
    return replace(
        problem,
        validation=problem.validation.first(3),
        held_out=problem.held_out.first(4),
        stress=(),
        bank=BankConfig(num_episodes=6, refresh_every_episodes=9),
        experts={name: replace(problem.experts[name], tune=lambda: parameters) for name in first},
        illustrate=None,
        stages=None if problem.stages is None else _Quick(problem.stages),
    )


class _Quick:
    """Stages of few fixed episodes that anybody passes after eight episodes."""

    def __init__(self, stages):
        self._stages = stages

    def __call__(self, problem, experts):
        with mock.patch.object(curriculum_world, "NUM_EPISODES", 3):
            stages = self._stages(problem, experts)
        quick = {
            "min_episodes": 8,
            "stability_window": 8,
            "advancement_threshold": -1e6,
            "regression_threshold": -1e9,
            "success_criteria": (),
        }
        return tuple(replace(one, stage=replace(one.stage, **quick)) for one in stages)


def places_in(folder, **points):
    """Return where a run reads and writes, its experts tuned to nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    return Places(folder=folder, artifacts=DirectoryArtifactStore(folder / "artifacts"), **points)


def tuned(folder):
    """Return the names of the experts that were tuned."""
    path = folder / "experts.json"
    return [one["name"] for one in json.loads(path.read_text())] if path.is_file() else []
