"""What learners reach in supply chains and shares of a link, beside tuned rules and known optima.

Run `OMP_NUM_THREADS=1 python -m benchmarks.supply_learning [--task NAME ...] [--seeds 3]`: a table,
and JSON in benchmarks/results/supply_learning.json. Every run is stored under `--runs` when it
ends, and is not made again. A policy is the last of its run; nothing was chosen on what it is
judged by. Rules are tuned on training scenarios. What each task asks for is its `bar`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import RESULTS, write_report
from benchmarks.share_learning import play_traffic, train_traffic
from benchmarks.shelf_learning import SHELF_OPTIMUM, play_shelf, train_shelf
from benchmarks.stored_runs import Row, StoredRuns
from data.scenario import ScenarioBank
from rl.algorithms.base_algorithm import Policy
from rl.algorithms.capabilities import Algorithm
from rl.evaluation.statistics import Estimate, block_bootstrap_interval
from rl.training.agents import make_agent
from rl.training.inventory_problem import inventory_problem
from rl.training.learners import make_learner
from rl.training.problem import Problem
from rl.training.supply_problem import supply_chain_problem
from utils.seeding import derive_seed

OURS = "quartermaster"
RULES = "rules"
"""What is stored of tuned rules and bounds: as one run of seed 0."""
PLANNED = 60
"""Episodes that linear programs play; they take seconds each."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A problem, a learner, a length and what is asked."""

    problem: Callable[[], Problem]
    algorithm: Algorithm
    episodes: int
    bar: str


TASKS: dict[str, Task] = {
    "supply_chain-apg": Task(
        problem=supply_chain_problem,
        algorithm="apg",
        episodes=3_000,
        bar="above the best tuned rule on held-out episodes, paired interval above zero",
    ),
    "supply_chain-ppo": Task(
        problem=supply_chain_problem,
        algorithm="ppo",
        episodes=3_000,
        bar="above the best tuned rule on held-out episodes, paired interval above zero",
    ),
    "serial_inventory-apg": Task(
        problem=partial(inventory_problem, "serial_inventory"),
        algorithm="apg",
        episodes=25_600,
        bar="at least 500",
    ),
    "serial_inventory_lost_sales-apg": Task(
        problem=partial(inventory_problem, "serial_inventory_lost_sales"),
        algorithm="apg",
        episodes=25_600,
        bar="at least 480",
    ),
}
KNOWN_OPTIMA: dict[str, tuple[Callable[[int], tuple[Policy, Row]], str]] = {
    "fixed_order_cost-ppo": (train_shelf, "at most 1.02 times the optimal cost of a step"),
    "traffic_shares-ppo": (train_traffic, "above no-op, which is the best stationary policy"),
}
REPORTED = ("fill_rate", "bullwhip", "mean_stock")


@cache
def _problem(name: str) -> Problem:
    return TASKS[name].problem()


def train(problem: Problem, algorithm: Algorithm, episodes: int, seed: int) -> tuple[Policy, Row]:
    """Train for so many episodes.

    Args:
        problem: What is learnt.
        algorithm: One it has settings for.
        episodes: Summed over copies; whole rounds.
        seed: Of everything.
    """
    settings = problem.settings_of(algorithm)
    bank = ScenarioBank(problem.training, problem.bank, derive_seed(seed, "training bank"))
    world = problem.learn_in(bank, settings.num_envs, seed)
    agent = make_agent(settings.config, world, seed=derive_seed(seed, "agent"))
    learner = make_learner(world, agent, rollout_steps=settings.rollout_steps, seed=seed)
    rounds = -(-episodes // settings.num_envs)
    total = rounds * settings.num_envs * problem.contest.num_steps
    begun = time.process_time()
    while learner.env_steps < total:
        learner.learn(total)
    seconds = round(time.process_time() - begun, 1)
    return agent, {"env_steps": learner.env_steps, "cpu_seconds": seconds}


def learn(name: str, seed: int) -> Row:
    """Train one policy and let it play the held-out and stress sets.

    Args:
        name: In `TASKS`.
        seed: Of the run.
    """
    task, problem = TASKS[name], _problem(name)
    agent, effort = train(problem, task.algorithm, task.episodes, seed)
    sets = (problem.held_out, *problem.stress)
    scores = {one.name: problem.contest.play_policy(agent, one) for one in sets}
    figures = scores["held_out"].figures
    return {
        **effort,
        "kpi": {set_: score.kpi.round(4).tolist() for set_, score in scores.items()},
        "figures": {k: float(v.mean()) for k, v in figures.items() if k in REPORTED},
    }


def play_rules(name: str) -> Row:
    """Tune every rule on training scenarios and let it play the same sets; compute the bound.

    Args:
        name: In `TASKS`.
    """
    problem = _problem(name)
    row: Row = {"parameters": {}, "kpi": {}, "figures": {}}
    for expert, rule in problem.experts.items():
        found = rule.tune()
        player = rule.player(found)
        row["parameters"][expert] = {one.name: one.value for one in found}
        sets = (problem.held_out, *problem.stress)
        if expert == "shrinking_horizon":
            sets = (problem.held_out.first(PLANNED),)
        scores = {one.name: problem.contest.play(player, one) for one in sets}
        row["kpi"][expert] = {k: v.kpi.round(4).tolist() for k, v in scores.items()}
        figures = scores["held_out"].figures
        row["figures"][expert] = {k: float(v.mean()) for k, v in figures.items() if k in REPORTED}
    if problem.bound is not None:
        bound = problem.bound(problem.held_out.scenarios)
        row["kpi"]["bound"] = {"held_out": bound.round(4).tolist()}
    return row


def learn_known(name: str, seed: int) -> Row:
    """Train one policy in a world of known optimum and measure it.

    Args:
        name: In `KNOWN_OPTIMA`.
        seed: Of the run.
    """
    agent, effort = KNOWN_OPTIMA[name][0](seed)
    if name == "fixed_order_cost-ppo":
        return {**effort, **play_shelf(agent)}
    return {**effort, **play_traffic(agent)}


def summarise(name: str, rules: Row, runs: list[Row]) -> dict[str, Any]:
    """Compare the runs of a task with its rules.

    Args:
        name: In `TASKS`.
        rules: What `play_rules` found.
        runs: One per seed.
    """
    problem = _problem(name)
    tuned = {k: v for k, v in rules["kpi"].items() if k not in ("bound", "shrinking_horizon")}
    best = max(tuned, key=lambda k: float(np.mean(tuned[k]["held_out"])))
    sets = {}
    for one in (problem.held_out, *problem.stress):
        ours = np.asarray([run["kpi"][one.name] for run in runs])
        theirs = np.asarray(tuned[best][one.name])
        difference = block_bootstrap_interval(ours - theirs, one.blocks)
        sets[one.name] = {
            "episodes": ours.shape[1],
            "agent": float(ours.mean()),
            "rules": {k: float(np.mean(v[one.name])) for k, v in tuned.items()},
            "difference": _interval(difference),
            "difference_by_seed": [
                _interval(block_bootstrap_interval(row, one.blocks)) for row in ours - theirs
            ],
        }
    planned = rules["kpi"].get("shrinking_horizon")
    return {
        "bar": TASKS[name].bar,
        "best_rule": best,
        "sets": sets,
        "bound": float(np.mean(rules["kpi"]["bound"]["held_out"])),
        "shrinking_horizon": None if planned is None else _beside(planned["held_out"], runs),
        "parameters": rules["parameters"],
        "figures": {"agent": _mean([run["figures"] for run in runs]), **rules["figures"]},
        "seeds": [run["seed"] for run in runs],
        "cpu_seconds": [run["cpu_seconds"] for run in runs],
        "env_steps": runs[0]["env_steps"],
    }


def _beside(planned: list[float], runs: list[Row]) -> dict[str, float]:
    """Set the program beside the agents, on the episodes that it played."""
    ours = np.mean([run["kpi"]["held_out"][: len(planned)] for run in runs])
    return {
        "episodes": len(planned),
        "program": float(np.mean(planned)),
        "agent_on_the_same": float(ours),
    }


def _interval(estimate: Estimate) -> list[float]:
    return [round(value, 3) for value in (estimate.mean, estimate.low, estimate.high)]


def _mean(rows: list[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def train_seed(name: str, runs: StoredRuns, seed: int) -> Row:
    """Make one run, or return what is stored of it.

    Args:
        name: In `TASKS` or `KNOWN_OPTIMA`.
        runs: Where runs are stored.
        seed: Of the run.
    """
    learning = partial(learn if name in TASKS else learn_known, name, seed)
    length = TASKS[name].episodes if name in TASKS else 0
    return runs.run_once(name, OURS, learning, env_steps=length, seed=seed)


def run_task(name: str, runs: StoredRuns, seeds: int) -> dict[str, Any]:
    """Make what is missing of a task, and sum it up.

    Args:
        name: In `TASKS` or `KNOWN_OPTIMA`.
        runs: Where runs are stored.
        seeds: How many.
    """
    rows = [train_seed(name, runs, seed) for seed in range(seeds)]
    if name in KNOWN_OPTIMA:
        keep = [k for k in rows[0] if k not in ("task", "library", "budget", "commit")]
        return {"bar": KNOWN_OPTIMA[name][1], "runs": [{k: r[k] for k in keep} for r in rows]}
    world = name.split("-", maxsplit=1)[0]
    rules = runs.run_once(world, RULES, partial(play_rules, name), env_steps=0, seed=0)
    return summarise(name, rules, rows)


def supply_table(results: Mapping[str, Any]) -> str:
    """Return the table of docs/training/supply_chain.md.

    Args:
        results: The JSON.
    """
    lines = [
        "| world | learner | rule, optimum | bound | difference | seeds | CPU s | bar met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, task in results["tasks"].items():
        lines.append(_known_line(name, task) if "runs" in task else _line(name, task))
    return "\n".join(lines)


def _line(name: str, task: Mapping[str, Any]) -> str:
    held, rule = task["sets"]["held_out"], task["best_rule"]
    mean, low, high = held["difference"]
    least = {"serial_inventory-apg": 500.0, "serial_inventory_lost_sales-apg": 480.0}.get(name)
    worst = min(one[1] for one in held["difference_by_seed"])
    met = worst > 0 if least is None else held["agent"] >= least
    return (
        f"| {name} | {held['agent']:,.1f} | {rule} {held['rules'][rule]:,.1f} | "
        f"{task['bound']:,.1f} | {mean:+,.1f} [{low:+,.1f}, {high:+,.1f}] | "
        f"{len(task['seeds'])} | {np.mean(task['cpu_seconds']):.0f} | {_yes(met)} |"
    )


def _known_line(name: str, task: Mapping[str, Any]) -> str:
    runs = task["runs"]
    spent = np.mean([run["cpu_seconds"] for run in runs])
    if name == "fixed_order_cost-ppo":
        cost = [run["cost"] for run in runs]
        met = max(cost) <= 1.02 * SHELF_OPTIMUM
        return (
            f"| {name} | {', '.join(f'{c:.2f}' for c in cost)} a step | (s, S) {SHELF_OPTIMUM} | | "
            f"{100 * (np.mean(cost) / SHELF_OPTIMUM - 1):+.1f} % cost | "
            f"{len(runs)} | {spent:.0f} | {_yes(met)} |"
        )
    gains = np.asarray([run["gain"] for run in runs])
    low = min(run["gain_low"] for run in runs)
    return (
        f"| {name} | {np.mean([run['return'] for run in runs]):.1f} | no-op, best static "
        f"{np.mean([run['no_op'] for run in runs]):.1f} | {runs[0]['bound']:.1f} | "
        f"{gains.mean():+.2f}, at least {low:+.2f} | {len(runs)} | {spent:.0f} | "
        f"{_yes(low > 0)} |"
    )


def _yes(met: object) -> str:
    return "yes" if met else "no"


def main() -> None:
    """Train what is not stored, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = (*TASKS, *KNOWN_OPTIMA)
    parser.add_argument("--task", choices=names, action="append", help="one of them; default: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only_seed", type=int, help="train this one and stop: for many at once")
    parser.add_argument("--runs", type=Path, default=Path("var/supply_learning"))
    parser.add_argument("--output", type=Path, default=RESULTS / "supply_learning.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = StoredRuns(options.runs)
    if options.only_seed is not None:
        for name in options.task or names:
            train_seed(name, runs, options.only_seed)
        return
    tasks = {name: run_task(name, runs, options.seeds) for name in options.task or names}
    results = {"command": "python -m benchmarks.supply_learning", "tasks": tasks}
    print(supply_table(results))
    write_report(options.output, results)


if __name__ == "__main__":
    main()
