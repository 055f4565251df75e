"""Does a learned policy sell better than TWAP, as well as the optimum, and hold better than 1/N?

Run `python -m benchmarks.trading_learning`: trains through `rl.training` problems with three seeds
each: the trading demo (4 desks, 2,000 episodes, PPO and APG), the example of Almgren and Chriss at
lambda 1e-6 and 2e-6, and the portfolio of twenty shares. Every run chooses its policy on validation
episodes and is then scored once on held-out ones. Runs that are stored in
benchmarks/results/trading_learning/ are not run, nor scored, again. Prints the tables and writes
benchmarks/results/trading_learning.json. Needs the price files of data/price_traces.py. About six
CPU minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measuring import RESULTS, write_report
from benchmarks.stored_runs import Row, StoredRuns
from data.price_traces import PRICE_SOURCES, load_stocks
from data.scenario import ScenarioBank
from data.traces import locate_traces
from rl.algorithms.capabilities import Algorithm
from rl.domains.portfolio import PortfolioConfig
from rl.domains.portfolio_experts import EXPERTS
from rl.evaluation.players import Player
from rl.evaluation.portfolio_scores import compute_lead, compute_scores
from rl.evaluation.statistics import block_bootstrap_interval
from rl.training.agents import Agent, make_agent
from rl.training.execution_problem import execution_problem
from rl.training.learners import make_learner
from rl.training.portfolio_problem import (
    FIRST_LOCKED_DAY,
    cut_days,
    judge_in,
    portfolio_player,
    portfolio_problem,
    rebalancing_player,
)
from rl.training.problem import Problem
from rl.training.trading_problem import trading_problem
from utils.config import to_json
from utils.seeding import derive_seed

SEEDS = range(3)
EVALUATIONS = 10
DEMO_EPISODES = 2_000
EXECUTION_EPISODES: Mapping[Algorithm, int] = {"apg": 76_800, "ppo": 102_400}
RISK_AVERSIONS = (1e-6, 2e-6)
PORTFOLIO_EPISODES = 3_840
MONTH = 21
YEAR = 252

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """An agent that acts as it did when validation liked it best."""

    agent: Agent
    first: float
    """Validation KPI before training."""
    best: float
    env_steps: int
    cpu_seconds: float
    """Of training and validation."""


def train(problem: Problem, algorithm: Algorithm, episodes: int, *, seed: int) -> Trained:
    """Train one agent and go back to its best policy on validation episodes.

    Args:
        problem: What is learnt.
        algorithm: How.
        episodes: At least so many.
        seed: Of weights and episodes.
    """
    settings = problem.settings_of(algorithm)
    bank = ScenarioBank(problem.training, problem.bank, derive_seed(seed, "training"))
    environment = problem.learn_in(bank, settings.num_envs, seed)
    agent = make_agent(settings.config, environment, seed=seed)
    learner = make_learner(environment, agent, rollout_steps=settings.rollout_steps, seed=seed)
    total = episodes * environment.shape.num_steps
    begun = time.process_time()
    first = best = float(problem.contest.play_policy(agent, problem.validation).kpi.mean())
    policy = agent.policy_state()
    for evaluation in range(1, EVALUATIONS + 1):
        while learner.env_steps < total * evaluation // EVALUATIONS:
            learner.learn(total)
        kpi = float(problem.contest.play_policy(agent, problem.validation).kpi.mean())
        if kpi > best:
            best, policy = kpi, agent.policy_state()
    agent.load_policy_state(policy)
    seconds = round(time.process_time() - begun, 1)
    return Trained(
        agent=agent, first=first, best=best, env_steps=learner.env_steps, cpu_seconds=seconds
    )


def describe(trained: Trained) -> Row:
    """Return what is stored of any run.

    Args:
        trained: The run.
    """
    names = ("first", "best", "env_steps", "cpu_seconds")
    return {name: getattr(trained, name) for name in names}


def run_episodes(problem: Problem, algorithm: Algorithm, episodes: int, seed: int) -> Row:
    """Train, and score once on held-out and stress episodes; KPI `[episode]` by set.

    Args:
        problem: What is learnt.
        algorithm: How.
        episodes: How long.
        seed: Of the run.
    """
    trained = train(problem, algorithm, episodes, seed=seed)
    sets = (problem.held_out, *problem.stress)
    scores = {one.name: problem.contest.play_policy(trained.agent, one).kpi for one in sets}
    return {
        **describe(trained),
        "kpi": {name: np.round(kpi, 2).tolist() for name, kpi in scores.items()},
    }


def run_execution(problem: Problem, algorithm: Algorithm, episodes: int, seed: int) -> Row:
    """Train, and score once on held-out shocks; the mean KPI.

    Args:
        problem: What is learnt.
        algorithm: How.
        episodes: How long.
        seed: Of the run.
    """
    trained = train(problem, algorithm, episodes, seed=seed)
    kpi = problem.contest.play_policy(trained.agent, problem.held_out).kpi
    return {**describe(trained), "kpi": float(kpi.mean())}


def judge_desks(problem: Problem, rows: list[Row]) -> list[Row]:
    """Compare all seeds with TWAP and with Almgren and Chriss, on every set.

    Args:
        problem: The demo's.
        rows: Of one algorithm.
    """
    if problem.bound is None:
        raise ValueError("the demo has a bound")
    bound = float(problem.bound(problem.held_out.scenarios).mean())
    judged = []
    for one in (problem.held_out, *problem.stress):
        ours = np.asarray([row["kpi"][one.name] for row in rows])
        rules = {
            name: problem.contest.play(problem.experts[name].player(()), one).kpi
            for name in ("twap", "almgren_chriss")
        }
        leads = {
            f"lead_over_{name}": to_json(block_bootstrap_interval(ours - kpi, one.blocks))
            for name, kpi in rules.items()
        }
        judged.append(
            {
                "algorithm": rows[0]["library"],
                "set": one.name,
                "about": one.about,
                "sha256": one.sha256,
                "kpi": float(ours.mean()),
                **{name: float(kpi.mean()) for name, kpi in rules.items()},
                "bound": bound if one is problem.held_out else None,
                **leads,
                "lead_of_each_seed": [float((row - rules["twap"]).mean()) for row in ours],
                "seeds_with_interval_above_twap": sum(
                    block_bootstrap_interval(row - rules["twap"], one.blocks).low > 0
                    for row in ours
                ),
            }
        )
    return judged


def judge_execution(problem: Problem, rows: list[Row], risk_aversion: float) -> Row:
    """Put the cost of each seed beside the optimum.

    Args:
        problem: The example's.
        rows: Of one algorithm.
        risk_aversion: lambda.
    """
    if problem.bound is None:
        raise ValueError("the example has a bound")
    best = float(problem.bound(problem.held_out.scenarios)[0])
    reached = [row["kpi"] for row in rows]
    return {
        "algorithm": rows[0]["library"],
        "risk_aversion": risk_aversion,
        "best": -best,
        "reached": [-kpi for kpi in reached],
        "excess": [kpi / best - 1.0 for kpi in reached],
    }


def play_locked(players: Mapping[str, Player]) -> dict[str, Floats]:
    """Let each player hold a portfolio through all locked days; log growth `[day]` by name.

    Args:
        players: By name.
    """
    folder = locate_traces()
    if folder is None:
        raise SystemExit(f"no price files; get them: {PRICE_SOURCES}")
    table = load_stocks(folder)
    days = int((table.dates >= np.datetime64(FIRST_LOCKED_DAY, "D")).sum())
    config = PortfolioConfig(num_steps=days)
    scenarios = cut_days(table, FIRST_LOCKED_DAY, days)
    found = {}
    for name, player in players.items():
        environment = judge_in(config, scenarios)
        record, growth = environment.reset(), []
        with torch.no_grad():
            for _ in range(days):
                record = environment.step(player(environment, record))
                growth.append(float(record.metrics["log_growth"]))
        found[name] = np.asarray(growth)
    return found


def run_portfolio(problem: Problem, seed: int) -> Row:
    """Train, and score once on the locked days, as is and before training.

    Args:
        problem: The portfolio's.
        seed: Of the run.
    """
    trained = train(problem, "apg", PORTFOLIO_EPISODES, seed=seed)
    settings = problem.settings_of("apg")
    bank = ScenarioBank(problem.training, problem.bank, derive_seed(seed, "training"))
    untrained = make_agent(settings.config, problem.learn_in(bank, 1, seed), seed=seed)
    growth = play_locked(
        {
            "learned": rebalancing_player(trained.agent),
            "untrained": rebalancing_player(untrained),
        }
    )
    return {
        **describe(trained),
        "log_growth": {name: np.round(days, 9).tolist() for name, days in growth.items()},
    }


def judge_portfolio(rows: list[Row]) -> list[Row]:
    """Compare all seeds, before and after training, with 1/N on the locked days.

    Args:
        rows: Of all seeds.
    """
    task = PortfolioConfig(num_steps=len(rows[0]["log_growth"]["learned"]))
    rules = {name: portfolio_player(EXPERTS[name], task) for name in ("equal", "buy_and_hold")}
    played = play_locked(rules)
    equal, blocks = played["equal"], np.arange(task.num_steps) // MONTH
    found = []
    for name in ("learned", "untrained", "buy_and_hold"):
        ours = [np.asarray(row["log_growth"][name]) for row in rows if name in row["log_growth"]]
        growth = np.stack(ours or [played[name]])
        lead = block_bootstrap_interval((growth - equal) * YEAR, blocks)
        found.append(
            {
                "policy": name,
                "lead_a_year": to_json(lead),
                "lead_of_each_seed": [
                    to_json(compute_lead(one, equal).annual_log_growth) for one in growth
                ],
                "scores": [to_json(compute_scores(one)) for one in growth],
            }
        )
    return [*found, {"policy": "equal", "scores": [to_json(compute_scores(equal))]}]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runs:
    """Runs that are stored, and those that are made now."""

    stored: StoredRuns
    only_stored: bool
    """Make none."""

    def collect(
        self, task: str, algorithm: Algorithm, episodes: int, run: Callable[[int], Row]
    ) -> list[Row]:
        """Return one row a seed; fewer if they are not to be made.

        Args:
            task: Its name.
            algorithm: Who learns.
            episodes: Budget.
            run: Makes the row of a seed.
        """
        if self.only_stored:
            return self.stored.rows(task, algorithm, episodes)
        return [
            self.stored.run_once(task, algorithm, partial(run, seed), env_steps=episodes, seed=seed)
            for seed in SEEDS
        ]


def run_all(runs: Runs) -> dict[str, Any]:
    """Run what is not stored, and judge everything.

    Args:
        runs: Where runs are kept.
    """
    desks, portfolio = trading_problem(), portfolio_problem()
    algorithms: tuple[Algorithm, ...] = ("apg", "ppo")
    demo, execution, seconds = [], [], {}
    for algorithm in algorithms:
        run = partial(run_episodes, desks, algorithm, DEMO_EPISODES)
        rows = runs.collect("desks", algorithm, DEMO_EPISODES, run)
        seconds[algorithm] = [row["cpu_seconds"] for row in rows]
        demo += judge_desks(desks, rows)
    for risk_aversion in RISK_AVERSIONS:
        problem = execution_problem(risk_aversion)
        for algorithm in algorithms:
            episodes = EXECUTION_EPISODES[algorithm]
            run = partial(run_execution, problem, algorithm, episodes)
            rows = runs.collect(f"execution_{risk_aversion:.0e}", algorithm, episodes, run)
            if rows:
                execution.append(judge_execution(problem, rows, risk_aversion))
    rows = runs.collect("portfolio", "apg", PORTFOLIO_EPISODES, partial(run_portfolio, portfolio))
    return {
        "desks": demo,
        "desks_cpu_seconds": seconds,
        "execution": execution,
        "portfolio": judge_portfolio(rows) if rows else [],
        "portfolio_validation": [{key: row[key] for key in ("first", "best")} for row in rows],
    }


def show(found: Mapping[str, Any]) -> None:
    """Print the tables.

    Args:
        found: What `run_all` returned.
    """
    for row in found["desks"]:
        print(
            f"{row['algorithm']}  {row['set']:12}  {row['kpi']:9.1f}  over TWAP "
            f"{_between(row['lead_over_twap'], 1)}  over Almgren-Chriss "
            f"{_between(row['lead_over_almgren_chriss'], 1)}"
        )
    for row in found["execution"]:
        excess = ", ".join(f"{value:+.3%}" for value in row["excess"])
        print(f"{row['algorithm']}  lambda {row['risk_aversion']:.0e}: {excess} over the optimum")
    for row in found["portfolio"]:
        if "lead_a_year" in row:
            print(f"{row['policy']:12}  growth a year over 1/N {_between(row['lead_a_year'], 4)}")


def _between(estimate: Mapping[str, float], digits: int) -> str:
    mean, low, high = (estimate[name] for name in ("mean", "low", "high"))
    return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def main() -> None:
    """Train, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-stored", action="store_true", help="judge; train nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    stored = StoredRuns(RESULTS / "trading_learning")
    found = run_all(Runs(stored=stored, only_stored=options.only_stored))
    show(found)
    report = {"command": "python -m benchmarks.trading_learning", "seeds": len(SEEDS), **found}
    write_report(RESULTS / "trading_learning.json", report)


if __name__ == "__main__":
    main()
