"""The acceptance of the whole system in a few minutes: `python test_rl_system.py`, or pytest.

Every check plays through one part for real and prints what it saw. Speed and memory are shown,
never judged: they say what this machine did just now. The details are tested in `tests/`.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from pathlib import Path
from textwrap import wrap

import anyio
import torch

from ai_agents.allocation_schema import AllocationDecision
from data.scenario import ScenarioBank, hash_scenarios
from orchestration.app import Settings, open_application, run_with
from orchestration.jobs import JobState
from rl.algorithms.capabilities import CAPABILITIES
from rl.algorithms.policy_state import TensorDict
from rl.algorithms.ppo_config import PPOConfig
from rl.environments.catalog import PRESETS, make_world
from rl.environments.resource_allocation_environment import ResourceAllocationEnvironment
from rl.evaluation.players import random_player
from rl.training.agents import make_agent
from rl.training.catalog_problem import catalog_problem
from rl.training.checkpointing import CheckpointFolder
from rl.training.curricula import create_trading_curriculum
from rl.training.learning_settings import LearningSettings
from rl.training.recorder import NullRecorder
from rl.training.trainer import Trainer, TrainerConfig
from rl.training.training_config import TrainingConfig
from rl.training.training_events import (
    CheckpointWritten,
    Evaluated,
    TrainingEvent,
    TrainingEvents,
)
from rl.training.training_pipeline import (
    RLTrainingPipeline,
    TrainingResults,
    create_trading_pipeline,
)
from utils.seeding import make_generator

DRAWN, COPIES, STEPS, LEARNT_STEPS = 16, 16, 12, 1_024
ALONE, TEAM, DIFFERENTIABLE = "newsvendor", "service_agents", "serial_inventory"
"""Worlds that algorithms are tried in."""
NAME_WIDTH, INDENT = 15, 35
SHOP = TrainingConfig(
    environment="newsvendor",
    algorithm="ppo",
    settings=LearningSettings(
        ppo=PPOConfig(
            learning_rate=3e-3, scale_rewards=True, initial_log_std=-2.0, initial_action_mean=0.2
        )
    ),
    num_envs=64,
    total_episodes=20_480,
    eval_frequency=8_192,
    checkpoint_frequency=8_192,
)
TINY = TrainingConfig(num_agents=2, total_episodes=64, num_envs=32)
AGENT = "resource_allocator"


def test_generation() -> None:
    """Every law of the catalogue draws the same bytes from a seed, and others from another."""
    episodes, size, began = 0, 0, time.perf_counter()
    for name in PRESETS:
        source = make_world(name, num_envs=1, seed=0).bank.source
        first, again, other = (
            source.draw(DRAWN, make_generator(seed, "acceptance")) for seed in (1, 1, 2)
        )
        assert hash_scenarios(first) == hash_scenarios(again), name
        assert hash_scenarios(first) != hash_scenarios(other), name
        episodes, size = episodes + 3 * DRAWN, size + 3 * first.num_bytes
    seconds = time.perf_counter() - began
    print(f"{len(PRESETS)} laws: same seed, same bytes")
    print(f"{episodes:,} episodes, {size / 2**20:,.1f} MiB in {seconds:.1f} s")


def test_environments() -> None:
    """Every world of the catalogue is played at random; what comes out is finite."""
    rates: dict[str, float] = {}
    for name in PRESETS:
        world, player = make_world(name, num_envs=COPIES, seed=0), random_player(0)
        record, began = world.reset(0), time.perf_counter()
        for _ in range(STEPS):
            record = world.step(player(world, record))
            assert bool(torch.isfinite(record.reward).all()), name
            assert bool(torch.isfinite(record.observation).all()), name
        rates[name] = STEPS * COPIES / (time.perf_counter() - began)
    slowest, fastest = min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)
    print(f"{len(rates)} worlds x {COPIES} copies")
    print(f"{rates[slowest]:,.0f} steps/s ({slowest}) to {rates[fastest]:,.0f} ({fastest})")


def test_the_dict_interface() -> None:
    """One episode from a reset to its end, an action per agent by name."""
    environment = ResourceAllocationEnvironment(max_steps=12, seed=1)
    observations, _ = environment.reset()
    steps, truncated = 0, dict.fromkeys(observations, False)
    while not all(truncated.values()):
        actions = {agent: environment.action_space(agent).sample() for agent in observations}
        observations, rewards, terminated, truncated, _ = environment.step(actions)
        assert not any(terminated.values())
        assert all(math.isfinite(reward) for reward in rewards.values()), f"rewards {rewards}"
        steps += 1
    assert steps == 12
    print(f"{len(actions)} agents, {steps} steps")


def test_algorithms() -> None:
    """Every algorithm takes some updates: its policy changes, and stays finite."""
    rates: dict[str, float] = {}
    for name, can in CAPABILITIES.items():
        world = TEAM if can.needs_team else DIFFERENTIABLE if can.needs_gradient else ALONE
        problem = catalog_problem(world, name)
        settings = problem.settings_of(name)
        bank = ScenarioBank(problem.training, problem.bank, 0)
        environment = problem.learn_in(bank, settings.num_envs, 0)
        agent = make_agent(settings.config, environment, seed=0)
        before, began = agent.policy_state(), time.perf_counter()
        config = TrainerConfig(total_env_steps=LEARNT_STEPS, rollout_steps=16)
        Trainer(config, environment, agent, NullRecorder()).train()
        rates[name] = LEARNT_STEPS / (time.perf_counter() - began)
        after = agent.policy_state()
        assert all(bool(torch.isfinite(values).all()) for values in after.values()), name
        assert any(not torch.equal(after[key], before[key]) for key in before), name
    print(f"{len(rates)} change their policy: {', '.join(rates)}")
    slowest, fastest = min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)
    print(f"{rates[slowest]:,.0f} env steps/s ({slowest}) to {rates[fastest]:,.0f} ({fastest})")


def test_curriculum(tmp_path: Path) -> None:
    """A trader begins with easy orders and moves up, each time with scores that allow it."""
    results = anyio.run(create_trading_pipeline(2, 320, output_dir=tmp_path).train)
    progress = results["curriculum_progress"]
    assert progress is not None
    stages = {one.name: one for one in create_trading_curriculum()}
    names, completion = list(stages), progress["completion"]
    at = names[0]
    assert progress["timeline"][0]["stage"] == at
    assert completion["changes"], completion["summary"]
    for change in completion["changes"]:
        if change["reason"] == "promoted":
            assert change["low"] >= stages[at].advancement_threshold, change
            assert names.index(change["stage"]) == names.index(at) + 1, change
        at = change["stage"]
    assert at == completion["final_stage"]
    moves = " > ".join(entry["stage"] for entry in progress["timeline"])
    print(f"{results['total_episodes']:,} episodes of selling orders: {moves}")
    print(completion["summary"])


def test_pipeline(tmp_path: Path) -> None:
    """A run that was stopped and continued ends with the same bytes, and beats chance."""
    scores: list[Mapping[str, float]] = []
    events = TrainingEvents()

    def note(event: TrainingEvent) -> None:
        if isinstance(event, Evaluated):
            scores.append(event.scores)

    events.subscribe(note)
    straight = anyio.run(RLTrainingPipeline(SHOP, output_dir=tmp_path, events=events).train)
    first, last = scores[0], scores[-1]
    assert last["kpi_low"] > first["kpi_high"], f"nothing was learnt: {first}, {last}"
    resumed = anyio.run(_stop_and_continue, tmp_path)
    ours, theirs = (_learnt(tmp_path, one["run_id"]) for one in (straight, resumed))
    assert ours.keys() == theirs.keys()
    changed = [name for name, values in ours.items() if not torch.equal(values, theirs[name])]
    assert not changed, f"stopped and continued, {len(changed)} tensors differ: {changed[:3]}"
    (row,) = (one for one in straight["evaluation"] if one["kind"] == "agent")
    gain = row["difference"]
    assert gain["low"] > 0, f"no better than chance: {gain}"
    assert (Path(straight["report"]) / "report.md").is_file()
    print("stopped and continued: the same bytes")
    print(f"profit per episode {first['kpi']:.1f} before, {last['kpi']:.1f} after training")
    print(f"{gain['mean']:+.1f} per episode over chance [{gain['low']:+.1f}, {gain['high']:+.1f}]")


async def _stop_and_continue(folder: Path) -> TrainingResults:
    """Cancel a run at its first checkpoint, then continue it."""
    stopped: list[str] = []
    with anyio.CancelScope() as scope:

        def stop(event: TrainingEvent) -> None:
            if isinstance(event, CheckpointWritten):
                stopped.append(event.run.run_id)
                scope.cancel()

        events = TrainingEvents()
        events.subscribe(stop)
        await RLTrainingPipeline(SHOP, output_dir=folder, events=events).train()
    assert stopped, "no checkpoint was written before the end"
    return await RLTrainingPipeline(SHOP, output_dir=folder).train(resume=stopped[0])


def _learnt(folder: Path, run_id: str) -> TensorDict:
    """Return all that the last checkpoint of a run holds."""
    newest = CheckpointFolder(folder / "runs" / run_id / "checkpoints").newest()
    assert newest is not None
    return newest.checkpoint.tensors


def test_integration(tmp_path: Path) -> None:
    """From a job in a process of its own to a decision that keeps to the capacities."""
    decision, capacity, seconds = anyio.run(_train_and_ask, tmp_path)
    assert (decision.agent, decision.version) == (AGENT, "1")
    for resource_name, units in capacity.items():
        granted = sum(service.allocation[resource_name] for service in decision.services)
        assert 0 <= granted <= units * (1 + 1e-5), f"{granted} {resource_name} of {units}"
    assert decision.expert is not None
    print("trained as a job, promoted, asked; capacities kept")
    print(f"an answer takes {1e3 * seconds:.1f} ms")


async def _train_and_ask(folder: Path) -> tuple[AllocationDecision, dict[str, float], float]:
    """Train, promote, and ask twice, the second time by the clock."""
    async with open_application(Settings(var=folder), with_worker=True) as application:
        orchestrator = application.orchestrator
        job = await orchestrator.submit_training(TINY)
        ended = await run_with(application, partial(orchestrator.wait, job.id))
        assert ended is not None
        assert ended.state is JobState.SUCCEEDED, ended.error
        await orchestrator.promote(AGENT, "latest", reason="acceptance")
        example = (await orchestrator.card(AGENT)).examples[0]
        decision = await orchestrator.invoke(AGENT, {**example, "compare": True})
        assert isinstance(decision, AllocationDecision)
        began = time.perf_counter()
        await orchestrator.invoke(AGENT, example)
        return decision, example["capacity"], time.perf_counter() - began


CHECKS: dict[str, Callable[..., None]] = {
    "generation": test_generation,
    "environments": test_environments,
    "dict interface": test_the_dict_interface,
    "algorithms": test_algorithms,
    "curriculum": test_curriculum,
    "pipeline": test_pipeline,
    "integration": test_integration,
}


def main() -> int:
    """Run all checks and say what came of them.

    Returns:
        0 if all is well, 1 if something failed.
    """
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    print(f"Quartermaster acceptance, {versions}, {os.cpu_count()} cores\n")
    torch.set_num_threads(1)
    began, failures = time.perf_counter(), {}
    for number, (name, check) in enumerate(CHECKS.items(), 1):
        print(f"{number}/{len(CHECKS)} {name:<{NAME_WIDTH}}", end="", flush=True)
        failure = _run(check)
        if failure is not None:
            failures[name] = failure
    wall, peak = time.perf_counter() - began, _peak_memory()
    print(f"\n{wall:.0f} s, {_cpu_seconds():.0f} CPU seconds, {peak:,.0f} MiB at most")
    for name, trace in failures.items():
        print(f"\nFAILED: {name}\n{trace}", file=sys.stderr)
    verdict = f"{len(failures)} of {len(CHECKS)} checks FAILED" if failures else "all checks passed"
    print(verdict)
    return 1 if failures else 0


def _run(check: Callable[..., None]) -> str | None:
    """Run a check, print how it went, and return the traceback if it failed."""
    said, began = io.StringIO(), time.perf_counter()
    trace, word = None, "ok"
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(said):
            check(*[Path(folder)][: len(signature(check).parameters)])
    except Exception as error:  # noqa: BLE001  whatever it is, the other checks still run
        trace, word = traceback.format_exc(), "FAILED"
        said.write(f"{type(error).__name__}: {error}")
    width = max(40, shutil.get_terminal_size().columns - INDENT)
    lines = [part for line in said.getvalue().splitlines() for part in wrap(line, width)]
    print(f"{word:<6} {time.perf_counter() - began:5.1f} s  {(lines or [''])[0]}")
    for line in lines[1:]:
        print(f"{'':{INDENT}}{line}", flush=True)
    return trace


def _cpu_seconds() -> float:
    """Return what this process and its children have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_memory() -> float:
    """Return the largest resident size of this process or of a child, in MiB."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return max(resource.getrusage(one).ru_maxrss for one in who) / unit


if __name__ == "__main__":
    sys.exit(main())
