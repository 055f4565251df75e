"""Planners of gym-invmgmt's networks beside the published table, in the package itself.

    OMP_NUM_THREADS=1 python -m benchmarks.network_inventory --train      # about 9 CPU minutes
    OMP_NUM_THREADS=1 python -m benchmarks.network_inventory --evaluate   # about 3 CPU minutes

`--train` trains what is not stored under `--runs`, never on a seed that is scored, chooses among
candidates on development episodes and writes the choice down. `--evaluate` plays the planners, the
rolling program and the base-stock rule in gym-invmgmt 0.2.1 on the ten canonical seeds and on
twenty fresh ones; writes JSON, a Markdown table and a plot beside one another, and the planners
with their cards to `--artifacts`. Without either, both are done. The published rows need the file
that docs/results/inventory.md names.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import RESULTS, write_report
from benchmarks.network_evaluation import (
    Rows,
    compare,
    draw,
    make_table,
    play_planner,
    play_program,
    play_rule,
    read_published,
    summarise,
)
from benchmarks.network_package import (
    FRESH_SEEDS,
    TOPOLOGIES,
    Scenario,
    list_scenarios,
)
from benchmarks.network_training import Recipe, complete_card, train
from rl.artifacts import PolicyArtifact
from rl.evaluation.supply_scores import CANONICAL_SEEDS

RECIPES = (
    Recipe(topology="base", informed=True, updates=600, wide_share=0.3),
    Recipe(topology="serial", informed=True, updates=400, wide_share=0.3),
    Recipe(topology="base", informed=False, updates=400),
    Recipe(topology="serial", informed=False, updates=320),
    Recipe(topology="base", informed=True, updates=900, num_envs=64, algorithm="ppo"),
    Recipe(topology="serial", informed=True, updates=500, num_envs=64, algorithm="ppo"),
)
Seeds = Sequence[int]
PLAYERS = {"informed": "informed", "blind": "blind", "informed, PPO": "informed_ppo"}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is played."""

    canonical: tuple[int, ...] = CANONICAL_SEEDS
    fresh: tuple[int, ...] = FRESH_SEEDS
    updates: int | None = None
    """Of every run, in place of its own; for trying the path."""

    def recipes(self) -> tuple[Recipe, ...]:
        """Return what is trained."""
        if self.updates is None:
            return RECIPES
        return tuple(replace(one, updates=self.updates, num_envs=16) for one in RECIPES)

    def scenarios(self) -> list[Scenario]:
        """Return what is played; a few for trying the path."""
        found = [one for topology in TOPOLOGIES for one in list_scenarios(topology)]
        return found if self.updates is None else [found[3], found[9], found[19]]


SMOKE = Size(canonical=(42, 123), fresh=(81_001, 81_002), updates=5)


def train_once(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Train a planner and keep it with what was written down of the choice; once.

    Args:
        recipe: How.
        folder: Where both are kept; a planner that is there is not trained again.
    """
    path, note = (folder / f"{recipe.name}.{end}" for end in ("safetensors", "json"))
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        artifact, row = train(recipe)
        path.write_bytes(artifact.to_bytes())
        note.write_text(json.dumps({**row, "artifact_sha256": artifact.sha256}, indent=1) + "\n")
    found: dict[str, Any] = json.loads(note.read_text())
    print(recipe.name, found["cpu_seconds"], found["development_profit"], flush=True)
    return found


def evaluate(folder: Path, selection: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """Play everybody on the canonical and on fresh seeds.

    Args:
        folder: Where planners are kept.
        selection: What was written down of each, by its name.
        size: How much is played.
    """
    scenarios = size.scenarios()
    sets = {"canonical": size.canonical, "fresh": size.fresh}
    players: dict[str, dict[str, Any]] = {}
    play: dict[str, Callable[[Seeds], Rows]] = {}
    for name, ending in PLAYERS.items():
        names = {topology: f"network_{topology}_{ending}" for topology in TOPOLOGIES}
        artifacts = {topology: read_artifact(folder, one) for topology, one in names.items()}
        play[name] = partial(play_planner, artifacts, scenarios)
        spent = sum(selection[one]["cpu_seconds"] for one in names.values())
        address = "".join(one.sha256[:8] for one in artifacts.values())
        players[name] = {"cpu_seconds": round(spent, 1), "kept_as": address}
    play["base stock, informed"] = partial(play_rule, scenarios, informed=True)
    play["base stock, blind"] = partial(play_rule, scenarios, informed=False)
    play["rolling program"] = partial(play_program, scenarios)
    played: dict[str, dict[str, Rows]] = {name: {} for name in play}
    for name, function in play.items():
        key = players.setdefault(name, {}).pop("kept_as", name.replace(", ", "_"))
        for set_, seeds in sets.items():
            path = folder / "episodes" / f"{key}.{set_}.json"
            played[name][set_] = play_once(path, partial(function, seeds))
    for name, rows in played.items():
        players[name] |= {set_: summarise(part) for set_, part in rows.items()}
    rivals = ("rolling program", "base stock, informed", "base stock, blind", "informed, PPO")
    differences = {
        f"{ours} - {rival}": {k: compare(played[ours][k], played[rival][k]) for k in sets}
        for ours in ("informed", "blind")
        for rival in rivals
    }
    return {"players": players, "differences": differences, "episodes": played}


def play_once(path: Path, play: Callable[[], Rows]) -> Rows:
    """Return the episodes of one player, played now or before.

    Args:
        path: Where they are kept.
        play: Plays them.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(play()) + "\n")
        print(f"played: {path.stem}", flush=True)
    rows: Rows = json.loads(path.read_text())
    return rows


def read_artifact(folder: Path, name: str) -> PolicyArtifact:
    """Return a stored planner.

    Args:
        folder: Where it is.
        name: Of its recipe.
    """
    return PolicyArtifact.from_bytes((folder / f"{name}.safetensors").read_bytes())


def check_bars(report: Mapping[str, Any], selection: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is asked for beside what was found.

    Args:
        report: What `evaluate` returned.
        selection: What was written down of every planner.
    """
    players = report["players"]
    seconds = sum(row["cpu_seconds"] for row in selection.values())
    found = {
        "informed >= 1,380": players["informed"]["canonical"]["profit"]["all"],
        "blind >= 1,300": players["blind"]["canonical"]["profit"]["all"],
        "PPO >= 1,250": players["informed, PPO"]["canonical"]["profit"]["all"],
    }
    asked = {"informed >= 1,380": 1380.0, "blind >= 1,300": 1300.0, "PPO >= 1,250": 1250.0}
    rows = {name: {"found": value, "met": value >= asked[name]} for name, value in found.items()}
    moved = {
        name: abs(players[name]["fresh"]["profit"]["all"] - value)
        for name, value in (
            ("informed", found["informed >= 1,380"]),
            ("blind", found["blind >= 1,300"]),
        )
    }
    slowest = max(players[name]["canonical"]["milliseconds"] for name in ("informed", "blind"))
    rows["ms an episode <= 10"] = {"found": slowest, "met": slowest <= 10}
    rows["CPU seconds of training, all <= 600"] = {
        "found": round(seconds, 1),
        "met": seconds <= 600,
    }
    worst = round(max(moved.values()), 1)
    rows["fresh seeds within 15"] = {"found": worst, "met": worst <= 15}
    return rows


def write_all(report: dict[str, Any], output: Path) -> None:
    """Write the JSON, the Markdown table and, where the published rows are there, the plot.

    Args:
        report: What was found; the episodes themselves are left out.
        output: Of the JSON; the others lie beside it.
    """
    table = make_table(report)
    print(table)
    for name, row in report["bars"].items():
        print(f"{name}: {row['found']:,} {'met' if row['met'] else 'NOT MET'}")
    write_report(output, {name: part for name, part in report.items() if name != "episodes"})
    output.with_suffix(".md").write_text(table + "\n")
    if report["published"]:
        draw(report, output.with_suffix(".png"))


def export(folder: Path, to: Path, report: Mapping[str, Any]) -> None:
    """Write the planners with their cards filled from what was found.

    Args:
        folder: Where they are kept.
        to: Where they go.
        report: What was found.
    """
    to.mkdir(parents=True, exist_ok=True)
    for topology in TOPOLOGIES:
        for name in ("informed", "blind"):
            artifact = read_artifact(folder, f"network_{topology}_{name}")
            rows, rule = (
                [
                    row
                    for row in report["episodes"][one]["canonical"]
                    if f"|{topology}|" in row["scenario"]
                ]
                for one in (name, f"base stock, {name}")
            )
            card = complete_card(artifact.card, rows, rule, report["published"])
            whole = artifact.with_card(replace(card, checkpoint_sha256=artifact.sha256))
            (to / f"network_{topology}_{name}.safetensors").write_bytes(whole.to_bytes())


def main(arguments: list[str] | None = None) -> int:
    """Train and evaluate.

    Args:
        arguments: Of the command line.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", action="store_true", help="train and choose what is not stored")
    parser.add_argument("--evaluate", action="store_true", help="play what was chosen")
    parser.add_argument("--smoke", action="store_true", help="a tiny size, to try the path")
    parser.add_argument("--runs", type=Path, help="where runs are kept; default: under var/")
    parser.add_argument("--artifacts", type=Path, help="where planners with cards go; default: not")
    parser.add_argument("--output", type=Path, help="the JSON; default: among the results, or var/")
    options = parser.parse_args(arguments)
    var = Path("var") / ("network_inventory_smoke" if options.smoke else "network_inventory")
    runs = options.runs or var
    output = options.output or (var if options.smoke else RESULTS) / "network_inventory.json"
    torch.set_num_threads(1)
    size = SMOKE if options.smoke else Size()
    both = options.train == options.evaluate
    if both or options.train:
        selection = {one.name: train_once(one, runs) for one in size.recipes()}
        write_report(output.with_name("network_inventory_selection.json"), selection)
    if not (both or options.evaluate):
        return 0
    selection = {
        one.name: json.loads((runs / f"{one.name}.json").read_text()) for one in size.recipes()
    }
    report = evaluate(runs, selection, size)
    seeds = {"canonical": size.canonical, "fresh": size.fresh}
    report |= {
        "command": "python -m benchmarks.network_inventory",
        "seeds": {name: [int(seed) for seed in one] for name, one in seeds.items()},
        "selection": selection,
        "bars": check_bars(report, selection),
        "published": read_published(),
    }
    write_all(report, output)
    if options.artifacts:
        export(runs, options.artifacts, report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
