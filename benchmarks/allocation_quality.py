"""Does the agent allocate better than tuned experts, on real days it has never seen?

Run `python -m benchmarks.allocation_quality`: trains one agent per seed with the demo's settings,
lets the exported policies (NumPy) play every held-out window beside random, the tuned experts and
the hindsight bound, on real demand and on synthetic demand with unseen real bursts, prints the
tables and writes benchmarks/results/allocation_quality.json and .md.
About two minutes a seed on one core.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from rl.artifacts import PolicyArtifact
from rl.deployment.policy_runtime import PolicyRuntime
from rl.evaluation.comparison import EvaluationTable
from rl.evaluation.entrants import Entrant
from rl.evaluation.evaluator import policy_decider
from rl.evaluation.players import Player, rule_player
from rl.evaluation.report import conclude, format_table
from rl.training.allocation_problem import ACTION_FORM
from rl.training.allocation_world import build_world
from rl.training.conclusion import Places, judge
from rl.training.expert_tuning import tune_experts_once
from rl.training.problems import make_problem
from rl.training.provenance import read_provenance
from rl.training.recorder import EvaluationRecord, NullRecorder
from rl.training.training_config import TrainingConfig
from rl.training.training_run import train_problem
from utils.config import to_json
from utils.persistence.artifact_store import DirectoryArtifactStore

RESULTS = Path(__file__).parent / "results"


class PrintingRecorder(NullRecorder):
    """Shows how far a seed is."""

    def evaluated(self, evaluation: EvaluationRecord) -> None:
        """Print one line.

        Args:
            evaluation: On the validation windows.
        """
        scores = evaluation.scores
        print(
            f"  {evaluation.env_steps:>9,} steps: KPI {scores['kpi']:,.0f} on validation windows, "
            f"expert {scores['expert']:,.0f}, bound {scores['bound']:,.0f}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train every seed, compare, write.

    Args:
        arguments: Of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=TrainingConfig().total_episodes)
    parser.add_argument("--algorithm", default="apg", choices=["apg", "ppo"])
    parser.add_argument("--var", type=Path, default=Path("var/benchmarks/allocation_quality"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--smoke", action="store_true", help="see that it runs; figures mean little"
    )
    options = parser.parse_args(arguments)
    if options.smoke:
        options.seeds, options.episodes, options.var = 1, 256, options.results / "var"
    base = TrainingConfig(total_episodes=options.episodes, algorithm=options.algorithm)
    problem = make_problem(base)
    players, seconds = [], []
    for seed in range(options.seeds):
        print(f"seed {seed}", flush=True)
        started = time.process_time()
        folder = options.var / f"{options.algorithm}-{options.episodes}-seed-{seed}"
        if options.smoke:
            _leave_untuned(list(problem.experts), folder / "experts.json")
        players.append(_train(replace(base, seed=seed), folder))
        seconds.append(time.process_time() - started)
    experts = tune_experts_once(problem, folder / "experts.json", NullRecorder())
    agents = [Entrant(name=options.algorithm, kind="agent", players=tuple(players))]
    sets = (problem.held_out, *problem.stress)
    tables = [judge(problem, one, experts, agents) for one in sets]
    text = "\n\n".join(
        f"{table.data[0].upper()}{table.data[1:]}:\n\n{format_table(table)}\n\n{conclude(table)}"
        for table in tables
    )
    print(text)
    content = {
        "command": "python -m benchmarks.allocation_quality",
        "commit": read_provenance().code_commit,
        "machine": platform.platform(),
        "torch": torch.__version__,
        "seeds": list(range(options.seeds)),
        "cpu_seconds_per_seed": [round(value, 1) for value in seconds],
        "config": to_json(base),
        "tables": [to_json(table) for table in tables],
    }
    options.results.mkdir(parents=True, exist_ok=True)
    name = "allocation_quality" + ("" if options.algorithm == "apg" else f"_{options.algorithm}")
    (options.results / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    (options.results / f"{name}.md").write_text(text + "\n")
    return 0


def _leave_untuned(names: Sequence[str], path: Path) -> None:
    """Let experts play by their defaults, as if they had been tuned to those."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"name": name, "parameters": []} for name in names]))


def short_table(table: EvaluationTable) -> str:
    """Return the columns that the README shows.

    Args:
        table: What was found.
    """
    lines = [
        "| who | KPI per window | to best expert | gap closed | work lost |",
        "|---|---|---|---|---|",
    ]
    lost_share = [column.name for column in table.columns].index("lost_share")
    for row in table.rows:
        to_best = "best expert" if row.difference is None else f"{row.difference.mean:+,.0f} "
        if row.difference is not None:
            to_best += f"[{row.difference.low:+,.0f}, {row.difference.high:+,.0f}]"
        closed = ""
        if row.gap_closed is not None:
            gap = row.gap_closed
            closed = f"{gap.mean:.0%} [{gap.low:.0%}, {gap.high:.0%}]"
        share = row.figures[lost_share]
        lost = "" if share is None else f"{share:.1%}"
        lines.append(f"| {row.name} | {row.kpi.mean:,.0f} | {to_best} | {closed} | {lost} |")
    return "\n".join(lines)


def _train(config: TrainingConfig, folder: Path) -> Callable[[], Player]:
    """Train, and let the exported policy (NumPy) play."""
    artifacts = DirectoryArtifactStore(folder / "artifacts")
    places = Places(folder=folder, artifacts=artifacts)
    result = train_problem(config, PrintingRecorder(), places, run_id=folder.name)
    if result.artifact_sha256 is None:
        raise SystemExit("training was stopped")
    runtime = PolicyRuntime(PolicyArtifact.from_bytes(artifacts.get(result.artifact_sha256)))
    world = build_world(config.num_agents, traces=config.traces)
    decide = policy_decider(runtime.act, world.preset.allocation, action=ACTION_FORM)
    return partial(rule_player, decide)


if __name__ == "__main__":
    raise SystemExit(main())
