"""gym-invmgmt's published table on our core, its limits and our planner beside it, and speed.

Run `OMP_NUM_THREADS=1 python -m benchmarks.supply_network --peer /opt/peers/invmgmt/bin/python`:
the experts' rules on the canonical seeds beside the published rows, the hindsight bound beside the
published oracle, a rolling linear program, the blind rules in the vehicle maker's chain, and joint
steps per CPU second beside the package's in the same run. Prints tables and writes
benchmarks/results/supply_network.json. About two minutes on one core. Without `--peer` (a Python
that has gym-invmgmt 0.2.1) speed is not compared.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.environment_speed import describe_machine
from data.supply_scenarios import make_quiet_scenarios
from data.traces import locate_traces
from rl.domains.supply_business import five_product
from rl.domains.supply_experts import EXPERTS, SupplyExperts
from rl.domains.supply_presets import SupplyPreset, multi_echelon, serial
from rl.environments.supply_chain_environment import make_multi_echelon, make_serial
from rl.environments.supply_network_environment import BatchedSupplyNetwork
from rl.evaluation.supply_bounds import RollingPlanner, supply_hindsight_bound
from rl.evaluation.supply_scores import (
    CANONICAL_SEEDS,
    draw_in_order,
    score_on_seeds,
    score_policy,
)

RESULTS = Path(__file__).parent / "results" / "supply_network.json"
PUBLISHED = "published_gym_invmgmt_results.csv"
COLUMNS = {"newsvendor": "Newsvendor", "s_S": "sS", "echelon_base_stock": "EchelonApprox"}
BLOCKS = ("A_Core", "B_PaperReplication")
ORDER_LIMIT = 3100.0
"""The package's largest order."""
FORESIGHT, SAFETY = 30, 0.75
BUSINESS_STEPS, BUSINESS_EPISODES, EXTRA_STEPS = 150, 16, 2
BATCHES = (256, 1024, 2048, 4096)
STEPS, WARM_UP, ROUNDS = 90, 30, 3
BARS = {"joint_steps_per_second": 100_000, "times_the_package": 100}
PEER_SCRIPT = Path(__file__).parent / "peers" / "gym_invmgmt_speed.py"


def prepare(row: dict[str, str]) -> SupplyPreset:
    """Return the world of a published row, with the package's order limit.

    Args:
        row: Of the table.
    """
    build = {"base": multi_echelon, "serial": serial}[row["Network"]]
    preset = build(
        row["Demand"], goodwill=row["Goodwill"] == "True", backlog=row["Backlog"] == "True"
    )
    network = preset.config.network
    links = tuple(replace(link, max_order=ORDER_LIMIT) for link in network.links)
    return replace(preset, config=replace(preset.config, network=replace(network, links=links)))


def compare_experts(row: dict[str, str]) -> list[dict[str, object]]:
    """Play all rules, informed and blind, on the canonical seeds.

    Args:
        row: Of the table.
    """
    preset = prepare(row)
    lines: list[dict[str, object]] = []
    for informed in (True, False):
        rules = SupplyExperts(preset.config, informed=informed)
        for expert in EXPERTS:
            scores = score_on_seeds(getattr(rules, expert), preset.config, preset.source.markets[0])
            name = COLUMNS[expert] + ("_I" if informed else "")
            published = float(row[f"{name}_Profit"])
            profit = float(scores.profit.mean())
            lines.append(
                {
                    "scenario": row["ScenarioKey"],
                    "policy": f"{expert}, {'informed' if informed else 'blind'}",
                    "profit": profit,
                    "published": published,
                    "difference": profit - published,
                    "bullwhip": float(scores.bullwhip.mean()),
                    "published_bullwhip": float(row[f"{name}_BullwhipRatio"]),
                }
            )
    return lines


def compare_limits(row: dict[str, str]) -> dict[str, object]:
    """Compute the hindsight bound (where goodwill is off) and play the rolling program.

    Args:
        row: Of the table.
    """
    preset = prepare(row)
    config, law = replace(preset.config, known_horizon=FORESIGHT), preset.source.markets[0]
    planner = RollingPlanner(config, safety=SAFETY)
    rolling = float(score_on_seeds(planner, config, law).profit.mean())
    line = {
        "scenario": row["ScenarioKey"],
        "rolling_program": rolling,
        "published_oracle": float(row["Oracle_Profit"]),
        "published_stochastic_program": float(row["MSSP_I_Profit"]),
        "published_linear_program": float(row["DLP_I_Profit"]),
    }
    if config.goodwill is not None:
        return line
    mean = law.over(config.max_steps + FORESIGHT)
    seeds, steps = CANONICAL_SEEDS, config.max_steps
    demand = draw_in_order(mean[:steps], seeds, np.ones((len(seeds), steps)))
    scenarios = make_quiet_scenarios(
        demand,
        np.broadcast_to(mean[:, None], (len(seeds), len(mean), 1)),
        num_nodes=len(config.network.nodes),
        num_products=len(config.network.products),
    )
    return line | {"hindsight_bound": float(supply_hindsight_bound(scenarios, config).mean())}


def compare_business(disruption_probability: float) -> dict[str, object]:
    """Play the blind rules in the vehicle maker's chain of four nodes.

    Args:
        disruption_probability: Per step; at zero the hindsight bound is computed too.
    """
    preset = five_product(max_steps=BUSINESS_STEPS, disruption_probability=disruption_probability)
    scenarios = preset.source.draw(BUSINESS_EPISODES, np.random.default_rng(0))
    rules = SupplyExperts(preset.config, informed=False, extra_steps=EXTRA_STEPS)
    line: dict[str, object] = {"disruption_probability": disruption_probability}
    for expert in EXPERTS:
        scores = score_policy(getattr(rules, expert), scenarios, preset.config)
        line[f"{expert}_profit_per_step"] = float(scores.profit.mean()) / BUSINESS_STEPS
        line[f"{expert}_fill_rate"] = float(scores.fill_rate.mean())
    if disruption_probability == 0:
        config = replace(preset.config, disruptions=False, max_delay=0)
        none = scenarios.shortage[..., :0]
        quiet = replace(scenarios, shortage=none, delay=none, quality_loss=none, capacity_loss=none)
        bound = supply_hindsight_bound(quiet, config)
        line["bound_per_step"] = float(bound.mean()) / BUSINESS_STEPS
    return line


def measure_speed(make: Callable[[int, int], BatchedSupplyNetwork], copies: int) -> float:
    """Return joint steps per CPU second, resets included, best of some rounds.

    Args:
        make: The environment, of copies and a seed.
        copies: How many.
    """
    env = make(copies, 0)
    action = 0.3 * torch.rand(
        (copies, 1, env.action_size), generator=torch.Generator().manual_seed(0)
    )
    best = 0.0
    with torch.no_grad():
        for _ in range(WARM_UP):
            env.step(action)
        for _ in range(ROUNDS):
            begun = time.process_time()
            for _ in range(STEPS):
                env.step(action)
            best = max(best, STEPS * copies / (time.process_time() - begun))
    return best


def measure_speeds(peer: str | None) -> dict[str, object]:
    """Measure both networks at every batch, and the package.

    Args:
        peer: Its Python; None leaves it out.
    """
    worlds = {"serial": make_serial, "multi_echelon": make_multi_echelon}
    speeds: dict[str, object] = {
        name: {str(copies): measure_speed(make, copies) for copies in BATCHES}
        for name, make in worlds.items()
    }
    if peer is None:
        return speeds
    command = [peer, str(PEER_SCRIPT)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    package = json.loads(answer.stdout)
    ratio = {name: max(speeds[name].values()) / package[name] for name in worlds}  # type: ignore[attr-defined]
    return speeds | {"package": package, "times_the_package": ratio, "bars": BARS}


def read_published() -> list[dict[str, str]]:
    """Return the published rows that need no other data, or none without the file."""
    folder = locate_traces()
    if folder is None or not (folder / PUBLISHED).exists():
        return []
    with (folder / PUBLISHED).open() as file:
        return [row for row in csv.DictReader(file) if row["Block"] in BLOCKS]


def main() -> None:
    """Compare, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    published = read_published()
    experts = [line for row in published for line in compare_experts(row)]
    for line in experts:
        print(
            f"{line['scenario']:64} {line['policy']:29} {line['profit']:9.3f} "
            f"published {line['published']:9.3f}  {line['difference']:+.1e}"
        )
    limits = [compare_limits(row) for row in published]
    for limit in limits:
        print(
            f"{limit['scenario']:64} bound {limit.get('hindsight_bound', float('nan')):9.3f} "
            f"oracle {limit['published_oracle']:9.3f} rolling {limit['rolling_program']:9.3f} "
            f"MSSP-I {limit['published_stochastic_program']:9.3f}"
        )
    business = [compare_business(probability) for probability in (0.0, 0.1)]
    print(json.dumps(business, indent=2))
    speeds = measure_speeds(options.peer)
    print(json.dumps(speeds, indent=2))
    report = {
        "seeds": CANONICAL_SEEDS,
        "experts": experts,
        "limits": limits,
        "business": business,
        "speeds": speeds,
        "machine": describe_machine(),
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {options.output}")


if __name__ == "__main__":
    main()
