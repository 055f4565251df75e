"""Sequences of jobs played by rules that score each choice, for `benchmarks.job_priority`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.job_scheduling import make_environment
from data.job_arrivals import JobArrivals, JobConfig, JobScenarios, rate_for_load
from rl.domains.job_priority import FEATURES, describe_choices, may_choose
from rl.domains.job_scheduling import JobSchedulingConfig
from rl.environments.job_scheduling_environment import BatchedJobScheduling

LONGEST_EPISODE = 600
UNSTARTED = 50.0
"""Slowdown of a job that was never started."""

Values = NDArray[np.float64]
Choose = Callable[[BatchedJobScheduling], Tensor]


def draw(loads: Sequence[float], each: int, seed: list[int], *, steps: int = 50) -> JobScenarios:
    """Draw sequences.

    Args:
        loads: Work that arrives as a share of capacity.
        each: Sequences of every load.
        seed: Of the jobs.
        steps: With arrivals.
    """
    generator, law = np.random.default_rng(seed), JobConfig(num_arrival_steps=steps)
    laws = [replace(law, arrival_rate=rate_for_load(load, law)) for load in loads]
    return join([JobArrivals(one).draw(each, generator) for one in laws])


def join(parts: Sequence[JobScenarios]) -> JobScenarios:
    """Put sequences behind one another.

    Args:
        parts: At least one.
    """
    names = ("length", "need", "capacity")
    return JobScenarios(
        **{name: np.concatenate([getattr(one, name) for one in parts]) for name in names}
    )


def play(scenarios: JobScenarios, choose: Choose) -> tuple[Values, Values]:
    """Schedule every sequence to its end.

    Args:
        scenarios: The sequences.
        choose: From the environment to choices, `[env]`.

    Returns:
        Mean slowdown of all jobs and of the long ones, `[sequence]`; nan where there are none.
    """
    steps = scenarios.length.shape[1]
    config = JobSchedulingConfig(num_arrival_steps=steps, max_steps=LONGEST_EPISODE + 6 * steps)
    env = make_environment(config, scenarios, scenarios.num_episodes)
    env.reset(0)
    jobs = torch.as_tensor(scenarios.length > 0).sum(1)
    many = torch.as_tensor(scenarios.length >= JobConfig().long_length[0]).sum(1)
    total, long = torch.zeros(len(jobs)), torch.zeros(len(jobs))
    placed, placed_long = torch.zeros(len(jobs)), torch.zeros(len(jobs))
    for step in range(config.max_steps - 1):
        choice = choose(env)
        slot = choice.clamp(max=config.window - 1)[:, None]
        is_long = env.view.length.gather(1, slot)[:, 0] >= JobConfig().long_length[0]
        metrics = env.step(choice[:, None]).metrics
        total += metrics["slowdown_sum"]
        long += metrics["slowdown_sum"] * is_long
        placed += metrics["placed_jobs"]
        placed_long += metrics["placed_jobs"] * is_long
        if step % 8 == 0 and bool((placed == jobs).all() & (env.state.now >= steps).all()):
            break
    total += UNSTARTED * (jobs - placed)
    long += UNSTARTED * (many - placed_long)
    return (total / jobs).double().numpy(), (long / many).double().numpy()


def by_weights(weights: Values) -> Choose:
    """Return the priority rule.

    Args:
        weights: `[feature]`, or `[env, feature]`.
    """
    given = torch.as_tensor(weights, dtype=torch.float32)

    def choose(env: BatchedJobScheduling) -> Tensor:
        features = describe_choices(env.view, env.domain, torch)
        score = (features @ given[..., None])[..., 0] if given.ndim > 1 else features @ given
        return pick(env, score)

    return choose


def pick(env: BatchedJobScheduling, score: Tensor) -> Tensor:
    """Take the best choice there is.

    Args:
        env: Before the decision.
        score: `[env, slot + 1]`.
    """
    may = may_choose(env.view, env.domain, torch)
    return torch.where(may, score, -torch.inf).argmax(1)


def by_rule(name: str) -> Choose:
    """Return one of the heuristics.

    Args:
        name: `sjf`, or `tetris` with amounts as shares of capacity.
    """
    knob = {"sjf": 0.0, "tetris": 0.5}[name]
    weights = np.zeros(len(FEATURES))
    weights[FEATURES.index("brevity")] = 1.0 - knob
    weights[FEATURES.index("alignment")] = knob
    weights[FEATURES.index("always")] = -100.0
    return by_weights(weights)


def holding(longest: int) -> Choose:
    """Return shortest first that starts no job longer than so many steps while others run.

    Args:
        longest: Steps.
    """
    weights = np.zeros(len(FEATURES))
    weights[FEATURES.index("brevity")] = 1.0
    weights[FEATURES.index("always")] = 1.0 / (longest + 0.5)
    return by_weights(weights)
