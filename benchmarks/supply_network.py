"""gym-invmgmt's published table on our core, its limits and our planner beside it.

Run `OMP_NUM_THREADS=1 python -m benchmarks.supply_network`: the experts' rules on the canonical
seeds beside the published rows, the hindsight bound beside the published oracle, a rolling linear
program, and the blind rules in the vehicle maker's chain. Prints tables and writes
benchmarks/results/supply_network.json. About two minutes on one core. How fast the worlds are:
`python -m benchmarks.environment_speed --worlds serial_supply multi_echelon`.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import RESULTS, write_report
from data.supply_scenarios import make_quiet_scenarios
from data.traces import locate_traces
from rl.domains.supply_business import five_product
from rl.domains.supply_experts import EXPERTS, SupplyExperts
from rl.domains.supply_presets import SupplyPreset, multi_echelon, serial
from rl.evaluation.supply_bounds import RollingPlanner, supply_hindsight_bound
from rl.evaluation.supply_scores import (
    CANONICAL_SEEDS,
    draw_in_order,
    score_on_seeds,
    score_policy,
)

PUBLISHED = "published_gym_invmgmt_results.csv"
COLUMNS = {"newsvendor": "Newsvendor", "s_S": "sS", "echelon_base_stock": "EchelonApprox"}
BLOCKS = ("A_Core", "B_PaperReplication")
ORDER_LIMIT = 3100.0
"""The package's largest order."""
FORESIGHT, SAFETY = 30, 0.75
BUSINESS_STEPS, BUSINESS_EPISODES, EXTRA_STEPS = 150, 16, 2


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
    parser.add_argument("--output", type=Path, default=RESULTS / "supply_network.json")
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
    report = {"experts": experts, "limits": limits, "business": business}
    write_report(options.output, {"seeds": CANONICAL_SEEDS, **report})


if __name__ == "__main__":
    main()
