"""What do the quotes of Avellaneda and Stoikov earn, and how far are they from the best?

Run `python -m benchmarks.market_making`: every expert, a tuned fixed spread and the optimum of
dynamic programming in `BatchedMarketMaking` at the paper's parameters, their exact expected
returns beside simulation, and the paper's table (as recalled, not copied from the paper) beside as
many paths as it used. Prints a table, writes benchmarks/results/market_making.json. About 15 CPU
seconds on one core.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measuring import RESULTS, write_report
from data.order_flow import OrderFlowConfig, PoissonOrderFlow
from data.scenario import BankConfig, ScenarioBank
from rl.domains.market_making import MarketMakingConfig, avellaneda_stoikov
from rl.domains.market_making_experts import EXPERTS, Expert
from rl.environments.lockstep import LockstepOptions
from rl.environments.market_making_environment import BatchedMarketMaking
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.market_making_bounds import (
    OrderFlowLaw,
    compute_expected_return,
    compute_market_making_bound,
    tune_fixed_spread,
)
from utils.config import to_json

RISK_AVERSIONS = (0.0, 0.01, 0.1, 0.5)
EPISODES, PAPER_EPISODES = 20_000, 1000
SEED = 0
PAPER = {
    "avellaneda_stoikov": (65.0, 6.6, 2.9),
    "symmetric": (68.4, 12.7, 8.4),
}
"""At gamma 0.1: profit, its deviation, deviation of the final inventory; recalled."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One policy at one risk aversion; currency and shares, over an episode."""

    risk_aversion: float
    policy: str
    episodes: int
    exact_return: float
    """Expected spread less penalty, by recursion."""
    best_return: float
    """That of the optimum."""
    simulated_return: float
    standard_error: float
    profit: float
    """Change of wealth marked to the mid price, without the penalty."""
    profit_deviation: float
    final_inventory_deviation: float
    fills: float


def play(config: MarketMakingConfig, expert: Expert, episodes: int) -> dict[str, Tensor]:
    """Play one episode in every copy; sums and last figures, `[env]` each.

    Args:
        config: The task.
        expert: The quotes.
        episodes: How many copies.
    """
    source = PoissonOrderFlow(OrderFlowConfig(num_steps=config.num_steps))
    bank = ScenarioBank(source, BankConfig(num_episodes=episodes), SEED)
    options = LockstepOptions(num_envs=episodes, shuffle=False)
    environment = BatchedMarketMaking(config, bank, options, SEED)
    total, fills = (torch.zeros(episodes, dtype=torch.float64) for _ in range(2))
    metrics = {}
    for _ in range(config.num_steps):
        view = view_to_numpy(environment.view)
        record = environment.step(torch.from_numpy(expert(view, config))[:, None])
        metrics = record.metrics
        total += record.reward[:, 0]
        fills += metrics["fills"]
    return {
        "reward": total,
        "fills": fills,
        "profit": metrics["wealth_change"].double(),
        "inventory": metrics["inventory"].double(),
    }


def compare(risk_aversion: float, episodes: int) -> list[Row]:
    """Play everybody on the same order flow.

    Args:
        risk_aversion: gamma.
        episodes: How many.
    """
    config, law = avellaneda_stoikov(risk_aversion), OrderFlowLaw()
    optimum = compute_market_making_bound(config, law)
    tuned = tune_fixed_spread(config, law)
    policies = {**EXPERTS, f"fixed_spread {2 * tuned.distance:.2f}": tuned, "optimum": optimum}
    rows = []
    for name, expert in policies.items():
        found = play(config, expert, episodes)
        rows.append(
            Row(
                risk_aversion=risk_aversion,
                policy=name,
                episodes=episodes,
                exact_return=compute_expected_return(expert, config, law),
                best_return=optimum.expected_return,
                simulated_return=float(found["reward"].mean()),
                standard_error=float(found["reward"].std()) / episodes**0.5,
                profit=float(found["profit"].mean()),
                profit_deviation=float(found["profit"].std()),
                final_inventory_deviation=float(found["inventory"].std()),
                fills=float(found["fills"].mean()),
            )
        )
    return rows


def show(rows: list[Row]) -> None:
    """Print the table.

    Args:
        rows: Of the policies.
    """
    print(
        "gamma  policy               exact    best   simulated        profit     sd    sd q  fills"
    )
    for row in rows:
        print(
            f"{row.risk_aversion:5.2f}  {row.policy:18}  {row.exact_return:6.2f}  "
            f"{row.best_return:6.2f}  {row.simulated_return:6.2f} +- {row.standard_error:4.2f}  "
            f"{row.profit:8.2f}  {row.profit_deviation:5.2f}  "
            f"{row.final_inventory_deviation:6.2f}  {row.fills:5.1f}"
        )


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS / "market_making.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for gamma in RISK_AVERSIONS for row in compare(gamma, EPISODES)]
    show(rows)
    few = [row for row in compare(0.1, PAPER_EPISODES) if row.policy in PAPER]
    print(f"\n{PAPER_EPISODES} paths, as in the paper")
    show(few)
    for name, (profit, deviation, inventory) in PAPER.items():
        print(f"   recalled: {name:18}  {profit:.1f}, sd {deviation:.1f}, sd q {inventory:.1f}")
    content = {
        "command": "python -m benchmarks.market_making",
        "flow_seed": SEED,
        "rows": [to_json(row) for row in rows],
        "paper_paths": [to_json(row) for row in few],
        "paper_recalled": {name: list(values) for name, values in PAPER.items()},
    }
    write_report(options.output, content)


if __name__ == "__main__":
    main()
