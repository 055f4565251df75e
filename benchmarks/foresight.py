"""How much of the gap between experts and hindsight is the price of not knowing the next demand?

Run `OMP_NUM_THREADS=1 python -m benchmarks.foresight`: on held-out windows of the shared services
(real demand where the trace files are at hand) a planner solves a linear programme anew before
every step. It is told the true demand and capacity of the next k steps, k = 0, 1, 2, 4 or all, and
expects the mean of the last steps beyond. k = 0 is what any policy knows when it decides; the
programme of the whole window is the bound. Beside them the tuned experts, on the same windows.
Writes benchmarks/results/foresight.json. About a minute of CPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array, identity, kron

from benchmarks.measuring import RESULTS, write_report
from data.scenario import WorkloadScenarios
from rl.domains.resource_allocation import AllocationConfig, AllocationView
from rl.evaluation.bounds import BoundError
from rl.evaluation.contest import ScenarioSet
from rl.evaluation.players import rule_player
from rl.evaluation.statistics import Estimate, block_bootstrap_interval, block_bootstrap_ratio
from rl.training.allocation_world import build_world
from rl.training.problem import Problem
from rl.training.problems import make_problem
from rl.training.training_config import TrainingConfig

KNOWN_STEPS = (0, 1, 2, 4)
WINDOWS_OF_A_DAY = 4

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to decide, on all windows."""

    name: str
    kpi: float
    to_expert: Estimate | None
    """Paired difference to the best tuned expert; None for itself."""
    gap_closed: Estimate | None
    """Share of the way from that expert to the bound."""


@dataclass(frozen=True, kw_only=True)
class _Programme:
    """The programme of one window, a few steps ahead; what is asked for comes anew in each step."""

    rows: csr_array
    value_of: NDArray[np.intp]
    """`[variable]`: service."""
    now: csr_array
    """`[service, variable]`: what is served in the first step."""


class Planner:
    """Allocates by what is known and expected; one rule for all windows of a set, in lockstep."""

    def __init__(self, config: AllocationConfig, scenarios: WorkloadScenarios, known: int) -> None:
        """Make the programme.

        Args:
            config: The world.
            scenarios: What the planner is told of.
            known: Steps of which it is told, from the one that is decided.
        """
        self._config, self._scenarios, self._known = config, scenarios, known
        self._ahead = known + config.max_patience
        self._usage = np.asarray([service.usage for service in config.services])
        self._programme = _make_programme(config, self._ahead)
        self._step = 0

    def __call__(self, view: AllocationView) -> NDArray[np.floating]:
        """Return shares of the capacities, `[window, service * resource]`.

        Args:
            view: What is known, NumPy.

        Raises:
            BoundError: The solver found no optimum.
        """
        demand, capacity = self._expect(view)
        programme, windows = self._programme, len(demand)
        asked = np.concatenate([view.backlog, demand.swapaxes(1, 2)], axis=2)
        limits = np.concatenate([capacity.reshape(windows, -1), asked.reshape(windows, -1)], axis=1)
        eye = identity(windows, format="csr")
        value = np.asarray(view.priority, np.float64)[:, programme.value_of]
        solution = linprog(
            -value.ravel(),
            A_ub=kron(eye, programme.rows, format="csr"),
            b_ub=np.maximum(limits, 0.0).ravel(),
            method="highs-ds",
        )
        if solution.status != 0:
            raise BoundError(f"no plan in step {self._step}: {solution.message}")
        self._step += 1
        served = solution.x.reshape(windows, -1) @ programme.now.T
        units = served[..., None] * self._usage
        shares = units / np.maximum(view.capacity[:, None], 1e-9)
        return np.asarray(shares.reshape(windows, -1))

    def _expect(self, view: AllocationView) -> tuple[Floats, Floats]:
        """Return demand and capacity of the steps ahead, `[window, step, ...]`."""
        expected = np.asarray(view.recent_demand, np.float64).mean(-1)
        demand = np.repeat(expected[:, None], self._ahead, axis=1)
        capacity = np.repeat(np.asarray(view.capacity, np.float64)[:, None], self._ahead, axis=1)
        until = min(self._step + self._known, self._scenarios.demand.shape[1])
        told = until - self._step
        demand[:, :told] = self._scenarios.demand[:, self._step : until]
        capacity[:, :told] = self._scenarios.capacity[:, self._step : until]
        rest = max(0, self._scenarios.demand.shape[1] - self._step)
        demand[:, rest:], capacity[:, rest:] = 0.0, 0.0
        return demand, capacity


def _make_programme(config: AllocationConfig, ahead: int) -> _Programme:
    """Make rows for capacity of each step and for each pile of work.

    Piles of a service: what waits, by the steps it can still wait, then what arrives by step.
    """
    usage = np.asarray([service.usage for service in config.services])
    services, resources = usage.shape
    piles = config.max_patience + ahead
    entries: list[tuple[int, int, int]] = []
    for service, one in enumerate(config.services):
        for slack in range(min(one.patience, config.max_patience)):
            entries += [(service, slack, step) for step in range(min(slack + 1, ahead))]
        for arrival in range(ahead):
            last = min(arrival + one.patience, ahead)
            pile = config.max_patience + arrival
            entries += [(service, pile, step) for step in range(arrival, last)]
    service, pile, step = np.asarray(entries).T
    variables = np.arange(len(service))
    capacity_rows = step * resources + np.arange(resources)[:, None]
    pile_rows = ahead * resources + service * piles + pile
    rows = csr_array(
        (
            np.concatenate([usage.T[:, service].ravel(), np.ones(len(service))]),
            (
                np.concatenate([capacity_rows.ravel(), pile_rows]),
                np.concatenate([np.tile(variables, resources), variables]),
            ),
        ),
        shape=(ahead * resources + services * piles, len(service)),
    )
    first = np.flatnonzero(step == 0)
    now = csr_array((np.ones(len(first)), (service[first], first)), shape=(services, len(service)))
    return _Programme(rows=rows, value_of=service, now=now)


def choose_windows(held_out: ScenarioSet, each: int) -> ScenarioSet:
    """Take a few windows of every day, evenly spaced.

    Args:
        held_out: All windows.
        each: How many of a day.
    """
    chosen: list[int] = []
    for day in np.unique(held_out.blocks):
        of_day = np.flatnonzero(held_out.blocks == day)
        chosen += of_day[np.linspace(0, len(of_day) - 1, each).round().astype(int)].tolist()
    return ScenarioSet(
        name=held_out.name,
        about=held_out.about,
        scenarios=held_out.scenarios.take(np.asarray(chosen)),
        blocks=held_out.blocks[chosen],
        block_name=held_out.block_name,
    )


def play_all(
    problem: Problem, episodes: ScenarioSet, known_steps: Sequence[int], *, tuned: bool
) -> dict[str, Floats]:
    """Play the experts and the planners; return KPIs, `[window]`.

    Args:
        problem: The world.
        episodes: The windows.
        known_steps: Of the planners.
        tuned: Whether experts are tuned first, which takes most of the time.
    """
    config = build_world(TrainingConfig().num_agents).preset.allocation
    scenarios: Any = episodes.scenarios
    kpis: dict[str, Floats] = {}
    for name, rule in problem.experts.items():
        player = rule.player(rule.tune() if tuned else ())
        kpis[name] = np.asarray(problem.contest.play(player, episodes).kpi)
        print(f"  {name}: {kpis[name].mean():,.0f}", flush=True)
    steps = scenarios.demand.shape[1]
    for known in (*known_steps, steps):
        planner = Planner(config, scenarios, known)
        name = "told all" if known == steps else f"told {known} steps"
        kpis[name] = np.asarray(problem.contest.play(rule_player(planner), episodes).kpi)
        print(f"  {name}: {kpis[name].mean():,.0f}", flush=True)
    if problem.bound is not None:
        kpis["bound"] = np.asarray(problem.bound(scenarios))
    return kpis


def describe(
    kpis: dict[str, Floats], blocks: NDArray[np.intp], experts: Sequence[str]
) -> list[Row]:
    """Compare with the best expert.

    Args:
        kpis: `[window]`, by name; among them `bound`.
        blocks: Day of each window.
        experts: Names of those among them.
    """
    best = max(experts, key=lambda name: float(kpis[name].mean()))
    gap = (kpis["bound"] - kpis[best])[None]
    rows = []
    for name, kpi in sorted(kpis.items(), key=lambda item: float(item[1].mean())):
        gain = (kpi - kpis[best])[None]
        is_best = name == best
        rows.append(
            Row(
                name=name,
                kpi=float(kpi.mean()),
                to_expert=None if is_best else block_bootstrap_interval(gain, blocks),
                gap_closed=None if is_best else block_bootstrap_ratio(gain, gap, blocks),
            )
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, print, write.

    Args:
        arguments: Of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one window of a day, less told")
    parser.add_argument("--output", type=Path, default=RESULTS / "foresight.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    problem = make_problem(TrainingConfig())
    episodes = choose_windows(problem.held_out, 1 if options.smoke else WINDOWS_OF_A_DAY)
    known = KNOWN_STEPS[:2] if options.smoke else KNOWN_STEPS
    kpis = play_all(problem, episodes, known, tuned=not options.smoke)
    rows = describe(kpis, episodes.blocks, list(problem.experts))
    for row in rows:
        share = "" if row.gap_closed is None else f"{row.gap_closed.mean:.0%} of the gap"
        print(f"{row.name:18} {row.kpi:10,.0f}  {share}")
    write_report(
        options.output,
        {
            "command": "python -m benchmarks.foresight",
            "data": episodes.about,
            "windows": len(episodes.blocks),
            "days": len(np.unique(episodes.blocks)),
            "rows": [asdict(row) for row in rows],
        },
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
