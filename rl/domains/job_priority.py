"""What a priority rule sees of each choice in job scheduling: ten waiting jobs, or to wait.

One row of features per choice, so that few weights serve any load and any number of slots. The rule
may hold a job back although it fits, which no expert does: a long job occupies what short ones need
for a long time, and waiting costs it little in slowdown. The same lines run in training (torch) and
serving (NumPy).
"""

from __future__ import annotations

from typing import Any

from rl.domains.job_scheduling import JobSchedulingDomain, JobView

SHORT_STEPS = 3
"""Jobs of at most so many steps count as short."""
SOON_STEPS = 3
"""From now, at which the capacity that will be free is looked at."""
CROWD = 20.0
"""Waiting jobs that count as one."""
JOB_FEATURES = (
    "brevity",
    "length",
    "largest_need",
    "mean_need",
    "alignment",
    "waited",
    "length_in_crowd",
    "brevity_in_crowd",
    "work",
    "tightest_rest",
    "length_before_short_ones",
    "length_in_free_cluster",
)
"""Of a waiting job; 0 in the row of waiting."""
WAIT_FEATURES = ("always", "free", "crowd", "short_ones", "free_soon")
"""Of letting a step pass; 0 in the rows of jobs."""
FEATURES = (*JOB_FEATURES, *WAIT_FEATURES)


def describe_choices(view: JobView, domain: JobSchedulingDomain, xp: Any) -> Any:
    """Describe every choice.

    Args:
        view: What is known, NumPy or torch.
        domain: The world.
        xp: Array namespace of the view.

    Returns:
        `[..., slot + 1, feature]`, float32; what an empty slot has means nothing.
    """
    horizon = domain.config.horizon
    capacity = xp.clip(view.capacity, 1.0, None)
    in_world = xp.where(view.capacity > 0, 1.0, 0.0)
    weight = in_world / in_world.sum(-1)[..., None]
    free = view.free / capacity[..., None]
    need = view.need / capacity[..., None, :]
    now = free[..., 0]
    is_job = view.length > 0
    brevity = is_job / xp.clip(view.length, 1, None)
    length = view.length / horizon
    mean_need = (need * weight[..., None, :]).sum(-1)
    mean_free = (now * weight).sum(-1)
    crowd = (is_job.sum(-1) + view.backlog) / CROWD
    short = (is_job & (view.length <= SHORT_STEPS)).sum(-1) / domain.config.window
    soon = (free[..., min(SOON_STEPS, horizon - 1)] * weight).sum(-1)
    one = xp.ones_like(length)
    jobs = (
        brevity,
        length,
        xp.amax(need, -1),
        mean_need,
        (need * (now * weight)[..., None, :]).sum(-1),
        view.waited / (view.waited + horizon),
        length * crowd[..., None],
        brevity * crowd[..., None],
        length * mean_need,
        xp.amin(now[..., None, :] - need, -1),
        length * short[..., None],
        length * mean_free[..., None],
    )
    waiting = (one[..., 0], mean_free, crowd, short, soon)
    of_jobs = xp.stack([xp.asarray(row, dtype=xp.float32) for row in jobs], -1)
    of_waiting = xp.stack([xp.asarray(row, dtype=xp.float32) for row in waiting], -1)[..., None, :]
    beside = xp.zeros_like(of_jobs[..., :1]) + xp.zeros_like(of_waiting)
    before = xp.zeros_like(of_waiting[..., :1]) + xp.zeros_like(of_jobs[..., :1, :])
    return xp.concatenate(
        [xp.concatenate([of_jobs, beside], -1), xp.concatenate([before, of_waiting], -1)], -2
    )


def may_choose(view: JobView, domain: JobSchedulingDomain, xp: Any) -> Any:
    """Tell what a priority rule chooses among: jobs that fit now, and to wait.

    It may not wait in an empty cluster where a job fits, so that every job is started some time.

    Args:
        view: What is known, NumPy or torch.
        domain: The world.
        xp: Array namespace of the view.

    Returns:
        `[..., slot + 1]`, bool.
    """
    fits = domain.earliest_start(view) == 0
    booked = (view.free < view.capacity[..., None]).any(-1).any(-1)
    wait = booked | ~fits.any(-1)
    return xp.concatenate([fits, wait[..., None]], -1)
