"""One set of weights for every load of DeepRM's cluster: does it beat the best heuristics?

Run `OMP_NUM_THREADS=1 python -m benchmarks.job_priority`: CMA-ES (rl/training/evolution.py) learns
the weights of `rl.domains.job_priority` on sequences whose loads are drawn anew in every generation
from 50 to 150 %; then 300 sequences per load that no generation has seen, seed of their own, are
scheduled by it and by the heuristics, differences paired by sequence. Beside them stands an expert
of one number, shortest first that never starts a job longer than so many steps while others run,
its number chosen on training sequences. Writes benchmarks/results/job_priority.json, and with
`--artifact FILE` the policy with its card. About two minutes of CPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from benchmarks.job_rules import Choose, Values, by_rule, by_weights, draw, holding, join, play
from benchmarks.job_scheduling import REFERENCE, make_environment
from benchmarks.measuring import RESULTS, write_report
from rl.artifacts import Baseline, Evaluation, PolicyArtifact, PolicyCard, ValidRange
from rl.deployment.priority_exporter import make_priority_artifact
from rl.deployment.view_policy import ViewPolicy
from rl.domains.job_priority import FEATURES
from rl.domains.job_scheduling import JobSchedulingConfig
from rl.environments.job_scheduling_environment import BatchedJobScheduling
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.job_bounds import area_bound
from rl.evaluation.statistics import Estimate, block_bootstrap_interval
from rl.training.catalog_export import describe_world
from rl.training.evolution import Evolution, EvolutionConfig
from rl.training.provenance import read_provenance

LOADS = (0.5, 0.7, 0.9, 1.1, 1.3)
STREAM_LOADS = (0.5, 0.7, 0.9)
SHORT, LONG = 50, 200
"""Steps with arrivals of the sequences that are trained on."""
TRAINED_LOADS = {SHORT: (0.5, 1.5), LONG: (0.4, 1.0)}
TRAINING, HOLDING, FRESH, STREAM = range(4)
"""Kinds of sequences; each has its own stream of random numbers."""
THRESHOLDS = (3, 5, 8, 10, 12, 15)
BAR = 0.97


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained and played."""

    generations: int = 24
    sequences: int = 64
    """Of a candidate in a generation."""
    longer: int = 24
    fresh: int = 300
    """Per load."""
    stream: int = 40
    """Sequences that last longer than any in training."""
    stream_steps: int = 400


SMOKE = Size(generations=1, sequences=4, longer=4, fresh=8, stream=2, stream_steps=100)


@dataclass(frozen=True, kw_only=True)
class Row:
    """All rules on the same sequences of one load; mean slowdown."""

    load: float
    arrival_steps: int
    sequences: int
    slowdown: dict[str, float]
    long_jobs: dict[str, float]
    """Of jobs of ten steps and more."""
    best_rule: str
    """Of the heuristics DeepRM and Tetris name."""
    difference: Estimate
    """To the best rule, paired."""
    ratio: float
    reference: dict[str, float]
    """Published in the reference's table, of other sequences."""
    bound: float


def train(size: Size, seed: int) -> tuple[Values, float]:
    """Learn weights; return them and the CPU-seconds it took.

    The cost is slowdown over that of shortest first on the same sequences, so that every load
    counts alike. The search begins at shortest first that holds long jobs back.

    Args:
        size: How much.
        seed: Of sequences and candidates.
    """
    begun, evolution = time.process_time(), EvolutionConfig(deviation=0.15)
    start = np.zeros(len(FEATURES))
    start[FEATURES.index("brevity")], start[FEATURES.index("always")] = 1.0, 0.15
    start[FEATURES.index("crowd")] = -0.1
    search = Evolution(start, evolution, seed)
    loads = np.random.default_rng([seed, TRAINING])
    for generation in range(size.generations):
        candidates, costs = search.ask(), np.zeros(evolution.population)
        for steps, number in ((SHORT, size.sequences), (LONG, size.longer)):
            each = loads.uniform(*TRAINED_LOADS[steps], number // 4)
            stream = [seed, TRAINING, generation, steps]
            scenarios = draw(each.tolist(), 4, stream, steps=steps)
            usual, _ = play(scenarios, by_rule("sjf"))
            some = usual > 0
            everywhere = np.repeat(candidates, number, axis=0)
            slowdown, _ = play(join([scenarios] * evolution.population), by_weights(everywhere))
            ratio = slowdown.reshape(evolution.population, -1)[:, some] / usual[some]
            costs += ratio.mean(1) / 2
        search.tell(costs)
        if generation % 5 == 4:
            print(f"  generation {generation + 1}: {costs.mean():.4f} of sjf", flush=True)
    return search.mean, time.process_time() - begun


def choose_threshold(size: Size, seed: int) -> int:
    """Choose the one number of the holding expert on training sequences.

    Args:
        size: How many.
        seed: Of the sequences.
    """
    scenarios = draw(LOADS, size.fresh // 3, [seed, HOLDING])
    means = [np.nanmean(play(scenarios, holding(longest))[0]) for longest in THRESHOLDS]
    return THRESHOLDS[int(np.argmin(means))]


def compare(load: float, rules: dict[str, Choose], size: Size, seed: int, *, steps: int) -> Row:
    """Let all rules schedule the same unseen sequences.

    Args:
        load: Of the sequences.
        rules: By name.
        size: How many.
        seed: Of the sequences.
        steps: With arrivals; more than 50 is longer than in training.
    """
    stream, number = (FRESH, size.fresh) if steps == SHORT else (STREAM, size.stream)
    scenarios = draw([load], number, [seed, stream, round(100 * load)], steps=steps)
    some = (scenarios.length > 0).any(1)
    scenarios = scenarios.take(np.flatnonzero(some))
    played = {name: play(scenarios, choose) for name, choose in rules.items()}
    means = {name: float(values.mean()) for name, (values, _) in played.items()}
    best = min(("sjf", "tetris"), key=lambda name: means[name])
    difference = played["learned"][0] - played[best][0]
    bound = area_bound(scenarios) / (scenarios.length > 0).sum(1)
    return Row(
        load=load,
        arrival_steps=steps,
        sequences=len(difference),
        slowdown=means,
        long_jobs={name: float(np.nanmean(values)) for name, (_, values) in played.items()},
        best_rule=best,
        difference=block_bootstrap_interval(difference[None], np.arange(len(difference))),
        ratio=means["learned"] / means[best],
        reference={name: REFERENCE[load][name] for name in ("sjf", "tetris")},
        bound=float(bound.mean()),
    )


def find_ranges(env: BatchedJobScheduling, choose: Choose) -> tuple[ValidRange, ...]:
    """Return how far each number of the view goes while a rule schedules.

    Args:
        env: Reset.
        choose: The rule.
    """
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for _ in range(env.config.max_steps - 1):
        for field, values in vars(env.view).items():
            low[field] = min(low.get(field, np.inf), float(values.min()))
            high[field] = max(high.get(field, -np.inf), float(values.max()))
        env.step(choose(env)[:, None])
    return tuple(ValidRange(field=field, low=low[field], high=high[field]) for field in low)


def make_artifact(weights: Values, rows: list[Row], seed: int) -> PolicyArtifact:
    """Make the policy with its card.

    Args:
        weights: `[feature]`.
        rows: Its evaluation.
        seed: Of training.
    """
    middle = next(row for row in rows if row.load == 1.1)
    again = draw([middle.load], middle.sequences, [seed, FRESH, round(100 * middle.load)])
    slowdown, _ = play(again, by_weights(weights))
    kpi = block_bootstrap_interval(-slowdown[None], np.arange(len(slowdown)))
    env = make_environment(JobSchedulingConfig(), draw([1.1], 64, [seed, HOLDING, 1]), 64)
    env.reset(0)
    config, _ = describe_world(env)
    card = PolicyCard(
        agent="job_scheduling",
        run_id="",
        checkpoint_sha256="",
        commit=read_provenance().code_commit or "unknown",
        data="Sequences of DeepRM's law of jobs at loads of 50 to 150 % (arrivals in 50 steps) and "
        f"40 to 100 % (in 200), drawn anew in every generation of the search; seed {seed}.",
        evaluation=Evaluation(
            scenarios=f"Minus the mean slowdown at 110 % load: {middle.sequences} unseen sequences",
            num_episodes=middle.sequences,
            kpi=kpi.mean,
            kpi_low=kpi.low,
            kpi_high=kpi.high,
        ),
        baseline=Baseline(
            expert=middle.best_rule, parameters=(), kpi=-middle.slowdown[middle.best_rule]
        ),
        validated_for=find_ranges(env, by_weights(weights)),
        limits=(
            "It holds long jobs back while others run: not for long jobs with a deadline.",
            "Jobs of 1 to 3 and of 10 to 15 steps were seen, two resources of ten units each.",
            "Where work arrives for long at 90 % load and more, Tetris is better: it is measured.",
        ),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return make_priority_artifact(weights, config, card)


def time_decisions(artifact: PolicyArtifact, seed: int) -> dict[str, float]:
    """Time single decisions of the served policy, NumPy only; microseconds of CPU.

    Args:
        artifact: The policy.
        seed: Of a sequence.
    """
    policy = ViewPolicy(PolicyArtifact.from_bytes(artifact.to_bytes()))
    env = make_environment(JobSchedulingConfig(), draw([1.1], 1, [seed, FRESH]), 1)
    env.reset(0)
    spent = []
    for _ in range(200):
        view = view_to_numpy(env.view)
        begun = time.process_time_ns()
        choice, _ = policy.act(view)
        spent.append(1e-3 * (time.process_time_ns() - begun))
        env.step(torch.as_tensor(choice)[:, None])
    return {"p50": round(float(np.median(spent)), 1), "p99": round(float(np.quantile(spent, 0.99)))}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, play, print, write.

    Args:
        arguments: Of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--smoke", action="store_true", help="see that it runs; figures mean little"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "job_priority.json")
    parser.add_argument("--artifact", type=Path, help="where to write the policy")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    size = SMOKE if options.smoke else Size()
    weights, seconds = train(size, options.seed)
    longest = choose_threshold(size, options.seed)
    rules = {
        "sjf": by_rule("sjf"),
        "tetris": by_rule("tetris"),
        f"sjf_holding_{longest}": holding(longest),
        "learned": by_weights(weights),
    }
    rows = [compare(load, rules, size, options.seed, steps=SHORT) for load in LOADS]
    steps = size.stream_steps
    longer = [compare(load, rules, size, options.seed, steps=steps) for load in STREAM_LOADS]
    for row in (*rows, *longer):
        figures = "  ".join(f"{name} {value:.3f}" for name, value in row.slowdown.items())
        print(
            f"{row.load:4.0%} {row.arrival_steps:4} steps: {figures}; to {row.best_rule} "
            f"{row.difference.mean:+.3f} [{row.difference.low:+.3f}, {row.difference.high:+.3f}], "
            f"ratio {row.ratio:.3f} (bar {BAR})"
        )
    artifact = make_artifact(weights, rows, options.seed)
    report = {
        "command": "python -m benchmarks.job_priority",
        "seed": options.seed,
        "weights": {
            name: round(float(value), 4) for name, value in zip(FEATURES, weights, strict=True)
        },
        "rows": [asdict(row) for row in rows],
        "longer": [asdict(row) for row in longer],
        "bar": BAR,
        "training_cpu_seconds": round(seconds, 1),
        "decision_us": time_decisions(artifact, options.seed),
    }
    write_report(options.output, report)
    if options.artifact:
        options.artifact.write_bytes(artifact.to_bytes())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
