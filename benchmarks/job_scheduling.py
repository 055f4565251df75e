"""DeepRM's world here: heuristics beside the reference values, bounds, and speed beside a loop.

Run `OMP_NUM_THREADS=1 python -m benchmarks.job_scheduling`: tables, and JSON in
benchmarks/results/job_scheduling.json. About four minutes on one core. The reference values are
means of 300 sequences, so they carry a standard error of their own; ours are given for the first
300 sequences and for all, and `errors` counts the difference of all in standard errors of both.
Mean slowdown: over the jobs of a sequence, then over sequences. Speed is measured where jobs arrive
in every step of the episode, for the loop is faster in an idle cluster and the program is not.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measuring import RESULTS, Speed, measure, write_report
from benchmarks.plain_jobs import PlainJobs
from data.job_arrivals import JobArrivals, JobConfig, JobScenarios, rate_for_load
from data.scenario import BankConfig, FixedSource, ScenarioBank
from rl.domains.job_experts import EXPERTS
from rl.domains.job_scheduling import JobSchedulingConfig, JobSchedulingDomain
from rl.environments.job_scheduling_environment import BatchedJobScheduling
from rl.environments.lockstep import LockstepOptions
from rl.environments.torch_tools import view_to_numpy
from rl.evaluation.job_bounds import area_bound, time_indexed_bound

REFERENCE_SEQUENCES = 300
RULES = ("sjf", "tetris", "tetris_raw", "packer", "random", "fifo")
MEASURED = {
    0.5: (2.41, 2.41, 3.21, 3.37, 3.32, 4.19),
    0.7: (2.89, 2.92, 4.62, 4.89, 4.91, 6.73),
    0.9: (3.41, 3.38, 6.19, 6.69, 6.46, 10.14),
    1.1: (4.11, 4.03, 8.70, 9.63, 8.96, 14.52),
    1.3: (4.85, 4.82, 11.21, 12.29, 11.89, 18.86),
}
REFERENCE = {load: dict(zip(RULES, row, strict=True)) for load, row in MEASURED.items()}
LONGEST_EPISODE = 600
BATCHES = (64, 256, 1024, 2048, 4096)
SPEED_BAR = 100

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Mean slowdown of one rule or bound at one load."""

    load: float
    name: str
    sequences: int
    mean: float
    standard_error: float
    first: float
    """Over as many sequences as the reference has."""
    utilisation: float | None = None
    reference: float | None = None
    difference: float | None = None
    """Of all sequences, as a share of the reference."""
    errors: float | None = None


def make_environment(
    config: JobSchedulingConfig, scenarios: JobScenarios, copies: int
) -> BatchedJobScheduling:
    """Build copies that play the scenarios in order.

    Args:
        config: The world.
        scenarios: Its episodes.
        copies: How many.
    """
    sizes = BankConfig(num_episodes=scenarios.num_episodes)
    options = LockstepOptions(num_envs=copies, shuffle=False)
    return BatchedJobScheduling(config, ScenarioBank(FixedSource(scenarios), sizes, 0), options, 0)


def play(name: str, scenarios: JobScenarios, seed: int) -> tuple[Values, float]:
    """Let a rule schedule every sequence; return mean slowdowns and the utilisation.

    Args:
        name: Of the rule.
        scenarios: The sequences.
        seed: Of rules that draw.

    Raises:
        SystemExit: A sequence did not end within the episode.
    """
    config = JobSchedulingConfig(max_steps=LONGEST_EPISODE)
    env = make_environment(config, scenarios, scenarios.num_episodes)
    domain, generator = JobSchedulingDomain(config), np.random.default_rng(seed)
    env.reset(0)
    jobs = torch.as_tensor((scenarios.length > 0).sum(1))
    names = ("placed_jobs", "slowdown_sum", "time_steps", "utilisation")
    sums = {key: torch.zeros(len(jobs)) for key in names}
    for _ in range(LONGEST_EPISODE - 1):
        view = view_to_numpy(env.view)
        choice = EXPERTS[name](view, domain, generator)
        record = env.step(torch.as_tensor(choice)[:, None])
        arriving = env.state.now <= config.num_arrival_steps
        for key in sums:
            counts = arriving if key in {"time_steps", "utilisation"} else 1.0
            sums[key] += record.metrics[key] * counts
        if bool((sums["placed_jobs"] == jobs).all() & (~arriving).all()):
            break
    else:
        raise SystemExit(f"{name} left jobs behind; raise LONGEST_EPISODE")
    some = jobs > 0
    slowdown = (sums["slowdown_sum"] / jobs)[some].double().numpy()
    return slowdown, float(sums["utilisation"].sum() / sums["time_steps"].sum())


def describe(load: float, name: str, values: Values, utilisation: float | None = None) -> Row:
    """Sum up mean slowdowns and put them beside the reference.

    Args:
        load: Of the sequences.
        name: Of the rule or bound.
        values: `[sequence]`.
        utilisation: While jobs arrive.
    """
    reference, deviation = REFERENCE[load].get(name), float(values.std(ddof=1))
    mean = float(values.mean())
    error = deviation * math.sqrt(1 / len(values) + 1 / REFERENCE_SEQUENCES)
    return Row(
        load=load,
        name=name,
        sequences=len(values),
        mean=mean,
        standard_error=deviation / len(values) ** 0.5,
        first=float(values[:REFERENCE_SEQUENCES].mean()),
        utilisation=utilisation,
        reference=reference,
        difference=None if reference is None else mean / reference - 1,
        errors=None if reference is None else (mean - reference) / error,
    )


def measure_quality(load: float, sequences: int, exact: int, seed: int) -> list[Row]:
    """Play all rules and compute the bounds at one load.

    Args:
        load: Work that arrives as a share of capacity.
        sequences: How many.
        exact: Sequences of the time-indexed relaxation.
        seed: Of sequences and rules.
    """
    law = JobConfig(arrival_rate=rate_for_load(load, JobConfig()))
    scenarios = JobArrivals(law).draw(sequences, np.random.default_rng([seed, round(100 * load)]))
    rows = []
    for name in EXPERTS:
        slowdown, utilisation = play(name, scenarios, seed)
        rows.append(describe(load, name, slowdown, utilisation))
    jobs = (scenarios.length > 0).sum(1)
    some = np.flatnonzero(jobs)
    rows.append(describe(load, "area_bound", (area_bound(scenarios)[some] / jobs[some])))
    few = some[:exact]
    relaxed = [time_indexed_bound(scenarios, int(e), integral=False) / jobs[e] for e in few]
    rows.append(describe(load, "time_indexed_bound", np.asarray(relaxed)))
    best, _ = play("sjf", scenarios.take(few), seed)
    rows.append(describe(load, "sjf_on_the_same", best))
    return rows


def busy_scenarios(copies: int, seed: int) -> tuple[JobSchedulingConfig, JobScenarios]:
    """Return a world whose jobs arrive until the episode ends, at the highest load.

    Args:
        copies: Episodes.
        seed: Of the jobs.
    """
    config = JobSchedulingConfig(num_arrival_steps=400)
    law = JobConfig(num_arrival_steps=400, arrival_rate=rate_for_load(1.3, JobConfig()))
    return config, JobArrivals(law).draw(copies, np.random.default_rng(seed))


def check_plain(seed: int) -> float:
    """Return the largest difference between the loop and the program over one episode.

    Args:
        seed: Of jobs and actions.

    Raises:
        SystemExit: They do not play the same world.
    """
    config, scenarios = busy_scenarios(1, seed)
    env = make_environment(config, scenarios, 1)
    plain = PlainJobs(config, scenarios)
    record, (seen, mask) = env.reset(0), plain.reset(0)
    draw, worst = np.random.default_rng(seed), 0.0
    for _ in range(config.max_steps - 1):
        if mask != record.action_mask[0, 0].tolist():
            raise SystemExit("the loop masks other choices than the program; it is no peer")
        choice = int(draw.integers(0, config.window + 1))
        record = env.step(torch.tensor([[choice]]))
        seen, mask, reward, _ = plain.step(choice)
        error = abs(reward - float(record.reward)) / max(1.0, abs(reward))
        worst = max(worst, error, float(np.abs(seen - record.observation[0, 0].numpy()).max()))
    if worst > 1e-4:
        raise SystemExit(f"the loop differs from the program by {worst}; it is no peer")
    return worst


def measure_speed(seed: int) -> list[Speed]:
    """Time the loop and the program with the same random choices.

    Args:
        seed: Of jobs and choices.
    """
    config, scenarios = busy_scenarios(256, seed)
    choices = np.random.default_rng(seed).integers(0, config.window + 1, config.max_steps)
    plain = PlainJobs(config, scenarios)
    plain.reset(0)

    def step_plain() -> None:
        if plain.step(int(choices[plain.t]))[3]:
            plain.reset((plain.episode + 1) % plain.num_episodes)

    rows = [measure("plain Python loop", 1, step_plain)]
    for copies in BATCHES:
        env = make_environment(config, scenarios, copies)
        drawn = torch.randint(
            0, config.window + 1, (97, copies, 1), generator=torch.Generator().manual_seed(seed)
        )
        rows.append(measure("batched", copies, lambda e=env, a=drawn: e.step(a[e.t % 97])))
    return rows


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=3000)
    parser.add_argument("--exact", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS / "job_scheduling.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    for load in REFERENCE:
        rows += measure_quality(load, options.sequences, options.exact, options.seed)
    print("load  rule                 slowdown +- s.e.   first 300  reference      use")
    for row in rows:
        beside = ""
        if row.reference is not None:
            beside = f"{row.reference:9.2f} {row.difference:+6.1%} {row.errors:+5.1f} errors"
        used = "" if row.utilisation is None else f"{row.utilisation:6.1%}"
        print(
            f"{row.load:4.0%}  {row.name:19} {row.mean:9.2f} +- {row.standard_error:4.2f} "
            f"{row.first:10.2f}  {beside} {used}"
        )
    difference = check_plain(options.seed)
    speeds = measure_speed(options.seed)
    for speed in speeds:
        ratio = speed.steps_per_cpu_second / speeds[0].steps_per_cpu_second
        print(
            f"{speed.name:18} {speed.copies:6,} copies: {speed.steps_per_second:10,.0f} steps/s, "
            f"{speed.steps_per_cpu_second:10,.0f} per CPU second, {ratio:6.1f} times the loop"
        )
    best = max(speeds[1:], key=lambda speed: speed.steps_per_cpu_second)
    report = {
        "command": f"python -m benchmarks.job_scheduling --sequences {options.sequences} "
        f"--exact {options.exact} --seed {options.seed}",
        "rows": [asdict(row) for row in rows],
        "speeds": [asdict(speed) for speed in speeds],
        "times_plain": best.steps_per_cpu_second / speeds[0].steps_per_cpu_second,
        "bar": SPEED_BAR,
        "plain_difference": difference,
    }
    write_report(options.output, report)
    print(f"best {best.copies:,} copies: {report['times_plain']:.0f} times (bar {SPEED_BAR})")


if __name__ == "__main__":
    main()
